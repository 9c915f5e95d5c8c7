//! The command `label`: the labelers' page, what it leaves, and what that says.

mod models;

use std::net::SocketAddr;
use std::path::Path;

use super::args::{LabelArgs, LabelCommand};
use super::jsonl::Output;
use super::tables::columns;
use crate::data::Source;
use crate::engine::Engine;
use crate::error::{Error, Result};
use crate::label::desk::Desk;
use crate::label::export;
use crate::label::item::load_items;
use crate::label::report::Report;
use crate::label::server::{Gate, listen, new_token, serve};
use crate::label::settings::Settings;
use crate::label::store::{FILE, Store};
use crate::report::{LABELS, put};
use crate::run::stderr::say;

/// Fewer characters could be guessed.
const SHORTEST_TOKEN: usize = 16;

/// Runs the command.
///
/// # Errors
/// [`Error::Usage`], [`Error::Io`], [`Error::Format`].
pub fn run<E: Engine>(args: &LabelArgs, engine: E) -> Result<()> {
    let mut out = Output::stdout();
    match &args.command {
        None => page(args, args.data.as_deref().expect("the grammar asks for it"), engine, &mut out),
        Some(LabelCommand::Export { data, out: directory }) => {
            let (mut store, settings) = existing(data)?;
            for (path, lines) in export::write(&mut store, &settings, directory)? {
                out.text(&format!("{}  {lines}", path.display()))?;
            }
            Ok(())
        }
        Some(LabelCommand::Import { data, files }) => {
            create(data)?;
            let mut store = Store::open(data)?;
            for file in files {
                let imported = export::import(&mut store, Source::open(file)?)?;
                let export::Imported { items, records, known, conflicts } = imported;
                out.text(&format!(
                    "{}: {items} items and {records} records added, {known} records were known, {conflicts} left out \
                     as their labelers have said something else here",
                    file.display()
                ))?;
            }
            Ok(())
        }
        Some(LabelCommand::Report { data, json, html, run }) => {
            let (mut store, settings) = existing(data)?;
            let report = Report::of(&mut store, &settings)?;
            if let Some(path) = html {
                let path = put(path.clone(), &report.html())?;
                return out.text(&path.display().to_string()).map(drop);
            }
            if let Some(run) = run {
                // It has to be a run's directory before anything is written into it.
                crate::report::render(run)?;
                put(run.join(LABELS), &(report.json() + "\n"))?;
                return out.text(&crate::report::write(run)?.display().to_string()).map(drop);
            }
            if *json {
                return out.text(&report.json()).map(drop);
            }
            for table in report.tables() {
                out.text(&table.title)?;
                columns(&table.columns, &table.rows).iter().try_for_each(|line| out.text(line).map(drop))?;
                out.text("")?;
            }
            Ok(())
        }
    }
}

/// Samples outputs, if models are named, and serves the page until the process is stopped; its address goes to standard
/// output.
fn page<E: Engine>(args: &LabelArgs, directory: &Path, engine: E, out: &mut Output) -> Result<()> {
    let loopback = args.address.is_loopback();
    let plain = |c: u8| c.is_ascii_alphanumeric() || matches!(c, b'-' | b'_');
    match &args.token {
        None if !loopback => {
            let hint = "whoever reaches the address could label and read: choose a token, and give it to your labelers";
            return Err(Error::usage("--address", "127.0.0.1, or --token with it", args.address, hint));
        }
        Some(token) if token.len() < SHORTEST_TOKEN || !token.bytes().all(plain) => {
            let expected = format!("at least {SHORTEST_TOKEN} letters, digits, - or _");
            return Err(Error::usage("--token", expected, "another", "`openssl rand -hex 16` makes one"));
        }
        _ => {}
    }
    create(directory)?;
    if !args.model.is_empty() {
        models::sample(args, &mut Store::open(directory)?, Settings::of(directory)?.seed, engine)?;
    }
    let mut desk = Desk::open(directory)?;
    for file in &args.items {
        let read = load_items(file)?;
        read.notes.iter().for_each(|note| say(format_args!("note: {note}")));
        let added = desk.add(&read.items)?;
        say(format_args!("{}: {} items, {added} of them new", file.display(), read.items.len()));
    }
    let token = match &args.token {
        Some(token) => token.clone(),
        None => desk.store.token(&new_token())?,
    };
    let (listener, address) = listen(SocketAddr::new(args.address, args.port))?;
    let gate = Gate { port: address.port(), loopback: loopback && args.token.is_none(), token };
    if gate.loopback {
        out.text(&format!("http://{address}/"))?;
    } else {
        say(
            "the page can be reached from other machines, by whoever knows the token; nothing is encrypted on the way",
        );
        out.text(&format!("http://{address}/#{}", gate.token))?;
    }
    say("every submission is on the disk before the page says so; Ctrl-C ends this at any time");
    serve(desk, gate, listener)
}

fn create(directory: &Path) -> Result<()> {
    std::fs::create_dir_all(directory).map_err(|error| Error::io(directory.display(), "create", error))
}

/// A project that is there.
fn existing(directory: &Path) -> Result<(Store, Settings)> {
    if !directory.join(FILE).exists() {
        let expected = format!("a directory of `instructgpt label`, with {FILE}");
        return Err(Error::usage("--data", expected, directory.display(), ""));
    }
    Ok((Store::open(directory)?, Settings::of(directory)?))
}
