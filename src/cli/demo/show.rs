//! How the demo prints: lines with a label each, so that `grep wire` gives what was on the wire, and the table.

use std::io::{Stdout, Write};
use std::time::Duration;

use anstream::AutoStream;
use anstyle::{AnsiColor, Style};

use super::tap::{HttpExchange, HttpMessage};
use crate::cli::inspect;
use crate::seal;

const BOLD: Style = Style::new().bold();
const DIM: Style = Style::new().dimmed();
const GOOD: Style = AnsiColor::Green.on_default();
const BAD: Style = AnsiColor::Red.on_default().bold();

/// Bytes in a row of hexadecimal.
const ROW: usize = 16;

/// The printed page: what was said, and how many expectations did not hold.
pub(super) struct Show {
    /// Takes colours out unless it is a terminal whose user wants them.
    out: AutoStream<Stdout>,
    steps: usize,
    failed: usize,
    rows: Vec<Row>,
}

/// A line of the table at the end.
struct Row {
    step: String,
    messages: usize,
    plain: usize,
    sealed: usize,
    result: String,
}

impl Show {
    pub(super) fn new() -> Self {
        Self { out: anstream::stdout(), steps: 0, failed: 0, rows: Vec::new() }
    }

    /// How many expectations did not hold.
    pub(super) fn failed(&self) -> usize {
        self.failed
    }

    /// Begins a part.
    pub(super) fn heading(&mut self, text: &str) {
        self.write(&format!("\n{BOLD}{text}{BOLD:#}\n"));
    }

    /// Begins a step.
    pub(super) fn step(&mut self, text: &str) {
        self.steps += 1;
        self.heading(&format!("{}. {text}", self.steps));
    }

    /// One line.
    pub(super) fn line(&mut self, label: &str, text: &str) {
        if text.is_empty() {
            return self.write(&format!("  {DIM}{label}{DIM:#}\n"));
        }
        self.write(&format!("  {DIM}{label:<7}{DIM:#} {text}\n"));
    }

    /// A command to be copied.
    pub(super) fn command(&mut self, text: &str) {
        self.write(&format!("  {text}\n"));
    }

    /// Says what was expected and whether it is so.
    pub(super) fn check(&mut self, holds: bool, what: &str) {
        if holds {
            self.line("check", &format!("{GOOD}ok{GOOD:#}      {what}"));
        } else {
            self.failed += 1;
            self.line("check", &format!("{BAD}FAILED{BAD:#}  {what}"));
        }
    }

    /// Says whether bytes were found in a recording, and whether that is as it should be.
    pub(super) fn found(&mut self, what: &str, found: bool, expected: bool) {
        let style = if found { BAD } else { GOOD };
        self.line("spy", &format!("  {what:<48} found: {style}{}{style:#}", if found { "yes" } else { "no" }));
        if found != expected {
            self.check(false, &format!("{what}: found: {}", if expected { "yes" } else { "no" }));
        }
    }

    /// A message as SyncML: what it is, and the part of it that tells most.
    pub(super) fn document(&mut self, label: &str, bytes: &[u8]) {
        let text = inspect::text(bytes);
        let summary = ["commands:", "MsgID:"].map(|name| text.lines().find_map(|line| line.trim().strip_prefix(name)));
        let [commands, msg_id] = summary.map(|value| value.unwrap_or_default().trim());
        let form = text.lines().next().unwrap_or_default();
        self.line(label, &format!("message {msg_id}: {commands}   ({form})"));
        self.lines(label, &excerpt(&text));
    }

    /// A message on the wire: its first line, what its seal or its refusal says, and of a seal some bytes.
    pub(super) fn wire(&mut self, label: &str, message: &HttpMessage) {
        let body = message.body();
        self.line(label, &format!("{}   {}   {} bytes", message.start_line, message.content_type, digits(body.len())));
        // The first line says no more than that.
        let text: Vec<String> = inspect::text(body).lines().skip(1).map(|line| line.trim_start().to_owned()).collect();
        self.lines(label, &join_arrays(&text));
        if message.content_type == seal::CONTENT_TYPE {
            let end = body.len().saturating_sub(ROW);
            for (offset, row) in [(0, body.get(..ROW)), (end, body.get(end..))] {
                self.line(label, &format!("  {}", hex_row(offset, row.unwrap_or_default())));
            }
        }
    }

    /// A document on the wire, whole, as `inspect` shows it.
    pub(super) fn sealed_document(&mut self, label: &str, message: &HttpMessage) {
        let HttpMessage { start_line, content_type, .. } = message;
        self.line(label, &format!("{start_line}   {content_type}   {} bytes", digits(message.body().len())));
        let text: Vec<String> = inspect::text(message.body()).lines().skip(1).map(str::to_owned).collect();
        self.lines(label, &text);
    }

    fn lines(&mut self, label: &str, lines: &[String]) {
        lines.iter().for_each(|line| self.line(label, &format!("  {line}")));
    }

    /// What is left to see of exchanges.
    pub(super) fn sizes_and_times(&mut self, exchanges: &[HttpExchange]) {
        self.line("spy", "An eavesdropper sees what the seals say of themselves, sizes and times:");
        for exchange in exchanges {
            self.line(
                "spy",
                &format!(
                    "  at {:>7}   {:>7} bytes to the gateway, {:>7} back after {}",
                    seconds(exchange.request.at),
                    digits(exchange.request.bytes.len()),
                    digits(exchange.response.bytes.len()),
                    seconds(exchange.took()),
                ),
            );
        }
    }

    /// Adds a line to the table.
    pub(super) fn row(&mut self, step: &str, messages: usize, plain: usize, sealed: usize, result: impl Into<String>) {
        let step = format!("{}. {step}", self.steps);
        self.rows.push(Row { step, messages, plain, sealed, result: result.into() });
    }

    /// Prints the table.
    pub(super) fn table(&mut self) {
        self.heading("What passed, in both directions");
        let rows = std::mem::take(&mut self.rows);
        let head =
            format!("{:<28} {:>8} {:>12} {:>12}   {}", "step", "messages", "bytes plain", "on the wire", "result");
        self.write(&format!("  {DIM}{head}{DIM:#}\n"));
        for Row { step, messages, plain, sealed, result } in rows {
            let shown = |number| if number == 0 { "-".to_owned() } else { digits(number) };
            let [messages, plain, sealed] = [messages, plain, sealed].map(shown);
            self.write(&format!("  {step:<28} {messages:>8} {plain:>12} {sealed:>12}   {result}\n"));
        }
        self.write(&format!("  {DIM}Bytes are those of HTTP bodies; on the wire, handshakes included.{DIM:#}\n"));
    }

    fn write(&mut self, text: &str) {
        // Whoever closed it has read enough.
        let _ = self.out.write_all(text.as_bytes()).and_then(|()| self.out.flush());
    }
}

/// Of a document as `inspect` shows it the first contact, or else the credentials, or else the first Status.
fn excerpt(text: &str) -> Vec<String> {
    const TELLING: [(&str, &str); 3] =
        [("<Data>BEGIN:VCARD", "</Data>"), ("<Cred>", "</Cred>"), ("<Status>", "</Status>")];
    let lines: Vec<&str> = text.lines().collect();
    let begin = |first: &str| lines.iter().position(|line| line.trim_start().starts_with(first));
    let Some((begin, last)) = TELLING.iter().find_map(|(first, last)| Some((begin(first)?, *last))) else {
        return Vec::new();
    };
    let rest = lines.get(begin..).unwrap_or_default();
    let end = rest.iter().position(|line| line.trim_start().starts_with(last)).unwrap_or(rest.len());
    let indent = rest.first().map_or(0, |line| line.len() - line.trim_start().len());
    // The lines of a contact are not indented.
    let margin_off = |line: &&str| {
        let split = line.split_at_checked(indent).filter(|(margin, _)| margin.trim().is_empty());
        split.map_or(*line, |(_, rest)| rest).to_owned()
    };
    let part: Vec<String> = rest.iter().take(end + 1).map(margin_off).collect();
    join_arrays(&part)
}

/// Pretty JSON with each array on one line.
fn join_arrays(lines: &[String]) -> Vec<String> {
    let mut joined: Vec<String> = Vec::new();
    for line in lines {
        match joined.last_mut() {
            Some(open) if open.contains(": [") && !open.contains(']') => {
                let space = if open.ends_with(',') { " " } else { "" };
                open.push_str(&format!("{space}{}", line.trim_start()));
            }
            _ => joined.push(line.clone()),
        }
    }
    joined
}

/// A row of bytes in hexadecimal, and as far as they are text, in ASCII.
fn hex_row(offset: usize, bytes: &[u8]) -> String {
    let hex: Vec<String> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    let ascii = |byte: &u8| if byte.is_ascii_graphic() || *byte == b' ' { char::from(*byte) } else { '.' };
    let ascii: String = bytes.iter().map(ascii).collect();
    format!("{offset:06x}  {:<47}  |{ascii}|", hex.join(" "))
}

fn seconds(duration: Duration) -> String {
    format!("{:.3} s", duration.as_secs_f64())
}

/// A number with its thousands set off.
pub(super) fn digits(number: usize) -> String {
    let plain = number.to_string();
    let mut out = String::with_capacity(plain.len() + plain.len() / 3);
    for (index, digit) in plain.chars().enumerate() {
        if index > 0 && (plain.len() - index).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_hold_is_counted() {
        let mut show = Show::new();
        show.check(true, "");
        show.found("", false, false);
        show.found("", true, true);
        assert_eq!(show.failed(), 0);
        show.check(false, "");
        show.found("", true, false);
        show.found("", false, true);
        assert_eq!(show.failed(), 3);
    }

    #[test]
    fn thousands_are_set_off() {
        let numbers = [0, 999, 1000, 12_345, 1_234_567];
        assert_eq!(numbers.map(digits), ["0", "999", "1,000", "12,345", "1,234,567"]);
    }

    #[test]
    fn the_excerpt_is_the_first_contact() {
        let text = "XML\n  <Cred>\n  </Cred>\n    <Data>BEGIN:VCARD\nFN:Ada\n</Data>\n    <Data>BEGIN:VCARD\n</Data>\n";
        assert_eq!(excerpt(text), ["<Data>BEGIN:VCARD", "FN:Ada", "</Data>"]);
        assert_eq!(excerpt("XML\n  <Cred>\n    <Data/>\n  </Cred>\n"), ["<Cred>", "  <Data/>", "</Cred>"]);
    }

    #[test]
    fn arrays_are_joined() {
        let lines = ["{", "  \"a\": [", "    1,", "    2", "  ],", "  \"b\": 3", "}"].map(str::to_owned);
        assert_eq!(join_arrays(&lines), ["{", "  \"a\": [1, 2],", "  \"b\": 3", "}"]);
    }
}
