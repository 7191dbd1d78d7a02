//! Microsoft's KQL parser, run on Node. It knows what the language knows: the names of a schema, the functions and their
//! arguments, the types. It does not know the properties after `with`, nor what is written inside a string.

use crate::installed;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Duration;

const FILES: [(&str, &str); 4] = [
    ("package.json", include_str!("package.json")),
    ("package-lock.json", include_str!("package-lock.json")),
    (".npmrc", include_str!(".npmrc")),
    ("parse.js", include_str!("parse.js")),
];
/// For the slowest request on a busy machine.
const PARSING: Duration = Duration::from_secs(300);

/// What the names in a text can mean.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Database {
    /// Names and `(column:type, …)`.
    pub tables: BTreeMap<String, String>,
    /// Names and `{ body }`, without parameters.
    pub functions: BTreeMap<String, String>,
}

/// A query or command.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct Text {
    pub database: &'static str,
    pub text: String,
}

/// What is to be parsed.
#[derive(Debug, Default, Serialize)]
pub struct Request {
    pub databases: BTreeMap<&'static str, Database>,
    pub texts: Vec<Text>,
    pub literals: Vec<String>,
    /// Whether the language's words are asked for.
    pub words: bool,
}

/// What a query or command is.
#[derive(Debug, Clone, Deserialize)]
pub struct Parsed {
    /// `Query` or `Command`.
    pub kind: String,
    /// None of them: understood.
    pub problems: Vec<String>,
    /// Names and types of the query's result.
    pub columns: Vec<(String, String)>,
    /// The values of the string literals.
    pub strings: Vec<String>,
}

/// What a literal is.
#[derive(Debug, Clone, Deserialize)]
pub struct Literal {
    pub problems: Vec<String>,
    #[serde(default, rename = "type")]
    pub ty: String,
    /// Instants and spans in ticks.
    pub value: Option<String>,
}

/// In the order of the request.
#[derive(Debug, Deserialize)]
pub struct Answer {
    pub texts: Vec<Parsed>,
    pub literals: Vec<Literal>,
    /// Every word that the grammar has.
    pub keywords: Vec<String>,
    /// The functions that are built in.
    pub functions: Vec<String>,
}

/// A running parser. It ends with this program, which holds its standard input.
struct Node {
    input: ChildStdin,
    answers: Receiver<String>,
}

impl Node {
    fn start(home: &Path) -> Self {
        let mut process = Command::new("node")
            .arg(home.join("parse.js"))
            .env_remove("NODE_OPTIONS")
            // The parser's instants are in local time.
            .env("TZ", "UTC")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("node starts");
        let (input, output) = (process.stdin.take().unwrap(), process.stdout.take().unwrap());
        let (answered, answers) = channel();
        std::thread::spawn(move || {
            let lines = BufReader::new(output).lines().map_while(Result::ok);
            lines.take_while(|line| answered.send(line.clone()).is_ok()).for_each(drop);
            let _ = process.kill();
            let _ = process.wait();
        });
        Self { input, answers }
    }

    fn ask(&mut self, request: &Request) -> Answer {
        let mut line = serde_json::to_vec(request).unwrap();
        line.push(b'\n');
        self.input.write_all(&line).expect("the parser runs; its last words are above");
        let answer = self.answers.recv_timeout(PARSING).expect("the parser answers in time; its last words are above");
        serde_json::from_str(&answer).unwrap()
    }
}

/// Parses; `None`, said once, where the parser cannot be installed.
pub fn parse(request: &Request) -> Option<Answer> {
    static HOME: OnceLock<Option<PathBuf>> = OnceLock::new();
    // Two, since a test waits for nothing else.
    static NODES: [Mutex<Option<Node>>; 2] = [const { Mutex::new(None) }; 2];
    let home = HOME
        .get_or_init(|| installed::from_npm("kql_parser", "all tests on Microsoft's KQL parser", &FILES))
        .as_deref()?;
    let free = NODES.iter().find_map(|node| node.try_lock().ok());
    let mut node = free.unwrap_or_else(|| NODES[0].lock().unwrap_or_else(PoisonError::into_inner));
    // One that has failed is gone.
    let mut running = node.take().unwrap_or_else(|| Node::start(home));
    let answer = running.ask(request);
    *node = Some(running);
    assert_eq!((answer.texts.len(), answer.literals.len()), (request.texts.len(), request.literals.len()));
    Some(answer)
}
