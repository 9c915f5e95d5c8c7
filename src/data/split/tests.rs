//! No user and no prompt on two sides, over all kinds of data.

use super::super::{Comparison, Demonstration, InstructionTemplate, Prompt};
use super::*;
use proptest::prelude::*;

fn rule(validation: f64, test: f64, seed: u64) -> SplitRule {
    SplitRule { seed, validation, test, form: NormalForm::default() }
}

fn prompt(prompt: &str, user: Option<&str>) -> Prompt {
    Prompt {
        prompt: prompt.to_string(),
        user: user.map(str::to_string),
        tags: Default::default(),
        place: String::new(),
    }
}

fn demonstration(prompt: &str, user: Option<&str>) -> Demonstration {
    let user = user.map(str::to_string);
    Demonstration {
        prompt: prompt.to_string(),
        response: "r".into(),
        user,
        labeler: None,
        tags: Default::default(),
        place: String::new(),
    }
}

fn comparison(prompt: &str, side: Option<Side>) -> Comparison {
    let responses = vec!["a".into(), "b".into()];
    let prompt = prompt.to_string();
    Comparison {
        prompt,
        responses,
        ranks: vec![1, 2],
        user: None,
        labeler: None,
        tokens: None,
        side,
        tags: Default::default(),
        place: String::new(),
    }
}

/// Records of one kind, split alone.
fn split<T: Record>(records: Vec<T>, rule: &SplitRule) -> (Split<Vec<T>>, Split<Vec<T>>) {
    let sides = Sides::new(rule, &[view(&records)]);
    sides.split(records)
}

fn counts<T>(split: &Split<Vec<T>>) -> [usize; 3] {
    Side::ALL.map(|side| split.of(side).len())
}

#[test]
fn the_shares_are_met_and_the_seed_matters() {
    let records: Vec<Prompt> = (0..10_000).map(|i| prompt(&i.to_string(), None)).collect();
    for (validation, test) in [(0.0, 0.0), (0.1, 0.0), (0.0, 0.3), (0.1, 0.3), (0.5, 0.25)] {
        let [_, v, t] = counts(&split(records.clone(), &rule(validation, test, 7)).0);
        let near = |count: usize, share: f64| (count as f64 - 10_000.0 * share).abs() <= 200.0 * share.sqrt();
        assert!(near(v, validation) && near(t, test), "{validation} {test}: {v} {t}");
    }
    assert_ne!(split(records.clone(), &rule(0.1, 0.1, 7)), split(records, &rule(0.1, 0.1, 8)));
}

#[test]
fn the_hash_is_pinned_so_that_splits_never_move() {
    assert_eq!(hash(1, b'p', "hello"), 7_621_971_502_910_442_992);
}

#[test]
fn a_prompt_of_another_kind_is_known_with_and_without_a_user_and_in_the_template() {
    // Users a and b, on different sides; what one of them asks in one kind, nobody is asked on a later side of another.
    let rule = rule(0.3, 0.3, 1);
    let on =
        |wanted| (0..).map(|i| format!("u{i}")).find(|u| rule.side(rule.number(b'u', u)) == wanted).unwrap();
    let users = Split::from_fn(on);
    let template = InstructionTemplate::default();
    let trained = vec![demonstration(&template.render("Name three colours.", ""), Some(&users.train))];
    let chosen = vec![comparison("Name two birds.", Some(Side::Validation))];
    let asked = vec![
        prompt("Name three colours.\n", Some(&users.validation)),
        prompt("Name three colours.", Some(&users.test)),
        prompt("Name two  birds.", Some(&users.test)),
        prompt("Name two birds.", Some(&users.train)),
        prompt("Name a tree.", Some(&users.test)),
        prompt("Name a tree.", Some(&users.validation)),
    ];
    let sides = Sides::new(&rule, &[view(&trained), view(&chosen), view(&asked)]);
    let (prompts, left_out) = sides.split(asked);
    let texts = |records: &[Prompt]| records.iter().map(|p| p.prompt.clone()).collect::<Vec<_>>();
    assert_eq!(texts(&prompts.train), ["Name two birds."]);
    assert_eq!(texts(&prompts.validation), ["Name a tree."]);
    assert!(prompts.test.is_empty());
    assert_eq!(left_out.map(Vec::len), Split { train: 0, validation: 1, test: 3 });
    let (comparisons, left_out) = sides.split(chosen);
    assert_eq!(
        (counts(&comparisons), left_out.validation.len()),
        ([0, 0, 0], 1),
        "a training prompt asks the same"
    );
}

#[test]
fn a_stated_side_holds_for_others_of_the_same_key() {
    let rule = rule(0.0, 0.0, 1);
    let stated = vec![comparison("p", Some(Side::Test)), comparison("q", Some(Side::Validation))];
    let others = vec![demonstration("p\n", None), demonstration("q", None), demonstration("r", None)];
    let sides = Sides::new(&rule, &[view(&stated), view(&others)]);
    let (split, left_out) = sides.split(others);
    assert_eq!((counts(&split), left_out), ([1, 1, 1], Split::default()));
    assert_eq!(counts(&sides.split(stated).0), [0, 1, 1]);
}

#[test]
fn training_gets_the_nearest_key_where_all_fell_elsewhere() {
    for seed in 0..50 {
        let rule = rule(0.4, 0.4, seed);
        let one_user: Vec<Demonstration> =
            (0..30).map(|i| demonstration(&i.to_string(), Some("u"))).collect();
        let prompts = vec![prompt("0", Some("u")), prompt("x", Some("v"))];
        let sides = Sides::new(&rule, &[view(&one_user), view(&prompts)]);
        assert_eq!(counts(&sides.split(one_user).0), [30, 0, 0], "seed {seed}");
        assert_eq!(sides.of(&prompts[0]), Side::Train, "in every kind");
        assert_eq!(sides.of(&prompts[1]), rule.side(rule.number(b'u', "v")), "training had one already");
    }
    // A file that says otherwise is believed.
    let held = vec![comparison("p", Some(Side::Validation))];
    assert_eq!(counts(&split(held, &rule(0.1, 0.1, 1)).0), [0, 1, 0]);
}

proptest! {
    #[test]
    fn no_user_and_no_prompt_is_on_two_sides(
        records in proptest::collection::vec((0usize..3, 0u8..20, 0u8..30, any::<bool>()), 1..80), seed in any::<u64>()
    ) {
        let rule = rule(0.2, 0.2, seed);
        let mut kinds = [vec![], vec![], vec![]];
        for &(kind, user, text, named) in &records {
            kinds[kind].push(prompt(&text.to_string(), named.then_some(user.to_string()).as_deref()));
        }
        let sides = Sides::new(&rule, &kinds.each_ref().map(|kind| view(kind)));
        let splits = kinds.clone().map(|kind| sides.split(kind));
        for (kind, (split, left_out)) in kinds.iter().zip(&splits) {
            let lost: usize = Side::ALL.iter().map(|&side| left_out.of(side).len()).sum();
            prop_assert_eq!(counts(split).iter().sum::<usize>() + lost, kind.len());
            prop_assert!(left_out.train.is_empty());
            prop_assert!(kind.is_empty() || !split.train.is_empty());
        }
        let on = |side: Side| splits.iter().flat_map(move |(split, _)| split.of(side));
        for (earlier, later) in [(Side::Train, Side::Validation), (Side::Train, Side::Test), (Side::Validation, Side::Test)] {
            for held in on(later) {
                prop_assert!(on(earlier).all(|record| record.prompt != held.prompt));
                prop_assert!(held.user.is_none() || on(earlier).all(|record| record.user != held.user));
            }
        }
        // The order shows in no side.
        let reversed = kinds.clone().map(|kind| kind.into_iter().rev().collect::<Vec<_>>());
        let again = Sides::new(&rule, &reversed.each_ref().map(|kind| view(kind)));
        prop_assert!(kinds.iter().flatten().all(|record| sides.of(record) == again.of(record)));
    }
}
