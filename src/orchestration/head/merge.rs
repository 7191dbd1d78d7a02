//! What a plan pulls as one of the windows that earlier runs left: small neighbours, and the parts of a range by a hash that
//! nobody can ask for any more. Only windows that were never sealed: nothing of them can be in the destination. The old ones
//! are replaced by the new one in one transaction, as a split window is by its children; no worker holds any, and none
//! can claim one while the table is planned.
//!
//! Where other parts of such a range are in the destination, or were empty, one of those that are left stands for all that is missing: all
//! of the range is asked for, and compared with what is there. It keeps its id, so ids still tell who covers what.

use super::gap;
use crate::orchestration::adoption::watch::rows;
use crate::orchestration::difference::Difference;
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
    let mut writes: Vec<TableWrite<V>> =
        small(&head, left, terms).into_iter().map(|group| replaced(&mut head, &group, all, terms)).collect();
    for group in head.shape.as_ref().map(|shape| lost(shape, left)).unwrap_or_default() {
        if is_whole(&group, all) {
            writes.push(replaced(&mut head, &group, all, terms));
            continue;
        }
        // More than that are left to the next plan.
        writes.push(compared(&mut head, &group[..group.len().min(MOST_PARTS)], all, terms));
    }
    writes
}

/// Whether nothing of a window was ever sealed, and nobody holds it.
fn is_free(window: &Window) -> bool {
    is_unposted(window) && window.id.generation == 0
}

/// Whether nothing of a window, as it is now, was sealed, and nobody holds it.
fn is_unposted(window: &Window) -> bool {
    let waits = matches!(window.state, WindowState::Planned | WindowState::Failed | WindowState::Later);
    waits && window.seal.is_none() && window.posts == 0
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

/// The free parts of ranges by something that is gone, those of a range together.
fn lost<'s, V>(shape: &Shape, left: &'s [Seen<V>]) -> Vec<Vec<&'s Seen<V>>> {
    let may = |window: &Window| is_unposted(window) && shape.has_lost_the_part(window);
    let mut parts: Vec<&Seen<V>> = left.iter().filter(|seen| may(&seen.window)).collect();
    let place = |seen: &Seen<V>| {
        let WindowId { low, high, repair, .. } = seen.window.id;
        (low, high, repair)
    };
    parts.sort_by_key(|seen| (place(seen), seen.name.clone()));
    parts.chunk_by(|one, other| place(one) == place(other)).map(<[_]>::to_vec).collect()
}

/// Whether the parts are all that stand for their range, and what they were divided from can be asked for in their place: then none of
/// its rows is in the destination.
fn is_whole<V>(group: &[&Seen<V>], all: &[Window]) -> bool {
    let id = &group[0].window.id;
    let others = all.iter().filter(|window| is_of(id, window));
    let is_replaceable = |seen: &&Seen<V>| is_free(&seen.window) && is_plain(&seen.window);
    group.len() <= MOST_PARTS && group.iter().all(is_replaceable) && others.count() == group.len()
}

fn is_of(id: &WindowId, other: &Window) -> bool {
    (id.low, id.high) == (other.id.low, other.id.high) && other.state != WindowState::Split
}

/// The first of several parts as it is asked for: all that the source has of their range, of which what is in the destination is left
/// out. The others are empty then: the first brings their rows.
fn compared<V: Clone>(head: &mut Head, group: &[&Seen<V>], all: &[Window], terms: Terms<'_>) -> TableWrite<V> {
    let (first, now) = (group[0], terms.now);
    let id = &first.window.id;
    // What is compared with another app's rows has rows of its own.
    let is_beside =
        |other: &&Window| is_of(id, other) && (id.repair < WindowId::FIRST_HANDOVER || id.repair == other.id.repair);
    let shown = all.iter().filter(is_beside).map(shown).sum();
    let before = first.window.difference.clone().unwrap_or(Difference::of(0));
    let difference = Difference { shown, compared: None, lost: Some(id.part), ..before };
    let planned_rows = group.iter().map(|seen| seen.window.planned_rows).sum();
    let asked = Window {
        difference: Some(difference),
        planned_rows,
        parting: head.parting(),
        run: first.window.run.clone().or_else(|| Some(terms.run.clone())),
        updated: now,
        ..first.window.clone()
    };
    let mut windows = vec![WindowWrite::Swap(first.name.clone(), asked, first.version.clone())];
    for seen in &group[1..] {
        head.counts.moved(seen.window.state, WindowState::Empty);
        windows.push(WindowWrite::Swap(
            seen.name.clone(),
            Window { tenure: head.tenure, ..over(&seen.window, WindowState::Empty, terms) },
            seen.version.clone(),
        ));
    }
    TableWrite { head: head.clone(), windows }
}

/// Rows of a window that the source is to show, or has shown.
fn shown(window: &Window) -> u64 {
    match window.state {
        WindowState::Verified => rows(window),
        WindowState::Empty | WindowState::Expired => 0,
        _ => window.planned_rows,
    }
}

fn over(window: &Window, state: WindowState, Terms { run, now, .. }: Terms<'_>) -> Window {
    Window { state, run: Some(run.clone()), owed: Vec::new(), lease_until: None, updated: now, ..window.clone() }
}

/// One window in the place of several, which are in order.
fn replaced<V: Clone>(head: &mut Head, group: &[&Seen<V>], all: &[Window], terms: Terms<'_>) -> TableWrite<V> {
    let now = terms.now;
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
        let over = Window { tenure: head.tenure, ..over(&seen.window, WindowState::Split, terms) };
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
        use WindowState::{Failed, Planned, Split};
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
    }

    #[test]
    fn parts_by_a_column_that_is_gone_are_compared_with_what_is_there_of_their_range() {
        use WindowState::{Empty, Failed, Planned, Submitted, Verified};
        let mut head = planning();
        head.shape.as_mut().unwrap().part_by(shape().parts);
        for (other, rows) in [(Verified, 3), (Submitted, 100), (Empty, 0)] {
            let parts = [part(0, 4, Failed), part(2, 4, Planned), part(3, 4, Planned), part(1, 4, other)];
            let left: Vec<Seen<u64>> = parts.iter().filter(|seen| !seen.window.state.is_terminal()).cloned().collect();
            let writes = writes(&Head { tenure: 7, ..head.clone() }, &left, &all(&parts));
            let [TableWrite { head: counted, windows }] = writes.as_slice() else { panic!("{writes:?}") };
            let swapped = |change: &WindowWrite<u64>| match change {
                WindowWrite::Swap(_, window, _) => window.clone(),
                change => panic!("{change:?}"),
            };
            let windows: Vec<Window> = windows.iter().map(swapped).collect();
            let asked = &windows[0];
            assert_eq!((asked.id, asked.state, asked.asked_part()), (parts[0].window.id, Failed, Part::WHOLE));
            assert_eq!((asked.planned_rows, asked.expected_rows()), (300, 300 + rows), "{other:?}");
            assert!(!head.shape.as_ref().unwrap().has_lost_the_part(asked));
            let rest: Vec<_> =
                windows[1..].iter().map(|window| (window.id.part.index, window.state, window.tenure)).collect();
            assert_eq!(rest, [(2, Empty, 7), (3, Empty, 7)], "the first brings their rows");
            assert_eq!((counted.counts.empty, counted.counts.open, counted.counts.failed), (2, 8, 10));
        }
    }

    #[test]
    fn a_repair_in_parts_that_cannot_be_told_apart_any_more_is_compared_as_a_whole() {
        let mut head = planning();
        head.shape.as_mut().unwrap().part_by(shape().parts);
        let base = left(10, WindowState::Verified, 3).window;
        let mut repair = part(1, 2, WindowState::Failed);
        repair.window.id.repair = 1;
        repair.window.difference = Some(Difference::of(2));
        let writes = writes(&head, &[repair.clone()], &[base, repair.window.clone()]);
        let [WindowWrite::Swap(_, asked, _)] = writes[0].windows.as_slice() else { panic!("{writes:?}") };
        assert_eq!((asked.id, asked.asked_part(), asked.expected_rows()), (repair.window.id, Part::WHOLE, 103));
    }
}
