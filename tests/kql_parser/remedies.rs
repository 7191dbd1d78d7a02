//! The commands that messages tell an administrator to run, each against a file in `tests/golden/remedies`. With
//! `UPDATE_GOLDEN` set the files are written instead.

use crate::sent::{files, root};
use adxingestor::remedy::{self, Application, Role};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;

#[test]
fn every_remedy_is_as_its_golden_file_says() {
    let id = "0f2a";
    let from = "2026-05-01T00:00:02Z".parse().unwrap();
    let nobody = Application::default();
    let app = |client: &str, tenant: &str| Application { client: Some(client.into()), tenant: Some(tenant.into()) };
    let known = app("2ce9e0c4-ad86-44ea-a5b4-65aefc4ec4ad", "7e6f8ae6-6f5c-4d3c-8b39-8b3a7d2a52ba");
    let hostile = app("x') //", "it's");
    let remedies = BTreeMap::from([
        ("remove-window", remedy::remove_window("DeviceEvents", id, false)),
        ("remove-window-by-the-id-in-the-row", remedy::remove_window("Device Events", id, true)),
        ("remove-window-hostile", remedy::remove_window("True", "x\" or 1 == 1 //", false)),
        ("remove-second-copy", remedy::remove_second_copy("Device Events", id, false, from)),
        ("remove-second-copy-by-the-id-in-the-row", remedy::remove_second_copy("DeviceEvents", id, true, from)),
        ("see-landings", remedy::see_landings("Device Events", id, false)),
        ("see-landings-by-the-id-in-the-row", remedy::see_landings("DeviceEvents", id, true)),
        (
            "begin-elsewhere",
            remedy::begin_elsewhere("meta_MigrationConfiguration", "Device'Events", "Device\"Events_2", from),
        ),
        ("take-large-cells", remedy::take_large_cells("DeviceEvents")),
        ("take-large-cells-odd-name", remedy::take_large_cells("Device Events.v2")),
        ("drop-row-level-security", remedy::drop_row_level_security("Device Events")),
        ("keep-rows", remedy::keep_rows("Device Events")),
        ("copy-again", remedy::copy_again("meta_MigrationConfiguration", "Device'Events", "Device\"Events_2")),
        ("see-drops", remedy::see_drops("Hunting", "Device\"Events")),
        ("undo-drop", remedy::undo_drop("Device Events")),
        ("make-empty", remedy::make_empty("Device Events", "Log Time", false)),
        ("make-empty-with-the-id-in-the-row", remedy::make_empty("DeviceEvents", "Timestamp", true)),
        ("keep-rows-of-all", remedy::keep_rows_of_all("Hunting")),
        ("drop-restricted-view", remedy::drop_restricted_view("Device Events")),
        ("see-roles", remedy::see_roles("it's; .drop table T")),
        ("see-roles-in-table", remedy::see_roles_in_table("Device Events")),
        ("grant", remedy::grant("Hunting", Role::Ingestors, &nobody)),
        ("grant-odd-name", remedy::grant("it's; .drop table T", Role::Viewers, &hostile)),
        ("grant-in-table", remedy::grant_in_table("Device Events", Role::Admins, &known)),
        ("grant-in-function", remedy::grant_in_function("vw_meta_LatestMigrationConfiguration", Role::Admins, &known)),
    ]);
    let folder = root().join("tests/golden/remedies");
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        fs::create_dir_all(&folder).unwrap();
        for (name, text) in &remedies {
            fs::write(folder.join(format!("{name}.kql")), format!("{text}\n")).unwrap();
        }
    }
    for (name, text) in &remedies {
        let golden = fs::read_to_string(folder.join(format!("{name}.kql"))).unwrap_or_default();
        assert_eq!(format!("{text}\n"), golden, "{name}.kql; UPDATE_GOLDEN=1 writes it");
    }
    let files = files(&folder);
    let held: BTreeSet<&str> = files.iter().map(|file| file.file_stem().unwrap().to_str().unwrap()).collect();
    assert_eq!(held, remedies.keys().copied().collect(), "golden files that no remedy has");
}
