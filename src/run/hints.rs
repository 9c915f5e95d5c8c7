//! Where training plainly fails, and what to do: sentences among the notes that a stage leaves at its end.
//! They change nothing that is trained.

/// Where a measure should go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wanted {
    /// Down, like a loss.
    Less,
    /// Up, like a reward.
    More,
}

/// Fewest values that say anything about a measure.
const VALUES: usize = 20;

/// A measure that has not moved the right way: the mean of its last tenth is no better than that of its first by two
/// standard errors of their difference. `None` of fewer than 20 values.
pub fn unmoved(measure: &str, values: &[f64], wanted: Wanted) -> Option<String> {
    if values.len() < VALUES {
        return None;
    }
    let tenth = (values.len() / 10).max(VALUES / 4);
    let (first, squares_first) = mean_and_squares(&values[..tenth]);
    let (last, squares_last) = mean_and_squares(&values[values.len() - tenth..]);
    let error = ((squares_first + squares_last) / (tenth * (tenth - 1)) as f64).sqrt();
    let (better, verb) = match wanted {
        Wanted::Less => (first - last, "fallen"),
        Wanted::More => (last - first, "risen"),
    };
    if better > 2.0 * error {
        return None;
    }
    Some(format!(
        "the {measure} has not {verb}: {first:.4} in the first tenth, {last:.4} in the last; more updates, another \
         learning rate or other data may help"
    ))
}

/// The mean, and the sum of squared distances from it.
fn mean_and_squares(values: &[f64]) -> (f64, f64) {
    let mean = values.iter().sum::<f64>() / values.len() as f64;
    (mean, values.iter().map(|value| (value - mean) * (value - mean)).sum())
}

/// A learning rate and the width of the model it was chosen for.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Known {
    rate: f64,
    width: f64,
}

/// GPT-3 XL, pretraining (Brown et al. 2020, table 2.1).
pub const PRETRAINING: Known = Known { rate: 2e-4, width: 2048.0 };
/// The paper's 1.3B SFT model (C.1).
pub const SFT: Known = Known { rate: 9.65e-6, width: 2048.0 };
/// The paper's 6B reward model (C.2).
pub const REWARD_MODEL: Known = Known { rate: 9e-6, width: 4096.0 };
/// The paper's 1.3B RLHF init (C.3).
pub const RLHF_INIT: Known = Known { rate: 5e-6, width: 2048.0 };
/// The paper's 1.3B PPO-ptx policy (figure 38).
pub const POLICY: Known = Known { rate: 1.18e-5, width: 2048.0 };

/// A learning rate far below what a model of that width needs. The best rate of Adam goes about as 1 / width (Yang et
/// al. 2022, "Tensor Programs V"; GPT-3's own rates agree: 6e-4 at 768, 2e-4 at 2048), so a small model needs a larger
/// one than the paper's. Far below: a tenth of that.
pub fn slow(key: &str, rate: f32, width: usize, known: Known) -> Option<String> {
    let usual = known.rate * known.width / width as f64;
    if rate == 0.0 || f64::from(rate) >= usual / 10.0 {
        return None;
    }
    Some(format!(
        "{key} = {rate:e} is far below what a model of width {width} needs: the paper's {:e} at width {} goes as 1 / \
         width, so about {usual:.0e}",
        known.rate, known.width
    ))
}

/// An average of weights that still holds more than a twentieth of its start, where its share is decay^updates.
pub fn holds_start(ema: f32, updates: u64) -> Option<String> {
    const MOST: f64 = 0.05;
    let share =
        (0..updates).try_fold(1.0, |share: f64, _| (share > MOST).then_some(share * f64::from(ema)))?;
    if share <= MOST || updates == 0 {
        return None;
    }
    // The decay that would leave a share of 1 %, about that of ln(100) / updates.
    let lower = 1.0 - 4.6 / updates as f64;
    Some(format!(
        "warning: the averaged policy still holds {:.0} % of its start: ppo.ema = {ema} needs more than {updates} updates; {} \
         suits so few",
        100.0 * share,
        if lower > 0.0 { format!("{lower:.3} or less") } else { "0 (no average)".into() }
    ))
}

/// Of pairs of a demonstration's score and that of something worse, the share in which the demonstration wins; a tie is
/// half.
pub fn share_above(pairs: &[(f32, f32)]) -> Option<f64> {
    let won = |&(demonstration, worse): &(f32, f32)| match demonstration.partial_cmp(&worse) {
        Some(core::cmp::Ordering::Greater) => 1.0,
        Some(core::cmp::Ordering::Less) => 0.0,
        _ => 0.5,
    };
    (!pairs.is_empty()).then(|| pairs.iter().map(won).sum::<f64>() / pairs.len() as f64)
}

/// Fewest pairs that say anything of a reward model.
const PAIRS: usize = 8;

/// A reward model that likes gibberish: each pair is of a demonstration's score and that of the same with its response's
/// tokens in random order.
pub fn likes_gibberish(scores: &[(f32, f32)]) -> Option<String> {
    let pairs = scores.len();
    let share = share_above(scores).filter(|&share| share < 0.5 && pairs >= PAIRS)?;
    Some(format!(
        "warning: the reward model ranks demonstrations above their own words in random order only {:.0} % of the time ({pairs} \
         looked at): PPO would learn to write gibberish; more comparisons, epochs or a larger model may help",
        100.0 * share
    ))
}

/// A reward model that likes what a pretrained model says, which has not learned to answer: each pair is of a
/// demonstration's score and that of such an answer to the same prompt. It does if the answers are better on average, or
/// more often than not.
pub fn likes_pretrained(scores: &[(f32, f32)]) -> Option<String> {
    let pairs = scores.len();
    let share = share_above(scores).filter(|_| pairs >= PAIRS)?;
    let mean = |score: fn(&(f32, f32)) -> f32| {
        scores.iter().map(|pair| f64::from(score(pair))).sum::<f64>() / pairs as f64
    };
    let (demonstrations, answers) = (mean(|pair| pair.0), mean(|pair| pair.1));
    (answers > demonstrations || share < 0.5).then(|| {
        format!(
            "warning: the reward model scores what the pretrained model says {answers:.2} on average, demonstrations \
             {demonstrations:.2}, and ranks it above the demonstration for {:.0} % of the prompts ({pairs} looked at): \
             PPO may learn to write like it; comparisons with such answers among the responses would teach otherwise",
            100.0 * (1.0 - share)
        )
    })
}

/// All hints among some.
pub fn some(hints: impl IntoIterator<Item = Option<String>>) -> Vec<String> {
    hints.into_iter().flatten().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_measure_moves_or_does_not() {
        // Noise of +-0.5 around a level.
        let noisy = |level: fn(usize) -> f64| -> Vec<f64> {
            (0..100).map(|i| level(i) + if i % 2 == 0 { 0.5 } else { -0.5 }).collect()
        };
        let flat = noisy(|_| 3.0);
        let said = unmoved("loss", &flat, Wanted::Less).unwrap();
        assert!(
            said.starts_with("the loss has not fallen: 3.0000 in the first tenth, 3.0000 in the last"),
            "{said}"
        );
        let falling = noisy(|i| 3.0 - i as f64 / 100.0);
        assert_eq!(unmoved("loss", &falling, Wanted::Less), None);
        assert!(unmoved("reward", &falling, Wanted::More).unwrap().contains("not risen"));
        // A fall that the noise could have made: a standard error of the difference is 0.236.
        let slightly = noisy(|i| if i < 50 { 3.0 } else { 2.6 });
        assert!(unmoved("loss", &slightly, Wanted::Less).is_some());
        let more = noisy(|i| if i < 50 { 3.0 } else { 2.5 });
        assert_eq!(unmoved("loss", &more, Wanted::Less), None);
        assert_eq!(unmoved("loss", &flat[..19], Wanted::Less), None, "too few to say");
        // Without noise the least fall is one.
        assert_eq!(unmoved("loss", &[vec![1.0; 10], vec![0.999; 10]].concat(), Wanted::Less), None);
        assert!(unmoved("loss", &[1.0; 20], Wanted::Less).is_some());
    }

    #[test]
    fn the_papers_rate_is_slow_for_a_tiny_model_only() {
        assert_eq!(slow("sft.learning_rate", 9.65e-6, 2048, SFT), None);
        assert_eq!(slow("sft.learning_rate", 9.65e-6, 768, SFT), None);
        let said = slow("sft.learning_rate", 9.65e-6, 96, SFT).unwrap();
        // 9.65e-6 * 2048 / 96 = 2.06e-4.
        assert!(
            said.starts_with("sft.learning_rate = 9.65e-6 is far below") && said.ends_with("about 2e-4"),
            "{said}"
        );
        assert_eq!(slow("sft.learning_rate", 2.1e-5, 96, SFT), None);
        assert!(slow("sft.learning_rate", 2.0e-5, 96, SFT).is_some());
        assert_eq!(slow("sft.learning_rate", 0.0, 96, SFT), None, "that is meant");
    }

    #[test]
    fn an_average_holds_its_start_after_few_updates() {
        assert_eq!(holds_start(0.992, 4000), None);
        // 0.992^120 = 0.381; 0.992^372 = 0.0504, 0.992^373 = 0.04999.
        let said = holds_start(0.992, 120).unwrap();
        assert!(said.contains("still holds 38 % of its start") && said.contains("0.962 or less"), "{said}");
        assert!(holds_start(0.992, 372).is_some());
        assert_eq!(holds_start(0.992, 373), None);
        assert!(holds_start(0.9, 2).unwrap().contains("0 (no average)"));
        assert_eq!(holds_start(0.0, 1), None);
        assert_eq!(holds_start(0.992, 0), None);
    }

    #[test]
    fn gibberish_above_demonstrations_is_said() {
        assert_eq!(share_above(&[]), None);
        assert_eq!(share_above(&[(1.0, 0.0), (0.0, 1.0), (1.0, 1.0), (2.0, -1.0)]), Some(0.625));
        let (right, wrong) = ((1.0, 0.0), (0.0, 1.0));
        assert_eq!(likes_gibberish(&[[right; 4], [wrong; 4]].concat()), None);
        let said = likes_gibberish(&[[right; 2], [wrong; 2], [wrong; 2], [wrong; 2]].concat()).unwrap();
        assert!(
            said.starts_with("warning: ") && said.contains("only 25 % of the time (8 looked at)"),
            "{said}"
        );
        assert_eq!(likes_gibberish(&[wrong; 7]), None, "too few to say");
        assert_eq!(likes_gibberish(&[]), None);
    }

    #[test]
    fn a_pretrained_model_above_demonstrations_is_said() {
        let (right, wrong) = ((0.5, -0.5), (0.0, 0.5));
        assert_eq!(likes_pretrained(&[[right; 4], [wrong; 4]].concat()), None);
        // More often above, though lower on average.
        let said = likes_pretrained(&[&[right; 3][..], &[wrong; 5]].concat()).unwrap();
        // (3 (-0.5) + 5 (0.5)) / 8 = 0.125; 1.5 / 8 = 0.1875.
        assert!(said.starts_with("warning: ") && said.contains("says 0.12 on average"), "{said}");
        assert!(
            said.contains("demonstrations 0.19, and ranks it above the demonstration for 62 %"),
            "{said}"
        );
        // Higher on average, though seldom above.
        assert!(likes_pretrained(&[&[right; 7][..], &[(0.0, 9.0)]].concat()).unwrap().contains("for 12 %"));
        assert_eq!(likes_pretrained(&[wrong; 7]), None, "too few to say");
    }
}
