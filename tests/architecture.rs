//! Holds the lines between the parts.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::path::{Path, PathBuf};

fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(rust_files(&path));
        } else if path.extension().is_some_and(|e| e == "rs") {
            files.push(path);
        }
    }
    files
}

fn source() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

/// Mentions of `words` in the code of `folder`, which may be a file, comments left out.
fn mentions(folder: &str, words: &[&str]) -> Vec<String> {
    mentions_until(folder, words, |_| false)
}

/// The same without unit tests.
fn mentions_outside_tests(folder: &str, words: &[&str]) -> Vec<String> {
    let found = mentions_until(folder, words, |line| line == "mod tests {");
    found.into_iter().filter(|found| !found.contains("tests.rs:")).collect()
}

fn mentions_until(folder: &str, words: &[&str], end: impl Fn(&str) -> bool) -> Vec<String> {
    let mut found = Vec::new();
    let path = source().join(folder);
    let files = if path.is_dir() { rust_files(&path) } else { vec![path] };
    for file in files {
        let text = fs::read_to_string(&file).unwrap();
        for (number, line) in text.lines().take_while(|line| !end(line)).enumerate() {
            let code = line.split("//").next().unwrap_or_default();
            for word in words {
                if code.contains(word) {
                    found.push(format!("{}:{}: {line}", file.display(), number + 1));
                }
            }
        }
    }
    found
}

#[test]
fn the_rules_touch_nothing() {
    let banned = [
        "tokio",
        "reqwest",
        "axum",
        "async ",
        ".await",
        "rand::",
        "storage::",
        "adx::",
        "defender::",
        "host::",
        "functions::",
        "state::",
        "app::",
        "tracing",
        "telemetry",
        "SystemClock",
        "Instant::now",
        "std::fs",
        "std::net",
        "std::env",
    ];
    assert_eq!(mentions("orchestration", &banned), Vec::<String>::new());
}

/// Whoever makes a record or a changed copy of one spells its type before a brace.
#[test]
fn the_steps_of_a_run_decide_nothing() {
    let made = ["Head {", "Window {", "Instance {", "TableRun {", "WindowState::", "TableState::", "RuntimeStatus::"];
    let doors = [
        "functions/orchestrator",
        "functions/watchdog.rs",
        "functions/watchdog",
        "functions/control",
        "functions/chunk_worker",
    ];
    for door in doors {
        let found: Vec<String> = mentions_outside_tests(door, &made)
            .into_iter()
            .filter(|line| !line.contains("audit.rs:") && !line.contains("let Head {") && !line.contains("-> &"))
            .collect();
        assert_eq!(found, Vec::<String>::new());
    }
}

#[test]
fn the_connectors_do_not_know_each_other() {
    assert_eq!(mentions("defender", &["adx::", "storage::", "host::", "functions::"]), Vec::<String>::new());
    assert_eq!(mentions("adx", &["defender::", "storage::", "host::", "functions::"]), Vec::<String>::new());
    assert_eq!(mentions("storage", &["adx::", "defender::", "orchestration", "functions::"]), Vec::<String>::new());
}

#[test]
fn the_host_knows_nothing_of_the_app() {
    assert_eq!(mentions("host", &["adx::", "defender::", "orchestration", "functions::"]), Vec::<String>::new());
}
