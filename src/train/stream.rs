//! Pretraining text in tokens: passages one after another, and the sequences that are taken from them.

use std::collections::BTreeMap;

use crate::model::Sequence;
use crate::num::rng::Rng;

/// Documents one after another, each ended by the end-of-text token. Where a part of a document is missing, since it is on
/// another side of the split, a run of tokens ends and another begins: no sequence goes over such a gap.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TextStream {
    tokens: Vec<u32>,
    /// Where runs end; the last one is the end of the tokens.
    ends: Vec<usize>,
}

impl TextStream {
    /// Appends a passage (none that is empty), which follows the one before unless there is a `gap` between them.
    pub fn push(&mut self, passage: &[u32], gap: bool) {
        if passage.is_empty() {
            return;
        }
        if !gap {
            self.ends.pop();
        }
        self.tokens.extend(passage);
        self.ends.push(self.tokens.len());
    }

    /// Tokens, end-of-text tokens included.
    pub fn len(&self) -> usize {
        self.tokens.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.tokens.is_empty()
    }

    /// All tokens in order.
    pub fn tokens(&self) -> &[u32] {
        &self.tokens
    }

    /// The runs of tokens without a gap.
    pub fn runs(&self) -> impl Iterator<Item = &[u32]> {
        let mut begin = 0;
        self.ends.iter().map(move |&end| {
            let run = begin..end;
            begin = end;
            &self.tokens[run]
        })
    }

    /// Tokens that follow another one in their run: what a model can be asked to predict.
    pub fn predictions(&self) -> usize {
        self.runs().map(|run| run.len() - 1).sum()
    }

    /// `context` predictions from a random place, all places being equally likely; a shorter run is taken as a whole.
    ///
    /// # Panics
    /// Where there is nothing to predict.
    pub fn window(&self, context: usize, rng: &mut Rng) -> Sequence<'_> {
        let places = |run: &[u32]| places(run, context);
        let mut place = rng.below(self.runs().map(places).sum());
        let run = self.runs().find(|run| {
            let here = place < places(run);
            place -= if here { 0 } else { places(run) };
            here
        });
        let run = run.expect("text to draw from");
        Sequence::text(&run[place..run.len().min(place + context + 1)])
    }

    /// How many predictions a random window has: with which probability each number.
    pub fn window_lengths(&self, context: usize) -> BTreeMap<usize, f64> {
        let mut lengths: BTreeMap<usize, usize> = BTreeMap::new();
        for run in self.runs().filter(|run| run.len() > 1) {
            *lengths.entry(context.min(run.len() - 1)).or_default() += places(run, context);
        }
        let all: usize = lengths.values().sum();
        lengths.into_iter().map(|(length, places)| (length, places as f64 / all as f64)).collect()
    }

    /// The text cut into consecutive windows of `context` predictions, up to `limit` of them in all.
    pub fn windows(&self, context: usize, limit: usize) -> Vec<Sequence<'_>> {
        let mut windows = Vec::new();
        let mut left = limit;
        for run in self.runs() {
            let run = &run[..run.len().min(left.saturating_add(1))];
            let predictions = run.len() - 1;
            let starts = (0..predictions).step_by(context);
            windows
                .extend(starts.map(|start| Sequence::text(&run[start..run.len().min(start + context + 1)])));
            left -= predictions;
        }
        windows
    }
}

/// Places in a run at which a window can begin. A run of one token predicts nothing.
fn places(run: &[u32], context: usize) -> usize {
    (run.len().saturating_sub(context)).max(1).min(run.len() - 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::num::rng::{Purpose, Stage};

    /// Runs 0..10, 10..12 and 12..17.
    fn stream() -> TextStream {
        let mut stream = TextStream::default();
        for (passage, gap) in [(0..4, false), (4..10, false), (10..12, true), (12..13, true), (13..17, false)]
        {
            stream.push(&passage.collect::<Vec<u32>>(), gap);
        }
        stream
    }

    #[test]
    fn passages_join_but_over_gaps() {
        let runs: Vec<Vec<u32>> = stream().runs().map(<[u32]>::to_vec).collect();
        assert_eq!(runs, [(0..10).collect::<Vec<_>>(), vec![10, 11], (12..17).collect()]);
        assert_eq!((stream().len(), stream().predictions()), (17, 9 + 1 + 4));
        let mut empty = TextStream::default();
        empty.push(&[], true);
        assert!(empty.is_empty() && empty.runs().next().is_none() && empty.windows(4, 9).is_empty());
    }

    #[test]
    fn no_window_goes_over_a_gap_and_all_places_are_equally_likely() {
        let stream = stream();
        let mut counts: BTreeMap<Vec<u32>, usize> = BTreeMap::new();
        // And a run that predicts nothing.
        let mut stream = stream.clone();
        stream.push(&[99], true);
        for i in 0..11_000 {
            let mut rng = Rng::at(1, Stage::Test, Purpose::Test, 0, i, 0);
            *counts.entry(stream.window(3, &mut rng).tokens.to_vec()).or_default() += 1;
        }
        // Windows of four tokens: seven of the first run, the second as a whole, two of the third.
        let expected: Vec<Vec<u32>> = (0..7)
            .map(|start| (start..start + 4).collect())
            .chain([vec![10, 11], vec![12, 13, 14, 15], vec![13, 14, 15, 16]])
            .collect();
        assert_eq!(counts.keys().cloned().collect::<Vec<_>>(), expected);
        assert!(counts.values().all(|&count| (1000..1200).contains(&count)), "{counts:?}");
        // Nine of the ten predict three tokens, one predicts one.
        assert_eq!(stream.window_lengths(3), BTreeMap::from([(1, 0.1), (3, 0.9)]));
        assert!(TextStream::default().window_lengths(3).is_empty());
    }

    #[test]
    fn without_gaps_a_window_begins_where_the_draw_says() {
        let mut stream = TextStream::default();
        stream.push(&(0..100).collect::<Vec<u32>>(), false);
        let rng = || Rng::at(2, Stage::Test, Purpose::Test, 0, 0, 0);
        let start = rng().below(100 - 9 + 1) as u32;
        assert_eq!(stream.window(8, &mut rng()).tokens, (start..start + 9).collect::<Vec<_>>());
    }

    #[test]
    fn consecutive_windows_predict_every_token_of_a_run_but_its_first_once() {
        let stream = stream();
        let tokens = |limit| -> Vec<Vec<u32>> {
            stream.windows(4, limit).iter().map(|window| window.tokens.to_vec()).collect()
        };
        let all =
            [vec![0, 1, 2, 3, 4], vec![4, 5, 6, 7, 8], vec![8, 9], vec![10, 11], vec![12, 13, 14, 15, 16]];
        assert_eq!(tokens(usize::MAX), all);
        assert_eq!(tokens(9), all[..3]);
        assert_eq!(tokens(11), [&all[..4], &[vec![12, 13]]].concat());
        assert_eq!(tokens(2), [vec![0, 1, 2]]);
        assert!(tokens(0).is_empty());
    }
}
