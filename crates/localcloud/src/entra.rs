//! Entra ID: client credentials, the App Service managed identity endpoint, and the tokens that the other
//! services check. Knows no service but by its audience.

mod endpoint;
mod tokens;

pub use endpoint::{App, Entra, ManagedIdentity, Settings, router};
pub use tokens::{Claims, Issued, TokenError, Tokens};

/// The audience of Microsoft Graph.
pub const GRAPH: &str = "https://graph.microsoft.com";
/// The audience that every Kusto cluster accepts.
pub const KUSTO: &str = "https://kusto.kusto.windows.net";
/// The audience of the older endpoint-protection hunting API.
pub const MDE: &str = "https://api.securitycenter.microsoft.com";
/// The audience of the older extended-detection hunting API.
pub const XDR: &str = "https://api.security.microsoft.com";
/// The application role for hunting through Graph.
pub const THREAT_HUNTING_READ_ALL: &str = "ThreatHunting.Read.All";

#[cfg(test)]
mod tests;
