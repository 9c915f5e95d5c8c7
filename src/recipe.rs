//! Figure 2 of the paper: which stage follows which, from which model each starts, and what of the configuration each
//! is given.

mod benchmarks;
mod compatible;
mod models;
mod named;
mod needs;
mod notes;
mod plan;
mod planner;
mod shape;

pub use needs::{check_data, check_settings};
pub use plan::plan;

use std::path::Path;
use std::sync::atomic::AtomicBool;

use crate::engine::{Cpu, Engine};
use crate::error::Result;
use crate::eval::benchmarks::Benchmarks;
use crate::eval::evaluation::Evaluation;
use crate::model::{Draw, Head};
use crate::run::directory::remove_directory;
use crate::run::first::on_first;
use crate::run::progress::Progress;
use crate::run::{Run, StageId};
use crate::settings::{PpoSettings, Select, Settings};
use crate::train::blind_spots::Writer;
use crate::train::collect::{self, COMPARISONS, Collect};
use crate::train::dataset::{Dataset, fitting};
use crate::train::inputs::Inputs;
use crate::train::ppo::{Networks, Ppo};
use crate::train::pretrain::Pretrain;
use crate::train::reward_model::{RewardModel, with_scalar_head};
use crate::train::sft::{Sft, epoch_directory};
use crate::train::sft_selection::SftSelection;

/// Where SFT's epochs wait for the reward model's choice.
const EPOCHS: &str = "sft_epochs";

/// A run of the whole recipe, or of one of its stages.
pub struct Recipe<'a, E: Engine = Cpu> {
    settings: &'a Settings,
    /// Of the configuration's relative paths.
    root: &'a Path,
    engine: E,
    data: Dataset,
    run: Run<'a>,
}

impl<'a, E: Engine> Recipe<'a, E> {
    /// Opens the run directory `out` and loads the data, whose paths are relative to `root`. See [`Run::open`].
    ///
    /// # Errors
    /// Those of the run directory and of the data.
    pub fn open(
        engine: E,
        settings: &'a Settings,
        root: &'a Path,
        out: &Path,
        resume: bool,
        progress: &'a mut dyn Progress,
        stop: &'a AtomicBool,
    ) -> Result<Self> {
        Recipe::of(engine, root, Run::open(settings, out, resume, progress, stop)?)
    }

    /// The recipe of a run that is open.
    ///
    /// # Errors
    /// Those of the data.
    pub fn of(engine: E, root: &'a Path, mut run: Run<'a>) -> Result<Self> {
        let settings = run.settings;
        run.note("reading the data, preparing the tokenizer");
        let tokenizer = named::own_tokenizer(&run)?;
        named::take_inputs(settings, root, &mut run, tokenizer.is_none())?;
        let data = Dataset::load_with(settings, root, tokenizer)?;
        run.check_stop()?;
        run.progress.finish();
        data.notes.iter().chain(&settings.unused()).for_each(|note| run.note(note));
        Ok(Recipe { settings, root, engine, data, run })
    }

    /// All stages that the configuration wants and that are not complete yet, in the order of figure 2.
    ///
    /// # Errors
    /// Those of the stages.
    pub fn all(&mut self) -> Result<()> {
        needs::check_data(self.settings, &self.data)?;
        self.look_ahead(None)?;
        self.pretrain()?;
        // Step 1: demonstrations, and a policy that imitates them.
        self.sft()?;
        // Step 2: comparisons, and a reward model. It also says which epoch of step 1 is the SFT model (C.1).
        self.collect()?;
        self.reward_model()?;
        self.select_sft()?;
        // Step 3: PPO against the reward model, from a model of its own (C.3).
        self.rlhf_init()?;
        self.ppo()?;
        // What all of them can do.
        self.benchmarks()?;
        self.evaluation()
    }

    /// One stage, on what the earlier ones left.
    ///
    /// # Errors
    /// Those of the stage.
    pub fn only(&mut self, stage: StageId) -> Result<()> {
        if stage == StageId::Collect && self.data.world.is_none() {
            return Err(needs::world());
        }
        self.look_ahead(Some(stage))?;
        match stage {
            StageId::Pretrain => self.pretrain(),
            StageId::Sft => self.sft(),
            StageId::Collect => self.collect(),
            StageId::RewardModel => {
                self.collect()?;
                self.reward_model()
            }
            StageId::SftSelection => self.select_sft(),
            StageId::RlhfInit => {
                self.select_sft()?;
                self.rlhf_init()
            }
            StageId::Ppo | StageId::PpoToCompare | StageId::PpoPtx => self.ppo(),
            StageId::Benchmarks => self.benchmarks(),
            StageId::Evaluation => self.evaluation(),
        }
    }

    /// Before the first stage, of all or of what belongs to one: whether the models fit together, what can be said of
    /// the configuration, and the plan.
    fn look_ahead(&mut self, only: Option<StageId>) -> Result<()> {
        let shapes = self.check_models(&plan::asked_for(only))?;
        notes::before(self.settings, &self.data, &shapes).iter().for_each(|note| self.run.note(note));
        let completed = &self.run.directory.completed;
        let plan =
            plan(self.settings, self.root, Some(&self.run.directory.path), &self.data, completed, only)?;
        let path = self.run.directory.path.display().to_string();
        if plan.stages.is_empty() {
            self.run.note(&format!("{path}: nothing to do, as the configuration turns this stage off"));
        } else if plan.left().next().is_none() {
            self.run.note(&format!("{path}: already finished, nothing is left to do"));
        }
        needs::check_memory(&plan)?;
        self.run.planned = plan.stages.iter().map(|stage| (stage.id, stage.work.flops())).collect();
        self.run.progress.plan(&plan);
        Ok(())
    }

    fn pretrain(&mut self) -> Result<()> {
        let (id, s) = (StageId::Pretrain, &self.settings.pretrain);
        if self.run.is_done(id) {
            return Ok(());
        }
        let network = match &s.init_from {
            Some(from) => self.load(from, Head::LanguageModel)?,
            None => {
                self.run.progress.note("drawing the first weights");
                self.fresh()?
            }
        };
        // It only writes on, and has learned no form of prompts.
        let mut tokenizer = self.data.tokenizer.clone();
        tokenizer.prompt_format = None;
        let stage = Pretrain::new(Inputs::new(self.settings, &self.data), s, network)?;
        self.run.drive(id, &tokenizer, stage).map(drop)
    }

    fn sft(&mut self) -> Result<()> {
        let (id, s) = (StageId::Sft, &self.settings.sft);
        if s.epochs == 0 || self.run.is_done(id) {
            return Ok(());
        }
        let network = self.start(&s.init_from, "pretrain", Head::LanguageModel)?;
        let epochs = self.run.directory.path.join(EPOCHS);
        let stage = Sft::new(id, Inputs::new(self.settings, &self.data), s.clone(), 0.0, network, epochs)?;
        self.run.drive(id, &self.data.tokenizer, stage).map(drop)
    }

    /// In the miniature; people's comparisons come from files.
    fn collect(&mut self) -> Result<()> {
        let (id, s) = (StageId::Collect, &self.settings.reward_model);
        let Some(mut labeler) = self.data.world.clone() else { return Ok(()) };
        if s.epochs == 0 || self.run.is_done(id) || self.run.is_done(StageId::RewardModel) {
            return Ok(());
        }
        let models = self.writers()?;
        let prompts = &self.data.ranking_prompts;
        let limit = self.settings.data.max_response_tokens;
        let (seed, tokenizer) = (self.settings.seed, &self.data.tokenizer);
        let stage = Collect::new(seed, s, prompts, limit, models, &mut labeler, tokenizer)?;
        self.run.drive(id, tokenizer, stage).map(drop)
    }

    fn reward_model(&mut self) -> Result<()> {
        let (id, s) = (StageId::RewardModel, &self.settings.reward_model);
        if s.epochs == 0 || self.run.is_done(id) {
            return Ok(());
        }
        if self.run.is_done(StageId::Collect) {
            let path = self.run.directory.path.join(COMPARISONS);
            collect::verify(&path, self.run.directory.completed.results.get(StageId::Collect.name()))?;
            let notes = self.data.load_rankings(self.settings, &path)?;
            notes.iter().for_each(|note| self.run.note(note));
        }
        let network = match &s.init_from {
            Some(from) => self.load_any(from)?,
            None => self.start(&None, self.best_imitator(), Head::LanguageModel)?,
        };
        if let Some(pad) = network.config.pad_token.filter(|_| network.head == Head::Scalar) {
            self.run.progress.note(&format!(
                "reward_model.init_from reads its score before the pad token {pad}; from now on it is read at the last \
                 token, whichever that is"
            ));
        }
        let writer = match self.has("pretrain") {
            true => Some(self.own("pretrain", Head::LanguageModel)?),
            false => None,
        };
        let sampling = self.sampling();
        let mut stage = RewardModel::new(Inputs::new(self.settings, &self.data), s, network)?;
        stage.writer = writer.map(|network| Writer { network, sampling });
        self.run.drive(id, &self.data.tokenizer, stage).map(drop)
    }

    fn select_sft(&mut self) -> Result<()> {
        let (id, s) = (StageId::SftSelection, &self.settings.sft);
        if s.epochs == 0 || s.select != Select::Reward {
            return Ok(());
        }
        let epochs = self.run.directory.path.join(EPOCHS);
        if !self.run.is_done(id) {
            let mut reward = match &s.reward_model_from {
                Some(from) => self.load(from, Head::Scalar)?,
                None if self.settings.reward_model.epochs > 0 => self.own("reward_model", Head::Scalar)?,
                None => return Err(needs::reward_model()),
            };
            reward.plan(self.settings.micro_batch_tokens, false);
            let mut prompts = fitting(&self.data.prompts.validation, reward.config.context);
            prompts.truncate(s.eval_examples);
            let open = self.opener();
            // What we wrote ourselves gives no warnings.
            let load = |epoch| open(&epoch_directory(&epochs, epoch)).map(|(network, _)| network);
            let draw = Draw { seed: self.settings.seed, stage: id.draws(), step: 0, episode: 0 };
            let stage = SftSelection {
                inputs: Inputs::new(self.settings, &self.data),
                demonstrations: s.eval_examples,
                epochs: s.epochs as u64,
                load: &load,
                reward,
                prompts,
                sampling: self.sampling(),
                draw,
                sft: self.run.directory.completed.results[StageId::Sft.name()].clone(),
                rewards: Vec::new(),
                best: None,
            };
            self.run.drive(id, &self.data.tokenizer, stage)?;
        }
        // Nobody reads them any more. (A kill may leave them behind for the next run.)
        self.run.check_stop()?;
        on_first(self.run.ranks(), || remove_directory(&epochs)).map(drop)
    }

    fn rlhf_init(&mut self) -> Result<()> {
        let (id, s) = (StageId::RlhfInit, &self.settings.rlhf_init);
        if self.settings.ppo.episodes == 0 || self.run.is_done(id) {
            return Ok(());
        }
        // Without epochs of its own, PPO starts from the SFT model.
        let earlier = if s.epochs == 0 { self.best_imitator() } else { "pretrain" };
        let network = self.start(&s.init_from, earlier, Head::LanguageModel)?;
        let (inputs, epochs) = (Inputs::new(self.settings, &self.data), self.run.directory.path.join(EPOCHS));
        let stage = Sft::new(id, inputs, s.as_sft(), s.pretrain_fraction, network, epochs)?;
        self.run.drive(id, &self.data.tokenizer, stage).map(drop)
    }

    fn ppo(&mut self) -> Result<()> {
        let s = &self.settings.ppo;
        if s.episodes == 0 {
            return Ok(());
        }
        if !s.has_ptx() {
            return self.policy(StageId::Ppo, s);
        }
        if s.also_without_ptx {
            self.policy(StageId::PpoToCompare, &PpoSettings { ptx_coef: 0.0, ..s.clone() })?;
        }
        self.policy(StageId::PpoPtx, s)
    }

    fn policy(&mut self, id: StageId, s: &PpoSettings) -> Result<()> {
        if self.run.is_done(id) {
            return Ok(());
        }
        let policy = self.start(&s.init_from, "rlhf_init", Head::LanguageModel)?;
        let reference = match &s.reference_from {
            Some(from) => self.load(from, Head::LanguageModel)?,
            None => policy.clone(),
        };
        let mut reward = self.start(&s.reward_model_from, "reward_model", Head::Scalar)?;
        reward.plan(self.settings.micro_batch_tokens, false);
        let value = match &s.value_init_from {
            Some(from) => with_scalar_head(self.load_any(from)?, self.settings.seed),
            None => reward.clone(),
        };
        let networks = Networks { policy, reference, value, reward: &mut reward };
        let stage = Ppo::new(Inputs::new(self.settings, &self.data), s, networks)?;
        self.run.drive(id, &self.data.tokenizer, stage).map(drop)
    }

    /// Every model that is there is asked the paper's public benchmarks.
    fn benchmarks(&mut self) -> Result<()> {
        let (id, s) = (StageId::Benchmarks, self.settings);
        if s.evaluation.tasks.is_empty() || self.run.is_done(id) {
            return Ok(());
        }
        let there = benchmarks::MODELS.into_iter().filter(|(_, directory)| self.has(directory));
        let run = self.run.directory.path.clone();
        let models = there.map(|(name, directory)| (name, run.join(directory))).collect();
        let open = self.opener();
        let load = |directory: &Path| {
            // What we wrote ourselves gives no warnings.
            let (mut network, _) = open(directory)?;
            network.plan(s.micro_batch_tokens, false);
            Ok(network)
        };
        let stage = Benchmarks {
            tasks: benchmarks::prepare(s, self.root)?,
            asking: benchmarks::asking(s),
            models,
            load: &load,
            tokenizer: &self.data.tokenizer,
            rows: s.micro_batch_tokens,
            out: run.join("benchmarks"),
            network: None,
            results: Vec::new(),
        };
        self.run.drive(id, &self.data.tokenizer, stage).map(drop)
    }

    /// Every model that is there. A comparison from before a later stage (`--stage evaluation`) is made again.
    fn evaluation(&mut self) -> Result<()> {
        let (id, s) = (StageId::Evaluation, self.settings);
        if self.run.is_last_done(id) {
            return Ok(());
        }
        let policy = if self.run.is_done(StageId::PpoPtx) { "ppo_ptx" } else { "ppo" };
        let mut contenders = Vec::new();
        for (name, directory) in [
            ("pretrained", "pretrain"),
            ("sft", "sft"),
            ("rlhf_init", "rlhf_init"),
            ("ppo", "policy_without_ptx"),
            (policy, "policy"),
        ] {
            if self.has(directory) {
                let mut network = self.own(directory, Head::LanguageModel)?;
                network.plan(s.micro_batch_tokens, false);
                contenders.push((name, network));
            }
        }
        let reference = contenders.iter().find(|(name, _)| *name == "rlhf_init");
        let reference = reference.map(|(_, network)| network.clone());
        let mut reward = match s.ppo.reward_model_from.is_some() || self.has("reward_model") {
            true => Some(self.start(&s.ppo.reward_model_from, "reward_model", Head::Scalar)?),
            false => None,
        };
        reward.iter_mut().for_each(|reward| reward.plan(s.micro_batch_tokens, false));
        let context = contenders.iter().map(|(_, network)| network.config.context).min().unwrap_or(0);
        let mut prompts = fitting(&self.data.prompts.test, context);
        prompts.truncate(s.ppo.eval_prompts);
        let earlier = self.run.directory.completed.results.clone();
        let stage = Evaluation {
            inputs: Inputs::new(s, &self.data),
            demonstrations: s.sft.eval_examples,
            contenders,
            reference,
            reward,
            prompts,
            sampling: self.sampling(),
            draw: Draw { seed: s.seed, stage: id.draws(), step: u64::MAX, episode: 0 },
            earlier: &earlier,
            judged: Vec::new(),
        };
        self.run.drive(id, &self.data.tokenizer, stage).map(drop)
    }
}
