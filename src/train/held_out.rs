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

/// Loss on a text.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct TextLoss {
    /// Per token, in nats; `None` where there is nothing to predict.
    pub mean: Option<f64>,
    /// Of each window: its loss in nats, and the number of its predictions. Another model of the same context has the
    /// same windows.
    pub windows: Vec<(f64, usize)>,
}

/// Loss over the first `limit` predictions of a text.
pub fn text_loss<E: Engine>(network: &mut Network<E>, text: &TextStream, limit: usize) -> TextLoss {
    let windows = text.windows(network.config.context, limit);
    let log_probs = network.log_probs(&windows, 1.0);
    let sum = |log_probs: &[f32]| log_probs.iter().fold(0.0, |sum, &log_prob| sum - f64::from(log_prob));
    let mut rest = &log_probs[..];
    let mut of_window = |window: &Sequence| {
        let (own, others) = rest.split_at(window.outputs());
        rest = others;
        (sum(own), own.len())
    };
    let windows = windows.iter().map(&mut of_window).collect();
    let mean = (!log_probs.is_empty()).then(|| sum(&log_probs) / log_probs.len() as f64);
    TextLoss { mean, windows }
}
