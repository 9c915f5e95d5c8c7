//! What the tests of tasks share, and those of all tasks.

use super::*;
use crate::data::Source;
use crate::data::examples::read_examples;
use std::path::Path;

/// The items of a file with these bytes.
pub fn items(task: &dyn Task, style: Style, text: &str) -> Result<Vec<Item>> {
    task.items(&read_examples(Source::from_bytes("x", text.as_bytes())?)?, style)
}

/// What every item is to write.
pub fn writings(task: &dyn Task, style: Style, text: &str) -> Vec<Writing> {
    let of = |item: Item| match item.request {
        Request::Text(writing) => writing,
        Request::Choices(_) => panic!("choices"),
    };
    items(task, style, text).unwrap().into_iter().map(of).collect()
}

/// The scores of an answer, by name.
pub fn judged(task: &dyn Task, style: Style, writing: &Writing, text: &str) -> Vec<(&'static str, f64)> {
    let written =
        Written { text: text.into(), beside: writing.beside.map(|_| likelihood(-1.0)), verdict: None };
    let scores = task.judge(writing, &written, style);
    scores.into_iter().map(|score| (score.measure.name, score.value)).collect()
}

/// Prompts, continuations and whether each is right, of every item.
pub fn asked(task: &dyn Task, style: Style, text: &str) -> Vec<Vec<(String, String, bool)>> {
    let of = |item: Item| {
        let Request::Choices(choices) = item.request else { panic!("no choices") };
        choices.into_iter().map(|c| (c.prompt, c.continuation, c.right)).collect()
    };
    items(task, style, text).unwrap().into_iter().map(of).collect()
}

/// A likelihood of one token.
pub fn likelihood(log_prob: f64) -> Likelihood {
    Likelihood { log_prob, tokens: 1, greedy: false }
}

#[test]
fn names_are_different_and_cards_say_everything() {
    for (i, task) in TASKS.iter().enumerate() {
        let card = task.card();
        assert!(TASKS[..i].iter().all(|other| other.card().name != card.name), "{}", card.name);
        for said in [card.measures, card.fields, card.source, card.paper] {
            assert!(!said.is_empty(), "{}", card.name);
        }
        assert!(!card.styles.is_empty());
        assert!(named(card.name).is_ok());
    }
    let message = named("arc").err().unwrap().to_string();
    assert!(message.contains("--task: expected one of winogender, crows_pairs,"), "{message}");
}

#[test]
fn every_task_names_the_fields_it_needs() {
    for task in TASKS {
        for &style in task.card().styles {
            let error = items(task, style, "{\"something\":\"else\"}\n").unwrap_err().to_string();
            assert!(error.starts_with("x: line 1: expected "), "{}: {error}", task.card().name);
            assert!(error.contains("field") && error.contains("found the fields \"something\""), "{error}");
        }
    }
}

/// The public files beside the checkout, where there are any.
#[test]
fn real_files_are_read() {
    for (task, file) in [
        ("truthfulqa_gen", "truthfulqa/TruthfulQA.csv"),
        ("truthfulqa_mc1", "truthfulqa/mc_task.json"),
        ("truthfulqa_mc2", "truthfulqa/mc_task.json"),
        ("winogender", "winogender/all_sentences.tsv"),
        ("crows_pairs", "crows-pairs/crows_pairs_anonymized.csv"),
        ("sst2", "sst2/train.tsv"),
        ("rte", "rte-nli/train.csv"),
        ("hellaswag", "llm-foundry-evals/hellaswag_small.jsonl"),
        ("lambada", "llm-foundry-evals/lambada_openai.jsonl"),
        ("piqa", "llm-foundry-evals/piqa.jsonl"),
    ] {
        let path = Path::new("../shared/data").join(file);
        if !path.exists() {
            println!("skipped: no data");
            return;
        }
        let documents = crate::data::examples::load_examples(&path).unwrap();
        let task = named(task).unwrap();
        for &style in task.card().styles {
            let items = task.items(&documents, style).unwrap();
            println!("{file}: {} documents, {} items ({})", documents.len(), items.len(), style.name());
            assert!(items.len() > 1);
        }
    }
}
