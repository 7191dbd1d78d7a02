//! What tokens for a service are asked for: as its authentication metadata says, or its cloud.

use super::exchange::lost_on_the_way;
use super::{Client, Endpoint, Inner, at_path};
use crate::adx::Error;
use crate::adx::error::RequestText;
use crate::outbound::{read_capped, retry_after};
use reqwest::Method;
use reqwest::header::ACCEPT;
use serde_json::Value;
use tokio::time::{Instant, timeout_at};
use url::Url;

impl Client {
    /// The scope of tokens for `endpoint`, as the cluster itself names it, asked once; `None` where it wants none.
    pub(super) async fn scope<'a>(&self, endpoint: &'a Endpoint, deadline: Instant) -> Result<Option<&'a str>, Error> {
        // Others may be asking: their wait is theirs, not ours.
        let asked = endpoint.scope.get_or_try_init(async || {
            let engine = &self.inner.engine;
            let named = self.discover_scope(&endpoint.url, deadline).await?;
            if named != Named::Nothing || std::ptr::eq(endpoint, engine) {
                return Ok(named.scope_or(self.default_scope()));
            }
            // The engine's cloud is the ingestion endpoint's too.
            let of_engine = engine.scope.get_or_try_init(async || {
                let named = self.discover_scope(&engine.url, deadline).await?;
                Ok::<_, Error>(named.scope_or(self.default_scope()))
            });
            of_engine.await.cloned()
        });
        let scope = timeout_at(deadline, asked).await;
        let scope = scope.map_err(|_| Error::unavailable("no authentication metadata before the deadline"))??;
        Ok(scope.as_deref())
    }

    /// What `endpoint` says itself. One without the address, or with something else there, says nothing.
    async fn discover_scope(&self, endpoint: &Url, deadline: Instant) -> Result<Named, Error> {
        let Inner { database, app, .. } = &*self.inner;
        let text = RequestText { csl: "", database, app, changes: false };
        let url = at_path(endpoint, "/v1/rest/auth/metadata");
        let request = self.inner.outbound.request(Method::GET, url).header(ACCEPT, "application/json");
        let response = timeout_at(deadline, self.inner.outbound.send(request))
            .await
            .map_err(|_| text.lost("no authentication metadata before the deadline".to_owned()))?
            .map_err(|error| lost_on_the_way(error, &text))?;
        let status = response.status().as_u16();
        let after = retry_after(response.headers(), self.inner.clock.now());
        let body = read_capped(response, 64 * 1024, deadline).await.map_err(|error| text.lost(error.to_string()))?;
        match status {
            200 => {
                let named = Named::read(&body, endpoint);
                if let Named::Scope(scope) = &named {
                    // A token for another service would be as good as one that was sent there.
                    let url =
                        Url::parse(scope).map_err(|_| Error::corrupt("authentication metadata with no resource"))?;
                    self.inner.outbound.check_kusto_resource(&url)?;
                }
                Ok(named)
            }
            429 => Err(text.error_of_status(status, after, &body)),
            400..500 => Ok(Named::Nothing),
            _ => Err(text.error_of_status(status, after, &body)),
        }
    }

    fn default_scope(&self) -> String {
        format!("{}/.default", self.inner.outbound.cloud().kusto_resource())
    }
}

/// What authentication metadata says of tokens (dataexplorer-docs `api/rest/authentication.md`).
#[derive(Debug, PartialEq, Eq)]
enum Named {
    Nothing,
    /// An emulator, which takes none and should get none.
    NoToken,
    Scope(String),
}

impl Named {
    /// The scope of a token, where one is wanted.
    fn scope_or(self, default: String) -> Option<String> {
        match self {
            Self::Scope(scope) => Some(scope),
            Self::NoToken => None,
            Self::Nothing => Some(default),
        }
    }

    /// Reads the metadata of `endpoint`. Only a service on this machine, over plain http, may say that it wants no token.
    fn read(metadata: &[u8], endpoint: &Url) -> Self {
        let Ok(metadata) = serde_json::from_slice::<Value>(metadata) else { return Self::Nothing };
        match metadata.get("AzureAD") {
            // Plain http is trusted on loopback alone.
            Some(Value::Null) if endpoint.scheme() == "http" => Self::NoToken,
            Some(directory) => Self::of_directory(directory),
            None => Self::Nothing,
        }
    }

    fn of_directory(directory: &Value) -> Self {
        let named = directory.get("KustoServiceResourceId").and_then(Value::as_str);
        let Some(named) = named.filter(|text| !text.is_empty()) else { return Self::Nothing };
        let mut resource = named.trim_end_matches('/').to_owned();
        if directory.get("LoginMfaRequired").and_then(Value::as_bool) == Some(true) {
            resource = resource.replacen(".kusto.", ".kustomfa.", 1);
        }
        Self::Scope(format!("{resource}/.default"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_scope_is_the_clusters_own_resource_or_the_public_clouds() {
        let cluster = Url::parse("https://c.example").unwrap();
        let named = |text: &str| Named::read(text.as_bytes(), &cluster);
        let own = r#"{"AzureAD":{"LoginMfaRequired":false,"KustoServiceResourceId":"https://kusto.kusto.usgovcloudapi.net/"}}"#;
        assert_eq!(named(own), Named::Scope("https://kusto.kusto.usgovcloudapi.net/.default".to_owned()));
        let mfa = r#"{"AzureAD":{"LoginMfaRequired":true,"KustoServiceResourceId":"https://kusto.kusto.windows.net"}}"#;
        assert_eq!(named(mfa), Named::Scope("https://kusto.kustomfa.windows.net/.default".to_owned()));
        for none in [r#"{"AzureAD":null}"#, "{}", "null", r#"{"AzureAD":{}}"#, "<html>"] {
            assert_eq!(named(none), Named::Nothing, "{none}");
        }
    }

    #[test]
    fn only_a_service_on_this_machine_may_say_that_it_wants_no_token() {
        let named = |text: &str, url: &str| Named::read(text.as_bytes(), &Url::parse(url).unwrap());
        assert_eq!(named(r#"{"AzureAD":null}"#, "http://127.0.0.1:8080"), Named::NoToken);
        assert_eq!(named(r#"{"AzureAD":null}"#, "https://c.kusto.windows.net"), Named::Nothing);
        for silent in ["{}", r#"{"AzureAD":{}}"#, r#"{"AzureAD":""}"#, "null", ""] {
            assert_eq!(named(silent, "http://127.0.0.1:8080"), Named::Nothing, "{silent}");
        }
    }
}
