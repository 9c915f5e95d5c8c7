//! Section 4.1, E.2 and footnote 5: how often a reward model prefers what a labeler prefers, beside how often labelers
//! agree; whether it does so for labelers whose rankings it has not seen; and for rankings of few or many answers.

use serde::{Deserialize, Serialize};

use super::charts::{axis, each, line, names, paper};
use super::lab::Lab;
use super::runs::{Model, Spec};
use super::scale::MIDDLE;
use super::verdict::{Claim, Measure, Rule, Values, difference, mean_by_item};
use super::{Drawn, Figure};
use crate::data::{Comparison, PromptForms, Side, Split, load_comparisons};
use crate::error::Result;
use crate::report::figures::{Chart, Figures, Kind};
use crate::run::StageId;
use crate::train::collect::COMPARISONS;
use crate::train::dataset::{Example, Ranking};
use crate::world::labelers::LABELERS;

pub(super) const FIGURE: Figure = Figure {
    name: "reward-model",
    shows: "Section 4.1 and E.2: the reward model beside its labelers, five folds over labelers, rankings of 2 to 9 answers",
    cost: "39 TFLOP: eleven reward models of the middle size, that on shuffled pairs the dearest",
    drawn: Drawn::All,
    draw,
};

/// Answers to a prompt: the paper's labelers rank 4 to 9 (section 3.5).
const ANSWERS: [usize; 4] = [2, 4, 6, 9];

const NEAR_AGREEMENT: Claim = Claim {
    figure: "Section 4.1",
    claim: "The reward model prefers what a labeler prefers about as often as two labelers agree (difference of shares, by \
            test prompt)",
    paper: "0.724 - 0.726 = -0.002",
    measure: Measure::Mean,
    rule: Rule::Within(-0.06, 0.06),
};

const GENERALISES: Claim = Claim {
    figure: "E.2",
    claim: "For labelers that it was not trained on it is hardly worse (five folds, difference of shares, by test prompt)",
    paper: "0.696 - 0.724 = -0.028",
    measure: Measure::Mean,
    rule: Rule::Within(-0.06, 0.06),
};

const MANY_ANSWERS: Claim = Claim {
    figure: "Section 3.5",
    claim: "Rankings of 9 answers teach more than rankings of 2 to as many prompts (difference of shares, by test prompt)",
    paper: "the reason to rank 4 to 9; no number is printed",
    measure: Measure::Mean,
    rule: Rule::Above(0.0),
};

const TOGETHER: Claim = Claim {
    figure: "Footnote 5",
    claim: "All pairs of a prompt as one batch element give a better accuracy than shuffled pairs (difference of shares, by \
            test prompt)",
    paper: "shuffled pairs overfit in a single pass; no number is printed",
    measure: Measure::Mean,
    rule: Rule::Above(0.0),
};

const TOGETHER_LOSS: Claim = Claim {
    figure: "Footnote 5",
    claim: "and a lower log loss (difference in nats per pair, by test prompt)",
    paper: "better; no number is printed",
    measure: Measure::Mean,
    rule: Rule::Below(0.0),
};

/// What a reward model says of a pair.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Judged {
    /// The test prompt's number.
    prompt: usize,
    labeler: String,
    /// 1: as the labeler, 0: not, 0.5: both get the same score.
    right: f64,
    /// -ln sigma(winner's score - loser's), in nats (equation 1).
    loss: f64,
}

/// The comparisons that the middle size's reward model was trained and tested on, each with its labeler.
fn comparisons(lab: &Lab) -> Result<Split<Vec<Ranking>>> {
    let middle = lab.size(MIDDLE);
    lab.train(&middle, StageId::RewardModel)?;
    let path = lab.root.join(&middle.name).join(COMPARISONS);
    let mut rankings: Split<Vec<Ranking>> = Split::default();
    for Comparison { tokens, ranks, labeler, side, .. } in
        load_comparisons(&path, &PromptForms::default())?.records
    {
        // What was collected has both.
        let (Some(tokens), Some(side)) = (tokens, side) else { continue };
        let example = |response: &Vec<u32>| Example {
            tokens: [tokens.prompt.as_slice(), response].concat(),
            prompt: tokens.prompt.len(),
        };
        let ranking = Ranking::new(tokens.responses.iter().map(example).collect(), ranks);
        rankings.of_mut(side).push(Ranking { labeler, ..ranking });
    }
    Ok(rankings)
}

/// What a reward model says of every pair of the test side that is no tie.
fn judge(lab: &Lab, model: &Model) -> Result<Vec<Judged>> {
    let own = lab.size(MIDDLE).reward();
    lab.measured(&format!("pairs/{}", model.path()), &[model, &own], "pairs of the test side", || {
        let mut network = lab.network(model)?;
        let mut judged = Vec::new();
        for (prompt, ranking) in comparisons(lab)?.test.into_iter().enumerate() {
            let Ranking { responses, ranks, labeler } = ranking;
            let rewards = network.scores(responses.iter().map(|response| response.tokens.as_slice()));
            for (i, j) in (0..ranks.len()).flat_map(|i| (0..ranks.len()).map(move |j| (i, j))) {
                if ranks[i] < ranks[j] {
                    let right = match rewards[i].total_cmp(&rewards[j]) {
                        core::cmp::Ordering::Greater => 1.0,
                        core::cmp::Ordering::Equal => 0.5,
                        core::cmp::Ordering::Less => 0.0,
                    };
                    let margin = f64::from(rewards[i]) - f64::from(rewards[j]);
                    let loss = libm::log1p(libm::exp(-margin.abs())) + (-margin).max(0.0);
                    let labeler = labeler.clone().unwrap_or_default();
                    judged.push(Judged { prompt, labeler, right, loss });
                }
            }
        }
        Ok(judged)
    })
}

/// The accuracy on the pairs of each test prompt that `wanted` takes.
fn accuracy(judged: &[Judged], wanted: impl Fn(&Judged) -> bool) -> Values {
    let pairs = judged.iter().filter(|judged| wanted(judged));
    mean_by_item(pairs.map(|judged| (judged.prompt.to_string(), judged.right)))
}

/// The mean loss on the pairs of each test prompt.
fn log_loss(judged: &[Judged]) -> Values {
    mean_by_item(judged.iter().map(|judged| (judged.prompt.to_string(), judged.loss)))
}

/// How often two labelers agree on the pairs of each test prompt on which both have a preference.
fn agreement(lab: &Lab) -> Result<Values> {
    let tokenizer = &lab.data()?.tokenizer;
    let text = |tokens: &[u32]| {
        tokenizer.decode_lossy(crate::train::rollouts::strip(tokens, tokenizer.end_of_text()))
    };
    let mut pairs = Values::new();
    for (number, ranking) in comparisons(lab)?.test.into_iter().enumerate() {
        let prompt = text(ranking.prompt());
        let responses: Vec<String> =
            ranking.responses.iter().map(|response| text(response.response())).collect();
        for (i, a) in responses.iter().enumerate() {
            for b in &responses[..i] {
                let votes = LABELERS.map(|person| lab.world.prefers(&person, &prompt, a, b));
                let votes: Vec<f64> = votes.into_iter().filter(|vote| *vote != 0.5).collect();
                for (k, one) in votes.iter().enumerate() {
                    pairs.extend(
                        votes[..k]
                            .iter()
                            .map(|other| (number.to_string(), f64::from(u8::from(one == other)))),
                    );
                }
            }
        }
    }
    Ok(mean_by_item(pairs))
}

/// The reward model of a fold: trained on the rankings of all labelers but one.
fn fold(lab: &Lab, left_out: usize) -> Result<Model> {
    let spec = lab.scale.reward_model(lab.seed, MIDDLE, format!("fold-{}", left_out + 1), |_| {});
    lab.train_reward_model(&spec, || {
        let mut rankings = comparisons(lab)?;
        for side in Side::ALL {
            let own = |ranking: &Ranking| ranking.labeler.as_deref() == Some(LABELERS[left_out].id);
            rankings.of_mut(side).retain(|ranking| !own(ranking));
        }
        Ok(rankings)
    })?;
    Ok(spec.reward())
}

/// Per test prompt, the accuracy for its labeler of the model that has not seen that labeler, and of the four that have.
fn folds(lab: &Lab) -> Result<[Values; 2]> {
    let (mut seen, mut unseen) = (Vec::new(), Vec::new());
    for (left_out, person) in LABELERS.iter().enumerate() {
        for judged in judge(lab, &fold(lab, left_out)?)? {
            let of = if judged.labeler == person.id { &mut unseen } else { &mut seen };
            of.push((judged.prompt.to_string(), judged.right));
        }
    }
    Ok([mean_by_item(seen), mean_by_item(unseen)])
}

/// A reward model on rankings of so many answers.
fn of_answers(lab: &Lab, k: usize) -> Spec {
    lab.scale.reward_model(lab.seed, MIDDLE, format!("answers-{k}"), |s| {
        (s.min_candidates, s.max_candidates) = (k, k);
    })
}

/// A reward model that takes the pairs of a prompt together, or all pairs shuffled.
fn of_pairs(lab: &Lab, shuffled: bool) -> Result<Vec<Judged>> {
    let name = if shuffled { "pairs-shuffled" } else { "pairs-together" };
    let spec = lab.scale.reward_model(lab.seed, MIDDLE, name.into(), |s| s.shuffle_pairs = shuffled);
    judge(lab, &spec.reward())
}

fn draw(labs: &[Lab], figures: &mut Figures) -> Result<()> {
    // 1. The reward model, its labelers, and the folds.
    let own = each(labs, |lab| Ok(accuracy(&judge(lab, &lab.size(MIDDLE).reward())?, |_| true)))?;
    let agree = each(labs, agreement)?;
    let folds: Vec<[Values; 2]> = labs.iter().map(folds).collect::<Result<_>>()?;
    let [seen, unseen]: [Vec<Values>; 2] =
        [0, 1].map(|which| folds.iter().map(|fold| fold[which].clone()).collect());
    let bars = [
        ("two labelers", &agree, 0.726),
        ("reward model", &own, 0.724),
        ("labelers of the folds", &seen, 0.724),
        ("labelers left out", &unseen, 0.696),
    ];
    let points: Vec<(f64, Vec<Values>)> =
        (0..).map(f64::from).zip(bars.iter().map(|(_, values, _)| (*values).clone())).collect();
    figures.charts.push(Chart {
        figure: "Section 4.1 and E.2".into(),
        title: "Agreement with a labeler's preferences".into(),
        about: "Pairs of the test side that are no ties; each prompt counts once.".into(),
        kind: Kind::Bars,
        x: names("who", &bars.map(|(name, ..)| name)),
        y: axis("agreement", "share of pairs", false),
        series: vec![line("agreement", Measure::Share, &points)],
        paper: vec![paper("agreement", (0..).map(f64::from).zip(bars.map(|(.., paper)| paper)))],
    });
    let differences = |a: &[Values], b: &[Values]| -> Vec<Values> {
        a.iter().zip(b).map(|(a, b)| in_common(a, b)).collect()
    };
    figures.verdicts.push(NEAR_AGREEMENT.judge(&differences(&own, &agree)));
    figures.verdicts.push(GENERALISES.judge(&differences(&unseen, &seen)));

    // 2. Few or many answers to as many prompts.
    let mut points = Vec::new();
    for k in ANSWERS {
        let values = each(labs, |lab| Ok(accuracy(&judge(lab, &of_answers(lab, k).reward())?, |_| true)))?;
        points.push((k as f64, values));
    }
    figures.charts.push(Chart {
        figure: "Section 3.5".into(),
        title: "Accuracy by the number of answers that are ranked, as many prompts each".into(),
        about: "On the same test pairs.".into(),
        kind: Kind::Lines,
        x: axis("answers to a prompt", "", false),
        y: axis("accuracy", "share of pairs", false),
        series: vec![line("reward model", Measure::Share, &points)],
        paper: vec![],
    });
    let (few, many) = (&points[0].1, &points[ANSWERS.len() - 1].1);
    figures.verdicts.push(MANY_ANSWERS.judge(&differences(many, few)));

    // 3. All pairs of a prompt together, or shuffled.
    let (mut accuracies, mut losses) = (Vec::new(), Vec::new());
    for lab in labs {
        let (together, shuffled) = (of_pairs(lab, false)?, of_pairs(lab, true)?);
        accuracies.push(difference(&accuracy(&together, |_| true), &accuracy(&shuffled, |_| true)));
        losses.push(difference(&log_loss(&together), &log_loss(&shuffled)));
    }
    figures.verdicts.push(TOGETHER.judge(&accuracies));
    figures.verdicts.push(TOGETHER_LOSS.judge(&losses));
    Ok(())
}

/// The difference on the prompts that both were measured on: all may be ties to one of them.
fn in_common(a: &Values, b: &Values) -> Values {
    let has = |values: &Values, prompt: &str| values.iter().any(|(other, _)| other == prompt);
    let only = |values: &Values, other: &Values| -> Values {
        values.iter().filter(|(prompt, _)| has(other, prompt)).cloned().collect()
    };
    difference(&only(a, b), &only(b, a))
}
