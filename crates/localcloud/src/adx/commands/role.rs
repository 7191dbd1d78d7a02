//! Roles in the database: who holds them is kept and shown. Of them only `unrestrictedviewers` is looked at, unless the cluster
//! asks for roles (`rest/rights.rs`).

use super::cursor::Cursor;
use super::{Command, Error, ResultTable, texts};
use crate::kql::Type;

const ROLES: [&str; 6] = ["admins", "users", "viewers", "unrestrictedviewers", "ingestors", "monitors"];

/// The rest of `.add|.drop database D <role> ('principal', …)`, from `database` on.
pub(super) fn parse_change<'a>(cursor: &mut Cursor<'a>, adds: bool) -> Result<Command<'a>, Error> {
    cursor.expect("database")?;
    let database = cursor.name()?;
    let role = cursor.peek_word()?.unwrap_or_default();
    if !ROLES.contains(&role) {
        return Err(cursor.unexpected("a role"));
    }
    cursor.word()?;
    cursor.sign("(")?;
    let mut principals = Vec::new();
    loop {
        principals.push(cursor.string()?);
        if cursor.eat_sign(")")? {
            break;
        }
        cursor.sign(",")?;
    }
    Ok(Command::change("DatabaseRoleChange", move |context| {
        context.database.check_name(&database)?;
        context.database.change(|content| {
            let holders = content.roles.entry(role.to_owned()).or_default();
            for principal in &principals {
                if adds {
                    holders.insert(principal.clone());
                } else {
                    holders.retain(|holder| !holder.eq_ignore_ascii_case(principal));
                }
            }
            let columns = [("Role", Type::String), ("PrincipalFQN", Type::String)];
            Ok(ResultTable::new(&columns, holders.iter().map(|holder| texts([role, holder])).collect()))
        })
    }))
}

/// `.show principal roles`, from `principal` on: the caller's own (dataexplorer-docs `management/security-roles.md`).
pub(super) fn parse_show_own<'a>(cursor: &mut Cursor<'a>) -> Result<Command<'a>, Error> {
    cursor.expect("principal")?;
    cursor.expect("roles")?;
    Ok(Command::show(|context| {
        let columns = ["Scope", "DisplayName", "AADObjectID", "Role"].map(|name| (name, Type::String));
        let scope = format!("Database {}", context.database.name());
        let row = |role: &str| texts([scope.as_str(), context.principal, "", role]);
        let content = context.database.read();
        let held =
            content.roles.iter().filter(|(_, holders)| holders.iter().any(|holder| is(holder, context.principal)));
        let mut rows: Vec<_> = held.filter_map(|(role, _)| shown(role)).map(row).collect();
        if !context.by_roles {
            rows.push(row("Admin"));
        }
        Ok(ResultTable::new(&columns, rows))
    }))
}

/// `.show database D principals`, from `principals` on: who has which role (dataexplorer-docs
/// `management/manage-database-security-roles.md`).
pub(super) fn parse_show_all<'a>(cursor: &mut Cursor<'a>, name: String) -> Result<Command<'a>, Error> {
    cursor.expect("principals")?;
    Ok(Command::show(move |context| {
        context.database.check_name(&name)?;
        let columns = ["Role", "PrincipalType", "PrincipalDisplayName", "PrincipalObjectId", "PrincipalFQN"];
        let content = context.database.read();
        let held = content.roles.iter().filter_map(|(role, holders)| Some((shown(role)?, holders)));
        let row = |role: &str, holder: &str| {
            let role = format!("Database {name} {role}");
            texts([role.as_str(), "AAD Application", holder, "", holder])
        };
        let rows = held.flat_map(|(role, holders)| holders.iter().map(move |holder| (role, holder)));
        let rows = rows.map(|(role, holder)| row(role, holder)).collect();
        Ok(ResultTable::new(&columns.map(|name| (name, Type::String)), rows))
    }))
}

fn is(holder: &str, principal: &str) -> bool {
    holder.eq_ignore_ascii_case(principal)
}

/// A role as it is shown.
fn shown(role: &str) -> Option<&'static str> {
    let names = ["Admin", "User", "Viewer", "UnrestrictedViewer", "Ingestor", "Monitor"];
    ROLES.iter().zip(names).find(|(known, _)| **known == role).map(|(_, name)| name)
}
