//! A record of a table's ledger that cannot be read: by hand, by another version of the app, or spoilt where it is stored. The run ends,
//! says which, and the next one goes on once it is mended.

use super::oracle::{Copied, Findings};
use super::simulated;
use super::world::{Setting, SimulatedTable, World};
use adxingestor::orchestration::ids::TableKey;
use adxingestor::orchestration::instance::{Instance, RuntimeStatus};
use adxingestor::orchestration::window::WindowState;
use adxingestor::storage::{Key, Operation, Properties};
use serde_json::Value;
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(4 * 3600);
const SPOILT: Copied<'static> = Copied { source: "DeviceEvents", destination: "DeviceEvents" };
const OTHER: Copied<'static> = Copied { source: "EmailEvents", destination: "EmailEvents" };

/// What becomes unreadable.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Record {
    /// The first window that comes to that state.
    Window(WindowState),
    Head,
}

fn world(rows: u64) -> World {
    let table = |copy: Copied<'static>, rows| SimulatedTable { name: copy.source, rows, days: 3 };
    let mut setting = Setting::quiet(5, vec![table(SPOILT, rows), table(OTHER, 20)]);
    // A permit every three seconds: the plan is seen before its windows are asked for.
    setting.settings = vec![("CHUNK_SIZE", "10".to_owned()), ("HUNTING_CALLS_PER_MINUTE", "20".to_owned())];
    World::new(&setting)
}

fn partition(world: &World) -> String {
    let settings = world.settings();
    let (cluster, database) = (settings.cluster_name(), &settings.database);
    let key = TableKey::new(&settings.tenant, SPOILT.source, &cluster, database, SPOILT.destination);
    format!("t:{}", key.as_str())
}

/// Waits for the record, then writes nonsense into its state; gives its key and what stood there.
async fn spoilt(world: &mut World, record: Record) -> (Key, Value) {
    for _ in 0..2_400 {
        if let Some(key) = found(world, record).await {
            let state = written(world, &key, "nonsense".into()).await;
            return (key, state);
        }
        world.pass(Duration::from_millis(250)).await;
    }
    panic!("there is no {record:?}");
}

async fn found(world: &World, record: Record) -> Option<Key> {
    let partition = partition(world);
    let row = match record {
        Record::Head => {
            world.ledger(SPOILT).await.filter(|ledger| !ledger.windows.is_empty())?;
            "h".to_owned()
        }
        Record::Window(wanted) => {
            let settings = world.settings();
            let (cluster, database) = (settings.cluster_name(), &settings.database);
            let key = TableKey::new(&settings.tenant, SPOILT.source, &cluster, database, SPOILT.destination);
            let windows = world.records().windows(&key).await.unwrap();
            let (name, _) = windows.into_iter().rev().find(|(_, window)| window.record.state == wanted)?;
            name.as_str().to_owned()
        }
    };
    Some(Key::new(partition, row).unwrap())
}

/// Writes another state into a record; gives the one before.
async fn written(world: &World, key: &Key, state: Value) -> Value {
    loop {
        let row = world.store.tables.get(key).await.unwrap().unwrap();
        let before = row.properties["state"].clone();
        let change = Properties::from_iter([("state".to_owned(), state.clone())]);
        // Whoever moves the record at the same time is a moment faster.
        if world.store.tables.commit(&[Operation::Merge(key.clone(), change, row.etag)]).await.is_ok() {
            return before;
        }
    }
}

async fn ended(world: &mut World) -> Instance {
    let id = world.start().await;
    let run = world.ended(&id, PATIENCE).await.unwrap_or_else(|| panic!("the run {id} does not end"));
    world.settled(PATIENCE).await;
    assert_eq!(run.status, RuntimeStatus::Completed, "{run:?}");
    run
}

/// A run amid which `record` becomes unreadable, the next one, and the one after it is mended.
fn becomes_unreadable(rows: u64, record: Record) {
    simulated(async || {
        let mut world = world(rows);
        let id = world.start().await;
        let (key, state) = spoilt(&mut world, record).await;
        let told = world.told(&id, SPOILT.destination).await;
        assert!(!told.result.success && told.result.verified_up_to.is_none(), "{told:#?}");
        for said in [&told.output, &told.audit] {
            assert!(said.contains(&format!("{key} in the state store cannot be read")), "{told:#?}");
        }
        let other = world.told(&id, OTHER.destination).await;
        assert!(other.result.success, "{other:#?}");
        let run = world.records().instance(&id).await.unwrap().unwrap().record;
        assert_eq!((run.tables_done, run.tables_failed), (1, 1), "{run:?}");

        let again = ended(&mut world).await;
        assert_eq!((again.tables_done, again.tables_failed), (1, 1), "{again:?}");

        written(&world, &key, state).await;
        let mended = ended(&mut world).await;
        assert_eq!(mended.tables_failed, 0, "{mended:?}");
        assert_eq!(world.not_whole(SPOILT).await, Findings::new());
        assert_eq!(world.not_whole(OTHER).await, Findings::new());
    });
}

#[test]
fn a_run_ends_although_a_window_that_is_proved_cannot_be_read() {
    becomes_unreadable(60, Record::Window(WindowState::Verified));
}

#[test]
fn a_run_ends_although_a_window_that_is_to_be_pulled_cannot_be_read() {
    becomes_unreadable(60, Record::Window(WindowState::Planned));
}

#[test]
fn a_run_ends_although_its_only_window_cannot_be_read() {
    becomes_unreadable(5, Record::Window(WindowState::Planned));
}

#[test]
fn a_run_ends_although_the_head_of_a_ledger_cannot_be_read() {
    becomes_unreadable(60, Record::Head);
}
