//! `adxingestor health`: asks a `standalone` on this machine how it is, for images without `curl` (a Dockerfile's `HEALTHCHECK`).

use super::standalone::default_port;
use adxingestor::outbound::http_client;
use clap::Args;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

/// A little more than the host takes to find out.
const PATIENCE: Duration = Duration::from_secs(8);

/// The options of `health`.
#[derive(Debug, Args)]
pub struct Arguments {
    /// The port of the HTTP functions.
    /// [default: LocalHttpPort of local.settings.json, else 7071]
    #[arg(long)]
    port: Option<u16>,
    /// The folder with local.settings.json.
    #[arg(long, default_value = ".")]
    app_root: PathBuf,
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
    let port = arguments.port.map_or_else(|| default_port(&arguments.app_root), Ok)?;
    let host = SocketAddr::new(arguments.address, port);
    let url = format!("http://{host}/{}", if arguments.ready { "readyz" } else { "livez" });
    let client = http_client().map_err(|error| error.to_string())?;
    let answer = client.get(&url).timeout(PATIENCE).send().await;
    let status = answer.map_err(|error| format!("{url}: no answer: {error}"))?.status();
    if status.is_success() { Ok(()) } else { Err(format!("{url}: {status}")) }
}
