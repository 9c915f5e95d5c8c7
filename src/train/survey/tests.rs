//! The tables of small files, counted by hand.

use super::*;
use std::fs;

fn rows<'a>(survey: &'a Survey, title: &str) -> &'a [Vec<Value>] {
    let table = survey.tables.iter().find(|table| table.title.starts_with(title));
    &table.unwrap_or_else(|| panic!("no table {title}")).rows
}

#[test]
fn the_tables_count_what_a_run_would_train_on() {
    let folder = tempfile::tempdir().unwrap();
    let mut settings = Settings::default();
    settings.tokenizer.vocab_size = 257;
    settings.data.validation_fraction = 0.0;
    settings.data.prompts_per_user = 2;
    settings.data.max_response_tokens = 6;
    // 257 tokens: one for each byte, so that lengths are those of the texts.
    let lines = [
        r#"{"prompt": "What is it?", "response": "abcd", "user": "u", "use_case": "Open QA", "marks": []}"#,
        r#"{"prompt": "Who are you?", "response": "ab", "user": "u", "use_case": "Open QA", "marks": ["closed_domain"]}"#,
        r#"{"prompt": "Why is the sky blue?", "response": "a", "user": "u"}"#,
        r#"{"prompt": "Wie ist das?", "response": "to ada@b.org", "user": "v"}"#,
        r#"{"prompt": "", "response": "a"}"#,
        r#"{"prompt": "a@b.org", "response": "a", "user": "v"}"#,
    ];
    fs::write(folder.path().join("d.jsonl"), lines.join("\n")).unwrap();
    settings.data.demonstrations = vec!["d.jsonl".into()];
    let survey = Survey::new(&settings, folder.path()).unwrap();
    let file = folder.path().join("d.jsonl");
    let demonstrations: Vec<(String, &str)> = survey
        .left_out
        .iter()
        .filter(|one| one.data == "demonstrations")
        .map(|one| (one.place.replace(&file.display().to_string(), "d"), one.what.as_str()))
        .collect();
    assert_eq!(demonstrations.len(), 3, "{demonstrations:?}");
    assert!(demonstrations.contains(&("d, line 5".into(), "empty prompt")), "{demonstrations:?}");
    let has = |place: &str, what: &str| demonstrations.iter().any(|(p, w)| p == place && w.contains(what));
    assert!(has("d, line 3", "data.prompts_per_user") && has("d, line 4", "data.max_*_tokens"));

    assert_eq!(
        rows(&survey, "Sizes")[0],
        [json!("demonstrations"), json!("train"), json!(3), json!(3), json!(3)]
    );
    let lost = &rows(&survey, "What was left out")[0];
    assert_eq!(*lost, [json!("demonstrations"), json!(5), json!(3), json!(3)]);
    assert_eq!(
        rows(&survey, "Prompts a user")[0],
        [json!("demonstrations"), json!("train"), json!(2), json!(1.5), json!(2)]
    );
    // 11, 12 and 7 characters.
    let expected = json!(["demonstrations", "train", 3, 10.0, 2.2, 7, 9.0, 11.0, 11.5, 12]);
    assert_eq!(json!(rows(&survey, "Prompts in tokens (")[0]), expected);
    let expected = json!(["demonstrations", "train", 3, 2.3, 1.2, 1, 1.5, 2.0, 3.0, 4]);
    assert_eq!(json!(rows(&survey, "Responses")[0]), expected);
    // Of demonstrations and of the prompts that are made of them.
    assert_eq!(json!(rows(&survey, "Use cases")[0]), json!(["Open QA", 4, 57.1]));
    assert_eq!(json!(rows(&survey, "Languages")[0]), json!(["English", 4, 57.1]));
    let by_use_case = rows(&survey, "Prompts in tokens by");
    assert_eq!(json!(by_use_case[1]), json!(["Open QA", 4, 11.5, 0.5, 11, 11.0, 11.5, 12.0, 12]));
    let marks = rows(&survey, "Marks");
    assert_eq!(marks.len(), 22, "of demonstrations and of the prompts that are made of them");
    let expected = json!(["Closed domain", "demonstrations", "train", 2, 1, 50.0, 19.4, 27.4]);
    assert_eq!(json!(marks[3]), expected);
    assert_eq!(
        json!(marks[2]),
        json!(["Identity dependent", "demonstrations", "train", 2, 0, 0.0, null, null])
    );
    let personal: Vec<(&str, &str)> =
        survey.personal.iter().map(|one| (one.data, one.what.as_str())).collect();
    assert_eq!(
        personal,
        [("demonstrations", "e-mail address: a@b.org"), ("prompts", "e-mail address: a@b.org")]
    );
    assert_eq!(json!(rows(&survey, "Personal")[0]), json!(["demonstrations", "e-mail address", 1]));

    settings.data.pii = pii::PiiRule::Replace;
    let survey = Survey::new(&settings, folder.path()).unwrap();
    assert!(survey.personal.is_empty() && rows(&survey, "Personal").is_empty());
}

#[test]
fn the_miniature_has_its_tables_too() {
    let mut settings = Settings::default();
    settings.data.world = true;
    settings.tokenizer.vocab_size = 300;
    (settings.world.documents, settings.world.demonstrations, settings.world.prompts) = (20, 30, 30);
    let survey = Survey::new(&settings, Path::new("")).unwrap();
    assert_eq!(rows(&survey, "Sizes").len(), 6);
    let users = &rows(&survey, "Prompts a user")[0];
    assert!(users[2].as_u64().unwrap() > 1, "{users:?}");
    // 26 % of its requests have explicit constraints.
    let constrained = &rows(&survey, "Marks")[9];
    assert_eq!(constrained[0], "Contains other explicit constraints");
    assert!((1..30).contains(&constrained[4].as_u64().unwrap()), "{constrained:?}");
}
