//! Policies of the database, its tables and their columns: kept and shown as JSON. What they say is for others to carry out.

use super::cursor::Cursor;
use super::{Command, Error, ResultTable, texts};
use crate::adx::database::Content;
use crate::kql::lexer::TokenKind;
use crate::kql::time::write_timespan;
use crate::kql::{Type, Value};
use serde_json::{Value as Json, json};
use std::collections::BTreeMap;

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

/// What has policies.
pub(super) enum Entity {
    /// All tables.
    Tables,
    Table(String),
    Database(String),
    /// A column of a table.
    Column(String, String),
}

impl Entity {
    /// `T.C`
    pub(super) fn column(cursor: &mut Cursor<'_>) -> Result<Self, Error> {
        let table = cursor.name()?;
        cursor.sign(".")?;
        Ok(Self::Column(table, cursor.name()?))
    }

    /// Where the policies are kept, and under which name this one.
    fn place<'c>(
        &self,
        context: &super::Context<'_>,
        content: &'c mut Content,
        policy: &str,
    ) -> Result<(&'c mut BTreeMap<String, String>, String), Error> {
        let named = |content: &'c mut Content, table: &str| {
            content.tables.get_mut(table).ok_or_else(|| Error::not_found("Table", table))
        };
        match self {
            Self::Tables => Err(Error::bad_request("A policy is altered of one entity.")),
            Self::Table(table) => Ok((&mut named(content, table)?.policies, policy.to_owned())),
            Self::Database(name) => {
                context.database.check_name(name)?;
                Ok((&mut content.policies, policy.to_owned()))
            }
            Self::Column(table, column) => {
                let entry = named(content, table)?;
                if !entry.data.columns().iter().any(|held| held.name == *column) {
                    return Err(Error::not_found("Column", column));
                }
                Ok((&mut entry.policies, format!("{policy}/{column}")))
            }
        }
    }

    fn row(&self, policy: Policy, database: &str, text: &str) -> Vec<Value> {
        let (name, kind) = match self {
            Self::Tables | Self::Database(_) => (format!("[{database}]"), "Database"),
            Self::Table(table) => (format!("[{database}].[{table}]"), "Table"),
            Self::Column(table, column) => (format!("[{database}].[{table}].[{column}]"), "Column"),
        };
        texts([policy.1, &name, text, "", kind])
    }
}

/// `policy P` after `.show table T` and its kin.
pub(super) fn parse_show<'a>(cursor: &mut Cursor<'a>, entity: Entity) -> Result<Command<'a>, Error> {
    let policy = policy(cursor)?;
    Ok(Command::show(move |context| {
        let database = context.database.name();
        let rows = match &entity {
            Entity::Tables => {
                let content = context.database.read();
                let shown = content.tables.iter().map(|(name, entry)| {
                    let text = entry.policies.get(policy.0).map_or("null", String::as_str);
                    Entity::Table(name.clone()).row(policy, database, text)
                });
                shown.collect()
            }
            entity => {
                let mut content = context.database.write();
                let (held, name) = entity.place(context, &mut content, policy.0)?;
                vec![entity.row(policy, database, held.get(&name).map_or("null", String::as_str))]
            }
        };
        Ok(ResultTable::new(&COLUMNS, rows))
    }))
}

/// `policy P …` after `.alter table T`, `.alter-merge table T` and their kin.
pub(super) fn parse_alter<'a>(cursor: &mut Cursor<'a>, verb: &'a str, entity: Entity) -> Result<Command<'a>, Error> {
    let policy = policy(cursor)?;
    let new = value(cursor, policy.0)?;
    Ok(Command::change("PolicyAlter", move |context| {
        context.database.change(|content| {
            let (held, name) = entity.place(context, content, policy.0)?;
            let before = held.get(&name).and_then(|text| serde_json::from_str(text).ok());
            let text = match before {
                Some(before) if verb == "alter-merge" => merged(before, new).to_string(),
                _ => new.to_string(),
            };
            held.insert(name, text.clone());
            Ok(ResultTable::new(&COLUMNS, vec![entity.row(policy, context.database.name(), &text)]))
        })
    }))
}

/// `policy P` after `.delete table T` and its kin.
pub(super) fn parse_delete<'a>(cursor: &mut Cursor<'a>, entity: Entity) -> Result<Command<'a>, Error> {
    let policy = policy(cursor)?;
    Ok(Command::change("PolicyDelete", move |context| {
        context.database.change(|content| {
            let (held, name) = entity.place(context, content, policy.0)?;
            held.remove(&name);
            Ok(ResultTable::new(&COLUMNS, vec![entity.row(policy, context.database.name(), "null")]))
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
        "encoding" => {
            const PROFILES: [&str; 5] = ["Identifier", "BigObject", "BigObject32", "Vector16", "Null"];
            // Without a profile, and by the one that says so, the column is encoded as it was at first.
            if !cursor.eat("type")? {
                return Ok(Json::Null);
            }
            cursor.sign("=")?;
            let named = cursor.string()?;
            match PROFILES.into_iter().find(|profile| profile.eq_ignore_ascii_case(&named)) {
                None => Err(Error::bad_request(format!("There is no encoding profile '{named}'."))),
                Some("Null") => Ok(Json::Null),
                Some(profile) => Ok(json!({ "Profile": profile })),
            }
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
