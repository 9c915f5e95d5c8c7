//! The reward model (paper, section 3.5 and C.2): a scalar head on the SFT model, trained on rankings of K
//! responses, all pairs of a prompt being one batch element; then shifted so that demonstrations average 0.

use serde_json::json;

use super::dataset::{Dataset, Example, Ranking};
use super::learner::{Learner, Optimizer, schedule};
use super::monitors::length_baseline;
use super::passes::Sequence;
use super::rollout::{Frozen, Rollout};
use crate::checkpoint::Model;
use crate::error::{Error, Result};
use crate::loss::reward_loss::{PairAccuracy, pair_accuracy, reward_loss};
use crate::model::Head;
use crate::num::rng::{Purpose, Rng, Stage};
use crate::num::statistics::wilson;
use crate::run::directory::{Finished, Run};
use crate::world::World;
use crate::world::labelers::LABELERS;

/// Name of the stage, its directory and its metrics.
pub const STAGE: &str = "reward_model";

/// Trains a reward model that starts from `model`'s trunk. `sampler` writes the responses that the
/// miniature's labelers rank; rankings from files need none.
///
/// # Errors
/// [`Error::Usage`] without rankings; [`Error::Numeric`] if the loss or a gradient is not finite; those of
/// [`Run`].
pub fn train(run: &mut Run, data: &Dataset, model: Model, sampler: Option<Model>) -> Result<Finished> {
    let s = &run.settings.reward_model;
    let [training, validation] = rankings(run, data, sampler)?;
    if training.is_empty() && s.epochs > 0 {
        return Err(Error::usage("data.comparisons", "rankings to learn from", "none", ""));
    }
    let model = with_scalar_head(model, run.settings.seed);
    check_lengths(&training, model.config.context)?;
    let optimizer = Optimizer::new(&run.settings.adam, None, s.weight_decay, s.gradient_clip);
    // A prompt's K responses are in memory together.
    let tokens = |ranking: &Ranking| ranking.responses.iter().map(|r| r.tokens.len()).sum();
    let largest = training.iter().map(tokens).max().unwrap_or(0);
    let mut learner = Learner::new(model, optimizer, run.settings.micro_batch_tokens.max(largest), false);
    let schedule = schedule(s.schedule, s.final_fraction, s.warmup_steps, 0.0);
    let steps_per_epoch = training.len().div_ceil(s.batch) as u64;
    let total = s.epochs as u64 * steps_per_epoch;

    let mut clock = run.begin(STAGE, total);
    let mut first = 0;
    if let Some((step, mut state)) = run.resume(STAGE)? {
        learner.restore("model", &mut state, step, &run.origin(STAGE))?;
        first = step;
    }
    for step in first..total {
        // 1. The epoch's next prompts, each with all its responses.
        let (epoch, place) = (step / steps_per_epoch, (step % steps_per_epoch) as usize);
        let order = Rng::at(run.settings.seed, Stage::RewardModel, Purpose::Shuffle, epoch, 0, 0)
            .permutation(training.len());
        let batch: Vec<&Ranking> =
            order[place * s.batch..].iter().take(s.batch).map(|&i| &training[i]).collect();

        // 2. One forward per response; equation 1 over all pairs of a prompt; the mean over prompts.
        let (mut loss, mut accuracy) = (0.0, PairAccuracy::default());
        let weight = 1.0 / batch.len() as f32;
        rank(&mut learner, &batch, |ranking, rewards, d_rewards| {
            loss += f64::from(reward_loss(rewards, &ranking.ranks, d_rewards, weight).unwrap_or(0.0));
            accuracy.add(pair_accuracy(rewards, &ranking.ranks));
        });
        loss /= batch.len() as f64;
        run.check_loss(STAGE, step + 1, &learner.pass, "the loss", loss)?;

        // 3. One update.
        let learning_rate = schedule.learning_rate(s.learning_rate, step, total);
        let norm = learner.update(STAGE, learning_rate, 0.0)?;

        // 4. What happened.
        let done = step + 1;
        clock.count(batch.iter().map(|ranking| tokens(ranking)).sum());
        let mut fields = vec![
            ("loss", loss.into()),
            ("accuracy", accuracy.share().unwrap_or(f64::NAN).into()),
            ("learning_rate", learning_rate.into()),
            ("gradient_norm", norm.into()),
        ];
        if (s.eval_every > 0 && done.is_multiple_of(s.eval_every)) || done == total {
            let (loss, accuracy) = validate(&mut learner, &validation, s.eval_examples);
            if let (Some(loss), Some(accuracy)) = (loss, accuracy.share()) {
                fields.push(("validation_loss", loss.into()));
                fields.push(("validation_accuracy", accuracy.into()));
            }
        }
        run.record(STAGE, done, &fields)?;
        run.progress.step(done, &format!("loss {loss:.3} accuracy {:.2}", accuracy.share().unwrap_or(0.5)));
        run.after_step(STAGE, done, total, &[], || {
            let mut buffers = Vec::new();
            learner.buffers("model", &mut buffers);
            buffers
        })?;
    }

    // Demonstrations average 0: the loss does not mind a shift, PPO's value function and its reader do.
    let (_, accuracy) = validate(&mut learner, &validation, usize::MAX);
    let mut model = learner.to_model();
    let shift = if s.center_on_demonstrations && !data.demonstrations.train.is_empty() {
        center(&mut model, &data.demonstrations.train, run.settings.micro_batch_tokens)
    } else {
        0.0
    };
    let baseline = length_baseline(&length_pairs(&training), &length_pairs(&validation));
    let interval = wilson(accuracy.correct, accuracy.pairs as usize);
    let results = json!({ "steps": total, "rankings": training.len(), "validation_rankings": validation.len(),
            "validation_pairs": accuracy.pairs,
            "accuracy": interval.value, "accuracy_low": interval.low, "accuracy_high": interval.high,
            "length_baseline": baseline.validation.value, "length_baseline_low": baseline.validation.low,
            "length_baseline_high": baseline.validation.high, "shift": shift });
    Ok(Finished { model, stage: STAGE.into(), clock, results })
}

/// The same trunk under a fresh scalar head, N(0, 1/sqrt(C+1)). A reward model comes back as it is.
pub fn with_scalar_head(model: Model, seed: u64) -> Model {
    if model.head == Head::Scalar {
        return model;
    }
    let mut scalar = Model::random(model.config, Head::Scalar, seed);
    for row in &scalar.layout.parameters {
        if let Some(from) = model.layout.get(&row.name) {
            scalar.parameters[row.range()].copy_from_slice(&model.parameters[from.range()]);
        }
    }
    scalar
}

/// Forward and backward of one batch of rankings; `slopes(ranking, rewards, d_rewards)` for each.
pub fn rank(learner: &mut Learner, batch: &[&Ranking], mut slopes: impl FnMut(&Ranking, &[f32], &mut [f32])) {
    let mut sequences = Vec::new();
    let mut groups = Vec::with_capacity(batch.len());
    for ranking in batch {
        let first = sequences.len();
        sequences.extend(ranking.responses.iter().map(last_token));
        groups.push(first..sequences.len());
    }
    let last = |s: &Sequence| s.from..s.tokens.len();
    learner.values_gradient(&groups, &sequences, last, |piece, rewards, d_rewards| {
        let mut at = 0;
        for ranking in &batch[piece] {
            let k = at..at + ranking.responses.len();
            slopes(ranking, &rewards[k.clone()], &mut d_rewards[k.clone()]);
            at = k.end;
        }
    });
}

fn last_token(example: &Example) -> Sequence<'_> {
    Sequence { tokens: &example.tokens, from: example.tokens.len() - 1 }
}

/// Mean loss per prompt and pair accuracy on the first `limit` rankings.
fn validate(learner: &mut Learner, rankings: &[Ranking], limit: usize) -> (Option<f64>, PairAccuracy) {
    let rankings = &rankings[..rankings.len().min(limit)];
    let sequences: Vec<Sequence> = rankings.iter().flat_map(|r| r.responses.iter().map(last_token)).collect();
    let mut rewards = Vec::with_capacity(sequences.len());
    let last = |s: &Sequence| s.from..s.tokens.len();
    learner
        .pass
        .values(&learner.model, &learner.parameters, &sequences, last, |_, reward| rewards.push(reward));
    let (mut loss, mut count, mut accuracy, mut at) = (0.0, 0, PairAccuracy::default(), 0);
    for ranking in rankings {
        let k = ranking.responses.len();
        let rewards = &rewards[at..at + k];
        at += k;
        if let Some(one) = reward_loss(rewards, &ranking.ranks, &mut vec![0.0; k], 1.0) {
            loss += f64::from(one);
            count += 1;
        }
        accuracy.add(pair_accuracy(rewards, &ranking.ranks));
    }
    ((count > 0).then(|| loss / count as f64), accuracy)
}

/// Shifts the rewards so that these demonstrations average 0; returns the mean before.
///
/// The head has no bias; the final layer norm's has the same effect along the head's weight w:
/// `bias -= mean w / (w . w)` lowers every reward by the mean. So `transformers` needs no extra key.
pub fn center(model: &mut Model, demonstrations: &[Example], micro_batch_tokens: usize) -> f32 {
    let mut frozen = Frozen::new(model.clone(), micro_batch_tokens);
    let scores = frozen.scores(demonstrations.iter().map(|example| example.tokens.as_slice()));
    let mean = scores.iter().map(|&score| f64::from(score)).sum::<f64>() / scores.len() as f64;
    let weight = model.parameters[model.layout.head.clone()].to_vec();
    let square: f64 = weight.iter().map(|&w| f64::from(w) * f64::from(w)).sum();
    for (bias, &w) in model.parameters[model.layout.ln_f_bias.clone()].iter_mut().zip(&weight) {
        *bias = (f64::from(*bias) - mean * f64::from(w) / square) as f32;
    }
    mean as f32
}

/// Training and validation rankings: from the files, or responses of `sampler` ranked by the miniature's
/// labelers, one labeler for each prompt.
fn rankings(run: &mut Run, data: &Dataset, sampler: Option<Model>) -> Result<[Vec<Ranking>; 2]> {
    let (Some(world), Some(sampler)) = (&data.world, sampler) else {
        return Ok([data.rankings.train.clone(), data.rankings.validation.clone()]);
    };
    let sampler = Frozen::new(sampler, 0);
    let prompts = &data.ranking_prompts;
    Ok([
        sampled_rankings(run, data, world, &sampler, &prompts.train, 0)?,
        sampled_rankings(run, data, world, &sampler, &prompts.validation, 1)?,
    ])
}

/// Rankings of responses to the prompts of one set, without those in which all are tied.
fn sampled_rankings(
    run: &mut Run,
    data: &Dataset,
    world: &World,
    sampler: &Frozen,
    prompts: &[Vec<u32>],
    set: u64,
) -> Result<Vec<Ranking>> {
    let s = &run.settings.reward_model;
    let seed = run.settings.seed;
    run.progress.stage("rankings", prompts.len() as u64);
    // K responses for each ranking, K uniform from the least to the most; some of them are written.
    let written = |k: usize| (k as f32 * s.written_share).round() as usize;
    let counts: Vec<usize> = (0..prompts.len() as u64)
        .map(|i| {
            let mut rng = Rng::at(seed, Stage::RewardModel, Purpose::Labeler, set, i, 0);
            s.min_candidates + rng.below(s.max_candidates - s.min_candidates + 1)
        })
        .collect();
    let asked: Vec<&[u32]> = prompts
        .iter()
        .zip(&counts)
        .flat_map(|(prompt, &k)| std::iter::repeat_n(prompt.as_slice(), k - written(k)))
        .collect();
    let how = Rollout {
        temperature: s.candidate_temperature,
        max_response_tokens: run.settings.data.max_response_tokens,
        end_of_text: data.tokenizer.end_of_text(),
        seed,
        stage: Stage::RewardModel,
        step: set,
    };
    let mut responses = run.respond(sampler, &asked, &how)?.into_iter();
    let mut rankings = Vec::with_capacity(prompts.len());
    let mut tied = 0;
    for (i, (prompt, &k)) in prompts.iter().zip(&counts).enumerate() {
        let asked = data.tokenizer.decode_lossy(prompt);
        let mut responses: Vec<Vec<u32>> =
            responses.by_ref().take(k - written(k)).map(|response| response.tokens).collect();
        let mut rng = Rng::at(seed, Stage::RewardModel, Purpose::Text, set, i as u64, 0);
        for text in world.candidate_responses(&asked, written(k), &mut rng).unwrap_or_default() {
            let mut tokens = data.tokenizer.encode(&text);
            tokens.push(data.tokenizer.end_of_text());
            tokens.truncate(how.max_response_tokens);
            responses.push(tokens);
        }
        let texts: Vec<String> = responses
            .iter()
            .map(|tokens| data.tokenizer.decode_lossy(strip(tokens, data.tokenizer.end_of_text())))
            .collect();
        let labeler = LABELERS
            [Rng::at(seed, Stage::RewardModel, Purpose::Labeler, set, i as u64, 1).below(LABELERS.len())];
        let ranks = world.rank(&asked, &texts, &labeler, seed);
        if ranks.iter().all(|rank| *rank == ranks[0]) {
            tied += 1;
            continue;
        }
        let examples = responses
            .into_iter()
            .map(|response| Example { tokens: [prompt.as_slice(), &response].concat(), prompt: prompt.len() })
            .collect();
        rankings.push(Ranking::new(examples, ranks));
    }
    run.progress.finish();
    if tied > 0 {
        run.progress.note(&format!("{tied} rankings left out: all responses tied"));
    }
    Ok(rankings)
}

/// A response without its end-of-text token.
pub fn strip(response: &[u32], end_of_text: u32) -> &[u32] {
    response.strip_suffix(&[end_of_text]).unwrap_or(response)
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

fn check_lengths(rankings: &[Ranking], context: usize) -> Result<()> {
    let longest = rankings.iter().flat_map(|r| &r.responses).map(|r| r.tokens.len()).max().unwrap_or(0);
    if longest > context {
        return Err(Error::usage(
            "data.max_response_tokens",
            format!("prompt and response of at most {context} tokens, the reward model's context"),
            longest,
            "lower data.max_prompt_tokens or data.max_response_tokens: longer ones are then left out",
        ));
    }
    Ok(())
}
