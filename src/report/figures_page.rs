//! `figures.json` as HTML: the verdicts, then each of the paper's figures redrawn beside ours.

use super::charts::{Key, SIZE, legend};
use super::figures::{Axis, Chart, Figures, Kind, Line, Point, Verdict};
use super::html::{escape, notes, table};
use super::record;
use super::svg::{Curve, Plot, Stroke, element, range};

/// Everything below the title.
pub fn html(figures: &Figures) -> String {
    let warns = |note: &String| (note.clone(), note.starts_with("warning"));
    let mut out = notes(&figures.notes.iter().map(warns).collect::<Vec<_>>());
    if !figures.verdicts.is_empty() {
        out += &verdicts(&figures.verdicts);
    }
    let mut shown: Vec<&str> = Vec::new();
    for chart in &figures.charts {
        if shown.contains(&chart.figure.as_str()) {
            continue;
        }
        shown.push(&chart.figure);
        out += &format!("<h2>{}</h2>\n", escape(&chart.figure));
        figures.charts.iter().filter(|other| other.figure == chart.figure).for_each(|c| out += &pair(c));
    }
    for t in &figures.tables {
        let (title, columns, rows) = (t.title.clone(), t.columns.clone(), t.rows.clone());
        out += &table(&record::Table { title, columns, rows });
    }
    out
}

/// The claims, and whether they appear: the rule of each is folded away.
fn verdicts(verdicts: &[Verdict]) -> String {
    let count = |word: &str| verdicts.iter().filter(|v| v.effect.word() == word).count();
    let mut out = format!(
        "<p>Of {} effects of the paper <b>{}</b> appear here, <b>{}</b> do not, and <b>{}</b> are undecided.</p>\n\
         <table class=\"words\">\n<caption>The paper's claims</caption>\n<thead><tr>",
        verdicts.len(),
        count("yes"),
        count("no"),
        count("undecided")
    );
    for name in ["claim", "effect", "paper", "ours, 95 % interval", "seeds"] {
        out += &format!("<th scope=\"col\">{name}</th>");
    }
    out += "</tr></thead>\n<tbody>\n";
    for v in verdicts {
        let number = |x: f64| format!("{x:.3}");
        let ours = match (v.ours.map(number), v.low, v.high) {
            (Some(ours), Some(low), Some(high)) => format!("{ours} [{low:.3}, {high:.3}]"),
            (ours, ..) => ours.unwrap_or("–".into()),
        };
        let seeds = v.seeds.iter().copied().map(number).collect::<Vec<_>>().join(", ");
        out += &format!(
            "<tr><th scope=\"row\">{}: {}<details><summary>how this is decided</summary>{}<br>{}</details></th>\
             <td data-name=\"effect\"><span class=\"effect {word}\">{word}</span></td><td data-name=\"paper\">{}</td>\
             <td data-name=\"ours\">{ours}</td><td data-name=\"seeds\">{seeds}</td></tr>\n",
            escape(&v.figure),
            escape(&v.claim),
            escape(&v.rule),
            escape(&v.why),
            escape(&v.paper),
            word = v.effect.word()
        );
    }
    out + "</tbody></table>\n"
}

/// The paper's chart beside ours, with the same colours, and of shares on the same scale.
fn pair(chart: &Chart) -> String {
    let mut names: Vec<&str> = Vec::new();
    for line in chart.series.iter().chain(&chart.paper) {
        if !names.contains(&line.name.as_str()) {
            names.push(&line.name);
        }
    }
    let keys: Vec<Key> =
        names.iter().enumerate().map(|(i, name)| (name.to_string(), i, Stroke::Solid)).collect();
    let ends = |p: &Point| [Some(p.y), p.low, p.high].into_iter().flatten();
    let points = chart.series.iter().chain(&chart.paper).flat_map(|line| &line.points).flat_map(ends);
    let zero = (chart.kind == Kind::Bars).then_some(0.0);
    let ys = chart.y.unit.starts_with("share").then(|| range(points.chain(zero), 0.06));
    let drawn = |whose: &str, lines: &[Line]| {
        if lines.iter().all(|line| line.points.is_empty()) {
            return String::new();
        }
        let colour = |line: &Line| names.iter().position(|name| *name == line.name).unwrap_or(0);
        let curve =
            |line: &Line| Curve { points: line.points.clone(), colour: colour(line), stroke: Stroke::Solid };
        let curves: Vec<Curve> = lines.iter().map(curve).collect();
        let plot =
            Plot { x: &chart.x, y: &chart.y, curves: &curves, kind: chart.kind, xs: None, ys: ys.clone() };
        let title = format!("{}, {whose}", chart.title);
        let svg = element(SIZE.0, SIZE.1, &title, &chart.about, &plot.draw(SIZE.0, SIZE.1));
        format!("<figure><h4>{whose}</h4>{svg}</figure>\n")
    };
    format!(
        "<h3>{}</h3>\n<p class=\"quiet\">{}</p>\n{}<div class=\"pair\">\n{}{}</div>\n{}",
        escape(&chart.title),
        escape(&chart.about),
        if keys.len() > 1 { format!("<div class=\"quiet\">{}</div>", legend(&keys)) } else { String::new() },
        drawn("ours", &chart.series),
        drawn("the paper's", &chart.paper),
        numbers(chart)
    )
}

/// The chart's numbers, folded away.
fn numbers(chart: &Chart) -> String {
    let x_name = |axis: &Axis, x: f64| match &axis.labels {
        Some(labels) => labels.get(x as usize).cloned().unwrap_or_else(|| x.to_string()),
        None => x.to_string(),
    };
    let interval = |p: &Point| match (p.low, p.high) {
        (Some(low), Some(high)) => format!("{:.3} [{low:.3}, {high:.3}]", p.y),
        _ => format!("{:.3}", p.y),
    };
    let rows = |whose: &str, lines: &[Line]| {
        let row = |line: &Line, p: &Point| {
            vec![format!("{} ({whose})", line.name), x_name(&chart.x, p.x), interval(p)]
        };
        lines.iter().flat_map(|line| line.points.iter().map(|p| row(line, p)).collect::<Vec<_>>()).collect()
    };
    let mut all: Vec<Vec<String>> = rows("ours", &chart.series);
    all.extend(rows("paper", &chart.paper));
    let columns = vec!["series".to_string(), chart.x.name.clone(), chart.y.name.clone()];
    let title = chart.title.clone();
    super::html::folded("The numbers", &table(&record::Table { title, columns, rows: all }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::figures::Effect;

    #[test]
    fn verdicts_have_a_word_and_a_colour_and_charts_stand_beside_the_papers() {
        let verdict = |effect| Verdict {
            figure: "Figure 1".into(),
            claim: "small <beats> large".into(),
            paper: "0.53".into(),
            ours: Some(0.61),
            low: Some(0.55),
            high: Some(0.66),
            seeds: vec![0.6, 0.62],
            effect,
            rule: "the interval is above a half".into(),
            why: String::new(),
        };
        let point = |x, y| Point { x, y, low: Some(y - 0.1), high: Some(y + 0.1) };
        let line = |name: &str, y| Line { name: name.into(), points: vec![point(1e3, y), point(1e5, y)] };
        let x = Axis { name: "parameters".into(), log: true, ..Axis::default() };
        let y = Axis { name: "win rate".into(), unit: "share of prompts".into(), ..Axis::default() };
        let chart = Chart {
            figure: "Figure 1".into(),
            title: "Preferred to SFT".into(),
            about: String::new(),
            kind: Kind::Lines,
            x,
            y,
            series: vec![line("SFT", 0.5), line("PPO-ptx", 0.6)],
            paper: vec![line("PPO-ptx", 0.7)],
        };
        let html = html(&Figures {
            verdicts: vec![verdict(Effect::Yes), verdict(Effect::Undecided)],
            charts: vec![chart],
            ..Figures::default()
        });
        for part in [
            "Of 2 effects of the paper <b>1</b> appear here, <b>0</b> do not, and <b>1</b> are undecided",
            "<span class=\"effect yes\">yes</span>",
            "<span class=\"effect undecided\">undecided</span>",
            "small &lt;beats&gt; large",
            "0.610 [0.550, 0.660]",
            "0.600, 0.620",
            "<h4>the paper's</h4>",
            "win rate (share of prompts)",
        ] {
            assert!(html.contains(part), "{part}");
        }
        // The paper's series has the colour of ours of that name.
        let papers = html.split("the paper's</h4>").nth(1).unwrap().split("</svg>").next().unwrap();
        assert!(papers.contains("class=\"s1\"") && !papers.contains("class=\"s0\""));
        assert_eq!(papers.matches("h8M").count(), 2);
    }
}
