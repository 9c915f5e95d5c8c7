//! The tensors of a model directory, and the parameters that each holds.
//!
//! A GPT-2's are the layout's own. A GPT-Neo's differ in the matrices of its blocks: they lie as (outputs, inputs), as
//! torch's `Linear` has them, and queries, keys and values are tensors of their own. One above the other, these are the
//! transpose of our matrix, where they stand side by side:
//!
//! ```text
//! attn.attention.q_proj.weight   (C, C)
//! attn.attention.k_proj.weight   (C, C)   =   attn.c_attn.weight^T, (3C, C)
//! attn.attention.v_proj.weight   (C, C)
//! ```
//! So the numbers of a directory are the layout's, with these matrices transposed where they lie.

use alloc::borrow::Cow;
use alloc::format;
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;
use core::ops::Range;

use crate::model::layout::Parameter;
use crate::model::{Family, Layout};

/// A tensor of a model directory.
#[derive(Debug, Clone, PartialEq)]
pub struct StoredTensor {
    /// Its key, prefix included.
    pub name: String,
    /// Its row-major shape.
    pub shape: Vec<usize>,
    /// Where its numbers lie among all, by ascending place and without gaps.
    pub range: Range<usize>,
}

/// The tensors that hold the parameters of `layout` in a directory of that family.
pub fn stored_tensors(layout: &Layout, family: Family) -> Vec<StoredTensor> {
    let of = |parameter: &Parameter| match family {
        Family::Gpt2 => {
            let (name, shape) = (parameter.name.clone(), parameter.shape.clone());
            vec![StoredTensor { name, shape, range: parameter.range() }]
        }
        Family::GptNeo => of_gpt_neo(parameter),
    };
    layout.parameters.iter().flat_map(of).collect()
}

fn of_gpt_neo(parameter: &Parameter) -> Vec<StoredTensor> {
    let Parameter { name, shape, offset, .. } = parameter;
    let shape = transposed(parameter).map_or(shape.clone(), |[inputs, outputs]| vec![outputs, inputs]);
    if let Some(prefix) = name.strip_suffix("c_attn.weight") {
        let (c, part) = (shape[1], shape[1] * shape[1]);
        let tensor = |(i, name)| StoredTensor {
            name: format!("{prefix}attention.{name}_proj.weight"),
            shape: vec![c, c],
            range: offset + i * part..offset + (i + 1) * part,
        };
        return (0..).zip(["q", "k", "v"]).map(tensor).collect();
    }
    let name = name.replace(".attn.c_proj.", ".attn.attention.out_proj.");
    vec![StoredTensor { name, shape, range: parameter.range() }]
}

/// Of a matrix that a GPT-Neo directory has transposed, (inputs, outputs).
fn transposed(parameter: &Parameter) -> Option<[usize; 2]> {
    let of_block = parameter.name.starts_with("transformer.h.");
    <[usize; 2]>::try_from(parameter.shape.as_slice()).ok().filter(|_| of_block)
}

/// The numbers of all tensors in the order of [`stored_tensors`], from the parameters of `layout`: a copy of them where
/// they are not the same.
pub fn to_stored<'a>(parameters: Cow<'a, [f32]>, layout: &Layout, family: Family) -> Cow<'a, [f32]> {
    if family == Family::Gpt2 {
        return parameters;
    }
    let mut stored = parameters.into_owned();
    for parameter in &layout.parameters {
        if let Some([inputs, outputs]) = transposed(parameter) {
            transpose(&mut stored[parameter.range()], inputs, outputs);
        }
    }
    stored.into()
}

/// The parameters of `layout`, from the numbers of all tensors in the order of [`stored_tensors`].
pub fn from_stored(stored: &mut [f32], layout: &Layout, family: Family) {
    if family == Family::Gpt2 {
        return;
    }
    for parameter in &layout.parameters {
        if let Some([inputs, outputs]) = transposed(parameter) {
            transpose(&mut stored[parameter.range()], outputs, inputs);
        }
    }
}

/// Makes (columns, rows) of a row-major matrix (rows, columns).
fn transpose(matrix: &mut [f32], rows: usize, columns: usize) {
    let before = matrix.to_vec();
    for (column, to) in matrix.chunks_exact_mut(rows).enumerate() {
        to.iter_mut().zip(before[column..].iter().step_by(columns)).for_each(|(to, from)| *to = *from);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Head, ModelConfig};
    use alloc::collections::BTreeMap;

    #[test]
    fn a_gpt_2s_are_its_parameters() {
        let layout = Layout::new(&ModelConfig::gpt2(5, 4, 2, 1, 1), Head::LanguageModel);
        let stored = stored_tensors(&layout, Family::Gpt2);
        assert_eq!(stored.len(), layout.parameters.len());
        for (stored, parameter) in stored.iter().zip(&layout.parameters) {
            assert_eq!((&stored.name, &stored.shape), (&parameter.name, &parameter.shape));
            assert_eq!(stored.range, parameter.range());
        }
        let parameters: Vec<f32> = (0..layout.len).map(|i| i as f32).collect();
        assert_eq!(to_stored(Cow::Borrowed(&parameters), &layout, Family::Gpt2), parameters);
    }

    /// C 2, F 3: by hand. (Of `x W` and torch's `x W^T`, element (input i, output o) is theirs at (o, i).)
    #[test]
    fn a_gpt_neos_matrices_are_transposed_and_its_queries_keys_and_values_apart() {
        let config = ModelConfig { family: Family::GptNeo, inner: 3, ..ModelConfig::gpt2(5, 4, 2, 1, 1) };
        let layout = Layout::new(&config, Head::Scalar);
        let mut parameters = vec![0.0; layout.len];
        let mut set = |name: &str, values: &[f32]| {
            parameters[layout.get(name).unwrap().range()].copy_from_slice(values);
        };
        set(
            "transformer.h.0.attn.c_attn.weight",
            &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0, 10.0, 11.0, 12.0],
        );
        set("transformer.h.0.attn.c_proj.weight", &[1.0, 2.0, 3.0, 4.0]);
        set("transformer.h.0.attn.c_proj.bias", &[7.0, 8.0]);
        set("transformer.h.0.mlp.c_fc.weight", &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
        set("transformer.h.0.mlp.c_proj.weight", &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
        set("transformer.wte.weight", &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0, 10.0]);
        let stored = to_stored(Cow::Borrowed(&parameters), &layout, config.family);
        let tensors: BTreeMap<String, (Vec<usize>, Vec<f32>)> = stored_tensors(&layout, config.family)
            .into_iter()
            .map(|tensor| (tensor.name, (tensor.shape, stored[tensor.range].to_vec())))
            .collect();
        assert_eq!(tensors.len(), 2 + 13 + 2 + 1);
        for (name, shape, values) in [
            ("h.0.attn.attention.q_proj.weight", &[2, 2], &[1.0, 7.0, 2.0, 8.0][..]),
            ("h.0.attn.attention.k_proj.weight", &[2, 2], &[3.0, 9.0, 4.0, 10.0]),
            ("h.0.attn.attention.v_proj.weight", &[2, 2], &[5.0, 11.0, 6.0, 12.0]),
            ("h.0.attn.attention.out_proj.weight", &[2, 2], &[1.0, 3.0, 2.0, 4.0]),
            ("h.0.mlp.c_fc.weight", &[3, 2], &[1.0, 4.0, 2.0, 5.0, 3.0, 6.0]),
            ("h.0.mlp.c_proj.weight", &[2, 3], &[1.0, 3.0, 5.0, 2.0, 4.0, 6.0]),
            ("wte.weight", &[5, 2], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0, 10.0]),
        ] {
            let found = &tensors[&format!("transformer.{name}")];
            assert_eq!((found.0.as_slice(), found.1.as_slice()), (&shape[..], values), "{name}");
        }
        let bias = &tensors["transformer.h.0.attn.attention.out_proj.bias"];
        assert_eq!(*bias, (vec![2], vec![7.0, 8.0]));
        let mut back = stored.into_owned();
        from_stored(&mut back, &layout, config.family);
        assert_eq!(back, parameters);
    }
}
