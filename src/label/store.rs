//! What is kept: items and records, in a redb file. Its transactions are durable: what [`Store::submit`] has returned is on
//! the disk, whatever happens to the process or the machine.
//!
//! Records are only ever added. `current` says which of them are in force: one for each labeler and item, until it is
//! taken back.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use redb::backends::InMemoryBackend;
use redb::{Database, ReadableDatabase, ReadableTable, ReadableTableMetadata, TableDefinition};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::item::{Item, Task};
use super::record::{Answer, Record};
use crate::checkpoint::atomic::sync_directory;
use crate::error::{Error, Result};

/// The database's name in the project's directory.
pub const FILE: &str = "labels.redb";
/// Its name while it is being made.
const UNFINISHED: &str = "labels.redb.new";

/// Most bytes of the file that are held in memory. It is little: a labeler sees one item at a time.
pub const CACHE: usize = 16 << 20;

/// Items as JSON, by number.
const ITEMS: TableDefinition<u64, &[u8]> = TableDefinition::new("items");
/// An item's number, by its id.
const ITEM_NUMBERS: TableDefinition<&str, u64> = TableDefinition::new("item_numbers");
/// All records as JSON in their order.
const LOG: TableDefinition<u64, &[u8]> = TableDefinition::new("log");
/// A record's number in the log, by its id.
const LOG_NUMBERS: TableDefinition<&str, u64> = TableDefinition::new("log_numbers");
/// The record in force, by what it is about (an item, or itself) and its labeler.
const CURRENT: TableDefinition<(&str, &str), u64> = TableDefinition::new("current");
/// A labeler's last record, as long as it may be taken back.
const LAST: TableDefinition<&str, u64> = TableDefinition::new("last");
/// What belongs to the project: "token".
const PROJECT: TableDefinition<&str, &str> = TableDefinition::new("project");

/// What became of a submission.
#[derive(Debug, Clone, PartialEq)]
pub enum Submitted {
    /// It is kept, and with it this item to grade.
    New(Option<Box<Item>>),
    /// It was kept before: the answer to an earlier sending got lost.
    Already,
    /// The labeler has said something else about the item.
    Conflict,
}

/// The items and records of a project.
#[derive(Debug)]
pub struct Store {
    path: PathBuf,
    /// Whether it is in memory alone, and nothing is kept.
    in_memory: bool,
    /// None after a failed write: the database is then opened anew, at the state of its last durable transaction.
    database: Option<Database>,
}

impl Store {
    /// Opens the database of a project's directory, or makes a new one.
    ///
    /// # Errors
    /// [`Error::Io`], also where another process has it open.
    pub fn open(directory: &Path) -> Result<Store> {
        let mut store = Store { path: directory.join(FILE), in_memory: false, database: None };
        if !store.path.exists() {
            make(directory)?;
        }
        store.write(|_| Ok(()))?;
        Ok(store)
    }

    /// One in memory, which is gone when it is dropped.
    ///
    /// # Errors
    /// [`Error::Io`] where there is no memory.
    pub fn in_memory() -> Result<Store> {
        let mut store = Store { path: "memory".into(), in_memory: true, database: None };
        store.write(|_| Ok(()))?;
        Ok(store)
    }

    fn database(&mut self) -> Result<&Database> {
        if self.database.is_none() {
            let mut builder = Database::builder();
            builder.set_cache_size(CACHE);
            let opened = match self.in_memory {
                true => builder.create_with_backend(InMemoryBackend::new()),
                false => builder.create(&self.path),
            };
            let database = opened.map_err(|error| match error {
                redb::DatabaseError::DatabaseAlreadyOpen => {
                    let reason = "another process has it open; the running page exports and reports as well, see its foot";
                    Error::io(self.path.display(), "open", reason)
                }
                other => Error::io(self.path.display(), "open", other),
            })?;
            self.database = Some(database);
        }
        Ok(self.database.as_ref().expect("it was opened above"))
    }

    /// One durable transaction: all of `change` or nothing.
    fn write<T>(
        &mut self,
        change: impl FnOnce(&mut Tables) -> std::result::Result<T, redb::Error>,
    ) -> Result<T> {
        let database = self.database()?;
        let run = || -> std::result::Result<T, redb::Error> {
            let transaction = database.begin_write()?;
            let done = change(&mut Tables {
                items: transaction.open_table(ITEMS)?,
                item_numbers: transaction.open_table(ITEM_NUMBERS)?,
                log: transaction.open_table(LOG)?,
                log_numbers: transaction.open_table(LOG_NUMBERS)?,
                current: transaction.open_table(CURRENT)?,
                last: transaction.open_table(LAST)?,
                project: transaction.open_table(PROJECT)?,
            })?;
            transaction.commit()?;
            Ok(done)
        };
        run().map_err(|error| {
            self.database = None;
            Error::io(self.path.display(), "write", error)
        })
    }

    /// Reads at one state of the database, while others may write.
    fn read<T>(
        &mut self,
        look: impl FnOnce(&redb::ReadTransaction) -> std::result::Result<T, redb::Error>,
    ) -> Result<T> {
        let database = self.database()?;
        let done =
            database.begin_read().map_err(redb::Error::from).and_then(|transaction| look(&transaction));
        done.map_err(|error| Error::io(self.path.display(), "read", error))
    }

    /// The project's token; `new` becomes it if there is none yet.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn token(&mut self, new: &str) -> Result<String> {
        self.write(|tables| {
            if let Some(token) = tables.project.get("token")? {
                return Ok(token.value().to_string());
            }
            tables.project.insert("token", new)?;
            Ok(new.to_string())
        })
    }

    /// Adds the items that are not there yet; how many those are.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn add_items(&mut self, items: &[Item]) -> Result<usize> {
        self.write(|tables| {
            items.iter().try_fold(0, |added, item| Ok(added + usize::from(tables.add(item)?)))
        })
    }

    /// All items in their order.
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::Format`] for an item of another version of this program.
    pub fn items(&mut self, each: impl FnMut(Item)) -> Result<()> {
        self.all(ITEMS, each)
    }

    /// The item of that id.
    ///
    /// # Errors
    /// As [`Store::items`].
    pub fn item(&mut self, id: &str) -> Result<Option<Item>> {
        self.one(ITEM_NUMBERS, ITEMS, id)
    }

    /// The record of that id, whether it is in force or not.
    ///
    /// # Errors
    /// As [`Store::items`].
    pub fn record(&mut self, id: &str) -> Result<Option<Record>> {
        self.one(LOG_NUMBERS, LOG, id)
    }

    /// All records that are in force, in the order in which they came.
    ///
    /// # Errors
    /// As [`Store::items`].
    pub fn records(&mut self, mut each: impl FnMut(Record)) -> Result<()> {
        let numbers = self.read(|transaction| {
            let current = transaction.open_table(CURRENT)?;
            let mut numbers = Vec::with_capacity(current.len()? as usize);
            for entry in current.iter()? {
                numbers.push(entry?.1.value());
            }
            Ok(numbers)
        });
        let mut numbers = numbers?;
        numbers.sort_unstable();
        let origin = self.path.display().to_string();
        self.read(|transaction| {
            let log = transaction.open_table(LOG)?;
            let mut parsed = Ok(());
            for number in numbers {
                let Some(bytes) = log.get(number)? else { continue };
                match parse(bytes.value(), &origin) {
                    Ok(record) => each(record),
                    Err(error) => {
                        parsed = Err(error);
                        break;
                    }
                }
            }
            Ok(parsed)
        })?
    }

    /// Keeps a record, durably, once.
    ///
    /// # Errors
    /// [`Error::Io`]; then nothing is kept.
    pub fn submit(&mut self, record: &Record, item: Option<&Item>) -> Result<Submitted> {
        self.write(|tables| {
            if let Some(number) = tables.log_numbers.get(record.id.as_str())?.map(|number| number.value()) {
                let kept = tables.log.get(number)?;
                let same = kept.is_some_and(|kept| {
                    serde_json::from_slice::<Record>(kept.value())
                        .is_ok_and(|kept| Record { time: kept.time, ..record.clone() } == kept)
                });
                return Ok(if same { Submitted::Already } else { Submitted::Conflict });
            }
            let about = (record.item.as_deref().unwrap_or(&record.id), record.labeler.as_str());
            if tables.current.get(about)?.is_some() {
                return Ok(Submitted::Conflict);
            }
            let number = tables.append(record)?;
            tables.current.insert(about, number)?;
            tables.last.insert(record.labeler.as_str(), number)?;
            let grading = match (item, &record.answer) {
                (Some(item), Answer::Demonstration { response })
                    if item.screening && item.task == Task::Write =>
                {
                    Some(Box::new(item.grading(&record.id, response)))
                }
                _ => None,
            };
            if let Some(item) = &grading {
                tables.add(item)?;
            }
            Ok(Submitted::New(grading))
        })
    }

    /// Takes back the labeler's last record, by the record `undo` (whose answer names it afterwards). Gives the one that
    /// was taken back, or `None` where there is none; sent again, the same.
    ///
    /// # Errors
    /// [`Error::Io`]; then nothing is changed.
    pub fn undo(&mut self, mut undo: Record) -> Result<Option<Record>> {
        let origin = self.path.display().to_string();
        let bytes = self.write(|tables| {
            if let Some(number) = tables.log_numbers.get(undo.id.as_str())?.map(|number| number.value()) {
                let kept = tables.log.get(number)?.map(|kept| kept.value().to_vec()).unwrap_or_default();
                let of = match serde_json::from_slice(&kept) {
                    Ok(Record { answer: Answer::Undo { of }, labeler, .. }) if labeler == undo.labeler => of,
                    _ => return Ok(None),
                };
                let number = tables.log_numbers.get(of.as_str())?.map_or(u64::MAX, |number| number.value());
                return Ok(tables.log.get(number)?.map(|kept| kept.value().to_vec()));
            }
            let Some(last) = tables.last.remove(undo.labeler.as_str())?.map(|last| last.value()) else {
                return Ok(None);
            };
            let bytes = tables.log.get(last)?.map(|kept| kept.value().to_vec()).unwrap_or_default();
            let Ok(record) = serde_json::from_slice::<Record>(&bytes) else { return Ok(Some(bytes)) };
            tables.current.remove((record.item.as_deref().unwrap_or(&record.id), record.labeler.as_str()))?;
            undo.item = record.item.clone();
            undo.answer = Answer::Undo { of: record.id };
            tables.append(&undo)?;
            Ok(Some(bytes))
        })?;
        bytes.map(|bytes| parse(&bytes, &origin)).transpose()
    }

    fn all<T: DeserializeOwned>(
        &mut self,
        table: TableDefinition<u64, &[u8]>,
        mut each: impl FnMut(T),
    ) -> Result<()> {
        let origin = self.path.display().to_string();
        self.read(|transaction| {
            for entry in transaction.open_table(table)?.iter()? {
                match parse(entry?.1.value(), &origin) {
                    Ok(value) => each(value),
                    Err(error) => return Ok(Err(error)),
                }
            }
            Ok(Ok(()))
        })?
    }

    fn one<T: DeserializeOwned>(
        &mut self,
        numbers: TableDefinition<&str, u64>,
        table: TableDefinition<u64, &[u8]>,
        id: &str,
    ) -> Result<Option<T>> {
        let origin = self.path.display().to_string();
        let bytes = self.read(|transaction| {
            let Some(number) = transaction.open_table(numbers)?.get(id)? else { return Ok(None) };
            Ok(transaction.open_table(table)?.get(number.value())?.map(|bytes| bytes.value().to_vec()))
        })?;
        bytes.map(|bytes| parse(&bytes, &origin)).transpose()
    }
}

/// Makes an empty database. It has another name until it is whole: a file whose making was cut off is no database.
fn make(directory: &Path) -> Result<()> {
    let [path, unfinished] = [FILE, UNFINISHED].map(|name| directory.join(name));
    match std::fs::remove_file(&unfinished) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            return Err(Error::io(unfinished.display(), "remove", error));
        }
        _ => {}
    }
    Store { path: unfinished.clone(), in_memory: false, database: None }.write(|_| Ok(()))?;
    std::fs::rename(&unfinished, &path).map_err(|error| Error::io(path.display(), "create", error))?;
    // What the file holds is durable; so has to be its name, and that of a new directory.
    let parent = directory.parent().filter(|parent| !parent.as_os_str().is_empty());
    [Some(directory), parent].into_iter().flatten().try_for_each(sync_directory)
}

/// The tables of one transaction.
struct Tables<'t> {
    items: redb::Table<'t, u64, &'static [u8]>,
    item_numbers: redb::Table<'t, &'static str, u64>,
    log: redb::Table<'t, u64, &'static [u8]>,
    log_numbers: redb::Table<'t, &'static str, u64>,
    current: redb::Table<'t, (&'static str, &'static str), u64>,
    last: redb::Table<'t, &'static str, u64>,
    project: redb::Table<'t, &'static str, &'static str>,
}

impl Tables<'_> {
    /// Adds an item; whether it was not there.
    fn add(&mut self, item: &Item) -> std::result::Result<bool, redb::Error> {
        if self.item_numbers.get(item.id.as_str())?.is_some() {
            return Ok(false);
        }
        let number = self.items.len()?;
        self.items.insert(number, &*bytes(item))?;
        self.item_numbers.insert(item.id.as_str(), number)?;
        Ok(true)
    }

    /// Adds a record to the log and gives its number there.
    fn append(&mut self, record: &Record) -> std::result::Result<u64, redb::Error> {
        let number = self.log.len()?;
        self.log.insert(number, &*bytes(record))?;
        self.log_numbers.insert(record.id.as_str(), number)?;
        Ok(number)
    }
}

fn bytes(value: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(value).expect("plain data")
}

fn parse<T: DeserializeOwned>(bytes: &[u8], origin: &str) -> Result<T> {
    serde_json::from_slice(bytes).map_err(|error| {
        let hint = "was it written by another version of this program?";
        Error::format(origin, "", "an item or a record", error, hint)
    })
}

#[cfg(test)]
mod tests;
