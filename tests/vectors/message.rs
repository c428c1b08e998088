//! The messages of the vectors, as plaintexts.

use serde_json::Value;
use syncseal::seal::{Direction, Extras, Fields, HandshakePlaintext, Plaintext, Request, Response};

use crate::file::{bytes, text};

/// A message of the file, in parts.
struct Message {
    content_type: String,
    target: Option<String>,
    status: Option<u16>,
    fields: Vec<(String, Vec<u8>)>,
    body: Vec<u8>,
}

impl Message {
    /// `None` is the handshake.
    fn read(message: &Value) -> Option<Self> {
        let message = Some(&message["message"]).filter(|message| !message.is_null())?;
        let fields = message["fields"].as_array().unwrap();
        Some(Self {
            content_type: text(&message["content_type"]).to_owned(),
            target: message["target"].as_str().map(ToOwned::to_owned),
            status: message["status"].as_u64().map(|status| status.try_into().unwrap()),
            fields: fields.iter().map(|field| (text(&field[0]).to_owned(), bytes(&field[1]))).collect(),
            body: bytes(&message["body"]),
        })
    }

    /// Its fields, among others that may not travel.
    fn fields(&self, direction: Direction) -> Fields<'_> {
        let own = self.fields.iter().map(|(name, value)| (name.as_str(), value.as_slice()));
        let others: [(&str, &[u8]); 2] = [("host", b"server.example"), ("accept-encoding", b"gzip")];
        let fields = Fields::filter(direction, &Extras::default(), own.clone().chain(others));
        assert!(fields.iter().eq(own));
        fields
    }
}

/// Builds the plaintext of a message of the file, and compares it.
pub(crate) fn with_plaintext<T>(vector: &Value, seal: impl FnOnce(&Plaintext<'_>) -> T) -> T {
    let message = Message::read(vector);
    let plaintext = match &message {
        None => HandshakePlaintext.plaintext(),
        Some(message @ Message { content_type, target: Some(target), body, .. }) => {
            Request { content_type, target, fields: message.fields(Direction::C2s), body }.plaintext()
        }
        Some(message @ Message { content_type, status, body, .. }) => {
            let fields = message.fields(Direction::S2c);
            Response { content_type, status: status.unwrap(), fields, body }.plaintext()
        }
    };
    seal(&plaintext)
}

/// Compares an opened plaintext, and what it says, with a message of the file.
pub(crate) fn check_opened(vector: &Value, plaintext: &[u8]) {
    assert_eq!(plaintext, bytes(&vector["plaintext"]));
    let extras = Extras::default();
    match Message::read(vector) {
        None => assert_eq!(HandshakePlaintext::decode(plaintext), Ok(HandshakePlaintext)),
        Some(message @ Message { target: Some(_), .. }) => {
            let request = Request::decode(plaintext, &extras).unwrap();
            assert_eq!(request.content_type, message.content_type);
            assert_eq!(Some(request.target), message.target.as_deref());
            assert_eq!(request.fields, message.fields(Direction::C2s));
            assert_eq!(request.body, message.body);
        }
        Some(message) => {
            let response = Response::decode(plaintext, &extras).unwrap();
            assert_eq!(response.content_type, message.content_type);
            assert_eq!(Some(response.status), message.status);
            assert_eq!(response.fields, message.fields(Direction::S2c));
            assert_eq!(response.body, message.body);
        }
    }
}
