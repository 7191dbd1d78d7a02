//! `kill -9` for the processes of a function app: the host, its handler, or both, as a seed has it. Knows nothing of
//! what they were doing.

use super::{Deployment, PATIENCE};
use rand::Rng;
use rand::rngs::StdRng;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use std::fs;
use std::ops::Range;
use std::time::{Duration, Instant};

/// What is killed of a process of the app.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Blow {
    /// The host; the handler ends with it.
    Host,
    /// The handler; the host starts it again, or ends at the third time.
    Handler,
    /// The handler, and the host before it can notice.
    Both,
}

impl Blow {
    /// The next one.
    pub fn draw(random: &mut StdRng) -> Self {
        [Self::Host, Self::Handler, Self::Both][random.random_range(0..3)]
    }
}

/// A blow in a run: when it falls, on which process, and when that process is to be there again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fall {
    pub at: Duration,
    pub process: usize,
    pub blow: Blow,
    pub back_at: Duration,
}

/// The blows of one run, in the order in which they fall.
pub fn falls(random: &mut StdRng, blows: usize, processes: usize, within_ms: u64, down_ms: Range<u64>) -> Vec<Fall> {
    let mut falls: Vec<Fall> = (0..blows)
        .map(|_| {
            let at = Duration::from_millis(random.random_range(0..within_ms));
            let down = Duration::from_millis(random.random_range(down_ms.clone()));
            let (process, blow) = (random.random_range(0..processes), Blow::draw(random));
            Fall { at, process, blow, back_at: at + down }
        })
        .collect();
    falls.sort_by_key(|fall| fall.at);
    falls
}

/// The seed: that of `ADXINGESTOR_SEED`, else a new one. A failed test shows what it printed.
pub fn seed() -> u64 {
    let seed = number("ADXINGESTOR_SEED").unwrap_or_else(|| rand::random_range(0..1_000_000));
    println!("ADXINGESTOR_SEED={seed}");
    seed
}

/// How often the runs of a test are repeated: `ADXINGESTOR_KILLS`, else once.
pub fn rounds() -> u64 {
    number("ADXINGESTOR_KILLS").unwrap_or(1)
}

fn number(name: &str) -> Option<u64> {
    let text = std::env::var_os(name)?.into_string().unwrap();
    Some(text.parse().unwrap_or_else(|_| panic!("{name} is a whole number, not {text}")))
}

impl Deployment {
    /// Kills, unless it is dead already.
    pub fn strike(&mut self, index: usize, blow: Blow) {
        if blow != Blow::Host
            && let Some(handler) = self.handler(index)
        {
            // It may have ended by itself.
            let _ = kill_process(handler, Signal::KILL);
        }
        if blow != Blow::Handler {
            self.kill(index);
        }
    }

    /// Lets the blows fall, and the processes come back in their time.
    pub async fn suffer(&mut self, falls: &[Fall]) {
        let mut events: Vec<(Duration, &Fall, bool)> =
            falls.iter().flat_map(|fall| [(fall.at, fall, true), (fall.back_at, fall, false)]).collect();
        events.sort_by_key(|(at, ..)| *at);
        let began = Instant::now();
        for (at, fall, falls) in events {
            tokio::time::sleep(at.saturating_sub(began.elapsed())).await;
            if falls {
                self.strike(fall.process, fall.blow);
            } else if !self.is_up(fall.process) {
                self.launch_app(fall.process);
            }
        }
        self.all_up().await;
    }

    /// Starts every process that is not there, until all answer: a host may still be about to end, for want of a handler.
    pub async fn all_up(&mut self) {
        let began = Instant::now();
        loop {
            let mut up = 0;
            for index in 0..self.apps.len() {
                if !self.is_up(index) {
                    self.launch_app(index);
                }
                up += usize::from(self.ask(index, "GET", "/").await.is_some());
            }
            if up == self.apps.len() {
                return;
            }
            assert!(began.elapsed() < PATIENCE, "not all processes come back\n{}", self.tail());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Keeps the processes up until a run has ended; gives its status.
    pub async fn outlived(&mut self, id: &str) -> Value {
        let began = Instant::now();
        loop {
            self.all_up().await;
            let (status, body) = self.insist(0, "GET", &format!("/api/status/{id}")).await;
            assert_eq!(status, 200, "{body}");
            if matches!(body["runtimeStatus"].as_str(), Some("Completed" | "Failed" | "Terminated")) {
                return body;
            }
            assert!(began.elapsed() < PATIENCE, "it does not end: {body:#}\n{}", self.tail());
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// Whether the host lives; it ends by itself when its handler is killed too often.
    pub fn is_up(&mut self, index: usize) -> bool {
        let host = &mut self.apps[index].host;
        if host.as_mut().is_some_and(|host| host.try_wait().unwrap().is_some()) {
            *host = None;
        }
        host.is_some()
    }

    /// The process that a host has started.
    pub fn handler(&self, index: usize) -> Option<Pid> {
        let host = i32::try_from(self.apps[index].host.as_ref()?.id()).unwrap();
        let numbers = fs::read_dir("/proc").unwrap().filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
        let mut processes = numbers.filter_map(Pid::from_raw);
        processes.find(|process| parent(*process) == Some(host))
    }

    /// A request to one process, which may be gone or come to its end meanwhile.
    pub fn ask(
        &self,
        index: usize,
        method: &str,
        path: &str,
    ) -> impl Future<Output = Option<(u16, Value)>> + Send + 'static {
        let url = format!("http://127.0.0.1:{}{path}", self.apps[index].port);
        let request = self.http.request(method.parse().unwrap(), url);
        async move {
            let response = request.send().await.ok()?;
            let status = response.status().as_u16();
            #[allow(clippy::disallowed_methods, reason = "the app under test is trusted with memory")]
            let text = response.text().await.ok()?;
            Some((status, serde_json::from_str(&text).unwrap_or(Value::String(text))))
        }
    }

    /// Asks one process after the other until one answers, as a client does that was not answered; 5xx is no answer.
    pub async fn insist(&self, first: usize, method: &str, path: &str) -> (u16, Value) {
        let began = Instant::now();
        for index in first.. {
            match self.ask(index % self.apps.len(), method, path).await {
                Some((status, body)) if status < 500 => return (status, body),
                other => assert!(began.elapsed() < PATIENCE, "{path}: {other:?}\n{}", self.tail()),
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        unreachable!("it asks for ever")
    }
}

/// Of the second half of `/proc/PID/stat`, which begins behind the name: state, then parent (man page proc_pid_stat).
fn parent(process: Pid) -> Option<i32> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()
}
