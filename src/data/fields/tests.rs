use super::super::source::tests::gzip;
use super::*;
use proptest::prelude::*;

fn texts(bytes: &[u8]) -> Result<Vec<String>> {
    let mut texts = Vec::new();
    let mut records = Records::new(Source::from_bytes("x", bytes)?);
    while let Some(record) = records.read()? {
        texts.push(format!("{}: {}", record.at(), record.required_text("t")?));
    }
    assert!(records.read()?.is_none(), "the end stays the end");
    Ok(texts)
}

#[test]
fn lines_and_arrays_give_the_same_records() {
    let lines = b"\n{\"t\":\"a\"}\r\n  \n{\"t\":\"b\",\"other\":1}";
    assert_eq!(texts(lines).unwrap(), ["line 2: a", "line 4: b"]);
    assert_eq!(texts(&gzip(lines)).unwrap(), ["line 2: a", "line 4: b"]);
    let array = b"\n [ {\"t\":\"a\"},\n{\"t\":\"b\",\"other\":1}]\n";
    assert_eq!(texts(array).unwrap(), ["record 1: a", "record 2: b"]);
    assert_eq!(
        texts("\u{feff}[{\"t\":\"]},{\\\"\"} , {\"t\":\"\"}]".as_bytes()).unwrap(),
        ["record 1: ]},{\"", "record 2: "]
    );
    for empty in [&b" \n"[..], b"[]", b" [ \n] "] {
        assert!(texts(empty).unwrap().is_empty());
    }
}

#[test]
fn an_empty_name_is_nobody() {
    let mut users = Vec::new();
    let lines =
        b"{\"user\":\"\"}\n{\"user\":\" \\t\"}\n{\"user\":null}\n{}\n{\"user\":\" u \"}\n{\"user\":0}";
    let mut records = Records::new(Source::from_bytes("x", lines).unwrap());
    while let Some(record) = records.read().unwrap() {
        users.push(record.person("user").unwrap());
    }
    assert_eq!(users, [None, None, None, None, Some(" u ".to_string()), Some("0".to_string())]);
}

#[test]
fn errors_say_where() {
    let nested = format!("{{\"t\":\"a\"}}\n{}", "[".repeat(100_000));
    let nested_array = "[".repeat(100_000);
    for (bytes, place) in [
        (&b"{\"t\":\"a\"}\n{\"t\":"[..], "line 2"),
        (b"{\"t\":\"a\"}\n[1]", "line 2"),
        (b"{\"t\":\"a\"}\n{\"t\":\"\xff\"}", "line 2"),
        (b"{\"t\":1}", "line 1: field \"t\""),
        (b"{\"u\":1}", "line 1: expected a field \"t\", found the fields \"u\""),
        (b"{\n\"t\":\"a\"\n}", "line 1"),
        (b"{\"t\":null,\"u\":1}", "line 1: field \"t\": expected a string, found null"),
        (b"\n{\"t\":NaN}", "line 2, column 6: expected a JSON value, found \"NaN}\""),
        (b"[{\"t\":\"a\"},\n {\"t\":NaN}]", "line 2, column 7: expected a JSON value, found \"NaN}\""),
        (b"[{\"t\":\"a\"},]", "line 1, column 12: expected a JSON object"),
        (b"[{\"t\":\"a\"} {}]", "line 1, column 12: expected \",\" or \"]\""),
        (b"[{\"t\":\"a\"} x", "line 1, column 12: expected \",\" or \"]\""),
        (b"[null,\"Hello\"]", "record 1: expected a JSON object, found null"),
        (b"just text\n", "line 1, column 1: expected a JSON object, found \"just text\"\n  hint: the format"),
        (
            b"prompt,response\na,b",
            "expected JSON Lines or a JSON array, found a CSV table\n  hint: make JSON Lines",
        ),
        (b"a\0b\0", "expected JSON Lines or a JSON array, found UTF-16 text"),
        (b"\n[{\"t\":\"a\"},\n3]", "record 2"),
        (b"\n[{\"t\":\"a\"},\n{\"t\" 3}]", "line 3"),
        (b"[{\"t\":\"a\"}", "line 1"),
        (b"[{\"t\":\"a\"}] x", "line 1"),
        (b"[{\"t\":\"\xff\"}]", "line 1"),
        (nested.as_bytes(), "line 2"),
        (nested_array.as_bytes(), "line 1"),
    ] {
        let error = texts(bytes).unwrap_err().to_string();
        assert!(error.starts_with("x: ") && error.contains(place), "{place}: {error}");
    }
}

proptest! {
    #[test]
    fn random_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
        let _ = texts(&bytes);
        let _ = texts(&[b"[", &bytes[..]].concat());
        let _ = texts(&[&[0x1f, 0x8b, 8, 0][..], &bytes].concat());
    }

    #[test]
    fn mutated_gzip_never_panics(at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let mut bytes = gzip(b"{\"t\":\"a\"}\n{\"t\":\"b\"}\n");
        let at = at.index(bytes.len());
        bytes[at] = byte;
        let _ = texts(&bytes);
    }
}

/// What a table's cell and a record's field may be.
#[test]
fn required_fields_are_named_together() {
    let bytes =
        br#"{"n":7,"t":" 12 ","minus":-1,"texts":["a"],"mixed":["a",1],"inner":{"t":"x"},"none":null}"#;
    let mut records = Records::new(Source::from_bytes("x", bytes).unwrap());
    let record = records.read().unwrap().unwrap();
    assert_eq!((record.whole_number("n").unwrap(), record.whole_number("t").unwrap()), (7, 12));
    assert_eq!(record.required_texts("texts").unwrap(), ["a"]);
    assert_eq!(record.required_object("inner").unwrap().required_text("t").unwrap(), "x");
    assert!(record.require(&["n", "t"]).is_ok() && !record.has("none"));
    for (error, expected) in [
        (
            record.whole_number("minus").err(),
            "x: line 1: field \"minus\": expected a whole number from 0, found -1",
        ),
        (
            record.required_texts("mixed").err(),
            "field \"mixed\": expected an array of strings, found a number among them",
        ),
        (record.required_object("n").err(), "field \"n\": expected an object, found a number"),
        (
            record.require(&["n", "none"]).err(),
            "expected the fields \"n\", \"none\", found the fields \"inner\"",
        ),
        (record.require(&["gone"]).err(), "expected a field \"gone\", found the fields"),
    ] {
        let message = error.unwrap().to_string();
        assert!(message.contains(expected), "{message}");
    }
}
