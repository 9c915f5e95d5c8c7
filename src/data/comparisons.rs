//! Comparisons, in four forms of our own (other programs' are those of `import.rs`):
//! - `{"prompt", "responses": [..], "ranks": [..]}`: K answers, 1 is best, equal ranks are ties;
//! - `{"prompt", "chosen", "rejected"}`;
//! - `{"instruction", "input", "chosen", "rejected"}`: Alpaca-style, the prompt made by the template;
//! - `{"chosen", "rejected"}`: hh-rlhf's whole dialogues, whose common part up to the last
//!   `"\n\nAssistant:"` is the prompt (Bai et al. 2022).
//!
//! The first form may carry `"prompt_tokens": [..]` and `"response_tokens": [[..], ..]`, the token ids that were
//! sampled, which do not always survive being decoded and encoded again: these are then trained on, as they are. It may
//! also carry `"set": "train"`, `"validation"` or `"test"`, the side of the split that its prompt stands on.
//!
//! A record that yields no pair is skipped and reported: all answers tied, all answers identical, an
//! empty prompt, a dialogue with an empty turn of the human, dialogues that differ before their last answer. An answer
//! may be empty.

use std::path::Path;

use serde_json::Value;

use super::end_of_text::Markers;
use super::fields::{Fields, token_ids};
use super::template::{PromptForm, Rendered};
use super::{Comparison, ComparisonTokens, Loaded, Outcome, PromptForms, Side, Source, collect, import};
use crate::error::Result;

/// Most answers in a ranking (the paper has 4 to 9); pairs grow with the square.
pub const MAX_RESPONSES: usize = 64;

const HUMAN: &str = "\n\nHuman:";
const ASSISTANT: &str = "\n\nAssistant:";

/// Loads comparisons from JSON Lines or a JSON array, gzipped or not.
///
/// # Errors
/// Of [`Source::open`]; [`crate::Error::Format`] with line and field: missing fields, fewer than two
/// answers, as many ranks as answers not given; a file without any usable record.
pub fn load_comparisons(path: &Path, forms: &PromptForms) -> Result<Loaded<Comparison>> {
    read_comparisons(Source::open(path)?, forms)
}

/// [`load_comparisons`] from any source.
///
/// # Errors
/// As [`load_comparisons`].
pub fn read_comparisons(source: Source, forms: &PromptForms) -> Result<Loaded<Comparison>> {
    collect(source, &forms.columns, |record, markers| {
        if let Some(imported) = import::read(record, forms, markers)? {
            let rankings = imported.rankings(record)?;
            return rankings.into_iter().map(|ranking| finished(record, ranking, None)).collect();
        }
        Ok(vec![comparison(record, forms, markers)?])
    })
}

/// K answers to a prompt and their ranks.
pub(super) struct Ranked {
    pub asked: Rendered,
    pub responses: Vec<String>,
    pub ranks: Vec<u32>,
    /// Who ranked, if the record does not say it in a field of that name.
    pub labeler: Option<String>,
}

/// Whether there is anything to learn from it.
pub(super) fn usable(ranked: Ranked) -> Outcome<Ranked> {
    let Ranked { asked, responses, ranks, .. } = &ranked;
    if asked.empty {
        Outcome::Skip("empty prompt")
    } else if responses.iter().all(|response| *response == responses[0]) {
        Outcome::Skip("the responses are identical")
    } else if ranks.iter().all(|rank| *rank == ranks[0]) {
        Outcome::Skip("all responses are tied")
    } else {
        Outcome::Keep(ranked, None)
    }
}

/// The comparison of a usable ranking, with what else its record says.
fn finished(
    record: &Fields,
    ranking: Outcome<Ranked>,
    tokens: Option<ComparisonTokens>,
) -> Result<Outcome<Comparison>> {
    let side = set(record)?;
    let Ranked { asked, responses, ranks, labeler } = match ranking {
        Outcome::Keep(ranked, _) => ranked,
        Outcome::Skip(reason) => return Ok(Outcome::Skip(reason)),
    };
    let (user, tags, place) = (record.person("user")?, record.tags()?, record.place());
    let labeler = labeler.map_or_else(|| record.person("labeler"), |labeler| Ok(Some(labeler)))?;
    let Rendered { prompt, form, .. } = asked;
    let comparison = Comparison { prompt, responses, ranks, user, labeler, tokens, side, tags, place };
    Ok(Outcome::Keep(comparison, Some(form)))
}

fn comparison(record: &Fields, forms: &PromptForms, markers: &mut Markers) -> Result<Outcome<Comparison>> {
    let asked = stated_prompt(record, forms, markers)?;
    let (asked, responses, ranks) = if record.get("responses").is_some() {
        let Some(asked) = asked else { return Err(record.unknown("a field \"prompt\"")) };
        (asked, responses(record, markers)?, ranks(record)?)
    } else {
        if record.get("chosen").is_none() {
            return Err(record.unknown("fields \"responses\" and \"ranks\", or \"chosen\" and \"rejected\""));
        }
        let mut answer = |name| Ok(markers.ended(record.required_text(name)?));
        let (chosen, rejected) = (answer("chosen")?, answer("rejected")?);
        match asked {
            Some(asked) => (asked, vec![chosen.to_string(), rejected.to_string()], vec![1, 2]),
            None => match split_dialogues(chosen, rejected) {
                Some((prompt, responses)) => {
                    (dialogue(prompt), responses.map(str::to_string).to_vec(), vec![1, 2])
                }
                None => {
                    return Ok(Outcome::Skip("the dialogues differ before the last answer, or have none"));
                }
            },
        }
    };
    if ranks.len() != responses.len() {
        let expected = format!("one rank for each of the {} responses", responses.len());
        return Err(record.error("ranks", expected, format!("{} ranks", ranks.len())));
    }
    let tokens = tokens(record, responses.len())?;
    finished(record, usable(Ranked { asked, responses, ranks, labeler: None }), tokens)
}

/// The prompt, where the record has a field for it. One that comes with its tokens is as it was sampled from: nothing
/// joins it.
pub(super) fn stated_prompt(
    record: &Fields,
    forms: &PromptForms,
    markers: &mut Markers,
) -> Result<Option<Rendered>> {
    if let Some(prompt) = record.text("prompt")? {
        let prompt = markers.going_on(prompt);
        let sampled = record.get("prompt_tokens").is_some();
        return Ok(Some(if sampled { PromptForms::default().stated(prompt) } else { forms.stated(prompt) }));
    }
    let Some(instruction) = record.text("instruction")? else { return Ok(None) };
    let input = record.text("input")?.unwrap_or_default();
    Ok(Some(forms.instruction(markers.going_on(instruction), markers.going_on(input))))
}

/// The prompt of a dialogue, which ends in `Assistant:`. It is empty where a turn of the human is.
pub(super) fn dialogue(prompt: &str) -> Rendered {
    let before = prompt.strip_suffix(ASSISTANT).unwrap_or(prompt);
    let no_words = |turn: &str| turn.split(ASSISTANT).next().unwrap_or_default().trim().is_empty();
    let empty = before.trim().is_empty() || before.split(HUMAN).skip(1).any(no_words);
    Rendered { prompt: prompt.to_string(), form: PromptForm::Dialogue, empty }
}

fn responses(record: &Fields, markers: &mut Markers) -> Result<Vec<String>> {
    let values = record.required_array("responses")?;
    if values.len() < 2 || values.len() > MAX_RESPONSES {
        let expected = format!("2 to {MAX_RESPONSES} responses");
        return Err(record.error("responses", expected, values.len()));
    }
    let text = |value: &Value| value.as_str().map(|text| markers.ended(text).to_string());
    let texts: Option<Vec<String>> = values.iter().map(text).collect();
    texts.ok_or_else(|| record.error("responses", "strings", "something else among them"))
}

fn ranks(record: &Fields) -> Result<Vec<u32>> {
    let rank = |value: &Value| {
        let rank = value.as_u64().and_then(|rank| u32::try_from(rank).ok());
        rank.filter(|&rank| rank > 0)
    };
    let ranks: Option<Vec<u32>> = record.required_array("ranks")?.iter().map(rank).collect();
    ranks.ok_or_else(|| record.error("ranks", "whole numbers from 1 (best)", "something else among them"))
}

/// The token ids of prompt and `responses` responses, where the record has them: both or neither.
fn tokens(record: &Fields, responses: usize) -> Result<Option<ComparisonTokens>> {
    if record.get("prompt_tokens").is_none() && record.get("response_tokens").is_none() {
        return Ok(None);
    }
    let prompt = record.tokens("prompt_tokens")?.filter(|prompt| !prompt.is_empty());
    let prompt = prompt.ok_or_else(|| record.error("prompt_tokens", "token ids", "none"))?;
    let expected = format!("a list of token ids for each of the {responses} responses");
    let wrong = |found: String| record.error("response_tokens", &expected, found);
    let lists = record.required_array("response_tokens")?;
    if lists.len() != responses {
        return Err(wrong(format!("{} lists", lists.len())));
    }
    let responses = lists.iter().map(token_ids).collect::<std::result::Result<_, _>>().map_err(wrong)?;
    Ok(Some(ComparisonTokens { prompt, responses }))
}

/// The side of the split, where the record names it.
fn set(record: &Fields) -> Result<Option<Side>> {
    let Some(name) = record.text("set")? else { return Ok(None) };
    let expected = "\"train\", \"validation\" or \"test\"";
    Side::named(name).map(Some).ok_or_else(|| record.error("set", expected, format!("{name:?}")))
}

/// The common prompt of two dialogues, with its final `Assistant:`, and the two last answers as they stand
/// (usually with a leading space). `None` if they part earlier or there is no such turn.
pub(super) fn split_dialogues<'a>(chosen: &'a str, rejected: &'a str) -> Option<(&'a str, [&'a str; 2])> {
    let common = chosen.bytes().zip(rejected.bytes()).take_while(|(a, b)| a == b).count();
    let turn = ASSISTANT.as_bytes();
    let end =
        turn.len() + chosen.as_bytes()[..common].windows(turn.len()).rposition(|window| window == turn)?;
    let answers = [&chosen[end..], &rejected[end..]];
    let whole = answers.iter().all(|answer| !answer.contains(HUMAN) && !answer.contains(ASSISTANT));
    whole.then_some((&chosen[..end], answers))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(text: &str) -> Result<Loaded<Comparison>> {
        read_comparisons(Source::from_bytes("x", text.as_bytes())?, &PromptForms::default())
    }

    const VALID: &str = r#"{"prompt":"p","responses":["a","b","c"],"ranks":[2,1,2],"user":"u"}
{"prompt":"p","chosen":"good","rejected":"bad","labeler":"l"}
{"instruction":"i","input":"x","chosen":"good","rejected":"bad","output":"good"}
{"chosen":"\n\nHuman: q\n\nAssistant: a\n\nHuman: q2\n\nAssistant: yés","rejected":"\n\nHuman: q\n\nAssistant: a\n\nHuman: q2\n\nAssistant: yès"}
{"prompt":"p","chosen":"same","rejected":"same"}
{"prompt":"p","responses":["a","b"],"ranks":[3,3]}
{"chosen":"\n\nHuman: q\n\nAssistant: a\n\nHuman: r","rejected":"\n\nHuman: q\n\nAssistant: b"}
{"chosen":"no turns","rejected":"none"}
{"prompt":" ","chosen":"a","rejected":"b"}"#;

    #[test]
    fn every_form_is_read_and_every_skip_reported() {
        let loaded = read(VALID).unwrap();
        let [ranked, pair, alpaca, dialogue] = &loaded.records[..] else { panic!("{loaded:?}") };
        assert_eq!((ranked.ranks.as_slice(), ranked.user.as_deref()), (&[2, 1, 2][..], Some("u")));
        assert_eq!(
            (pair.responses.as_slice(), pair.ranks.as_slice()),
            (&["good".into(), "bad".into()][..], &[1, 2][..])
        );
        assert_eq!(alpaca.prompt, "### Instruction:\ni\n\n### Input:\nx\n\n### Response:\n");
        assert!(dialogue.prompt.ends_with("Human: q2\n\nAssistant:"));
        assert_eq!(dialogue.responses, [" yés", " yès"]);
        let reasons: Vec<_> = loaded.skipped.iter().map(|s| (s.at.as_str(), s.reason)).collect();
        let turns = "the dialogues differ before the last answer, or have none";
        assert_eq!(
            reasons,
            [
                ("line 5", "the responses are identical"),
                ("line 6", "all responses are tied"),
                ("line 7", turns),
                ("line 8", turns),
                ("line 9", "empty prompt"),
            ]
        );
    }

    #[test]
    fn emptiness_ends_and_joints_are_those_of_all_records() {
        let text = r#"{"prompt":"p","responses":["a<|endoftext|>","b"],"ranks":[2,1]}
{"prompt":"p","chosen":"a <|endoftext|>\n","rejected":"b"}
{"prompt":"p","chosen":"a<|endoftext|>","rejected":"a"}
{"instruction":" ","input":"","chosen":"a","rejected":"b"}
{"chosen":"\n\nHuman: \n\nAssistant: a","rejected":"\n\nHuman: \n\nAssistant: b"}
{"chosen":"\n\nHuman:\n\nAssistant: x\n\nHuman: q\n\nAssistant: a","rejected":"\n\nHuman:\n\nAssistant: x\n\nHuman: q\n\nAssistant: b"}
{"chosen":"\n\nAssistant: a","rejected":"\n\nAssistant: b"}
{"chosen":"\n\nHuman: q\n\nAssistant:\n\nHuman: r\n\nAssistant: a<|endoftext|>","rejected":"\n\nHuman: q\n\nAssistant:\n\nHuman: r\n\nAssistant: b"}
{"prompt":"p","responses":["a","b"],"ranks":[2,1],"prompt_tokens":[7],"response_tokens":[[1,0],[]]}
{"prompt":"<|endoftext|>","chosen":"a","rejected":"b"}"#;
        let forms = PromptForms { joint: "\nA:".into(), ..PromptForms::default() };
        let loaded = read_comparisons(Source::from_bytes("x", text.as_bytes()).unwrap(), &forms).unwrap();
        let texts: Vec<_> =
            loaded.records.iter().map(|r| (r.prompt.as_str(), r.responses[0].as_str())).collect();
        let turns = "\n\nHuman: q\n\nAssistant:\n\nHuman: r\n\nAssistant:";
        let joined = ("p\nA:", "a");
        assert_eq!(texts, [joined, ("p\nA:", "a "), (turns, " a"), ("p", "a"), ("<|endoftext|>\nA:", "a")]);
        assert_eq!((loaded.markers_taken_off, loaded.plain_markers), (3, 1));
        assert!(loaded.summary().ends_with("5 skipped: 4 x empty prompt, 1 x the responses are identical"));
        assert_eq!(loaded.forms, [(PromptForm::Stated, 4), (PromptForm::Dialogue, 1)].into());
    }

    #[test]
    fn sampled_tokens_and_the_set_are_read() {
        let text = r#"{"prompt":"p","responses":["a","b"],"ranks":[2,1],"prompt_tokens":[7],"response_tokens":[[1,0],[]],"set":"validation"}"#;
        let loaded = read(text).unwrap();
        let tokens = ComparisonTokens { prompt: vec![7], responses: vec![vec![1, 0], vec![]] };
        assert_eq!(
            (&loaded.records[0].tokens, loaded.records[0].side),
            (&Some(tokens), Some(Side::Validation))
        );
        for side in Side::ALL {
            let text = text.replace("validation", side.name());
            assert_eq!(read(&text).unwrap().records[0].side, Some(side));
        }
        assert_eq!(read(VALID).unwrap().records[0].tokens, None);
    }

    #[test]
    fn wrong_records_are_errors_with_their_line() {
        let many = format!(r#"{{"prompt":"p","responses":[{}"a"],"ranks":[]}}"#, "\"a\",".repeat(64));
        for (wrong, place) in [
            (r#"{"prompt":"p","responses":["a"],"ranks":[1]}"#, "2 to 64 responses"),
            (r#"{"prompt":"p","responses":[],"ranks":[]}"#, "2 to 64 responses"),
            (many.as_str(), "2 to 64 responses"),
            (r#"{"prompt":"p","responses":["a","b"],"ranks":[1]}"#, "one rank for each of the 2"),
            (r#"{"prompt":"p","responses":["a","b"]}"#, "\"ranks\""),
            (r#"{"prompt":"p","responses":["a","b"],"ranks":[0,1]}"#, "from 1 (best)"),
            (r#"{"prompt":"p","responses":["a","b"],"ranks":[1.5,1]}"#, "from 1 (best)"),
            (r#"{"prompt":"p","responses":["a",2],"ranks":[1,2]}"#, "strings"),
            (r#"{"responses":["a","b"],"ranks":[1,2]}"#, "\"prompt\""),
            (r#"{"prompt":"p","chosen":"a"}"#, "\"rejected\""),
            (
                r#"{"prompt":"p","responses":["a","b"],"ranks":[1,2],"prompt_tokens":[1]}"#,
                "\"response_tokens\"",
            ),
            (
                r#"{"prompt":"p","responses":["a","b"],"ranks":[1,2],"response_tokens":[[1],[2]]}"#,
                "\"prompt_tokens\"",
            ),
            (
                r#"{"prompt":"p","responses":["a","b"],"ranks":[1,2],"prompt_tokens":[1],"response_tokens":[[1]]}"#,
                "each of the 2",
            ),
            (
                r#"{"prompt":"p","responses":["a","b"],"ranks":[1,2],"prompt_tokens":[-1],"response_tokens":[[1],[2]]}"#,
                "token ids",
            ),
            (
                r#"{"prompt":"p","responses":["a","b"],"ranks":[1,2],"prompt_tokens":[1],"response_tokens":[[1],[4294967296]]}"#,
                "token ids",
            ),
            (r#"{"prompt":"p","responses":["a","b"],"ranks":[1,2],"set":"tests"}"#, "\"validation\""),
            (r#"{"prompt":"p","chosen":["a"],"rejected":"b"}"#, "\"chosen\""),
            (r#"{"prompt":"p"}"#, "\"responses\""),
        ] {
            let error = read(&format!("{VALID}\n{wrong}")).unwrap_err().to_string();
            assert!(error.contains("line 10") && error.contains(place), "{error}");
        }
        let error = read(r#"{"prompt":"p","chosen":"a","rejected":"a"}"#).unwrap_err().to_string();
        assert!(error.contains("1 x the responses are identical"), "{error}");
    }

    proptest! {
        #[test]
        fn mutated_files_never_panic(at in any::<prop::sample::Index>(), byte in any::<u8>()) {
            let mut bytes = VALID.as_bytes().to_vec();
            let at = at.index(bytes.len());
            bytes[at] = byte;
            let _ = read_comparisons(Source::from_bytes("x", &bytes).unwrap(), &PromptForms::default());
        }

        #[test]
        fn a_dialogue_is_its_prompt_and_its_answers(head in ".{0,8}", a in ".{0,8}", b in ".{0,8}") {
            let prompt = format!("\n\nHuman: {head}\n\nAssistant:");
            let (chosen, rejected) = (format!("{prompt}{a}"), format!("{prompt}{b}"));
            prop_assert_eq!(split_dialogues(&chosen, &rejected), Some((prompt.as_str(), [a.as_str(), b.as_str()])));
        }
    }
}
