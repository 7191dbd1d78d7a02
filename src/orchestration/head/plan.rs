//! The event *plan*: leftovers of earlier runs and the windows of the new range, written in transactions that each
//! swap the head. Only the last one makes the plan valid and owes its messages, so an interrupted plan is thrown away
//! whole: nothing of it was dispatched.

use super::gap;
use super::handover::unmarked;
use super::narrow::left_for_later;
use super::survey::Survey;
use crate::orchestration::IllegalTransition;
use crate::orchestration::difference::Difference;
use crate::orchestration::fan_in::{begin, make_ready};
use crate::orchestration::ids::{InstanceId, Part, TableKey, WindowId, WindowName};
use crate::orchestration::instance::{RuntimeStatus, TableRun};
use crate::orchestration::ledger::{Counts, Head, Progress, PutOff, TableState, verified_prefix};
use crate::orchestration::limits::{LONGEST_ASKED, Limits, PLAN_ATTEMPTS, TRANSACTION_WINDOWS};
use crate::orchestration::message::Debt;
use crate::orchestration::plan::Piece;
use crate::orchestration::snapshot::is_whole;
use crate::orchestration::window::{Window, WindowState};
use crate::orchestration::write::{Seen, TableWrite, WindowWrite};
use crate::timestamp::Timestamp;
use std::time::Duration;

/// What a plan is to load.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// What is new, and leftovers.
    NewRange,
    /// Leftovers alone: a `Full` table is loaded once.
    Leftovers,
    /// Nothing: it was loaded, and nothing of that is left to be done.
    Nothing,
}

/// Whether the windows of earlier runs ask for something although nothing new is loaded: they are not terminal, or another
/// post of them, or rows of a ledger that was lost, may still land.
pub fn asks_for_more<V>(head: &Head, found: &Survey<V>, now: Timestamp, limits: &Limits) -> bool {
    !found.left.is_empty() || found.doubtful || head.adopted.is_some_and(|at| now.since(at) <= limits.post_lifetime)
}

/// Decides what is to be loaded. `leftovers` says whether earlier runs left anything to be done: [`asks_for_more`].
pub fn scope(table: &TableRun, head: &Head, leftovers: bool) -> Scope {
    let has_watermark = table.config.high_watermark.is_some();
    if !table.config.is_loaded_once() || !(has_watermark || head.plan.is_some()) {
        Scope::NewRange
    } else if leftovers || !has_watermark {
        Scope::Leftovers
    } else {
        Scope::Nothing
    }
}

/// The range `(low, high]` that is new; `None` when nothing is.
pub fn new_range(table: &TableRun, head: &Head) -> Option<(Timestamp, Timestamp)> {
    (table.high > head.planned_to).then_some((head.planned_to, table.high))
}

/// The end of the plan that is being made; `None` where it has none of its own. A first plan has one only with a range: what the
/// Python app left behind is looked for with that, and its watermark may be as late as the range ends.
pub fn end(scope: Scope, table: &TableRun, head: &Head) -> Option<Timestamp> {
    let is_for_later = head.plan.is_none() && new_range(table, head).is_none();
    (scope == Scope::NewRange && !is_for_later).then_some(table.high)
}

/// Whether the windows of the new range carry the predicate of a handover: those of the first load do, and so do those of a
/// ledger that was rebuilt before the range of the first load was over.
pub fn is_handover(head: &Head) -> bool {
    let handover = head.shape.as_ref().and_then(|shape| shape.handover.as_ref());
    handover.is_some_and(|handover| head.plan.is_none() || head.planned_to < handover.refreshed)
}

/// The windows of the pieces that the new range was cut into. The histogram is a complete answer: where it counted
/// no row, nothing is to be pulled.
///
/// # Errors
/// [`IllegalTransition`] unless the head is being planned.
pub fn windows_of(
    head: &Head,
    pieces: Vec<Piece>,
    now: Timestamp,
) -> Result<Vec<(WindowName, Window)>, IllegalTransition> {
    let draft = draft_of(head)?;
    let handover = is_handover(head);
    let windows = pieces.into_iter().enumerate().map(|(index, piece)| {
        let id = WindowId {
            ledger: head.ledger,
            low: piece.low,
            high: piece.high,
            part: piece.part,
            generation: 0,
            repair: 0,
        };
        let path = match (id.is_null_axis(), piece.part) {
            (false, Part::WHOLE) => "0".to_owned(),
            (false, part) => format!("p{:04x}", part.index),
            (true, _) => format!("n{index:04x}"),
        };
        let state = if piece.rows == 0 { WindowState::Empty } else { WindowState::Planned };
        let axis = head.shape.as_ref().map(|shape| &shape.axis);
        let axis = axis.filter(|_| !head.made_here);
        let unmarked = axis.and_then(|axis| unmarked(axis, head.others.as_ref(), piece.low, piece.high));
        // How many rows are new beside those of another app is not known.
        let rows = if unmarked.is_some() { 0 } else { piece.rows };
        let difference = unmarked.map(|unmarked| Difference { unmarked: Some(unmarked), ..Difference::of(piece.rows) });
        let parting = head.parting();
        let window = Window { state, difference, parting, ..Window::planned(id, draft, handover, rows, now) };
        (WindowName::new(piece.low, &path), window)
    });
    Ok(windows.collect())
}

/// The plan that is being made.
///
/// # Errors
/// [`IllegalTransition`] unless the head is being planned.
pub fn draft_of(head: &Head) -> Result<&str, IllegalTransition> {
    match (&head.draft, head.state) {
        (Some(draft), TableState::Planning) => Ok(draft),
        (_, state) => Err(IllegalTransition {
            what: format!("the head of {}", head.source),
            event: "be planned",
            state: format!("{state:?}"),
        }),
    }
}

/// A plan that is to be written: first the batches in order, then what [`Draft::complete`] gives.
#[derive(Debug, Clone, PartialEq)]
pub struct Draft<V> {
    /// All transactions but the last. None of them makes anything valid.
    pub batches: Vec<TableWrite<V>>,
    plan: String,
    head: Head,
    rest: Vec<WindowWrite<V>>,
    names: Vec<WindowName>,
    /// Of windows that failed in earlier runs.
    failed: Vec<WindowName>,
    /// Messages for windows that workers may still hold.
    held: Vec<Debt>,
    /// Whether proved windows are to be counted again.
    recount: bool,
    /// These windows: one lane each.
    out: Vec<WindowName>,
}

/// What goes into a plan.
#[derive(Debug, Clone, PartialEq)]
pub struct Content<V> {
    /// What the ledger held.
    pub found: Survey<V>,
    /// Windows of the new range, at most [`crate::orchestration::plan::MAX_PARTS`] of rows without a value on the cut axis at its end.
    pub planned: Vec<(WindowName, Window)>,
    /// The end of the new range, if there is to be one: without, the last plan that had one stays the valid one.
    pub end: Option<Timestamp>,
}

/// Lays a plan of run `id` out.
///
/// # Errors
/// [`IllegalTransition`] unless the head is being planned.
pub fn lay_out<V>(
    key: &TableKey,
    id: &InstanceId,
    head: Head,
    content: Content<V>,
    now: Timestamp,
    limits: &Limits,
) -> Result<Draft<V>, IllegalTransition> {
    let Content { found, planned, end } = content;
    let plan = draft_of(&head)?.to_owned();
    let unplanned = head.clone();
    let recount = found.doubtful;
    let (rest, names, failed, held, out) = (Vec::new(), Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let mut draft = Draft { batches: Vec::new(), plan, head, rest, names, failed, held, recount, out };
    if end.is_some() {
        draft.head.plan = Some(draft.plan.clone());
    }
    // Where they lie does not tell drafts of these from what a completed plan left: none is written before the plan is valid.
    let is_told = |window: &Window| !window.id.is_null_axis() && window.state != WindowState::Expired;
    let together = planned.iter().rev().take_while(|(_, window)| !is_told(window)).count();
    if !is_whole(&draft.head) {
        // A run that was broken off behind its last result has not told the head what its windows prove.
        draft.head.verified_up_to = verified_prefix(draft.head.verified_up_to, &found.windows);
    }
    let mut counts = found.counts;
    for seen in found.left {
        draft.take_up(key, id, seen, &mut counts, now, limits);
    }
    for (name, window) in planned {
        draft.add(name, window, &mut counts);
    }
    draft.head.counts = counts;
    draft.head.recount_from = found.recount_from;
    draft.head.others = found.others;
    draft.head.planned_to = draft.head.planned_to.max(end.unwrap_or(Timestamp::MIN));
    while draft.rest.len() > TRANSACTION_WINDOWS {
        let batch = TRANSACTION_WINDOWS.min(draft.rest.len() - together);
        let windows = draft.rest.drain(..batch).collect();
        draft.batches.push(TableWrite { head: unplanned.clone(), windows });
    }
    Ok(draft)
}

impl<V> Draft<V> {
    /// A window that an earlier run left: what the source no longer keeps is over, what failed is dispatched, what another worker may still hold is looked at
    /// when its lease is over, what was posted is for the count.
    fn take_up(
        &mut self,
        key: &TableKey,
        id: &InstanceId,
        seen: Seen<V>,
        counts: &mut Counts,
        now: Timestamp,
        limits: &Limits,
    ) {
        let Seen { name, window, version } = seen;
        // A repair that no run has taken up would be a draft to the next plan.
        let unnamed = || (window.id.is_repair() && window.run.is_none()).then(|| window.clone());
        let gone = gap::gone(&self.head, &window, now, limits);
        let taken = gone.or_else(|| window.taken_up(now, limits)).or_else(unnamed);
        let later = left_for_later(&self.head, taken.as_ref().unwrap_or(&window), now);
        let taken = match later {
            Some(later) if later.state == window.state => return,
            later => later.or(taken),
        };
        let state = taken.as_ref().map_or(window.state, |taken| taken.state);
        if state != WindowState::Later {
            let progress = &mut self.head.progress;
            progress.windows += 1;
            progress.leftovers += 1;
            progress.planned_rows += window.planned_rows;
        }
        match state {
            WindowState::Planned if window.failures > 0 => self.failed.push(name.clone()),
            WindowState::Planned => self.names.push(name.clone()),
            WindowState::Claimed | WindowState::Sealed => {
                let lease = window.lease_until.unwrap_or(now) + limits.clock_margin;
                self.held.push(Debt::chunk_later(key, name.clone(), lease.since(now)));
                self.out.push(name.clone());
            }
            WindowState::Expired => {
                let progress = &mut self.head.progress;
                progress.ended += 1;
                progress.expired += 1;
                progress.vanished_rows += window.planned_rows;
            }
            _ => {}
        }
        if let Some(taken) = taken {
            counts.moved(window.state, taken.state);
            self.rest.push(WindowWrite::Swap(
                name,
                Window { run: Some(id.clone()), tenure: self.head.tenure, ..taken },
                version,
            ));
        }
    }

    fn add(&mut self, name: WindowName, window: Window, counts: &mut Counts) {
        let window = left_for_later(&self.head, &window, window.updated).unwrap_or(window);
        *counts.of(window.state) += 1;
        let progress = &mut self.head.progress;
        match window.state {
            WindowState::Planned => {
                self.names.push(name.clone());
                progress.windows += 1;
                progress.planned_rows += window.planned_rows;
            }
            WindowState::Expired => {
                progress.windows += 1;
                progress.ended += 1;
                progress.expired += 1;
            }
            _ => {}
        }
        self.rest.push(WindowWrite::Insert(name, window));
    }
}

/// What a completed plan asks for.
#[derive(Debug, Clone, PartialEq)]
pub struct Completed<V> {
    /// The last transaction.
    pub write: TableWrite<V>,
    /// What to send then; nothing when the table is through.
    pub owed: Vec<Debt>,
}

impl<V> Draft<V> {
    /// The last transaction. `run` is the status of the run as read after all batches were written: a plan of a run
    /// that was terminated or suspended meanwhile is valid, for the next run or the resumption, and dispatches nothing.
    pub fn complete(self, key: &TableKey, run: Option<RuntimeStatus>, now: Timestamp, limits: &Limits) -> Completed<V> {
        let Self { plan, head, names, failed, held, out, rest, recount, .. } = self;
        let mut head = Head {
            draft: None,
            state: TableState::Running,
            out,
            stop: run != Some(RuntimeStatus::Running),
            plan_due: None,
            put_off: None,
            recount: recount.then_some(now),
            moved: now,
            updated: now,
            ..head
        };
        make_ready(&mut head, failed, names);
        let owed = begin(key, &mut head, format!("plan:{plan}"), held, now, limits);
        Completed { write: TableWrite { head, windows: rest }, owed }
    }
}

/// A plan that came to nothing this time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Retry {
    /// Plan again; until then nothing is to be repaired.
    Later {
        /// Attempts that came to nothing, one after the other.
        attempt: u32,
        /// After which pause.
        pause: Duration,
    },
    /// The attempts are used up: the error is the table's result.
    GiveUp,
    /// The quota has nothing for it.
    WaitedTooLong,
}

/// What is known of the pause before another attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pause {
    /// Nothing: it is the protocol's.
    Unknown,
    /// A service asked for it, so that no attempt is made before.
    Asked(Duration),
    /// It is for the tenant's quota: the attempt does not count.
    Quota(Duration),
}

/// What became of an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tried {
    /// How many came to nothing before it, one after the other.
    pub attempt: u32,
    /// Whether it came further: another one goes on from there.
    pub came_further: bool,
    /// How long none did.
    pub waited: Duration,
}

/// Decides on another attempt. Those that come further come to an end by themselves.
pub fn retry(tried: Tried, pause: Pause, limits: &Limits) -> Retry {
    let counts = !matches!(pause, Pause::Quota(_));
    let attempt = if tried.came_further { 0 } else { tried.attempt };
    if counts && attempt + 1 >= PLAN_ATTEMPTS {
        return Retry::GiveUp;
    }
    if !counts && !tried.came_further && tried.waited > limits.put_off_longest() {
        return Retry::WaitedTooLong;
    }
    let attempt = attempt + u32::from(counts);
    let ours = limits.outage_pause(attempt);
    let pause = match pause {
        Pause::Unknown => ours,
        Pause::Asked(asked) => asked.min(LONGEST_ASKED).max(ours),
        Pause::Quota(pause) => pause,
    };
    Retry::Later { attempt, pause }
}

/// The head while its plan, for which the run has made so many calls, is put off until `until`.
pub fn waiting(head: &Head, put_off: PutOff, calls: u64, until: Timestamp) -> Head {
    let progress = Progress { calls, ..head.progress };
    Head { plan_due: Some(until), put_off: Some(put_off), progress, ..head.clone() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::orchestration::head::survey::survey;
    use crate::orchestration::head::testing::{head, id, key, seen, shape, table};
    use crate::orchestration::instance::{LoadType, TableConfig};
    use crate::orchestration::ledger::{Handover, Others, RowFormat, Shape};
    use crate::orchestration::limits::READY_NAMES;
    use crate::orchestration::message::{ControlMessage, Message};

    /// Windows lie at the first ticks of time here, and the clock is half an hour on.
    fn now() -> Timestamp {
        Timestamp::from_ticks(20_000_000_000)
    }

    fn later(seconds: u64) -> Timestamp {
        now() + Duration::from_secs(seconds)
    }

    fn limits() -> Limits {
        Limits { lanes: 2, ..Limits::scaled(1.0) }
    }

    fn pieces(count: u64) -> Vec<Piece> {
        let at = |n: u64| Timestamp::from_ticks(1_000 + 10 * n);
        (0..count).map(|n| Piece::whole(at(n), at(n + 1), 5)).collect()
    }

    fn others(compared: bool) -> Others {
        Others { watermark: now(), refreshed: now(), compared }
    }

    fn drafted(left: Vec<Seen<u64>>, new: u64) -> Draft<u64> {
        let head =
            Head { plan: Some("old".into()), planned_to: Timestamp::from_ticks(1_000), ..head(TableState::Planning) };
        let planned = windows_of(&head, pieces(new), now()).unwrap();
        let end = Some(Timestamp::from_ticks(9_000));
        let head = Head { others: Some(others(false)), ..head };
        let found = Survey { recount_from: Some(now()), others: Some(others(true)), ..survey(&head, left) };
        let content = Content { found, planned, end };
        lay_out(&key(), &id(1), head, content, later(1), &limits()).unwrap()
    }

    fn completed(draft: Draft<u64>) -> Completed<u64> {
        draft.complete(&key(), Some(RuntimeStatus::Running), later(2), &limits())
    }

    #[test]
    fn a_plan_of_hundreds_of_windows_becomes_valid_with_its_last_transaction_only() {
        let draft = drafted(vec![], 250);
        assert_eq!(draft.batches.iter().map(|batch| batch.windows.len()).collect::<Vec<_>>(), [99, 99]);
        for batch in &draft.batches {
            assert_eq!((batch.head.plan.as_deref(), batch.head.state), (Some("old"), TableState::Planning));
            assert_eq!((batch.head.planned_to, batch.head.recount_from), (Timestamp::from_ticks(1_000), None));
        }
        let Completed { write, owed } = completed(draft);
        assert_eq!((write.windows.len(), owed.len()), (52, 2));
        assert_eq!((write.head.plan.as_deref(), write.head.draft.clone()), (Some("draft"), None));
        assert_eq!(write.head.recount_from, Some(now()), "from the last transaction on");
        assert_eq!(write.head.others, Some(others(true)), "from the last transaction on");
        assert_eq!((write.head.counts.open, write.head.lanes(), write.head.more), (250, 2, true));
        assert_eq!(write.head.ready.len(), READY_NAMES - 2);
        assert_eq!(write.head.planned_to, Timestamp::from_ticks(9_000));
    }

    #[test]
    fn windows_before_the_runs_beginning_are_planned_and_left_and_the_next_run_takes_them_up() {
        let at = |n: u64| Timestamp::from_ticks(1_000 + 10 * n);
        let old = Head { plan: Some("old".into()), planned_to: at(0), ..head(TableState::Planning) };
        let narrowed = Head { since: Some(at(3)), ..old.clone() };
        let planned = windows_of(&narrowed, pieces(4), now()).unwrap();
        let mut failed = seen(900, WindowState::Failed);
        failed.window.failures = 1;
        let sealed = seen(910, WindowState::Submitted);
        let found = survey(&narrowed, vec![failed, sealed]);
        let content = Content { found, planned, end: Some(at(4)) };
        let draft = lay_out(&key(), &id(1), narrowed, content, later(1), &limits()).unwrap();
        let Completed { write, owed } = completed(draft);
        let counts = write.head.counts;
        assert_eq!((counts.later, counts.open, counts.submitted, counts.failed), (4, 1, 1, 0));
        assert_eq!((write.head.out.len(), write.head.progress.windows, write.head.planned_to), (1, 2, at(4)));
        assert_eq!(owed.len(), 2, "the window and the count: {owed:?}");

        let windows: Vec<Seen<u64>> = write
            .windows
            .into_iter()
            .zip(1..)
            .filter_map(|(change, version)| match change {
                WindowWrite::Insert(name, window) | WindowWrite::Swap(name, window, _) => {
                    Some(Seen { name, window, version })
                }
                WindowWrite::Delete(..) => None,
            })
            .collect();
        let next = |since| {
            let next = Head { since, ..take_again(&write.head) };
            let found = survey(&next, windows.clone());
            assert!(found.deletions.is_empty(), "none of them is a draft");
            let content = Content { found, planned: Vec::new(), end: Some(at(4)) };
            completed(lay_out(&key(), &id(2), next, content, later(9), &limits()).unwrap()).write.head
        };
        assert_eq!((next(Some(at(3))).counts.later, next(Some(at(3))).counts.open), (4, 1));
        let all = next(None);
        assert_eq!(
            (all.counts.later, all.counts.open, all.out[0].clone()),
            (0, 5, seen(900, WindowState::Failed).name)
        );
    }

    /// The head as the next plan finds it.
    fn take_again(head: &Head) -> Head {
        Head { state: TableState::Planning, draft: Some("next".into()), out: Vec::new(), verify: None, ..head.clone() }
    }

    #[test]
    fn windows_that_were_to_be_left_by_a_plan_that_was_broken_off_are_drafts_like_any_other() {
        let old = Head {
            plan: Some("old".into()),
            planned_to: Timestamp::from_ticks(1_000),
            since: Some(Timestamp::MAX),
            ..head(TableState::Planning)
        };
        let planned = windows_of(&old, pieces(1), now()).unwrap();
        let content = Content { found: survey::<u64>(&old, vec![]), planned, end: Some(now()) };
        let write = completed(lay_out(&key(), &id(1), old.clone(), content, later(1), &limits()).unwrap()).write;
        let [WindowWrite::Insert(name, window)] = write.windows.as_slice() else { panic!("{write:?}") };
        assert_eq!(window.state, WindowState::Later);
        let left = Seen { name: name.clone(), window: window.clone(), version: 1 };
        assert_eq!(survey(&Head { draft: Some("other".into()), ..old }, vec![left]).deletions.len(), 1);
    }

    /// The run before has written HighWatermark and counted its result, and died before it let go of the head.
    #[test]
    fn a_watermark_that_a_run_wrote_before_it_was_broken_off_is_not_taken_for_a_users() {
        use crate::orchestration::head::finish::{Watermark, result};
        let at = Timestamp::from_ticks;
        let head = Head {
            plan: Some("old".into()),
            planned_to: at(120),
            verified_up_to: at(100),
            shape: Some(shape()),
            ..head(TableState::Planning)
        };
        let windows = vec![seen(100, WindowState::Verified), seen(110, WindowState::Verified)];
        let content = Content { found: survey(&head, windows), planned: Vec::new(), end: Some(at(130)) };
        let Completed { write, .. } = completed(lay_out(&key(), &id(1), head, content, later(1), &limits()).unwrap());
        assert_eq!(write.head.verified_up_to, at(120));
        let said = |high_watermark| {
            let table = TableRun { config: TableConfig { high_watermark, ..table().config }, ..table() };
            result(&write.head, &table, &[], at(130), &Watermark::Moved).warnings
        };
        assert_eq!(said(Some(at(120))), Vec::<String>::new());
        assert_eq!(said(Some(at(125))).len(), 1, "that one is a user's");
    }

    #[test]
    fn what_failed_goes_before_all_else_and_nothing_is_left_out() {
        let mut failed = seen(900, WindowState::Failed);
        failed.window.failures = 2;
        let left = (0..200).map(|low| seen(low, WindowState::Planned)).chain([failed]).collect();
        let Completed { write, owed } = completed(drafted(left, 0));
        let Message::Chunk(first) = &owed[0].message else { panic!("{owed:?}") };
        assert_eq!(first.window, seen(900, WindowState::Failed).name);
        assert_eq!(write.head.cursor, Some(seen(62, WindowState::Planned).name));
        assert!(write.head.more && write.head.ready.len() == READY_NAMES - 2);
    }

    #[test]
    fn leftovers_go_before_what_is_new() {
        let mut dead = seen(30, WindowState::Claimed);
        dead.window.lease_until = Some(Timestamp::MIN);
        let Completed { write, owed } = completed(drafted(vec![seen(20, WindowState::Failed), dead], 3));
        let Message::Chunk(first) = &owed[0].message else { panic!("{owed:?}") };
        assert_eq!(first.window, seen(20, WindowState::Failed).name);
        assert_eq!((write.head.progress.leftovers, write.head.progress.windows), (2, 5));
        assert_eq!((write.head.counts.open, write.head.counts.failed), (5, 0));
    }

    #[test]
    fn what_a_worker_may_still_hold_keeps_its_lane_and_is_looked_at_after_its_lease() {
        let mut held = seen(30, WindowState::Claimed);
        held.window.lease_until = Some(later(200));
        let Completed { write, owed } = completed(drafted(vec![held], 3));
        assert_eq!(write.head.lanes(), 2);
        assert_eq!(owed[0].delay, Duration::from_secs(199) + limits().clock_margin);
        assert_eq!(owed.len(), 2);
    }

    #[test]
    fn a_run_that_was_terminated_or_suspended_while_it_planned_dispatches_nothing() {
        for status in [RuntimeStatus::Terminated, RuntimeStatus::Suspended] {
            let draft = drafted(vec![], 3);
            let Completed { write, owed } = draft.complete(&key(), Some(status), later(2), &limits());
            assert!(write.head.stop && owed.is_empty());
        }
    }

    #[test]
    fn sealed_leftovers_are_counted_and_never_pulled() {
        let mut failed = seen(20, WindowState::Failed);
        failed.window.seal = Some(crate::orchestration::head::testing::seal());
        let Completed { write, owed } = completed(drafted(vec![failed, seen(30, WindowState::Submitted)], 0));
        assert_eq!((write.head.counts.submitted, write.head.ready.len(), owed.len()), (2, 0, 1));
        assert!(matches!(owed[0].message, Message::Control(ControlMessage::Verify { .. })));
    }

    #[test]
    fn leftovers_that_the_source_no_longer_keeps_are_over_and_the_others_go_on() {
        let head = Head { plan: Some("old".into()), ..head(TableState::Planning) };
        let left =
            vec![seen(20, WindowState::Failed), seen(30, WindowState::Submitted), seen(40, WindowState::Planned)];
        let content = Content { found: survey(&head, left), planned: vec![], end: None };
        let draft = lay_out(&key(), &id(1), head, content, later(31 * 86_400), &limits()).unwrap();
        let Completed { write, .. } = completed(draft);
        let counts = write.head.counts;
        assert_eq!((counts.expired, counts.submitted, counts.failed, counts.open), (2, 1, 0, 0));
        let progress = write.head.progress;
        assert_eq!((progress.expired, progress.ended, progress.vanished_rows, progress.windows), (2, 2, 6, 3));
        let [WindowWrite::Swap(_, gone, 20), ..] = &write.windows[..] else { panic!("{:?}", write.windows) };
        assert_eq!((gone.state, gone.run.clone()), (WindowState::Expired, Some(id(1))));
    }

    #[test]
    fn leftovers_are_counted_for_the_whole_deadline_of_this_run() {
        let Completed { write, .. } = completed(drafted(vec![seen(30, WindowState::Submitted)], 0));
        let [WindowWrite::Swap(_, window, 30)] = &write.windows[..] else { panic!("{:?}", write.windows) };
        assert_eq!((window.counting_since, window.run.clone()), (Some(later(1)), Some(id(1))));
        assert_eq!(write.head.counts.submitted, 1);
    }

    #[test]
    fn a_run_without_windows_counts_those_again_that_were_posted_more_than_once() {
        let mut doubtful = seen(20, WindowState::Verified);
        doubtful.window.posts = 2;
        let Completed { write, owed } = completed(drafted(vec![doubtful.clone()], 0));
        assert_eq!((write.head.state, write.head.recount), (TableState::Running, Some(later(2))));
        assert!(matches!(&owed[..], [Debt { message: Message::Control(ControlMessage::Verify { .. }), .. }]));
        doubtful.window.settled = true;
        assert_eq!(completed(drafted(vec![doubtful], 0)).write.head.state, TableState::Finishing);
    }

    #[test]
    fn windows_that_no_range_tells_apart_come_with_the_transaction_that_makes_them_valid() {
        let old =
            Head { plan: Some("old".into()), planned_to: Timestamp::from_ticks(1_000), ..head(TableState::Planning) };
        let parts = (0..64)
            .map(|index| Piece { part: Part { index, count: 64 }, ..Piece::whole(Timestamp::MIN, Timestamp::MIN, 5) });
        let planned = windows_of(&old, pieces(50).into_iter().chain(parts).collect(), now()).unwrap();
        let content = Content { found: survey::<u64>(&old, vec![]), planned, end: Some(Timestamp::from_ticks(9_000)) };
        let draft = lay_out(&key(), &id(1), old.clone(), content, later(1), &limits()).unwrap();
        let inserted = |write: &WindowWrite<u64>| match write {
            WindowWrite::Insert(_, window) => window.clone(),
            other => panic!("{other:?}"),
        };
        for window in draft.batches.iter().flat_map(|batch| &batch.windows).map(inserted) {
            assert!(crate::orchestration::head::survey::is_draft(&old, &window), "{}", window.id);
        }
        let last = completed(draft).write.windows;
        assert!(last.len() < 100, "{}", last.len());
        assert_eq!(last.iter().map(inserted).filter(|window| window.id.is_null_axis()).count(), 64);
    }

    #[test]
    fn what_is_left_goes_on_where_nothing_new_can_be_planned() {
        let old = Head {
            plan: Some("old".into()),
            planned_to: Timestamp::from_ticks(1_000),
            plan_error: Some("no licence".into()),
            ..head(TableState::Planning)
        };
        let found = survey(&old, vec![seen(20, WindowState::Failed), seen(30, WindowState::Submitted)]);
        let content = Content { found, planned: vec![], end: None };
        let draft = lay_out(&key(), &id(1), old, content, later(1), &limits()).unwrap();
        let Completed { write, owed } = completed(draft);
        assert_eq!((write.head.state, write.head.plan.as_deref()), (TableState::Running, Some("old")));
        assert_eq!(write.head.planned_to, Timestamp::from_ticks(1_000));
        assert_eq!(write.head.plan_error.as_deref(), Some("no licence"));
        assert!(matches!(owed[0].message, Message::Chunk(_)), "{owed:?}");
        assert!(matches!(owed[1].message, Message::Control(ControlMessage::Verify { .. })), "{owed:?}");
    }

    #[test]
    fn a_plan_without_windows_finishes_the_table() {
        let Completed { write, owed } = completed(drafted(vec![], 0));
        assert_eq!((write.head.state, owed.len()), (TableState::Finishing, 0));
    }

    #[test]
    fn only_a_head_that_is_being_planned_can_be() {
        let running = head(TableState::Running);
        assert!(windows_of(&running, pieces(1), now()).is_err());
        let content = Content { found: survey::<u64>(&running, vec![]), planned: vec![], end: None };
        assert!(lay_out(&key(), &id(1), running, content, now(), &limits()).is_err());
    }

    #[test]
    fn a_first_plan_without_a_range_is_left_to_a_later_run() {
        let (ahead, planned) = (table().high + Duration::from_secs(1), Some("p".into()));
        let first = Head { planned_to: ahead, ..head(TableState::Planning) };
        assert_eq!(end(Scope::NewRange, &table(), &first), None);
        assert_eq!(end(Scope::NewRange, &table(), &Head { plan: planned, ..first.clone() }), Some(table().high));
        assert_eq!(end(Scope::NewRange, &table(), &head(TableState::Planning)), Some(table().high));
        assert_eq!(end(Scope::Leftovers, &table(), &head(TableState::Planning)), None);
    }

    #[test]
    fn a_full_table_is_loaded_once_and_its_leftovers_still_are() {
        let full = TableRun { config: TableConfig { load_type: Some(LoadType::Full), ..table().config }, ..table() };
        let by_python =
            TableRun { config: TableConfig { high_watermark: Some(now()), ..full.config.clone() }, ..full.clone() };
        let fresh = head(TableState::Planning);
        let loaded = Head { plan: Some("p".into()), ..fresh.clone() };
        assert_eq!(scope(&table(), &loaded, false), Scope::NewRange);
        assert_eq!(scope(&full, &fresh, false), Scope::NewRange);
        assert_eq!(scope(&full, &loaded, false), Scope::Leftovers);
        assert_eq!(scope(&by_python, &fresh, false), Scope::Nothing);
        assert_eq!(scope(&by_python, &loaded, true), Scope::Leftovers);
    }

    #[test]
    fn a_table_that_is_loaded_asks_for_more_while_a_second_copy_may_land() {
        let loaded = Head { plan: Some("p".into()), ..head(TableState::Planning) };
        let asks = |head: &Head, window: Seen<u64>, at| asks_for_more(head, &survey(head, vec![window]), at, &limits());
        let once = seen(20, WindowState::Verified);
        assert!(!asks(&loaded, once.clone(), later(1)));
        assert!(asks(&loaded, seen(20, WindowState::Failed), later(1)));
        let mut twice = once.clone();
        twice.window.posts = 2;
        let long_after = later(8 * 86_400);
        assert!(asks(&loaded, twice.clone(), later(1)) && asks(&loaded, twice.clone(), long_after));
        twice.window.settled = true;
        assert!(!asks(&loaded, twice, later(1)));
        let adopted = Head { adopted: Some(now()), ..loaded };
        assert!(asks(&adopted, once.clone(), later(1)) && !asks(&adopted, once, long_after));
    }

    #[test]
    fn the_range_that_the_python_app_copied_carries_its_predicate_even_in_a_later_plan() {
        let handover = Some(Handover { watermark: now(), refreshed: later(50) });
        let shape = Shape { row_format: RowFormat::Full, handover, ..shape() };
        let head = Head { shape: Some(shape), ..head(TableState::Planning) };
        let planned = |to| Head { plan: Some("p".into()), planned_to: to, ..head.clone() };
        assert!(is_handover(&head) && is_handover(&planned(now())));
        assert!(!is_handover(&planned(later(50))));
    }

    fn tried(attempt: u32) -> Tried {
        Tried { attempt, came_further: false, waited: Duration::ZERO }
    }

    #[test]
    fn a_pause_for_the_quota_is_no_attempt_and_one_that_came_further_is_the_first_again() {
        let attempt = |tried, pause| match retry(tried, pause, &limits()) {
            Retry::Later { attempt, .. } => Some(attempt),
            _ => None,
        };
        let quota = Pause::Quota(Duration::from_secs(9));
        assert_eq!(attempt(tried(PLAN_ATTEMPTS), quota), Some(PLAN_ATTEMPTS));
        assert_eq!(attempt(tried(0), Pause::Unknown), Some(1));
        assert_eq!(retry(tried(PLAN_ATTEMPTS - 1), Pause::Unknown, &limits()), Retry::GiveUp);
        let further = Tried { came_further: true, ..tried(PLAN_ATTEMPTS - 1) };
        assert_eq!((attempt(further, Pause::Unknown), attempt(further, quota)), (Some(1), Some(0)));
    }

    #[test]
    fn a_plan_that_comes_no_further_by_the_quota_is_not_put_off_for_ever() {
        let quota = Pause::Quota(Duration::from_secs(9));
        let waited = |waited| retry(Tried { waited, ..tried(0) }, quota, &limits());
        let longest = limits().put_off_longest();
        assert!(longest > limits().throttled_longest, "what a service says comes first");
        assert_eq!(waited(longest), Retry::Later { attempt: 0, pause: Duration::from_secs(9) });
        assert_eq!(waited(longest + Duration::from_secs(1)), Retry::WaitedTooLong);
        let further = Tried { came_further: true, waited: longest * 2, ..tried(0) };
        assert!(matches!(retry(further, quota, &limits()), Retry::Later { .. }));
    }

    #[test]
    fn a_service_is_left_alone_for_as_long_as_it_asked_within_reason() {
        let paused = |attempt, asked| match retry(tried(attempt), Pause::Asked(asked), &limits()) {
            Retry::Later { pause, .. } => pause,
            other => panic!("{other:?}"),
        };
        assert_eq!(paused(0, Duration::from_secs(90)), Duration::from_secs(90));
        assert_eq!(paused(2, Duration::from_secs(1)), limits().outage_pause(3), "an early attempt is no better");
        assert_eq!(paused(0, Duration::from_secs(1_000_000)), LONGEST_ASKED);
        let last = retry(tried(PLAN_ATTEMPTS - 1), Pause::Asked(Duration::from_secs(90)), &limits());
        assert_eq!(last, Retry::GiveUp, "what a service says does not make attempts endless");
    }
}
