//! Everything that reads a file, given hostile bytes. Each reader returns whether the bytes were accepted, and asserts
//! what then holds. The fuzzer runs one at a time (`make fuzz`); `tests/fuzz_seeds.rs` runs all on their seeds.

use std::collections::BTreeMap;
use std::io::Cursor;
use std::path::Path;

use instructgpt::app::config::parse;
use instructgpt::app::jsonl::Lines;
use instructgpt::checkpoint::checksum::renew;
use instructgpt::checkpoint::config_json::{config_json, parse_config};
use instructgpt::checkpoint::load_model;
use instructgpt::checkpoint::safetensors::TensorFile;
use instructgpt::checkpoint::state::parse_state;
use instructgpt::checkpoint::weight_files::shard_names;
use instructgpt::data::corpus::SEPARATOR;
use instructgpt::data::source::MAX_RATIO;
use instructgpt::data::{
    PromptForms, Source, pii, read_comparisons, read_demonstrations, read_documents, read_prompts,
    read_text_records,
};
use instructgpt::model::Head;
use instructgpt::report::episode::episode;
use instructgpt::report::figures::Figures;
use instructgpt::report::samples::samples;
use instructgpt::report::{Run, page, record};
use instructgpt::run::completed::Completed;
use instructgpt::settings::Section;
use instructgpt::text::{TextFile, Tokenizer, TokenizerFiles, json};

#[cfg(feature = "label")]
#[path = "label.rs"]
mod label;

/// Whether bytes are accepted.
pub type Reader = fn(&[u8]) -> bool;

/// All readers by name; each has a folder of seeds of that name. Those of the labelers' page are in builds with it.
pub const READERS: &[(&str, Reader)] = &[
    ("completed", completed),
    ("config_json", model_configuration),
    ("gzip", gzip),
    ("index", index),
    #[cfg(feature = "label")]
    ("label_items", label::items),
    #[cfg(feature = "label")]
    ("label_records", label::records),
    #[cfg(feature = "label")]
    ("label_requests", label::requests),
    ("model", model),
    ("personal", personal),
    ("records", records),
    ("requests", requests),
    ("run_configuration", run_configuration),
    ("run_directory", run_directory),
    ("safetensors", safetensors),
    ("state", state),
    ("table", table),
    ("text", text),
    ("tokenizer", tokenizer),
];

/// The bytes with a right checksum, behind which a fuzzer would never get.
fn renewed(bytes: &[u8]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    renew(&mut bytes);
    bytes
}

/// The stages that a run goes on after.
fn completed(bytes: &[u8]) -> bool {
    let Ok(completed) = Completed::parse(&renewed(bytes), "x") else { return false };
    let again = renewed(&serde_json::to_vec(&completed).unwrap());
    let again = Completed::parse(&again, "x").unwrap();
    assert_eq!((again.stages, again.metrics), (completed.stages.clone(), completed.metrics));
    !completed.stages.is_empty()
}

/// A model's `config.json`: what is accepted is written and read back unchanged.
fn model_configuration(bytes: &[u8]) -> bool {
    let Ok((config, head)) = parse_config(bytes, "x") else { return false };
    let head = head.unwrap_or(Head::LanguageModel);
    let text = config_json(&config, head, None);
    assert_eq!(parse_config(text.as_bytes(), "x"), Ok((config, Some(head))));
    true
}

/// gzip: torn, altered and bombs. The first bytes are the format's own, the rest is hostile.
fn gzip(bytes: &[u8]) -> bool {
    let bytes = [&[0x1f, 0x8b, 8], bytes].concat();
    let documents = Source::from_bytes("x", &bytes).and_then(read_documents);
    if let Ok(loaded) = &documents {
        let size: usize = loaded.records.iter().map(String::len).sum();
        assert!(size as u64 <= (bytes.len() as u64 * MAX_RATIO).max(16 << 20));
    }
    let records = Source::from_bytes("x", &bytes).and_then(read_text_records);
    documents.is_ok() || records.is_ok()
}

/// The index of a sharded model: whatever it says, the files are in the directory.
fn index(bytes: &[u8]) -> bool {
    let Ok(names) = shard_names(bytes, "x") else { return false };
    for name in names {
        let path = Path::new("directory").join(&name);
        assert_eq!(path.parent(), Some(Path::new("directory")));
        assert_eq!(path.file_name().unwrap(), name.as_str());
    }
    true
}

/// A whole model: `config.json`, a zero byte, then the safetensors file.
fn model(bytes: &[u8]) -> bool {
    let Some(end) = bytes.iter().position(|&byte| byte == 0) else { return false };
    let (config, weights) = (&bytes[..end], &bytes[end + 1..]);
    let Ok(network) = load_model(config, &[("a", weights)]) else { return false };
    assert_eq!(network.parameters().len(), network.layout.len);
    assert!(network.parameters().iter().all(|parameter| parameter.is_finite()));
    // Every tensor stands in the file once.
    assert!(load_model(config, &[("a", weights), ("b", weights)]).is_err());
    true
}

/// JSON Lines and JSON arrays of demonstrations, comparisons, prompts and text.
fn records(bytes: &[u8]) -> bool {
    let forms = PromptForms::default();
    let source = || Source::from_bytes("x", bytes);
    let demonstrations = source().and_then(|source| read_demonstrations(source, &forms));
    if let Ok(loaded) = &demonstrations {
        assert!(loaded.records.iter().all(|r| !r.prompt.trim().is_empty() && !r.response.trim().is_empty()));
    }
    let comparisons = source().and_then(|source| read_comparisons(source, &forms));
    if let Ok(loaded) = &comparisons {
        assert!(loaded.records.iter().all(|r| r.responses.len() >= 2 && r.responses.len() == r.ranks.len()));
    }
    let _ = source().and_then(|source| read_prompts(source, &forms));
    let _ = source().and_then(read_text_records);
    demonstrations.is_ok_and(|loaded| !loaded.records.is_empty())
        || comparisons.is_ok_and(|loaded| !loaded.records.is_empty())
}

/// Text in which personal data are looked for: what is found lies in order within the text, and is gone once it is
/// replaced.
fn personal(bytes: &[u8]) -> bool {
    let Ok(text) = str::from_utf8(bytes) else { return false };
    let found = pii::find(text);
    let mut end = 0;
    for one in &found {
        assert!(one.range.start >= end && !text[one.range.clone()].is_empty());
        end = one.range.end;
    }
    let replaced = pii::replaced(text, &found);
    assert!(found.iter().all(|one| replaced.contains(one.kind.placeholder())));
    !found.is_empty()
}

/// The JSON Lines that `logprobs`, `score` and `tokenize` read.
fn requests(bytes: &[u8]) -> bool {
    let mut lines = Lines::new(Box::new(Cursor::new(bytes.to_vec())), "x");
    let mut count = 0;
    // An error ends the program's loop as well.
    loop {
        match lines.input() {
            Ok(Some(_)) => count += 1,
            end => {
                assert!(count <= bytes.len());
                return end.is_ok();
            }
        }
    }
}

/// A run's TOML, and after a zero byte an override as in `--set`: what is accepted is written and read back
/// unchanged.
fn run_configuration(bytes: &[u8]) -> bool {
    let Ok(text) = str::from_utf8(bytes) else { return false };
    let (text, set) = match text.split_once('\0') {
        Some((text, set)) => (text, vec![set.to_string()]),
        None => (text, vec![]),
    };
    let Ok(settings) = parse(text, "x", &set) else { return false };
    assert_eq!(parse(&settings.to_toml(), "x", &[]), Ok(settings));
    true
}

/// What `report` reads of a run directory: `metrics.jsonl`, `results.json`, `samples.jsonl`, `config.toml`,
/// `timings.jsonl`, an episode and `figures.json`, with zero bytes between them.
fn run_directory(bytes: &[u8]) -> bool {
    let Ok(text) = str::from_utf8(bytes) else { return false };
    let mut files = text.split('\0');
    let mut file = || files.next().unwrap_or_default();
    let stages = record::metrics(file(), "x").unwrap_or_default();
    let results = json::parse(file().as_bytes()).ok().and_then(|json| record::results(&json, "x").ok());
    let samples = samples(file(), "x").unwrap_or_default();
    let config = file();
    let run = Run {
        stages,
        results: results.unwrap_or_default(),
        samples,
        settings: config.parse().unwrap_or_default(),
        config: Some(config.into()),
        timings: record::timings(file(), "x").unwrap_or_default(),
        episodes: vec![("ppo".into(), episode(file(), "x").unwrap_or_default())],
        figures: Figures::parse(file(), "x").ok(),
        labels: vec![],
    };
    let html = page(&run, false);
    assert!(html.ends_with("</html>\n"));
    // Whatever is in the files is text, never a program.
    assert!(!html.contains("<script"));
    run.stages.len() == 2 && !run.results.tables.is_empty() && !run.samples.is_empty()
}

/// The safetensors container: every tensor that a file is said to hold can be read.
fn safetensors(bytes: &[u8]) -> bool {
    let Ok(file) = TensorFile::open(&bytes, "x") else { return false };
    // No tensor is larger than the file: each element has half a byte or more.
    assert!(file.tensors.values().all(|tensor| tensor.len() <= 2 * bytes.len()));
    let readable = || file.tensors.iter().filter(|(_, tensor)| tensor.is_readable());
    let mut values: Vec<_> = readable().map(|(_, tensor)| vec![0.0; tensor.len()]).collect();
    let places = readable().zip(&mut values);
    let _ = file.read(places.map(|((name, _), values)| (name.as_str(), values.as_mut_slice())).collect());
    !file.tensors.is_empty() && file.read(BTreeMap::new()).is_ok()
}

/// The state a run resumes from: what is accepted is whole.
fn state(bytes: &[u8]) -> bool {
    let Ok(state) = parse_state(&renewed(bytes), "x", 3) else { return false };
    let numbers: usize = state.buffers.values().map(Vec::len).sum();
    assert!(4 * numbers <= bytes.len());
    !state.buffers.is_empty()
}

/// A table of demonstrations whose columns are called `question` and `answer`.
fn table(bytes: &[u8]) -> bool {
    let columns = [("prompt", "question"), ("response", "answer")];
    let columns = columns.map(|(ours, theirs)| (ours.to_string(), theirs.to_string())).into();
    let forms = PromptForms { columns, ..PromptForms::default() };
    let loaded = Source::from_bytes("x", bytes).and_then(|source| read_demonstrations(source, &forms));
    let Ok(loaded) = loaded else { return false };
    assert!(loaded.records.iter().all(|r| !r.prompt.trim().is_empty() && !r.response.trim().is_empty()));
    loaded.columns.contains("prompt") && loaded.columns.contains("response")
}

/// Plain text: documents, their separators, Project Gutenberg's markers, byte order marks.
fn text(bytes: &[u8]) -> bool {
    let Ok(loaded) = Source::from_bytes("x", bytes).and_then(read_documents) else { return false };
    assert!(loaded.records.iter().all(|d| !d.trim().is_empty() && !d.contains(SEPARATOR)));
    !loaded.records.is_empty()
}

/// A tokenizer: `tokenizer.json`, or `vocab.json`, a zero byte and `merges.txt`, and perhaps another zero byte and
/// `tokenizer_config.json`. One that is accepted takes any text apart and puts it together again, and is written and
/// read back unchanged.
fn tokenizer(bytes: &[u8]) -> bool {
    let Ok(text) = str::from_utf8(bytes) else { return false };
    fn file(text: &str) -> TextFile<'_> {
        TextFile { name: "x", text }
    }
    let parts: Vec<TextFile> = text.splitn(3, '\0').map(file).collect();
    let files = TokenizerFiles {
        tokenizer_json: parts.first().copied().filter(|_| parts.len() == 1),
        vocab_and_merges: parts.get(1).map(|&merges| [parts[0], merges]),
        tokenizer_config: parts.get(2).copied(),
        ..TokenizerFiles::default()
    };
    let Ok(Some((tokenizer, _))) = Tokenizer::from_files(&files) else { return false };
    let tokens = tokenizer.encode(text);
    let decoded = tokenizer.decode(&tokens).unwrap();
    // A space may be put before a piece.
    let spaceless = |text: &[u8]| text.iter().copied().filter(|&byte| byte != b' ').collect::<Vec<u8>>();
    assert_eq!(spaceless(&decoded), spaceless(text.as_bytes()));
    let (vocabulary, merges, json) =
        (tokenizer.vocab_json(), tokenizer.merges_txt(), tokenizer.tokenizer_json());
    let config = tokenizer.tokenizer_config_json(None);
    for tokenizer_json in [None, Some(file(&json))] {
        let files = TokenizerFiles {
            tokenizer_json,
            vocab_and_merges: Some([file(&vocabulary), file(&merges)]),
            tokenizer_config: Some(file(&config)),
            ..TokenizerFiles::default()
        };
        let (again, notes) = Tokenizer::from_files(&files).unwrap().unwrap();
        assert_eq!((again.encode(text), notes), (tokens.clone(), vec![]));
    }
    true
}
