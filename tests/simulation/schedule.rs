//! What one seed stands for: a tenant, what goes wrong, what people do meanwhile; and how it is played.

use super::gate::Odds;
use super::oracle::Copied;
use super::world::{SECOND, Setting, SimulatedTable, World};
use adxingestor::orchestration::head::survey::is_draft;
use adxingestor::orchestration::ids::InstanceId;
use adxingestor::orchestration::instance::RuntimeStatus;
use adxingestor::orchestration::ledger::TableState;
use localcloud::adx::ingestion::Mishap;
use localcloud::clock::Clock;
use localcloud::faults::{Area, Fault, Plan};
use localcloud::source::{TableOptions, TimeShift};
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use serde_json::Value;
use std::time::Duration;

const TABLES: [&str; 3] = ["DeviceEvents", "EmailEvents", "UrlClickEvents"];
const OTHER_DESTINATIONS: [&str; 3] = ["OtherDeviceEvents", "OtherEmailEvents", "OtherUrlClickEvents"];
/// Rows of a table that is cut row by row.
const LONG_PLAN: u64 = 130;
/// Rows of one whose plan takes several transactions besides the last.
const LONGER_PLAN: u64 = 210;
/// Faults of a source that answers hardly any call.
const GIVEN_UP: u64 = 300;
/// The longest that a run may take, whatever goes wrong.
const PATIENCE: Duration = Duration::from_secs(24 * 3600);
/// Messages that all runs of a schedule may take, however often one is doubled, repeated or put off, and those beside them for each
/// row of a tenant whose windows hold a row each.
const MESSAGES_OF_A_RUN: u64 = 600;
const MESSAGES_OF_A_ROW: u64 = 10;
/// A process that dies between sending and letting go of its own message leaves a copy, which waits for leases as its original does.
const MESSAGES_OF_A_LIFE: u64 = 5;
/// How long a terminated run may go on to count what it had posted, and a message may stay hidden.
const SETTLED: Duration = Duration::from_secs(2 * 3600);

/// What a schedule has, for those who look for one.
#[cfg(feature = "mutants")]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trait {
    Crashes,
    Unwatched,
    CrashesUnwatched,
    LostBlobs,
    LateIsBlind,
    GivenUp,
    HopelessAndAMonth,
    Hopeless,
    Reconfigured,
    OvertakenPlan,
    CutAnswers,
    Quota,
    OtherDestinations,
    Late,
    LandsAgain,
}

/// What people do while the first run is on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Person {
    Watches,
    Terminates,
    Suspends,
    UpdatesTheApp,
    /// Has the tables copied to other destinations from the next run on.
    Reconfigures,
}

/// What happens after the first run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Aftermath {
    Nothing,
    /// The tables are to be copied to other destinations.
    OtherDestinations,
    /// Longer than history is kept.
    AMonth,
    /// The blobs of ingestion are lost during the run, and what has read them may land for days.
    LostBlobs,
}

/// How rows come late.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Lateness {
    Never,
    /// Behind the first run they come into sight with an arrival time of before it.
    Unseen,
    /// The tables have no arrival time, and rows come with a time of long before, or with none.
    OldTimes,
}

/// When the second copies of windows have landed that were posted once and landed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum LandsAgain {
    Never,
    /// Before the second run.
    BeforeTheNext,
    /// Some of them between the second run and the last.
    BeforeTheLast,
}

/// One schedule.
#[derive(Debug)]
pub struct Schedule {
    pub setting: Setting,
    person: Person,
    acts_after: Duration,
    aftermath: Aftermath,
    lateness: Lateness,
    lands_again: LandsAgain,
    /// Whether rows may land in a way that only an administrator can mend.
    pub hopeless: bool,
}

impl Schedule {
    /// The schedule of a seed.
    pub fn of(seed: u64) -> Self {
        let mut dice = StdRng::seed_from_u64(seed);
        let dice = &mut dice;
        let tables = TABLES.iter().take(dice.random_range(1..=3));
        let tables: Vec<SimulatedTable> = tables
            .map(|name| SimulatedTable {
                name,
                rows: if dice.random_bool(0.1) { 0 } else { dice.random_range(1..60) },
                days: dice.random_range(1..4),
            })
            .collect();
        let mut setting = Setting::quiet(seed, tables);
        setting.processes = dice.random_range(1..=3);
        setting.odds = odds(dice);
        setting.repeated = *[0, 0, 30, 150].choose(dice).unwrap();
        setting.skew_seconds = *[0, 0, 5, 60].choose(dice).unwrap();
        setting.faults = faults(dice);
        // A message that is lost, and one that is given up after ten crashes, are for the watchdog alone.
        setting.watched = setting.odds.drop > 0 || setting.odds.die > 10 || dice.random_bool(0.8);
        let hopeless = dice.random_bool(0.05);
        setting.mishaps = mishaps(dice, hopeless);
        setting.settings = vec![
            ("CHUNK_SIZE", dice.random_range(5..20u32).to_string()),
            ("MAX_THREAD_WORKERS", dice.random_range(1..=4u32).to_string()),
            ("MAX_CONCURRENT_TASKS", dice.random_range(1..=3u32).to_string()),
        ];
        let persons = [Person::Watches, Person::Watches, Person::Terminates, Person::Suspends, Person::UpdatesTheApp];
        let person = *persons.choose(dice).unwrap();
        let acts_after = Duration::from_secs(dice.random_range(0..60));
        let calls = *[10, 45, 600].choose(dice).unwrap();
        setting.settings.push(("HUNTING_CALLS_PER_MINUTE", calls.to_string()));
        let cut = [(Fault::CutBody, 0.2), (Fault::TruncatedBody, 0.1)];
        match dice.random_range(0..30) {
            // A plan of more than one transaction.
            0 => {
                setting.tables = vec![SimulatedTable { name: TABLES[0], rows: LONG_PLAN, days: 3 }];
                setting.settings.retain(|(name, _)| *name != "CHUNK_SIZE");
                setting.settings.push(("CHUNK_SIZE", "1".to_owned()));
            }
            // Ingestions of one window that do not exclude each other, none of them later than a window waits for.
            1 if !hopeless => {
                setting.mishaps = vec![(Mishap::Late, 0.4)];
                (setting.lateness, setting.late_is_blind) = (Duration::from_secs(300), true);
            }
            // Windows that are given up.
            2 => {
                setting.faults =
                    Plan { most: Some(GIVEN_UP), ..Plan::default() }.with(Area::Hunting, [(Fault::Internal, 0.7)])
            }
            // A long plan that stands still while it is written, and whose message another process gets, which cuts otherwise.
            3 => {
                setting.tables = vec![SimulatedTable { name: TABLES[0], rows: LONGER_PLAN, days: 3 }];
                setting.settings.retain(|(name, _)| *name != "CHUNK_SIZE");
                setting.settings.push(("CHUNK_SIZE", "1".to_owned()));
                setting.updated = vec![("CHUNK_SIZE", (10 * LONGER_PLAN).to_string())];
                setting.processes = setting.processes.max(2);
                setting.odds.stall = 500;
            }
            // Answers that break so often that windows are split.
            4 => setting.faults = Plan { most: Some(60), ..Plan::default() }.with(Area::Hunting, cut),
            _ => {}
        }
        // Where nothing delays a call, the app keeps to the quota by itself, whatever clocks show.
        let Odds { delay, hang, .. } = setting.odds;
        let punctual = (delay, hang) == (0, 0);
        setting.quota = punctual.then_some(calls);
        let person = if dice.random_bool(0.1) { Person::Reconfigures } else { person };
        let aftermath = match dice.random_range(0..20) {
            _ if person == Person::Reconfigures => Aftermath::OtherDestinations,
            0 | 1 => Aftermath::OtherDestinations,
            2 => Aftermath::AMonth,
            3 if !hopeless => {
                setting.mishaps = vec![(Mishap::Late, 0.4), (Mishap::Lost, 0.2)];
                setting.lateness = Duration::from_secs(dice.random_range(1..6) * 86_400);
                Aftermath::LostBlobs
            }
            _ => Aftermath::Nothing,
        };
        // Two posts that do not exclude each other, the first of them days late: nothing prevents that, it can only be found.
        let hopeless = hopeless || (setting.late_is_blind && aftermath == Aftermath::LostBlobs);
        // Nothing but the tags is between two posts of one window where the first of them is late.
        let is_late = setting.mishaps.iter().any(|(mishap, _)| *mishap == Mishap::Late);
        setting.ignores_tags = seed % 4 == 3 && !is_late;
        let lateness = lateness(&mut setting, seed, aftermath);
        let lands_again = lands_again(&mut setting, seed, hopeless && aftermath == Aftermath::Nothing);
        edge(&mut setting, seed);
        Self { setting, person, acts_after, aftermath, lateness, lands_again, hopeless }
    }

    /// Whether the schedule is of that kind.
    #[cfg(feature = "mutants")]
    pub fn has(&self, wanted: Trait) -> bool {
        let Setting { odds, watched, faults, .. } = &self.setting;
        let crashes = odds.die >= 8;
        let given_up = faults.most == Some(GIVEN_UP);
        match wanted {
            Trait::Crashes => crashes,
            Trait::Unwatched => !watched,
            Trait::CrashesUnwatched => crashes && !watched,
            Trait::LostBlobs => self.aftermath == Aftermath::LostBlobs,
            Trait::LateIsBlind => self.setting.late_is_blind,
            Trait::GivenUp => given_up,
            Trait::HopelessAndAMonth => self.hopeless && self.aftermath == Aftermath::AMonth,
            Trait::Hopeless => self.hopeless,
            Trait::Reconfigured => self.person == Person::Reconfigures,
            Trait::OvertakenPlan => odds.stall > 0,
            Trait::CutAnswers => self.has_cut_answers() && !watched,
            Trait::Quota => self.setting.quota == Some(10),
            Trait::Late => self.lateness != Lateness::Never,
            Trait::LandsAgain => self.lands_again != LandsAgain::Never,
            Trait::OtherDestinations => self.aftermath == Aftermath::OtherDestinations,
        }
    }

    #[cfg(feature = "mutants")]
    fn has_cut_answers(&self) -> bool {
        let hunting = self.setting.faults.odds.get(&Area::Hunting);
        hunting.is_some_and(|odds| odds.iter().any(|(fault, chance)| *fault == Fault::CutBody && *chance > 0.1))
    }

    /// Whether nothing goes wrong and nobody interferes.
    fn is_calm(&self) -> bool {
        let Setting { odds, repeated, faults, mishaps, .. } = &self.setting;
        *odds == Odds::default()
            && *repeated == 0
            && faults.odds.is_empty()
            && mishaps.is_empty()
            && self.person == Person::Watches
            && self.aftermath != Aftermath::LostBlobs
    }

    fn copies(&self) -> Vec<Copied<'static>> {
        self.setting.tables.iter().map(|table| Copied::under_its_name(table.name)).collect()
    }

    /// The copies that the last runs make.
    fn last_copies(&self) -> Vec<Copied<'static>> {
        let mut copies = self.copies();
        if self.aftermath == Aftermath::OtherDestinations {
            for (copy, destination) in copies.iter_mut().zip(OTHER_DESTINATIONS) {
                copy.destination = destination;
            }
        }
        copies
    }

    /// Plays it; gives what was found wrong, and the world for a look.
    pub async fn play(&self) -> (Vec<String>, World) {
        let mut world = World::new(&self.setting);
        let began = Clock::now(&world.clock);
        let id = world.start().await;
        let mut findings = self.interfere(&mut world, &id).await;
        let Some(first) = world.ended(&id, PATIENCE).await else {
            findings.push(format!("the run {id} does not end"));
            return (findings, world);
        };
        if self.is_calm() && first.repairs.count > 0 {
            findings.push(format!("repairs although nothing went wrong: {:?}", first.repairs));
        }
        if first.status == RuntimeStatus::Failed && first.error.is_none() {
            findings.push("the run failed and does not say why".to_owned());
        }
        world.fate.calm();
        world.cloud.faults().end();
        world.settled(SETTLED).await;
        let mut judged = self.judged(&world).await;
        // By the time of a row it does not show when it came.
        judged.retain(|finding| self.lateness != Lateness::OldTimes || !finding.contains("are missing"));
        // What lands again after the run is for the next one.
        judged.retain(|finding| self.lands_again == LandsAgain::Never || !finding.contains("is verified with"));
        findings.extend(judged);
        world.cloud.ingestion().end_mishaps();
        match self.aftermath {
            Aftermath::Nothing => {}
            Aftermath::OtherDestinations => self.reconfigure(&mut world).await,
            Aftermath::AMonth => world.stand_still(Duration::from_secs(31 * 86_400)).await,
            Aftermath::LostBlobs => world.stand_still(Duration::from_secs(10 * 86_400)).await,
        }
        if self.lands_again == LandsAgain::BeforeTheNext {
            self.stand_still(&mut world).await;
        }
        self.more(&world, began);
        self.recovers(&mut world, &mut findings).await;
        (findings, world)
    }

    /// Until all that lands again has landed.
    async fn stand_still(&self, world: &mut World) {
        world.stand_still(self.setting.lateness + Duration::from_secs(3_600)).await;
    }

    async fn reconfigure(&self, world: &mut World) {
        // Not at the instant at which a run writes a watermark: of two rows with one time nobody knows the latest.
        world.pass(Duration::from_millis(1)).await;
        for copy in self.last_copies() {
            world.configure(copy.source, copy.destination);
        }
    }

    /// What was found wrong in the answers to it.
    async fn interfere(&self, world: &mut World, id: &InstanceId) -> Vec<String> {
        let mut findings = Vec::new();
        if self.aftermath == Aftermath::LostBlobs {
            world.pass(self.acts_after).await;
            world.cloud.storage().lose_blobs();
        }
        if self.person == Person::Watches {
            return findings;
        }
        world.pass(self.acts_after).await;
        let path = |operation: &str| format!("/api/instances/{id}/{operation}?reason=simulated");
        match self.person {
            Person::Watches => {}
            Person::Terminates => {
                let (status, body) = world.call("POST", &path("terminate"), &Value::Null).await;
                assert!(matches!(status, 202 | 410), "{status} {body}");
                findings.extend(self.stood_still(world, id, status).await);
            }
            Person::Suspends => {
                let (status, body) = world.call("POST", &path("suspend"), &Value::Null).await;
                assert!(matches!(status, 202 | 410), "{status} {body}");
                findings.extend(self.stood_still(world, id, status).await);
                world.pass(self.acts_after * 20).await;
                world.seen.goes_on(id);
                let (status, body) = world.call("POST", &path("resume"), &Value::Null).await;
                assert!(matches!(status, 202 | 410), "{status} {body}");
            }
            Person::UpdatesTheApp => world.restart_all(),
            Person::Reconfigures => self.reconfigure(world).await,
        }
        findings
    }

    /// From the answer to whoever stops or holds a run on, no table of it takes claims: the answer comes when they know. Where
    /// requests to the store go wrong it may come before, and the message tells them.
    async fn stood_still(&self, world: &World, id: &InstanceId, status: u16) -> Option<String> {
        if status != 202 {
            return None;
        }
        for copy in self.copies() {
            let head = world.ledger(copy).await.map(|ledger| ledger.head);
            // A plan that is being made asks whether its run goes on before it hands a window out.
            let at_work = head.filter(|head| head.run.as_ref() == Some(id) && head.state == TableState::Running);
            if at_work.is_some_and(|head| !head.stop) {
                let undisturbed = self.setting.odds == Odds::default();
                return undisturbed.then(|| format!("{} is not told that its run stands still", copy.destination));
            }
        }
        world.seen.stands_still(id, world.records().now());
        None
    }

    /// Two more runs in which nothing goes wrong: the first mends what is left, the second finds nothing amiss. Each has a range of
    /// its own: without one a run makes no plan, and does not look back.
    async fn recovers(&self, world: &mut World, findings: &mut Vec<String>) {
        for round in 0..2 {
            world.pass(Duration::from_secs(360)).await;
            let id = world.start().await;
            let Some(run) = world.ended(&id, PATIENCE).await else {
                findings.push(format!("the quiet run {round} does not end"));
                return;
            };
            if round == 0 && self.lands_again == LandsAgain::BeforeTheLast {
                self.stand_still(world).await;
            }
            if self.aftermath == Aftermath::LostBlobs {
                // A blob that is found gone may have been read until then: an ingestion goes on for an hour at most.
                world.stand_still(Duration::from_secs(2 * 3600)).await;
            }
            let whole = run.status == RuntimeStatus::Completed && run.tables_failed == 0;
            if round == 1 && !whole && !self.hopeless {
                findings.push(format!("the last run is {run:?}"));
            }
        }
        world.settled(SETTLED).await;
        findings.extend(self.judged(world).await);
        if self.hopeless {
            return;
        }
        for copy in self.last_copies() {
            let name = copy.destination;
            findings.extend(world.check_metadata(copy).await);
            let Some(ledger) = world.ledger(copy).await else { continue };
            let drafts = ledger.windows.iter().filter(|window| is_draft(&ledger.head, window)).count();
            if drafts > 0 {
                findings.push(format!("{name} has {drafts} windows of plans that were given up"));
            }
            let (verified, planned) = (ledger.head.verified_up_to, ledger.head.planned_to);
            if verified != planned {
                findings.push(format!("{name} is verified to {verified} and planned to {planned}"));
                let unfinished = ledger.windows.iter().filter(|window| !window.state.is_terminal());
                findings.extend(unfinished.map(|window| {
                    format!(
                        "{name}: window {} is {:?} after {} posts: {:?}",
                        window.id, window.state, window.posts, window.error
                    )
                }));
            }
        }
    }

    /// Rows that come behind the first run, and some of them late.
    fn more(&self, world: &World, began: i64) {
        let source = world.cloud.source();
        for copy in self.copies() {
            let now = Clock::now(&world.clock);
            source.append(copy.source, 12, now, now + 60 * SECOND).unwrap();
            if self.lateness == Lateness::Unseen {
                let arrived = began - 7_200 * SECOND;
                source.append_unseen(copy.source, 12, arrived, arrived + 3_600 * SECOND, now).unwrap();
            }
        }
    }

    async fn judged(&self, world: &World) -> Vec<String> {
        let mut copies = self.copies();
        if self.aftermath == Aftermath::OtherDestinations {
            copies.extend(self.last_copies());
        }
        let mut findings = world.check(&copies).await;
        let rows: u64 = self.setting.tables.iter().map(|table| table.rows).sum();
        let sent = world.fate.messages();
        if sent > MESSAGES_OF_A_RUN + MESSAGES_OF_A_ROW * rows + MESSAGES_OF_A_LIFE * world.lives() {
            findings.push(format!("{sent} messages were sent for {rows} rows: copies of copies multiply"));
        }
        let over = world.cloud.hunting_statistics().over_quota;
        if over > 0 {
            findings.push(format!("{over} calls were more than the quota"));
        }
        if self.hopeless {
            findings.retain(|finding| !finding.contains("rows too many"));
        }
        findings
    }
}

/// By dice of its own, so that what a seed stands for otherwise does not depend on it.
fn lateness(setting: &mut Setting, seed: u64, aftermath: Aftermath) -> Lateness {
    // Of what the source no longer keeps nothing comes late, and another destination has never been copied to.
    if !matches!(aftermath, Aftermath::Nothing | Aftermath::LostBlobs) {
        return Lateness::Never;
    }
    match StdRng::seed_from_u64(seed ^ 0x1a7e).random_range(0..6) {
        0 | 1 => Lateness::Unseen,
        2 => {
            let late = Some(TimeShift { per_mille: 300, up_to_seconds: 20 * 3_600 });
            let (has_arrival_time, null_timestamps_per_mille) = (Some(false), 100);
            let options = setting.options.clone();
            setting.options = TableOptions { has_arrival_time, null_timestamps_per_mille, late, ..options };
            Lateness::OldTimes
        }
        _ => Lateness::Never,
    }
}

/// In some schedules in which rows may land otherwise than they were sent, they land as they were sent, and again after hours or days:
/// the oracle asks that the next run tells so. By dice of its own.
fn lands_again(setting: &mut Setting, seed: u64, may: bool) -> LandsAgain {
    let mut dice = StdRng::seed_from_u64(seed ^ 0xa6a1);
    if !may || dice.random_bool(0.3) {
        return LandsAgain::Never;
    }
    setting.mishaps = vec![(Mishap::Again, 0.3)];
    setting.lateness = Duration::from_secs(dice.random_range(1_800..2 * 86_400));
    *[LandsAgain::BeforeTheNext, LandsAgain::BeforeTheLast].choose(&mut dice).unwrap()
}

/// In some schedules in which no service fails, what stands between them does; by dice of its own.
fn edge(setting: &mut Setting, seed: u64) {
    if !setting.faults.odds.is_empty() || !StdRng::seed_from_u64(seed ^ 0xed6e).random_bool(0.3) {
        return;
    }
    let hunting = [
        (Fault::Unauthorized, 0.03),
        (Fault::CpuUsedUp, 0.01),
        (Fault::Page, 0.03),
        (Fault::WrongType, 0.02),
        (Fault::Reset, 0.04),
        (Fault::OtherSchema, 0.03),
        (Fault::EndlessBody, 0.004),
    ];
    setting.faults = Plan { most: Some(60), ..Plan::default() }.with(Area::Hunting, hunting);
}

fn odds(dice: &mut StdRng) -> Odds {
    let none = Odds::default();
    let kinds = [
        none,
        Odds { die: 8, ..none },
        Odds { die: 40, ..none },
        Odds { lose_answer: 30, ..none },
        Odds { lose_answer: 15, refuse: 15, throttle: 15, ..none },
        Odds { drop: 60, double: 100, ..none },
        Odds { delay: 60, ..none },
        Odds { hang: 4, ..none },
        Odds { die: 5, lose_answer: 8, refuse: 8, throttle: 4, hang: 1, delay: 15, drop: 15, double: 30, ..none },
    ];
    *kinds.choose(dice).unwrap()
}

fn faults(dice: &mut StdRng) -> Plan {
    let hunting = [
        (Fault::Throttled, 0.05),
        (Fault::ThrottledWithoutRetryAfter, 0.03),
        (Fault::Internal, 0.03),
        (Fault::BadGateway, 0.02),
        (Fault::Preempted, 0.03),
        (Fault::CutBody, 0.04),
        (Fault::TruncatedBody, 0.04),
        (Fault::EmptyBody, 0.02),
        (Fault::SlowBody, 0.02),
    ];
    let adx = [
        (Fault::Throttled, 0.03),
        (Fault::Internal, 0.03),
        (Fault::Unavailable, 0.03),
        (Fault::GatewayTimeout, 0.02),
        (Fault::CutBody, 0.03),
        (Fault::TruncatedBody, 0.02),
        (Fault::EmptyBody, 0.01),
        (Fault::ErrorAtEnd, 0.02),
        (Fault::ErrorInStatus, 0.02),
    ];
    let plan = Plan { most: Some(60), slow_body: Duration::from_secs(30), ..Plan::default() };
    match dice.random_range(0..4) {
        0 => plan.with(Area::Hunting, hunting),
        1 => plan.with(Area::Queries, adx).with(Area::Commands, adx),
        2 => plan
            .with(Area::Blobs, [(Fault::Internal, 0.05), (Fault::CutBody, 0.05), (Fault::GatewayTimeout, 0.05)])
            .with(Area::Queues, [(Fault::Internal, 0.05), (Fault::TruncatedBody, 0.08), (Fault::GatewayTimeout, 0.08)]),
        _ => Plan::default(),
    }
}

fn mishaps(dice: &mut StdRng, hopeless: bool) -> Vec<(Mishap, f64)> {
    if hopeless {
        return vec![(Mishap::Twice, 0.1), (Mishap::Half, 0.1)];
    }
    match dice.random_range(0..3) {
        0 => vec![(Mishap::Late, 0.2)],
        1 => vec![(Mishap::Lost, 0.1), (Mishap::Transient, 0.1), (Mishap::Late, 0.1)],
        _ => Vec::new(),
    }
}
