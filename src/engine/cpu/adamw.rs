//! AdamW and the average, over elements: any split of the buffers gives the same bits.

use crate::engine::AdamConstants;
use crate::engine::plain::adamw::{blend, step};
use crate::num::par;

/// Elements updated before their average is, while they are still in the nearest cache.
const CHUNK: usize = 4096;

/// One update of a tensor; all buffers of one length, all but the gradients changed. A rate of 0 changes no
/// parameter.
pub fn update(
    parameters: &mut [f32],
    gradients: &[f32],
    first_moment: &mut [f32],
    second_moment: &mut [f32],
    average: Option<&mut [f32]>,
    constants: AdamConstants,
) {
    let lengths = [gradients.len(), first_moment.len(), second_moment.len()];
    assert_eq!(lengths, [parameters.len(); 3], "adamw: gradients and moments against the parameters");
    let (p, m, v) = (par::rows(parameters, 1), par::rows(first_moment, 1), par::rows(second_moment, 1));
    // Split over elements: each is updated by itself.
    match average {
        None => par::for_each((p, m, v), CHUNK, |first, (p, m, v)| {
            of_piece(p.data, &gradients[first..], m.data, v.data, None, constants);
        }),
        Some(average) => {
            assert_eq!(average.len(), gradients.len(), "adamw: average against the parameters");
            par::for_each((p, m, v, par::rows(average, 1)), CHUNK, |first, (p, m, v, average)| {
                of_piece(p.data, &gradients[first..], m.data, v.data, Some(average.data), constants);
            });
        }
    }
}

/// The elements of one piece, in cache-sized chunks whose loops become vector code.
fn of_piece(
    parameters: &mut [f32],
    gradients: &[f32],
    first_moment: &mut [f32],
    second_moment: &mut [f32],
    mut average: Option<&mut [f32]>,
    constants: AdamConstants,
) {
    for start in (0..parameters.len()).step_by(CHUNK) {
        let range = start..parameters.len().min(start + CHUNK);
        let parameters = &mut parameters[range.clone()];
        let moments = first_moment[range.clone()].iter_mut().zip(&mut second_moment[range.clone()]);
        for ((p, &dp), (m, v)) in parameters.iter_mut().zip(&gradients[range.clone()]).zip(moments) {
            *p = step(*p, dp, m, v, constants);
        }
        if let Some(average) = &mut average {
            for (e, &p) in average[range].iter_mut().zip(&*parameters) {
                *e = blend(*e, p, constants.average_rest);
            }
        }
    }
}
