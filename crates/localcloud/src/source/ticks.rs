//! Instants as 100-ns ticks since 0001-01-01T00:00:00Z, the resolution and origin of a Kusto `datetime`.

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// Ticks in a second.
pub const SECOND: i64 = 10_000_000;
/// Ticks in an hour.
pub const HOUR: i64 = 3600 * SECOND;
/// Ticks in a day.
pub const DAY: i64 = 24 * HOUR;
/// 1970-01-01T00:00:00Z.
pub const UNIX_EPOCH: i64 = 621_355_968_000_000_000;
/// 9999-12-31T23:59:59.9999999Z.
pub const MAX: i64 = 3_155_378_975_999_999_999;

/// The ticks of an RFC 3339 date-time, or of a date alone at midnight UTC.
pub fn parse(text: &str) -> Option<i64> {
    let whole;
    let text = if text.len() == 10 {
        whole = format!("{text}T00:00:00Z");
        &whole
    } else {
        text
    };
    let nanos = OffsetDateTime::parse(text, &Rfc3339).ok()?.unix_timestamp_nanos();
    let ticks = i64::try_from(nanos.div_euclid(100)).ok()?.checked_add(UNIX_EPOCH)?;
    (0..=MAX).contains(&ticks).then_some(ticks)
}

/// `ticks` with 0 to 7 fraction digits, trailing zeros cut: `2026-04-14T07:00:00Z`, `…20.928Z`.
pub fn format(ticks: i64) -> String {
    let ticks = ticks.clamp(0, MAX);
    let nanos = i128::from(ticks - UNIX_EPOCH) * 100;
    let at = OffsetDateTime::from_unix_timestamp_nanos(nanos).unwrap_or(OffsetDateTime::UNIX_EPOCH);
    let mut text = format!(
        "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}",
        at.year(),
        u8::from(at.month()),
        at.day(),
        at.hour(),
        at.minute(),
        at.second()
    );
    let fraction = ticks % SECOND;
    if fraction != 0 {
        text.push_str(format!(".{fraction:07}").trim_end_matches('0'));
    }
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
            "0001-01-01T00:00:00Z",
            "9999-12-31T23:59:59.9999999Z",
        ] {
            assert_eq!(format(parse(text).unwrap()), text);
        }
        assert_eq!(parse("2026-04-14"), parse("2026-04-14T00:00:00.0000000Z"));
        assert_eq!(parse("yesterday"), None);
    }
}
