//! Datetimes and timespans as ticks of 100 ns, and their texts
//! (dataexplorer-docs `query/scalar-data-types/datetime.md`, `timespan.md`).

use super::lexer;
use std::fmt::Write;

/// Ticks of a day.
pub const DAY: i64 = 864_000_000_000;
/// Ticks of an hour.
pub const HOUR: i64 = 36_000_000_000;
/// Ticks of a minute.
pub const MINUTE: i64 = 600_000_000;
/// Ticks of a second.
pub const SECOND: i64 = 10_000_000;
/// The last datetime, 9999-12-31T23:59:59.9999999Z.
pub const MAX: i64 = 3_155_378_975_999_999_999;
/// 1970-01-01 in ticks.
pub const UNIX_EPOCH: i64 = 621_355_968_000_000_000;

/// Ticks held to what a datetime can be.
pub fn checked(ticks: i64) -> Option<i64> {
    (0..=MAX).contains(&ticks).then_some(ticks)
}

/// Days since 0001-01-01 of a date of the proleptic Gregorian calendar; the date must exist.
pub fn days_from_date(year: i64, month: i64, day: i64) -> Option<i64> {
    if !(1..=9999).contains(&year) || !(1..=12).contains(&month) || day < 1 || day > days_in_month(year, month) {
        return None;
    }
    // Years counted from March, so that the leap day is the last of its year.
    let shifted = if month <= 2 { year - 1 } else { year };
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    Some(shifted * 365 + shifted / 4 - shifted / 100 + shifted / 400 + day_of_year - 306)
}

/// How many days a month has.
pub fn days_in_month(year: i64, month: i64) -> i64 {
    match month {
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Year, month and day of a datetime.
pub fn date_of(ticks: i64) -> (i64, i64, i64) {
    let days = ticks.div_euclid(DAY) + 306;
    let era = days.div_euclid(146_097);
    let in_era = days.rem_euclid(146_097);
    let year_of_era = (in_era - in_era / 1460 + in_era / 36_524 - in_era / 146_096) / 365;
    let day_of_year = in_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let month = (shifted + 2) % 12 + 1;
    let year = era * 400 + year_of_era + i64::from(month <= 2);
    (year, month, day_of_year - (153 * shifted + 2) / 5 + 1)
}

/// Writes `2026-01-31T08:00:00.0000000Z`.
pub fn write_datetime(ticks: i64, out: &mut String) {
    let (year, month, day) = date_of(ticks);
    let mut of_day = ticks.rem_euclid(DAY);
    let mut text = *b"0000-00-00T00:00:00.0000000Z";
    put(&mut text[0..4], year);
    put(&mut text[5..7], month);
    put(&mut text[8..10], day);
    put(&mut text[11..13], of_day / HOUR);
    of_day %= HOUR;
    put(&mut text[14..16], of_day / MINUTE);
    of_day %= MINUTE;
    put(&mut text[17..19], of_day / SECOND);
    put(&mut text[20..27], of_day % SECOND);
    out.extend(text.iter().map(|&b| char::from(b)));
}

fn put(field: &mut [u8], mut number: i64) {
    for digit in field.iter_mut().rev() {
        *digit = b'0' + (number % 10) as u8;
        number /= 10;
    }
}

/// Writes `[-][d.]hh:mm:ss[.fffffff]`.
pub fn write_timespan(ticks: i64, out: &mut String) {
    if ticks < 0 {
        out.push('-');
    }
    let ticks = ticks.unsigned_abs();
    let (day, hour, minute, second) = (DAY as u64, HOUR as u64, MINUTE as u64, SECOND as u64);
    // Writing to a String does not fail.
    if ticks >= day {
        let _ = write!(out, "{}.", ticks / day);
    }
    let _ = write!(out, "{:02}:{:02}:{:02}", ticks % day / hour, ticks % hour / minute, ticks % minute / second);
    if !ticks.is_multiple_of(second) {
        let _ = write!(out, ".{:07}", ticks % second);
    }
}

/// Reads a datetime; a missing offset means UTC.
pub fn parse_datetime(text: &str) -> Option<i64> {
    let mut cursor = Cursor { rest: text.trim() };
    let year = cursor.digits(4, 4)?;
    let mut ticks = DAY * days_from_date(year, 1, 1)?;
    if let Some(separator) = cursor.one_of(&['-', '/', '.']) {
        let month = cursor.digits(1, 2)?;
        let day = if cursor.one_of(&[separator]).is_some() { cursor.digits(1, 2)? } else { 1 };
        ticks = DAY * days_from_date(year, month, day)?;
    }
    if cursor.one_of(&['T', 't', ' ']).is_some() {
        ticks += cursor.time_of_day()?;
    }
    ticks -= cursor.offset()?;
    if cursor.rest.is_empty() { checked(ticks) } else { None }
}

/// Reads a timespan: `[-][d.]hh:mm[:ss[.f]]`, a number of days, or a number with a unit.
pub fn parse_timespan(text: &str) -> Option<i64> {
    let text = text.trim();
    let (negative, text) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let ticks = parse_positive_timespan(text)?;
    Some(if negative { -ticks } else { ticks })
}

fn parse_positive_timespan(text: &str) -> Option<i64> {
    if !text.contains(':') {
        let split = text.find(|c: char| !(c.is_ascii_digit() || c == '.')).unwrap_or(text.len());
        let (number, unit) = (&text[..split], text[split..].trim());
        let ticks = if unit.is_empty() { DAY } else { lexer::unit(unit)? };
        return lexer::scale(number, ticks);
    }
    let mut cursor = Cursor { rest: text };
    let first = cursor.digits(1, 9)?;
    let days = if cursor.one_of(&['.']).is_some() { first } else { 0 };
    let hours = if days == 0 && cursor.rest.starts_with(':') { first } else { cursor.digits(1, 2)? };
    cursor.one_of(&[':'])?;
    let minutes = cursor.digits(1, 2)?;
    let mut ticks = 0;
    if cursor.one_of(&[':']).is_some() {
        ticks = cursor.seconds()?;
    }
    if hours > 23 || minutes > 59 || !cursor.rest.is_empty() {
        return None;
    }
    days.checked_mul(DAY)?.checked_add(hours * HOUR + minutes * MINUTE + ticks)
}

struct Cursor<'a> {
    rest: &'a str,
}

impl Cursor<'_> {
    fn digits(&mut self, least: usize, most: usize) -> Option<i64> {
        let count = self.rest.bytes().take(most).take_while(u8::is_ascii_digit).count();
        if count < least {
            return None;
        }
        let (number, rest) = self.rest.split_at(count);
        self.rest = rest;
        number.parse().ok()
    }

    fn one_of(&mut self, wanted: &[char]) -> Option<char> {
        let first = self.rest.chars().next().filter(|c| wanted.contains(c))?;
        self.rest = &self.rest[first.len_utf8()..];
        Some(first)
    }

    /// Seconds with up to nine fraction digits, those below a tick cut off.
    fn seconds(&mut self) -> Option<i64> {
        let seconds = self.digits(1, 2).filter(|&s| s < 60)?;
        let mut ticks = seconds * SECOND;
        if self.one_of(&['.']).is_some() {
            let digits = self.rest.bytes().take_while(u8::is_ascii_digit).count();
            let mut unit = SECOND;
            for digit in self.rest.bytes().take(digits) {
                unit /= 10;
                ticks += i64::from(digit - b'0') * unit;
            }
            self.rest = &self.rest[digits..];
        }
        Some(ticks)
    }

    fn time_of_day(&mut self) -> Option<i64> {
        let hours = self.digits(1, 2).filter(|&h| h < 24)?;
        self.one_of(&[':'])?;
        let minutes = self.digits(1, 2).filter(|&m| m < 60)?;
        let seconds = if self.one_of(&[':']).is_some() { self.seconds()? } else { 0 };
        Some(hours * HOUR + minutes * MINUTE + seconds)
    }

    fn offset(&mut self) -> Option<i64> {
        self.rest = self.rest.trim_start();
        for name in ["GMT", "UTC", "Z", "z"] {
            if let Some(rest) = self.rest.strip_prefix(name) {
                self.rest = rest;
                return Some(0);
            }
        }
        let Some(sign) = self.one_of(&['+', '-']) else { return Some(0) };
        let hours = self.digits(2, 2)?;
        let _ = self.one_of(&[':']);
        let minutes = self.digits(0, 2).unwrap_or(0);
        let ticks = hours * HOUR + minutes * MINUTE;
        Some(if sign == '-' { -ticks } else { ticks })
    }
}
