//! `syncseal check`.

use std::fmt::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::captured::{self, Captured, Circumstances};
use super::{Exit, agent, complain, gateway, print};
use crate::agent::Agent;
use crate::crypto::{Algorithm, NamedGroup, RSA_TIMING_WARNING, SystemRandom};
use crate::gateway::ladder::{Judgement, Told};
use crate::gateway::{Gateway, Surroundings};
use crate::policy::{
    AgentPolicy, AgentRecipients, Danger, Environment, GatewayPolicy, ListenAddr, Listener, Plaintext, Policy, Store,
};
use crate::session::{TimeSource, WallClock};

/// Checks a policy: does all that starting would do, short of binding, and asks it about its cases.
///
/// Prints what the policy says in short, or every fault with its line, or what differs from what its cases expect.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:
  syncseal check gateway.toml && systemctl restart syncseal-gateway")]
pub(super) struct Args {
    /// The policy file of a gateway or an agent.
    file: PathBuf,
}

pub(super) fn run(args: &Args, env: &Environment) -> Result<(), Exit> {
    let policy = Policy::load(&args.file, env).map_err(|faults| {
        let n = faults.faults.len();
        complain(format_args!("{faults}\n{n} fault{} in {}", if n == 1 { "" } else { "s" }, args.file.display()));
        Exit::Configuration
    })?;
    // Writing into a String does not fail.
    let summary = match &policy {
        Policy::Gateway(policy) => {
            Gateway::in_memory(policy, Surroundings::default()).map_err(|error| {
                complain(format_args!("{}: {error}", args.file.display()));
                gateway::exit(&error)
            })?;
            if let Some(warning) = RSA_TIMING_WARNING {
                complain(warning);
            }
            for listener in policy.exposed() {
                complain(format_args!("warning: {}: {}", listener.address, gateway::EXPOSED));
            }
            for ending in policy.rules.endings(WallClock.now()) {
                complain(format_args!("warning: {ending}"));
            }
            let cases = cases(policy, &args.file)?;
            gateway_summary(policy).unwrap_or_default() + &cases
        }
        Policy::Agent(policy) => {
            Agent::new((**policy).clone(), Arc::new(WallClock), Arc::new(SystemRandom)).map_err(|error| {
                complain(format_args!("{}: {error}", args.file.display()));
                agent::exit(&error)
            })?;
            agent_summary(policy).unwrap_or_default()
        }
    };
    print(&format!("{}: OK\n{summary}", args.file.display()));
    Ok(())
}

/// Asks the policy about its cases: a line each, if all is as expected.
fn cases(policy: &GatewayPolicy, file: &Path) -> Result<String, Exit> {
    let now = WallClock.now();
    let (mut lines, mut failed) = (String::new(), false);
    for (n, case) in policy.cases.iter().enumerate() {
        let name = format!("case[{n}], {}", case.file.display());
        let circumstances = Circumstances::from(case);
        let captured = Captured::read(&case.file, &circumstances, policy);
        let found = captured.map_err(|error| error.to_string()).and_then(|captured| {
            let told = captured.judged(&circumstances, policy, now);
            let found = captured::outcome(&told).ok_or("it asks for what is supported, which is no case")?;
            let rule = match told {
                Told::Routed { judgement: Judgement { decision: Some(decision), .. }, .. } => {
                    format!(", by rule {}", decision.rule().name)
                }
                _ => String::new(),
            };
            if case.expect.is_met_by(found) {
                Ok(format!("  {name}: {found}{rule}\n"))
            } else {
                Err(format!("expected {}; found {found}{rule}", case.expect))
            }
        });
        match found {
            Ok(line) => lines.push_str(&line),
            Err(problem) => {
                failed = true;
                complain(format_args!("{}: {name}: {problem}", file.display()));
            }
        }
    }
    if failed { Err(Exit::Configuration) } else { Ok(lines) }
}

fn gateway_summary(policy: &GatewayPolicy) -> Result<String, fmt::Error> {
    let mut out = String::new();
    writeln!(out, "  gateway")?;
    listeners(&mut out, &policy.listeners)?;
    for recipient in &policy.recipients {
        let bits = recipient.public.modulus_len() * 8;
        let file = recipient.file.display();
        match recipient.accept_until {
            None => writeln!(out, "  key {} (RSA {bits}, {file})", recipient.key_id())?,
            Some(until) => {
                writeln!(out, "  key {} (RSA {bits}, {file}), accepted until {until}", recipient.key_id())?;
            }
        }
    }
    for secret in &policy.secrets {
        write!(out, "  secret {} ({})", secret.name, secret.file.display())?;
        if secret.devices.is_some() {
            write!(out, ", for some devices")?;
        }
        match secret.expires {
            None => writeln!(out)?,
            Some(until) => writeln!(out, ", expires {until}")?,
        }
    }
    writeln!(
        out,
        "  {}",
        cryptography(policy.provider.name(), &policy.algorithms, &policy.groups, policy.require_exchange)
    )?;
    match &policy.store {
        Store::Memory => writeln!(out, "  sessions in memory")?,
        Store::Redis(settings) => writeln!(out, "  sessions on {}", list(&settings.servers))?,
    }
    writeln!(out, "  early messages {}", if policy.early { "accepted" } else { "refused" })?;
    for route in &policy.routes {
        writeln!(out, "  route {} to {}", route.path, route.upstream)?;
    }
    for rule in policy.rules.iter() {
        let plaintext = match rule.plaintext {
            Plaintext::Observe => "EVERYTHING FORWARDED",
            Plaintext::Permit => "plaintext FORWARDED",
            Plaintext::Require => "plaintext refused",
        };
        writeln!(out, "  rule {rule}: {plaintext}")?;
    }
    dangers(&mut out, &policy.dangers)?;
    Ok(out)
}

fn agent_summary(policy: &AgentPolicy) -> Result<String, fmt::Error> {
    let mut out = String::new();
    writeln!(out, "  agent for the gateway {}", policy.gateway)?;
    listeners(&mut out, &policy.listeners)?;
    match &policy.recipients {
        AgentRecipients::Rsa(keys) => {
            for key in keys {
                writeln!(out, "  key {} (RSA {})", key.key_id(), key.modulus_len() * 8)?;
            }
        }
        AgentRecipients::Secret(name, _) => writeln!(out, "  secret {name}")?,
    }
    writeln!(
        out,
        "  {}",
        cryptography(policy.provider.name(), &policy.algorithms, &policy.groups, policy.require_exchange)
    )?;
    writeln!(out, "  early messages {}", if policy.early { "sent" } else { "not sent" })?;
    dangers(&mut out, &policy.dangers)?;
    Ok(out)
}

fn listeners(out: &mut String, listeners: &[Listener]) -> fmt::Result {
    for listener in listeners {
        write!(out, "  listens on {}", listener.address)?;
        if let ListenAddr::Unix(_) = listener.address {
            write!(out, " (mode {:04o})", listener.mode)?;
        }
        match &listener.tls {
            None => write!(out, ": HTTP in plaintext")?,
            Some(tls) => {
                let until = tls.tls.identity().not_after();
                write!(out, ": TLS with {}, valid until {until}", tls.certificate.display())?;
                if let (Some(clients), Some(ca)) = (tls.tls.clients(), &tls.client_ca) {
                    let asked = if clients.required { "required" } else { "asked for" };
                    write!(out, "; client certificates under {} {asked}", ca.display())?;
                }
            }
        }
        if !listener.balancers.is_empty() {
            write!(out, "; PROXY protocol from {}", list(&listener.balancers))?;
        }
        writeln!(out)?;
    }
    Ok(())
}

fn dangers(out: &mut String, dangers: &[Danger]) -> fmt::Result {
    for danger in dangers {
        writeln!(out, "  DANGEROUS {}: {danger}", danger.key())?;
    }
    Ok(())
}

fn cryptography(provider: &str, algorithms: &[Algorithm], groups: &[NamedGroup], required: bool) -> String {
    let algorithms = list(algorithms.iter().map(|algorithm| algorithm.name()));
    let exchange = match (groups, required) {
        ([], _) => "no key exchange".to_owned(),
        (_, true) => format!("key exchange required, {}", list(groups.iter().map(|group| group.name()))),
        (_, false) => format!("key exchange NOT required, {}", list(groups.iter().map(|group| group.name()))),
    };
    format!("{provider}: {algorithms}; {exchange}")
}

fn list<T: ToString>(items: impl IntoIterator<Item = T>) -> String {
    let items: Vec<String> = items.into_iter().map(|item| item.to_string()).collect();
    items.join(", ")
}
