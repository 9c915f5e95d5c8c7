//! On request: figures 36, 37 and 38 and the sweeps of E.11, at the middle size. The paper judges them by labelers' Likert
//! scores; here the gold score, which has the same scale, stands for them.

use super::charts::{axis, each, paper};
use super::coefficients::{along, ends, gold};
use super::lab::Lab;
use super::runs::Spec;
use super::scale::MIDDLE;
use super::verdict::{Claim, Measure, Rule, difference};
use super::{Drawn, Figure};
use crate::error::Result;
use crate::report::figures::{Axis, Chart, Figures, Kind, Line};
use crate::run::StageId;

pub(super) const FIGURE_36: Figure = Figure {
    name: "figure-36",
    shows: "Figure 36: gold score against beta, with the pretraining gradient",
    cost: "16 TFLOP: six PPO-ptx runs of the middle size",
    drawn: Drawn::OnRequest,
    draw: figure_36,
};

pub(super) const FIGURE_37: Figure = Figure {
    name: "figure-37",
    shows: "Figure 37: gold score against the share of pretraining text in the RLHF init",
    cost: "12 TFLOP: three RLHF inits and PPO-ptx runs of the middle size",
    drawn: Drawn::OnRequest,
    draw: figure_37,
};

pub(super) const FIGURE_38: Figure = Figure {
    name: "figure-38",
    shows: "Figure 38: gold score against the policy's learning rate, with and without the pretraining gradient",
    cost: "19 TFLOP: eight PPO runs of the middle size",
    drawn: Drawn::OnRequest,
    draw: figure_38,
};

pub(super) const E_11: Figure = Figure {
    name: "e11",
    shows: "E.11: gold score against the batch size, and against the ratio of pretraining data to episodes",
    cost: "22 TFLOP: six PPO-ptx runs of the middle size",
    drawn: Drawn::OnRequest,
    draw: e_11,
};

/// Likert scores, read off figure 36.
const PAPER_36: [(f64, f64); 6] =
    [(7.5e-4, 3.03), (0.0104, 4.12), (0.02, 3.90), (0.03, 3.74), (0.144, 3.74), (2.0, 3.12)];
/// Likert scores at shares of pretraining text, read off figure 37.
const PAPER_37: [(f64, f64); 3] = [(0.0, 3.84), (0.1, 4.01), (0.5, 3.84)];

const HELD_TOO_TIGHT: Claim = Claim {
    figure: "Figure 36",
    claim: "The largest beta costs gold score (largest - second to smallest beta, by test prompt)",
    paper: "3.12 - 4.12 = -1.00",
    measure: Measure::Mean,
    rule: Rule::Below(0.0),
};

const LET_LOOSE: Claim = Claim {
    figure: "Figure 36",
    claim: "So does the smallest (smallest - second to smallest beta, by test prompt)",
    paper: "3.03 - 4.12 = -1.09",
    measure: Measure::Mean,
    rule: Rule::Below(0.0),
};

const INIT_INSENSITIVE: Claim = Claim {
    figure: "Figure 37",
    claim: "The share of pretraining text in the init hardly matters (0.5 - 0, gold score, by test prompt)",
    paper: "3.84 - 3.84 = 0.00",
    measure: Measure::Mean,
    rule: Rule::Within(-0.3, 0.3),
};

const PTX_STEADIES: Claim = Claim {
    figure: "Figure 38",
    claim: "At the highest learning rate PPO-ptx keeps its gold score where PPO loses it (difference, by test prompt)",
    paper: "PPO diverges above 8.05e-6, PPO-ptx does not",
    measure: Measure::Mean,
    rule: Rule::Above(0.0),
};

const MORE_TEXT_HELPS: Claim = Claim {
    figure: "E.11",
    claim: "A higher ratio of pretraining data does not hurt the gold score (4 - 1, by test prompt)",
    paper: "32 gives better Likert scores than 8; no number is printed",
    measure: Measure::Mean,
    rule: Rule::Above(-0.3),
};

/// Multiples of the middle size's learning rate (paper: half a decade on either side).
const RATES: [f32; 4] = [0.3, 1.0, 3.0, 10.0];
/// Multiples of the middle size's batch, at as many episodes.
const BATCHES: [f32; 3] = [0.25, 0.5, 1.0];
/// Pretraining sequences per episode.
const RATIOS: [f32; 3] = [1.0, 2.0, 4.0];
/// Shares of pretraining text.
const SHARES: [f32; 3] = [0.0, 0.1, 0.5];

fn chart(figure: &str, title: &str, x: Axis, series: Vec<Line>, paper: Vec<Line>) -> Chart {
    Chart {
        figure: figure.into(),
        title: title.into(),
        about: "The paper's are Likert scores by labelers.".into(),
        kind: Kind::Lines,
        x,
        y: axis("gold score", "1 to 7", false),
        series,
        paper,
    }
}

fn figure_36(labs: &[Lab], figures: &mut Figures) -> Result<()> {
    let Some(lab) = labs.first() else { return Ok(()) };
    let mut betas = lab.scale.betas.clone();
    betas.sort_by(f32::total_cmp);
    let run =
        |lab: &Lab, beta: f32| lab.scale.policy(lab.seed, format!("beta-{beta}"), |ppo| ppo.kl_coef = beta);
    let series = vec![along(labs, "PPO-ptx", &betas, run, gold)?];
    let theirs = vec![paper("PPO-ptx", PAPER_36)];
    figures.charts.push(chart("Figure 36", "Gold score by beta", axis("beta", "", true), series, theirs));
    let (smallest, second, largest) = (betas[0], betas[1.min(betas.len() - 1)], betas[betas.len() - 1]);
    for (claim, beta) in [(HELD_TOO_TIGHT, largest), (LET_LOOSE, smallest)] {
        let differences =
            each(labs, |lab| Ok(difference(&gold(lab, &run(lab, beta))?, &gold(lab, &run(lab, second))?)))?;
        figures.verdicts.push(claim.judge(&differences));
    }
    Ok(())
}

fn figure_37(labs: &[Lab], figures: &mut Figures) -> Result<()> {
    let run = |lab: &Lab, share: f32| {
        let mut spec = lab.scale.policy(lab.seed, format!("init-{share}"), |_| {});
        let middle = lab.size(MIDDLE);
        spec.settings.ppo.init_from = None;
        spec.settings.rlhf_init.init_from = Some(middle.gpt().path());
        spec.settings.rlhf_init.pretrain_fraction = share;
        Spec {
            stages: &[StageId::RlhfInit, StageId::Ppo],
            needs: vec![(middle, StageId::RewardModel)],
            ..spec
        }
    };
    let series = vec![along(labs, "PPO-ptx", &SHARES, run, gold)?];
    let theirs = vec![paper("PPO-ptx", PAPER_37)];
    let x = axis("pretraining text in the init", "share of sequences", false);
    figures.charts.push(chart("Figure 37", "Gold score by the init's text", x, series, theirs));
    figures.verdicts.push(INIT_INSENSITIVE.judge(&ends(labs, &SHARES, run, gold)?));
    Ok(())
}

fn figure_38(labs: &[Lab], figures: &mut Figures) -> Result<()> {
    let run = |ptx: bool| {
        move |lab: &Lab, rate: f32| {
            let name = format!("{}-rate-{rate}", if ptx { "ptx" } else { "ppo" });
            lab.scale.policy(lab.seed, name, |ppo| {
                ppo.learning_rate *= rate;
                ppo.ptx_coef *= if ptx { 1.0 } else { 0.0 };
            })
        }
    };
    let series =
        vec![along(labs, "PPO", &RATES, run(false), gold)?, along(labs, "PPO-ptx", &RATES, run(true), gold)?];
    let x = axis("learning rate", "multiples of the usual", true);
    figures.charts.push(chart("Figure 38", "Gold score by learning rate", x, series, vec![]));
    let highest = RATES[RATES.len() - 1];
    let differences = each(labs, |lab| {
        Ok(difference(&gold(lab, &run(true)(lab, highest))?, &gold(lab, &run(false)(lab, highest))?))
    })?;
    figures.verdicts.push(PTX_STEADIES.judge(&differences));
    Ok(())
}

fn e_11(labs: &[Lab], figures: &mut Figures) -> Result<()> {
    let batch = |lab: &Lab, share: f32| {
        lab.scale.policy(lab.seed, format!("batch-{share}"), |ppo| {
            // Minibatches stay as large as they are, so there are fewer of them in an iteration.
            let minibatches = ((ppo.minibatches as f32 * share) as usize).max(1);
            (ppo.batch, ppo.minibatches) = (ppo.batch / ppo.minibatches * minibatches, minibatches);
        })
    };
    let series = vec![along(labs, "PPO-ptx", &BATCHES, batch, gold)?];
    let x = axis("batch", "multiples of the usual", false);
    figures.charts.push(chart("E.11", "Gold score by batch size", x, series, vec![]));
    let ratio = |lab: &Lab, ratio: f32| {
        lab.scale.policy(lab.seed, format!("ratio-{ratio}"), |ppo| {
            ppo.ptx_examples_per_episode = ratio as usize;
        })
    };
    let series = vec![along(labs, "PPO-ptx", &RATIOS, ratio, gold)?];
    let x = axis("pretraining sequences", "per episode", false);
    figures.charts.push(chart("E.11", "Gold score by the ratio of pretraining data", x, series, vec![]));
    figures.verdicts.push(MORE_TEXT_HELPS.judge(&ends(labs, &RATIOS, ratio, gold)?));
    Ok(())
}
