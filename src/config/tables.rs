//! The settings that may differ from table to table: `NAME__<DestinationTable>` beats `NAME`. All are optional: what none of
//! them asks for stays as it is.

use super::{Reader, cut};
use crate::adx::catalog::{Encoding, Policies, Tags};
use crate::adx::table::timespan_ticks;
use serde_json::{Map, Value};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// The settings that a table may have of its own.
pub(super) const NAMES: [&str; 7] = [
    "TABLE_FOLDER",
    "TABLE_RETENTION",
    "TABLE_CACHING",
    "TABLE_BATCHING",
    "TABLE_ENCODING",
    "EXTENT_TAGS_RETENTION",
    "CREATION_TIME",
];
/// A day.
const DAY: Duration = Duration::from_secs(86_400);
/// The members of a batching policy (dataexplorer-docs `management/batching-policy.md`).
const BATCHING: [&str; 3] = ["MaximumBatchingTimeSpan", "MaximumNumberOfItems", "MaximumRawDataSizeMB"];

/// What the settings ask of destinations.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TableSettings {
    all: Policies,
    /// By the names of tables, as names of settings can hold them.
    own: BTreeMap<String, Policies>,
}

impl TableSettings {
    /// What is asked of a destination.
    pub fn of(&self, destination: &str) -> &Policies {
        self.own.get(destination).or_else(|| self.own.get(&plain(destination))).unwrap_or(&self.all)
    }

    /// The tables that have settings of their own, as these name them, and are none of `destinations`.
    pub fn unmatched<'d>(&self, destinations: impl Iterator<Item = &'d str> + Clone) -> Vec<&str> {
        let is_there = |own: &str| destinations.clone().any(|name| name == own || plain(name) == own);
        self.own.keys().map(String::as_str).filter(|own| !is_there(own)).collect()
    }

    /// Reads the settings; `names` are all that there are.
    pub(super) fn parse(reader: &mut Reader<'_>, names: &[String]) -> Self {
        let all = policies(reader, None);
        let tables: BTreeSet<&str> = names
            .iter()
            .filter_map(|name| name.split_once("__").filter(|(setting, _)| NAMES.contains(setting)))
            .map(|(_, table)| table)
            .collect();
        let own = tables.into_iter().map(|table| (table.to_owned(), policies(reader, Some(table)))).collect();
        Self { all, own }
    }
}

/// Whether a setting is one of `table` alone, by the table's name in it.
pub fn is_of_table(setting: &str, table: &str) -> bool {
    setting.split_once("__").is_some_and(|(name, of)| NAMES.contains(&name) && of == table)
}

/// A name of a table with letters, digits and `_` alone: others are no part of a name of a setting everywhere.
fn plain(table: &str) -> String {
    table.chars().map(|c| if c.is_ascii_alphanumeric() || c == '_' { c } else { '_' }).collect()
}

fn policies(reader: &mut Reader<'_>, table: Option<&str>) -> Policies {
    let mut asked = Asked { reader, table };
    let backdated = asked.one_of("CREATION_TIME", &[("ingestion", false), ("window", true)]).unwrap_or(false);
    let tags = match asked.value("EXTENT_TAGS_RETENTION") {
        None => Tags::Unasked,
        Some((_, text)) if text.eq_ignore_ascii_case("off") => Tags::AsTheyAre,
        Some(_) => asked.span("EXTENT_TAGS_RETENTION", Tags::least(backdated)).map_or(Tags::Unasked, Tags::For),
    };
    Policies {
        folder: asked.value("TABLE_FOLDER").map(|(_, text)| text),
        retention: asked.span("TABLE_RETENTION", DAY),
        caching: asked.span("TABLE_CACHING", Duration::ZERO),
        batching: asked.batching(),
        encoding: asked
            .one_of("TABLE_ENCODING", &[("BigObject", Encoding::BigObject), ("BigObject32", Encoding::BigObject32)]),
        tags,
        backdated,
    }
}

/// The settings of one table, or of all that have none of their own.
struct Asked<'a, 'r> {
    reader: &'a mut Reader<'r>,
    table: Option<&'a str>,
}

impl Asked<'_, '_> {
    /// The setting that counts, and its text.
    fn value(&self, name: &str) -> Option<(String, String)> {
        let own = self.table.map(|table| format!("{name}__{table}"));
        let own = own.and_then(|own| self.reader.value(&own).map(|text| (own, text)));
        own.or_else(|| self.reader.value(name).map(|text| (name.to_owned(), text)))
    }

    fn problem(&mut self, setting: &str, message: String) {
        // That of all tables is told once.
        if self.table.is_none() || setting.contains("__") {
            self.reader.problem(setting, message);
        }
    }

    fn span(&mut self, name: &str, least: Duration) -> Option<Duration> {
        let (setting, text) = self.value(name)?;
        let span = span(&text).filter(|span| *span >= least);
        if span.is_none() {
            let days = least.as_secs() / DAY.as_secs();
            self.problem(&setting, format!("`{}` is not a span of {days} days or more, such as 365d", cut(&text)));
        }
        span
    }

    fn one_of<T: Copy>(&mut self, name: &str, choices: &[(&str, T)]) -> Option<T> {
        let (setting, text) = self.value(name)?;
        let found = choices.iter().find(|(word, _)| word.eq_ignore_ascii_case(&text)).map(|(_, choice)| *choice);
        if found.is_none() {
            let words: Vec<&str> = choices.iter().map(|(word, _)| *word).collect();
            self.problem(&setting, format!("`{}` is not one of {}", cut(&text), words.join(", ")));
        }
        found
    }

    fn batching(&mut self) -> Option<Map<String, Value>> {
        let (setting, text) = self.value("TABLE_BATCHING")?;
        let policy = serde_json::from_str::<Map<String, Value>>(&text).ok().filter(is_batching);
        if policy.is_none() {
            let form = r#"such as {"MaximumBatchingTimeSpan":"00:01:00","MaximumNumberOfItems":500,"MaximumRawDataSizeMB":1024}"#;
            self.problem(
                &setting,
                format!("`{}` is not a batching policy with one of its members or more, {form}", cut(&text)),
            );
        }
        policy
    }
}

fn is_batching(policy: &Map<String, Value>) -> bool {
    !policy.is_empty()
        && policy.iter().all(|(name, value)| match name.as_str() {
            "MaximumBatchingTimeSpan" => value.as_str().and_then(timespan_ticks).is_some_and(|span| span > 0),
            other => BATCHING.contains(&other) && value.as_u64().is_some_and(|number| number > 0),
        })
}

/// `365d`, `48h` or `30m`
fn span(text: &str) -> Option<Duration> {
    let unit = text.chars().last()?;
    let seconds = match unit {
        'd' => 86_400,
        'h' => 3_600,
        'm' => 60,
        _ => return None,
    };
    let number: u64 = text.strip_suffix(unit)?.parse().ok()?;
    // The service counts in ticks of 100 ns, and in years up to 9999.
    (number <= 3_000_000).then(|| Duration::from_secs(number * seconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(settings: &[(&str, &str)]) -> (TableSettings, Vec<String>) {
        let lookup = |name: &str| settings.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned());
        let mut reader = Reader { lookup: &lookup, problems: Vec::new() };
        let names: Vec<String> = settings.iter().map(|(name, _)| (*name).to_owned()).collect();
        let parsed = TableSettings::parse(&mut reader, &names);
        (parsed, reader.problems.into_iter().map(|problem| problem.name).collect())
    }

    #[test]
    fn nothing_is_asked_for_unless_a_setting_does() {
        assert_eq!(parse(&[]), (TableSettings::default(), vec![]));
        assert_eq!(*parse(&[]).0.of("T"), Policies::default());
    }

    #[test]
    fn a_setting_of_a_table_beats_that_of_all() {
        let (settings, problems) = parse(&[
            ("TABLE_RETENTION", "365d"),
            ("TABLE_CACHING", "48h"),
            ("TABLE_RETENTION__DeviceEvents", "90d"),
            ("TABLE_FOLDER__My_Table_v2", "Hot"),
            ("EXTENT_TAGS_RETENTION__DeviceEvents", "off"),
        ]);
        assert_eq!(problems, Vec::<String>::new());
        let (own, other) = (settings.of("DeviceEvents"), settings.of("EmailEvents"));
        assert_eq!((own.retention, own.caching, own.tags), (Some(DAY * 90), Some(DAY * 2), Tags::AsTheyAre));
        assert_eq!((other.retention, other.tags), (Some(DAY * 365), Tags::Unasked));
        assert_eq!(settings.of("My Table.v2").folder.as_deref(), Some("Hot"));
    }

    #[test]
    fn a_table_that_no_destination_is_is_told() {
        let (settings, _) = parse(&[
            ("TABLE_RETENTION__deviceevents", "90d"),
            ("TABLE_FOLDER__My_Table_v2", "Hot"),
            ("TABLE_CACHING__DeviceEvents", "1d"),
        ]);
        assert_eq!(settings.unmatched(["DeviceEvents", "My Table.v2"].into_iter()), ["deviceevents"]);
    }

    #[test]
    fn every_form_is_read_and_every_wrong_one_is_named_once() {
        let (settings, problems) = parse(&[
            ("TABLE_BATCHING", r#"{"MaximumNumberOfItems":5,"MaximumBatchingTimeSpan":"00:00:30"}"#),
            ("TABLE_ENCODING", "bigobject32"),
            ("EXTENT_TAGS_RETENTION", "60d"),
            ("CREATION_TIME", "window"),
        ]);
        let all = settings.of("T");
        assert_eq!(problems, Vec::<String>::new());
        assert_eq!((all.encoding, all.tags, all.backdated), (Some(Encoding::BigObject32), Tags::For(DAY * 60), true));
        assert_eq!(all.batching.as_ref().unwrap().len(), 2);
        for (name, text) in [
            ("TABLE_RETENTION", "0d"),
            ("TABLE_RETENTION", "1 year"),
            ("TABLE_RETENTION", "99999999999999999999d"),
            ("TABLE_CACHING", "-1d"),
            ("TABLE_BATCHING", "{}"),
            ("TABLE_BATCHING", r#"{"MaximumNumberOfItems":"5"}"#),
            ("TABLE_BATCHING", r#"{"Other":5}"#),
            ("TABLE_ENCODING", "zip"),
            ("EXTENT_TAGS_RETENTION", "7d"),
            ("CREATION_TIME", "always"),
        ] {
            assert_eq!(parse(&[(name, text), ("TABLE_FOLDER__T", "x")]).1, [name], "{text}");
        }
        assert_eq!(parse(&[("TABLE_RETENTION__T", "x")]).1, ["TABLE_RETENTION__T"]);
    }
}
