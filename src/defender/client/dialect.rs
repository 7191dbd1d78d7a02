//! Which of the three services an endpoint is, and what follows from that. The hosts are those of the clouds
//! (graph-docs `deployments`, defender-docs `defender-endpoint/gov.md` and `defender-xdr/usgov.md`).

use url::Url;

/// The day on which the two older services end (message center MC1220762; defender-docs `run-advanced-query-api.md`).
pub const RETIREMENT: &str = "1 February 2027";

/// Which of the three services an endpoint is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    /// Microsoft Graph, `runHuntingQuery`.
    Graph,
    /// The older Defender XDR API, `advancedhunting/run`.
    Xdr,
    /// The older Defender for Endpoint API, `advancedqueries/run`.
    Mde,
}

impl Dialect {
    /// A short name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Graph => "graph",
            Self::Xdr => "xdr",
            Self::Mde => "mde",
        }
    }

    /// The dialect of an endpoint, by its path.
    pub fn of(endpoint: &Url) -> Self {
        let path = endpoint.path().to_ascii_lowercase();
        if path.contains("/advancedhunting/") {
            Self::Xdr
        } else if path.contains("/advancedqueries/") {
            Self::Mde
        } else {
            Self::Graph
        }
    }

    /// Whether the service ends on [`RETIREMENT`].
    pub fn is_retiring(self) -> bool {
        self != Self::Graph
    }

    /// The application permission that it asks for.
    pub fn permission(self) -> &'static str {
        match self {
            Self::Graph => "ThreatHunting.Read.All",
            Self::Xdr => "AdvancedHunting.Read.All",
            Self::Mde => "AdvancedQuery.Read.All",
        }
    }

    /// What the API is called where its permissions are granted.
    pub fn api(self) -> &'static str {
        match self {
            Self::Graph => "Microsoft Graph",
            Self::Xdr => "Microsoft Threat Protection",
            Self::Mde => "WindowsDefenderATP",
        }
    }

    /// The resource that tokens for an endpoint are asked for: its own host where that is one of a cloud of its own, else the
    /// service's in the global cloud, whose regional hosts take the same tokens.
    pub fn resource(self, endpoint: &Url) -> String {
        let host = endpoint.host_str().unwrap_or_default();
        let sovereign = endpoint.scheme() == "https" && host.ends_with(".microsoft.us");
        match self {
            _ if sovereign => format!("https://{host}"),
            Self::Graph => "https://graph.microsoft.com".to_owned(),
            Self::Xdr => "https://api.security.microsoft.com".to_owned(),
            Self::Mde => "https://api.securitycenter.microsoft.com".to_owned(),
        }
    }

    /// What everyone who still uses an older service is to know.
    pub fn retirement_notice(self, endpoint: &Url) -> Option<String> {
        self.is_retiring().then(|| {
            format!(
                "the hunting endpoint {}{} ends on {RETIREMENT}; set DEFENDER_HUNTING_API_URL to Microsoft Graph's \
                 /v1.0/security/runHuntingQuery, DEFENDER_RESOURCE_URI to its host, and grant {} there",
                endpoint.host_str().unwrap_or_default(),
                endpoint.path(),
                Self::Graph.permission()
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_asked_for_the_cloud_that_the_endpoint_is_in() {
        for (endpoint, resource) in [
            ("https://graph.microsoft.com/v1.0/security/runHuntingQuery", "https://graph.microsoft.com"),
            ("https://graph.microsoft.us/v1.0/security/runHuntingQuery", "https://graph.microsoft.us"),
            ("https://dod-graph.microsoft.us/v1.0/security/runHuntingQuery", "https://dod-graph.microsoft.us"),
            ("https://api.security.microsoft.com/api/advancedhunting/run", "https://api.security.microsoft.com"),
            ("https://eu.api.security.microsoft.com/api/advancedhunting/run", "https://api.security.microsoft.com"),
            ("https://api-gov.security.microsoft.us/api/advancedhunting/run", "https://api-gov.security.microsoft.us"),
            ("https://api.security.microsoft.com/api/advancedqueries/run", "https://api.securitycenter.microsoft.com"),
            (
                "https://api-uk.securitycenter.microsoft.com/api/advancedqueries/run",
                "https://api.securitycenter.microsoft.com",
            ),
            (
                "https://api-gcc.securitycenter.microsoft.us/API/AdvancedQueries/run",
                "https://api-gcc.securitycenter.microsoft.us",
            ),
            ("http://127.0.0.1:8080/v1.0/security/runHuntingQuery", "https://graph.microsoft.com"),
            ("https://graph.evil.example/?.microsoft.us", "https://graph.microsoft.com"),
        ] {
            let endpoint = Url::parse(endpoint).unwrap();
            assert_eq!(Dialect::of(&endpoint).resource(&endpoint), resource, "{endpoint}");
        }
    }

    #[test]
    fn the_end_of_the_older_services_is_said_with_what_to_do() {
        let notice = |url: &str| {
            let url = Url::parse(url).unwrap();
            Dialect::of(&url).retirement_notice(&url)
        };
        for path in ["advancedhunting", "advancedqueries"] {
            let said = notice(&format!("https://api.security.microsoft.com/api/{path}/run?x=secret")).unwrap();
            assert!(said.contains("1 February 2027") && said.contains("runHuntingQuery"), "{said}");
            assert!(said.contains(path) && !said.contains("secret"), "{said}");
        }
        assert_eq!(notice("https://graph.microsoft.com/v1.0/security/runHuntingQuery"), None);
    }
}
