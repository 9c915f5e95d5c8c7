//! `adamw.safetensors`: ten optimizer steps, of a whole model and of given gradients, in three settings.

use instructgpt::engine::{AdamState, Cpu, Norm};
use instructgpt::loss::CrossEntropy;
use instructgpt::model::layout::{Initialiser, Parameter};
use instructgpt::model::{Head, Layout, Sequence, singly};
use instructgpt::optim::{AdamStyle, Learner};

use crate::common::fixture::Fixture;
use crate::{check_each, check_each_updated, cut, model, optimizer};

const RUNS: [(&str, AdamStyle); 3] =
    [("plain", AdamStyle::PyTorch), ("decay", AdamStyle::PyTorch), ("tf", AdamStyle::TensorFlow)];

/// All that check numbers.
pub const TESTS: [fn(); 1] = [a_model_in_three_settings];

#[test]
fn a_model_in_three_settings() {
    let fixture = Fixture::load("adamw");
    let tokens = fixture.tokens("tokens");
    let sequences: Vec<Sequence> =
        cut(&tokens, &fixture.indices("offsets")).into_iter().map(Sequence::text).collect();
    for (run, style) in RUNS {
        let start = model(&fixture, fixture.config(), Head::LanguageModel, "");
        let settings = fixture.values(&format!("{run}.settings")).try_into().unwrap();
        let mut learner = Learner::new(start, optimizer(settings, style), tokens.len(), false);
        let mut losses = vec![];
        let rates = fixture.values("learning_rates");
        for &rate in &rates {
            let mut loss = CrossEntropy::of(&sequences, 1.0);
            learner.accumulate(&sequences, &singly(sequences.len()), 1.0, None, &mut loss);
            losses.push(loss.mean() as f32);
            learner.update(rate, 0.0).unwrap();
        }
        fixture.check(&format!("{run}.losses"), &losses);
        check_each_updated(
            &fixture,
            &format!("{run}.after."),
            &learner.network.layout,
            &learner.network.parameters(),
            rates[0],
        );
    }
    vector(&fixture);
    fixture.assert_all_read(|_| true);
}

/// A matrix and a bias with given gradients: weights and both moments.
fn vector(fixture: &Fixture) {
    let names = ["weights", "bias"];
    let mut layout = Layout {
        parameters: vec![],
        len: 0,
        wte: 0..0,
        wpe: 0..0,
        blocks: vec![],
        ln_f: Norm { weight: 0..0, bias: 0..0 },
        head: 0..0,
    };
    let mut start = vec![];
    for name in names {
        let (shape, values) = fixture.f32(&format!("vector.{name}"));
        let decay = shape.len() == 2;
        let row =
            Parameter { name: name.into(), shape, offset: layout.len, initialiser: Initialiser::Zero, decay };
        layout.parameters.push(row);
        layout.len += values.len();
        start.extend(values);
    }
    let gradients = names.map(|name| fixture.values(&format!("vector.gradients.{name}")));
    for (run, style) in RUNS {
        let settings = fixture.values(&format!("{run}.settings")).try_into().unwrap();
        let adam = optimizer(settings, style).adam;
        let (mut weights, mut m, mut v) = (start.clone(), vec![0.0; layout.len], vec![0.0; layout.len]);
        for (step, rate) in fixture.values("learning_rates").into_iter().enumerate() {
            let of_step = |all: &Vec<f32>| all.chunks(all.len() / 10).nth(step).unwrap().to_vec();
            let gradients = gradients.each_ref().map(of_step).concat();
            let state = AdamState {
                parameters: &mut weights,
                first_moment: &mut m,
                second_moment: &mut v,
                average: None,
            };
            adam.step(Cpu, state, &gradients, &layout, rate, step as u64 + 1, 1.0, 1.0);
        }
        check_each(fixture, &format!("{run}.vector.after."), &layout, &weights);
        check_each(fixture, &format!("{run}.vector.m."), &layout, &m);
        check_each(fixture, &format!("{run}.vector.v."), &layout, &v);
    }
}
