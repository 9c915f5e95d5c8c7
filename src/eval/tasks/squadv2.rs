//! SQuAD 2.0: questions about a paragraph of Wikipedia, of which half have no answer there (Rajpurkar et al., 2018).
//!
//! In the paper's words the earlier questions about the paragraph stand before a question, with their answers (figure 19,
//! and the released samples, whose answers end at sixteen tokens).

use serde_json::{Map, Value, json};

use super::measures::{Aggregate, Measure, Part, Score};
use super::{Card, Item, Style, Task, Writing, Written, says, write};
use crate::data::fields::Fields;
use crate::error::Result;
use crate::eval::metrics::squad;

/// The task.
pub struct SquadV2;

const fn percent(name: &'static str, aggregate: Aggregate) -> Measure {
    Measure { name, unit: "percent", higher_is_better: true, aggregate }
}

/// Exact match and F1 in percent; the same of the questions with and without an answer; and the best that a threshold on
/// the likelihood of having no answer would give.
static EXACT: [Measure; 3] = [
    percent("exact", Aggregate::Percent),
    percent("HasAns_exact", Aggregate::Percent),
    percent("NoAns_exact", Aggregate::Percent),
];
static F1: [Measure; 3] = [
    percent("f1", Aggregate::Mean),
    percent("HasAns_f1", Aggregate::Mean),
    percent("NoAns_f1", Aggregate::Mean),
];
static BEST_EXACT: Measure = percent("best_exact", Aggregate::BestThreshold);
static BEST_F1: Measure = percent("best_f1", Aggregate::BestThreshold);

/// What says that there is no answer: in the paper's words, and in lm-evaluation-harness's.
const NO_ANSWER: &str = "Not in background.";
const UNANSWERABLE: &str = " unanswerable";

impl Task for SquadV2 {
    fn card(&self) -> Card {
        Card {
            name: "squadv2",
            measures: "exact match and F1 in percent of an answer from a paragraph, where there is one",
            fields: "data (title, paragraphs, in these context, qas, in these question, answers); or title, context, \
                     question, answers (text)",
            source: "SQuAD 2.0, dev-v2.0.json, or validation of the Hub's squad_v2 (11,873 documents)",
            files: &["dev-v2"],
            styles: &[Style::LmEval, Style::Paper],
            paper: "F1, 175B, zero-shot/few-shot (4): GPT 64.30/69.75, SFT 57.67/65.90, PPO 43.68/51.95, PPO-ptx \
                    59.85/69.93",
            instructed: false,
        }
    }

    fn head(&self, style: Style) -> &'static str {
        match style {
            Style::LmEval => "",
            Style::Paper => {
                "Answer each question using information in the preceding background paragraph. If there is not enough \
                 information provided, answer with \"Not in background.\"\n\n"
            }
        }
    }

    fn items(&self, documents: &[Fields], style: Style) -> Result<Vec<Item>> {
        let mut questions = Vec::new();
        for document in documents {
            match document.has("data") {
                true => questions.extend(distributed(document)?),
                false => questions.push(document.clone()),
            }
        }
        // Questions in a row about the same paragraph, and what of it was asked and answered.
        let (mut first, mut before) = (0, String::new());
        let mut items: Vec<Item> = Vec::with_capacity(questions.len());
        for (index, question) in questions.iter().enumerate() {
            let same = |name| index > 0 && question.get(name) == questions[index - 1].get(name);
            if !(same("title") && same("context")) {
                (first, before) = (index, String::new());
            }
            let item = asked(question, style, &before)?;
            if style == Style::Paper {
                before += &format!("Q: {}\n\nA: {}\n\n", question.required_text("question")?, item.target);
            }
            items.push(Item { group: Some(first), ..item });
        }
        Ok(items)
    }

    fn item(&self, document: &Fields, style: Style) -> Result<Item> {
        asked(document, style, "")
    }

    fn judge(&self, writing: &Writing, written: &Written, style: Style) -> Vec<Score> {
        let answers = &writing.references[0];
        let text = match style {
            Style::Paper if says(&written.text, NO_ANSWER) => "",
            _ => &written.text,
        };
        let score = squad::score(text, answers);
        let answerable = !answers.is_empty();
        let kinds = [0, if answerable { 1 } else { 2 }];
        let mut scores: Vec<Score> = Vec::new();
        for (measures, value) in [(&EXACT, score.exact), (&F1, score.f1)] {
            scores.extend(kinds.map(|kind| Score::new(&measures[kind], 100.0 * value)));
        }
        if let Some(beside) = &written.beside {
            let no_answer = libm::exp(beside.log_prob);
            for (measure, score) in [(&BEST_EXACT, score.exact), (&BEST_F1, score.f1)] {
                let judged = squad::Judged { no_answer, score, answerable, empty: text.is_empty() };
                let part = Part::Answer(judged);
                scores.push(Score { part, ..Score::new(measure, 100.0 * score) });
            }
        }
        scores
    }
}

/// A question behind what was asked `before` about its paragraph.
fn asked(document: &Fields, style: Style, before: &str) -> Result<Item> {
    document.require(&["title", "context", "question", "answers"])?;
    let [title, context, question] =
        ["title", "context", "question"].map(|name| document.required_text(name));
    let head = format!("Title: {}\n\nBackground: {}\n\n{before}", title?, context?);
    let question = question?;
    // The answers of lm-evaluation-harness begin with a blank of their own; in an example that makes two.
    let (prompt, blank, none, most, beside) = match style {
        Style::Paper => (format!("{head}Q: {question}\n\nA:"), "", NO_ANSWER, 16, None),
        Style::LmEval => {
            (format!("{head}Question: {question}\n\nAnswer:"), " ", UNANSWERABLE, 256, Some(UNANSWERABLE))
        }
    };
    let answers = document.required_object("answers")?.required_texts("text")?;
    let target = answers.first().map_or(none.to_string(), |answer| format!("{blank}{answer}"));
    let references = vec![answers];
    Ok(write(document, " ", target, Writing { prompt, stops: &["\n"], most, references, beside }))
}

/// The questions of the file that the authors distribute, in the fields that the Hub has.
fn distributed(document: &Fields) -> Result<Vec<Fields>> {
    let mut questions = Vec::new();
    for article in document.objects("data", "article")? {
        article.require(&["title", "paragraphs"])?;
        for paragraph in article.objects("paragraphs", "paragraph")? {
            paragraph.require(&["context", "qas"])?;
            for question in paragraph.objects("qas", "question")? {
                question.require(&["question", "answers"])?;
                let mut texts = Vec::new();
                for answer in question.objects("answers", "answer")? {
                    texts.push(answer.required_text("text")?.to_string());
                }
                let mut map: Map<String, Value> = Map::new();
                map.insert("title".into(), json!(article.required_text("title")?));
                map.insert("context".into(), json!(paragraph.required_text("context")?));
                map.insert("question".into(), json!(question.required_text("question")?));
                map.insert("answers".into(), json!({ "text": texts }));
                if let Some(id) = question.get("id") {
                    map.insert("id".into(), id.clone());
                }
                questions.push(question.with(map));
            }
        }
    }
    Ok(questions)
}

#[cfg(test)]
mod tests {
    use super::super::tests::{items, judged, likelihood, writings};
    use super::*;

    const DISTRIBUTED: &str = r#"{"version":"v2.0","data":[{"title":"Black_Death","paragraphs":[
        {"context":"It came in 1347.","qas":[
            {"id":"1","question":"When? ","answers":[{"text":"1347","answer_start":11},{"text":"in 1347","answer_start":8}],
             "is_impossible":false},
            {"id":"2","question":"Why?","plausible_answers":[{"text":"It","answer_start":0}],"answers":[],
             "is_impossible":true},
            {"id":"3","question":"What?","answers":[{"text":"It","answer_start":0}],"is_impossible":false}]},
        {"context":"It went.","qas":[{"id":"4","question":"Where?","answers":[]}]}]}]}"#;

    #[test]
    fn the_papers_words_have_the_earlier_questions() {
        let found = writings(&SquadV2, Style::Paper, DISTRIBUTED);
        assert_eq!(found.len(), 4);
        assert_eq!(
            found[2].prompt,
            "Title: Black_Death\n\nBackground: It came in 1347.\n\nQ: When? \n\nA: 1347\n\nQ: Why?\n\nA: Not in \
             background.\n\nQ: What?\n\nA:"
        );
        assert_eq!(found[3].prompt, "Title: Black_Death\n\nBackground: It went.\n\nQ: Where?\n\nA:");
        assert_eq!((found[2].stops, found[2].most, found[2].beside), (&["\n"][..], 16, None));
        let items = items(&SquadV2, Style::Paper, DISTRIBUTED).unwrap();
        assert_eq!(items.iter().map(|item| item.group.unwrap()).collect::<Vec<_>>(), [0, 0, 0, 3]);
        assert_eq!(items[1].target, "Not in background.");
        assert_eq!(items[3].example, Some(format!("{} Not in background.", found[3].prompt)));
        assert_eq!(items[3].at, "record 1, article 1, paragraph 2, question 1");
        let head = "Answer each question using information in the preceding background paragraph. If there is not enough \
                    information provided, answer with \"Not in background.\"\n\n";
        assert_eq!(SquadV2.head(Style::Paper), head);
    }

    #[test]
    fn both_layouts_ask_the_same_in_the_words_of_the_harness() {
        let hub = [
            r#"{"id":"1","title":"Black_Death","context":"It came in 1347.","question":"When? ","answers":{"text":["1347","in 1347"],"answer_start":[11,8]}}"#,
            r#"{"id":"2","title":"Black_Death","context":"It came in 1347.","question":"Why?","answers":{"text":[],"answer_start":[]}}"#,
        ];
        let found = writings(&SquadV2, Style::LmEval, &hub.join("\n"));
        assert_eq!(found, writings(&SquadV2, Style::LmEval, DISTRIBUTED)[..2]);
        assert_eq!(
            found[0].prompt,
            "Title: Black_Death\n\nBackground: It came in 1347.\n\nQuestion: When? \n\nAnswer:"
        );
        assert_eq!((found[0].stops, found[0].most), (&["\n"][..], 256));
        assert_eq!(found[0].beside, Some(" unanswerable"));
        let item = items(&SquadV2, Style::LmEval, hub[1]).unwrap().remove(0);
        assert_eq!(item.target, " unanswerable");
        assert!(item.example.unwrap().ends_with("\n\nQuestion: Why?\n\nAnswer:  unanswerable"));
    }

    #[test]
    fn answers_and_silence() {
        let paper = writings(&SquadV2, Style::Paper, DISTRIBUTED);
        let of = |index: usize, text| judged(&SquadV2, Style::Paper, &paper[index], text);
        let all = |value: f64, kind| {
            let [exact, f1] = ["exact", "f1"].map(|name| format!("{kind}_{name}"));
            [("exact".to_string(), value), (exact, value), ("f1".to_string(), value), (f1, value)]
        };
        let named = |scores: Vec<(&str, f64)>| -> Vec<(String, f64)> {
            scores.into_iter().map(|(name, value)| (name.to_string(), value)).collect()
        };
        assert_eq!(named(of(0, " In 1347.")), all(100.0, "HasAns"));
        for right in [" Not in background.", "not in Background", ""] {
            assert_eq!(named(of(1, right)), all(100.0, "NoAns"), "{right:?}");
        }
        assert_eq!(named(of(1, " It")), all(0.0, "NoAns"));
        assert_eq!(named(of(0, " Not in background.")), all(0.0, "HasAns"));
        // Two of three words: precision 2/3, recall 2/2.
        assert_eq!(of(0, " in 1347 AD")[2], ("f1", 80.0));
        let harness = writings(&SquadV2, Style::LmEval, DISTRIBUTED);
        let written = Written {
            text: " 1347".into(),
            beside: Some(likelihood(-core::f64::consts::LN_2)),
            verdict: None,
        };
        let scores = SquadV2.judge(&harness[0], &written, Style::LmEval);
        let best = scores.iter().find(|score| score.measure.name == "best_f1").unwrap();
        let Part::Answer(answer) = best.part else { panic!("{best:?}") };
        assert!((answer.no_answer - 0.5).abs() < 1e-15 && answer.answerable && !answer.empty, "{answer:?}");
        assert_eq!((answer.score, best.value), (1.0, 100.0));
    }

    #[test]
    fn a_wrong_place_is_named() {
        let error = |text: &str| items(&SquadV2, Style::Paper, text).unwrap_err().to_string();
        let broken = DISTRIBUTED.replace("\"question\":\"Where?\",", "");
        assert!(
            error(&broken)
                .starts_with("x: record 1, article 1, paragraph 2, question 1: expected the fields"),
            "{}",
            error(&broken)
        );
        let broken = DISTRIBUTED.replace("[{\"text\":\"It\",\"answer_start\":0}],\"is", "[\"It\"],\"is");
        let expected = "x: record 1, article 1, paragraph 1, question 3, answer 1: expected a JSON object, found a string";
        assert!(error(&broken).starts_with(expected), "{}", error(&broken));
    }
}
