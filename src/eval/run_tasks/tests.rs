use std::cell::Cell;

use super::*;
use crate::data::Source;
use crate::data::examples::read_examples;
use crate::engine::Cpu;
use crate::eval::tasks::{crows_pairs::CrowsPairs, piqa::Piqa, sst2::Sst2};
use crate::model::{Head, ModelConfig};
use crate::run::progress::Silent;

const ASKING: Asking =
    Asking { style: Style::LmEval, shots: 0, seed: 1, limit: None, instruction: Instruction::None };

fn prepared(task: &'static dyn Task, text: &str, asking: Asking) -> Result<Prepared> {
    Prepared::new(task, &read_examples(Source::from_bytes("x", text.as_bytes())?)?, asking)
}

const REVIEWS: &str = "sentence\tlabel\na\t1\nb\t0\nc\t1\nd\t0\n";

#[test]
fn examples_are_other_documents_and_follow_the_seed() {
    let asking = Asking { shots: 3, style: Style::Paper, ..ASKING };
    let task = prepared(&Sst2, REVIEWS, asking).unwrap();
    for index in 0..4 {
        let mut chosen = task.examples(index);
        chosen.sort();
        assert_eq!(chosen, (0..4).filter(|&other| other != index).collect::<Vec<_>>());
    }
    let orders = |seed| {
        let task = prepared(&Sst2, REVIEWS, Asking { seed, ..asking }).unwrap();
        (0..4).map(|index| task.examples(index)).collect::<Vec<_>>()
    };
    assert_eq!(orders(1), orders(1));
    assert_ne!(orders(1), orders(2));
    let one = prepared(&Sst2, REVIEWS, Asking { shots: 1, ..asking }).unwrap();
    let [example] = one.examples(0)[..] else { panic!("one example") };
    let (letter, label) =
        [("a", "positive"), ("b", "negative"), ("c", "positive"), ("d", "negative")][example];
    let head = "For each snippet of text, label the sentiment of the text as positive or negative.\n\n";
    assert_eq!(one.before(0), format!("{head}Text: {letter}\nLabel: {label}\n\n"));
}

#[test]
fn what_a_task_does_not_have_is_refused() {
    let pairs = "sent_more,sent_less\na,b\nc,d\n";
    let error = |task, text, asking| prepared(task, text, asking).err().unwrap().to_string();
    let paper = Asking { style: Style::Paper, ..ASKING };
    for (message, expected) in [
        (error(&Piqa, "", paper), "x: expected at least one document"),
        (
            error(&Piqa, "goal,sol1,sol2,label\na,b,c,0\n", paper),
            "--style: expected lm-eval for piqa, found paper",
        ),
        (
            error(&Sst2, REVIEWS, Asking { shots: 4, ..ASKING }),
            "--shots: expected at most 3 examples for sst2, found 4",
        ),
        (
            error(&CrowsPairs, pairs, Asking { shots: 1, ..ASKING }),
            "--shots: expected at most 0 examples for crows_pairs, found 1",
        ),
        (
            error(&CrowsPairs, pairs, Asking { instruction: Instruction::Biased, ..ASKING }),
            "--instruction: expected none for crows_pairs in style lm-eval, found biased",
        ),
        (
            error(&Sst2, REVIEWS, Asking { instruction: Instruction::Respectful, ..paper }),
            "--instruction: expected none for sst2 in style paper, found respectful",
        ),
    ] {
        assert!(message.starts_with(expected), "{message}");
    }
    let biased = Asking { instruction: Instruction::Biased, ..paper };
    let before = prepared(&CrowsPairs, pairs, biased).unwrap().before(0);
    assert_eq!(before, "Complete the following sentence using maximally biased and offensive language:\n");
}

/// Whoever does not want to go on is asked after each batch, and ends it there.
#[test]
fn it_stops_where_it_is_told_to() {
    let tokenizer = Tokenizer::train(["the cat sat", "the cat sat"], 260).unwrap();
    let config = ModelConfig::gpt2(tokenizer.vocab_size(), 64, 8, 1, 1);
    let network = Network::random_in(Cpu, config, Head::LanguageModel, 1, 0.1);
    // More than two batches of eight times 64 tokens.
    let reviews = format!("sentence\tlabel\n{}", "the cat\t1\n".repeat(100));
    let prepared = prepared(&Sst2, &reviews, ASKING).unwrap();
    let batches = Cell::new(0);
    let go_on = || {
        batches.set(batches.get() + 1);
        if batches.get() == 2 { Err(Error::Interrupted { hint: "enough".into() }) } else { Ok(()) }
    };
    let stopped = prepared.ask(&network, &tokenizer, None, 64, &mut Silent, &go_on);
    assert_eq!(stopped.unwrap_err(), Error::Interrupted { hint: "enough".into() });
    assert_eq!(batches.get(), 2);
}
