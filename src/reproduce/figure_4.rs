//! Figure 4: what labelers note of single answers (Table 3), by kind of model, all sizes together as in the paper.

use super::charts::{axis, each, line, names, paper};
use super::lab::Lab;
use super::scale::ALL_SIZES;
use super::verdict::{Claim, Measure, Rule, Values, difference};
use super::{Drawn, Figure};
use crate::error::Result;
use crate::report::figures::{Chart, Figures, Kind};
use crate::world::gold::Metadata;

pub(super) const FIGURE: Figure = Figure {
    name: "figure-4",
    shows: "Figure 4: attempts the instruction, keeps constraints, hallucinates, is appropriate, by kind of model",
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
const INSTRUCTION: usize = 0;
const CONSTRAINTS: usize = 1;
const HALLUCINATION: usize = 2;
const GPT: usize = 0;
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
    Ok(())
}
