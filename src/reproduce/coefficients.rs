//! Figures 33 and 34: the two ways to hold a policy back from forgetting. Gamma, the weight of the pretraining gradient,
//! restores few-shot accuracy at little cost in reward; beta, the weight of the KL penalty, does not, even where KL is
//! measured against the pretrained model.

use super::asking::Contender;
use super::charts::{axis, each, line, paper};
use super::lab::Lab;
use super::runs::Spec;
use super::scale::MIDDLE;
use super::verdict::{Claim, Measure, Rule, Values, difference};
use super::{Drawn, Figure};
use crate::error::Result;
use crate::report::figures::{Chart, Figures, Kind, Line};

pub(super) const FIGURE_33: Figure = Figure {
    name: "figure-33",
    shows: "Figure 33: few-shot accuracy, loss on text and reward against the pretraining coefficient gamma",
    cost: "18 TFLOP: seven PPO-ptx runs of the middle size",
    drawn: Drawn::All,
    draw: figure_33,
};

pub(super) const FIGURE_34: Figure = Figure {
    name: "figure-34",
    shows: "Figure 34: the same against the KL coefficient beta, gamma = 0, KL against the pretrained model",
    cost: "13 TFLOP: six PPO runs of the middle size",
    drawn: Drawn::All,
    draw: figure_34,
};

/// SQuADv2's F1 as a share at some gammas, read off figure 33.
const PAPER_33: [(f64, f64); 2] = [(0.464, 0.520), (27.8, 0.607)];
/// The validation reward at some gammas, read off figure 33.
const PAPER_33_REWARD: [(f64, f64); 3] = [(0.464, -0.61), (27.8, -0.85), (129.0, -1.55)];
/// SQuADv2's F1 as a share at its best beta, read off figure 34.
const PAPER_34: [(f64, f64); 1] = [(0.537, 0.536)];
/// The validation reward at some betas, read off figure 34.
const PAPER_34_REWARD: [(f64, f64); 3] = [(7.5e-4, 2.66), (0.0104, -0.53), (2.0, -2.79)];

const GAMMA_RESTORES: Claim = Claim {
    figure: "Figure 33",
    claim: "A large gamma gives few-shot accuracy back (largest - smallest gamma, by item)",
    paper: "SQuADv2: 0.607 - 0.520 = 0.087",
    measure: Measure::Mean,
    rule: Rule::Above(0.0),
};

const GAMMA_KEEPS_TEXT: Claim = Claim {
    figure: "Figure 33",
    claim: "A large gamma lowers the loss on text (largest - smallest gamma in nats per token, by window)",
    paper: "no number is printed",
    measure: Measure::Mean,
    rule: Rule::Below(0.0),
};

const GAMMA_COSTS: Claim = Claim {
    figure: "Figure 33",
    claim: "A large gamma costs reward (largest - smallest gamma, by test prompt)",
    paper: "-1.55 + 0.61 = -0.94",
    measure: Measure::Mean,
    rule: Rule::Below(0.0),
};

const BETA_DOES_NOT_RESTORE: Claim = Claim {
    figure: "Figure 34",
    claim: "Even the largest beta does not give GPT's few-shot accuracy back (PPO - GPT, by item)",
    paper: "SQuADv2: 0.536 at best, of 0.592",
    measure: Measure::Mean,
    rule: Rule::Below(0.0),
};

const BETA_COSTS: Claim = Claim {
    figure: "Figure 34",
    claim: "A large beta costs reward (largest - smallest beta, by test prompt)",
    paper: "-2.79 - 2.66 = -5.45",
    measure: Measure::Mean,
    rule: Rule::Below(0.0),
};

/// What is looked at along a coefficient.
type Look = fn(&Lab, &Spec) -> Result<Values>;

/// Points of the paper.
type Points<'a> = &'a [(f64, f64)];

fn accuracy(lab: &Lab, spec: &Spec) -> Result<Values> {
    lab.few_shot(&spec.policy())
}

fn text_loss(lab: &Lab, spec: &Spec) -> Result<Values> {
    lab.text_losses(&spec.policy())
}

/// The reward of each test prompt's answer.
fn reward(lab: &Lab, spec: &Spec) -> Result<Values> {
    Ok(lab.answers(&asked(spec))?.into_iter().map(|answer| (answer.prompt, answer.reward)).collect())
}

/// The gold score of each test prompt's answer.
pub(super) fn gold(lab: &Lab, spec: &Spec) -> Result<Values> {
    lab.gold_scores(&asked(spec))
}

fn asked(spec: &Spec) -> Contender {
    Contender { name: "policy", model: spec.policy(), prompted: false }
}

/// The line of a look along a coefficient's values, each with its run.
pub(super) fn along(
    labs: &[Lab],
    name: &str,
    xs: &[f32],
    run: impl Fn(&Lab, f32) -> Spec,
    look: Look,
) -> Result<Line> {
    let mut points = Vec::new();
    for &x in xs {
        points.push((f64::from(x), each(labs, |lab| look(lab, &run(lab, x)))?));
    }
    Ok(line(name, Measure::Mean, &points))
}

/// A coefficient, as a chart shows it: its figure, its name, and the values that are tried.
struct Coefficient<'a> {
    figure: &'a str,
    name: &'a str,
    values: &'a [f32],
}

/// The three charts of a coefficient, with the pretrained model as a level.
fn charts(
    labs: &[Lab],
    figures: &mut Figures,
    c: &Coefficient,
    run: impl Fn(&Lab, f32) -> Spec + Copy,
    theirs: [Points; 2],
) -> Result<()> {
    let looks: [([&str; 3], Look, Points); 3] = [
        (["Few-shot accuracy on closed tasks", "accuracy", "share of items"], accuracy, theirs[0]),
        (["Loss on held-out text", "loss", "nats per token"], text_loss, &[]),
        (["Reward on test prompts", "reward", ""], reward, theirs[1]),
    ];
    for ([title, y, unit], look, paper_points) in looks {
        let mut series = vec![along(labs, "policy", c.values, run, look)?];
        if y != "reward" {
            let gpt: Look = if y == "loss" {
                |lab, spec| lab.text_losses(&spec.gpt())
            } else {
                |lab, spec| lab.few_shot(&spec.gpt())
            };
            series.push(along(labs, "GPT", c.values, |lab, _| lab.size(MIDDLE), gpt)?);
        }
        let theirs = (!paper_points.is_empty()).then(|| paper("policy", paper_points.iter().copied()));
        figures.charts.push(Chart {
            figure: c.figure.into(),
            title: title.into(),
            about: "The paper's accuracy is F1 on SQuADv2.".into(),
            kind: Kind::Lines,
            x: axis(c.name, "", true),
            y: axis(y, unit, false),
            series,
            paper: theirs.into_iter().collect(),
        });
    }
    Ok(())
}

/// A look at the run of the largest value less that of the smallest.
pub(super) fn ends(
    labs: &[Lab],
    xs: &[f32],
    run: impl Fn(&Lab, f32) -> Spec,
    look: Look,
) -> Result<Vec<Values>> {
    let end = |pick: fn(f32, f32) -> f32| xs.iter().copied().reduce(pick).expect("values to compare");
    let (most, least) = (end(f32::max), end(f32::min));
    each(labs, |lab| Ok(difference(&look(lab, &run(lab, most))?, &look(lab, &run(lab, least))?)))
}

fn figure_33(labs: &[Lab], figures: &mut Figures) -> Result<()> {
    let Some(lab) = labs.first() else { return Ok(()) };
    let values = &lab.scale.gammas;
    let run = |lab: &Lab, gamma: f32| {
        lab.scale.policy(lab.seed, format!("gamma-{gamma}"), |ppo| ppo.ptx_coef = gamma)
    };
    let c = Coefficient { figure: "Figure 33", name: "gamma", values };
    charts(labs, figures, &c, run, [&PAPER_33, &PAPER_33_REWARD])?;
    for (claim, look) in
        [(GAMMA_RESTORES, accuracy as Look), (GAMMA_KEEPS_TEXT, text_loss), (GAMMA_COSTS, reward)]
    {
        figures.verdicts.push(claim.judge(&ends(labs, values, run, look)?));
    }
    Ok(())
}

fn figure_34(labs: &[Lab], figures: &mut Figures) -> Result<()> {
    let Some(lab) = labs.first() else { return Ok(()) };
    let values = &lab.scale.betas;
    let run = |lab: &Lab, beta: f32| {
        lab.scale.policy(lab.seed, format!("beta-gpt-{beta}"), |ppo| {
            (ppo.kl_coef, ppo.ptx_coef) = (beta, 0.0);
            ppo.reference_from = Some(lab.size(MIDDLE).gpt().path());
        })
    };
    let c = Coefficient { figure: "Figure 34", name: "beta", values };
    charts(labs, figures, &c, run, [&PAPER_34, &PAPER_34_REWARD])?;
    let largest = values.iter().copied().fold(0.0, f32::max);
    let differences = each(labs, |lab| {
        let gpt = lab.few_shot(&lab.size(MIDDLE).gpt())?;
        Ok(difference(&accuracy(lab, &run(lab, largest))?, &gpt))
    })?;
    figures.verdicts.push(BETA_DOES_NOT_RESTORE.judge(&differences));
    figures.verdicts.push(BETA_COSTS.judge(&ends(labs, values, run, reward)?));
    Ok(())
}
