//! Putting a host together: files read, address bound, listeners and handler started.

use super::calls::Calls;
use super::client::{HandlerClient, Phase};
use super::console::{Entry, Level, STARTUP};
use super::environment::Environment;
use super::executable::{find, free_port, working_directory};
use super::front::Front;
use super::function_json::{Function, Trigger, read_functions};
use super::health::Health;
use super::host_json::{HostJson, HttpMode};
use super::invoke::Invoker;
use super::listing;
use super::outputs::Outputs;
use super::parent::HOST_PID;
use super::problem::Problems;
use super::process::CommandLine;
use super::queue_trigger::{QueueListener, ToHandler};
use super::supervisor::{Stopping, Supervisor};
use super::time::HostTime;
use super::timer_trigger::TimerListener;
use super::{Error, Host, Settings, Stopped, client};
use axum::Router;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::net::TcpListener;
use tokio::sync::{Notify, Semaphore, mpsc, watch};
use tokio::task::JoinSet;

/// Calls wait this many times the handler's initialization timeout for it.
const PATIENCE: u32 = 4;
const RESTART_REQUESTS: usize = 64;

pub(crate) async fn start(mut settings: Settings) -> Result<Host, Error> {
    let mut environment = std::mem::take(&mut settings.environment);
    add(&mut environment, "AZURE_FUNCTIONS_ENVIRONMENT", "Development");
    let environment = Environment::new(environment);
    let (host_json, functions) = read_app(&settings, &environment)?;
    let program = find(&host_json.handler, &settings.app_root, &environment, &settings.own_executable)?;
    let bind = settings.bind;
    let listener = TcpListener::bind(bind).await.map_err(|source| Error::Bind { address: bind, source })?;
    let local = listener.local_addr().map_err(|source| Error::Bind { address: bind, source })?;
    let port = match host_json.port {
        Some(port) => port,
        None => free_port(settings.random.as_ref()).map_err(Error::NoPort)?,
    };
    let command = CommandLine {
        program,
        arguments: host_json.handler.arguments.clone(),
        directory: working_directory(&host_json.handler, &settings.app_root),
        environment: child_environment(&settings, &environment, port, local),
    };

    let time = HostTime::new(settings.storage.clock.clone(), settings.time_scale);
    let (phase, phases) = watch::channel(Phase::Starting);
    let (restarts, restart_requests) = mpsc::channel(RESTART_REQUESTS);
    let (draining, drained) = watch::channel(false);
    let draining = Arc::new(draining);
    let (killing, killed) = watch::channel(Stopping::No);
    let (closing, mut closed) = watch::channel(false);
    let (end, ended) = watch::channel(None);
    let end = Arc::new(end);

    let health = Health::new(phases.clone(), settings.storage.clone(), time.clone(), settings.console.clone());
    let invoker = Arc::new(Invoker {
        handler: HandlerClient {
            phase: phases,
            restarts,
            time: time.clone(),
            patience: host_json.initialization_timeout * PATIENCE,
        },
        outputs: Outputs {
            queues: settings.storage.queues.clone(),
            base64: host_json.queues.base64,
            wakers: Arc::new(wakers(&functions)),
        },
        console: settings.console.clone(),
        random: settings.random.clone(),
        clock: settings.storage.clock.clone(),
        timeout: host_json.function_timeout,
        follow_redirects: host_json.http_mode == HttpMode::Envelope,
    });
    let supervisor = Supervisor {
        launcher: settings.launcher.clone(),
        command,
        port,
        initialization_timeout: host_json.initialization_timeout,
        time: time.clone(),
        console: settings.console.clone(),
        phase,
        restarts: restart_requests,
        stop: killed,
    };
    let calls = Calls::default();
    let known: Vec<&str> = functions.iter().map(|function| function.name.as_str()).collect();
    let keys = settings.keys.take();
    let strangers = keys.iter().flat_map(|keys| keys.strangers(&known)).map(str::to_owned).collect::<Vec<_>>();
    let max_body_bytes = environment.get("FUNCTIONS_REQUEST_BODY_SIZE_LIMIT").and_then(|text| text.parse().ok());
    let front = Arc::new(Front {
        functions: functions.clone(),
        keys,
        mode: host_json.http_mode,
        invoker: invoker.clone(),
        calls: calls.clone(),
        outstanding: host_json.max_outstanding_requests.map(|most| Arc::new(Semaphore::new(most))),
        max_body_bytes: max_body_bytes.unwrap_or(client::MAX_BODY_BYTES),
        local,
        health,
        draining: drained.clone(),
    });

    for name in &strangers {
        let text = format!("the keys file has keys for `{name}`, which is no function of this app: they open nothing");
        settings.console.write(Entry { level: Level::Warning, category: STARTUP.to_owned(), invocation: None, text });
    }
    for text in listing::lines(&functions, local) {
        let category = STARTUP.to_owned();
        settings.console.write(Entry { level: Level::Information, category, invocation: None, text });
    }

    let mut tasks = JoinSet::new();
    let (supervised, drain) = (end.clone(), draining.clone());
    tasks.spawn(async move {
        if let Some(reason) = supervisor.run().await {
            drain.send_replace(true);
            supervised.send_replace(Some(reason));
        }
    });
    let drain = draining.clone();
    let router = Router::new().fallback(move |request| front.clone().handle(request));
    tasks.spawn(async move {
        let close = async move {
            // An error means that the host is gone, which closes as well.
            let _ = closed.wait_for(|closing| *closing).await;
        };
        if let Err(error) = axum::serve(listener, router).with_graceful_shutdown(close).await {
            drain.send_replace(true);
            end.send_replace(Some(Stopped::ServerFailed(error.to_string())));
        }
    });
    let listeners = listen(&settings, &host_json, &functions, &invoker, &time, &drained);
    Ok(Host { local, time, calls, draining, killing, closing, ended, listeners, tasks })
}

fn read_app(settings: &Settings, environment: &Environment) -> Result<(HostJson, Vec<Arc<Function>>), Error> {
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let mut problems = Vec::new();
    let host_json = HostJson::read(&settings.app_root, environment, cores, &mut problems);
    let functions = read_functions(&settings.app_root, &host_json, environment, &mut problems);
    if problems.is_empty() {
        Ok((host_json, functions.into_iter().map(Arc::new).collect()))
    } else {
        Err(Error::App { root: settings.app_root.clone(), problems: Problems(problems) })
    }
}

/// Sets what is not set yet.
fn add(environment: &mut Vec<(String, String)>, name: &str, value: &str) {
    if !environment.iter().any(|(known, _)| known.eq_ignore_ascii_case(name)) {
        environment.push((name.to_owned(), value.to_owned()));
    }
}

fn child_environment(
    settings: &Settings,
    environment: &Environment,
    port: u16,
    local: SocketAddr,
) -> Vec<(String, String)> {
    let mut child = environment.values().to_vec();
    let root = settings.app_root.display().to_string();
    add(&mut child, "WEBSITE_HOSTNAME", &listing::host_name(local));
    add(&mut child, "AzureWebJobsScriptRoot", &root);
    let id = uuid::Builder::from_random_bytes(settings.random.bits().to_be_bytes()).into_uuid().to_string();
    let own = [
        ("FUNCTIONS_CUSTOMHANDLER_PORT", port.to_string()),
        ("FUNCTIONS_CUSTOMHANDLER_WORKER_ID", id.clone()),
        ("FUNCTIONS_HTTPWORKER_PORT", port.to_string()),
        ("FUNCTIONS_HTTPWORKER_ID", id),
        ("FUNCTIONS_APP_ROOT_PATH", root),
        (HOST_PID, std::process::id().to_string()),
    ];
    let own = own.into_iter().map(|(name, value)| (name.to_owned(), value));
    for (name, value) in own.chain(settings.extra_child_environment.iter().cloned()) {
        child.retain(|(known, _)| *known != name);
        child.push((name, value));
    }
    child
}

/// One waker per queue that is listened to.
fn wakers(functions: &[Arc<Function>]) -> HashMap<String, Arc<Notify>> {
    let queues = functions.iter().filter_map(|function| match &function.trigger {
        Trigger::Queue { queue, .. } => Some((queue.clone(), Arc::default())),
        _ => None,
    });
    queues.collect()
}

fn listen(
    settings: &Settings,
    host_json: &HostJson,
    functions: &[Arc<Function>],
    invoker: &Arc<Invoker>,
    time: &HostTime,
    draining: &watch::Receiver<bool>,
) -> JoinSet<()> {
    let mut listeners = JoinSet::new();
    for function in functions {
        match &function.trigger {
            Trigger::Http(_) => {}
            Trigger::Queue { binding, queue, binary } => {
                let handler = ToHandler {
                    function: function.clone(),
                    binding: binding.clone(),
                    binary: *binary,
                    invoker: invoker.clone(),
                };
                let listener = QueueListener {
                    queue: queue.clone(),
                    options: host_json.queues.clone(),
                    queues: settings.storage.queues.clone(),
                    function: Arc::new(handler),
                    time: time.clone(),
                    random: settings.random.clone(),
                    console: settings.console.clone(),
                    wake: invoker.outputs.wakers.get(queue).cloned().unwrap_or_default(),
                    draining: draining.clone(),
                };
                listeners.spawn(Arc::new(listener).run());
            }
            Trigger::Timer(_) => {
                let listener = TimerListener {
                    function: function.clone(),
                    blobs: settings.storage.blobs.clone(),
                    invoker: invoker.clone(),
                    time: time.clone(),
                    console: settings.console.clone(),
                    draining: draining.clone(),
                };
                listeners.spawn(listener.run());
            }
        }
    }
    listeners
}
