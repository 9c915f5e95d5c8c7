//! The report as a page: charts of what matters, then the tables.

use super::Report;
use super::rankings::{Agreement, Rankings, Share};
use crate::num::statistics::Estimate;
use crate::report::charts::{Key, SIZE, legend};
use crate::report::figures::{Axis, Kind, Point};
use crate::report::html::{document, escape, folded, table};
use crate::report::svg::{Curve, Plot, Stroke, element};

/// Most pairs of labelers in their chart, so that there is room for their names; its table has all.
const MOST: usize = 6;

/// A mark of a chart: where it stands, from 0, its value and the ends of its whiskers.
type Mark = (f64, f64, Option<[f64; 2]>);

/// Marks of one colour.
struct Series {
    name: String,
    marks: Vec<Mark>,
}

struct Chart<'a> {
    title: &'a str,
    /// What a reader should make of it.
    about: &'a str,
    /// What stands on the x axis, and the y axis' name and unit.
    places: Vec<String>,
    x: &'a str,
    y: [&'a str; 2],
    series: Vec<Series>,
    /// Levels to compare with.
    levels: Vec<(String, f64)>,
}

/// The whole page.
pub fn html(report: &Report) -> String {
    let about = report.about();
    let rankings = Rankings::of(&about);
    let charts = [
        agreement(&rankings.agreement(&report.settings)),
        pairs_of_labelers(rankings.pairs_of_labelers()),
        shares(
            "Rules that read nothing",
            "how often the longer response and the one shown first win; labelers who read are near neither 0 nor 1 by the \
             second, and a reward model has to beat the first",
            "rule",
            rankings.baselines().into(),
        ),
        shares(
            "Models",
            "how often a model's output is preferred to another model's, a tie counted half",
            "model",
            rankings.models(),
        ),
        seconds(super::seconds(&about).into_iter().map(|(name, _, quartiles)| (name, quartiles)).collect()),
    ];
    let charts: String = charts.iter().flatten().map(figure).collect();
    let tables = report.tables();
    let mut body = String::from("<h1>Report of the labelers</h1>\n");
    if tables.is_empty() {
        body += "<p>Nothing has been labelled yet.</p>\n";
    }
    if !charts.is_empty() {
        body += "<p class=\"quiet\">Whiskers are 95 % intervals, measured between items; of seconds they span the middle \
                 half. Agreement is the share of pairs of responses that two labelers put in the same order.</p>\n";
        body += &format!("<div class=\"grid\">\n{charts}</div>\n");
    }
    let (first, more) = tables.split_at(tables.len().min(2));
    body += &first.iter().map(table).collect::<String>();
    if !more.is_empty() {
        body += &folded("More tables", &more.iter().map(table).collect::<String>());
    }
    document("instructgpt: report of the labelers", false, &body)
}

/// An estimate as a mark; ends that are not known have no whiskers.
fn mark(place: f64, estimate: Estimate) -> Mark {
    let ends = [estimate.low, estimate.high];
    (place, estimate.value, ends.iter().all(|end| end.is_finite()).then_some(ends))
}

/// Agreement of each group beside the paper's.
fn agreement(groups: &[Agreement]) -> Option<Chart<'static>> {
    let groups: Vec<&Agreement> = groups.iter().filter(|group| group.strict.is_some()).collect();
    let ours = |(place, group): (usize, &&Agreement)| Some(mark(place as f64 - 0.1, group.strict?));
    let papers = |(place, group): (usize, &&Agreement)| {
        let (value, half) = group.paper;
        (place as f64 + 0.1, value, Some([value - half, value + half]))
    };
    let ours =
        Series { name: "these labelers".into(), marks: groups.iter().enumerate().filter_map(ours).collect() };
    let papers =
        Series { name: "the paper's".into(), marks: groups.iter().enumerate().map(papers).collect() };
    (!groups.is_empty()).then(|| Chart {
        title: "Agreement on rankings",
        about: "of two labelers who ranked the same responses, where both prefer one",
        places: groups.iter().map(|group| group.who.to_string()).collect(),
        x: "who",
        y: ["agreement", "share of pairs"],
        series: vec![ours, papers],
        levels: vec![("chance, 0.5".into(), 0.5)],
    })
}

/// Of the pairs of labelers who met most often.
fn pairs_of_labelers(mut shares: Vec<Share>) -> Option<Chart<'static>> {
    shares.sort_by_key(|share| std::cmp::Reverse(share.share.map_or(0, |share| share.count)));
    shares.truncate(MOST);
    // One name below the other.
    shares.iter_mut().for_each(|share| share.of = share.of.replacen(" and ", " / ", 1));
    let mut chart = self::shares(
        "Agreement by pair of labelers",
        "where both prefer one; who is below all others may have read the instructions otherwise",
        "labelers",
        shares,
    )?;
    chart.levels = vec![("the paper's mean, 0.726".into(), 0.726), ("chance, 0.5".into(), 0.5)];
    Some(chart)
}

fn shares<'a>(title: &'a str, about: &'a str, x: &'a str, mut shares: Vec<Share>) -> Option<Chart<'a>> {
    shares.retain(|share| share.share.is_some());
    let marks = shares.iter().enumerate().filter_map(|(place, share)| Some(mark(place as f64, share.share?)));
    let series = vec![Series { name: "share, 95 % interval".into(), marks: marks.collect() }];
    (!shares.is_empty()).then(|| Chart {
        title,
        about,
        places: shares.into_iter().map(|share| share.of).collect(),
        x,
        y: ["", "share of pairs"],
        series,
        levels: vec![("chance, 0.5".into(), 0.5)],
    })
}

fn seconds(works: Vec<(&'static str, [f64; 3])>) -> Option<Chart<'static>> {
    let marks = works
        .iter()
        .enumerate()
        .map(|(place, (_, [low, median, high]))| (place as f64, *median, Some([*low, *high])));
    let series = vec![Series { name: "median and middle half".into(), marks: marks.collect() }];
    (!works.is_empty()).then(|| Chart {
        title: "Time per record",
        about: "while the page was in front",
        places: works.into_iter().map(|(name, _)| name.to_string()).collect(),
        x: "work",
        y: ["time", "seconds"],
        series,
        levels: vec![],
    })
}

/// The chart as a `<figure>`: marks with whiskers side by side, levels as dotted lines from edge to edge.
fn figure(chart: &Chart) -> String {
    let (mut keys, mut curves) = (Vec::<Key>::new(), Vec::<Curve>::new());
    for (number, (name, y)) in chart.levels.iter().enumerate() {
        let (colour, edges) = (chart.series.len() + number, [-0.5, chart.places.len() as f64 - 0.5]);
        let points = edges.map(|x| Point { x, y: *y, low: None, high: None }).to_vec();
        keys.push((name.clone(), colour, Stroke::Dotted));
        curves.push(Curve { points, colour, stroke: Stroke::Dotted });
    }
    for (colour, series) in chart.series.iter().enumerate() {
        keys.push((series.name.clone(), colour, Stroke::Solid));
        // Each mark is a curve of its own: nothing lies between two of them.
        curves.extend(series.marks.iter().map(|&(x, y, ends)| {
            let [low, high] = [0, 1].map(|end| ends.map(|ends| ends[end]));
            Curve { points: vec![Point { x, y, low, high }], colour, stroke: Stroke::Solid }
        }));
    }
    let x = Axis { name: chart.x.into(), labels: Some(chart.places.clone()), ..Axis::default() };
    let y = match chart.y {
        ["", unit] => Axis { name: unit.into(), ..Axis::default() },
        [name, unit] => Axis { name: name.into(), unit: unit.into(), ..Axis::default() },
    };
    let plot = Plot { x: &x, y: &y, curves: &curves, kind: Kind::Lines, xs: None, ys: None };
    let svg = element(SIZE.0, SIZE.1, chart.title, chart.about, &plot.draw(SIZE.0, SIZE.1));
    format!(
        "<figure><h3>{}</h3>{svg}<figcaption>{}{}</figcaption></figure>\n",
        escape(chart.title),
        legend(&keys),
        escape(chart.about)
    )
}
