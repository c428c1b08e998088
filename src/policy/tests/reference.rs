//! `docs/policy.md`, made of what the code asks for and what the documented files say: each key with its default and its
//! meaning from `config/`, and with what may stand there from the fault that a wrong value gets.
//!
//! `docs/generate` writes it anew; a test fails as long as it is another.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;

use toml_edit::{DocumentMut, Item, TableLike, Value};

use super::*;

/// Values that the documented files show in comments only, with which more keys are asked for, or judged: as role, table,
/// key, value.
const FORMS: &[(Role, &str, &str, &str)] = &[
    (Role::Gateway, "gateway", "keys", "[{ file = 'gateway.pem' }]"),
    (Role::Gateway, "gateway", "secrets", "{ NAME = { file = 'phone-1.secret' } }"),
    (Role::Gateway, "sessions", "store", "'redis://store.example'"),
];

const HEAD: &str = "\
<!-- Made by docs/generate from the code and from config/: edit those. -->

# Policies

A gateway and an agent each have one policy file, in TOML. `syncseal check FILE` tells every fault in one, with its line.
`config/gateway.toml` and `config/agent.toml` are the same as this in a form to start from.

Durations and sizes are strings with a unit. Paths are relative to the file; a file `keys/a.pem` that systemd hands over as
credential `keys_a.pem` is taken from there. A variable of the environment overrides a key where one is named; it holds a TOML
value, or a plain string.
";

/// Keys that stand together under one text in a documented file.
struct Group {
    text: Vec<String>,
    /// Each key with the value beside it, and whether that is commented out.
    keys: Vec<(String, String, bool)>,
}

/// A table of a documented file, in its order.
struct Table {
    name: String,
    many: bool,
    text: Vec<String>,
    groups: Vec<Group>,
}

/// Reads a documented file: texts are lines `# …`, what they are about follows at once.
fn tables(file: &str) -> Vec<Table> {
    let mut tables = vec![Table { name: String::new(), many: false, text: Vec::new(), groups: Vec::new() }];
    let mut text: Vec<String> = Vec::new();
    let mut fresh = true;
    for line in file.lines() {
        if let Some(said) = line.strip_prefix("# ").or_else(|| (line == "#").then_some("")) {
            text.push(said.to_owned());
            fresh = true;
            continue;
        }
        let (setting, commented) = line.strip_prefix('#').map_or((line, false), |setting| (setting, true));
        if let Some(name) = setting.strip_prefix('[') {
            let many = name.starts_with('[');
            let name = name.trim_matches(|c| matches!(c, '[' | ']')).to_owned();
            // Another of the same is an example.
            if !tables.iter().any(|table| table.name == name) {
                tables.push(Table { name, many, text: std::mem::take(&mut text), groups: Vec::new() });
            } else if let Some(at) = tables.iter().position(|table| table.name == name) {
                let table = tables.remove(at);
                tables.push(table);
            }
            text.clear();
            fresh = true;
        } else if let Some((key, value)) = setting.split_once(" = ") {
            let table = tables.last_mut().unwrap();
            if table.groups.iter().any(|group| group.keys.iter().any(|(known, ..)| known == key)) {
                continue;
            }
            if fresh {
                table.groups.push(Group { text: std::mem::take(&mut text), keys: Vec::new() });
                fresh = false;
            }
            table.groups.last_mut().unwrap().keys.push((key.to_owned(), value.to_owned(), commented));
        } else {
            // Text that stands alone is about the file.
            text.clear();
            fresh = true;
        }
    }
    tables
}

/// The text of a comment as Markdown: what is indented is an example.
fn markdown(text: &[String]) -> String {
    let mut out = String::new();
    let mut in_code = false;
    for line in text {
        let code = line.starts_with("    ");
        if code != in_code {
            out.push('\n');
        }
        in_code = code;
        out.push_str(line);
        out.push('\n');
    }
    out
}

/// Puts `value` at a path of keys, in the first of every list on the way. `None` if there is no such way.
fn put(item: &mut Item, path: &[&str], value: &Value) -> Option<()> {
    let (first, rest) = path.split_first()?;
    let table: &mut dyn TableLike = match item {
        Item::ArrayOfTables(tables) => tables.iter_mut().next()?,
        Item::Value(Value::Array(array)) => array.iter_mut().find_map(Value::as_inline_table_mut)?,
        item => item.as_table_like_mut()?,
    };
    if rest.is_empty() {
        table.insert(first, Item::Value(value.clone()));
        return Some(());
    }
    put(table.get_mut(first)?, rest, value)
}

/// A path of a fault without what its writer chose.
fn plain(path: &str) -> String {
    let mut out = String::new();
    for part in path.split('.') {
        let part = part.split('[').next().unwrap();
        if !out.is_empty() {
            out.push('.');
        }
        out.push_str(if part.starts_with('"') { "NAME" } else { part });
    }
    out
}

fn read_as(role: Role, dir: &TempDir, text: &str) -> (Option<Faults>, Vec<Known>) {
    let file = dir.path().join("p.toml");
    match role {
        Role::Gateway => {
            let (policy, known) = parse(&file, text, &no_env(), role, GatewayPolicy::read);
            (policy.err(), known)
        }
        Role::Agent => {
            let (policy, known) = parse(&file, text, &no_env(), role, AgentPolicy::read);
            (policy.err(), known)
        }
    }
}

/// What may stand at a key, as the fault of a value says that stands nowhere; of a list, what an item may be.
fn allowed(role: Role, dir: &TempDir, document: &DocumentMut, path: &str) -> Option<String> {
    let keys: Vec<&str> = path.split('.').collect();
    let refused = |wrong: Value| {
        let mut document = document.clone();
        put(document.as_item_mut(), &keys, &wrong)?;
        let faults = read_as(role, dir, &document.to_string()).0?;
        let at_key = faults.faults.into_iter().filter(|fault| plain(&fault.path) == path);
        let allowed = at_key.filter_map(|fault| match fault.cause {
            Cause::Refused { allowed, .. } | Cause::Unitless { allowed, .. } | Cause::Missing { allowed } => {
                Some(allowed)
            }
            _ => None,
        });
        allowed.into_iter().next()
    };
    let allowed = refused(f64::NAN.into()).or_else(|| refused(true.into()))?;
    if !allowed.starts_with(LIST) {
        return Some(allowed);
    }
    let item = refused(Value::Array([f64::NAN].into_iter().collect()));
    Some(item.map_or(allowed, |item| if item.starts_with(LIST) { item } else { format!("{LIST}{item}") }))
}

/// What the faults of lists begin with.
const LIST: &str = "a list, each item ";

/// Every key that the code asks for, with the variable that overrides it and what may stand there.
fn known(role: Role, file: &str) -> BTreeMap<String, (Option<String>, String)> {
    let dir = keys();
    let documented = uncommented(file, true);
    let mut documents = vec![documented.parse::<DocumentMut>().unwrap()];
    for (_, table, key, form) in FORMS.iter().filter(|(of, ..)| *of == role) {
        let mut document = documents[0].clone();
        document[table][key] = Item::Value(form.parse().unwrap());
        documents.push(document);
    }
    let is_table = |path: &str| {
        let item = path.split('.').try_fold(documents[0].as_item(), |item, key| item.get(key));
        item.is_some_and(|item| item.is_table() || item.is_array_of_tables())
    };
    let asked = documents.iter().flat_map(|document| read_as(role, &dir, &document.to_string()).1);
    let mut all = BTreeMap::new();
    for key in asked.filter(|key| !is_table(&key.path())) {
        let path = key.path();
        let judged = || documents.iter().find_map(|document| allowed(role, &dir, document, &path));
        all.entry(path.clone())
            .or_insert_with(|| (key.variable, judged().unwrap_or_else(|| panic!("nothing is wrong at {path}"))));
    }
    all
}

/// A cell of a table in Markdown.
fn cell(text: &str) -> String {
    text.replace('|', "\\|")
}

fn role_reference(out: &mut String, role: Role, file: &str) {
    let mut known = known(role, file);
    for table in tables(file) {
        let title = match (table.name.as_str(), table.many) {
            ("", _) => String::new(),
            (name, true) => format!("### `[[{name}]]`\n\n"),
            (name, false) => format!("### `[{name}]`\n\n"),
        };
        writeln!(out, "{title}{}", markdown(&table.text)).unwrap();
        for group in table.groups {
            let names: Vec<String> = group.keys.iter().map(|(key, ..)| format!("`{key}`")).collect();
            writeln!(out, "#### {}\n\n{}", names.join(", "), markdown(&group.text)).unwrap();
            out.push_str("| key | default | may be |\n| --- | --- | --- |\n");
            let no_default = group.text.iter().any(|line| line.contains("No default."));
            for (key, value, commented) in group.keys {
                let path = if table.name.is_empty() { key.clone() } else { format!("{}.{key}", table.name) };
                let inner = format!("{path}.");
                // Itself, and what a table there may hold.
                let here: Vec<String> =
                    known.keys().filter(|known| **known == path || known.starts_with(&inner)).cloned().collect();
                assert!(here.contains(&path), "{path} is documented, and nobody asks for it");
                for one in here {
                    let (variable, allowed) = known.remove(&one).unwrap();
                    let default = match () {
                        () if one != path || no_default => "none".to_owned(),
                        () if commented => format!("`{}`", cell(value.split("  #").next().unwrap_or(&value))),
                        () => "none".to_owned(),
                    };
                    let variable = variable.map_or_else(String::new, |variable| format!("<br>`{variable}`"));
                    let shown = if table.name.is_empty() { &one } else { &one[table.name.len() + 1..] };
                    writeln!(out, "| `{shown}`{variable} | {default} | {} |", cell(&allowed)).unwrap();
                }
            }
            out.push('\n');
        }
    }
    assert!(known.is_empty(), "asked for, and documented nowhere: {:?}", known.keys());
}

fn reference() -> String {
    let mut out = HEAD.to_owned();
    for (role, file) in [(Role::Gateway, GATEWAY), (Role::Agent, AGENT)] {
        write!(out, "\n## {}'s policy\n\n", ["A gateway", "An agent"][usize::from(role == Role::Agent)]).unwrap();
        role_reference(&mut out, role, file);
    }
    while out.contains("\n\n\n") {
        out = out.replace("\n\n\n", "\n\n");
    }
    out.trim_end().to_owned() + "\n"
}

#[test]
fn docs_policy_md_is_what_the_code_and_the_documented_files_say() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/policy.md");
    let reference = reference();
    if std::env::var_os("SYNCSEAL_GENERATE").is_some() {
        fs::write(&file, &reference).unwrap();
    }
    let found = fs::read_to_string(&file).unwrap_or_default();
    let line = reference.lines().zip(found.lines()).position(|(wanted, found)| wanted != found);
    assert!(
        found == reference,
        "docs/policy.md is not up to date, from line {} on; `docs/generate` writes it",
        line.unwrap_or_else(|| found.lines().count().min(reference.lines().count())) + 1
    );
}
