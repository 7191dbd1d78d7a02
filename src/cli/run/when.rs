//! Times as a person writes them on the command line: in UTC, a date alone for its midnight.

use adxingestor::timestamp::Timestamp;

/// Reads a time.
///
/// # Errors
/// The forms that are taken.
pub fn parse(text: &str) -> Result<Timestamp, String> {
    let text = text.trim();
    let is_offset = |end: &str| end.contains(['Z', 'z', '+', '-']);
    let whole = match text.split_once(['T', 't', ' ']) {
        None => format!("{text}T00:00:00Z"),
        Some((date, time)) if is_offset(time) => format!("{date}T{time}"),
        Some((date, time)) => format!("{date}T{time}Z"),
    };
    whole.parse().map_err(|_| {
        format!(
            "`{text}` is neither a date such as 2026-01-31 nor a time such as 2026-01-31T08:00:00Z (both are in UTC)"
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_date_is_its_midnight_and_a_time_without_an_offset_is_in_utc() {
        let at = |text: &str| parse(text).map(|at| at.to_seconds());
        assert_eq!(at("2026-01-31"), Ok("2026-01-31T00:00:00Z".to_owned()));
        for text in ["2026-01-31T08:00:00", "2026-01-31 08:00:00", "2026-01-31T08:00:00Z", "2026-01-31T10:00:00+02:00"]
        {
            assert_eq!(at(text), Ok("2026-01-31T08:00:00Z".to_owned()), "{text}");
        }
        for text in ["", "yesterday", "2026-02-30", "2026-01-31T", "31.1.2026"] {
            assert!(at(text).unwrap_err().contains("2026-01-31T08:00:00Z"), "{text}");
        }
    }
}
