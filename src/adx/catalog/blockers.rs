//! What could break when a table gains a column (dataexplorer-docs `management/materialized-views/materialized-views-limitations.md`,
//! `management/update-policy.md`): materialized views that take `*`, update policies that read the table and pass its columns
//! on, and update policies that fill it. In doubt, it could.

use super::super::template::fill;
use super::{Catalog, Error, Table};
use crate::kql::{Identifier, Text};
use serde::Deserialize;
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

impl Catalog {
    /// The first thing that could break when `table` gains a column, in words.
    pub(super) async fn blocker(&self, table: &Identifier, deadline: Instant) -> Result<Option<String>, Error> {
        let file = include_str!("../../../kql/destination/show_materialized_views.kql");
        let views = self.show_if_known(&fill(file, &[("table", &Text(table.as_str()))]), deadline).await?;
        if let Some(view) = views.as_ref().map(fragile_view).transpose()?.flatten() {
            return Ok(Some(format!("the materialized view `{view}`, which takes all its columns with `*`")));
        }
        let file = include_str!("../../../kql/destination/show_update_policies.kql");
        let Some(policies) = self.show_if_known(&fill(file, &[]), deadline).await? else { return Ok(None) };
        let (entity, policy) = (policies.column("EntityName")?, policies.column("Policy")?);
        for row in policies.rows() {
            let target = entity_of(row.text(entity)?);
            let Some(value) = row.dynamic(policy)? else { continue };
            let parts: Vec<UpdatePolicy> = serde_json::from_value(value.into_owned())
                .map_err(|error| Error::corrupt(format!("the update policy of `{target}`: {error}")))?;
            for part in parts.iter().filter(|part| part.is_enabled) {
                if target == table.as_str() {
                    return Ok(Some(format!("the update policy that fills it from `{}`", part.source)));
                }
                if entity_of(&part.source) == table.as_str() && !self.names_its_columns(&part.query, deadline).await? {
                    return Ok(Some(format!("the update policy of `{target}`, which does not end in `project`")));
                }
            }
        }
        Ok(None)
    }

    /// Whether a query, or the function that it consists of, ends in an explicit list of columns.
    async fn names_its_columns(&self, query: &str, deadline: Instant) -> Result<bool, Error> {
        let query = query.trim();
        let name = query.strip_suffix("()").unwrap_or(query);
        let Ok(function) = Identifier::new(name.trim_start_matches("['").trim_end_matches("']")) else {
            return Ok(ends_in_a_list(query));
        };
        let file = include_str!("../../../kql/destination/show_function.kql");
        // No function: the bare name of a table, which passes everything on.
        let shown = self.show_if_known(&fill(file, &[("function", &function)]), deadline).await?;
        let Some(found) = shown else { return Ok(false) };
        let body = found.column("Body")?;
        let Some(row) = found.rows().next() else { return Ok(false) };
        Ok(ends_in_a_list(row.text(body)?))
    }
}

fn fragile_view(views: &Table) -> Result<Option<String>, Error> {
    let (name, query) = (views.column("Name")?, views.column("Query")?);
    let follows = views.find("AutoUpdateSchema");
    for row in views.rows() {
        let follows = follows.map(|at| row.bool(at)).transpose()?.flatten() == Some(true);
        if !follows && takes_all(row.text(query)?) {
            return Ok(Some(row.text(name)?.to_owned()));
        }
    }
    Ok(None)
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

/// The table's name in `[database].[table]`, `database.table` or `table`.
fn entity_of(entity: &str) -> &str {
    let entity = entity.trim();
    if let Some((_, table)) = entity.strip_suffix(']').and_then(|inner| inner.rsplit_once('[')) {
        return table.trim_matches(['\'', '"']);
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
        assert_eq!(entity_of("[Db].[My.Table]"), "My.Table");
        assert_eq!(entity_of("T"), "T");
        assert_eq!(entity_of("['T']"), "T");
    }
}
