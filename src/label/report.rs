//! How much was labelled and how well labelers agree: as tables, and as a page with charts.

mod known;
mod page;
mod rankings;

use std::collections::{BTreeMap, BTreeSet, HashMap};

use serde_json::json;

use super::agreement::{Scale, gwet_ac1, krippendorff_alpha};
use super::item::{Item, Work};
use super::record::{Answer, QUESTIONS, Record};
use super::settings::Settings;
use super::store::Store;
use crate::error::Result;
use crate::num::statistics::{Clustered, interval_text, text as number};
use crate::report::record::Table;
use rankings::{Rankings, Share};

/// Records with what they are about.
type About<'a> = [(&'a Record, Option<&'a Item>)];

/// Everything that was said, read once.
#[derive(Debug, Default)]
pub struct Report {
    items: HashMap<String, Item>,
    records: Vec<Record>,
    settings: Settings,
}

fn table(title: &str, columns: &[&str], rows: Vec<Vec<String>>) -> Table {
    Table { title: title.into(), columns: columns.iter().map(|name| name.to_string()).collect(), rows }
}

impl Report {
    /// Of a project.
    ///
    /// # Errors
    /// [`crate::Error::Io`], [`crate::Error::Format`].
    pub fn of(store: &mut Store, settings: &Settings) -> Result<Report> {
        let mut report = Report { settings: settings.clone(), ..Report::default() };
        store.items(|item| drop(report.items.insert(item.id.clone(), item)))?;
        store.records(|record| report.records.push(record))?;
        Ok(report)
    }

    fn about(&self) -> Vec<(&Record, Option<&Item>)> {
        let item = |record: &Record| record.item.as_ref().and_then(|id| self.items.get(id));
        self.records.iter().map(|record| (record, item(record))).collect()
    }

    /// All tables that have something to say.
    pub fn tables(&self) -> Vec<Table> {
        let about = self.about();
        let rankings = Rankings::of(&about);
        let tables = [
            counts(&about),
            agreement(&rankings, &self.settings),
            ratings(&about),
            shares(
                "Agreement by pair of labelers",
                "labelers, where both prefer one",
                rankings.pairs_of_labelers(),
            ),
            shares(
                "Rankings: ties, and rules that read nothing",
                "what (of pairs without ties, but for the first)",
                [rankings.ties()].into_iter().chain(rankings.baselines()).collect(),
            ),
            shares(
                "Models: preferred to another model's output, a tie counted half",
                "model",
                rankings.models(),
            ),
            known::gold(&about),
            known::topics(&about),
        ];
        tables.into_iter().filter(|table| !table.rows.is_empty()).collect()
    }

    /// The tables as JSON.
    pub fn json(&self) -> String {
        let table = |Table { title, columns, rows }: Table| json!({ "title": title, "columns": columns, "rows": rows });
        json!({ "tables": self.tables().into_iter().map(table).collect::<Vec<_>>() }).to_string()
    }

    /// A page of its own, with charts: nothing is loaded from elsewhere, and the same records give the same bytes.
    pub fn html(&self) -> String {
        page::html(self)
    }
}

/// Seconds that each kind of work took: its name, then the quartiles.
fn seconds<'a>(about: &About<'a>) -> Vec<(&'static str, Vec<&'a Record>, [f64; 3])> {
    let kinds = Work::ALL.map(|work| (work.name(), Some(work))).into_iter().chain([("own prompts", None)]);
    let of = |(name, work): (&'static str, Option<Work>)| {
        let of: Vec<&Record> = about
            .iter()
            .filter(|(_, item)| item.map(Item::work) == work)
            .map(|(record, _)| *record)
            .collect();
        let mut seconds: Vec<f64> = of.iter().map(|record| record.seconds).collect();
        seconds.sort_by(f64::total_cmp);
        let last = seconds.len().checked_sub(1)?;
        // Linear between neighbours.
        let quantile = |share: f64| {
            let at = share * last as f64;
            let (low, high) = (seconds[at as usize], seconds[(at as usize + 1).min(last)]);
            low + (at - at.floor()) * (high - low)
        };
        Some((name, of, [0.25, 0.5, 0.75].map(quantile)))
    };
    kinds.filter_map(of).collect()
}

/// How many records there are of each kind of work, and how long they took.
fn counts(about: &About) -> Table {
    let rows = seconds(about).into_iter().map(|(name, of, [low, median, high])| {
        let labelers: BTreeSet<&str> = of.iter().map(|record| record.labeler.as_str()).collect();
        let count = |is: &dyn Fn(&&&Record) -> bool| of.iter().filter(is).count().to_string();
        let skipped = count(&|record| matches!(record.answer, Answer::Skip { .. }));
        let flagged = count(&|record| record.flagged);
        let [all, labelers] = [of.len(), labelers.len()].map(|n| n.to_string());
        let [low, median, high] = [low, median, high].map(|seconds| number(Some(seconds), 1));
        vec![name.to_string(), all, labelers, skipped, flagged, median, format!("{low} to {high}")]
    });
    let columns =
        ["work", "records", "labelers", "skipped", "flagged", "seconds (median)", "seconds (middle half)"];
    table("What was labelled", &columns, rows.collect())
}

fn agreement(rankings: &Rankings, settings: &Settings) -> Table {
    let rows = rankings.agreement(settings).into_iter().flat_map(|group| {
        let count = |of: Option<crate::num::statistics::Estimate>| of.map_or(0, |of| of.count).to_string();
        let paper = format!("{:.3} +- {:.3}", group.paper.0, group.paper.1);
        let rows = [
            ("agree where both prefer one", interval_text(group.strict, 3), group.strict, paper),
            ("agree, one tie counted half", interval_text(group.all, 3), group.all, String::new()),
            (
                "Krippendorff's alpha, ordinal (first, tie, second)",
                number(group.alpha, 3),
                group.all,
                String::new(),
            ),
            ("Gwet's AC1 (nominal)", number(group.ac1, 3), group.all, String::new()),
        ];
        rows.map(|(what, value, of, paper)| vec![group.who.into(), what.into(), value, count(of), paper])
    });
    let columns = ["who", "measure", "value, 95 % interval", "pairs", "paper"];
    table("Agreement on rankings (a pair of responses that two labelers ranked)", &columns, rows.collect())
}

/// Those shares that there are.
fn shares(title: &str, what: &str, shares: Vec<Share>) -> Table {
    let row = |Share { of, share }: Share| Some(vec![of, interval_text(share, 3), share?.count.to_string()]);
    table(title, &[what, "share, 95 % interval", "pairs"], shares.into_iter().filter_map(row).collect())
}

/// Ratings: means, and agreement where several labelers rated the same response.
fn ratings(about: &About) -> Table {
    let (mut overall, mut units) = (Clustered::default(), BTreeMap::<&str, Vec<usize>>::new());
    let mut questions = BTreeMap::<&str, (Clustered<&str>, BTreeMap<&str, Vec<usize>>)>::new();
    for (record, item) in about {
        let (Answer::Rating { overall: rated, questions: answers }, Some(item)) = (&record.answer, item)
        else {
            continue;
        };
        if item.work() != Work::Rate {
            continue;
        }
        overall.add(item.id.as_str(), f64::from(*rated), 1);
        units.entry(&item.id).or_default().push(usize::from(*rated) - 1);
        for (name, &yes) in answers {
            let (share, units) = questions.entry(name).or_default();
            share.add(item.id.as_str(), f64::from(u8::from(yes)), 1);
            units.entry(&item.id).or_default().push(usize::from(yes));
        }
    }
    let units: Vec<Vec<usize>> = units.into_values().collect();
    let shared = |units: &[Vec<usize>]| units.iter().filter(|unit| unit.len() > 1).count().to_string();
    let mut rows = vec![];
    if overall.count() > 0 {
        let alpha = number(krippendorff_alpha(&units, Scale::Ordinal), 3);
        let mean = interval_text(overall.mean().filter(|mean| mean.clusters > 1), 2);
        rows.push(vec![
            "overall (1 to 7), mean".into(),
            mean,
            overall.count().to_string(),
            shared(&units),
            format!("alpha, ordinal: {alpha}"),
        ]);
    }
    for name in QUESTIONS {
        let Some((share, units)) = questions.remove(name) else { continue };
        let units: Vec<Vec<usize>> = units.into_values().collect();
        let [ac1, alpha] =
            [gwet_ac1(&units, 2), krippendorff_alpha(&units, Scale::Nominal)].map(|value| number(value, 3));
        rows.push(vec![
            format!("{name}, share of yes"),
            interval_text(share.share(), 3),
            share.count().to_string(),
            shared(&units),
            format!("AC1: {ac1}, alpha, nominal: {alpha}"),
        ]);
    }
    table(
        "Ratings (Table 3 of the paper)",
        &["question", "value, 95 % interval", "ratings", "by several", "agreement"],
        rows,
    )
}

#[cfg(test)]
mod tests;
