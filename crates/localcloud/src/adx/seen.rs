//! The database as somebody who queries it sees it: row level security and restricted view access are obeyed, and
//! materialized views are tables (dataexplorer-docs `management/row-level-security-policy.md`,
//! `management/restricted-view-access-policy.md`).

use super::commands::{Error, evaluate};
use super::database::{Content, Database, View};
use crate::kql::{Catalog, MemoryTable, Table};
use serde_json::Value as Json;
use std::sync::{Arc, Mutex, PoisonError};

/// The role that sees tables with restricted view access.
const UNRESTRICTED: &str = "unrestrictedviewers";

/// What one caller sees.
pub struct Seen {
    database: Arc<Database>,
    /// Nobody in particular sees everything that is not replaced.
    principal: Option<String>,
    /// What arrived after it is not seen.
    until: Option<i64>,
    refused: Mutex<Option<String>>,
}

impl Seen {
    /// What a principal sees, or the cloud itself.
    pub fn by(database: &Arc<Database>, principal: Option<&str>) -> Arc<Self> {
        Self::as_of(database, principal, None)
    }

    /// The same, of what was there at an instant.
    pub fn as_of(database: &Arc<Database>, principal: Option<&str>, until: Option<i64>) -> Arc<Self> {
        let principal = principal.map(str::to_owned);
        Arc::new(Self { database: database.clone(), principal, until, refused: Mutex::default() })
    }

    /// The error of a query: that of a table that may not be viewed comes before whatever else became of that.
    pub fn error_of(&self, error: Error) -> Error {
        let refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        refused.as_ref().map_or(error, |table| Error::not_viewed(table))
    }

    fn may_view(&self, content: &Content, policy: Option<&String>) -> bool {
        let Some(principal) = &self.principal else { return true };
        let sees = |holders: &std::collections::BTreeSet<String>| {
            holders.iter().any(|holder| holder.eq_ignore_ascii_case(principal))
        };
        !is_on(policy) || content.roles.get(UNRESTRICTED).is_some_and(sees)
    }

    /// The answer of a query in place of a table. It sees what is below itself.
    fn replaced(&self, query: &str) -> Option<Arc<dyn Table>> {
        let below: Arc<dyn Catalog> = self.database.clone();
        let found = evaluate(query, &below).ok()?;
        Some(Arc::new(MemoryTable::new(found.columns, found.rows)))
    }
}

impl Catalog for Seen {
    fn table(&self, name: &str) -> Option<Arc<dyn Table>> {
        let query = {
            let content = self.database.read();
            match (content.tables.get(name), content.views.get(name)) {
                (None, None) => return None,
                (None, Some(view)) => view.query.clone(),
                (Some(entry), _) => {
                    if !self.may_view(&content, entry.policies.get("restricted_view_access")) {
                        *self.refused.lock().unwrap_or_else(PoisonError::into_inner) = Some(name.to_owned());
                        return None;
                    }
                    match security(entry.policies.get("row_level_security")) {
                        None => return Some(entry.data.snapshot_until(self.until.unwrap_or(i64::MAX))),
                        Some(query) => query,
                    }
                }
            }
        };
        self.replaced(&query)
    }

    fn function(&self, name: &str) -> Option<String> {
        self.database.function(name)
    }

    fn now(&self) -> i64 {
        Catalog::now(&*self.database)
    }

    fn table_names(&self) -> Vec<String> {
        self.database.table_names()
    }
}

/// Whether a policy that is switched is on.
fn is_on(policy: Option<&String>) -> bool {
    let policy = policy.and_then(|text| serde_json::from_str::<Json>(text).ok());
    policy.is_some_and(|policy| policy == Json::Bool(true) || policy["IsEnabled"] == Json::Bool(true))
}

/// The query that stands in for a table.
fn security(policy: Option<&String>) -> Option<String> {
    let text = policy.filter(|_| is_on(policy))?;
    serde_json::from_str::<Json>(text).ok()?["Query"].as_str().map(str::to_owned)
}

/// The columns that a view has now, or why it has none any more.
pub(super) fn columns_of(database: &Arc<Database>, view: &View) -> Result<Vec<String>, Error> {
    let catalog: Arc<dyn Catalog> = database.clone();
    Ok(evaluate(&view.query, &catalog)?.columns.into_iter().map(|column| column.name).collect())
}
