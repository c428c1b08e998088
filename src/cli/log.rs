//! Logs: on stderr, as lines for people or as JSON.

use std::io::{self, IsTerminal};

use clap::ValueEnum;
use clap::builder::PossibleValue;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::prelude::*;
use tracing_subscriber::{Registry, fmt, registry, reload};

use crate::policy::{self, Log, LogFormat};

/// Options of the verbs that write logs; they come before what the policy says.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Logs (on stderr)")]
pub(super) struct LogArgs {
    /// The form of logs: for people, for machines, or by whether stderr is a terminal.
    #[arg(long, value_name = "FORMAT")]
    log_format: Option<LogFormat>,

    /// What is logged: a level, or several with modules, such as `info,syncseal::seal=debug`.
    #[arg(long, value_name = "FILTER", value_parser = filter)]
    log_level: Option<Targets>,
}

fn filter(text: &str) -> Result<Targets, String> {
    policy::parse_filter(text).ok_or_else(|| format!("allowed: {}", policy::FILTER_ALLOWED))
}

impl ValueEnum for LogFormat {
    fn value_variants<'a>() -> &'a [Self] {
        &Self::ALL
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        Some(PossibleValue::new(self.name()))
    }
}

impl LogArgs {
    /// Sends logs to stderr from here on, as these options say, and where they say nothing, `log`. What is logged can be
    /// changed by what is returned.
    pub(super) fn start(&self, log: &Log) -> LogFilter {
        let terminal = io::stderr().is_terminal();
        let json = match self.log_format.unwrap_or(log.format) {
            LogFormat::Auto => !terminal,
            LogFormat::Text => false,
            LogFormat::Json => true,
        };
        let (filter, handle) = reload::Layer::new(self.log_level.clone().unwrap_or_else(|| log.filter.clone()));
        let (text, json) = if json {
            let layer = fmt::layer().json().with_current_span(false).with_span_list(false);
            (None, Some(layer.with_writer(io::stderr)))
        } else {
            (Some(fmt::layer().with_ansi(terminal).with_writer(io::stderr)), None)
        };
        // There is another subscriber only if this was called before.
        let _ = registry().with(filter).with(text).with(json).try_init();
        LogFilter(self.log_level.is_none().then_some(handle))
    }
}

/// What is logged; it stays as it is if the command line says it.
#[derive(Clone, Debug)]
pub(super) struct LogFilter(Option<reload::Handle<Targets, Registry>>);

impl LogFilter {
    /// Logs from here on what `log` says.
    pub(super) fn set(&self, log: &Log) {
        if let Some(handle) = &self.0 {
            // It fails only once nobody logs any more.
            let _ = handle.reload(log.filter.clone());
        }
    }
}
