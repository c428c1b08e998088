//! Secrets that a gateway shares with its terminals, by file: a directory of them, or a table with what each is limited
//! to.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use toml::de::DeValue;

use super::devices::Devices;
use super::fault::Cause;
use super::keys;
use super::reader::Setting;
use super::value::{text, time};
use crate::crypto::{KeyName, TerminalSecret};
use crate::session::UnixTime;

/// A secret that a gateway shares with one terminal (PROTOCOL section 3.3).
#[derive(Clone, Debug)]
pub struct Secret {
    /// Its name: the key id on the wire.
    pub name: KeyName,
    /// The file that it came from.
    pub file: PathBuf,
    /// The secret.
    pub secret: TerminalSecret,
    /// The devices that it is limited to, if it is.
    pub devices: Option<Devices>,
    /// From when on it is unknown.
    pub expires: Option<UnixTime>,
}

/// What the file of a secret in a directory is called, after its name.
pub const SECRET_SUFFIX: &str = ".secret";

const SECRETS_ALLOWED: &str = "the directory of files NAME.secret, or a table: NAME = \"FILE\" or \
     { file = \"FILE\", devices = [\"PATTERN\"], expires = TIME }";
pub(super) const SECRET_ALLOWED: &str = "the file of a secret, as `syncseal keygen --shared` makes it";
const NAME_ALLOWED: &str = "the name of a secret, UTF-8 of 1 to 64 bytes";

/// Reads the name of a secret.
pub(super) fn name(setting: &Setting<'_>) -> Option<KeyName> {
    text(NAME_ALLOWED, |name| name.parse().ok())(setting)
}

/// Loads one secret.
pub(super) fn secret(setting: &Setting<'_>) -> Option<(PathBuf, TerminalSecret)> {
    let file = keys::path(setting, SECRET_ALLOWED)?;
    match read(&file) {
        Ok(secret) => Some((file, secret)),
        Err(cause) => setting.report(cause),
    }
}

/// Loads a gateway's secrets.
pub(super) fn secrets(setting: &Setting<'_>) -> Option<Vec<Secret>> {
    match setting.value() {
        DeValue::String(_) => directory(setting),
        DeValue::Table(_) => {
            Some(setting.entries(SECRETS_ALLOWED)?.iter().filter_map(|(name, entry)| named(name, entry)).collect())
        }
        _ => setting.refuse(SECRETS_ALLOWED),
    }
}

fn named(name: &str, entry: &Setting<'_>) -> Option<Secret> {
    let Ok(name) = name.parse::<KeyName>() else {
        return entry.report(Cause::Refused { found: format!("{name:?}"), allowed: NAME_ALLOWED.to_owned() });
    };
    if !matches!(entry.value(), DeValue::Table(_)) {
        let (file, secret) = secret(entry)?;
        return Some(Secret { name, file, secret, devices: None, expires: None });
    }
    let mut section = entry.section("gateway.secrets.NAME", SECRETS_ALLOWED)?;
    let read = section.required("file", SECRET_ALLOWED, secret);
    let devices = section.optional("devices", Devices::read);
    let expires = section.optional("expires", time);
    section.finish();
    let (file, secret) = read?;
    Some(Secret { name, file, secret, devices, expires })
}

/// The secrets in a directory. Files of other names are not looked at.
fn directory(setting: &Setting<'_>) -> Option<Vec<Secret>> {
    let directory = keys::path(setting, SECRETS_ALLOWED)?;
    let mut files = setting.reader().credentials_of(setting.value().as_str().unwrap_or_default());
    files.retain(|(name, _)| name.ends_with(SECRET_SUFFIX));
    if files.is_empty() {
        files = match files_in(&directory) {
            Ok(files) => files,
            Err(cause) => return setting.report(cause),
        };
    }
    files.sort();
    let mut secrets = Vec::with_capacity(files.len());
    for (name, file) in files {
        match read_named(&name, &file) {
            Ok((name, secret)) => secrets.push(Secret { name, file, secret, devices: None, expires: None }),
            Err(cause) => {
                setting.report::<()>(cause);
            }
        }
    }
    Some(secrets)
}

/// The names of the files of secrets in a directory, and the files.
fn files_in(directory: &Path) -> Result<Vec<(String, PathBuf)>, Cause> {
    let unreadable = |error: std::io::Error| Cause::Unreadable { file: directory.to_owned(), error: error.to_string() };
    let mode = directory.metadata().map_err(unreadable)?.permissions().mode() & 0o7777;
    if mode & 0o022 != 0 {
        return Err(Cause::Writable { file: directory.to_owned(), mode });
    }
    let mut files = Vec::new();
    for entry in directory.read_dir().map_err(unreadable)? {
        let name = entry.map_err(unreadable)?.file_name();
        if name.as_encoded_bytes().ends_with(SECRET_SUFFIX.as_bytes()) {
            files.push((name.to_string_lossy().into_owned(), directory.join(name)));
        }
    }
    Ok(files)
}

fn read_named(name: &str, file: &Path) -> Result<(KeyName, TerminalSecret), Cause> {
    let name = name.strip_suffix(SECRET_SUFFIX).and_then(|name| name.parse().ok());
    let name = name
        .ok_or_else(|| Cause::NotAName { file: file.to_owned(), allowed: format!("before .secret: {NAME_ALLOWED}") })?;
    Ok((name, read(file)?))
}

fn read(file: &Path) -> Result<TerminalSecret, Cause> {
    let (text, access) = keys::read(file)?;
    let secret =
        TerminalSecret::from_text(&text).map_err(|error| Cause::InvalidSecret { file: file.to_owned(), error })?;
    keys::owner_alone(file, access)?;
    Ok(secret)
}
