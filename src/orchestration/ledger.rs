//! The head of a copied table: how far it is planned and verified, its lanes and its counts. One head and
//! its windows are the ledger of a table; runs come and go.

use super::auditor::Auditor;
use super::ids::{InstanceId, LedgerId, Part, WindowName};
use super::instance::TableResult;
use super::message::Debt;
use super::sizing::Hours;
use super::snapshot::Snapshots;
use super::window::{Window, WindowState};
use crate::timestamp::Timestamp;
use serde::{Deserialize, Serialize};

/// The axis on which a table is cut into windows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "axis", content = "column")]
pub enum CutAxis {
    /// `ingestion_time()`: it also catches rows that arrive late with an old timestamp.
    ArrivalTime,
    /// A column, where the source offers no arrival time.
    Column(String),
    /// None: the table is copied whole, one snapshot after the other, and a range of it is the time of one.
    Whole,
}

impl CutAxis {
    /// The axis that is written as `text`.
    pub fn named(text: &str) -> Self {
        let known = [Self::ArrivalTime, Self::Whole].into_iter().find(|axis| text == axis.to_string());
        known.unwrap_or_else(|| Self::Column(text.to_owned()))
    }
}

impl std::fmt::Display for CutAxis {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::ArrivalTime => f.write_str("ingestion_time()"),
            Self::Column(column) => f.write_str(column),
            // No column is named like a call.
            Self::Whole => f.write_str("snapshot()"),
        }
    }
}

/// Which members a row in the destination has, and who packs it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RowFormat {
    /// Those that are not empty.
    Compact,
    /// All.
    Full,
    /// Those that are not empty; packed here, because the source refuses to.
    PlainCompact,
    /// All; packed here.
    PlainFull,
}

impl RowFormat {
    /// Whether rows come plain and are packed here.
    pub fn is_plain(self) -> bool {
        matches!(self, Self::PlainCompact | Self::PlainFull)
    }

    /// Whether null and empty members are left out.
    pub fn is_compact(self) -> bool {
        matches!(self, Self::Compact | Self::PlainCompact)
    }

    /// The same members, packed here.
    #[must_use]
    pub fn plain(self) -> Self {
        if self.is_compact() { Self::PlainCompact } else { Self::PlainFull }
    }
}

/// Where the window id of a row stands in the destination.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ChunkIdPlace {
    /// In the column `ChunkId`.
    #[default]
    Column,
    /// In the packed row as `_ChunkId`: touches no schema.
    Row,
}

/// The function whose values part rows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HashFunction {
    /// `hash_xxhash64`: the same values in every query.
    #[default]
    Xxhash64,
    /// `hash`, where the service refuses the other.
    Hash,
}

/// What tells rows apart that no time does: a hash of some of their columns.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartedBy {
    /// The function.
    #[serde(default)]
    pub function: HashFunction,
    /// Scalar columns.
    pub columns: Vec<String>,
}

impl std::fmt::Display for PartedBy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.columns.join(", "))
    }
}

/// What a table's first run learned of it, fixed from then on; but rows are parted by other columns once one of them is gone.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Shape {
    /// The cut axis.
    pub axis: CutAxis,
    /// The format of its rows in the destination.
    pub row_format: RowFormat,
    /// Where its rows carry the id of their window.
    #[serde(default)]
    pub chunk_id: ChunkIdPlace,
    /// What splits what no time can, from now on.
    pub parts: PartedBy,
    /// How often that became something else. Windows that are parts by what it was before can no longer be asked for, but for those
    /// by [`Shape::narrower`].
    #[serde(default)]
    pub parting: u32,
    /// What split windows before that became something else, by its number, where it can still be asked for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub narrower: Vec<(u32, PartedBy)>,
    /// The watermark that the Python app left, where its axis is another one.
    pub handover: Option<Handover>,
}

impl Shape {
    /// Whether the window is a part of a range by a hash that nobody can ask for any more.
    pub fn has_lost_the_part(&self, window: &Window) -> bool {
        window.id.part != Part::WHOLE && self.parted(window.parting).is_none()
    }

    /// What made parts at the time of a number of [`Shape::parting`]; `None`: nobody can ask for such parts any more.
    pub fn parted(&self, parting: u32) -> Option<&PartedBy> {
        if parting == self.parting {
            return Some(&self.parts);
        }
        self.narrower.iter().find(|(number, _)| *number == parting).map(|(_, parts)| parts)
    }

    /// What divides a window: what has made it a part, or what makes parts now. Beside it the number of that.
    pub fn divider(&self, window: &Window) -> (&PartedBy, u32) {
        match self.parted(window.parting).filter(|_| window.id.part != Part::WHOLE) {
            Some(parts) => (parts, window.parting),
            None => (&self.parts, self.parting),
        }
    }

    /// Splits windows by something else from now on.
    pub fn part_by(&mut self, parts: PartedBy) {
        self.parts = parts;
        self.parting += 1;
    }

    /// Splits windows by more columns from now on: these did not tell rows apart. Parts by them can still be asked for.
    pub fn widen(&mut self, columns: Vec<String>) {
        let wider = PartedBy { columns, ..self.parts };
        self.narrower.push((self.parting, std::mem::replace(&mut self.parts, wider)));
        self.parting += 1;
    }
}

/// Where the Python app stopped: rows at or below its watermark that had arrived by its last run are there.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Handover {
    /// Its `HighWatermark`.
    pub watermark: Timestamp,
    /// Its `LastRefreshedTime`.
    pub refreshed: Timestamp,
}

/// What another app had copied of a table when the first run of this one came to it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Others {
    /// Its `HighWatermark`.
    pub watermark: Timestamp,
    /// Its `LastRefreshedTime`.
    pub refreshed: Timestamp,
    /// Whether a plan has compared what that one may have missed.
    #[serde(default)]
    pub compared: bool,
}

/// What a table does in the current run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TableState {
    /// No run holds it.
    Idle,
    /// A run plans it.
    Planning,
    /// Its windows are pulled and counted.
    Running,
    /// All its windows have ended; its results are being written down.
    Finishing,
}

/// How many windows of the table are in which state. Terminal windows that were purged stay counted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Planned, claimed or sealed.
    pub open: u64,
    /// Posted and not yet counted.
    pub submitted: u64,
    /// Proved.
    pub verified: u64,
    /// Without rows.
    pub empty: u64,
    /// Replaced by children.
    pub split: u64,
    /// Gone at the source.
    pub expired: u64,
    /// Given up for now.
    pub failed: u64,
    /// Left for a later run.
    #[serde(default)]
    pub later: u64,
}

impl Counts {
    /// The count that a state belongs to.
    pub fn of(&mut self, state: WindowState) -> &mut u64 {
        match state {
            WindowState::Planned | WindowState::Claimed | WindowState::Sealed => &mut self.open,
            WindowState::Submitted => &mut self.submitted,
            WindowState::Verified => &mut self.verified,
            WindowState::Split => &mut self.split,
            WindowState::Empty => &mut self.empty,
            WindowState::Expired => &mut self.expired,
            WindowState::Failed => &mut self.failed,
            WindowState::Later => &mut self.later,
        }
    }

    /// Moves one window from a state to another.
    pub fn moved(&mut self, from: WindowState, to: WindowState) {
        let count = self.of(from);
        *count = count.saturating_sub(1);
        *self.of(to) += 1;
    }
}

/// What the current run did with the table so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Progress {
    /// Windows taken up or planned; one that was split counts as its children.
    pub windows: u64,
    /// Of these, left by earlier runs.
    pub leftovers: u64,
    /// Windows ended, whatever the end.
    pub ended: u64,
    /// Windows proved.
    pub verified: u64,
    /// Windows found empty.
    #[serde(default)]
    pub empty: u64,
    /// Windows whose rows had left the source.
    #[serde(default)]
    pub expired: u64,
    /// Windows failed.
    pub failed: u64,
    /// Windows divided one after the other because their answers came to nothing, since an answer was of use.
    #[serde(default)]
    pub unanswered: u64,
    /// Windows that failed after they were sealed: they may have been posted.
    #[serde(default)]
    pub refuted: u64,
    /// Windows refused one after the other, for what other windows would meet too, since one was answered.
    #[serde(default)]
    pub refused: u64,
    /// Windows of earlier runs that had failed and are proved now.
    pub repaired: u64,
    /// Rows in the plan.
    pub planned_rows: u64,
    /// Rows posted.
    pub posted_rows: u64,
    /// Rows proved.
    pub rows: u64,
    /// Rows that were planned and had left the source before they were pulled.
    #[serde(default)]
    pub vanished_rows: u64,
    /// Bytes posted, before compression.
    pub bytes: u64,
    /// Hunting calls.
    pub calls: u64,
    /// What the proof of its windows has taken.
    #[serde(default)]
    pub proof: ProofFigures,
}

/// What the proof of the windows of a table takes in a run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProofFigures {
    /// Count queries.
    #[serde(default)]
    pub queries: u64,
    /// Commands beside them: looks at failures and policies.
    #[serde(default)]
    pub commands: u64,
    /// Windows proved.
    #[serde(default)]
    pub windows: u64,
    /// From the submission of a window to its proof, of all together.
    #[serde(default)]
    pub total_ms: u64,
    /// The longest of these times.
    #[serde(default)]
    pub longest_ms: u64,
}

impl ProofFigures {
    /// Takes in how long a window waited for its proof.
    pub fn took(&mut self, ms: u64) {
        self.windows += 1;
        self.total_ms = self.total_ms.saturating_add(ms);
        self.longest_ms = self.longest_ms.max(ms);
    }
}

/// When a table is counted next.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct VerifyDue {
    /// The number that the valid message carries.
    pub number: u64,
    /// When it is due.
    pub at: Timestamp,
    /// The pause before it, in milliseconds.
    pub pause_ms: u64,
}

/// The debts of a plan or a count, and the step that made them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct HeadDebts {
    /// `plan:<plan id>` or `verify:<number>`.
    pub step: String,
    /// Id of the message that made them and pays them, where only that one is to.
    #[serde(default)]
    pub by: Option<String>,
    /// What it owes.
    pub messages: Vec<Debt>,
}

/// A plan that was put off before it stood.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct PutOff {
    /// When it began: what it asks is of that time.
    pub began: Timestamp,
    /// When an attempt ended last that came further; in the beginning, when the first one began.
    pub moved: Timestamp,
}

/// The head of a table's ledger.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Head {
    /// Which ledger this is.
    pub ledger: LedgerId,
    /// The source table.
    pub source: String,
    /// The destination table.
    pub destination: String,
    /// The destination's watermark column.
    pub watermark_column: String,
    /// Whether the source had no such column when the last plan looked.
    #[serde(default)]
    pub no_watermark: bool,
    /// Columns that went, or became others, after rows were copied with them: rows of before and after are compared without.
    #[serde(default)]
    pub not_compared: Vec<String>,
    /// Whether this ledger made the destination.
    #[serde(default)]
    pub made_here: bool,
    /// What the first run learned.
    #[serde(default)]
    pub shape: Option<Shape>,
    /// What is kept of the attempts of a table that is copied whole.
    #[serde(default)]
    pub snapshots: Option<Box<Snapshots>>,
    /// Response bytes per row, learned.
    #[serde(default)]
    pub bytes_per_row: Option<f64>,
    /// How that differs by the hour of the day, learned.
    #[serde(default)]
    pub hours: Hours,
    /// The part of the byte cap that windows leave free, learned.
    #[serde(default)]
    pub margin: Option<f64>,
    /// Rows of a day, as the last plan counted them.
    #[serde(default)]
    pub rows_per_day: Option<f64>,
    /// What the table does now.
    pub state: TableState,
    /// The run that holds it.
    #[serde(default)]
    pub run: Option<InstanceId>,
    /// Which life of that run: one that begins again under its own id has another.
    #[serde(default)]
    pub life: u32,
    /// How many lives of runs have held it: what one did is told from what others did by this number, whatever their clocks say.
    #[serde(default)]
    pub tenure: u64,
    /// Set when its run is to stop, or is suspended: no new claims.
    #[serde(default)]
    pub stop: bool,
    /// The number of the last suspension or resumption of its run that came here.
    #[serde(default)]
    pub hold: u64,
    /// How often in a row the host has given up the message of a count or of the table's end.
    #[serde(default)]
    pub given_up: u32,
    /// The last plan that was completed.
    #[serde(default)]
    pub plan: Option<String>,
    /// A plan being written; windows of another plan beyond `planned_to` are drafts.
    #[serde(default)]
    pub draft: Option<String>,
    /// What comes of the table in its run, where no plan of it stands or it was given up: to be counted there before the head is let
    /// go.
    #[serde(default)]
    pub ended: Option<Box<TableResult>>,
    /// Why the plan that stands has nothing but what earlier runs left.
    #[serde(default)]
    pub plan_error: Option<String>,
    /// The end of the last completed plan.
    pub planned_to: Timestamp,
    /// Everything up to and including this has been proved.
    pub verified_up_to: Timestamp,
    /// From here on windows are still to be counted again that could not be when the last plan looked back on them.
    #[serde(default)]
    pub recount_from: Option<Timestamp>,
    /// What another app has copied, as long as plans still have to do with that.
    #[serde(default)]
    pub others: Option<Others>,
    /// Where its first run was told to begin: what lies before was never asked for.
    #[serde(default)]
    pub begins_after: Option<Timestamp>,
    /// Where this run was told to begin: windows up to this are left for a later one.
    #[serde(default)]
    pub since: Option<Timestamp>,
    /// Windows by state.
    pub counts: Counts,
    /// Of these, the ones that were purged.
    #[serde(default)]
    pub purged: Counts,
    /// What this run did.
    pub progress: Progress,
    /// Rows proved that no audit row counts yet: a run that was stopped writes none.
    #[serde(default)]
    pub unaudited_rows: u64,
    /// Rows that the audit row of this run counts, once that is written.
    #[serde(default)]
    pub audited_rows: Option<u64>,
    /// Who writes that row.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auditor: Option<Auditor>,
    /// Windows handed out and not ended: each takes a lane.
    #[serde(default)]
    pub out: Vec<WindowName>,
    /// Planned windows to hand out next.
    pub ready: Vec<WindowName>,
    /// The last window that was put among the ready ones in order; more planned ones may follow.
    #[serde(default)]
    pub cursor: Option<WindowName>,
    /// Whether planned windows may lie behind the cursor.
    #[serde(default)]
    pub more: bool,
    /// The next count, if one is going on.
    #[serde(default)]
    pub verify: Option<VerifyDue>,
    /// The number of the last count.
    #[serde(default)]
    pub verify_number: u64,
    /// Since when this run owes another count of proved windows that a late post may have loaded again.
    #[serde(default)]
    pub recount: Option<Timestamp>,
    /// Debts of the last plan.
    #[serde(default)]
    pub owed_plan: Option<HeadDebts>,
    /// Debts of the last count.
    #[serde(default)]
    pub owed_verify: Option<HeadDebts>,
    /// When something last came of it: a plan, a window's end, a proof. Counting alone is no progress.
    pub moved: Timestamp,
    /// When its plan is tried again, if it waits for the quota.
    #[serde(default)]
    pub plan_due: Option<Timestamp>,
    /// Since when the plan is being made, if it was put off before: what it was answered so far is kept.
    #[serde(default)]
    pub put_off: Option<PutOff>,
    /// When it was last rebuilt from what the destination holds.
    #[serde(default)]
    pub adopted: Option<Timestamp>,
    /// What this run found to be in the destination twice, and the commands that remove it.
    #[serde(default)]
    pub doubts: Vec<String>,
    /// What else a person is to know of this run, such as columns that have changed.
    #[serde(default)]
    pub notes: Vec<String>,
    /// What a person is to know of the destination's policies, as this run found them, with commands.
    #[serde(default)]
    pub advice: Vec<String>,
    /// The bytes of the largest cell that the destination takes, where a policy of it says.
    #[serde(default)]
    pub largest_cell: Option<u64>,
    /// When it last changed.
    pub updated: Timestamp,
}

impl Head {
    /// The head of a table that was never copied.
    pub fn new(ledger: LedgerId, source: &str, destination: &str, watermark_column: &str, now: Timestamp) -> Self {
        Self {
            ledger,
            source: source.to_owned(),
            destination: destination.to_owned(),
            watermark_column: watermark_column.to_owned(),
            no_watermark: false,
            not_compared: Vec::new(),
            made_here: false,
            shape: None,
            snapshots: None,
            bytes_per_row: None,
            hours: Hours::default(),
            margin: None,
            rows_per_day: None,
            state: TableState::Idle,
            run: None,
            life: 0,
            tenure: 0,
            stop: false,
            hold: 0,
            given_up: 0,
            plan: None,
            draft: None,
            ended: None,
            plan_error: None,
            planned_to: Timestamp::MIN,
            verified_up_to: Timestamp::MIN,
            recount_from: None,
            others: None,
            begins_after: None,
            since: None,
            counts: Counts::default(),
            purged: Counts::default(),
            progress: Progress::default(),
            unaudited_rows: 0,
            audited_rows: None,
            auditor: None,
            out: Vec::new(),
            ready: Vec::new(),
            cursor: None,
            more: false,
            verify: None,
            verify_number: 0,
            recount: None,
            owed_plan: None,
            owed_verify: None,
            moved: now,
            plan_due: None,
            put_off: None,
            adopted: None,
            doubts: Vec::new(),
            notes: Vec::new(),
            advice: Vec::new(),
            largest_cell: None,
            updated: now,
        }
    }

    /// The number of what splits its windows from now on.
    pub fn parting(&self) -> u32 {
        self.shape.as_ref().map_or(0, |shape| shape.parting)
    }

    /// Leaves columns out where rows are compared from now on.
    pub fn compare_without(&mut self, columns: impl IntoIterator<Item = String>) {
        for column in columns {
            if !self.not_compared.contains(&column) {
                self.not_compared.push(column);
            }
        }
    }

    /// Lanes that are taken.
    pub fn lanes(&self) -> usize {
        self.out.len()
    }

    /// Whether a run plans it.
    pub fn is_being_planned(&self) -> bool {
        self.state == TableState::Planning
    }

    /// Whether all windows of this run have ended, and those of earlier runs are counted again that had to be.
    pub fn is_through(&self) -> bool {
        self.counts.open == 0 && self.counts.submitted == 0 && self.recount.is_none()
    }
}

/// The end of the longest prefix of terminal windows that starts at `from`: never a maximum, never backwards.
/// `windows` are those of the table in any order; windows of the null axis and repairs, which bring what came after others of
/// their range were proved, do not count.
pub fn verified_prefix<'a>(from: Timestamp, windows: impl IntoIterator<Item = &'a Window>) -> Timestamp {
    let mut relevant: Vec<&Window> = windows
        .into_iter()
        .filter(|w| !w.id.is_null_axis() && !w.id.is_repair() && w.state != WindowState::Split && w.id.high > from)
        .collect();
    relevant.sort_by_key(|w| (w.id.low, w.id.high));
    if mutated!(WatermarkAsMaximum) {
        return relevant.iter().filter(|w| w.state.is_terminal()).map(|w| w.id.high).max().unwrap_or(from);
    }
    if mutated!(WatermarkLeftBehind) && relevant.iter().any(|w| !w.state.is_terminal()) {
        return from;
    }
    let is_done = |w: &Window| w.state.is_terminal() || (mutated!(WatermarkBeforeProof) && w.seal.is_some());
    let mut end = from;
    let mut index = 0;
    while index < relevant.len() {
        let low = relevant[index].id.low;
        if low > end {
            break;
        }
        let same: Vec<&&Window> = relevant[index..].iter().take_while(|w| w.id.low == low).collect();
        if !same.iter().all(|w| is_done(w)) {
            break;
        }
        end = same.iter().map(|w| w.id.high).max().unwrap_or(end).max(end);
        index += same.len();
    }
    end
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::orchestration::ids::{Part, WindowId};

    fn window(low: u64, high: u64, state: WindowState) -> Window {
        let id = WindowId {
            ledger: LedgerId(1),
            low: Timestamp::from_ticks(low),
            high: Timestamp::from_ticks(high),
            part: Part::WHOLE,
            generation: 0,
            repair: 0,
        };
        Window { state, ..Window::planned(id, "p", false, 1, Timestamp::MIN) }
    }

    fn prefix(windows: &[Window]) -> u64 {
        verified_prefix(Timestamp::from_ticks(10), windows).ticks()
    }

    #[test]
    fn the_watermark_is_the_longest_terminal_prefix_and_never_a_maximum() {
        use WindowState::{Empty, Failed, Split, Submitted, Verified};
        assert_eq!(prefix(&[]), 10);
        assert_eq!(prefix(&[window(10, 20, Verified), window(20, 30, Empty), window(30, 40, Verified)]), 40);
        assert_eq!(prefix(&[window(20, 30, Verified), window(10, 20, Failed), window(30, 40, Verified)]), 10);
        assert_eq!(prefix(&[window(10, 20, Verified), window(20, 30, Submitted), window(30, 40, Verified)]), 20);
        assert_eq!(prefix(&[window(10, 20, Verified), window(25, 30, Verified)]), 20, "a hole");
        assert_eq!(
            prefix(&[
                window(10, 30, Split),
                window(10, 20, Verified),
                window(20, 30, Failed),
                window(30, 40, Verified)
            ]),
            20
        );
        assert_eq!(prefix(&[window(0, 5, Verified), window(10, 12, Verified)]), 12, "older windows do not pull back");
    }

    #[test]
    fn a_repair_neither_moves_the_watermark_nor_holds_it() {
        let repair = |low, high, state| {
            let mut repair = window(low, high, state);
            repair.id.repair = 1;
            repair
        };
        let base = [window(10, 20, WindowState::Verified), window(20, 30, WindowState::Verified)];
        let with = |repair: Window| prefix(&[base[0].clone(), base[1].clone(), repair]);
        assert_eq!(with(repair(10, 20, WindowState::Failed)), 30);
        assert_eq!(with(repair(30, 40, WindowState::Verified)), 30);
    }

    #[test]
    fn an_axis_is_read_as_it_is_written() {
        for axis in [CutAxis::ArrivalTime, CutAxis::Whole, CutAxis::Column("Timestamp".into())] {
            assert_eq!(CutAxis::named(&axis.to_string()), axis);
        }
    }

    #[test]
    fn every_part_of_a_partitioned_range_must_be_terminal() {
        let part = |index, state| {
            let mut w = window(10, 20, state);
            w.id.part = Part { index, count: 2 };
            w
        };
        assert_eq!(prefix(&[part(0, WindowState::Verified), part(1, WindowState::Failed)]), 10);
        assert_eq!(prefix(&[part(0, WindowState::Verified), part(1, WindowState::Verified)]), 20);
    }
}
