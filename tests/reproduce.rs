//! The paper's experiments at a scale of seconds: that they go on after a stop and end in the same bytes, that a figure
//! alone trains only what it needs, and (at a scale of half a minute) that the paper's order appears.

#[path = "common/runs.rs"]
mod runs;
#[path = "common/tiny.rs"]
mod tiny;

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::path::Path;
use std::sync::LazyLock;
use std::sync::atomic::AtomicBool;

use instructgpt::app::reproduce::scale;

use instructgpt::error::{Error, Result};
use instructgpt::num::par::with_threads;
use instructgpt::num::statistics::mean;
use instructgpt::report::figures::Figures;
use instructgpt::reproduce::asking::Contender;
use instructgpt::reproduce::lab::Lab;
use instructgpt::reproduce::scale::{MIDDLE, Scale, Size};
use instructgpt::reproduce::teller::Teller;
use instructgpt::reproduce::{chosen, reproduce};
use instructgpt::run::StageId;
use instructgpt::run::progress::{Progress, Silent};
use runs::{Files, StopAfter, assert_same, files};

/// Every stage in a second or so: it shows that everything runs, and nothing else.
fn plumbing() -> Scale {
    let mut base =
        runs::tiny(&["ppo.episodes=16", "reward_model.epochs=1", "world.comparisons=8", "model.context=160"]);
    base.checkpoint_every = 2;
    let size = |name, width, rate| Size { name, width, layers: 1, heads: 2, rate };
    Scale {
        base,
        sizes: [size("s", 8, 2.0), size("m", 16, 1.0), size("l", 24, 0.5)],
        closed: 3,
        shots: 2,
        probes: 4,
        prefixes: 2,
        prefix_prompts: 4,
        gammas: vec![0.5, 2.0],
        betas: vec![0.01, 0.5],
    }
}

fn draw(
    scale: &Scale,
    names: &[&str],
    seeds: &[u64],
    out: &Path,
    progress: &mut dyn Progress,
    stop: &AtomicBool,
) -> Result<Figures> {
    let names: Vec<String> = names.iter().map(|name| name.to_string()).collect();
    with_threads(2, || reproduce(scale, &chosen(&names, names.is_empty())?, seeds, out, progress, stop))
}

/// The headline of the plumbing, undisturbed.
static REFERENCE: LazyLock<Files> = LazyLock::new(|| {
    let out = tempfile::tempdir().unwrap();
    draw(&plumbing(), &[], &[3], out.path(), &mut Silent, &AtomicBool::new(false)).unwrap();
    repeating(out.path())
});

/// What must repeat: all but clocks and locks, wherever they lie.
fn repeating(out: &Path) -> Files {
    let mut found = files(out);
    found.retain(|name, _| !name.ends_with("timings.jsonl") && !name.ends_with("run.lock"));
    found
}

#[test]
fn stopped_again_and_again_it_ends_in_the_same_bytes() {
    let out = tempfile::tempdir().unwrap();
    let mut stops = 0;
    loop {
        let stop = AtomicBool::new(false);
        let mut progress = StopAfter::new(17, &stop);
        match draw(&plumbing(), &[], &[3], out.path(), &mut progress, &stop) {
            Err(Error::Interrupted { .. }) => stops += 1,
            done => break drop(done.unwrap()),
        }
    }
    assert!(stops >= 4, "{stops} stops");
    assert_same(&repeating(out.path()), &REFERENCE, &[], "stopped and started again");
    let figures =
        Figures::parse(std::str::from_utf8(&REFERENCE["figures.json"]).unwrap(), "figures.json").unwrap();
    assert!(figures.verdicts.len() >= 8 && figures.charts.len() >= 8);
    // Of so few test prompts none brings a text.
    let mut verdicts = figures.verdicts.iter().filter(|verdict| !verdict.claim.contains("brings a text"));
    assert!(verdicts.all(|verdict| verdict.ours.is_some()), "{:?}", figures.verdicts);
}

#[test]
fn a_figure_alone_trains_what_it_needs_and_shares_it() {
    let (out, scale) = (tempfile::tempdir().unwrap(), plumbing());
    // The stages that a figure trains, by run.
    let trained = |name: &str| -> BTreeSet<String> {
        let stop = AtomicBool::new(false);
        let mut progress = StopAfter::new(usize::MAX, &stop);
        draw(&scale, &[name], &[3], out.path(), &mut progress, &stop).unwrap();
        progress.seen.iter().map(|seen| seen.rsplit_once(' ').unwrap().0.to_string()).collect()
    };
    let expect =
        |stages: &[&str]| stages.iter().map(|stage| format!("seed-3/{stage}")).collect::<BTreeSet<_>>();
    let of_middle = ["m pretrain", "m sft", "m collect", "m reward_model", "m sft_selection"];
    let folds = (1..=5).map(|fold| format!("fold-{fold} reward_model"));
    let answers = [2, 4, 6, 9]
        .into_iter()
        .flat_map(|k| ["collect", "reward_model"].map(|stage| format!("answers-{k} {stage}")));
    let mut of_reward_model = expect(&of_middle);
    let pairs = ["pairs-together", "pairs-shuffled"]
        .into_iter()
        .flat_map(|run| ["collect", "reward_model"].map(|stage| format!("{run} {stage}")));
    of_reward_model.extend(folds.chain(answers).chain(pairs).map(|stage| format!("seed-3/{stage}")));
    assert_eq!(trained("reward-model"), of_reward_model, "no policy, and no other size");
    let of_gamma = ["m rlhf_init", "m pretrain", "gamma-0.5 ppo_ptx", "gamma-2 ppo_ptx"];
    assert_eq!(trained("figure-33"), &expect(&of_gamma) - &expect(&["m pretrain"]), "on what is there");
    assert_eq!(trained("figure-33"), expect(&[]), "nothing is trained twice");
    let figures = std::fs::read_to_string(out.path().join("figures.json")).unwrap();
    let figures = Figures::parse(&figures, "figures.json").unwrap();
    assert!(
        figures.verdicts.iter().all(|verdict| verdict.figure == "Figure 33"),
        "those that were asked for"
    );
}

#[test]
fn every_other_figure_can_be_drawn() {
    let out = tempfile::tempdir().unwrap();
    let stop = AtomicBool::new(false);
    let names = ["figure-34", "overoptimisation", "truthfulness", "toxicity", "bias", "sweeps"];
    let figures = draw(&plumbing(), &names, &[3, 4], out.path(), &mut Silent, &stop).unwrap();
    for verdict in &figures.verdicts {
        assert_eq!((verdict.seeds.len(), verdict.ours.is_some()), (2, true), "{verdict:?}");
    }
    for chart in &figures.charts {
        assert!(chart.series.iter().all(|line| !line.points.is_empty()), "{chart:?}");
    }
}

#[test]
fn a_mistake_on_the_command_line_is_named() {
    let error = tiny::instructgpt(&["reproduce", "figure-5", "--out", "nowhere"], "");
    assert_eq!(error.code, 2);
    assert!(
        error.stderr.contains("FIGURE: expected of figure-1,") && error.stderr.contains("found figure-5")
    );
    assert!(!Path::new("nowhere").exists());
    let error = tiny::instructgpt(&["reproduce"], "");
    assert!(error.code == 2 && error.stderr.contains("--out"), "{error:?}");

    let out = tempfile::tempdir().unwrap();
    std::fs::write(out.path().join("thesis.tex"), "").unwrap();
    let error = tiny::instructgpt(&["reproduce", "bias", "--out", out.path().to_str().unwrap()], "");
    assert!(error.code == 2 && error.stderr.contains("with thesis.tex"), "{error:?}");

    let list = tiny::instructgpt(&["reproduce", "--list"], "");
    assert_eq!((list.code, list.stderr.as_str()), (0, ""));
    for figure in instructgpt::reproduce::FIGURES {
        assert!(list.stdout.contains(figure.name) && list.stdout.contains(figure.shows), "{}", list.stdout);
    }
}

/// The smallest scale at which the paper's order appears: one size, and settings with which it learns fast.
fn order() -> Scale {
    let mut scale = scale().unwrap();
    scale.sizes[MIDDLE] = Size { name: "m", width: 96, layers: 2, heads: 6, rate: 1.0 };
    let s = &mut scale.base;
    (s.model.context, s.model.initializer_range, s.tokenizer.vocab_size) = (192, 0.1, 640);
    (s.data.join_documents, s.data.max_prompt_tokens, s.data.max_response_tokens) = (false, 120, 48);
    (s.world.documents, s.world.demonstrations, s.world.comparisons, s.world.prompts) =
        (4000, 1600, 900, 800);
    (s.pretrain.steps, s.pretrain.batch, s.pretrain.learning_rate, s.pretrain.eval_every) =
        (300, 16, 1e-3, 0);
    (s.sft.epochs, s.sft.batch, s.sft.learning_rate) = (2, 8, 7e-4);
    (s.rlhf_init.epochs, s.rlhf_init.batch, s.rlhf_init.learning_rate) = (2, 8, 7e-4);
    (s.reward_model.batch, s.reward_model.learning_rate, s.reward_model.eval_every) = (8, 7e-4, 0);
    (s.ppo.max_prompt_tokens, s.ppo.max_response_tokens) = (120, 48);
    (s.ppo.episodes, s.ppo.eval_every, s.ppo.eval_prompts) = (1536, 0, 160);
    scale
}

#[test]
fn the_papers_order_appears() {
    let (out, scale, stop) = (tempfile::tempdir().unwrap(), order(), AtomicBool::new(false));
    let mut silent = Silent;
    let teller = RefCell::new(Teller::new(&mut silent));
    let lab = Lab::new(&scale, 1, out.path(), &teller, &stop);
    let spec = lab.size(MIDDLE);

    // GPT, SFT and PPO-ptx, by the gold score.
    let of = |values: Vec<(String, f64)>| {
        mean(&values.iter().map(|(_, value)| *value).collect::<Vec<f64>>()).unwrap()
    };
    let gold = |model| of(lab.gold_scores(&Contender { name: "", model, prompted: false }).unwrap());
    let [gpt, sft, ppo_ptx] = [spec.gpt(), spec.sft(), spec.policy()].map(gold);
    assert!(gpt < sft && sft < ppo_ptx, "GPT {gpt}, SFT {sft}, PPO-ptx {ppo_ptx}");

    // The reward model looks at more than length.
    let results = std::fs::read_to_string(out.path().join("seed-1/m/results.json")).unwrap();
    let results: serde_json::Value = serde_json::from_str(&results).unwrap();
    let [accuracy, length] =
        ["accuracy", "length_baseline"].map(|key| results["reward_model"][key].as_f64().unwrap());
    assert!(accuracy > length, "{accuracy}, by length {length}");

    // The pretraining gradient lowers the loss on text.
    let text = |model| of(lab.text_losses(&model).unwrap());
    let [plain, with_ptx] = [spec.ppo(), spec.policy()].map(text);
    assert!(with_ptx < plain, "PPO {plain}, PPO-ptx {with_ptx}");

    // A larger beta keeps the policy nearer to its reference.
    let kl = |beta: f32| {
        let spec = scale.policy(1, format!("beta-{beta}"), |ppo| (ppo.kl_coef, ppo.ptx_coef) = (beta, 0.0));
        *lab.metrics(&spec, StageId::Ppo, "kl").unwrap().last().unwrap()
    };
    let [small, large] = [0.15, 1.5].map(kl);
    assert!(large < small, "beta 0.15: {small}, beta 1.5: {large}");
}
