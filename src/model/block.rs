//! One pre-norm transformer block (GPT-2): the forward as nine numbered calls, the backward as the same
//! calls reversed.

use super::activations::{BlockActivations, Shared};
use super::batch::Batch;
use super::config::ModelConfig;
use super::layout::BlockRanges;
use crate::ops::attention::{self, Shape};
use crate::ops::dropout::{self, Dropout};
use crate::ops::{gelu, layer_norm, linear};

/// A block's number, shape and place in the parameters.
pub struct Block<'a> {
    /// Which layer, from 0.
    pub layer: usize,
    /// The model's shape.
    pub config: &'a ModelConfig,
    /// Where the block's parameters lie.
    pub at: &'a BlockRanges,
}

impl Block<'_> {
    fn shape<'b>(&self, batch: &'b Batch) -> Shape<'b> {
        Shape {
            offsets: &batch.offsets,
            heads: self.config.heads,
            head_size: self.config.head_size(),
            window: self.config.window(self.layer),
        }
    }

    /// The numbers of the block's two residual additions, for the dropout masks.
    fn sites(&self) -> [u32; 2] {
        [2 * self.layer as u32, 2 * self.layer as u32 + 1]
    }

    /// `x_middle = x + proj(attention(ln_1(x)))`, `x_out = x_middle + proj(gelu(fc(ln_2(x_middle))))`.
    /// Returns nothing but what it writes: the kept activations `a`, and `s.branch`, the MLP's branch, which
    /// the caller adds to `x_middle` with [`Block::leave`].
    pub fn forward(
        &self,
        parameters: &[f32],
        x: &[f32],
        a: &mut BlockActivations,
        s: &mut Shared,
        batch: &Batch,
        dropout: Option<Dropout>,
    ) {
        let (n, c, f) = (batch.len(), self.config.width, self.config.inner);
        let (hs, epsilon) = (self.config.head_size(), self.config.layer_norm_epsilon);
        let p = |range: &core::ops::Range<usize>| &parameters[range.clone()];
        let at = self.at;
        let x = &x[..n * c];
        let (ln_1, ln_2) = (&mut a.ln_1[..n * c], &mut a.ln_2[..n * c]);
        let (q, k, v) = (&mut a.q[..n * c], &mut a.k[..n * c], &mut a.v[..n * c]);
        let (attended, x_middle) = (&mut a.attention[..n * c], &mut a.x_middle[..n * c]);
        let (fc, activated) = (&mut a.fc[..n * f], &mut a.gelu[..n * f]);
        let (ln_1_stats, ln_2_stats) = (&mut a.ln_1_stats[..n * 2], &mut a.ln_2_stats[..n * 2]);
        let stats = &mut a.attention_stats[..n * 2 * self.config.heads];
        let (qkv, out, branch) = (&mut s.qkv[..n * 3 * c], &mut s.out[..n * c], &mut s.branch[..n * c]);

        // 1
        layer_norm::forward(ln_1, ln_1_stats, x, p(&at.ln_1_weight), p(&at.ln_1_bias), epsilon);
        // 2
        linear::forward(qkv, ln_1, p(&at.attn_weight), p(&at.attn_bias));
        attention::split_heads(q, qkv, 3 * c, 0, hs);
        attention::split_heads(k, qkv, 3 * c, c, hs);
        attention::split_heads(v, qkv, 3 * c, 2 * c, hs);
        // 3
        attention::forward(out, stats, q, k, v, self.shape(batch));
        attention::merge_heads(attended, out, c, 0, hs);
        // 4
        linear::forward(branch, attended, p(&at.attn_proj_weight), p(&at.attn_proj_bias));
        // 5
        dropout::add(x_middle, x, branch, &batch.rows, self.sites()[0], dropout);
        // 6
        layer_norm::forward(ln_2, ln_2_stats, x_middle, p(&at.ln_2_weight), p(&at.ln_2_bias), epsilon);
        // 7
        linear::forward(fc, ln_2, p(&at.fc_weight), p(&at.fc_bias));
        // 8
        gelu::forward(activated, fc, self.config.activation);
        // 9
        linear::forward(branch, activated, p(&at.fc_proj_weight), p(&at.fc_proj_bias));
    }

    /// 10: `x_out = x_middle + branch`, apart because `x_out` belongs to the next block.
    pub fn leave(
        &self,
        x_out: &mut [f32],
        a: &BlockActivations,
        s: &Shared,
        batch: &Batch,
        dropout: Option<Dropout>,
    ) {
        let nc = batch.len() * self.config.width;
        dropout::add(
            &mut x_out[..nc],
            &a.x_middle[..nc],
            &s.branch[..nc],
            &batch.rows,
            self.sites()[1],
            dropout,
        );
    }

    /// The calls of the forward, from 10 to 1. `d_x` (N, C) holds the gradient of `x_out` and becomes that of
    /// `x`; the parameters' gradients are added to `gradients`.
    pub fn backward(
        &self,
        parameters: &[f32],
        gradients: &mut [f32],
        d_x: &mut [f32],
        x: &[f32],
        a: &BlockActivations,
        s: &mut Shared,
        batch: &Batch,
        dropout: Option<Dropout>,
    ) {
        let (n, c, f, hs) = (batch.len(), self.config.width, self.config.inner, self.config.head_size());
        let p = |range: &core::ops::Range<usize>| &parameters[range.clone()];
        let at = self.at;
        let x = &x[..n * c];
        let d_x = &mut d_x[..n * c];
        let (d_branch, d_rows) = (&mut s.branch[..n * c], &mut s.d_rows[..n * c]);
        let d_inner = &mut s.d_inner[..n * f];
        let (d_qkv, out) = (&mut s.qkv[..n * 3 * c], &mut s.out[..n * c]);
        let [d_out, d_q, d_k, d_v] = &mut s.d_heads;
        let (d_out, d_q) = (&mut d_out[..n * c], &mut d_q[..n * c]);
        let (d_k, d_v) = (&mut d_k[..n * c], &mut d_v[..n * c]);
        let stats = &a.attention_stats[..n * 2 * self.config.heads];

        // 10: x_out = x_middle + dropout(branch)
        dropout::backward(d_branch, d_x, &batch.rows, self.sites()[1], dropout);
        // 9: branch = gelu W + b
        let [dw, db] = disjoint(gradients, [&at.fc_proj_weight, &at.fc_proj_bias]);
        linear::backward(d_inner, dw, db, d_branch, &a.gelu[..n * f], p(&at.fc_proj_weight));
        // 8: gelu = GELU(fc)
        gelu::backward(d_inner, &a.fc[..n * f], self.config.activation);
        // 7: fc = ln_2 W + b
        let [dw, db] = disjoint(gradients, [&at.fc_weight, &at.fc_bias]);
        linear::backward(d_rows, dw, db, d_inner, &a.ln_2[..n * c], p(&at.fc_weight));
        // 6: ln_2 = LN(x_middle); d_x already holds what came along the residual
        let [dw, db] = disjoint(gradients, [&at.ln_2_weight, &at.ln_2_bias]);
        let (x_middle, ln_2_stats) = (&a.x_middle[..n * c], &a.ln_2_stats[..n * 2]);
        layer_norm::backward(d_x, dw, db, d_rows, x_middle, ln_2_stats, p(&at.ln_2_weight));
        // 5: x_middle = x + dropout(branch)
        dropout::backward(d_branch, d_x, &batch.rows, self.sites()[0], dropout);
        // 4: branch = attention W + b
        let [dw, db] = disjoint(gradients, [&at.attn_proj_weight, &at.attn_proj_bias]);
        linear::backward(d_rows, dw, db, d_branch, &a.attention[..n * c], p(&at.attn_proj_weight));
        // 3: attention(q, k, v)
        attention::split_heads(d_out, d_rows, c, 0, hs);
        attention::split_heads(out, &a.attention[..n * c], c, 0, hs);
        let (q, k, v) = (&a.q[..n * c], &a.k[..n * c], &a.v[..n * c]);
        attention::backward(d_q, d_k, d_v, d_out, out, stats, q, k, v, self.shape(batch));
        attention::merge_heads(d_qkv, d_q, 3 * c, 0, hs);
        attention::merge_heads(d_qkv, d_k, 3 * c, c, hs);
        attention::merge_heads(d_qkv, d_v, 3 * c, 2 * c, hs);
        // 2: qkv = ln_1 W + b
        let [dw, db] = disjoint(gradients, [&at.attn_weight, &at.attn_bias]);
        linear::backward(d_rows, dw, db, d_qkv, &a.ln_1[..n * c], p(&at.attn_weight));
        // 1: ln_1 = LN(x)
        let [dw, db] = disjoint(gradients, [&at.ln_1_weight, &at.ln_1_bias]);
        layer_norm::backward(d_x, dw, db, d_rows, x, &a.ln_1_stats[..n * 2], p(&at.ln_1_weight));
    }
}

/// Two places of the gradients at once.
pub(crate) fn disjoint<'a>(
    gradients: &'a mut [f32],
    ranges: [&core::ops::Range<usize>; 2],
) -> [&'a mut [f32]; 2] {
    gradients.get_disjoint_mut(ranges.map(|range| range.clone())).expect("the layout has no overlaps")
}
