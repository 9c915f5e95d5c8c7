//! The charts: which measures of `metrics.jsonl` stand together, and how a chart is drawn as SVG. Nothing is painted
//! behind a chart, and its colours can be read on white and on black.

use std::ops::Range;

use super::record::{Series, Stage};
use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::FontTransform;

/// Measures that are drawn in one chart.
struct Chart {
    title: &'static str,
    /// What the y axis counts, and what a reader should make of it.
    about: &'static str,
    /// `(name in metrics.jsonl, label)`.
    series: &'static [(&'static str, &'static str)],
}

/// Every chart, in the order of the page. A stage shows those of which it has a measure; measures
/// that stand in none get a small chart each under "More measures".
const CHARTS: &[Chart] = &[
    Chart {
        title: "Loss",
        about: "nats per token (reward model: per pair)",
        series: &[("loss", "training"), ("validation_loss", "validation")],
    },
    Chart {
        title: "Accuracy",
        about: "share of pairs whose preferred response gets the higher reward; a model that only looks at length must be beaten",
        series: &[
            ("accuracy", "training"),
            ("validation_accuracy", "validation"),
            ("length_accuracy", "length alone, validation"),
        ],
    },
    Chart {
        title: "Reward",
        about: "reward model's score, without the KL penalty; labelers' demonstrations average 0",
        series: &[
            ("reward", "training prompts"),
            ("validation_reward", "validation prompts, averaged weights"),
        ],
    },
    Chart {
        title: "KL to the reference",
        about: "nats per response; a reward that rises while this runs away is reward hacking",
        series: &[("kl", "training prompts"), ("validation_kl", "validation prompts")],
    },
    Chart {
        title: "Entropy of the policy",
        about: "nats per token; near 0 the policy has stopped exploring",
        series: &[("entropy", "training prompts")],
    },
    Chart {
        title: "Response length",
        about: "tokens",
        series: &[
            ("response_length", "training prompts"),
            ("validation_response_length", "validation prompts"),
        ],
    },
    Chart {
        title: "Ending and repeating",
        about: "share of responses that end by themselves; share of 4-grams that occurred before in the response",
        series: &[("ended", "ended"), ("repetition", "repetition")],
    },
    Chart {
        title: "Clip fraction",
        about: "share of tokens on which the clipped term decides, so that their gradient is zero",
        series: &[("clip_fraction", "policy"), ("value_clip_fraction", "value function")],
    },
    Chart {
        title: "Value loss",
        about: "half the squared error of the returns, clipped",
        series: &[("value_loss", "training prompts")],
    },
    Chart {
        title: "Policy loss",
        about: "clipped surrogate",
        series: &[("policy_loss", "training prompts")],
    },
    Chart {
        title: "Loss on pretraining text",
        about: "nats per token; what the ptx term holds down",
        series: &[
            ("ptx_loss", "training"),
            ("pretraining_loss", "training"),
            ("validation_pretraining_loss", "validation, averaged weights"),
        ],
    },
    Chart {
        title: "Learning rate",
        about: "of the model; in PPO of the policy and of the value function",
        series: &[("learning_rate", "learning rate"), ("value_learning_rate", "value function's")],
    },
];

/// The measures of [`overview`], `(name in metrics.jsonl, title, what the y axis counts)`: what PPO raises, what it
/// costs, and what the pretraining gradient is for.
pub const OVERVIEW: [(&str, &str, &str); 3] = [
    ("reward", "Reward", "the reward model's score"),
    ("kl", "KL to the reference", "nats per response"),
    ("validation_pretraining_loss", "Loss on held-out pretraining text", "nats per token"),
];
/// The stages of [`overview`], `(name in metrics.jsonl, label)`.
pub const OVERVIEW_STAGES: [(&str, &str); 2] = [("ppo_ptx", "PPO-ptx"), ("ppo", "PPO")];

/// Colours that stay apart for colour-blind readers (Okabe and Ito 2008).
const COLOURS: [RGBColor; 4] =
    [RGBColor(0, 114, 178), RGBColor(213, 94, 0), RGBColor(0, 130, 95), RGBColor(120, 94, 160)];
/// Of text and axes: 4.6 times lighter than black, 4.5 times darker than white.
const GREY: RGBColor = RGBColor(116, 120, 126);

/// Most points drawn of a series; longer ones are averaged in equal pieces.
const MOST_POINTS: usize = 300;

/// A drawn chart.
pub struct Drawn {
    /// What it shows.
    pub title: String,
    /// What the y axis counts.
    pub about: String,
    /// `(label, colour)` of each line, if there are several.
    pub legend: Vec<(String, String)>,
    /// An `<svg>` element.
    pub svg: String,
    /// Values that are not finite and so could not be drawn.
    pub broken: usize,
}

/// A stage's charts: the known ones in order, then one per remaining measure.
pub fn charts(stage: &Stage) -> (Vec<Drawn>, Vec<Drawn>) {
    let mut known = Vec::new();
    for chart in CHARTS {
        let present = chart.series.iter().filter_map(|(name, label)| Some((*label, stage.series(name)?)));
        let present: Vec<(&str, &Series)> = present.collect();
        known.extend(draw(chart.title, chart.about, &present));
    }
    let is_known = |name: &str| CHARTS.iter().any(|c| c.series.iter().any(|(known, _)| *known == name));
    let rest = stage.series.iter().filter(|s| !is_known(&s.name));
    let rest = rest.filter_map(|s| draw(&s.name, "", &[(&s.name, s)])).collect();
    (known, rest)
}

/// Draws lines over steps; `None` without a series.
fn draw(title: &str, about: &str, series: &[(&str, &Series)]) -> Option<Drawn> {
    if series.is_empty() {
        return None;
    }
    let colour = |i: usize| COLOURS[i % COLOURS.len()];
    let hex = |c: RGBColor| format!("#{:02x}{:02x}{:02x}", c.0, c.1, c.2);
    let legend = series.iter().enumerate().map(|(i, (label, _))| (label.to_string(), hex(colour(i))));
    let lines: Vec<Vec<(f64, f64)>> = series.iter().map(|(_, s)| thin(&s.points)).collect();
    Some(Drawn {
        title: title.to_string(),
        about: about.to_string(),
        legend: if series.len() > 1 { legend.collect() } else { Vec::new() },
        svg: if lines.iter().all(Vec::is_empty) { String::new() } else { svg(&lines, &colour) },
        broken: series.iter().map(|(_, s)| s.broken).sum(),
    })
}

/// At most [`MOST_POINTS`] points: each is the mean of an equal piece of the series.
fn thin(points: &[(u64, f64)]) -> Vec<(f64, f64)> {
    let piece = points.len().div_ceil(MOST_POINTS).max(1);
    let mean = |piece: &[(u64, f64)]| {
        let n = piece.len() as f64;
        let (x, y) = piece.iter().fold((0.0, 0.0), |(x, y), p| (x + p.0 as f64, y + p.1));
        (x / n, y / n)
    };
    points.chunks(piece).map(mean).collect()
}

/// The smallest and largest of the numbers with a margin of a twentieth each side.
fn range(numbers: impl Iterator<Item = f64>) -> Range<f64> {
    let (low, high) = numbers.fold((f64::MAX, f64::MIN), |(low, high), x| (low.min(x), high.max(x)));
    let margin = if high > low { (high - low) / 20.0 } else { (high.abs() / 20.0).max(0.5) };
    (low - margin).max(f64::MIN / 4.0)..(high + margin).min(f64::MAX / 4.0)
}

/// A number on an axis whose whole range is `span`.
fn tick(x: f64, span: f64) -> String {
    match span {
        _ if x.abs() >= 1e6 || (span < 1e-3 && x != 0.0) => format!("{x:.1e}"),
        _ if x.abs() < span * 1e-9 => "0".into(),
        _ if span < 0.05 => format!("{x:.4}"),
        _ if span < 0.5 => format!("{x:.3}"),
        _ if span < 5.0 => format!("{x:.2}"),
        _ if span < 20.0 => format!("{x:.1}"),
        _ => format!("{x:.0}"),
    }
}

/// Lines over steps as an SVG element.
fn svg(lines: &[Vec<(f64, f64)>], colour: &dyn Fn(usize) -> RGBColor) -> String {
    let steps = range(lines.iter().flatten().map(|p| p.0));
    drawing((440, 250), |area| axes(area, lines, colour, ("step", steps)))
}

/// PPO beside PPO-ptx in one picture, a panel for each measure of [`OVERVIEW`], as an SVG element; `None` if a run has
/// none of these measures.
pub fn overview(stages: &[Stage]) -> Option<String> {
    let present = OVERVIEW_STAGES.iter().zip(COLOURS).filter_map(|((name, label), colour)| {
        let stage = stages.iter().find(|stage| stage.name == *name)?;
        Some((*label, colour, stage))
    });
    let present: Vec<(&str, RGBColor, &Stage)> = present.collect();
    let lines = |measure: &str| -> Vec<Vec<(f64, f64)>> {
        let line = |stage: &Stage| stage.series(measure).map(|s| thin(&s.points)).unwrap_or_default();
        present.iter().map(|(.., stage)| line(stage)).collect()
    };
    let panels = OVERVIEW.iter().map(|(measure, title, unit)| (title, unit, lines(measure)));
    let panels: Vec<_> = panels.filter(|(.., lines)| lines.iter().any(|line| !line.is_empty())).collect();
    if panels.is_empty() {
        return None;
    }
    let steps = range(panels.iter().flat_map(|(.., lines)| lines).flatten().map(|p| p.0));
    Some(drawing((300 * panels.len() as u32, 290), |area| {
        let (key, body) = area.split_vertically(30);
        for (i, (label, colour, _)) in present.iter().enumerate() {
            let x = 16 + 90 * i as i32;
            let stroke = PathElement::new([(x, 14), (x + 18, 14)], colour.stroke_width(3));
            key.draw(&stroke).expect("drawing into a string");
            write(&key, label, (x + 25, 6), 16);
        }
        for ((title, unit, lines), panel) in panels.iter().zip(body.split_evenly((1, panels.len()))) {
            let (head, chart) = panel.split_vertically(48);
            write(&head, title, (16, 8), 17);
            write(&head, unit, (16, 28), 14);
            axes(&chart, lines, &|i| present[i].1, ("iteration", steps.clone()));
        }
    }))
}

/// Where plotters draws.
type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

/// An SVG element of this width and height. Drawing into a string cannot fail.
fn drawing(size: (u32, u32), draw: impl FnOnce(&Area)) -> String {
    let mut text = String::new();
    {
        let area = SVGBackend::with_string(&mut text, size).into_drawing_area();
        draw(&area);
        area.present().expect("drawing into a string");
    }
    text
}

/// Writes a line of text whose upper left corner is `at`.
fn write(area: &Area, text: &str, at: (i32, i32), size: i32) {
    let style = ("sans-serif", size).into_font().color(&GREY);
    area.draw(&Text::new(text.to_string(), at, style)).expect("drawing into a string");
}

/// Lines over steps, with their axes; the x axis has a title and a range.
fn axes(
    area: &Area,
    lines: &[Vec<(f64, f64)>],
    colour: &dyn Fn(usize) -> RGBColor,
    (x_title, xs): (&str, Range<f64>),
) {
    let ys = range(lines.iter().flatten().map(|p| p.1));
    let (x_span, y_span) = (xs.end - xs.start, ys.end - ys.start);
    let mut chart = ChartBuilder::on(area)
        .margin(6)
        .margin_right(14)
        .x_label_area_size(40)
        .y_label_area_size(54)
        .build_cartesian_2d(xs, ys)
        .expect("drawing into a string");
    // plotters writes a size of 15 as 12.1 units of the 440 that a phone's width shows.
    let font = ("sans-serif", 15).into_font().transform(FontTransform::None).color(&GREY);
    chart
        .configure_mesh()
        .light_line_style(TRANSPARENT)
        .bold_line_style(GREY.mix(0.2))
        .axis_style(GREY.mix(0.7))
        .label_style(font)
        .x_labels(5)
        .y_labels(6)
        .x_label_formatter(&|x| tick(*x, x_span.max(20.0)))
        .y_label_formatter(&|y| tick(*y, y_span))
        .x_desc(x_title)
        .draw()
        .expect("drawing into a string");
    for (i, line) in lines.iter().enumerate() {
        let style = colour(i).stroke_width(2);
        chart.draw_series(LineSeries::new(line.iter().copied(), style)).expect("drawing into a string");
        if line.len() <= 40 {
            let dots = line.iter().map(|p| Circle::new(*p, 3, colour(i).filled()));
            chart.draw_series(dots).expect("drawing into a string");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn series(name: &str, points: &[(u64, f64)]) -> Series {
        Series { name: name.into(), points: points.to_vec(), broken: 0 }
    }

    #[test]
    fn measures_go_to_their_charts() {
        let stage = Stage {
            name: "ppo".into(),
            series: vec![
                series("kl", &[(1, 0.0), (2, 1.0)]),
                series("mine", &[(1, 5.0)]),
                series("validation_kl", &[(2, 1.5)]),
            ],
        };
        let (known, rest) = charts(&stage);
        assert_eq!((known.len(), rest.len()), (1, 1));
        assert_eq!(known[0].title, "KL to the reference");
        assert_eq!(known[0].legend.len(), 2);
        assert!(known[0].svg.contains("<polyline"));
        assert_eq!(rest[0].title, "mine");
    }

    #[test]
    fn the_overview_has_a_panel_for_each_measure_that_is_there() {
        let stage = |name: &str, series| Stage { name: name.into(), series };
        let kl = || series("kl", &[(1, 0.0), (2, 1.0)]);
        let broken = Series { broken: 1, ..series("reward", &[]) };
        let both = [stage("ppo", vec![kl(), broken]), stage("ppo_ptx", vec![kl()])];
        let svg = overview(&both).unwrap();
        assert!(svg.contains("KL to the reference") && !svg.contains("Reward"));
        assert!(svg.contains(">\nPPO-ptx\n<") && svg.contains(">\nPPO\n<"), "{svg}");
        assert!(!overview(&both[..1]).unwrap().contains("PPO-ptx"));
        assert!(overview(&[stage("sft", vec![kl()])]).is_none());
        assert!(overview(&[]).is_none());
    }

    #[test]
    fn no_measure_is_in_two_charts() {
        let mut names: Vec<&str> = CHARTS.iter().flat_map(|c| c.series.iter().map(|s| s.0)).collect();
        let count = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), count);
    }

    #[test]
    fn long_series_are_averaged() {
        let points: Vec<(u64, f64)> = (0..10_000).map(|i| (i, (i % 2) as f64)).collect();
        let thinned = thin(&points);
        assert!(thinned.len() <= MOST_POINTS);
        assert!(thinned.iter().all(|p| p.1 == 0.5));
    }

    #[test]
    fn odd_series_can_be_drawn() {
        for points in [
            vec![(1, 3.0)],
            vec![(1, 0.0), (2, 0.0)],
            vec![(1, 1e300), (2, -1e300)],
            vec![(5, 1e-30), (5, 2e-30)],
        ] {
            let drawn = draw("t", "", &[("a", &series("a", &points))]).unwrap();
            assert!(drawn.svg.starts_with("<svg") && drawn.svg.contains("<text"), "{points:?}");
        }
        assert!(draw("t", "", &[("a", &series("a", &[]))]).unwrap().svg.is_empty());
        assert!(draw("t", "", &[]).is_none());
    }
}
