//! The fifteen hunting tables without a time (learn.microsoft.com "Data tables in the Microsoft Defender XDR advanced hunting
//! schema"): each is copied whole, parted by the columns that tell its rows apart.

use super::simulated;
use super::world::{Setting, SimulatedTable, World};
use adxingestor::orchestration::instance::RuntimeStatus;
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(24 * 3600);
const ROWS: u64 = 35;

/// Each table, and the columns by whose hash its rows are parted.
const TABLES: [(&str, &[&str]); 15] = [
    ("DeviceBaselineComplianceAssessment", &["DeviceId", "ConfigurationId", "ProfileId"]),
    ("DeviceBaselineComplianceAssessmentKB", &["ConfigurationId"]),
    ("DeviceBaselineComplianceProfiles", &["ProfileId"]),
    ("DeviceTvmBrowserExtensions", &["DeviceId", "ExtensionId", "BrowserName"]),
    ("DeviceTvmBrowserExtensionsKB", &["ExtensionId", "PermissionId", "BrowserName"]),
    ("DeviceTvmCertificateInfo", &["DeviceId", "Thumbprint", "SerialNumber"]),
    ("DeviceTvmHardwareFirmware", &["DeviceId", "ComponentName", "ComponentType"]),
    ("DeviceTvmInfoGatheringKB", &["IgId"]),
    ("DeviceTvmSecureConfigurationAssessmentKB", &["ConfigurationId"]),
    ("DeviceTvmSoftwareEvidenceBeta", &["DeviceId", "SoftwareName", "SoftwareVersion", "SoftwareVendor"]),
    ("DeviceTvmSoftwareInventory", &["DeviceId", "SoftwareName", "SoftwareVersion", "SoftwareVendor"]),
    ("DeviceTvmSoftwareVulnerabilities", &["DeviceId", "CveId", "SoftwareName", "SoftwareVersion"]),
    ("DeviceTvmSoftwareVulnerabilitiesKB", &["CveId"]),
    ("ExposureGraphEdges", &["EdgeId"]),
    ("ExposureGraphNodes", &["NodeId"]),
];

/// The hash of these columns, up to the number of parts.
fn hash_of(columns: &[&str]) -> String {
    let texts: Vec<String> = columns.iter().map(|column| format!("tostring({column})")).collect();
    match texts.as_slice() {
        [one] => format!("= hash_xxhash64({one}, "),
        several => format!("= hash_xxhash64(strcat({}), ", several.join(", \"|\", ")),
    }
}

#[test]
fn each_table_without_a_time_is_parted_by_its_keys_and_copied_whole_once() {
    simulated(async || {
        let tables = TABLES.map(|(name, _)| SimulatedTable { name, rows: ROWS, days: 2 });
        let mut world = World::new(&Setting { devices: 400, ..Setting::quiet(15, tables.to_vec()) });
        let id = world.start().await;
        let run = world.ended(&id, PATIENCE).await.unwrap();
        assert_eq!((run.status, run.tables_total, run.tables_failed), (RuntimeStatus::Completed, 15, 0));
        let log = world.cloud.hunting_statistics().log;
        for (table, keys) in TABLES {
            let there = world.cloud.adx().identities(table);
            assert!(world.cloud.source().compare(table, -1, i64::MAX, there).unwrap().is_exact(), "{table}");
            assert_eq!(world.adx(&format!("{table}_latest | count"))[0][0], ROWS, "{table}");
            let of_table = || log.iter().filter(|call| call.table.as_deref() == Some(table));
            let counts: Vec<_> = of_table().filter(|call| call.query.contains("by Part ")).collect();
            assert_eq!(counts.len(), 2, "{table} is counted before and after: {counts:#?}");
            let parted = |query: &str| query.contains(&format!("by Part {}", hash_of(keys)));
            assert!(counts.iter().all(|call| parted(&call.query)), "{table}: {}", counts[0].query);
            let pulls = of_table().filter(|call| call.query.ends_with("project Row = tostring(pack_all(true))"));
            let pulled: Vec<u64> = pulls.map(|call| call.rows).collect();
            assert!(pulled.len() > 1 && pulled.iter().sum::<u64>() == ROWS, "{table} in several windows: {pulled:?}");
        }
    });
}
