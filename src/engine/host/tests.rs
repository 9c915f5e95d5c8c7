use super::*;

/// Rows of which every number is 1 but the means, which are 0, and parameters' gradients that begin with 9, in a layout
/// with room between all that lies in it.
fn parameters<E>(e: E)
where
    E: for<'a> Engine<Buffer = Vec<f32>, Rows<'a> = TokenRows<'a>>,
{
    let batch = Batch::of(&[[0, 0], [0, 0]]);
    let (n, mut widths) = (batch.len(), [3; COUNT]);
    let stats = [Name::Ln1Stats, Name::Ln2Stats].map(|name| name as usize);
    stats.iter().for_each(|&stats| widths[stats] = 2);
    let mut buffers = widths.map(|width| vec![1.0; n * width]);
    for stats in stats {
        buffers[stats].chunks_exact_mut(2).for_each(|row| row[0] = 0.0);
    }
    let mut gradients = vec![9.0; 60];
    let norms = [Norm { weight: 1..4, bias: 5..8 }, Norm { weight: 10..13, bias: 13..16 }];
    let linears = [
        Linear { weight: 17..26, outputs: 3, bias: Some(27..30) },
        Linear { weight: 31..40, outputs: 3, bias: None },
        Linear { weight: 45..54, outputs: 3, bias: Some(41..44) },
    ];
    let rows = &mut e.rows(&batch, buffers.each_mut(), widths);
    let [first, second] = &norms;
    let both = [
        (Name::DLn1, (Name::X, Name::Ln1Stats), first),
        (Name::DLn2, (Name::XMiddle, Name::Ln2Stats), second),
    ];
    e.layer_norm_parameters(rows, both, &mut gradients);
    let [first, second, third] = &linears;
    let all = [
        (Name::DBranch, Name::Gelu, first),
        (Name::DFc, Name::Ln2, second),
        (Name::DHidden, Name::Hidden, third),
    ];
    e.linear_parameters(rows, all, Precision::F32, &mut gradients);
    // Each is the sum of a product of ones, over the rows.
    let mut expected = vec![9.0; 60];
    let of_norms = norms.iter().flat_map(|norm| [norm.weight.clone(), norm.bias.clone()]);
    let of_linears = linears.iter().flat_map(|at| [Some(at.weight.clone()), at.bias.clone()]).flatten();
    of_norms.chain(of_linears).for_each(|at| expected[at].fill(9.0 + n as f32));
    assert_eq!(gradients, expected);
}

#[test]
fn gradients_of_parameters_go_where_the_layout_says_and_nowhere_else() {
    parameters(Cpu);
    parameters(Plain);
}
