//! Histograms in, pieces of a range out: asks the source for counts until every piece fits one answer.

use super::hunting::{Error, Hunting};
use crate::defender::Rows;
use crate::defender::queries::{self, Axis, Range, Slice, Source};
use crate::kql::Identifier;
use crate::orchestration::ids::Part;
use crate::orchestration::limits::ROW_CAP;
use crate::orchestration::plan::{Bin, Piece, bin_width, pack, parts_for};
use crate::timestamp::Timestamp;
use serde_json::Value;
use std::time::Duration;

/// Bins of a plan: each is then some 0.02 % of the range.
const PLAN_BINS: u32 = 5_000;
/// Bins of a refinement, for each bin that was too full.
const REFINE_BINS: u32 = 500;
/// The most bins of one answer: half of the API's row cap.
const MOST_BINS: u32 = 50_000;
/// The span that a first load without a lower bound is expected to cover.
const RETENTION: Duration = Duration::from_secs(31 * 86_400);

/// Cuts ranges of one table.
pub struct Planner<'p, 'a> {
    hunting: &'p mut Hunting<'a>,
    source: &'p Source,
    hash_columns: &'p [Identifier],
}

/// A range, cut.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cut {
    /// Pieces that tile it.
    pub pieces: Vec<Piece>,
    /// Rows whose cut axis is null, which no range holds.
    pub null_rows: u64,
}

impl<'p, 'a> Planner<'p, 'a> {
    /// A planner that asks through `hunting`.
    pub fn new(hunting: &'p mut Hunting<'a>, source: &'p Source, hash_columns: &'p [Identifier]) -> Self {
        Self { hunting, source, hash_columns }
    }

    /// Cuts `(low, high]` into pieces of at most `target` rows: one histogram, and one more for each bin that is
    /// too full. `nulls` counts the rows whose cut axis is null too; the source then cannot skip data by the axis.
    ///
    /// # Errors
    /// [`Error`] of a hunting call.
    pub async fn cut(&mut self, low: Timestamp, high: Timestamp, target: u64, nulls: bool) -> Result<Cut, Error> {
        let span = if low == Timestamp::MIN { RETENTION } else { high.since(low) };
        let (bins, null_rows, width) = self.histogram(low, high, span, PLAN_BINS, nulls).await?;
        let mut pieces = Vec::new();
        for run in runs(pack(low, high, &bins, width, target), target) {
            match run {
                Run::Fine(piece) => pieces.push(piece),
                Run::TooMuch(piece, bins) => pieces.extend(self.divide_in(piece, target, bins * REFINE_BINS).await?),
            }
        }
        Ok(Cut { pieces, null_rows })
    }

    /// Cuts a piece that is too much, by time where that is possible, else by a hash.
    ///
    /// # Errors
    /// [`Error`] of a hunting call.
    pub async fn divide(&mut self, piece: Piece, target: u64) -> Result<Vec<Piece>, Error> {
        self.divide_in(piece, target, REFINE_BINS).await
    }

    async fn divide_in(&mut self, piece: Piece, target: u64, first_bins: u32) -> Result<Vec<Piece>, Error> {
        let mut bins_wanted = first_bins.min(MOST_BINS);
        let mut done = Vec::new();
        let mut open = vec![piece];
        while let Some(piece) = open.pop() {
            let no_axis = piece.high == Timestamp::MIN || self.source.axis == Axis::None;
            if piece.part != Part::WHOLE || piece.is_single_tick() || no_axis {
                done.extend(self.hash_parts(piece, target).await?);
                continue;
            }
            let (bins, _, width) =
                self.histogram(piece.low, piece.high, piece.high.since(piece.low), bins_wanted, false).await?;
            bins_wanted = REFINE_BINS;
            for smaller in pack(piece.low, piece.high, &bins, width, target) {
                if smaller.rows > target && smaller != piece { open.push(smaller) } else { done.push(smaller) }
            }
        }
        done.sort_by_key(|piece| (piece.low, piece.part.index));
        Ok(done)
    }

    /// Counts a range in bins; wider ones if the answer itself would be cut.
    async fn histogram(
        &mut self,
        low: Timestamp,
        high: Timestamp,
        span: Duration,
        most: u32,
        nulls: bool,
    ) -> Result<(Vec<Bin>, u64, Duration), Error> {
        let mut most = most;
        loop {
            let width = bin_width(span, most);
            let query = queries::histogram(self.source, &Range { low, high }, nulls, width);
            let rows = self.hunting.rows(&query).await?;
            if rows.rows.len() as u64 >= ROW_CAP && most > 1 {
                most /= 50;
                continue;
            }
            let (bins, null_rows) = bins_of(&rows)?;
            return Ok((bins, null_rows, width));
        }
    }

    /// Splits by the hash of named columns; every part is counted, and the counts must cover the piece.
    async fn hash_parts(&mut self, piece: Piece, target: u64) -> Result<Vec<Piece>, Error> {
        let more = parts_for(piece.rows, target);
        let Some(count) = piece.part.count.checked_mul(more) else { return Ok(vec![piece]) };
        let slice = match piece.high {
            Timestamp::MIN => Slice::NullAxis,
            high => Slice::Range(Range { low: piece.low, high }),
        };
        let query = queries::partition_counts(self.source, &slice, self.hash_columns, u32::from(count));
        let rows = self.hunting.rows(&query).await?;
        let mut parts: Vec<Piece> = (0..more)
            .map(|step| Piece {
                part: Part { index: piece.part.index + step * piece.part.count, count },
                rows: 0,
                ..piece
            })
            .collect();
        for row in &rows.rows {
            let index = row.get("Part").and_then(Value::as_u64);
            let counted = row.get("Rows").and_then(Value::as_u64);
            match parts.iter_mut().find(|part| Some(u64::from(part.part.index)) == index) {
                Some(part) => part.rows = counted.unwrap_or_default(),
                // The rows of the piece's siblings.
                None if index
                    .is_some_and(|index| index % u64::from(piece.part.count) != u64::from(piece.part.index)) => {}
                None => {
                    return Err(corrupt(format!("rows fall into hash partition {index:?}, which is none of {count}")));
                }
            }
        }
        Ok(parts)
    }
}

/// What a first histogram leaves to do.
enum Run {
    /// Fits one answer.
    Fine(Piece),
    /// Neighbouring bins that are each too full, as one piece, and how many: they are refined by one query.
    TooMuch(Piece, u32),
}

fn runs(pieces: Vec<Piece>, target: u64) -> Vec<Run> {
    let mut runs: Vec<Run> = Vec::new();
    for piece in pieces {
        match runs.last_mut() {
            Some(Run::TooMuch(run, bins)) if piece.rows > target && *bins < MOST_BINS / REFINE_BINS => {
                run.high = piece.high;
                run.rows += piece.rows;
                *bins += 1;
            }
            _ if piece.rows > target => runs.push(Run::TooMuch(piece, 1)),
            _ => runs.push(Run::Fine(piece)),
        }
    }
    runs
}

fn bins_of(rows: &Rows) -> Result<(Vec<Bin>, u64), Error> {
    let mut bins = Vec::with_capacity(rows.rows.len());
    let mut null_rows = 0;
    for row in &rows.rows {
        let counted =
            row.get("Rows").and_then(Value::as_u64).ok_or_else(|| corrupt("a bin without a count".to_owned()))?;
        match row.get("Bin") {
            None | Some(Value::Null) => null_rows += counted,
            Some(Value::String(text)) => {
                let start = text.parse().map_err(|error| corrupt(format!("a bin starts at {error}")))?;
                bins.push(Bin { start, rows: counted });
            }
            Some(other) => return Err(corrupt(format!("a bin starts at {other}"))),
        }
    }
    Ok((bins, null_rows))
}

fn corrupt(message: String) -> Error {
    crate::defender::Error::Corrupt { message }.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbouring_bins_that_are_too_full_are_refined_together() {
        let at = Timestamp::from_ticks;
        let pieces = [5, 50, 60, 5, 70].iter().enumerate();
        let pieces = pieces.map(|(i, rows)| Piece::whole(at(i as u64 * 10), at(i as u64 * 10 + 10), *rows)).collect();
        let runs = runs(pieces, 10);
        let wanted: Vec<(u64, u64, u64, u32)> = runs
            .iter()
            .map(|run| match run {
                Run::Fine(p) => (p.low.ticks(), p.high.ticks(), p.rows, 0),
                Run::TooMuch(p, bins) => (p.low.ticks(), p.high.ticks(), p.rows, *bins),
            })
            .collect();
        assert_eq!(wanted, [(0, 10, 5, 0), (10, 30, 110, 2), (30, 40, 5, 0), (40, 50, 70, 1)]);
    }
}
