//! Summaries of news (CNN and Daily Mail: Hermann et al., 2015) and of Reddit's posts (TL;DR: Völske et al., 2017).
//!
//! In the paper's words a text is followed by "TL;DR:" (its released samples end at 256 tokens). lm-evaluation-harness has
//! the news (cnn_dailymail_abisee); of its measures those by a network, BERTScore, are not here.

use super::measures::{Aggregate, Measure, Score};
use super::{Card, Item, Style, Task, Writing, Written, write};
use crate::data::fields::Fields;
use crate::error::Result;
use crate::eval::metrics::rouge;

/// News in a few sentences.
pub struct CnnDailyMail;

/// A post in one.
pub struct Tldr;

const fn share(name: &'static str) -> Measure {
    Measure { name, unit: "share", higher_is_better: true, aggregate: Aggregate::Mean }
}

/// F1 from 0 to 1, of stems.
static ROUGE_1: Measure = share("rouge1");
static ROUGE_2: Measure = share("rouge2");
static ROUGE_L: Measure = share("rougeL");

impl Task for CnnDailyMail {
    fn card(&self) -> Card {
        Card {
            name: "cnn_dailymail",
            measures: "ROUGE-1, -2 and -L (0 to 1) of a summary of news (lm-eval: cnn_dailymail_abisee)",
            fields: "article, highlights",
            source: "CNN/Daily Mail 3.0.0, not anonymised, of the Hub (the paper takes 2,354 documents and does not name them)",
            files: &["cnn_dm", "cnn_dailymail_abisee"],
            styles: &[Style::LmEval, Style::Paper],
            paper: "ROUGE-L, 175B, printed alike for both sets of summaries: GPT .196, SFT .225, PPO .227, PPO-ptx .220 (15 \
                    shots)",
            instructed: false,
        }
    }

    fn item(&self, document: &Fields, style: Style) -> Result<Item> {
        document.require(&["article", "highlights"])?;
        let [article, highlights] =
            [document.required_text("article")?, document.required_text("highlights")?];
        let references = vec![vec![highlights.to_string()]];
        let (prompt, stops, most): (_, &[&str], _) = match style {
            Style::Paper => (format!("{article}\n\nTL;DR:"), &["\n"], 256),
            // Where a task of the harness names no stop, it is a blank line.
            Style::LmEval => {
                (format!("Summarize the following article:\n\n{article}\n\nSummary:"), &["\n\n"], 128)
            }
        };
        let writing = Writing { prompt, stops, most, references, beside: None };
        Ok(write(document, " ", highlights.to_string(), writing))
    }

    fn judge(&self, writing: &Writing, written: &Written, _: Style) -> Vec<Score> {
        scores(writing, written)
    }
}

impl Task for Tldr {
    fn card(&self) -> Card {
        Card {
            name: "tldr",
            measures: "ROUGE-1, -2 and -L (0 to 1) of a summary of a post on Reddit",
            fields: "content, summary; or prompt (which ends with TL;DR:), label",
            source: "Webis-TLDR-17, or OpenAI's selection of it (the paper takes 2,500 documents and does not name them)",
            files: &[],
            styles: &[Style::Paper],
            paper: "ROUGE-L, 175B, printed alike for both sets of summaries: GPT .196, SFT .225, PPO .227, PPO-ptx .220 (15 \
                    shots)",
            instructed: false,
        }
    }

    fn item(&self, document: &Fields, _: Style) -> Result<Item> {
        let (prompt, summary) = if document.has("label") {
            document.require(&["prompt", "label"])?;
            let prompt = document.required_text("prompt")?.trim_end();
            if !prompt.ends_with("TL;DR:") {
                let found =
                    prompt.chars().rev().take(20).collect::<Vec<_>>().into_iter().rev().collect::<String>();
                return Err(document.error("prompt", "a post and TL;DR:", format!("the end {found:?}")));
            }
            (prompt.to_string(), document.required_text("label")?)
        } else {
            document.require(&["content", "summary"])?;
            (format!("{}\n\nTL;DR:", document.required_text("content")?), document.required_text("summary")?)
        };
        let summary = summary.trim();
        let references = vec![vec![summary.to_string()]];
        let writing = Writing { prompt, stops: &["\n"], most: 256, references, beside: None };
        Ok(write(document, " ", summary.to_string(), writing))
    }

    fn judge(&self, writing: &Writing, written: &Written, _: Style) -> Vec<Score> {
        scores(writing, written)
    }
}

fn scores(writing: &Writing, written: &Written) -> Vec<Score> {
    let scores = rouge::best(&writing.references[0], &written.text, true);
    [(&ROUGE_1, scores.rouge_1), (&ROUGE_2, scores.rouge_2), (&ROUGE_L, scores.rouge_l)]
        .map(|(measure, rouge)| Score::new(measure, rouge.f1))
        .to_vec()
}

#[cfg(test)]
mod tests {
    use super::super::tests::{items, judged, writings};
    use super::*;

    #[test]
    fn news_in_both_styles() {
        let record = r#"{"article":"A man slept.\nHe woke.","highlights":"Man slept .\nHe woke .","id":"1"}"#;
        let paper = writings(&CnnDailyMail, Style::Paper, record).remove(0);
        assert_eq!(paper.prompt, "A man slept.\nHe woke.\n\nTL;DR:");
        assert_eq!((paper.stops, paper.most), (&["\n"][..], 256));
        let harness = writings(&CnnDailyMail, Style::LmEval, record).remove(0);
        assert_eq!(harness.prompt, "Summarize the following article:\n\nA man slept.\nHe woke.\n\nSummary:");
        assert_eq!((harness.stops, harness.most), (&["\n\n"][..], 128));
        // Stems: 4 words of "the man sleeps he woke" in "man slept he woke", 3 in common.
        let found = judged(&CnnDailyMail, Style::LmEval, &harness, " The man sleeping, he woke");
        assert_eq!(found.iter().map(|(name, _)| *name).collect::<Vec<_>>(), ["rouge1", "rouge2", "rougeL"]);
        assert!((found[0].1 - 2.0 * 0.6 * 0.75 / 1.35).abs() < 1e-12, "{found:?}");
    }

    #[test]
    fn posts_in_both_layouts() {
        let webis = r#"{"content":"I slept.\n\nI woke.","summary":" slept and woke","subreddit":"x"}"#;
        let found = writings(&Tldr, Style::Paper, webis).remove(0);
        assert_eq!(found.prompt, "I slept.\n\nI woke.\n\nTL;DR:");
        assert_eq!(found.references, [["slept and woke"]]);
        let openai =
            r#"{"prompt":"SUBREDDIT: r/x\nTITLE: t\nPOST: I slept.\nTL;DR: ","label":" slept and woke"}"#;
        let item = items(&Tldr, Style::Paper, openai).unwrap().remove(0);
        assert_eq!(
            item.example.as_deref(),
            Some("SUBREDDIT: r/x\nTITLE: t\nPOST: I slept.\nTL;DR: slept and woke")
        );
        let error = items(&Tldr, Style::Paper, &openai.replace("TL;DR", "TLDR")).unwrap_err().to_string();
        assert_eq!(
            error,
            "x: line 1: field \"prompt\": expected a post and TL;DR:, found the end \"POST: I slept.\\nTLDR:\""
        );
    }
}
