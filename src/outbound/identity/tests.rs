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
    let text = error.to_string();
    assert!(text.starts_with("client secret: AZURE_TENANT_ID and AZURE_CLIENT_ID must be set; set "), "{text}");
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
    let Error::Token { message, remedy, transient, .. } = &error else { panic!("{error}") };
    assert!(!transient);
    assert!(
        message
            .starts_with("ClientSecretCredential authentication failed. AADSTS7000215: Invalid client secret provided"),
        "{message}"
    );
    assert!(remedy.contains("set AZURE_CLIENT_SECRET to the value"), "{remedy}");
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
        assert!(*transient && message.contains(quoted), "{message}");
        assert!(error.to_string().contains("again later"), "{error}");
        assert!(!message.contains("troubleshoot"), "{message}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_secret_that_is_a_word_of_the_sdk_hides_neither_the_error_nor_its_kind() {
    for secret in ["secret", "client", "Client", "authentication failed", "AADSTS", "503", "e"] {
        let app = [APP[0], APP[1], ("AZURE_CLIENT_SECRET", secret)];
        let busy = r#"{"error":"temporarily_unavailable","error_description":"Busy."}"#;
        let authority = Arc::new(Authority { error: Some((503, busy.to_owned())), ..Authority::default() });
        let (outbound, _) = outbound(&app, authority).unwrap();
        let error = outbound.token("s/.default").await.unwrap_err();
        assert!(error.is_transient() && error.to_string().contains("(HTTP 503)"), "{secret}: {error}");
    }
}

#[tokio::test(start_paused = true)]
async fn no_form_of_an_answer_shows_the_secret() {
    let secret = r#"a"b\c  d&e~"#;
    let sent = url::form_urlencoded::byte_serialize(secret.as_bytes()).collect::<String>();
    let app = [APP[0], APP[1], ("AZURE_CLIENT_SECRET", secret)];
    // As long as what is quoted of an answer, but for the first half of the secret.
    let long = "x".repeat(495);
    for (status, body) in [
        (401, serde_json::json!({ "error_description": format!("AADSTS1: {secret}, {sent}") }).to_string()),
        (401, serde_json::json!({ "error_description": format!("{long}{secret}") }).to_string()),
        (400, serde_json::json!({ "error": secret }).to_string()),
        (400, serde_json::json!([{ "seen": sent }]).to_string()),
        (502, format!("<p>client_secret={sent}, {secret}")),
        (200, serde_json::json!({ "access_token": "t", "expires_in": secret }).to_string()),
        (200, serde_json::json!(secret).to_string()),
        (200, format!("client_secret={sent}, {secret}")),
    ] {
        let authority = Arc::new(Authority { error: Some((status, body.clone())), ..Authority::default() });
        let (outbound, _) = outbound(&app, authority).unwrap();
        let told = match outbound.token("s/.default").await {
            Err(error) => format!("{error} {error:?}"),
            // A time that is none is as good as none.
            Ok(_) => body.contains("access_token").then(String::new).unwrap(),
        };
        for leaked in [secret, &sent, r#"a"b"#, "a'b", r#"a\"b"#, "a%22b"] {
            assert!(!told.contains(leaked), "{body}: {told}");
        }
    }
}

#[test]
fn whoever_waits_for_a_token_is_told_who_gives_it() {
    let told = |settings: &[(&str, &str)]| {
        let lookup = |name: &str| settings.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned());
        token_source(&lookup)
    };
    assert_eq!(told(&APP), "the login host login.microsoftonline.com");
    let of_another_cloud = [&APP[..], &[("AZURE_AUTHORITY_HOST", "https://login.microsoftonline.us/")]].concat();
    assert_eq!(told(&of_another_cloud), "the login host login.microsoftonline.us");
    assert_eq!(told(&[("AZURE_CLIENT_ID", "app")]), "the identity endpoint 169.254.169.254");
    let own = [("IDENTITY_ENDPOINT", "http://127.0.0.1:9/msi/token")];
    assert_eq!(told(&own), "the identity endpoint 127.0.0.1:9");
    assert_eq!(told(&[]), "developer tools");
}

/// What is to be done when a managed identity is refused so.
async fn advised(settings: &[(&str, &str)], status: u16, body: &str) -> (String, String) {
    let authority = Arc::new(Authority { error: Some((status, body.to_owned())), ..Authority::default() });
    let (outbound, _) = outbound(settings, authority).unwrap();
    match outbound.token("https://graph.microsoft.com/.default").await.unwrap_err() {
        Error::Token { message, remedy, .. } => (message, remedy),
        other => panic!("{other}"),
    }
}

#[tokio::test(start_paused = true)]
async fn each_failure_of_a_managed_identity_has_its_own_remedy() {
    let (managed, named) = (("AZURE_TOKEN_CREDENTIALS", "ManagedIdentityCredential"), ("AZURE_CLIENT_ID", "app"));
    let endpoint = ("IDENTITY_ENDPOINT", "http://127.0.0.1/msi");
    let none = r#"{"statusCode":400,"message":"Unable to load the proper Managed Identity."}"#;
    let unknown = r#"{"message":"AADSTS500011: The resource principal was not found."}"#;
    for (settings, status, body, said, remedy) in [
        (&[managed, named][..], 400, none, "Unable to load", "the client id of an identity that is assigned"),
        (&[managed][..], 400, none, "Unable to load", "set AZURE_CLIENT_ID"),
        (&[managed][..], 400, unknown, "AADSTS500011", "check DEFENDER_RESOURCE_URI"),
        (&[managed, endpoint][..], 401, "{}", "failed", "take them out of your own settings"),
        (&[managed][..], 403, "<html>a proxy</html>", "a proxy", "see what the network does with this address"),
        (&[managed][..], 500, "{}", "did not answer", "or its metadata service is out of order"),
    ] {
        let (message, advice) = advised(settings, status, body).await;
        assert!(message.contains(said) && advice.contains(remedy), "{status} {body}: {message}; {advice}");
    }
}

/// An identity service that is not there, or never answers.
#[derive(Debug)]
struct Nobody {
    hangs: bool,
}

#[async_trait]
impl HttpClient for Nobody {
    async fn execute_request(&self, _: &Request) -> azure_core::Result<AsyncRawResponse> {
        if self.hangs {
            std::future::pending::<()>().await;
        }
        Err(azure_core::Error::with_message(azure_core::error::ErrorKind::Connection, "connection refused"))
    }
}

#[tokio::test(start_paused = true)]
async fn whoever_does_not_answer_is_named_and_waited_for_no_longer_than_a_check() {
    let managed = ("AZURE_TOKEN_CREDENTIALS", "ManagedIdentityCredential");
    let endpoint = ("IDENTITY_ENDPOINT", "http://127.0.0.1/msi");
    let with = |authority| [&APP[..], &[("AZURE_AUTHORITY_HOST", authority)]].concat();
    for (settings, remedy) in [
        (vec![managed], "this machine has no managed identity"),
        (vec![managed, endpoint], "IDENTITY_ENDPOINT does not answer"),
        (APP.to_vec(), "see that this machine reaches https://login.microsoftonline.com"),
        (with("login.microsoftonline.us"), "see that this machine reaches login.microsoftonline.us"),
        (with("https://login.example"), "https://login.example is not the authority of a cloud"),
    ] {
        for hangs in [false, true] {
            let lookup = |name: &str| settings.iter().find(|(key, _)| *key == name).map(|(_, v)| (*v).to_owned());
            let (credential, _) = over(&lookup, Arc::new(Nobody { hangs }), Arc::new(Noon)).unwrap();
            let http = crate::outbound::http_client().unwrap();
            let outbound = crate::outbound::Outbound::new(http, credential, crate::outbound::TrustedHosts::default());
            let asked = tokio::time::timeout(std::time::Duration::from_secs(15), outbound.token("s/.default")).await;
            let error = asked.unwrap_or_else(|_| panic!("{remedy}: waited for too long")).unwrap_err();
            let Error::Token { remedy: told, transient: true, .. } = &error else { panic!("{error}") };
            assert!(told.starts_with(remedy), "{error}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn whoever_waits_behind_another_token_is_told_what_that_one_met() {
    let busy = |description: &str| serde_json::json!({ "error_description": description }).to_string();
    let authority = Arc::new(Authority { error: Some((503, busy("Busy."))), ..Authority::default() });
    for authority in [authority as Arc<dyn HttpClient>, Arc::new(Nobody { hangs: false })] {
        let lookup = |name: &str| APP.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned());
        let (credential, _) = over(&lookup, authority, Arc::new(Noon)).unwrap();
        let http = crate::outbound::http_client().unwrap();
        let outbound = crate::outbound::Outbound::new(http, credential, crate::outbound::TrustedHosts::default());
        let (a, b, c) =
            tokio::join!(outbound.token("a/.default"), outbound.token("b/.default"), outbound.token("c/.default"));
        let [a, b, c] = [a, b, c].map(|token| match token.unwrap_err() {
            Error::Token { message, remedy, transient: true, .. } => format!("{message}; {remedy}"),
            other => panic!("{other}"),
        });
        assert!(!a.contains("did not answer"), "{a}");
        assert_eq!((&b, &c), (&a, &a));
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_not_entra_and_what_is_of_another_cloud_is_told() {
    let cross = r#"{"error_description":"AADSTS900382: Confidential Client is not supported in Cross Cloud request."}"#;
    for (status, body, remedy) in [
        (404, "<html>not here</html>", "is not Entra ID: leave AZURE_AUTHORITY_HOST out"),
        (400, cross, "set AZURE_AUTHORITY_HOST to that cloud's authority"),
        (401, r#"{"error_description":"AADSTS7000229: missing service principal"}"#, "az ad sp create"),
    ] {
        let (message, advice) = advised(&APP, status, body).await;
        assert!(advice.contains(remedy), "{body}: {message}; {advice}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_login_host_that_is_not_reached_is_named_and_may_be_later() {
    let lookup = |name: &str| APP.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned());
    let (credential, _) = over(&lookup, Arc::new(Nobody { hangs: false }), Arc::new(Noon)).unwrap();
    let http = crate::outbound::http_client().unwrap();
    let outbound = crate::outbound::Outbound::new(http, credential, crate::outbound::TrustedHosts::default());
    let error = outbound.token("x/.default").await.unwrap_err();
    let said = error.to_string();
    assert!(
        error.is_transient() && said.contains("login.microsoftonline.com cannot be reached: connection refused"),
        "{said}"
    );
}
