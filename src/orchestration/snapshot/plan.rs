//! Planning an attempt: its time, its hash parts from one fine count, and the end of what earlier attempts left open.

use super::{Attempt, Counted, Snapshots, Unpublished};
use crate::orchestration::head::survey::Survey;
use crate::orchestration::ids::{InstanceId, Part};
use crate::orchestration::instance::{Instance, TableRun};
use crate::orchestration::ledger::Head;
use crate::orchestration::limits::TRANSACTION_WINDOWS;
use crate::orchestration::plan::Piece;
use crate::orchestration::window::{Window, WindowState};
use crate::orchestration::write::{Seen, TableWrite, WindowWrite};
use crate::timestamp::Timestamp;
use sha2::{Digest, Sha256};
use std::time::Duration;

/// Into about how many parts a table is counted: the numbers of windows that a count can be gathered into are those that
/// divide it, and this one has many divisors.
const FINE_PARTS: u32 = 5_040;
/// The most windows that are planned at once; the id of a window leaves room to split each of them.
const MOST_WINDOWS: u32 = 16_384;
/// The finest step of time.
const TICK: Duration = Duration::from_nanos(100);
/// The room that is left for a table to grow until its next plan, as a part of it.
const ROOM: u64 = 100;

/// One part of a count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bucket {
    /// Its number.
    pub part: u32,
    /// Its rows.
    pub rows: u64,
    /// The sum of their hashes.
    pub sum: u64,
}

/// The time of an attempt that is planned now: the start of the run, unless the run has made an attempt already.
pub fn time_of(table: &TableRun, head: &Head, now: Timestamp) -> Timestamp {
    if table.high > head.planned_to { table.high } else { now.max(head.planned_to + TICK) }
}

/// Into how many parts a table is counted of which `rows` are expected.
pub fn fine_parts(rows: Option<u64>, target: u64) -> u32 {
    let Some(rows) = rows else { return FINE_PARTS };
    let windows = windows_for(rows.saturating_add(rows / ROOM), target);
    windows * (FINE_PARTS / windows).max(1)
}

/// The fewest windows that hold so many rows.
fn windows_for(rows: u64, target: u64) -> u32 {
    u32::try_from(rows.div_ceil(target.max(1))).unwrap_or(MOST_WINDOWS).clamp(1, MOST_WINDOWS)
}

/// What was counted, to be compared with what is counted later.
pub fn counted(parts: u32, buckets: &[Bucket]) -> Counted {
    let mut buckets: Vec<Bucket> = buckets.iter().copied().filter(|bucket| bucket.rows > 0).collect();
    buckets.sort_by_key(|bucket| bucket.part);
    let mut hash = Sha256::new();
    for bucket in &buckets {
        hash.update(bucket.part.to_be_bytes());
        hash.update(bucket.rows.to_be_bytes());
        hash.update(bucket.sum.to_be_bytes());
    }
    let fingerprint = hash.finalize().iter().take(16).map(|byte| format!("{byte:02x}")).collect();
    Counted { parts, rows: buckets.iter().map(|bucket| bucket.rows).sum(), fingerprint }
}

/// Gathers the parts of a count into as few windows of `(low, high]` as hold at most `target` rows each. Where no number of
/// windows does that, as with many equal rows, as few as possible hold more: what is cut is split then.
pub fn gather(low: Timestamp, high: Timestamp, parts: u32, buckets: &[Bucket], target: u64) -> Vec<Piece> {
    let rows: u64 = buckets.iter().map(|bucket| bucket.rows).sum();
    let fewest = windows_for(rows, target);
    let most = parts.min(MOST_WINDOWS);
    let numbers = (fewest.min(most)..=most).filter(|windows| parts.is_multiple_of(*windows));
    let too_full = |windows: u32| gathered(buckets, windows).into_iter().filter(|rows| *rows > target).count();
    let mut best = (usize::MAX, 1);
    for windows in numbers {
        best = best.min((too_full(windows), windows));
        if best.0 == 0 {
            break;
        }
    }
    let windows = u16::try_from(best.1).unwrap_or(1);
    let part = |index: u16| Part { index, count: windows };
    let gathered = gathered(buckets, u32::from(windows)).into_iter();
    (0..windows)
        .zip(gathered)
        .map(|(index, rows)| Piece { part: part(index), ..Piece::whole(low, high, rows) })
        .collect()
}

/// A row whose hash is `part` of a multiple of `windows` is in this of so many parts.
fn gathered(buckets: &[Bucket], windows: u32) -> Vec<u64> {
    let mut rows = vec![0; windows as usize];
    for bucket in buckets {
        rows[(bucket.part % windows) as usize] += bucket.rows;
    }
    rows
}

/// Whether a count in parts that divide into fewer windows saves more calls than it costs.
pub fn is_wasteful(pieces: usize, rows: u64, target: u64) -> bool {
    let fewest = windows_for(rows, target) as usize;
    pieces > fewest + (fewest / 20).max(1)
}

/// What the head keeps once an attempt of `run` at `time` is planned. One before it that was never published, and that no
/// audit is about, is kept in mind until then.
pub fn begin(held: &Snapshots, run: &Instance, time: Timestamp, counted: Counted) -> Snapshots {
    let before = held.attempt.as_ref();
    let number = before.filter(|attempt| attempt.is_repeated_by(run)).map_or(1, |attempt| attempt.number + 1);
    let untold = before.filter(|attempt| !attempt.is_published() && !attempt.told);
    let untold = untold.map(|attempt| Unpublished { time: attempt.time, torn: attempt.is_torn() });
    let attempt = Attempt { time, run: run.id.clone(), life: run.lives, number, counted, verdict: None, told: false };
    Snapshots {
        row_columns: held.row_columns.clone(),
        attempt: Some(attempt),
        unpublished: held.unpublished.iter().cloned().chain(untold).collect(),
    }
}

/// The window as it ends when a later attempt begins: what it stands for is no longer what the source shows. A worker that
/// is still at it finds it changed, and rows of it that land all the same are of a snapshot that nobody sees.
pub fn superseded(window: &Window, run: &InstanceId, now: Timestamp) -> Option<Window> {
    (!window.state.is_terminal()).then(|| Window {
        state: WindowState::Expired,
        run: Some(run.clone()),
        owner: None,
        lease_until: None,
        owed: Vec::new(),
        error: Some(format!(
            "superseded: it is a part of the snapshot of {}, which was never finished; a later one takes its place",
            window.id.high
        )),
        updated: now,
        ..window.clone()
    })
}

/// Ends what earlier attempts left open. Gives the transactions, each of which swaps the head, and what is left then.
pub fn supersede<V>(
    head: &Head,
    found: Survey<V>,
    run: &InstanceId,
    now: Timestamp,
) -> (Survey<V>, Vec<TableWrite<V>>) {
    let mut counts = found.counts;
    let mut ended = Vec::new();
    let mut left = Vec::new();
    for seen in found.left {
        match superseded(&seen.window, run, now) {
            Some(window) => {
                counts.moved(seen.window.state, window.state);
                let Seen { name, version, .. } = seen;
                let window = Window { tenure: head.tenure, ..window };
                ended.push(WindowWrite::Swap(name, window, version));
            }
            None => left.push(seen),
        }
    }
    let mut writes = Vec::new();
    while !ended.is_empty() {
        let windows = ended.drain(..ended.len().min(TRANSACTION_WINDOWS)).collect();
        writes.push(TableWrite { head: head.clone(), windows });
    }
    (Survey { left, counts, ..found }, writes)
}

#[cfg(test)]
mod tests {
    use super::super::Verdict;
    use super::super::testing::{attempted, counted as counted_as};
    use super::*;
    use crate::orchestration::head::survey::survey;
    use crate::orchestration::head::testing::{id, later, now, run, seen, table};
    use crate::orchestration::ledger::TableState;
    use proptest::prelude::*;

    fn buckets(rows: &[u64]) -> Vec<Bucket> {
        (0..).zip(rows).map(|(part, rows)| Bucket { part, rows: *rows, sum: u64::from(part) * 7 }).collect()
    }

    fn gathered_rows(parts: u32, rows: &[u64], target: u64) -> Vec<u64> {
        gather(Timestamp::MIN, now(), parts, &buckets(rows), target).iter().map(|piece| piece.rows).collect()
    }

    #[test]
    fn the_first_attempt_of_a_run_is_of_its_start_and_the_next_one_of_its_own() {
        let head = |planned_to| Head { planned_to, ..attempted(TableState::Planning, 1, None) };
        let table = TableRun { high: later(0), ..table() };
        assert_eq!(time_of(&table, &head(Timestamp::MIN), later(9)), later(0));
        assert_eq!(time_of(&table, &head(later(0)), later(9)), later(9));
        assert_eq!(time_of(&table, &head(later(9)), later(3)), later(9) + TICK, "the clock went back");
    }

    #[test]
    fn a_table_is_gathered_into_as_few_windows_as_hold_it() {
        assert_eq!(gathered_rows(12, &[], 100), [0], "an empty table is one window without rows");
        assert_eq!(gathered_rows(12, &[10; 12], 200), [120]);
        assert_eq!(gathered_rows(12, &[10; 12], 60), [60, 60]);
        assert_eq!(gathered_rows(12, &[10; 12], 50), [40, 40, 40]);
        // Uneven parts ask for one window more.
        assert_eq!(gathered_rows(12, &[20, 0, 10, 10, 10, 10, 10, 10, 10, 10, 10, 10], 60), [50, 30, 40]);
    }

    #[test]
    fn rows_that_no_number_of_windows_parts_make_one_window_too_full_and_no_more() {
        assert_eq!(gathered_rows(12, &[500, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1], 100), [501, 2, 2, 2, 2, 2]);
    }

    #[test]
    fn the_parts_of_a_count_divide_into_the_windows_that_are_expected() {
        assert_eq!(fine_parts(None, 99_000), 5_040);
        assert_eq!(fine_parts(Some(0), 99_000), 5_040);
        assert_eq!(fine_parts(Some(990_000), 99_000), 11 * 458, "with room to grow");
        assert_eq!(fine_parts(Some(99_000 * 6_000), 99_000), 6_060);
        assert_eq!(fine_parts(Some(u64::MAX), 1), MOST_WINDOWS);
        assert!(is_wasteful(12, 990_000, 99_000) && !is_wasteful(11, 990_000, 99_000));
        assert!(!is_wasteful(2, 99_000, 99_000), "another count would cost what it saves");
    }

    #[test]
    fn a_change_of_a_row_of_a_part_changes_what_was_counted() {
        let before = buckets(&[3, 0, 4]);
        assert_eq!(counted(3, &before).rows, 7);
        let reversed: Vec<Bucket> = before.iter().rev().copied().filter(|bucket| bucket.rows > 0).collect();
        assert_eq!(counted(3, &before), counted(3, &reversed), "in any order, and empty parts are not told");
        let mut other = before.clone();
        other[2].sum += 1;
        assert_ne!(counted(3, &before), counted(3, &other), "another row instead of it");
        assert_ne!(counted(3, &before), counted(3, &buckets(&[4, 0, 3])), "a row that moved");
    }

    #[test]
    fn attempts_are_numbered_within_their_run_and_those_that_nobody_sees_are_kept_in_mind() {
        let begun = |verdict, told, run: &Instance| {
            let mut held = *attempted(TableState::Planning, 2, verdict).snapshots.unwrap();
            held.attempt.as_mut().unwrap().told = told;
            let next = begin(&held, run, later(1), counted_as(1));
            let torn: Vec<bool> = next.unpublished.iter().map(|attempt| attempt.torn).collect();
            (next.attempt.unwrap().number, torn)
        };
        assert_eq!(begun(Some(Verdict::Repeat), false, &run(1)), (3, vec![true]));
        assert_eq!(begun(Some(Verdict::Repeat), false, &run(2)), (1, vec![true]), "that run was stopped");
        assert_eq!(begun(Some(Verdict::Repeat), false, &Instance { lives: 1, ..run(1) }), (1, vec![true]));
        assert_eq!(begun(Some(Verdict::Whole), false, &run(2)), (1, vec![]));
        assert_eq!(begun(Some(Verdict::Torn), false, &run(2)), (1, vec![]), "torn, and published");
        assert_eq!(begun(None, false, &run(2)), (1, vec![false]), "it never came to its end");
        assert_eq!(begun(None, true, &run(2)), (1, vec![]), "its own run said so");
    }

    #[test]
    fn what_an_earlier_attempt_left_open_is_over() {
        use WindowState::{Claimed, Empty, Expired, Failed, Planned, Sealed, Submitted, Verified};
        let head = attempted(TableState::Planning, 1, None);
        let states = [Planned, Claimed, Sealed, Submitted, Failed, Verified, Empty];
        let windows = (0..).zip(states).map(|(low, state)| seen(low, state)).collect();
        let mut found = survey(&Head { planned_to: now(), ..head.clone() }, windows);
        found.left.iter_mut().for_each(|seen| seen.window.failures = 1);
        let (found, writes) = supersede(&head, found, &id(2), later(1));
        assert_eq!((found.left.len(), found.counts.expired, found.counts.verified, found.counts.open), (0, 5, 1, 0));
        let [write] = &writes[..] else { panic!("{writes:?}") };
        for change in &write.windows {
            let WindowWrite::Swap(_, window, _) = change else { panic!("{change:?}") };
            assert_eq!((window.state, window.run.clone()), (Expired, Some(id(2))));
        }
    }

    proptest! {
        #[test]
        fn every_row_is_in_one_window_and_none_is_fuller_than_its_parts_ask_for(
            rows in prop::collection::vec(0u64..50, 0..60),
            target in 1u64..2_000,
        ) {
            let pieces = gather(Timestamp::MIN, now(), 60, &buckets(&rows), target);
            prop_assert_eq!(pieces.iter().map(|piece| piece.rows).sum::<u64>(), rows.iter().sum::<u64>());
            for (index, piece) in pieces.iter().enumerate() {
                prop_assert_eq!((usize::from(piece.part.index), usize::from(piece.part.count)), (index, pieces.len()));
                prop_assert!(piece.rows <= target || rows.iter().any(|rows| *rows > target), "{:?}", piece);
            }
        }
    }
}
