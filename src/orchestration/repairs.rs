//! What was repaired of a run, as its record keeps it and its status shows it. In normal operation there is nothing in
//! here.

use super::instance::Instance;
use crate::timestamp::Timestamp;
use serde::{Deserialize, Serialize};

/// The most repairs that a run remembers one by one; all are counted.
pub const REMEMBERED: usize = 10;

/// What a repair mends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// The run was never begun.
    StartLost,
    /// All tables have their results and the run had not ended.
    EndLost,
    /// A run that is over, or never came, still held its place.
    PlaceHeld,
    /// A table was not planned.
    PlanLost,
    /// A table was held and its run was not.
    TableHeld,
    /// A table's windows were not counted when that was due.
    CountLost,
    /// A table whose windows have ended had not.
    TableEndLost,
    /// The worker of a window is gone.
    WorkerGone,
    /// A table stood still.
    Stalled,
    /// The host gave up the message of a window.
    WindowPoisoned,
    /// The host gave up the message of a step.
    StepPoisoned,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 11] = [
        Self::StartLost,
        Self::EndLost,
        Self::PlaceHeld,
        Self::PlanLost,
        Self::TableHeld,
        Self::CountLost,
        Self::TableEndLost,
        Self::WorkerGone,
        Self::Stalled,
        Self::WindowPoisoned,
        Self::StepPoisoned,
    ];

    /// Its name in log, status and metrics: the same as in the record.
    pub fn name(self) -> &'static str {
        match self {
            Self::StartLost => "start_lost",
            Self::EndLost => "end_lost",
            Self::PlaceHeld => "place_held",
            Self::PlanLost => "plan_lost",
            Self::TableHeld => "table_held",
            Self::CountLost => "count_lost",
            Self::TableEndLost => "table_end_lost",
            Self::WorkerGone => "worker_gone",
            Self::Stalled => "stalled",
            Self::WindowPoisoned => "window_poisoned",
            Self::StepPoisoned => "step_poisoned",
        }
    }

    /// What was wrong and what is done about it.
    pub fn what(self) -> &'static str {
        match self {
            Self::StartLost => "the run was never begun; its start is sent again",
            Self::EndLost => "all tables have their results; the run is ended",
            Self::PlaceHeld => "the run is over or never came; its place is left",
            Self::PlanLost => "the table is not being planned; its plan is sent again",
            Self::TableHeld => "the table is held and its run is not; it is told to go on",
            Self::CountLost => "the table's count is overdue; it is sent again",
            Self::TableEndLost => "all windows of the table have ended; its end is sent again",
            Self::WorkerGone => "the worker of a window is gone; the window is sent again",
            Self::Stalled => "the table stands still; its next windows are sent again",
            Self::WindowPoisoned => "the host gave up the message of a window; the window is ended",
            Self::StepPoisoned => {
                "the host gave up the message of a step; what waits for it is ended, or it is sent again"
            }
        }
    }
}

/// A repair that was made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Repaired {
    /// When.
    pub at: Timestamp,
    /// What.
    pub kind: Kind,
    /// The source table, if it was about one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub table: Option<String>,
    /// The window's id, if it was about one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub window: Option<String>,
}

/// The repairs of a run.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Repairs {
    /// How many.
    pub count: u64,
    /// The last ones, the newest last.
    pub last: Vec<Repaired>,
}

impl Repairs {
    /// Whether there was none.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    fn add(&mut self, made: &[Repaired]) {
        self.count += made.len() as u64;
        self.last.extend_from_slice(made);
        self.last.drain(..self.last.len().saturating_sub(REMEMBERED));
    }
}

impl Instance {
    /// The run with these repairs on record. It is no change of the run: neither its state nor its time moves, so nothing
    /// takes it for a sign of life.
    pub fn repaired(&self, made: &[Repaired]) -> Self {
        let mut run = self.clone();
        run.repairs.add(made);
        run
    }

    /// Whether nothing but a repair was put on record since `before`.
    pub fn is_but_for_repairs(&self, before: &Self) -> bool {
        *self == Self { repairs: self.repairs.clone(), ..before.clone() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::orchestration::head::testing::{id, later, now};
    use crate::orchestration::instance::StartInput;
    use serde_json::{Value, json};

    fn run() -> Instance {
        Instance::pending(id(1), StartInput::default(), Value::Null, now())
    }

    fn made(seconds: u64) -> Repaired {
        Repaired { at: later(seconds), kind: Kind::Stalled, table: Some("s".into()), window: None }
    }

    #[test]
    fn all_repairs_are_counted_and_the_last_ones_remembered() {
        let run = (0..25).fold(run(), |run, seconds| run.repaired(&[made(seconds)]));
        assert_eq!((run.repairs.count, run.repairs.last.len()), (25, REMEMBERED));
        assert_eq!(run.repairs.last.last(), Some(&made(24)));
    }

    #[test]
    fn a_repair_is_no_sign_of_life() {
        let repaired = run().repaired(&[made(500)]);
        assert_eq!((repaired.status, repaired.updated), (run().status, run().updated));
        assert!(repaired.is_but_for_repairs(&run()));
        assert!(!run().terminated("x", later(1)).unwrap().is_but_for_repairs(&run()));
    }

    #[test]
    fn a_kind_has_one_name_everywhere() {
        for kind in Kind::ALL {
            assert_eq!(json!(kind), kind.name());
        }
    }
}
