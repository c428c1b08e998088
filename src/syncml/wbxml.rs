//! The WBXML reader (WAP Binary XML 1.0 to 1.3), for what SyncML uses of it.
//!
//! Elements named by tokens, text as STR_I, STR_T, OPAQUE and ENTITY, switches of the code page anywhere, attributes on
//! the root alone. Literal tags, extensions and processing instructions are faults: nobody who speaks SyncML writes them.
//! A version 1.0 document is read as its writers write it, with a charset, which that version's text does not have.

use std::ops::{ControlFlow, Range};

use fearless_simd::{Level, Simd, dispatch};

use super::ascii::zeros;
use super::event::{Events, Leaf, Leaves, Nesting, Piece, is_xml_char};
use super::{Event, Fault, InvalidDocument, Kind, Limits, Stencil, Strictness, Tag, Text, Vocabulary};

/// Global tokens (WBXML 1.3, 7.1).
mod token {
    pub(super) const SWITCH_PAGE: u8 = 0x00;
    pub(super) const END: u8 = 0x01;
    pub(super) const ENTITY: u8 = 0x02;
    pub(super) const STR_I: u8 = 0x03;
    pub(super) const LITERAL: u8 = 0x04;
    pub(super) const STR_T: u8 = 0x83;
    pub(super) const OPAQUE: u8 = 0xc3;

    /// A tag has content, and an END of its own.
    pub(super) const CONTENT: u8 = 0x40;
    /// A tag has attributes.
    pub(super) const ATTRIBUTES: u8 = 0x80;
    /// The identity of a tag.
    pub(super) const IDENTITY: u8 = 0x3f;
    /// The first identity that is a tag's. Below are the global tokens.
    pub(super) const FIRST_TAG: u8 = 0x05;
}

/// What a document says before its body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// The version byte: 0x00 is 1.0, 0x03 is 1.3.
    pub version: u8,
    /// The public identifier of the document type.
    pub public_id: PublicId,
    /// The charset by its MIBenum: 106 is UTF-8, 3 US-ASCII, 0 unknown.
    pub charset: u32,
    /// Where the string table stands. The body begins where it ends.
    pub string_table: Range<usize>,
}

/// A public identifier.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PublicId {
    /// A registered number.
    Number(u32),
    /// Text in the string table: its place in the document, without a NUL. Empty if it leads out of the table.
    Text(Range<usize>),
}

impl Header {
    /// Reads the header of a document.
    pub fn read(document: &[u8]) -> Result<Self, InvalidDocument> {
        let mut cursor = Cursor { bytes: document, position: 0 };
        let version = cursor.byte()?;
        if version > 3 {
            return Err(Fault::Version(version).at(0));
        }
        let number = cursor.integer()?;
        let index = if number == 0 { Some(cursor.integer()?) } else { None };
        let charset = cursor.integer()?;
        let string_table = cursor.counted()?;
        let public_id = match index {
            None => PublicId::Number(number),
            Some(index) => PublicId::Text(match string_at(document, &string_table, index) {
                Some(text) => string_table.start + index as usize..string_table.start + index as usize + text.len(),
                None => string_table.end..string_table.end,
            }),
        };
        Ok(Self { version, public_id, charset, string_table })
    }

    /// Which tables its public identifier asks for. SyncML, if it is unknown: many who write SyncML write a wrong one.
    pub fn vocabulary(&self, document: &[u8]) -> Vocabulary {
        let is_dev_inf = match &self.public_id {
            PublicId::Number(number) => matches!(number, 0x0fd2 | 0x0fd4 | 0x1203),
            PublicId::Text(span) => {
                document.get(span.clone()).is_some_and(|text| memchr::memmem::find(text, b"DTD DevInf").is_some())
            }
        };
        if is_dev_inf { Vocabulary::DevInf } else { Vocabulary::SyncMl }
    }
}

/// A pull reader of a WBXML document; see [`Reader`](super::Reader).
#[derive(Debug)]
pub struct Reader<'a> {
    cursor: Cursor<'a>,
    string_table: Range<usize>,
    vocabulary: Vocabulary,
    page: u8,
    nesting: Nesting,
    max_attributes: usize,
    /// How many bytes out of the string table may still be given.
    expansion: usize,
    strictness: Strictness,
    stage: Stage,
}

/// Where a reader stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// Before the root.
    Prolog,
    /// Inside the root.
    Root,
    /// Inside the content of an element that was taken out of its document.
    Content,
    /// Behind the root.
    Epilog,
    /// At the end, or after a fault.
    Done,
}

impl<'a> Reader<'a> {
    /// Begins to read `document`, a SyncML document whatever its public identifier says.
    pub fn new(document: &'a [u8], limits: &Limits, strictness: Strictness) -> Result<Self, InvalidDocument> {
        let header = Header::read(document)?;
        let taken = match strictness {
            Strictness::Strict => matches!(header.charset, 106 | 3),
            // In the Unicode encodings other than UTF-8 a NUL does not end a string, so nothing would be sure.
            Strictness::Tolerant => !matches!(header.charset, 1000..=1019),
        };
        if !taken {
            return Err(Fault::Charset(header.charset).at(0));
        }
        Ok(Self {
            cursor: Cursor { bytes: document, position: header.string_table.end },
            string_table: header.string_table,
            vocabulary: Vocabulary::SyncMl,
            page: 0,
            nesting: Nesting::new(limits),
            max_attributes: limits.attributes,
            expansion: limits.expansion,
            strictness,
            stage: Stage::Prolog,
        })
    }

    /// Begins to read the content of an element of code page 0, at `span` of `document`.
    pub(super) fn content(document: &'a [u8], span: Range<usize>, string_table: Range<usize>, limits: &Limits) -> Self {
        Self {
            cursor: Cursor { bytes: document.get(..span.end).unwrap_or(document), position: span.start },
            string_table,
            vocabulary: Vocabulary::SyncMl,
            page: 0,
            nesting: Nesting::new(limits),
            max_attributes: limits.attributes,
            expansion: limits.expansion,
            strictness: Strictness::Tolerant,
            stage: Stage::Content,
        }
    }

    /// Names the tokens by other tables, for a document that is not SyncML (device information stands in an OPAQUE as a
    /// document of its own).
    #[must_use]
    pub fn with_vocabulary(self, vocabulary: Vocabulary) -> Self {
        Self { vocabulary, ..self }
    }

    /// Where the string table stands.
    pub(super) fn string_table(&self) -> Range<usize> {
        self.string_table.clone()
    }

    /// The code page that is current at the next byte to be read, as far as it was read.
    pub(super) fn page(&self) -> u8 {
        self.page
    }

    /// Gives what it reads to `take` until that breaks off, or there is no more.
    #[inline(always)]
    fn read<S: Simd, L: Leaves<'a>, B>(
        &mut self,
        simd: S,
        mut take: impl FnMut(Piece<'a, L>) -> ControlFlow<B>,
    ) -> Result<Option<B>, InvalidDocument> {
        loop {
            let start = self.cursor.position;
            if start >= self.cursor.bytes.len() {
                return match self.stage {
                    Stage::Epilog | Stage::Done => Ok(None),
                    Stage::Content if self.nesting.depth() == 0 => Ok(None),
                    Stage::Prolog | Stage::Root | Stage::Content => Err(Fault::Truncated.at(start)),
                };
            }
            if self.stage == Stage::Epilog {
                return match self.strictness {
                    Strictness::Tolerant => Ok(None),
                    Strictness::Strict => Err(Fault::Trailing.at(start)),
                };
            }
            // Each kind is given by itself, so that what is done with it is compiled for it.
            let flow = match self.cursor.byte()? {
                token::SWITCH_PAGE => {
                    self.page = self.cursor.byte()?;
                    continue;
                }
                token::END => {
                    self.nesting.leave(start)?;
                    if self.nesting.depth() == 0 && self.stage == Stage::Root {
                        self.stage = Stage::Epilog;
                    }
                    take(self.event(start, Kind::End))
                }
                token @ (token::STR_I | token::STR_T | token::OPAQUE | token::ENTITY) => {
                    if self.stage == Stage::Prolog {
                        return Err(Fault::OutsideRoot.at(start));
                    }
                    let text = self.text(token)?;
                    take(self.event(start, Kind::Text(text)))
                }
                tag if tag & token::IDENTITY >= token::FIRST_TAG => {
                    if L::WANTED
                        && matches!(self.stage, Stage::Root | Stage::Content)
                        && let Some(leaf) = self.leaf(simd, tag, start)
                        && let end = leaf.span.end
                        && let Some(leaf) = L::of(leaf)
                    {
                        self.nesting.enter(true, start)?;
                        self.cursor.position = end;
                        take(Piece::Leaf(leaf))
                    } else {
                        let kind = self.open(tag, start)?;
                        take(self.event(start, kind))
                    }
                }
                other => return Err(Fault::Token(other).at(start)),
            };
            if let ControlFlow::Break(value) = flow {
                return Ok(Some(value));
            }
        }
    }

    /// What began at `start` and was just read.
    #[inline(always)]
    fn event<L>(&self, start: usize, kind: Kind<'a>) -> Piece<'a, L> {
        Piece::Event(Event { span: start..self.cursor.position, page: self.page, kind })
    }

    /// The element whose tag was read at `start`, if it holds one STR_I or OPAQUE at the most.
    #[inline(always)]
    fn leaf<S: Simd>(&self, simd: S, tag: u8, start: usize) -> Option<Leaf<'a>> {
        if tag & (token::CONTENT | token::ATTRIBUTES) != token::CONTENT {
            return None;
        }
        // Most are a short string, or hold elements.
        let window: Option<&[u8; WINDOW]> = self.cursor.bytes.get(start + 1..).and_then(<[u8]>::first_chunk);
        match window {
            Some([token::STR_I, behind @ ..]) => {
                if let Some(lanes) = behind.first_chunk()
                    && let len = zeros(simd, lanes).trailing_zeros() as usize
                    && let Some([.., token::END]) = behind.get(..len + 2)
                {
                    let (content, end) = (start + 1..start + 3 + len, start + 4 + len);
                    let text = Text::Inline(behind.get(..len)?);
                    return Some(Leaf { span: start..end, page: self.page, tag: self.tag(tag), content, text });
                }
            }
            Some([token::OPAQUE | token::END, ..]) | None => {}
            Some(_) => return None,
        }
        let mut cursor = self.cursor.clone();
        let mut content = cursor.position..cursor.position;
        let mut text = Text::Inline(b"");
        let mut next = cursor.byte().ok()?;
        if next != token::END {
            text = match next {
                token::STR_I => Text::Inline(self.slice(cursor.terminated().ok()?)),
                token::OPAQUE => Text::Opaque(self.slice(cursor.counted().ok()?)),
                _ => return None,
            };
            content.end = cursor.position;
            next = cursor.byte().ok()?;
        }
        let leaf = Leaf { span: start..cursor.position, page: self.page, tag: self.tag(tag), content, text };
        (next == token::END).then_some(leaf)
    }

    /// What the byte of a tag says.
    #[inline(always)]
    fn tag(&self, tag: u8) -> Tag<'a> {
        let token = tag & token::IDENTITY;
        Tag { name: self.vocabulary.name(self.page, token), prefix: b"", token }
    }

    /// The tag whose byte was read at `start`, counted, with its attributes behind it.
    #[inline(always)]
    fn open(&mut self, tag: u8, start: usize) -> Result<Kind<'a>, InvalidDocument> {
        let empty = tag & token::CONTENT == 0;
        self.nesting.enter(empty, start)?;
        if tag & token::ATTRIBUTES != 0 {
            if self.stage != Stage::Prolog {
                return Err(Fault::Attributes.at(start));
            }
            self.skip_attributes()?;
        }
        if self.stage == Stage::Prolog {
            self.stage = if empty { Stage::Epilog } else { Stage::Root };
        }
        let tag = self.tag(tag);
        Ok(if empty { Kind::Empty(tag) } else { Kind::Start(tag) })
    }

    /// Reads over the attributes of a tag and their END. Nokia's root has one, its namespace, named by a LITERAL into a
    /// string table that is not there: indices are not followed.
    fn skip_attributes(&mut self) -> Result<(), InvalidDocument> {
        let mut attributes = 0;
        loop {
            let start = self.cursor.position;
            match self.cursor.byte()? {
                token::END => return Ok(()),
                // Attributes have code pages of their own.
                token::SWITCH_PAGE => {
                    self.cursor.byte()?;
                }
                token::STR_I => {
                    self.cursor.terminated()?;
                }
                token::OPAQUE => {
                    self.cursor.counted()?;
                }
                token::STR_T | token::ENTITY => {
                    self.cursor.integer()?;
                }
                // The rest of a value.
                value if value >= token::ATTRIBUTES && value & token::IDENTITY >= token::FIRST_TAG => {}
                // The start of an attribute.
                name if name == token::LITERAL || name & token::IDENTITY >= token::FIRST_TAG => {
                    if name == token::LITERAL {
                        self.cursor.integer()?;
                    }
                    if attributes == self.max_attributes {
                        return Err(Fault::TooManyAttributes.at(start));
                    }
                    attributes += 1;
                }
                other => return Err(Fault::Token(other).at(start)),
            }
        }
    }

    /// The payload of a text token that was just read.
    #[inline(always)]
    fn text(&mut self, token: u8) -> Result<Text<'a>, InvalidDocument> {
        let start = self.cursor.position;
        Ok(match token {
            token::STR_I => {
                let text = self.cursor.terminated()?;
                Text::Inline(self.slice(text))
            }
            token::OPAQUE => {
                let text = self.cursor.counted()?;
                Text::Opaque(self.slice(text))
            }
            token::STR_T => {
                let index = self.cursor.integer()?;
                let text =
                    string_at(self.cursor.bytes, &self.string_table, index).ok_or_else(|| Fault::Bounds.at(start))?;
                self.expansion = self.expansion.checked_sub(text.len()).ok_or_else(|| Fault::TooMuchText.at(start))?;
                Text::Table(text)
            }
            _ => {
                let number = self.cursor.integer()?;
                let character = char::from_u32(number).filter(|&c| is_xml_char(c));
                Text::Reference(character.ok_or_else(|| Fault::Character.at(start))?.into())
            }
        })
    }

    fn slice(&self, span: Range<usize>) -> &'a [u8] {
        self.cursor.bytes.get(span).unwrap_or_default()
    }
}

impl<'a> Iterator for Reader<'a> {
    type Item = Result<Event<'a>, InvalidDocument>;

    fn next(&mut self) -> Option<Self::Item> {
        self.until(ControlFlow::Break).transpose()
    }
}

impl<'a> Events<'a> for Reader<'a> {
    const HAS_PAGES: bool = true;
    const REPEATS: bool = false;

    fn repeat(&mut self, stencil: &Stencil, _: impl FnMut(Range<usize>)) -> (usize, Range<usize>) {
        (0, stencil.end_tag())
    }

    #[inline(always)]
    fn pieces<L: Leaves<'a>, B>(
        &mut self,
        take: impl FnMut(Piece<'a, L>) -> ControlFlow<B>,
    ) -> Result<Option<B>, InvalidDocument> {
        if self.stage == Stage::Done {
            return Ok(None);
        }
        // Compiled for each kind of processor there is, `take` included.
        let result = dispatch!(Level::new(), simd => self.read(simd, take));
        if !matches!(result, Ok(Some(_))) {
            self.stage = Stage::Done;
        }
        result
    }
}

/// The string at `index` of the string table: up to its NUL, or to the end of the table, for the public identifier that
/// phones put there has none.
fn string_at<'a>(document: &'a [u8], table: &Range<usize>, index: u32) -> Option<&'a [u8]> {
    let table = document.get(table.clone())?;
    let rest = table.get(index as usize..).filter(|rest| !rest.is_empty())?;
    rest.get(..memchr::memchr(0, rest).unwrap_or(rest.len()))
}

/// Reads what WBXML is made of. A fault names the offset at which the unit began.
#[derive(Clone, Debug)]
struct Cursor<'a> {
    bytes: &'a [u8],
    position: usize,
}

impl Cursor<'_> {
    #[inline(always)]
    fn byte(&mut self) -> Result<u8, InvalidDocument> {
        let byte = *self.bytes.get(self.position).ok_or_else(|| Fault::Truncated.at(self.position))?;
        self.position += 1;
        Ok(byte)
    }

    /// An mb_u_int32: at most 5 bytes, padding included.
    fn integer(&mut self) -> Result<u32, InvalidDocument> {
        let start = self.position;
        let mut value = 0u32;
        for _ in 0..5 {
            let byte = self.byte()?;
            if value > u32::MAX >> 7 {
                return Err(Fault::Integer.at(start));
            }
            value = value << 7 | u32::from(byte & 0x7f);
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(Fault::Integer.at(start))
    }

    /// Bytes that follow their length.
    fn counted(&mut self) -> Result<Range<usize>, InvalidDocument> {
        let at = self.position;
        let length = self.integer()? as usize;
        let start = self.position;
        let end =
            start.checked_add(length).filter(|&end| end <= self.bytes.len()).ok_or_else(|| Fault::Bounds.at(at))?;
        self.position = end;
        Ok(start..end)
    }

    /// Bytes up to a NUL.
    #[inline(always)]
    fn terminated(&mut self) -> Result<Range<usize>, InvalidDocument> {
        let start = self.position;
        let rest = self.bytes.get(start..).unwrap_or_default();
        // Most strings are shorter than what it takes to look for their end many bytes at a time.
        let short = rest.first_chunk().and_then(first_nul);
        let length = short.or_else(|| memchr::memchr(0, rest)).ok_or_else(|| Fault::Truncated.at(start))?;
        self.position = start + length + 1;
        Ok(start..start + length)
    }
}

/// So many bytes are looked at of an element that is as most are.
const WINDOW: usize = 48;

/// Where the first NUL is.
#[inline(always)]
fn first_nul(bytes: &[u8; 16]) -> Option<usize> {
    const ONES: u128 = u128::MAX / 0xff;
    let bytes = u128::from_le_bytes(*bytes);
    // A borrow reaches the upper bit of a byte only out of that byte, if it is zero, or out of one in front of it that is.
    let nuls = bytes.wrapping_sub(ONES) & !bytes & (ONES << 7);
    (nuls != 0).then(|| nuls.trailing_zeros() as usize / 8)
}

/// Appends `text` as one STR_I, or as one OPAQUE if it holds a NUL, which ends a STR_I.
pub(super) fn push_text(out: &mut Vec<u8>, text: &[u8]) {
    if memchr::memchr(0, text).is_some() {
        push_opaque(out, text);
    } else {
        out.push(token::STR_I);
        out.extend_from_slice(text);
        out.push(0);
    }
}

/// Appends `bytes` as one OPAQUE.
///
/// # Panics
/// If they are 4 GiB or more.
pub(super) fn push_opaque(out: &mut Vec<u8>, bytes: &[u8]) {
    push_opaque_head(out, bytes.len());
    out.extend_from_slice(bytes);
}

/// Appends what stands in an OPAQUE before so many bytes.
pub fn push_opaque_head(out: &mut Vec<u8>, length: usize) {
    let start = out.len();
    out.resize(start + opaque_head_len(length), 0);
    write_opaque_head(out.get_mut(start..).unwrap_or_default(), length);
}

/// Writes what stands in an OPAQUE before so many bytes, the number in its shortest form, over `out`, which is
/// [as long as that](opaque_head_len).
pub fn write_opaque_head(out: &mut [u8], length: usize) {
    debug_assert_eq!(out.len(), opaque_head_len(length));
    if let [token, number @ ..] = out {
        *token = token::OPAQUE;
        for (group, byte) in number.iter_mut().rev().enumerate() {
            let more = if group == 0 { 0 } else { 0x80 };
            *byte = (length >> (7 * group)) as u8 & 0x7f | more;
        }
    }
}

/// Length of what stands in an OPAQUE before so many bytes, the number in its shortest form.
pub fn opaque_head_len(length: usize) -> usize {
    let bits = usize::BITS - length.leading_zeros();
    1 + bits.div_ceil(7).max(1) as usize
}

/// The bytes of `content` if it is one OPAQUE, its length in its shortest form, and nothing else.
pub fn sole_opaque(content: &[u8]) -> Option<&[u8]> {
    let mut cursor = Cursor { bytes: content, position: 0 };
    if cursor.byte().ok()? != token::OPAQUE {
        return None;
    }
    let span = cursor.counted().ok()?;
    let is_sole = span.end == content.len() && span.start == opaque_head_len(span.len());
    content.get(span).filter(|_| is_sole)
}

/// Appends a SWITCH_PAGE.
pub(super) fn push_page(out: &mut Vec<u8>, page: u8) {
    out.extend_from_slice(&[token::SWITCH_PAGE, page]);
}

/// The token of a tag with content.
pub(super) const fn with_content(tag: u8) -> u8 {
    tag | token::CONTENT
}

/// The token that ends an element.
pub const END: u8 = token::END;

/// The token that changes the code page.
pub const SWITCH_PAGE: u8 = token::SWITCH_PAGE;
