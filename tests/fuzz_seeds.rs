//! The fuzzer begins with files that its readers accept: a seed of yesterday's format would leave all that lies
//! behind the first check unexplored, and nobody would see it.

#[path = "../fuzz/readers.rs"]
mod readers;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// Seeds that are there to be refused. (A bomb is not among them: one input of 16 MiB would take the time of a
/// thousand others, see `tests/hostile.rs`.)
const REFUSED: [&str; 3] = ["gzip/blanks", "index/outside", "requests/wrong"];

fn names(directory: &Path) -> BTreeSet<String> {
    let files = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    files.map(|path| path.file_stem().unwrap().to_str().unwrap().to_string()).collect()
}

#[test]
fn each_reader_begins_with_what_it_accepts() {
    let seeds = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds");
    assert_eq!(names(&seeds), readers::READERS.iter().map(|(name, _)| name.to_string()).collect());
    for (reader, accepts) in readers::READERS {
        for seed in names(&seeds.join(reader)) {
            let bytes = fs::read(seeds.join(reader).join(&seed)).unwrap();
            let name = format!("{reader}/{seed}");
            assert_eq!(accepts(&bytes), !REFUSED.contains(&name.as_str()), "{name}");
        }
    }
}
