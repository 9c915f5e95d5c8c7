//! A configuration to start from: the keys that most people set, each with its documentation, on the data of a folder
//! or, without any, on the built-in miniature. It runs as it is.

use std::fs;
use std::path::{Path, PathBuf};

use super::args::InitArgs;
use super::{config, jsonl};
use crate::checkpoint::write_atomic;
use crate::data::{self, PromptForms};
use crate::error::{Error, Result};
use crate::run::stderr::say;
use crate::settings::{Section, Settings};
use toml::{Table, Value};

/// The file's name.
const NAME: &str = "instructgpt.toml";

/// What a small model learns something with, in a minute or two on two cores. Other keys have the paper's values,
/// which are those of large models.
const VALUES: &str = r#"
seed = 1
micro_batch_tokens = 4096
checkpoint_every = 50
[model]
context = 112
width = 64
layers = 2
heads = 4
[tokenizer]
vocab_size = 512
[data]
world = true
[world]
documents = 2000
demonstrations = 1000
comparisons = 600
prompts = 600
[pretrain]
steps = 300
batch = 16
learning_rate = 3e-3
warmup_steps = 20
[sft]
epochs = 2
batch = 32
learning_rate = 2e-3
dropout = 0.1
[reward_model]
epochs = 1
batch = 16
learning_rate = 1e-3
[rlhf_init]
epochs = 2
learning_rate = 2e-3
dropout = 0.1
[ppo]
episodes = 1280
batch = 64
minibatches = 4
learning_rate = 3e-4
value_learning_rate = 1e-3
warmup_iterations = 2
kl_coef = 0.05
ptx_coef = 1.0
ptx_examples_per_episode = 1
eval_every = 5
"#;

/// What differs on a folder's files: real text needs a larger vocabulary and a longer context.
const ON_FILES: &str = r#"
[model]
context = 256
width = 128
layers = 4
[tokenizer]
vocab_size = 2048
"#;

/// Writes the configuration and prints where it is; what was found goes to standard error.
///
/// # Errors
/// [`Error::Usage`] if there is one already; those of the folder.
pub fn run(args: &InitArgs) -> Result<()> {
    let path = args.dir.join(NAME);
    if path.exists() {
        let hint = "remove it first, or choose another folder";
        return Err(Error::usage("init", format!("a folder without {NAME}"), path.display(), hint));
    }
    let found = if args.dir.exists() { Found::in_folder(&args.dir)? } else { Found::default() };
    let (text, notes) = written(&found)?;
    fs::create_dir_all(&args.dir).map_err(|error| Error::io(args.dir.display(), "create", error))?;
    write_atomic(&path, |file| file.write_all(text.as_bytes()))?;
    notes.iter().for_each(say);
    let name = path.display();
    say(format_args!("next: instructgpt run {name} --out {}", args.dir.join("run").display()));
    jsonl::Output::stdout().text(&name.to_string())?;
    Ok(())
}

/// The data files of a folder, by what they can be used for.
#[derive(Debug, Default, PartialEq)]
struct Found {
    text: Vec<String>,
    demonstrations: Vec<String>,
    comparisons: Vec<String>,
    prompts: Vec<String>,
}

impl Found {
    /// Looks at every file whose name may be that of data; the content decides.
    fn in_folder(folder: &Path) -> Result<Found> {
        let io = |error| Error::io(folder.display(), "read", error);
        let entries: Vec<fs::DirEntry> =
            fs::read_dir(folder).map_err(io)?.collect::<std::io::Result<_>>().map_err(io)?;
        let mut paths: Vec<PathBuf> = entries.into_iter().map(|entry| entry.path()).collect();
        paths.sort();
        let mut found = Found::default();
        for path in paths.iter().filter(|path| path.is_file()) {
            let Some(name) = path.file_name().and_then(|name| name.to_str()) else { continue };
            let plain = name.strip_suffix(".gz").unwrap_or(name);
            let records = [".json", ".jsonl", ".ndjson"].iter().any(|end| plain.ends_with(end));
            if records || plain.ends_with(".txt") {
                found.add(path, name, records);
            }
        }
        Ok(found)
    }

    fn add(&mut self, path: &Path, name: &str, records: bool) {
        let forms = PromptForms::default();
        let ranked = records && data::load_comparisons(path, &forms).is_ok();
        let answered = records && data::load_demonstrations(path, &forms).is_ok();
        let asked = records && !ranked && !answered && data::load_prompts(path, &forms).is_ok();
        let read = !ranked && !answered && !asked && data::load_text(path).is_ok();
        let kinds = [
            (ranked, &mut self.comparisons),
            (answered, &mut self.demonstrations),
            (asked, &mut self.prompts),
            (read, &mut self.text),
        ];
        kinds.into_iter().filter(|(is, _)| *is).for_each(|(_, names)| names.push(name.to_string()));
    }

    fn is_empty(&self) -> bool {
        *self == Found::default()
    }
}

/// The configuration's text, and what is to be said about it.
fn written(found: &Found) -> Result<(String, Vec<String>)> {
    let mut values: Table = toml::from_str(VALUES).expect("a constant");
    let mut notes = Vec::new();
    if found.is_empty() {
        notes.push("no data was found here: the configuration uses the built-in miniature".into());
    } else {
        values.remove("world");
        values.remove("data");
        for (section, keys) in toml::from_str::<Table>(ON_FILES).expect("a constant") {
            for (key, value) in keys.as_table().expect("a constant").clone() {
                set(&mut values, &section, &key, value);
            }
        }
        let kinds = [
            ("pretraining", &found.text),
            ("demonstrations", &found.demonstrations),
            ("comparisons", &found.comparisons),
            ("prompts", &found.prompts),
        ];
        for (key, names) in kinds {
            set(&mut values, "data", key, names.clone().into());
            notes.extend((!names.is_empty()).then(|| format!("{key}: {}", names.join(", "))));
        }
        turn_off(&mut values, found, &mut notes);
    }
    let text = documented(&values);
    // What is written is a valid configuration.
    config::parse(&text, NAME, &[])?;
    Ok((text, notes))
}

/// Turns off the stages that nothing was found for.
fn turn_off(values: &mut Table, found: &Found, notes: &mut Vec<String>) {
    let zero = || Value::Integer(0);
    if found.text.is_empty() {
        set(values, "pretrain", "steps", zero());
        set(values, "ppo", "ptx_coef", Value::Float(0.0));
        notes.push(
            "no text: no pretraining; name a model directory in pretrain.init_from to start from".into(),
        );
    }
    if found.demonstrations.is_empty() {
        set(values, "sft", "epochs", zero());
        set(values, "rlhf_init", "epochs", zero());
        notes.push("no demonstrations: no SFT".into());
    }
    if found.comparisons.is_empty() {
        set(values, "reward_model", "epochs", zero());
        set(values, "sft", "select", Value::String("validation_loss".into()));
        set(values, "ppo", "episodes", zero());
        notes.push("no comparisons: no reward model, and so no PPO".into());
    } else if found.demonstrations.is_empty() && found.prompts.is_empty() {
        set(values, "ppo", "episodes", zero());
        notes.push("no prompts: no PPO".into());
    }
}

fn set(values: &mut Table, section: &str, key: &str, value: Value) {
    let entry = values.entry(section).or_insert_with(|| Table::new().into());
    entry.as_table_mut().expect("a section").insert(key.into(), value);
}

/// The values as a configuration, in its order, each under its documentation.
fn documented(values: &Table) -> String {
    let mut text = String::from(
        "# A small model that learns something in minutes. Every other key has the paper's value, which is that of a\n\
         # large model; the config.toml of any run directory has them all. `instructgpt run FILE --plan` says what a\n\
         # run will take.\n",
    );
    let settings = Settings::default();
    for section in std::iter::once(&settings as &dyn Section).chain(settings.sections()) {
        let inside = if section.key().is_empty() { Some(values) } else { table(values, section.key()) };
        let Some(inside) = inside else { continue };
        if !section.key().is_empty() {
            text += "\n";
            section.about().iter().for_each(|line| text += &format!("#{line}\n"));
            text += &format!("[{}]\n", section.key());
        }
        for field in section.fields() {
            let Some(value) = inside.get(field.name) else { continue };
            text += "\n";
            field.doc.iter().for_each(|line| text += &format!("#{line}\n"));
            text += &format!("{} = {value}\n", field.name);
        }
    }
    text
}

fn table<'a>(values: &'a Table, key: &str) -> Option<&'a Table> {
    values.get(key)?.as_table()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reads what is written, and how many lines it has.
    fn settings(found: &Found) -> (Settings, String, Vec<String>) {
        let (text, notes) = written(found).unwrap();
        (config::parse(&text, NAME, &[]).unwrap(), text, notes)
    }

    #[test]
    fn the_miniature_is_small_documented_and_complete() {
        let (s, text, _) = settings(&Found::default());
        assert!(s.data.world && s.pretrain.steps > 0 && s.ppo.episodes >= 10 * s.ppo.batch as u64);
        // Limits follow from the context, and are not repeated.
        assert_eq!((s.data.max_prompt_tokens, s.ppo.max_response_tokens), (56, 56));
        assert!(!text.contains("\nmax_prompt_tokens"));
        for part in [
            "\n[ppo]\n",
            "# Beta: the weight of the per-token KL penalty. Paper: 0.02 (C.4).\nkl_coef = 0.05\n",
        ] {
            assert!(text.contains(part), "{text}");
        }
        // Every value that is given is written.
        let all: Table = toml::from_str(&text).unwrap();
        assert_eq!(all, toml::from_str::<Table>(VALUES).unwrap());
        assert!(text.lines().count() < 200, "{}", text.lines().count());
    }

    #[test]
    fn files_are_told_by_their_content() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
        write("a.jsonl", "{\"prompt\":\"p\",\"response\":\"r\"}\n");
        write("b.jsonl", "{\"prompt\":\"p\",\"chosen\":\"r\",\"rejected\":\"s\"}\n");
        write("c.json", "[{\"prompt\":\"p\"}]");
        write("d.txt", "Once there was a story.");
        write("e.jsonl", "{\"text\":\"A document.\"}\n");
        write("f.json", "{\"version\": 1}");
        write("notes.md", "no data");
        let found = Found::in_folder(folder.path()).unwrap();
        let names = |names: &[&str]| names.iter().map(|name| name.to_string()).collect::<Vec<_>>();
        assert_eq!(found.demonstrations, names(&["a.jsonl"]));
        assert_eq!(found.comparisons, names(&["b.jsonl"]));
        assert_eq!(found.prompts, names(&["c.json"]));
        assert_eq!(found.text, names(&["d.txt", "e.jsonl"]));
        let (s, ..) = settings(&found);
        assert_eq!((s.data.world, s.data.prompts, s.model.context), (false, found.prompts, 256));
        assert!(s.ppo.episodes > 0 && s.reward_model.epochs > 0);
    }

    #[test]
    fn what_has_no_data_is_turned_off_and_said() {
        let only = |text: bool, demonstrations: bool, comparisons: bool| {
            let names = |is: bool| if is { vec!["x".to_string()] } else { vec![] };
            settings(&Found {
                text: names(text),
                demonstrations: names(demonstrations),
                comparisons: names(comparisons),
                prompts: vec![],
            })
        };
        let (s, _, notes) = only(true, true, false);
        assert_eq!((s.sft.epochs, s.reward_model.epochs, s.ppo.episodes), (2, 0, 0));
        crate::recipe::check_settings(&s).unwrap();
        assert!(notes.iter().any(|note| note.starts_with("no comparisons")), "{notes:?}");
        let (s, ..) = only(true, false, true);
        assert_eq!((s.sft.epochs, s.reward_model.epochs, s.ppo.episodes), (0, 1, 0));
        let (s, _, notes) = only(false, true, true);
        assert_eq!((s.pretrain.steps, s.ppo.ptx_coef, s.ppo.episodes), (0, 0.0, 1280));
        assert!(notes.iter().any(|note| note.contains("pretrain.init_from")), "{notes:?}");
    }
}
