//! The residual addition, with residual dropout: `y = x + mask * branch / (1 - rate)`.

use crate::engine::cpu::row_grain;
use crate::engine::plain::dropout::Mask;
use crate::engine::{Address, Dropout};
use crate::num::par;

/// `y = x + mask * branch / (1 - rate)`; all (N, C). `site` numbers the residual additions of the model.
pub fn add(y: &mut [f32], x: &[f32], branch: &[f32], rows: &[Address], site: u32, dropout: Option<Dropout>) {
    let c = y.len() / rows.len().max(1);
    assert_eq!((x.len(), branch.len()), (y.len(), y.len()), "residual shapes differ");
    // Split over rows.
    par::for_each(par::rows(y, c.max(1)), row_grain(c), |first, y| {
        let from = first * c;
        let (x, branch) = (&x[from..][..y.data.len()], &branch[from..][..y.data.len()]);
        match dropout {
            None => {
                for i in 0..x.len() {
                    y.data[i] = x[i] + branch[i];
                }
            }
            Some(_) => {
                for (t, y) in y.data.chunks_exact_mut(c).enumerate() {
                    let mut mask = Mask::new(dropout, rows[first + t], site);
                    for i in 0..c {
                        y[i] = x[t * c + i] + mask.next(branch[t * c + i]);
                    }
                }
            }
        }
    });
}

/// Differentiates `y = x + mask * branch / (1 - rate)` with respect to the branch:
/// `dbranch = mask * dy / (1 - rate)` (overwrites). The gradient of `x` is `dy` itself.
pub fn backward(dbranch: &mut [f32], dy: &[f32], rows: &[Address], site: u32, dropout: Option<Dropout>) {
    if dropout.is_none() {
        return dbranch.copy_from_slice(dy);
    }
    let c = dy.len() / rows.len().max(1);
    // Split over rows.
    par::for_each(par::rows(dbranch, c.max(1)), row_grain(c), |first, dbranch| {
        for (t, dbranch) in dbranch.data.chunks_exact_mut(c).enumerate() {
            let mut mask = Mask::new(dropout, rows[first + t], site);
            for i in 0..c {
                dbranch[i] = mask.next(dy[(first + t) * c + i]);
            }
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::num::rng::Stage;

    #[test]
    fn backward_draws_the_mask_of_forward_wherever_the_row_stands() {
        let dropout = Some(Dropout { rate: 0.2, seed: 3, stage: Stage::Test, step: 5 });
        let rows: Vec<Address> =
            (0..9).map(|t| Address { sequence: t / 4, position: (t % 4) as u32 }).collect();
        let (c, ones) = (500, vec![1.0; 9 * 500]);
        let (mut y, mut dbranch) = (vec![0.0; 9 * c], vec![0.0; 9 * c]);
        add(&mut y, &vec![0.0; 9 * c], &ones, &rows, 1, dropout);
        backward(&mut dbranch, &ones, &rows, 1, dropout);
        assert_eq!(y, dbranch);
        let mut alone = vec![0.0; c];
        backward(&mut alone, &ones[..c], &rows[6..7], 1, dropout);
        assert_eq!(alone, dbranch[6 * c..7 * c]);
        let dropped = y.iter().filter(|&&y| y == 0.0).count() as f64 / y.len() as f64;
        assert!((dropped - 0.2).abs() < 0.03, "{dropped}");
        assert!(y.iter().all(|&y| y == 0.0 || y == 1.25));
        let mut other_site = vec![0.0; 9 * c];
        backward(&mut other_site, &ones, &rows, 2, dropout);
        assert_ne!(other_site, dbranch);
    }
}
