//! Waiting in a start or a restart for the end of its run: `timeout` and `pollingInterval`, in seconds, both of them or
//! none (azure-functions-durable-extension `HttpApiHandler`). A run that ends in time is answered by its end, any other
//! by the payload that a start without them gives. The wait is cut off before the deadline of the invocation.

use crate::app::App;
use crate::functions::adxingestor::accepted;
use crate::functions::get_status::{Shows, status};
use crate::functions::http::{Answer, Call};
use crate::orchestration::ids::InstanceId;
use crate::orchestration::instance::{Instance, RuntimeStatus};
use crate::state::Error;
use axum::http::StatusCode;
use std::time::Duration;
use tokio::time::Instant;

/// The shortest pause between two looks at a run: each is a read of the store.
const SHORTEST_PAUSE: Duration = Duration::from_millis(100);

/// How long a call waits for the end of its run, and how often it looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wait {
    timeout: Duration,
    pause: Duration,
}

impl Wait {
    /// What a call asks for; `None` where one of the two is missing or cannot be read.
    ///
    /// # Errors
    /// The parameter that no wait can have. The contract finds this out after the start; here nothing is started.
    pub fn asked(call: &Call) -> Result<Option<Self>, String> {
        let (Some(timeout), Some(pause)) = (seconds(call, "timeout")?, seconds(call, "pollingInterval")?) else {
            return Ok(None);
        };
        if pause > timeout {
            return Err(format!(
                "pollingInterval ({} s) must not be above timeout ({} s)",
                pause.as_secs_f64(),
                timeout.as_secs_f64()
            ));
        }
        Ok(Some(Self { timeout, pause: pause.max(SHORTEST_PAUSE) }))
    }
}

/// A number of seconds; one below zero is over at once.
fn seconds(call: &Call, name: &str) -> Result<Option<Duration>, String> {
    let text = call.query(&name.to_ascii_lowercase()).unwrap_or_default();
    let Ok(number) = text.trim().parse::<f64>() else { return Ok(None) };
    Duration::try_from_secs_f64(number.max(0.0))
        .ok()
        .filter(|_| number.is_finite())
        .map(Some)
        .ok_or_else(|| format!("{name}: `{number}` is not a number of seconds"))
}

/// The answer to a call that has started `id`.
///
/// # Errors
/// The state store's.
pub async fn started(app: &App, call: &Call, id: &InstanceId, wait: Option<Wait>) -> Result<Answer, Error> {
    let Some(wait) = wait else { return Ok(accepted(call, id)) };
    // What follows the wait needs its time as well, and so does the way back through a load balancer (230 s).
    let deadline = Instant::now() + wait.timeout.min(app.limits.invocation_deadline * 7 / 8);
    loop {
        let run = app.state.instance(id).await?.map(|run| run.record);
        if let Some(run) = run.filter(|run| run.status.is_final()) {
            return ended(app, call, &run).await;
        }
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(accepted(call, id));
        }
        tokio::time::sleep(wait.pause.min(left)).await;
    }
}

/// The output of a completed run alone, the whole status of any other.
async fn ended(app: &App, call: &Call, run: &Instance) -> Result<Answer, Error> {
    let mut body = status(app, run, Shows { name: true, ..Shows::asked(call) }).await?;
    if run.status == RuntimeStatus::Completed {
        body = body["output"].take();
    }
    Ok(Answer::json(StatusCode::OK, body))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::functions::testing::World;

    fn asked(query: &str) -> Result<Option<Wait>, String> {
        Wait::asked(&Call::of("POST", &format!("http://app/api/x?{query}")))
    }

    fn wait(timeout_ms: u64, pause_ms: u64) -> Wait {
        Wait { timeout: Duration::from_millis(timeout_ms), pause: Duration::from_millis(pause_ms) }
    }

    #[test]
    fn a_wait_needs_both_of_its_numbers() {
        assert_eq!(asked("timeout=10&pollingInterval=1.5"), Ok(Some(wait(10_000, 1_500))));
        assert_eq!(asked("TIMEOUT=1e1&pollinginterval=0"), Ok(Some(wait(10_000, 100))));
        assert_eq!(asked("timeout=-3&pollingInterval=-4"), Ok(Some(wait(0, 100))));
        for query in
            ["", "timeout=10", "pollingInterval=1", "timeout=soon&pollingInterval=1", "timeout=&pollingInterval="]
        {
            assert_eq!(asked(query), Ok(None), "{query}");
        }
        for query in [
            "timeout=1&pollingInterval=2",
            "timeout=inf&pollingInterval=1",
            "timeout=NaN&pollingInterval=1",
            "timeout=1e300&pollingInterval=1",
        ] {
            assert!(asked(query).is_err(), "{query}");
        }
    }

    async fn run(world: &World) -> InstanceId {
        use crate::functions::control::{Started, start};
        match start(&world.app, Default::default(), serde_json::json!({})).await.unwrap() {
            Started::New(id) => id,
            other => panic!("{other:?}"),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_wait_ends_with_its_run() {
        let world = World::new();
        let (id, call) = (run(&world).await, Call::default());
        let began = Instant::now();
        let (answer, ()) = tokio::join!(started(&world.app, &call, &id, Some(wait(60_000, 2_000))), async {
            tokio::time::sleep(Duration::from_secs(5)).await;
            world.change(&id, |run| run.status = RuntimeStatus::Completed).await;
        });
        let answer = answer.unwrap();
        assert_eq!((answer.status.as_u16(), began.elapsed()), (200, Duration::from_secs(6)));
        assert!(answer.headers.is_empty());
        assert!(answer.body.unwrap()["result"]["processing_summary"].is_object(), "the output alone");
    }

    #[tokio::test(start_paused = true)]
    async fn a_run_that_ended_badly_is_answered_by_its_status() {
        let world = World::new();
        let id = run(&world).await;
        world.change(&id, |run| *run = run.failed("no cluster", run.created).unwrap()).await;
        let answer = started(&world.app, &Call::default(), &id, Some(wait(60_000, 2_000))).await.unwrap();
        let body = answer.body.unwrap();
        assert_eq!(
            (answer.status.as_u16(), &body["runtimeStatus"], &body["output"]["message"]),
            (200, &"Failed".into(), &"no cluster".into())
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_wait_without_an_end_gives_the_payload_before_the_invocation_is_over() {
        let world = World::new();
        let id = run(&world).await;
        for (asked, waited) in [(wait(0, 100), 0), (wait(10_000, 3_000), 10), (wait(86_400_000, 3_000), 210)] {
            let began = Instant::now();
            let answer = started(&world.app, &Call::default(), &id, Some(asked)).await.unwrap();
            assert_eq!((answer.status.as_u16(), began.elapsed()), (202, Duration::from_secs(waited)), "{asked:?}");
            assert_eq!(answer.body.unwrap()["id"], id.as_str());
        }
        assert!(Duration::from_secs(210) < world.app.limits.invocation_deadline);
    }
}
