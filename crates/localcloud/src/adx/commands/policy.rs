//! Table policies: kept and shown as JSON. What they say is for others to carry out.

use super::cursor::Cursor;
use super::{Command, Error, ResultTable, texts};
use crate::kql::lexer::TokenKind;
use crate::kql::time::write_timespan;
use crate::kql::{Type, Value};
use serde_json::{Value as Json, json};

const COLUMNS: [(&str, Type); 5] = [
    ("PolicyName", Type::String),
    ("EntityName", Type::String),
    ("Policy", Type::String),
    ("ChildEntities", Type::String),
    ("EntityType", Type::String),
];

/// Words of commands and what `PolicyName` says.
const POLICIES: [(&str, &str); 15] = [
    ("auto_delete", "AutoDeletePolicy"),
    ("caching", "CachingPolicy"),
    ("encoding", "EncodingPolicy"),
    ("extent_tags_retention", "ExtentTagsRetentionPolicy"),
    ("ingestionbatching", "IngestionBatchingPolicy"),
    ("ingestiontime", "IngestionTimePolicy"),
    ("merge", "ExtentsMergePolicy"),
    ("partitioning", "PartitioningPolicy"),
    ("restricted_view_access", "RestrictedViewAccessPolicy"),
    ("retention", "RetentionPolicy"),
    ("roworder", "RowOrderPolicy"),
    ("row_level_security", "RowLevelSecurityPolicy"),
    ("sharding", "ShardingPolicy"),
    ("streamingingestion", "StreamingIngestionPolicy"),
    ("update", "UpdatePolicy"),
];

type Policy = (&'static str, &'static str);

fn policy(cursor: &mut Cursor<'_>) -> Result<Policy, Error> {
    cursor.expect("policy")?;
    let word = cursor.peek_word()?.unwrap_or_default();
    let found = POLICIES.into_iter().find(|(name, _)| *name == word);
    let found = found.ok_or_else(|| cursor.unexpected("the name of a policy"))?;
    cursor.word()?;
    Ok(found)
}

/// `policy P` after `.show table T` or `.show table *`.
pub(super) fn parse_show<'a>(cursor: &mut Cursor<'a>, table: Option<String>) -> Result<Command<'a>, Error> {
    let policy = policy(cursor)?;
    Ok(Command::show(move |context| {
        let content = context.database.read();
        if let Some(table) = &table
            && !content.tables.contains_key(table)
        {
            return Err(Error::not_found("Table", table));
        }
        let shown = content.tables.iter().filter(|(name, _)| table.as_ref().is_none_or(|table| table == *name));
        let rows = shown.map(|(name, entry)| {
            let text = entry.policies.get(policy.0).map_or("null", String::as_str);
            row(policy, context.database.name(), name, text)
        });
        Ok(ResultTable::new(&COLUMNS, rows.collect()))
    }))
}

/// `policy P …` after `.alter table T` or `.alter-merge table T`.
pub(super) fn parse_alter<'a>(cursor: &mut Cursor<'a>, verb: &'a str, table: String) -> Result<Command<'a>, Error> {
    let policy = policy(cursor)?;
    let new = value(cursor, policy.0)?;
    Ok(Command::change("TablePolicyAlter", move |context| {
        context.database.change(|content| {
            let entry = content.tables.get_mut(&table).ok_or_else(|| Error::not_found("Table", &table))?;
            let held = entry.policies.get(policy.0).and_then(|text| serde_json::from_str(text).ok());
            let text = match held {
                Some(held) if verb == "alter-merge" => merged(held, new).to_string(),
                _ => new.to_string(),
            };
            entry.policies.insert(policy.0.to_owned(), text.clone());
            Ok(ResultTable::new(&COLUMNS, vec![row(policy, context.database.name(), &table, &text)]))
        })
    }))
}

/// `policy P` after `.delete table T`.
pub(super) fn parse_delete<'a>(cursor: &mut Cursor<'a>, table: String) -> Result<Command<'a>, Error> {
    let policy = policy(cursor)?;
    Ok(Command::change("TablePolicyDelete", move |context| {
        context.database.change(|content| {
            let entry = content.tables.get_mut(&table).ok_or_else(|| Error::not_found("Table", &table))?;
            entry.policies.remove(policy.0);
            Ok(ResultTable::new(&COLUMNS, vec![row(policy, context.database.name(), &table, "null")]))
        })
    }))
}

/// A policy as JSON in a string, or in the words that some policies have instead.
fn value(cursor: &mut Cursor<'_>, policy: &str) -> Result<Json, Error> {
    if matches!(cursor.peek()?.kind, TokenKind::String(_)) {
        let text = cursor.string()?;
        return serde_json::from_str(&text)
            .map_err(|error| Error::bad_request(format!("The {policy} policy is not valid JSON: {error}.")));
    }
    match policy {
        "streamingingestion" | "restricted_view_access" | "ingestiontime" | "row_level_security" => {
            let enabled = match cursor.word()? {
                "enable" | "true" => true,
                "disable" | "false" => false,
                _ => return Err(Error::bad_request(format!("The {policy} policy is enabled or disabled."))),
            };
            let mut value = json!({ "IsEnabled": enabled });
            if policy == "row_level_security" {
                value["Query"] = cursor.string()?.into();
            }
            Ok(value)
        }
        "caching" => {
            cursor.expect("hot")?;
            cursor.sign("=")?;
            let span = timespan(cursor)?;
            Ok(json!({ "DataHotSpan": { "Value": span }, "IndexHotSpan": { "Value": span } }))
        }
        "retention" => {
            let mut value = json!({});
            loop {
                match cursor.peek_word()? {
                    Some("softdelete") => {
                        cursor.word()?;
                        cursor.sign("=")?;
                        value["SoftDeletePeriod"] = timespan(cursor)?.into();
                    }
                    Some("recoverability") => {
                        cursor.word()?;
                        cursor.sign("=")?;
                        let enabled = cursor.word()?.eq_ignore_ascii_case("enabled");
                        value["Recoverability"] = if enabled { "Enabled" } else { "Disabled" }.into();
                    }
                    _ if value == json!({}) => return Err(cursor.unexpected("'softdelete' or 'recoverability'")),
                    _ => return Ok(value),
                }
            }
        }
        _ => Err(cursor.unexpected("the policy as JSON in a string")),
    }
}

fn timespan(cursor: &mut Cursor<'_>) -> Result<String, Error> {
    let TokenKind::Timespan(ticks) = cursor.peek()?.kind else { return Err(cursor.unexpected("a timespan")) };
    cursor.scalar()?;
    let mut text = String::new();
    write_timespan(ticks, &mut text);
    Ok(text)
}

/// `held` with what `new` says: members replaced, elements added.
fn merged(held: Json, new: Json) -> Json {
    match (held, new) {
        (Json::Object(mut held), Json::Object(new)) => {
            held.extend(new);
            Json::Object(held)
        }
        (Json::Array(mut held), Json::Array(new)) => {
            held.extend(new);
            Json::Array(held)
        }
        (_, new) => new,
    }
}

fn row(policy: Policy, database: &str, table: &str, text: &str) -> Vec<Value> {
    texts([policy.1, &format!("[{database}].[{table}]"), text, "", "Table"])
}
