//! Accounts that an identity is let into: `AzureWebJobsStorage__accountName` or the addresses of the services, and which
//! identity (azure-docs `functions-reference`, "Connecting to host storage with an identity"). Asks for no token.

use super::endpoint::{self, Endpoints, SERVICES};
use super::{Place, SETTING, Way, problem, set};
use crate::config::{Lookup, Problem, cloud, trusted_hosts};
use crate::outbound::{MANAGED_IDENTITY_RESOURCE_ID, TrustedHosts};
use crate::secret::Secret;
use url::Url;

/// The part of their names behind the two dashes, in the order of [`SERVICES`].
const URIS: [&str; 3] = ["tableServiceUri", "queueServiceUri", "blobServiceUri"];
const SUFFIX: &str = "core.windows.net";

/// Which identity: settings that stand in for those of the app's own identity.
#[derive(Debug, Clone, Default)]
pub(in crate::storage::azure) struct Identity {
    /// An empty value hides the app's own.
    instead: Vec<(&'static str, Secret)>,
}

impl Identity {
    /// A setting as this identity sees it.
    pub(in crate::storage::azure) fn setting(&self, lookup: Lookup<'_>, name: &str) -> Option<String> {
        match self.instead.iter().find(|(own, _)| *own == name) {
            Some((_, value)) => Some(value.expose().to_owned()),
            None => lookup(name),
        }
    }
}

/// Whether any of the settings is there.
pub(super) fn is_described(lookup: Lookup<'_>) -> bool {
    let names = ["accountName", "credential", "clientId", "tenantId", "clientSecret", "managedIdentityResourceId"];
    names.iter().chain(&URIS).any(|name| value(lookup, name).is_some())
}

/// The account that the settings name.
///
/// # Errors
/// All that is wrong with them.
pub(super) fn parse(lookup: Lookup<'_>) -> Result<Place, Vec<Problem>> {
    let mut problems = Vec::new();
    let account = value(lookup, "accountName");
    let named = account.as_deref().filter(|name| endpoint::is_account_name(name));
    if account.is_some() && named.is_none() {
        let rule = "is no name of a storage account: 3 to 24 lower-case letters and digits, such as `contosodata`";
        problems.push(problem(full("accountName"), rule));
    }
    let urls = std::array::from_fn(|index| match (value(lookup, URIS[index]), named) {
        (Some(text), _) => address(index, &text, &mut problems),
        (None, Some(name)) => endpoint::derive("https", name, SERVICES[index], SUFFIX),
        (None, None) => {
            if account.is_none() {
                let form = format!("is not set; set it to {}, or set {}", example(index), full("accountName"));
                problems.push(problem(full(URIS[index]), form));
            }
            None
        }
    });
    let identity = identity(lookup, &mut problems);
    let endpoints = Endpoints::of(urls);
    if let Some(endpoints) = &endpoints {
        check_trust(lookup, endpoints, &mut problems);
    }
    match endpoints {
        Some(endpoints) if problems.is_empty() => {
            let account = named.map_or_else(|| endpoints.account(), str::to_owned);
            Ok((account, endpoints, Way::Identity(identity)))
        }
        _ => Err(problems),
    }
}

fn address(index: usize, text: &str, problems: &mut Vec<Problem>) -> Option<Url> {
    let url = endpoint::parse(text);
    if let Err(wrong) = &url {
        problems.push(problem(full(URIS[index]), format!("{wrong}; set it to {}", example(index))));
    }
    url.ok()
}

/// Tokens go to the storage services' own hosts and to listed ones only.
fn check_trust(lookup: Lookup<'_>, endpoints: &Endpoints, problems: &mut Vec<Problem>) {
    let trusted = TrustedHosts::of_storage(trusted_hosts(lookup)).in_cloud(cloud(lookup));
    for (index, url) in endpoints.all().into_iter().enumerate() {
        if let Err(error) = trusted.check(url) {
            problems.push(problem(full(URIS[index]), error.to_string()));
        }
    }
}

/// `__credential` and what belongs to it. Nothing of it: the app's own identity.
fn identity(lookup: Lookup<'_>, problems: &mut Vec<Problem>) -> Identity {
    let given = |name| value(lookup, name);
    let (client, resource) = (given("clientId"), given("managedIdentityResourceId"));
    let credential = given("credential");
    let managed = credential.as_deref().is_some_and(|kind| kind.eq_ignore_ascii_case("managedidentity"));
    let workload = credential.as_deref().is_some_and(|kind| kind.eq_ignore_ascii_case("workloadidentity"));
    if credential.is_some() && !managed && !workload {
        let form = "is neither `managedidentity` nor `workloadidentity`; without it, the identity of the app is used";
        problems.push(problem(full("credential"), form));
    }
    if client.is_some() && resource.is_some() {
        let message = format!("excludes {}; remove one", full("clientId"));
        problems.push(problem(full("managedIdentityResourceId"), message));
    }
    let secret = given("clientSecret");
    if secret.is_some() && !managed && !workload {
        for name in ["tenantId", "clientId"].into_iter().filter(|name| given(name).is_none()) {
            problems.push(problem(full(name), format!("is not set, but belongs to {}", full("clientSecret"))));
        }
    }
    let kind = match secret {
        _ if workload => "WorkloadIdentityCredential",
        Some(_) if !managed => "ClientSecretCredential",
        // A client alone is a user-assigned identity; no other kind of identity needs no more.
        _ if managed || client.is_some() || resource.is_some() => "ManagedIdentityCredential",
        _ => return Identity::default(),
    };
    let mut instead = vec![("AZURE_TOKEN_CREDENTIALS", kind.to_owned())];
    let hidden = if workload { None } else { Some(String::new()) };
    instead.extend(client.or_else(|| hidden.clone()).map(|client| ("AZURE_CLIENT_ID", client)));
    instead.extend(resource.or(hidden).map(|resource| (MANAGED_IDENTITY_RESOURCE_ID, resource)));
    instead.extend(given("tenantId").map(|tenant| ("AZURE_TENANT_ID", tenant)));
    instead.extend(given("clientSecret").map(|secret| ("AZURE_CLIENT_SECRET", secret)));
    Identity { instead: instead.into_iter().map(|(name, value)| (name, Secret::new(value))).collect() }
}

/// A setting by the end of its name; in a file of settings a colon may stand for the two dashes.
fn value(lookup: Lookup<'_>, name: &str) -> Option<String> {
    set(lookup, &full(name)).or_else(|| set(lookup, &format!("{SETTING}:{name}")))
}

fn full(name: &str) -> String {
    format!("{SETTING}__{name}")
}

fn example(index: usize) -> String {
    format!("https://NAME.{}.{SUFFIX}", SERVICES[index])
}
