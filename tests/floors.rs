//! Keeps the floors: which module of the crate may name which, what the pure ones stay away from, and that nothing
//! panics without saying why it cannot.
//!
//! The sources are read as tokens, so comments and strings do not count, and imports are seen however they are written.
//! Code that is compiled for tests only is left out.

#![allow(clippy::unwrap_used, reason = "a source that does not load fails the test")]

#[path = "common/sources.rs"]
mod sources;

use std::collections::BTreeSet;
use std::path::Path;

use proc_macro2::{Delimiter, TokenStream, TokenTree};
use sources::sources;

/// Every module at the root of the crate, from the lowest floor up, and the others that it may name.
///
/// `gateway` and `agent` name `crypto` because they are who brings a provider, keys and randomness to `seal`.
const FLOORS: [(&str, &[&str]); 12] = [
    ("syncml", &[]),
    ("crypto", &[]),
    ("net", &[]),
    ("seal", &["crypto", "syncml"]),
    ("session", &["crypto", "seal", "syncml"]),
    ("policy", &["crypto", "net", "seal", "session", "syncml"]),
    ("admin", &["net"]),
    ("intake", &["net", "policy"]),
    ("gateway", &["admin", "crypto", "intake", "net", "policy", "seal", "session", "syncml"]),
    ("agent", &["admin", "crypto", "intake", "net", "policy", "seal", "session", "syncml"]),
    ("sample", &["net", "syncml"]),
    ("cli", &["admin", "agent", "crypto", "gateway", "intake", "net", "policy", "sample", "seal", "session", "syncml"]),
];

/// Bytes in, values out.
const PURE: [&str; 3] = ["syncml", "crypto", "seal"];

/// True for what a pure module stays away from: sockets, files, clocks, threads, the process.
fn is_impure(path: &[String]) -> bool {
    let path: Vec<&str> = path.iter().map(String::as_str).collect();
    match path[..] {
        ["tokio" | "tokio_rustls" | "tokio_util" | "tower", ..] => true,
        ["http" | "http_body" | "http_body_util" | "hyper" | "hyper_rustls" | "hyper_util", ..] => true,
        ["std", "*" | "env" | "fs" | "os" | "process" | "thread", ..] => true,
        // Addresses are values; sockets and look-ups are not.
        ["std", "net", name, ..] => !matches!(name, "IpAddr" | "Ipv4Addr" | "Ipv6Addr"),
        ["std", "time", name, ..] => name != "Duration",
        ["std", "net" | "time"] => true,
        _ => false,
    }
}

/// True for what makes randomness: `crypto` offers one source as a value, the other pure modules take it as an argument.
fn is_random(path: &[String]) -> bool {
    path.iter().any(|name| matches!(name.as_str(), "getrandom" | "OsRng" | "SystemRandom"))
}

/// What a source file, or a piece of one, says.
#[derive(Debug, Default)]
struct Reading {
    names: Vec<Name>,
    panics: Vec<Panic>,
    /// Modules in files of their own that are compiled for tests only.
    test_modules: Vec<Vec<String>>,
}

/// A path that is named, from `crate`, `super`, `self` or another crate on.
#[derive(Debug)]
struct Name {
    /// The module that it stands in.
    module: Vec<String>,
    path: Vec<String>,
    line: usize,
}

/// A call that panics, and does not say why it is safe.
#[derive(Debug)]
struct Panic {
    call: String,
    line: usize,
}

/// Reads `text` as the source of `module`.
fn read(module: &[&str], text: &str) -> Reading {
    let module: Vec<String> = module.iter().map(|&name| name.to_owned()).collect();
    let mut reading = Reading::default();
    let lines: Vec<&str> = text.lines().collect();
    let tokens = text.parse().unwrap_or_else(|error| panic!("{module:?}: {error}"));
    reading.walk(tokens, &module, &[], &lines);
    reading
}

impl Reading {
    /// `excused` are the lints for which an attribute above gives a reason.
    fn walk(&mut self, tokens: TokenStream, module: &[String], excused: &[String], lines: &[&str]) {
        let tokens: Vec<TokenTree> = tokens.into_iter().collect();
        self.walk_slice(&tokens, module, excused, lines);
    }

    fn walk_slice(&mut self, tokens: &[TokenTree], module: &[String], excused: &[String], lines: &[&str]) {
        let mut i = 0;
        while let Some(token) = tokens.get(i) {
            let rest = &tokens[i..];
            if let Some((inner, attribute, len)) = attribute(rest) {
                let text = attribute.to_string().replace(char::is_whitespace, "");
                if text == "cfg(test)" || text.starts_with("cfg(all(test,") {
                    if inner {
                        return;
                    }
                    let item = &rest[len..][..item_len(&rest[len..])];
                    if let [.., TokenTree::Ident(word), TokenTree::Ident(name), TokenTree::Punct(_)] = item
                        && word == "mod"
                    {
                        self.test_modules.push([module, &[name.to_string()]].concat());
                    }
                    i += len + item.len();
                    continue;
                }
                let reasons = reasons(&text);
                if !reasons.is_empty() {
                    let end = if inner { rest.len() } else { len + item_len(&rest[len..]) };
                    self.walk_slice(&rest[len..end], module, &[excused, &reasons].concat(), lines);
                    i += end;
                    continue;
                }
                self.walk(attribute, module, excused, lines);
                i += len;
                continue;
            }
            if let Some(call) = panicking(rest) {
                let line = rest[1].span().start().line;
                if !excused.contains(&call.lint) && !has_safe_comment(lines, line) {
                    self.panics.push(Panic { call: call.text, line });
                }
            }
            match token {
                TokenTree::Ident(word) if word == "mod" => {
                    if let [_, TokenTree::Ident(name), TokenTree::Group(body), ..] = rest {
                        let inner = [module, &[name.to_string()]].concat();
                        self.walk(body.stream(), &inner, excused, lines);
                        i += 3;
                    } else {
                        i += 2;
                    }
                }
                TokenTree::Ident(_) => i += self.path(rest, &[], module),
                TokenTree::Group(group) => {
                    self.walk(group.stream(), module, excused, lines);
                    i += 1;
                }
                // The name after a dot is a field or a method.
                TokenTree::Punct(punct)
                    if punct.as_char() == '.' && matches!(rest.get(1), Some(TokenTree::Ident(_))) =>
                {
                    i += 2;
                }
                _ => i += 1,
            }
        }
    }

    /// Notes the path that begins `tokens`, all of it if it is the tree of an import, and says how many tokens it takes.
    fn path(&mut self, tokens: &[TokenTree], prefix: &[String], module: &[String]) -> usize {
        let line = tokens[0].span().start().line;
        let mut path = prefix.to_vec();
        let mut i = 0;
        loop {
            match tokens.get(i) {
                Some(TokenTree::Ident(name)) if name == "self" && !path.is_empty() => {}
                Some(TokenTree::Ident(name)) => path.push(name.to_string()),
                Some(TokenTree::Punct(star)) if star.as_char() == '*' => path.push("*".to_owned()),
                Some(TokenTree::Group(tree)) if tree.delimiter() == Delimiter::Brace => {
                    let tree: Vec<TokenTree> = tree.stream().into_iter().collect();
                    let mut j = 0;
                    while let Some(token) = tree.get(j) {
                        j += match token {
                            TokenTree::Ident(word) if word == "as" => 2,
                            TokenTree::Ident(_) => self.path(&tree[j..], &path, module),
                            TokenTree::Punct(star) if star.as_char() == '*' => self.path(&tree[j..], &path, module),
                            _ => 1,
                        };
                    }
                    return i + 1;
                }
                // The generics of a call: what is inside them is read as what follows.
                _ => break,
            }
            i += 1;
            if !is_path_separator(&tokens[i..]) {
                break;
            }
            i += 2;
        }
        self.names.push(Name { module: module.to_vec(), path, line });
        i
    }
}

impl Name {
    /// The module at the root of the crate that is named, if it is not a name of another crate or of the module's own.
    fn root_module(&self) -> Option<&str> {
        let path: &[String] = match &self.path[..] {
            [first, rest @ ..] if first == "self" => rest,
            path => path,
        };
        let up = path.iter().take_while(|name| *name == "super").count();
        let named = if path.first().is_some_and(|name| name == "crate") {
            path.get(1)
        } else if up > 0 && up == self.module.len() {
            path.get(up)
        } else {
            None
        };
        named.map(String::as_str).filter(|named| self.module.first().is_none_or(|own| own != named))
    }
}

/// Whether it is an inner one, what is in its brackets, and its length in tokens.
fn attribute(tokens: &[TokenTree]) -> Option<(bool, TokenStream, usize)> {
    let is = |token: &TokenTree, c| matches!(token, TokenTree::Punct(punct) if punct.as_char() == c);
    match tokens {
        [hash, TokenTree::Group(group), ..] if is(hash, '#') => Some((false, group.stream(), 2)),
        [hash, bang, TokenTree::Group(group), ..] if is(hash, '#') && is(bang, '!') => Some((true, group.stream(), 3)),
        _ => None,
    }
}

/// The length of the item or statement that begins `tokens`: up to its semicolon, or to the braces that end it.
fn item_len(tokens: &[TokenTree]) -> usize {
    let mut i = 0;
    while let Some((_, _, len)) = attribute(&tokens[i..]) {
        i += len;
    }
    while let Some(token) = tokens.get(i) {
        i += 1;
        match token {
            TokenTree::Punct(punct) if punct.as_char() == ';' => break,
            TokenTree::Group(group) if group.delimiter() == Delimiter::Brace => match tokens.get(i) {
                Some(TokenTree::Punct(punct)) if matches!(punct.as_char(), '.' | '?' | ';') => {}
                Some(TokenTree::Ident(word)) if word == "else" => {}
                _ => break,
            },
            _ => {}
        }
    }
    i
}

/// The lints that an attribute (its text without white space) excuses with a reason.
fn reasons(attribute: &str) -> Vec<String> {
    let lints = attribute.strip_prefix("expect(").or_else(|| attribute.strip_prefix("allow("));
    match lints.and_then(|lints| lints.split_once("reason=\"")) {
        Some((lints, reason)) if !reason.starts_with('"') => {
            lints.split(',').filter_map(|lint| lint.strip_prefix("clippy::")).map(str::to_owned).collect()
        }
        _ => Vec::new(),
    }
}

struct Call {
    text: String,
    /// The clippy lint that forbids it.
    lint: String,
}

/// A panicking call at the head of `tokens`: a method after its dot, a method by its path, or a macro.
fn panicking(tokens: &[TokenTree]) -> Option<Call> {
    let call = |text: &str, lint: &str| Some(Call { text: text.to_owned(), lint: lint.to_owned() });
    let word = |i: usize| match tokens.get(i) {
        Some(TokenTree::Ident(word)) => word.to_string(),
        Some(TokenTree::Punct(punct)) => punct.as_char().to_string(),
        _ => String::new(),
    };
    let arguments = |i: usize| match tokens.get(i) {
        Some(TokenTree::Group(group)) => Some(!group.stream().is_empty()),
        _ => None,
    };
    match (word(0).as_str(), word(1).as_str()) {
        // With an argument it is a method of someone else's, such as that of a key.
        (".", name @ ("unwrap" | "unwrap_err")) if arguments(2) == Some(false) => call(name, "unwrap_used"),
        (".", name @ ("expect" | "expect_err")) if arguments(2) == Some(true) => call(name, "expect_used"),
        ("Option" | "Result", ":") => match word(3).as_str() {
            name @ ("unwrap" | "unwrap_err") => call(name, "unwrap_used"),
            name @ ("expect" | "expect_err") => call(name, "expect_used"),
            _ => None,
        },
        (name @ ("panic" | "todo" | "unimplemented" | "unreachable"), "!") if arguments(2).is_some() => {
            call(name, name)
        }
        _ => None,
    }
}

fn is_path_separator(tokens: &[TokenTree]) -> bool {
    let colon = |token: &TokenTree| matches!(token, TokenTree::Punct(punct) if punct.as_char() == ':');
    matches!(tokens, [first, second, ..] if colon(first) && colon(second))
}

/// True if `// safe: why` stands on the line or in the comment just above it.
fn has_safe_comment(lines: &[&str], line: usize) -> bool {
    let says_why = |line: &str| line.split_once("// safe: ").is_some_and(|(_, why)| !why.trim().is_empty());
    let above = lines[..line - 1].iter().rev().take_while(|line| line.trim_start().starts_with("//"));
    says_why(lines[line - 1]) || above.into_iter().any(|line| says_why(line))
}

/// Every source file of the crate that is not for tests only, with the name it has under `src`.
fn readings() -> Vec<(String, Reading)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut readings = Vec::new();
    sources(&root, &mut |path, text| {
        let file = path.strip_prefix(&root).unwrap().to_str().unwrap().to_owned();
        let reading = read(&module_of(&file), text);
        readings.push((file, reading));
    });
    let tests: Vec<Vec<String>> = readings.iter().flat_map(|(_, reading)| reading.test_modules.clone()).collect();
    readings.retain(|(file, _)| {
        let module = module_of(file);
        !tests.iter().any(|test| module.len() >= test.len() && test.iter().zip(&module).all(|(a, b)| a == b))
    });
    readings.sort_by(|(a, _), (b, _)| a.cmp(b));
    readings
}

fn module_of(file: &str) -> Vec<&str> {
    let path = file.trim_end_matches(".rs").trim_end_matches("/mod");
    if matches!(path, "lib" | "main") { Vec::new() } else { path.split('/').collect() }
}

/// What `reading`, of the module's own source, names and may not.
fn trespasses(module: &str, reading: &Reading) -> Vec<String> {
    let allowed = FLOORS.iter().find(|(name, _)| *name == module).map_or(&[][..], |(_, allowed)| allowed);
    let mut found = Vec::new();
    for name in &reading.names {
        let path = name.path.join("::");
        match name.root_module() {
            Some(named) if !allowed.contains(&named) => found.push(format!("{}: {module} names {path}", name.line)),
            _ => {}
        }
        if PURE.contains(&module) && (is_impure(&name.path) || module != "crypto" && is_random(&name.path)) {
            found.push(format!("{}: {module} is pure and names {path}", name.line));
        }
    }
    found
}

#[test]
fn modules_keep_to_their_floors() {
    let sources = readings();
    let mut found = Vec::new();
    for (file, reading) in &sources {
        if let Some(module) = module_of(file).first() {
            found.extend(trespasses(module, reading).iter().map(|what| format!("src/{file}:{what}")));
        }
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
    // It has looked at something.
    let names = sources.iter().map(|(_, reading)| reading.names.len()).sum::<usize>();
    assert!(sources.len() > FLOORS.len() && names > 1000, "{} files, {names} names", sources.len());
}

#[test]
fn every_module_has_a_floor() {
    let modules: BTreeSet<String> =
        readings().iter().filter_map(|(file, _)| module_of(file).first().map(|&name| name.to_owned())).collect();
    let floors: BTreeSet<String> = FLOORS.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(modules, floors, "the modules in src, and those with a floor here");
}

#[test]
fn floors_lead_down() {
    for (i, (module, allowed)) in FLOORS.iter().enumerate() {
        for named in *allowed {
            let at = FLOORS.iter().position(|(name, _)| name == named);
            assert!(at.is_some_and(|at| at < i), "{module} may name {named}");
        }
    }
}

#[test]
fn nothing_panics_without_saying_why_it_cannot() {
    let mut found = Vec::new();
    for (file, reading) in readings() {
        found.extend(reading.panics.iter().map(|panic| format!("src/{file}:{}: {}", panic.line, panic.call)));
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
}

mod the_checker {
    use super::*;

    fn trespass(module: &[&str], text: &str) -> Vec<String> {
        trespasses(module[0], &read(module, text))
    }

    #[test]
    fn sees_a_module_of_a_higher_floor_however_it_is_named() {
        for text in [
            "use crate::seal;",
            "use crate::seal::Reason;",
            "pub use crate::{crypto::{self, Key}, seal::Reason};",
            "use crate::{crypto, seal as s};",
            "use {std::fmt, crate::seal::*};",
            "use super::seal::Reason;",
            "mod inner { use super::super::seal; }",
            "fn f() -> crate::seal::Reason { g() }",
            "fn f() { g::<crate::seal::Reason>() }",
            "fn f() { if x { tokio::select! { _ = crate::seal::open() => {} } } }",
            "impl crate::seal::Open for X {}",
            "#[derive(crate::seal::Open)] struct X;",
            "#[cfg(not(test))] use crate::seal;",
            "#[cfg(any(test, unix))] use crate::seal;",
            "#[cfg(test)] use a::{b}; use crate::seal;",
            "#[cfg(test)] mod tests { } use crate::seal;",
            "use crate::unheard_of;",
            "use crate::*;",
        ] {
            assert_eq!(trespass(&["net"], text).iter().filter(|what| !what.contains("crypto")).count(), 1, "{text}");
        }
        assert_eq!(trespass(&["net", "server"], "use super::super::seal;").len(), 1);
        assert_eq!(trespass(&["seal"], "use crate::{crypto, session};").len(), 1);
        assert_eq!(trespass(&["session"], "use crate::policy;").len(), 1);
        assert_eq!(trespass(&["sample"], "use crate::seal;").len(), 1);
        assert_eq!(trespass(&["gateway"], "use crate::agent;").len(), 1);
    }

    #[test]
    fn lets_pass_what_is_allowed_and_what_is_no_code() {
        for (module, text) in [
            (&["seal"][..], "use crate::{crypto::Key, syncml, seal::open};"),
            (&["seal", "open"], "use super::{close, super_secret}; use super::super::crypto;"),
            (&["net"], "use hyper::Request; pub(crate) fn f() { self.crate_name(); super::net::g() }"),
            (&["net"], "//! See [`crate::seal`].\n/* crate::seal */ const A: &str = \"crate::seal\";"),
            (&["net"], "#[cfg(test)] use crate::seal; #[cfg(test)] mod tests { use crate::seal; }"),
            (&["net"], "#[cfg(test)] #[path = \"x\"] fn f() -> Box<A> where A: B { crate::seal::open() }"),
            (&["net"], "#![cfg(test)] use crate::seal;"),
            (&["net", "server"], "mod inner { use super::super::seal_of_approval; }"),
            (&["cli"], "use crate::{agent, gateway, net};"),
        ] {
            assert!(trespass(module, text).is_empty(), "{text}");
        }
    }

    #[test]
    fn sees_what_is_not_pure() {
        for text in [
            "use std::time::Instant;",
            "use std::{fmt, time::{Duration, SystemTime}};",
            "use std::time;",
            "fn f() { std::fs::read(a) }",
            "use std::net::TcpStream;",
            "use tokio::time::sleep;",
            "use hyper::body::Incoming;",
            "fn f() { OsRng.fill(a) }",
            "use crate::crypto::SystemRandom;",
        ] {
            assert_eq!(trespass(&["seal"], text).len(), 1, "{text}");
            assert!(trespass(&["cli"], text).is_empty(), "{text}");
        }
        for text in ["use std::time::Duration;", "use std::net::{IpAddr, Ipv6Addr};", "#[cfg(test)] use std::fs;"] {
            assert!(trespass(&["seal"], text).is_empty(), "{text}");
        }
    }

    #[test]
    fn sees_calls_that_panic() {
        for text in [
            "fn f() { a.unwrap() }",
            "fn f() { a\n    .expect(\"b\")\n    .c }",
            "fn f() { a.map(|b| b.unwrap_err()) }",
            "fn f() { a.map(Result::unwrap) }",
            "fn f() { panic!(\"a\") }",
            "fn f() { match a { _ => unreachable!() } }",
            "fn f() { todo!() }",
            "fn f() { unimplemented!() }",
            "// safe:\nfn f() { a.unwrap() }",
            "// safe: but far away\n\nfn f() { a.unwrap() }",
            "#[expect(clippy::unwrap_used)] fn f() { a.unwrap() }",
            "#[expect(clippy::unwrap_used, reason = \"\")] fn f() { a.unwrap() }",
            "#[expect(clippy::expect_used, reason = \"b\")] fn f() { a.unwrap() }",
            "#[expect(clippy::unwrap_used, reason = \"b\")] fn f() {} fn g() { a.unwrap() }",
            "fn f() { #[expect(clippy::unwrap_used, reason = \"b\")] let a = b.unwrap(); c.unwrap() }",
        ] {
            assert_eq!(read(&["net"], text).panics.len(), 1, "{text}");
        }
    }

    #[test]
    fn lets_pass_calls_that_say_why_and_tests() {
        for text in [
            "fn f() { key.unwrap(wrapped); a.unwrap_or(b); scanner.expect(); panic != a }",
            "fn f() { a.unwrap() } // safe: a is there",
            "fn f() {\n    // safe: a is there,\n    // for it is\n    a.unwrap()\n}",
            "#[expect(clippy::unwrap_used, reason = \"b\")] fn f() { g(|| a.unwrap()) }",
            "fn f() { #[expect(clippy::expect_used, reason = \"b\")] let a = match b { _ => c }.expect(\"d\"); }",
            "#[cfg(test)] mod tests { fn f() { a.unwrap() } }",
            "#[cfg(test)] impl X { fn f() { panic!() } }",
            "/// a.unwrap()\nfn f() { \"panic!()\" }",
        ] {
            assert!(read(&["net"], text).panics.is_empty(), "{text}");
        }
    }

    #[test]
    fn tells_modules_for_tests_from_others() {
        let reading = read(&["net", "server"], "#[cfg(test)] mod tests; mod other; #[cfg(test)] pub(crate) mod more;");
        assert_eq!(reading.test_modules, [["net", "server", "tests"], ["net", "server", "more"]]);
    }
}
