//! The tables that a start names, held against those that the configuration has: which of them nobody can copy, and what may have
//! been meant.

use crate::spelling::did_you_mean;
use std::collections::HashSet;
use std::fmt;

/// The most names of one kind in a message.
const NAMED: usize = 20;
/// The longest part of a name in a message.
const NAME_CHARS: usize = 100;

/// Where tables are named, for messages.
#[derive(Debug, Clone, Copy)]
pub struct Places<'a> {
    /// What is read.
    pub view: &'a str,
    /// What a person edits.
    pub table: &'a str,
}

/// Tables that were asked for and that no active row of the configuration is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unknown {
    names: Vec<String>,
    active: Vec<String>,
    view: String,
    table: String,
    is_all: bool,
}

impl Unknown {
    /// Those of `wanted` that are not among the active ones; `None` when all are.
    pub fn find(wanted: &[String], active: &[&str], places: Places<'_>) -> Option<Self> {
        let mut seen = HashSet::new();
        let named: Vec<&String> = wanted.iter().filter(|name| seen.insert(name.as_str())).collect();
        let names: Vec<&String> = named.iter().copied().filter(|name| !active.contains(&name.as_str())).collect();
        let active: Vec<String> = active.iter().map(|name| (*name).to_owned()).collect();
        let is_all = names.len() == named.len();
        (!names.is_empty()).then(|| Self { is_all, ..Self::of(&names, &active, places) })
    }

    /// Of tables that are known not to be among the active ones.
    pub fn of(names: &[&String], active: &[String], places: Places<'_>) -> Self {
        let names = names.iter().map(|name| name.chars().take(NAME_CHARS).collect()).collect();
        let mut active = active.to_vec();
        active.sort_unstable();
        active.dedup();
        Self { names, active, view: places.view.to_owned(), table: places.table.to_owned(), is_all: true }
    }

    /// Whether none of the tables that were asked for is configured.
    pub fn is_all(&self) -> bool {
        self.is_all
    }
}

impl fmt::Display for Unknown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { names, active, view, table, .. } = self;
        let known = || active.iter().map(String::as_str);
        for (index, name) in names.iter().take(NAMED).enumerate() {
            let separator = if index > 0 { ". " } else { "" };
            let meant = did_you_mean(name, known());
            write!(f, "{separator}{name} is not an active table of {view}{meant}")?;
        }
        if let Some(more) = names.len().checked_sub(NAMED).filter(|more| *more > 0) {
            write!(f, ". Nor are {more} others")?;
        }
        let listed: Vec<&str> = known().take(NAMED).collect();
        let more = active.len() - listed.len();
        match (listed.as_slice(), more) {
            ([], _) => f.write_str(" (no table is active)")?,
            (listed, 0) => write!(f, " (names are case-sensitive; active are {})", listed.join(", "))?,
            (listed, more) => {
                write!(f, " (names are case-sensitive; active are {} and {more} others)", listed.join(", "))?;
            }
        }
        write!(f, ". To have another one copied, add a row to {table}: `adxingestor setup --tables NAME` prints it")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLACES: Places<'static> = Places { view: "the_view", table: "the_table" };

    fn find(wanted: &[&str], active: &[&str]) -> Option<Unknown> {
        let wanted: Vec<String> = wanted.iter().map(|name| (*name).to_owned()).collect();
        Unknown::find(&wanted, active, PLACES)
    }

    #[test]
    fn a_table_that_is_not_configured_is_told_with_the_name_that_was_meant_and_those_that_there_are() {
        let unknown = find(&["DeviceEvnts", "AlertInfo"], &["DeviceEvents", "AlertInfo"]).unwrap();
        assert!(!unknown.is_all());
        assert_eq!(
            unknown.to_string(),
            "DeviceEvnts is not an active table of the_view; did you mean DeviceEvents? (names are case-sensitive; active are \
             AlertInfo, DeviceEvents). To have another one copied, add a row to the_table: `adxingestor setup --tables NAME` \
             prints it"
        );
        assert_eq!(find(&["AlertInfo"], &["AlertInfo"]), None);
    }

    #[test]
    fn the_names_that_were_asked_for_count_once_and_a_long_list_is_cut() {
        assert!(find(&["x", "x"], &["AlertInfo"]).unwrap().is_all());
        assert!(find(&["x"], &[]).unwrap().to_string().contains("(no table is active)"));
        let many: Vec<String> = (0..50).map(|n| format!("T{n}")).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        let text = find(&["zebra"], &many).unwrap().to_string();
        assert!(text.contains("and 30 others") && !text.contains("did you mean"), "{text}");
        let text = find(&many, &["zebra"]).unwrap().to_string();
        assert!(text.contains("Nor are 30 others"), "{text}");
    }
}
