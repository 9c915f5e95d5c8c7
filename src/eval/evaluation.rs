//! The last stage: every model of a run answers the same prompts of the test side, by which nothing was chosen, and one
//! table says what each stage was good for (the paper's section 4 in miniature); [`super::differences`] says what the last
//! ones changed.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use super::benchmarks;
use super::differences;
use super::metadata::{self, TABLE_3};
use super::win_rate::win_rate;
use crate::data::Side;
use crate::engine::Engine;
use crate::error::Result;
use crate::model::{Draw, Network, Sampling};
use crate::num::statistics::{Clustered, Estimate, interval_text, text};
use crate::run::{Finished, Stage, Step, Watch, estimates};
use crate::train::held_out::{TextLoss, text_loss};
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
    pub(super) name: &'static str,
    pub(super) answers: Vec<Vec<u32>>,
    /// Reward-model scores, by prompt; empty without a reward model.
    pub(super) scores: Vec<f64>,
    /// The world's own judgement, by prompt; empty without a world.
    pub(super) gold: Vec<Metadata>,
    /// Mean KL to the reference in nats per response.
    pub(super) kl: Option<f64>,
    pub(super) text_loss: TextLoss,
    pub(super) demonstration_loss: Option<f64>,
}

impl Judged {
    /// Gold scores, by prompt.
    pub(super) fn gold_scores(&self) -> Vec<f64> {
        self.gold.iter().map(|m| f64::from(m.overall)).collect()
    }

    /// 1 where the instruction was followed, else 0, by prompt.
    pub(super) fn followed(&self) -> Vec<f64> {
        self.gold.iter().map(|m| f64::from(u8::from(m.follows_instruction))).collect()
    }
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
        let own = log_probs.fold(0.0, |sum, &log_prob| sum + f64::from(log_prob));
        let reference = self.reference.as_mut().filter(|_| !prompts.is_empty());
        let kl = reference.map(|reference| {
            let theirs = reference.log_probs(&rollouts.sequences(), sampling.temperature);
            let theirs = theirs.iter().fold(0.0, |sum, &log_prob| sum + f64::from(log_prob));
            (own - theirs) / prompts.len() as f64
        });
        watch.check_stop()?;
        let scores = match &mut self.reward {
            Some(reward) => reward.scores(rollouts.iter()),
            None => vec![],
        };
        watch.scores(&scores, self.reward.as_ref().map_or(0, |_| rollouts.len()))?;
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
            text_loss: text_loss(network, &inputs.data.text.test, inputs.eval_tokens),
            demonstration_loss: inputs.demonstration_loss(network, Side::Test, self.demonstrations),
        });
        // The next one needs as much.
        network.release();
        Ok(Step { fields: vec![], line: name.to_string(), tokens: 0 })
    }

    fn finish(self) -> Result<Finished<E>> {
        let data = self.inputs.data;
        let mut tables = vec![comparison(&self.judged, &self.prompts, data.tokenizer.end_of_text())];
        let differences = differences::all(&self.judged, &self.prompts);
        tables.extend(differences::table(&differences));
        if data.world.is_some() {
            tables.push(table_3(&self.judged, &self.prompts)?);
            tables.push(of_the_world(&self.judged, &self.prompts)?);
        }
        tables.extend(reward_model(self.earlier));
        tables.extend(benchmarks::table(self.earlier));
        let different: BTreeSet<&[u32]> = self.prompts.iter().copied().collect();
        let results = json!({ "prompts": self.prompts.len(), "different_prompts": different.len(),
            "differences": differences });
        let mut finished = Finished::file("samples.jsonl", self.samples(), results);
        finished.report.insert("tables".into(), Value::Array(tables));
        finished.report.insert("notes".into(), json!(data.notes));
        Ok(finished)
    }
}

impl<E: Engine> Evaluation<'_, E> {
    /// The answers to the first prompts with what they are worth, a line for each prompt.
    fn samples(&self) -> String {
        let tokenizer = &self.inputs.data.tokenizer;
        let mut text = String::new();
        for (i, prompt) in self.prompts.iter().enumerate().take(24) {
            let prompt = tokenizer.decode_lossy(prompt);
            let mut answers = Map::new();
            for judged in &self.judged {
                let answer = tokenizer.decode_lossy(strip(&judged.answers[i], tokenizer.end_of_text()));
                let mut entry = json!({ "text": answer });
                if let Some(score) = judged.scores.get(i) {
                    entry["reward"] = json!(score);
                }
                if let (Some(gold), Some(world)) = (judged.gold.get(i), &self.inputs.data.world) {
                    let marks = world.marks(&prompt, &answer).into_iter();
                    let marks = marks.map(|(range, good)| json!([range.start, range.end, good]));
                    entry["gold"] = json!(gold.overall);
                    entry["marks"] = marks.collect();
                }
                answers.insert(judged.name.into(), entry);
            }
            text += &format!("{}\n", json!({ "prompt": prompt, "answers": answers }));
        }
        text
    }
}

/// Values of answers by their prompts: those of a prompt that occurs twice are one cluster.
fn clustered<'a>(prompts: &[&'a [u32]], values: impl Iterator<Item = f64>) -> Clustered<&'a [u32]> {
    prompts.iter().copied().zip(values).collect()
}

/// One row per model.
fn comparison(judged: &[Judged], prompts: &[&[u32]], end_of_text: u32) -> Value {
    let has_gold = judged.iter().any(|j| !j.gold.is_empty());
    let baseline = judged.iter().find(|j| j.name == "sft");
    let judge = |j: &Judged| if has_gold { j.gold_scores() } else { j.scores.clone() };
    let mean = |values: Vec<f64>| clustered(prompts, values.into_iter()).mean();
    let share = |values: Vec<f64>| clustered(prompts, values.into_iter()).share();
    let rows: Vec<Value> = judged
        .iter()
        .map(|j| {
            let other = baseline.filter(|b| b.name != j.name && !judge(j).is_empty());
            let wins = other.and_then(|b| win_rate(prompts, &judge(j), &judge(b)).rate);
            let watched = monitors(&j.answers, end_of_text);
            json!([
                j.name,
                interval_text(mean(j.gold_scores()), 2),
                interval_text(share(j.followed()), 2),
                interval_text(mean(j.scores.clone()), 3),
                interval_text(wins, 2),
                text(j.kl, 3),
                text(j.text_loss.mean, 3),
                text(j.demonstration_loss, 3),
                text(watched.mean_length, 1),
                text(watched.ended, 2),
                text(watched.repetition, 3),
            ])
        })
        .collect();
    let judge = if has_gold { "gold" } else { "the reward model" };
    json!({
        "title": format!("{} test prompts, 95 % intervals", prompts.len()),
        "columns": ["model", "gold score (1-7)", "follows the instruction", "reward", format!("win rate vs sft by {judge}"), "KL to init (nats)",
            "pretraining loss", "demonstration loss", "length", "ended", "repetition"],
        "rows": rows,
    })
}

/// The questions of the paper's Table 3 that the world can answer. Constraints are asked about where a request has
/// some, hallucination where it brings a text.
fn table_3(judged: &[Judged], prompts: &[&[u32]]) -> Result<Value> {
    let answers = |m: &Metadata| {
        let always = [!m.follows_instruction, m.inappropriate].map(Some);
        [always[0], always[1], m.hallucination, m.satisfies_constraints]
    };
    shares(
        "Metadata (paper, Table 3)",
        TABLE_3[..4].try_into().expect("four questions"),
        judged,
        prompts,
        answers,
    )
}

/// Questions that the paper does not ask.
fn of_the_world(judged: &[Judged], prompts: &[&[u32]]) -> Result<Value> {
    let answers = |m: &Metadata| [m.grammatical, m.repetitive].map(Some);
    let questions = ["every sentence is of the world's language", "says a sentence twice"];
    shares("The world's own questions", questions, judged, prompts, answers)
}

/// A table of the shares of answers to which each question's answer is yes, and of how many it could be asked.
fn shares<const N: usize>(
    title: &str,
    questions: [&str; N],
    judged: &[Judged],
    prompts: &[&[u32]],
    answers: impl Fn(&Metadata) -> [Option<bool>; N],
) -> Result<Value> {
    let cell = |share: Option<Estimate>| match share {
        Some(share) => format!("{} n={}", interval_text(Some(share), 2), share.count),
        None => "- n=0".into(),
    };
    let mut rows = Vec::new();
    for j in judged {
        let mut shares = metadata::Metadata::new(&questions);
        for (prompt, m) in prompts.iter().zip(&j.gold) {
            shares.add(prompt, &answers(m))?;
        }
        let mut row = vec![json!(j.name)];
        row.extend(shares.shares().into_iter().map(|(_, share)| json!(cell(share))));
        rows.push(json!(row));
    }
    let columns: Vec<&str> = std::iter::once("model").chain(questions).collect();
    Ok(
        json!({ "title": format!("{title}: shares of yes, 95 % intervals, n answers"), "columns": columns, "rows": rows }),
    )
}

/// What the reward model's stage found: how often it is right, between what length alone can do and, in the miniature, as
/// far as the labelers themselves agree.
fn reward_model(earlier: &Map<String, Value>) -> Option<Value> {
    let results = earlier.get("reward_model")?;
    let (mut columns, mut row) = (Vec::new(), Vec::new());
    for (column, key) in [
        ("reward model", "accuracy"),
        ("length alone", "length_baseline"),
        ("gold judgement", "ceiling_gold"),
        ("another labeler", "ceiling_labelers"),
    ] {
        // Files have no labelers that could be asked.
        if !(key.starts_with("ceiling") && results[key].is_null()) {
            columns.push(column);
            row.push(json!(estimates::cell(results, key, 3)));
        }
    }
    columns.extend(["log loss (chance 0.693)", "pairs", "prompts"]);
    row.push(json!(estimates::cell(results, "test_log_loss", 3)));
    row.extend([results["test_pairs"].clone(), results["accuracy_prompts"].clone()]);
    Some(json!({
        "title": "Reward model: accuracy on test pairs, 95 % intervals by prompt",
        "columns": columns,
        "rows": [row],
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(name: &'static str, gold: Vec<Metadata>) -> Judged {
        let answers = vec![vec![0]; gold.len()];
        let (scores, text_loss) = (vec![], TextLoss::default());
        Judged { name, answers, scores, gold, kl: None, text_loss, demonstration_loss: None }
    }

    fn cells(table: &Value) -> Vec<String> {
        let row = table["rows"][0].as_array().unwrap();
        row.iter().map(|cell| cell.as_str().unwrap().split(' ').next().unwrap().to_string()).collect()
    }

    fn counts(table: &Value) -> Vec<String> {
        let row = table["rows"][0].as_array().unwrap();
        row[1..].iter().map(|cell| cell.as_str().unwrap().rsplit(' ').next().unwrap().to_string()).collect()
    }

    /// Of four answers one is to a request with a constraint, two are to requests that bring a text.
    #[test]
    fn only_questions_that_apply_are_counted() {
        let good = Metadata { follows_instruction: true, grammatical: true, ..Metadata::default() };
        let gold = vec![
            Metadata { satisfies_constraints: Some(false), ..good },
            Metadata { hallucination: Some(true), follows_instruction: false, ..good },
            Metadata { hallucination: Some(false), ..good },
            Metadata { untrue: true, repetitive: true, ..good },
        ];
        let prompts: [&[u32]; 4] = [&[1], &[2], &[3], &[4]];
        let judged = [judged("sft", gold)];
        let table = table_3(&judged, &prompts).unwrap();
        assert!(table["title"].as_str().unwrap().starts_with("Metadata (paper, Table 3)"));
        assert_eq!(table["columns"].as_array().unwrap()[1..], TABLE_3[..4]);
        assert_eq!(cells(&table), ["sft", "0.25", "0.00", "0.50", "0.00"]);
        assert_eq!(counts(&table), ["n=4", "n=4", "n=2", "n=1"]);
        let own = of_the_world(&judged, &prompts).unwrap();
        assert!(!own["title"].as_str().unwrap().contains("paper"));
        assert_eq!(
            (cells(&own), own["columns"].as_array().unwrap().len()),
            (vec!["sft".into(), "1.00".into(), "0.25".into()], 3)
        );
    }

    #[test]
    fn where_there_is_nothing_the_tables_say_so() {
        let judged = [judged("pretrained", vec![]), judged("sft", vec![])];
        for table in [comparison(&judged, &[], 0), table_3(&judged, &[]).unwrap()] {
            for row in table["rows"].as_array().unwrap() {
                let cells = row.as_array().unwrap()[1..].iter().map(|cell| cell.as_str().unwrap());
                assert!(cells.clone().all(|cell| cell == "-" || cell == "- n=0"), "{row}");
            }
        }
        let nothing =
            json!({ "accuracy": null, "accuracy_low": null, "accuracy_prompts": 0, "test_pairs": 0 });
        let table = reward_model(json!({ "reward_model": nothing }).as_object().unwrap()).unwrap();
        assert_eq!(table["rows"][0], json!(["-", "-", "-", 0, 0]));
        assert_eq!(table["columns"].as_array().unwrap().len(), 5);
        let mut miniature = json!({ "test_pairs": 3, "accuracy_prompts": 2 });
        let estimate = clustered(&[&[1], &[2]], [0.5, 1.0].into_iter()).share();
        estimates::put(&mut miniature, "ceiling_gold", estimate);
        let table = reward_model(json!({ "reward_model": miniature }).as_object().unwrap()).unwrap();
        let ceiling =
            table["columns"].as_array().unwrap().iter().position(|c| c == "gold judgement").unwrap();
        assert!(table["rows"][0][ceiling].as_str().unwrap().starts_with("0.750 ["), "{table}");
    }

    /// Two prompts, each twice: the intervals are those of two clusters.
    #[test]
    fn a_prompt_that_occurs_twice_is_one_cluster() {
        let gold = |overall| Metadata { overall, follows_instruction: overall > 2.0, ..Metadata::default() };
        let rows = |prompts: [&[u32]; 4]| {
            let of = |name, scores: [f32; 4]| judged(name, scores.map(gold).to_vec());
            let judged = [of("sft", [2.0; 4]), of("ppo", [3.0, 3.0, 1.0, 1.0])];
            [
                comparison(&judged, &prompts, 0)["rows"][1].clone(),
                table_3(&judged, &prompts).unwrap()["rows"][1].clone(),
            ]
        };
        let (apart, together) = (rows([&[1], &[2], &[3], &[4]]), rows([&[1], &[1], &[2], &[2]]));
        for (table, column) in [(0, 1), (0, 2), (0, 4), (1, 1)] {
            let ends = |rows: &[Value; 2]| {
                let cell = rows[table][column].as_str().unwrap().to_string();
                let ends = cell.split(['[', ']']).nth(1).unwrap_or_else(|| panic!("{cell}")).to_string();
                let (low, high) = ends.split_once(", ").unwrap();
                (low.parse::<f64>().unwrap(), high.parse::<f64>().unwrap())
            };
            let (apart, together) = (ends(&apart), ends(&together));
            assert!(together.0 < apart.0 && apart.1 < together.1, "{table} {column}: {apart:?} {together:?}");
        }
    }
}
