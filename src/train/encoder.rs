//! From records to tokens, as far as they fit.

use super::dataset::{Example, Ranking};
use crate::data::{Comparison, ComparisonTokens, Demonstration, Prompt, Split};
use crate::error::{Error, Result};
use crate::settings::Settings;
use crate::text::Tokenizer;

/// A tokenizer, and the longest prompt and response in tokens.
pub(super) struct Encoder<'a> {
    tokenizer: &'a Tokenizer,
    max_prompt: usize,
    max_response: usize,
}

impl<'a> Encoder<'a> {
    pub fn new(tokenizer: &'a Tokenizer, settings: &Settings) -> Self {
        Encoder {
            tokenizer,
            max_prompt: settings.data.max_prompt_tokens,
            max_response: settings.data.max_response_tokens,
        }
    }

    /// Documents one after another, each ended by the end-of-text token.
    pub fn stream(&self, documents: &[String]) -> Vec<u32> {
        let mut tokens = Vec::new();
        for document in documents {
            tokens.extend(self.tokenizer.encode(document));
            tokens.push(self.tokenizer.end_of_text());
        }
        tokens
    }

    /// Prompt and response are encoded apart: that is also how a policy meets them. `None` if either is too
    /// long.
    fn example(&self, prompt: &str, response: &str) -> Option<Example> {
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

    /// The demonstrations that fit; `left_out` counts the others.
    pub fn demonstrations(&self, records: &[Demonstration], left_out: &mut usize) -> Vec<Example> {
        let examples: Vec<Example> =
            records.iter().filter_map(|record| self.example(&record.prompt, &record.response)).collect();
        *left_out += records.len() - examples.len();
        examples
    }

    /// The comparisons that fit; the others are noted.
    pub fn rankings(&self, records: &Split<Comparison>, notes: &mut Vec<String>) -> Result<Split<Ranking>> {
        let mut left_out = 0;
        let mut rankings = |records: &[Comparison]| {
            let rankings: Vec<Option<Ranking>> =
                records.iter().map(|record| self.ranking(record)).collect::<Result<_>>()?;
            let rankings: Vec<Ranking> = rankings.into_iter().flatten().collect();
            left_out += records.len() - rankings.len();
            Ok(rankings)
        };
        let rankings = Split { train: rankings(&records.train)?, validation: rankings(&records.validation)? };
        self.note("comparisons", left_out, notes);
        Ok(rankings)
    }

    /// Sampled tokens are taken as they are, texts are encoded. `None` if anything is too long.
    fn ranking(&self, record: &Comparison) -> Result<Option<Ranking>> {
        let responses: Option<Vec<Example>> = match &record.tokens {
            Some(ComparisonTokens { prompt, responses }) => {
                let tokens = prompt.iter().chain(responses.iter().flatten());
                self.check_tokens(tokens.max().copied().unwrap_or(0))?;
                responses.iter().map(|response| self.sampled(prompt, response)).collect()
            }
            None => record.responses.iter().map(|response| self.example(&record.prompt, response)).collect(),
        };
        Ok(responses.map(|responses| Ranking::new(responses, record.ranks.clone())))
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

    /// The prompts of at most `limit` tokens; `left_out` counts the others.
    pub fn prompts(&self, records: &[Prompt], limit: usize, left_out: &mut usize) -> Vec<Vec<u32>> {
        let prompts: Vec<Vec<u32>> = records
            .iter()
            .map(|record| self.tokenizer.encode(&record.prompt))
            .filter(|tokens| (1..=limit).contains(&tokens.len()))
            .collect();
        *left_out += records.len() - prompts.len();
        prompts
    }

    /// Says how many were left out, if any.
    pub fn note(&self, what: &str, left_out: usize, notes: &mut Vec<String>) {
        if left_out > 0 {
            let (prompt, response) = (self.max_prompt, self.max_response);
            notes.push(format!(
                "{left_out} {what} left out: longer than {prompt} prompt or {response} response tokens, or empty"
            ));
        }
    }
}
