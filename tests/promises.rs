//! `docs/security.md` names for each promise the tests that hold it. A promise whose test is gone, or a refusal that no
//! promise speaks of, fails here.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a document or source that cannot be read fails the test")]

#[path = "common/sources.rs"]
mod sources;

use std::collections::BTreeSet;
use std::path::Path;

use sources::sources;
use syncseal::seal::Reason;

const SECURITY: &str = include_str!("../docs/security.md");

/// What stands between backquotes in a line.
fn quoted(line: &str) -> impl Iterator<Item = &str> {
    line.split('`').skip(1).step_by(2)
}

/// A function's name in snake case, with the module or target that it stands in before it: `numbers::a_replay`.
fn is_test_name(code: &str) -> bool {
    code.split_once("::").is_some()
        && code.split("::").all(|part| {
            part.starts_with(|c: char| c.is_ascii_lowercase())
                && part.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
        })
}

/// The tests that are named, wherever they are.
fn promised() -> Vec<&'static str> {
    SECURITY.lines().flat_map(quoted).filter(|code| is_test_name(code)).collect()
}

/// The tests that there are, each as `file::name`; a file called `mod`, `main` or `tests` goes by its folder's name.
fn tests() -> BTreeSet<String> {
    let mut tests = BTreeSet::new();
    for folder in ["src", "tests"] {
        sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join(folder), &mut |path, source| {
            let mut names = path.ancestors().map(|path| path.file_stem().unwrap().to_str().unwrap());
            let module = names.find(|name| !matches!(*name, "mod" | "main" | "tests")).unwrap();
            tests.extend(test_names(source).map(|name| format!("{module}::{name}")));
        });
    }
    tests
}

/// The functions of a source under `#[test]` or `#[tokio::test]`, and those that `proptest!` makes of the same.
fn test_names(source: &str) -> impl Iterator<Item = &str> {
    let mut is_test = false;
    source.lines().map(str::trim_start).filter_map(move |line| {
        if line == "#[test]" || line.starts_with("#[tokio::test") {
            is_test = true;
        } else if line == "#[ignore]" || line.starts_with("#[ignore ") {
            is_test = false;
        } else if !line.starts_with("#[") && !line.starts_with("//") {
            let name = line.strip_prefix("async ").unwrap_or(line).strip_prefix("fn ").filter(|_| is_test);
            is_test = false;
            return name.and_then(|name| name.split(['(', '<']).next());
        }
        None
    })
}

#[test]
fn every_test_that_holds_a_promise_is_there() {
    let (promised, tests) = (promised(), tests());
    assert!(promised.len() > 50, "only {} tests are named", promised.len());
    let gone: Vec<_> = promised.into_iter().filter(|name| !tests.contains(*name)).collect();
    assert!(gone.is_empty(), "docs/security.md names tests that are gone: {gone:#?}");
}

#[test]
fn every_promise_names_a_test() {
    let promises = SECURITY.split("\n### ").skip(1);
    let mut seen = 0;
    for promise in promises {
        seen += 1;
        let title = promise.lines().next().unwrap();
        let section = promise.split("\n## ").next().unwrap();
        for part in ["Against: ", "Breach: ", "Held by "] {
            assert!(section.contains(&format!("\n\n{part}")), "{title} does not say {part:?}");
        }
        let held = section.split("\n\n").find(|paragraph| paragraph.starts_with("Held by")).unwrap();
        assert!(held.lines().flat_map(quoted).any(is_test_name), "{title} names no test");
    }
    assert!(seen > 5, "only {seen} promises");
}

#[test]
fn every_refusal_is_spoken_of() {
    let codes: BTreeSet<_> = SECURITY.lines().flat_map(quoted).collect();
    for reason in Reason::ALL {
        assert!(codes.contains(reason.name()), "docs/security.md says nothing of {}", reason.name());
    }
}

#[test]
fn the_rsa_crate_does_no_private_operation_beside_aws_lc() {
    let mut found = Vec::new();
    sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut |path, source| {
        let calls = [".decrypt(", ".decrypt_blinded("].iter().flat_map(|call| source.match_indices(call));
        if !path.ends_with("crypto/aws_lc.rs") {
            found.extend(calls.map(|(at, _)| (path.to_owned(), source[..at].to_owned())));
        }
    });
    let [(path, before)] = &found[..] else { panic!("{} private operations", found.len()) };
    assert!(path.ends_with("crypto/rustcrypto.rs"), "{}", path.display());
    let module = before.rfind("mod rsa_crate").expect("the module that is left out beside AWS-LC");
    let attribute = before[..module].lines().rev().nth(1).unwrap();
    assert_eq!(attribute, "#[cfg(any(test, not(feature = \"aws-lc\")))]");
}

#[test]
fn tests_are_found_by_their_attribute() {
    let source = "#[test]\nfn one() {}\n\nfn two() {}\n  #[tokio::test(start_paused = true)]\n  // why\n  async fn three() {}\n\
                  #[test]\n#[ignore]\nfn four() {}\n#[test]\nfn five(a: u8, b in 0..3) {}\n";
    assert_eq!(test_names(source).collect::<Vec<_>>(), ["one", "three", "five"]);
}
