//! The depth of a product: the k elements its chains run over, and which two of them make a pair in bf16.
//!
//! Depth consists of runs, and no pair takes one element from the end of a run and one from the next: a run of odd
//! length ends with a pair whose second element is +0. Where the depth is a layer's width there is one run. A
//! weight's gradient is a chain over token rows; there the runs are the sequences, because a batch may be cut in
//! micro-batches between any two of them, and the cut must not show.

use core::ops::Range;

/// The depth of a product. Made of a number, it is one run.
#[derive(Clone, Copy)]
pub struct Depth<'a> {
    from: usize,
    to: usize,
    /// Where the runs begin, and the end of the last; none: there is only one.
    offsets: &'a [usize],
}

impl From<usize> for Depth<'_> {
    fn from(k: usize) -> Self {
        Depth { from: 0, to: k, offsets: &[] }
    }
}

impl<'a> Depth<'a> {
    /// All runs, run i being the elements `offsets[i]..offsets[i + 1]`. The matrices begin with the first.
    pub fn runs(offsets: &'a [usize]) -> Self {
        Depth { from: offsets[0], to: offsets[offsets.len() - 1], offsets }
    }

    /// The elements `range` of the runs: the matrices begin with `range.start`.
    pub fn part(self, range: Range<usize>) -> Self {
        Depth { from: range.start, to: range.end, ..self }
    }

    /// The last place up to `at` that cuts no pair in two, for a depth that starts at one.
    pub fn cut(self, at: usize) -> usize {
        match self.run(at) {
            Some(run) if at < run.end => at - (at - run.start) % 2,
            _ => at,
        }
    }

    /// The run that element `at` is in.
    fn run(self, at: usize) -> Option<Range<usize>> {
        if self.offsets.is_empty() {
            return Some(self.from..self.to);
        }
        let next = self.offsets.partition_point(|&offset| offset <= at);
        (0 < next && next < self.offsets.len()).then(|| self.offsets[next - 1]..self.offsets[next])
    }

    /// k, the number of elements.
    pub fn len(self) -> usize {
        self.to - self.from
    }

    /// Whether there are no elements.
    pub fn is_empty(self) -> bool {
        self.len() == 0
    }

    /// Number of words of `deep` elements.
    pub(crate) fn words(self, deep: usize) -> usize {
        self.pieces().map(|piece| piece.len().div_ceil(deep)).sum()
    }

    /// The runs, or what of them is in this depth.
    pub(crate) fn pieces(self) -> impl Iterator<Item = Range<usize>> + 'a {
        let whole = self.offsets.is_empty().then_some(self.from..self.to);
        let Depth { from, to, offsets } = self;
        let inside = offsets.windows(2).map(move |run| run[0].max(from)..run[1].min(to));
        whole.into_iter().chain(inside).filter(|piece| piece.start < piece.end)
    }

    /// Some words of it.
    pub(crate) fn block(self, deep: usize, words: Range<usize>) -> Block<'a> {
        Block { depth: self, deep, words }
    }
}

/// Consecutive words of a depth.
#[derive(Clone)]
pub(crate) struct Block<'a> {
    depth: Depth<'a>,
    deep: usize,
    words: Range<usize>,
}

/// Consecutive rows of B (columns of A) whose words lie in one block and one run.
pub(crate) struct Segment {
    /// The first word, counted in the block.
    pub word: usize,
    /// The first row.
    pub row: usize,
    /// Rows; the last of an odd number makes a word by itself.
    pub rows: usize,
}

impl Block<'_> {
    /// Number of words.
    pub fn words(&self) -> usize {
        self.words.len()
    }

    /// Its segments, in order.
    pub fn segments(&self) -> impl Iterator<Item = Segment> + '_ {
        let (deep, block, from) = (self.deep, &self.words, self.depth.from);
        let mut first = 0;
        self.depth.pieces().filter_map(move |piece| {
            let words = first..first + piece.len().div_ceil(deep);
            first = words.end;
            let (start, end) = (words.start.max(block.start), words.end.min(block.end));
            (start < end).then(|| {
                let row = piece.start + (start - words.start) * deep;
                let rows = piece.end.min(piece.start + (end - words.start) * deep) - row;
                Segment { word: start - block.start, row: row - from, rows }
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;
    use alloc::vec::Vec;

    /// (word, rows) of a block.
    fn words(depth: Depth, deep: usize, block: Range<usize>) -> Vec<Vec<usize>> {
        let block = depth.block(deep, block);
        let mut words = vec![vec![]; block.words()];
        for segment in block.segments() {
            for i in 0..segment.rows {
                words[segment.word + i / deep].push(segment.row + i);
            }
        }
        words
    }

    #[test]
    fn pairs_stay_within_their_run() {
        let offsets = [5, 5, 8, 10, 11, 15];
        let runs = Depth::runs(&offsets);
        assert_eq!((runs.len(), runs.words(1), runs.words(2)), (10, 10, 6));
        let all = vec![vec![0, 1], vec![2], vec![3, 4], vec![5], vec![6, 7], vec![8, 9]];
        assert_eq!(words(runs, 2, 0..6), all);
        assert_eq!(words(runs, 2, 1..4), all[1..4]);
        assert_eq!(words(runs, 1, 2..9), (2..9).map(|row| vec![row]).collect::<Vec<_>>());
        assert_eq!(words(7.into(), 2, 1..4), vec![vec![2, 3], vec![4, 5], vec![6]]);
        // A part counts its rows from its own beginning.
        assert_eq!(words(runs.part(8..13), 2, 0..3), vec![vec![0, 1], vec![2], vec![3, 4]]);
    }

    #[test]
    fn cuts_keep_pairs_together() {
        let offsets = [5, 5, 8, 10, 11, 15];
        let cuts = (5..=15).map(|at| Depth::runs(&offsets).cut(at));
        assert_eq!(cuts.collect::<Vec<_>>(), [5, 5, 7, 8, 8, 10, 11, 11, 13, 13, 15]);
        assert_eq!([5, 6, 7].map(|at| Depth::from(7).cut(at)), [4, 6, 7]);
    }
}
