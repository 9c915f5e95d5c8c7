//! A tokenizer: `tokenizer.json`, or `vocab.json`, a zero byte and `merges.txt`. One that is accepted takes
//! any text apart and puts it together again, and is written and read back unchanged.
#![no_main]

use instructgpt::text::Tokenizer;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let tokenizer = match text.split_once('\0') {
        Some((vocabulary, merges)) => Tokenizer::from_vocab_and_merges(vocabulary, merges, "x"),
        None => Tokenizer::from_tokenizer_json(text, "x"),
    };
    let Ok(tokenizer) = tokenizer else { return };
    let tokens = tokenizer.encode(text);
    assert_eq!(tokenizer.decode(&tokens).unwrap(), text.as_bytes());
    let again = Tokenizer::from_tokenizer_json(&tokenizer.tokenizer_json(), "x").unwrap();
    assert_eq!(again.encode(text), tokens);
    let (vocabulary, merges) = (tokenizer.vocab_json(), tokenizer.merges_txt());
    let again = Tokenizer::from_vocab_and_merges(&vocabulary, &merges, "x").unwrap();
    assert_eq!(again.encode(text), tokens);
});
