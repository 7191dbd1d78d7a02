//! What the product sends: the texts of the golden files, the templates under `kql/`, and what the names in them mean.

use crate::parser::{Database, Text};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// The database that the product copies to, as the golden files know it.
pub const DESTINATION: &str = "Hunting";
/// The same database when nothing but this app has made anything in it.
pub const FRESH: &str = "fresh";
/// The schema of advanced hunting.
pub const SOURCE: &str = "source";

/// A text in a golden file.
#[derive(Debug, Clone)]
pub struct Sent {
    /// Below `tests/golden`.
    pub file: String,
    /// `Query` or `Command`, by where it is sent.
    pub kind: &'static str,
    pub text: Text,
}

/// A file under `kql/`.
pub struct Template {
    /// Below `kql`.
    pub file: String,
    text: String,
}

pub fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// All files below `folder`.
pub fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { found.extend(files(&path)) } else { found.push(path) }
    }
    found.sort();
    found
}

/// Paths below `folder` with `/`, and contents.
fn texts(folder: &Path) -> impl Iterator<Item = (String, String)> {
    files(folder).into_iter().map(move |path| {
        let name = path.strip_prefix(folder).unwrap().to_str().unwrap().replace('\\', "/");
        (name, fs::read_to_string(&path).unwrap())
    })
}

/// Every query and command in a golden file.
pub fn goldens() -> Vec<Sent> {
    let folder = root().join("tests/golden");
    let mut sent = Vec::new();
    for (file, content) in texts(&folder) {
        let folder = file.split('/').next().unwrap();
        let whole = content.trim_end().to_owned();
        let extension = file.rsplit('.').next().unwrap();
        match (folder, extension) {
            ("defender", "kql") => sent.push(("Query", SOURCE, whole, file)),
            ("remedies", "kql") => {
                let kind = if whole.starts_with('.') { "Command" } else { "Query" };
                sent.push((kind, DESTINATION, whole, file));
            }
            ("adx", "txt") => {
                let posts = exchanges(&content).map(|(kind, text)| (kind, DESTINATION, text, file.clone()));
                sent.extend(posts);
            }
            ("setup", "kql") if file.starts_with("setup/hunting") => sent.push(("Query", SOURCE, whole, file)),
            ("setup", "kql") => {
                let database = if file.starts_with("setup/script-fresh") { FRESH } else { DESTINATION };
                sent.extend(script(&content).map(|text| ("Command", database, text, file.clone())));
            }
            ("setup", "txt") => {
                sent.extend(exchanges(&content).map(|(kind, text)| (kind, DESTINATION, text, file.clone())));
            }
            ("adx_direct", "txt") => sent.push(("Command", DESTINATION, whole, file)),
            // What is posted to the queue, or over REST, holds no KQL.
            ("adx" | "adx_rest" | "adx_status", "json") => {}
            _ => panic!("tests/golden/{file}: is there KQL in it?"),
        }
    }
    sent.into_iter().map(|(kind, database, text, file)| Sent { file, kind, text: Text { database, text } }).collect()
}

/// The commands of a script for people, which have comments and empty lines between them.
fn script(content: &str) -> impl Iterator<Item = String> {
    let without = |block: &str| block.lines().filter(|line| !line.starts_with("//")).collect::<Vec<_>>().join("\n");
    content.split("\n\n").map(without).map(|text| text.trim_end().to_owned()).filter(|text| !text.is_empty())
}

/// The texts that are posted to the endpoints of queries and commands.
fn exchanges(content: &str) -> impl Iterator<Item = (&'static str, String)> {
    content.split("=== ").filter_map(|exchange| {
        let (line, rest) = exchange.split_once('\n')?;
        let kind = match line.trim_end_matches('?') {
            "POST /v1/rest/mgmt" => "Command",
            "POST /v2/rest/query" => "Query",
            _ => return None,
        };
        // With its headers, a request is shown as the body that holds the text.
        let body = rest.lines().find_map(|line| serde_json::from_str::<Value>(line).ok());
        let text = body.as_ref().and_then(|body| body["csl"].as_str()).unwrap_or(rest.trim_end());
        Some((kind, text.to_owned()))
    })
}

/// Every file under `kql/`.
pub fn templates() -> Vec<Template> {
    texts(&root().join("kql"))
        .filter(|(file, _)| file.ends_with(".kql"))
        .map(|(file, content)| {
            let lines: Vec<&str> = content.lines().filter(|line| !line.starts_with("//")).collect();
            Template { file, text: lines.join("\n") }
        })
        .collect()
}

impl Template {
    /// Whether `text` is this template, filled.
    pub fn is_origin_of(&self, text: &str) -> bool {
        let parts: Vec<&str> = self
            .text
            .split("{{")
            .enumerate()
            .map(|(index, part)| if index == 0 { part } else { part.split_once("}}").unwrap().1 })
            .collect();
        let [first, between @ .., last] = parts.as_slice() else { return text == self.text };
        let within = text.strip_prefix(first).and_then(|rest| rest.strip_suffix(last));
        let found = between.iter().try_fold(within, |rest, part| Some(rest?.split_once(part).map(|(_, rest)| rest)));
        found.flatten().is_some()
    }

    /// Whether it is an operator behind what another template makes, and a text ends with it.
    pub fn is_end_of(&self, text: &str) -> bool {
        let operator = self.text.split("{{").next().unwrap();
        self.text.starts_with("| ") && text.rfind(operator).is_some_and(|at| self.is_origin_of(&text[at..]))
    }
}

/// What the names in the texts mean.
pub fn databases() -> BTreeMap<&'static str, Database> {
    let other = ("it's; .drop table T", Database::default());
    BTreeMap::from([(DESTINATION, destination(true)), (FRESH, destination(false)), (SOURCE, source()), other])
}

/// The metadata tables and views are what the product's own commands make them; an administrator has added a column.
fn destination(is_extended: bool) -> Database {
    let mut database = Database::default();
    for table in ["DeviceEvents", "Device Events", "Device Events.v2", "True"] {
        database.tables.insert(table.to_owned(), "(Timestamp:datetime, RawData:dynamic, ChunkId:string)".to_owned());
    }
    for table in ["DeviceTvmSoftwareInventory", "Device Tvm.v2"] {
        database.tables.insert(table.to_owned(), "(SnapshotTime:datetime, RawData:dynamic, ChunkId:string)".to_owned());
    }
    for sent in goldens().into_iter().filter(|sent| sent.file == "adx/metadata.txt") {
        let text = &sent.text.text;
        if let Some(made) = text.strip_prefix(".create-merge table ") {
            let (name, rest) = made.split_once(" (").unwrap();
            let (columns, _) = rest.split_once(") with").unwrap();
            let added = if is_extended && name.ends_with("Configuration") { ", ['Added later']:string" } else { "" };
            database.tables.insert(name.to_owned(), format!("({columns}{added})"));
        } else if text.starts_with(".create-or-alter function") {
            let (head, body) = text.split_once("() {").unwrap();
            let name = head.rsplit(' ').next().unwrap();
            database.functions.insert(name.to_owned(), format!("{{{body}"));
        }
    }
    assert_eq!((database.tables.len(), database.functions.len()), (10, 2));
    database.functions.insert("flatten events".to_owned(), "{ DeviceEvents | project Timestamp }".to_owned());
    database
}

/// The tables of advanced hunting, as the simulated tenant has them, and some with odd names.
fn source() -> Database {
    let mut database = Database::default();
    for (table, columns) in hunting_tables() {
        let columns: Vec<String> = columns.iter().map(|(name, ty)| format!("['{name}']:{ty}")).collect();
        database.tables.insert(table, format!("({})", columns.join(", ")));
    }
    for table in ["where", "my table"] {
        database.tables.insert(table.to_owned(), "(['time']:datetime)".to_owned());
    }
    database
}

/// Names of the tables of advanced hunting with names and types of their columns.
pub fn hunting_tables() -> BTreeMap<String, Vec<(String, String)>> {
    let text = fs::read_to_string(root().join("crates/localcloud/data/defender-schemas.json")).unwrap();
    let tables: BTreeMap<String, Value> = serde_json::from_str(&text).unwrap();
    let column = |column: &Value| -> (String, String) {
        (column["name"].as_str().unwrap().to_owned(), column["type"].as_str().unwrap().to_owned())
    };
    tables
        .into_iter()
        .map(|(name, table)| (name, table["columns"].as_array().unwrap().iter().map(column).collect()))
        .collect()
}
