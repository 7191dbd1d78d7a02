//! What the scanner costs beside the compression that follows it: gzip alone on the unescaped rows, scanner and gzip on the
//! answer, and decoding and re-encoding each row with gzip. All take turns in one run, so the ratios hold on any machine.
//!
//! `cargo bench --bench scanner`

use adxingestor::defender::scanner::Scanner;
use flate2::Compression;
use flate2::write::GzEncoder;
use rand::rngs::StdRng;
use rand::{Rng as _, RngCore as _, SeedableRng as _};
use serde::Deserialize;
use serde_json::{Value, json};
use std::hint::black_box;
use std::io::Write;
use std::time::{Duration, Instant};

/// About what one read from a socket brings.
const PIECE: usize = 32 * 1024;
const ANSWER_BYTES: usize = 48 * 1024 * 1024;
const ROUNDS: usize = 7;

fn main() {
    let compact = answer(false);
    // Some writers of JSON escape a quote by its number.
    let numbered = String::from_utf8_lossy(&compact).replace("\\\"", "\\u0022").into_bytes();
    measure("compact rows", &compact);
    measure("compact rows, quotes as \\u0022", &numbered);
    measure("full rows", &answer(true));
}

/// Name, times, work.
type Contender<'a> = (&'static str, Vec<Duration>, Box<dyn Fn() -> usize + 'a>);

fn measure(name: &str, answer: &[u8]) {
    let rows = scan(answer);
    let mut contenders: [Contender<'_>; 4] = [
        ("gzip alone", Vec::new(), Box::new(|| gzip(&rows))),
        ("scanner + gzip", Vec::new(), Box::new(|| scan_and_gzip(answer))),
        ("scanner alone", Vec::new(), Box::new(|| scan(answer).len())),
        ("decode + encode + gzip", Vec::new(), Box::new(|| decode_and_gzip(answer))),
    ];
    for round in 0..ROUNDS {
        for turn in 0..contenders.len() {
            let index = (round + turn) % contenders.len();
            let start = Instant::now();
            black_box(contenders[index].2());
            contenders[index].1.push(start.elapsed());
        }
    }
    let median = |times: &[Duration]| {
        let mut times = times.to_vec();
        times.sort();
        times[times.len() / 2].as_secs_f64()
    };
    let alone = median(&contenders[0].1);
    println!(
        "{name}: answer {:.1} MB, unescaped {:.1} MB, {} rows",
        answer.len() as f64 / 1e6,
        rows.len() as f64 / 1e6,
        rows.iter().filter(|&&byte| byte == b'\n').count()
    );
    for (name, times, _) in &contenders {
        let seconds = median(times);
        println!(
            "  {name:<24} {:>6.0} ms {:>6.0} MB/s of unescaped rows, {:>5.2} of the speed of gzip alone",
            seconds * 1e3,
            rows.len() as f64 / 1e6 / seconds,
            alone / seconds
        );
    }
}

fn gzip(rows: &[u8]) -> usize {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::new(1));
    for piece in rows.chunks(PIECE) {
        encoder.write_all(piece).expect("a Vec takes all");
    }
    encoder.finish().expect("a Vec takes all").len()
}

fn scan_and_gzip(answer: &[u8]) -> usize {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::new(1));
    let mut scanner = Scanner::new();
    let mut out = Vec::new();
    for piece in answer.chunks(PIECE) {
        out.clear();
        scanner.feed(piece, &mut out).expect("the answer is whole");
        encoder.write_all(&out).expect("a Vec takes all");
    }
    scanner.finish().expect("the answer is whole");
    encoder.finish().expect("a Vec takes all").len()
}

fn scan(answer: &[u8]) -> Vec<u8> {
    let mut scanner = Scanner::new();
    let mut out = Vec::new();
    for piece in answer.chunks(PIECE) {
        scanner.feed(piece, &mut out).expect("the answer is whole");
    }
    scanner.finish().expect("the answer is whole");
    out
}

fn decode_and_gzip(answer: &[u8]) -> usize {
    #[derive(Deserialize)]
    struct Answer {
        results: Vec<Packed>,
    }
    #[derive(Deserialize)]
    struct Packed {
        #[serde(rename = "Row")]
        row: String,
    }
    let mut encoder = GzEncoder::new(Vec::new(), Compression::new(1));
    let answer: Answer = serde_json::from_slice(answer).expect("the answer is JSON");
    for packed in answer.results {
        let row: Value = serde_json::from_str(&packed.row).expect("a row is JSON");
        serde_json::to_writer(&mut encoder, &row).expect("a Vec takes all");
        encoder.write_all(b"\n").expect("a Vec takes all");
    }
    encoder.finish().expect("a Vec takes all").len()
}

/// An answer of process events, with the mix of repeated names, hashes, paths and times that they have.
fn answer(full: bool) -> Vec<u8> {
    let mut numbers = Numbers(StdRng::seed_from_u64(1));
    let mut text = String::from(
        r#"{"@odata.context":"https://graph.microsoft.com/v1.0/$metadata#microsoft.graph.security.huntingQueryResults","schema":[{"name":"Row","type":"String"}],"results":["#,
    );
    while text.len() < ANSWER_BYTES {
        if !text.ends_with('[') {
            text.push(',');
        }
        let row = process_event(&mut numbers, full).to_string();
        text.push_str(&json!({ "Row": row }).to_string());
    }
    text.push_str("]}");
    text.into_bytes()
}

fn process_event(numbers: &mut Numbers, full: bool) -> Value {
    const PROGRAMS: [&str; 6] = ["svchost.exe", "powershell.exe", "MsMpEng.exe", "chrome.exe", "cmd.exe", "Teams.exe"];
    let device = numbers.below(400);
    let program = PROGRAMS[numbers.below(6) as usize];
    let parent = PROGRAMS[numbers.below(6) as usize];
    let mut row = json!({
        "Timestamp": format!("2026-07-{:02}T{:02}:{:02}:{:02}.{:07}Z", 1 + numbers.below(28), numbers.below(24),
            numbers.below(60), numbers.below(60), numbers.below(10_000_000)),
        "DeviceId": format!("{:016x}{:016x}{:08x}", device * 0x9e37_79b9, device * 0x85eb_ca6b, device),
        "DeviceName": format!("desktop-{device:04}.corp.contoso.com"),
        "ActionType": "ProcessCreated",
        "FileName": program,
        "FolderPath": format!("C:\\Windows\\System32\\{program}"),
        "SHA1": format!("{:016x}{:016x}{:08x}", numbers.next(), numbers.next(), numbers.below(1 << 32)),
        "SHA256": format!("{:016x}{:016x}{:016x}{:016x}", numbers.next(), numbers.next(), numbers.next(), numbers.next()),
        "MD5": format!("{:016x}{:016x}", numbers.next(), numbers.next()),
        "FileSize": numbers.below(90_000_000),
        "ProcessId": numbers.below(40_000),
        "ProcessCommandLine":
            format!("\"C:\\Program Files\\App {}\\{program}\" --type=renderer --id={}", numbers.below(30), numbers.next()),
        "ProcessIntegrityLevel": "Medium",
        "ProcessCreationTime": format!("2026-07-01T08:00:{:02}.{:07}Z", numbers.below(60), numbers.below(10_000_000)),
        "AccountDomain": "corp",
        "AccountName": format!("user{}", numbers.below(900)),
        "AccountSid": format!("S-1-5-21-1004336348-1177238915-682003330-{}", numbers.below(9000)),
        "LogonId": numbers.below(1 << 40),
        "InitiatingProcessFileName": parent,
        "InitiatingProcessFolderPath": format!("c:\\windows\\system32\\{parent}"),
        "InitiatingProcessCommandLine": format!("{parent} -k netsvcs -p -s Schedule"),
        "InitiatingProcessId": numbers.below(40_000),
        "InitiatingProcessSHA256": format!("{:016x}{:016x}{:016x}{:016x}", numbers.next(), numbers.next(), device, 7),
        "InitiatingProcessAccountUpn": format!("j\u{f6}rg.user{}@contoso.com", numbers.below(900)),
        "ReportId": numbers.below(4_000_000),
        "AdditionalFields": format!("{{\"InitiatingProcessRank\":{},\"Signer\":\"Contoso\"}}", numbers.below(100)),
    });
    if full && let Some(columns) = row.as_object_mut() {
        for index in 0..40 {
            let value = if index % 3 == 0 { Value::Null } else { json!("") };
            columns.insert(format!("InitiatingProcessExtraColumn{index}"), value);
        }
    }
    row
}

struct Numbers(StdRng);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0.next_u64()
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.0.random_range(0..bound)
    }
}
