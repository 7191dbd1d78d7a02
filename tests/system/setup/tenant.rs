//! A database that has nothing is set up, and a run copies what was asked for.

use crate::support::{Deployment, Store, cloud, table};

/// A cloud with these tables, and a database without anything.
async fn fresh(tables: &[&str]) -> Deployment {
    let app =
        Deployment::start(Store::sqlite(), cloud(tables.iter().map(|name| table(name, 300, 3)).collect()), &[]).await;
    app.adx(".drop function vw_meta_LatestMigrationConfiguration");
    app.adx(".drop table meta_MigrationConfiguration");
    app
}

const ID: [&str; 2] = ["--app-id", "2ce9e0c4-ad86-44ea-a5b4-65aefc4ec4ad"];

async fn setup(app: &Deployment, more: &[&str]) -> (bool, String) {
    app.command(&[&["setup"], &ID[..], more].concat()).await
}

fn configured(app: &Deployment) -> String {
    let rows = app.adx("meta_MigrationConfiguration | project SourceTable, DestinationFolder, DestinationTable, WatermarkColumn, LoadType, IsActive | order by SourceTable asc");
    serde_json::to_string(&rows).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_empty_database_is_set_up_once_and_a_run_copies_what_was_asked_for() {
    let app = fresh(&["DeviceLogonEvents", "EmailEvents", "DeviceTvmSoftwareInventory"]).await;
    let before = calls(&app);
    let (success, printed) = setup(&app, &["--tables", "all"]).await;
    assert!(success && printed.contains(".create-merge table meta_Ledger"), "{printed}");
    assert_eq!(calls(&app) - before, 1, "one call tells what a tenant offers");
    assert!(app.adx(".show tables").is_empty(), "printing changes nothing");

    let (success, done) = setup(&app, &["--tables", "recommended", "--apply"]).await;
    assert!(success && done.contains("Done: 10 commands."), "{done}");
    assert!(done.contains("left out: AlertEvidence,"), "{done}");
    let events = r#"[["DeviceLogonEvents","Defender","DeviceLogonEvents","Timestamp","Incremental",true],["EmailEvents","Defender","EmailEvents","Timestamp","Incremental",true]]"#;
    assert_eq!(configured(&app), events);
    let (success, again) = setup(&app, &["--tables", "recommended", "--apply"]).await;
    assert!(success && again.contains("there   the configuration of EmailEvents"), "{again}");
    assert!(
        again.contains("there   the role ingestors of the app") && again.contains("Nothing was left to do"),
        "{again}"
    );
    assert_eq!(configured(&app), events, "a second time adds no row");

    let (success, whole) =
        setup(&app, &["--tables", "DeviceTvmSoftwareInventory", "--apply", "--folder", "De\"f']ender"]).await;
    assert!(success, "{whole}");
    assert!(configured(&app).contains(
        r#"["DeviceTvmSoftwareInventory","De\"f']ender","DeviceTvmSoftwareInventory","SnapshotTime","Snapshot",true]"#
    ));
    app.completed().await;
    app.assert_equal("DeviceLogonEvents", "DeviceLogonEvents");
    app.assert_equal("EmailEvents", "EmailEvents");
    assert!(app.rows("DeviceTvmSoftwareInventory") > 0);
    let (success, looked) = setup(&app, &["--from-python-app"]).await;
    assert!(success && looked.contains("was taken over before"), "{looked}");
}

/// The commands of a script, as a person pastes them.
fn commands(script: &str) -> Vec<String> {
    let of = |block: &str| block.lines().filter(|line| !line.starts_with("//")).collect::<Vec<_>>().join("\n");
    script.split("\n\n").map(of).filter(|block| !block.trim().is_empty()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_printed_script_does_the_same_when_it_is_pasted_twice_and_leaves_rows_of_people_alone() {
    let app = fresh(&["DeviceLogonEvents", "EmailEvents", "AlertInfo"]).await;
    let (success, script) = setup(&app, &["--tables", "recommended"]).await;
    assert!(success, "{script}");
    let commands = commands(&script);
    assert_eq!(commands.len(), 10, "{script}");
    for command in commands.iter().chain(&commands) {
        app.adx(command);
    }
    assert_eq!(app.adx("vw_meta_LatestMigrationConfiguration | count")[0][0], 3);
    assert_eq!(app.adx("meta_MigrationConfiguration | count")[0][0], 3, "pasted twice");

    app.adx(
        ".set-or-append meta_MigrationConfiguration <| meta_MigrationConfiguration | where SourceTable == 'EmailEvents' | extend IsActive = false",
    );
    let (success, again) = setup(&app, &["--tables", "recommended", "--apply"]).await;
    assert!(success && again.contains("the configuration of EmailEvents, which is switched off"), "{again}");
    assert_eq!(app.adx("vw_meta_LatestMigrationConfiguration | count")[0][0], 2, "what is switched off stays so");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn names_that_are_no_tables_are_refused_with_those_that_were_meant() {
    let app = fresh(&["DeviceEvents"]).await;
    for (tables, said) in [
        ("DeviceEvnets", "did you mean DeviceEvents"),
        ("DeviceEvents,EmailEvents", "check the licence"),
        ("AlertInf", "can query (names are case-sensitive); nothing was changed"),
        ("DeviceEvents\"] | .drop", "is not a Kusto name"),
        ("A'); .drop table B", "is not a Kusto name"),
        (",", "names no table"),
    ] {
        let (success, printed) = setup(&app, &["--tables", tables, "--apply"]).await;
        assert!(!success && printed.contains(said), "{tables}: {printed}");
    }
    for more in [
        ["--folder", "a\nb"],
        ["--folder", ""],
        ["--app-id", "x');"],
        ["--app-id", "not-a-guid"],
        ["--tenant-id", "a;b"],
        ["--tenant-id", "contoso"],
    ] {
        let (success, printed) = app.command(&[&["setup", "--apply"], &more[..]].concat()).await;
        assert!(!success && printed.contains(more[0]), "{printed}");
    }
    assert!(app.adx(".show tables").is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_printed_or_done_for_a_database_that_is_not_there() {
    let app = fresh(&["DeviceEvents"]).await;
    let before = calls(&app);
    for more in [&[][..], &["--tables", "recommended"], &["--apply"], &["--from-python-app"]] {
        let mut command = app.process(&[&["setup"], &ID[..], more].concat());
        let ended = command.env("ADX_DATABASE", "Elsewhere").output().await.unwrap();
        let said = String::from_utf8_lossy(&ended.stderr);
        assert_eq!((ended.status.code(), ended.stdout.is_empty()), (Some(1), true), "{more:?}: {said}");
        assert!(said.contains("there is no database Elsewhere at ") && said.contains("ADX_DATABASE"), "{said}");
    }
    assert_eq!(calls(&app), before, "the source is not asked");
}

/// Calls that the hunting API has answered.
fn calls(app: &Deployment) -> u64 {
    app.cloud.hunting_statistics().calls_by_status.values().sum()
}
