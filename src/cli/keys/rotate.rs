//! `syncseal keys rotate`.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Serialize;

use super::{Exit, Key, Ring, State, cannot_edit, complain, own_like, print, print_json};
use crate::cli::keygen;
use crate::policy::{Environment, activate_key, parse_duration};
use crate::session::{TimeSource, UnixTime, WallClock};

/// Makes a new key and makes it the active one; the one that was active is accepted for some time yet.
///
/// Writes the new key beside the old one, named after today, edits the policy, and prints what to distribute.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:
  syncseal keys rotate gateway.toml --overlap \"60 d\"
  syncseal keys rotate gateway.toml --overlap \"0 s\"       the old key has leaked")]
pub(super) struct Args {
    /// The gateway's policy.
    policy: PathBuf,

    /// For how long the old key is accepted (ms, s, min, h, d): until the last terminal knows the new one. \"0 s\": no
    /// longer.
    #[arg(long, value_name = "DURATION", default_value = "30 d", value_parser = duration)]
    overlap: Duration,

    /// Length of the modulus; that of the active key, unless said otherwise.
    #[arg(long, value_name = "BITS", value_parser = ["2048", "3072", "4096"])]
    bits: Option<String>,

    /// Change nothing, and say what would be.
    #[arg(long)]
    dry_run: bool,

    /// Print JSON: dry_run, active (file, public_file, bits, kid unless in a dry run), former (a key, or absent).
    #[arg(long)]
    json: bool,
}

fn duration(text: &str) -> Result<Duration, &'static str> {
    parse_duration(text).ok_or("a duration with its unit (ms, s, min, h, d), such as \"30 d\"")
}

#[derive(Serialize)]
struct Rotated<'a> {
    dry_run: bool,
    active: NewKey,
    /// The key that was active, unless it is no longer accepted.
    #[serde(skip_serializing_if = "Option::is_none")]
    former: Option<&'a Key>,
}

#[derive(Serialize)]
struct NewKey {
    /// As the policy has it.
    file: String,
    /// Beside it.
    public_file: String,
    bits: usize,
    /// Absent if it was not made.
    #[serde(skip_serializing_if = "Option::is_none")]
    kid: Option<String>,
}

pub(super) fn run(args: &Args, env: &Environment) -> Result<(), Exit> {
    let mut ring = Ring::load(&args.policy, env)?;
    let now = WallClock.now();
    // A second is the shortest that a policy can say.
    let until = (args.overlap >= Duration::from_secs(1)).then(|| now.plus(args.overlap));
    let former = ring.keys.first_mut().ok_or(Exit::Internal)?;
    (former.state, former.accept_until) = (State::Accepted, until.map(|until| until.to_string()));
    let (former_file, bits) = (former.file.clone(), former.bits);
    let bits = args.bits.as_ref().and_then(|bits| bits.parse().ok()).unwrap_or(bits);
    let name = new_name(&ring, &former_file, now);
    let text = activate_key(&ring.text, &name, until).map_err(|error| cannot_edit(ring.file, &error))?;
    let public = |file: &Path| keygen::public_file(file).display().to_string();
    let mut active = NewKey { public_file: public(Path::new(&name)), file: name, bits, kid: None };
    if !args.dry_run {
        active.kid = Some(make(&ring, &active.file, &former_file, bits, &text)?);
    }
    let former = ring.keys.first().filter(|_| until.is_some());
    let rotated = Rotated { dry_run: args.dry_run, active, former };
    if args.json {
        return print_json(&rotated);
    }
    print(&report(&rotated, ring.file, &former_file));
    Ok(())
}

/// The name of a new key: that of the active one, with today's date in the place of another, and a number if need be.
fn new_name(ring: &Ring<'_>, active: &str, now: UnixTime) -> String {
    let active = Path::new(active);
    let stem = active.file_stem().unwrap_or_default().to_string_lossy();
    let date: String = now.to_string().chars().take("2026-01-01".len()).collect();
    let base = base(&stem);
    let extension = active.extension().map_or_else(|| "pem".into(), |extension| extension.to_string_lossy());
    let names = (1_u32..).map(|n| match n {
        1 => format!("{base}-{date}.{extension}"),
        n => format!("{base}-{date}-{n}.{extension}"),
    });
    let mut names = names.map(|name| active.with_file_name(name).display().to_string());
    let free = |name: &String| {
        let file = ring.resolve(name);
        file.symlink_metadata().is_err() && keygen::public_file(&file).symlink_metadata().is_err()
    };
    names.find(free).unwrap_or_default()
}

/// A name without the date, and the number after it, that an earlier rotation gave it.
fn base(stem: &str) -> &str {
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let dated = |stem: &'_ str| {
        let at = stem.len().checked_sub("-2026-01-01".len())?;
        let (base, date) = stem.split_at_checked(at)?;
        let parts: Vec<&str> = date.strip_prefix('-')?.split('-').collect();
        let is_date = matches!(parts[..], [year, month, day]
            if [year, month, day].iter().all(|part| is_number(part)) && (year.len(), month.len()) == (4, 2));
        (is_date && !base.is_empty()).then_some(at)
    };
    let unnumbered = stem.rsplit_once('-').filter(|(_, number)| is_number(number)).map(|(rest, _)| rest);
    let at = dated(stem).or_else(|| dated(unnumbered?)).unwrap_or(stem.len());
    stem.split_at(at).0
}

/// Makes the key and puts it into the policy. If the policy cannot take it, it is as if nothing had been.
fn make(ring: &Ring<'_>, name: &str, former: &str, bits: usize, text: &str) -> Result<String, Exit> {
    let file = ring.resolve(name);
    let public_file = keygen::public_file(&file);
    let key = keygen::make(&file, bits)?;
    let take_up = || {
        for file in [&file, &public_file] {
            own_like(file, &ring.resolve(former)).map_err(|error| {
                complain(format_args!("syncseal: {} cannot be given to the gateway's user: {error}", file.display()));
                Exit::Usage
            })?;
        }
        ring.replace(text)
    };
    take_up().inspect_err(|_| {
        // Nobody knows them yet.
        let _ = fs::remove_file(&file);
        let _ = fs::remove_file(&public_file);
    })?;
    Ok(key.key_id().to_string())
}

/// What has happened, and what is to be done.
fn report(rotated: &Rotated<'_>, policy: &Path, former_file: &str) -> String {
    let Rotated { dry_run, active, former } = rotated;
    let name = |file: &str| Path::new(file).file_name().unwrap_or_default().to_string_lossy().into_owned();
    let policy = policy.display();
    let NewKey { file, public_file, bits, kid } = active;
    let mut out = match kid {
        Some(kid) => format!("active    {kid}  RSA {bits}  {file}\n"),
        None => format!("active    a new key  RSA {bits}  {file}\n"),
    };
    match former {
        Some(key) => out += &format!("former    {}  {former_file}  {}\n", key.kid, key.standing()),
        None => out += &format!("former    {former_file}  no longer accepted\n"),
    }
    if *dry_run {
        return out + "\nNothing was changed (--dry-run).\n";
    }
    let (new, old) = (name(public_file), name(&keygen::public_file(Path::new(former_file)).display().to_string()));
    let pin = kid.as_deref().unwrap_or_default();
    out += &format!(
        "\nNext:\n  A gateway that runs takes this over by itself, and its log says `reloaded`. With [reload] watch = false:\n    \
         syncseal check {policy} && systemctl reload syncseal-gateway\n"
    );
    out += &match former {
        Some(key) => format!(
            "  Give every agent {new}, and in its policy, in place of key:\n    key = [{new:?}, {old:?}]\n  Other terminals pin \
             {pin}\n  After {} those who do not know the new key are refused (key-unknown). Then:\n    syncseal keys retire \
             {policy}\n",
            key.accept_until.as_deref().unwrap_or_default()
        ),
        None => format!(
            "  Give every agent {new}, and in its policy, in place of key:\n    key = {new:?}\n  Other terminals pin {pin}\n  \
             Until they do, they are refused (key-unknown).\n"
        ),
    };
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_loses_the_date_that_it_was_given() {
        for (stem, expected) in [
            ("gateway", "gateway"),
            ("gateway-2026-11-22", "gateway"),
            ("gateway-2026-11-22-2", "gateway"),
            ("gateway-2026-11-22-12", "gateway"),
            ("gateway-2", "gateway-2"),
            ("gateway-2-2026-11-22", "gateway-2"),
            ("2026-11-22", "2026-11-22"),
            ("-2026-11-22", "-2026-11-22"),
            ("gateway-2026-11", "gateway-2026-11"),
            ("gäteway-26-11-2022", "gäteway-26-11-2022"),
            ("", ""),
        ] {
            assert_eq!(base(stem), expected, "{stem}");
        }
    }
}
