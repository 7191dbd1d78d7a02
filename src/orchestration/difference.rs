//! Windows that are pulled for what the destination does not hold yet: rows that came later than others of their range, and
//! rows of windows that are pulled anew beside such. Says which windows a difference is made against, and how many rows the
//! source showed when the windows of a range were last compared with it. Knows no row.

use super::adoption::coverage::{covers, overlaps};
use super::adoption::watch::{is_posted, rows};
use super::ids::{Part, WindowId};
use super::limits::SOURCE_KEPT;
use super::window::{Window, WindowState};
use crate::timestamp::Timestamp;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// How much longer than it says the source may show a row.
const MARGIN: Duration = Duration::from_secs(2 * 86_400);

/// What a window is pulled for that brings only what the destination does not hold.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Difference {
    /// Rows of its range that the source showed to the plan.
    pub shown: u64,
    /// Rows of its range that the source showed when it was pulled: from then on the destination holds them all.
    #[serde(default)]
    pub compared: Option<u64>,
    /// Rows that another app has copied, and that are looked through too.
    #[serde(default)]
    pub unmarked: Option<Unmarked>,
    /// The part by a hash that nobody can ask for any more, which the window is, or is a part of: what is asked for is all of its
    /// range, or a part of that by what parts rows now ([`Window::asked_part`]).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lost: Option<Part>,
}

/// Rows of the destination that carry no window's id, by their watermark; or those of them that have none.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unmarked {
    /// From here on.
    pub first: Timestamp,
    /// Up to and including.
    pub last: Timestamp,
    /// Ingested after this, or nobody knows when.
    pub after: Timestamp,
}

impl Unmarked {
    /// Rows that have no watermark, whenever they were ingested.
    pub const WITHOUT: Self = Self { first: Timestamp::MIN, last: Timestamp::MIN, after: Timestamp::MIN };

    /// Whether it stands for rows that have no watermark.
    pub fn is_without(&self) -> bool {
        *self == Self::WITHOUT
    }
}

impl Difference {
    /// A difference against windows alone, of a range in which the source shows so many rows.
    pub fn of(shown: u64) -> Self {
        Self { shown, compared: None, unmarked: None, lost: None }
    }

    /// That of a part of the range, in which the source shows so many rows: where it shows none there is nothing to compare.
    pub fn of_part(&self, shown: u64) -> Self {
        Self { shown, compared: (shown == 0).then_some(0), ..self.clone() }
    }
}

/// What a difference is made against.
#[derive(Debug, Clone, PartialEq)]
pub enum Against {
    /// These windows of the ledger.
    Windows(Vec<Counted>),
    /// This one is not over: its rows are not all there.
    NotYet(Box<Window>),
    /// It is a repair of windows that are not on record any more: what the destination holds of its range is not known.
    Unknown,
}

/// A window whose rows are in the destination.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Counted {
    /// It.
    pub id: WindowId,
    /// How many rows of it are there.
    pub rows: u64,
    /// How many bytes, where that is known.
    pub bytes: Option<u64>,
}

/// The windows of the ledger that stand for rows of the range of `window`. One that a later window of the same range waits
/// for has to be over; those later ones count as far as they are there.
pub fn against(window: &Window, ledger: &[Window], now: Timestamp) -> Against {
    let mut counted = Vec::new();
    let is_beside = |other: &&Window| meet(window, other) && !are_apart(window, other);
    for other in ledger.iter().filter(|other| other.id != window.id).filter(is_beside) {
        let is_later = other.id.repair > window.id.repair;
        match other.state {
            // The source no longer shows any of its rows.
            WindowState::Verified if now.since(pulled_by(other)) > SOURCE_KEPT + MARGIN => {}
            WindowState::Verified => {
                let bytes = other.seal.as_ref().map(|seal| seal.raw_bytes);
                counted.push(Counted { id: other.id, rows: rows(other), bytes });
            }
            WindowState::Split | WindowState::Empty | WindowState::Expired => {}
            // Nothing of it can be there; when it is pulled it is compared with this one.
            _ if is_later && !is_posted(other) => {}
            _ => return Against::NotYet(Box::new(other.clone())),
        }
    }
    if has_base(window, ledger) { Against::Windows(counted) } else { Against::Unknown }
}

/// Whether both are held against another app's rows, of watermarks that have nothing in common.
fn are_apart(one: &Window, other: &Window) -> bool {
    let unmarked = |window: &Window| window.difference.as_ref().and_then(|difference| difference.unmarked.clone());
    let both = unmarked(one).zip(unmarked(other));
    both.is_some_and(|(one, other)| one.last < other.first || other.last < one.first)
}

/// Whether the windows that a repair brings the late rows of are all on record. Those of rows without a value on the cut axis always
/// are, and what a plan compares with another app's rows stands for none.
fn has_base(window: &Window, ledger: &[Window]) -> bool {
    let id = &window.id;
    let first = if id.repair < WindowId::FIRST_HANDOVER { 0 } else { WindowId::FIRST_HANDOVER };
    let is_of_others = first > 0 && window.handover;
    if id.repair == first || id.is_null_axis() || is_of_others {
        return true;
    }
    let is_base = |other: &&Window| other.id.repair == first && other.state != WindowState::Split;
    let bases = ledger.iter().filter(is_base).filter(|other| meet(window, other)).map(|other| other.id);
    covers(&bases.collect::<Vec<_>>(), id)
}

/// When the rows of a window had been pulled. A destination may not note when those of an adopted one landed.
fn pulled_by(window: &Window) -> Timestamp {
    window.last_post.filter(|at| *at != Timestamp::MIN).unwrap_or(window.updated)
}

/// Whether a row of the source can belong to both windows, whichever of them came later.
pub fn share_rows(one: &WindowId, other: &WindowId) -> bool {
    let of_this_app = |id: &WindowId| id.repair < WindowId::FIRST_HANDOVER;
    of_this_app(one) == of_this_app(other) && !overlaps(&[base(one), base(other)]).is_empty()
}

fn base(id: &WindowId) -> WindowId {
    WindowId { repair: 0, ..*id }
}

/// The same of windows on record. Parts by hashes of other columns have rows in common, whatever their numbers.
pub fn meet(one: &Window, other: &Window) -> bool {
    let lost = |window: &Window| window.difference.as_ref().and_then(|difference| difference.lost);
    if (one.parting, lost(one)) == (other.parting, lost(other)) {
        return share_rows(&one.id, &other.id);
    }
    let range = |id: &WindowId| WindowId { part: Part::WHOLE, ..*id };
    share_rows(&range(&one.id), &range(&other.id))
}

/// How many rows the source showed in a `part` of a range when that was last compared with the destination; `None` where it is
/// still to be done. `bases` are the windows that stand for it, `repairs` those that share rows with it.
pub fn last_shown(bases: &[&Window], part: Part, repairs: &[&Window]) -> Option<u64> {
    let is_known = |window: &Window| matches!(window.state, WindowState::Verified | WindowState::Empty);
    if !bases.iter().all(|base| is_known(base)) || repairs.iter().any(|repair| !repair.state.is_terminal()) {
        return None;
    }
    let leaves: Vec<&&Window> = repairs.iter().filter(|repair| is_known(repair)).collect();
    let latest = leaves.iter().map(|repair| repair.id.repair).max();
    let compared: Vec<&&&Window> = leaves.iter().filter(|repair| Some(repair.id.repair) == latest).collect();
    let within = |repair: &Window| {
        let asked = repair.asked_part();
        asked.count.is_multiple_of(part.count) && asked.index % part.count == part.index
    };
    let share = |repair: &Window| f64::from(part.count) / f64::from(repair.asked_part().count);
    let shares: f64 = compared.iter().map(|repair| share(repair)).sum();
    let sum = compared.iter().map(|repair| repair.difference.as_ref()?.compared).sum::<Option<u64>>();
    match sum {
        // Shares are powers of two, which add up without error.
        Some(sum) if latest.is_some() && shares == 1.0 && compared.iter().all(|repair| within(repair)) => Some(sum),
        // Not more than that: what is too few is only asked about again, what is too many hides rows.
        _ => {
            let first: u64 = bases.iter().map(|base| first_shown(base)).sum();
            let there: u64 = bases.iter().map(|base| held(base)).sum();
            Some(first.max(there + leaves.iter().map(|repair| held(repair)).sum::<u64>()))
        }
    }
}

fn first_shown(base: &Window) -> u64 {
    // What was asked for in the place of a part was more than that.
    let own = base.difference.as_ref().filter(|difference| difference.lost.is_none());
    own.and_then(|difference| difference.compared).unwrap_or_else(|| held(base))
}

/// Rows of a window that are in the destination.
fn held(window: &Window) -> u64 {
    if window.state == WindowState::Verified { rows(window) } else { 0 }
}

/// The number of the next repair of the range of `base`.
pub fn next_repair(base: &WindowId, ledger: &[Window]) -> u16 {
    let first = if base.repair < WindowId::FIRST_HANDOVER { 0 } else { base.repair };
    let taken = ledger.iter().filter(|other| share_rows(base, &other.id)).map(|other| other.id.repair);
    taken.fold(first, u16::max).saturating_add(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::orchestration::head::testing::{later, now, seen};

    fn window(state: WindowState, repair: u16) -> Window {
        let mut window = seen(10, state).window;
        window.id.repair = repair;
        window
    }

    fn found(window: &Window, ledger: &[Window]) -> Result<Vec<u16>, WindowId> {
        match against(window, ledger, later(60)) {
            Against::Windows(windows) => Ok(windows.iter().map(|counted| counted.id.repair).collect()),
            Against::NotYet(other) => Err(other.id),
            Against::Unknown => panic!("{} has no base", window.id),
        }
    }

    #[test]
    fn a_repair_is_held_against_all_windows_of_its_range_and_no_others() {
        let ledger = [
            window(WindowState::Verified, 0),
            window(WindowState::Verified, 1),
            seen(20, WindowState::Verified).window,
        ];
        let repair = window(WindowState::Claimed, 2);
        assert_eq!(found(&repair, &ledger), Ok(vec![0, 1]));
        let mut other_part = repair;
        other_part.id.part = Part { index: 1, count: 2 };
        let mut half = ledger[1].clone();
        half.id.part = Part { index: 0, count: 4 };
        assert_eq!(found(&other_part, &[ledger[0].clone(), half]), Ok(vec![0]));
    }

    #[test]
    fn a_repair_waits_for_the_windows_before_it_and_they_do_not_wait_for_it() {
        for open in [WindowState::Planned, WindowState::Claimed, WindowState::Failed, WindowState::Submitted] {
            let base = window(open, 0);
            assert_eq!(found(&window(WindowState::Claimed, 1), std::slice::from_ref(&base)), Err(base.id), "{open:?}");
        }
        let base = window(WindowState::Claimed, 0);
        assert_eq!(found(&base, &[window(WindowState::Planned, 1)]), Ok(vec![]));
        let posted = window(WindowState::Submitted, 1);
        assert_eq!(found(&base, std::slice::from_ref(&posted)), Err(posted.id), "its rows may be there");
        assert_eq!(found(&base, &[window(WindowState::Verified, 1)]), Ok(vec![1]));
    }

    #[test]
    fn a_repair_of_windows_that_are_not_on_record_is_not_made() {
        let (base, repair) = (window(WindowState::Verified, 0), window(WindowState::Claimed, 2));
        let half = |index| Window {
            id: WindowId { part: Part { index, count: 2 }, ..base.id },
            ..window(WindowState::Empty, 0)
        };
        let is_known = |ledger: &[Window]| against(&repair, ledger, later(60)) != Against::Unknown;
        assert!(is_known(std::slice::from_ref(&base)) && is_known(&[half(0), half(1)]));
        assert!(!is_known(&[]), "the whole range would be copied again");
        assert!(!is_known(&[half(0)]) && !is_known(&[window(WindowState::Verified, 1)]));
        assert!(!is_known(&[Window { state: WindowState::Split, ..base.clone() }]));
        let of_half = Window { id: WindowId { repair: 2, ..half(0).id }, ..repair.clone() };
        assert_eq!(found(&of_half, &[half(0)]), Ok(vec![]));
        let of_nulls = Window { id: WindowId { high: Timestamp::MIN, low: Timestamp::MIN, ..repair.id }, ..repair };
        assert_eq!(found(&of_nulls, &[]), Ok(vec![]), "those are never purged");
        let (first, next) = (WindowId::FIRST_HANDOVER, WindowId::FIRST_HANDOVER + 1);
        assert_eq!(found(&window(WindowState::Claimed, first), &[]), Ok(vec![]), "its base is another app's");
        let next = window(WindowState::Claimed, next);
        assert_eq!(against(&next, &[base], later(60)), Against::Unknown);
        assert_eq!(found(&Window { handover: true, ..next }, &[]), Ok(vec![]), "nor is that of another comparison");
    }

    #[test]
    fn parts_by_other_columns_have_rows_in_common_whatever_their_numbers() {
        let part = |index, parting| Window {
            id: WindowId { part: Part { index, count: 2 }, ..window(WindowState::Verified, 0).id },
            parting,
            ..window(WindowState::Verified, 0)
        };
        assert!(!meet(&part(0, 0), &part(1, 0)) && meet(&part(0, 0), &part(1, 1)));
        let lost = Some(Difference { lost: Some(Part { index: 1, count: 2 }), ..Difference::of(6) });
        let asked_whole = Window { difference: lost.clone(), state: WindowState::Claimed, ..part(1, 1) };
        assert_eq!(asked_whole.asked_part(), Part::WHOLE);
        let beside = found(&asked_whole, &[part(0, 0), asked_whole.clone()]);
        assert_eq!(beside, Ok(vec![0]), "the rows of the part that was copied are among those that are asked for");
        let half =
            |index| Window { id: WindowId { part: Part { index, count: 4 }, ..asked_whole.id }, ..asked_whole.clone() };
        assert_eq!([half(1), half(3)].map(|half| half.asked_part().index), [0, 1]);
        assert_eq!(half(3).asked_part().count, 2);
        assert_eq!(half(3).named_part(Part { index: 3, count: 4 }), Some(Part { index: 7, count: 8 }));
        assert_eq!(half(3).named_part(Part { index: 3, count: 40_000 }), None, "no id says that");
        assert!(!meet(&half(1), &half(3)) && meet(&half(3), &part(0, 0)));
    }

    #[test]
    fn stretches_of_watermarks_do_not_wait_for_each_other() {
        let stretch = |number, first, last| {
            let unmarked = Some(Unmarked { first: later(first), last: later(last), after: now() });
            let difference = Some(Difference { unmarked, ..Difference::of(3) });
            Window { difference, ..window(WindowState::Planned, WindowId::FIRST_HANDOVER + number) }
        };
        let ledger = [stretch(0, 0, 4), stretch(1, 5, 9)];
        assert_eq!(found(&ledger[1], &ledger), Ok(vec![]));
        assert_eq!(found(&stretch(2, 4, 5), &ledger), Err(ledger[0].id), "it meets both");
    }

    #[test]
    fn rows_that_the_source_has_let_go_of_are_not_read_again() {
        let ledger = [window(WindowState::Verified, 0)];
        let held = |days: u64| against(&window(WindowState::Claimed, 1), &ledger, later(days * 86_400));
        let count = |held| match held {
            Against::Windows(windows) => windows.len(),
            Against::NotYet(_) | Against::Unknown => 9,
        };
        assert_eq!((count(held(30)), count(held(33))), (1, 0));
        assert_eq!(later(0), now());
    }

    #[test]
    fn repairs_of_what_another_app_has_copied_stand_beside_those_of_ours() {
        let (ours, theirs) =
            (window(WindowState::Verified, 0), window(WindowState::Verified, WindowId::FIRST_HANDOVER));
        assert!(!share_rows(&ours.id, &theirs.id));
        let ledger = [ours.clone(), theirs.clone(), window(WindowState::Verified, 1)];
        assert_eq!(next_repair(&ours.id, &ledger), 2);
        assert_eq!(next_repair(&theirs.id, &ledger), WindowId::FIRST_HANDOVER + 1);
    }
}
