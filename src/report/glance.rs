//! A run at a glance: what was run, when, how large the model is, what it cost.

use super::Run;
use super::html::{escape, folded, notes, table};
use super::measures::title;
use super::page::entry;
use super::record::{Table, Timing};
use crate::model::Precision;

/// The facts, the cost of each stage, and where the data went.
pub fn html(run: &Run) -> String {
    let mut out = String::new();
    let facts = facts(run);
    if !facts.is_empty() {
        let fact =
            |(name, value): &(&str, String)| format!("<div><dt>{name}</dt><dd>{}</dd></div>", escape(value));
        out += &format!("<dl class=\"facts\">\n{}\n</dl>\n", facts.iter().map(fact).collect::<String>());
    }
    if !run.timings.is_empty() {
        out += &folded("Cost of each stage", &table(&costs(&run.timings)));
    }
    let data = run.results.notes.iter().filter(|note| note.stage.is_empty() && !note.warns);
    let data: Vec<(String, bool)> = data.map(|note| (note.text.clone(), false)).collect();
    if !data.is_empty() {
        out += &folded("Where the data went", &notes(&data));
    }
    out
}

/// What is known of the run, in the order of the page.
fn facts(run: &Run) -> Vec<(&'static str, String)> {
    let mut facts = Vec::new();
    let key = |section: &str, key: &str| run.settings.get(section)?.get(key);
    let count = |section: &str, name: &str| key(section, name)?.as_integer();
    if let Some(world) = key("data", "world").and_then(|value| value.as_bool()) {
        facts.push(("data", if world { "the built-in miniature" } else { "files" }.to_string()));
    }
    if let Some(parameters) = entry(&run.results.found, "pretrain")["parameters"].as_f64() {
        facts.push(("parameters", amount(parameters)));
    }
    if let (Some(layers), Some(width)) = (count("model", "layers"), count("model", "width")) {
        facts.push(("shape", format!("{layers} layers, width {width}")));
    }
    if let (Some(context), Some(vocabulary)) = (count("model", "context"), count("tokenizer", "vocab_size")) {
        facts.push(("context, vocabulary", format!("{context}, {vocabulary} tokens")));
    }
    let precision = run.settings.get("precision").and_then(|value| value.as_str()).and_then(Precision::named);
    if let Some(precision) = precision.filter(|precision| *precision != Precision::F32) {
        let own = if precision.is_exact() { "" } else { ", on tensor cores: bits of their own" };
        facts.push(("precision", format!("{}{own}", precision.name())));
    }
    if let Some(seed) = run.settings.get("seed").and_then(|value| value.as_integer()) {
        facts.push(("seed", seed.to_string()));
    }
    let sum = |of: &dyn Fn(&Timing) -> f64| run.timings.iter().map(of).sum::<f64>();
    if !run.timings.is_empty() {
        facts.push(("tokens", amount(sum(&|t| t.tokens as f64))));
        facts.push(("time", duration(sum(&|t| t.seconds))));
    }
    let flops = sum(&|t| t.flops);
    if flops > 0.0 {
        facts.push(("arithmetic, at most", format!("{}FLOP", amount(flops))));
    }
    let ended = run.timings.iter().map(|t| t.ended).fold(0.0, f64::max);
    if ended > 0.0 {
        facts.push(("ended", date(ended as i64)));
    }
    facts
}

fn costs(timings: &[Timing]) -> Table {
    let known = |x: f64, text: String| if x > 0.0 { text } else { "–".into() };
    let row = |t: &Timing| {
        let rate = |x: f64| amount(x / t.seconds.max(1e-9));
        vec![
            title(&t.stage),
            duration(t.seconds),
            known(t.tokens as f64, amount(t.tokens as f64)),
            known(t.tokens as f64, rate(t.tokens as f64)),
            known(t.flops, amount(t.flops)),
            known(t.flops, rate(t.flops)),
        ]
    };
    let columns = ["stage", "time", "tokens", "tokens/s", "planned FLOP, at most", "FLOP/s"];
    Table {
        title: "Cost of each stage (of a stage that was resumed, the time of its last start)".into(),
        columns: columns.map(String::from).to_vec(),
        rows: timings.iter().map(row).collect(),
    }
}

/// Three digits and a prefix: `394 k`, `1.20 M`.
fn amount(x: f64) -> String {
    let prefixes = [(1e18, "E"), (1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")];
    match prefixes.iter().find(|(size, _)| x >= *size) {
        None => format!("{x:.0} "),
        Some((size, prefix)) => {
            let x = x / size;
            let decimals = if x < 10.0 { 2 } else { usize::from(x < 100.0) };
            format!("{x:.decimals$} {prefix}")
        }
    }
}

/// `7 min 56 s`.
fn duration(seconds: f64) -> String {
    let whole = seconds.round() as u64;
    match (whole / 3600, whole / 60 % 60, whole % 60) {
        (0, 0, _) => format!("{seconds:.1} s"),
        (0, minutes, seconds) => format!("{minutes} min {seconds} s"),
        (hours, minutes, _) => format!("{hours} h {minutes} min"),
    }
}

/// Seconds since 1970 as a date in UTC (Hinnant, "chrono-compatible low-level date algorithms").
fn date(seconds: i64) -> String {
    let (days, rest) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    let shifted = days + 719_468;
    let (era, of_era) = (shifted.div_euclid(146_097), shifted.rem_euclid(146_097));
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    format!("{year}-{month:02}-{day:02} {:02}:{:02} UTC", rest / 3600, rest / 60 % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_times_and_dates_are_short() {
        assert_eq!([394_080.0, 1.2e6, 15.24e12, 7.0].map(amount), ["394 k", "1.20 M", "15.2 T", "7 "]);
        assert_eq!([0.5, 476.4, 7260.0].map(duration), ["0.5 s", "7 min 56 s", "2 h 1 min"]);
        // The seconds of `date -u -d 2024-02-29T12:34 +%s`, and of 1970.
        assert_eq!([1_709_210_040, 0].map(date), ["2024-02-29 12:34 UTC", "1970-01-01 00:00 UTC"]);
    }
}
