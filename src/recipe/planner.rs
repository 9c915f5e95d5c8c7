//! What each stage of a run will take, counted from the data and the shapes of the models before the first of them. The
//! stages' own functions say what a batch holds; here it is only added up. What will be sampled is counted at its
//! longest, so sums over it are upper bounds.

use std::path::Path;

use crate::data::Side;
use crate::error::Result;
use crate::eval::run_tasks::Length;
use crate::model::{Head, ModelConfig, Sequence};
use crate::run::{PlannedStage, StageId, Work};
use crate::settings::{Model, Settings, SftSettings};
use crate::train::blind_spots;
use crate::train::collect::{PROMPTS, candidates};
use crate::train::dataset::{Dataset, Example, Ranking, fitting};
use crate::train::pairs::{Pair, batch_of_pairs};
use crate::train::sft::mixture;

/// Adds up what the stages of a run take.
pub(super) struct Planner<'a> {
    pub s: &'a Settings,
    /// Of the configuration's relative paths.
    pub root: &'a Path,
    /// Where the run's models are.
    pub own: Option<&'a Path>,
    pub data: &'a Dataset,
    /// What each model is asked of public benchmarks.
    pub lengths: &'a [Length],
}

/// What sequences take together: tokens, and the arithmetic of one forward pass.
#[derive(Clone, Copy, Default)]
struct Sum {
    tokens: f64,
    flops: f64,
}

impl Sum {
    fn add(&mut self, times: f64, tokens: usize, flops: f64) {
        self.tokens += times * tokens as f64;
        self.flops += times * flops;
    }
}

/// A forward pass of a language model over sequences, asked as they say.
fn read<'b>(model: &ModelConfig, sequences: impl IntoIterator<Item = Sequence<'b>>) -> Sum {
    let mut sum = Sum::default();
    for sequence in sequences {
        // The last token is a target only.
        let (tokens, outputs) = (sequence.tokens.len(), sequence.outputs());
        sum.add(1.0, tokens, model.forward_flops(Head::LanguageModel, tokens - 1, outputs));
    }
    sum
}

/// A reward model's pass over sequences of these lengths.
fn score(model: &ModelConfig, lengths: impl IntoIterator<Item = usize>) -> Sum {
    let mut sum = Sum::default();
    lengths.into_iter().for_each(|tokens| sum.add(1.0, tokens, model.forward_flops(Head::Scalar, tokens, 1)));
    sum
}

/// Training takes a backward as well, of twice a forward's arithmetic.
const TRAINING: f64 = 3.0;

impl Planner<'_> {
    /// What a stage takes.
    pub fn stage(&self, id: StageId, done: bool) -> Result<PlannedStage> {
        let s = self.s;
        let mut stage = PlannedStage {
            id,
            done,
            steps: 0,
            tokens: 0,
            at_most: false,
            networks: 0,
            parameters: 0,
            memory: 0,
            work: Work::default(),
        };
        match id {
            StageId::Pretrain => self.pretrain(&mut stage)?,
            StageId::Sft => self.sft(&mut stage, &s.sft, 0.0, Model::Sft)?,
            StageId::Collect => self.collect(&mut stage)?,
            StageId::RewardModel => self.reward_model(&mut stage)?,
            StageId::SftSelection => self.select(&mut stage)?,
            StageId::RlhfInit => {
                let (as_sft, share) = (s.rlhf_init.as_sft(), s.rlhf_init.pretrain_fraction);
                self.sft(&mut stage, &as_sft, share, Model::RlhfInit)?;
            }
            StageId::Ppo | StageId::PpoToCompare => self.ppo(&mut stage, 0)?,
            StageId::PpoPtx => self.ppo(&mut stage, s.ppo.ptx_examples_per_episode)?,
            StageId::Benchmarks => self.benchmarks(&mut stage)?,
            StageId::Evaluation => self.evaluation(&mut stage)?,
        }
        Ok(stage)
    }

    fn pretrain(&self, stage: &mut PlannedStage) -> Result<()> {
        let (s, model) = (&self.s.pretrain, self.shape(Model::Pretrained)?);
        let windows = self.windows(&model, s.steps as f64 * s.batch as f64);
        stage.steps = s.steps;
        // As the stage counts them: what is predicted.
        stage.tokens = windows.tokens as u64;
        let validations = validations(s.steps, s.eval_every) + 1.0;
        let [validation, test] = [Side::Validation, Side::Test].map(|side| self.text_loss(&model, side));
        stage.work = Work::passes(TRAINING * windows.flops + validations * validation + test);
        self.learner(stage, &model, Head::LanguageModel, self.s.micro_batch_tokens, false);
        Ok(())
    }

    /// Random windows of the text, and the predictions in them: on average, where runs of text are shorter.
    fn windows(&self, model: &ModelConfig, count: f64) -> Sum {
        let mut sum = Sum::default();
        for (tokens, share) in self.data.text.train.window_lengths(model.context) {
            sum.add(count * share, tokens, model.forward_flops(Head::LanguageModel, tokens, tokens));
        }
        sum
    }

    /// The arithmetic of the loss on a side's text.
    fn text_loss(&self, model: &ModelConfig, side: Side) -> f64 {
        read(model, self.data.text.of(side).windows(model.context, self.s.pretrain.eval_tokens)).flops
    }

    /// The arithmetic of the loss on a side's demonstrations.
    fn demonstration_loss(&self, model: &ModelConfig, side: Side, limit: usize) -> f64 {
        read(model, self.data.demonstrations.of(side).iter().take(limit).map(Example::continuation)).flops
    }

    fn sft(&self, stage: &mut PlannedStage, s: &SftSettings, share: f32, model: Model) -> Result<()> {
        let model = self.shape(model)?;
        let examples = &self.data.demonstrations.train;
        let mixture = mixture(s, share, self.data);
        stage.steps = mixture.steps();
        let epoch = read(&model, examples.iter().map(Example::continuation));
        let number = mixture.texts() as f64;
        let windows = self.windows(&model, number);
        let epochs = s.epochs as f64;
        // A window's first token is read, but not predicted.
        stage.tokens = (epochs * epoch.tokens + windows.tokens + number) as u64;
        let loss = |side| self.demonstration_loss(&model, side, s.eval_examples);
        let looked_at =
            epochs * loss(Side::Validation) + 2.0 * loss(Side::Test) + self.text_loss(&model, Side::Test);
        stage.work = Work::passes(TRAINING * (epochs * epoch.flops + windows.flops) + looked_at);
        self.learner(stage, &model, Head::LanguageModel, self.s.micro_batch_tokens, false);
        Ok(())
    }

    /// The miniature's prompts to rank, each with the responses of models and of people that are wanted.
    fn ranked(&self, side: Side) -> impl Iterator<Item = (usize, usize, usize)> {
        let (prompts, seed, s) = (self.data.ranking_prompts.of(side), self.s.seed, &self.s.reward_model);
        (0..).zip(prompts).map(move |(index, prompt)| {
            let (sampled, written) = candidates(seed, s, side, index);
            (prompt.len(), sampled, written)
        })
    }

    fn collect(&self, stage: &mut PlannedStage) -> Result<()> {
        let (s, model) = (self.s, self.shape(Model::Sft)?);
        let longest = s.data.max_response_tokens;
        let (mut sum, mut prompts, mut tokens) = (Sum::default(), 0, 0);
        for (prompt, sampled, written) in Side::ALL.into_iter().flat_map(|side| self.ranked(side)) {
            let response = answer(&mut sum, &model, sampled as f64, prompt, longest);
            tokens += sampled * response + written * longest;
            prompts += 1;
        }
        (stage.steps, stage.tokens) = (usize::div_ceil(prompts, PROMPTS) as u64, tokens as u64);
        stage.at_most = true;
        stage.work.sampling = sum.flops;
        self.reader(stage, &model, Head::LanguageModel, s.micro_batch_tokens, s.collect.models.len().max(1));
        let sequences = PROMPTS * s.reward_model.max_candidates;
        stage.memory += model.sampling_bytes(sequences, model.context, self.s.device.decoded_together());
        Ok(())
    }

    fn reward_model(&self, stage: &mut PlannedStage) -> Result<()> {
        let (s, model) = (&self.s.reward_model, self.shape(Model::RewardModel)?);
        // What is known, of files; what may come, of the miniature.
        let longest = self.s.data.max_response_tokens;
        let of_files = |rankings: &[Ranking]| -> Vec<Vec<usize>> {
            let lengths =
                rankings.iter().map(|ranking| ranking.responses.iter().map(|r| r.tokens.len()).collect());
            lengths.collect()
        };
        let of_people = |side: Side| -> Vec<Vec<usize>> {
            let ranked = self.ranked(side);
            ranked.map(|(prompt, sampled, written)| vec![prompt + longest; sampled + written]).collect()
        };
        let [training, validation, test] = Side::ALL.map(|side| match self.data.world {
            None => of_files(self.data.rankings.of(side)),
            Some(_) => of_people(side),
        });
        stage.at_most = self.data.world.is_some();
        let ranks = |(number, lengths): (usize, &Vec<usize>)| match self.data.world {
            None => self.data.rankings.train[number].ranks.clone(),
            // None of the pairs that may come is a tie.
            Some(_) => (0..lengths.len() as u32).collect(),
        };
        let pairs = || -> Vec<Vec<usize>> {
            let ranks: Vec<Vec<u32>> = training.iter().enumerate().map(ranks).collect();
            let lengths = |pair: Pair| [pair.winner, pair.loser].map(|i| training[pair.ranking][i]).into();
            Pair::all(ranks.iter().map(Vec::as_slice)).into_iter().map(lengths).collect()
        };
        let pairs = if s.shuffle_pairs { pairs() } else { Vec::new() };
        let (elements, batch) = match s.shuffle_pairs {
            true => (&pairs, batch_of_pairs(s.batch, pairs.len(), training.len())),
            false => (&training, s.batch),
        };
        stage.steps = (s.epochs * elements.len().div_ceil(batch)) as u64;
        let epoch = score(&model, elements.iter().flatten().copied());
        stage.tokens = (s.epochs as f64 * epoch.tokens) as u64;
        let some = score(&model, validation.iter().take(s.eval_examples).flatten().copied());
        let all = score(&model, test.iter().flatten().copied());
        let demonstrations = self.data.demonstrations.train.iter().map(|example| example.tokens.len());
        let centered = if s.center_on_demonstrations { score(&model, demonstrations).flops } else { 0.0 };
        let looked_at = validations(stage.steps, s.eval_every) * some.flops + all.flops + centered;
        stage.work = Work::passes(TRAINING * s.epochs as f64 * epoch.flops + looked_at);
        // A prompt's responses are in memory together.
        let together = training.iter().map(|ranking| ranking.iter().sum()).max().unwrap_or(0);
        self.learner(stage, &model, Head::Scalar, self.s.micro_batch_tokens.max(together), false);
        // What the pretrained model answers to some demonstrations' prompts is scored at the end.
        let writer = self.shape(Model::Pretrained)?;
        self.reader(stage, &writer, Head::LanguageModel, self.s.micro_batch_tokens, 1);
        stage.memory += self.sampling(&writer, blind_spots::MOST);
        Ok(())
    }

    fn select(&self, stage: &mut PlannedStage) -> Result<()> {
        let s = self.s;
        let model = self.shape(Model::Sft)?;
        let reward = match &s.sft.reward_model_from {
            Some(directory) => self.shape_in(directory)?,
            None => self.shape(Model::RewardModel)?,
        };
        let mut prompts = fitting(&self.data.prompts.validation, reward.context.min(model.context));
        prompts.truncate(s.sft.eval_examples);
        let epochs = s.sft.epochs as f64;
        let (sampled, scored) =
            self.answers(&model, &reward, prompts.iter().map(|prompt| (prompt.len(), epochs)));
        (stage.steps, stage.tokens, stage.at_most) = (s.sft.epochs as u64, sampled.tokens as u64, true);
        stage.work = Work { passes: scored.flops, sampling: sampled.flops };
        self.reader(stage, &model, Head::LanguageModel, s.micro_batch_tokens, 1);
        self.reader(stage, &reward, Head::Scalar, s.micro_batch_tokens, 1);
        stage.memory += self.sampling(&model, prompts.len());
        Ok(())
    }

    /// Counts a network that is trained.
    fn learner(
        &self,
        stage: &mut PlannedStage,
        model: &ModelConfig,
        head: Head,
        tokens: usize,
        average: bool,
    ) {
        stage.networks += 1;
        stage.parameters += model.parameters(head);
        stage.memory += model.learner_bytes(head, tokens, average, self.s.device);
    }

    /// Counts networks that are only read.
    fn reader(&self, stage: &mut PlannedStage, model: &ModelConfig, head: Head, tokens: usize, count: usize) {
        stage.networks += count;
        stage.parameters += count as u128 * model.parameters(head);
        stage.memory += count as u128 * model.reader_bytes(head, tokens, self.s.device);
    }

    /// Bytes of sampling so many responses at a time.
    fn sampling(&self, model: &ModelConfig, sequences: usize) -> u128 {
        let (data, ppo) = (&self.s.data, &self.s.ppo);
        let prompt = data.max_prompt_tokens.max(ppo.max_prompt_tokens);
        let response = data.max_response_tokens.max(ppo.max_response_tokens);
        let longest = model.context.min(prompt.saturating_add(response));
        model.sampling_bytes(sequences, longest, self.s.device.decoded_together())
    }

    /// Answers of the longest length to prompts (tokens, times), and their scores.
    fn answers(
        &self,
        model: &ModelConfig,
        reward: &ModelConfig,
        prompts: impl Iterator<Item = (usize, f64)>,
    ) -> (Sum, Sum) {
        let (mut sampled, mut scored) = (Sum::default(), Sum::default());
        for (prompt, times) in prompts {
            let response = answer(&mut sampled, model, times, prompt, self.s.ppo.max_response_tokens);
            let tokens = prompt + response;
            scored.add(times, tokens, reward.forward_flops(Head::Scalar, tokens, 1));
        }
        (sampled, scored)
    }

    fn ppo(&self, stage: &mut PlannedStage, texts_per_episode: usize) -> Result<()> {
        let s = &self.s.ppo;
        let (policy, reference) = (self.shape(Model::Policy)?, self.shape(Model::Reference)?);
        let (value, reward) = (self.shape(Model::Value)?, self.shape(Model::Reward)?);
        let prompts = fitting(&self.data.prompts.train, policy.context.min(value.context));
        let iterations = s.iterations();
        let episodes = (iterations * s.batch as u64) as f64;
        // The longest first: whichever are asked once more, they are no longer than these.
        let mut lengths: Vec<usize> = prompts.iter().map(|prompt| prompt.len()).collect();
        lengths.sort_by(|a, b| b.cmp(a));
        let passes = (episodes / lengths.len().max(1) as f64).floor();
        let rest = episodes - passes * lengths.len() as f64;
        let times = |i: usize| passes + f64::from(u8::from((i as f64) < rest));
        let asked = || lengths.iter().enumerate().map(|(i, &length)| (length, times(i)));

        let (sampled, scored) = self.answers(&policy, &reward, asked());
        let (mut of_reference, mut of_policy, mut of_value) = (0.0, 0.0, 0.0);
        for (prompt, times) in asked() {
            let response = s.max_response_tokens.min(policy.context.saturating_sub(prompt));
            let tokens = prompt + response;
            of_reference += times * reference.forward_flops(Head::LanguageModel, tokens - 1, response);
            of_policy += times * policy.forward_flops(Head::LanguageModel, tokens - 1, response);
            of_value += times * value.forward_flops(Head::Scalar, tokens, response);
        }
        let updates = s.inner_epochs as f64;
        let texts = self.windows(&policy, updates * episodes * texts_per_episode as f64);
        let trained = updates * (of_policy + of_value) + texts.flops;

        let validations = validations(iterations, s.eval_every);
        let mut held_out = fitting(&self.data.prompts.validation, policy.context.min(value.context));
        held_out.truncate(s.eval_prompts);
        let held_out = held_out.iter().map(|prompt| (prompt.len(), validations));
        let (answered, judged) = self.answers(&policy, &reward, held_out);
        let text = validations * self.text_loss(&policy, Side::Validation);

        (stage.steps, stage.tokens, stage.at_most) = (iterations, sampled.tokens as u64, true);
        stage.work = Work {
            passes: scored.flops + of_reference + of_value + TRAINING * trained + judged.flops + text,
            sampling: sampled.flops + answered.flops,
        };
        let rows = self.s.micro_batch_tokens;
        self.learner(stage, &policy, Head::LanguageModel, rows, true);
        self.learner(stage, &value, Head::Scalar, rows, false);
        self.reader(stage, &reference, Head::LanguageModel, rows, 1);
        self.reader(stage, &reward, Head::Scalar, rows, 1);
        stage.memory += self.sampling(&policy, s.batch);
        Ok(())
    }

    fn evaluation(&self, stage: &mut PlannedStage) -> Result<()> {
        let s = self.s;
        let mut contenders = self.language_models()?;
        if s.ppo.episodes > 0 {
            contenders.push(self.shape(Model::RlhfInit)?);
        }
        let judged = s.ppo.reward_model_from.is_some() || s.reward_model.epochs > 0;
        let reward = self.shape(Model::Reward)?;
        let context = contenders.iter().map(|model| model.context).min().unwrap_or(0);
        let mut prompts = fitting(&self.data.prompts.test, context);
        prompts.truncate(s.ppo.eval_prompts);
        for model in &contenders {
            let asked = prompts.iter().map(|prompt| (prompt.len(), 1.0));
            let (sampled, scored) = self.answers(model, &reward, asked);
            stage.tokens += sampled.tokens as u64;
            let compared = if s.ppo.episodes > 0 { sampled.flops } else { 0.0 };
            let scored = if judged { scored.flops } else { 0.0 };
            let losses = self.text_loss(model, Side::Test)
                + self.demonstration_loss(model, Side::Test, s.sft.eval_examples);
            stage.work = stage.work + Work { passes: compared + scored + losses, sampling: sampled.flops };
            self.reader(stage, model, Head::LanguageModel, s.micro_batch_tokens, 1);
        }
        if s.ppo.episodes > 0 {
            self.reader(stage, &self.shape(Model::RlhfInit)?, Head::LanguageModel, s.micro_batch_tokens, 1);
        }
        if judged {
            self.reader(stage, &reward, Head::Scalar, s.micro_batch_tokens, 1);
        }
        let together = self.s.device.decoded_together();
        let largest =
            contenders.iter().map(|model| model.sampling_bytes(prompts.len(), model.context, together));
        stage.memory += largest.max().unwrap_or(0);
        (stage.steps, stage.at_most) = (contenders.len() as u64, true);
        Ok(())
    }
}

/// Adds the longest answers to a prompt, sampled `times` times; returns their length.
fn answer(sum: &mut Sum, model: &ModelConfig, times: f64, prompt: usize, longest: usize) -> usize {
    let response = longest.min(model.context.saturating_sub(prompt));
    let tokens = prompt + response;
    sum.add(times, tokens, model.forward_flops(Head::LanguageModel, tokens.saturating_sub(1), response));
    response
}

/// Validations of a stage that has one after every so many steps and after the last.
fn validations(steps: u64, every: u64) -> f64 {
    match every {
        0 => f64::from(u8::from(steps > 0)),
        _ => steps.div_ceil(every) as f64,
    }
}
