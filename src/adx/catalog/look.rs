//! What the policies of a destination say before its first row: whether the rows that land stay, and whether a count sees them.
//! Looks only; what settings ask of policies is in `policies`.

use super::super::table::timespan_ticks;
use super::super::template::fill;
use super::policies::unless_denied;
use super::{Catalog, Error};
use crate::kql::Identifier;
use crate::remedy::{self, Named, Role};
use serde_json::Value;
use std::fmt::{self, Display};
use tokio::time::Instant;

/// A policy, by the word of the commands that show it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Policy {
    RowLevelSecurity,
    RestrictedViewAccess,
    Retention,
    Caching,
    Batching,
    Encoding,
    ExtentTagsRetention,
}

impl Display for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::RowLevelSecurity => "row_level_security",
            Self::RestrictedViewAccess => "restricted_view_access",
            Self::Retention => "retention",
            Self::Caching => "caching",
            Self::Batching => "ingestionbatching",
            Self::Encoding => "encoding",
            Self::ExtentTagsRetention => "extent_tags_retention",
        })
    }
}

/// Why a count does not see the rows of a table.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Hidden {
    /// A query stands in for the table, for everybody (dataexplorer-docs `management/row-level-security-policy.md`).
    #[error(
        "table `{table}` has row level security, which hides rows from the counts that prove what has landed; switch it off with `{}` and put it on a function over the table, or choose another table",
        remedy::drop_row_level_security(table)
    )]
    RowLevelSecurity {
        /// The table.
        table: String,
    },
    /// Only principals with a role of their own may view the table, and this one has it not (dataexplorer-docs
    /// `management/restricted-view-access-policy.md`).
    #[error(
        "table `{table}` has restricted view access, so that what has landed in it cannot be counted by this identity; run `{grant}` (Database Admin), or take the policy off with `{}`",
        remedy::drop_restricted_view(table)
    )]
    RestrictedView {
        /// The table.
        table: String,
        /// What grants the role.
        grant: String,
    },
}

impl Catalog {
    /// Why a count would not see the rows of a table, if it would not: then finding none proves nothing.
    ///
    /// # Errors
    /// Those of the looks; a service that knows no such policies hides nothing.
    pub async fn hides_rows(&self, table: &Identifier, deadline: Instant) -> Result<Option<Hidden>, Error> {
        if is_on(self.policy(table, Policy::RowLevelSecurity, deadline).await?.as_ref()) {
            return Ok(Some(Hidden::RowLevelSecurity { table: table.as_str().to_owned() }));
        }
        if !is_on(self.policy(table, Policy::RestrictedViewAccess, deadline).await?.as_ref()) {
            return Ok(None);
        }
        // This identity may be one of those that see it all the same.
        let file = include_str!("../../../kql/metadata/probe.kql");
        match self.query(&fill(file, &[("entity", table)]), deadline).await {
            Err(Error::Denied { .. }) => {
                let grant = remedy::grant(self.client.database(), Role::UnrestrictedViewers, self.client.application());
                Ok(Some(Hidden::RestrictedView { table: table.as_str().to_owned(), grant }))
            }
            other => other.map(|_| None),
        }
    }

    /// The ticks for which rows of a table are kept, by its own policy or that of its database; `None` where neither says. What may
    /// not be seen is told of, and not known: a table that keeps no rows is found out by the first count.
    pub(super) async fn retention(
        &self,
        table: &Identifier,
        told: &mut Vec<String>,
        deadline: Instant,
    ) -> Result<Option<i64>, Error> {
        let looked = self.policy(table, Policy::Retention, deadline).await.map(Some);
        let own = unless_denied(looked, told, || {
            format!("for how long {} keeps rows could not be looked at", table.as_str())
        })?;
        match own.map(|own| own.as_ref().and_then(soft_delete)) {
            // That of the database says nothing of a table that may have its own.
            None => Ok(None),
            Some(Some(ticks)) => Ok(Some(ticks)),
            Some(None) => self.database_retention(told, deadline).await,
        }
    }

    /// The same for tables that have no policy of their own.
    pub(super) async fn database_retention(
        &self,
        told: &mut Vec<String>,
        deadline: Instant,
    ) -> Result<Option<i64>, Error> {
        let looked = self.database_policy(Policy::Retention, deadline).await;
        let policy = unless_denied(looked, told, || {
            format!("for how long database {} keeps rows could not be looked at", self.client.database())
        })?;
        Ok(policy.as_ref().and_then(soft_delete))
    }

    /// A table's own policy, if it has one.
    pub(super) async fn policy(
        &self,
        table: &Identifier,
        policy: Policy,
        deadline: Instant,
    ) -> Result<Option<Value>, Error> {
        self.seen_policy(table, policy, deadline).await.map(Option::flatten)
    }

    /// The same; `None` where the service does not show such a policy at all.
    pub(super) async fn seen_policy(
        &self,
        table: &Identifier,
        policy: Policy,
        deadline: Instant,
    ) -> Result<Option<Option<Value>>, Error> {
        let file = include_str!("../../../kql/policy/show_table.kql");
        self.shown_policy(&fill(file, &[("table", table), ("policy", &policy)]), deadline).await
    }

    /// A policy of the database, if it has one.
    pub(super) async fn database_policy(&self, policy: Policy, deadline: Instant) -> Result<Option<Value>, Error> {
        let file = include_str!("../../../kql/policy/show_database.kql");
        let database = Named(self.client.database());
        let shown = self.shown_policy(&fill(file, &[("database", &database), ("policy", &policy)]), deadline).await?;
        Ok(shown.flatten())
    }

    /// How a column of a table is encoded, where it has a policy of its own.
    pub(super) async fn encoding(
        &self,
        table: &Identifier,
        column: &Identifier,
        deadline: Instant,
    ) -> Result<Option<Value>, Error> {
        let file = include_str!("../../../kql/policy/show_column.kql");
        self.shown_policy(&fill(file, &[("table", table), ("column", column)]), deadline).await.map(Option::flatten)
    }

    async fn shown_policy(&self, csl: &str, deadline: Instant) -> Result<Option<Option<Value>>, Error> {
        let Some(answer) = self.show_if_known(csl, deadline).await? else { return Ok(None) };
        let at = answer.column("Policy")?;
        let Some(row) = answer.rows().next() else { return Ok(Some(None)) };
        Ok(Some(row.dynamic(at)?.map(std::borrow::Cow::into_owned).filter(|value| !value.is_null())))
    }
}

/// Whether a policy that is switched is on; some are shown as an object and some as the switch itself.
fn is_on(policy: Option<&Value>) -> bool {
    let switch = policy.map(|policy| policy.get("IsEnabled").unwrap_or(policy));
    switch.is_some_and(|switch| match switch {
        Value::Bool(on) => *on,
        Value::String(text) => text.eq_ignore_ascii_case("true"),
        _ => false,
    })
}

/// The ticks of a retention policy.
pub(super) fn soft_delete(policy: &Value) -> Option<i64> {
    policy.get("SoftDeletePeriod").and_then(Value::as_str).and_then(timespan_ticks)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_switch_is_read_in_every_form_that_it_is_shown_in() {
        for on in [json!({"IsEnabled": true}), json!(true), json!({"IsEnabled": "True"}), json!("true")] {
            assert!(is_on(Some(&on)), "{on}");
        }
        for off in [json!({"IsEnabled": false}), json!(false), json!({}), json!([]), json!("false")] {
            assert!(!is_on(Some(&off)), "{off}");
        }
        assert!(!is_on(None));
    }
}
