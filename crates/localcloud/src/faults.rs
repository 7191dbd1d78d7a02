//! What goes wrong, and how often: a seeded plan per area of the cloud. The areas ask at each request; the
//! answers depend on seed, area and how many were asked before, never on time.

use crate::source::Dice;
use axum::body::Body;
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// A part of the cloud with odds of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Area {
    /// Entra and managed identity tokens.
    Identity,
    /// Hunting queries.
    Hunting,
    /// Kusto management commands.
    Commands,
    /// Kusto queries.
    Queries,
    /// Kusto streaming ingestion.
    Streaming,
    /// Blobs for queued ingestion.
    Blobs,
    /// Queues for queued ingestion.
    Queues,
    /// The status table of queued ingestion.
    Tables,
}

/// Something that goes wrong with one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Fault {
    /// 429 that says when to come back.
    Throttled,
    /// 429 that does not.
    ThrottledWithoutRetryAfter,
    /// 500 with the service's own body.
    Internal,
    /// 503 with the service's own body.
    Unavailable,
    /// 504 with the service's own body.
    GatewayTimeout,
    /// 502 with a page of HTML.
    BadGateway,
    /// Hunting: 400, too expensive at this moment.
    Preempted,
    /// Hunting: 429, the tenant's share of CPU is used up.
    CpuUsedUp,
    /// Hunting: 401, the token is not accepted.
    Unauthorized,
    /// Hunting: 403, the application lacks the permission.
    Forbidden,
    /// Hunting: 404, nothing is there.
    NotFound,
    /// Hunting: 400, the query means nothing.
    BadQuery,
    /// Hunting: 200 with a proxy's page of HTML.
    Page,
    /// Hunting: 400 with a proxy's page of HTML.
    PageOfBadRequest,
    /// Hunting: 403 with a proxy's page of HTML.
    PageOfForbidden,
    /// Hunting: 404 with a proxy's page of HTML.
    PageOfNotFound,
    /// The work is done and the connection is cut in the middle of the body.
    CutBody,
    /// The work is done and the body ends too early, as valid HTTP.
    TruncatedBody,
    /// The work is done and the body comes in small pieces with pauses.
    SlowBody,
    /// The work is done and the answer is 200 without a body.
    EmptyBody,
    /// The work is done and the connection is reset before a byte of the body.
    Reset,
    /// The work is done and the body never ends: white space follows it.
    EndlessBody,
    /// Storage: a bit of the request's body turns on its way.
    Garbled,
    /// Hunting: the work is done and the answer is called XML.
    WrongType,
    /// Hunting: the work is done and the answer's last column has another name than was asked for.
    OtherSchema,
    /// Kusto: the work is done and the answer of 200 has an error among the rows.
    ErrorAmongRows,
    /// Kusto: the same with the error where a table ends.
    ErrorAtTableEnd,
    /// Kusto: the same with the error where the answer ends.
    ErrorAtEnd,
    /// Kusto: the same with the error in the table that says how the query went.
    ErrorInStatus,
}

impl Fault {
    /// Whether the request is carried out and only its answer suffers.
    pub fn is_of_body(self) -> bool {
        matches!(
            self,
            Self::CutBody
                | Self::TruncatedBody
                | Self::SlowBody
                | Self::EmptyBody
                | Self::Reset
                | Self::EndlessBody
                | Self::WrongType
                | Self::OtherSchema
        ) || self.is_inside()
    }

    /// Whether the answer is a whole one of 200 that tells an error inside.
    pub fn is_inside(self) -> bool {
        matches!(self, Self::ErrorAmongRows | Self::ErrorAtTableEnd | Self::ErrorAtEnd | Self::ErrorInStatus)
    }
}

/// How often each fault comes, by area, and when it stops.
#[derive(Debug, Clone, Default)]
pub struct Plan {
    /// Faults of an area with their probabilities, which add up to at most 1.
    pub odds: BTreeMap<Area, Vec<(Fault, f64)>>,
    /// At most this many faults per area; `None` for no end.
    pub most: Option<u64>,
    /// How long a slow body takes.
    pub slow_body: Duration,
}

impl Plan {
    /// The same with these odds for `area`.
    #[must_use]
    pub fn with(mut self, area: Area, odds: impl Into<Vec<(Fault, f64)>>) -> Self {
        self.odds.insert(area, odds.into());
        self
    }
}

/// The plan as it unfolds.
pub struct Faults {
    dice: Dice,
    plan: Plan,
    ended: AtomicBool,
    state: Mutex<BTreeMap<Area, Progress>>,
    standing: Mutex<Vec<Standing>>,
}

/// What always happens to requests of an area that speak of certain things.
struct Standing {
    area: Area,
    parts: Vec<String>,
    fault: Fault,
}

#[derive(Default)]
struct Progress {
    asked: u64,
    happened: BTreeMap<Fault, u64>,
    next: VecDeque<Option<Fault>>,
}

impl Faults {
    /// Nothing ever goes wrong, unless [`Faults::script`] says so.
    pub fn none() -> Self {
        Self::new(0, Plan::default())
    }

    /// Follows `plan`.
    pub fn new(seed: u64, plan: Plan) -> Self {
        let dice = Dice::new(seed).named("faults");
        Self { dice, plan, ended: AtomicBool::new(false), state: Mutex::default(), standing: Mutex::default() }
    }

    /// From now on only what a script says goes wrong.
    pub fn end(&self) {
        self.ended.store(true, Ordering::SeqCst);
    }

    /// What happens to the next requests of `area`, in order, before the plan goes on.
    pub fn script(&self, area: Area, faults: impl IntoIterator<Item = Option<Fault>>) {
        self.lock().entry(area).or_default().next.extend(faults);
    }

    /// Takes back what was to happen to the next requests of `area`.
    pub fn unscript(&self, area: Area) {
        self.lock().entry(area).or_default().next.clear();
    }

    /// What from now on happens to each request of `area` whose text has all of `parts`, whatever else was planned.
    pub fn always(&self, area: Area, parts: &[&str], fault: Fault) {
        let parts = parts.iter().map(|part| (*part).to_owned()).collect();
        self.standing().push(Standing { area, parts, fault });
    }

    /// Takes back what always happens.
    pub fn never(&self) {
        self.standing().clear();
    }

    /// What always happens to a request of that text.
    pub(crate) fn standing_for(&self, area: Area, text: &str) -> Option<Fault> {
        let standing = self.standing();
        let mut meant = standing.iter().filter(|standing| standing.area == area);
        meant.find(|standing| standing.parts.iter().all(|part| text.contains(part))).map(|standing| standing.fault)
    }

    /// What goes wrong with the request at hand.
    pub fn roll(&self, area: Area) -> Option<Fault> {
        let mut state = self.lock();
        let progress = state.entry(area).or_default();
        let fault = match progress.next.pop_front() {
            Some(scripted) => scripted,
            None => self.planned(area, progress),
        };
        if let Some(fault) = fault {
            *progress.happened.entry(fault).or_default() += 1;
        }
        fault
    }

    fn planned(&self, area: Area, progress: &mut Progress) -> Option<Fault> {
        let odds = self.plan.odds.get(&area)?;
        progress.asked += 1;
        if self.ended.load(Ordering::SeqCst) {
            return None;
        }
        if self.plan.most.is_some_and(|most| progress.happened.values().sum::<u64>() >= most) {
            return None;
        }
        const SCALE: u64 = 1 << 32;
        let mut drawn = self.dice.of(area as u64).of(progress.asked).below(SCALE) as f64 / SCALE as f64;
        odds.iter().find_map(|(fault, odds)| {
            drawn -= odds;
            (drawn < 0.0).then_some(*fault)
        })
    }

    /// How often each fault has happened.
    pub fn happened(&self) -> BTreeMap<(Area, Fault), u64> {
        let state = self.lock();
        let counts = |(area, progress): (&Area, &Progress)| {
            progress.happened.iter().map(|(fault, count)| ((*area, *fault), *count)).collect::<Vec<_>>()
        };
        state.iter().flat_map(counts).collect()
    }

    /// A response body of `chunks`, spoilt by `fault` if it is one of the body.
    pub fn body(&self, chunks: Vec<Bytes>, fault: Option<Fault>) -> Body {
        let half = chunks.iter().map(Bytes::len).sum::<usize>() / 2;
        match fault {
            Some(Fault::EmptyBody) => Body::empty(),
            Some(Fault::Reset) => {
                let reset = io::Error::new(io::ErrorKind::ConnectionReset, "the connection is reset on purpose");
                Body::from_stream(stream::iter([Err::<Bytes, _>(reset)]))
            }
            Some(Fault::EndlessBody) => {
                let space = Bytes::from_static(&[b' '; 64 * 1024]);
                Body::from_stream(stream::iter(chunks).chain(stream::repeat(space)).map(Ok::<_, io::Error>))
            }
            Some(Fault::TruncatedBody) => whole(first(chunks, half)),
            Some(Fault::CutBody) => {
                let cut = io::Error::new(io::ErrorKind::ConnectionReset, "the connection is cut on purpose");
                let sent = first(chunks, half).into_iter().map(Ok).chain([Err(cut)]);
                // A pause lets the first half leave before the connection ends.
                Body::from_stream(stream::iter(sent.collect::<Vec<_>>()).then(|piece| async move {
                    if piece.is_err() {
                        tokio::time::sleep(Duration::from_millis(20)).await;
                    }
                    piece
                }))
            }
            Some(Fault::SlowBody) => {
                let pieces = in_pieces(chunks, 8);
                let pause = self.plan.slow_body / 8;
                Body::from_stream(stream::iter(pieces).then(move |piece| async move {
                    tokio::time::sleep(pause).await;
                    Ok::<_, io::Error>(piece)
                }))
            }
            _ => whole(chunks),
        }
    }

    fn standing(&self) -> MutexGuard<'_, Vec<Standing>> {
        self.standing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Area, Progress>> {
        // Counters and queues stay usable whatever panicked while holding them.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn whole(chunks: Vec<Bytes>) -> Body {
    Body::from_stream(stream::iter(chunks.into_iter().map(Ok::<_, io::Error>)))
}

/// The first `length` bytes.
fn first(chunks: Vec<Bytes>, mut length: usize) -> Vec<Bytes> {
    let mut kept = Vec::new();
    for mut chunk in chunks {
        chunk.truncate(length);
        length -= chunk.len();
        kept.push(chunk);
        if length == 0 {
            break;
        }
    }
    kept
}

fn in_pieces(chunks: Vec<Bytes>, pieces: usize) -> Vec<Bytes> {
    let size = (chunks.iter().map(Bytes::len).sum::<usize>() / pieces).max(1);
    let cut = |chunk: Bytes| {
        (0..chunk.len())
            .step_by(size)
            .map(move |from| chunk.slice(from..chunk.len().min(from + size)))
            .collect::<Vec<_>>()
    };
    chunks.into_iter().flat_map(cut).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rolls(seed: u64, most: Option<u64>) -> Vec<Option<Fault>> {
        let plan =
            Plan { most, ..Plan::default() }.with(Area::Hunting, [(Fault::Internal, 0.2), (Fault::CutBody, 0.1)]);
        let faults = Faults::new(seed, plan);
        (0..1_000).map(|_| faults.roll(Area::Hunting)).collect()
    }

    #[test]
    fn a_seed_replays_exactly_and_odds_hold() {
        assert_eq!(rolls(5, None), rolls(5, None));
        assert_ne!(rolls(5, None), rolls(6, None));
        let count = |wanted| rolls(5, None).iter().filter(|fault| **fault == Some(wanted)).count();
        assert!((160..240).contains(&count(Fault::Internal)));
        assert!((70..130).contains(&count(Fault::CutBody)));
        assert_eq!(rolls(5, Some(7)).iter().flatten().count(), 7);
    }

    #[test]
    fn a_script_comes_first_and_areas_do_not_mix() {
        let faults = Faults::none();
        faults.script(Area::Blobs, [Some(Fault::Internal), None, Some(Fault::CutBody)]);
        assert_eq!(faults.roll(Area::Queues), None);
        let rolled: Vec<_> = (0..4).map(|_| faults.roll(Area::Blobs)).collect();
        assert_eq!(rolled, [Some(Fault::Internal), None, Some(Fault::CutBody), None]);
        assert_eq!(faults.happened()[&(Area::Blobs, Fault::CutBody)], 1);
    }

    #[tokio::test]
    async fn bodies_are_cut_shortened_emptied_and_slowed() {
        let faults = Faults::none();
        let chunks = || vec![Bytes::from_static(b"0123456789"), Bytes::from_static(b"abcdef")];
        let read = async |fault| axum::body::to_bytes(faults.body(chunks(), fault), 100).await;
        assert_eq!(read(None).await.unwrap(), "0123456789abcdef");
        assert_eq!(read(Some(Fault::SlowBody)).await.unwrap(), "0123456789abcdef");
        assert_eq!(read(Some(Fault::TruncatedBody)).await.unwrap(), "01234567");
        assert_eq!(read(Some(Fault::EmptyBody)).await.unwrap(), "");
        for fault in [Fault::CutBody, Fault::Reset, Fault::EndlessBody] {
            assert!(read(Some(fault)).await.is_err(), "{fault:?}");
        }
    }

    #[test]
    fn what_always_happens_happens_to_requests_that_speak_of_it() {
        let faults = Faults::none();
        faults.always(Area::Hunting, &["DeviceEvents", "count()"], Fault::Forbidden);
        let met = |area, text| faults.standing_for(area, text);
        assert_eq!(met(Area::Hunting, "DeviceEvents | summarize count()"), Some(Fault::Forbidden));
        assert_eq!(met(Area::Hunting, "DeviceEvents"), None);
        assert_eq!(met(Area::Queries, "DeviceEvents | summarize count()"), None);
        faults.never();
        assert_eq!(met(Area::Hunting, "DeviceEvents | summarize count()"), None);
    }
}
