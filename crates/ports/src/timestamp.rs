//! Instants as Kusto keeps them, and the clock port. Knows no service and reads no clock outside
//! [`SystemClock`].

use serde::{Deserialize, Serialize};
use std::fmt;
use std::ops::{Add, Sub};
use std::str::FromStr;
use std::time::Duration;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

const TICKS_PER_SECOND: i128 = 10_000_000;
/// 0001-01-01T00:00:00Z in seconds relative to the Unix epoch.
const YEAR_ONE_UNIX_SECONDS: i128 = -62_135_596_800;

/// An instant in 100-ns ticks since 0001-01-01T00:00:00Z, the resolution and origin of Kusto's
/// `datetime` (dataexplorer-docs `query/scalar-data-types/datetime.md`). Serialized as text.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(u64);

/// A text that is not an RFC 3339 date-time within the years 1 to 9999.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("`{0}` is not a date-time such as 2026-01-31T08:00:00Z")]
pub struct ParseError(String);

impl Timestamp {
    /// The first instant, 0001-01-01T00:00:00Z.
    pub const MIN: Self = Self(0);
    /// The last instant, 9999-12-31T23:59:59.9999999Z.
    pub const MAX: Self = Self(3_155_378_975_999_999_999);

    /// The instant `ticks` ticks after [`Timestamp::MIN`], held to [`Timestamp::MAX`].
    pub const fn from_ticks(ticks: u64) -> Self {
        if ticks > Self::MAX.0 { Self::MAX } else { Self(ticks) }
    }

    /// Ticks since [`Timestamp::MIN`].
    pub const fn ticks(self) -> u64 {
        self.0
    }

    /// The instant one tick earlier, or [`Timestamp::MIN`].
    pub const fn before(self) -> Self {
        Self(self.0.saturating_sub(1))
    }

    /// How long after `earlier` this is; zero if it is not.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0).saturating_mul(100))
    }

    /// Cut to whole seconds, the precision of the Durable Functions status body.
    pub fn to_seconds(self) -> String {
        let mut text = Self(self.0 - self.0 % TICKS_PER_SECOND as u64).to_string();
        text.truncate(19);
        text.push('Z');
        text
    }

    fn offset_date_time(self) -> OffsetDateTime {
        let nanos = i128::from(self.0) * 100 + YEAR_ONE_UNIX_SECONDS * 1_000_000_000;
        OffsetDateTime::from_unix_timestamp_nanos(nanos).unwrap_or(OffsetDateTime::UNIX_EPOCH)
    }
}

impl From<OffsetDateTime> for Timestamp {
    fn from(at: OffsetDateTime) -> Self {
        let ticks = at.unix_timestamp_nanos().div_euclid(100) - YEAR_ONE_UNIX_SECONDS * TICKS_PER_SECOND;
        Self::from_ticks(u64::try_from(ticks).unwrap_or(0))
    }
}

impl FromStr for Timestamp {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        OffsetDateTime::parse(text, &Rfc3339).map(Self::from).map_err(|_| ParseError(text.chars().take(64).collect()))
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let at = self.offset_date_time();
        write!(
            f,
            "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.{:07}Z",
            at.year(),
            u8::from(at.month()),
            at.day(),
            at.hour(),
            at.minute(),
            at.second(),
            at.nanosecond() / 100
        )
    }
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A duration in ticks of 100 ns; one that is too long is as long as can be.
pub fn ticks_of(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos() / 100).unwrap_or(u64::MAX)
}

impl Add<Duration> for Timestamp {
    type Output = Self;

    fn add(self, by: Duration) -> Self {
        Self::from_ticks(self.0.saturating_add(ticks_of(by)))
    }
}

impl Sub<Duration> for Timestamp {
    type Output = Self;

    fn sub(self, by: Duration) -> Self {
        Self(self.0.saturating_sub(ticks_of(by)))
    }
}

impl Serialize for Timestamp {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// Where time comes in. Everything but this port is told what time it is.
pub trait Clock: Send + Sync {
    /// The present instant.
    fn now(&self) -> Timestamp;
}

/// The clock of this machine.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[allow(clippy::disallowed_methods, reason = "the one place that reads the machine's clock")]
    fn now(&self) -> Timestamp {
        OffsetDateTime::now_utc().into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_and_ticks_agree_at_both_ends() {
        assert_eq!(Timestamp::MIN.to_string(), "0001-01-01T00:00:00.0000000Z");
        assert_eq!(Timestamp::MAX.to_string(), "9999-12-31T23:59:59.9999999Z");
        for text in ["0001-01-01T00:00:00.0000000Z", "2026-04-14T07:00:00.1234567Z", "9999-12-31T23:59:59.9999999Z"] {
            assert_eq!(text.parse::<Timestamp>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn fewer_fraction_digits_and_offsets_are_read() {
        let whole: Timestamp = "2026-04-14T07:00:00Z".parse().unwrap();
        assert_eq!("2026-04-14T09:00:00.0+02:00".parse(), Ok(whole));
        assert_eq!(whole.to_seconds(), "2026-04-14T07:00:00Z");
        assert_eq!((whole + Duration::from_nanos(100)).since(whole), Duration::from_nanos(100));
    }

    #[test]
    fn digits_beyond_a_tick_are_cut_and_never_rounded() {
        for (written, read) in [
            ("2026-04-14T07:00:00.12345678Z", "2026-04-14T07:00:00.1234567Z"),
            ("2026-04-14T07:00:00.123456799Z", "2026-04-14T07:00:00.1234567Z"),
            ("2026-04-14T07:00:00.999999999Z", "2026-04-14T07:00:00.9999999Z"),
        ] {
            assert_eq!(written.parse::<Timestamp>().unwrap().to_string(), read);
        }
    }

    #[test]
    fn other_text_is_refused() {
        for text in ["", "yesterday", "2026-04-14", "2026-13-01T00:00:00Z"] {
            assert!(text.parse::<Timestamp>().is_err(), "{text}");
        }
    }
}
