//! Every way into a storage account, and every way to be kept out, on the emulator: the right words, and no secret in them.

use crate::azurite::{ACCOUNT, Azurite, KEY, Service};
use crate::grants::{account_sas, bearer_token};
use adxingestor::outbound::{http_client, read_capped};
use adxingestor::storage::{self, Connection, Error, Key, Storage};
use adxingestor::timestamp::{Clock, SystemClock, Timestamp};
use axum::Json;
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use serde_json::json;
use std::net::Ipv4Addr;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::net::TcpListener;
use tokio::time::Instant;

type Settings<'a> = &'a [(&'a str, String)];

fn open_with(settings: Settings<'_>, clock: Arc<dyn Clock>) -> (Storage, String) {
    let lookup = |name: &str| settings.iter().find(|(key, _)| *key == name).map(|(_, value)| value.clone());
    let connection = Connection::parse(&lookup).unwrap_or_else(|problems| panic!("{problems}"));
    storage::azure(&connection, &lookup, http_client().unwrap(), clock).unwrap()
}

fn open(connection: &str) -> (Storage, String) {
    open_with(&[("AzureWebJobsStorage", connection.to_owned())], Arc::new(SystemClock))
}

/// One call of each service.
async fn calls(storage: &Storage) -> [Result<(), Error>; 3] {
    let key = Key::new("connection", "none").unwrap();
    [
        storage.tables.get(&key).await.map(drop),
        storage.queues.send("connection", b"hello", Duration::ZERO).await,
        storage.blobs.put("connection/a b", "hello".into()).await,
    ]
}

async fn works(connection: &str) {
    for result in calls(&open(connection).0).await {
        result.unwrap_or_else(|error| panic!("{connection}: {error}"));
    }
}

/// All three services refuse for good, with this in their words.
async fn is_refused(storage: &Storage, words: &str) {
    for result in calls(storage).await {
        let error = result.unwrap_err();
        let text = error.to_string();
        assert!(matches!(error, Error::Fatal(_)), "{text}");
        assert!(text.contains(words), "{text}");
        assert!(!text.contains(KEY) && !text.contains("sig="), "{text}");
    }
}

#[tokio::test]
async fn a_key_and_a_signature_let_in_by_every_form_of_the_connection_string() {
    let Some(azurite) = Azurite::shared() else { return };
    let sas = account_sas(ACCOUNT, KEY, "rwdlacup", "", "2099-01-01T00:00:00Z");
    let by_key = azurite.connection_string();
    let reversed: Vec<&str> = by_key.split(';').rev().collect();
    let overridden: Vec<&str> = by_key.split(';').filter(|part| part.contains("Endpoint=")).collect();
    for connection in [
        by_key.clone(),
        reversed.join(";").replace("AccountName", "accountNAME"),
        format!("UseDevelopmentStorage=true;{}", overridden.join(";")),
        azurite.connection_string_with_sas(&sas),
        azurite.connection_string_with_sas(&format!("?{sas}")),
    ] {
        works(&connection).await;
    }
    let (_, description) = open(&by_key);
    let port = azurite.ports().table;
    assert_eq!(description, format!("account devstoreaccount1 at 127.0.0.1:{port}, by key"));
}

#[tokio::test]
async fn a_wrong_key_is_named_as_such() {
    let Some(azurite) = Azurite::shared() else { return };
    let wrong = azurite.connection_string().replace(KEY, "d3Jvbmcga2V5");
    is_refused(&open(&wrong).0, "the AccountKey in AzureWebJobsStorage is none of account devstoreaccount1").await;
}

#[tokio::test]
async fn a_signature_out_of_its_time_or_changed_is_told_apart() {
    let Some(azurite) = Azurite::shared() else { return };
    let sas = |start, end| account_sas(ACCOUNT, KEY, "rwdlacup", start, end);
    let good = sas("", "2099-01-01T00:00:00Z");
    for (signature, words) in [
        (sas("", "2020-01-01T00:00:00Z"), "ended at 2020-01-01T00:00:00Z"),
        (sas("2098-01-01T00:00:00Z", "2099-01-01T00:00:00Z"), "begins at 2098-01-01T00:00:00Z"),
        (good.replace("2099", "2098"), "is not signed with a key of account devstoreaccount1"),
    ] {
        is_refused(&open(&azurite.connection_string_with_sas(&signature)).0, words).await;
    }
}

#[tokio::test]
async fn a_signature_without_a_permission_says_which_to_have() {
    let Some(azurite) = Azurite::shared() else { return };
    // Enough for what is there already, and not to make a blob.
    let reader = account_sas(ACCOUNT, KEY, "raudp", "", "2099-01-01T00:00:00Z");
    let (storage, _) = open(&azurite.connection_string_with_sas(&reader));
    let [_, _, put] = calls(&storage).await;
    let error = put.unwrap_err();
    assert!(error.to_string().contains("lacks a permission"), "{error}");
}

#[tokio::test]
async fn a_host_that_is_not_there_is_named() {
    let nobody = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let port = nobody.local_addr().unwrap().port();
    drop(nobody);
    let at = |host: &str| {
        let url = |service: &str| format!("{service}Endpoint=http://{host}/{ACCOUNT}");
        format!("AccountName={ACCOUNT};AccountKey={KEY};{};{};{}", url("Table"), url("Queue"), url("Blob"))
    };
    for (host, words) in [
        (format!("127.0.0.1:{port}"), "is the storage emulator running?"),
        ("no-such-account.invalid".to_owned(), "no-such-account.invalid was not reached (no such host is known"),
    ] {
        for result in calls(&open(&at(&host)).0).await {
            let error = result.unwrap_err();
            assert!(matches!(error, Error::Unavailable(_)), "{error}");
            assert!(error.to_string().contains(words) && error.to_string().contains(&host), "{error}");
        }
    }
}

/// A service that knows its key and the time; `off` of its `Date` it refuses what is dated otherwise.
async fn strict_service(date: &'static str) -> (String, Arc<AtomicUsize>) {
    let (listener, asked) = (TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap(), Arc::new(AtomicUsize::new(0)));
    let url = format!("http://{}/{ACCOUNT}", listener.local_addr().unwrap());
    let counter = Arc::clone(&asked);
    let door = move |headers: HeaderMap| {
        let (counter, minute) = (Arc::clone(&counter), &date[..22]);
        async move {
            counter.fetch_add(1, Ordering::Relaxed);
            let signed = headers["x-ms-date"].to_str().unwrap();
            if signed.starts_with(minute) {
                return ([("date", date)], Json(json!({"PartitionKey": "p", "RowKey": "r", "odata.etag": "W/\"1\""})))
                    .into_response();
            }
            let error = json!({"odata.error": {"code": "AuthenticationFailed", "message": {"lang": "en-US", "value":
                "Server failed to authenticate the request.\nRequestId:1"}}});
            (StatusCode::FORBIDDEN, [("date", date)], Json(error)).into_response()
        }
    };
    tokio::spawn(async move { axum::serve(listener, axum::Router::new().fallback(door)).await });
    (url, asked)
}

/// A clock that stands.
struct Standing(Timestamp);

impl Clock for Standing {
    fn now(&self) -> Timestamp {
        self.0
    }
}

fn at_strict_service(url: &str) -> [(&'static str, String); 1] {
    let endpoints = format!("TableEndpoint={url};QueueEndpoint={url};BlobEndpoint={url}");
    [("AzureWebJobsStorage", format!("AccountName={ACCOUNT};AccountKey={KEY};{endpoints}"))]
}

#[tokio::test]
async fn a_machine_with_a_wrong_clock_works_after_one_repetition() {
    for local in ["2026-04-14T06:00:00Z", "2026-04-14T07:20:00Z", "1999-01-01T00:00:00Z"] {
        let (url, asked) = strict_service("Tue, 14 Apr 2026 07:00:30 GMT").await;
        let (storage, _) = open_with(&at_strict_service(&url), Arc::new(Standing(local.parse().unwrap())));
        let key = Key::new("p", "r").unwrap();
        for requests in [2, 3, 4] {
            storage.tables.get(&key).await.unwrap_or_else(|error| panic!("{local}: {error}"));
            assert_eq!(asked.load(Ordering::Relaxed), requests, "only the first request is repeated");
        }
        let service: Timestamp = "2026-04-14T07:00:30Z".parse().unwrap();
        let now = storage.clock.now();
        assert!(now.since(service) <= Duration::from_secs(1) && service.since(now) <= Duration::from_secs(1), "{now}");
    }
}

#[tokio::test]
async fn a_clock_that_is_right_is_not_suspected_of_a_wrong_key() {
    let (url, asked) = strict_service("Tue, 14 Apr 2026 07:00:30 GMT").await;
    // Within what the service allows, but this one allows nothing.
    let local = "2026-04-14T07:02:00Z".parse().unwrap();
    let (storage, _) = open_with(&at_strict_service(&url), Arc::new(Standing(local)));
    let error = storage.tables.get(&Key::new("p", "r").unwrap()).await.unwrap_err().to_string();
    assert!(error.contains("AccountKey") && !error.contains("clock"), "{error}");
    assert_eq!(asked.load(Ordering::Relaxed), 1);
}

/// A storage service that answers any request with this.
async fn refusing_service(status: u16, code: &'static str) -> (String, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let url = format!("http://{}/{ACCOUNT}", listener.local_addr().unwrap());
    let tokens = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&tokens);
    let door = move |headers: HeaderMap| {
        let token = headers.get("authorization").map(|value| value.to_str().unwrap().to_owned()).unwrap_or_default();
        seen.lock().unwrap().push(token);
        async move { (StatusCode::from_u16(status).unwrap(), [("x-ms-error-code", code)], "").into_response() }
    };
    tokio::spawn(async move { axum::serve(listener, axum::Router::new().fallback(door)).await });
    (url, tokens)
}

#[tokio::test]
async fn a_refusal_says_who_has_to_do_what() {
    for (status, code, words) in [
        (403, "AuthorizationFailure", "network rules keep this app out"),
        (403, "KeyBasedAuthenticationNotPermitted", "allows no keys"),
        (403, "AccountIsDisabled", "is disabled"),
        (400, "OutOfRangeInput", "HTTP 400, OutOfRangeInput"),
    ] {
        let (url, _) = refusing_service(status, code).await;
        let (storage, _) = open_with(&at_strict_service(&url), Arc::new(SystemClock));
        let error = storage.blobs.put("x", "x".into()).await.unwrap_err();
        assert!(matches!(error, Error::Fatal(_)) && error.to_string().contains(words), "{error}");
    }
}

/// An identity endpoint as App Service has it, which gives numbered tokens, or the one that is set.
async fn identity_endpoint(token: Option<String>) -> String {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let url = format!("http://{}/msi/token", listener.local_addr().unwrap());
    let asked = Arc::new(AtomicUsize::new(0));
    let door = move |uri: Uri| -> Response {
        let number = asked.fetch_add(1, Ordering::Relaxed);
        let given = token.clone().unwrap_or_else(|| format!("token{number}"));
        let client = uri.query().unwrap_or_default().contains("client_id=mine");
        let resource = uri.query().unwrap_or_default().contains("resource=https%3A%2F%2Fstorage.azure.com");
        if !client || !resource {
            return (StatusCode::BAD_REQUEST, uri.to_string()).into_response();
        }
        Json(json!({"access_token": given, "expires_on": "4000000000", "resource": "r", "token_type": "Bearer"}))
            .into_response()
    };
    let door = move |uri: Uri| {
        let answer = door(uri);
        async move { answer }
    };
    tokio::spawn(async move { axum::serve(listener, axum::Router::new().fallback(door)).await });
    url
}

/// Set for a child, whose environment the identity is read from.
const ROLE: &str = "CONNECTION_TEST_ROLE";

/// Runs [`a_child_by_identity`] with this environment; what it printed.
async fn child(environment: &[(&str, String)], authority: Option<&Path>) -> String {
    let mut command = tokio::process::Command::from(Command::new(std::env::current_exe().unwrap()));
    command
        .args(["--exact", "azure_connection::a_child_by_identity", "--nocapture"])
        .env(ROLE, "1")
        .env("IDENTITY_HEADER", "x");
    command.envs(environment.iter().map(|(name, value)| (*name, value.as_str())));
    if let Some(authority) = authority {
        command.env("SSL_CERT_FILE", authority);
    }
    let output = command.stdin(Stdio::null()).kill_on_drop(true).output();
    let output = tokio::time::timeout(Duration::from_secs(60), output).await.expect("the child ends").unwrap();
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// A child of the tests of identities; does nothing by itself.
#[tokio::test]
async fn a_child_by_identity() {
    if std::env::var_os(ROLE).is_none() {
        return;
    }
    let settings: Vec<(String, String)> = std::env::vars().collect();
    let settings: Vec<(&str, String)> = settings.iter().map(|(name, value)| (name.as_str(), value.clone())).collect();
    let (storage, description) = open_with(&settings, Arc::new(SystemClock));
    println!("\n{description}");
    for result in calls(&storage).await {
        println!("{}", result.map_or_else(|error| error.to_string(), |()| "done".to_owned()));
    }
}

fn by_identity(endpoints: [String; 3], identity: String) -> Vec<(&'static str, String)> {
    let [table, queue, blob] = endpoints;
    vec![
        ("AzureWebJobsStorage__tableServiceUri", table),
        ("AzureWebJobsStorage__queueServiceUri", queue),
        ("AzureWebJobsStorage__blobServiceUri", blob),
        ("AzureWebJobsStorage__credential", "managedidentity".to_owned()),
        ("AzureWebJobsStorage__clientId", "mine".to_owned()),
        ("AZURE_CLIENT_ID", "another".to_owned()),
        ("TRUSTED_HOSTS", "127.0.0.1".to_owned()),
        ("IDENTITY_ENDPOINT", identity),
    ]
}

#[tokio::test]
async fn a_user_assigned_identity_lets_in() {
    let Some(azurite) = Azurite::start_with_tls() else { return };
    let endpoint = identity_endpoint(Some(bearer_token(1_600_000_000, 4_000_000_000))).await;
    let endpoints = [Service::Table, Service::Queue, Service::Blob].map(|service| azurite.endpoint(service));
    let said = child(&by_identity(endpoints, endpoint), azurite.authority()).await;
    assert!(said.contains(", by identity (managed identity)\ndone\ndone\ndone\n"), "{said}");
}

#[tokio::test]
async fn a_refused_token_is_renewed_once_and_a_missing_role_is_named() {
    let (url, tokens) = refusing_service(401, "InvalidAuthenticationInfo").await;
    let said = child(&by_identity([url.clone(), url.clone(), url], identity_endpoint(None).await), None).await;
    assert!(said.contains("the identity's token was refused twice"), "{said}");
    let mut seen = tokens.lock().unwrap().clone();
    assert_eq!(seen.len(), 6, "each of three calls is repeated once: {seen:?}");
    seen.dedup();
    assert!(seen.len() >= 4 && seen[0] != seen[1], "with another token: {seen:?}");

    let (url, tokens) = refusing_service(403, "AuthorizationPermissionMismatch").await;
    let said = child(&by_identity([url.clone(), url.clone(), url], identity_endpoint(None).await), None).await;
    for role in ["Storage Table Data Contributor", "Storage Queue Data Contributor", "Storage Blob Data Contributor"] {
        assert!(said.contains(role), "{said}");
    }
    assert_eq!(tokens.lock().unwrap().len(), 3);
}

/// The program, with these settings and none of this process.
fn program(arguments: &[&str], settings: Settings<'_>) -> tokio::process::Command {
    let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_adxingestor"));
    command.args(arguments).env_clear().envs(settings.iter().map(|(name, value)| (*name, value.as_str())));
    command.stdin(Stdio::null()).stdout(Stdio::piped()).kill_on_drop(true);
    command
}

/// What the program says before it ends with a failure.
async fn fails(arguments: &[&str], settings: Settings<'_>) -> String {
    let output = tokio::time::timeout(Duration::from_secs(60), program(arguments, settings).output());
    let output = output.await.expect("it ends").unwrap();
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert!(!output.status.success() && !said.contains(KEY), "{said}");
    said
}

async fn free_port() -> u16 {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap().local_addr().unwrap().port()
}

const STANDALONE: [&str; 3] = ["standalone", "--app-root", env!("CARGO_MANIFEST_DIR")];

fn azure_by(connection: String) -> [(&'static str, String); 2] {
    [("STATE_STORE", "azure".to_owned()), ("AzureWebJobsStorage", connection)]
}

#[tokio::test]
async fn a_file_is_no_state_store_under_a_functions_host() {
    let port = free_port().await.to_string();
    let settings = [("FUNCTIONS_CUSTOMHANDLER_PORT", port), ("STATE_STORE", "sqlite:/nonexistent/state.db".to_owned())];
    let said = fails(&["serve"], &settings).await;
    assert!(said.contains("only `azure` is possible"), "{said}");
}

#[tokio::test]
async fn standalone_ends_when_the_account_can_never_let_it_in() {
    let said = fails(&STANDALONE, &azure_by(format!("AccountName=contoso;AccountKey={KEY}!"))).await;
    assert!(said.contains("AzureWebJobsStorage: AccountKey is not base64"), "{said}");
    let said = fails(&STANDALONE, &[("STATE_STORE", "azure".to_owned()), ("AzureWebJobsStorage", String::new())]).await;
    assert!(said.contains("AzureWebJobsStorage: is not set"), "{said}");
    let Some(azurite) = Azurite::shared() else { return };
    let said = fails(&STANDALONE, &azure_by(azurite.connection_string().replace(KEY, "d3Jvbmcga2V5"))).await;
    let line = format!("State store: azure, account {ACCOUNT} at 127.0.0.1:{}, by key", azurite.ports().table);
    assert!(said.contains(&line) && said.contains("the AccountKey in AzureWebJobsStorage is none of"), "{said}");
}

#[tokio::test]
async fn standalone_starts_although_the_account_is_not_reached() {
    let gone = free_port().await;
    let url = |service: &str| format!("{service}Endpoint=http://127.0.0.1:{gone}/{ACCOUNT}");
    let connection =
        format!("AccountName={ACCOUNT};AccountKey={KEY};{};{};{}", url("Table"), url("Queue"), url("Blob"));
    let port = free_port().await.to_string();
    let arguments = [&STANDALONE[..], &["--port", &port]].concat();
    let mut host = program(&arguments, &azure_by(connection)).spawn().unwrap();
    let mut lines = BufReader::new(host.stdout.take().unwrap()).lines();
    let mut said = String::new();
    let started = async {
        while let Some(line) = lines.next_line().await.unwrap() {
            said += &format!("{line}\n");
            if line.contains("/api/") {
                return true;
            }
        }
        false
    };
    let started = tokio::time::timeout(Duration::from_secs(60), started).await.expect("it starts");
    assert!(started && said.contains("cannot be reached now") && said.contains("emulator running?"), "{said}");
    host.kill().await.unwrap();
}

#[tokio::test]
async fn a_handler_that_is_kept_out_answers_with_the_reason() {
    let Some(azurite) = Azurite::shared() else { return };
    let port = free_port().await;
    let settings = [
        ("FUNCTIONS_CUSTOMHANDLER_PORT", port.to_string()),
        ("AzureWebJobsStorage", azurite.connection_string().replace(KEY, "d3Jvbmcga2V5")),
    ];
    let mut handler = program(&["serve"], &settings).spawn().unwrap();
    let url = format!("http://127.0.0.1:{port}/api/status/0123456789abcdef0123456789abcdef");
    let http = http_client().unwrap();
    let asked = async {
        loop {
            if let Ok(answer) = http.get(&url).send().await {
                let (status, deadline) = (answer.status().as_u16(), Instant::now() + Duration::from_secs(20));
                return (status, String::from_utf8(read_capped(answer, 4096, deadline).await.unwrap().into()).unwrap());
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let (status, said) = tokio::time::timeout(Duration::from_secs(60), asked).await.expect("it answers");
    assert_eq!(status, 503, "{said}");
    assert!(said.contains("the AccountKey in AzureWebJobsStorage is none of"), "{said}");
    assert!(handler.try_wait().unwrap().is_none(), "it goes on");
    handler.kill().await.unwrap();
}
