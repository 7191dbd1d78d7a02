//! Settings as functions see them: names without regard to case, `%NAME%` in texts, durations. Reads no
//! process environment: the settings are handed in.

use std::time::Duration;

/// The resolved settings.
#[derive(Debug, Clone, Default)]
pub(crate) struct Environment {
    values: Vec<(String, String)>,
}

impl Environment {
    pub(crate) fn new(values: Vec<(String, String)>) -> Self {
        Self { values }
    }

    /// The value of `name`: of the exact name, else of one that differs in case only.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        let exact = self.values.iter().find(|(key, _)| key == name);
        let found = exact.or_else(|| self.values.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)));
        found.map(|(_, value)| value.as_str())
    }

    /// All of them.
    pub(crate) fn values(&self) -> &[(String, String)] {
        &self.values
    }

    /// `text` with every `%NAME%` replaced by its setting.
    ///
    /// # Errors
    /// The first name that has no value.
    pub(crate) fn resolve(&self, text: &str) -> Result<String, String> {
        expand(text, |name| self.get(name).map(str::to_owned).ok_or_else(|| name.to_owned()))
    }

    /// As [`Environment::resolve`], with nothing in the place of what is not set.
    pub(crate) fn expand(&self, text: &str) -> String {
        let lenient = |name: &str| Ok::<_, std::convert::Infallible>(self.get(name).unwrap_or_default().to_owned());
        match expand(text, lenient) {
            Ok(expanded) => expanded,
            Err(never) => match never {},
        }
    }
}

fn expand<E>(text: &str, mut value: impl FnMut(&str) -> Result<String, E>) -> Result<String, E> {
    let mut expanded = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('%') {
        expanded.push_str(before);
        match after.split_once('%') {
            Some((name, tail)) if !name.is_empty() => {
                expanded.push_str(&value(name)?);
                rest = tail;
            }
            _ => {
                expanded.push('%');
                rest = after;
            }
        }
    }
    expanded.push_str(rest);
    Ok(expanded)
}

/// Reads the texts that configuration takes for true and false.
pub(crate) fn parse_bool(text: &str) -> Option<bool> {
    match text.trim().to_ascii_lowercase().as_str() {
        "true" | "1" => Some(true),
        "false" | "0" => Some(false),
        _ => None,
    }
}

/// Reads a .NET time span, `[d.]hh:mm[:ss[.fffffff]]` or whole days, not negative.
pub(crate) fn parse_time_span(text: &str) -> Option<Duration> {
    let text = text.trim();
    let number = |part: &str, below: u64| {
        let digits = !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
        digits.then(|| part.parse::<u64>().ok()).flatten().filter(|&n| n < below)
    };
    const DAYS: u64 = 10_675_200;
    let Some((first, rest)) = text.split_once(':') else {
        return number(text, DAYS).map(|days| Duration::from_secs(days * 86_400));
    };
    let (days, hours) = match first.split_once('.') {
        Some((days, hours)) => (number(days, DAYS)?, hours),
        None => (0, first),
    };
    let (minutes, seconds) = rest.split_once(':').unwrap_or((rest, "0"));
    let (seconds, fraction) = seconds.split_once('.').unwrap_or((seconds, "0"));
    if fraction.len() > 7 {
        return None;
    }
    let nanos = number(fraction, 10_000_000)? * 10_u64.pow(9 - u32::try_from(fraction.len()).ok()?);
    let whole = ((days * 24 + number(hours, 24)?) * 60 + number(minutes, 60)?) * 60 + number(seconds, 60)?;
    Some(Duration::from_secs(whole) + Duration::from_nanos(nanos))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percent_names_are_replaced_and_lone_percent_signs_kept() {
        let environment = Environment::new(vec![("Queue".into(), "q1".into())]);
        assert_eq!(environment.resolve("a-%QUEUE%-b 100%"), Ok("a-q1-b 100%".to_owned()));
        assert_eq!(environment.resolve("%NONE%"), Err("NONE".to_owned()));
        assert_eq!(environment.expand("x%NONE%y"), "xy");
    }

    #[test]
    fn the_exact_name_wins_over_another_case() {
        let environment = Environment::new(vec![("a".into(), "1".into()), ("A".into(), "2".into())]);
        assert_eq!(environment.get("A"), Some("2"));
        assert_eq!(environment.get("a"), Some("1"));
    }

    #[test]
    fn time_spans_are_read_as_dotnet_writes_them() {
        assert_eq!(parse_time_span("00:05:00"), Some(Duration::from_secs(300)));
        assert_eq!(parse_time_span("1.02:03:04.5"), Some(Duration::from_millis(93_784_500)));
        assert_eq!(parse_time_span("00:00:00.0250000"), Some(Duration::from_millis(25)));
        assert_eq!(parse_time_span("7"), Some(Duration::from_secs(7 * 86_400)));
        for bad in ["", "-1", "24:00:00", "00:60:00", "5 minutes", "00:00:00.", "0 0 * * * *"] {
            assert_eq!(parse_time_span(bad), None, "{bad}");
        }
    }
}
