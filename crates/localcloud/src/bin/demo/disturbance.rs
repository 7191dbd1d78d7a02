//! What `--faults` does to the program: services that fail by a seeded plan, and two kills in mid-run.

use localcloud::adx::ingestion::{Mishap, Settings};
use localcloud::faults::{Area, Fault, Plan};
use std::collections::VecDeque;
use std::time::Duration;

/// Faults of an area end after this many, so that every demo ends.
const MOST_FAULTS: u64 = 12;
/// Kills, by the share of the run's rows that are proved by then.
const BLOWS: [(f64, Blow); 2] = [(0.1, Blow::Handler), (0.4, Blow::Program)];

/// What is killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Blow {
    /// The handler alone.
    Handler,
    /// The host, and the handler with it.
    Program,
}

/// The kills of a run.
#[derive(Debug)]
pub struct Disturbance(VecDeque<(u64, Blow)>);

impl Disturbance {
    /// Nothing is killed.
    pub fn none() -> Self {
        Self(VecDeque::new())
    }

    /// Two kills in a run over `rows` rows.
    pub fn over(rows: u64) -> Self {
        Self(BLOWS.iter().map(|(share, blow)| ((rows as f64 * share) as u64, *blow)).collect())
    }

    /// How many blows have not fallen.
    pub fn left(&self) -> usize {
        self.0.len()
    }

    /// What is to be killed when so many rows are proved. Each blow falls once.
    pub fn due(&mut self, rows_proved: u64) -> Option<Blow> {
        let is_due = self.0.front().is_some_and(|(rows, _)| rows_proved > *rows);
        if is_due { self.0.pop_front().map(|(_, blow)| blow) } else { None }
    }
}

/// Services that throttle, fail and cut their answers off.
pub fn faults() -> Plan {
    let failing = [(Fault::Internal, 0.03), (Fault::Unavailable, 0.04), (Fault::Throttled, 0.04)];
    Plan { most: Some(MOST_FAULTS), slow_body: Duration::from_secs(2), ..Plan::default() }
        .with(
            Area::Hunting,
            [
                (Fault::Throttled, 0.03),
                (Fault::ThrottledWithoutRetryAfter, 0.03),
                (Fault::Internal, 0.03),
                (Fault::BadGateway, 0.02),
                (Fault::CutBody, 0.03),
                (Fault::TruncatedBody, 0.03),
                (Fault::SlowBody, 0.03),
            ],
        )
        .with(Area::Identity, [(Fault::Throttled, 0.05), (Fault::Unavailable, 0.05)])
        .with(Area::Commands, failing)
        .with(Area::Queries, failing)
        .with(Area::Blobs, failing)
        .with(Area::Queues, failing)
}

/// Ingestion that now and then lands late, or not at all.
pub fn ingestion(seed: u64) -> Settings {
    let mishaps = vec![(Mishap::Late, 0.15), (Mishap::Lost, 0.05)];
    Settings { seed, mishaps, lateness: Duration::from_secs(15), ..Settings::default() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_blow_falls_once_and_in_mid_run() {
        let mut disturbance = Disturbance::over(1_000);
        let fallen: Vec<_> = [0, 100, 101, 102, 500, 501, 1_000].map(|rows| disturbance.due(rows)).to_vec();
        assert_eq!(fallen, [None, None, Some(Blow::Handler), None, Some(Blow::Program), None, None]);
        assert_eq!(disturbance.left(), 0);
        assert_eq!(Disturbance::none().due(u64::MAX), None);
    }

    #[test]
    fn no_area_fails_more_often_than_it_works() {
        for (area, odds) in faults().odds {
            assert!(odds.iter().map(|(_, odds)| odds).sum::<f64>() < 0.5, "{area:?}");
        }
    }
}
