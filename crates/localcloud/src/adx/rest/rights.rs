//! What the roles of a caller let it do in the database (dataexplorer-docs `access-control/role-based-access-control.md`),
//! where the cluster asks for them. Knows of a text its first words.

use super::Adx;
use crate::adx::commands::{Error, is_command};
use std::sync::PoisonError;
use std::sync::atomic::Ordering;

const VIEW: &[&str] = &["viewers", "unrestrictedviewers", "users"];
const SHOW: &[&str] = &["viewers", "unrestrictedviewers", "users", "monitors"];
const INGEST: &[&str] = &["ingestors"];
const MAKE: &[&str] = &["users"];

impl Adx {
    /// Refuses what the caller has no role for. Admins may do everything.
    pub(super) fn check_rights(&self, text: &str, principal: &str) -> Result<(), Error> {
        if self.hides_roles.load(Ordering::SeqCst) && shows_roles(text) {
            return Err(Error::not_authorized(principal, self.database.name()));
        }
        let denied = self.denied.read().unwrap_or_else(PoisonError::into_inner);
        if denied.iter().any(|words| text.contains(words)) {
            return Err(Error::not_authorized(principal, self.database.name()));
        }
        if !self.database.asks_for_roles() {
            return Ok(());
        }
        let content = self.database.read();
        let holds = |role: &str| {
            let holders = content.roles.get(role);
            holders.is_some_and(|holders| holders.iter().any(|holder| holder.eq_ignore_ascii_case(principal)))
        };
        let may = |roles: &&[&str]| roles.iter().any(|role| holds(role));
        match needed(text) {
            _ if holds("admins") => Ok(()),
            Some(needed) if needed.iter().all(may) => Ok(()),
            _ => Err(Error::not_authorized(principal, self.database.name())),
        }
    }
}

/// Whether it shows who has which role.
fn shows_roles(text: &str) -> bool {
    let text = text.trim();
    text == ".show principal roles" || (text.starts_with(".show ") && text.ends_with(" principals"))
}

/// Of each of these one role; `None` for what only admins may do.
fn needed(text: &str) -> Option<Vec<&'static [&'static str]>> {
    if !is_command(text) {
        return Some(vec![VIEW]);
    }
    let mut words = text.trim_start().split_ascii_whitespace();
    Some(match (words.next()?, words.next().unwrap_or_default()) {
        (".show", "principal") => Vec::new(),
        (".show", _) => vec![SHOW],
        (".get" | ".ingest" | ".append", _) => vec![INGEST],
        (".set-or-append", _) => vec![MAKE, INGEST],
        (".create" | ".create-merge" | ".create-or-alter", _) => vec![MAKE],
        _ => return None,
    })
}
