//! Plain growing buffers that become Arrow arrays without a copy, and shrink back when a row is refused.

use arrow_buffer::{BooleanBuffer, Buffer, NullBuffer, OffsetBuffer, ScalarBuffer};

/// Bits, packed as Arrow packs them.
#[derive(Debug, Default)]
pub(super) struct Bits {
    words: Vec<u64>,
    length: usize,
}

impl Bits {
    fn ones(length: usize) -> Self {
        let mut words = vec![u64::MAX; length.div_ceil(64)];
        if let (Some(last), used @ 1..) = (words.last_mut(), length % 64) {
            *last >>= 64 - used;
        }
        Self { words, length }
    }

    pub(super) fn push(&mut self, bit: bool) {
        let (word, place) = (self.length / 64, self.length % 64);
        if place == 0 {
            self.words.push(0);
        }
        self.words[word] |= u64::from(bit) << place;
        self.length += 1;
    }

    /// Keeps the first `length` bits.
    pub(super) fn truncate(&mut self, length: usize) {
        self.length = self.length.min(length);
        self.words.truncate(self.length.div_ceil(64));
        if let (Some(last), used @ 1..) = (self.words.last_mut(), self.length % 64) {
            *last &= u64::MAX >> (64 - used);
        }
    }

    pub(super) fn finish(self) -> BooleanBuffer {
        BooleanBuffer::new(Buffer::from_vec(self.words), 0, self.length)
    }
}

/// Which values of a column are there. While all are, as in most columns, only counts them.
#[derive(Debug, Default)]
pub(super) struct Present {
    length: usize,
    /// Of each value, from the first that is missing on.
    bits: Option<Bits>,
}

impl Present {
    pub(super) fn push(&mut self, present: bool) {
        match &mut self.bits {
            None if present => {}
            bits => bits.get_or_insert_with(|| Bits::ones(self.length)).push(present),
        }
        self.length += 1;
    }

    /// Keeps the first `length`.
    pub(super) fn truncate(&mut self, length: usize) {
        self.length = self.length.min(length);
        if let Some(bits) = &mut self.bits {
            bits.truncate(length);
        }
    }

    /// `None` when all are there.
    pub(super) fn finish(self) -> Option<NullBuffer> {
        self.bits.map(|bits| NullBuffer::new(bits.finish())).filter(|nulls| nulls.null_count() > 0)
    }
}

/// Fixed-width values of which some may be missing.
#[derive(Debug, Default)]
pub(super) struct Numbers<T> {
    values: Vec<T>,
    present: Present,
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
        (ScalarBuffer::from(self.values), self.present.finish())
    }
}

/// Texts (or bytes) end to end, of which some may be missing. Together below 2 GiB: who fills them bounds that.
#[derive(Debug)]
pub(super) struct Texts {
    /// Where each ends; the first is 0.
    ends: Vec<i32>,
    bytes: Vec<u8>,
    present: Present,
}

impl Default for Texts {
    fn default() -> Self {
        Self { ends: vec![0], bytes: Vec::new(), present: Present::default() }
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
        (OffsetBuffer::new(self.ends.into()), Buffer::from_vec(self.bytes), self.present.finish())
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
            prop_assert_eq!(bits.finish().iter().collect::<Vec<_>>(), expected);
        }

        #[test]
        fn what_is_missing_is_known_after_any_growth_and_shrinkage(
            steps in prop::collection::vec((prop::collection::vec(prop::bool::weighted(0.99), 0..100), 0_usize..150), 1..8),
        ) {
            let (mut present, mut expected) = (Present::default(), Vec::new());
            for (more, keep) in steps {
                more.iter().for_each(|there| present.push(*there));
                expected.extend(more);
                present.truncate(keep);
                expected.truncate(keep);
            }
            let nulls = present.finish();
            prop_assert_eq!(nulls.is_some(), expected.contains(&false));
            if let Some(nulls) = nulls {
                prop_assert_eq!(nulls.iter().collect::<Vec<_>>(), expected);
            }
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
