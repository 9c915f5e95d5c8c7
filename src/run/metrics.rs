//! The record of a run: `metrics.jsonl` (what repeats to the bit), `timings.jsonl` (what the clock
//! says, kept apart for that reason) and `results.json`.
//!
//! A line of `metrics.jsonl` is `{"stage":"ppo","step":12,"reward":0.25,...}`: fields in the order
//! given, floats with the fewest digits that read back to the same bits (zero without a sign). JSON has no word for
//! what is not finite, so those stand as the strings `"NaN"`, `"inf"` and `"-inf"`: a broken number stays
//! visible and the file stays JSON. What people call them is listed in `report::measures`.

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::checkpoint::atomic::{read_text, write_atomic};
use crate::checkpoint::checksum::{Crc64, digits};
use crate::error::{Error, Result};
use crate::text::json;

/// One measured value.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// A single-precision number.
    F32(f32),
    /// A double-precision number.
    F64(f64),
    /// A count.
    Count(u64),
    /// A word: a file, a choice.
    Text(String),
    /// Finite numbers.
    List(Vec<f64>),
}

impl Value {
    /// Appends the value as JSON.
    fn write(&self, out: &mut String) {
        let text = match self {
            // Adding 0 takes the sign from a negative zero, and changes no other number.
            Value::F32(x) if x.is_finite() => serde_json::to_string(&(x + 0.0)),
            Value::F64(x) if x.is_finite() => serde_json::to_string(&(x + 0.0)),
            Value::F32(x) => serde_json::to_string(&x.to_string()),
            Value::F64(x) => serde_json::to_string(&x.to_string()),
            Value::Count(n) => serde_json::to_string(n),
            Value::Text(s) => serde_json::to_string(s),
            Value::List(numbers) => serde_json::to_string(numbers),
        };
        out.push_str(&text.expect("numbers and strings are always JSON"));
    }
}

impl From<f32> for Value {
    fn from(x: f32) -> Self {
        Value::F32(x)
    }
}
impl From<f64> for Value {
    fn from(x: f64) -> Self {
        Value::F64(x)
    }
}
impl From<u64> for Value {
    fn from(n: u64) -> Self {
        Value::Count(n)
    }
}
impl From<usize> for Value {
    fn from(n: usize) -> Self {
        Value::Count(n as u64)
    }
}
impl From<&str> for Value {
    fn from(s: &str) -> Self {
        Value::Text(s.to_string())
    }
}

/// An append-only JSONL file; every line reaches the operating system before [`Metrics::record`] returns.
#[derive(Debug)]
pub struct Metrics {
    path: PathBuf,
    file: File,
    offset: u64,
    /// Of everything up to there.
    sum: Crc64,
}

/// How far a log was written, and the checksum of what stands there: what a run keeps to go on from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Position {
    bytes: u64,
    checksum: String,
}

impl Default for Position {
    /// The beginning.
    fn default() -> Self {
        Position { bytes: 0, checksum: digits(Crc64::default().value()) }
    }
}

impl Metrics {
    /// Opens `path` for appending, creating it if it is missing.
    ///
    /// # Errors
    /// [`Error::Io`] if the file cannot be opened.
    pub fn append(path: &Path) -> Result<Metrics> {
        let io = |e| Error::io(path.display(), "open", e);
        let mut file =
            OpenOptions::new().create(true).truncate(false).read(true).write(true).open(path).map_err(io)?;
        let sum = sum_of(&mut file, u64::MAX).map_err(io)?;
        let offset = file.stream_position().map_err(io)?;
        Ok(Metrics { path: path.to_path_buf(), file, offset, sum })
    }

    /// Where the log stands, and all of it now safe from a power failure: what a saved state keeps for
    /// [`Metrics::truncate_to`], which would refuse a shorter file.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn synced_position(&mut self) -> Result<Position> {
        self.file.sync_data().map_err(|e| Error::io(self.path.display(), "fsync", e))?;
        Ok(Position { bytes: self.offset, checksum: digits(self.sum.value()) })
    }

    /// Forgets everything after `position`, so that a resumed run goes on exactly where its state was
    /// saved and the file ends up as an uninterrupted run would have left it.
    ///
    /// # Errors
    /// [`Error::Format`] if the file is shorter than that, or not what it was up to there; [`Error::Io`].
    pub fn truncate_to(&mut self, position: &Position) -> Result<()> {
        let wrong = |found: String| {
            let expected = format!("{} bytes with checksum {}", position.bytes, position.checksum);
            let hint = "the file was altered or belongs to another run: start in a new directory";
            Err(Error::format(self.path.display(), "what was saved", expected, found, hint))
        };
        if position.bytes > self.offset {
            return wrong(format!("{} bytes", self.offset));
        }
        let io = |e| Error::io(self.path.display(), "cut back", e);
        let sum = sum_of(&mut self.file, position.bytes).map_err(io)?;
        let found = digits(sum.value());
        if found != position.checksum {
            return wrong(found);
        }
        self.file.set_len(position.bytes).map_err(io)?;
        (self.offset, self.sum) = (position.bytes, sum);
        Ok(())
    }

    /// Appends one line: stage and step (from 1), then `fields` in the order given.
    ///
    /// # Errors
    /// [`Error::Io`] if the line cannot be written.
    pub fn record(&mut self, stage: &str, step: u64, fields: &[(&str, Value)]) -> Result<()> {
        let mut line = String::from("{\"stage\":");
        Value::from(stage).write(&mut line);
        line.push_str(&format!(",\"step\":{step}"));
        for (name, value) in fields {
            line.push(',');
            Value::from(*name).write(&mut line);
            line.push(':');
            value.write(&mut line);
        }
        line.push_str("}\n");
        // One call for the whole line: a kill in between leaves whole lines (a torn one is cut by
        // `truncate_to` on resuming).
        if let Err(error) = self.file.write_all(line.as_bytes()) {
            // A full disk may have taken half a line; readers get whole ones.
            let _ = self.file.set_len(self.offset);
            return Err(Error::io(self.path.display(), "write", error));
        }
        self.offset += line.len() as u64;
        self.sum.update(line.as_bytes());
        Ok(())
    }

    /// The finite values of a measure in all lines of a stage, in order.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn values(&self, stage: &str, measure: &str) -> Result<Vec<f64>> {
        values(&self.path, stage, measure)
    }
}

/// [`Metrics::values`] of a file.
///
/// # Errors
/// [`Error::Io`].
pub fn values(path: &Path, stage: &str, measure: &str) -> Result<Vec<f64>> {
    let text = read_text(path, 4 << 30)?;
    let value = |line: &str| {
        let line = json::parse(line.as_bytes()).ok().filter(|line| line["stage"] == stage)?;
        line[measure].as_f64()
    };
    Ok(text.lines().filter_map(value).collect())
}

/// The checksum of a file's first `bytes` (or all, if it has fewer), behind which it then stands.
fn sum_of(file: &mut File, bytes: u64) -> std::io::Result<Crc64> {
    file.seek(SeekFrom::Start(0))?;
    let mut content = Vec::new();
    file.take(bytes).read_to_end(&mut content)?;
    let mut sum = Crc64::default();
    sum.update(&content);
    Ok(sum)
}

/// The results of a run, replaced as a whole: readers see the old file or the new one, never a part.
///
/// Known entries are drawn by the report: `"notes"` (a list of sentences) and `"tables"` (a list of
/// `{"title", "columns": [..], "rows": [[..]]}`); all others are kept as they are.
///
/// # Errors
/// [`Error::Io`].
pub fn write_results(path: &Path, results: &serde_json::Value) -> Result<()> {
    let mut text = serde_json::to_string_pretty(results).expect("a JSON value is always JSON");
    text.push('\n');
    write_atomic(path, |file| file.write_all(text.as_bytes()))
}

/// Reads `results.json`; `None` if there is none yet.
///
/// # Errors
/// [`Error::Format`] if it is not JSON, [`Error::Io`].
pub fn read_results(path: &Path) -> Result<Option<serde_json::Value>> {
    let Some(text) = read_if_present(path)? else { return Ok(None) };
    json::parse(text.as_bytes())
        .map(Some)
        .map_err(|e| json::refusal(path.display(), text.as_bytes(), (1, 1), "JSON", &e, ""))
}

/// A text file of a run directory; `None` if there is none.
///
/// # Errors
/// As [`read_text`].
pub fn read_if_present(path: &Path) -> Result<Option<String>> {
    // 4 GiB: far above any log, yet a bound on what a wrong file can make us read.
    if path.exists() { read_text(path, 4 << 30).map(Some) } else { Ok(None) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file() -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("metrics.jsonl");
        (dir, path)
    }

    #[test]
    fn a_line_keeps_order_and_bits() {
        let (_dir, path) = file();
        let mut metrics = Metrics::append(&path).unwrap();
        let third = 1.0f32 / 3.0;
        metrics
            .record(
                "ppo",
                12,
                &[("z", third.into()), ("a", 0.1f64.into()), ("n", 7u64.into()), ("t", "x\"".into())],
            )
            .unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        assert_eq!(
            text,
            "{\"stage\":\"ppo\",\"step\":12,\"z\":0.33333334,\"a\":0.1,\"n\":7,\"t\":\"x\\\"\"}\n"
        );
        let back: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!((back["z"].as_f64().unwrap() as f32).to_bits(), third.to_bits());
    }

    #[test]
    fn zero_has_no_sign() {
        let (_dir, path) = file();
        let mut metrics = Metrics::append(&path).unwrap();
        let fields = [("a", (-0.0f32).into()), ("b", (-0.0f64).into()), ("c", (-1e-45f32).into())];
        metrics.record("sft", 1, &fields).unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.ends_with("\"a\":0.0,\"b\":0.0,\"c\":-1e-45}\n"), "{text}");
    }

    #[test]
    fn what_is_not_finite_stays_visible() {
        let (_dir, path) = file();
        let mut metrics = Metrics::append(&path).unwrap();
        let fields = [("a", f32::NAN.into()), ("b", f64::NEG_INFINITY.into()), ("c", f32::INFINITY.into())];
        metrics.record("sft", 1, &fields).unwrap();
        let back: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
        assert_eq!((&back["a"], &back["b"], &back["c"]), (&"NaN".into(), &"-inf".into(), &"inf".into()));
    }

    #[test]
    fn resuming_leaves_the_file_of_an_uninterrupted_run() {
        let (_dir, path) = file();
        let mut metrics = Metrics::append(&path).unwrap();
        metrics.record("sft", 1, &[("loss", 2.0f32.into())]).unwrap();
        let saved = metrics.synced_position().unwrap();
        metrics.record("sft", 2, &[("loss", 9.0f32.into())]).unwrap();
        std::fs::OpenOptions::new().append(true).open(&path).unwrap().write_all(b"{\"stage\":\"s").unwrap();
        drop(metrics);

        let mut metrics = Metrics::append(&path).unwrap();
        metrics.truncate_to(&saved).unwrap();
        metrics.record("sft", 2, &[("loss", 1.0f32.into())]).unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        assert_eq!(text.lines().count(), 2);
        assert!(text.ends_with("\"step\":2,\"loss\":1.0}\n"), "{text}");
        let end = metrics.synced_position().unwrap();
        assert_eq!(end, Metrics::append(&path).unwrap().synced_position().unwrap());
        assert_eq!(end.bytes, text.len() as u64);
        metrics.truncate_to(&Position::default()).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"");
    }

    #[test]
    fn an_altered_file_is_refused_and_left_alone() {
        let (_dir, path) = file();
        let mut metrics = Metrics::append(&path).unwrap();
        metrics.record("sft", 1, &[("loss", 2.0f32.into())]).unwrap();
        let saved = metrics.synced_position().unwrap();
        let good = std::fs::read(&path).unwrap();
        for at in 0..good.len() {
            let mut altered = good.clone();
            altered[at] ^= 1;
            for wrong in [&altered[..], &good[..at]] {
                std::fs::write(&path, wrong).unwrap();
                let error = Metrics::append(&path).unwrap().truncate_to(&saved).unwrap_err().to_string();
                assert!(error.contains("metrics.jsonl: what was saved: expected "), "{error}");
                assert_eq!(std::fs::read(&path).unwrap(), wrong);
            }
        }
    }

    #[test]
    fn results_come_back_and_bad_ones_name_the_line() {
        let (dir, _) = file();
        let path = dir.path().join("results.json");
        assert_eq!(read_results(&path).unwrap(), None);
        let results = serde_json::json!({"tables": [], "x": 0.1});
        write_results(&path, &results).unwrap();
        assert_eq!(read_results(&path).unwrap(), Some(results));
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1, "no temporary file is left");
        std::fs::write(&path, "{\n\"a\": }").unwrap();
        assert!(read_results(&path).unwrap_err().to_string().contains("line 2"));
    }
}
