//! Log lines.

use super::{TABLES, app};
use serde_json::Value;

/// What the handler has logged. The host's own lines name their category, but for one of the program that it is a part of.
fn lines(log: &str) -> Vec<Value> {
    let lines = log.lines().filter(|line| !line.starts_with("State store: "));
    let read = lines.map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}")));
    read.filter(|line: &Value| line["category"].is_null()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_line_of_work_on_a_window_is_json_and_names_run_table_and_window() {
    let settings =
        [("ADXINGESTOR_LOG_FORMAT", "json"), ("ADXINGESTOR_LOG", "adxingestor=debug"), ("CHUNK_SIZE", "500")];
    let app = app(2_000, &settings).await;
    let id = app.start_run().await;
    let status = app.ended(&id).await;
    assert_eq!(status["runtimeStatus"], "Completed", "{status:#}\n{}", app.tail());
    let lines = lines(&app.log(0));
    let mut windows = 0;
    for line in &lines {
        for always in ["timestamp", "level", "message"] {
            assert!(line[always].is_string(), "{line}");
        }
        assert!(line.as_object().unwrap().keys().all(|name| !name.contains('.')), "{line}");
        match line["function"].as_str() {
            // Its first word may come before it has looked what it is about.
            Some("chunk_worker") if line["table"].is_null() => assert_eq!(line["level"], "DEBUG", "{line}"),
            Some("chunk_worker") => {
                assert_eq!(line["instance"], id.as_str(), "{line}");
                assert!(TABLES.contains(&line["table"].as_str().unwrap()), "{line}");
                assert_eq!(line["window"].as_str().map(str::len), Some(64), "{line}");
                assert!(line["invocation"].is_string() && line["message_id"].is_string(), "{line}");
                assert!(line["generation"].is_u64() && line["posts"].is_u64(), "{line}");
                windows += usize::from(line["message"] == "a window was posted");
            }
            Some("orchestrator") => assert!(line["step"].is_string(), "{line}"),
            _ => {}
        }
    }
    assert!(windows >= 8, "{windows} windows were posted\n{}", app.tail());
    let ended = lines.iter().find(|line| line["message"] == "the run has ended").unwrap();
    assert_eq!((&ended["instance"], &ended["function"]), (&Value::from(id), &Value::from("orchestrator")));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ids_are_told_even_where_only_errors_are_logged() {
    let app = app(200, &[("ADXINGESTOR_LOG_FORMAT", "json"), ("ADXINGESTOR_LOG", "error")]).await;
    let id = app.start_run().await;
    app.ended(&id).await;
    assert!(lines(&app.log(0)).is_empty(), "{}", app.tail());
    // A row that no run can copy.
    app.adx(".drop table meta_MigrationConfiguration");
    app.adx(
        ".set-or-append meta_MigrationConfiguration <| print SourceTable='A', DestinationFolder='', DestinationTable='B', \
         WatermarkColumn='a | b', LastRefreshedTime=datetime(null), HighWatermark=datetime(null), LoadType='Full', IsActive=true",
    );
    let id = app.start_run().await;
    app.ended(&id).await;
    let lines = lines(&app.log(0));
    assert!(!lines.is_empty(), "{}", app.tail());
    for line in lines {
        assert_eq!((&line["level"], &line["instance"]), (&Value::from("ERROR"), &Value::from(id.as_str())), "{line}");
    }
}
