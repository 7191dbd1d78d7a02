//! Where things go wrong: every effect of a process, on the store, Defender or ADX, passes its gate, which lets it through,
//! spoils it or ends the process there. A dead process's calls never return and have no effect, as after SIGKILL.

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::Instant;

/// After so many processes have died over a message, or over others of the same window, no point strikes the next one.
const WORN: u32 = 3;

/// What becomes of one effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It happens and is answered.
    Pass,
    /// The process ends before it.
    DieBefore,
    /// It happens, and the process ends before the answer.
    DieAfter,
    /// It happens, and the answer is lost.
    LoseAnswer,
    /// It does not happen, and an error says so.
    Refuse,
    /// The service asks to come back later.
    Throttle,
    /// It never happens and there is no answer.
    Hang,
    /// It happens after a while.
    Delay(Duration),
    /// The same, and meanwhile the messages of the process are taken from it.
    Stall(Duration),
    /// A message that is sent and never arrives.
    Drop,
    /// A message that arrives twice.
    Double,
}

impl Verdict {
    /// In a word, without how long.
    pub fn name(self) -> &'static str {
        match self {
            Self::Pass => "passes",
            Self::DieBefore => "dies before",
            Self::DieAfter => "dies after",
            Self::LoseAnswer => "loses the answer",
            Self::Refuse => "is refused",
            Self::Throttle => "is throttled",
            Self::Hang => "hangs",
            Self::Delay(_) => "is late",
            Self::Stall(_) => "stalls",
            Self::Drop => "is lost",
            Self::Double => "comes twice",
        }
    }
}

/// What an effect is on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum On {
    /// Rows and blobs of the state store, and what is asked of queues.
    Store,
    /// A message that is sent.
    Message,
    /// A transaction of many rows.
    Batch,
    /// A request to Defender or ADX.
    Network,
}

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Death {
    /// The handler alone: its host gives the messages back at once.
    Handler,
    /// The host too: the messages stay hidden until their time ends.
    Host,
}

/// How often each thing happens to an effect, of a thousand.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Odds {
    pub die: u32,
    pub lose_answer: u32,
    pub refuse: u32,
    pub throttle: u32,
    pub hang: u32,
    pub delay: u32,
    pub drop: u32,
    pub double: u32,
    /// Of transactions of many rows: the process stands still before it.
    pub stall: u32,
}

/// Which effect of a run.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Site {
    /// By its number, counted from 0 over all processes.
    Effect(u64),
    /// By what it does, and how many like it there were before: so it is known in a run, too, in which something else went wrong.
    Named(String, u32),
}

/// One thing that goes wrong at one effect.
#[derive(Debug, Clone)]
pub struct Point {
    pub site: Site,
    pub verdict: Verdict,
    pub death: Death,
}

/// The effects of a run by name.
#[derive(Default)]
struct Sites {
    seen: HashMap<String, u32>,
    met: Vec<Site>,
}

impl Sites {
    fn meet(&mut self, what: &str) -> Site {
        let name = site_name(what);
        let seen = self.seen.entry(name.clone()).or_default();
        let site = Site::Named(name, *seen);
        *seen += 1;
        self.met.push(site.clone());
        site
    }
}

/// What an effect does, without the ids that are drawn and the times, sizes and choices that depend on what happened before: so an effect
/// is met again in runs in which something else goes wrong.
fn site_name(what: &str) -> String {
    let what = [",\"permit\"", ",\"number\"", ",\"attempt\""]
        .iter()
        .fold(what, |what, field| what.split_once(field).map_or(what, |(before, _)| before));
    let kept = kept_of(what);
    let (mut name, mut digits) = (String::new(), String::new());
    for sign in kept.chars().chain(['.']) {
        if sign.is_ascii_hexdigit() || (sign == '-' && !digits.is_empty()) {
            digits.push(sign);
            continue;
        }
        name.push_str(if digits.len() >= 32 { "#" } else { &digits });
        digits.clear();
        name.push(sign);
    }
    // The container and the queue of an ingestion are drawn.
    ["ingest-temp-", "-secured-"].into_iter().fold(name, |name, place| match name.split_once(place) {
        Some((before, after)) => {
            format!("{before}{place}{}", after.trim_start_matches(|sign: char| sign.is_ascii_digit()))
        }
        None => name,
    })
}

/// What tells an effect from others.
fn kept_of(what: &str) -> String {
    // How long a message stays hidden depends on its permit.
    if let Some((queue, sent)) = what.strip_prefix("send ").and_then(|sent| sent.split_once(" after ")) {
        return format!("send {queue} {}", sent.split_once(": ").map_or(sent, |(_, body)| body));
    }
    // How many windows a count proves at once depends on when they landed.
    if let Some((head, _)) = what.strip_prefix("commit ").and_then(|rest| rest.split_once("/h, replace ")) {
        return format!("commit{}/h and windows", head.split_once(':').map_or(head, |(_, head)| head));
    }
    // A status names its blob, and a blob is as long as its ids make it.
    if let Some((asked, _)) = what.split_once("/table/ingestionsstatus ") {
        return format!("{asked}/table/ingestionsstatus");
    }
    if let Some(sized) = what.strip_suffix(" bytes") {
        return sized.trim_end_matches(|sign: char| sign.is_ascii_digit()).to_owned();
    }
    if what.contains("runHuntingQuery") || !what.contains("/rest/") {
        return what.to_owned();
    }
    // A look begins with a comment of its own, and of a command the first words tell what it is.
    what.lines().next().unwrap_or_default().chars().take(90).collect()
}

/// What goes wrong in a simulation, shared by its processes.
pub struct Fate {
    dice: Mutex<StdRng>,
    odds: Mutex<Odds>,
    points: HashMap<Site, (Verdict, Death)>,
    /// Those of the points at which something has gone wrong.
    struck: Mutex<Vec<Site>>,
    /// How many processes have died over a message that is about this.
    worn: Mutex<HashMap<String, u32>>,
    sites: Option<Mutex<Sites>>,
    effects: AtomicU64,
    messages: AtomicU64,
    /// How often each thing has happened to effects of a kind.
    happened: Mutex<BTreeMap<(On, &'static str), u64>>,
    sent: Notify,
    began: Instant,
    /// What happened, and after how many seconds, if it is noted.
    trace: Option<Mutex<Vec<String>>>,
}

impl Fate {
    pub fn new(seed: u64, odds: Odds, points: Vec<Point>, noted: bool) -> Self {
        let dice = Mutex::new(StdRng::seed_from_u64(seed ^ 0xfa7e));
        let trace = noted.then(Mutex::default);
        let is_named = points.iter().any(|point| matches!(point.site, Site::Named(..)));
        let sites = (noted || is_named).then(Mutex::default);
        let points = points.into_iter().map(|point| (point.site, (point.verdict, point.death))).collect();
        let (effects, messages) = (AtomicU64::new(0), AtomicU64::new(0));
        let (odds, happened, sent) = (Mutex::new(odds), Mutex::default(), Notify::new());
        let (struck, worn) = (Mutex::default(), Mutex::default());
        let began = Instant::now();
        Self { dice, odds, points, struck, worn, sites, effects, messages, happened, sent, began, trace }
    }

    /// Tells those who wait for a message that one may have come.
    pub fn has_sent(&self) {
        self.sent.notify_waiters();
    }

    /// Waits for the next message of anybody.
    pub async fn sent(&self) {
        self.sent.notified().await;
    }

    /// From now on nothing goes wrong.
    pub fn calm(&self) {
        *self.odds.lock().unwrap() = Odds::default();
    }

    /// How many effects there were.
    pub fn effects(&self) -> u64 {
        self.effects.load(Ordering::SeqCst)
    }

    /// How many messages were sent.
    pub fn messages(&self) -> u64 {
        self.messages.load(Ordering::SeqCst)
    }

    /// How often each thing has happened to effects of a kind.
    pub fn happened(&self) -> BTreeMap<(On, &'static str), u64> {
        self.happened.lock().unwrap().clone()
    }

    /// The effects so far by name, if they are named.
    pub fn sites(&self) -> Vec<Site> {
        self.sites.as_ref().map(|sites| sites.lock().unwrap().met.clone()).unwrap_or_default()
    }

    /// The points at which something has gone wrong.
    pub fn struck(&self) -> Vec<Site> {
        self.struck.lock().unwrap().clone()
    }

    /// What happened, if it was noted.
    pub fn lines(&self) -> Vec<String> {
        self.trace.as_ref().map(|trace| trace.lock().unwrap().clone()).unwrap_or_default()
    }

    /// Adds to what happened.
    pub fn note(&self, line: impl FnOnce() -> String) {
        if let Some(trace) = &self.trace {
            trace.lock().unwrap().push(format!("{:.3} {}", self.began.elapsed().as_secs_f64(), line()));
        }
    }

    fn wears(&self, at_hand: &[String]) {
        let mut worn = self.worn.lock().unwrap();
        for about in at_hand {
            *worn.entry(about.clone()).or_default() += 1;
        }
    }

    /// Whether so many processes have died over one of these that it would soon be given up, which the app does on purpose.
    fn has_worn(&self, at_hand: &[String]) -> bool {
        let worn = self.worn.lock().unwrap();
        at_hand.iter().any(|about| worn.get(about).is_some_and(|deaths| *deaths >= WORN))
    }

    /// What becomes of an effect of a process; one that is `spared` is struck by chance alone.
    fn roll(&self, on: On, what: Option<&str>, spared: bool) -> (Verdict, Death) {
        if on == On::Message {
            self.messages.fetch_add(1, Ordering::SeqCst);
        }
        let effect = self.effects.fetch_add(1, Ordering::SeqCst);
        let mut dice = self.dice.lock().unwrap();
        let death = if dice.random_bool(0.5) { Death::Handler } else { Death::Host };
        let named = self.sites.as_ref().zip(what).map(|(sites, what)| sites.lock().unwrap().meet(what));
        let mut sites = [named, Some(Site::Effect(effect))].into_iter().flatten();
        if !spared && let Some((site, point)) = sites.find_map(|site| self.points.get_key_value(&site)) {
            self.struck.lock().unwrap().push(site.clone());
            return *point;
        }
        let odds = *self.odds.lock().unwrap();
        let mut drawn = dice.random_range(0..1000u32);
        let mut hit = |chance: u32| {
            let hit = drawn < chance;
            drawn = drawn.wrapping_sub(chance);
            hit
        };
        let before = dice.random_bool(0.5);
        let pause = Duration::from_millis(dice.random_range(1..20_000));
        let verdict = if hit(odds.die) {
            if before { Verdict::DieBefore } else { Verdict::DieAfter }
        } else if hit(odds.lose_answer) {
            Verdict::LoseAnswer
        } else if hit(odds.refuse) {
            Verdict::Refuse
        } else if hit(odds.throttle) {
            Verdict::Throttle
        } else if hit(odds.hang) {
            Verdict::Hang
        } else if hit(odds.delay) {
            Verdict::Delay(pause)
        } else if on == On::Batch && hit(odds.stall) {
            Verdict::Stall(pause / 2)
        } else if on == On::Message && hit(odds.drop) {
            Verdict::Drop
        } else if on == On::Message && hit(odds.double) {
            Verdict::Double
        } else {
            Verdict::Pass
        };
        (verdict, death)
    }
}

/// The gate of one life of one process.
pub struct Gate {
    name: String,
    fate: Arc<Fate>,
    death: AtomicU8,
    died: Notify,
    stalls: Notify,
    /// What the messages are about that the process is at.
    at_hand: Mutex<Vec<String>>,
}

impl Gate {
    pub fn new(name: String, fate: Arc<Fate>) -> Arc<Self> {
        let (died, stalls) = (Notify::new(), Notify::new());
        Arc::new(Self { name, fate, death: AtomicU8::new(0), died, stalls, at_hand: Mutex::default() })
    }

    /// The process begins with a message that is about this.
    pub fn begins(&self, about: &str) {
        self.at_hand.lock().unwrap().push(about.to_owned());
    }

    /// The process is through with it.
    pub fn ends(&self, about: &str) {
        let mut at_hand = self.at_hand.lock().unwrap();
        if let Some(place) = at_hand.iter().position(|other| other == about) {
            at_hand.swap_remove(place);
        }
    }

    /// How the process ended, if it did.
    pub fn death(&self) -> Option<Death> {
        match self.death.load(Ordering::SeqCst) {
            0 => None,
            1 => Some(Death::Handler),
            _ => Some(Death::Host),
        }
    }

    /// Tells all processes that a message may have come.
    pub fn has_sent(&self) {
        self.fate.has_sent();
    }

    /// Returns when the process ends.
    pub async fn died(&self) -> Death {
        loop {
            let notified = self.died.notified();
            if let Some(death) = self.death() {
                return death;
            }
            notified.await;
        }
    }

    /// Returns when the process stands still.
    pub async fn stands_still(&self) {
        self.stalls.notified().await;
    }

    /// Returns when `sent` does, or the process ends.
    pub async fn sent_or_dead(&self, sent: impl Future<Output = ()>) {
        tokio::select! {
            biased;
            () = sent => {}
            _ = self.died() => {}
        }
    }

    pub fn kill(&self, death: Death) {
        self.fate.note(|| format!("{} dies: {death:?}", self.name));
        self.death.store(if death == Death::Handler { 1 } else { 2 }, Ordering::SeqCst);
        self.fate.wears(&self.at_hand.lock().unwrap());
        self.died.notify_waiters();
    }

    /// Carries out `effect` as fate has it. `lost` and `refused` are the errors of an answer that is lost and of a request
    /// that is not carried out; `throttled` is the service's own answer.
    pub async fn pass<T, E, F: Future<Output = Result<T, E>>>(
        &self,
        on: On,
        what: impl FnOnce() -> String,
        effect: impl Fn() -> F,
        spoilt: impl Fn(Verdict) -> E,
        nothing: Option<T>,
    ) -> Result<T, E> {
        self.end_if_dead().await;
        let what = self.fate.sites.as_ref().map(|_| what());
        let spared = self.fate.has_worn(&self.at_hand.lock().unwrap());
        let (verdict, death) = self.fate.roll(on, what.as_deref(), spared);
        *self.fate.happened.lock().unwrap().entry((on, verdict.name())).or_default() += 1;
        self.fate.note(|| format!("{} {} {verdict:?}", self.name, what.unwrap_or_default()));
        match verdict {
            Verdict::DieBefore => {
                self.kill(death);
                std::future::pending().await
            }
            Verdict::DieAfter => {
                let _ = effect().await;
                self.kill(death);
                std::future::pending().await
            }
            Verdict::LoseAnswer => {
                let _ = effect().await;
                self.end_if_dead().await;
                Err(spoilt(verdict))
            }
            Verdict::Refuse | Verdict::Throttle => Err(spoilt(verdict)),
            Verdict::Hang => std::future::pending().await,
            Verdict::Drop if nothing.is_some() => nothing.ok_or_else(|| spoilt(verdict)),
            Verdict::Delay(pause) | Verdict::Stall(pause) => {
                if matches!(verdict, Verdict::Stall(_)) {
                    self.stalls.notify_waiters();
                }
                tokio::time::sleep(pause).await;
                self.end_if_dead().await;
                let done = effect().await;
                self.end_if_dead().await;
                done
            }
            Verdict::Double => {
                let _ = effect().await;
                effect().await
            }
            Verdict::Pass | Verdict::Drop => {
                let done = effect().await;
                self.end_if_dead().await;
                done
            }
        }
    }

    async fn end_if_dead(&self) {
        if self.death().is_some() {
            std::future::pending::<()>().await;
        }
    }
}
