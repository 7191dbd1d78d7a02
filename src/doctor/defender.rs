//! The source: whether the hunting service answers, lets the app in and has the configured tables. Few calls, out of the
//! tenant's budget where there is one.

use super::identity::{self, Claims};
use super::settings::quoted;
use super::tables::{self, TABLES, Told, Wanted, names_it};
use super::{Area, Ends, Finding};
use crate::config::Settings;
use crate::defender::{Client, Dialect, Error, Query, queries};
use crate::kql::Identifier;
use crate::outbound::{self, Outbound};
use crate::setup::{columns_of, columns_query};
use crate::state::State;
use std::time::Duration;
use tokio::time::Instant;

const ENDPOINT: &str = "defender.endpoint";
const PERMISSION: &str = "defender.permission";
const RETIREMENT: &str = "defender.retirement";
/// Hunting calls that a look may make.
const MOST_CALLS: u32 = 3;
/// How long a permit is waited for.
const PERMIT: Duration = Duration::from_secs(10);
/// What is asked for where no table is configured: every tenant has alerts, and a refusal to know it is an answer, too.
const ANY_TABLE: &str = "AlertInfo";
/// The ids of Graph and of its permission to hunt (learn.microsoft.com "Microsoft Graph permissions reference").
const GRAPH_APP: &str = "00000003-0000-0000-c000-000000000000";
const GRAPH_ROLE: &str = "dd98c7f5-2d42-42d3-a0e4-633161547251";

/// What was found of the source.
#[derive(Default)]
pub(super) struct Seen {
    pub findings: Vec<Finding>,
    /// Calls that were made.
    pub calls: u32,
    /// What the service said when it asked for a pause.
    pub throttled: Option<String>,
}

/// All checks of the source that were not made because of one.
pub(super) fn skipped(cause: &str) -> Seen {
    let ids = [ENDPOINT, PERMISSION, TABLES];
    let findings = ids.into_iter().map(|id| Finding::skip(Area::Defender, id, cause)).collect();
    Seen { findings, ..Seen::default() }
}

/// Whether the endpoint is one of those that end.
pub(super) fn retirement(settings: &Settings) -> Finding {
    let dialect = Dialect::of(&settings.hunting);
    match dialect.retirement_notice(&settings.hunting) {
        None => Finding::pass(Area::Defender, RETIREMENT, "Microsoft Graph, which does not end"),
        Some(notice) => {
            let (what, remedy) = notice.split_once("; ").unwrap_or((&notice, ""));
            Finding::warn(Area::Defender, RETIREMENT, what, remedy)
        }
    }
}

/// The source and who asks it.
pub(super) struct Source<'a> {
    pub settings: &'a Settings,
    pub client: Client,
    pub outbound: Outbound,
    /// What the app's token says.
    pub claims: Option<Claims>,
    /// The kind of identity.
    pub kind: &'static str,
    /// The state store, if its tables can be read.
    pub state: Option<&'a State>,
}

/// How the calls ended.
enum Ended {
    /// The service answered with rows.
    Answered(Told),
    /// No call was sent: why.
    Unsent(String),
    /// A call failed.
    Failed(Error),
}

impl Source<'_> {
    /// Looks at the service and at these tables of it. `no_tables`: the check because of which they are not known.
    pub async fn look(&self, tables: Result<Vec<Wanted>, String>, ends: Ends) -> Seen {
        let mut seen = Seen::default();
        let names = tables.iter().flatten().map(|wanted| wanted.table.clone()).collect();
        let ended = self.ask(names, &mut seen.calls, ends).await;
        if let Ended::Failed(Error::Throttled { after, message, .. }) = &ended {
            seen.throttled = Some(message.clone());
            self.pause(*after).await;
        }
        self.judge(&mut seen, &ended);
        match (tables, ended) {
            (Err(cause), _) => seen.findings.push(Finding::skip(Area::Defender, TABLES, &cause)),
            (Ok(wanted), Ended::Answered(told)) => seen.findings.extend(tables::findings(&wanted, &told)),
            (Ok(_), Ended::Unsent(_) | Ended::Failed(Error::Throttled { .. })) => {
                seen.findings.push(Finding::skip(Area::Defender, TABLES, &quoted("quota.now")));
            }
            (Ok(_), Ended::Failed(_)) => {
                let cause = seen.findings.iter().find(|finding| finding.remedy.is_some());
                let cause = quoted(cause.map_or(ENDPOINT, |finding| finding.id.as_str()));
                seen.findings.push(Finding::skip(Area::Defender, TABLES, &cause));
            }
        }
        seen
    }

    /// Asks for the columns of all tables at once, and again without each that the service does not know. Where it does not
    /// tell columns, it is asked whether the tables are there.
    async fn ask(&self, mut left: Vec<Identifier>, calls: &mut u32, ends: Ends) -> Ended {
        let (mut unknown, mut tells_columns, mut renewed) = (Vec::new(), true, false);
        let names = |left: &[Identifier]| left.iter().map(|table| table.as_str().to_owned()).collect::<Vec<_>>();
        let any = Identifier::new(ANY_TABLE).ok();
        while *calls < MOST_CALLS && (*calls == 0 || !left.is_empty()) {
            let asked = if left.is_empty() { any.clone().into_iter().collect() } else { left.clone() };
            if let Err(why) = self.permit(ends).await {
                if *calls == 0 {
                    return Ended::Unsent(why);
                }
                break;
            }
            *calls += 1;
            let query = if tells_columns { columns_query(&asked, false) } else { queries::visible(&asked) };
            match self.client.rows(&Query::new(&query), ends.step()).await {
                Ok(answer) => {
                    let columns = columns_of(&answer.rows);
                    return Ended::Answered(Told { unknown, columns, ..Told::default() });
                }
                Err(error) if error.is_unknown_table() => {
                    let said = error.to_string();
                    match left.iter().position(|table| names_it(&said, table.as_str())) {
                        Some(at) => unknown.push(left.remove(at).as_str().to_owned()),
                        None => break,
                    }
                }
                Err(Error::StaleToken { .. }) if !renewed => renewed = true,
                Err(Error::Refused { .. }) if tells_columns => tells_columns = false,
                // One table at a time is a simpler question.
                Err(Error::Refused { .. }) if left.len() > 1 => return self.ask_each(left, unknown, calls, ends).await,
                Err(error) => return Ended::Failed(error.of_last_token()),
            }
        }
        Ended::Answered(Told { unknown, unasked: names(&left), ..Told::default() })
    }

    async fn ask_each(&self, left: Vec<Identifier>, mut unknown: Vec<String>, calls: &mut u32, ends: Ends) -> Ended {
        let mut unasked = Vec::new();
        for table in left {
            let name = table.as_str().to_owned();
            if *calls >= MOST_CALLS || self.permit(ends).await.is_err() {
                unasked.push(name);
                continue;
            }
            *calls += 1;
            let query = queries::visible(std::slice::from_ref(&table));
            match self.client.rows(&Query::new(&query), ends.step()).await {
                Ok(_) => {}
                Err(error) if error.is_unknown(&table) => unknown.push(name),
                Err(error) => return Ended::Failed(error.of_last_token()),
            }
        }
        Ended::Answered(Told { unknown, unasked, ..Told::default() })
    }

    /// Waits for a permit out of the tenant's budget, where anybody has ever used it: nothing is written to a new store.
    async fn permit(&self, ends: Ends) -> Result<(), String> {
        let Some(state) = self.state else { return Ok(()) };
        let begun = Instant::now();
        let taken = async {
            if !state.has_budget().await? {
                return Ok(Ok(None));
            }
            if let Err(wait) = state.follow_line(None, PERMIT).await? {
                return Ok(Err(wait));
            }
            Ok::<_, crate::state::Error>(state.take_permit(PERMIT).await?.map(Some))
        };
        match tokio::time::timeout_at(ends.step().min(begun + PERMIT * 2), taken).await {
            Ok(Ok(Ok(at))) => {
                if let Some(at) = at {
                    tokio::time::sleep(at.since(state.permit_time()).min(PERMIT)).await;
                }
                Ok(())
            }
            Ok(Ok(Err(wait))) => {
                Err(format!("the tenant's budget has no hunting call for the next {} s", wait.as_secs()))
            }
            Ok(Err(error)) => Err(format!("the tenant's budget cannot be read or moved: {error}")),
            Err(_) => Err("the tenant's budget could not be moved in time".to_owned()),
        }
    }

    /// Has everybody keep a pause that the service asked for.
    async fn pause(&self, asked: Option<Duration>) {
        let Some(state) = self.state else { return };
        let kept = async {
            if state.has_budget().await? {
                state.pause_calls(asked).await?;
            }
            Ok::<_, crate::state::Error>(())
        };
        if !matches!(tokio::time::timeout(PERMIT, kept).await, Ok(Ok(()))) {
            tracing::warn!("the pause that the hunting service asked for could not be put on record");
        }
    }

    /// What the calls say of the endpoint and of the permission.
    fn judge(&self, seen: &mut Seen, ended: &Ended) {
        let hunting = &self.settings.hunting;
        let place = format!("{}{}", hunting.host_str().unwrap_or_default(), hunting.path());
        let answers = || Finding::pass(Area::Defender, ENDPOINT, format!("{place} answers"));
        let dialect = Dialect::of(hunting);
        let held = self.claims.as_ref().and_then(|claims| claims.permits(dialect.permission()));
        match ended {
            Ended::Answered(_) => {
                seen.findings.push(answers());
                let what = format!("the identity may hunt ({} of {})", dialect.permission(), dialect.api());
                seen.findings.push(Finding::pass(Area::Defender, PERMISSION, what));
            }
            Ended::Unsent(why) => {
                let what = format!("not asked: {why}");
                seen.findings.push(Finding::warn(Area::Defender, ENDPOINT, what, "run this command again later"));
                seen.findings.push(self.by_the_token(held));
            }
            Ended::Failed(error @ Error::Forbidden { .. }) => {
                seen.findings.push(answers());
                seen.findings.push(self.forbidden(error));
            }
            Ended::Failed(Error::Disallowed { message }) => {
                seen.findings.push(answers());
                let what = format!("the service does not allow hunting in this tenant ({message})");
                let remedy = "look in the Defender portal (security.microsoft.com) whether advanced hunting is licensed and switched on";
                seen.findings.push(Finding::fail(Area::Defender, PERMISSION, what, remedy));
            }
            Ended::Failed(error @ Error::Unauthorized { .. }) => {
                seen.findings.push(answers());
                let remedy = format!("set DEFENDER_RESOURCE_URI={}", dialect.resource(hunting));
                seen.findings.push(Finding::fail(Area::Defender, PERMISSION, error.to_string(), remedy));
            }
            Ended::Failed(Error::Throttled { .. }) => {
                seen.findings.push(answers());
                seen.findings.push(self.by_the_token(held));
            }
            Ended::Failed(Error::Outbound(outbound::Error::Token { .. })) => {
                let cause = quoted(identity::HUNTING);
                seen.findings.push(Finding::skip(Area::Defender, ENDPOINT, &cause));
                seen.findings.push(Finding::skip(Area::Defender, PERMISSION, &cause));
            }
            Ended::Failed(error) => {
                seen.findings.push(Finding::fail(
                    Area::Defender,
                    ENDPOINT,
                    format!("{place}: {error}"),
                    endpoint_remedy(error, self.settings, &self.outbound),
                ));
                seen.findings.push(Finding::skip(Area::Defender, PERMISSION, &quoted(ENDPOINT)));
            }
        }
    }

    /// The permission by what the token says, where the service could not be asked.
    fn by_the_token(&self, held: Option<bool>) -> Finding {
        let permission = Dialect::of(&self.settings.hunting).permission();
        match held {
            Some(true) => Finding::pass(Area::Defender, PERMISSION, format!("the token has {permission}")),
            Some(false) => {
                Finding::fail(Area::Defender, PERMISSION, format!("the token has no {permission}"), self.grant())
            }
            None => {
                let what = format!("whether the identity has {permission} is not known: the token does not say");
                Finding::warn(Area::Defender, PERMISSION, what, "run this command again later")
            }
        }
    }

    fn forbidden(&self, error: &Error) -> Finding {
        let Error::Forbidden { message, permission, api } = error else {
            return Finding::fail(Area::Defender, PERMISSION, error.to_string(), self.grant());
        };
        let held = match &self.claims {
            Some(claims) if !claims.roles.is_empty() => format!("; its token has {}", claims.roles.join(", ")),
            Some(_) => "; its token has no application permission of this API".to_owned(),
            None => String::new(),
        };
        let what = format!("the identity lacks the application permission {permission} of {api} ({message}){held}");
        Finding::fail(Area::Defender, PERMISSION, what, self.grant())
    }

    /// How the permission is granted.
    fn grant(&self) -> String {
        let dialect = Dialect::of(&self.settings.hunting);
        let (permission, api) = (dialect.permission(), dialect.api());
        let application = self.claims.as_ref().and_then(Claims::application).or(self.settings.app.client.as_deref());
        let application = application.unwrap_or("<application id>");
        if dialect == Dialect::Graph && self.kind == "managed identity" {
            let graph = dialect.resource(&self.settings.hunting);
            let id_of = |app: &str| format!("$(az ad sp show --id {app} --query id --output tsv)");
            let (own, resource) = (id_of(application), id_of(GRAPH_APP));
            return format!(
                "grant {permission}: `az rest --method POST --uri \"{graph}/v1.0/servicePrincipals/{own}/appRoleAssignments\" --body \
                 \"{{\\\"principalId\\\":\\\"{own}\\\",\\\"resourceId\\\":\\\"{resource}\\\",\\\"appRoleId\\\":\\\"{GRAPH_ROLE}\\\"}}\"` \
                 (needs the role Privileged Role Administrator); a new token has it after some minutes"
            );
        }
        if dialect == Dialect::Graph {
            return format!(
                "grant {permission}: `az ad app permission add --id {application} --api {GRAPH_APP} --api-permissions \
                 {GRAPH_ROLE}=Role` and `az ad app permission admin-consent --id {application}`, or in the Entra admin center: App \
                 registrations > the app > API permissions > Add a permission > {api} > Application permissions > {permission}, \
                 then Grant admin consent"
            );
        }
        format!(
            "in the Entra admin center: App registrations > the app {application} > API permissions > Add a permission > APIs my \
             organization uses > {api} > Application permissions > {permission}, then Grant admin consent"
        )
    }
}

fn endpoint_remedy(error: &Error, settings: &Settings, outbound: &Outbound) -> String {
    match error {
        Error::Outbound(outbound::Error::Untrusted { .. }) => {
            identity::untrusted("DEFENDER_HUNTING_API_URL", &settings.hunting, outbound)
        }
        Error::TimedOut { .. } | Error::GatewayTimedOut { .. } => {
            "run this command again; if it stays, check the network".to_owned()
        }
        _ => format!(
            "set DEFENDER_HUNTING_API_URL={} (or that of your cloud), and see that this machine reaches it without a proxy that \
             answers in its place",
            crate::config::GRAPH_HUNTING
        ),
    }
}
