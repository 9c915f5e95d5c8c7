//! A document's line of `samples_TASK_STYLE.jsonl`, as lm-evaluation-harness logs its samples.

use serde_json::{Map, Value, json};

use super::loglikelihood::Likelihood;
use super::tasks::{Choice, Item, Request, Score, Writing, Written};
use crate::num::sha256::sha256;

/// What a model made of a document.
pub struct Answered {
    /// The prompt of each choice, or the one of the writing, with all that stands before.
    pub contexts: Vec<String>,
    /// Of the kind of the document's request.
    pub answer: Answer,
}

/// The answer to a [`Request`].
pub enum Answer {
    /// To [`Request::Choices`], in their order.
    Choices(Vec<Likelihood>),
    /// To [`Request::Text`].
    Text(Written),
}

/// The line of document `index`. Numbers of answers are text there. `doc_hash` is of the document with its fields in
/// alphabetical order.
///
/// # Panics
/// If the answer is not of the request's kind.
pub fn sample(index: usize, item: &Item, answered: &Answered, scores: &[Score]) -> Value {
    let Answered { contexts, answer } = answered;
    let (arguments, responses) = match (&item.request, answer) {
        (Request::Choices(choices), Answer::Choices(answers)) => {
            let of = |(context, choice): (&String, &Choice)| [json!(context), json!(choice.continuation)];
            (contexts.iter().zip(choices).map(of).collect(), answers.iter().map(likelihood).collect())
        }
        (Request::Text(writing), Answer::Text(written)) => asked_to_write(&contexts[0], writing, written),
        _ => unreachable!("an answer is of its request's kind"),
    };
    let arguments: Map<String, Value> = (0..)
        .zip::<Vec<[Value; 2]>>(arguments)
        .map(|(i, [first, second])| (format!("gen_args_{i}"), json!({ "arg_0": first, "arg_1": second })))
        .collect();
    let doc = serde_json::to_string_pretty(&item.doc).expect("a document is plain data");
    let mut sample = json!({
        "doc_id": index,
        "doc": item.doc,
        "target": item.target,
        "arguments": arguments,
        "resps": responses.iter().map(|response| json!([response])).collect::<Vec<Value>>(),
        "filtered_resps": responses,
        "filter": "none",
        "metrics": scores.iter().map(|score| score.measure.name).collect::<Vec<_>>(),
        "doc_hash": sha256(doc.as_bytes()),
        "prompt_hash": sha256(contexts[0].as_bytes()),
        "target_hash": sha256(item.target.as_bytes()),
    });
    for score in scores {
        sample[score.measure.name] = json!(score.value);
    }
    sample
}

fn likelihood(answer: &Likelihood) -> Value {
    json!([format!("{:?}", answer.log_prob), if answer.greedy { "True" } else { "False" }])
}

/// The arguments and the responses of a writing, and of the likelihood beside it.
fn asked_to_write(context: &str, writing: &Writing, written: &Written) -> (Vec<[Value; 2]>, Vec<Value>) {
    let Writing { stops, most, beside, .. } = writing;
    let how = json!({ "until": stops, "max_gen_toks": most, "do_sample": false, "temperature": 0.0 });
    let mut arguments = vec![[json!(context), how]];
    let mut responses = vec![json!(written.text)];
    if let (Some(continuation), Some(found)) = (beside, &written.beside) {
        arguments.push([json!(context), json!(continuation)]);
        responses.push(likelihood(found));
    }
    (arguments, responses)
}
