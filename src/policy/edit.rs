//! Edits of a gateway's keys in the text of its policy. Everything else stays as it is, comments and order included.
//!
//! The text that comes out is to be read again before it replaces the other: whether the keys are there and right is left
//! to [`super::GatewayPolicy`].

use toml_edit::{Array, Datetime, Decor, DocumentMut, InlineTable, RawString, TomlError, Value};

use crate::session::UnixTime;

/// Why the keys of a policy cannot be edited.
#[derive(Debug, thiserror::Error)]
pub enum EditError {
    /// The text is not TOML.
    #[error(transparent)]
    Syntax(#[from] TomlError),
    /// It has no list of keys.
    #[error("there is no list gateway.keys of key files")]
    NoKeys,
    /// A time that no policy can hold.
    #[error("a time that cannot be written in a policy")]
    Time,
}

/// The files of the keys, as they are written; the active one first.
pub fn key_files(text: &str) -> Result<Vec<String>, EditError> {
    let mut document: DocumentMut = text.parse()?;
    let files = keys(&mut document)?.iter().map(|key| file(key).map(str::to_owned));
    files.collect::<Option<_>>().ok_or(EditError::NoKeys)
}

/// Makes the key in `file` the active one. The one that was active is accepted until this time; without a time, it is
/// taken out.
pub fn activate_key(text: &str, file: &str, until: Option<UnixTime>) -> Result<String, EditError> {
    let mut document: DocumentMut = text.parse()?;
    let keys = keys(&mut document)?;
    let before = prefix(keys.get(0).ok_or(EditError::NoKeys)?.decor()).to_owned();
    // What stands behind the opening bracket stays there; comments on lines of their own belong to the key below them.
    let (opening, own) = before.split_at(before.find('\n').unwrap_or(before.len()));
    let new_line = own.rfind('\n').map_or("", |at| own.split_at(at).1);
    let active = Value::from(file).decorated(format!("{opening}{new_line}"), "");
    match until {
        Some(until) => {
            let former = keys.get_mut(0).ok_or(EditError::NoKeys)?;
            limit(former, until)?;
            former.decor_mut().set_prefix(if own.is_empty() { " " } else { own });
            keys.insert_formatted(0, active);
        }
        None => {
            keys.replace_formatted(0, active);
        }
    }
    Ok(document.to_string())
}

/// Takes out the keys at these places.
pub fn retire_keys(text: &str, places: &[usize]) -> Result<String, EditError> {
    let mut document: DocumentMut = text.parse()?;
    let keys = keys(&mut document)?;
    for place in (0..keys.len()).rev().filter(|place| places.contains(place)) {
        remove(keys, place);
    }
    Ok(document.to_string())
}

/// The list of keys; a single one that is written without brackets becomes a list.
fn keys(document: &mut DocumentMut) -> Result<&mut Array, EditError> {
    let gateway = document.get_mut("gateway").and_then(|gateway| gateway.as_table_like_mut());
    let keys = gateway.and_then(|gateway| gateway.get_mut("keys")?.as_value_mut()).ok_or(EditError::NoKeys)?;
    if let Value::String(file) = keys {
        let decor = file.decor().clone();
        *keys = Value::Array(Array::from_iter([file.value()]));
        *keys.decor_mut() = decor;
    }
    keys.as_array_mut().ok_or(EditError::NoKeys)
}

fn file(key: &Value) -> Option<&str> {
    key.as_str().or_else(|| key.as_inline_table()?.get("file")?.as_str())
}

/// Gives a key its end.
fn limit(key: &mut Value, until: UnixTime) -> Result<(), EditError> {
    let until: Datetime = until.to_string().parse().map_err(|_| EditError::Time)?;
    let mut table = match &*key {
        Value::InlineTable(table) => table.clone(),
        other => InlineTable::from_iter([("file", file(other).ok_or(EditError::NoKeys)?)]),
    };
    table.insert("accept_until", until.into());
    table.fmt();
    *table.decor_mut() = key.decor().clone();
    *key = Value::InlineTable(table);
    Ok(())
}

/// Takes out one key with its comments: those on lines of their own above it, and that behind it.
fn remove(keys: &mut Array, place: usize) {
    let removed = keys.remove(place);
    let before = prefix(removed.decor());
    // What stands behind the comma of the key before, or behind the bracket.
    let line_before = before.split('\n').next().unwrap_or_default().to_owned();
    let after_line = |text: &str| text.find('\n').map(|at| text.split_at(at).1.to_owned());
    match keys.get_mut(place) {
        Some(next) => {
            let rest = after_line(prefix(next.decor()));
            let rest = rest.map_or_else(|| before.to_owned(), |rest| line_before + &rest);
            next.decor_mut().set_prefix(rest);
        }
        None => {
            let end = after_line(text(keys.trailing())).or_else(|| after_line(text(removed.decor().suffix()?)));
            keys.set_trailing(line_before.trim_end().to_owned() + &end.unwrap_or_default());
        }
    }
}

fn prefix(decor: &Decor) -> &str {
    decor.prefix().map_or("", text)
}

fn text(raw: &RawString) -> &str {
    raw.as_str().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    const UNTIL: UnixTime = UnixTime(1_801_353_600);
    const OLD: &str = "accept_until = 2027-01-31T00:00:00Z }";

    /// The text with these keys, and what surrounds them.
    fn policy(keys: &str) -> String {
        format!("# A gateway.\nversion = 1\n[gateway] # here\nlisten = '[::]:80'   # everywhere\n{keys}\n\n[log]\n")
    }

    #[test]
    fn a_new_key_comes_first_and_the_old_one_ends() {
        for (before, after) in [
            ("keys = 'a.pem' # ours", format!("keys = [\"new.pem\", {{ file = \"a.pem\", {OLD}] # ours")),
            ("keys = [\"a.pem\"]", format!("keys = [\"new.pem\", {{ file = \"a.pem\", {OLD}]")),
            ("keys = [{ file = 'a.pem' }]", format!("keys = [\"new.pem\", {{ file = 'a.pem', {OLD}]")),
            ("keys = [ 'a.pem', 'b.pem' ]", format!("keys = [ \"new.pem\", {{ file = \"a.pem\", {OLD}, 'b.pem' ]")),
            (
                "keys = [ # the active one first\n    # made in May\n    'a.pem', # from the old machine\n    'b.pem',\n]",
                format!(
                    "keys = [ # the active one first\n    \"new.pem\",\n    # made in May\n    {{ file = \"a.pem\", {OLD}, \
                     # from the old machine\n    'b.pem',\n]"
                ),
            ),
        ] {
            let edited = activate_key(&policy(before), "new.pem", Some(UNTIL)).unwrap();
            assert_eq!(edited, policy(&after));
        }
    }

    #[test]
    fn without_overlap_the_old_key_is_gone() {
        let edited = activate_key(&policy("keys = ['a.pem', 'b.pem'] # x"), "new.pem", None).unwrap();
        assert_eq!(edited, policy("keys = [\"new.pem\", 'b.pem'] # x"));
    }

    #[test]
    fn keys_are_taken_out_with_their_own_comments() {
        for (before, places, after) in [
            ("keys = ['a', 'b', 'c']", &[1][..], "keys = ['a', 'c']"),
            ("keys = ['a', 'b', 'c']", &[1, 2], "keys = ['a']"),
            ("keys = ['a', 'b']", &[0], "keys = ['b']"),
            (
                "keys = [\n  'a', # active\n  # last year's\n  'b', # gone\n  'c', # stays\n]",
                &[1],
                "keys = [\n  'a', # active\n  'c', # stays\n]",
            ),
            ("keys = [\n  'a', # active\n  # last year's\n  'b', # gone\n]", &[1], "keys = [\n  'a', # active\n]"),
            ("keys = [\n  'a', # active\n  'b' # gone\n]", &[1], "keys = [\n  'a' # active\n]"),
        ] {
            assert_eq!(retire_keys(&policy(before), places).unwrap(), policy(after), "{before}");
        }
    }

    #[test]
    fn files_are_read_as_they_are_written() {
        let files =
            key_files(&policy("keys = ['a b.pem', { file = \"/x/é.pem\", accept_until = 2027-01-31T00:00:00Z }]"));
        assert_eq!(files.unwrap(), ["a b.pem", "/x/é.pem"]);
        assert_eq!(key_files("gateway.keys = 'a'").unwrap(), ["a"]);
        for none in ["", "[gateway]", "[gateway]\nkeys = 7", "gateway = 7", "[gateway]\nkeys = [7]"] {
            assert!(matches!(key_files(none), Err(EditError::NoKeys)), "{none}");
        }
        assert!(matches!(key_files("[gateway"), Err(EditError::Syntax(_))));
    }
}
