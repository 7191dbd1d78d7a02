//! A watermark that has fallen behind what the source keeps. Nothing older is asked for: what lies between is a window of its
//! own that nobody pulls, which says what is missing, and the watermark passes over it.

use crate::orchestration::ids::{InstanceId, Part, WindowId, WindowName};
use crate::orchestration::ledger::Head;
use crate::orchestration::limits::SOURCE_KEPT;
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
        error: Some(error),
        ..Window::planned(id, draft, false, 0, now)
    };
    (WindowName::new(low, "0"), window)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::orchestration::head::testing::{head, id, later, now};
    use crate::orchestration::ledger::TableState;

    #[test]
    fn only_what_was_to_be_copied_and_is_no_longer_kept_is_a_gap() {
        let kept = SOURCE_KEPT.as_secs();
        assert_eq!(end(now(), later(99 * kept), later(kept)), None);
        assert_eq!(end(now(), later(99 * kept), later(kept + 5)), Some(later(5)));
        assert_eq!(end(Timestamp::MIN, later(kept), later(kept + 5)), None, "the first load");
    }

    #[test]
    fn a_gap_names_its_bounds_and_what_is_missing_where() {
        let (_, gap) = window(&head(TableState::Planning), "draft", &id(1), (now(), later(5)), later(9));
        let said = gap.error.unwrap();
        assert!(said.contains(&now().to_string()) && said.contains(&later(5).to_string()), "{said}");
        assert_eq!((gap.state, gap.id.low, gap.id.high), (WindowState::Expired, now(), later(5)));
    }
}
