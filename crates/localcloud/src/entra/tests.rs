//! Both ways to a token, over loopback.

use super::{App, GRAPH, KUSTO, THREAT_HUNTING_READ_ALL};
use crate::clock::{Clock, ManualClock};
use crate::cloud::{Cloud, Settings};
use crate::faults::{Area, Fault};
use crate::source::ticks;
use serde_json::Value as Json;
use std::collections::HashMap;
use std::sync::Arc;

struct Setup {
    clock: Arc<ManualClock>,
    cloud: Cloud,
    http: reqwest::Client,
    settings: HashMap<String, String>,
}

fn setup() -> Setup {
    let clock = Arc::new(ManualClock::new(ticks::parse("2026-11-21T08:00:00Z").unwrap()));
    let app = App { client_id: "app-1".into(), secret: "p+&= ü".into(), roles: vec![THREAT_HUNTING_READ_ALL.into()] };
    let cloud = Cloud::start(Settings { apps: vec![app], clock: clock.clone(), ..Settings::default() }).unwrap();
    let _ = rustls::crypto::ring::default_provider().install_default();
    let http = reqwest::Client::builder().no_proxy().timeout(std::time::Duration::from_secs(30)).build().unwrap();
    let settings = cloud.product_settings().into_iter().collect();
    Setup { clock, cloud, http, settings }
}

#[allow(clippy::disallowed_methods, reason = "the server under test is our own and small")]
async fn answer(request: reqwest::RequestBuilder) -> (u16, Json) {
    let response = request.send().await.unwrap();
    (response.status().as_u16(), response.json().await.unwrap())
}

impl Setup {
    async fn ask(&self, version: &str, form: &[(&str, &str)]) -> (u16, Json) {
        self.ask_tenant(&self.settings["AZURE_TENANT_ID"], version, form).await
    }

    async fn ask_tenant(&self, tenant: &str, version: &str, form: &[(&str, &str)]) -> (u16, Json) {
        let body: String = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(form).finish();
        let url = format!("{}/{tenant}/oauth2/{version}token", self.cloud.url());
        answer(self.http.post(url).header("Content-Type", "application/x-www-form-urlencoded").body(body)).await
    }

    async fn msi(&self, query: &str, header: &str) -> (u16, Json) {
        let url = format!("{}?{query}", self.settings["IDENTITY_ENDPOINT"]);
        answer(self.http.get(url).header("X-IDENTITY-HEADER", header)).await
    }

    fn check(&self, token: &Json, audience: &str) -> super::Claims {
        let header = format!("Bearer {}", token.as_str().unwrap());
        self.cloud.tokens().check(Some(&header), &[audience]).unwrap()
    }
}

/// A form, and the status, error and code that it is refused with.
type Case<'a> = (&'a [(&'a str, &'a str)], u16, &'a str, u64);

const GRANT: (&str, &str) = ("grant_type", "client_credentials");
const APP: (&str, &str) = ("client_id", "app-1");
const SECRET: (&str, &str) = ("client_secret", "p+&= ü");

#[tokio::test]
async fn client_credentials_get_a_token_with_the_applications_roles() {
    let setup = setup();
    let scope = ("scope", "https://graph.microsoft.com/.default");
    let (status, body) = setup.ask("v2.0/", &[GRANT, APP, SECRET, scope]).await;
    assert_eq!((status, &body["token_type"], &body["expires_in"]), (200, &"Bearer".into(), &3_599.into()));
    assert_eq!(setup.check(&body["access_token"], GRAPH).roles, [THREAT_HUNTING_READ_ALL]);
    let (status, body) = setup.ask("", &[GRANT, APP, SECRET, ("resource", KUSTO)]).await;
    assert_eq!((status, &body["expires_in"]), (200, &"3599".into()));
    assert!(setup.check(&body["access_token"], KUSTO).roles.is_empty());
    assert_eq!(setup.cloud.tokens().issued(), 2);
}

#[tokio::test]
async fn each_mistake_has_its_own_code() {
    let setup = setup();
    let scope = ("scope", "https://graph.microsoft.com/.default");
    let cases: [Case<'_>; 8] = [
        (&[GRANT, APP, ("client_secret", "wrong"), scope], 401, "invalid_client", 7_000_215),
        (&[GRANT, APP, scope], 401, "invalid_client", 7_000_218),
        (&[GRANT, ("client_id", "other"), SECRET, scope], 400, "unauthorized_client", 700_016),
        (&[GRANT, APP, SECRET, ("scope", "https://elsewhere.example/.default")], 400, "invalid_resource", 500_011),
        (&[GRANT, APP, SECRET, ("scope", "https://graph.microsoft.com/User.Read")], 400, "invalid_scope", 1_002_012),
        (&[GRANT, APP, SECRET], 400, "invalid_request", 900_144),
        (&[("grant_type", "password"), APP, SECRET, scope], 400, "unsupported_grant_type", 70_003),
        (&[APP, SECRET, scope], 400, "invalid_request", 900_144),
    ];
    for (form, status, error, code) in cases {
        let (found, body) = setup.ask("v2.0/", form).await;
        assert_eq!((found, body["error"].as_str().unwrap(), &body["error_codes"][0]), (status, error, &code.into()));
        let description = body["error_description"].as_str().unwrap();
        assert!(description.starts_with(&format!("AADSTS{code}: ")), "{description}");
        assert!(!description.contains("p+&="), "the secret is not repeated");
        assert_eq!(body["timestamp"], "2026-11-21 08:00:00Z");
    }
    let (status, body) = setup.ask_tenant("nowhere", "v2.0/", &[GRANT, APP, SECRET, scope]).await;
    assert_eq!((status, &body["error_codes"][0]), (400, &90_002.into()));
}

#[tokio::test]
async fn the_managed_identity_answers_as_app_service_does() {
    let setup = setup();
    let header = setup.settings["IDENTITY_HEADER"].clone();
    let query = "api-version=2019-08-01&resource=https%3A%2F%2Fgraph.microsoft.com";
    let (status, body) = setup.msi(query, &header).await;
    assert_eq!(status, 200);
    let expires_on = setup.clock.unix_seconds() + 3_600;
    assert_eq!(body["expires_on"], expires_on.to_string());
    assert_eq!((&body["token_type"], &body["resource"]), (&"Bearer".into(), &GRAPH.into()));
    let claims = setup.check(&body["access_token"], GRAPH);
    assert_eq!((claims.roles.len(), &claims.client_id), (1, &body["client_id"].as_str().unwrap().to_owned()));
    for (query, header, wanted) in [
        (query.to_owned(), "wrong", 401),
        (format!("{query}&client_id=someone"), &header, 400),
        ("api-version=2019-08-01".to_owned(), &header, 400),
        ("resource=https%3A%2F%2Fgraph.microsoft.com".to_owned(), &header, 400),
        ("api-version=2019-08-01&resource=https%3A%2F%2Felsewhere.example".to_owned(), &header, 400),
    ] {
        assert_eq!(setup.msi(&query, header).await.0, wanted, "{query}");
    }
    let own = format!("api-version=2019-08-01&resource={}", setup.cloud.url());
    assert_eq!(setup.msi(&own, &header).await.0, 200, "the cluster's own address is an audience");
}

#[tokio::test]
async fn planned_faults_reach_the_directory() {
    let setup = setup();
    setup.cloud.faults().script(Area::Identity, [Some(Fault::Unavailable), None]);
    let header = setup.settings["IDENTITY_HEADER"].clone();
    let query = "api-version=2019-08-01&resource=https%3A%2F%2Fgraph.microsoft.com";
    assert_eq!(setup.msi(query, &header).await.0, 503);
    assert_eq!(setup.msi(query, &header).await.0, 200);
}
