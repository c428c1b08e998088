//! Keys by file: private keys that only their owner can read, and public ones.

use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use zeroize::Zeroizing;

use toml::de::DeValue;

use super::fault::Cause;
use super::reader::Setting;
use super::value::time;
use crate::crypto::{CryptoProvider, InvalidKey, KeyId, RsaPrivateKey, RsaPublicKey, RsaUnwrap};
use crate::session::UnixTime;

/// No key file is longer, in bytes.
const LONGEST: u64 = 64 << 10;

/// No file of certificates is longer, in bytes.
const LONGEST_BUNDLE: u64 = 4 << 20;

/// One of a gateway's RSA keys, ready to unwrap.
#[derive(Clone)]
pub struct Recipient {
    /// The file that it came from.
    pub file: PathBuf,
    /// Its public half.
    pub public: RsaPublicKey,
    /// Its private half, with the policy's provider.
    pub unwrap: Arc<dyn RsaUnwrap>,
    /// From when on it is no longer accepted; the first key, which is the active one, has no such end.
    pub accept_until: Option<UnixTime>,
}

impl Recipient {
    /// Its key id.
    pub fn key_id(&self) -> KeyId {
        self.public.key_id()
    }
}

impl PartialEq for Recipient {
    fn eq(&self, other: &Self) -> bool {
        self.key_id() == other.key_id()
    }
}

impl fmt::Debug for Recipient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Recipient").field(&self.file).field(&self.key_id()).field(&self.accept_until).finish()
    }
}

pub(super) const PRIVATE_ALLOWED: &str = "the file of an RSA private key, PKCS#8 PEM, as `syncseal keygen` makes it; or, \
     after the first, { file = \"FILE\", accept_until = TIME }";
pub(super) const PUBLIC_ALLOWED: &str = "the file of the gateway's public key, PEM, as `syncseal keygen` makes it";

/// Loads a gateway's private key.
pub(super) fn recipient(provider: &'static dyn CryptoProvider) -> impl Fn(&Setting<'_>) -> Option<Recipient> {
    move |setting| {
        if !matches!(setting.value(), DeValue::Table(_)) {
            return read_recipient(setting, provider, None);
        }
        let mut section = setting.section("gateway.keys", PRIVATE_ALLOWED)?;
        let accept_until = section.optional("accept_until", time);
        let key = section.required("file", PRIVATE_ALLOWED, |file| read_recipient(file, provider, accept_until));
        section.finish();
        key
    }
}

fn read_recipient(
    setting: &Setting<'_>,
    provider: &dyn CryptoProvider,
    accept_until: Option<UnixTime>,
) -> Option<Recipient> {
    let file = path(setting, PRIVATE_ALLOWED)?;
    let key = private_key(&file).and_then(|key| {
        let unwrap = provider.rsa_unwrap(&key).map_err(|error| Cause::InvalidKey { file: file.clone(), error })?;
        Ok(Recipient { file, public: key.public().clone(), unwrap: unwrap.into(), accept_until })
    });
    key.map_or_else(|cause| setting.report(cause), Some)
}

/// A public key of an agent's gateway, and the file that it came from.
pub(super) struct PinnedKey {
    pub(super) file: PathBuf,
    pub(super) key: RsaPublicKey,
}

impl PartialEq for PinnedKey {
    fn eq(&self, other: &Self) -> bool {
        self.key == other.key
    }
}

/// Loads a public key of an agent's gateway.
pub(super) fn public(setting: &Setting<'_>) -> Option<PinnedKey> {
    let file = path(setting, PUBLIC_ALLOWED)?;
    match public_key(&file) {
        Ok(key) => Some(PinnedKey { file, key }),
        Err(cause) => setting.report(cause),
    }
}

/// The file or directory that a setting names, which the policy is made from.
pub(super) fn path(setting: &Setting<'_>, allowed: &str) -> Option<PathBuf> {
    let path = setting.value().as_str().filter(|path| !path.is_empty());
    path.map(|path| setting.reader().file(path)).or_else(|| setting.refuse(allowed))
}

/// The path of a file that a setting names, and whose change says nothing of the policy.
pub(super) fn path_to_write(setting: &Setting<'_>, allowed: &str) -> Option<PathBuf> {
    let path = setting.value().as_str().filter(|path| !path.is_empty());
    path.map(|path| setting.reader().resolve(path)).or_else(|| setting.refuse(allowed))
}

fn private_key(file: &Path) -> Result<RsaPrivateKey, Cause> {
    let (pem, access) = read(file)?;
    let key = RsaPrivateKey::from_pem(&pem).map_err(|error| Cause::InvalidKey { file: file.into(), error })?;
    owner_alone(file, access)?;
    Ok(key)
}

/// Whose a file is, and its permission bits.
#[derive(Clone, Copy, Debug)]
pub(super) struct Access {
    pub(super) owner: u32,
    pub(super) mode: u32,
}

/// Whether nobody can use a file but its owner; of a file of root's also the group, to read it, for it was root who chose
/// the group. So come files from systemd (`LoadCredential=`, with an access list that shows as the group's bits) and from
/// Kubernetes (`fsGroup`).
pub(super) fn owner_alone(file: &Path, access: Access) -> Result<(), Cause> {
    let Access { owner, mode } = access;
    let exposing = if owner == 0 { 0o137 } else { 0o177 };
    if mode & exposing == 0 { Ok(()) } else { Err(Cause::Exposed { file: file.into(), mode }) }
}

fn public_key(file: &Path) -> Result<RsaPublicKey, Cause> {
    let (pem, _) = read(file)?;
    RsaPublicKey::from_pem(&pem).map_err(|error| Cause::InvalidKey { file: file.into(), error })
}

/// The text of a small regular file, and who can use it.
pub(super) fn read(file: &Path) -> Result<(Zeroizing<String>, Access), Cause> {
    read_up_to(file, LONGEST)
}

/// The text of a regular file that may hold as many certificates as a system's roots.
pub(super) fn read_bundle(file: &Path) -> Result<Zeroizing<String>, Cause> {
    read_up_to(file, LONGEST_BUNDLE).map(|(text, _)| text)
}

fn read_up_to(file: &Path, longest: u64) -> Result<(Zeroizing<String>, Access), Cause> {
    let read = || -> io::Result<_> {
        // Before opening, because to open a pipe may take for ever.
        if !file.metadata()?.is_file() {
            return Err(io::Error::other("not a regular file"));
        }
        let handle = File::open(file)?;
        let metadata = handle.metadata()?;
        let access = Access { owner: metadata.uid(), mode: metadata.mode() & 0o7777 };
        // One allocation, so that no copy of a key stays behind in one that was outgrown.
        let mut bytes = Zeroizing::new(Vec::with_capacity(longest as usize + 1));
        handle.take(longest + 1).read_to_end(&mut bytes)?;
        if bytes.len() as u64 > longest {
            return Err(io::Error::other("longer than any key file"));
        }
        let text = std::str::from_utf8(&bytes).map_err(|_| io::Error::other("not a text file"))?;
        Ok((Zeroizing::new(text.to_owned()), access))
    };
    read().map_err(|error| Cause::Unreadable { file: file.into(), error: error.to_string() })
}

/// The public key in a file, of a private key its public half.
pub fn read_public_half(file: &Path) -> Result<RsaPublicKey, Cause> {
    let (pem, _) = read(file)?;
    let key = match RsaPrivateKey::from_pem(&pem) {
        Err(InvalidKey::NotPrivate) => RsaPublicKey::from_pem(&pem),
        key => key.map(|key| key.public().clone()),
    };
    key.map_err(|error| Cause::InvalidKey { file: file.into(), error })
}
