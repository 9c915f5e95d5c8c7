//! The tasks that were asked for, each with its file.

use std::fs;
use std::path::{Path, PathBuf};

use super::run_tasks::{Asking, Prepared};
use super::tasks::{Card, Task, named};
use crate::data::examples::load_examples;
use crate::error::{Error, Result};

/// The tasks of these names, each with its file, read and found good.
///
/// # Errors
/// Those of [`files`], of reading the files and of [`Prepared::new`].
pub fn prepare(names: &[String], data: &[PathBuf], asking: Asking) -> Result<Vec<(Prepared, PathBuf)>> {
    let mut prepared = Vec::with_capacity(names.len());
    for (name, file) in names.iter().zip(files(names, data)?) {
        prepared.push((Prepared::new(named(name)?, &load_examples(&file)?, asking)?, file));
    }
    Ok(prepared)
}

/// The file of each task: of `data` that in its own place, or the only one, or in that folder.
///
/// # Errors
/// [`Error::Usage`] for a name that no task has or that comes twice (as `--task`), for data that is not one for each, and
/// for a task without its file (as `--data`); [`Error::Io`].
pub fn files(names: &[String], data: &[PathBuf]) -> Result<Vec<PathBuf>> {
    if let Some(twice) = (1..names.len()).find(|&i| names[..i].contains(&names[i])) {
        return Err(Error::usage("--task", "each task once", format!("{} twice", names[twice]), ""));
    }
    let tasks = names.iter().map(|name| named(name)).collect::<Result<Vec<_>>>()?;
    if data.len() != 1 && data.len() != names.len() {
        let expected = format!("one folder, or a file for each of {} tasks", names.len());
        return Err(Error::usage("--data", expected, data.len(), ""));
    }
    let file = |(place, task): (usize, &&dyn Task)| {
        let data = &data[if data.len() == 1 { 0 } else { place }];
        if data.is_dir() { file_of(*task, data) } else { Ok(data.to_path_buf()) }
    };
    tasks.iter().enumerate().map(file).collect()
}

/// The file of a task in a folder: the one whose name up to its first dot is the task's, or one under which the data is
/// known.
fn file_of(task: &dyn Task, folder: &Path) -> Result<PathBuf> {
    let Card { name, files, .. } = task.card();
    let failed = |error| Error::io(folder.display(), "list", error);
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        let file = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let stem = file.split('.').next().unwrap_or_default();
        if path.is_file() && (stem == name || files.contains(&stem)) {
            found.push(path);
        }
    }
    found.sort();
    match &found[..] {
        [file] => Ok(file.clone()),
        _ => {
            let names: Vec<String> =
                [name].iter().chain(files).map(|name| format!("{name}.jsonl, .json, .csv or .tsv")).collect();
            let expected = format!("one file for {name}: {} (or .gz)", names.join("; "));
            let files: Vec<String> = found.iter().map(|path| path.display().to_string()).collect();
            let found = match files.is_empty() {
                true => format!("none in {}", folder.display()),
                false => files.join(" and "),
            };
            Err(Error::usage("--data", expected, found, "or name the file itself"))
        }
    }
}
