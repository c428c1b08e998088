//! HTTP by the byte: a connection for each exchange.

use std::net::SocketAddr;

use syncseal::seal::{self, Reason};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::syncml;

/// An HTTP answer.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// Of HTTP/1: the minor version.
    pub(crate) minor: u8,
    /// Names in lower case.
    pub(crate) fields: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        self.fields.iter().find_map(|(found, value)| (found == name).then_some(value.as_str()))
    }

    pub(crate) fn content_type(&self) -> &str {
        self.field("content-type").expect("a Content-Type")
    }

    /// The reason of the refusal that it is.
    #[track_caller]
    pub(crate) fn reason(&self) -> Reason {
        syncml::reason(self.content_type(), &self.body).unwrap_or_else(|| panic!("no refusal: {self:?}"))
    }

    /// Fails unless it is the refusal with this reason, in problem details.
    #[track_caller]
    pub(crate) fn assert_problem(&self, reason: Reason) {
        assert_eq!(self.content_type(), "application/problem+json", "{self:?}");
        assert_eq!(self.reason(), reason);
        assert_eq!(self.status, reason.status());
        assert_eq!(self.field("cache-control"), Some("no-store"));
    }

    /// The same of a refusal for want of room, which says in both places when to come again.
    #[track_caller]
    pub(crate) fn assert_overloaded(&self) {
        self.assert_problem(Reason::Overloaded);
        let seconds: u64 = self.field("retry-after").expect("a Retry-After").parse().unwrap();
        let refusal = syncml::refusal(self.content_type(), &self.body).unwrap();
        assert_eq!(refusal.retry_after, Some(seconds));
    }

    /// Fails unless it is a seal.
    #[track_caller]
    pub(crate) fn assert_sealed(&self) {
        assert_eq!((self.status, self.content_type()), (200, seal::CONTENT_TYPE), "{self:?}");
        assert_eq!(self.field("cache-control"), Some("no-store"));
    }
}

/// The bytes of a POST to `/sync` with these further lines in its head.
pub(crate) fn post_bytes(fields: &str, body: &[u8]) -> Vec<u8> {
    request_bytes("POST /sync HTTP/1.1", &format!("{fields}Content-Length: {}\r\n", body.len()), body)
}

/// The bytes of a POST of what may be a seal to `/sync`.
pub(crate) fn post_seal_bytes(body: &[u8]) -> Vec<u8> {
    post_bytes(&format!("Content-Type: {}\r\n", seal::CONTENT_TYPE), body)
}

/// The bytes of a request.
pub(crate) fn request_bytes(line: &str, fields: &str, body: &[u8]) -> Vec<u8> {
    let head = format!("{line}\r\nHost: gateway.example\r\nConnection: close\r\n{fields}\r\n");
    [head.as_bytes(), body].concat()
}

/// POSTs a body of this type to `/sync`.
pub(crate) async fn post(addr: SocketAddr, content_type: &str, body: &[u8]) -> Answer {
    exchange(addr, &post_bytes(&format!("Content-Type: {content_type}\r\n"), body)).await
}

/// POSTs what may be a seal to `/sync`.
pub(crate) async fn post_seal(addr: SocketAddr, body: &[u8]) -> Answer {
    exchange(addr, &post_seal_bytes(body)).await
}

/// Writes the bytes of a request over a connection of its own, and reads the answer.
pub(crate) async fn exchange(addr: SocketAddr, request: &[u8]) -> Answer {
    let mut stream = TcpStream::connect(addr).await.unwrap();
    stream.write_all(request).await.unwrap();
    read_answer(&mut stream).await
}

/// Reads an answer with its Content-Length, without which no answer comes.
pub(crate) async fn read_answer(stream: &mut (impl AsyncRead + Unpin)) -> Answer {
    let mut received = Vec::new();
    loop {
        if let Some(answer) = parse(&received) {
            return answer;
        }
        let n = stream.read_buf(&mut received).await.unwrap();
        assert!(n > 0, "half an answer: {}", String::from_utf8_lossy(&received));
    }
}

fn parse(bytes: &[u8]) -> Option<Answer> {
    let mut fields = [httparse::EMPTY_HEADER; 32];
    let mut response = httparse::Response::new(&mut fields);
    let httparse::Status::Complete(head) = response.parse(bytes).unwrap() else { return None };
    let fields: Vec<_> = response
        .headers
        .iter()
        .map(|field| (field.name.to_ascii_lowercase(), String::from_utf8(field.value.to_vec()).unwrap()))
        .collect();
    let answer = Answer {
        status: response.code.unwrap(),
        minor: response.version.unwrap(),
        fields,
        body: bytes[head..].to_vec(),
    };
    assert_eq!(answer.field("transfer-encoding"), None);
    let length: usize = answer.field("content-length").expect("a Content-Length").parse().unwrap();
    (answer.body.len() == length).then_some(answer)
}
