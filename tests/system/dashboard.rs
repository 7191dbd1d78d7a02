//! The status page in headless Chromium, as a person uses it: the real binary, the simulated cloud, and a browser that is
//! driven by the scripts in `tests/dashboard`. The pictures that they take are kept below the build directory.

use crate::support::azurite::installed;
use crate::support::{Copied, Deployment, Store, cloud, table};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::process::Command;

const FILES: [(&str, &str); 10] = [
    ("package.json", include_str!("../dashboard/package.json")),
    ("package-lock.json", include_str!("../dashboard/package-lock.json")),
    (".npmrc", include_str!("../dashboard/.npmrc")),
    ("main.js", include_str!("../dashboard/main.js")),
    ("browser.js", include_str!("../dashboard/browser.js")),
    ("watch.js", include_str!("../dashboard/watch.js")),
    ("keyboard.js", include_str!("../dashboard/keyboard.js")),
    ("keys.js", include_str!("../dashboard/keys.js")),
    ("trouble.js", include_str!("../dashboard/trouble.js")),
    ("picture.js", include_str!("../dashboard/picture.js")),
];
const TESTS: &str = "the tests of the status page";
/// What the browser is called: in Debian, and elsewhere.
const BROWSERS: [&str; 3] = ["chromium", "chromium-browser", "google-chrome"];
/// The longest that a step takes.
const PATIENCE: Duration = Duration::from_secs(240);
const HOSTILE: [&str; 2] = ["<script>alert(1)</script>", "\"><img src=x onerror=alert(1)>"];

/// Where the scripts are installed, and the browser; `None`, said on standard error, where there is none.
fn ready() -> Option<(PathBuf, &'static str)> {
    let browser = BROWSERS.into_iter().find(|name| installed::version(name).is_some());
    installed::ready(TESTS, browser.is_none().then(|| "Chromium (Debian's package `chromium`)".to_owned()))?;
    Some((installed::from_npm("dashboard", TESTS, &FILES)?, browser?))
}

/// An app that takes some seconds for its run.
async fn app(copied: &[Copied<'_>]) -> Deployment {
    let settings = [("CHUNK_SIZE", "100"), ("HUNTING_CALLS_PER_MINUTE", "600")];
    let cloud = cloud(vec![table("DeviceFileEvents", 6_000, 8), table("AlertInfo", 300, 2)]);
    Deployment::start_with(Store::sqlite(), cloud, copied, &settings).await
}

fn both() -> [Copied<'static>; 2] {
    [Copied::incremental("DeviceFileEvents"), Copied::incremental("AlertInfo")]
}

/// Plays a step to its good end.
async fn play(app: &Deployment, step: &str, given: &Value) {
    let Some((home, browser)) = ready() else { return };
    let pictures = Path::new(env!("CARGO_TARGET_TMPDIR")).join("status-page").join(step);
    let mut command = Command::new("node");
    command.arg(home.join("main.js")).args([step, &app.url(""), browser]).arg(pictures).arg(given.to_string());
    let run = command.stdin(std::process::Stdio::null()).kill_on_drop(true).output();
    let output = tokio::time::timeout(PATIENCE, run).await.expect("the step comes to an end").unwrap();
    let said = [output.stdout, output.stderr].concat();
    assert!(output.status.success(), "{}\n{}", String::from_utf8_lossy(&said), app.tail());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_is_watched_from_its_start_to_its_end_and_hostile_texts_are_harmless() {
    if ready().is_none() {
        return;
    }
    let hostile = |text: &'static str| Copied { destination: "Elsewhere", ..Copied::incremental(text) };
    let copied: Vec<Copied> = both().into_iter().chain(HOSTILE.map(hostile)).collect();
    let app = app(&copied).await;
    let rows = json!({"DeviceFileEvents": 6_000, "AlertInfo": 300});
    play(&app, "watch", &json!({"rows": rows, "hostile": HOSTILE})).await;
    assert_eq!((app.rows("DeviceFileEvents"), app.rows("AlertInfo")), (6_000, 300));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_is_started_and_terminated_with_the_keyboard_alone() {
    if ready().is_none() {
        return;
    }
    let app = app(&both()).await;
    play(&app, "keyboard", &Value::Null).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_of_the_page_may_look_and_one_of_the_host_may_act() {
    if ready().is_none() {
        return;
    }
    let keys =
        json!({"master": "m-1", "host": {"default": "h-2/+="}, "functions": {"dashboard": {"default": "d-3/+="}}});
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("keys.json");
    std::fs::write(&file, keys.to_string()).unwrap();
    let mut app = app(&both()).await;
    app.pass(&["--keys", file.to_str().unwrap()]).await;
    play(&app, "keys", &json!({"look": "d-3/+=", "act": "h-2/+="})).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_page_says_what_is_wrong_and_asks_no_more_than_it_has_to() {
    if ready().is_none() {
        return;
    }
    let app = app(&both()).await;
    play(&app, "trouble", &Value::Null).await;
}

/// The tables of the demo, smaller, at the tenant's own pace.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes the picture of the README, in some minutes"]
async fn the_picture_of_the_readme_is_taken() {
    let tables = [
        ("DeviceNetworkEvents", 110_000),
        ("DeviceProcessEvents", 62_000),
        ("DeviceFileEvents", 80_000),
        ("DeviceLogonEvents", 30_000),
        ("EmailEvents", 12_000),
        ("EmailUrlInfo", 95_000),
        ("IdentityLogonEvents", 40_000),
    ];
    let copied: Vec<Copied> = tables.iter().map(|(name, _)| Copied::incremental(name)).collect();
    let settings = [("CHUNK_SIZE", "10000"), ("HUNTING_CALLS_PER_MINUTE", "45")];
    let cloud = cloud(tables.iter().map(|(name, rows)| table(name, *rows, 29)).collect());
    let app = Deployment::start_with(Store::sqlite(), cloud, &copied, &settings).await;
    play(&app, "picture", &json!({"first": ["EmailEvents", "IdentityLogonEvents"]})).await;
}
