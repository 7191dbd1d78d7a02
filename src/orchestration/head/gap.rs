//! What the source no longer keeps, of which nothing is asked for. A watermark that has fallen behind that: what lies between is a
//! window of its own that nobody pulls, which says what is missing, and the watermark passes over it. And windows that earlier
//! runs left.

use crate::orchestration::ids::{InstanceId, Part, WindowId, WindowName};
use crate::orchestration::ledger::{CutAxis, Head};
use crate::orchestration::limits::{Limits, SOURCE_KEPT};
use crate::orchestration::window::{Window, WindowState};
use crate::timestamp::Timestamp;

/// What of a new range `(low, high]` the source no longer keeps: up to where. Where there is no lower end, nothing was ever
/// copied and nothing is missing.
pub fn end(low: Timestamp, high: Timestamp, now: Timestamp) -> Option<Timestamp> {
    let edge = (now - SOURCE_KEPT).min(high);
    (low != Timestamp::MIN && low < edge).then_some(edge)
}

/// The window that stands for `(low, end]` in the ledger. It comes with the transaction that makes its plan valid: as it was
/// handed to nobody, nothing else would tell it from a draft.
pub fn window(
    head: &Head,
    draft: &str,
    run: &InstanceId,
    (low, end): (Timestamp, Timestamp),
    now: Timestamp,
) -> (WindowName, Window) {
    let id = WindowId { ledger: head.ledger, low, high: end, part: Part::WHOLE, generation: 0, repair: 0 };
    let error = format!(
        "{} was copied up to {low} and the source keeps rows for {} days: what came up to {end} was not asked for, and is missing in {}",
        head.source,
        SOURCE_KEPT.as_secs() / 86_400,
        head.destination
    );
    let window = Window {
        state: WindowState::Expired,
        run: Some(run.clone()),
        tenure: head.tenure,
        error: Some(error),
        ..Window::planned(id, draft, false, 0, now)
    };
    (WindowName::new(low, "0"), window)
}

/// A window that an earlier run left and of which the source keeps nothing any more, as it ends; `None` where there is something to
/// be asked for, the content is fixed, or a worker may be at it.
pub fn gone(head: &Head, window: &Window, now: Timestamp, limits: &Limits) -> Option<Window> {
    let waits = match window.state {
        WindowState::Planned | WindowState::Later => true,
        WindowState::Claimed => window.is_dead(now, limits),
        WindowState::Failed => window.seal.is_none(),
        _ => false,
    };
    let has_times = head.shape.as_ref().is_none_or(|shape| shape.axis != CutAxis::Whole) && !window.id.is_null_axis();
    if !waits || !has_times || now.since(window.id.high) <= SOURCE_KEPT {
        return None;
    }
    let WindowId { low, high, .. } = window.id;
    let days = SOURCE_KEPT.as_secs() / 86_400;
    let (rows, Head { source, destination, .. }) = (window.expected_rows(), head);
    let what = if window.difference.is_some() {
        format!(
            "({low}, {high}] of {source} was not compared with {destination}, so that rows which came late may be missing there:"
        )
    } else {
        format!("{rows} rows that were planned in ({low}, {high}] of {source} are missing in {destination}:")
    };
    let before = window.error.as_ref().map_or(String::new(), |error| format!(" (the last error: {error})"));
    Some(Window {
        state: WindowState::Expired,
        owner: None,
        lease_until: None,
        owed: Vec::new(),
        error: Some(format!("{what} the source keeps rows for {days} days and is not asked for them any more{before}")),
        updated: now,
        ..window.clone()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::orchestration::difference::Difference;
    use crate::orchestration::head::testing::{head, id, later, now, seal, shape};
    use crate::orchestration::ledger::Shape;
    use crate::orchestration::ledger::TableState;

    #[test]
    fn only_what_was_to_be_copied_and_is_no_longer_kept_is_a_gap() {
        let kept = SOURCE_KEPT.as_secs();
        assert_eq!(end(now(), later(99 * kept), later(kept)), None);
        assert_eq!(end(now(), later(99 * kept), later(kept + 5)), Some(later(5)));
        assert_eq!(end(Timestamp::MIN, later(kept), later(kept + 5)), None, "the first load");
    }

    #[test]
    fn a_window_that_was_left_until_the_source_let_go_of_its_rows_ends_and_names_its_bounds() {
        let kept = SOURCE_KEPT.as_secs();
        let (id, limits) =
            (window(&head(TableState::Planning), "p", &id(1), (now(), later(5)), now()).1.id, Limits::scaled(1.0));
        let left = |state| Window { state, ..Window::planned(id, "p", false, 7, now()) };
        let ended = |window: &Window, at| gone(&head(TableState::Planning), window, later(at), &limits);
        for state in [WindowState::Planned, WindowState::Claimed, WindowState::Failed] {
            let expired = ended(&left(state), kept + 6).unwrap();
            let said = expired.error.unwrap();
            assert!(said.starts_with(&format!("7 rows that were planned in ({}, {}] of s", now(), later(5))), "{said}");
            assert_eq!((expired.state, ended(&left(state), kept + 5)), (WindowState::Expired, None));
        }
        for over in [WindowState::Sealed, WindowState::Submitted, WindowState::Verified, WindowState::Split] {
            assert_eq!(ended(&left(over), 2 * kept), None, "{over:?}");
        }
        let posted = Window { seal: Some(seal()), ..left(WindowState::Failed) };
        let held = Window { lease_until: Some(later(2 * kept)), ..left(WindowState::Claimed) };
        let nulls =
            Window { id: WindowId { low: Timestamp::MIN, high: Timestamp::MIN, ..id }, ..left(WindowState::Failed) };
        assert!([posted, held, nulls].iter().all(|window| ended(window, 2 * kept).is_none()));
        let whole = Head { shape: Some(Shape { axis: CutAxis::Whole, ..shape() }), ..head(TableState::Planning) };
        assert_eq!(gone(&whole, &left(WindowState::Failed), later(2 * kept), &limits), None);
        let repair = Window { difference: Some(Difference::of(9)), ..left(WindowState::Failed) };
        assert!(ended(&repair, 2 * kept).unwrap().error.unwrap().contains("was not compared with x"));
    }

    #[test]
    fn a_gap_names_its_bounds_and_what_is_missing_where() {
        let (_, gap) = window(&head(TableState::Planning), "draft", &id(1), (now(), later(5)), later(9));
        let said = gap.error.unwrap();
        assert!(said.contains(&now().to_string()) && said.contains(&later(5).to_string()), "{said}");
        assert_eq!((gap.state, gap.id.low, gap.id.high), (WindowState::Expired, now(), later(5)));
    }
}
