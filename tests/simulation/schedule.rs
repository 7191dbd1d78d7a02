//! What one seed stands for: a tenant, what goes wrong, what people do meanwhile; and how it is played.

use super::gate::Odds;
use super::world::{SECOND, Setting, SimulatedTable, World};
use adxingestor::orchestration::instance::RuntimeStatus;
use localcloud::adx::ingestion::Mishap;
use localcloud::clock::Clock;
use localcloud::faults::{Area, Fault, Plan};
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use serde_json::Value;
use std::time::Duration;

const TABLES: [&str; 3] = ["DeviceEvents", "EmailEvents", "UrlClickEvents"];
/// The longest that a run may take, whatever goes wrong.
const PATIENCE: Duration = Duration::from_secs(24 * 3600);
/// How long a terminated run may go on to count what it had posted, and a message may stay hidden.
const SETTLED: Duration = Duration::from_secs(2 * 3600);

/// What people do while the first run is on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Person {
    Watches,
    Terminates,
    Suspends,
    UpdatesTheApp,
}

/// One schedule.
#[derive(Debug)]
pub struct Schedule {
    pub setting: Setting,
    person: Person,
    acts_after: Duration,
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
        setting.skew_seconds = *[0, 0, 5, 120].choose(dice).unwrap();
        setting.faults = faults(dice);
        let hopeless = dice.random_bool(0.05);
        setting.mishaps = mishaps(dice, hopeless);
        setting.settings = vec![
            ("CHUNK_SIZE", dice.random_range(5..20u32).to_string()),
            ("MAX_THREAD_WORKERS", dice.random_range(1..=4u32).to_string()),
            ("MAX_CONCURRENT_TASKS", dice.random_range(1..=3u32).to_string()),
            ("HUNTING_CALLS_PER_MINUTE", (*[10, 45, 600].choose(dice).unwrap()).to_string()),
        ];
        let persons = [Person::Watches, Person::Watches, Person::Terminates, Person::Suspends, Person::UpdatesTheApp];
        let person = *persons.choose(dice).unwrap();
        let acts_after = Duration::from_secs(dice.random_range(0..60));
        Self { setting, person, acts_after, hopeless }
    }

    fn names(&self) -> Vec<&'static str> {
        self.setting.tables.iter().map(|table| table.name).collect()
    }

    /// Plays it; gives what was found wrong, and the world for a look.
    pub async fn play(&self) -> (Vec<String>, World) {
        let mut world = World::new(&self.setting);
        let id = world.start().await;
        self.interfere(&mut world, &id).await;
        let mut findings = Vec::new();
        let Some(first) = world.ended(&id, PATIENCE).await else {
            findings.push(format!("the run {id} does not end"));
            return (findings, world);
        };
        if first.status == RuntimeStatus::Failed && first.error.is_none() {
            findings.push("the run failed and does not say why".to_owned());
        }
        world.fate.calm();
        world.cloud.faults().end();
        world.settled(SETTLED).await;
        findings.extend(self.judged(&world).await);
        for name in self.names() {
            let now = Clock::now(&world.clock);
            world.cloud.source().append(name, 12, now, now + 60 * SECOND).unwrap();
        }
        world.pass(Duration::from_secs(360)).await;
        world.cloud.ingestion().end_mishaps();
        self.recovers(&mut world, &mut findings).await;
        (findings, world)
    }

    async fn interfere(&self, world: &mut World, id: &impl std::fmt::Display) {
        if self.person == Person::Watches {
            return;
        }
        world.pass(self.acts_after).await;
        let path = |operation: &str| format!("/api/instances/{id}/{operation}?reason=simulated");
        match self.person {
            Person::Watches => {}
            Person::Terminates => {
                let (status, body) = world.call("POST", &path("terminate"), &Value::Null).await;
                assert!(matches!(status, 202 | 410), "{status} {body}");
            }
            Person::Suspends => {
                let (status, body) = world.call("POST", &path("suspend"), &Value::Null).await;
                assert!(matches!(status, 202 | 410), "{status} {body}");
                world.pass(self.acts_after * 20).await;
                let (status, body) = world.call("POST", &path("resume"), &Value::Null).await;
                assert!(matches!(status, 202 | 410), "{status} {body}");
            }
            Person::UpdatesTheApp => world.restart_all(),
        }
    }

    /// Two more runs in which nothing goes wrong: the first mends what is left, the second finds nothing amiss.
    async fn recovers(&self, world: &mut World, findings: &mut Vec<String>) {
        for round in 0..2 {
            let id = world.start().await;
            let Some(run) = world.ended(&id, PATIENCE).await else {
                findings.push(format!("the quiet run {round} does not end"));
                return;
            };
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
        for name in self.names() {
            findings.extend(world.check_metadata(name).await);
            let Some(ledger) = world.ledger(name).await else { continue };
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

    async fn judged(&self, world: &World) -> Vec<String> {
        let mut findings = world.check(&self.names()).await;
        if self.hopeless {
            findings.retain(|finding| !finding.contains("rows too many"));
        }
        findings
    }
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
        Odds { die: 5, lose_answer: 8, refuse: 8, throttle: 4, hang: 1, delay: 15, drop: 15, double: 30 },
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
