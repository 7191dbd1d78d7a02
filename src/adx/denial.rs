//! Which role a request was denied for want of, and the commands that grant it (dataexplorer-docs
//! `access-control/role-based-access-control.md`). Knows of a request its text and nothing else.

use crate::remedy::{self, Application};

/// What stands between the service's words and the role that is missing.
pub(super) const NEEDS: &str = "; the identity needs the role ";

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

/// A role in a database, or in something in it.
enum Role<'a> {
    Database(&'static str),
    Table(&'static str, &'a str),
    Function(&'static str, &'a str),
}

impl Denied<'_> {
    /// The service's words with the role that is missing and the commands that grant it.
    pub fn told(&self, message: &str) -> String {
        let Some((named, roles)) = needed(self.csl) else { return message.to_owned() };
        let commands: Vec<String> = roles.iter().map(|role| format!("`{}`", self.grant(role))).collect();
        format!("{message}{NEEDS}{named}: run {}", commands.join(" and "))
    }

    fn grant(&self, role: &Role<'_>) -> String {
        match role {
            Role::Database(role) => remedy::grant(self.database, role, self.app),
            Role::Table(role, table) => remedy::grant_in_table(table, role, self.app),
            Role::Function(role, function) => remedy::grant_in_function(function, role, self.app),
        }
    }
}

/// What lets an app ingest into a table: what a failed ingestion is told with, which is denied where nobody waits for it.
pub(super) fn ingestion(database: &str, app: &Application) -> String {
    format!("the identity needs the role Database Ingestor: run `{}`", remedy::grant(database, "ingestors", app))
}

/// The roles that a text needs: in words, and one by one.
fn needed(csl: &str) -> Option<(&'static str, Vec<Role<'_>>)> {
    let mut words = csl.split_ascii_whitespace();
    let (verb, object) = (words.next()?, words.next().unwrap_or_default());
    let table = || name_after(csl, "table");
    Some(match (verb, object) {
        (".show", _) => ("Database Viewer", vec![Role::Database("viewers")]),
        (".get" | ".ingest", _) => ("Database Ingestor", vec![Role::Database("ingestors")]),
        (".set-or-append" | ".append", _) => {
            ("Database User and Database Ingestor", vec![Role::Database("users"), Role::Database("ingestors")])
        }
        (".create-or-alter", "table") => ("Table Ingestor", vec![Role::Database("ingestors")]),
        // A table that is made is given its folder; one that is there keeps it.
        (".create-merge", "table") if csl.contains(") with (") => (
            "Database User (and Table Admin for a table that another identity made)",
            vec![Role::Database("users"), Role::Table("admins", table())],
        ),
        (".create-or-alter", "function") => (
            "Database User (and Function Admin for a function that another identity made)",
            vec![Role::Database("users"), Role::Function("admins", name_before(csl, "()"))],
        ),
        (".create", _) => ("Database User", vec![Role::Database("users")]),
        (".delete", "table") if csl.contains(" records ") => ("Database Admin", vec![Role::Database("admins")]),
        (".create-merge" | ".alter" | ".alter-merge" | ".delete", "table") => {
            ("Table Admin", vec![Role::Database("users"), Role::Table("admins", table())])
        }
        (".alter", "column") => {
            ("Table Admin", vec![Role::Database("users"), Role::Table("admins", name_after(csl, "column"))])
        }
        (verb, _) if verb.starts_with('.') => ("Database Admin", vec![Role::Database("admins")]),
        _ => ("Database Viewer", vec![Role::Database("viewers")]),
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
    fn what_is_not_known_of_the_app_is_left_open_and_a_request_without_a_text_names_no_role() {
        let app = Application::default();
        let told = Denied { csl: "T", database: "Db", app: &app }.told("no");
        assert!(told.ends_with("`.add database Db viewers ('aadapp=<application id>;<tenant id>')`"), "{told}");
        assert_eq!(Denied { csl: "", database: "Db", app: &app }.told("no"), "no");
    }
}
