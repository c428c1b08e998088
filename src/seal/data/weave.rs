//! Pieces that stand one behind the other, put between the parts of a skeleton, all in one buffer.

use std::ops::Range;

/// What puts each thing into its place. `None`, here and below, if that cannot be done, which is a fault of ours.
pub(super) trait Loom {
    /// Writes the part of that index.
    fn part(&mut self, index: usize) -> Option<()>;
    /// Puts the piece of that index into its place, which stands at `piece` until then.
    fn piece(&mut self, index: usize, piece: Range<usize>) -> Option<()>;
}

/// Weaves in an order in which nothing is written over what is still to be read, pieces of those `lengths` that stand at
/// `pieces`, if the one at `turn` stands where it is to stand: those in front of it move forward, beginning with the first, and
/// those behind it backward, beginning with the last. With `turn` zero all move backward, with their number all move forward.
pub(super) fn weave<L: ExactSizeIterator<Item = usize> + DoubleEndedIterator + Clone>(
    pieces: Range<usize>,
    lengths: L,
    turn: usize,
    loom: &mut impl Loom,
) -> Option<()> {
    let Range { start: mut front, end: mut back } = pieces;
    for (index, len) in lengths.clone().enumerate().take(turn) {
        loom.part(index)?;
        loom.piece(index, front..front + len)?;
        front += len;
    }
    for (index, len) in lengths.enumerate().skip(turn).rev() {
        loom.part(index + 1)?;
        loom.piece(index, back - len..back)?;
        back -= len;
    }
    loom.part(turn)
}

/// The longest of `pieces`, which is the one that is best left where it is, and how long those in front of it are.
pub(super) fn anchor(pieces: impl Iterator<Item = usize>) -> (usize, usize) {
    let (mut anchor, mut longest) = ((0, 0), 0);
    let mut before = 0;
    for (index, len) in pieces.enumerate() {
        if len > longest {
            (anchor, longest) = ((index, before), len);
        }
        before += len;
    }
    anchor
}

/// Copies `bytes` to `at`.
pub(super) fn put(buffer: &mut [u8], at: usize, bytes: &[u8]) -> Option<()> {
    buffer.get_mut(at..at.checked_add(bytes.len())?)?.copy_from_slice(bytes);
    Some(())
}

/// Moves the bytes at `from` to `to`.
pub(super) fn shift(buffer: &mut [u8], from: Range<usize>, to: usize) -> Option<()> {
    if from.start != to {
        buffer.get(to..to.checked_add(from.len())?)?;
        buffer.get(from.clone())?;
        buffer.copy_within(from, to);
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Parts of zeros.
    struct Shuttle {
        buffer: Vec<u8>,
        slots: Vec<Range<usize>>,
        part_lengths: Vec<usize>,
    }

    impl Loom for Shuttle {
        fn part(&mut self, index: usize) -> Option<()> {
            let at = index.checked_sub(1).map_or(0, |last| self.slots[last].end);
            put(&mut self.buffer, at, &vec![0; self.part_lengths[index]])
        }

        fn piece(&mut self, index: usize, piece: Range<usize>) -> Option<()> {
            shift(&mut self.buffer, piece, self.slots[index].start)
        }
    }

    proptest! {
        /// Wherever the turn is, every part and every piece comes to stand in its place, though all share one buffer.
        #[test]
        fn nothing_is_written_over_what_is_still_to_be_read(
            lengths in prop::collection::vec((0..20usize, 1..20usize), 0..8), last in 0..20usize, turn: prop::sample::Index,
        ) {
            let turn = turn.index(lengths.len() + 1);
            let size = lengths.iter().map(|(part, piece)| part + piece).sum::<usize>() + last;
            let before = lengths.iter().take(turn).map(|(_, piece)| piece).sum::<usize>();
            let (mut slots, mut end) = (Vec::new(), 0);
            for (part, piece) in &lengths {
                slots.push(end + part..end + part + piece);
                end += part + piece;
            }
            // The piece at the turn, or the end of all if there is none, stands where it is to stand.
            let start = slots.get(turn).map_or(size - last, |slot| slot.start) - before;
            let (mut buffer, mut from) = (vec![0xff; size], start);
            for (index, (_, piece)) in lengths.iter().enumerate() {
                buffer[from..from + piece].fill(index as u8 + 1);
                from += piece;
            }
            let piece_lengths = lengths.iter().map(|(_, piece)| *piece);
            let part_lengths = lengths.iter().map(|(part, _)| *part).chain([last]).collect();
            let mut shuttle = Shuttle { buffer, slots, part_lengths };
            prop_assert_eq!(weave(start..from, piece_lengths, turn, &mut shuttle), Some(()));
            let mut expected = Vec::new();
            for (index, (part, piece)) in lengths.iter().enumerate() {
                expected.extend(std::iter::repeat_n(0, *part).chain(std::iter::repeat_n(index as u8 + 1, *piece)));
            }
            expected.extend(vec![0; last]);
            prop_assert_eq!(shuttle.buffer, expected);
        }
    }

    #[test]
    fn the_longest_is_left_where_it_is() {
        assert_eq!(anchor([3, 9, 4, 9].into_iter()), (1, 3));
        assert_eq!(anchor([].into_iter()), (0, 0));
    }

    #[test]
    fn what_has_no_room_is_not_put() {
        let mut buffer = [1, 2, 3];
        assert_eq!(put(&mut buffer, 2, &[9, 9]), None);
        assert_eq!(put(&mut buffer, usize::MAX, &[9]), None);
        assert_eq!(shift(&mut buffer, 0..2, 2), None);
        assert_eq!(shift(&mut buffer, 2..4, 0), None);
        assert_eq!(buffer, [1, 2, 3]);
    }
}
