//! Secrets that a gateway shares with one terminal each, and the names that they go by (PROTOCOL sections 2 and 3.3).
//!
//! As text, a secret is standard base64, with padding, in one line: 44 characters for 32 bytes. How a key is derived of
//! it is left to [`crate::seal`].

use std::{fmt, str::FromStr, sync::Arc};

use zeroize::Zeroizing;

use super::{RandomFailed, SecureRandom};

/// The name of a shared secret, which is the key id on the wire: UTF-8 of 1 to 64 bytes.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct KeyName(Arc<str>);

/// Not the name of a shared secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the name of a secret is UTF-8 text of 1 to 64 bytes")]
pub struct InvalidKeyName;

impl KeyName {
    /// The longest, in bytes.
    pub const MAX_LEN: usize = 64;

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for KeyName {
    type Err = InvalidKeyName;

    fn from_str(name: &str) -> Result<Self, InvalidKeyName> {
        if (1..=Self::MAX_LEN).contains(&name.len()) { Ok(Self(name.into())) } else { Err(InvalidKeyName) }
    }
}

impl TryFrom<&[u8]> for KeyName {
    type Error = InvalidKeyName;

    fn try_from(name: &[u8]) -> Result<Self, InvalidKeyName> {
        std::str::from_utf8(name).map_err(|_| InvalidKeyName)?.parse()
    }
}

impl fmt::Display for KeyName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A secret that is shared with one terminal: random, never a password. Zeroed on drop, never printed.
#[derive(Clone)]
pub struct TerminalSecret(Zeroizing<Vec<u8>>);

/// Not the text of a shared secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidSecret {
    /// Not one line of standard base64.
    #[error("not a secret: it is one line of standard base64 with padding, as `syncseal keygen --shared` makes it")]
    Encoding,
    /// Fewer than 32 bytes.
    #[error("a secret of {len} bytes; it has at least 32 random bytes, as `syncseal keygen --shared` makes it")]
    Length {
        /// Its length in bytes.
        len: usize,
    },
}

impl TerminalSecret {
    /// The fewest bytes of a secret (PROTOCOL section 3.3), and those of a fresh one.
    pub const MIN_LEN: usize = 32;

    /// A fresh secret.
    pub fn generate(random: &dyn SecureRandom) -> Result<Self, RandomFailed> {
        let mut bytes = Zeroizing::new(vec![0; Self::MIN_LEN]);
        random.fill(&mut bytes)?;
        Ok(Self(bytes))
    }

    /// From its text, with or without the end of the line.
    pub fn from_text(text: &str) -> Result<Self, InvalidSecret> {
        let line = text.strip_suffix('\n').unwrap_or(text);
        let line = line.strip_suffix('\r').unwrap_or(line);
        let bytes = base64_turbo::STANDARD.decode(line).map(Zeroizing::new).map_err(|_| InvalidSecret::Encoding)?;
        if bytes.len() < Self::MIN_LEN {
            return Err(InvalidSecret::Length { len: bytes.len() });
        }
        Ok(Self(bytes))
    }

    /// Its text, with the end of the line.
    pub fn to_text(&self) -> Zeroizing<String> {
        // The whole length at once, so that no copy stays behind in an allocation that was outgrown.
        let base64 = Zeroizing::new(base64_turbo::STANDARD.encode(self.expose()));
        let mut text = Zeroizing::new(String::with_capacity(base64.len() + 1));
        text.push_str(&base64);
        text.push('\n');
        text
    }

    /// Its bytes: at least 32.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for TerminalSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TerminalSecret({} bytes)", self.0.len())
    }
}
