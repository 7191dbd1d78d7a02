//! The administrator of the simulated cluster: sets up what is to be copied, with the commands and through the endpoint
//! that a person would use, and reads how far it has come.

use crate::error::Error;
use crate::http::{beginning, deepest, text};
use crate::tenant::{FOLDER, WATERMARK_COLUMN};
use localcloud::source::ticks;
use reqwest::{Client, StatusCode};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::time::Duration;
use url::Url;

/// What a token for the cluster is asked for.
const RESOURCE: &str = "https://kusto.kusto.windows.net";
const ATTEMPTS: u32 = 8;
const PAUSE: Duration = Duration::from_millis(250);

const CONFIG_TABLE: &str = include_str!("kql/config_table.kql");
const CONFIG_VIEW: &str = include_str!("kql/config_view.kql");
const CONFIG_ROWS: &str = include_str!("kql/config_rows.kql");
const CONFIGURED: &str = include_str!("kql/configured.kql");

/// A person with rights on the cluster.
pub struct Administrator {
    client: Client,
    url: String,
    database: String,
    identity_endpoint: String,
    identity_header: String,
}

impl Administrator {
    /// The administrator of the cloud that `settings` (name, value) lead to.
    ///
    /// # Errors
    /// [`Error::Call`] names a setting that is missing.
    pub fn new(client: Client, settings: &[(String, String)]) -> Result<Self, Error> {
        let setting = |name: &str| {
            let found = settings.iter().find(|(known, _)| known == name);
            found.map(|(_, value)| value.clone()).ok_or_else(|| Error::call(name, "the cloud does not say it"))
        };
        Ok(Self {
            client,
            url: setting("ADX_CLUSTER_URI")?.trim_end_matches('/').to_owned(),
            database: setting("ADX_DATABASE")?,
            identity_endpoint: setting("IDENTITY_ENDPOINT")?,
            identity_header: setting("IDENTITY_HEADER")?,
        })
    }

    /// Makes the configuration table and view where they are missing, and adds a row for each of `tables` that has
    /// none: without a watermark, which asks for a first load.
    ///
    /// # Errors
    /// [`Error::Call`].
    pub async fn configure(&self, tables: impl Iterator<Item = &'static str>) -> Result<(), Error> {
        self.command(CONFIG_TABLE).await?;
        self.command(CONFIG_VIEW).await?;
        let known = self.watermarks().await?;
        let rows: Vec<String> = tables.filter(|table| !known.contains_key(*table)).map(config_row).collect();
        if !rows.is_empty() {
            self.command(&CONFIG_ROWS.replace("{{rows}}", &rows.join(",\n"))).await?;
        }
        Ok(())
    }

    /// The `HighWatermark` of every configured table, in ticks; `None` before its first load.
    ///
    /// # Errors
    /// [`Error::Call`].
    pub async fn watermarks(&self) -> Result<BTreeMap<String, Option<i64>>, Error> {
        let answer = self.ask("query", CONFIGURED).await?;
        read_watermarks(&answer).ok_or_else(|| Error::call("reading the configuration", beginning(&answer.to_string())))
    }

    /// How to query the database from a shell.
    pub fn example(&self) -> String {
        format!(
            "TOKEN=$(curl -s -H 'X-IDENTITY-HEADER: {header}' '{endpoint}?api-version=2019-08-01&resource={RESOURCE}' \
             | sed 's/.*\"access_token\":\"\\([^\"]*\\)\".*/\\1/')\n\
             curl -s -H \"Authorization: Bearer $TOKEN\" -H 'Content-Type: application/json' \\\n  \
             -d '{{\"db\":\"{database}\",\"csl\":\"DeviceLogonEvents | count\"}}' {url}/v1/rest/query",
            header = self.identity_header,
            endpoint = self.identity_endpoint,
            database = self.database,
            url = self.url,
        )
    }

    async fn command(&self, csl: &str) -> Result<Value, Error> {
        self.ask("mgmt", csl).await
    }

    /// Asks until there is an answer: the cluster may be made to fail. Every command here may be repeated but the
    /// one that adds rows; a row that is added twice says the same twice, and the view shows the latest only.
    async fn ask(&self, endpoint: &str, csl: &str) -> Result<Value, Error> {
        let mut attempt = 1;
        loop {
            match self.ask_once(endpoint, csl).await {
                Err(Retry::Later(_)) if attempt < ATTEMPTS => tokio::time::sleep(PAUSE * attempt).await,
                Err(Retry::Later(error) | Retry::Never(error)) => return Err(error),
                Ok(answer) => return Ok(answer),
            }
            attempt += 1;
        }
    }

    async fn ask_once(&self, endpoint: &str, csl: &str) -> Result<Value, Retry> {
        let token = self.token().await?;
        let what = format!("`{} …`", csl.split(['(', '\n']).next().unwrap_or_default().trim_end());
        let request = self
            .client
            .post(format!("{}/v1/rest/{endpoint}", self.url))
            .bearer_auth(token)
            .json(&json!({"db": self.database, "csl": csl}));
        read(&what, request).await
    }

    async fn token(&self) -> Result<String, Retry> {
        let what = "the managed identity's token";
        let parameters = [("api-version", "2019-08-01"), ("resource", RESOURCE)];
        let url = Url::parse_with_params(&self.identity_endpoint, parameters)
            .map_err(|error| Retry::Never(Error::call(what, error)))?;
        let request = self.client.get(url).header("X-IDENTITY-HEADER", &self.identity_header);
        let answer = read(what, request).await?;
        let token = answer["access_token"].as_str().map(str::to_owned);
        token.ok_or_else(|| Retry::Later(Error::call(what, "the answer holds none")))
    }
}

/// Whether it may help to ask again.
enum Retry {
    Later(Error),
    Never(Error),
}

async fn read(what: &str, request: reqwest::RequestBuilder) -> Result<Value, Retry> {
    let later = |why: String| Retry::Later(Error::call(what, why));
    let response = request.send().await.map_err(|error| later(deepest(&error)))?;
    let status = response.status();
    let body = text(what, response).await.map_err(Retry::Later)?;
    if status.is_success() {
        return serde_json::from_str(&body).map_err(|error| later(format!("the answer is not JSON: {error}")));
    }
    let error = Error::call(what, format!("{status}: {}", beginning(&body)));
    let passing = status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS;
    Err(if passing { Retry::Later(error) } else { Retry::Never(error) })
}

fn config_row(table: &str) -> String {
    format!(
        "    \"{table}\", \"{FOLDER}\", \"{table}\", \"{WATERMARK_COLUMN}\", datetime(null), datetime(null), \
         \"Incremental\", true"
    )
}

fn read_watermarks(answer: &Value) -> Option<BTreeMap<String, Option<i64>>> {
    let read = |row: &Value| {
        let watermark = match &row[1] {
            Value::Null => None,
            Value::String(text) => Some(ticks::parse(text)?),
            _ => return None,
        };
        Some((row[0].as_str()?.to_owned(), watermark))
    };
    answer["Tables"][0]["Rows"].as_array()?.iter().map(read).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn watermarks_are_read_with_and_without_a_value() {
        let rows = json!([["A", null], ["B", "2026-04-14T07:00:00.1234567Z"]]);
        let read = read_watermarks(&json!({"Tables": [{"TableName": "Table_0", "Rows": rows}]})).unwrap();
        assert_eq!(read["A"], None);
        assert_eq!(read["B"], ticks::parse("2026-04-14T07:00:00.1234567Z"));
        assert_eq!(read_watermarks(&json!({"Tables": [{"Rows": [["A", 5]]}]})), None);
        assert_eq!(read_watermarks(&json!({"error": {}})), None);
    }

    #[test]
    fn the_example_names_what_a_shell_needs() {
        let settings = [
            ("ADX_CLUSTER_URI", "http://127.0.0.1:9/"),
            ("ADX_DATABASE", "Defender"),
            ("IDENTITY_ENDPOINT", "http://127.0.0.1:9/msi/token"),
            ("IDENTITY_HEADER", "abc"),
        ];
        let settings = settings.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let example = Administrator::new(crate::http::client().unwrap(), &settings).unwrap().example();
        assert!(example.contains("X-IDENTITY-HEADER: abc"));
        assert!(example.contains("http://127.0.0.1:9/v1/rest/query"));
        assert!(example.contains(r#"-d '{"db":"Defender","csl":"DeviceLogonEvents | count"}'"#));
    }
}
