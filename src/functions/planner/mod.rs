//! Histograms in, pieces of a range out: asks the source for counts until every piece fits one answer.

mod bins;
mod narrow;
#[cfg(test)]
mod tests;

use super::columns::Columns;
use super::hunting::{Error, Hunting, number};
use crate::defender::queries::{self, Axis, Hashing, Past, Range, Slice, Source};
use crate::defender::{Error as HuntingError, Rows};
use crate::kql::Identifier;
use crate::orchestration::ids::Part;
use crate::orchestration::plan::{Aim, Bin, Caps, MAX_PARTS, Piece, bin_width, joined, more_parts, pack, parts_for};
use crate::orchestration::refine::{Stretch, stretches};
use crate::orchestration::sizing;
use crate::timestamp::Timestamp;
use bins::{Counts, corrupt, part_counts, take_columns};
use narrow::Narrowing;
pub use narrow::is_too_much;
use std::time::Duration;

/// Bins of a plan, where nothing says that it needs more.
const PLAN_BINS: u32 = 5_000;
/// The most bins of one answer: some megabytes once it is decoded.
const MOST_BINS: u32 = 10_000;
/// Bins in which a window is counted that is to be divided.
const DIVIDE_BINS: u32 = 1_000;
/// The span that a first load without a lower bound is expected to cover.
const RETENTION: Duration = Duration::from_secs(31 * 86_400);

/// Cuts ranges of one table.
pub struct Planner<'p, 'a> {
    hunting: &'p mut Hunting<'a>,
    source: &'p Source,
    hashing: &'p Hashing,
    asks_columns: bool,
    columns: Option<Columns>,
}

/// The columns that a table has now; `None` where the service does not tell.
///
/// # Errors
/// [`Error`] of a hunting call.
pub async fn columns_of(table: &Identifier, hunting: &mut Hunting<'_>) -> Result<Option<Columns>, Error> {
    Ok(take_columns(&mut hunting.rows(&queries::columns(table)).await?))
}

/// A range, counted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Histogram {
    low: Timestamp,
    high: Timestamp,
    bins: Vec<Bin>,
    /// Rows whose cut axis is null, which no range holds.
    pub null_rows: u64,
    /// The rows of the range before it, if that was asked for.
    pub past: Vec<Bin>,
    /// The width of these bins.
    pub past_width: Duration,
}

impl Histogram {
    /// Where the range ends.
    pub fn high(&self) -> Timestamp {
        self.high
    }

    /// How many rows the range holds.
    pub fn rows(&self) -> u64 {
        self.bins.iter().map(|bin| bin.rows).sum()
    }

    /// How many rows the range holds for each day of it, from the first row on.
    pub fn rows_per_day(&self) -> Option<f64> {
        let low = if self.low == Timestamp::MIN { self.bins.first()?.start } else { self.low };
        let days = self.high.since(low).as_secs_f64() / 86_400.0;
        (days > 0.0).then(|| self.rows() as f64 / days)
    }
}

/// How rows are weighed: as they are packed.
#[derive(Debug, Clone, Copy)]
pub struct Weigh<'a> {
    /// What they are given as the id of their window, if they are given one.
    pub chunk_id: Option<&'a str>,
}

/// A piece, divided.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Divided {
    /// Pieces that tile it.
    pub pieces: Vec<Piece>,
    /// What its rows take in an answer, where that was measured.
    pub bytes: Option<u64>,
    /// Its rows.
    pub rows: u64,
}

impl<'p, 'a> Planner<'p, 'a> {
    /// A planner that asks through `hunting`.
    pub fn new(hunting: &'p mut Hunting<'a>, source: &'p Source, hashing: &'p Hashing) -> Self {
        Self { hunting, source, hashing, asks_columns: false, columns: None }
    }

    /// The same, with the first histogram telling the table's columns too.
    #[must_use]
    pub fn asking_for_columns(self) -> Self {
        Self { asks_columns: true, ..self }
    }

    /// The table's columns, as far as a histogram told them.
    pub fn take_columns(&mut self) -> Option<Columns> {
        self.columns.take()
    }

    /// Counts `(low, high]` by one histogram, in as many bins as `wanted` but neither very few nor too many. `nulls` counts
    /// the rows whose cut axis is null too; the source then cannot skip data by the axis. The same query counts the rows from
    /// `past` to `low`, if there is to be such a range.
    ///
    /// # Errors
    /// [`Error`] of a hunting call.
    pub async fn count(
        &mut self,
        low: Timestamp,
        high: Timestamp,
        wanted: u32,
        nulls: bool,
        past: Option<Timestamp>,
    ) -> Result<Histogram, Error> {
        let span = if low == Timestamp::MIN { RETENTION } else { high.since(low) };
        let (source, range) = (self.source, Range { low, high });
        let bins = wanted.clamp(PLAN_BINS, MOST_BINS);
        let is_alone = !nulls && past.is_none();
        let query = |range: &Range, width| match past {
            Some(from) => {
                let past = Past { low: from, bin: past_width(from, low, width) };
                queries::histogram_with_past(source, range, nulls, width, past)
            }
            None => queries::histogram(source, range, nulls, width),
        };
        let halvings = if is_alone { Halvings::Some } else { Halvings::None };
        let Counts { bins, null_rows, past: past_bins, width } = match self
            .counts(range, span, bins, halvings, query)
            .await
        {
            Err(error) if !is_alone && (self.may_ask_for_less(&error) || self.is_refused(&error)) => {
                tracing::warn!(%error, table = %source.table, "a count is too much for one query, or refused, and is asked for in parts");
                return self.count_apart(range, span, bins, nulls, past).await;
            }
            counted => counted?,
        };
        let past_width = past.map_or(width, |from| past_width(from, low, width));
        Ok(Histogram { low, high, bins, null_rows, past: past_bins, past_width })
    }

    /// The same in a query for each: the range, the rows without a place on the axis, and the past.
    async fn count_apart(
        &mut self,
        range: Range,
        span: Duration,
        bins: u32,
        nulls: bool,
        past: Option<Timestamp>,
    ) -> Result<Histogram, Error> {
        let source = self.source;
        let query = |range: &Range, width| queries::histogram(source, range, false, width);
        let Counts { bins, width, .. } = self.counts(range, span, bins, Halvings::Some, query).await?;
        let null_rows = match nulls {
            true => {
                let rows = self.hunting.rows(&queries::count(source, &Slice::NullAxis, None)).await?;
                number(&rows, "Rows").ok_or_else(|| corrupt("a count of rows without a number".to_owned()))?
            }
            false => 0,
        };
        let (Range { low, high }, mut past_width) = (range, width);
        let mut past_bins = Vec::new();
        if let Some(from) = past {
            let span = if from == Timestamp::MIN { RETENTION } else { low.since(from) };
            let fixed = self::past_width(from, low, width);
            let wide = |range: &Range, _| queries::histogram(source, range, false, fixed);
            let counted = self.counts(Range { low: from, high: low }, span, 1, Halvings::Some, wide).await?;
            past_width = fixed;
            past_bins = bins::past(counted.bins, fixed);
        }
        Ok(Histogram { low, high, bins, null_rows, past: past_bins, past_width })
    }

    /// Cuts what was counted into pieces of at most `target` rows, with one more histogram for each bin that is too full, or
    /// where narrower bins save more calls than they cost.
    ///
    /// # Errors
    /// [`Error`] of a hunting call.
    pub async fn cut(&mut self, histogram: Histogram, target: u64) -> Result<Vec<Piece>, Error> {
        self.cut_below(histogram, Caps::of_rows(target), |_| 0.0).await
    }

    /// The same into pieces below `caps`, where `each` says what a row of a stretch weighs.
    ///
    /// # Errors
    /// [`Error`] of a hunting call.
    pub async fn cut_below(
        &mut self,
        histogram: Histogram,
        caps: Caps,
        each: impl Fn(sizing::Stretch) -> f64,
    ) -> Result<Vec<Piece>, Error> {
        let Histogram { low, high, bins, .. } = histogram;
        let bins =
            self.refined(bins::weighed_by(bins, &each), caps, true, |finer, _| bins::weighed_by(finer, &each)).await?;
        let mut pieces = Vec::new();
        for piece in joined(pack(low, high, &bins, caps), caps) {
            match too_much(&piece, &bins, caps) {
                Some(most) => pieces.extend(self.divide_at_once(piece, Caps::of_rows(most)).await?),
                None => pieces.push(piece),
            }
        }
        Ok(pieces)
    }

    /// Divides a piece by a hash, whatever its range, until each part is below `caps`, or can be divided no more: equal rows
    /// stay together.
    ///
    /// # Errors
    /// [`Error`] of a hunting call.
    pub async fn divide_at_once(&mut self, piece: Piece, caps: Caps) -> Result<Vec<Piece>, Error> {
        let (mut open, mut done) = (vec![piece], Vec::new());
        while let Some(piece) = open.pop() {
            let parts = self.divide_by_hash(piece, Aim::below(caps)).await?;
            let divided = parts.len() > 1;
            for part in parts {
                if divided && part.rows > caps.rows { open.push(part) } else { done.push(part) }
            }
        }
        done.sort_by_key(|piece| piece.part.index);
        Ok(done)
    }

    /// Divides a piece that is too much, by time where that is possible, else by a hash; by the weight of its rows if they are
    /// to be weighed.
    ///
    /// # Errors
    /// [`Error`] of a hunting call.
    pub async fn divide(&mut self, piece: Piece, aim: Aim, weigh: Option<Weigh<'_>>) -> Result<Divided, Error> {
        let divided = |pieces| Divided { pieces, bytes: None, rows: piece.rows };
        if piece.is_part() || piece.is_single_tick() || piece.is_null_axis() || self.source.axis == Axis::None {
            return Ok(divided(self.divide_by_hash(piece, aim).await?));
        }
        let (source, range) = (self.source, Range { low: piece.low, high: piece.high });
        let span = if piece.low == Timestamp::MIN { RETENTION } else { piece.high.since(piece.low) };
        let query = |range: &Range, width| match weigh {
            Some(Weigh { chunk_id }) => queries::weighed_histogram(source, range, width, chunk_id),
            None => queries::close_histogram(source, range, width),
        };
        let counted = match self.counts(range, span, DIVIDE_BINS, Halvings::Some, query).await {
            Err(error) if weigh.is_some() && self.is_refused(&error) => {
                tracing::warn!(%error, table = %source.table, "the service refuses to weigh rows, and a window is divided by their number");
                return Box::pin(self.divide(piece, aim, None)).await;
            }
            counted => counted?,
        };
        let (rows, bytes) = counted.bins.iter().fold((0, 0), |all, bin| (all.0 + bin.rows, all.1 + bin.bytes));
        let caps = aim.caps(rows, bytes);
        let bins = self.refined(counted.bins, caps, false, bins::weighed_like).await?;
        let pieces = match bins.as_slice() {
            // All at one instant: no time divides them.
            [_] => self.divide_by_hash(Piece { rows, ..piece }, aim).await?,
            bins => joined(pack(piece.low, piece.high, bins, caps), caps),
        };
        Ok(Divided { pieces, bytes: weigh.is_some().then_some(bytes), rows })
    }

    /// The bins with those counted again that have to be, or that it pays to, until none is left. `weighed` says what finer
    /// bins weigh in the place of others.
    async fn refined(
        &mut self,
        mut bins: Vec<Bin>,
        caps: Caps,
        mut coarse: bool,
        weighed: impl Fn(Vec<Bin>, &[Bin]) -> Vec<Bin>,
    ) -> Result<Vec<Bin>, Error> {
        loop {
            let found = stretches(&bins, caps, MOST_BINS, coarse);
            coarse = false;
            if found.is_empty() {
                return Ok(bins);
            }
            for Stretch { first, count } in found.into_iter().rev() {
                let stretch = first..first + count;
                let (low, high) = (bins[first].start.before(), bins[stretch.end - 1].end().before());
                let (source, range) = (self.source, Range { low, high });
                let query = |range: &Range, width| queries::close_histogram(source, range, width);
                let finer = self.counts(range, high.since(low), MOST_BINS, Halvings::Some, query).await?.bins;
                let finer = weighed(finer, &bins[stretch.clone()]);
                bins.splice(stretch, finer);
            }
        }
    }

    /// Counts a range in at most `most` bins; in wider ones if the answer itself is cut, or is refused for its size, and one half
    /// after the other if the service stops the query.
    async fn counts(
        &mut self,
        range: Range,
        span: Duration,
        most: u32,
        halvings: Halvings,
        query: impl Fn(&Range, Duration) -> String,
    ) -> Result<Counts, Error> {
        let (mut most, mut counted) = (most, Counts::default());
        let mut narrowing = Narrowing::new(range, span);
        while let Some(range) = narrowing.take() {
            let width = bin_width(span, most);
            let rows = match self.ask(&query(&range, width)).await {
                Err(error @ (Error::Call(HuntingError::ResultTooLarge { .. }) | Error::CutShort { .. }))
                    if most > 1 =>
                {
                    tracing::warn!(%error, table = %self.source.table, "a count is asked for in wider bins");
                    most = (most / 10).max(1);
                    narrowing.again(range);
                    continue;
                }
                Err(error) if halvings == Halvings::Some && self.may_ask_for_less(&error) && narrowing.halve(range) => {
                    tracing::warn!(%error, table = %self.source.table, low = %range.low, high = %range.high, "a count is halved");
                    continue;
                }
                answer => answer?,
            };
            counted.add(bins::counts(&rows, &range, width)?);
        }
        Ok(counted)
    }

    /// Whether a call that came to nothing is worth asking for less, and there is time to.
    fn may_ask_for_less(&self, error: &Error) -> bool {
        is_too_much(error) && self.hunting.has_time_for_another()
    }

    /// Whether the service does not take a query, as it may of one that asks for more than another.
    fn is_refused(&self, error: &Error) -> bool {
        matches!(error, Error::Call(call @ HuntingError::Refused { .. }) if !call.is_unknown(&self.source.table))
    }

    /// The answer to a histogram, the first one with the table's columns. A service that refuses to tell them is not asked again.
    async fn ask(&mut self, query: &str) -> Result<Rows, Error> {
        if !std::mem::take(&mut self.asks_columns) {
            return self.hunting.counts(query).await;
        }
        match self.hunting.counts(&queries::with_columns(query, &self.source.table)).await {
            Ok(mut rows) => {
                self.columns = take_columns(&mut rows);
                Ok(rows)
            }
            Err(error) if self.is_refused(&error) => {
                tracing::warn!(%error, "the service does not tell a table's columns beside its counts");
                self.hunting.counts(query).await
            }
            Err(error) => {
                self.asks_columns = true;
                Err(error)
            }
        }
    }

    /// Splits by the hash of named columns; every part is counted, and the counts must cover the piece. One that no hash
    /// divides stays as it is.
    ///
    /// # Errors
    /// [`Error`] of a hunting call.
    pub async fn divide_by_hash(&mut self, piece: Piece, aim: Aim) -> Result<Vec<Piece>, Error> {
        if piece.rows <= 1 {
            return Ok(vec![piece]);
        }
        let mut more = parts_for(piece.rows, aim.most.rows, aim.parts);
        loop {
            let Some(parts) = self.hash_parts(piece, more).await? else { return Ok(vec![piece]) };
            let fullest = parts.iter().map(|part| part.rows).max().unwrap_or_default();
            if fullest < piece.rows {
                match more_parts(more, fullest, aim.most.rows) {
                    Some(next) => more = next,
                    None => return Ok(parts),
                }
            } else if more < MAX_PARTS {
                // No row is told from the others: a few may be in one part by chance, many are equal.
                more = MAX_PARTS;
            } else {
                return Ok(vec![piece]);
            }
        }
    }

    /// Counts the piece in `more` parts; `None` where it is one of so many parts already that there are no more.
    async fn hash_parts(&mut self, piece: Piece, more: u16) -> Result<Option<Vec<Piece>>, Error> {
        let Some(count) = piece.part.count.checked_mul(more) else { return Ok(None) };
        let slice = match piece.high {
            Timestamp::MIN => Slice::NullAxis,
            high => Slice::Range(Range { low: piece.low, high }),
        };
        let rows = self.partition_counts(slice, u32::from(count)).await?;
        let part = |step| Part { index: piece.part.index + step * piece.part.count, count };
        let mut parts: Vec<Piece> = (0..more).map(|step| Piece { part: part(step), rows: 0, ..piece }).collect();
        for (index, counted) in part_counts(&rows) {
            match parts.iter_mut().find(|part| Some(u64::from(part.part.index)) == index) {
                Some(part) => part.rows += counted.unwrap_or_default(),
                // The rows of the piece's siblings.
                None if index.is_some_and(|index| {
                    index < u64::from(count) && index % u64::from(piece.part.count) != u64::from(piece.part.index)
                }) => {}
                None => {
                    return Err(corrupt(format!("rows fall into hash partition {index:?}, which is none of {count}")));
                }
            }
        }
        Ok(Some(parts))
    }

    /// The rows of each part of a slice; of a range in several answers, where one is too much.
    async fn partition_counts(&mut self, slice: Slice, count: u32) -> Result<Rows, Error> {
        let (source, hashing) = (self.source, self.hashing);
        let query = |slice: &Slice| queries::partition_counts(source, slice, hashing, count);
        let range = match slice {
            Slice::Range(range) if source.axis != Axis::None => range,
            _ => return self.hunting.counts(&query(&slice)).await,
        };
        let span = if range.low == Timestamp::MIN { RETENTION } else { range.high.since(range.low) };
        let (mut narrowing, mut all) = (Narrowing::new(range, span), Rows::default());
        while let Some(range) = narrowing.take() {
            match self.hunting.counts(&query(&Slice::Range(range))).await {
                Err(error) if self.may_ask_for_less(&error) && narrowing.halve(range) => {}
                rows => all.rows.extend(rows?.rows),
            }
        }
        Ok(all)
    }
}

/// Whether a count that the service stops is asked for in halves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Halvings {
    /// It is.
    Some,
    /// The query holds more than its range.
    None,
}

/// How many rows of a piece are below `caps`, where it is a bin that is not.
fn too_much(piece: &Piece, bins: &[Bin], caps: Caps) -> Option<u64> {
    let bin = bins.get(bins.partition_point(|bin| bin.start <= piece.low))?;
    let share = if bin.start <= piece.high { caps.share(bin) } else { 0.0 };
    (share > 1.0).then(|| (bin.rows as f64 / share) as u64)
}

/// The bins of the past are as wide as the others where that does not make too many of them: edges of windows are edges of
/// such bins.
fn past_width(from: Timestamp, to: Timestamp, width: Duration) -> Duration {
    let span = if from == Timestamp::MIN { RETENTION } else { to.since(from) };
    width.max(bin_width(span, MOST_BINS))
}
