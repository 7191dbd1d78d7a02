//! Source against destination, row by row: what is missing, what is there too often, and whether the watermark says so.

use crate::error::Error;
use crate::summary::grouped;
use localcloud::cloud::Cloud;
use localcloud::source::{Comparison, Source, ticks};
use std::collections::BTreeMap;

/// How a table's copy compares with the table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Compared {
    /// The table.
    pub table: String,
    /// Every row that has arrived, against every row of the destination.
    pub rows: Comparison,
    /// What is wrong with the recorded watermark, if anything.
    pub watermark: Option<String>,
}

impl Compared {
    /// What differs, in words; `None` if nothing does.
    pub fn difference(&self) -> Option<String> {
        let mut parts = Vec::new();
        if !self.rows.missing.is_empty() {
            let first: Vec<String> = self.rows.missing.iter().take(3).map(u64::to_string).collect();
            parts.push(format!(
                "lacks {} rows (of the source's rows, counted from 0, first {})",
                grouped(self.rows.missing.len() as u64),
                first.join(", ")
            ));
        }
        if self.rows.surplus > 0 {
            parts.push(format!("has {} rows too many", grouped(self.rows.surplus)));
        }
        parts.extend(self.watermark.clone());
        (!parts.is_empty()).then(|| format!("{} {}", self.table, parts.join(" and ")))
    }
}

/// Compares every table of the tenant with the destination of the same name. Takes seconds for a million rows: not for
/// the executor's threads.
///
/// # Errors
/// The tenant's.
pub fn compare(
    cloud: &Cloud,
    watermarks: &BTreeMap<String, Option<i64>>,
    last_arrival: i64,
) -> Result<Vec<Compared>, Error> {
    let source: &Source = cloud.source();
    let mut all = Vec::new();
    for table in source.table_names() {
        let copy = copied_rows(cloud, &table);
        let rows = source.compare(&table, -1, i64::MAX, copy)?;
        let watermark = behind(watermarks.get(&table).copied().flatten(), last_arrival);
        all.push(Compared { table, rows, watermark });
    }
    Ok(all)
}

/// The identities of the destination's rows; none if there is no such table.
fn copied_rows(cloud: &Cloud, table: &str) -> Vec<u64> {
    let destination = cloud.adx().database.read().tables.get(table).map(|entry| entry.data.clone());
    destination.iter().flat_map(|data| data.identities().map(|(identity, _)| identity)).collect()
}

/// What is wrong with a watermark that should cover everything up to `last_arrival`.
fn behind(watermark: Option<i64>, last_arrival: i64) -> Option<String> {
    match watermark {
        Some(watermark) if watermark >= last_arrival => None,
        Some(watermark) => Some(format!(
            "has the watermark {}, before its last arrival at {}",
            ticks::format(watermark),
            ticks::format(last_arrival)
        )),
        None => Some("has no watermark".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOON: i64 = ticks::UNIX_EPOCH + 20_000 * ticks::DAY + ticks::DAY / 2;

    fn compared(rows: Comparison, watermark: Option<i64>) -> Compared {
        Compared { table: "DeviceEvents".into(), rows, watermark: behind(watermark, NOON) }
    }

    #[test]
    fn an_exact_copy_with_a_watermark_that_covers_it_is_no_difference() {
        let rows = Comparison { matched: 5, ..Comparison::default() };
        assert_eq!(compared(rows, Some(NOON)).difference(), None);
    }

    #[test]
    fn what_differs_is_said_in_words() {
        let rows = Comparison { matched: 5, missing: vec![3, 4, 8, 9], surplus: 2 };
        assert_eq!(
            compared(rows, Some(NOON)).difference().unwrap(),
            "DeviceEvents lacks 4 rows (of the source's rows, counted from 0, first 3, 4, 8) and has 2 rows too many"
        );
        let rows = Comparison { matched: 5, ..Comparison::default() };
        assert_eq!(
            compared(rows.clone(), Some(NOON - 1)).difference().unwrap(),
            "DeviceEvents has the watermark 2024-10-04T11:59:59.9999999Z, before its last arrival at 2024-10-04T12:00:00Z"
        );
        assert_eq!(compared(rows, None).difference().unwrap(), "DeviceEvents has no watermark");
    }
}
