//! `ppo_functions.safetensors`: rewards, advantages, whitening, the two losses, the KL coefficient, the average.

use instructgpt::engine::plain::adamw::blend;
use instructgpt::loss::{
    AdaptiveKl, PolicySums, ValueSums, Whitening, gae, kl_shaped_rewards, policy_loss, value_loss, whiten,
};
use instructgpt::optim::AdamW;

use crate::common::fixture::Fixture;

/// All that check numbers.
pub const TESTS: [fn(); 7] =
    [kl_rewards, advantages_and_returns, whitening, policy_losses, value_losses, adaptive_kl, moving_average];

/// The episodes of the file's arrays.
fn episodes(fixture: &Fixture) -> Vec<std::ops::Range<usize>> {
    fixture.indices("offsets").windows(2).map(|pair| pair[0]..pair[1]).collect()
}

#[test]
fn kl_rewards() {
    let fixture = Fixture::load("ppo_functions");
    let f = |name: &str| fixture.values(&format!("kl_rewards.{name}"));
    let (log_probs, reference, scores) = (f("log_probs"), f("reference_log_probs"), f("scores"));
    let kl_coef = fixture.scalar("kl_rewards.kl_coefficient");
    let mut rewards = vec![f32::NAN; log_probs.len()];
    for (episode, score) in episodes(&fixture).into_iter().zip(scores) {
        let (old, reference) = (&log_probs[episode.clone()], &reference[episode.clone()]);
        kl_shaped_rewards(&mut rewards[episode], old, reference, kl_coef, score);
    }
    fixture.check("kl_rewards.rewards", &rewards);
    fixture.assert_all_read(|name| name.starts_with("kl_rewards."));
}

#[test]
fn advantages_and_returns() {
    let fixture = Fixture::load("ppo_functions");
    let (rewards, values) = (fixture.values("gae.rewards"), fixture.values("gae.values"));
    for setting in ["default", "discounted", "monte_carlo", "td"] {
        let name = |name: &str| format!("gae.{setting}.{name}");
        let (gamma, lambda) = (fixture.scalar(&name("gamma")), fixture.scalar(&name("lambda")));
        let [mut advantages, mut returns] = [vec![f32::NAN; rewards.len()], vec![f32::NAN; rewards.len()]];
        for e in episodes(&fixture) {
            let (advantages, returns) = (&mut advantages[e.clone()], &mut returns[e.clone()]);
            gae(advantages, returns, &rewards[e.clone()], &values[e], gamma, lambda);
        }
        fixture.check(&name("advantages"), &advantages);
        fixture.check(&name("returns"), &returns);
    }
    fixture.assert_all_read(|name| name.starts_with("gae."));
}

#[test]
fn whitening() {
    let fixture = Fixture::load("ppo_functions");
    for name in ["published", "one", "two", "many"] {
        for (unbiased, variance) in [(false, "population"), (true, "unbiased")] {
            for (shift_mean, mean) in [(true, "shifted"), (false, "mean_kept")] {
                let mut x = fixture.values(&format!("whiten.{name}.x"));
                whiten(&mut x, Whitening { shift_mean, unbiased });
                fixture.check(&format!("whiten.{name}.{variance}.{mean}"), &x);
            }
        }
    }
    fixture.assert_all_read(|name| name.starts_with("whiten."));
}

#[test]
fn policy_losses() {
    let fixture = Fixture::load("ppo_functions");
    let f = |name: &str| fixture.values(&format!("policy_loss.{name}"));
    let (new, old, advantages, clip) = (f("log_probs"), f("old_log_probs"), f("advantages"), f("clip")[0]);
    let n = new.len();
    let (mut dlog_probs, mut sums) = (vec![f32::NAN; n], PolicySums::default());
    policy_loss(&mut dlog_probs, &new, &old, &advantages, clip, 1.0 / n as f32, &mut sums);
    fixture.check("policy_loss.loss", &[(sums.loss / n as f64) as f32]);
    fixture.check("policy_loss.dlog_probs", &dlog_probs);
    fixture.check("policy_loss.clip_fraction", &[sums.clipped as f32 / n as f32]);
    // That is where the gradient is cut off.
    let flat = fixture.values("policy_loss.dlog_probs").iter().filter(|&&d| d == 0.0).count();
    assert!(flat > 0);
    assert_eq!(sums.clipped as usize, flat);
    fixture.assert_all_read(|name| name.starts_with("policy_loss."));
}

#[test]
fn value_losses() {
    let fixture = Fixture::load("ppo_functions");
    let f = |name: &str| fixture.values(&format!("value_loss.{name}"));
    let (values, old, returns, clip) = (f("values"), f("old_values"), f("returns"), f("clip")[0]);
    let n = values.len();
    let (mut dvalues, mut sums) = (vec![f32::NAN; n], ValueSums::default());
    value_loss(&mut dvalues, &values, &old, &returns, clip, 1.0, 1.0 / n as f32, &mut sums);
    fixture.check("value_loss.loss", &[(sums.loss / n as f64) as f32]);
    fixture.check("value_loss.dvalues", &dvalues);
    fixture.assert_all_read(|name| name.starts_with("value_loss."));
}

#[test]
fn adaptive_kl() {
    let fixture = Fixture::load("ppo_functions");
    let s = |name: &str| fixture.scalar(&format!("adaptive_kl.{name}"));
    let control = AdaptiveKl { target: s("target"), horizon: s("horizon") };
    let episodes = fixture.indices("adaptive_kl.episodes")[0];
    let mut kl_coef = s("initial");
    let coefficients: Vec<f32> = fixture
        .values("adaptive_kl.kl")
        .iter()
        .map(|&kl| {
            kl_coef = control.next(kl_coef, f64::from(kl), episodes);
            kl_coef
        })
        .collect();
    fixture.check("adaptive_kl.coefficients", &coefficients);
    fixture.assert_all_read(|name| name.starts_with("adaptive_kl."));
}

#[test]
fn moving_average() {
    let fixture = Fixture::load("ppo_functions");
    let constants = AdamW::default().constants(0.0, 1, 1.0, false, fixture.scalar("ema.decay"));
    let pairs = fixture.values("ema.average").into_iter().zip(fixture.values("ema.weights"));
    let average: Vec<f32> = pairs.map(|(e, p)| blend(e, p, constants.average_rest)).collect();
    fixture.check("ema.after", &average);
    fixture.assert_all_read(|name| name.starts_with("ema."));
}

#[test]
fn every_function_of_the_file_has_a_test() {
    let tested =
        ["offsets", "kl_rewards.", "gae.", "whiten.", "policy_loss.", "value_loss.", "adaptive_kl.", "ema."];
    for name in Fixture::load("ppo_functions").names() {
        assert!(tested.iter().any(|function| name.starts_with(function)), "{name} is not tested");
    }
}
