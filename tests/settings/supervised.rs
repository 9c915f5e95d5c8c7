//! Sections `pretrain`, `sft`, `rlhf_init` and `reward_model`: each stage against the same updates by hand.

use instructgpt::engine::Dropout;
use instructgpt::model::{Head, Network, Sequence};
use instructgpt::num::rng::Stage as Address;
use instructgpt::run::StageId;
use instructgpt::settings::{Section, Settings};
use instructgpt::train::dataset::{Example, Ranking};
use instructgpt::train::inputs::Inputs;
use instructgpt::train::pretrain::Pretrain;
use instructgpt::train::reward_model::RewardModel;
use instructgpt::train::sft::Sft;

use crate::hand::{Hand, Rule, rate, shuffled, windows};
use crate::{DATA, DIFFERENT, EQUAL, Keys, Seen, distance, drive, network, settings};

/// What training came to.
struct Outcome {
    parameters: Vec<f32>,
    /// Steps (from 1) after which there was a validation, and its losses.
    validations: Vec<(u64, f64)>,
    steps: u64,
}

impl Outcome {
    /// How far from what is expected: of the weights, or of a validation; infinite for other steps.
    fn apart(&self, expected: &Outcome, start: &Network) -> f64 {
        let steps = |outcome: &Outcome| -> Vec<u64> { outcome.validations.iter().map(|v| v.0).collect() };
        if self.steps != expected.steps || steps(self) != steps(expected) {
            return f64::INFINITY;
        }
        let losses = self.validations.iter().zip(&expected.validations);
        let losses = losses.map(|((_, found), (_, expected))| (found / expected - 1.0).abs());
        losses.fold(distance(&self.parameters, &expected.parameters, &start.parameters()), f64::max)
    }
}

/// What a stage was in its steps, and the network that it left.
fn outcome((seen, network): (Vec<Seen>, Network)) -> Outcome {
    let validations = (1..).zip(&seen).filter_map(|(step, s)| Some((step, s.field("validation_loss")?)));
    Outcome {
        parameters: network.parameters().into_owned(),
        validations: validations.collect(),
        steps: seen.len() as u64,
    }
}

/// Trains by hand: `add` adds a step's gradient, `validate` is asked after each step.
fn descend(
    start: Network,
    settings: &Settings,
    section: &dyn Section,
    steps: u64,
    mut add: impl FnMut(&mut Hand, u64),
    mut validate: impl FnMut(&mut Network, u64) -> Option<f64>,
) -> Outcome {
    let s = Keys(section);
    let (rule, mut hand) = (Rule::new(Keys(&settings.adam), s), Hand::new(start));
    let mut validations = Vec::new();
    for step in 0..steps {
        add(&mut hand, step);
        hand.update(rate(s, step, steps), rule, 0.0);
        validations.extend(validate(&mut hand.network, step + 1).map(|loss| (step + 1, loss)));
    }
    Outcome { parameters: hand.network.parameters().into_owned(), validations, steps }
}

fn mean(values: impl IntoIterator<Item = f64>) -> f64 {
    let values: Vec<f64> = values.into_iter().collect();
    values.iter().sum::<f64>() / values.len() as f64
}

fn cross_entropy(network: &mut Network, sequences: &[Sequence]) -> f64 {
    mean(network.log_probs(sequences, 1.0).into_iter().map(|x| -f64::from(x)))
}

/// Loss of the first `limit` held-out demonstrations.
fn demonstration_loss(network: &mut Network, limit: usize) -> f64 {
    let examples = DATA.demonstrations.validation.iter().take(limit);
    cross_entropy(network, &examples.map(continuation).collect::<Vec<_>>())
}

/// The response, given the prompt.
fn continuation(example: &Example) -> Sequence<'_> {
    Sequence { tokens: &example.tokens, from: example.prompt - 1, to: example.tokens.len() - 1 }
}

/// Runs every case through stage and hand; a case's change must show in the hand.
fn check(
    cases: &[&str],
    start: &Network,
    stage: impl Fn(&Settings) -> Outcome,
    hand: impl Fn(&Settings) -> Outcome,
) {
    let (base, expected) = (settings(&[]), hand(&settings(&[])));
    let error = stage(&base).apart(&expected, start);
    assert!(error <= EQUAL, "the base: {error:.1e} off");
    for change in cases {
        let changed = settings(&[change]);
        let other = hand(&changed);
        let error = stage(&changed).apart(&other, start);
        assert!(error <= EQUAL, "{change}: {error:.1e} off");
        let difference = other.apart(&expected, start);
        assert!(difference >= DIFFERENT, "{change} changes too little to be seen: {difference:.1e}");
    }
}

/// The cases of the keys that all supervised stages have.
fn common(section: &str, more: &[&str]) -> Vec<String> {
    let ours =
        ["batch=8", "learning_rate=0.006", "schedule=constant", "final_fraction=0.6", "warmup_steps=0"];
    let ours = ours.iter().chain(&["weight_decay=0.0", "gradient_clip=0.0", "gradient_clip=0.2"]);
    let ours = ours.chain(more).map(|case| format!("{section}.{case}"));
    let shared = ["adam.beta1=0.3", "adam.beta2=0.5", "adam.epsilon=0.05", "adam.style=torch", "seed=4"];
    ours.chain(shared.map(String::from)).collect()
}

#[test]
fn pretraining_follows_the_hand_in_every_setting() {
    let start = network(Head::LanguageModel, 1);
    let stage = |s: &Settings| {
        let stage = Pretrain::new(Inputs::new(s, &DATA), &s.pretrain, start.clone()).unwrap();
        outcome(drive(s, StageId::Pretrain, stage))
    };
    let hand = |settings: &Settings| {
        let s = Keys(&settings.pretrain);
        let (context, steps, every) = (start.config.context, s.count("steps") as u64, s.number("eval_every"));
        let add = |hand: &mut Hand, step| {
            let text = DATA.text.train.tokens();
            let batch = windows(text, context, settings.seed, Address::Pretrain, step, s.count("batch"));
            hand.add_cross_entropy(&batch, 1.0, None);
        };
        // Every `eval_every` steps and at the end: the first `eval_tokens` predictions of the held-out text.
        let validate = |network: &mut Network, step: u64| {
            let due = step == steps || every > 0.0 && step as f64 % every == 0.0;
            let text = &DATA.text.validation.tokens()[..=s.count("eval_tokens")];
            let starts = (0..s.count("eval_tokens")).step_by(context);
            let window = |from: usize| &text[from..text.len().min(from + context + 1)];
            let windows =
                starts.map(|from| Sequence { tokens: window(from), from: 0, to: window(from).len() - 1 });
            due.then(|| cross_entropy(network, &windows.collect::<Vec<_>>()))
        };
        descend(start.clone(), settings, &settings.pretrain, steps, add, validate)
    };
    let cases = common("pretrain", &["steps=5", "eval_every=4", "eval_every=0", "eval_tokens=31"]);
    check(&cases.iter().map(String::as_str).collect::<Vec<_>>(), &start, stage, hand);
}

/// SFT and the RLHF init, which mixes text in.
fn sft(section: &str, id: StageId, address: Address, more: &[&str]) {
    let start = network(Head::LanguageModel, 1);
    let stage = |s: &Settings| {
        let epochs = tempfile::tempdir().unwrap().path().join("epochs");
        let (inputs, start) = (Inputs::new(s, &DATA), start.clone());
        let stage = match id {
            StageId::Sft => Sft::new(id, inputs, s.sft.clone(), 0.0, start, epochs),
            _ => Sft::new(id, inputs, s.rlhf_init.as_sft(), s.rlhf_init.pretrain_fraction, start, epochs),
        };
        outcome(drive(s, id, stage.unwrap()))
    };
    let hand = |settings: &Settings| {
        let (of_sft, of_init) = (&settings.sft, &settings.rlhf_init);
        let section: &dyn Section = if id == StageId::Sft { of_sft } else { of_init };
        let s = Keys(section);
        // The cases are such that this is a whole number.
        let share = if id == StageId::Sft { 0.0 } else { s.number("pretrain_fraction") };
        let texts = (share * s.number("batch")).round() as usize;
        let (examples, batch) = (&DATA.demonstrations.train, s.count("batch") - texts);
        let per_epoch = examples.len().div_ceil(batch) as u64;
        let (context, seed, rate) = (start.config.context, settings.seed, s.number("dropout") as f32);
        let add = |hand: &mut Hand, step| {
            let chosen = shuffled(seed, address, examples.len(), batch, step);
            let mut batch: Vec<Sequence> = chosen.iter().map(|&i| continuation(&examples[i])).collect();
            batch.extend(windows(DATA.text.train.tokens(), context, seed, address, step, texts));
            let dropout = (rate > 0.0).then_some(Dropout { rate, seed, stage: address, step });
            hand.add_cross_entropy(&batch, 1.0, dropout);
        };
        let validate = |network: &mut Network, step: u64| {
            let loss = |network| demonstration_loss(network, s.count("eval_examples"));
            step.is_multiple_of(per_epoch).then(|| loss(network))
        };
        let steps = s.count("epochs") as u64 * per_epoch;
        descend(start.clone(), settings, section, steps, add, validate)
    };
    let cases = common(section, more);
    check(&cases.iter().map(String::as_str).collect::<Vec<_>>(), &start, stage, hand);
}

#[test]
fn sft_follows_the_hand_in_every_setting() {
    let more = ["epochs=3", "dropout=0.0", "dropout=0.4", "eval_examples=4"];
    sft("sft", StageId::Sft, Address::Sft, &more);
}

#[test]
fn the_rlhf_init_follows_the_hand_in_every_setting() {
    let fractions = ["pretrain_fraction=0.0", "pretrain_fraction=0.5", "pretrain_fraction=0.75"];
    let more = [&["epochs=2", "dropout=0.0", "dropout=0.3", "eval_examples=4"][..], &fractions].concat();
    sft("rlhf_init", StageId::RlhfInit, Address::RlhfInit, &more);
}

/// Equation 1 of a prompt's rewards: the mean over its pairs, and its slope in each reward.
fn equation_1(rewards: &[f64], ranks: &[u32]) -> (f64, Vec<f64>) {
    let pairs = || (0..ranks.len()).flat_map(|w| (0..ranks.len()).map(move |l| (w, l)));
    let pairs: Vec<(usize, usize)> = pairs().filter(|&(w, l)| ranks[w] < ranks[l]).collect();
    let (mut loss, mut slopes, share) = (0.0, vec![0.0; ranks.len()], 1.0 / pairs.len() as f64);
    for (winner, loser) in pairs {
        let wrong = 1.0 / (1.0 + (rewards[winner] - rewards[loser]).exp());
        loss -= share * (1.0 - wrong).ln();
        slopes[winner] -= share * wrong;
        slopes[loser] += share * wrong;
    }
    (loss, slopes)
}

fn numbers(values: &[f32]) -> Vec<f64> {
    values.iter().map(|&x| x.into()).collect()
}

fn scores<'a>(network: &mut Network, examples: impl IntoIterator<Item = &'a Example>) -> Vec<f64> {
    let last = |example: &'a Example| {
        let to = example.tokens.len();
        Sequence { tokens: &example.tokens, from: to - 1, to }
    };
    numbers(&network.values(&examples.into_iter().map(last).collect::<Vec<_>>()))
}

#[test]
fn the_reward_model_follows_the_hand_in_every_setting() {
    let start = network(Head::Scalar, 1);
    let stage = |s: &Settings| {
        let stage = RewardModel::new(Inputs::new(s, &DATA), &s.reward_model, start.clone()).unwrap();
        outcome(drive(s, StageId::RewardModel, stage))
    };
    let hand = |settings: &Settings| {
        let s = Keys(&settings.reward_model);
        let every = s.count("eval_every") as u64;
        // All of a prompt's pairs are one element of the mean over prompts; or each of the 16 pairs is one, as the
        // footnote has it, and then a batch of 2 of the 5 prompts is one of 16 / 5 * 2 = 6.4 pairs.
        let (rankings, batch) = match s.is("shuffle_pairs", "true") {
            true => (pairs(&DATA.rankings.train), 6),
            false => (DATA.rankings.train.clone(), s.count("batch")),
        };
        let steps = (s.count("epochs") * rankings.len().div_ceil(batch)) as u64;
        let add = |hand: &mut Hand, step| {
            let chosen = shuffled(settings.seed, Address::RewardModel, rankings.len(), batch, step);
            let chosen: Vec<&Ranking> = chosen.iter().map(|&i| &rankings[i]).collect();
            let (mut sequences, mut groups) = (Vec::new(), vec![0]);
            for example in chosen.iter().flat_map(|ranking| &ranking.responses) {
                let to = example.tokens.len();
                sequences.push(Sequence { tokens: &example.tokens, from: to - 1, to });
            }
            chosen.iter().for_each(|ranking| groups.push(groups[groups.len() - 1] + ranking.ranks.len()));
            hand.add_groups(&sequences, &groups, 1.0, None, |group, rewards, slopes| {
                let (_, of_prompt) = equation_1(&numbers(rewards), &chosen[group].ranks);
                for (slope, of_prompt) in slopes.iter_mut().zip(of_prompt) {
                    *slope = (of_prompt / chosen.len() as f64) as f32;
                }
            });
        };
        let validate = |network: &mut Network, step: u64| {
            let due = step == steps || every > 0 && step.is_multiple_of(every);
            let held_out = DATA.rankings.validation.iter().take(s.count("eval_examples"));
            let mut loss =
                |ranking: &Ranking| equation_1(&scores(network, &ranking.responses), &ranking.ranks).0;
            due.then(|| mean(held_out.map(&mut loss)))
        };
        let mut outcome = descend(start.clone(), settings, &settings.reward_model, steps, add, validate);
        if s.is("center_on_demonstrations", "true") {
            center(&mut outcome.parameters, &start);
        }
        outcome
    };
    let more = ["epochs=3", "eval_every=2", "eval_every=0", "eval_examples=2"];
    let more = [&more[..], &["center_on_demonstrations=false", "shuffle_pairs=true"]].concat();
    let cases = common("reward_model", &more);
    check(&cases.iter().map(String::as_str).collect::<Vec<_>>(), &start, stage, hand);
}

/// Each pair that is no tie as a ranking of two, in the order of the rankings, then of the better one, then of the worse.
fn pairs(rankings: &[Ranking]) -> Vec<Ranking> {
    let mut pairs = Vec::new();
    for Ranking { responses, ranks, .. } in rankings {
        let numbers = || 0..ranks.len();
        for (winner, loser) in numbers().flat_map(|w| numbers().map(move |l| (w, l))) {
            if ranks[winner] < ranks[loser] {
                pairs.push(Ranking::new(
                    vec![responses[winner].clone(), responses[loser].clone()],
                    vec![1, 2],
                ));
            }
        }
    }
    assert_eq!(pairs.len(), 16);
    pairs
}

/// Moves the final bias along the head's weight until demonstrations score 0 on average.
fn center(parameters: &mut [f32], shape: &Network) {
    let mut network = shape.clone();
    network.set_parameters(parameters.to_vec());
    let mean = mean(scores(&mut network, &DATA.demonstrations.train));
    let weight = numbers(&parameters[network.layout.head.clone()]);
    let square: f64 = weight.iter().map(|w| w * w).sum();
    for (bias, w) in parameters[network.layout.ln_f.bias.clone()].iter_mut().zip(weight) {
        *bias -= (mean * w / square) as f32;
    }
}
