//! The fuzzer begins with files that its readers accept: a seed of yesterday's format would leave all that lies
//! behind the first check unexplored, and nobody would see it. Some thousand altered ones are read here, too.

#[path = "../fuzz/readers.rs"]
mod readers;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use proptest::prelude::*;

/// Seeds that are there to be refused. (A bomb is not among them: one input of 16 MiB would take the time of a
/// thousand others, see `tests/hostile.rs`.)
const REFUSED: [&str; 4] = ["gzip/blanks", "index/outside", "label_requests/forged", "requests/wrong"];

fn names(directory: &Path) -> BTreeSet<String> {
    let files = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    files.map(|path| path.file_stem().unwrap().to_str().unwrap().to_string()).collect()
}

#[test]
fn each_reader_begins_with_what_it_accepts() {
    let built_in = |name: &String| cfg!(feature = "label") || !name.starts_with("label_");
    let folders: BTreeSet<String> = names(&folder()).into_iter().filter(built_in).collect();
    assert_eq!(folders, readers::READERS.iter().map(|(name, _)| name.to_string()).collect());
    for (reader, accepts) in readers::READERS {
        for (seed, bytes) in seeds(reader) {
            let name = format!("{reader}/{seed}");
            assert_eq!(accepts(&bytes), !REFUSED.contains(&name.as_str()), "{name}");
        }
    }
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds")
}

/// The seeds of a reader, each with its name.
fn seeds(reader: &str) -> Vec<(String, Vec<u8>)> {
    let folder = folder().join(reader);
    names(&folder).into_iter().map(|name| (name.clone(), fs::read(folder.join(name)).unwrap())).collect()
}

/// A change of some bytes: what stands from a place on, so many of them, is replaced.
#[derive(Debug, Clone)]
struct Change {
    at: prop::sample::Index,
    taken: usize,
    put: Vec<u8>,
}

fn change() -> impl Strategy<Value = Change> {
    // Bytes that mean something to JSON and HTTP among any others; and nothing, so that something is cut out.
    let byte = prop_oneof![any::<u8>(), proptest::sample::select(b"{}[]\",:\\0-9e%&=/\n ".to_vec())];
    let put = proptest::collection::vec(byte, 0..4);
    (any::<prop::sample::Index>(), prop_oneof![0..4usize, 0..400usize], put)
        .prop_map(|(at, taken, put)| Change { at, taken, put })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    /// Each reader takes or refuses whatever has become of its seeds, keeps its promises, and does not panic.
    #[test]
    fn altered_seeds_keep_every_promise(
        pick in any::<prop::sample::Index>(),
        changes in proptest::collection::vec(change(), 1..4),
    ) {
        for (reader, accepts) in readers::READERS {
            let mut seeds = seeds(reader);
            let (_, mut bytes) = seeds.swap_remove(pick.index(seeds.len()));
            for Change { at, taken, put } in &changes {
                let at = at.index(bytes.len() + 1);
                let end = bytes.len().min(at + taken);
                bytes.splice(at..end, put.iter().copied());
            }
            accepts(&bytes);
        }
    }

    /// The same for what is no seed's.
    #[test]
    fn any_bytes_are_taken_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        for (_, accepts) in readers::READERS {
            accepts(&bytes);
        }
    }
}
