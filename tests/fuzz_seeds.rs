//! The fuzz targets begin with files that their readers accept: a seed of yesterday's format would leave all
//! that lies behind the first check unexplored, and nobody would see it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Cursor;
use std::path::Path;

use instructgpt::app::config;
use instructgpt::app::jsonl::Lines;
use instructgpt::checkpoint::checksum::renew;
use instructgpt::checkpoint::config_json::parse_config;
use instructgpt::checkpoint::directory::shard_names;
use instructgpt::checkpoint::load_model;
use instructgpt::checkpoint::manifest::parse_manifest;
use instructgpt::checkpoint::safetensors::TensorFile;
use instructgpt::checkpoint::state::parse_state;
use instructgpt::data::{
    InstructionTemplate, Source, read_comparisons, read_demonstrations, read_documents, read_text_records,
};
use instructgpt::report::record;
use instructgpt::run::completed::Completed;
use instructgpt::text::{Tokenizer, json};

/// Seeds that are there to be refused. (A bomb is not among them: one input of 16 MiB would take the time of a
/// thousand others, see `tests/hostile.rs`.)
const REFUSED: [&str; 3] = ["gzip/blanks", "index/outside", "requests/wrong"];

/// Whether the target's reader accepts that file, as the target hands it over.
fn accepted(target: &str, bytes: &[u8]) -> bool {
    let text = || std::str::from_utf8(bytes).unwrap();
    let renewed = || {
        let mut bytes = bytes.to_vec();
        renew(&mut bytes);
        bytes
    };
    let source = || Source::from_bytes("x", bytes).unwrap();
    let template = InstructionTemplate::default();
    match target {
        "checksums" => parse_manifest(bytes, "x").is_ok_and(|manifest| !manifest.is_empty()),
        "completed" => Completed::parse(&renewed(), "x").is_ok_and(|completed| !completed.stages.is_empty()),
        "config_json" => parse_config(bytes, "x").is_ok(),
        "gzip" => {
            let bytes = [&[0x1f, 0x8b, 8], bytes].concat();
            let source = || Source::from_bytes("x", &bytes).unwrap();
            read_documents(source()).is_ok() || read_text_records(source()).is_ok()
        }
        "index" => shard_names(bytes, "x").is_ok(),
        "model" => {
            let end = bytes.iter().position(|&byte| byte == 0).unwrap();
            load_model(&bytes[..end], &[("a", &bytes[end + 1..])]).is_ok()
        }
        "records" => {
            read_demonstrations(source(), &template).is_ok_and(|loaded| !loaded.records.is_empty())
                || read_comparisons(source(), &template).is_ok_and(|loaded| !loaded.records.is_empty())
        }
        "requests" => {
            let mut lines = Lines::new(Box::new(Cursor::new(bytes.to_vec())), "x");
            let inputs: Vec<_> = std::iter::from_fn(|| lines.input().transpose()).take(10).collect();
            inputs.iter().all(Result::is_ok)
        }
        "run_configuration" => match text().split_once('\0') {
            Some((text, set)) => config::parse(text, "x", &[set.to_string()]).is_ok(),
            None => config::parse(text(), "x", &[]).is_ok(),
        },
        "run_directory" => {
            let files: Vec<&str> = text().split('\0').collect();
            let results = json::parse(files[1].as_bytes()).unwrap();
            record::metrics(files[0], "x").is_ok_and(|stages| stages.len() == 2)
                && record::results(&results, "x").is_ok_and(|results| !results.tables.is_empty())
                && record::samples(files[2], "x").is_ok_and(|samples| !samples.is_empty())
        }
        "safetensors" => TensorFile::open(&bytes, "x")
            .is_ok_and(|file| !file.tensors.is_empty() && file.read(BTreeMap::new()).is_ok()),
        "state" => parse_state(&renewed(), "x", 3).is_ok_and(|state| !state.buffers.is_empty()),
        "text" => read_documents(source()).is_ok_and(|loaded| !loaded.records.is_empty()),
        "tokenizer" => match text().split_once('\0') {
            Some((vocabulary, merges)) => Tokenizer::from_vocab_and_merges(vocabulary, merges, "x").is_ok(),
            None => Tokenizer::from_tokenizer_json(text(), "x").is_ok(),
        },
        other => panic!("{other}: a target without a line here"),
    }
}

fn names(directory: &Path) -> BTreeSet<String> {
    fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().path().file_stem().unwrap().to_str().unwrap().to_string())
        .collect()
}

#[test]
fn each_target_begins_with_what_its_reader_accepts() {
    let fuzz = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz");
    let targets = names(&fuzz.join("targets"));
    assert_eq!(targets, names(&fuzz.join("seeds")));
    let manifest = fs::read_to_string(fuzz.join("Cargo.toml")).unwrap();
    for target in targets {
        assert!(manifest.contains(&format!("path = \"targets/{target}.rs\"")), "{target} in Cargo.toml");
        for seed in names(&fuzz.join("seeds").join(&target)) {
            let bytes = fs::read(fuzz.join("seeds").join(&target).join(&seed)).unwrap();
            let name = format!("{target}/{seed}");
            assert_eq!(accepted(&target, &bytes), !REFUSED.contains(&name.as_str()), "{name}");
        }
    }
}
