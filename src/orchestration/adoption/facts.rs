//! What is known of a table whose ledger was lost: how it is copied, what is there without an id of ours, and what the source
//! says of hash parts that are missing.

use super::Landed;
use crate::orchestration::head::learn::{copied_to, handover, others};
use crate::orchestration::head::take::Fresh;
use crate::orchestration::ids::{LedgerId, Part, WindowId};
use crate::orchestration::instance::TableConfig;
use crate::orchestration::ledger::{ChunkIdPlace, CutAxis, Handover, Others, PartedBy, RowFormat, Shape};
use crate::orchestration::plan::Piece;
use crate::orchestration::removal::Place;
use crate::timestamp::Timestamp;

/// What is known of a table beside its windows.
#[derive(Debug, Clone, PartialEq)]
pub struct Facts {
    /// Whether the ledger in the store owns the destination; then it keeps its id.
    pub is_owner: bool,
    /// An id that no ledger had before.
    pub ledger: LedgerId,
    /// A plan id that was never used.
    pub plan: String,
    /// How the table is copied.
    pub shape: Shape,
    /// The destination's watermark column.
    pub watermark_column: String,
    /// What another app has copied, as far as a plan still has to do with it.
    pub others: Option<Others>,
    /// Everything up to and including this is there, whatever the ids say: windows without rows have left no id.
    pub proved: Timestamp,
    /// Where windows of this app begin, if what lies before was left to another one or never asked for.
    pub ours_from: Option<Timestamp>,
    /// Where the table had begun, if a person says so.
    pub begins_after: Option<Timestamp>,
    /// Whether a ledger of this app has proved that.
    pub by_a_ledger: bool,
    /// Where the gaps end at least: the end of a table that is loaded once.
    pub end: Option<Timestamp>,
}

/// What was seen in ADX and in the state store.
#[derive(Debug, Clone, Copy)]
pub struct Clues<'a> {
    /// The configuration of the table.
    pub config: &'a TableConfig,
    /// Whether the ledger in the store owns the destination.
    pub is_owner: bool,
    /// How far the owner has verified, on the axis of the shape.
    pub proved: Option<Timestamp>,
    /// Where the configuration said that the copy had come to, before our first rows: `HighWatermark` and
    /// `LastRefreshedTime`.
    pub stopped: Option<(Timestamp, Option<Timestamp>)>,
    /// Whether that is an arrival time.
    pub by_arrival: bool,
    /// Rows of the destination without an id of ours.
    pub rows_of_others: u64,
    /// The windows of the destination.
    pub found: &'a [Landed],
    /// Where a run that began now would end.
    pub high: Timestamp,
    /// Where a person says that the table had begun: what lies before was never asked for.
    pub since: Option<Timestamp>,
}

/// What a person says of where the table had begun cannot be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{table} holds window {window}, which begins at {low}: so it was not told to begin at {since}. Give --since as the first run had \
     it, or leave it out. Nothing was changed"
)]
pub struct BeganBefore {
    table: String,
    window: WindowId,
    low: Timestamp,
    since: Timestamp,
}

/// Holds what a person says of where the table had begun against the windows that are there.
///
/// # Errors
/// [`BeganBefore`].
pub fn check_since(table: &str, since: Option<Timestamp>, found: &[Landed]) -> Result<(), BeganBefore> {
    let Some(since) = since else { return Ok(()) };
    let is_before = |id: &&WindowId| !id.is_null_axis() && id.low < since;
    // Of what another app has copied, windows begin before the first of ours.
    let first = found.iter().map(|one| &one.id).filter(|id| id.repair < WindowId::FIRST_HANDOVER).find(is_before);
    match first {
        Some(id) => Err(BeganBefore { table: table.to_owned(), window: *id, low: id.low, since }),
        None => Ok(()),
    }
}

/// The shape of a table as its first run would have learned it. `taken_over` says that another app's rows are there.
pub fn shape(
    axis: CutAxis,
    parts: PartedBy,
    row_format: Option<RowFormat>,
    chunk_id: ChunkIdPlace,
    taken_over: bool,
) -> Shape {
    let usual = if taken_over { RowFormat::Full } else { RowFormat::Compact };
    let row_format = row_format.unwrap_or(usual);
    Shape { axis, row_format, chunk_id, parts, parting: 0, narrower: Vec::new(), handover: None }
}

/// Puts the clues together. A `shape` that the ledger has keeps its handover.
pub fn gather(clues: Clues<'_>, shape: Shape, fresh: Fresh) -> Facts {
    // Without rows of ours it cannot be told from our own watermark.
    let stopped = clues.stopped.filter(|_| !clues.found.is_empty() || clues.proved.is_none());
    let config = TableConfig {
        high_watermark: stopped.map(|(watermark, _)| watermark),
        last_refreshed: stopped.and_then(|(_, refreshed)| refreshed),
        ..clues.config.clone()
    };
    let other_axis = handover(&config, &shape.axis, clues.by_arrival);
    let others = others(&config).filter(|_| other_axis.is_none());
    let base = others.as_ref().map(|others| copied_to(others, &shape.axis, clues.high));
    let is_ahead = |others: &Others| clues.rows_of_others > 0 && base.is_some_and(|base| base < others.watermark);
    let ahead = others.filter(is_ahead);
    let handover = shape.handover.clone().or_else(|| other_axis.filter(|_| clues.rows_of_others > 0));
    // Whether what it may have missed was compared is not on record any more: it is done once more.
    let of_handover = |handover: &Handover| {
        let Handover { watermark, refreshed } = handover.clone();
        Others { watermark, refreshed, compared: false }
    };
    let others = ahead.or_else(|| handover.as_ref().map(of_handover));
    let beyond = |proved: Timestamp| clues.found.iter().any(|one| one.id.high > proved);
    let cut_short = !clues.found.is_empty() && clues.proved.is_none_or(beyond);
    Facts {
        is_owner: clues.is_owner,
        ledger: fresh.ledger,
        plan: fresh.draft,
        shape: Shape { handover, ..shape },
        watermark_column: clues.config.watermark_column.clone(),
        others,
        proved: clues.proved.max(base).max(clues.since).unwrap_or(Timestamp::MIN),
        ours_from: base.max(clues.since),
        begins_after: clues.since,
        by_a_ledger: clues.proved.is_some_and(|proved| proved > Timestamp::MIN),
        end: (cut_short && clues.config.is_loaded_once()).then_some(clues.high),
    }
}

/// Hash parts that are there have not the rows that the source says.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{table} holds {rows} rows of hash part {index} of {count} of ({low}, {high}], and the source has {counted}: the other parts cannot be \
     told from them. Remove the part with `{removal}` (Database Admin), then adopt again"
)]
pub struct OtherHash {
    table: String,
    rows: u64,
    counted: u64,
    index: u16,
    count: u16,
    low: Timestamp,
    high: Timestamp,
    removal: String,
}

/// Groups of missing parts of the same rows.
pub fn stretches(gaps: &[Piece]) -> Vec<Vec<Piece>> {
    let mut parts: Vec<Piece> = gaps.iter().copied().filter(|gap| gap.part != Part::WHOLE).collect();
    parts.sort_by_key(|gap| (gap.low, gap.high, gap.part.count, gap.part.index));
    let same = |a: &Piece, b: &Piece| (a.low, a.high, a.part.count) == (b.low, b.high, b.part.count);
    parts.chunk_by(same).map(<[Piece]>::to_vec).collect()
}

/// The missing parts of one stretch with their rows. `counts` are the source's, by the number of the part. The parts beside
/// them that are there must have the source's rows too: otherwise they were made by other columns, and the missing ones would
/// hold some of their rows. What the source no longer has cannot be compared, and nothing of it will be pulled.
///
/// # Errors
/// [`OtherHash`].
pub fn parts(
    place: &Place,
    missing: &[Piece],
    counts: &[(u64, u64)],
    beside: &[(WindowId, u64)],
) -> Result<Vec<Piece>, OtherHash> {
    let Some(first) = missing.first() else { return Ok(Vec::new()) };
    let (low, high, all) = (first.low, first.high, first.part.count);
    let rows_of = |part: Part| -> u64 {
        let is_in = |(index, _): &&(u64, u64)| index % u64::from(part.count) == u64::from(part.index);
        counts.iter().filter(is_in).map(|(_, rows)| rows).sum()
    };
    let same = || beside.iter().filter(|(id, _)| (id.low, id.high) == (low, high));
    let late_rows = |part: Part| -> u64 {
        let is_in =
            |id: &WindowId| id.part.count.is_multiple_of(part.count) && id.part.index % part.count == part.index;
        same().filter(|(id, _)| id.is_repair() && is_in(id)).map(|(_, rows)| rows).sum()
    };
    for (id, rows) in same().filter(|(id, _)| !id.is_repair() && all % id.part.count == 0) {
        let counted = rows_of(id.part);
        let rows = &(rows + late_rows(id.part));
        if counted != *rows && counts.iter().any(|(_, rows)| *rows > 0) {
            return Err(OtherHash {
                table: place.table.to_string(),
                rows: *rows,
                counted,
                index: id.part.index,
                count: id.part.count,
                low,
                high,
                removal: place.remove(id),
            });
        }
    }
    Ok(missing.iter().map(|piece| Piece { rows: rows_of(piece.part), ..*piece }).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kql::Identifier;
    use crate::orchestration::head::testing::{later, now, table};
    use crate::orchestration::instance::LoadType;

    fn landed(low: u64, high: u64, part: Part, rows: u64) -> Landed {
        let at = Timestamp::from_ticks;
        let id = WindowId { ledger: LedgerId(9), low: at(low), high: at(high), part, generation: 0, repair: 0 };
        Landed { id, rows, first: now(), last: now() }
    }

    fn gathered(axis: CutAxis, change: impl FnOnce(&mut Clues<'_>)) -> Facts {
        gathered_as(LoadType::Incremental, axis, change)
    }

    fn gathered_as(load_type: LoadType, axis: CutAxis, change: impl FnOnce(&mut Clues<'_>)) -> Facts {
        let config = TableConfig { load_type: Some(load_type), ..table().config };
        let found = [landed(10, 20, Part::WHOLE, 3)];
        let mut clues = Clues {
            config: &config,
            is_owner: false,
            proved: None,
            stopped: Some((now(), Some(later(60)))),
            by_arrival: false,
            rows_of_others: 5,
            found: &found,
            high: later(900),
            since: None,
        };
        change(&mut clues);
        let shape = shape(axis, PartedBy::default(), None, ChunkIdPlace::Column, clues.rows_of_others > 0);
        gather(clues, shape, Fresh::from_bits(7 << 64 | 9))
    }

    #[test]
    fn rows_of_the_python_app_are_below_the_handover() {
        let facts = gathered(CutAxis::ArrivalTime, |_| {});
        assert_eq!(facts.shape.handover, Some(Handover { watermark: now(), refreshed: later(60) }));
        assert_eq!((facts.proved, facts.shape.row_format), (Timestamp::MIN, RowFormat::Full));
        assert_eq!(facts.others.map(|others| (others.refreshed, others.compared)), Some((later(60), false)));
        let own = gathered(CutAxis::Column("Timestamp".into()), |_| {});
        assert_eq!((own.shape.handover, own.proved), (None, now()), "its watermark is on our axis");
        assert_eq!(own.others, None);
        let ahead = gathered(CutAxis::Column("Timestamp".into()), |clues| {
            clues.stopped = Some((later(500), Some(later(60))));
        });
        assert_eq!((ahead.proved, ahead.others.unwrap().watermark), (later(60), later(500)));
        let gone = gathered(CutAxis::ArrivalTime, |clues| clues.rows_of_others = 0);
        assert_eq!((gone.shape.handover, gone.shape.row_format), (None, RowFormat::Compact));
    }

    #[test]
    fn what_lies_before_the_beginning_that_a_person_gives_is_as_good_as_proved() {
        let began = |proved| {
            let facts = gathered(CutAxis::ArrivalTime, |clues| {
                (clues.proved, clues.since, clues.rows_of_others) = (proved, Some(later(50)), 0);
                clues.stopped = None;
            });
            (facts.proved, facts.begins_after, facts.by_a_ledger)
        };
        assert_eq!(began(None), (later(50), Some(later(50)), false));
        assert_eq!(began(Some(later(100))), (later(100), Some(later(50)), true));
        let check = |since| check_since("x", Some(Timestamp::from_ticks(since)), &[landed(10, 20, Part::WHOLE, 3)]);
        assert_eq!((check(9), check(10)), (Ok(()), Ok(())));
        let said = check(11).unwrap_err().to_string();
        assert!(said.contains("so it was not told to begin at") && !said.contains("  "), "{said}");
        assert_eq!(check_since("x", None, &[landed(0, 20, Part::WHOLE, 3)]), Ok(()));
    }

    #[test]
    fn what_a_ledger_has_proved_is_proved_and_its_own_watermark_is_no_handover() {
        let facts = gathered(CutAxis::ArrivalTime, |clues| {
            (clues.proved, clues.found) = (Some(later(100)), &[]);
        });
        assert_eq!((facts.proved, facts.by_a_ledger, facts.shape.handover), (later(100), true, None));
    }

    #[test]
    fn a_table_that_is_loaded_once_and_was_cut_short_is_loaded_to_its_end() {
        let end = |proved: Option<Timestamp>| {
            gathered_as(LoadType::Full, CutAxis::ArrivalTime, |clues| clues.proved = proved).end
        };
        assert_eq!(end(None), Some(later(900)));
        assert_eq!(end(Some(Timestamp::from_ticks(15))), Some(later(900)));
        assert_eq!(end(Some(Timestamp::from_ticks(20))), None);
        assert_eq!(gathered(CutAxis::ArrivalTime, |_| {}).end, None, "an incremental table goes on by itself");
    }

    #[test]
    fn rows_that_came_late_into_a_part_count_with_it() {
        let part = |index, count| Part { index, count };
        let missing =
            [Piece { part: part(1, 2), ..Piece::whole(Timestamp::from_ticks(10), Timestamp::from_ticks(20), 0) }];
        let place = Place { table: Identifier::new("T").unwrap(), chunk_id: ChunkIdPlace::Column, of_snapshots: false };
        let base = landed(10, 20, part(0, 2), 5).id;
        let repair = WindowId { repair: 1, ..base };
        assert!(parts(&place, &missing, &[(0, 7), (1, 6)], &[(base, 5), (repair, 2)]).is_ok());
        assert!(parts(&place, &missing, &[(0, 7), (1, 6)], &[(base, 5), (repair, 1)]).is_err());
    }

    #[test]
    fn missing_parts_are_counted_and_those_beside_them_must_agree_with_the_source() {
        let part = |index, count| Part { index, count };
        let piece = |index| Piece {
            part: part(index, 4),
            ..Piece::whole(Timestamp::from_ticks(10), Timestamp::from_ticks(20), 0)
        };
        let missing = [piece(1), piece(3)];
        let place = Place { table: Identifier::new("T").unwrap(), chunk_id: ChunkIdPlace::Column, of_snapshots: false };
        let beside = |rows| [(landed(10, 20, part(0, 2), rows).id, rows)];
        let counts = [(0, 5), (1, 6), (2, 7), (3, 8)];
        let counted = parts(&place, &missing, &counts, &beside(12)).unwrap();
        assert_eq!(counted.iter().map(|piece| piece.rows).collect::<Vec<_>>(), [6, 8]);
        let refused = parts(&place, &missing, &counts, &beside(11)).unwrap_err().to_string();
        assert!(
            refused.contains("11 rows of hash part 0 of 2") && refused.contains("`.delete table T records"),
            "{refused}"
        );
        assert!(parts(&place, &missing, &[], &beside(11)).is_ok(), "the source no longer has them");
        assert_eq!(
            stretches(&[piece(3), Piece::whole(Timestamp::MIN, Timestamp::MIN, 0), piece(1)]),
            [missing.to_vec()]
        );
    }
}
