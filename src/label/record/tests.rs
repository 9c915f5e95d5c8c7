//! Which answers fit what was asked, and which records are kept.

use super::*;

pub fn item(task: Task, responses: usize) -> Item {
    Item {
        id: "i".into(),
        task,
        prompt: "p".into(),
        responses: (0..responses).map(|i| format!("response {i}")).collect(),
        use_case: None,
        screening: false,
        gold: None,
        grades: None,
        fields: Default::default(),
    }
}

/// A record with an id that ends in `number`.
pub fn record(number: u64, labeler: &str, item: Option<&Item>, answer: Answer) -> Record {
    let shown = (0..item.map_or(0, |item| item.responses.len())).collect();
    Record {
        id: format!("{number:032x}"),
        labeler: labeler.into(),
        item: item.map(|item| item.id.clone()),
        instructions: INSTRUCTIONS,
        shown,
        seconds: 1.5,
        time: 0,
        notes: String::new(),
        marks: None,
        flagged: false,
        answer,
    }
}

fn all_no() -> BTreeMap<String, bool> {
    QUESTIONS[MAY_NOT_APPLY..].iter().map(|name| (name.to_string(), false)).collect()
}

#[test]
fn answers_fit_what_was_asked() {
    let (write, rate, rank, flag) =
        (item(Task::Write, 0), item(Task::Rate, 1), item(Task::Rank, 4), item(Task::Flag, 1));
    let use_case = Item { use_case: Some("chat".into()), ..write.clone() };
    let text = || "t".to_string();
    let demonstration = Answer::Demonstration { response: text() };
    let plain = Answer::Plain { prompt: text(), response: text() };
    let few_shot =
        |n| Answer::FewShot { instruction: text(), pairs: vec![Pair { query: text(), response: text() }; n] };
    let rating = |overall| Answer::Rating { overall, questions: all_no() };
    let asked = Item::coverage();
    let topics = |names: &[&str]| Answer::Coverage {
        topics: names.iter().map(|name| name.to_string()).collect(),
        other: String::new(),
    };
    let ranking = |ranks: &[u32]| Answer::Ranking { ranks: ranks.to_vec() };
    let right: Vec<(Option<&Item>, Answer)> = vec![
        (Some(&write), demonstration.clone()),
        (Some(&use_case), plain.clone()),
        (None, plain.clone()),
        (None, few_shot(2)),
        (Some(&rate), rating(7)),
        (Some(&rank), ranking(&[2, 1, 1, 4])),
        (Some(&flag), Answer::Flag { sensitive: true }),
        (Some(&asked), topics(&["age", "violence"])),
        (Some(&asked), topics(&[])),
        (Some(&rank), Answer::Skip { reason: text() }),
    ];
    for (item, answer) in right {
        assert_eq!(record(1, "ann", item, answer.clone()).wrong(item), None, "{answer:?}");
    }
    let wrong: Vec<(Option<&Item>, Answer)> = vec![
        (Some(&use_case), demonstration.clone()),
        (Some(&write), plain),
        (Some(&write), Answer::Demonstration { response: " ".into() }),
        (Some(&write), Answer::Demonstration { response: "x".repeat(MAX_TEXT + 1) }),
        (None, demonstration),
        (None, few_shot(1)),
        (None, few_shot(33)),
        (None, Answer::Skip { reason: text() }),
        (Some(&rate), rating(0)),
        (Some(&rate), rating(8)),
        (Some(&rate), Answer::Rating { overall: 3, questions: Default::default() }),
        (Some(&rank), ranking(&[1, 2, 3])),
        (Some(&rank), ranking(&[0, 1, 2, 3])),
        (Some(&rank), ranking(&[5, 1, 2, 3])),
        (Some(&rate), Answer::Flag { sensitive: true }),
        (Some(&rank), Answer::Skip { reason: String::new() }),
        (Some(&asked), topics(&["weather"])),
        (Some(&asked), Answer::Flag { sensitive: true }),
        (Some(&flag), topics(&["age"])),
        (None, topics(&["age"])),
        (Some(&asked), Answer::Coverage { topics: Default::default(), other: "x".repeat(MAX_TEXT + 1) }),
        (Some(&rank), Answer::Undo { of: "1".into() }),
    ];
    for (item, answer) in wrong {
        assert!(record(1, "ann", item, answer.clone()).wrong(item).is_some(), "{answer:?}");
    }
}

#[test]
fn records_are_looked_at_before_they_are_kept() {
    let rank = item(Task::Rank, 4);
    let good = record(1, "ann", Some(&rank), Answer::Ranking { ranks: vec![1, 2, 3, 4] });
    let wrong = |change: fn(&mut Record)| {
        let mut record = good.clone();
        change(&mut record);
        record.wrong(Some(&rank)).unwrap_or_else(|| panic!("{record:?} passes"))
    };
    assert!(wrong(|r| r.id = "1".into()).contains("32"));
    assert!(wrong(|r| r.id = "G".repeat(32)).contains("32"));
    for name in ["", " ann", "a\nb"] {
        assert!(!is_name(name), "{name:?}");
    }
    assert!(is_name("Änn O'Neil") && !is_name(&"x".repeat(65)));
    assert!(wrong(|r| r.labeler = String::new()).contains("name"));
    assert!(wrong(|r| r.seconds = f64::NAN).contains("seconds"));
    assert!(wrong(|r| r.seconds = -1.0).contains("seconds"));
    assert!(wrong(|r| r.shown = vec![0, 1, 2]).contains("shown"));
    assert!(wrong(|r| r.shown = vec![0, 1, 2, 2]).contains("shown"));
    assert!(wrong(|r| r.marks = Some(["vague".to_string()].into())).contains("\"vague\""));
    assert!(wrong(|r| r.notes = "x".repeat(MAX_TEXT + 1)).contains("notes"));
}

#[test]
fn marks_are_of_prompts_that_were_given() {
    let marked = |item: Option<&Item>, answer| {
        let marks = Some(["ambiguous".to_string(), "other_constraints".to_string()].into());
        Record { marks, ..record(1, "ann", item, answer) }.wrong(item)
    };
    let write = item(Task::Write, 0);
    let demonstration = || Answer::Demonstration { response: "r".into() };
    assert_eq!(marked(Some(&write), demonstration()), None);
    let tested = Item { screening: true, ..write };
    assert!(marked(Some(&tested), demonstration()).unwrap().contains("that was given"));
    assert!(marked(None, Answer::Plain { prompt: "p".into(), response: "r".into() }).is_some());
}
