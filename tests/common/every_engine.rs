//! What every engine must give the fast one's bits in: passes, gradients, optimizer steps and decoding, of whole networks.

#[path = "accumulation.rs"]
mod accumulation;
#[path = "networks.rs"]
mod networks;

use std::ops::Range;

use accumulation::Accumulation;
use instructgpt::engine::{Cpu, Dropout, Engine};
use instructgpt::loss::reward_loss::reward_loss;
use instructgpt::loss::{CrossEntropy, PolicySums, ValueSums, policy_loss, value_loss};
use instructgpt::model::{
    Decoder, Draw, Head, ModelConfig, Network, Response, Sampling, Sequence, generate, generate_one, singly,
};
use instructgpt::num::rng::{Purpose, Rng, Stage};
use instructgpt::optim::{AdamW, Learner, Optimizer};
use networks::{bits, configurations, network, sequences};

const LENGTHS: [usize; 6] = [9, 1, 23, 40, 17, 2];

/// What is compared, by name.
type Bits = Vec<(&'static str, Vec<u32>)>;

fn assert_same(found: Bits, expected: Bits, what: &str) {
    assert_eq!(found.len(), expected.len());
    for ((name, found), (_, expected)) in found.into_iter().zip(expected) {
        assert_eq!(found.len(), expected.len(), "{what}: {name}");
        let differing = found.iter().zip(&expected).filter(|(a, b)| a != b).count();
        assert_eq!(differing, 0, "{what}: {name}, of {} numbers", found.len());
    }
}

/// Outputs and gradients of both heads, with dropout and a temperature, in one micro-batch or several.
pub fn gradients<E: Engine>(engine: E) {
    for config in configurations() {
        let what = format!("{config:?}");
        assert_same(passes(engine, &config, 0), passes(Cpu, &config, 100), &what);
    }
}

fn passes<E: Engine>(engine: E, config: &ModelConfig, tokens: usize) -> Bits {
    let sequences = sequences(config, &LENGTHS);
    let texts: Vec<Sequence> = sequences.iter().map(|tokens| Sequence::text(tokens)).collect();
    let dropout = Some(Dropout { rate: 0.2, seed: 3, stage: Stage::Test, step: 9 });
    // Slopes that are known before the outputs, and slopes that depend on them.
    let mut language = network(engine, config, Head::LanguageModel);
    language.plan(tokens, true);
    let hidden = language.hidden_states(&[&sequences[2]]);
    let (log_probs, entropies) = language.log_probs_and_entropies(&texts, 0.7);
    let mut accumulation = Accumulation::new(&mut language);
    accumulation.add(&texts, &singly(texts.len()), 1.0, dropout, &mut CrossEntropy::of(&texts, 1.0));
    accumulation.add(&texts, &singly(texts.len()), 0.7, dropout, &mut squares);
    let (of_language, d_language) = accumulation.finish();

    let mut scalar = network(engine, config, Head::Scalar);
    scalar.plan(tokens, true);
    let values = scalar.values(&texts);
    let mut accumulation = Accumulation::new(&mut scalar);
    accumulation.add(&texts, &singly(texts.len()), 1.0, dropout, &mut squares);
    let (of_scalar, d_scalar) = accumulation.finish();
    vec![
        ("hidden states", bits(&hidden)),
        ("log-probs", bits(&log_probs)),
        ("entropies", bits(&entropies)),
        ("values", bits(&values)),
        ("log-probs under dropout", bits(&of_language)),
        ("values under dropout", bits(&of_scalar)),
        ("the language model's gradient", bits(&d_language)),
        ("the scalar model's gradient", bits(&d_scalar)),
    ]
}

/// The gradient of the mean log-prob of some sequences.
#[allow(dead_code, reason = "only the CUDA tests have inexact precisions")]
pub fn gradient<E: Engine>(engine: E, config: &ModelConfig) -> Vec<f32> {
    let sequences = sequences(config, &LENGTHS);
    let texts: Vec<Sequence> = sequences.iter().map(|tokens| Sequence::text(tokens)).collect();
    let mut network = network(engine, config, Head::LanguageModel);
    network.plan(100, true);
    let mut accumulation = Accumulation::new(&mut network);
    accumulation.add(&texts, &singly(texts.len()), 1.0, None, &mut CrossEntropy::of(&texts, 1.0));
    accumulation.finish().1
}

/// Half of the sum of squares, as a loss.
fn squares(_: usize, outputs: &[f32], slopes: &mut [f32]) {
    slopes.copy_from_slice(outputs);
}

/// Sampled tokens, their log-probs and entropies; logits with weights as they lie and packed.
pub fn decoding<E: Engine>(engine: E) {
    for config in configurations() {
        assert_same(decoded(engine, &config), decoded(Cpu, &config), &format!("{config:?}"));
    }
}

fn decoded<E: Engine>(engine: E, config: &ModelConfig) -> Bits {
    let network = network(engine, config, Head::LanguageModel);
    let prompts = sequences(config, &[5, 1, 12, 30]);
    let prompts: Vec<&[u32]> = prompts.iter().map(Vec::as_slice).collect();
    let sampling =
        Sampling { temperature: 0.9, top_k: 20, top_p: 0.95, max_new_tokens: 12, end_of_text: Some(3) };
    let draw = |episode| Draw { seed: 1, stage: Stage::Test, step: 2, episode };
    let mut responses = generate(&network, &prompts, &sampling, &[0, 1, 2, 3].map(draw), &|_| true);
    responses.push(generate_one(&network, prompts[2], &sampling, draw(7), |_| true));
    let (as_they_lie, packed) = (network.weights(), network.packed_weights());
    let mut decoder = Decoder::new(&network, &as_they_lie, 2, config.context);
    let mut logits = decoder.extend(&[(0, prompts[0]), (1, prompts[3])]).to_vec();
    decoder.go_on_with(&packed);
    logits.extend_from_slice(decoder.extend(&[(0, &[7]), (1, &[8])]));
    let all =
        |part: fn(&Response) -> &[f32]| responses.iter().flat_map(|response| bits(part(response))).collect();
    vec![
        ("tokens", responses.iter().flat_map(|response| response.tokens.clone()).collect()),
        ("log-probs", all(|response| &response.log_probs)),
        ("entropies", all(|response| &response.entropies)),
        ("logits", bits(&logits)),
    ]
}

/// The first steps of every kind, in the shape of `configs/tiny.toml`: three of pretraining, one of the reward
/// model, one of policy and value function on responses that were sampled, and what is sampled after it.
pub fn first_steps_of_the_tiny_run<E: Engine>(engine: E) {
    assert_same(first_steps(engine), first_steps(Cpu), "the tiny run");
}

fn first_steps<E: Engine>(engine: E) -> Bits {
    let config = ModelConfig::gpt2(512, 96, 32, 2, 2);
    let learner = |network: Network<E>, average| {
        let optimizer = Optimizer { adam: AdamW::default(), gradient_clip: 1.0 };
        Learner::new(network, optimizer, 1024, average)
    };
    let mut seen = vec![];
    let mut keep = |name, bits: Vec<u32>| seen.push((name, bits));

    // Pretraining, from the initialisation.
    let mut policy = learner(Network::random(engine, config.clone(), Head::LanguageModel, 1), true);
    for texts in sequences(&config, &[96; 12]).chunks(4) {
        let batch: Vec<Sequence> = texts.iter().map(|tokens| Sequence::text(tokens)).collect();
        let mut loss = CrossEntropy::of(&batch, 1.0);
        policy.accumulate(&batch, &singly(4), 1.0, None, &mut loss);
        let norm = policy.update(3e-3, 0.992).unwrap();
        keep("loss and norm of pretraining", bits(&[loss.mean() as f32, norm]));
    }
    keep("pretrained", bits(&policy.network.parameters()));
    keep("average", bits(&policy.averaged().parameters()));

    // The reward model: two prompts of four responses each, ties among them.
    let mut reward_model = learner(Network::random(engine, config.clone(), Head::Scalar, 2), false);
    let responses = sequences(&config, &[30, 41, 22, 96, 5, 60, 33, 9]);
    let batch: Vec<Sequence> = responses.iter().map(|tokens| Sequence::last(tokens)).collect();
    let ranks = [[1, 3, 2, 2], [4, 1, 3, 2]];
    let mut ranking = |prompt: usize, rewards: &[f32], slopes: &mut [f32]| {
        reward_loss(rewards, &ranks[prompt], slopes, 0.5).unwrap();
    };
    reward_model.accumulate(&batch, &[0, 4, 8], 1.0, None, &mut ranking);
    keep("norm of the reward model", bits(&[reward_model.update(1e-3, 0.0).unwrap()]));
    keep("reward model", bits(&reward_model.network.parameters()));

    // PPO on the policy's own responses.
    let prompts = sequences(&config, &[12, 56, 1, 20]);
    let prompts: Vec<&[u32]> = prompts.iter().map(Vec::as_slice).collect();
    let sampling =
        Sampling { temperature: 1.0, top_k: 0, top_p: 1.0, max_new_tokens: 40, end_of_text: Some(0) };
    let draws = |step| [0, 1, 2, 3].map(|episode| Draw { seed: 1, stage: Stage::Test, step, episode });
    let sampled = generate(&policy.network, &prompts, &sampling, &draws(0), &|_| true);
    let episodes: Vec<Vec<u32>> = prompts
        .iter()
        .zip(&sampled)
        .map(|(prompt, response)| [prompt, &response.tokens[..]].concat())
        .collect();
    let batch: Vec<Sequence> = episodes
        .iter()
        .zip(&prompts)
        .map(|(tokens, prompt)| Sequence::continuation(tokens, prompt.len()))
        .collect();
    // Where the numbers of each episode are.
    let mut end = 0;
    let mut next = |sequence: &Sequence| {
        end += sequence.outputs();
        end - sequence.outputs()..end
    };
    let places: Vec<Range<usize>> = batch.iter().map(&mut next).collect();
    let weight = 1.0 / end as f32;
    let mut value = learner(reward_model.network.clone(), false);
    let old_values = value.network.values(&batch);
    keep("scores", bits(&reward_model.network.scores(episodes.iter().map(Vec::as_slice))));
    keep("values", bits(&old_values));
    let mut rng = Rng::at(13, Stage::Test, Purpose::Test, 0, 0, 0);
    let (advantages, returns): (Vec<f32>, Vec<f32>) =
        old_values.iter().map(|v| (rng.normal(), v + rng.normal())).unzip();
    // Two steps: in the second the ratios are not 1.
    for _ in 0..2 {
        let mut sums = PolicySums::default();
        let mut clipped = |episode: usize, new: &[f32], slopes: &mut [f32]| {
            let (old, advantages) = (&sampled[episode].log_probs, &advantages[places[episode].clone()]);
            policy_loss(slopes, new, old, advantages, 0.2, weight, &mut sums);
        };
        policy.accumulate(&batch, &singly(4), 1.0, None, &mut clipped);
        keep("norm of the policy", bits(&[policy.update(1e-3, 0.992).unwrap()]));
        keep("largest ratio", bits(&[sums.ratio_max]));

        let mut sums = ValueSums::default();
        let mut clipped = |episode: usize, values: &[f32], slopes: &mut [f32]| {
            let place = places[episode].clone();
            let (old, returns) = (&old_values[place.clone()], &returns[place]);
            value_loss(slopes, values, old, returns, 0.2, 0.5, weight, &mut sums);
        };
        value.accumulate(&batch, &singly(4), 1.0, None, &mut clipped);
        keep("norm of the value function", bits(&[value.update(1e-3, 0.0).unwrap()]));
    }
    keep("policy", bits(&policy.network.parameters()));
    keep("value function", bits(&value.network.parameters()));

    let after = generate(&policy.network, &prompts, &sampling, &draws(1), &|_| true);
    for response in sampled.iter().chain(&after) {
        keep("log-probs", bits(&response.log_probs));
        keep("entropies", bits(&response.entropies));
        keep("tokens", response.tokens.clone());
    }
    seen
}
