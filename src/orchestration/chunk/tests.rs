//! What a chunk message finds and what a pull came to, by table: state and event on the left, what follows on the right.

use super::*;
use crate::orchestration::fan_in;
use crate::orchestration::head::testing::{head, key, later, now, seen, shape};
use crate::orchestration::ids::Part;
use crate::orchestration::limits::MAX_DYNAMIC_BYTES;
use crate::orchestration::limits::WINDOW_ATTEMPTS;
use crate::orchestration::message::Message;
use crate::orchestration::plan::{Caps, Piece};

const TERMS: Terms<'static> = Terms {
    source: "s",
    destination: "x",
    oversize_fails: true,
    largest_cell: MAX_DYNAMIC_BYTES,
    is_whole: false,
    now: Timestamp::MAX,
};

fn limits() -> Limits {
    Limits::scaled(1.0)
}

fn window(planned_rows: u64, attempts: u32) -> Window {
    Window { planned_rows, attempts, ..seen(10, WindowState::Claimed).window }
}

fn name() -> WindowName {
    seen(10, WindowState::Planned).name
}

/// What follows, in a word; `!` marks an attempt that counts.
fn word(over: &Over) -> String {
    match over {
        Over::End(WindowEnd::Split(children)) => format!("split {}", children.len()),
        Over::End(WindowEnd::Empty) => "empty".into(),
        Over::End(WindowEnd::Expired(_)) => "expired".into(),
        Over::End(WindowEnd::Failed(_)) => "failed".into(),
        Over::End(WindowEnd::Refused(_)) => "refused".into(),
        Over::End(WindowEnd::Submitted) => "submitted".into(),
        Over::Later(Later { own_fault, pause, .. }) => {
            let pause = pause.map_or_else(|| "backoff".to_owned(), |pause| format!("{} s", pause.as_secs()));
            format!("again after {pause}{}", if *own_fault { "!" } else { "" })
        }
    }
}

fn next_word(next: &Next) -> String {
    match next {
        Next::Split(Reason { size: false, .. }) => "split".into(),
        Next::Split(Reason { size: true, .. }) => "split by weight".into(),
        Next::Over(over) => word(over),
    }
}

#[test]
fn an_answer_is_sealed_only_if_it_is_whole_and_fits() {
    use Counted::{NotYet, Nothing, Rows};
    let small = 100;
    for (planned, rows, longest, counted, attempts, expected) in [
        (5, 5, small, NotYet, 0, "store"),
        (5, 7, small, NotYet, 0, "store"),
        (5, ROW_CAP - 1, small, NotYet, 0, "store"),
        (5, ROW_CAP, small, NotYet, 0, "split"),
        (5, 4, small, NotYet, 0, "count"),
        (5, 4, small, Rows(4), 0, "store"),
        (5, 4, small, Rows(3), 0, "store"),
        (5, 4, small, Rows(5), 0, "again after backoff!"),
        (5, 4, small, Rows(5), 1, "split"),
        (5, 4, small, Nothing, 0, "again after backoff!"),
        (5, 0, 0, NotYet, 0, "count"),
        (5, 0, 0, Rows(0), 0, "expired"),
        (5, 0, 0, Rows(1), 0, "again after backoff!"),
        (0, 0, 0, NotYet, 0, "empty"),
        (0, 3, small, NotYet, 0, "store"),
        (5, 5, MAX_DYNAMIC_BYTES, NotYet, 0, "store"),
        (5, 5, MAX_DYNAMIC_BYTES + 1, NotYet, 0, "failed"),
    ] {
        let answer = Answer { rows, new: rows, longest_row_bytes: longest, counted };
        let said = match judge(&window(planned, attempts), answer, TERMS) {
            Judged::Count => "count".to_owned(),
            Judged::Store => "store".to_owned(),
            Judged::Next(next) => next_word(&next),
        };
        assert_eq!(said, expected, "{rows} of {planned} rows, {counted:?}, attempt {attempts}");
    }
    let gone = Answer { rows: 0, new: 0, longest_row_bytes: 0, counted: Rows(0) };
    for (age, expected) in [(SOURCE_KEPT, "again after backoff!"), (SOURCE_KEPT + Duration::from_secs(1), "expired")] {
        let terms = Terms { now: window(5, 4).id.high + age, ..TERMS };
        let Judged::Next(next) = judge(&window(5, 4), gone, terms) else { panic!("{age:?}") };
        assert_eq!(next_word(&next), expected, "{age:?}");
    }
    // A part of a snapshot may become empty at any time; that the source changed is told of the whole.
    let Judged::Next(next) = judge(&window(5, 0), gone, Terms { is_whole: true, now: now(), ..TERMS }) else {
        panic!()
    };
    assert_eq!(next_word(&next), "empty");
    let large = Answer { rows: 5, new: 5, longest_row_bytes: MAX_DYNAMIC_BYTES + 1, counted: NotYet };
    assert_eq!(judge(&window(5, 0), large, Terms { oversize_fails: false, ..TERMS }), Judged::Store);
    assert_eq!(judge(&window(5, 0), large, Terms { largest_cell: 2 * MAX_DYNAMIC_BYTES, ..TERMS }), Judged::Store);
}

#[test]
fn what_a_pull_met_decides_what_follows() {
    let e = || "e".to_owned();
    for (met, first, second) in [
        (Met::TooMuch(e()), "split", "split"),
        (Met::TooLarge(e()), "split by weight", "split by weight"),
        (Met::Broken(e()), "again after backoff!", "split"),
        (Met::Quota(e()), "again after 0 s", "again after 0 s"),
        (Met::Budget(e()), "again after backoff", "again after backoff"),
        (Met::Unavailable(e(), None), "again after backoff!", "again after backoff!"),
        (Met::Unavailable(e(), Some(Duration::from_secs(7))), "again after 7 s!", "again after 7 s!"),
        (
            Met::Waits(Wait { why: e(), pause: Duration::from_secs(4), before: None }),
            "again after 4 s",
            "again after 4 s",
        ),
        (Met::Refused(e()), "refused", "refused"),
        (Met::Hopeless(e()), "failed", "failed"),
    ] {
        for (attempts, expected) in [(0, first), (1, second)] {
            assert_eq!(next_word(&after(&window(5, attempts), met.clone())), expected, "{met:?}, attempt {attempts}");
        }
    }
}

fn too_much(asked: bool) -> Reason {
    Reason { text: "too much".into(), size: false, asked }
}

#[test]
fn waiting_for_the_quota_spends_no_attempt_of_a_window_that_was_not_asked_for() {
    for (asked, expected) in [(true, "again after 0 s!"), (false, "again after 0 s")] {
        let split = Split { reason: &too_much(asked), name: &name(), shape: &shape() };
        let over = divided(&window(8, 0), split, Err(Met::Quota("none".into())), now());
        assert_eq!(word(&over), expected);
    }
}

#[test]
fn a_part_without_rows_is_not_asked_for() {
    let piece = |low, rows| Piece::whole(Timestamp::from_ticks(low), Timestamp::from_ticks(low + 5), rows);
    let split = Split { reason: &too_much(true), name: &name(), shape: &shape() };
    let cut = Ok(vec![piece(10, 4), piece(15, 0), piece(20, 4)]);
    let Over::End(WindowEnd::Split(children)) = divided(&window(8, 0), split, cut, now()) else { panic!("not split") };
    let states: Vec<_> = children.iter().map(|(_, child)| child.state).collect();
    assert_eq!(states, [WindowState::Planned, WindowState::Empty, WindowState::Planned]);
}

#[test]
fn a_window_that_is_too_much_is_cut_or_comes_to_an_end() {
    let piece = |low, rows| Piece::whole(Timestamp::from_ticks(low), Timestamp::from_ticks(low + 5), rows);
    let e = || "e".to_owned();
    for (cut, expected) in [
        (Ok(vec![piece(10, 4), piece(15, 4)]), "split 2"),
        (Ok((0..300).map(|low| piece(low * 5, 1)).collect()), "split 98"),
        (Ok(vec![piece(10, 8)]), "failed"),
        (Ok(vec![]), "failed"),
        (Ok(vec![piece(10, 4)]), "again after backoff!"),
        (Err(Met::Quota(e())), "again after 0 s!"),
        (Err(Met::TooMuch(e())), "again after backoff!"),
        (Err(Met::Broken(e())), "again after backoff!"),
        (Err(Met::Budget(e())), "again after backoff"),
        (Err(Met::Unavailable(e(), None)), "again after backoff!"),
        (Err(Met::Refused(e())), "refused"),
    ] {
        let split = Split { reason: &too_much(true), name: &name(), shape: &shape() };
        let over = divided(&window(8, 0), split, cut.clone(), now());
        let pieces = cut.map(|pieces| pieces.len());
        assert_eq!(word(&over), expected, "{pieces:?}");
    }
}

#[test]
fn what_is_refused_again_and_again_is_not_divided_down_to_its_rows() {
    let ends = |head: &Head, window: &Window| match futile(head, window, &too_much(true), &limits()) {
        Some(WindowEnd::Failed(reason)) => Some(reason),
        None => None,
        other => panic!("{other:?}"),
    };
    let piece = |rows| Piece::whole(Timestamp::from_ticks(10), Timestamp::from_ticks(15), rows);
    let (mut lineage, head) = (window(99_000, 0), head(TableState::Running));
    let mut divisions = 0;
    let reason = loop {
        if let Some(reason) = ends(&head, &lineage) {
            break reason;
        }
        divisions += 1;
        let halves = vec![piece(lineage.planned_rows / 2), piece(lineage.planned_rows / 2)];
        let split = Split { reason: &too_much(true), name: &name(), shape: &shape() };
        let Over::End(WindowEnd::Split(parts)) = divided(&lineage, split, Ok(halves), now()) else { panic!() };
        lineage = parts[0].1.clone();
    };
    assert_eq!((divisions, lineage.planned_rows), (8, 386));
    assert!(reason.contains("386 rows") && reason.contains("next run"), "{reason}");
    let failed = Window { state: WindowState::Failed, ..lineage };
    assert_eq!(failed.taken_up(now(), &limits()).unwrap().splits, 0, "the next run divides it on");

    let unanswered = |unanswered| Head {
        progress: crate::orchestration::ledger::Progress { unanswered, ..head.progress },
        ..head.clone()
    };
    let most = 8 * u64::from(limits().lanes);
    assert_eq!(ends(&unanswered(most - 1), &window(99_000, 0)), None);
    let reason = ends(&unanswered(most), &window(99_000, 0)).unwrap();
    assert!(reason.contains("none of their parts was answered"), "{reason}");
}

#[test]
fn a_window_that_was_not_asked_for_counts_as_no_refusal() {
    let piece = |low| Piece::whole(Timestamp::from_ticks(low), Timestamp::from_ticks(low + 5), 4);
    for (asked, splits) in [(true, 3), (false, 2)] {
        let split = Split { reason: &too_much(asked), name: &name(), shape: &shape() };
        let parent = Window { splits: 2, ..window(8, 0) };
        let Over::End(end) = divided(&parent, split, Ok(vec![piece(10), piece(15)]), now()) else { panic!() };
        let WindowEnd::Split(parts) = &end else { panic!("not split") };
        assert!(parts.iter().all(|(_, part)| part.splits == splits), "{parts:?}");
        let running = Head { state: TableState::Running, ..head(TableState::Running) };
        let ended = fan_in::end(&key(), &name(), &running, &parent, end, now(), &limits()).unwrap();
        assert_eq!(ended.head.progress.unanswered, u64::from(asked));
        let sealed = seen(10, WindowState::Sealed).window;
        let next = fan_in::end(&key(), &name(), &ended.head, &sealed, WindowEnd::Submitted, now(), &limits()).unwrap();
        assert_eq!(next.head.progress.unanswered, 0, "an answer was of use");
    }
}

#[test]
fn a_part_that_can_no_longer_be_told_from_the_others_ends_and_nothing_is_asked() {
    let mut part = window(8, 0);
    part.id.part = Part { index: 1, count: 2 };
    assert_eq!(cannot_be_asked_for(&part, &shape()), None);
    let other = Shape { parting: 1, ..shape() };
    let Some(Over::End(WindowEnd::Failed(why))) = cannot_be_asked_for(&part, &other) else { panic!("it is asked for") };
    assert!(why.contains("8 rows") && why.contains("The next run") && !why.contains("  "), "{why}");
    assert_eq!(cannot_be_asked_for(&Window { parting: 1, ..part }, &other), None);
    assert_eq!(cannot_be_asked_for(&window(8, 0), &other), None, "no hash is needed for all of a range");
}

#[test]
fn children_cover_their_parent_under_its_plan_and_path() {
    let piece = |index| Piece {
        low: Timestamp::from_ticks(10),
        high: Timestamp::from_ticks(20),
        part: Part { index, count: 2 },
        rows: 4,
    };
    let parent = Window { handover: true, ..window(8, 3) };
    let shape = Shape { parting: 3, ..shape() };
    let split = Split { reason: &too_much(true), name: &name(), shape: &shape };
    let Over::End(WindowEnd::Split(children)) = divided(&parent, split, Ok(vec![piece(0), piece(1)]), now()) else {
        panic!("not split")
    };
    let paths: Vec<&str> = children.iter().map(|(name, _)| name.path()).collect();
    assert_eq!(paths, ["000", "001"]);
    for (_, child) in &children {
        assert_eq!((child.state, child.attempts, child.handover), (WindowState::Planned, 0, true));
        assert_eq!((&child.plan, child.id.ledger, child.parting), (&parent.plan, parent.id.ledger, 3));
    }
}

#[test]
fn a_claim_that_is_given_back_is_sent_again_until_its_attempts_are_used_up() {
    let later = |own_fault, pause| Later { error: "reset".into(), own_fault, pause, before: None };
    let back = |attempts, later: &Later| give_back(&key(), &name(), &window(5, attempts), later, now(), &limits());
    let Ok(GivenBack::Again(again)) = back(0, &later(true, None)) else { panic!("not again") };
    let sent = Debt::chunk_later(&key(), name(), limits().outage_pause(1)).in_turn(Some(1));
    assert_eq!((again.state, again.attempts, again.owed), (WindowState::Planned, 1, vec![sent]));
    let quota = back(WINDOW_ATTEMPTS - 1, &later(false, Some(Duration::ZERO)));
    assert!(matches!(quota, Ok(GivenBack::Again(again)) if again.owed[0].wants_permit()), "the quota is no attempt");
    let Ok(GivenBack::Failed(WindowEnd::Failed(reason))) = back(WINDOW_ATTEMPTS - 1, &later(true, None)) else {
        panic!("not failed")
    };
    assert_eq!(reason, "reset (attempt 5)");
    let planned = seen(10, WindowState::Planned).window;
    assert!(give_back(&key(), &name(), &planned, &later(true, None), now(), &limits()).is_err());
}

#[test]
fn what_a_message_finds_depends_on_table_and_window() {
    use TableState::{Finishing, Idle, Planning, Running};
    use WindowState::{Claimed, Planned, Sealed, Submitted};
    let lease = |state, alive: bool| {
        let lease_until = matches!(state, Claimed | Sealed).then(|| if alive { later(300) } else { now() });
        Window { lease_until, owner: lease_until.map(|_| "other".into()), ..seen(10, state).window }
    };
    for (table, stop, state, alive, early, expected) in [
        (Planning, false, Planned, true, false, "being planned"),
        (Idle, false, Planned, true, false, "held"),
        (Running, true, Planned, true, false, "held"),
        (Running, true, Claimed, false, false, "held"),
        (Running, true, Sealed, true, false, "held"),
        (Running, true, Sealed, false, false, "recover"),
        (Finishing, false, Submitted, true, false, "pay 0"),
        (Running, false, Planned, true, false, "claim"),
        (Running, false, Planned, true, true, "go back"),
        (Running, false, Claimed, true, false, "pay 1"),
        (Running, false, Claimed, false, true, "claim"),
        (Running, false, Sealed, true, false, "pay 1"),
        (Running, false, Sealed, false, false, "recover"),
        (Running, false, Submitted, true, false, "pay 0"),
    ] {
        let head = Head { stop, ..head(table) };
        let delivery =
            Delivery { message: "m", number: 1, turn: None, behind: None, permit: None, comes_too_early: early };
        let found = receive(&key(), &name(), &head, &lease(state, alive), delivery, later(100), &limits());
        let said = match found {
            Received::BeingPlanned => "being planned".to_owned(),
            Received::Held => "held".to_owned(),
            Received::Pay(owed) => format!("pay {}", owed.len()),
            Received::Recover(_) => "recover".to_owned(),
            Received::Claim(_) => "claim".to_owned(),
            Received::GoBack(_) => "go back".to_owned(),
        };
        assert_eq!(said, expected, "{table:?} (stop {stop}), {state:?} (alive {alive})");
        let known = may_claim(&head, &lease(state, alive));
        assert!(!known || matches!(said.as_str(), "claim" | "go back"), "{table:?}, {state:?}");
    }
}

#[test]
fn the_debts_of_a_window_are_paid_by_the_message_that_ended_it_alone_whether_a_run_drives_the_table_or_not() {
    let debt = Debt::chunk(&key(), seen(20, WindowState::Planned).name);
    let (owner, lease_until) = (Some("m".to_owned()), Some(now()));
    for (table, stop) in [(TableState::Running, false), (TableState::Running, true), (TableState::Idle, false)] {
        let head = Head { stop, ..head(table) };
        let finds = |message, window: &Window| {
            let delivery =
                Delivery { message, number: 2, turn: None, behind: None, permit: None, comes_too_early: false };
            receive(&key(), &name(), &head, window, delivery, later(100), &limits())
        };
        let sealed = Window { lease_until, owner: Some("dead".into()), ..seen(10, WindowState::Sealed).window };
        let Received::Recover(recovered) = finds("m", &sealed) else { panic!("{table:?}") };
        assert_eq!(recovered.owner, owner, "{table:?} (stop {stop})");
        let ended = Window { state: WindowState::Submitted, owed: vec![debt.clone()], ..*recovered };
        assert_eq!(finds("m", &ended), Received::Pay(vec![debt.clone()]), "{table:?} (stop {stop})");
        // A copy of a copy would pay for all windows after this one again, and each of those copies, too.
        assert_eq!(finds("copy", &ended), Received::Pay(vec![]), "{table:?} (stop {stop})");
    }
}

#[test]
fn of_the_copies_of_a_message_that_goes_back_only_the_last_one_goes_on() {
    let running = head(TableState::Running);
    let finds = |message, turn, comes_too_early, window: &Window| {
        let delivery = Delivery { message, number: 1, turn, behind: None, permit: None, comes_too_early };
        receive(&key(), &name(), &running, window, delivery, later(100), &limits())
    };
    let back = |message, turn, window: &Window| match finds(message, turn, true, window) {
        Received::GoBack(back) => *back,
        other => panic!("{other:?}"),
    };
    let next = |turn| vec![Debt::chunk(&key(), name()).in_turn(Some(turn))];
    let planned = seen(10, WindowState::Planned).window;
    let first = back("m", None, &planned);
    assert_eq!((first.state, first.turn, first.owed.clone()), (WindowState::Planned, 1, next(1)));
    assert_eq!(finds("m", None, true, &first), Received::Pay(next(1)), "it may have been killed before it sent it");
    let second = back("n", Some(1), &first);
    assert_eq!(second.owed, next(2));
    assert_eq!(finds("copy of n", Some(1), true, &second), Received::Pay(vec![]));
    assert!(matches!(finds("copy of n", Some(1), false, &second), Received::Claim(_)), "whoever may call, may");
    assert_eq!(back("handed out anew", None, &second).turn, 3, "nobody has taken its place");
    let held = Window { lease_until: Some(later(300)), state: WindowState::Claimed, ..second };
    assert_eq!(finds("copy of n", Some(1), true, &held), Received::Pay(vec![]));
    let Received::Pay(waits) = finds("last", Some(2), true, &held) else { panic!("not told to come back") };
    assert_eq!(
        waits[0],
        Debt::chunk_later(&key(), name(), waits[0].delay).in_turn(Some(2)).behind(held.owner.as_deref())
    );

    let later = Later { error: "paused".into(), own_fault: false, pause: Some(Duration::ZERO), before: None };
    let claimed = Window { turn: 4, owner: Some("m".into()), ..window(5, 0) };
    let Ok(GivenBack::Again(again)) = give_back(&key(), &name(), &claimed, &later, now(), &limits()) else { panic!() };
    assert_eq!((again.turn, again.owed.clone()), (5, next(5)));
    assert_eq!(finds("m", Some(4), true, &again), Received::Pay(next(5)));
    assert_eq!(finds("copy of m", Some(4), true, &again), Received::Pay(vec![]));
}

#[test]
fn of_the_copies_of_a_message_that_wait_for_a_lease_one_waits_for_the_next() {
    let running = head(TableState::Running);
    let finds = |message, behind, owner: &str| {
        let delivery = Delivery { message, number: 1, turn: None, behind, permit: None, comes_too_early: false };
        let window = seen(10, WindowState::Claimed).window;
        let window = Window { owner: Some(owner.to_owned()), delivery: 1, lease_until: Some(later(300)), ..window };
        let Received::Pay(waits) = receive(&key(), &name(), &running, &window, delivery, now(), &limits()) else {
            panic!("not told to wait")
        };
        let behind = |debt: &Debt| match &debt.message {
            Message::Chunk(message) => message.behind.clone(),
            Message::Control(_) => None,
        };
        waits.iter().map(behind).collect::<Vec<_>>()
    };
    let (none, first, second) = (vec![], vec![Some("first".to_owned())], vec![Some("second".to_owned())]);
    assert_eq!(finds("a", None, "first"), first, "it may be all that is left of it");
    assert_eq!(finds("a", Some("first"), "first"), first, "the lease is not over yet");
    assert_eq!(finds("a", Some("first"), "second"), none, "the second comes again itself");
    assert_eq!(finds("second", Some("first"), "second"), second, "a repeat of what has the window");
}

#[test]
fn of_two_messages_that_carry_one_permit_the_second_has_none() {
    let running = head(TableState::Running);
    let permit = Some(later(100));
    let claimed = |message, permit, window: &Window| {
        let permit = window.unused(permit);
        let delivery = Delivery { message, number: 1, turn: None, behind: None, permit, comes_too_early: false };
        match receive(&key(), &name(), &running, window, delivery, later(100), &limits()) {
            Received::Claim(claimed) => *claimed,
            other => panic!("{other:?}"),
        }
    };
    let planned = seen(10, WindowState::Planned).window;
    assert_eq!(planned.unused(permit), permit);
    let first = claimed("m", permit, &planned);
    let again = first.retried("the answer broke", true, later(100)).unwrap().unwrap();
    assert_eq!(again.unused(permit), None, "its call was sent");
    let second = claimed("copy of m", permit, &again).retried("the answer broke", true, later(101)).unwrap().unwrap();
    assert_eq!((second.unused(permit), second.unused(Some(later(101)))), (None, Some(later(101))));
}

#[test]
fn a_repair_waits_for_the_proof_of_another_window_as_long_as_that_is_alive_and_no_longer() {
    let running = Head { out: vec![seen(20, WindowState::Planned).name], ..head(TableState::Running) };
    let base = |state| seen(20, state).window;
    let met = |repair: &Window, other: &Window| {
        not_yet(&running, repair, (&seen(20, WindowState::Planned).name, other), now(), &limits())
    };
    let mut repair = window(5, WINDOW_ATTEMPTS - 1);
    repair.id.repair = 1;
    for look in 0..30 {
        let Next::Over(Over::Later(later)) = after(&repair, met(&repair, &base(WindowState::Submitted))) else {
            panic!("look {look}")
        };
        assert!(later.pause <= Some(limits().verify_longest) && later.before.is_none(), "look {look}: {later:?}");
        let Ok(GivenBack::Again(again)) = give_back(&key(), &name(), &repair, &later, now(), &limits()) else {
            panic!("look {look}")
        };
        assert!(!again.owed[0].wants_permit(), "no call is made while it waits");
        repair = Window { state: WindowState::Claimed, ..*again };
    }
    for (state, expected) in [
        (WindowState::Planned, "again after 60 s"),
        (WindowState::Claimed, "again after 60 s"),
        (WindowState::Sealed, "again after 60 s"),
        (WindowState::Failed, "failed"),
    ] {
        assert_eq!(next_word(&after(&repair, met(&repair, &base(state)))), expected, "{state:?}");
    }
    let mut beside = base(WindowState::Planned);
    beside.id.repair = 1;
    let met_beside = next_word(&after(&repair, met(&repair, &beside)));
    assert_eq!(met_beside, "again after backoff!", "two that wait for each other come to an end");
}

#[test]
fn a_window_that_nobody_has_in_hand_is_handed_out_by_what_waits_for_it() {
    let (running, mut repair) = (head(TableState::Running), window(5, 0));
    repair.id.repair = 1;
    let other = seen(20, WindowState::Planned);
    let Next::Over(Over::Later(later)) =
        after(&repair, not_yet(&running, &repair, (&other.name, &other.window), now(), &limits()))
    else {
        panic!("does not wait")
    };
    let Ok(GivenBack::Again(again)) = give_back(&key(), &name(), &repair, &later, now(), &limits()) else { panic!() };
    assert_eq!(again.owed.len(), 2);
    assert_eq!(again.owed[1], Debt::chunk(&key(), other.name), "else all lanes may wait for it");
}

#[test]
fn a_window_whose_own_message_comes_back_after_a_pause_is_not_handed_out_before() {
    let (running, mut repair, other) = (head(TableState::Running), window(5, 0), seen(20, WindowState::Planned));
    repair.id.repair = 1;
    let again = Debt::chunk_later(&key(), other.name.clone(), Duration::from_secs(30)).in_turn(Some(1));
    let paused = Window { owed: vec![again], updated: now(), turn: 1, ..other.window };
    let hands_out = |seconds| match not_yet(&running, &repair, (&other.name, &paused), later(seconds), &limits()) {
        Met::Waits(wait) => wait.before == Some(other.name.clone()),
        met => panic!("{met:?}"),
    };
    assert!(!hands_out(0) && !hands_out(89), "its attempts would be spent without a pause");
    assert!(hands_out(90), "its message was lost, or ended while the table was held");
}

/// A window of more than an instant.
fn long(planned_rows: u64, attempts: u32) -> Window {
    let mut window = window(planned_rows, attempts);
    window.id.high = window.id.low + Duration::from_secs(60);
    window
}

#[test]
fn what_surely_does_not_fit_is_looked_at_before_it_is_asked_for() {
    let known = Head { bytes_per_row: Some(1_000.0), ..head(TableState::Running) };
    let reason = |rows, attempts| too_much_already(&known, &long(rows, attempts), 50_000_000);
    assert_eq!(reason(49_000, 0), None);
    assert!(reason(60_000, 0).is_some_and(|reason| reason.size));
    assert_eq!(reason(60_000, 1), None, "it could not be divided, or somebody else knows better");
    assert!(reason(ROW_CAP, 1).is_some_and(|reason| !reason.size));
    let mut part = long(60_000, 0);
    part.id.part = Part { index: 0, count: 2 };
    assert_eq!(too_much_already(&known, &part, 50_000_000), None, "its rows are not weighed");
}

#[test]
fn a_window_is_divided_by_the_weight_of_its_rows_or_by_what_is_known_of_it() {
    let known = Head { bytes_per_row: Some(1_000.0), margin: Some(0.1), ..head(TableState::Running) };
    let aim = |rows, size, asked| {
        let reason = Reason { text: String::new(), size, asked };
        aim(&known, &window(rows, 0), &reason, &limits(), 50_000_000)
    };
    assert_eq!([10, 80_000, 99_000].map(|rows| aim(rows, false, true).parts), [2, 2, 3]);
    assert_eq!((aim(99_000, true, true).parts, aim(99_000, true, false).parts), (2, 1));
    assert_eq!(aim(99_000, true, true).most, Caps { rows: 99_000, bytes: 48_500_000 }, "they are weighed");
    assert_eq!(aim(99_000, false, true).most.rows, 45_000);
}
