//! The header of the PROXY protocol, version 1 or 2, with which a balancer begins a connection and says whose it is.
//!
//! Exactly its bytes are read: what follows is the client's. Whom to believe is decided elsewhere.

use std::io;
use std::net::SocketAddr;

use proxy_header::{ParseConfig, Protocol, ProxyHeader};
use tokio::io::{AsyncRead, AsyncReadExt};

/// How version 1 begins; a header of it ends with a line feed.
const TEXT: &[u8] = b"PROXY ";
/// The longest header of version 1, in bytes.
const MAX_TEXT: usize = 107;

/// How version 2 begins; four bytes follow, of which the last two are the length of what comes then.
const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
const BINARY_HEAD: usize = SIGNATURE.len() + 4;
/// The longest that is taken after these, in bytes: addresses, and what balancers add of TLS and names.
const MAX_BINARY: u16 = 4096;

/// Why there is no header.
#[derive(Debug, thiserror::Error)]
pub(super) enum HeaderError {
    /// Something else begins.
    #[error("the connection does not begin with a PROXY header")]
    Absent,
    /// It is no header of version 1 or 2 for a stream.
    #[error("the PROXY header is malformed")]
    Malformed,
    /// It is longer than any that is taken.
    #[error("the PROXY header is too long")]
    TooLong,
    /// The connection broke off.
    #[error("the connection broke off before its PROXY header was complete: {0}")]
    Broken(#[from] io::Error),
}

/// Reads a header. `None` if the balancer speaks for itself, or does not know for whom.
pub(super) async fn read(io: &mut (impl AsyncRead + Unpin)) -> Result<Option<SocketAddr>, HeaderError> {
    let mut header = Vec::with_capacity(MAX_TEXT);
    // No header is shorter.
    fill(io, &mut header, SIGNATURE.len()).await?;
    if header == SIGNATURE {
        fill(io, &mut header, BINARY_HEAD).await?;
        let [.., high, low] = header[..] else { return Err(HeaderError::Malformed) };
        let rest = u16::from_be_bytes([high, low]);
        if rest > MAX_BINARY {
            return Err(HeaderError::TooLong);
        }
        fill(io, &mut header, BINARY_HEAD + usize::from(rest)).await?;
    } else if header.starts_with(TEXT) {
        while !header.ends_with(b"\n") {
            if header.len() == MAX_TEXT {
                return Err(HeaderError::TooLong);
            }
            // By the byte, for what comes after the end is not ours.
            let next = header.len() + 1;
            fill(io, &mut header, next).await?;
        }
    } else {
        return Err(HeaderError::Absent);
    }
    parse(&header)
}

/// Reads until `header` has `len` bytes.
async fn fill(io: &mut (impl AsyncRead + Unpin), header: &mut Vec<u8>, len: usize) -> io::Result<()> {
    let missing = len.saturating_sub(header.len());
    // It grows with what arrives, not with what is claimed.
    if io.take(missing as u64).read_to_end(header).await? < missing {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(())
}

fn parse(header: &[u8]) -> Result<Option<SocketAddr>, HeaderError> {
    let config = ParseConfig { include_tlvs: false, ..ParseConfig::default() };
    match ProxyHeader::parse(header, config) {
        Ok((parsed, len)) if len == header.len() => match parsed.proxied_address() {
            None => Ok(None),
            Some(addresses) if addresses.protocol == Protocol::Stream => Ok(Some(addresses.source)),
            Some(_) => Err(HeaderError::Malformed),
        },
        Ok(_) | Err(_) => Err(HeaderError::Malformed),
    }
}

#[cfg(test)]
mod tests;
