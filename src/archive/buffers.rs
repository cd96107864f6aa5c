//! Plain growing buffers that become Arrow arrays without a copy, and shrink back when a row is refused.

use arrow_buffer::{BooleanBuffer, Buffer, NullBuffer, OffsetBuffer, ScalarBuffer};

/// Bits, packed as Arrow packs them.
#[derive(Debug, Default)]
pub(super) struct Bits {
    words: Vec<u64>,
    length: usize,
    unset: usize,
}

impl Bits {
    pub(super) fn push(&mut self, bit: bool) {
        let (word, place) = (self.length / 64, self.length % 64);
        if place == 0 {
            self.words.push(0);
        }
        self.words[word] |= u64::from(bit) << place;
        self.unset += usize::from(!bit);
        self.length += 1;
    }

    /// Keeps the first `length` bits.
    pub(super) fn truncate(&mut self, length: usize) {
        while self.length > length {
            self.length -= 1;
            let (word, place) = (self.length / 64, self.length % 64);
            let set = self.words[word] >> place & 1 == 1;
            self.words[word] &= !(1 << place);
            self.unset -= usize::from(!set);
            if place == 0 {
                self.words.pop();
            }
        }
    }

    pub(super) fn finish(self) -> BooleanBuffer {
        BooleanBuffer::new(Buffer::from_vec(self.words), 0, self.length)
    }

    /// As which values are there; `None` when all are.
    pub(super) fn finish_nulls(self) -> Option<NullBuffer> {
        if self.unset == 0 { None } else { Some(NullBuffer::new(self.finish())) }
    }
}

/// Fixed-width values of which some may be missing.
#[derive(Debug, Default)]
pub(super) struct Numbers<T> {
    values: Vec<T>,
    present: Bits,
}

impl<T: Copy + Default + arrow_buffer::ArrowNativeType> Numbers<T> {
    pub(super) fn push(&mut self, value: T) {
        self.values.push(value);
        self.present.push(true);
    }

    pub(super) fn push_null(&mut self) {
        self.values.push(T::default());
        self.present.push(false);
    }

    pub(super) fn truncate(&mut self, rows: usize) {
        self.values.truncate(rows);
        self.present.truncate(rows);
    }

    pub(super) fn finish(self) -> (ScalarBuffer<T>, Option<NullBuffer>) {
        (ScalarBuffer::from(self.values), self.present.finish_nulls())
    }
}

/// Texts (or bytes) end to end, of which some may be missing. Together below 2 GiB: who fills them bounds that.
#[derive(Debug)]
pub(super) struct Texts {
    /// Where each ends; the first is 0.
    ends: Vec<i32>,
    bytes: Vec<u8>,
    present: Bits,
}

impl Default for Texts {
    fn default() -> Self {
        Self { ends: vec![0], bytes: Vec::new(), present: Bits::default() }
    }
}

impl Texts {
    pub(super) fn push(&mut self, text: &[u8]) {
        self.bytes.extend_from_slice(text);
        self.end(true);
    }

    pub(super) fn push_null(&mut self) {
        self.end(false);
    }

    pub(super) fn push_option(&mut self, text: Option<&[u8]>) {
        match text {
            Some(text) => self.push(text),
            None => self.push_null(),
        }
    }

    /// The buffer itself, to append the next text in pieces; [`Self::end`] closes it.
    pub(super) fn open(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }

    /// Closes the text appended to [`Self::open`].
    pub(super) fn end(&mut self, present: bool) {
        let end = i32::try_from(self.bytes.len()).expect("a batch's bytes are bounded far below 2 GiB");
        self.ends.push(end);
        self.present.push(present);
    }

    /// Keeps the first `rows` texts, and drops one that is open.
    pub(super) fn truncate(&mut self, rows: usize) {
        self.ends.truncate(rows + 1);
        let end = self.ends.last().copied().unwrap_or(0);
        self.bytes.truncate(usize::try_from(end).expect("offsets are positive"));
        self.present.truncate(rows);
    }

    pub(super) fn finish(self) -> (OffsetBuffer<i32>, Buffer, Option<NullBuffer>) {
        (OffsetBuffer::new(self.ends.into()), Buffer::from_vec(self.bytes), self.present.finish_nulls())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn bits_come_back_after_any_growth_and_shrinkage(
            steps in prop::collection::vec((prop::collection::vec(any::<bool>(), 0..100), 0_usize..150), 1..8),
        ) {
            let (mut bits, mut expected) = (Bits::default(), Vec::new());
            for (more, keep) in steps {
                more.iter().for_each(|bit| bits.push(*bit));
                expected.extend(more);
                bits.truncate(keep);
                expected.truncate(keep);
            }
            let nulls = expected.iter().filter(|bit| !**bit).count();
            prop_assert_eq!(bits.unset, nulls);
            prop_assert_eq!(bits.finish().iter().collect::<Vec<_>>(), expected);
        }
    }

    #[test]
    fn texts_shrink_to_whole_texts() {
        let mut texts = Texts::default();
        texts.push(b"one");
        texts.push_null();
        texts.push(b"three");
        texts.open().extend_from_slice(b"half");
        texts.truncate(2);
        texts.push_option(Some(b"two"));
        let (offsets, bytes, nulls) = texts.finish();
        assert_eq!((&offsets[..], bytes.as_slice()), (&[0, 3, 3, 6][..], &b"onetwo"[..]));
        assert_eq!(nulls.map(|nulls| nulls.null_count()), Some(1));
    }
}
