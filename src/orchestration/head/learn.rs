//! What a table's first run learned, taken into the head. Later runs keep to it.

use crate::orchestration::instance::{LoadType, TableConfig};
use crate::orchestration::ledger::{CutAxis, Handover, Head, Others, Shape};
use crate::orchestration::limits::MAX_DYNAMIC_BYTES;
use crate::remedy;
use crate::timestamp::Timestamp;

/// The configuration asks for what the table's rows do not have.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OtherCopy {
    /// Another watermark column.
    #[error(
        "WatermarkColumn is now {now}, but {destination} was copied by {before} so far and its rows have no value in another \
         column: set it back, or copy to another DestinationTable"
    )]
    WatermarkColumn {
        /// The destination.
        destination: String,
        /// The column so far.
        before: String,
        /// The column that is asked for.
        now: String,
    },
    /// Snapshots instead of ranges, or the other way round.
    #[error(
        "{destination} {}, so LoadType cannot become {}: set it back, or copy to another DestinationTable",
        if *.whole { "holds snapshots" } else { "was copied by ranges so far" },
        if *.whole { "Full or Incremental" } else { "Snapshot" }
    )]
    LoadType {
        /// The destination.
        destination: String,
        /// Whether it holds snapshots.
        whole: bool,
    },
}

/// Holds the configuration against what was learned.
///
/// # Errors
/// [`OtherCopy`], for a person.
pub fn agree(head: &Head, config: &TableConfig) -> Result<(), OtherCopy> {
    let Some(shape) = &head.shape else { return Ok(()) };
    let whole = shape.axis == CutAxis::Whole;
    if whole != (config.load_type == Some(LoadType::Snapshot)) {
        return Err(OtherCopy::LoadType { destination: config.destination.clone(), whole });
    }
    if head.watermark_column == config.watermark_column {
        return Ok(());
    }
    Err(OtherCopy::WatermarkColumn {
        destination: config.destination.clone(),
        before: head.watermark_column.clone(),
        now: config.watermark_column.clone(),
    })
}

/// The destination is there. `created` says whether it was made just now.
pub fn has_destination(head: Head, config: &TableConfig, created: bool) -> Head {
    let watermark_column =
        if head.shape.is_none() { config.watermark_column.clone() } else { head.watermark_column.clone() };
    Head { made_here: head.made_here || created, watermark_column, ..head }
}

/// What a person is to know of the size of rows, where they are sent whatever it is. `largest_cell` is what a policy of the
/// destination says.
pub fn oversize_advice(destination: &str, largest_cell: Option<u64>) -> Option<String> {
    (largest_cell.unwrap_or(MAX_DYNAMIC_BYTES) <= MAX_DYNAMIC_BYTES).then(|| {
        format!(
            "OVERSIZE_ROWS=ingest, but RawData of {destination} takes no more than 1 MiB: larger rows land as null, and their windows \
             fail; raise the limit with `{}`, or set TABLE_ENCODING=BigObject32 (either takes the column's index off)",
            remedy::take_large_cells(destination)
        )
    })
}

/// Where the Python app's watermark stands on another axis than ours, its rows are told apart by a predicate.
/// `by_arrival` says that its watermark is an arrival time.
pub fn handover(config: &TableConfig, axis: &CutAxis, by_arrival: bool) -> Option<Handover> {
    match (axis, config.high_watermark) {
        (CutAxis::ArrivalTime, Some(watermark)) if !by_arrival => {
            Some(Handover { watermark, refreshed: config.last_refreshed.unwrap_or(watermark) })
        }
        _ => None,
    }
}

/// What the Python app has copied, as the configuration says.
pub fn others(config: &TableConfig) -> Option<Others> {
    let watermark = config.high_watermark?;
    Some(Others { watermark, refreshed: config.last_refreshed.unwrap_or(watermark), compared: false })
}

/// Up to where everything is there of a table that the Python app has copied by a watermark on our axis, for a run that ends at
/// `high`: a column may hold times that lie ahead of its last look.
pub fn copied_to(others: &Others, axis: &CutAxis, high: Timestamp) -> Timestamp {
    match axis {
        CutAxis::Column(_) => others.watermark.min(others.refreshed).min(high),
        CutAxis::ArrivalTime | CutAxis::Whole => others.watermark,
    }
}

/// The head with its shape, learned by a run that ends at `high`. Where the Python app's watermark is on our axis, everything up to
/// it is there; of a table that is copied whole it made no snapshot, and a destination that was made here holds none of its rows.
pub fn shaped(head: Head, config: &TableConfig, shape: Shape, high: Timestamp) -> Head {
    let others = others(config).filter(|_| !head.made_here && shape.axis != CutAxis::Whole);
    let copied = others.as_ref().map(|others| copied_to(others, &shape.axis, high)).or(config.high_watermark);
    let from = copied.filter(|_| shape.handover.is_none() && shape.axis != CutAxis::Whole);
    Head {
        others,
        planned_to: from.unwrap_or(head.planned_to),
        verified_up_to: from.unwrap_or(head.verified_up_to),
        shape: Some(shape),
        ..head
    }
}

/// What a person is to know where a table that was made here begins behind a watermark: nothing of what that says is there.
pub fn left_out(head: &Head, config: &TableConfig) -> Option<String> {
    let watermark = config.high_watermark.filter(|_| head.made_here && head.planned_to != Timestamp::MIN)?;
    Some(format!(
        "{} was made by this run and begins behind HighWatermark {watermark}: rows up to then are not copied. To copy them, too, append the \
         configuration row with another DestinationTable, HighWatermark = datetime(null) and LastRefreshedTime = datetime(null)",
        head.destination
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::orchestration::head::testing::{head, later, now, shape, table};
    use crate::orchestration::ledger::TableState;

    #[test]
    fn a_watermark_on_our_axis_is_where_the_first_plan_begins() {
        let config = TableConfig { high_watermark: Some(now()), ..table().config };
        assert_eq!(handover(&config, &CutAxis::ArrivalTime, true), None);
        let ours = shaped(head(TableState::Planning), &config, shape(), now());
        assert_eq!((ours.planned_to, ours.others.unwrap().watermark), (now(), now()));
    }

    #[test]
    fn a_watermark_that_lies_ahead_of_its_last_look_is_begun_where_that_was() {
        let begun = |refreshed, high, made_here| {
            let config = TableConfig {
                high_watermark: Some(later(900)),
                last_refreshed: Some(later(refreshed)),
                ..table().config
            };
            let column = Shape { axis: CutAxis::Column("Timestamp".into()), ..shape() };
            let before = Head { made_here, ..head(TableState::Planning) };
            let head = shaped(before, &config, column, later(high));
            (head.planned_to, head.others.is_some())
        };
        assert_eq!(begun(950, 2_000, false), (later(900), true));
        assert_eq!(begun(500, 2_000, false), (later(500), true));
        assert_eq!(begun(500, 400, false), (later(400), true), "a run that comes right behind it");
        assert_eq!(begun(500, 600, true), (later(900), false), "a person begins a new table there");
        let said = |made_here| {
            let config = TableConfig { high_watermark: Some(later(900)), ..table().config };
            let head = Head { made_here, planned_to: later(900), ..head(TableState::Planning) };
            left_out(&head, &config)
        };
        let text = said(true).unwrap();
        assert!(text.contains(&format!("behind HighWatermark {}", later(900))) && !text.contains("  "), "{text}");
        assert_eq!(said(false), None);
    }

    #[test]
    fn a_watermark_on_another_axis_begins_at_the_retention_edge_with_a_predicate() {
        let config = TableConfig { high_watermark: Some(now()), ..table().config };
        let handover = handover(&config, &CutAxis::ArrivalTime, false);
        assert_eq!(handover, Some(Handover { watermark: now(), refreshed: now() }));
        assert_eq!(
            shaped(head(TableState::Planning), &config, Shape { handover, ..shape() }, later(9)).planned_to,
            Timestamp::MIN
        );
    }

    #[test]
    fn snapshots_and_ranges_are_not_mixed_in_one_table() {
        let whole = TableConfig { load_type: Some(LoadType::Snapshot), ..table().config };
        let of = |axis| Head { shape: Some(Shape { axis, ..shape() }), ..head(TableState::Planning) };
        let said = |head: &Head, config: &TableConfig| agree(head, config).unwrap_err().to_string();
        assert!(
            said(&of(CutAxis::Whole), &table().config).contains("x holds snapshots, so LoadType cannot become Full")
        );
        assert!(said(&of(CutAxis::ArrivalTime), &whole).contains("LoadType cannot become Snapshot"));
        assert_eq!(agree(&of(CutAxis::Whole), &whole), Ok(()));
        let watermark = TableConfig { high_watermark: Some(now()), ..whole };
        let whole = Shape { axis: CutAxis::Whole, ..shape() };
        let begun = shaped(head(TableState::Planning), &watermark, whole, later(9));
        assert_eq!(begun.planned_to, Timestamp::MIN, "no snapshot of ours is that of the watermark");
    }

    #[test]
    fn rows_above_what_a_cell_takes_are_not_sent_unsaid() {
        let said = oversize_advice("x", None).unwrap();
        assert!(said.contains("`.alter column ['x'].RawData policy encoding type = 'BigObject32'`"), "{said}");
        assert!(oversize_advice("x", Some(MAX_DYNAMIC_BYTES)).is_some());
        assert_eq!(oversize_advice("x", Some(2 * MAX_DYNAMIC_BYTES)), None);
    }

    #[test]
    fn another_watermark_column_is_refused_once_rows_have_one() {
        let config = TableConfig { watermark_column: "Other".into(), ..table().config };
        let fresh = head(TableState::Planning);
        assert_eq!(agree(&fresh, &config), Ok(()));
        let copied = Head { shape: Some(shape()), ..fresh };
        assert!(agree(&copied, &config).unwrap_err().to_string().contains("Other"));
        assert_eq!(has_destination(copied, &config, true).watermark_column, "Timestamp");
    }
}
