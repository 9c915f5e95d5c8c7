//! One pre-norm transformer block (GPT-2, GPT-3, GPT-Neo):
//!
//! ```text
//! x_middle = x + proj(attention(ln_1(x)))
//! x_out    = x_middle + proj(gelu(fc(ln_2(x_middle))))
//! ```
//!
//! The forward is ten calls, for training, validation and decoding alike; the backward is the same calls from the
//! tenth to the first, and then the gradients of the parameters.

use super::config::ModelConfig;
use super::gradients::Gradients;
use super::layout::BlockRanges;
use crate::engine::Name::{self, *};
use crate::engine::{Dropout, Engine};

/// A block's number, shape and place in the parameters.
#[derive(Clone, Copy)]
pub struct Block<'a> {
    /// Which layer, from 0.
    pub layer: usize,
    /// The model's shape.
    pub config: &'a ModelConfig,
    /// Where the block's parameters lie.
    pub at: &'a BlockRanges,
}

/// Of the forward's scratch, what takes gradients in the backward.
#[allow(non_upper_case_globals)]
const DAttentionBranch: Name = Branch;
#[allow(non_upper_case_globals)]
const DQkv: Name = Qkv;

impl Block<'_> {
    /// From `X` to `XOut`, both (N, C). `attend` is attention within the batch, or over what is cached.
    pub fn forward<E: Engine>(
        &self,
        e: &E,
        w: &E::Weights<'_>,
        rows: &mut E::Rows<'_>,
        attend: impl FnOnce(&mut E::Rows<'_>),
        dropout: Option<Dropout>,
    ) {
        let (at, epsilon, [first, second]) = (self.at, self.config.layer_norm_epsilon, self.sites());
        e.layer_norm(rows, (Ln1, Ln1Stats), X, w, &at.ln_1, epsilon); // 1
        e.linear(rows, Qkv, Ln1, w, &at.attn); // 2
        attend(rows); // 3: Attention from Qkv
        e.linear(rows, Branch, Attention, w, &at.attn_proj); // 4
        e.residual(rows, XMiddle, X, Branch, first, dropout); // 5
        e.layer_norm(rows, (Ln2, Ln2Stats), XMiddle, w, &at.ln_2, epsilon); // 6
        e.linear(rows, Fc, Ln2, w, &at.fc); // 7
        e.gelu(rows, Gelu, Fc, self.config.activation); // 8
        e.linear(rows, Branch, Gelu, w, &at.fc_proj); // 9
        e.residual(rows, XOut, XMiddle, Branch, second, dropout); // 10
    }

    /// `DX` holds the gradient of `XOut` and becomes that of `X`, along the residual stream and through both
    /// branches. Keeps what [`Block::parameters_backward`] needs.
    pub fn backward<E: Engine>(
        &self,
        e: &E,
        w: &E::Weights<'_>,
        rows: &mut E::Rows<'_>,
        dropout: Option<Dropout>,
    ) {
        let (at, [first, second]) = (self.at, self.sites());
        e.residual_backward(rows, DBranch, DX, second, dropout); // 10
        e.linear_backward(rows, DFc, DBranch, w, &at.fc_proj); // 9
        e.gelu_backward(rows, DFc, Fc, self.config.activation); // 8
        e.linear_backward(rows, DLn2, DFc, w, &at.fc); // 7
        e.layer_norm_backward(rows, DX, DLn2, (XMiddle, Ln2Stats), w, &at.ln_2); // 6
        e.residual_backward(rows, DAttentionBranch, DX, first, dropout); // 5
        e.linear_backward(rows, DLn1, DAttentionBranch, w, &at.attn_proj); // 4: of Attention, in DLn1
        e.attention_backward(rows, self.config.attention_heads(self.layer)); // 3: from there to DQkv
        e.linear_backward(rows, DLn1, DQkv, w, &at.attn); // 2
        e.layer_norm_backward(rows, DX, DLn1, (X, Ln1Stats), w, &at.ln_1); // 1
    }

    /// Adds to `gradients` those of the block's parameters: chains over the rows of all sequences.
    pub fn parameters_backward<E: Engine>(
        &self,
        e: &E,
        rows: &mut E::Rows<'_>,
        gradients: &mut Gradients<E>,
    ) {
        let (block, precision) = (self.at, self.config.precision);
        let layers = [
            (DBranch, Gelu, &block.fc_proj),
            (DFc, Ln2, &block.fc),
            (DAttentionBranch, Attention, &block.attn_proj),
            (DQkv, Ln1, &block.attn),
        ];
        let norms = [(DLn2, (XMiddle, Ln2Stats), &block.ln_2), (DLn1, (X, Ln1Stats), &block.ln_1)];
        if let Some(flat) = gradients.alone() {
            e.linear_parameters(rows, layers, precision, flat);
            e.layer_norm_parameters(rows, norms, flat);
            return;
        }
        // Each goes to the next rank as soon as it is done.
        for layer in layers {
            let at = layer.2.range();
            gradients.add(e, &at, |flat| e.linear_parameters(rows, [layer], precision, flat));
        }
        for norm in norms {
            gradients.add(e, &norm.2.range(), |flat| e.layer_norm_parameters(rows, [norm], flat));
        }
    }

    /// The numbers of the block's two residual additions, for the dropout masks.
    fn sites(&self) -> [u32; 2] {
        [2 * self.layer as u32, 2 * self.layer as u32 + 1]
    }

    /// Token rows that are worth a region of their own: enough to hide that each region packs the weights for
    /// itself. On two threads, a step of width 96 and 1536 rows took 0.95 of the time it took with every call
    /// split by itself.
    pub fn region(&self) -> usize {
        2 * self.config.width
    }
}
