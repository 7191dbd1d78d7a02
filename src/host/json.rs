//! JSON whose members keep their order: a queue message made from a handler's object must have its members
//! where the handler put them. Knows nothing of functions.

use serde::de::{MapAccess, SeqAccess, Visitor};
use serde::ser::{SerializeMap, SerializeSeq};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;

/// A JSON value with its members in the order of the text. A repeated name keeps its first place and its
/// last value.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Json {
    Null,
    Bool(bool),
    Number(serde_json::Number),
    String(String),
    Array(Vec<Json>),
    Object(Vec<(String, Json)>),
}

impl Json {
    pub(crate) fn parse(text: &str) -> Result<Self, serde_json::Error> {
        serde_json::from_str(text)
    }

    pub(crate) fn text(text: impl Into<String>) -> Self {
        Self::String(text.into())
    }

    /// An object of these members.
    pub(crate) fn object<const N: usize>(members: [(&str, Json); N]) -> Self {
        Self::Object(members.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
    }

    pub(crate) fn is_null(&self) -> bool {
        matches!(self, Self::Null)
    }

    /// The member of this object whose name is `name`, the case of letters aside.
    pub(crate) fn member(&self, name: &str) -> Option<&Json> {
        let Self::Object(members) = self else { return None };
        members.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }

    /// The member of this object whose name is exactly `name`.
    pub(crate) fn exact(&self, name: &str) -> Option<&Json> {
        let Self::Object(members) = self else { return None };
        members.iter().find(|(key, _)| key == name).map(|(_, value)| value)
    }

    /// On one line, without blanks.
    pub(crate) fn compact(&self) -> String {
        serde_json::to_string(self).unwrap_or_else(|_| unwritable())
    }

    /// Over several lines, two blanks a level.
    pub(crate) fn indented(&self) -> String {
        serde_json::to_string_pretty(self).unwrap_or_else(|_| unwritable())
    }

    /// A scalar as .NET writes it into a text; an array or object as compact JSON.
    pub(crate) fn scalar_text(&self) -> String {
        match self {
            Self::Null => String::new(),
            Self::Bool(true) => "True".to_owned(),
            Self::Bool(false) => "False".to_owned(),
            Self::Number(number) => number.to_string(),
            Self::String(text) => text.clone(),
            Self::Array(_) | Self::Object(_) => self.compact(),
        }
    }
}

/// Writing into a `String` cannot fail, and every map key is text; this stands in for the impossible.
fn unwritable() -> String {
    "null".to_owned()
}

impl Serialize for Json {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Null => serializer.serialize_unit(),
            Self::Bool(value) => serializer.serialize_bool(*value),
            Self::Number(number) => number.serialize(serializer),
            Self::String(text) => serializer.serialize_str(text),
            Self::Array(values) => {
                let mut sequence = serializer.serialize_seq(Some(values.len()))?;
                for value in values {
                    sequence.serialize_element(value)?;
                }
                sequence.end()
            }
            Self::Object(members) => {
                let mut map = serializer.serialize_map(Some(members.len()))?;
                for (name, value) in members {
                    map.serialize_entry(name, value)?;
                }
                map.end()
            }
        }
    }
}

impl<'de> Deserialize<'de> for Json {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(JsonVisitor)
    }
}

struct JsonVisitor;

impl<'de> Visitor<'de> for JsonVisitor {
    type Value = Json;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Json, E> {
        Ok(Json::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Json, E> {
        Ok(Json::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Json, E> {
        Ok(Json::Number(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Json, E> {
        Ok(Json::Number(value.into()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Json, E> {
        Ok(serde_json::Number::from_f64(value).map_or(Json::Null, Json::Number))
    }

    fn visit_str<E>(self, value: &str) -> Result<Json, E> {
        Ok(Json::String(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Json, E> {
        Ok(Json::String(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut sequence: A) -> Result<Json, A::Error> {
        let mut values = Vec::new();
        while let Some(value) = sequence.next_element()? {
            values.push(value);
        }
        Ok(Json::Array(values))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Json, A::Error> {
        let mut members: Vec<(String, Json)> = Vec::new();
        let mut places: std::collections::HashMap<String, usize> = std::collections::HashMap::new();
        while let Some((name, value)) = map.next_entry::<String, Json>()? {
            match places.get(&name) {
                Some(&place) => members[place].1 = value,
                None => {
                    places.insert(name.clone(), members.len());
                    members.push((name, value));
                }
            }
        }
        Ok(Json::Object(members))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_stay_where_they_were() {
        let json = Json::parse(r#"{"b":1,"a":{"z":[1.5,null,true],"y":""},"b":2}"#).unwrap();
        assert_eq!(json.compact(), r#"{"b":2,"a":{"z":[1.5,null,true],"y":""}}"#);
    }

    #[test]
    fn indented_json_has_two_blanks_a_level_and_empty_things_on_one_line() {
        let json = Json::parse(r#"{"a":1,"b":[],"c":[{}]}"#).unwrap();
        assert_eq!(json.indented(), "{\n  \"a\": 1,\n  \"b\": [],\n  \"c\": [\n    {}\n  ]\n}");
    }

    #[test]
    fn members_are_found_in_any_case() {
        let json = Json::parse(r#"{"outputs":{}}"#).unwrap();
        assert_eq!(json.member("Outputs"), Some(&Json::Object(Vec::new())));
    }
}
