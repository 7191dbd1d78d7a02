//! HTTP GET `dashboard`: the status page for people, and as JSON what it shows. The page is a fixed text: data and keys come to
//! it by its script, so that nothing which others wrote is ever part of the document.

mod failures;
mod page;
mod reading;
#[cfg(test)]
mod tests;
mod view;

use super::http::{Answer, Call};
use crate::app::App;
use crate::state::Error;
use axum::http::StatusCode;
use reading::Scope;
use std::time::Duration;

/// The longest that the data may take; the page asks again anyway.
const PATIENCE: Duration = Duration::from_secs(15);

/// What a call asks for.
enum Wanted {
    Page,
    Data(Scope),
}

/// Handles a call.
///
/// # Errors
/// None: the page itself says what is wrong with the state store.
pub async fn handle(app: &App, call: &Call) -> Result<Answer, Error> {
    let answer = match wanted(call) {
        Ok(Wanted::Page) => {
            let page = page::page();
            Answer::html(page.document).with("Content-Security-Policy", page.policy)
        }
        Ok(Wanted::Data(scope)) => data(app, scope).await,
        Err(message) => Answer::invalid(message),
    };
    Ok(answer
        .with("Cache-Control", "no-store")
        .with("Referrer-Policy", "no-referrer")
        .with("Vary", "Accept")
        .with("X-Content-Type-Options", "nosniff"))
}

/// A browser asks for a page, a program that accepts JSON for the data; `format` decides otherwise.
fn wanted(call: &Call) -> Result<Wanted, &'static str> {
    let accepts = call.header("accept").unwrap_or_default().to_ascii_lowercase();
    let is_data = match call.query("format").map(str::to_ascii_lowercase).as_deref() {
        Some("json") => true,
        Some("html") => false,
        None | Some("") => accepts.contains("application/json") && !accepts.contains("text/html"),
        Some(_) => return Err("`format` is `html` or `json`"),
    };
    let scope = match call.query("scope").map(str::to_ascii_lowercase).as_deref() {
        None | Some("" | "all") => Scope::All,
        Some("active") => Scope::Active,
        Some(_) => return Err("`scope` is `all` or `active`"),
    };
    Ok(if is_data { Wanted::Data(scope) } else { Wanted::Page })
}

async fn data(app: &App, scope: Scope) -> Answer {
    let unavailable = |why: String| Answer::error(StatusCode::SERVICE_UNAVAILABLE, why).with("Retry-After", "10");
    match tokio::time::timeout(PATIENCE, reading::read(app, scope)).await {
        Ok(Ok(overview)) => Answer::json(StatusCode::OK, view::shown(app, &overview)),
        Ok(Err(error)) => {
            tracing::error!(%error, "the status page has no data");
            unavailable(format!("the state store cannot be read: {error}"))
        }
        Err(_) => unavailable(format!("the state store did not answer within {} s", PATIENCE.as_secs())),
    }
}
