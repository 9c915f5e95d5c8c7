//! The residual addition, with residual dropout (Srivastava et al., 2014). The paper uses a rate of 0.2 in SFT
//! (Appendix C.1) and none elsewhere.
//!
//! ```text
//! y = x + mask * branch / (1 - rate),   mask = 0 with probability rate, else 1
//! ```
//! The mask is data, so the gradient of the branch is `mask * dy / (1 - rate)`, and that of x is `dy` itself.

use crate::engine::{Address, Dropout};
use crate::num::rng::{Purpose, Rng};

/// `y = x + mask * branch / (1 - rate)`; all (N, C). `rows` (N) are the addresses of the token rows' draws, `site`
/// numbers the residual additions of the model.
pub fn add(y: &mut [f32], x: &[f32], branch: &[f32], rows: &[Address], site: u32, dropout: Option<Dropout>) {
    let c = y.len() / rows.len().max(1);
    assert_eq!((x.len(), branch.len()), (y.len(), y.len()), "residual shapes differ");
    for t in 0..rows.len() {
        let mut mask = Mask::new(dropout, rows[t], site);
        for i in t * c..(t + 1) * c {
            y[i] = x[i] + mask.next(branch[i]);
        }
    }
}

/// `dbranch = mask * dy / (1 - rate)` (overwrites), with the masks of [`add`]; all (N, C).
pub fn backward(dbranch: &mut [f32], dy: &[f32], rows: &[Address], site: u32, dropout: Option<Dropout>) {
    let c = dy.len() / rows.len().max(1);
    assert_eq!(dbranch.len(), dy.len(), "residual shapes differ");
    for t in 0..rows.len() {
        let mut mask = Mask::new(dropout, rows[t], site);
        for i in t * c..(t + 1) * c {
            dbranch[i] = mask.next(dy[i]);
        }
    }
}

/// The mask of one row, column by column.
pub struct Mask {
    /// The row's random numbers; none without dropout.
    rng: Option<Rng>,
    /// `rate * 2^32`: an element is dropped if its 32 random bits are below.
    drop_below: u32,
    /// `1 / (1 - rate)`.
    scale: f32,
}

impl Mask {
    /// The mask at the residual addition `site` of the row at `address`.
    pub fn new(dropout: Option<Dropout>, address: Address, site: u32) -> Self {
        let Some(Dropout { rate, seed, stage, step }) = dropout else {
            return Mask { rng: None, drop_below: 0, scale: 1.0 };
        };
        let position = u64::from(address.position) | u64::from(site) << 32;
        Mask {
            rng: Some(Rng::at(seed, stage, Purpose::Dropout, step, address.sequence, position)),
            drop_below: (f64::from(rate) * 4294967296.0) as u32,
            scale: 1.0 / (1.0 - rate),
        }
    }

    /// `mask * x / (1 - rate)` for the next column.
    #[inline(always)]
    pub fn next(&mut self, x: f32) -> f32 {
        let Some(rng) = &mut self.rng else { return x };
        if rng.next_u32() < self.drop_below { 0.0 } else { x * self.scale }
    }
}
