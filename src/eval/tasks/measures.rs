//! What tasks measure, and how the scores of all documents become one figure with its standard error and interval.
//!
//! Documents about one text (the questions about a paragraph, the turns of a dialogue) are alike, so intervals measure the
//! spread between such groups; the standard error is lm-evaluation-harness's, which knows no groups.
//!
//! A figure of the whole corpus that is no mean over documents, such as BLEU, has a bootstrap: the documents are drawn
//! anew, with return and as many, [`RESAMPLES`] times. Its standard error is the standard deviation of the figures that
//! come out (n - 1 in the variance), its interval reaches from their 2.5th percentile to their 97.5th. (lm-evaluation-harness
//! draws BLEU's 100 times.) The draws have a fixed address, so the same scores give the same bits.

use std::collections::BTreeMap;

use crate::eval::metrics::bleu::Counts;
use crate::eval::metrics::squad::{Judged, best_threshold};
use crate::num::hash::{EMPTY, fnv1a};
use crate::num::rng::{Purpose, Rng, Stage};
use crate::num::statistics::{Clustered, Estimate};

/// A measure of a task.
#[derive(Debug, PartialEq, Eq)]
pub struct Measure {
    /// Its name in files, that of lm-evaluation-harness where it has the measure.
    pub name: &'static str,
    /// What it counts in: `share` (0 to 1), `percent`, `bits`, `nats`, `score`; empty for a pure number.
    pub unit: &'static str,
    /// Whether more is better.
    pub higher_is_better: bool,
    /// How documents become a figure.
    pub aggregate: Aggregate,
}

/// How the scores of all documents become one figure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Aggregate {
    /// The mean of ones and zeros: its interval is Wilson's.
    Share,
    /// [`Aggregate::Share`] of hundreds and zeros.
    Percent,
    /// [`Aggregate::Percent`] of groups: a group counts if each of its documents has 100.
    PercentOfGroups,
    /// The mean of any numbers: its interval is Student's.
    Mean,
    /// `exp(-mean)` of log-likelihoods.
    Perplexity,
    /// BLEU of [`Part::Bleu`], 0 to 100.
    Bleu,
    /// [`best_threshold`] of [`Part::Answer`], in percent.
    BestThreshold,
}

/// What a document gives for a measure. A measure that does not apply to a document has no score of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Score {
    /// Of what.
    pub measure: &'static Measure,
    /// How much, of the document alone.
    pub value: f64,
    /// What pure chance would give on average, where that is known.
    pub chance: Option<f64>,
    /// What a figure of the whole corpus is made of.
    pub part: Part,
}

/// What a document adds to a figure of the whole corpus.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Part {
    /// The value.
    Value,
    /// Counts of n-grams.
    Bleu(Counts),
    /// A question as SQuAD's search for a threshold sees it.
    Answer(Judged),
}

impl Score {
    /// A value for which no chance level is known.
    pub fn new(measure: &'static Measure, value: f64) -> Score {
        Score { measure, value, chance: None, part: Part::Value }
    }

    /// 1 or 0.
    pub fn flag(measure: &'static Measure, holds: bool) -> Score {
        Score::new(measure, if holds { 1.0 } else { 0.0 })
    }

    /// BLEU of a document alone, with its counts.
    pub fn bleu(measure: &'static Measure, counts: Counts) -> Score {
        Score { part: Part::Bleu(counts), ..Score::new(measure, counts.bleu().score) }
    }

    fn counts(&self) -> &Counts {
        let Part::Bleu(counts) = &self.part else { panic!("{} without counts", self.measure.name) };
        counts
    }

    fn answer(&self) -> Judged {
        let Part::Answer(answer) = self.part else { panic!("{} without an answer", self.measure.name) };
        answer
    }
}

/// A figure of a task.
#[derive(Debug, Clone, PartialEq)]
pub struct Figure {
    /// Of what.
    pub measure: &'static Measure,
    /// The figure and its 95 % interval.
    pub estimate: Estimate,
    /// Its standard error, with n - 1 in the variance, as lm-evaluation-harness has it; of a perplexity `exp(-m)` that of
    /// `m` times the perplexity. `None` of a single document.
    pub error: Option<f64>,
    /// The chance level.
    pub chance: Option<f64>,
}

/// The scores of a document, and the number of its group.
pub type Scored = (usize, Vec<Score>);

/// The figures of all documents' scores, measure by measure in the order in which they first occur.
pub fn figures(documents: &[Scored]) -> Vec<Figure> {
    measures(documents).into_iter().map(|measure| figure(measure, &scores(documents, measure))).collect()
}

/// The first measure and its figure so far, without an interval; `None` without scores.
pub fn first(documents: &[Scored]) -> Option<(&'static Measure, f64)> {
    let measure = *measures(documents).first()?;
    let scores = scores(documents, measure);
    Some((measure, value(measure, &scores.iter().map(|(_, score)| *score).collect::<Vec<_>>())))
}

fn measures(documents: &[Scored]) -> Vec<&'static Measure> {
    let mut measures = Vec::new();
    for score in documents.iter().flat_map(|(_, scores)| scores) {
        if !measures.contains(&score.measure) {
            measures.push(score.measure);
        }
    }
    measures
}

/// The scores of a measure, each with its group.
fn scores<'a>(documents: &'a [Scored], measure: &Measure) -> Vec<(usize, &'a Score)> {
    let of = |(group, scores): &'a Scored| {
        let score = scores.iter().find(|score| score.measure == measure)?;
        Some((*group, score))
    };
    documents.iter().filter_map(of).collect()
}

/// The figure of documents (at least one), as [`figure`] has it; of groups the share of documents.
fn value(measure: &Measure, scores: &[&Score]) -> f64 {
    match measure.aggregate {
        Aggregate::Bleu => {
            let mut all = Counts::default();
            scores.iter().for_each(|score| all.add(score.counts()));
            all.bleu().score
        }
        Aggregate::BestThreshold => {
            let answers: Vec<Judged> = scores.iter().map(|score| score.answer()).collect();
            100.0 * best_threshold(&answers).expect("at least one document").0
        }
        aggregate => {
            let mean = scores.iter().fold(0.0, |sum, score| sum + score.value) / scores.len() as f64;
            if aggregate == Aggregate::Perplexity { libm::exp(-mean) } else { mean }
        }
    }
}

fn figure(measure: &'static Measure, scores: &[(usize, &Score)]) -> Figure {
    let n = scores.len() as f64;
    let chance = scores.iter().try_fold(0.0, |sum, (_, score)| Some(sum + score.chance?)).map(|sum| sum / n);
    let clusters = |values: &[(usize, f64)]| values.iter().copied().collect::<Clustered<usize>>();
    let values: Vec<(usize, f64)> = scores.iter().map(|(group, score)| (*group, score.value)).collect();
    let mean = clusters(&values).mean().expect("at least one document");
    let (estimate, error) = match measure.aggregate {
        Aggregate::Share => (clusters(&values).share().expect("at least one document"), error(&values)),
        Aggregate::Percent => (percent(&values), error(&values)),
        Aggregate::PercentOfGroups => {
            let mut groups = BTreeMap::new();
            for (group, value) in values {
                let least: &mut f64 = groups.entry(group).or_insert(value);
                *least = least.min(value);
            }
            let groups: Vec<(usize, f64)> = groups.into_iter().collect();
            (percent(&groups), error(&groups))
        }
        Aggregate::Mean => (mean, error(&values)),
        Aggregate::Perplexity => {
            let [value, low, high] = [mean.value, mean.high, mean.low].map(|x| libm::exp(-x));
            (Estimate { value, low, high, ..mean }, error(&values).map(|error| error * value))
        }
        Aggregate::Bleu | Aggregate::BestThreshold => {
            let scores: Vec<&Score> = scores.iter().map(|(_, score)| *score).collect();
            let (low, high, error) = bootstrap(measure, &scores);
            (Estimate { value: value(measure, &scores), low, high, ..mean }, error)
        }
    };
    Figure { measure, estimate, error, chance }
}

fn percent(values: &[(usize, f64)]) -> Estimate {
    let shares: Clustered<usize> = values.iter().map(|(group, value)| (*group, value / 100.0)).collect();
    let share = shares.share().expect("at least one document");
    let [value, low, high] = [share.value, share.low, share.high].map(|x| 100.0 * x);
    Estimate { value, low, high, ..share }
}

/// The standard error of a mean of independent values.
fn error(values: &[(usize, f64)]) -> Option<f64> {
    let n = values.len() as f64;
    let mean = values.iter().fold(0.0, |sum, (_, value)| sum + value) / n;
    let squares = values.iter().fold(0.0, |sum, (_, value)| sum + (value - mean) * (value - mean));
    (values.len() > 1).then(|| libm::sqrt(squares / (n - 1.0)) / libm::sqrt(n))
}

/// How often the documents are drawn anew.
pub const RESAMPLES: usize = 1000;

/// The ends of the interval and the standard error; of a single document, which always gives the same, minus and plus
/// infinity and `None`.
fn bootstrap(measure: &Measure, scores: &[&Score]) -> (f64, f64, Option<f64>) {
    if scores.len() < 2 {
        return (f64::NEG_INFINITY, f64::INFINITY, None);
    }
    let step = fnv1a(EMPTY, measure.name.bytes());
    let resample = |number: usize| {
        let mut rng = Rng::at(0, Stage::Eval, Purpose::Noise, step, number as u64, 0);
        let drawn: Vec<&Score> = (0..scores.len()).map(|_| scores[rng.below(scores.len())]).collect();
        value(measure, &drawn)
    };
    let mut figures: Vec<f64> = (0..RESAMPLES).map(resample).collect();
    figures.sort_by(f64::total_cmp);
    let n = RESAMPLES as f64;
    let mean = figures.iter().fold(0.0, |sum, figure| sum + figure) / n;
    let squares = figures.iter().fold(0.0, |sum, figure| sum + (figure - mean) * (figure - mean));
    let tail = RESAMPLES / 40;
    (figures[tail], figures[RESAMPLES - 1 - tail], Some(libm::sqrt(squares / (n - 1.0))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::eval::tasks::choosing::ACC;
    use crate::eval::tasks::lambada::PERPLEXITY;
    use crate::num::statistics::t95;

    fn of(measure: &'static Measure, values: &[f64], chance: Option<f64>) -> Figure {
        let score = |value| vec![Score { chance, ..Score::new(measure, value) }];
        let documents: Vec<Scored> = values.iter().map(|&value| score(value)).enumerate().collect();
        figures(&documents).remove(0)
    }

    #[test]
    fn shares_have_the_standard_error_of_a_mean() {
        // Mean 3/4, sum of squares 3/16 * 4 = 3/4, so sqrt(3/4 / 3) / 2 = 1/4.
        let figure = of(&ACC, &[1.0, 0.0, 1.0, 1.0], Some(0.5));
        assert_eq!((figure.estimate.value, figure.error, figure.chance), (0.75, Some(0.25), Some(0.5)));
        assert!(figure.estimate.high < 1.0 && figure.estimate.low > 0.0);
        let one = of(&ACC, &[1.0], None);
        assert_eq!((one.error, one.chance), (None, None));
    }

    #[test]
    fn a_perplexity_is_that_of_the_mean() {
        let ln2 = core::f64::consts::LN_2;
        let figure = of(&PERPLEXITY, &[-ln2, -3.0 * ln2], None);
        assert!((figure.estimate.value - 4.0).abs() < 1e-12);
        // The mean's error is ln 2: sqrt(2 ln2^2 / 1) / sqrt(2).
        assert!((figure.error.unwrap() - 4.0 * ln2).abs() < 1e-12);
        let half = t95(1) * ln2;
        assert!((figure.estimate.high / (4.0 * half.exp()) - 1.0).abs() < 1e-12, "{figure:?}");
        assert!((figure.estimate.low / (4.0 * (-half).exp()) - 1.0).abs() < 1e-12);
    }

    static PERCENT: Measure =
        Measure { name: "percent", unit: "percent", higher_is_better: true, aggregate: Aggregate::Percent };
    static GROUPS: Measure = Measure {
        name: "groups",
        unit: "percent",
        higher_is_better: true,
        aggregate: Aggregate::PercentOfGroups,
    };
    static BLEU: Measure =
        Measure { name: "bleu", unit: "percent", higher_is_better: true, aggregate: Aggregate::Bleu };
    static BEST: Measure = Measure {
        name: "best",
        unit: "percent",
        higher_is_better: true,
        aggregate: Aggregate::BestThreshold,
    };

    #[test]
    fn percents_are_shares_a_hundred_times() {
        let (share, percent) = (of(&ACC, &[1.0, 0.0, 1.0], None), of(&PERCENT, &[100.0, 0.0, 100.0], None));
        for (share, percent) in [
            (share.estimate.value, percent.estimate.value),
            (share.estimate.low, percent.estimate.low),
            (share.estimate.high, percent.estimate.high),
        ] {
            assert_eq!(100.0 * share, percent);
        }
        assert!((percent.error.unwrap() - 100.0 * share.error.unwrap()).abs() < 1e-12);
    }

    /// Groups {100, 100}, {100, 0}, {0} and {100}: two of four.
    #[test]
    fn a_group_counts_if_all_of_it_does() {
        let documents: Vec<Scored> = [(0, 100.0), (0, 100.0), (2, 100.0), (2, 0.0), (4, 0.0), (5, 100.0)]
            .map(|(group, value)| (group, vec![Score::new(&GROUPS, value), Score::new(&PERCENT, value)]))
            .to_vec();
        let [groups, percent] = &figures(&documents)[..] else { panic!("two measures") };
        assert_eq!((groups.estimate.value, groups.estimate.clusters), (50.0, 4));
        assert_eq!((percent.estimate.count, percent.estimate.clusters), (6, 4));
        assert_eq!(first(&documents).unwrap(), (&GROUPS, 400.0 / 6.0));
    }

    #[test]
    fn a_measure_rests_on_the_documents_it_applies_to() {
        let documents = [
            (0, vec![Score::new(&ACC, 1.0)]),
            (1, vec![Score::new(&ACC, 0.0), Score::new(&PERPLEXITY, -1.0)]),
        ];
        let figures = figures(&documents);
        assert_eq!(figures.iter().map(|figure| figure.estimate.count).collect::<Vec<_>>(), [2, 1]);
        assert!(first(&[(0, vec![])]).is_none() && super::figures(&[]).is_empty());
    }

    /// BLEU of a corpus is that of all counts, and of the same documents the bootstrap is always the same.
    #[test]
    fn figures_of_a_corpus() {
        let pairs = [("a b c d e", "a b c d e"), ("a b c x y z", "a b c d e f"), ("q", "r s t u v")];
        let counts = pairs.map(|(ours, theirs)| Counts::new(ours, &[theirs]));
        let documents: Vec<Scored> =
            counts.map(|counts| vec![Score::bleu(&BLEU, counts)]).into_iter().enumerate().collect();
        let mut all = Counts::default();
        counts.iter().for_each(|counts| all.add(counts));
        let found = figures(&documents).remove(0);
        assert_eq!(found.estimate.value, all.bleu().score);
        assert_eq!(found, figures(&documents).remove(0));
        let Estimate { value, low, high, .. } = found.estimate;
        assert!(0.0 <= low && low < value && value < high && high <= 100.0 + 1e-9, "{found:?}");
        assert!(found.error.unwrap() > 1.0);
        let alone = figures(&documents[..1]).remove(0);
        assert_eq!((alone.error, alone.estimate.low), (None, f64::NEG_INFINITY));
        // Ones and zeros: the standard error is near that of a mean, sqrt(1/4 / 400).
        let judged = |i: usize| {
            let score = f64::from(u8::from(i.is_multiple_of(2)));
            Judged { no_answer: 0.0, score, answerable: true, empty: false }
        };
        let documents: Vec<Scored> = (0..400)
            .map(|i| (i, vec![Score { part: Part::Answer(judged(i)), ..Score::new(&BEST, 0.0) }]))
            .collect();
        let best = figures(&documents).remove(0);
        assert_eq!(best.estimate.value, 50.0);
        assert!((best.error.unwrap() - 2.5).abs() < 0.3, "{best:?}");
        assert!(
            (best.estimate.low - 45.1).abs() < 1.0 && (best.estimate.high - 54.9).abs() < 1.0,
            "{best:?}"
        );
    }
}
