//! What becomes of a message that the host gave up after its deliveries: the record it was about comes to an end that
//! says so, and nothing waits for it any longer.

use crate::orchestration::fan_in::WindowEnd;
use crate::orchestration::ids::{InstanceId, TableKey};
use crate::orchestration::instance::{Instance, RuntimeStatus};
use crate::orchestration::ledger::{Head, TableState};
use crate::orchestration::limits::Limits;
use crate::orchestration::message::{ControlMessage, Debt};
use crate::orchestration::window::{Window, WindowState};
use crate::timestamp::Timestamp;
use serde::{Deserialize, Serialize};

/// How often the host hands a message out (`maxDequeueCount` in `host.json`).
const DELIVERIES: u32 = 10;

/// Why deliveries of a message failed, as far as a handler could still say.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Note {
    /// The message's id on its queue, which the host's log names.
    pub message: String,
    /// The last delivery of which it is known why it failed.
    pub delivery: u32,
    /// Why.
    pub reason: String,
}

/// What to do about a window whose message was given up.
#[derive(Debug, Clone, PartialEq)]
pub enum Chunk {
    /// End it.
    End(WindowEnd),
    /// Send what it owes: nothing, where another message sees to it.
    Pay(Vec<Debt>),
    /// A worker may be at it, and nobody knows for which message: look again when its lease is over.
    Wait,
}

/// Decides on a window of the table with `head`. What is sealed may have been posted: that is for the count. What the table
/// does not drive is for the plan or the resumption that takes it up.
pub fn chunk(window: &Window, head: Option<&Head>, note: Option<&Note>, now: Timestamp, limits: &Limits) -> Chunk {
    let is_driven = head.is_some_and(|head| head.run.is_some() && head.state == TableState::Running && !head.stop);
    match window.state {
        WindowState::Planned | WindowState::Claimed if !is_driven => Chunk::Pay(Vec::new()),
        WindowState::Claimed if !window.is_dead(now, limits) => match note {
            None => Chunk::Wait,
            Some(note) if window.owner.as_ref() != Some(&note.message) => Chunk::Pay(Vec::new()),
            Some(note) => Chunk::End(failed(window, Some(note))),
        },
        WindowState::Planned | WindowState::Claimed => Chunk::End(failed(window, note)),
        WindowState::Sealed => Chunk::End(WindowEnd::Submitted),
        _ => Chunk::Pay(window.owed.clone()),
    }
}

fn failed(window: &Window, note: Option<&Note>) -> WindowEnd {
    let met = window.error.as_ref().map(|error| format!("; its last attempt met: {error}")).unwrap_or_default();
    let by = window.owner.as_ref().map(|owner| format!("; message {owner} had it last"));
    WindowEnd::Failed(format!("{}{met}{}", gave_up(note), by.unwrap_or_default()))
}

fn gave_up(note: Option<&Note>) -> String {
    match note {
        Some(Note { message, delivery, reason }) => format!(
            "the host gave up message {message} after {DELIVERIES} deliveries; delivery {delivery} failed: {reason}"
        ),
        None => format!(
            "the host gave up its message after {DELIVERIES} deliveries, none of which could say why: the process was \
             ended each time (look for its memory or a crash in the host's log), or the state store took nothing"
        ),
    }
}

/// What a message about a step finds.
#[derive(Debug, Clone, Copy, Default)]
pub struct Found<'a> {
    /// The run of a start message.
    pub run: Option<&'a Instance>,
    /// The head of a plan message's table.
    pub head: Option<&'a Head>,
}

/// What to do about a step whose message was given up.
#[derive(Debug, Clone, PartialEq)]
pub enum Control {
    /// Swap the run to this, then leave its place.
    Fail(Box<Instance>),
    /// End the table with this error, unless a plan of it stands.
    GiveUp(InstanceId, TableKey, String),
    /// Send it again.
    Again(Debt),
    /// Nothing waits for it.
    Drop,
}

/// Decides on a step.
pub fn control(
    message: ControlMessage,
    found: Found<'_>,
    note: Option<&Note>,
    now: Timestamp,
    limits: &Limits,
) -> Control {
    let again = |message| Control::Again(Debt::control(message, limits.verify_longest));
    match message {
        ControlMessage::Start { .. } => {
            let pending = found.run.filter(|run| run.status == RuntimeStatus::Pending);
            let error = format!("the run could not begin: {}", gave_up(note));
            let failed = pending.and_then(|run| run.failed(&error, now).ok());
            failed.map_or(Control::Drop, |failed| Control::Fail(Box::new(failed)))
        }
        // Its plan stands: what failed was what comes after it, and the message goes on with that.
        ControlMessage::Plan { instance, table, attempt } if is_planned(found.head, &instance) => {
            again(ControlMessage::Plan { instance, table, attempt })
        }
        ControlMessage::Plan { instance, table, .. } => {
            Control::GiveUp(instance, table, format!("the table could not be planned: {}", gave_up(note)))
        }
        ControlMessage::Verify { .. }
        | ControlMessage::Terminate { .. }
        | ControlMessage::Suspend { .. }
        | ControlMessage::Resume { .. } => again(message),
    }
}

fn is_planned(head: Option<&Head>, id: &InstanceId) -> bool {
    head.is_some_and(|head| {
        head.run.as_ref() == Some(id) && matches!(head.state, TableState::Running | TableState::Finishing)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::orchestration::head::testing::{head, id, key, later, now, seen};
    use crate::orchestration::instance::StartInput;
    use serde_json::Value;

    fn note() -> Note {
        Note { message: "m-7".into(), delivery: 9, reason: "the row is unreadable".into() }
    }

    fn decided(window: &Window, head: &Head, note: Option<&Note>) -> Chunk {
        chunk(window, Some(head), note, now(), &Limits::scaled(1.0))
    }

    #[test]
    fn a_window_that_was_never_sealed_fails_and_a_sealed_one_is_counted() {
        let running = head(TableState::Running);
        for state in [WindowState::Planned, WindowState::Claimed] {
            assert!(matches!(decided(&seen(1, state).window, &running, None), Chunk::End(WindowEnd::Failed(_))));
        }
        let sealed = seen(1, WindowState::Sealed).window;
        assert_eq!(decided(&sealed, &running, None), Chunk::End(WindowEnd::Submitted));
        assert_eq!(decided(&seen(1, WindowState::Submitted).window, &running, None), Chunk::Pay(vec![]));
    }

    #[test]
    fn the_reason_names_the_message_and_what_its_handler_met() {
        let window =
            Window { owner: Some("m-8".into()), error: Some("reset".into()), ..seen(1, WindowState::Claimed).window };
        let running = head(TableState::Running);
        let Chunk::End(WindowEnd::Failed(reason)) = decided(&window, &running, Some(&note())) else {
            panic!("not failed")
        };
        for part in ["m-7", "delivery 9 failed: the row is unreadable", "its last attempt met: reset", "message m-8"] {
            assert!(reason.contains(part), "{reason}");
        }
    }

    #[test]
    fn a_window_that_a_worker_is_at_for_another_message_is_left_to_it() {
        let running = head(TableState::Running);
        let of = |owner: &str| Window {
            owner: Some(owner.into()),
            lease_until: Some(later(60)),
            ..seen(1, WindowState::Claimed).window
        };
        assert_eq!(decided(&of("m-8"), &running, Some(&note())), Chunk::Pay(vec![]));
        assert_eq!(decided(&of("m-8"), &running, None), Chunk::Wait, "whose it is shows when its lease is over");
        assert!(matches!(decided(&of("m-7"), &running, Some(&note())), Chunk::End(WindowEnd::Failed(_))));
    }

    #[test]
    fn a_window_of_a_table_that_no_run_drives_waits_for_the_next_plan() {
        let stopped = Head { stop: true, ..head(TableState::Running) };
        for head in [head(TableState::Idle), head(TableState::Planning), head(TableState::Finishing), stopped] {
            for state in [WindowState::Planned, WindowState::Claimed] {
                assert_eq!(decided(&seen(1, state).window, &head, Some(&note())), Chunk::Pay(vec![]));
            }
        }
    }

    #[test]
    fn a_run_that_could_not_begin_fails_and_a_running_one_goes_on() {
        let limits = Limits::scaled(1.0);
        let on_start = |run: Option<&Instance>| {
            let found = Found { run, head: None };
            control(ControlMessage::Start { instance: id(1), attempt: 0 }, found, Some(&note()), now(), &limits)
        };
        let pending = Instance::pending(id(1), StartInput::default(), Value::Null, now());
        let Control::Fail(failed) = on_start(Some(&pending)) else { panic!("not failed") };
        assert_eq!(failed.status, RuntimeStatus::Failed);
        assert!(failed.error.unwrap().contains("the row is unreadable"));
        let running = Instance { status: RuntimeStatus::Running, ..pending };
        assert_eq!(on_start(Some(&running)), Control::Drop);
        assert_eq!(on_start(None), Control::Drop);
    }

    #[test]
    fn a_table_that_could_not_be_planned_has_its_result_and_a_planned_one_goes_on() {
        let limits = Limits::scaled(1.0);
        let on_plan = |head: Option<&Head>| {
            let plan = ControlMessage::Plan { instance: id(1), table: key(), attempt: 0 };
            control(plan, Found { run: None, head }, None, now(), &limits)
        };
        let of_another = Head { run: Some(id(9)), ..head(TableState::Running) };
        for unplanned in [None, Some(&head(TableState::Planning)), Some(&of_another)] {
            assert!(
                matches!(on_plan(unplanned), Control::GiveUp(_, _, error) if error.contains("could not be planned"))
            );
        }
        for state in [TableState::Running, TableState::Finishing] {
            assert!(matches!(on_plan(Some(&head(state))), Control::Again(_)));
        }
    }

    #[test]
    fn counts_and_control_go_on() {
        let limits = Limits::scaled(1.0);
        let verify = ControlMessage::Verify { table: key(), number: 3 };
        let again = control(verify, Found::default(), None, now(), &limits);
        assert!(matches!(again, Control::Again(debt) if debt.delay == limits.verify_longest));
    }
}
