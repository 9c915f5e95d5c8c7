//! Losses on data that was held out.

use super::dataset::Example;
use super::stream::TextStream;
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

/// Mean loss per token over the first `limit` predictions of a text, in nats; `None` where there is nothing to predict.
pub fn text_loss<E: Engine>(network: &mut Network<E>, text: &TextStream, limit: usize) -> Option<f64> {
    let windows = text.windows(network.config.context, limit);
    network.mean_loss(&windows)
}
