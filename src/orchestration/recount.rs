//! Rows that came after others of their range were copied. A plan counts its new range and the last days before it with one
//! query; where the source now shows more rows than it did when the windows were last compared with it, those windows get a
//! repair, which brings what the destination does not hold.
//!
//! Bins are compared with windows where the edges of both meet; between such edges windows are counted together, and one by
//! one only where their sum has grown. Knows no query: counts come in, questions and windows go out.

use super::difference::{Difference, Unmarked, last_shown, meet, next_repair};
use super::ids::{Part, WindowId, WindowName};
use super::ledger::{CutAxis, Head, Shape};
use super::limits::{Limits, SOURCE_KEPT};
use super::plan::Bin;
use super::window::{Window, WindowState};
use crate::timestamp::{Timestamp, ticks_of};
use std::ops::Range;
use std::time::Duration;

#[cfg(test)]
mod tests;

/// Slices of the past that one query counts.
const MOST_SLICES: usize = 64;

/// Windows that lie side by side up to the end of the last plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Past {
    /// In order.
    pub leaves: Vec<Leaf>,
}

/// A range, and the windows that together stand for its rows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leaf {
    /// Exclusive lower end.
    pub low: Timestamp,
    /// Inclusive upper end.
    pub high: Timestamp,
    /// Its windows: one, or all hash parts.
    pub windows: Vec<Known>,
}

/// A window, and what the source showed of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Known {
    /// It.
    pub id: WindowId,
    /// Rows of its range that the source showed when it was last compared; `None` while that is still to be done.
    pub shown: Option<u64>,
    /// Whether that is still to come: it, or a repair of it, is not over.
    pub is_open: bool,
    /// What another app has copied of its range.
    pub unmarked: Option<Unmarked>,
    /// The number of what parted the table's rows then, if it is a part.
    pub parting: u32,
}

/// Windows of whose range the source shows more rows than it did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grown {
    /// The window.
    pub window: Known,
    /// Rows that the source shows now.
    pub shown: u64,
}

impl Leaf {
    /// Rows that were compared, and whether anything was.
    fn compared(&self) -> (u64, bool) {
        let known = self.windows.iter().filter_map(|window| window.shown);
        (known.clone().sum(), known.count() > 0)
    }

    /// Whether one window stands for all of it.
    pub fn is_whole(&self) -> bool {
        self.windows.len() == 1 && self.windows[0].id.part == Part::WHOLE
    }

    /// The finest hash parts of it: all others are made of whole ones of these.
    pub fn finest(&self) -> u16 {
        self.windows.iter().map(|window| window.id.part.count).max().unwrap_or(1)
    }
}

impl Past {
    /// What a plan looks back on: the windows of the last days. `None` where there is nothing to look back on.
    pub fn of(head: &Head, windows: &[Window], limits: &Limits) -> Option<Self> {
        let floor = floor(head, back(head, limits)?);
        let mut bases: Vec<&Window> = windows.iter().filter(|window| is_base(head, window)).collect();
        bases.sort_by_key(|window| (window.id.high, window.id.low));
        let mut leaves: Vec<Leaf> = Vec::new();
        let mut end = head.planned_to;
        while end > floor {
            let above = bases.partition_point(|window| window.id.high <= end);
            let from = bases.partition_point(|window| window.id.high < end);
            let same = &bases[from..above];
            let Some(low) = same.first().map(|window| window.id.low) else { break };
            // Windows of ranges that cross are for nobody to count.
            if same.iter().any(|window| window.id.low != low) {
                break;
            }
            leaves.push(Leaf { low, high: end, windows: all_known(head, same, windows) });
            end = low;
        }
        leaves.reverse();
        (!leaves.is_empty()).then_some(Self { leaves })
    }

    /// Its lower end, exclusive.
    pub fn low(&self) -> Timestamp {
        self.leaves.first().map_or(Timestamp::MIN, |leaf| leaf.low)
    }

    /// Where the windows begin that could not be compared at `now`: the next plan looks back on them, however long ago they lie, as
    /// long as the source keeps them.
    pub fn open_from(&self, now: Timestamp) -> Option<Timestamp> {
        let is_open = |leaf: &&Leaf| leaf.high > now - SOURCE_KEPT && leaf.windows.iter().any(|window| window.is_open);
        self.leaves.iter().find(is_open).map(|leaf| leaf.low)
    }

    /// Whether windows of it leave out what another app has copied. Of rows that arrived behind its last look none are left
    /// out, so the others are counted alike.
    pub fn is_before_handover(&self, shape: &Shape) -> bool {
        shape.handover.as_ref().is_some_and(|handover| self.low() < handover.refreshed)
    }

    /// The range of neighbouring leaves.
    pub fn range(&self, leaves: &Range<usize>) -> (Timestamp, Timestamp) {
        let some = &self.leaves[leaves.clone()];
        let low = some.first().map_or(Timestamp::MIN, |leaf| leaf.low);
        (low, some.last().map_or(Timestamp::MIN, |leaf| leaf.high))
    }

    fn has_grown(&self, leaves: &Range<usize>, counted: u64) -> bool {
        let compared = self.leaves[leaves.clone()].iter().map(Leaf::compared);
        let (rows, any) = compared.fold((0, false), |(rows, any), (more, is)| (rows + more, any || is));
        any && counted > rows && !mutated!(LateRowsIgnored)
    }
}

/// How far the last days reach; `None` where nothing is counted again.
fn back(head: &Head, limits: &Limits) -> Option<Duration> {
    head.plan.as_ref()?;
    reach(&head.shape.as_ref()?.axis, limits)
}

/// The same for a table that is cut on this axis.
pub fn reach(axis: &CutAxis, limits: &Limits) -> Option<Duration> {
    let back = match axis {
        CutAxis::ArrivalTime => limits.recount,
        CutAxis::Column(_) => limits.look_back,
        // Each copy is compared as it is made.
        CutAxis::Whole => return None,
    };
    (!back.is_zero()).then_some(back)
}

fn floor(head: &Head, back: Duration) -> Timestamp {
    let last_days = head.planned_to.max(head.verified_up_to) - back;
    head.recount_from.map_or(last_days, |from| from.min(last_days))
}

/// Whether the recount may still ask for a window that ends at `high`.
pub fn may_ask_for(head: &Head, high: Timestamp, limits: &Limits) -> bool {
    high > floor(head, limits.recount.max(limits.look_back))
}

/// Where a column is the axis, what another app has copied lies on it too, and windows that were compared with it stand for it.
fn is_base(head: &Head, window: &Window) -> bool {
    let by_column = head.shape.as_ref().is_some_and(|shape| matches!(shape.axis, CutAxis::Column(_)));
    // One that was adopted does not tell any more which rows of the other app it was compared with.
    let knows_the_others = window.difference.as_ref().is_some_and(|difference| difference.unmarked.is_some());
    let is_handover = window.id.repair == WindowId::FIRST_HANDOVER;
    let stands_for_all = !window.id.is_repair() || (by_column && is_handover && knows_the_others);
    stands_for_all && !window.id.is_null_axis() && window.state != WindowState::Split
}

/// What is known of the windows of one range: of each by itself, or, where it was parted by what is gone, or by several things, of all
/// together, as the source can only be asked for all of it.
fn all_known(head: &Head, same: &[&Window], ledger: &[Window]) -> Vec<Known> {
    let is_lost = |window: &&Window| {
        let asks_for_all = window.difference.as_ref().is_some_and(|difference| difference.lost.is_some());
        asks_for_all || head.shape.as_ref().is_some_and(|shape| shape.has_lost_the_part(window))
    };
    match same.first() {
        Some(first) if same.iter().any(|window| is_lost(window) || window.parting != first.parting) => {
            let id = WindowId { part: Part::WHOLE, generation: 0, ..first.id };
            vec![known(id, same, head.parting(), ledger)]
        }
        _ => same.iter().map(|window| known(window.id, &[*window], window.parting, ledger)).collect(),
    }
}

fn known(id: WindowId, bases: &[&Window], parting: u32, ledger: &[Window]) -> Known {
    let repairs: Vec<&Window> = ledger
        .iter()
        .filter(|other| other.id.repair > id.repair && other.state != WindowState::Split)
        .filter(|other| bases.iter().any(|base| meet(base, other)))
        .collect();
    let unmarked = bases.iter().find_map(|base| base.difference.as_ref()?.unmarked.clone());
    let is_open = bases.iter().chain(&repairs).any(|window| !window.state.is_terminal());
    Known { id, shown: last_shown(bases, id.part, &repairs), is_open, unmarked, parting }
}

/// The search for windows that have grown, from bins that cover many of them.
#[derive(Debug)]
pub struct Search<'a> {
    past: &'a Past,
    open: Vec<Range<usize>>,
    found: Vec<(usize, u64)>,
}

impl<'a> Search<'a> {
    /// Begins with the bins of the past, each of `width`.
    pub fn begin(past: &'a Past, bins: &[Bin], width: Duration) -> Self {
        let mut search = Self { past, open: Vec::new(), found: Vec::new() };
        let mut bins: Vec<Bin> = bins.to_vec();
        bins.sort_by_key(|bin| bin.start);
        let (mut first, mut at) = (0, 0);
        for (index, leaf) in past.leaves.iter().enumerate() {
            // The last edge is one of the query's own.
            if index + 1 < past.leaves.len() && !is_on_grid(leaf.high, width) {
                continue;
            }
            let from = at;
            at += bins[at..].partition_point(|bin| bin.start <= leaf.high);
            let counted = bins[from..at].iter().map(|bin| bin.rows).sum();
            search.take(first..index + 1, counted);
            first = index + 1;
        }
        search
    }

    fn take(&mut self, leaves: Range<usize>, counted: u64) {
        if !self.past.has_grown(&leaves, counted) {
            return;
        }
        if leaves.len() == 1 { self.found.push((leaves.start, counted)) } else { self.open.push(leaves) }
    }

    /// Neighbouring leaves that are to be counted next, in order and apart from each other; `None` once all are known.
    pub fn ask(&mut self) -> Option<Vec<Range<usize>>> {
        self.open.sort_by_key(|leaves| leaves.start);
        let later = self.open.split_off(self.open.len().min(MOST_SLICES / 2));
        let now = std::mem::replace(&mut self.open, later);
        let each = MOST_SLICES / now.len().max(1);
        let slices: Vec<Range<usize>> = now.into_iter().flat_map(|leaves| divided(leaves, each)).collect();
        (!slices.is_empty()).then_some(slices)
    }

    /// Takes in what was counted in slices.
    pub fn answered(&mut self, slices: &[Range<usize>], counts: &[u64]) {
        for (leaves, counted) in slices.iter().zip(counts) {
            self.take(leaves.clone(), *counted);
        }
    }

    /// The leaves that have grown, each with the rows that the source shows.
    pub fn found(mut self) -> Vec<(&'a Leaf, u64)> {
        self.found.sort_unstable();
        self.found.into_iter().map(|(at, counted)| (&self.past.leaves[at], counted)).collect()
    }
}

/// Cuts neighbours into at least two and at most `most` slices.
fn divided(leaves: Range<usize>, most: usize) -> impl Iterator<Item = Range<usize>> {
    let (start, len) = (leaves.start, leaves.len());
    let slices = most.clamp(2, len.max(2));
    (0..slices).map(move |n| start + len * n / slices..start + len * (n + 1) / slices).filter(|slice| !slice.is_empty())
}

/// Whether a bin begins right behind this instant.
fn is_on_grid(edge: Timestamp, width: Duration) -> bool {
    (edge.ticks() + 1).is_multiple_of(ticks_of(width).max(1))
}

/// The edges between slices, for a query that tells their rows apart.
pub fn edges(past: &Past, slices: &[Range<usize>]) -> Vec<Timestamp> {
    let mut edges: Vec<Timestamp> = slices.iter().map(|slice| past.range(slice)).flat_map(|(l, h)| [l, h]).collect();
    edges.dedup();
    edges
}

/// The rows of each slice, given how many lie behind which number of inner edges.
pub fn by_slice(past: &Past, slices: &[Range<usize>], edges: &[Timestamp], counts: &[(u64, u64)]) -> Vec<u64> {
    let rows = |slice: &Range<usize>| {
        let place = edges.partition_point(|edge| *edge < past.range(slice).0) as u64;
        counts.iter().filter(|(at, _)| *at == place).map(|(_, rows)| rows).sum()
    };
    slices.iter().map(rows).collect()
}

/// The windows of a leaf that have grown, given the rows in each of its finest hash parts.
pub fn grown_parts(leaf: &Leaf, counts: &[(u64, u64)]) -> Vec<Grown> {
    let grown = leaf.windows.iter().map(|window| {
        let part = window.id.part;
        let is_in = |index: u64| index % u64::from(part.count) == u64::from(part.index);
        let shown = counts.iter().filter(|(index, _)| is_in(*index)).map(|(_, rows)| rows).sum();
        Grown { window: window.clone(), shown }
    });
    grown.filter(|one| one.window.shown.is_some_and(|shown| one.shown > shown)).collect()
}

/// The repairs of windows that have grown, as drafts of the plan `draft`.
pub fn repairs(
    head: &Head,
    draft: &str,
    ledger: &[Window],
    grown: &[Grown],
    now: Timestamp,
) -> Vec<(WindowName, Window)> {
    // An adopted window does not say whether it left out what another app had copied; of later ones nothing is left out.
    let handover = head.shape.as_ref().is_some_and(|shape| shape.handover.is_some());
    let repair = |one: &Grown| {
        let Known { id: base, shown, unmarked, parting, .. } = one.window.clone();
        let id = WindowId { ledger: head.ledger, generation: 0, repair: next_repair(&base, ledger), ..base };
        let more = one.shown.saturating_sub(shown.unwrap_or(0));
        let difference = Some(Difference { unmarked, ..Difference::of(one.shown) });
        (name(&id), Window { difference, parting, ..Window::planned(id, draft, handover, more, now) })
    };
    grown.iter().map(repair).collect()
}

/// The name of a repair: no other window that begins there has it.
pub fn name(id: &WindowId) -> WindowName {
    let WindowId { low, high, part, repair, .. } = id;
    WindowName::new(*low, &format!("r{repair:04x}{:016x}{:04x}{:04x}", high.ticks(), part.index, part.count))
}
