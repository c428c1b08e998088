//! Holds docs/errors.md to the program: every refusal, every answer of the agent, every log event and every exit status
//! stands in it, with what it says of each, and nothing else does.
//!
//! Log events are found in the sources, read as tokens, so comments and strings do not count.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a document or source that does not load fails the test")]

#[path = "common/sources.rs"]
mod sources;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::process::Command;

use proc_macro2::{TokenStream, TokenTree};
use sources::sources;
use syncseal::seal::Reason;

const LEVELS: [&str; 5] = ["error", "warn", "info", "debug", "trace"];

fn read(path: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap()
}

/// The rows of the tables under one heading of the catalogue, cell by cell, without heads.
fn rows(heading: &str) -> Vec<Vec<String>> {
    let text = read("docs/errors.md");
    let section = text.split("\n## ").find(|section| section.lines().next() == Some(heading)).expect(heading);
    let rows = section.lines().filter(|line| line.starts_with("| "));
    let cells = rows.map(|row| {
        let cells = row.trim().trim_matches('|').split(" | ");
        cells.map(|cell| cell.trim().to_owned()).collect::<Vec<_>>()
    });
    let rows: Vec<Vec<String>> = cells.filter(|cells| cells[0].starts_with('`')).collect();
    for cells in &rows {
        assert!(cells.iter().all(|cell| !cell.is_empty()), "an empty cell: {cells:?}");
    }
    rows
}

/// What stands in backquotes in a cell.
fn quoted(cell: &str) -> Vec<String> {
    cell.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

/// Fails unless both have the same.
#[track_caller]
fn assert_same<T: Ord + std::fmt::Debug>(documented: BTreeSet<T>, real: BTreeSet<T>) {
    let missing: Vec<_> = real.difference(&documented).collect();
    let unknown: Vec<_> = documented.difference(&real).collect();
    assert!(missing.is_empty() && unknown.is_empty(), "not in docs/errors.md: {missing:#?}\nonly there: {unknown:#?}");
}

#[test]
fn every_refusal_is_in_the_catalogue_with_its_statuses() {
    let documented = rows("Refusals").into_iter().map(|cells| {
        let name = quoted(&cells[0]).remove(0);
        (name, cells[1].parse().expect("an HTTP status"), cells[2].parse().expect("a SyncML status"))
    });
    let real = Reason::ALL.map(|reason| (reason.name().to_owned(), reason.status(), reason.syncml_status()));
    assert_same(documented.collect(), real.into_iter().collect());
}

/// The string literals in the function of this name in a source file.
fn literals(file: &str, function: &str) -> BTreeSet<String> {
    let text = read(file);
    let tokens: Vec<TokenTree> = text.parse::<TokenStream>().unwrap().into_iter().collect();
    fn find(tokens: &[TokenTree], function: &str, found: &mut BTreeSet<String>) {
        for (at, token) in tokens.iter().enumerate() {
            let TokenTree::Group(group) = token else { continue };
            let inner: Vec<TokenTree> = group.stream().into_iter().collect();
            let is_body = tokens[..at].windows(2).rev().take(12).any(|pair| {
                matches!(pair, [TokenTree::Ident(fun), TokenTree::Ident(name)] if fun == "fn" && name == function)
            });
            let is_body = is_body && group.delimiter() == proc_macro2::Delimiter::Brace;
            if is_body {
                all(&inner, found);
                return;
            }
            find(&inner, function, found);
        }
    }
    fn all(tokens: &[TokenTree], found: &mut BTreeSet<String>) {
        for token in tokens {
            match token {
                TokenTree::Group(group) => all(&group.stream().into_iter().collect::<Vec<_>>(), found),
                TokenTree::Literal(literal) => found.extend(string(&literal.to_string())),
                _ => {}
            }
        }
    }
    let mut found = BTreeSet::new();
    find(&tokens, function, &mut found);
    found
}

/// The text of a string literal.
fn string(literal: &str) -> Option<String> {
    let text = literal.strip_prefix('"')?.strip_suffix('"')?;
    let mut out = String::new();
    let mut rest = text.chars().peekable();
    while let Some(c) = rest.next() {
        match (c, rest.peek()) {
            ('\\', Some('\n')) => while rest.next_if(|c| c.is_whitespace()).is_some() {},
            ('\\', _) => out.extend(rest.next()),
            _ => out.push(c),
        }
    }
    Some(out)
}

#[test]
fn every_other_answer_is_in_the_catalogue() {
    for (heading, file, function) in [
        ("What the agent answers", "src/agent/refuse.rs", "reason"),
        ("What the gateway declines", "src/policy/objection.rs", "name"),
    ] {
        let documented: BTreeSet<String> = rows(heading).iter().map(|cells| quoted(&cells[0]).remove(0)).collect();
        let mut real = literals(file, function);
        assert!(!real.is_empty(), "{function} of {file}");
        // What comes from the protocol stands among the refusals.
        real.retain(|name| Reason::from_name(name).is_none() || documented.contains(name));
        assert_same(documented, real);
    }
}

#[test]
fn every_exit_status_is_in_the_catalogue() {
    let help = Command::new(env!("CARGO_BIN_EXE_syncseal")).arg("--help").output().unwrap();
    let help = String::from_utf8(help.stdout).unwrap();
    let lines = help.lines().skip_while(|line| *line != "Exit statuses:").skip(1);
    let number = |line: &str| line.strip_prefix("  ")?.split(' ').next()?.parse::<u8>().ok();
    let documented = rows("Exit statuses").into_iter().map(|cells| quoted(&cells[0])[0].parse().unwrap());
    assert_same(documented.collect(), lines.filter_map(number).collect());
}

/// The log events of a source: level and message, with the names of their fields.
fn events(tokens: TokenStream, found: &mut BTreeMap<(String, String), BTreeSet<String>>) {
    let tokens: Vec<TokenTree> = tokens.into_iter().collect();
    for (at, token) in tokens.iter().enumerate() {
        let TokenTree::Group(group) = token else { continue };
        match &tokens[..at] {
            [.., TokenTree::Ident(level), TokenTree::Punct(bang)]
                if bang.as_char() == '!' && LEVELS.iter().any(|name| level == name) =>
            {
                let (message, fields) = event(group.stream());
                found.entry((level.to_string(), message)).or_default().extend(fields);
            }
            _ => events(group.stream(), found),
        }
    }
}

/// What a macro of tracing is given: its message, and the names of its fields.
fn event(tokens: TokenStream) -> (String, BTreeSet<String>) {
    let tokens: Vec<TokenTree> = tokens.into_iter().collect();
    let is = |token: &TokenTree, c: char| matches!(token, TokenTree::Punct(punct) if punct.as_char() == c);
    let mut fields = BTreeSet::new();
    for argument in tokens.split(|token| is(token, ',')) {
        match argument {
            [TokenTree::Literal(literal)] => return (string(&literal.to_string()).unwrap(), fields),
            [TokenTree::Ident(name), colon, ..] if is(colon, ':') && (name == "target" || name == "parent") => {}
            _ => {
                let name = argument.iter().skip_while(|token| is(token, '%') || is(token, '?'));
                let name: String = name.take_while(|token| !is(token, '=')).map(ToString::to_string).collect();
                fields.insert(name);
            }
        }
    }
    panic!("an event without a message: {fields:?}");
}

/// The constants of a source that are string literals.
fn constants(tokens: TokenStream, found: &mut BTreeMap<String, String>) {
    let tokens: Vec<TokenTree> = tokens.into_iter().collect();
    for (at, token) in tokens.iter().enumerate() {
        match (token, tokens.get(at + 1), tokens.get(at + 6)) {
            (TokenTree::Group(group), ..) => constants(group.stream(), found),
            (TokenTree::Ident(word), Some(TokenTree::Ident(name)), Some(TokenTree::Literal(literal)))
                if word == "const" =>
            {
                found.extend(string(&literal.to_string()).map(|text| (format!("{{{name}}}"), text)));
            }
            _ => {}
        }
    }
}

/// Every log event of the crate.
fn real_events() -> BTreeMap<(String, String), BTreeSet<String>> {
    let (mut found, mut texts) = (BTreeMap::new(), BTreeMap::new());
    sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut |_, text| {
        events(text.parse().unwrap(), &mut found);
        constants(text.parse().unwrap(), &mut texts);
    });
    // A message that is a constant is known by its text.
    let by_text = found.into_iter().map(|((level, message), fields)| {
        let message = texts.get(&message).cloned().unwrap_or(message);
        ((level, message), fields)
    });
    by_text.collect()
}

#[test]
fn every_log_event_is_in_the_catalogue_with_its_fields() {
    let mut documented = BTreeSet::new();
    for cells in rows("Log events") {
        let [message, level, fields, _meaning, _what_to_do] = &cells[..] else { panic!("{cells:?}") };
        let fields: BTreeSet<String> = quoted(fields).into_iter().collect();
        let message = message.strip_prefix('`').and_then(|message| message.strip_suffix('`')).unwrap().to_owned();
        assert!(documented.insert((message.clone(), level.clone(), fields)), "{message} stands twice");
    }
    let real = real_events();
    assert!(real.len() > 20, "it has looked at something: {real:?}");
    assert_same(documented, real.into_iter().map(|((level, message), fields)| (message, level, fields)).collect());
}

mod the_reader {
    use super::*;

    #[test]
    fn finds_events_however_they_are_written() {
        let text = r#"
            fn f() { if x { warn!("plain"); } tokio::select! { _ = y => tracing::info!(%a, ?b, c, d = 1, e.f = %g, "with {}", h) } }
            fn g() { debug!(target: "x", error = %error, "in parts, \
                of two lines"); println!("none"); "error!(none)" }
        "#;
        let mut found = BTreeMap::new();
        events(text.parse().unwrap(), &mut found);
        let found: Vec<(String, String, String)> = found
            .into_iter()
            .map(|((level, message), fields)| (level, message, fields.into_iter().collect::<Vec<_>>().join(" ")))
            .collect();
        let expected =
            [("debug", "in parts, of two lines", "error"), ("info", "with {}", "a b c d e.f"), ("warn", "plain", "")];
        let expected = expected.map(|(level, message, fields)| (level.into(), message.into(), fields.into()));
        assert_eq!(found, expected);
    }
}
