//! `syncseal keygen`.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use super::{Exit, complain, print};
use crate::crypto::{KeyName, RsaPrivateKey, RsaPublicKey, SystemRandom, TerminalSecret};
use crate::policy::SECRET_SUFFIX;

/// Makes a gateway's RSA key, and prints its pin; or a secret that a gateway shares with one terminal.
///
/// Writes the private key to FILE (PKCS#8 PEM, mode 0600) and the public key beside it (gateway.pem: gateway.pub.pem).
/// With --shared, writes the secret to FILE (32 random bytes in base64, mode 0600). Never overwrites a file. The pin, or
/// what the policies of both sides need, goes to stdout, what to do next to stderr.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:
  syncseal keygen gateway.pem
  syncseal keygen --bits 4096 /etc/syncseal/gateway.pem
  syncseal keygen --shared phone-1 secrets/phone-1.secret")]
pub(super) struct Args {
    /// Where the private key or the secret goes; a secret to NAME.secret, unless said otherwise.
    #[arg(required_unless_present = "shared")]
    file: Option<PathBuf>,

    /// Length of the modulus.
    #[arg(long, value_name = "BITS", default_value = "3072", value_parser = ["2048", "3072", "4096"])]
    bits: String,

    /// Make a secret for the terminal of this name (1 to 64 bytes).
    #[arg(long, value_name = "NAME", conflicts_with = "bits")]
    shared: Option<KeyName>,
}

pub(super) fn run(args: &Args) -> Result<(), Exit> {
    match (&args.shared, &args.file) {
        (Some(shared), file) => make_secret(shared, file.as_deref()),
        (None, Some(file)) => make_key(file, args.bits.parse().map_err(|_| Exit::Usage)?),
        // The command line does not let it come to this.
        (None, None) => Err(Exit::Usage),
    }
}

fn make_key(file: &Path, bits: usize) -> Result<(), Exit> {
    let key = make(file, bits)?;
    let public_file = public_file(file);
    complain(format_args!(
        "{}: the private key. It stays with the gateway, whose policy names it: keys = [{:?}]\n\
         {}: the public key, for the policies of agents: key = {:?}\n\
         The pin, by which anyone can tell the public key from another:",
        file.display(),
        name(file),
        public_file.display(),
        name(&public_file),
    ));
    print(&format!("{}\n", key.key_id()));
    Ok(())
}

fn make_secret(shared: &KeyName, file: Option<&Path>) -> Result<(), Exit> {
    let file = match file {
        Some(file) => file.to_owned(),
        None if shared.as_str().contains('/') => {
            complain("syncseal: this name is not one of a file; say where the secret goes: keygen --shared NAME FILE");
            return Err(Exit::Usage);
        }
        None => PathBuf::from(format!("{shared}{SECRET_SUFFIX}")),
    };
    let secret = TerminalSecret::generate(&SystemRandom).map_err(|error| {
        complain(format_args!("syncseal: no secret could be made: {error}"));
        Exit::Internal
    })?;
    write_new(&file, 0o600, &secret.to_text())?;
    complain(format_args!(
        "{}: the secret. Bring this file to the gateway and to the terminal {shared}, and nowhere else, by a way on which \
         nobody can read it; mode 0600 on both. What their policies need:",
        file.display(),
    ));
    let (name, file) = (toml_string(shared.as_str()), toml_string(&name(&file)));
    print(&format!(
        "# The gateway's:\n[gateway.secrets]\n{name} = {file}\n\n# The agent's:\n[agent]\nname = {name}\nsecret = {file}\n"
    ));
    Ok(())
}

fn toml_string(text: &str) -> String {
    toml_edit::Value::from(text).to_string()
}

/// Makes a key of so many bits: the private one in `file`, the public one beside it. Says what went wrong.
pub(super) fn make(file: &Path, bits: usize) -> Result<RsaPublicKey, Exit> {
    let public_file = public_file(file);
    for file in [file, &public_file] {
        if file.symlink_metadata().is_ok() {
            complain(format_args!("syncseal: {} is there already; a key is never overwritten", file.display()));
            return Err(Exit::Usage);
        }
    }
    let key = RsaPrivateKey::generate(bits, &SystemRandom).map_err(|error| {
        complain(format_args!("syncseal: no key could be made: {error}"));
        Exit::Internal
    })?;
    write_new(file, 0o600, &key.to_pem())?;
    write_new(&public_file, 0o644, &key.public().to_pem()).inspect_err(|_| {
        // Half a pair is of no use, and this private key has not left its file.
        let _ = fs::remove_file(file);
    })?;
    Ok(key.public().clone())
}

/// `gateway.pub.pem` beside `gateway.pem`; `key.pub.pem` beside `key`.
pub(super) fn public_file(file: &Path) -> PathBuf {
    if file.extension().is_some_and(|extension| extension == "pem") {
        return file.with_extension("pub.pem");
    }
    let mut name = file.as_os_str().to_owned();
    name.push(".pub.pem");
    name.into()
}

fn name(file: &Path) -> String {
    file.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

fn write_new(file: &Path, mode: u32, text: &str) -> Result<(), Exit> {
    let write = |mut new: File| {
        let written = new.write_all(text.as_bytes()).and_then(|()| new.sync_all());
        written.inspect_err(|_| {
            // No use in a part of a key; and the file is ours, for it was not there before.
            let _ = fs::remove_file(file);
        })
    };
    let new: io::Result<File> = OpenOptions::new().write(true).create_new(true).mode(mode).open(file);
    new.and_then(write).map_err(|error| {
        complain(format_args!("syncseal: cannot write {}: {error}", file.display()));
        Exit::Usage
    })
}
