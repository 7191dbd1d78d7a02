//! From where the first run copies a table that another app has copied, in words. The rule itself is
//! `orchestration::head::learn`.

use crate::defender::queries::ARRIVAL_COLUMN;
use crate::orchestration::head::learn::{copied_to, handover, others};
use crate::orchestration::instance::{LoadType, TableConfig};
use crate::orchestration::ledger::CutAxis;
use crate::timestamp::Timestamp;
use std::time::Duration;

/// What the first run does with a table, or what has to be mended. `arrival` says whether the source's rows have arrival times,
/// as far as it shows any.
pub fn first_run(config: &TableConfig, arrival: Option<bool>, look_back: Duration) -> Result<String, String> {
    let by_arrival = config.watermark_column == ARRIVAL_COLUMN;
    let column = &config.watermark_column;
    match (config.load_type, config.high_watermark) {
        (Some(LoadType::Snapshot), _) => return Ok("copies the whole table, as every run does".to_owned()),
        (Some(LoadType::Full), Some(_)) => {
            return Ok("leaves it as it is: a Full table that has a HighWatermark is not loaded again".to_owned());
        }
        _ => {}
    }
    if by_arrival && arrival == Some(false) {
        return Err(format!(
            "{} has no arrival times, so WatermarkColumn cannot be {ARRIVAL_COLUMN}: name one of its datetime columns",
            config.source
        ));
    }
    let Some(watermark) = config.high_watermark else {
        return Ok("copies all that the source still has: there is no HighWatermark".to_owned());
    };
    let Some(has_arrival) = arrival else {
        return Ok(format!("finds no rows at the source now; the first that does goes on behind {watermark}"));
    };
    let axis = if has_arrival { CutAxis::ArrivalTime } else { CutAxis::Column(column.clone()) };
    if let Some(taken) = handover(config, &axis, by_arrival) {
        return Ok(format!(
            "changes over from {column} to arrival times: of what the source still has it copies rows whose {column} lies behind \
             {} or is empty, and those that arrived after {}; what arrived in the hour before is compared with what is there",
            taken.watermark, taken.refreshed
        ));
    }
    let from = others(config).map_or(watermark, |others| copied_to(&others, &axis, Timestamp::MAX));
    Ok(if has_arrival {
        format!(
            "goes on by arrival times behind {from}; what arrived in the hour before is compared with what is there"
        )
    } else {
        let hours = look_back.as_secs() / 3_600;
        format!("goes on by {column} behind {from}; the {hours} hours before are compared with what is there")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(column: &str, load_type: LoadType, watermark: Option<&str>) -> TableConfig {
        TableConfig {
            source: "T".into(),
            folder: "F".into(),
            destination: "D".into(),
            watermark_column: column.into(),
            load_type: Some(load_type),
            last_refreshed: watermark.map(|_| "2026-05-02T00:00:00Z".parse().unwrap()),
            high_watermark: watermark.map(|at| at.parse().unwrap()),
        }
    }

    fn told(config: &TableConfig, arrival: Option<bool>) -> String {
        first_run(config, arrival, Duration::from_secs(48 * 3_600)).unwrap_or_else(|wrong| format!("! {wrong}"))
    }

    #[test]
    fn where_a_first_run_begins_is_told_for_every_kind_of_table() {
        let at = Some("2026-05-01T00:00:00Z");
        let events = config("Timestamp", LoadType::Incremental, at);
        assert!(told(&events, Some(true)).contains("lies behind 2026-05-01T00:00:00.0000000Z or is empty"));
        assert!(told(&events, Some(true)).contains("arrived after 2026-05-02T00:00:00.0000000Z"));
        assert!(
            told(&events, Some(false)).starts_with("goes on by Timestamp behind 2026-05-01"),
            "{}",
            told(&events, Some(false))
        );
        assert!(told(&events, None).contains("finds no rows"));
        let ahead = config("Timestamp", LoadType::Incremental, Some("2026-05-09T00:00:00Z"));
        assert!(
            told(&ahead, Some(false)).contains("behind 2026-05-02"),
            "a time ahead of the last look proves nothing"
        );
        let arrival = config(ARRIVAL_COLUMN, LoadType::Incremental, at);
        assert!(told(&arrival, Some(true)).starts_with("goes on by arrival times behind 2026-05-01"));
        assert!(told(&arrival, Some(false)).starts_with("! T has no arrival times"));
        assert!(told(&config("Timestamp", LoadType::Full, at), None).contains("not loaded again"));
        assert!(told(&config("Timestamp", LoadType::Full, None), None).contains("all that the source still has"));
        assert!(told(&config("SnapshotTime", LoadType::Snapshot, at), None).contains("whole table"));
    }
}
