//! HTTP POST `orchestrators/{functionName}/{instanceId?}`: starts a run as clients of the Durable Functions HTTP API do
//! (azure-functions-durable-extension `HttpApiHandler`). The id is theirs to choose. One that a run had which is over is
//! used again; one of a run that goes on is refused with 409, where the contract has a plain failure.

use super::adxingestor::{going_on, lost_body, parse, refused};
use super::asked;
use super::control::{Started, begin_again, pay_again, start, start_as};
use super::get_status::NAME;
use super::http::{Answer, Call};
use super::instances::{Wait, started};
use crate::app::App;
use crate::orchestration::ids::InstanceId;
use crate::orchestration::instance::StartInput;
use crate::orchestration::run::restart::replace;
use crate::state::{Error, Stored};
use axum::http::StatusCode;
use serde_json::Value;

/// Handles a call.
///
/// # Errors
/// The state store's.
pub async fn handle(app: &App, call: &Call) -> Result<Answer, Error> {
    if call.method != "POST" {
        return Ok(Answer::empty(StatusCode::NOT_FOUND));
    }
    if call.has_lost_its_body() {
        return Ok(lost_body());
    }
    let (input, raw, id, wait) = match asked(call) {
        Ok(asked) => asked,
        Err(message) => return Ok(Answer::invalid(message)),
    };
    if let Err(message) = input.check_begin(app.state.now()) {
        return Ok(Answer::invalid(message));
    }
    if let Some(refusal) = asked::refusal(app, &input).await {
        return Ok(refusal);
    }
    let new = match id {
        Some(id) => match start_named(app, id.clone(), input, raw).await? {
            Started::Before(same) | Started::Active(same) if same == id => return Ok(going_on(&id)),
            other => other,
        },
        None => start(app, input, raw).await?,
    };
    match new {
        Started::New(id) => started(app, call, &id, wait).await,
        Started::Before(id) | Started::Active(id) => Ok(refused(&id)),
    }
}

type Asked = (StartInput, Value, Option<InstanceId>, Option<Wait>);

fn asked(call: &Call) -> Result<Asked, String> {
    let function = call.route("functionName");
    if !function.eq_ignore_ascii_case(NAME) {
        return Err(format!("`{function}` is not an orchestrator function of this app; the only one is `{NAME}`"));
    }
    let id = match call.route("instanceId") {
        "" => None,
        text => Some(text.parse::<InstanceId>().map_err(|_| {
            format!(
                "`{text}` cannot be the id of a run: 1 to 256 letters, digits, `.`, `_` and `-` can, but not dots alone"
            )
        })?),
    };
    let (input, raw) = parse(&call.body)?;
    Ok((input, raw, id, Wait::asked(call)?))
}

async fn start_named(app: &App, id: InstanceId, input: StartInput, raw: Value) -> Result<Started, Error> {
    let Some(Stored { record: run, etag }) = app.state.instance(&id).await? else {
        return start_as(app, id, input, raw).await;
    };
    let Some(again) = replace(&run, input, raw, app.state.now()) else {
        pay_again(app, &run).await?;
        return Ok(Started::Active(id));
    };
    Ok(match begin_again(app, &again, &etag).await? {
        None => Started::New(id),
        Some(active) => Started::Active(active),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::functions::envelope::Invocation;
    use crate::functions::orchestrator;
    use crate::functions::testing::World;
    use crate::orchestration::instance::RuntimeStatus;
    use serde_json::json;

    async fn post(world: &World, path: &str, body: &str) -> Answer {
        let mut call = Call::of("POST", &format!("http://app/api/orchestrators/{path}"));
        let names = ["functionName", "instanceId"];
        let path = path.split('?').next().unwrap();
        call.route = names.iter().zip(path.split('/')).map(|(n, v)| ((*n).into(), v.into())).collect();
        call.body = body.to_owned();
        handle(&world.app, &call).await.unwrap()
    }

    async fn id_of(world: &World, path: &str, body: &str) -> (u16, String) {
        let answer = post(world, path, body).await;
        (answer.status.as_u16(), answer.body.unwrap()["id"].as_str().unwrap().to_owned())
    }

    #[tokio::test]
    async fn a_client_starts_under_an_id_of_its_own_as_often_as_the_last_run_of_it_is_over() {
        let world = World::new();
        let (code, id) = id_of(&world, "start_orchestrator/Nightly.1", r#"{"tables":["A"]}"#).await;
        assert_eq!((code, id.as_str()), (202, "Nightly.1"));
        assert_eq!(id_of(&world, "start_orchestrator/Nightly.1", "").await, (409, id.clone()), "it goes on");
        assert_eq!(id_of(&world, "start_orchestrator/other", "").await, (409, id.clone()), "one run at a time");
        let id: InstanceId = id.parse().unwrap();
        world.change(&id, |run| run.status = RuntimeStatus::Completed).await;
        world.clock.forward(1);
        assert_eq!(id_of(&world, "START_Orchestrator/Nightly.1", "").await.0, 202);
        let run = world.run(&id).await.unwrap();
        assert_eq!(
            (run.status, run.input.tables),
            (RuntimeStatus::Pending, None),
            "with the input of the second start"
        );
    }

    #[tokio::test]
    async fn a_message_to_a_run_that_was_forgotten_does_nothing_to_the_next_one_of_its_id() {
        use crate::functions::control::{Purged, Terminated, purge, resume, suspend, terminate};
        let world = World::new();
        let id: InstanceId = "Nightly.1".parse().unwrap();
        assert_eq!(id_of(&world, "start_orchestrator/Nightly.1", "").await.0, 202);
        world.messages().await;
        suspend(&world.app, &id, "lunch").await.unwrap().unwrap();
        resume(&world.app, &id).await.unwrap().unwrap();
        assert_eq!(terminate(&world.app, &id, "enough").await.unwrap(), Terminated::Now);
        let old = world.messages().await;
        assert_eq!(old.len(), 3);
        assert_eq!(purge(&world.app, &id).await.unwrap(), Purged::Now);
        world.clock.forward(1);
        assert_eq!(id_of(&world, "start_orchestrator/Nightly.1", "").await.0, 202);
        let started = world.run(&id).await.unwrap();
        for message in old {
            let message = serde_json::to_string(&message).unwrap();
            let envelope = json!({"Data": {"message": message}, "Metadata": {"DequeueCount": "1"}});
            let invocation = Invocation::parse(envelope.to_string().as_bytes()).unwrap();
            orchestrator::handle(&world.app, &invocation).await.unwrap();
            assert_eq!(world.run(&id).await.unwrap(), started, "{message}");
        }
    }

    #[tokio::test]
    async fn without_an_id_one_is_made() {
        let (code, id) = id_of(&World::new(), "start_orchestrator?taskHub=x&version=1", "null").await;
        assert_eq!((code, id.len()), (202, 32));
    }

    #[tokio::test]
    async fn what_cannot_be_started_is_said_where_the_clients_look_for_it() {
        let world = World::new();
        for (path, body, says) in [
            ("nothing", "", "start_orchestrator"),
            ("start_orchestrator/a b", "", "cannot be the id"),
            ("start_orchestrator", "{", "not JSON"),
            ("start_orchestrator", r#"{"table":1}"#, "\"tables\""),
            ("start_orchestrator?timeout=1&pollingInterval=2", "", "pollingInterval"),
        ] {
            let answer = post(&world, path, body).await;
            assert_eq!(answer.status.as_u16(), 400, "{path}");
            let message = answer.body.unwrap()["ExceptionMessage"].as_str().unwrap().to_owned();
            assert!(message.contains(says), "{message}");
        }
        assert!(world.app.state.active().await.unwrap().is_none(), "nothing was started");
    }

    #[tokio::test]
    async fn a_wrong_method_is_not_found() {
        let call = Call::of("GET", "http://app/api/orchestrators/start_orchestrator");
        assert_eq!(handle(&World::new().app, &call).await.unwrap(), Answer::empty(StatusCode::NOT_FOUND));
    }
}
