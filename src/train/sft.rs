//! Supervised fine-tuning on demonstrations (paper, section 3.5 and C.1), and the RLHF init (C.3), which
//! is the same with pretraining text mixed in. Only responses are learnt; prompts are read.

use std::path::{Path, PathBuf};

use serde_json::json;

use super::dataset::{Example, check_lengths};
use super::inputs::{Inputs, schedule};
use super::pretrain::window;
use crate::checkpoint::save_model_directory;
use crate::engine::{Cpu, Dropout, Engine};
use crate::error::{Error, Result};
use crate::loss::cross_entropy::CrossEntropy;
use crate::model::{Network, Sequence, singly};
use crate::optim::learner::Learner;
use crate::optim::schedule::Schedule;
use crate::run::{Finished, Saved, Stage, StageId, StageState, Step, Watch};
use crate::settings::{Select, SftSettings};

/// The stage, under either name.
pub struct Sft<'a, E: Engine = Cpu> {
    id: StageId,
    s: SftSettings,
    inputs: Inputs<'a>,
    learner: Learner<E>,
    schedule: Schedule,
    /// Demonstrations of a batch, and windows of pretraining text.
    demonstrations: usize,
    texts: usize,
    loss_before: Option<f64>,
    /// The least validation loss so far and its parameters, where that selects.
    best: Option<(f64, Vec<f32>)>,
    /// Where every epoch's network is left, where the reward model selects.
    epochs: PathBuf,
}

impl<'a, E: Engine> Sft<'a, E> {
    /// Fine-tunes `network`: the SFT model, or with a share `text_share` of pretraining sequences in each batch the
    /// RLHF init. With `select = "validation_loss"` the best epoch is returned; with `"reward"` the last, and
    /// every epoch's is left below `epochs` ([`epoch_directory`]) to choose from.
    ///
    /// # Errors
    /// [`Error::Usage`] without demonstrations, or if one is too long for the network.
    pub fn new(
        id: StageId,
        inputs: Inputs<'a>,
        s: SftSettings,
        text_share: f32,
        network: Network<E>,
        epochs: PathBuf,
    ) -> Result<Self> {
        let examples = &inputs.data.demonstrations.train;
        if examples.is_empty() && s.epochs > 0 {
            return Err(Error::usage("data.demonstrations", "demonstrations to learn from", "none", ""));
        }
        check_lengths(examples, network.config.context)?;
        let (demonstrations, texts) = mix(s.batch, text_share, inputs.data.text.train.len());
        let mut learner = inputs.learner(network, inputs.optimizer(None, s.weight_decay, s.gradient_clip));
        let loss_before = inputs.demonstration_loss(&mut learner.network, s.eval_examples);
        let schedule = schedule(s.schedule, s.final_fraction, s.warmup_steps);
        Ok(Sft { id, s, inputs, learner, schedule, demonstrations, texts, loss_before, best: None, epochs })
    }

    fn examples(&self) -> &'a [Example] {
        &self.inputs.data.demonstrations.train
    }

    fn steps_per_epoch(&self) -> u64 {
        self.examples().len().div_ceil(self.demonstrations) as u64
    }

    /// A step's demonstrations, and some text.
    fn batch(&self, step: u64) -> Vec<Sequence<'a>> {
        let (inputs, address) = (&self.inputs, self.id.draws());
        let chosen = inputs.shuffled(address, self.examples().len(), self.demonstrations, step);
        let demonstrations = chosen.into_iter().map(|i| self.examples()[i].continuation());
        let (text, context) = (&inputs.data.text.train, self.learner.network.config.context);
        let window = |i| window(text, context, inputs.seed, address, step, i);
        demonstrations.chain((0..self.texts as u64).map(window)).collect()
    }

    /// After an epoch: how it does on demonstrations it has not seen, and whether it is to be kept.
    fn end_of_epoch(&mut self, epoch: u64) -> Result<Option<f64>> {
        let loss = self.inputs.demonstration_loss(&mut self.learner.network, self.s.eval_examples);
        if let Some(loss) = loss {
            let better = self.best.as_ref().is_none_or(|(least, _)| loss < *least);
            if self.s.select == Select::ValidationLoss && better {
                self.best = Some((loss, self.learner.network.parameters().into_owned()));
            }
        }
        if self.s.select == Select::Reward {
            save_model_directory(&epoch_directory(&self.epochs, epoch), &self.learner.network, None, &[])?;
        }
        Ok(loss)
    }
}

impl<E: Engine> Stage for Sft<'_, E> {
    type Engine = E;

    fn steps(&self) -> u64 {
        self.s.epochs as u64 * self.steps_per_epoch()
    }

    fn step(&mut self, step: u64, watch: &mut Watch) -> Result<Step> {
        // 1. Demonstrations and text.
        let (batch, steps) = (self.batch(step), self.steps());
        let Sft { id, s, inputs, learner, .. } = self;

        // 2. The mean loss over response tokens (and tokens of text), and its gradient.
        let dropout = Dropout { rate: s.dropout, seed: inputs.seed, stage: id.draws(), step };
        let dropout = (s.dropout > 0.0).then_some(dropout);
        let mut loss = CrossEntropy::of(&batch, 1.0);
        learner.accumulate(&batch, &singly(batch.len()), 1.0, dropout, &mut loss);
        watch.loss("the loss", &learner.network, loss.mean())?;

        // 3. One update.
        let learning_rate = self.schedule.learning_rate(s.learning_rate, step, steps);
        let norm = watch.update(learner.update(learning_rate, 0.0), "")?;

        // 4. What happened.
        let done = step + 1;
        let mut fields = vec![
            ("loss", loss.mean().into()),
            ("learning_rate", learning_rate.into()),
            ("gradient_norm", norm.into()),
        ];
        if done.is_multiple_of(self.steps_per_epoch()) {
            let epoch = done / self.steps_per_epoch();
            fields.push(("epoch", epoch.into()));
            let loss = self.end_of_epoch(epoch)?;
            fields.extend(loss.map(|loss| ("validation_loss", loss.into())));
        }
        let tokens = batch.iter().map(|sequence| sequence.tokens.len()).sum();
        Ok(Step { fields, line: format!("loss {:.3}", loss.mean()), tokens })
    }

    fn state(&self) -> Option<StageState<'_>> {
        let mut state = StageState { buffers: self.learner.state("model"), strings: vec![] };
        if let Some((loss, parameters)) = &self.best {
            state.strings.push(("best_loss", loss.to_string()));
            state.buffers.push(("best".into(), parameters.into()));
        }
        Some(state)
    }

    fn restore(&mut self, saved: &mut Saved) -> Result<()> {
        if let Some(loss) = saved.parse("best_loss") {
            self.best = Some((loss, saved.take("best", self.learner.network.layout.len)?));
        }
        self.learner.restore("model", saved.step, |name, length| saved.take(name, length))
    }

    fn finish(mut self) -> Result<Finished<E>> {
        let (steps, demonstrations) = (self.steps(), self.examples().len());
        let Sft { s, inputs, learner, loss_before, best, .. } = &mut self;
        if let Some((_, parameters)) = best.take() {
            learner.network.set_parameters(parameters);
        }
        let results = json!({ "steps": steps, "demonstrations": demonstrations,
            "demonstration_loss_before": loss_before,
            "demonstration_loss_after": inputs.demonstration_loss(&mut learner.network, s.eval_examples),
            "text_loss": inputs.text_loss(&mut learner.network) });
        Ok(Finished::network(self.learner.network, results))
    }
}

/// Demonstrations and windows of pretraining text in a batch, with `text` tokens of it to choose from.
pub fn mix(batch: usize, text_share: f32, text: usize) -> (usize, usize) {
    let texts = match text {
        0 | 1 => 0,
        _ => (batch as f32 * text_share).round() as usize,
    };
    ((batch - texts.min(batch - 1)).max(1), texts)
}

/// Where an epoch's network waits for the reward model's choice.
pub fn epoch_directory(epochs: &Path, epoch: u64) -> PathBuf {
    epochs.join(format!("epoch-{epoch:02}"))
}
