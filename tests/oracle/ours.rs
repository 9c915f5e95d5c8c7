//! The same losses through the crate: forward, loss, backward.

use instructgpt::engine::cpu::log_prob::{self, Workspace};
use instructgpt::engine::cpu::scalar_head;
use instructgpt::engine::{Dropout, Outputs, Target};
use instructgpt::loss::clipped::{PolicySums, ValueSums, policy_loss, value_loss};
use instructgpt::loss::reward_loss::reward_loss;
use instructgpt::model::{Activations, Batch, Gradients, Transformer};

use crate::cases::Case;
use crate::losses::{Episode, Ranking};

/// What a loss comes to.
pub struct Outcome {
    pub loss: f64,
    /// Log-probs or values, in the order of the batch.
    pub outputs: Vec<f32>,
    /// As the layout has it.
    pub gradient: Vec<f32>,
    /// Tokens on the flat side of a clip.
    pub clipped: u64,
}

struct Pass<'a> {
    case: &'a Case,
    model: &'a Transformer,
    dropout: Option<Dropout>,
    gradients: Gradients,
}

impl<'a> Pass<'a> {
    fn new(case: &'a Case) -> Self {
        Pass { case, model: &case.model, dropout: None, gradients: Gradients::new(&case.model) }
    }

    /// Log-probs of `targets`, and the gradient of a loss with the given slopes.
    fn language(
        &mut self,
        batch: &Batch,
        targets: &[Target],
        temperature: f32,
        slope: impl Fn(usize, f32) -> f32,
    ) -> Vec<f32> {
        let (model, parameters, c) = (self.model, &self.case.parameters, self.model.config.width);
        let head = model.layout.head.clone();
        let mut a = Activations::for_training(&model.config, batch.len());
        model.forward(parameters, batch, &mut a, self.dropout);
        let (precision, weight) = (model.config.precision, &parameters[head.clone()]);
        let work = &mut Workspace::with_chunk(16, model.config.vocab_size, c);
        let (mut log_probs, mut entropies) = (vec![0.0; targets.len()], vec![0.0; targets.len()]);
        let outputs = Outputs { log_probs: &mut log_probs, entropies: &mut entropies };
        log_prob::forward(precision, outputs, &a.hidden, weight, c, targets, temperature, work);
        let slopes: Vec<f32> = log_probs.iter().enumerate().map(|(i, &x)| slope(i, x)).collect();
        log_prob::forward_backward(
            precision,
            Outputs { log_probs: &mut log_probs, entropies: &mut entropies },
            &mut a.d_hidden,
            &mut self.gradients.flat[head],
            &a.hidden,
            weight,
            c,
            targets,
            &batch.offsets,
            temperature,
            &slopes,
            work,
        );
        model.backward(parameters, &mut self.gradients, batch, &mut a, self.dropout);
        log_probs
    }

    /// The scalar head at `rows`, and the gradient of the loss whose slopes `loss` gives.
    fn scalar(&mut self, batch: &Batch, rows: &[usize], loss: impl FnOnce(&[f32]) -> Vec<f32>) -> Vec<f32> {
        let (model, parameters, c) = (self.model, &self.case.parameters, self.model.config.width);
        let weight = &parameters[model.layout.head.clone()];
        let mut a = Activations::for_training(&model.config, batch.len());
        model.forward(parameters, batch, &mut a, self.dropout);
        let at = |row: usize| row * c..(row + 1) * c;
        let values: Vec<f32> =
            rows.iter().map(|&row| scalar_head::forward(&a.hidden[at(row)], weight)).collect();
        for (&row, dy) in rows.iter().zip(loss(&values)) {
            let d_weight = &mut self.gradients.flat[model.layout.head.clone()];
            scalar_head::backward(&mut a.d_hidden[at(row)], d_weight, dy, &a.hidden[at(row)], weight);
        }
        model.backward(parameters, &mut self.gradients, batch, &mut a, self.dropout);
        values
    }

    fn end(mut self, loss: f64, outputs: Vec<f32>, clipped: u64) -> Outcome {
        self.gradients.finish(&self.model.layout);
        Outcome { loss, outputs, gradient: self.gradients.flat, clipped }
    }
}

/// All tokens that have one before them.
fn all_targets(batch: &Batch) -> Vec<Target> {
    let next = |row: usize| Target { row: row as u32, token: batch.tokens[row + 1] };
    batch.offsets.windows(2).flat_map(|ends| (ends[0]..ends[1] - 1).map(next)).collect()
}

/// The batch of the episodes, and the row before each response token.
fn response_rows(episodes: &[Episode]) -> (Batch, Vec<usize>) {
    let mut batch = Batch::with_capacity(0, 0);
    let mut rows = vec![];
    for (number, e) in episodes.iter().enumerate() {
        let first = batch.push(&e.tokens, number as u64);
        rows.extend((e.prompt..e.tokens.len()).map(|t| first + t - 1));
    }
    (batch, rows)
}

fn targets(batch: &Batch, rows: &[usize]) -> Vec<Target> {
    rows.iter().map(|&row| Target { row: row as u32, token: batch.tokens[row + 1] }).collect()
}

fn flat(episodes: &[Episode], part: impl Fn(&Episode) -> &Vec<f32>) -> Vec<f32> {
    episodes.iter().flat_map(|e| part(e).clone()).collect()
}

fn mean_of_minus(log_probs: &[f32]) -> f64 {
    -log_probs.iter().map(|&x| f64::from(x)).sum::<f64>() / log_probs.len() as f64
}

pub fn next_token(case: &Case) -> Outcome {
    let (mut pass, batch) = (Pass::new(case), Batch::of(&case.texts));
    let targets = all_targets(&batch);
    let slope = -1.0 / targets.len() as f32;
    let log_probs = pass.language(&batch, &targets, 1.0, |_, _| slope);
    pass.end(mean_of_minus(&log_probs), log_probs, 0)
}

pub fn sft(case: &Case) -> Outcome {
    let (mut pass, (batch, rows)) = (Pass::new(case), response_rows(&case.episodes));
    pass.dropout = case.dropout;
    let slope = -1.0 / rows.len() as f32;
    let log_probs = pass.language(&batch, &targets(&batch, &rows), 1.0, |_, _| slope);
    pass.end(mean_of_minus(&log_probs), log_probs, 0)
}

pub fn reward(case: &Case) -> Outcome {
    let responses: Vec<&Vec<u32>> = case.rankings.iter().flat_map(|r| &r.responses).collect();
    let (mut pass, batch) = (Pass::new(case), Batch::of(&responses));
    let rows: Vec<usize> = batch.offsets[1..].iter().map(|end| end - 1).collect();
    let weight = 1.0 / case.rankings.len() as f32;
    let mut loss = 0.0;
    let rewards = pass.scalar(&batch, &rows, |rewards| {
        let mut slopes = vec![0.0; rewards.len()];
        let mut first = 0;
        for Ranking { ranks, .. } in &case.rankings {
            let one = first..first + ranks.len();
            loss += reward_loss(&rewards[one.clone()], ranks, &mut slopes[one.clone()], weight).unwrap();
            first = one.end;
        }
        slopes
    });
    pass.end(f64::from(loss * weight), rewards, 0)
}

pub fn policy(case: &Case, with_ptx: bool) -> Outcome {
    let (mut pass, (batch, rows)) = (Pass::new(case), response_rows(&case.episodes));
    let old = flat(&case.episodes, |e| &e.old_log_probs);
    let advantages = flat(&case.episodes, |e| &e.advantages);
    let (constants, weight) = (case.constants, 1.0 / rows.len() as f32);
    let mut log_probs =
        pass.language(&batch, &targets(&batch, &rows), constants.temperature, |i, log_prob| {
            let (mut slope, mut sums) = ([0.0], PolicySums::default());
            let (old, advantage) = (&old[i..=i], &advantages[i..=i]);
            policy_loss(&mut slope, &[log_prob], old, advantage, constants.clip, weight, &mut sums);
            slope[0]
        });
    let mut sums = PolicySums::default();
    policy_loss(&mut vec![0.0; old.len()], &log_probs, &old, &advantages, constants.clip, weight, &mut sums);
    let mut loss = sums.loss / sums.tokens as f64;
    if with_ptx {
        let mut texts = Batch::with_capacity(0, 0);
        for (text, number) in case.texts.iter().zip(batch.sequences() as u64..) {
            texts.push(text, number);
        }
        let targets = all_targets(&texts);
        let slope = -constants.ptx_coef / targets.len() as f32;
        let more = pass.language(&texts, &targets, 1.0, |_, _| slope);
        loss += f64::from(constants.ptx_coef) * mean_of_minus(&more);
        log_probs.extend(more);
    }
    pass.end(loss, log_probs, sums.clipped)
}

pub fn value(case: &Case) -> Outcome {
    let (mut pass, (batch, rows)) = (Pass::new(case), response_rows(&case.episodes));
    let old = flat(&case.episodes, |e| &e.old_values);
    let returns = flat(&case.episodes, |e| &e.returns);
    let (constants, weight) = (case.constants, 1.0 / rows.len() as f32);
    let mut sums = ValueSums::default();
    let values = pass.scalar(&batch, &rows, |values| {
        let mut slopes = vec![0.0; values.len()];
        let (clip, value_coef) = (constants.value_clip, constants.value_coef);
        value_loss(&mut slopes, values, &old, &returns, clip, value_coef, weight, &mut sums);
        slopes
    });
    let loss = f64::from(constants.value_coef) * sums.loss / sums.tokens as f64;
    pass.end(loss, values, sums.clipped)
}
