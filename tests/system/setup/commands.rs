//! The script and the commands, against a scripted service.

use super::fake::{Fake, Reply, Seen, appended, missing, soon, status, v1, v2};
use super::metadata_names::{name, names};
use adxingestor::adx::catalog::{Catalog, ConfigRow};
use adxingestor::remedy::Application;
use adxingestor::setup::{self, Plan, Stopped, Wanted, arrival_query, columns_query};
use serde_json::json;
use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::Path;

const CONFIG: &str = "SourceTable:string,DestinationFolder:string,DestinationTable:string,WatermarkColumn:string,LastRefreshedTime:datetime,HighWatermark:datetime,LoadType:string,IsActive:bool,['Added later']:string";
const POLICIES: &str = "Role:string,PrincipalType:string,PrincipalFQN:string";

fn catalog(fake: &Fake) -> Catalog {
    Catalog::new(fake.client(), names())
}

fn row(source: &str, load_type: &str) -> ConfigRow {
    let column = if load_type == "Snapshot" { "SnapshotTime" } else { "Timestamp" };
    ConfigRow {
        source_table: source.to_owned(),
        destination_folder: "De\"f']en\\der; .drop".to_owned(),
        destination_table: source.to_owned(),
        watermark_column: column.to_owned(),
        last_refreshed: None,
        high_watermark: None,
        load_type: load_type.to_owned(),
        is_active: Some(true),
        problem: None,
    }
}

fn wanted() -> Wanted {
    let (client, tenant) = ("2ce9e0c4-ad86-44ea-a5b4-65aefc4ec4ad", "7e6f8ae6-6f5c-4d3c-8b39-8b3a7d2a52ba");
    Wanted {
        app: Application { client: Some(client.into()), tenant: Some(tenant.into()) },
        repairs: true,
        rows: vec![
            row("DeviceEvents", "Incremental"),
            row("DeviceTvmSoftwareInventory", "Snapshot"),
            row("EmailEvents", "Incremental"),
        ],
        left_out: vec!["not offered to this identity, so left out: UrlClickEvents".to_owned()],
    }
}

/// A database that has nothing, and takes everything.
fn empty(seen: &Seen) -> Reply {
    let csl = seen.csl();
    if csl.ends_with("cslschema") {
        missing("Table", "it")
    } else if csl.ends_with("principals") {
        v1(POLICIES, &json!([["Database Hunting Admin", "AAD User", "aaduser=someone"]]))
    } else if csl.starts_with(".set-or-append") {
        appended(3)
    } else if csl.starts_with('.') {
        v1("Name:string", &json!([["x"]]))
    } else {
        missing("Function", "it")
    }
}

/// A database in which some is there, and other things than this app makes.
fn partly(seen: &Seen) -> Reply {
    let csl = seen.csl();
    let schema = |columns: &str| v1("TableName:string,Schema:string", &json!([["t", columns]]));
    if csl == ".show table meta_MigrationConfiguration cslschema" {
        schema(CONFIG)
    } else if csl == ".show table meta_MigrationAudit cslschema" {
        schema("ingestion_id:string,ingestion_timestamp:datetime")
    } else if csl.ends_with("principals") {
        let app = "AADAPP=2CE9E0C4-ad86-44ea-a5b4-65aefc4ec4ad;7e6f8ae6-6f5c-4d3c-8b39-8b3a7d2a52ba";
        v1(
            POLICIES,
            &json!([
                ["Database Hunting User", "AAD Application", app],
                ["Database Hunting UnrestrictedViewer", "x", app]
            ]),
        )
    } else if csl.contains("arg_max(ArrivedAt, DestinationTable") {
        let columns = "SourceTable:string,DestinationTable:string,IsActive:bool";
        v2(columns, &json!([["EmailEvents", "Mail", false], ["Other", "DeviceTvmSoftwareInventory", true]]))
    } else if csl.starts_with("vw_meta_LatestMigrationConfiguration") {
        v2("SourceTable:string", &json!([]))
    } else {
        empty(seen)
    }
}

fn denied() -> Reply {
    status(403).saying(&json!({"error": {"code": "Forbidden", "message": "Caller is not authorized to perform this action",
        "@type": "Kusto.Data.Exceptions.KustoRequestDeniedException", "@message": "Principal is not authorized", "@permanent": true}}))
}

async fn planned(fake: &Fake) -> Plan {
    setup::plan(&catalog(fake), "Hunting", &wanted(), soon()).await.unwrap()
}

fn sent(fake: &Fake, is: impl Fn(&str) -> bool) -> String {
    let mut text = String::new();
    for seen in fake.seen().iter().filter(|seen| is(&seen.csl())) {
        writeln!(text, "=== {} {}\n{}", seen.method, seen.path, seen.csl()).unwrap();
    }
    text
}

/// Holds texts against the files of `tests/golden/setup`. `UPDATE_GOLDEN=1` writes them.
fn check(texts: &[(&str, String)]) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/setup");
    for (file, text) in texts {
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            std::fs::write(folder.join(file), text).unwrap();
        }
        assert_eq!(*text, std::fs::read_to_string(folder.join(file)).unwrap_or_default(), "{file}");
    }
    let held = std::fs::read_dir(&folder).unwrap().map(|file| file.unwrap().file_name().into_string().unwrap());
    let used: BTreeSet<String> = texts.iter().map(|(file, _)| (*file).to_owned()).collect();
    assert_eq!(held.collect::<BTreeSet<_>>(), used, "golden files that nothing is held against");
}

#[tokio::test]
async fn everything_that_is_printed_and_sent_is_as_the_golden_files_say() {
    let (fresh, some, blind) = (Fake::start(empty).await, Fake::start(partly).await, Fake::start(|_| denied()).await);
    let (new, more, unseen) = (planned(&fresh).await, planned(&some).await, planned(&blind).await);
    assert!(!new.is_wrong() && new.blind.is_none() && unseen.blind.is_some());
    let tables = ["DeviceEvents", "EmailEvents", "where"].map(name);
    let configured = |csl: &str| csl.contains("project SourceTable, DestinationTable");
    check(&[
        ("script-fresh.kql", new.to_string()),
        ("script-more.kql", more.to_string()),
        ("script-fresh-unseen.kql", unseen.to_string()),
        ("looks.txt", sent(&fresh, |csl| !configured(csl))),
        ("configured.txt", sent(&some, configured)),
        ("hunting-columns.kql", columns_query(&tables, true) + "\n"),
        ("hunting-columns-strict.kql", columns_query(&tables, false) + "\n"),
        ("hunting-columns-of-one.kql", columns_query(&tables[..1], false) + "\n"),
        ("hunting-arrival.kql", arrival_query(&tables, true) + "\n"),
        ("hunting-arrival-of-one.kql", arrival_query(&tables[..1], false) + "\n"),
    ]);
}

#[tokio::test]
async fn what_is_carried_out_is_what_is_printed_in_the_same_order() {
    let fake = Fake::start(empty).await;
    let plan = planned(&fake).await;
    let looks = fake.csl().len();
    let mut told = Vec::new();
    let applied =
        setup::apply(&catalog(&fake), &plan, &mut |line: &str| told.push(line.to_owned()), soon()).await.unwrap();
    let steps: Vec<String> = plan.steps().map(|step| step.csl.clone()).collect();
    assert_eq!(fake.csl()[looks..], steps);
    assert_eq!((applied.done, applied.left.len(), steps.len()), (11, 0, 11));
    assert!(told.iter().any(|line| line.starts_with("done") && line.ends_with("(3 rows)")), "{told:?}");
    let printed = plan.to_string();
    assert!(steps.iter().all(|csl| printed.contains(&format!("\n{csl}\n"))), "{printed}");
}

#[tokio::test]
async fn a_role_that_may_not_be_granted_is_left_for_an_admin_and_the_rest_goes_on() {
    let fake = Fake::start(|seen| if seen.csl().starts_with(".add") { denied() } else { empty(seen) }).await;
    let plan = planned(&fake).await;
    let mut told = Vec::new();
    let applied =
        setup::apply(&catalog(&fake), &plan, &mut |line: &str| told.push(line.to_owned()), soon()).await.unwrap();
    assert_eq!((applied.done, applied.left.len()), (7, 4));
    let grant = ".add database Hunting users ('aadapp=2ce9e0c4-ad86-44ea-a5b4-65aefc4ec4ad;7e6f8ae6-6f5c-4d3c-8b39-8b3a7d2a52ba')";
    assert_eq!(applied.left[0], grant);
    assert!(told.iter().any(|line| line.starts_with("denied") && line.ends_with(grant)), "{told:?}");
}

#[tokio::test]
async fn the_first_command_that_fails_is_the_last_that_is_sent() {
    let fake = Fake::start(|seen| {
        if seen.csl().starts_with(".create-merge table meta_ChunkIngestionFailures") { denied() } else { empty(seen) }
    })
    .await;
    let plan = planned(&fake).await;
    let stopped = setup::apply(&catalog(&fake), &plan, &mut |_: &str| {}, soon()).await.unwrap_err();
    assert!(fake.csl().last().unwrap().starts_with(".create-merge table meta_ChunkIngestionFailures"));
    let said = stopped.to_string();
    for part in ["6 commands were carried out before it", "Database User", "run setup again"] {
        assert!(said.contains(part), "{part}: {said}");
    }
}

#[tokio::test]
async fn nothing_is_changed_where_it_cannot_be_seen_what_is_there_or_something_is_wrong() {
    let blind = Fake::start(|_| denied()).await;
    let plan = planned(&blind).await;
    let looks = blind.csl().len();
    let stopped = setup::apply(&catalog(&blind), &plan, &mut |_: &str| {}, soon()).await.unwrap_err();
    assert!(matches!(stopped, Stopped::Blind(_)) && blind.csl().len() == looks, "{stopped}");

    let wrong = Fake::start(|seen| {
        let is = seen.csl() == ".show table meta_Ledger cslschema";
        if is { v1("TableName:string,Schema:string", &json!([["t", "SourceTable:int"]])) } else { empty(seen) }
    })
    .await;
    let plan = planned(&wrong).await;
    let looks = wrong.csl().len();
    let stopped = setup::apply(&catalog(&wrong), &plan, &mut |_: &str| {}, soon()).await.unwrap_err();
    assert!(matches!(stopped, Stopped::Wrong(_)) && wrong.csl().len() == looks, "{stopped}");
    assert!(stopped.to_string().contains("SourceTable is int and has to be string"), "{stopped}");
}
