//! Public data sets of judgments: OpenAI's comparisons of summaries (Stiennon et al. 2020), PandaLM (Wang et al. 2023) and
//! UltraFeedback (Cui et al. 2023).

use serde_json::Value;

use super::super::end_of_text::Markers;
use super::super::fields::Fields;
use super::super::template::PromptForms;
use super::{Answer, Imported, instruction, ranks};
use crate::error::Result;
use crate::text::json;

/// `{"info", "summaries": [{"text"}, {"text"}], "choice", "worker"}`, or a rating `{"info", "summary", "worker"}`.
pub(super) fn is_summaries(record: &Fields) -> bool {
    let is_object = |name: &str| matches!(record.get(name), Some(Value::Object(_)));
    is_object("info") && (is_object("summary") || matches!(record.get("summaries"), Some(Value::Array(_))))
}

/// The prompt is that of the paper's appendix: a post with its forum and title, or an article with its title, and `TL;DR:`.
/// The summaries of the data set begin with a blank, and are taken as they stand.
pub(super) fn summaries(record: &Fields, forms: &PromptForms, markers: &mut Markers) -> Result<Imported> {
    let info = record.required_object("info")?;
    let title = info.text("title")?.unwrap_or_default();
    let text = match (info.text("post")?, info.text("article")?) {
        (Some(post), _) => {
            let forum = info.text("subreddit")?.unwrap_or_default();
            format!("SUBREDDIT: r/{forum}\n\nTITLE: {title}\n\nPOST: {post}\n\nTL;DR:")
        }
        (None, Some(article)) => format!("Title: {title}\n\nArticle: {article}\n\nTL;DR:"),
        (None, None) => return Err(info.unknown("a field \"post\" or \"article\"")),
    };
    let asked = Ok(forms.stated(markers.going_on(&text)));
    if !record.has("summaries") {
        let answers = vec![Answer::Unusable("a rating of one summary, and no comparison")];
        return Ok(Imported { format: "a rating of a summary by OpenAI's labelers", asked, answers });
    }
    let summaries = record.objects("summaries", "summary")?;
    let responses = summaries.iter().map(|summary| summary.required_text("text"));
    let responses = responses.map(|text| Ok(markers.ended(text?).to_string())).collect::<Result<Vec<_>>>()?;
    let choice = record.whole_number("choice")?;
    if choice >= responses.len() {
        let expected = format!("the place of one of the {} summaries, from 0", responses.len());
        return Err(record.error("choice", expected, choice));
    }
    let ranks = (0..responses.len()).map(|place| 1 + u32::from(place != choice)).collect();
    let answers = vec![Answer::Ranked { responses, ranks, labeler: record.person("worker")? }];
    Ok(Imported { format: "a comparison of summaries by OpenAI's labelers", asked, answers })
}

const PANDALM: &str = "a judgment in the form of PandaLM";

/// `{"instruction", "input", "response1", "response2", "label_0", ..}`; the labels are also called `annotator1`, ...
pub(super) fn is_pandalm(record: &Fields) -> bool {
    ["instruction", "response1", "response2"].iter().all(|name| record.has(name))
}

pub(super) fn pandalm(record: &Fields, forms: &PromptForms, markers: &mut Markers) -> Result<Imported> {
    let is_label = |name: &str| {
        let number = name.strip_prefix("label_").or(name.strip_prefix("annotator"));
        name == "label"
            || number.is_some_and(|n| !n.is_empty() && n.bytes().all(|byte| byte.is_ascii_digit()))
    };
    let asked = Ok(instruction(record, forms, markers)?);
    let responses = pair(record, markers)?;
    let names: Vec<&str> = record.names().filter(|name| is_label(name) && record.has(name)).collect();
    let judgment = |name: &str| {
        let ranks = preferred(record, name)?;
        Ok(Answer::Ranked { responses: responses.clone(), ranks, labeler: Some(name.to_string()) })
    };
    let answers = names.into_iter().map(judgment).collect::<Result<Vec<_>>>()?;
    Ok(Imported { format: PANDALM, asked, answers })
}

/// PandaLM's training data: `{"inputs": {"instruction", ..}, "outputs": {"evaluation_result", ..}}`.
pub(super) fn is_pandalm_training(record: &Fields) -> bool {
    let is_object = |name: &str| matches!(record.get(name), Some(Value::Object(_)));
    is_object("inputs") && is_object("outputs")
}

pub(super) fn pandalm_training(
    record: &Fields,
    forms: &PromptForms,
    markers: &mut Markers,
) -> Result<Imported> {
    let (inputs, outputs) = (record.required_object("inputs")?, record.required_object("outputs")?);
    let asked = Ok(instruction(&inputs, forms, markers)?);
    let ranks = preferred(&outputs, "evaluation_result")?;
    let answers = vec![Answer::Ranked { responses: pair(&inputs, markers)?, ranks, labeler: None }];
    Ok(Imported { format: PANDALM, asked, answers })
}

fn pair(fields: &Fields, markers: &mut Markers) -> Result<Vec<String>> {
    let mut text = |name| Ok(markers.ended(fields.required_text(name)?).to_string());
    Ok(vec![text("response1")?, text("response2")?])
}

/// The ranks of two responses of which "1" or "2" is the better, or neither: "0" or "Tie".
fn preferred(fields: &Fields, name: &str) -> Result<Vec<u32>> {
    let label = match fields.get(name) {
        Some(Value::String(text)) => text.trim().to_ascii_lowercase(),
        Some(Value::Number(number)) => number.to_string(),
        other => other.map_or("nothing", json::kind).to_string(),
    };
    match label.as_str() {
        "0" | "tie" => Ok(vec![1, 1]),
        "1" => Ok(vec![1, 2]),
        "2" => Ok(vec![2, 1]),
        _ => Err(fields.error(name, "1, 2, or 0 for a tie", label)),
    }
}

/// `{"instruction", "completions": [{"response", "annotations": {"honesty": {"Rating": "4"}, ..}}, ..]}`.
pub(super) fn is_ultrafeedback(record: &Fields) -> bool {
    record.has("instruction") && matches!(record.get("completions"), Some(Value::Array(_)))
}

/// The score of a completion is the mean of its ratings. (Its "overall_score" is wrong in a part of the data set, where a 1
/// became a 10; the data sets derived from it take the mean, too.)
pub(super) fn ultrafeedback(record: &Fields, forms: &PromptForms, markers: &mut Markers) -> Result<Imported> {
    let asked = Ok(instruction(record, forms, markers)?);
    let (mut responses, mut scores) = (Vec::new(), Vec::new());
    for completion in record.objects("completions", "completion")? {
        responses.push(markers.ended(completion.required_text("response")?).to_string());
        scores.push(mean_rating(&completion)?);
    }
    let answers = match scores.into_iter().collect::<Option<Vec<f64>>>() {
        Some(scores) => vec![Answer::Ranked { responses, ranks: ranks(&scores), labeler: None }],
        None => vec![Answer::Unusable("a completion without a rating")],
    };
    Ok(Imported { format: "judgments in the form of UltraFeedback", asked, answers })
}

/// The mean of a completion's ratings, each "1" to "5", or "N/A" where a model that judged gave none.
fn mean_rating(completion: &Fields) -> Result<Option<f64>> {
    let annotations = completion.required_object("annotations")?;
    let (mut sum, mut count) = (0.0, 0);
    for name in annotations.names() {
        let annotation = annotations.required_object(name)?;
        let rating = match annotation.get("Rating") {
            Some(Value::String(text)) if text.trim() == "N/A" => continue,
            Some(Value::String(text)) => text.trim().parse::<f64>().ok().filter(|rating| rating.is_finite()),
            Some(Value::Number(number)) => number.as_f64(),
            _ => None,
        };
        sum += rating.ok_or_else(|| annotation.error("Rating", "a number or \"N/A\"", "something else"))?;
        count += 1;
    }
    Ok((count > 0).then(|| sum / f64::from(count)))
}
