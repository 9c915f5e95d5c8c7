//! The shape of a model of the run before it is made: that of section `model`, or of the directory it will start from.

use std::path::Path;

use super::named::wanted;
use super::planner::Planner;
use crate::checkpoint::config_json::parse_config;
use crate::checkpoint::read_file;
use crate::error::Result;
use crate::model::ModelConfig;
use crate::run::StageId;
use crate::settings::Model;

const CONFIG: &str = "config.json";

impl Planner<'_> {
    /// The shape of a model.
    pub fn shape(&self, model: Model) -> Result<ModelConfig> {
        let Some(directory) = self.s.shape_from(model) else {
            let config = self.s.model.config(self.data.tokenizer.vocab_size(), self.s.precision);
            // A width that was halved to see what that saves need not be one that the heads divide.
            let heads = if config.width.is_multiple_of(config.heads) { config.heads } else { 1 };
            ModelConfig { heads, ..config.clone() }.validate("model")?;
            return Ok(config);
        };
        match self.root.join(directory).join(CONFIG).exists() {
            true => self.shape_in(directory),
            false => self.left_of(directory),
        }
    }

    /// The shapes of the language models that a run is to leave, the RLHF init left out.
    pub fn language_models(&self) -> Result<Vec<ModelConfig>> {
        let mut models = vec![self.shape(Model::Pretrained)?];
        if self.s.sft.epochs > 0 {
            models.push(self.shape(Model::Sft)?);
        }
        for id in [StageId::Ppo, StageId::PpoToCompare, StageId::PpoPtx] {
            if wanted(self.s, id) {
                models.push(self.shape(Model::Policy)?);
            }
        }
        Ok(models)
    }

    /// The shape of the model in a directory that is gone, from a model of the run that was trained from it.
    fn left_of(&self, directory: &str) -> Result<ModelConfig> {
        let models = [
            (Model::Pretrained, "pretrain"),
            (Model::Sft, "sft"),
            (Model::RewardModel, "reward_model"),
            (Model::RlhfInit, "rlhf_init"),
            (Model::Policy, "policy"),
        ];
        let from_it = models.iter().filter(|(model, _)| self.s.shape_from(*model) == Some(directory));
        let mut own = from_it.filter_map(|(_, name)| Some(self.own?.join(name)));
        let own = own.find(|path| path.join(CONFIG).exists());
        self.shape_at(&own.unwrap_or_else(|| self.root.join(directory)))
    }

    /// The shape of the model in a directory that the configuration names.
    pub fn shape_in(&self, directory: &str) -> Result<ModelConfig> {
        self.shape_at(&self.root.join(directory))
    }

    fn shape_at(&self, directory: &Path) -> Result<ModelConfig> {
        let path = directory.join(CONFIG);
        let (config, _) = parse_config(&read_file(&path, 1 << 24)?, &path.display().to_string())?;
        Ok(ModelConfig { precision: self.s.precision, ..config })
    }
}
