//! `x[t] = wte[token] + wpe[position]`.

use crate::engine::cpu::row_grain;
use crate::num::par;

/// x (N, C), tokens (N), positions (N), wte (V, C), wpe (context, C).
pub fn forward(x: &mut [f32], tokens: &[u32], positions: &[u32], wte: &[f32], wpe: &[f32]) {
    let c = x.len() / tokens.len().max(1);
    assert_eq!((x.len(), positions.len()), (tokens.len() * c, tokens.len()), "x is not (N, C)");
    if c == 0 {
        return;
    }
    // Split over rows.
    par::for_each(par::rows(x, c), row_grain(c), |first, x| {
        for (t, x) in x.data.chunks_exact_mut(c).enumerate() {
            let token = &wte[tokens[first + t] as usize * c..][..c];
            let position = &wpe[positions[first + t] as usize * c..][..c];
            for i in 0..c {
                x[i] = token[i] + position[i];
            }
        }
    });
}

/// `table[index[t]] += dx[t]` for t ascending; table (rows, C), dx (N, C), index (N).
pub fn backward(table: &mut [f32], dx: &[f32], index: &[u32]) {
    let c = dx.len() / index.len().max(1);
    assert_eq!(dx.len(), index.len() * c, "dx is not (N, C)");
    if c == 0 {
        return;
    }
    // Split over table rows: a piece scans all tokens and takes those it owns, in order.
    par::for_each(par::rows(table, c), row_grain(c).max(64), |first, table| {
        let owned = first..first + table.data.len() / c;
        for (dx, &row) in dx.chunks_exact(c).zip(index) {
            let row = row as usize;
            if owned.contains(&row) {
                let sum = &mut table.data[(row - first) * c..][..c];
                sum.iter_mut().zip(dx).for_each(|(sum, dx)| *sum += dx);
            }
        }
    });
}
