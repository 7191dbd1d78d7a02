//! What columns that hold one of a few words can say.

/// The words of a column, by its name or, for `ActionType`, by its table.
pub(crate) fn of_column(table: &str, column: &str) -> Option<&'static [&'static str]> {
    if column == "ActionType" {
        return Some(action_types(table));
    }
    let name = ["InitiatingProcess", "Process", "Source", "Target", "Latest"]
        .iter()
        .find_map(|prefix| column.strip_prefix(prefix))
        .unwrap_or(column);
    let words: &[&str] = match name {
        "OSPlatform" => &["Windows11", "Windows10", "WindowsServer2022", "Linux", "macOS", "Android"],
        "OSArchitecture" => &["64-bit", "ARM64"],
        "Severity" | "VulnerabilitySeverityLevel" => &["Informational", "Low", "Medium", "High", "Critical"],
        "RiskLevel" | "ExposureLevel" | "AssetValue" | "PermissionRisk" | "ExtensionRisk" => &["Low", "Medium", "High"],
        "LogonType" => &["Interactive", "Network", "RemoteInteractive", "Service", "Batch", "Unlock"],
        "Protocol" | "RequestProtocol" | "AuthenticationProtocol" => {
            &["Tcp", "Udp", "Kerberos", "NTLM", "Smb", "Local"]
        }
        "IntegrityLevel" => &["System", "High", "Medium", "Low"],
        "TokenElevation" => {
            &["TokenElevationTypeDefault", "TokenElevationTypeFull", "TokenElevationTypeLimited", "None"]
        }
        "SignerType" => &["OsVendor", "Publisher", "Unsigned", "Unknown"],
        "SignatureStatus" => &["Valid", "Unsigned", "Invalid"],
        "LocalIPType" | "RemoteIPType" | "IPType" => &["Private", "Public", "FourToSixMapping", "Loopback", "Reserved"],
        "RegistryValueType" => &["String", "Dword", "Qword", "MultiString", "Binary"],
        "DeliveryAction" => &["Delivered", "Junked", "Blocked", "Replaced"],
        "DeliveryLocation" => &["Inbox/folder", "Junk folder", "Quarantine", "Deleted folder", "On-premises/external"],
        "EmailDirection" => &["Inbound", "Outbound", "Intra-org"],
        "ServiceSource" => {
            &["Microsoft Defender for Endpoint", "Microsoft Defender for Office 365", "Microsoft Defender XDR"]
        }
        "DetectionSource" => &["EDR", "Antivirus", "Custom detection", "SmartScreen"],
        "EntityType" => &["File", "Process", "User", "Machine", "Ip", "Url", "MailMessage"],
        "EvidenceRole" | "EntityRole" => &["Impacted", "Related"],
        "SensorHealthState" => &["Active", "Inactive", "Misconfigured"],
        "OnboardingStatus" => &["Onboarded", "Can be onboarded", "Unsupported"],
        "DeviceCategory" => &["Endpoint", "NetworkDevice", "IoT"],
        "DeviceType" => &["Workstation", "Server", "Mobile", "Printer"],
        "NetworkAdapterStatus" => &["Up", "Down"],
        "NetworkAdapterType" => &["Ethernet", "Wireless80211", "Tunnel"],
        "RequestMethod" => &["GET", "POST", "PATCH", "DELETE"],
        "ResponseStatusCode" => &["200", "201", "204", "400", "403", "429"],
        "City" => &["Zürich", "São Paulo", "Kraków", "Tōkyō", "Seattle", "München"],
        "CountryCode" => &["CH", "BR", "PL", "JP", "US", "DE"],
        "Country" | "CountryName" => &["Switzerland", "Brazil", "Poland", "Japan", "United States", "Côte d'Ivoire"],
        "Isp" | "ISP" => &["Swisscom AG", "Deutsche Telekom", "Comcast \"Xfinity\"", "NTT"],
        "Department" => &["Finance", "R&D", "Vertrieb & Märkte", "IT"],
        "AccountType" | "Type" => &["Regular", "Admin", "System", "Application"],
        "NodeLabel" => &["device", "user", "managedidentity", "microsoft.compute/virtualmachines"],
        "EdgeLabel" => &["has permissions to", "can authenticate as", "affecting", "runs on"],
        "EndOfSupportStatus" => &["EOS Version", "EOS Software", "Upcoming EOS Version"],
        "Workload" => &["Teams", "Exchange", "SharePoint", "Entra"],
        _ => return None,
    };
    Some(words)
}

fn action_types(table: &str) -> &'static [&'static str] {
    match table {
        "DeviceProcessEvents" => &["ProcessCreated"],
        "DeviceNetworkEvents" => &[
            "ConnectionSuccess",
            "ConnectionFailed",
            "InboundConnectionAccepted",
            "DnsConnectionInspected",
            "ListeningConnectionCreated",
        ],
        "DeviceFileEvents" => &["FileCreated", "FileModified", "FileDeleted", "FileRenamed"],
        "DeviceRegistryEvents" => {
            &["RegistryValueSet", "RegistryKeyCreated", "RegistryValueDeleted", "RegistryKeyDeleted"]
        }
        "DeviceLogonEvents" => &["LogonSuccess", "LogonFailed", "LogonAttempted"],
        "DeviceImageLoadEvents" => &["ImageLoaded"],
        "DeviceEvents" => &[
            "DpapiAccessed",
            "NamedPipeEvent",
            "OpenProcessApiCall",
            "PowerShellCommand",
            "AntivirusScanCompleted",
            "ScheduledTaskCreated",
            "UsbDriveMounted",
        ],
        "CloudAppEvents" => &["FileAccessed", "MailItemsAccessed", "Add member to role.", "UserLoggedIn", "Send"],
        "EmailPostDeliveryEvents" | "MessagePostDeliveryEvents" => &["Phish ZAP", "Malware ZAP", "Manual remediation"],
        "IdentityLogonEvents" => &["LogonSuccess", "LogonFailed"],
        "IdentityQueryEvents" => &["LDAP query", "SAMR query", "DNS query"],
        "UrlClickEvents" => &["ClickAllowed", "ClickBlocked", "UrlScanInProgress"],
        _ => &["Created", "Updated", "Deleted", "Read", "Password changed"],
    }
}

/// Plain words for free text, some of them hostile to careless quoting.
pub(crate) const FREE: [&str; 20] = [
    "budget",
    "quarterly",
    "Überweisung",
    "invoice",
    "re:",
    "naïve",
    "confirm",
    "delivery",
    "'urgent'",
    "\"quoted\"",
    "a\\b",
    "東京",
    "αβγ",
    "status",
    "update",
    "🙂",
    "tab\there",
    "50 %",
    "<b>",
    "account",
];
