//! What is not a number, and what is one at the edge: a fault is named after the tensor it began in and never
//! learnt from; a bound that is set stops the run; extreme logits, empty responses and full contexts are
//! defined.

#[path = "common/runs.rs"]
mod runs;

use std::path::Path;
use std::sync::LazyLock;
use std::sync::atomic::AtomicBool;

use instructgpt::engine::Cpu;
use instructgpt::error::Error;
use instructgpt::loss::reward_loss::reward_loss;
use instructgpt::model::{
    Draw, Head, Layout, ModelConfig, Network, Precision, Sampling, Sequence, generate_one, singly,
};
use instructgpt::num::rng::Stage;
use instructgpt::optim::adamw::AdamW;
use instructgpt::optim::learner::{Learner, Optimizer};
use instructgpt::run::progress::Silent;
use instructgpt::run::{Run, StageId};
use instructgpt::settings::Settings;
use instructgpt::train::dataset::{Dataset, Example, Ranking};
use instructgpt::train::inputs::Inputs;
use instructgpt::train::ppo::{Networks, Ppo};
use instructgpt::train::pretrain::Pretrain;
use instructgpt::train::reward_model::rank;
use runs::{StopAfter, tiny};

static DATA: LazyLock<Dataset> = LazyLock::new(|| Dataset::load(&tiny(&[]), Path::new(".")).unwrap());

fn model(head: Head, seed: u64) -> Network {
    Network::random(Cpu, tiny(&[]).model.config(DATA.tokenizer.vocab_size(), Precision::F32), head, seed)
}

fn learner(network: Network) -> Learner {
    let optimizer = Optimizer { adam: AdamW::default(), gradient_clip: 0.0 };
    Learner::new(network, optimizer, tiny(&[]).micro_batch_tokens, true)
}

/// A network with other parameters in that range.
fn with(mut network: Network, range: std::ops::Range<usize>, value: f32) -> Network {
    let mut parameters = network.parameters().into_owned();
    parameters[range].fill(value);
    network.set_parameters(parameters);
    network
}

/// Everything that a learner keeps, to the bit.
fn bits(learner: &Learner) -> Vec<(String, Vec<u32>)> {
    let bits = |values: &[f32]| values.iter().map(|value| value.to_bits()).collect();
    learner.state("x").into_iter().map(|(name, values)| (name, bits(&values))).collect()
}

/// The message of a stage that must stop, and the number of steps it recorded before.
fn stopped(settings: &Settings, train: impl FnOnce(&mut Run) -> Result<(), Error>) -> (String, usize) {
    let out = tempfile::tempdir().unwrap();
    let (mut silent, stop) = (Silent, AtomicBool::new(false));
    let mut run = Run::open(settings, out.path(), false, &mut silent, &stop).unwrap();
    let error = train(&mut run).expect_err("a run that must stop");
    assert!(matches!(error, Error::Numeric { .. }), "{error}");
    let metrics = std::fs::read_to_string(out.path().join("metrics.jsonl")).unwrap();
    (error.to_string(), metrics.lines().count())
}

fn ppo(run: &mut Run, policy: Network, reference: Network, value: Network) -> Result<(), Error> {
    let mut reward = |_: &[u32], _: &[u32]| 1.0;
    let networks = Networks { policy, reference, value, reward: &mut reward };
    let stage = Ppo::new(Inputs::new(run.settings, &DATA), &run.settings.ppo, networks)?;
    run.drive(StageId::Ppo, &DATA.tokenizer, stage).map(drop)
}

fn pretrain(run: &mut Run, network: Network) -> Result<(), Error> {
    let stage = Pretrain::new(Inputs::new(run.settings, &DATA), &run.settings.pretrain, network)?;
    run.drive(StageId::Pretrain, &DATA.tokenizer, stage).map(drop)
}

#[test]
fn a_gradient_that_is_not_finite_is_named_and_not_applied() {
    let untied = ModelConfig { tied_head: false, ..ModelConfig::gpt2(11, 8, 6, 2, 2) };
    for head in [Head::LanguageModel, Head::Scalar] {
        let model = Network::random(Cpu, untied.clone(), head, 1);
        for row in Layout::new(&untied, head).parameters {
            for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
                let mut learner = learner(model.clone());
                learner.gradients.flat[row.range().end - 1] = bad;
                let before = bits(&learner);
                let fault = learner.update(1e-3, 0.9).unwrap_err();
                assert_eq!(fault.what, format!("the gradient of {}", row.name));
                assert_eq!(fault.found.to_string(), bad.to_string());
                assert!(bits(&learner) == before && learner.updates == 0, "{}: applied", row.name);
            }
        }
    }
}

/// Finite, but its square is not: it would end in Adam's second moment and hold the weight still for ever.
#[test]
fn a_gradient_whose_square_overflows_is_named_and_not_applied() {
    let mut learner = learner(model(Head::Scalar, 1));
    let at = learner.network.layout.ln_f.weight.start;
    learner.gradients.flat[at] = -1e25;
    let before = bits(&learner);
    let fault = learner.update(1e-3, 0.9).unwrap_err();
    let expected = "the norm of the gradient (largest in transformer.ln_f.weight)";
    assert_eq!((fault.what.as_str(), fault.found), (expected, f32::INFINITY));
    assert!(bits(&learner) == before);
}

/// The layer whose output a parameter is in.
fn layer(parameter: &str) -> &str {
    let name = parameter.trim_start_matches("transformer.");
    match name.rsplit_once('.').unwrap().0 {
        "wte" | "wpe" => "the embedding",
        "lm_head" | "score" => "the head",
        layer => layer,
    }
}

#[test]
fn the_layer_where_the_numbers_are_left_is_named() {
    for head in [Head::LanguageModel, Head::Scalar] {
        let mut config = model(head, 1).config;
        config.tied_head = false;
        let good = Network::random(Cpu, config, head, 1);
        for row in &good.layout.parameters {
            let mut learner = learner(with(good.clone(), row.range(), f32::INFINITY));
            let text = &DATA.text.train.tokens()[..20];
            assert_eq!(learner.network.blame("the loss"), "the loss");
            match head {
                Head::LanguageModel => {
                    let mut slope_1 = |_: usize, _: &[f32], slopes: &mut [f32]| slopes.fill(1.0);
                    learner.accumulate(&[Sequence::text(text)], &singly(1), 1.0, None, &mut slope_1);
                }
                Head::Scalar => {
                    learner.network.values(&[Sequence { tokens: text, from: 0, to: 20 }]);
                }
            }
            let said = learner.network.blame("the loss");
            let expected = format!("the loss ({} gave ", layer(&row.name));
            assert!(said.starts_with(&expected), "{}: {said}", row.name);
        }
    }
}

#[test]
fn a_stage_says_where_the_numbers_were_left_and_learns_nothing() {
    let broken = |head, tensor: &str| {
        let model = model(head, 1);
        let range = model.layout.get(tensor).unwrap().range();
        with(model, range, f32::MAX)
    };
    let (c_fc, good) = ("transformer.h.1.mlp.c_fc.weight", model(Head::LanguageModel, 1));
    let settings = tiny(&[]);
    let (message, steps) = stopped(&settings, |run| pretrain(run, broken(Head::LanguageModel, c_fc)));
    assert!(message.starts_with("pretrain: step 1: the loss (h.1.mlp.c_fc gave "), "{message}");
    assert_eq!(steps, 0);

    let value = broken(Head::Scalar, c_fc);
    let (message, steps) = stopped(&settings, |run| ppo(run, good.clone(), good.clone(), value));
    assert!(
        message.starts_with("ppo: step 1: a value of the value function (h.1.mlp.c_fc gave "),
        "{message}"
    );
    assert_eq!(steps, 0);

    // The reference and the policy; sampling from what is no distribution must end, too.
    let value = model(Head::Scalar, 1);
    for (policy, reference) in
        [(&good, &broken(Head::LanguageModel, c_fc)), (&broken(Head::LanguageModel, c_fc), &good)]
    {
        let (message, steps) =
            stopped(&settings, |run| ppo(run, policy.clone(), reference.clone(), value.clone()));
        assert!(message.starts_with("ppo: step 1: the mean "), "{message}");
        assert_eq!(steps, 0);
    }
}

#[test]
fn each_bound_of_ppo_stops_the_run_with_advice() {
    let [policy, reference] = [1, 2].map(|seed| model(Head::LanguageModel, seed));
    let value = model(Head::Scalar, 1);
    let train = |run: &mut Run| ppo(run, policy.clone(), reference.clone(), value.clone());
    // Every minibatch but the first of an iteration has ratios off 1.
    for (bound, what, steps) in [
        ("limits.kl=1e-6", "the mean KL to the reference", 0),
        ("limits.ratio=1.000001", "the largest ratio", 0),
        ("limits.min_entropy=100.0", "the mean entropy", 0),
    ] {
        let (message, recorded) = stopped(&tiny(&[bound]), train);
        assert!(message.starts_with(&format!("ppo: step 1: {what} is ")), "{message}");
        assert!(message.contains("of section limits") && message.contains("hint: "), "{message}");
        assert_eq!(recorded, steps, "{bound}");
    }
    // Bounds that are not reached, and none at all, change nothing.
    let metrics = |settings: &Settings| {
        let out = tempfile::tempdir().unwrap();
        let (mut silent, stop) = (Silent, AtomicBool::new(false));
        train(&mut Run::open(settings, out.path(), false, &mut silent, &stop).unwrap()).unwrap();
        std::fs::read_to_string(out.path().join("metrics.jsonl")).unwrap()
    };
    let wide = tiny(&["limits.kl=1e6", "limits.ratio=1e6", "limits.min_entropy=1e-6"]);
    assert_eq!(metrics(&wide), metrics(&tiny(&[])));
}

/// Rewards that are a thousandfold all of a sudden; and "above half the mean", which a ptx loss always is. A
/// stop in between changes nothing.
#[test]
fn a_spike_of_the_value_loss_or_the_ptx_loss_stops_ppo() {
    let small =
        ["ppo.episodes=60", "ppo.batch=2", "ppo.minibatches=1", "ppo.inner_epochs=1", "ppo.eval_every=0"];
    for (sets, what) in [
        (["limits.loss_spike=10.0", "ppo.ptx_coef=1.0"], "the value loss"),
        (["limits.loss_spike=0.5", "ppo.ptx_coef=1.0"], "the ptx loss"),
    ] {
        let settings = tiny(&[&small[..], &sets].concat());
        for before in [0, 13] {
            let out = tempfile::tempdir().unwrap();
            let mut asked = 0;
            let mut reward = |_: &[u32], _: &[u32]| {
                asked += 1;
                if asked > 40 { 1000.0 } else { 1.0 }
            };
            let mut go_on = |steps: usize, resume: bool| {
                let stop = AtomicBool::new(false);
                let mut progress = StopAfter::new(steps, &stop);
                let mut run = Run::open(&settings, out.path(), resume, &mut progress, &stop).unwrap();
                let network = |head| model(head, 1);
                let networks = Networks {
                    policy: network(Head::LanguageModel),
                    reference: network(Head::LanguageModel),
                    value: network(Head::Scalar),
                    reward: &mut reward,
                };
                let stage = Ppo::new(Inputs::new(&settings, &DATA), &settings.ppo, networks).unwrap();
                run.drive(StageId::Ppo, &DATA.tokenizer, stage).map(drop).unwrap_err()
            };
            if before > 0 {
                assert!(matches!(go_on(before, false), Error::Interrupted { .. }));
            }
            let message = go_on(usize::MAX, before > 0).to_string();
            assert!(message.starts_with(&format!("ppo: step 21: {what} is ")), "{message}");
            assert!(message.contains(" times the mean "), "{message}");
        }
    }
}

/// Logits up to 1e30 have log-probs and samples, the same in decoding as in training.
#[test]
fn extreme_logits_are_defined() {
    let model = model(Head::LanguageModel, 1);
    let range = model.layout.ln_f.weight.clone();
    let mut learner = learner(with(model, range, 1e31));
    let prompt = &DATA.prompts.train[0];
    let sampling = Sampling { temperature: 1.0, top_k: 0, top_p: 1.0, max_new_tokens: 20, end_of_text: None };
    let draw = Draw { seed: 1, stage: Stage::Test, step: 0, episode: 0 };
    let response = generate_one(&learner.network, prompt, &sampling, draw, |_| true);
    assert!(response.log_probs.iter().chain(&response.entropies).all(|x| x.is_finite()));
    // One token has all of the probability.
    assert!(
        response.log_probs.iter().chain(&response.entropies).all(|&x| x == 0.0),
        "{:?}",
        response.log_probs
    );

    let tokens = [prompt.as_slice(), &response.tokens].concat();
    let mut found = Vec::new();
    let mut loss = |_: usize, log_probs: &[f32], slopes: &mut [f32]| {
        found = log_probs.to_vec();
        slopes.fill(-1.0);
    };
    learner.accumulate(&[Sequence::text(&tokens)], &singly(1), 1.0, None, &mut loss);
    let least = found.iter().copied().fold(0.0, f32::min);
    let sampled = &found[prompt.len() - 1..];
    assert_eq!(sampled, response.log_probs);
    // The prompt's own tokens are as good as impossible, and yet a number.
    assert!((-1e32..-1e28).contains(&least), "{least}");
}

/// A response may be empty in a ranking (of one token, then: its end), and fill the context.
#[test]
fn responses_from_nothing_to_the_full_context_are_ranked() {
    let settings = tiny(&[]);
    let (prompt, end) = (&DATA.prompts.train[0], DATA.tokenizer.end_of_text());
    let with = |response: Vec<u32>| Example {
        tokens: [prompt.as_slice(), &response].concat(),
        prompt: prompt.len(),
    };
    let full = settings.model.context - prompt.len();
    let responses = vec![with(vec![end]), with(vec![]), with(vec![7; full])];
    assert_eq!(responses[2].tokens.len(), settings.model.context);
    let ranking = Ranking::new(responses, vec![2, 3, 1]);
    let mut learner = learner(model(Head::Scalar, 1));
    let mut rewards = Vec::new();
    rank(&mut learner, &[&ranking], |ranking, found, slopes| {
        rewards = found.to_vec();
        assert!(reward_loss(found, &ranking.ranks, slopes, 1.0).unwrap().is_finite());
    });
    assert!(rewards.len() == 3 && rewards.iter().all(|reward| reward.is_finite()));
    assert!(learner.update(1e-3, 0.0).unwrap() > 0.0);
}
