//! Rebuilding the ledger of a table from what its destination holds, after the state store was lost or moved. The ids of
//! the rows spell which windows were pulled; what they leave open is to be pulled again.
//!
//! What was under way when the ledger was lost may land later, under an id that the rebuilt ledger does not know:
//! `watch` finds it at the start of the runs that follow. To keep the two apart a rebuilt ledger has an id of its own;
//! the windows that it takes over keep theirs.

pub mod compare;
pub mod coverage;
pub mod facts;
mod findings;
pub mod report;
pub mod watch;

use self::coverage::{Entangled, cut_at, gaps, holes, overlaps};
use self::facts::Facts;
use super::difference::{Difference, share_rows};
use super::head::handover::unmarked;
use super::head::survey::is_draft;
use super::ids::{LedgerId, Part, WindowId, WindowName};
use super::instance::TableConfig;
use super::ledger::{CutAxis, Head, Progress, TableState, verified_prefix};
use super::limits::{Limits, TRANSACTION_WINDOWS};
use super::plan::Piece;
use super::recount::reach;
use super::window::{Window, WindowState};
use super::write::{Seen, TableWrite, WindowWrite};
use crate::timestamp::Timestamp;
use std::collections::{BTreeMap, HashSet};

/// What the destination holds of one window.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Landed {
    /// The window, as the rows spell it.
    pub id: WindowId,
    /// How many rows.
    pub rows: u64,
    /// When the first of them was ingested, as far as the destination notes that.
    pub first: Timestamp,
    /// When the last of them was.
    pub last: Timestamp,
}

impl Landed {
    /// What stands under `text`, if that is the id of a window.
    pub fn read(text: &str, rows: u64, first: Option<Timestamp>, last: Option<Timestamp>) -> Option<Self> {
        let id: WindowId = text.parse().ok().filter(coverage::is_sound)?;
        Some(Self { id, rows, first: first.unwrap_or(Timestamp::MIN), last: last.unwrap_or(Timestamp::MIN) })
    }
}

/// Two windows of the destination that stand for the same rows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Overlap {
    /// The one that is to go: ingested later, or unknown to the ledger.
    pub younger: Landed,
    /// The one that stays.
    pub older: WindowId,
}

/// What a rebuilt ledger is made of.
#[derive(Debug, Clone, PartialEq)]
pub struct Layout<V> {
    /// Windows of the destination that the ledger did not know.
    pub adopted: Vec<Landed>,
    /// How many of the destination's windows it knew.
    pub known: usize,
    /// What is there twice.
    pub overlaps: Vec<Overlap>,
    /// What no window covers.
    pub gaps: Vec<Piece>,
    /// Ranges and hash parts that were proved and of which nothing is there: the source had shown no rows of them.
    empty: Vec<Piece>,
    /// Where the plan ends.
    pub planned_to: Timestamp,
    /// Windows that hold what came late: a gap lies in the range of one, or outside of it.
    repairs: Vec<WindowId>,
    stays: Vec<Window>,
    goes: Vec<Seen<V>>,
}

/// Lays the ledger out: `head` and `windows` are what the store has, `landed` what the destination has.
///
/// # Errors
/// [`Entangled`].
pub fn lay_out<V>(
    head: Option<&Head>,
    windows: Vec<Seen<V>>,
    landed: Vec<Landed>,
    facts: &Facts,
    now: Timestamp,
    limits: &Limits,
) -> Result<Layout<V>, Entangled> {
    let known: HashSet<WindowId> = windows.iter().map(|seen| seen.window.id).collect();
    let owner = head.filter(|_| facts.is_owner);
    let asking: Vec<WindowId> = open_ids(windows.iter().map(|seen| &seen.window));
    let is_purged = |one: &Landed| {
        let may_be = owner.is_some_and(|head| watch::may_be_purged(head, one, now, limits));
        // What is still to be pulled beside it is compared with it.
        may_be && !is_asked_for(&asking, &one.id)
    };
    let (found, unknown): (Vec<Landed>, Vec<Landed>) =
        landed.into_iter().partition(|one| known.contains(&one.id) || is_purged(one));
    let draft = |window: &Window| head.is_none_or(|head| is_draft(head, window));
    let posted: Vec<WindowId> =
        windows.iter().filter(|seen| watch::is_posted(&seen.window)).map(|seen| seen.window.id).collect();
    let (adopted, overlaps) = choose(&posted, unknown);
    let (mut stays, mut goes): (Vec<Window>, Vec<Seen<V>>) = (Vec::new(), Vec::new());
    let mut settled: Vec<WindowId> = posted.iter().copied().chain(adopted.iter().map(|one| one.id)).collect();
    for seen in windows {
        let open = is_unposted(&seen.window);
        if draft(&seen.window) || (open && meets_any(&settled, &seen.window.id)) {
            goes.push(seen);
            continue;
        }
        if open {
            settled.push(seen.window.id);
        }
        stays.push(seen.window);
    }
    let low = facts.proved.max(head.map_or(Timestamp::MIN, |head| head.verified_up_to));
    let planned_to = adopted.iter().map(|one| one.id.high).chain(facts.end).chain(head.map(|head| head.planned_to));
    let planned_to = planned_to.fold(low, Timestamp::max);
    let covered = stays.iter().filter(|window| window.state != WindowState::Split).map(|window| window.id);
    let covered: Vec<WindowId> = covered.chain(adopted.iter().map(|one| one.id)).collect();
    // A ledger that has planned knows whether there are rows without a time.
    let nothing_there = adopted.is_empty() && !facts.by_a_ledger && facts.end.is_none();
    let has_planned = head.is_some_and(|head| head.plan.is_some());
    let mut gaps = if nothing_there && !has_planned { Vec::new() } else { gaps(&covered, low, planned_to)? };
    if facts.shape.axis == CutAxis::Whole {
        // What is missing of a snapshot is nowhere any more: the next run makes another.
        gaps.clear();
    }
    if has_planned {
        gaps.retain(|gap| gap.high != Timestamp::MIN);
    }
    let is_late = |id: &&WindowId| id.is_repair() && id.repair < WindowId::FIRST_HANDOVER && !id.is_null_axis();
    let repairs: Vec<WindowId> = covered.iter().filter(is_late).copied().collect();
    let gaps = cut_at(gaps, &repairs);
    let there = covered.into_iter().chain(found.iter().map(|one| one.id)).collect::<Vec<_>>();
    let empty = empty(&there, low, planned_to, facts, limits)?;
    Ok(Layout { adopted, known: found.len(), overlaps, gaps, empty, repairs, planned_to, stays, goes })
}

/// What was proved to be empty of the days in which rows may come late. Windows without rows leave no id at the destination, and a plan
/// looks back on the last days as far as windows lie side by side.
fn empty(
    there: &[WindowId],
    proved: Timestamp,
    planned_to: Timestamp,
    facts: &Facts,
    limits: &Limits,
) -> Result<Vec<Piece>, Entangled> {
    let Some(back) = reach(&facts.shape.axis, limits) else { return Ok(Vec::new()) };
    let from = (planned_to - back).max(facts.ours_from.unwrap_or(Timestamp::MIN));
    if from < proved { holes(there, from, proved) } else { Ok(Vec::new()) }
}

/// Windows that are not over.
fn open_ids<'a>(windows: impl Iterator<Item = &'a Window>) -> Vec<WindowId> {
    windows.filter(|window| !window.state.is_terminal()).map(|window| window.id).collect()
}

/// Whether one of the `open` windows stands for rows of the same range, and so is compared with this one.
fn is_asked_for(open: &[WindowId], id: &WindowId) -> bool {
    // What the windows of the destination were parted by is not on record.
    open.iter().any(|open| open != id && share_rows(&WindowId { part: Part::WHOLE, ..*open }, id))
}

/// Whether nothing of a window can be in the destination, and it is still to be pulled.
fn is_unposted(window: &Window) -> bool {
    window.seal.is_none() && !window.state.is_terminal() && window.state != WindowState::Submitted
}

fn meets_any(settled: &[WindowId], id: &WindowId) -> bool {
    settled.iter().any(|other| !overlaps(&[*other, *id]).is_empty())
}

/// Of windows that stand for the same rows, the one stays that was there first, and those that the ledger knows always do.
fn choose(posted: &[WindowId], mut unknown: Vec<Landed>) -> (Vec<Landed>, Vec<Overlap>) {
    unknown.sort_by_cached_key(|one| (one.first, one.id.to_string()));
    let ids: Vec<WindowId> = posted.iter().copied().chain(unknown.iter().map(|one| one.id)).collect();
    let mut partners: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    for (left, right) in overlaps(&ids) {
        // The places are in the order of age.
        partners.entry(left.max(right)).or_default().push(left.min(right));
    }
    let (mut adopted, mut twice): (Vec<Landed>, Vec<Overlap>) = (Vec::new(), Vec::new());
    let mut out = HashSet::new();
    for (at, one) in (posted.len()..).zip(unknown) {
        let older = partners.get(&at).into_iter().flatten().find(|older| !out.contains(*older));
        match older {
            Some(older) => {
                out.insert(at);
                twice.push(Overlap { younger: one, older: ids[*older] });
            }
            None => adopted.push(one),
        }
    }
    (adopted, twice)
}

impl<V> Layout<V> {
    /// Whether the ledger knows all that is there, and nothing is to be changed.
    pub fn is_nothing(&self) -> bool {
        self.adopted.is_empty() && self.goes.is_empty() && self.gaps.is_empty()
    }

    /// The ids of all windows with rows in the destination.
    pub fn with_rows(&self) -> impl Iterator<Item = (WindowId, u64)> + '_ {
        let adopted = self.adopted.iter().map(|one| (one.id, one.rows));
        let stays = self.stays.iter().filter(|window| watch::is_posted(window));
        adopted.chain(stays.map(|window| (window.id, watch::rows(window))))
    }

    /// Whether there are late rows of a gap. They are compared with all of its rows at once: of equal rows that one half of its time
    /// has and the other has not, only both together tell how many are there.
    pub fn has_late_rows(&self, gap: &Piece) -> bool {
        self.repairs.iter().any(|id| id.low < gap.high && gap.low < id.high)
    }

    /// Whether the destination has no row of any window.
    pub fn holds_nothing(&self) -> bool {
        self.adopted.is_empty() && self.known == 0 && self.overlaps.is_empty()
    }

    /// How many planned windows give way.
    pub fn given_way(&self) -> usize {
        self.goes.len()
    }
}

/// The head as it is before anything is adopted: the stored one, or that of a table that was never copied.
pub fn begun(head: Option<&Head>, config: &TableConfig, facts: &Facts, now: Timestamp) -> Head {
    let fresh = || Head::new(facts.ledger, &config.source, &config.destination, &config.watermark_column, now);
    head.cloned().unwrap_or_else(fresh)
}

/// The transactions of an adoption, in order; `head` is the head as it is stored. Each of them swaps it, and only the last one
/// makes the rebuilt ledger valid. `pieces` are the gaps, cut and counted at the source. What is open comes before what is
/// there: as long as a window of the destination is not on record, no run goes on.
pub fn write<V>(
    head: &Head,
    layout: Layout<V>,
    pieces: Vec<Piece>,
    facts: &Facts,
    now: Timestamp,
    limits: &Limits,
) -> Vec<TableWrite<V>> {
    let Layout { adopted, empty, planned_to, mut stays, goes, .. } = layout;
    let mut changes: Vec<WindowWrite<V>> =
        goes.into_iter().map(|seen| WindowWrite::Delete(seen.name, seen.version)).collect();
    let ledger = if facts.is_owner { head.ledger } else { facts.ledger };
    // Without a window the first rows that have no time are planned whenever they come.
    let pieces = pieces.into_iter().filter(|piece| piece.rows > 0 || !piece.is_null_axis());
    for (index, piece) in pieces.chain(empty).enumerate() {
        let (name, window) = open_window(ledger, index, piece, facts, now);
        stays.push(window.clone());
        changes.push(WindowWrite::Insert(name, window));
    }
    let proved = facts.proved.max(head.verified_up_to);
    let mut purged = head.purged;
    let asking = open_ids(stays.iter());
    for one in adopted {
        if facts.is_owner && watch::may_be_purged(head, &one, now, limits) {
            purged.verified = purged.verified.saturating_sub(1);
        }
        // Windows of rows without a time have no end, and are never purged.
        let is_over = !(facts.others.is_some() && one.id.repair >= WindowId::FIRST_HANDOVER);
        let is_old = is_over && !one.id.is_null_axis() && one.id.high <= proved && now.since(one.last) > limits.history;
        if is_old && !is_asked_for(&asking, &one.id) {
            purged.verified += 1;
            continue;
        }
        let (name, window) = landed_window(&one, facts, now, limits);
        stays.push(window.clone());
        changes.push(WindowWrite::Insert(name, window));
    }
    let mut counts = purged;
    stays.iter().for_each(|window| *counts.of(window.state) += 1);
    // Of snapshots, what is proved and what readers see differ.
    let is_whole = facts.shape.axis == CutAxis::Whole;
    let verified_up_to = if is_whole { proved } else { verified_prefix(proved, &stays) };
    let next =
        Head { ledger, planned_to, verified_up_to, purged, counts, ..rebuilt(head, facts, stays.is_empty(), now) };
    let mut writes = Vec::new();
    while changes.len() > TRANSACTION_WINDOWS {
        let windows = changes.drain(..TRANSACTION_WINDOWS).collect();
        writes.push(TableWrite { head: head.clone(), windows });
    }
    writes.push(TableWrite { head: next, windows: changes });
    writes
}

/// A window that is to be pulled, or, where the source has no row in it, not.
fn open_window(ledger: LedgerId, index: usize, piece: Piece, facts: &Facts, now: Timestamp) -> (WindowName, Window) {
    let id = WindowId { ledger, low: piece.low, high: piece.high, part: piece.part, generation: 0, repair: 0 };
    let state = if piece.rows == 0 { WindowState::Empty } else { WindowState::Planned };
    let handover = facts.shape.handover.is_some();
    // Repairs may be there of a window that is not.
    let unmarked = unmarked(&facts.shape.axis, facts.others.as_ref(), piece.low, piece.high);
    let difference = Some(Difference { unmarked, ..Difference::of(piece.rows) });
    let parting = facts.shape.parting;
    let window = Window { state, difference, parting, ..Window::planned(id, &facts.plan, handover, piece.rows, now) };
    (WindowName::new(piece.low, &format!("g{}{index:04x}", facts.plan)), window)
}

/// A window that is there. How often it was posted is not known. A second copy of it can only come of a post that was made
/// before the first rows landed, so one that landed lately is counted again, as if it had been posted twice.
fn landed_window(landed: &Landed, facts: &Facts, now: Timestamp, limits: &Limits) -> (WindowName, Window) {
    let lately = now.since(landed.last) <= limits.post_lifetime;
    let window = Window {
        state: WindowState::Verified,
        posts: if lately { 2 } else { 1 },
        last_post: Some(landed.last),
        parting: facts.shape.parting,
        ..Window::planned(landed.id, &facts.plan, false, landed.rows, now)
    };
    let WindowId { ledger, high, part, generation, repair, .. } = landed.id;
    let path =
        format!("a{ledger}{:016x}{:04x}{:04x}{generation:04x}{repair:04x}", high.ticks(), part.index, part.count);
    (WindowName::new(landed.id.low, &path), window)
}

/// The head, held by no run.
fn rebuilt(head: &Head, facts: &Facts, is_empty: bool, now: Timestamp) -> Head {
    // A table of which nothing was copied is copied like one that never was.
    let begun = !is_empty || facts.by_a_ledger;
    let learned = head.shape.is_some();
    Head {
        watermark_column: if learned { &head.watermark_column } else { &facts.watermark_column }.clone(),
        shape: head.shape.clone().or_else(|| Some(facts.shape.clone())),
        others: if learned { head.others.clone() } else { facts.others.clone() },
        begins_after: head.begins_after.or(facts.begins_after),
        state: TableState::Idle,
        run: None,
        stop: false,
        hold: 0,
        // Repairs of the plan that stands, which no run has taken up, would be drafts of another one.
        plan: head.plan.clone().or_else(|| begun.then(|| facts.plan.clone())),
        draft: None,
        out: Vec::new(),
        ready: Vec::new(),
        cursor: None,
        more: false,
        progress: Progress::default(),
        verify: None,
        verify_number: head.verify_number + 1,
        owed_plan: None,
        owed_verify: None,
        plan_due: None,
        adopted: Some(now),
        doubts: Vec::new(),
        moved: now,
        updated: now,
        ..head.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::report::Report;
    use super::*;
    use crate::orchestration::head::testing::{head, later, now, seen, shape, table};
    use crate::orchestration::ids::Part;
    use crate::orchestration::ledger::{Handover, Shape};
    use crate::orchestration::removal::Place;

    fn at(ticks: u64) -> Timestamp {
        Timestamp::from_ticks(ticks)
    }

    fn landed(low: u64, high: u64, first: u64) -> Landed {
        let id =
            WindowId { ledger: LedgerId(9), low: at(low), high: at(high), part: Part::WHOLE, generation: 0, repair: 0 };
        Landed { id, rows: 7, first: later(first), last: later(first) }
    }

    fn facts(proved: u64) -> Facts {
        Facts {
            is_owner: false,
            ledger: LedgerId(5),
            plan: "rebuilt".into(),
            shape: shape(),
            watermark_column: "Timestamp".into(),
            others: None,
            proved: at(proved),
            ours_from: Some(at(proved)),
            begins_after: None,
            by_a_ledger: proved > 0,
            end: None,
        }
    }

    fn spans(pieces: &[Piece]) -> Vec<(u64, u64)> {
        pieces.iter().map(|piece| (piece.low.ticks(), piece.high.ticks())).collect()
    }

    fn lost(proved: u64, found: Vec<Landed>) -> Layout<u64> {
        lay_out(None, vec![], found, &facts(proved), later(100), &Limits::scaled(1.0)).unwrap()
    }

    fn written(layout: Layout<u64>, facts: &Facts, rows: u64) -> (Vec<usize>, Head, Vec<WindowWrite<u64>>) {
        let pieces = layout.gaps.iter().map(|gap| Piece { rows: if gap.is_null_axis() { 0 } else { rows }, ..*gap });
        let pieces = pieces.collect();
        let before = begun(None, &table().config, facts, now());
        let writes = write(&before, layout, pieces, facts, later(100), &Limits::scaled(1.0));
        for write in &writes[..writes.len() - 1] {
            assert_eq!(write.head, before, "nothing is valid before the last transaction");
        }
        let head = writes.last().unwrap().head.clone();
        let sizes = writes.iter().map(|write| write.windows.len()).collect();
        (sizes, head, writes.into_iter().flat_map(|write| write.windows).collect())
    }

    #[test]
    fn a_lost_ledger_is_made_of_what_landed_and_of_the_gaps_above_what_was_proved() {
        let layout = lost(15, vec![landed(40, 50, 1), landed(10, 15, 1), landed(15, 20, 1)]);
        assert_eq!((spans(&layout.gaps), layout.planned_to), (vec![(20, 40), (0, 0)], at(50)));
        let (_, head, writes) = written(layout, &facts(15), 4);
        assert_eq!((head.ledger, head.plan.as_deref(), head.adopted), (LedgerId(5), Some("rebuilt"), Some(later(100))));
        assert_eq!((head.verified_up_to, head.planned_to), (at(20), at(50)));
        assert_eq!((head.counts.verified, head.counts.open, head.counts.empty), (3, 1, 0));
        assert!(head.shape.is_some() && head.run.is_none());
        let inserted = |write: &WindowWrite<u64>| match write {
            WindowWrite::Insert(_, window) => (window.id.ledger.0, window.state, window.planned_rows, window.posts),
            other => panic!("{other:?}"),
        };
        let inserted: Vec<_> = writes.iter().map(inserted).collect();
        let (proved, open) = ((9, WindowState::Verified, 7, 2), WindowState::Planned);
        assert_eq!(inserted, [(5, open, 4, 0), proved, proved, proved], "what is open comes first");
    }

    #[test]
    fn what_was_proved_to_be_empty_of_the_last_days_is_on_record_again() {
        let day = |days: u64| at(days * 24 * 3_600 * 10_000_000);
        let from = |low: u64, high: u64, index, count| {
            let id = WindowId { low: day(low), high: day(high), part: Part { index, count }, ..landed(0, 1, 1).id };
            Landed { id, ..landed(0, 1, 1) }
        };
        let empty = |ours_from: Option<u64>, axis: CutAxis| {
            let found = vec![from(8, 9, 0, 2), from(9, 10, 0, 2), from(6, 7, 0, 1)];
            let shape = Shape { axis, ..shape() };
            let facts = Facts { proved: day(12), ours_from: ours_from.map(day), shape, ..facts(0) };
            let layout = lay_out::<u64>(None, vec![], found, &facts, later(100), &Limits::scaled(1.0)).unwrap();
            let ends = |piece: &Piece| (piece.low, piece.high, piece.part.index, piece.part.count);
            let found: Vec<_> = layout.empty.iter().map(ends).collect();
            let (_, head, writes) = written(layout, &facts, 4);
            assert_eq!((head.counts.empty as usize, head.verified_up_to), (found.len(), day(12)));
            let of = |write: &&WindowWrite<u64>| matches!(write, WindowWrite::Insert(_, window) if window.state == WindowState::Empty);
            assert_eq!(writes.iter().filter(of).count(), found.len());
            found
        };
        // Parts keep the range of the part beside them, so that both are counted together.
        let parts = [(day(9), day(10), 1, 2), (day(10), day(12), 0, 1)];
        assert_eq!(empty(None, CutAxis::ArrivalTime), parts);
        assert_eq!(empty(Some(11), CutAxis::ArrivalTime), [(day(11), day(12), 0, 1)]);
        assert_eq!(empty(None, CutAxis::Whole), []);
    }

    #[test]
    fn it_is_said_where_nothing_is_left_of_what_was_proved() {
        let said = |proved, found: Vec<Landed>| {
            let (facts, config) = (facts(proved), table().config);
            let place = Place::of(&begun(None, &config, &facts, now())).unwrap();
            let mut report = Report::new(&config, place, 0, &found, None);
            report.laid_out(&lost(proved, found), &facts);
            report.to_string()
        };
        assert!(said(15, vec![]).contains("give its row another DestinationTable"));
        assert!(!said(15, vec![landed(10, 15, 1)]).contains("another DestinationTable"));
        assert!(!said(0, vec![]).contains("another DestinationTable"), "nothing was proved");
    }

    #[test]
    fn nothing_is_asked_for_from_before_the_beginning_of_a_table() {
        let found = || vec![landed(30, 40, 1), landed(50, 60, 1)];
        assert_eq!(spans(&lost(0, found()).gaps), [(0, 30), (40, 50), (0, 0)]);
        let facts = Facts { proved: at(20), begins_after: Some(at(20)), ..facts(0) };
        let layout = lay_out::<u64>(None, vec![], found(), &facts, later(100), &Limits::scaled(1.0)).unwrap();
        assert_eq!(spans(&layout.gaps), [(20, 30), (40, 50), (0, 0)]);
        let (_, head, _) = written(layout, &facts, 4);
        assert_eq!((head.begins_after, head.verified_up_to, head.plan.is_some()), (Some(at(20)), at(20), true));
    }

    #[test]
    fn rows_without_a_time_get_a_window_only_where_there_are_any() {
        let writes = |rows| {
            let layout = lost(10, vec![landed(10, 20, 1)]);
            let null = Piece::whole(Timestamp::MIN, Timestamp::MIN, rows);
            let before = begun(None, &table().config, &facts(10), now());
            write(&before, layout, vec![null], &facts(10), later(100), &Limits::scaled(1.0))[0].windows.len()
        };
        assert_eq!((writes(0), writes(3)), (1, 2), "of none no window says that they are copied");
    }

    #[test]
    fn a_table_of_which_nothing_landed_is_copied_from_the_start() {
        let (sizes, head, _) = written(lost(0, vec![]), &facts(0), 0);
        assert_eq!((sizes, head.plan, head.planned_to), (vec![0], None, Timestamp::MIN));
        let (_, head, _) = written(lost(30, vec![]), &facts(30), 0);
        assert_eq!((head.plan.as_deref(), head.planned_to, head.verified_up_to), (Some("rebuilt"), at(30), at(30)));
    }

    #[test]
    fn of_two_copies_the_younger_is_named_and_what_it_alone_covers_is_a_gap() {
        let layout = lost(10, vec![landed(15, 25, 9), landed(10, 20, 3), landed(25, 30, 1)]);
        assert_eq!(layout.adopted.len(), 2);
        let overlap = &layout.overlaps[0];
        assert_eq!((overlap.younger.id, overlap.older), (landed(15, 25, 9).id, landed(10, 20, 3).id));
        assert_eq!(spans(&layout.gaps), [(20, 25), (0, 0)]);
    }

    #[test]
    fn a_living_ledger_keeps_what_it_posted_and_its_plans_give_way() {
        let head =
            Head { plan: Some("old".into()), planned_to: at(50), verified_up_to: at(20), ..head(TableState::Idle) };
        let windows = || {
            let states = [
                (10, WindowState::Verified),
                (20, WindowState::Submitted),
                (30, WindowState::Planned),
                (40, WindowState::Failed),
            ];
            states.map(|(low, state)| seen(low, state)).to_vec()
        };
        let facts = Facts { is_owner: true, ..facts(20) };
        let known = Landed { id: windows()[0].window.id, ..landed(0, 0, 0) };
        let laid = |found| lay_out(Some(&head), windows(), found, &facts, later(100), &Limits::scaled(1.0)).unwrap();
        let purged = Landed { last: Timestamp::MIN, ..landed(2, 5, 0) };
        let nothing = laid(vec![known.clone(), purged]);
        assert!(nothing.is_nothing() && nothing.known == 2);

        let found = vec![known, landed(22, 24, 1), landed(35, 38, 1)];
        let layout = laid(found);
        assert_eq!((layout.adopted.len(), layout.overlaps.len(), layout.given_way()), (1, 1, 1));
        assert_eq!(layout.overlaps[0].younger.id, landed(22, 24, 1).id, "what the ledger posted stays");
        assert_eq!(spans(&layout.gaps), [(30, 35), (38, 40)]);
        let pieces = layout.gaps.clone();
        let writes = write(&head, layout, pieces, &facts, later(100), &Limits::scaled(1.0));
        let next = &writes[0].head;
        assert_eq!((next.ledger, next.counts.submitted, next.counts.failed), (LedgerId(1), 1, 1));
        assert!(matches!(writes[0].windows[0], WindowWrite::Delete(_, 30)), "{:?}", writes[0].windows);
    }

    /// A ledger of two windows, proved, and a repair of the first that was never handed out.
    fn repairing(repair: WindowState) -> (Head, Vec<Seen<u64>>) {
        let head =
            Head { plan: Some("old".into()), planned_to: at(30), verified_up_to: at(30), ..head(TableState::Idle) };
        let mut late = seen(10, repair);
        late.window.id.repair = 1;
        (head, vec![seen(10, WindowState::Verified), seen(20, WindowState::Verified), late])
    }

    #[test]
    fn repairs_that_are_still_to_be_made_are_no_drafts_after_an_adoption() {
        let (head, windows) = repairing(WindowState::Planned);
        let facts = Facts { is_owner: true, ..facts(30) };
        let found = vec![landed(40, 50, 1)];
        let layout = lay_out(Some(&head), windows.clone(), found, &facts, later(100), &Limits::scaled(1.0)).unwrap();
        assert_eq!((layout.given_way(), spans(&layout.gaps)), (0, vec![(30, 40)]));
        let gaps = layout.gaps.iter().map(|gap| Piece { rows: 4, ..*gap }).collect();
        let writes = write(&head, layout, gaps, &facts, later(100), &Limits::scaled(1.0));
        let next = &writes[0].head;
        assert!(!is_draft(next, &windows[2].window), "{next:?}");
        let drafts = writes[0].windows.iter().filter(|write| match write {
            WindowWrite::Insert(_, window) => is_draft(next, window),
            _ => false,
        });
        assert_eq!((drafts.count(), next.planned_to), (0, at(50)));
    }

    #[test]
    fn windows_that_were_purged_come_back_on_record_where_a_repair_is_compared_with_them() {
        let (head, mut windows) = repairing(WindowState::Failed);
        windows.remove(0);
        let head = Head { purged: crate::orchestration::ledger::Counts { verified: 5, ..head.purged }, ..head };
        let facts = Facts { is_owner: true, ..facts(30) };
        let purged = |low| Landed { last: Timestamp::MIN, ..landed(low, low + 10, 0) };
        let layout =
            lay_out(Some(&head), windows, vec![purged(0), purged(10)], &facts, later(100), &Limits::scaled(1.0));
        let layout = layout.unwrap();
        assert_eq!((layout.adopted.len(), layout.adopted[0].id.low, layout.known), (1, at(10), 1));
        let writes = write(&head, layout, vec![], &facts, later(100), &Limits::scaled(1.0));
        assert_eq!((writes[0].head.purged.verified, writes[0].head.counts.verified), (4, 6));
        assert!(matches!(&writes[0].windows[..], [WindowWrite::Insert(_, window)] if window.id.low == at(10)));
    }

    #[test]
    fn a_gap_lies_in_the_range_of_late_rows_that_are_there_or_outside_of_it() {
        let mut late = landed(12, 18, 1);
        late.id.repair = 1;
        let layout = lost(5, vec![landed(5, 10, 1), late, landed(30, 40, 1)]);
        assert_eq!(spans(&layout.gaps), [(10, 12), (12, 18), (18, 30), (0, 0)]);
        let compared: Vec<bool> = layout.gaps.iter().map(|gap| layout.has_late_rows(gap)).collect();
        assert_eq!(compared, [false, true, false, false]);
    }

    #[test]
    fn many_windows_go_in_transactions_that_fit_the_store_and_old_ones_are_only_counted() {
        let found: Vec<Landed> = (0..250).map(|n| landed(n * 10, n * 10 + 10, 1)).collect();
        let (sizes, head, _) = written(lost(0, found.clone()), &facts(0), 0);
        assert_eq!((sizes, head.counts.verified, head.verified_up_to), (vec![99, 99, 52], 250, at(2_500)));
        let old = found.into_iter().map(|one| Landed { last: Timestamp::MIN, ..one }).collect();
        let (sizes, head, writes) = written(lost(2_000, old), &facts(2_000), 0);
        assert_eq!((sizes, head.purged.verified, head.counts.verified), (vec![50], 200, 250));
        let posts = |write: &WindowWrite<u64>| matches!(write, WindowWrite::Insert(_, window) if window.posts == 2);
        assert!(!writes.iter().any(posts), "no second copy can come of a post that is over");
    }

    #[test]
    fn windows_of_rows_without_a_time_stay_on_record_however_old() {
        let old = Landed { last: Timestamp::MIN, ..landed(0, 0, 1) };
        let (_, head, writes) = written(lost(2_000, vec![old]), &facts(2_000), 0);
        assert_eq!((head.purged.verified, head.counts.verified, writes.len()), (0, 1, 1));
    }

    #[test]
    fn gaps_below_the_handover_leave_out_what_the_python_app_copied() {
        let handover = Some(Handover { watermark: now(), refreshed: now() });
        let facts = Facts { shape: Shape { handover, ..facts(0).shape }, ..facts(0) };
        let (_, _, writes) = written(lost(0, vec![landed(10, 20, 1)]), &facts, 4);
        assert!(matches!(&writes[0], WindowWrite::Insert(_, window) if window.handover && window.id.high == at(10)));
    }

    #[test]
    fn only_the_id_of_a_window_is_read() {
        let id = landed(10, 20, 0).id.to_string();
        assert_eq!(Landed::read(&id, 7, Some(later(0)), Some(later(0))), Some(landed(10, 20, 0)));
        for text in ["", "chunk-1", &id[1..], &id.replace("0001", "0000")] {
            assert_eq!(Landed::read(text, 7, None, None), None, "{text}");
        }
    }
}
