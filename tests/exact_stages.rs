//! What each stage promises exactly, stage by stage: a learning rate of 0 changes nothing, the first PPO
//! ratio is 1, the order inside a ranking cannot matter, dropout is where the paper has it, and PPO without
//! the pretraining term is plain PPO. Bits, not tolerances.

#[path = "common/runs.rs"]
mod runs;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::sync::LazyLock;
use std::sync::atomic::AtomicBool;

use instructgpt::checkpoint::load_latest_state;
use instructgpt::data::{Comparison, Side};
use instructgpt::engine::Cpu;
use instructgpt::error::{Error, Result};
use instructgpt::loss::reward_loss::reward_loss;
use instructgpt::model::{Draw, Head, Network, Sampling};
use instructgpt::num::math::sigmoid;
use instructgpt::num::par::with_threads;
use instructgpt::num::rng::{Purpose, Rng, Stage};
use instructgpt::num::statistics::Clustered;
use instructgpt::run::progress::Silent;
use instructgpt::run::{Run, StageId};
use instructgpt::settings::{Select, Settings};
use instructgpt::train::collect::{COMPARISONS, Collect};
use instructgpt::train::dataset::{Dataset, Ranking};
use instructgpt::train::inputs::Inputs;
use instructgpt::train::ppo::{Networks, Ppo};
use instructgpt::train::pretrain::Pretrain;
use instructgpt::train::reward::RewardFunction;
use instructgpt::train::reward_model::{RewardModel, rank, with_scalar_head};
use instructgpt::train::rollouts::Rollouts;
use instructgpt::train::sft::Sft;
use instructgpt::train::sft_selection::SftSelection;
use instructgpt::world::World;
use runs::{StopAfter, tiny};
use serde_json::{Value, json};

static DATA: LazyLock<Dataset> = LazyLock::new(|| Dataset::load(&tiny(&[]), Path::new(".")).unwrap());

/// A fresh language model over the data's tokens.
fn language_model(settings: &Settings) -> Network {
    let config = settings.model.config(DATA.tokenizer.vocab_size(), settings.precision);
    Network::random(Cpu, config, Head::LanguageModel, settings.seed)
}

/// A fresh reward model.
fn scalar_model(settings: &Settings) -> Network {
    with_scalar_head(language_model(settings), settings.seed)
}

/// Runs one stage in a directory of its own; what it returns, and its lines of `metrics.jsonl`.
fn stage(
    settings: &Settings,
    train: impl FnOnce(&mut Run) -> Result<Network> + Send,
) -> (Network, Vec<Value>) {
    let (network, lines, _) = stage_with_results(settings, train);
    (network, lines)
}

/// [`stage`], and `results.json`.
fn stage_with_results(
    settings: &Settings,
    train: impl FnOnce(&mut Run) -> Result<Network> + Send,
) -> (Network, Vec<Value>, Value) {
    let out = tempfile::tempdir().unwrap();
    let (mut silent, stop) = (Silent, AtomicBool::new(false));
    let mut run = Run::open(settings, out.path(), false, &mut silent, &stop).unwrap();
    let network = with_threads(2, || train(&mut run)).unwrap();
    (network, read_metrics(out.path()), read_results(out.path()))
}

fn read_results(out: &Path) -> Value {
    serde_json::from_str(&fs::read_to_string(out.join("results.json")).unwrap()).unwrap()
}

fn pretrain(run: &mut Run, network: Network) -> Result<Network> {
    let s = run.settings;
    let stage = Pretrain::new(Inputs::new(s, &DATA), &s.pretrain, network)?;
    run.drive(StageId::Pretrain, &DATA.tokenizer, stage).map(Option::unwrap)
}

/// SFT, or the RLHF init.
fn sft(run: &mut Run, data: &Dataset, id: StageId, network: Network) -> Result<Network> {
    let (s, inputs) = (run.settings, Inputs::new(run.settings, data));
    let epochs = run.directory.path.join("sft_epochs");
    let stage = match id {
        StageId::Sft => Sft::new(id, inputs, s.sft.clone(), 0.0, network, epochs)?,
        _ => Sft::new(id, inputs, s.rlhf_init.as_sft(), s.rlhf_init.pretrain_fraction, network, epochs)?,
    };
    run.drive(id, &data.tokenizer, stage).map(Option::unwrap)
}

fn reward_model(run: &mut Run, data: &Dataset, network: Network) -> Result<Network> {
    let s = run.settings;
    let stage = RewardModel::new(Inputs::new(s, data), &s.reward_model, network)?;
    run.drive(StageId::RewardModel, &data.tokenizer, stage).map(Option::unwrap)
}

/// A reward model from rankings of what `samplers` write.
fn collected_reward_model(run: &mut Run, network: Network, samplers: Vec<Network>) -> Result<Network> {
    collect(run, samplers)?;
    let mut data = Dataset::load(run.settings, Path::new("."))?;
    data.load_rankings(run.settings, &run.directory.path.join(COMPARISONS))?;
    reward_model(run, &data, network)
}

fn collect(run: &mut Run, samplers: Vec<Network>) -> Result<()> {
    let (s, prompts) = (run.settings, &DATA.ranking_prompts);
    let mut world = DATA.world.clone().unwrap();
    let limit = s.data.max_response_tokens;
    let stage = Collect::new(s.seed, &s.reward_model, prompts, limit, samplers, &mut world, &DATA.tokenizer)?;
    run.drive(StageId::Collect, &DATA.tokenizer, stage).map(drop)
}

fn read_metrics(out: &Path) -> Vec<Value> {
    let text = fs::read_to_string(out.join("metrics.jsonl")).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// PPO from fresh models, rewarded by a fresh reward model.
fn ppo(settings: &Settings) -> (Network, Vec<Value>) {
    let mut reward = scalar_model(settings);
    stage(settings, |run| ppo_in(run, &mut reward))
}

fn ppo_in(run: &mut Run, reward: &mut impl RewardFunction) -> Result<Network> {
    let s = run.settings;
    let policy = language_model(s);
    let networks = Networks { reference: policy.clone(), policy, value: scalar_model(s), reward };
    let stage = Ppo::new(Inputs::new(s, &DATA), &s.ppo, networks)?;
    run.drive(StageId::Ppo, &DATA.tokenizer, stage).map(Option::unwrap)
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|value| value.to_bits()).collect()
}

fn assert_same_model(found: &Network, expected: &Network, what: &str) {
    assert_eq!((&found.config, found.head), (&expected.config, expected.head), "{what}");
    let (parameters, others) = (found.parameters(), expected.parameters());
    let differ = parameters.iter().zip(others.iter()).position(|(a, b)| a.to_bits() != b.to_bits());
    assert_eq!(
        differ.map(|index| found.layout.name_of(index)),
        None,
        "{what}: the first tensor that differs"
    );
}

fn assert_other_model(found: &Network, other: &Network, what: &str) {
    assert_ne!(bits(&found.parameters()), bits(&other.parameters()), "{what}");
}

#[test]
fn a_learning_rate_of_0_changes_nothing() {
    let mut settings = tiny(&["sft.select=last", "reward_model.center_on_demonstrations=false"]);
    settings.pretrain.learning_rate = 0.0;
    settings.sft.learning_rate = 0.0;
    settings.reward_model.learning_rate = 0.0;
    settings.rlhf_init.learning_rate = 0.0;
    let model = language_model(&settings);

    let (after, lines) = stage(&settings, |run| pretrain(run, model.clone()));
    assert_same_model(&after, &model, "pretrain");
    assert_eq!(lines.len() as u64, settings.pretrain.steps);
    for id in [StageId::Sft, StageId::RlhfInit] {
        let (after, lines) = stage(&settings, |run| sft(run, &DATA, id, model.clone()));
        assert_same_model(&after, &model, id.name());
        assert!(!lines.is_empty());
    }
    let reward = scalar_model(&settings);
    let train = |run: &mut Run| collected_reward_model(run, reward.clone(), vec![model.clone()]);
    assert_same_model(&stage(&settings, train).0, &reward, "reward_model");

    // Centred, its final bias moves and nothing else.
    settings.reward_model.center_on_demonstrations = true;
    let (after, _) = stage(&settings, train);
    let (parameters, before) = (after.parameters(), reward.parameters());
    let moved: Vec<&str> = (0..parameters.len())
        .filter(|&i| parameters[i].to_bits() != before[i].to_bits())
        .map(|i| after.layout.name_of(i))
        .collect();
    assert!(!moved.is_empty() && moved.iter().all(|name| *name == "transformer.ln_f.bias"), "{moved:?}");
}

#[test]
fn ppo_with_learning_rates_of_0_changes_nothing() {
    let settings = tiny(&["ppo.learning_rate=0.0", "ppo.value_learning_rate=0.0"]);
    let (policy, value) = (language_model(&settings), scalar_model(&settings));
    let mut reward = scalar_model(&settings);
    let (average, lines) = stage(&settings, |run| ppo_in(run, &mut reward));
    assert_same_model(&average, &policy, "the averaged policy");
    // The policy samples from the reference all along.
    assert!(lines.iter().all(|line| line["kl"] == 0.0 && line["ratio_max"] == 1.0), "{lines:?}");

    // What is saved in the middle: weights and average, policy and value function.
    let out = tempfile::tempdir().unwrap();
    let stop = AtomicBool::new(false);
    let mut progress = StopAfter::new(4, &stop);
    let mut run = Run::open(&settings, out.path(), false, &mut progress, &stop).unwrap();
    assert!(matches!(ppo_in(&mut run, &mut reward), Err(Error::Interrupted { .. })));
    let saved = load_latest_state(&out.path().join("state/ppo")).unwrap().unwrap();
    assert_eq!(saved.step, 4);
    let buffers = [("policy.parameters", &policy), ("policy.average", &policy), ("value.parameters", &value)];
    for (name, model) in buffers {
        assert_eq!(bits(&saved.state.buffers[name]), bits(&model.parameters()), "{name}");
    }
    assert!(saved.state.buffers["policy.first_moment"].iter().any(|&m| m != 0.0), "there was a gradient");
}

/// The paper's value function has a fixed learning rate (C.4), which was once warmed up with the policy's.
#[test]
fn the_warm_up_is_the_policys_alone_unless_asked_for() {
    let rates = |more: &[&str]| -> Vec<(f32, f32)> {
        let changes = [
            "ppo.learning_rate=0.00390625",
            "ppo.value_learning_rate=0.001953125",
            "ppo.episodes=24",
            "ppo.batch=8",
            "ppo.minibatches=2",
            "ppo.inner_epochs=1",
            "ppo.warmup_iterations=2",
            "ppo.warmup_start=0.1",
        ];
        let (_, lines) = ppo(&tiny(&[&changes[..], more].concat()));
        let rate = |line: &Value, name: &str| line[name].as_f64().unwrap() as f32;
        lines.iter().map(|line| (rate(line, "learning_rate"), rate(line, "value_learning_rate"))).collect()
    };
    // An iteration's last update is the second of four in the warm-up, the fourth, and one behind it.
    // Powers of two, so that a share of them is exact.
    let (policy, value) = (0.00390625, 0.001953125);
    let fixed = [0.325, 0.775, 1.0].map(|share| (share * policy, value));
    assert_eq!(rates(&[]), fixed);
    let warmed_up = [0.325, 0.775, 1.0].map(|share| (share * policy, share * value));
    assert_eq!(rates(&["ppo.value_warmup=true"]), warmed_up);
}

/// The last iteration is validated whatever `eval_every` is.
#[test]
fn ppo_ends_with_a_validation() {
    for (every, validated) in [(0, vec![3]), (2, vec![2, 3]), (7, vec![3])] {
        let (_, lines) = ppo(&tiny(&["ppo.episodes=24", "ppo.batch=8", &format!("ppo.eval_every={every}")]));
        let found: Vec<u64> = lines
            .iter()
            .filter(|line| line.get("validation_reward").is_some())
            .map(|line| line["step"].as_u64().unwrap())
            .collect();
        assert_eq!(found, validated, "every {every}");
    }
}

/// A reward function of a user's that forgets some responses, invents some, or divides by zero.
#[test]
fn a_wrong_number_of_scores_is_an_error_and_drops_no_episode() {
    type Give = fn(usize) -> Vec<f32>;
    struct Scores(Give);
    impl RewardFunction for Scores {
        fn scores(&mut self, rollouts: &Rollouts) -> Vec<f32> {
            (self.0)(rollouts.len())
        }
    }
    let settings = tiny(&["ppo.batch=8", "ppo.eval_every=1", "ppo.eval_prompts=5"]);
    let cases: [(Give, &str); 5] = [
        (|n| vec![0.5; n - 1], "the number of scores that the reward function gave is 7, for 8 responses"),
        (|n| vec![0.5; n + 1], "the number of scores that the reward function gave is 9, for 8 responses"),
        (|_| vec![], "the number of scores that the reward function gave is 0, for 8 responses"),
        (|n| [vec![0.5; n - 1], vec![f32::NAN]].concat(), "a response's score is NaN"),
        // Of the validation alone.
        (|n| vec![0.5; n.max(6)], "the number of scores that the reward function gave is 6, for 5 responses"),
    ];
    for (scores, said) in cases {
        let out = tempfile::tempdir().unwrap();
        let (mut silent, stop) = (Silent, AtomicBool::new(false));
        let mut run = Run::open(&settings, out.path(), false, &mut silent, &stop).unwrap();
        let error = ppo_in(&mut run, &mut Scores(scores)).err().unwrap().to_string();
        assert!(error.starts_with(&format!("ppo: step 1: {said}")), "{error}");
        assert!(read_metrics(out.path()).is_empty(), "nothing was learnt from it");
    }
}

#[test]
fn the_first_ratio_of_every_iteration_is_exactly_1() {
    for changes in [
        &[][..],
        &["ppo.temperature=0.7"],
        &["model.attention_window=16"],
        &["micro_batch_tokens=1"],
        &["ppo.inner_epochs=3"],
    ] {
        let (_, lines) = ppo(&tiny(changes));
        assert_eq!(lines.len(), 6);
        assert!(lines.iter().all(|line| line["first_ratio_max"] == 1.0), "{changes:?}: {lines:?}");
        assert!(lines.iter().any(|line| line["ratio_max"] != 1.0), "the policy moves: {lines:?}");
    }
    // With one update an iteration, every ratio is a first one.
    let (_, lines) = ppo(&tiny(&["ppo.minibatches=1", "ppo.inner_epochs=1"]));
    for line in &lines {
        for (field, expected) in [("ratio_max", 1.0), ("approx_kl", 0.0), ("clip_fraction", 0.0)] {
            assert_eq!(line[field], expected, "{field}: {line}");
        }
    }
}

#[test]
fn without_its_coefficient_ppo_ptx_is_plain_ppo() {
    let coefficient = ppo(&tiny(&["ppo.ptx_coef=0.0"]));
    let examples = ppo(&tiny(&["ppo.ptx_examples_per_episode=0"]));
    assert_same_model(&coefficient.0, &examples.0, "ptx_coef = 0 and no examples");
    assert_eq!(coefficient.1, examples.1);
    assert_other_model(&coefficient.0, &ppo(&tiny(&[])).0, "with the pretraining gradient");
}

/// Settings whose data are files in `root`: the world's scripted comparisons, their responses in an order
/// drawn from `order`.
fn comparison_files(root: &Path, order: u64) -> Settings {
    let world = World::new(5);
    let lines = |records: Vec<String>| records.join("\n");
    let demonstrations = world.demonstrations(30, Side::Train);
    let demonstrations = demonstrations.iter().map(|record| {
        serde_json::json!({ "prompt": record.prompt, "response": record.response }).to_string()
    });
    let mut rng = Rng::at(order, Stage::Test, Purpose::Shuffle, 0, 0, 0);
    let comparisons = world.comparisons(20, Side::Train, 4..=9).into_iter().map(|comparison| {
        let Comparison { prompt, responses, ranks, .. } = comparison;
        let mut pairs: Vec<(String, u32)> = responses.into_iter().zip(ranks).collect();
        rng.shuffle(&mut pairs);
        let (responses, ranks): (Vec<String>, Vec<u32>) = pairs.into_iter().unzip();
        serde_json::json!({ "prompt": prompt, "responses": responses, "ranks": ranks }).to_string()
    });
    fs::write(root.join("demonstrations.jsonl"), lines(demonstrations.collect())).unwrap();
    fs::write(root.join("comparisons.jsonl"), lines(comparisons.collect())).unwrap();
    let mut settings = tiny(&["data.world=false"]);
    settings.data.demonstrations = vec!["demonstrations.jsonl".into()];
    settings.data.comparisons = vec!["comparisons.jsonl".into()];
    settings
}

#[test]
fn the_order_of_responses_in_a_ranking_changes_no_bit() {
    let mut models = Vec::new();
    let mut texts = Vec::new();
    for order in 0..3 {
        let root = tempfile::tempdir().unwrap();
        let settings = comparison_files(root.path(), order);
        texts.push(fs::read_to_string(root.path().join("comparisons.jsonl")).unwrap());
        let data = Dataset::load(&settings, root.path()).unwrap();
        assert!(
            data.rankings.train.iter().any(|r| r.ranks.windows(2).any(|pair| pair[0] == pair[1])),
            "ties"
        );
        let config = settings.model.config(data.tokenizer.vocab_size(), settings.precision);
        let start = Network::random(Cpu, config, Head::Scalar, settings.seed);
        let (model, lines) = stage(&settings, |run| reward_model(run, &data, start.clone()));
        assert_other_model(&model, &start, "it learns");
        models.push((model, lines));
    }
    assert_ne!(texts[0], texts[1]);
    for (model, lines) in &models[1..] {
        assert_same_model(model, &models[0].0, "shuffled responses");
        assert_eq!(*lines, models[0].1);
    }
}

/// The rankings in a run's file, as JSON.
fn collected(settings: &Settings, samplers: Vec<Network>) -> Vec<Value> {
    let out = tempfile::tempdir().unwrap();
    let (mut silent, stop) = (Silent, AtomicBool::new(false));
    let mut run = Run::open(settings, out.path(), false, &mut silent, &stop).unwrap();
    with_threads(2, || collect(&mut run, samplers)).unwrap();
    let text = fs::read_to_string(out.path().join(COMPARISONS)).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn models_take_turns_and_a_responses_draws_are_its_own() {
    let settings = tiny(&["reward_model.written_share=0.0"]);
    let [first, second] = [1, 2].map(|seed| language_model(&Settings { seed, ..settings.clone() }));
    let one = collected(&settings, vec![first.clone()]);
    let other = collected(&settings, vec![second.clone()]);
    let both = collected(&settings, vec![first, second]);
    assert!(one.len() > 12 && one.len() == both.len());
    for ((one, other), both) in one.iter().zip(&other).zip(&both) {
        let responses = |line: &Value| line["response_tokens"].as_array().unwrap().clone();
        assert!(responses(one).len() >= 3);
        for (j, response) in responses(both).into_iter().enumerate() {
            assert_eq!(response, responses(if j % 2 == 0 { one } else { other })[j]);
        }
    }
}

/// Tokens that were sampled do not always survive being decoded and encoded: they are trained on as they were.
#[test]
fn what_was_sampled_is_what_is_trained_on() {
    let settings = tiny(&[]);
    let out = tempfile::tempdir().unwrap();
    let (mut silent, stop) = (Silent, AtomicBool::new(false));
    let mut run = Run::open(&settings, out.path(), false, &mut silent, &stop).unwrap();
    with_threads(2, || collect(&mut run, vec![language_model(&settings)])).unwrap();
    let path = out.path().join(COMPARISONS);
    let mut data = Dataset::load(&settings, Path::new(".")).unwrap();
    data.load_rankings(&settings, &path).unwrap();
    let text = fs::read_to_string(&path).unwrap();
    let sampled: BTreeSet<Vec<u32>> = text
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap())
        .flat_map(|line| line["response_tokens"].as_array().unwrap().clone())
        .map(|tokens| serde_json::from_value(tokens).unwrap())
        .collect();
    let rankings = || Side::ALL.into_iter().flat_map(|side| data.rankings.of(side));
    assert!(Side::ALL.iter().all(|&side| data.rankings.of(side).len() > 6));
    let mut responses = rankings().flat_map(|ranking| &ranking.responses).map(|example| example.response());
    assert!(responses.clone().all(|response| sampled.contains(response)));
    assert!(
        responses.any(|response| DATA.tokenizer.encode(&DATA.tokenizer.decode_lossy(response)) != response)
    );
    // Another tokenizer's would be other texts.
    fs::write(&path, text.replace("\"prompt_tokens\":[", "\"prompt_tokens\":[99999,")).unwrap();
    let error = data.load_rankings(&settings, &path).unwrap_err().to_string();
    assert!(error.contains("99999") && error.contains("tokenizer"), "{error}");
}

#[test]
fn two_responses_give_the_plain_pairwise_loss() {
    let settings = tiny(&[]);
    let examples = &DATA.demonstrations.train;
    let rankings: Vec<Ranking> =
        examples.chunks_exact(2).map(|pair| Ranking::new(pair.to_vec(), vec![2, 1])).collect();
    let batch: Vec<&Ranking> = rankings.iter().take(6).collect();
    let weight = 1.0 / batch.len() as f32;
    let learner = || {
        let inputs = Inputs::new(&settings, &DATA);
        inputs.learner(scalar_model(&settings), inputs.optimizer(None, 0.0, 0.0))
    };
    let (mut k_way, mut pairwise) = (learner(), learner());
    for _ in 0..3 {
        rank(&mut k_way, &batch, |ranking, rewards, slopes| {
            reward_loss(rewards, &ranking.ranks, slopes, weight).unwrap();
        });
        // d/dr of -ln sigmoid(r_w - r_l): the better one stands first.
        rank(&mut pairwise, &batch, |_, rewards, slopes| {
            let pull = weight * sigmoid(rewards[1] - rewards[0]);
            slopes.copy_from_slice(&[-pull, pull]);
        });
        k_way.update(1e-2, 0.0).unwrap();
        pairwise.update(1e-2, 0.0).unwrap();
        assert_eq!(bits(&k_way.network.parameters()), bits(&pairwise.network.parameters()));
    }
    assert_other_model(&k_way.network, &scalar_model(&settings), "it learns");
}

#[test]
fn dropout_is_in_sft_and_the_rlhf_init_only() {
    let [without, with] = [0.0, 0.3].map(|rate| {
        let mut settings = tiny(&["sft.select=last"]);
        (settings.sft.dropout, settings.rlhf_init.dropout) = (rate, rate);
        settings
    });
    let model = language_model(&without);
    for id in [StageId::Sft, StageId::RlhfInit] {
        let train = |settings| stage(settings, |run| sft(run, &DATA, id, model.clone()));
        let (one, other, again) = (train(&without), train(&with), train(&with));
        assert_other_model(&one.0, &other.0, "dropout");
        assert_same_model(&other.0, &again.0, "the same dropout");
        assert_eq!(other.1, again.1);
        // The loss of the first step already shows it; validation never does, as it has no dropout.
        assert_ne!(one.1[0]["loss"], other.1[0]["loss"]);
    }
    let others = |settings: &Settings| {
        [
            stage(settings, |run| pretrain(run, model.clone())),
            stage(settings, |run| collected_reward_model(run, model.clone(), vec![model.clone()])),
            ppo(settings),
        ]
    };
    for ((one, lines), (other, other_lines)) in others(&without).iter().zip(others(&with).iter()) {
        assert_same_model(one, other, "a stage without dropout");
        assert_eq!(lines, other_lines);
    }
}

#[test]
fn the_best_epoch_by_validation_loss_is_returned_and_reported_also_after_a_stop() {
    // Eight demonstrations are learnt by heart after one epoch.
    let mut settings = tiny(&["world.demonstrations=8", "sft.epochs=3", "sft.schedule=constant"]);
    (settings.sft.learning_rate, settings.sft.select) = (0.05, Select::ValidationLoss);
    let mut last = settings.clone();
    last.sft.select = Select::Last;
    let data = Dataset::load(&settings, Path::new(".")).unwrap();
    let config = settings.model.config(data.tokenizer.vocab_size(), settings.precision);
    let model = Network::random(Cpu, config, Head::LanguageModel, settings.seed);
    let train = |run: &mut Run| sft(run, &data, StageId::Sft, model.clone());
    let (best, lines, results) = stage_with_results(&settings, train);
    let losses: Vec<f64> = lines.iter().filter_map(|line| line["validation_loss"].as_f64()).collect();
    assert!(losses.len() == 3 && losses[2] > losses[0].min(losses[1]), "{losses:?}");
    let (last, _, of_last) = stage_with_results(&last, train);
    assert_other_model(&best, &last, "the last epoch");
    let of_test = |network: &Network| {
        let (inputs, mut network) = (Inputs::new(&settings, &data), network.clone());
        let loss = inputs.demonstration_loss(&mut network, Side::Test, settings.sft.eval_examples);
        (json!(loss), json!(inputs.text_loss(&mut network, Side::Test)))
    };
    assert_resumes_anywhere(&settings, train);
    // The results are those of the epoch that is returned.
    let least = losses.iter().copied().fold(f64::MAX, f64::min);
    let epoch = losses.iter().position(|&loss| loss == least).unwrap() + 1;
    let exported = &results["sft"]["exported"];
    assert_eq!((&exported["epoch"], &exported["chosen_by"]), (&json!(epoch), &json!("validation_loss")));
    assert_eq!((exported["demonstration_loss"].clone(), exported["text_loss"].clone()), of_test(&best));
    let of_epochs: Vec<Value> = losses
        .iter()
        .zip(1..)
        .map(|(loss, epoch)| json!({ "epoch": epoch, "demonstration_loss": loss }))
        .collect();
    assert_eq!(results["sft"]["epochs"], json!(of_epochs));
    let exported = &of_last["sft"]["exported"];
    assert_eq!((&exported["epoch"], &exported["chosen_by"]), (&json!(3), &json!("last")));
    assert_eq!((exported["demonstration_loss"].clone(), exported["text_loss"].clone()), of_test(&last));
}

/// The stage that chooses among `networks`, as epochs, by what `reward` says of their answers.
fn select(run: &mut Run, data: &Dataset, networks: &[Network], reward: &Network) -> Result<Network> {
    let s = run.settings;
    let end_of_text = data.tokenizer.end_of_text();
    let stage = SftSelection {
        inputs: Inputs::new(s, data),
        demonstrations: s.sft.eval_examples,
        epochs: networks.len() as u64,
        load: &|epoch| Ok(networks[epoch as usize - 1].clone()),
        reward: reward.clone(),
        prompts: data.prompts.validation.iter().map(Vec::as_slice).collect(),
        sampling: Sampling::full(1.0, s.ppo.max_response_tokens, end_of_text),
        draw: Draw { seed: s.seed, stage: Stage::Sft, step: 0, episode: 0 },
        sft: json!({ "steps": 4, "exported": { "epoch": networks.len(), "chosen_by": "last" } }),
        rewards: vec![],
        best: None,
    };
    run.drive(StageId::SftSelection, &data.tokenizer, stage).map(Option::unwrap)
}

/// Whichever place the better one has: SFT's results become those of the epoch that is exported.
#[test]
fn the_results_of_sft_are_those_of_the_epoch_that_the_reward_model_chooses() {
    let settings = tiny(&[]);
    let reward = scalar_model(&settings);
    let [a, b] = [1, 2].map(|seed| language_model(&Settings { seed, ..settings.clone() }));
    let mut chosen = Vec::new();
    for networks in [[a.clone(), b.clone()], [b, a]] {
        let train = |run: &mut Run| select(run, &DATA, &networks, &reward);
        let (mut network, lines, results) = stage_with_results(&settings, train);
        let rewards: Vec<f64> = lines.iter().map(|line| line["reward"].as_f64().unwrap()).collect();
        let epoch = if rewards[1] > rewards[0] { 2 } else { 1 };
        assert_same_model(&network, &networks[epoch - 1], "the chosen one");
        let selection = json!({ "epoch": epoch, "reward": rewards[epoch - 1], "rewards": rewards, "chosen_by": "reward" });
        assert_eq!(results["sft_selection"], selection);
        let inputs = Inputs::new(&settings, &DATA);
        let loss = inputs.demonstration_loss(&mut network, Side::Test, settings.sft.eval_examples);
        let exported = json!({ "epoch": epoch, "chosen_by": "reward", "demonstration_loss": loss,
            "text_loss": inputs.text_loss(&mut network, Side::Test) });
        assert_eq!(results["sft"], json!({ "steps": 4, "exported": exported }));
        chosen.push(epoch);
    }
    assert_ne!(chosen[0], chosen[1], "the same network wins in either place");
}

/// Data of which nothing is held out.
fn nothing_held_out(settings: &Settings) -> Dataset {
    let mut data = Dataset::load(settings, Path::new(".")).unwrap();
    (data.text.validation, data.text.test) = Default::default();
    (data.demonstrations.validation, data.demonstrations.test) = Default::default();
    data.prompts.validation.clear();
    data
}

#[test]
fn a_choice_without_ground_takes_the_last_epoch_and_says_so() {
    let settings = tiny(&["sft.select=validation_loss"]);
    let data = nothing_held_out(&settings);
    let model = language_model(&settings);
    let (_, lines, results) =
        stage_with_results(&settings, |run| sft(run, &data, StageId::Sft, model.clone()));
    assert!(lines.iter().all(|line| line.get("validation_loss").is_none()), "{lines:?}");
    let expected = json!({ "epoch": 2, "chosen_by": "last", "demonstration_loss": null, "text_loss": null });
    assert_eq!(results["sft"]["exported"], expected);
    assert!(results["sft"]["notes"][0].as_str().unwrap().contains("no held-out demonstrations to choose"));

    let networks = [1, 2, 3].map(|seed| language_model(&Settings { seed, ..settings.clone() }));
    let reward = scalar_model(&settings);
    let (network, lines, results) =
        stage_with_results(&settings, |run| select(run, &data, &networks, &reward));
    assert_same_model(&network, &networks[2], "the last epoch");
    assert!(lines.is_empty(), "{lines:?}");
    let selection = &results["sft_selection"];
    assert_eq!((&selection["epoch"], &selection["reward"]), (&json!(3), &Value::Null));
    assert_eq!((&selection["rewards"], &selection["chosen_by"]), (&json!([]), &json!("last")));
    assert!(selection["notes"][0].as_str().unwrap().contains("no held-out prompts to choose"));
    assert_eq!(results["sft"]["exported"]["epoch"], 3);
}

/// Only the epochs of a run that held something out carry a note.
#[test]
fn a_choice_with_ground_needs_no_note() {
    let settings = tiny(&["sft.select=validation_loss"]);
    let model = language_model(&settings);
    let (_, _, results) = stage_with_results(&settings, |run| sft(run, &DATA, StageId::Sft, model.clone()));
    assert_eq!(results["sft"].get("notes"), None);
}

/// Accuracy is measured by prompt: the interval is that of the prompts, and not of so many independent pairs.
#[test]
fn the_reward_models_interval_is_clustered_by_prompt() {
    let settings = tiny(&["reward_model.center_on_demonstrations=false"]);
    let out = tempfile::tempdir().unwrap();
    let (mut silent, stop) = (Silent, AtomicBool::new(false));
    let mut run = Run::open(&settings, out.path(), false, &mut silent, &stop).unwrap();
    with_threads(2, || collect(&mut run, vec![language_model(&settings)])).unwrap();
    let mut data = Dataset::load(&settings, Path::new(".")).unwrap();
    data.load_rankings(&settings, &out.path().join(COMPARISONS)).unwrap();
    // One prompt is ranked twice.
    let twice = data.rankings.test[0].clone();
    data.rankings.test.push(twice);
    let held_out = &data.rankings.test;

    let mut network = with_threads(2, || reward_model(&mut run, &data, scalar_model(&settings))).unwrap();
    let results = &read_results(out.path())["reward_model"];
    let (mut by_prompt, mut by_pair) = (Clustered::default(), Clustered::default());
    for ranking in held_out {
        let rewards = network.scores(ranking.responses.iter().map(|response| response.tokens.as_slice()));
        for i in 0..rewards.len() {
            for j in 0..rewards.len() {
                if ranking.ranks[i] < ranking.ranks[j] {
                    let right = f64::from(u8::from(rewards[i] > rewards[j]));
                    by_prompt.add(ranking.prompt(), right, 1);
                    by_pair.add(by_pair.count(), right, 1);
                }
            }
        }
    }
    let (by_prompt, by_pair) = (by_prompt.share().unwrap(), by_pair.share().unwrap());
    let found = ["accuracy", "accuracy_low", "accuracy_high"].map(|key| results[key].as_f64().unwrap());
    assert_eq!(found, [by_prompt.value, by_prompt.low, by_prompt.high]);
    assert_eq!(results["test_pairs"], by_pair.count);
    assert_eq!(results["accuracy_prompts"], by_prompt.clusters);
    assert!(by_prompt.clusters < held_out.len());
    assert!(by_prompt.low < by_pair.low && by_pair.high < by_prompt.high, "{by_prompt:?} {by_pair:?}");
    assert_eq!(results["length_baseline_prompts"], by_prompt.clusters);

    // Without held-out pairs there is no accuracy; without demonstrations nothing to center on.
    (data.rankings.validation, data.rankings.test) = Default::default();
    data.demonstrations.train.clear();
    let settings = tiny(&[]);
    let (_, lines, results) =
        stage_with_results(&settings, |run| reward_model(run, &data, scalar_model(&settings)));
    let results = &results["reward_model"];
    for key in ["accuracy", "accuracy_low", "accuracy_high", "length_baseline", "shift"] {
        assert_eq!(results[key], Value::Null, "{key}");
    }
    assert_eq!((&results["test_pairs"], &results["accuracy_prompts"]), (&json!(0), &json!(0)));
    assert!(lines.iter().all(|line| line.get("validation_accuracy").is_none()));
    let notes = results["notes"].as_array().unwrap();
    assert!(notes.iter().any(|note| note.as_str().unwrap().contains("no demonstrations to center")));
}

/// A batch of 4 at 0.1 has a window of text in two batches of five, and the shares that are told are those of the data.
#[test]
fn a_small_share_of_text_is_carried_from_batch_to_batch() {
    let settings = tiny(&["rlhf_init.batch=4", "rlhf_init.pretrain_fraction=0.1", "rlhf_init.epochs=2"]);
    let model = language_model(&settings);
    let train = |run: &mut Run| sft(run, &DATA, StageId::RlhfInit, model.clone());
    let (network, lines, results) = stage_with_results(&settings, train);
    let texts: Vec<u64> = lines.iter().map(|line| line["text_sequences"].as_u64().unwrap()).collect();
    let expected: Vec<u64> = (0..lines.len() as u64).map(|i| (i + 1) * 4 / 10 - i * 4 / 10).collect();
    assert_eq!(texts, expected);
    assert!(lines.len() > 10, "{} demonstrations", DATA.demonstrations.train.len());

    let demonstrations = 2 * DATA.demonstrations.train.len() as u64;
    let learnt: usize = DATA.demonstrations.train.iter().map(|example| example.response().len()).sum();
    let windows: u64 = texts.iter().sum();
    let text = (windows * settings.model.context as u64) as f64;
    let results = &results["rlhf_init"];
    let share = |name: &str| results["share_of_text"][name].as_f64().unwrap();
    assert_eq!(share("sequences"), windows as f64 / (windows + demonstrations) as f64);
    assert_eq!(share("tokens"), text / (text + 2.0 * learnt as f64));
    // A fresh model finds all tokens about equally hard.
    assert!((share("loss") - share("tokens")).abs() < 0.05, "{results}");
    for line in &lines {
        let (tokens, loss) = (line["text_share_of_tokens"].as_f64(), line["text_share_of_loss"].as_f64());
        let has_text = line["text_sequences"] != 0;
        assert!((tokens.unwrap() > 0.0) == has_text && (loss.unwrap() > 0.0) == has_text, "{line}");
    }
    assert!(results["notes"][0].as_str().unwrap().starts_with("pretraining text was "), "{results}");

    // It is learnt.
    let mut without = settings.clone();
    without.rlhf_init.pretrain_fraction = 0.0;
    let (other, lines, results) =
        stage_with_results(&without, |run| sft(run, &DATA, StageId::RlhfInit, model.clone()));
    assert_other_model(&network, &other, "text");
    assert!(lines.iter().all(|line| line.get("text_sequences").is_none()));
    assert_eq!((results["rlhf_init"].get("notes"), results["rlhf_init"].get("share_of_text")), (None, None));

    // Without any text that is said.
    let mut data = nothing_held_out(&settings);
    data.text.train = Default::default();
    let (same, _, results) =
        stage_with_results(&settings, |run| sft(run, &data, StageId::RlhfInit, model.clone()));
    assert_same_model(&same, &other, "no text");
    assert!(
        results["rlhf_init"]["notes"][0].as_str().unwrap().starts_with("no pretraining text"),
        "{results}"
    );
}

/// What is measured on the way is the policy that will be exported.
#[test]
fn ppo_validates_the_averaged_policy() {
    for every in ["ppo.eval_every=3", "ppo.eval_every=0"] {
        let settings = tiny(&["ppo.ema=0.9", every]);
        let (mut average, lines) = ppo(&settings);
        let validated: Vec<u64> = lines
            .iter()
            .filter(|line| line.get("validation_reward").is_some())
            .map(|line| line["step"].as_u64().unwrap())
            .collect();
        assert_eq!(validated, if every.ends_with('3') { vec![3, 6] } else { vec![6] });
        let loss = Inputs::new(&settings, &DATA).text_loss(&mut average, Side::Validation);
        assert_eq!(lines[5]["validation_pretraining_loss"], json!(loss), "{every}");
    }
}

/// Stops a stage after each of its steps in turn, goes on, and compares with the stage never stopped.
fn assert_resumes_anywhere(settings: &Settings, mut train: impl FnMut(&mut Run) -> Result<Network> + Send) {
    let (expected, lines, results) = stage_with_results(settings, &mut train);
    for steps in 1..=lines.len() {
        let out = tempfile::tempdir().unwrap();
        let stop = AtomicBool::new(false);
        let mut progress = StopAfter::new(steps, &stop);
        let mut run = Run::open(settings, out.path(), false, &mut progress, &stop).unwrap();
        assert!(matches!(with_threads(2, || train(&mut run)), Err(Error::Interrupted { .. })));
        drop(run);
        let (mut silent, go_on) = (Silent, AtomicBool::new(false));
        let mut run = Run::open(settings, out.path(), true, &mut silent, &go_on).unwrap();
        let found = with_threads(2, || train(&mut run)).unwrap();
        assert_same_model(&found, &expected, &format!("stopped after step {steps}"));
        assert_eq!(read_metrics(out.path()), lines, "stopped after step {steps}");
        assert_eq!(read_results(out.path()), results, "stopped after step {steps}");
    }
}

#[test]
fn the_shares_of_text_are_resumed() {
    let settings = tiny(&["rlhf_init.batch=8", "rlhf_init.pretrain_fraction=0.3", "rlhf_init.epochs=2"]);
    let model = language_model(&settings);
    assert_resumes_anywhere(&settings, |run| sft(run, &DATA, StageId::RlhfInit, model.clone()));
}

#[test]
fn the_adaptive_kl_coefficient_is_resumed() {
    let settings = tiny(&[
        "ppo.adaptive_kl=true",
        "ppo.kl_horizon=20.0",
        "ppo.inner_epochs=2",
        "ppo.score_after_eos=true",
    ]);
    let mut reward = scalar_model(&settings);
    let (_, lines) = stage(&settings, |run| ppo_in(run, &mut reward));
    assert_ne!(lines[0]["kl_coef"], lines[3]["kl_coef"]);
    assert_resumes_anywhere(&settings, |run| ppo_in(run, &mut reward));
}

#[test]
fn a_loss_spike_is_seen_at_the_same_step_after_a_stop() {
    // "Above half the mean of the last 20": the 21st loss always is.
    let settings = tiny(&["limits.loss_spike=0.5", "pretrain.steps=30", "pretrain.learning_rate=1e-5"]);
    let train = |run: &mut Run| pretrain(run, language_model(&settings)).map(drop).unwrap_err();
    for steps in [30, 1, 12, 20] {
        let out = tempfile::tempdir().unwrap();
        let stop = AtomicBool::new(false);
        let mut progress = StopAfter::new(steps, &stop);
        let mut run = Run::open(&settings, out.path(), false, &mut progress, &stop).unwrap();
        let mut error = with_threads(2, || train(&mut run));
        drop(run);
        if matches!(error, Error::Interrupted { .. }) {
            let (mut silent, go_on) = (Silent, AtomicBool::new(false));
            let mut run = Run::open(&settings, out.path(), true, &mut silent, &go_on).unwrap();
            error = with_threads(2, || train(&mut run));
        }
        let message = error.to_string();
        assert!(message.starts_with("pretrain: step 21: the loss is "), "stopped after {steps}: {message}");
        assert!(message.contains("over 0.5 times"), "{message}");
    }
}

#[test]
fn ppo_is_defined_at_the_edges() {
    let mut constant = |_: &[u32], _: &[u32]| 1.0;
    let finite = |lines: &[Value]| {
        for (name, value) in lines.iter().flat_map(|line| line.as_object().unwrap()) {
            // What is not finite stands as a string.
            assert!(name == "stage" || value.is_number(), "{name}: {value}");
        }
    };
    // All rewards equal; responses of one token, whose advantages have no variance within a minibatch of one
    // either; responses that run into the end of the context.
    let mut longest = tiny(&[]);
    longest.ppo.max_response_tokens = longest.model.context;
    let one_token = tiny(&["ppo.max_response_tokens=1", "ppo.batch=2", "ppo.minibatches=2"]);
    for settings in [tiny(&[]), one_token, longest] {
        let (_, lines) = stage(&settings, |run| ppo_in(run, &mut constant));
        finite(&lines);
        assert!(lines.iter().all(|line| line["reward"] == 1.0 && line["first_ratio_max"] == 1.0));
    }
    // A reward that is no number stops the run before anything is learnt from it.
    for bad in [f32::NAN, f32::INFINITY] {
        let mut calls = 0;
        let mut reward = |_: &[u32], _: &[u32]| {
            calls += 1;
            if calls == 20 { bad } else { 0.0 }
        };
        let settings = tiny(&[]);
        let out = tempfile::tempdir().unwrap();
        let (mut silent, stop) = (Silent, AtomicBool::new(false));
        let mut run = Run::open(&settings, out.path(), false, &mut silent, &stop).unwrap();
        let error = ppo_in(&mut run, &mut reward).map(drop).unwrap_err().to_string();
        assert!(error.starts_with(&format!("ppo: step 3: a response's score is {bad}")), "{error}");
        assert_eq!(read_metrics(out.path()).len(), 2);
    }
}
