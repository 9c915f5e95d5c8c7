//! Runs the stages of a configuration, one after another: the paper's figure 2 and what surrounds it.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::json;

use super::args::{RunArgs, StageName};
use super::progress::on_stderr;
use super::{config, jsonl, needs};
use crate::checkpoint::{Model, load_model_directory_with_warnings, save_model_directory};
use crate::error::{Error, Result};
use crate::eval::evaluation::{self, Contender, evaluate};
use crate::model::Head;
use crate::num::rng::Stage;
use crate::run::directory::Run;
use crate::run::progress::Progress;
use crate::settings::{PpoSettings, Select, Settings};
use crate::train::dataset::Dataset;
use crate::train::ppo::{self, Networks};
use crate::train::reward_model::with_scalar_head;
use crate::train::rollout::{Frozen, Rollout};
use crate::train::sft::{self, Recipe, epoch_directory};
use crate::train::{pretrain, reward_model};

/// Set by Ctrl-C: the current step is finished and saved.
static STOP: AtomicBool = AtomicBool::new(false);

/// Runs the command `run`.
///
/// # Errors
/// Those of configuration, data and stages.
pub fn run(args: &RunArgs) -> Result<()> {
    let settings = config::load(&args.config, &args.set)?;
    execute(&settings, &args.data_root(), &args.out, args.resume, args.stage)
}

/// Runs all stages (or one) with progress on standard error, until done or Ctrl-C; prints where the report is.
///
/// # Errors
/// As [`stages`].
pub fn execute(
    settings: &Settings,
    root: &Path,
    out: &Path,
    resume: bool,
    only: Option<StageName>,
) -> Result<()> {
    listen_to_ctrl_c();
    let mut progress = on_stderr();
    if let Some(report) = stages(settings, root, out, resume, only, progress.as_mut(), &STOP)? {
        jsonl::Output::stdout().text(&report.display().to_string())?;
    }
    Ok(())
}

/// Runs all stages, then writes the report and returns where it is; or runs one stage. `root` is that of the
/// configuration's relative paths. Setting `stop` ends the run after the step that is being made.
///
/// # Errors
/// Those of data and stages; [`Error::Interrupted`] after `stop`.
pub fn stages(
    settings: &Settings,
    root: &Path,
    out: &Path,
    resume: bool,
    only: Option<StageName>,
    progress: &mut dyn Progress,
    stop: &AtomicBool,
) -> Result<Option<PathBuf>> {
    if only.is_none() {
        needs::check_settings(settings)?;
    }
    let run = Run::open(settings, out, resume || only.is_some(), progress, stop)?;
    let data = Dataset::load(settings, root)?;
    run.check_stop()?;
    let mut pipeline = Pipeline { settings, root, data, run };
    pipeline.run.progress.finish();
    for note in pipeline.data.notes.clone() {
        pipeline.run.progress.note(&note);
    }
    match only {
        None => pipeline.all()?,
        Some(stage) => {
            pipeline.one(stage)?;
            return Ok(None);
        }
    }
    crate::report::write(out).map(Some)
}

fn listen_to_ctrl_c() {
    let stop = || {
        if STOP.swap(true, Ordering::Relaxed) {
            // The second time: at once. What is on disk is whole, as every file is renamed into place.
            std::process::exit(130);
        }
        // Not `eprintln`, which panics where standard error is closed.
        let _ = writeln!(std::io::stderr(), "\nfinishing this step, then saving; once more stops at once");
    };
    // A second call in one process (a library user's) finds a handler in place: theirs stands.
    let _ = ctrlc::set_handler(stop);
}

/// The models of a run, by directory.
struct Pipeline<'a> {
    settings: &'a Settings,
    root: &'a Path,
    data: Dataset,
    run: Run<'a>,
}

impl Pipeline<'_> {
    fn all(&mut self) -> Result<()> {
        needs::check_data(self.settings, &self.data)?;
        self.pretrain()?;
        self.sft()?;
        self.reward_model()?;
        self.select_sft()?;
        self.rlhf_init()?;
        self.ppo()?;
        self.evaluate()
    }

    fn one(&mut self, stage: StageName) -> Result<()> {
        match stage {
            StageName::Pretrain => self.pretrain(),
            StageName::Sft => self.sft(),
            StageName::RewardModel => self.reward_model(),
            StageName::RlhfInit => {
                self.select_sft()?;
                self.rlhf_init()
            }
            StageName::Ppo => self.ppo(),
            StageName::Evaluation => self.evaluate(),
        }
    }

    fn pretrain(&mut self) -> Result<()> {
        if self.run.is_done(pretrain::STAGE) {
            return Ok(());
        }
        let model = match &self.settings.pretrain.init_from {
            Some(from) => self.load(&self.root.join(from), Head::LanguageModel)?,
            None => {
                let config =
                    self.settings.model.config(self.data.tokenizer.vocab_size(), self.settings.precision);
                config.validate("model")?;
                needs::check_memory(&config, self.settings.micro_batch_tokens)?;
                Model::random(config, Head::LanguageModel, self.settings.seed)
            }
        };
        let finished = pretrain::train(&mut self.run, &self.data, model)?;
        self.run.finish(finished, "pretrain", &self.data.tokenizer).map(drop)
    }

    fn sft(&mut self) -> Result<()> {
        let s = &self.settings.sft;
        if s.epochs == 0 || self.run.is_done("sft") {
            return Ok(());
        }
        let model = self.start(&s.init_from, "pretrain", Head::LanguageModel)?;
        let finished = sft::train(&mut self.run, &self.data, model, Recipe::sft(s))?;
        self.run.finish(finished, "sft", &self.data.tokenizer).map(drop)
    }

    fn reward_model(&mut self) -> Result<()> {
        let s = &self.settings.reward_model;
        if s.epochs == 0 || self.run.is_done(reward_model::STAGE) {
            return Ok(());
        }
        let model = match &s.init_from {
            Some(from) => self.load_any(&self.root.join(from))?,
            None => self.start(&None, self.best_imitator(), Head::LanguageModel)?,
        };
        let sampler = match &self.data.world {
            Some(_) => Some(self.start(&None, self.best_imitator(), Head::LanguageModel)?),
            None => None,
        };
        let finished = reward_model::train(&mut self.run, &self.data, model, sampler)?;
        self.run.finish(finished, "reward_model", &self.data.tokenizer).map(drop)
    }

    /// The SFT model is the epoch whose responses the reward model likes best (paper, C.1).
    fn select_sft(&mut self) -> Result<()> {
        const STAGE: &str = "sft_selection";
        let s = &self.settings.sft;
        let possible = s.epochs > 0 && s.select == Select::Reward;
        if !possible {
            return Ok(());
        }
        if self.run.is_done(STAGE) {
            return self.remove_epochs();
        }
        let reward = match &s.reward_model_from {
            Some(from) => self.load(&self.root.join(from), Head::Scalar)?,
            None if self.settings.reward_model.epochs > 0 => self.own("reward_model", Head::Scalar)?,
            None => return Err(needs::reward_model()),
        };
        let mut reward = Frozen::new(reward, self.settings.micro_batch_tokens);
        let clock = self.run.begin(STAGE, s.epochs as u64);
        self.run.resume(STAGE)?;
        let held_out = self.data.prompts.validation.clone();
        let context = reward.model.config.context;
        let prompts: Vec<&[u32]> =
            held_out.iter().map(Vec::as_slice).filter(|p| p.len() < context).take(s.eval_examples).collect();
        let mut best: Option<(f64, u64, Model)> = None;
        for epoch in 1..=s.epochs as u64 {
            let model = self.load(&epoch_directory(&self.run, "sft", epoch), Head::LanguageModel)?;
            let candidate = Frozen::new(model.clone(), 0);
            let how = Rollout {
                temperature: self.settings.ppo.temperature,
                max_response_tokens: self.settings.ppo.max_response_tokens,
                end_of_text: self.data.tokenizer.end_of_text(),
                seed: self.settings.seed,
                stage: Stage::Sft,
                step: 0,
            };
            let responses = self.run.respond(&candidate, &prompts, &how)?;
            let whole: Vec<Vec<u32>> =
                prompts.iter().zip(&responses).map(|(x, y)| [*x, y.tokens.as_slice()].concat()).collect();
            let scores = reward.scores(whole.iter().map(Vec::as_slice));
            let score = scores.iter().map(|&s| f64::from(s)).sum::<f64>() / scores.len().max(1) as f64;
            self.run.record(STAGE, epoch, &[("reward", score.into())])?;
            self.run.progress.step(epoch, &format!("reward {score:.3}"));
            if best.as_ref().is_none_or(|(most, ..)| score > *most) {
                best = Some((score, epoch, model));
            }
        }
        let (score, epoch, model) = best.expect("at least one epoch");
        save_model_directory(
            &self.run.directory.join("sft"),
            &model,
            Some(&self.data.tokenizer),
            &[("stage", "sft")],
        )?;
        self.run.end(STAGE, clock, json!({ "epoch": epoch, "reward": score }))?;
        self.remove_epochs()
    }

    /// The epochs' models, once one of them is chosen. (A kill may leave them behind for the next run.)
    fn remove_epochs(&self) -> Result<()> {
        let epochs = self.run.directory.join("sft_epochs");
        if !epochs.exists() {
            return Ok(());
        }
        fs::remove_dir_all(&epochs).map_err(|e| Error::io(epochs.display(), "remove", e))
    }

    fn rlhf_init(&mut self) -> Result<()> {
        let s = &self.settings.rlhf_init;
        if !self.wants_ppo() || self.run.is_done("rlhf_init") {
            return Ok(());
        }
        // Without epochs of its own, PPO starts from the SFT model.
        let earlier = if s.epochs == 0 { self.best_imitator() } else { "pretrain" };
        let model = self.start(&s.init_from, earlier, Head::LanguageModel)?;
        let finished = sft::train(&mut self.run, &self.data, model, Recipe::rlhf_init(s))?;
        self.run.finish(finished, "rlhf_init", &self.data.tokenizer).map(drop)
    }

    fn ppo(&mut self) -> Result<()> {
        let s = &self.settings.ppo;
        if !self.wants_ppo() {
            return Ok(());
        }
        let ptx = s.ptx_coef > 0.0 && s.ptx_examples_per_episode > 0;
        if ptx && s.also_without_ptx {
            let plain = PpoSettings { ptx_coef: 0.0, ..s.clone() };
            self.one_policy(&plain, "ppo", "policy_without_ptx")?;
        }
        self.one_policy(s, if ptx { "ppo_ptx" } else { "ppo" }, "policy")
    }

    fn one_policy(&mut self, s: &PpoSettings, stage: &str, name: &str) -> Result<()> {
        if self.run.is_done(stage) {
            return Ok(());
        }
        let policy = self.start(&s.init_from, "rlhf_init", Head::LanguageModel)?;
        let reference = match &s.reference_from {
            Some(from) => self.load(&self.root.join(from), Head::LanguageModel)?,
            None => policy.clone(),
        };
        let reward = self.start(&s.reward_model_from, "reward_model", Head::Scalar)?;
        let value = match &s.value_init_from {
            Some(from) => with_scalar_head(self.load_any(&self.root.join(from))?, self.settings.seed),
            None => reward.clone(),
        };
        let mut reward = Frozen::new(reward, self.settings.micro_batch_tokens);
        let networks = Networks { policy, reference, value, reward: &mut reward };
        let finished = ppo::train(&mut self.run, &self.data, networks, s, stage)?;
        self.run.finish(finished, name, &self.data.tokenizer).map(drop)
    }

    fn evaluate(&mut self) -> Result<()> {
        // A comparison from before a later stage (`--stage evaluation`) is made again.
        if self.run.last_done() == Some(evaluation::STAGE) {
            return Ok(());
        }
        let mut contenders = Vec::new();
        let policy = if self.run.is_done("ppo_ptx") { "ppo_ptx" } else { "ppo" };
        let directories = [
            ("pretrained", "pretrain"),
            ("sft", "sft"),
            ("rlhf_init", "rlhf_init"),
            ("ppo", "policy_without_ptx"),
            (policy, "policy"),
        ];
        for (name, directory) in directories {
            if self.has(directory) {
                contenders.push(Contender { name, model: self.own(directory, Head::LanguageModel)? });
            }
        }
        let reference = contenders.iter().find(|c| c.name == "rlhf_init").map(|c| c.model.clone());
        let from = &self.settings.ppo.reward_model_from;
        let reward = match from.is_some() || self.has("reward_model") {
            true => Some(self.start(from, "reward_model", Head::Scalar)?),
            false => None,
        };
        evaluate(&mut self.run, &self.data, contenders, reference, reward)
    }

    fn wants_ppo(&self) -> bool {
        self.settings.ppo.episodes > 0
    }

    /// The SFT model, or without that stage the pretrained one.
    fn best_imitator(&self) -> &'static str {
        if self.settings.sft.epochs > 0 { "sft" } else { "pretrain" }
    }

    /// The model directory a stage was told to start from, or the run's own that an earlier stage left.
    fn start(&mut self, from: &Option<String>, earlier: &str, head: Head) -> Result<Model> {
        if let Some(from) = from {
            return self.load(&self.root.join(from), head);
        }
        if !self.has(earlier) {
            let expected = format!("{earlier} in the run directory");
            let hint = "run the earlier stage first, or set init_from";
            return Err(Error::usage("--stage", expected, "nothing", hint));
        }
        self.own(earlier, head)
    }

    /// Whether the run directory holds that model.
    fn has(&self, name: &str) -> bool {
        self.run.directory.join(name).join("config.json").exists()
    }

    fn own(&mut self, name: &str, head: Head) -> Result<Model> {
        self.load(&self.run.directory.join(name), head)
    }

    fn load(&mut self, path: &Path, head: Head) -> Result<Model> {
        let model = self.load_any(path)?;
        if model.head != head {
            let name = |head| if head == Head::Scalar { "a reward model" } else { "a language model" };
            return Err(Error::format(path.display(), "the head", name(head), name(model.head), ""));
        }
        Ok(model)
    }

    fn load_any(&mut self, path: &Path) -> Result<Model> {
        let (mut model, warnings) = load_model_directory_with_warnings(path)?;
        model.config.precision = self.settings.precision;
        for warning in warnings {
            self.run.progress.note(&warning);
        }
        let (expected, found) = (self.data.tokenizer.vocab_size(), model.config.vocab_size);
        if found < expected {
            let expected = format!("at least the tokenizer's {expected} tokens");
            return Err(Error::format(
                path.display(),
                "vocab_size",
                expected,
                found,
                "all models of a run share one tokenizer",
            ));
        }
        Ok(model)
    }
}
