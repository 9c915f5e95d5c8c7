//! `reward.safetensors`: the K-way loss alone, through a reward model, and the shift that makes
//! demonstrations average 0.

use instructgpt::loss::reward_loss::{pair_accuracy, reward_loss};
use instructgpt::model::{Head, Sequence};
use instructgpt::train::dataset::Example;
use instructgpt::train::reward_model::center;

use crate::accumulation::Accumulation;
use crate::common::fixture::Fixture;
use crate::{check_each, cut, model};

/// All that check numbers.
pub const TESTS: [fn(); 3] = [the_loss_of_given_rewards, the_loss_of_extreme_rewards, a_reward_model];

/// Loss and gradient of given rewards.
fn function(prefix: &str) {
    let fixture = Fixture::load("reward");
    let (rewards, ranks) = (fixture.values(&format!("{prefix}rewards")), fixture.tokens("ranks"));
    let offsets = fixture.indices("group_offsets");
    let prompts = offsets.len() - 1;
    let (mut loss, mut pairs, mut drewards) = (0.0, vec![], vec![f32::NAN; rewards.len()]);
    for group in offsets.windows(2) {
        let group = group[0]..group[1];
        let (rewards, ranks) = (&rewards[group.clone()], &ranks[group.clone()]);
        loss += reward_loss(rewards, ranks, &mut drewards[group], 1.0 / prompts as f32).unwrap();
        pairs.push(pair_accuracy(rewards, ranks).pairs as usize);
    }
    fixture.check(&format!("{prefix}loss"), &[loss / prompts as f32]);
    fixture.check(&format!("{prefix}drewards"), &drewards);
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
    let mut network = model(&fixture, fixture.config(), Head::Scalar, "");
    let (tokens, ranks) = (fixture.tokens("tokens"), fixture.tokens("ranks"));
    // In the file's order of the responses, not in ours.
    let responses = cut(&tokens, &fixture.indices("offsets"));
    let batch: Vec<Sequence> = responses.iter().map(|tokens| Sequence::last(tokens)).collect();
    let groups = fixture.indices("group_offsets");
    let prompts = groups.len() - 1;

    // Room for the largest ranking only: the batch is cut into micro-batches.
    let tokens_of = |group: &[usize]| responses[group[0]..group[1]].iter().map(|r| r.len()).sum::<usize>();
    network.plan(groups.windows(2).map(tokens_of).max().unwrap(), true);
    let (mut loss, mut pairs) = (0.0, vec![]);
    let mut ranking = |group: usize, rewards: &[f32], drewards: &mut [f32]| {
        let ranks = &ranks[groups[group]..groups[group + 1]];
        loss += reward_loss(rewards, ranks, drewards, 1.0 / prompts as f32).unwrap();
        pairs.push(pair_accuracy(rewards, ranks).pairs as usize);
    };
    let mut accumulation = Accumulation::new(&mut network);
    accumulation.add(&batch, &groups, 1.0, None, &mut ranking);
    let (rewards, gradient) = accumulation.finish();
    fixture.check("rewards", &rewards);
    fixture.check("loss", &[loss / prompts as f32]);
    assert_eq!(pairs, fixture.indices("pair_counts"));
    check_each(&fixture, "grad.", &network.layout, &gradient);

    // Demonstrations.
    let tokens = fixture.tokens("demonstrations.tokens");
    let demonstrations = cut(&tokens, &fixture.indices("demonstrations.offsets"));
    let before = network.scores(demonstrations.iter().copied());
    fixture.check("demonstrations.rewards", &before);
    let example = |tokens: &&[u32]| Example { tokens: tokens.to_vec(), prompt: 1 };
    let mean = center(&mut network, &demonstrations.iter().map(example).collect::<Vec<_>>()).unwrap();
    assert!((mean - before.iter().sum::<f32>() / before.len() as f32).abs() < 1e-6 * mean.abs().max(1.0));
    let bias = &network.parameters()[network.layout.ln_f.bias.clone()];
    fixture.check("folded.transformer.ln_f.bias", bias);
    fixture.check("folded.demonstrations.rewards", &network.scores(demonstrations));
    fixture.check("folded.rewards", &network.scores(responses));
    let tested_above = ["function.", "extreme."];
    fixture.assert_all_read(|name| !tested_above.iter().any(|prefix| name.starts_with(prefix)));
}
