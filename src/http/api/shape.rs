//! Where JSON as the document has it, and as programs write it, is more or less than what is read by itself.

use std::fmt;
use std::marker::PhantomData;

use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserialize, Deserializer, Error, MapAccess, Visitor};

/// An object; a list of its values in their order is none.
pub(super) fn object<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<T, D::Error> {
    deserializer.deserialize_map(Object(PhantomData))
}

/// The same, or null.
pub(super) fn object_or_null<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    deserializer: D,
) -> Result<Option<T>, D::Error> {
    Ok(Option::<Whole<T>>::deserialize(deserializer)?.map(|whole| whole.0))
}

struct Whole<T>(T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Whole<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        object(deserializer).map(Self)
    }
}

struct Object<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for Object<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<T, A::Error> {
        T::deserialize(MapAccessDeserializer::new(map))
    }
}

/// A whole number, or null: `2.0` is one, as JSON Schema has it.
pub(super) fn whole_or_null<'de, D: Deserializer<'de>, T: TryFrom<u64>>(
    deserializer: D,
) -> Result<Option<T>, D::Error> {
    let Some(number) = Option::<serde_json::Number>::deserialize(deserializer)? else { return Ok(None) };
    let exactly = |float: f64| {
        // Beyond these not every whole number is a float.
        let is_whole = float.fract() == 0.0 && (0.0..=9_007_199_254_740_992.0).contains(&float);
        is_whole.then_some(float as u64)
    };
    let whole = number.as_u64().or_else(|| number.as_f64().and_then(exactly));
    let fits = whole.and_then(|whole| T::try_from(whole).ok());
    fits.map(Some).ok_or_else(|| D::Error::custom(format!("{number} is not a whole number in range")))
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Default, PartialEq, Deserialize)]
    struct Inner {
        n: u8,
    }

    #[derive(Debug, PartialEq, Deserialize)]
    struct Outer {
        #[serde(default, deserialize_with = "object")]
        object: Inner,
        #[serde(default, deserialize_with = "object_or_null")]
        other: Option<Inner>,
        #[serde(default, deserialize_with = "whole_or_null")]
        number: Option<u8>,
    }

    #[test]
    fn lists_are_no_objects_and_whole_numbers_may_have_a_point() {
        let read = |text: &str| serde_json::from_str::<Outer>(text).ok();
        let all = read(r#"{"object": {"n": 1}, "other": {"n": 2}, "number": 3.0}"#);
        assert_eq!(all, Some(Outer { object: Inner { n: 1 }, other: Some(Inner { n: 2 }), number: Some(3) }));
        let none = Some(Outer { object: Inner::default(), other: None, number: None });
        assert_eq!([read("{}"), read(r#"{"other": null, "number": null}"#)], [none, read("{}")]);
        for wrong in [r#"{"object": [1]}"#, r#"{"other": [1]}"#, r#"{"object": null}"#] {
            assert_eq!(read(wrong), None, "{wrong}");
        }
        for wrong in ["3.5", "-1", "256", "1e30", "\"3\""] {
            assert_eq!(read(&format!(r#"{{"number": {wrong}}}"#)), None, "{wrong}");
        }
    }
}
