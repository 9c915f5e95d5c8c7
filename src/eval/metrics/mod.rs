//! The metrics of text: pure functions from a prediction and its references to a number. Each is equal to the
//! program that papers quote, quirks included, and `fixtures/metrics.json` holds that program's values.
//!
//! | file | metric | as in |
//! |---|---|---|
//! | [`squad`] | exact match and F1 of words, questions without an answer | SQuAD's evaluate-v2.0.py |
//! | [`mod@drop`] | exact match and F1 over several spans, numbers | DROP's drop_eval.py (AllenNLP) |
//! | [`quac`] | F1 leaving one reference out, human equivalence | QuAC's scorer.py |
//! | [`bleu`] | BLEU of a corpus | sacrebleu 2.6: `nrefs:N\|case:mixed\|eff:no\|tok:13a\|smooth:exp` |
//! | [`rouge`] | ROUGE-1, -2, -L, -Lsum | rouge-score 0.1.2 |
//!
//! Those programs are in Python, and what Python calls white space, a word or a number shows in their results; the
//! private files here say it once.

pub mod bleu;
pub mod drop;
pub mod porter;
pub mod quac;
pub mod rouge;
pub mod squad;

mod answers;
mod float_text;
mod ngrams;

#[cfg(test)]
mod tests;

pub use answers::Score;
