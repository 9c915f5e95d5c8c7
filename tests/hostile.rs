//! Hostile files, through the front door: each gets one clear message that names the file, in bounded memory
//! and time. (Random hostility is the fuzz targets' matter, and the proptests' beside each reader.)
#![cfg(unix)]

#[path = "common/tiny.rs"]
mod tiny;

use std::fs;
use std::io::Write;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use instructgpt::checkpoint::checksum::renew;
use instructgpt::model::Head;
use tempfile::TempDir;
use tiny::{Outcome, run};

/// Address space of the program under attack, in KiB: 1 GiB, threads and libraries included.
const MEMORY: usize = 1 << 20;
/// Processor time, in seconds.
const TIME: usize = 20;

/// Runs the program within [`MEMORY`] and [`TIME`].
fn limited(arguments: &[&str], input: &[u8]) -> Outcome {
    let script = format!("ulimit -v {MEMORY} && ulimit -t {TIME} && exec \"$@\"");
    let program = env!("CARGO_BIN_EXE_instructgpt");
    let whole = [&["-c", &script, "sh", program], arguments, &["--threads", "1"]].concat();
    run(Path::new("/bin/sh"), &whole, input)
}

/// Asserts that the program refuses its files with one message that has those words.
fn refused(arguments: &[&str], input: &[u8], words: &[&str]) {
    let outcome = limited(arguments, input);
    let what = format!("{arguments:?}, {words:?}: {outcome:?}");
    assert!(matches!(outcome.code, 1 | 2), "{what}");
    assert_eq!(outcome.stderr.matches("error: ").count(), 1, "{what}");
    assert!(words.iter().all(|word| outcome.stderr.contains(word)), "{what}");
    // A run tells its plan first.
    assert!(outcome.stderr.len() < 3000, "{what}");
}

/// A request that every model directory answers.
const REQUEST: &[u8] = b"{\"tokens\":[1,2]}\n";

/// A good model directory, to be spoiled.
struct Spoilt(TempDir);

impl Spoilt {
    fn new() -> Spoilt {
        let directory = tempfile::tempdir().unwrap();
        tiny::save(directory.path(), Head::LanguageModel);
        Spoilt(directory)
    }

    fn at(&self, file: &str) -> PathBuf {
        self.0.path().join(file)
    }

    fn read(&self, file: &str) -> Vec<u8> {
        fs::read(self.at(file)).unwrap()
    }

    fn write(&self, file: &str, contents: impl AsRef<[u8]>) {
        fs::write(self.at(file), contents).unwrap();
    }

    /// A command's arguments.
    fn on<'a>(&'a self, command: &'a str) -> [&'a str; 3] {
        [command, "--model", self.0.path().to_str().unwrap()]
    }

    /// Asserts that the command is refused with these contents in place of a file, which is put back.
    fn refuses(&self, command: &str, file: &str, contents: &[u8], words: &[&str]) {
        let good = self.read(file);
        assert_ne!(contents, good);
        self.write(file, contents);
        refused(&self.on(command), REQUEST, words);
        self.write(file, good);
    }
}

/// A safetensors file of that header.
fn safetensors(header: &str, data: usize) -> Vec<u8> {
    [&(header.len() as u64).to_le_bytes(), header.as_bytes(), &vec![0; data]].concat()
}

/// One tensor's entry in a header.
fn entry(name: &str, shape: &str, from: u64, to: u64) -> String {
    format!("\"{name}\":{{\"dtype\":\"F32\",\"shape\":{shape},\"data_offsets\":[{from},{to}]}}")
}

fn nested() -> String {
    "[".repeat(100_000)
}

#[test]
fn weights() {
    let huge = 1u64 << 60;
    // A header of 1 KiB that claims 2^60 elements, with and without claiming their bytes.
    let padded = |header: String| format!("{header:<1024}");
    let claim = |to| padded(format!("{{{}}}", entry("w", &format!("[{huge}]"), 0, to)));
    let two = |second: String| format!("{{{},{second}}}", entry("v", "[2]", 0, 8));
    let cases: [(&str, Vec<u8>, &str); 19] = [
        ("2^60 elements in 4 bytes", safetensors(&claim(4), 4), "shapes fill their bytes"),
        ("2^60 elements in 2^62 bytes", safetensors(&claim(4 * huge), 4), "shapes fill their bytes"),
        (
            "more elements than there are numbers",
            safetensors(&format!("{{{}}}", entry("w", &format!("[{huge},{huge}]"), 0, 4)), 4),
            "shapes fill their bytes",
        ),
        ("overlap", safetensors(&two(entry("w", "[2]", 4, 12)), 12), "back to back"),
        ("the same bytes twice", safetensors(&two(entry("w", "[2]", 0, 8)), 8), "back to back"),
        ("a gap", safetensors(&two(entry("w", "[2]", 12, 20)), 20), "back to back"),
        ("beyond the end", safetensors(&two(entry("w", "[2]", 8, 16)), 8), "after the header"),
        ("backwards", safetensors(&two(entry("w", "[2]", 16, 8)), 16), "back to back"),
        ("one name twice", safetensors(&two(entry("v", "[2]", 8, 16)), 16), "twice"),
        ("a string twice", safetensors(r#"{"__metadata__":{"a":"1","a":"2"}}"#, 0), "twice"),
        ("deep nesting", safetensors(&format!("{{\"w\":{}", nested()), 0), "JSON"),
        ("deep nesting of strings", safetensors(&format!("{{\"__metadata__\":{}", nested()), 0), "recursion"),
        ("no UTF-8", [&[1, 0, 0, 0, 0, 0, 0, 0][..], b"\xff"].concat(), "JSON"),
        ("a header longer than the file", [&[0xff; 8][..], b"{}"].concat(), "inside the file"),
        ("no JSON", safetensors("hello", 0), "JSON"),
        ("no object", safetensors("[1]", 0), "an object of tensors"),
        ("bytes left over", safetensors(&two(entry("w", "[2]", 8, 16)), 20), "20 bytes after the header"),
        ("nothing", vec![], "8 bytes"),
        ("less than a length", vec![2, 0, 0], "3 bytes in all"),
    ];
    let model = Spoilt::new();
    for (what, contents, word) in cases {
        println!("{what}");
        model.refuses("logprobs", "model.safetensors", &contents, &["model.safetensors", word]);
    }
}

#[test]
fn altered_weights() {
    let (model, file) = (Spoilt::new(), "model.safetensors");
    let whole = model.read(file);
    let mut altered = whole.clone();
    let middle = whole.len() / 2;
    altered[middle] ^= 1;
    model.refuses("logprobs", file, &altered, &["model.safetensors: checksum: expected "]);
    // What another program wrote has another checksum, or none.
    renew(&mut altered);
    let mut without = whole.clone();
    let name = without.windows(5).position(|window| window == b"crc64").unwrap();
    without[name] = b'x';
    for accepted in [&altered, &without, &whole] {
        model.write(file, accepted);
        assert_eq!(limited(&model.on("logprobs"), REQUEST).code, 0);
    }
    model.refuses("logprobs", file, &whole[..middle], &[file, "is the file complete"]);
}

#[test]
fn model_configurations() {
    let (model, file) = (Spoilt::new(), "config.json");
    let good = String::from_utf8(model.read(file)).unwrap();
    let huge = |key: &str, old: &str| {
        good.replace(&format!("\"{key}\": {old}"), &format!("\"{key}\": {}", 1u64 << 60))
    };
    let cases: [(String, &str); 8] = [
        (huge("n_layer", "2"), "layers"),
        (huge("n_embd", "24"), "width"),
        (huge("n_positions", "32"), "context"),
        (nested(), "recursion limit"),
        (format!("{{\"a\":{}", "{\"a\":".repeat(100_000)), "recursion limit"),
        (good.replacen('{', "{\"n_layer\": 1,", 1), "\"n_layer\" twice"),
        ("[]".into(), "a JSON object"),
        (good.replace("24", "-24"), "n_embd"),
    ];
    for (contents, word) in cases {
        model.refuses("logprobs", file, contents.as_bytes(), &[file, word]);
    }
    model.refuses("logprobs", file, &[good.as_bytes(), b"\xff"].concat(), &[file, "JSON"]);
}

#[test]
fn indexes() {
    let (model, outside) = (Spoilt::new(), Spoilt::new());
    fs::rename(model.at("model.safetensors"), model.at("shard.safetensors")).unwrap();
    symlink(outside.at("model.safetensors"), model.at("link")).unwrap();
    symlink(outside.at(""), model.at("folder")).unwrap();
    symlink("loop", model.at("loop")).unwrap();
    symlink("nowhere", model.at("dangling")).unwrap();
    let file = "model.safetensors.index.json";
    let of = |file: &str| format!("{{\"weight_map\":{{\"wte.weight\":\"{file}\"}}}}");

    // A link may lead out of the directory, as in the Hugging Face cache; a name may not.
    for name in ["shard.safetensors", "link"] {
        model.write(file, of(name));
        assert_eq!(limited(&model.on("logprobs"), REQUEST).code, 0, "{name}");
    }
    model.write(file, of("shard.safetensors"));
    let absolute = outside.at("model.safetensors").display().to_string();
    let cases = [
        (of(&absolute), "plain file names"),
        (of("../x/model.safetensors"), "plain file names"),
        (of("folder/model.safetensors"), "plain file names"),
        (of("shard.safetensors\\u0000"), "plain file names"),
        (of("folder"), "a regular file"),
        (of("loop"), "cannot read"),
        (of("dangling"), "cannot read"),
        ("{\"weight_map\":{\"a\":\"shard.safetensors\",\"a\":\"b\"}}".into(), "\"a\" twice"),
        ("{\"weight_map\":{}}".into(), "at least one file"),
        (nested(), "recursion limit"),
    ];
    for (index, word) in cases {
        model.refuses("logprobs", file, index.as_bytes(), &[word]);
    }
}

#[test]
fn tokenizers() {
    let (model, nested) = (Spoilt::new(), nested());
    let text = String::from_utf8(model.read("tokenizer.json")).unwrap();
    let twice = text.replacen("\"add_prefix_space\"", "\"type\": \"ByteLevel\", \"add_prefix_space\"", 1);
    for (contents, word) in [
        (nested.clone(), "a tokenizer's JSON"),
        (twice, "twice"),
        (text.replacen('{', "{\"normalizer\":[[", 1), "JSON"),
        (
            text.replace(
                "\"added_tokens\": [",
                "\"added_tokens\": [{\"id\":4294967295,\"content\":\"a b\"},",
            ),
            "expected id",
        ),
    ] {
        model.refuses("tokenize", "tokenizer.json", contents.as_bytes(), &["tokenizer.json", word]);
    }
    for (file, field) in
        [("tokenizer_config.json", "add_prefix_space"), ("special_tokens_map.json", "eos_token")]
    {
        model.refuses("tokenize", file, nested.as_bytes(), &[file, "recursion limit"]);
        model.refuses("tokenize", file, format!("{{\"{field}\":[]}}").as_bytes(), &[file, field]);
    }
    model.write("added_tokens.json", "{}");
    model.refuses(
        "tokenize",
        "added_tokens.json",
        b"{\"\":1}",
        &["added_tokens.json", "a string and its id"],
    );
    fs::remove_file(model.at("tokenizer.json")).unwrap();
    let cases: [(&str, &[u8], &str); 9] = [
        ("vocab.json", nested.as_bytes(), "an object of token to id"),
        ("vocab.json", b"{\"a\":\xff}", "UTF-8"),
        ("vocab.json", b"{\"a\":4294967296}", "largest allowed"),
        ("vocab.json", b"{\"a\":1}", "all 256 bytes"),
        ("vocab.json", b"{\"!\":0,\"!\":0,", "a tokenizer's JSON"),
        ("merges.txt", b"a b\n\xff", "UTF-8"),
        ("merges.txt", b"a\n", "two tokens"),
        ("merges.txt", b"a  b", "two tokens"),
        ("merges.txt", b" \n", "two tokens"),
    ];
    for (file, contents, word) in cases {
        model.refuses("tokenize", file, contents, &[file, word]);
    }
    assert_eq!(limited(&model.on("tokenize"), b"{\"text\":\"the cat\"}\n").code, 0);
}

/// Merges that lead back to themselves cannot be written, as every merge makes a longer token; those that
/// come nearest end, and the text comes back.
#[test]
fn merges_in_circles_end() {
    let model = Spoilt::new();
    fs::remove_file(model.at("tokenizer.json")).unwrap();
    let mut vocab: serde_json::Map<String, serde_json::Value> =
        serde_json::from_slice(&model.read("vocab.json")).unwrap();
    for token in ["aa", "aaa", "aaaa", "ab", "ba", "aba", "bab"] {
        let id = vocab.values().filter_map(|id| id.as_u64()).max().unwrap() + 1;
        vocab.entry(token).or_insert(id.into());
    }
    model.write("vocab.json", serde_json::to_string(&vocab).unwrap());
    model.write("merges.txt", "aa aa\na a\naa a\na aa\nab a\na b\nb a\na ba\nb ab\nba b\n");
    let text = "a".repeat(200_000) + &"ab".repeat(100_000);
    let line = serde_json::json!({ "text": text }).to_string() + "\n";
    let tokens = limited(&model.on("tokenize"), line.as_bytes());
    assert_eq!(tokens.code, 0, "{}", tokens.stderr);
    let decode = [&model.on("tokenize")[..], &["--decode"]].concat();
    let back = limited(&decode, tokens.stdout.as_bytes());
    assert!(back.stdout == line, "the text comes back");
}

#[test]
fn requests() {
    let (model, nested) = (Spoilt::new(), nested());
    let long = format!("{{\"text\":\"{}\"}}", "x".repeat(65 << 20));
    let cases: [(&[u8], &str); 7] = [
        (nested.as_bytes(), "line 2"),
        (b"{\"tokens\":[\xff]}", "line 2"),
        (b"{\"tokens\":[1],\"tokens\":[2]}", "line 2"),
        (b"{\"tokens\":[4294967296]}", "line 2"),
        (b"{\"tokens\":[4294967295]}", "line 2"),
        (b"{\"text\":1}", "line 2"),
        (long.as_bytes(), "bytes in a record"),
    ];
    for (line, word) in cases {
        let input = [REQUEST, line, b"\n"].concat();
        refused(&model.on("logprobs"), &input, &["standard input", word]);
    }
}

#[test]
fn run_configurations() {
    let directory = tempfile::tempdir().unwrap();
    let (file, out) = (directory.path().join("c.toml"), directory.path().join("out"));
    let [file, out] = [&file, &out].map(|path| path.to_str().unwrap());
    let cases: [(Vec<u8>, &str); 7] = [
        (format!("seed = {}", nested()).into(), "line 1"),
        (format!("seed = {}", "{a=".repeat(100_000)).into(), "line 1"),
        (format!("[{}]", "a.".repeat(100_000)).into(), "line 1"),
        (b"seed = 1\n\xff".to_vec(), "line 2"),
        (b"seed = 1\nseed = 2".to_vec(), "duplicate"),
        (b"[ppo]\nclip = 0.1\n[sft]\n[ppo]\nclip = 0.2".to_vec(), "line 4"),
        (vec![b'#'; 17 << 20], "at most"),
    ];
    for (contents, word) in cases {
        fs::write(file, contents).unwrap();
        refused(&["run", file, "--out", out], b"", &["c.toml", word]);
    }
    fs::write(file, "[data]\nworld = true\n[world]\ndocuments = 60\ndemonstrations = 32\n").unwrap();
    let nested = format!("ppo.clip={}", nested());
    refused(&["run", file, "--out", out, "--set", &nested], b"", &["--set ppo.clip"]);
    assert!(!Path::new(out).exists());
    // Sizes that no machine has; nothing but the lock file is left.
    for sets in [
        &["model.width=4194304", "model.heads=1"][..],
        &["model.layers=16777216", "model.width=2", "model.heads=1"],
        &["model.context=16777216"],
        &["micro_batch_tokens=1000000000000"],
        &["micro_batch_tokens=9000000000000000"],
    ] {
        let sets = sets.iter().flat_map(|set| ["--set", *set]);
        let arguments: Vec<&str> = ["run", file, "--out", out].into_iter().chain(sets).collect();
        refused(&arguments, b"", &["model: expected a size that fits into memory", "MiB"]);
    }
    assert_eq!(fs::read_dir(out).unwrap().count(), 1);
}

/// Data files, each in the place of the demonstrations.
#[test]
fn data() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().to_str().unwrap();
    let [file, out] = ["c.toml", "out"].map(|name| directory.path().join(name).display().to_string());
    fs::write(&file, "[data]\ndemonstrations = [\"d\"]\n").unwrap();
    let record = r#"{"prompt":"p","response":"r"}"#;
    let gzip = |bytes: &[u8]| {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    };
    // 64 MiB of blanks in 64 KiB, and the same as a single record.
    let bomb = gzip(&vec![b' '; 64 << 20]);
    let long = gzip(format!("{{\"prompt\":\"{}\"}}", "x".repeat(64 << 20)).as_bytes());
    assert!(bomb.len() < 100_000 && long.len() < 100_000);
    let cases: [(Vec<u8>, &str); 11] = [
        (vec![b'['; 65 << 20], "bytes in a record"),
        (b"PK\x03\x04".to_vec(), "a zip archive"),
        (format!("{record}\n{}", nested()).into(), "line 2"),
        (format!("[{record},\n{}", nested()).into(), "line 2"),
        (
            format!("{record}\n{{\"prompt\":\"p\",\"response\":\"r\",\"prompt\":\"q\"}}").into(),
            "\"prompt\" twice",
        ),
        (
            format!("[{record},\n{{\"prompt\":\"p\",\"response\":\"r\",\"prompt\":\"q\"}}]").into(),
            "\"prompt\" twice",
        ),
        ([record.as_bytes(), b"\n{\"prompt\":\"\xff\"}"].concat(), "line 2"),
        (vec![b'x'; 65 << 20], "bytes in a record"),
        (bomb, "at most 16777216 bytes of text"),
        (long, "at most"),
        (gzip(record.as_bytes())[..30].to_vec(), "complete gzip data"),
    ];
    for (contents, word) in cases {
        fs::write(directory.path().join("d"), contents).unwrap();
        refused(&["run", &file, "--out", &out, "--data", root], b"", &["/d", word]);
    }
}

/// What `report` and `--resume` read of a run directory.
#[test]
fn run_directories() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| -> PathBuf { directory.path().join(name) };
    let path = directory.path().to_str().unwrap();
    for name in ["metrics.jsonl", "results.json", "samples.jsonl"] {
        for contents in [nested().as_bytes(), b"\xff", b"[1]\n{", b"{\"a\":", b"{\"a\":1,\"a\":1}"] {
            fs::write(at(name), contents).unwrap();
            refused(&["report", path], b"", &[name]);
        }
        fs::remove_file(at(name)).unwrap();
    }
    assert!(!at("report.html").exists());
    // A run whose list of finished stages is spoiled.
    let tiny = Path::new(env!("CARGO_MANIFEST_DIR")).join("configs/tiny.toml");
    let resume = ["run", tiny.to_str().unwrap(), "--out", path, "--resume"];
    let settings = instructgpt::app::config::load(&tiny, &[]).unwrap();
    fs::write(at("config.toml"), instructgpt::settings::Section::to_toml(&settings)).unwrap();
    let zeros = "0000000000000000";
    let record = |bytes: &str, stages: &str| {
        let metrics = format!("{{\"bytes\":{bytes},\"checksum\":\"{zeros}\"}}");
        format!("{{\"crc64\":\"{zeros}\",\"stages\":{stages},\"metrics\":{metrics},\"results\":{{}}}}")
    };
    for (contents, words) in [
        (nested(), &["run.json"][..]),
        (record("0", "[],\"stages\":[\"sft\"]"), &["run.json", "duplicate"]),
        (record("-1", "[]"), &["run.json", "-1"]),
        (record(&u64::MAX.to_string(), "[]"), &["metrics.jsonl", "18446744073709551615 bytes", "0 bytes"]),
        (record("0", "[\"pretrain\"]"), &["pretrain in the run directory"]),
    ] {
        let mut contents = contents.into_bytes();
        renew(&mut contents);
        fs::write(at("run.json"), contents).unwrap();
        refused(&resume, b"", words);
    }
    fs::write(at("run.json"), record("0", "[]")).unwrap();
    refused(&resume, b"", &["run.json: checksum: expected 0000000000000000"]);
}
