//! Measurements are kept, so that a figure drawn again, or one that shares them, does not make them again: JSON Lines
//! below `OUT/seed-S/answers`. The first line says what they are of; where that has changed they are made anew.

use std::path::Path;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::checkpoint::write_atomic;
use crate::error::{Error, Result};
use crate::run::metrics::read_if_present;

/// The first line.
#[derive(Serialize, serde::Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
struct Of {
    of: String,
}

/// What `path` keeps of measurements `of` something, or what `make` makes, which is then kept.
///
/// # Errors
/// Those of `make`; [`Error::Io`]; [`Error::Format`] of a file that is none of ours.
pub fn kept<T: Serialize + DeserializeOwned>(
    path: &Path,
    of: &str,
    make: impl FnOnce() -> Result<Vec<T>>,
) -> Result<Vec<T>> {
    let of = Of { of: of.to_string() };
    if let Some(text) = read_if_present(path)?
        && let Some(values) = read(&text, &of, path)?
    {
        return Ok(values);
    }
    let values = make()?;
    let mut text = line(&of);
    values.iter().for_each(|value| text += &line(value));
    if let Some(directory) = path.parent() {
        std::fs::create_dir_all(directory).map_err(|e| Error::io(directory.display(), "create", e))?;
    }
    write_atomic(path, |file| file.write_all(text.as_bytes()))?;
    // As they are read back another time.
    Ok(read(&text, &of, path)?.unwrap_or(values))
}

fn line(value: &impl Serialize) -> String {
    serde_json::to_string(value).expect("plain data") + "\n"
}

/// The values of a text; `None` if they are of something else.
fn read<T: DeserializeOwned>(text: &str, of: &Of, path: &Path) -> Result<Option<Vec<T>>> {
    let mut lines = (1..).zip(text.lines());
    let parse = |(number, line): (usize, &str)| {
        let hint = "it keeps measurements: remove it, and they are made again";
        serde_json::from_str(line).map_err(|error| {
            Error::format(path.display(), format!("line {number}"), "a measurement", error, hint)
        })
    };
    match lines.next().map(|(_, line)| serde_json::from_str::<Of>(line)) {
        Some(Ok(found)) if found == *of => lines.map(parse).collect::<Result<_>>().map(Some),
        _ => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_is_not_made_again_unless_it_is_of_something_else() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("answers/x.jsonl");
        let measured = |of: &str, values: Option<Vec<f64>>| {
            kept(&path, of, || values.ok_or_else(|| Error::io("x", "make", "made again")))
        };
        assert_eq!(measured("a", Some(vec![0.1 + 0.2, 2.0])).unwrap(), [0.1 + 0.2, 2.0]);
        assert_eq!(measured("a", None).unwrap(), [0.1 + 0.2, 2.0]);
        assert!(measured("b", None).unwrap_err().to_string().contains("made again"));
        assert_eq!(measured("b", Some(vec![3.0])).unwrap(), [3.0]);
        std::fs::write(&path, "{\"of\":\"b\"}\n1.5\n{\n").unwrap();
        let error = measured("b", None).unwrap_err().to_string();
        assert!(error.contains("x.jsonl: line 3") && error.contains("remove it"), "{error}");
    }
}
