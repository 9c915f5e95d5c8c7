//! Forward and backward passes over any number of sequences, in micro-batches that fit the planned memory.
//! Every gradient is a chain over the sequences in order that the next micro-batch goes on with, so the cut
//! changes no bit.

use core::ops::Range;
use std::borrow::Cow;

use crate::engine::cpu::gradient_norm::first_non_finite;
use crate::engine::cpu::log_prob::{self, Workspace};
use crate::engine::cpu::scalar_head;
use crate::engine::{Dropout, Outputs, Target};
use crate::model::{Activations, Batch, Gradients, Head, ModelConfig, Transformer};

/// A sequence, and which of its positions count: for a language model, tokens `from..` are targets (each
/// predicted from the position before); for a scalar head, the positions themselves are given.
#[derive(Debug, Clone, Copy)]
pub struct Sequence<'a> {
    /// The tokens.
    pub tokens: &'a [u32],
    /// The first target token, at least 1 for a language model.
    pub from: usize,
}

impl Sequence<'_> {
    /// Number of target tokens.
    pub fn targets(&self) -> usize {
        self.tokens.len().saturating_sub(self.from.max(1))
    }
}

/// The memory of passes through models of one shape.
pub struct Pass {
    activations: Activations,
    batch: Batch,
    targets: Vec<Target>,
    log_probs: Vec<f32>,
    entropies: Vec<f32>,
    slopes: Vec<f32>,
    values: Vec<f32>,
    d_values: Vec<f32>,
    rows: Vec<usize>,
    /// The language-model head's, made at its first use.
    head: Option<Workspace>,
    /// Where the numbers were first left.
    fault: Option<String>,
}

impl Pass {
    /// Plans passes of up to `tokens` rows (at least one sequence of the context's length).
    pub fn new(config: &ModelConfig, tokens: usize, training: bool) -> Self {
        let n = tokens.max(config.context);
        Pass {
            activations: if training {
                Activations::for_training(config, n)
            } else {
                Activations::for_inference(config, n)
            },
            batch: Batch::with_capacity(n, n),
            targets: Vec::with_capacity(n),
            log_probs: vec![0.0; n],
            entropies: vec![0.0; n],
            slopes: Vec::with_capacity(n),
            values: Vec::with_capacity(n),
            d_values: Vec::with_capacity(n),
            rows: Vec::with_capacity(n),
            head: None,
            fault: None,
        }
    }

    /// `what`, and where a pass first left the numbers, if one has: "the loss (h.1.mlp.c_fc gave inf)".
    pub fn blame<'a>(&self, what: &'a str) -> Cow<'a, str> {
        match &self.fault {
            None => what.into(),
            Some(fault) => format!("{what} ({fault})").into(),
        }
    }

    /// Remembers where the numbers were left, if one of the head's results is not finite.
    fn watch(&mut self, of: fn(&Pass) -> &[f32], results: usize) {
        let Some(index) = first_non_finite(&of(self)[..results]) else { return };
        let head = ("the head".to_string(), of(self)[index]);
        let (layer, found) = self.activations.first_non_finite(self.batch.len()).unwrap_or(head);
        self.fault.get_or_insert(format!("{layer} gave {found}"));
    }

    /// Log-probs of all target tokens, in order: `each(target number, log-prob, entropy)`.
    pub fn log_probs(
        &mut self,
        model: &Transformer,
        parameters: &[f32],
        sequences: &[Sequence],
        temperature: f32,
        mut each: impl FnMut(usize, f32, f32),
    ) {
        let mut number = 0;
        for piece in self.pieces(sequences, 1) {
            let n = self.fill_targets(&sequences[piece.clone()], piece.start);
            model.forward(parameters, &self.batch, &mut self.activations, None);
            let c = model.config.width;
            let outputs =
                Outputs { log_probs: &mut self.log_probs[..n], entropies: &mut self.entropies[..n] };
            let hidden = &self.activations.hidden[..self.batch.len() * c];
            let weight = &parameters[model.layout.head.clone()];
            let (vocab_size, targets) = (model.config.vocab_size, self.activations.max_tokens);
            let work = self.head.get_or_insert_with(|| Workspace::new(vocab_size, c, targets));
            let precision = model.config.precision;
            log_prob::forward(precision, outputs, hidden, weight, c, &self.targets, temperature, work);
            self.watch(|pass| &pass.log_probs, n);
            for t in 0..n {
                each(number + t, self.log_probs[t], self.entropies[t]);
            }
            number += n;
        }
    }

    /// [`Pass::log_probs`], and adds to `gradients` the gradient of a loss whose slope in the log-prob of
    /// each target is `slope(target number, log-prob)`.
    pub fn log_probs_gradient(
        &mut self,
        model: &Transformer,
        parameters: &[f32],
        gradients: &mut Gradients,
        sequences: &[Sequence],
        temperature: f32,
        dropout: Option<Dropout>,
        slope: impl Fn(usize, f32) -> f32,
        mut each: impl FnMut(usize, f32, f32),
    ) {
        assert_eq!(model.head, Head::LanguageModel, "log-probs of a model without a language-model head");
        let mut number = 0;
        for piece in self.pieces(sequences, 1) {
            let n = self.fill_targets(&sequences[piece.clone()], piece.start);
            model.forward(parameters, &self.batch, &mut self.activations, dropout);
            let c = model.config.width;
            let rows = self.batch.len() * c;
            let (hidden, d_hidden) =
                (&self.activations.hidden[..rows], &mut self.activations.d_hidden[..rows]);
            d_hidden.fill(0.0);
            let weight = &parameters[model.layout.head.clone()];
            let d_weight = &mut gradients.flat[model.layout.head.clone()];
            let (vocab_size, targets) = (model.config.vocab_size, self.activations.max_tokens);
            let work = self.head.get_or_insert_with(|| Workspace::new(vocab_size, c, targets));
            let precision = model.config.precision;
            let outputs =
                Outputs { log_probs: &mut self.log_probs[..n], entropies: &mut self.entropies[..n] };
            log_prob::forward(precision, outputs, hidden, weight, c, &self.targets, temperature, work);
            self.slopes.clear();
            self.slopes.extend((0..n).map(|t| slope(number + t, self.log_probs[t])));
            let outputs =
                Outputs { log_probs: &mut self.log_probs[..n], entropies: &mut self.entropies[..n] };
            log_prob::forward_backward(
                precision,
                outputs,
                d_hidden,
                d_weight,
                hidden,
                weight,
                c,
                &self.targets,
                &self.batch.offsets,
                temperature,
                &self.slopes,
                work,
            );
            self.watch(|pass| &pass.log_probs, n);
            model.backward(parameters, gradients, &self.batch, &mut self.activations, dropout);
            for t in 0..n {
                each(number + t, self.log_probs[t], self.entropies[t]);
            }
            number += n;
        }
    }

    /// The scalar head's values at positions `positions(sequence)` of every sequence, in order:
    /// `each(value number, value)`.
    pub fn values(
        &mut self,
        model: &Transformer,
        parameters: &[f32],
        sequences: &[Sequence],
        positions: impl Fn(&Sequence) -> Range<usize>,
        mut each: impl FnMut(usize, f32),
    ) {
        let mut number = 0;
        for piece in self.pieces(sequences, 0) {
            self.fill_positions(&sequences[piece.clone()], piece.start, &positions);
            model.forward(parameters, &self.batch, &mut self.activations, None);
            self.read_values(model, parameters);
            self.values.iter().enumerate().for_each(|(i, &value)| each(number + i, value));
            number += self.values.len();
        }
    }

    /// [`Pass::values`] for groups of `group(i)` sequences that belong together (a prompt's K responses; 1
    /// for a value function), and the gradient of a loss: `slopes(first value number, values, d_values)`
    /// writes how the loss changes with each value of whole groups.
    ///
    /// # Panics
    /// If a group's tokens exceed the planned memory.
    pub fn values_gradient(
        &mut self,
        model: &Transformer,
        parameters: &[f32],
        gradients: &mut Gradients,
        groups: &[Range<usize>],
        sequences: &[Sequence],
        positions: impl Fn(&Sequence) -> Range<usize>,
        mut slopes: impl FnMut(Range<usize>, &[f32], &mut [f32]),
    ) {
        assert_eq!(model.head, Head::Scalar, "values of a model without a scalar head");
        let c = model.config.width;
        let mut first_group = 0;
        while first_group < groups.len() {
            let start = groups[first_group].start;
            let (mut end_group, mut tokens) = (first_group, 0);
            while end_group < groups.len() {
                let more: usize = sequences[groups[end_group].clone()].iter().map(|s| s.tokens.len()).sum();
                if end_group > first_group && tokens + more > self.activations.max_tokens {
                    break;
                }
                (tokens, end_group) = (tokens + more, end_group + 1);
            }
            let piece = start..groups[end_group - 1].end;
            self.fill_positions(&sequences[piece], start, &positions);
            model.forward(parameters, &self.batch, &mut self.activations, None);
            self.read_values(model, parameters);
            self.d_values.clear();
            self.d_values.resize(self.values.len(), 0.0);
            slopes(first_group..end_group, &self.values, &mut self.d_values);

            let rows = self.batch.len() * c;
            let (hidden, d_hidden) =
                (&self.activations.hidden[..rows], &mut self.activations.d_hidden[..rows]);
            d_hidden.fill(0.0);
            let weight = &parameters[model.layout.head.clone()];
            let d_weight = &mut gradients.flat[model.layout.head.clone()];
            for (&row, &dy) in self.rows.iter().zip(&self.d_values) {
                let at = row * c..(row + 1) * c;
                scalar_head::backward(&mut d_hidden[at.clone()], d_weight, dy, &hidden[at], weight);
            }
            model.backward(parameters, gradients, &self.batch, &mut self.activations, None);
            first_group = end_group;
        }
    }

    /// Cuts the sequences into runs that fit the memory, without the last token of each where `short` is 1
    /// (a language model's last token is a target only).
    fn pieces(&self, sequences: &[Sequence], short: usize) -> Vec<Range<usize>> {
        let mut pieces = Vec::with_capacity(1);
        let (mut start, mut tokens) = (0, 0);
        for (i, sequence) in sequences.iter().enumerate() {
            let more = sequence.tokens.len().saturating_sub(short);
            if i > start && tokens + more > self.activations.max_tokens {
                pieces.push(start..i);
                (start, tokens) = (i, 0);
            }
            tokens += more;
        }
        if start < sequences.len() {
            pieces.push(start..sequences.len());
        }
        pieces
    }

    /// Packs the inputs of language-model sequences and lists their targets; returns how many.
    fn fill_targets(&mut self, sequences: &[Sequence], number: usize) -> usize {
        self.batch.clear();
        self.targets.clear();
        for (i, sequence) in sequences.iter().enumerate() {
            let from = sequence.from.max(1);
            let tokens = sequence.tokens;
            let first = self.batch.push(&tokens[..tokens.len().saturating_sub(1)], (number + i) as u64);
            for t in from..tokens.len() {
                self.targets.push(Target { row: (first + t - 1) as u32, token: tokens[t] });
            }
        }
        self.targets.len()
    }

    fn fill_positions(
        &mut self,
        sequences: &[Sequence],
        number: usize,
        positions: &impl Fn(&Sequence) -> Range<usize>,
    ) {
        self.batch.clear();
        self.rows.clear();
        for (i, sequence) in sequences.iter().enumerate() {
            let first = self.batch.push(sequence.tokens, (number + i) as u64);
            self.rows.extend(positions(sequence).map(|t| first + t));
        }
    }

    fn read_values(&mut self, model: &Transformer, parameters: &[f32]) {
        let (c, weight) = (model.config.width, &parameters[model.layout.head.clone()]);
        let hidden = &self.activations.hidden;
        self.values.clear();
        self.values.extend(
            self.rows.iter().map(|row| scalar_head::forward(&hidden[row * c..(row + 1) * c], weight)),
        );
        self.watch(|pass| &pass.values, self.values.len());
    }
}
