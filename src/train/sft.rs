//! Supervised fine-tuning on demonstrations (paper, section 3.5 and C.1), and the RLHF init (C.3), which
//! is the same with pretraining text mixed in. Only responses are learnt; prompts are read.

use std::path::{Path, PathBuf};

use serde_json::{Value as Json, json};

use super::dataset::{Dataset, Example, check_lengths};
use super::inputs::{Inputs, schedule};
use super::mixture::{Amount, Mixture};
use super::pretrain::window;
use crate::checkpoint::save_model_directory;
use crate::data::Side;
use crate::engine::{Cpu, Dropout, Engine};
use crate::error::{Error, Result};
use crate::loss::cross_entropy::CrossEntropy;
use crate::model::{Loss, Network, Sequence, singly};
use crate::num::statistics;
use crate::optim::learner::Learner;
use crate::optim::schedule::Schedule;
use crate::run::metrics::Value;
use crate::run::{Finished, Saved, Stage, StageId, StageState, Step, Watch, hints};
use crate::settings::{Select, SftSettings};

/// The stage, under either name.
pub struct Sft<'a, E: Engine = Cpu> {
    id: StageId,
    s: SftSettings,
    inputs: Inputs<'a>,
    learner: Learner<E>,
    schedule: Schedule,
    mixture: Mixture,
    /// Whether text was asked for, and none is there.
    lacks_text: bool,
    /// Everything read so far, and what of it was text.
    read: [Amount; 2],
    loss_before: Option<f64>,
    /// The loss on held-out demonstrations after each epoch so far.
    losses: Vec<Option<f64>>,
    /// The least of them and its parameters, where that selects.
    best: Option<(f64, Vec<f32>)>,
    /// Where every epoch's network is left, where the reward model selects.
    epochs: PathBuf,
}

impl<'a, E: Engine> Sft<'a, E> {
    /// Fine-tunes `network`: the SFT model, or with a share `text_share` of pretraining sequences the RLHF init. With
    /// `select = "validation_loss"` the best epoch is returned; with `"reward"` the last, and every epoch's is left
    /// below `epochs` ([`epoch_directory`]) to choose from.
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
        let mixture = mixture(&s, text_share, inputs.data);
        let lacks_text = text_share > 0.0 && !mixture.has_text();
        let mut learner = inputs.learner(network, inputs.optimizer(None, s.weight_decay, s.gradient_clip));
        let loss_before = inputs.demonstration_loss(&mut learner.network, Side::Test, s.eval_examples);
        let schedule = schedule(s.schedule, s.final_fraction, s.warmup_steps);
        Ok(Sft {
            id,
            s,
            inputs,
            learner,
            schedule,
            mixture,
            lacks_text,
            read: Default::default(),
            loss_before,
            losses: Vec::new(),
            best: None,
            epochs,
        })
    }

    fn examples(&self) -> &'a [Example] {
        &self.inputs.data.demonstrations.train
    }

    /// A step's demonstrations, then its windows of text; and how many demonstrations.
    fn batch(&self, step: u64) -> (Vec<Sequence<'a>>, usize) {
        let (inputs, address, portion) = (&self.inputs, self.id.draws(), self.mixture.portion(step));
        let order = inputs.order(address, self.examples().len(), portion.epoch);
        let chosen = &order[portion.demonstrations];
        let demonstrations = chosen.iter().map(|&i| self.examples()[i].continuation());
        let (text, context) = (&inputs.data.text.train, self.learner.network.config.context);
        let window = |i| window(text, context, inputs.seed, address, step, i);
        (demonstrations.chain((0..portion.texts).map(window)).collect(), chosen.len())
    }

    /// After an epoch: how it does on demonstrations it has not seen, and whether it is to be kept.
    fn end_of_epoch(&mut self, epoch: u64) -> Result<Option<f64>> {
        let network = &mut self.learner.network;
        let loss = self.inputs.demonstration_loss(network, Side::Validation, self.s.eval_examples);
        if let Some(loss) = loss {
            let better = self.best.as_ref().is_none_or(|(least, _)| loss < *least);
            if self.s.select == Select::ValidationLoss && better {
                self.best = Some((loss, self.learner.network.parameters().into_owned()));
            }
        }
        if self.s.select == Select::Reward && self.learner.network.ranks().is_first() {
            save_model_directory(&epoch_directory(&self.epochs, epoch), &self.learner.network, None, &[])?;
        }
        self.losses.push(loss);
        Ok(loss)
    }

    /// What share of everything read was text, for `results.json` and in words; nothing where there was none.
    fn text_shares(&self) -> Option<(Json, String)> {
        let [all, text] = &self.read;
        let [sequences, tokens, loss] = text.shares(all);
        let percent = |share: Option<f64>| statistics::text(share.map(|share| 100.0 * share), 0);
        let words = format!(
            "pretraining text was {} % of the sequences, {} % of the tokens learnt and {} % of the loss, which is one \
             mean over all tokens",
            percent(sequences),
            percent(tokens),
            percent(loss)
        );
        let shares = json!({ "sequences": sequences, "tokens": tokens, "loss": loss });
        (text.sequences > 0).then_some((shares, words))
    }
}

impl<E: Engine> Stage for Sft<'_, E> {
    type Engine = E;

    fn steps(&self) -> u64 {
        self.mixture.steps()
    }

    fn step(&mut self, step: u64, watch: &mut Watch) -> Result<Step> {
        // 1. Demonstrations and text.
        let (batch, demonstrations) = self.batch(step);
        let steps = self.steps();
        let Sft { id, s, inputs, learner, .. } = self;

        // 2. The mean loss over response tokens (and tokens of text), and its gradient.
        let dropout = Dropout { rate: s.dropout, seed: inputs.seed, stage: id.draws(), step };
        let dropout = (s.dropout > 0.0).then_some(dropout);
        let mut loss = Mixed { all: CrossEntropy::of(&batch, 1.0), demonstrations, text: 0.0 };
        learner.accumulate(&batch, &singly(batch.len()), 1.0, dropout, &mut loss);
        let Mixed { all: loss, text: text_nats, .. } = loss;
        watch.loss("the loss", &learner.network, loss.mean())?;

        // 3. One update.
        let learning_rate = self.schedule.learning_rate(s.learning_rate, step, steps);
        let norm = watch.update(learner.update(learning_rate, 0.0), "")?;

        // 4. What happened.
        let mut fields = vec![
            ("loss", loss.mean().into()),
            ("learning_rate", learning_rate.into()),
            ("gradient_norm", norm.into()),
        ];
        let all = Amount { sequences: batch.len() as u64, tokens: loss.tokens as u64, nats: loss.sum };
        let texts = &batch[demonstrations..];
        let tokens: usize = texts.iter().map(Sequence::outputs).sum();
        let text = Amount { sequences: texts.len() as u64, tokens: tokens as u64, nats: text_nats };
        if self.mixture.has_text() {
            fields.extend(shares_of_text(&text, &all));
        }
        self.read[0].add(all);
        self.read[1].add(text);
        let portion = self.mixture.portion(step);
        if portion.ends_epoch {
            let epoch = portion.epoch + 1;
            fields.push(("epoch", epoch.into()));
            let loss = self.end_of_epoch(epoch)?;
            fields.extend(loss.map(|loss| ("validation_loss", loss.into())));
        }
        let tokens = batch.iter().map(|sequence| sequence.tokens.len()).sum();
        Ok(Step { fields, line: format!("loss {:.3}", loss.mean()), tokens })
    }

    fn state(&self) -> Option<StageState<'_>> {
        let json = |value: Json| value.to_string();
        let strings = vec![("losses", json(json!(self.losses))), ("read", json(json!(self.read)))];
        let mut state = StageState { buffers: self.learner.state("model"), strings };
        if let Some((loss, parameters)) = &self.best {
            state.strings.push(("best_loss", loss.to_string()));
            state.buffers.push(("best".into(), parameters.into()));
        }
        Some(state)
    }

    fn restore(&mut self, saved: &mut Saved) -> Result<()> {
        self.losses = saved.json("losses")?;
        self.read = saved.json("read")?;
        if let Some(loss) = saved.parse("best_loss") {
            self.best = Some((loss, saved.take("best", self.learner.network.layout.len)?));
        }
        self.learner.restore("model", saved.step, |name, length| saved.take(name, length))
    }

    fn finish(mut self) -> Result<Finished<E>> {
        let (steps, demonstrations, text) = (self.steps(), self.examples().len(), self.text_shares());
        let Sft { id, s, inputs, learner, loss_before, losses, best, lacks_text, .. } = &mut self;
        let mut notes = Vec::new();
        let (mut epoch, mut chosen_by) = (losses.len() as u64, "last");
        if let Some((least, parameters)) = best.take() {
            learner.network.set_parameters(parameters);
            let first = losses.iter().position(|loss| *loss == Some(least));
            (epoch, chosen_by) = (first.expect("the least is one of them") as u64 + 1, "validation_loss");
        } else if s.select == Select::ValidationLoss && s.epochs > 0 {
            notes.push(
                "no held-out demonstrations to choose an epoch by (sft.select = \"validation_loss\"): the last one \
                 is the SFT model"
                    .to_string(),
            );
        }
        if *lacks_text {
            notes.push("no pretraining text to mix in: rlhf_init.pretrain_fraction is not used".to_string());
        }
        let known = if *id == StageId::Sft { hints::SFT } else { hints::RLHF_INIT };
        let key = format!("{}.learning_rate", id.name());
        let slow = hints::slow(&key, s.learning_rate, learner.network.config.width, known);
        notes.extend(slow.filter(|_| steps > 0));
        let epochs =
            losses.iter().zip(1..).map(|(loss, epoch)| json!({ "epoch": epoch, "demonstration_loss": loss }));
        let mut results = json!({ "steps": steps, "demonstrations": demonstrations,
            "demonstration_loss_before": loss_before, "epochs": epochs.collect::<Vec<Json>>(),
            "exported": exported(inputs, &mut learner.network, s.eval_examples, epoch, chosen_by) });
        if let Some((shares, words)) = text {
            results["share_of_text"] = shares;
            notes.push(words);
        }
        Ok(Finished { notes, ..Finished::network(self.learner.network, results) })
    }
}

/// How a stage mixes demonstrations and text: a share of text needs some.
pub fn mixture(s: &SftSettings, text_share: f32, data: &Dataset) -> Mixture {
    let text_share = if data.text.train.predictions() == 0 { 0.0 } else { f64::from(text_share) };
    Mixture::new(data.demonstrations.train.len(), s.epochs, s.batch, text_share)
}

/// How the epoch that is exported does on the test side: `exported` in `results.json`, whoever chose it.
pub fn exported<E: Engine>(
    inputs: &Inputs,
    network: &mut Network<E>,
    demonstrations: usize,
    epoch: u64,
    chosen_by: &str,
) -> Json {
    json!({ "epoch": epoch, "chosen_by": chosen_by,
        "demonstration_loss": inputs.demonstration_loss(network, Side::Test, demonstrations),
        "text_loss": inputs.text_loss(network, Side::Test) })
}

/// Cross-entropy of demonstrations and text, one mean over the tokens of both, that also knows the text's part.
struct Mixed {
    all: CrossEntropy,
    /// How many sequences of the batch are demonstrations; they come first.
    demonstrations: usize,
    /// The sum of the text's losses so far, in nats.
    text: f64,
}

impl Loss for Mixed {
    fn known_slope(&self) -> Option<f32> {
        self.all.known_slope()
    }

    fn slopes(&mut self, sequence: usize, log_probs: &[f32], slopes: &mut [f32]) {
        self.all.slopes(sequence, log_probs, slopes);
        if sequence >= self.demonstrations {
            self.text = log_probs.iter().fold(self.text, |sum, &log_prob| sum - f64::from(log_prob));
        }
    }
}

/// A step's share of text, for `metrics.jsonl`.
fn shares_of_text(text: &Amount, all: &Amount) -> Vec<(&'static str, Value)> {
    let [_, tokens, loss] = text.shares(all);
    let shares = [("text_share_of_tokens", tokens), ("text_share_of_loss", loss)];
    let shares = shares.into_iter().filter_map(|(name, share)| Some((name, share?.into())));
    [("text_sequences", text.sequences.into())].into_iter().chain(shares).collect()
}

/// Where an epoch's network waits for the reward model's choice.
pub fn epoch_directory(epochs: &Path, epoch: u64) -> PathBuf {
    epochs.join(format!("epoch-{epoch:02}"))
}
