//! Which identity asks for tokens, chosen from the settings, and what its errors mean. Knows no service
//! but the identity ones.

use super::{Error, Refused};
use crate::secret::Secret;
use async_trait::async_trait;
use azure_core::cloud::{CloudConfiguration, CustomConfiguration};
use azure_core::credentials::{AccessToken, TokenCredential, TokenRequestOptions};
use azure_core::error::ErrorKind;
use azure_core::http::{ClientOptions, ExponentialRetryOptions, RetryOptions, Transport};
use azure_identity::{
    AzureCliCredential, AzureDeveloperCliCredential, ClientAssertionCredentialOptions, ClientSecretCredential,
    ClientSecretCredentialOptions, DeveloperToolsCredential, ManagedIdentityCredential,
    ManagedIdentityCredentialOptions, UserAssignedId, WorkloadIdentityCredential, WorkloadIdentityCredentialOptions,
};
use std::collections::HashMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

/// A message longer than this is cut: an identity endpoint may answer with a page.
const MESSAGE_CHARS: usize = 600;

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
    over(lookup, Transport::new(Arc::new(http)))
}

fn over(lookup: Lookup<'_>, transport: Transport) -> Result<(Arc<dyn TokenCredential>, &'static str), Error> {
    let set = |name: &str| lookup(name).map(|value| value.trim().to_owned()).filter(|value| !value.is_empty());
    let kind = Kind::choose(&set)?;
    let recipe = Recipe::new(kind, &set, transport)?;
    let credential = recipe.build().map_err(|error| Error::Identity(format!("{}: {}", kind.name(), causes(&error))))?;
    Ok((Arc::new(Renewing { recipe, current: Mutex::new(Current { credential, given: HashMap::new() }) }), kind.name()))
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
            _ => Err(Error::Identity(format!(
                "AZURE_TOKEN_CREDENTIALS is `{}`; use prod, dev, EnvironmentCredential, WorkloadIdentityCredential, \
                 ManagedIdentityCredential, AzureCliCredential or AzureDeveloperCliCredential",
                wanted.chars().take(60).collect::<String>()
            ))),
        }
    }
}

/// All that it takes to make the credential, and to make it again with an empty token cache.
struct Recipe {
    kind: Kind,
    tenant: Option<String>,
    client: Option<String>,
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
            return Err(Error::Identity(format!("{}: {} must be set", kind.name(), missing.join(" and "))));
        }
        Ok(Self {
            kind,
            tenant: set("AZURE_TENANT_ID"),
            client: set("AZURE_CLIENT_ID"),
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
                max_total_elapsed: azure_core::time::Duration::seconds(15),
                max_delay: azure_core::time::Duration::seconds(5),
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
                user_assigned_id: self.client.clone().map(UserAssignedId::ClientId),
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
        return Err(Error::Identity(
            "AZURE_AUTHORITY_HOST is not an https URL such as https://login.microsoftonline.us".to_owned(),
        ));
    }
    let mut custom = CustomConfiguration::default();
    custom.authority_host = authority;
    Ok(custom.into())
}

/// A credential whose token cache can be emptied: the SDK's caches cannot, so the credential is made anew.
struct Renewing {
    recipe: Recipe,
    current: Mutex<Current>,
}

struct Current {
    credential: Arc<dyn TokenCredential>,
    /// The last token per scope that this credential gave.
    given: HashMap<String, Secret>,
}

impl Renewing {
    /// The credential to ask. A refused token empties the cache once, however many calls had it refused.
    fn credential(&self, scope: &str, refused: Option<&Refused>) -> azure_core::Result<Arc<dyn TokenCredential>> {
        let mut current = self.lock();
        if refused.is_some_and(|Refused(token)| current.given.get(scope) == Some(token)) {
            *current = Current { credential: self.recipe.build()?, given: HashMap::new() };
        }
        Ok(current.credential.clone())
    }

    fn remember(&self, credential: &Arc<dyn TokenCredential>, scope: &str, token: &AccessToken) {
        let mut current = self.lock();
        if Arc::ptr_eq(&current.credential, credential) {
            current.given.insert(scope.to_owned(), Secret::new(token.token.secret()));
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Current> {
        // What it guards is replaced whole, so a panic elsewhere leaves it whole.
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The error without the secret, should an identity service repeat what it was sent.
    fn scrub(&self, error: azure_core::Error) -> azure_core::Error {
        let Some(secret) = self.recipe.secret.as_ref().map(Secret::expose) else { return error };
        let encoded: String = url::form_urlencoded::byte_serialize(secret.as_bytes()).collect();
        let message = causes(&error);
        if !message.contains(secret) && !message.contains(&encoded) {
            return error;
        }
        azure_core::Error::with_message(ErrorKind::Credential, message.replace(secret, "***").replace(&encoded, "***"))
    }
}

#[async_trait]
impl TokenCredential for Renewing {
    async fn get_token(
        &self,
        scopes: &[&str],
        options: Option<TokenRequestOptions<'_>>,
    ) -> azure_core::Result<AccessToken> {
        let scope = scopes.join(" ");
        let refused = options.as_ref().and_then(|options| options.method_options.context.value::<Refused>());
        let credential = self.credential(&scope, refused)?;
        let token = credential.get_token(scopes, options).await.map_err(|error| self.scrub(error))?;
        self.remember(&credential, &scope, &token);
        Ok(token)
    }
}

impl fmt::Debug for Renewing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Renewing({})", self.recipe.kind.name())
    }
}

/// What failed, with its causes, and what to do about it.
pub(super) fn explain(error: &azure_core::Error) -> String {
    let message = causes(error);
    let advice = ADVICE
        .iter()
        .find(|(codes, _)| codes.iter().any(|code| message.contains(&format!("AADSTS{code}:"))))
        .map_or("check the identity's settings (AZURE_TENANT_ID, AZURE_CLIENT_ID, AZURE_CLIENT_SECRET or the managed identity)", |(_, advice)| {
            advice
        });
    format!("{message}; {advice}")
}

/// What the codes of Entra that need a person mean here.
const ADVICE: [(&[&str], &str); 7] = [
    (&["7000215"], "set AZURE_CLIENT_SECRET to the value of a client secret of this app (not the secret's id)"),
    (&["7000222"], "the client secret has expired: make a new one and set AZURE_CLIENT_SECRET"),
    (&["700016"], "AZURE_CLIENT_ID is not an app of the tenant AZURE_TENANT_ID"),
    (&["90002", "900023"], "AZURE_TENANT_ID is not a tenant of this cloud (see AZURE_AUTHORITY_HOST)"),
    (
        &["500011", "70011", "1002012"],
        "the resource is not known in this tenant: check DEFENDER_RESOURCE_URI and ADX_CLUSTER_URI",
    ),
    (&["53003"], "a conditional access policy of the tenant blocks this app"),
    (&["700027", "700211", "700213"], "the federated credential of the app does not match this workload"),
];

/// Whether the identity service may answer later: it was not reached, or was busy or broken.
pub(super) fn is_transient(error: &azure_core::Error) -> bool {
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

#[cfg(test)]
mod tests {
    use super::*;
    use azure_core::http::headers::Headers;
    use azure_core::http::{AsyncRawResponse, HttpClient, Request, StatusCode};
    use std::sync::atomic::{AtomicUsize, Ordering};

    /// An authority that gives numbered tokens, or always the same error.
    #[derive(Debug, Default)]
    struct Authority {
        calls: AtomicUsize,
        urls: Mutex<Vec<String>>,
        error: Option<(u16, String)>,
    }

    #[async_trait]
    impl HttpClient for Authority {
        async fn execute_request(&self, request: &Request) -> azure_core::Result<AsyncRawResponse> {
            self.urls.lock().unwrap().push(request.url().to_string());
            let call = self.calls.fetch_add(1, Ordering::Relaxed);
            let (status, body) = match &self.error {
                Some((status, body)) => (StatusCode::from(*status), body.clone()),
                None => {
                    (StatusCode::Ok, format!(r#"{{"token_type":"Bearer","expires_in":3599,"access_token":"t{call}"}}"#))
                }
            };
            Ok(AsyncRawResponse::from_bytes(status, Headers::default(), body.into_bytes()))
        }
    }

    const SECRET: &str = "s3cr et~";
    const APP: [(&str, &str); 3] =
        [("AZURE_TENANT_ID", "contoso"), ("AZURE_CLIENT_ID", "app"), ("AZURE_CLIENT_SECRET", SECRET)];

    fn choose(settings: &[(&str, &str)]) -> Result<Kind, Error> {
        let set = |name: &str| settings.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned());
        Kind::choose(&set)
    }

    fn outbound(
        settings: &[(&str, &str)],
        authority: Arc<Authority>,
    ) -> Result<(super::super::Outbound, &'static str), Error> {
        let lookup = |name: &str| settings.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned());
        let (credential, kind) = over(&lookup, Transport::new(authority))?;
        let http = super::super::http_client()?;
        Ok((super::super::Outbound::new(http, credential, super::super::TrustedHosts::default()), kind))
    }

    #[test]
    fn the_identity_is_found_in_the_documented_order() {
        let secret = ("AZURE_CLIENT_SECRET", "x");
        let file = ("AZURE_FEDERATED_TOKEN_FILE", "/f");
        let endpoint = ("IDENTITY_ENDPOINT", "http://127.0.0.1/msi");
        let client = ("AZURE_CLIENT_ID", "app");
        assert_eq!(choose(&[secret, file, endpoint, client]).unwrap(), Kind::ClientSecret);
        assert_eq!(choose(&[file, endpoint, client]).unwrap(), Kind::Workload);
        assert_eq!(choose(&[endpoint]).unwrap(), Kind::Managed);
        assert_eq!(choose(&[client]).unwrap(), Kind::Managed);
        assert_eq!(choose(&[]).unwrap(), Kind::Developer);
    }

    #[test]
    fn azure_token_credentials_overrides_the_order() {
        let secret = ("AZURE_CLIENT_SECRET", "x");
        for (value, kind) in [
            ("dev", Kind::Developer),
            ("prod", Kind::ClientSecret),
            ("ManagedIdentityCredential", Kind::Managed),
            ("workloadidentitycredential", Kind::Workload),
            ("AzureCliCredential", Kind::AzureCli),
        ] {
            assert_eq!(choose(&[secret, ("AZURE_TOKEN_CREDENTIALS", value)]).unwrap(), kind, "{value}");
        }
        assert_eq!(choose(&[("AZURE_TOKEN_CREDENTIALS", "prod")]).unwrap(), Kind::Managed);
        let error = choose(&[("AZURE_TOKEN_CREDENTIALS", "guess")]).unwrap_err().to_string();
        assert!(error.contains("`guess`") && error.contains("ManagedIdentityCredential"), "{error}");
    }

    #[test]
    fn every_missing_setting_is_named_at_once() {
        let error =
            outbound(&[("AZURE_CLIENT_SECRET", SECRET), ("AZURE_TENANT_ID", " ")], Arc::default()).err().unwrap();
        assert_eq!(error.to_string(), "client secret: AZURE_TENANT_ID and AZURE_CLIENT_ID must be set");
    }

    #[test]
    fn an_authority_without_tls_is_refused() {
        let mut settings = APP.to_vec();
        settings.push(("AZURE_AUTHORITY_HOST", "http://127.0.0.1"));
        let error = outbound(&settings, Arc::default()).err().unwrap().to_string();
        assert!(error.contains("AZURE_AUTHORITY_HOST"), "{error}");
    }

    #[tokio::test]
    async fn tokens_come_from_the_named_authority_and_are_cached() {
        let authority = Arc::new(Authority::default());
        let mut settings = APP.to_vec();
        settings.push(("AZURE_AUTHORITY_HOST", "login.microsoftonline.us/"));
        let (outbound, kind) = outbound(&settings, authority.clone()).unwrap();
        for _ in 0..3 {
            assert_eq!(outbound.token("https://graph.microsoft.us/.default").await.unwrap().expose(), "t0");
        }
        assert_eq!(kind, "client secret");
        assert_eq!(*authority.urls.lock().unwrap(), ["https://login.microsoftonline.us/contoso/oauth2/v2.0/token"]);
    }

    #[tokio::test]
    async fn a_refused_token_is_renewed_once_for_all_that_had_it_refused() {
        let authority = Arc::new(Authority::default());
        let (outbound, _) = outbound(&APP, authority.clone()).unwrap();
        let refused = outbound.token("s/.default").await.unwrap();
        for _ in 0..3 {
            let renewed = outbound.renewed_token("s/.default", &refused).await.unwrap();
            assert_eq!(renewed.unwrap().expose(), "t1");
        }
        assert_eq!(authority.calls.load(Ordering::Relaxed), 2);
    }

    #[tokio::test]
    async fn a_wrong_secret_is_explained_without_the_secret() {
        let encoded = url::form_urlencoded::byte_serialize(SECRET.as_bytes()).collect::<String>();
        let body = serde_json::json!({
            "error": "invalid_client",
            "error_description":
                format!("AADSTS7000215: Invalid client secret provided: {SECRET} or {encoded}.\r\nTrace ID: 1"),
            "error_codes": [7000215],
        });
        let authority = Arc::new(Authority { error: Some((401, body.to_string())), ..Authority::default() });
        let (outbound, _) = outbound(&APP, authority).unwrap();
        let error = outbound.token("s/.default").await.unwrap_err();
        let Error::Token { message, transient, .. } = &error else { panic!("{error}") };
        assert!(!transient);
        assert!(message.contains("AADSTS7000215: Invalid client secret provided"), "{message}");
        assert!(message.contains("set AZURE_CLIENT_SECRET to the value"), "{message}");
        assert!(!message.contains(SECRET) && !message.contains(&encoded), "{message}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_busy_identity_service_is_transient() {
        let body =
            r#"{"error":"temporarily_unavailable","error_description":"AADSTS50196: loop","error_codes":[50196]}"#;
        let authority = Arc::new(Authority { error: Some((503, body.to_owned())), ..Authority::default() });
        let (outbound, _) = outbound(&APP, authority).unwrap();
        let error = outbound.token("s/.default").await.unwrap_err();
        assert!(matches!(error, Error::Token { transient: true, .. }), "{error}");
    }
}
