//! The clouds, told apart by who gives the tokens, and the names of their services. A token of one cloud is of no use in
//! another, and a host of another one has no business with it.

use url::Url;

/// A cloud of Azure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Cloud {
    /// Azure, and the tenants of Government Community Cloud, which have their identities there.
    #[default]
    Public,
    /// Azure Government.
    Government,
    /// Azure operated by 21Vianet.
    China,
    /// Anything else: none of its names is known.
    Other,
}

/// Names of the services of one cloud that may be given a token.
pub(super) struct Names {
    /// Whole names.
    pub hosts: &'static [&'static str],
    /// Parents of names.
    pub parents: &'static [&'static str],
    /// Parents of the hosts of storage accounts, DNS zones included (azure-docs `storage-account-overview`). They are no place
    /// for other tokens: anybody can have an account there.
    pub storage: &'static [&'static str],
}

/// Graph (graph-docs `deployments`), the older hunting services (learn.microsoft.com "Microsoft Defender for US Government
/// customers"), and Kusto's well-known endpoints as its SDKs list them.
const PUBLIC: Names = Names {
    // Government Community Cloud has identities of the public cloud.
    hosts: &[
        "graph.microsoft.com",
        "ade.loganalytics.io",
        "api-gcc.securitycenter.microsoft.us",
        "api-gcc.security.microsoft.us",
    ],
    parents: &[
        "securitycenter.microsoft.com",
        "security.microsoft.com",
        "kusto.windows.net",
        "kusto.fabric.microsoft.com",
        "kusto.azuresynapse.net",
        "kusto.data.microsoft.com",
        "kustomfa.windows.net",
    ],
    storage: &[
        "table.core.windows.net",
        "queue.core.windows.net",
        "blob.core.windows.net",
        "table.storage.azure.net",
        "queue.storage.azure.net",
        "blob.storage.azure.net",
    ],
};

const GOVERNMENT: Names = Names {
    hosts: &["graph.microsoft.us", "dod-graph.microsoft.us"],
    parents: &[
        "securitycenter.microsoft.us",
        "security.microsoft.us",
        "kusto.usgovcloudapi.net",
        "kustomfa.usgovcloudapi.net",
    ],
    storage: &["table.core.usgovcloudapi.net", "queue.core.usgovcloudapi.net", "blob.core.usgovcloudapi.net"],
};

const CHINA: Names = Names {
    hosts: &["microsoftgraph.chinacloudapi.cn"],
    parents: &["kusto.chinacloudapi.cn", "kustomfa.chinacloudapi.cn"],
    storage: &["table.core.chinacloudapi.cn", "queue.core.chinacloudapi.cn", "blob.core.chinacloudapi.cn"],
};

const OTHER: Names = Names { hosts: &[], parents: &[], storage: &[] };

impl Cloud {
    /// The cloud of an authority, as `AZURE_AUTHORITY_HOST` names it: with or without its scheme, the public one if unset.
    pub fn of_authority(authority: Option<&str>) -> Self {
        let Some(authority) = authority.map(str::trim).filter(|text| !text.is_empty()) else { return Self::Public };
        let whole = if authority.contains("://") { authority.to_owned() } else { format!("https://{authority}") };
        let url = Url::parse(&whole);
        match url.as_ref().ok().and_then(Url::host_str) {
            Some("login.microsoftonline.com" | "login.microsoft.com" | "login.windows.net") => Self::Public,
            Some("login.microsoftonline.us") => Self::Government,
            Some("login.chinacloudapi.cn" | "login.partner.microsoftonline.cn") => Self::China,
            _ => Self::Other,
        }
    }

    /// What tokens for Kusto are asked for where the cluster does not name its own resource.
    pub fn kusto_resource(self) -> &'static str {
        match self {
            Self::Public | Self::Other => "https://kusto.kusto.windows.net",
            Self::Government => "https://kusto.kusto.usgovcloudapi.net",
            Self::China => "https://kusto.kusto.chinacloudapi.cn",
        }
    }

    /// What `AZURE_AUTHORITY_HOST` has to be for it; `None` where nothing is known of it.
    pub fn authority(self) -> Option<&'static str> {
        match self {
            Self::Public => Some("https://login.microsoftonline.com"),
            Self::Government => Some("https://login.microsoftonline.us"),
            Self::China => Some("https://login.chinacloudapi.cn"),
            Self::Other => None,
        }
    }

    pub(super) fn names(self) -> &'static Names {
        match self {
            Self::Public => &PUBLIC,
            Self::Government => &GOVERNMENT,
            Self::China => &CHINA,
            Self::Other => &OTHER,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_authority_is_of_one_cloud() {
        for (authority, cloud) in [
            (None, Cloud::Public),
            (Some(" "), Cloud::Public),
            (Some("https://login.microsoftonline.com/"), Cloud::Public),
            (Some("login.microsoftonline.us"), Cloud::Government),
            (Some("https://LOGIN.microsoftonline.us/"), Cloud::Government),
            (Some("https://login.chinacloudapi.cn"), Cloud::China),
            (Some("https://login.partner.microsoftonline.cn"), Cloud::China),
            (Some("https://login.microsoftonline.com.evil.example"), Cloud::Other),
            (Some("https://adfs.local.azurestack.external"), Cloud::Other),
            (Some("::"), Cloud::Other),
        ] {
            assert_eq!(Cloud::of_authority(authority), cloud, "{authority:?}");
        }
        for cloud in [Cloud::Public, Cloud::Government, Cloud::China] {
            assert_eq!(Cloud::of_authority(cloud.authority()), cloud);
        }
    }
}
