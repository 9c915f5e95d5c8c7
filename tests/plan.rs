//! The plan of a run says what the run then does.

#[path = "common/runs.rs"]
mod runs;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::atomic::AtomicBool;

use instructgpt::recipe;
use instructgpt::run::completed::Completed;
use instructgpt::run::progress::Progress;
use instructgpt::run::{Plan, StageId};
use instructgpt::settings::Settings;
use instructgpt::train::dataset::Dataset;
use runs::{go, tiny};
use serde_json::Value;

/// Keeps what is said.
#[derive(Default)]
struct Told {
    plans: Vec<Plan>,
    /// Stages that began, with their steps.
    stages: Vec<(String, u64)>,
    /// Steps that were made, by stage.
    made: BTreeMap<String, u64>,
    notes: Vec<String>,
}

impl Progress for Told {
    fn plan(&mut self, plan: &Plan) {
        self.plans.push(plan.clone());
    }
    fn stage(&mut self, name: &str, steps: u64) {
        self.stages.push((name.into(), steps));
    }
    fn step(&mut self, _: u64, _: &str) {
        let (name, _) = self.stages.last().unwrap();
        *self.made.entry(name.clone()).or_default() += 1;
    }
    fn note(&mut self, text: &str) {
        self.notes.push(text.into());
    }
    fn finish(&mut self) {}
}

/// The lines of a JSON Lines file.
fn lines(path: &Path) -> Vec<Value> {
    let text = fs::read_to_string(path).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn plan_of(s: &Settings) -> Plan {
    let data = Dataset::load(s, Path::new(".")).unwrap();
    recipe::plan(s, Path::new("."), None, &data, &Completed::default(), None).unwrap()
}

#[test]
fn a_run_makes_the_steps_and_reads_the_tokens_that_its_plan_has() {
    let (s, out) = (tiny(&[]), tempfile::tempdir().unwrap());
    let mut told = Told::default();
    go(&s, out.path(), &mut told, &AtomicBool::new(false)).unwrap();
    let [plan] = &told.plans[..] else { panic!("one plan: {:?}", told.plans) };

    let planned: Vec<(String, u64)> =
        plan.stages.iter().map(|stage| (stage.id.name().to_string(), stage.steps)).collect();
    assert_eq!(planned, told.stages);
    assert_eq!(planned, planned_in_order_of(&told.made, &planned));
    // What repeats to the bit has the same number of steps, in every stage that measures one.
    let mut last = BTreeMap::new();
    for line in lines(&out.path().join("metrics.jsonl")) {
        last.insert(line["stage"].as_str().unwrap().to_string(), line["step"].as_u64().unwrap());
    }
    for (name, steps) in &planned {
        assert_eq!(last.get(name).unwrap_or(steps), steps, "{name}");
    }
    assert!(last.len() >= 6, "{last:?}");

    for line in lines(&out.path().join("timings.jsonl")) {
        let stage = plan.stages.iter().find(|stage| line["stage"] == stage.id.name()).unwrap();
        let tokens = line["tokens"].as_u64().unwrap();
        match stage.at_most {
            false => assert_eq!(stage.tokens, tokens, "{stage:?}"),
            // Responses may end before their longest length: here, of models that have learnt nothing, few do.
            true => {
                assert!((tokens..=4 * tokens.max(1 << 14)).contains(&stage.tokens), "{tokens}: {stage:?}")
            }
        }
    }
    let known: Vec<&str> = plan.stages.iter().filter(|s| !s.at_most).map(|s| s.id.name()).collect();
    assert_eq!(known, ["pretrain", "sft", "rlhf_init"]);

    // Once more there is nothing to do, and that is said.
    let mut told = Told::default();
    go(&s, out.path(), &mut told, &AtomicBool::new(false)).unwrap();
    assert!(told.plans[0].stages.iter().all(|stage| stage.done));
    assert!(told.notes.iter().any(|note| note.contains("already finished")), "{:?}", told.notes);
    assert!(told.stages.is_empty());
}

/// The steps that were made, in the plan's order.
fn planned_in_order_of(made: &BTreeMap<String, u64>, plan: &[(String, u64)]) -> Vec<(String, u64)> {
    plan.iter().map(|(name, _)| (name.clone(), made.get(name).copied().unwrap_or(0))).collect()
}

#[test]
fn what_is_turned_off_is_not_planned_and_what_grows_costs_more() {
    let names = |plan: &Plan| plan.stages.iter().map(|stage| stage.id).collect::<Vec<_>>();
    let whole = plan_of(&tiny(&["reward_model.epochs=1"]));
    use StageId::*;
    let all = [Pretrain, Sft, Collect, RewardModel, SftSelection, RlhfInit, PpoToCompare, PpoPtx, Evaluation];
    assert_eq!(names(&whole), all);
    let less = plan_of(&tiny(&["sft.epochs=0", "ppo.ptx_coef=0", "ppo.episodes=16"]));
    assert_eq!(names(&less), [Pretrain, Collect, RewardModel, RlhfInit, Ppo, Evaluation]);
    assert_eq!(
        names(&plan_of(&tiny(&["ppo.episodes=0"]))),
        [Pretrain, Sft, Collect, RewardModel, SftSelection, Evaluation]
    );

    // PPO holds policy, value function, reference and reward model; the pretraining gradient costs arithmetic only.
    let [.., plain, with_text, _] = &whole.stages[..] else { panic!() };
    assert_eq!((plain.networks, plain.memory), (4, with_text.memory));
    assert_eq!(plain.work.sampling, with_text.work.sampling);
    assert!(plain.work.passes < with_text.work.passes);

    // Halving a key that a run spends its time on leaves less; all the keys that matter are there.
    for (key, work) in &whole.halved {
        assert!(work.flops() < whole.work_left().flops(), "{key}");
    }
    let keys: Vec<&str> = whole.halved.iter().map(|(key, _)| *key).collect();
    assert!(
        keys.contains(&"ppo.episodes") && keys.contains(&"pretrain.steps") && keys.contains(&"model.width")
    );
    assert!(!keys.contains(&"reward_model.epochs"), "one epoch cannot be halved: {keys:?}");
}

#[test]
fn files_are_counted_exactly() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: String| fs::write(folder.path().join(name), text).unwrap();
    let line = |i: usize| format!("{{\"prompt\":\"Say {i}.\",\"response\":\"It is {i}.\"}}\n");
    write("d.jsonl", (0..40).map(line).collect());
    let pair =
        |i: usize| format!("{{\"prompt\":\"Say {i}.\",\"chosen\":\"It is {i}.\",\"rejected\":\"No {i}\"}}\n");
    write("c.jsonl", (0..40).map(pair).collect());
    let document = |i: usize| format!("{{\"text\":\"The {i} is a number, and so is {}.\"}}\n", i + 1);
    write("t.jsonl", (0..40).map(document).collect());
    let s = tiny(&[
        "data.world=false",
        "data.demonstrations=[\"d.jsonl\"]",
        "data.comparisons=[\"c.jsonl\"]",
        "data.pretraining=[\"t.jsonl\"]",
        "tokenizer.vocab_size=280",
        "ppo.episodes=0",
        "reward_model.epochs=2",
        "sft.select=last",
    ]);
    let (out, stop) = (folder.path().join("out"), AtomicBool::new(false));
    let mut told = Told::default();
    instructgpt::app::pipeline::stages(&s, folder.path(), &out, false, None, &mut told, &stop).unwrap();
    let stages = &told.plans[0].stages;
    let exact = |name: &str| stages.iter().find(|stage| stage.id.name() == name && !stage.at_most).unwrap();
    let seen = lines(&out.join("timings.jsonl"));
    for name in ["pretrain", "sft", "reward_model"] {
        let line = seen.iter().find(|line| line["stage"] == name).unwrap();
        assert_eq!(exact(name).tokens, line["tokens"].as_u64().unwrap(), "{name}");
        assert_eq!(exact(name).steps, told.made[name], "{name}");
    }
}
