//! The second gradient oracle, independent of PyTorch: a generic forward-only GPT run on dual numbers in
//! f64 gives the exact directional derivative of a whole loss, and `<gradient, v>` from the crate's
//! hand-derived backward has to be the same number.
//!
//! For random models, every loss of the paper, one that it does not have, and random batches with sequences of different length, the
//! directions v are: random ones over all parameters, random ones confined to one tensor (so that an error
//! is caught and named however small the tensor's share), and, for small models, every single element.

#[path = "../common/accumulation.rs"]
mod accumulation;
mod cases;
mod dpo;
mod gpt;
mod losses;
mod ours;
mod scalar;

use std::ops::Range;

use instructgpt::model::Head;
use instructgpt::num::rng::Rng;

use cases::{CASES, Case, rng};
use gpt::Gpt;
use ours::Outcome;
use scalar::{Dual, LANES, Scalar};

#[derive(Debug, Clone, Copy, PartialEq)]
enum Loss {
    NextToken,
    Sft,
    Reward,
    Policy,
    PolicyWithPtx,
    Value,
    Dpo,
}

const LOSSES: [Loss; 7] =
    [Loss::NextToken, Loss::Sft, Loss::Reward, Loss::Policy, Loss::PolicyWithPtx, Loss::Value, Loss::Dpo];

impl Loss {
    fn head(self) -> Head {
        if matches!(self, Loss::Reward | Loss::Value) { Head::Scalar } else { Head::LanguageModel }
    }

    fn exact<S: Scalar>(self, case: &Case, mut gpt: Gpt<S>) -> S {
        gpt.dropout = gpt.dropout.filter(|_| self == Loss::Sft);
        match self {
            Loss::NextToken => losses::next_token(&gpt, &case.texts, 0),
            Loss::Sft => losses::sft(&gpt, &case.episodes),
            Loss::Reward => losses::reward(&gpt, &case.rankings),
            Loss::Policy => losses::policy(&gpt, &case.episodes, case.constants),
            Loss::PolicyWithPtx => losses::policy_with_ptx(&gpt, &case.episodes, &case.texts, case.constants),
            Loss::Value => losses::value(&gpt, &case.episodes, case.constants),
            Loss::Dpo => losses::dpo(&gpt, &case.pairs, case.constants),
        }
    }

    fn ours(self, case: &Case) -> Outcome {
        match self {
            Loss::NextToken => ours::next_token(case),
            Loss::Sft => ours::sft(case),
            Loss::Reward => ours::reward(case),
            Loss::Policy => ours::policy(case, false),
            Loss::PolicyWithPtx => ours::policy(case, true),
            Loss::Value => ours::value(case),
            Loss::Dpo => ours::dpo(case),
        }
    }
}

/// A direction in parameter space: `v` over the elements of `at`, 0 elsewhere. Named after its tensor.
struct Direction {
    name: String,
    at: Range<usize>,
    v: Vec<f64>,
}

impl Direction {
    /// A random one of length 1.
    fn random(name: &str, at: Range<usize>, rng: &mut Rng) -> Self {
        let v: Vec<f64> = at.clone().map(|_| rng.normal().into()).collect();
        let length = norm(v.iter().copied());
        Direction { name: name.into(), at, v: v.iter().map(|x| x / length).collect() }
    }
}

fn norm(xs: impl Iterator<Item = f64>) -> f64 {
    xs.map(|x| x * x).sum::<f64>().sqrt()
}

fn norm_f32(xs: &[f32]) -> f64 {
    norm(xs.iter().map(|&x| x.into()))
}

/// The exact derivatives of the loss in the directions.
fn slopes(loss: Loss, case: &Case, directions: &[Direction]) -> Vec<f64> {
    let slopes_of = |directions: &[Direction]| {
        let gpt = case.exact(|x, i| {
            let mut dual = Dual::constant(x.into());
            for (to, d) in dual.derivative.iter_mut().zip(directions).filter(|(_, d)| d.at.contains(&i)) {
                *to = d.v[i - d.at.start];
            }
            dual
        });
        loss.exact(case, gpt).derivative.into_iter().take(directions.len()).collect::<Vec<_>>()
    };
    directions.chunks(LANES).flat_map(slopes_of).collect()
}

/// Largest error of `<gradient, v>` for v over all parameters, as a part of |gradient|.
///
/// The reference is exact at this scale, so all error is f32's: up to 2^-24 = 6e-8 for each rounding. An
/// element of the gradient is a chain of some hundred of them through a few layers; they are as often up as
/// down, and a random v of length 1 averages over the elements. Largest measured: 2e-7 (Value).
const WHOLE: f64 = 8e-7;
/// The same for v in one tensor, as a part of that tensor's |gradient|. A small tensor averages over less,
/// and deep in the model what reaches it has passed more layers. Largest measured: 4e-6 (Value, width 4).
const TENSOR: f64 = 1.6e-5;
/// Largest |error of the gradient| of a tensor, element by element, as a part of its |gradient|. Largest
/// measured: 1.3e-5, in the same place.
const ELEMENTS: f64 = 5e-5;
/// A tensor's |gradient| counts as at least this part of the whole: where everything cancels (the reward
/// loss does not see the final bias: its gradient is 0 on paper) only the terms' rounding remains.
const FLOOR: f64 = 1e-3;
/// Largest error of a log-prob, value or loss of order 1. Largest measured: 4.8e-6 (width 4).
const FORWARD: f64 = 2e-5;

/// Compares all gradients of a loss, in random directions.
fn gradient(loss: Loss) {
    for number in 0..CASES {
        let case = Case::new(number, loss.head());
        let ours = loss.ours(&case).gradient;
        let (whole, rng) = (norm_f32(&ours), &mut rng(number, 3));
        let everything = || 0..case.layout().len;
        let mut directions: Vec<_> = (0..3).map(|_| Direction::random("", everything(), rng)).collect();
        let rows = case.layout().parameters.iter();
        directions.extend(rows.map(|row| Direction::random(&row.name, row.range(), rng)));
        for (d, exact) in directions.iter().zip(slopes(loss, &case, &directions)) {
            let gradient = &ours[d.at.clone()];
            let found: f64 = gradient.iter().zip(&d.v).map(|(&g, v)| f64::from(g) * v).sum();
            let (scale, tolerance) = match d.name.as_str() {
                "" => (whole, WHOLE),
                _ => (norm_f32(gradient).max(FLOOR * whole), TENSOR),
            };
            let error = (found - exact).abs() / scale;
            assert!(
                error <= tolerance,
                "{loss:?}, case {number}, direction in {:?}: {found} from the crate, {exact} exactly, error \
                 {error:.1e} of the norm {scale:.1e}",
                if d.name.is_empty() { "all parameters" } else { &d.name },
            );
        }
    }
}

#[test]
fn next_token_gradient() {
    gradient(Loss::NextToken);
}

#[test]
fn sft_gradient_with_dropout() {
    gradient(Loss::Sft);
}

#[test]
fn reward_gradient() {
    gradient(Loss::Reward);
}

#[test]
fn policy_gradient() {
    gradient(Loss::Policy);
}

#[test]
fn policy_gradient_with_ptx() {
    gradient(Loss::PolicyWithPtx);
}

#[test]
fn value_gradient() {
    gradient(Loss::Value);
}

#[test]
fn dpo_gradient() {
    gradient(Loss::Dpo);
}

/// Every element of the gradient in two small models: dense and tied, banded with a head of its own.
#[test]
fn every_element_of_every_gradient() {
    for (loss, number) in LOSSES.into_iter().flat_map(|loss| [(loss, 0), (loss, 3)]) {
        let case = Case::new(number, loss.head());
        let ours = loss.ours(&case).gradient;
        let whole = norm_f32(&ours);
        for row in &case.layout().parameters {
            let unit = |i| Direction { name: row.name.clone(), at: i..i + 1, v: vec![1.0] };
            let exact = slopes(loss, &case, &row.range().map(unit).collect::<Vec<_>>());
            let found = &ours[row.range()];
            let error = norm(exact.iter().zip(found).map(|(exact, &found)| f64::from(found) - exact));
            let error = error / norm_f32(found).max(FLOOR * whole);
            assert!(error <= ELEMENTS, "{loss:?}, case {number}, {}: error {error:.1e}", row.name);
        }
    }
}

#[test]
fn log_probs_values_and_losses() {
    for (loss, number) in LOSSES.into_iter().flat_map(|loss| (0..CASES).map(move |number| (loss, number))) {
        let case = Case::new(number, loss.head());
        let mut gpt = case.exact(|x, _| f64::from(x));
        gpt.dropout = gpt.dropout.filter(|_| loss == Loss::Sft);
        let texts = |first: usize| {
            let texts = case.texts.iter().zip(first as u64..);
            texts.flat_map(|(tokens, b)| gpt.log_probs(tokens, b, 1.0)).collect::<Vec<_>>()
        };
        let (episodes, temperature) = (&case.episodes, f64::from(case.constants.temperature));
        let exact: Vec<f64> = match loss {
            Loss::NextToken => texts(0),
            Loss::Sft => losses::response_log_probs(&gpt, episodes, 1.0),
            Loss::Reward => losses::rewards(&gpt, &case.rankings).concat(),
            Loss::Policy => losses::response_log_probs(&gpt, episodes, temperature),
            Loss::PolicyWithPtx => {
                [losses::response_log_probs(&gpt, episodes, temperature), texts(episodes.len())].concat()
            }
            Loss::Value => losses::response_values(&gpt, episodes),
            Loss::Dpo => losses::pair_log_probs(&gpt, &case.pairs).concat().concat(),
        };
        let ours = loss.ours(&case);
        assert_eq!(ours.outputs.len(), exact.len());
        for (i, (&found, exact)) in ours.outputs.iter().zip(exact).enumerate() {
            let error = (f64::from(found) - exact).abs() / exact.abs().max(1.0);
            assert!(error <= FORWARD, "{loss:?}, case {number}, output {i}: {found} for {exact}");
        }
        let exact = loss.exact(&case, case.exact(|x, _| f64::from(x)));
        let error = (ours.loss - exact).abs() / exact.abs().max(1.0);
        assert!(error <= FORWARD, "{loss:?}, case {number}: loss {} for {exact}", ours.loss);
        // The clipped losses are tested on both sides of the clip.
        let both_sides = (1..ours.outputs.len() as u64).contains(&ours.clipped);
        assert_eq!(both_sides, matches!(loss, Loss::Policy | Loss::PolicyWithPtx | Loss::Value));
    }
}
