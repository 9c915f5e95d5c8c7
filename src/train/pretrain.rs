//! Pretraining: next-token prediction on random windows of the text. (The paper starts from GPT-3.)

use serde_json::json;

use super::inputs::{Inputs, schedule};
use super::stream::TextStream;
use crate::data::Side;
use crate::engine::{Cpu, Engine};
use crate::error::{Error, Result};
use crate::loss::cross_entropy::CrossEntropy;
use crate::model::{Network, Sequence, singly};
use crate::num::rng::{Purpose, Rng, Stage as Address};
use crate::optim::learner::Learner;
use crate::optim::schedule::Schedule;
use crate::run::{Finished, Saved, Stage, StageState, Step, Watch, hints};
use crate::settings::PretrainSettings;

/// The stage.
pub struct Pretrain<'a, E: Engine = Cpu> {
    s: &'a PretrainSettings,
    inputs: Inputs<'a>,
    learner: Learner<E>,
    schedule: Schedule,
}

impl<'a, E: Engine> Pretrain<'a, E> {
    /// Trains `network` as section `pretrain` says.
    ///
    /// # Errors
    /// [`Error::Usage`] without text.
    pub fn new(inputs: Inputs<'a>, s: &'a PretrainSettings, network: Network<E>) -> Result<Self> {
        if s.steps > 0 && inputs.data.text.train.predictions() == 0 {
            let hint = "or set pretrain.steps = 0 and pretrain.init_from";
            return Err(Error::usage("data.pretraining", "text to pretrain on", "none", hint));
        }
        let learner = inputs.learner(network, inputs.optimizer(None, s.weight_decay, s.gradient_clip));
        Ok(Pretrain { s, inputs, learner, schedule: schedule(s.schedule, s.final_fraction, s.warmup_steps) })
    }
}

impl<E: Engine> Stage for Pretrain<'_, E> {
    type Engine = E;

    fn steps(&self) -> u64 {
        self.s.steps
    }

    fn step(&mut self, step: u64, watch: &mut Watch) -> Result<Step> {
        let Pretrain { s, inputs, learner, .. } = self;
        // 1. Random windows of the text.
        let (text, context) = (&inputs.data.text.train, learner.network.config.context);
        let window = |i| window(text, context, inputs.seed, Address::Pretrain, step, i);
        let windows: Vec<Sequence> = (0..s.batch as u64).map(window).collect();

        // 2. The mean loss over their tokens, and its gradient.
        let mut loss = CrossEntropy::of(&windows, 1.0);
        learner.accumulate(&windows, &singly(windows.len()), 1.0, None, &mut loss);
        watch.loss("the loss", &learner.network, loss.mean())?;

        // 3. One update.
        let learning_rate = self.schedule.learning_rate(s.learning_rate, step, s.steps);
        let norm = watch.update(learner.update(learning_rate, 0.0), "")?;

        // 4. What happened.
        let done = step + 1;
        let mut fields = vec![
            ("loss", loss.mean().into()),
            ("learning_rate", learning_rate.into()),
            ("gradient_norm", norm.into()),
        ];
        if (s.eval_every > 0 && done.is_multiple_of(s.eval_every)) || done == s.steps {
            let loss = inputs.text_loss(&mut learner.network, Side::Validation);
            fields.extend(loss.map(|loss| ("validation_loss", loss.into())));
        }
        Ok(Step { fields, line: format!("loss {:.3}", loss.mean()), tokens: loss.tokens })
    }

    fn state(&self) -> Option<StageState<'_>> {
        Some(StageState { buffers: self.learner.state("model"), strings: vec![] })
    }

    fn restore(&mut self, saved: &mut Saved) -> Result<()> {
        self.learner.restore("model", saved.step, |name, length| saved.take(name, length))
    }

    fn finish(mut self) -> Result<Finished<E>> {
        let (text, network) = (&self.inputs.data.text, &mut self.learner.network);
        let width = network.config.width;
        let slow = hints::slow("pretrain.learning_rate", self.s.learning_rate, width, hints::PRETRAINING);
        let notes = hints::some([slow.filter(|_| self.s.steps > 0)]);
        let results = json!({ "steps": self.s.steps, "parameters": network.layout.len,
            "validation_loss": self.inputs.text_loss(network, Side::Validation),
            "test_loss": self.inputs.text_loss(network, Side::Test),
            "train_tokens": text.train.len(), "validation_tokens": text.validation.len(),
            "test_tokens": text.test.len() });
        Ok(Finished { notes, ..Finished::network(self.learner.network, results) })
    }
}

/// Window `i` of a step: `context` predictions from a random place of the text.
pub fn window(
    text: &TextStream,
    context: usize,
    seed: u64,
    stage: Address,
    step: u64,
    i: u64,
) -> Sequence<'_> {
    text.window(context, &mut Rng::at(seed, stage, Purpose::Pretraining, step, i, 0))
}
