//! Instants as 100-ns ticks since 0001-01-01T00:00:00Z, the resolution and origin of a Kusto `datetime`, and
//! their shortest text.

use crate::kql::time;
pub use crate::kql::time::{DAY, HOUR, MAX, SECOND, UNIX_EPOCH};

/// The ticks of a date-time, or of a date alone; without an offset it is UTC.
pub fn parse(text: &str) -> Option<i64> {
    time::parse_datetime(text)
}

/// `ticks` with 0 to 7 fraction digits, trailing zeros cut: `2026-04-14T07:00:00Z`, `…20.928Z`.
pub fn format(ticks: i64) -> String {
    let mut text = String::with_capacity(28);
    time::write_datetime(ticks.clamp(0, MAX), &mut text);
    let kept = text.trim_end_matches('Z').trim_end_matches('0').trim_end_matches('.').len();
    // Whole seconds may end in zeros of their own.
    text.truncate(kept.max(19));
    text.push('Z');
    text
}

/// The ticks of a duration.
pub fn of(duration: std::time::Duration) -> i64 {
    i64::try_from(duration.as_nanos() / 100).unwrap_or(MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_has_as_many_fraction_digits_as_it_needs() {
        for text in [
            "2026-04-14T07:00:00Z",
            "2026-07-23T18:03:20.928Z",
            "2024-03-26T09:39:50.7688641Z",
            "2026-07-18T14:05:55.510513Z",
            "2026-07-18T14:05:50.0000001Z",
            "0001-01-01T00:00:00Z",
            "9999-12-31T23:59:59.9999999Z",
        ] {
            assert_eq!(format(parse(text).unwrap()), text);
        }
        assert_eq!(parse("2026-04-14"), parse("2026-04-14T00:00:00.0000000Z"));
        assert_eq!(parse("yesterday"), None);
    }
}
