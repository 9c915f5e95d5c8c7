//! What a run resumes from: named f32 buffers and named strings in one checked file per step.
//!
//! `state-00000120.safetensors` is an ordinary safetensors file with its [`CHECKSUM`], so that any reader of
//! the format can open it and a torn or altered file is found. The buffers are whatever the caller must have
//! back (parameters, moments, averages of one or several networks); counters and everything else go into the
//! strings, as JSON. Buffers are written from where they lie, in pieces: saving holds no second copy. The
//! last two states are kept; if the newest is damaged, the one before is used and the caller told.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::Path;

use super::atomic::{TEMPORARY_SUFFIX, write_atomic};
use super::checksum::CHECKSUM;
use super::read_at::{DiskFile, ReadAt};
use super::safetensors::{TensorFile, TensorView, encode_to, zeros};
use crate::error::{Error, Result};

/// How many states a directory keeps.
pub const KEPT: usize = 2;

/// Under this key the step stands in the file itself; callers' strings must not use it.
const STEP: &str = "step";

/// What [`save_state`] was given.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct State {
    /// Named buffers, equal to the bit.
    pub buffers: BTreeMap<String, Vec<f32>>,
    /// Named strings (counters, random positions, metrics: JSON by convention).
    pub strings: BTreeMap<String, String>,
}

/// The newest good state of a directory.
#[derive(Debug, Clone, PartialEq)]
pub struct LoadedState {
    /// The step it was saved after.
    pub step: u64,
    /// Its contents.
    pub state: State,
    /// One sentence for each damaged state that was passed over.
    pub warnings: Vec<String>,
}

/// The file name of a step's state.
pub fn state_name(step: u64) -> String {
    format!("state-{step:08}.safetensors")
}

/// Writes the state after `step` into `directory`, then removes all but the [`KEPT`] newest.
///
/// States of later steps are removed as well: they belong to a run this one replaces (one that started
/// over, or whose last state was damaged), and must not be resumed from. So are temporary files a killed
/// process left. Hold the directory's [`super::RunLock`].
///
/// # Errors
/// [`Error::Io`]; the earlier states are then untouched.
///
/// # Panics
/// If two buffers have one name, or a string has the reserved name `crc64` or `step`.
pub fn save_state(
    directory: &Path,
    step: u64,
    buffers: &[(&str, &[f32])],
    strings: &BTreeMap<String, String>,
) -> Result<()> {
    let shapes: Vec<[usize; 1]> = buffers.iter().map(|(_, values)| [values.len()]).collect();
    let tensors: Vec<_> = buffers
        .iter()
        .zip(&shapes)
        .map(|(&(name, values), shape)| TensorView { name, shape, values })
        .collect();
    let mut metadata = strings.clone();
    let reserved = metadata.insert(STEP.to_string(), step.to_string());
    assert!(reserved.is_none(), "the string name {STEP:?} is reserved");
    write_atomic(&directory.join(state_name(step)), |writer| {
        encode_to(&tensors, &metadata, |piece| writer.write_all(piece))
    })?;
    remove_others(directory, step)
}

fn remove_others(directory: &Path, step: u64) -> Result<()> {
    let steps = list_states(directory)?;
    let later = steps.iter().filter(|&&other| other > step);
    let earlier = steps.iter().rev().filter(|&&other| other <= step).skip(KEPT);
    for other in later.chain(earlier) {
        let path = directory.join(state_name(*other));
        fs::remove_file(&path).map_err(|error| Error::io(path.display(), "remove", error))?;
    }
    for name in file_names(directory)? {
        if name.starts_with(".state-") && name.ends_with(TEMPORARY_SUFFIX) {
            let _ = fs::remove_file(directory.join(name));
        }
    }
    Ok(())
}

/// The steps of the states in `directory`, ascending.
fn list_states(directory: &Path) -> Result<Vec<u64>> {
    let step = |name: &String| {
        let step = name.strip_prefix("state-")?.strip_suffix(".safetensors")?.parse().ok()?;
        (state_name(step) == *name).then_some(step)
    };
    let mut steps: Vec<u64> = file_names(directory)?.iter().filter_map(step).collect();
    steps.sort_unstable();
    Ok(steps)
}

fn file_names(directory: &Path) -> Result<Vec<String>> {
    let failed = |error: io::Error| Error::io(directory.display(), "list", error);
    let mut names = Vec::new();
    for entry in fs::read_dir(directory).map_err(failed)? {
        names.push(entry.map_err(failed)?.file_name().to_string_lossy().into_owned());
    }
    Ok(names)
}

/// Loads the newest good state of `directory`; `None` when there is no state file (or no directory).
///
/// # Errors
/// [`Error::Io`] when the directory cannot be read; the newest state's own error when no state is good.
pub fn load_latest_state(directory: &Path) -> Result<Option<LoadedState>> {
    if !directory.exists() {
        return Ok(None);
    }
    let mut warnings = Vec::new();
    let mut first_error = None;
    for step in list_states(directory)?.into_iter().rev() {
        match load_state(&directory.join(state_name(step)), step) {
            Ok(state) => return Ok(Some(LoadedState { step, state, warnings })),
            Err(error) => {
                warnings.push(format!("passed over a damaged state: {error}"));
                first_error.get_or_insert(error);
            }
        }
    }
    first_error.map_or(Ok(None), Err)
}

fn load_state(path: &Path, step: u64) -> Result<State> {
    parse_state(&DiskFile::open(path, u64::MAX)?, &path.display().to_string(), step)
}

/// Reads the state that was saved after `step`; `origin` names it in messages.
///
/// # Errors
/// [`Error::Format`] for anything but a whole, unaltered state of that step; [`Error::Io`].
pub fn parse_state(bytes: &dyn ReadAt, origin: &str, step: u64) -> Result<State> {
    let hint = "the file was cut short or altered; an earlier state or a fresh run is the way on";
    let bad = |at: &str, expected: String, found: String| Error::format(origin, at, expected, found, hint);
    let file = TensorFile::open(bytes, origin)?;
    let mut strings = file.metadata.clone();
    if strings.remove(CHECKSUM).is_none() {
        return Err(bad("checksum", "16 digits".into(), "none".into()));
    }
    let found = strings.remove(STEP);
    if found.as_deref() != Some(&step.to_string()) {
        return Err(bad("step", format!("{step}, as the file name says"), format!("{found:?}")));
    }
    let mut buffers = BTreeMap::new();
    for (name, tensor) in &file.tensors {
        if tensor.dtype() != "F32" {
            return Err(bad(&format!("buffer {name:?}"), "F32".into(), tensor.dtype()));
        }
        let no_memory = || bad(&format!("buffer {name:?}"), "enough memory".into(), "none".into());
        buffers.insert(name.clone(), zeros(tensor.len()).ok_or_else(no_memory)?);
    }
    file.read(buffers.iter_mut().map(|(name, values)| (name.as_str(), values.as_mut_slice())).collect())?;
    Ok(State { buffers, strings })
}

#[cfg(test)]
mod tests {
    use super::super::checksum::renew;
    use super::*;
    use proptest::prelude::*;

    fn strings(text: &str) -> BTreeMap<String, String> {
        BTreeMap::from([("counters".to_string(), text.to_string())])
    }

    fn names(directory: &Path) -> Vec<String> {
        let mut names = file_names(directory).unwrap();
        names.sort();
        names
    }

    fn save(directory: &Path, step: u64, values: &[f32]) {
        save_state(
            directory,
            step,
            &[("policy", values), ("policy.m", &[]), ("é\"", &[2.0])],
            &strings("{}"),
        )
        .unwrap();
    }

    #[test]
    fn a_state_comes_back_to_the_bit() {
        let directory = tempfile::tempdir().unwrap();
        assert_eq!(load_latest_state(directory.path()).unwrap(), None);
        assert_eq!(load_latest_state(&directory.path().join("none")).unwrap(), None);
        let values: Vec<f32> = (0..10_000).map(|i| f32::from_bits(i * 429_496)).chain([-0.0]).collect();
        save(directory.path(), 7, &values);
        let loaded = load_latest_state(directory.path()).unwrap().unwrap();
        assert_eq!((loaded.step, loaded.warnings.len()), (7, 0));
        let bits = |values: &[f32]| values.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
        assert_eq!(bits(&loaded.state.buffers["policy"]), bits(&values));
        assert_eq!(loaded.state.buffers["é\""], [2.0]);
        assert!(loaded.state.buffers["policy.m"].is_empty());
        assert_eq!((loaded.state.buffers.len(), loaded.state.strings), (3, strings("{}")));
    }

    #[test]
    fn equal_states_are_equal_files() {
        let [a, b] = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
        save(a.path(), 1, &[1.0, 2.0]);
        save(b.path(), 1, &[1.0, 2.0]);
        assert_eq!(
            fs::read(a.path().join(state_name(1))).unwrap(),
            fs::read(b.path().join(state_name(1))).unwrap()
        );
    }

    #[test]
    fn two_are_kept_and_later_ones_and_leftovers_go() {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join(".state-00000001.safetensors.1-1.tmp"), "torn").unwrap();
        fs::write(directory.path().join("state-notes.safetensors"), "mine").unwrap();
        for step in [99_999_999, 100_000_000, 5, 10, 15] {
            save(directory.path(), step, &[step as f32]);
        }
        let expected =
            ["state-00000010.safetensors", "state-00000015.safetensors", "state-notes.safetensors"];
        assert_eq!(names(directory.path()), expected);
    }

    #[test]
    fn a_damaged_newest_state_is_named_and_the_one_before_used() {
        let directory = tempfile::tempdir().unwrap();
        save(directory.path(), 1, &[1.0; 100]);
        save(directory.path(), 2, &[2.0; 100]);
        let newest = directory.path().join(state_name(2));
        let bytes = fs::read(&newest).unwrap();
        let mut altered = bytes.clone();
        altered[bytes.len() - 100] ^= 1;
        for damaged in [&bytes[..bytes.len() / 2], &bytes[..0], &altered] {
            fs::write(&newest, damaged).unwrap();
            let loaded = load_latest_state(directory.path()).unwrap().unwrap();
            assert_eq!((loaded.step, loaded.warnings.len()), (1, 1));
            assert!(loaded.warnings[0].contains("state-00000002.safetensors"), "{}", loaded.warnings[0]);
            assert_eq!(loaded.state.buffers["policy"], [1.0; 100]);
        }
        // A good file under another step's name is no state of that step.
        fs::rename(directory.path().join(state_name(1)), directory.path().join(state_name(3))).unwrap();
        let error = load_latest_state(directory.path()).unwrap_err().to_string();
        assert!(error.contains("state-00000003") && error.contains("step"), "{error}");
    }

    fn sample() -> Vec<u8> {
        let directory = tempfile::tempdir().unwrap();
        save(directory.path(), 3, &[1.0, 2.0]);
        fs::read(directory.path().join(state_name(3))).unwrap()
    }

    #[test]
    fn every_changed_byte_and_every_cut_is_found() {
        let bytes = sample();
        parse_state(&bytes, "x", 3).unwrap();
        for at in 0..bytes.len() {
            let mut altered = bytes.clone();
            altered[at] ^= 0x20;
            assert!(parse_state(&altered, "x", 3).is_err(), "byte {at}");
            assert!(parse_state(&&bytes[..at], "x", 3).is_err(), "cut at {at}");
        }
    }

    proptest! {
        #[test]
        fn hostile_files_with_a_right_checksum_never_panic(
            at in any::<prop::sample::Index>(),
            byte in any::<u8>(),
            random in proptest::collection::vec(any::<u8>(), 0..64),
        ) {
            let _ = parse_state(&random, "x", 3);
            let mut bytes = sample();
            let at = at.index(bytes.len());
            bytes[at] = byte;
            renew(&mut bytes);
            let _ = parse_state(&bytes, "x", 3);
        }
    }
}
