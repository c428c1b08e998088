//! `syncseal sample-server`: a server to protect, where none is at hand.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use tokio::net::TcpListener;
use tokio::runtime;
use tracing::info;

use super::log::LogArgs;
use super::{Exit, complain};
use crate::net::drain;
use crate::policy::Log;
use crate::sample::{Config, Server};

/// Runs a small SyncML server over a directory of vCard files, for trying out a gateway.
///
/// It speaks plaintext HTTP, like the servers that a gateway protects, and has one user. Serves until SIGTERM or SIGINT.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:
  syncseal sample-server contacts --listen 127.0.0.1:9080")]
pub(super) struct Args {
    /// The directory of the vCards, made if there is none; what is known of clients is kept beside it.
    directory: PathBuf,

    /// The address and port to listen on.
    #[arg(long, default_value = "127.0.0.1:9080")]
    listen: SocketAddr,

    /// The name of the one user.
    #[arg(long, default_value = "alice")]
    user: String,

    /// The password of the one user.
    #[arg(long, default_value = "secret")]
    password: String,

    #[command(flatten)]
    log: LogArgs,
}

pub(super) fn run(args: &Args) -> Result<(), Exit> {
    args.log.start(&Log::default());
    let cannot = |exit: Exit| {
        move |error: io::Error| {
            complain(format_args!("syncseal: the sample server cannot serve: {error}"));
            exit
        }
    };
    let config = Config { user: args.user.clone(), password: args.password.clone(), ..Config::default() };
    let server = Arc::new(Server::new(&args.directory, config).map_err(cannot(Exit::Usage))?);
    let runtime = runtime::Builder::new_multi_thread().enable_all().build().map_err(cannot(Exit::Internal))?;
    runtime.block_on(async {
        let drain = drain::on_signals().map_err(cannot(Exit::Internal))?;
        let listener = TcpListener::bind(args.listen).await.map_err(cannot(Exit::Bind))?;
        let addr = listener.local_addr().map_err(cannot(Exit::Bind))?;
        info!(%addr, "listening");
        server.serve(listener, async move { drain.draining().await }).await.map_err(cannot(Exit::Internal))
    })
}
