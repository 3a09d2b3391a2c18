//! `ncps completions`: scripts that complete commands and flags in a shell.

use anyhow::Result;
use clap::CommandFactory;
use clap_complete::Shell;

use super::output::Output;

#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example:\n  ncps completions bash > ~/.local/share/bash-completion/completions/ncps"
)]
pub(crate) struct CompletionsArguments {
    /// The shell.
    #[arg(value_enum)]
    shell: Shell,
}

pub(crate) fn run(arguments: &CompletionsArguments, output: &Output) -> Result<()> {
    let mut script = Vec::new();
    clap_complete::generate(
        arguments.shell,
        &mut super::Arguments::command(),
        "ncps",
        &mut script,
    );
    output.print(String::from_utf8_lossy(&script))?;
    Ok(())
}
