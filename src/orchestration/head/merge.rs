//! What a plan pulls as one of the windows that earlier runs left: small neighbours, and the parts of a range by a hash that
//! nobody can ask for any more. Only windows that were never sealed: nothing of them can be in the destination. The old ones
//! are replaced by the new one in one transaction, as a split window is by its children; no worker holds any, and none
//! can claim one while the table is planned.

use super::gap;
use crate::orchestration::ids::{InstanceId, Part, WindowId};
use crate::orchestration::ledger::{Head, Shape};
use crate::orchestration::limits::{Limits, MOST_SPLITS};
use crate::orchestration::sizing::target_rows_in;
use crate::orchestration::window::{Window, WindowState};
use crate::orchestration::write::{Seen, TableWrite, WindowWrite};
use crate::timestamp::Timestamp;

/// Windows that become one at a time: should that be too much after all, it takes two calls more than they had taken.
const TOGETHER: usize = 8;
/// Parts of a range, with the new window and the head, fit one transaction.
const MOST_PARTS: usize = 98;

/// What is known beside the windows.
#[derive(Debug, Clone, Copy)]
pub struct Terms<'a> {
    /// The run that plans.
    pub run: &'a InstanceId,
    /// The bytes that an answer may have.
    pub byte_cap: u64,
    /// The time.
    pub now: Timestamp,
    /// The numbers of the protocol.
    pub limits: &'a Limits,
}

/// The transactions that replace windows by larger ones, one after the other. `left` are all windows that are not terminal,
/// `all` are those of the table.
pub fn merged<V: Clone>(head: &Head, left: &[Seen<V>], all: &[Window], terms: Terms<'_>) -> Vec<TableWrite<V>> {
    let mut head = head.clone();
    let mut groups = small(&head, left, terms);
    groups.extend(head.shape.as_ref().map(|shape| lost(shape, left, all)).unwrap_or_default());
    groups.into_iter().map(|group| replaced(&mut head, &group, all, terms)).collect()
}

/// Whether nothing of a window was ever sealed, and nobody holds it.
fn is_free(window: &Window) -> bool {
    let untouched = window.seal.is_none() && window.posts == 0 && window.id.generation == 0;
    untouched && matches!(window.state, WindowState::Planned | WindowState::Failed | WindowState::Later)
}

fn is_plain(window: &Window) -> bool {
    !window.id.is_repair() && !window.id.is_null_axis() && window.difference.is_none()
}

/// Neighbours of one plan that fit one answer. What was refused in parts of a window was so for a reason, unless it came to be
/// as small as parts may.
fn small<'s, V>(head: &Head, left: &'s [Seen<V>], terms: Terms<'_>) -> Vec<Vec<&'s Seen<V>>> {
    let Terms { byte_cap, now, limits, .. } = terms;
    let may = |window: &Window| {
        let untried = window.state == WindowState::Planned && window.splits == 0 && window.failures == 0;
        let given_up = window.state == WindowState::Failed && window.splits >= MOST_SPLITS;
        is_free(window)
            && is_plain(window)
            && window.id.part == Part::WHOLE
            && window.id.low != Timestamp::MIN
            && (untried || given_up)
            && gap::gone(head, window, now, limits).is_none()
    };
    let mut free: Vec<&Seen<V>> = left.iter().filter(|seen| may(&seen.window)).collect();
    free.sort_by_key(|seen| seen.window.id.low);
    let mut groups: Vec<Vec<&Seen<V>>> = Vec::new();
    for seen in free {
        let next = &seen.window;
        let fits = |group: &Vec<&Seen<V>>| {
            let (Some(first), Some(last)) = (group.first(), group.last()) else { return false };
            let (first, last) = (&first.window, &last.window);
            let rows: u64 = group.iter().map(|seen| seen.window.planned_rows).sum::<u64>() + next.planned_rows;
            let alike = |window: &Window| (window.state, window.handover, window.plan.clone());
            last.id.high == next.id.low
                // What lies before it is left for a later run.
                && head.since != Some(next.id.low)
                && alike(last) == alike(next)
                && group.len() < TOGETHER
                && rows <= target_rows_in(head, limits, byte_cap, (first.id.low, next.id.high))
        };
        match groups.last_mut().filter(|group| fits(group)) {
            Some(group) => group.push(seen),
            None => groups.push(vec![seen]),
        }
    }
    groups.retain(|group| group.len() > 1);
    groups
}

/// The parts of a range by something that is gone, where none of them was ever sealed: all of it can be asked for still.
fn lost<'s, V>(shape: &Shape, left: &'s [Seen<V>], all: &[Window]) -> Vec<Vec<&'s Seen<V>>> {
    let is_of = |one: &WindowId, other: &Window| {
        (one.low, one.high) == (other.id.low, other.id.high) && other.state != WindowState::Split
    };
    let may = |window: &Window| is_free(window) && is_plain(window) && shape.has_lost_the_part(window);
    let mut parts: Vec<&Seen<V>> = left.iter().filter(|seen| may(&seen.window)).collect();
    parts.sort_by_key(|seen| (seen.window.id.low, seen.window.id.high, seen.name.clone()));
    let groups = parts.chunk_by(|one, other| is_of(&one.window.id, &other.window));
    let is_whole = |group: &&[&Seen<V>]| {
        let id = &group[0].window.id;
        // One that has no rows has nothing that could not be told from others.
        let others = all.iter().filter(|window| is_of(id, window) && window.state != WindowState::Empty);
        group.len() <= MOST_PARTS && others.count() == group.len()
    };
    groups.filter(is_whole).map(<[_]>::to_vec).collect()
}

/// One window in the place of several, which are in order.
fn replaced<V: Clone>(head: &mut Head, group: &[&Seen<V>], all: &[Window], terms: Terms<'_>) -> TableWrite<V> {
    let Terms { run, now, .. } = terms;
    let (first, last) = (group[0], group[group.len() - 1]);
    let (low, high) = (first.window.id.low, last.window.id.high);
    let same = all.iter().map(|window| window.id).filter(|id| (id.low, id.high, id.part) == (low, high, Part::WHOLE));
    // A window that was divided into these has the range, too.
    let generation = same.map(|id| id.generation + 1).max().unwrap_or(0);
    let id = WindowId { high, part: Part::WHOLE, generation, ..first.window.id };
    let rows = group.iter().map(|seen| seen.window.planned_rows).sum();
    let failures = group.iter().map(|seen| seen.window.failures).max().unwrap_or(0);
    let error = group.iter().find_map(|seen| seen.window.error.clone());
    let planned = Window::planned(id, &first.window.plan, first.window.handover, rows, now);
    let whole = Window { failures, error, run: first.window.run.clone(), parting: head.parting(), ..planned };
    // Where the first of its children would stand, of which it has none.
    let name = whole.name(&format!("{}00", first.name.path()));
    let mut windows = vec![WindowWrite::Insert(name, whole)];
    head.counts.open += 1;
    for seen in group {
        head.counts.moved(seen.window.state, WindowState::Split);
        let run = Some(run.clone());
        let over = Window {
            state: WindowState::Split,
            run,
            owed: Vec::new(),
            lease_until: None,
            updated: now,
            ..seen.window.clone()
        };
        windows.push(WindowWrite::Swap(seen.name.clone(), over, seen.version.clone()));
    }
    TableWrite { head: head.clone(), windows }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::orchestration::head::testing::{head, id, now, seal, seen, shape};
    use crate::orchestration::ledger::{Counts, TableState};

    const ROWS: u64 = 10_000;

    fn left(low: u64, state: WindowState, planned_rows: u64) -> Seen<u64> {
        let seen = seen(low, state);
        let splits = if state == WindowState::Failed { MOST_SPLITS } else { 0 };
        Seen { window: Window { planned_rows, splits, ..seen.window }, ..seen }
    }

    fn limits() -> Limits {
        Limits { window_rows: ROWS, ..Limits::scaled(1.0) }
    }

    fn planning() -> Head {
        let counts = Counts { open: 10, failed: 10, ..Counts::default() };
        Head { shape: Some(shape()), plan: Some("p".into()), counts, ..head(TableState::Planning) }
    }

    fn writes(head: &Head, left: &[Seen<u64>], all: &[Window]) -> Vec<TableWrite<u64>> {
        // Windows lie at the first ticks of time here.
        let terms =
            Terms { run: &id(9), byte_cap: 50_000_000, now: Timestamp::from_ticks(20_000_000_000), limits: &limits() };
        merged(head, left, all, terms)
    }

    fn made(write: &TableWrite<u64>) -> (u64, u64, u64, usize) {
        let WindowWrite::Insert(_, whole) = &write.windows[0] else { panic!("{write:?}") };
        assert!(whole.state == WindowState::Planned && whole.id.part == Part::WHOLE);
        (whole.id.low.ticks(), whole.id.high.ticks(), whole.planned_rows, write.windows.len() - 1)
    }

    fn all(left: &[Seen<u64>]) -> Vec<Window> {
        left.iter().map(|seen| seen.window.clone()).collect()
    }

    #[test]
    fn small_neighbours_that_were_left_are_pulled_as_one() {
        use WindowState::{Failed, Planned};
        let left: Vec<Seen<u64>> = [
            (10, Planned, 4_000),
            (20, Planned, 5_000),
            (30, Planned, 2_000),
            (50, Planned, 1),
            (60, Failed, 9),
            (70, Failed, 9),
        ]
        .map(|(low, state, rows)| left(low, state, rows))
        .to_vec();
        let writes = writes(&planning(), &left, &all(&left));
        let made: Vec<_> = writes.iter().map(made).collect();
        assert_eq!(made, [(10, 30, 9_000, 2), (60, 80, 18, 2)]);
        for write in &writes {
            for change in &write.windows[1..] {
                let WindowWrite::Swap(_, over, _) = change else { panic!("{change:?}") };
                assert_eq!((over.state, over.run.clone()), (WindowState::Split, Some(id(9))));
            }
        }
        let counts = writes[1].head.counts;
        assert_eq!((counts.split, counts.open, counts.failed), (4, 10 - 2 + 2, 8));
    }

    #[test]
    fn what_may_have_been_posted_or_is_held_or_was_refused_is_left_as_it_is() {
        use WindowState::{Claimed, Failed, Planned, Sealed, Submitted};
        let of = |change: fn(&mut Window)| {
            let mut other = left(20, Planned, 5);
            change(&mut other.window);
            let left = [left(10, Planned, 5), other];
            writes(&planning(), &left, &all(&left)).len()
        };
        assert_eq!(of(|_| {}), 1);
        for state in [Claimed, Sealed, Submitted, Failed] {
            let mut other = left(20, state, 5);
            other.window.splits = 0;
            let left = [left(10, Planned, 5), other];
            assert!(writes(&planning(), &left, &all(&left)).is_empty(), "{state:?}");
        }
        let kept: [fn(&mut Window); 8] = [
            |window| window.seal = Some(seal()),
            |window| window.posts = 1,
            |window| window.id.generation = 1,
            |window| window.id.repair = 1,
            |window| window.splits = 1,
            |window| window.handover = true,
            |window| window.plan = "another".into(),
            |window| window.id.low = Timestamp::from_ticks(21),
        ];
        for (index, change) in kept.into_iter().enumerate() {
            assert_eq!(of(change), 0, "{index}");
        }
    }

    #[test]
    fn what_the_source_no_longer_keeps_is_not_pulled_with_what_it_does() {
        let left = [left(10, WindowState::Planned, 5), left(20, WindowState::Planned, 5)];
        let now = now();
        let terms = Terms { run: &id(9), byte_cap: 50_000_000, now, limits: &limits() };
        assert!(merged(&planning(), &left, &all(&left), terms).is_empty());
    }

    #[test]
    fn what_a_run_leaves_for_later_is_not_merged_with_what_it_pulls() {
        let left = [left(10, WindowState::Planned, 5), left(20, WindowState::Planned, 5)];
        let head = planning();
        assert_eq!(writes(&head, &left, &all(&left)).len(), 1);
        let narrowed = Head { since: Some(left[1].window.id.low), ..head };
        assert!(writes(&narrowed, &left, &all(&left)).is_empty());
    }

    fn part(index: u16, count: u16, state: WindowState) -> Seen<u64> {
        let mut part = left(10, state, 100);
        part.window.id.part = Part { index, count };
        part.window.splits = 0;
        Seen { name: part.window.name(&format!("p{index:04x}")), ..part }
    }

    #[test]
    fn parts_by_a_column_that_is_gone_are_asked_for_as_a_whole_again() {
        use WindowState::{Failed, Planned, Split, Submitted};
        let mut head = planning();
        let parts = [part(0, 2, Failed), part(1, 4, Planned), part(3, 4, Failed)];
        let mut all = all(&parts);
        // What they had been divided from.
        let mut parent = left(10, Split, 300).window;
        parent.id.generation = 0;
        let mut other = part(1, 2, Split).window;
        other.id.part = Part { index: 1, count: 2 };
        all.extend([parent.clone(), other]);
        assert!(writes(&head, &parts, &all).is_empty(), "they can be asked for");
        head.shape.as_mut().unwrap().part_by(shape().parts);
        let writes_now = writes(&head, &parts, &all);
        assert_eq!(writes_now.iter().map(made).collect::<Vec<_>>(), [(10, 20, 300, 3)]);
        let WindowWrite::Insert(_, whole) = &writes_now[0].windows[0] else { panic!() };
        assert_eq!(whole.id.generation, parent.id.generation + 1, "no two windows have one id");
        assert!(!head.shape.as_ref().unwrap().has_lost_the_part(whole));
        let posted = part(3, 4, Submitted);
        let some = [parts[0].clone(), parts[1].clone(), posted];
        let all: Vec<Window> = some.iter().map(|seen| seen.window.clone()).chain([parent]).collect();
        assert!(writes(&head, &some, &all).is_empty(), "the rows of one are there, and cannot be told from the others");
    }
}
