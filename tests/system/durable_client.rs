//! The official clients of Durable Functions, unchanged, at this app: they start, wait, hold, end, list and purge runs. For
//! Node the npm package `durable-functions`, for Python `azure-functions-durable`.

use crate::support::azurite::installed;
use crate::support::{Copied, Deployment, Store, cloud, table};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::process::Command;

const NODE_FILES: [(&str, &str); 4] = [
    ("package.json", include_str!("../durable_client/package.json")),
    ("package-lock.json", include_str!("../durable_client/package-lock.json")),
    (".npmrc", include_str!("../durable_client/.npmrc")),
    ("client.js", include_str!("../durable_client/client.js")),
];
const PYTHON_FILES: [(&str, &str); 2] = [
    ("requirements.txt", include_str!("../durable_client/requirements.txt")),
    ("client.py", include_str!("../durable_client/client.py")),
];
/// The longest that a client takes for all that it does.
const PATIENCE: Duration = Duration::from_secs(300);

fn node() -> Option<PathBuf> {
    installed::from_npm("durable-client", "the tests with the Durable Functions client for Node", &NODE_FILES)
}

/// An environment of its own; gives its directory and its interpreter.
fn python() -> Option<(PathBuf, PathBuf)> {
    let tests = "the tests with the Durable Functions client for Python";
    let home = installed::from_pip("durable-client-python", tests, &PYTHON_FILES)?;
    let interpreter = installed::interpreter(&home);
    Some((home, interpreter))
}

/// An app that takes some seconds for one of its tables and little for the other.
async fn app() -> Deployment {
    let copied = [Copied::incremental("DeviceFileEvents"), Copied::incremental("AlertInfo")];
    let settings = [("CHUNK_SIZE", "100"), ("HUNTING_CALLS_PER_MINUTE", "900")];
    let cloud = cloud(vec![table("DeviceFileEvents", 9_000, 8), table("AlertInfo", 100, 2)]);
    Deployment::start_with(Store::sqlite(), cloud, &copied, &settings).await
}

/// Runs a client to its good end.
async fn drive(app: &Deployment, command: &mut Command) {
    let run = command.stdin(std::process::Stdio::null()).kill_on_drop(true).output();
    let output = tokio::time::timeout(PATIENCE, run).await.expect("the client comes to an end").unwrap();
    let said = [output.stdout, output.stderr].concat();
    assert!(output.status.success(), "{}\n{}", String::from_utf8_lossy(&said), app.tail());
}

async fn drive_node(app: &Deployment, home: &Path, arguments: [&str; 2]) {
    let [step, given] = arguments;
    let base = app.url("");
    drive(app, Command::new("node").arg(home.join("client.js")).args([step, &base, given])).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_client_for_node_works_by_the_urls_of_our_payload() {
    let Some(home) = node() else { return };
    drive_node(&app().await, &home, ["lifecycle", "payload"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_client_for_node_works_by_our_address_alone() {
    let Some(home) = node() else { return };
    drive_node(&app().await, &home, ["lifecycle", "address"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_client_for_node_rewinds_a_run_that_could_not_begin() {
    let Some(home) = node() else { return };
    let app = app().await;
    let view = "vw_meta_LatestMigrationConfiguration";
    let shown = app.adx(&format!(".show function {view} | project Body"))[0][0].as_str().unwrap().to_owned();
    app.adx(&format!(".create-or-alter function {view}() {{ print Wrong = 1 }}"));
    let (code, payload) = app.post("/api/adxingestor/start_orchestrator", "").await;
    assert_eq!(code, 202, "{payload}");
    let failed: Value = app.ended(payload["id"].as_str().unwrap()).await;
    assert_eq!(failed["runtimeStatus"], "Failed", "{failed:#}");
    app.adx(&format!(".create-or-alter function with (view = true, folder = 'metadata_views') {view}() {shown}"));
    drive_node(&app, &home, ["rewind", &payload.to_string()]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_client_for_python_works_by_our_address() {
    let Some((home, interpreter)) = python() else { return };
    let app = app().await;
    drive(&app, Command::new(interpreter).arg(home.join("client.py")).arg(app.url(""))).await;
}
