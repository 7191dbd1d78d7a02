//! What a check comes to. Knows no service.

use crate::printable::one_line;
use serde::Serialize;

/// How a check ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// As it has to be.
    Pass,
    /// It works, and a person should know something.
    Warn,
    /// It has to be mended before tables are copied.
    Fail,
    /// Not checked, because what it needs was not to be had.
    Skip,
}

/// What a check is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Area {
    /// The settings.
    Settings,
    /// Who the app is, and its tokens.
    Identity,
    /// The source.
    Defender,
    /// Cluster, database and roles.
    Adx,
    /// The metadata tables and views, and the configuration in them.
    Metadata,
    /// The tables to copy to.
    Destination,
    /// Where the app keeps its ledger.
    State,
    /// This machine's clock.
    Clock,
    /// The tenant's hunting calls.
    Quota,
}

/// What a check came to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// Its name, the same in every run: `docs/doctor.md` lists them.
    pub id: String,
    /// What it is about.
    pub area: Area,
    /// How it ended.
    pub status: Status,
    /// What was found. Never a secret.
    pub what: String,
    /// What to do about it: a command, or a step in a portal.
    pub remedy: Option<String>,
}

impl Finding {
    fn new(area: Area, id: impl Into<String>, status: Status, what: impl Into<String>) -> Self {
        Self { id: id.into(), area, status, what: tidy(&what.into()), remedy: None }
    }

    /// A check that passed.
    pub fn pass(area: Area, id: impl Into<String>, what: impl Into<String>) -> Self {
        Self::new(area, id, Status::Pass, what)
    }

    /// Something to know.
    pub fn warn(area: Area, id: impl Into<String>, what: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { remedy: some(remedy.into()), ..Self::new(area, id, Status::Warn, what) }
    }

    /// A check that failed.
    pub fn fail(area: Area, id: impl Into<String>, what: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { remedy: some(remedy.into()), ..Self::new(area, id, Status::Fail, what) }
    }

    /// A check that was not made, because of `cause`: the id of another.
    pub fn skip(area: Area, id: impl Into<String>, cause: &str) -> Self {
        Self::new(area, id, Status::Skip, format!("not checked, because of {cause}"))
    }
}

fn some(remedy: String) -> Option<String> {
    Some(tidy(&remedy)).filter(|remedy| !remedy.is_empty())
}

/// On one line, with single blanks.
fn tidy(text: &str) -> String {
    one_line(text).split_whitespace().collect::<Vec<_>>().join(" ")
}

/// All that was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// The checks, by area.
    pub checks: Vec<Finding>,
}

impl Report {
    /// Whether nothing failed. Warnings do not count.
    pub fn healthy(&self) -> bool {
        self.count(Status::Fail) == 0
    }

    /// How many checks ended so.
    pub fn count(&self, status: Status) -> usize {
        self.checks.iter().filter(|check| check.status == status).count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn warnings_and_skipped_checks_are_no_failure() {
        let area = Area::Quota;
        let mut report = Report { checks: vec![Finding::warn(area, "a", "b", ""), Finding::skip(area, "c", "`a`")] };
        assert!(report.healthy());
        report.checks.push(Finding::fail(area, "d", "x\n y", "do\tit"));
        assert!(!report.healthy());
        let found = &report.checks[2];
        assert_eq!((found.what.as_str(), found.remedy.as_deref()), ("x y", Some("do it")));
        assert_eq!(report.checks[0].remedy, None);
    }
}
