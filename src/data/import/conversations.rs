//! Conversations: ShareGPT's `{"conversations": [{"from", "value"}, ..]}` and the `{"messages": [{"role", "content"}, ..]}`
//! of OpenAI's and Hugging Face's programs; and preferences between answers that are messages.
//!
//! A conversation becomes a dialogue in hh-rlhf's form, with the words of a system turn before it. The last answer is the
//! response; the earlier ones stand in the prompt, as the turns of one conversation are no demonstrations of their own
//! (they would begin alike, and the paper's filter would take them for one).

use serde_json::Value;

use super::super::comparisons::dialogue;
use super::super::end_of_text::Markers;
use super::super::fields::Fields;
use super::super::template::{PromptForms, Rendered};
use super::{Answer, Imported, Reason};
use crate::error::Result;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Speaker {
    System,
    Human,
    Assistant,
}

/// A turn of a conversation.
struct Turn {
    speaker: Speaker,
    text: String,
}

const NO_ORDER: &str = "the turns of the conversation do not alternate, beginning with the user";

pub(super) fn is_conversation(record: &Fields) -> bool {
    let ours = ["prompt", "instruction", "chosen", "responses"];
    (is_array(record, "conversations") || is_array(record, "messages"))
        && !ours.iter().any(|name| record.has(name))
}

pub(super) fn conversation(record: &Fields, _: &PromptForms, markers: &mut Markers) -> Result<Imported> {
    let (name, format) = match is_array(record, "conversations") {
        true => ("conversations", "a ShareGPT conversation"),
        false => ("messages", "a conversation in messages"),
    };
    let refused = |reason| Imported { format, asked: Err(reason), answers: vec![Answer::Unusable(reason)] };
    let mut turns = match turns(record, name)? {
        Ok(turns) => turns,
        Err(reason) => return Ok(refused(reason)),
    };
    // A question at the end that nobody answered is a prompt, but no demonstration.
    let answered = turns.iter().rposition(|turn| turn.speaker == Speaker::Assistant);
    let answers = match answered {
        Some(at) if at + 1 == turns.len() => {
            let last = turns.pop().map(|turn| turn.text).unwrap_or_default();
            vec![Answer::Written(answer(markers, &last))]
        }
        _ => vec![Answer::Unusable("the conversation does not end with an answer")],
    };
    Ok(Imported { format, asked: rendered(&turns, markers), answers })
}

/// `chosen` and `rejected` are messages: either's whole conversation, or the last answer alone after a `prompt` or a
/// conversation of its own.
pub(super) fn is_preference(record: &Fields) -> bool {
    let is_messages = |name: &str| match record.get(name) {
        Some(Value::Object(_)) => true,
        Some(Value::Array(turns)) => !turns.is_empty() && turns.iter().all(Value::is_object),
        _ => false,
    };
    is_messages("chosen") && is_messages("rejected")
}

pub(super) fn preference(record: &Fields, forms: &PromptForms, markers: &mut Markers) -> Result<Imported> {
    let format = "a preference between messages";
    let refused = |reason| Imported { format, asked: Err(reason), answers: vec![] };
    let (mut chosen, mut rejected) = match (turns(record, "chosen")?, turns(record, "rejected")?) {
        (Ok(chosen), Ok(rejected)) => (chosen, rejected),
        (Err(reason), _) | (_, Err(reason)) => return Ok(refused(reason)),
    };
    let mut before = Vec::new();
    for name in ["prompt", "conversations", "messages"] {
        if before.is_empty() && is_array(record, name) && chosen.len() == 1 {
            match turns(record, name)? {
                Ok(turns) => before = turns,
                Err(reason) => return Ok(refused(reason)),
            }
        }
    }
    let (Some(best), Some(worst)) = (chosen.pop(), rejected.pop()) else { return Ok(refused("no answer")) };
    let ends = [&best, &worst].iter().all(|turn| turn.speaker == Speaker::Assistant);
    let alike = chosen.len() == rejected.len()
        && chosen.iter().zip(&rejected).all(|(a, b)| (a.speaker, &a.text) == (b.speaker, &b.text));
    if !ends || !alike {
        return Ok(refused("the conversations differ before the last answer, or do not end with one"));
    }
    before.append(&mut chosen);
    // The one question of a record that states its prompt is that prompt; several turns are a dialogue.
    let stated = record.get("prompt").and_then(Value::as_str).filter(|prompt| match &before[..] {
        [] => true,
        [only] => only.speaker == Speaker::Human && only.text.trim() == prompt.trim(),
        _ => false,
    });
    let (asked, responses) = match stated {
        Some(prompt) => {
            let texts = [&best, &worst].map(|turn| markers.ended(&turn.text).to_string());
            (Ok(forms.stated(markers.going_on(prompt))), texts)
        }
        None => {
            let asked = rendered(&before, markers);
            (asked, [&best, &worst].map(|turn| answer(markers, &turn.text)))
        }
    };
    let ranks =
        match [record.get("score_chosen"), record.get("score_rejected")].map(|s| s.and_then(Value::as_f64)) {
            [Some(best), Some(worst)] => super::ranks(&[best, worst]),
            _ => vec![1, 2],
        };
    let answers =
        vec![Answer::Ranked { responses: responses.to_vec(), ranks, labeler: record.person("labeler")? }];
    Ok(Imported { format, asked, answers })
}

fn is_array(record: &Fields, name: &str) -> bool {
    matches!(record.get(name), Some(Value::Array(_)))
}

/// The turns of an array of messages, or of a single one.
fn turns(record: &Fields, name: &str) -> Result<Reason<Vec<Turn>>> {
    let messages = match record.get(name) {
        Some(single @ Value::Object(_)) => vec![record.inner(single)?],
        _ => record.objects(name, "turn")?,
    };
    let mut turns = Vec::new();
    for message in messages {
        match turn(&message)? {
            Ok(turn) => turns.push(turn),
            Err(reason) => return Ok(Err(reason)),
        }
    }
    Ok(Ok(turns))
}

fn turn(message: &Fields) -> Result<Reason<Turn>> {
    let (role, content) = if message.has("from") { ("from", "value") } else { ("role", "content") };
    let speaker = match message.required_text(role)? {
        "system" | "developer" => Speaker::System,
        "human" | "user" | "prompter" => Speaker::Human,
        "assistant" | "gpt" | "model" | "chatgpt" | "bing" | "bard" => Speaker::Assistant,
        _ => return Ok(Err("a turn of the conversation is neither the user's nor the assistant's")),
    };
    let text = match message.get(content) {
        Some(Value::Array(_)) => {
            let parts = message.objects(content, "part")?;
            if !parts.iter().all(|part| matches!(part.text("type"), Ok(Some("text")))) {
                return Ok(Err("a turn of the conversation is no text"));
            }
            parts.iter().map(|part| part.required_text("text")).collect::<Result<Vec<&str>>>()?.concat()
        }
        None if message.has("tool_calls") || message.has("function_call") => {
            return Ok(Err("a turn of the conversation is no text"));
        }
        _ => message.required_text(content)?.to_string(),
    };
    Ok(Ok(Turn { speaker, text }))
}

/// Turns that wait for an answer, as a dialogue.
fn rendered(turns: &[Turn], markers: &mut Markers) -> Reason<Rendered> {
    let (system, turns) = match turns {
        [first, rest @ ..] if first.speaker == Speaker::System => (first.text.as_str(), rest),
        _ => ("", turns),
    };
    let expected = [Speaker::Human, Speaker::Assistant].into_iter().cycle();
    if turns.len().is_multiple_of(2)
        || !turns.iter().zip(expected).all(|(turn, speaker)| turn.speaker == speaker)
    {
        return Err(NO_ORDER);
    }
    let mut prompt = markers.going_on(system).to_string();
    for turn in turns {
        let who = if turn.speaker == Speaker::Human { "Human" } else { "Assistant" };
        prompt += &format!("\n\n{who}: {}", markers.going_on(&turn.text));
    }
    Ok(dialogue(&(prompt + "\n\nAssistant:")))
}

/// An answer in a dialogue, which begins with a blank; a blank one is nothing.
fn answer(markers: &mut Markers, text: &str) -> String {
    match markers.ended(text) {
        text if text.trim().is_empty() => String::new(),
        text => format!(" {text}"),
    }
}
