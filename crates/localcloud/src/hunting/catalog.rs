//! What names in a hunting query mean: the tenant's visible tables, at one instant, within the time span of
//! the call.

use super::meter::Meter;
use super::timespan::{Clipped, Timespan};
use crate::kql::{Catalog, Table};
use crate::source::Snapshot;
use std::sync::Arc;

/// The tables as one call sees them.
pub(super) struct Tenant {
    pub(super) tables: Snapshot,
    pub(super) timespan: Option<Timespan>,
    pub(super) meter: Meter,
}

impl Catalog for Tenant {
    fn table(&self, name: &str) -> Option<Arc<dyn Table>> {
        let table = self.tables.table(name)?;
        let table = match self.timespan {
            None => table,
            // Nothing lies out of it, and nothing has to be read to know that.
            Some(span) if span.holds_every_time() && self.tables.all_have_event_times(name) => table,
            Some(span) => Clipped::table(table, span),
        };
        Some(self.meter.over(table))
    }

    fn function(&self, _name: &str) -> Option<String> {
        None
    }

    fn now(&self) -> i64 {
        self.tables.now()
    }
}

/// The first word of `query`, outside of texts and comments, that names one of the tenant's tables.
pub(super) fn first_table(query: &str, tables: &Snapshot) -> Option<String> {
    let mut rest = query;
    while let Some(first) = rest.chars().next() {
        let length = if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if first == '"' || first == '\'' {
            text_length(rest, first)
        } else if first.is_alphanumeric() || first == '_' {
            let length = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
            if tables.knows(&rest[..length]) {
                return Some(rest[..length].to_owned());
            }
            length
        } else {
            first.len_utf8()
        };
        rest = &rest[length..];
    }
    None
}

/// The length of the quoted text that `rest` begins with.
fn text_length(rest: &str, quote: char) -> usize {
    let mut escaped = false;
    for (at, c) in rest.char_indices().skip(1) {
        if escaped {
            escaped = false;
        } else if c == '\\' {
            escaped = true;
        } else if c == quote {
            return at + 1;
        }
    }
    rest.len()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::{Settings, Source, TableSettings};

    #[test]
    fn the_first_table_named_is_not_in_a_text_or_a_comment() {
        let tables = ["DeviceEvents", "EmailEvents"].map(|name| TableSettings::new(name, 1, 0, 0)).to_vec();
        let snapshot = Source::new(&Settings { tables, ..Settings::default() }).unwrap().at(0);
        for (query, table) in [
            ("let x = \"EmailEvents \\\" \"; // EmailEvents\nunion (DeviceEvents | take 1)", Some("DeviceEvents")),
            ("print x='DeviceEvents'", None),
            ("EmailEvents2 | union EmailEvents", Some("EmailEvents")),
            ("", None),
            ("\"DeviceEvents", None),
        ] {
            assert_eq!(first_table(query, &snapshot).as_deref(), table, "{query}");
        }
    }
}
