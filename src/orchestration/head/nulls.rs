//! Rows that have no value on the cut axis. No range holds them: windows of their own do, all of them at once. What comes
//! later cannot be told from what was copied, so beyond the first time it is counted and reported.

use crate::orchestration::ledger::{CutAxis, Head};
use crate::orchestration::limits::SOURCE_KEPT;
use crate::orchestration::window::{Window, WindowState};
use crate::timestamp::Timestamp;

/// The windows of such rows in a ledger.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct NullWindows {
    /// How many there are, those of splits included.
    pub windows: u64,
    /// How many of them take what they find when they are pulled.
    pub waiting: u64,
    /// Rows in those of the others that were pulled while the source may still have them.
    pub rows: u64,
}

impl NullWindows {
    /// Takes a window of the ledger in.
    pub fn add(&mut self, window: &Window, now: Timestamp) {
        if !window.id.is_null_axis() {
            return;
        }
        self.windows += 1;
        match (window.state, &window.seal) {
            (WindowState::Planned | WindowState::Claimed | WindowState::Failed, None) => self.waiting += 1,
            (WindowState::Split | WindowState::Empty | WindowState::Expired, _) => {}
            // What the source has let go of would hide as many rows that came since.
            _ if now.since(pulled_by(window)) > SOURCE_KEPT => {}
            (_, Some(seal)) => self.rows += seal.rows,
            (_, None) => self.rows += window.planned_rows,
        }
    }
}

/// When the rows of a window had been pulled. A destination may not note when those of an adopted one landed.
fn pulled_by(window: &Window) -> Timestamp {
    window.last_post.filter(|at| *at != Timestamp::MIN).unwrap_or(window.updated)
}

/// What becomes of such rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NullRows {
    /// Windows that are there have them, or are about to.
    Copied,
    /// None was ever copied: this many are to be planned.
    New(u64),
    /// This many came after the others were copied.
    Late(u64),
}

/// Whether a plan counts them. A row gets its arrival time from the engine: the first plan looks for rows from before it
/// did so.
pub fn are_counted(head: &Head) -> bool {
    let by_column = head.shape.as_ref().is_some_and(|shape| matches!(shape.axis, CutAxis::Column(_)));
    head.plan.is_none() || by_column
}

/// Decides on `counted` rows at the source.
pub fn judge(known: NullWindows, counted: u64) -> NullRows {
    match counted.saturating_sub(known.rows) {
        0 => NullRows::Copied,
        rows if known.windows == 0 => NullRows::New(rows),
        _ if known.waiting > 0 => NullRows::Copied,
        rows => NullRows::Late(rows),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::orchestration::head::testing::{head, later, now, seen};
    use crate::orchestration::ledger::{ChunkIdPlace, RowFormat, Shape, TableState};

    fn known(states: &[WindowState]) -> NullWindows {
        let mut known = NullWindows::default();
        for state in states {
            let mut window = seen(0, *state).window;
            known.add(&window, now());
            window.id.high = Timestamp::MIN;
            known.add(&window, now());
        }
        known
    }

    #[test]
    fn rows_that_came_after_the_others_were_copied_are_told() {
        use WindowState::{Empty, Split, Submitted, Verified};
        let copied = known(&[Verified, Submitted, Empty, Split]);
        assert_eq!((copied.windows, copied.rows), (4, 6), "three rows are sealed in each");
        assert_eq!(judge(copied, 6), NullRows::Copied);
        assert_eq!(judge(copied, 2), NullRows::Copied, "the source no longer holds them");
        assert_eq!(judge(copied, 8), NullRows::Late(2));
    }

    #[test]
    fn rows_that_the_source_has_let_go_of_hide_none_that_came_since() {
        let kept = SOURCE_KEPT.as_secs();
        let judged = |last_post, seconds| {
            let mut known = NullWindows::default();
            let mut window = Window { last_post, ..seen(0, WindowState::Verified).window };
            window.id.high = Timestamp::MIN;
            known.add(&window, later(seconds));
            judge(known, 2)
        };
        for last_post in [Some(now()), Some(Timestamp::MIN), None] {
            assert_eq!(judged(last_post, kept), NullRows::Copied);
            assert_eq!(judged(last_post, kept + 1), NullRows::Late(2), "and never new: {last_post:?}");
        }
    }

    #[test]
    fn a_window_that_is_still_to_be_pulled_takes_what_came_late() {
        for waiting in [WindowState::Planned, WindowState::Claimed, WindowState::Failed] {
            assert_eq!(judge(known(&[WindowState::Verified, waiting]), 9), NullRows::Copied, "{waiting:?}");
        }
    }

    #[test]
    fn the_first_of_them_are_planned_whenever_they_come() {
        assert_eq!(judge(known(&[]), 2), NullRows::New(2));
        assert_eq!(judge(known(&[]), 0), NullRows::Copied);
    }

    #[test]
    fn every_plan_counts_them_where_a_column_is_the_axis() {
        let with = |axis, plan: Option<&str>| {
            let (chunk_id, row_format) = (ChunkIdPlace::Column, RowFormat::Compact);
            let shape = Some(Shape { axis, row_format, chunk_id, hash_columns: vec![], handover: None });
            are_counted(&Head { shape, plan: plan.map(str::to_owned), ..head(TableState::Planning) })
        };
        let column = || CutAxis::Column("Timestamp".to_owned());
        assert!(with(column(), None) && with(column(), Some("p")));
        assert!(with(CutAxis::ArrivalTime, None) && !with(CutAxis::ArrivalTime, Some("p")));
    }
}
