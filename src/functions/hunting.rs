//! Hunting calls within the tenant's quota: a permit before each call, and a pause for everyone after a 429. Of queries
//! it knows no more than that counts come with their total.

mod answers;
mod throttled;
mod timespan;

pub use answers::Answers;
pub use throttled::Known as KnownThrottling;
pub use timespan::Known as KnownTimespan;

use crate::app::{App, Services};
use crate::defender::queries;
use crate::defender::scanner::Scan;
use crate::defender::{Error as HuntingError, Packed, Query, Reader, Rows};
use crate::orchestration::limits::LONGEST_ASKED;
use crate::state::Error as StateError;
use crate::telemetry::metrics;
use crate::timestamp::{Timestamp, ticks_of};
use serde::Serialize;
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};
use std::time::Duration;
use tokio::time::Instant;
use tracing::Instrument;

/// CPU quota is handed out by the quarter hour (learn.microsoft.com "Advanced hunting quotas").
const CPU_CYCLE: Duration = Duration::from_secs(15 * 60);
/// What a window's first call waits for a permit in place; for a later one its message goes back.
pub const RENEWAL_WAIT: Duration = Duration::from_secs(5);
/// The part of an invocation's time that a call itself is left when its permit is waited for.
const SHARE_OF_A_CALL: u32 = 8;

/// Why a call came to nothing.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The quota has no permit within this invocation's time.
    #[error("the tenant's hunting quota is used up for the next {} s", .0.as_secs())]
    NoPermit(Duration),
    /// The service asked for a pause, which all workers keep.
    #[error("{error}; no call is sent for the next {} s", .pause.as_secs())]
    Paused {
        /// Its answer.
        error: HuntingError,
        /// For how long.
        pause: Duration,
    },
    /// The tenant's budget could not be had from the state store.
    #[error("the tenant's budget of hunting calls cannot be read or moved: {0}")]
    Budget(#[from] StateError),
    /// What is known of the service's time spans could not be had from the state store.
    #[error("whether the hunting service has to be told a time span cannot be read from the state store: {0}")]
    Timespan(String),
    /// The service has asked for pauses and for nothing else for too long.
    #[error(
        "the hunting service has answered no call since {since}: it says 429 to all of them{}. Nothing waits for it any longer in this run, \
         and the next one asks again; see what else uses the tenant's hunting quota",
        .said.as_ref().map(|said| format!(" ({said})")).unwrap_or_default()
    )]
    NeverAnswered {
        /// Since when.
        since: Timestamp,
        /// What it said last, where it was asked.
        said: Option<String>,
    },
    /// A count by bins, slices or parts came back without some of them: what is not in it would never be asked for.
    #[error(
        "a count came back cut short by the hunting service: its {lines} lines come to {counted} rows{}; it is not planned by, and asked for \
         again",
        .total.map_or_else(|| " and their total is missing".to_owned(), |total| format!(" of {total}"))
    )]
    CutShort {
        /// Lines of the answer.
        lines: usize,
        /// The rows that they count.
        counted: u64,
        /// The rows that there are, where the answer still tells.
        total: Option<u64>,
    },
    /// The call failed.
    #[error(transparent)]
    Call(#[from] HuntingError),
}

impl Error {
    /// The pause after which the call is worth repeating, where it failed for the quota and not by itself.
    pub fn quota_pause(&self) -> Option<Duration> {
        match self {
            Self::NoPermit(pause) | Self::Paused { pause, .. } => Some(*pause),
            Self::Budget(_)
            | Self::Timespan(_)
            | Self::NeverAnswered { .. }
            | Self::CutShort { .. }
            | Self::Call(_) => None,
        }
    }

    /// Whether repeating the call in a later invocation may do.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::NoPermit(_) | Self::Paused { .. } | Self::Budget(_) | Self::Timespan(_) | Self::CutShort { .. } => {
                true
            }
            Self::NeverAnswered { .. } => false,
            Self::Call(HuntingError::Outbound(error)) => error.is_transient(),
            Self::Call(error) => !matches!(
                error,
                HuntingError::Refused { .. }
                    | HuntingError::NotTaken { .. }
                    | HuntingError::Unauthorized { .. }
                    | HuntingError::Forbidden { .. }
                    | HuntingError::Disallowed { .. }
                    | HuntingError::NotFound { .. }
            ),
        }
    }

    /// The pause that a service which is out of order asked for.
    pub fn service_pause(&self) -> Option<Duration> {
        match self {
            Self::Call(HuntingError::Unavailable { after, .. }) => after.map(|after| after.min(LONGEST_ASKED)),
            _ => None,
        }
    }
}

/// The way to the hunting API of one invocation.
pub struct Hunting<'a> {
    app: &'a App,
    services: &'a Services,
    deadline: Instant,
    calls: u64,
    first: Option<First>,
    /// Whether the service refuses counts with their total beside them.
    totals_apart: bool,
    /// Of what may be put off.
    answers: Option<Answers>,
}

/// How the first call of a window comes by its permit.
struct First {
    carried: Option<Timestamp>,
    /// The longest wait for another one.
    longest: Duration,
}

impl<'a> Hunting<'a> {
    /// Calls until `deadline`.
    pub fn new(app: &'a App, services: &'a Services, deadline: Instant) -> Self {
        Self { app, services, deadline, calls: 0, first: None, totals_apart: false, answers: None }
    }

    /// Calls until `deadline` for a window whose message carries this permit. If it is void, the first call waits only
    /// a few seconds for another.
    pub fn for_window(app: &'a App, services: &'a Services, deadline: Instant, carried: Option<Timestamp>) -> Self {
        Self { first: Some(First { carried, longest: RENEWAL_WAIT }), ..Self::new(app, services, deadline) }
    }

    /// The same for one that has done other work before its first call, which is not to be done again: where the permit is void
    /// by then, another one is waited for however long it takes.
    pub fn for_repair(app: &'a App, services: &'a Services, deadline: Instant, carried: Option<Timestamp>) -> Self {
        Self { first: Some(First { carried, longest: Duration::MAX }), ..Self::new(app, services, deadline) }
    }

    /// Calls until `deadline` for a plan, or the last count of a snapshot, that was given these answers before: it is not asked again
    /// what they tell, and where the time is up, another attempt goes on.
    pub fn going_on(app: &'a App, services: &'a Services, deadline: Instant, answers: Answers) -> Self {
        Self { answers: Some(answers), ..Self::new(app, services, deadline) }
    }

    /// The answers so far.
    pub fn into_answers(self) -> Answers {
        let now = self.app.state.now();
        self.answers.unwrap_or_else(|| Answers::since(now))
    }

    /// Asks all anew from now on: the table is not what it was.
    pub fn forget_answers(&mut self) {
        self.answers.iter_mut().for_each(Answers::forget);
    }

    /// Of what time a question is: that at which its plan began, so that all attempts of that ask the same.
    pub fn time(&self) -> Timestamp {
        self.answers.as_ref().map_or_else(|| self.app.state.now(), Answers::began)
    }

    /// Calls made so far.
    pub fn calls(&self) -> u64 {
        self.calls
    }

    /// Calls made so far; asking resets it.
    pub fn take_calls(&mut self) -> u64 {
        std::mem::take(&mut self.calls)
    }

    /// The most bytes that an answer may have, as far as is known: the documented cap, or what the endpoint has shown since; less
    /// where its rows are to be sent inside a command, which are never more than the answer.
    pub fn byte_cap(&self) -> u64 {
        let given = self.app.state.response_cap(&self.services.hunting_endpoint(), self.app.limits.response_bytes);
        self.services.ingestor.most_bytes().map_or(given, |taken| taken.min(given))
    }

    /// Until when calls may take.
    pub fn deadline(&self) -> Instant {
        self.deadline
    }

    /// Whether another call is likely to come to its end before the deadline, or after it in another attempt.
    pub fn has_time_for_another(&self) -> bool {
        if self.answers.is_some() {
            return true;
        }
        let left = self.deadline.saturating_duration_since(Instant::now());
        left > self.app.limits.invocation_deadline / SHARE_OF_A_CALL * 2
    }

    /// The name of what is kept of the service in the state store.
    fn name(&self, what: &str) -> String {
        let settings = &self.services.settings;
        let digest = Sha256::digest(format!("{}\n{}", settings.tenant, settings.hunting));
        let hex: String = digest.iter().take(16).map(|byte| format!("{byte:02x}")).collect();
        format!("{what}/{hex}")
    }

    /// A small answer.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn rows(&mut self, query: &str) -> Result<Rows, Error> {
        let timespan = self.timespan().await?;
        self.ask(&Query { kql: query, timespan }).await
    }

    /// The answer to a count by bins, slices or parts, without the line that tells their total.
    ///
    /// # Errors
    /// [`Error`]; [`Error::CutShort`] where they come to less.
    pub async fn counts(&mut self, query: &str) -> Result<Rows, Error> {
        let apart = queries::Apart::of(query);
        if !self.totals_apart {
            match (self.rows(query).await, apart) {
                (Err(error @ Error::Call(HuntingError::Refused { .. })), Some(_)) => {
                    tracing::warn!(%error, "the total of a count is asked for by itself");
                }
                (answer, _) => return complete(answer?),
            }
        }
        let Some(queries::Apart { counts, total }) = apart else { return complete(self.rows(query).await?) };
        // Rows that come into sight in between are counted more, and that is no sign of a cut.
        let total = self.rows(total).await?;
        let mut rows = self.rows(counts).await?;
        self.totals_apart = true;
        rows.rows.extend(total.rows);
        complete(rows)
    }

    async fn ask(&mut self, query: &Query<'_>) -> Result<Rows, Error> {
        if let Some(known) = self.answers.as_mut().and_then(|answers| answers.find(query)) {
            return known;
        }
        let (defender, deadline) = (&self.services.defender, self.deadline);
        let answered = self.call(|| defender.rows(query, deadline)).await?;
        self.remember(query, &answered);
        self.judged(answered).await
    }

    /// What an answer of rows comes to that are only looked at.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn scan(&mut self, query: &str, mut reader: Reader) -> Result<Scan, Error> {
        let timespan = self.timespan().await?;
        let query = Query { kql: query, timespan };
        if let Some(known) = self.answers.as_mut().and_then(|answers| answers.find(&query)) {
            return known;
        }
        let (defender, deadline) = (&self.services.defender, self.deadline);
        let opened = self.call(|| defender.packed(&query, deadline)).await?;
        let read = async {
            let mut answer = opened?;
            let mut rows = Vec::new();
            while let Some(piece) = answer.next().await? {
                rows.clear();
                reader.feed(&piece, &mut rows)?;
            }
            Ok(reader.finish()?)
        };
        let scanned = read.instrument(tracing::info_span!("hunting")).await;
        self.remember(&query, &scanned);
        self.judged(scanned).await
    }

    fn remember<T: Serialize>(&mut self, query: &Query<'_>, ended: &Result<T, HuntingError>) {
        if let Some(answers) = &mut self.answers {
            answers.keep(query, ended);
        }
    }

    /// An answer of rows to be copied.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn packed(&mut self, query: &str) -> Result<Packed, Error> {
        let timespan = self.timespan().await?;
        let query = Query { kql: query, timespan };
        let (defender, deadline) = (&self.services.defender, self.deadline);
        let answered = self.call(|| defender.packed(&query, deadline)).await?;
        self.judged(answered).await
    }

    /// Makes a call with a permit, and once more, with a permit of its own, where its token was not accepted any more and there is
    /// another one.
    async fn call<T, F>(&mut self, call: impl Fn() -> F) -> Result<Result<T, HuntingError>, Error>
    where
        F: Future<Output = Result<T, HuntingError>>,
    {
        self.permit().await?;
        let answered = call().instrument(tracing::info_span!("hunting")).await;
        let Err(error @ HuntingError::StaleToken { .. }) = answered else { return Ok(answered) };
        metrics::hunting_call(self.services.defender.dialect().name(), "refused");
        tracing::warn!(%error, "a hunting call is made again with another token");
        // A failed attempt and no pause: tokens that are never accepted must come to an end.
        self.permit().await.map_err(|_| Error::Call(error))?;
        let answered = call().instrument(tracing::info_span!("hunting")).await;
        Ok(answered.map_err(HuntingError::of_last_token))
    }

    async fn judged<T>(&self, answered: Result<T, HuntingError>) -> Result<T, Error> {
        metrics::hunting_call(self.services.defender.dialect().name(), outcome(&answered));
        match answered {
            Ok(answer) => {
                self.answered().await;
                Ok(answer)
            }
            Err(error) => Err(self.failed(error).await),
        }
    }

    async fn permit(&mut self) -> Result<(), Error> {
        self.refuse_endless_wait()?;
        let began = Instant::now();
        let permitted = self.wait_for_permit().await;
        metrics::waited(metrics::Wait::Quota, began.elapsed());
        permitted
    }

    async fn wait_for_permit(&mut self) -> Result<(), Error> {
        let state = &self.app.state;
        let (mut carried, longest) = match self.first.take() {
            Some(first) => (first.carried, first.longest),
            None => (None, Duration::MAX),
        };
        loop {
            let left = self.deadline.saturating_duration_since(Instant::now());
            let most = left.saturating_sub(self.app.limits.invocation_deadline / SHARE_OF_A_CALL).min(longest);
            let usable = |at: &Timestamp| state.may_hold(*at) && at.since(state.permit_time()) <= most;
            let follows = state.follow_line(carried.filter(usable), most);
            // A store that is too slow to follow the line has no permit to give.
            let follows = tokio::time::timeout_at(self.deadline, follows).await;
            follows.map_err(|_| Error::NoPermit(RENEWAL_WAIT))??.map_err(Error::NoPermit)?;
            let at = match carried.take().filter(usable) {
                Some(at) => at,
                None => state.take_permit(most).await?.map_err(Error::NoPermit)?,
            };
            tokio::time::sleep(at.since(state.permit_time())).await;
            if state.permit_holds(at).await? {
                self.calls += 1;
                return Ok(());
            }
        }
    }

    async fn failed(&self, error: HuntingError) -> Error {
        let HuntingError::Throttled { after, cpu, .. } = &error else { return error.into() };
        let now = self.app.state.now();
        if let Some(never) = self.throttled(&error).await {
            tracing::error!(error = %never, "the hunting API is not waited for any longer");
            return never;
        }
        let asked = after.map(|after| after.min(LONGEST_ASKED));
        let asked = asked.max(cpu.then(|| next_cpu_cycle(now).since(now)));
        match self.app.state.pause_calls(asked).await {
            Ok(until) => {
                tracing::warn!(%error, until = %until, "the hunting API asked for a pause; all workers keep it");
                Error::Paused { error, pause: until.since(now) }
            }
            Err(store) => {
                tracing::error!(%error, %store, "the hunting API asked for a pause, which could not be recorded");
                store.into()
            }
        }
    }
}

/// What came of a call, for the count of calls.
fn outcome<T>(answered: &Result<T, HuntingError>) -> &'static str {
    match answered {
        Ok(_) => "ok",
        Err(HuntingError::Throttled { .. }) => "throttled",
        Err(
            HuntingError::Refused { .. }
            | HuntingError::NotTaken { .. }
            | HuntingError::Unauthorized { .. }
            | HuntingError::StaleToken { .. }
            | HuntingError::Forbidden { .. }
            | HuntingError::Disallowed { .. }
            | HuntingError::NotFound { .. }
            | HuntingError::ResultTooLarge { .. }
            | HuntingError::TooExpensive { .. },
        ) => "refused",
        Err(_) => "failed",
    }
}

/// A pause that is not the same for all who wait: up to a quarter longer. `random` are fresh random bits.
pub fn jittered(pause: Duration, random: u128) -> Duration {
    // The upper 32 bits as a part of one.
    let part = f64::from((random >> 96) as u32) / f64::from(u32::MAX);
    pause + pause.mul_f64(part / 4.0)
}

/// Counts (`Rows`) that come to the total beside them, which is taken out. Rows may have come into sight between the two.
fn complete(mut rows: Rows) -> Result<Rows, Error> {
    let number = |row: &Map<String, Value>, column: &str| row.get(column).and_then(Value::as_u64);
    let mut total = None;
    rows.rows.retain(|row| match number(row, "Total") {
        Some(told) => {
            total = Some(told);
            false
        }
        None => true,
    });
    let counted = rows.rows.iter().filter_map(|row| number(row, "Rows")).sum();
    match total {
        Some(total) if counted >= total => Ok(rows),
        _ => Err(Error::CutShort { lines: rows.rows.len(), counted, total }),
    }
}

/// A number in the only row of an answer.
pub fn number(rows: &Rows, column: &str) -> Option<u64> {
    rows.rows.first()?.get(column)?.as_u64()
}

fn next_cpu_cycle(now: Timestamp) -> Timestamp {
    let cycle = ticks_of(CPU_CYCLE);
    Timestamp::from_ticks((now.ticks() / cycle + 1) * cycle)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn answer(lines: &[Value]) -> Rows {
        Rows { columns: Vec::new(), rows: lines.iter().map(|line| line.as_object().unwrap().clone()).collect() }
    }

    #[test]
    fn counts_that_do_not_come_to_the_total_beside_them_are_cut_short() {
        let (first, second) = (json!({"Part": 0, "Rows": 3}), json!({"Part": 1, "Rows": 4, "Total": null}));
        let total = |rows: u64| json!({"Part": null, "Rows": null, "Total": rows});
        let whole = complete(answer(&[first.clone(), total(7), second.clone()])).unwrap();
        assert_eq!(whole, answer(&[first.clone(), second.clone()]));
        assert_eq!(complete(answer(&[total(0)])).unwrap().rows.len(), 0);
        // A row came into sight before its part was counted.
        assert!(complete(answer(&[first.clone(), second.clone(), total(6)])).is_ok());
        for cut in [vec![], vec![first.clone(), second], vec![first, total(7)], vec![total(1)]] {
            let error = complete(answer(&cut)).unwrap_err();
            assert!(matches!(error, Error::CutShort { .. }) && error.is_transient(), "{cut:?}");
            println!("{error}");
        }
    }

    #[test]
    fn pauses_are_spread_and_never_shorter() {
        let pause = Duration::from_secs(8);
        assert_eq!(jittered(pause, 0), pause);
        assert_eq!(jittered(pause, u128::MAX), Duration::from_secs(10));
        assert_eq!(jittered(pause, u128::MAX / 2).as_secs_f64().round() as u64, 9);
    }

    #[test]
    fn the_cpu_quota_comes_back_at_the_quarter_hour() {
        let at = |text: &str| text.parse::<Timestamp>().unwrap();
        assert_eq!(next_cpu_cycle(at("2026-05-01T10:07:12Z")), at("2026-05-01T10:15:00Z"));
        assert_eq!(next_cpu_cycle(at("2026-05-01T10:45:00Z")), at("2026-05-01T11:00:00Z"));
    }
}
