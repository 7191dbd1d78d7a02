//! What is asked before there is a run: whether the cluster answers and has the database, and whether the tables that were named are configured. So nothing
//! is recorded, and no state store made, of a run that could only fail.

use super::super::serve::Ready;
use super::screen::Screen;
use adxingestor::adx;
use adxingestor::config::Lookup;
use adxingestor::functions::unknown_tables;
use adxingestor::orchestration::instance::StartInput;
use adxingestor::outbound::token_source;
use adxingestor::remedy;
use std::time::Duration;
use tokio::time::Instant;

/// How long the cluster has to answer. A command has somebody who waits for it; a run has more patience.
const PATIENCE: Duration = Duration::from_secs(30);
/// After that long it is said what is waited for.
const SILENCE: Duration = Duration::from_secs(3);

/// Why no run is begun.
pub enum Refused {
    /// The options name what is not there.
    Options(String),
    /// Something does not work.
    Broken(String),
}

/// Asks.
///
/// # Errors
/// [`Refused`].
pub async fn ask(ready: &Ready, input: &StartInput, lookup: Lookup<'_>, screen: &Screen) -> Result<(), Refused> {
    let services = ready.preview();
    let (cluster, database) = (&services.settings.cluster, &services.settings.database);
    let asked = unknown_tables(&services, input, Instant::now() + PATIENCE);
    tokio::pin!(asked);
    let answer = tokio::select! {
        answer = &mut asked => answer,
        () = tokio::time::sleep(SILENCE) => {
            screen.say(&format!(
                "Waiting for the cluster {cluster} and for {}, which gives the tokens ({} s at most)",
                token_source(lookup),
                PATIENCE.as_secs()
            ));
            asked.await
        }
    };
    match answer {
        Ok(None) => Ok(()),
        Ok(Some(unknown)) => Err(Refused::Options(unknown.to_string())),
        Err(error) if error.is_missing_database() => Err(Refused::Broken(format!(
            "there is no database {database} at {cluster} ({error}): {}",
            remedy::MissingDatabase { cluster, name: database }
        ))),
        // The run makes the view, or says why it cannot.
        Err(ref error @ adx::Error::NotFound { .. }) if !error.is_missing_address() => Ok(()),
        Err(error) => Err(Refused::Broken(format!(
            "the configuration in the database {database} of the cluster {cluster} cannot be read, with tokens from {}: {error}; \
             `adxingestor doctor` looks at each part of the way there",
            token_source(lookup)
        ))),
    }
}
