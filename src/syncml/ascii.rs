//! Runs of ASCII characters of a kind, with what the processor has to look at many bytes at once.
//!
//! Only tells how long a run is; what ends it is for the reader to judge.

use std::ops::Range;

use fearless_simd::prelude::*;
use fearless_simd::{Level, Simd, dispatch, mask8x64, u8x16, u8x32, u8x64};

/// A set of ASCII characters.
///
/// A table for each half of a byte. The upper half gives a bit, its row; the lower half all rows in which the character is
/// in the set.
#[derive(Debug)]
pub(super) struct Class {
    low: [u8; 16],
    high: [u8; 16],
    /// For processors that look up all of a character at once: itself, or another in the place of those that are not in the set.
    whole: [[u8; BLOCK]; 2],
}

/// What a name without a colon is made of.
pub(super) static NAME: Class = Class::of(Sets::NAME);
/// What XML has of ASCII.
pub(super) static XML: Class = Class::of(Sets::XML);
/// What needs no second look in text: neither markup nor part of `]]>`, and a character of XML.
pub(super) static TEXT: Class = Class::of(Sets::TEXT);
/// The same without `>`: what is neither text nor the end of a tag stands out.
pub(super) static PLAIN: Class = Class::of(Sets::PLAIN);
/// What needs no second look in a CDATA section.
pub(super) static CDATA: Class = Class::of(Sets::CDATA);
/// What is neither quote nor reference in the value of an attribute.
pub(super) static VALUE: Class = Class::of(Sets::VALUE);
/// The alphabet of base64, without padding.
static BASE64: Class = Class::of(Sets::BASE64);

/// Whether all of it is of the standard alphabet of base64 (RFC 4648, section 4), padding not included: then it is text,
/// too.
pub fn is_base64_alphabet(bytes: &[u8]) -> bool {
    BASE64.holds(bytes)
}

/// The sets that a character is in.
struct Sets;

impl Sets {
    const NAME: u8 = 1;
    const TEXT: u8 = 2;
    const CDATA: u8 = 4;
    const VALUE: u8 = 8;
    const BASE64: u8 = 16;
    const XML: u8 = 32;
    const PLAIN: u8 = 64;

    const fn of(byte: u8) -> u8 {
        let plain = Self::XML | Self::TEXT | Self::CDATA | Self::VALUE | Self::PLAIN;
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' => plain | Self::NAME | Self::BASE64,
            b'-' | b'.' | b'_' => plain | Self::NAME,
            b'+' | b'/' => plain | Self::BASE64,
            b'<' | b'&' => Self::XML | Self::CDATA,
            b']' => Self::XML | Self::VALUE,
            b'>' => Self::XML | Self::TEXT | Self::CDATA | Self::VALUE,
            b'"' | b'\'' => Self::XML | Self::TEXT | Self::CDATA | Self::PLAIN,
            b'\t' | b'\n' | b'\r' | b' '..=0x7f => plain,
            _ => 0,
        }
    }
}

impl Class {
    const fn of(set: u8) -> Self {
        let mut class = Self { low: [0; 16], high: [0; 16], whole: [[0; BLOCK]; 2] };
        let mut byte = 0;
        while byte < 0x80 {
            let row = 1 << (byte >> 4);
            class.high[byte >> 4] = row;
            let is_member = Sets::of(byte as u8) & set != 0;
            if is_member {
                class.low[byte & 0xf] |= row;
            }
            class.whole[byte / BLOCK][byte % BLOCK] = byte as u8 ^ !is_member as u8;
            byte += 1;
        }
        class
    }

    /// Whether all of `bytes` are in it.
    pub(super) fn holds(&self, bytes: &[u8]) -> bool {
        dispatch!(Level::new(), simd => Wide::new(simd, self).holds(bytes))
    }

    /// How many bytes at the front are in it. Has to be inlined into what was compiled for `simd`.
    #[inline(always)]
    pub(super) fn run<S: Simd>(&self, simd: S, bytes: &[u8]) -> usize {
        Wide::new(simd, self).run(bytes)
    }

    /// The same of sixteen bytes.
    #[inline(always)]
    pub(super) fn short_run<S: Simd>(&self, simd: S, lanes: &[u8; 16]) -> usize {
        let low = u8x16::load_array_ref(simd, &self.low);
        let high = u8x16::load_array_ref(simd, &self.high);
        let bytes = u8x16::load_array_ref(simd, lanes);
        let rows = low.swizzle_dyn_within_blocks(bytes & 0xf) & high.swizzle_dyn_within_blocks(bytes >> 4);
        (rows.simd_eq(0).to_bitmask() | 1 << 16).trailing_zeros() as usize
    }
}

/// A [`Class`], loaded.
#[derive(Clone, Copy)]
struct Wide<S: Simd> {
    simd: S,
    /// Both halves of the table of all characters, or those of the halves of a byte.
    tables: [u8x64<S>; 2],
}

/// How many bytes are in a block.
const BLOCK: usize = 64;

/// How many blocks are looked at together.
const GROUP: usize = 8;

impl<S: Simd> Wide<S> {
    #[inline(always)]
    fn new(simd: S, class: &Class) -> Self {
        let tables = if has_whole_tables(simd) {
            [u8x64::load_array_ref(simd, &class.whole[0]), u8x64::load_array_ref(simd, &class.whole[1])]
        } else {
            [&class.low, &class.high].map(|table| u8x64::block_splat(u8x16::load_array_ref(simd, table)))
        };
        Self { simd, tables }
    }

    /// Which bytes are not of the class.
    #[inline(always)]
    fn others(&self, lanes: &[u8; BLOCK]) -> mask8x64<S> {
        let bytes = u8x64::load_array_ref(self.simd, lanes);
        let [low, high] = self.tables;
        if has_whole_tables(self.simd) {
            // What is not ASCII is not looked up, and is not what stands in its place.
            low.concat_swizzle_dyn(high, bytes & 0x7f).simd_ne(bytes)
        } else {
            let rows = low.swizzle_dyn_within_blocks(bytes & 0xf) & high.swizzle_dyn_within_blocks(bytes >> 4);
            rows.simd_eq(0)
        }
    }

    /// A bit for each of them.
    #[inline(always)]
    fn places(&self, lanes: &[u8; BLOCK]) -> u64 {
        self.others(lanes).to_bitmask()
    }

    /// Whether all of `bytes` are of it. Where they are, as nearly always, no block need be told from another.
    #[inline(always)]
    fn holds(&self, bytes: &[u8]) -> bool {
        let (groups, rest) = bytes.as_chunks::<{ GROUP * BLOCK }>();
        let has_others = |group: &[u8; GROUP * BLOCK]| {
            let none = mask8x64::splat(self.simd, false);
            group.as_chunks().0.iter().fold(none, |others, lanes| others | self.others(lanes)).any_true()
        };
        !groups.iter().any(has_others) && self.run(rest) == rest.len()
    }

    /// How many bytes at the front are in it.
    #[inline(always)]
    fn run(&self, bytes: &[u8]) -> usize {
        let (blocks, rest) = bytes.as_chunks();
        for (block, lanes) in blocks.iter().enumerate() {
            let others = self.places(lanes);
            if others != 0 {
                return block * BLOCK + others.trailing_zeros() as usize;
            }
        }
        // What is left, together with what was in front of it.
        let others = match bytes.last_chunk() {
            _ if rest.is_empty() => 0,
            Some(lanes) => self.places(lanes) >> (BLOCK - rest.len()),
            None => self.places(&padded(rest)),
        };
        bytes.len() - rest.len() + rest.len().min(others.trailing_zeros() as usize)
    }
}

/// A block that begins with those bytes.
#[inline(always)]
fn padded(bytes: &[u8]) -> [u8; BLOCK] {
    let mut lanes = [0; BLOCK];
    lanes[..bytes.len()].copy_from_slice(bytes);
    lanes
}

/// Whether a table of 128 bytes is looked up at once.
#[inline(always)]
fn has_whole_tables<S: Simd>(simd: S) -> bool {
    #[cfg(any(target_arch = "x86", target_arch = "x86_64"))]
    return matches!(simd.level(), Level::Avx512(_));
    #[cfg(not(any(target_arch = "x86", target_arch = "x86_64")))]
    return false;
}

/// The places of the bytes that are not of a [`Class`], one after the other. Has to be inlined into what was compiled for
/// `simd`.
#[derive(Clone, Copy)]
pub(super) struct Marks<'a, S: Simd> {
    class: Wide<S>,
    bytes: &'a [u8],
    /// Where the block begins that was looked at.
    block: usize,
    /// A bit for each place in it that is still to be given.
    places: u64,
    /// What is in front of it has been given.
    given: usize,
}

impl<'a, S: Simd> Marks<'a, S> {
    /// Those at `from` and behind it.
    #[inline(always)]
    pub(super) fn new(simd: S, class: &Class, bytes: &'a [u8], from: usize) -> Self {
        let mut marks = Self { class: Wide::new(simd, class), bytes, block: from, places: 0, given: from };
        marks.look();
        marks
    }

    /// The first at `from` or behind it. What follows is given next.
    #[inline(always)]
    pub(super) fn seek(&mut self, from: usize) -> usize {
        (self.block, self.given) = (from, from);
        self.look();
        self.next()
    }

    /// The next place; the length of all where there is none any more.
    #[inline(always)]
    pub(super) fn next(&mut self) -> usize {
        while self.places == 0 {
            if self.block + BLOCK >= self.bytes.len() {
                return self.bytes.len();
            }
            self.block += BLOCK;
            self.look();
        }
        let place = self.block + self.places.trailing_zeros() as usize;
        self.places &= self.places - 1;
        self.given = place + 1;
        place
    }

    /// The same, faster if it is not far behind what was given last.
    #[inline(always)]
    pub(super) fn pass(&mut self, from: usize) -> usize {
        let passed = from.wrapping_sub(self.block);
        if passed >= BLOCK || from < self.given {
            return self.seek(from);
        }
        self.places &= u64::MAX << passed;
        self.next()
    }

    /// Looks at the block.
    #[inline(always)]
    fn look(&mut self) {
        let rest = self.bytes.get(self.block..).unwrap_or_default();
        self.places = match rest.first_chunk() {
            Some(lanes) => self.class.places(lanes),
            None => self.class.places(&padded(rest)) & ((1 << rest.len()) - 1),
        };
    }
}

/// In how many bytes zeros are looked for at once.
const LANES: usize = 32;

/// A bit for each byte that is zero. Has to be inlined into what was compiled for `simd`.
#[inline(always)]
pub(super) fn zeros<S: Simd>(simd: S, lanes: &[u8; LANES]) -> u64 {
    u8x32::load_array_ref(simd, lanes).simd_eq(0).to_bitmask()
}

/// Whether what stands at `run` stands at `at`, too. Has to be inlined into what was compiled for `simd`.
#[inline(always)]
pub(super) fn same<S: Simd>(simd: S, bytes: &[u8], run: &Range<usize>, at: usize) -> bool {
    let (Some(run_lanes), Some(lanes)) = (
        bytes.get(run.start..).and_then(<[u8]>::first_chunk::<BLOCK>),
        bytes.get(at..).and_then(<[u8]>::first_chunk::<BLOCK>),
    ) else {
        return bytes.get(run.clone()) == bytes.get(at..at + run.len());
    };
    let equal = u8x64::load_array_ref(simd, run_lanes).simd_eq(u8x64::load_array_ref(simd, lanes)).to_bitmask();
    match run.len() {
        len @ 0..BLOCK => equal | u64::MAX << len == u64::MAX,
        _ => equal == u64::MAX && bytes.get(run.start + BLOCK..run.end) == bytes.get(at + BLOCK..at + run.len()),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SETS: [(&Class, u8); 7] = [
        (&NAME, Sets::NAME),
        (&XML, Sets::XML),
        (&TEXT, Sets::TEXT),
        (&PLAIN, Sets::PLAIN),
        (&CDATA, Sets::CDATA),
        (&VALUE, Sets::VALUE),
        (&BASE64, Sets::BASE64),
    ];

    #[test]
    fn every_byte_is_in_its_sets_alone() {
        for (class, set) in SETS {
            for byte in 0..=u8::MAX {
                assert_eq!(class.holds(&[byte]), byte < 0x80 && Sets::of(byte) & set != 0, "{byte:#x} in {set}");
            }
        }
    }

    proptest! {
        /// Of any length, at any place, and with whatever the processor has.
        #[test]
        fn a_run_ends_at_the_first_other_byte(
            len in 0..1500usize, others in prop::collection::vec((0..1500usize, any::<u8>()), 0..3),
        ) {
            for (class, set) in SETS {
                let mut bytes = vec![b'x'; len];
                for &(at, byte) in &others {
                    if let Some(place) = bytes.get_mut(at) {
                        *place = byte;
                    }
                }
                let is_other = |&byte: &u8| byte >= 0x80 || Sets::of(byte) & set == 0;
                let run = bytes.iter().position(is_other).unwrap_or(len);
                let places: Vec<usize> = (0..len).filter(|&at| is_other(&bytes[at])).collect();
                let front = bytes.first_chunk::<16>().map(|_| run.min(16));
                for level in levels() {
                    prop_assert_eq!(dispatch!(level, simd => class.run(simd, &bytes)), run);
                    prop_assert_eq!(dispatch!(level, simd => Wide::new(simd, class).holds(&bytes)), run == len);
                    prop_assert_eq!(dispatch!(level, simd => marks(simd, class, &bytes)), &places[..]);
                    let short = |lanes| dispatch!(level, simd => class.short_run(simd, lanes));
                    prop_assert_eq!(bytes.first_chunk().map(short), front);
                }
            }
        }

        /// From wherever one begins, and wherever one goes on.
        #[test]
        fn marks_are_found_from_anywhere(
            bytes in prop::collection::vec(prop_oneof![9 => Just(b'x'), 1 => Just(b'<')], 0..300),
            steps in prop::collection::vec((0..100usize, any::<bool>()), 1..8),
        ) {
            for level in levels() {
                let from = |at: usize| bytes.iter().skip(at).position(|&byte| byte == b'<').map_or(bytes.len(), |n| at + n);
                let found = dispatch!(level, simd => walk(simd, &bytes, &steps));
                let mut at = 0;
                for ((step, is_near), found) in steps.iter().zip(found) {
                    at = (at + step).min(bytes.len());
                    let expected = [from(at), from((from(at) + 1).min(bytes.len()))];
                    prop_assert_eq!(found, expected, "{} {}", at, is_near);
                    at = expected[0];
                }
            }
        }

        #[test]
        fn what_is_the_same_is_told(
            bytes in prop::collection::vec(0..2u8, 1..400), run in (0..150usize, 0..150usize), at in 0..300usize,
        ) {
            let run = run.0.min(bytes.len())..(run.0 + run.1).min(bytes.len());
            let expected = bytes.get(at..at + run.len()) == Some(&bytes[run.clone()]);
            let repeated = bytes.repeat(2);
            for level in levels() {
                prop_assert_eq!(dispatch!(level, simd => same(simd, &bytes, &run, at)), expected);
                prop_assert!(dispatch!(level, simd => same(simd, &repeated, &run, bytes.len() + run.start)));
            }
        }

        #[test]
        fn zeros_are_found(lanes: [bool; LANES]) {
            let expected = lanes.iter().rev().fold(0, |bits, &lane| bits << 1 | u64::from(lane));
            for level in levels() {
                let bytes = lanes.map(|lane| u8::from(!lane));
                prop_assert_eq!(dispatch!(level, simd => zeros(simd, &bytes)), expected);
            }
        }
    }

    /// What the processor has, and what there is everywhere.
    fn levels() -> [Level; 2] {
        [Level::new(), Level::baseline()]
    }

    #[inline(always)]
    fn marks<S: Simd>(simd: S, class: &Class, bytes: &[u8]) -> Vec<usize> {
        let mut marks = Marks::new(simd, class, bytes, 0);
        std::iter::repeat_with(|| marks.next()).take_while(|&at| at < bytes.len()).collect()
    }

    /// Goes so far from one mark to the next, and tells both that follow.
    #[inline(always)]
    fn walk<S: Simd>(simd: S, bytes: &[u8], steps: &[(usize, bool)]) -> Vec<[usize; 2]> {
        let mut marks = Marks::new(simd, &PLAIN, bytes, 0);
        let mut at = 0;
        let mut found = Vec::new();
        for &(step, is_near) in steps {
            at = (at + step).min(bytes.len());
            let first = if is_near { marks.pass(at) } else { marks.seek(at) };
            let mut next = marks;
            found.push([first, next.next()]);
            marks.seek(first);
            at = first;
        }
        found
    }
}
