//! DROP: questions about a passage that want adding, counting or sorting (Dua et al., 2019).
//!
//! An answer is a number, a date, or one or more spans of the passage; several people may have given different ones. What
//! a model writes counts as one span. (The released samples of the paper end at 25 tokens.)

use serde_json::{Map, Value, json};

use super::measures::{Aggregate, Measure, Score};
use super::{Card, Item, Style, Task, Writing, Written, write};
use crate::data::fields::Fields;
use crate::error::Result;
use crate::eval::metrics::drop;

/// The task.
pub struct Drop;

static EM: Measure =
    Measure { name: "em", unit: "share", higher_is_better: true, aggregate: Aggregate::Share };
static F1: Measure =
    Measure { name: "f1", unit: "share", higher_is_better: true, aggregate: Aggregate::Mean };

impl Task for Drop {
    fn card(&self) -> Card {
        Card {
            name: "drop",
            measures: "exact match and F1 (0 to 1) of an answer that a passage must be reckoned for",
            fields: "an object of passages (passage, qa_pairs, in these question, answer, validated_answers); or passage, \
                     question, answer (number, date, spans), validated_answers",
            source: "DROP, drop_dataset_dev.json, or validation of the Hub's EleutherAI/drop (9,536 documents)",
            files: &["drop_dataset_dev"],
            styles: &[Style::LmEval, Style::Paper],
            paper: "F1 in percent, 175B, zero-shot/few-shot (4): GPT 27.53/35.27, SFT 15.79/35.85, PPO 13.08/27.78, PPO-ptx \
                    15.23/33.34",
            instructed: false,
        }
    }

    fn head(&self, style: Style) -> &'static str {
        match style {
            Style::LmEval => "",
            Style::Paper => "Answer each question using information in the preceding passage.\n\n",
        }
    }

    fn items(&self, documents: &[Fields], style: Style) -> Result<Vec<Item>> {
        let mut questions = Vec::new();
        for document in documents {
            match document.object_of_objects().filter(|passages| passages.iter().all(is_passage)) {
                Some(passages) => {
                    for passage in passages {
                        questions.extend(of_passage(&passage)?);
                    }
                }
                None => questions.push(document.clone()),
            }
        }
        let mut first = 0;
        let mut items = Vec::with_capacity(questions.len());
        for (index, question) in questions.iter().enumerate() {
            if index > 0 && question.get("passage") != questions[index - 1].get("passage") {
                first = index;
            }
            items.push(Item { group: Some(first), ..self.item(question, style)? });
        }
        Ok(items)
    }

    fn item(&self, document: &Fields, style: Style) -> Result<Item> {
        document.require(&["passage", "question", "answer"])?;
        let [passage, question] = [document.required_text("passage")?, document.required_text("question")?];
        let references = answers(document)?;
        let (prompt, stops, most): (_, &[&str], _) = match style {
            Style::Paper => (format!("Passage: {passage}\nQuestion: {question}\nAnswer:"), &["\n"], 25),
            Style::LmEval => (format!("{passage} {question}"), &["."], 256),
        };
        // Examples of lm-evaluation-harness have the names of the answer's fields here.
        let target = references[0].join(", ");
        Ok(write(document, " ", target, Writing { prompt, stops, most, references, beside: None }))
    }

    fn judge(&self, writing: &Writing, written: &Written, _: Style) -> Vec<Score> {
        let score = drop::score(&[&written.text], &writing.references);
        vec![Score::new(&EM, score.exact), Score::new(&F1, score.f1)]
    }
}

fn is_passage(passage: &Fields) -> bool {
    passage.has("passage") && passage.has("qa_pairs")
}

/// The questions of a passage of the file that the authors distribute, in the fields of the flat layout.
fn of_passage(passage: &Fields) -> Result<Vec<Fields>> {
    let text = passage.required_text("passage")?;
    let question = |question: Fields| {
        question.require(&["question", "answer"])?;
        let mut map: Map<String, Value> = Map::new();
        map.insert("passage".into(), json!(text));
        for name in ["question", "answer", "query_id", "validated_answers"] {
            if let Some(value) = question.get(name) {
                map.insert(name.into(), value.clone());
            }
        }
        Ok(question.with(map))
    };
    passage.objects("qa_pairs", "question")?.into_iter().map(question).collect()
}

/// The answers, each as its spans, without repetition: that of the question, then those of the people who checked it.
fn answers(document: &Fields) -> Result<Vec<Vec<String>>> {
    let mut all = vec![spans(&document.required_object("answer")?)?];
    for answer in validated(document)? {
        let spans = spans(&answer)?;
        if !all.contains(&spans) {
            all.push(spans);
        }
    }
    Ok(all)
}

/// What the people who checked a question answered: an array, or (flat) an object with an array for each field.
fn validated(document: &Fields) -> Result<Vec<Fields>> {
    match document.get("validated_answers") {
        None => Ok(Vec::new()),
        Some(Value::Array(_)) => document.objects("validated_answers", "validated answer"),
        Some(_) => {
            let columns = document.required_object("validated_answers")?;
            columns.require(&["number", "date", "spans"])?;
            let [number, date, spans] = ["number", "date", "spans"].map(|name| columns.required_array(name));
            let (number, date, spans) = (number?, date?, spans?);
            if date.len() != number.len() || spans.len() != number.len() {
                let found = format!("{}, {} and {}", number.len(), date.len(), spans.len());
                return Err(document.error("validated_answers", "as many numbers, dates and spans", found));
            }
            let row = |i: usize| {
                let pairs = [("number", &number[i]), ("date", &date[i]), ("spans", &spans[i])];
                document
                    .with(pairs.into_iter().map(|(name, value)| (name.to_string(), value.clone())).collect())
            };
            Ok((0..number.len()).map(row).collect())
        }
    }
}

/// The spans of an answer: its number, or else its spans, or else its date in one.
fn spans(answer: &Fields) -> Result<Vec<String>> {
    match answer.get("number") {
        Some(Value::Number(number)) => return Ok(vec![number.to_string()]),
        Some(_) if !answer.required_text("number")?.is_empty() => {
            return Ok(vec![answer.required_text("number")?.to_string()]);
        }
        _ => {}
    }
    if answer.has("spans") {
        let spans = answer.required_texts("spans")?;
        if !spans.is_empty() {
            return Ok(spans);
        }
    }
    let date = answer.required_object("date")?;
    let parts = ["day", "month", "year"].map(|name| date.text(name).map(Option::unwrap_or_default));
    let [day, month, year] = parts;
    Ok(vec![[day?, month?, year?].join(" ").trim().to_string()])
}

#[cfg(test)]
mod tests {
    use super::super::tests::{items, judged, writings};
    use super::*;

    const DISTRIBUTED: &str = r#"{
        "nfl_2": {"passage": "Other.", "qa_pairs": []},
        "nfl_1": {"passage": "Two of 40 and 38 yards.", "wiki_url": "u", "qa_pairs": [
            {"question": "How many?", "query_id": "q1",
             "answer": {"number": "2", "date": {"day": "", "month": "", "year": ""}, "spans": []},
             "validated_answers": [{"number": "2", "date": {}, "spans": []}, {"number": "", "date": {}, "spans": ["40", "38"]}]},
            {"question": "When?", "query_id": "q2",
             "answer": {"number": "", "date": {"day": "", "month": "May", "year": "1999"}, "spans": []}}
        ]}}"#;
    const FLAT: &str = r#"{"section_id":"nfl_1","query_id":"q1","passage":"Two of 40 and 38 yards.","question":"How many?",
        "answer":{"number":"2","date":{"day":"","month":"","year":""},"spans":[],"worker_id":"","hit_id":""},
        "validated_answers":{"number":["2",""],"date":[{"day":""},{"day":""}],"spans":[[],["40","38"]]}}"#;

    #[test]
    fn both_layouts_and_styles() {
        let flat = FLAT.replace('\n', " ");
        for style in [Style::Paper, Style::LmEval] {
            assert_eq!(writings(&Drop, style, DISTRIBUTED)[..1], writings(&Drop, style, &flat));
        }
        let paper = writings(&Drop, Style::Paper, DISTRIBUTED);
        assert_eq!(paper[0].prompt, "Passage: Two of 40 and 38 yards.\nQuestion: How many?\nAnswer:");
        assert_eq!((paper[0].stops, paper[0].most), (&["\n"][..], 25));
        assert_eq!(paper[0].references, [vec!["2"], vec!["40", "38"]]);
        assert_eq!(paper[1].references, [["May 1999"]]);
        let harness = writings(&Drop, Style::LmEval, DISTRIBUTED);
        assert_eq!(harness[1].prompt, "Two of 40 and 38 yards. When?");
        assert_eq!((harness[1].stops, harness[1].most), (&["."][..], 256));
        let items = items(&Drop, Style::Paper, DISTRIBUTED).unwrap();
        assert_eq!(items.iter().map(|item| item.group).collect::<Vec<_>>(), [Some(0), Some(0)]);
        assert_eq!((&items[1].target[..], &items[1].at[..]), ("May 1999", "record 1, nfl_1, question 2"));
        assert_eq!(
            Drop.head(Style::Paper),
            "Answer each question using information in the preceding passage.\n\n"
        );
    }

    #[test]
    fn the_best_answer_counts() {
        let writing = writings(&Drop, Style::Paper, DISTRIBUTED).remove(0);
        let of = |text| judged(&Drop, Style::Paper, &writing, text);
        assert_eq!(of(" 2.0"), [("em", 1.0), ("f1", 1.0)]);
        // One of the two spans.
        assert_eq!(of(" 40 yards"), [("em", 0.0), ("f1", 0.33)]);
        assert_eq!(of(" nothing"), [("em", 0.0), ("f1", 0.0)]);
    }

    #[test]
    fn wrong_answers_are_named() {
        let error = |from: &str, to: &str| {
            let text = FLAT.replace('\n', " ").replace(from, to);
            items(&Drop, Style::Paper, &text).unwrap_err().to_string()
        };
        assert_eq!(
            error("[\"2\",\"\"]", "[\"2\"]"),
            "x: line 1: field \"validated_answers\": expected as many numbers, dates and spans, found 1, 2 and 2"
        );
        let message = error(
            "\"number\":\"2\",\"date\":{\"day\":\"\",\"month\":\"\",\"year\":\"\"},\"spans\":[]",
            "\"spans\":[1]",
        );
        assert!(
            message.contains("field \"spans\": expected an array of strings, found a number among"),
            "{message}"
        );
        let message =
            error("\"number\":\"2\",\"date\":{\"day\":\"\",\"month\":\"\",\"year\":\"\"}", "\"n\":0");
        assert!(message.contains("expected a field \"date\""), "{message}");
    }
}
