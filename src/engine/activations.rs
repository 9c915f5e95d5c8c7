//! The one table of activations: every buffer that a pass through a transformer keeps, with its width, how long it is
//! kept and whose output it is. Memory, views of rows and messages all read it; nothing else lists a buffer.
//!
//! Each buffer has a row for every token of the batch (N). Buffers written (N; NH, HS) are head-major within each
//! sequence, see [`attention`](super::cpu::attention).

/// What decides how wide a buffer is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Widths {
    /// `C`, the width of the residual stream.
    pub width: usize,
    /// `F`, the inner width of the MLP.
    pub inner: usize,
    /// `NH`, the attention heads.
    pub heads: usize,
}

/// How long a buffer's content is needed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kept {
    /// Until the layer's backward: one for each layer. A pass without a backward has one for all.
    Layer,
    /// Until the next layer writes it: one for all layers.
    Pass,
    /// As [`Kept::Pass`], but only a pass with a backward has it.
    Backward,
}

/// One row of the table.
#[derive(Debug, Clone, Copy)]
pub struct Activation {
    /// How long it is kept.
    pub kept: Kept,
    /// Floats per token row.
    pub width: fn(Widths) -> usize,
    /// The layer whose output it is, as Hugging Face names it; empty for what is no layer's.
    pub layer: &'static str,
}

macro_rules! table {
    ($($(#[$doc:meta])* $name:ident: $kept:ident, $width:expr, $layer:literal;)*) => {
        /// The name of a buffer: a row of [`TABLE`].
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Name { $($(#[$doc])* $name),* }

        /// All buffers, in the order in which a pass writes them.
        pub const TABLE: [Activation; COUNT] =
            [$(Activation { kept: Kept::$kept, width: $width, layer: $layer }),*];

        /// Their names, in the same order.
        pub const NAMES: [Name; COUNT] = [$(Name::$name),*];

        /// How many there are.
        pub const COUNT: usize = [$(Name::$name),*].len();
    };
}

table! {
    /// The residual stream that enters the block, (N, C).
    X: Layer, |w| w.width, "";
    /// First layer norm's output, (N, C).
    Ln1: Layer, |w| w.width, "ln_1";
    /// Its mean and 1/deviation, (N, 2).
    Ln1Stats: Layer, |_| 2, "";
    /// Queries, keys and values side by side, (N, 3C); in the backward their gradient.
    Qkv: Pass, |w| 3 * w.width, "";
    /// Queries, (N; NH, HS).
    Q: Layer, |w| w.width, "attn.c_attn";
    /// Keys, (N; NH, HS).
    K: Layer, |w| w.width, "attn.c_attn";
    /// Values, (N; NH, HS).
    V: Layer, |w| w.width, "attn.c_attn";
    /// Attention's output, (N; NH, HS).
    Heads: Pass, |w| w.width, "";
    /// Maximum and 1/sum of every softmax, (N; NH, 2).
    HeadsStats: Layer, |w| 2 * w.heads, "";
    /// Attention's output as token rows, (N, C).
    Attention: Layer, |w| w.width, "attn";
    /// A branch before it joins the residual stream, (N, C); in the backward the gradient of attention's.
    Branch: Pass, |w| w.width, "";
    /// The residual stream between attention and MLP, (N, C).
    XMiddle: Layer, |w| w.width, "attn.c_proj";
    /// Second layer norm's output, (N, C).
    Ln2: Layer, |w| w.width, "ln_2";
    /// Its mean and 1/deviation, (N, 2).
    Ln2Stats: Layer, |_| 2, "";
    /// The MLP before GELU, (N, F).
    Fc: Layer, |w| w.inner, "mlp.c_fc";
    /// The MLP after GELU, (N, F).
    Gelu: Layer, |w| w.inner, "mlp.act";
    /// The residual stream that leaves the block, (N, C): the next layer's [`Name::X`].
    XOut: Layer, |w| w.width, "mlp.c_proj";
    /// Final layer norm's output, which the heads read, (N, C).
    Hidden: Pass, |w| w.width, "";
    /// Its mean and 1/deviation, (N, 2).
    HiddenStats: Pass, |_| 2, "";
    /// Gradient of [`Name::Hidden`], which the heads write, (N, C).
    DHidden: Backward, |w| w.width, "";
    /// Gradient of the residual stream, from the last layer to the first, (N, C).
    DX: Backward, |w| w.width, "";
    /// Gradient of the MLP's branch, (N, C).
    DBranch: Backward, |w| w.width, "";
    /// Gradient inside the MLP, first of [`Name::Gelu`] and then of [`Name::Fc`], (N, F).
    DFc: Backward, |w| w.inner, "";
    /// Gradient of [`Name::Ln2`], (N, C).
    DLn2: Backward, |w| w.width, "";
    /// Gradient of [`Name::Attention`], and then of [`Name::Ln1`], (N, C).
    DLn1: Backward, |w| w.width, "";
    /// Gradient of [`Name::Heads`], (N; NH, HS).
    DHeads: Backward, |w| w.width, "";
    /// Gradient of [`Name::Q`], (N; NH, HS).
    DQ: Backward, |w| w.width, "";
    /// Gradient of [`Name::K`], (N; NH, HS).
    DK: Backward, |w| w.width, "";
    /// Gradient of [`Name::V`], (N; NH, HS).
    DV: Backward, |w| w.width, "";
}
