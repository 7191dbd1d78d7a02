//! Records as the properties of a row. Scalars become properties of their own, so that a row can be read
//! in any table browser; what is nested becomes JSON text. Knows no record and no adapter.
//!
//! | field | property |
//! |---|---|
//! | `None`, null, a float that is not finite | left out |
//! | bool, whole number, float, text | the same, under the same name |
//! | array, object, text above 30 K UTF-16 units | JSON text as `<name>Json`; if that is too long, parts `<name>Json_0`, `<name>Json_1`, … |
//!
//! A field that is left out and a text with fewer parts than before would let the old value show through a merge:
//! rows made here are inserted and replaced.

use super::{Error, Properties};
use serde::Serialize;
use serde::de::value::MapDeserializer;
use serde::de::{DeserializeOwned, Deserializer, IntoDeserializer, Visitor};
use serde_json::Value;
use std::any::type_name;
use std::collections::BTreeMap;

/// The most UTF-16 units of one part: below [`super::MAX_TEXT_UNITS`], with room to spare.
const MAX_PART_UNITS: usize = 30 * 1024;
const JSON_SUFFIX: &str = "Json";

/// The properties of `value`, which must serialize as an object.
///
/// # Errors
/// [`Error::Invalid`] when it is no object, a field's name is one that the table above gives a meaning, or a whole
/// number is above [`i64::MAX`].
pub fn to_properties<T: Serialize>(value: &T) -> Result<Properties, Error> {
    let refused = |why: String| Error::Invalid(format!("{} cannot be stored as a row: {why}", type_name::<T>()));
    let fields = match serde_json::to_value(value).map_err(|error| refused(error.to_string()))? {
        Value::Object(fields) => fields,
        _ => return Err(refused("it is not a struct or map".to_owned())),
    };
    let mut properties = Properties::new();
    for (name, value) in fields {
        if stem(&name).is_some() {
            return Err(refused(format!("the field name `{name}` is kept for nested values; rename it")));
        }
        match value {
            Value::Null => {}
            Value::Number(number) if number.is_u64() && !number.is_i64() => {
                return Err(refused(format!("`{name}` is {number}, above the largest whole number {}", i64::MAX)));
            }
            nested if nested.is_array() || nested.is_object() || is_long(&nested) => {
                let text = serde_json::to_string(&nested).map_err(|error| refused(error.to_string()))?;
                put_json(&mut properties, &name, text);
            }
            scalar => {
                properties.insert(name, scalar);
            }
        }
    }
    Ok(properties)
}

/// The record that [`to_properties`] made `properties` from.
///
/// # Errors
/// [`Error::Invalid`] when they are not those of a `T`.
pub fn from_properties<T: DeserializeOwned>(properties: &Properties) -> Result<T, Error> {
    let refused = |why: String| Error::Invalid(format!("the stored row is not a {}: {why}", type_name::<T>()));
    let mut fields = Vec::with_capacity(properties.len());
    let mut parts: BTreeMap<&str, BTreeMap<usize, &str>> = BTreeMap::new();
    for (name, value) in properties {
        let Some((stem, part)) = stem(name) else {
            fields.push((name.as_str(), Field::Scalar(value)));
            continue;
        };
        let Value::String(text) = value else {
            return Err(refused(format!("`{name}` must be JSON text but is {value}")));
        };
        if properties.contains_key(stem) {
            return Err(refused(format!("`{stem}` is there both as a property and as JSON text")));
        }
        match part {
            None => fields.push((stem, Field::Text { name: stem, text })),
            Some(part) => {
                parts.entry(stem).or_default().insert(part, text);
            }
        }
    }
    let mut joined = Vec::with_capacity(parts.len());
    for (stem, parts) in parts {
        if properties.contains_key(&format!("{stem}{JSON_SUFFIX}")) {
            return Err(refused(format!("`{stem}` is there both whole and in parts")));
        }
        if parts.keys().copied().ne(0..parts.len()) {
            return Err(refused(format!("a part of `{stem}{JSON_SUFFIX}` is missing")));
        }
        joined.push((stem, parts.into_values().collect::<String>()));
    }
    fields.extend(joined.iter().map(|(name, text)| (*name, Field::Text { name, text })));
    T::deserialize(MapDeserializer::new(fields.into_iter())).map_err(|error| refused(error.to_string()))
}

/// A field of a stored record, read where it stands: most of a process's work with rows is reading them.
enum Field<'de> {
    Scalar(&'de Value),
    Text { name: &'de str, text: &'de str },
}

impl<'de> IntoDeserializer<'de, serde_json::Error> for Field<'de> {
    type Deserializer = Self;

    fn into_deserializer(self) -> Self {
        self
    }
}

macro_rules! read_by {
    ($($method:ident($($argument:ident: $of:ty),*);)+) => {
        $(fn $method<V: Visitor<'de>>(self, $($argument: $of,)* visitor: V) -> Result<V::Value, serde_json::Error> {
            match self {
                Self::Scalar(value) => value.$method($($argument,)* visitor),
                Self::Text { name, text } => {
                    let mut json = serde_json::Deserializer::from_str(text);
                    let value = json.$method($($argument,)* visitor);
                    let whole = value.and_then(|value| json.end().map(|()| value));
                    whole.map_err(|error| serde::de::Error::custom(format!("`{name}{JSON_SUFFIX}`: {error}")))
                }
            }
        })+
    };
}

impl<'de> Deserializer<'de> for Field<'de> {
    type Error = serde_json::Error;

    read_by! {
        deserialize_any();
        deserialize_option();
        deserialize_ignored_any();
        deserialize_newtype_struct(name: &'static str);
        deserialize_enum(name: &'static str, variants: &'static [&'static str]);
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit unit_struct seq tuple
        tuple_struct map struct identifier
    }
}

/// Whether it is text that is too long for a property.
fn is_long(value: &Value) -> bool {
    // UTF-8 never needs fewer bytes than UTF-16 needs units.
    value.as_str().is_some_and(|text| text.len() > MAX_PART_UNITS && text.encode_utf16().nth(MAX_PART_UNITS).is_some())
}

fn put_json(properties: &mut Properties, name: &str, text: String) {
    let parts = split(text);
    let whole = parts.len() == 1;
    for (index, part) in parts.into_iter().enumerate() {
        let name = if whole { format!("{name}{JSON_SUFFIX}") } else { format!("{name}{JSON_SUFFIX}_{index}") };
        properties.insert(name, Value::String(part));
    }
}

/// The field behind a property of JSON text, and which part of it this is, if it is not the whole; `None` for any other property.
fn stem(property: &str) -> Option<(&str, Option<usize>)> {
    if let Some(stem) = property.strip_suffix(JSON_SUFFIX) {
        return Some((stem, None));
    }
    if !property.ends_with(|last: char| last.is_ascii_digit()) {
        return None;
    }
    let (name, part) = property.rsplit_once('_')?;
    let stem = name.strip_suffix(JSON_SUFFIX)?;
    // Only digits, so that `+1` and `01` are not read as other spellings of a part.
    let canonical = part.bytes().all(|byte| byte.is_ascii_digit()) && (part == "0" || !part.starts_with('0'));
    if canonical { Some((stem, Some(part.parse().ok()?))) } else { None }
}

fn split(text: String) -> Vec<String> {
    // UTF-8 never needs fewer bytes than UTF-16 needs units.
    if text.len() <= MAX_PART_UNITS {
        return vec![text];
    }
    let mut parts = vec![String::new()];
    let mut units = 0;
    for c in text.chars() {
        if units + c.len_utf16() > MAX_PART_UNITS {
            parts.push(String::new());
            units = 0;
        }
        units += c.len_utf16();
        if let Some(part) = parts.last_mut() {
            part.push(c);
        }
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde::Deserialize;
    use serde_json::json;
    use std::collections::HashMap;

    #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
    #[serde(rename_all = "snake_case")]
    enum State {
        Planned,
        Claimed { lease: i64, owner: Option<String> },
    }

    #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
    struct Record {
        text: String,
        flag: bool,
        count: i64,
        rows: u64,
        ratio: f64,
        maybe: Option<String>,
        owed: Vec<Option<u64>>,
        state: State,
        by_state: HashMap<String, f64>,
    }

    fn float() -> impl Strategy<Value = f64> {
        any::<f64>().prop_filter("JSON has no such number", |float| float.is_finite())
    }

    fn state() -> impl Strategy<Value = State> {
        prop_oneof![
            Just(State::Planned),
            (any::<i64>(), any::<Option<String>>()).prop_map(|(lease, owner)| State::Claimed { lease, owner }),
        ]
    }

    prop_compose! {
        fn record()(
            text in any::<String>(),
            repeat in prop_oneof![9 => Just(1_usize), 1 => 1..4000_usize],
            flag in any::<bool>(),
            count in any::<i64>(),
            rows in 0..=i64::MAX as u64,
            ratio in float(),
            maybe in any::<Option<String>>(),
            owed in prop::collection::vec(any::<Option<u64>>(), 0..4),
            state in state(),
            by_state in prop::collection::hash_map(any::<String>(), float(), 0..4),
        ) -> Record {
            Record { text: text.repeat(repeat), flag, count, rows, ratio, maybe, owed, state, by_state }
        }
    }

    proptest! {
        #[test]
        fn a_record_survives_the_round_trip(record in record()) {
            let properties = to_properties(&record).unwrap();
            for (name, value) in &properties {
                prop_assert!(!value.is_null() && !value.is_array() && !value.is_object(), "{}", name);
                prop_assert!(value.as_str().is_none_or(|text| text.encode_utf16().count() <= MAX_PART_UNITS), "{}", name);
            }
            prop_assert_eq!(from_properties::<Record>(&properties).unwrap(), record);
        }

        #[test]
        fn any_text_is_split_into_parts_that_join_to_it(unit in "\\PC{1,9}", repeat in 0..12_000_usize) {
            let text = unit.repeat(repeat);
            let parts = split(text.clone());
            prop_assert!(parts.iter().all(|part| part.encode_utf16().count() <= MAX_PART_UNITS));
            prop_assert_eq!(parts.concat(), text);
        }
    }

    fn properties(value: Value) -> Properties {
        value.as_object().unwrap().clone()
    }

    #[test]
    fn scalars_stand_alone_and_nested_values_become_json_text() {
        let value = json!({"a": "x", "b": true, "c": -7, "d": 1.0, "e": null, "f": [1, null], "g": {"h": "\u{1F980}"}});
        assert_eq!(
            to_properties(&value).unwrap(),
            properties(
                json!({"a": "x", "b": true, "c": -7, "d": 1.0, "fJson": "[1,null]", "gJson": "{\"h\":\"\u{1F980}\"}"})
            )
        );
    }

    #[test]
    fn a_long_nested_value_is_cut_into_numbered_parts_between_characters() {
        let record = json!({"list": ["\u{1F980}".repeat(40_000)]});
        let stored = to_properties(&record).unwrap();
        assert_eq!(stored.keys().collect::<Vec<_>>(), ["listJson_0", "listJson_1", "listJson_2"]);
        assert_eq!(from_properties::<Value>(&stored).unwrap(), record);
    }

    #[test]
    fn more_than_ten_parts_are_joined_in_the_order_of_their_numbers() {
        let record = json!({"list": (0..60_000).collect::<Vec<_>>()});
        let stored = to_properties(&record).unwrap();
        assert!(stored.contains_key("listJson_10"));
        assert_eq!(from_properties::<Value>(&stored).unwrap(), record);
    }

    #[test]
    fn what_would_be_read_back_as_something_else_is_refused() {
        for value in [json!({"n": i64::MAX as u64 + 1}), json!([1]), json!({"aJson": "1"}), json!({"aJson_3": 1})] {
            assert!(matches!(to_properties(&value), Err(Error::Invalid(_))), "{value}");
        }
        assert!(to_properties(&json!({"Jsonnet": 1, "a_0": 2, "aJson_x": 3, "aJson_01": 4})).is_ok());
    }

    #[test]
    fn rows_that_no_record_made_are_refused() {
        for (value, why) in [
            (json!({"aJson": "[", }), "aJson"),
            (json!({"aJson": 1}), "must be JSON text"),
            (json!({"aJson": "[]", "aJson_0": "[]"}), "whole and in parts"),
            (json!({"aJson_0": "[", "aJson_2": "]"}), "is missing"),
            (json!({"a": 1, "aJson": "[]"}), "both as a property and as JSON"),
        ] {
            let error = from_properties::<Value>(&properties(value)).unwrap_err().to_string();
            assert!(error.contains(why), "{error}");
        }
        assert!(from_properties::<Record>(&properties(json!({"text": "a"}))).is_err());
    }
}
