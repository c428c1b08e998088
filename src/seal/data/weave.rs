//! Pieces that stand one behind the other, put between the parts of a skeleton, all in one buffer.

use std::ops::Range;

/// A step of weaving.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Write the part of that index.
    Part(usize),
    /// Put the piece of that index into its place; it stands at the range until then.
    Piece(usize, Range<usize>),
}

/// The steps in an order in which nothing is written over what is still to be read, for pieces of those `lengths` that stand at
/// `pieces`, if the one at `turn` stands where it is to stand: those in front of it move forward, beginning with the first, and
/// those behind it backward, beginning with the last. With `turn` zero all move backward, with their number all move forward.
pub(super) fn steps<L: ExactSizeIterator<Item = usize> + DoubleEndedIterator + Clone>(
    pieces: Range<usize>,
    lengths: L,
    turn: usize,
) -> impl Iterator<Item = Step> {
    let Range { start: mut front, end: mut back } = pieces;
    let forward = lengths.clone().enumerate().take(turn).flat_map(move |(index, len)| {
        front += len;
        [Step::Part(index), Step::Piece(index, front - len..front)]
    });
    let backward = lengths.enumerate().skip(turn).rev().flat_map(move |(index, len)| {
        back -= len;
        [Step::Part(index + 1), Step::Piece(index, back..back + len)]
    });
    forward.chain(backward).chain([Step::Part(turn)])
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

/// Copies `bytes` to `at`. `None`, here and below, if there is no room, which is a fault of ours.
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
            for step in steps(start..from, piece_lengths, turn) {
                match step {
                    Step::Part(index) => {
                        let at = index.checked_sub(1).map_or(0, |last| slots[last].end);
                        let len = lengths.get(index).map_or(last, |(part, _)| *part);
                        prop_assert_eq!(put(&mut buffer, at, &vec![0; len]), Some(()));
                    }
                    Step::Piece(index, piece) => {
                        prop_assert_eq!(shift(&mut buffer, piece, slots[index].start), Some(()));
                    }
                }
            }
            let mut expected = Vec::new();
            for (index, (part, piece)) in lengths.iter().enumerate() {
                expected.extend(std::iter::repeat_n(0, *part).chain(std::iter::repeat_n(index as u8 + 1, *piece)));
            }
            expected.extend(vec![0; last]);
            prop_assert_eq!(buffer, expected);
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
