//! Section `collect`, and what section `reward_model` says of it: who writes how many responses, and how.

use std::fs;
use std::path::Path;
use std::sync::atomic::AtomicBool;

use instructgpt::app::pipeline;
use instructgpt::checkpoint::save_model_directory;
use instructgpt::data::Side;
use instructgpt::engine::Cpu;
use instructgpt::model::{Draw, Head, ModelConfig, Network, Sampling};
use instructgpt::num::rng::Stage as Address;
use instructgpt::run::StageId;
use instructgpt::run::progress::Silent;
use instructgpt::settings::Settings;
use instructgpt::train::collect::{COMPARISONS, candidates};
use instructgpt::train::dataset::Dataset;
use serde_json::Value;

use crate::settings;

/// The miniature, with a tokenizer that its sentences fit in.
fn world(changes: &[&str]) -> Settings {
    let base = [
        "data.world=true",
        "tokenizer.vocab_size=500",
        "model.context=200",
        "data.max_prompt_tokens=80",
        "data.max_response_tokens=90",
        "world.documents=20",
        "world.demonstrations=20",
        "world.comparisons=14",
        "world.prompts=4",
    ];
    settings(&[&base, changes].concat())
}

/// A model of random weights, far from even.
fn writer(data: &Dataset, seed: u64) -> Network {
    let config = ModelConfig::gpt2(data.tokenizer.vocab_size(), 200, 8, 1, 2);
    let mut network = Network::random(Cpu, config, Head::LanguageModel, seed);
    network.set_parameters(network.parameters().iter().map(|x| 20.0 * x).collect());
    network
}

/// The lines of the file that the stage leaves, for the models "0" and "1" in `folder`.
fn collected(folder: &Path, changes: &[&str]) -> Vec<Value> {
    let (settings, out) = (world(changes), tempfile::tempdir().unwrap());
    let data = Dataset::load(&settings, folder).unwrap();
    for seed in [0, 1] {
        let name = folder.join(seed.to_string());
        save_model_directory(&name, &writer(&data, seed), Some(&data.tokenizer), &[]).unwrap();
    }
    let (only, stop) = (Some(StageId::Collect), AtomicBool::new(false));
    pipeline::stages(&settings, folder, out.path(), false, only, &mut Silent, &stop).unwrap();
    let text = fs::read_to_string(out.path().join(COMPARISONS)).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn responses(line: &Value) -> Vec<Vec<u32>> {
    serde_json::from_value(line["response_tokens"].clone()).unwrap()
}

const ONE: &str = "collect.models=[\"0\"]";
const SAMPLED: &str = "reward_model.written_share=0.0";

#[test]
fn each_prompt_has_as_many_responses_as_is_set() {
    let folder = tempfile::tempdir().unwrap();
    for (least, most) in [(2, 2), (3, 5), (4, 5)] {
        let least_set = format!("reward_model.min_candidates={least}");
        let most_set = format!("reward_model.max_candidates={most}");
        let lines = collected(folder.path(), &[ONE, SAMPLED, &least_set, &most_set]);
        let counts: Vec<usize> = lines.iter().map(|line| responses(line).len()).collect();
        let found = (*counts.iter().min().unwrap(), *counts.iter().max().unwrap());
        assert_eq!(found, (least, most), "{counts:?}");
    }
}

/// People's responses are sentences that end; a random model's do not.
#[test]
fn people_write_their_share_of_the_responses() {
    let folder = tempfile::tempdir().unwrap();
    let four = ["reward_model.min_candidates=4", "reward_model.max_candidates=4"];
    for (share, expected) in [("0.0", 0), ("0.25", 1), ("0.75", 3), ("1.0", 4)] {
        let share = format!("reward_model.written_share={share}");
        let lines = collected(folder.path(), &[&four[..], &[ONE, share.as_str()]].concat());
        let end = Dataset::load(&world(&[]), folder.path()).unwrap().tokenizer.end_of_text();
        let sentence = |tokens: &Vec<u32>| tokens.last() == Some(&end) && tokens.len() > 4;
        let written = lines.iter().map(|line| responses(line).iter().filter(|r| sentence(r)).count());
        // A long sentence of a person may be cut off.
        let written: Vec<usize> = written.collect();
        let exact = written.iter().filter(|&&n| n == expected).count();
        assert!(written.iter().all(|&n| n <= expected) && 2 * exact > written.len(), "{share}: {written:?}");
    }
}

/// A tenth of four responses is less than half of one: it is one for four prompts in ten.
#[test]
fn a_small_share_of_people_is_not_rounded_to_none() {
    let mut s = world(&[]).reward_model;
    (s.min_candidates, s.max_candidates) = (4, 4);
    for share in [0.1, 0.4] {
        s.written_share = share;
        let written = |index| candidates(7, &s, Side::Train, index).1;
        let mean = (0..4000).map(written).sum::<usize>() as f64 / 4000.0;
        // A standard deviation of the mean is below 0.008.
        assert!((mean - 4.0 * f64::from(share)).abs() < 0.03, "{share}: {mean}");
    }
}

/// Models take turns, and sample at the temperature that is set, each from the draws of its response.
#[test]
fn models_sample_by_turns_at_the_temperature_that_is_set() {
    let folder = tempfile::tempdir().unwrap();
    let three = ["reward_model.min_candidates=3", "reward_model.max_candidates=3", SAMPLED];
    let mut all = Vec::new();
    for (names, temperature) in [("[\"0\"]", 0.7), ("[\"0\"]", 1.4), ("[\"1\", \"0\"]", 0.7)] {
        let changes =
            [format!("collect.models={names}"), format!("reward_model.candidate_temperature={temperature}")];
        let changes = [&three[..], &changes.each_ref().map(String::as_str)].concat();
        let lines = collected(folder.path(), &changes);
        let data = Dataset::load(&world(&changes), folder.path()).unwrap();
        let models: Vec<Network> = (0..names.matches('"').count() as u64 / 2)
            .map(|number| writer(&data, if names.starts_with("[\"1") { 1 - number } else { number }))
            .collect();
        let end = Some(data.tokenizer.end_of_text());
        let (temperature, max_new_tokens) = (temperature as f32, 90);
        let sampling = Sampling { temperature, top_k: 0, top_p: 1.0, max_new_tokens, end_of_text: end };
        let (mut first, seed) = (0, world(&[]).seed);
        for (line, prompt) in lines.iter().zip(&data.ranking_prompts.train) {
            assert_eq!(line["set"], "train");
            for (j, found) in responses(line).into_iter().enumerate() {
                let draw = Draw { seed, stage: Address::RewardModel, step: 0, episode: first + j as u64 };
                let model = &models[j % models.len()];
                let expected = model.generate(&[prompt.as_slice()], &sampling, &[draw], &|_| true);
                assert_eq!(found, expected[0].tokens, "{names}, response {j}");
            }
            first += 3;
        }
        all.push(lines);
    }
    assert!(all[0] != all[1] && all[0] != all[2]);
}
