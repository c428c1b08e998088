//! The bytes that carry a seal in SyncHdr (PROTOCOL section 6, forms a and b), and how they are taken out again.

use std::ops::Range;

use bytes::BytesMut;

use super::walk::Mark;
use super::{Flaw, Unfit};
use crate::seal::base64;
use crate::syncml::{Form, wbxml};

/// How a seal is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Insertion {
    /// Form (a): in a Meta that is there.
    InMeta {
        /// WBXML: the code page that is current there.
        page: u8,
    },
    /// Form (b): with a Meta of its own.
    WithMeta {
        /// WBXML: the code page that is current there.
        page: u8,
        /// XML: the namespace prefix of the Meta's tags, with its colon.
        prefix: Vec<u8>,
    },
}

const EMI_START: &[u8] = b"<EMI xmlns=\"syncml:metinf\">";
const EMI_END: &[u8] = b"</EMI>";
const IN_META: &[u8] = b"syncseal:";
const WITH_META: &[u8] = b"syncseal+:";

/// A seal that was found, and what carries it.
#[derive(Debug)]
pub(super) struct Carrier {
    /// The COSE_Encrypt0.
    pub(super) seal: BytesMut,
    /// The bytes that are not of the original document.
    pub(super) range: Range<usize>,
}

impl Insertion {
    /// How many bytes carry a seal of so many.
    pub(super) fn len(&self, form: Form, seal: usize) -> usize {
        let emi = |marker: &[u8]| match form {
            Form::Xml => EMI_START.len() + marker.len() + base64::encoded_len(seal) + EMI_END.len(),
            Form::Wbxml => 3 + wbxml::opaque_head_len(marker.len() + seal) + marker.len() + seal + 1,
        };
        match (form, self) {
            (Form::Xml, Self::InMeta { .. }) => emi(IN_META),
            (Form::Xml, Self::WithMeta { prefix, .. }) => {
                emi(WITH_META) + b"<Meta>".len() + b"</Meta>".len() + 2 * prefix.len()
            }
            (Form::Wbxml, Self::InMeta { .. }) => emi(IN_META) + 2,
            (Form::Wbxml, Self::WithMeta { .. }) => emi(WITH_META) + 3 + 5,
        }
    }

    /// The bytes that carry `seal`.
    pub(super) fn bytes(&self, form: Form, seal: &[u8]) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.len(form, seal.len()));
        match (form, self) {
            (Form::Xml, Self::InMeta { .. }) => {
                push_xml_emi(&mut out, IN_META, seal);
            }
            (Form::Xml, Self::WithMeta { prefix, .. }) => {
                out.push(b'<');
                out.extend_from_slice(prefix);
                out.extend_from_slice(b"Meta>");
                push_xml_emi(&mut out, WITH_META, seal);
                out.extend_from_slice(b"</");
                out.extend_from_slice(prefix);
                out.extend_from_slice(b"Meta>");
            }
            (Form::Wbxml, Self::InMeta { page }) => {
                push_wbxml_emi(&mut out, IN_META, seal);
                out.extend_from_slice(&[0x00, *page]);
            }
            (Form::Wbxml, Self::WithMeta { page, .. }) => {
                out.extend_from_slice(&[0x00, 0x00, 0x5a]);
                push_wbxml_emi(&mut out, WITH_META, seal);
                out.extend_from_slice(&[0x00, 0x00, 0x01, 0x00, *page]);
            }
        }
        debug_assert_eq!(out.len(), self.len(form, seal.len()));
        out
    }
}

fn push_xml_emi(out: &mut Vec<u8>, marker: &[u8], seal: &[u8]) {
    out.extend_from_slice(EMI_START);
    out.extend_from_slice(marker);
    out.extend_from_slice(base64::encode_base64(seal).as_bytes());
    out.extend_from_slice(EMI_END);
}

fn push_wbxml_emi(out: &mut Vec<u8>, marker: &[u8], seal: &[u8]) {
    out.extend_from_slice(&[0x00, 0x01, 0x46]);
    wbxml::push_opaque_head(out, marker.len() + seal.len());
    out.extend_from_slice(marker);
    out.extend_from_slice(seal);
    out.push(0x01);
}

impl Carrier {
    /// Reads the seal at `mark`, and tells by its marker which bytes carry it. That they are exactly those is shown only
    /// when they have been [inserted](Insertion::bytes) again.
    pub(super) fn read(form: Form, document: &[u8], mark: &Mark) -> Result<Self, Unfit> {
        let (seal, range) = Self::find(form, document, mark)?;
        let seal = match form {
            Form::Xml => {
                let seal = base64::decode_base64(seal).map_err(|_| Flaw::Carrier.at(mark.emi.start))?;
                BytesMut::from(&*seal)
            }
            Form::Wbxml => BytesMut::from(seal),
        };
        Ok(Self { seal, range })
    }

    /// The seal at `mark`, as it is written, and the bytes that carry it.
    pub(super) fn find<'d>(form: Form, document: &'d [u8], mark: &Mark) -> Result<(&'d [u8], Range<usize>), Unfit> {
        let flaw = || Flaw::Carrier.at(mark.emi.start);
        let content = document.get(mark.content.clone()).unwrap_or_default();
        let text = match form {
            Form::Xml => content,
            Form::Wbxml => wbxml::sole_opaque(content).ok_or_else(flaw)?,
        };
        let (with_meta, seal) = match (text.strip_prefix(IN_META), text.strip_prefix(WITH_META)) {
            (Some(seal), _) => (false, seal),
            (None, Some(seal)) => (true, seal),
            (None, None) => return Err(flaw()),
        };
        // In WBXML a SWITCH_PAGE belongs to it on either side.
        let margin = if form == Form::Wbxml { 2 } else { 0 };
        let element = if with_meta { &mark.meta } else { &mark.emi };
        let range = element.start.checked_sub(margin).ok_or_else(flaw)?..element.end + margin;
        if range.end > document.len() { Err(flaw()) } else { Ok((seal, range)) }
    }
}
