//! From records to tokens, as far as they fit.

use super::account::Account;
use super::dataset::{Example, Ranking};
use super::records::{Kind, rule};
use super::stream::TextStream;
use crate::data::{Comparison, ComparisonTokens, Demonstration, Passage, Prompt, Record, Side, Split};
use crate::error::{Error, Result};
use crate::num::par;
use crate::settings::Settings;
use crate::text::Tokenizer;

/// A tokenizer, and the longest prompt and response in tokens.
pub(super) struct Encoder<'a> {
    tokenizer: &'a Tokenizer,
    max_prompt: usize,
    max_response: usize,
    /// Whether documents follow one another.
    joins: bool,
    /// The share of the records that each side should have.
    shares: Split<f64>,
}

impl<'a> Encoder<'a> {
    pub fn new(tokenizer: &'a Tokenizer, settings: &Settings) -> Self {
        Encoder {
            tokenizer,
            max_prompt: settings.data.max_prompt_tokens,
            max_response: settings.data.max_response_tokens,
            joins: settings.data.join_documents,
            shares: Split::from_fn(|side| rule(settings).share(side)),
        }
    }

    /// Passages one after another; the last of a document is ended by the end-of-text token.
    pub fn text(&self, text: Kind<Passage>, accounts: &mut Vec<Account>) -> Split<TextStream> {
        let Kind { sides, mut account, keys } = text;
        account.close(sides.map(Vec::len), self.shares, &keys);
        accounts.push(account);
        sides.map(|passages| {
            let (mut stream, mut complete) = (TextStream::default(), true);
            let encoded = par::map(passages, 1, |passage| self.tokenizer.encode(&passage.text));
            for (passage, mut tokens) in passages.iter().zip(encoded) {
                tokens.extend(passage.ends.then(|| self.tokenizer.end_of_text()));
                stream.push(&tokens, !(self.joins && complete && passage.begins));
                complete = passage.ends;
            }
            stream
        })
    }

    /// Prompt and response are encoded apart: that is also how a policy meets them. `None` if either is too
    /// long.
    pub fn example(&self, prompt: &str, response: &str) -> Option<Example> {
        let mut tokens = self.tokenizer.encode(prompt);
        let prompt = tokens.len();
        tokens.extend(self.tokenizer.encode(response));
        tokens.push(self.tokenizer.end_of_text());
        self.fits(prompt, tokens.len() - prompt).then_some(Example { tokens, prompt })
    }

    fn sampled(&self, prompt: &[u32], response: &[u32]) -> Option<Example> {
        let example = Example { tokens: [prompt, response].concat(), prompt: prompt.len() };
        self.fits(prompt.len(), response.len()).then_some(example)
    }

    fn fits(&self, prompt: usize, response: usize) -> bool {
        (1..=self.max_prompt).contains(&prompt) && response <= self.max_response
    }

    /// The demonstrations that fit.
    pub fn demonstrations(
        &self,
        records: Kind<Demonstration>,
        accounts: &mut Vec<Account>,
    ) -> Split<Vec<Example>> {
        let encode = |record: &Demonstration| Ok(self.example(&record.prompt, &record.response));
        self.encode(records, &self.limits(), accounts, encode).expect("encoding a text cannot fail")
    }

    /// The comparisons that fit.
    pub fn rankings(
        &self,
        records: Kind<Comparison>,
        accounts: &mut Vec<Account>,
    ) -> Result<Split<Vec<Ranking>>> {
        self.encode(records, &self.limits(), accounts, |record| self.ranking(record))
    }

    /// The prompts of at most `limit` tokens, a limit that is called `key`.
    pub fn prompts(
        &self,
        records: Kind<Prompt>,
        key: &str,
        limit: usize,
        accounts: &mut Vec<Account>,
    ) -> Split<Vec<Vec<u32>>> {
        let reason = format!("longer than {limit} tokens ({key}), or empty");
        let fits = |prompt: &Vec<u32>| (1..=limit).contains(&prompt.len());
        let encode = |record: &Prompt| Ok(Some(self.tokenizer.encode(&record.prompt)).filter(fits));
        self.encode(records, &reason, accounts, encode).expect("encoding a text cannot fail")
    }

    /// Why a record does not fit.
    pub fn limits(&self) -> String {
        let (prompt, response) = (self.max_prompt, self.max_response);
        format!("longer than {prompt} prompt or {response} response tokens (data.max_*_tokens), or empty")
    }

    /// What `encode` makes of each record, on all threads; those of which it makes nothing are left out for `reason`.
    pub fn encode<T: Record + Sync, U: Send>(
        &self,
        records: Kind<T>,
        reason: &str,
        accounts: &mut Vec<Account>,
        encode: impl Fn(&T) -> Result<Option<U>> + Sync,
    ) -> Result<Split<Vec<U>>> {
        let Kind { mut sides, mut account, keys } = records;
        let (mut encoded, mut left_out) = (Split::<Vec<U>>::default(), Split::<Vec<T>>::default());
        for side in Side::ALL {
            let records = sides.take(side);
            // Some dozens at a time are worth a hand-over.
            let made = par::map(&records, 32, &encode);
            for (record, made) in records.into_iter().zip(made) {
                match made? {
                    Some(one) => encoded.of_mut(side).push(one),
                    None => left_out.of_mut(side).push(record),
                }
            }
        }
        account.leave_out_by_side(&left_out, reason);
        account.close(encoded.map(Vec::len), self.shares, &keys);
        accounts.push(account);
        Ok(encoded)
    }

    /// Sampled tokens are taken as they are, texts are encoded. `None` if anything is too long.
    pub fn ranking(&self, record: &Comparison) -> Result<Option<Ranking>> {
        let responses: Option<Vec<Example>> = match &record.tokens {
            Some(ComparisonTokens { prompt, responses }) => {
                let tokens = prompt.iter().chain(responses.iter().flatten());
                self.check_tokens(tokens.max().copied().unwrap_or(0))?;
                responses.iter().map(|response| self.sampled(prompt, response)).collect()
            }
            None => record.responses.iter().map(|response| self.example(&record.prompt, response)).collect(),
        };
        let ranking = responses.map(|responses| Ranking::new(responses, record.ranks.clone()));
        Ok(ranking.map(|ranking| Ranking { labeler: record.labeler.clone(), ..ranking }))
    }

    fn check_tokens(&self, largest: u32) -> Result<()> {
        let vocab_size = self.tokenizer.vocab_size();
        if (largest as usize) < vocab_size {
            return Ok(());
        }
        let expected = format!("token ids of this run's tokenizer, below {vocab_size}");
        let hint = "comparisons that carry tokens belong to the tokenizer they were sampled with";
        Err(Error::usage("data.comparisons", expected, largest, hint))
    }
}
