//! What README and the pages of `docs/` show is so: the picture is drawn from the measures beside it, the program
//! takes every command line, and (after `make demo`, as it takes minutes) the demo still gives what is shown of it.
//!
//! After a change that is meant, `UPDATE=1 make demo-check` writes measures and picture anew.

use std::fs;
use std::path::{Path, PathBuf};

use clap::{CommandFactory, Parser};
use instructgpt::app::args::Cli;
use instructgpt::num::statistics::text;
use instructgpt::report::charts::{OVERVIEW, OVERVIEW_STAGES, overview};
use instructgpt::report::figures::{Effect, Figures, Verdict};
use instructgpt::report::record;
use instructgpt::report::samples::samples;
use serde_json::Value;

const PICTURE: &str = "docs/demo.svg";
const MEASURES: &str = "docs/demo_metrics.jsonl";

fn path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

fn read(name: &str) -> String {
    fs::read_to_string(path(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// Compares a committed file, or writes it anew.
fn check(name: &str, expected: &str) {
    if std::env::var_os("UPDATE").is_some() {
        fs::write(path(name), expected).unwrap();
    }
    assert!(read(name) == expected, "{name} is another; UPDATE=1 make demo-check writes it anew");
}

fn draw(measures: &str) -> String {
    overview(&record::metrics(measures, MEASURES).unwrap()).unwrap() + "\n"
}

/// Of a demo's metrics, the lines and fields that the picture shows.
fn drawn(metrics: &str) -> String {
    let keep = |line: &str| {
        let record: Value = serde_json::from_str(line).unwrap();
        let (stage, step) = (record["stage"].as_str().unwrap(), &record["step"]);
        OVERVIEW_STAGES.iter().find(|(name, _)| *name == stage)?;
        let measures = OVERVIEW.iter().filter_map(|(name, ..)| Some((*name, record.get(*name)?)));
        let measures: String = measures.map(|(name, value)| format!(",\"{name}\":{value}")).collect();
        Some(format!("{{\"stage\":\"{stage}\",\"step\":{step}{measures}}}\n"))
    };
    metrics.lines().filter_map(keep).collect()
}

#[test]
fn the_picture_is_drawn_from_the_measures() {
    check(PICTURE, &draw(&read(MEASURES)));
}

/// A file of the demo's run directory.
fn demo(name: &str) -> String {
    read(&format!("runs/demo/{name}"))
}

#[test]
#[ignore = "needs the run directory of make demo"]
fn the_demo_still_gives_the_measures() {
    let measures = drawn(&demo("metrics.jsonl"));
    check(MEASURES, &measures);
    check(PICTURE, &draw(&measures));
}

#[test]
#[ignore = "needs the run directory of make demo"]
fn the_demo_still_gives_the_answers() {
    let samples = samples(&demo("samples.jsonl"), "samples.jsonl").unwrap();
    let readme = read("README.md");
    let (mut answers, mut shown) = (&Vec::new(), 0);
    for line in readme.lines() {
        if line.starts_with("Request: ") {
            let prompt = format!("{line}\nAnswer:");
            let sample = samples.iter().find(|sample| sample.prompt == prompt);
            answers = &sample.unwrap_or_else(|| panic!("{line}: no such sample")).answers;
        } else if let Some((model, shown_answer)) = line.trim_start().split_once(':') {
            let Some(answer) = answers.iter().find(|answer| answer.model == model) else { continue };
            // A line end is shown as a sign, so that an answer stands on one line.
            assert_eq!(shown_answer, answer.text.replace('\n', " ⏎ "), "{model}");
            shown += 1;
        }
    }
    assert!(shown > 0, "README shows no answers");
}

#[test]
#[ignore = "needs the run directory of make demo"]
fn the_demo_still_gives_the_tables() {
    let results = serde_json::from_str(&demo("results.json")).unwrap();
    let document = read("docs/results.md");
    for table in record::results(&results, "results.json").unwrap().tables {
        for row in table.rows {
            let row = format!("| {} |", row.join(" | "));
            assert!(document.contains(&row), "docs/results.md lacks {row}");
        }
    }
}

/// The run of `reproduce` that is kept as an example.
const PAPER: &str = "reference/paper";

#[test]
fn the_papers_page_is_drawn_from_its_figures() {
    let folder = tempfile::tempdir().unwrap();
    fs::copy(path(&format!("{PAPER}/figures.json")), folder.path().join("figures.json")).unwrap();
    let page = instructgpt::report::render(folder.path()).unwrap();
    check(&format!("{PAPER}/report.html"), &page);
}

#[test]
fn the_verdicts_shown_are_those_of_the_page() {
    let origin = format!("{PAPER}/figures.json");
    let figures = Figures::parse(&read(&origin), &origin).unwrap();
    let row = |verdict: &Verdict| {
        let [ours, low, high] = [verdict.ours, verdict.low, verdict.high].map(|x| text(x, 3));
        let Verdict { figure, claim, paper, effect, .. } = verdict;
        format!("| {figure} | {claim} | {paper} | {ours} [{low}, {high}] | {} |\n", effect.word())
    };
    let table: String = figures.verdicts.iter().map(row).collect();
    let header = "| | claim | paper | ours, 95 % interval | effect |\n|---|---|---|---|---|\n";
    let mut readme = read("README.md");
    let (before, rest) = readme.split_once(header).expect("README has the table of verdicts");
    let shown: String =
        rest.lines().take_while(|line| line.starts_with('|')).map(|line| format!("{line}\n")).collect();
    if std::env::var_os("UPDATE").is_some() {
        readme = format!("{before}{header}{table}{}", &rest[shown.len()..]);
        fs::write(path("README.md"), &readme).unwrap();
    }
    assert!(readme.contains(&format!("{header}{table}")), "README's verdicts are not those of {origin}");
    let count = |effect: Effect| figures.verdicts.iter().filter(|verdict| verdict.effect == effect).count();
    let [yes, no, undecided] = [Effect::Yes, Effect::No, Effect::Undecided].map(count);
    let summary =
        format!("Of {} effects {yes} appear, {no} do not, {undecided} are undecided", figures.verdicts.len());
    assert!(readme.contains(&summary), "README does not say: {summary}");
}

/// A command line as a shell would cut it, as far as the documents need it.
fn arguments(line: &str) -> Vec<String> {
    let line = line.split(" #").next().unwrap().split(" > ").next().unwrap();
    let (mut words, mut word, mut quote) = (Vec::new(), None::<String>, None);
    for c in line.chars() {
        match quote {
            Some(end) if c == end => quote = None,
            None if c == '"' || c == '\'' => quote = Some(c),
            None if c == ' ' => words.extend(word.take()),
            _ => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    words
}

#[test]
fn every_command_line_shown_is_taken() {
    let mut shown = Vec::new();
    let pages =
        fs::read_dir(path("docs")).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut pages: Vec<String> =
        pages.filter(|name| name.ends_with(".md")).map(|name| format!("docs/{name}")).collect();
    pages.sort();
    pages.insert(0, "README.md".into());
    for page in &pages {
        for line in read(page).lines() {
            let command = line.strip_prefix("target/release/").unwrap_or(line);
            // A build without the labelers' page does not know its command.
            let known = cfg!(feature = "label") || !command.starts_with("instructgpt label");
            // "[--data DIR]" shows a form, not a command line.
            if command.starts_with("instructgpt ") && known && !command.contains(" [--") {
                let arguments = arguments(command);
                Cli::try_parse_from(&arguments).unwrap_or_else(|error| panic!("{page}: {line}\n{error}"));
                shown.push(arguments[1].clone());
            }
        }
    }
    for command in Cli::command().get_subcommands() {
        assert!(shown.iter().any(|name| name == command.get_name()), "`{}` is not shown", command.get_name());
    }
}
