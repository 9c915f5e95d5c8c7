//! The paper's tables about its data (Tables 1 and 6 to 11), of a run's own data: what the files hold once the paper's
//! rules have been applied, exactly as a run applies them; and every record that was left out.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde::Serialize;
use serde_json::{Value, json};

use super::account::Account;
use super::dataset::{Example, tokenizer};
use super::encoder::Encoder;
use super::personal::Texts;
use super::records::{Kind, from_files, from_world};
use crate::data::language::language;
use crate::data::pii;
use crate::data::tags::{MARKS, Marks};
use crate::data::{Comparison, Demonstration, Prompt, Side, Split, Tags};
use crate::error::Result;
use crate::settings::Settings;
use crate::world::World;

/// A table: cells are texts or numbers, `null` where there is nothing to count.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SurveyTable {
    /// With the number of the paper's table.
    pub title: String,
    /// Names of the columns.
    pub columns: Vec<&'static str>,
    /// One cell for each column.
    pub rows: Vec<Vec<Value>>,
}

/// A record, and what is to be said of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Remark {
    /// "demonstrations".
    pub data: &'static str,
    /// "a.jsonl, line 12".
    pub place: String,
    /// Why it was left out; or the personal data that were found in it.
    pub what: String,
}

/// What is known about a run's data.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Survey {
    /// The paper's tables.
    pub tables: Vec<SurveyTable>,
    /// Each record that was left out, with the reason.
    pub left_out: Vec<Remark>,
    /// Personal data in what is trained on, after the rule `data.pii`.
    pub personal: Vec<Remark>,
    /// What was loaded, as a run notes it.
    pub notes: Vec<String>,
}

/// What a table needs of a record.
struct Facts {
    user: Option<String>,
    tags: Tags,
    place: String,
    prompt: String,
    language: &'static str,
    /// In tokens.
    prompt_tokens: usize,
    /// In tokens, without the end-of-text token.
    response_tokens: Vec<usize>,
    personal: Vec<(pii::Kind, String)>,
}

/// The records of one kind.
type Kept = (&'static str, Split<Vec<Facts>>);

impl Survey {
    /// Loads and filters the data as a run does.
    ///
    /// # Errors
    /// As [`super::dataset::Dataset::load`].
    pub fn new(settings: &Settings, root: &Path) -> Result<Survey> {
        let mut records = match settings.data.world {
            true => from_world(&World::new(settings.seed), settings),
            false => from_files(settings, root)?,
        };
        let tokenizer = tokenizer(settings, root, &mut records)?;
        let encoder = Encoder::new(&tokenizer, settings);
        let (mut accounts, limits) = (Vec::new(), encoder.limits());
        encoder.text(records.text, &mut accounts);
        let longest = settings.ppo.max_prompt_tokens;
        let of_prompts = format!("longer than {longest} tokens (ppo.max_prompt_tokens), or empty");
        let answers = |examples: &[Example]| examples.iter().map(|e| e.tokens.len() - e.prompt - 1).collect();
        let demonstrations = examined(&encoder, records.demonstrations, &limits, &mut accounts, |record| {
            let Demonstration { prompt, response, .. } = record;
            let example = encoder.example(prompt, response);
            Ok(example.map(|example| (example.prompt, answers(&[example]))))
        })?;
        let comparisons =
            examined(&encoder, records.comparisons, &limits, &mut accounts, |record: &Comparison| {
                let ranking = encoder.ranking(record)?;
                Ok(ranking.map(|ranking| (ranking.prompt().len(), answers(&ranking.responses))))
            })?;
        let prompts = examined(&encoder, records.prompts, &of_prompts, &mut accounts, |record: &Prompt| {
            let tokens = tokenizer.encode(&record.prompt).len();
            Ok((1..=longest).contains(&tokens).then(|| (tokens, Vec::new())))
        })?;
        let kinds = [demonstrations, comparisons, prompts];
        let mut notes = records.notes;
        notes.extend(accounts.iter().filter(|account| account.read > 0).map(Account::to_string));
        Ok(Survey {
            tables: tables(&kinds, &accounts),
            left_out: accounts.iter().flat_map(left_out).collect(),
            personal: kinds.iter().flat_map(personal).collect(),
            notes,
        })
    }
}

/// The facts of those records of a kind for which `lengths` gives numbers of tokens.
fn examined<T: Texts + Sync>(
    encoder: &Encoder,
    mut kind: Kind<T>,
    reason: &str,
    accounts: &mut Vec<Account>,
    lengths: impl Fn(&T) -> Result<Option<(usize, Vec<usize>)>> + Sync,
) -> Result<Kept> {
    let name = kind.account.kind;
    // Only what is trained on is asked for personal data, as the paper does.
    let mut found: BTreeMap<String, Vec<(pii::Kind, String)>> = BTreeMap::new();
    for record in &mut kind.sides.train {
        let place = record.place().to_string();
        for text in record.texts() {
            let here = pii::find(text).into_iter().map(|one| (one.kind, text[one.range].to_string()));
            found.entry(place.clone()).or_default().extend(here);
        }
    }
    let facts = |record: &T| {
        let Some((prompt_tokens, response_tokens)) = lengths(record)? else { return Ok(None) };
        let place = record.place().to_string();
        Ok(Some(Facts {
            user: record.user().map(str::to_string),
            tags: record.tags().clone(),
            prompt: record.prompt().to_string(),
            language: language(record.prompt()),
            personal: Vec::new(),
            prompt_tokens,
            response_tokens,
            place,
        }))
    };
    let mut kept = encoder.encode(kind, reason, accounts, facts)?;
    for record in &mut kept.train {
        record.personal = found.remove(&record.place).unwrap_or_default();
    }
    Ok((name, kept))
}

fn left_out(account: &Account) -> Vec<Remark> {
    let remark = |one: &super::account::LeftOut| Remark {
        data: account.kind,
        place: one.place.clone(),
        what: one.reason.clone(),
    };
    account.left_out.iter().map(remark).collect()
}

fn personal((data, kept): &Kept) -> Vec<Remark> {
    let of = |record: &Facts| -> Vec<Remark> {
        let what = |(kind, text): &(pii::Kind, String)| format!("{}: {text}", kind.name());
        let remark = |one| Remark { data, place: record.place.clone(), what: what(one) };
        record.personal.iter().map(remark).collect()
    };
    kept.train.iter().flat_map(of).collect()
}

/// The tables in the paper's order. A side without records has no row.
fn tables(kinds: &[Kept], accounts: &[Account]) -> Vec<SurveyTable> {
    let sides = || kinds.iter().flat_map(|(kind, kept)| Side::ALL.map(|side| (*kind, side, kept.of(side))));
    let filled = || sides().filter(|(_, _, records)| !records.is_empty());
    let all = || filled().flat_map(|(_, _, records)| records);
    let table = |title: &str, columns: &[&'static str], rows: Vec<Vec<Value>>| SurveyTable {
        title: title.to_string(),
        columns: columns.to_vec(),
        rows,
    };
    let use_case = |record: &Facts| record.tags.use_case.clone().unwrap_or_else(|| "(no use_case)".into());

    let sizes = filled().map(|(kind, side, records)| {
        let prompts: BTreeSet<&str> = records.iter().map(|record| record.prompt.as_str()).collect();
        let of_users = records.iter().filter(|record| record.user.is_some()).count();
        vec![kind.into(), side.name().into(), json!(records.len()), json!(prompts.len()), json!(of_users)]
    });
    let lost = accounts.iter().filter(|account| account.read > 0).map(|account| {
        let kept = Side::ALL.iter().map(|&side| *account.sides.of(side)).sum::<usize>();
        vec![account.kind.into(), json!(account.read), json!(kept), json!(account.left_out.len())]
    });
    let users = filled().filter(|(_, _, records)| records.iter().any(|record| record.user.is_some())).map(
        |(kind, side, records)| {
            let mut of: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
            for record in records {
                if let Some(user) = &record.user {
                    of.entry(user).or_default().insert(&record.prompt);
                }
            }
            let counts: Vec<usize> = of.values().map(BTreeSet::len).collect();
            let mean = mean(&counts);
            vec![
                kind.into(),
                side.name().into(),
                json!(counts.len()),
                json!(mean),
                json!(counts.iter().max()),
            ]
        },
    );
    let prompts = filled().map(|(kind, side, records)| {
        described(vec![kind.into(), side.name().into()], records.iter().map(|r| r.prompt_tokens))
    });
    let mut by_use_case: BTreeMap<String, Vec<usize>> = BTreeMap::new();
    let mut by_language: BTreeMap<&str, usize> = BTreeMap::new();
    for record in all() {
        by_use_case.entry(use_case(record)).or_default().push(record.prompt_tokens);
        *by_language.entry(record.language).or_default() += 1;
    }
    let responses = filled()
        .filter(|(_, _, records)| records.iter().any(|r| !r.response_tokens.is_empty()))
        .map(|(kind, side, records)| {
            let tokens = records.iter().flat_map(|record| record.response_tokens.iter().copied());
            described(vec![kind.into(), side.name().into()], tokens)
        });
    let total: usize = by_language.values().sum();
    let share = |count: usize| json!(rounded(100.0 * count as f64 / total.max(1) as f64));
    let shares = |counts: Vec<(&str, usize)>| {
        let mut counts = counts;
        counts.sort_by_key(|(name, count)| (std::cmp::Reverse(*count), name.to_string()));
        counts.into_iter().map(|(name, count)| vec![name.into(), json!(count), share(count)]).collect()
    };
    let mut personal: BTreeMap<(&str, pii::Kind), usize> = BTreeMap::new();
    for (kind, _, records) in filled() {
        let found = records.iter().flat_map(|record| &record.personal);
        found.for_each(|(what, _)| *personal.entry((kind, *what)).or_default() += 1);
    }
    let personal =
        personal.iter().map(|((kind, what), n)| vec![(*kind).into(), what.name().into(), json!(n)]);

    const LENGTHS: [&str; 10] =
        ["data", "side", "count", "mean", "std", "min", "25 %", "50 %", "75 %", "max"];
    let use_cases: Vec<(&str, usize)> =
        by_use_case.iter().map(|(name, t)| (name.as_str(), t.len())).collect();
    let of_use_cases =
        by_use_case.iter().map(|(name, t)| described(vec![name.as_str().into()], t.iter().copied()));
    let of_use_cases: Vec<Vec<Value>> = of_use_cases.collect();
    let without_side: Vec<&'static str> =
        ["use case"].into_iter().chain(LENGTHS[2..].iter().copied()).collect();
    vec![
        table("Use cases (paper: table 1)", &["use case", "records", "%"], shares(use_cases)),
        table(
            "Sizes (paper: table 6)",
            &["data", "side", "records", "distinct prompts", "of named users"],
            sizes.collect(),
        ),
        table("What was left out", &["data", "usable", "kept", "left out"], lost.collect()),
        table(
            "Marks of prompts, by labelers (paper: table 7)",
            &["mark", "data", "side", "looked at", "marked", "%", "paper, RM", "paper, SFT"],
            filled().flat_map(marks).collect(),
        ),
        table("Prompts a user (paper: table 8)", &["data", "side", "users", "mean", "most"], users.collect()),
        table("Prompts in tokens (paper: table 9)", &LENGTHS, prompts.collect()),
        table("Prompts in tokens by use case (paper: table 10)", &without_side, of_use_cases),
        table("Responses in tokens (paper: table 11)", &LENGTHS, responses.collect()),
        table(
            "Languages of prompts, by letters and frequent words (paper: 96 % English, by a classifier)",
            &["language", "records", "%"],
            shares(by_language.into_iter().collect()),
        ),
        table(
            "Personal data in what is trained on (what is found and what is not: docs/data.md)",
            &["data", "kind", "found"],
            personal.collect(),
        ),
    ]
}

/// What the paper has of each mark among training prompts of the reward model and of SFT, in percent.
const PAPERS_MARKS: [[Option<f64>; 2]; MARKS.len()] = [
    [Some(7.9), Some(5.1)],
    [Some(6.9), Some(0.9)],
    [None, None],
    [Some(19.4), Some(27.4)],
    [Some(15.5), Some(17.9)],
    [Some(7.7), Some(8.6)],
    [None, None],
    [Some(1.1), Some(0.3)],
    [Some(0.4), Some(0.3)],
    [Some(26.3), Some(25.6)],
    [None, None],
];

/// A row for each mark, of the prompts that a labeler has looked at for marks; none where there is no such prompt.
fn marks((kind, side, records): (&'static str, Side, &Vec<Facts>)) -> Vec<Vec<Value>> {
    let looked_at: Vec<Marks> = records.iter().filter_map(|record| record.tags.marks).collect();
    let row = |(place, (_, name)): (usize, &(&str, &str))| {
        let marked = looked_at.iter().filter(|marks| marks.has(place)).count();
        let share = rounded(100.0 * marked as f64 / looked_at.len() as f64);
        let [reward_model, sft] = PAPERS_MARKS[place];
        let said: [Value; 3] = [(*name).into(), kind.into(), side.name().into()];
        said.into_iter()
            .chain([json!(looked_at.len()), json!(marked), json!(share), json!(reward_model), json!(sft)])
            .collect()
    };
    match looked_at.is_empty() {
        true => vec![],
        false => MARKS.iter().enumerate().map(row).collect(),
    }
}

fn rounded(value: f64) -> f64 {
    (10.0 * value).round() / 10.0
}

fn mean(values: &[usize]) -> Option<f64> {
    let sum: usize = values.iter().sum();
    (!values.is_empty()).then(|| rounded(sum as f64 / values.len() as f64))
}

/// `before`, and then count, mean, standard deviation (of the population), least, quartiles (linear between neighbours) and
/// most.
fn described(before: Vec<Value>, values: impl Iterator<Item = usize>) -> Vec<Value> {
    let mut values: Vec<usize> = values.collect();
    values.sort_unstable();
    let count = values.len() as f64;
    let exact = values.iter().sum::<usize>() as f64 / count;
    let variance = values.iter().map(|&v| (v as f64 - exact) * (v as f64 - exact)).sum::<f64>() / count;
    let quantile = |share: f64| {
        let at = share * (values.len() - 1) as f64;
        let (low, high) =
            (values[at as usize] as f64, values[(at.ceil() as usize).min(values.len() - 1)] as f64);
        json!(rounded(low + (at - at.floor()) * (high - low)))
    };
    let mut row = before;
    row.push(json!(values.len()));
    if values.is_empty() {
        row.extend(vec![Value::Null; 7]);
        return row;
    }
    row.extend([json!(mean(&values)), json!(rounded(variance.sqrt())), json!(values[0])]);
    row.extend([quantile(0.25), quantile(0.5), quantile(0.75), json!(values[values.len() - 1])]);
    row
}

#[cfg(test)]
mod tests;
