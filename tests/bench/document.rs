//! SyncML documents of a wanted size, in WBXML, as both sides of a comparison send them.

/// The media type of these documents.
pub(crate) const MEDIA_TYPE: &str = "application/vnd.syncml+wbxml";

// Tags of code page 0, with content.
const CMD: u8 = 0x4A;
const CMD_ID: u8 = 0x4B;
const CMD_REF: u8 = 0x4C;
const DATA: u8 = 0x4F;
const ITEM: u8 = 0x54;
const LOC_URI: u8 = 0x57;
const MSG_ID: u8 = 0x5B;
const MSG_REF: u8 = 0x5C;
const REPLACE: u8 = 0x60;
const SESSION_ID: u8 = 0x65;
const SOURCE: u8 = 0x67;
const STATUS: u8 = 0x69;
const SYNC: u8 = 0x6A;
const SYNC_BODY: u8 = 0x6B;
const SYNC_HDR: u8 = 0x6C;
const SYNC_ML: u8 = 0x6D;
const TARGET: u8 = 0x6E;
const VER_DTD: u8 = 0x71;
const VER_PROTO: u8 = 0x72;

const FINAL: u8 = 0x12;
const END: u8 = 0x01;
const STR_I: u8 = 0x03;
const OPAQUE: u8 = 0xC3;

/// Version 1.2, the public identifier of SyncML 1.2, UTF-8, no string table.
const HEADER: [u8; 5] = [0x02, 0xA4, 0x01, 0x6A, 0x00];

/// A message of an endless session, about `size` bytes long: an answer to the other's SyncHdr, and one item that fills it up.
pub(crate) fn document(session_id: &str, msg_id: u64, target: &str, source: &str, size: usize) -> Vec<u8> {
    let mut out = Vec::with_capacity(size + 256);
    out.extend(HEADER);
    element(&mut out, SYNC_ML, |out| {
        element(out, SYNC_HDR, |out| {
            text(out, VER_DTD, "1.2");
            text(out, VER_PROTO, "SyncML/1.2");
            text(out, SESSION_ID, session_id);
            text(out, MSG_ID, &msg_id.to_string());
            element(out, TARGET, |out| text(out, LOC_URI, target));
            element(out, SOURCE, |out| text(out, LOC_URI, source));
        });
        element(out, SYNC_BODY, |out| {
            element(out, STATUS, |out| {
                text(out, CMD_ID, "1");
                text(out, MSG_REF, "1");
                text(out, CMD_REF, "0");
                text(out, CMD, "SyncHdr");
                text(out, DATA, "200");
            });
            element(out, SYNC, |out| {
                text(out, CMD_ID, "2");
                element(out, REPLACE, |out| {
                    text(out, CMD_ID, "3");
                    element(out, ITEM, |out| {
                        element(out, SOURCE, |out| text(out, LOC_URI, "1"));
                        let filling = size.saturating_sub(out.len());
                        element(out, DATA, |out| opaque(out, filling));
                    });
                });
            });
            out.push(FINAL);
        });
    });
    out
}

fn element(out: &mut Vec<u8>, tag: u8, content: impl FnOnce(&mut Vec<u8>)) {
    out.push(tag);
    content(out);
    out.push(END);
}

fn text(out: &mut Vec<u8>, tag: u8, text: &str) {
    element(out, tag, |out| {
        out.push(STR_I);
        out.extend(text.as_bytes());
        out.push(0);
    });
}

/// `length` bytes of contents, after their length as mb_u_int32.
fn opaque(out: &mut Vec<u8>, length: usize) {
    out.push(OPAQUE);
    let groups = (1..).take_while(|group| *group == 1 || length >> (7 * (group - 1)) > 0).count();
    for group in (0..groups).rev() {
        let more = if group > 0 { 0x80 } else { 0 };
        out.push((length >> (7 * group)) as u8 & 0x7F | more);
    }
    out.extend((b'a'..=b'z').cycle().take(length));
}
