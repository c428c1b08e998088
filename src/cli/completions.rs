//! `syncseal completions`.

use clap::CommandFactory;
use clap_complete::Shell;

use super::{Command, Exit, print};

/// Prints what a shell needs to complete this command's verbs and options.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:
  syncseal completions bash > /usr/share/bash-completion/completions/syncseal
  syncseal completions zsh > /usr/share/zsh/vendor-completions/_syncseal
  syncseal completions fish > /usr/share/fish/vendor_completions.d/syncseal.fish")]
pub(super) struct Args {
    /// The shell.
    shell: Shell,
}

pub(super) fn run(args: &Args) -> Result<(), Exit> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Command::command(), "syncseal", &mut script);
    print(&String::from_utf8_lossy(&script));
    Ok(())
}
