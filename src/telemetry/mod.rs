//! What the process tells of itself: log lines as JSON, the ids that every span bears, metrics, and their way to a collector
//! over OTLP. Knows names and numbers; not what a window or a run is, nor when anything happens to one.

pub mod ids;
pub mod json_lines;
pub mod metrics;
pub mod otlp;

mod collector;
mod lag;
mod names;

use tracing::{Level, Metadata};
use tracing_subscriber::filter::FilterFn;

/// Lets this program's own spans and events through, down to information, and nothing of its libraries.
pub fn of_this_program() -> FilterFn {
    FilterFn::new(is_ours)
}

/// Lets this program's spans through and no event. The ids of a line come from the spans around it, whatever lines are wanted.
pub fn spans_of_this_program() -> FilterFn {
    FilterFn::new(|metadata| metadata.is_span() && is_ours(metadata))
}

fn is_ours(metadata: &Metadata<'_>) -> bool {
    *metadata.level() <= Level::INFO && metadata.target().split("::").next() == Some(env!("CARGO_CRATE_NAME"))
}
