//! `figures.json`: the paper's figures and verdicts on them, as `reproduce` writes them and the page draws them. A
//! number that is not known is left out; no number is written that is not finite.

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::text::json;

/// The whole file.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Figures {
    /// The page's title.
    pub title: String,
    /// Sentences that stand at the top; those that begin with "warning" are drawn as warnings.
    #[serde(default)]
    pub notes: Vec<String>,
    /// Which of the paper's claims appear.
    #[serde(default)]
    pub verdicts: Vec<Verdict>,
    /// The paper's figures, redrawn, beside ours.
    #[serde(default)]
    pub charts: Vec<Chart>,
    /// Other tables.
    #[serde(default)]
    pub tables: Vec<Table>,
}

/// A claim of the paper, and whether our numbers bear it out.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Verdict {
    /// Where the paper makes it: "Figure 1".
    pub figure: String,
    /// What it says, in a sentence.
    pub claim: String,
    /// The paper's value, as text.
    pub paper: String,
    /// Ours, the mean over seeds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ours: Option<f64>,
    /// Lower end of its 95 % interval.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub low: Option<f64>,
    /// Upper end of its 95 % interval.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub high: Option<f64>,
    /// The value of each seed.
    #[serde(default)]
    pub seeds: Vec<f64>,
    /// Whether the paper's effect appears.
    pub effect: Effect,
    /// The rule by which that was decided, written down before the runs.
    pub rule: String,
    /// What the rule gave here, or why nothing could be decided.
    #[serde(default)]
    pub why: String,
}

/// Whether an effect of the paper appears in our numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Effect {
    /// It does.
    Yes,
    /// It does not, or the opposite does.
    No,
    /// The numbers do not tell.
    Undecided,
}

impl Effect {
    /// The word of the file, the table and the page.
    pub fn word(self) -> &'static str {
        match self {
            Effect::Yes => "yes",
            Effect::No => "no",
            Effect::Undecided => "undecided",
        }
    }
}

/// A figure of the paper, and ours.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Chart {
    /// Which of the paper's it is: "Figure 1".
    pub figure: String,
    /// What it shows.
    pub title: String,
    /// What a reader should make of it, in a sentence.
    #[serde(default)]
    pub about: String,
    /// How it is drawn.
    pub kind: Kind,
    /// The x axis.
    pub x: Axis,
    /// The y axis.
    pub y: Axis,
    /// Our series.
    pub series: Vec<Line>,
    /// The paper's series; one of the same name has the same colour.
    #[serde(default)]
    pub paper: Vec<Line>,
}

/// How a chart is drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// A line for each series, with a dot and an interval at each point.
    Lines,
    /// A group of bars at each x, a bar for each series.
    Bars,
}

/// What an axis counts.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Axis {
    /// Its name: "win rate".
    pub name: String,
    /// Its unit: "share of prompts"; empty for a pure number.
    #[serde(default)]
    pub unit: String,
    /// Whether it is logarithmic.
    #[serde(default)]
    pub log: bool,
    /// Names of x = 0, 1, 2, ..; without them x is a number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub labels: Option<Vec<String>>,
}

/// A series of points.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Line {
    /// Its name: "PPO-ptx".
    pub name: String,
    /// Its points, by x.
    pub points: Vec<Point>,
}

/// A value, with its interval where it is known.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Point {
    /// Where it stands.
    pub x: f64,
    /// The value.
    pub y: f64,
    /// Lower end of its 95 % interval.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub low: Option<f64>,
    /// Upper end of its 95 % interval.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub high: Option<f64>,
}

/// A table, every cell as text.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Table {
    /// What it shows.
    pub title: String,
    /// Column heads.
    pub columns: Vec<String>,
    /// Rows of as many cells.
    pub rows: Vec<Vec<String>>,
}

impl Figures {
    /// The file's text.
    pub fn to_json(&self) -> String {
        serde_json::to_string_pretty(self).expect("numbers and strings are always JSON") + "\n"
    }

    /// Reads the file's text. `origin` names it in messages.
    ///
    /// # Errors
    /// [`Error::Format`].
    pub fn parse(text: &str, origin: &str) -> Result<Figures> {
        let value = json::parse(text.as_bytes())
            .map_err(|e| json::refusal(origin, text.as_bytes(), (1, 1), "JSON", &e, ""))?;
        let wrong = |found: String, expected: &str| Error::format(origin, "", expected, found, "");
        let figures: Figures = serde_json::from_value(value)
            .map_err(|e| wrong(e.to_string(), "the figures that `reproduce` writes"))?;
        match figures.tables.iter().find(|t| t.rows.iter().any(|row| row.len() != t.columns.len())) {
            Some(table) => {
                Err(wrong("another number".into(), &format!("rows of {} cells", table.columns.len())))
            }
            None => Ok(figures),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let text = r#"{"title":"t","verdicts":[{"figure":"Figure 1","claim":"c","paper":"0.53","ours":0.61,
            "seeds":[0.6,0.62],"effect":"undecided","rule":"r","why":""}],
            "charts":[{"figure":"Figure 1","title":"t","kind":"bars","x":{"name":"model","labels":["a"]},
            "y":{"name":"win rate","unit":"share"},"series":[{"name":"PPO","points":[{"x":0,"y":0.5,"low":0.4}]}]}]}"#;
        let figures = Figures::parse(text, "figures.json").unwrap();
        assert_eq!(figures.verdicts[0].effect, Effect::Undecided);
        assert_eq!(figures.charts[0].series[0].points[0].low, Some(0.4));
        assert_eq!(figures.charts[0].kind, Kind::Bars);
        assert_eq!(Figures::parse(&figures.to_json(), "again").unwrap(), figures);
    }

    #[test]
    fn mistakes_name_the_file() {
        for (text, word) in [
            ("{", "line 1"),
            (r#"{"title":"t","verdict":[]}"#, "verdict"),
            (
                r#"{"title":"t","tables":[{"title":"t","columns":["a"],"rows":[["1","2"]]}]}"#,
                "rows of 1 cells",
            ),
        ] {
            let message = Figures::parse(text, "figures.json").unwrap_err().to_string();
            assert!(message.starts_with("figures.json") && message.contains(word), "{message}");
        }
    }
}
