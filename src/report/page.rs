//! The page of a run: what it was and what came out, then the stages, then what the models say.

use serde_json::{Map, Value};

use super::Run;
use super::benchmarks;
use super::charts::{Labelled, charts};
use super::figures_page;
use super::glance;
use super::html::{document, escape, folded, notes, table};
use super::measures::title;
use super::record::{Note, Series, Stage, Table};
use super::samples::{Answer, Sample};
use crate::num::statistics::text;

/// Samples that are shown at once; the others are folded away.
const SHOWN: usize = 3;

/// The whole page. `refresh`: the browser reads it again every two seconds.
pub fn page(run: &Run, refresh: bool) -> String {
    let name = run.figures.as_ref().map_or("Report of a run", |figures| &figures.title);
    let mut body = format!("<h1>{}</h1>\n", escape(name));
    if refresh {
        body += "<p class=\"quiet\">The run is going on; this page reads itself again.</p>\n";
    }
    if let Some(figures) = &run.figures {
        body += &figures_page::html(figures);
    }
    body += &said(&run.results.notes, |note| note.warns);
    body += &glance::html(run);
    let mut tables = run.results.tables.iter();
    tables.next().into_iter().for_each(|first| body += &table(first));
    let more: String = tables.map(table).collect();
    if !more.is_empty() {
        body += &folded("More tables", &more);
    }
    let html: String = chapters(&run.stages).iter().map(|chapter| chapter_html(chapter, run)).collect();
    body += &format!("<div class=\"chapters\">\n{html}</div>\n");
    if !run.labels.is_empty() {
        body += "<h2>The labelers</h2>\n";
        body += &run.labels.iter().map(table).collect::<String>();
    }
    body += &benchmarks::html(entry(&run.results.found, "benchmarks"));
    if !run.samples.is_empty() {
        body += &samples_html(&run.samples);
    }
    if let Some(config) = &run.config {
        body += &repeat(config);
    }
    document(&format!("instructgpt: {name}"), refresh, &body)
}

/// The notes that are wanted, with their stages.
fn said(all: &[Note], wanted: impl Fn(&Note) -> bool) -> String {
    let with_stage = |note: &Note| match note.stage.as_str() {
        "" => (note.text.clone(), note.warns),
        stage => (format!("{}: {}", title(stage), note.text), note.warns),
    };
    notes(&all.iter().filter(|note| wanted(note)).map(with_stage).collect::<Vec<_>>())
}

/// How the run can be had again.
fn repeat(config: &str) -> String {
    let how = "<h2>Repeat this run</h2>\n<p>Every figure above but those of the clock repeats to the bit, with any number \
               of threads:</p>\n<pre class=\"box\">instructgpt run config.toml --out NEW_DIRECTORY</pre>\n\
               <p class=\"quiet\">Paths in it are relative to <code>--data</code> where one was given.</p>\n";
    how.to_string() + &folded("config.toml", &format!("<pre class=\"box\">{}</pre>\n", escape(config)))
}

/// Stages that stand in the same charts: PPO and PPO-ptx do, every other stage by itself.
fn chapters(stages: &[Stage]) -> Vec<Vec<&Stage>> {
    let mut chapters: Vec<Vec<&Stage>> = Vec::new();
    let is_ppo = |stage: &Stage| matches!(stage.name.as_str(), "ppo" | "ppo_ptx");
    for stage in stages {
        match chapters.iter_mut().find(|chapter| is_ppo(stage) && is_ppo(chapter[0])) {
            Some(chapter) => chapter.push(stage),
            None => chapters.push(vec![stage]),
        }
    }
    chapters
}

fn chapter_html(stages: &[&Stage], run: &Run) -> String {
    let names: Vec<String> = stages.iter().map(|stage| title(&stage.name)).collect();
    let mut out = format!("<h2>{}</h2>\n", escape(&names.join(" and ")));
    out += &said(&run.results.notes, |note| stages.iter().any(|stage| stage.name == note.stage));
    let label = |name: &String| if stages.len() > 1 { name.clone() } else { String::new() };
    // PPO-ptx has the first colour, as in the picture of both.
    let colour = |stage: &Stage| usize::from(stages.len() > 1 && stage.name == "ppo");
    let labelled: Vec<Labelled> =
        stages.iter().zip(&names).map(|(stage, name)| (label(name), colour(stage), *stage)).collect();
    let (first, more) = charts(&labelled, &run.results.found);
    let grid = |charts: &[String]| format!("<div class=\"grid\">\n{}</div>\n", charts.concat());
    if !first.is_empty() {
        out += &grid(&first);
    }
    for stage in stages.iter().filter(|stage| stage.series("kl").is_some()) {
        let monitors = monitors(stage);
        out += &folded(&format!("{}: first and last five iterations", title(&stage.name)), &table(&monitors));
    }
    if !more.is_empty() {
        out += &folded("More measures", &grid(&more));
    }
    for stage in stages {
        if let Some((_, episode)) = run.episodes.iter().find(|(name, _)| *name == stage.name) {
            let html = episode.html(&title(&stage.name));
            // The last of them is the policy of the run.
            let shown = stage.name == stages[stages.len() - 1].name;
            out +=
                &if shown { html } else { folded(&format!("One episode of {}", title(&stage.name)), &html) };
        }
    }
    // A chapter of one chart leaves room for another beside it.
    let class = if first.len() > 1 { "wide" } else { "narrow" };
    format!("<section class=\"{class}\">\n{out}</section>\n")
}

/// The monitors of reward hacking at the two ends of a PPO stage.
fn monitors(stage: &Stage) -> Table {
    let names = [
        ("reward", "reward"),
        ("kl", "KL to the reference, nats per response"),
        ("entropy", "entropy, nats per token"),
        ("response_length", "response length, tokens"),
        ("ended", "share ending by themselves"),
        ("repetition", "share of repeated 4-grams"),
    ];
    let rows = names.iter().filter_map(|(name, label)| {
        let (first, last) = ends(stage.series(name)?)?;
        Some(vec![label.to_string(), text(Some(first), 3), text(Some(last), 3)])
    });
    Table {
        title: "Monitors of the policy that samples (means of the first and the last five iterations)".into(),
        columns: ["", "first", "last"].map(String::from).to_vec(),
        rows: rows.collect(),
    }
}

/// The means of the first and of the last five values; fewer if there are fewer.
fn ends(series: &Series) -> Option<(f64, f64)> {
    let n = series.points.len().min(5);
    let mean = |points: &[(u64, f64)]| points.iter().fold(0.0, |sum, p| sum + p.1) / n as f64;
    (n > 0).then(|| (mean(&series.points[..n]), mean(&series.points[series.points.len() - n..])))
}

fn samples_html(samples: &[Sample]) -> String {
    let mut out = String::from("<h2>What the models say</h2>\n");
    if samples.iter().flat_map(|sample| &sample.answers).any(|answer| !answer.marks.is_empty()) {
        out += "<p class=\"quiet\">Words that <ins>earned</ins> the judgement are underlined, words that <del>lost</del> it \
                have a wavy line.</p>\n";
    }
    let html: Vec<String> = samples.iter().map(sample_html).collect();
    let shown = html.len().min(SHOWN);
    out += &html[..shown].concat();
    if html.len() > shown {
        out += &folded(&format!("{} more requests", html.len() - shown), &html[shown..].concat());
    }
    out
}

fn sample_html(sample: &Sample) -> String {
    let answers: String = sample.answers.iter().map(answer_html).collect();
    format!(
        "<pre class=\"box prompt\">{}</pre>\n<div class=\"answers\" style=\"--n:{}\">\n{answers}</div>\n",
        escape(&sample.prompt),
        sample.answers.len().max(1)
    )
}

fn answer_html(answer: &Answer) -> String {
    let scores = [("reward", answer.reward), ("gold", answer.gold)];
    let scores: Vec<String> = scores
        .iter()
        .filter_map(|(name, score)| Some(format!("{name} {}", text(Some((*score)?), 2))))
        .collect();
    let scores = match scores.is_empty() {
        true => String::new(),
        false => format!("<p class=\"quiet\">{}</p>", scores.join(" · ")),
    };
    format!(
        "<div class=\"box\"><h4>{}</h4><pre>{}</pre>{scores}</div>\n",
        escape(&title(&answer.model)),
        marked(answer)
    )
}

/// An answer's text with its marks.
fn marked(answer: &Answer) -> String {
    let (mut out, mut at) = (String::new(), 0);
    for (range, good) in &answer.marks {
        let tag = if *good { "ins" } else { "del" };
        out += &escape(&answer.text[at..range.start]);
        out += &format!("<{tag}>{}</{tag}>", escape(&answer.text[range.clone()]));
        at = range.end;
    }
    out + &escape(&answer.text[at..])
}

/// The entry of a stage, if it has one.
pub fn entry<'a>(found: &'a Map<String, Value>, stage: &str) -> &'a Value {
    found.get(stage).unwrap_or(&Value::Null)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn monitors_compare_the_two_ends() {
        let points = (1..=20).map(|i| (i, i as f64)).collect();
        let series = vec![Series { name: "kl".into(), points, broken: 0 }];
        let table = monitors(&Stage { name: "ppo".into(), series });
        assert_eq!(table.rows, [["KL to the reference, nats per response", "3.000", "18.000"]]);
    }

    #[test]
    fn ppo_and_ppo_ptx_share_a_chapter() {
        let stages = ["sft", "ppo", "ppo_ptx"].map(|name| Stage { name: name.into(), series: vec![] });
        let names: Vec<Vec<&str>> =
            chapters(&stages).iter().map(|c| c.iter().map(|s| s.name.as_str()).collect()).collect();
        assert_eq!(names, [vec!["sft"], vec!["ppo", "ppo_ptx"]]);
    }

    #[test]
    fn marks_keep_the_text_and_escape_it() {
        let answer =
            Answer { text: "a <b> c".into(), marks: vec![(0..1, true), (2..5, false)], ..Answer::default() };
        assert_eq!(marked(&answer), "<ins>a</ins> <del>&lt;b&gt;</del> c");
    }
}
