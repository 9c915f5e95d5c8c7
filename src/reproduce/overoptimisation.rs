//! Over-optimisation: as PPO moves away from its reference with hardly a penalty, the reward model's score goes on
//! rising after the gold score has stopped. The paper's figures 33, 34 and 36 show its edges; the curve is that of Stiennon
//! et al. (2020, figure 5) and Gao et al. (2022), for reward models of three sizes.

use super::charts::axis;
use super::lab::Lab;
use super::scale::{ALL_SIZES, LARGE, MIDDLE, SMALL};
use super::verdict::{Claim, Measure, Rule, Values, difference};
use super::{Drawn, Figure};
use crate::error::Result;
use crate::report::figures::{Chart, Figures, Kind, Line, Point};
use crate::run::StageId;

pub(super) const FIGURE: Figure = Figure {
    name: "overoptimisation",
    shows: "gold and proxy reward against KL along PPO with a small beta, for reward models of three sizes",
    cost: "37 TFLOP: two reward models, of which the large one costs most, and three PPO runs",
    drawn: Drawn::All,
    draw,
};

const PROXY_RISES: Claim = Claim {
    figure: "Figure 34",
    claim: "With hardly a penalty the proxy reward rises to the end (last tenth - middle tenth of PPO, middle reward model, \
            by iteration)",
    paper: "validation reward is highest, 2.66, at the next to smallest beta",
    measure: Measure::Mean,
    rule: Rule::Above(0.0),
};

const GOLD_FALLS_BEHIND: Claim = Claim {
    figure: "Figure 36",
    claim: "while the gold score does not rise any more (last tenth - middle tenth, by iteration)",
    paper: "Likert 2.14 at beta = 0, 4.12 at the best beta",
    measure: Measure::Mean,
    rule: Rule::Below(0.0),
};

const LARGER_IS_SAFER: Claim = Claim {
    figure: "Gao et al. 2022",
    claim: "Against the large reward model the gold score ends higher than against the small one (last tenth, by iteration)",
    paper: "not in the paper",
    measure: Measure::Mean,
    rule: Rule::Above(0.0),
};

/// What an iteration of PPO measured.
#[derive(Debug, Clone, Copy)]
struct Iteration {
    kl: f64,
    proxy: f64,
    gold: f64,
}

/// One of these.
type Look = fn(&Iteration) -> f64;

/// PPO with a small beta against a reward model of that size.
fn curve(lab: &Lab, size: usize) -> Result<Vec<Iteration>> {
    let name = lab.scale.sizes[size].name;
    let judge = match size {
        MIDDLE => lab.size(MIDDLE),
        _ => lab.scale.reward_model(lab.seed, size, format!("reward-{name}"), |_| {}),
    };
    let mut spec = lab.scale.policy(lab.seed, format!("overoptimise-{name}"), |ppo| {
        ppo.ptx_coef = 0.0;
        ppo.kl_coef = lab.scale.betas.iter().copied().fold(f32::INFINITY, f32::min);
        ppo.episodes *= 2;
        ppo.reward_model_from = Some(judge.reward().path());
        // The same value function for all: what differs is who judges.
        ppo.value_init_from = Some(lab.size(MIDDLE).reward().path());
    });
    spec.needs.push((judge, StageId::RewardModel));
    let [kl, proxy, gold] = ["kl", "reward", "gold"].map(|measure| lab.metrics(&spec, StageId::Ppo, measure));
    let rows = kl?.into_iter().zip(proxy?).zip(gold?);
    Ok(rows.map(|((kl, proxy), gold)| Iteration { kl, proxy, gold }).collect())
}

/// Tenths, as the claims have it.
const PARTS: usize = 10;

/// Parts into which a curve is cut: fewer where there are fewer iterations.
fn parts(curve: &[Iteration]) -> usize {
    curve.len().min(PARTS)
}

/// The iterations of a part, by their place in it.
fn part(curve: &[Iteration], number: usize, measure: Look) -> Values {
    let size = curve.len() / parts(curve).max(1);
    let iterations = curve.iter().skip(number * size).take(size);
    iterations.enumerate().map(|(place, iteration)| (place.to_string(), measure(iteration))).collect()
}

fn draw(labs: &[Lab], figures: &mut Figures) -> Result<()> {
    let curves: Vec<[Vec<Iteration>; 3]> = labs
        .iter()
        .map(|lab| Ok([curve(lab, SMALL)?, curve(lab, MIDDLE)?, curve(lab, LARGE)?]))
        .collect::<Result<_>>()?;
    let measures: [(&str, &str, Look); 2] =
        [("Gold score", "1 to 7", |i| i.gold), ("Proxy: the reward model's score", "", |i| i.proxy)];
    for (title, unit, measure) in measures {
        let series = ALL_SIZES.map(|size| {
            let mean = |number: usize, measure: Look| {
                let values = curves.iter().flat_map(|curves| part(&curves[size], number, measure));
                let values: Vec<f64> = values.map(|(_, value)| value).collect();
                crate::num::statistics::mean(&values)
            };
            let point = |number| {
                let (x, y) = (mean(number, |i| i.kl)?, mean(number, measure)?);
                Some(Point { x, y, low: None, high: None })
            };
            let name = ["small reward model", "middle reward model", "large reward model"][size];
            Line { name: name.into(), points: (0..PARTS).filter_map(point).collect() }
        });
        figures.charts.push(Chart {
            figure: "Over-optimisation".into(),
            title: format!("{title} along PPO"),
            about: "Each point is a tenth of the training, from left to right.".into(),
            kind: Kind::Lines,
            x: axis("KL to the reference", "nats per response", false),
            y: axis(title, unit, false),
            series: series.into(),
            paper: vec![],
        });
    }

    let middle = |curve: &[Iteration]| parts(curve) / 2;
    let last = |curve: &[Iteration]| parts(curve).saturating_sub(1);
    let over_time = |measure: Look| {
        let change = |[_, curve, _]: &[Vec<Iteration>; 3]| {
            difference(&part(curve, last(curve), measure), &part(curve, middle(curve), measure))
        };
        curves.iter().map(change).collect::<Vec<Values>>()
    };
    figures.verdicts.push(PROXY_RISES.judge(&over_time(|i| i.proxy)));
    figures.verdicts.push(GOLD_FALLS_BEHIND.judge(&over_time(|i| i.gold)));
    let by_judge = |[small, _, large]: &[Vec<Iteration>; 3]| {
        difference(&part(large, last(large), |i| i.gold), &part(small, last(small), |i| i.gold))
    };
    figures.verdicts.push(LARGER_IS_SAFER.judge(&curves.iter().map(by_judge).collect::<Vec<_>>()));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A curve whose gold score is the number of the iteration.
    fn curve(iterations: usize) -> Vec<Iteration> {
        (0..iterations).map(|i| Iteration { kl: 0.0, proxy: 0.0, gold: i as f64 }).collect()
    }

    #[test]
    fn a_curve_is_cut_into_tenths() {
        let gold = |iterations: usize, number: usize| -> Vec<f64> {
            part(&curve(iterations), number, |i| i.gold).into_iter().map(|(_, gold)| gold).collect()
        };
        assert_eq!((gold(20, 0), gold(20, 9)), (vec![0.0, 1.0], vec![18.0, 19.0]));
        // What is left over after whole parts is left out, and a short curve has a part for each iteration.
        assert_eq!((gold(25, 9), gold(4, 3)), (vec![18.0, 19.0], vec![3.0]));
        assert_eq!((gold(4, 9), gold(0, 0)), (vec![], vec![]));
    }
}
