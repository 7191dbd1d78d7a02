//! Which tables of the source are to be copied: the documented ones, those that are recommended, and the names that a person
//! gave. Asks nothing.

use crate::kql::{Identifier, InvalidName};
use crate::spelling::{did_you_mean, nearest};

/// Whether a table is among those that are recommended: what the streaming API exports in every cloud (learn.microsoft.com
/// "Supported Microsoft Defender XDR streaming event types in event streaming API"), and the events of sign-ins, of messages in
/// Teams and of behaviours, which investigations go back to as well.
type IsRecommended = bool;
const RECOMMENDED: IsRecommended = true;
const ON_REQUEST: IsRecommended = false;

/// The tables of advanced hunting (learn.microsoft.com "Understand the advanced hunting schema"). Which of them there are depends
/// on licences, so a tenant is asked; this list is what it is asked for. The audit events of Graph are spelled in two ways there.
const DOCUMENTED: [(&str, IsRecommended); 65] = [
    ("AADSignInEventsBeta", ON_REQUEST),
    ("AADSpnSignInEventsBeta", ON_REQUEST),
    ("AIAgentsInfo", ON_REQUEST),
    ("AgentsInfo", ON_REQUEST),
    ("AlertEvidence", RECOMMENDED),
    ("AlertInfo", RECOMMENDED),
    ("BehaviorEntities", RECOMMENDED),
    ("BehaviorInfo", RECOMMENDED),
    ("CampaignInfo", ON_REQUEST),
    ("CloudAppEvents", RECOMMENDED),
    ("CloudAuditEvents", ON_REQUEST),
    ("CloudDnsEvents", ON_REQUEST),
    ("CloudPolicyEnforcementEvents", ON_REQUEST),
    ("CloudProcessEvents", ON_REQUEST),
    ("CloudStorageAggregatedEvents", ON_REQUEST),
    ("DataSecurityBehaviors", ON_REQUEST),
    ("DataSecurityEvents", ON_REQUEST),
    ("DeviceBaselineComplianceAssessment", ON_REQUEST),
    ("DeviceBaselineComplianceAssessmentKB", ON_REQUEST),
    ("DeviceBaselineComplianceProfiles", ON_REQUEST),
    ("DeviceEvents", RECOMMENDED),
    ("DeviceFileCertificateInfo", RECOMMENDED),
    ("DeviceFileEvents", RECOMMENDED),
    ("DeviceImageLoadEvents", RECOMMENDED),
    ("DeviceInfo", RECOMMENDED),
    ("DeviceLogonEvents", RECOMMENDED),
    ("DeviceNetworkEvents", RECOMMENDED),
    ("DeviceNetworkInfo", RECOMMENDED),
    ("DeviceProcessEvents", RECOMMENDED),
    ("DeviceRegistryEvents", RECOMMENDED),
    ("DeviceTvmBrowserExtensions", ON_REQUEST),
    ("DeviceTvmBrowserExtensionsKB", ON_REQUEST),
    ("DeviceTvmCertificateInfo", ON_REQUEST),
    ("DeviceTvmHardwareFirmware", ON_REQUEST),
    ("DeviceTvmInfoGathering", ON_REQUEST),
    ("DeviceTvmInfoGatheringKB", ON_REQUEST),
    ("DeviceTvmSecureConfigurationAssessment", ON_REQUEST),
    ("DeviceTvmSecureConfigurationAssessmentKB", ON_REQUEST),
    ("DeviceTvmSoftwareEvidenceBeta", ON_REQUEST),
    ("DeviceTvmSoftwareInventory", ON_REQUEST),
    ("DeviceTvmSoftwareVulnerabilities", ON_REQUEST),
    ("DeviceTvmSoftwareVulnerabilitiesKB", ON_REQUEST),
    ("DisruptionAndResponseEvents", ON_REQUEST),
    ("EmailAttachmentInfo", RECOMMENDED),
    ("EmailEvents", RECOMMENDED),
    ("EmailPostDeliveryEvents", RECOMMENDED),
    ("EmailUrlInfo", RECOMMENDED),
    ("EntraIdSignInEvents", RECOMMENDED),
    ("EntraIdSpnSignInEvents", RECOMMENDED),
    ("ExposureGraphEdges", ON_REQUEST),
    ("ExposureGraphNodes", ON_REQUEST),
    ("FileMaliciousContentInfo", ON_REQUEST),
    ("GraphAPIAuditEvents", ON_REQUEST),
    ("GraphApiAuditEvents", ON_REQUEST),
    ("IdentityAccountInfo", ON_REQUEST),
    ("IdentityDirectoryEvents", RECOMMENDED),
    ("IdentityEvents", ON_REQUEST),
    ("IdentityInfo", ON_REQUEST),
    ("IdentityLogonEvents", RECOMMENDED),
    ("IdentityQueryEvents", RECOMMENDED),
    ("MessageEvents", RECOMMENDED),
    ("MessagePostDeliveryEvents", RECOMMENDED),
    ("MessageUrlInfo", RECOMMENDED),
    ("OAuthAppInfo", ON_REQUEST),
    ("UrlClickEvents", RECOMMENDED),
];

/// The words that stand for lists of tables.
const WORDS: [&str; 2] = ["recommended", "all"];

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
    /// A misspelt word for a list of tables.
    #[error("--tables {given:?}: did you mean {meant}? Otherwise say recommended, all, or names of tables")]
    Word {
        /// What was said.
        given: String,
        /// The word that is like it.
        meant: &'static str,
    },
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
        let word = text.trim();
        if word.eq_ignore_ascii_case(WORDS[0]) {
            return Ok(Self::Recommended);
        }
        if word.eq_ignore_ascii_case(WORDS[1]) {
            return Ok(Self::All);
        }
        // No table is called anything like it.
        if !nearest(word, [WORDS[0]]).is_empty() {
            return Err(BadChoice::Word { given: word.to_owned(), meant: WORDS[0] });
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
        let documented = |every: bool| {
            let chosen = DOCUMENTED.iter().filter(|(_, is_recommended)| every || *is_recommended);
            chosen.filter_map(|(name, _)| Identifier::new(name).ok()).collect()
        };
        match self {
            Self::Recommended => documented(false),
            Self::All => documented(true),
            Self::Named(names) => names.clone(),
        }
    }
}

/// The tables that may have been meant by names that are none.
pub fn alike<'n>(names: impl IntoIterator<Item = &'n str>) -> Vec<Identifier> {
    let unknown = names.into_iter().filter(|name| documented().all(|known| known != *name));
    let mut alike: Vec<&str> = unknown.flat_map(|name| nearest(name, documented())).collect();
    alike.sort_unstable();
    alike.dedup();
    alike.into_iter().filter_map(|name| Identifier::new(name).ok()).collect()
}

/// Why a tenant may not offer a table, with the names that may have been meant, of those that it `offers`.
pub fn unknown(name: &str, offers: impl Fn(&str) -> bool) -> String {
    if documented().any(|known| known == name) {
        return format!(
            "{name} is a table of advanced hunting, but not one that this identity sees in this tenant: check the licence and the \
             service that fills it"
        );
    }
    let meant = did_you_mean(name, documented().filter(|known| offers(known)).chain(WORDS));
    format!("{name} is not a table that this identity can query (names are case-sensitive){meant}")
}

fn documented() -> impl Iterator<Item = &'static str> {
    DOCUMENTED.iter().map(|(name, _)| *name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_is_in_order_and_some_of_it_is_recommended() {
        assert!(documented().is_sorted());
        assert_eq!((Choice::All.candidates().len(), Choice::Recommended.candidates().len()), (DOCUMENTED.len(), 28));
    }

    #[test]
    fn names_are_told_from_the_two_words_and_hostile_ones_are_refused() {
        assert_eq!(Choice::parse(" all "), Ok(Choice::All));
        assert_eq!(Choice::parse("recommended"), Ok(Choice::Recommended));
        assert_eq!(Choice::parse("Recommended"), Ok(Choice::Recommended));
        for misspelt in ["recomended", "reccommended", "recommend", "recommendet"] {
            let said = Choice::parse(misspelt).unwrap_err().to_string();
            assert!(said.contains("did you mean recommended?"), "{misspelt}: {said}");
        }
        let Ok(Choice::Named(names)) = Choice::parse("A, B,,A") else { panic!() };
        assert_eq!(names.iter().map(Identifier::as_str).collect::<Vec<_>>(), ["A", "B"]);
        assert_eq!(Choice::parse(" , "), Err(BadChoice::Empty));
        for hostile in ["A\"B", "A']", "A | take 1", "A;.drop table B", "A\nB", "A)"] {
            assert!(matches!(Choice::parse(hostile), Err(BadChoice::Name(_))), "{hostile}");
        }
    }

    #[test]
    fn an_unknown_name_is_told_with_those_that_are_like_it_and_offered() {
        let of = |name: &str| unknown(name, |known| known != "DeviceInfo");
        assert!(of("deviceevents").contains("did you mean DeviceEvents, "), "{}", of("deviceevents"));
        assert!(of("EmialEvents").contains("did you mean EmailEvents"));
        assert!(of("DeviceEvents").contains("licence"));
        assert!(of("al").contains("did you mean all?"), "{}", of("al"));
        assert!(of("Zebra").ends_with("(names are case-sensitive)"));
        assert!(!of("DeviceInf").contains("DeviceInfo"), "{}", of("DeviceInf"));
    }

    #[test]
    fn a_tenant_is_asked_for_what_is_like_names_that_are_none() {
        let alike =
            |names: &[&str]| alike(names.iter().copied()).iter().map(|t| t.as_str().to_owned()).collect::<Vec<_>>();
        assert!(alike(&["DeviceEvent"]).contains(&"DeviceEvents".to_owned()));
        assert_eq!(alike(&["DeviceEvents", "Zebra"]), Vec::<String>::new());
    }
}
