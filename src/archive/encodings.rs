//! How the columns of a file are encoded, judged by what is in them. Pure: of the rows alone, so the same rows always
//! make the same bytes.

use arrow_array::cast::AsArray;
use arrow_array::types::{ByteArrayType, Date32Type, Decimal128Type, Float64Type, Int64Type};
use arrow_array::{Array, ArrayRef, GenericByteArray, RecordBatch};
use arrow_buffer::ArrowNativeType;
use arrow_schema::{DataType, Field};
use parquet::basic::{Compression, Encoding};
use parquet::file::properties::{DEFAULT_DICTIONARY_PAGE_SIZE_LIMIT, EnabledStatistics, WriterPropertiesBuilder};
use parquet::schema::types::ColumnPath;
use twox_hash::XxHash3_128;

use crate::column;

/// Sets what `rows`' leaf columns ask for; what is compressed is so with `compression`.
pub(super) fn set(
    builder: WriterPropertiesBuilder,
    compression: Compression,
    rows: &RecordBatch,
) -> WriterPropertiesBuilder {
    // What is not said otherwise of a column below.
    let mut leaves = Leaves {
        builder: builder.set_compression(Compression::UNCOMPRESSED).set_dictionary_enabled(false),
        compression,
        path: Vec::new(),
    };
    for (field, array) in rows.schema().fields().iter().zip(rows.columns()) {
        leaves = leaves.with(field, array);
    }
    leaves.builder
}

/// The leaf columns seen so far.
struct Leaves {
    builder: WriterPropertiesBuilder,
    compression: Compression,
    /// Of the column that is looked at.
    path: Vec<String>,
}

impl Leaves {
    /// With the leaf columns at or below `field`, of which `array` is.
    fn with(mut self, field: &Field, array: &ArrayRef) -> Self {
        self.path.push(field.name().clone());
        match field.data_type() {
            DataType::Struct(members) => {
                for (member, array) in members.iter().zip(array.as_struct().columns()) {
                    self = self.with(member, array);
                }
            }
            DataType::List(element) => {
                let lists = array.as_list::<i32>();
                let ends = lists.value_offsets();
                let (from, to) = (ends[0].as_usize(), ends[lists.len()].as_usize());
                self.path.push("list".to_owned());
                self = self.with(element, &lists.values().slice(from, to - from));
                self.path.pop();
            }
            _ => self = self.with_leaf(field, array),
        }
        self.path.pop();
        self
    }

    fn with_leaf(mut self, field: &Field, array: &ArrayRef) -> Self {
        let path = || ColumnPath::new(self.path.clone());
        let mut builder = self.builder;
        if matches!(field.data_type(), DataType::Timestamp(..) | DataType::Int64 | DataType::Date32) {
            // The fallback where there is a dictionary.
            builder = builder.set_column_encoding(path(), Encoding::DELTA_BINARY_PACKED);
        }
        if field.metadata().contains_key(column::JSON_KEY) || field.name() == column::RAW {
            // Least and greatest of JSON texts prune nothing.
            builder = builder.set_column_statistics_enabled(path(), EnabledStatistics::Chunk);
        }
        if field.name() == column::EVENT_ID && array.null_count() < array.len() {
            builder = builder
                .set_column_bloom_filter_enabled(path(), true)
                .set_column_bloom_filter_fpp(path(), 0.01)
                .set_column_bloom_filter_max_ndv(path(), array.len() as u64);
        }
        let Fit { dictionary, compressed } = fit(array);
        if dictionary {
            builder = builder.set_column_dictionary_enabled(path(), true);
        }
        if compressed {
            builder = builder.set_column_compression(path(), self.compression);
        }
        self.builder = builder;
        self
    }
}

/// What makes a column small.
struct Fit {
    dictionary: bool,
    compressed: bool,
}

fn fit(array: &ArrayRef) -> Fit {
    /// A dictionary is a page of its own, and its encoder takes tens of kilobytes: fewer values are not worth it.
    const DICTIONARY_VALUES_MIN: usize = 64;
    /// Of fewer bytes zstd saves less than a page's header takes, and costs as much as of many.
    const COMPRESSED_BYTES_MIN: f64 = 256.0;
    let values = array.len() - array.null_count();
    let plain_bytes = match array.data_type() {
        // Of hashes, which do not compress.
        DataType::FixedSizeBinary(_) => 0.0,
        DataType::Boolean => values as f64 / 8.0,
        DataType::Utf8 => text_bytes(array.as_string::<i32>()),
        DataType::Binary => text_bytes(array.as_binary::<i32>()),
        _ => (values * size_of::<u64>()) as f64,
    };
    let plain = Fit { dictionary: false, compressed: plain_bytes >= COMPRESSED_BYTES_MIN };
    if values < DICTIONARY_VALUES_MIN {
        return plain;
    }
    let Some(seen) = look(array) else { return plain };
    let distinct = seen.distinct_of(values);
    let dictionary_bytes = distinct * seen.plain_bytes;
    let pointers_bits = if seen.different == 1 { 0.0 } else { values as f64 * distinct.log2().ceil() };
    // Values compress alike in a dictionary and without one; what points to them does not at all.
    let dictionary = dictionary_bytes < DEFAULT_DICTIONARY_PAGE_SIZE_LIMIT as f64
        && distinct * seen.packed_bits + pointers_bits < values as f64 * seen.packed_bits;
    match dictionary {
        true => Fit { dictionary, compressed: dictionary_bytes + pointers_bits / 8.0 >= COMPRESSED_BYTES_MIN },
        false => plain,
    }
}

/// Of texts one by one in a page.
fn text_bytes<T: ByteArrayType<Offset = i32>>(texts: &GenericByteArray<T>) -> f64 {
    let ends = texts.value_offsets();
    let lengths = (texts.len() - texts.null_count()) * size_of::<u32>();
    (ends[texts.len()].as_usize() - ends[0].as_usize() + lengths) as f64
}

/// What some of a column's values say of all.
struct Seen {
    /// How many were looked at, and how many of them are different.
    values: usize,
    different: usize,
    /// Of one value in a plain page, on average.
    plain_bytes: f64,
    /// The same when it is compressed.
    packed_bits: f64,
}

/// Looks at some of the values; `None` if no dictionary is asked for, whatever they are.
fn look(array: &ArrayRef) -> Option<Seen> {
    /// What zstd leaves of values that do not repeat. Of texts it is more for random digits, and less for words.
    const PACKED: f64 = 0.5;
    let mut hashes = Vec::with_capacity(BLOCKS * BLOCK_VALUES);
    let mut bytes = 0;
    let plain = |width: usize| (width as f64, width as f64 * 8.0 * PACKED);
    let (plain_bytes, packed_bits) = match array.data_type() {
        DataType::Utf8 => {
            let texts = array.as_string::<i32>();
            each(array, |place| {
                let text = texts.value(place);
                bytes += text.len();
                hashes.push(XxHash3_128::oneshot(text.as_bytes()) as u64);
            });
            let width = bytes as f64 / hashes.len().max(1) as f64 + size_of::<u32>() as f64;
            (width, width * 8.0 * PACKED)
        }
        DataType::Int64 => {
            let numbers = array.as_primitive::<Int64Type>();
            let (mut low, mut high) = (i64::MAX, i64::MIN);
            each(array, |place| {
                let number = numbers.value(place);
                (low, high) = (low.min(number), high.max(number));
                hashes.push(number as u64);
            });
            // As differences of neighbours, of which each may have either sign.
            (8.0, f64::from(high.abs_diff(low).checked_ilog2().map_or(0, |bits| bits + 2)))
        }
        DataType::Float64 => {
            let numbers = array.as_primitive::<Float64Type>();
            each(array, |place| hashes.push(numbers.value(place).to_bits()));
            plain(8)
        }
        DataType::Date32 => {
            let days = array.as_primitive::<Date32Type>();
            each(array, |place| hashes.push(u64::from(days.value(place).cast_unsigned())));
            plain(4)
        }
        DataType::Decimal128(precision, _) => {
            let numbers = array.as_primitive::<Decimal128Type>();
            each(array, |place| hashes.push(numbers.value(place) as u64));
            plain(match precision {
                ..=9 => 4,
                10..=18 => 8,
                _ => 16,
            })
        }
        _ => return None,
    };
    let values = hashes.len();
    hashes.sort_unstable();
    hashes.dedup();
    Some(Seen { values, different: hashes.len(), plain_bytes, packed_bits })
}

/// Values looked at: blocks of neighbours, spread over the column, so that runs show, and values that come back.
const BLOCKS: usize = 8;
const BLOCK_VALUES: usize = 128;

/// Calls `look` for the places of the values to be looked at that are not null.
fn each(array: &ArrayRef, mut look: impl FnMut(usize)) {
    let nulls = array.nulls();
    let mut look = |place: usize| {
        if nulls.is_none_or(|nulls| nulls.is_valid(place)) {
            look(place);
        }
    };
    match array.len() {
        length if length <= BLOCKS * BLOCK_VALUES => (0..length).for_each(look),
        length => {
            let stride = (length - BLOCK_VALUES) / (BLOCKS - 1);
            (0..BLOCKS).for_each(|block| (0..BLOCK_VALUES).for_each(|place| look(block * stride + place)));
        }
    }
}

impl Seen {
    /// How many different ones `values` values have, if each was drawn from the same number of equally likely ones: of `n`,
    /// `d` draws show n(1 - e^(-d/n)).
    fn distinct_of(&self, values: usize) -> f64 {
        let (draws, shown) = (self.values as f64, self.different as f64);
        if self.different == self.values {
            return values as f64;
        }
        let showing = |different: f64, draws: f64| -different * (-draws / different).exp_m1();
        // From as many as were seen to so many that one of the draws hardly repeats another.
        let (mut low, mut high) = (shown, draws * draws);
        for _ in 0..40 {
            let middle = (low + high) / 2.0;
            if showing(middle, draws) < shown { low = middle } else { high = middle }
        }
        showing(high, values as f64)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow_array::{Float64Array, Int64Array, StringArray};

    use super::*;

    /// Numbers drawn from `from` ones, the same each time.
    fn drawn(values: usize, from: u64) -> impl Iterator<Item = u64> {
        let mut chance = fastrand::Rng::with_seed(7);
        (0..values).map(move |_| chance.u64(..from))
    }

    fn texts(values: usize, from: u64) -> ArrayRef {
        Arc::new(StringArray::from_iter_values(drawn(values, from).map(|number| format!("shop-{number:06}"))))
    }

    fn prices(values: usize, from: u64) -> ArrayRef {
        Arc::new(Float64Array::from_iter_values(drawn(values, from).map(|number| number as f64 / 100.0)))
    }

    #[test]
    fn values_that_come_back_get_a_dictionary_though_few_are_seen_twice() {
        for (array, expected) in [
            (texts(35_000, 3), true),
            (texts(35_000, 1000), true),
            (texts(35_000, u64::MAX), false),
            (prices(70_000, 20_000), true),
            (prices(70_000, u64::MAX), false),
            (prices(35_000, 30_000), false),
        ] {
            assert_eq!(fit(&array).dictionary, expected, "{array:?}");
        }
    }

    #[test]
    fn integers_that_are_near_each_other_need_none() {
        let integers = |values: Vec<i64>| -> ArrayRef { Arc::new(Int64Array::from(values)) };
        assert!(!fit(&integers((0..35_000).collect())).dictionary);
        assert!(!fit(&integers(vec![7; 35_000])).dictionary);
        assert!(fit(&integers(drawn(35_000, 8).map(|number| 1 << (number * 7)).collect())).dictionary);
    }

    #[test]
    fn few_values_are_written_as_they_are() {
        let Fit { dictionary, compressed } = fit(&texts(10, 2));
        assert!(!dictionary && !compressed);
        let Fit { dictionary, compressed } = fit(&texts(35_000, 1));
        assert!(dictionary && !compressed, "the pages of one value are a few bytes");
        let nothing: ArrayRef = Arc::new(StringArray::new_null(35_000));
        let Fit { dictionary, compressed } = fit(&nothing);
        assert!(!dictionary && !compressed);
    }

    #[test]
    fn as_many_different_values_are_expected_as_there_are() {
        for from in [1, 10, 1000, 20_000] {
            let array = texts(70_000, from);
            let expected = look(&array).expect("texts are looked at").distinct_of(70_000);
            assert!(expected > from as f64 * 0.6 && expected < from as f64 * 1.6 + 1.0, "{expected} for {from}");
        }
    }
}
