//! What becomes of a message that the host gave up after its deliveries: the record it was about comes to an end that
//! says so, and nothing waits for it any longer.

use crate::orchestration::fan_in::WindowEnd;
use crate::orchestration::head::given_up;
use crate::orchestration::ids::{InstanceId, TableKey};
use crate::orchestration::instance::{Instance, RuntimeStatus};
use crate::orchestration::ledger::{Head, TableState};
use crate::orchestration::limits::Limits;
use crate::orchestration::message::{ControlMessage, Debt};
use crate::orchestration::run::suspend::Move;
use crate::orchestration::run::terminate::is_meant;
use crate::orchestration::run::{resume, suspend};
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
    /// The run that the message names, or that holds its table.
    pub run: Option<&'a Instance>,
    /// The head of its table, if it names one.
    pub head: Option<&'a Head>,
}

/// What to do about a step whose message was given up.
#[derive(Debug, Clone, PartialEq)]
pub enum Control {
    /// Swap the run to this, then leave its place.
    Fail(Box<Instance>),
    /// End the table with this error, unless a plan of it stands.
    GiveUpPlan(InstanceId, TableKey, String),
    /// End the table with this error, although its windows have not all ended.
    GiveUp(InstanceId, TableKey, String),
    /// Send it again.
    Again(Debt),
    /// Swap the head to this, then send it again.
    AgainWith(TableKey, Box<Head>, Debt),
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
        ControlMessage::Plan { ref instance, ref table, .. } if is_planned(found.head, instance) => {
            let (table, instance) = (table.clone(), instance.clone());
            again_or_over(message, found.head, (instance, table), note, now, limits)
        }
        ControlMessage::Plan { instance, table, .. } => {
            Control::GiveUpPlan(instance, table, format!("the table could not be planned: {}", gave_up(note)))
        }
        // Of a count that was overtaken the later one sends what is owed.
        ControlMessage::Verify { ref table, number } => {
            let awaited = found.head.filter(|head| given_up::is_awaited(head, number));
            match awaited.and_then(|head| head.run.clone()) {
                Some(run) => {
                    let at = (run, table.clone());
                    again_or_over(message, awaited, at, note, now, limits)
                }
                None => Control::Drop,
            }
        }
        // Counts find out by themselves that their run was terminated.
        ControlMessage::Terminate { life, created, .. } => {
            let is_told = |run: &Instance| run.status.is_final() && now.since(run.updated) > limits.verify_deadline;
            let waits = found.run.is_some_and(|run| is_meant(run, life, created) && !is_told(run));
            if waits { again(message) } else { Control::Drop }
        }
        // Somebody waits for these as long as nothing later was asked for.
        ControlMessage::Suspend { number, created, ref reason, .. } => {
            let waits = found.run.is_some_and(|run| suspend::apply(run, number, created, reason, now) != Move::Old);
            if waits { again(message) } else { Control::Drop }
        }
        ControlMessage::Resume { number, created, .. } => {
            let going = found.run.filter(|run| !run.status.is_final());
            let waits = going.is_some_and(|run| resume::apply(run, number, created, now) != Move::Old);
            if waits { again(message) } else { Control::Drop }
        }
    }
}

/// Sends the message of a table's count or end again; where the host has given it up too often, the table is over for run `at`.
fn again_or_over(
    message: ControlMessage,
    head: Option<&Head>,
    at: (InstanceId, TableKey),
    note: Option<&Note>,
    now: Timestamp,
    limits: &Limits,
) -> Control {
    match head.and_then(|head| given_up::again(head, now, limits)) {
        Some(head) => Control::AgainWith(at.1, Box::new(head), Debt::control(message, limits.verify_longest)),
        None => {
            let error = format!(
                "the table could not be counted to its end: {}. What is not proved is for the next run",
                gave_up(note)
            );
            Control::GiveUp(at.0, at.1, error)
        }
    }
}

/// Why a table comes to its end in a run where a record that a message is about cannot be read, as `error` says.
pub fn unread(error: &str) -> String {
    format!(
        "{error}. Nothing more of the table is copied or proved in this run; the next one takes it up again. \
         If it fails for the same record, have one version of the app at work, or put back what was changed by hand"
    )
}

fn is_planned(head: Option<&Head>, id: &InstanceId) -> bool {
    head.is_some_and(|head| {
        head.run.as_ref() == Some(id) && matches!(head.state, TableState::Running | TableState::Finishing)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::orchestration::head::testing::{due, head, id, key, later, now, seen};
    use crate::orchestration::instance::StartInput;
    use crate::orchestration::limits::MOST_GIVEN_UP;
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
                matches!(on_plan(unplanned), Control::GiveUpPlan(_, _, error) if error.contains("could not be planned"))
            );
        }
        for state in [TableState::Running, TableState::Finishing] {
            assert!(matches!(on_plan(Some(&head(state))), Control::AgainWith(..)));
        }
    }

    #[test]
    fn a_count_is_sent_again_until_the_host_has_given_it_up_too_often() {
        let limits = Limits::scaled(1.0);
        let on = |message: &ControlMessage, head: &Head| {
            control(message.clone(), Found { run: None, head: Some(head) }, Some(&note()), now(), &limits)
        };
        let verify = |number| ControlMessage::Verify { table: key(), number };
        let finishing = Head { verify_number: 4, ..head(TableState::Finishing) };
        for message in [verify(4), ControlMessage::Plan { instance: id(1), table: key(), attempt: 0 }] {
            for before in [due(4), finishing.clone()] {
                let (mut head, mut times) = (before, 0);
                let error = loop {
                    match on(&message, &head) {
                        Control::AgainWith(table, next, debt) => {
                            assert_eq!(table, key());
                            assert_eq!(debt, Debt::control(message.clone(), limits.verify_longest));
                            (head, times) = (*next, times + 1);
                        }
                        Control::GiveUp(run, table, error) => {
                            assert_eq!((run, table), (id(1), key()));
                            break error;
                        }
                        other => panic!("{other:?}"),
                    }
                };
                assert_eq!(times + 1, MOST_GIVEN_UP);
                assert!(error.contains("delivery 9 failed: the row is unreadable"), "{error}");
            }
        }
        assert_eq!(on(&verify(3), &due(4)), Control::Drop, "it was overtaken");
        assert_eq!(on(&verify(4), &head(TableState::Idle)), Control::Drop);
    }

    #[test]
    fn control_of_a_run_is_sent_again_as_long_as_somebody_waits_for_it() {
        let limits = Limits::scaled(1.0);
        let run = |status, holds| Instance {
            status,
            holds,
            ..Instance::pending(id(1), StartInput::default(), Value::Null, now())
        };
        let goes_on = |message: &ControlMessage, run: Option<&Instance>, now| match control(
            message.clone(),
            Found { run, head: None },
            None,
            now,
            &limits,
        ) {
            Control::Again(debt) => debt == Debt::control(message.clone(), limits.verify_longest),
            Control::Drop => false,
            other => panic!("{other:?}"),
        };
        let (instance, created, reason) = (id(1), Some(now()), String::new());
        let terminate = ControlMessage::Terminate { instance, life: 0, created, reason };
        let over = run(RuntimeStatus::Running, 0).terminated("x", later(1)).unwrap();
        assert!(goes_on(&terminate, Some(&run(RuntimeStatus::Running, 0)), later(9_999)));
        assert!(goes_on(&terminate, Some(&over), later(60)));
        assert!(!goes_on(&terminate, Some(&over), later(1_802)), "the counts of its tables find out");
        assert!(!goes_on(&terminate, None, now()));
        let (instance, reason) = (id(1), String::new());
        let suspend = ControlMessage::Suspend { instance, number: 3, created, reason };
        let resume = ControlMessage::Resume { instance: id(1), number: 3, created };
        for (status, holds, held, resumed) in [
            (RuntimeStatus::Running, 2, true, false),
            (RuntimeStatus::Suspended, 2, false, true),
            (RuntimeStatus::Suspended, 3, true, false),
            (RuntimeStatus::Running, 3, false, true),
            (RuntimeStatus::Running, 4, false, true),
            (RuntimeStatus::Suspended, 4, true, false),
            (RuntimeStatus::Completed, 3, false, false),
        ] {
            let run = run(status, holds);
            assert_eq!(goes_on(&suspend, Some(&run), later(1)), held, "{status:?} {holds}");
            assert_eq!(goes_on(&resume, Some(&run), later(1)), resumed, "{status:?} {holds}");
        }
    }
}
