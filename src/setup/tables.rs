//! Which tables of the source are to be copied: the documented ones, those that are recommended, and the names that a person
//! gave. Asks nothing.

use crate::kql::{Identifier, InvalidName};

/// The tables of advanced hunting (learn.microsoft.com "Understand the advanced hunting schema"). Which of them there are depends
/// on licences, so a tenant is asked; this list is what it is asked for. The audit events of Graph are spelled in two ways there.
const DOCUMENTED: [&str; 65] = [
    "AADSignInEventsBeta",
    "AADSpnSignInEventsBeta",
    "AIAgentsInfo",
    "AgentsInfo",
    "AlertEvidence",
    "AlertInfo",
    "BehaviorEntities",
    "BehaviorInfo",
    "CampaignInfo",
    "CloudAppEvents",
    "CloudAuditEvents",
    "CloudDnsEvents",
    "CloudPolicyEnforcementEvents",
    "CloudProcessEvents",
    "CloudStorageAggregatedEvents",
    "DataSecurityBehaviors",
    "DataSecurityEvents",
    "DeviceBaselineComplianceAssessment",
    "DeviceBaselineComplianceAssessmentKB",
    "DeviceBaselineComplianceProfiles",
    "DeviceEvents",
    "DeviceFileCertificateInfo",
    "DeviceFileEvents",
    "DeviceImageLoadEvents",
    "DeviceInfo",
    "DeviceLogonEvents",
    "DeviceNetworkEvents",
    "DeviceNetworkInfo",
    "DeviceProcessEvents",
    "DeviceRegistryEvents",
    "DeviceTvmBrowserExtensions",
    "DeviceTvmBrowserExtensionsKB",
    "DeviceTvmCertificateInfo",
    "DeviceTvmHardwareFirmware",
    "DeviceTvmInfoGathering",
    "DeviceTvmInfoGatheringKB",
    "DeviceTvmSecureConfigurationAssessment",
    "DeviceTvmSecureConfigurationAssessmentKB",
    "DeviceTvmSoftwareEvidenceBeta",
    "DeviceTvmSoftwareInventory",
    "DeviceTvmSoftwareVulnerabilities",
    "DeviceTvmSoftwareVulnerabilitiesKB",
    "DisruptionAndResponseEvents",
    "EmailAttachmentInfo",
    "EmailEvents",
    "EmailPostDeliveryEvents",
    "EmailUrlInfo",
    "EntraIdSignInEvents",
    "EntraIdSpnSignInEvents",
    "ExposureGraphEdges",
    "ExposureGraphNodes",
    "FileMaliciousContentInfo",
    "GraphAPIAuditEvents",
    "GraphApiAuditEvents",
    "IdentityAccountInfo",
    "IdentityDirectoryEvents",
    "IdentityEvents",
    "IdentityInfo",
    "IdentityLogonEvents",
    "IdentityQueryEvents",
    "MessageEvents",
    "MessagePostDeliveryEvents",
    "MessageUrlInfo",
    "OAuthAppInfo",
    "UrlClickEvents",
];

/// What the streaming API exports in every cloud (learn.microsoft.com "Supported Microsoft Defender XDR streaming event types in
/// event streaming API"), and the events of sign-ins, of messages in Teams and of behaviours, which investigations go back to as
/// well.
const RECOMMENDED: [&str; 28] = [
    "AlertEvidence",
    "AlertInfo",
    "BehaviorEntities",
    "BehaviorInfo",
    "CloudAppEvents",
    "DeviceEvents",
    "DeviceFileCertificateInfo",
    "DeviceFileEvents",
    "DeviceImageLoadEvents",
    "DeviceInfo",
    "DeviceLogonEvents",
    "DeviceNetworkEvents",
    "DeviceNetworkInfo",
    "DeviceProcessEvents",
    "DeviceRegistryEvents",
    "EmailAttachmentInfo",
    "EmailEvents",
    "EmailPostDeliveryEvents",
    "EmailUrlInfo",
    "EntraIdSignInEvents",
    "EntraIdSpnSignInEvents",
    "IdentityDirectoryEvents",
    "IdentityLogonEvents",
    "IdentityQueryEvents",
    "MessageEvents",
    "MessagePostDeliveryEvents",
    "MessageUrlInfo",
    "UrlClickEvents",
];

/// How many names are suggested for one that is unknown.
const SUGGESTED: usize = 3;
/// How alike two names have to be, from 0 to 1, for the one to be suggested for the other.
const ALIKE: f64 = 0.6;

/// Which tables are to be copied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Choice {
    /// Those that most security teams keep, as far as the tenant offers them.
    Recommended,
    /// All documented ones that the tenant offers.
    All,
    /// These, each of which the tenant has to offer.
    Named(Vec<Identifier>),
}

/// What cannot be a choice of tables.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadChoice {
    /// A name that no table can have.
    #[error("--tables: {0}")]
    Name(#[from] InvalidName),
    /// No name.
    #[error("--tables names no table: say recommended, all, or names with commas between them")]
    Empty,
}

impl Choice {
    /// Reads `recommended`, `all`, or names with commas between them.
    ///
    /// # Errors
    /// [`BadChoice`].
    pub fn parse(text: &str) -> Result<Self, BadChoice> {
        match text.trim() {
            "recommended" => return Ok(Self::Recommended),
            "all" => return Ok(Self::All),
            _ => {}
        }
        let mut names = Vec::new();
        for name in text.split(',').map(str::trim).filter(|name| !name.is_empty()) {
            let name = Identifier::new(name)?;
            if !names.contains(&name) {
                names.push(name);
            }
        }
        if names.is_empty() { Err(BadChoice::Empty) } else { Ok(Self::Named(names)) }
    }

    /// The tables to ask the tenant for.
    pub fn candidates(&self) -> Vec<Identifier> {
        let all = |names: &[&str]| names.iter().filter_map(|name| Identifier::new(name).ok()).collect();
        match self {
            Self::Recommended => all(&RECOMMENDED),
            Self::All => all(&DOCUMENTED),
            Self::Named(names) => names.clone(),
        }
    }
}

/// Why a tenant may not offer a table, with the names that may have been meant.
pub fn unknown(name: &str) -> String {
    if DOCUMENTED.contains(&name) {
        return format!(
            "{name} is a table of advanced hunting, but not one that this identity sees in this tenant: check the licence and the \
             service that fills it"
        );
    }
    let near = nearest(name);
    let meant = if near.is_empty() { String::new() } else { format!("; did you mean {}?", near.join(", ")) };
    format!("{name} is not a table that this identity can query (names are case-sensitive){meant}")
}

/// The documented tables whose names are most like one.
fn nearest(name: &str) -> Vec<&'static str> {
    let lower = name.to_ascii_lowercase();
    let alike = |known: &str| strsim::normalized_damerau_levenshtein(&lower, &known.to_ascii_lowercase());
    let mut near: Vec<_> = DOCUMENTED.iter().map(|known| (alike(known), *known)).filter(|(a, _)| *a >= ALIKE).collect();
    near.sort_by(|(left, _), (right, _)| right.total_cmp(left));
    near.into_iter().take(SUGGESTED).map(|(_, known)| known).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_recommended_is_documented_and_lists_are_in_order() {
        assert!(RECOMMENDED.iter().all(|name| DOCUMENTED.contains(name)));
        assert!(DOCUMENTED.is_sorted() && RECOMMENDED.is_sorted());
        assert_eq!(Choice::All.candidates().len(), DOCUMENTED.len());
    }

    #[test]
    fn names_are_told_from_the_two_words_and_hostile_ones_are_refused() {
        assert_eq!(Choice::parse(" all "), Ok(Choice::All));
        assert_eq!(Choice::parse("recommended"), Ok(Choice::Recommended));
        let Ok(Choice::Named(names)) = Choice::parse("A, B,,A") else { panic!() };
        assert_eq!(names.iter().map(Identifier::as_str).collect::<Vec<_>>(), ["A", "B"]);
        assert_eq!(Choice::parse(" , "), Err(BadChoice::Empty));
        for hostile in ["A\"B", "A']", "A | take 1", "A;.drop table B", "A\nB", "A)"] {
            assert!(matches!(Choice::parse(hostile), Err(BadChoice::Name(_))), "{hostile}");
        }
    }

    #[test]
    fn an_unknown_name_is_told_with_those_that_are_like_it() {
        assert!(unknown("deviceevents").contains("did you mean DeviceEvents, "), "{}", unknown("deviceevents"));
        assert!(unknown("EmialEvents").contains("did you mean EmailEvents"));
        assert!(unknown("DeviceEvents").contains("licence"));
        assert!(unknown("Zebra").ends_with("(names are case-sensitive)"));
    }
}
