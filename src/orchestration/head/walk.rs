//! Walks a table through whole runs on the real rules: messages come twice, late and in any order, workers die between
//! any two effects, posts are lost, answers are too large. After every transaction the head must agree with the windows, and
//! every walk must come to its end.

use super::testing::{id, key, seal, table};
use super::verify::{Judged, Look, Part};
use super::{finish, plan, survey, take, verify};
use crate::orchestration::fan_in::{WindowEnd, end, take_names, wants_names};
use crate::orchestration::ids::{Part as HashPart, WindowId, WindowName};
use crate::orchestration::instance::{Instance, RuntimeStatus, StartInput};
use crate::orchestration::ledger::{Counts, Head, TableState, verified_prefix};
use crate::orchestration::limits::Limits;
use crate::orchestration::message::{ControlMessage, Debt, Message};
use crate::orchestration::plan::Piece;
use crate::orchestration::removal::Place;
use crate::orchestration::renewal::{Blob, before_repost};
use crate::orchestration::run::place::Active;
use crate::orchestration::verification::{Found, Verdict, judge};
use crate::orchestration::watchdog::{self, Action, Calls, Sight};
use crate::orchestration::window::{Claim, Window, WindowState};
use crate::orchestration::write::{Seen, TableWrite, WindowWrite};
use crate::timestamp::Timestamp;
use serde_json::Value;
use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

/// Three runs each.
const SEEDS: u64 = 150;

/// Whoever handled a message is gone; the message comes again.
#[derive(Debug)]
struct Killed;

type Step = Result<(), Killed>;

#[derive(Clone)]
struct Waiting {
    id: u64,
    delivery: u32,
    due: Timestamp,
    message: Message,
}

struct Walk {
    seed: u64,
    random: u64,
    now: Timestamp,
    limits: Limits,
    run: Instance,
    head: Option<(Head, u64)>,
    windows: BTreeMap<WindowName, (Window, u64)>,
    writes: u64,
    messages: Vec<Waiting>,
    landed: HashSet<String>,
    next_tick: Timestamp,
    repairs: u32,
    over: bool,
}

impl Walk {
    fn new(seed: u64) -> Self {
        let now = "2026-05-01T00:00:00Z".parse().unwrap();
        let limits = Limits { lanes: 3, ..Limits::scaled(1.0) };
        let run = Instance::pending(id(1), StartInput::default(), Value::Null, now);
        Self {
            seed,
            random: seed,
            now,
            limits,
            run,
            head: None,
            windows: BTreeMap::new(),
            writes: 0,
            messages: Vec::new(),
            landed: HashSet::new(),
            next_tick: now,
            repairs: 0,
            over: false,
        }
    }

    /// splitmix64
    fn bits(&mut self) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.random;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn chance(&mut self, percent: u64) -> bool {
        self.bits() % 100 < percent
    }

    fn may_die(&mut self) -> Step {
        if self.chance(4) { Err(Killed) } else { Ok(()) }
    }

    fn pay(&mut self, debts: &[Debt]) -> Step {
        for debt in debts {
            self.may_die()?;
            for _ in 0..=u64::from(self.chance(3)) {
                let (id, due) = (self.bits(), self.now + debt.delay);
                self.messages.push(Waiting { id, delivery: 0, due, message: debt.message.clone() });
            }
        }
        self.may_die()
    }

    fn head(&self) -> (Head, u64) {
        self.head.clone().unwrap()
    }

    fn seen(&self) -> Vec<Seen<u64>> {
        let seen = |(name, (window, version)): (&WindowName, &(Window, u64))| Seen {
            name: name.clone(),
            window: window.clone(),
            version: *version,
        };
        self.windows.iter().map(seen).collect()
    }

    /// All or nothing, and the head agrees with the windows afterwards, unless it is being planned.
    fn commit(&mut self, write: TableWrite<u64>, read: Option<u64>) -> bool {
        let current = self.head.as_ref().map(|(_, version)| *version);
        let fresh = write.windows.iter().all(|change| match change {
            WindowWrite::Insert(name, _) => !self.windows.contains_key(name),
            WindowWrite::Swap(name, _, version) | WindowWrite::Delete(name, version) => {
                self.windows.get(name).is_some_and(|(_, current)| current == version)
            }
        });
        if current != read || !fresh {
            return false;
        }
        assert!(write.windows.len() < 100, "seed {}", self.seed);
        self.writes += 1;
        let version = self.writes;
        self.head = Some((write.head, version));
        for change in write.windows {
            match change {
                WindowWrite::Insert(name, window) | WindowWrite::Swap(name, window, _) => {
                    self.windows.insert(name, (window, version));
                }
                WindowWrite::Delete(name, _) => drop(self.windows.remove(&name)),
            }
        }
        self.agree();
        true
    }

    fn agree(&self) {
        let (head, seed) = (self.head().0, self.seed);
        if matches!(head.state, TableState::Planning | TableState::Idle) {
            return;
        }
        let mut counts = Counts::default();
        for (window, _) in self.windows.values() {
            *counts.of(window.state) += 1;
        }
        assert_eq!(head.counts, counts, "seed {seed}");
        assert!(head.lanes() <= self.limits.lanes as usize, "seed {seed}: {} lanes", head.lanes());
        let distinct: HashSet<&WindowName> = head.ready.iter().collect();
        assert_eq!(distinct.len(), head.ready.len(), "seed {seed}: a window is ready twice");
        if head.is_through() {
            return;
        }
        // No lane leaks: what is open is out, ready, or still to be found behind the cursor, and only one of these.
        let open = |name: &&WindowName| self.windows[*name].0.state.is_open();
        assert!(head.out.iter().chain(&head.ready).all(|name| open(&name)), "seed {seed}: {head:#?}");
        let behind = |name: &&WindowName| head.more && head.cursor.as_ref().is_none_or(|at| *name > at);
        for name in self.windows.keys().filter(open) {
            let places = (head.out.contains(name), head.ready.contains(name));
            let found =
                places == (true, false) || places == (false, true) || (places == (false, false) && behind(&name));
            assert!(found, "seed {seed}: {name:?} is {places:?} in {head:#?}");
        }
    }

    fn write_window(&mut self, name: &WindowName, next: Window, read: u64) -> bool {
        if self.windows[name].1 != read {
            return false;
        }
        self.writes += 1;
        self.windows.insert(name.clone(), (next, self.writes));
        true
    }

    fn plan(&mut self) -> Step {
        if self.over {
            return self.finish();
        }
        let fresh = take::Fresh::from_bits(u128::from(self.bits()) << 64 | u128::from(self.bits()));
        let (read, version) = self.head.clone().unzip();
        let head = match take::take(read.as_ref(), &table(), &self.run, None, fresh, self.now) {
            take::Take::Ours(head) => *head,
            take::Take::Again(owed) => return self.pay(&owed),
            take::Take::Finish => return self.finish(),
            take::Take::Told(_) | take::Take::HeldBy(_) | take::Take::GoOn | take::Take::Ended(_) => return Ok(()),
        };
        if !self.commit(TableWrite { head: head.clone(), windows: vec![] }, version) {
            return Ok(());
        }
        self.may_die()?;
        let found = survey::survey(&head, self.seen());
        for deletion in &found.deletions {
            let version = self.head().1;
            assert!(self.commit(deletion.clone(), Some(version)));
            self.may_die()?;
        }
        let count = 1 + self.seed % 130;
        // What lies far in the past is not asked for.
        let began = head.planned_to.max("2026-05-01T00:00:00Z".parse().unwrap());
        let at = |n: u64| if n == 0 { head.planned_to } else { Timestamp::from_ticks(began.ticks() + 76 * n) };
        let pieces = (0..count).map(|n| Piece::whole(at(n), at(n + 1), (n + self.seed) % 9)).collect();
        let planned = plan::windows_of(&head, pieces, self.now).unwrap();
        let content = plan::Content { found, planned, end: Some(at(count)) };
        let draft = plan::lay_out(&key(), &self.run.id, head, content, self.now, &self.limits).unwrap();
        for batch in draft.batches.clone() {
            let version = self.head().1;
            assert!(self.commit(batch, Some(version)));
            self.may_die()?;
        }
        let plan::Completed { write, owed } =
            draft.complete(&key(), Some(RuntimeStatus::Running), self.now, &self.limits);
        let version = self.head().1;
        assert!(self.commit(write, Some(version)));
        self.may_die()?;
        self.pay(&owed)?;
        if self.head().0.is_through() { self.finish() } else { Ok(()) }
    }

    fn chunk(&mut self, message: &str, delivery: u32, name: &WindowName) -> Step {
        let Some((window, version)) = self.windows.get(name).cloned() else { return Ok(()) };
        let (head, _) = self.head();
        if head.state != TableState::Running {
            return Ok(());
        }
        let claimed = match window.claim(message, delivery, &self.run.id, self.now, &self.limits) {
            Claim::Ended(owed) => return self.pay(&owed),
            Claim::HeldUntil(at) => return self.pay(&[Debt::chunk_later(&key(), name.clone(), at.since(self.now))]),
            Claim::Recover(owned) => return self.commit_end(name, &owned, version, WindowEnd::Submitted),
            Claim::Claimed(claimed) => *claimed,
        };
        if !self.write_window(name, claimed.clone(), version) {
            return Ok(());
        }
        let version = self.writes;
        self.may_die()?;
        match self.bits() % 20 {
            0 => self.commit_end(name, &claimed, version, WindowEnd::Failed("no luck".into())),
            1 => self.commit_end(name, &claimed, version, WindowEnd::Expired("too old".into())),
            2..4 => self.commit_end(name, &claimed, version, WindowEnd::Empty),
            4..8 if claimed.id.high.since(claimed.id.low) > Duration::from_nanos(300) => {
                let children = self.children(name, &claimed);
                self.commit_end(name, &claimed, version, WindowEnd::Split(children))
            }
            8..10 => {
                let Some(retried) = claimed.retried("reset", true, self.now).unwrap() else {
                    return self.commit_end(name, &claimed, version, WindowEnd::Failed("reset".into()));
                };
                let again = Debt::chunk_later(&key(), name.clone(), self.limits.outage_pause(retried.attempts));
                if !self.write_window(name, Window { owed: vec![again.clone()], ..retried }, version) {
                    return Ok(());
                }
                self.pay(&[again])
            }
            _ => {
                let sealed = claimed.sealed(seal(), self.now).unwrap();
                if !self.write_window(name, sealed.clone(), version) {
                    return Ok(());
                }
                let version = self.writes;
                self.may_die()?;
                self.post(&sealed);
                self.may_die()?;
                self.commit_end(name, &sealed, version, WindowEnd::Submitted)
            }
        }
    }

    fn post(&mut self, window: &Window) {
        if !self.chance(10) {
            assert!(self.landed.insert(window.id.to_string()), "seed {}: {} landed twice", self.seed, window.id);
        }
    }

    fn children(&mut self, name: &WindowName, window: &Window) -> Vec<(WindowName, Window)> {
        let middle = window.id.low + window.id.high.since(window.id.low) / 2;
        let child = |index: u64, low, high| {
            let child =
                Window::planned(WindowId { low, high, part: HashPart::WHOLE, ..window.id }, "p", false, 3, self.now);
            (WindowName::new(low, &format!("{}{index:02x}", name.path())), child)
        };
        vec![child(0, window.id.low, middle), child(1, middle, window.id.high)]
    }

    fn refilled(&self, mut head: Head) -> Head {
        while wants_names(&head, &self.limits) {
            let behind = self.windows.iter().filter(|(name, _)| head.cursor.as_ref().is_none_or(|at| *name > at));
            let stretch: Vec<_> = behind.map(|(name, (window, _))| (name.clone(), window.state)).collect();
            take_names(&mut head, stretch, false);
        }
        head
    }

    fn commit_end(&mut self, name: &WindowName, window: &Window, version: u64, how: WindowEnd) -> Step {
        self.may_die()?;
        let (head, read) = self.head();
        let ended = end(&key(), name, &self.refilled(head), window, how, self.now, &self.limits).unwrap();
        let mut windows = vec![WindowWrite::Swap(name.clone(), ended.window.clone(), version)];
        windows.extend(ended.children.into_iter().map(|(name, child)| WindowWrite::Insert(name, child)));
        if !self.commit(TableWrite { head: ended.head, windows }, Some(read)) {
            return Ok(());
        }
        self.pay(&ended.window.owed)
    }

    fn verify(&mut self, count: verify::Count<'_>) -> Step {
        let (head, _) = self.head();
        match verify::look(&head, count) {
            Look::Over => return Ok(()),
            Look::Again(owed) => return self.pay(&owed),
            Look::Finish(_) => return self.finish(),
            Look::Count(_) => {}
        }
        let mut judged = Vec::new();
        for mut seen in verify::to_count(&head, self.seen(), self.now, &self.limits).unwrap() {
            let rows = if self.landed.contains(&seen.window.id.to_string()) { 3 } else { 0 };
            let found = Found { rows, ..Found::default() };
            let place = Place::of(&head).unwrap();
            let mut verdict = judge(&place, "Timestamp", &seen.window, found, self.now, &self.limits);
            if verdict == Verdict::Repost {
                let blob = if self.chance(30) || seen.window.gone_since.is_some() { Blob::Gone } else { Blob::There };
                (seen.window, verdict) = before_repost(&seen.window, &blob, self.now, &self.limits);
            }
            judged.push(Judged { seen, learned: false, verdict });
        }
        self.may_die()?;
        let verify::Verdicts { batches, last } = verify::verdicts(judged);
        for batch in batches {
            let (head, read) = self.head();
            let recorded = verify::record(&key(), &head, count, &batch, Part::Batch, self.now, &self.limits).unwrap();
            assert!(self.commit(recorded.write, Some(read)));
            self.may_die()?;
            recorded.posts.iter().for_each(|(_, window)| self.post(window));
        }
        let (head, read) = self.head();
        let head = self.refilled(head);
        let recorded = verify::record(&key(), &head, count, &last, Part::Last, self.now, &self.limits).unwrap();
        assert!(self.commit(recorded.write, Some(read)));
        self.may_die()?;
        recorded.posts.iter().for_each(|(_, window)| self.post(window));
        self.pay(&recorded.owed)?;
        if recorded.finish { self.finish() } else { Ok(()) }
    }

    fn finish(&mut self) -> Step {
        self.over = true;
        self.may_die()?;
        let (head, read) = self.head();
        let windows: Vec<Window> = self.windows.values().map(|(window, _)| window.clone()).collect();
        let to = verified_prefix(head.verified_up_to, &windows);
        if let Some(idle) = finish::let_go(&head, &self.run, to, self.now) {
            self.commit(TableWrite { head: idle, windows: vec![] }, Some(read));
        }
        Ok(())
    }

    fn tick(&mut self) {
        let windows = self.windows.iter().map(|(name, (window, _))| (name.clone(), window.clone())).collect();
        let head = self.head.as_ref().map(|(head, _)| head.clone());
        let run = Instance { status: RuntimeStatus::Running, ..self.run.clone() };
        let sight = Sight { table: table(), head, windows };
        let place = Active { instance: run.id.clone(), since: run.created, life: run.lives };
        for repair in watchdog::diagnose(&place, Some(&run), &[sight], Calls::OPEN, self.now, &self.limits) {
            self.repairs += 1;
            match repair.action {
                Action::Send(debts) => drop(self.pay(&debts)),
                Action::Dispatch { head, debts, .. } => {
                    if self.pay(&debts).is_ok() {
                        let read = self.head.as_ref().map(|(_, version)| *version);
                        self.commit(TableWrite { head: *head, windows: vec![] }, read);
                    }
                }
                other => panic!("seed {}: {other:?}", self.seed),
            }
        }
    }

    /// One run, until the table is let go of.
    fn run(&mut self) {
        self.over = false;
        let plan = ControlMessage::Plan { instance: self.run.id.clone(), table: key(), attempt: 0 };
        self.messages = vec![Waiting { id: 0, delivery: 0, due: self.now, message: Message::Control(plan) }];
        for _ in 0..40_000 {
            if self.over && self.head().0.run.is_none() {
                return;
            }
            let due: Vec<usize> =
                (0..self.messages.len()).filter(|index| self.messages[*index].due <= self.now).collect();
            if due.is_empty() {
                let next = self.messages.iter().map(|message| message.due).min();
                self.now = next.unwrap_or(self.next_tick).min(self.next_tick).max(self.now);
                if self.now >= self.next_tick {
                    self.next_tick = self.now + Duration::from_secs(120);
                    self.tick();
                }
                continue;
            }
            let index = due[self.bits() as usize % due.len()];
            let mut taken = self.messages.swap_remove(index);
            taken.delivery += 1;
            let done = match &taken.message {
                Message::Control(ControlMessage::Plan { .. }) => self.plan(),
                Message::Control(ControlMessage::Verify { number, .. }) => {
                    self.verify(verify::Count { number: *number, message: &taken.id.to_string() })
                }
                Message::Control(other) => panic!("seed {}: {other:?}", self.seed),
                Message::Chunk(chunk) => self.chunk(&taken.id.to_string(), taken.delivery, &chunk.window),
            };
            if done.is_err() {
                taken.due = self.now + Duration::from_secs(if self.chance(50) { 0 } else { 600 });
                self.messages.push(taken);
            }
        }
        let (messages, repairs, head) = (self.messages.len(), self.repairs, &self.head);
        panic!("seed {}: no end at {}; {messages} messages, {repairs} repairs, {head:#?}", self.seed, self.now);
    }

    fn check_the_end(&self) {
        let (head, seed) = (self.head().0, self.seed);
        assert!(
            self.windows.values().all(|(w, _)| w.state.is_terminal() || w.state == WindowState::Failed),
            "seed {seed}"
        );
        for (window, _) in self.windows.values().filter(|(window, _)| window.state == WindowState::Verified) {
            assert!(self.landed.contains(&window.id.to_string()), "seed {seed}: {} is not there", window.id);
        }
        let all: Vec<&Window> = self.windows.values().map(|(window, _)| window).collect();
        let failed = all.iter().any(|window| window.state == WindowState::Failed);
        assert_eq!(head.verified_up_to == head.planned_to, !failed, "seed {seed}: {}", head.verified_up_to);
    }
}

#[test]
fn every_walk_comes_to_its_end_and_the_head_always_agrees_with_its_windows() {
    for seed in 0..SEEDS {
        let mut walk = Walk::new(seed);
        for bits in 1..4 {
            walk.run.id = id(bits);
            walk.run();
            walk.check_the_end();
            // Long enough that what is gone may be pulled again.
            walk.now = walk.now + Duration::from_secs(8 * 86_400);
            walk.run.updated = walk.now;
            walk.next_tick = walk.now;
        }
    }
}

#[test]
fn a_seed_replays_exactly() {
    let walked = |seed| {
        let mut walk = Walk::new(seed);
        walk.run();
        (walk.now, walk.writes, walk.head, walk.windows)
    };
    assert_eq!(walked(17), walked(17));
}
