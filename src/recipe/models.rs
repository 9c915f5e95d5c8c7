//! The networks that stages start from: those of the run directory, and those that the configuration names.

use std::path::Path;

use super::Recipe;
use super::named::{has, is_own};
use crate::checkpoint::load_model_directory_with_warnings;
use crate::engine::Engine;
use crate::error::{Error, Result};
use crate::model::{Head, Network, Sampling};

impl<E: Engine> Recipe<'_, E> {
    /// A network of random weights.
    pub(super) fn fresh(&self) -> Result<Network<E>> {
        let s = self.settings;
        let config = s.model.config(self.data.tokenizer.vocab_size(), s.precision);
        config.validate("model")?;
        let range = s.model.initializer_range;
        let network = Network::random_in(self.engine, config, Head::LanguageModel, s.seed, range);
        Ok(network.among(self.run.ranks()))
    }

    /// Those that write the responses which are compared.
    pub(super) fn writers(&mut self) -> Result<Vec<Network<E>>> {
        let names = &self.settings.collect.models;
        if names.is_empty() {
            return Ok(vec![self.start(&None, self.best_imitator(), Head::LanguageModel)?]);
        }
        let open = |name: &String| match is_own(self.settings, &self.run, name) {
            true => self.own(name, Head::LanguageModel),
            false => self.load(name, Head::LanguageModel),
        };
        names.iter().map(open).collect()
    }

    /// The SFT model, or without that stage the pretrained one.
    pub(super) fn best_imitator(&self) -> &'static str {
        if self.settings.sft.epochs > 0 { "sft" } else { "pretrain" }
    }

    /// How models answer held-out prompts: as PPO samples.
    pub(super) fn sampling(&self) -> Sampling {
        let s = &self.settings.ppo;
        Sampling::full(s.temperature, s.max_response_tokens, self.data.tokenizer.end_of_text())
    }

    /// The model directory a stage was told to start from, or the run's own that an earlier stage left.
    pub(super) fn start(&mut self, from: &Option<String>, earlier: &str, head: Head) -> Result<Network<E>> {
        if let Some(from) = from {
            return self.load(from, head);
        }
        if !self.has(earlier) {
            let expected = format!("{earlier} in the run directory");
            let hint = "run the earlier stage first, or set init_from";
            return Err(Error::usage("--stage", expected, "nothing", hint));
        }
        self.own(earlier, head)
    }

    /// Whether the run directory holds that model.
    pub(super) fn has(&self, name: &str) -> bool {
        has(&self.run, name)
    }

    /// A model of the run directory.
    pub(super) fn own(&mut self, name: &str, head: Head) -> Result<Network<E>> {
        let path = self.run.directory.path.join(name);
        let network = self.open_noted(&path)?;
        check_head(&path, &network, head)?;
        Ok(network)
    }

    /// A model directory that the configuration names.
    pub(super) fn load(&mut self, from: &str, head: Head) -> Result<Network<E>> {
        let network = self.load_any(from)?;
        check_head(&self.root.join(from), &network, head)?;
        Ok(network)
    }

    /// [`Recipe::load`] of a model with either head.
    pub(super) fn load_any(&mut self, from: &str) -> Result<Network<E>> {
        let path = self.root.join(from);
        self.run.progress.note(&format!("{}: reading the model", path.display()));
        self.open_noted(&path)
    }

    fn open_noted(&mut self, path: &Path) -> Result<Network<E>> {
        let (network, warnings) = self.opener()(path)?;
        warnings.iter().for_each(|warning| self.run.note(warning));
        Ok(network)
    }

    /// Opens a model directory for this run; also gives one sentence for anything the user should know.
    pub(super) fn opener(&self) -> impl Fn(&Path) -> Result<(Network<E>, Vec<String>)> + use<E> {
        let (engine, ranks, precision) = (self.engine, self.run.ranks(), self.settings.precision);
        let expected = self.data.tokenizer.vocab_size();
        move |path| {
            let (mut network, warnings) = load_model_directory_with_warnings(path)?;
            network.config.precision = precision;
            let found = network.config.vocab_size;
            if found < expected {
                let expected = format!("at least the tokenizer's {expected} tokens");
                let hint = "all models of a run share one tokenizer";
                return Err(Error::format(path.display(), "vocab_size", expected, found, hint));
            }
            Ok((network.on(engine).among(ranks), warnings))
        }
    }
}

fn check_head<E: Engine>(path: &Path, network: &Network<E>, head: Head) -> Result<()> {
    if network.head == head {
        return Ok(());
    }
    let name = |head| if head == Head::Scalar { "a reward model" } else { "a language model" };
    Err(Error::format(path.display(), "the head", name(head), name(network.head), ""))
}
