//! Peak memory of a process that pulls answers of 50 MB, as the system counts it (VmHWM), and the CPU time that it takes. Each
//! figure is of a process of its own.
//!
//! `cargo bench --bench memory`

#![allow(clippy::unwrap_used, reason = "a benchmark fails by panicking")]

#[path = "../tests/heavy/mod.rs"]
mod heavy;

use heavy::{ANSWER_BYTES, Heavy, Rows};
use std::process::Command;

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    if let [_, rows, windows] = arguments.as_slice()
        && let Ok(windows) = windows.parse()
    {
        return measure(if rows == "plain" { Rows::Plain } else { Rows::Packed }, windows);
    }
    println!("answers of {:.1} MB", ANSWER_BYTES as f64 / 1e6);
    for rows in ["packed", "plain"] {
        for windows in ["1", "8"] {
            let status = Command::new(std::env::current_exe().unwrap()).args([rows, windows]).status().unwrap();
            assert!(status.success());
        }
    }
}

fn measure(rows: Rows, windows: u64) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let (pulled, uploaded) = runtime.block_on(async {
        let heavy = Heavy::new(rows, windows).await;
        (heavy.pull().await, heavy.uploaded())
    });
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    let kib: f64 = line.split_whitespace().nth(1).unwrap().parse().unwrap();
    let times = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    let seconds = times.tv_sec as f64 + times.tv_nsec as f64 / 1e9;
    println!(
        "  {rows:?} rows, {windows} at once: VmHWM {:.1} MiB; {:.1} MB compressed, {:.2} CPU seconds per million rows",
        kib / 1024.0,
        uploaded as f64 / 1e6,
        seconds / (pulled as f64 / 1e6)
    );
}
