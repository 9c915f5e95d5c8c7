//! Byte-level BPE as GPT-2 has it (Radford et al., 2019, section 2.2): any bytes become token ids and
//! come back unchanged.
//!
//! | file | what it holds |
//! |---|---|
//! | [`bytes`] | the printable character that stands for each byte in the files |
//! | [`split`] | cutting text into words, which no token crosses |
//! | `table` | the one hash table, built once and only looked up in |
//! | `encode` | merging a word's bytes into tokens |
//! | [`decode`] | bytes and text of tokens, whole or as they arrive |
//! | `added` | strings that stand for a token wherever they occur |
//! | `files` | reading `vocab.json` with `merges.txt`, or `tokenizer.json` |
//! | [`encoding`] | UTF-8, its byte order mark, and what is neither |
//! | [`fields`] | every field of a model directory, and what becomes of it |
//! | [`hub`] | a tokenizer with all its settings, as a Hugging Face directory has it |
//! | [`prompt_format`] | what stands around a request and its answer |
//! | `export` | writing all of it, for `transformers` |
//! | [`json`] | JSON whose objects have each key once, for these and all other files |
//! | `train` | learning merges from text (feature `std`) |
//!
//! A token that no merge makes never comes out of encoding unless a file declares it as an added token; then its
//! string stands for it. `<|endoftext|>` never comes out: inside a text its characters are plain characters, and only
//! the program places its id. (`transformers` places it.)

mod added;
pub mod bytes;
pub mod decode;
mod encode;
pub mod encoding;
mod export;
pub mod fields;
mod files;
pub mod hub;
pub mod json;
pub mod prompt_format;
pub mod split;
mod table;
#[cfg(feature = "std")]
mod train;

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use added::AddedTokens;
use encode::{Merge, Merges};
pub use hub::{TextFile, TokenizerFiles};
pub use prompt_format::PromptFormat;
use table::{Index, hash_bytes};

/// The text of the one special token: it ends a document or a response and separates documents.
pub const END_OF_TEXT: &str = "<|endoftext|>";

/// One more than the largest token id that is accepted, so that a hostile file cannot ask for the memory.
pub const MAX_VOCAB_SIZE: usize = 1 << 22;

/// A byte-level BPE vocabulary with its merges. Immutable, and so shared between threads freely.
#[derive(Clone)]
pub struct Tokenizer {
    /// The bytes of each token, by id; `None` where the vocabulary leaves an id out.
    tokens: Vec<Option<Box<[u8]>>>,
    /// The texts, as in the file, of the tokens that no merge makes; the other texts follow from the bytes.
    unmade: BTreeMap<u32, String>,
    /// The id of each single byte.
    byte_ids: [u32; 256],
    merges: Merges,
    /// The tokens whose own bytes encode to nothing but themselves: nearly every word of a usual text.
    whole_words: Index,
    end_of_text: u32,
    /// The strings that stand for tokens.
    added: AddedTokens,
    /// Whether a space is put before a text that does not begin with one.
    prefix_space: bool,
    /// Special tokens around a whole text.
    before: Vec<u32>,
    after: Vec<u32>,
    /// How the model that goes with it wants to be asked, if that is known.
    pub prompt_format: Option<PromptFormat>,
}

impl Tokenizer {
    /// Builds the tables. The parts are checked before: every byte has a token, every id is in `tokens`,
    /// and the result of a merge has the bytes of its two sides.
    fn assemble(
        tokens: Vec<Option<Box<[u8]>>>,
        unmade: BTreeMap<u32, String>,
        byte_ids: [u32; 256],
        merges: Vec<Merge>,
        end_of_text: u32,
    ) -> Tokenizer {
        let merges = Merges::new(merges);
        let whole_words = Index::with_capacity(tokens.len());
        let mut tokenizer = Tokenizer {
            tokens,
            unmade,
            byte_ids,
            merges,
            whole_words,
            end_of_text,
            added: AddedTokens::default(),
            prefix_space: false,
            before: Vec::new(),
            after: Vec::new(),
            prompt_format: None,
        };
        let (mut symbols, mut whole) = (Vec::new(), Vec::new());
        for id in 0..tokenizer.tokens.len() as u32 {
            if let Some(token) = tokenizer.token(id) {
                tokenizer.merge_word(token, &mut symbols);
                if symbols == [id] {
                    whole.push((hash_bytes(token), id));
                }
            }
        }
        for (hash, id) in whole {
            tokenizer.whole_words.insert(hash, id);
        }
        tokenizer
    }

    /// `V`: one more than the largest token id.
    pub fn vocab_size(&self) -> usize {
        self.tokens.len()
    }

    /// The id of `<|endoftext|>`.
    pub fn end_of_text(&self) -> u32 {
        self.end_of_text
    }

    /// The special tokens that belong before and after a whole text, such as `bos`; usually none.
    pub fn around_a_text(&self) -> (&[u32], &[u32]) {
        (&self.before, &self.after)
    }

    /// The same without special tokens around a text.
    pub fn without_tokens_around(mut self) -> Tokenizer {
        (self.before, self.after) = (Vec::new(), Vec::new());
        self
    }

    /// The token of an added token's string.
    fn id_of_added(&self, content: &str) -> Option<u32> {
        self.added.list.iter().find(|token| token.content == content).map(|token| token.id)
    }

    /// The bytes of a token; `None` for an id that the vocabulary does not have.
    pub fn token(&self, id: u32) -> Option<&[u8]> {
        self.tokens.get(id as usize)?.as_deref()
    }
}

/// The sizes only: nobody reads fifty thousand tokens in a message.
impl fmt::Debug for Tokenizer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sizes = (self.vocab_size(), self.merges.by_rank().len());
        f.debug_struct("Tokenizer")
            .field("vocab_size", &sizes.0)
            .field("merges", &sizes.1)
            .finish_non_exhaustive()
    }
}
