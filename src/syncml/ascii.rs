//! Runs of ASCII characters of a kind, with what the processor has to look at many bytes at once.
//!
//! Only tells how long a run is; what ends it is for the reader to judge.

use fearless_simd::prelude::*;
use fearless_simd::{Level, Simd, dispatch, u8x16, u8x32};

/// A set of ASCII characters.
///
/// A table for each half of a byte. The upper half gives a bit, its row; the lower half all rows in which the character is
/// in the set.
#[derive(Debug)]
pub(super) struct Class {
    low: [u8; 16],
    high: [u8; 16],
}

/// What a name without a colon is made of.
pub(super) static NAME: Class = Class::of(Sets::NAME);
/// What XML has of ASCII.
pub(super) static XML: Class = Class::of(Sets::XML);
/// What needs no second look in text: neither markup nor part of `]]>`, and a character of XML.
pub(super) static TEXT: Class = Class::of(Sets::TEXT);
/// The same in a CDATA section.
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

/// So many bytes are looked at at once.
const LANES: usize = 32;

/// The sets that a character is in.
struct Sets;

impl Sets {
    const NAME: u8 = 1;
    const TEXT: u8 = 2;
    const CDATA: u8 = 4;
    const VALUE: u8 = 8;
    const BASE64: u8 = 16;
    const XML: u8 = 32;

    const fn of(byte: u8) -> u8 {
        let plain = Self::XML | Self::TEXT | Self::CDATA | Self::VALUE;
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' => plain | Self::NAME | Self::BASE64,
            b'-' | b'.' | b'_' => plain | Self::NAME,
            b'+' | b'/' => plain | Self::BASE64,
            b'<' | b'&' => Self::XML | Self::CDATA,
            b']' => Self::XML | Self::VALUE,
            b'"' | b'\'' => Self::XML | Self::TEXT | Self::CDATA,
            b'\t' | b'\n' | b'\r' | b' '..=0x7f => plain,
            _ => 0,
        }
    }
}

impl Class {
    const fn of(set: u8) -> Self {
        let mut class = Self { low: [0; 16], high: [0; 16] };
        let mut byte = 0;
        while byte < 0x80 {
            let row = 1 << (byte >> 4);
            class.high[byte >> 4] = row;
            if Sets::of(byte as u8) & set != 0 {
                class.low[byte & 0xf] |= row;
            }
            byte += 1;
        }
        class
    }

    /// Whether all of `bytes` are in it.
    pub(super) fn holds(&self, bytes: &[u8]) -> bool {
        dispatch!(Level::new(), simd => self.run(simd, bytes)) == bytes.len()
    }

    /// How many bytes at the front are in it. Has to be inlined into what was compiled for `simd`.
    #[inline(always)]
    pub(super) fn run<S: Simd>(&self, simd: S, bytes: &[u8]) -> usize {
        let tables = Tables::new(simd, self);
        let Some(lanes) = bytes.first_chunk() else {
            let mut lanes = [0; LANES];
            lanes[..bytes.len()].copy_from_slice(bytes);
            return bytes.len().min(tables.others(&lanes).trailing_zeros() as usize);
        };
        let others = tables.others(lanes);
        if others != 0 { others.trailing_zeros() as usize } else { tables.long_run(bytes) }
    }
}

/// A [`Class`], loaded.
#[derive(Clone, Copy)]
struct Tables<S: Simd> {
    simd: S,
    low: u8x32<S>,
    high: u8x32<S>,
}

impl<S: Simd> Tables<S> {
    #[inline(always)]
    fn new(simd: S, class: &Class) -> Self {
        let table = u8x16::load_array_ref(simd, &class.low);
        let low = u8x32::block_splat(table);
        let table = u8x16::load_array_ref(simd, &class.high);
        let high = u8x32::block_splat(table);
        Self { simd, low, high }
    }

    /// Zero in the place of each byte that is not of the class. What is not ASCII has no row.
    #[inline(always)]
    fn members(&self, lanes: &[u8; LANES]) -> u8x32<S> {
        let bytes = u8x32::load_array_ref(self.simd, lanes);
        self.low.swizzle_dyn_within_blocks(bytes & 0xf) & self.high.swizzle_dyn_within_blocks(bytes >> 4)
    }

    /// A bit for each byte that is not of the class.
    #[inline(always)]
    fn others(&self, lanes: &[u8; LANES]) -> u64 {
        self.members(lanes).simd_eq(0).to_bitmask()
    }

    /// The length of the run at the front of `bytes`, which is longer than [`LANES`].
    #[inline(always)]
    fn long_run(&self, bytes: &[u8]) -> usize {
        let (mut chunks, rest) = bytes.as_chunks::<{ 2 * LANES }>();
        while let [chunk, behind @ ..] = chunks {
            let (halves, _) = chunk.as_chunks();
            let [first, second] = halves else { break };
            if self.members(first).min(self.members(second)).simd_eq(0).any_true() {
                break;
            }
            chunks = behind;
        }
        let mut len = bytes.len() - rest.len() - chunks.len() * 2 * LANES;
        while let Some(lanes) = bytes.get(len..).and_then(<[u8]>::first_chunk) {
            let others = self.others(lanes);
            if others != 0 {
                return len + others.trailing_zeros() as usize;
            }
            len += LANES;
        }
        // What is left, together with what was in front of it.
        let Some(lanes) = bytes.last_chunk() else { return len };
        let others = self.others(lanes) >> (len + LANES - bytes.len());
        bytes.len().min(len + others.trailing_zeros() as usize)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SETS: [(&Class, u8); 6] = [
        (&NAME, Sets::NAME),
        (&XML, Sets::XML),
        (&TEXT, Sets::TEXT),
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
        fn a_run_ends_at_the_first_other_byte(len in 0..300usize, others in prop::collection::vec((0..300usize, any::<u8>()), 0..3)) {
            for (class, set) in SETS {
                let mut bytes = vec![b'x'; len];
                for &(at, byte) in &others {
                    if let Some(place) = bytes.get_mut(at) {
                        *place = byte;
                    }
                }
                let is_other = |&byte: &u8| byte >= 0x80 || Sets::of(byte) & set == 0;
                let run = bytes.iter().position(is_other).unwrap_or(len);
                prop_assert_eq!(dispatch!(Level::new(), simd => class.run(simd, &bytes)), run);
                prop_assert_eq!(dispatch!(Level::baseline(), simd => class.run(simd, &bytes)), run);
            }
        }
    }
}
