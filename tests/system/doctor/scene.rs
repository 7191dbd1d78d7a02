//! A set-up that is in order, to be broken by a test, and the program run over it as a process.

use super::tls::{Front, Tunnels};
use crate::support::azurite::tls::ELSEWHERE;
use axum::Router;
use axum::http::{HeaderValue, StatusCode};
use axum::response::IntoResponse;
use localcloud::cloud::{Cloud, Settings as CloudSettings};
use localcloud::entra::{App, THREAT_HUNTING_READ_ALL};
use localcloud::source::{Settings as SourceSettings, TableSettings};
use serde_json::Value;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(120);
/// The application that has a secret.
pub const CLIENT: &str = "11111111-2222-4333-8444-555555555555";
/// Nobody but the test knows it: it must stand in no output.
pub const SECRET: &str = "s3cret-of-the-app~";

pub struct Scene {
    pub cloud: Cloud,
    pub settings: Vec<(String, String)>,
    pub folder: tempfile::TempDir,
    /// What a test started and the set-up needs.
    pub kept: Vec<Box<dyn std::any::Any + Send>>,
}

/// What the program printed and how it ended.
pub struct Printed {
    pub code: i32,
    pub out: String,
    pub err: String,
}

impl Scene {
    /// All in order: two tables configured, none copied yet.
    pub fn healthy() -> Self {
        Self::over(CloudSettings::default())
    }

    pub fn over(cloud: CloudSettings) -> Self {
        let tables = ["DeviceEvents", "EmailEvents"].map(|name| TableSettings::new(name, 10, 0, 0)).to_vec();
        let source = SourceSettings { tables, ..SourceSettings::default() };
        let app = App {
            client_id: CLIENT.to_owned(),
            secret: SECRET.to_owned(),
            roles: vec![THREAT_HUNTING_READ_ALL.to_owned()],
        };
        let apps = if cloud.apps.is_empty() { vec![app] } else { cloud.apps };
        let cloud = Cloud::start(CloudSettings { source, apps, ..cloud }).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let mut settings = cloud.product_settings();
        settings.push(("STATE_STORE".to_owned(), format!("sqlite:{}", folder.path().join("state.db").display())));
        let scene = Self { cloud, settings, folder, kept: Vec::new() };
        for (table, file) in [
            ("meta_MigrationConfiguration", "config_table"),
            ("meta_MigrationAudit", "audit_table"),
            ("meta_ChunkIngestionFailures", "chunk_audit_table"),
            ("meta_Ledger", "ledger_table"),
        ] {
            scene.adx(&template(file).replace("{{table}}", table));
        }
        for (view, table, file) in [
            ("vw_meta_LatestMigrationConfiguration", "meta_MigrationConfiguration", "config_view"),
            ("vw_meta_LatestChunkIngestionFailures", "meta_ChunkIngestionFailures", "chunk_audit_view"),
        ] {
            scene.adx(&template(file).replace("{{view}}", view).replace("{{table}}", table));
        }
        scene.configure("DeviceEvents", "DeviceEvents");
        scene.configure("EmailEvents", "EmailEvents");
        scene.grant(&["viewers", "users", "ingestors"]);
        scene.cloud.adx().ask_for_roles();
        scene
    }

    /// As an administrator.
    pub fn adx(&self, csl: &str) {
        self.cloud.adx().run(csl).unwrap_or_else(|error| panic!("{csl}: {error}"));
    }

    pub fn configure(&self, source: &str, destination: &str) {
        self.adx(&format!(
            ".set-or-append meta_MigrationConfiguration <| print SourceTable='{source}', DestinationFolder='Defender', \
             DestinationTable='{destination}', WatermarkColumn='Timestamp', LastRefreshedTime=datetime(null), \
             HighWatermark=datetime(null), LoadType='Incremental', IsActive=true"
        ));
    }

    /// The roles of the identity in the database: these, and no others.
    pub fn grant(&self, roles: &[&str]) {
        for role in ["viewers", "users", "ingestors", "admins"] {
            let verb = if roles.contains(&role) { ".add" } else { ".drop" };
            self.adx(&format!("{verb} database Defender {role} ('{}')", self.cloud.principal()));
        }
    }

    /// The same with what a row is copied by.
    pub fn configure_by(&self, source: &str, watermark_column: &str) {
        self.configure(source, source);
        self.adx(&format!(
            ".set-or-append meta_MigrationConfiguration <| meta_MigrationConfiguration | where SourceTable == '{source}' | \
             take 1 | extend WatermarkColumn = '{watermark_column}'"
        ));
    }

    /// A service of its own that answers every request so; gives its address.
    pub fn answering(&mut self, answer: (StatusCode, &'static [(&'static str, &'static str)], &'static str)) -> String {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (status, headers, body) = answer;
        let respond = move || async move {
            let mut response = (status, body).into_response();
            for (name, value) in headers {
                response.headers_mut().insert(*name, HeaderValue::from_static(value));
            }
            response
        };
        let serving = tokio::spawn(async move {
            let listener = tokio::net::TcpListener::from_std(listener).unwrap();
            axum::serve(listener, Router::new().fallback(respond)).await.unwrap();
        });
        self.kept.push(Box::new(serving));
        url
    }

    pub fn set(&mut self, name: &str, value: &str) {
        self.unset(name);
        self.settings.push((name.to_owned(), value.to_owned()));
    }

    pub fn unset(&mut self, name: &str) {
        self.settings.retain(|(known, _)| known != name);
    }

    /// The identity is an application with a secret; its directory is reached over TLS.
    pub fn with_secret(&mut self, secret: &str) {
        let front = Front::before(&self.cloud.url(), self.folder.path());
        self.set("AZURE_AUTHORITY_HOST", &front.url);
        self.set("SSL_CERT_FILE", front.authority.to_str().unwrap());
        self.set("AZURE_CLIENT_ID", CLIENT);
        self.set("AZURE_CLIENT_SECRET", secret);
        self.unset("IDENTITY_ENDPOINT");
        self.unset("IDENTITY_HEADER");
        self.kept.push(Box::new(front));
    }

    /// The same, where the directory is reached through a proxy alone.
    pub fn behind_a_proxy(&mut self, secret: &str) -> Tunnels {
        self.with_secret(secret);
        let proxy = Tunnels::to(self.setting("AZURE_AUTHORITY_HOST"));
        self.set("AZURE_AUTHORITY_HOST", &format!("https://{ELSEWHERE}"));
        self.set("HTTPS_PROXY", &proxy.url);
        proxy
    }

    pub async fn doctor(&self, arguments: &[&str]) -> Printed {
        let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_adxingestor"));
        command
            .arg("doctor")
            .args(arguments)
            .arg("--app-root")
            .arg(self.folder.path())
            .env_clear()
            .envs(self.settings.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .kill_on_drop(true);
        let ended = tokio::time::timeout(PATIENCE, command.output()).await.expect("it ends").unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Printed { code: ended.status.code().unwrap(), out: text(&ended.stdout), err: text(&ended.stderr) }
    }

    /// The checks, and whether all is well.
    pub async fn checks(&self) -> (bool, Vec<Check>) {
        let printed = self.doctor(&["--json"]).await;
        let body: Value =
            serde_json::from_str(&printed.out).unwrap_or_else(|_| panic!("{}{}", printed.out, printed.err));
        assert_eq!(printed.err, "");
        for secret in [SECRET, "AccountKey=", self.setting("IDENTITY_HEADER")] {
            assert!(secret.is_empty() || !printed.out.contains(secret), "{secret} is told: {}", printed.out);
        }
        let healthy = body["healthy"].as_bool().unwrap();
        assert_eq!(printed.code, i32::from(!healthy));
        assert_eq!(body.as_object().unwrap().len(), 2);
        let check = |check: &Value| Check {
            id: check["id"].as_str().unwrap().to_owned(),
            status: check["status"].as_str().unwrap().to_owned(),
            what: check["what"].as_str().unwrap().to_owned(),
            remedy: check["remedy"].as_str().unwrap_or_default().to_owned(),
        };
        (healthy, body["checks"].as_array().unwrap().iter().map(check).collect())
    }

    pub fn setting(&self, name: &str) -> &str {
        self.settings.iter().find(|(known, _)| known == name).map_or("", |(_, value)| value)
    }
}

#[derive(Debug)]
pub struct Check {
    pub id: String,
    pub status: String,
    pub what: String,
    pub remedy: String,
}

/// A command of the product that makes metadata.
fn template(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("kql/metadata").join(format!("{name}.kql"));
    let text = std::fs::read_to_string(path).unwrap();
    text.lines().filter(|line| !line.starts_with("//")).collect::<Vec<_>>().join("\n")
}
