//! One pre-norm transformer block (GPT-2): the forward as ten numbered calls, the backward as the same calls
//! reversed, and then the gradients of its parameters.

use core::ops::Range;

use super::activations::{BlockActivations, Shared};
use super::batch::Batch;
use super::config::ModelConfig;
use super::layout::BlockRanges;
use crate::engine::cpu::{attention, dropout, gelu, layer_norm, linear};
use crate::engine::{Dropout, Shape};
use crate::num::par;

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
    /// Attention over the sequences that begin at `offsets`.
    fn shape<'b>(&self, offsets: &'b [usize]) -> Shape<'b> {
        let config = self.config;
        Shape {
            offsets,
            heads: config.heads,
            head_size: config.head_size(),
            window: config.window(self.layer),
        }
    }

    /// The numbers of the block's two residual additions, for the dropout masks.
    fn sites(&self) -> [u32; 2] {
        [2 * self.layer as u32, 2 * self.layer as u32 + 1]
    }

    /// Token rows that are worth a region of their own: enough to hide that each region packs the weights for
    /// itself. On two threads, a step of width 96 and 1536 rows took 0.95 of the time it took with every call
    /// split by itself.
    fn region(&self) -> usize {
        2 * self.config.width
    }

    /// `x_middle = x + proj(attention(ln_1(x)))`, `x_out = x_middle + proj(gelu(fc(ln_2(x_middle))))`, with x and
    /// `x_out` (N, C). Keeps in `a` what the backward needs.
    pub fn forward(
        &self,
        parameters: &[f32],
        x_out: &mut [f32],
        x: &[f32],
        a: &mut BlockActivations,
        s: &mut Shared,
        batch: &Batch,
        dropout: Option<Dropout>,
    ) {
        let (n, c, f, heads) = (batch.len(), self.config.width, self.config.inner, self.config.heads);
        let ModelConfig { activation, layer_norm_epsilon: epsilon, precision, .. } = *self.config;
        let p = |range: &Range<usize>| &parameters[range.clone()];
        let at = self.at;
        let buffers = [
            (&mut a.ln_1, c),
            (&mut a.ln_1_stats, 2),
            (&mut s.qkv, 3 * c),
            (&mut a.q, c),
            (&mut a.k, c),
            (&mut a.v, c),
            (&mut s.out, c),
            (&mut a.attention_stats, 2 * heads),
            (&mut a.attention, c),
            (&mut s.branch, c),
            (&mut a.x_middle, c),
            (&mut a.ln_2, c),
            (&mut a.ln_2_stats, 2),
            (&mut a.fc, f),
            (&mut a.gelu, f),
        ];
        let buffers = buffers.map(|(buffer, width)| par::rows(&mut buffer[..n * width], width));
        let all = (par::rows(&mut x_out[..n * c], c), buffers);
        // Split over sequences: none sees another.
        par::regions(&batch.offsets, all, self.region(), |offsets, (x_out, buffers)| {
            let rows = offsets[0]..offsets[offsets.len() - 1];
            let (x, shape) = (&x[rows.start * c..rows.end * c], self.shape(offsets));
            let rows = &batch.rows[rows];
            let [
                ln_1,
                ln_1_stats,
                qkv,
                q,
                k,
                v,
                out,
                attention_stats,
                attended,
                branch,
                x_middle,
                ln_2,
                ln_2_stats,
                fc,
                activated,
            ] = buffers.map(|rows| rows.data);
            // 1
            layer_norm::forward(ln_1, ln_1_stats, x, p(&at.ln_1_weight), p(&at.ln_1_bias), epsilon);
            // 2
            linear::forward(precision, qkv, ln_1, p(&at.attn_weight), p(&at.attn_bias));
            attention::split_heads(q, qkv, 3 * c, 0, shape);
            attention::split_heads(k, qkv, 3 * c, c, shape);
            attention::split_heads(v, qkv, 3 * c, 2 * c, shape);
            // 3
            attention::forward(out, attention_stats, q, k, v, shape);
            attention::merge_heads(attended, out, c, 0, shape);
            // 4
            linear::forward(precision, branch, attended, p(&at.attn_proj_weight), p(&at.attn_proj_bias));
            // 5
            dropout::add(x_middle, x, branch, rows, self.sites()[0], dropout);
            // 6
            layer_norm::forward(ln_2, ln_2_stats, x_middle, p(&at.ln_2_weight), p(&at.ln_2_bias), epsilon);
            // 7
            linear::forward(precision, fc, ln_2, p(&at.fc_weight), p(&at.fc_bias));
            // 8
            gelu::forward(activated, fc, activation);
            // 9
            linear::forward(precision, branch, activated, p(&at.fc_proj_weight), p(&at.fc_proj_bias));
            // 10
            dropout::add(x_out.data, x_middle, branch, rows, self.sites()[1], dropout);
        });
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
        let (n, c, f, heads) = (batch.len(), self.config.width, self.config.inner, self.config.heads);
        let precision = self.config.precision;
        let p = |range: &Range<usize>| &parameters[range.clone()];
        let at = self.at;
        let [d_out, d_q, d_k, d_v] = &mut s.d_heads;
        let buffers = [
            (&mut s.d_branch, c),
            (&mut s.d_inner, f),
            (&mut s.d_ln_2, c),
            (&mut s.branch, c),
            (&mut s.d_rows, c),
            (d_out, c),
            (&mut s.out, c),
            (d_q, c),
            (d_k, c),
            (d_v, c),
            (&mut s.qkv, 3 * c),
        ];
        let buffers = buffers.map(|(buffer, width)| par::rows(&mut buffer[..n * width], width));
        let all = (par::rows(&mut d_x[..n * c], c), buffers);
        // Split over sequences, as the forward.
        par::regions(&batch.offsets, all, self.region(), |offsets, (d_x, buffers)| {
            let (rows, shape) = (offsets[0]..offsets[offsets.len() - 1], self.shape(offsets));
            let of = |buffer, width| slice(buffer, rows.start * width..rows.end * width);
            let masks = &batch.rows[rows.clone()];
            let d_x = d_x.data;
            let [d_mlp, d_inner, d_ln_2, d_attention, d_rows, d_out, out, d_q, d_k, d_v, d_qkv] =
                buffers.map(|rows| rows.data);
            // 10: x_out = x_middle + dropout(mlp)
            dropout::backward(d_mlp, d_x, masks, self.sites()[1], dropout);
            // 9: mlp = gelu W + b
            linear::backward_input(precision, d_inner, d_mlp, p(&at.fc_proj_weight), c);
            // 8: gelu = GELU(fc)
            gelu::backward(d_inner, of(&a.fc, f), self.config.activation);
            // 7: fc = ln_2 W + b
            linear::backward_input(precision, d_ln_2, d_inner, p(&at.fc_weight), f);
            // 6: ln_2 = LN(x_middle); d_x already holds what came along the residual
            let (x_middle, stats) = (of(&a.x_middle, c), of(&a.ln_2_stats, 2));
            layer_norm::backward_input(d_x, d_ln_2, x_middle, stats, p(&at.ln_2_weight));
            // 5: x_middle = x + dropout(attention)
            dropout::backward(d_attention, d_x, masks, self.sites()[0], dropout);
            // 4: attention = attended W + b
            linear::backward_input(precision, d_rows, d_attention, p(&at.attn_proj_weight), c);
            // 3: attended = attention(q, k, v)
            attention::split_heads(d_out, d_rows, c, 0, shape);
            attention::split_heads(out, of(&a.attention, c), c, 0, shape);
            let (q, k, v, stats) = (of(&a.q, c), of(&a.k, c), of(&a.v, c), of(&a.attention_stats, 2 * heads));
            attention::backward(d_q, d_k, d_v, d_out, out, stats, q, k, v, shape);
            attention::merge_heads(d_qkv, d_q, 3 * c, 0, shape);
            attention::merge_heads(d_qkv, d_k, 3 * c, c, shape);
            attention::merge_heads(d_qkv, d_v, 3 * c, 2 * c, shape);
            // 2: qkv = ln_1 W + b
            linear::backward_input(precision, d_rows, d_qkv, p(&at.attn_weight), 3 * c);
            // 1: ln_1 = LN(x)
            layer_norm::backward_input(d_x, d_rows, of(x, c), of(&a.ln_1_stats, 2), p(&at.ln_1_weight));
        });

        // The parameters' gradients are chains over the rows of all sequences.
        let mut linear = |weight, bias, d_y: &[f32], x: &[f32], inputs: usize| {
            let [d_weight, d_bias] = disjoint(gradients, [weight, bias]);
            let (d_y, x) = (&d_y[..n * d_bias.len()], &x[..n * inputs]);
            linear::backward_parameters(precision, d_weight, d_bias, d_y, x, &batch.offsets);
        };
        linear(&at.fc_proj_weight, &at.fc_proj_bias, &s.d_branch, &a.gelu, f);
        linear(&at.fc_weight, &at.fc_bias, &s.d_inner, &a.ln_2, c);
        linear(&at.attn_proj_weight, &at.attn_proj_bias, &s.branch, &a.attention, c);
        linear(&at.attn_weight, &at.attn_bias, &s.qkv, &a.ln_1, c);
        let mut norm = |gamma, beta, d_y: &[f32], x: &[f32], stats: &[f32]| {
            let [d_gamma, d_beta] = disjoint(gradients, [gamma, beta]);
            layer_norm::backward_parameters(d_gamma, d_beta, &d_y[..n * c], &x[..n * c], &stats[..n * 2]);
        };
        norm(&at.ln_2_weight, &at.ln_2_bias, &s.d_ln_2, &a.x_middle, &a.ln_2_stats);
        norm(&at.ln_1_weight, &at.ln_1_bias, &s.d_rows, x, &a.ln_1_stats);
    }
}

fn slice(buffer: &[f32], range: Range<usize>) -> &[f32] {
    &buffer[range]
}

/// Two places of the gradients at once.
pub(crate) fn disjoint<'a>(gradients: &'a mut [f32], ranges: [&Range<usize>; 2]) -> [&'a mut [f32]; 2] {
    gradients.get_disjoint_mut(ranges.map(|range| range.clone())).expect("the layout has no overlaps")
}
