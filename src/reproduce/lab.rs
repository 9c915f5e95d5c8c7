//! The laboratory of one seed: a world, the runs that were made on it, and their models. What is asked for is trained
//! first, if it is not there yet; what is shared is trained once.

use std::cell::{OnceCell, RefCell};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use super::kept::kept;
use super::runs::{Model, Spec};
use super::scale::{MIDDLE, Scale};
use super::teller::Teller;
use crate::checkpoint::checksum::{Crc64, digits};
use crate::checkpoint::{load_model_directory, load_tokenizer, read_file};
use crate::data::Split;
use crate::engine::device::on_device;
use crate::error::{Error, Result};
use crate::model::Network;
use crate::recipe::Recipe;
use crate::run::completed::Completed;
use crate::run::directory::same_run;
use crate::run::fingerprints::Fingerprints;
use crate::run::metrics::values;
use crate::run::progress::Progress;
use crate::run::{Run, StageId};
use crate::settings::{Section, Settings};
use crate::train::dataset::{Dataset, Ranking};
use crate::train::inputs::Inputs;
use crate::train::reward_model::RewardModel;
use crate::world::World;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// A seed's laboratory.
pub struct Lab<'a> {
    /// How large everything is.
    pub scale: &'a Scale,
    /// What every random number follows from.
    pub seed: u64,
    /// `OUT/seed-S`.
    pub root: PathBuf,
    /// Who judges.
    pub world: World,
    data: OnceCell<Dataset>,
    teller: &'a RefCell<Teller<'a>>,
    /// Whether the user has asked to stop.
    pub stop: &'a AtomicBool,
}

impl<'a> Lab<'a> {
    /// The laboratory in `out`. Nothing is trained or written yet. Setting `stop` ends whatever is going on.
    pub fn new(
        scale: &'a Scale,
        seed: u64,
        out: &Path,
        teller: &'a RefCell<Teller<'a>>,
        stop: &'a AtomicBool,
    ) -> Self {
        let root = out.join(format!("seed-{seed}"));
        Lab { scale, seed, root, world: World::new(seed), data: OnceCell::new(), teller, stop }
    }

    /// The run of a size.
    pub fn size(&self, size: usize) -> Spec {
        self.scale.size(self.seed, size)
    }

    /// Trains what is missing of a run, up to a stage.
    ///
    /// # Errors
    /// Those of the recipe; [`Error::Usage`] if the directory holds a run of another configuration.
    pub fn train(&self, spec: &Spec, last: StageId) -> Result<()> {
        let end = spec.stages.iter().position(|&stage| stage == last).expect("a stage of the run");
        let path = self.root.join(&spec.name);
        if self.has(spec, &path, last)? {
            return Ok(());
        }
        spec.needs.iter().try_for_each(|(needed, stage)| self.train(needed, *stage))?;
        let teller = &mut *self.teller.borrow_mut();
        teller.speaks(format!("seed-{}/{}", self.seed, spec.name));
        let resume = path.join("config.toml").exists();
        on_device!(spec.settings.device, |engine| {
            let mut recipe =
                Recipe::open(engine, &spec.settings, &self.root, &path, resume, teller, self.stop)?;
            for &stage in &spec.stages[..=end] {
                if !self.has(spec, &path, stage)? {
                    recipe.only(stage)?;
                }
            }
            Ok(())
        })
    }

    /// Trains the reward model of a run on rankings of one's own choice, instead of those that it would collect.
    ///
    /// # Errors
    /// As [`Lab::train`], and those of `rankings`.
    pub fn train_reward_model(
        &self,
        spec: &Spec,
        rankings: impl FnOnce() -> Result<Split<Vec<Ranking>>>,
    ) -> Result<()> {
        let (path, stage) = (self.root.join(&spec.name), StageId::RewardModel);
        if self.has(spec, &path, stage)? {
            return Ok(());
        }
        let network = self.network(&self.size(MIDDLE).sft())?;
        let tokenizer = self.data()?.tokenizer.clone();
        let mut data = Dataset::load_with(&spec.settings, &self.root, Some(tokenizer))?;
        data.rankings = rankings()?;
        let teller = &mut *self.teller.borrow_mut();
        teller.speaks(format!("seed-{}/{}", self.seed, spec.name));
        let resume = path.join("config.toml").exists();
        let mut run = Run::open(&spec.settings, &path, resume, teller, self.stop)?;
        let inputs = Inputs::new(&spec.settings, &data);
        on_device!(spec.settings.device, |engine| {
            let trained = RewardModel::new(inputs, &spec.settings.reward_model, network.on(engine))?;
            run.drive(stage, &data.tokenizer, trained).map(drop)
        })
    }

    /// Whether a run of that configuration is there, and as far as that.
    fn has(&self, spec: &Spec, path: &Path, stage: StageId) -> Result<bool> {
        let (config, completed) = (path.join("config.toml"), path.join("run.json"));
        if !config.exists() || !completed.exists() {
            return Ok(false);
        }
        let kept = read_file(&config, 1 << 24)?;
        let same = same_run(&String::from_utf8_lossy(&kept), &spec.settings.to_toml());
        Ok(same && Completed::read(&completed)?.has(named(spec, stage)))
    }

    /// What a stage of a run wrote of a measure into `metrics.jsonl`, step after step.
    ///
    /// # Errors
    /// Those of [`Lab::train`] and of the file.
    pub fn metrics(&self, spec: &Spec, stage: StageId, measure: &str) -> Result<Vec<f64>> {
        self.train(spec, stage)?;
        values(&self.root.join(&spec.name).join("metrics.jsonl"), named(spec, stage).name(), measure)
    }

    /// A trained model.
    ///
    /// # Errors
    /// Those of [`Lab::train`] and of its files.
    pub fn network(&self, model: &Model) -> Result<Network> {
        self.train(&model.spec, model.stage)?;
        let mut network = load_model_directory(&self.root.join(model.path()))?;
        network.config.precision = model.spec.settings.precision;
        network.plan(model.spec.settings.micro_batch_tokens, false);
        Ok(network)
    }

    /// The data, in the tokens of the middle size's tokenizer.
    ///
    /// # Errors
    /// Those of [`Lab::train`] and of the tokenizer.
    pub fn data(&self) -> Result<&Dataset> {
        if self.data.get().is_none() {
            let middle = self.size(MIDDLE);
            self.train(&middle, StageId::Pretrain)?;
            let tokenizer = load_tokenizer(&self.root.join(middle.gpt().path()))?;
            let data = Dataset::load_with(&middle.settings, &self.root, tokenizer)?;
            return Ok(self.data.get_or_init(|| data));
        }
        Ok(self.data.get().expect("it was loaded"))
    }

    /// The middle size's configuration.
    pub fn settings(&self) -> Settings {
        self.size(MIDDLE).settings
    }

    /// What was measured of some models, kept under a name; `what` says of the measurement all that the models do not.
    ///
    /// # Errors
    /// Those of `measure`, of the models and of the file.
    pub fn measured<T: Serialize + DeserializeOwned>(
        &self,
        name: &str,
        models: &[&Model],
        what: &str,
        measure: impl FnOnce() -> Result<Vec<T>>,
    ) -> Result<Vec<T>> {
        let mut of = what.to_string();
        for model in models {
            self.train(&model.spec, model.stage)?;
            of += &format!("; {} {}", model.path(), self.fingerprint(model)?);
        }
        let path = self.root.join("answers").join(file_of(name));
        let measure = || {
            self.check_stop()?;
            self.say(&format!("measuring {name}"), 0);
            let measured = measure();
            self.teller.borrow_mut().finish();
            self.check_stop()?;
            measured
        };
        kept(&path, &of, measure)
    }

    fn fingerprint(&self, model: &Model) -> Result<String> {
        let mut files = Fingerprints::default();
        files.add_model(&self.root, &model.path())?;
        let text = serde_json::to_string(&files).expect("plain data");
        Ok(digits(Crc64::of(text.as_bytes())))
    }

    fn say(&self, what: &str, steps: u64) {
        let mut teller = self.teller.borrow_mut();
        teller.speaks(format!("seed-{}", self.seed));
        teller.stage(what, steps);
    }

    /// Ends where the user has asked to stop.
    ///
    /// # Errors
    /// [`Error::Interrupted`].
    pub fn check_stop(&self) -> Result<()> {
        match self.stop.load(Ordering::Relaxed) {
            true => Err(Error::Interrupted { hint: String::new() }),
            false => Ok(()),
        }
    }
}

/// The file of what is kept under a name: one for each name, dots and all.
fn file_of(name: &str) -> String {
    format!("{}.jsonl", name.replace('/', "-"))
}

/// A stage by the name that it has in the run: PPO-ptx is called another than PPO.
fn named(spec: &Spec, stage: StageId) -> StageId {
    match stage {
        StageId::Ppo if spec.settings.ppo.has_ptx() => StageId::PpoPtx,
        stage => stage,
    }
}

#[cfg(test)]
mod tests {
    use super::file_of;

    #[test]
    fn a_dot_in_a_name_ends_nothing() {
        assert_eq!(file_of("m/gamma-0.01"), "m-gamma-0.01.jsonl");
        assert_ne!(file_of("beta-0.05"), file_of("beta-0.02"));
    }
}
