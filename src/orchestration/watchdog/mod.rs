//! The third line of defence: what stopped moving, and what to do about it. In normal operation there is nothing, so
//! every repair is an event. A repair is a message that should have come, or a place that should be free; what a
//! message finds decides, so a repair that was not needed does no harm.

pub mod poison;
#[cfg(test)]
mod tests;

use super::chunk::comes_back;
use super::fan_in::schedule_verify;
use super::head::stall::{self, Planned};
use super::head::verify;
use super::ids::{InstanceId, TableKey, WindowId, WindowName};
use super::instance::{Instance, RuntimeStatus, TableRun};
use super::ledger::{Head, TableState};
use super::limits::Limits;
use super::message::{ControlMessage, Debt, Message};
use super::repairs::{Kind, Repaired};
use super::run::place::{Active, is_over, start_debt};
use super::snapshot::attempt;
use super::window::{Window, WindowState};
use crate::timestamp::Timestamp;
use std::time::Duration;

/// Something that does not move, and what to do.
#[derive(Debug, Clone, PartialEq)]
pub struct Repair {
    /// What is repaired.
    pub kind: Kind,
    /// The run.
    pub instance: InstanceId,
    /// The source table, if it is about one.
    pub table: Option<String>,
    /// The window, if it is about one.
    pub window: Option<WindowId>,
    /// What to do.
    pub action: Action,
}

impl Repair {
    /// It as the run keeps it once it is made at `now`.
    pub fn made(&self, now: Timestamp) -> Repaired {
        let window = self.window.map(|window| window.to_string());
        Repaired { at: now, kind: self.kind, table: self.table.clone(), window }
    }
}

/// What a repair does.
#[derive(Debug, Clone, PartialEq)]
pub enum Action {
    /// Send these.
    Send(Vec<Debt>),
    /// Send these, then swap the head that was looked at to this.
    Dispatch {
        /// The table.
        table: TableKey,
        /// Its head.
        head: Box<Head>,
        /// The messages.
        debts: Vec<Debt>,
    },
    /// Leave the run's place.
    Leave,
    /// Swap the run to this, which has the repair on record, then leave its place.
    End(Box<Instance>),
}

/// A table in a run as the watchdog sees it.
#[derive(Debug, Clone, PartialEq)]
pub struct Sight {
    /// The table in the run.
    pub table: TableRun,
    /// Its head.
    pub head: Option<Head>,
    /// Its windows, where [`needs_windows`] asks for them; none where they cannot be read.
    pub windows: Vec<(WindowName, Window)>,
}

/// What the tenant's hunting calls wait for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Calls {
    /// When the next one may be sent.
    pub opens_at: Timestamp,
    /// Until when the service last asked for a pause.
    pub paused_until: Timestamp,
}

impl Calls {
    /// They wait for nothing.
    pub const OPEN: Self = Self { opens_at: Timestamp::MIN, paused_until: Timestamp::MIN };
}

/// Whether the tables of a run must be looked at.
pub fn needs_tables(run: Option<&Instance>) -> bool {
    run.is_some_and(|run| run.status == RuntimeStatus::Running)
}

/// Whether the head of a table must be looked at.
pub fn needs_head(table: &TableRun) -> bool {
    table.started && table.result.is_none()
}

/// Whether the windows of a table must be looked at.
pub fn needs_windows(run: &InstanceId, head: Option<&Head>) -> bool {
    head.is_some_and(|head| {
        head.run.as_ref() == Some(run) && head.state == TableState::Running && head.counts.open > 0 && !head.stop
    })
}

/// What is to be repaired of the run that holds `place`; `run` is `None` when there is no such run. Suspended runs
/// are left alone.
pub fn diagnose(
    place: &Active,
    run: Option<&Instance>,
    tables: &[Sight],
    calls: Calls,
    now: Timestamp,
    limits: &Limits,
) -> Vec<Repair> {
    let repair = |kind, action| Repair { kind, instance: place.instance.clone(), table: None, window: None, action };
    let Some(run) = run else {
        let over = is_over(place, None, now, limits);
        return over.then(|| repair(Kind::PlaceHeld, Action::Leave)).into_iter().collect();
    };
    // Whoever ends a run is about to leave its place, too.
    let quiet = now.since(run.updated) > limits.lost_after;
    let waits = run.start_due.is_some_and(|due| now.since(due) <= limits.lost_after);
    let done = !tables.is_empty() && tables.iter().all(|sight| sight.table.result.is_some());
    match run.status {
        status if status.is_final() => {
            let over = quiet && is_over(place, Some(run), now, limits);
            over.then(|| repair(Kind::PlaceHeld, Action::Leave)).into_iter().collect()
        }
        RuntimeStatus::Pending if quiet && !waits => {
            vec![repair(Kind::StartLost, Action::Send(vec![start_debt(&run.id)]))]
        }
        RuntimeStatus::Running if done && quiet => {
            let note = Repaired { at: now, kind: Kind::EndLost, table: None, window: None };
            let ended = Instance { status: RuntimeStatus::Completed, updated: now, ..run.repaired(&[note]) };
            vec![repair(Kind::EndLost, Action::End(Box::new(ended)))]
        }
        RuntimeStatus::Running => tables
            .iter()
            .filter(|sight| needs_head(&sight.table))
            .flat_map(|sight| Watched { run, sight, calls, now, limits }.diagnose())
            .collect(),
        _ => Vec::new(),
    }
}

/// A table that is looked at.
struct Watched<'a> {
    run: &'a Instance,
    sight: &'a Sight,
    calls: Calls,
    now: Timestamp,
    limits: &'a Limits,
}

impl Watched<'_> {
    fn diagnose(&self) -> Vec<Repair> {
        let limits = self.limits;
        let Some(head) = self.sight.head.as_ref().filter(|head| head.run.as_ref() == Some(&self.run.id)) else {
            let lost = self.now.since(self.run.updated) > limits.lease() + limits.lost_after;
            return lost.then(|| self.plan_again()).into_iter().collect();
        };
        let quiet = self.now.since(head.plan_due.map_or(head.updated, |due| due.max(head.updated)));
        match head.state {
            TableState::Planning | TableState::Idle if quiet > limits.lease() + limits.clock_margin => {
                vec![self.plan_again()]
            }
            // Counts of what was posted go on in a table that stands still: they are no sign that it was told to.
            TableState::Running if head.stop => {
                let lost = self.now.since(head.moved.max(self.run.updated)) > limits.lost_after;
                lost.then(|| self.go_on()).into_iter().collect()
            }
            TableState::Running => self.count_again(head).into_iter().chain(self.windows(head)).collect(),
            TableState::Finishing if quiet > limits.lost_after + self.longest_silence(head) => {
                let end = vec![verify::message(self.key(), head.verify_number)];
                vec![self.send(Kind::TableEndLost, end)]
            }
            _ => Vec::new(),
        }
    }

    /// How long an end that goes on may write nothing: one that counts the source waits for the quota, and between two attempts.
    fn longest_silence(&self, head: &Head) -> Duration {
        let counts = attempt(head).is_some_and(|attempt| attempt.verdict.is_none());
        if counts { self.limits.verify_longest + self.limits.invocation_deadline / 2 } else { Duration::ZERO }
    }

    fn plan_again(&self) -> Repair {
        self.send(Kind::PlanLost, vec![self.plan()])
    }

    fn go_on(&self) -> Repair {
        self.send(Kind::TableHeld, vec![self.plan()])
    }

    fn plan(&self) -> Debt {
        let plan = ControlMessage::Plan { instance: self.run.id.clone(), table: self.key().clone(), attempt: 0 };
        Debt::control(plan, Duration::ZERO)
    }

    fn count_again(&self, head: &Head) -> Option<Repair> {
        let due = head.verify.as_ref()?;
        if self.now.since(due.at) <= self.limits.lost_after {
            return None;
        }
        let is_planned = |debt: &Debt| matches!(&debt.message, Message::Chunk(chunk) if self.in_state(WindowState::Planned).any(|name| *name == chunk.window));
        Some(self.send(Kind::CountLost, verify::overdue(self.key(), head, is_planned)))
    }

    fn windows(&self, head: &Head) -> Vec<Repair> {
        if !needs_windows(&self.run.id, Some(head)) {
            return Vec::new();
        }
        if self.sight.windows.is_empty() {
            return self.counted_if_stalled(head).into_iter().collect();
        }
        let held = || {
            let states = [WindowState::Claimed, WindowState::Sealed];
            self.sight.windows.iter().filter(move |(_, window)| states.contains(&window.state))
        };
        let mut repairs: Vec<Repair> = held().filter_map(|(name, window)| self.take_over(name, window)).collect();
        if held().next().is_none() && self.is_stalled(head) {
            let windows = self.sight.windows.iter().filter(|(_, window)| window.state == WindowState::Planned);
            let (waiting, planned): (Vec<_>, Vec<_>) =
                windows.partition(|(name, window)| comes_back(window, name, self.now, self.limits));
            let names =
                |windows: Vec<&(WindowName, Window)>| windows.into_iter().map(|(name, _)| name.clone()).collect();
            let planned = Planned { waiting: names(waiting), others: names(planned) };
            let again = stall::dispatch_again(self.key(), head, planned, self.now, self.limits);
            repairs.extend(again.map(|(head, debts)| {
                let action = Action::Dispatch { table: self.key().clone(), head: Box::new(head), debts };
                self.repair(Kind::Stalled, None, action)
            }));
        }
        repairs
    }

    /// A count, of a table that stands still and whose windows cannot be read: it comes to nothing, and once the host has given it up
    /// often enough, so has the table.
    fn counted_if_stalled(&self, head: &Head) -> Option<Repair> {
        if head.verify.is_some() || !self.is_stalled(head) {
            return None;
        }
        let (table, mut head) = (self.key().clone(), Head { moved: self.now, ..head.clone() });
        let debts = vec![schedule_verify(&table, &mut head, self.limits.verify_first, self.now)];
        Some(self.repair(Kind::Stalled, None, Action::Dispatch { table, head: Box::new(head), debts }))
    }

    /// A window whose worker is gone. A sealed one needs no call; the message of any other would only pile up while the
    /// tenant's calls wait for longer than it is to the next look.
    fn take_over(&self, name: &WindowName, window: &Window) -> Option<Repair> {
        if !window.is_dead(self.now, self.limits) {
            return None;
        }
        let chunk = match window.state {
            WindowState::Sealed => Debt::chunk_later(self.key(), name.clone(), self.limits.pickup),
            _ if self.calls.opens_at.since(self.now) > self.limits.lost_after => return None,
            _ => Debt::chunk(self.key(), name.clone()),
        };
        Some(self.repair(Kind::WorkerGone, Some(window.id), Action::Send(vec![chunk])))
    }

    /// Whether nothing came of the table for so long that its messages must be lost. While the tenant's calls were paused
    /// they wait; and where many windows share the quota, a window waits for the permits of all others.
    fn is_stalled(&self, head: &Head) -> bool {
        let Self { calls, limits, now, .. } = self;
        let waiting = calls.opens_at.since(*now) > limits.pickup;
        let queue = if waiting { limits.longest_queue() } else { Duration::ZERO };
        now.since(head.moved.max(calls.paused_until)) > limits.stall_after + queue
    }

    fn in_state(&self, state: WindowState) -> impl Iterator<Item = &WindowName> {
        self.sight.windows.iter().filter(move |(_, window)| window.state == state).map(|(name, _)| name)
    }

    fn key(&self) -> &TableKey {
        &self.sight.table.key
    }

    fn send(&self, kind: Kind, debts: Vec<Debt>) -> Repair {
        self.repair(kind, None, Action::Send(debts))
    }

    fn repair(&self, kind: Kind, window: Option<WindowId>, action: Action) -> Repair {
        let table = Some(self.sight.table.config.source.clone());
        Repair { kind, instance: self.run.id.clone(), table, window, action }
    }
}
