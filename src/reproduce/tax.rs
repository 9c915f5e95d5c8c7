//! Figures 28 and 29, and the alignment tax: what training for preference costs on closed tasks and on text, and what
//! the pretraining gradient gives back.

use super::charts::{axis, by_size, each, line, over_sizes, paper_sizes};
use super::lab::Lab;
use super::runs::{Model, Spec};
use super::scale::LARGE;
use super::verdict::{Claim, Measure, Rule, difference};
use super::{Drawn, Figure};
use crate::error::Result;
use crate::report::figures::Figures;

pub(super) const FIGURE: Figure = Figure {
    name: "tax",
    shows: "Figures 28 and 29: few-shot accuracy on closed tasks, and loss on text, of all models at three sizes",
    cost: "nothing beyond figure-1",
    drawn: Drawn::Headline,
    draw,
};

/// Few-shot F1 on SQuADv2, as a share, at 1.3B, 6B and 175B (Table 14).
const PAPER: [(&str, [f64; 3]); 4] = [
    ("GPT", [0.5886, 0.6233, 0.6975]),
    ("SFT", [0.4662, 0.5391, 0.6590]),
    ("PPO", [0.4811, 0.5234, 0.5195]),
    ("PPO-ptx", [0.5833, 0.6378, 0.6993]),
];

const TAX: Claim = Claim {
    figure: "Figure 29",
    claim: "PPO without the pretraining gradient loses few-shot accuracy on closed tasks (PPO - GPT, largest size, by item)",
    paper: "SQuADv2: 0.520 - 0.698 = -0.178",
    measure: Measure::Mean,
    rule: Rule::Below(0.0),
};

const MITIGATED: Claim = Claim {
    figure: "Figure 29",
    claim: "The pretraining gradient gives few-shot accuracy back (PPO-ptx - PPO, largest size, by item)",
    paper: "SQuADv2: 0.699 - 0.520 = 0.180",
    measure: Measure::Mean,
    rule: Rule::Above(0.0),
};

const TEXT_TAX: Claim = Claim {
    figure: "Section 4.2",
    claim: "PPO without the pretraining gradient predicts text worse than GPT (difference of losses in nats per token, by \
            window)",
    paper: "no number is printed",
    measure: Measure::Mean,
    rule: Rule::Above(0.0),
};

const TEXT_MITIGATED: Claim = Claim {
    figure: "Section 4.2",
    claim: "The pretraining gradient lowers that loss (PPO-ptx - PPO in nats per token, by window)",
    paper: "no number is printed",
    measure: Measure::Mean,
    rule: Rule::Below(0.0),
};

/// The four lines.
const MODELS: [fn(&Spec) -> Model; 4] = [Spec::gpt, Spec::sft, Spec::ppo, Spec::policy];

fn draw(labs: &[Lab], figures: &mut Figures) -> Result<()> {
    // 1. Closed tasks, and text, over the sizes.
    let (mut accuracy, mut losses) = (Vec::new(), Vec::new());
    for ((name, _), model) in PAPER.iter().zip(MODELS) {
        let points = by_size(labs, |lab, size| lab.few_shot(&model(&lab.size(size))))?;
        accuracy.push(line(name, Measure::Share, &points));
        let points = by_size(labs, |lab, size| lab.text_losses(&model(&lab.size(size))))?;
        losses.push(line(name, Measure::Mean, &points));
    }
    figures.charts.push(over_sizes(
        "Figures 28 and 29",
        "Few-shot accuracy on four closed tasks",
        "The paper's is F1 on SQuADv2, of which the pretraining gradient gives back what PPO lost.",
        axis("accuracy", "share of items", false),
        accuracy,
        PAPER.iter().map(paper_sizes).collect(),
    ));
    figures.charts.push(over_sizes(
        "Section 4.2",
        "Loss on held-out pretraining text",
        "Lower is better. The paper draws no such figure; its equation 2 is about this loss.",
        axis("loss", "nats per token", false),
        losses,
        vec![],
    ));

    // 2. The claims, on the same items and windows.
    let [gpt, _, ppo, ppo_ptx] = MODELS;
    for (claim, a, b) in [(TAX, ppo, gpt), (MITIGATED, ppo_ptx, ppo)] {
        let differences = each(labs, |lab| {
            let spec = lab.size(LARGE);
            Ok(difference(&lab.few_shot(&a(&spec))?, &lab.few_shot(&b(&spec))?))
        })?;
        figures.verdicts.push(claim.judge(&differences));
    }
    for (claim, a, b) in [(TEXT_TAX, ppo, gpt), (TEXT_MITIGATED, ppo_ptx, ppo)] {
        let differences = each(labs, |lab| {
            let spec = lab.size(LARGE);
            Ok(difference(&lab.text_losses(&a(&spec))?, &lab.text_losses(&b(&spec))?))
        })?;
        figures.verdicts.push(claim.judge(&differences));
    }
    Ok(())
}
