//! `ppo_iteration.safetensors`: one whole PPO-ptx iteration on given responses, through the functions that
//! training calls, in the order in which it calls them.

use instructgpt::engine::Cpu;
use instructgpt::loss::advantage::{Whitening, whiten};
use instructgpt::model::{Head, Sequence};
use instructgpt::optim::adamw::AdamStyle;
use instructgpt::optim::learner::Learner;
use instructgpt::settings::PpoSettings;
use instructgpt::train::episodes::{Episodes, estimate};
use instructgpt::train::ppo::{policy_gradient, value_gradient};
use instructgpt::train::ppo_metrics::Sums;
use instructgpt::train::rollouts::Rollouts;

use crate::common::fixture::Fixture;
use crate::{check_each, check_each_updated, cut, model, optimizer};

/// All that check numbers.
pub const TESTS: [fn(); 1] = [one_iteration];

#[test]
fn one_iteration() {
    let fixture = Fixture::load("ppo_iteration");
    let setting = |name: &str| fixture.scalar(&format!("settings.{name}"));
    let settings = PpoSettings {
        temperature: setting("temperature"),
        kl_coef: setting("kl_coefficient"),
        ptx_coef: setting("ptx_coefficient"),
        gamma: setting("gamma"),
        lambda: setting("lambda"),
        clip: setting("clip"),
        value_clip: setting("value_clip"),
        value_coef: 1.0,
        ..PpoSettings::default()
    };
    let adam = ["beta1", "beta2", "epsilon", "weight_decay"].map(setting);
    let network = |name: &str, config: &str, head| model(&fixture, &fixture.config()[config], head, name);
    let learner = |network, average| Learner::new(network, optimizer(adam, AdamStyle::PyTorch), 0, average);
    let mut policy = learner(network("policy.", "policy", Head::LanguageModel), true);
    let mut reference = network("reference.", "policy", Head::LanguageModel);
    let mut reward_model = network("reward_model.", "reward_model", Head::Scalar);
    let mut value = learner(network("value.", "reward_model", Head::Scalar), false);

    // The rollout: responses are given; their log-probs are the policy's at the sampling temperature.
    let tokens = fixture.tokens("tokens");
    let mut rollouts = Rollouts::default();
    for (tokens, prompt) in
        cut(&tokens, &fixture.indices("offsets")).into_iter().zip(fixture.indices("prompt_lengths"))
    {
        rollouts.push(&tokens[..prompt], &tokens[prompt..]);
    }
    let old_log_probs = policy.network.log_probs(&rollouts.sequences(), settings.temperature);
    fixture.check("rollout.log_probs", &old_log_probs);
    let scores = reward_model.scores(rollouts.iter());
    fixture.check("rollout.scores", &scores);
    let mut episodes = Episodes::new(rollouts, old_log_probs, scores, &settings);
    assert_eq!(episodes.response_offsets, fixture.indices("response_offsets"));

    // What it is worth.
    estimate(&mut episodes, &mut reference, &mut value.network, &settings, settings.kl_coef);
    fixture.check("rollout.reference_log_probs", &episodes.reference_log_probs);
    fixture.check("rollout.values", &episodes.values);
    fixture.check("rollout.rewards", &episodes.rewards);
    fixture.check("rollout.advantages", &episodes.advantages);
    fixture.check("rollout.returns", &episodes.returns);

    let mut batch = Episodes::default();
    for k in 0..2 {
        let name = |name: &str| format!("minibatch.{k}.{name}");
        let chosen = fixture.indices(&name("episodes"));
        batch.gather(&episodes, &chosen);
        whiten(&mut batch.advantages, Whitening::ADVANTAGES);
        fixture.check(&name("advantages"), &batch.advantages);

        // The current networks.
        let new = policy.network.log_probs(&batch.rollouts.sequences(), settings.temperature);
        fixture.check(&name("log_probs"), &new);
        fixture.check(&name("values"), &value.network.values(&batch.value_sequences()));

        // Policy: PPO and ptx into the same gradient, one step, the average after it.
        let text = fixture.tokens(&name("ptx.tokens"));
        let windows: Vec<Sequence> =
            cut(&text, &fixture.indices(&name("ptx.offsets"))).into_iter().map(Sequence::text).collect();
        let accumulate = |policy: &mut Learner| {
            let mut sums = Sums::default();
            policy_gradient(policy, &batch, &windows, &settings, &mut sums);
            sums
        };
        let mut sums = accumulate(&mut policy);
        fixture.check(&name("policy_loss"), &[(sums.policy.loss / sums.policy.tokens as f64) as f32]);
        fixture.check(&name("clip_fraction"), &[sums.policy.clipped as f32 / sums.policy.tokens as f32]);
        fixture.check(&name("ptx.loss"), &[(sums.ptx / sums.ptx_tokens as f64) as f32]);
        if k == 0 {
            assert_eq!(new, batch.old_log_probs);
            assert_eq!((sums.policy.ratio_max, sums.policy.clipped), (1.0, 0));
            // To be seen, a gradient must be finished, and then made anew for the update, which finishes it.
            policy.gradients.finish(Cpu, &policy.network.layout);
            let gradient = policy.gradient().into_owned();
            check_each(&fixture, "minibatch.0.policy_grad.", &policy.network.layout, &gradient);
            policy.gradients.clear(Cpu);
            accumulate(&mut policy);
        }
        policy.update(setting("learning_rate"), setting("ema_decay")).unwrap();

        // Value function: its own gradient, its own step.
        value_gradient(&mut value, &batch, &settings, &mut sums);
        fixture.check(&name("value_loss"), &[(sums.value.loss / sums.value.tokens as f64) as f32]);
        if k == 0 {
            check_each(&fixture, "minibatch.0.value_grad.", &value.network.layout, &value.gradient());
        }
        value.update(setting("value_learning_rate"), 0.0).unwrap();
    }
    let (layout, rate) = (&policy.network.layout, setting("learning_rate"));
    let average = policy.averaged();
    check_each_updated(&fixture, "policy_after.", layout, &policy.network.parameters(), rate);
    let of_average = rate * (1.0 - setting("ema_decay"));
    check_each_updated(&fixture, "ema_after.", layout, &average.parameters(), of_average);
    let (layout, rate) = (&value.network.layout, setting("value_learning_rate"));
    check_each_updated(&fixture, "value_after.", layout, &value.network.parameters(), rate);
    fixture.assert_all_read(|_| true);
}
