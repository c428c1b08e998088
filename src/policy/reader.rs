//! Reads tables key by key, remembers every key that was asked for, and collects faults instead of stopping at one.
//!
//! What is known is what was asked for: there is no second list of keys that could differ. A reader of a value says
//! `None` after it has reported why; whoever asked goes on with the rest, and no policy is made once there is a fault.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::DirEntry;
use std::ops::Range;
use std::path::{Path, PathBuf};

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::fault::{Cause, Fault, Place};

/// What a policy takes from the environment: the variables `SYNCSEAL_TABLE__KEY`, which override keys, and where the
/// service manager put the files that it hands over (`CREDENTIALS_DIRECTORY`, systemd.exec(5)).
#[derive(Clone, Debug, Default)]
pub struct Environment {
    variables: BTreeMap<String, String>,
    credentials: Option<PathBuf>,
}

impl<K: Into<OsString>, V: Into<OsString>> FromIterator<(K, V)> for Environment {
    /// Keeps the variables that are meant for policies; bytes that are not UTF-8 are replaced, and refused later.
    fn from_iter<I: IntoIterator<Item = (K, V)>>(variables: I) -> Self {
        let text = |value: &OsString| value.to_string_lossy().into_owned();
        let mut env = Self::default();
        for (name, value) in variables {
            let (name, value) = (text(&name.into()), value.into());
            if name == "CREDENTIALS_DIRECTORY" {
                env.credentials = Some(value.into());
            } else if name.starts_with(PREFIX) && name.contains("__") {
                env.variables.insert(name, text(&value));
            }
        }
        env
    }
}

impl Environment {
    /// Whether it overrides this key of this table.
    pub fn overrides(&self, table: &str, key: &str) -> bool {
        self.variables.contains_key(&variable(table, key))
    }
}

/// The variable that overrides a key of a table.
fn variable(table: &str, key: &str) -> String {
    format!("{PREFIX}{}__{}", table.to_uppercase(), key.to_uppercase())
}

const PREFIX: &str = "SYNCSEAL_";

/// A policy that is being read.
pub(super) struct Reader<'a> {
    text: &'a str,
    base: &'a Path,
    credentials: Option<&'a Path>,
    variables: BTreeMap<&'a str, Spanned<DeValue<'a>>>,
    faults: RefCell<Vec<Fault>>,
    known: RefCell<Vec<Known>>,
    strangers: RefCell<Vec<Stranger>>,
    files: RefCell<Vec<PathBuf>>,
}

/// A key that was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Known {
    /// Its table, without an index: `route`.
    table: String,
    key: &'static str,
    /// The variable that overrides it.
    pub(super) variable: Option<String>,
}

impl Known {
    pub(super) fn path(&self) -> String {
        join(&self.table, self.key)
    }
}

/// A key that nobody asked for.
struct Stranger {
    place: Place,
    path: String,
    table: String,
    key: String,
}

impl<'a> Reader<'a> {
    /// Reads `text`; relative paths in it are relative to `base`.
    pub(super) fn new(text: &'a str, base: &'a Path, env: &'a Environment) -> Self {
        // A variable holds a TOML value; what is not one is a string, so that nobody has to quote twice.
        let value = |text: &'a str| {
            DeValue::parse(text).unwrap_or_else(|_| Spanned::new(0..text.len(), DeValue::String(text.into())))
        };
        let variables = env.variables.iter().map(|(name, text)| (name.as_str(), value(text))).collect();
        let (faults, known, strangers, files) = Default::default();
        Self { text, base, credentials: env.credentials.as_deref(), variables, faults, known, strangers, files }
    }

    /// The file's root table.
    pub(super) fn root(&'a self, table: &'a Spanned<DeTable<'a>>) -> Section<'a> {
        let table = Some((table.get_ref(), 0..0));
        Section { reader: self, path: String::new(), kind: String::new(), table, overridable: false, asked: Vec::new() }
    }

    pub(super) fn report(&self, place: Place, path: impl Into<String>, cause: Cause) {
        self.faults.borrow_mut().push(Fault { place, path: path.into(), cause });
    }

    /// The place at which `span` begins.
    pub(super) fn place(&self, span: &Range<usize>) -> Place {
        let before = self.text.get(..span.start).unwrap_or(self.text);
        let line_start = before.rfind('\n').map_or(0, |at| at + 1);
        let column = before.get(line_start..).map_or(0, |line| line.chars().count()) + 1;
        Place::File { line: before.bytes().filter(|byte| *byte == b'\n').count() + 1, column }
    }

    /// `path` as it is meant in the policy file: the credential of that name, if the service manager handed one over,
    /// otherwise relative to the policy.
    pub(super) fn resolve(&self, path: &str) -> PathBuf {
        let credential = self.credentials.map(|directory| directory.join(credential_name(path)));
        credential.filter(|file| file.is_file()).unwrap_or_else(|| self.base.join(path))
    }

    /// The credentials that were handed over for the files of the directory `path`, each with its name in there.
    pub(super) fn credentials_of(&self, path: &str) -> Vec<(String, PathBuf)> {
        let prefix = format!("{}_", credential_name(path));
        let entries = self.credentials.and_then(|directory| directory.read_dir().ok()).into_iter().flatten();
        let named = |entry: DirEntry| {
            let name = entry.file_name().into_string().ok()?.strip_prefix(&prefix)?.to_owned();
            Some((name, entry.path()))
        };
        entries.filter_map(|entry| named(entry.ok()?)).collect()
    }

    /// The file or directory of this name, which the policy is made from.
    pub(super) fn file(&self, path: &str) -> PathBuf {
        let file = self.resolve(path);
        let mut files = self.files.borrow_mut();
        if !files.contains(&file) {
            files.push(file.clone());
        }
        file
    }

    /// The files and directories that the policy is made from, as far as they were asked for.
    pub(super) fn files(&self) -> Vec<PathBuf> {
        self.files.borrow().clone()
    }

    /// Reports what nobody asked for, and gives every fault in the order of the file; and every known key.
    pub(super) fn finish(self) -> (Vec<Fault>, Vec<Known>) {
        let known = self.known.into_inner();
        let mut faults = self.faults.into_inner();
        for stranger in self.strangers.into_inner() {
            let here = || known.iter().filter(|known| known.table == stranger.table);
            let nearest = nearest(&stranger.key, here().map(|known| (known.key, known.key.to_owned())))
                .or_else(|| nearest(&stranger.key, known.iter().map(|known| (known.key, known.path()))));
            let known = here().map(|known| known.key.to_owned()).collect();
            faults.push(Fault {
                place: stranger.place,
                path: stranger.path,
                cause: Cause::UnknownKey { nearest, known },
            });
        }
        for name in self.variables.keys() {
            let names = || known.iter().filter_map(|known| known.variable.as_deref());
            if !names().any(|known| known == *name) {
                let nearest = nearest(name, names().map(|known| (known, known.to_owned())));
                let place = Place::Variable((*name).to_owned());
                faults.push(Fault { place, path: String::new(), cause: Cause::UnknownVariable { nearest } });
            }
        }
        faults.sort_by(|a, b| a.place.cmp(&b.place));
        (faults, known)
    }
}

/// What systemd calls the credential of a file, when `LoadCredential=` names its directory.
fn credential_name(path: &str) -> String {
    path.trim_end_matches('/').replace('/', "_")
}

/// Of `(name, shown)`, what is shown for the name that is most like `word`, if any is like it.
fn nearest<'n>(word: &str, names: impl Iterator<Item = (&'n str, String)>) -> Option<String> {
    let alike = names.map(|(name, shown)| (strsim::jaro_winkler(word, name), shown)).filter(|(alike, _)| *alike > 0.8);
    alike.max_by(|a, b| a.0.total_cmp(&b.0)).map(|(_, shown)| shown)
}

fn join(table: &str, key: &str) -> String {
    match (table, key) {
        ("", name) | (name, "") => name.to_owned(),
        _ => format!("{table}.{key}"),
    }
}

fn tables_allowed(key: &str) -> String {
    format!("one or more tables, [[{key}]]")
}

/// A table, there or not.
pub(super) struct Section<'a> {
    reader: &'a Reader<'a>,
    path: String,
    kind: String,
    table: Option<(&'a DeTable<'a>, Range<usize>)>,
    overridable: bool,
    asked: Vec<&'static str>,
}

impl<'a> Section<'a> {
    /// The text of the whole file.
    pub(super) fn text(&self) -> &'a str {
        self.reader.text
    }

    /// What stands at `key`: in the environment, else in the file.
    pub(super) fn find(&mut self, key: &'static str) -> Option<Setting<'a>> {
        let reader = self.reader;
        let variable = self.overridable.then(|| variable(&self.kind, key));
        let overriding = variable.as_deref().and_then(|name| reader.variables.get_key_value(name));
        self.asked.push(key);
        let known = Known { table: self.kind.clone(), key, variable: variable.clone() };
        let mut all = reader.known.borrow_mut();
        if !all.contains(&known) {
            all.push(known);
        }
        let path = join(&self.path, key);
        if let Some((name, value)) = overriding {
            return Some(Setting { reader, value, variable: Some(*name), path });
        }
        let value = self.table.as_ref()?.0.get(key)?;
        Some(Setting { reader, value, variable: None, path })
    }

    /// What `read` makes of `key`, which may be left out.
    pub(super) fn optional<T>(&mut self, key: &'static str, read: impl FnOnce(&Setting<'a>) -> Option<T>) -> Option<T> {
        read(&self.find(key)?)
    }

    /// What `read` makes of `key`, or `default` if it is left out (or after a fault).
    pub(super) fn or<T>(&mut self, key: &'static str, default: T, read: impl FnOnce(&Setting<'a>) -> Option<T>) -> T {
        self.optional(key, read).unwrap_or(default)
    }

    /// What `read` makes of `key`, which must be there. `allowed` says what may stand there.
    pub(super) fn required<T>(
        &mut self,
        key: &'static str,
        allowed: &str,
        read: impl FnOnce(&Setting<'a>) -> Option<T>,
    ) -> Option<T> {
        if let Some(setting) = self.find(key) {
            return read(&setting);
        }
        self.report(key, Cause::Missing { allowed: allowed.to_owned() });
        None
    }

    /// The table `key`, perhaps empty.
    pub(super) fn section(&mut self, key: &'static str) -> Self {
        let setting = self.find(key);
        let table = setting.and_then(|setting| setting.table("a table, [NAME]"));
        let (kind, path) = (join(&self.kind, key), join(&self.path, key));
        Section { reader: self.reader, path, kind, table, overridable: true, asked: Vec::new() }
    }

    /// The tables `[[key]]`, at least one.
    pub(super) fn sections(&mut self, key: &'static str) -> Vec<Self> {
        match self.find(key) {
            Some(setting) => self.tables(key, &setting),
            None => {
                self.report(key, Cause::Missing { allowed: tables_allowed(key) });
                Vec::new()
            }
        }
    }

    /// The tables `[[key]]`, of which there may be none.
    pub(super) fn sections_if_any(&mut self, key: &'static str) -> Vec<Self> {
        self.find(key).map(|setting| self.tables(key, &setting)).unwrap_or_default()
    }

    fn tables(&self, key: &'static str, setting: &Setting<'a>) -> Vec<Self> {
        let allowed = tables_allowed(key);
        let DeValue::Array(items) = setting.value.get_ref() else {
            setting.refuse::<()>(&allowed);
            return Vec::new();
        };
        let (reader, kind) = (self.reader, join(&self.kind, key));
        let section = |(n, value)| {
            let path = format!("{}[{n}]", setting.path);
            let item = Setting { reader, value, variable: None, path: path.clone() };
            let table = Some(item.table(&allowed)?);
            Some(Section { reader, path, kind: kind.clone(), table, overridable: false, asked: Vec::new() })
        };
        items.iter().enumerate().filter_map(section).collect()
    }

    /// Reports a fault of `key`, at its place, or at that of the table if it is not there; of the table, if `key` is empty.
    pub(super) fn report(&self, key: &str, cause: Cause) {
        let entry = self.table.as_ref().and_then(|(table, _)| table.get_key_value(key));
        let span = entry.map(|(_, value)| value.span());
        let span = span.or_else(|| self.table.as_ref().map(|(_, span)| span.clone())).unwrap_or(0..0);
        self.reader.report(self.reader.place(&span), join(&self.path, key), cause);
    }

    /// The files and directories that were asked for so far.
    pub(super) fn files(&self) -> Vec<PathBuf> {
        self.reader.files()
    }

    /// The key that stands first in the file, of this table.
    pub(super) fn first_key(&self) -> Option<&'a str> {
        let (table, _) = self.table.as_ref()?;
        table.keys().min_by_key(|key| key.span().start).map(|key| key.get_ref().as_ref())
    }

    /// Whether `key` is there.
    pub(super) fn has(&self, key: &str) -> bool {
        self.table.as_ref().is_some_and(|(table, _)| table.contains_key(key))
    }

    /// Takes no notice of `key`, about which enough was reported.
    pub(super) fn ignore(&mut self, key: &'static str) {
        self.asked.push(key);
    }

    /// Ends the reading of this table: keys that were not asked for are unknown.
    pub(super) fn finish(self) {
        let Some((table, _)) = self.table else { return };
        for key in table.keys().filter(|key| !self.asked.contains(&key.get_ref().as_ref())) {
            self.reader.strangers.borrow_mut().push(Stranger {
                place: self.reader.place(&key.span()),
                path: join(&self.path, key.get_ref()),
                table: self.kind.clone(),
                key: key.get_ref().to_string(),
            });
        }
    }
}

/// A value with where it comes from.
pub(super) struct Setting<'a> {
    reader: &'a Reader<'a>,
    value: &'a Spanned<DeValue<'a>>,
    variable: Option<&'a str>,
    path: String,
}

impl<'a> Setting<'a> {
    pub(super) fn value(&self) -> &'a DeValue<'a> {
        self.value.get_ref()
    }

    pub(super) fn reader(&self) -> &'a Reader<'a> {
        self.reader
    }

    /// Its items, if it is an array; itself, if it is a string (one item needs no brackets).
    pub(super) fn items(&self, allowed: &str) -> Option<Vec<Self>> {
        let item = |value, path| Setting { reader: self.reader, value, variable: self.variable, path };
        match self.value() {
            DeValue::Array(items) => {
                Some(items.iter().enumerate().map(|(n, value)| item(value, format!("{}[{n}]", self.path))).collect())
            }
            DeValue::String(_) => Some(vec![item(self.value, self.path.clone())]),
            _ => self.refuse(&format!("a list, each item {allowed}")),
        }
    }

    /// Its entries, if it is a table.
    pub(super) fn entries(&self, allowed: &str) -> Option<Vec<(&'a str, Self)>> {
        let (table, _) = self.table(allowed)?;
        let entry = |(key, value): (&'a Spanned<_>, _)| {
            let key: &str = AsRef::<std::borrow::Cow<'_, str>>::as_ref(key);
            let path = format!("{}.{key:?}", self.path);
            (key, Setting { reader: self.reader, value, variable: self.variable, path })
        };
        Some(table.iter().map(entry).collect())
    }

    /// Itself as a table of known keys, none of which a variable can override. `kind` is its path without what its
    /// writer chose.
    pub(super) fn section(&self, kind: &str, allowed: &str) -> Option<Section<'a>> {
        let table = Some(self.table(allowed)?);
        let (reader, path, kind) = (self.reader, self.path.clone(), kind.to_owned());
        Some(Section { reader, path, kind, table, overridable: false, asked: Vec::new() })
    }

    fn table(&self, allowed: &str) -> Option<(&'a DeTable<'a>, Range<usize>)> {
        match self.value() {
            DeValue::Table(table) => Some((table, self.value.span())),
            _ => self.refuse(allowed),
        }
    }

    pub(super) fn report<T>(&self, cause: Cause) -> Option<T> {
        let place = match self.variable {
            Some(name) => Place::Variable(name.to_owned()),
            None => self.reader.place(&self.value.span()),
        };
        self.reader.report(place, self.path.as_str(), cause);
        None
    }

    pub(super) fn refuse<T>(&self, allowed: &str) -> Option<T> {
        self.report(Cause::Refused { found: self.found(), allowed: allowed.to_owned() })
    }

    /// The value for a message, shortened, and without a password that stands in an address.
    pub(super) fn found(&self) -> String {
        match self.value() {
            DeValue::String(text) => {
                let text = match (text.split_once("://"), text.rsplit_once('@')) {
                    (Some((scheme, _)), Some((_, host))) => format!("{scheme}://…@{host}"),
                    _ => text.to_string(),
                };
                let short: String = text.chars().take(80).collect();
                format!("{short:?}{}", if short.len() < text.len() { "…" } else { "" })
            }
            DeValue::Integer(number) => number.to_string(),
            DeValue::Float(number) => number.to_string(),
            DeValue::Boolean(value) => value.to_string(),
            DeValue::Datetime(time) => time.to_string(),
            DeValue::Array(_) => "a list".to_owned(),
            DeValue::Table(_) => "a table".to_owned(),
        }
    }
}
