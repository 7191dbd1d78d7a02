//! What the watchdog repairs, and what it leaves alone.

use super::*;
use crate::orchestration::head::testing::{head, id, key, later, now, seen, table};
use crate::orchestration::instance::{StartInput, TableResult};
use crate::orchestration::ledger::{HeadDebts, VerifyDue};
use crate::orchestration::snapshot::Verdict;
use crate::orchestration::snapshot::testing::attempted;
use serde_json::Value;

fn limits() -> Limits {
    Limits { lanes: 2, ..Limits::scaled(1.0) }
}

fn run(status: RuntimeStatus) -> Instance {
    Instance { status, ..Instance::pending(id(1), StartInput::default(), Value::Null, now()) }
}

fn diagnosed(run: Option<&Instance>, tables: &[Sight], seconds: u64) -> Vec<Repair> {
    let place = Active { instance: id(1), since: now(), life: 0 };
    diagnose(&place, run, tables, Calls::OPEN, later(seconds), &limits())
}

fn of_table(head: Option<Head>, windows: Vec<(WindowName, Window)>, seconds: u64) -> Vec<Debt> {
    of_waiting(Calls::OPEN, head, windows, seconds)
}

fn of_waiting(calls: Calls, head: Option<Head>, windows: Vec<(WindowName, Window)>, seconds: u64) -> Vec<Debt> {
    let sight = Sight { table: table(), head, windows };
    let place = Active { instance: id(1), since: now(), life: 0 };
    let repairs = diagnose(&place, Some(&run(RuntimeStatus::Running)), &[sight], calls, later(seconds), &limits());
    let debts = repairs.into_iter().map(|repair| match repair.action {
        Action::Send(debts) | Action::Dispatch { debts, .. } => debts,
        other => panic!("{other:?}"),
    });
    debts.flatten().collect()
}

fn windows(states: &[WindowState]) -> Vec<(WindowName, Window)> {
    let seen = states.iter().zip(1..).map(|(state, low)| seen(low * 10, *state));
    seen.map(|seen| (seen.name, seen.window)).collect()
}

fn chunk(low: u64) -> Debt {
    Debt::chunk(&key(), seen(low, WindowState::Planned).name)
}

#[test]
fn what_moves_is_left_alone() {
    assert_eq!(diagnosed(None, &[], 119), []);
    assert_eq!(diagnosed(Some(&run(RuntimeStatus::Pending)), &[], 119), []);
    assert_eq!(diagnosed(Some(&run(RuntimeStatus::Suspended)), &[], 99_999), []);
    assert_eq!(of_table(None, vec![], 419), []);
    assert_eq!(of_table(Some(head(TableState::Planning)), vec![], 359), []);
    let mut running = head(TableState::Running);
    running.counts.open = 1;
    running.verify = Some(VerifyDue { number: 1, at: now(), pause_ms: 0 });
    assert_eq!(of_table(Some(running), windows(&[WindowState::Planned]), 119), []);
}

#[test]
fn a_place_whose_run_never_came_or_is_over_is_left() {
    assert_eq!(diagnosed(None, &[], 121)[0].action, Action::Leave);
    for status in [RuntimeStatus::Completed, RuntimeStatus::Failed, RuntimeStatus::Terminated] {
        assert_eq!(diagnosed(Some(&run(status)), &[], 120), [], "whoever ended it is about to leave");
        assert_eq!(diagnosed(Some(&run(status)), &[], 121)[0].action, Action::Leave);
    }
}

#[test]
fn a_start_that_waits_for_as_long_as_a_service_asked_is_not_lost() {
    let waits = Instance { start_due: Some(later(600)), ..run(RuntimeStatus::Pending) };
    assert_eq!(diagnosed(Some(&waits), &[], 720), []);
    assert_eq!(diagnosed(Some(&waits), &[], 721).len(), 1, "then its message is");
    let ended = waits.terminated("enough", now()).unwrap();
    assert_eq!(diagnosed(Some(&ended), &[], 121)[0].action, Action::Leave, "nobody waits for it any more");
}

#[test]
fn a_start_that_was_lost_is_sent_again() {
    let repairs = diagnosed(Some(&run(RuntimeStatus::Pending)), &[], 121);
    assert_eq!(repairs[0].action, Action::Send(vec![start_debt(&id(1))]));
}

#[test]
fn a_run_whose_tables_all_have_results_is_ended() {
    let result = Some(TableResult::default());
    let sight = Sight { table: TableRun { result, ..table() }, head: None, windows: vec![] };
    let repairs = diagnosed(Some(&run(RuntimeStatus::Running)), &[sight], 121);
    let Action::End(ended) = &repairs[0].action else { panic!("{repairs:?}") };
    assert_eq!((ended.status, ended.repairs.count), (RuntimeStatus::Completed, 1), "in the same write");
}

#[test]
fn a_plan_that_was_lost_is_sent_again_and_one_that_waits_is_not() {
    let is_plan = |debts: Vec<Debt>| matches!(debts[0].message, Message::Control(ControlMessage::Plan { .. }));
    assert!(is_plan(of_table(None, vec![], 421)));
    let of_another = Head { run: Some(id(9)), ..head(TableState::Running) };
    assert!(is_plan(of_table(Some(of_another), vec![], 421)));
    assert!(is_plan(of_table(Some(head(TableState::Planning)), vec![], 361)));
    let waiting = Head { plan_due: Some(later(900)), ..head(TableState::Planning) };
    assert_eq!(of_table(Some(waiting), vec![], 1_200), []);
}

#[test]
fn a_count_that_is_overdue_is_sent_with_the_chunks_of_the_count_before_that_still_wait() {
    let mut running = head(TableState::Running);
    running.counts.open = 2;
    running.verify = Some(VerifyDue { number: 5, at: now(), pause_ms: 0 });
    let owed = HeadDebts {
        step: "verify:4".into(),
        by: None,
        messages: vec![chunk(10), chunk(20), verify::message(&key(), 5)],
    };
    running.owed_verify = Some(owed);
    running.moved = later(121);
    let mut claimed = windows(&[WindowState::Claimed, WindowState::Planned]);
    claimed[0].1.lease_until = Some(later(300));
    assert_eq!(of_table(Some(running), claimed, 121), [chunk(20), verify::message(&key(), 5)]);
}

#[test]
fn a_window_whose_worker_is_gone_is_sent_again() {
    let mut running = head(TableState::Running);
    running.counts.open = 2;
    let mut held = windows(&[WindowState::Claimed, WindowState::Sealed]);
    held[0].1.lease_until = Some(later(300));
    held[1].1.lease_until = Some(later(900));
    assert_eq!(of_table(Some(running.clone()), held.clone(), 359), []);
    assert_eq!(of_table(Some(running), held, 360), [chunk(10)]);
}

#[test]
fn a_table_that_stands_still_is_dispatched_again_up_to_its_lanes() {
    let mut running = head(TableState::Running);
    running.counts.open = 3;
    let planned = windows(&[WindowState::Planned, WindowState::Planned, WindowState::Planned]);
    assert_eq!(of_table(Some(running.clone()), planned.clone(), 720), []);
    assert_eq!(of_table(Some(running.clone()), planned.clone(), 721), [chunk(10), chunk(20)]);
}

#[test]
fn a_table_that_was_left_held_when_its_run_went_on_is_told_to() {
    let held = Head { stop: true, ..head(TableState::Running) };
    assert_eq!(of_table(Some(held.clone()), vec![], 120), []);
    let [Debt { message: Message::Control(ControlMessage::Plan { .. }), .. }] = of_table(Some(held), vec![], 121)[..]
    else {
        panic!("not told")
    };
}

#[test]
fn counts_that_go_on_in_a_held_table_do_not_hide_that_it_was_left_held() {
    let counting = Some(VerifyDue { number: 5, at: now(), pause_ms: 0 });
    let held = Head { stop: true, verify: counting, updated: later(121), ..head(TableState::Running) };
    let debts = of_table(Some(held), windows(&[WindowState::Claimed]), 121);
    assert!(matches!(&debts[..], [Debt { message: Message::Control(ControlMessage::Plan { .. }), .. }]), "{debts:?}");
}

#[test]
fn a_run_that_is_about_to_begin_again_keeps_its_place() {
    let place = Active { instance: id(1), since: later(10), life: 1 };
    let failed = run(RuntimeStatus::Failed);
    assert_eq!(diagnose(&place, Some(&failed), &[], Calls::OPEN, later(11), &limits()), []);
    assert_eq!(diagnose(&place, Some(&failed), &[], Calls::OPEN, later(131), &limits())[0].action, Action::Leave);
}

#[test]
fn a_table_that_was_dispatched_again_is_given_as_long_as_before() {
    let mut running = head(TableState::Running);
    running.counts.open = 1;
    let sight = Sight { table: table(), head: Some(running), windows: windows(&[WindowState::Planned]) };
    let repairs = diagnosed(Some(&run(RuntimeStatus::Running)), std::slice::from_ref(&sight), 721);
    let Action::Dispatch { head, .. } = &repairs[0].action else { panic!("{repairs:?}") };
    let sight = Sight { head: Some((**head).clone()), ..sight };
    assert_eq!(diagnosed(Some(&run(RuntimeStatus::Running)), &[sight], 1_441), []);
}

#[test]
fn an_end_that_was_lost_is_sent_again() {
    let finishing = Head { verify_number: 8, ..head(TableState::Finishing) };
    assert_eq!(of_table(Some(finishing.clone()), vec![], 120), []);
    assert_eq!(of_table(Some(finishing), vec![], 121), [verify::message(&key(), 8)]);
    let of_snapshot = |verdict| Head { verify_number: 8, ..attempted(TableState::Finishing, 1, verdict) };
    assert_eq!(of_table(Some(of_snapshot(None)), vec![], 300), [], "its source is counted as the quota allows");
    assert_eq!(of_table(Some(of_snapshot(None)), vec![], 301), [verify::message(&key(), 8)]);
    assert_eq!(of_table(Some(of_snapshot(Some(Verdict::Whole))), vec![], 121), [verify::message(&key(), 8)]);
}

fn paused(seconds: u64) -> Calls {
    Calls { opens_at: later(seconds), paused_until: later(seconds) }
}

#[test]
fn a_window_that_waits_as_long_as_a_service_asked_is_no_standstill_and_hides_none() {
    let mut running = head(TableState::Running);
    running.counts.open = 2;
    let mut all = windows(&[WindowState::Planned, WindowState::Planned]);
    running.out = all.iter().map(|(name, _)| name.clone()).collect();
    for (name, window) in &mut all {
        window.owed = vec![Debt::chunk_later(&key(), name.clone(), Duration::from_secs(1_800)).in_turn(Some(1))];
    }
    assert_eq!(of_table(Some(running.clone()), all.clone(), 1_799), []);
    all[1].1.owed.clear();
    assert_eq!(of_table(Some(running.clone()), all.clone(), 720), []);
    assert_eq!(of_table(Some(running), all, 721), [chunk(20)], "the message of this one was lost");
}

#[test]
fn a_pause_of_the_tenants_calls_is_no_standstill() {
    let mut running = head(TableState::Running);
    running.counts.open = 1;
    let planned = windows(&[WindowState::Planned]);
    for seconds in [721, 1_800, 3_600, 4_320] {
        assert_eq!(of_waiting(paused(3_600), Some(running.clone()), planned.clone(), seconds), [], "{seconds}");
    }
    assert_eq!(of_waiting(paused(3_600), Some(running), planned, 4_321), [chunk(10)], "its messages did not come back");
}

#[test]
fn a_table_that_others_keep_from_the_quota_is_given_the_time_that_all_lanes_need() {
    let mut running = head(TableState::Running);
    running.counts.open = 1;
    let planned = windows(&[WindowState::Planned]);
    let busy = |seconds| Calls { opens_at: later(seconds + 5), paused_until: Timestamp::MIN };
    let queue = limits().longest_queue().as_secs();
    assert!((1..60).contains(&queue), "{queue}");
    assert_eq!(of_waiting(busy(720 + queue), Some(running.clone()), planned.clone(), 720 + queue), []);
    assert_eq!(of_waiting(busy(800), Some(running), planned, 800), [chunk(10)], "lost all the same");
}

#[test]
fn windows_of_dead_workers_pile_up_no_messages_during_a_pause() {
    let mut running = head(TableState::Running);
    running.counts.open = 2;
    let mut held = windows(&[WindowState::Claimed, WindowState::Sealed]);
    held.iter_mut().for_each(|(_, window)| window.lease_until = Some(later(300)));
    let sent = of_waiting(paused(3_600), Some(running.clone()), held.clone(), 400);
    assert_eq!(sent.len(), 1, "what is sealed needs no call");
    assert!(matches!(&sent[0].message, Message::Chunk(chunk) if chunk.window == held[1].0) && !sent[0].wants_permit());
    assert_eq!(of_waiting(paused(3_600), Some(running), held, 3_500).len(), 2);
}

#[test]
fn a_repair_names_its_run_table_and_window() {
    let mut running = head(TableState::Running);
    running.counts.open = 1;
    let mut held = windows(&[WindowState::Claimed]);
    held[0].1.lease_until = Some(later(300));
    let window = held[0].1.id;
    let sight = Sight { table: table(), head: Some(running), windows: held };
    let repairs = diagnosed(Some(&run(RuntimeStatus::Running)), &[sight], 400);
    let made = repairs[0].made(later(400));
    assert_eq!((repairs[0].instance.clone(), made.kind, made.table.as_deref()), (id(1), Kind::WorkerGone, Some("s")));
    assert_eq!(made.window, Some(window.to_string()));
}
