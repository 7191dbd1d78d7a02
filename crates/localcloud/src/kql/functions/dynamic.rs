//! Functions of arrays and bags.

use super::Gives::First;
use super::Signature;
use super::Takes::{Any, Dynamic, Text, Whole};
use super::argument;
use crate::kql::json::to_serde;
use crate::kql::{Type, Value};
use serde_json::Value as Json;

pub(super) const TABLE: &[Signature] = &[
    Signature::new("bag_pack", &[Any], Type::Dynamic, pack).open(2),
    Signature::new("pack", &[Any], Type::Dynamic, pack).open(2),
    Signature::new("pack_dictionary", &[Any], Type::Dynamic, pack).open(2),
    Signature::new("pack_array", &[Any], Type::Dynamic, |values| {
        Value::dynamic(values.iter().map(to_serde).collect::<Vec<_>>().into())
    })
    .open(1),
    Signature::new("array_length", &[Dynamic], Type::Long, |values| {
        array(&values[0]).map_or(Value::Null, |items| Value::Long(items.len() as i64))
    }),
    Signature::new("array_concat", &[Dynamic], Type::Dynamic, |values| {
        let items = values.iter().filter_map(array).flatten().cloned().collect::<Vec<_>>();
        Value::dynamic(items.into())
    })
    .open(1),
    Signature::new("array_index_of", &[Dynamic, Any], Type::Long, |values| {
        let wanted = to_serde(&values[1]);
        array(&values[0]).map_or(Value::Null, |items| {
            Value::Long(items.iter().position(|item| *item == wanted).map_or(-1, |index| index as i64))
        })
    }),
    Signature::new("array_slice", &[Dynamic, Whole, Whole], Type::Dynamic, array_slice),
    Signature::new("strcat_array", &[Dynamic, Text], Type::String, |values| {
        let texts: Vec<_> = array(&values[0]).into_iter().flatten().map(|item| Value::dynamic(item.clone())).collect();
        let texts: Vec<_> = texts.iter().map(Value::to_text).collect();
        Value::text(texts.join(&*values[1].to_text()))
    }),
    Signature::new("bag_keys", &[Dynamic], Type::Dynamic, |values| match bag(&values[0]) {
        Some(members) => Value::dynamic(members.keys().map(|key| Json::from(key.as_str())).collect::<Vec<_>>().into()),
        None => Value::Null,
    }),
    Signature::new("bag_has_key", &[Dynamic, Text], Type::Bool, |values| {
        bag(&values[0]).map_or(Value::Null, |members| Value::Bool(members.contains_key(&*values[1].to_text())))
    }),
    Signature::new("bag_remove_keys", &[Dynamic, Dynamic], Type::Dynamic, bag_remove_keys).gives(First),
    Signature::new("bag_merge", &[Dynamic], Type::Dynamic, |values| {
        let mut merged = serde_json::Map::new();
        for (key, value) in values.iter().filter_map(bag).flatten() {
            merged.entry(key.as_str()).or_insert_with(|| value.clone());
        }
        Value::dynamic(merged.into())
    })
    .open(1),
    Signature::new("bag_set_key", &[Dynamic, Text, Any], Type::Dynamic, |values| match bag(&values[0]) {
        Some(members) => {
            let mut members = members.clone();
            members.insert(values[1].to_text().into_owned(), to_serde(&values[2]));
            Value::dynamic(members.into())
        }
        None => Value::Null,
    }),
    Signature::new("set_has_element", &[Dynamic, Any], Type::Bool, |values| {
        let wanted = to_serde(&values[1]);
        array(&values[0]).map_or(Value::Null, |items| Value::Bool(items.contains(&wanted)))
    }),
];

fn array(value: &Value) -> Option<&Vec<Json>> {
    match value {
        Value::Dynamic(json) => json.as_array(),
        _ => None,
    }
}

fn bag(value: &Value) -> Option<&serde_json::Map<String, Json>> {
    match value {
        Value::Dynamic(json) => json.as_object(),
        _ => None,
    }
}

/// `key, value, key, value, …`
fn pack(values: &[Value]) -> Value {
    let mut members = serde_json::Map::new();
    for pair in values.chunks(2) {
        members.insert(pair[0].to_text().into_owned(), to_serde(argument(pair, 1)));
    }
    Value::dynamic(members.into())
}

/// Both ends belong to the slice; negative ones count from the end.
fn array_slice(values: &[Value]) -> Value {
    let (Some(items), Some(start), Some(end)) = (array(&values[0]), values[1].as_i64(), values[2].as_i64()) else {
        return Value::Null;
    };
    let count = items.len() as i64;
    let at = |index: i64| if index < 0 { index.saturating_add(count) } else { index };
    let start = at(start).clamp(0, count) as usize;
    let end = at(end).saturating_add(1).clamp(0, count) as usize;
    Value::dynamic(items.get(start..end).unwrap_or(&[]).to_vec().into())
}

/// Keys are names of the first level or, beginning with `$.`, paths.
fn bag_remove_keys(values: &[Value]) -> Value {
    let Some(members) = bag(&values[0]) else { return Value::Null };
    let mut members = members.clone();
    for key in array(&values[1]).into_iter().flatten().filter_map(Json::as_str) {
        match key.strip_prefix("$.") {
            Some(path) => remove_path(&mut members, path),
            None => _ = members.remove(key),
        }
    }
    Value::dynamic(members.into())
}

fn remove_path(members: &mut serde_json::Map<String, Json>, path: &str) {
    let mut members = members;
    let mut path = path;
    while let Some((head, rest)) = path.split_once('.') {
        match members.get_mut(head).and_then(Json::as_object_mut) {
            Some(inner) => members = inner,
            None => return,
        }
        path = rest;
    }
    members.remove(path);
}

/// The member of a bag or the element of an array; negative indexes count from the end.
pub(in crate::kql) fn access(values: &[Value]) -> Value {
    let Value::Dynamic(json) = &values[0] else { return Value::Null };
    let found = match &values[1] {
        Value::String(key) => json.get(&**key),
        index => json.as_array().and_then(|items| {
            let index = index.as_i64()?;
            let index = if index < 0 { index + items.len() as i64 } else { index };
            items.get(usize::try_from(index).ok()?)
        }),
    };
    found.map_or(Value::Null, |json| Value::dynamic(json.clone()))
}
