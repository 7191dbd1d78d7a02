//! The event *no plan*: a table comes to its result without one, because nothing is to be done or because it cannot be
//! planned. The head keeps the result until it is counted in the run; so every delivery of the plan message that comes
//! meanwhile counts the same, none plans beside it, and a plan that is still being written is overtaken.
//!
//! Order of the writes: the head with the result, the result in the run, the head without its run. Whoever reads the
//! head first and the run's table after it misses none of them.

use super::take::is_of;
use crate::orchestration::instance::{Instance, TableResult};
use crate::orchestration::ledger::{Head, TableState};
use crate::timestamp::Timestamp;

/// Whether the plan `draft` of a run is the one that is being made.
pub fn is_being_made(head: &Head, run: &Instance, draft: Option<&str>) -> bool {
    is_of(head, run) && head.state == TableState::Planning && head.draft.as_deref() == draft
}

/// The head of a table that comes to `result` without a plan.
pub fn end(head: &Head, result: TableResult, now: Timestamp) -> Head {
    Head {
        state: TableState::Idle,
        draft: None,
        plan_due: None,
        ended: Some(Box::new(result)),
        updated: now,
        ..head.clone()
    }
}

/// The head once its result is counted; `None` when it holds none of this run.
pub fn let_go(head: &Head, run: &Instance, now: Timestamp) -> Option<Head> {
    let counted = is_of(head, run) && head.ended.is_some();
    counted.then(|| Head { run: None, ended: None, updated: now, ..head.clone() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::orchestration::head::testing::{head, id, later, run};

    #[test]
    fn only_the_plan_that_is_being_made_may_end_the_table() {
        let planning = head(TableState::Planning);
        assert!(is_being_made(&planning, &run(1), Some("draft")));
        assert!(!is_being_made(&planning, &run(1), Some("overtaken")));
        assert!(!is_being_made(&planning, &run(2), Some("draft")));
        assert!(!is_being_made(&planning, &Instance { lives: 1, ..run(1) }, Some("draft")));
        let running = Head { state: TableState::Running, ..planning };
        assert!(!is_being_made(&running, &run(1), Some("draft")));
    }

    #[test]
    fn the_result_stays_in_the_head_until_it_is_counted() {
        let ended = end(&head(TableState::Planning), TableResult::default(), later(1));
        assert_eq!((ended.run.clone(), ended.state, ended.draft.clone()), (Some(id(1)), TableState::Idle, None));
        assert_eq!(let_go(&ended, &run(2), later(2)), None);
        let free = let_go(&ended, &run(1), later(2)).unwrap();
        assert_eq!((free.run.clone(), free.ended.clone()), (None, None));
        assert_eq!(let_go(&free, &run(1), later(3)), None);
    }
}
