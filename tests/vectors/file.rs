//! The files of test vectors, and the book that is kept of what was run.

use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;
use std::path::PathBuf;

use serde_json::Value;

/// Why a case is not run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[allow(dead_code, reason = "each test names those of others")]
pub(crate) enum Elsewhere {
    /// Requests to a whole gateway: `vectors_gateway` runs them.
    Gateway,
    /// Not for a gateway, but for a single function: `vectors` runs them.
    SingleFunction,
}

/// A file of vectors: of the directory that `SYNCSEAL_VECTORS` names, otherwise of `tests/vectors`.
pub(crate) struct File {
    name: &'static str,
    json: Value,
    /// Where a case belongs that this test does not run.
    elsewhere: fn(&Value) -> Option<Elsewhere>,
}

impl File {
    pub(crate) fn read(name: &'static str, elsewhere: fn(&Value) -> Option<Elsewhere>) -> Self {
        let directory = std::env::var_os("SYNCSEAL_VECTORS")
            .map_or_else(|| PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/vectors")), PathBuf::from);
        let path = directory.join(name);
        let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        Self { name, json: serde_json::from_str(&text).unwrap(), elsewhere }
    }

    pub(crate) fn cases(&self) -> &[Value] {
        self.json["cases"].as_array().unwrap()
    }

    /// A session of the file.
    #[allow(dead_code, reason = "the gateway's cases hold their sessions")]
    pub(crate) fn session(&self, name: &str) -> &Value {
        &self.json["sessions"][name]
    }

    /// A key of the file: its PKCS#8 PEM.
    pub(crate) fn private_pem(&self, name: &str) -> &str {
        text(&self.json["keys"][name]["private_pem"])
    }

    /// Runs the cases of one kind, all but those that belong elsewhere, which [`File::print_elsewhere`] names.
    ///
    /// # Panics
    /// With the names of all cases that failed, and if none was run.
    pub(crate) fn run(&self, kind: &str, run: impl Fn(&Value)) {
        let (mut ran, mut failed) = (0, Vec::new());
        for case in self.cases().iter().filter(|case| self.kind(case) == kind && (self.elsewhere)(case).is_none()) {
            ran += 1;
            if std::panic::catch_unwind(AssertUnwindSafe(|| run(case))).is_err() {
                failed.push(text(&case["name"]));
            }
        }
        println!("{} {kind}: {ran} run, {} failed", self.name, failed.len());
        assert!(
            failed.is_empty(),
            "{} {kind}: {} of {ran} failed:\n  {}",
            self.name,
            failed.len(),
            failed.join("\n  ")
        );
        assert!(ran > 0, "{} has no case of kind {kind} to run", self.name);
    }

    /// Prints the names of the cases that belong elsewhere.
    ///
    /// # Panics
    /// With the names of cases that neither belong elsewhere nor are of a kind that is run.
    pub(crate) fn print_elsewhere(&self, run: &[&str]) {
        let mut not_run = BTreeMap::<_, Vec<_>>::new();
        for case in self.cases() {
            match (self.elsewhere)(case) {
                Some(place) => not_run.entry(place).or_default().push(text(&case["name"])),
                None => assert!(run.contains(&self.kind(case)), "{}: nothing runs {}", self.name, case["name"]),
            }
        }
        for (place, names) in &not_run {
            println!("{}: not run ({place:?}): {}\n  {}", self.name, names.len(), names.join("\n  "));
        }
    }

    /// The kind of a case: in a file of one kind, the file's name.
    fn kind<'a>(&self, case: &'a Value) -> &'a str {
        case.get("kind").map_or(self.name, text)
    }
}

pub(crate) fn text(value: &Value) -> &str {
    value.as_str().unwrap()
}

pub(crate) fn bytes(value: &Value) -> Vec<u8> {
    hex::decode(text(value)).unwrap()
}

pub(crate) fn array<const N: usize>(value: &Value) -> [u8; N] {
    bytes(value).try_into().unwrap()
}

pub(crate) fn number(value: &Value) -> u64 {
    value.as_u64().unwrap()
}
