//! Roles in the database: who holds them is kept and shown. Of them only `unrestrictedviewers` is looked at.

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
