//! No write is lost and none counts twice, whatever happens between the product and the service: a thousand operations
//! from several writers over connections that are cut, late or answered by somebody else, against a model of each
//! writer's rows, messages and blobs.
//!
//! `ADXINGESTOR_SEED` repeats the operations and the faults; which operation meets which fault also depends on the order
//! in which the requests of the writers arrive.

mod blobs;
mod queue;
mod rows;
mod shared;

use crate::azure;
use crate::azurite::{Azurite, Service};
use crate::proxy::{Exchange, Fault, Plan, Proxy};
use adxingestor::random::SystemRandom;
use adxingestor::storage::{self, Error, Storage};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use std::sync::Arc;
use tokio::task::JoinSet;

const WRITERS: u64 = 8;
const OPERATIONS: u64 = 1_000;
/// How many of a hundred exchanges are spoilt.
const SPOILT: u32 = 25;
/// Operations all of whose tries may meet a fault: a few are expected, far more only without retries.
const MOST_GIVEN_UP: usize = 20;
/// How often each fault has to have happened.
const AT_LEAST: usize = 10;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn behind_the_retry_policy_nothing_is_lost_and_nothing_done_twice() {
    let Some(azurite) = Azurite::shared() else { return };
    let retrying = |storage| storage::retrying(storage, Arc::new(SystemRandom));
    let unknown = spoil(azurite, retrying).await;
    assert!(unknown <= MOST_GIVEN_UP, "{unknown} operations were given up");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_it_no_answer_says_what_is_not_so() {
    let Some(azurite) = Azurite::shared() else { return };
    let unknown = spoil(azurite, |storage| storage).await;
    assert!(unknown > 50, "{unknown} operations met a fault");
}

/// A run over all faults, on stores made by `wrap`.
async fn spoil(azurite: &Azurite, wrap: impl Fn(Storage) -> Storage) -> Unknown {
    let seed = seed();
    let plan = Plan { seed, percent: SPOILT, faults: Fault::ALL.to_vec() };
    let proxy = Proxy::start(azurite.ports(), plan).await;
    let way = Way {
        spoilt: wrap(azure::open(&azurite.connection_string_with(proxy.ports()))),
        direct: wrap(azure::open(&azurite.connection_string())),
        run: format!("f{}", uuid::Uuid::new_v4().simple()),
    };
    let (unknown, queue) = run(way, seed).await;
    let counts = proxy.counts();
    println!("{unknown} of {OPERATIONS} operations without a clear end; {counts:?}");
    for fault in Fault::ALL {
        assert!(counts.get(&fault).is_some_and(|count| *count >= AT_LEAST), "{fault:?} hardly ever: {counts:?}");
    }
    let is_put = |exchange: &Exchange| {
        exchange.service == Service::Queue && exchange.method == "POST" && exchange.status == Some(201)
    };
    let put: Vec<_> = proxy.log().into_iter().filter(is_put).collect();
    let lost = put.iter().filter(|exchange| !exchange.fault.is_harmless()).count();
    let (messages, bodies) = queue.messages();
    assert_eq!(messages, put.len(), "messages received, and messages that the service took");
    assert!(messages - bodies <= lost, "{bodies} bodies in {messages} messages, though only {lost} answers were lost");
    unknown
}

/// How many operations ended without telling whether they were done.
pub type Unknown = usize;

/// What a writer works with.
#[derive(Clone)]
pub struct Way {
    /// Through the faults.
    pub spoilt: Storage,
    /// Beside them.
    pub direct: Storage,
    /// Part of every name of this run.
    pub run: String,
}

/// Does a thousand operations and compares what is there with what the answers said.
async fn run(way: Way, seed: u64) -> (Unknown, queue::Queue) {
    let shared = Arc::new(shared::Shared::open(way.clone()).await);
    let queue = Arc::new(queue::Queue::new(way.clone()));
    let mut writers = JoinSet::new();
    for writer in 0..WRITERS {
        let (shared, queue) = (Arc::clone(&shared), Arc::clone(&queue));
        let mut random = StdRng::seed_from_u64(seed ^ (writer + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15));
        let mut rows = rows::Rows::new(way.clone(), writer);
        let mut blobs = blobs::Blobs::new(way.clone(), writer);
        writers.spawn(async move {
            let mut unknown = 0;
            for _ in 0..OPERATIONS / WRITERS {
                unknown += match random.random_range(0..100) {
                    0..50 => rows.step(&mut random).await,
                    50..62 => shared.step(&mut random).await,
                    62..85 => queue.step(&mut random).await,
                    _ => blobs.step(&mut random).await,
                };
            }
            rows.check().await;
            blobs.check().await;
            unknown
        });
    }
    let mut unknown = 0;
    while let Some(writer) = writers.join_next().await {
        unknown += writer.unwrap();
    }
    shared.check().await;
    queue.check().await;
    (unknown, Arc::into_inner(queue).expect("no writer is left"))
}

/// Whether an error leaves it open what happened; any other is a wrong answer to a fault of the network.
pub fn is_unknown(error: &Error) -> bool {
    matches!(error, Error::Unavailable(_) | Error::Throttled { .. })
}

fn seed() -> u64 {
    let seed = match std::env::var_os("ADXINGESTOR_SEED") {
        Some(text) => text.into_string().unwrap().parse().expect("ADXINGESTOR_SEED is a whole number"),
        None => rand::random_range(0..1_000_000),
    };
    println!("ADXINGESTOR_SEED={seed}");
    seed
}
