use super::super::{
    Comparison, Demonstration, Loaded, PromptForm, Source, read_comparisons, read_demonstrations,
    read_prompts,
};
use super::*;
use proptest::prelude::*;
use serde_json::{Value, json};

fn source(text: &str) -> Source<'_> {
    Source::from_bytes("x", text.as_bytes()).unwrap()
}

fn lines(records: &[Value]) -> String {
    records.iter().map(|record| format!("{record}\n")).collect()
}

fn demonstrations(records: &[Value]) -> Result<Loaded<Demonstration>> {
    read_demonstrations(source(&lines(records)), &PromptForms::default())
}

fn comparisons(records: &[Value]) -> Result<Loaded<Comparison>> {
    read_comparisons(source(&lines(records)), &PromptForms::default())
}

fn prompts(records: &[Value]) -> Vec<String> {
    let loaded = read_prompts(source(&lines(records)), &PromptForms::default()).unwrap();
    loaded.records.into_iter().map(|record| record.prompt).collect()
}

/// Prompt and response of each.
fn pairs(loaded: &Loaded<Demonstration>) -> Vec<(&str, &str)> {
    loaded.records.iter().map(|record| (record.prompt.as_str(), record.response.as_str())).collect()
}

/// Responses, ranks and labeler of each.
fn rankings(loaded: &Loaded<Comparison>) -> Vec<(Vec<&str>, &[u32], Option<&str>)> {
    fn of(record: &Comparison) -> (Vec<&str>, &[u32], Option<&str>) {
        let responses = record.responses.iter().map(String::as_str).collect();
        (responses, &record.ranks, record.labeler.as_deref())
    }
    loaded.records.iter().map(of).collect()
}

fn reasons<T>(loaded: &Loaded<T>) -> Vec<&str> {
    loaded.skipped.iter().map(|skipped| skipped.reason).collect()
}

#[test]
fn dolly_has_a_context_and_a_use_case() {
    let records = [
        json!({"instruction": "Sum up.", "context": "A text.", "response": "So.", "category": "summarization"}),
        json!({"instruction": "Sing.", "context": "", "response": "La.", "category": "creative_writing"}),
        json!({"instruction": "Sing.", "context": "", "response": " ", "category": "creative_writing"}),
    ];
    let loaded = demonstrations(&records).unwrap();
    let first = "### Instruction:\nSum up.\n\n### Input:\nA text.\n\n### Response:\n";
    assert_eq!(pairs(&loaded), [(first, "So."), ("### Instruction:\nSing.\n\n### Response:\n", "La.")]);
    assert_eq!(loaded.records[0].tags.use_case.as_deref(), Some("summarization"));
    assert_eq!((loaded.records[1].place.as_str(), reasons(&loaded)), ("x, line 2", vec!["empty response"]));
    assert_eq!(prompts(&records)[0], first);
    let error = comparisons(&records).unwrap_err().to_string();
    assert_eq!(error, "x: line 1: expected comparisons, found a demonstration in the form of Dolly");
}

#[test]
fn conversations_are_dialogues_up_to_their_last_answer() {
    let turn = |from: &str, value: &str| json!({"from": from, "value": value});
    let message = |role: &str, content: Value| json!({"role": role, "content": content});
    let records = [
        json!({"id": "1", "conversations": [turn("human", "Hi"), turn("gpt", "Hello."), turn("human", "Why?"), turn("gpt", "So.")]}),
        json!({"messages": [message("system", "Be brief.".into()), message("user", "Hi".into()), message("assistant", "Yes.<|endoftext|>".into())]}),
        json!({"messages": [message("user", json!([{"type": "text", "text": "A"}, {"type": "text", "text": "B"}])), message("assistant", "C".into())]}),
    ];
    let loaded = demonstrations(&records).unwrap();
    let expected = [
        ("\n\nHuman: Hi\n\nAssistant: Hello.\n\nHuman: Why?\n\nAssistant:", " So."),
        ("Be brief.\n\nHuman: Hi\n\nAssistant:", " Yes."),
        ("\n\nHuman: AB\n\nAssistant:", " C"),
    ];
    assert_eq!(pairs(&loaded), expected);
    assert_eq!((loaded.markers_taken_off, loaded.forms), (1, [(PromptForm::Dialogue, 3)].into()));
    assert_eq!(prompts(&records), expected.map(|(prompt, _)| prompt));

    let useless = [
        (json!({"messages": [message("user", "Hi".into())]}), "the conversation does not end with an answer"),
        (json!({"messages": [message("assistant", "Hi".into())]}), NO_ORDER),
        (json!({"messages": []}), "the conversation does not end with an answer"),
        (json!({"conversations": [turn("human", "a"), turn("gpt", "b"), turn("gpt", "c")]}), NO_ORDER),
        (json!({"conversations": [turn("human", "a"), turn("human", "b"), turn("gpt", "c")]}), NO_ORDER),
        (
            json!({"conversations": [turn("human", "a"), turn("tool", "b")]}),
            "a turn of the conversation is neither the user's nor the assistant's",
        ),
        (
            json!({"messages": [message("user", json!([{"type": "image_url"}])), message("assistant", "c".into())]}),
            "a turn of the conversation is no text",
        ),
        (
            json!({"messages": [message("user", "a".into()), json!({"role": "assistant", "content": null, "tool_calls": []})]}),
            "a turn of the conversation is no text",
        ),
        (
            json!({"messages": [message("user", " ".into()), message("assistant", "c".into())]}),
            "empty prompt",
        ),
        (
            json!({"messages": [message("user", "a".into()), message("assistant", " ".into())]}),
            "empty response",
        ),
    ];
    let (records, expected): (Vec<Value>, Vec<&str>) = useless.into_iter().unzip();
    let with_one = [&[json!({"prompt": "p", "response": "r"})], &records[..]].concat();
    let found = demonstrations(&with_one).unwrap();
    let found = reasons(&found);
    // An order that is wrong shows where the prompt is made, before the answer is looked at.
    for (found, expected) in found.iter().zip(&expected) {
        assert!(
            found == expected || (*found == NO_ORDER && expected.contains("does not end")),
            "{found}: {expected}"
        );
    }
    assert_eq!(found.len(), expected.len());
    // What nobody answered is a prompt all the same.
    assert_eq!(prompts(&records)[0], "\n\nHuman: Hi\n\nAssistant:");
}

const NO_ORDER: &str = "the turns of the conversation do not alternate, beginning with the user";

#[test]
fn preferences_may_be_messages() {
    let turn = |role: &str, content: &str| json!({"role": role, "content": content});
    let whole = |answer: &str| json!([turn("user", "Hi"), turn("assistant", answer)]);
    let longer = |answer: &str| {
        json!([
            turn("user", "Hi"),
            turn("assistant", "Yes?"),
            turn("user", "Why?"),
            turn("assistant", answer)
        ])
    };
    let records = [
        json!({"prompt": "Hi", "chosen": whole("a"), "rejected": whole("b"), "messages": whole("a"), "score_chosen": 8.0, "score_rejected": 3.5}),
        json!({"prompt": "Hi", "chosen": longer("a"), "rejected": longer("b")}),
        json!({"prompt": [turn("user", "Hi")], "chosen": [turn("assistant", "a")], "rejected": [turn("assistant", "b")]}),
        json!({"conversations": [{"from": "human", "value": "Hi"}], "chosen": {"from": "gpt", "value": "a"}, "rejected": {"from": "gpt", "value": "b"}}),
        json!({"chosen": whole("a"), "rejected": whole("b"), "score_chosen": 5, "score_rejected": 5}),
        json!({"chosen": whole("a"), "rejected": longer("b")}),
    ];
    let loaded = comparisons(&records).unwrap();
    let found: Vec<(&str, [&str; 2])> =
        loaded.records.iter().map(|r| (r.prompt.as_str(), [0, 1].map(|i| r.responses[i].as_str()))).collect();
    let hi = "\n\nHuman: Hi\n\nAssistant:";
    let long = "\n\nHuman: Hi\n\nAssistant: Yes?\n\nHuman: Why?\n\nAssistant:";
    assert_eq!(found, [("Hi", ["a", "b"]), (long, [" a", " b"]), (hi, [" a", " b"]), (hi, [" a", " b"])]);
    assert!(loaded.records.iter().all(|record| record.ranks == [1, 2]));
    let differ = "the conversations differ before the last answer, or do not end with one";
    assert_eq!(reasons(&loaded), ["all responses are tied", differ]);
}

#[test]
fn summaries_are_compared_under_their_post() {
    let summary = |text: &str| json!({"text": text, "policy": "sup", "note": null});
    let info = json!({"id": "t3_1", "post": "I fell.", "title": "Help", "subreddit": "advice"});
    let records = [
        json!({"info": info, "summaries": [summary(" One."), summary(" Two.")], "choice": 1, "worker": "w1", "split": "train"}),
        json!({"info": {"title": "News", "article": "A dog ran."}, "summaries": [summary(" One."), summary(" One.")], "choice": 0, "worker": "w1"}),
        json!({"info": info, "summary": {"text": " One.", "axes": {"overall": 7}}, "worker": "w2"}),
    ];
    let loaded = comparisons(&records).unwrap();
    assert_eq!(rankings(&loaded), [(vec![" One.", " Two."], &[2, 1][..], Some("w1"))]);
    let post = "SUBREDDIT: r/advice\n\nTITLE: Help\n\nPOST: I fell.\n\nTL;DR:";
    assert_eq!(loaded.records[0].prompt, post);
    assert_eq!(
        reasons(&loaded),
        ["the responses are identical", "a rating of one summary, and no comparison"]
    );
    assert_eq!(prompts(&records), [post, "Title: News\n\nArticle: A dog ran.\n\nTL;DR:", post]);
    let wrong = json!({"info": info, "summaries": [summary("a"), summary("b")], "choice": 2});
    let error = comparisons(&[wrong]).unwrap_err().to_string();
    assert!(error.contains("line 1: field \"choice\": expected the place of one of the 2"), "{error}");
    let error = demonstrations(&records).unwrap_err().to_string();
    assert!(
        error.ends_with("expected demonstrations, found a comparison of summaries by OpenAI's labelers"),
        "{error}"
    );
}

#[test]
fn pandalm_has_a_judgment_of_each_annotator() {
    let records = [
        json!({"index": "1", "instruction": "Sort.", "input": "b a", "response1": "a b", "response2": "b a", "label_0": "1", "label_1": "0", "label_2": "2"}),
        json!({"instruction": "Sort.", "input": "", "response1": "a", "response2": "b", "annotator1": 2}),
        json!({"instruction": "Sort.", "input": "", "response1": "a", "response2": "b"}),
        json!({"inputs": {"instruction": "Sort.", "input": "", "response1": "a", "response2": "b"}, "outputs": {"evaluation_result": "2"}}),
        json!({"inputs": {"instruction": "Sort.", "input": "", "response1": "a", "response2": "b"}, "outputs": {"evaluation_result": "Tie"}}),
    ];
    let loaded = comparisons(&records).unwrap();
    let expected = [
        (vec!["a b", "b a"], &[1, 2][..], Some("label_0")),
        (vec!["a b", "b a"], &[2, 1], Some("label_2")),
        (vec!["a", "b"], &[2, 1], Some("annotator1")),
        (vec!["a", "b"], &[2, 1], None),
    ];
    assert_eq!(rankings(&loaded), expected);
    assert_eq!(loaded.records[0].prompt, "### Instruction:\nSort.\n\n### Input:\nb a\n\n### Response:\n");
    assert_eq!(
        reasons(&loaded),
        ["all responses are tied", "nobody has judged it", "all responses are tied"]
    );
    assert_eq!(prompts(&records).len(), 5);
    let mut wrong = records[1].clone();
    wrong["annotator1"] = json!(3);
    let error = comparisons(&[wrong]).unwrap_err().to_string();
    assert!(error.contains("\"annotator1\": expected 1, 2, or 0 for a tie, found 3"), "{error}");
}

#[test]
fn ultrafeedback_is_ranked_by_its_mean_rating() {
    let completion = |response: &str, ratings: &[&str]| {
        let names = ["helpfulness", "honesty", "instruction_following", "truthfulness"];
        let annotations =
            names.iter().zip(ratings).map(|(name, rating)| (name.to_string(), json!({"Rating": rating})));
        let annotations: serde_json::Map<String, Value> = annotations.collect();
        json!({"model": "m", "response": response, "annotations": annotations, "overall_score": 10.0})
    };
    let records = [
        json!({"source": "s", "instruction": "Sing.", "completions": [
            completion("a", &["1", "2", "N/A", "3"]), completion("b", &["4", "4", "4", "4"]),
            completion("c", &["2", "2", "2", "2"]), completion("d", &["5", "1", "1", "1"])]}),
        json!({"instruction": "Sing.", "completions": [completion("a", &["1", "1", "1", "1"])]}),
        json!({"instruction": "Sing.", "completions": []}),
        json!({"instruction": "Sing.", "completions": [completion("a", &["N/A"]), completion("b", &["1"])]}),
    ];
    let loaded = comparisons(&records).unwrap();
    assert_eq!(rankings(&loaded), [(vec!["a", "b", "c", "d"], &[2, 1, 2, 2][..], None)]);
    let few = "fewer than two answers";
    assert_eq!(reasons(&loaded), [few, few, "a completion without a rating"]);
    let wrong = json!({"instruction": "Sing.", "completions": [completion("a", &["good"])]});
    let error = comparisons(&[wrong]).unwrap_err().to_string();
    assert!(error.contains("line 1, completion 1: field \"Rating\""), "{error}");
}

#[test]
fn label_studio_exports_orders_buckets_and_pairs() {
    let items = json!([{"id": "x", "title": "X", "body": "one"}, {"id": "y", "body": "two"}, {"id": 3, "title": "three"}]);
    let task = |data: Value, annotations: Value| json!({"id": 1, "data": data, "annotations": annotations, "predictions": []});
    let ranker = |buckets: Value| json!([{"type": "ranker", "from_name": "rank", "to_name": "list", "value": {"ranker": buckets}}]);
    let pair = |side: &str| json!([{"type": "choices", "value": {"choices": ["x"]}}, {"type": "pairwise", "value": {"selected": side}}]);
    let data = json!({"prompt": "Count.", "items": items});
    let records = [
        task(
            data.clone(),
            json!([
                {"completed_by": 7, "was_cancelled": false, "result": ranker(json!({"rank": ["y", 3, "x"]}))},
                {"completed_by": {"id": 8, "email": "a@example.org"}, "result": ranker(json!({"_": [3], "rank 1": ["x"], "rank 2": ["y"]}))},
                {"completed_by": 9, "result": ranker(json!({"1": ["x", 3], "2": ["y"]}))},
                {"completed_by": 9, "result": ranker(json!({"good": ["x"], "bad": ["y"]}))},
                {"completed_by": 9, "was_cancelled": true, "result": []},
                {"completed_by": 9, "result": []},
            ]),
        ),
        task(
            json!({"question": "Which?", "answer1": "a", "answer2": "b"}),
            json!([{"completed_by": 7, "result": pair("right")}]),
        ),
        task(data.clone(), json!([])),
    ];
    let expected = [
        (vec!["two", "three", "one"], &[1, 2, 3][..], Some("7")),
        (vec!["one", "two"], &[1, 2], Some("a@example.org")),
        (vec!["one", "three", "two"], &[1, 1, 2], Some("9")),
        (vec!["a", "b"], &[2, 1], Some("7")),
    ];
    let loaded = comparisons(&records).unwrap();
    assert_eq!(rankings(&loaded), expected);
    let buckets = "buckets whose names do not end in numbers tell no order";
    assert_eq!(
        reasons(&loaded),
        [buckets, "its labeler skipped it", "no ranking among its results", "nobody has judged it"]
    );
    assert_eq!(prompts(&records), ["Count.", "Which?", "Count."]);
    // As the program writes it: one array.
    let array = json!(records).to_string();
    let again = read_comparisons(source(&array), &PromptForms::default()).unwrap();
    assert_eq!(rankings(&again), expected);
    for (wrong, place) in [
        (
            task(data.clone(), json!([{"result": ranker(json!({"rank": ["z", "x"]}))}])),
            "identities of the task's items, found \"z\"",
        ),
        (task(json!({"prompt": "p"}), json!([{"result": pair("left")}])), "\"answer1\""),
        (
            task(json!({"prompt": "p", "answer1": "a", "answer2": "b"}), json!([{"result": pair("both")}])),
            "\"left\" or \"right\"",
        ),
        (task(json!({"text": "p"}), json!([])), "data.columns"),
    ] {
        let error = comparisons(&[wrong]).unwrap_err().to_string();
        assert!(error.contains("x: line 1") && error.contains(place), "{error}");
    }
    let error = demonstrations(&records[..1]).unwrap_err().to_string();
    assert!(error.ends_with("expected demonstrations, found a task of Label Studio"), "{error}");
}

#[test]
fn argilla_exports_rankings_in_two_versions() {
    let fields = json!({"prompt": "Count.", "reply-1": "one", "reply-2": "two"});
    let ranked = |first: &str, second: &str, rank: u32| json!([{"value": first, "rank": 1}, {"value": second, "rank": rank}]);
    let records = [
        json!({"id": "1", "fields": fields, "responses": {"ranking": [
            {"value": ["reply-2", "reply-1"], "user_id": "u1"}, {"value": ["reply-1", "reply-2"], "user_id": "u2"}],
            "topics": [{"value": ["a", "b"], "user_id": "u1"}], "quality": [{"value": 3, "user_id": "u1"}]}}),
        json!({"fields": fields, "responses": [
            {"user_id": "u1", "status": "submitted", "values": {"ranking": {"value": ranked("reply-2", "reply-1", 2)}, "why": {"value": "so"}}},
            {"user_id": "u2", "status": "submitted", "values": {"ranking": {"value": ranked("reply-2", "reply-1", 1)}}},
            {"user_id": "u3", "status": "draft", "values": {"ranking": {"value": ranked("reply-2", "reply-1", 2)}}},
            {"user_id": "u4", "status": "discarded"}]}),
        json!({"fields": fields, "responses": {}}),
    ];
    let loaded = comparisons(&records).unwrap();
    let expected = [
        (vec!["two", "one"], &[1, 2][..], Some("u1")),
        (vec!["one", "two"], &[1, 2], Some("u2")),
        (vec!["two", "one"], &[1, 2], Some("u1")),
    ];
    assert_eq!(rankings(&loaded), expected);
    let draft = "its labeler discarded it, or has not submitted it";
    assert_eq!(reasons(&loaded), ["all responses are tied", draft, "nobody has judged it"]);
    assert_eq!(prompts(&records), ["Count."; 3]);
}

proptest! {
    /// Whatever stands where a text, a list or an object is expected: an error or a skip, and no panic.
    #[test]
    fn no_value_panics(at in 0usize..400, value in 0usize..8) {
        let values = [json!(null), json!(""), json!(3), json!([]), json!({}), json!([1]), json!([{}]), json!("text")];
        let turn = json!({"from": "human", "value": "a"});
        let message = json!({"role": "assistant", "content": [{"type": "text", "text": "b"}]});
        let whole = json!([
            {"instruction": "i", "context": "c", "response": "r"},
            {"conversations": [turn, {"from": "gpt", "value": "b"}]},
            {"messages": [{"role": "user", "content": "a"}, message]},
            {"prompt": "p", "chosen": [message], "rejected": [message], "score_chosen": 1, "score_rejected": 2},
            {"info": {"post": "p", "title": "t", "subreddit": "s"}, "summaries": [{"text": "a"}, {"text": "b"}], "choice": 0, "worker": "w"},
            {"instruction": "i", "response1": "a", "response2": "b", "label_0": "1"},
            {"inputs": {"instruction": "i", "response1": "a", "response2": "b"}, "outputs": {"evaluation_result": "1"}},
            {"instruction": "i", "completions": [{"response": "a", "annotations": {"honesty": {"Rating": "1"}}}]},
            {"data": {"prompt": "p", "items": [{"id": "x", "body": "b"}]}, "annotations": [{"completed_by": 1, "result": [{"type": "ranker", "value": {"ranker": {"r": ["x"]}}}]}]},
            {"fields": {"prompt": "p", "a": "1"}, "responses": [{"user_id": "u", "values": {"r": {"value": [{"value": "a", "rank": 1}]}}}]},
        ]);
        let mut changed = whole.clone();
        let mut count = 0;
        replace(&mut changed, at, &values[value], &mut count);
        for record in changed.as_array().into_iter().flatten() {
            let _ = (demonstrations(std::slice::from_ref(record)), comparisons(std::slice::from_ref(record)));
            let _ = read_prompts(source(&record.to_string()), &PromptForms::default());
        }
    }
}

/// Puts `value` at the place number `at` of all values inside.
fn replace(inside: &mut Value, at: usize, value: &Value, count: &mut usize) {
    *count += 1;
    if *count == at {
        *inside = value.clone();
        return;
    }
    match inside {
        Value::Array(values) => values.iter_mut().for_each(|v| replace(v, at, value, count)),
        Value::Object(map) => map.values_mut().for_each(|v| replace(v, at, value, count)),
        _ => {}
    }
}
