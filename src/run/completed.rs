//! `run.json`: all that a run goes on from between two stages, in one file, so that there is one moment at
//! which a stage is over. (Within a stage it goes on from a state.)

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::fingerprints::Fingerprints;
use super::metrics::Position;
use super::stage::StageId;
use crate::checkpoint::checksum::{UNSET, renew, verify};
use crate::checkpoint::{read_file, write_atomic};
use crate::error::Result;
use crate::text::json;

/// What the stages that are complete have left.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Completed {
    /// The file's checksum, see [`crate::checkpoint::checksum`].
    crc64: String,
    /// The program's version that began the run: for information.
    #[serde(default)]
    pub version: String,
    /// What the run reads; unknown of a run that an earlier version began.
    #[serde(default)]
    pub inputs: Option<Fingerprints>,
    /// Their names, in order.
    pub stages: Vec<String>,
    /// Where `metrics.jsonl` stood after the last of them.
    pub metrics: Position,
    /// What they found, by stage: `results.json`.
    pub results: serde_json::Map<String, serde_json::Value>,
}

impl Completed {
    /// Reads the file.
    ///
    /// # Errors
    /// [`crate::Error::Io`], and those of [`Completed::parse`].
    pub fn read(path: &Path) -> Result<Self> {
        Completed::parse(&read_file(path, 1 << 28)?, &path.display().to_string())
    }

    /// Reads the file's bytes; `origin` names it in messages.
    ///
    /// # Errors
    /// [`crate::Error::Format`], also if it was altered.
    pub fn parse(bytes: &[u8], origin: &str) -> Result<Self> {
        let completed: Completed = serde_json::from_slice(bytes).map_err(|error| {
            let expected = "{\"crc64\", \"version\", \"inputs\", \"stages\", \"metrics\", \"results\"}";
            json::refusal(origin, bytes, (1, 1), expected, &error, "start in a new directory")
        })?;
        verify(bytes, &completed.crc64, origin)?;
        Ok(completed)
    }

    /// Whether a stage was completed.
    pub fn has(&self, stage: StageId) -> bool {
        self.stages.iter().any(|done| done == stage.name())
    }

    /// Whether no stage was completed after this one.
    pub fn has_last(&self, stage: StageId) -> bool {
        self.stages.last().is_some_and(|last| last == stage.name())
    }

    /// Whether a stage has nothing left to do. The evaluation is made again after any other.
    pub fn covers(&self, stage: StageId) -> bool {
        if stage == StageId::Evaluation { self.has_last(stage) } else { self.has(stage) }
    }

    /// Replaces the file.
    ///
    /// # Errors
    /// [`crate::Error::Io`].
    pub fn write(&mut self, path: &Path) -> Result<()> {
        self.crc64 = UNSET.into();
        let mut bytes = serde_json::to_vec(self).expect("plain data");
        renew(&mut bytes);
        write_atomic(path, |file| file.write_all(&bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_comes_back_and_every_changed_byte_and_every_cut_is_named() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("run.json");
        let mut completed = Completed { stages: vec!["sft".into()], ..Completed::default() };
        // A result may look like the checksum.
        completed.results.insert("crc64".into(), "\"crc64\":\"0000000000000000\"".into());
        completed.write(&path).unwrap();
        let read = Completed::read(&path).unwrap();
        assert_eq!((&read.stages, &read.results), (&completed.stages, &completed.results));
        let good = std::fs::read(&path).unwrap();
        for at in 0..good.len() {
            let mut altered = good.clone();
            altered[at] ^= 1;
            for wrong in [&altered[..], &good[..at]] {
                std::fs::write(&path, wrong).unwrap();
                let error = Completed::read(&path).unwrap_err().to_string();
                assert!(error.starts_with(&path.display().to_string()), "byte {at}: {error}");
            }
        }
    }
}
