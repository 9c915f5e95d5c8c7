use super::super::source::tests::gzip;
use super::super::{Comparison, Loaded, PromptForms, read_comparisons, read_demonstrations};
use super::*;
use serde_json::json;

fn source(text: &str) -> Source<'_> {
    Source::from_bytes("x", text.as_bytes()).unwrap()
}

/// Responses, ranks and labeler of the first.
fn first(loaded: &Loaded<Comparison>) -> (Vec<&str>, &[u32], Option<&str>) {
    let Comparison { responses, ranks, labeler, .. } = &loaded.records[0];
    (responses.iter().map(String::as_str).collect(), ranks, labeler.as_deref())
}

#[test]
fn tables_are_records_and_columns_have_their_own_names() {
    let forms = |columns: &[(&str, &str)]| PromptForms {
        columns: columns.iter().map(|(ours, theirs)| (ours.to_string(), theirs.to_string())).collect(),
        ..PromptForms::default()
    };
    for text in [
        "prompt,response,user\r\nWhy?,\"So, \"\"it\"\" is\",u1\r\n\r\n,x,\r\n",
        "prompt\tresponse\tuser\nWhy?\tSo, \"it\" is\tu1\n\n\tx\t\n",
    ] {
        for bytes in [text.as_bytes().to_vec(), gzip(text.as_bytes())] {
            let loaded = read_demonstrations(Source::from_bytes("x", &bytes).unwrap(), &forms(&[])).unwrap();
            let first = &loaded.records[0];
            assert_eq!((first.prompt.as_str(), first.response.as_str()), ("Why?", "So, \"it\" is"));
            assert_eq!(
                (loaded.records[0].user.as_deref(), loaded.skipped[0].at.as_str()),
                (Some("u1"), "line 4")
            );
            assert_eq!(loaded.records[0].place, "x, line 2");
        }
    }
    let named =
        forms(&[("prompt", "Frage"), ("chosen", "Gut"), ("rejected", "Schlecht"), ("labeler", "Wer")]);
    let table = "Nr;Frage;Gut;Schlecht;Wer\n1;Why?;a;b;w\n";
    let loaded = read_comparisons(source(table), &named).unwrap();
    assert_eq!(first(&loaded), (vec!["a", "b"], &[1, 2][..], Some("w")));
    let ours: Vec<&str> = loaded.columns.iter().map(String::as_str).collect();
    assert_eq!(ours, ["chosen", "labeler", "prompt", "rejected"]);
    // The same of JSON, where another field of our name does not count.
    let record = json!({"prompt": 3, "Frage": "Why?", "Gut": "a", "Schlecht": "b"});
    assert_eq!(read_comparisons(source(&record.to_string()), &named).unwrap().records[0].prompt, "Why?");

    let table = "prompt\tresponses\tranks\nWhy?\t[\"a\", \"b\", \"c\"]\t[2, 1, 1]\n";
    let loaded = read_comparisons(source(table), &forms(&[])).unwrap();
    assert_eq!(first(&loaded), (vec!["a", "b", "c"], &[2, 1, 1][..], None));
    for (text, place) in [
        ("prompt,response\nWhy?\n", "x: line 2: expected 2 cells, as in the table's head, found 1"),
        ("\n\nprompt,response\nWhy?,\"\n", "x: line 4: expected a closing quote"),
        (
            "prompt,responses,ranks\nWhy?,a b,\"[1, 2]\"\n",
            "x: line 2: field \"responses\": expected a list in JSON",
        ),
        ("prompt,chosen\nWhy?,a\n", "x: line 2: expected a field \"rejected\""),
        ("Once, upon a time\n", "x: line 1, column 1: expected a JSON object, found \"Once, upon a time\""),
        ("\n  once\n", "x: line 2, column 3: expected a JSON object"),
    ] {
        let error = read_comparisons(source(text), &forms(&[])).unwrap_err().to_string();
        assert!(error.starts_with(place), "{place}: {error}");
    }
}
