//! As in production, the state in Azure Storage (Azurite): the embedded host, the function folders, the queue triggers and all.
//! What depends on Defender and ADX alone is played on SQLite.

use crate::scenarios;
use crate::support::azurite::Azurite;
use crate::support::{Copied, Deployment, Store, cloud, table};
use std::time::Duration;

/// An account of its own, empty; `None` where the emulator cannot run.
fn azurite() -> Option<Store> {
    let settings = [("STATE_STORE", "azure".to_owned()), ("AzureWebJobsStorage", Azurite::fresh_account()?)];
    Some(Store::new(&settings, ("STATE_TABLE", "elsewhere".to_owned()), ()))
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
        let goes_on = matches!(status["runtimeStatus"].as_str(), Some("Pending" | "Running"));
        assert!(goes_on, "not all processes worked: {status:#}\n{}", app.tail());
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
