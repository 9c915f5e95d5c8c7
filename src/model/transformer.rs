//! The trunk: tokens in, hidden states out, and the way back. All heads and losses sit on top of it, so pretraining,
//! SFT, the reward model and PPO share everything here.
//!
//! ```text
//! x_0 = wte[token] + wpe[position],   x_l+1 = block_l(x_l),   hidden = LN(x_L)
//! ```

use super::block::Block;
use super::gradients::Gradients;
use super::network::{Memory, Network};
use crate::engine::Name::{DHidden, DX, Hidden, HiddenStats, X};
use crate::engine::{Dropout, Engine, Index};

impl<E: Engine> Network<E> {
    /// Runs the trunk over the batch in memory: afterwards its hidden states are in `Hidden`, (N, C).
    ///
    /// # Panics
    /// If the batch has more rows than were planned, a sequence longer than the context, or a token outside the
    /// vocabulary (callers check what users give).
    pub(super) fn forward_trunk(&mut self, dropout: Option<Dropout>) {
        let Network { engine: e, config, layout, parameters, memory, .. } = self;
        let Memory { activations: a, batch, .. } = memory.as_mut().expect("a batch was filled");
        assert!(batch.len() <= a.max_tokens, "a batch of {} rows, {} planned", batch.len(), a.max_tokens);
        let longest = batch.positions.iter().max().map_or(0, |&t| t as usize + 1);
        assert!(longest <= config.context, "a sequence over the context");
        let w = &e.weights(parameters, config.precision);

        e.embedding(&mut a.rows(batch, 0), w, &layout.wte, &layout.wpe);
        for (layer, at) in layout.blocks.iter().enumerate() {
            let block = Block { layer, config, at };
            let heads = config.attention_heads(layer);
            // Split over sequences: none sees another.
            e.regions(&mut a.rows(batch, layer), block.region(), |rows| {
                block.forward(e, w, rows, |rows| e.attention(rows, heads), dropout);
            });
        }
        let rows = &mut a.rows(batch, config.layers);
        e.layer_norm(rows, (Hidden, HiddenStats), X, w, &layout.ln_f, config.layer_norm_epsilon);
    }

    /// From `DHidden`, which the heads have filled, adds the gradient of every parameter of the trunk to `gradients`.
    /// Same batch and dropout as the forward before it.
    pub(super) fn backward_trunk(&mut self, gradients: &mut Gradients<E>, dropout: Option<Dropout>) {
        let Network { engine: e, config, layout, parameters, memory, .. } = self;
        let Memory { activations: a, batch, .. } = memory.as_mut().expect("a forward comes first");
        assert!(a.training, "activations planned for inference");
        let w = &e.weights(parameters, config.precision);

        {
            let rows = &mut a.rows(batch, config.layers);
            e.clear_rows(rows, DX);
            e.layer_norm_backward(rows, DX, DHidden, (X, HiddenStats), w, &layout.ln_f);
            let norm = (DHidden, (X, HiddenStats), &layout.ln_f);
            gradients.add(e, &layout.ln_f.range(), |flat| e.layer_norm_parameters(rows, [norm], flat));
        }
        for (layer, at) in layout.blocks.iter().enumerate().rev() {
            let block = Block { layer, config, at };
            let rows = &mut a.rows(batch, layer);
            e.regions(rows, block.region(), |rows| block.backward(e, w, rows, dropout));
            block.parameters_backward(e, rows, gradients);
        }
        let rows = &mut a.rows(batch, 0);
        gradients.add_lookup(e, layout, &batch.tokens, |table, at| {
            e.embedding_backward(rows, DX, Index::Token, table, at);
        });
        gradients.add(e, &layout.wpe, |flat| {
            e.embedding_backward(rows, DX, Index::Position, flat, &layout.wpe);
        });
    }
}
