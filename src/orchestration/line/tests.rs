use super::*;
use crate::orchestration::budget::Quota;
use proptest::prelude::*;

const MINUTE: Duration = Duration::from_secs(60);

fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

fn at(real: Duration) -> Timestamp {
    Timestamp::from_ticks(638_000_000_000_000_000) + real
}

/// A process that began at `born`, whose clock is `ahead` and whose own time goes wrong by `drift` in a million.
struct Process {
    born: Duration,
    ahead: i64,
    drift: i64,
    follower: Follower,
    /// The record as it was read or written last, and its version.
    known: Option<(Budget, u64)>,
    doing: Doing,
    /// When it goes on.
    at: Duration,
}

enum Doing {
    Deciding,
    Reading { began: Duration },
    HasRead { began: Duration, record: (Budget, u64) },
    Writing { began: Duration, said: Said, budget: Budget, permits: Vec<Timestamp> },
    HasWritten { began: Duration, said: Said, stored: Option<(Budget, u64)>, permits: Vec<Timestamp> },
    Calling { permit: Timestamp },
}

impl Process {
    fn own(&self, real: Duration) -> Duration {
        let since = real.saturating_sub(self.born).as_nanos() as i128;
        Duration::from_nanos((since + since * i128::from(self.drift) / 1_000_000) as u64)
    }

    fn clock(&self, real: Duration) -> Timestamp {
        let ahead = ms(self.ahead.unsigned_abs());
        if self.ahead < 0 { at(real) - ahead } else { at(real) + ahead }
    }
}

/// How the processes of a tenant fare.
struct Course {
    processes: usize,
    quota: Quota,
    /// How long a request may take, and an answer, in milliseconds.
    slowest: u64,
    /// Out of a thousand.
    dies: u64,
    loses_answer: u64,
    idles: u64,
    is_late: u64,
    /// After a call, in milliseconds.
    works: u64,
    /// Whether messages come by their permits.
    in_turn: bool,
    drifts: i64,
}

struct Tenant {
    course: Course,
    dice: u64,
    record: (Budget, u64),
    /// Permits in messages.
    given: Vec<Timestamp>,
    /// When calls were sent.
    calls: Vec<Timestamp>,
}

impl Tenant {
    /// A number below `end`.
    fn below(&mut self, end: u64) -> u64 {
        self.dice = self.dice.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.dice ^ (self.dice >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb) % end.max(1)
    }

    fn of_thousand(&mut self, chance: u64) -> bool {
        self.below(1000) < chance
    }

    /// Requests are mostly quick.
    fn request(&mut self) -> Duration {
        let slowest = if self.of_thousand(800) { 20 } else { self.course.slowest };
        ms(1 + self.below(slowest))
    }

    fn process(&mut self, born: Duration, ahead: i64) -> Process {
        let drift = self.below(2 * self.course.drifts as u64 + 1) as i64 - self.course.drifts;
        let (follower, known, doing) = (Follower::default(), None, Doing::Deciding);
        Process { born, ahead, drift, follower, known, doing, at: born }
    }

    fn decide(&mut self, process: &mut Process) -> Doing {
        let now = process.at;
        if self.of_thousand(self.course.dies) {
            let born = now + ms(self.below(30_000));
            *process = self.process(born, process.ahead);
            return Doing::Deciding;
        }
        if self.of_thousand(self.course.idles) {
            process.at = now + ms(self.below(200_000));
            return Doing::Deciding;
        }
        let Some((budget, _)) = &process.known else {
            process.at = now + self.request();
            return Doing::Reading { began: now };
        };
        let own = process.own(now);
        let follows = process.follower.follows(own);
        let may_reckon = process.follower.may_reckon(budget, own);
        if follows && self.given.len() > self.below(4) as usize {
            self.given.sort();
            let place = if self.course.in_turn { 0 } else { self.below(self.given.len() as u64) as usize };
            let permit = self.given.remove(place);
            let wait = permit.since(process.follower.least(own).unwrap());
            let late = if self.of_thousand(self.course.is_late) { self.below(1_100) } else { 0 };
            process.at = now + wait + wait / 5_000 + ms(late);
            return Doing::Calling { permit };
        }
        let fresh = self.below(u64::from(u32::MAX)) as u32;
        let (budget, _) = process.known.as_ref().unwrap();
        let mut budget = budget.clone();
        let said = process.follower.say(&budget, fresh, own, process.clock(now));
        let wanted = if may_reckon { 1 + self.below(4) } else { 0 };
        let from = said.least() + ms(self.below(3_000));
        let permits = (0..wanted).map(|_| budget.take(self.course.quota, from)).collect();
        budget.say(said);
        process.at = now + self.request();
        Doing::Writing { began: now, said, budget, permits }
    }

    fn step(&mut self, process: &mut Process) {
        let now = process.at;
        process.doing = match std::mem::replace(&mut process.doing, Doing::Deciding) {
            Doing::Deciding => self.decide(process),
            Doing::Reading { began } => {
                process.at = now + self.request();
                Doing::HasRead { began, record: self.record.clone() }
            }
            Doing::HasRead { began, record } => {
                let taken = process.own(began)..process.own(now);
                process.follower.read(record.0.said(), taken, process.clock(now));
                process.known = Some(record);
                process.at = now + ms(1);
                Doing::Deciding
            }
            Doing::Writing { began, said, budget, permits } => {
                process.at = now + self.request();
                let named = process.known.as_ref().map(|(_, version)| *version);
                let stored = (named == Some(self.record.1)).then_some((budget, self.record.1 + 1));
                if let Some(stored) = &stored {
                    self.record = stored.clone();
                }
                Doing::HasWritten { began, said, stored, permits }
            }
            Doing::HasWritten { began, said, stored, permits } => {
                process.known = None;
                let is_heard = !self.of_thousand(self.course.loses_answer);
                if is_heard && stored.is_some() {
                    process.follower.wrote(&said, process.own(began)..process.own(now));
                    process.known = stored;
                    self.given.extend(permits);
                }
                // Who follows no line waits for an answer.
                process.at = now + ms(if said.asks() { 125 } else { 5 + self.below(50) });
                Doing::Deciding
            }
            Doing::Calling { permit } => {
                let own = process.own(now);
                let has_come = process.follower.least(own) >= Some(permit);
                match &process.known {
                    Some((budget, _)) if budget.has_given(permit) => {
                        if has_come && process.follower.may_send(budget, permit, own) {
                            self.calls.push(at(now));
                        }
                    }
                    // It is looked at again, with what the record says by then.
                    _ => {
                        self.given.push(permit);
                        process.known = None;
                    }
                }
                process.at = now + ms(1 + self.below(self.course.works));
                Doing::Deciding
            }
        };
    }

    /// Plays it for so long; gives when calls were sent, in order.
    fn played(course: Course, seed: u64, duration: Duration) -> Vec<Timestamp> {
        let (given, calls) = (Vec::new(), Vec::new());
        let mut tenant = Self { course, dice: seed, record: (Budget::default(), 0), given, calls };
        let mut processes: Vec<Process> = Vec::new();
        for _ in 0..tenant.course.processes {
            let (born, ahead) = (ms(tenant.below(60_000)), tenant.below(120_001) as i64 - 60_000);
            processes.push(tenant.process(born, ahead));
        }
        while let Some(process) =
            processes.iter_mut().min_by_key(|process| process.at).filter(|next| next.at < duration)
        {
            tenant.step(process);
        }
        tenant.calls.sort();
        tenant.calls
    }
}

/// The most calls in any stretch of that length, its end excluded.
fn most_within(calls: &[Timestamp], span: Duration) -> usize {
    (0..calls.len())
        .map(|from| calls[from..].iter().take_while(|call| call.since(calls[from]) < span).count())
        .max()
        .unwrap_or(0)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    /// Whoever dies, stands idle or waits for the store, and whatever clocks show.
    #[test]
    fn in_no_minute_and_no_hour_of_real_time_more_calls_are_sent_than_the_quota(
        seed in any::<u64>(),
        processes in 1usize..5,
        per_minute in prop::sample::select(vec![3u32, 10, 45, 200]),
        per_hour in prop::option::of(20u32..600),
        slowest in prop::sample::select(vec![20u64, 400, 5_000]),
        dies in prop::sample::select(vec![0u64, 3, 30]),
        loses_answer in prop::sample::select(vec![0u64, 10, 100]),
        idles in prop::sample::select(vec![0u64, 5, 50]),
    ) {
        let quota = Quota { per_minute, per_hour };
        let course = Course { processes, quota, slowest, dies, loses_answer, idles, is_late: 300, works: 2_000, in_turn: false, drifts: 40 };
        let calls = Tenant::played(course, seed, MINUTE * 100);
        // Own times that go apart by as much as they may over a minute.
        prop_assert!(most_within(&calls, MINUTE - ms(10)) <= per_minute as usize);
        if let Some(per_hour) = per_hour {
            prop_assert!(most_within(&calls, MINUTE * 60 - ms(500)) <= per_hour as usize);
        }
    }
}

#[test]
fn processes_whose_clocks_are_two_minutes_apart_use_the_quota_up() {
    for seed in 0..20 {
        let quota = Quota { per_minute: 45, per_hour: None };
        let course = Course {
            processes: 4,
            quota,
            slowest: 20,
            dies: 0,
            loses_answer: 0,
            idles: 0,
            is_late: 0,
            works: 200,
            in_turn: true,
            drifts: 40,
        };
        let calls = Tenant::played(course, seed, MINUTE * 20);
        let within = calls.last().unwrap().since(calls[0]);
        let used = calls.len() as f64 / (within.as_secs_f64() * 45.0 / 60.0);
        println!("seed {seed}: {used}");
        assert!(used > 0.95, "seed {seed}: {used}");
    }
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// A process's write, which takes a tenth of a second.
fn written(follower: &mut Follower, budget: &mut Budget, number: u32, own: Duration, clock: Timestamp) {
    let said = follower.say(budget, number, own, clock);
    budget.say(said);
    follower.wrote(&said, own..own + ms(100));
}

fn read(follower: &mut Follower, budget: &Budget, taken: Range<Duration>, clock: Timestamp) {
    follower.read(budget.said(), taken, clock);
}

#[test]
fn who_founds_the_line_knows_it_and_who_reads_it_knows_the_least_until_it_is_answered() {
    let (mut one, mut other) = (Follower::default(), Follower::default());
    let mut budget = Budget::default();
    assert!(one.may_reckon(&budget, seconds(1)));
    written(&mut one, &mut budget, 7, seconds(1), at(seconds(100)));
    assert_eq!((one.follows(seconds(9)), one.most(seconds(9))), (true, Some(at(seconds(108)))));
    budget.take(Quota { per_minute: 3, per_hour: None }, at(seconds(100)));
    // The other one's clock is a minute behind, and it has begun 500 s ago.
    read(&mut other, &budget, seconds(504)..seconds(505), at(seconds(45)));
    assert_eq!((other.follows(seconds(505)), other.least(seconds(505))), (false, Some(at(seconds(100)))));
    assert!(!other.may_reckon(&budget, seconds(505)));
    written(&mut other, &mut budget, 8, seconds(506), at(seconds(46)));
    assert!(budget.said().unwrap().asks() && !other.follows(seconds(507)));
    read(&mut other, &budget, seconds(507)..seconds(508), at(seconds(48)));
    assert!(!other.follows(seconds(508)), "its own question is no answer");
    written(&mut one, &mut budget, 9, ms(7_300), at(ms(106_300)));
    read(&mut other, &budget, ms(506_400)..ms(506_500), at(seconds(47)));
    assert!(other.follows(ms(506_500)));
    assert_eq!(other.least(ms(506_500)), Some(at(ms(106_300))));
    let most = other.most(ms(506_500)).unwrap();
    assert!(most.since(at(ms(106_800))) < ms(1), "{most}: half a second after it had asked");
}

#[test]
fn a_record_that_was_read_while_a_line_was_founded_does_not_undo_that() {
    let (mut one, mut other) = (Follower::default(), Follower::default());
    let mut budget = Budget::default();
    written(&mut one, &mut budget, 7, seconds(1), at(seconds(100)));
    let before = budget.clone();
    read(&mut other, &budget, seconds(2)..seconds(3), at(seconds(100)));
    written(&mut other, &mut budget, 8, seconds(4), at(seconds(102)));
    assert!(other.follows(seconds(5)), "nobody had a permit");
    let shown = other.least(seconds(5));
    read(&mut other, &before, ms(4_050)..ms(4_200), at(seconds(102)));
    assert_eq!(other.least(seconds(5)), shown);
    read(&mut other, &before, ms(4_100)..ms(4_200), at(seconds(102)));
    assert!(other.least(seconds(5)) < shown, "as if it had been read afterwards");
}

#[test]
fn a_new_line_is_founded_where_no_permit_can_be_used_any_more_and_goes_on_from_the_old_one() {
    let (mut one, mut other) = (Follower::default(), Follower::default());
    let mut budget = Budget::default();
    written(&mut one, &mut budget, 7, seconds(0), at(seconds(1_000)));
    let quota = Quota { per_minute: 45, per_hour: None };
    let last = (0..8).map(|_| budget.take(quota, at(seconds(1_000)))).last().unwrap();
    read(&mut other, &budget, seconds(0)..seconds(1), at(seconds(1_060)));
    let over = last + quota.interval() + seconds(1);
    let left = over.since(at(seconds(1_000))) + seconds(1);
    assert!(!other.may_reckon(&budget, left - ms(10)) && other.may_reckon(&budget, left + ms(10)));
    written(&mut other, &mut budget, 8, left + ms(10), at(seconds(1_075)));
    assert!(other.follows(left + seconds(1)));
    assert!(other.least(left + ms(10)).unwrap().since(over) < ms(11), "not what its clock shows");
    // Whoever follows the old one learns of it, and has to ask.
    read(&mut one, &budget, seconds(80)..seconds(81), at(seconds(1_081)));
    assert!(!one.follows(seconds(81)) && one.least(seconds(81)).unwrap() < at(seconds(1_020)));
}

#[test]
fn what_the_clocks_say_counts_where_it_is_more_than_they_can_be_apart() {
    let mut one = Follower::default();
    let mut budget = Budget::default();
    written(&mut one, &mut budget, 7, seconds(0), at(seconds(1_000)));
    let least = |clock| {
        let mut other = Follower::default();
        read(&mut other, &budget, seconds(0)..seconds(1), at(seconds(clock)));
        other.least(seconds(1))
    };
    assert_eq!(least(900), Some(at(seconds(1_000))));
    assert_eq!(least(1_300), Some(at(seconds(1_000))));
    assert_eq!(least(4_900), Some(at(seconds(4_600))));
}

#[test]
fn a_record_that_was_removed_takes_its_line_along() {
    let mut one = Follower::default();
    let mut budget = Budget::default();
    written(&mut one, &mut budget, 7, seconds(0), at(seconds(1_000)));
    let permit = budget.take(Quota { per_minute: 45, per_hour: None }, at(seconds(1_010)));
    assert!(one.may_send(&budget, permit, seconds(10)));
    read(&mut one, &Budget::default(), seconds(11)..seconds(12), at(seconds(1_012)));
    assert!(!one.follows(seconds(12)) && one.may_reckon(&Budget::default(), seconds(12)));
    let mut budget = Budget::default();
    written(&mut one, &mut budget, 8, seconds(13), at(seconds(1_000)));
    assert!(!one.may_send(&budget, permit, seconds(14)), "the new one has not given it");
}

#[test]
fn a_founder_that_stood_still_while_others_went_on_asks_them() {
    let (mut one, mut other) = (Follower::default(), Follower::default());
    let mut budget = Budget::default();
    written(&mut one, &mut budget, 7, seconds(0), at(seconds(1_000)));
    budget.take(Quota { per_minute: 3, per_hour: None }, at(seconds(1_000)));
    read(&mut other, &budget, ms(1)..ms(2), at(seconds(1_000)));
    written(&mut other, &mut budget, 8, seconds(30), at(seconds(1_030)));
    read(&mut one, &budget, seconds(3)..seconds(4), at(seconds(1_030)));
    assert!(!one.follows(seconds(4)) && one.least(seconds(4)).unwrap() > at(seconds(1_029)));
}

#[test]
fn what_is_known_of_a_line_gets_old() {
    let (mut one, mut other) = (Follower::default(), Follower::default());
    let mut budget = Budget::default();
    written(&mut one, &mut budget, 7, seconds(0), at(seconds(1_000)));
    read(&mut other, &budget, ms(1)..ms(2), at(seconds(1_000)));
    written(&mut other, &mut budget, 8, ms(10), at(seconds(1_000)));
    written(&mut one, &mut budget, 9, ms(200), at(seconds(1_000)));
    read(&mut other, &budget, ms(210)..ms(220), at(seconds(1_000)));
    assert!(other.follows(seconds(1_200)) && !other.follows(seconds(3 * 3600)));
    assert!(one.follows(seconds(3 * 3600)), "its own it knows");
}
