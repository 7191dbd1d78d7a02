//! What `deploy/package.sh` makes: the zip holds what a Functions host needs and nothing else, and the embedded host runs the
//! function app from the folder it was unpacked in.

use crate::support::azurite::installed;
use crate::support::{Copied, Deployment, Store, cloud, table};
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

const ROOT: &str = env!("CARGO_MANIFEST_DIR");
const HANDLER: &str = "bin/adxingestor";
const TABLE: &str = "DeviceNetworkEvents";
const ROWS: u64 = 1_500;

/// Makes a zip with a program; `None` where the tools are missing.
fn package(program: &Path, out: &Path) -> Option<String> {
    let missing = ["zip", "unzip"].into_iter().find(|tool| Command::new(tool).arg("-v").output().is_err());
    installed::ready("the tests of the package", missing.map(str::to_owned))?;
    let made = Command::new(Path::new(ROOT).join("deploy/package.sh"))
        .arg("--binary")
        .arg(program)
        .arg("--out")
        .arg(out)
        .output()
        .unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    Some(String::from_utf8(made.stdout).unwrap())
}

fn unpack(zip: &Path, into: &Path) {
    let unpacked = Command::new("unzip").arg("-q").arg(zip).arg("-d").arg(into).output().unwrap();
    assert!(unpacked.status.success(), "{}", String::from_utf8_lossy(&unpacked.stderr));
}

/// The files below a folder, and whether they may be run.
fn files(folder: &Path) -> BTreeMap<String, bool> {
    let mut found = BTreeMap::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(next).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let mode = fs::metadata(&path).unwrap().permissions().mode();
            let name = path.strip_prefix(folder).unwrap().to_str().unwrap().to_owned();
            assert_eq!(mode & 0o444, 0o444, "{name} cannot be read by all: {mode:o}");
            assert_eq!(mode & 0o022, 0, "{name} can be written by others: {mode:o}");
            found.insert(name, mode & 0o111 == 0o111);
        }
    }
    found
}

/// What the repository says should be in it.
fn expected() -> BTreeMap<String, bool> {
    let function = |name: String| Path::new(ROOT).join(&name).is_file().then_some((name, false));
    let folders = fs::read_dir(ROOT).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let functions = folders.filter_map(|folder| function(format!("{folder}/function.json")));
    functions
        .chain(["host.json", "LICENSE", "THIRD-PARTY.txt"].map(|name| (name.to_owned(), false)))
        .chain([(HANDLER.to_owned(), true)])
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_function_app_runs_from_its_unpacked_package() {
    let place = tempfile::tempdir().unwrap();
    let zip = place.path().join("app.zip");
    let Some(said) = package(Path::new(env!("CARGO_BIN_EXE_adxingestor")), &zip) else { return };
    assert!(said.contains(&format!("size:   {} bytes", fs::metadata(&zip).unwrap().len())), "{said}");
    let app_root: PathBuf = place.path().join("wwwroot");
    unpack(&zip, &app_root);
    assert_eq!(files(&app_root), expected());
    let notices = fs::read_to_string(app_root.join("THIRD-PARTY.txt")).unwrap();
    assert!(
        notices.contains("\nring ") && notices.contains("\ntokio ") && notices.contains("Permission is hereby granted")
    );

    let copied = [Copied::incremental(TABLE)];
    let mut app = Deployment::start(Store::sqlite(), cloud(vec![table(TABLE, ROWS, 8)]), &copied).await;
    app.move_to(app_root.join(HANDLER), app_root.clone()).await;
    app.completed().await;
    assert_eq!(app.rows(TABLE), ROWS);
    app.assert_equal(TABLE, TABLE);
    assert_eq!(app.get("/readyz").await.0, 200, "{}", app.tail());
    let port = app.url("").rsplit(':').next().unwrap().to_owned();
    let health = |port: &str, more: &[&str]| {
        Command::new(app_root.join(HANDLER)).args(["health", "--port", port]).args(more).output().unwrap().status
    };
    assert!(health(&port, &[]).success() && health(&port, &["--ready"]).success());
    app.kill(0);
    assert!(!health(&port, &[]).success(), "nobody is there");
    // Nothing was written beside the program: where Functions mounts a package, nothing can be.
    assert_eq!(files(&app_root), expected());
}

#[test]
fn the_same_program_gives_the_same_package() {
    let place = tempfile::tempdir().unwrap();
    let [first, second] = ["first.zip", "second.zip"].map(|name| place.path().join(name));
    // Any will do, and a debug build is large.
    let program = place.path().join("program");
    fs::write(&program, "#!/bin/sh\n".repeat(100_000)).unwrap();
    let (Some(_), Some(_)) = (package(&program, &first), package(&program, &second)) else { return };
    assert!(fs::read(first).unwrap() == fs::read(second).unwrap(), "the packages differ");
}
