//! What a request was denied for: a role that is missing, with the commands that grant it (dataexplorer-docs
//! `access-control/role-based-access-control.md`), or a blob that the cluster may not read. Knows of a request its text and nothing else.

use crate::remedy::{self, Application, Role};

/// What stands between the service's words and the role that is missing.
pub(super) const NEEDS: &str = "; the identity needs the role ";

/// What to do where the cluster may not read a blob.
pub(super) const UNREAD: &str = "the cluster may not read the blob in the place that it lent for it: the signature has ended, and another \
                                 run renews it, or the network rules of that storage keep the cluster out";

/// Who is denied what.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cause {
    /// The identity lacks a role.
    Role,
    /// The cluster may not read what it was to load.
    Source,
    /// The words fit both.
    Either,
}

impl Cause {
    /// By the codes and the words of an answer to a request that was denied.
    pub fn of(csl: &str, names: &[String], message: &str) -> Self {
        if Self::is_source(csl, names, message) {
            return Self::Source;
        }
        let message = message.to_lowercase();
        let names_role =
            names.iter().any(|name| name.ends_with("TableAccessDenied") || name.ends_with("DatabaseAccessDenied"))
                || (message.contains("principal") && message.contains("not authorized"));
        if is_load(csl) && !names_role { Self::Either } else { Self::Role }
    }

    /// Whether an answer says that the cluster may not read a blob (dataexplorer-docs `error-codes.md`; the words of an engine in
    /// Azure/azure-kusto-trender, 55).
    pub fn is_source(csl: &str, names: &[String], message: &str) -> bool {
        let message = message.to_lowercase();
        let says = |parts: &[&str]| parts.iter().any(|part| message.contains(part));
        let by_code = names.iter().any(|name| name.eq_ignore_ascii_case("Download_Forbidden"));
        let by_words = says(&["persistent storage", "failed to download"])
            && says(&["denied", "forbidden", "authoriz", "authenticat", "403"]);
        is_load(csl) && (by_code || by_words)
    }
}

/// Whether a request has the cluster read a blob before it answers.
fn is_load(csl: &str) -> bool {
    csl.split_ascii_whitespace().take(2).eq([".ingest", "into"])
}

/// Who is denied, and where.
#[derive(Debug, Clone, Copy)]
pub(super) struct Denied<'a> {
    /// The query or command.
    pub csl: &'a str,
    /// The database it runs in.
    pub database: &'a str,
    /// The app that asks.
    pub app: &'a Application,
}

/// A role, and where.
enum Needed<'a> {
    Database(Role),
    Table(Role, &'a str),
    Function(Role, &'a str),
}

impl Denied<'_> {
    /// The service's words with the role that is missing and the commands that grant it.
    pub fn told(&self, message: &str) -> String {
        let Some((named, roles)) = needed(self.csl) else { return message.to_owned() };
        let commands: Vec<String> = roles.iter().map(|role| format!("`{}`", self.grant(role))).collect();
        format!("{message}{NEEDS}{named}: run {}", commands.join(" and "))
    }

    fn grant(&self, needed: &Needed<'_>) -> String {
        match *needed {
            Needed::Database(role) => remedy::grant(self.database, role, self.app),
            Needed::Table(role, table) => remedy::grant_in_table(table, role, self.app),
            Needed::Function(role, function) => remedy::grant_in_function(function, role, self.app),
        }
    }
}

/// What lets an app ingest into a table: what a failed ingestion is told with, which is denied where nobody waits for it.
pub(super) fn ingestion(database: &str, app: &Application) -> String {
    format!("the identity needs the role Database Ingestor: run `{}`", remedy::grant(database, Role::Ingestors, app))
}

/// The roles that a text needs: in words, and one by one.
fn needed(csl: &str) -> Option<(&'static str, Vec<Needed<'_>>)> {
    let mut words = csl.split_ascii_whitespace();
    let (verb, object) = (words.next()?, words.next().unwrap_or_default());
    let table = || name_after(csl, "table");
    Some(match (verb, object) {
        (".show", _) => ("Database Viewer", vec![Needed::Database(Role::Viewers)]),
        // Over REST, too (`management/data-ingestion/queued-ingest-use-http.md`).
        (".get" | ".ingest", _) => ("Database Ingestor", vec![Needed::Database(Role::Ingestors)]),
        (".ingest-from-storage-queued" | ".set-or-append" | ".append", _) => (
            "Database User and Database Ingestor",
            vec![Needed::Database(Role::Users), Needed::Database(Role::Ingestors)],
        ),
        (".create-or-alter", "table") => ("Table Ingestor", vec![Needed::Database(Role::Ingestors)]),
        // A table that is made is given its folder; one that is there keeps it.
        (".create-merge", "table") if csl.contains(") with (") => (
            "Database User (and Table Admin for a table that another identity made)",
            vec![Needed::Database(Role::Users), Needed::Table(Role::Admins, table())],
        ),
        (".create-or-alter", "function") => (
            "Database User (and Function Admin for a function that another identity made)",
            vec![Needed::Database(Role::Users), Needed::Function(Role::Admins, name_before(csl, "()"))],
        ),
        (".create", _) => ("Database User", vec![Needed::Database(Role::Users)]),
        (".delete", "table") if csl.contains(" records ") => ("Database Admin", vec![Needed::Database(Role::Admins)]),
        (".create-merge" | ".alter" | ".alter-merge" | ".delete", "table") => {
            ("Table Admin", vec![Needed::Database(Role::Users), Needed::Table(Role::Admins, table())])
        }
        (".alter", "column") => {
            ("Table Admin", vec![Needed::Database(Role::Users), Needed::Table(Role::Admins, name_after(csl, "column"))])
        }
        (verb, _) if verb.starts_with('.') => ("Database Admin", vec![Needed::Database(Role::Admins)]),
        _ => ("Database Viewer", vec![Needed::Database(Role::Viewers)]),
    })
}

/// The name behind a word, as the identifier writer wrote it, without its brackets.
fn name_after<'a>(csl: &'a str, word: &str) -> &'a str {
    let rest = csl.split_once(word).map_or("", |(_, rest)| rest).trim_start();
    match rest.strip_prefix("['").and_then(|rest| rest.split_once("']")) {
        Some((name, _)) => name,
        None => rest.split(|c: char| c.is_whitespace() || matches!(c, '.' | '(')).next().unwrap_or_default(),
    }
}

/// The name that stands before some signs.
fn name_before<'a>(csl: &'a str, signs: &str) -> &'a str {
    let before = csl.split_once(signs).map_or(csl, |(before, _)| before);
    match before.strip_suffix("']").and_then(|before| before.rsplit_once("['")) {
        Some((_, name)) => name,
        None => before.rsplit(char::is_whitespace).next().unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_of_request_names_its_role_and_what_grants_it() {
        let app = Application { client: Some("c1".into()), tenant: Some("t1".into()) };
        let database = |role: &str| format!("`.add database Db {role} ('aadapp=c1;t1')`");
        let table = |name: &str| format!("`.add table {name} admins ('aadapp=c1;t1')`");
        for (csl, role, grants) in [
            ("T | count", "Database Viewer", vec![database("viewers")]),
            (".show table T cslschema", "Database Viewer", vec![database("viewers")]),
            (".get ingestion resources", "Database Ingestor", vec![database("ingestors")]),
            (".ingest inline into table T <|", "Database Ingestor", vec![database("ingestors")]),
            (
                ".ingest-from-storage-queued",
                "Database User and Database Ingestor",
                vec![database("users"), database("ingestors")],
            ),
            (
                ".set-or-append T <| x",
                "Database User and Database Ingestor",
                vec![database("users"), database("ingestors")],
            ),
            (
                ".create-merge table T (a:int) with (folder=\"f\")",
                "Database User (and Table Admin",
                vec![database("users"), table("T")],
            ),
            (".create-merge table ['a b.c'] (a:int)", "Table Admin", vec![database("users"), table("['a b.c']")]),
            (
                ".create-or-alter table T ingestion json mapping \"M\" '[]'",
                "Table Ingestor",
                vec![database("ingestors")],
            ),
            (".create function ifnotexists F() { T }", "Database User", vec![database("users")]),
            (
                ".create-or-alter function with (view=true) ['F g']() { T }",
                "Database User (and Function Admin",
                vec![database("users"), "`.add function ['F g'] admins ('aadapp=c1;t1')`".to_owned()],
            ),
            (".alter table T policy caching hot = 1d", "Table Admin", vec![database("users"), table("T")]),
            (".alter-merge table T policy retention softdelete = 1d", "Table Admin", vec![table("T")]),
            (".alter column T.RawData policy encoding", "Table Admin", vec![table("T")]),
            (".alter column ['T 1'].RawData policy encoding", "Table Admin", vec![table("['T 1']")]),
            (".delete table T policy row_level_security", "Table Admin", vec![table("T")]),
            (".delete table T records <| T | where x", "Database Admin", vec![database("admins")]),
            (".alter database Db policy retention", "Database Admin", vec![database("admins")]),
            (".execute database script <|", "Database Admin", vec![database("admins")]),
        ] {
            let told = Denied { csl, database: "Db", app: &app }.told("no");
            assert!(told.starts_with(&format!("no; the identity needs the role {role}")), "{csl}: {told}");
            for grant in grants {
                assert!(told.contains(&grant), "{csl}: {told}");
            }
        }
    }

    #[test]
    fn a_load_that_is_denied_is_told_by_what_was_denied() {
        let load = ".ingest into table T (h'https://a.blob.core.windows.net/c/b.gz')";
        let path =
            "Access to persistent storage path 'https://a.blob.core.windows.net/c/b.gz' was denied (operation 'X')";
        let principal = "Principal 'aadapp=a;b' is not authorized to write table 'T'.";
        for (csl, names, message, cause) in [
            (load, "Download_Forbidden", "no", Cause::Source),
            (load, "", format!("Failed to download blob: {path}").as_str(), Cause::Source),
            (load, "BadRequest", path, Cause::Source),
            (load, "Forbidden", "Failed to download blob: the server answered 403", Cause::Source),
            (load, "Forbidden", principal, Cause::Role),
            (load, "BadRequest_TableAccessDenied", "no", Cause::Role),
            (load, "BadRequest_DatabaseAccessDenied", "no", Cause::Role),
            (load, "Forbidden", "Caller is not authorized to perform this action", Cause::Either),
            (load, "", "", Cause::Either),
            (".ingest inline into table T <|", "Forbidden", "", Cause::Role),
            (".ingest-from-storage-queued", "Forbidden", "", Cause::Role),
            ("T | where Download_Forbidden", "Download_Forbidden", path, Cause::Role),
        ] {
            assert_eq!(Cause::of(csl, &[names.to_owned()], message), cause, "{csl}: {names} {message}");
        }
        for other in ["Failed to download blob: the name could not be resolved", "The storage is busy", path] {
            let load = if other == path { ".show tables" } else { load };
            assert!(!Cause::is_source(load, &["Download_UnknownError".to_owned()], other), "{other}");
        }
    }

    #[test]
    fn what_is_not_known_of_the_app_is_left_open_and_a_request_without_a_text_names_no_role() {
        let app = Application::default();
        let told = Denied { csl: "T", database: "Db", app: &app }.told("no");
        assert!(told.ends_with("`.add database Db viewers ('aadapp=<application id>;<tenant id>')`"), "{told}");
        assert_eq!(Denied { csl: "", database: "Db", app: &app }.told("no"), "no");
    }
}
