//! The paper's tables about its data (Tables 1, 6 and 8 to 11), of a run's own data: what the files hold once the paper's
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
use crate::data::{Comparison, Demonstration, Prompt, Side, Split};
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
    use_case: Option<String>,
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
fn examined<T: Texts>(
    encoder: &Encoder,
    mut kind: Kind<T>,
    reason: &str,
    accounts: &mut Vec<Account>,
    lengths: impl Fn(&T) -> Result<Option<(usize, Vec<usize>)>>,
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
            use_case: record.use_case().map(str::to_string),
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
    let use_case = |record: &Facts| record.use_case.clone().unwrap_or_else(|| "(no use_case)".into());

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
mod tests {
    use super::*;
    use std::fs;

    fn rows<'a>(survey: &'a Survey, title: &str) -> &'a [Vec<Value>] {
        let table = survey.tables.iter().find(|table| table.title.starts_with(title));
        &table.unwrap_or_else(|| panic!("no table {title}")).rows
    }

    #[test]
    fn the_tables_count_what_a_run_would_train_on() {
        let folder = tempfile::tempdir().unwrap();
        let mut settings = Settings::default();
        settings.tokenizer.vocab_size = 257;
        settings.data.validation_fraction = 0.0;
        settings.data.prompts_per_user = 2;
        settings.data.max_response_tokens = 6;
        // 257 tokens: one for each byte, so that lengths are those of the texts.
        let lines = [
            r#"{"prompt": "What is it?", "response": "abcd", "user": "u", "use_case": "Open QA"}"#,
            r#"{"prompt": "Who are you?", "response": "ab", "user": "u", "use_case": "Open QA"}"#,
            r#"{"prompt": "Why is the sky blue?", "response": "a", "user": "u"}"#,
            r#"{"prompt": "Wie ist das?", "response": "to ada@b.org", "user": "v"}"#,
            r#"{"prompt": "", "response": "a"}"#,
            r#"{"prompt": "a@b.org", "response": "a", "user": "v"}"#,
        ];
        fs::write(folder.path().join("d.jsonl"), lines.join("\n")).unwrap();
        settings.data.demonstrations = vec!["d.jsonl".into()];
        let survey = Survey::new(&settings, folder.path()).unwrap();
        let file = folder.path().join("d.jsonl");
        let demonstrations: Vec<(String, &str)> = survey
            .left_out
            .iter()
            .filter(|one| one.data == "demonstrations")
            .map(|one| (one.place.replace(&file.display().to_string(), "d"), one.what.as_str()))
            .collect();
        assert_eq!(demonstrations.len(), 3, "{demonstrations:?}");
        assert!(demonstrations.contains(&("d, line 5".into(), "empty prompt")), "{demonstrations:?}");
        let has =
            |place: &str, what: &str| demonstrations.iter().any(|(p, w)| p == place && w.contains(what));
        assert!(has("d, line 3", "data.prompts_per_user") && has("d, line 4", "data.max_*_tokens"));

        assert_eq!(
            rows(&survey, "Sizes")[0],
            [json!("demonstrations"), json!("train"), json!(3), json!(3), json!(3)]
        );
        let lost = &rows(&survey, "What was left out")[0];
        assert_eq!(*lost, [json!("demonstrations"), json!(5), json!(3), json!(3)]);
        assert_eq!(
            rows(&survey, "Prompts a user")[0],
            [json!("demonstrations"), json!("train"), json!(2), json!(1.5), json!(2)]
        );
        // 11, 12 and 7 characters.
        let expected = json!(["demonstrations", "train", 3, 10.0, 2.2, 7, 9.0, 11.0, 11.5, 12]);
        assert_eq!(json!(rows(&survey, "Prompts in tokens (")[0]), expected);
        let expected = json!(["demonstrations", "train", 3, 2.3, 1.2, 1, 1.5, 2.0, 3.0, 4]);
        assert_eq!(json!(rows(&survey, "Responses")[0]), expected);
        // Of demonstrations and of the prompts that are made of them.
        assert_eq!(json!(rows(&survey, "Use cases")[0]), json!(["Open QA", 4, 57.1]));
        assert_eq!(json!(rows(&survey, "Languages")[0]), json!(["English", 4, 57.1]));
        let by_use_case = rows(&survey, "Prompts in tokens by");
        assert_eq!(json!(by_use_case[1]), json!(["Open QA", 4, 11.5, 0.5, 11, 11.0, 11.5, 12.0, 12]));
        let personal: Vec<(&str, &str)> =
            survey.personal.iter().map(|one| (one.data, one.what.as_str())).collect();
        assert_eq!(
            personal,
            [("demonstrations", "e-mail address: a@b.org"), ("prompts", "e-mail address: a@b.org")]
        );
        assert_eq!(json!(rows(&survey, "Personal")[0]), json!(["demonstrations", "e-mail address", 1]));

        settings.data.pii = pii::PiiRule::Replace;
        let survey = Survey::new(&settings, folder.path()).unwrap();
        assert!(survey.personal.is_empty() && rows(&survey, "Personal").is_empty());
    }

    #[test]
    fn the_miniature_has_its_tables_too() {
        let mut settings = Settings::default();
        settings.data.world = true;
        settings.tokenizer.vocab_size = 300;
        (settings.world.documents, settings.world.demonstrations, settings.world.prompts) = (20, 30, 30);
        let survey = Survey::new(&settings, Path::new("")).unwrap();
        assert_eq!(rows(&survey, "Sizes").len(), 6);
        let users = &rows(&survey, "Prompts a user")[0];
        assert!(users[2].as_u64().unwrap() > 1, "{users:?}");
    }
}
