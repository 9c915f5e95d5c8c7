//! Section `ppo`: the stage against the same iterations by hand.

use instructgpt::engine::Cpu;
use instructgpt::model::{Head, Network};
use instructgpt::run::StageId;
use instructgpt::settings::Settings;
use instructgpt::train::inputs::Inputs;
use instructgpt::train::ppo::{Networks, Ppo};

use crate::ppo_by_hand::{Outcome, by_hand, policy, score};
use crate::{DATA, DIFFERENT, EQUAL, Seen, distance, drive, network, settings};

/// The stage itself.
fn by_stage(settings: &Settings) -> (Vec<Seen>, Network) {
    let mut reward = |prompt: &[u32], response: &[u32]| score(prompt, response);
    let networks: Networks<Cpu> = Networks {
        policy: policy(),
        reference: network(Head::LanguageModel, 2),
        value: network(Head::Scalar, 3),
        reward: &mut reward,
    };
    let stage = Ppo::new(Inputs::new(settings, &DATA), &settings.ppo, networks).unwrap();
    drive(settings, StageId::PpoPtx, stage)
}

/// How far two outcomes are apart: the farthest of policy, average, value function and KL coefficient.
fn apart(found: &Outcome, expected: &Outcome) -> f64 {
    let (policy, value) = (policy(), network(Head::Scalar, 3));
    let (policy, value) = (policy.parameters(), value.parameters());
    [
        distance(&found.policy, &expected.policy, &policy),
        distance(&found.average, &expected.average, &policy),
        distance(&found.value, &expected.value, &value),
        (found.kl_coef / expected.kl_coef - 1.0).abs(),
    ]
    .into_iter()
    .fold(0.0, f64::max)
}

fn outcome(seen: &Seen) -> Outcome {
    let buffer = |name: &str| seen.buffer(name).to_vec();
    let kl_coef = seen.strings.iter().find(|(name, _)| *name == "kl_coef").unwrap();
    Outcome {
        policy: buffer("policy.parameters"),
        average: buffer("policy.average"),
        value: buffer("value.parameters"),
        kl_coef: kl_coef.1.parse().unwrap(),
        kl: seen.field("kl").unwrap(),
    }
}

/// The key that a case is about, what else is set there, and the change of the key. The errors that a case catches are
/// those that leave its key out, or take another for it.
const CASES: &[(&[&str], &str)] = &[
    (&[], "ppo.batch=4"),
    (&[], "ppo.minibatches=3"),
    (&[], "ppo.inner_epochs=1"),
    (&[], "ppo.temperature=1.3"),
    (&[], "ppo.max_response_tokens=3"),
    // The limit of the score behind the end: a response that fills it has no room.
    (&["ppo.score_after_eos=true"], "ppo.max_response_tokens=4"),
    (&[], "ppo.kl_coef=0.9"),
    (&[], "ppo.ptx_coef=1.0"),
    (&[], "ppo.ptx_coef=0.0"),
    (&[], "ppo.ptx_examples_per_episode=1"),
    (&[], "ppo.ptx_examples_per_episode=0"),
    (&[], "ppo.learning_rate=0.07"),
    (&[], "ppo.value_learning_rate=0.15"),
    (&[], "ppo.weight_decay=0.0"),
    (&[], "ppo.gradient_clip=0.0"),
    (&[], "ppo.gradient_clip=0.4"),
    (&[], "ppo.adam_style=torch"),
    (&[], "ppo.ema=0.3"),
    (&[], "ppo.gamma=1.0"),
    (&[], "ppo.lambda=0.5"),
    (&[], "ppo.clip=0.11"),
    (&[], "ppo.value_clip=0.02"),
    (&[], "ppo.value_coef=0.1"),
    (&[], "ppo.whiten_advantages=false"),
    (&[], "ppo.score_after_eos=true"),
    (&["ppo.missing_eos_value=0.7"], "ppo.missing_eos=subtract"),
    (&["ppo.missing_eos=subtract", "ppo.missing_eos_value=0.7"], "ppo.missing_eos_value=1.6"),
    (&["ppo.missing_eos_value=-1.5"], "ppo.missing_eos=replace"),
    (&[], "ppo.unbiased_whitening=true"),
    (&["ppo.whiten_rewards=true", "ppo.whiten_advantages=false"], "ppo.unbiased_whitening=true"),
    // With the advantages as they are, a shift of the rewards' mean shows.
    (&["ppo.whiten_advantages=false"], "ppo.whiten_rewards=true"),
    (&["ppo.kl_target=0.01", "ppo.kl_horizon=20.0"], "ppo.adaptive_kl=true"),
    (&["ppo.adaptive_kl=true", "ppo.kl_target=0.01", "ppo.kl_horizon=20.0"], "ppo.kl_target=90.0"),
    (&["ppo.adaptive_kl=true", "ppo.kl_target=0.01", "ppo.kl_horizon=20.0"], "ppo.kl_horizon=50.0"),
    (&[], "adam.beta1=0.3"),
    (&[], "adam.beta2=0.5"),
    (&[], "adam.epsilon=0.05"),
    (&[], "adam.style=torch"),
    (&[], "seed=4"),
];

#[test]
fn ppo_follows_the_hand_in_every_setting() {
    for (context, change) in CASES {
        // What a context sets may do nothing without the change.
        let quiet =
            |set: &&&str| !(set.contains("missing_eos_value") && change.starts_with("ppo.missing_eos="));
        let quiet = |set: &&&str| quiet(set) && !(set.contains("kl_") && change.contains("adaptive_kl"));
        let without: Vec<&str> = context.iter().filter(quiet).copied().collect();
        let with = settings(&[context, &[*change][..]].concat());
        let (hand, (seen, exported)) = (by_hand(&with), by_stage(&with));
        assert_eq!(seen.len(), hand.len(), "{change}: iterations");
        for (number, (found, expected)) in seen.iter().zip(&hand).enumerate() {
            let (error, number) = (apart(&outcome(found), expected), number + 1);
            assert!(error <= EQUAL, "{context:?} {change}: {error:.1e} off after iteration {number}");
            let kl = (outcome(found).kl - expected.kl).abs();
            assert!(kl <= 1e-4 * expected.kl.abs().max(0.1), "{context:?} {change}: KL {kl:.1e} off");
        }
        assert_eq!(*exported.parameters(), *seen.last().unwrap().buffer("policy.average"), "{change}");
        let others = by_hand(&settings(&without));
        let difference = apart(others.last().unwrap(), hand.last().unwrap());
        assert!(
            difference >= DIFFERENT,
            "{context:?} {change} changes too little to be seen: {difference:.1e}"
        );
    }
}

/// Where `ema` is not set, the average reaches back over the paper's share of the run: 0.992 over 4000 updates. Here there
/// are 12 / 6 * 2 * 2 = 8, and 0.992^(4000 / 8) = 0.0180.
#[test]
fn the_average_forgets_as_in_the_paper_unless_it_is_told() {
    let unset = settings(&["ppo.ema="]);
    let decay = unset.ppo.ema.expect("it stands in the resolved configuration");
    assert!((decay - 0.018_023).abs() < 1e-5, "{decay}");
    // A library's settings are not resolved.
    let mut of_library = unset.clone();
    of_library.ppo.ema = None;
    let start = policy();
    let (seen, _) = by_stage(&of_library);
    for (found, expected) in seen.iter().zip(by_hand(&unset)) {
        let error = distance(found.buffer("policy.average"), &expected.average, &start.parameters());
        assert!(error <= EQUAL, "{error:.1e}");
    }
    // As many updates as the paper's, and more than those; and what is set stays.
    let decay = |changes: &[&str]| settings(changes).ppo.ema.unwrap();
    assert_eq!(decay(&["ppo.ema=", "ppo.episodes=6000"]), 0.992);
    assert_eq!(decay(&["ppo.ema=", "ppo.episodes=60000"]), 0.992);
    assert!((decay(&["ppo.ema=", "ppo.episodes=3000"]) - 0.984_064).abs() < 1e-6);
    assert_eq!(decay(&["ppo.episodes=3000"]), 0.7);
    assert_eq!(settings(&["ppo.ema=", "ppo.episodes=0"]).ppo.ema, None);
}

/// The policy's warm-up: linear over its iterations' updates, from its start to the peak.
#[test]
fn the_policys_warm_up_follows_the_hand() {
    let cases = [
        ["ppo.warmup_iterations=2", "ppo.warmup_start=0.3"],
        ["ppo.warmup_iterations=3", "ppo.warmup_start=0.6"],
    ];
    for changes in cases {
        let settings = settings(&changes);
        // Of the first iteration: what the value function learns shows only in the next.
        let (seen, _) = by_stage(&settings);
        let (expected, start) = (by_hand(&settings), policy());
        let found = seen[0].buffer("policy.parameters");
        let error = distance(found, &expected[0].policy, &start.parameters());
        assert!(error <= EQUAL, "{changes:?}: {error:.1e}");
    }
}

/// `episodes` over `batch` iterations, `eval_prompts` scored after each `eval_every` of them and after the last.
#[test]
fn ppo_makes_its_iterations_and_validations() {
    // The last one scored is the episode that is shown token by token.
    for (changes, iterations, validations, scored) in [
        (&[][..], 2, vec![2], 12 + 3 + 1),
        (&["ppo.episodes=24", "ppo.eval_every=3", "ppo.eval_prompts=2"], 4, vec![3, 4], 24 + 4 + 1),
        (&["ppo.episodes=24", "ppo.eval_every=1", "ppo.eval_prompts=4"], 4, vec![1, 2, 3, 4], 24 + 16 + 1),
        (&["ppo.episodes=6", "ppo.eval_every=0"], 1, vec![1], 6 + 3 + 1),
    ] {
        let (settings, mut calls) = (settings(changes), 0);
        let mut reward = |prompt: &[u32], response: &[u32]| {
            calls += 1;
            score(prompt, response)
        };
        let networks: Networks<Cpu> = Networks {
            policy: policy(),
            reference: network(Head::LanguageModel, 2),
            value: network(Head::Scalar, 3),
            reward: &mut reward,
        };
        let stage = Ppo::new(Inputs::new(&settings, &DATA), &settings.ppo, networks).unwrap();
        let (seen, _) = drive(&settings, StageId::PpoPtx, stage);
        assert_eq!(seen.len(), iterations, "{changes:?}");
        let validated = |seen: &Seen| seen.fields.iter().any(|(name, _)| name.starts_with("validation"));
        let found: Vec<usize> =
            (1..).zip(&seen).filter(|(_, seen)| validated(seen)).map(|(i, _)| i).collect();
        assert_eq!(found, validations, "{changes:?}");
        assert_eq!(calls, scored, "{changes:?}: responses that were scored");
    }
}
