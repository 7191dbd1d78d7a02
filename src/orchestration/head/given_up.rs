//! The event *given up*: the host has given up the message of a count or of a table's end. It is sent again, but not for ever: what makes
//! it fail each time may be in the ledger itself, and no count comes so far that its deadline is judged. Then the table comes to
//! its result without it; what is not proved by then is for the next run.
//!
//! Order of the writes: that of a table without a plan (`unplanned`).

use super::finish::progressed;
use super::verify::is_current;
use crate::orchestration::instance::TableResult;
use crate::orchestration::ledger::{Head, TableState, VerifyDue};
use crate::orchestration::limits::{Limits, MOST_GIVEN_UP};
use crate::orchestration::snapshot::result::results;
use crate::timestamp::Timestamp;

/// Whether something waits for verify message `number`: the count that is due, or the table's end.
pub fn is_awaited(head: &Head, number: u64) -> bool {
    is_current(head, number)
        || head.run.is_some() && head.state == TableState::Finishing && number >= head.verify_number
}

/// The head once its message was given up and is sent again; `None` where that has been often enough.
pub fn again(head: &Head, now: Timestamp, limits: &Limits) -> Option<Head> {
    let given_up = head.given_up + 1;
    // Until then the watchdog does not miss it.
    let at = now + limits.verify_longest;
    let verify = head.verify.clone().map(|due| VerifyDue { at, ..due });
    (given_up < MOST_GIVEN_UP).then(|| Head { given_up, verify, updated: now, ..head.clone() })
}

/// The head of a table that comes to its result with `error` although its windows have not all ended; `None` unless a run is at them. Its
/// windows are as they are, and no count but that of the next run says more of them.
pub fn end(head: &Head, error: &str, now: Timestamp) -> Option<Head> {
    let is_at_work = head.run.is_some() && matches!(head.state, TableState::Running | TableState::Finishing);
    is_at_work.then(|| Head {
        state: TableState::Idle,
        verify: None,
        verify_number: head.verify_number + 1,
        given_up: 0,
        ended: Some(Box::new(result(head, error))),
        updated: now,
        ..head.clone()
    })
}

fn result(head: &Head, error: &str) -> TableResult {
    TableResult {
        error: Some(error.to_owned()),
        // Those that its audit does not count yet are counted by the next run, here as there.
        rows: head.audited_rows.unwrap_or_default(),
        snapshots: results(head, false),
        ..progressed(head)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::orchestration::head::testing::{due, head, id, later, now, run};
    use crate::orchestration::head::unplanned::let_go;
    use crate::orchestration::head::verify::{Count, Look, look};
    use crate::orchestration::ledger::Progress;

    #[test]
    fn a_count_is_sent_again_only_so_often_and_meanwhile_nobody_misses_it() {
        let limits = Limits::scaled(1.0);
        let mut head = due(4);
        for given_up in 1..MOST_GIVEN_UP {
            head = again(&head, later(10), &limits).unwrap();
            let due = head.verify.as_ref().unwrap();
            assert_eq!((head.given_up, due.number, due.at), (given_up, 4, later(10) + limits.verify_longest));
        }
        assert_eq!(again(&head, later(20), &limits), None);
    }

    #[test]
    fn only_the_count_that_is_due_and_the_end_are_awaited() {
        assert!(is_awaited(&due(4), 4) && !is_awaited(&due(4), 3) && !is_awaited(&due(4), 5));
        let finishing = Head { verify_number: 4, ..head(TableState::Finishing) };
        assert!(is_awaited(&finishing, 4) && !is_awaited(&finishing, 3));
        assert!(!is_awaited(&Head { run: None, ..finishing }, 4));
        assert!(!is_awaited(&head(TableState::Idle), 0));
    }

    #[test]
    fn a_table_that_is_given_up_claims_no_row_that_no_audit_counts_and_leaves_its_windows_as_they_are() {
        let progress = Progress { windows: 9, verified: 3, failed: 1, rows: 30, calls: 7, ..Progress::default() };
        let before = Head { progress, unaudited_rows: 30, ..due(4) };
        let ended = end(&before, "unreadable", later(1)).unwrap();
        let result = ended.ended.clone().unwrap();
        assert_eq!((result.success, result.error.as_deref(), result.rows), (false, Some("unreadable"), 0));
        assert_eq!((result.windows, result.windows_done, result.windows_failed, result.calls), (9, 3, 1, 7));
        assert_eq!((result.verified_up_to, ended.verified_up_to), (None, before.verified_up_to));
        assert_eq!((ended.state, ended.unaudited_rows, ended.counts), (TableState::Idle, 30, before.counts));
        assert_eq!(look(&ended, Count { number: 4, message: "m" }), Look::Over);
        let free = let_go(&ended, &run(1), later(2)).unwrap();
        assert_eq!((free.run, free.ended), (None, None));
        let audited = Head { audited_rows: Some(30), unaudited_rows: 0, ..before };
        assert_eq!(end(&audited, "x", now()).unwrap().ended.unwrap().rows, 30);
    }

    #[test]
    fn only_a_table_at_which_a_run_is_is_given_up() {
        assert_eq!(end(&head(TableState::Planning), "x", now()), None, "its plan message ends it");
        assert_eq!(end(&head(TableState::Idle), "x", now()), None);
        assert_eq!(end(&Head { run: None, ..head(TableState::Running) }, "x", now()), None);
        assert_eq!(end(&head(TableState::Finishing), "x", now()).unwrap().run, Some(id(1)));
    }
}
