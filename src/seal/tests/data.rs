//! The data layer: whatever document is sealed opens to the same bytes, and whatever is changed in a sealed one does not
//! open.

use std::ops::Range;

use super::super::data::{Flaw, Sealable, SealedDocument, Unfit};
use super::*;
use crate::syncml::{Event, Form, Kind, Limits, Reader, Strictness};

const XML: &[u8] = b"application/vnd.syncml+xml";
const WBXML: &[u8] = b"application/vnd.syncml+wbxml";
const TARGET: &str = "/sync?s=1";
const NUMBER: Number = match Number::new(7) {
    Some(number) => number,
    None => Number::MAX,
};

static SESSION: LazyLock<(SessionKeys, SessionKeys)> = LazyLock::new(|| establish_data(Algorithm::A256Gcm));

/// A handshake in documents.
fn establish_data(alg: Algorithm) -> (SessionKeys, SessionKeys) {
    let provider = default_provider();
    let parameters = InitParameters { layer: Layer::Data, ..parameters(alg, Some(NamedGroup::X25519)) };
    let accepts = Accepts { layers: vec![Layer::Data], ..accepts_all() };
    let (sealed, pending) = InitRequest::new(provider, &SystemRandom, &parameters)
        .unwrap()
        .seal_document(TARGET, &sealable(Form::Xml, SMALL_XML).unwrap())
        .unwrap();
    let (seal, document) = SealedDocument::split(Form::Xml, XML, sealed.as_ref().into()).unwrap();
    let Ok(SealedRequest::Init(sealed)) = decode_request(Layer::Data, seal) else { panic!("an init request") };
    let unwrapped =
        sealed.check(provider, &accepts, RECIPIENTS.at(0)).unwrap().unwrap_key(provider, &SystemRandom).unwrap();
    let (opened, document) = unwrapped.open_document(document, TARGET).unwrap();
    assert_eq!(document.check().unwrap(), SMALL_XML);
    let reply = opened.reply(provider, Sid([3; 16]), false);
    let (response, gateway) = reply.seal_document(&sealable(Form::Xml, SMALL_XML).unwrap()).unwrap();
    let established = pending.handle_document(provider, Form::Xml, XML, response.as_ref().into()).unwrap();
    assert_eq!(established.plaintext, SMALL_XML);
    (established.keys, gateway)
}

const fn content_type(form: Form) -> &'static [u8] {
    match form {
        Form::Xml => XML,
        Form::Wbxml => WBXML,
    }
}

fn sealable(form: Form, document: &[u8]) -> Result<Sealable, Unfit> {
    Sealable::new(form, content_type(form), Bytes::copy_from_slice(document))
}

/// Seals as the terminal.
fn seal(form: Form, document: &[u8]) -> Result<Bytes, Unfit> {
    let sealed = SESSION.0.seal_request_document(NUMBER, TARGET, &sealable(form, document)?);
    // What was found fit is sealed: the check of the result is for faults of ours.
    Ok(sealed.unwrap_or_else(|unfit| panic!("{unfit}: {}", document.escape_ascii())))
}

/// Opens as the gateway.
fn open(form: Form, sealed: &[u8]) -> Result<Bytes, Reason> {
    let (seal, document) = SealedDocument::split(form, content_type(form), sealed.into())?;
    match decode_request(Layer::Data, seal)? {
        SealedRequest::Numbered(sealed) => Ok(SESSION.1.open_document(&sealed, document, Some(TARGET))?.check()?),
        SealedRequest::Init(_) => Err(Reason::CannotOpen),
    }
}

/// True if it was sealed and opened again; a document that is refused is none of this property's.
fn round_trip(form: Form, document: &[u8]) -> bool {
    let Ok(sealed) = seal(form, document) else { return false };
    assert_eq!(open(form, &sealed).unwrap(), document, "{}", document.escape_ascii());
    // What was sealed can be read as before, but for its data.
    for event in Reader::new(form, &sealed, &Limits::default(), Strictness::Strict).unwrap() {
        event.unwrap();
    }
    true
}

const SMALL_XML: &[u8] = b"<SyncML><SyncHdr><MsgID>1</MsgID><Source><LocURI>d</LocURI><LocName>me</LocName></Source>\
    <Meta><MaxMsgSize>9</MaxMsgSize></Meta></SyncHdr><SyncBody><Add><Item><Data>one</Data></Item><Item>\
    <Data><![CDATA[two]]></Data></Item></Add><Alert><Data>200</Data></Alert><Final/></SyncBody></SyncML>";

/// The same without a Meta, in another dress.
const PREFIXED_XML: &[u8] =
    b"\xef\xbb\xbf<?xml version='1.0'?><!DOCTYPE s:SyncML><s:SyncML xmlns:s='SYNCML:SYNCML1.1'>\
    <s:SyncHdr><s:MsgID>1</s:MsgID></s:SyncHdr><s:SyncBody><!-- x --><s:Put><s:Data>a</s:Data><s:Data>bc</s:Data>\
    <s:Data/></s:Put></s:SyncBody></s:SyncML>";

/// SMALL_XML in WBXML, with Meta on page 1, and an anchor as user data.
const SMALL_WBXML: &[u8] =
    b"\x02\xa4\x01\x6a\x00\x6d\x6c\x5b\x03\x31\x00\x01\x67\x57\x03d\x00\x01\x56\x03me\x00\x01\x01\
    \x5a\x00\x01\x4c\x039\x00\x01\x01\x01\x00\x00\x6b\x45\x54\x4f\xc3\x03one\x01\x01\x54\x4f\x00\x01\x45\x03two\x00\x01\
    \x01\x01\x00\x00\x01\x46\x4f\x03200\x00\x01\x01\x12\x01\x01";

/// Without a Meta.
const BARE_WBXML: &[u8] =
    b"\x02\xa4\x01\x6a\x02x\x00\x6d\x6c\x5b\x83\x00\x01\x01\x6b\x5f\x4f\x03ab\x00\x01\x4f\x03c\x00\x01\x0f\x01\x01\x01";

const SMALL: [(Form, &[u8]); 4] =
    [(Form::Xml, SMALL_XML), (Form::Xml, PREFIXED_XML), (Form::Wbxml, SMALL_WBXML), (Form::Wbxml, BARE_WBXML)];

/// Bodies of real peers.
fn captures() -> Vec<(Form, Vec<u8>)> {
    let mut captures = Vec::new();
    for (directory, form) in [("syncevolution-xml", Form::Xml), ("syncevolution-wbxml", Form::Wbxml)] {
        let root = format!("{}/tests/captures/{directory}", env!("CARGO_MANIFEST_DIR"));
        let files = std::fs::read_dir(root).unwrap().map(|entry| entry.unwrap().path());
        let bodies = files.filter(|path| path.extension().is_some_and(|extension| extension != "head"));
        captures.extend(bodies.map(|path| (form, std::fs::read(path).unwrap())));
    }
    assert_eq!(captures.len(), 16);
    captures
}

#[test]
fn small_documents_and_captures_come_back_byte_for_byte() {
    for (form, document) in SMALL {
        assert!(round_trip(form, document));
    }
    for (form, document) in captures() {
        assert!(round_trip(form, &document));
    }
}

#[test]
fn every_algorithm_seals_documents_both_ways() {
    for alg in Algorithm::ALL {
        let (terminal, gateway) = establish_data(alg);
        for (form, document) in SMALL {
            let sealed = gateway.seal_response_document(NUMBER, true, &sealable(form, document).unwrap()).unwrap();
            let (seal, document_sealed) =
                SealedDocument::split(form, content_type(form), sealed.as_ref().into()).unwrap();
            let received = decode_response(Layer::Data, seal).unwrap();
            assert!(received.header().end);
            let opened = terminal.open_document(&received, document_sealed, None).unwrap();
            assert_eq!(opened.check().unwrap(), document);
        }
    }
}

// --- Documents of all kinds

/// A piece of XML content that is well-formed.
fn xml_content() -> impl Strategy<Value = String> {
    let name = prop::sample::select(vec![
        "Data",
        "LocName",
        "x:Data",
        "y:LocName",
        "Item",
        "Meta",
        "Status",
        "Alert",
        "Add",
        "Sync",
        "Atomic",
        "Source",
        "LocURI",
        "data",
        "Type",
        "ÄData",
        "s:Status",
    ]);
    let text = "[ -%'-;=?-~\n\u{e4}\u{20ac}\u{1f600}]{0,20}";
    let leaf = prop_oneof![
        4 => text,
        1 => text.prop_map(|text| format!("<![CDATA[</Data><&{text}]]>")),
        1 => "[ a-z</&]{0,10}".prop_map(|text| format!("<!--{text}<Data>-->")),
        1 => prop::sample::select(vec!["&amp;", "&#65;", "&#x20AC;", "<?pi <Data> ?>", " ", "]]", "<x a='>' b=\"'\"/>"])
            .prop_map(str::to_owned),
        1 => (1..2000_usize).prop_map(|len| "x".repeat(len)),
    ];
    leaf.prop_recursive(5, 40, 6, move |inner| {
        (name.clone(), prop::collection::vec(inner, 0..6), prop::sample::select(vec!["", " ", " a='1'", "\n b='>'"]))
            .prop_map(|(name, children, attributes)| match &*children.concat() {
                "" if attributes.is_empty() => format!("<{name}/>"),
                content => format!("<{name}{attributes}>{content}</{name}\n>"),
            })
    })
}

pub(in crate::seal) fn xml_document() -> impl Strategy<Value = String> {
    let prolog = prop::sample::select(vec![
        "",
        "\u{feff}",
        "<?xml version=\"1.0\" encoding=\"utf-8\"?>\n",
        "\u{feff}<?xml version='1.0' standalone='yes' ?><!-- <SyncML> -->",
        "<!DOCTYPE SyncML PUBLIC '-//SYNCML//DTD SyncML 1.1//EN' \"x.dtd\">\n<?pi?>",
    ]);
    let prefix = prop::sample::select(vec!["", "s:", "SYNCML:"]);
    let contents = || prop::collection::vec(xml_content(), 0..5).prop_map(|parts| parts.concat());
    let metas = prop::collection::vec((any::<bool>(), contents()), 0..3);
    let epilog = prop::sample::select(vec!["", "\n", "<!-- -->\n<?pi x?>"]);
    (prolog, prefix, contents(), metas, contents(), epilog).prop_map(|(prolog, p, header, metas, body, epilog)| {
        let metas: String = metas
            .into_iter()
            .map(|(empty, content)| match empty {
                true => format!("<{p}Meta/>"),
                false => format!("<{p}Meta>{content}</{p}Meta>"),
            })
            .collect();
        format!(
            "{prolog}<{p}SyncML xmlns:s='SYNCML:SYNCML1.2'><{p}SyncHdr>{header}{metas}{header}</{p}SyncHdr >\
             <{p}SyncBody>{body}</{p}SyncBody></{p}SyncML>{epilog}"
        )
    })
}

/// What a WBXML document is made of.
#[derive(Clone, Debug)]
enum Node {
    /// A tag on its page; without content if there is none.
    Element(u8, u8, Option<Vec<Self>>),
    /// SWITCH_PAGE, needed or not.
    Page(u8),
    /// STR_I, STR_T, OPAQUE, ENTITY, as they stand.
    Text(Vec<u8>),
}

fn wbxml_content() -> impl Strategy<Value = Vec<Node>> {
    let opaque = (prop::collection::vec(any::<u8>(), 0..150), any::<bool>()).prop_map(|(bytes, padded)| {
        let mut out = vec![0xc3];
        if padded || bytes.len() > 127 {
            out.push(0x80 | (bytes.len() >> 7) as u8);
        }
        out.push((bytes.len() & 0x7f) as u8);
        out.extend(bytes);
        out
    });
    let inline = prop::collection::vec(1..=255_u8, 0..20).prop_map(|text| [&[0x03][..], &text, &[0]].concat());
    let leaf = prop_oneof![
        3 => inline.prop_map(Node::Text),
        3 => opaque.prop_map(Node::Text),
        1 => Just(Node::Text(vec![0x02, 0x81, 0x00])),
        1 => Just(Node::Text(vec![0x83, 0x00])),
        1 => (0..3_u8).prop_map(Node::Page),
    ];
    // Data, LocName, Item, Meta, Status, Alert, Add, Sync, Source, LocURI; on page 1 what 0x0f and 0x16 are there.
    let tag = prop::sample::select(vec![
        (0, 0x0f),
        (0, 0x0f),
        (0, 0x16),
        (0, 0x14),
        (0, 0x1a),
        (0, 0x29),
        (0, 0x06),
        (0, 0x05),
        (0, 0x2a),
        (0, 0x27),
        (0, 0x17),
        (1, 0x0f),
        (1, 0x16),
        (1, 0x29),
        (1, 0x05),
        (2, 0x0f),
        (0, 0x3f),
    ]);
    let node = leaf.prop_recursive(5, 40, 6, move |inner| {
        (tag.clone(), prop::option::weighted(0.9, prop::collection::vec(inner, 0..6)))
            .prop_map(|((page, token), content)| Node::Element(page, token, content))
    });
    prop::collection::vec(node, 0..5)
}

pub(in crate::seal) fn wbxml_document() -> impl Strategy<Value = Vec<u8>> {
    let header = prop::sample::select(vec![
        &b"\x02\xa4\x01\x6a\x02x\0"[..],
        b"\x01\x9f\x53\x03\x02x\0",
        b"\x03\x00\x02\x6a\x04x\0y\0",
    ]);
    let metas = prop::collection::vec(prop::option::weighted(0.8, wbxml_content()), 0..3);
    (header, wbxml_content(), metas, wbxml_content(), wbxml_content()).prop_map(
        |(header, fields, metas, after, body)| {
            let metas = metas.into_iter().map(|content| Node::Element(0, 0x1a, content));
            let fields = fields.into_iter().chain(metas).chain(after).collect();
            let header_node = Node::Element(0, 0x2c, Some(fields));
            let root = Node::Element(0, 0x2d, Some(vec![header_node, Node::Element(0, 0x2b, Some(body))]));
            let mut out = header.to_vec();
            write(&mut out, &mut 0, &root);
            out
        },
    )
}

fn write(out: &mut Vec<u8>, page: &mut u8, node: &Node) {
    match node {
        Node::Text(bytes) => out.extend(bytes),
        Node::Page(to) => {
            *page = *to;
            out.extend([0, *to]);
        }
        Node::Element(on, token, content) => {
            if page != on {
                *page = *on;
                out.extend([0, *on]);
            }
            out.push(token | if content.is_some() { 0x40 } else { 0 });
            if let Some(content) = content {
                content.iter().for_each(|node| write(out, page, node));
                out.push(1);
            }
        }
    }
}

/// How many of a property's documents were sealed: if hardly any is, it says nothing.
fn sealed_of(cases: u32, property: impl FnOnce(&std::cell::Cell<u32>)) -> f64 {
    let sealed = std::cell::Cell::new(0);
    property(&sealed);
    f64::from(sealed.get()) / f64::from(cases)
}

#[test]
fn well_formed_xml_comes_back_byte_for_byte() {
    const CASES: u32 = 600;
    let share = sealed_of(CASES, |sealed| {
        proptest!(ProptestConfig::with_cases(CASES), |(document in xml_document())| {
            sealed.set(sealed.get() + u32::from(round_trip(Form::Xml, document.as_bytes())));
        });
    });
    assert!(share > 0.9, "{share}");
}

#[test]
fn well_formed_wbxml_comes_back_byte_for_byte_or_is_refused() {
    const CASES: u32 = 800;
    let share = sealed_of(CASES, |sealed| {
        proptest!(ProptestConfig::with_cases(CASES), |(document in wbxml_document())| {
            sealed.set(sealed.get() + u32::from(round_trip(Form::Wbxml, &document)));
        });
    });
    // The others have STR_T in user data, or let it stray to another page.
    assert!(share > 0.3, "{share}");
}

#[test]
fn mutated_captures_come_back_byte_for_byte_or_are_refused() {
    static CAPTURES: LazyLock<Vec<(Form, Vec<u8>)>> =
        LazyLock::new(|| captures().into_iter().filter(|(_, document)| document.len() < 4000).collect());
    proptest!(ProptestConfig::with_cases(600), |(
        index in any::<prop::sample::Index>(),
        edits in prop::collection::vec((any::<prop::sample::Index>(), 0..4_usize, 0..8_usize, any::<u8>()), 1..4),
    )| {
        let (form, document) = index.get(&CAPTURES);
        let mut document = document.clone();
        for (at, kind, len, byte) in edits {
            let at = at.index(document.len());
            let end = (at + len).min(document.len());
            match kind {
                0 => document[at] = byte,
                1 => drop(document.drain(at..end)),
                2 => {
                    let copy = document[at..end].to_vec();
                    drop(document.splice(at..at, copy));
                }
                _ => document.insert(at, byte),
            }
        }
        round_trip(*form, &document);
    });
}

#[test]
fn whatever_comes_is_no_sealed_document() {
    proptest!(|(rest in prop::collection::vec(any::<u8>(), 0..300), wbxml: bool)| {
        let form = if wbxml { Form::Wbxml } else { Form::Xml };
        let start: &[u8] = if wbxml { b"\x02\xa4\x01\x6a\x00\x6d\x6c" } else { b"<SyncML><SyncHdr>" };
        prop_assert!(open(form, &[start, &rest].concat()).is_err());
    });
}

// --- What is changed in a sealed document

/// Every element, from its start tag to its end tag.
fn elements(form: Form, document: &[u8]) -> Vec<Range<usize>> {
    let (mut open, mut elements) = (Vec::new(), Vec::new());
    for event in Reader::new(form, document, &Limits::default(), Strictness::Strict).unwrap() {
        let Event { span, kind, .. } = event.unwrap();
        match kind {
            Kind::Start(_) => open.push(span.start),
            Kind::Empty(_) => elements.push(span),
            Kind::End => elements.push(open.pop().unwrap()..span.end),
            Kind::Text(_) => {}
        }
    }
    elements
}

/// Where the pieces stand, encoded, in a sealed document.
fn pieces(form: Form, sealed: &[u8]) -> Vec<Range<usize>> {
    let sealable = {
        // Without its seal it is a document like any other.
        let emi = memchr::memmem::find(sealed, b"syncseal").unwrap();
        let mut plain = sealed.to_vec();
        plain[emi] = b'x';
        sealable(form, &plain).unwrap()
    };
    sealable.spans().to_vec()
}

fn decode(form: Form, piece: &[u8]) -> Vec<u8> {
    match form {
        Form::Xml => decode_base64(piece).unwrap(),
        Form::Wbxml => piece[2..].to_vec(),
    }
}

fn encode(form: Form, bytes: &[u8]) -> Vec<u8> {
    match form {
        Form::Xml => encode_base64(bytes).into_bytes(),
        Form::Wbxml => [&[0xc3, bytes.len() as u8], bytes].concat(),
    }
}

/// The document with other content at two places, the first before the second.
fn with_two(sealed: &[u8], at: [&Range<usize>; 2], content: [&[u8]; 2]) -> Vec<u8> {
    [&sealed[..at[0].start], content[0], &sealed[at[0].end..at[1].start], content[1], &sealed[at[1].end..]].concat()
}

#[test]
fn no_single_bit_can_be_changed() {
    for (form, document) in SMALL {
        let sealed = seal(form, document).unwrap();
        let mut changed = sealed.to_vec();
        for bit in 0..sealed.len() * 8 {
            changed[bit / 8] ^= 1 << (bit % 8);
            assert!(open(form, &changed).is_err(), "bit {bit}: {}", changed.escape_ascii());
            changed[bit / 8] ^= 1 << (bit % 8);
        }
    }
}

#[test]
fn no_byte_can_be_left_out_and_nothing_follows() {
    for (form, document) in SMALL {
        let sealed = seal(form, document).unwrap();
        for at in 0..sealed.len() {
            assert!(open(form, &[&sealed[..at], &sealed[at + 1..]].concat()).is_err(), "{at}");
            assert!(open(form, &sealed[..at]).is_err(), "{at}");
        }
        for more in [&b"\0"[..], b" ", b"\n", b"\x01", b"<!-- -->"] {
            assert!(open(form, &[&sealed, more].concat()).is_err());
        }
    }
}

#[test]
fn no_two_pieces_can_be_exchanged_and_no_boundary_moved() {
    let mut documents: Vec<_> = SMALL.map(|(form, document)| (form, document.to_vec())).into();
    documents.push((Form::Xml, SMALL_XML.to_vec()));
    for (form, document) in documents {
        let sealed = seal(form, &document).unwrap();
        let pieces = pieces(form, &sealed);
        assert!(pieces.len() > 1);
        for (i, first) in pieces.iter().enumerate() {
            for second in &pieces[i + 1..] {
                let (a, b) = (&sealed[first.clone()], &sealed[second.clone()]);
                assert!(open(form, &with_two(&sealed, [first, second], [b, a])).is_err());
            }
        }
        for pair in pieces.windows(2) {
            let all = pair.iter().flat_map(|piece| decode(form, &sealed[piece.clone()])).collect::<Vec<_>>();
            let boundary = decode(form, &sealed[pair[0].clone()]).len();
            for cut in (0..=all.len()).filter(|cut| *cut != boundary) {
                let (a, b) = all.split_at(cut);
                let moved = with_two(&sealed, [&pair[0], &pair[1]], [&encode(form, a), &encode(form, b)]);
                assert!(open(form, &moved).is_err(), "{cut}");
            }
        }
    }
}

#[test]
fn no_element_can_be_removed_or_doubled() {
    let small = SMALL.map(|(form, document)| (form, document.to_vec()));
    for (form, document) in captures().into_iter().filter(|(_, document)| document.len() < 3000).chain(small) {
        let sealed = seal(form, &document).unwrap();
        for Range { start, end } in elements(form, &sealed) {
            let (before, element, after) = (&sealed[..start], &sealed[start..end], &sealed[end..]);
            assert!(open(form, &[before, after].concat()).is_err(), "{start}..{end} removed");
            assert!(open(form, &[before, element, element, after].concat()).is_err(), "{start}..{end} doubled");
        }
    }
}

#[test]
fn target_content_type_direction_and_number_are_authentic() {
    for (form, document) in SMALL {
        let sealed = seal(form, document).unwrap();
        let split = |content_type: &[u8]| SealedDocument::split(form, content_type, sealed.as_ref().into()).unwrap();
        let request = |content_type: &[u8], target: Option<&str>, keys: &SessionKeys| {
            let (seal, document) = split(content_type);
            let Ok(SealedRequest::Numbered(sealed)) = decode_request(Layer::Data, seal) else { panic!() };
            keys.open_document(&sealed, document, target).map(drop)
        };
        let content_type = content_type(form);
        assert_eq!(request(content_type, Some(TARGET), &SESSION.1), Ok(()));
        assert_eq!(request(content_type, Some("/sync?s=2"), &SESSION.1), Err(Reason::CannotOpen));
        assert_eq!(request(content_type, None, &SESSION.1), Err(Reason::CannotOpen));
        assert_eq!(request(&content_type.to_ascii_uppercase(), Some(TARGET), &SESSION.1), Err(Reason::CannotOpen));
        let (seal, document) = split(content_type);
        let response = decode_response(Layer::Data, seal).unwrap();
        assert_eq!(SESSION.0.open_document(&response, document, None).map(drop), Err(Reason::CannotOpen));
        let (other, _) = establish_data(Algorithm::A256Gcm);
        assert_eq!(request(content_type, Some(TARGET), &other), Err(Reason::CannotOpen));
    }
}

// --- What a sealer refuses

#[test]
fn what_cannot_be_sealed_is_named_with_its_place() {
    let refused = |form, document: &[u8]| sealable(form, document).unwrap_err().to_string();
    let document = |header: &str, body: &str| {
        format!("<SyncML><SyncHdr>{header}</SyncHdr><SyncBody>{body}</SyncBody></SyncML>").into_bytes()
    };
    for (text, said) in [
        (document("", "<Data>&x;</Data>"), "a reference to nothing that is declared at byte 43"),
        (document("<Meta><a><EMI>sync<![CDATA[seal]]>-x</EMI></a></Meta>", ""), "a SyncSeal EMI at byte 26"),
        (b"<SyncML><SyncHdr/></SyncML>".to_vec(), "a SyncHdr without content at byte 8"),
        (b"<SyncML><a/><SyncHdr></SyncHdr></SyncML>".to_vec(), "an element before SyncHdr at byte 8"),
        (document("<a:b:c/>", ""), "a name that is not an XML name at byte 17"),
        (document("<:c/>", ""), "a name that is not an XML name at byte 17"),
    ] {
        assert_eq!(refused(Form::Xml, &text), said, "{}", text.escape_ascii());
    }
    let stray = BARE_WBXML.to_vec();
    let at = stray.windows(3).position(|window| window == b"\x4f\x03a").unwrap();
    let stray = [&stray[..=at], &[0, 1], &stray[at + 1..]].concat();
    assert_eq!(refused(Form::Wbxml, &stray), "a code page that user data switched to at byte 24");
    // The page is not the one that it was where the seal would go; but it is where another Meta follows.
    let strays = b"\x02\xa4\x01\x6a\x00\x6d\x6c\x5a\x4f\x00\x01\x03a\x00\x01\x01\x01\x01";
    assert_eq!(refused(Form::Wbxml, strays), "a code page that user data switched to at byte 15");
    let returns = b"\x02\xa4\x01\x6a\x00\x6d\x6c\x5a\x4f\x00\x01\x03a\x00\x01\x01\x00\x00\x5a\x01\x01\x01";
    assert!(round_trip(Form::Wbxml, returns));
    let error =
        Sealable::new(Form::Xml, b"application/vnd.syncml+xml; Charset=iso-8859-1", SMALL_XML.into()).unwrap_err();
    assert_eq!(error.flaw, Flaw::Charset);
}

#[test]
fn a_charset_parameter_says_what_the_document_is_or_nothing() {
    let fits = |form, parameters: &str| {
        let content_type = [content_type(form), parameters.as_bytes()].concat();
        let document = if form == Form::Xml { SMALL_XML } else { SMALL_WBXML };
        Sealable::new(form, &content_type, document.into()).is_ok()
    };
    for parameters in ["", "; charset=utf-8", ";CHARSET=\"UTF-8\"", "; x=y", "; x=y; charset=UTF-8"] {
        assert!(fits(Form::Xml, parameters) && fits(Form::Wbxml, parameters), "{parameters}");
    }
    assert!(fits(Form::Wbxml, "; charset=US-ASCII") && !fits(Form::Xml, "; charset=US-ASCII"));
    for parameters in ["; charset=utf-16", "; charset=utf-8; charset=utf-16", "; charset", "; charset=\"utf-8"] {
        assert!(!fits(Form::Xml, parameters) && !fits(Form::Wbxml, parameters), "{parameters}");
    }
}
