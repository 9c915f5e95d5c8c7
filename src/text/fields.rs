//! Every field of a model directory that `transformers` 5 acts on for GPT-2 and GPT-Neo, and what becomes of it here.
//! What would change a number or a token is used, or refused by name; what we leave out on purpose is said in a note;
//! the rest has no effect on what this program does, and says why. A field that no table knows is named in a note.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use serde_json::{Map, Value};

use super::json;
use crate::error::{Error, Result};

/// What becomes of a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Treatment {
    /// Read, and acted upon as `transformers` does.
    Used,
    /// Only these values, as JSON (absent and `null` always); any other is refused with that hint.
    Only(&'static [&'static str], &'static str),
    /// Not acted upon; a note says so, and what to do, unless it has one of these values, as JSON.
    Noted(&'static [&'static str], &'static str),
    /// It changes nothing here, for this reason.
    NoEffect(&'static str),
}

use Treatment::{NoEffect, Noted, Only, Used};

/// A file's fields.
pub type Table = &'static [(&'static str, Treatment)];

const ARITHMETIC: &str = "this option changes the model's arithmetic and is not supported";
const TRAINING: &str = "it concerns training in transformers; a run has settings of its own";
const INTERFACE: &str = "it says how transformers hands results over";
const OTHER_HEADS: &str = "it concerns heads that are not read here";
const RECORD: &str = "it records where the model came from";
const IN_GENERATION: &str = "transformers 5 reads it from generation_config.json only";

/// `config.json`, of both families; what each has of its own is in [`GPT_2`] and [`GPT_NEO`].
pub const CONFIG: Table = &[
    ("vocab_size", Used),
    ("max_position_embeddings", Used),
    ("hidden_size", Used),
    ("num_hidden_layers", Used),
    ("num_attention_heads", Used),
    ("activation_function", Used),
    ("layer_norm_epsilon", Used),
    ("tie_word_embeddings", Used),
    ("architectures", Used),
    ("num_labels", Used),
    ("id2label", Used),
    ("pad_token_id", Used),
    ("eos_token_id", Used),
    // Ours.
    ("precision", Used),
    ("model_type", Only(&["\"gpt2\"", "\"gpt_neo\""], "only GPT-2 and GPT-Neo directories can be loaded")),
    ("add_cross_attention", Only(&["false"], ARITHMETIC)),
    ("is_encoder_decoder", Only(&["false"], ARITHMETIC)),
    ("pruned_heads", Only(&["{}"], ARITHMETIC)),
    ("per_layer_config", Only(&["{}"], ARITHMETIC)),
    ("quantization_config", Only(&[], "load and save it unquantised first")),
    (
        "tokenizer_class",
        Only(
            &[
                "\"GPT2Tokenizer\"",
                "\"GPT2TokenizerFast\"",
                "\"PreTrainedTokenizerFast\"",
                "\"TokenizersBackend\"",
            ],
            "only GPT-2's byte-level BPE is read",
        ),
    ),
    ("problem_type", Only(&["\"regression\""], "a reward is one number")),
    ("torch_dtype", Noted(HALF_EXCEPT, HALF)),
    ("dtype", Noted(HALF_EXCEPT, HALF)),
    ("bos_token_id", NoEffect("an empty prompt begins with the tokenizer's <|endoftext|>")),
    ("sep_token_id", NoEffect("no such token is placed")),
    ("cls_token_id", NoEffect("no such token is placed")),
    ("decoder_start_token_id", NoEffect("there is no decoder beside an encoder")),
    ("label2id", NoEffect("a reward is one number")),
    ("initializer_range", NoEffect(TRAINING)),
    ("gradient_checkpointing", NoEffect(TRAINING)),
    ("summary_type", NoEffect(OTHER_HEADS)),
    ("summary_use_proj", NoEffect(OTHER_HEADS)),
    ("summary_activation", NoEffect(OTHER_HEADS)),
    ("summary_proj_to_labels", NoEffect(OTHER_HEADS)),
    ("summary_first_dropout", NoEffect(OTHER_HEADS)),
    ("use_cache", NoEffect(INTERFACE)),
    ("return_dict", NoEffect(INTERFACE)),
    ("output_attentions", NoEffect(INTERFACE)),
    ("output_hidden_states", NoEffect(INTERFACE)),
    ("tie_last_hidden_states", NoEffect(INTERFACE)),
    ("torchscript", NoEffect(INTERFACE)),
    ("chunk_size_feed_forward", NoEffect("rows of a product do not depend on each other")),
    ("use_bfloat16", NoEffect("it was TensorFlow's")),
    ("is_decoder", NoEffect("both families are one always")),
    ("tie_encoder_decoder", NoEffect("there is no encoder")),
    ("cross_attention_hidden_size", NoEffect("without add_cross_attention there is none")),
    ("attn_implementation", NoEffect("all of them are one function")),
    ("_attn_implementation", NoEffect("all of them are one function")),
    ("_attn_implementation_autoset", NoEffect("all of them are one function")),
    ("prefix", NoEffect("pipelines of older versions only")),
    ("task_specific_params", NoEffect("pipelines of older versions only")),
    ("finetuning_task", NoEffect(RECORD)),
    ("transformers_version", NoEffect(RECORD)),
    ("_name_or_path", NoEffect(RECORD)),
    ("name_or_path", NoEffect(RECORD)),
    ("_commit_hash", NoEffect(RECORD)),
    ("do_sample", NoEffect(IN_GENERATION)),
    ("temperature", NoEffect(IN_GENERATION)),
    ("top_k", NoEffect(IN_GENERATION)),
    ("top_p", NoEffect(IN_GENERATION)),
    ("typical_p", NoEffect(IN_GENERATION)),
    ("repetition_penalty", NoEffect(IN_GENERATION)),
    ("length_penalty", NoEffect(IN_GENERATION)),
    ("diversity_penalty", NoEffect(IN_GENERATION)),
    ("no_repeat_ngram_size", NoEffect(IN_GENERATION)),
    ("encoder_no_repeat_ngram_size", NoEffect(IN_GENERATION)),
    ("bad_words_ids", NoEffect(IN_GENERATION)),
    ("suppress_tokens", NoEffect(IN_GENERATION)),
    ("begin_suppress_tokens", NoEffect(IN_GENERATION)),
    ("forced_bos_token_id", NoEffect(IN_GENERATION)),
    ("forced_eos_token_id", NoEffect(IN_GENERATION)),
    ("exponential_decay_length_penalty", NoEffect(IN_GENERATION)),
    ("remove_invalid_values", NoEffect(IN_GENERATION)),
    ("return_dict_in_generate", NoEffect(IN_GENERATION)),
    ("output_scores", NoEffect(IN_GENERATION)),
    ("max_length", NoEffect(IN_GENERATION)),
    ("min_length", NoEffect(IN_GENERATION)),
    ("early_stopping", NoEffect(IN_GENERATION)),
    ("num_beams", NoEffect(IN_GENERATION)),
    ("num_beam_groups", NoEffect(IN_GENERATION)),
    ("num_return_sequences", NoEffect(IN_GENERATION)),
];

/// What only a GPT-2's `config.json` has.
pub const GPT_2: Table = &[
    ("n_positions", Used),
    ("n_ctx", Used),
    ("n_embd", Used),
    ("n_layer", Used),
    ("n_head", Used),
    ("n_inner", Used),
    // Ours.
    ("attention_window", Used),
    ("scale_attn_weights", Only(&["true"], ARITHMETIC)),
    ("scale_attn_by_inverse_layer_idx", Only(&["false"], ARITHMETIC)),
    ("reorder_and_upcast_attn", NoEffect("attention is f32 here")),
    ("attn_pdrop", NoEffect(TRAINING)),
    ("embd_pdrop", NoEffect(TRAINING)),
    ("resid_pdrop", NoEffect(TRAINING)),
    ("n_special", NoEffect("no version reads it")),
    ("predict_special_tokens", NoEffect("no version reads it")),
];

/// What only a GPT-Neo's `config.json` has.
pub const GPT_NEO: Table = &[
    ("num_layers", Used),
    ("num_heads", Used),
    ("intermediate_size", Used),
    ("attention_types", Used),
    ("attention_layers", Used),
    ("window_size", Used),
    ("attention_dropout", NoEffect(TRAINING)),
    ("embed_dropout", NoEffect(TRAINING)),
    ("resid_dropout", NoEffect(TRAINING)),
    ("classifier_dropout", NoEffect(OTHER_HEADS)),
];

const HALF_EXCEPT: &[&str] = &["\"float32\"", "\"float64\"", "\"auto\""];
const HALF: &str =
    "transformers 5 computes in it, this program in f32 (--precision bf16 rounds each product's operands)";

const FLAG: &str = "the flags of the command decide, and its defaults are others; give the flag to have it";
const NOT_DONE: &str = "this is not done here";

/// `generation_config.json`, of which `sample` and `chat` make use.
pub const GENERATION_CONFIG: Table = &[
    ("eos_token_id", Used),
    ("bos_token_id", NoEffect("an empty prompt begins with the tokenizer's <|endoftext|>")),
    ("pad_token_id", NoEffect("nothing is padded")),
    ("do_sample", Noted(&["true"], "without a --temperature of 0 these commands sample")),
    ("temperature", Noted(&["1", "1.0"], FLAG)),
    ("top_k", Noted(&["0"], FLAG)),
    ("top_p", Noted(&["1", "1.0"], FLAG)),
    ("max_new_tokens", Noted(&[], FLAG)),
    ("max_length", Noted(&["20"], "--max-new-tokens decides")),
    ("min_length", Noted(&["0"], NOT_DONE)),
    ("min_new_tokens", Noted(&["0"], NOT_DONE)),
    ("stop_strings", Noted(&["[]"], NOT_DONE)),
    ("max_time", Noted(&[], NOT_DONE)),
    ("num_beams", Noted(&["1"], NOT_DONE)),
    ("num_beam_groups", Noted(&["1"], NOT_DONE)),
    ("early_stopping", NoEffect("it concerns beams")),
    ("length_penalty", NoEffect("it concerns beams")),
    ("diversity_penalty", NoEffect("it concerns beams")),
    ("num_return_sequences", Noted(&["1"], "-n decides")),
    ("min_p", Noted(&["0", "0.0"], NOT_DONE)),
    ("top_h", Noted(&[], NOT_DONE)),
    ("typical_p", Noted(&["1", "1.0"], NOT_DONE)),
    ("epsilon_cutoff", Noted(&["0", "0.0"], NOT_DONE)),
    ("eta_cutoff", Noted(&["0", "0.0"], NOT_DONE)),
    ("repetition_penalty", Noted(&["1", "1.0"], NOT_DONE)),
    ("encoder_repetition_penalty", NoEffect("there is no encoder")),
    ("no_repeat_ngram_size", Noted(&["0"], NOT_DONE)),
    ("encoder_no_repeat_ngram_size", NoEffect("there is no encoder")),
    ("bad_words_ids", Noted(&["[]"], NOT_DONE)),
    ("force_words_ids", Noted(&["[]"], NOT_DONE)),
    ("constraints", Noted(&["[]"], NOT_DONE)),
    ("suppress_tokens", Noted(&["[]"], NOT_DONE)),
    ("begin_suppress_tokens", Noted(&["[]"], NOT_DONE)),
    ("forced_bos_token_id", Noted(&[], NOT_DONE)),
    ("forced_eos_token_id", Noted(&[], NOT_DONE)),
    ("exponential_decay_length_penalty", Noted(&[], NOT_DONE)),
    ("sequence_bias", Noted(&["[]", "{}"], NOT_DONE)),
    ("guidance_scale", Noted(&["1", "1.0"], NOT_DONE)),
    ("penalty_alpha", Noted(&["0", "0.0"], NOT_DONE)),
    ("dola_layers", Noted(&[], NOT_DONE)),
    ("watermarking_config", Noted(&[], NOT_DONE)),
    ("token_healing", Noted(&["false"], NOT_DONE)),
    ("remove_invalid_values", NoEffect("numbers that are not finite are an error here")),
    ("renormalize_logits", NoEffect("a draw does not depend on it")),
    ("decoder_start_token_id", NoEffect("there is no decoder beside an encoder")),
    ("use_cache", NoEffect(SPEED)),
    ("use_mtp", NoEffect(SPEED)),
    ("cache_implementation", NoEffect(SPEED)),
    ("cache_config", NoEffect(SPEED)),
    ("max_cache_len", NoEffect(SPEED)),
    ("low_memory", NoEffect(SPEED)),
    ("prefill_chunk_size", NoEffect(SPEED)),
    ("compile_config", NoEffect(SPEED)),
    ("disable_compile", NoEffect(SPEED)),
    ("continuous_batching_config", NoEffect(SPEED)),
    ("is_assistant", NoEffect(SPEED)),
    ("num_assistant_tokens", NoEffect(SPEED)),
    ("num_assistant_tokens_schedule", NoEffect(SPEED)),
    ("assistant_confidence_threshold", NoEffect(SPEED)),
    ("assistant_early_exit", NoEffect(SPEED)),
    ("assistant_lookbehind", NoEffect(SPEED)),
    ("assistant_ensemble_weight", NoEffect(SPEED)),
    ("target_lookbehind", NoEffect(SPEED)),
    ("speculation_type", NoEffect(SPEED)),
    ("prompt_lookup_num_tokens", NoEffect(SPEED)),
    ("max_matching_ngram_size", NoEffect(SPEED)),
    ("output_attentions", NoEffect(INTERFACE)),
    ("output_hidden_states", NoEffect(INTERFACE)),
    ("output_scores", NoEffect(INTERFACE)),
    ("output_logits", NoEffect(INTERFACE)),
    ("return_dict_in_generate", NoEffect(INTERFACE)),
    ("transformers_version", NoEffect(RECORD)),
    ("_from_model_config", NoEffect(RECORD)),
    ("_commit_hash", NoEffect(RECORD)),
];

const SPEED: &str = "it concerns the speed of transformers";

/// `tokenizer_config.json`, and the fields of `special_tokens_map.json` with it.
pub const TOKENIZER_CONFIG: Table = &[
    (
        "tokenizer_class",
        Only(
            &[
                "\"GPT2Tokenizer\"",
                "\"GPT2TokenizerFast\"",
                "\"PreTrainedTokenizerFast\"",
                "\"TokenizersBackend\"",
            ],
            "only GPT-2's byte-level BPE is read",
        ),
    ),
    ("add_prefix_space", Used),
    ("add_bos_token", Used),
    ("add_eos_token", Used),
    ("added_tokens_decoder", Used),
    ("bos_token", Used),
    ("eos_token", Used),
    ("unk_token", Used),
    ("sep_token", Used),
    ("pad_token", Used),
    ("cls_token", Used),
    ("mask_token", Used),
    ("extra_special_tokens", Used),
    ("additional_special_tokens", Used),
    ("split_special_tokens", Used),
    ("chat_template", Noted(&["\"\""], CHAT_TEMPLATE)),
    ("auto_map", Only(&[], "code that comes with a model is not run")),
    ("fast_tokenizer_files", Only(&["[]"], "only tokenizer.json is read")),
    ("model_specific_special_tokens", Only(&["{}"], "list them in extra_special_tokens")),
    ("fix_mistral_regex", Only(&["false"], "only GPT-2's byte-level BPE is read")),
    ("errors", NoEffect("transformers 5 does not read it; bytes that are no text become U+FFFD")),
    ("clean_up_tokenization_spaces", NoEffect("transformers 5 does not do it for BPE")),
    (
        "clean_up_tokenization_spaces_for_bpe_even_though_it_will_corrupt_output",
        Noted(&["false"], "text comes out as the tokens have it"),
    ),
    ("model_max_length", NoEffect("the model's context is the limit")),
    ("max_len", NoEffect("the model's context is the limit")),
    ("max_length", NoEffect(NEITHER_CUT)),
    ("padding_side", NoEffect(NEITHER_CUT)),
    ("truncation_side", NoEffect(NEITHER_CUT)),
    ("truncation_strategy", NoEffect(NEITHER_CUT)),
    ("stride", NoEffect(NEITHER_CUT)),
    ("pad_to_multiple_of", NoEffect(NEITHER_CUT)),
    ("pad_token_type_id", NoEffect(NEITHER_CUT)),
    ("model_input_names", NoEffect(INTERFACE)),
    ("processor_class", NoEffect(INTERFACE)),
    ("response_template", NoEffect(INTERFACE)),
    ("response_schema", NoEffect(INTERFACE)),
    ("chat_control_tokens", NoEffect("it concerns chat templates")),
    ("verbose", NoEffect(INTERFACE)),
    ("backend", NoEffect(RECORD)),
    ("files_loaded", NoEffect(RECORD)),
    ("is_local", NoEffect(RECORD)),
    ("local_files_only", NoEffect(RECORD)),
    ("name_or_path", NoEffect(RECORD)),
    ("special_tokens_map_file", NoEffect(RECORD)),
    ("tokenizer_file", NoEffect(RECORD)),
    ("vocab_file", NoEffect(RECORD)),
    ("merges_file", NoEffect(RECORD)),
    ("init_inputs", NoEffect(RECORD)),
    ("use_fast", NoEffect("transformers 5 has one kind")),
    ("legacy", NoEffect("it concerns other tokenizers")),
    ("trim_offsets", NoEffect("places in the text are not given")),
];

/// What is said of a chat template that is not one of ours.
pub const CHAT_TEMPLATE: &str =
    "chat templates are not read here (only prompt_format.json is), so prompts are used as they are";
const NEITHER_CUT: &str = "texts are neither cut nor padded";

/// `tokenizer.json`, with `.` between an object's name and a field in it.
pub const TOKENIZER_JSON: Table = &[
    ("added_tokens", Used),
    ("model.vocab", Used),
    ("model.merges", Used),
    ("model.type", Only(&["\"BPE\""], BPE)),
    ("model.dropout", Only(&["0", "0.0"], BPE)),
    ("model.continuing_subword_prefix", Only(&["\"\""], BPE)),
    ("model.end_of_word_suffix", Only(&["\"\""], BPE)),
    ("model.ignore_merges", Only(&["false"], BPE)),
    ("model.unk_token", NoEffect("every byte has a token, so none is unknown")),
    ("model.fuse_unk", NoEffect("every byte has a token, so none is unknown")),
    ("model.byte_fallback", NoEffect("every byte has a token, so none is unknown")),
    ("normalizer", Only(&[], BPE)),
    ("pre_tokenizer.type", Only(&["\"ByteLevel\""], BPE)),
    ("pre_tokenizer.use_regex", Only(&["true"], BPE)),
    ("pre_tokenizer.add_prefix_space", Used),
    ("pre_tokenizer.trim_offsets", NoEffect("places in the text are not given")),
    ("post_processor", Used),
    ("decoder.type", Only(&["\"ByteLevel\""], BPE)),
    ("truncation", NoEffect("transformers 5 switches it off in each call that does not ask for it")),
    ("padding", NoEffect("transformers 5 switches it off in each call that does not ask for it")),
    ("version", NoEffect(RECORD)),
];

const BPE: &str = "only GPT-2's byte-level BPE is read";

/// Unknown fields that a note names.
const SHOWN: usize = 8;

/// Looks every field up in the tables of its file: the notes that are due.
///
/// # Errors
/// [`Error::Format`] that names a field whose value is refused.
pub fn check(fields: &Map<String, Value>, tables: &[Table], origin: &str) -> Result<Vec<String>> {
    let mut notes = Vec::new();
    let mut unknown = Vec::new();
    for (name, value) in fields.iter().filter(|(_, value)| !value.is_null()) {
        match tables.iter().copied().flatten().find(|(known, _)| known == name) {
            None => unknown.push(shown(name)),
            Some((_, treatment)) => notes.extend(treatment.of(name, value, origin)?),
        }
    }
    if !unknown.is_empty() {
        let rest = unknown.len().saturating_sub(SHOWN);
        unknown.truncate(SHOWN);
        let more = if rest == 0 { String::new() } else { format!(" and {rest} more") };
        notes.push(format!("{origin}: not known here and not used: {}{more}", unknown.join(", ")));
    }
    Ok(notes)
}

impl Treatment {
    /// What it makes of a value: a note, if one is due.
    ///
    /// # Errors
    /// [`Error::Format`] if it is refused.
    pub fn of(self, name: &str, value: &Value, origin: &str) -> Result<Option<String>> {
        let is_one_of = |values: &[&str]| values.contains(&value.to_string().as_str());
        match self {
            Only(values, hint) if !is_one_of(values) => {
                let expected = if values.is_empty() { "nothing".to_string() } else { values.join(" or ") };
                Err(Error::format(origin, format!("field \"{name}\""), expected, brief(value), hint))
            }
            Noted(values, says) if !is_one_of(values) => {
                Ok(Some(format!("{origin}: {name} is {}: {says}", brief(value))))
            }
            _ => Ok(None),
        }
    }
}

/// What the table says of a field.
pub fn of(name: &str, table: Table) -> Treatment {
    table.iter().find(|(known, _)| *known == name).expect("a field of the table").1
}

/// A value for a message: scalars and short strings in full, the rest by kind.
pub fn brief(value: &Value) -> String {
    let text = value.to_string();
    if text.chars().count() <= 80 { text } else { json::kind(value).to_string() }
}

/// A name for a message.
fn shown(name: &str) -> String {
    if name.chars().count() <= 40 { format!("\"{name}\"") } else { "a long one".to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::collections::BTreeSet;
    use serde_json::json;

    fn checked(tables: &[Table], fields: Value) -> Result<Vec<String>> {
        check(fields.as_object().unwrap(), tables, "f")
    }

    #[test]
    fn each_field_stands_in_its_table_once() {
        let tables: [&[Table]; 5] = [
            &[CONFIG, GPT_2],
            &[CONFIG, GPT_NEO],
            &[GENERATION_CONFIG],
            &[TOKENIZER_CONFIG],
            &[TOKENIZER_JSON],
        ];
        for tables in tables.map(|tables| tables.concat()) {
            let names: BTreeSet<&str> = tables.iter().map(|row| row.0).collect();
            assert_eq!(names.len(), tables.len());
        }
    }

    #[test]
    fn values_are_taken_refused_or_noted() {
        let taken = json!({"n_ctx": 3, "scale_attn_weights": true, "dtype": "float32", "attn_pdrop": 0.1, "pruned_heads": null});
        assert!(checked(&[CONFIG, GPT_2], taken).unwrap().is_empty());
        let error = checked(&[CONFIG, GPT_2], json!({"scale_attn_weights": false})).unwrap_err().to_string();
        assert!(error.starts_with("f: field \"scale_attn_weights\": expected true, found false"), "{error}");
        let error = checked(&[CONFIG], json!({"quantization_config": {"bits": 4}})).unwrap_err().to_string();
        assert!(error.contains("expected nothing, found {\"bits\":4}"), "{error}");
        let notes = checked(&[CONFIG], json!({"dtype": "bfloat16", "rope_theta": 1, "x": "y"})).unwrap();
        assert!(notes[0].starts_with("f: dtype is \"bfloat16\": transformers 5 computes in it"), "{notes:?}");
        assert_eq!(notes[1..], ["f: not known here and not used: \"rope_theta\", \"x\""]);
        let notes =
            checked(&[GENERATION_CONFIG], json!({"top_k": 50, "temperature": 1.0, "num_beams": 2})).unwrap();
        assert_eq!(notes.len(), 2, "{notes:?}");
    }
}
