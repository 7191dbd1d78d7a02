//! What has to be done in Azure Data Explorer, in order: roles, metadata tables and views, configuration rows; and what is there
//! already and stays as it is. Looks only.

use crate::adx::catalog::{Catalog, ConfigRow, Configured, Found, TableLook};
use crate::adx::error::Error;
use crate::remedy::{Application, Role};
use tokio::time::Instant;

/// The roles that a run needs (dataexplorer-docs `access-control/role-based-access-control.md`), and for what.
const ROLES: [(Role, &str); 3] = [
    (Role::Users, "makes tables, views and mappings, and is their admin"),
    (Role::Ingestors, "ingests rows"),
    (Role::Viewers, "counts what has landed"),
];
/// The role that `REPAIR=delete` needs as well.
const REPAIRS: (Role, &str) = (Role::Admins, "removes rows of windows that landed twice (REPAIR=delete)");

/// What is wanted.
#[derive(Debug, Clone, Default)]
pub struct Wanted {
    /// Who is to have the roles.
    pub app: Application,
    /// Whether the app is to be let remove rows.
    pub repairs: bool,
    /// Configuration rows.
    pub rows: Vec<ConfigRow>,
    /// What a person is to know of tables that have none.
    pub left_out: Vec<String>,
}

/// What a command is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// It grants a role, which takes an admin.
    Role,
    /// It makes or extends a table or view.
    Object,
    /// It adds configuration rows.
    Rows,
}

/// One command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// What for.
    pub kind: Kind,
    /// Why, in words.
    pub why: String,
    /// The command.
    pub csl: String,
}

/// One thing that is needed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Item {
    /// It is there, and stays as it is.
    There(String),
    /// It is to be done.
    Do(Step),
    /// A person is to know it.
    Note(String),
    /// A person has to mend it first: what, and how.
    Wrong(String),
}

/// All that is needed, in order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Plan {
    /// The database.
    pub database: String,
    /// The items.
    pub items: Vec<Item>,
    /// Why it is not known what is there: then everything is to be done.
    pub blind: Option<String>,
}

impl Plan {
    /// The commands.
    pub fn steps(&self) -> impl Iterator<Item = &Step> {
        self.items.iter().filter_map(|item| if let Item::Do(step) = item { Some(step) } else { None })
    }

    /// Whether something has to be mended first.
    pub fn is_wrong(&self) -> bool {
        self.items.iter().any(|item| matches!(item, Item::Wrong(_)))
    }
}

/// Looks at what is there and says what is to be done.
///
/// # Errors
/// What the looks can end in. To be denied them is none: then the plan is made for a database that has nothing, and says so.
pub async fn plan(catalog: &Catalog, database: &str, wanted: &Wanted, deadline: Instant) -> Result<Plan, Error> {
    let mut items = roles(catalog, wanted, deadline).await?;
    let (mut blind, mut rest) = match looked(catalog, &wanted.rows, deadline).await {
        Ok(rest) => (None, rest),
        Err(Error::Denied { message }) => (Some(message), unseen(catalog, &wanted.rows)?),
        Err(error) => return Err(error),
    };
    items.append(&mut rest);
    items.extend(wanted.left_out.iter().cloned().map(Item::Note));
    Ok(Plan { database: database.to_owned(), items, blind: blind.take() })
}

async fn roles(catalog: &Catalog, wanted: &Wanted, deadline: Instant) -> Result<Vec<Item>, Error> {
    let mut items = Vec::new();
    let needed = ROLES.iter().chain(wanted.repairs.then_some(&REPAIRS));
    if wanted.app.client.is_none() || wanted.app.tenant.is_none() {
        items.push(Item::Note(format!(
            "the app's identity is not known: name it with --app-id and --tenant-id (or AZURE_CLIENT_ID and AZURE_TENANT_ID), and \
             grant it, as Database Admin: {}",
            needed.map(|(role, _)| format!("`{}`", catalog.grant(*role, &wanted.app))).collect::<Vec<_>>().join(", ")
        )));
        return Ok(items);
    }
    let held = catalog.principals(deadline).await?;
    let has = |role| held.as_ref().is_some_and(|held| held.has(&wanted.app, role));
    items.extend(needed.map(|(role, what_for)| match has(*role) {
        true => Item::There(format!("the role {role} of the app")),
        false => Item::Do(Step {
            kind: Kind::Role,
            why: format!("To be run by a Database Admin: the app {what_for}."),
            csl: catalog.grant(*role, &wanted.app),
        }),
    }));
    Ok(items)
}

/// Tables, views and rows, by what is there.
async fn looked(catalog: &Catalog, rows: &[ConfigRow], deadline: Instant) -> Result<Vec<Item>, Error> {
    let mut items = Vec::new();
    let mut columns = Vec::new();
    for (table, file) in catalog.metadata_tables() {
        let look = catalog.look_at_metadata(table, file, deadline).await?;
        if *table == catalog.names().config_table {
            columns = look.columns();
        }
        items.extend(table_items(look));
    }
    let names = catalog.names();
    for (view, csl) in [&names.config_view, &names.chunk_audit_view].into_iter().zip(catalog.view_commands()) {
        items.push(match catalog.look_at_view(view, deadline).await? {
            Found::There => Item::There(format!("the view {view}")),
            Found::Broken(why) => Item::Wrong(format!(
                "the view {view} is there and does not run ({why}): correct it, or drop it and let it be made by `{csl}`"
            )),
            Found::Missing => Item::Do(object(format!("Makes the view {view}."), csl)),
        });
    }
    if rows.is_empty() {
        return Ok(items);
    }
    let configured = catalog.configured(deadline).await?;
    items.extend(row_items(catalog, rows, &configured, &columns)?);
    Ok(items)
}

/// The same where nothing can be seen.
fn unseen(catalog: &Catalog, rows: &[ConfigRow]) -> Result<Vec<Item>, Error> {
    let mut items = Vec::new();
    for (table, csl) in catalog.metadata_tables().map(|(table, _)| table).into_iter().zip(catalog.table_commands()) {
        items.push(Item::Do(object(format!("Makes the table {table}, or adds what it lacks."), csl)));
    }
    let names = catalog.names();
    for (view, csl) in [&names.config_view, &names.chunk_audit_view].into_iter().zip(catalog.view_commands()) {
        items.push(Item::Do(object(format!("Makes the view {view}, or replaces one of that name."), csl)));
    }
    if !rows.is_empty() {
        items.extend(row_items(catalog, rows, &[], &catalog.own_config_columns()?)?);
    }
    Ok(items)
}

fn object(why: String, csl: String) -> Step {
    Step { kind: Kind::Object, why, csl }
}

/// What a metadata table needs.
pub(super) fn table_items(look: TableLook) -> Vec<Item> {
    let (lacks, is_another) = (look.lacks(), look.is_another());
    let TableLook { table, is_there, conflicts, command, .. } = look;
    if is_another {
        return vec![Item::Wrong(format!(
            "the table {table} has none of the columns that are needed ({lacks}), so it is a table of something else: set another name \
             (CONFIG_TABLE, AUDIT_TABLE, CHUNK_AUDIT_TABLE)"
        ))];
    }
    if !conflicts.is_empty() {
        let columns = conflicts.iter().map(|(name, found, needed)| format!("{name} is {found} and has to be {needed}"));
        return vec![Item::Wrong(format!(
            "the table {table} has columns of other types: {}. Rename it or those columns, or set another name for it (CONFIG_TABLE, \
             AUDIT_TABLE, CHUNK_AUDIT_TABLE)",
            columns.collect::<Vec<_>>().join("; ")
        ))];
    }
    vec![match (is_there, lacks.is_empty()) {
        (false, _) => Item::Do(object(format!("Makes the table {table}."), command)),
        (true, true) => Item::There(format!("the table {table}")),
        (true, false) => Item::Do(object(format!("Adds to the table {table} at its end: {lacks}."), command)),
    }]
}

/// The configuration rows: those of tables that have one are left alone, whatever it says.
fn row_items(
    catalog: &Catalog,
    rows: &[ConfigRow],
    configured: &[Configured],
    columns: &[(String, String)],
) -> Result<Vec<Item>, Error> {
    let (mut items, mut new) = (Vec::new(), Vec::new());
    for row in rows {
        let source = &row.source_table;
        let own = configured.iter().find(|held| held.source_table == *source);
        let other = configured.iter().find(|held| held.destination_table == row.destination_table);
        match (own, other) {
            (Some(held), _) if held.is_active => items.push(Item::There(format!("the configuration of {source}"))),
            (Some(_), _) => items.push(Item::There(format!(
                "the configuration of {source}, which is switched off (IsActive is not true)"
            ))),
            (None, Some(other)) => items.push(Item::Note(format!(
                "{source} gets no row: {} is copied to the table {} already. Add a row with another DestinationTable",
                other.source_table, row.destination_table
            ))),
            (None, None) => new.push(row.clone()),
        }
    }
    if !new.is_empty() {
        let names = new.iter().map(|row| row.source_table.as_str()).collect::<Vec<_>>().join(", ");
        let whole: Vec<&str> =
            new.iter().filter(|row| row.load_type == "Snapshot").map(|row| row.source_table.as_str()).collect();
        let mut why = format!("Has these tables copied, each to a table of the same name: {names}.");
        if !whole.is_empty() {
            why.push_str(&format!(" They have no time, so each run copies them whole: {}.", whole.join(", ")));
        }
        items.push(Item::Do(Step { kind: Kind::Rows, why, csl: catalog.new_rows(&new, columns)? }));
    }
    Ok(items)
}
