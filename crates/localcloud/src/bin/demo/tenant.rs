//! The tenant of the demo: which tables it has, how they are configured, and what arrives later.

use crate::error::Error;
use localcloud::source::{Settings, Source, TableSettings, ticks};
use std::time::Duration;

/// The folder of all destination tables.
pub const FOLDER: &str = "Defender";
/// The column that the destinations' readers go by.
pub const WATERMARK_COLUMN: &str = "Timestamp";

/// Sizes that give some sixty hunting calls in all: the quota of 45 a minute is what the demo's time comes from.
const TABLES: [(&str, u32); 7] = [
    ("DeviceNetworkEvents", 220_000),
    ("DeviceProcessEvents", 125_000),
    ("DeviceFileEvents", 160_000),
    ("DeviceLogonEvents", 60_000),
    ("EmailEvents", 24_000),
    ("EmailUrlInfo", 290_000),
    ("IdentityLogonEvents", 160_000),
];
/// Inside the service's 30 days.
const DAYS: i64 = 29;
const NEW_ROWS_PER_CENT: u64 = 2;
const NEW_ROWS_ARRIVE_WITHIN: i64 = 2 * ticks::SECOND;

/// The names of the tables.
pub fn table_names() -> impl Iterator<Item = &'static str> {
    TABLES.iter().map(|(name, _)| *name)
}

/// The tenant as the first run finds it, its rows spread over 29 days up to `now` (ticks).
pub fn settings(seed: u64, size: f64, now: i64) -> Settings {
    let rows = |rows: u32| (f64::from(rows) * size).round().max(1.0) as u64;
    let table = |(name, count): &(&str, u32)| TableSettings::new(*name, rows(*count), now - DAYS * ticks::DAY, now);
    Settings { seed, tables: TABLES.iter().map(table).collect(), ..Settings::default() }
}

/// What arrived newly.
#[derive(Debug, Clone, Copy)]
pub struct Arrivals {
    /// How many rows, in all tables.
    pub rows: u64,
    /// When the last of them arrives, ticks.
    pub last: i64,
}

/// Lets 2 % more rows arrive in every table within two seconds from `now` (ticks). As always some of them are late:
/// their `Timestamp` is hours or days old.
///
/// # Errors
/// The tenant's.
pub fn let_rows_arrive(source: &Source, now: i64) -> Result<Arrivals, Error> {
    let last = now + NEW_ROWS_ARRIVE_WITHIN;
    let mut arrived = 0;
    for table in source.table_names() {
        let more = (rows(source, &table)? * NEW_ROWS_PER_CENT / 100).max(1);
        source.append(&table, more, now, last)?;
        arrived += more;
    }
    Ok(Arrivals { rows: arrived, last })
}

/// How many rows `table` has, without looking at them.
///
/// # Errors
/// The tenant's.
pub fn rows(source: &Source, table: &str) -> Result<u64, Error> {
    // The iterator knows its length.
    Ok(source.identities(table)?.size_hint().0 as u64)
}

/// How long until everything up to `last` (ticks) lies behind the settling lag.
pub fn until_settled(now: i64, last: i64, settling_lag: Duration) -> Duration {
    // The end of a run's range may be read from the clock in whole milliseconds.
    const MARGIN: Duration = Duration::from_millis(500);
    let ahead = u64::try_from(last - now).unwrap_or(0);
    let behind = u64::try_from(now - last).unwrap_or(0);
    (Duration::from_nanos(ahead * 100) + settling_lag + MARGIN).saturating_sub(Duration::from_nanos(behind * 100))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = ticks::UNIX_EPOCH + 20_000 * ticks::DAY;

    #[test]
    fn the_tenant_has_more_than_a_million_rows_within_thirty_days() {
        let settings = settings(1, 1.0, NOW);
        assert!(settings.tables.iter().map(|table| table.rows).sum::<u64>() > 1_000_000);
        assert!(settings.tables.iter().all(|table| NOW - table.arrival_from < 30 * ticks::DAY));
    }

    #[test]
    fn two_rows_of_a_hundred_arrive_later_in_every_table() {
        let source = Source::new(&settings(1, 0.01, NOW)).unwrap();
        let rows = || source.table_names().iter().map(|name| rows(&source, name).unwrap()).sum::<u64>();
        let before = rows();
        let arrivals = let_rows_arrive(&source, NOW).unwrap();
        assert_eq!(rows() - before, arrivals.rows);
        for table in source.table_names() {
            assert_eq!(source.identities_within(&table, arrivals.last, i64::MAX).unwrap().count(), 0);
            assert!(source.identities_within(&table, NOW, i64::MAX).unwrap().count() > 0);
        }
    }

    #[test]
    fn the_wait_covers_what_is_still_to_arrive_and_the_lag() {
        let lag = Duration::from_secs(3);
        assert_eq!(until_settled(NOW, NOW + 2 * ticks::SECOND, lag), Duration::from_millis(5_500));
        assert_eq!(until_settled(NOW + 2 * ticks::SECOND, NOW, lag), Duration::from_millis(1_500));
        assert_eq!(until_settled(NOW + ticks::DAY, NOW, lag), Duration::ZERO);
    }
}
