//! `adxingestor run` as a person has it: the real binary as a process of its own, the simulated cloud at the network edge, the state
//! in one SQLite file.

use crate::support::azurite::installed;
use crate::support::{Copied, Deployment, Store, TIME_SCALE, cloud, now, table, ticks};
use adxingestor::printable::grouped;
use adxingestor::timestamp::Timestamp;
use localcloud::source::TableSettings;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use std::path::PathBuf;
use std::process::{Output, Stdio};
use std::time::{Duration, Instant};
use tokio::process::{Child, Command};

const TABLE: &str = "DeviceFileEvents";
const OTHER: &str = "DeviceNetworkEvents";
const ROWS: u64 = 3_000;
const DAYS: u64 = 8;
const PATIENCE: Duration = Duration::from_secs(200);
/// Some ten windows a second: slow enough to be interrupted.
const SLOW: [(&str, &str); 2] = [("CHUNK_SIZE", "50"), ("HUNTING_CALLS_PER_MINUTE", "600")];

/// What a command came to.
struct Ended {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

impl Ended {
    fn of(output: Output) -> Self {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Self { code: output.status.code(), stdout: text(&output.stdout), stderr: text(&output.stderr) }
    }

    fn all(&self) -> String {
        format!("{:?}\n{}\n{}", self.code, self.stdout, self.stderr)
    }

    fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {}", self.all()))
    }

    /// The results of the tables, by their names.
    fn result(&self, table: &str) -> Value {
        let json = self.json();
        let results = json["output"]["result"]["processing_summary"]["detailed_results"].as_array().cloned();
        let found = results.unwrap_or_default().into_iter().find(|result| result["source_table"] == table);
        found.unwrap_or_else(|| panic!("no result of {table}: {}", self.all()))
    }
}

fn started(app: &Deployment, arguments: &[&str]) -> Command {
    let mut command = app.process(&[&["run"], arguments].concat());
    command.env("ADXINGESTOR_TIME_SCALE", TIME_SCALE.to_string()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

async fn run(app: &Deployment, arguments: &[&str]) -> Ended {
    let ended = tokio::time::timeout(PATIENCE, started(app, arguments).output()).await;
    Ended::of(ended.expect("the run comes to an end").unwrap())
}

/// A run with `--json` that ends with this code.
async fn run_json(app: &Deployment, code: i32, arguments: &[&str]) -> Ended {
    let ended = run(app, &[&["--json"], arguments].concat()).await;
    assert_eq!(ended.code, Some(code), "{}", ended.all());
    ended
}

fn deployment(tables: Vec<TableSettings>, copied: &[&str], more: &[(&str, &str)]) -> Deployment {
    let copied: Vec<Copied<'_>> = copied.iter().map(|name| Copied::incremental(name)).collect();
    Deployment::without_app(TIME_SCALE, Store::sqlite(), cloud(tables), &copied, more)
}

fn one_table(more: &[(&str, &str)]) -> Deployment {
    deployment(vec![table(TABLE, ROWS, DAYS)], &[TABLE], more)
}

/// The instant so many days ago, as ticks and as the command line takes it.
fn days_ago(days: u64) -> (i64, String) {
    let at = now() - ticks(Duration::from_secs(days * 86_400));
    let at = Timestamp::from_ticks(u64::try_from(at).unwrap());
    (i64::try_from(at.ticks()).unwrap(), at.to_string())
}

/// Rows in a destination that may not be there.
fn landed(app: &Deployment, destination: &str) -> u64 {
    let count = app.cloud.adx().run(&format!("{destination} | count"));
    count.ok().and_then(|answer| answer.json_rows()[0][0].as_u64()).unwrap_or_default()
}

/// Panics unless what arrived behind `low` up to `high` is in the destination once, and nothing else.
fn assert_holds(app: &Deployment, name: &str, low: i64, high: i64) {
    let found = app.cloud.source().compare(name, low, high, app.cloud.adx().identities(name)).unwrap();
    let missing = found.missing.len();
    assert!(found.is_exact(), "{name}: {} matched, {missing} missing, {} surplus", found.matched, found.surplus);
}

/// Waits until some windows of a run have landed, and its process is still at work.
async fn until_in_the_middle(app: &Deployment, child: &mut Child) {
    let began = Instant::now();
    while landed(app, TABLE) == 0 {
        assert!(began.elapsed() < PATIENCE && child.try_wait().unwrap().is_none(), "it is never in the middle");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn signal(child: &Child, signal: Signal) {
    let id = i32::try_from(child.id().expect("it lives")).unwrap();
    kill_process(Pid::from_raw(id).unwrap(), signal).unwrap();
}

async fn ended(child: Child) -> Ended {
    Ended::of(tokio::time::timeout(PATIENCE, child.wait_with_output()).await.expect("it ends").unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_copies_all_tables_and_says_that_they_are_verified() {
    let app =
        deployment(vec![table(TABLE, ROWS, DAYS), table(OTHER, 500, 2)], &[TABLE, OTHER], &[("CHUNK_SIZE", "400")]);
    let ended = run(&app, &[]).await;
    assert_eq!(ended.code, Some(0), "{}", ended.all());
    for part in [TABLE, OTHER, "3,000", "verified", "everything is verified; 3,500 rows"] {
        assert!(ended.stdout.contains(part), "{part}: {}", ended.all());
    }
    assert!(ended.stderr.contains("2 of 2 tables done, 0 failed"), "{}", ended.all());
    app.assert_equal(TABLE, TABLE);
    app.assert_equal(OTHER, OTHER);
    assert_eq!((app.rows(TABLE), app.rows(OTHER)), (ROWS, 500));
    let again = run_json(&app, 0, &[]).await.json();
    assert_eq!((&again["verified"], &again["runtimeStatus"]), (&true.into(), &"Completed".into()), "{again:#}");
    assert_eq!(app.rows(TABLE), ROWS);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_a_terminal_there_is_a_bar_for_each_table_and_log_lines_do_not_tear_it() {
    let missing = installed::version("script").is_none().then(|| "`script` of util-linux".to_owned());
    let Some(()) = installed::ready("the test of the bars on a terminal", missing) else { return };
    let app = deployment(vec![table(TABLE, 600, 2), table(OTHER, 600, 2)], &[TABLE, OTHER], &SLOW);
    let own = app.process(&["run"]);
    let words = std::iter::once(own.as_std().get_program()).chain(own.as_std().get_args());
    let line: Vec<String> = words.map(|word| format!("'{}'", word.to_str().unwrap())).collect();
    let mut command = Command::new("script");
    command.args(["-qec", &line.join(" "), "/dev/null"]).stdin(Stdio::null()).kill_on_drop(true);
    command.envs(own.as_std().get_envs().filter_map(|(name, value)| Some((name, value?))));
    command.env("ADXINGESTOR_TIME_SCALE", TIME_SCALE.to_string()).env("TERM", "xterm").env("ADXINGESTOR_LOG", "info");
    let ended = Ended::of(tokio::time::timeout(PATIENCE, command.output()).await.unwrap().unwrap());
    assert_eq!(ended.code, Some(0), "{}", ended.all());
    for part in ["copying   ", " windows, 600 rows, ", "a table is planned", "everything is verified; 1,200 rows"] {
        assert!(ended.stdout.contains(part), "{part}: {}", ended.all());
    }
    // Log lines begin with their time in faint letters: at the beginning of a line, or where the bars were just taken away.
    let lines: Vec<usize> = ended.stdout.match_indices("\u{1b}[2m20").map(|(at, _)| at).collect();
    let is_alone = |at: &usize| {
        let before = &ended.stdout[..*at];
        let control = before.rsplit('\u{1b}').next().unwrap_or_default();
        before.is_empty() || before.ends_with('\n') || (control.starts_with('[') && control.len() <= 4)
    };
    assert!(lines.len() > 20 && lines.iter().all(is_alone), "{}", ended.all());
    let summary = ended.stdout.rfind("Table ").unwrap();
    assert!(ended.stdout[..summary].ends_with('\n'), "the table begins on a line of its own: {}", ended.all());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_the_tables_that_are_named_are_copied_and_one_that_failed_is_told_by_the_exit_code() {
    let app = deployment(vec![table(TABLE, 500, 2), table(OTHER, 500, 2)], &[TABLE, OTHER, "NoSuchTable"], &[]);
    let named = run_json(&app, 0, &["--table", OTHER]).await.json();
    assert_eq!((landed(&app, OTHER), landed(&app, TABLE), &named["input"]["tables"][0]), (500, 0, &OTHER.into()));
    let failed = run_json(&app, 3, &[]).await;
    assert_eq!((&failed.json()["verified"], landed(&app, TABLE)), (&false.into(), 500), "{}", failed.all());
    let error = failed.result("NoSuchTable")["error"].clone();
    assert!(error.as_str().unwrap().contains("not a table that this identity can query"), "{error}");
    let wrong = run_json(&app, 2, &["--since", "yesterday"]).await;
    let said = |text: &str| text.contains("--since: `yesterday`") && text.contains("2026-01-31T08:00:00Z");
    assert!(said(wrong.json()["error"].as_str().unwrap()) && said(&wrong.stderr), "{}", wrong.all());
    let (_, at) = days_ago(1);
    let empty = run_json(&app, 2, &["--since", &at, "--until", &at]).await;
    assert!(empty.json()["error"].as_str().unwrap().contains("nothing lies between"), "{}", empty.all());
}

/// A run with other settings than those of the app.
async fn run_with(app: &Deployment, settings: &[(&str, &str)], arguments: &[&str]) -> Ended {
    let mut command = started(app, arguments);
    command.envs(settings.iter().copied());
    Ended::of(tokio::time::timeout(PATIENCE, command.output()).await.expect("it ends").unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_is_not_there_ends_a_run_before_anything_is_made() {
    let app = one_table(&[]);
    for arguments in [&["--json"][..], &["--json", "--dry-run"]] {
        let ended = run_with(&app, &[("ADX_DATABASE", "Elsewhere")], arguments).await;
        let error = ended.json()["error"].to_string();
        assert_eq!(ended.code, Some(1), "{}", ended.all());
        assert!(error.contains("there is no database Elsewhere at ") && error.contains("ADX_DATABASE"), "{error}");
        assert!(!state_file(&app).exists(), "no state store is made");
    }
    // What is missing in a database that is there is made by the run.
    app.adx(".drop function vw_meta_LatestMigrationConfiguration");
    run_json(&app, 0, &[]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_case_of_tenant_and_database_is_the_same_ledger_and_another_spelling_is_named() {
    const TENANT: &str = "aaaabbbb-0000-cccc-1111-dddd2222eeee";
    let app = one_table(&[("CHUNK_SIZE", "400"), ("AZURE_TENANT_ID", TENANT)]);
    run_json(&app, 0, &[]).await;
    let upper = TENANT.to_uppercase();
    let database = app.setting("ADX_DATABASE");
    let same = run_with(&app, &[("AZURE_TENANT_ID", &upper)], &["--json"]).await;
    assert_eq!(same.code, Some(0), "{}", same.all());
    let other = run_with(&app, &[("AZURE_TENANT_ID", "contoso.example")], &["--json"]).await;
    assert_eq!(other.code, Some(3), "{}", other.all());
    let error = other.result(TABLE)["error"].to_string();
    let now = format!(
        "another spelling of AZURE_TENANT_ID or ADX_DATABASE (now: AZURE_TENANT_ID contoso.example, ADX_DATABASE {database})"
    );
    assert!(error.contains(&now), "{error}");
    assert_eq!(app.rows(TABLE), ROWS);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_makes_no_sense_to_ask_for_is_told() {
    let app = one_table(&[("CHUNK_SIZE", "400")]);
    let late = run_json(&app, 2, &["--since", "2999-01-01"]).await;
    assert!(late.json()["error"].as_str().unwrap().contains("lies in the future"), "{}", late.all());
    assert!(!state_file(&app).exists(), "no state store is made");
    let first = run(&app, &[]).await;
    let line = |ended: &Ended| ended.stderr.lines().find(|line| line.starts_with("State store: ")).map(str::to_owned);
    assert!(line(&first).unwrap().ends_with(" (new, empty)"), "{}", first.all());
    let (_, until) = days_ago(5);
    for arguments in [&["--until", &until][..], &["--until", &until, "--dry-run"]] {
        let nothing = run(&app, arguments).await;
        assert_eq!(nothing.code, Some(0), "{}", nothing.all());
        assert!(
            nothing.stdout.contains(&format!("note: nothing new was asked of {TABLE}: `until`")),
            "{}",
            nothing.all()
        );
        assert!(!line(&nothing).unwrap().contains("new"), "{}", nothing.all());
    }
    let (_, adopted) = app.command(&["adopt", "--table", "DeviceFileEvent"]).await;
    assert!(adopted.contains("did you mean DeviceFileEvents?"), "{adopted}");
    app.adx(".set-or-append meta_MigrationConfiguration <| meta_MigrationConfiguration | extend IsActive = false");
    for arguments in [&[][..], &["--dry-run"]] {
        let none = run(&app, arguments).await;
        assert_eq!(none.code, Some(3), "{}", none.all());
        assert!(none.stdout.contains("Nothing was copied: no table is active."), "{}", none.all());
        assert!(!none.stdout.contains("NOT") && !none.stdout.contains("Windows"), "{}", none.all());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn doctor_holds_a_copied_table_to_its_column_as_a_run_does() {
    let app = one_table(&[("CHUNK_SIZE", "400")]);
    run_json(&app, 0, &[]).await;
    let (_, fine) = app.command(&["doctor"]).await;
    assert!(!fine.contains("defender.table."), "{fine}");
    app.adx(
        ".set-or-append meta_MigrationConfiguration <| meta_MigrationConfiguration | extend WatermarkColumn = 'Watermark_IngestionTime'",
    );
    let planned = run_json(&app, 3, &["--dry-run"]).await.json();
    let refusal = planned["tables"][0]["error"].as_str().unwrap().to_owned();
    let (success, told) = app.command(&["doctor"]).await;
    assert!(!success && told.contains(&format!("FAIL  defender.table.{TABLE}")), "{told}");
    assert!(
        told.contains(&refusal) && told.contains("to the configuration with WatermarkColumn Timestamp\n"),
        "{told}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_comes_after_the_end_that_was_asked_for_is_the_next_runs() {
    let app = one_table(&[("CHUNK_SIZE", "400")]);
    let (end, until) = days_ago(3);
    run_json(&app, 0, &["--until", &until]).await;
    assert_holds(&app, TABLE, i64::MIN, end);
    assert_eq!(app.watermark(TABLE), end);
    assert!((1..ROWS).contains(&landed(&app, TABLE)));
    run_json(&app, 0, &[]).await;
    app.assert_equal(TABLE, TABLE);
    assert_eq!(app.rows(TABLE), ROWS);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_table_begins_where_it_is_told_to_for_good() {
    let app = one_table(&[("CHUNK_SIZE", "400")]);
    let (begin, since) = days_ago(3);
    let first = run_json(&app, 0, &["--since", &since]).await;
    let notes = first.result(TABLE)["warnings"].to_string();
    assert!(notes.contains("begins behind") && notes.contains(&since), "{notes}");
    assert_holds(&app, TABLE, begin, i64::MAX);
    let copied = landed(&app, TABLE);
    assert!((1..ROWS).contains(&copied), "{copied}");
    let second = run_json(&app, 0, &[]).await;
    assert_eq!((landed(&app, TABLE), second.result(TABLE)["warnings"].to_string().contains("begins")), (copied, false));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_that_begins_later_leaves_what_lies_before_to_the_next_one_and_the_watermark_below_it() {
    let app = one_table(&[("CHUNK_SIZE", "400")]);
    let ((first_end, until), (begin, since)) = (days_ago(6), days_ago(2));
    run_json(&app, 0, &["--until", &until]).await;
    let before = landed(&app, TABLE);
    let planned = run_json(&app, 0, &["--dry-run", "--since", &since]).await.json();
    assert!(planned["tables"][0]["windows_left"].as_u64().unwrap() > 0, "{planned:#}");
    let narrowed = run_json(&app, 0, &["--since", &since]).await;
    assert_planned(&planned, &narrowed.json());
    let notes = narrowed.result(TABLE)["warnings"].to_string();
    assert!(notes.contains("left for a later run"), "{notes}");
    assert_eq!(app.watermark(TABLE), first_end, "nothing is proved in a row behind it");
    let source = app.cloud.source();
    let hole = source.compare(TABLE, first_end, begin, app.cloud.adx().identities(TABLE)).unwrap();
    assert_eq!(hole.matched, 0, "what lies before was left");
    assert!(landed(&app, TABLE) > before);
    // Narrowed once more, nothing of it is asked for.
    let again = run_json(&app, 0, &["--since", &since]).await;
    assert_eq!(app.watermark(TABLE), first_end, "{}", again.all());
    run_json(&app, 0, &[]).await;
    app.assert_equal(TABLE, TABLE);
    assert_eq!(app.rows(TABLE), ROWS);
}

/// How many rows of a source are in a destination, and how many are not.
fn copied(app: &Deployment, source: &str, destination: &str) -> (u64, usize) {
    let held = app.cloud.adx().identities(destination);
    let found = app.cloud.source().compare(source, i64::MIN, i64::MAX, held).unwrap();
    (found.matched, found.missing.len())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sources_with_one_destination_are_each_copied_once_and_no_remedy_is_against_the_others_rows() {
    const THIRD: &str = "DeviceLogonEvents";
    let tables = vec![table(TABLE, ROWS, DAYS), table(OTHER, 500, 2), table(THIRD, 300, 2)];
    let app = deployment(tables, &[], &[("CHUNK_SIZE", "400")]);
    let to = |source| app.configure(&Copied { destination: "Mix", ..Copied::incremental(source) });
    to(TABLE);
    to(OTHER);
    for _ in 0..2 {
        run_json(&app, 0, &[]).await;
    }
    to(THIRD);
    assert_eq!(run_json(&app, 0, &["--dry-run"]).await.json()["rows"], 300);
    run_json(&app, 0, &[]).await;
    for (source, rows) in [(TABLE, 3_000), (OTHER, 500), (THIRD, 300)] {
        assert_eq!(copied(&app, source, "Mix"), (rows, 0), "{source}");
        let (success, printed) = app.command(&["adopt", "--table", source]).await;
        assert!(success && printed.contains("Nothing to adopt"), "{printed}");
        assert!(printed.contains(&format!("{}, left as they are", grouped(3_800 - rows))), "{printed}");
    }
    assert_eq!(app.rows("Mix"), 3_800);

    for ending in ["", "-wal", "-shm"] {
        let _ = std::fs::remove_file(format!("{}{ending}", state_file(&app).display()));
    }
    let refused = run_json(&app, 3, &[]).await;
    for source in [TABLE, OTHER, THIRD] {
        assert!(refused.result(source)["error"].to_string().contains("another ledger"), "{}", refused.all());
    }
    let (success, printed) = app.command(&["adopt", "--table", TABLE, "--table", "Nowhere"]).await;
    assert!(!success && printed.contains("`Nowhere`") && !printed.contains("with 3,000 rows"), "{printed}");
    // A table that no run has come to has nothing to adopt.
    app.configure(&Copied { destination: "Elsewhere", ..Copied::incremental("DeviceInfo") });
    let (success, printed) = app.command(&["adopt", "--all"]).await;
    assert!(success && printed.contains("there is no table Elsewhere"), "{printed}");
    for rows in ["3,000", "500", "300"] {
        assert!(printed.contains(&format!("with {rows} rows")), "{printed}");
    }
    app.adx(
        ".set-or-append meta_MigrationConfiguration <| meta_MigrationConfiguration | where DestinationTable == 'Elsewhere' | \
         extend IsActive = false",
    );
    assert_eq!(run_json(&app, 0, &[]).await.json()["verified"], true);
    assert_eq!(app.rows("Mix"), 3_800);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_there_twice_fails_a_dry_run_as_it_fails_the_run() {
    let app = one_table(&[("CHUNK_SIZE", "400")]);
    run_json(&app, 0, &[]).await;
    let ids = app.adx(&format!("{TABLE} | distinct ChunkId | order by ChunkId asc"));
    let id = ids[0][0].as_str().unwrap();
    let other = format!("{}0001", &id[..id.len() - 4]);
    app.adx(&format!(
        ".set-or-append {TABLE} <| {TABLE} | where ChunkId == \"{id}\" | project Timestamp, RawData, ChunkId = \"{other}\""
    ));
    let planned = run_json(&app, 3, &["--dry-run"]).await.json();
    let error = planned["tables"][0]["error"].as_str().unwrap_or_default().to_owned();
    assert!(error.contains(&other), "{planned:#}");
    let failed = run_json(&app, 3, &[]).await;
    assert!(failed.result(TABLE)["error"].as_str().unwrap().contains(&other), "{}", failed.all());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_that_was_interrupted_is_ended_without_a_host_and_the_next_one_takes_up_what_it_left() {
    let app = one_table(&SLOW);
    let nothing = run_json(&app, 0, &["--terminate"]).await.json();
    assert_eq!(nothing["terminated"], Value::Null);
    let mut child = started(&app, &["--json"]).spawn().unwrap();
    until_in_the_middle(&app, &mut child).await;
    signal(&child, Signal::INT);
    let interrupted = ended(child).await;
    let refused = run(&app, &["--table", TABLE]).await;
    assert_eq!(refused.code, Some(1), "{}", refused.all());
    assert!(refused.stderr.contains("`adxingestor run --terminate` ends it"), "{}", refused.all());
    let ended = run_json(&app, 0, &["--terminate", "enough of it"]).await.json();
    assert_eq!(ended["terminated"], interrupted.json()["instanceId"]);
    let again = run_json(&app, 0, &["--table", TABLE]).await;
    assert_ne!(again.json()["instanceId"], interrupted.json()["instanceId"]);
    app.assert_equal(TABLE, TABLE);
    assert_eq!(app.rows(TABLE), ROWS);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_written_fails_a_command_and_who_stops_reading_does_not() {
    let app = one_table(&[]);
    for arguments in [&["run", "--dry-run", "--json"][..], &["doctor", "--json"], &["setup"]] {
        let mut command = app.process(arguments);
        let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
        let ended = ended(command.stdout(full).stderr(Stdio::piped()).spawn().unwrap()).await;
        assert_eq!(ended.code, Some(1), "{arguments:?}: {}", ended.all());
        assert!(ended.stderr.contains("could not be written to standard output"), "{arguments:?}: {}", ended.all());
    }
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let mut command = app.process(&["run", "--dry-run", "--json"]);
    let ended = ended(command.stdout(writer).stderr(Stdio::piped()).spawn().unwrap()).await;
    assert_eq!((ended.code, ended.stderr.contains("written")), (Some(0), false), "{}", ended.all());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_variable_that_is_no_text_stops_no_command() {
    use std::os::unix::ffi::OsStrExt;
    let app = one_table(&[]);
    for arguments in [&["run", "--dry-run"][..], &["setup"], &["doctor"], &["adopt", "--table", TABLE, "--dry-run"]] {
        let mut command = app.process(arguments);
        command.env("ODD", std::ffi::OsStr::from_bytes(b"\xff")).stdout(Stdio::piped()).stderr(Stdio::piped());
        let ended = Ended::of(command.output().await.unwrap());
        assert!(!ended.stderr.contains("panicked"), "{arguments:?}: {}", ended.all());
        assert!(matches!(ended.code, Some(0 | 1)), "{arguments:?}: {}", ended.all());
    }
}

/// How many rows but those of the budget and how many messages the state store holds.
fn stored(app: &Deployment) -> (i64, i64) {
    let setting = app.setting("STATE_STORE");
    let file = rusqlite::Connection::open(setting.strip_prefix("sqlite:").unwrap()).unwrap();
    let count = |query: &str| file.query_row(query, [], |row| row.get::<_, i64>(0)).unwrap();
    (count("SELECT count(*) FROM entity WHERE partition_key NOT LIKE 'q:%'"), count("SELECT count(*) FROM message"))
}

/// Panics unless the plan names the windows and rows that the run then had, and its calls.
fn assert_planned(planned: &Value, done: &Value) {
    let (planned, done) = (planned["tables"].as_array().unwrap(), done["customStatus"]["tables"].as_array().unwrap());
    assert_eq!(planned.len(), done.len());
    for (plan, real) in planned.iter().zip(done) {
        let of = |value: &Value, names: [&str; 3]| names.map(|name| value[name].clone());
        let (expected, found) =
            (of(plan, ["table", "windows", "rows"]), of(real, ["table", "windows", "planned_rows"]));
        assert_eq!(expected, found, "{plan:#}\n{real:#}");
        let (expected, made) = (plan["calls"].as_u64().unwrap(), real["calls"].as_u64().unwrap());
        // What a first plan has told of the service is not asked again.
        assert!((made..=made + 2).contains(&expected), "{plan:#}\n{real:#}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dry_run_plans_what_the_run_then_does_and_leaves_everything_as_it_is() {
    let tables = vec![table(TABLE, ROWS, DAYS), table(OTHER, 900, 4)];
    let app = deployment(tables, &[TABLE, OTHER], &[("CHUNK_SIZE", "70")]);
    let objects = || format!("{:?}", app.adx(".show tables | project TableName"));
    let before = objects();
    let (_, until) = days_ago(2);
    let planned = run_json(&app, 0, &["--dry-run", "--until", &until]).await.json();
    assert_eq!((objects(), stored(&app)), (before, (0, 0)));
    assert_eq!((&planned["dry_run"], planned["seconds"].as_f64().is_some()), (&true.into(), true), "{planned:#}");
    assert_planned(&planned, &run_json(&app, 0, &["--until", &until]).await.json());
    // A table with a ledger, and the range behind it.
    let ledger = stored(&app);
    let planned = run_json(&app, 0, &["--dry-run"]).await.json();
    assert_eq!(stored(&app), ledger);
    assert_planned(&planned, &run_json(&app, 0, &[]).await.json());
    assert_eq!((app.rows(TABLE), app.rows(OTHER)), (ROWS, 900));
    let text = run(&app, &["--dry-run"]).await;
    assert!(text.code == Some(0) && text.stdout.contains("Nothing was loaded"), "{}", text.all());
    assert!(text.stdout.contains(&format!("{TABLE}: nothing new: copied up to 20")), "{}", text.all());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_that_was_interrupted_is_gone_on_with_and_other_options_name_it() {
    let app = one_table(&SLOW);
    let mut child = started(&app, &["--json"]).spawn().unwrap();
    until_in_the_middle(&app, &mut child).await;
    signal(&child, Signal::INT);
    let began = Instant::now();
    let stopped = ended(child).await;
    assert_eq!(stopped.code, Some(130), "{}", stopped.all());
    assert!(began.elapsed() < Duration::from_secs(30) && stopped.stderr.contains("25 s"), "{}", stopped.all());
    let id = stopped.json()["instanceId"].as_str().unwrap().to_owned();
    assert!(landed(&app, TABLE) < ROWS);
    let refused = run_json(&app, 1, &["--table", TABLE]).await;
    let error = refused.json()["error"].as_str().unwrap().to_owned();
    assert!(error.contains(&id) && error.contains("terminate"), "{error}");
    let resumed = run_json(&app, 0, &[]).await;
    assert_eq!(resumed.json()["instanceId"], id.as_str());
    assert!(resumed.stderr.contains("was begun before"), "{}", resumed.all());
    app.assert_equal(TABLE, TABLE);
    assert_eq!(app.rows(TABLE), ROWS);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_signal_ends_at_once_and_nothing_is_lost() {
    let app = one_table(&SLOW);
    let mut child = started(&app, &[]).spawn().unwrap();
    until_in_the_middle(&app, &mut child).await;
    signal(&child, Signal::TERM);
    signal(&child, Signal::INT);
    let began = Instant::now();
    let stopped = ended(child).await;
    assert_eq!(stopped.code, Some(130), "{}", stopped.all());
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    assert!(stopped.stdout.contains("`adxingestor run` goes on with it"), "{}", stopped.all());
    let tried = run(&app, &["--dry-run"]).await;
    assert_eq!((tried.code, tried.stderr.contains("is active")), (Some(1), true), "{}", tried.all());
    run_json(&app, 0, &[]).await;
    app.assert_equal(TABLE, TABLE);
    assert_eq!(app.rows(TABLE), ROWS);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_that_was_killed_is_gone_on_with() {
    let app = one_table(&SLOW);
    for _ in 0..2 {
        let mut child = started(&app, &[]).spawn().unwrap();
        until_in_the_middle(&app, &mut child).await;
        child.kill().await.unwrap();
    }
    run_json(&app, 0, &[]).await;
    app.assert_equal(TABLE, TABLE);
    assert_eq!(app.rows(TABLE), ROWS);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_that_a_host_has_begun_is_gone_on_with() {
    let mut app = one_table(&SLOW);
    let host = app.add_app().await;
    let id = app.start_run().await;
    while landed(&app, TABLE) == 0 {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    app.kill(host);
    let ended = run_json(&app, 0, &[]).await;
    assert_eq!(ended.json()["instanceId"], id.as_str());
    app.assert_equal(TABLE, TABLE);
    assert_eq!(app.rows(TABLE), ROWS);
}

/// The file of the state store.
fn state_file(app: &Deployment) -> PathBuf {
    PathBuf::from(app.setting("STATE_STORE").trim_start_matches("sqlite:"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_table_that_is_not_configured_is_refused_before_there_is_a_run_or_a_state_store() {
    let app = one_table(&[]);
    for more in [&["--dry-run"][..], &[]] {
        let refused = run_json(&app, 2, &[&["--table", "DeviceFileEvent"], more].concat()).await;
        let error = refused.json()["error"].as_str().unwrap().to_owned();
        assert!(error.contains(&format!("did you mean {TABLE}?")) && error.contains("setup --tables"), "{error}");
        assert!(refused.stderr.contains(&error), "{}", refused.all());
    }
    assert!(!state_file(&app).exists());
    assert_eq!(landed(&app, "meta_MigrationAudit"), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wrong_settings_are_told_before_a_state_store_is_made_and_misspelt_ones_with_what_was_meant() {
    let app = one_table(&[("ADX_DATABSE", "Defender")]);
    let mut command = started(&app, &[]);
    command.env("ADX_DATABASE", "").env("ADXINGESTOR_LOG", "warn");
    let ended = Ended::of(command.output().await.unwrap());
    assert_eq!(ended.code, Some(1), "{}", ended.all());
    for part in ["did you mean ADX_DATABASE?", "ADX_DATABASE: is not set", "adxingestor doctor"] {
        assert!(ended.stderr.contains(part), "{part}: {}", ended.all());
    }
    assert!(!state_file(&app).exists());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_that_does_not_answer_is_named_while_it_is_waited_for_and_in_the_error() {
    let app = one_table(&[]);
    let mut command = started(&app, &["--json"]);
    command.env("ADX_CLUSTER_URI", "http://127.0.0.1:9");
    let ended = Ended::of(command.output().await.unwrap());
    assert_eq!(ended.code, Some(1), "{}", ended.all());
    let error = ended.json()["error"].as_str().unwrap().to_owned();
    for part in ["http://127.0.0.1:9/", "adxingestor doctor", "the identity endpoint 127.0.0.1:"] {
        assert!(error.contains(part), "{part}: {error}");
    }
    assert!(ended.stderr.contains("Waiting for the cluster http://127.0.0.1:9/"), "{}", ended.all());
    assert!(!state_file(&app).exists());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_the_log_is_json_every_line_is_and_the_progress_too() {
    let app = one_table(&[]);
    let mut command = started(&app, &["--json"]);
    command.env_remove("ADXINGESTOR_LOG").env("ADXINGESTOR_LOG_FORMAT", "json");
    let ended = Ended::of(command.output().await.unwrap());
    assert_eq!((ended.code, &ended.json()["verified"]), (Some(0), &true.into()), "{}", ended.all());
    let lines: Vec<Value> = ended.stderr.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let done = lines.iter().any(|line| line.to_string().contains("1 of 1 table done, 0 failed"));
    assert!(done, "{}", ended.all());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_source_kept_no_longer_is_told_by_the_exit_code_of_the_run_that_finds_it() {
    let app = one_table(&[]);
    let (_, long_ago) = days_ago(40);
    run_json(&app, 0, &["--until", &long_ago]).await;
    let lost = run_json(&app, 4, &[]).await;
    let status = lost.json();
    assert_eq!((&status["verified"], &status["runtimeStatus"]), (&false.into(), &"Completed".into()), "{}", lost.all());
    assert_eq!(lost.result(TABLE)["chunks_expired"], 1, "{}", lost.all());
    assert!(lost.result(TABLE)["warnings"].to_string().contains(&long_ago), "{}", lost.all());
    assert_eq!(app.rows(TABLE), ROWS);
    run_json(&app, 0, &[]).await;
}

#[tokio::test]
async fn a_host_is_not_started_where_there_is_no_function_app() {
    let empty = tempfile::tempdir().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_adxingestor"));
    command.args(["standalone", "--port", "0", "--app-root"]).arg(empty.path()).kill_on_drop(true);
    let ended = tokio::time::timeout(PATIENCE, command.env_remove("STATE_STORE").output()).await;
    let ended = Ended::of(ended.expect("it ends").unwrap());
    assert_eq!(ended.code, Some(1), "{}", ended.all());
    for part in ["it has no host.json", "no folder in it has a function.json", "--app-root"] {
        assert!(ended.stderr.contains(part), "{part}: {}", ended.all());
    }
    assert_eq!(std::fs::read_dir(empty.path()).unwrap().count(), 0, "nothing is made there");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn health_asks_at_the_port_that_standalone_takes() {
    use axum::{Router, routing::get};
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(axum::serve(listener, Router::new().route("/livez", get(|| async { "ok" }))).into_future());
    let root = tempfile::tempdir().unwrap();
    let settings = format!(r#"{{"IsEncrypted": false, "Values": {{}}, "Host": {{"LocalHttpPort": {port}}}}}"#);
    std::fs::write(root.path().join("local.settings.json"), settings).unwrap();
    let health = async |more: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_adxingestor"));
        command.args(["health", "--app-root"]).arg(root.path()).args(more).kill_on_drop(true);
        Ended::of(command.output().await.unwrap())
    };
    let lives = health(&[]).await;
    assert_eq!(lives.code, Some(0), "{}", lives.all());
    let unready = health(&["--ready"]).await;
    assert_eq!((unready.code, unready.stdout.as_str()), (Some(1), ""), "{}", unready.all());
    assert!(unready.stderr.contains("/readyz: 404"), "{}", unready.all());
}
