//! Which identity asks for tokens, chosen from the settings, and what its errors mean. Knows no service
//! but the identity ones.

mod errors;
mod renewing;
mod transport;

pub use errors::causes;
pub(super) use errors::{explain, is_transient};

use super::Error;
use crate::secret::Secret;
use crate::timestamp::{Clock, SystemClock};
use azure_core::cloud::{CloudConfiguration, CustomConfiguration};
use azure_core::credentials::TokenCredential;
use azure_core::http::{ClientOptions, ExponentialRetryOptions, HttpClient, RetryOptions, Transport};
use azure_identity::{
    AzureCliCredential, AzureDeveloperCliCredential, ClientAssertionCredentialOptions, ClientSecretCredential,
    ClientSecretCredentialOptions, DeveloperToolsCredential, ManagedIdentityCredential,
    ManagedIdentityCredentialOptions, UserAssignedId, WorkloadIdentityCredential, WorkloadIdentityCredentialOptions,
};
use errors::Asked;
use renewing::Renewing;
use std::path::PathBuf;
use std::sync::Arc;
use transport::Legible;

/// A user-assigned managed identity by its resource id, in place of `AZURE_CLIENT_ID`.
pub const MANAGED_IDENTITY_RESOURCE_ID: &str = "AZURE_MANAGED_IDENTITY_RESOURCE_ID";

/// Where Entra ID of the public cloud gives tokens.
const PUBLIC_LOGIN: &str = "login.microsoftonline.com";
/// Where a machine in Azure gives those of its identity (learn.microsoft.com "Azure Instance Metadata Service").
const METADATA: &str = "169.254.169.254";

type Lookup<'a> = &'a dyn Fn(&str) -> Option<String>;

/// The identity that the settings describe, and its kind in words for the start-up line.
///
/// `AZURE_TOKEN_CREDENTIALS` decides if it is set (`prod`, `dev` or the name of a credential, as for the other Azure SDKs);
/// otherwise `AZURE_CLIENT_SECRET` means client secret, `AZURE_FEDERATED_TOKEN_FILE` workload identity, `IDENTITY_ENDPOINT` or
/// a client id alone managed identity, and nothing of these developer tools. The managed identity itself is read by
/// the SDK from the environment of the process.
///
/// # Errors
/// [`Error::Identity`] names what is missing or unknown.
pub fn credential(
    lookup: Lookup<'_>,
    http: reqwest::Client,
) -> Result<(Arc<dyn TokenCredential>, &'static str), Error> {
    over(lookup, Arc::new(http), Arc::new(SystemClock))
}

fn over(
    lookup: Lookup<'_>,
    http: Arc<dyn HttpClient>,
    clock: Arc<dyn Clock>,
) -> Result<(Arc<dyn TokenCredential>, &'static str), Error> {
    let set = |name: &str| lookup(name).map(|value| value.trim().to_owned()).filter(|value| !value.is_empty());
    let kind = Kind::choose(&set)?;
    let secret = set("AZURE_CLIENT_SECRET").map(Secret::new);
    let recipe = Recipe::new(kind, &set, Transport::new(Arc::new(Legible { http, clock, secret })))?;
    let credential = Renewing::new(recipe).map_err(|error| Error::Identity {
        message: format!("{}: {}", kind.name(), causes(&error)),
        remedy: kind.described_by().to_owned(),
    })?;
    Ok((Arc::new(credential), kind.name()))
}

/// Who gives the tokens of the identity that the settings describe, for a person who waits for one: a host, or the tools of a
/// developer.
pub fn token_source(lookup: Lookup<'_>) -> String {
    let set = |name: &str| lookup(name).map(|value| value.trim().to_owned()).filter(|value| !value.is_empty());
    let host = |text: String| {
        let behind = text.split_once("://").map_or(text.as_str(), |(_, behind)| behind);
        behind.split(['/', '?', '#']).next().unwrap_or_default().rsplit('@').next().unwrap_or_default().to_owned()
    };
    match Kind::choose(&set) {
        Ok(Kind::ClientSecret | Kind::Workload) => {
            format!("the login host {}", set("AZURE_AUTHORITY_HOST").map_or_else(|| PUBLIC_LOGIN.to_owned(), host))
        }
        Ok(Kind::Managed) => {
            format!("the identity endpoint {}", set("IDENTITY_ENDPOINT").map_or_else(|| METADATA.to_owned(), host))
        }
        Ok(kind) => kind.name().to_owned(),
        Err(_) => "the identity".to_owned(),
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    ClientSecret,
    Workload,
    Managed,
    Developer,
    AzureCli,
    AzureDeveloperCli,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::ClientSecret => "client secret",
            Self::Workload => "workload identity",
            Self::Managed => "managed identity",
            Self::Developer => "developer tools",
            Self::AzureCli => "Azure CLI",
            Self::AzureDeveloperCli => "Azure Developer CLI",
        }
    }

    /// What has to be right where an identity of this kind cannot be made.
    fn described_by(self) -> &'static str {
        match self {
            Self::ClientSecret => {
                "set AZURE_TENANT_ID, AZURE_CLIENT_ID and AZURE_CLIENT_SECRET of an app registration (Overview and Certificates & \
                 secrets in the Entra admin center), or leave out the secret for a managed identity"
            }
            Self::Workload => {
                "set AZURE_TENANT_ID, AZURE_CLIENT_ID and AZURE_FEDERATED_TOKEN_FILE, or leave out the file for a managed identity"
            }
            Self::Managed => {
                "name a user-assigned identity by AZURE_CLIENT_ID, its client id, and leave IDENTITY_ENDPOINT to the Functions host"
            }
            Self::Developer | Self::AzureCli | Self::AzureDeveloperCli => errors::LOG_IN,
        }
    }

    fn choose(set: &dyn Fn(&str) -> Option<String>) -> Result<Self, Error> {
        let deployed = || {
            if set("AZURE_CLIENT_SECRET").is_some() {
                Some(Self::ClientSecret)
            } else if set("AZURE_FEDERATED_TOKEN_FILE").is_some() {
                Some(Self::Workload)
            } else if set("IDENTITY_ENDPOINT").is_some() || set("AZURE_CLIENT_ID").is_some() {
                Some(Self::Managed)
            } else {
                None
            }
        };
        let Some(wanted) = set("AZURE_TOKEN_CREDENTIALS") else { return Ok(deployed().unwrap_or(Self::Developer)) };
        match wanted.to_ascii_lowercase().as_str() {
            "dev" => Ok(Self::Developer),
            "prod" => Ok(deployed().unwrap_or(Self::Managed)),
            "environmentcredential" | "clientsecretcredential" => Ok(Self::ClientSecret),
            "workloadidentitycredential" => Ok(Self::Workload),
            "managedidentitycredential" => Ok(Self::Managed),
            "azureclicredential" => Ok(Self::AzureCli),
            "azuredeveloperclicredential" => Ok(Self::AzureDeveloperCli),
            _ => Err(Error::Identity {
                message: format!("AZURE_TOKEN_CREDENTIALS is `{}`", wanted.chars().take(60).collect::<String>()),
                remedy: "use prod, dev, EnvironmentCredential, WorkloadIdentityCredential, ManagedIdentityCredential, \
                         AzureCliCredential or AzureDeveloperCliCredential"
                    .to_owned(),
            }),
        }
    }
}

/// All that it takes to make the credential, and to make it again with an empty token cache.
struct Recipe {
    kind: Kind,
    asked: Asked,
    tenant: Option<String>,
    client: Option<String>,
    resource: Option<String>,
    secret: Option<Secret>,
    token_file: Option<PathBuf>,
    cloud: CloudConfiguration,
    transport: Transport,
}

impl Recipe {
    fn new(kind: Kind, set: &dyn Fn(&str) -> Option<String>, transport: Transport) -> Result<Self, Error> {
        let needed: &[&str] = match kind {
            Kind::ClientSecret => &["AZURE_TENANT_ID", "AZURE_CLIENT_ID", "AZURE_CLIENT_SECRET"],
            Kind::Workload => &["AZURE_TENANT_ID", "AZURE_CLIENT_ID", "AZURE_FEDERATED_TOKEN_FILE"],
            _ => &[],
        };
        let missing: Vec<&str> = needed.iter().copied().filter(|name| set(name).is_none()).collect();
        if !missing.is_empty() {
            let message = format!("{}: {} must be set", kind.name(), missing.join(" and "));
            return Err(Error::Identity { message, remedy: kind.described_by().to_owned() });
        }
        let asked = Asked {
            kind,
            names_one: set("AZURE_CLIENT_ID").or_else(|| set(MANAGED_IDENTITY_RESOURCE_ID)).is_some(),
            has_endpoint: set("IDENTITY_ENDPOINT").is_some(),
            authority: set("AZURE_AUTHORITY_HOST"),
        };
        Ok(Self {
            kind,
            asked,
            tenant: set("AZURE_TENANT_ID"),
            client: set("AZURE_CLIENT_ID"),
            resource: set(MANAGED_IDENTITY_RESOURCE_ID),
            secret: set("AZURE_CLIENT_SECRET").map(Secret::new),
            token_file: set("AZURE_FEDERATED_TOKEN_FILE").map(PathBuf::from),
            cloud: cloud(set("AZURE_AUTHORITY_HOST"))?,
            transport,
        })
    }

    fn build(&self) -> azure_core::Result<Arc<dyn TokenCredential>> {
        let client_options = ClientOptions {
            transport: Some(self.transport.clone()),
            cloud: Some(Arc::new(self.cloud.clone())),
            // Below the timeout of a token call, so that the answer that made it retry is what is reported.
            retry: RetryOptions::exponential(ExponentialRetryOptions {
                initial_delay: azure_core::time::Duration::milliseconds(500),
                max_retries: 3,
                max_total_elapsed: azure_core::time::Duration::seconds(6),
                max_delay: azure_core::time::Duration::seconds(3),
            }),
            ..ClientOptions::default()
        };
        let text = |value: &Option<String>| value.clone().unwrap_or_default();
        Ok(match self.kind {
            Kind::ClientSecret => ClientSecretCredential::new(
                &text(&self.tenant),
                text(&self.client),
                self.secret.as_ref().map(Secret::expose).unwrap_or_default().to_owned().into(),
                Some(ClientSecretCredentialOptions { client_options }),
            )?,
            Kind::Workload => WorkloadIdentityCredential::new(Some(WorkloadIdentityCredentialOptions {
                credential_options: ClientAssertionCredentialOptions { client_options },
                client_id: self.client.clone(),
                tenant_id: self.tenant.clone(),
                token_file_path: self.token_file.clone(),
            }))?,
            Kind::Managed => ManagedIdentityCredential::new(Some(ManagedIdentityCredentialOptions {
                user_assigned_id: match (&self.resource, &self.client) {
                    (Some(resource), _) => Some(UserAssignedId::ResourceId(resource.clone())),
                    (None, client) => client.clone().map(UserAssignedId::ClientId),
                },
                client_options,
            }))?,
            Kind::Developer => DeveloperToolsCredential::new(None)?,
            Kind::AzureCli => AzureCliCredential::new(None)?,
            Kind::AzureDeveloperCli => AzureDeveloperCliCredential::new(None)?,
        })
    }
}

/// The cloud whose authority gives the tokens; `AZURE_AUTHORITY_HOST` with or without its scheme.
fn cloud(authority: Option<String>) -> Result<CloudConfiguration, Error> {
    let Some(authority) = authority else { return Ok(CloudConfiguration::AzurePublic) };
    let authority = if authority.contains("://") { authority } else { format!("https://{authority}") };
    let usable = url::Url::parse(&authority).is_ok_and(|url| {
        url.scheme() == "https" && url.username().is_empty() && url.password().is_none() && url.query().is_none()
    });
    if !usable {
        return Err(Error::Identity {
            message: "AZURE_AUTHORITY_HOST is not an https URL such as https://login.microsoftonline.us".to_owned(),
            remedy: errors::AUTHORITIES.to_owned(),
        });
    }
    let mut custom = CustomConfiguration::default();
    custom.authority_host = authority;
    Ok(custom.into())
}

#[cfg(test)]
mod tests;
