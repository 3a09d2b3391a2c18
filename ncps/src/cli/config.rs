//! `ncps config`: the resolved configuration and the schema of its keys.

use std::path::PathBuf;

use anyhow::Result;
use clap::Subcommand;
use ncps::config::{self, RunConfig};

use super::output::Output;
use super::train::Overrides;

#[derive(Debug, Subcommand)]
pub(crate) enum ConfigCommand {
    /// Print a configuration with every default filled in.
    #[command(
        after_help = "Examples:\n  ncps config show configs/m3.toml\n  ncps config show configs/m3.toml --origin --set train.epochs=5"
    )]
    Show {
        /// The configuration file.
        config: PathBuf,
        /// Say behind each value where it comes from: a line of the file, --set, derived, or default.
        #[arg(long)]
        origin: bool,
        #[command(flatten)]
        overrides: Overrides,
    },
    /// Print the JSON schema of the configuration, for editors and programs.
    #[command(after_help = "Example:\n  ncps config schema > ncps.schema.json")]
    Schema,
}

pub(crate) fn run(command: &ConfigCommand, output: &Output) -> Result<()> {
    match command {
        ConfigCommand::Show {
            config,
            origin,
            overrides,
        } => {
            let loaded = RunConfig::load(config, overrides.parse()?)?;
            if output.json {
                output.json_line(loaded.resolved())?;
            } else if *origin {
                output.print(loaded.to_toml_with_origins())?;
            } else {
                output.print(loaded.to_toml())?;
            }
        }
        ConfigCommand::Schema => output.line(serde_json::to_string_pretty(&config::schema())?)?,
    }
    Ok(())
}
