//! What the identity services' errors mean, in words that say what to do.

use super::Kind;
use crate::outbound::{Cloud, TOKEN_TIMEOUT};
use azure_core::error::ErrorKind;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// How long an identity service may take for a token, repetitions included.
const PATIENCE: Duration = Duration::from_secs(12);

/// A message longer than this is cut: an identity endpoint may answer with a page.
const MESSAGE_CHARS: usize = 600;
/// How a function app's identities are seen and assigned.
const SHOW: &str = "`az functionapp identity show --name APP --resource-group GROUP`";
const ASSIGN: &str = "`az functionapp identity assign --name APP --resource-group GROUP`";
const OTHERWISE: &str = "check AZURE_TENANT_ID, AZURE_CLIENT_ID and AZURE_CLIENT_SECRET, or which managed identity the app has (for the state store AzureWebJobsStorage__clientId)";

/// Whom an identity asks, and for whom: an error means something else to each.
#[derive(Debug, Clone)]
pub(super) struct Asked {
    pub(super) kind: Kind,
    /// Whether the settings name one of several managed identities.
    pub(super) names_one: bool,
    /// Whether the environment says where managed identities are to be had; otherwise the machine's metadata service is asked.
    pub(super) has_endpoint: bool,
    /// `AZURE_AUTHORITY_HOST`
    pub(super) authority: Option<String>,
}

/// An error of a credential, and what to do about it.
#[derive(Debug, Clone)]
struct Advised {
    cause: Arc<azure_core::Error>,
    /// The service's words, where the cause leaves them out.
    said: String,
    remedy: String,
}

impl fmt::Display for Advised {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.cause.fmt(f)?;
        if self.said.is_empty() { Ok(()) } else { write!(f, ": {}", self.said) }
    }
}

impl std::error::Error for Advised {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&*self.cause)
    }
}

/// What failed, with its causes, and what to do about it.
pub(in crate::outbound) fn explain(error: &azure_core::Error) -> (String, String) {
    let remedy = error.downcast_ref::<Advised>().map(|advised| advised.remedy.clone());
    let message = without_links(&causes(error));
    (message, remedy.unwrap_or_else(|| OTHERWISE.to_owned()))
}

/// An error of [`Asked::advise`] once more.
pub(super) fn repeated(error: &azure_core::Error) -> Option<azure_core::Error> {
    let advised = error.downcast_ref::<Advised>()?.clone();
    Some(azure_core::Error::new(error.kind().clone(), advised))
}

impl Asked {
    /// How long an answer is waited for: what is asked over the network is near, and the tools of developers are slow to start.
    pub(super) fn patience(&self) -> Duration {
        match self.kind {
            Kind::ClientSecret | Kind::Workload | Kind::Managed => PATIENCE,
            Kind::Developer | Kind::AzureCli | Kind::AzureDeveloperCli => TOKEN_TIMEOUT,
        }
    }

    /// What it is when that is over.
    pub(super) fn silence(&self) -> azure_core::Error {
        let message = format!("the identity service did not answer within {} s", self.patience().as_secs());
        azure_core::Error::with_message(ErrorKind::Connection, message)
    }

    /// The error together with what to do about it.
    pub(super) fn advise(&self, error: azure_core::Error) -> azure_core::Error {
        let message = causes(&error);
        let answer = answer(&error);
        // The SDK has one text for all that a managed identity is refused for.
        let said = answer.as_ref().filter(|_| self.kind == Kind::Managed).map_or("", |(_, said)| said.as_str());
        let said = if message.contains(said) { String::new() } else { said.to_owned() };
        let remedy = self.remedy(&format!("{message} {said}"), answer.map(|(status, _)| status), is_transient(&error));
        azure_core::Error::new(error.kind().clone(), Advised { cause: Arc::new(error), said, remedy })
    }

    /// What to do where nothing answers.
    pub(super) fn unreached(&self) -> String {
        match self.kind {
            Kind::Managed if self.has_endpoint => "IDENTITY_ENDPOINT does not answer: the Functions host sets it and IDENTITY_HEADER for an \
                 app that has a managed identity; take them out of your own settings, and outside of Azure describe an app \
                 registration (AZURE_TENANT_ID, AZURE_CLIENT_ID, AZURE_CLIENT_SECRET)"
                .to_owned(),
            Kind::Managed => format!(
                "this machine has no managed identity, or its metadata service is out of order: outside of Azure set AZURE_TENANT_ID and AZURE_CLIENT_SECRET beside \
                 AZURE_CLIENT_ID, or AZURE_TOKEN_CREDENTIALS=dev to be who is signed in with `az login`; for a function app {ASSIGN}"
            ),
            Kind::ClientSecret | Kind::Workload => match (&self.authority, Cloud::of_authority(self.authority.as_deref())) {
                (Some(authority), Cloud::Other) => {
                    format!("{authority} is not the authority of a cloud of Azure: {AUTHORITIES}")
                }
                (authority, _) => format!(
                    "see that this machine reaches {}: its network, name resolution and firewall",
                    authority.as_deref().unwrap_or(PUBLIC)
                ),
            },
            Kind::Developer | Kind::AzureCli | Kind::AzureDeveloperCli => LOG_IN.to_owned(),
        }
    }

    fn remedy(&self, message: &str, status: Option<u16>, transient: bool) -> String {
        let known = ADVICE.iter().find(|(signs, _)| signs.iter().any(|sign| message.contains(sign)));
        if let Some((_, advice)) = known {
            return (*advice).to_owned();
        }
        match (self.kind, status) {
            (Kind::Managed, Some(400)) if self.names_one => format!(
                "AZURE_CLIENT_ID (for the state store AzureWebJobsStorage__clientId) has to be the client id of an identity that is \
                 assigned to this app: compare {SHOW}, or assign it with {ASSIGN} and --identities RESOURCE_ID"
            ),
            (Kind::Managed, Some(400)) => format!(
                "the app has no system-assigned identity: set AZURE_CLIENT_ID (for the state store AzureWebJobsStorage__clientId) to \
                 the client id of its user-assigned one ({SHOW}), or switch the system-assigned one on: {ASSIGN}"
            ),
            (Kind::Managed, Some(_)) if !transient && !self.has_endpoint => {
                "something answers in the place of the metadata service of Azure (169.254.169.254), which is never asked through the \
                 proxy of HTTPS_PROXY: see what the network does with this address; or this is no machine of Azure: describe an app \
                 registration (AZURE_TENANT_ID, AZURE_CLIENT_ID, AZURE_CLIENT_SECRET)"
                    .to_owned()
            }
            (Kind::Managed, _) if !transient && self.has_endpoint => {
                "IDENTITY_ENDPOINT and IDENTITY_HEADER are set by the Functions host, anew at each \
                 start: take them out of your own settings"
                    .to_owned()
            }
            (_, None) if transient => self.unreached(),
            _ if transient => {
                "try again later; the identity service is busy or broken (Azure status, service health)".to_owned()
            }
            (Kind::ClientSecret, _) | (Kind::Workload, Some(_)) if !message.contains("AADSTS") => {
                let authority = self.authority.as_deref().unwrap_or(PUBLIC);
                format!("what answers at {authority} is not Entra ID: {AUTHORITIES}")
            }
            (Kind::Workload, None) => {
                "AZURE_FEDERATED_TOKEN_FILE has to be the file that the platform mounts for this workload, \
                 readable to it"
                    .to_owned()
            }
            _ => OTHERWISE.to_owned(),
        }
    }
}

/// The authority where none is named.
const PUBLIC: &str = "https://login.microsoftonline.com";
/// The authorities of the clouds (learn.microsoft.com "National clouds").
pub(super) const AUTHORITIES: &str = "leave AZURE_AUTHORITY_HOST out for the public cloud, or set it to https://login.microsoftonline.us (US \
     Government) or https://login.chinacloudapi.cn (21Vianet)";
pub(super) const LOG_IN: &str =
    "run `az login`, or describe an identity with AZURE_CLIENT_ID (and AZURE_TENANT_ID, AZURE_CLIENT_SECRET)";

/// The SDK's pointers to its troubleshooting pages are left out: what to do stands behind the message.
fn without_links(message: &str) -> String {
    let mut parts = message.split("To troubleshoot, visit ");
    let mut text = parts.next().unwrap_or_default().trim_end().to_owned();
    for part in parts {
        // The link ends at a blank, or at the colon before the next cause.
        let behind = part.split_once(' ').map_or("", |(_, behind)| behind);
        if !behind.is_empty() {
            text.push_str(if part.split(' ').next().is_some_and(|link| link.ends_with(':')) { ": " } else { " " });
            text.push_str(behind.trim_end());
        }
    }
    text
}

/// What the codes of Entra that need a person mean here (learn.microsoft.com "Microsoft Entra authentication and authorization
/// error codes").
const ADVICE: [(&[&str], &str); 14] = [
    (
        &["(HTTPS_PROXY) gave no connection"],
        "have the proxy let connections to this host through, correct HTTPS_PROXY, or name the host in NO_PROXY where it is reached \
         without a proxy",
    ),
    (&["AADSTS7000215:"], "set AZURE_CLIENT_SECRET to the value of a client secret of this app (not the secret's id)"),
    (&["AADSTS7000222:"], "the client secret has expired: make a new one and set AZURE_CLIENT_SECRET"),
    (&["AADSTS700016:"], "AZURE_CLIENT_ID is not an app of the tenant AZURE_TENANT_ID"),
    (
        &["AADSTS7000229:"],
        "the app is registered and has no service principal in this tenant: `az ad sp create --id` with AZURE_CLIENT_ID",
    ),
    (
        &["AADSTS7000112:"],
        "the app is disabled in Entra ID, Enterprise applications, Properties: enable it for sign-in",
    ),
    (
        &["AADSTS90002:", "AADSTS900021:", "AADSTS900023:"],
        "AZURE_TENANT_ID is not a tenant of this cloud (see AZURE_AUTHORITY_HOST)",
    ),
    (
        &["in Cross Cloud request", "AADSTS900382:", "AADSTS900432:"],
        "the tenant is of another cloud: set AZURE_AUTHORITY_HOST to that cloud's authority",
    ),
    (
        &["AADSTS500011:", "AADSTS70011:", "AADSTS1002012:"],
        "the resource is not known in this tenant: check DEFENDER_RESOURCE_URI and ADX_CLUSTER_URI, and that they are of the cloud of \
         AZURE_AUTHORITY_HOST",
    ),
    (&["AADSTS53003:"], "a conditional access policy of the tenant blocks this app"),
    (
        &["AADSTS501051:"],
        "the resource takes assigned apps only: assign the app to it in Entra ID, Enterprise applications, Users and groups",
    ),
    (
        &["AADSTS700027:", "AADSTS700211:", "AADSTS700213:"],
        "the federated credential of the app does not match this workload",
    ),
    (&["invalid peer certificate"], "if the authority is yours, name its root certificate in SSL_CERT_FILE"),
    (&["AzureCliCredential", "AzureDeveloperCliCredential"], LOG_IN),
];

/// The status of the answer and its own words, if there was one.
fn answer(error: &azure_core::Error) -> Option<(u16, String)> {
    let mut next: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = next {
        let kind = error.downcast_ref::<azure_core::Error>().map(azure_core::Error::kind);
        if let Some(ErrorKind::HttpResponse { status, raw_response, .. }) = kind {
            let body =
                raw_response.as_ref().and_then(|raw| serde_json::from_slice::<serde_json::Value>(raw.body()).ok());
            let said = body.as_ref().and_then(|body| body.get("error_description")?.as_str()).unwrap_or_default();
            return Some((u16::from(*status), said.to_owned()));
        }
        next = error.source();
    }
    None
}

/// Whether the identity service may answer later: it was not reached, or was busy or broken.
pub(in crate::outbound) fn is_transient(error: &azure_core::Error) -> bool {
    let mut next: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = next {
        match error.downcast_ref::<azure_core::Error>().map(azure_core::Error::kind) {
            Some(ErrorKind::Connection | ErrorKind::Io) => return true,
            Some(ErrorKind::HttpResponse { status, .. }) => {
                let status = u16::from(*status);
                return status == 408 || status == 429 || status >= 500;
            }
            _ => next = error.source(),
        }
    }
    false
}

/// An error with those of its causes that it does not itself repeat, on one line.
pub fn causes(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        next = cause.source();
    }
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    line.chars().take(MESSAGE_CHARS).collect()
}
