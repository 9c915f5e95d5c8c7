//! Data files through the door of a run: what stands in a file is what a model learns, and what is not taken as it
//! stands is in the notes.

use std::fs;

use instructgpt::error::Result;
use instructgpt::settings::Settings;
use instructgpt::text::PromptFormat;
use instructgpt::train::dataset::{Dataset, Example};
use tempfile::TempDir;

/// A folder of data files with their settings: everything is trained on.
struct Files {
    folder: TempDir,
    settings: Settings,
}

impl Files {
    /// Text to pretrain on, and files of records that hold these texts.
    fn new(demonstrations: &str, comparisons: &str, prompts: &str) -> Files {
        let folder = tempfile::tempdir().unwrap();
        let mut settings = Settings::default();
        settings.tokenizer.vocab_size = 300;
        settings.data.validation_fraction = 0.0;
        settings.data.pretraining = vec!["text".into()];
        let data = &mut settings.data;
        for (name, text, list) in [
            ("demonstrations", demonstrations, &mut data.demonstrations),
            ("comparisons", comparisons, &mut data.comparisons),
            ("prompts", prompts, &mut data.prompts),
        ] {
            if !text.is_empty() {
                fs::write(folder.path().join(name), text).unwrap();
                *list = vec![name.into()];
            }
        }
        fs::write(folder.path().join("text"), "One day a cat sat on the mat. The dog ran.").unwrap();
        Files { folder, settings }
    }

    fn load(&self) -> Dataset {
        Dataset::load(&self.settings, self.folder.path()).unwrap()
    }

    /// Loads a file of text of that name and content.
    fn load_text(&mut self, name: &str, content: &[u8]) -> Result<Dataset> {
        fs::write(self.folder.path().join(name), content).unwrap();
        self.settings.data.pretraining = vec![name.into()];
        Dataset::load(&self.settings, self.folder.path())
    }
}

/// Prompt and response of an example, as texts.
fn texts(data: &Dataset, example: &Example) -> (String, String) {
    let text = |tokens: &[u32]| data.tokenizer.decode_lossy(tokens);
    let (prompt, response) = example.tokens.split_at(example.prompt);
    assert_eq!(response.last(), Some(&data.tokenizer.end_of_text()));
    (text(prompt), text(&response[..response.len() - 1]))
}

/// Prompts and responses of all demonstrations.
fn demonstrations(data: &Dataset) -> Vec<(String, String)> {
    data.demonstrations.train.iter().map(|example| texts(data, example)).collect()
}

fn prompts(data: &Dataset) -> Vec<String> {
    data.prompts.train.iter().map(|tokens| data.tokenizer.decode_lossy(tokens)).collect()
}

fn pair(prompt: &str, response: &str) -> (String, String) {
    (prompt.into(), response.into())
}

const STATED: &str = "{\"prompt\":\"Why?\",\"response\":\"So.\"}\n";
const INSTRUCTION: &str = "{\"instruction\":\"Add.\",\"input\":\"1 2\",\"output\":\"3\"}\n";
const BARE: &str = "{\"instruction\":\"Sing.\",\"output\":\"La.\"}\n";
const DIALOGUE: &str =
    "{\"chosen\":\"\\n\\nHuman: Hi\\n\\nAssistant: a\",\"rejected\":\"\\n\\nHuman: Hi\\n\\nAssistant: b\"}\n";

const PAIR: &str = "{\"prompt\":\"Why?\",\"chosen\":\"a\",\"rejected\":\"b\"}\n";

#[test]
fn the_joint_ends_every_stated_prompt_and_no_other() {
    let mut files =
        Files::new(&[STATED, BARE].concat(), &[PAIR, DIALOGUE].concat(), "{\"prompt\":\"When?\"}\n");
    let bare = pair("### Instruction:\nSing.\n\n### Response:\n", "La.");
    for joint in ["", "\nAnswer:"] {
        files.settings.data.joint = joint.into();
        let data = files.load();
        let stated = format!("Why?{joint}");
        assert_eq!(demonstrations(&data), [pair(&stated, "So."), bare.clone()]);
        assert_eq!(prompts(&data), [format!("When?{joint}")]);
        let ranked: Vec<_> = data.rankings.train.iter().map(|r| texts(&data, &r.responses[0])).collect();
        assert_eq!(ranked, [pair(&stated, "a"), pair("\n\nHuman: Hi\n\nAssistant:", " a")]);
    }
}

#[test]
fn the_template_is_that_of_the_settings() {
    let mut files = Files::new(&[INSTRUCTION, BARE].concat(), "", "");
    let data = &mut files.settings.data;
    data.template_instruction = "Do: ".into();
    data.template_input = " With: ".into();
    data.template_response = " Done: ".into();
    let data = files.load();
    let expected = [pair("Do: Add. With: 1 2 Done: ", "3"), pair("Do: Sing. Done: ", "La.")];
    assert_eq!(demonstrations(&data), expected);
    assert_eq!(prompts(&data), expected.map(|(prompt, _)| prompt));
    assert_eq!(data.tokenizer.prompt_format, Some(PromptFormat::new("Do: ", " Done: ", "")));
}

#[test]
fn models_are_asked_as_most_demonstrations_are() {
    let asked = |demonstrations: &str, comparisons: &str, prompts: &str| {
        let mut files = Files::new(demonstrations, comparisons, prompts);
        files.settings.data.joint = "\nA:".into();
        let data = files.load();
        let mixed = data.notes.iter().find(|note| note.contains("several forms")).cloned();
        (data.tokenizer.prompt_format.unwrap().prompt("Hi").into_owned(), mixed)
    };
    let template = "### Instruction:\nHi\n\n### Response:\n".to_string();
    assert_eq!(asked(STATED, "", ""), ("Hi\nA:".into(), None));
    assert_eq!(asked(BARE, "", ""), (template.clone(), None));
    assert_eq!(asked("", DIALOGUE, ""), ("\n\nHuman: Hi\n\nAssistant:".into(), None));
    assert_eq!(asked("", "", STATED), ("Hi\nA:".into(), None));
    let (format, note) = asked(&[STATED, INSTRUCTION, BARE].concat(), DIALOGUE, "");
    assert_eq!(format, template);
    let note = note.unwrap();
    assert!(note.contains("1 as they stand, 2 in the instruction template, 1 as dialogues"), "{note}");
    assert!(note.ends_with("asked in the instruction template"), "{note}");
}

#[test]
fn a_written_end_of_text_is_no_part_of_a_response() {
    let files = Files::new(
        "{\"prompt\":\"Why?\",\"response\":\"So.<|endoftext|>\\n\"}\n",
        "{\"prompt\":\"Why?\",\"responses\":[\"a<|endoftext|>\",\"b<|endoftext|>\"],\"ranks\":[1,2]}\n",
        "{\"prompt\":\"Say <|endoftext|>!\"}\n",
    );
    let data = files.load();
    assert_eq!(demonstrations(&data), [pair("Why?", "So.")]);
    let responses: Vec<_> = data.rankings.train[0].responses.iter().map(|r| texts(&data, r).1).collect();
    assert_eq!(responses, ["a", "b"]);
    for note in [
        "demonstrations: 1 records; 1 had <|endoftext|> at the end, which was taken off",
        "comparisons: 1 records; 1 had <|endoftext|> at the end, which was taken off",
        "prompts: 1 records; 1 have <|endoftext|> elsewhere, where it is plain characters",
    ] {
        assert!(data.notes.iter().any(|found| found.starts_with(note)), "{note}: {:?}", data.notes);
    }
}

#[test]
fn empty_records_are_left_out_whatever_the_template_adds() {
    let empty = "{\"instruction\":\"\",\"input\":\"\",\"output\":\"o\"}\n";
    let data = Files::new(&[empty, BARE].concat(), "", "").load();
    assert_eq!(data.demonstrations.train.len(), 1);
    assert!(data.notes.contains(&"demonstrations: 1 records; 1 skipped: 1 x empty prompt".to_string()));
    let alone = Files::new(empty, "", "");
    let error = Dataset::load(&alone.settings, alone.folder.path()).err().unwrap().to_string();
    assert!(error.ends_with("found 0 records; 1 skipped: 1 x empty prompt"), "{error}");
}

#[test]
fn records_are_records_under_any_name_and_text_is_no_table() {
    let text = "{\"text\": \"One day a cat sat.\"}\n{\"text\": \"The dog ran.\"}\n";
    let mut files = Files::new("", "", "");
    let expected = files.load_text("a.jsonl", text.as_bytes()).unwrap().text;
    for name in ["a.ndjson", "a.txt", "a"] {
        assert_eq!(files.load_text(name, text.as_bytes()).unwrap().text, expected, "{name}");
    }
    let table = files.load_text("a.csv", b"text\nOne day\n").err().unwrap().to_string();
    assert!(table.contains("a.csv: expected plain text or JSON Lines, found a CSV table"), "{table}");
}

#[test]
fn columns_have_the_names_that_are_set() {
    let table = Files::new("prompt,response\nWhy?,So.\n", "", "");
    assert_eq!(demonstrations(&table.load()), [pair("Why?", "So.")]);

    let mut named = Files::new("Nr\tFrage\tAntwort\n1\tWhy?\tSo.\n", PAIR, "{\"Frage\":\"When?\"}");
    let error = Dataset::load(&named.settings, named.folder.path()).err().unwrap().to_string();
    assert!(error.contains("demonstrations: line 1, column 1: expected a JSON object"), "{error}");
    named.settings.data.columns = [("prompt", "Frage"), ("response", "Antwort")]
        .map(|(ours, theirs)| (ours.into(), theirs.into()))
        .into();
    let data = named.load();
    assert_eq!(
        (demonstrations(&data), prompts(&data)),
        (vec![pair("Why?", "So.")], vec!["When?".to_string()])
    );
    assert_eq!(data.rankings.train.len(), 1, "a file with our names is read as before");

    named.settings.data.columns.insert("user".into(), "Wer".into());
    let error = Dataset::load(&named.settings, named.folder.path()).err().unwrap().to_string();
    assert!(
        error.contains("data.columns: expected names of fields of the files (here for user), found \"Wer\""),
        "{error}"
    );
    named.settings.data.columns = [("prmpt".to_string(), "Frage".to_string())].into();
    let error = named.settings.all_faults()[0].to_string();
    assert!(error.starts_with("data.columns: expected our names on the left"), "{error}");
}
