//! Charts as SVG, written by hand: axes with their names and units, lines, bars, and intervals. Colours are attributes,
//! so that a picture can stand alone, and classes, by which the page's style replaces them (and darkens the page).

use core::ops::Range;

use super::figures::{Axis, Kind, Point};
use super::html::{escape, short};
use super::scale::{number, range, ticks};

/// Colours that stay apart for colour-blind readers (Okabe and Ito 2008); readable on white and on black.
pub const COLOURS: [&str; 6] = ["#0072b2", "#d55e00", "#00825f", "#a35a8a", "#8a6d00", "#4a7fd0"];
/// Of text and axes: 4.6 times lighter than black, 4.5 times darker than white.
const GREY: &str = "#74787e";
/// Above this many points a line has no dots, and its intervals are a band.
const FEW: usize = 24;
/// Above this many points a line is thin, so that others can be seen through its noise.
const NOISY: usize = 100;

/// How a line is drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stroke {
    /// What was trained on.
    Solid,
    /// What was held out.
    Dashed,
    /// Something to compare with.
    Dotted,
}

/// A line, or the bars of a series.
#[derive(Debug, Clone)]
pub struct Curve {
    /// Its points, by x.
    pub points: Vec<Point>,
    /// The index of its colour, from 0 on, round and round.
    pub colour: usize,
    /// How it is drawn.
    pub stroke: Stroke,
}

/// Two axes and what stands between them.
pub struct Plot<'a> {
    /// The x axis.
    pub x: &'a Axis,
    /// The y axis.
    pub y: &'a Axis,
    /// What is drawn, the lowest first.
    pub curves: &'a [Curve],
    /// Lines or bars.
    pub kind: Kind,
    /// Of the x axis, if not that of the points.
    pub xs: Option<Range<f64>>,
    /// Of the y axis, if not that of the points.
    pub ys: Option<Range<f64>>,
}

/// An `<svg>` element, which says what it shows to those who do not see it.
pub fn element(width: f64, height: f64, title: &str, about: &str, body: &str) -> String {
    let (title, about) = (escape(title), escape(about));
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" width=\"{width}\" \
         height=\"{height}\" role=\"img\" font-family=\"system-ui, sans-serif\"><title>{title}</title>\
         <desc>{about}</desc>\n{body}</svg>\n"
    )
}

/// A line of text; `anchor` is `start`, `middle` or `end`.
pub fn text(x: f64, y: f64, size: f64, anchor: &str, text: &str) -> String {
    format!(
        "<text x=\"{x:.1}\" y=\"{y:.1}\" font-size=\"{size}\" text-anchor=\"{anchor}\" fill=\"{GREY}\">{}</text>\n",
        escape(text)
    )
}

/// A stroke with a colour's class and its dashes.
pub fn stroke(colour: usize, stroke: Stroke) -> String {
    let i = colour % COLOURS.len();
    let dashes = match stroke {
        Stroke::Solid => "",
        Stroke::Dashed => " stroke-dasharray=\"6 4\"",
        Stroke::Dotted => " stroke-dasharray=\"1.5 4\" stroke-linecap=\"round\"",
    };
    format!("class=\"s{i}\" stroke=\"{}\" stroke-width=\"2\"{dashes}", COLOURS[i])
}

fn fill(colour: usize) -> String {
    let i = colour % COLOURS.len();
    format!("class=\"f{i}\" fill=\"{}\"", COLOURS[i])
}

/// The axis' name with its unit.
fn named(axis: &Axis) -> String {
    if axis.unit.is_empty() { axis.name.clone() } else { format!("{} ({})", axis.name, axis.unit) }
}

impl Plot<'_> {
    /// Whether x is drawn by its logarithm: nothing at or below 0 can be.
    fn is_log(&self) -> bool {
        self.x.log && self.x.labels.is_none() && self.points().all(|p| p.x > 0.0)
    }

    fn points(&self) -> impl Iterator<Item = &Point> {
        self.curves.iter().flat_map(|curve| &curve.points)
    }

    /// The chart as a `<g>` of this size.
    pub fn draw(&self, width: f64, height: f64) -> String {
        let labels = self.wrapped_labels(width);
        let lines = labels.iter().map(Vec::len).max().unwrap_or(1) as f64;
        let (left, right, top, bottom) = (56.0, 12.0, 26.0, 30.0 + 14.0 * lines);
        let log = self.is_log();
        let place = |x: f64| if log { x.log10() } else { x };
        let xs = match &self.xs {
            Some(xs) => xs.clone(),
            None if !labels.is_empty() => -0.5..labels.len() as f64 - 0.5,
            None if self.kind == Kind::Bars => {
                let all = range(self.points().map(|p| p.x), 0.0);
                all.start - 0.5..all.end + 0.5
            }
            None => range(self.points().map(|p| place(p.x)), 0.04),
        };
        let ends = |p: &Point| [Some(p.y), p.low, p.high].into_iter().flatten();
        let zero = (self.kind == Kind::Bars).then_some(0.0);
        let ys = self.ys.clone().unwrap_or_else(|| range(self.points().flat_map(ends).chain(zero), 0.06));
        let (w, h) = (width - left - right, height - top - bottom);
        let at_x = |x: f64| left + (place(x) - xs.start) / (xs.end - xs.start) * w;
        let at_y = |y: f64| top + (ys.end - y) / (ys.end - ys.start) * h;

        let mut out = String::from("<g>\n");
        let (rows, decimals) = ticks(&ys, 5);
        for y in rows {
            out += &format!(
                "<path class=\"rule\" stroke=\"{GREY}\" stroke-opacity=\".25\" d=\"M{left:.1} {0:.1}H{1:.1}\"/>\n",
                at_y(y),
                left + w
            );
            out += &text(left - 6.0, at_y(y) + 4.0, 12.0, "end", &number(y, decimals));
        }
        out += &format!(
            "<path class=\"axis\" stroke=\"{GREY}\" fill=\"none\" d=\"M{left:.1} {top:.1}V{:.1}H{:.1}\"/>\n",
            top + h,
            left + w
        );
        let at = |x: f64| left + (x - xs.start) / (xs.end - xs.start) * w;
        out += &self.x_labels(&xs, &labels, &at, top + h);
        out += &text(left + w / 2.0, height - 6.0, 12.0, "middle", &named(self.x));
        out += &text(4.0, 14.0, 12.0, "start", &named(self.y));
        match self.kind {
            Kind::Lines => self.curves.iter().for_each(|curve| out += &line(curve, &at_x, &at_y)),
            Kind::Bars => out += &self.bars(&at_x, &at_y, w / (xs.end - xs.start)),
        }
        out + "</g>\n"
    }

    /// The x axis' labels, each in as many lines as its place is narrow.
    fn wrapped_labels(&self, width: f64) -> Vec<Vec<String>> {
        let labels = self.x.labels.as_deref().unwrap_or_default();
        let most = ((width - 68.0) / 6.2 / labels.len().max(1) as f64).max(5.0) as usize;
        let wrap = |label: &String| {
            let mut lines: Vec<String> = Vec::new();
            for word in label.split_whitespace() {
                match lines.last_mut() {
                    Some(line) if line.chars().count() + word.chars().count() < most => {
                        *line += &format!(" {word}")
                    }
                    _ => lines.push(short(word, most)),
                }
            }
            lines
        };
        labels.iter().map(wrap).collect()
    }

    /// What stands below the x axis, in the axis' own numbers (logarithms, where it is logarithmic).
    fn x_labels(&self, xs: &Range<f64>, labels: &[Vec<String>], at: &dyn Fn(f64) -> f64, y: f64) -> String {
        let mut out = String::new();
        let mut label = |x: f64, lines: &[String]| {
            out += &format!("<path class=\"axis\" stroke=\"{GREY}\" d=\"M{:.1} {y:.1}v4\"/>\n", at(x));
            for (i, line) in lines.iter().enumerate() {
                out += &text(at(x), y + 17.0 + 13.0 * i as f64, 12.0, "middle", line);
            }
        };
        if !labels.is_empty() {
            labels.iter().enumerate().for_each(|(i, lines)| label(i as f64, lines));
        } else if self.is_log() {
            // 1, 10, 100 ..; within few decades also what lies between them.
            let between: &[f64] = match xs.end - xs.start {
                span if span > 3.0 => &[1.0],
                span if span > 1.5 => &[1.0, 3.0],
                _ => &[1.0, 2.0, 5.0],
            };
            for power in xs.start.floor() as i32..=xs.end.ceil() as i32 {
                for x in between.iter().map(|m| m * 10f64.powi(power)) {
                    if xs.contains(&x.log10()) {
                        label(x.log10(), &[number(x, (-power).max(0) as usize)]);
                    }
                }
            }
        } else {
            let whole = self.points().all(|p| p.x.fract() == 0.0);
            let (at, decimals) = ticks(xs, 5);
            for x in at.into_iter().filter(|x| !whole || x.fract() == 0.0) {
                label(x, &[number(x, if whole { 0 } else { decimals })]);
            }
        }
        out
    }

    /// A bar for each point, those of one x beside each other.
    fn bars(&self, at_x: &dyn Fn(f64) -> f64, at_y: &dyn Fn(f64) -> f64, unit: f64) -> String {
        let mut out = String::new();
        let wide = (unit * 0.8 / self.curves.len().max(1) as f64).min(48.0);
        for (i, curve) in self.curves.iter().enumerate() {
            for p in curve.points.iter().filter(|p| p.y.is_finite()) {
                let x = at_x(p.x) + wide * (i as f64 - self.curves.len() as f64 / 2.0);
                let (top, bottom) = (at_y(p.y.max(0.0)), at_y(p.y.min(0.0)));
                out += &format!(
                    "<rect {} x=\"{x:.1}\" y=\"{top:.1}\" width=\"{:.1}\" height=\"{:.1}\">{}</rect>\n",
                    fill(curve.colour),
                    (wide - 2.0).max(1.0),
                    bottom - top,
                    said(p)
                );
                // In the colour of text, so that it is seen on the bar as well.
                out += &whisker(
                    p,
                    x + wide / 2.0 - 1.0,
                    at_y,
                    &format!("class=\"whisker\" stroke=\"{GREY}\" stroke-width=\"1.5\""),
                );
            }
        }
        out
    }
}

/// One series as a line, with dots where they are few.
fn line(curve: &Curve, at_x: &dyn Fn(f64) -> f64, at_y: &dyn Fn(f64) -> f64) -> String {
    let points: Vec<&Point> = curve.points.iter().filter(|p| p.x.is_finite() && p.y.is_finite()).collect();
    let few = points.len() <= FEW;
    let path = |ends: &mut dyn Iterator<Item = (f64, f64)>| {
        ends.map(|(x, y)| format!("{:.1},{:.1}", at_x(x), at_y(y))).collect::<Vec<_>>().join(" ")
    };
    let mut out = String::new();
    let band: Vec<(f64, f64, f64)> = points.iter().filter_map(|p| Some((p.x, p.low?, p.high?))).collect();
    if !few && !band.is_empty() {
        let mut outline = band.iter().map(|b| (b.0, b.1)).chain(band.iter().rev().map(|b| (b.0, b.2)));
        out += &format!(
            "<polygon {} fill-opacity=\".18\" points=\"{}\"/>\n",
            fill(curve.colour),
            path(&mut outline)
        );
    }
    let pen = stroke(curve.colour, curve.stroke);
    let pen =
        if points.len() > NOISY { pen.replace("stroke-width=\"2\"", "stroke-width=\"1.2\"") } else { pen };
    out += &format!(
        "<polyline fill=\"none\" {pen} points=\"{}\"/>\n",
        path(&mut points.iter().map(|p| (p.x, p.y)))
    );
    // A level to compare with, without an interval, has no place of its own to be marked.
    let marked = |p: &&&Point| few && (curve.stroke != Stroke::Dotted || p.low.is_some());
    for p in points.iter().filter(marked) {
        out += &whisker(p, at_x(p.x), at_y, &stroke(curve.colour, Stroke::Solid));
        let (x, y) = (at_x(p.x), at_y(p.y));
        out += &format!(
            "<circle {} cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3\">{}</circle>\n",
            fill(curve.colour),
            said(p)
        );
    }
    out
}

/// An interval, if it is known.
fn whisker(p: &Point, x: f64, at_y: &dyn Fn(f64) -> f64, pen: &str) -> String {
    let (Some(low), Some(high)) = (p.low, p.high) else { return String::new() };
    let (low, high) = (at_y(low), at_y(high));
    format!(
        "<path fill=\"none\" {pen} d=\"M{x:.1} {low:.1}V{high:.1}M{0:.1} {low:.1}h8M{0:.1} {high:.1}h8\"/>\n",
        x - 4.0
    )
}

/// A point's numbers, for those who point at it.
fn said(p: &Point) -> String {
    let interval = match (p.low, p.high) {
        (Some(low), Some(high)) => format!(" [{low:.3}, {high:.3}]"),
        _ => String::new(),
    };
    format!("<title>{:.3}{interval}</title>", p.y)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plot(points: Vec<Point>, kind: Kind, x: Axis) -> String {
        let y = Axis { name: "y".into(), unit: "nats".into(), ..Axis::default() };
        let curves = [Curve { points, colour: 0, stroke: Stroke::Dashed }];
        Plot { x: &x, y: &y, curves: &curves, kind, xs: None, ys: None }.draw(400.0, 250.0)
    }

    fn point(x: f64, y: f64) -> Point {
        Point { x, y, low: None, high: None }
    }

    #[test]
    fn both_axes_have_names_and_units_and_points_their_places() {
        let x = Axis { name: "step".into(), ..Axis::default() };
        let drawn = plot(vec![point(0.0, 0.0), point(10.0, 1.0)], Kind::Lines, x);
        assert!(
            drawn.contains(">y (nats)<") && drawn.contains(">step<") && drawn.contains("stroke-dasharray")
        );
        let points = drawn.split("points=\"").nth(1).unwrap().split('"').next().unwrap();
        // 4 and 6 per cent of margin, of the 332 and 180 units between the axes.
        assert_eq!(points, "68.3,196.4 375.7,35.6");
    }

    #[test]
    fn intervals_are_whiskers_or_bands() {
        let with = |x| Point { low: Some(0.0), high: Some(2.0), ..point(x, 1.0) };
        let x = Axis::default();
        let few = plot(vec![with(1.0), with(2.0)], Kind::Lines, x.clone());
        assert_eq!((few.matches("h8M").count(), few.matches("<polygon").count()), (2, 0));
        assert!(few.contains("<title>1.000 [0.000, 2.000]</title>"));
        let many = plot((0..50).map(|i| with(i.into())).collect(), Kind::Lines, x.clone());
        assert_eq!((many.matches("h8M").count(), many.matches("<polygon").count()), (0, 1));
        let bars = plot(vec![with(0.0)], Kind::Bars, x);
        assert_eq!((bars.matches("<rect").count(), bars.matches("h8M").count()), (1, 1));
    }

    #[test]
    fn a_logarithmic_axis_has_powers_of_ten_and_no_zero() {
        let x = Axis { log: true, ..Axis::default() };
        let drawn = plot(vec![point(100.0, 1.0), point(1e6, 2.0)], Kind::Lines, x.clone());
        for label in [">100<", ">10000<", ">1e6<"] {
            assert!(drawn.contains(label), "{label} {drawn}");
        }
        let with_zero = plot(vec![point(0.0, 1.0), point(1.0, 2.0)], Kind::Lines, x);
        assert!(with_zero.contains(">0<"), "{with_zero}");
    }

    #[test]
    fn names_of_places_are_wrapped_and_steps_are_whole() {
        let labels = ["follows explicit constraints", "b"].map(String::from).to_vec();
        let x = Axis { labels: Some(labels), ..Axis::default() };
        let drawn = plot(vec![point(0.0, 1.0), point(1.0, 2.0)], Kind::Bars, x);
        assert!(drawn.contains(">follows explicit<") && drawn.contains(">constraints<"), "{drawn}");
        let drawn = plot(vec![point(1.0, 1.0), point(2.0, 2.0)], Kind::Lines, Axis::default());
        assert!(drawn.contains(">2<") && !drawn.contains(">1.2<"), "{drawn}");
    }

    #[test]
    fn odd_series_can_be_drawn() {
        for points in [
            vec![],
            vec![point(1.0, 3.0)],
            vec![point(1.0, 0.0), point(2.0, 0.0)],
            vec![point(1.0, 1e300), point(2.0, -1e300)],
            vec![point(5.0, 1e-30), point(5.0, 2e-30)],
            vec![point(1.0, f64::NAN), point(2.0, 1.0)],
        ] {
            for kind in [Kind::Lines, Kind::Bars] {
                let drawn = plot(points.clone(), kind, Axis::default());
                assert!(!drawn.contains("NaN") && !drawn.contains("inf"), "{points:?}: {drawn}");
            }
        }
    }
}
