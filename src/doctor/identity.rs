//! Who the app is, and whether it gets a token for the source and for the cluster. Knows no protocol of theirs.

use super::{Area, Finding, STEP};
use crate::outbound::{Error, Outbound, cloud_of};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;
use url::Url;

/// Where people look at clusters and hunt, which are no services.
const WEB_PAGES: [&str; 4] =
    ["dataexplorer.azure.com", "portal.azure.com", "app.fabric.microsoft.com", "app.powerbi.com"];
/// The ids of these checks.
pub(super) const KIND: &str = "identity.kind";
pub(super) const HUNTING: &str = "identity.hunting_token";
pub(super) const ADX: &str = "identity.adx_token";

/// What a token says of itself, as far as it is a JWT. It is not verified: that is for the service whose token it is.
#[derive(Debug, Default, Clone, PartialEq, Eq, Deserialize)]
pub(super) struct Claims {
    /// The application permissions.
    #[serde(default)]
    pub roles: Vec<String>,
    /// The delegated ones, of a signed-in person.
    #[serde(default)]
    pub scp: String,
    /// The application: v1 and v2 tokens spell it differently.
    #[serde(default)]
    pub appid: Option<String>,
    #[serde(default)]
    azp: Option<String>,
    /// The tenant.
    #[serde(default)]
    pub tid: Option<String>,
}

impl Claims {
    /// Reads them; `None` where the token is none that can be read.
    pub fn of(token: &str) -> Option<Self> {
        let payload = token.split('.').nth(1)?;
        let decoded = URL_SAFE_NO_PAD.decode(payload.trim_end_matches('=')).ok()?;
        serde_json::from_slice(&decoded).ok()
    }

    /// Whether the permission is among them; `None` where they say nothing of permissions.
    pub fn permits(&self, permission: &str) -> Option<bool> {
        let held = || self.roles.iter().map(String::as_str).chain(self.scp.split(' ')).filter(|held| !held.is_empty());
        held().next()?;
        Some(held().any(|held| held.eq_ignore_ascii_case(permission)))
    }

    /// The application's id, if it looks like one.
    pub fn application(&self) -> Option<&str> {
        // It becomes part of a command that a person is to run.
        let is_id = |id: &&str| !id.is_empty() && id.chars().all(|c| c.is_ascii_alphanumeric() || c == '-');
        self.appid.as_deref().or(self.azp.as_deref()).filter(is_id)
    }
}

/// Asks for a token for `resource`, and gives what it says.
pub(super) async fn token(outbound: &Outbound, id: &str, resource: &str) -> (Finding, Option<Claims>) {
    let scope = format!("{}/.default", resource.trim_end_matches("/.default").trim_end_matches('/'));
    let asked = tokio::time::timeout(STEP, outbound.token(&scope)).await;
    match asked {
        Ok(Ok(token)) => {
            let claims = Claims::of(token.expose());
            (Finding::pass(Area::Identity, id, format!("a token for {resource}")), claims)
        }
        Ok(Err(error)) => (refused(id, &error), None),
        Err(_) => (refused(id, &Error::late_token(&scope, STEP)), None),
    }
}

/// A token that is not to be had.
pub(super) fn refused(id: &str, error: &Error) -> Finding {
    let (what, remedy) = match error {
        Error::Token { scope, message, remedy, .. } => (format!("no token for {scope}: {message}"), remedy.clone()),
        _ => (error.to_string(), String::new()),
    };
    Finding::fail(Area::Identity, id, what, remedy)
}

/// What to do about an address that may not be given a token, and the setting that names it.
pub(super) fn untrusted(setting: &str, url: &Url, outbound: &Outbound) -> String {
    let host = url.host_str().unwrap_or_default();
    match cloud_of(url) {
        Some(cloud) if cloud != outbound.cloud() => {
            let authority = cloud.authority().unwrap_or_default();
            format!("correct {setting}, or set AZURE_AUTHORITY_HOST={authority}, as {host} is of that cloud")
        }
        _ if WEB_PAGES.contains(&host) => format!(
            "{host} is a web page: set {setting} to the URI on the Overview page of the cluster in the Azure portal (of an Eventhouse \
             its Query URI)"
        ),
        _ if url.scheme() == "http" => format!("correct {setting}: tokens are sent over https only"),
        _ => format!(
            "correct {setting}; if the host is yours, add {host} to TRUSTED_HOSTS (whole names, with commas between them)"
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(payload: &str) -> String {
        format!("e30.{}.c2ln", URL_SAFE_NO_PAD.encode(payload))
    }

    #[test]
    fn the_permissions_of_a_token_are_read_and_what_is_no_jwt_says_nothing() {
        let app = Claims::of(&token(r#"{"roles":["ThreatHunting.Read.All"],"appid":"a","exp":1}"#)).unwrap();
        assert_eq!(app.permits("ThreatHunting.Read.All"), Some(true));
        assert_eq!(app.permits("AdvancedQuery.Read.All"), Some(false));
        assert_eq!(app.application(), Some("a"));
        let person = Claims::of(&token(r#"{"scp":"User.Read ThreatHunting.Read.All","azp":"b"}"#)).unwrap();
        assert_eq!((person.permits("ThreatHunting.Read.All"), person.application()), (Some(true), Some("b")));
        let hostile = Claims::of(&token(r#"{"appid":"a`; rm"}"#)).unwrap();
        assert_eq!(hostile.application(), None);
        let bare = Claims::of(&token("{}")).unwrap();
        assert_eq!(bare.permits("ThreatHunting.Read.All"), None);
        for opaque in ["", "opaque", "a.b.c", "e30.bm9qc29u.x"] {
            assert_eq!(Claims::of(opaque), None, "{opaque}");
        }
    }
}
