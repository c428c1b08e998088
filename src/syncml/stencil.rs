//! What a document says over and over: the markup from one content to the next.

use std::ops::Range;

/// The markup between the contents of two elements, as it was read last.
///
/// Once it was the same twice in a row, but for the texts in it, who comes upon it a third time need not read it: it closes and
/// opens the elements that it closed and opened before, for after the second time the same elements were open as after the
/// first.
#[derive(Debug, Default)]
pub struct Stencil {
    /// The last two stretches.
    stretches: [Stretch; 2],
    /// Which of the two is being read.
    reading: usize,
    /// Where the end tag of the last content stands.
    end_tag: Range<usize>,
    /// Whether the two were the same.
    is_sure: bool,
}

/// What stands between two contents.
#[derive(Debug, Default)]
struct Stretch {
    /// Where each run of markup stands. A text is behind each, and behind the last one a content.
    runs: [Range<usize>; MAX_RUNS],
    /// How many there are; there may be more than there is room for.
    len: usize,
    /// How many elements begin in it.
    elements: usize,
}

/// Longer stretches are not looked at.
const MAX_RUNS: usize = 16;

impl Stretch {
    /// Ends a run at `end`; another may begin at `next`.
    #[inline(always)]
    fn push(&mut self, end: usize, next: usize) {
        if let Some(run) = self.runs.get_mut(self.len) {
            run.end = end;
        }
        self.len += 1;
        if let Some(run) = self.runs.get_mut(self.len) {
            run.start = next;
        }
    }

    fn runs(&self) -> &[Range<usize>] {
        self.runs.get(..self.len).unwrap_or_default()
    }
}

impl Stencil {
    /// A stretch begins behind the end tag of a content.
    #[inline(always)]
    pub fn begin(&mut self, end_tag: Range<usize>) {
        let stretch = &mut self.stretches[self.reading];
        stretch.len = 0;
        stretch.runs[0].start = end_tag.end;
        self.end_tag = end_tag;
    }

    /// A text: there may be another in its place the next time.
    #[inline(always)]
    pub fn text(&mut self, text: Range<usize>) {
        self.stretches[self.reading].push(text.start, text.end);
    }

    /// The stretch ends where a content begins, and so many `elements` began in it.
    #[inline(always)]
    pub fn end(&mut self, document: &[u8], content: usize, elements: usize) {
        let [first, second] = &mut self.stretches;
        let (stretch, last) = if self.reading == 0 { (first, second) } else { (second, first) };
        stretch.push(content, content);
        stretch.elements = elements;
        let markup = |run: &Range<usize>| document.get(run.clone());
        let is_same =
            |(run, last): (&Range<usize>, &Range<usize>)| run.len() == last.len() && markup(run) == markup(last);
        self.is_sure = stretch.len == last.len
            && elements == last.elements
            && !stretch.runs().is_empty()
            && stretch.runs().iter().zip(last.runs()).all(is_same);
        self.reading ^= 1;
    }

    /// Whether the last two stretches were the same.
    #[inline(always)]
    pub fn is_sure(&self) -> bool {
        self.is_sure
    }

    /// The runs of markup in a stretch.
    #[inline(always)]
    pub(super) fn runs(&self) -> &[Range<usize>] {
        self.stretches[self.reading ^ 1].runs()
    }

    /// How many elements begin in a stretch.
    pub(super) fn elements(&self) -> usize {
        self.stretches[self.reading ^ 1].elements
    }

    /// Where the end tag of the last content stands.
    pub(super) fn end_tag(&self) -> Range<usize> {
        self.end_tag.clone()
    }
}
