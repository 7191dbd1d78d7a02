//! The storage emulator Azurite: installed once per lock file, started on ports of its own, ended with the process that
//! started it. Needs Node and npm and nothing else of the product; knows no client.

#![allow(dead_code, reason = "each test file uses a part of it")]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

#[path = "installed.rs"]
pub mod installed;
#[path = "azurite_tls.rs"]
pub mod tls;

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// The account that every emulator has (azure-docs `storage-use-azurite`).
pub const ACCOUNT: &str = "devstoreaccount1";
/// Its published key, which is no secret.
pub const KEY: &str = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==";

const FILES: [(&str, &str); 4] = [
    ("package.json", include_str!("../azurite/package.json")),
    ("package-lock.json", include_str!("../azurite/package-lock.json")),
    (".npmrc", include_str!("../azurite/.npmrc")),
    ("start.js", include_str!("../azurite/start.js")),
];
/// Emulators that tests with an account of their own share. Each has one thread for all that it does, and starting one takes more than
/// a second of a core.
const EMULATORS: usize = 4;
/// Accounts that an emulator has beside [`ACCOUNT`], all with the same key.
const SPARE_ACCOUNTS: usize = 50;
const START: Duration = Duration::from_secs(60);
const EXCHANGE: Duration = Duration::from_secs(20);

/// A service of a storage account.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Service {
    Blob,
    Queue,
    Table,
}

impl Service {
    /// In the order of the fields of [`Ports`].
    pub const ALL: [Self; 3] = [Self::Blob, Self::Queue, Self::Table];
}

/// Where the services listen on 127.0.0.1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ports {
    pub blob: u16,
    pub queue: u16,
    pub table: u16,
}

impl Ports {
    /// The port of one service.
    pub fn of(&self, service: Service) -> u16 {
        match service {
            Service::Blob => self.blob,
            Service::Queue => self.queue,
            Service::Table => self.table,
        }
    }
}

/// A request as the emulator's access log has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// `None` when the caller had cut the connection before the answer.
    pub service: Option<Service>,
    pub method: String,
    /// As sent, still percent-encoded.
    pub path: String,
    /// Empty if there is none.
    pub query: String,
    /// `None` when the caller had cut the connection before the answer.
    pub status: Option<u16>,
}

/// A running emulator, empty at its start. Dropping it ends it.
pub struct Azurite {
    process: Child,
    ports: Ports,
    certificate: Option<tls::Certificate>,
    log: PathBuf,
    _directory: tempfile::TempDir,
}

impl Azurite {
    /// The emulator that the tests of this program share; `None` where it cannot run.
    pub fn shared() -> Option<&'static Self> {
        static SHARED: OnceLock<Option<Azurite>> = OnceLock::new();
        SHARED.get_or_init(Self::start).as_ref()
    }

    /// The connection string of an account that is empty and that no other test is given; `None` where the emulator cannot run.
    pub fn fresh_account() -> Option<String> {
        static SHARED: [OnceLock<Option<Azurite>>; EMULATORS] = [const { OnceLock::new() }; EMULATORS];
        static GIVEN: AtomicUsize = AtomicUsize::new(0);
        let given = GIVEN.fetch_add(1, Ordering::Relaxed);
        let (emulator, account) = (given % EMULATORS, given / EMULATORS);
        assert!(account < SPARE_ACCOUNTS, "more tests than `SPARE_ACCOUNTS` holds for");
        let emulator = SHARED[emulator].get_or_init(Self::start).as_ref()?;
        Some(emulator.connection_string_of(&spare(account), emulator.ports))
    }

    /// An emulator of one's own; `None` where it cannot run.
    pub fn start() -> Option<Self> {
        Some(Self::spawn(home()?, false))
    }

    /// An emulator of one's own that speaks HTTPS and takes bearer tokens; `None` where it cannot run.
    pub fn start_with_tls() -> Option<Self> {
        Some(Self::spawn(home()?, true))
    }

    fn spawn(home: &Path, secure: bool) -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let certificate = secure.then(|| tls::certificate(directory.path()));
        let log = directory.path().join("azurite.log");
        let output = File::create(&log).unwrap();
        let mut command = Command::new("node");
        command.arg(home.join("start.js"));
        for service in ["blob", "queue", "table"] {
            // The system chooses free ports, and the emulator prints them.
            command.args([format!("--{service}Host"), "127.0.0.1".into(), format!("--{service}Port"), "0".into()]);
        }
        if let Some(certificate) = &certificate {
            command.arg("--oauth").arg("basic");
            command.arg("--cert").arg(&certificate.certificate).arg("--key").arg(&certificate.key);
        }
        command
            // The official clients ask for a newer version of the service than the emulator knows.
            .args(["--skipApiVersionCheck", "--disableTelemetry", "--inMemoryPersistence"])
            .current_dir(directory.path())
            .env("AZURITE_ACCOUNTS", accounts())
            .env_remove("AZURITE_DB")
            .env_remove("NODE_OPTIONS")
            .stdin(Stdio::piped())
            .stdout(output.try_clone().unwrap())
            .stderr(output);
        let mut process = command.spawn().expect("node starts");
        let ports = listening(&mut process, &log);
        Self { process, ports, certificate, log, _directory: directory }
    }

    /// The authority to trust, as a file of PEM, if the emulator speaks HTTPS.
    pub fn authority(&self) -> Option<&Path> {
        self.certificate.as_ref().map(|certificate| certificate.authority.as_path())
    }

    /// Where it listens.
    pub fn ports(&self) -> Ports {
        self.ports
    }

    /// A connection string as `AzureWebJobsStorage` holds it.
    pub fn connection_string(&self) -> String {
        self.connection_string_with(self.ports)
    }

    /// The same with other ports, for something that stands between.
    pub fn connection_string_with(&self, ports: Ports) -> String {
        self.connection_string_of(ACCOUNT, ports)
    }

    fn connection_string_of(&self, account: &str, ports: Ports) -> String {
        let (scheme, endpoints) = (self.scheme(), self.endpoints(account, ports));
        format!("DefaultEndpointsProtocol={scheme};AccountName={account};AccountKey={KEY};{endpoints}")
    }

    /// The same with a shared access signature, without its question mark, in place of the key.
    pub fn connection_string_with_sas(&self, signature: &str) -> String {
        format!("{}SharedAccessSignature={signature}", self.endpoints(ACCOUNT, self.ports))
    }

    /// A service's address, which ends in a slash.
    pub fn endpoint(&self, service: Service) -> String {
        format!("{}://127.0.0.1:{}/{ACCOUNT}/", self.scheme(), self.ports.of(service))
    }

    fn scheme(&self) -> &'static str {
        if self.certificate.is_some() { "https" } else { "http" }
    }

    fn endpoints(&self, account: &str, Ports { blob, queue, table }: Ports) -> String {
        let url = |port| format!("{}://127.0.0.1:{port}/{account}", self.scheme());
        format!("BlobEndpoint={};QueueEndpoint={};TableEndpoint={};", url(blob), url(queue), url(table))
    }

    /// The requests answered so far, in the order of their answers, each one that anybody has an answer to included.
    /// Not with HTTPS.
    pub fn requests(&self) -> Vec<Request> {
        assert!(self.certificate.is_none(), "the log is read without HTTPS only");
        // A line is written after the answer was handed over and before the next request of its service is taken: the
        // line of a request made now stands behind all those.
        static MARKS: AtomicU64 = AtomicU64::new(0);
        let mark = format!("/mark-{}", MARKS.fetch_add(1, Ordering::Relaxed));
        for service in Service::ALL {
            ask(self.ports.of(service), &mark);
        }
        let deadline = Instant::now() + EXCHANGE;
        loop {
            let all: Vec<Request> = self.output().lines().filter_map(|line| self.request(line)).collect();
            let marked: BTreeSet<_> =
                all.iter().filter(|request| request.path == mark).filter_map(|request| request.service).collect();
            if marked.len() == Service::ALL.len() {
                return all.into_iter().filter(|request| !request.path.starts_with("/mark-")).collect();
            }
            assert!(Instant::now() < deadline, "the emulator did not log a request:\n{}", self.output());
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// All that the emulator has printed.
    pub fn output(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// A line of `start.js`: `access PORT METHOD URL STATUS`.
    fn request(&self, line: &str) -> Option<Request> {
        let mut words = line.strip_prefix("access ")?.split(' ');
        let port = words.next()?.parse::<u16>().ok();
        let service = Service::ALL.into_iter().find(|service| Some(self.ports.of(*service)) == port);
        let method = words.next()?.to_owned();
        let (path, query) = words.next().map(|url| url.split_once('?').unwrap_or((url, "")))?;
        let status = words.next()?.parse().ok();
        Some(Request { service, method, path: path.to_owned(), query: query.to_owned(), status })
    }
}

impl Drop for Azurite {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn spare(account: usize) -> String {
    format!("spare{account}")
}

/// The accounts of an emulator, as its variable takes them (azure-docs `storage-use-azurite`, "Custom storage accounts and keys").
fn accounts() -> String {
    let names = std::iter::once(ACCOUNT.to_owned()).chain((0..SPARE_ACCOUNTS).map(spare));
    names.map(|name| format!("{name}:{KEY}")).collect::<Vec<_>>().join(";")
}

/// Waits until all three services listen.
fn listening(process: &mut Child, log: &Path) -> Ports {
    let deadline = Instant::now() + START;
    loop {
        let output = fs::read_to_string(log).unwrap_or_default();
        let port = |service: &str| -> Option<u16> {
            let start = format!("Azurite {service} service is successfully listening at ");
            // Without its line end the port may be cut.
            let (address, _) = output.split_once(&start)?.1.split_once('\n')?;
            address.trim().rsplit_once(':')?.1.parse().ok()
        };
        if let (Some(blob), Some(queue), Some(table)) = (port("Blob"), port("Queue"), port("Table")) {
            return Ports { blob, queue, table };
        }
        let ended = process.try_wait().unwrap();
        if ended.is_some() || Instant::now() > deadline {
            let _ = process.kill();
            panic!("the emulator did not start ({ended:?}):\n{output}");
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Asks for a path and reads the answer, whatever it is.
fn ask(port: u16, path: &str) {
    let mut connection = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).expect("the emulator listens");
    connection.set_read_timeout(Some(EXCHANGE)).unwrap();
    write!(connection, "GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = Vec::new();
    connection.take(64 * 1024).read_to_end(&mut answer).expect("the emulator answers");
}

/// The directory of the installed emulator; `None`, said once, where it cannot be installed.
fn home() -> Option<&'static Path> {
    static HOME: OnceLock<Option<PathBuf>> = OnceLock::new();
    HOME.get_or_init(|| installed::from_npm("azurite", "all tests on Azurite", &FILES)).as_deref()
}
