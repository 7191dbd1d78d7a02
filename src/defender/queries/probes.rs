//! What is asked of a table before it is planned.

use super::{ARRIVAL_TIME, HashFunction, Range};
use crate::kql::{Datetime, Identifier};
use crate::timestamp::Timestamp;

const COLUMNS: &str = r#"getschema | summarize Columns = make_list(strcat(ColumnName, " ", ColumnType))"#;

/// One row of the table as plain columns. A service that has no such hash function refuses; the filter lets every row through.
pub fn probe(table: &Identifier, function: Option<HashFunction>) -> String {
    let filter = function.map_or_else(String::new, |function| format!("| where {function}(\"\", 1) == 0\n"));
    format!("{table}\n{filter}| take 1")
}

/// The same with the time of arrival (`ArrivedAt`), and beside it a row that has one, where there is any: it may be that only some
/// have.
pub fn probe_arrival(table: &Identifier, function: Option<HashFunction>) -> String {
    let arrived = format!("extend ArrivedAt = {ARRIVAL_TIME}");
    let filter = function.map_or_else(String::new, |function| format!("{function}(\"\", 1) == 0 and "));
    format!(
        "{table}\n| {arrived}\n| where {filter}isnotnull(ArrivedAt)\n| take 1\n\
         | union ({table} | {arrived} | take 1)"
    )
}

/// The time at which a row arrived (`ArrivedAt`), if one has it, and nothing else of it: for a service that does not take
/// [`probe_arrival`].
pub fn arrival(table: &Identifier) -> String {
    let low = Datetime(Timestamp::MIN);
    format!(
        "{table}\n| where {ARRIVAL_TIME} > {low}\n| extend ArrivedAt = {ARRIVAL_TIME}\n| take 1\n| project ArrivedAt"
    )
}

/// Whether tables are there: no row of them is read, and where one is not there the service refuses and names it.
pub fn visible(tables: &[Identifier]) -> String {
    match tables {
        [table] => format!("{table}\n| take 0"),
        // Without their columns, of which all tables together have many.
        tables => {
            let none = |table: &Identifier| format!("{table} | take 0 | summarize Rows = count()");
            format!("union\n({})", tables.iter().map(none).collect::<Vec<_>>().join("),\n("))
        }
    }
}

/// How many rows arrived within a range (`Rows`), and how many of them have no event time (`Without`); of a table without
/// arrival times those with such an event time, or none. Of few rows one column is read.
pub fn shown(table: &Identifier, has_arrival: bool, range: &Range) -> String {
    let (low, high) = (Datetime(range.low), Datetime(range.high));
    let filter = match has_arrival {
        true => format!("{ARRIVAL_TIME} > {low} and {ARRIVAL_TIME} <= {high}"),
        false => format!("isnull(Timestamp) or (Timestamp > {low} and Timestamp <= {high})"),
    };
    format!("{table}\n| where {filter}\n| summarize Rows = count(), Without = countif(isnull(Timestamp))")
}

/// A query with one more row at its end: the table's columns as a list under `Columns`, each as its name, a space and its KQL
/// type. It reads no data (dataexplorer-docs `query/getschema-operator.md`).
pub fn with_columns(query: &str, table: &Identifier) -> String {
    format!("{query}\n| union ({table} | {COLUMNS})")
}

/// That row alone.
pub fn columns(table: &Identifier) -> String {
    format!("{table}\n| {COLUMNS}")
}
