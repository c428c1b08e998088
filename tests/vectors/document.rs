//! The cases of the data layer: documents.

use std::ops::Range;

use bytes::{Bytes, BytesMut};
use serde_json::Value;
use syncseal::crypto::CryptoProvider;
use syncseal::seal::data::{Sealable, SealedDocument};
use syncseal::seal::{self, Direction, Layer, Number, Reason, SealedRequest, SessionKeys};
use syncseal::syncml::{Form, MediaType};

use crate::file::{array, bytes, number, text};
use crate::{Parties, algorithm, direction, init_of, keys, numbered_of, says_end};

/// A case of the data layer.
pub(crate) struct DocumentCase<'a> {
    direction: Direction,
    number: Number,
    form: Form,
    content_type: &'a str,
    target: Option<&'a str>,
    end: bool,
    document: Vec<u8>,
    spans: Vec<Range<usize>>,
    sealed_document: Vec<u8>,
}

impl<'a> DocumentCase<'a> {
    pub(crate) fn read(case: &'a Value) -> Self {
        let content_type = text(&case["content_type"]);
        let offset = |offset: &Value| usize::try_from(number(offset)).unwrap();
        let spans = case["spans"].as_array().unwrap();
        Self {
            direction: direction(&case["direction"]),
            number: Number::new(number(&case["number"])).unwrap(),
            form: MediaType::parse(content_type.as_bytes()).unwrap().form,
            content_type,
            target: case["target"].as_str(),
            end: says_end(&bytes(&case["protected"])),
            document: bytes(&case["document"]),
            spans: spans.iter().map(|span| offset(&span[0])..offset(&span[1])).collect(),
            sealed_document: bytes(&case["sealed_document"]),
        }
    }

    fn sealable(&self) -> Sealable {
        Sealable::new(self.form, self.content_type.as_bytes(), self.document.clone().into()).unwrap()
    }

    /// Whether it is an init request or response.
    pub(crate) fn begins(&self, direction: Direction) -> bool {
        self.number == Number::ZERO && self.direction == direction
    }

    /// Seals and opens it, if it is numbered.
    pub(crate) fn exchange(&self, terminal: &SessionKeys, gateway: &SessionKeys) {
        let Self { number, end, .. } = *self;
        let sealable = self.sealable();
        assert_eq!(sealable.spans(), self.spans);
        if number == Number::ZERO {
            return;
        }
        let sealed = match self.direction {
            Direction::C2s => terminal.seal_request_document(number, self.target.unwrap(), &sealable).unwrap(),
            Direction::S2c => gateway.seal_response_document(number, end, &sealable).unwrap(),
        };
        assert_eq!(sealed, self.sealed_document);
        let sealed = BytesMut::from(&*self.sealed_document);
        let (seal, document) = SealedDocument::split(self.form, self.content_type.as_bytes(), sealed).unwrap();
        let opened = match self.direction {
            Direction::C2s => gateway.open_document(&numbered_of(Layer::Data, seal), document, self.target),
            Direction::S2c => {
                let received = seal::decode_response(Layer::Data, seal).unwrap();
                assert_eq!((received.header().number, received.header().end), (number, end));
                terminal.open_document(&received, document, None)
            }
        };
        assert_eq!(opened.unwrap().check().unwrap(), self.document);
    }
}

/// Runs an init request and its response from either side, in documents of the file or in any, and gives each party's
/// keys.
pub(crate) fn establish_in_documents(
    parties: &Parties<'_>,
    request: Option<&DocumentCase<'_>>,
    response: Option<&DocumentCase<'_>>,
) -> (SessionKeys, SessionKeys) {
    let (form, content_type, target) = match request {
        Some(case) => (case.form, case.content_type, case.target.unwrap()),
        None => (Form::Xml, "application/vnd.syncml+xml", "/sync"),
    };
    let sealable = |case: Option<&DocumentCase<'_>>| match case {
        Some(case) => (case.document.clone(), case.form, case.content_type.to_owned()),
        None => (keys::DOCUMENT.to_vec(), Form::Xml, "application/vnd.syncml+xml".to_owned()),
    };

    let (asked, _, _) = sealable(request);
    let request_sealable = Sealable::new(form, content_type.as_bytes(), asked.clone().into()).unwrap();
    let (sealed, pending) = parties.init_request().seal_document(target, &request_sealable).unwrap();
    if let Some(case) = request {
        assert_eq!(sealed, case.sealed_document);
    }
    let (seal, document) = SealedDocument::split(form, content_type.as_bytes(), sealed.as_ref().into()).unwrap();
    let (opened, document) = parties.unwrap_init(init_of(Layer::Data, seal)).open_document(document, target).unwrap();
    assert_eq!(document.check().unwrap(), asked);

    let (answered, form, content_type) = sealable(response);
    let response_sealable = Sealable::new(form, content_type.as_bytes(), answered.clone().into()).unwrap();
    let (sealed, gateway) = parties.reply(opened).seal_document(&response_sealable).unwrap();
    if let Some(case) = response {
        assert_eq!(sealed, case.sealed_document);
    }
    let established =
        pending.handle_document(&parties.terminal, form, content_type.as_bytes(), sealed.as_ref().into()).unwrap();
    parties.check_established(&established);
    assert_eq!(established.plaintext, answered);
    assert_eq!(established.end, says_end(&bytes(&parties.session["r"])));
    (established.keys, gateway)
}

/// Opens a document with the key and nonce of the case, whatever its header says.
pub(crate) fn open_with(provider: &'static dyn CryptoProvider, case: &Value) -> Result<Bytes, Reason> {
    let content_type = text(&case["content_type"]).as_bytes();
    let form = MediaType::parse(content_type).unwrap().form;
    let received = BytesMut::from(&bytes(&case["bytes"])[..]);
    let (seal, document) = SealedDocument::split(form, content_type, received)?;
    let sealed = match direction(&case["direction"]) {
        Direction::C2s => match seal::decode_request(Layer::Data, seal)? {
            SealedRequest::Numbered(sealed) => sealed,
            SealedRequest::Init(sealed) => panic!("an init request: {sealed:?}"),
        },
        Direction::S2c => seal::decode_response(Layer::Data, seal)?,
    };
    let (key, iv) = (bytes(&case["key"]), seal::nonce(&array(&case["nonce"]), sealed.header().number).to_vec());
    let given = keys::Given {
        layer: Layer::Data,
        alg: algorithm(&case["alg"]),
        sid: sealed.header().sid,
        key_c2s: key.clone(),
        key_s2c: key,
        iv_c2s: iv.clone(),
        iv_s2c: iv,
    };
    let opened = keys::session_keys(provider, &given).open_document(&sealed, document, case["target"].as_str())?;
    Ok(opened.check()?)
}
