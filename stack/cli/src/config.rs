//! `corelane config check` and `corelane config show`.

use crate::{DONE, Failure, USAGE};
use clap::Subcommand;
use corelane::config::Config;
use std::io::Write;
use std::path::PathBuf;

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Says whether a file is a configuration, and else what is wrong where
    Check {
        /// The TOML file
        file: PathBuf,
    },
    /// Prints a configuration with every setting: its meaning, bounds and value
    Show {
        /// The TOML file; the defaults without it
        file: Option<PathBuf>,
        /// Print one JSON document instead of commented TOML
        #[arg(long)]
        json: bool,
    },
}

pub(crate) fn run(command: &Command) -> Result<u8, Failure> {
    let mut out = std::io::stdout().lock();
    match command {
        Command::Check { file } => {
            load(file)?;
            writeln!(out, "{}: ok", file.display())?;
        }
        Command::Show { file, json } => {
            let config = file.as_ref().map_or_else(|| Ok(Config::default()), load)?;
            if *json {
                let text = serde_json::to_string_pretty(&config).map_err(|error| {
                    Failure::new(USAGE, format!("the configuration does not go into JSON: {error}"))
                })?;
                writeln!(out, "{text}")?;
            } else {
                write!(out, "{}", config.to_commented_toml())?;
            }
        }
    }
    Ok(DONE)
}

fn load(file: &PathBuf) -> Result<Config, Failure> {
    Config::load(file).map_err(|error| Failure::new(USAGE, error.to_string()))
}
