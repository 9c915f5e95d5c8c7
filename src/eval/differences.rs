//! What one stage changed from another: both models answer the same prompts, so they are compared prompt by prompt. An
//! interval of such a difference is shorter than those of the two means, which hold how hard the prompts are.

use serde_json::{Value, json};

use super::evaluation::Judged;
use super::win_rate::win_rate;
use crate::num::statistics::{Clustered, Estimate, difference};
use crate::run::estimates;

/// Who is compared: the first minus the second. What the paper claims of PPO and of its pretraining gradient (sections
/// 4.1 and 4.2).
const PAIRS: [(&str, &str); 4] =
    [("ppo_ptx", "rlhf_init"), ("ppo_ptx", "ppo"), ("ppo_ptx", "sft"), ("ppo", "rlhf_init")];

/// What is measured: its name in the results and in the table, and the decimals there.
const MEASURES: [(&str, &str, usize); 5] = [
    ("gold", "gold score", 2),
    ("follows_instruction", "follows the instruction", 2),
    ("reward", "reward", 3),
    ("text_loss", "pretraining loss (nats)", 4),
    ("win_rate", "win rate", 2),
];

/// For each pair of models that are there: `of`, `minus`, and each measure with its interval, as [`estimates::put`]
/// writes it. `text_loss` is paired by windows of text; `win_rate` is by gold score where there is one, else by reward,
/// ties being half.
pub(super) fn all(judged: &[Judged], prompts: &[&[u32]]) -> Vec<Value> {
    let of = |name: &str| judged.iter().find(|judged| judged.name == name);
    let pairs = PAIRS.iter().filter_map(|(ours, theirs)| Some((of(ours)?, of(theirs)?)));
    pairs.map(|(ours, theirs)| one(ours, theirs, prompts)).collect()
}

fn one(ours: &Judged, theirs: &Judged, prompts: &[&[u32]]) -> Value {
    // Without a judge there are no scores.
    let paired = |values: fn(&Judged) -> Vec<f64>| {
        let (ours, theirs) = (values(ours), values(theirs));
        if ours.is_empty() { None } else { difference(prompts, &ours, &theirs) }
    };
    let wins = |values: fn(&Judged) -> Vec<f64>| {
        let (ours, theirs) = (values(ours), values(theirs));
        if ours.is_empty() { None } else { win_rate(prompts, &ours, &theirs).rate }
    };
    let mut found = json!({ "of": ours.name, "minus": theirs.name });
    let estimates = [
        paired(Judged::gold_scores),
        paired(Judged::followed),
        paired(|judged| judged.scores.clone()),
        text_loss(&ours.text_loss.windows, &theirs.text_loss.windows),
        wins(Judged::gold_scores).or(wins(|judged| judged.scores.clone())),
    ];
    for ((key, ..), estimate) in MEASURES.iter().zip(estimates) {
        estimates::put(&mut found, key, estimate);
    }
    found
}

/// The difference of two models' losses on the same text, in nats per token: each window counts by its predictions.
/// `None` where their windows are not the same.
fn text_loss(ours: &[(f64, usize)], theirs: &[(f64, usize)]) -> Option<Estimate> {
    let counts = |windows: &[(f64, usize)]| windows.iter().map(|window| window.1).collect::<Vec<usize>>();
    if counts(ours) != counts(theirs) {
        return None;
    }
    let mut differences = Clustered::default();
    for (number, ((ours, count), (theirs, _))) in ours.iter().zip(theirs).enumerate() {
        differences.add(number, ours - theirs, *count);
    }
    differences.mean()
}

/// The table of what [`all`] gave; none where nobody can be compared.
pub(super) fn table(differences: &[Value]) -> Option<Value> {
    let name = |value: &Value| value.as_str().unwrap_or_default().to_string();
    let row = |found: &Value| -> Vec<String> {
        let who = [name(&found["of"]), name(&found["minus"])];
        let cells = MEASURES.iter().map(|(key, _, decimals)| estimates::cell(found, key, *decimals));
        who.into_iter().chain(cells).collect()
    };
    let columns: Vec<&str> =
        ["model", "minus"].into_iter().chain(MEASURES.map(|(_, title, _)| title)).collect();
    (!differences.is_empty()).then(|| {
        json!({ "title": "Differences, paired by prompt, 95 % intervals", "columns": columns,
            "rows": differences.iter().map(row).collect::<Vec<_>>() })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::train::held_out::TextLoss;
    use crate::world::gold::Metadata;

    fn judged(name: &'static str, gold: [f32; 3], windows: &[(f64, usize)]) -> Judged {
        let of = |overall| Metadata { overall, follows_instruction: overall > 4.0, ..Metadata::default() };
        Judged {
            name,
            answers: vec![],
            scores: gold.map(|x| f64::from(x) / 10.0).to_vec(),
            gold: gold.map(of).to_vec(),
            kl: None,
            text_loss: TextLoss { mean: None, windows: windows.to_vec() },
            demonstration_loss: None,
        }
    }

    #[test]
    fn models_are_compared_prompt_by_prompt() {
        let prompts: [&[u32]; 3] = [&[1], &[2], &[3]];
        let windows = |shift: f64| [(20.0 + 2.0 * shift, 2), (3.0 + shift, 1)];
        let models = [
            judged("sft", [1.0, 3.0, 5.0], &windows(9.0)),
            judged("rlhf_init", [1.0, 3.0, 5.0], &windows(0.0)),
            judged("ppo_ptx", [2.0, 5.0, 5.0], &windows(0.5)),
        ];
        let found = all(&models, &prompts);
        let names: Vec<_> = found.iter().map(|d| [&d["of"], &d["minus"]]).collect();
        assert_eq!(names, [["ppo_ptx", "rlhf_init"], ["ppo_ptx", "sft"]], "only models that are there");
        // Differences 1, 2, 0: mean 1, variance 1, t of 2 degrees of freedom.
        let half = 4.302_652_729_749_46 / 3f64.sqrt();
        let near = |key: &str, expected: f64| {
            let value = found[0][key].as_f64().unwrap();
            assert!((value - expected).abs() < 1e-6, "{key}: {value}");
        };
        near("gold", 1.0);
        near("gold_low", 1.0 - half);
        near("gold_high", 1.0 + half);
        near("follows_instruction", 1.0 / 3.0);
        near("reward", 0.1);
        near("win_rate", 2.5 / 3.0);
        // Half a nat per token in every window: nothing varies.
        for key in ["text_loss", "text_loss_low", "text_loss_high"] {
            near(key, 0.5);
        }
        let table = table(&found).unwrap();
        assert_eq!(table["rows"][0][5], "0.5000 [0.5000, 0.5000]");
        assert_eq!(table["columns"].as_array().unwrap().len(), table["rows"][0].as_array().unwrap().len());
    }

    #[test]
    fn what_cannot_be_compared_is_left_open() {
        let (mut ours, mut theirs) =
            (judged("ppo", [1.0; 3], &[(1.0, 1)]), judged("rlhf_init", [1.0; 3], &[(1.0, 2)]));
        (ours.gold, theirs.gold) = (vec![], vec![]);
        let found = all(&[ours, theirs], &[&[1], &[2], &[3]]);
        assert_eq!((&found[0]["gold"], &found[0]["text_loss"]), (&Value::Null, &Value::Null));
        assert_eq!(found[0]["win_rate"], 0.5, "by reward, where there is no gold score");
        assert_eq!(table(&all(&[], &[])), None);
    }
}
