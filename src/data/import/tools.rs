//! What programs for labeling export: Label Studio's tasks (JSON) and Argilla's records.
//!
//! Their users choose the names of fields. The prompt is in `prompt`, `instruction` or `question`; the setting
//! `data.columns` says how another file calls them. Each person's annotation is a ranking of its own.

use std::collections::BTreeMap;

use serde_json::Value;

use super::super::end_of_text::Markers;
use super::super::fields::Fields;
use super::super::template::PromptForms;
use super::{Answer, Imported, asked};
use crate::error::Result;

pub(super) fn is_label_studio(record: &Fields) -> bool {
    matches!((record.get("data"), record.get("annotations")), (Some(Value::Object(_)), Some(Value::Array(_))))
}

/// A task: its data, and the annotations of each person: results of a `Ranker` on a `List` of items, or of a `Pairwise`.
pub(super) fn label_studio(record: &Fields, forms: &PromptForms, markers: &mut Markers) -> Result<Imported> {
    let data = record.required_object("data")?.renamed(&forms.columns).0;
    let asked = Ok(asked(&data, forms, markers)?);
    let mut answers = Vec::new();
    for annotation in record.objects("annotations", "annotation")? {
        answers.push(match annotation.get("was_cancelled") {
            Some(Value::Bool(true)) => Answer::Unusable("its labeler skipped it"),
            _ => annotated(&annotation, &data, markers)?,
        });
    }
    Ok(Imported { format: "a task of Label Studio", asked, answers })
}

fn annotated(annotation: &Fields, data: &Fields, markers: &mut Markers) -> Result<Answer> {
    let labeler = match annotation.get("completed_by") {
        Some(Value::Object(_)) => {
            let person = annotation.required_object("completed_by")?;
            person.person("email")?.map_or_else(|| person.person("id"), |email| Ok(Some(email)))?
        }
        _ => annotation.person("completed_by")?,
    };
    for result in annotation.objects("result", "result")? {
        let of = match result.text("type")? {
            Some("ranker") => ranker(&result.required_object("value")?, data, markers)?,
            Some("pairwise") => pairwise(&result.required_object("value")?, data, markers)?,
            _ => continue,
        };
        return Ok(match of {
            Some((responses, ranks)) => Answer::Ranked { responses, ranks, labeler },
            None => Answer::Unusable("buckets whose names do not end in numbers tell no order"),
        });
    }
    Ok(Answer::Unusable("no ranking among its results"))
}

/// Responses with their ranks.
type Ranking = (Vec<String>, Vec<u32>);

/// `{"ranker": {NAME: [id, ..]}}` is an order; with several buckets, those that are numbered are ranks, and items of one
/// are tied. Items in no bucket, which the export calls `_`, were not ranked.
fn ranker(value: &Fields, data: &Fields, markers: &mut Markers) -> Result<Option<Ranking>> {
    let buckets = value.required_object("ranker")?;
    let names: Vec<&str> = buckets.names().filter(|name| *name != "_").collect();
    let mut ranked: Vec<(u32, String)> = Vec::new();
    for name in &names {
        let number = name.rsplit(|c: char| !c.is_ascii_digit()).next().and_then(|n| n.parse::<u32>().ok());
        for (place, id) in (1..).zip(buckets.required_array(name)?) {
            let Some(rank) = (if names.len() == 1 { Some(place) } else { number }) else { return Ok(None) };
            ranked.push((rank, identity(id)));
        }
    }
    let items = items(data)?;
    let (mut responses, mut ranks) = (Vec::new(), Vec::new());
    for (rank, id) in ranked {
        let Some(text) = items.get(&id) else {
            return Err(value.error("ranker", "identities of the task's items", format!("{id:?}")));
        };
        responses.push(markers.ended(text).to_string());
        ranks.push(rank);
    }
    Ok(Some((responses, ranks)))
}

fn identity(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_string)
}

/// The texts of the items of a `List` by their identities, wherever they stand in the task's data.
fn items(data: &Fields) -> Result<BTreeMap<String, String>> {
    let is_list = |name: &&str| match data.get(name) {
        Some(Value::Array(items)) => !items.is_empty() && items.iter().all(|item| item.get("id").is_some()),
        _ => false,
    };
    let Some(name) = data.names().find(is_list) else {
        return Err(data.unknown("a list of items with \"id\" and \"body\""));
    };
    let mut texts = BTreeMap::new();
    for item in data.objects(name, "item")? {
        let text = match item.text("body")? {
            Some(body) => Some(body),
            None => item.text("text")?.or(item.text("title")?),
        };
        let text = text.ok_or_else(|| item.unknown("a field \"body\""))?;
        texts.insert(item.get("id").map(identity).unwrap_or_default(), text.to_string());
    }
    Ok(texts)
}

/// `{"selected": "left"}` or `"right"`, of two answers.
fn pairwise(value: &Fields, data: &Fields, markers: &mut Markers) -> Result<Option<Ranking>> {
    const NAMES: [[&str; 2]; 5] = [
        ["answer1", "answer2"],
        ["response1", "response2"],
        ["answer_1", "answer_2"],
        ["response_1", "response_2"],
        ["text1", "text2"],
    ];
    let Some(names) = NAMES.iter().find(|names| names.iter().all(|name| data.has(name))) else {
        return Err(data.unknown("the fields \"answer1\", \"answer2\" (data.columns renames)"));
    };
    let mut text = |name| Ok(markers.ended(data.required_text(name)?).to_string());
    let responses = vec![text(names[0])?, text(names[1])?];
    match value.required_text("selected")? {
        "left" => Ok(Some((responses, vec![1, 2]))),
        "right" => Ok(Some((responses, vec![2, 1]))),
        other => Err(value.error("selected", "\"left\" or \"right\"", format!("{other:?}"))),
    }
}

pub(super) fn is_argilla(record: &Fields) -> bool {
    let responses = matches!(record.get("responses"), Some(Value::Array(_) | Value::Object(_)));
    matches!(record.get("fields"), Some(Value::Object(_))) && responses
}

/// A record: its fields, and the responses to its questions, of which rankings are used: by question in Argilla 2
/// (`{"ranking": [{"value": [..], "user_id"}]}`), by person in Argilla 1 (`[{"user_id", "values": {"ranking": {"value"}}}]`).
/// The values of a ranking are names of fields.
pub(super) fn argilla(record: &Fields, forms: &PromptForms, markers: &mut Markers) -> Result<Imported> {
    let fields = record.required_object("fields")?;
    let asked = Ok(asked(&fields.clone().renamed(&forms.columns).0, forms, markers)?);
    // What a person said, and whose it is.
    let mut said: Vec<(Fields, Fields)> = Vec::new();
    match record.get("responses") {
        Some(Value::Array(_)) => {
            for person in record.objects("responses", "response")? {
                // A person who skipped the record has no values.
                if person.has("values") {
                    let values = person.required_object("values")?;
                    for question in values.names() {
                        said.push((values.required_object(question)?, person.clone()));
                    }
                }
            }
        }
        _ => {
            let questions = record.required_object("responses")?;
            for question in questions.names() {
                let answers = questions.objects(question, "response")?;
                said.extend(answers.into_iter().map(|answer| (answer.clone(), answer)));
            }
        }
    }
    let mut answers = Vec::new();
    for (answer, person) in said {
        // The labels of another question are no names of fields.
        let order = order(&answer).filter(|order| order.iter().all(|(name, _)| fields.has(name)));
        let Some(order) = order else { continue };
        if matches!(person.text("status")?, Some("discarded" | "draft")) {
            answers.push(Answer::Unusable("its labeler discarded it, or has not submitted it"));
            continue;
        }
        let (mut responses, mut ranks) = (Vec::new(), Vec::new());
        for (name, rank) in order {
            responses.push(markers.ended(fields.required_text(&name)?).to_string());
            ranks.push(rank);
        }
        answers.push(Answer::Ranked { responses, ranks, labeler: person.person("user_id")? });
    }
    Ok(Imported { format: "a record of Argilla", asked, answers })
}

/// The names of a ranking with their ranks: a list of names in order, or of `{"value", "rank"}`. Other answers are none.
fn order(answer: &Fields) -> Option<Vec<(String, u32)>> {
    let Some(Value::Array(values)) = answer.get("value") else { return None };
    let of = |(place, value): (u32, &Value)| match value {
        Value::String(name) => Some((name.clone(), place)),
        _ => {
            let rank = u32::try_from(value.get("rank")?.as_u64()?).ok()?;
            Some((value.get("value")?.as_str()?.to_string(), rank))
        }
    };
    (1..).zip(values).map(of).collect()
}
