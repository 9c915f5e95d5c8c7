//! The one table of parameters. Optimizer, checkpoint, EMA, export, initialisation and fixtures all read
//! it; nothing else knows an offset.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::ops::Range;

use super::config::ModelConfig;
use crate::engine::{Linear, Norm, WeightMatrix};

/// What stands on top of the trunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Head {
    /// Next-token logits: the tied token embedding, or `lm_head.weight (V, C)`.
    LanguageModel,
    /// One number per token, without bias: `score.weight (1, C)`. Reward model and value function.
    Scalar,
}

/// Standard deviation of GPT-2's first weights, under the name that Hugging Face gives it.
pub const INITIALIZER_RANGE: f32 = 0.02;

/// How a parameter starts.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Initialiser {
    /// All zero (biases).
    Zero,
    /// All one (layer-norm gains).
    One,
    /// Normal with mean 0 and this standard deviation.
    Normal(f32),
}

/// One row of the table.
#[derive(Debug, Clone, PartialEq)]
pub struct Parameter {
    /// Hugging Face's key for GPT-2, prefix included: `transformer.h.0.attn.c_attn.weight`. (In a GPT-Neo directory some
    /// have others.)
    pub name: String,
    /// Row-major shape. Weights are stored (inputs, outputs), as GPT-2's `Conv1D` has them.
    pub shape: Vec<usize>,
    /// First element in the flat buffers.
    pub offset: usize,
    /// Start value.
    pub initialiser: Initialiser,
    /// Whether weight decay applies (matrices and embeddings, not biases and layer norms).
    pub decay: bool,
}

impl Parameter {
    /// Number of elements.
    pub fn len(&self) -> usize {
        self.shape.iter().product()
    }

    /// True for a parameter without elements (none exists).
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Where it lies in the flat buffers.
    pub fn range(&self) -> Range<usize> {
        self.offset..self.offset + self.len()
    }
}

/// Where one block's parameters lie.
#[derive(Debug, Clone, PartialEq)]
pub struct BlockRanges {
    /// `ln_1`: weight (C), bias (C).
    pub ln_1: Norm,
    /// `attn.c_attn`: weight (C, 3C), queries, keys, values side by side; bias (3C), which a GPT-Neo lacks.
    pub attn: Linear,
    /// `attn.c_proj`: weight (C, C), bias (C).
    pub attn_proj: Linear,
    /// `ln_2`: weight (C), bias (C).
    pub ln_2: Norm,
    /// `mlp.c_fc`: weight (C, F), bias (F).
    pub fc: Linear,
    /// `mlp.c_proj`: weight (F, C), bias (C).
    pub fc_proj: Linear,
}

/// The table, and the offsets the model reads by name.
#[derive(Debug, Clone, PartialEq)]
pub struct Layout {
    /// All rows, by ascending offset, without gaps.
    pub parameters: Vec<Parameter>,
    /// Total number of elements.
    pub len: usize,
    /// `transformer.wte.weight (V, C)`.
    pub wte: Range<usize>,
    /// `transformer.wpe.weight (context, C)`.
    pub wpe: Range<usize>,
    /// One entry per block.
    pub blocks: Vec<BlockRanges>,
    /// `transformer.ln_f`: weight (C), bias (C).
    pub ln_f: Norm,
    /// The head's matrix: `wte` again when tied, `lm_head.weight (V, C)`, or `score.weight (1, C)`.
    pub head: Range<usize>,
}

impl Layout {
    /// Lays out the parameters of `config` with the given head.
    ///
    /// Initialisers are GPT-2's: embeddings N(0, 0.02) and N(0, 0.01) for positions, weights N(0, 0.02),
    /// the two projections into the residual stream scaled by `1/sqrt(2L)`; the scalar head is
    /// N(0, 1/sqrt(C+1)) (Stiennon et al. 2020, as `summarize-from-feedback` does it).
    pub fn new(config: &ModelConfig, head: Head) -> Self {
        let mut table = Table::default();
        let (v, c, f) = (config.vocab_size, config.width, config.inner);
        let residual = Initialiser::Normal(INITIALIZER_RANGE / libm::sqrtf(2.0 * config.layers as f32));
        let weight = Initialiser::Normal(INITIALIZER_RANGE);
        let attention_bias = config.attention_bias();

        let wte = table.push("transformer.wte.weight", &[v, c], weight);
        let wpe = table.push("transformer.wpe.weight", &[config.context, c], Initialiser::Normal(0.01));
        let blocks = (0..config.layers)
            .map(|layer| {
                let prefix = format!("transformer.h.{layer}");
                BlockRanges {
                    ln_1: table.norm(&format!("{prefix}.ln_1"), c),
                    attn: table.linear(&format!("{prefix}.attn.c_attn"), c, 3 * c, weight, attention_bias),
                    attn_proj: table.linear(&format!("{prefix}.attn.c_proj"), c, c, residual, true),
                    ln_2: table.norm(&format!("{prefix}.ln_2"), c),
                    fc: table.linear(&format!("{prefix}.mlp.c_fc"), c, f, weight, true),
                    fc_proj: table.linear(&format!("{prefix}.mlp.c_proj"), f, c, residual, true),
                }
            })
            .collect();
        let ln_f = table.norm("transformer.ln_f", c);
        let head = match head {
            Head::Scalar => {
                let deviation = 1.0 / libm::sqrtf(c as f32 + 1.0);
                table.push("score.weight", &[1, c], Initialiser::Normal(deviation))
            }
            Head::LanguageModel if config.tied_head => wte.clone(),
            Head::LanguageModel => table.push("lm_head.weight", &[v, c], weight),
        };
        let len = table.len();
        Layout { parameters: table.parameters, len, wte, wpe, blocks, ln_f, head }
    }

    /// C.
    pub fn width(&self) -> usize {
        self.ln_f.weight.len()
    }

    /// What the trunk's gradients are made of, in the order in which a backward goes on with it, but for the tokens and
    /// positions that it began with.
    pub fn backward_order(&self) -> impl Iterator<Item = Range<usize>> {
        let of_block = |at: &BlockRanges| {
            let [fc_proj, fc, attn_proj, attn] =
                [&at.fc_proj, &at.fc, &at.attn_proj, &at.attn].map(Linear::range);
            [fc_proj, fc, attn_proj, attn, at.ln_2.range(), at.ln_1.range()]
        };
        let blocks = self.blocks.iter().rev().flat_map(of_block);
        [self.ln_f.range()].into_iter().chain(blocks)
    }

    /// The matrices of a language model that every token is multiplied with.
    pub fn matrices(&self, config: &ModelConfig) -> Vec<WeightMatrix> {
        let matrix = |at: &Linear| WeightMatrix {
            at: at.weight.clone(),
            inputs: at.inputs(),
            outputs: at.outputs,
            transposed: false,
        };
        let of_block = |at: &BlockRanges| [&at.attn, &at.attn_proj, &at.fc, &at.fc_proj].map(matrix);
        let (at, inputs, outputs) = (self.head.clone(), config.width, config.vocab_size);
        let head = WeightMatrix { at, inputs, outputs, transposed: true };
        self.blocks.iter().flat_map(of_block).chain([head]).collect()
    }

    /// The row named `name`, if there is one.
    pub fn get(&self, name: &str) -> Option<&Parameter> {
        self.parameters.iter().find(|parameter| parameter.name == name)
    }

    /// The name of the parameter that element `index` of the flat buffer belongs to.
    pub fn name_of(&self, index: usize) -> &str {
        let row = self.parameters.partition_point(|parameter| parameter.offset <= index);
        &self.parameters[row - 1].name
    }
}

#[derive(Default)]
struct Table {
    parameters: Vec<Parameter>,
}

impl Table {
    fn len(&self) -> usize {
        self.parameters.last().map_or(0, |last| last.range().end)
    }

    /// A layer norm of width `c`.
    fn norm(&mut self, name: &str, c: usize) -> Norm {
        let weight = self.push(&format!("{name}.weight"), &[c], Initialiser::One);
        Norm { weight, bias: self.push(&format!("{name}.bias"), &[c], Initialiser::Zero) }
    }

    /// A linear layer, with a bias or without.
    fn linear(
        &mut self,
        name: &str,
        inputs: usize,
        outputs: usize,
        initialiser: Initialiser,
        bias: bool,
    ) -> Linear {
        let weight = self.push(&format!("{name}.weight"), &[inputs, outputs], initialiser);
        let bias = bias.then(|| self.push(&format!("{name}.bias"), &[outputs], Initialiser::Zero));
        Linear { weight, outputs, bias }
    }

    fn push(&mut self, name: &str, shape: &[usize], initialiser: Initialiser) -> Range<usize> {
        let parameter = Parameter {
            name: name.to_string(),
            shape: shape.to_vec(),
            offset: self.len(),
            initialiser,
            decay: shape.len() == 2,
        };
        let range = parameter.range();
        self.parameters.push(parameter);
        range
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What each kind of parameter starts from, by the end of its name. Of two layers, a projection into the residual
    /// stream has half the deviation of other weights; the scalar head of width 8 has 1/3.
    #[test]
    fn parameters_start_as_gpt_2_s_and_the_scalar_head_as_stiennon_s() {
        let config = ModelConfig { tied_head: false, ..ModelConfig::gpt2(11, 6, 8, 2, 2) };
        let expected = |name: &str| match name {
            "transformer.wpe.weight" => Initialiser::Normal(0.01),
            "score.weight" => Initialiser::Normal(1.0 / 3.0),
            _ if name.ends_with(".bias") => Initialiser::Zero,
            _ if name.contains(".ln_") => Initialiser::One,
            _ if name.contains(".c_proj.") => Initialiser::Normal(0.01),
            _ => Initialiser::Normal(0.02),
        };
        for head in [Head::LanguageModel, Head::Scalar] {
            let layout = Layout::new(&config, head);
            assert_eq!(layout.parameters.len(), 2 + 2 * 12 + 2 + 1);
            for row in &layout.parameters {
                assert_eq!(row.initialiser, expected(&row.name), "{}", row.name);
                assert_eq!(row.decay, row.shape.len() == 2, "{}", row.name);
            }
        }
    }
}
