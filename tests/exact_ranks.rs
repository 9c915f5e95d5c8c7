//! The arithmetic contract on several ranks: what a network says, what it samples and the gradients of its losses are
//! those of one rank, to the bit, however many there are.

#[path = "common/accumulation.rs"]
mod accumulation;
#[path = "common/networks.rs"]
mod networks;

use accumulation::Accumulation;
use instructgpt::engine::{Cpu, Dropout, Plain};
use instructgpt::loss::CrossEntropy;
use instructgpt::loss::clipped::{PolicySums, ValueSums, policy_loss, value_loss};
use instructgpt::loss::reward_loss::reward_loss;
use instructgpt::model::{Draw, Head, ModelConfig, Network, Response, Sampling, Sequence, singly};
use instructgpt::num::par::with_threads;
use instructgpt::num::rng::Stage;
use instructgpt::optim::AdamW;
use instructgpt::optim::learner::{Learner, Optimizer};
use instructgpt::ranks::{Alone, Ranks, Threads};
use instructgpt::train::reward::scores;
use instructgpt::train::rollouts::Rollouts;
use networks::{bits, configurations, network, sequences};

const RANKS: [usize; 5] = [1, 2, 3, 5, 8];

/// Fewer sequences than some rings have ranks, one too short to predict anything among them; and many.
const LENGTHS: [&[usize]; 2] = [&[9, 1, 23, 40, 17], &[9, 23, 40, 17, 5, 30, 12, 8, 40, 3, 21, 11, 2, 33, 6]];

/// Asserts that every rank of every ring finds what one rank finds alone.
fn same_on_all_ranks(find: impl Fn(&'static dyn Ranks) -> Vec<Vec<u32>> + Sync) {
    // Each computes on a thread of its own.
    let find = |ranks: &'static dyn Ranks| with_threads(1, || find(ranks));
    let alone = find(&Alone);
    for size in RANKS {
        for (rank, found) in Threads::run(size, find).into_iter().enumerate() {
            for (i, (found, expected)) in found.iter().zip(&alone).enumerate() {
                assert!(found == expected, "output {i} on rank {rank} of {size}");
            }
            assert_eq!(found.len(), alone.len());
        }
    }
}

/// What losses of several kinds saw, and their gradient, one after another in the same buffers.
fn gradients(
    ranks: &'static dyn Ranks,
    config: &ModelConfig,
    head: Head,
    lengths: &[usize],
    room: usize,
) -> Vec<Vec<u32>> {
    let mut network = network(Cpu, config, head).among(ranks);
    // A group of three of the longest must fit.
    network.plan(if head == Head::Scalar { room.max(120) } else { room }, true);
    let tokens = sequences(config, lengths);
    let dropout = Some(Dropout { rate: 0.2, seed: 3, stage: Stage::Test, step: 9 });
    let (old, weights) = ([-1.5; 64], [0.5; 64]);
    let mut sums = (PolicySums::default(), ValueSums::default(), 0.0);
    let mut accumulation = Accumulation::new(&mut network);
    match head {
        Head::LanguageModel => {
            let texts: Vec<Sequence> = tokens.iter().map(|tokens| Sequence::text(tokens)).collect();
            let alone = singly(texts.len());
            let mut policy = |_: usize, new: &[f32], slopes: &mut [f32]| {
                let n = new.len();
                policy_loss(slopes, new, &old[..n], &weights[..n], 0.2, 0.01, &mut sums.0);
            };
            accumulation.add(&texts, &alone, 0.7, None, &mut policy);
            // The pretraining gradient, in the same buffers.
            accumulation.add(&texts, &alone, 1.0, dropout, &mut CrossEntropy::of(&texts, 0.3));
        }
        Head::Scalar => {
            let ends: Vec<Sequence> = tokens.iter().map(|tokens| Sequence::last(tokens)).collect();
            // Two responses to a prompt, and three to each of the others.
            let mut groups: Vec<usize> = vec![0];
            groups.extend((2..=ends.len()).step_by(3));
            groups.extend((groups[groups.len() - 1] < ends.len()).then_some(ends.len()));
            let mut rank = |group: usize, rewards: &[f32], slopes: &mut [f32]| {
                let ranks: Vec<u32> = (0..rewards.len()).map(|i| ((i + group) % 3) as u32).collect();
                sums.2 += reward_loss(rewards, &ranks, slopes, 0.5).unwrap_or(0.0);
            };
            accumulation.add(&ends, &groups, 1.0, dropout, &mut rank);
            let positions: Vec<Sequence> =
                tokens.iter().map(|tokens| Sequence { tokens, from: 0, to: tokens.len() }).collect();
            let mut value = |_: usize, values: &[f32], slopes: &mut [f32]| {
                let n = values.len();
                value_loss(slopes, values, &old[..n], &weights[..n], 0.2, 1.0, 0.01, &mut sums.1);
            };
            accumulation.add(&positions, &singly(positions.len()), 1.0, None, &mut value);
        }
    }
    let (outputs, gradient) = accumulation.finish();
    let sums = [sums.0.loss.to_bits(), sums.1.loss.to_bits(), f64::from(sums.2).to_bits()];
    let sums = sums.iter().flat_map(|&sum| [sum as u32, (sum >> 32) as u32]).collect();
    vec![bits(&gradient), bits(&outputs), sums]
}

#[test]
fn gradients_of_every_loss() {
    for config in configurations() {
        for head in [Head::LanguageModel, Head::Scalar] {
            for (lengths, room) in [(LENGTHS[0], 0), (LENGTHS[1], 0), (LENGTHS[1], 1000)] {
                same_on_all_ranks(|ranks| gradients(ranks, &config, head, lengths, room));
            }
        }
    }
}

#[test]
fn gradients_longer_than_a_message() {
    // The tied embedding has 300,000 numbers, and a message 262,144.
    let config = ModelConfig::gpt2(3000, 40, 100, 1, 2);
    same_on_all_ranks(|ranks| gradients(ranks, &config, Head::LanguageModel, &[9, 23, 40, 17], 40));
}

/// With 4,000 targets, each of up to three ranks has more than the head holds the logits of at a time (1,024).
#[test]
fn gradients_of_more_targets_than_the_head_holds() {
    let config = ModelConfig::gpt2(70, 40, 8, 1, 2);
    same_on_all_ranks(|ranks| gradients(ranks, &config, Head::LanguageModel, &[40; 100], 4000));
}

/// What a user's own function says may differ from rank to rank, or each time it is asked.
#[test]
fn the_first_rank_alone_asks_a_function_of_the_users_own() {
    let (prompts, responses) = ([[1, 2], [3, 4]], [vec![5], vec![6, 7]]);
    let found = Threads::run(3, |ranks| {
        let mut asked = 0;
        let mut reward = |_: &[u32], response: &[u32]| {
            asked += 1;
            (10 * ranks.rank() + asked) as f32 + response.len() as f32
        };
        let prompts: Vec<&[u32]> = prompts.iter().map(|prompt| &prompt[..]).collect();
        let responses = responses.clone().map(|tokens| Response {
            log_probs: vec![-1.0; tokens.len()],
            entropies: vec![1.0; tokens.len()],
            tokens,
            ended: false,
        });
        let scores = scores(ranks, &mut reward, &Rollouts::new(&prompts, &responses));
        (scores, asked)
    });
    assert_eq!(found, [(vec![2.0, 4.0], 2), (vec![2.0, 4.0], 0), (vec![2.0, 4.0], 0)]);
}

#[test]
fn the_definition_shares_out_alike() {
    let config = configurations().remove(0);
    let tokens = sequences(&config, LENGTHS[0]);
    same_on_all_ranks(|ranks| {
        let mut network = network(Plain, &config, Head::LanguageModel).among(ranks);
        network.plan(0, true);
        let texts: Vec<Sequence> = tokens.iter().map(|tokens| Sequence::text(tokens)).collect();
        let mut accumulation = Accumulation::new(&mut network);
        accumulation.add(&texts, &singly(texts.len()), 1.0, None, &mut CrossEntropy::of(&texts, 1.0));
        let (outputs, gradient) = accumulation.finish();
        vec![bits(&gradient), bits(&outputs)]
    });
}

#[test]
fn three_updates_one_of_them_on_nothing() {
    let optimizer = Optimizer { adam: AdamW::default(), gradient_clip: 1.0 };
    for config in configurations() {
        let tokens = sequences(&config, LENGTHS[1]);
        same_on_all_ranks(|ranks| {
            let network = network(Cpu, &config, Head::LanguageModel).among(ranks);
            let mut learner = Learner::new(network, optimizer, 50, true);
            let mut norms = Vec::new();
            for batch in [&tokens[..7], &[], &tokens[7..]] {
                let texts: Vec<Sequence> = batch.iter().map(|tokens| Sequence::text(tokens)).collect();
                let mut loss = CrossEntropy::of(&texts, 1.0);
                learner.accumulate(&texts, &singly(texts.len()), 1.0, None, &mut loss);
                norms.push(learner.update(1e-3, 0.9).unwrap());
            }
            let state = learner.state("model");
            [bits(&norms)].into_iter().chain(state.iter().map(|(_, values)| bits(values))).collect()
        });
    }
}

#[test]
fn what_a_network_says() {
    for config in configurations() {
        for lengths in [LENGTHS[0], LENGTHS[1], &[7]] {
            let tokens = sequences(&config, lengths);
            same_on_all_ranks(|ranks| {
                let texts: Vec<Sequence> = tokens.iter().map(|tokens| Sequence::text(tokens)).collect();
                let mut language = network(Cpu, &config, Head::LanguageModel).among(ranks);
                let (log_probs, entropies) = language.log_probs_and_entropies(&texts, 0.7);
                let nothing = language.log_probs(&[], 1.0);
                // A copy is known to the same ranks; what it says of the loss is.
                let loss = language.clone().mean_loss(&texts).unwrap_or(0.0) as f32;
                let mut scalar = network(Cpu, &config, Head::Scalar).among(ranks);
                let scores = scalar.scores(tokens.iter().map(Vec::as_slice));
                [log_probs, entropies, nothing, vec![loss], scores].iter().map(|x| bits(x)).collect()
            });
        }
    }
}

#[test]
fn what_a_network_samples() {
    for config in configurations() {
        let prompts = sequences(&config, &[3, 1, 39, 7, config.context, 2, 12]);
        let prompts: Vec<&[u32]> = prompts.iter().map(Vec::as_slice).collect();
        let sampling = Sampling::full(0.9, 9, 3);
        let draws = Draw { seed: 1, stage: Stage::Test, step: 2, episode: 0 }.consecutive(prompts.len());
        same_on_all_ranks(|ranks| {
            let network: Network = network(Cpu, &config, Head::LanguageModel).among(ranks);
            let responses = network.generate(&prompts, &sampling, &draws, &|_| true);
            // One of them has no room for a token.
            assert!(responses[4].tokens.is_empty() && responses.len() == 7);
            let words = responses.into_iter().map(|r| {
                [r.tokens, bits(&r.log_probs), bits(&r.entropies), vec![u32::from(r.ended)]].concat()
            });
            words.collect()
        });
    }
}

#[test]
fn a_network_that_is_known_to_no_others_is_asked_alone() {
    let config = configurations().remove(0);
    let tokens = sequences(&config, &[9, 12]);
    Threads::run(3, |ranks| {
        if ranks.is_first() {
            let mut network = network(Cpu, &config, Head::LanguageModel);
            assert_eq!(network.log_probs(&[Sequence::text(&tokens[0])], 1.0).len(), 8);
        }
    });
}
