//! QuAC: a dialogue of questions about a section of Wikipedia (Choi et al., 2018).
//!
//! The earlier questions stand before a question with the answers that were given. The paper shows the format of GPT-3's;
//! its released samples of this task are not readable, so the most tokens of an answer are our choice.

use serde_json::{Map, Value, json};

use super::measures::{Aggregate, Measure, Score};
use super::{Card, Item, Style, Task, Writing, Written, says, write};
use crate::data::fields::Fields;
use crate::error::Result;
use crate::eval::metrics::quac::{self, CANNOT_ANSWER, LEAST_AGREEMENT};

/// The task.
pub struct Quac;

/// Over the questions on which people agree, in percent: F1, and how often it is at least that of people; how often it is so
/// in all of a dialogue; F1 over all questions; F1 of people.
static F1: Measure =
    Measure { name: "f1", unit: "percent", higher_is_better: true, aggregate: Aggregate::Mean };
static HEQ_Q: Measure =
    Measure { name: "heq_q", unit: "percent", higher_is_better: true, aggregate: Aggregate::Percent };
static HEQ_D: Measure =
    Measure { name: "heq_d", unit: "percent", higher_is_better: true, aggregate: Aggregate::PercentOfGroups };
static UNFILTERED_F1: Measure =
    Measure { name: "unfiltered_f1", unit: "percent", higher_is_better: true, aggregate: Aggregate::Mean };
static HUMAN_F1: Measure =
    Measure { name: "human_f1", unit: "percent", higher_is_better: true, aggregate: Aggregate::Mean };

const NO_ANSWER: &str = "I don't know.";

impl Task for Quac {
    fn card(&self) -> Card {
        Card {
            name: "quac",
            measures: "F1 in percent of an answer in a dialogue about a text, and how often it is as good as people's (HEQ)",
            fields: "data (title, section_title, paragraphs, in these context, qas, in these question, orig_answer, \
                     answers); or wikipedia_page_title, section_title, context, questions, orig_answers, answers",
            source: "QuAC, val_v0.2.json, or validation of the Hub's quac (7,354 questions in 1,000 dialogues)",
            files: &["val_v0"],
            styles: &[Style::Paper],
            paper: "F1, 175B, zero-shot/few-shot (2): GPT 42.55/45.38, SFT 45.22/48.77, PPO 34.52/36.00, PPO-ptx \
                    41.60/46.99",
            instructed: false,
        }
    }

    fn head(&self, _: Style) -> &'static str {
        "Answer each question using information in the preceding background paragraph. If there is not enough information \
         provided, answer with \"I don't know.\"\n\n"
    }

    fn items(&self, documents: &[Fields], style: Style) -> Result<Vec<Item>> {
        let mut items = Vec::new();
        for document in documents {
            let dialogues = match document.has("data") {
                true => distributed(document)?,
                false => vec![flat(document)?],
            };
            for turns in dialogues {
                let first = items.len();
                for turn in &turns {
                    items.push(Item { group: Some(first), ..self.item(turn, style)? });
                }
            }
        }
        Ok(items)
    }

    /// A turn, with its history in `context`.
    fn item(&self, turn: &Fields, _: Style) -> Result<Item> {
        let context = turn.required_text("context")?;
        let prompt = format!("{context}Q: {}\n\nA:", turn.required_text("question")?);
        let target = said(turn.required_text("orig_answer")?).to_string();
        let references = vec![turn.required_texts("answers")?];
        if references[0].is_empty() {
            return Err(turn.error("answers", "at least one answer", "none"));
        }
        Ok(write(turn, " ", target, Writing { prompt, stops: &["\n"], most: 64, references, beside: None }))
    }

    fn judge(&self, writing: &Writing, written: &Written, _: Style) -> Vec<Score> {
        let prediction = if says(&written.text, NO_ANSWER) { CANNOT_ANSWER } else { &written.text };
        let references = quac::references(&writing.references[0]);
        let (model, human) = (quac::f1(prediction, &references), quac::human_f1(&references));
        let agreed = human >= LEAST_AGREEMENT;
        let as_good = if model >= human || !agreed { 100.0 } else { 0.0 };
        let mut scores = Vec::new();
        if agreed {
            scores.extend([Score::new(&F1, 100.0 * model), Score::new(&HEQ_Q, as_good)]);
        }
        scores.extend([Score::new(&HEQ_D, as_good), Score::new(&UNFILTERED_F1, 100.0 * model)]);
        scores.extend(agreed.then(|| Score::new(&HUMAN_F1, 100.0 * human)));
        scores
    }
}

/// An answer as the prompt has it.
fn said(answer: &str) -> &str {
    if answer == CANNOT_ANSWER { NO_ANSWER } else { answer }
}

/// The turns of a dialogue: what each was asked, its answer and all people's answers, behind the title, the section and the
/// turns before.
fn turns(
    dialogue: &Fields,
    title: &str,
    context: &str,
    questions: Vec<(String, String, Vec<String>)>,
) -> Result<Vec<Fields>> {
    // The mark for "no answer" is a part of the file's section.
    let section = context.strip_suffix(CANNOT_ANSWER).unwrap_or(context).trim_end();
    let mut before = format!("TITLE: {title}\n\nPARAGRAPH: {section}\n\n");
    let mut turns = Vec::with_capacity(questions.len());
    for (question, answer, answers) in questions {
        let mut map: Map<String, Value> = Map::new();
        map.insert("context".into(), json!(before));
        map.insert("question".into(), json!(question));
        map.insert("orig_answer".into(), json!(answer));
        map.insert("answers".into(), json!(answers));
        turns.push(dialogue.with(map));
        before += &format!("Q: {question}\n\nA: {}\n\n", said(&answer));
    }
    Ok(turns)
}

/// Title and section, as in GPT-3's format.
fn titled(title: &str, section: Option<&str>) -> String {
    section.map_or(title.to_string(), |section| format!("{title} - {section}"))
}

/// The dialogues of the file that the authors distribute.
fn distributed(document: &Fields) -> Result<Vec<Vec<Fields>>> {
    let mut dialogues = Vec::new();
    for article in document.objects("data", "article")? {
        article.require(&["title", "paragraphs"])?;
        let title = titled(article.required_text("title")?, article.text("section_title")?);
        for paragraph in article.objects("paragraphs", "paragraph")? {
            paragraph.require(&["context", "qas"])?;
            let mut questions = Vec::new();
            for question in paragraph.objects("qas", "question")? {
                question.require(&["question", "orig_answer", "answers"])?;
                let mut answers = Vec::new();
                for answer in question.objects("answers", "answer")? {
                    answers.push(answer.required_text("text")?.to_string());
                }
                let answer = question.required_object("orig_answer")?.required_text("text")?.to_string();
                questions.push((question.required_text("question")?.to_string(), answer, answers));
            }
            dialogues.push(turns(&paragraph, &title, paragraph.required_text("context")?, questions)?);
        }
    }
    Ok(dialogues)
}

/// A dialogue as the Hub has it, an array for each field.
fn flat(document: &Fields) -> Result<Vec<Fields>> {
    document.require(&["wikipedia_page_title", "context", "questions", "orig_answers", "answers"])?;
    let title = titled(document.required_text("wikipedia_page_title")?, document.text("section_title")?);
    let questions = document.required_texts("questions")?;
    let answered = document.required_object("orig_answers")?.required_texts("texts")?;
    let answers = document.required_object("answers")?;
    let answers = answers.required_array("texts")?;
    if answered.len() != questions.len() || answers.len() != questions.len() {
        let found = format!("{} and {}", answered.len(), answers.len());
        return Err(document.error("answers", format!("answers to {} questions", questions.len()), found));
    }
    let texts = |answers: &Value| {
        document.with([("texts".to_string(), answers.clone())].into_iter().collect()).required_texts("texts")
    };
    let mut all = Vec::new();
    for ((question, answer), answers) in questions.into_iter().zip(answered).zip(answers) {
        all.push((question, answer, texts(answers)?));
    }
    turns(document, &title, document.required_text("context")?, all)
}

#[cfg(test)]
mod tests {
    use super::super::measures::{Scored, figures};
    use super::super::tests::{items, judged, writings};
    use super::*;

    const DISTRIBUTED: &str = r#"{"data":[{"title":"Hall","section_title":"Life","background":"b","paragraphs":[
        {"id":"C1","context":"He went home. He slept. CANNOTANSWER","qas":[
          {"id":"C1_q#0","question":"Where?","followup":"y","orig_answer":{"text":"home","answer_start":8},
           "answers":[{"text":"home"},{"text":"went home"},{"text":"He went home."}]},
          {"id":"C1_q#1","question":"Why?","orig_answer":{"text":"CANNOTANSWER"},"answers":[{"text":"CANNOTANSWER"}]},
          {"id":"C1_q#2","question":"And then?","orig_answer":{"text":"He slept."},
           "answers":[{"text":"He slept."},{"text":"home"}]}]}]}]}"#;
    const FLAT: &str = r#"{"dialogue_id":"C1","wikipedia_page_title":"Hall","section_title":"Life",
        "context":"He went home. He slept. CANNOTANSWER","questions":["Where?","Why?","And then?"],
        "orig_answers":{"texts":["home","CANNOTANSWER","He slept."],"answer_starts":[8,24,14]},
        "answers":{"texts":[["home","went home","He went home."],["CANNOTANSWER"],["He slept.","home"]]}}"#;

    #[test]
    fn both_layouts_have_the_dialogue_before() {
        let found = writings(&Quac, Style::Paper, DISTRIBUTED);
        assert_eq!(found, writings(&Quac, Style::Paper, &FLAT.replace('\n', " ")));
        assert_eq!(
            found[2].prompt,
            "TITLE: Hall - Life\n\nPARAGRAPH: He went home. He slept.\n\nQ: Where?\n\nA: home\n\nQ: Why?\n\nA: I don't \
             know.\n\nQ: And then?\n\nA:"
        );
        assert_eq!((found[2].stops, found[2].most), (&["\n"][..], 64));
        let items = items(&Quac, Style::Paper, DISTRIBUTED).unwrap();
        assert_eq!(items.iter().map(|item| item.group).collect::<Vec<_>>(), [Some(0); 3]);
        assert_eq!(
            (&items[1].target[..], &items[1].at[..]),
            ("I don't know.", "record 1, article 1, paragraph 1")
        );
        assert!(Quac.head(Style::Paper).ends_with("answer with \"I don't know.\"\n\n"));
    }

    /// As `Totals`, which is tested against the official scorer.
    #[test]
    fn figures_are_those_of_the_scorer() {
        let found = writings(&Quac, Style::Paper, DISTRIBUTED);
        for texts in
            [[" home", " I don't know", " home"], [" home", "", " slept"], ["He", " i don't know.", ""]]
        {
            let scored: Vec<Scored> = found
                .iter()
                .zip(texts)
                .map(|(writing, text)| {
                    let written = Written { text: text.into(), beside: None, verdict: None };
                    (0, Quac.judge(writing, &written, Style::Paper))
                })
                .collect();
            let mut totals = quac::Totals::default();
            let dialogue: Vec<(&str, &[String])> = found
                .iter()
                .zip(texts)
                .map(|(writing, text)| {
                    (if says(text, NO_ANSWER) { CANNOT_ANSWER } else { text }, &writing.references[0][..])
                })
                .collect();
            totals.add(&dialogue);
            let summary = totals.summary().unwrap();
            for figure in figures(&scored) {
                let expected = match figure.measure.name {
                    "f1" => summary.f1,
                    "heq_q" => summary.questions_as_good,
                    "heq_d" => summary.dialogues_as_good,
                    "unfiltered_f1" => summary.unfiltered_f1,
                    _ => summary.human_f1,
                };
                let value = figure.estimate.value;
                assert!(
                    (value - 100.0 * expected).abs() < 1e-9,
                    "{texts:?} {}: {value}",
                    figure.measure.name
                );
            }
        }
        // People do not agree on the third question.
        let names: Vec<&str> =
            judged(&Quac, Style::Paper, &found[2], "x").iter().map(|(name, _)| *name).collect();
        assert_eq!(names, ["heq_d", "unfiltered_f1"]);
    }

    #[test]
    fn answers_that_are_missing_are_named() {
        let flat = FLAT.replace('\n', " ").replace("[\"CANNOTANSWER\"],", "");
        let error = items(&Quac, Style::Paper, &flat).unwrap_err().to_string();
        assert_eq!(error, "x: line 1: field \"answers\": expected answers to 3 questions, found 3 and 2");
        let flat = FLAT.replace('\n', " ").replace("[\"CANNOTANSWER\"],", "[],");
        let error = items(&Quac, Style::Paper, &flat).unwrap_err().to_string();
        assert_eq!(error, "x: line 1: field \"answers\": expected at least one answer, found none");
    }
}
