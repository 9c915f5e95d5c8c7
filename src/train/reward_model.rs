//! The reward model (paper, section 3.5 and C.2): a scalar head on the SFT model, trained on rankings of K
//! responses, all pairs of a prompt being one batch element (or, to compare, each pair one of its own); then shifted so
//! that demonstrations average 0.

use std::borrow::Cow;

use serde_json::json;

use super::blind_spots::{self, Writer};
use super::ceiling::Ceiling;
use super::dataset::{Example, Ranking, check_lengths};
use super::inputs::{Inputs, schedule};
use super::monitors::{LengthPair, length_baseline};
use super::pairs::{Pair, batch_of_pairs};
use crate::engine::{Cpu, Engine};
use crate::error::{Error, Result};
use crate::loss::reward_loss::{PairAccuracy, pair_accuracy, reward_loss};
use crate::model::{Head, Network, Sequence};
use crate::num::rng::Stage as Address;
use crate::num::statistics::{Clustered, mean, text};
use crate::optim::learner::Learner;
use crate::optim::schedule::Schedule;
use crate::run::{Finished, Saved, Stage, StageState, Step, Watch, estimates, hints};
use crate::settings::RewardModelSettings;

/// The stage.
pub struct RewardModel<'a, E: Engine = Cpu> {
    s: &'a RewardModelSettings,
    inputs: Inputs<'a>,
    learner: Learner<E>,
    schedule: Schedule,
    /// The training pairs, where each is an element of its own (`shuffle_pairs`).
    pairs: Option<Vec<Pair>>,
    /// Elements in a batch: prompts or pairs.
    batch: usize,
    /// Whose answers demonstrations should score above, looked at after training; nobody's in the beginning.
    pub writer: Option<Writer<E>>,
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
        let ranks = training.iter().map(|ranking| &ranking.ranks[..]);
        let pairs = s.shuffle_pairs.then(|| Pair::all(ranks));
        let batch = match &pairs {
            Some(pairs) => batch_of_pairs(s.batch, pairs.len(), training.len()),
            None => s.batch,
        };
        Ok(RewardModel { s, inputs, learner, schedule, pairs, batch, writer: None })
    }

    /// What there is to learn from, each once in an epoch.
    fn elements(&self) -> usize {
        self.pairs.as_ref().map_or(self.inputs.data.rankings.train.len(), Vec::len)
    }

    fn element(&self, number: usize) -> Cow<'a, Ranking> {
        let training = &self.inputs.data.rankings.train;
        match &self.pairs {
            Some(pairs) => Cow::Owned(pairs[number].ranking(training)),
            None => Cow::Borrowed(&training[number]),
        }
    }
}

impl<E: Engine> Stage for RewardModel<'_, E> {
    type Engine = E;

    fn steps(&self) -> u64 {
        self.s.epochs as u64 * self.elements().div_ceil(self.batch) as u64
    }

    fn step(&mut self, step: u64, watch: &mut Watch) -> Result<Step> {
        // 1. Prompts, each with all its responses (or pairs, each with its two).
        let steps = self.steps();
        let chosen = self.inputs.shuffled(Address::RewardModel, self.elements(), self.batch, step);
        let batch: Vec<Cow<Ranking>> = chosen.into_iter().map(|i| self.element(i)).collect();
        let batch: Vec<&Ranking> = batch.iter().map(|ranking| &**ranking).collect();
        let RewardModel { s, inputs, learner, .. } = self;
        let rankings = &inputs.data.rankings;

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
        let accuracy = accuracy.share();
        let mut fields = vec![("loss", loss.into())];
        fields.extend(accuracy.map(|accuracy| ("accuracy", accuracy.into())));
        fields.extend([("learning_rate", learning_rate.into()), ("gradient_norm", norm.into())]);
        if (s.eval_every > 0 && done.is_multiple_of(s.eval_every)) || done == steps {
            let Validation { loss, accuracy, .. } =
                validate(&mut learner.network, &rankings.validation, s.eval_examples);
            if let (Some(loss), Some(accuracy)) = (loss, accuracy.share()) {
                fields.push(("validation_loss", loss.into()));
                fields.push(("validation_accuracy", accuracy.value.into()));
            }
        }
        let line = format!("loss {loss:.3} accuracy {}", text(accuracy, 2));
        Ok(Step { fields, line, tokens: batch.iter().map(|ranking| tokens(ranking)).sum() })
    }

    fn state(&self) -> Option<StageState<'_>> {
        Some(StageState { buffers: self.learner.state("model"), strings: vec![] })
    }

    fn restore(&mut self, saved: &mut Saved) -> Result<()> {
        self.learner.restore("model", saved.step, |name, length| saved.take(name, length))
    }

    fn finish(self) -> Result<Finished<E>> {
        let (steps, data, seed) = (self.steps(), self.inputs.data, self.inputs.seed);
        let mut network = self.learner.network;
        let (training, test) = (&data.rankings.train, &data.rankings.test);
        let Validation { log_loss, accuracy, .. } = validate(&mut network, test, usize::MAX);
        // Demonstrations average 0: the loss does not mind a shift, PPO's value function and its reader do.
        let wanted = self.s.center_on_demonstrations;
        let shift = if wanted { center(&mut network, &data.demonstrations.train) } else { None };
        let baseline = length_baseline(&length_pairs(training), &length_pairs(test)).held_out;
        let shuffled = blind_spots::shuffled(&mut network, &data.demonstrations, seed);
        let written = self
            .writer
            .map_or(vec![], |writer| blind_spots::written(&mut network, &writer, &data.demonstrations, seed));
        let ceiling = data.world.as_ref().map(|world| Ceiling::of(world, seed, &data.tokenizer, test));
        let ceiling = ceiling.unwrap_or_default();
        let [demonstrations, answers] = [|pair: &(f32, f32)| pair.0, |pair: &(f32, f32)| pair.1]
            .map(|score| mean(&written.iter().map(score).collect::<Vec<f32>>()));
        let mut results = json!({ "steps": steps, "rankings": training.len(),
            "test_rankings": test.len(), "test_pairs": accuracy.count(), "shift": shift,
            "demonstrations_above_shuffled": hints::share_above(&shuffled),
            "demonstrations_above_pretrained": hints::share_above(&written),
            "demonstration_reward": demonstrations, "pretrained_reward": answers });
        estimates::put(&mut results, "accuracy", accuracy.share());
        estimates::put(&mut results, "length_baseline", baseline);
        estimates::put(&mut results, "test_log_loss", log_loss.mean());
        estimates::put(&mut results, "ceiling_gold", ceiling.gold.share());
        estimates::put(&mut results, "ceiling_labelers", ceiling.labelers.share());
        let (key, rate, width) = ("reward_model.learning_rate", self.s.learning_rate, network.config.width);
        let nothing = "no demonstrations to center the rewards on (reward_model.center_on_demonstrations)";
        let notes = hints::some([
            hints::slow(key, rate, width, hints::REWARD_MODEL),
            hints::likes_gibberish(&shuffled),
            hints::likes_pretrained(&written),
            (wanted && shift.is_none()).then(|| nothing.to_string()),
        ]);
        Ok(Finished { notes, ..Finished::network(network, results) })
    }
}

/// The same trunk under a fresh scalar head, N(0, 1/sqrt(C+1)). A reward model comes back as it is.
pub fn with_scalar_head<E: Engine>(network: Network<E>, seed: u64) -> Network<E> {
    if network.head == Head::Scalar {
        return network;
    }
    let scalar = Network::random(network.engine(), network.config.clone(), Head::Scalar, seed);
    let mut scalar = scalar.among(network.ranks());
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

/// What a reward model makes of held-out rankings.
struct Validation<'r> {
    /// Mean loss per prompt, in nats: what training lowers.
    loss: Option<f64>,
    /// -ln sigmoid of the margin of every pair, by prompt. Chance is ln 2.
    log_loss: Clustered<&'r [u32]>,
    /// Whether it is right on each pair, by prompt.
    accuracy: Clustered<&'r [u32]>,
}

/// Looks at the first `limit` rankings.
fn validate<'r, E: Engine>(
    network: &mut Network<E>,
    rankings: &'r [Ranking],
    limit: usize,
) -> Validation<'r> {
    let rankings = &rankings[..rankings.len().min(limit)];
    let responses = rankings.iter().flat_map(|ranking| &ranking.responses);
    let rewards = network.scores(responses.map(|response| response.tokens.as_slice()));
    let (mut loss, mut count, mut rest) = (0.0, 0, &rewards[..]);
    let (mut log_loss, mut accuracy) = (Clustered::default(), Clustered::default());
    for ranking in rankings {
        let Ranking { responses, ranks, .. } = ranking;
        let (rewards, others) = rest.split_at(responses.len());
        rest = others;
        let PairAccuracy { correct, pairs } = pair_accuracy(rewards, ranks);
        if let Some(of_prompt) = reward_loss(rewards, ranks, &mut vec![0.0; ranks.len()], 1.0) {
            loss += f64::from(of_prompt);
            count += 1;
            log_loss.add(ranking.prompt(), f64::from(of_prompt) * pairs as f64, pairs as usize);
        }
        accuracy.add(ranking.prompt(), correct, pairs as usize);
    }
    Validation { loss: (count > 0).then(|| loss / count as f64), log_loss, accuracy }
}

/// Shifts the rewards so that these demonstrations average 0; returns the mean before. Without any it does nothing.
///
/// The head has no bias; the final layer norm's has the same effect along the head's weight w:
/// `bias -= mean w / (w . w)` lowers every reward by the mean. So `transformers` needs no extra key.
pub fn center<E: Engine>(network: &mut Network<E>, demonstrations: &[Example]) -> Option<f32> {
    let mean = mean(&network.scores(demonstrations.iter().map(|example| example.tokens.as_slice())))?;
    let mut parameters = network.parameters().into_owned();
    let weight = parameters[network.layout.head.clone()].to_vec();
    let square: f64 = weight.iter().map(|&w| f64::from(w) * f64::from(w)).sum();
    for (bias, &w) in parameters[network.layout.ln_f.bias.clone()].iter_mut().zip(&weight) {
        *bias = (f64::from(*bias) - mean * f64::from(w) / square) as f32;
    }
    network.set_parameters(parameters);
    Some(mean as f32)
}

/// Tokens of all responses, each with the prompt.
fn tokens(ranking: &Ranking) -> usize {
    ranking.responses.iter().map(|response| response.tokens.len()).sum()
}

/// Response lengths of every pair that is not a tie.
fn length_pairs(rankings: &[Ranking]) -> Vec<LengthPair<&[u32]>> {
    let mut pairs = Vec::new();
    for ranking in rankings {
        let Ranking { responses, ranks, .. } = ranking;
        for (i, better) in responses.iter().enumerate() {
            for (j, worse) in responses.iter().enumerate() {
                if ranks[i] < ranks[j] {
                    let (preferred, other) = (better.response().len(), worse.response().len());
                    pairs.push(LengthPair { prompt: ranking.prompt(), preferred, other });
                }
            }
        }
    }
    pairs
}
