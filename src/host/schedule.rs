//! When a timer fires: six- or five-field NCRONTAB or a time span, in a time zone
//! (azure-docs `articles/azure-functions/functions-bindings-timer.md`). Reads no clock.

use super::environment::{Environment, parse_time_span};
use crate::timestamp::Timestamp;
use croner::Cron;
use croner::parser::{CronParser, Seconds, Year};
use jiff::tz::TimeZone;
use std::time::Duration;

/// 0001-01-01T00:00:00Z in seconds relative to the Unix epoch.
const YEAR_ONE_UNIX_SECONDS: i64 = -62_135_596_800;
const TICKS_PER_SECOND: u64 = 10_000_000;
const NAMES: [[&str; 12]; 2] = [
    ["JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"],
    ["SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT", "-", "-", "-", "-", "-"],
];

/// The occurrences of a timer.
#[derive(Debug, Clone)]
pub(crate) struct Schedule {
    rule: Rule,
    zone: TimeZone,
}

#[derive(Debug, Clone)]
enum Rule {
    Cron(Box<Cron>),
    Every(Duration),
}

impl Schedule {
    /// Reads a schedule whose names in percent signs have been replaced.
    ///
    /// # Errors
    /// What is wrong with it, as the end of a sentence.
    pub(crate) fn parse(text: &str, zone: TimeZone) -> Result<Self, String> {
        let fields: Vec<&str> = text.split_whitespace().collect();
        let rule = match fields.len() {
            5 | 6 => Rule::Cron(Box::new(parse_cron(&fields)?)),
            _ => match parse_time_span(text) {
                Some(span) if span > Duration::ZERO => Rule::Every(span),
                _ => {
                    return Err(format!(
                        "must be `{{second}} {{minute}} {{hour}} {{day}} {{month}} {{weekday}}` or a time span hh:mm:ss, not `{text}`"
                    ));
                }
            },
        };
        Ok(Self { rule, zone })
    }

    /// The first occurrence after `at`.
    pub(crate) fn next(&self, at: Timestamp) -> Timestamp {
        match &self.rule {
            Rule::Every(span) => at + *span,
            Rule::Cron(cron) => {
                let whole = Timestamp::from_ticks(at.ticks() - at.ticks() % TICKS_PER_SECOND);
                let next = cron.find_next_occurrence(&zoned(whole, &self.zone), false);
                // A rule without an occurrence in the next centuries, such as 30 February, never fires.
                next.map_or(Timestamp::MAX, |next| from_unix(next.timestamp().as_second()))
            }
        }
    }

    /// Whether it fires more than once a minute around `at`: such a timer has no stored status.
    pub(crate) fn is_sub_minute(&self, at: Timestamp) -> bool {
        let first = self.next(at);
        self.next(first).since(first) < Duration::from_secs(60)
    }

    /// Whether the clock's change between summer and winter moves it.
    pub(crate) fn adjusts_for_daylight_saving(&self) -> bool {
        matches!(self.rule, Rule::Cron(_))
    }

    /// `at` as .NET writes a local time: up to seven digits of a second, and the zone's offset.
    pub(crate) fn local_text(&self, at: Timestamp) -> String {
        let offset = zoned(at, &self.zone).offset().seconds();
        let shift = Duration::from_secs(u64::from(offset.unsigned_abs()));
        let local = if offset < 0 { at - shift } else { at + shift };
        let text = local.to_string();
        let text = text.trim_end_matches('Z').trim_end_matches('0').trim_end_matches('.');
        let minutes = offset.unsigned_abs() / 60;
        format!("{text}{}{:02}:{:02}", if offset < 0 { '-' } else { '+' }, minutes / 60, minutes % 60)
    }
}

/// The zone that schedules count in: `WEBSITE_TIME_ZONE`, else `TZ`, else UTC as in Azure. A name of the IANA
/// database or a POSIX rule such as `CET-1CEST,M3.5.0,M10.5.0/3`.
///
/// # Errors
/// The setting and what is wrong with it.
pub(crate) fn time_zone(environment: &Environment) -> Result<TimeZone, (&'static str, String)> {
    for name in ["WEBSITE_TIME_ZONE", "TZ"] {
        let Some(text) = environment.get(name).map(|text| text.trim_start_matches(':')).filter(|t| !t.is_empty())
        else {
            continue;
        };
        if text.eq_ignore_ascii_case("UTC") {
            return Ok(TimeZone::UTC);
        }
        let zone = TimeZone::get(text).or_else(|_| TimeZone::posix(text));
        return zone.map_err(|_| {
            (name, format!("must name a time zone of this machine's database, such as Europe/Berlin, not `{text}`"))
        });
    }
    Ok(TimeZone::UTC)
}

/// What is wrong with the settings of a timer: the schedule that `setting` holds, if it is set, and the time zone. Each is a
/// setting and the end of a sentence about it.
pub fn schedule_problems(environment: &[(String, String)], setting: &'static str) -> Vec<(&'static str, String)> {
    let environment = Environment::new(environment.to_vec());
    let (zone, mut problems) = match time_zone(&environment) {
        Ok(zone) => (zone, Vec::new()),
        Err(problem) => (TimeZone::UTC, vec![problem]),
    };
    let schedule = environment.get(setting).filter(|text| !text.trim().is_empty());
    problems.extend(schedule.and_then(|text| Some((setting, Schedule::parse(text, zone).err()?))));
    problems
}

/// Whether a schedule can be read and has no occurrence all the same, such as 30 February.
pub fn never_fires(text: &str) -> bool {
    Schedule::parse(text, TimeZone::UTC).is_ok_and(|schedule| schedule.next(from_unix(0)) == Timestamp::MAX)
}

fn zoned(at: Timestamp, zone: &TimeZone) -> jiff::Zoned {
    let seconds =
        i64::try_from(at.ticks() / TICKS_PER_SECOND).unwrap_or(i64::MAX).saturating_add(YEAR_ONE_UNIX_SECONDS);
    // Year 9999 ends a few hours early in jiff, so that every zone's local time fits; nothing fires there.
    jiff::Timestamp::from_second(seconds).unwrap_or(jiff::Timestamp::MAX).to_zoned(zone.clone())
}

fn from_unix(seconds: i64) -> Timestamp {
    let seconds = u64::try_from(seconds.saturating_sub(YEAR_ONE_UNIX_SECONDS)).unwrap_or(0);
    Timestamp::from_ticks(seconds.saturating_mul(TICKS_PER_SECOND))
}

/// NCRONTAB knows `*`, lists, ranges, steps and names; what else the cron crate would take is refused here,
/// so that a schedule means the same in Azure.
fn parse_cron(fields: &[&str]) -> Result<Cron, String> {
    let from_end = |index: usize| fields.len() - index;
    let mut normalized = Vec::with_capacity(fields.len());
    for (index, field) in fields.iter().enumerate() {
        let names = match from_end(index) {
            2 => Some((&NAMES[0], 1)),
            1 => Some((&NAMES[1], 0)),
            _ => None,
        };
        let items: Result<Vec<String>, String> = field.split(',').map(|item| normalize(item, names)).collect();
        normalized.push(items.map_err(|item| format!("has `{item}` in the field `{field}`"))?.join(","));
    }
    CronParser::builder()
        .seconds(Seconds::Optional)
        .year(Year::Disallowed)
        .dom_and_dow(true)
        .sloppy_ranges(true)
        .build()
        .parse(&normalized.join(" "))
        .map_err(|error| format!("is not an NCRONTAB expression: {error}"))
}

type Names<'a> = Option<(&'a [&'a str; 12], usize)>;

fn normalize(item: &str, names: Names<'_>) -> Result<String, String> {
    let refused = || item.to_owned();
    let (range, step) = item.split_once('/').map_or((item, None), |(range, step)| (range, Some(step)));
    let value = |text: &str| -> Option<String> {
        if !text.is_empty() && text.len() < 4 && text.bytes().all(|b| b.is_ascii_digit()) {
            let seven = matches!(names, Some((_, 0))) && text.trim_start_matches('0') == "7";
            return (!seven).then(|| text.to_owned());
        }
        let (names, first) = names?;
        let short = text.get(..3)?.to_ascii_uppercase();
        let letters = text.bytes().all(|b| b.is_ascii_alphabetic());
        let place = names.iter().position(|name| letters && *name == short)?;
        Some((place + first).to_string())
    };
    let range = match range.split_once('-') {
        None if range == "*" => "*".to_owned(),
        None => value(range).ok_or_else(refused)?,
        Some((low, high)) => {
            format!("{}-{}", value(low).ok_or_else(refused)?, value(high).ok_or_else(refused)?)
        }
    };
    match step {
        None => Ok(range),
        Some(step) if step.len() < 4 && step.parse::<u16>().is_ok_and(|step| step > 0) => Ok(format!("{range}/{step}")),
        Some(_) => Err(refused()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn utc(text: &str) -> Schedule {
        Schedule::parse(text, TimeZone::UTC).unwrap()
    }

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn next(schedule: &str, after: &str) -> String {
        utc(schedule).next(at(after)).to_seconds()
    }

    #[test]
    fn six_fields_start_with_the_second_and_five_with_the_minute() {
        assert_eq!(next("0 0 2 * * *", "2026-01-01T02:00:00Z"), "2026-01-02T02:00:00Z");
        assert_eq!(next("0 2 * * *", "2026-01-01T01:59:59.9Z"), "2026-01-01T02:00:00Z");
        assert_eq!(next("*/15 * * * * *", "2026-01-01T00:00:44.5Z"), "2026-01-01T00:00:45Z");
        assert_eq!(next("0 5/20 * * * *", "2026-01-01T00:30:00Z"), "2026-01-01T00:45:00Z");
    }

    #[test]
    fn day_and_weekday_must_both_match() {
        // The next 13th that is a Friday after January 2026.
        assert_eq!(next("0 0 0 13 * FRI", "2026-01-14T00:00:00Z"), "2026-02-13T00:00:00Z");
        assert_eq!(next("0 0 0 13 * Friday", "2026-03-14T00:00:00Z"), "2026-11-13T00:00:00Z");
    }

    #[test]
    fn a_time_span_counts_from_the_last_run() {
        assert_eq!(utc("00:05:00").next(at("2026-01-01T00:00:01.5Z")), at("2026-01-01T00:05:01.5Z"));
        assert!(!utc("00:05:00").adjusts_for_daylight_saving());
    }

    #[test]
    fn schedules_below_a_minute_are_seen() {
        assert!(utc("*/30 * * * * *").is_sub_minute(at("2026-01-01T00:00:00Z")));
        assert!(!utc("0 * * * * *").is_sub_minute(at("2026-01-01T00:00:00Z")));
    }

    #[test]
    fn the_local_clock_decides_in_a_time_zone() {
        let zone = TimeZone::posix("CET-1CEST,M3.5.0,M10.5.0/3").unwrap();
        let schedule = Schedule::parse("0 0 2 * * *", zone).unwrap();
        assert_eq!(schedule.next(at("2026-01-01T00:00:00Z")).to_seconds(), "2026-01-01T01:00:00Z");
        assert_eq!(schedule.next(at("2026-07-01T00:30:00Z")).to_seconds(), "2026-07-02T00:00:00Z");
        assert_eq!(schedule.local_text(at("2026-07-01T00:00:00.0021Z")), "2026-07-01T02:00:00.0021+02:00");
        assert_eq!(utc("00:05:00").local_text(Timestamp::MIN), "0001-01-01T00:00:00+00:00");
    }

    #[test]
    fn what_ncrontab_does_not_know_is_refused() {
        for text in [
            "0 0 0 L * *",
            "0 0 0 * * 7",
            "@daily",
            "* * * * * * *",
            "0 0 0 ? * *",
            "0 0 25 * * *",
            "/5 * * * *",
            "soon",
        ] {
            assert!(Schedule::parse(text, TimeZone::UTC).is_err(), "{text}");
        }
    }
}
