//! The engines whose memory is the host's: from the names of buffers to slices, and then the function of the same
//! name in the engine's room.

use alloc::borrow::Cow;
use alloc::vec;
use alloc::vec::Vec;
use core::ops::Range;

use super::activations::{COUNT, Name};
use super::batch::Batch;
use super::types::*;
use super::{AdamState, Choice, Choosing, Cpu, Engine, Plain, cpu, plain, sampling};
use crate::num::par::Rowwise;

/// Token rows of whole sequences, with a view of every buffer.
pub struct TokenRows<'a> {
    batch: &'a Batch,
    /// First row of each of these sequences in the batch, and the end of the last, (B + 1).
    offsets: &'a [usize],
    views: [View<'a>; COUNT],
}

/// The rows of one buffer; no numbers of one that the pass does not have.
struct View<'a> {
    data: &'a mut [f32],
    width: usize,
}

impl<'a> TokenRows<'a> {
    fn new(batch: &'a Batch, buffers: [&'a mut Vec<f32>; COUNT], widths: [usize; COUNT]) -> Self {
        let mut widths = widths.into_iter();
        let views = buffers.map(|buffer| {
            let width = widths.next().expect("a width for each");
            let numbers = if buffer.is_empty() { 0 } else { batch.len() * width };
            View { data: &mut buffer[..numbers], width }
        });
        TokenRows { batch, offsets: &batch.offsets, views }
    }

    /// The same rows for a shorter time.
    fn reborrow(&mut self) -> TokenRows<'_> {
        let views = self.views.each_mut().map(|view| View { data: view.data, width: view.width });
        TokenRows { batch: self.batch, offsets: self.offsets, views }
    }

    /// Their places in the batch.
    fn range(&self) -> Range<usize> {
        self.offsets[0]..self.offsets[self.offsets.len() - 1]
    }

    /// Some buffers, to be read or written; no name may come twice.
    fn get<const K: usize>(&mut self, names: [Name; K]) -> [&mut [f32]; K] {
        let views = self.views.get_disjoint_mut(names.map(|name| name as usize));
        views.expect("no buffer twice").map(|view| &mut *view.data)
    }

    /// A buffer that is only read.
    fn read(&self, name: Name) -> &[f32] {
        self.views[name as usize].data
    }

    fn width(&self, name: Name) -> usize {
        self.views[name as usize].width
    }

    fn addresses(&self) -> &'a [Address] {
        &self.batch.addresses[self.range()]
    }

    fn shape(&self, heads: Heads) -> Shape<'a> {
        let Heads { count, size, window, scaled } = heads;
        Shape { offsets: self.offsets, heads: count, head_size: size, window, scaled }
    }
}

impl Rowwise for View<'_> {
    fn rows(&self) -> usize {
        self.data.len() / self.width
    }

    fn split_at(self, row: usize) -> (Self, Self) {
        let (head, tail) = self.data.split_at_mut((row * self.width).min(self.data.len()));
        (View { data: head, width: self.width }, View { data: tail, width: self.width })
    }
}

impl Rowwise for TokenRows<'_> {
    fn rows(&self) -> usize {
        self.range().len()
    }

    /// Cuts between two sequences.
    fn split_at(self, row: usize) -> (Self, Self) {
        let TokenRows { batch, offsets, views } = self;
        let (heads, tails) = views.split_at(row);
        let cut = offsets.partition_point(|&offset| offset < offsets[0] + row);
        assert_eq!(offsets[cut] - offsets[0], row, "a cut inside a sequence");
        let part = |offsets, views| TokenRows { batch, offsets, views };
        (part(&offsets[..=cut], heads), part(&offsets[cut..], tails))
    }
}

/// Each of these with its part of a buffer.
fn with_parts<T: Copy, const K: usize>(
    buffer: &mut [f32],
    all: [T; K],
    at: impl Fn(T) -> Range<usize>,
) -> [(T, &mut [f32]); K] {
    let parts = buffer.get_disjoint_mut(all.map(at)).expect("the layout has no overlaps");
    let mut parts = parts.into_iter();
    all.map(|one| (one, parts.next().expect("K of K")))
}

/// Writes the operations of an engine as calls of the functions in its room.
macro_rules! host_engine {
    ($engine:ident, $room:ident) => {
        impl Engine for $engine {
            type Buffer = Vec<f32>;
            type Rows<'a> = TokenRows<'a>;
            type Weights<'a> = $room::linear::Weights<'a>;
            type Cache = $room::attention::Cache;
            type Head = $room::log_prob::Workspace;

            fn buffer(&self, values: Vec<f32>) -> Vec<f32> {
                values
            }
            fn values<'a>(&self, buffer: &'a Vec<f32>) -> Cow<'a, [f32]> {
                Cow::Borrowed(buffer)
            }
            fn read(&self, buffer: &Vec<f32>, at: &Range<usize>) -> Vec<f32> {
                buffer[at.clone()].to_vec()
            }
            fn write(&self, buffer: &mut Vec<f32>, at: &Range<usize>, values: &[f32]) {
                buffer[at.clone()].copy_from_slice(values);
            }
            fn clear(&self, buffer: &mut Vec<f32>) {
                $room::clear(buffer);
            }
            fn add(&self, sum: &mut Vec<f32>, at: &Range<usize>, part: &Vec<f32>) {
                $room::add(&mut sum[at.clone()], part);
            }
            fn first_non_finite(&self, buffer: &Vec<f32>) -> Option<usize> {
                $room::gradient_norm::first_non_finite(buffer)
            }

            fn rows<'a>(
                &self,
                batch: &'a Batch,
                buffers: [&'a mut Vec<f32>; COUNT],
                widths: [usize; COUNT],
            ) -> TokenRows<'a> {
                TokenRows::new(batch, buffers, widths)
            }
            fn regions(
                &self,
                rows: &mut TokenRows<'_>,
                least: usize,
                body: impl Fn(&mut TokenRows<'_>) + Sync,
            ) {
                let rows = rows.reborrow();
                $room::regions(rows.offsets, rows, least, |_, mut rows| body(&mut rows));
            }
            fn clear_rows(&self, rows: &mut TokenRows<'_>, x: Name) {
                let [x] = rows.get([x]);
                x.fill(0.0);
            }
            fn values_in_rows(&self, rows: &mut TokenRows<'_>, x: Name) -> Vec<f32> {
                let [x] = rows.get([x]);
                x.to_vec()
            }
            fn reserve(&self, heads: Heads, context: usize) {
                $room::reserve(heads, context);
            }

            fn weights<'a>(&self, parameters: &'a Vec<f32>, precision: Precision) -> Self::Weights<'a> {
                Self::Weights::new(parameters, precision)
            }
            fn pack<'a>(
                &self,
                parameters: &'a Vec<f32>,
                precision: Precision,
                matrices: &[WeightMatrix],
            ) -> Self::Weights<'a> {
                Self::Weights::packed(parameters, precision, matrices)
            }

            fn embedding(
                &self,
                rows: &mut TokenRows<'_>,
                w: &Self::Weights<'_>,
                wte: &Range<usize>,
                wpe: &Range<usize>,
            ) {
                let (batch, range) = (rows.batch, rows.range());
                let (tokens, positions) = (&batch.tokens[range.clone()], &batch.positions[range]);
                let [x] = rows.get([Name::X]);
                $room::embedding::forward(x, tokens, positions, w.at(wte), w.at(wpe));
            }
            fn embedding_backward(
                &self,
                rows: &mut TokenRows<'_>,
                dx: Name,
                index: Index,
                table: &mut Vec<f32>,
                at: &Range<usize>,
            ) {
                let (batch, range) = (rows.batch, rows.range());
                let index = match index {
                    Index::Token => &batch.tokens[range],
                    Index::Position => &batch.positions[range],
                };
                let [dx] = rows.get([dx]);
                $room::embedding::backward(&mut table[at.clone()], dx, index);
            }

            fn layer_norm(
                &self,
                rows: &mut TokenRows<'_>,
                (y, stats): (Name, Name),
                x: Name,
                w: &Self::Weights<'_>,
                at: &Norm,
                epsilon: f32,
            ) {
                let [y, stats, x] = rows.get([y, stats, x]);
                $room::layer_norm::forward(y, stats, x, w.at(&at.weight), w.at(&at.bias), epsilon);
            }
            fn layer_norm_backward(
                &self,
                rows: &mut TokenRows<'_>,
                dx: Name,
                dy: Name,
                (x, stats): (Name, Name),
                w: &Self::Weights<'_>,
                at: &Norm,
            ) {
                let [dx, dy, x, stats] = rows.get([dx, dy, x, stats]);
                $room::layer_norm::backward_input(dx, dy, x, stats, w.at(&at.weight));
            }
            fn layer_norm_parameters<const K: usize>(
                &self,
                rows: &mut TokenRows<'_>,
                norms: [(Name, (Name, Name), &Norm); K],
                gradients: &mut Vec<f32>,
            ) {
                let norms = with_parts(gradients, norms, |(.., at)| at.range());
                $room::layer_norm::backward_parameters_of(norms.map(|((dy, (x, stats), at), both)| {
                    let (dgamma, rest) = both.split_at_mut(at.weight.len());
                    let dbeta = &mut rest[at.bias.start - at.weight.end..];
                    let [dy, x, stats] = [dy, x, stats].map(|name| rows.read(name));
                    NormGradient { dgamma, dbeta, dy, x, stats }
                }));
            }

            fn linear(&self, rows: &mut TokenRows<'_>, y: Name, x: Name, w: &Self::Weights<'_>, at: &Linear) {
                let [y, x] = rows.get([y, x]);
                $room::linear::forward(y, x, w, at);
            }
            fn linear_backward(
                &self,
                rows: &mut TokenRows<'_>,
                dx: Name,
                dy: Name,
                w: &Self::Weights<'_>,
                at: &Linear,
            ) {
                let [dx, dy] = rows.get([dx, dy]);
                $room::linear::backward_input(w.precision(), dx, dy, w.at(&at.weight), at.outputs);
            }
            fn linear_parameters<const K: usize>(
                &self,
                rows: &mut TokenRows<'_>,
                layers: [(Name, Name, &Linear); K],
                precision: Precision,
                gradients: &mut Vec<f32>,
            ) {
                let weights = with_parts(gradients, layers, |(.., at)| at.weight.clone());
                let weights = weights.map(|((dy, x, at), dweight)| {
                    let [dy, x] = [dy, x].map(|name| rows.read(name));
                    WeightGradient { dweight, dy, x, outputs: at.outputs }
                });
                $room::linear::backward_weights(precision, weights, rows.offsets);
                let biases = with_parts(gradients, layers, |(.., at)| at.bias.clone().unwrap_or(0..0));
                $room::linear::backward_biases(
                    biases.map(|((dy, ..), dbias)| BiasGradient { dbias, dy: rows.read(dy) }),
                );
            }

            fn attention(&self, rows: &mut TokenRows<'_>, heads: Heads) {
                let (shape, c) = (rows.shape(heads), rows.width(Name::Attention));
                let [qkv, q, k, v, out, stats, attended] = rows.get([
                    Name::Qkv,
                    Name::Q,
                    Name::K,
                    Name::V,
                    Name::Heads,
                    Name::HeadsStats,
                    Name::Attention,
                ]);
                $room::attention::split_heads(q, qkv, 3 * c, 0, shape);
                $room::attention::split_heads(k, qkv, 3 * c, c, shape);
                $room::attention::split_heads(v, qkv, 3 * c, 2 * c, shape);
                $room::attention::forward(out, stats, q, k, v, shape);
                $room::attention::merge_heads(attended, out, c, 0, shape);
            }
            fn attention_backward(&self, rows: &mut TokenRows<'_>, heads: Heads) {
                let (shape, c) = (rows.shape(heads), rows.width(Name::Attention));
                let [dqkv, q, k, v, out, stats, attended, dattended, dout, dq, dk, dv] = rows.get([
                    Name::Qkv,
                    Name::Q,
                    Name::K,
                    Name::V,
                    Name::Heads,
                    Name::HeadsStats,
                    Name::Attention,
                    Name::DLn1,
                    Name::DHeads,
                    Name::DQ,
                    Name::DK,
                    Name::DV,
                ]);
                $room::attention::split_heads(dout, dattended, c, 0, shape);
                $room::attention::split_heads(out, attended, c, 0, shape);
                $room::attention::backward(dq, dk, dv, dout, out, stats, q, k, v, shape);
                $room::attention::merge_heads(dqkv, dq, 3 * c, 0, shape);
                $room::attention::merge_heads(dqkv, dk, 3 * c, c, shape);
                $room::attention::merge_heads(dqkv, dv, 3 * c, 2 * c, shape);
            }
            fn cache(&self, layers: usize, slots: usize, heads: Heads, capacity: usize) -> Self::Cache {
                Self::Cache::new(layers, slots, heads, capacity)
            }
            fn attention_cached(
                &self,
                rows: &mut TokenRows<'_>,
                heads: Heads,
                cache: &mut Self::Cache,
                layer: usize,
                slots: &[usize],
            ) {
                let (shape, c) = (rows.shape(heads), rows.width(Name::Attention));
                let positions = &rows.batch.positions[rows.range()];
                let [qkv, out, attended] = rows.get([Name::Qkv, Name::Heads, Name::Attention]);
                $room::attention::decode(out, cache, layer, slots, qkv, positions, shape);
                $room::attention::merge_heads(attended, out, c, 0, shape);
            }

            fn gelu(&self, rows: &mut TokenRows<'_>, y: Name, x: Name, activation: Activation) {
                let [y, x] = rows.get([y, x]);
                $room::gelu::forward(y, x, activation);
            }
            fn gelu_backward(&self, rows: &mut TokenRows<'_>, dy: Name, x: Name, activation: Activation) {
                let [dy, x] = rows.get([dy, x]);
                $room::gelu::backward(dy, x, activation);
            }

            fn residual(
                &self,
                rows: &mut TokenRows<'_>,
                y: Name,
                x: Name,
                branch: Name,
                site: u32,
                dropout: Option<Dropout>,
            ) {
                let addresses = rows.addresses();
                let [y, x, branch] = rows.get([y, x, branch]);
                $room::dropout::add(y, x, branch, addresses, site, dropout);
            }
            fn residual_backward(
                &self,
                rows: &mut TokenRows<'_>,
                dbranch: Name,
                dy: Name,
                site: u32,
                dropout: Option<Dropout>,
            ) {
                let addresses = rows.addresses();
                let [dbranch, dy] = rows.get([dbranch, dy]);
                $room::dropout::backward(dbranch, dy, addresses, site, dropout);
            }

            fn head(&self, vocab_size: usize, width: usize, targets: usize) -> Self::Head {
                Self::Head::new(vocab_size, width, targets)
            }
            fn log_probs(
                &self,
                rows: &mut TokenRows<'_>,
                w: &Self::Weights<'_>,
                at: &Range<usize>,
                targets: &[Target],
                temperature: f32,
                outputs: Outputs,
                gradient: Option<(&[f32], &mut Vec<f32>)>,
                relay: Option<&mut dyn Relayed>,
                work: &mut Self::Head,
            ) {
                let (c, offsets, precision) = (rows.width(Name::Hidden), rows.offsets, w.precision());
                let [hidden, dhidden] = rows.get([Name::Hidden, Name::DHidden]);
                match gradient {
                    None => {
                        let w = w.at(at);
                        $room::log_prob::forward(
                            precision,
                            outputs,
                            hidden,
                            w,
                            c,
                            targets,
                            temperature,
                            work,
                        );
                    }
                    Some((slopes, gradients)) => $room::log_prob::forward_backward(
                        precision,
                        outputs,
                        dhidden,
                        &mut gradients[at.clone()],
                        hidden,
                        w.at(at),
                        c,
                        targets,
                        offsets,
                        temperature,
                        slopes,
                        relay,
                        work,
                    ),
                }
            }
            fn scalars(
                &self,
                rows: &mut TokenRows<'_>,
                w: &Self::Weights<'_>,
                at: &Range<usize>,
                targets: &[Target],
                values: &mut [f32],
            ) {
                let c = rows.width(Name::Hidden);
                let [hidden] = rows.get([Name::Hidden]);
                for (value, target) in values.iter_mut().zip(targets) {
                    let hidden = &hidden[target.row as usize * c..][..c];
                    *value = $room::scalar_head::forward(hidden, w.at(at));
                }
            }
            fn scalars_backward(
                &self,
                rows: &mut TokenRows<'_>,
                w: &Self::Weights<'_>,
                at: &Range<usize>,
                targets: &[Target],
                slopes: &[f32],
                gradients: &mut Vec<f32>,
            ) {
                let c = rows.width(Name::Hidden);
                let [hidden, dhidden] = rows.get([Name::Hidden, Name::DHidden]);
                for (target, &slope) in targets.iter().zip(slopes) {
                    let row = target.row as usize * c..(target.row as usize + 1) * c;
                    let (dhidden, hidden) = (&mut dhidden[row.clone()], &hidden[row]);
                    $room::scalar_head::backward(
                        dhidden,
                        &mut gradients[at.clone()],
                        slope,
                        hidden,
                        w.at(at),
                    );
                }
            }
            fn logits(
                &self,
                rows: &mut TokenRows<'_>,
                w: &Self::Weights<'_>,
                at: &Range<usize>,
                last: &[Target],
                logits: &mut [f32],
            ) {
                let c = rows.width(Name::Hidden);
                let [hidden] = rows.get([Name::Hidden]);
                let mut chosen = vec![0.0; last.len() * c];
                for (target, chosen) in last.iter().zip(chosen.chunks_exact_mut(c)) {
                    chosen.copy_from_slice(&hidden[target.row as usize * c..][..c]);
                }
                $room::linear::logits(logits, &chosen, c, w, at);
            }
            fn next_tokens(
                &self,
                rows: &mut TokenRows<'_>,
                w: &Self::Weights<'_>,
                at: &Range<usize>,
                last: &[Target],
                how: Choosing,
                uniforms: &[f32],
                logits: &mut Vec<f32>,
            ) -> Vec<Choice> {
                let vocab = at.len() / rows.width(Name::Hidden);
                logits.resize(last.len() * vocab, 0.0);
                self.logits(rows, w, at, last, logits);
                sampling::choose_all(logits, vocab, how, uniforms)
            }

            fn gradient_norm(&self, gradients: &Vec<f32>) -> f32 {
                $room::gradient_norm::gradient_norm(gradients)
            }
            fn adamw(
                &self,
                state: AdamState<'_, Vec<f32>>,
                gradients: &Vec<f32>,
                at: &Range<usize>,
                constants: AdamConstants,
            ) {
                let AdamState { parameters, first_moment, second_moment, average } = state;
                $room::adamw::update(
                    &mut parameters[at.clone()],
                    &gradients[at.clone()],
                    &mut first_moment[at.clone()],
                    &mut second_moment[at.clone()],
                    average.map(|average| &mut average[at.clone()]),
                    constants,
                );
            }
        }
    };
}

host_engine!(Cpu, cpu);
host_engine!(Plain, plain);

#[cfg(test)]
mod tests;
