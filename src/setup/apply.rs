//! Carries a plan out, one command after the other, and says what came of each. Stops at the first that fails, but for roles
//! that take an admin: what the others need is found out by them.

use super::plan::{Item, Kind, Plan, Step};
use crate::adx::catalog::Catalog;
use crate::adx::error::Error;
use tokio::time::Instant;

/// What came of a plan that was carried out to its end.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Applied {
    /// How many commands were carried out.
    pub done: usize,
    /// Commands that are left for a Database Admin.
    pub left: Vec<String>,
}

/// Why a plan was not carried out to its end. What was done before is done; it can be carried out again.
#[derive(Debug, thiserror::Error)]
pub enum Stopped {
    /// It is not known what is there.
    #[error("nothing was changed, since it cannot be seen what is there: {0}")]
    Blind(String),
    /// Something has to be mended first.
    #[error("nothing was changed: {0}")]
    Wrong(String),
    /// A command failed.
    #[error(
        "{why}\n  {csl}\nfailed: {error}\n{done} commands were carried out before it. Once that is mended, run setup again"
    )]
    Failed {
        /// What it was for.
        why: String,
        /// The command.
        csl: String,
        /// What the service said.
        error: Error,
        /// How many were carried out.
        done: usize,
    },
}

/// Carries a plan out and tells `say` what happens.
///
/// # Errors
/// [`Stopped`].
pub async fn apply(
    catalog: &Catalog,
    plan: &Plan,
    say: &mut (dyn FnMut(&str) + Send),
    deadline: Instant,
) -> Result<Applied, Stopped> {
    if let Some(why) = &plan.blind {
        return Err(Stopped::Blind(why.clone()));
    }
    if let Some(what) = plan.items.iter().find_map(|item| if let Item::Wrong(what) = item { Some(what) } else { None })
    {
        return Err(Stopped::Wrong(what.clone()));
    }
    let mut applied = Applied::default();
    for item in &plan.items {
        match item {
            Item::There(what) => say(&format!("there   {what}")),
            Item::Note(what) | Item::Wrong(what) => say(&format!("note    {what}")),
            Item::Do(step) => carry_out(catalog, step, &mut applied, say, deadline).await?,
        }
    }
    Ok(applied)
}

async fn carry_out(
    catalog: &Catalog,
    step: &Step,
    applied: &mut Applied,
    say: &mut (dyn FnMut(&str) + Send),
    deadline: Instant,
) -> Result<(), Stopped> {
    match catalog.carry_out(&step.csl, deadline).await {
        Ok(rows) => {
            applied.done += 1;
            let rows = rows.filter(|_| step.kind == Kind::Rows).map(|rows| format!(" ({rows} rows)"));
            say(&format!("done    {}{}", summary(step), rows.unwrap_or_default()));
            Ok(())
        }
        Err(Error::Denied { .. }) if step.kind == Kind::Role => {
            say(&format!("denied  a Database Admin has to run: {}", step.csl));
            applied.left.push(step.csl.clone());
            Ok(())
        }
        Err(error) => {
            let (why, csl, done) = (step.why.clone(), step.csl.clone(), applied.done);
            Err(Stopped::Failed { why, csl, error, done })
        }
    }
}

/// A step in one line.
fn summary(step: &Step) -> &str {
    match step.kind {
        Kind::Role => &step.csl,
        Kind::Object | Kind::Rows => &step.why,
    }
}
