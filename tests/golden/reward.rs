//! `reward.safetensors`: the K-way loss alone, through a reward model, and the shift that makes
//! demonstrations average 0.

use instructgpt::loss::reward_loss::{pair_accuracy, reward_loss};
use instructgpt::model::{Head, Network};
use instructgpt::optim::adamw::AdamStyle;
use instructgpt::optim::learner::Learner;
use instructgpt::train::dataset::{Example, Ranking};
use instructgpt::train::reward_model::{center, rank};

use crate::common::fixture::Fixture;
use crate::{check_each, cut, finished_gradient, model, optimizer};

/// Loss and gradient of given rewards.
fn function(prefix: &str) {
    let fixture = Fixture::load("reward");
    let (rewards, ranks) = (fixture.values(&format!("{prefix}rewards")), fixture.tokens("ranks"));
    let offsets = fixture.indices("group_offsets");
    let prompts = offsets.len() - 1;
    let (mut loss, mut pairs, mut d_rewards) = (0.0, vec![], vec![f32::NAN; rewards.len()]);
    for group in offsets.windows(2) {
        let group = group[0]..group[1];
        let (rewards, ranks) = (&rewards[group.clone()], &ranks[group.clone()]);
        loss += reward_loss(rewards, ranks, &mut d_rewards[group], 1.0 / prompts as f32).unwrap();
        pairs.push(pair_accuracy(rewards, ranks).pairs as usize);
    }
    fixture.check(&format!("{prefix}loss"), &[loss / prompts as f32]);
    fixture.check(&format!("{prefix}drewards"), &d_rewards);
    assert_eq!(pairs, fixture.indices(&format!("{prefix}pair_counts")));
    fixture.assert_all_read(|name| name.starts_with(prefix));
}

#[test]
fn the_loss_of_given_rewards() {
    function("function.");
}

#[test]
fn the_loss_of_extreme_rewards() {
    function("extreme.");
}

#[test]
fn a_reward_model() {
    let fixture = Fixture::load("reward");
    let mut start = model(&fixture, fixture.config(), Head::Scalar, "");
    let (tokens, ranks) = (fixture.tokens("tokens"), fixture.tokens("ranks"));
    let responses: Vec<Example> = cut(&tokens, &fixture.indices("offsets"))
        .into_iter()
        .map(|tokens| Example { tokens: tokens.to_vec(), prompt: 1 })
        .collect();
    // In the file's order of the responses, not in ours.
    let rankings: Vec<Ranking> = fixture
        .indices("group_offsets")
        .windows(2)
        .map(|group| group[0]..group[1])
        .map(|group| Ranking { responses: responses[group.clone()].to_vec(), ranks: ranks[group].to_vec() })
        .collect();

    // Room for the largest ranking only: the batch is cut into micro-batches.
    let optimizer = optimizer([0.9, 0.95, 1e-8, 0.0], AdamStyle::PyTorch);
    let largest =
        rankings.iter().map(|r| r.responses.iter().map(|r| r.tokens.len()).sum::<usize>()).max().unwrap();
    let mut learner = Learner::new(start.clone(), optimizer, largest, false);
    let (mut rewards, mut loss, mut pairs) = (vec![], 0.0, vec![]);
    let weight = 1.0 / rankings.len() as f32;
    rank(&mut learner, &rankings.iter().collect::<Vec<_>>(), |ranking, given, d_rewards| {
        rewards.extend_from_slice(given);
        loss += reward_loss(given, &ranking.ranks, d_rewards, weight).unwrap();
        pairs.push(pair_accuracy(given, &ranking.ranks).pairs as usize);
    });
    fixture.check("rewards", &rewards);
    fixture.check("loss", &[loss / rankings.len() as f32]);
    assert_eq!(pairs, fixture.indices("pair_counts"));
    let gradient = finished_gradient(&mut learner);
    check_each(&fixture, "grad.", &learner.network.layout, &gradient);

    // Demonstrations.
    let tokens = fixture.tokens("demonstrations.tokens");
    let demonstrations: Vec<Example> = cut(&tokens, &fixture.indices("demonstrations.offsets"))
        .into_iter()
        .map(|tokens| Example { tokens: tokens.to_vec(), prompt: 1 })
        .collect();
    let scores = |network: &mut Network, examples: &[Example]| {
        network.scores(examples.iter().map(|example| example.tokens.as_slice()))
    };
    let before = scores(&mut start, &demonstrations);
    fixture.check("demonstrations.rewards", &before);
    let mean = center(&mut start, &demonstrations);
    assert!((mean - before.iter().sum::<f32>() / before.len() as f32).abs() < 1e-6 * mean.abs().max(1.0));
    let bias = start.layout.ln_f.bias.clone();
    fixture.check("folded.transformer.ln_f.bias", &start.parameters()[bias]);
    fixture.check("folded.demonstrations.rewards", &scores(&mut start, &demonstrations));
    fixture.check("folded.rewards", &scores(&mut start, &responses));
    let tested_above = ["function.", "extreme."];
    fixture.assert_all_read(|name| !tested_above.iter().any(|prefix| name.starts_with(prefix)));
}
