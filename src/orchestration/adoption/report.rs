//! What an adoption found, and what it wrote: a small table for a person.

use super::facts::Facts;
use super::{Landed, Layout};
use crate::orchestration::instance::TableConfig;
use crate::orchestration::ledger::Head;
use crate::orchestration::plan::Piece;
use crate::orchestration::removal::Place;
use crate::printable::grouped;
use crate::timestamp::Timestamp;
use std::fmt;

/// How an adoption ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// Nothing was written: it was only asked what would be.
    DryRun,
    /// Nothing was written: the ledger knows all that is there.
    Nothing,
    /// The ledger was written.
    Written,
}

/// The report of an adoption.
#[derive(Debug, Clone, PartialEq)]
pub struct Report {
    place: Place,
    end: End,
    lines: Vec<(&'static str, String)>,
    rows_of_others: u64,
    /// What is there twice, each with the command that removes it.
    pub doubts: Vec<String>,
}

impl Report {
    /// Of a destination with `rows` rows, in which `found` is under ids of ours.
    pub fn new(config: &TableConfig, place: Place, rows: u64, found: &[Landed], owner: Option<&str>) -> Self {
        let ours: u64 = found.iter().map(|one| one.rows).sum();
        let lines = vec![
            ("source table", config.source.clone()),
            ("destination", config.destination.clone()),
            ("owner until now", owner.unwrap_or("nobody").to_owned()),
            ("windows in the destination", format!("{} with {} rows", found.len(), grouped(ours))),
        ];
        let mut report =
            Self { place, end: End::DryRun, lines, rows_of_others: rows.saturating_sub(ours), doubts: Vec::new() };
        if report.rows_of_others > 0 {
            report.line("rows of no window", format!("{}, left as they are", grouped(report.rows_of_others)));
        }
        report
    }

    fn line(&mut self, name: &'static str, value: String) {
        self.lines.push((name, value));
    }

    /// Takes in how many rows of other sources are copied to the same destination.
    pub fn beside(&mut self, rows: u64) {
        if rows > 0 {
            self.line("rows of other sources", format!("{}, left as they are", grouped(rows)));
        }
    }

    /// Rows without an id of ours.
    pub fn rows_of_others(&self) -> u64 {
        self.rows_of_others
    }

    /// Takes in what the ledger is to be made of.
    pub fn laid_out<V>(&mut self, layout: &Layout<V>, facts: &Facts) {
        if facts.by_a_ledger && layout.holds_nothing() {
            self.line(
                "nothing is there",
                "although rows were proved: if the destination was dropped or emptied, they are not copied again. To copy what the \
                 source still has of them, give its row another DestinationTable instead"
                    .to_owned(),
            );
        }
        let rows: u64 = layout.adopted.iter().map(|one| one.rows).sum();
        self.line("known to the ledger", layout.known.to_string());
        self.line("adopted", format!("{} with {} rows", layout.adopted.len(), grouped(rows)));
        self.line("proved before", until(facts.proved));
        self.line("planned to", until(layout.planned_to));
        let (parts, whole) = layout.gaps.iter().partition::<Vec<&Piece>, _>(|gap| gap.is_part());
        self.line("gaps to look into", format!("{}, and {} missing hash parts", whole.len(), parts.len()));
        self.line("planned windows that give way", layout.given_way().to_string());
        self.line("overlaps", layout.overlaps.len().to_string());
        let told = |overlap: &super::Overlap| {
            self.place.overlap(&overlap.younger.id, overlap.younger.rows, Some(&overlap.older))
        };
        self.doubts = layout.overlaps.iter().map(told).collect();
        if facts.is_owner && layout.is_nothing() {
            self.end = End::Nothing;
        }
    }

    /// Takes in how the gaps were cut.
    pub fn cut(&mut self, pieces: &[Piece]) {
        let rows: u64 = pieces.iter().map(|piece| piece.rows).sum();
        let with_rows = pieces.iter().filter(|piece| piece.rows > 0).count();
        let without = pieces.len() - with_rows;
        self.line("windows planned", format!("{with_rows} with {} rows; {without} without rows", grouped(rows)));
    }

    /// Takes in what was written.
    pub fn written(&mut self, head: &Head) {
        self.end = End::Written;
        self.line("ledger", head.ledger.to_string());
        self.line("proved", until(head.verified_up_to));
    }
}

fn until(at: Timestamp) -> String {
    if at == Timestamp::MIN { "nothing".to_owned() } else { format!("everything up to {at}") }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = self.lines.iter().map(|(name, _)| name.len()).max().unwrap_or_default();
        for (name, value) in &self.lines {
            writeln!(f, "{name:width$}  {value}")?;
        }
        for doubt in &self.doubts {
            writeln!(f, "overlap: {doubt}")?;
        }
        f.write_str(match self.end {
            End::DryRun => {
                "Nothing was written: this is what would be adopted. Without --dry-run the rows of windows that nobody has proved are \
                 compared with the source first, and where they differ nothing is adopted."
            }
            End::Nothing => {
                "Nothing to adopt: the ledger in this state store owns the destination and knows its windows."
            }
            End::Written => "The ledger is rebuilt. The next run copies what is missing, and what is new.",
        })
    }
}
