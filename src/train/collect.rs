//! Comparisons are collected (paper, section 3.1 and 3.4): models write K responses to a prompt, people of varied skill
//! perhaps some more, and a labeler ranks them. All of it goes into `comparisons.jsonl`, which the reward model reads
//! like any other data: as text for people, and as the tokens that were sampled, since these do not always survive
//! being decoded and encoded again.

use std::path::Path;

use serde_json::{Value, json};

use super::rollouts::strip;
use crate::checkpoint::checksum::{Crc64, digits};
use crate::checkpoint::read_file;
use crate::data::{Side, Split};
use crate::engine::Engine;
use crate::error::{Error, Result};
use crate::model::{Draw, Network, Sampling};
use crate::num::rng::{Purpose, Rng, Stage as Address};
use crate::run::{Finished, Stage, Step, Watch};
use crate::settings::RewardModelSettings;
use crate::text::Tokenizer;
use crate::world::labelers::{Item, Labeler};

/// The file it leaves in the run directory.
pub const COMPARISONS: &str = "comparisons.jsonl";

/// Prompts in a step.
pub const PROMPTS: usize = 64;

/// The stage. It keeps no state: if it is stopped, it starts over.
pub struct Collect<'a, E: Engine> {
    /// Who writes, in turns: response j of a prompt is model j mod M's.
    models: Vec<Network<E>>,
    labeler: &'a mut dyn Labeler,
    tokenizer: &'a Tokenizer,
    sampling: Sampling,
    seed: u64,
    tasks: Vec<Task<'a>>,
    /// The file so far.
    lines: String,
}

/// A prompt, and what is wanted to it.
struct Task<'a> {
    item: Item,
    prompt: &'a [u32],
    /// Responses of models, and the number of the first among all of the same side.
    sampled: usize,
    first: u64,
    /// Responses of people.
    written: usize,
}

impl<'a, E: Engine> Collect<'a, E> {
    /// Collects rankings of the prompts of all sides as section `reward_model` says; responses have at most
    /// `max_response_tokens`.
    ///
    /// # Errors
    /// [`Error::Usage`] if a prompt is too long for a model.
    pub fn new(
        seed: u64,
        s: &RewardModelSettings,
        prompts: &'a Split<Vec<Vec<u32>>>,
        max_response_tokens: usize,
        models: Vec<Network<E>>,
        labeler: &'a mut dyn Labeler,
        tokenizer: &'a Tokenizer,
    ) -> Result<Self> {
        let context = models.iter().map(|model| model.config.context).min().unwrap_or(0);
        let longest = Side::ALL.iter().flat_map(|&side| prompts.of(side)).map(Vec::len).max().unwrap_or(0);
        if longest >= context {
            let expected = format!("models of a context above {longest} tokens, the longest prompt");
            return Err(Error::usage("collect.models", expected, context, "or lower data.max_prompt_tokens"));
        }
        let sampling = Sampling::full(s.candidate_temperature, max_response_tokens, tokenizer.end_of_text());
        let mut tasks = Vec::new();
        for side in Side::ALL {
            let mut first = 0;
            for (index, prompt) in (0..).zip(prompts.of(side)) {
                let (sampled, written) = candidates(seed, s, side, index);
                tasks.push(Task { item: Item { side, index }, prompt, sampled, first, written });
                first += sampled as u64;
            }
        }
        Ok(Collect { models, labeler, tokenizer, sampling, seed, tasks, lines: String::new() })
    }

    /// The models' responses to some tasks, task after task.
    fn sample(&self, tasks: &[Task], watch: &Watch) -> Vec<Vec<u32>> {
        let asked: Vec<(&Task, usize)> =
            tasks.iter().flat_map(|task| (0..task.sampled).map(move |j| (task, j))).collect();
        let mut responses = vec![Vec::new(); asked.len()];
        for (number, model) in self.models.iter().enumerate() {
            let places: Vec<usize> =
                (0..asked.len()).filter(|&i| asked[i].1 % self.models.len() == number).collect();
            let prompts: Vec<&[u32]> = places.iter().map(|&i| asked[i].0.prompt).collect();
            let draw = |&i: &usize| {
                let (task, j) = asked[i];
                let (step, episode) = (task.item.side as u64, task.first + j as u64);
                Draw { seed: self.seed, stage: Address::RewardModel, step, episode }
            };
            let draws: Vec<Draw> = places.iter().map(draw).collect();
            let written = model.generate(&prompts, &self.sampling, &draws, &|_| watch.go_on());
            for (i, response) in places.into_iter().zip(written) {
                responses[i] = response.tokens;
            }
        }
        responses
    }

    /// A response of a person, as a model would have given it.
    fn tokens(&self, text: &str) -> Vec<u32> {
        let mut tokens = self.tokenizer.encode(text);
        tokens.push(self.tokenizer.end_of_text());
        tokens.truncate(self.sampling.max_new_tokens);
        tokens
    }

    fn text(&self, tokens: &[u32]) -> String {
        self.tokenizer.decode_lossy(strip(tokens, self.tokenizer.end_of_text()))
    }
}

impl<E: Engine> Stage for Collect<'_, E> {
    type Engine = E;

    fn steps(&self) -> u64 {
        self.tasks.len().div_ceil(PROMPTS) as u64
    }

    fn step(&mut self, step: u64, watch: &mut Watch) -> Result<Step> {
        let begin = step as usize * PROMPTS;
        let tasks = begin..self.tasks.len().min(begin + PROMPTS);
        let sampled = self.sample(&self.tasks[tasks.clone()], watch);
        watch.check_stop()?;
        let mut sampled = sampled.into_iter();
        let mut count = 0;
        for i in tasks.clone() {
            let Task { item, prompt, sampled: of_models, written, .. } = self.tasks[i];
            let asked = self.tokenizer.decode_lossy(prompt);
            let mut responses: Vec<Vec<u32>> = sampled.by_ref().take(of_models).collect();
            let written = self.labeler.write(item, &asked, written);
            responses.extend(written.iter().map(|text| self.tokens(text)));
            let texts: Vec<String> = responses.iter().map(|tokens| self.text(tokens)).collect();
            let judgement = self.labeler.rank(item, &asked, &texts);
            count += responses.iter().map(Vec::len).sum::<usize>();
            let line = json!({ "prompt": asked, "responses": texts, "ranks": judgement.ranks,
                "labeler": judgement.labeler, "set": item.side.name(), "prompt_tokens": prompt, "response_tokens": responses });
            self.lines += &format!("{line}\n");
        }
        let line = format!("{} of {} prompts", tasks.end, self.tasks.len());
        Ok(Step { fields: vec![], line, tokens: count })
    }

    fn finish(self) -> Result<Finished<E>> {
        let responses: usize = self.tasks.iter().map(|task| task.sampled + task.written).sum();
        let results = json!({ "prompts": self.tasks.len(), "responses": responses, "models": self.models.len(),
            "checksum": digits(Crc64::of(self.lines.as_bytes())) });
        Ok(Finished::file(COMPARISONS, self.lines, results))
    }
}

/// How many responses to a prompt models write, and how many people.
pub fn candidates(seed: u64, s: &RewardModelSettings, side: Side, index: u64) -> (usize, usize) {
    // K is uniform from the least to the most.
    let mut rng = Rng::at(seed, Address::RewardModel, Purpose::Labeler, side as u64, index, 0);
    let k = s.min_candidates + rng.below(s.max_candidates - s.min_candidates + 1);
    // On average people write exactly their share, however small: what is no whole response is one as often as that.
    let share = k as f64 * f64::from(s.written_share);
    let written = ((share + f64::from(rng.uniform())) as usize).min(k);
    (k - written, written)
}

/// Checks that a file is still what the stage has left, by its results.
///
/// # Errors
/// [`Error::Format`] if it was altered, [`Error::Io`].
pub fn verify(path: &Path, results: Option<&Value>) -> Result<()> {
    // 4 GiB: far above any collection, yet a bound on what a wrong file can make us read.
    let found = digits(Crc64::of(&read_file(path, 4 << 30)?));
    let expected = results.and_then(|results| results["checksum"].as_str()).unwrap_or("none");
    if found == expected {
        return Ok(());
    }
    let hint =
        "the file was altered: start in a new directory, with comparisons of your own under data.comparisons";
    Err(Error::format(path.display(), "checksum", expected, found, hint))
}
