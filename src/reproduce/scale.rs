//! How large everything is: the three sizes of models, about ten times apart as the paper's are, and how much is asked of
//! each model. A test takes a smaller scale.

use crate::engine::Precision;
use crate::model::Head;
use crate::settings::Settings;

/// The numbers that all experiments share.
#[derive(Debug, Clone)]
pub struct Scale {
    /// The configuration of the middle size, which the other runs change.
    pub base: Settings,
    /// Small, middle, large.
    pub sizes: [Size; 3],
    /// Items of each closed task.
    pub closed: u64,
    /// Examples before each.
    pub shots: usize,
    /// Items of each probe: misconceptions, rude texts, paired sentences.
    pub probes: u64,
    /// Prefixes among which that of the prompted GPT is chosen.
    pub prefixes: u64,
    /// Validation prompts by which it is chosen.
    pub prefix_prompts: usize,
    /// Values of gamma, the pretraining coefficient (figure 33).
    pub gammas: Vec<f32>,
    /// Values of beta, the KL coefficient (figures 34 and 36).
    pub betas: Vec<f32>,
}

/// The shape of a model.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Size {
    /// Its name in paths.
    pub name: &'static str,
    /// Width `C`.
    pub width: usize,
    /// Layers `L`.
    pub layers: usize,
    /// Heads `NH`.
    pub heads: usize,
    /// Learning rates of the language models, as multiples of the middle size's: the larger, the lower (paper, C.1, C.3).
    pub rate: f32,
}

/// Where the sizes stand in [`Scale::sizes`].
pub const SMALL: usize = 0;
/// The one whose reward model and tokenizer all share.
pub const MIDDLE: usize = 1;
/// The one that others are compared with.
pub const LARGE: usize = 2;
/// All of them, by size.
pub const ALL_SIZES: [usize; 3] = [SMALL, MIDDLE, LARGE];

impl Scale {
    /// What a laptop does in minutes: 0.03, 0.3 and 3.4 million parameters. `base` is `configs/reproduce.toml`.
    pub fn laptop(base: Settings) -> Self {
        Scale {
            base,
            sizes: [
                Size { name: "s", width: 24, layers: 2, heads: 3, rate: 2.0 },
                Size { name: "m", width: 96, layers: 2, heads: 6, rate: 1.0 },
                Size { name: "l", width: 256, layers: 4, heads: 16, rate: 0.6 },
            ],
            closed: 128,
            shots: 3,
            probes: 128,
            prefixes: 6,
            prefix_prompts: 64,
            gammas: vec![0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0],
            betas: vec![0.002, 0.01, 0.05, 0.15, 0.5, 2.0],
        }
    }

    /// The parameters of a size, as a language model.
    pub fn parameters(&self, size: usize) -> f64 {
        let Size { width, layers, heads, .. } = self.sizes[size];
        let mut model = self.base.model.clone();
        (model.width, model.layers, model.heads) = (width, layers, heads);
        let config = model.config(self.base.tokenizer.vocab_size, Precision::F32);
        config.parameters(Head::LanguageModel) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sizes_are_about_ten_times_apart() {
        let mut base = Settings::default();
        (base.model.context, base.tokenizer.vocab_size) = (176, 640);
        let scale = Scale::laptop(base);
        let [small, middle, large] = ALL_SIZES.map(|size| scale.parameters(size));
        assert!((5.0..15.0).contains(&(middle / small)), "{small} {middle}");
        assert!((5.0..15.0).contains(&(large / middle)), "{middle} {large}");
        assert_eq!(scale.sizes[MIDDLE].rate, 1.0, "the base is the middle size's");
    }
}
