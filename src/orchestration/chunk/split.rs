//! When a window is too much for one answer, and what it is divided into.

use super::{Later, Met, Next, Over, after};
use crate::orchestration::fan_in::WindowEnd;
use crate::orchestration::ids::{Part, WindowId, WindowName};
use crate::orchestration::ledger::{Head, Shape};
use crate::orchestration::limits::{Limits, MOST_SPLITS, ROW_CAP};
use crate::orchestration::plan::{Aim, Caps, Piece, at_most};
use crate::orchestration::sizing;
use crate::orchestration::window::{Window, WindowState};
use crate::timestamp::Timestamp;
use std::time::Duration;

/// Children, parent and head fit one transaction.
const MAX_CHILDREN: usize = 98;
/// What was too much becomes so many windows at least.
const SPLIT_INTO: u64 = 2;

/// Why a window is split.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reason {
    /// In words.
    pub text: String,
    /// Whether it is the size of the answer, so that its rows are to be weighed.
    pub size: bool,
    /// Whether an answer was asked for.
    pub asked: bool,
}

/// How a window is to be divided for this reason, where an answer may have `byte_cap`.
pub fn aim(head: &Head, window: &Window, reason: &Reason, limits: &Limits, byte_cap: u64) -> Aim {
    if reason.size {
        // Their weight says into how many.
        let parts = if reason.asked { SPLIT_INTO } else { 1 };
        let bytes = sizing::measured_bytes(byte_cap).max(1);
        return Aim { most: Caps { rows: limits.window_rows, bytes }, parts };
    }
    let bytes = sizing::target_bytes(head, byte_cap).max(1);
    let rows = sizing::target_rows_in(head, limits, byte_cap, (window.id.low, window.id.high));
    Aim { most: Caps { rows, bytes }, parts: window.expected_rows().div_ceil(rows).max(SPLIT_INTO) }
}

/// Why a window is not pulled before its rows are looked at once more, if it is not: so many do not fit an answer, or by all
/// that is known of their weight they do not.
pub fn too_much_already(head: &Head, window: &Window, byte_cap: u64) -> Option<Reason> {
    let rows = window.expected_rows();
    if rows >= ROW_CAP {
        let text = format!("{rows} rows are more than an answer has");
        return Some(Reason { text, size: false, asked: false });
    }
    let WindowId { low, high, part, .. } = window.id;
    let whole = part == Part::WHOLE && !Piece::whole(low, high, rows).is_single_tick();
    let heavy = whole && window.attempts == 0 && sizing::is_hopeless(head, rows, (low, high), byte_cap);
    let text = || format!("{rows} rows are expected to take more than the {byte_cap} bytes that an answer may have");
    heavy.then(|| Reason { text: text(), size: true, asked: false })
}

/// How a window ends that is too much and not worth dividing once more: it is a small part already of one that was divided again
/// and again, or nothing that the table asks for is answered. Without an end to that, a window of n rows would take the calls of
/// 2n windows.
pub fn futile(head: &Head, window: &Window, reason: &Reason, limits: &Limits) -> Option<WindowEnd> {
    let (text, rows, divided) = (&reason.text, window.expected_rows(), head.progress.unanswered);
    if window.splits >= MOST_SPLITS {
        return Some(WindowEnd::Failed(format!(
            "{text}; these {rows} rows are what is left of a window after {MOST_SPLITS} divisions. The next run divides them on; if \
             they are refused again and again, see to what the service says of them"
        )));
    }
    let most = u64::from(MOST_SPLITS) * u64::from(limits.lanes.max(1));
    (divided >= most).then(|| {
        WindowEnd::Failed(format!(
            "{text}; {divided} windows of {} were divided one after the other and none of their parts was answered, so it is not \
             their size. See to what the service says, then start another run",
            head.source
        ))
    })
}

/// What a window is cut for, and by.
#[derive(Debug, Clone, Copy)]
pub struct Split<'a> {
    /// Why it is too much.
    pub reason: &'a Reason,
    /// Its name.
    pub name: &'a WindowName,
    /// The shape of its table: what cuts it where no time does.
    pub shape: &'a Shape,
}

/// Decides on a window that is too much for one answer, given the pieces that the source cuts it into.
pub fn divided(window: &Window, split: Split<'_>, cut: Result<Vec<Piece>, Met>, now: Timestamp) -> Over {
    let Split { reason, shape, .. } = split;
    let pieces = match cut {
        Ok(pieces) => at_most(pieces, MAX_CHILDREN),
        Err(met) => return undivided(window, reason, met),
    };
    let reason = &reason.text;
    let has_ids = pieces.iter().all(|piece| window.named_part(piece.part).is_some());
    match pieces.as_slice() {
        [only] if only.rows <= window.expected_rows() / SPLIT_INTO => Over::Later(Later {
            error: format!("{reason}; the source now counts {} rows", only.rows),
            own_fault: true,
            pause: None,
            before: None,
        }),
        pieces if pieces.len() < 2 || !has_ids => Over::End(WindowEnd::Failed(format!(
            "{reason}; window {} cannot be cut further by time or by a hash of {}",
            window.id,
            shape.divider(window).0
        ))),
        _ => Over::End(WindowEnd::Split(children(window, split, &pieces, now))),
    }
}

fn undivided(window: &Window, reason: &Reason, met: Met) -> Over {
    match met {
        // Where it was asked for, the attempt is spent: a window that is always too slow must come to an end.
        Met::Quota(_) => Over::Later(Later {
            error: reason.text.clone(),
            own_fault: reason.asked,
            pause: Some(Duration::ZERO),
            before: None,
        }),
        // What is too much for a histogram is not split once more.
        Met::TooMuch(error) | Met::TooLarge(error) | Met::Broken(error) => {
            Over::Later(Later { error, own_fault: true, pause: None, before: None })
        }
        met => match after(window, met) {
            Next::Over(over) => over,
            Next::Split(Reason { text: error, .. }) => {
                Over::Later(Later { error, own_fault: true, pause: None, before: None })
            }
        },
    }
}

fn children(window: &Window, split: Split<'_>, pieces: &[Piece], now: Timestamp) -> Vec<(WindowName, Window)> {
    let path = split.name.path();
    let splits = window.splits + u32::from(split.reason.asked);
    let (_, parting) = split.shape.divider(window);
    let child = |(index, piece): (usize, &Piece)| {
        let part = window.named_part(piece.part).unwrap_or(piece.part);
        let id = WindowId { low: piece.low, high: piece.high, part, ..window.id };
        // Counted now, and nothing there: nothing is to be pulled.
        let state = if piece.rows == 0 { WindowState::Empty } else { WindowState::Planned };
        let planned = window.difference.as_ref().map_or(piece.rows, |_| piece.rows.min(window.planned_rows));
        let difference = window.difference.as_ref().map(|parent| parent.of_part(piece.rows));
        // Where it lies does not tell a repair from a draft: that it was dispatched does.
        let run = window.run.clone().filter(|_| id.is_repair());
        let planned = Window::planned(id, &window.plan, window.handover, planned, now);
        let child = Window { state, difference, run, splits, parting, ..planned };
        (WindowName::new(piece.low, &format!("{path}{index:02x}")), child)
    };
    pieces.iter().enumerate().map(child).collect()
}
