use super::*;
use async_trait::async_trait;
use azure_core::http::headers::Headers;
use azure_core::http::{AsyncRawResponse, HttpClient, Request, StatusCode};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

/// An authority that gives numbered tokens, or always the same error.
#[derive(Debug, Default)]
struct Authority {
    calls: AtomicUsize,
    urls: Mutex<Vec<String>>,
    error: Option<(u16, String)>,
    token: Option<String>,
}

#[async_trait]
impl HttpClient for Authority {
    async fn execute_request(&self, request: &Request) -> azure_core::Result<AsyncRawResponse> {
        self.urls.lock().unwrap().push(request.url().to_string());
        let call = self.calls.fetch_add(1, Ordering::Relaxed);
        let (status, body) = match &self.error {
            Some((status, body)) => (StatusCode::from(*status), body.clone()),
            None if self.token.is_some() => (StatusCode::Ok, self.token.clone().unwrap()),
            None => {
                (StatusCode::Ok, format!(r#"{{"token_type":"Bearer","expires_in":3599,"access_token":"t{call}"}}"#))
            }
        };
        Ok(AsyncRawResponse::from_bytes(status, Headers::default(), body.into_bytes()))
    }
}

/// 2030-01-01T12:00:00Z, always.
struct Noon;

impl Clock for Noon {
    fn now(&self) -> crate::timestamp::Timestamp {
        "2030-01-01T12:00:00Z".parse().unwrap()
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
) -> Result<(crate::outbound::Outbound, &'static str), Error> {
    let lookup = |name: &str| settings.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned());
    let (credential, kind) = over(&lookup, authority, Arc::new(Noon))?;
    let http = crate::outbound::http_client()?;
    Ok((crate::outbound::Outbound::new(http, credential, crate::outbound::TrustedHosts::default()), kind))
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
    let error = outbound(&[("AZURE_CLIENT_SECRET", SECRET), ("AZURE_TENANT_ID", " ")], Arc::default()).err().unwrap();
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
async fn a_token_is_read_however_the_service_spells_its_end() {
    let managed = [("AZURE_TOKEN_CREDENTIALS", "ManagedIdentityCredential")];
    let noon = 1_893_499_200_i64;
    for token in [
        r#"{"access_token":"t","expires_on":"1893502800","resource":"r","token_type":"Bearer"}"#,
        r#"{"access_token":"t","expires_on":1893502800}"#,
        r#"{"access_token":"t","expires_in":3600}"#,
        r#"{"access_token":"t","expires_in":"3600","ext_expires_in":"3600","expires_on":null,"token_type":null}"#,
        r#"{"access_token":"t","expires_on":"2030-01-01T13:00:00Z","expires_in":3600.0}"#,
    ] {
        for settings in [&APP[..], &managed[..]] {
            let authority = Arc::new(Authority { token: Some(token.to_owned()), ..Authority::default() });
            let lookup =
                |name: &str| settings.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned());
            let (credential, kind) = over(&lookup, authority.clone(), Arc::new(Noon)).unwrap();
            let given = credential.get_token(&["s/.default"], None).await.unwrap_or_else(|error| {
                panic!("{kind} {token}: {}", causes(&error));
            });
            assert_eq!(given.token.secret(), "t", "{kind} {token}");
            if kind == "managed identity" {
                assert_eq!(given.expires_on.unix_timestamp(), noon + 3600, "{token}");
            } else {
                assert!(given.expires_on > azure_core::time::OffsetDateTime::UNIX_EPOCH, "{token}");
            }
        }
    }
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
    assert!(
        message
            .starts_with("ClientSecretCredential authentication failed. AADSTS7000215: Invalid client secret provided"),
        "{message}"
    );
    assert!(message.contains("set AZURE_CLIENT_SECRET to the value"), "{message}");
    assert!(!message.contains(SECRET) && !message.contains(&encoded), "{message}");
}

#[tokio::test(start_paused = true)]
async fn a_busy_identity_service_is_transient_and_quoted() {
    let entra = r#"{"error":"temporarily_unavailable","error_description":"AADSTS50196: a \"loop\".\r\nTrace ID: 1","error_codes":[50196]}"#;
    for (body, quoted) in [
        (entra, "AADSTS50196: a 'loop'. Trace ID: 1 (HTTP 503)"),
        ("<html>\nBusy</html>", "<html> Busy</html> (HTTP 503)"),
    ] {
        let authority = Arc::new(Authority { error: Some((503, body.to_owned())), ..Authority::default() });
        let (outbound, _) = outbound(&APP, authority).unwrap();
        let error = outbound.token("s/.default").await.unwrap_err();
        let Error::Token { message, transient, .. } = &error else { panic!("{error}") };
        assert!(*transient && message.contains(quoted) && message.contains("again later"), "{message}");
        assert!(!message.contains("troubleshoot"), "{message}");
    }
}
