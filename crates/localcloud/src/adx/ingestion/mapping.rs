//! Ingestion mappings: which part of a record goes into which column (dataexplorer-docs `management/mappings.md`,
//! `management/json-mapping.md`).

use super::convert;
use super::failure::Failure;
use super::rows::Record;
use crate::kql::{Column, Type, Value};
use serde_json::{Map, Value as Json};

/// One step of a path.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Step {
    Member(String),
    Item(usize),
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum From {
    /// The whole record if empty.
    Path(Vec<Step>),
    Constant(String),
    Field(usize),
}

/// A mapping for a table's columns.
#[derive(Debug, Clone)]
pub struct Mapping {
    /// By column; columns that are not mapped are null.
    sources: Vec<Option<From>>,
    types: Vec<Type>,
    /// The most bytes of a string or dynamic value, by column.
    caps: Vec<usize>,
}

impl Mapping {
    /// Members, or fields, by the columns' own names and places.
    pub fn identity(columns: &[Column], fields: bool) -> Self {
        let own = |(index, column): (usize, &Column)| {
            Some(if fields { From::Field(index) } else { From::Path(vec![Step::Member(column.name.clone())]) })
        };
        Self::new(columns, columns.iter().enumerate().map(own).collect())
    }

    fn new(columns: &[Column], sources: Vec<Option<From>>) -> Self {
        let types = columns.iter().map(|column| column.ty).collect();
        Self { sources, types, caps: vec![convert::VALUE_CAP; columns.len()] }
    }

    /// Reads a mapping's JSON text. Keys are case-insensitive.
    ///
    /// # Errors
    /// [`Failure`] says what is wrong with it.
    pub fn parse(text: &str, columns: &[Column]) -> Result<Self, Failure> {
        let invalid = |what: String| Failure::permanent("BadRequest_InvalidMapping", what);
        let entries: Vec<Map<String, Json>> =
            serde_json::from_str(text).map_err(|error| invalid(format!("The mapping is not valid JSON: {error}")))?;
        let mut sources = vec![None; columns.len()];
        for entry in entries {
            let name = text_of(&entry, &["column", "name"])
                .ok_or_else(|| invalid("An entry of the mapping has no column.".to_owned()))?;
            let index = columns.iter().position(|column| column.name == name).ok_or_else(|| {
                let what = format!("Column '{name}' of the mapping is not in the table.");
                Failure::permanent("BadRequest_InconsistentMapping", what)
            })?;
            if sources[index].is_some() {
                return Err(invalid(format!("Column '{name}' is mapped twice.")));
            }
            let properties = match find(&entry, "properties") {
                Some(Json::Object(properties)) => properties,
                Some(_) => return Err(invalid(format!("The properties of column '{name}' are no object."))),
                None => &entry,
            };
            if let Some(transform) = text_of(properties, &["transform"]).filter(|name| !name.is_empty()) {
                return Err(invalid(format!("Transform '{transform}' of column '{name}' is not available.")));
            }
            sources[index] = from(properties).map_err(|what| invalid(format!("Column '{name}': {what}")))?;
        }
        Ok(Self::new(columns, sources))
    }

    /// The same with another cap for the strings and dynamic values of one column.
    pub fn allow(&mut self, column: usize, cap: usize) {
        if let Some(own) = self.caps.get_mut(column) {
            *own = cap;
        }
    }

    /// The same without a source for a column.
    pub fn leave_out(&mut self, column: usize) {
        if let Some(own) = self.sources.get_mut(column) {
            *own = None;
        }
    }

    /// A record as a row of the table.
    pub fn row(&self, record: Record) -> Vec<Value> {
        let (json, fields, text_bytes) = match record {
            Record::Object { content, text_bytes } => (Json::Object(content), Vec::new(), text_bytes),
            Record::Fields(fields) => (Json::Null, fields, None),
        };
        let mut row: Vec<Value> = Vec::with_capacity(self.sources.len());
        let mut whole = Vec::new();
        for (index, source) in self.sources.iter().enumerate() {
            let (ty, cap) = (self.types[index], self.caps[index]);
            row.push(match source {
                None => convert::value(&Json::Null, ty, cap),
                Some(From::Path(path)) if path.is_empty() && ty == Type::Dynamic => {
                    whole.push(index);
                    Value::Null
                }
                Some(From::Path(path)) => convert::value(walk(&json, path), ty, cap),
                Some(From::Constant(text)) => convert::value(&Json::from(text.as_str()), ty, cap),
                Some(From::Field(at)) => {
                    let field = fields.get(*at).filter(|field| ty == Type::String || !field.is_empty());
                    field_value(field.map_or("", String::as_str), ty, cap)
                }
            });
        }
        // The record itself is moved, not copied, into the columns that take it whole.
        let fits = |cap: usize| text_bytes.is_some_and(|bytes| bytes <= cap / 2) || convert::fits(&json, cap);
        let kept: Vec<usize> = whole.into_iter().filter(|index| fits(self.caps[*index])).collect();
        if !kept.is_empty() {
            let value = Value::dynamic(json);
            kept.into_iter().for_each(|index| row[index] = value.clone());
        }
        row
    }
}

fn field_value(field: &str, ty: Type, cap: usize) -> Value {
    match ty {
        Type::Dynamic if field.is_empty() => Value::Null,
        Type::Dynamic => {
            let json = serde_json::from_str(field).unwrap_or_else(|_| Json::from(field));
            convert::value(&json, ty, cap)
        }
        _ => convert::value(&Json::from(field), ty, cap),
    }
}

fn from(properties: &Map<String, Json>) -> Result<Option<From>, String> {
    if let Some(constant) = find(properties, "constvalue") {
        let text = constant.as_str().map_or_else(|| constant.to_string(), str::to_owned);
        return Ok(Some(From::Constant(text)));
    }
    if let Some(path) = text_of(properties, &["path"]) {
        if !path.starts_with('$') {
            return Ok(Some(From::Constant(path.to_owned())));
        }
        return match steps(path) {
            Some(steps) => Ok(Some(From::Path(steps))),
            None => Err(format!("'{path}' is no path")),
        };
    }
    match find(properties, "ordinal") {
        Some(ordinal) => {
            let number = ordinal.as_u64().or_else(|| ordinal.as_str()?.parse().ok());
            let number = number.and_then(|number| usize::try_from(number).ok());
            number.map(|number| Some(From::Field(number))).ok_or_else(|| format!("{ordinal} is no ordinal"))
        }
        // As documented: a property of another name is ignored, and nulls land.
        None => Ok(None),
    }
}

/// `$`, `$.a.b`, `$['a b']`, `$.a[0]`.
fn steps(path: &str) -> Option<Vec<Step>> {
    let mut rest = path.strip_prefix('$')?;
    let mut steps = Vec::new();
    while !rest.is_empty() {
        if let Some(after) = rest.strip_prefix('.') {
            let end = after.find(['.', '[']).unwrap_or(after.len());
            if end == 0 {
                return None;
            }
            steps.push(Step::Member(after[..end].to_owned()));
            rest = &after[end..];
            continue;
        }
        let after = rest.strip_prefix('[')?;
        let quote = after.chars().next()?;
        if matches!(quote, '\'' | '"') {
            let (name, after) = after[1..].split_once(&format!("{quote}]"))?;
            steps.push(Step::Member(name.to_owned()));
            rest = after;
        } else {
            let (index, after) = after.split_once(']')?;
            steps.push(Step::Item(index.trim().parse().ok()?));
            rest = after;
        }
    }
    Some(steps)
}

fn walk<'j>(json: &'j Json, path: &[Step]) -> &'j Json {
    path.iter().fold(json, |json, step| match step {
        Step::Member(name) => json.get(name).unwrap_or(&Json::Null),
        Step::Item(index) => json.get(index).unwrap_or(&Json::Null),
    })
}

fn find<'m>(members: &'m Map<String, Json>, wanted: &str) -> Option<&'m Json> {
    members.iter().find(|(name, _)| name.eq_ignore_ascii_case(wanted)).map(|(_, value)| value)
}

fn text_of<'m>(members: &'m Map<String, Json>, names: &[&str]) -> Option<&'m str> {
    names.iter().find_map(|name| find(members, name)?.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn columns() -> Vec<Column> {
        [("Timestamp", Type::Datetime), ("RawData", Type::Dynamic), ("ChunkId", Type::String), ("N", Type::Long)]
            .map(|(name, ty)| Column { name: name.into(), ty })
            .to_vec()
    }

    fn row(mapping: Json, content: Json) -> Vec<Value> {
        let Json::Object(content) = content else { panic!("no object") };
        Mapping::parse(&mapping.to_string(), &columns()).unwrap().row(Record::Object { content, text_bytes: None })
    }

    #[test]
    fn paths_and_constants_fill_columns() {
        let content = json!({"Timestamp": "0001-01-01T00:00:01Z", "a b": {"n": [1, 2]}, "ChunkId": "own"});
        let mapping = json!([
            {"Column": "Timestamp", "Properties": {"path": "$.Timestamp"}},
            {"column": "RawData", "properties": {"Path": "$"}},
            {"column": "ChunkId", "Properties": {"ConstValue": "w-1"}},
            {"column": "N", "Properties": {"Path": "$['a b'].n[1]"}},
        ]);
        let expected =
            vec![Value::Datetime(10_000_000), Value::dynamic(content.clone()), Value::text("w-1"), Value::Long(2)];
        assert_eq!(row(mapping, content), expected);
        let other =
            json!([{"column": "RawData", "path": "$.x"}, {"column": "ChunkId", "Properties": {"ConstantValue": "w"}}]);
        assert_eq!(row(other, json!({"x": 1})), [Value::Null, Value::dynamic(json!(1)), Value::text(""), Value::Null]);
    }

    #[test]
    fn bad_mappings_are_named() {
        for (mapping, code) in [
            ("no json", "BadRequest_InvalidMapping"),
            (r#"[{"Properties": {"Path": "$"}}]"#, "BadRequest_InvalidMapping"),
            (r#"[{"column": "N", "Properties": {"Path": "$..x"}}]"#, "BadRequest_InvalidMapping"),
            (r#"[{"column": "N", "path": "$.a"}, {"column": "N", "path": "$.b"}]"#, "BadRequest_InvalidMapping"),
            (r#"[{"column": "n", "path": "$.a"}]"#, "BadRequest_InconsistentMapping"),
        ] {
            assert_eq!(Mapping::parse(mapping, &columns()).unwrap_err().code, code, "{mapping}");
        }
    }

    #[test]
    fn without_a_mapping_names_or_places_count() {
        let fields = ["", "{\"a\":1}", "c", "7"].map(str::to_owned).to_vec();
        let expected = [Value::Null, Value::dynamic(json!({"a": 1})), Value::text("c"), Value::Long(7)];
        assert_eq!(Mapping::identity(&columns(), true).row(Record::Fields(fields)), expected);
        let Json::Object(content) = json!({"n": 1, "N": 2}) else { panic!("no object") };
        let row = Mapping::identity(&columns(), false).row(Record::Object { content, text_bytes: None });
        assert_eq!(row[3], Value::Long(2));
    }
}
