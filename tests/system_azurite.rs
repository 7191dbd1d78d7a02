//! The whole system as it runs in production, its state in Azure Storage (Azurite): the embedded host, the function folders,
//! the queue triggers and all.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[macro_use]
mod scenarios;
mod support;

use std::sync::Arc;
use std::time::Duration;
use support::azurite::{Azurite, Request, Service};
use support::{Copied, Deployment, Store, cloud, table};

/// An account of its own, empty; `None` where the emulator cannot run.
fn azurite() -> Option<Store> {
    Azurite::start().map(Arc::new).map(store_in)
}

fn store_in(azurite: Arc<Azurite>) -> Store {
    let connection = azurite.connection_string();
    let settings = [("STATE_STORE", "azure".to_owned()), ("AzureWebJobsStorage", connection)];
    Store::new(&settings, ("STATE_TABLE", "elsewhere".to_owned()), azurite)
}

system_tests!(match azurite() {
    Some(store) => store,
    None => return,
});

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_processes_share_a_run_and_one_of_them_is_killed() {
    let Some(store) = azurite() else { return };
    let tables = vec![table("DeviceFileEvents", 9_000, 8), table("DeviceNetworkEvents", 6_000, 8)];
    let copied = [Copied::incremental("DeviceFileEvents"), Copied::incremental("DeviceNetworkEvents")];
    let settings = [("CHUNK_SIZE", "150"), ("HUNTING_CALLS_PER_MINUTE", "600")];
    let mut app = Deployment::start_with(store, cloud(tables), &copied, &settings).await;
    app.add_app().await;
    app.add_app().await;

    let id = app.start_run().await;
    let posts = |app: &Deployment, index| app.log(index).matches("a window was posted").count();
    while (0..3).any(|index| posts(&app, index) == 0) {
        tokio::time::sleep(Duration::from_millis(50)).await;
        let (_, status) = app.get(&format!("/api/status/{id}")).await;
        assert_eq!(status["runtimeStatus"], "Running", "not all processes worked: {status:#}\n{}", app.tail());
    }
    app.kill(0);
    let status = app.ended(&id).await;
    assert_eq!(status["runtimeStatus"], "Completed", "{status:#}\n{}", app.tail());
    assert_eq!(status["output"]["result"]["processing_summary"]["failed_tables"], 0, "{status:#}\n{}", app.tail());
    for (name, rows) in [("DeviceFileEvents", 9_000), ("DeviceNetworkEvents", 6_000)] {
        app.assert_equal(name, name);
        assert_eq!(app.rows(name), rows);
    }
}

/// All requests of host and handler, as the emulator's access log has them. A receive cannot be told there from an empty one;
/// without faults those with messages are at most as many as messages were deleted.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_window_of_a_hundred_costs_at_most_eight_storage_transactions() {
    let Some(azurite) = Azurite::start().map(Arc::new) else { return };
    let copied = [Copied::incremental("DeviceProcessEvents")];
    let cloud = cloud(vec![table("DeviceProcessEvents", 10_000, 20)]);
    let app = Deployment::start_with(store_in(Arc::clone(&azurite)), cloud, &copied, &[("CHUNK_SIZE", "100")]).await;
    let before = azurite.requests().len();
    let id = app.start_run().await;
    // To ask for the status would cost transactions, too.
    for _ in 0..1_200 {
        if app.log(0).contains("the run has ended") {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let requests = azurite.requests().split_off(before);
    let status = app.ended(&id).await;
    assert_eq!(status["runtimeStatus"], "Completed", "{status:#}\n{}", app.tail());
    let windows = status["customStatus"]["tables"][0]["windows_done"].as_u64().unwrap();
    let of_messages = |method: &str| {
        let is_one = |request: &&Request| {
            request.service == Some(Service::Queue) && request.method == method && request.path.contains("/messages")
        };
        requests.iter().filter(is_one).count()
    };
    let polls = of_messages("GET");
    let transactions = requests.len() - polls + polls.min(of_messages("DELETE"));
    let each = transactions as f64 / windows as f64;
    println!(
        "{each:.2} storage transactions for each of {windows} windows; {} requests, {polls} of them polls",
        requests.len()
    );
    assert!(windows >= 100, "{status:#}");
    assert!(each <= 8.0, "{each:.2} storage transactions for each of {windows} windows");
}
