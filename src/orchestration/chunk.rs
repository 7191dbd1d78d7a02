//! The events of a chunk message: what it finds, what the pull of its window came to, and what follows. The worker only
//! asks, streams and stores.

use super::IllegalTransition;
use super::adoption::watch::is_posted;
use super::fan_in::WindowEnd;
use super::ids::{TableKey, WindowId, WindowName};
use super::ledger::{Head, Shape, TableState};
use super::limits::{Limits, ROW_CAP, SOURCE_KEPT};
use super::message::Debt;
use super::window::{Claim, Window, WindowState};
use crate::timestamp::Timestamp;
use std::time::Duration;

mod split;
#[cfg(test)]
mod tests;

pub use split::{Reason, Split, aim, divided, futile, too_much_already};

/// A delivery of a chunk message.
#[derive(Debug, Clone, Copy)]
pub struct Delivery<'a> {
    /// The message's id, the same in every delivery.
    pub message: &'a str,
    /// Which delivery it is, from 1.
    pub number: u32,
    /// Its turn, if it went back for its window before.
    pub turn: Option<u32>,
    /// The message whose lease it has waited for, if it did.
    pub behind: Option<&'a str>,
    /// The permit that it has for its call, if no other may have used it ([`Window::unused`]).
    pub permit: Option<Timestamp>,
    /// Whether it waits better on its queue: its permit is void, and the next one is far off.
    pub comes_too_early: bool,
}

/// What a chunk message finds.
#[derive(Debug, Clone, PartialEq)]
pub enum Received {
    /// The table is being planned: the plan sends its windows.
    BeingPlanned,
    /// No run drives the table: nothing of it is claimed.
    Held,
    /// Send these.
    Pay(Vec<Debt>),
    /// It was sealed and its worker is gone: end it, the count knows when it may be posted again.
    Recover(Box<Window>),
    /// Swap the window to this, then pull it.
    Claim(Box<Window>),
    /// Swap the window to this, then send what it owes.
    GoBack(Box<Window>),
}

/// Whether the window can be claimed, as far as these records tell. They may be old: the swap of the claim decides.
pub fn may_claim(head: &Head, window: &Window) -> bool {
    head.state == TableState::Running && !head.stop && window.state == WindowState::Planned
}

/// Whether what was pulled of a window may be sealed: not while the table is stopped or held. Sealed, it would go on to be
/// ingested.
pub fn may_seal(head: &Head) -> bool {
    !head.stop
}

/// The claim of a window that is not sealed any more goes back. Its message ends without effect as long as the table takes no
/// claims, and finds the window should it go on by then.
pub fn not_sealed() -> Later {
    Later {
        error: "the run was stopped or held before the window was sealed".to_owned(),
        own_fault: false,
        pause: None,
        before: None,
    }
}

/// Decides on a chunk message.
pub fn receive(
    table: &TableKey,
    name: &WindowName,
    head: &Head,
    window: &Window,
    delivery: Delivery<'_>,
    now: Timestamp,
    limits: &Limits,
) -> Received {
    if head.state == TableState::Planning {
        return Received::BeingPlanned;
    }
    let Some(run) = head.run.as_ref().filter(|_| head.state == TableState::Running && !head.stop) else {
        return recover_only(window, delivery, now);
    };
    match window.claim(delivery.message, delivery.number, run, now, limits) {
        Claim::Ended(owed) => Received::Pay(owed),
        Claim::HeldUntil(_) if is_overtaken(window, delivery) || is_one_of_many(window, delivery) => {
            Received::Pay(Vec::new())
        }
        Claim::HeldUntil(at) => {
            let again = Debt::chunk_later(table, name.clone(), at.since(now)).in_turn(delivery.turn);
            Received::Pay(vec![again.behind(window.owner.as_deref())])
        }
        Claim::Recover(owned) => Received::Recover(owned),
        // A claim of its own that comes back is taken over at once: no other message may.
        Claim::Claimed(_) if window.state == WindowState::Planned && delivery.comes_too_early => {
            go_back(table, name, window, delivery, now)
        }
        Claim::Claimed(claimed) => {
            let permit = delivery.permit.or(claimed.permit);
            Received::Claim(Box::new(Window { tenure: head.tenure, permit, ..*claimed }))
        }
    }
}

/// Whether another copy of the message went back later: that one has taken its place.
fn is_overtaken(window: &Window, delivery: Delivery<'_>) -> bool {
    delivery.turn.is_some_and(|turn| turn < window.turn)
}

/// Whether another message than the one that it has waited for has the window now: that one comes again if its worker dies, so this
/// one is not needed. Of all copies that wait for a lease one stays, else they would multiply for as long as workers die.
fn is_one_of_many(window: &Window, delivery: Delivery<'_>) -> bool {
    let owner = window.owner.as_deref();
    delivery.behind.is_some_and(|behind| owner.is_some_and(|owner| owner != behind && owner != delivery.message))
}

/// A planned window's message waits on its queue. That is on record before it is sent, so that of all copies of a message only one
/// goes on: each would be copied again on its way, and they would multiply for as long as the calls wait.
fn go_back(table: &TableKey, name: &WindowName, window: &Window, delivery: Delivery<'_>, now: Timestamp) -> Received {
    if window.owner.as_deref() == Some(delivery.message) && !window.owed.is_empty() {
        return Received::Pay(window.owed.clone());
    }
    if is_overtaken(window, delivery) {
        return Received::Pay(Vec::new());
    }
    let (owner, delivery) = (Some(delivery.message.to_owned()), delivery.number);
    let window = Window { owner, delivery, updated: now, ..window.clone() };
    Received::GoBack(Box::new(sent_back(window, Debt::chunk(table, name.clone()))))
}

/// The window whose message goes back as `again`, with its turn.
fn sent_back(window: Window, again: Debt) -> Window {
    let turn = window.turn.saturating_add(1);
    Window { turn, owed: vec![again.in_turn(Some(turn))], ..window }
}

/// What is still right when no run drives the table: paying debts of its own and handing over what is sealed.
fn recover_only(window: &Window, delivery: Delivery<'_>, now: Timestamp) -> Received {
    let over = window.lease_until.is_none_or(|until| now > until);
    match window.state {
        WindowState::Sealed if over => Received::Recover(Box::new(window.recovered(delivery.message, delivery.number))),
        WindowState::Planned | WindowState::Claimed | WindowState::Sealed => Received::Held,
        _ => Received::Pay(window.owed_by(delivery.message)),
    }
}

/// A complete answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Answer {
    /// Its rows.
    pub rows: u64,
    /// Those of them that the destination does not hold; all, where no difference is made.
    pub new: u64,
    /// The longest of these.
    pub longest_row_bytes: u64,
    /// What the source counts in the window.
    pub counted: Counted,
}

/// A count of a window at its source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Counted {
    /// It was not asked for.
    NotYet,
    /// The answer held no number.
    Nothing,
    /// So many rows.
    Rows(u64),
}

/// What an answer is judged by besides its window.
#[derive(Debug, Clone, Copy)]
pub struct Terms<'a> {
    /// The source table.
    pub source: &'a str,
    /// The destination table.
    pub destination: &'a str,
    /// Whether rows that would land as null are refused.
    pub oversize_fails: bool,
    /// The bytes of the largest row that lands as itself.
    pub largest_cell: u64,
    /// Whether the table is copied whole: its rows may go at any time.
    pub is_whole: bool,
    /// The time.
    pub now: Timestamp,
}

/// What becomes of an answer.
#[derive(Debug, Clone, PartialEq)]
pub enum Judged {
    /// Fewer rows than planned: count at the source, then judge again.
    Count,
    /// Commit the blob and seal the window.
    Store,
    /// It is not sealed.
    Next(Next),
}

/// What a pull met.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Met {
    /// The answer was cut by the cap of rows, or did not come in time: a smaller window may do.
    TooMuch(String),
    /// The service refused the answer for its size: windows by the weight of its rows will do.
    TooLarge(String),
    /// The answer broke on its way, or went on beyond what is ever read: worth another attempt, and a smaller window after that.
    Broken(String),
    /// The tenant's quota is used up, or the service asked for a pause.
    Quota(String),
    /// The tenant's budget could not be had from the state store.
    Budget(String),
    /// The service was out of order; it may have said for how long.
    Unavailable(String, Option<Duration>),
    /// Another window has to be over first, and will be.
    Waits(Wait),
    /// Another attempt would be refused, too, and so would other windows of the table.
    Refused(String),
    /// Nothing can come of this window in this run.
    Hopeless(String),
}

/// What a window waits for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wait {
    /// Why.
    pub why: String,
    /// Until when it is looked at again.
    pub pause: Duration,
    /// The other window, where nobody has it in hand: its turn may come only once this one's lane is free.
    pub before: Option<WindowName>,
}

/// What a window meets whose rows are to be compared with those of `other`, which is not over: as long as that is alive it waits,
/// however long that takes.
pub fn not_yet(
    head: &Head,
    window: &Window,
    (name, other): (&WindowName, &Window),
    now: Timestamp,
    limits: &Limits,
) -> Met {
    let why = format!("window {} has rows of the same range and is not proved yet", other.id);
    if other.state == WindowState::Failed {
        let error = other.error.as_deref().unwrap_or_default();
        return Met::Hopeless(format!("{why}: it failed in this run ({error}). The next run goes on with both"));
    }
    // Nothing waits for each other: one that was not posted waits for those of before alone.
    if other.id.repair >= window.id.repair && !is_posted(other) {
        return Met::Unavailable(why, None);
    }
    let in_hand =
        other.state != WindowState::Planned || head.out.contains(name) || comes_back(other, name, now, limits);
    let pause = limits.retry_pause(window.turn).min(limits.verify_longest);
    Met::Waits(Wait { why, pause, before: (!in_hand).then(|| name.clone()) })
}

/// Whether a planned window waits for a message of its own, which went back for a pause. Any other would be an attempt before that is
/// over, and those are numbered.
pub fn comes_back(window: &Window, name: &WindowName, now: Timestamp, limits: &Limits) -> bool {
    let own = window.owed.iter().filter(|debt| debt.is_about(name));
    own.map(|debt| window.updated + debt.delay).max().is_some_and(|due| now < due + limits.clock_margin)
}

/// What follows a pull that came to no seal.
#[derive(Debug, Clone, PartialEq)]
pub enum Next {
    /// Cut the window by another histogram; [`divided`] decides then.
    Split(Reason),
    /// It is over with this.
    Over(Over),
}

/// How a pull without a seal is over.
#[derive(Debug, Clone, PartialEq)]
pub enum Over {
    /// The window has ended.
    End(WindowEnd),
    /// It is worth another attempt.
    Later(Later),
}

/// Another attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Later {
    /// Why.
    pub error: String,
    /// Whether this attempt counts.
    pub own_fault: bool,
    /// When, if that is known. Zero for the quota: the message gets a permit, which has the time.
    pub pause: Option<Duration>,
    /// Another window that has to be over first, and whose message is sent beside this one's.
    pub before: Option<WindowName>,
}

/// How a window ends that is a part by a hash which nobody can ask for any more.
pub fn cannot_be_asked_for(window: &Window, shape: &Shape) -> Option<Over> {
    let WindowId { low, high, .. } = window.id;
    shape.has_lost_the_part(window).then(|| {
        Over::End(WindowEnd::Failed(format!(
            "window {} is a part of the rows of ({low}, {high}] by a hash of columns of which one is gone or has another type since, so \
             its {} rows can no longer be told from the others. The next run asks for all of that range, and copies what is not there",
            window.id,
            window.expected_rows()
        )))
    })
}

/// Judges a complete answer.
pub fn judge(window: &Window, answer: Answer, terms: Terms<'_>) -> Judged {
    let end = |end| Judged::Next(Next::Over(Over::End(end)));
    let Answer { rows, new, longest_row_bytes, counted } = answer;
    let expected = window.expected_rows();
    if rows >= ROW_CAP {
        let reason = format!("the answer has {rows} rows and was cut at the API's cap");
        return Judged::Next(after(window, Met::TooMuch(reason)));
    }
    if rows < expected {
        let said = match counted {
            Counted::NotYet => return Judged::Count,
            Counted::Rows(counted) if counted <= rows => None,
            Counted::Rows(counted) => Some(counted.to_string()),
            Counted::Nothing => Some("no number".to_owned()),
        };
        if let Some(said) = said {
            let reason = format!("the answer has {rows} rows, the source counts {said}");
            return Judged::Next(after(window, Met::Broken(reason)));
        }
    }
    // That it has changed is said when all of a snapshot is there.
    if rows == 0 && (expected == 0 || terms.is_whole) {
        return end(WindowEnd::Empty);
    }
    if rows == 0 && !may_be_gone(window, terms.now) {
        let reason = format!(
            "the source shows none of the {expected} rows that were planned, and they are not old enough to have left it: has \
             the app lost the right to see them?"
        );
        return Judged::Next(after(window, Met::Unavailable(reason, None)));
    }
    if rows == 0 {
        return end(WindowEnd::Expired(format!(
            "{expected} rows were planned in ({}, {}], and the source no longer shows any of them",
            window.id.low, window.id.high
        )));
    }
    if new == 0 {
        return end(WindowEnd::Empty);
    }
    if longest_row_bytes > terms.largest_cell && terms.oversize_fails {
        let Terms { source, destination, largest_cell, .. } = terms;
        return end(WindowEnd::Failed(format!(
            "window {} of {source} has a row of {longest_row_bytes} bytes; above {largest_cell} bytes it would land in {destination} as null. \
             Raise the limit with `{}`, or set TABLE_ENCODING=BigObject32",
            window.id,
            crate::remedy::take_large_cells(destination)
        )));
    }
    Judged::Store
}

/// Whether the source no longer keeps any row of the window; of rows without a value on the cut axis nobody knows.
fn may_be_gone(window: &Window, now: Timestamp) -> bool {
    window.id.is_null_axis() || now.since(window.id.high) > SOURCE_KEPT
}

/// Decides on a pull that met something else than a complete answer.
pub fn after(window: &Window, met: Met) -> Next {
    let later = |error, own_fault, pause| Next::Over(Over::Later(Later { error, own_fault, pause, before: None }));
    let split = |text, size| Next::Split(Reason { text, size, asked: true });
    match met {
        Met::TooMuch(reason) => split(reason, false),
        Met::TooLarge(reason) => split(reason, true),
        // A second broken answer is taken for one that is too large to arrive whole.
        Met::Broken(reason) if window.attempts > 0 => split(reason, false),
        Met::Broken(error) => later(error, true, None),
        Met::Quota(error) => later(error, false, Some(Duration::ZERO)),
        Met::Budget(error) => later(error, false, None),
        Met::Unavailable(error, pause) => later(error, true, pause),
        Met::Waits(Wait { why: error, pause, before }) => {
            Next::Over(Over::Later(Later { error, own_fault: false, pause: Some(pause), before }))
        }
        Met::Refused(error) => Next::Over(Over::End(WindowEnd::Refused(error))),
        Met::Hopeless(error) => Next::Over(Over::End(WindowEnd::Failed(error))),
    }
}

/// What becomes of a claim that is given back.
#[derive(Debug, Clone, PartialEq)]
pub enum GivenBack {
    /// Swap the window to this, then send what it owes: its own message again, first of all.
    Again(Box<Window>),
    /// Its attempts are used up: it ends.
    Failed(WindowEnd),
}

/// Gives a claim back for another attempt.
///
/// # Errors
/// [`IllegalTransition`] unless the window is claimed.
pub fn give_back(
    table: &TableKey,
    name: &WindowName,
    window: &Window,
    later: &Later,
    now: Timestamp,
    limits: &Limits,
) -> Result<GivenBack, IllegalTransition> {
    let Some(retried) = window.retried(&later.error, later.own_fault, now)? else {
        let reason = format!("{} (attempt {})", later.error, window.attempts + 1);
        return Ok(GivenBack::Failed(WindowEnd::Failed(reason)));
    };
    let pause = later.pause.unwrap_or_else(|| limits.outage_pause(retried.attempts));
    let mut window = sent_back(retried, Debt::chunk_later(table, name.clone(), pause));
    window.owed.extend(later.before.clone().map(|before| Debt::chunk(table, before)));
    Ok(GivenBack::Again(Box::new(window)))
}
