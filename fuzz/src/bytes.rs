//! Parts of any bytes, for what is made of them.

use parqueduct::event::HeaderValue;

/// Bytes that are taken from the front; where there are none left, zeros.
pub struct Bytes<'b>(pub &'b [u8]);

impl<'b> Bytes<'b> {
    pub fn byte(&mut self) -> u8 {
        self.array::<1>()[0]
    }

    pub fn array<const N: usize>(&mut self) -> [u8; N] {
        let mut out = [0; N];
        let some = self.some(N);
        out[..some.len()].copy_from_slice(some);
        out
    }

    /// At most so many.
    pub fn some(&mut self, count: usize) -> &'b [u8] {
        let (some, rest) = self.0.split_at(count.min(self.0.len()));
        self.0 = rest;
        some
    }

    /// A few, which may be none.
    pub fn few(&mut self) -> &'b [u8] {
        let count = self.byte() % 12;
        self.some(count.into())
    }

    pub fn text(&mut self) -> String {
        String::from_utf8_lossy(self.few()).into_owned()
    }

    pub fn table(&mut self, depth_left: usize) -> Vec<(String, HeaderValue)> {
        (0..self.byte() % 4).map(|_| (self.text(), self.header(depth_left))).collect()
    }

    pub fn header(&mut self, depth_left: usize) -> HeaderValue {
        match self.byte() % 17 {
            0 => HeaderValue::Bool(self.byte() % 2 == 1),
            1 => HeaderValue::I8(i8::from_be_bytes(self.array())),
            2 => HeaderValue::U8(self.byte()),
            3 => HeaderValue::I16(i16::from_be_bytes(self.array())),
            4 => HeaderValue::U16(u16::from_be_bytes(self.array())),
            5 => HeaderValue::I32(i32::from_be_bytes(self.array())),
            6 => HeaderValue::U32(u32::from_be_bytes(self.array())),
            7 => HeaderValue::I64(i64::from_be_bytes(self.array())),
            8 => HeaderValue::F32(f32::from_be_bytes(self.array())),
            9 => HeaderValue::F64(f64::from_be_bytes(self.array())),
            10 => HeaderValue::Decimal { scale: self.byte(), value: u32::from_be_bytes(self.array()) },
            11 => HeaderValue::Text(self.few().to_vec()),
            12 => HeaderValue::Timestamp(u64::from_be_bytes(self.array())),
            13 => HeaderValue::Bytes(self.few().to_vec()),
            14 if depth_left > 0 => {
                HeaderValue::Array((0..self.byte() % 4).map(|_| self.header(depth_left - 1)).collect())
            }
            15 if depth_left > 0 => HeaderValue::Table(self.table(depth_left - 1)),
            _ => HeaderValue::Void,
        }
    }
}
