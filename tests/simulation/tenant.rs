//! A tenant of twenty tables, some huge and some empty, night after night: rows come late, come into sight out of order and
//! come while a run is on, and the tenant's quota is all the time there is. Every row is there once, with few calls.
//!
//! `ADXINGESTOR_ROWS` says how many rows the tenant has in the end. Below five million the windows are smaller in proportion.

use super::oracle::Copied;
use super::world::{SECOND, Setting, SimulatedTable, World};
use super::{setting, simulated};
use adxingestor::orchestration::ids::InstanceId;
use adxingestor::orchestration::instance::RuntimeStatus;
use adxingestor::orchestration::ledger::Head;
use adxingestor::orchestration::window::Window;
use adxingestor::timestamp::Timestamp;
use localcloud::clock::Clock;
use localcloud::hunting::Call;
use localcloud::kql::Value;
use localcloud::source::{TableOptions, TimeShift};
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(24 * 3600);
const HOUR: i64 = 3_600 * SECOND;
const NIGHTS: usize = 5;
/// Rows that `cargo test` copies.
const ROWS: u64 = 50_000;
/// Rows whose windows are as large as the API's caps allow.
const FULL_SIZE: u64 = 5_000_000;
const CALLS_PER_MINUTE: u32 = 45;
/// What the API's caps allow an answer (learn.microsoft.com "Advanced hunting quotas and usage parameters").
const ANSWER_ROWS: u64 = 99_999;
const ANSWER_BYTES: f64 = 50_000_000.0;
/// How a query ends that gives rows to be copied.
const PULL: &str = "project Row = tostring(pack_all(true))";
/// Shares of the tenant's rows are parts of this.
const WHOLE: u64 = 100_000;
/// Below this they are rows.
const FEW: u64 = 50;

/// How a table's rows come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Coming {
    /// In order, nearly.
    Promptly,
    /// And some of them into sight a day behind the run of their time, or while it is on.
    Late,
    /// All of them far out of order, and into sight long after the settling lag.
    Slowly,
    /// With no arrival time, and a time of hours before or behind; some while a run is on.
    ByColumn,
    /// It shows what is, and has no time.
    Snapshot,
}

/// A table, with its share of the tenant's rows before the first night and before each other.
struct Growing(&'static str, Coming, u64, u64);

/// The shares add up to the whole.
const TENANT: [Growing; 20] = [
    Growing("DeviceTvmSoftwareVulnerabilitiesKB", Coming::Snapshot, 45, 3),
    Growing("EmailUrlInfo", Coming::Promptly, 29_200, 4_000),
    Growing("UrlClickEvents", Coming::Late, 7_900, 1_000),
    Growing("EmailAttachmentInfo", Coming::Slowly, 5_800, 1_000),
    Growing("DeviceFileCertificateInfo", Coming::Promptly, 5_000, 500),
    Growing("DeviceNetworkInfo", Coming::Slowly, 3_900, 250),
    Growing("DeviceNetworkEvents", Coming::Late, 3_000, 500),
    Growing("DeviceProcessEvents", Coming::Promptly, 1_900, 250),
    Growing("DeviceEvents", Coming::Promptly, 1_000, 250),
    Growing("DeviceFileEvents", Coming::Promptly, 1_000, 100),
    Growing("IdentityLogonEvents", Coming::Late, 1_000, 150),
    Growing("EmailEvents", Coming::Late, 600, 100),
    // Licensed after the first night.
    Growing("CloudAppEvents", Coming::Promptly, 0, 250),
    Growing("AlertInfo", Coming::Late, 40, 6),
    Growing("AlertEvidence", Coming::Promptly, 0, 1),
    Growing("MessageUrlInfo", Coming::Promptly, 0, 0),
    Growing("IdentityInfo", Coming::ByColumn, 600, 100),
    Growing("DeviceTvmInfoGathering", Coming::ByColumn, 1_600, 100),
    Growing("ExposureGraphNodes", Coming::Snapshot, 1_900, 60),
    Growing("DeviceTvmSoftwareInventory", Coming::Snapshot, 1_100, 50),
];

/// The table that never has a row.
const EMPTY: &str = "MessageUrlInfo";
/// The table of which all rows of a night come within a tick.
const BURSTING: (usize, &str) = (3, "DeviceEvents");
/// The snapshot whose table changes while it is copied.
const CHANGING: (usize, &str) = (2, "DeviceTvmSoftwareVulnerabilitiesKB");

impl Growing {
    fn options(&self) -> TableOptions {
        let options = TableOptions { duplicates_per_mille: 5, ..TableOptions::default() };
        match self.1 {
            Coming::Promptly | Coming::Late => TableOptions { visibility_lag_seconds: 300, ..options },
            Coming::Slowly => TableOptions { visibility_lag_seconds: 3_600, ..options },
            Coming::ByColumn => TableOptions {
                has_arrival_time: Some(false),
                late: Some(TimeShift { per_mille: 300, up_to_seconds: 20 * 3_600 }),
                ahead: Some(TimeShift { per_mille: 20, up_to_seconds: 40 * 3_600 }),
                ..options
            },
            Coming::Snapshot => options,
        }
    }
}

fn share(rows: u64, share: u64) -> u64 {
    if share < FEW { share } else { share * rows / WHOLE }
}

/// The tenant, and what is known of it and of its copy.
struct Tenant {
    world: World,
    rows: u64,
    /// The most rows of a window.
    window_rows: u64,
    tables: BTreeMap<&'static str, Known>,
}

/// What is known of a table.
#[derive(Default)]
struct Known {
    /// The identities of its rows, by their numbers.
    rows: Vec<u64>,
    /// Those of the rows that the destination had the night before, sorted.
    copied: Vec<u64>,
    /// How many of the calls of a first run it has had.
    learned: usize,
}

/// What a night came to.
struct Night {
    number: usize,
    id: InstanceId,
    /// When it began, in ticks.
    at: i64,
    took: Duration,
    calls: Vec<Call>,
}

impl Tenant {
    fn of(rows: u64) -> Self {
        let table = |Growing(name, _, first, _): &Growing| SimulatedTable { name, rows: share(rows, *first), days: 20 };
        let mut setting = Setting::quiet(6, TENANT.iter().map(table).collect());
        setting.special = TENANT.iter().map(|table| (table.0, table.options())).collect();
        setting.devices = 400;
        setting.processes = 2;
        setting.quota = Some(CALLS_PER_MINUTE);
        let window_rows = (ANSWER_ROWS * rows / FULL_SIZE).clamp(500, ANSWER_ROWS);
        setting.settings = vec![("SETTLING_LAG_MINUTES", "10".to_owned())];
        if window_rows < ANSWER_ROWS {
            setting.settings.push(("CHUNK_SIZE", window_rows.to_string()));
        }
        let tables = TENANT.iter().map(|table| (table.0, Known::default())).collect();
        Self { world: World::new(&setting), rows, window_rows, tables }
    }

    /// A day goes by. Some of its rows will come while the next run is on, others lie long before.
    async fn day(&mut self, night: usize) {
        let before = Clock::now(&self.world.clock);
        self.world.stand_still(Duration::from_secs(24 * 3_600)).await;
        let (now, source) = (Clock::now(&self.world.clock), self.world.cloud.source());
        for Growing(name, coming, _, nightly) in &TENANT {
            let rows = share(self.rows, *nightly);
            let (from, to) = match coming {
                Coming::Snapshot => (now - 2 * HOUR, now - HOUR),
                _ if (night, *name) == BURSTING => (now - 7 * HOUR, now - 7 * HOUR),
                _ => (before + HOUR, now + HOUR),
            };
            source.append(name, rows, from, to).unwrap();
            if *coming == Coming::Late {
                source.append_unseen(name, 1 + rows / 100, now - 30 * HOUR, now - 29 * HOUR, now - HOUR).unwrap();
                source.append_unseen(name, 1, now - 60 * HOUR, now - 60 * HOUR, now - HOUR).unwrap();
            }
        }
    }

    /// A run, while which rows come.
    async fn night(&mut self, night: usize) -> Night {
        let world = &mut self.world;
        let log = world.cloud.hunting_statistics().log.len();
        let (at, began) = (Clock::now(&world.clock), world.clock.elapsed());
        let id = world.start().await;
        if night == CHANGING.0 {
            let copy = Copied::under_its_name(CHANGING.1);
            let is_posted = |head: &Head| head.run.as_ref() == Some(&id) && head.progress.posted_rows > 0;
            while !world.ledger(copy).await.is_some_and(|ledger| is_posted(&ledger.head)) {
                assert!(world.clock.elapsed() - began < PATIENCE, "{} is not copied", CHANGING.1);
                world.pass(Duration::from_millis(100)).await;
            }
            let now = Clock::now(&world.clock);
            world.cloud.source().append(CHANGING.1, 2, now - 2 * SECOND, now - SECOND).unwrap();
        }
        world.pass(Duration::from_secs(15)).await;
        let (now, source) = (Clock::now(&world.clock), world.cloud.source());
        for Growing(name, coming, ..) in &TENANT {
            if *coming != Coming::Snapshot && *name != EMPTY {
                source.append(name, 3, now - 2 * SECOND, now).unwrap();
            }
            if *coming == Coming::Late {
                source.append_unseen(name, 2, now - 3 * HOUR, now - HOUR, now).unwrap();
            }
        }
        let run = world.ended(&id, PATIENCE).await.unwrap();
        let took = world.clock.elapsed() - began;
        for table in world.records().tables(&id).await.unwrap() {
            let result = table.record.result.unwrap();
            assert!(result.success, "night {night}, {}: {result:#?}", table.record.config.source);
        }
        assert_eq!((run.status, run.tables_failed), (RuntimeStatus::Completed, 0), "night {night}");
        assert_eq!(world.cloud.hunting_statistics().over_quota, 0, "night {night}: calls were more than the quota");
        let calls = world.cloud.hunting_statistics().log.into_iter().skip(log).collect();
        Night { number: night, id, at, took, calls }
    }

    /// What the source shows of a table at `at` and lies up to `high` on the cut axis is at the destination once; of the
    /// rest nothing is there twice.
    fn judge(&mut self, Growing(name, coming, ..): &Growing, at: i64, high: Timestamp) -> Vec<String> {
        let source = self.world.cloud.source();
        let known = self.tables.get_mut(name).unwrap();
        known.rows.extend(source.identities_from(name, known.rows.len() as u64).unwrap());
        let shown = source.at(at);
        let (view, numbers) = (shown.table(name).unwrap(), shown.row_numbers(name).unwrap());
        let time = view.columns().iter().position(|column| column.name == "Timestamp");
        let is_due = |row: u64| match (view.ingestion_time(row), time.map(|column| view.value(row, column))) {
            (Some(at), _) | (None, Some(Value::Datetime(at))) => at <= high.ticks() as i64,
            _ => true,
        };
        let due = numbers.iter().enumerate().filter(|(row, _)| is_due(*row as u64));
        let due = sorted(due.map(|(_, number)| known.rows[*number as usize]));
        let there = sorted(self.world.cloud.adx().identities(name));
        let mut found = Vec::new();
        let mut copy = there.clone();
        let mut ever = sorted(known.rows.iter().copied());
        if *coming == Coming::Snapshot {
            // The rows of the nights before are there too.
            copy = beyond(&there, &known.copied);
            ever.clone_from(&due);
            let seen = self.world.adx(&format!("{name}_latest | count"))[0][0].as_u64().unwrap() as usize;
            if seen != due.len() {
                found.push(format!("{name}: readers see {seen} rows, and the source showed {}", due.len()));
            }
        }
        let (lost, doubled) = (beyond(&due, &copy).len(), beyond(&copy, &ever).len());
        if (lost, doubled) != (0, 0) {
            found.push(format!("{name}: of {} rows {lost} are missing, and {doubled} are too many", due.len()));
        }
        known.copied = there;
        found
    }

    async fn judged(&mut self, Night { number: night, at, .. }: &Night) {
        let mut found = Vec::new();
        for table in &TENANT {
            let ledger = self.world.ledger(Copied::under_its_name(table.0)).await;
            let high = ledger.map_or(Timestamp::MIN, |ledger| ledger.head.verified_up_to);
            // An attempt is repeated after the source has changed.
            if (*night, table.0) == CHANGING {
                let now = Clock::now(&self.world.clock);
                self.tables.get_mut(table.0).unwrap().copied = sorted(self.world.cloud.adx().identities(table.0));
                let seen = sorted(self.world.latest(table.0));
                let shown =
                    sorted(self.world.cloud.source().identities_within(table.0, -1, now).unwrap().map(|row| row.1));
                if seen != shown {
                    found.push(format!("{}: readers see no whole snapshot", table.0));
                }
                continue;
            }
            found.extend(self.judge(table, *at, high));
        }
        found.extend(self.world.seen.violations());
        assert!(found.is_empty(), "night {night}: {found:#?}");
    }

    /// The calls that a night may take for what is new, and those that it took for rows that came late: one for each window that
    /// they are in, and those that find it.
    async fn bound(&mut self, night: &Night) -> (f64, u64) {
        // Once for a tenant it is tried out whether a time span has to be named.
        let is_first = self.tables.values().all(|known| known.learned == 0);
        let (mut bound, mut late) = (if is_first { 2.0 } else { 0.0 }, 0);
        for Growing(name, coming, ..) in &TENANT {
            let ledger = self.world.ledger(Copied::under_its_name(name)).await;
            // A look at a row, and a sample of those that are to be copied.
            let learned = ledger
                .as_ref()
                .map_or([false; 2], |ledger| [ledger.head.shape.is_some(), ledger.head.bytes_per_row.is_some()]);
            let learned = learned.into_iter().filter(|learned| *learned).count();
            let windows = ledger.map_or_else(Vec::new, |ledger| ledger.windows);
            let windows = windows.iter().filter(|window| window.run.as_ref() == Some(&night.id));
            let (repairs, new): (Vec<&Window>, Vec<&Window>) = windows.partition(|window| window.id.is_repair());
            let calls: Vec<&Call> = night.calls.iter().filter(|call| call.table.as_deref() == Some(name)).collect();
            let asked = |part: &str| calls.iter().filter(|call| call.query.contains(part)).count();
            let pulls = calls.iter().filter(|call| call.query.ends_with(PULL));
            let (rows, bytes) = pulls.fold((0, 0), |all, call| (all.0 + call.rows, all.1 + call.result_bytes));
            let copied = new.iter().filter_map(|window| window.seal.as_ref()).map(|seal| seal.rows).sum::<u64>() as f64;
            let by_bytes = copied * bytes as f64 / rows.max(1) as f64 / ANSWER_BYTES;
            let least = (copied / self.window_rows as f64).max(by_bytes).ceil();
            // The plan; a snapshot is counted once more behind each attempt, and before each but the first.
            let attempts = new.iter().map(|window| window.id.high).collect::<BTreeSet<_>>().len().max(1);
            assert!((night.number, *name) != CHANGING || attempts == 2, "{name} did not change while it was copied");
            let counts = if *coming == Coming::Snapshot { 2 * attempts } else { 1 };
            let before = std::mem::replace(&mut self.tables.get_mut(name).unwrap().learned, learned);
            bound += 1.05 * least + (counts + asked("First = min(") + learned - before) as f64;
            late += (repairs.len() + asked("by Slice")) as u64;
        }
        (bound, late)
    }
}

fn sorted(rows: impl IntoIterator<Item = u64>) -> Vec<u64> {
    let mut rows: Vec<u64> = rows.into_iter().collect();
    rows.sort_unstable();
    rows
}

/// What `left` has and `right` has not, or not as often. Both are sorted.
fn beyond(left: &[u64], right: &[u64]) -> Vec<u64> {
    let mut right = right.iter().peekable();
    let mut beyond = Vec::new();
    for row in left {
        while right.next_if(|other| *other < row).is_some() {}
        if right.next_if_eq(&row).is_none() {
            beyond.push(*row);
        }
    }
    beyond
}

#[test]
fn a_tenant_of_twenty_tables_is_whole_after_each_of_five_nights_with_few_calls() {
    nights(setting("ADXINGESTOR_ROWS").unwrap_or(ROWS));
}

/// Plays five nights of a tenant that has so many rows in the end.
pub fn nights(rows: u64) {
    simulated(async || {
        let (mut tenant, began) = (Tenant::of(rows), Instant::now());
        println!(
            "| night | rows there | calls | for late rows | bound for the rest | run | calls ÷ quota |\n|---|---|---|---|---|---|---|"
        );
        for night in 0..NIGHTS {
            if night > 0 {
                tenant.day(night).await;
            }
            let came = tenant.night(night).await;
            tenant.judged(&came).await;
            let (bound, late) = tenant.bound(&came).await;
            let (calls, took) = (came.calls.len() as u64, came.took.as_secs_f64());
            let ideal = calls as f64 * 60.0 / f64::from(CALLS_PER_MINUTE);
            let there: usize = tenant.tables.values().map(|known| known.copied.len()).sum();
            println!("| {night} | {there} | {calls} | {late} | {bound:.0} | {took:.0} s | {ideal:.0} s |");
            assert!((calls - late) as f64 <= bound, "night {night}: {calls} calls, {late} of them for late rows");
            assert!(took <= ideal * 1.05, "night {night}: {took} s instead of {ideal} s");
            assert!(night == 0 || late > 0, "night {night}: nothing came late");
        }
        if rows < FULL_SIZE {
            let ranges = TENANT.iter().filter(|table| table.1 != Coming::Snapshot);
            let copies: Vec<Copied> = ranges.map(|table| Copied::under_its_name(table.0)).collect();
            let mut found = tenant.world.check(&copies).await;
            // What came into sight behind the last plan, and what lies in the future by its column.
            found.retain(|finding| !finding.contains("are missing"));
            assert!(found.is_empty(), "{found:#?}");
        }
        println!("{:?}", began.elapsed());
    });
}
