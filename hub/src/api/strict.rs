//! JSON as JSON Schema understands it, where serde is more or less generous: a list is no object,
//! and `90.0` is as whole a number as `90`.

use serde::{
    Deserializer,
    de::{
        Error as _, IntoDeserializer, Unexpected, Visitor,
        value::{MapDeserializer, SeqDeserializer},
    },
    forward_to_deserialize_any,
};
use serde_json::{Error, Number, Value};

/// A value that is read so.
pub(super) struct Strict(pub Value);

/// Beyond it a number in floating point need not be the one that was meant.
const EXACT: f64 = 9_007_199_254_740_992.0;

fn whole(number: Number) -> Number {
    match number.as_f64() {
        Some(n) if number.is_f64() && n.fract() == 0.0 && n.abs() <= EXACT => {
            #[allow(clippy::cast_possible_truncation, reason = "it is whole and in range")]
            let whole = n as i64;
            whole.into()
        }
        _ => number,
    }
}

macro_rules! integers {
    ($($method:ident)*) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
            match self.0 {
                Value::Number(number) => whole(number).deserialize_any(visitor),
                other => other.deserialize_any(visitor),
            }
        }
    )*};
}

impl<'de> Deserializer<'de> for Strict {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.0 {
            Value::Array(values) => {
                let mut values = SeqDeserializer::new(values.into_iter().map(Strict));
                let visited = visitor.visit_seq(&mut values)?;
                values.end().map(|()| visited)
            }
            Value::Object(object) => {
                let entries = object.into_iter().map(|(key, value)| (key, Self(value)));
                let mut entries = MapDeserializer::new(entries);
                let visited = visitor.visit_map(&mut entries)?;
                entries.end().map(|()| visited)
            }
            other => other.deserialize_any(visitor),
        }
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        if self.0.is_array() {
            return Err(Error::invalid_type(Unexpected::Seq, &"an object"));
        }
        self.deserialize_any(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        if self.0.is_null() { visitor.visit_none() } else { visitor.visit_some(self) }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Error> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        self.0.deserialize_enum(name, variants, visitor)
    }

    integers!(deserialize_i8 deserialize_i16 deserialize_i32 deserialize_i64
              deserialize_u8 deserialize_u16 deserialize_u32 deserialize_u64);

    forward_to_deserialize_any! {
        bool i128 u128 f32 f64 char str string bytes byte_buf unit unit_struct seq tuple
        tuple_struct map identifier ignored_any
    }
}

impl IntoDeserializer<'_, Error> for Strict {
    type Deserializer = Self;

    fn into_deserializer(self) -> Self {
        self
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may fail")]
mod tests {
    use serde::Deserialize;
    use serde_json::json;

    use super::*;

    #[derive(Debug, PartialEq, Deserialize)]
    struct Inner {
        days: Option<u32>,
    }

    #[derive(Debug, PartialEq, Deserialize)]
    struct Outer {
        inner: Inner,
        list: Vec<Inner>,
        anything: Value,
    }

    fn read(value: Value) -> Result<Outer, Error> {
        Outer::deserialize(Strict(value))
    }

    #[test]
    fn whole_numbers_may_have_a_point_and_what_is_anybodys_stays() {
        let anything = json!({ "a": [1.0, "b", null, { "c": 2 }] });
        let value = json!({ "inner": { "days": 90.0, "more": [] }, "list": [{ "days": null }, {}],
            "anything": anything });
        let read = read(value).unwrap();
        assert_eq!(read.inner.days, Some(90));
        assert_eq!(read.list, [Inner { days: None }, Inner { days: None }]);
        assert_eq!(read.anything, anything);
    }

    #[test]
    fn a_list_is_no_object_at_any_depth() {
        for value in [
            json!([{ "days": 1 }, [], null]),
            json!({ "inner": [1], "list": [], "anything": null }),
            json!({ "inner": {}, "list": [[1]], "anything": null }),
            json!({ "inner": { "days": 0.5 }, "list": [], "anything": null }),
            json!({ "inner": { "days": -1.0 }, "list": [], "anything": null }),
        ] {
            assert!(read(value.clone()).is_err(), "{value}");
        }
    }
}
