//! Peak memory of a process that pulls answers of 50 MB, as the system counts it (VmHWM), and the CPU time that it takes. Each
//! figure is of a process of its own. Fails where pulling takes more than the goals above what the same process takes that
//! pulls nothing: the stand-ins for the services, and the block of rows that they repeat, are part of both.
//!
//! `cargo bench --bench memory`

#![allow(clippy::unwrap_used, reason = "a benchmark fails by panicking")]

#[path = "../tests/heavy/mod.rs"]
#[allow(dead_code, reason = "repairs are counted by the test alone")]
mod heavy;

use heavy::{ANSWER_BYTES, Heavy, Rows};
use std::process::{Command, Stdio};

/// Answers at once, and the most MiB that they may take.
const GOALS: [(u64, f64); 2] = [(1, 64.0), (8, 96.0)];

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    if let [_, rows, windows] = arguments.as_slice()
        && let (Some(rows), Ok(windows)) = (named(rows), windows.parse())
    {
        return measure(rows, windows);
    }
    println!("answers of {:.1} MB", ANSWER_BYTES as f64 / 1e6);
    for rows in Rows::ALL {
        let idle = peak_mib(rows, 0);
        println!("  {rows:?} rows, none: VmHWM {idle:.1} MiB");
        for (windows, most) in GOALS {
            let pulling = peak_mib(rows, windows) - idle;
            assert!(
                pulling <= most,
                "{rows:?} rows, {windows} at once: {pulling:.1} MiB above idle, {most} MiB allowed"
            );
        }
    }
}

fn named(name: &str) -> Option<Rows> {
    Rows::ALL.into_iter().find(|rows| format!("{rows:?}") == name)
}

/// What a process of its own takes at most, in MiB. What it says is passed on.
fn peak_mib(rows: Rows, windows: u64) -> f64 {
    let mut process = Command::new(std::env::current_exe().unwrap());
    process.args([format!("{rows:?}"), windows.to_string()]).stderr(Stdio::inherit());
    let ended = process.output().unwrap();
    assert!(ended.status.success());
    let said = String::from_utf8(ended.stdout).unwrap();
    let (peak, rest) = said.split_once('\n').unwrap();
    print!("{rest}");
    peak.parse().unwrap()
}

/// Pulls so many windows at once; the first line is the peak.
fn measure(rows: Rows, windows: u64) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let (pulled, uploaded) = runtime.block_on(async {
        let heavy = Heavy::new(rows, windows).await;
        (heavy.pull().await, heavy.uploaded())
    });
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    let mib = line.split_whitespace().nth(1).unwrap().parse::<f64>().unwrap() / 1024.0;
    println!("{mib}");
    if windows == 0 {
        return;
    }
    let times = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    let seconds = times.tv_sec as f64 + times.tv_nsec as f64 / 1e9;
    println!(
        "  {rows:?} rows, {windows} at once: VmHWM {mib:.1} MiB; {:.1} MB compressed, {:.2} CPU seconds per million rows",
        uploaded as f64 / 1e6,
        seconds / (pulled as f64 / 1e6)
    );
}
