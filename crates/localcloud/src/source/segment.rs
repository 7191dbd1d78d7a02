//! Runs of rows and when they arrived. A segment's arrival times follow the hours of a working day, never
//! fall with the row number, and are shared by the rows of one commit; they are computed, not stored.

use super::dice::Dice;
use super::ticks::{DAY, HOUR};
use serde::{Deserialize, Serialize};

/// Rows of one table that arrived between two instants.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Segment {
    /// The number of its first row within its table, counted from the table's beginning.
    pub first_row: u64,
    /// How many rows it has.
    pub count: u64,
    /// The earliest arrival time, in ticks.
    pub arrival_from: i64,
    /// The latest arrival time, in ticks.
    pub arrival_to: i64,
    /// Rows that share one arrival time.
    pub rows_per_commit: u64,
    /// No query shows them before this instant, whenever they arrived.
    #[serde(default)]
    pub visible_from: i64,
}

/// The end of the year 2999: the sums of activity stay within their integers until then.
pub(crate) const LATEST: i64 = 1_095_362 * DAY;

/// How busy each hour of a day (UTC) is.
const ACTIVITY: [i64; 24] = [3, 2, 2, 2, 3, 4, 6, 9, 12, 14, 14, 13, 12, 13, 14, 13, 11, 9, 7, 6, 5, 4, 4, 3];
const DAY_ACTIVITY: i64 = activity_before(24) * HOUR;
const JITTER: u64 = 1 << 16;

impl Segment {
    /// The arrival time of the segment's row `offset`.
    pub(crate) fn arrival(&self, offset: u64, dice: Dice) -> i64 {
        self.commit_arrival(offset / self.rows_per_commit, dice)
    }

    /// How many of its rows arrived at `until` or before.
    pub(crate) fn arrived(&self, until: i64, dice: Dice) -> u64 {
        if until >= self.arrival_to {
            return self.count;
        }
        if until < self.arrival_from {
            return 0;
        }
        let (mut low, mut high) = (0, self.commits());
        while low < high {
            let middle = low + (high - low) / 2;
            if self.commit_arrival(middle, dice) <= until { low = middle + 1 } else { high = middle }
        }
        (low * self.rows_per_commit).min(self.count)
    }

    fn commits(&self) -> u64 {
        self.count.div_ceil(self.rows_per_commit)
    }

    fn commit_arrival(&self, commit: u64, dice: Dice) -> i64 {
        let (from, to) = (activity_until(self.arrival_from), activity_until(self.arrival_to));
        let jitter = dice.of(self.first_row).of(commit).below(JITTER);
        let place = i128::from(commit) * i128::from(JITTER) + i128::from(jitter);
        let whole = i128::from(self.commits()) * i128::from(JITTER);
        let activity = from + (i128::from(to - from) * place / whole) as i64;
        instant_of_activity(activity).clamp(self.arrival_from, self.arrival_to)
    }
}

const fn activity_before(hour: usize) -> i64 {
    let (mut sum, mut index) = (0, 0);
    while index < hour {
        sum += ACTIVITY[index];
        index += 1;
    }
    sum
}

/// All activity from the origin until `ticks`: a rising, piecewise linear function.
fn activity_until(ticks: i64) -> i64 {
    let of_day = ticks % DAY;
    let hour = (of_day / HOUR) as usize;
    ticks / DAY * DAY_ACTIVITY + activity_before(hour) * HOUR + ACTIVITY[hour] * (of_day % HOUR)
}

/// The inverse of [`activity_until`].
fn instant_of_activity(activity: i64) -> i64 {
    let mut rest = activity % DAY_ACTIVITY;
    let mut hour = 0;
    while hour < 23 && rest >= ACTIVITY[hour] * HOUR {
        rest -= ACTIVITY[hour] * HOUR;
        hour += 1;
    }
    activity / DAY_ACTIVITY * DAY + hour as i64 * HOUR + rest / ACTIVITY[hour]
}

#[cfg(test)]
mod tests {
    use super::super::ticks;
    use super::*;

    fn segment(count: u64, from: &str, to: &str, rows_per_commit: u64) -> Segment {
        let [arrival_from, arrival_to] = [from, to].map(|text| ticks::parse(text).unwrap());
        Segment { first_row: 0, count, arrival_from, arrival_to, rows_per_commit, visible_from: 0 }
    }

    #[test]
    fn arrivals_never_fall_and_stay_inside() {
        let dice = Dice::new(7);
        let segment = segment(20_000, "2026-10-01T00:00:00Z", "2026-10-03T05:00:00Z", 7);
        let mut last = segment.arrival_from;
        let mut per_hour = [0_u64; 24];
        for row in 0..segment.count {
            let at = segment.arrival(row, dice);
            assert!(at >= last && at <= segment.arrival_to);
            assert!(row % 7 == 0 || at == last, "rows of one commit share their arrival");
            per_hour[(at % DAY / HOUR) as usize] += 1;
            last = at;
        }
        assert!(per_hour[10] > 2 * per_hour[20], "{per_hour:?}");
    }

    #[test]
    fn counting_arrivals_agrees_with_looking_at_each() {
        let dice = Dice::new(7);
        let segment = segment(1_003, "2026-10-01T00:00:00Z", "2026-10-01T02:00:00Z", 10);
        let arrivals: Vec<i64> = (0..segment.count).map(|row| segment.arrival(row, dice)).collect();
        for until in (segment.arrival_from - 1..segment.arrival_to + 2).step_by(40 * ticks::SECOND as usize + 1) {
            assert_eq!(segment.arrived(until, dice), arrivals.iter().filter(|at| **at <= until).count() as u64);
        }
        for edge in [arrivals[0], arrivals[500], arrivals[1_002]] {
            assert_eq!(segment.arrived(edge, dice), arrivals.iter().filter(|at| **at <= edge).count() as u64);
            assert_eq!(segment.arrived(edge - 1, dice), arrivals.iter().filter(|at| **at < edge).count() as u64);
        }
    }

    #[test]
    fn the_latest_instant_is_still_in_range() {
        assert_eq!(ticks::format(LATEST), "3000-01-01T00:00:00Z");
        assert_eq!(instant_of_activity(activity_until(LATEST)), LATEST);
        assert_eq!(instant_of_activity(activity_until(0)), 0);
    }

    #[test]
    fn a_burst_shares_one_tick() {
        let segment = segment(1_000, "2026-10-01T00:00:00Z", "2026-10-01T00:00:00Z", 3);
        let dice = Dice::new(7);
        assert!((0..1_000).all(|row| segment.arrival(row, dice) == segment.arrival_from));
        assert_eq!(segment.arrived(segment.arrival_from - 1, dice), 0);
        assert_eq!(segment.arrived(segment.arrival_from, dice), 1_000);
    }
}
