//! Which storage account the settings name, and what lets this app in: every form of `AzureWebJobsStorage` that the
//! Functions host takes (azure-docs `functions-reference`, `storage-configure-connection-string`). Makes no request and
//! reads no environment; what it says about a wrong setting holds no part of a secret.

mod endpoint;
mod identity;
mod sas;
mod text;

pub(super) use endpoint::Endpoints;
pub(super) use identity::Identity;
pub(super) use sas::Sas;

use super::signing::Key;
use crate::config::{Lookup, Problem, Problems};
use crate::storage::limits;
use std::fmt;

/// The setting with a connection string, and the start of the names of those that describe an identity.
const SETTING: &str = "AzureWebJobsStorage";
const STATE_TABLE: &str = "STATE_TABLE";
const DEFAULT_TABLE: &str = "adxingestor";

/// A storage account, how to get in, and the name of the table that holds the state.
#[derive(Debug, Clone)]
pub struct Connection {
    pub(super) account: String,
    pub(super) endpoints: Endpoints,
    pub(super) way: Way,
    pub(super) table: String,
}

/// What lets this app in.
#[derive(Debug, Clone)]
pub(super) enum Way {
    Key(Key),
    Sas(Sas),
    Identity(Identity),
}

impl Connection {
    /// Reads `AzureWebJobsStorage`, or if that is not set the settings `AzureWebJobsStorage__…` of an identity; and
    /// `STATE_TABLE`.
    ///
    /// # Errors
    /// [`Problems`]: all of them at once, with accepted forms and without any secret.
    pub fn parse(lookup: Lookup<'_>) -> Result<Self, Problems> {
        let (account, mut problems) = match place(lookup) {
            Ok(place) => (Some(place), Vec::new()),
            Err(problems) => (None, problems),
        };
        let table = set(lookup, STATE_TABLE).unwrap_or_else(|| DEFAULT_TABLE.to_owned());
        if limits::table_name(&table).is_err() {
            let rule = "is no name of a table: 3 to 63 letters and digits, a letter first, and not `tables`; such as";
            problems.push(problem(STATE_TABLE, format!("{rule} `{DEFAULT_TABLE}`")));
        }
        match account {
            Some((account, endpoints, way)) if problems.is_empty() => Ok(Self { account, endpoints, way, table }),
            _ => Err(Problems(problems)),
        }
    }

    /// The name of the account.
    pub fn account(&self) -> &str {
        &self.account
    }

    /// The container of payloads: named like the table, in lower case as containers are.
    pub(super) fn container(&self) -> String {
        self.table.to_ascii_lowercase()
    }
}

impl fmt::Display for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let host = self.endpoints.table.host_str().unwrap_or_default();
        write!(f, "account {} at {host}", self.account)?;
        if let Some(port) = self.endpoints.table.port() {
            write!(f, ":{port}")?;
        }
        f.write_str(match self.way {
            Way::Key(_) => ", by key",
            Way::Sas(_) => ", by SAS",
            Way::Identity(_) => ", by identity",
        })
    }
}

type Place = (String, Endpoints, Way);

fn place(lookup: Lookup<'_>) -> Result<Place, Vec<Problem>> {
    if let Some(text) = set(lookup, SETTING) {
        return text::parse(&text).map_err(|mut faults| {
            if let Some(last) = faults.last_mut() {
                last.push_str("; accepted are ");
                last.push_str(text::FORMS);
            }
            faults.into_iter().map(|fault| problem(SETTING, fault)).collect()
        });
    }
    if identity::is_described(lookup) {
        return identity::parse(lookup);
    }
    let how = "set it to a connection string of a storage account or to `UseDevelopmentStorage=true`, or set \
               AzureWebJobsStorage__accountName to use an identity";
    Err(vec![problem(SETTING, format!("is not set; {how}"))])
}

fn problem(name: impl Into<String>, message: impl Into<String>) -> Problem {
    Problem { name: name.into(), message: message.into() }
}

/// A setting that is not blank.
fn set(lookup: Lookup<'_>, name: &str) -> Option<String> {
    lookup(name).map(|text| text.trim().to_owned()).filter(|text| !text.is_empty())
}

#[cfg(test)]
mod tests;
