//! What a window costs in storage transactions, counted by the emulator; by itself, as other load would make for more counts.

use crate::support::azurite::{Azurite, Request, Service};
use crate::support::{Copied, Deployment, Store, cloud, table};
use std::sync::Arc;
use std::time::Duration;

/// All requests of host and handler, as the emulator's access log has them. A receive cannot be told there from an empty one;
/// without faults those with messages are at most as many as messages were deleted.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_window_of_a_hundred_costs_at_most_eight_storage_transactions() {
    let _alone = crate::QUIET.write().await;
    let Some(azurite) = Azurite::start().map(Arc::new) else { return };
    let copied = [Copied::incremental("DeviceProcessEvents")];
    let cloud = cloud(vec![table("DeviceProcessEvents", 10_000, 20)]);
    let settings = [("STATE_STORE", "azure".to_owned()), ("AzureWebJobsStorage", azurite.connection_string())];
    let store = Store::new(&settings, ("STATE_TABLE", "elsewhere".to_owned()), Arc::clone(&azurite));
    let app = Deployment::start_with(store, cloud, &copied, &[("CHUNK_SIZE", "100")]).await;
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
