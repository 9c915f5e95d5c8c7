//! What a run starts from: the model's shape, the tokenizer, the data, the built-in miniature.

use std::collections::BTreeMap;

use super::section::{any, at_least_one, below_one, none_or_at_least_one, positive, section};
use crate::data::pii::PiiRule;
use crate::data::reader::NAMES;
use crate::data::{InstructionTemplate, PromptForms};
use crate::model::{Activation, AttentionPattern, Family, ModelConfig, Precision};

section! {
    /// The shape of a model that is trained from random weights. A stage that starts from a model
    /// directory (`init_from`) takes the shape from there instead.
    ModelSettings = "model" {
        /// Longest sequence, in tokens. Paper: 2048 (appendix C).
        context: usize = 2048, at_least_one;
        /// Width of the residual stream. GPT-3 XL (the paper's 1.3B): 2048; here GPT-2's smallest.
        width: usize = 768, at_least_one;
        /// Blocks. GPT-3 XL: 24.
        layers: usize = 12, at_least_one;
        /// Attention heads; divides the width. GPT-3 XL: 24 (Stiennon et al. 2020: 16).
        heads: usize = 12, at_least_one;
        /// Inner width of the MLP; not set: 4 times the width, as in GPT-2 and GPT-3.
        inner: Option<usize> = None, none_or_at_least_one;
        /// Added to the variance in every layer norm. GPT-2: 1e-5.
        layer_norm_epsilon: f32 = 1e-5, positive;
        /// "gelu_tanh" (GPT-2, GPT-3) or "gelu" (exact, with erf).
        activation: Activation = Activation::GeluTanh, any;
        /// Tokens that every second layer sees, its own included (GPT-3's alternation of dense and
        /// banded layers; the band's width is not printed). 0: every layer sees everything.
        attention_window: usize = 0, any;
        /// Standard deviation of the first weights. GPT-2: 0.02. At small widths 1/sqrt(width) is better: with 0.02 the
        /// products of two weight matrices are so small that a model of width 100 is slow to learn to copy.
        initializer_range: f32 = 0.02, positive;
        /// Whether the language-model head is the token embedding (GPT-2: yes).
        tied_head: bool = true, any;
    }
}

impl ModelSettings {
    /// The shape with `vocab_size` tokens (the tokenizer decides that number), computing in `precision`; not yet
    /// validated.
    pub fn config(&self, vocab_size: usize, precision: Precision) -> ModelConfig {
        ModelConfig {
            family: Family::Gpt2,
            vocab_size,
            context: self.context,
            width: self.width,
            layers: self.layers,
            heads: self.heads,
            inner: self.inner.unwrap_or(self.width.saturating_mul(4)),
            layer_norm_epsilon: self.layer_norm_epsilon,
            activation: self.activation,
            attention: match self.attention_window {
                0 => AttentionPattern::Dense,
                window => AttentionPattern::Alternating { window },
            },
            tied_head: self.tied_head,
            precision,
            pad_token: None,
        }
    }
}

section! {
    /// The byte-level BPE that every model of the run shares.
    TokenizerSettings = "tokenizer" {
        /// Tokens to train for, `<|endoftext|>` and the 256 bytes included. Paper: 50257, GPT-3's own.
        vocab_size: usize = 50257, |&n: &usize| (n < 257).then_some("at least 257: 256 bytes and <|endoftext|>");
        /// A model directory whose tokenizer is used instead of training one.
        from: Option<String> = None, any;
    }
}

section! {
    /// Where the data comes from. Paths are relative to `--data`, or to this file's folder.
    DataSettings = "data" {
        /// Join documents end to end, so that a sequence of pretraining text may hold several, as GPT-3's do. `false`: a
        /// sequence keeps to one document, and is shorter than the context where that is.
        join_documents: bool = true, any;
        /// Use the built-in miniature (section `world`) instead of files.
        world: bool = false, any;
        /// Texts: plain, with documents separated by `<|endoftext|>`, or JSONL `{"text"}`; `.gz` of any. The content
        /// decides, not the name.
        pretraining: Vec<String> = Vec::new(), any;
        /// Demonstrations: JSONL `{"prompt","response"}` or Alpaca-style JSON.
        demonstrations: Vec<String> = Vec::new(), any;
        /// Comparisons: JSONL `{"prompt","responses","ranks"}`, `{"prompt","chosen","rejected"}` or
        /// hh-rlhf dialogues.
        comparisons: Vec<String> = Vec::new(), any;
        /// Prompts for PPO: JSONL `{"prompt"}`. Empty: the demonstrations' prompts are used.
        prompts: Vec<String> = Vec::new(), any;
        /// What joins prompt and response of records with a field "prompt": it is put at the end of each such prompt,
        /// before the response, as in "\n" or "\nAnswer:". Empty: the response follows at once. Records with an
        /// "instruction" have the template instead, and dialogues their "Assistant:". Paper: not printed.
        joint: String = String::new(), any;
        /// How your files call the fields that docs/data.md names, as in `{ prompt = "question", response = "answer" }`:
        /// ours first, for columns of CSV and TSV tables and for fields of JSON. Empty: as we do.
        columns: BTreeMap<String, String> = BTreeMap::new(), known_columns;
        /// The prompt of a record with an "instruction" begins with this, and the instruction follows. Paper: none
        /// printed; the words of Alpaca (Taori et al. 2023).
        template_instruction: String = InstructionTemplate::default().instruction, any;
        /// This stands between the instruction and its "input"; left out where there is no input. Alpaca.
        template_input: String = InstructionTemplate::default().input, any;
        /// This ends the prompt, and the answer follows. Alpaca.
        template_response: String = InstructionTemplate::default().response, any;
        /// Share of users (of prompts, where no user is named; of documents) held out to choose by: SFT's epoch, and
        /// all losses and rewards while a stage trains. Paper: validation has 0.11 of the demonstrations, 0.35 of the
        /// comparisons and 0.34 of PPO's prompts; split by user (section 3.2, table 6).
        validation_fraction: f32 = 0.1, below_one;
        /// Share held out to report by, which nothing is chosen by: the evaluation and the results of the stages.
        /// Not set: as `validation_fraction`. Paper: a test set of 3196 prompts (table 9).
        test_fraction: Option<f32> = None, |share: &Option<f32>| share.as_ref().and_then(below_one);
        /// Longer prompts are left out, in tokens. Paper: 1000 (appendix C). A configuration that does not set
        /// it gets less where the context is shorter: half of it, or what `max_response_tokens` leaves.
        max_prompt_tokens: usize = 1000, at_least_one;
        /// Longest response, in tokens; longer ones are left out. Paper: 1000 (appendix C). Not set: as above.
        max_response_tokens: usize = 1000, at_least_one;
        /// Most prompts taken from one user, for each kind of data; all answers to a prompt count once.
        /// Paper: 200 (section 3.2).
        prompts_per_user: usize = 200, at_least_one;
        /// Of prompts whose first so many characters agree, only the first is taken, for each kind of data, with all
        /// answers to it. White space and the template's words do not count. 0: off. Paper: "prompts that
        /// share a long common prefix", without the length (section 3.2); 200 leaves out 3 % of hh-rlhf's dialogues.
        deduplicate_prefix: usize = 200, any;
        /// What is done with personal data in the demonstrations, comparisons and prompts that are trained on: "keep" it,
        /// "replace" it by words such as `[email]`, or "drop" the record. docs/data.md says what is found, and what is not.
        /// Paper: filtered from the training split (section 3.2), it does not say how.
        pii: PiiRule = PiiRule::Keep, any;
    }
}

/// That the names on the left are ours.
fn known_columns(columns: &BTreeMap<String, String>) -> Option<&'static str> {
    let known = columns.keys().all(|ours| NAMES.contains(&ours.as_str()));
    (!known).then_some(
        "our names on the left: prompt, response, instruction, input, output, chosen, rejected, responses, ranks, \
         answer1, answer2, user, labeler, use_case, marks or set",
    )
}

impl DataSettings {
    /// The test's share: `test_fraction`, or where that is not set validation's.
    pub fn test_fraction(&self) -> f32 {
        self.test_fraction.unwrap_or(self.validation_fraction)
    }
}

impl DataSettings {
    /// How records become prompts.
    pub fn prompt_forms(&self) -> PromptForms {
        let DataSettings { joint, columns, template_instruction, template_input, template_response, .. } =
            self;
        let template = InstructionTemplate::new(template_instruction, template_input, template_response);
        PromptForms { template, joint: joint.clone(), columns: columns.clone() }
    }
}

section! {
    /// The built-in miniature of the paper's data, made from the seed; no files. The counts are of what trains, before the
    /// paper's filters (`data.prompts_per_user`, `data.deduplicate_prefix`); the shares of section `data` are held out
    /// beside it (of prompts, at least as many as PPO looks at in a validation).
    WorldSettings = "world" {
        /// Documents of pretraining text.
        documents: usize = 4000, at_least_one;
        /// Demonstrations by labelers. Paper: 12725 (table 6).
        demonstrations: usize = 1000, at_least_one;
        /// Prompts whose responses are ranked. Paper: 33207 (table 6).
        comparisons: usize = 1000, at_least_one;
        /// Prompts for PPO. Paper: 31144 (table 6).
        prompts: usize = 1000, at_least_one;
    }
}
