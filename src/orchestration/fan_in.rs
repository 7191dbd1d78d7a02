//! How the end of a window moves the head of its table: counts, lanes, the next windows to hand out, and
//! the count that is due. The window and the head are stored in one transaction.

use super::IllegalTransition;
use super::ids::{TableKey, WindowName};
use super::ledger::{Head, HeadDebts, TableState, VerifyDue};
use super::limits::{Limits, READY_NAMES};
use super::message::{ControlMessage, Debt};
use super::window::{Window, WindowState};
use crate::timestamp::Timestamp;
use std::time::Duration;

/// Digits that a child's path has more than its parent's.
pub const CHILD_DIGITS: usize = 2;

/// How the handling of a chunk message ended.
#[derive(Debug, Clone, PartialEq)]
pub enum WindowEnd {
    /// Posted to ADX.
    Submitted,
    /// A complete answer without rows, as planned.
    Empty,
    /// Replaced by these windows.
    Split(Vec<(WindowName, Window)>),
    /// The source no longer holds its range.
    Expired(String),
    /// Given up for this run.
    Failed(String),
    /// The same, for a reason that is not its own: other windows of the table would meet it, too.
    Refused(String),
}

/// The records after a window's end, for one transaction.
#[derive(Debug, Clone, PartialEq)]
pub struct Ended {
    /// The head.
    pub head: Head,
    /// The window, with its debts.
    pub window: Window,
    /// New windows.
    pub children: Vec<(WindowName, Window)>,
}

/// Ends the window of that name.
///
/// # Errors
/// [`IllegalTransition`]: only a sealed window can be submitted (or have failed after its seal), and only a
/// claimed one can be empty, split, expired or fail before it.
pub fn end(
    table: &TableKey,
    name: &WindowName,
    head: &Head,
    window: &Window,
    how: WindowEnd,
    now: Timestamp,
    limits: &Limits,
) -> Result<Ended, IllegalTransition> {
    let (state, error) = match &how {
        WindowEnd::Submitted => (WindowState::Submitted, None),
        WindowEnd::Empty => (WindowState::Empty, None),
        WindowEnd::Split(_) => (WindowState::Split, None),
        WindowEnd::Expired(reason) => (WindowState::Expired, Some(reason.clone())),
        WindowEnd::Failed(reason) | WindowEnd::Refused(reason) => (WindowState::Failed, Some(reason.clone())),
    };
    let allowed = match state {
        WindowState::Submitted => window.state == WindowState::Sealed,
        WindowState::Failed => {
            matches!(window.state, WindowState::Claimed | WindowState::Sealed | WindowState::Planned)
        }
        _ => window.state == WindowState::Claimed,
    };
    if !allowed {
        return Err(IllegalTransition {
            what: format!("window {}", window.id),
            event: "end",
            state: format!("{:?}", window.state),
        });
    }

    let mut head = Head { updated: now, moved: now, ..head.clone() };
    let mut window =
        Window { updated: now, lease_until: None, error: error.or(window.error.clone()), ..window.clone() };
    head.counts.moved(window.state, state);
    // Only what was handed out has a lane to give back; a message of before may end what is to be handed out yet.
    head.out.retain(|out| out != name);
    head.ready.retain(|ready| ready != name);
    head.progress.ended += 1;
    head.progress.unanswered = unanswered(&head, &window, &how);
    head.progress.refused = refused(&head, &how);
    head.progress.calls += std::mem::take(&mut window.calls);
    window.state = state;
    // One that was never claimed ends in the run that handed it out.
    window.run = window.run.or_else(|| head.run.clone());
    // Whoever had claimed it, its end counts for the run that holds the table now.
    window.tenure = head.tenure;

    let mut children = Vec::new();
    match how {
        WindowEnd::Submitted => {
            window.counting_since = Some(now);
            if let Some(seal) = &window.seal {
                head.progress.posted_rows += seal.rows;
                if window.difference.is_none() {
                    head.progress.vanished_rows += window.planned_rows.saturating_sub(seal.rows);
                }
                head.progress.bytes += seal.raw_bytes;
            }
        }
        WindowEnd::Split(parts) => {
            let planned = parts.iter().filter(|(_, child)| child.state == WindowState::Planned).count() as u64;
            head.counts.open += planned;
            head.counts.empty += parts.len() as u64 - planned;
            head.progress.windows = (head.progress.windows + planned).saturating_sub(1);
            hand_out_children(&mut head, &parts);
            children = parts;
        }
        WindowEnd::Failed(_) | WindowEnd::Refused(_) => {
            window.failures += 1;
            head.progress.failed += 1;
            head.progress.refuted += u64::from(window.seal.is_some());
        }
        WindowEnd::Expired(_) => {
            head.progress.expired += 1;
            head.progress.vanished_rows += window.planned_rows;
        }
        WindowEnd::Empty => head.progress.empty += 1,
    }

    let mut owed: Vec<Debt> = fill_lanes(&mut head, limits).into_iter().map(|name| Debt::chunk(table, name)).collect();
    owed.extend(owe_verify(table, &mut head, now, limits));
    if mutated!(DebtInHead) {
        head.owed_plan =
            Some(HeadDebts { step: name.as_str().to_owned(), by: None, messages: std::mem::take(&mut owed) });
    }
    window.owed = owed;
    Ok(Ended { head, window, children })
}

/// How many windows were divided without an answer between them, with this end.
fn unanswered(head: &Head, window: &Window, how: &WindowEnd) -> u64 {
    let so_far = head.progress.unanswered;
    match how {
        WindowEnd::Split(parts) => so_far + u64::from(parts.iter().any(|(_, part)| part.splits > window.splits)),
        WindowEnd::Submitted | WindowEnd::Empty | WindowEnd::Expired(_) => 0,
        WindowEnd::Failed(_) | WindowEnd::Refused(_) => so_far,
    }
}

/// How many windows were refused one after the other without an answer between them, with this end.
fn refused(head: &Head, how: &WindowEnd) -> u64 {
    match how {
        WindowEnd::Refused(_) => head.progress.refused + 1,
        WindowEnd::Submitted | WindowEnd::Empty | WindowEnd::Expired(_) => 0,
        WindowEnd::Split(_) | WindowEnd::Failed(_) => head.progress.refused,
    }
}

/// Children go first. Nothing but they lies between their parent and the last of them, so a cursor that stood at
/// their parent moves on: it would hand them out a second time.
fn hand_out_children(head: &mut Head, children: &[(WindowName, Window)]) {
    let mut planned: Vec<WindowName> = Vec::with_capacity(children.len());
    planned
        .extend(children.iter().filter(|(_, child)| child.state == WindowState::Planned).map(|child| child.0.clone()));
    planned.truncate(planned.len().saturating_sub(usize::from(mutated!(ChildForgotten))));
    head.ready.splice(0..0, planned);
    let (Some((first, _)), Some((last, _))) = (children.first(), children.last()) else { return };
    // A child's path is its parent's and two more digits; the first child starts where its parent does.
    let is_parent = |cursor: &WindowName| {
        first.as_str().strip_prefix(cursor.as_str()).is_some_and(|rest| rest.len() == CHILD_DIGITS)
    };
    if head.cursor.as_ref().is_some_and(is_parent) {
        head.cursor = Some(last.clone());
    }
}

/// Keeps the names of planned windows ready, those that `failed` in an earlier run first, then the others in order: as many as
/// the head holds. The rest lie behind its cursor.
pub fn make_ready(head: &mut Head, mut failed: Vec<WindowName>, mut others: Vec<WindowName>) {
    failed.sort();
    others.sort();
    head.more = failed.len() + others.len() > READY_NAMES;
    failed.truncate(READY_NAMES);
    others.truncate(READY_NAMES - failed.len());
    head.cursor = others.last().cloned();
    failed.append(&mut others);
    head.ready = failed;
}

/// Hands out ready windows while lanes are free. Until one window of the destination has been proved, no more
/// than the lanes' worth is handed out, those that failed after their post included, so that a wrong mapping costs little. So it
/// is until one is answered where others were refused: a permission that is gone costs a call in each lane.
pub fn fill_lanes(head: &mut Head, limits: &Limits) -> Vec<WindowName> {
    let mut names = Vec::new();
    if head.stop || head.state != TableState::Running {
        return names;
    }
    let closed = closed_lanes(head);
    while head.lanes() as u64 + closed < u64::from(limits.lanes) && !head.ready.is_empty() {
        let name = head.ready.remove(0);
        head.out.push(name.clone());
        names.push(name);
    }
    names
}

/// Windows that were posted and may be wrong, as none is proved yet.
fn unproved(head: &Head) -> u64 {
    if head.counts.verified == 0 { head.counts.submitted + head.progress.refuted } else { 0 }
}

/// Lanes in which nothing is handed out for now.
fn closed_lanes(head: &Head) -> u64 {
    unproved(head) + head.progress.refused
}

/// Whether nothing more is to be expected of this run: all windows have ended, or the lanes' worth was refused, or posted and none
/// of it could be proved, so that what is still planned is for a run after the cause is mended.
pub fn is_over(head: &Head, limits: &Limits) -> bool {
    head.is_through() || is_shut(head, limits)
}

fn is_shut(head: &Head, limits: &Limits) -> bool {
    head.out.is_empty() && head.counts.submitted == 0 && closed_lanes(head) >= u64::from(limits.lanes)
}

/// Whether the names kept ready are running out although more windows are planned.
pub fn wants_names(head: &Head, limits: &Limits) -> bool {
    head.more && head.ready.len() < limits.lanes as usize
}

/// Takes the names of planned windows from the next stretch of the ledger behind the cursor; `more` says whether
/// another one follows.
pub fn take_names(head: &mut Head, stretch: impl IntoIterator<Item = (WindowName, WindowState)>, more: bool) {
    head.more = more;
    for (name, state) in stretch {
        if head.ready.len() >= READY_NAMES {
            head.more = true;
            break;
        }
        head.cursor = Some(name.clone());
        if state == WindowState::Planned && !head.ready.contains(&name) && !head.out.contains(&name) {
            head.ready.push(name);
        }
    }
}

/// A window that is planned again is the next to be handed out; one that lies behind the cursor is found there.
pub fn put_back(head: &mut Head, name: WindowName) {
    if !head.more || head.cursor.as_ref().is_some_and(|cursor| name <= *cursor) {
        head.ready.insert(0, name);
    }
}

/// Starts the count when the first window is submitted or nothing is left open; starts it afresh when the last
/// one is submitted.
fn owe_verify(table: &TableKey, head: &mut Head, now: Timestamp, limits: &Limits) -> Option<Debt> {
    if head.state != TableState::Running {
        return None;
    }
    let last = (head.counts.open == 0 || is_shut(head, limits))
        && !(mutated!(NoCountWhenAllFail) && head.counts.submitted == 0);
    let first = head.verify.is_none() && (head.counts.submitted > 0 || last);
    (first || last).then(|| schedule_verify(table, head, limits.verify_first, now))
}

/// Hands out what a table whose windows are all laid out begins with, beside the messages `held` of windows that workers
/// may still be at: as many planned windows as lanes are free, and the count if there is something to count; or its end. The
/// head keeps the debts of `step`.
pub fn begin(
    table: &TableKey,
    head: &mut Head,
    step: String,
    held: Vec<Debt>,
    now: Timestamp,
    limits: &Limits,
) -> Vec<Debt> {
    let mut owed = held;
    owed.extend(fill_lanes(head, limits).into_iter().map(|name| Debt::chunk(table, name)));
    if is_over(head, limits) {
        head.state = TableState::Finishing;
    } else if head.counts.submitted > 0 || head.recount.is_some() {
        owed.push(schedule_verify(table, head, limits.verify_first, now));
    }
    head.owed_plan = Some(HeadDebts { step, by: None, messages: owed.clone() });
    owed
}

/// Sets the next count `pause` from now and gives its message.
pub fn schedule_verify(table: &TableKey, head: &mut Head, pause: Duration, now: Timestamp) -> Debt {
    head.verify_number += 1;
    let pause = if head.is_through() { Duration::ZERO } else { pause };
    head.verify = Some(VerifyDue {
        number: head.verify_number,
        at: now + pause,
        pause_ms: u64::try_from(pause.as_millis()).unwrap_or(u64::MAX),
    });
    Debt::control(ControlMessage::Verify { table: table.clone(), number: head.verify_number }, pause)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::orchestration::ids::{InstanceId, LedgerId, Part, WindowId};
    use crate::orchestration::message::Message;
    use crate::orchestration::window::Seal;

    fn key() -> TableKey {
        TableKey::new("t", "s", "c", "d", "x")
    }

    fn now() -> Timestamp {
        "2026-05-01T00:00:00Z".parse().unwrap()
    }

    fn window(low: u64, state: WindowState) -> Window {
        let id = WindowId {
            ledger: LedgerId(1),
            low: Timestamp::from_ticks(low),
            high: Timestamp::from_ticks(low + 10),
            part: Part::WHOLE,
            generation: 0,
            repair: 0,
        };
        let seal = Seal {
            blob: "b".into(),
            rows: 3,
            raw_bytes: 30,
            compressed_bytes: 9,
            longest_row_bytes: 10,
            sha256: String::new(),
        };
        Window { state, seal: Some(seal), ..Window::planned(id, "p", false, 3, now()) }
    }

    fn name(low: u64) -> WindowName {
        WindowName::new(Timestamp::from_ticks(low), "0")
    }

    /// A running table; the window at 10 is out, and as many others as lanes are taken besides.
    fn head(open: u64, lanes: u64, ready: &[u64]) -> Head {
        let mut head = Head::new(LedgerId(1), "s", "x", "Timestamp", now());
        head.state = TableState::Running;
        head.run = Some(InstanceId::from_bits(1));
        head.counts.open = open;
        head.out = (0..lanes).map(|lane| name(10 + 1_000 * lane)).collect();
        head.ready = ready.iter().map(|low| name(*low)).collect();
        head
    }

    fn chunks(owed: &[Debt]) -> usize {
        owed.iter().filter(|d| matches!(d.message, Message::Chunk(_))).count()
    }

    fn verifies(owed: &[Debt]) -> usize {
        owed.len() - chunks(owed)
    }

    #[test]
    fn an_end_hands_its_lane_to_the_next_window() {
        let mut before = head(3, 1, &[20, 30]);
        before.counts.verified = 1;
        let limits = Limits { lanes: 1, ..Limits::scaled(1.0) };
        let ended =
            end(&key(), &name(10), &before, &window(10, WindowState::Sealed), WindowEnd::Submitted, now(), &limits)
                .unwrap();
        assert_eq!((ended.head.out, ended.head.ready), (vec![name(20)], vec![name(30)]));
        assert_eq!((ended.head.counts.open, ended.head.counts.submitted), (2, 1));
        assert_eq!((chunks(&ended.window.owed), verifies(&ended.window.owed)), (1, 1));
    }

    #[test]
    fn a_window_that_fails_before_anybody_claimed_it_belongs_to_the_run_that_handed_it_out() {
        let ended = |window: Window| {
            let failed = WindowEnd::Failed("x".into());
            let head = Head { tenure: 4, ..head(1, 1, &[]) };
            let ended = end(&key(), &name(10), &head, &window, failed, now(), &Limits::scaled(1.0)).unwrap();
            (ended.window.run, ended.window.tenure)
        };
        assert_eq!(ended(window(10, WindowState::Planned)), (Some(InstanceId::from_bits(1)), 4));
        let claimed = Window { run: Some(InstanceId::from_bits(9)), tenure: 3, ..window(10, WindowState::Claimed) };
        assert_eq!(ended(claimed), (Some(InstanceId::from_bits(9)), 4), "it counts for who holds the table now");
    }

    #[test]
    fn a_failed_window_hands_its_lane_on_too() {
        let before = head(2, 1, &[20]);
        let limits = Limits::scaled(1.0);
        let ended = end(
            &key(),
            &name(10),
            &before,
            &window(10, WindowState::Claimed),
            WindowEnd::Failed("x".into()),
            now(),
            &limits,
        )
        .unwrap();
        assert_eq!((chunks(&ended.window.owed), ended.head.counts.failed), (1, 1));
    }

    #[test]
    fn the_last_end_owes_a_count_even_when_all_windows_failed() {
        let ended = end(
            &key(),
            &name(10),
            &head(1, 1, &[]),
            &window(10, WindowState::Claimed),
            WindowEnd::Failed("x".into()),
            now(),
            &Limits::scaled(1.0),
        )
        .unwrap();
        assert!(ended.head.is_through());
        assert_eq!(verifies(&ended.window.owed), 1);
    }

    #[test]
    fn nothing_beyond_the_lanes_is_handed_out_before_the_first_proof() {
        let mut before = head(3, 2, &[20, 30]);
        before.counts.submitted = 0;
        let limits = Limits { lanes: 2, ..Limits::scaled(1.0) };
        let ended =
            end(&key(), &name(10), &before, &window(10, WindowState::Sealed), WindowEnd::Submitted, now(), &limits)
                .unwrap();
        assert_eq!(chunks(&ended.window.owed), 0);
        let mut proved = ended.head;
        proved.counts.moved(WindowState::Submitted, WindowState::Verified);
        assert_eq!(fill_lanes(&mut proved, &limits).len(), 1);
    }

    #[test]
    fn windows_that_failed_after_their_post_open_no_lane_before_the_first_proof() {
        let limits = Limits { lanes: 2, ..Limits::scaled(1.0) };
        let mut before = head(5, 0, &[20, 30, 40, 50, 60]);
        before.progress.refuted = 1;
        assert_eq!(fill_lanes(&mut before, &limits).len(), 1);
        assert!(!is_over(&before, &limits), "one is under way");
        before.progress.refuted = 2;
        before.out.clear();
        assert_eq!(fill_lanes(&mut before, &limits).len(), 0);
        assert!(is_over(&before, &limits));
        before.counts.verified = 1;
        assert!(!is_over(&before, &limits));
        assert_eq!(fill_lanes(&mut before, &limits).len(), 2);
    }

    #[test]
    fn what_is_refused_closes_its_lane_until_another_window_is_answered() {
        let limits = Limits { lanes: 2, ..Limits::scaled(1.0) };
        let end = |before: &Head, low, state, how| {
            end(&key(), &name(low), before, &window(low, state), how, now(), &limits).unwrap()
        };
        let mut before = head(5, 2, &[20, 30, 40]);
        before.counts.verified = 1;
        before.out = vec![name(10), name(15)];
        let refused = || WindowEnd::Refused("no permission".into());
        let first = end(&before, 10, WindowState::Claimed, refused());
        assert_eq!((chunks(&first.window.owed), first.window.state), (0, WindowState::Failed));
        let second = end(&first.head, 15, WindowState::Claimed, refused());
        assert!(is_over(&second.head, &limits), "each lane has tried");
        assert_eq!((chunks(&second.window.owed), verifies(&second.window.owed), second.head.counts.open), (0, 1, 3));
        let answered = end(&first.head, 15, WindowState::Claimed, WindowEnd::Empty);
        assert_eq!((chunks(&answered.window.owed), answered.head.progress.refused), (2, 0));
    }

    #[test]
    fn the_last_window_that_fails_after_its_seal_owes_the_count_that_ends_the_table() {
        let limits = Limits { lanes: 1, ..Limits::scaled(1.0) };
        let failed = WindowEnd::Failed("x".into());
        let ended =
            end(&key(), &name(10), &head(3, 1, &[20, 30]), &window(10, WindowState::Sealed), failed, now(), &limits)
                .unwrap();
        assert_eq!((chunks(&ended.window.owed), verifies(&ended.window.owed)), (0, 1));
    }

    #[test]
    fn children_of_a_split_go_first_and_are_counted() {
        let child =
            |low, path: &str| (WindowName::new(Timestamp::from_ticks(low), path), window(low, WindowState::Planned));
        let split = WindowEnd::Split(vec![child(10, "00"), child(15, "01")]);
        let limits = Limits { lanes: 1, ..Limits::scaled(1.0) };
        let ended =
            end(&key(), &name(10), &head(2, 1, &[20]), &window(10, WindowState::Claimed), split, now(), &limits)
                .unwrap();
        assert_eq!((ended.head.counts.open, ended.head.counts.split), (3, 1));
        assert_eq!(ended.head.ready.first().map(WindowName::path), Some("01"));
        assert_eq!(ended.window.owed[0], Debt::chunk(&key(), WindowName::new(Timestamp::from_ticks(10), "00")));
    }

    #[test]
    fn children_at_the_cursor_are_not_handed_out_twice() {
        let child =
            |low, path: &str| (WindowName::new(Timestamp::from_ticks(low), path), window(low, WindowState::Planned));
        let limits = Limits { lanes: 1, ..Limits::scaled(1.0) };
        let mut before = head(9, 1, &[]);
        before.more = true;
        before.cursor = Some(WindowName::new(Timestamp::from_ticks(10), "0"));
        let split = WindowEnd::Split(vec![child(10, "000"), child(15, "001")]);
        let mut after =
            end(&key(), &name(10), &before, &window(10, WindowState::Claimed), split, now(), &limits).unwrap().head;
        assert_eq!(after.cursor, Some(child(15, "001").0));
        let behind = WindowName::new(Timestamp::from_ticks(20), "0");
        take_names(&mut after, [(behind.clone(), WindowState::Planned)], false);
        assert_eq!((after.ready, after.more), (vec![child(15, "001").0, behind], false));
    }

    #[test]
    fn names_are_taken_until_enough_are_ready() {
        let mut before = head(200, 0, &[]);
        let state = |n: u64| if n.is_multiple_of(2) { WindowState::Planned } else { WindowState::Verified };
        take_names(&mut before, (0..200).map(|n| (name(n), state(n))), false);
        assert_eq!((before.ready.len(), before.more), (READY_NAMES, true));
        assert_eq!(before.cursor, Some(name(2 * READY_NAMES as u64 - 2)));
    }

    #[test]
    fn a_window_behind_the_cursor_is_found_there() {
        let mut listed = head(9, 0, &[]);
        listed.cursor = Some(name(50));
        listed.more = true;
        put_back(&mut listed, name(60));
        assert!(listed.ready.is_empty());
        put_back(&mut listed, name(40));
        assert_eq!(listed.ready, [name(40)]);
    }

    #[test]
    fn a_window_that_was_never_handed_out_gives_no_lane_back_and_takes_none_later() {
        let limits = Limits { lanes: 2, ..Limits::scaled(1.0) };
        let mut before = head(4, 2, &[20, 30]);
        before.counts.verified = 1;
        let failed = WindowEnd::Failed("a message of before".into());
        let ended = end(&key(), &name(20), &before, &window(20, WindowState::Claimed), failed, now(), &limits).unwrap();
        assert_eq!(ended.head.out, before.out);
        assert_eq!((ended.head.ready, chunks(&ended.window.owed)), (vec![name(30)], 0));
    }

    #[test]
    fn a_window_that_is_out_is_not_made_ready_again() {
        let mut before = head(2, 1, &[]);
        before.more = true;
        take_names(&mut before, [(name(10), WindowState::Planned), (name(20), WindowState::Planned)], false);
        assert_eq!(before.ready, [name(20)]);
    }

    #[test]
    fn nothing_is_handed_out_once_the_run_is_to_stop() {
        let mut before = head(2, 1, &[20]);
        before.stop = true;
        let ended = end(
            &key(),
            &name(10),
            &before,
            &window(10, WindowState::Sealed),
            WindowEnd::Submitted,
            now(),
            &Limits::scaled(1.0),
        )
        .unwrap();
        assert_eq!((chunks(&ended.window.owed), verifies(&ended.window.owed)), (0, 1));
    }

    #[test]
    fn a_window_cannot_be_submitted_before_its_seal_or_split_after_it() {
        let limits = Limits::scaled(1.0);
        let before = head(1, 1, &[]);
        assert!(
            end(&key(), &name(10), &before, &window(10, WindowState::Claimed), WindowEnd::Submitted, now(), &limits)
                .is_err()
        );
        assert!(
            end(&key(), &name(10), &before, &window(10, WindowState::Sealed), WindowEnd::Split(vec![]), now(), &limits)
                .is_err()
        );
        assert!(
            end(&key(), &name(10), &before, &window(10, WindowState::Verified), WindowEnd::Empty, now(), &limits)
                .is_err()
        );
    }
}
