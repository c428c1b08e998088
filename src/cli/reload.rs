//! `syncseal reload`: asks a running gateway or agent to read its policy again, and says what came of it.

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, Request, StatusCode, Uri};
use http_body_util::Full;
use serde::Deserialize;

use super::{Exit, complain, print, window};
use crate::admin::GUARD_FIELD;

/// Asks a running gateway or agent to read its policy again, and says what came of it.
///
/// The whole policy is checked first; if anything is wrong with it, the policy in force stays. A gateway does not take over
/// rules that would refuse what too many of its devices speak, unless it is forced to.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:
  syncseal reload
  syncseal reload --force
  syncseal reload --admin http://127.0.0.1:9902")]
pub(super) struct Args {
    /// Applies the policy even if its rules cut devices off.
    #[arg(long)]
    force: bool,

    /// The address for operators of the gateway or the agent.
    #[arg(long, value_name = "URL", default_value = window::USUAL)]
    admin: String,
}

/// What is answered.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Told {
    /// The policy that was in force still is, for these faults.
    Faults(Vec<String>),
    /// It still is, lest devices are cut off.
    LockedOut { seen: u64, cut_off: u64, guard_percent: u64, devices: Vec<Device> },
    /// The new policy is in force.
    #[serde(untagged)]
    Applied { generation: u64, kept: Vec<String> },
}

#[derive(Debug, Deserialize)]
struct Device {
    route: String,
    device: String,
}

pub(super) fn run(args: &Args) -> Result<(), Exit> {
    let mut request = Request::new(Full::new(Bytes::new()));
    *request.method_mut() = Method::POST;
    *request.uri_mut() = Uri::from_static(if args.force { "/reload?force=true" } else { "/reload" });
    request.headers_mut().insert(HeaderName::from_static(GUARD_FIELD), HeaderValue::from_static("1"));
    let (status, body) = window::ask(&args.admin, request).map_err(|problem| {
        complain(format_args!("syncseal: {problem}"));
        Exit::Unavailable
    })?;
    match serde_json::from_slice(&body) {
        Ok(Told::Applied { generation, kept }) => {
            for key in kept {
                complain(format_args!("{key}: this change waits for the next start"));
            }
            print(&format!("reloaded: policy {generation} since the start is in force\n"));
            Ok(())
        }
        Ok(Told::Faults(faults)) => {
            for fault in faults {
                complain(fault);
            }
            complain("not reloaded; the policy in force stays");
            Err(Exit::Configuration)
        }
        Ok(Told::LockedOut { seen, cut_off, guard_percent, devices }) => {
            for Device { route, device } in &devices {
                complain(format_args!("{device} on {route} would be cut off"));
            }
            let unnamed = usize::try_from(cut_off).unwrap_or(usize::MAX).saturating_sub(devices.len());
            if unnamed > 0 {
                complain(format_args!("and {unnamed} more"));
            }
            complain(format_args!(
                "not reloaded; the policy in force stays: {cut_off} of the {seen} devices that were seen lately would be refused, \
                 allowed are {guard_percent} % (rollout.guard_percent); --force applies it all the same"
            ));
            Err(Exit::Configuration)
        }
        Err(_) => {
            let sentence = String::from_utf8_lossy(&body);
            complain(format_args!("syncseal: {} does not reload: {status} {}", args.admin, sentence.trim()));
            let busy = status == StatusCode::SERVICE_UNAVAILABLE;
            Err(if busy { Exit::Unavailable } else { Exit::Usage })
        }
    }
}
