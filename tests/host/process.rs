//! A handler in a process of its own: the test executable again, told by its environment to be the handler (or a host
//! with a handler) instead of a test.

use adxingestor::host::{HOST_PID, ProcessLauncher, die_with_parent};
use axum::Router;
use axum::extract::{Path, Request};
use axum::routing::any;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// The variable that says what the process is to be.
pub const ROLE: &str = "CONFORMANCE_ROLE";
/// The test that plays the roles.
pub const PLAYER: &str = "conformance::the_process_plays_the_role_it_was_given";

/// This executable.
pub fn program() -> PathBuf {
    std::env::current_exe().unwrap()
}

/// The arguments with which it plays a role.
pub fn arguments() -> [&'static str; 4] {
    ["--exact", PLAYER, "--nocapture", "--test-threads=1"]
}

/// Plays the role that the environment names, if any.
pub fn play() {
    let variable = |name: &str| std::env::vars().find(|(known, _)| known == name).map(|(_, value)| value);
    match variable(ROLE).as_deref() {
        Some("handler") => run(handler()),
        Some("crashing handler") => {
            // The test harness has begun a line of its own.
            println!("\nabout to crash");
            eprintln!("a Warning first");
            eprintln!("then a failure");
            std::process::exit(1);
        }
        Some("host") => run(host()),
        _ => {}
    }
}

fn run(role: impl Future<Output = ()>) {
    tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap().block_on(role);
}

/// Serves `/api/environment/{name}`, `/api/exit/{code}`, `/api/pid`, and hangs on everything else but `/`.
async fn handler() {
    let variable = |name: &str| std::env::vars().find(|(known, _)| known == name).map(|(_, value)| value);
    die_with_parent(variable(HOST_PID).unwrap().parse().unwrap()).unwrap();
    if let Some(file) = variable("PID_FILE") {
        std::fs::write(file, std::process::id().to_string()).unwrap();
    }
    let port: u16 = variable("FUNCTIONS_CUSTOMHANDLER_PORT").unwrap().parse().unwrap();
    let environment = async move |Path(name): Path<String>| match name.as_str() {
        "directory" => std::env::current_dir().unwrap().display().to_string(),
        name => variable(name).unwrap_or_default(),
    };
    let exit = async |Path(code): Path<i32>| -> String { std::process::exit(code) };
    let router = Router::new()
        .route("/", any(async || "up"))
        .route("/api/environment/{name}", any(environment))
        .route("/api/exit/{code}", any(exit))
        .route("/api/pid", any(async || std::process::id().to_string()))
        .fallback(async |request: Request| {
            println!("asked for {}", request.uri());
            std::future::pending::<String>().await
        });
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", port)).await.unwrap();
    axum::serve(listener, router).await.unwrap();
}

/// Serves an app whose handler writes its process id, until it is killed.
async fn host() {
    let mut app = super::app::App::new().scale(1.0);
    app.environment = std::env::vars().filter(|(name, _)| name != ROLE).collect();
    app.environment.push((ROLE.to_owned(), "handler".to_owned()));
    app.program = program();
    let app = app.host(&["customHandler", "description", "arguments"], arguments().to_vec().into());
    let running = app.start_with(Arc::new(ProcessLauncher::new(Vec::new()).unwrap())).await;
    tokio::time::sleep(Duration::from_secs(60)).await;
    running.host.stop().await;
}
