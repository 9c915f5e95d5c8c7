//! The trunk: tokens in, hidden states out, and the way back. All heads and losses sit on top of it, so
//! pretraining, SFT, the reward model and PPO share everything here.

use alloc::vec;
use alloc::vec::Vec;

use super::activations::Activations;
use super::batch::Batch;
use super::block::{Block, disjoint};
use super::config::ModelConfig;
use super::layout::{Head, Initialiser, Layout};
use crate::engine::Dropout;
use crate::engine::cpu::{embedding, layer_norm};
use crate::num::par;
use crate::num::rng::{Purpose, Rng, Stage};

/// A GPT: its shape and where its parameters lie. The parameters themselves are one flat buffer, passed to
/// every call.
#[derive(Debug, Clone, PartialEq)]
pub struct Transformer {
    /// The shape.
    pub config: ModelConfig,
    /// What stands on the trunk.
    pub head: Head,
    /// The one parameter table.
    pub layout: Layout,
}

/// The gradient of all parameters, in one flat buffer like theirs.
pub struct Gradients {
    /// As the layout has them. While a step is being accumulated, the part of a tied embedding holds the
    /// head's share only.
    pub flat: Vec<f32>,
    /// The lookup's share of a tied embedding's gradient (V, C), empty otherwise: see
    /// [`embedding::backward`].
    lookup: Vec<f32>,
}

impl Gradients {
    /// Zero gradients for `model`.
    pub fn new(model: &Transformer) -> Self {
        let tied = model.head == Head::LanguageModel && model.config.tied_head;
        let lookup = if tied { model.layout.wte.len() } else { 0 };
        Gradients { flat: vec![0.0; model.layout.len], lookup: vec![0.0; lookup] }
    }

    /// Back to zero, for the next step.
    pub fn clear(&mut self) {
        // Split over elements.
        for buffer in [&mut self.flat, &mut self.lookup] {
            par::for_each(par::rows(buffer, 1), 64 * 1024, |_, part| part.data.fill(0.0));
        }
    }

    /// Ends the accumulation of a step: the two shares of a tied embedding become one.
    pub fn finish(&mut self, layout: &Layout) {
        if self.lookup.is_empty() {
            return;
        }
        let lookup = &self.lookup;
        // Split over elements.
        par::for_each(par::rows(&mut self.flat[layout.wte.clone()], 1), 64 * 1024, |first, part| {
            part.data.iter_mut().zip(&lookup[first..]).for_each(|(sum, share)| *sum += share);
        });
    }
}

impl Transformer {
    /// A transformer of this shape.
    pub fn new(config: ModelConfig, head: Head) -> Self {
        let layout = Layout::new(&config, head);
        Transformer { config, head, layout }
    }

    /// Fresh parameters as the layout's initialisers say. Each tensor draws from an address of its own.
    pub fn initialise(&self, seed: u64) -> Vec<f32> {
        let mut parameters = vec![0.0; self.layout.len];
        for (row, parameter) in self.layout.parameters.iter().enumerate() {
            let values = &mut parameters[parameter.range()];
            match parameter.initialiser {
                Initialiser::Zero => {}
                Initialiser::One => values.fill(1.0),
                Initialiser::Normal(deviation) => {
                    let mut rng = Rng::at(seed, Stage::Init, Purpose::Init, 0, row as u64, 0);
                    values.iter_mut().for_each(|x| *x = deviation * rng.normal());
                }
            }
        }
        parameters
    }

    fn block(&self, layer: usize) -> Block<'_> {
        Block { layer, config: &self.config, at: &self.layout.blocks[layer] }
    }

    /// Runs the trunk over `batch`; the hidden states are then in `activations.hidden[..N * C]`.
    ///
    /// # Panics
    /// If the batch has more rows than were planned, a sequence longer than the context, or a token outside
    /// the vocabulary (callers check what users give).
    pub fn forward(
        &self,
        parameters: &[f32],
        batch: &Batch,
        activations: &mut Activations,
        dropout: Option<Dropout>,
    ) {
        let (n, c, layers) = (batch.len(), self.config.width, self.config.layers);
        let a = activations;
        assert!(n <= a.max_tokens, "a batch of {n} rows, {} planned", a.max_tokens);
        assert!(
            batch.positions.iter().all(|&t| (t as usize) < self.config.context),
            "a sequence over the context"
        );
        let p = |range: &core::ops::Range<usize>| &parameters[range.clone()];
        let layout = &self.layout;
        let (entries, kept) = (a.x.len(), a.blocks.len());

        // x_0 = wte[token] + wpe[position]
        embedding::forward(
            &mut a.x[0][..n * c],
            &batch.tokens,
            &batch.positions,
            p(&layout.wte),
            p(&layout.wpe),
        );
        // x_l+1 = block_l(x_l)
        for layer in 0..layers {
            let (block, kept) = (self.block(layer), &mut a.blocks[layer % kept]);
            let entries = [layer % entries, (layer + 1) % entries];
            let [x, x_out] = a.x.get_disjoint_mut(entries).expect("two entries at least");
            block.forward(parameters, x_out, x, kept, &mut a.shared, batch, dropout);
        }
        // hidden = LN(x_L)
        let (hidden, stats) = (&mut a.hidden[..n * c], &mut a.ln_f_stats[..n * 2]);
        let x = &a.x[layers % entries][..n * c];
        let epsilon = self.config.layer_norm_epsilon;
        layer_norm::forward(hidden, stats, x, p(&layout.ln_f_weight), p(&layout.ln_f_bias), epsilon);
    }

    /// The way back: from `activations.d_hidden[..N * C]`, which the heads have filled, adds the gradient of
    /// every trunk parameter to `gradients`. Same batch, activations and dropout as the forward before it.
    pub fn backward(
        &self,
        parameters: &[f32],
        gradients: &mut Gradients,
        batch: &Batch,
        activations: &mut Activations,
        dropout: Option<Dropout>,
    ) {
        let (n, c, layers) = (batch.len(), self.config.width, self.config.layers);
        let a = activations;
        assert_eq!(a.blocks.len(), layers, "activations planned for inference");
        let layout = &self.layout;

        // hidden = LN(x_L)
        let d_x = &mut a.d_x[..n * c];
        d_x.fill(0.0);
        let [d_gamma, d_beta] = disjoint(&mut gradients.flat, [&layout.ln_f_weight, &layout.ln_f_bias]);
        let gamma = &parameters[layout.ln_f_weight.clone()];
        let (d_hidden, stats) = (&a.d_hidden[..n * c], &a.ln_f_stats[..n * 2]);
        let x = &a.x[layers][..n * c];
        layer_norm::backward_input(d_x, d_hidden, x, stats, gamma);
        layer_norm::backward_parameters(d_gamma, d_beta, d_hidden, x, stats);
        // x_l+1 = block_l(x_l)
        for layer in (0..layers).rev() {
            let (block, kept) = (self.block(layer), &a.blocks[layer]);
            let flat = &mut gradients.flat;
            block.backward(parameters, flat, d_x, &a.x[layer], kept, &mut a.shared, batch, dropout);
        }
        // x_0 = wte[token] + wpe[position]
        embedding::backward(&mut gradients.flat[layout.wpe.clone()], d_x, &batch.positions);
        let tied = !gradients.lookup.is_empty();
        let d_wte = if tied { &mut gradients.lookup } else { &mut gradients.flat[layout.wte.clone()] };
        embedding::backward(d_wte, d_x, &batch.tokens);
    }
}
