//! Tables without a time, which are copied whole: one attempt after the other, each in hash parts of its own stretch
//! `(end of the last attempt, its time]`, so that ids, proofs and counts are those of any other table. Knows no query.
//!
//! A reader sees an attempt once it is *published*: all of it is proved, the source was asked again afterwards and shows
//! the same content, and the watermark says its time. What changed meanwhile is *torn*: it is copied again, and published
//! torn after the last attempt, since a table that never stands still would have no snapshot at all.

pub mod plan;
pub mod publish;
pub mod result;

use super::ids::InstanceId;
use super::instance::Instance;
use super::ledger::{CutAxis, Head};
use crate::timestamp::Timestamp;
use serde::{Deserialize, Serialize};

/// The column of the destination that says which snapshot a row is of.
pub const TIME_COLUMN: &str = "SnapshotTime";
/// Attempts of a run: a torn one is repeated twice.
pub const ATTEMPTS: u32 = 3;

/// What a source showed at one time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counted {
    /// Into how many hash parts it was counted.
    pub parts: u32,
    /// Its rows.
    pub rows: u64,
    /// A hash of the rows and the sum of row hashes of each part.
    pub fingerprint: String,
}

/// What came of an attempt whose rows are all proved.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "is", content = "because")]
pub enum Verdict {
    /// The source stood still: published.
    Whole,
    /// It changed, once too often: published all the same.
    Torn,
    /// It changed: the next attempt takes its place.
    Repeat,
    /// Whether it changed could not be found out.
    Unchecked(String),
}

/// One copy of a whole table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attempt {
    /// The `SnapshotTime` of its rows.
    pub time: Timestamp,
    /// The run that made it.
    pub run: InstanceId,
    /// In which of its lives.
    pub life: u32,
    /// Which attempt of that run it is, from 1.
    pub number: u32,
    /// What its plan counted.
    pub counted: Counted,
    /// What came of it, once that is known.
    pub verdict: Option<Verdict>,
    /// Whether the audit of its run is about it.
    #[serde(default)]
    pub told: bool,
}

/// An attempt that no reader sees.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unpublished {
    /// The `SnapshotTime` of its rows.
    pub time: Timestamp,
    /// Whether its source changed meanwhile; else it never came to its end.
    pub torn: bool,
}

/// What the head of a table that is copied whole keeps besides.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Snapshots {
    /// The columns by whose hash a row's content is compared.
    pub row_columns: Vec<String>,
    /// The latest attempt.
    #[serde(default)]
    pub attempt: Option<Attempt>,
    /// Attempts before it that are not published, and of which no audit is.
    #[serde(default)]
    pub unpublished: Vec<Unpublished>,
}

impl Attempt {
    /// Whether readers see it.
    pub fn is_published(&self) -> bool {
        matches!(self.verdict, Some(Verdict::Whole | Verdict::Torn))
    }

    /// Whether its source changed while it was copied.
    pub fn is_torn(&self) -> bool {
        matches!(self.verdict, Some(Verdict::Torn | Verdict::Repeat))
    }

    /// Whether another attempt of its run is to take its place.
    pub fn is_repeated_by(&self, run: &Instance) -> bool {
        self.verdict == Some(Verdict::Repeat) && self.run == run.id && self.life == run.lives
    }
}

impl Snapshots {
    /// Of a table whose rows are compared by these columns, and of which no attempt was made.
    pub fn new(row_columns: Vec<String>) -> Self {
        Self { row_columns, attempt: None, unpublished: Vec::new() }
    }

    /// The same once the audit of a run is about all of its attempts.
    pub fn told(&self) -> Self {
        let attempt = self.attempt.clone().map(|attempt| Attempt { told: true, ..attempt });
        Self { attempt, unpublished: Vec::new(), ..self.clone() }
    }
}

/// Whether a table is copied whole.
pub fn is_whole(head: &Head) -> bool {
    head.shape.as_ref().is_some_and(|shape| shape.axis == CutAxis::Whole)
}

/// The latest attempt of a table that is copied whole.
pub fn attempt(head: &Head) -> Option<&Attempt> {
    head.snapshots.as_ref().filter(|_| is_whole(head))?.attempt.as_ref()
}

#[cfg(test)]
pub(crate) mod testing {
    use super::*;
    use crate::orchestration::head::testing::{head, id, shape};
    use crate::orchestration::ledger::{Shape, TableState};

    pub(crate) fn counted(rows: u64) -> Counted {
        Counted { parts: 12, rows, fingerprint: "f".into() }
    }

    /// The head of a table in `state` whose latest attempt of run 1 ends at tick 20; that at tick 10 is published.
    pub(crate) fn attempted(state: TableState, number: u32, verdict: Option<Verdict>) -> Head {
        let at = Timestamp::from_ticks;
        let counted = counted(6);
        let attempt = Attempt { time: at(20), run: id(1), life: 0, number, counted, verdict, told: false };
        let shape = Shape { axis: CutAxis::Whole, ..shape() };
        Head {
            shape: Some(shape),
            snapshots: Some(Box::new(Snapshots { attempt: Some(attempt), ..Snapshots::new(vec!["A".into()]) })),
            planned_to: at(20),
            verified_up_to: at(10),
            plan: Some("old".into()),
            ..head(state)
        }
    }
}
