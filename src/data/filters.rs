//! The paper's two filters of prompts (section 3.2): "we heuristically deduplicate our prompts by checking for prompts
//! that share a long common prefix, and we limit the number of prompts to 200 per user ID".
//!
//! Both are about prompts, not about answers: the paper filters before anybody labels. So several answers to one prompt
//! (demonstrations by several people, several rankings) stay together: all are kept, or none.

use std::collections::{BTreeMap, BTreeSet};

use super::{NormalForm, Record};

/// Keeps the first of all prompts that begin alike in the sense of `form`, with all of its records. Also returns the
/// records that went.
///
/// The paper does not print the length of its prefix. A head that many prompts share (a long instruction before
/// different inputs, a system prompt) makes duplicates of them where the prefix ends within it.
pub fn deduplicate_by_prefix<T: Record>(records: Vec<T>, form: &NormalForm) -> (Vec<T>, Vec<T>) {
    let mut first = BTreeMap::new();
    records.into_iter().partition(|record| {
        let whole = form.whole(record.prompt());
        *first.entry(form.beginning(record.prompt())).or_insert_with(|| whole.clone()) == whole
    })
}

/// Keeps the first record of each prompt, for records that are nothing but a prompt. Also returns those that went.
pub fn each_prompt_once<T: Record>(records: Vec<T>, form: &NormalForm) -> (Vec<T>, Vec<T>) {
    let mut seen = BTreeSet::new();
    records.into_iter().partition(|record| seen.insert(form.whole(record.prompt())))
}

/// Keeps each user's first `limit` prompts (200 in the paper) with all of their records, and all records without a user.
/// Also returns the records that went.
pub fn cap_per_user<T: Record>(records: Vec<T>, limit: usize, form: &NormalForm) -> (Vec<T>, Vec<T>) {
    let mut prompts: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    records.into_iter().partition(|record| {
        let Some(user) = record.user() else { return true };
        let (prompts, prompt) = (prompts.entry(user.to_string()).or_default(), form.whole(record.prompt()));
        prompts.contains(&prompt) || (prompts.len() < limit && prompts.insert(prompt))
    })
}

#[cfg(test)]
mod tests {
    use super::super::Prompt;
    use super::*;

    fn prompt(prompt: &str, user: Option<&str>) -> Prompt {
        Prompt {
            prompt: prompt.to_string(),
            user: user.map(str::to_string),
            tags: Default::default(),
            place: String::new(),
        }
    }

    fn texts(records: &[Prompt]) -> Vec<&str> {
        records.iter().map(|record| record.prompt.as_str()).collect()
    }

    #[test]
    fn long_common_prefixes_count_once_and_answers_to_one_prompt_all() {
        let form = NormalForm { prefix: 4, ..NormalForm::default() };
        let records =
            ["éabcX", "éabcY", "éabcX\n", "éab", "éab", "other"].map(|text| prompt(text, None)).to_vec();
        let (kept, gone) = deduplicate_by_prefix(records.clone(), &form);
        assert_eq!(
            (texts(&kept), texts(&gone)),
            (vec!["éabcX", "éabcX\n", "éab", "éab", "other"], vec!["éabcY"])
        );
        let (kept, gone) = each_prompt_once(kept, &form);
        assert_eq!((texts(&kept), texts(&gone)), (vec!["éabcX", "éab", "other"], vec!["éabcX\n", "éab"]));
        assert_eq!(deduplicate_by_prefix(records, &NormalForm::default()).1, [], "0 turns it off");
    }

    #[test]
    fn users_are_capped_by_prompt_and_others_are_not() {
        let mut records: Vec<_> =
            ["0", "0 ", "1", "2", "0", "3"].map(|text| prompt(text, Some("u"))).to_vec();
        records.extend((0..5).map(|i| prompt(&i.to_string(), None)));
        records.push(prompt("2", Some("v")));
        let (kept, gone) = cap_per_user(records, 2, &NormalForm::default());
        assert_eq!(texts(&kept), ["0", "0 ", "1", "0", "0", "1", "2", "3", "4", "2"]);
        assert_eq!(texts(&gone), ["2", "3"]);
    }
}
