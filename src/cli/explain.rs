//! `syncseal explain`: which rule decides about a captured request, why, and what its client gets.

use std::fmt::{self, Write};
use std::net::IpAddr;
use std::path::PathBuf;

use serde::Serialize;

use super::captured::{self, Captured, Circumstances};
use super::inspect::printable;
use super::{Exit, complain, print};
use crate::gateway::ladder::{Told, Verdict};
use crate::policy::{Case, Environment, GatewayPolicy, Objection, Route, Subject};
use crate::seal::Refusal;
use crate::session::{TimeSource, UnixTime, WallClock};

/// Tells which rule of a policy decides about a captured request, why, and what the client gets.
///
/// The file holds a request of HTTP/1.1 as it was on the wire, or its body alone. The gateway's own code is asked, but
/// nothing is opened, sent or recorded: what depends on keys, sessions, client certificates, load and the server is not
/// told.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:
  syncseal explain request.bin --policy gateway.toml --from 10.1.2.3
  syncseal explain body.xml --policy new.toml --path /sync --device IMEI:490154203237518 --at 2027-02-01T00:00:00Z")]
pub(super) struct Args {
    /// The captured request, or its body; - for stdin.
    file: PathBuf,

    /// The gateway's policy.
    #[arg(long, value_name = "FILE")]
    policy: PathBuf,

    /// The address that it came from; without it, one that is in no range.
    #[arg(long, value_name = "ADDR")]
    from: Option<IpAddr>,

    /// Path and query, in the place of the captured ones; of a body alone, the path of the longest route unless said.
    #[arg(long, value_name = "PATH")]
    path: Option<String>,

    /// Its content type, in the place of the captured one; of a body alone, what its content says unless said.
    #[arg(long, value_name = "TYPE")]
    content_type: Option<String>,

    /// The device (Source LocURI) that it is taken to come from, in the place of the one that it names.
    #[arg(long, value_name = "SOURCE")]
    device: Option<String>,

    /// When it is taken to come; now, unless said.
    #[arg(long, value_name = "TIME", value_parser = time)]
    at: Option<UnixTime>,

    /// Prints JSON.
    #[arg(long)]
    json: bool,
}

fn time(text: &str) -> Result<UnixTime, String> {
    let time: jiff::Timestamp = text.parse().map_err(|error: jiff::Error| error.to_string())?;
    u64::try_from(time.as_second()).map(UnixTime).map_err(|_| "a time before 1970".to_owned())
}

/// All that is told.
#[derive(Debug, Serialize)]
struct Explanation<'p> {
    method: String,
    target: String,
    content_type: Option<String>,
    bytes: usize,
    from: IpAddr,
    at: String,
    device: Option<String>,
    route: Option<&'p str>,
    upstream: Option<String>,
    /// The rules that were asked, in their order; none, if none was.
    rules: Vec<Asked>,
    answer: Answer,
}

/// A rule that was asked.
#[derive(Debug, Serialize)]
struct Asked {
    name: String,
    #[serde(skip)]
    shown: String,
    plaintext: &'static str,
    /// Why it does not decide; the last one does.
    miss: Option<String>,
}

/// What the client gets.
#[derive(Debug, Serialize)]
struct Answer {
    /// As a case says it, or `discovery`.
    outcome: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    would_refuse: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'static str>,
    /// The HTTP status of a refusal.
    #[serde(skip_serializing_if = "Option::is_none")]
    http_status: Option<u16>,
    /// The Status for SyncHdr, if it is said in SyncML.
    #[serde(skip_serializing_if = "Option::is_none")]
    syncml_status: Option<u16>,
    /// What a person can read of it.
    sentence: String,
}

pub(super) fn run(args: &Args, env: &Environment) -> Result<(), Exit> {
    let policy = GatewayPolicy::load(&args.policy, env).map_err(|faults| {
        complain(faults);
        Exit::Configuration
    })?;
    let circumstances = Circumstances {
        path: args.path.as_deref(),
        from: args.from.unwrap_or(Case::NOBODY),
        device: args.device.as_deref(),
        content_type: args.content_type.as_deref(),
    };
    let captured = Captured::read(&args.file, &circumstances, &policy).map_err(|error| {
        complain(format_args!("syncseal: {}: {error}", args.file.display()));
        Exit::Usage
    })?;
    let now = args.at.unwrap_or_else(|| WallClock.now());
    let explanation = explain(&captured, &circumstances, &policy, now);
    if args.json {
        #[expect(clippy::expect_used, reason = "strings and numbers are always JSON")]
        let json = serde_json::to_string_pretty(&explanation).expect("no value that JSON has not");
        print(&format!("{json}\n"));
    } else {
        // Writing into a String does not fail.
        print(&explanation.text().unwrap_or_default());
    }
    Ok(())
}

fn explain<'p>(
    captured: &Captured,
    circumstances: &Circumstances<'_>,
    policy: &'p GatewayPolicy,
    now: UnixTime,
) -> Explanation<'p> {
    let told = captured.judged(circumstances, policy, now);
    let shown = |bytes: &[u8]| printable(&String::from_utf8_lossy(bytes));
    let mut explanation = Explanation {
        method: captured.method.to_string(),
        target: captured.target.clone(),
        content_type: captured.headers.get(http::header::CONTENT_TYPE).map(|value| shown(value.as_bytes())),
        bytes: captured.body.len(),
        from: circumstances.from,
        at: now.to_string(),
        device: None,
        route: None,
        upstream: None,
        rules: Vec::new(),
        answer: answer(&told),
    };
    let Told::Routed { route, device, judgement, .. } = told else { return explanation };
    explanation.device = device.as_deref().map(shown);
    explanation.route = Some(&route.path);
    explanation.upstream = Some(route.upstream.to_string());
    if let Some(decision) = judgement.decision {
        let Route { path, .. } = route;
        let subject = Subject { route: path, device: device.as_deref(), address: circumstances.from, now };
        for rule in policy.rules.iter() {
            let decides = std::ptr::eq(rule, decision.rule());
            let miss = rule.miss(&subject).filter(|_| !decides).map(|miss| miss.to_string());
            let (name, plaintext) = (rule.name.clone(), rule.plaintext.name());
            explanation.rules.push(Asked { name, shown: rule.to_string(), plaintext, miss });
            if decides {
                break;
            }
        }
    }
    explanation
}

/// What the client of a request gets.
fn answer(told: &Told<'_, '_>) -> Answer {
    let outcome = captured::outcome(told).map_or_else(|| "discovery".to_owned(), |outcome| outcome.to_string());
    let mut answer = Answer {
        outcome,
        would_refuse: None,
        reason: None,
        http_status: None,
        syncml_status: None,
        sentence: String::new(),
    };
    match told {
        Told::Discovery => "the gateway says what it supports".clone_into(&mut answer.sentence),
        Told::NoRoute => {
            answer.http_status = Some(404);
            "no route of the policy has this path".clone_into(&mut answer.sentence);
        }
        Told::Routed { route, judgement, in_syncml, .. } => match &judgement.verdict {
            Verdict::Open(layer) => {
                let keys = "no rule is asked, what comes of it depends on keys and sessions";
                answer.sentence = format!("it is sealed in the {} layer, and opened; {keys}", layer.name());
            }
            Verdict::Forward { target, would_refuse, .. } => {
                answer.would_refuse = would_refuse.map(Objection::name);
                answer.sentence = format!("it is forwarded to {}, at {}", route.upstream, target.as_str());
                if let Some(objection) = would_refuse {
                    answer.sentence += &format!("; were it not observed, it would be refused: {objection}");
                }
            }
            Verdict::Refuse(Objection::Declined(declined)) => {
                answer.reason = Some(Objection::Declined(*declined).name());
                answer.http_status = Some(declined.status());
                declined.sentence().clone_into(&mut answer.sentence);
            }
            Verdict::Refuse(Objection::Refused(reason)) => {
                answer.reason = Some(reason.name());
                answer.http_status = Some(if *in_syncml { 200 } else { reason.status() });
                answer.syncml_status = in_syncml.then(|| reason.syncml_status());
                answer.sentence = Refusal::from(*reason).sentence();
            }
        },
    }
    answer
}

impl Explanation<'_> {
    /// For people.
    fn text(&self) -> Result<String, fmt::Error> {
        let mut out = String::new();
        let content_type = self.content_type.as_deref().unwrap_or("no content type");
        writeln!(out, "request  {} {}, {content_type}, {} bytes", self.method, self.target, self.bytes)?;
        writeln!(out, "from     {}, at {}", self.from, self.at)?;
        writeln!(
            out,
            "device   {}",
            self.device.as_deref().unwrap_or("none that everybody would read in the same way")
        )?;
        if let (Some(route), Some(upstream)) = (self.route, &self.upstream) {
            writeln!(out, "route    {route}, to {upstream}")?;
        }
        for Asked { shown, miss, .. } in &self.rules {
            match miss {
                Some(miss) => writeln!(out, "rule     {shown}: does not decide, for {miss}")?,
                None => writeln!(out, "rule     {shown}: DECIDES")?,
            }
        }
        let Answer { outcome, http_status, syncml_status, sentence, .. } = &self.answer;
        writeln!(out, "answer   {outcome}")?;
        match (http_status, syncml_status) {
            (Some(http), Some(syncml)) => {
                writeln!(out, "         HTTP {http}, and in SyncML Status {syncml}: {sentence}")?
            }
            (Some(http), None) => writeln!(out, "         HTTP {http}: {sentence}")?,
            (None, _) => writeln!(out, "         {sentence}")?,
        }
        Ok(out)
    }
}
