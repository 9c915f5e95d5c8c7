//! The last stage: every model of a run answers the same held-out prompts, and one table says what each
//! stage was good for (the paper's section 4 in miniature).

use std::path::Path;

use serde_json::{Value, json};

use super::metadata;
use super::win_rate::win_rate;
use crate::checkpoint::{Model, write_atomic};
use crate::error::Result;
use crate::num::rng::Stage;
use crate::num::statistics::mean_interval;
use crate::run::directory::Run;
use crate::train::dataset::Dataset;
use crate::train::monitors::monitors;
use crate::train::passes::Sequence;
use crate::train::reward_model::strip;
use crate::train::rollout::{Frozen, Rollout};
use crate::world::World;
use crate::world::gold::Metadata;

/// Name of the stage.
pub const STAGE: &str = "evaluation";

/// A model that is compared.
pub struct Contender {
    /// Its name in tables and samples.
    pub name: &'static str,
    /// The model.
    pub model: Model,
}

/// What one contender did.
struct Judged {
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

/// Samples, scores and compares the contenders; writes `samples.jsonl` and the tables of `results.json`.
///
/// # Errors
/// Those of [`Run`].
pub fn evaluate(
    run: &mut Run,
    data: &Dataset,
    contenders: Vec<Contender>,
    reference: Option<Model>,
    reward: Option<Model>,
) -> Result<()> {
    let micro = run.settings.micro_batch_tokens;
    let clock = run.begin(STAGE, contenders.len() as u64);
    run.resume(STAGE)?;
    let mut reference = reference.map(|model| Frozen::new(model, micro));
    let mut reward = reward.map(|model| Frozen::new(model, micro));
    let prompts = prompts(run, data, &contenders);
    let mut judged = Vec::with_capacity(contenders.len());
    for (done, contender) in contenders.into_iter().enumerate() {
        let mut model = Frozen::new(contender.model, micro);
        let how = Rollout {
            temperature: run.settings.ppo.temperature,
            max_response_tokens: run.settings.ppo.max_response_tokens,
            end_of_text: data.tokenizer.end_of_text(),
            seed: run.settings.seed,
            stage: Stage::Eval,
            step: u64::MAX,
        };
        let responses = run.respond(&model, &prompts, &how)?;
        let whole: Vec<Vec<u32>> =
            prompts.iter().zip(&responses).map(|(x, y)| [*x, y.tokens.as_slice()].concat()).collect();
        let kl = reference.as_mut().filter(|_| !prompts.is_empty()).map(|reference| {
            let own: f64 = responses.iter().flat_map(|r| &r.log_probs).map(|&l| f64::from(l)).sum();
            let sequences: Vec<Sequence> = whole
                .iter()
                .zip(&prompts)
                .map(|(tokens, prompt)| Sequence { tokens, from: prompt.len() })
                .collect();
            let mut theirs = 0.0;
            let (model, parameters) = (&reference.model, &reference.parameters);
            reference
                .pass
                .log_probs(model, parameters, &sequences, how.temperature, |_, l, _| theirs += f64::from(l));
            (own - theirs) / prompts.len() as f64
        });
        run.check_stop()?;
        let scores = reward.as_mut().map_or(vec![], |reward| reward.scores(whole.iter().map(Vec::as_slice)));
        let text = |tokens: &[u32]| data.tokenizer.decode_lossy(strip(tokens, how.end_of_text));
        let gold = data.world.as_ref().map_or(vec![], |world: &World| {
            prompts.iter().zip(&responses).map(|(x, y)| world.gold(&text(x), &text(&y.tokens))).collect()
        });
        run.check_stop()?;
        let demonstrations = &data.demonstrations.validation;
        let demonstrations = &demonstrations[..demonstrations.len().min(run.settings.sft.eval_examples)];
        judged.push(Judged {
            name: contender.name,
            answers: responses.into_iter().map(|response| response.tokens).collect(),
            scores: scores.into_iter().map(f64::from).collect(),
            gold,
            kl,
            text_loss: model.text_loss(&data.text.validation, run.settings.pretrain.eval_tokens),
            demonstration_loss: model.demonstration_loss(demonstrations),
        });
        run.progress.step(done as u64 + 1, contender.name);
    }
    write_samples(&run.directory.join("samples.jsonl"), data, &prompts, &judged)?;
    let mut tables = vec![comparison(&judged, data.tokenizer.end_of_text())];
    if data.world.is_some() {
        tables.push(table_3(&judged)?);
    }
    tables.extend(stage_tables(run));
    run.results.insert("tables".into(), Value::Array(tables));
    run.results.insert("notes".into(), json!(data.notes));
    run.end(STAGE, clock, json!({ "prompts": prompts.len() }))
}

/// Held-out prompts that every contender has room to answer.
fn prompts<'a>(run: &Run, data: &'a Dataset, contenders: &[Contender]) -> Vec<&'a [u32]> {
    let context = contenders.iter().map(|contender| contender.model.config.context).min().unwrap_or(0);
    let held_out = data.prompts.validation.iter().map(Vec::as_slice).filter(|prompt| prompt.len() < context);
    held_out.take(run.settings.ppo.eval_prompts).collect()
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
        "title": "Held-out prompts, 95 % intervals",
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

/// What the stages themselves reported.
fn stage_tables(run: &Run) -> Vec<Value> {
    let get = |stage: &str, key: &str| {
        run.results.get(stage).and_then(|results| results.get(key)).and_then(Value::as_f64)
    };
    let mut tables = Vec::new();
    if let Some(accuracy) =
        get("reward_model", "accuracy").filter(|_| get("reward_model", "validation_pairs") > Some(0.0))
    {
        let with = |key: &str, value: f64| {
            let end = |end: &str| get("reward_model", &format!("{key}_{end}")).unwrap_or(f64::NAN);
            format!("{value:.3} [{:.3}, {:.3}]", end("low"), end("high"))
        };
        let baseline = get("reward_model", "length_baseline").unwrap_or(f64::NAN);
        tables.push(json!({
            "title": "Reward model: accuracy on held-out pairs",
            "columns": ["reward model", "length alone", "pairs"],
            "rows": [[with("accuracy", accuracy), with("length_baseline", baseline),
                get("reward_model", "validation_pairs")]],
        }));
    }
    tables
}

fn write_samples(path: &Path, data: &Dataset, prompts: &[&[u32]], judged: &[Judged]) -> Result<()> {
    let end_of_text = data.tokenizer.end_of_text();
    let mut text = String::new();
    for (i, prompt) in prompts.iter().enumerate().take(24) {
        let mut line = serde_json::Map::new();
        line.insert("prompt".into(), json!(data.tokenizer.decode_lossy(prompt)));
        for j in judged {
            line.insert(j.name.into(), json!(data.tokenizer.decode_lossy(strip(&j.answers[i], end_of_text))));
        }
        text += &format!("{}\n", Value::Object(line));
    }
    write_atomic(path, |file| file.write_all(text.as_bytes()))
}
