//! Holds the state diagrams of `docs/architecture.md` against the rules: each rule is tried on a record in each state,
//! and what it changes must be what the diagram shows. Loops, which leave a state as it is, are not drawn.

use super::fan_in::{WindowEnd, end};
use super::head::merge::{Terms, merged};
use super::head::testing::{head, id, key, later, now, run as starter, seal, seen, shape, table};
use super::head::verify::{Count, Judged, Part, record};
use super::head::{finish, gap, given_up, hold, narrow, plan, survey, take, unplanned};
use super::ids::{Part as HashPart, WindowId};
use super::instance::{Instance, RuntimeStatus, StartInput, TableResult};
use super::ledger::{Counts, Head, TableState, VerifyDue};
use super::limits::{Limits, MOST_SPLITS};
use super::message::Debt;
use super::plan::Piece;
use super::run::{restart, rewind};
use super::snapshot;
use super::verification::{Verdict, settle};
use super::watchdog::{Action, Calls, Sight, diagnose};
use super::window::{Claim, Window, WindowState};
use super::write::{Seen, WindowWrite};
use crate::timestamp::Timestamp;
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// From, to, event.
type Changes = BTreeSet<(String, String, String)>;

const START: &str = "[*]";

/// The transitions of the diagram below the heading.
fn drawn(heading: &str) -> Changes {
    let page = include_str!("../../docs/architecture.md");
    let (_, below) = page.split_once(&format!("### {heading}\n")).expect("the heading");
    let (_, diagram) = below.split_once("```mermaid\nstateDiagram-v2\n").expect("a diagram");
    let (diagram, _) = diagram.split_once("```").expect("its end");
    let mut changes = Changes::new();
    for line in diagram.lines().map(str::trim).filter(|line| line.contains("-->")) {
        let (from, rest) = line.split_once(" --> ").expect("an arrow");
        let (to, events) = rest.split_once(": ").unwrap_or((rest, ""));
        if to == START {
            continue;
        }
        for event in events.split(", ") {
            changes.insert((from.to_owned(), to.to_owned(), event.to_owned()));
        }
    }
    changes
}

fn assert_drawn(heading: &str, changes: &Changes) {
    let drawn = drawn(heading);
    let missing: Vec<_> = changes.difference(&drawn).collect();
    let invented: Vec<_> = drawn.difference(changes).collect();
    assert!(
        missing.is_empty() && invented.is_empty(),
        "{heading}: not drawn {missing:#?}, not in the rules {invented:#?}"
    );
}

fn add<S: PartialEq>(changes: &mut Changes, name: impl Fn(S) -> String, from: S, to: S, event: &str) {
    if from != to {
        changes.insert((name(from), name(to), event.to_owned()));
    }
}

fn limits() -> Limits {
    Limits::scaled(1.0)
}

fn word<T: serde::Serialize>(state: T) -> String {
    json!(state).as_str().expect("a state is a word").to_owned()
}

const WINDOW_STATES: [WindowState; 10] = [
    WindowState::Planned,
    WindowState::Claimed,
    WindowState::Sealed,
    WindowState::Submitted,
    WindowState::Verified,
    WindowState::Split,
    WindowState::Empty,
    WindowState::Expired,
    WindowState::Failed,
    WindowState::Later,
];

/// What every rule of a window makes of this one.
fn moved(window: &Window) -> Vec<(&'static str, WindowState)> {
    let limits = limits();
    let mut moved = Vec::new();
    let mut to = |event, window: Option<Window>| moved.extend(window.map(|window| (event, window.state)));
    to(
        "claim",
        match window.claim("m", 1, &id(1), later(9_999), &limits) {
            Claim::Claimed(claimed) => Some(*claimed),
            Claim::Recover(_) | Claim::HeldUntil(_) | Claim::Ended(_) => None,
        },
    );
    to("sealed", window.sealed(seal(), now()).ok());
    to("retried", window.retried("reset", true, now()).ok().flatten());
    to("taken_up", window.taken_up(later(9_999), &limits));
    to("merged", merged_with_a_neighbour(window));
    to("compared", given_to_another_part(window));
    to("gone", gap::gone(&head(TableState::Planning), window, now(), &limits));
    let narrowed = Head { since: Some(Timestamp::MAX), ..head(TableState::Planning) };
    to("left", narrow::left_for_later(&narrowed, window, now()));
    to("superseded", snapshot::plan::superseded(window, &id(2), now()));
    for (event, how) in [
        ("Submitted", WindowEnd::Submitted),
        ("Empty", WindowEnd::Empty),
        ("Split", WindowEnd::Split(vec![])),
        ("Expired", WindowEnd::Expired(String::new())),
        ("Failed", WindowEnd::Failed(String::new())),
        ("Failed", WindowEnd::Refused(String::new())),
    ] {
        let name = seen(10, WindowState::Planned).name;
        to(
            event,
            end(&key(), &name, &head(TableState::Running), window, how, now(), &limits).ok().map(|end| end.window),
        );
    }
    for (event, verdict) in [
        ("Verified", Verdict::Verified),
        ("Repost", Verdict::Repost),
        ("Renew", Verdict::Renew),
        ("Unproved", Verdict::Failed(String::new())),
        ("Wait", Verdict::Wait),
        ("CountNullWatermarks", Verdict::CountNullWatermarks),
    ] {
        let gone = Window { gone_since: Some(now()), ..window.clone() };
        to(event, settle(&mut head(TableState::Running), &gone, &verdict, now()).ok());
    }
    moved
}

fn merged_with_a_neighbour(window: &Window) -> Option<Window> {
    let (mut one, mut other) = (seen(10, window.state), seen(20, window.state));
    one.window = Window { splits: if window.state == WindowState::Failed { MOST_SPLITS } else { 0 }, ..window.clone() };
    other.window = Window { id: other.window.id, ..one.window.clone() };
    let limits = limits();
    let terms =
        Terms { run: &id(1), byte_cap: 50_000_000, now: Timestamp::from_ticks(20_000_000_000), limits: &limits };
    let all = [one.window.clone(), other.window.clone()];
    let writes = merged(&head(TableState::Planning), &[one, other], &all, terms);
    writes.into_iter().flat_map(|write| write.windows).find_map(|change| match change {
        WindowWrite::Swap(_, window, _) => Some(window),
        _ => None,
    })
}

/// The second of two parts by what is gone, beside a third one that is there.
fn given_to_another_part(window: &Window) -> Option<Window> {
    let parts = [0, 1, 2].map(|index| {
        let id = WindowId { part: HashPart { index, count: 4 }, ..window.id };
        Window { id, ..window.clone() }
    });
    let mut head = head(TableState::Planning);
    head.shape.get_or_insert_with(shape).part_by(Default::default());
    let limits = limits();
    let terms = Terms { run: &id(1), byte_cap: 50_000_000, now: later(1), limits: &limits };
    let left: Vec<Seen<u64>> = parts[..2]
        .iter()
        .zip(1..)
        .map(|(window, low)| Seen { window: window.clone(), ..seen(low, window.state) })
        .collect();
    let all = [&parts[..2], &[Window { state: WindowState::Verified, ..parts[2].clone() }]].concat();
    let write = merged(&head, &left, &all, terms).pop()?;
    match write.windows.into_iter().nth(1)? {
        WindowWrite::Swap(_, window, _) => Some(window),
        _ => None,
    }
}

#[test]
fn the_diagram_of_a_window_is_what_the_rules_do() {
    let mut changes = Changes::new();
    for rows in [0, 5] {
        let at = Timestamp::from_ticks;
        let made =
            plan::windows_of(&head(TableState::Planning), vec![Piece::whole(at(1), at(2), rows)], now()).unwrap();
        changes.insert((START.to_owned(), word(made[0].1.state), "plan".to_owned()));
    }
    let bounds = (now(), later(5));
    let gap = gap::window(&head(TableState::Planning), "draft", &id(1), bounds, now());
    changes.insert((START.to_owned(), word(gap.1.state), "plan".to_owned()));
    for from in WINDOW_STATES {
        for seal in [None, Some(seal())] {
            for (event, to) in moved(&Window { seal: seal.clone(), ..seen(10, from).window }) {
                add(&mut changes, word, from, to, event);
            }
        }
    }
    assert_drawn("A window", &changes);
}

const TABLE_STATES: [TableState; 4] =
    [TableState::Idle, TableState::Planning, TableState::Running, TableState::Finishing];

/// A run that goes on, or is suspended and resumed.
fn run(status: RuntimeStatus, tables_done: u32) -> Instance {
    let begun = Instance { tables_total: 1, tables_done, holds: 1, ..pending() };
    Instance { status, ..begun }
}

fn pending() -> Instance {
    Instance::pending(id(1), StartInput::default(), Value::Null, now())
}

fn planned(head: &Head, rows: &[u64]) -> Option<Head> {
    let at = Timestamp::from_ticks;
    let pieces = rows.iter().zip(1..).map(|(rows, low)| Piece::whole(at(low), at(low + 1), *rows)).collect();
    let planned = plan::windows_of(head, pieces, now()).ok()?;
    let content = plan::Content { found: survey::survey::<u64>(head, vec![]), planned, end: None };
    let draft = plan::lay_out(&key(), &id(1), head.clone(), content, now(), &limits()).ok()?;
    Some(draft.complete(&key(), Some(RuntimeStatus::Running), now(), &limits()).write.head)
}

/// What every rule of a head makes of this one.
fn moved_head(head: &Head) -> Vec<(&'static str, TableState)> {
    let mut moved = Vec::new();
    let mut to = |event, head: Option<Head>| moved.extend(head.map(|head| (event, head.state)));
    // By its own run, and by the next one once that is over.
    for bits in [1, 2] {
        let taken = take::take(Some(head), &table(), &starter(bits), None, take::Fresh::from_bits(7), now());
        to(
            "take",
            match taken {
                take::Take::Ours(head) => Some(*head),
                _ => None,
            },
        );
    }
    to("plan", planned(head, &[5]));
    to("plan", planned(head, &[]));
    if head.state == TableState::Planning {
        to("nothing_to_do", Some(unplanned::end(head, TableResult::default(), now())));
    }
    let count = Count { number: 4, message: "m" };
    let due = Head { verify: Some(VerifyDue { number: 4, at: now(), pause_ms: 0 }), verify_number: 4, ..head.clone() };
    let counted = |submitted| {
        let counted = Head { counts: Counts { submitted, ..due.counts }, ..due.clone() };
        let judged = Judged { seen: seen(10, WindowState::Submitted), learned: false, verdict: Verdict::Verified };
        record(&key(), &counted, count, &[judged], Part::Last, now(), &limits())
            .ok()
            .map(|recorded| recorded.write.head)
    };
    to("verify", counted(1));
    to("verify", counted(2));
    let changed = snapshot::testing::attempted(head.state, 1, None);
    let (time, verdict) = (Timestamp::from_ticks(20), snapshot::Verdict::Repeat);
    let judgement = snapshot::publish::Judgement { time, verdict, calls: 1 };
    to("judged", snapshot::publish::judged(&key(), &changed, &pending(), &judgement, count, now()));
    to("finish", finish::let_go(head, &pending(), Timestamp::MIN, now()));
    let held = Head { stop: true, ..head.clone() };
    let none: [Seen<u64>; 0] = [];
    let went_on = hold::go_on(&key(), &held, &none, &run(RuntimeStatus::Running, 0), now(), &limits());
    to("go_on", went_on.map(|went_on| went_on.head));
    to("begin_again", restart::let_go(head, &id(1), 1, now()));
    to("given_up", given_up::end(head, "x", now()));
    moved
}

#[test]
fn the_diagram_of_a_table_is_what_the_rules_do() {
    let mut changes = Changes::new();
    let first = take::take(None, &table(), &starter(1), None, take::Fresh::from_bits(7), now());
    assert!(matches!(first, take::Take::Ours(head) if head.state == TableState::Planning));
    changes.insert((START.to_owned(), word(TableState::Planning), "take".to_owned()));
    for from in TABLE_STATES {
        for (event, to) in moved_head(&head(from)) {
            add(&mut changes, word, from, to, event);
        }
    }
    assert_drawn("A table in a run", &changes);
}

const STATUSES: [RuntimeStatus; 6] = [
    RuntimeStatus::Pending,
    RuntimeStatus::Running,
    RuntimeStatus::Suspended,
    RuntimeStatus::Completed,
    RuntimeStatus::Failed,
    RuntimeStatus::Terminated,
];

/// What every rule of a run makes of this one.
fn moved_run(run: &Instance) -> Vec<(&'static str, RuntimeStatus)> {
    let mut moved = Vec::new();
    let mut to = |event, run: Option<Instance>| moved.extend(run.map(|run| (event, run.status)));
    to("begin", run.begun(&mut [table()], 1, now()).ok());
    to("begin", run.begun(&mut [], 1, now()).ok());
    to("count", run.table_ended(&table(), TableResult::default(), None, now()).ok().map(|(run, ..)| run));
    to("suspend", run.suspended("", now()).ok());
    to("resume", run.resumed(now()).ok());
    to("terminate", run.terminated("", now()).ok());
    to("fail", run.failed("", now()).ok());
    let failed = [table().with_result(TableResult::default())];
    to("rewind", rewind::request(Some(run), &failed, now()).ok().map(|again| again.run));
    to("restart", restart::request(run, now()).map(|again| again.run));
    let place = super::run::place::Active { instance: id(1), since: now(), life: 0 };
    let done = super::instance::TableRun { result: Some(TableResult::default()), ..table() };
    let sight = Sight { table: done, head: None, windows: vec![] };
    for repair in diagnose(&place, Some(run), &[sight], Calls::OPEN, later(9_999), &limits()) {
        if let Action::End(ended) = repair.action {
            to("repair", Some(*ended));
        }
    }
    moved
}

#[test]
fn the_diagram_of_a_run_is_what_the_rules_do() {
    let mut changes = Changes::new();
    changes.insert((START.to_owned(), pending().status.name().to_owned(), "place".to_owned()));
    let name = |status: RuntimeStatus| status.name().to_owned();
    for from in STATUSES {
        for run in [Instance { status: from, ..pending() }, run(from, 0), run(from, 1)] {
            for (event, to) in moved_run(&run) {
                add(&mut changes, name, from, to, event);
            }
        }
    }
    assert_drawn("A run", &changes);
}

#[test]
fn what_is_terminal_leaves_no_state_by_any_rule() {
    for state in WINDOW_STATES.into_iter().filter(|state| state.is_terminal()) {
        let window = Window {
            seal: Some(seal()),
            owed: vec![Debt::chunk(&key(), seen(1, state).name)],
            ..seen(10, state).window
        };
        assert_eq!(moved(&window), [], "{state:?}");
    }
}
