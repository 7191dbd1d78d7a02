//! The command line.

use clap::Parser;
use std::path::PathBuf;

const TIME_SCALE: f64 = 10.0;
/// More than 15 would make the host's function timeout of 5 minutes shorter than the 20 s that a step is given at least.
const FAULTS_TIME_SCALE: f64 = 12.0;

/// Copies a simulated tenant into a simulated Azure Data Explorer with the real program, twice, and compares every row.
#[derive(Debug, Parser)]
#[command(name = "cargo demo")]
pub struct Arguments {
    /// Forget the state of earlier demos first.
    #[arg(long)]
    pub fresh: bool,
    /// Where tenant, database and the program's own state are kept [default: .demo in the workspace].
    #[arg(long, value_name = "DIR")]
    pub state: Option<PathBuf>,
    /// Leave everything running at the end, until Ctrl-C.
    #[arg(long)]
    pub keep: bool,
    /// Only start the simulated cloud, and write down the settings that point a function app at it.
    #[arg(long, conflicts_with = "keep")]
    pub cloud_only: bool,
    /// With --cloud-only: a database in which nothing is prepared, and whose admin the app is, for a first set-up.
    #[arg(long, requires = "cloud_only")]
    pub empty: bool,
    /// Throttling, server errors, cut answers, and the program killed in mid-run.
    #[arg(long)]
    pub faults: bool,
    /// The port of the program's HTTP functions; 0 for any.
    #[arg(long, default_value_t = 0)]
    pub port: u16,
    /// By how much the program's own pauses are divided [default: 10, with --faults 12].
    #[arg(long, value_name = "FACTOR")]
    pub time_scale: Option<f64>,
    /// How large the tenant is, where 1 stands for a million rows.
    #[arg(long, value_name = "FACTOR", default_value_t = 1.0)]
    pub size: f64,
    /// The same seed gives the same rows and the same faults.
    #[arg(long, default_value_t = 42)]
    pub seed: u64,
}

impl Arguments {
    /// By how much the program's own pauses are divided.
    pub fn time_scale(&self) -> f64 {
        self.time_scale.unwrap_or(if self.faults { FAULTS_TIME_SCALE } else { TIME_SCALE })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_sound_and_faults_shrink_pauses_further() {
        Arguments::command().debug_assert();
        let scale = |words: &[&str]| Arguments::parse_from(words).time_scale();
        assert_eq!(scale(&["demo"]), 10.0);
        assert_eq!(scale(&["demo", "--faults"]), 12.0);
        assert_eq!(scale(&["demo", "--faults", "--time-scale", "7"]), 7.0);
    }
}
