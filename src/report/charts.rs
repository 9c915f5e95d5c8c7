//! The charts of stages: which lines stand in each, and what is written beside it.

use serde_json::{Map, Value};

use super::figures::{Axis, Kind, Point};
use super::html::escape;
use super::measures::{CHARTS, Chart, chart_of, named, step_of};
use super::record::{Series, Stage};
use super::svg::{Curve, Plot, Stroke, element, range, stroke, text};

/// The measures of [`overview`], `(name in metrics.jsonl, title, what the y axis counts)`: what PPO raises, what it
/// costs, and what the pretraining gradient is for.
pub const OVERVIEW: [(&str, &str, &str); 3] = [
    ("reward", "Reward", "score of the reward model"),
    ("kl", "KL to the reference", "nats per response"),
    ("validation_pretraining_loss", "Loss on held-out pretraining text", "nats per token"),
];
/// The stages of [`overview`], `(name in metrics.jsonl, label)`.
pub const OVERVIEW_STAGES: [(&str, &str); 2] = [("ppo_ptx", "PPO-ptx"), ("ppo", "PPO")];

/// Most points drawn of a series; longer ones are averaged in equal pieces.
const MOST_POINTS: usize = 300;

/// Width and height of a chart.
pub const SIZE: (f64, f64) = (400.0, 250.0);

/// A line of a legend: its label, its colour, how it is drawn.
pub type Key = (String, usize, Stroke);

/// Stages that are drawn in the same charts, each with its label and colour.
pub type Labelled<'a> = (String, usize, &'a Stage);

/// The charts that are shown at once, and those that are folded away, as `<figure>` elements. `found` is what the
/// stages found, for what no line of metrics says.
pub fn charts(stages: &[Labelled], found: &Map<String, Value>) -> (Vec<String>, Vec<String>) {
    let (mut first, mut more) = (Vec::new(), Vec::new());
    for chart in CHARTS {
        let list = if chart.first { &mut first } else { &mut more };
        list.extend(known(chart, stages, found));
    }
    let all = stages.iter().flat_map(|(.., stage)| &stage.series);
    let mut unknown: Vec<&str> =
        all.map(|s| s.name.as_str()).filter(|name| chart_of(name).is_none()).collect();
    unknown.sort_unstable();
    unknown.dedup();
    for name in unknown {
        let lines = lines(stages, name, Stroke::Solid, "");
        more.extend(figure(&named(name).0, "", "", step(stages), lines));
    }
    (first, more)
}

fn step(stages: &[Labelled]) -> &'static str {
    stages.first().map_or("update", |(.., stage)| step_of(&stage.name))
}

/// A line of a chart.
type Line = (Key, Curve, usize);

/// A measure of each stage that has it; `ending` goes behind the labels.
fn lines(stages: &[Labelled], measure: &str, stroke: Stroke, ending: &str) -> Vec<Line> {
    let line = |(label, colour, stage): &Labelled| {
        let series = stage.series(measure)?;
        let label = match (label.is_empty(), ending) {
            (true, "") => "training".into(),
            (true, _) => ending.into(),
            (false, "") => label.clone(),
            (false, _) => format!("{label}, {ending}"),
        };
        let curve = Curve { points: thin(series), colour: *colour, stroke };
        Some(((label, *colour, stroke), curve, series.broken))
    };
    stages.iter().filter_map(line).collect()
}

fn known(chart: &Chart, stages: &[Labelled], found: &Map<String, Value>) -> Option<String> {
    let mut all = lines(stages, chart.trained, Stroke::Solid, "");
    all.extend(lines(stages, chart.held_out, Stroke::Dashed, "held out"));
    let alone = stages.len() == 1 && !all.is_empty();
    if alone && chart.trained == "accuracy" {
        all.extend(tested(stages[0].2, &found.get("reward_model").cloned().unwrap_or_default()));
    }
    let is_reward_model = stages.iter().any(|(.., stage)| stage.name == "reward_model");
    let unit = if chart.trained == "loss" && is_reward_model { "nats per pair" } else { chart.unit };
    figure(chart.name, unit, chart.about, step(stages), all)
}

/// What the reward model did on the test pairs, and what length alone does, each with its interval.
fn tested(stage: &Stage, results: &Value) -> Vec<Line> {
    let steps = stage.series.iter().flat_map(|s| &s.points).map(|p| p.0 as f64);
    let (from, to) = steps.fold((f64::MAX, 0.0), |(low, high): (f64, f64), x| (low.min(x), high.max(x)));
    let line = |key: &str, label: &str, at: &[f64], colour, stroke| {
        let number = |end: &str| results[format!("{key}{end}")].as_f64();
        let y = number("")?;
        let (low, high) = (number("_low"), number("_high"));
        let points = at.iter().map(|&x| Point { x, y, low, high }).collect();
        Some(((label.to_string(), colour, stroke), Curve { points, colour, stroke }, 0))
    };
    let accuracy = line("accuracy", "test pairs, 95 % interval", &[to], 1, Stroke::Solid);
    let length = line("length_baseline", "length alone, test pairs", &[from, to], 2, Stroke::Dotted);
    accuracy.into_iter().chain(length).collect()
}

/// Lines over steps in a `<figure>`; `None` without any.
fn figure(name: &str, unit: &str, about: &str, step: &str, lines: Vec<Line>) -> Option<String> {
    if lines.is_empty() {
        return None;
    }
    let broken: usize = lines.iter().map(|line| line.2).sum();
    let (keys, curves): (Vec<Key>, Vec<Curve>) =
        lines.into_iter().map(|(key, curve, _)| (key, curve)).unzip();
    let x = Axis { name: step.into(), ..Axis::default() };
    let y = Axis { name: if unit.is_empty() { name.into() } else { unit.into() }, ..Axis::default() };
    let svg = if curves.iter().all(|curve| curve.points.is_empty()) {
        String::new()
    } else {
        let plot = Plot { x: &x, y: &y, curves: &curves, kind: Kind::Lines, xs: None, ys: None };
        element(SIZE.0, SIZE.1, name, about, &plot.draw(SIZE.0, SIZE.1))
    };
    let warning = match broken {
        0 => String::new(),
        1 => " <span class=\"warn\">1 value is not finite</span>".into(),
        n => format!(" <span class=\"warn\">{n} values are not finite</span>"),
    };
    let legend = if keys.len() > 1 { legend(&keys) } else { String::new() };
    Some(format!(
        "<figure><h3>{}</h3>{svg}<figcaption>{legend}{}{warning}</figcaption></figure>\n",
        escape(name),
        escape(about)
    ))
}

/// Which line is whose.
pub fn legend(keys: &[Key]) -> String {
    let key = |(label, colour, style): &Key| {
        let pen = stroke(*colour, *style);
        format!(
            "<span class=\"key\"><svg viewBox=\"0 0 26 10\" aria-hidden=\"true\"><path {pen} d=\"M1 5h24\"/></svg>{}</span> ",
            escape(label)
        )
    };
    format!("<div>{}</div>", keys.iter().map(key).collect::<String>())
}

/// At most [`MOST_POINTS`] points: each is the mean of an equal piece of the series.
fn thin(series: &Series) -> Vec<Point> {
    let piece = series.points.len().div_ceil(MOST_POINTS).max(1);
    let mean = |piece: &[(u64, f64)]| {
        let n = piece.len() as f64;
        let (x, y) = piece.iter().fold((0.0, 0.0), |(x, y), p| (x + p.0 as f64, y + p.1 / n));
        Point { x: x / n, y, low: None, high: None }
    };
    series.points.chunks(piece).map(mean).collect()
}

/// PPO beside PPO-ptx in one picture, a panel for each measure of [`OVERVIEW`], as an SVG element; `None` if a run has
/// none of these measures.
pub fn overview(stages: &[Stage]) -> Option<String> {
    let present = OVERVIEW_STAGES.iter().enumerate().filter_map(|(colour, (name, label))| {
        Some((label.to_string(), colour, stages.iter().find(|stage| stage.name == *name)?))
    });
    let present: Vec<Labelled> = present.collect();
    let panels = OVERVIEW.iter().map(|panel| (panel, lines(&present, panel.0, Stroke::Solid, "")));
    let panels: Vec<_> =
        panels.filter(|(_, lines)| lines.iter().any(|line| !line.1.points.is_empty())).collect();
    if panels.is_empty() {
        return None;
    }
    let all = panels.iter().flat_map(|(_, lines)| lines).flat_map(|line| &line.1.points);
    let steps = range(all.map(|p| p.x), 0.04);
    let mut body = String::new();
    for (i, (label, colour, _)) in present.iter().enumerate() {
        let x = 16.0 + 95.0 * i as f64;
        body += &format!("<path {} d=\"M{x} 14h18\"/>\n", stroke(*colour, Stroke::Solid));
        body += &text(x + 25.0, 19.0, 15.0, "start", label);
    }
    for (i, ((_, title, unit), lines)) in panels.into_iter().enumerate() {
        let x = Axis { name: "iteration".into(), ..Axis::default() };
        let y = Axis { name: unit.to_string(), ..Axis::default() };
        let curves: Vec<Curve> = lines.into_iter().map(|line| line.1).collect();
        let plot =
            Plot { x: &x, y: &y, curves: &curves, kind: Kind::Lines, xs: Some(steps.clone()), ys: None };
        let name = text(4.0, -8.0, 16.0, "start", title);
        body +=
            &format!("<g transform=\"translate({} 56)\">\n{name}{}</g>\n", 300 * i, plot.draw(300.0, 234.0));
    }
    let count = body.matches("<g transform=\"translate").count();
    let about = "What PPO raises, what it costs, and what the pretraining gradient is for";
    Some(element(300.0 * count as f64, 294.0, "PPO beside PPO-ptx", about, &body))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn series(name: &str, points: &[(u64, f64)]) -> Series {
        Series { name: name.into(), points: points.to_vec(), broken: 0 }
    }

    fn stage(name: &str, mut series: Vec<Series>) -> Stage {
        series.sort_by(|a, b| a.name.cmp(&b.name));
        Stage { name: name.into(), series }
    }

    #[test]
    fn measures_go_to_their_charts() {
        let ppo = stage(
            "ppo",
            vec![
                series("kl", &[(1, 0.0), (2, 1.0)]),
                series("my_own", &[(1, 5.0)]),
                series("clip_fraction", &[(1, 0.0)]),
                series("validation_kl", &[(2, 1.5)]),
            ],
        );
        let ptx = stage("ppo_ptx", vec![series("kl", &[(1, 0.0)])]);
        let both = [("PPO".to_string(), 1, &ppo), ("PPO-ptx".to_string(), 0, &ptx)];
        let (first, more) = charts(&both, &Map::new());
        assert_eq!((first.len(), more.len()), (1, 2));
        assert!(first[0].contains("KL to the reference") && first[0].contains(">nats per response<"));
        assert!(first[0].contains("PPO, held out") && first[0].contains(">iteration<"));
        // Two that were trained, one that was held out.
        assert_eq!(first[0].matches("<polyline").count(), 3);
        assert_eq!(first[0].split("<figcaption>").next().unwrap().matches("stroke-dasharray").count(), 1);
        assert!(more[0].contains("Clip fraction, policy") && more[1].contains("<h3>my own"));
    }

    #[test]
    fn the_reward_model_is_drawn_with_its_interval_and_what_it_must_beat() {
        let found = serde_json::json!({ "reward_model": { "accuracy": 0.6, "accuracy_low": 0.55, "accuracy_high": 0.65,
            "length_baseline": 0.5, "length_baseline_low": 0.45, "length_baseline_high": 0.55 } });
        let found = found.as_object().unwrap();
        let model = stage(
            "reward_model",
            vec![series("accuracy", &[(1, 0.5), (9, 0.7)]), series("loss", &[(1, 0.7)])],
        );
        let (first, _) = charts(&[(String::new(), 0, &model)], found);
        assert!(first[0].contains(">nats per pair<"));
        assert!(first[1].contains("length alone, test pairs") && first[1].contains("[0.550, 0.650]"));
        let (first, _) = charts(&[(String::new(), 0, &model)], &Map::new());
        assert!(!first[1].contains("length alone"));
    }

    #[test]
    fn the_overview_has_a_panel_for_each_measure_that_is_there() {
        let kl = || series("kl", &[(1, 0.0), (2, 1.0)]);
        let broken = Series { broken: 1, ..series("reward", &[]) };
        let both = [stage("ppo", vec![kl(), broken]), stage("ppo_ptx", vec![kl()])];
        let svg = overview(&both).unwrap();
        assert!(svg.contains("KL to the reference") && !svg.contains(">Reward<"));
        assert!(svg.contains(">PPO-ptx<") && svg.contains(">PPO<"), "{svg}");
        assert!(!overview(&both[..1]).unwrap().contains(">PPO-ptx<"));
        assert!(overview(&[stage("sft", vec![kl()])]).is_none());
        assert!(overview(&[]).is_none());
    }

    #[test]
    fn long_series_are_averaged_and_broken_values_counted() {
        let points: Vec<(u64, f64)> = (0..10_000).map(|i| (i, (i % 2) as f64)).collect();
        let thinned = thin(&series("a", &points));
        assert!(thinned.len() <= MOST_POINTS);
        assert!(thinned.iter().all(|p| (p.y - 0.5).abs() < 1e-12));
        let broken = Series { broken: 2, ..series("kl", &[]) };
        let (first, _) = charts(&[(String::new(), 0, &stage("ppo", vec![broken]))], &Map::new());
        assert!(first[0].contains("2 values are not finite") && !first[0].contains("<svg"));
    }
}
