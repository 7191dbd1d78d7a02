//! Functions of datetimes and timespans.

use super::Naming;
use super::Signature;
use super::Takes::{Any, Datetime, Number, Text, Timespan, Whole};
use super::argument;
use crate::kql::time::{DAY, HOUR, MINUTE, SECOND, UNIX_EPOCH, checked, date_of, days_from_date, days_in_month};
use crate::kql::{Type, Value};

macro_rules! boundary {
    ($name:literal, $code:expr) => {
        Signature::new($name, &[Datetime, Whole], Type::Datetime, |values| shift_boundary(values, $code)).least(1)
    };
}

macro_rules! part {
    ($name:literal, $ty:ident, $code:expr) => {
        Signature::new($name, &[Datetime], Type::$ty, |values| {
            let code: fn(i64) -> Value = $code;
            moment(&values[0]).map_or(Value::Null, code)
        })
    };
}

macro_rules! unix {
    ($name:literal, $ticks:expr) => {
        Signature::new($name, &[Number], Type::Datetime, |values| from_unix(&values[0], $ticks))
    };
}

pub(super) const TABLE: &[Signature] = &[
    boundary!("startofday", |ticks, by| later(ticks - ticks % DAY, by, DAY)).named(Naming::First),
    boundary!("endofday", |ticks, by| later(ticks - ticks % DAY + DAY - 1, by, DAY)),
    boundary!("startofhour", |ticks, by| later(ticks - ticks % HOUR, by, HOUR)),
    boundary!("startofweek", |ticks, by| later(week(ticks), by, 7 * DAY)),
    boundary!("endofweek", |ticks, by| later(week(ticks) + 7 * DAY - 1, by, 7 * DAY)),
    boundary!("startofmonth", |ticks, by| months(ticks - ticks % DAY, by).map(first_of_month)),
    boundary!("endofmonth", |ticks, by| {
        months(first_of_month(ticks - ticks % DAY), by.checked_add(1)?).map(|next| next - 1)
    }),
    boundary!("startofyear", |ticks, by| Some(days_from_date(date_of(ticks).0.checked_add(by)?, 1, 1)? * DAY)),
    boundary!("endofyear", |ticks, by| {
        Some((days_from_date(date_of(ticks).0.checked_add(by)?, 12, 31)? + 1) * DAY - 1)
    }),
    part!("dayofmonth", Int, |ticks| Value::Int(date_of(ticks).2 as i32)),
    part!("monthofyear", Int, |ticks| Value::Int(date_of(ticks).1 as i32)),
    part!("getmonth", Int, |ticks| Value::Int(date_of(ticks).1 as i32)),
    part!("getyear", Int, |ticks| Value::Int(date_of(ticks).0 as i32)),
    part!("hourofday", Int, |ticks| Value::Int((ticks % DAY / HOUR) as i32)),
    part!("dayofweek", Timespan, |ticks| Value::Timespan(ticks - ticks % DAY - week(ticks))),
    Signature::new("datetime_part", &[Text, Datetime], Type::Int, |values| {
        let Some(ticks) = moment(&values[1]) else { return Value::Null };
        let (year, month, day) = date_of(ticks);
        Value::Int(match values[0].to_text().to_ascii_lowercase().as_str() {
            "year" => year as i32,
            "quarter" => ((month - 1) / 3 + 1) as i32,
            "month" => month as i32,
            "day" => day as i32,
            "hour" => (ticks % DAY / HOUR) as i32,
            "minute" => (ticks % HOUR / MINUTE) as i32,
            "second" => (ticks % MINUTE / SECOND) as i32,
            "millisecond" => (ticks % SECOND / 10_000) as i32,
            "microsecond" => (ticks % SECOND / 10) as i32,
            "nanosecond" => (ticks % SECOND * 100) as i32,
            _ => return Value::Null,
        })
    }),
    Signature::new("datetime_add", &[Text, Whole, Datetime], Type::Datetime, datetime_add),
    Signature::new("datetime_diff", &[Text, Datetime, Datetime], Type::Long, datetime_diff),
    Signature::new("format_datetime", &[Datetime, Text], Type::String, |values| {
        moment(&values[0]).map_or(Value::text(""), |ticks| Value::text(format(ticks, &values[1].to_text(), false)))
    }),
    Signature::new("format_timespan", &[Timespan, Text], Type::String, |values| {
        let ticks = values[0].as_i64().map(i64::saturating_abs);
        ticks.map_or(Value::text(""), |ticks| Value::text(format(ticks, &values[1].to_text(), true)))
    })
    .named(Naming::First),
    Signature::new("make_datetime", &[Any, Whole, Whole, Whole, Whole, Number], Type::Datetime, make_datetime).least(1),
    Signature::new("make_timespan", &[Whole, Whole, Number, Number], Type::Timespan, make_timespan).least(2),
    unix!("unixtime_seconds_todatetime", SECOND as f64),
    unix!("unixtime_milliseconds_todatetime", 10_000.0),
    unix!("unixtime_microseconds_todatetime", 10.0),
    unix!("unixtime_nanoseconds_todatetime", 0.01),
];

/// The ticks of a datetime, also of one inside a dynamic value.
fn moment(value: &Value) -> Option<i64> {
    match value {
        Value::Datetime(ticks) => Some(*ticks),
        other => other.convert(Type::Datetime).as_i64(),
    }
}

fn shift_boundary(values: &[Value], code: fn(i64, i64) -> Option<i64>) -> Value {
    let by = values.get(1).map_or(Some(0), Value::as_i64);
    let ticks = moment(&values[0]).zip(by).and_then(|(ticks, by)| code(ticks, by)).and_then(checked);
    ticks.map_or(Value::Null, Value::Datetime)
}

fn later(ticks: i64, by: i64, unit: i64) -> Option<i64> {
    ticks.checked_add(by.checked_mul(unit)?)
}

/// The Sunday that the week of `ticks` began on; 0001-01-01 was a Monday.
fn week(ticks: i64) -> i64 {
    let days = ticks / DAY;
    (days - (days + 1) % 7) * DAY
}

fn first_of_month(ticks: i64) -> i64 {
    let (year, month, _) = date_of(ticks);
    days_from_date(year, month, 1).unwrap_or(0) * DAY
}

/// `by` months later; a day that the month does not have becomes its last.
fn months(ticks: i64, by: i64) -> Option<i64> {
    let (year, month, day) = date_of(ticks);
    let total = (year * 12 + month - 1).checked_add(by)?;
    let (year, month) = (total.div_euclid(12), total.rem_euclid(12) + 1);
    let day = day.min(days_in_month(year, month));
    Some(days_from_date(year, month, day)? * DAY + ticks % DAY)
}

fn unit(name: &str) -> Option<i64> {
    Some(match name {
        "week" => 7 * DAY,
        "day" => DAY,
        "hour" => HOUR,
        "minute" => MINUTE,
        "second" => SECOND,
        "millisecond" => 10_000,
        "microsecond" => 10,
        _ => return None,
    })
}

fn datetime_add(values: &[Value]) -> Value {
    let period = values[0].to_text().to_ascii_lowercase();
    let sum = values[1].as_i64().zip(moment(&values[2])).and_then(|(amount, ticks)| match period.as_str() {
        "year" => months(ticks, amount.checked_mul(12)?),
        "quarter" => months(ticks, amount.checked_mul(3)?),
        "month" => months(ticks, amount),
        "nanosecond" => ticks.checked_add(amount / 100),
        other => ticks.checked_add(amount.checked_mul(unit(other)?)?),
    });
    sum.and_then(checked).map_or(Value::Null, Value::Datetime)
}

/// How many boundaries of the period lie between the two.
fn datetime_diff(values: &[Value]) -> Value {
    let period = values[0].to_text().to_ascii_lowercase();
    let (Some(a), Some(b)) = (moment(&values[1]), moment(&values[2])) else { return Value::Null };
    let ((year_a, month_a, _), (year_b, month_b, _)) = (date_of(a), date_of(b));
    let difference = match period.as_str() {
        "year" => Some(year_a - year_b),
        "quarter" => Some(year_a * 4 + (month_a - 1) / 3 - year_b * 4 - (month_b - 1) / 3),
        "month" => Some(year_a * 12 + month_a - year_b * 12 - month_b),
        "week" => Some((week(a) - week(b)) / (7 * DAY)),
        "nanosecond" => (a - b).checked_mul(100),
        other => unit(other).map(|unit| a / unit - b / unit),
    };
    difference.map_or(Value::Null, Value::Long)
}

/// Writes the format's letters as in dataexplorer-docs `query/format-datetime-function.md`; all else stands
/// for itself. A timespan has days where a datetime has its date.
fn format(ticks: i64, pattern: &str, timespan: bool) -> String {
    let (year, month, day) = if timespan { (0, 0, ticks / DAY) } else { date_of(ticks) };
    let hour = ticks % DAY / HOUR;
    let mut out = String::new();
    let mut rest = pattern;
    while let Some(letter) = rest.chars().next() {
        let run = rest.len() - rest.trim_start_matches(letter).len();
        let width = run / letter.len_utf8();
        let number = match letter {
            'd' => Some(day),
            'M' => Some(month),
            'y' if width <= 2 => Some(year % 100),
            'y' => Some(year),
            'H' => Some(hour),
            'h' if timespan => Some(hour),
            'h' => Some((hour + 11) % 12 + 1),
            'm' => Some(ticks % HOUR / MINUTE),
            's' => Some(ticks % MINUTE / SECOND),
            _ => None,
        };
        match (number, letter) {
            (Some(number), _) => out.push_str(&format!("{number:0width$}")),
            (None, 'f' | 'F') => {
                let digits = format!("{:07}", ticks % SECOND);
                let digits = &digits[..width.min(7)];
                out.push_str(if letter == 'F' { digits.trim_end_matches('0') } else { digits });
            }
            (None, 't') => out.push_str(if hour < 12 { "AM" } else { "PM" }),
            _ => out.push_str(&rest[..run]),
        }
        rest = &rest[run..];
    }
    out
}

fn make_datetime(values: &[Value]) -> Value {
    if values.len() == 1 {
        return values[0].convert(Type::Datetime);
    }
    let number = |index: usize, otherwise: i64| values.get(index).map_or(Some(otherwise), Value::as_i64);
    let made = || {
        let days = days_from_date(values[0].as_i64()?, number(1, 1)?, number(2, 1)?)?;
        let (hour, minute) = (number(3, 0)?, number(4, 0)?);
        let second = values.get(5).map_or(Some(0.0), Value::as_f64)?;
        let fits = (0..24).contains(&hour) && (0..60).contains(&minute) && (0.0..60.0).contains(&second);
        fits.then(|| days * DAY + hour * HOUR + minute * MINUTE + (second * SECOND as f64).round() as i64)
    };
    made().map_or(Value::Null, Value::Datetime)
}

/// `(hour, minute[, second])` or `(day, hour, minute, second)`.
fn make_timespan(values: &[Value]) -> Value {
    let (days, rest) = if values.len() == 4 { (values[0].as_i64(), &values[1..]) } else { (Some(0), values) };
    let made = || {
        let seconds = if rest.len() > 2 { argument(rest, 2).as_f64()? } else { 0.0 };
        let minutes = later((seconds * SECOND as f64) as i64, rest[1].as_i64()?, MINUTE)?;
        later(later(minutes, rest[0].as_i64()?, HOUR)?, days?, DAY)
    };
    made().map_or(Value::Null, Value::Timespan)
}

fn from_unix(value: &Value, ticks: f64) -> Value {
    let amount = match value {
        Value::Int(_) | Value::Long(_) if ticks >= 1.0 => value.as_i64().and_then(|n| n.checked_mul(ticks as i64)),
        Value::Int(_) | Value::Long(_) => value.as_i64().map(|n| n.div_euclid(100)),
        other => other.as_f64().map(|n| (n * ticks).round() as i64),
    };
    amount.and_then(|n| n.checked_add(UNIX_EPOCH)).and_then(checked).map_or(Value::Null, Value::Datetime)
}
