//! ROUGE (Lin, 2004) as rouge-score 0.1.2 on PyPI, which is Google's: precision, recall and F1 of the n-grams
//! (ROUGE-1, -2) and of the longest common subsequence of words (ROUGE-L), which for summaries of several lines is
//! also taken line by line (ROUGE-Lsum).
//!
//! A word is a run of a-z and 0-9 after the whole text is put in lower case: a letter of any other kind cuts it.
//! Not here: bootstrap intervals over a corpus.

use std::collections::{BTreeMap, BTreeSet};

use super::answers::harmonic_mean;
use super::ngrams;
use super::porter;

/// Precision, recall and their harmonic mean, 0 to 1.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Rouge {
    /// Share of the prediction's n-grams or words that are found in the reference.
    pub precision: f64,
    /// Share of the reference's that are found in the prediction.
    pub recall: f64,
    /// Their harmonic mean: the number that papers give.
    pub f1: f64,
}

impl Rouge {
    fn new(hits: usize, predicted: usize, reference: usize) -> Rouge {
        let precision = hits as f64 / predicted.max(1) as f64;
        let recall = hits as f64 / reference.max(1) as f64;
        Rouge { precision, recall, f1: harmonic_mean(precision, recall) }
    }
}

/// One prediction's figures.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Scores {
    /// Of single words.
    pub rouge_1: Rouge,
    /// Of pairs of words.
    pub rouge_2: Rouge,
    /// Of the longest common subsequence of the whole texts.
    pub rouge_l: Rouge,
    /// Of the union, for each line of the reference, of its longest common subsequences with the prediction's lines.
    pub rouge_l_sum: Rouge,
}

/// The figures of `prediction` against `reference`; with `stemming`, words of more than three letters count by their
/// [`porter::stem`]. Time and memory are the product of both lengths.
pub fn score(reference: &str, prediction: &str, stemming: bool) -> Scores {
    let lines = |text: &str| -> Vec<Vec<String>> {
        text.split('\n').filter(|line| !line.is_empty()).map(|line| words(line, stemming)).collect()
    };
    let rouge_l_sum = line_by_line(&lines(reference), &lines(prediction));
    let (reference, prediction) = (words(reference, stemming), words(prediction, stemming));
    Scores {
        rouge_1: of_ngrams(&reference, &prediction, 1),
        rouge_2: of_ngrams(&reference, &prediction, 2),
        rouge_l: of_subsequence(&reference, &prediction),
        rouge_l_sum,
    }
}

/// The figures against the best of several references, which is chosen by F1 for each figure by itself (the first of
/// equals).
pub fn best<S: AsRef<str>>(references: &[S], prediction: &str, stemming: bool) -> Scores {
    let better = |old: Rouge, new: Rouge| if new.f1 > old.f1 { new } else { old };
    let scores = references.iter().map(|reference| score(reference.as_ref(), prediction, stemming));
    let best = scores.reduce(|old, new| Scores {
        rouge_1: better(old.rouge_1, new.rouge_1),
        rouge_2: better(old.rouge_2, new.rouge_2),
        rouge_l: better(old.rouge_l, new.rouge_l),
        rouge_l_sum: better(old.rouge_l_sum, new.rouge_l_sum),
    });
    best.unwrap_or_default()
}

fn words(text: &str, stemming: bool) -> Vec<String> {
    let lower = text.to_lowercase();
    let words = lower.split(|c: char| !matches!(c, 'a'..='z' | '0'..='9')).filter(|word| !word.is_empty());
    let stemmed = |word: &str| if stemming && word.len() > 3 { porter::stem(word) } else { word.to_string() };
    words.map(stemmed).filter(|word| !word.is_empty()).collect()
}

fn of_ngrams(reference: &[String], prediction: &[String], n: usize) -> Rouge {
    let hits = ngrams::common(&ngrams::counts(reference, n), &ngrams::counts(prediction, n));
    let count = |words: &[String]| (words.len() + 1).saturating_sub(n);
    Rouge::new(hits, count(prediction), count(reference))
}

fn of_subsequence(reference: &[String], prediction: &[String]) -> Rouge {
    let hits = Subsequences::new(reference, prediction).length(reference.len(), prediction.len());
    Rouge::new(hits, prediction.len(), reference.len())
}

fn line_by_line(reference: &[Vec<String>], prediction: &[Vec<String>]) -> Rouge {
    let bag = |lines: &[Vec<String>]| {
        let mut bag = BTreeMap::new();
        for word in lines.iter().flatten() {
            *bag.entry(word.clone()).or_insert(0_usize) += 1;
        }
        bag
    };
    // A word counts only as often as both texts have it, in however many lines it is found.
    let (mut left_in_reference, mut left_in_prediction) = (bag(reference), bag(prediction));
    let mut hits = 0;
    for line in reference {
        let found: BTreeSet<usize> =
            prediction.iter().flat_map(|other| Subsequences::new(line, other).places()).collect();
        for place in found {
            let word = &line[place];
            let (Some(a), Some(b)) = (left_in_reference.get_mut(word), left_in_prediction.get_mut(word))
            else {
                continue;
            };
            if *a > 0 && *b > 0 {
                (*a, *b) = (*a - 1, *b - 1);
                hits += 1;
            }
        }
    }
    let count = |lines: &[Vec<String>]| lines.iter().map(Vec::len).sum();
    Rouge::new(hits, count(prediction), count(reference))
}

/// The lengths of the longest common subsequences of all beginnings of `a` (words) and `b`.
struct Subsequences<'a> {
    a: &'a [String],
    b: &'a [String],
    /// (a + 1, b + 1)
    lengths: Vec<u32>,
}

impl<'a> Subsequences<'a> {
    fn new(a: &'a [String], b: &'a [String]) -> Subsequences<'a> {
        let width = b.len() + 1;
        let mut lengths = vec![0_u32; (a.len() + 1) * width];
        for i in 1..=a.len() {
            for j in 1..=b.len() {
                lengths[i * width + j] = if a[i - 1] == b[j - 1] {
                    lengths[(i - 1) * width + j - 1] + 1
                } else {
                    lengths[(i - 1) * width + j].max(lengths[i * width + j - 1])
                };
            }
        }
        Subsequences { a, b, lengths }
    }

    /// For the first `i` words of `a` and the first `j` of `b`.
    fn length(&self, i: usize, j: usize) -> usize {
        self.lengths[i * (self.b.len() + 1) + j] as usize
    }

    /// Where in `a` one longest common subsequence lies: read from the end, of equals the one that drops `a`'s word.
    fn places(&self) -> Vec<usize> {
        let (mut i, mut j) = (self.a.len(), self.b.len());
        let mut places = vec![];
        while i > 0 && j > 0 {
            if self.a[i - 1] == self.b[j - 1] {
                (i, j) = (i - 1, j - 1);
                places.push(i);
            } else if self.length(i, j - 1) > self.length(i - 1, j) {
                j -= 1;
            } else {
                i -= 1;
            }
        }
        places
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rouge(precision: f64, recall: f64) -> Rouge {
        Rouge { precision, recall, f1: 2.0 * precision * recall / (precision + recall) }
    }

    /// Lin's example: "police killed the gunman" against "police kill the gunman" and "the gunman kill police".
    #[test]
    fn order_shows_in_the_subsequence_alone() {
        let reference = "police killed the gunman";
        let first = score(reference, "police kill the gunman", false);
        assert_eq!((first.rouge_1, first.rouge_2), (rouge(0.75, 0.75), rouge(1.0 / 3.0, 1.0 / 3.0)));
        assert_eq!(first.rouge_l, rouge(0.75, 0.75));
        let second = score(reference, "the gunman kill police", false);
        assert_eq!((second.rouge_1, second.rouge_l), (rouge(0.75, 0.75), rouge(0.5, 0.5)));
        assert_eq!(score(reference, "police kill the gunman", true).rouge_2, rouge(1.0, 1.0));
    }

    /// Lin's example of the union: the line w1 .. w5 meets "w1 w2 w6 w7 w8" in two words and "w1 w3 w8 w9 w5" in
    /// three, together in four of five.
    #[test]
    fn lines_meet_in_their_union() {
        let scores = score("w1 w2 w3 w4 w5", "w1 w2 w6 w7 w8\nw1 w3 w8 w9 w5", false);
        assert_eq!(scores.rouge_l_sum, rouge(0.4, 0.8));
        assert_eq!(scores.rouge_l, rouge(0.4, 0.8));
        let scores = score("w1 w3\nw5 w2", "w5 w2\n\nw1 w3", false);
        assert_eq!((scores.rouge_l_sum, scores.rouge_l), (rouge(1.0, 1.0), rouge(0.5, 0.5)));
    }

    #[test]
    fn a_word_is_of_ascii_letters_and_digits() {
        assert_eq!(words("L'été, 3.5_x\u{212a}\n", false), ["l", "t", "3", "5", "xk"]);
        assert_eq!(words("going ties was dogs", true), ["go", "tie", "was", "dog"]);
        assert_eq!(score("", "a", false), Scores::default());
        assert_eq!(score("日本", "日本", true), Scores::default());
    }

    #[test]
    fn the_best_reference_is_chosen_for_each_figure() {
        let best = best(&["x y", "y x z"], "x y z", false);
        assert_eq!((best.rouge_1, best.rouge_2), (rouge(1.0, 1.0), rouge(0.5, 1.0)));
        assert_eq!(super::best::<&str>(&[], "x", false), Scores::default());
    }
}
