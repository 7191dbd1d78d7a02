//! What could break when a table gains a column (dataexplorer-docs `management/materialized-views/materialized-views-limitations.md`,
//! `management/update-policy.md`): materialized views that take `*`, update policies that read the table and pass its columns
//! on, and update policies that fill it. In doubt, it could.

use super::super::template::fill;
use super::{Catalog, Error, Looked, Table};
use crate::kql::Identifier;
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};
use tokio::time::Instant;

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct UpdatePolicy {
    #[serde(default)]
    is_enabled: bool,
    #[serde(default)]
    source: String,
    #[serde(default)]
    query: String,
}

/// The table that is to gain a column, and by what it may be read.
struct Reading<'a> {
    table: &'a str,
    database: &'a str,
    /// Bodies of functions by name.
    functions: BTreeMap<String, String>,
    /// Of these, the ones that read the table, if only through others.
    readers: BTreeSet<String>,
}

impl Catalog {
    /// The first thing that could break when `table` gains a column, in words. `ours`: this app made the table, so that a
    /// service which cannot show what reads a table has nothing that does.
    pub(super) async fn blocker(
        &self,
        table: &Identifier,
        ours: bool,
        deadline: Instant,
    ) -> Result<Option<String>, Error> {
        let (mut views, mut policies, mut functions) = (None, None, None);
        for (what, file, shown) in [
            ("materialized view", include_str!("../../../kql/destination/show_materialized_views.kql"), &mut views),
            ("update policy", include_str!("../../../kql/destination/show_update_policies.kql"), &mut policies),
            ("function", include_str!("../../../kql/destination/show_functions.kql"), &mut functions),
        ] {
            match self.look(&fill(file, &[]), deadline).await? {
                Looked::Shown(table) => *shown = Some(table),
                Looked::Unseen(_) if ours => {}
                Looked::Unseen(why) => {
                    return Ok(Some(format!(
                        "a {what} that reads it, if there is one: ADX does not show them ({why})"
                    )));
                }
            }
        }
        let functions = functions.as_ref().map(bodies).transpose()?.unwrap_or_default();
        let reading = Reading::new(table.as_str(), self.client.database(), functions);
        if let Some(view) = views.as_ref().map(|views| reading.fragile_view(views)).transpose()?.flatten() {
            return Ok(Some(format!("the materialized view `{view}`, which takes all its columns with `*`")));
        }
        policies.as_ref().map_or(Ok(None), |policies| reading.fragile_policy(policies))
    }
}

fn bodies(functions: &Table) -> Result<BTreeMap<String, String>, Error> {
    let (name, body) = (functions.column("Name")?, functions.column("Body")?);
    functions.rows().map(|row| Ok((row.text(name)?.to_owned(), row.text(body)?.to_owned()))).collect()
}

impl<'a> Reading<'a> {
    fn new(table: &'a str, database: &'a str, functions: BTreeMap<String, String>) -> Self {
        let mut readers = BTreeSet::new();
        loop {
            let reads = |body: &str| names(body, table) || readers.iter().any(|reader: &String| names(body, reader));
            let more: Vec<String> = functions
                .iter()
                .filter(|(name, body)| !readers.contains(*name) && reads(body))
                .map(|(name, _)| name.clone())
                .collect();
            if more.is_empty() {
                return Self { table, database, functions, readers };
            }
            readers.extend(more);
        }
    }

    /// Whether a query reads the table, if only through functions.
    fn is_read_by(&self, query: &str) -> bool {
        names(query, self.table) || self.readers.iter().any(|reader| names(query, reader))
    }

    fn fragile_view(&self, views: &Table) -> Result<Option<String>, Error> {
        let (name, query) = (views.column("Name")?, views.column("Query")?);
        let (source, follows) = (views.find("SourceTable"), views.find("AutoUpdateSchema"));
        for row in views.rows() {
            let follows = follows.map(|at| row.bool(at)).transpose()?.flatten() == Some(true);
            let source = source.map(|at| row.text(at)).transpose()?.unwrap_or_default();
            let query = row.text(query)?;
            let reads = entity_of(source, self.database) == self.table || self.is_read_by(query);
            if reads && !follows && takes_all(query) {
                return Ok(Some(row.text(name)?.to_owned()));
            }
        }
        Ok(None)
    }

    fn fragile_policy(&self, policies: &Table) -> Result<Option<String>, Error> {
        let (entity, policy) = (policies.column("EntityName")?, policies.column("Policy")?);
        for row in policies.rows() {
            let target = entity_of(row.text(entity)?, self.database);
            let Some(value) = row.dynamic(policy)? else { continue };
            let parts: Option<Vec<UpdatePolicy>> = serde_json::from_value(value.into_owned())
                .map_err(|error| Error::corrupt(format!("the update policy of `{target}`: {error}")))?;
            for part in parts.unwrap_or_default().iter().filter(|part| part.is_enabled) {
                if target == self.table {
                    return Ok(Some(format!("the update policy that fills it from `{}`", part.source)));
                }
                let reads = entity_of(&part.source, self.database) == self.table || self.is_read_by(&part.query);
                if reads && !self.names_its_columns(&part.query) {
                    return Ok(Some(format!("the update policy of `{target}`, which does not end in `project`")));
                }
            }
        }
        Ok(None)
    }

    /// Whether a query, or the function that it consists of, ends in an explicit list of columns.
    fn names_its_columns(&self, query: &str) -> bool {
        let query = query.trim().trim_end_matches(';').trim_end();
        let name = query.strip_suffix("()").unwrap_or(query);
        let name = name.trim_start_matches("['").trim_end_matches("']");
        // No function: the bare name of a table, which passes everything on.
        ends_in_a_list(self.functions.get(name).map_or(query, String::as_str))
    }
}

/// Whether a text has a name in it as a word of its own, whatever it means there.
fn names(text: &str, name: &str) -> bool {
    let is_part = |c: char| c.is_alphanumeric() || c == '_';
    text.match_indices(name).any(|(at, _)| {
        let (before, after) = (&text[..at], &text[at + name.len()..]);
        !before.ends_with(is_part) && !after.starts_with(is_part)
    })
}

/// Whether a `*` stands where an aggregation takes all columns, and not a product.
fn takes_all(query: &str) -> bool {
    query.match_indices('*').any(|(at, _)| query[..at].trim_end().ends_with(['(', ',']))
}

/// Whether the last operator names the columns of the result.
fn ends_in_a_list(query: &str) -> bool {
    let query = query.trim().trim_start_matches('{').trim_end_matches('}').trim().trim_end_matches(';');
    let last = query.rsplit('|').next().unwrap_or_default().trim_start();
    let operator = last.split(|c: char| !c.is_ascii_alphanumeric() && c != '-' && c != '_').next().unwrap_or_default();
    query.contains('|') && (operator == "project" || (operator == "summarize" && !takes_all(last)))
}

/// The table's name in `[database].[table]`, `database.table` or `table`. Names of databases have no case.
fn entity_of<'a>(entity: &'a str, database: &str) -> &'a str {
    let entity = entity.trim();
    let unquoted = |name: &'a str| name.trim_matches(['[', ']']).trim_matches(['\'', '"']);
    if let Some((_, table)) = entity.strip_suffix(']').and_then(|inner| inner.rsplit_once('[')) {
        return table.trim_matches(['\'', '"']);
    }
    // A name may have a point in it: only what stands behind the database's own is taken apart.
    for (at, _) in entity.match_indices('.') {
        if unquoted(&entity[..at]).eq_ignore_ascii_case(database) {
            return unquoted(&entity[at + 1..]);
        }
    }
    entity
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_in_an_aggregation_takes_all_columns_and_one_in_a_product_does_not() {
        assert!(takes_all("T | summarize arg_max(Timestamp, *) by Id"));
        assert!(takes_all("T | summarize take_any( *) by Id"));
        assert!(!takes_all("T | extend x = a * 2 | summarize sum(x) by Id"));
    }

    #[test]
    fn a_query_that_ends_in_project_names_its_columns() {
        assert!(ends_in_a_list("{ T | where x | project A, B }"));
        assert!(ends_in_a_list("T | summarize count() by A"));
        assert!(!ends_in_a_list("T | project A | extend B = 1"));
        assert!(!ends_in_a_list("T | project-away A"));
        assert!(!ends_in_a_list("T | summarize take_any(*) by A"));
        assert!(!ends_in_a_list("T"));
    }

    #[test]
    fn entities_are_read_with_and_without_their_database() {
        for (entity, table) in [
            ("[Db].[My.Table]", "My.Table"),
            ("T", "T"),
            ("['T']", "T"),
            ("Db.T", "T"),
            ("db.My.Table", "My.Table"),
            ("Db.['T']", "T"),
            ("['Db'].T", "T"),
            ("My.Table", "My.Table"),
        ] {
            assert_eq!(entity_of(entity, "Db"), table, "{entity}");
        }
    }

    #[test]
    fn a_name_is_found_as_a_word_and_not_as_a_part_of_one() {
        assert!(names("Raw | join (T | project Id) on Id", "T"));
        assert!(names("union ['T'], X", "T"));
        assert!(names("Db.T", "T"));
        assert!(!names("T2 | where MyT == 1 and T_x == 2", "T"));
    }

    #[test]
    fn a_table_is_read_through_functions_that_call_functions() {
        let functions = [("A", "{ B() | extend X = 1 }"), ("B", "{ T }"), ("C", "{ Other }")];
        let functions = functions.map(|(name, body)| (name.to_owned(), body.to_owned())).into();
        let reading = Reading::new("T", "Db", functions);
        assert!(reading.is_read_by("A()") && reading.is_read_by("B") && !reading.is_read_by("C()"));
        assert!(!reading.names_its_columns("A()"));
    }
}
