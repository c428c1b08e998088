//! `syncseal demo`: server, gateway, agent and client on this machine, and what passes between them.
//!
//! Everything is real and in this process: [`crate::sample`]'s server and client, a gateway and an agent under policies
//! that are shown, a fresh key, sockets on loopback, and taps that record them. What is claimed is checked there and
//! then; what does not hold is said, and makes the exit status 70.
//!
//! `stage` starts everything, `steps` is what is played and expected, first in the message layer and then in the data
//! layer, `tap` records, `contacts` are the address books, `show` prints, `keep` says how to go on.

mod contacts;
mod keep;
mod show;
mod stage;
mod steps;
mod tap;

use std::fmt::Display;

use tempfile::TempDir;
use tokio::runtime;
use tracing_subscriber::filter::{LevelFilter, Targets};

use super::log::LogArgs;
use super::{Exit, complain};
use crate::net::drain;
use crate::policy::{Log, LogFormat};
use crate::seal::Layer;

use show::Show;

/// Shows it at work: a server, a gateway, an agent and a client on this machine.
///
/// Contacts are synchronized both ways, in XML and in WBXML, and clients that must not get through are refused: in the
/// message layer, which seals whole messages, and in the data layer, which encrypts the user's data inside them. At each
/// step you see what the client sent, what went over the wire, and what an eavesdropper has of it. Needs no files and no
/// network, listens on loopback only, and leaves nothing behind. The exit status is 0 if all was as it should be, and
/// otherwise 70.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:
  syncseal demo
  syncseal demo | grep wire       only what went over the wire
  syncseal demo --keep            then try it with a client of your own")]
pub(super) struct Args {
    /// The layer of protection to show.
    #[arg(long, value_enum, default_value_t = Layers::Both)]
    layer: Layers,

    /// Leave server, gateway and agent running until SIGINT or SIGTERM, and say how to reach them.
    #[arg(long)]
    keep: bool,

    #[command(flatten)]
    log: LogArgs,
}

/// Which layers are shown.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Layers {
    Data,
    Message,
    Both,
}

impl Layers {
    /// In the order in which they are shown.
    fn all(self) -> &'static [Layer] {
        match self {
            Self::Data => &[Layer::Data],
            Self::Message => &[Layer::Message],
            Self::Both => &[Layer::Message, Layer::Data],
        }
    }
}

pub(super) fn run(args: &Args) -> Result<(), Exit> {
    // What is logged would stand between what is shown.
    args.log.start(&Log { format: LogFormat::Auto, filter: Targets::new().with_default(LevelFilter::OFF) });
    // Gone after the runtime, which waits for what is still being done to files.
    let directory;
    let runtime = runtime::Builder::new_multi_thread().enable_all().build().map_err(cannot_go_on)?;
    // Signals are listened to before there is anything that one could leave behind.
    let signals = runtime.block_on(async { drain::on_signals() }).map_err(cannot_go_on)?;
    directory = TempDir::with_prefix("syncseal-demo-").map_err(cannot_go_on)?;
    runtime.block_on(async {
        let mut show = Show::new();
        let (stage, lines) = tokio::select! {
            played = steps::play(&mut show, directory.path(), args.layer.all()) => played?,
            () = signals.draining() => return Err(Exit::Forced),
        };
        if show.failed() > 0 {
            complain(format_args!("syncseal: {} things were not as they should be (FAILED above)", show.failed()));
            return Err(Exit::Internal);
        }
        if args.keep {
            keep::say_how(&mut show, &stage, &lines);
            signals.draining().await;
        }
        tokio::select! {
            () = stage.end() => Ok(()),
            () = signals.ending() => Err(Exit::Forced),
        }
    })
}

/// An error that ends the demo, said.
fn cannot_go_on(error: impl Display) -> Exit {
    complain(format_args!("syncseal: the demo cannot go on: {error}"));
    Exit::Internal
}
