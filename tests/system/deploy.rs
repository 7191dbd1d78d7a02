//! The files for deployment, as far as they can be checked without the services that read them: their syntax, that no key
//! opens anything, and that the program takes the settings that they give it.

use crate::support::azurite::installed;
use adxingestor::config::{Settings, StateStore};
use adxingestor::storage::Connection;
use regex_lite::Regex;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

const ROOT: &str = env!("CARGO_MANIFEST_DIR");
const LOCKED: [(&str, &str); 1] = [("requirements.txt", include_str!("../deploy/requirements.txt"))];
/// azure-docs `role-based-access-control/built-in-roles`.
const ROLES: [(&str, &str); 4] = [
    ("0a9a7e1f-b9d0-4cc4-a60d-0319b160aaa3", "Storage Table Data Contributor"),
    ("3913510d-42f4-4e42-8a64-420c390055eb", "Monitoring Metrics Publisher"),
    ("974c5e8b-45b9-4653-ba55-5f855dd0fb88", "Storage Queue Data Contributor"),
    ("b7e6dc6d-f1e8-4753-8033-0f276bb0955b", "Storage Blob Data Owner"),
];

fn read(path: &str) -> String {
    fs::read_to_string(Path::new(ROOT).join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn workflows() -> Vec<PathBuf> {
    let folder = Path::new(ROOT).join(".github/workflows");
    fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect()
}

/// Comments left out.
fn code(text: &str, comment: &str) -> String {
    text.lines().filter(|line| !line.trim_start().starts_with(comment)).collect::<Vec<_>>().join("\n")
}

fn python() -> Option<PathBuf> {
    let home = installed::from_pip("deploy", "the syntax checks of the files for deployment", &LOCKED)?;
    Some(installed::interpreter(&home))
}

#[test]
fn the_template_and_the_workflows_can_be_parsed() {
    let Some(python) = python() else { return };
    let script = Path::new(ROOT).join("tests/deploy/parses.py");
    let check = |files: &[PathBuf]| {
        let output = Command::new(&python).arg("-B").arg(&script).args(files).output().unwrap();
        let said = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
        (output.status.success(), said)
    };
    let mut files = workflows();
    files.push(Path::new(ROOT).join("deploy/flex.bicep"));
    assert!(files.len() > 2, "{files:?}");
    let (parsed, said) = check(&files);
    assert!(parsed, "{said}");

    let place = tempfile::tempdir().unwrap();
    let broken = [("a.bicep", "param name string =\nresource x {"), ("b.yml", "a: [")];
    for (name, text) in broken {
        let file = place.path().join(name);
        fs::write(&file, text).unwrap();
        assert!(!check(&[file]).0, "{name} is broken and passes");
    }
}

#[test]
fn the_template_opens_nothing_with_a_key_and_gives_no_other_role() {
    let template = code(&read("deploy/flex.bicep"), "//");
    let lower = template.to_ascii_lowercase();
    for secret in ["listkeys", "listaccountsas", "listservicesas", "listsecrets", "@secure", "accountkey", "password"] {
        assert!(!lower.contains(secret), "{secret}");
    }
    for off in
        ["allowSharedKeyAccess: false", "allowBlobPublicAccess: false", "DisableLocalAuth: true", "httpsOnly: true"]
    {
        assert!(template.contains(off), "{off}");
    }
    for passwords in ["scm", "ftp"] {
        let off = format!(
            "resource {passwords} 'basicPublishingCredentialsPolicies' = {{ name: '{passwords}' properties: {{ allow: false }} }}"
        );
        assert!(template.split_whitespace().collect::<Vec<_>>().join(" ").contains(&off), "{passwords}");
    }
    let guid = Regex::new("[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}").unwrap();
    let mut given: Vec<_> = guid.find_iter(&template).map(|found| found.as_str()).collect();
    given.sort_unstable();
    assert_eq!(given, ROLES.map(|(id, _)| id));
}

#[test]
fn every_parameter_of_the_template_is_used() {
    let template = code(&read("deploy/flex.bicep"), "//");
    let declared = Regex::new(r"(?m)^(?:param|var) (\w+)").unwrap();
    for name in declared.captures_iter(&template).map(|found| found[1].to_owned()) {
        let uses = Regex::new(&format!(r"\b{name}\b")).unwrap().find_iter(&template).count();
        assert!(uses > 1, "{name}");
    }
}

/// The settings that the template gives the app, with an example for each expression.
fn template_settings() -> BTreeMap<String, String> {
    let template = read("deploy/flex.bicep");
    let (_, settings) = template.split_once("properties: union(\n").unwrap();
    let (settings, _) = settings.split_once("\n      settings\n").unwrap();
    let line = Regex::new(r"(?m)\b([A-Za-z]+_\w+): (.+?)( \},)?$").unwrap();
    let value = |expression: &str| match expression {
        "storage.properties.primaryEndpoints.blob" => "https://stabcd.blob.core.windows.net/".to_owned(),
        "storage.properties.primaryEndpoints.queue" => "https://stabcd.queue.core.windows.net/".to_owned(),
        "storage.properties.primaryEndpoints.table" => "https://stabcd.table.core.windows.net/".to_owned(),
        "identity.properties.clientId" => "11111111-1111-1111-1111-111111111111".to_owned(),
        "tenant().tenantId" => "22222222-2222-2222-2222-222222222222".to_owned(),
        "environment().authentication.loginEndpoint" => "https://login.microsoftonline.com/".to_owned(),
        "nightlySchedule" => "0 0 2 * * *".to_owned(),
        "adxClusterUri" => "https://c.westeurope.kusto.windows.net".to_owned(),
        "adxIngestUri" => "https://ingest-c.westeurope.kusto.windows.net".to_owned(),
        "adxDatabase" => "security".to_owned(),
        "insights.properties.ConnectionString" => "InstrumentationKey=x".to_owned(),
        text => text.strip_prefix('\'').and_then(|text| text.strip_suffix('\'')).expect(text).to_owned(),
    };
    line.captures_iter(settings).map(|found| (found[1].to_owned(), value(&found[2]))).collect()
}

#[test]
fn the_program_takes_the_settings_of_the_template() {
    let given = template_settings();
    assert!(given.len() > 10, "{given:?}");
    let lookup = |name: &str| given.get(name).cloned();
    assert_eq!(StateStore::parse(&lookup, StateStore::Azure).unwrap(), StateStore::Azure);
    Connection::parse(&lookup).unwrap_or_else(|problems| panic!("{problems}"));
    let names: Vec<String> = given.keys().cloned().collect();
    let settings = Settings::parse_all(&lookup, &names).unwrap_or_else(|problems| panic!("{problems}"));
    assert_eq!(settings.cluster.host_str(), Some("c.westeurope.kusto.windows.net"));
    assert_eq!(settings.database, "security");
    assert!(given.contains_key("NIGHTLY_SCHEDULE"), "the function `nightly` needs it");
}

#[test]
fn workflows_name_actions_by_their_commit_and_know_no_secret() {
    let uses = Regex::new(r"(?m)^\s*-?\s*uses: (.+)$").unwrap();
    let pinned = Regex::new(r"^[\w-]+/[\w-]+@[0-9a-f]{40} # v[0-9.]+$").unwrap();
    for path in workflows() {
        let text = fs::read_to_string(&path).unwrap();
        for found in uses.captures_iter(&text) {
            assert!(pinned.is_match(&found[1]), "{}: {}", path.display(), &found[1]);
        }
        assert!(text.contains("\npermissions:\n  contents: read\n"), "{}", path.display());
        assert!(!text.contains("secrets."), "{}", path.display());
    }
}

#[test]
fn the_image_runs_as_nobody_and_holds_no_secret() {
    let (file, ignored) = (code(&read("Dockerfile"), "#"), read(".dockerignore"));
    let (_, image) = file.rsplit_once("\nFROM ").unwrap();
    assert!(image.contains("USER 65532:65532"));
    for never in ["**/local.settings.json", "**/keys.json", "**/*.env", ".git"] {
        assert!(ignored.lines().any(|line| line == never), "{never}");
    }
    // What is copied from the first stage is what the package holds, and an empty folder for the state.
    let copied: Vec<_> = image.lines().filter(|line| line.starts_with("COPY")).collect();
    assert!(copied.iter().all(|line| line.contains("--from=build")) && copied.len() == 2, "{copied:?}");
}
