//! The page: HTML around charts, tables and texts.

use super::charts::{Drawn, charts, overview};
use super::record::{Results, Sample, Series, Stage, Table};
use crate::num::statistics::text;

/// Readable from a phone's width up; charts and answers stand side by side where there is room.
const STYLE: &str = "
body{font:16px/1.5 system-ui,sans-serif;color:#222;background:#fff;margin:0 auto;padding:1rem;max-width:76rem}
h1{font-size:1.6rem;margin:.5rem 0}h2{margin:2.2rem 0 .4rem;border-bottom:1px solid #ddd}
h3{font-size:1rem;margin:0}h4{font-size:.85rem;margin:0 0 .2rem;color:#555}
.grid{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,26rem),1fr));gap:1.2rem;margin:.8rem 0}
.answers{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,15rem),1fr));gap:.6rem;margin:.5rem 0 1.6rem}
figure{margin:0}figcaption,.quiet{color:#555;font-size:.85rem}svg{width:100%;height:auto;display:block}
.key{display:inline-block;width:.8em;height:.8em;border-radius:2px;margin:0 .3em 0 .8em}
.scroll{overflow-x:auto}.wide svg{min-width:44rem}table{border-collapse:collapse;margin:.6rem 0}caption{text-align:left;font-weight:600}
th,td{padding:.25rem .7rem;border-bottom:1px solid #ddd;text-align:right;white-space:nowrap}
th:first-child,td:first-child{text-align:left}th{border-bottom:2px solid #999}
pre{white-space:pre-wrap;overflow-wrap:anywhere;margin:0;font:.85rem/1.4 ui-monospace,monospace}
.box{background:#f6f6f4;border-radius:4px;padding:.6rem .8rem}.prompt{border-left:4px solid #0072b2}
.warn{color:#a03000}summary{cursor:pointer;margin:.8rem 0}
";

/// The whole page.
pub fn page(stages: &[Stage], results: &Results, samples: &[Sample], config: Option<&str>) -> String {
    let mut out = String::from(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>instructgpt: report of a run</title>\n<style>",
    );
    out += STYLE;
    out += "</style>\n</head>\n<body>\n<h1>Report of a run</h1>\n";
    for note in &results.notes {
        out += &format!("<p>{}</p>\n", escape(note));
    }
    if let Some(svg) = overview(stages) {
        out += &format!("<figure class=\"scroll wide\">{svg}</figure>\n");
    }
    for table in &results.tables {
        out += &table_html(table);
    }
    for stage in stages {
        out += &stage_html(stage);
    }
    if !samples.is_empty() {
        out += "<h2>Samples</h2>\n";
        samples.iter().for_each(|sample| out += &sample_html(sample));
    }
    if let Some(config) = config {
        out += "<h2>Repeat this run</h2>\n<p>Every figure above repeats to the bit, with any number of threads:</p>\n\
                <pre class=\"box\">instructgpt run config.toml --out NEW_DIRECTORY</pre>\n\
                <p class=\"quiet\">Paths in it are relative to <code>--data</code> where one was given.</p>\n";
        out += &format!(
            "<details><summary>config.toml</summary><pre class=\"box\">{}</pre></details>\n",
            escape(config)
        );
    }
    out += "</body>\n</html>\n";
    out
}

/// One stage: its monitors if it has any, its charts, the rest of its measures.
fn stage_html(stage: &Stage) -> String {
    let mut out = format!("<h2>{}</h2>\n", escape(&title(&stage.name)));
    let (known, rest) = charts(stage);
    if stage.series("kl").is_some() {
        out += &table_html(&monitors(stage));
    }
    let grid = |charts: &[Drawn]| {
        let figures: String = charts.iter().map(figure).collect();
        format!("<div class=\"grid\">\n{figures}</div>\n")
    };
    out += &grid(&known);
    if !rest.is_empty() {
        out += &format!("<details><summary>More measures</summary>\n{}</details>\n", grid(&rest));
    }
    out
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
        title: "Monitors of the policy that samples (means of the first and the last five steps)".into(),
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

fn figure(chart: &Drawn) -> String {
    let mut out = format!("<figure><h3>{}</h3>{}<figcaption>", escape(&chart.title), chart.svg);
    out += &escape(&chart.about);
    for (label, colour) in &chart.legend {
        out += &format!("<span class=\"key\" style=\"background:{colour}\"></span>{}", escape(label));
    }
    match chart.broken {
        0 => {}
        1 => out += " <span class=\"warn\">1 value is not finite</span>",
        n => out += &format!(" <span class=\"warn\">{n} values are not finite</span>"),
    }
    out + "</figcaption></figure>\n"
}

fn table_html(table: &Table) -> String {
    let row = |cells: &[String], tag: &str| {
        let cells: String = cells.iter().map(|c| format!("<{tag}>{}</{tag}>", escape(c))).collect();
        format!("<tr>{cells}</tr>\n")
    };
    let mut out = String::from("<div class=\"scroll\"><table>\n");
    out += &format!("<caption>{}</caption>\n", escape(&table.title));
    out += &row(&table.columns, "th");
    table.rows.iter().for_each(|cells| out += &row(cells, "td"));
    out + "</table></div>\n"
}

fn sample_html(sample: &Sample) -> String {
    let mut out =
        format!("<pre class=\"box prompt\">{}</pre>\n<div class=\"answers\">\n", escape(&sample.prompt));
    for (model, text) in &sample.answers {
        out += &format!(
            "<div><h4>{}</h4><pre class=\"box\">{}</pre></div>\n",
            escape(&title(model)),
            escape(text)
        );
    }
    out + "</div>\n"
}

/// A stage's or a model's name as a heading.
fn title(name: &str) -> String {
    let known = [
        ("pretrain", "Pretraining"),
        ("pretrained", "Pretrained"),
        ("sft", "SFT"),
        ("reward_model", "Reward model"),
        ("rlhf_init", "RLHF init"),
        ("ppo", "PPO"),
        ("ppo_ptx", "PPO-ptx"),
        ("policy", "Policy"),
    ];
    known.iter().find(|k| k.0 == name).map_or(name, |k| k.1).to_string()
}

/// Text as HTML. Control characters other than tab and line ends have no place in HTML: shown as U+FFFD.
fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out += "&amp;",
            '<' => out += "&lt;",
            '>' => out += "&gt;",
            '"' => out += "&quot;",
            '\t' | '\n' => out.push(c),
            c if c.is_control() => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_cannot_become_markup() {
        assert_eq!(escape("<a b=\"c\">&\u{0}\u{1b}\n"), "&lt;a b=&quot;c&quot;&gt;&amp;\u{fffd}\u{fffd}\n");
    }

    #[test]
    fn monitors_compare_the_two_ends() {
        let points = (1..=20).map(|i| (i, i as f64)).collect();
        let series = vec![Series { name: "kl".into(), points, broken: 0 }];
        let table = monitors(&Stage { name: "ppo".into(), series });
        assert_eq!(table.rows, [["KL to the reference, nats per response", "3.000", "18.000"]]);
    }
}
