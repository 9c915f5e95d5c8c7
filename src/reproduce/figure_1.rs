//! Figures 1 and 3: how often labelers prefer a model's answer to that of the largest SFT model. GPT, GPT with a worked
//! example, SFT, PPO and PPO-ptx at three sizes; labelers who produced training data, and such who did not.

use super::asking::{Answer, Contender};
use super::charts::{axis, by_size, each, line, over_sizes, paper_sizes};
use super::lab::Lab;
use super::scale::{LARGE, SMALL};
use super::verdict::{Claim, Measure, Rule, Values, difference};
use super::{Drawn, Figure};
use crate::error::Result;
use crate::report::figures::Figures;
use crate::world::labelers::{HELD_OUT_LABELERS, LABELERS, Person};

pub(super) const FIGURE: Figure = Figure {
    name: "figure-1",
    shows: "Figures 1 and 3: preference over the largest SFT model, by training and by held-out labelers",
    cost: "120 TFLOP: all models at three sizes",
    drawn: Drawn::Headline,
    draw,
};

/// Win rates against the 175B SFT model at 1.3B, 6B and 175B, read off figures 1 and 3: prompts to InstructGPT, training
/// labelers.
const PAPER: [(&str, [f64; 3]); 5] = [
    ("GPT", [0.142, 0.193, 0.240]),
    ("GPT (prompted)", [0.227, 0.266, 0.411]),
    ("SFT", [0.348, 0.404, 0.500]),
    ("PPO", [0.524, 0.578, 0.626]),
    ("PPO-ptx", [0.527, 0.555, 0.660]),
];

/// The same by held-out labelers.
const PAPER_HELD_OUT: [(&str, [f64; 3]); 5] = [
    ("GPT", [0.191, 0.218, 0.252]),
    ("GPT (prompted)", [0.250, 0.306, 0.431]),
    ("SFT", [0.461, 0.505, 0.500]),
    ("PPO", [0.663, 0.694, 0.691]),
    ("PPO-ptx", [0.641, 0.685, 0.709]),
];

const SMALLEST_BEATS_LARGEST_GPT: Claim = Claim {
    figure: "Figure 1",
    claim: "Labelers prefer the smallest PPO-ptx model to the largest GPT (share of test prompts, ties half)",
    paper: "1.3B preferred to 175B; against 175B SFT: 0.527 and 0.240",
    measure: Measure::Share,
    rule: Rule::Above(0.5),
};

const LARGEST_BEATS_GPT: Claim = Claim {
    figure: "Section 4.1",
    claim: "Labelers prefer the largest PPO-ptx model to the GPT that it began as",
    paper: "0.85 +- 0.03",
    measure: Measure::Share,
    rule: Rule::Above(0.5),
};

const LARGEST_BEATS_PROMPTED: Claim = Claim {
    figure: "Section 4.1",
    claim: "Labelers prefer the largest PPO-ptx model to the largest GPT with a worked example",
    paper: "0.71 +- 0.04",
    measure: Measure::Share,
    rule: Rule::Above(0.5),
};

const PPO_PTX_BEATS_SFT: Claim = Claim {
    figure: "Figure 1",
    claim: "Labelers prefer the largest PPO-ptx model to the largest SFT model",
    paper: "0.660",
    measure: Measure::Share,
    rule: Rule::Above(0.5),
};

const HELD_OUT_AGREE: Claim = Claim {
    figure: "Figure 3",
    claim: "Held-out labelers prefer the largest PPO-ptx model to the largest SFT model about as much as training \
            labelers do (difference of the shares)",
    paper: "0.709 - 0.660 = 0.049",
    measure: Measure::Mean,
    rule: Rule::Within(-0.1, 0.1),
};

/// By prompt, how often some people prefer `a` to `b`, a tie being half.
fn preference(lab: &Lab, people: &[Person], a: &Contender, b: &Contender) -> Result<Values> {
    let (a, b) = (lab.answers(a)?, lab.answers(b)?);
    let share = |(a, b): (&Answer, &Answer)| {
        let asked =
            people.iter().map(|person| lab.world.prefers(person, &a.prompt, &a.response, &b.response));
        (a.prompt.clone(), asked.sum::<f64>() / people.len() as f64)
    };
    Ok(a.iter().zip(&b).map(share).collect())
}

fn draw(labs: &[Lab], figures: &mut Figures) -> Result<()> {
    // 1. Everybody against the largest SFT model.
    for (people, whose, paper) in [
        (&LABELERS[..], "training labelers", &PAPER),
        (&HELD_OUT_LABELERS[..], "held-out labelers", &PAPER_HELD_OUT),
    ] {
        let mut series = Vec::new();
        for (i, (name, _)) in paper.iter().enumerate() {
            let points = by_size(labs, |lab, size| {
                let [_, _, baseline, _, _] = lab.contenders(LARGE);
                preference(lab, people, &lab.contenders(size)[i], &baseline)
            })?;
            series.push(line(name, Measure::Share, &points));
        }
        figures.charts.push(over_sizes(
            "Figures 1 and 3",
            &format!("Preferred to the largest SFT model, by {whose}"),
            "A tie counts half, so the largest SFT model against itself stands at 0.5.",
            axis("win rate", "share of test prompts", false),
            series,
            paper.iter().map(paper_sizes).collect(),
        ));
    }

    // 2. The paper's claims, each by a comparison of the two models that it names.
    let of = |people: &'static [Person], a: (usize, usize), b: (usize, usize)| {
        each(labs, |lab| preference(lab, people, &lab.contenders(a.0)[a.1], &lab.contenders(b.0)[b.1]))
    };
    const GPT: usize = 0;
    const PROMPTED: usize = 1;
    const SFT: usize = 2;
    const PPO_PTX: usize = 4;
    let smallest = of(&LABELERS, (SMALL, PPO_PTX), (LARGE, GPT))?;
    figures.verdicts.push(SMALLEST_BEATS_LARGEST_GPT.judge(&smallest));
    for (claim, other) in
        [(LARGEST_BEATS_GPT, GPT), (LARGEST_BEATS_PROMPTED, PROMPTED), (PPO_PTX_BEATS_SFT, SFT)]
    {
        figures.verdicts.push(claim.judge(&of(&LABELERS, (LARGE, PPO_PTX), (LARGE, other))?));
    }
    let training = of(&LABELERS, (LARGE, PPO_PTX), (LARGE, SFT))?;
    let held_out = of(&HELD_OUT_LABELERS, (LARGE, PPO_PTX), (LARGE, SFT))?;
    let differences: Vec<Values> = held_out.iter().zip(&training).map(|(a, b)| difference(a, b)).collect();
    figures.verdicts.push(HELD_OUT_AGREE.judge(&differences));
    Ok(())
}
