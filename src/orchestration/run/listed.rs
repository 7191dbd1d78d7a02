//! The list of runs: an entry for each, written together with the place that its start takes, so that no run is ever
//! missing from it. An entry says when its run was born; it counts only while there is such a run, born then: a start may
//! have been broken off, and a run that began anew has another entry.

use crate::orchestration::ids::InstanceId;
use crate::orchestration::instance::{Instance, RuntimeStatus};
use crate::timestamp::Timestamp;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// An entry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listed {
    /// The run.
    pub instance: InstanceId,
    /// When it was accepted.
    pub created: Timestamp,
}

impl Listed {
    /// The entry of a run.
    pub fn of(run: &Instance) -> Self {
        Self { instance: run.id.clone(), created: run.created }
    }

    /// Whether this is the entry of that run as it is now.
    pub fn is_of(&self, run: &Instance) -> bool {
        *self == Self::of(run)
    }

    /// Its place in the list.
    pub fn place(&self) -> Place {
        Place(format!("{}:{}", from_newest(self.created), self.instance))
    }
}

/// A time as the list sorts it: the newest first.
pub fn from_newest(at: Timestamp) -> String {
    format!("{:016x}", Timestamp::MAX.ticks() - at.ticks())
}

/// A place in the list: how long ago a run was born, then its id. Also what a client hands back for the next page.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place(String);

/// A text that is no place.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("it is not one that this app gave")]
pub struct NoPlace;

impl Place {
    /// Its text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for Place {
    type Err = NoPlace;

    fn from_str(text: &str) -> Result<Self, NoPlace> {
        let (age, id) = text.split_once(':').ok_or(NoPlace)?;
        let id: InstanceId = id.parse().map_err(|_| NoPlace)?;
        let is_age = age.len() == 16 && age.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        if is_age { Ok(Self(format!("{age}:{id}"))) } else { Err(NoPlace) }
    }
}

/// Which runs are wanted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    /// Born then or later.
    pub created_from: Option<Timestamp>,
    /// Born then or earlier.
    pub created_to: Option<Timestamp>,
    /// In one of these states; in any, if left out.
    pub statuses: Option<Vec<RuntimeStatus>>,
    /// Whose id begins so.
    pub id_prefix: String,
}

impl Filter {
    /// Whether the entry alone does not tell against it.
    pub fn may_want(&self, entry: &Listed) -> bool {
        self.created_from.is_none_or(|from| entry.created >= from)
            && self.created_to.is_none_or(|to| entry.created <= to)
            && entry.instance.as_str().starts_with(&self.id_prefix)
    }

    /// Whether the run is wanted.
    pub fn wants(&self, run: &Instance) -> bool {
        self.may_want(&Listed::of(run)) && self.statuses.as_ref().is_none_or(|wanted| wanted.contains(&run.status))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::orchestration::head::testing::{id, later, now};
    use crate::orchestration::instance::StartInput;
    use serde_json::Value;

    fn run(bits: u128, seconds: u64) -> Instance {
        Instance::pending(id(bits), StartInput::default(), Value::Null, later(seconds))
    }

    #[test]
    fn the_newest_run_stands_first() {
        let place = |bits, seconds| Listed::of(&run(bits, seconds)).place();
        assert!(place(1, 9) < place(2, 8));
        assert!(place(1, 8) < place(2, 8));
        assert_eq!(place(7, 3).as_str().parse(), Ok(place(7, 3)));
        for text in ["", "x", "0:1", "zzzzzzzzzzzzzzzz:00000000000000000000000000000001", "0000000000000000:../i"] {
            assert_eq!(text.parse::<Place>(), Err(NoPlace), "{text}");
        }
    }

    #[test]
    fn an_entry_of_a_former_life_is_not_that_of_the_run() {
        let entry = Listed::of(&run(1, 0));
        assert!(entry.is_of(&Instance { status: RuntimeStatus::Failed, ..run(1, 0) }));
        assert!(!entry.is_of(&run(1, 5)));
    }

    #[test]
    fn both_ends_of_a_span_belong_to_it() {
        let span = Filter { created_from: Some(now()), created_to: Some(later(5)), ..Filter::default() };
        assert!(span.wants(&run(1, 0)) && span.wants(&run(1, 5)));
        assert!(!span.wants(&run(1, 6)));
        assert!(!Filter { created_from: Some(later(1)), ..Filter::default() }.wants(&run(1, 0)));
    }

    #[test]
    fn runs_are_chosen_by_status_and_by_the_beginning_of_their_id() {
        let of = |statuses| Filter { statuses: Some(statuses), ..Filter::default() };
        assert!(of(vec![RuntimeStatus::Failed, RuntimeStatus::Pending]).wants(&run(1, 0)));
        assert!(!of(vec![RuntimeStatus::Failed]).wants(&run(1, 0)));
        assert!(!of(vec![]).wants(&run(1, 0)));
        let begins = |id_prefix: &str| Filter { id_prefix: id_prefix.into(), ..Filter::default() };
        assert!(begins("00000").wants(&run(1, 0)) && !begins("1").wants(&run(1, 0)));
        assert!(!begins("0000000000000000000000000000000A").wants(&run(10, 0)), "case counts");
    }
}
