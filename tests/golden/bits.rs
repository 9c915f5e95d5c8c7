//! `bits.safetensors`: the outputs of the cases as our arithmetic gives them, to the bit. Every check of this program holds
//! its tensor to them; here is which there are, and how they are made anew:
//!
//! ```text
//! cargo test --test golden -- --ignored bits
//! ```

use std::collections::{BTreeMap, BTreeSet};

use safetensors::tensor::{Dtype, TensorView};
use serde_json::Value;

use crate::common::fixture::{BITS, directory, json, recorded};
use crate::{adamw, ops, ppo_functions, ppo_iteration, reward, sft, transformer};

/// The outputs of `cases.json` that have bits, as `FILE:TENSOR`. Others have none: functions on padded batches, which we
/// have not (`episodes.safetensors`), and ten steps of AdamW on a model, of which the function's cases hold each part.
fn wanted() -> BTreeSet<String> {
    let cases = json("cases.json");
    let has_bits = |case: &&Value| case["function"] != "adam_of_a_model";
    let outputs = cases["cases"].as_array().unwrap().iter().filter(has_bits);
    let outputs = outputs.flat_map(|case| case["outputs"].as_object().unwrap().values());
    let name = |output: &Value| {
        let file = output["file"].as_str().filter(|file| *file != "episodes.safetensors")?;
        (output["dtype"] == "F32").then(|| format!("{file}:{}", output["tensor"].as_str().unwrap()))
    };
    outputs.filter_map(name).collect()
}

#[test]
fn all_outputs_of_our_functions_have_bits() {
    assert_eq!(BITS.keys().cloned().collect::<BTreeSet<_>>(), wanted());
}

#[test]
#[ignore = "writes fixtures/bits.safetensors, for a change of a definition that is meant"]
fn bits_anew() {
    let tests = [&ops::TESTS[..], &transformer::TESTS, &ppo_functions::TESTS, &ppo_iteration::TESTS]
        .into_iter()
        .chain([&adamw::TESTS[..], &sft::TESTS, &reward::TESTS]);
    let mut all = recorded(&tests.flatten().copied().collect::<Vec<_>>());
    let bytes = |name: String| {
        let (shape, values) = all.remove(&name).unwrap_or_else(|| panic!("{name} is checked nowhere"));
        (name, (shape, values.iter().flat_map(|x| x.to_le_bytes()).collect::<Vec<u8>>()))
    };
    let kept: BTreeMap<String, (Vec<usize>, Vec<u8>)> = wanted().into_iter().map(bytes).collect();
    let views = kept.iter().map(|(name, (shape, bytes))| {
        (name.as_str(), TensorView::new(Dtype::F32, shape.clone(), bytes).unwrap())
    });
    std::fs::write(directory().join("bits.safetensors"), safetensors::serialize(views, None).unwrap())
        .unwrap();
}
