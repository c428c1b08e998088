//! `syncseal report`: which devices speak what, and how many would be refused.

use std::fmt::{self, Write};
use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http_body_util::Full;
use serde::Serialize;

use super::{Exit, complain, print, window};
use crate::gateway::devices::{self, Line, Snapshot, Speech};
use crate::policy::parse_duration;
use crate::session::UnixTime;

/// Shows the devices that a gateway has seen: what each speaks, since when, and whether it would be refused.
///
/// Asks the gateway that runs, at its address for operators, or reads the state file that its policy names. The names of
/// devices in it are those of people.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:
  syncseal report
  syncseal report --state /var/lib/syncseal/devices.json --within \"7 d\"
  syncseal report --json | jq '.would_break'")]
pub(super) struct Args {
    /// The state file of a gateway, in the place of a gateway that runs.
    #[arg(long, value_name = "FILE", conflicts_with = "admin")]
    state: Option<PathBuf>,

    /// The gateway's address for operators.
    #[arg(long, value_name = "URL", default_value = window::USUAL)]
    admin: String,

    /// Only devices that were seen within this time, such as "7 d".
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    within: Option<Duration>,

    /// Prints JSON.
    #[arg(long)]
    json: bool,
}

fn duration(text: &str) -> Result<Duration, String> {
    parse_duration(text).ok_or_else(|| "a duration with its unit, such as \"7 d\"".to_owned())
}

/// What is reported.
#[derive(Debug, Serialize)]
struct Report<'a> {
    /// When what it says was so.
    taken: String,
    /// Devices.
    devices: usize,
    /// By what their latest messages were.
    sealed: usize,
    plaintext: usize,
    would_break: WouldBreak,
    /// Devices that are no longer known, for there were too many.
    forgotten: u64,
    list: Vec<&'a Line>,
}

/// How many would be refused for what they speak.
#[derive(Debug, Serialize)]
struct WouldBreak {
    /// If every rule required a seal.
    under_require: usize,
    /// As the rules are.
    under_present_rules: usize,
}

pub(super) fn run(args: &Args) -> Result<(), Exit> {
    let snapshot = match &args.state {
        Some(file) => match devices::load(file) {
            Ok(Some(snapshot)) => snapshot,
            Ok(None) => return Err(fail(Exit::Usage, format_args!("{}: there is no such file", file.display()))),
            Err(error) => return Err(fail(Exit::Usage, format_args!("{}: {error}", file.display()))),
        },
        None => ask(&args.admin)?,
    };
    let report = Report::new(&snapshot, args.within);
    if args.json {
        #[expect(clippy::expect_used, reason = "strings and numbers are always JSON")]
        let json = serde_json::to_string_pretty(&report).expect("no value that JSON has not");
        print(&format!("{json}\n"));
    } else {
        // Writing into a String does not fail.
        print(&report.text().unwrap_or_default());
    }
    Ok(())
}

fn fail(exit: Exit, problem: impl fmt::Display) -> Exit {
    complain(format_args!("syncseal: {problem}"));
    exit
}

/// What the gateway whose window is at `address` knows.
fn ask(address: &str) -> Result<Snapshot, Exit> {
    let mut request = Request::new(Full::new(Bytes::new()));
    *request.uri_mut() = http::Uri::from_static("/devices");
    let (status, body) = window::ask(address, request).map_err(|problem| fail(Exit::Unavailable, problem))?;
    if !status.is_success() {
        return Err(fail(Exit::Unavailable, format_args!("{address} has no register of devices: {status}")));
    }
    Snapshot::from_json(&body).map_err(|error| fail(Exit::Unavailable, format_args!("{address}: {error}")))
}

impl<'a> Report<'a> {
    fn new(snapshot: &'a Snapshot, within: Option<Duration>) -> Self {
        let taken = snapshot.taken;
        let since = within.map_or(UnixTime(0), |within| UnixTime(taken.0.saturating_sub(within.as_secs())));
        let list: Vec<&Line> = snapshot.devices.iter().filter(|line| line.last_seen >= since).collect();
        let count = |wanted: &dyn Fn(&Line) -> bool| list.iter().filter(|line| wanted(line)).count();
        let plaintext = count(&|line| line.speaks == Speech::Plaintext);
        Self {
            taken: taken.to_string(),
            devices: list.len(),
            sealed: count(&|line| line.speaks == Speech::Sealed),
            plaintext,
            would_break: WouldBreak { under_require: plaintext, under_present_rules: count(&|line| line.breaks) },
            forgotten: snapshot.forgotten,
            list,
        }
    }

    /// For people: a summary, and a line a device. Its name comes last, for it may be long.
    fn text(&self) -> Result<String, fmt::Error> {
        let mut out = String::new();
        writeln!(out, "{} devices, at {}", self.devices, self.taken)?;
        writeln!(out, "  {:>6} speak sealed", self.sealed)?;
        writeln!(out, "  {:>6} speak plaintext: they would break under require", self.plaintext)?;
        writeln!(out, "  {:>6} are refused for it under the present rules", self.would_break.under_present_rules)?;
        if self.forgotten > 0 {
            writeln!(out, "  {:>6} more were forgotten, for the register was full", self.forgotten)?;
        }
        let mut rows = vec![
            ["LAST SEEN", "SPEAKS", "FIRST SEALED", "RULE", "REFUSED", "REASON", "ROUTE", "DEVICE"].map(str::to_owned),
        ];
        for line in &self.list {
            let speaks = match line.speaks {
                Speech::Sealed => "sealed",
                Speech::Plaintext => "plaintext",
            };
            rows.push([
                line.last_seen.to_string(),
                speaks.to_owned(),
                line.seen.first_sealed.map_or_else(|| "never".to_owned(), |first| first.to_string()),
                format!("{} ({})", line.rule, line.under),
                if line.breaks { "YES" } else { "no" }.to_owned(),
                line.seen.objection.map_or("-", |objection| objection.name()).to_owned(),
                line.seen.route.clone(),
                line.seen.device.clone(),
            ]);
        }
        if self.list.is_empty() {
            return Ok(out);
        }
        let mut widths = [0; 7];
        for row in &rows {
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = (*width).max(cell.chars().count());
            }
        }
        writeln!(out)?;
        for row in &rows {
            let [cells @ .., device] = row;
            for (cell, width) in cells.iter().zip(widths) {
                write!(out, "{cell:<width$}  ")?;
            }
            writeln!(out, "{device}")?;
        }
        Ok(out)
    }
}
