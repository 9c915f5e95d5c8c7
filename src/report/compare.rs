//! Several runs on one page: how their configurations differ, their tables beside each other, their curves in the same
//! charts, a colour for each run.

use std::collections::BTreeMap;

use serde_json::Map;

use super::Run;
use super::charts::{Key, Labelled, charts, legend};
use super::html::{document, escape, folded, table};
use super::measures::title;
use super::record::Table;
use super::svg::Stroke;

/// The page. `runs` have a name each, which need not differ. `refresh`: the browser reads it again now and then.
pub fn page(runs: &[(String, Run)], refresh: bool) -> String {
    let labels = labels(runs);
    let keys: Vec<Key> =
        labels.iter().enumerate().map(|(i, label)| (label.clone(), i, Stroke::Solid)).collect();
    let mut body = format!("<h1>Comparison of {} runs</h1>\n{}", runs.len(), legend(&keys));
    body += "<h2>What differs in their configurations</h2>\n";
    let differences = differences(runs, &labels);
    body += &match differences.rows.is_empty() {
        true => "<p>Nothing.</p>\n".to_string(),
        false => table(&differences),
    };
    body += "<h2>Results</h2>\n";
    for (i, t) in merged(runs, &labels).iter().enumerate() {
        body += &if i == 0 { table(t) } else { folded(&t.title, &table(t)) };
    }
    let mut stages: Vec<&str> = Vec::new();
    for stage in runs.iter().flat_map(|(_, run)| &run.stages) {
        if !stages.contains(&stage.name.as_str()) {
            stages.push(&stage.name);
        }
    }
    for name in stages {
        let of_run = |(colour, ((_, run), label)): (usize, (&'_ (String, Run), &String))| {
            run.stages.iter().position(|stage| stage.name == name).map(|at| (label.clone(), colour, at))
        };
        let places: Vec<(String, usize, usize)> =
            runs.iter().zip(&labels).enumerate().filter_map(of_run).collect();
        let labelled: Vec<Labelled> =
            places.into_iter().map(|(label, run, at)| (label, run, &runs[run].1.stages[at])).collect();
        let (first, more) = charts(&labelled, &Map::new());
        let grid = |charts: &[String]| format!("<div class=\"grid\">\n{}</div>\n", charts.concat());
        body += &format!("<h2>{}</h2>\n{}", escape(&title(name)), grid(&first));
        if !more.is_empty() {
            body += &folded("More measures", &grid(&more));
        }
    }
    document("instructgpt: comparison of runs", refresh, &body)
}

/// The runs' names; those that occur twice are numbered.
fn labels(runs: &[(String, Run)]) -> Vec<String> {
    let twice = |name: &str| runs.iter().filter(|(other, _)| other == name).count() > 1;
    let label = |(i, (name, _)): (usize, &(String, Run))| match twice(name) {
        true => format!("{name} ({})", i + 1),
        false => name.clone(),
    };
    runs.iter().enumerate().map(label).collect()
}

/// The keys that have different values, a row for each.
fn differences(runs: &[(String, Run)], labels: &[String]) -> Table {
    let mut keys: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (i, (_, run)) in runs.iter().enumerate() {
        let mut put = |key: String, value: &toml::Value| {
            keys.entry(key).or_insert_with(|| vec!["–".into(); runs.len()])[i] = value.to_string();
        };
        for (name, value) in &run.settings {
            match value.as_table() {
                Some(section) => section.iter().for_each(|(key, value)| put(format!("{name}.{key}"), value)),
                None => put(name.clone(), value),
            }
        }
    }
    keys.retain(|_, values| values.iter().any(|value| *value != values[0]));
    let row = |(key, values): (String, Vec<String>)| [vec![key], values].concat();
    Table {
        title: "Keys that differ".into(),
        columns: [vec!["key".to_string()], labels.to_vec()].concat(),
        rows: keys.into_iter().map(row).collect(),
    }
}

/// Tables of the same title and columns as one, with the run in its first column.
fn merged(runs: &[(String, Run)], labels: &[String]) -> Vec<Table> {
    let mut tables: Vec<Table> = Vec::new();
    for ((_, run), label) in runs.iter().zip(labels) {
        for found in &run.results.tables {
            let columns = [vec!["run".to_string()], found.columns.clone()].concat();
            let same = |t: &Table| t.title == found.title && t.columns == columns;
            let at = tables.iter().position(same).unwrap_or_else(|| {
                tables.push(Table { title: found.title.clone(), columns, rows: Vec::new() });
                tables.len() - 1
            });
            let with_run = |row: &Vec<String>| [vec![label.clone()], row.clone()].concat();
            tables[at].rows.extend(found.rows.iter().map(with_run));
        }
    }
    // Rows of one model stand together, in the order of the first run.
    for t in &mut tables {
        let models: Vec<String> = t.rows.iter().map(|row| row.get(1).cloned().unwrap_or_default()).collect();
        t.rows.sort_by_key(|row| models.iter().position(|model| Some(model) == row.get(1)));
    }
    tables
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::record::{Results, Series, Stage};

    fn run(seed: i64, kl: f64) -> Run {
        let table = Table {
            title: "t".into(),
            columns: vec!["model".into(), "gold".into()],
            rows: vec![vec!["sft".into(), "1".into()], vec!["ppo".into(), format!("{kl}")]],
        };
        let series = vec![Series { name: "kl".into(), points: vec![(1, kl), (2, kl)], broken: 0 }];
        Run {
            stages: vec![Stage { name: "ppo".into(), series }],
            results: Results { tables: vec![table], ..Results::default() },
            settings: format!("seed = {seed}\nsame = 1\n[ppo]\nkl_coef = {kl:?}\n").parse().unwrap(),
            ..Run::default()
        }
    }

    #[test]
    fn what_differs_is_said_and_what_is_alike_stands_together() {
        let runs = [("a".to_string(), run(1, 0.5)), ("<b>".to_string(), run(1, 2.5))];
        let labels = labels(&runs);
        assert_eq!(differences(&runs, &labels).rows, [["ppo.kl_coef", "0.5", "2.5"]]);
        let tables = merged(&runs, &labels);
        let rows: Vec<String> = tables[0].rows.iter().map(|row| row.join(" ")).collect();
        assert_eq!(rows, ["a sft 1", "<b> sft 1", "a ppo 0.5", "<b> ppo 2.5"]);
        let html = page(&runs, false);
        assert!(html.contains("&lt;b&gt;") && !html.contains("<b>"));
        let chart = html.split("KL to the reference").nth(1).unwrap();
        assert!(chart.contains("class=\"s0\"") && chart.contains("class=\"s1\""));
    }

    #[test]
    fn runs_of_one_name_are_numbered() {
        let runs = ["a", "b", "a"].map(|name| (name.to_string(), Run::default()));
        assert_eq!(labels(&runs), ["a (1)", "b", "a (3)"]);
    }
}
