//! The memory of a pass, planned once from the [table of activations](crate::engine::activations): after that a step
//! allocates nothing.

use alloc::borrow::ToOwned;
use alloc::format;
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;

use super::config::ModelConfig;
use crate::engine::activations::{COUNT, Kept, NAMES, Name, TABLE, Widths};
use crate::engine::{Batch, Engine};

fn widths(config: &ModelConfig) -> [usize; COUNT] {
    let shape = Widths { width: config.width, inner: config.inner, heads: config.heads };
    TABLE.map(|buffer| (buffer.width)(shape))
}

/// How often a buffer is kept, and its rows.
fn copies_and_rows(name: Name, layers: usize, max_tokens: usize, training: bool) -> (usize, usize) {
    match (name, TABLE[name as usize].kept) {
        (Name::X, _) => (layers + 1, max_tokens),
        // The next layer's X.
        (Name::XOut, _) => (0, 0),
        (_, Kept::Layer) => (layers, max_tokens),
        (_, Kept::Pass) => (1, max_tokens),
        (_, Kept::Backward) => (1, if training { max_tokens } else { 0 }),
    }
}

/// Numbers that [`Activations::new`] takes memory for.
pub fn activation_floats(config: &ModelConfig, max_tokens: usize, training: bool) -> u128 {
    let (layers, widths) = (if training { config.layers } else { 1 }, widths(config));
    let floats = |name: Name| {
        let (copies, rows) = copies_and_rows(name, layers, max_tokens, training);
        copies as u128 * rows as u128 * widths[name as usize] as u128
    };
    NAMES.into_iter().map(floats).sum()
}

/// The activations of a trunk for up to a planned number of token rows.
pub struct Activations<E: Engine> {
    engine: E,
    /// Rows there is room for.
    pub max_tokens: usize,
    /// Whether a backward can follow.
    pub training: bool,
    /// Layers whose activations are kept: all for training, one for inference.
    layers: usize,
    /// Floats per row of each buffer.
    widths: [usize; COUNT],
    /// Each buffer as many times as it is kept. Of the residual stream there is one more, as what leaves a layer
    /// enters the next; inference takes its two by turns.
    memory: [Vec<E::Buffer>; COUNT],
}

impl<E: Engine> Activations<E> {
    /// Plans passes of up to `max_tokens` rows, with or without a backward.
    pub fn new(engine: E, config: &ModelConfig, max_tokens: usize, training: bool) -> Self {
        let layers = if training { config.layers } else { 1 };
        let widths = widths(config);
        let memory = NAMES.map(|name| {
            let (copies, numbers) = copies_and_rows(name, layers, max_tokens, training);
            (0..copies).map(|_| engine.buffer(vec![0.0; numbers * widths[name as usize]])).collect()
        });
        Activations { engine, max_tokens, training, layers, widths, memory }
    }

    /// Numbers in all buffers.
    #[cfg(test)]
    pub(super) fn floats(&self) -> usize {
        let buffers = self.memory.iter().flatten();
        buffers.map(|buffer| self.engine.values(buffer).len()).sum()
    }

    /// The rows of `batch` as `layer` sees them. Layer L, which does not exist, has what leaves the last as its X.
    pub fn rows<'a>(&'a mut self, batch: &'a Batch, layer: usize) -> E::Rows<'a> {
        let entries = self.layers + 1;
        let mut x_out = None;
        let mut names = NAMES.iter();
        let views = self.memory.each_mut().map(|copies| match names.next().expect("a name for each") {
            Name::X => {
                let [x, out] = copies
                    .get_disjoint_mut([layer % entries, (layer + 1) % entries])
                    .expect("two entries at least");
                x_out = Some(out);
                Some(x)
            }
            Name::XOut => None,
            _ if copies.len() == 1 => copies.first_mut(),
            _ => copies.get_mut(layer % self.layers),
        });
        let views = views.map(|view| view.or_else(|| x_out.take()).expect("only XOut has none of its own"));
        self.engine.rows(batch, views, self.widths)
    }

    /// Where a forward pass over `batch` first left the numbers: the layer whose output it was, and what was found.
    /// A pass for inference overwrites its layers, so there only the last tells.
    pub fn first_non_finite(&mut self, batch: &Batch) -> Option<(String, f32)> {
        let engine = self.engine;
        let (layers, training) = (self.layers, self.training);
        let mut find = |layer: usize, name: Name| {
            let values = engine.values_in_rows(&mut self.rows(batch, layer), name);
            values.into_iter().find(|x| !x.is_finite())
        };
        if training {
            if let Some(found) = find(0, Name::X) {
                return Some(("the embedding".to_owned(), found));
            }
            for layer in 0..layers {
                for name in NAMES.into_iter().filter(|name| !TABLE[*name as usize].layer.is_empty()) {
                    if let Some(found) = find(layer, name) {
                        return Some((format!("h.{layer}.{}", TABLE[name as usize].layer), found));
                    }
                }
            }
        }
        find(layers, Name::Hidden).map(|found| ("ln_f".to_owned(), found))
    }
}
