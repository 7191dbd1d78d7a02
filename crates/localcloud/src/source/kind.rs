//! Which kind of content a column has, told from its name and type.

use super::cell::Cell;
use super::words;
use crate::kql::{Column, Type};
use xxhash_rust::xxh64::xxh64;

/// The kinds of content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Timestamp,
    Earlier,
    Bool,
    Port,
    Int(u64),
    ReportNumber { large: bool },
    FileSize,
    Long(u64),
    Real,
    Guid,
    Timespan,
    Decimal,
    Dynamic,
    Strings,
    DeviceId,
    DeviceName,
    Account(Who),
    FileName,
    FolderPath,
    CommandLine,
    Company,
    Product,
    Hash(u8),
    Version,
    Words(&'static [&'static str]),
    Phrase(u64),
    GuidText,
    ReportText,
    Ip,
    Ipv6,
    Url,
    Domain,
    Email,
    Cve,
    AzureResource,
    RegistryKey,
    Mac,
    UserAgent,
    NumberText,
    BagText,
    SignedInText,
    StringsText,
}

/// Which of an account's names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Who {
    Name,
    Domain,
    Upn,
    Sid,
    ObjectId,
    DisplayName,
    GivenName,
    Surname,
}

/// Prefixes that say whose name, file or address a column holds. The longer come first.
const ROLES: &[&str] = &[
    "InitiatingProcessParent",
    "InitiatingProcess",
    "CreatedProcess",
    "Previous",
    "Destination",
    "Request",
    "Remote",
    "Target",
    "Source",
    "Sender",
    "Recipient",
    "FileOrigin",
];

/// Columns of which most cells are empty, by a part of their name.
const SPARSE: &[(&str, u64)] = &[
    ("RemoteSession", 985),
    ("AppGuard", 995),
    ("Aws", 960),
    ("Gcp", 960),
    ("Sensitiv", 960),
    ("Previous", 700),
    ("RequestSource", 800),
    ("RequestAccount", 800),
    ("RequestProtocol", 800),
    ("ShareName", 950),
    ("IsAzureInfoProtection", 900),
    ("MergedTo", 980),
    ("MergedDevice", 950),
    ("Exclusion", 950),
    ("VersionInfo", 750),
    ("ProcessParent", 600),
    ("UniqueId", 750),
    ("SessionId", 600),
    ("AccountUpn", 700),
    ("AccountObjectId", 700),
    ("AccountSid", 500),
    ("AdditionalFields", 400),
    ("CreationTime", 400),
    ("AccountDomain", 300),
    ("SignerType", 600),
    ("SignatureStatus", 600),
    ("TokenElevation", 500),
    ("IntegrityLevel", 500),
    ("MD5", 750),
    ("SHA", 550),
    ("FileSize", 500),
    ("FileOrigin", 850),
];

impl Kind {
    /// Whether its cells are strings, which are never null but may be empty.
    pub(crate) fn is_text(self) -> bool {
        !matches!(
            self,
            Self::Timestamp
                | Self::Earlier
                | Self::Bool
                | Self::Port
                | Self::Int(_)
                | Self::ReportNumber { .. }
                | Self::FileSize
                | Self::Long(_)
                | Self::Real
                | Self::Guid
                | Self::Timespan
                | Self::Decimal
                | Self::Dynamic
                | Self::Strings
        )
    }
}

impl Cell {
    pub(crate) fn of_column(table: &str, column: &Column) -> Self {
        let name = column.name.as_str();
        let (role, rest) = ROLES.iter().find_map(|role| Some((*role, name.strip_prefix(role)?))).unwrap_or(("", name));
        let kind = match column.ty {
            Type::String => text_kind(table, name, rest),
            other => typed_kind(table, name, other),
        };
        Self { kind, role: salt(role), salt: salt(name), empty_per_mille: empty_per_mille(table, name, kind) }
    }
}

fn salt(name: &str) -> u64 {
    xxh64(name.as_bytes(), 17)
}

fn empty_per_mille(table: &str, name: &str, kind: Kind) -> u64 {
    if matches!(
        name,
        "DeviceId" | "DeviceName" | "ActionType" | "ReportId" | "AlertId" | "NodeId" | "CveId" | "NetworkMessageId"
    ) {
        return 0;
    }
    if table == "DeviceEvents"
        && (name.starts_with("Registry") || name.starts_with("Remote") || name.starts_with("Local"))
    {
        return 800;
    }
    if let Some((_, per_mille)) = SPARSE.iter().find(|(part, _)| name.contains(part)) {
        return *per_mille;
    }
    match kind {
        Kind::Phrase(_) => 350,
        Kind::Dynamic | Kind::Strings | Kind::Bool | Kind::Earlier | Kind::Real | Kind::Port => 100,
        Kind::GuidText | Kind::AzureResource | Kind::BagText => 200,
        _ => 30,
    }
}

fn typed_kind(table: &str, name: &str, ty: Type) -> Kind {
    match ty {
        Type::Datetime if matches!(name, "Timestamp" | "TimeGenerated") => Kind::Timestamp,
        Type::Datetime => Kind::Earlier,
        Type::Bool => Kind::Bool,
        Type::Int if name.ends_with("Port") => Kind::Port,
        Type::Int if name.starts_with("Is") => Kind::Int(2),
        Type::Int if name.ends_with("Id") || name == "ErrorCode" => Kind::Int(60_000),
        Type::Int => Kind::Int(50),
        Type::Long if name == "ReportId" => Kind::ReportNumber { large: table == "DeviceInfo" },
        Type::Long if name.ends_with("FileSize") => Kind::FileSize,
        Type::Long if name.to_ascii_lowercase().ends_with("logonid") => Kind::Long(1 << 34),
        Type::Long => Kind::Long(1 << 16),
        Type::Real => Kind::Real,
        Type::Decimal => Kind::Decimal,
        Type::Timespan => Kind::Timespan,
        Type::Guid => Kind::Guid,
        Type::Dynamic
            if ["Tags", "Categories", "List", "Names", "Ids", "Roles"].iter().any(|end| name.ends_with(end)) =>
        {
            Kind::Strings
        }
        Type::Dynamic | Type::String => Kind::Dynamic,
    }
}

fn text_kind(table: &str, name: &str, rest: &str) -> Kind {
    if let Some(words) = words::of_column(table, name) {
        return Kind::Words(words);
    }
    match name {
        "AdditionalFields"
        | "AuthenticationDetails"
        | "RawAgentInfo"
        | "ConditionalAccessPolicies"
        | "CloudPlatforms" => Kind::BagText,
        "LoggedOnUsers" => Kind::SignedInText,
        "IPAddresses" | "ConnectedNetworks" | "DnsAddresses" | "DefaultGateways" | "Categories"
        | "AttackTechniques" | "DetectionMethods" | "DiscoverySources" => Kind::StringsText,
        "ReportId" => Kind::ReportText,
        "UserAgent" => Kind::UserAgent,
        "CveId" => Kind::Cve,
        "MacAddress" => Kind::Mac,
        "GivenName" => Kind::Account(Who::GivenName),
        "Surname" => Kind::Account(Who::Surname),
        "RegistryKey" | "PreviousRegistryKey" => Kind::RegistryKey,
        "Subject" | "EmailSubject" | "Title" | "Description" => Kind::Phrase(12),
        _ => part_kind(rest),
    }
}

/// By the end of the name, the telling part.
fn part_kind(rest: &str) -> Kind {
    const ENDS: &[(&str, Kind)] = &[
        ("AadDeviceId", Kind::GuidText),
        ("EntraIdDeviceId", Kind::GuidText),
        ("DeviceId", Kind::DeviceId),
        ("DeviceName", Kind::DeviceName),
        ("AccountName", Kind::Account(Who::Name)),
        ("UserName", Kind::Account(Who::Name)),
        ("AccountDomain", Kind::Account(Who::Domain)),
        ("Upn", Kind::Account(Who::Upn)),
        ("Sid", Kind::Account(Who::Sid)),
        ("ObjectId", Kind::Account(Who::ObjectId)),
        ("DisplayName", Kind::Account(Who::DisplayName)),
        ("FileName", Kind::FileName),
        ("FolderPath", Kind::FolderPath),
        ("CommandLine", Kind::CommandLine),
        ("CompanyName", Kind::Company),
        ("ProductName", Kind::Product),
        ("InternalFileName", Kind::FileName),
        ("FileDescription", Kind::Product),
        ("SHA1", Kind::Hash(40)),
        ("SHA256", Kind::Hash(64)),
        ("MD5", Kind::Hash(32)),
        ("IPv6", Kind::Ipv6),
        ("IPv4", Kind::Ip),
        ("IP", Kind::Ip),
        ("IPAddress", Kind::Ip),
        ("IpAddress", Kind::Ip),
        ("FromAddress", Kind::Email),
        ("EmailAddress", Kind::Email),
        ("Url", Kind::Url),
        ("Uri", Kind::Url),
        ("Domain", Kind::Domain),
        ("Version", Kind::Version),
        ("ResourceId", Kind::AzureResource),
        ("UniqueId", Kind::NumberText),
        ("Hash", Kind::Hash(40)),
        ("Thumbprint", Kind::Hash(40)),
        ("Id", Kind::GuidText),
        ("Guid", Kind::GuidText),
    ];
    ENDS.iter().find(|(end, _)| rest.ends_with(end)).map_or(Kind::Phrase(3), |(_, kind)| *kind)
}
