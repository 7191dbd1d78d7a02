//! `adxingestor health`: asks a `standalone` on this machine how it is, for images without `curl` (a Dockerfile's `HEALTHCHECK`).

use adxingestor::outbound::http_client;
use clap::Args;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

const DEFAULT_PORT: u16 = 7071;
/// A little more than the host takes to find out.
const PATIENCE: Duration = Duration::from_secs(8);

/// The options of `health`.
#[derive(Debug, Args)]
pub struct Arguments {
    /// The port of the HTTP functions.
    #[arg(long, default_value_t = DEFAULT_PORT)]
    port: u16,
    /// An address that `standalone` listens on.
    #[arg(long, default_value_t = IpAddr::V4(Ipv4Addr::LOCALHOST))]
    address: IpAddr,
    /// Asks whether it can do its work (/readyz) instead of whether it lives (/livez).
    #[arg(long)]
    ready: bool,
}

/// Asks, and prints nothing when all is well.
///
/// # Errors
/// What is wrong.
pub async fn run(arguments: Arguments) -> Result<(), String> {
    let host = SocketAddr::new(arguments.address, arguments.port);
    let url = format!("http://{host}/{}", if arguments.ready { "readyz" } else { "livez" });
    let client = http_client().map_err(|error| error.to_string())?;
    let answer = client.get(&url).timeout(PATIENCE).send().await;
    let status = answer.map_err(|error| format!("{url}: no answer: {error}"))?.status();
    if status.is_success() { Ok(()) } else { Err(format!("{url}: {status}")) }
}
