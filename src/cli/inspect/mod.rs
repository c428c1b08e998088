//! `syncseal inspect`: tells by its content what a body is, and shows it for reading. What is sealed stays sealed.

mod document;
mod seal;

use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use super::{Exit, complain, print};
use crate::seal::{Layer, Malformed, Refusal};
use crate::syncml::{Form, InvalidDocument};

/// Shows what an HTTP body is: a SyncML message, a seal or a refusal, decoded for reading.
///
/// WBXML is shown as indented XML, a seal and a refusal by the names of the protocol. The kind is told by the content.
/// What is sealed stays sealed: there is no key here that could open it.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:
  syncseal inspect request.bin
  curl -s https://sync.example.org/sync --data-binary @request.xml -H 'content-type: application/vnd.syncml+xml' |
    syncseal inspect -")]
pub(super) struct Args {
    /// The file, or - for stdin.
    file: PathBuf,
}

/// What a body is, by its first byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Content {
    Document(Form),
    Seal(Layer),
    Problem,
    RefusalMap,
}

/// Why a body cannot be shown.
#[derive(Debug, thiserror::Error)]
enum Unreadable {
    #[error("not a SyncML message, a seal or a refusal")]
    Unknown,
    #[error("a document that cannot be read: {0}")]
    Document(#[from] InvalidDocument),
    #[error("malformed: {0}")]
    Malformed(#[from] Malformed),
}

pub(super) fn run(args: &Args) -> Result<(), Exit> {
    let name = args.file.display();
    let bytes = read(&args.file).map_err(|error| {
        complain(format_args!("syncseal: cannot read {name}: {error}"));
        Exit::Usage
    })?;
    let mut out = String::new();
    let shown = show(&bytes, &mut out);
    print(&out);
    shown.map_err(|error| {
        complain(format_args!("syncseal: {name}: {error}"));
        Exit::Usage
    })
}

pub(super) fn read(file: &Path) -> io::Result<Vec<u8>> {
    if file == Path::new("-") {
        let mut bytes = Vec::new();
        io::stdin().lock().read_to_end(&mut bytes)?;
        return Ok(bytes);
    }
    fs::read(file)
}

/// A body as `syncseal inspect` shows it: the first line says what it is, and the last what is wrong with it, if anything.
pub(super) fn text(bytes: &[u8]) -> String {
    let mut out = String::new();
    if let Err(error) = show(bytes, &mut out) {
        if out.is_empty() {
            out.push_str(&format!("{} bytes that cannot be shown\n", bytes.len()));
        }
        out.push_str(&format!("{error}\n"));
    }
    out
}

/// Writes `bytes`, decoded, to `out`: before a fault, what came before it.
fn show(bytes: &[u8], out: &mut String) -> Result<(), Unreadable> {
    let len = bytes.len();
    match content(bytes).ok_or(Unreadable::Unknown)? {
        Content::Document(form) => document::show(form, bytes, out)?,
        Content::Seal(layer) => {
            let lines = seal::describe(layer, bytes)?;
            out.push_str(&format!("seal of {} layer, {len} bytes\n", layer.name()));
            lines.iter().for_each(|line| out.push_str(&format!("  {line}\n")));
        }
        Content::Problem => {
            let refusal = Refusal::from_problem(bytes)?;
            out.push_str(&format!("refusal in problem details, {len} bytes\n{}\n", refusal_text(&refusal)));
        }
        Content::RefusalMap => {
            let refusal = Refusal::from_map(bytes)?;
            out.push_str(&format!("refusal map, {len} bytes\n{}\n", refusal_text(&refusal)));
        }
    }
    Ok(())
}

pub(super) fn content(bytes: &[u8]) -> Option<Content> {
    let text = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes).trim_ascii_start();
    Some(match (bytes.first()?, text.first()) {
        (0x00..=0x03, _) => Content::Document(Form::Wbxml),
        // CBOR: tag 16, an array of three, a map.
        (0xd0, _) => Content::Seal(Layer::Message),
        (0x83, _) => Content::Seal(Layer::Data),
        (0xa0..=0xb7, _) => Content::RefusalMap,
        (_, Some(b'<')) => Content::Document(Form::Xml),
        (_, Some(b'{')) => Content::Problem,
        _ => return None,
    })
}

/// A refusal by its names.
fn refusal_text(refusal: &Refusal) -> String {
    let problem = serde_json::from_slice::<serde_json::Value>(&refusal.to_problem());
    let text = problem.and_then(|problem| serde_json::to_string_pretty(&problem));
    // What was just written as JSON reads as JSON.
    printable(&text.unwrap_or_default())
}

/// Text without control characters but line feeds, which a terminal would obey.
pub(super) fn printable(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '\n' | '\t' => out.push(character),
            _ if character.is_control() => out.extend(character.escape_unicode()),
            _ => out.push(character),
        }
    }
    out
}

/// The first bytes, in hexadecimal.
fn hex(bytes: &[u8]) -> String {
    const SHOWN: usize = 32;
    let mut out: String = bytes.iter().take(SHOWN).map(|byte| format!("{byte:02x}")).collect();
    if bytes.len() > SHOWN {
        out.push('…');
    }
    out
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn shown(bytes: &[u8]) -> (bool, String) {
        let mut out = String::new();
        let shown = show(bytes, &mut out);
        (shown.is_ok(), out)
    }

    #[test]
    fn the_kind_is_told_by_the_content() {
        for (bytes, kind) in [
            (&b" \r\n<?xml"[..], Some(Content::Document(Form::Xml))),
            (b"\xef\xbb\xbf<SyncML>", Some(Content::Document(Form::Xml))),
            (b"\x02\xa4\x01\x6a", Some(Content::Document(Form::Wbxml))),
            (b"\xd0\x83\x43", Some(Content::Seal(Layer::Message))),
            (b"\x83\x43", Some(Content::Seal(Layer::Data))),
            (b"\xa1\x00\x68", Some(Content::RefusalMap)),
            (b"\n{}", Some(Content::Problem)),
            (b"POST / HTTP/1.1", None),
            (b" ", None),
            (b"", None),
        ] {
            assert_eq!(content(bytes), kind, "{bytes:?}");
        }
    }

    #[test]
    fn an_element_with_text_alone_takes_one_line() {
        let xml = b"<a x='1'>\n <b>1 &amp; 2</b><c/><d><![CDATA[<e>]]></d><f>x]]&gt;&lt;</f><g>mixed<h/>text</g></a>";
        let expected = "XML, 95 bytes\n<a x='1'>\n  <b><![CDATA[1 & 2]]></b>\n  <c/>\n  <d><![CDATA[<e>]]></d>\n  \
                        <f>x]]&gt;&lt;</f>\n  <g>\n    mixed\n    <h/>\n    text\n  </g>\n</a>\n";
        assert_eq!(shown(xml), (true, expected.to_owned()));
    }

    #[test]
    fn every_prefix_of_a_message_is_shown_or_refused() {
        for name in ["captures/syncevolution-xml/02.resp", "captures/syncevolution-wbxml/02.resp"] {
            let bytes = fs::read(format!("{}/tests/{name}", env!("CARGO_MANIFEST_DIR"))).unwrap();
            for len in 0..bytes.len() {
                assert!(!shown(&bytes[..len]).0 || bytes[len..].trim_ascii().is_empty(), "{name} {len}");
            }
            assert!(shown(&bytes).0, "{name}");
        }
    }

    proptest! {
        #[test]
        fn whatever_comes_is_shown_or_refused_without_control_characters(
            first in prop::sample::select(vec![0x00, 0x02, 0x03, 0x83, 0xa1, 0xd0, b'<', b'{']),
            rest in prop::collection::vec(any::<u8>(), 0..200),
        ) {
            let mut bytes = vec![first];
            bytes.extend(rest);
            let (_, out) = shown(&bytes);
            prop_assert!(!out.chars().any(|c| c.is_control() && c != '\n' && c != '\t'), "{out:?}");
        }
    }
}
