//! The reward model (paper, section 3.5 and C.2): a scalar head on the SFT model, trained on rankings of K
//! responses, all pairs of a prompt being one batch element; then shifted so that demonstrations average 0.

use serde_json::json;

use super::dataset::{Example, Ranking, check_lengths};
use super::inputs::{Inputs, schedule};
use super::monitors::length_baseline;
use crate::engine::{Cpu, Engine};
use crate::error::{Error, Result};
use crate::loss::reward_loss::{PairAccuracy, pair_accuracy, reward_loss};
use crate::model::{Head, Network, Sequence};
use crate::num::rng::Stage as Address;
use crate::num::statistics::{mean, wilson};
use crate::optim::learner::Learner;
use crate::optim::schedule::Schedule;
use crate::run::{Finished, Saved, Stage, StageState, Step, Watch};
use crate::settings::RewardModelSettings;

/// The stage.
pub struct RewardModel<'a, E: Engine = Cpu> {
    s: &'a RewardModelSettings,
    inputs: Inputs<'a>,
    learner: Learner<E>,
    schedule: Schedule,
}

impl<'a, E: Engine> RewardModel<'a, E> {
    /// Trains a reward model that starts from `network`'s trunk.
    ///
    /// # Errors
    /// [`Error::Usage`] without rankings, or if a response is too long for the network.
    pub fn new(inputs: Inputs<'a>, s: &'a RewardModelSettings, network: Network<E>) -> Result<Self> {
        let training = &inputs.data.rankings.train;
        if training.is_empty() && s.epochs > 0 {
            return Err(Error::usage("data.comparisons", "rankings to learn from", "none", ""));
        }
        check_lengths(training.iter().flat_map(|ranking| &ranking.responses), network.config.context)?;
        // A prompt's K responses are in memory together.
        let largest = training.iter().map(tokens).max().unwrap_or(0);
        let together = Inputs { micro_batch_tokens: inputs.micro_batch_tokens.max(largest), ..inputs };
        let mut network = with_scalar_head(network, inputs.seed);
        // It learns its score at the last token, whichever that is, and is read there from now on.
        network.config.pad_token = None;
        let learner = together.learner(network, inputs.optimizer(None, s.weight_decay, s.gradient_clip));
        let schedule = schedule(s.schedule, s.final_fraction, s.warmup_steps);
        Ok(RewardModel { s, inputs, learner, schedule })
    }
}

impl<E: Engine> Stage for RewardModel<'_, E> {
    type Engine = E;

    fn steps(&self) -> u64 {
        self.s.epochs as u64 * self.inputs.data.rankings.train.len().div_ceil(self.s.batch) as u64
    }

    fn step(&mut self, step: u64, watch: &mut Watch) -> Result<Step> {
        // 1. Prompts, each with all its responses.
        let steps = self.steps();
        let RewardModel { s, inputs, learner, .. } = self;
        let rankings = &inputs.data.rankings;
        let chosen = inputs.shuffled(Address::RewardModel, rankings.train.len(), s.batch, step);
        let batch: Vec<&Ranking> = chosen.into_iter().map(|i| &rankings.train[i]).collect();

        // 2. One forward per response; equation 1 over all pairs of a prompt; the mean over prompts.
        let (mut loss, mut accuracy) = (0.0, PairAccuracy::default());
        let weight = 1.0 / batch.len() as f32;
        rank(learner, &batch, |ranking, rewards, drewards| {
            loss += f64::from(reward_loss(rewards, &ranking.ranks, drewards, weight).unwrap_or(0.0));
            accuracy.add(pair_accuracy(rewards, &ranking.ranks));
        });
        loss /= batch.len() as f64;
        watch.loss("the loss", &learner.network, loss)?;

        // 3. One update.
        let learning_rate = self.schedule.learning_rate(s.learning_rate, step, steps);
        let norm = watch.update(learner.update(learning_rate, 0.0), "")?;

        // 4. What happened.
        let done = step + 1;
        let mut fields = vec![
            ("loss", loss.into()),
            ("accuracy", accuracy.share().unwrap_or(f64::NAN).into()),
            ("learning_rate", learning_rate.into()),
            ("gradient_norm", norm.into()),
        ];
        if (s.eval_every > 0 && done.is_multiple_of(s.eval_every)) || done == steps {
            let (loss, accuracy) = validate(&mut learner.network, &rankings.validation, s.eval_examples);
            if let (Some(loss), Some(accuracy)) = (loss, accuracy.share()) {
                fields.push(("validation_loss", loss.into()));
                fields.push(("validation_accuracy", accuracy.into()));
            }
        }
        let line = format!("loss {loss:.3} accuracy {:.2}", accuracy.share().unwrap_or(0.5));
        Ok(Step { fields, line, tokens: batch.iter().map(|ranking| tokens(ranking)).sum() })
    }

    fn state(&self) -> Option<StageState<'_>> {
        Some(StageState { buffers: self.learner.state("model"), strings: vec![] })
    }

    fn restore(&mut self, saved: &mut Saved) -> Result<()> {
        self.learner.restore("model", saved.step, |name, length| saved.take(name, length))
    }

    fn finish(self) -> Result<Finished<E>> {
        let (steps, data) = (self.steps(), self.inputs.data);
        let mut network = self.learner.network;
        let (training, validation) = (&data.rankings.train, &data.rankings.validation);
        let (_, accuracy) = validate(&mut network, validation, usize::MAX);
        // Demonstrations average 0: the loss does not mind a shift, PPO's value function and its reader do.
        let demonstrations = &data.demonstrations.train;
        let shift = if self.s.center_on_demonstrations && !demonstrations.is_empty() {
            center(&mut network, demonstrations)
        } else {
            0.0
        };
        let baseline = length_baseline(&length_pairs(training), &length_pairs(validation)).validation;
        let interval = wilson(accuracy.correct, accuracy.pairs as usize);
        let results = json!({ "steps": steps, "rankings": training.len(),
            "validation_rankings": validation.len(), "validation_pairs": accuracy.pairs,
            "accuracy": interval.value, "accuracy_low": interval.low, "accuracy_high": interval.high,
            "length_baseline": baseline.value, "length_baseline_low": baseline.low,
            "length_baseline_high": baseline.high, "shift": shift });
        Ok(Finished::network(network, results))
    }
}

/// The same trunk under a fresh scalar head, N(0, 1/sqrt(C+1)). A reward model comes back as it is.
pub fn with_scalar_head<E: Engine>(network: Network<E>, seed: u64) -> Network<E> {
    if network.head == Head::Scalar {
        return network;
    }
    let mut scalar = Network::random(network.engine(), network.config.clone(), Head::Scalar, seed);
    let mut parameters = scalar.parameters().into_owned();
    let trunk = network.parameters();
    for row in &scalar.layout.parameters {
        if let Some(from) = network.layout.get(&row.name) {
            parameters[row.range()].copy_from_slice(&trunk[from.range()]);
        }
    }
    scalar.set_parameters(parameters);
    scalar
}

/// Adds the gradient of one batch of rankings; `slopes(ranking, rewards, drewards)` for each.
pub fn rank<E: Engine>(
    learner: &mut Learner<E>,
    batch: &[&Ranking],
    mut slopes: impl FnMut(&Ranking, &[f32], &mut [f32]),
) {
    let (mut sequences, mut groups) = (Vec::new(), vec![0]);
    for ranking in batch {
        sequences.extend(ranking.responses.iter().map(|response| Sequence::last(&response.tokens)));
        groups.push(sequences.len());
    }
    let mut loss =
        |group: usize, rewards: &[f32], drewards: &mut [f32]| slopes(batch[group], rewards, drewards);
    learner.accumulate(&sequences, &groups, 1.0, None, &mut loss);
}

/// Mean loss per prompt and pair accuracy on the first `limit` rankings.
fn validate<E: Engine>(
    network: &mut Network<E>,
    rankings: &[Ranking],
    limit: usize,
) -> (Option<f64>, PairAccuracy) {
    let rankings = &rankings[..rankings.len().min(limit)];
    let responses = rankings.iter().flat_map(|ranking| &ranking.responses);
    let rewards = network.scores(responses.map(|response| response.tokens.as_slice()));
    let (mut loss, mut count, mut accuracy, mut rest) = (0.0, 0, PairAccuracy::default(), &rewards[..]);
    for Ranking { responses, ranks } in rankings {
        let (rewards, others) = rest.split_at(responses.len());
        rest = others;
        if let Some(of_prompt) = reward_loss(rewards, ranks, &mut vec![0.0; ranks.len()], 1.0) {
            loss += f64::from(of_prompt);
            count += 1;
        }
        accuracy.add(pair_accuracy(rewards, ranks));
    }
    ((count > 0).then(|| loss / count as f64), accuracy)
}

/// Shifts the rewards so that these demonstrations average 0; returns the mean before.
///
/// The head has no bias; the final layer norm's has the same effect along the head's weight w:
/// `bias -= mean w / (w . w)` lowers every reward by the mean. So `transformers` needs no extra key.
pub fn center<E: Engine>(network: &mut Network<E>, demonstrations: &[Example]) -> f32 {
    let mean = mean(&network.scores(demonstrations.iter().map(|example| example.tokens.as_slice())));
    let mut parameters = network.parameters().into_owned();
    let weight = parameters[network.layout.head.clone()].to_vec();
    let square: f64 = weight.iter().map(|&w| f64::from(w) * f64::from(w)).sum();
    for (bias, &w) in parameters[network.layout.ln_f.bias.clone()].iter_mut().zip(&weight) {
        *bias = (f64::from(*bias) - mean * f64::from(w) / square) as f32;
    }
    network.set_parameters(parameters);
    mean as f32
}

/// Tokens of all responses, each with the prompt.
fn tokens(ranking: &Ranking) -> usize {
    ranking.responses.iter().map(|response| response.tokens.len()).sum()
}

/// Response lengths (better, worse) of every pair that is not a tie.
fn length_pairs(rankings: &[Ranking]) -> Vec<(usize, usize)> {
    let mut pairs = Vec::new();
    for Ranking { responses, ranks } in rankings {
        for (i, better) in responses.iter().enumerate() {
            for (j, worse) in responses.iter().enumerate() {
                if ranks[i] < ranks[j] {
                    pairs.push((better.response().len(), worse.response().len()));
                }
            }
        }
    }
    pairs
}
