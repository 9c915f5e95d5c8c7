//! The vectors themselves: what is right, what is whose bug, and the schema that they follow.

use std::sync::LazyLock;

use instructgpt::fixtures::{FILES, Values, Vectors};
use proptest::prelude::*;
use serde_json::Value;

use crate::outputs;
use crate::schema::fault;

#[test]
fn right_outputs_are_exact() {
    let vectors = Vectors::embedded();
    for case in &vectors.cases {
        let judgement = vectors.judge(case, &outputs(&vectors, case, None));
        assert_eq!(judgement.to_string(), "exact", "{}", case.id);
        assert!(judgement.bug.is_none());
    }
}

#[test]
fn every_bug_is_recognised_as_itself_and_no_other() {
    let vectors = Vectors::embedded();
    let mut seen = 0;
    for case in &vectors.cases {
        for bug in &case.bugs {
            let judgement = vectors.judge(case, &outputs(&vectors, case, Some(bug)));
            assert!(!judgement.passes(), "{}: {bug} passes", case.id);
            assert_eq!(judgement.bug.map(|(name, _)| name), Some(bug.as_str()), "{}", case.id);
            // It must not depend on the order in which bugs are tried.
            for other in case.bugs.iter().filter(|other| *other != bug) {
                let (mine, theirs) =
                    (outputs(&vectors, case, Some(bug)), outputs(&vectors, case, Some(other)));
                let far = case.outputs.iter().any(|(name, quantity)| {
                    let (a, b) = (mine[name].floats(), theirs[name].floats());
                    let apart = |(a, b): (&f64, &f64)| match (a.is_nan(), b.is_nan()) {
                        (true, true) => 0.0,
                        (false, false) => (a - b).abs(),
                        _ => f64::INFINITY,
                    };
                    let most = a.iter().zip(&b).map(apart).fold(0.0, f64::max);
                    a.len() != b.len() || most > 4.0 * quantity.tolerance.unwrap()
                });
                assert!(far, "{}: {bug} and {other} are too near each other", case.id);
            }
            seen += 1;
        }
    }
    assert!(seen >= 52, "{seen} bugs have outputs");
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(200) })]

    /// Whatever is off by chance is nobody's bug, and what is within the tolerance is no fault.
    #[test]
    fn a_random_perturbation_is_no_bug(which in any::<prop::sample::Index>(), at in any::<prop::sample::Index>(), share in -3.0..3.0f64) {
        static VECTORS: LazyLock<Vectors> = LazyLock::new(Vectors::embedded);
        let vectors = &*VECTORS;
        let case = which.get(&vectors.cases);
        let mut mine = outputs(vectors, case, None);
        let (name, quantity) = case.outputs.iter().next().unwrap();
        let (tolerance, array) = (quantity.tolerance.unwrap(), mine.get_mut(name).unwrap());
        let Values::Floats(values) = &mut array.values else { return Ok(()) };
        prop_assume!(!values.is_empty() && (share.abs() - 1.0).abs() > 0.01);
        let i = at.index(values.len());
        values[i] += share * tolerance;
        let judgement = vectors.judge(case, &mine);
        // Rounded to float32, the smallest tolerances have few steps.
        prop_assert_eq!(judgement.passes(), share.abs() < 1.0, "{}: {} of the tolerance: {}", case.id, share, judgement);
        prop_assert!(judgement.bug.is_none(), "{}: {judgement}", case.id);
    }
}

/// The schema is what other programs hold the cases to.
#[test]
fn the_cases_follow_their_schema_which_refuses_what_lacks_a_source_or_a_tolerance() {
    let file = |name: &str| {
        let (_, bytes) = FILES.iter().find(|(file, _)| *file == name).expect("a file of the vectors");
        serde_json::from_slice::<Value>(bytes).unwrap()
    };
    let (schema, cases) = (file("cases.schema.json"), file("cases.json"));
    assert_eq!(fault(&schema, &cases), None);

    let mut few = cases;
    few["cases"].as_array_mut().unwrap().truncate(2);
    assert_eq!(fault(&schema, &few), None);
    let output = few["cases"][0]["outputs"].as_object().unwrap().keys().next().unwrap().clone();
    let refused = |change: &dyn Fn(&mut Value)| {
        let mut changed = few.clone();
        change(&mut changed);
        assert_ne!(changed, few);
        fault(&schema, &changed).is_some()
    };
    let lacks = |of: &mut Value, key: &str| drop(of.as_object_mut().unwrap().remove(key));
    assert!(refused(&|cases| lacks(&mut cases["cases"][0], "source")));
    assert!(refused(&|cases| cases["cases"][0]["source"] = "".into()));
    assert!(refused(&|cases| lacks(&mut cases["cases"][0]["outputs"][&output], "tolerance")));
    assert!(refused(&|cases| cases["cases"][0]["outputs"][&output]["tolerance"] = (-1).into()));
    assert!(refused(&|cases| cases["cases"][0]["outputs"] = serde_json::json!({})));
    assert!(refused(&|cases| cases["cases"][0]["flag"] = 1.into()));
    assert!(refused(&|cases| lacks(cases, "version")));
}
