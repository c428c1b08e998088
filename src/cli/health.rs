//! `syncseal health`, for images without a shell, whose engines ask inside them.

use bytes::Bytes;
use http::Request;
use http_body_util::Full;

use super::{Exit, complain, print, window};

/// Asks a gateway or agent that runs whether it is alive, or ready for requests.
///
/// Prints its answer. The exit status is 0 if it is, and otherwise 69.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:
  syncseal health
  syncseal health --ready --admin http://127.0.0.1:9902")]
pub(super) struct Args {
    /// Whether it should get requests: not while it drains, or without what it needs.
    #[arg(long)]
    ready: bool,

    /// Its address for operators.
    #[arg(long, value_name = "URL", default_value = window::USUAL)]
    admin: String,
}

pub(super) fn run(args: &Args) -> Result<(), Exit> {
    let mut request = Request::new(Full::new(Bytes::new()));
    *request.uri_mut() = http::Uri::from_static(if args.ready { "/readyz" } else { "/livez" });
    let (status, body) = window::ask(&args.admin, request).map_err(|problem| {
        complain(format_args!("syncseal: {problem}"));
        Exit::Unavailable
    })?;
    print(&String::from_utf8_lossy(&body));
    if status.is_success() { Ok(()) } else { Err(Exit::Unavailable) }
}
