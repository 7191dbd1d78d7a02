//! What the app holds while it pulls answers of 50 MB, counted by the allocator: the buffers of a pull, not the answer.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod heavy;

use heavy::{ANSWER_BYTES, Heavy, Rows};
use peak_alloc::PeakAlloc;

#[global_allocator]
static ALLOCATED: PeakAlloc = PeakAlloc;

const MIB: usize = 1 << 20;

async fn peak(what: &str, rows: Rows, windows: u64) -> usize {
    let heavy = if what == "repair" { Heavy::repairs(rows, windows).await } else { Heavy::new(rows, windows).await };
    ALLOCATED.reset_peak_usage();
    let pulled = heavy.pull().await;
    let peak = ALLOCATED.peak_usage();
    println!(
        "{what} of {rows:?} rows, {windows} at once: {pulled} rows of {windows} x {ANSWER_BYTES} bytes, {} bytes compressed; at most {:.1} MiB",
        heavy.uploaded(),
        peak as f64 / MIB as f64
    );
    assert!(heavy.uploaded() > windows * 5_000_000, "the answers are too easy to compress to show anything");
    peak
}

// One test: what one holds, another would count.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pull_holds_its_buffers_and_never_its_answer() {
    for (what, rows) in ["pull", "repair"].into_iter().flat_map(|what| Rows::ALL.map(|rows| (what, rows))) {
        let (one, eight) = (peak(what, rows, 1).await, peak(what, rows, 8).await);
        assert!(one <= 64 * MIB, "{what} of {rows:?}: {one}");
        assert!(eight <= 96 * MIB, "{what} of {rows:?}: {eight}");
        // Far below that of the answers: one answer alone is 48 MiB.
        assert!(one < ANSWER_BYTES / 2, "{what} of {rows:?}: {one}");
    }
}
