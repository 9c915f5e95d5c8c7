//! Figures 4 and 5: what labelers note of single answers (Table 3), by kind of model, all sizes together as in the paper;
//! and how good they find them, from 1 to 7, at the largest size. The world's own judgement, the gold score, stands for
//! theirs.

use super::charts::{axis, each, line, names, paper};
use super::lab::Lab;
use super::scale::{ALL_SIZES, LARGE};
use super::verdict::{Claim, Measure, Rule, Values, difference};
use super::{Drawn, Figure};
use crate::error::Result;
use crate::report::figures::{Chart, Figures, Kind};
use crate::world::gold::Metadata;

pub(super) const FIGURE: Figure = Figure {
    name: "figure-4",
    shows: "Figures 4 and 5: instruction, constraints, hallucination, appropriateness, overall score, by kind of model",
    cost: "nothing beyond figure-1",
    drawn: Drawn::Headline,
    draw,
};

/// The bars' names, and the kinds of models.
const KINDS: [&str; 5] = ["GPT", "GPT (prompted)", "SFT", "PPO", "PPO-ptx"];
/// Each question, and its shares of yes for the five kinds, read off figure 4.
const PAPER: [(&str, [f64; 5]); 4] = [
    ("attempts the correct instruction", [0.70, 0.79, 0.86, 0.92, 0.93]),
    ("follows explicit constraints", [0.22, 0.28, 0.34, 0.44, 0.43]),
    ("hallucinates", [0.45, 0.28, 0.08, 0.22, 0.16]),
    ("appropriate for an assistant", [0.81, 0.85, 0.88, 0.90, 0.90]),
];
/// Likert scores at 175B, read off figure 5, which has no PPO.
const PAPER_LIKERT: [(f64, f64); 4] = [(0.0, 2.60), (1.0, 3.49), (2.0, 4.08), (4.0, 4.82)];
const INSTRUCTION: usize = 0;
const CONSTRAINTS: usize = 1;
const HALLUCINATION: usize = 2;
const GPT: usize = 0;
const SFT: usize = 2;
const PPO_PTX: usize = 4;

const ATTEMPTS: Claim = Claim {
    figure: "Figure 4",
    claim: "PPO-ptx attempts the correct instruction more often than GPT (difference of shares, by prompt)",
    paper: "0.93 - 0.70 = 0.23",
    measure: Measure::Mean,
    rule: Rule::Above(0.0),
};

const KEEPS: Claim = Claim {
    figure: "Figure 4",
    claim: "PPO-ptx keeps explicit constraints more often than GPT (difference of shares, by prompt)",
    paper: "0.43 - 0.22 = 0.21",
    measure: Measure::Mean,
    rule: Rule::Above(0.0),
};

const HALLUCINATES: Claim = Claim {
    figure: "Figure 4",
    claim: "PPO-ptx hallucinates less than GPT where a request brings a text (difference of shares, by prompt)",
    paper: "0.16 - 0.45 = -0.29",
    measure: Measure::Mean,
    rule: Rule::Below(0.0),
};

const BETTER_THAN_SFT: Claim = Claim {
    figure: "Figure 5",
    claim: "The largest PPO-ptx model's answers are better than those of the largest SFT model (gold score, by prompt)",
    paper: "4.82 - 4.08 = 0.74",
    measure: Measure::Mean,
    rule: Rule::Above(0.0),
};

const SFT_BETTER_THAN_GPT: Claim = Claim {
    figure: "Figure 5",
    claim: "and those are better than GPT's (gold score, by prompt)",
    paper: "4.08 - 2.60 = 1.48",
    measure: Measure::Mean,
    rule: Rule::Above(0.0),
};

/// The answer to each question; `None` where it does not apply.
fn answers(m: &Metadata) -> [Option<bool>; 4] {
    [Some(m.follows_instruction), m.satisfies_constraints, m.hallucination, Some(!m.inappropriate)]
}

/// Yes (1) or no (0) to a question, by prompt, of a kind of model at all sizes.
fn shares(lab: &Lab, kind: usize, question: usize) -> Result<Values> {
    let mut values = Values::new();
    for size in ALL_SIZES {
        for answer in lab.answers(&lab.contenders(size)[kind])? {
            let judged = answers(&lab.world.gold(&answer.prompt, &answer.response))[question];
            values.extend(judged.map(|yes| (answer.prompt, f64::from(u8::from(yes)))));
        }
    }
    Ok(values)
}

/// The gold score of each answer of a kind of model at the largest size.
fn gold(lab: &Lab, kind: usize) -> Result<Values> {
    lab.gold_scores(&lab.contenders(LARGE)[kind])
}

fn draw(labs: &[Lab], figures: &mut Figures) -> Result<()> {
    let x: Vec<f64> = (0..KINDS.len()).map(|kind| kind as f64).collect();
    for (question, (title, theirs)) in PAPER.iter().enumerate() {
        let mut points = Vec::new();
        for kind in 0..KINDS.len() {
            points.push((x[kind], each(labs, |lab| shares(lab, kind, question))?));
        }
        figures.charts.push(Chart {
            figure: "Figure 4".into(),
            title: format!("Answers: {title}"),
            about:
                "Constraints are asked about where a request has some, hallucination where it brings a text."
                    .into(),
            kind: Kind::Bars,
            x: names("model", &KINDS),
            y: axis("yes", "share of answers", false),
            series: vec![line("all sizes", Measure::Share, &points)],
            paper: vec![paper("all sizes", x.iter().copied().zip(*theirs))],
        });
    }
    for (claim, question) in [(ATTEMPTS, INSTRUCTION), (KEEPS, CONSTRAINTS), (HALLUCINATES, HALLUCINATION)] {
        let differences = each(labs, |lab| {
            // Whether a question applies is decided by the prompt: both have been asked the same.
            Ok(difference(&shares(lab, PPO_PTX, question)?, &shares(lab, GPT, question)?))
        })?;
        figures.verdicts.push(claim.judge(&differences));
    }

    let mut points = Vec::new();
    for kind in 0..KINDS.len() {
        points.push((x[kind], each(labs, |lab| gold(lab, kind))?));
    }
    figures.charts.push(Chart {
        figure: "Figure 5".into(),
        title: "How good answers are, largest size".into(),
        about: "Ours: the gold score. The paper's: labelers' Likert scores.".into(),
        kind: Kind::Bars,
        x: names("model", &KINDS),
        y: axis("overall quality", "1 to 7", false),
        series: vec![line("largest size", Measure::Mean, &points)],
        paper: vec![paper("largest size", PAPER_LIKERT)],
    });
    for (claim, a, b) in [(BETTER_THAN_SFT, PPO_PTX, SFT), (SFT_BETTER_THAN_GPT, SFT, GPT)] {
        let differences = each(labs, |lab| Ok(difference(&gold(lab, a)?, &gold(lab, b)?)))?;
        figures.verdicts.push(claim.judge(&differences));
    }
    Ok(())
}
