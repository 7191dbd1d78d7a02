//! The event *plan message*: a run takes a table, unless another run holds it. A run that has ended lets go of what
//! it held, in whatever state it left it.

use super::narrow;
use crate::orchestration::ids::{InstanceId, LedgerId};
use crate::orchestration::instance::{Instance, RuntimeStatus, TableResult, TableRun};
use crate::orchestration::ledger::{Head, Progress, PutOff, TableState};
use crate::orchestration::limits::ANSWERS_KEPT;
use crate::orchestration::message::Debt;
use crate::orchestration::snapshot;
use crate::timestamp::Timestamp;

/// Ids that nobody used before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fresh {
    /// For a table that was never copied.
    pub ledger: LedgerId,
    /// For the plan.
    pub draft: String,
}

impl Fresh {
    /// The ids made of random bits.
    pub fn from_bits(bits: u128) -> Self {
        Self { ledger: LedgerId((bits >> 64) as u64), draft: format!("{:016x}", bits as u64) }
    }
}

/// What a plan message finds.
#[derive(Debug, Clone, PartialEq)]
pub enum Take {
    /// Store this head, then plan: whoever planned it before is overtaken.
    Ours(Box<Head>),
    /// This run's plan stands already: send again what it owes.
    Again(Vec<Debt>),
    /// All windows of this run have ended: go on with the end.
    Finish,
    /// This run's plan stands and was held: dispatch what waits in it.
    GoOn,
    /// This run came to this result without a plan: count it, then let go of the head.
    Ended(Box<TableResult>),
    /// It was never held, although its run was: so it stays once this is stored, however late a suspension comes to it.
    Told(Box<Head>),
    /// Another run holds it.
    HeldBy(InstanceId),
}

/// The other run that holds the table, if any: its status must be known to [`take`].
pub fn other_holder<'a>(head: Option<&'a Head>, id: &InstanceId) -> Option<&'a InstanceId> {
    head?.run.as_ref().filter(|holder| *holder != id)
}

/// Whether a head is that of a run in the life that it leads: what a former life left is as if another run, that is over,
/// had left it.
pub fn is_of(head: &Head, run: &Instance) -> bool {
    head.run.as_ref() == Some(&run.id) && head.life == run.lives
}

/// Takes a table for a run. `holder` is the status of [`other_holder`], `None` where there is no such run.
pub fn take(
    head: Option<&Head>,
    table: &TableRun,
    run: &Instance,
    holder: Option<RuntimeStatus>,
    fresh: Fresh,
    now: Timestamp,
) -> Take {
    let id = &run.id;
    if let Some(other) = other_holder(head, id)
        && holder.is_some_and(|status| !status.is_final())
    {
        return Take::HeldBy(other.clone());
    }
    let own = head.filter(|head| is_of(head, run));
    if let Some(own) = own {
        if let Some(result) = &own.ended {
            return Take::Ended(result.clone());
        }
        match own.state {
            TableState::Finishing => return Take::Finish,
            TableState::Running if is_held(own, id) => return Take::GoOn,
            TableState::Running if own.hold < run.holds => {
                return Take::Told(Box::new(Head { hold: run.holds, updated: now, ..own.clone() }));
            }
            TableState::Running => {
                return Take::Again(own.owed_plan.as_ref().map(|debts| debts.messages.clone()).unwrap_or_default());
            }
            TableState::Idle | TableState::Planning => {}
        }
    }
    let config = &table.config;
    // Another attempt of a snapshot is no other table.
    let repeated = own.filter(|own| snapshot::attempt(own).is_some_and(|attempt| attempt.is_repeated_by(run)));
    // Nor is another attempt of its plan.
    let planning = own.filter(|own| own.state == TableState::Planning);
    let calls = planning.map_or(0, |own| own.progress.calls);
    let progress = repeated.map_or_else(|| Progress { calls, ..Progress::default() }, |own| own.progress);
    let put_off = planning.and_then(|own| put_off(own, run, now));
    let head = head
        .cloned()
        .unwrap_or_else(|| Head::new(fresh.ledger, &config.source, &config.destination, &config.watermark_column, now));
    let head = narrow::forgotten(head);
    Take::Ours(Box::new(Head {
        since: run.input.since,
        run: Some(id.clone()),
        life: run.lives,
        tenure: head.tenure + u64::from(own.is_none()),
        state: TableState::Planning,
        stop: false,
        // The run goes on: all of its suspensions are over, those too that have not come to the table yet.
        hold: run.holds,
        given_up: 0,
        draft: Some(fresh.draft),
        ended: None,
        plan_error: None,
        verify: None,
        // A count that is still on its way for an earlier run finds another number.
        verify_number: head.verify_number + 1,
        progress,
        audited_rows: None,
        auditor: None,
        doubts: Vec::new(),
        notes: Vec::new(),
        advice: Vec::new(),
        owed_plan: None,
        owed_verify: None,
        // Until when another run's plan was to wait.
        plan_due: None,
        put_off,
        updated: now,
        ..head
    }))
}

/// What another attempt knows of a plan that was put off: after a long time it begins again.
fn put_off(own: &Head, run: &Instance, now: Timestamp) -> Option<PutOff> {
    let PutOff { began, moved } = own.put_off?;
    let began = if now.since(moved) <= ANSWERS_KEPT { began } else { now };
    // A run that stood still has not waited for the quota.
    let stood_still = own.stop || own.hold != run.holds;
    Some(PutOff { began, moved: if stood_still { now } else { moved } })
}

/// Whether run `id` stands still in this table although its plan is valid.
pub fn is_held(head: &Head, id: &InstanceId) -> bool {
    head.run.as_ref() == Some(id) && head.state == TableState::Running && head.stop
}

/// The result of a table that another run holds.
pub fn held_by(other: &InstanceId) -> TableResult {
    TableResult {
        skipped: Some(format!("held by {other}")),
        error: Some(format!("skipped: held by {other}")),
        ..TableResult::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::orchestration::head::hold::hold;
    use crate::orchestration::head::testing::{head, id, later, run, table};
    use crate::orchestration::ids::WindowName;
    use crate::orchestration::ledger::HeadDebts;

    fn taken(head: Option<&Head>, bits: u128, holder: Option<RuntimeStatus>) -> Take {
        taken_in(head, &run(bits), holder)
    }

    fn taken_in(head: Option<&Head>, run: &Instance, holder: Option<RuntimeStatus>) -> Take {
        take(head, &table(), run, holder, Fresh::from_bits(7 << 64 | 9), later(1))
    }

    #[test]
    fn a_table_that_was_never_copied_gets_a_ledger() {
        let Take::Ours(taken) = taken(None, 1, None) else { panic!("not taken") };
        assert_eq!((taken.ledger, taken.state), (LedgerId(7), TableState::Planning));
        assert_eq!(taken.draft.as_deref(), Some("0000000000000009"));
    }

    #[test]
    fn a_table_that_a_living_run_holds_is_left_alone() {
        let running = head(TableState::Running);
        assert_eq!(taken(Some(&running), 2, Some(RuntimeStatus::Running)), Take::HeldBy(id(1)));
        assert_eq!(taken(Some(&running), 2, Some(RuntimeStatus::Suspended)), Take::HeldBy(id(1)));
        for over in [Some(RuntimeStatus::Terminated), Some(RuntimeStatus::Completed), None] {
            let stopped = Head { stop: true, ..running.clone() };
            let Take::Ours(taken) = taken(Some(&stopped), 2, over) else { panic!("{over:?}") };
            assert_eq!((taken.run, taken.stop), (Some(id(2)), false));
            assert!(taken.verify_number > running.verify_number, "counts of the earlier run must find another number");
        }
    }

    #[test]
    fn a_plan_message_that_comes_again_pays_again() {
        let debt = Debt::chunk(&table().key, WindowName::new(Timestamp::MIN, "0"));
        let owed = HeadDebts { step: "plan:p".into(), by: None, messages: vec![debt.clone()] };
        let running = Head { owed_plan: Some(owed), ..head(TableState::Running) };
        assert_eq!(taken(Some(&running), 1, None), Take::Again(vec![debt]));
        assert_eq!(taken(Some(&Head { stop: true, ..running }), 1, None), Take::GoOn);
        assert_eq!(taken(Some(&head(TableState::Finishing)), 1, None), Take::Finish);
    }

    #[test]
    fn a_suspension_that_comes_to_a_table_behind_its_resumption_does_not_hold_it() {
        let resumed = Instance { holds: 1, ..run(1) };
        let Take::Told(told) = taken_in(Some(&head(TableState::Running)), &resumed, None) else { panic!("not told") };
        assert_eq!((hold(&told, &id(1), 1, later(2)), told.stop), (None, false));
        assert_eq!(taken_in(Some(&told), &resumed, None), Take::Again(Vec::new()));
        let Take::Ours(taken) = taken_in(Some(&head(TableState::Planning)), &resumed, None) else {
            panic!("not taken")
        };
        assert_eq!(hold(&taken, &id(1), 1, later(2)), None);
        assert!(hold(&taken, &id(1), 2, later(2)).is_some(), "a later one does");
    }

    #[test]
    fn an_interrupted_plan_is_begun_anew_under_another_id() {
        let planning = head(TableState::Planning);
        let Take::Ours(taken) = taken(Some(&planning), 1, None) else { panic!("not taken") };
        assert_ne!(taken.draft, planning.draft);
    }

    #[test]
    fn what_a_former_life_of_the_run_left_is_taken_like_another_runs() {
        let again = Instance { lives: 1, ..run(1) };
        for state in [TableState::Running, TableState::Planning, TableState::Finishing] {
            let Take::Ours(taken) = taken_in(Some(&head(state)), &again, None) else { panic!("{state:?}") };
            assert_eq!((taken.life, taken.state), (1, TableState::Planning));
        }
    }

    #[test]
    fn each_life_of_a_run_that_takes_a_table_has_a_tenure_of_its_own() {
        let tenure = |head: Option<&Head>, run: &Instance| match taken_in(head, run, None) {
            Take::Ours(taken) => taken.tenure,
            other => panic!("{other:?}"),
        };
        let held = Head { tenure: 4, ..head(TableState::Planning) };
        assert_eq!((tenure(None, &run(1)), tenure(Some(&held), &run(1))), (1, 4), "another delivery of the same plan");
        assert_eq!(tenure(Some(&held), &Instance { lives: 1, ..run(1) }), 5);
        assert_eq!(tenure(Some(&Head { run: None, ..held }), &run(1)), 5, "one of the same id that came later");
    }

    #[test]
    fn the_pause_of_a_plan_that_was_ended_is_no_other_runs() {
        let waiting = Head { plan_due: Some(later(3_600)), ..head(TableState::Planning) };
        let Take::Ours(taken) = taken(Some(&waiting), 2, Some(RuntimeStatus::Terminated)) else { panic!("not taken") };
        assert_eq!(taken.plan_due, None);
    }

    #[test]
    fn another_attempt_of_a_plan_keeps_its_calls_and_goes_on_where_it_was_put_off() {
        let progress = Progress { calls: 7, windows: 2, ..Progress::default() };
        let before = PutOff { began: later(0), moved: later(1) };
        let waiting = Head { progress, put_off: Some(before), ..head(TableState::Planning) };
        let at =
            |head: &Head, run: &Instance, now| match take(Some(head), &table(), run, None, Fresh::from_bits(1), now) {
                Take::Ours(taken) => (taken.progress, taken.put_off),
                other => panic!("{other:?}"),
            };
        let calls = Progress { calls: 7, ..Progress::default() };
        assert_eq!(at(&waiting, &run(1), later(3_600)), (calls, Some(before)));
        let next = Instance { lives: 1, ..run(1) };
        assert_eq!(at(&waiting, &next, later(3_600)), (Progress::default(), None), "another life plans anew");
        let idle = Head { state: TableState::Idle, ..waiting.clone() };
        assert_eq!(at(&idle, &run(1), later(3_600)), (Progress::default(), None));
        let late = later(2 * 86_400);
        let anew = PutOff { began: late, ..before };
        assert_eq!(at(&waiting, &run(1), late), (calls, Some(anew)), "too old to be trusted");
        let held = Head { stop: true, ..waiting };
        let resumed = PutOff { moved: later(3_600), ..before };
        assert_eq!(at(&held, &run(1), later(3_600)).1, Some(resumed), "it did not wait for the quota");
    }

    #[test]
    fn every_delivery_finds_the_same_result_where_there_is_no_plan() {
        let result = Box::new(TableResult { error: Some("no licence".into()), ..TableResult::default() });
        let ended = Head { run: Some(id(1)), ended: Some(result.clone()), ..head(TableState::Idle) };
        assert_eq!(taken(Some(&ended), 1, None), Take::Ended(result));
        let Take::Ours(taken) = taken(Some(&ended), 2, None) else { panic!("not taken") };
        assert_eq!(taken.ended, None);
    }
}
