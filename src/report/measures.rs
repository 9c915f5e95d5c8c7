//! What people call the measures of `metrics.jsonl`, in which units, and which of them stand in one chart.

/// A chart of a stage.
pub struct Chart {
    /// What it shows, as people call it.
    pub name: &'static str,
    /// The unit of its y axis.
    pub unit: &'static str,
    /// What a reader should make of it.
    pub about: &'static str,
    /// The measure, as `metrics.jsonl` calls it, and with it those of the data that was held out.
    pub trained: &'static str,
    /// The same, measured on held-out data: dashed.
    pub held_out: &'static str,
    /// Whether it is shown at once, or folded away.
    pub first: bool,
}

const fn chart(
    name: &'static str,
    unit: &'static str,
    trained: &'static str,
    held_out: &'static str,
    first: bool,
    about: &'static str,
) -> Chart {
    Chart { name, unit, about, trained, held_out, first }
}

/// Every chart, in the order of the page.
#[rustfmt::skip]
pub const CHARTS: &[Chart] = &[
    chart("Loss", "nats per token", "loss", "validation_loss", true, "what training brings down"),
    chart("Accuracy", "share of pairs", "accuracy", "validation_accuracy", true,
        "pairs of which the preferred response gets the higher reward; a model that only looks at length must be beaten"),
    chart("Reward", "score of the reward model", "reward", "validation_reward", true,
        "without the KL penalty; demonstrations average 0"),
    chart("Gold score", "1 to 7", "gold", "", true,
        "the world's own judgement, on which nothing is trained; where it falls while the reward rises, the reward model is \
        over-optimised"),
    chart("KL to the reference", "nats per response", "kl", "validation_kl", true,
        "how far the policy has moved; a reward that rises while this runs away is reward hacking"),
    chart("Loss on pretraining text", "nats per token", "ptx_loss", "validation_pretraining_loss", true,
        "what is forgotten; the pretraining gradient of PPO-ptx holds it down"),
    chart("Entropy of the policy", "nats per token", "entropy", "", true,
        "near 0 the policy has stopped exploring"),
    chart("Response length", "tokens", "response_length", "validation_response_length", true,
        "a reward model that likes length is paid in length"),
    chart("Responses that end by themselves", "share of responses", "ended", "", false, "the others were cut off"),
    chart("Repetition", "share of 4-grams", "repetition", "", false, "4-grams that occurred before in the response"),
    chart("Clip fraction, policy", "share of tokens", "clip_fraction", "", false,
        "tokens on which the clipped term decides, so that their gradient is zero"),
    chart("Clip fraction, value function", "share of values", "value_clip_fraction", "", false,
        "values on which the clipped term decides"),
    chart("Policy loss", "mean per token", "policy_loss", "", false, "the clipped surrogate"),
    chart("Value loss", "squared reward", "value_loss", "", false, "half the squared error of the returns, clipped"),
    chart("KL to the reference, other estimate", "nats per response", "kl_k3", "", false,
        "the estimate of lower variance that is never negative"),
    chart("KL coefficient", "reward per nat", "kl_coef", "", false, "beta of equation 2"),
    chart("KL of an iteration's updates", "nats per token", "approx_kl", "", false,
        "between the policy that sampled and the one that is trained"),
    chart("Largest probability ratio", "ratio", "ratio_max", "", false, "of new to old, over all tokens"),
    chart("Largest ratio on the first minibatch", "ratio", "first_ratio_max", "", false,
        "exactly 1: the sampler's log-probs are the trainer's"),
    chart("Gradient norm", "before clipping", "gradient_norm", "", false, "in PPO the policy's largest of an iteration"),
    chart("Learning rate", "per update", "learning_rate", "", false, "in PPO the policy's"),
    chart("Learning rate, value function", "per update", "value_learning_rate", "", false, ""),
    chart("Epoch", "epochs", "epoch", "", false, "that end here"),
    chart("Pretraining text, sequences", "sequences per update", "text_sequences", "", false, "mixed into the demonstrations"),
    chart("Pretraining text, share of tokens", "share of tokens", "text_share_of_tokens", "", false, "so far"),
    chart("Pretraining text, share of loss", "share of the loss", "text_share_of_loss", "", false, "so far"),
];

/// The chart that a measure stands in, and whether it is its dashed line.
pub fn chart_of(measure: &str) -> Option<(&'static Chart, bool)> {
    let of = |chart: &&Chart| chart.trained == measure || chart.held_out == measure;
    CHARTS.iter().find(of).filter(|_| !measure.is_empty()).map(|chart| (chart, chart.held_out == measure))
}

/// A measure's name and unit; one that is not known is called what it is called.
pub fn named(measure: &str) -> (String, &'static str) {
    match chart_of(measure) {
        Some((chart, false)) => (chart.name.into(), chart.unit),
        Some((chart, true)) => (format!("{}, held out", chart.name), chart.unit),
        None => (measure.replace('_', " "), ""),
    }
}

/// What a stage's steps are called.
pub fn step_of(stage: &str) -> &'static str {
    match stage {
        "ppo" | "ppo_ptx" => "iteration",
        "sft_selection" => "epoch",
        _ => "update",
    }
}

/// A stage's or a model's name as a heading.
pub fn title(name: &str) -> String {
    let known = [
        ("pretrain", "Pretraining"),
        ("pretrained", "Pretrained"),
        ("sft", "SFT"),
        ("collect", "Comparisons"),
        ("sft_selection", "Choice of the SFT epoch"),
        ("reward_model", "Reward model"),
        ("rlhf_init", "RLHF init"),
        ("ppo", "PPO"),
        ("ppo_ptx", "PPO-ptx"),
        ("policy", "Policy"),
        ("benchmarks", "Public benchmarks"),
        ("evaluation", "Evaluation"),
    ];
    known.iter().find(|k| k.0 == name).map_or(name, |k| k.1).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_measure_is_in_two_charts() {
        let mut names: Vec<&str> = CHARTS.iter().flat_map(|c| [c.trained, c.held_out]).collect();
        names.retain(|name| !name.is_empty());
        let count = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), count);
    }

    #[test]
    fn measures_have_names_and_units() {
        assert_eq!(named("gradient_norm"), ("Gradient norm".into(), "before clipping"));
        assert_eq!(named("validation_reward").0, "Reward, held out");
        assert_eq!(named("my_own"), ("my own".into(), ""));
        assert!(chart_of("").is_none());
    }
}
