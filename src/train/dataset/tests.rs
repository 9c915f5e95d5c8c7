//! From files to the sides of the split: what the settings of section `data` do, and what is said about it.

use std::collections::BTreeSet;
use std::fs;

use serde_json::json;
use tempfile::TempDir;

use super::*;
use crate::data::Side;
use crate::data::pii::PiiRule;

/// Settings over files of their own.
struct Files {
    root: TempDir,
    settings: Settings,
}

impl Files {
    fn new() -> Self {
        let mut settings = Settings::default();
        settings.tokenizer.vocab_size = 257;
        (settings.data.max_prompt_tokens, settings.data.max_response_tokens) = (1000, 1000);
        let mut files = Files { root: tempfile::tempdir().unwrap(), settings };
        files.settings.data.pretraining =
            vec![files.write("text.txt", &"A text of some words. ".repeat(100))];
        files
    }

    fn write(&self, name: &str, text: &str) -> String {
        fs::write(self.root.path().join(name), text).unwrap();
        name.to_string()
    }

    /// `(prompt, user)` as demonstrations, comparisons and prompts.
    fn demonstrations(&mut self, records: &[(&str, &str)]) {
        let line = |&(prompt, user): &(&str, &str)| json!({"prompt": prompt, "response": "r", "user": user});
        self.settings.data.demonstrations = vec![self.write("demonstrations.jsonl", &lines(records, line))];
    }

    fn comparisons(&mut self, records: &[(&str, &str)]) {
        let line = |&(prompt, user): &(&str, &str)| json!({"prompt": prompt, "chosen": "a", "rejected": "b", "user": user});
        self.settings.data.comparisons = vec![self.write("comparisons.jsonl", &lines(records, line))];
    }

    fn prompts(&mut self, records: &[(&str, &str)]) {
        let line = |&(prompt, user): &(&str, &str)| json!({"prompt": prompt, "user": user});
        self.settings.data.prompts = vec![self.write("prompts.jsonl", &lines(records, line))];
    }

    fn load(&self) -> Dataset {
        Dataset::load(&self.settings, self.root.path()).unwrap()
    }
}

fn lines<T>(records: &[T], line: impl Fn(&T) -> serde_json::Value) -> String {
    records.iter().map(|record| format!("{}\n", line(record))).collect()
}

/// Counts of demonstrations, comparisons and prompts by side.
fn counts(data: &Dataset) -> [[usize; 3]; 3] {
    let sides = |split: Split<usize>| [split.train, split.validation, split.test];
    [
        sides(data.demonstrations.map(Vec::len)),
        sides(data.rankings.map(Vec::len)),
        sides(data.prompts.map(Vec::len)),
    ]
}

/// The prompts of a side, of every kind.
fn asked(data: &Dataset, side: Side) -> BTreeSet<Vec<u32>> {
    let of_example = |example: &Example| example.tokens[..example.prompt].to_vec();
    let demonstrations = data.demonstrations.of(side).iter().map(of_example);
    let rankings = data.rankings.of(side).iter().map(|ranking| of_example(&ranking.responses[0]));
    demonstrations.chain(rankings).chain(data.prompts.of(side).iter().cloned()).collect()
}

#[test]
fn each_fraction_is_of_its_own_side() {
    let mut files = Files::new();
    let users: Vec<String> = (0..400).map(|i| format!("u{i}")).collect();
    let records: Vec<(&str, &str)> = users.iter().map(|user| (&user[..], &user[..])).collect();
    files.demonstrations(&records);
    for (validation, test, expected) in [
        (0.1, None, [320, 40, 40]),
        (0.0, None, [400, 0, 0]),
        (0.1, Some(0.3), [240, 40, 120]),
        (0.3, Some(0.0), [280, 120, 0]),
    ] {
        (files.settings.data.validation_fraction, files.settings.data.test_fraction) = (validation, test);
        for counts in [counts(&files.load())[0], counts(&files.load())[2]] {
            let near = counts.iter().zip(expected).all(|(&found, due)| found.abs_diff(due) <= due / 5);
            assert!(near && counts.iter().sum::<usize>() == 400, "{validation} {test:?}: {counts:?}");
        }
    }
}

#[test]
fn no_side_knows_a_prompt_of_an_earlier_side_from_any_kind() {
    // Everybody asks the same few things, in one kind with a name and in the others without.
    let mut files = Files::new();
    let texts: Vec<String> = (0..20).map(|i| format!("Question {i}?")).collect();
    let named: Vec<(String, String)> =
        (0..60).map(|i| (texts[i % 20].clone(), format!("u{}", i / 2))).collect();
    let named: Vec<(&str, &str)> = named.iter().map(|(text, user)| (&text[..], &user[..])).collect();
    let nameless: Vec<(&str, &str)> = texts.iter().map(|text| (&text[..], "")).collect();
    (files.settings.data.validation_fraction, files.settings.data.test_fraction) = (0.3, Some(0.3));
    let mut left_out = 0;
    for seed in 1..20 {
        files.settings.seed = seed;
        files.demonstrations(&named);
        files.comparisons(&nameless);
        files.prompts(&named[20..40]);
        let data = files.load();
        let [train, validation, test] = Side::ALL.map(|side| asked(&data, side));
        assert!(train.is_disjoint(&validation) && train.is_disjoint(&test) && validation.is_disjoint(&test));
        let said = data.notes.join("\n");
        left_out += usize::from(said.contains("their user or prompt is on an earlier side"));
    }
    assert!(left_out > 10, "and it is said: {left_out}");
}

#[test]
fn an_empty_user_is_none_and_one_user_is_trained_on() {
    let mut files = Files::new();
    files.settings.data.prompts_per_user = 300;
    let texts: Vec<String> = (0..300).map(|i| format!("Question {i}?")).collect();
    let of = |user: &'static str| texts.iter().map(|text| (text.as_str(), user)).collect::<Vec<_>>();
    for seed in 1..12 {
        files.settings.seed = seed;
        files.demonstrations(&of(" "));
        let [train, validation, test] = counts(&files.load())[0];
        assert!(train > 200 && validation > 10 && test > 10, "{train} {validation} {test}");
        files.demonstrations(&of("me"));
        let data = files.load();
        assert_eq!(counts(&data)[0], [300, 0, 0], "seed {seed}");
        let said = "demonstrations: 300 train, 0 validation, 0 test (of 300; nothing is left for validation (the split \
                    goes by 1 user); nothing is left for test (the split goes by 1 user))";
        assert!(data.notes.iter().any(|note| note == said), "{:?}", data.notes);
    }
}

/// 200 in the paper, of every kind; the answers to a prompt go together.
#[test]
fn the_cap_of_a_user_holds_for_every_kind() {
    let mut files = Files::new();
    (files.settings.data.validation_fraction, files.settings.data.prompts_per_user) = (0.0, 3);
    let records = [
        ("a", "u"),
        ("a", "u"),
        ("b", "u"),
        ("c", "u"),
        ("d", "u"),
        ("d", "v"),
        ("e", ""),
        ("f", ""),
        ("a", "u"),
    ];
    files.demonstrations(&records);
    files.comparisons(&records);
    files.prompts(&records);
    let data = files.load();
    assert_eq!(counts(&data), [[8, 0, 0], [8, 0, 0], [6, 0, 0]]);
    for kind in ["demonstrations", "comparisons", "prompts"] {
        let said = data.account(kind).unwrap().to_string();
        assert!(
            said.contains("1 left out: their user has 3 other prompts (data.prompts_per_user)"),
            "{said}"
        );
    }
}

#[test]
fn prompts_that_begin_alike_count_once_in_every_kind() {
    let mut files = Files::new();
    (files.settings.data.validation_fraction, files.settings.data.deduplicate_prefix) = (0.0, 8);
    let records = [("Question 1", ""), ("Question 2", ""), ("Question 1", ""), ("Other", ""), ("More", "")];
    files.demonstrations(&records);
    files.comparisons(&records);
    files.prompts(&records);
    let data = files.load();
    assert_eq!(counts(&data), [[4, 0, 0], [4, 0, 0], [3, 0, 0]]);
    for kind in ["demonstrations", "comparisons", "prompts"] {
        let said = data.account(kind).unwrap().to_string();
        assert!(
            said.contains("1 left out: their first 8 characters are those of an earlier prompt"),
            "{said}"
        );
    }
    assert!(
        data.account("prompts").unwrap().to_string().contains("1 left out: an earlier prompt is the same")
    );
    files.settings.data.deduplicate_prefix = 0;
    assert_eq!(counts(&files.load()), [[5, 0, 0], [5, 0, 0], [4, 0, 0]]);
    // A head that all have in common must not make one record of them.
    files.settings.data.deduplicate_prefix = 8;
    files.comparisons(&[("You are a tutor. 1", ""), ("You are a tutor. 2", ""), ("You are a tutor. 3", "")]);
    let error = Dataset::load(&files.settings, files.root.path()).map(|_| ()).unwrap_err();
    assert_eq!(error.exit_code(), 2);
    let said = error.to_string();
    assert!(
        said.contains("data.deduplicate_prefix") && said.contains("2 of 3") && said.contains("or 0"),
        "{said}"
    );
}

#[test]
fn what_is_too_long_is_counted_by_side() {
    let mut files = Files::new();
    files.settings.data.max_response_tokens = 2;
    let record = |(side, response): &(&str, &str)| json!({"prompt": format!("{side} {response}"), "responses": [response, "b"], "ranks": [1, 2], "set": side});
    let records =
        [("train", "a"), ("train", "too long"), ("validation", "too long"), ("test", "a"), ("test", "long")];
    files.settings.data.comparisons = vec![files.write("comparisons.jsonl", &lines(&records, record))];
    let data = files.load();
    assert_eq!(counts(&data)[1], [1, 0, 1]);
    let said = "comparisons: 1 train, 0 validation, 1 test (of 5; 3 left out (1 train, 1 validation, 1 test): longer than \
                1000 prompt or 2 response tokens (data.max_*_tokens), or empty; nothing is left for validation (the split \
                goes by 5 prompts))";
    assert_eq!(data.account("comparisons").unwrap().to_string(), said);
}

/// The tokenizer knows bytes only, so tokens are bytes and ends.
#[test]
fn a_long_document_has_one_end() {
    let mut files = Files::new();
    let book = "It was a dark night, and it rained.\n\n".repeat(4000);
    let book = book.trim_end();
    files.settings.data.pretraining = vec![files.write("book.txt", book)];
    files.settings.data.validation_fraction = 0.0;
    let data = files.load();
    assert_eq!(data.text.map(TextStream::len), Split { train: book.len() + 1, validation: 0, test: 0 });

    (files.settings.data.validation_fraction, files.settings.data.test_fraction) = (0.1, Some(0.2));
    let data = files.load();
    let end = data.tokenizer.end_of_text();
    let tokens: Vec<u32> = Side::ALL.iter().flat_map(|&side| data.text.of(side).tokens()).copied().collect();
    assert_eq!(
        tokens,
        [data.tokenizer.encode(book), vec![end]].concat(),
        "the parts in order are the document"
    );
    assert!(data.text.test.len().abs_diff(book.len() / 5) < 100);
    let said = data.account("documents").unwrap().to_string();
    assert_eq!(said, "documents: 1 train, 1 validation, 1 test (of 1; 1 cut: their ends are held out)");
}

#[test]
fn no_sequence_goes_from_a_cut_document_to_the_next() {
    let mut files = Files::new();
    let book = |word: &str| format!("{word} ").repeat(7000);
    let texts = [book("first"), "A short one.".to_string(), book("second"), book("third")];
    files.settings.data.pretraining = vec![files.write("books.txt", &texts.join("<|endoftext|>"))];
    files.settings.seed = 3;
    let data = files.load();
    let end = data.tokenizer.end_of_text();
    let text = |run: &[u32]| data.tokenizer.decode_lossy(&run[..run.len().min(12)]);
    for (side, runs) in [(Side::Validation, 3), (Side::Test, 3), (Side::Train, 3)] {
        let short =
            data.text.of(side).tokens().windows(8).any(|w| data.tokenizer.decode_lossy(w) == "A short ");
        let found: Vec<String> = data.text.of(side).runs().map(text).collect();
        assert!((runs..=runs + usize::from(short)).contains(&found.len()), "{side:?}: {found:?}");
    }
    let ends = |side| data.text.of(side).tokens().iter().filter(|&&token| token == end).count();
    assert_eq!(Side::ALL.map(ends).iter().sum::<usize>(), 4, "one document, one end");
    assert!(ends(Side::Test) >= 3);
}

#[test]
fn the_miniatures_sides_have_their_shares_and_no_document_in_common() {
    let mut settings = Settings { seed: 2, ..Settings::default() };
    settings.data.world = true;
    (settings.tokenizer.vocab_size, settings.ppo.eval_prompts) = (300, 20);
    (settings.world.documents, settings.world.demonstrations) = (2000, 100);
    (settings.world.comparisons, settings.world.prompts) = (300, 30);
    (settings.data.validation_fraction, settings.data.test_fraction) = (0.2, Some(0.1));
    let data = Dataset::load(&settings, Path::new(".")).unwrap();
    assert_eq!(counts(&data), [[100, 20, 16], [0, 0, 0], [30, 20, 20]]);
    assert_eq!(data.ranking_prompts.map(Vec::len), Split { train: 300, validation: 60, test: 30 });
    let documents = |side| -> BTreeSet<&[u32]> {
        data.text
            .of(side)
            .tokens()
            .split(|&token| token == data.tokenizer.end_of_text())
            .filter(|d| !d.is_empty())
            .collect()
    };
    let [train, validation, test] = Side::ALL.map(documents);
    assert!(train.is_disjoint(&validation) && train.is_disjoint(&test) && validation.is_disjoint(&test));
    assert!(validation.len() > test.len() && test.len() > 100, "{} {}", validation.len(), test.len());
    settings.data.test_fraction = Some(0.0);
    assert_eq!(Dataset::load(&settings, Path::new(".")).unwrap().prompts.test.len(), 0);
}

#[test]
fn personal_data_are_kept_replaced_or_dropped_in_training() {
    let mut files = Files::new();
    files.settings.data.validation_fraction = 0.3;
    let asked: Vec<String> = (0..40).map(|i| format!("{i}: write to ada{i}@example.org")).collect();
    let mut records: Vec<(&str, &str)> = asked.iter().map(|prompt| (prompt.as_str(), "")).collect();
    records.push(("Sing.", ""));
    files.demonstrations(&records);
    files.comparisons(&records);
    let texts = |data: &Dataset, side: Side| -> Vec<String> {
        let examples = data.demonstrations.of(side).iter().map(|example| &example.tokens[..example.prompt]);
        let rankings = data.rankings.of(side).iter().map(Ranking::prompt);
        let prompts = data.prompts.of(side).iter().map(Vec::as_slice);
        examples.chain(rankings).chain(prompts).map(|tokens| data.tokenizer.decode_lossy(tokens)).collect()
    };
    let kept = files.load();
    files.settings.data.pii = PiiRule::Replace;
    let replaced = files.load();
    files.settings.data.pii = PiiRule::Drop;
    let dropped = files.load();
    for side in [Side::Validation, Side::Test] {
        let held_out = texts(&kept, side);
        assert!(held_out.iter().any(|text| text.contains("@example.org")));
        assert_eq!([texts(&replaced, side), texts(&dropped, side)], [held_out.clone(), held_out]);
    }
    let (before, after) = (texts(&kept, Side::Train), texts(&replaced, Side::Train));
    assert_eq!(before.len(), after.len());
    for (before, after) in before.iter().zip(&after) {
        let expected =
            before.split_once(" to ").map_or(before.clone(), |(start, _)| format!("{start} to [email]"));
        assert_eq!(*after, expected);
    }
    assert!(after.iter().any(|text| text.contains("[email]")));
    assert!(texts(&dropped, Side::Train).iter().all(|text| text == "Sing."));

    let count = kept
        .demonstrations
        .train
        .iter()
        .filter(|e| kept.tokenizer.decode_lossy(&e.tokens).contains('@'))
        .count();
    let said = |data: &Dataset| data.account("demonstrations").unwrap().to_string();
    let found = format!("personal data found: {count} x e-mail address");
    assert!(!said(&kept).contains("personal"), "{}", said(&kept));
    assert!(
        said(&replaced).contains(&format!("personal data replaced in {count} of train (data.pii); {found}"))
    );
    assert!(
        said(&dropped).contains(&format!("{count} left out: they hold personal data (data.pii); {found}"))
    );
    assert_eq!(dropped.account("demonstrations").unwrap().left_out.len(), count);
}

#[test]
fn tokens_that_were_sampled_go_with_the_texts_they_were_sampled_as() {
    let mut files = Files::new();
    files.settings.data.validation_fraction = 0.0;
    files.settings.data.pii = PiiRule::Replace;
    let line = |response: &str| {
        json!({"prompt": "p", "responses": [response, "b"], "ranks": [1, 2],
        "prompt_tokens": [7], "response_tokens": [[8], [9]]})
    };
    let text = format!("{}\n{}\n", line("a"), line("ada@example.org"));
    files.settings.data.comparisons = vec![files.write("comparisons.jsonl", &text)];
    let data = files.load();
    let responses: Vec<Vec<u32>> =
        data.rankings.train.iter().map(|ranking| ranking.responses[0].tokens[1..].to_vec()).collect();
    let encoded = [data.tokenizer.encode("[email]"), vec![data.tokenizer.end_of_text()]].concat();
    assert_eq!(responses, [vec![8], encoded]);
}
