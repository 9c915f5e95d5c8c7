//! Losses on data that was held out.

use super::dataset::Example;
use crate::engine::Engine;
use crate::model::{Network, Sequence};

/// Mean loss per response token of the first `limit` demonstrations, in nats; `None` without any.
pub fn demonstration_loss<E: Engine>(
    network: &mut Network<E>,
    examples: &[Example],
    limit: usize,
) -> Option<f64> {
    let examples: Vec<Sequence> = examples.iter().take(limit).map(Example::continuation).collect();
    network.mean_loss(&examples)
}

/// Mean loss per token over the first `limit` tokens of a text, in nats; `None` for an empty one.
pub fn text_loss<E: Engine>(network: &mut Network<E>, text: &[u32], limit: usize) -> Option<f64> {
    let windows = consecutive(text, network.config.context, limit);
    network.mean_loss(&windows)
}

/// A text cut into consecutive windows of `context` predictions, up to `limit` of them in all.
pub fn consecutive(text: &[u32], context: usize, limit: usize) -> Vec<Sequence<'_>> {
    let text = &text[..text.len().min(limit.saturating_add(1))];
    let starts = (0..text.len().saturating_sub(1)).step_by(context);
    starts.map(|start| Sequence::text(&text[start..text.len().min(start + context + 1)])).collect()
}
