//! The cluster: whether it is reached, has the database, and what the identity may do there. Looks only.

use super::identity;
use super::settings::quoted;
use super::{Area, Ends, Finding};
use crate::adx::catalog::{Catalog, HeldRole};
use crate::adx::ingestion::Ingestor;
use crate::adx::{Client, Error, Table};
use crate::config::{Repair, Settings};
use crate::outbound::{self, Outbound};
use crate::remedy::{self, Role};

pub(super) const CLUSTER: &str = "adx.cluster";
pub(super) const DATABASE: &str = "adx.database";
pub(super) const VIEWER: &str = "adx.viewer";
const USER: &str = "adx.user";
const INGESTION: &str = "adx.ingestion";
const INGESTOR: &str = "adx.ingestor";
const TABLE_ADMIN: &str = "adx.table_admin";
const DATABASE_ADMIN: &str = "adx.database_admin";

/// The clients of a cluster.
pub(super) struct Parts<'a> {
    pub settings: &'a Settings,
    pub outbound: Outbound,
    pub client: Client,
    pub catalog: Catalog,
    pub ingestor: Ingestor,
}

/// What was found of the cluster.
#[derive(Default)]
pub(super) struct Seen {
    pub findings: Vec<Finding>,
    /// The answer of the configuration view, or why there is none although the database answers.
    pub config: Option<Result<Table, Error>>,
    /// The check because of which nothing in the database was looked at.
    pub cause: Option<String>,
    pub roles: Roles,
}

/// The roles of the identity, where the service shows them.
#[derive(Default)]
pub(super) struct Roles(Option<Vec<HeldRole>>);

impl Roles {
    /// Whether it has one of these in the database or above; `None` where that is not known.
    fn has(&self, database: &str, wanted: &[&str]) -> Option<bool> {
        let database = database.to_lowercase();
        let held: Vec<String> = self.0.iter().flatten().filter_map(|held| of_database(held, &database)).collect();
        // Who may query has a role at least: where none is shown, it is not shown.
        (!held.is_empty()).then(|| held.iter().any(|role| wanted.iter().any(|wanted| role.ends_with(wanted))))
    }

    /// Whether it is known to be an admin of a table.
    fn is_admin_of(&self, table: &str) -> bool {
        let admin = |held: &HeldRole| held.role.to_lowercase().contains("admin") && names(&held.scope, table);
        self.0.iter().flatten().any(admin)
    }
}

/// A role in the database, or in all databases of the cluster, in lower case.
fn of_database(held: &HeldRole, database: &str) -> Option<String> {
    let (scope, role) = (held.scope.to_lowercase(), held.role.to_lowercase());
    let of_all = role.contains("alldatabases");
    let of_a_part = ["table", "function", "view"].iter().any(|part| scope.split_whitespace().any(|word| word == *part));
    (of_all || (names(&scope, database) && !of_a_part)).then_some(role)
}

/// Whether a scope, such as `Database Defender`, ends with a name.
fn names(scope: &str, name: &str) -> bool {
    let scope = scope.trim_matches(|c| matches!(c, '[' | ']' | '\'' | '"'));
    scope
        .strip_suffix(name)
        .is_some_and(|before| !before.ends_with(|c: char| c.is_alphanumeric() || matches!(c, '_' | '-')))
}

/// All checks of the cluster that were not made because of one.
pub(super) fn skipped(cause: &str) -> Seen {
    let mut seen = Seen { cause: Some(cause.to_owned()), ..Seen::default() };
    seen.findings.push(Finding::skip(Area::Identity, identity::ADX, cause));
    seen.skip(&[CLUSTER, DATABASE, VIEWER, USER, INGESTION, INGESTOR], cause);
    seen
}

impl Seen {
    fn push(&mut self, finding: Finding) {
        self.findings.push(finding);
    }

    /// Puts a finding in the place of the one of the same id.
    fn replace(&mut self, finding: Finding) {
        if let Some(known) = self.findings.iter_mut().find(|known| known.id == finding.id) {
            *known = finding;
        }
    }

    fn skip(&mut self, ids: &[&str], cause: &str) {
        self.findings.extend(ids.iter().map(|id| Finding::skip(Area::Adx, *id, cause)));
    }
}

/// Looks at the cluster. `no_ingestion`: the check because of which its ingestion endpoint is not asked.
pub(super) async fn look(parts: &Parts<'_>, no_ingestion: Option<String>, ends: Ends) -> Seen {
    let mut seen = Seen::default();
    let settings = parts.settings;
    match parts.client.sign_in(ends.step()).await {
        Ok(()) => seen.push(Finding::pass(Area::Identity, identity::ADX, format!("a token for {}", settings.cluster))),
        Err(Error::Outbound(error @ outbound::Error::Token { .. })) => {
            seen.push(identity::refused(identity::ADX, &error));
            seen.push(Finding::pass(Area::Adx, CLUSTER, format!("{} answers", settings.cluster)));
            let cause = quoted(identity::ADX);
            seen.skip(&[DATABASE, VIEWER, USER, INGESTION, INGESTOR], &cause);
            seen.cause = Some(cause);
            return seen;
        }
        Err(error) => {
            let mut seen = skipped(&quoted(CLUSTER));
            seen.replace(unreached(&error, parts));
            if matches!(error, Error::Outbound(outbound::Error::Untrusted { .. })) {
                return seen;
            }
            // What the cluster itself would ask for is not known, and is nearly always this.
            let resource = parts.outbound.cloud().kusto_resource();
            seen.replace(identity::token(&parts.outbound, identity::ADX, resource).await.0);
            return seen;
        }
    }
    let (config, roles) = tokio::join!(parts.catalog.config_answer(ends.step()), parts.catalog.own_roles(ends.step()));
    let goes_on = judge(&mut seen, parts, config);
    seen.roles = Roles(roles.ok().and_then(Result::ok));
    if !goes_on {
        return seen;
    }
    seen.push(user(&seen.roles, settings));
    ingestion(&mut seen, parts, no_ingestion, ends).await;
    seen
}

/// What the answer of the configuration view says of cluster, database and the right to query. Gives whether the rest is worth
/// asking for.
fn judge(seen: &mut Seen, parts: &Parts<'_>, config: Result<Table, Error>) -> bool {
    let settings = parts.settings;
    let reached = || Finding::pass(Area::Adx, CLUSTER, format!("{} answers", settings.cluster));
    let there = || Finding::pass(Area::Adx, DATABASE, format!("the database {} is there", settings.database));
    match &config {
        Err(error) if error.is_missing_database() => {
            seen.push(reached());
            seen.push(no_database(error, settings));
            seen.cause = Some(quoted(DATABASE));
        }
        Err(error) if error.is_missing_address() => {
            seen.push(unreached(error, parts));
            seen.cause = Some(quoted(CLUSTER));
        }
        Err(error @ Error::Denied { .. }) => {
            seen.push(reached());
            seen.skip(&[DATABASE], &quoted(VIEWER));
            let (what, _) = error.denied().unwrap_or_default();
            let grant = remedy::grant(&settings.database, Role::Viewers, &settings.app);
            seen.push(Finding::fail(Area::Adx, VIEWER, format!("the identity may not query: {what}"), run(&grant)));
            seen.cause = Some(quoted(VIEWER));
            return true;
        }
        Err(error @ Error::Unauthorized { .. }) => {
            seen.push(reached());
            let remedy = "AZURE_TENANT_ID has to be the tenant of the cluster, or one that it trusts: `az kusto cluster show --name \
                          CLUSTER --resource-group GROUP --query trustedExternalTenants`";
            seen.replace(Finding::fail(Area::Identity, identity::ADX, error.to_string(), remedy));
            seen.cause = Some(quoted(identity::ADX));
        }
        // The view may be missing or wrong: the database has answered.
        Ok(_) | Err(Error::NotFound { .. } | Error::Refused { permanent: true, .. }) => {
            seen.push(reached());
            seen.push(there());
            seen.push(Finding::pass(Area::Adx, VIEWER, "the identity may query the database"));
            seen.config = Some(config);
            return true;
        }
        Err(error) => {
            seen.push(unreached(error, parts));
            seen.cause = Some(quoted(CLUSTER));
        }
    }
    let cause = seen.cause.clone().unwrap_or_default();
    let rest = [DATABASE, VIEWER, USER, INGESTION, INGESTOR];
    let rest: Vec<&str> = rest.into_iter().filter(|id| seen.findings.iter().all(|known| known.id != *id)).collect();
    seen.skip(&rest, &cause);
    false
}

fn no_database(error: &Error, settings: &Settings) -> Finding {
    let remedy = remedy::MissingDatabase { cluster: &settings.cluster, name: &settings.database }.to_string();
    Finding::fail(Area::Adx, DATABASE, error.to_string(), remedy)
}

fn unreached(error: &Error, parts: &Parts<'_>) -> Finding {
    let settings = parts.settings;
    let what = format!("{}: {error}", settings.cluster);
    let remedy = match error {
        Error::Outbound(outbound::Error::Untrusted { .. }) => {
            identity::untrusted("ADX_CLUSTER_URI", &settings.cluster, &parts.outbound)
        }
        _ => "set ADX_CLUSTER_URI to the URI on the Overview page of the cluster in the Azure portal, see that the cluster is \
              running there, and that its network lets this machine in"
            .to_owned(),
    };
    Finding::fail(Area::Adx, CLUSTER, what, remedy)
}

fn user(roles: &Roles, settings: &Settings) -> Finding {
    let grant = run(&remedy::grant(&settings.database, Role::Users, &settings.app));
    match roles.has(&settings.database, &["user", "admin"]) {
        Some(true) => Finding::pass(Area::Adx, USER, "the identity is a Database User: it may make tables"),
        Some(false) => {
            let what = "the identity is no Database User: it can neither make tables nor append to the metadata tables";
            Finding::fail(Area::Adx, USER, what, grant)
        }
        None => {
            let what = "whether the identity is a Database User is not known: the service does not show its roles";
            Finding::warn(Area::Adx, USER, what, look_up(settings, &grant))
        }
    }
}

/// The way into the tables, and the role for it. Storage is lent to some who may not ingest, so the role is looked up as well.
async fn ingestion(seen: &mut Seen, parts: &Parts<'_>, no_ingestion: Option<String>, ends: Ends) {
    let settings = parts.settings;
    let grant = run(&remedy::grant(&settings.database, Role::Ingestors, &settings.app));
    let role = seen.roles.has(&settings.database, &["ingestor", "admin"]);
    let way = match no_ingestion {
        Some(cause) => {
            seen.skip(&[INGESTION], &cause);
            None
        }
        None => Some(parts.ingestor.way(ends.step()).await),
    };
    let denied = match &way {
        Some(Err(error @ Error::Denied { .. })) => error.denied().map(|(what, _)| what.to_owned()),
        _ => None,
    };
    match &way {
        None => {}
        Some(Ok((way, reason))) => {
            seen.push(Finding::pass(Area::Adx, INGESTION, format!("{way}: {reason}")));
        }
        Some(Err(_)) if denied.is_some() => seen.skip(&[INGESTION], &quoted(INGESTOR)),
        Some(Err(error)) => seen.push(no_way(error, parts)),
    }
    let finding = match (denied, role) {
        (Some(what), _) => {
            Finding::fail(Area::Adx, INGESTOR, format!("the identity is no Database Ingestor: {what}"), grant)
        }
        (None, Some(true)) => Finding::pass(Area::Adx, INGESTOR, "the identity is a Database Ingestor"),
        (None, Some(false)) => {
            let what =
                "the identity is no Database Ingestor: what it posts is refused later, as BadRequest_TableAccessDenied";
            Finding::fail(Area::Adx, INGESTOR, what, grant)
        }
        (None, None) => match way {
            Some(Ok(_)) => {
                let what = "whether the identity is a Database Ingestor is not known: the ingestion endpoint lends it what it needs, as it does others, and the service does not show its roles";
                Finding::warn(Area::Adx, INGESTOR, what, look_up(settings, &grant))
            }
            _ => Finding::skip(Area::Adx, INGESTOR, &quoted(INGESTION)),
        },
    };
    seen.push(finding);
}

fn no_way(error: &Error, parts: &Parts<'_>) -> Finding {
    let settings = parts.settings;
    let remedy = match error {
        Error::Outbound(outbound::Error::Untrusted { .. }) => {
            identity::untrusted("ADX_INGEST_URI", &settings.ingest, &parts.outbound)
        }
        Error::Outbound(outbound::Error::Token { remedy, .. }) => remedy.clone(),
        _ if error.is_invalid() => "set ADX_INGESTION or ADX_INGEST_URI as it says".to_owned(),
        _ => "set ADX_INGEST_URI to the Data Ingestion URI on the Overview page of the cluster in the Azure portal"
            .to_owned(),
    };
    Finding::fail(Area::Adx, INGESTION, format!("{}: {error}", settings.ingest), remedy)
}

/// A table for which the identity has to be an admin.
pub(super) struct NeedsAdmin {
    pub table: String,
    /// What for.
    pub what: String,
    /// Whether runs of the table fail without.
    pub must: bool,
}

/// The roles of an admin, where a table or a setting asks for them. `needs` is the check because of which the tables were not
/// looked at, if they were not.
pub(super) fn admins(seen: &Seen, settings: &Settings, needs: Result<&[NeedsAdmin], &str>) -> Vec<Finding> {
    let is_admin = seen.roles.has(&settings.database, &["admin"]);
    let table = match needs {
        Err(cause) => Finding::skip(Area::Adx, TABLE_ADMIN, cause),
        Ok(needs) => table_admin(&seen.roles, is_admin, settings, needs),
    };
    let grant = run(&remedy::grant(&settings.database, Role::Admins, &settings.app));
    let database = match (settings.repair, is_admin) {
        (Repair::Delete, None) if seen.cause.is_some() => {
            Finding::skip(Area::Adx, DATABASE_ADMIN, seen.cause.as_deref().unwrap_or_default())
        }
        (Repair::Off, _) => Finding::pass(Area::Adx, DATABASE_ADMIN, "not needed, as REPAIR is off"),
        (Repair::Delete, Some(true)) => {
            Finding::pass(Area::Adx, DATABASE_ADMIN, "the identity is a Database Admin, for REPAIR=delete")
        }
        (Repair::Delete, Some(false)) => {
            let what = "the identity is no Database Admin, so REPAIR=delete cannot remove rows";
            Finding::fail(Area::Adx, DATABASE_ADMIN, what, format!("{grant}, or set REPAIR=off"))
        }
        (Repair::Delete, None) => {
            let what = "whether the identity is a Database Admin, for REPAIR=delete, is not known: the service does not show its roles";
            Finding::warn(Area::Adx, DATABASE_ADMIN, what, look_up(settings, &grant))
        }
    };
    vec![table, database]
}

fn table_admin(roles: &Roles, is_admin: Option<bool>, settings: &Settings, needs: &[NeedsAdmin]) -> Finding {
    let open: Vec<&NeedsAdmin> =
        needs.iter().filter(|need| is_admin != Some(true) && !roles.is_admin_of(&need.table)).collect();
    if open.is_empty() {
        let what =
            if needs.is_empty() { "no table asks for it" } else { "the identity is an admin where it has to be" };
        return Finding::pass(Area::Adx, TABLE_ADMIN, what);
    }
    let what: Vec<String> = open.iter().map(|need| format!("{} ({})", need.table, need.what)).collect();
    let commands = |command: &dyn Fn(&NeedsAdmin) -> String| {
        open.iter().map(|need| run(&command(need))).collect::<Vec<_>>().join(" and ")
    };
    let grants = commands(&|need| remedy::grant_in_table(&need.table, Role::Admins, &settings.app));
    let looks = commands(&|need| remedy::see_roles_in_table(&need.table));
    let what = what.join(", ");
    if is_admin == Some(false) && open.iter().any(|need| need.must) {
        let what = format!("the identity is not known to be Table Admin of {what}");
        return Finding::fail(
            Area::Adx,
            TABLE_ADMIN,
            what,
            format!("{grants}, or set CHUNK_ID=row, which alters no table"),
        );
    }
    Finding::warn(
        Area::Adx,
        TABLE_ADMIN,
        format!("whether the identity is Table Admin is not known, of {what}"),
        format!("see with {looks}, and where it is not among them {grants}"),
    )
}

/// How a person finds out who has a role that the service does not show to the identity.
fn look_up(settings: &Settings, grant: &str) -> String {
    let look = run(&remedy::see_roles(&settings.database));
    format!("as Database Admin look with {look}, and where the app is not among them {grant}")
}

/// A command for an administrator of the database.
fn run(command: &str) -> String {
    format!("`{command}`")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn roles(held: &[(&str, &str)]) -> Roles {
        let of = |(scope, role): &(&str, &str)| HeldRole { scope: (*scope).to_owned(), role: (*role).to_owned() };
        Roles(Some(held.iter().map(of).collect()))
    }

    #[test]
    fn a_role_counts_in_its_database_and_above() {
        let ingestor = ["ingestor", "admin"];
        for (held, expected) in [
            (&[("Database Defender", "Ingestor")][..], Some(true)),
            (&[("Database defender", "Database Admin")], Some(true)),
            (&[("Defender", "Viewer")], Some(false)),
            (&[("Cluster C", "AllDatabasesAdmin")], Some(true)),
            (&[("Cluster C", "AllDatabasesViewer")], Some(false)),
            (&[("Database OldDefender", "Admin")], None),
            (&[("Table Defender", "Admin")], None),
            (&[], None),
        ] {
            assert_eq!(roles(held).has("Defender", &ingestor), expected, "{held:?}");
        }
        assert_eq!(Roles(None).has("Defender", &ingestor), None);
        assert!(roles(&[("Table DeviceEvents", "Admin")]).is_admin_of("DeviceEvents"));
        assert!(!roles(&[("Table DeviceEvents", "Ingestor")]).is_admin_of("DeviceEvents"));
    }

    #[test]
    fn a_missing_database_is_told_from_a_missing_view() {
        for (what, is) in [
            ("Entity ID 'D' of kind 'Database' was not found.", true),
            ("Database 'D' does not exist", true),
            ("Failed to resolve table or column expression named 'vw'", false),
            ("Entity ID 'vw' of kind 'Function' was not found in database 'D'.", false),
        ] {
            let error = Error::NotFound { what: what.to_owned() };
            assert_eq!(error.is_missing_database(), is, "{what}");
        }
    }
}
