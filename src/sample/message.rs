//! What the elements of a SyncML message mean (RepPro 1.1.2 and 1.2.2), read and built.

use crate::syncml::Form;

use super::document::{Element, Vocabulary};

/// A version of SyncML DS that the sample speaks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Version {
    /// SyncML 1.1.
    V1_1,
    /// OMA DS 1.2.
    #[default]
    V1_2,
}

impl Version {
    /// Both, as a refusal of another one lists them.
    pub(super) const ALL: [Self; 2] = [Self::V1_1, Self::V1_2];

    /// The value of VerDTD.
    pub(super) fn dtd(self) -> &'static str {
        match self {
            Self::V1_1 => "1.1",
            Self::V1_2 => "1.2",
        }
    }

    /// The value of VerProto.
    pub(super) fn proto(self) -> &'static str {
        match self {
            Self::V1_1 => "SyncML/1.1",
            Self::V1_2 => "SyncML/1.2",
        }
    }

    /// The namespace of the root element in XML.
    pub(super) fn namespace(self) -> &'static str {
        match self {
            Self::V1_1 => "SYNCML:SYNCML1.1",
            Self::V1_2 => "SYNCML:SYNCML1.2",
        }
    }

    /// The numeric public identifier of the WBXML document.
    pub(super) fn public_id(self) -> u32 {
        match self {
            Self::V1_1 => 0x0fd3,
            Self::V1_2 => 0x1201,
        }
    }

    /// The numeric public identifier of a DevInf document in WBXML.
    pub(super) fn devinf_public_id(self) -> u32 {
        match self {
            Self::V1_1 => 0x0fd4,
            Self::V1_2 => 0x1203,
        }
    }

    /// The name under which a device asks for, and gives, device information.
    pub(super) fn devinf_item(self) -> &'static str {
        match self {
            Self::V1_1 => "./devinf11",
            Self::V1_2 => "./devinf12",
        }
    }
}

/// Alert codes (RepPro; the protocol's "alert codes").
pub(super) mod alert {
    pub(in crate::sample) const TWO_WAY: u16 = 200;
    pub(in crate::sample) const SLOW: u16 = 201;
    pub(in crate::sample) const RESULT: u16 = 221;
    pub(in crate::sample) const NEXT_MESSAGE: u16 = 222;
    pub(in crate::sample) const NO_END_OF_DATA: u16 = 223;
}

/// Status codes (RepPro, section 10).
pub(super) mod status {
    pub(in crate::sample) const OK: u16 = 200;
    pub(in crate::sample) const ITEM_ADDED: u16 = 201;
    pub(in crate::sample) const CLIENT_WON: u16 = 208;
    pub(in crate::sample) const NOT_DELETED: u16 = 211;
    pub(in crate::sample) const AUTHENTICATED: u16 = 212;
    pub(in crate::sample) const CHUNK_ACCEPTED: u16 = 213;
    pub(in crate::sample) const BAD_REQUEST: u16 = 400;
    pub(in crate::sample) const INVALID_CREDENTIALS: u16 = 401;
    pub(in crate::sample) const FORBIDDEN: u16 = 403;
    pub(in crate::sample) const NOT_FOUND: u16 = 404;
    pub(in crate::sample) const NOT_ALLOWED: u16 = 405;
    pub(in crate::sample) const NOT_SUPPORTED: u16 = 406;
    pub(in crate::sample) const MISSING_CREDENTIALS: u16 = 407;
    pub(in crate::sample) const CONFLICT: u16 = 409;
    pub(in crate::sample) const UNSUPPORTED_FORMAT: u16 = 415;
    pub(in crate::sample) const TOO_BIG: u16 = 416;
    pub(in crate::sample) const ALREADY_EXISTS: u16 = 418;
    pub(in crate::sample) const SERVER_WON: u16 = 419;
    pub(in crate::sample) const SIZE_MISMATCH: u16 = 424;
    pub(in crate::sample) const UNAVAILABLE: u16 = 503;
    pub(in crate::sample) const DTD_VERSION: u16 = 505;
    pub(in crate::sample) const REFRESH_REQUIRED: u16 = 508;
    pub(in crate::sample) const PROTOCOL_VERSION: u16 = 513;
}

/// Why a well-formed document is no message: the place of what it lacks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no usable {0}")]
pub struct Incomplete(pub(super) &'static str);

/// A message.
#[derive(Debug)]
pub(super) struct Message {
    pub(super) header: Header,
    body: Element,
}

impl Message {
    /// Reads a document.
    pub(super) fn parse(root: Element) -> Result<Self, Incomplete> {
        let header = Header::parse(root.child("SyncHdr").ok_or(Incomplete("SyncHdr"))?)?;
        let body = root.children.into_iter().find(|child| child.name == "SyncBody").ok_or(Incomplete("SyncBody"))?;
        if body.children.iter().any(|child| child.name != "Final" && Command::of(child).is_none()) {
            return Err(Incomplete("CmdID"));
        }
        Ok(Self { header, body })
    }

    /// Its commands.
    pub(super) fn commands(&self) -> impl Iterator<Item = Command<'_>> {
        self.body.children.iter().filter_map(Command::of)
    }

    /// Whether it closes its package.
    pub(super) fn is_final(&self) -> bool {
        self.body.child("Final").is_some()
    }
}

/// A SyncHdr.
#[derive(Clone, Debug)]
pub(super) struct Header {
    pub(super) dtd: String,
    pub(super) proto: String,
    pub(super) session_id: String,
    pub(super) msg_id: u32,
    pub(super) target: String,
    pub(super) source: String,
    pub(super) source_name: Option<String>,
    pub(super) resp_uri: Option<String>,
    pub(super) no_resp: bool,
    pub(super) cred: Option<Cred>,
    /// The largest message that its sender takes, in bytes.
    pub(super) max_msg_size: Option<usize>,
}

/// Credentials.
#[derive(Clone)]
pub(super) struct Cred {
    /// The scheme: a Meta Type.
    pub(super) scheme: String,
    pub(super) data: Vec<u8>,
}

impl std::fmt::Debug for Cred {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cred").field("scheme", &self.scheme).finish_non_exhaustive()
    }
}

/// The scheme of basic credentials, which is also the one meant where none is named (RepPro, Cred).
pub(super) const AUTH_BASIC: &str = "syncml:auth-basic";

impl Header {
    fn parse(header: &Element) -> Result<Self, Incomplete> {
        let text = |path: &[&str]| header.text_at(path).map(str::to_owned);
        let cred = header.child("Cred").map(|cred| Cred {
            scheme: metinf(cred, "Type").unwrap_or(AUTH_BASIC).to_owned(),
            data: cred.child("Data").map(|data| data.text.clone()).unwrap_or_default(),
        });
        Ok(Self {
            dtd: text(&["VerDTD"]).ok_or(Incomplete("VerDTD"))?,
            proto: text(&["VerProto"]).ok_or(Incomplete("VerProto"))?,
            session_id: text(&["SessionID"]).ok_or(Incomplete("SessionID"))?,
            msg_id: header.text_at(&["MsgID"]).and_then(|id| id.parse().ok()).ok_or(Incomplete("MsgID"))?,
            target: text(&["Target", "LocURI"]).ok_or(Incomplete("Target"))?,
            source: text(&["Source", "LocURI"]).ok_or(Incomplete("Source"))?,
            source_name: text(&["Source", "LocName"]),
            resp_uri: text(&["RespURI"]),
            no_resp: header.child("NoResp").is_some(),
            cred,
            max_msg_size: metinf(header, "MaxMsgSize").and_then(|size| size.parse().ok()),
        })
    }

    /// The version, if the sample speaks it.
    pub(super) fn version(&self) -> Option<Version> {
        Version::ALL.into_iter().find(|version| version.dtd() == self.dtd && version.proto() == self.proto)
    }
}

/// A command, at whatever depth.
#[derive(Clone, Copy, Debug)]
pub(super) struct Command<'a> {
    /// Its CmdID, as written.
    pub(super) id: &'a str,
    pub(super) element: &'a Element,
}

impl<'a> Command<'a> {
    /// An element as a command: it has a CmdID.
    fn of(element: &'a Element) -> Option<Self> {
        Some(Self { id: element.text_at(&["CmdID"])?, element })
    }

    /// Its name.
    pub(super) fn name(&self) -> &'a str {
        &self.element.name
    }

    /// Whether its sender wants no Status for it.
    pub(super) fn no_resp(&self) -> bool {
        self.element.child("NoResp").is_some()
    }

    /// Its Data, as the number of a Status or an Alert.
    pub(super) fn code(&self) -> Option<u16> {
        self.element.text_at(&["Data"]).and_then(|code| code.parse().ok())
    }

    /// The LocURI of its Target or Source.
    pub(super) fn address(&self, role: &str) -> Option<&'a str> {
        self.element.text_at(&[role, "LocURI"])
    }

    /// Its items.
    pub(super) fn items(self) -> impl Iterator<Item = Item<'a>> {
        self.element.children.iter().filter(|child| child.name == "Item").map(move |item| Item { command: self, item })
    }

    /// The commands within.
    pub(super) fn commands(self) -> impl Iterator<Item = Self> {
        self.element.children.iter().filter_map(Self::of)
    }
}

/// An Item of a command: what its Meta leaves out, the Meta of the command says.
#[derive(Clone, Copy)]
pub(super) struct Item<'a> {
    pub(super) command: Command<'a>,
    item: &'a Element,
}

impl<'a> Item<'a> {
    pub(super) fn source(&self) -> Option<&'a str> {
        self.item.text_at(&["Source", "LocURI"])
    }

    pub(super) fn target(&self) -> Option<&'a str> {
        self.item.text_at(&["Target", "LocURI"])
    }

    pub(super) fn data(&self) -> &'a [u8] {
        self.item.child("Data").map_or(&[], |data| &data.text)
    }

    /// Whether more of the Data follows in the next message.
    pub(super) fn more_data(&self) -> bool {
        self.item.child("MoreData").is_some()
    }

    pub(super) fn meta(&self, name: &str) -> Option<&'a str> {
        metinf(self.item, name).or_else(|| metinf(self.command.element, name))
    }

    /// The anchors in an Alert's item: Last, if there is one, and Next.
    pub(super) fn anchors(&self) -> Option<(Option<&'a str>, &'a str)> {
        let meta = self.item.child("Meta")?;
        let anchor = meta.child("MetInf").unwrap_or(meta).child("Anchor")?;
        Some((anchor.text_at(&["Last"]).filter(|last| !last.is_empty()), anchor.text_at(&["Next"])?))
    }
}

/// The text of a MetInf element in an element's Meta, with or without the wrapper MetInf.
pub(super) fn metinf<'a>(element: &'a Element, name: &str) -> Option<&'a str> {
    let meta = element.child("Meta")?;
    meta.child("MetInf").unwrap_or(meta).text_at(&[name])
}

/// A database or device address within a message compared with a name of ours: `./contacts` and `contacts` are the
/// same database.
pub(super) fn same_address(one: &str, other: &str) -> bool {
    one.trim_start_matches("./") == other.trim_start_matches("./")
}

/// Target or Source with a LocURI.
pub(super) fn address(name: &'static str, uri: &str) -> Element {
    Element::node(name, [Element::leaf("LocURI", uri)])
}

/// A Meta with a Type.
pub(super) fn meta_type(media_type: &str) -> Element {
    Element::node("Meta", [Element::metinf("Type", media_type)])
}

/// An Alert for a database, with anchors.
pub(super) fn sync_alert(code: u16, target: &str, source: &str, last: Option<&str>, next: &str) -> Element {
    let item = Element::node(
        "Item",
        [address("Target", target), address("Source", source), Element::node("Meta", [anchor(last, next)])],
    );
    Element::node("Alert", [Element::leaf("Data", code.to_string()), item])
}

/// An Anchor.
pub(super) fn anchor(last: Option<&str>, next: &str) -> Element {
    Element::metinf("Anchor", "")
        .with(last.map(|last| Element::metinf("Last", last)))
        .with(Element::metinf("Next", next))
}

/// What a device tells of itself.
pub(super) struct Device<'a> {
    /// Its address.
    pub(super) id: &'a str,
    /// DevTyp.
    pub(super) kind: &'static str,
    /// Its database.
    pub(super) database: &'a str,
}

impl Device<'_> {
    /// The Meta and the Item of a Put or of Results that carry this device's information.
    pub(super) fn information(&self, version: Version, form: Form) -> [Element; 2] {
        let leaf = |name, text: &str| Element { vocabulary: Vocabulary::DevInf, ..Element::leaf(name, text) };
        let content =
            |name, media_type, version| leaf(name, "").with(leaf("CTType", media_type)).with(leaf("VerCT", version));
        let capabilities = leaf("SyncCap", "").with(leaf("SyncType", "1")).with(leaf("SyncType", "2"));
        // Without CTCap, which would list properties: cards are kept as they come.
        let store = leaf("DataStore", "")
            .with(leaf("SourceRef", self.database))
            .with(leaf("MaxGUIDSize", "255"))
            .with(content("Rx-Pref", "text/vcard", "3.0"))
            .with(content("Rx", "text/x-vcard", "2.1"))
            .with(content("Tx-Pref", "text/vcard", "3.0"))
            .with(content("Tx", "text/x-vcard", "2.1"))
            .with(capabilities);
        let information = leaf("DevInf", "")
            .with(leaf("VerDTD", version.dtd()))
            .with(leaf("Man", "SyncSeal"))
            .with(leaf("Mod", "sample"))
            .with(leaf("SwV", env!("CARGO_PKG_VERSION")))
            .with(leaf("DevID", self.id))
            .with(leaf("DevTyp", self.kind))
            .with(leaf("SupportNumberOfChanges", ""))
            .with(leaf("SupportLargeObjs", ""))
            .with(store);
        let media_type = match form {
            Form::Xml => "application/vnd.syncml-devinf+xml",
            Form::Wbxml => "application/vnd.syncml-devinf+wbxml",
        };
        let data = Element::node("Data", [information]);
        [meta_type(media_type), Element::node("Item", [address("Source", version.devinf_item()), data])]
    }
}
