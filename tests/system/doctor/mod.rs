//! `adxingestor doctor` as a process against the simulated cloud: a set-up that is in order, and many that are broken in one
//! way each.

mod broken;
mod scene;
mod tls;

use adxingestor::orchestration::limits::Limits;
use adxingestor::random::SystemRandom;
use adxingestor::state::{State, Tenant};
use adxingestor::storage::sqlite;
use adxingestor::timestamp::SystemClock;
use broken::{BROKEN, Broken};
use futures_util::{StreamExt, stream};
use scene::{Check, SECRET, Scene};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Processes at once.
const AT_ONCE: usize = 4;

fn with_status<'c>(checks: &'c [Check], status: &str) -> Vec<&'c Check> {
    checks.iter().filter(|check| check.status == status).collect()
}

fn ids(checks: &[&Check]) -> Vec<String> {
    checks.iter().map(|check| check.id.clone()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_set_up_in_order_passes_every_check_and_nothing_is_altered() {
    let mut scene = Scene::healthy();
    scene.with_secret(SECRET);
    scene.adx(&format!(".add database Defender admins ('aadapp={};{}')", scene::CLIENT, tenant(&scene)));
    let (healthy, checks) = scene.checks().await;
    assert!(healthy);
    assert!(checks.iter().all(|check| check.status == "pass" && check.remedy.is_empty()), "{checks:#?}");
    for area in ["settings", "identity", "defender", "adx", "metadata", "destination", "state", "clock", "quota"] {
        assert!(checks.iter().any(|check| check.id.split('.').next() == Some(area)), "{area}");
    }
    assert_eq!(calls(&scene), 1, "one call is enough");
    assert!(!scene.folder.path().join("state.db").exists(), "no state is made");
    assert!(scene.cloud.adx().run(".show table DeviceEvents cslschema").is_err(), "no table is made");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_https_reaches_through_a_proxy_alone_is_reached_and_the_proxy_sees_no_secret() {
    let mut scene = Scene::healthy();
    let proxy = scene.behind_a_proxy(SECRET);
    let (_, checks) = scene.checks().await;
    let of = |id: &str| checks.iter().find(|check| check.id == id).unwrap_or_else(|| panic!("{id}: {checks:#?}"));
    let told = of("settings.HTTPS_PROXY");
    let address = proxy.url.trim_start_matches("http://");
    assert!(told.status == "pass" && told.what.contains(address), "{told:?}");
    for id in ["identity.hunting_token", "identity.adx_token"] {
        assert_eq!(of(id).status, "pass", "{checks:#?}");
    }
    let asked = proxy.asked.lock().unwrap();
    assert!(!asked.is_empty());
    for head in asked.iter() {
        assert!(head.starts_with("CONNECT login.example:443 ") && !head.contains(SECRET), "{head}");
    }
}

/// Hunting calls that were made.
fn calls(scene: &Scene) -> u64 {
    scene.cloud.hunting_statistics().calls_by_status.values().sum()
}

fn tenant(scene: &Scene) -> String {
    scene.settings.iter().find(|(name, _)| name == "AZURE_TENANT_ID").unwrap().1.clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn each_broken_set_up_is_named_and_nothing_else_with_it() {
    assert!(BROKEN.len() >= 15);
    let wrong: Vec<String> =
        stream::iter(BROKEN).map(judge).buffer_unordered(AT_ONCE).filter_map(|wrong| async { wrong }).collect().await;
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), BROKEN.len(), wrong.join("\n\n"));
}

/// What is said wrongly of a broken set-up.
async fn judge(broken: &Broken) -> Option<String> {
    let scene = (broken.breaks)();
    let (healthy, checks) = scene.checks().await;
    let mut wrong = Vec::new();
    for (status, expected) in [("fail", broken.fails), ("warn", broken.warns)] {
        let mut found = ids(&with_status(&checks, status));
        let mut wanted: Vec<String> = expected.iter().map(|(id, _)| (*id).to_owned()).collect();
        found.sort();
        wanted.sort();
        if found != wanted {
            wrong.push(format!("{status}: {found:?} instead of {wanted:?}"));
        }
        for (id, part) in expected {
            let remedy = checks.iter().find(|check| check.id == *id).map_or("", |check| check.remedy.as_str());
            if !remedy.contains(part) {
                wrong.push(format!("the remedy of {id} is `{remedy}`, without `{part}`"));
            }
        }
    }
    let named: Vec<String> =
        ids(&with_status(&checks, "fail")).into_iter().chain(ids(&with_status(&checks, "warn"))).collect();
    for skipped in with_status(&checks, "skip") {
        if !named.iter().any(|id| skipped.what.contains(&format!("`{id}`"))) {
            wrong.push(format!("{} is skipped without a check that failed: {}", skipped.id, skipped.what));
        }
    }
    if healthy != broken.fails.is_empty() {
        wrong.push(format!("healthy: {healthy}"));
    }
    (!wrong.is_empty()).then(|| format!("{}: {}\n{checks:#?}", broken.name, wrong.join("; ")))
}

#[tokio::test(flavor = "multi_thread")]
async fn the_commands_that_grant_roles_mend_what_failed() {
    let mut scene = Scene::healthy();
    let principal = scene.cloud.principal();
    let (client, _) = principal.trim_start_matches("aadapp=").split_once(';').unwrap();
    scene.set("AZURE_CLIENT_ID", client);
    scene.set("REPAIR", "delete");
    scene.grant(&["viewers"]);
    let (_, checks) = scene.checks().await;
    let failed = with_status(&checks, "fail");
    assert_eq!(ids(&failed), ["adx.user", "adx.ingestor", "adx.database_admin"]);
    for check in failed {
        let (_, command) = check.remedy.split_once('`').unwrap();
        scene.adx(command.split_once('`').unwrap().0);
    }
    let (healthy, checks) = scene.checks().await;
    assert!(healthy, "{checks:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_store_that_cannot_be_read_nothing_is_said_that_only_it_knows() {
    let mut scene = Scene::healthy();
    let notes = scene.folder.path().join("notes.txt");
    std::fs::write(&notes, "some notes of somebody, no database").unwrap();
    scene.set("STATE_STORE", &format!("sqlite:{}", notes.display()));
    let (_, checks) = scene.checks().await;
    let skipped = with_status(&checks, "skip");
    assert_eq!(ids(&skipped), ["destination.DeviceEvents", "destination.EmailEvents", "quota.now"], "{checks:#?}");
    assert!(skipped.iter().all(|check| check.what.contains("because of `state.store`")), "{skipped:#?}");
    assert!(skipped[2].what.contains("1 hunting call made"), "{skipped:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pause_of_the_tenants_calls_is_told_and_kept() {
    let scene = Scene::healthy();
    let storage = sqlite(&scene.folder.path().join("state.db"), Arc::new(SystemClock)).unwrap();
    let tenant = Tenant::new(&tenant(&scene), &Limits::scaled(1.0));
    let state = State::new(storage, Arc::new(SystemRandom), tenant);
    let until = state.pause_calls(Some(Duration::from_secs(900))).await.unwrap();
    let (healthy, checks) = scene.checks().await;
    assert!(healthy);
    assert_eq!(ids(&with_status(&checks, "warn")), ["defender.endpoint", "quota.now"], "{checks:#?}");
    let told = checks.iter().find(|check| check.id == "quota.now").unwrap();
    assert!(told.what.contains(&until.to_string()[..16]) && told.what.contains("0 hunting calls"), "{}", told.what);
    assert_eq!(calls(&scene), 0);
    let permission = checks.iter().find(|check| check.id == "defender.permission").unwrap();
    assert_eq!(permission.status, "pass", "by the token: {}", permission.what);
}

#[tokio::test(flavor = "multi_thread")]
async fn its_calls_come_out_of_the_tenants_budget() {
    let scene = Scene::healthy();
    let storage = sqlite(&scene.folder.path().join("state.db"), Arc::new(SystemClock)).unwrap();
    let tenant = Tenant::new(&tenant(&scene), &Limits::scaled(1.0));
    let state = State::new(storage, Arc::new(SystemRandom), tenant);
    let first = state.take_permit(Duration::from_secs(60)).await.unwrap().unwrap();
    let (healthy, checks) = scene.checks().await;
    assert!(healthy, "{checks:#?}");
    let next = state.calls_open_at().await.unwrap();
    // Each permit takes a 45th of a minute and a second.
    assert!(next.since(first) >= Duration::from_millis(2_600), "{first} {next}");
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_hangs_it_ends_within_a_minute() {
    let mut scene = Scene::healthy();
    // It takes connections and never says a word.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", silent.local_addr().unwrap());
    scene.set("ADX_CLUSTER_URI", &url);
    scene.set("ADX_INGEST_URI", &url);
    scene.set("DEFENDER_HUNTING_API_URL", &format!("{url}/v1.0/security/runHuntingQuery"));
    let began = Instant::now();
    let (_, checks) = scene.checks().await;
    assert!(began.elapsed() < Duration::from_secs(60), "{:?}", began.elapsed());
    assert_eq!(ids(&with_status(&checks, "fail")), ["defender.endpoint", "adx.cluster"], "{checks:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn people_read_a_line_for_each_check_and_the_sum_last() {
    let mut scene = Scene::healthy();
    scene.set("ADX_DATABASE", "Elsewhere");
    let printed = scene.doctor(&[]).await;
    assert_eq!((printed.code, printed.err.as_str()), (1, ""));
    let lines: Vec<&str> = printed.out.lines().collect();
    let at = lines.iter().position(|line| line.starts_with("FAIL  adx.database ")).expect("it is there");
    assert!(lines[at + 1].trim_start().starts_with("-> set ADX_DATABASE to one of"), "{}", printed.out);
    assert!(lines.last().unwrap().contains("1 failed"), "{}", printed.out);
    assert!(lines.iter().any(|line| line.starts_with("skip  adx.viewer")), "{}", printed.out);
}
