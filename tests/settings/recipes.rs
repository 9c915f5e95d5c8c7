//! Settings that name models, and those that say which stages there are: through a run of single stages.

use std::fs;
use std::path::Path;
use std::sync::atomic::AtomicBool;

use instructgpt::app::pipeline;
use instructgpt::checkpoint::{load_model_directory, save_model_directory};
use instructgpt::data::examples::load_examples;
use instructgpt::engine::Cpu;
use instructgpt::error::Result;
use instructgpt::eval::run_tasks::{Asking, Prepared};
use instructgpt::eval::tasks::{Instruction, Style, named};
use instructgpt::model::{Draw, Head, Network, Sampling};
use instructgpt::num::rng::Stage as Address;
use instructgpt::run::progress::Silent;
use instructgpt::run::{Finished, Run, Stage, StageId, StageState, Step, Watch};
use instructgpt::train::dataset::Dataset;
use instructgpt::train::inputs::Inputs;
use instructgpt::train::pretrain::Pretrain;
use serde_json::{Value, json};

use crate::{DATA, network, settings};

/// A folder with data files, and the models "one" and "two", language models, "reward", and "zero", which scores 0.
fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    fs::write(path.join("text.txt"), "a story of a cat<|endoftext|>".repeat(60)).unwrap();
    let demonstrations =
        (0..60).map(|i| json!({ "prompt": format!("say {i}"), "response": "cat" }).to_string());
    fs::write(path.join("demonstrations"), demonstrations.collect::<Vec<_>>().join("\n")).unwrap();
    let ranked = |i| json!({ "prompt": format!("ask {i}"), "responses": ["cat", "dog"], "ranks": [1, 2] });
    let ranked = (0..60).map(|i| ranked(i).to_string());
    fs::write(path.join("comparisons"), ranked.collect::<Vec<_>>().join("\n")).unwrap();
    save(path, "one", &network(Head::LanguageModel, 1));
    save(path, "two", &network(Head::LanguageModel, 2));
    let reward = network(Head::Scalar, 3);
    save(path, "reward", &reward);
    save(path, "zero", &scaled(&reward, 0.0));
    save(path, "opposite", &scaled(&reward, -1.0));
    folder
}

fn save(folder: &Path, name: &str, network: &Network) {
    save_model_directory(&folder.join(name), network, Some(&DATA.tokenizer), &[]).unwrap();
}

/// The same reward model with its scores times a factor.
fn scaled(reward: &Network, factor: f32) -> Network {
    let mut network = reward.clone();
    let mut parameters = network.parameters().into_owned();
    parameters[network.layout.head.clone()].iter_mut().for_each(|w| *w *= factor);
    network.set_parameters(parameters);
    network
}

const FILES: [&str; 2] = ["data.demonstrations=[\"demonstrations\"]", "data.comparisons=[\"comparisons\"]"];

/// Runs one stage in a run directory.
fn stage(folder: &Path, out: &Path, stage: StageId, changes: &[&str]) {
    let (settings, stop) = (settings(&[&FILES[..], changes].concat()), AtomicBool::new(false));
    pipeline::stages(&settings, folder, out, true, Some(stage), &mut Silent, &stop).unwrap();
}

fn lines(out: &Path) -> Vec<Value> {
    let text = fs::read_to_string(out.join("metrics.jsonl")).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn load(folder: &Path, name: &str) -> Network {
    load_model_directory(&folder.join(name)).unwrap()
}

/// Each stage begins with the model that its `init_from` names: without a learning rate it leaves it as it is.
#[test]
fn stages_begin_with_the_model_that_is_named() {
    let folder = folder();
    for (id, section, model, left) in [
        (StageId::Pretrain, "pretrain", "one", "pretrain"),
        (StageId::Sft, "sft", "two", "sft"),
        (StageId::RlhfInit, "rlhf_init", "one", "rlhf_init"),
        (StageId::RewardModel, "reward_model", "reward", "reward_model"),
        (StageId::PpoPtx, "ppo", "two", "policy"),
    ] {
        let out = tempfile::tempdir().unwrap();
        let from = format!("{section}.init_from={model}");
        let rate = format!("{section}.learning_rate=0.0");
        let others = ["reward_model.center_on_demonstrations=false", "ppo.reward_model_from=reward"];
        stage(folder.path(), out.path(), id, &[&[from.as_str(), &rate][..], &others].concat());
        let (found, expected) = (load(out.path(), left), load(folder.path(), model));
        assert_eq!(found, expected, "{section}.init_from");
    }
}

/// The first line of PPO, whose first numbers follow from the models it was given.
fn first_line(folder: &Path, changes: &[&str]) -> Value {
    let out = tempfile::tempdir().unwrap();
    let base = ["ppo.init_from=one", "ppo.kl_coef=0.0", "ppo.episodes=6", "ppo.value_learning_rate=0.0"];
    stage(folder, out.path(), StageId::PpoPtx, &[&base[..], changes].concat());
    lines(out.path()).remove(0)
}

#[test]
fn ppo_takes_reward_reference_and_value_function_from_where_they_are_named() {
    let folder = folder();
    let line = |changes: &[&str]| first_line(folder.path(), changes);
    // The reference is the policy's first weights, or another model.
    let own = line(&["ppo.reward_model_from=reward"]);
    assert_eq!(own["kl"], 0.0);
    assert_eq!(line(&["ppo.reward_model_from=reward", "ppo.reference_from=one"]), own);
    assert_ne!(line(&["ppo.reward_model_from=reward", "ppo.reference_from=two"])["kl"], 0.0);
    // Who rewards.
    assert_eq!(line(&["ppo.reward_model_from=zero"])["reward"], 0.0);
    let [reward, opposite] =
        [&own, &line(&["ppo.reward_model_from=opposite"])].map(|line| line["reward"].as_f64().unwrap());
    assert!(reward != 0.0 && reward == -opposite);
    // A value function that is the reward model: where that says 0, so does it, and is right.
    assert_eq!(line(&["ppo.reward_model_from=zero"])["value_loss"], 0.0);
    assert_ne!(line(&["ppo.reward_model_from=zero", "ppo.value_init_from=reward"])["value_loss"], 0.0);
}

/// Plain PPO is trained beside PPO-ptx only where that is asked for, and is what PPO without ptx gives.
#[test]
fn plain_ppo_is_trained_to_compare_where_it_is_asked_for() {
    let folder = folder();
    let run = |changes: &[&str]| {
        let out = tempfile::tempdir().unwrap();
        let base = ["ppo.init_from=one", "ppo.reward_model_from=reward"];
        stage(folder.path(), out.path(), StageId::PpoPtx, &[&base[..], changes].concat());
        let model = |name: &str| out.path().join(name).exists().then(|| load(out.path(), name));
        (model("policy"), model("policy_without_ptx"))
    };
    let (ptx, nothing) = run(&[]);
    assert!(nothing.is_none());
    let (policy, plain) = run(&["ppo.also_without_ptx=true"]);
    assert_eq!(policy, ptx);
    assert_eq!(plain, run(&["ppo.ptx_coef=0.0"]).0);
    assert_ne!(plain, ptx);
}

/// The SFT model is the epoch whose answers to validation prompts the named reward model likes best; one that thinks
/// the opposite takes the other.
#[test]
fn sft_selects_the_epoch_that_the_named_reward_model_likes() {
    let folder = folder();
    let mut chosen = Vec::new();
    for reward in ["reward", "opposite"] {
        let out = tempfile::tempdir().unwrap();
        let from = format!("sft.reward_model_from={reward}");
        let changes = ["sft.init_from=one", "sft.select=reward", "sft.eval_examples=3", from.as_str()];
        let changes = [&changes[..], &["data.validation_fraction=0.4"]].concat();
        let settings = settings(&[&FILES[..], &changes].concat());
        stage(folder.path(), out.path(), StageId::Sft, &changes);
        let epochs = ["epoch-01", "epoch-02"].map(|name| load(&out.path().join("sft_epochs"), name));

        // By hand: the answers as PPO samples, the scores at their ends, the mean.
        let prompts = Dataset::load(&settings, folder.path()).unwrap().prompts.validation;
        assert!(prompts.len() > 3);
        let prompts: Vec<&[u32]> = prompts.iter().take(3).map(Vec::as_slice).collect();
        let end = Some(DATA.tokenizer.end_of_text());
        let sampling =
            Sampling { temperature: 0.8, top_k: 0, top_p: 1.0, max_new_tokens: 5, end_of_text: end };
        let draw = |episode| Draw { seed: settings.seed, stage: Address::Sft, step: 0, episode };
        let mut judge = load(folder.path(), reward);
        let mean = |network: &Network| {
            let responses = network.generate(&prompts, &sampling, &[0, 1, 2].map(draw), &|_| true);
            let whole = prompts.iter().zip(responses).map(|(prompt, r)| [prompt, &r.tokens[..]].concat());
            let whole: Vec<Vec<u32>> = whole.collect();
            judge.scores(whole.iter().map(Vec::as_slice)).iter().sum::<f32>() / 3.0
        };
        let means = epochs.each_ref().map(mean);
        assert_ne!(means[0], means[1]);

        stage(folder.path(), out.path(), StageId::SftSelection, &changes);
        let best = usize::from(means[1] > means[0]);
        assert_eq!(load(out.path(), "sft"), epochs[best], "{reward}: {means:?}");
        chosen.push(best);
    }
    assert_ne!(chosen[0], chosen[1]);
}

/// Figure 2: from which model each stage starts. Those without a learning rate leave the model that they start from.
#[test]
fn stages_begin_with_the_models_of_figure_2() {
    let folder = folder();
    let out = tempfile::tempdir().unwrap();
    let rates = ["reward_model.learning_rate=0.0", "rlhf_init.learning_rate=0.0", "ppo.learning_rate=0.0"];
    let more = ["reward_model.center_on_demonstrations=false", "ppo.value_learning_rate=0.0"];
    let changes = [&rates[..], &more].concat();
    for id in [StageId::Pretrain, StageId::Sft, StageId::RewardModel, StageId::RlhfInit, StageId::PpoPtx] {
        stage(folder.path(), out.path(), id, &changes);
    }
    let [pretrain, sft, reward, init, policy] =
        ["pretrain", "sft", "reward_model", "rlhf_init", "policy"].map(|name| load(out.path(), name));
    assert_ne!(sft, pretrain);
    // The same trunk under another head.
    let trunk = |network: &Network| network.parameters()[..network.layout.ln_f.bias.end].to_vec();
    assert_eq!(trunk(&reward), trunk(&sft));
    assert_eq!(init, pretrain);
    assert_eq!(policy, init);

    // Without epochs of its own the RLHF init is the SFT model; a reward model may start from what is no SFT model.
    let out_2 = tempfile::tempdir().unwrap();
    let changes = [&changes[..], &["rlhf_init.epochs=0"]].concat();
    for id in [StageId::Pretrain, StageId::Sft, StageId::RlhfInit] {
        stage(folder.path(), out_2.path(), id, &changes);
    }
    assert_eq!(load(out_2.path(), "rlhf_init"), load(out_2.path(), "sft"));
    assert_eq!(load(out_2.path(), "sft"), sft);
}

/// The evaluation measures KL from the RLHF init: 0 for that itself, and for another model far above 0.
#[test]
fn the_evaluation_measures_kl_from_the_rlhf_init() {
    let (folder, out) = (folder(), tempfile::tempdir().unwrap());
    save(out.path(), "rlhf_init", &network(Head::LanguageModel, 1));
    save(out.path(), "policy", &network(Head::LanguageModel, 2));
    stage(folder.path(), out.path(), StageId::Evaluation, &["ppo.reward_model_from=reward"]);
    let results: Value = serde_json::from_slice(&fs::read(out.path().join("results.json")).unwrap()).unwrap();
    let kl_of = |name: &str| {
        let tables = results["tables"].as_array().unwrap().iter();
        let column = |table: &Value| {
            table["columns"].as_array().unwrap().iter().position(|c| c.as_str().unwrap().starts_with("KL"))
        };
        let (table, column) = tables.filter_map(|t| Some((t, column(t)?))).next().expect("a column for KL");
        let row = table["rows"].as_array().unwrap().iter().find(|row| row[0] == name).expect(name);
        row[column].as_str().unwrap().parse::<f64>().unwrap()
    };
    assert_eq!(kl_of("rlhf_init"), 0.0);
    assert!(kl_of("ppo") > 1.0, "{}", kl_of("ppo"));
}

/// A stage that counts how often its state is saved.
struct Counted<'a> {
    stage: Pretrain<'a>,
    saved: &'a std::cell::Cell<u32>,
}

impl Stage for Counted<'_> {
    type Engine = Cpu;

    fn steps(&self) -> u64 {
        self.stage.steps()
    }

    fn step(&mut self, step: u64, watch: &mut Watch) -> Result<Step> {
        self.stage.step(step, watch)
    }

    fn state(&self) -> Option<StageState<'_>> {
        self.saved.set(self.saved.get() + 1);
        self.stage.state()
    }

    fn finish(self) -> Result<Finished<Cpu>> {
        self.stage.finish()
    }
}

/// Of six steps, states after each second are two (the last is the end); after each fourth one; with 0 none.
#[test]
fn states_are_saved_as_often_as_is_set() {
    for (change, expected) in
        [("checkpoint_every=2", 2), ("checkpoint_every=4", 1), ("checkpoint_every=0", 0)]
    {
        let (settings, out) = (settings(&[change]), tempfile::tempdir().unwrap());
        let (mut silent, stop, saved) = (Silent, AtomicBool::new(false), std::cell::Cell::new(0));
        let mut run = Run::open(&settings, out.path(), false, &mut silent, &stop).unwrap();
        let network = network(Head::LanguageModel, 1);
        let stage = Pretrain::new(Inputs::new(&settings, &DATA), &settings.pretrain, network).unwrap();
        run.drive(StageId::Pretrain, &DATA.tokenizer, Counted { stage, saved: &saved }).unwrap();
        assert_eq!(saved.get(), expected, "{change}");
    }
}

/// What a stage left is what the library leaves when it is asked in that way.
#[test]
fn public_benchmarks_are_asked_as_is_set() {
    let folder = folder();
    let path = folder.path();
    let (rte, other): (Vec<String>, Vec<String>) = (0..5)
        .map(|i| {
            let record =
                |noun: &str| json!({ "sentence1": format!("{noun} {i}"), "sentence2": "It is.", "label": i % 2 });
            (record("cat").to_string(), record("dog").to_string())
        })
        .unzip();
    fs::create_dir(path.join("benchmarks")).unwrap();
    fs::write(path.join("benchmarks/rte.jsonl"), rte.join("\n")).unwrap();
    fs::write(path.join("benchmarks/sst2.tsv"), "sentence\tlabel\na\t1\nb\t0\nc\t1\n").unwrap();
    fs::write(path.join("other"), other.join("\n")).unwrap();
    let usual = Asking {
        style: Style::Paper,
        shots: 0,
        seed: settings(&[]).seed,
        limit: None,
        instruction: Instruction::None,
    };
    let rte = [("rte", "benchmarks/rte.jsonl")];
    let both = [rte[0], ("sst2", "benchmarks/sst2.tsv")];
    for (changes, asked, asking) in [
        (["evaluation.tasks=[\"rte\"]", "evaluation.data=[\"benchmarks\"]", "seed=3"], &rte[..], usual),
        (["evaluation.tasks=[\"rte\",\"sst2\"]", "evaluation.data=[\"benchmarks\"]", "seed=3"], &both, usual),
        (
            ["evaluation.tasks=[\"rte\"]", "evaluation.data=[\"other\"]", "evaluation.limit=2"],
            &[("rte", "other")],
            Asking { limit: Some(2), ..usual },
        ),
        (
            [
                "evaluation.tasks=[\"rte\",\"sst2\"]",
                "evaluation.data=[\"other\",\"benchmarks/sst2.tsv\"]",
                "evaluation.shots=2",
            ],
            &[("rte", "other"), both[1]],
            Asking { shots: 2, ..usual },
        ),
        (
            [
                "evaluation.tasks=[\"rte\"]",
                "evaluation.data=[\"benchmarks\"]",
                "evaluation.style=\"lm-eval\"",
            ],
            &rte,
            Asking { style: Style::LmEval, ..usual },
        ),
    ] {
        let out = tempfile::tempdir().unwrap();
        stage(path, out.path(), StageId::Pretrain, &changes);
        stage(path, out.path(), StageId::Benchmarks, &changes);
        let network = load(out.path(), "pretrain");
        let left = out.path().join("benchmarks/pretrain");
        assert_eq!(fs::read_dir(&left).unwrap().count(), asked.len() + 1, "{changes:?}");
        for (task, file) in asked {
            let documents = load_examples(&path.join(file)).unwrap();
            let prepared = Prepared::new(named(task).unwrap(), &documents, asking).unwrap();
            let expected = prepared.ask(&network, &DATA.tokenizer, None, 512, &mut Silent, &|| Ok(()));
            let expected = expected.unwrap().samples;
            let found = left.join(format!("samples_{task}_{}.jsonl", asking.style.name()));
            assert_eq!(fs::read_to_string(found).unwrap(), expected, "{changes:?}");
        }
    }
}
