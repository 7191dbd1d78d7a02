//! Heads and windows for the tests of the rules.

use crate::orchestration::ids::{InstanceId, LedgerId, Part, TableKey, WindowId, WindowName};
use crate::orchestration::instance::{Instance, LoadType, StartInput, TableConfig, TableRun};
use crate::orchestration::ledger::{ChunkIdPlace, CutAxis, Head, PartedBy, RowFormat, Shape, TableState, VerifyDue};
use crate::orchestration::window::{Seal, Window, WindowState};
use crate::orchestration::write::Seen;
use crate::timestamp::Timestamp;
use std::time::Duration;

pub(crate) fn now() -> Timestamp {
    "2026-05-01T00:00:00Z".parse().unwrap()
}

pub(crate) fn later(seconds: u64) -> Timestamp {
    now() + Duration::from_secs(seconds)
}

pub(crate) fn key() -> TableKey {
    TableKey::new("t", "s", "c", "d", "x")
}

pub(crate) fn id(bits: u128) -> InstanceId {
    InstanceId::from_bits(bits)
}

/// A run that has not begun.
pub(crate) fn run(bits: u128) -> Instance {
    Instance::pending(id(bits), StartInput::default(), serde_json::Value::Null, now())
}

/// The head of a table in `state` that run 1 holds.
pub(crate) fn head(state: TableState) -> Head {
    let mut head = Head::new(LedgerId(1), "s", "x", "Timestamp", now());
    head.state = state;
    head.run = (state != TableState::Idle).then(|| id(1));
    head.draft = (state == TableState::Planning).then(|| "draft".to_owned());
    head
}

/// The head of a table whose count `number` is due.
pub(crate) fn due(number: u64) -> Head {
    let verify = Some(VerifyDue { number, at: now(), pause_ms: 2_000 });
    Head { verify_number: number, verify, ..head(TableState::Running) }
}

pub(crate) fn table() -> TableRun {
    TableRun {
        key: key(),
        ordinal: 0,
        config: TableConfig {
            source: "s".into(),
            folder: String::new(),
            destination: "x".into(),
            watermark_column: "Timestamp".into(),
            load_type: Some(LoadType::Incremental),
            last_refreshed: None,
            high_watermark: None,
        },
        high: Timestamp::from_ticks(10_000),
        started: true,
        result: None,
        owed: Vec::new(),
        auditor: None,
    }
}

pub(crate) fn seal() -> Seal {
    Seal { blob: "b".into(), rows: 3, raw_bytes: 30, compressed_bytes: 9, longest_row_bytes: 10, sha256: String::new() }
}

/// A window `(low, low + 10]` of plan `old`, sealed as its state says; its version is its `low`.
pub(crate) fn seen(low: u64, state: WindowState) -> Seen<u64> {
    let window_id = WindowId {
        ledger: LedgerId(1),
        low: Timestamp::from_ticks(low),
        high: Timestamp::from_ticks(low + 10),
        part: Part::WHOLE,
        generation: 0,
        repair: 0,
    };
    let posted = matches!(state, WindowState::Sealed | WindowState::Submitted | WindowState::Verified);
    let window = Window {
        state,
        seal: posted.then(seal),
        posts: u32::from(posted),
        last_post: posted.then(now),
        ..Window::planned(window_id, "old", false, 3, now())
    };
    Seen { name: WindowName::new(Timestamp::from_ticks(low), "0"), window, version: low }
}

/// A table that no run holds, proved up to tick 1,500 and planned far beyond, and 200 proved windows of 10 ticks each.
pub(crate) fn long_copied() -> (Head, Vec<Seen<u64>>) {
    let head = Head { verified_up_to: Timestamp::from_ticks(1_500), planned_to: now(), ..head(TableState::Idle) };
    (head, (0..200).map(|low| seen(low * 10, WindowState::Verified)).collect())
}

/// A running table of `run` with as many planned windows, all of them out.
pub(crate) fn running(run: &InstanceId, windows: u64) -> (Head, Vec<Seen<u64>>) {
    let windows: Vec<_> = (1..=windows).map(|low| seen(low * 10, WindowState::Planned)).collect();
    let mut head = Head { run: Some(run.clone()), plan: Some("old".into()), ..head(TableState::Running) };
    head.counts.open = windows.len() as u64;
    head.out = windows.iter().map(|seen| seen.name.clone()).collect();
    (head, windows)
}

/// The shape of a table that is cut by the arrival time.
pub(crate) fn shape() -> Shape {
    Shape {
        axis: CutAxis::ArrivalTime,
        row_format: RowFormat::Compact,
        chunk_id: ChunkIdPlace::Column,
        parts: PartedBy::default(),
        parting: 0,
        narrower: Vec::new(),
        handover: None,
    }
}
