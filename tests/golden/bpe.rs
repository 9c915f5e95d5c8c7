//! `bpe.json`: what training learns from the documents, and what hostile strings become.

use instructgpt::text::{END_OF_TEXT, Tokenizer};
use serde::Deserialize;

use crate::common::fixture::json;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Bpe {
    documents: Vec<String>,
    vocab_size: usize,
    byte_order: Vec<u8>,
    merges: Vec<(u32, u32)>,
    merges_txt: Vec<String>,
    end_of_text: u32,
    encodings: Vec<Encoding>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Encoding {
    text: String,
    tokens: Vec<u32>,
}

fn fixture() -> Bpe {
    serde_json::from_value(json("bpe.json")).unwrap()
}

fn trained(bpe: &Bpe) -> Tokenizer {
    Tokenizer::train(bpe.documents.iter().map(String::as_str), bpe.vocab_size).unwrap()
}

/// The bytes of every token but `<|endoftext|>`, from the fixture alone.
fn token_bytes(bpe: &Bpe) -> Vec<Vec<u8>> {
    let mut tokens: Vec<Vec<u8>> = bpe.byte_order.iter().map(|&byte| vec![byte]).collect();
    for &(left, right) in &bpe.merges {
        tokens.push([tokens[left as usize].as_slice(), &tokens[right as usize]].concat());
    }
    tokens
}

#[test]
fn training_learns_the_same_merges() {
    let bpe = fixture();
    let tokenizer = trained(&bpe);
    assert_eq!(tokenizer.vocab_size(), bpe.vocab_size);
    assert_eq!(tokenizer.end_of_text(), bpe.end_of_text);
    assert_eq!(tokenizer.token(bpe.end_of_text), Some(END_OF_TEXT.as_bytes()));
    let tokens = token_bytes(&bpe);
    assert_eq!(tokens.len() + 1, bpe.vocab_size);
    for (id, expected) in (0..).zip(&tokens) {
        assert_eq!(tokenizer.token(id), Some(expected.as_slice()), "bytes of token {id}");
    }
    // Which two tokens a merge joins shows in the file only.
    let merges_txt = tokenizer.merges_txt();
    assert_eq!(merges_txt.lines().skip(1).collect::<Vec<_>>(), bpe.merges_txt);
}

#[test]
fn hostile_strings_become_the_same_tokens() {
    let bpe = fixture();
    let trained = trained(&bpe);
    let origins = ["vocab.json", "merges.txt"];
    let merges = bpe.merges_txt.join("\n");
    let read = Tokenizer::from_vocab_and_merges(&trained.vocab_json(), &merges, origins).unwrap();
    assert!(bpe.encodings.len() > 30);
    for Encoding { text, tokens } in &bpe.encodings {
        for tokenizer in [&trained, &read] {
            assert_eq!(tokenizer.encode(text), *tokens, "{text:?}");
            assert_eq!(tokenizer.decode(tokens).unwrap(), text.as_bytes());
        }
        assert!(!tokens.contains(&bpe.end_of_text), "{text:?}");
    }
}
