//! `ppo_iteration.safetensors`: one whole PPO-ptx iteration on given responses, through the functions that
//! training calls, in the order in which it calls them.

use instructgpt::model::Head;
use instructgpt::optim::adamw::AdamStyle;
use instructgpt::settings::PpoSettings;
use instructgpt::train::learner::Learner;
use instructgpt::train::passes::Sequence;
use instructgpt::train::ppo::{Episode, Sums, estimate, minibatch_of, policy_gradient, value_gradient};
use instructgpt::train::rollout::Frozen;

use crate::common::fixture::Fixture;
use crate::ppo_functions::share_outside;
use crate::{check_each, check_each_updated, cut, model, optimizer};

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
    let mut reference = Frozen::new(network("reference.", "policy", Head::LanguageModel), 0);
    let mut reward_model = Frozen::new(network("reward_model.", "reward_model", Head::Scalar), 0);
    let mut value = learner(network("value.", "reward_model", Head::Scalar), false);

    // The rollout: responses are given; their log-probs are the policy's at the sampling temperature.
    let tokens = fixture.tokens("tokens");
    let (whole, prompts) = (cut(&tokens, &fixture.indices("offsets")), fixture.indices("prompt_lengths"));
    let response_offsets = fixture.indices("response_offsets");
    let sequences: Vec<Sequence> =
        whole.iter().zip(&prompts).map(|(tokens, &from)| Sequence { tokens, from }).collect();
    let old_log_probs = log_probs(&mut policy, &sequences, settings.temperature);
    fixture.check("rollout.log_probs", &old_log_probs);
    let scores = reward_model.scores(whole.iter().copied());
    fixture.check("rollout.scores", &scores);
    let mut episodes: Vec<Episode> = sequences
        .iter()
        .zip(cut(&old_log_probs, &response_offsets))
        .zip(&scores)
        .map(|((sequence, old), &score)| {
            let (prompt, response) = sequence.tokens.split_at(sequence.from);
            Episode::new(prompt, response, old.to_vec(), score)
        })
        .collect();

    // What it is worth.
    estimate(&mut episodes, &mut reference, &mut value, &settings, settings.kl_coef);
    fixture.check("rollout.reference_log_probs", &all(&episodes, |e| &e.reference_log_probs));
    fixture.check("rollout.values", &all(&episodes, |e| &e.values));
    fixture.check("rollout.rewards", &all(&episodes, |e| &e.rewards));
    fixture.check("rollout.advantages", &all(&episodes, |e| &e.advantages));
    fixture.check("rollout.returns", &all(&episodes, |e| &e.returns));

    for k in 0..2 {
        let name = |name: &str| format!("minibatch.{k}.{name}");
        let chosen = fixture.indices(&name("episodes"));
        let batch = minibatch_of(&episodes, &chosen, &settings);
        fixture.check(&name("advantages"), &all(&batch, |e| &e.advantages));

        // The current networks.
        let chosen: Vec<Sequence> = chosen.iter().map(|&e| sequences[e]).collect();
        let (new, old) =
            (log_probs(&mut policy, &chosen, settings.temperature), all(&batch, |e| &e.old_log_probs));
        fixture.check(&name("log_probs"), &new);
        fixture.check(&name("clip_fraction"), &[share_outside(&new, &old, settings.clip)]);
        let mut values = vec![];
        let positions = |s: &Sequence| s.from - 1..s.tokens.len() - 1;
        value.pass.values(&value.model, &value.parameters, &chosen, positions, |_, v| values.push(v));
        fixture.check(&name("values"), &values);

        // Policy: PPO and ptx into the same gradient, one step, the average after it.
        let text = fixture.tokens(&name("ptx.tokens"));
        let windows: Vec<Sequence> = cut(&text, &fixture.indices(&name("ptx.offsets")))
            .into_iter()
            .map(|tokens| Sequence { tokens, from: 1 })
            .collect();
        let accumulate = |policy: &mut Learner| {
            let mut sums = Sums::default();
            policy_gradient(policy, &batch, &settings, &mut sums);
            sums.ptx_tokens = policy.cross_entropy_gradient(&windows, settings.ptx_coef, None, &mut sums.ptx);
            sums
        };
        let mut sums = accumulate(&mut policy);
        fixture.check(&name("policy_loss"), &[(sums.policy.loss / sums.policy.tokens as f64) as f32]);
        fixture.check(&name("ptx.loss"), &[(sums.ptx / sums.ptx_tokens as f64) as f32]);
        if k == 0 {
            assert_eq!(new, old);
            assert_eq!((sums.policy.ratio_max, sums.policy.clipped), (1.0, 0));
            // To be seen, a gradient must be finished, and then made anew for the update, which finishes it.
            policy.gradients.finish(&policy.model.layout);
            check_each(&fixture, "minibatch.0.policy_grad.", &policy.model.layout, &policy.gradients.flat);
            policy.gradients.clear();
            accumulate(&mut policy);
        }
        policy.update("ppo", setting("learning_rate"), setting("ema_decay")).unwrap();

        // Value function: its own gradient, its own step.
        value_gradient(&mut value, &batch, &settings, &mut sums);
        fixture.check(&name("value_loss"), &[(sums.value.loss / sums.value.tokens as f64) as f32]);
        if k == 0 {
            check_each(&fixture, "minibatch.0.value_grad.", &value.model.layout, &value.gradients.flat);
        }
        value.update("ppo", setting("value_learning_rate"), 0.0).unwrap();
    }
    let (layout, rate, average) =
        (&policy.model.layout, setting("learning_rate"), policy.average.as_ref().unwrap());
    check_each_updated(&fixture, "policy_after.", layout, &policy.parameters, rate);
    check_each_updated(&fixture, "ema_after.", layout, average, rate * (1.0 - setting("ema_decay")));
    let rate = setting("value_learning_rate");
    check_each_updated(&fixture, "value_after.", &value.model.layout, &value.parameters, rate);
    fixture.assert_all_read(|_| true);
}

/// Log-probs of all response tokens under the current policy.
fn log_probs(policy: &mut Learner, sequences: &[Sequence], temperature: f32) -> Vec<f32> {
    let mut log_probs = vec![];
    let Learner { model, parameters, pass, .. } = policy;
    pass.log_probs(model, parameters, sequences, temperature, |_, log_prob, _| log_probs.push(log_prob));
    log_probs
}

/// One field of all episodes, packed.
fn all(episodes: &[Episode], field: impl Fn(&Episode) -> &Vec<f32>) -> Vec<f32> {
    episodes.iter().flat_map(field).copied().collect()
}
