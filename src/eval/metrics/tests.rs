//! All metrics against `fixtures/metrics.json`, which `reference/make_metric_fixtures.py` writes from the values of
//! sacrebleu, rouge-score and the scorers' definitions in Python.

use serde_json::Value;

use super::answers::Score;
use super::rouge::Rouge;
use super::{bleu, drop, porter, quac, rouge, squad};

fn fixture(name: &str) -> Value {
    let all: Value = serde_json::from_str(include_str!("../../../fixtures/metrics.json")).unwrap();
    all[name].clone()
}

fn rows(value: &Value) -> &Vec<Value> {
    value.as_array().unwrap()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap()
}

fn texts(value: &Value) -> Vec<&str> {
    rows(value).iter().map(text).collect()
}

fn numbers(value: &Value) -> Vec<f64> {
    rows(value).iter().map(|number| number.as_f64().unwrap()).collect()
}

fn counts(value: &Value) -> Vec<usize> {
    rows(value).iter().map(|number| number.as_u64().unwrap() as usize).collect()
}

/// Both sides compute in f64; only the last digits of exp, ln and sums may differ.
fn assert_near(ours: &[f64], theirs: &[f64], of: &Value) {
    assert_eq!(ours.len(), theirs.len());
    let near = ours.iter().zip(theirs).all(|(a, b)| (a - b).abs() <= 1e-9 * b.abs().max(1.0));
    assert!(near, "{ours:?}\n{theirs:?}\n{of}");
}

#[test]
fn tokens_are_sacrebleus() {
    let fixture = fixture("bleu");
    for row in rows(&fixture["tokens"]) {
        assert_eq!(bleu::tokenized(text(&row[0])), text(&row[1]), "{row}");
    }
}

#[test]
fn international_tokens_are_sacrebleus() {
    let fixture = fixture("bleu");
    for row in rows(&fixture["international"]) {
        assert_eq!(bleu::international(text(&row[0])), text(&row[1]), "{row}");
    }
}

#[test]
fn bleu_is_sacrebleus() {
    let fixture = fixture("bleu");
    for row in rows(&fixture["corpora"]) {
        let mut counts_of_all = bleu::Counts::default();
        for (hypothesis, references) in rows(&row["hypotheses"]).iter().zip(rows(&row["references"])) {
            counts_of_all.add(&bleu::Counts::new(text(hypothesis), &texts(references)));
        }
        let lengths = [counts_of_all.hypothesis_length, counts_of_all.reference_length];
        assert_eq!(lengths[..], counts(&row["lengths"]), "{row}");
        assert_eq!(counts_of_all.correct[..], counts(&row["correct"]), "{row}");
        assert_eq!(counts_of_all.total[..], counts(&row["total"]), "{row}");
        let bleu = counts_of_all.bleu();
        assert_near(&bleu.precisions, &numbers(&row["precisions"]), row);
        let theirs = [&row["score"], &row["brevity_penalty"]].map(|number| number.as_f64().unwrap());
        assert_near(&[bleu.score, bleu.brevity_penalty], &theirs, row);
        assert_eq!(format!("{:.2}", bleu.score), text(&row["printed"]), "{row}");
    }
}

#[test]
fn stems_are_nltks() {
    for row in rows(&fixture("stems")) {
        assert_eq!(porter::stem(text(&row[0])), text(&row[1]), "{row}");
    }
}

#[test]
fn rouge_is_rouge_scores() {
    let figures = |rouge: Rouge| vec![rouge.precision, rouge.recall, rouge.f1];
    for row in rows(&fixture("rouge")) {
        for (stemming, name) in [(false, "plain"), (true, "stemmed")] {
            let scores = rouge::best(&texts(&row["references"]), text(&row["prediction"]), stemming);
            let ours = [scores.rouge_1, scores.rouge_2, scores.rouge_l, scores.rouge_l_sum];
            for (ours, theirs) in ours.into_iter().zip(rows(&row[name])) {
                assert_near(&figures(ours), &numbers(theirs), row);
            }
        }
    }
}

fn assert_score(ours: Score, row: &Value) {
    assert_near(&[ours.exact, ours.f1], &numbers(&row["score"]), row);
}

#[test]
fn answers_score_as_in_squad() {
    for row in rows(&fixture("squad")) {
        assert_score(squad::score(text(&row["prediction"]), &texts(&row["references"])), row);
    }
}

#[test]
fn answers_score_as_in_drop() {
    for row in rows(&fixture("drop")) {
        let references: Vec<Vec<&str>> = rows(&row["references"]).iter().map(texts).collect();
        assert_score(drop::score(&texts(&row["prediction"]), &references), row);
    }
}

#[test]
fn answers_score_as_in_quac() {
    let fixture = fixture("quac");
    let mut totals = quac::Totals::default();
    for dialogue in rows(&fixture["dialogues"]) {
        let answers: Vec<Vec<&str>> =
            rows(dialogue).iter().map(|question| texts(&question["answers"])).collect();
        let mut questions = vec![];
        for (question, answers) in rows(dialogue).iter().zip(&answers) {
            let references = quac::references(answers);
            let prediction = text(&question["prediction"]);
            let ours = [quac::f1(prediction, &references), quac::human_f1(&references)];
            let theirs = [&question["f1"], &question["human"]].map(|number| number.as_f64().unwrap());
            assert_near(&ours, &theirs, question);
            questions.push((prediction, &answers[..]));
        }
        totals.add(&questions);
    }
    let summary = totals.summary().unwrap();
    let ours = [
        summary.f1,
        summary.unfiltered_f1,
        summary.human_f1,
        summary.questions_as_good,
        summary.dialogues_as_good,
    ];
    assert_near(&ours, &numbers(&fixture["figures"]), &fixture["figures"]);
}
