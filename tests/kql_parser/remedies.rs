//! The commands that messages tell an administrator to run, each against a file in `tests/golden/remedies`. With
//! `UPDATE_GOLDEN` set the files are written instead.

use crate::sent::{files, root};
use adxingestor::remedy;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;

#[test]
fn every_remedy_is_as_its_golden_file_says() {
    let id = "0f2a";
    let remedies = BTreeMap::from([
        ("remove-window", remedy::remove_window("DeviceEvents", id, false)),
        ("remove-window-by-the-id-in-the-row", remedy::remove_window("Device Events", id, true)),
        ("remove-window-hostile", remedy::remove_window("True", "x\" or 1 == 1 //", false)),
        ("take-large-cells", remedy::take_large_cells("DeviceEvents")),
        ("take-large-cells-odd-name", remedy::take_large_cells("Device Events.v2")),
        ("drop-row-level-security", remedy::drop_row_level_security("Device Events")),
        ("keep-rows", remedy::keep_rows("Device Events")),
        ("grant", remedy::grant("Hunting", "ingestors")),
        ("grant-odd-name", remedy::grant("it's; .drop table T", "viewers")),
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
