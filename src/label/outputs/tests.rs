//! Items from prompts, by authors who write down what they are asked.

use super::*;

/// Says its name and the draw's address; takes prompts of up to ten characters.
struct Clerk(&'static str);

impl Author for Clerk {
    fn name(&self) -> &str {
        self.0
    }
    fn fingerprint(&self) -> &str {
        &self.0[..1]
    }
    fn room(&self) -> usize {
        10
    }
    fn length(&self, prompt: &str) -> Result<usize> {
        Ok(prompt.chars().count())
    }
    fn write(&self, asked: &[(&str, Draw)]) -> Result<Vec<String>> {
        let text = |(prompt, draw): &(&str, Draw)| match prompt.contains("same") {
            true => "same".to_string(),
            false => format!("{} {prompt} {:x} {}", self.0, draw.step, draw.episode),
        };
        Ok(asked.iter().map(text).collect())
    }
}

fn sampler(names: &[&'static str], outputs: usize) -> Sampler<'static> {
    let authors = names.iter().map(|name| Box::new(Clerk(name)) as Box<dyn Author>).collect();
    Sampler { authors, outputs, seed: 5, how: Map::new() }
}

fn prompts(lines: &str) -> Result<Items> {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), lines).unwrap();
    load_prompts(file.path())
}

/// The items of a store, in order.
fn items(store: &mut Store) -> Vec<Item> {
    let mut items = vec![];
    store.items(|item| items.push(item)).unwrap();
    items
}

const PROMPTS: &str = r#"{"prompt":"one","user":"u"}
{"instruction":"two","input":"x"}
{"prompt":"longer than ten"}
{"prompt":"same"}
"#;

#[test]
fn models_write_in_turns_and_the_item_says_who() {
    let directory = tempfile::tempdir().unwrap();
    let mut store = Store::open(directory.path()).unwrap();
    let read = prompts(PROMPTS).unwrap();
    let mut told = vec![];
    let sampled = sampler(&["a", "b"], 3).sample(&mut store, &read.items, |done, of| told.push((done, of)));
    let sampled = sampled.unwrap();
    assert_eq!((sampled.made, sampled.known, told), (2, 0, vec![(3, 3)]));
    let notes = sampled.notes.join("\n");
    assert!(notes.contains("1 prompts left out: longer than the 10 tokens that a takes"), "{notes}");
    assert!(notes.contains("\"longer than ten\"") && notes.contains("1 prompts left out: all"), "{notes}");
    let items = items(&mut store);
    let step = address(&read.items[0].id);
    let expected = [("a", 0), ("b", 1), ("a", 2)].map(|(name, j)| format!("{name} one {step:x} {j}"));
    assert_eq!(items[0].responses, expected);
    assert_eq!((items[0].task, &items[0].fields["user"]), (Task::Rank, &json!("u")));
    assert_eq!(items[0].fields[MODELS], json!(["a", "b", "a"]));
    assert_eq!(items[0].fields[SAMPLED]["seed"], 5);
    assert!(items[1].is_whole() && items[1].trains() && items[1].prompt == "two\n\nx");
}

#[test]
fn what_was_sampled_is_not_sampled_again_and_another_request_is() {
    let directory = tempfile::tempdir().unwrap();
    let mut store = Store::open(directory.path()).unwrap();
    let read = prompts(PROMPTS).unwrap().items;
    let mut sample = |sampler: Sampler| {
        let sampled = sampler.sample(&mut store, &read[..2], |_, _| {}).unwrap();
        (sampled.made, sampled.known)
    };
    assert_eq!(sample(sampler(&["a", "b"], 2)), (2, 0));
    assert_eq!(sample(sampler(&["a", "b"], 2)), (0, 2));
    // The same weights elsewhere; then other weights, another number, another seed, another way to draw.
    assert_eq!(sample(sampler(&["a moved", "b"], 2)), (0, 2));
    assert_eq!(sample(sampler(&["a", "c"], 2)), (2, 0));
    assert_eq!(sample(sampler(&["a", "b"], 3)), (2, 0));
    assert_eq!(sample(Sampler { seed: 6, ..sampler(&["a", "b"], 2) }), (2, 0));
    let how = [("temperature".to_string(), json!(0.5))].into_iter().collect();
    assert_eq!(sample(Sampler { how, ..sampler(&["a", "b"], 2) }), (2, 0));
}

#[test]
fn a_stop_in_between_changes_no_item() {
    let lines: String = (0..40).map(|i| format!("{{\"prompt\":\"p{i}\"}}\n")).collect();
    let read = prompts(&lines).unwrap().items;
    let [whole, torn] = [40, 21].map(|first| {
        let directory = tempfile::tempdir().unwrap();
        let mut store = Store::open(directory.path()).unwrap();
        for prompts in [&read[..first], &read] {
            sampler(&["a", "b"], 1).sample(&mut store, prompts, |_, _| {}).unwrap();
        }
        items(&mut store)
    });
    assert_eq!(whole.len(), 40);
    assert!(whole.iter().all(|item| item.task == Task::Rate));
    assert_eq!(whole, torn);
}

#[test]
fn only_prompts_are_answered() {
    for line in [
        r#"{"prompt":"p","response":"r"}"#,
        r#"{"prompt":"p","responses":["a","b"]}"#,
        r#"{"use_case":"chat"}"#,
        r#"{"prompt":"p","screening":true}"#,
    ] {
        let error = prompts(line).unwrap_err().to_string();
        assert!(error.contains("a prompt alone"), "{line}: {error}");
    }
}
