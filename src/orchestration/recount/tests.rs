//! Windows and rows on a small axis: whatever comes late, the search finds the windows that it is in, and no others.

use super::*;
use crate::orchestration::head::testing::{head, now, seal, seen, shape};
use crate::orchestration::ledger::{Shape, TableState};
use crate::orchestration::window::Seal;
use proptest::prelude::*;

fn at(ticks: u64) -> Timestamp {
    Timestamp::from_ticks(ticks)
}

fn ticks(count: u64) -> Duration {
    Duration::from_nanos(100 * count)
}

fn bin(start: u64, rows: u64) -> Bin {
    Bin { start: at(start), width: ticks(1), rows, bytes: 0 }
}

fn copied(low: u64, high: u64, rows: u64) -> Window {
    let mut window = seen(low, WindowState::Verified).window;
    window.id.high = at(high);
    Window { seal: Some(Seal { rows, ..seal() }), ..window }
}

fn part(window: Window, index: u16, count: u16) -> Window {
    Window { id: WindowId { part: Part { index, count }, ..window.id }, ..window }
}

fn repair(of: &Window, number: u16, state: WindowState, rows: u64, compared: Option<u64>) -> Window {
    let difference = Some(Difference { compared, ..Difference::of(rows) });
    let id = WindowId { repair: number, ..of.id };
    Window { id, state, seal: Some(Seal { rows, ..seal() }), difference, ..of.clone() }
}

fn planned(to: u64, axis: CutAxis) -> Head {
    let shape = Some(Shape { axis, ..shape() });
    Head { plan: Some("p".into()), planned_to: at(to), shape, ..head(TableState::Planning) }
}

fn limits(recount: u64, look_back: u64) -> Limits {
    Limits { recount: ticks(recount), look_back: ticks(look_back), ..Limits::scaled(1.0) }
}

fn past(windows: &[Window], back: u64) -> Option<Past> {
    Past::of(&planned(100, CutAxis::ArrivalTime), windows, &limits(back, 0))
}

fn ends(past: &Past) -> Vec<(u64, u64)> {
    past.leaves.iter().map(|leaf| (leaf.low.ticks(), leaf.high.ticks())).collect()
}

#[test]
fn a_plan_looks_back_as_far_as_windows_reach_into_the_last_days() {
    let windows = [copied(0, 50, 1), copied(50, 70, 1), copied(70, 90, 1), copied(90, 100, 1), copied(100, 120, 1)];
    assert_eq!(ends(&past(&windows, 20).unwrap()), [(70, 90), (90, 100)]);
    assert_eq!(ends(&past(&windows, 21).unwrap()), [(70, 90), (90, 100)], "(70, 90] reaches into them");
    assert_eq!(ends(&past(&windows, 31).unwrap()), [(50, 70), (70, 90), (90, 100)]);
    assert_eq!(ends(&past(&windows, 1_000).unwrap()).len(), 4);
    let hole = [copied(0, 50, 1), copied(70, 90, 1), copied(90, 100, 1)];
    assert_eq!(ends(&past(&hole, 1_000).unwrap()), [(70, 90), (90, 100)], "what is not on record is not compared");
}

#[test]
fn windows_that_could_not_be_compared_are_looked_back_on_by_the_next_plan_too() {
    let failed = Window { state: WindowState::Failed, seal: None, ..copied(50, 70, 5) };
    let windows = [copied(0, 50, 1), failed, copied(70, 90, 1), copied(90, 100, 1)];
    let looked = past(&windows, 35).unwrap();
    assert_eq!((ends(&looked)[0], looked.open_from(at(100))), ((50, 70), Some(at(50))));
    let later = Head { recount_from: Some(at(50)), ..planned(100, CutAxis::ArrivalTime) };
    assert_eq!(ends(&Past::of(&later, &windows, &limits(5, 0)).unwrap())[0], (50, 70));
    assert!(may_ask_for(&later, at(70), &limits(5, 0)) && !may_ask_for(&later, at(50), &limits(5, 0)));
    assert_eq!(past(&windows, 20).unwrap().open_from(at(100)), None);
}

#[test]
fn what_the_source_no_longer_keeps_is_not_looked_back_on_for_ever() {
    let windows = |state| [Window { state, seal: None, ..copied(50, 70, 5) }, copied(70, 100, 1)];
    let open_from = |state, now| past(&windows(state), 50).unwrap().open_from(now);
    assert_eq!(open_from(WindowState::Failed, at(100)), Some(at(50)));
    assert_eq!(open_from(WindowState::Failed, at(69) + SOURCE_KEPT), Some(at(50)));
    assert_eq!(open_from(WindowState::Failed, at(70) + SOURCE_KEPT), None);
    assert_eq!(open_from(WindowState::Expired, at(100)), None, "nothing more comes of it");
}

#[test]
fn each_axis_has_its_own_days_and_a_first_plan_none() {
    let windows = [copied(90, 100, 1)];
    let of = |axis, limits| Past::of(&planned(100, axis), &windows, &limits).is_some();
    let column = || CutAxis::Column("Timestamp".into());
    assert!(of(CutAxis::ArrivalTime, limits(5, 0)) && !of(CutAxis::ArrivalTime, limits(0, 5)));
    assert!(of(column(), limits(0, 5)) && !of(column(), limits(5, 0)));
    let first = Head { plan: None, ..planned(100, column()) };
    assert_eq!(Past::of(&first, &windows, &limits(5, 5)), None);
}

#[test]
fn what_was_compared_last_is_what_a_window_is_held_against() {
    use WindowState::{Empty, Failed, Planned, Verified};
    let base = copied(90, 100, 10);
    let shown = |repairs: &[Window]| {
        let mut windows = vec![base.clone()];
        windows.extend_from_slice(repairs);
        past(&windows, 5).unwrap().leaves[0].windows[0].shown
    };
    assert_eq!(shown(&[]), Some(10));
    assert_eq!(shown(&[repair(&base, 1, Verified, 2, Some(12))]), Some(12));
    assert_eq!(
        shown(&[repair(&base, 1, Empty, 0, Some(11))]),
        Some(11),
        "the source showed more than there is to copy"
    );
    let both = [repair(&base, 1, Verified, 2, Some(12)), repair(&base, 2, Verified, 1, Some(9))];
    assert_eq!(shown(&both), Some(9), "rows left the source");
    assert_eq!(shown(&[repair(&base, 1, Planned, 0, None)]), None, "it is still to be compared");
    assert_eq!(shown(&[repair(&base, 1, Failed, 0, None)]), None);
    assert_eq!(shown(&[repair(&base, 1, Verified, 2, None)]), Some(12), "an adopted one does not say");
    let halves =
        |second| [part(repair(&base, 1, Verified, 2, Some(7)), 0, 2), part(repair(&base, 1, Empty, 0, second), 1, 2)];
    assert_eq!(shown(&halves(Some(6))), Some(13));
    assert_eq!(shown(&halves(None)), Some(12), "one half does not say");
}

#[test]
fn a_window_that_is_not_over_is_not_compared_and_hides_none_beside_it() {
    let failed = Window { state: WindowState::Failed, seal: None, ..copied(80, 90, 5) };
    let windows = [copied(70, 80, 10), failed, copied(90, 100, 10)];
    let past = past(&windows, 30).unwrap();
    assert_eq!(past.leaves[1].windows[0].shown, None);
    // Bins of 100 ticks tell nothing apart: 20 rows were copied, and the third window may hold any.
    let mut search = Search::begin(&past, &[bin(70, 25)], ticks(100));
    let slices = search.ask().unwrap();
    assert_eq!(slices, [0..1, 1..2, 2..3]);
    search.answered(&slices, &[10, 4, 11]);
    assert_eq!(search.ask(), None);
    let found: Vec<_> = search.found().iter().map(|(leaf, shown)| (leaf.low.ticks(), *shown)).collect();
    assert_eq!(found, [(90, 11)]);
    assert_eq!(Search::begin(&past, &[bin(70, 20)], ticks(100)).ask(), None, "nothing has grown");
}

#[test]
fn hash_parts_of_a_range_are_told_apart_by_their_finest() {
    let base = copied(90, 100, 10);
    let windows = [part(base.clone(), 0, 2), part(base.clone(), 1, 4), part(base, 3, 4)];
    let past = past(&windows, 5).unwrap();
    let leaf = &past.leaves[0];
    assert!(!leaf.is_whole());
    assert_eq!(leaf.finest(), 4);
    let grown = grown_parts(leaf, &[(0, 6), (2, 5), (1, 10), (3, 10)]);
    assert_eq!(grown.len(), 1);
    assert_eq!((grown[0].window.id.part, grown[0].shown), (Part { index: 0, count: 2 }, 11));
}

#[test]
fn a_range_in_parts_by_what_is_gone_is_compared_and_repaired_as_a_whole() {
    use WindowState::{Empty, Failed, Verified};
    let base = copied(90, 100, 10);
    let parts = [part(base.clone(), 0, 2), Window { state: Empty, seal: None, ..part(base.clone(), 1, 2) }];
    let mut head = planned(100, CutAxis::ArrivalTime);
    head.shape.as_mut().unwrap().part_by(shape().parts);
    let past = |windows: &[Window]| Past::of(&head, windows, &limits(5, 0)).unwrap().leaves.remove(0);
    let leaf = past(&parts);
    assert!(leaf.is_whole());
    assert_eq!(leaf.windows[0].shown, Some(10));
    let grown = [Grown { window: leaf.windows[0].clone(), shown: 12 }];
    let (_, made) = repairs(&head, "draft", &parts, &grown, now()).remove(0);
    assert_eq!((made.id.part, made.id.repair, made.parting, made.planned_rows), (Part::WHOLE, 1, head.parting(), 2));
    let with = |repair: Window| past(&[&parts[..], &[repair]].concat()).windows[0].shown;
    let asked = |state, compared| Window { parting: head.parting(), ..repair(&base, 1, state, 2, compared) };
    assert_eq!([with(asked(Verified, Some(12))), with(asked(Failed, None))], [Some(12), None]);
    let lost = Some(Difference { compared: Some(14), lost: Some(Part { index: 1, count: 2 }), ..Difference::of(14) });
    let brought = Window { parting: head.parting(), difference: lost, ..part(copied(90, 100, 4), 1, 2) };
    assert_eq!(past(&[parts[0].clone(), brought]).windows[0].shown, Some(14), "what was there is counted once");
}

#[test]
fn a_repair_stands_for_the_range_of_its_window_under_a_number_of_its_own() {
    let base = copied(90, 100, 10);
    let ledger = [base.clone(), repair(&base, 1, WindowState::Verified, 2, Some(12)), copied(80, 90, 3)];
    let past = past(&ledger, 5).unwrap();
    let grown = [Grown { window: past.leaves[0].windows[0].clone(), shown: 15 }];
    let made = repairs(&planned(100, CutAxis::ArrivalTime), "draft", &ledger, &grown, now());
    let (name, window) = &made[0];
    assert_eq!((window.id.low, window.id.high, window.id.repair, window.id.generation), (at(90), at(100), 2, 0));
    assert_eq!((window.planned_rows, window.expected_rows(), window.state), (3, 15, WindowState::Planned));
    assert!(name.as_str().starts_with("w:000000000000005a.r0002"), "{name:?}");
}

/// The windows that the search finds, by asking a source that has `rows`.
fn searched(past: &Past, rows: &[u64], width: u64) -> (Vec<(u64, u64)>, usize) {
    let within = |low: Timestamp, high: Timestamp| {
        rows.iter().filter(|row| low.ticks() < **row && **row <= high.ticks()).count() as u64
    };
    let mut bins: std::collections::BTreeMap<u64, u64> = Default::default();
    let (low, high) = (past.low().ticks(), past.leaves.last().unwrap().high.ticks());
    rows.iter()
        .filter(|row| low < **row && **row <= high)
        .for_each(|row| *bins.entry(row / width * width).or_default() += 1);
    let bins: Vec<Bin> = bins.into_iter().map(|(start, rows)| bin(start, rows)).collect();
    let mut search = Search::begin(past, &bins, ticks(width));
    let mut asked = 0;
    while let Some(slices) = search.ask() {
        asked += 1;
        assert!(
            asked < 20 && slices.len() <= MOST_SLICES && slices.windows(2).all(|pair| pair[0].end <= pair[1].start)
        );
        let edges = edges(past, &slices);
        // As the query does it: how many of the inner edges lie below each row.
        let mut counts: std::collections::BTreeMap<u64, u64> = Default::default();
        for row in rows.iter().filter(|row| edges[0].ticks() < **row && **row <= edges[edges.len() - 1].ticks()) {
            let slice = edges[1..edges.len() - 1].iter().filter(|edge| edge.ticks() < *row).count() as u64;
            *counts.entry(slice).or_default() += 1;
        }
        let counts: Vec<(u64, u64)> = counts.into_iter().collect();
        let told = by_slice(past, &slices, &edges, &counts);
        let expected: Vec<u64> = slices.iter().map(|slice| past.range(slice)).map(|(l, h)| within(l, h)).collect();
        assert_eq!(told, expected);
        search.answered(&slices, &told);
    }
    (search.found().iter().map(|(leaf, shown)| (leaf.high.ticks(), *shown)).collect(), asked)
}

proptest! {
    /// Windows of any lengths, rows anywhere, late rows anywhere: found are those windows that late rows are in, with what
    /// the source shows of them.
    #[test]
    fn the_search_finds_the_windows_that_have_grown_and_no_others(
        lengths in prop::collection::vec(1u64..40, 1..200),
        rows in prop::collection::vec(1u64..4_000, 0..300),
        late in prop::collection::vec(1u64..4_000, 0..6),
        width in prop::sample::select(vec![1u64, 10, 100, 1_000]),
    ) {
        let (mut windows, mut low) = (Vec::new(), 0);
        for length in lengths {
            let high = low + length;
            windows.push(copied(low, high, rows.iter().filter(|row| low < **row && **row <= high).count() as u64));
            low = high;
        }
        let past = Past::of(&planned(low, CutAxis::ArrivalTime), &windows, &limits(100_000, 0)).unwrap();
        let all: Vec<u64> = rows.iter().chain(&late).copied().collect();
        let (found, asked) = searched(&past, &all, width);
        let grown: Vec<(u64, u64)> = windows.iter().filter_map(|window| {
            let inside = |rows: &[u64]| rows.iter().filter(|row| window.id.low.ticks() < **row && **row <= window.id.high.ticks()).count() as u64;
            (inside(&late) > 0).then(|| (window.id.high.ticks(), inside(&all)))
        }).collect();
        prop_assert_eq!(&found, &grown);
        prop_assert!(asked == 0 || !grown.is_empty(), "{} questions and nothing found", asked);
    }
}
