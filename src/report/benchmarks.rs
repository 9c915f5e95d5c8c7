//! The paper's Table 14 as charts: what each stage did to every task, with intervals, beside what pure chance gives.

use serde_json::Value;

use super::charts::{Key, SIZE, legend};
use super::figures::{Axis, Kind, Point};
use super::html::{escape, folded};
use super::measures::title;
use super::svg::{Curve, Plot, Stroke, element};

/// How far apart measures of one model stand at most, so that their intervals can be told apart: models stand 1 apart.
const APART: f64 = 0.12;
/// The room that all measures of a model have.
const ROOM: f64 = 0.6;

/// Measures of a task that share a chart.
struct Alike<'a> {
    unit: &'a str,
    chance: Option<f64>,
    /// Each by its name, with the figures of every model.
    measures: Vec<(&'a str, &'a Value)>,
}

/// The section of what the stage `benchmarks` found; nothing if a run has no such stage. Measures of a task that share
/// unit and chance level are one chart; what has no chance level is folded away.
pub fn html(found: &Value) -> String {
    let models: Vec<&str> =
        found["models"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let (mut known, mut unknown) = (String::new(), String::new());
    for (task, measures) in found["figures"].as_object().into_iter().flatten() {
        let mut charts: Vec<Alike> = Vec::new();
        for (measure, of) in measures.as_object().into_iter().flatten() {
            let (unit, chance) = (of["unit"].as_str().unwrap_or_default(), of["chance"].as_f64());
            match charts.iter_mut().find(|chart| (chart.unit, chart.chance) == (unit, chance)) {
                Some(chart) => chart.measures.push((measure, of)),
                None => charts.push(Alike { unit, chance, measures: vec![(measure, of)] }),
            }
        }
        for chart in charts {
            let out = if chart.chance.is_some() { &mut known } else { &mut unknown };
            *out += &chart.figure(task, &models);
        }
    }
    if models.is_empty() || known.is_empty() && unknown.is_empty() {
        return String::new();
    }
    let grid = |charts: &str| format!("<div class=\"grid\">\n{charts}</div>\n");
    let mut out = String::from("<h2>Public benchmarks (paper, Table 14)</h2>\n");
    if !known.is_empty() {
        out += "<p class=\"quiet\">The dotted line is what pure chance gives. Whiskers are 95 % intervals: one that \
                crosses the line cannot be told from chance. The table above has the numbers.</p>\n";
        out += &grid(&known);
    }
    if !unknown.is_empty() {
        out += &folded("Measures without a chance level", &grid(&unknown));
    }
    out
}

impl Alike<'_> {
    /// The measures of a task as lines from model to model, in the order in which they were trained.
    fn figure(&self, task: &str, models: &[&str]) -> String {
        let Alike { unit, chance, ref measures } = *self;
        let middle = (measures.len() as f64 - 1.0) / 2.0;
        let apart = APART.min(ROOM / measures.len() as f64);
        let (mut keys, mut curves): (Vec<Key>, Vec<Curve>) = (Vec::new(), Vec::new());
        if let Some(y) = chance {
            // From edge to edge.
            let points =
                [-0.5, models.len() as f64 - 0.5].map(|x| Point { x, y, low: None, high: None }).to_vec();
            let colour = measures.len();
            keys.push((format!("chance, {y:.3}"), colour, Stroke::Dotted));
            curves.push(Curve { points, colour, stroke: Stroke::Dotted });
        }
        for (colour, (measure, of)) in measures.iter().enumerate() {
            let point = |(place, model): (usize, &&str)| {
                let number = |key: &str| of[*model][key].as_f64();
                let x = place as f64 + apart * (colour as f64 - middle);
                Some(Point { x, y: number("value")?, low: number("low"), high: number("high") })
            };
            let points = models.iter().enumerate().filter_map(point).collect();
            keys.push((measure.to_string(), colour, Stroke::Solid));
            curves.push(Curve { points, colour, stroke: Stroke::Solid });
        }
        let labels = Some(models.iter().map(|model| title(model)).collect());
        let x = Axis { name: "model".into(), labels, ..Axis::default() };
        let name = if measures.len() == 1 { measures[0].0 } else { "" };
        let y = match name {
            "" => Axis { name: unit.into(), ..Axis::default() },
            _ => Axis { name: name.into(), unit: unit.into(), ..Axis::default() },
        };
        let plot = Plot { x: &x, y: &y, curves: &curves, kind: Kind::Lines, xs: None, ys: None };
        let about = format!("{task} of every model of the run, with 95 % intervals and the chance level");
        let svg = element(SIZE.0, SIZE.1, task, &about, &plot.draw(SIZE.0, SIZE.1));
        format!("<figure><h3>{}</h3>{svg}<figcaption>{}</figcaption></figure>\n", escape(task), legend(&keys))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn figure(value: f64) -> Value {
        json!({ "value": value, "low": value - 0.1, "high": value + 0.1 })
    }

    #[test]
    fn measures_alike_share_a_chart_with_their_chance_level_and_intervals() {
        let of = |chance: Value, unit: &str| json!({ "chance": chance, "unit": unit, "pretrained": figure(0.4), "policy": figure(0.6) });
        let rte = json!({ "acc": of(json!(0.5), "share"), "acc_norm": of(json!(0.5), "share") });
        let written = json!({ "bleu_max": of(Value::Null, "percent"), "bleu_acc": of(Value::Null, "share") });
        let found = json!({ "models": ["pretrained", "policy"],
            "figures": { "rte": rte, "winogender": { "entropy": of(json!(1.0), "bits") }, "truthfulqa_gen": written } });
        let html = html(&found);
        let (known, folded) = html.split_once("<details>").unwrap();
        assert_eq!((known.matches("<figure>").count(), folded.matches("<figure>").count()), (2, 2));
        let rte = known.split("</figure>").next().unwrap();
        for part in
            ["<h3>rte</h3>", "chance, 0.500", ">share<", ">Pretrained<", ">Policy<", "acc_norm</span>"]
        {
            assert!(rte.contains(part), "{part}: {rte}");
        }
        // Two measures of two models, each with its whiskers; the level is a line without marks.
        assert_eq!((rte.matches("<circle").count(), rte.matches("h8M").count()), (4, 4));
        assert!(rte.contains("<title>0.600 [0.500, 0.700]</title>"));
        assert!(known.contains(">entropy (bits)<") && known.contains("chance, 1.000"));
        assert!(folded.contains(">bleu_max (percent)<") && !folded.contains("chance, "));
    }

    #[test]
    fn a_run_without_benchmarks_has_no_section() {
        assert_eq!(html(&Value::Null), "");
        assert_eq!(html(&json!({ "models": ["policy"], "figures": { "x": {} } })), "");
    }
}
