//! What all figures draw alike: lines over the three sizes, and the paper's beside them.

use super::lab::Lab;
use super::scale::ALL_SIZES;
use super::verdict::{Measure, Values, point};
use crate::error::Result;
use crate::report::figures::{Axis, Chart, Kind, Line, Point};

/// The paper's sizes, in parameters (appendix C).
pub const PAPER_SIZES: [f64; 3] = [1.3e9, 6e9, 175e9];

/// An axis of numbers.
pub fn axis(name: &str, unit: &str, log: bool) -> Axis {
    Axis { name: name.into(), unit: unit.into(), log, labels: None }
}

/// An axis of names.
pub fn names(name: &str, labels: &[&str]) -> Axis {
    let labels = labels.iter().map(|label| label.to_string()).collect();
    Axis { name: name.into(), labels: Some(labels), ..Axis::default() }
}

/// A line of the paper: values without intervals.
pub fn paper(name: &str, points: impl IntoIterator<Item = (f64, f64)>) -> Line {
    let points = points.into_iter().map(|(x, y)| Point { x, y, low: None, high: None }).collect();
    Line { name: name.into(), points }
}

/// A line of the paper over its three sizes.
pub fn paper_sizes((name, values): &(&str, [f64; 3])) -> Line {
    paper(name, PAPER_SIZES.into_iter().zip(*values))
}

/// One of our lines: at each x the values of every seed.
pub fn line(name: &str, measure: Measure, points: &[(f64, Vec<Values>)]) -> Line {
    let points = points.iter().filter_map(|(x, seeds)| point(*x, measure, seeds)).collect();
    Line { name: name.into(), points }
}

/// A chart of lines over sizes.
pub fn over_sizes(
    figure: &str,
    title: &str,
    about: &str,
    y: Axis,
    series: Vec<Line>,
    paper: Vec<Line>,
) -> Chart {
    Chart {
        figure: figure.into(),
        title: title.into(),
        about: about.into(),
        kind: Kind::Lines,
        x: axis("parameters", "", true),
        y,
        series,
        paper,
    }
}

/// What `measure` gives in the laboratory of each seed.
pub fn each(labs: &[Lab], measure: impl FnMut(&Lab) -> Result<Values>) -> Result<Vec<Values>> {
    labs.iter().map(measure).collect()
}

/// What `measure` gives at each size, with its parameters.
pub fn by_size(
    labs: &[Lab],
    mut measure: impl FnMut(&Lab, usize) -> Result<Values>,
) -> Result<Vec<(f64, Vec<Values>)>> {
    let sizes = ALL_SIZES.into_iter();
    let scale = labs.first().map(|lab| lab.scale);
    sizes
        .map(|size| {
            let parameters = scale.map_or(0.0, |scale| scale.parameters(size));
            Ok((parameters, each(labs, |lab| measure(lab, size))?))
        })
        .collect()
}
