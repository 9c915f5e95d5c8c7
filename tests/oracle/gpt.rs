//! The model once more, forward only and as plainly as possible: one sequence, one token, one number at a
//! time. To be read beside `src/model/block.rs`; nothing of the crate computes here.
//!
//! Parameters are found by their Hugging Face names, so a wrong range inside the crate cannot hide.

use instructgpt::engine::plain::dropout;
use instructgpt::engine::{Address, Dropout};
use instructgpt::model::{Activation, AttentionPattern, Family, Layout, ModelConfig};

use crate::scalar::{Scalar, sum};

/// A GPT over any scalar.
pub struct Gpt<'a, S> {
    pub config: &'a ModelConfig,
    pub layout: &'a Layout,
    /// The flat parameter buffer.
    pub parameters: Vec<S>,
    pub dropout: Option<Dropout>,
}

impl<S: Scalar> Gpt<'_, S> {
    fn parameter(&self, name: &str) -> &[S] {
        let row = self.layout.get(name).unwrap_or_else(|| panic!("no parameter {name}"));
        &self.parameters[row.range()]
    }

    /// Hidden states after the final layer norm, (T, C). `number` is the sequence's place in the batch.
    pub fn hidden(&self, tokens: &[u32], number: u64) -> Vec<Vec<S>> {
        let (wte, wpe) = (self.parameter("transformer.wte.weight"), self.parameter("transformer.wpe.weight"));
        let c = self.config.width;
        let mut x: Vec<Vec<S>> = tokens
            .iter()
            .enumerate()
            .map(|(t, &token)| (0..c).map(|i| wte[token as usize * c + i] + wpe[t * c + i]).collect())
            .collect();
        for layer in 0..self.config.layers {
            self.block(layer, &mut x, number);
        }
        x.iter().map(|x| self.layer_norm(x, "transformer.ln_f")).collect()
    }

    fn block(&self, layer: usize, x: &mut [Vec<S>], number: u64) {
        let name = |part: &str| format!("transformer.h.{layer}.{part}");
        // x += proj(attention(ln_1(x)))
        let qkv: Vec<Vec<S>> =
            x.iter().map(|x| self.linear(&self.layer_norm(x, &name("ln_1")), &name("attn.c_attn"))).collect();
        for (t, x) in x.iter_mut().enumerate() {
            let branch = self.linear(&self.attention(layer, &qkv, t), &name("attn.c_proj"));
            self.add(x, &branch, number, t, 2 * layer);
        }
        // x += proj(gelu(fc(ln_2(x))))
        for (t, x) in x.iter_mut().enumerate() {
            let fc = self.linear(&self.layer_norm(x, &name("ln_2")), &name("mlp.c_fc"));
            let activated: Vec<S> = fc.into_iter().map(|x| self.gelu(x)).collect();
            let branch = self.linear(&activated, &name("mlp.c_proj"));
            self.add(x, &branch, number, t, 2 * layer + 1);
        }
    }

    /// What token t of the sequence gathers from the tokens it sees; qkv (T, 3C), result (C).
    fn attention(&self, layer: usize, qkv: &[Vec<S>], t: usize) -> Vec<S> {
        let (c, hs) = (self.config.width, self.config.width / self.config.heads);
        let first = match self.config.attention {
            AttentionPattern::Alternating { window } if layer % 2 == 1 => (t + 1).saturating_sub(window),
            _ => 0,
        };
        let scale = S::constant(match self.config.family {
            Family::Gpt2 => 1.0 / (hs as f64).sqrt(),
            Family::GptNeo => 1.0,
        });
        let mut out = vec![];
        for head in 0..self.config.heads {
            let q = |s: usize, d: usize| qkv[s][head * hs + d];
            let k = |s: usize, d: usize| qkv[s][c + head * hs + d];
            let v = |s: usize, d: usize| qkv[s][2 * c + head * hs + d];
            let scores: Vec<S> =
                (first..=t).map(|s| sum((0..hs).map(|d| q(t, d) * k(s, d))) * scale).collect();
            let weights = softmax(&scores);
            out.extend((0..hs).map(|d| sum((first..=t).map(|s| weights[s - first] * v(s, d)))));
        }
        out
    }

    fn layer_norm(&self, x: &[S], name: &str) -> Vec<S> {
        let (gamma, beta) =
            (self.parameter(&format!("{name}.weight")), self.parameter(&format!("{name}.bias")));
        let c = S::constant(x.len() as f64);
        let mean = sum(x.iter().copied()) / c;
        let variance = sum(x.iter().map(|&x| (x - mean) * (x - mean))) / c;
        let deviation = (variance + S::constant(self.config.layer_norm_epsilon.into())).sqrt();
        (0..x.len()).map(|i| (x[i] - mean) / deviation * gamma[i] + beta[i]).collect()
    }

    /// `x W + b`, with W stored (inputs, outputs). A GPT-Neo's queries, keys and values have no bias.
    fn linear(&self, x: &[S], name: &str) -> Vec<S> {
        let weight = self.parameter(&format!("{name}.weight"));
        let outputs = weight.len() / x.len();
        let without = self.config.family == Family::GptNeo && name.ends_with("c_attn");
        let zeros = vec![S::constant(0.0); outputs];
        let bias = if without { &zeros } else { self.parameter(&format!("{name}.bias")) };
        (0..outputs)
            .map(|o| sum(x.iter().enumerate().map(|(i, &x)| x * weight[i * outputs + o])) + bias[o])
            .collect()
    }

    fn gelu(&self, x: S) -> S {
        let constant = S::constant;
        let inner = match self.config.activation {
            Activation::Gelu => (x * constant(std::f64::consts::FRAC_1_SQRT_2)).erf(),
            Activation::GeluTanh => {
                let cube = constant(0.044715) * x * x * x;
                (constant((2.0 / std::f64::consts::PI).sqrt()) * (x + cube)).tanh()
            }
        };
        constant(0.5) * x * (constant(1.0) + inner)
    }

    /// The residual addition. With dropout, the crate is asked for the mask alone: it is data, not
    /// arithmetic.
    fn add(&self, x: &mut [S], branch: &[S], number: u64, t: usize, site: usize) {
        let mut mask = vec![1.0; x.len()];
        if self.dropout.is_some() {
            let (zeros, ones) = (vec![0.0; x.len()], vec![1.0; x.len()]);
            let row = Address { sequence: number, position: t as u32 };
            dropout::add(&mut mask, &zeros, &ones, &[row], site as u32, self.dropout);
        }
        for ((x, &branch), mask) in x.iter_mut().zip(branch).zip(mask) {
            *x = *x + S::constant(mask.into()) * branch;
        }
    }

    /// `log_probs[t] = ln p(tokens[t + 1] | tokens[..=t])`, (T - 1).
    pub fn log_probs(&self, tokens: &[u32], number: u64, temperature: f64) -> Vec<S> {
        let tied = self.config.tied_head;
        let head = self.parameter(if tied { "transformer.wte.weight" } else { "lm_head.weight" });
        let hidden = self.hidden(tokens, number);
        let targets = hidden.iter().zip(tokens.iter().skip(1));
        targets
            .map(|(hidden, &token)| {
                let logits: Vec<S> = head
                    .chunks_exact(self.config.width)
                    .map(|row| dot(hidden, row) / S::constant(temperature))
                    .collect();
                logits[token as usize] - log_sum_exp(&logits)
            })
            .collect()
    }

    /// The scalar head's number for every token, (T).
    pub fn values(&self, tokens: &[u32], number: u64) -> Vec<S> {
        let head = self.parameter("score.weight");
        self.hidden(tokens, number).iter().map(|hidden| dot(hidden, head)).collect()
    }
}

fn dot<S: Scalar>(a: &[S], b: &[S]) -> S {
    sum(a.iter().zip(b).map(|(&a, &b)| a * b))
}

fn log_sum_exp<S: Scalar>(x: &[S]) -> S {
    let max = S::constant(x.iter().fold(f64::NEG_INFINITY, |max, x| max.max(x.value())));
    sum(x.iter().map(|&x| (x - max).exp())).ln() + max
}

fn softmax<S: Scalar>(x: &[S]) -> Vec<S> {
    let log_sum = log_sum_exp(x);
    x.iter().map(|&x| (x - log_sum).exp()).collect()
}
