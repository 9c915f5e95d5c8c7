//! The parts of training, by their equations.

use instructgpt::engine::{Cpu, Dropout, Engine};
use instructgpt::model::{Gradients, Network, Sequence, singly};
use instructgpt::num::rng::{Purpose, Rng, Stage};

use crate::Keys;

/// A network that is trained by hand.
pub struct Hand {
    pub network: Network,
    gradients: Gradients<Cpu>,
    moments: Vec<[f64; 2]>,
    pub average: Vec<f64>,
    pub updates: u64,
}

/// How a gradient becomes an update.
#[derive(Clone, Copy)]
pub struct Rule {
    pub beta1: f64,
    pub beta2: f64,
    pub epsilon: f64,
    pub tensorflow: bool,
    pub weight_decay: f64,
    pub gradient_clip: f64,
}

impl Rule {
    /// From section `adam` and a stage's own.
    pub fn new(adam: Keys, stage: Keys) -> Rule {
        Rule {
            beta1: adam.number("beta1"),
            beta2: adam.number("beta2"),
            epsilon: adam.number("epsilon"),
            tensorflow: adam.is("style", "tensorflow"),
            weight_decay: stage.number("weight_decay"),
            gradient_clip: stage.number("gradient_clip"),
        }
    }
}

impl Hand {
    pub fn new(mut network: Network) -> Hand {
        network.reserve(64, true);
        let parameters = network.parameters().into_owned();
        Hand {
            gradients: Gradients::new(&network),
            moments: vec![[0.0; 2]; parameters.len()],
            average: parameters.iter().map(|&p| p.into()).collect(),
            updates: 0,
            network,
        }
    }

    /// Adds the gradient of a loss, given its slopes in the outputs of each sequence.
    pub fn add(
        &mut self,
        sequences: &[Sequence],
        temperature: f64,
        dropout: Option<Dropout>,
        slopes: impl FnMut(usize, &[f32], &mut [f32]),
    ) {
        self.add_groups(sequences, &singly(sequences.len()), temperature, dropout, slopes);
    }

    /// [`Hand::add`] for groups of sequences.
    pub fn add_groups(
        &mut self,
        sequences: &[Sequence],
        groups: &[usize],
        temperature: f64,
        dropout: Option<Dropout>,
        mut slopes: impl FnMut(usize, &[f32], &mut [f32]),
    ) {
        let (gradients, temperature) = (&mut self.gradients, temperature as f32);
        self.network.add_gradient(gradients, sequences, groups, temperature, dropout, &mut slopes);
    }

    /// Adds the gradient of `coefficient` times the mean cross-entropy per token.
    pub fn add_cross_entropy(&mut self, batch: &[Sequence], coefficient: f64, dropout: Option<Dropout>) {
        let tokens: usize = batch.iter().map(Sequence::outputs).sum();
        let slope = (-coefficient / tokens as f64) as f32;
        self.add(batch, 1.0, dropout, |_, _, slopes| slopes.fill(slope));
    }

    /// One step of AdamW on what was added, and of the average of the weights. The norm of the gradient.
    pub fn update(&mut self, rate: f64, rule: Rule, decay: f64) -> f64 {
        self.gradients.finish(Cpu, &self.network.layout);
        let gradient = Cpu.values(&self.gradients.flat).into_owned();
        self.gradients.clear(Cpu);
        self.updates += 1;
        let norm = gradient.iter().map(|&g| f64::from(g).powi(2)).sum::<f64>().sqrt();
        let scale = if rule.gradient_clip > 0.0 { (rule.gradient_clip / norm).min(1.0) } else { 1.0 };
        let [unbias1, unbias2] = [rule.beta1, rule.beta2].map(|beta| 1.0 - beta.powi(self.updates as i32));
        let mut parameters = self.network.parameters().into_owned();
        for row in &self.network.layout.parameters {
            // Matrices and embeddings, not biases and layer norms.
            let weight_decay = if row.shape.len() == 2 { rule.weight_decay } else { 0.0 };
            for i in row.range() {
                let g = scale * f64::from(gradient[i]);
                let [m, v] = &mut self.moments[i];
                *m = rule.beta1 * *m + (1.0 - rule.beta1) * g;
                *v = rule.beta2 * *v + (1.0 - rule.beta2) * g * g;
                let step = match rule.tensorflow {
                    true => unbias2.sqrt() / unbias1 * *m / (v.sqrt() + rule.epsilon),
                    false => *m / unbias1 / ((*v / unbias2).sqrt() + rule.epsilon),
                };
                let p = f64::from(parameters[i]);
                parameters[i] = (p - rate * weight_decay * p - rate * step) as f32;
                self.average[i] = decay * self.average[i] + (1.0 - decay) * f64::from(parameters[i]);
            }
        }
        self.network.set_parameters(parameters);
        norm
    }
}

/// The learning rate of `step` of `steps`: a stage's schedule, whose warm-up begins at 0.
pub fn rate(stage: Keys, step: u64, steps: u64) -> f64 {
    let (peak, warmup) = (stage.number("learning_rate"), stage.number("warmup_steps"));
    if (step as f64) < warmup {
        return peak * step as f64 / warmup;
    }
    let progress = (step as f64 - warmup) / (steps as f64 - warmup);
    let left = match stage.text("schedule").as_deref() {
        Some("constant") => return peak,
        Some("linear") => 1.0 - progress,
        Some("cosine") => 0.5 + 0.5 * (std::f64::consts::PI * progress).cos(),
        other => panic!("no schedule {other:?}"),
    };
    let end = stage.number("final_fraction");
    peak * (end + (1.0 - end) * left)
}

/// The items of a step: each pass goes through all of them in an order of its own.
pub fn shuffled(seed: u64, stage: Stage, n: usize, batch: usize, step: u64) -> Vec<usize> {
    let steps = n.div_ceil(batch);
    let (pass, place) = (step as usize / steps, step as usize % steps);
    let order = Rng::at(seed, stage, Purpose::Shuffle, pass as u64, 0, 0).permutation(n);
    order.chunks(batch).nth(place).unwrap().to_vec()
}

/// Windows of `context` predictions from random places of a text.
pub fn windows(
    text: &[u32],
    context: usize,
    seed: u64,
    stage: Stage,
    step: u64,
    n: usize,
) -> Vec<Sequence<'_>> {
    let window = |i| {
        let mut rng = Rng::at(seed, stage, Purpose::Pretraining, step, i, 0);
        let start = rng.below(text.len() - context);
        Sequence { tokens: &text[start..start + context + 1], from: 0, to: context }
    };
    (0..n as u64).map(window).collect()
}

/// Mean and variance, over `n` or, unbiased, over `n - 1`.
pub fn moments(values: &[f64], unbiased: bool) -> (f64, f64) {
    let n = values.len() as f64;
    let mean = values.iter().sum::<f64>() / n;
    let squares = values.iter().map(|x| (x - mean).powi(2)).sum::<f64>();
    (mean, squares / if unbiased { n - 1.0 } else { n })
}
