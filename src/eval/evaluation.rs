//! The last stage: every model of a run answers the same prompts of the test side, by which nothing was chosen, and one table says what each
//! stage was good for (the paper's section 4 in miniature).

use serde_json::{Map, Value, json};

use super::metadata;
use super::win_rate::win_rate;
use crate::data::Side;
use crate::engine::Engine;
use crate::error::Result;
use crate::model::{Draw, Network, Sampling};
use crate::num::statistics::mean_interval;
use crate::run::{Finished, Stage, Step, Watch};
use crate::train::inputs::Inputs;
use crate::train::monitors::monitors;
use crate::train::rollouts::{Rollouts, strip};
use crate::world::gold::Metadata;

/// The stage. It keeps no state: if it is stopped, it starts over.
pub struct Evaluation<'a, E: Engine> {
    /// The data, and how much of it is looked at.
    pub inputs: Inputs<'a>,
    /// Demonstrations of the test side that are looked at.
    pub demonstrations: usize,
    /// Who is compared: a name in tables and samples, and the network.
    pub contenders: Vec<(&'static str, Network<E>)>,
    /// What KL is measured against.
    pub reference: Option<Network<E>>,
    /// Who scores.
    pub reward: Option<Network<E>>,
    /// What they are asked; every contender has room to answer.
    pub prompts: Vec<&'a [u32]>,
    /// How they answer.
    pub sampling: Sampling,
    /// The address of their first answer.
    pub draw: Draw,
    /// What the earlier stages found, by stage.
    pub earlier: &'a Map<String, Value>,
    /// What each did so far; nothing in the beginning.
    pub judged: Vec<Judged>,
}

/// What one contender did.
pub struct Judged {
    name: &'static str,
    answers: Vec<Vec<u32>>,
    /// Reward-model scores, by prompt; empty without a reward model.
    scores: Vec<f64>,
    /// The world's own judgement, by prompt; empty without a world.
    gold: Vec<Metadata>,
    /// Mean KL to the reference in nats per response.
    kl: Option<f64>,
    text_loss: Option<f64>,
    demonstration_loss: Option<f64>,
}

impl<E: Engine> Stage for Evaluation<'_, E> {
    type Engine = E;

    fn steps(&self) -> u64 {
        self.contenders.len() as u64
    }

    fn step(&mut self, step: u64, watch: &mut Watch) -> Result<Step> {
        let Evaluation { inputs, prompts, sampling, .. } = self;
        let (name, network) = &mut self.contenders[step as usize];
        let draws = self.draw.consecutive(prompts.len());
        let responses = network.generate(prompts, sampling, &draws, &|_| watch.go_on());
        watch.check_stop()?;
        let rollouts = Rollouts::new(prompts, &responses);

        let log_probs = responses.iter().flat_map(|response| &response.log_probs);
        let own: f64 = log_probs.map(|&log_prob| f64::from(log_prob)).sum();
        let reference = self.reference.as_mut().filter(|_| !prompts.is_empty());
        let kl = reference.map(|reference| {
            let theirs = reference.log_probs(&rollouts.sequences(), sampling.temperature);
            let theirs = theirs.iter().fold(0.0, |sum, &log_prob| sum + f64::from(log_prob));
            (own - theirs) / prompts.len() as f64
        });
        watch.check_stop()?;
        let scores = self.reward.as_mut().map_or(vec![], |reward| reward.scores(rollouts.iter()));
        let tokenizer = &inputs.data.tokenizer;
        let text = |tokens: &[u32]| tokenizer.decode_lossy(strip(tokens, tokenizer.end_of_text()));
        let gold = inputs.data.world.as_ref().map_or(vec![], |world| {
            let judge = |i| world.gold(&text(rollouts.prompt(i)), &text(rollouts.response(i)));
            (0..rollouts.len()).map(judge).collect()
        });
        watch.check_stop()?;
        self.judged.push(Judged {
            name,
            answers: responses.into_iter().map(|response| response.tokens).collect(),
            scores: scores.into_iter().map(f64::from).collect(),
            gold,
            kl,
            text_loss: inputs.text_loss(network, Side::Test),
            demonstration_loss: inputs.demonstration_loss(network, Side::Test, self.demonstrations),
        });
        Ok(Step { fields: vec![], line: name.to_string(), tokens: 0 })
    }

    fn finish(self) -> Result<Finished<E>> {
        let data = self.inputs.data;
        let mut tables = vec![comparison(&self.judged, data.tokenizer.end_of_text())];
        if data.world.is_some() {
            tables.push(table_3(&self.judged)?);
        }
        tables.extend(reward_model(self.earlier));
        let results = json!({ "prompts": self.prompts.len() });
        let mut finished = Finished::file("samples.jsonl", self.samples(), results);
        finished.report.insert("tables".into(), Value::Array(tables));
        finished.report.insert("notes".into(), json!(data.notes));
        Ok(finished)
    }
}

impl<E: Engine> Evaluation<'_, E> {
    /// The answers to the first prompts, a line for each.
    fn samples(&self) -> String {
        let tokenizer = &self.inputs.data.tokenizer;
        let mut text = String::new();
        for (i, prompt) in self.prompts.iter().enumerate().take(24) {
            let mut line = Map::new();
            line.insert("prompt".into(), json!(tokenizer.decode_lossy(prompt)));
            for Judged { name, answers, .. } in &self.judged {
                let answer = strip(&answers[i], tokenizer.end_of_text());
                line.insert((*name).into(), json!(tokenizer.decode_lossy(answer)));
            }
            text += &format!("{}\n", Value::Object(line));
        }
        text
    }
}

/// One row per model.
fn comparison(judged: &[Judged], end_of_text: u32) -> Value {
    let has_gold = judged.iter().any(|j| !j.gold.is_empty());
    let baseline = judged.iter().find(|j| j.name == "sft");
    let judge = |j: &Judged| {
        if has_gold { j.gold.iter().map(|m| f64::from(m.overall)).collect() } else { j.scores.clone() }
    };
    let number = |x: Option<f64>| x.map_or("-".to_string(), |x| format!("{x:.3}"));
    let rows: Vec<Value> = judged
        .iter()
        .map(|j| {
            let gold: Vec<f64> = j.gold.iter().map(|m| f64::from(m.overall)).collect();
            let wins = baseline.filter(|b| b.name != j.name && !judge(j).is_empty());
            let wins = wins.map_or("-".to_string(), |b| win_rate(&judge(j), &judge(b)).rate.text(2));
            let watched = monitors(&j.answers, end_of_text);
            json!([
                j.name,
                mean_interval(&gold).text(2),
                mean_interval(&j.scores).text(3),
                wins,
                number(j.kl),
                number(j.text_loss),
                number(j.demonstration_loss),
                format!("{:.1}", watched.mean_length),
                format!("{:.2}", watched.ended),
                format!("{:.3}", watched.repetition),
            ])
        })
        .collect();
    let judge = if has_gold { "gold" } else { "the reward model" };
    json!({
        "title": "Test prompts, 95 % intervals",
        "columns": ["model", "gold score (1-7)", "reward", format!("win rate vs sft by {judge}"), "KL to init (nats)",
            "pretraining loss", "demonstration loss", "length", "ended", "repetition"],
        "rows": rows,
    })
}

/// The paper's Table 3 as far as the world can answer it, in shares.
fn table_3(judged: &[Judged]) -> Result<Value> {
    const QUESTIONS: [&str; 6] = [
        "follows the instruction",
        "satisfies the constraints",
        "hallucinates",
        "inappropriate",
        "grammatical",
        "repetitive",
    ];
    let mut rows = Vec::new();
    for j in judged {
        let mut shares = metadata::Metadata::new(&QUESTIONS);
        for m in &j.gold {
            let answers = [
                m.follows_instruction,
                m.satisfies_constraints,
                m.hallucination,
                m.inappropriate,
                m.grammatical,
                m.repetitive,
            ];
            shares.add(&answers.map(Some))?;
        }
        let mut row = vec![json!(j.name)];
        row.extend(shares.shares().iter().map(|(_, share)| json!(share.text(2))));
        rows.push(json!(row));
    }
    let columns: Vec<&str> = std::iter::once("model").chain(QUESTIONS).collect();
    Ok(json!({ "title": "Metadata (paper, Table 3), shares", "columns": columns, "rows": rows }))
}

/// What the reward model's stage found: its accuracy, if there was anything to measure it on.
fn reward_model(earlier: &Map<String, Value>) -> Option<Value> {
    let results = earlier.get("reward_model")?;
    let get = |key: &str| results.get(key).and_then(Value::as_f64);
    let pairs = get("test_pairs").filter(|&pairs| pairs > 0.0)?;
    let with_interval = |key: &str| {
        let [value, low, high] =
            ["", "_low", "_high"].map(|end| get(&format!("{key}{end}")).unwrap_or(f64::NAN));
        format!("{value:.3} [{low:.3}, {high:.3}]")
    };
    Some(json!({
        "title": "Reward model: accuracy on test pairs",
        "columns": ["reward model", "length alone", "pairs"],
        "rows": [[with_interval("accuracy"), with_interval("length_baseline"), pairs]],
    }))
}
