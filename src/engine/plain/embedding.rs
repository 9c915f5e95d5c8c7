//! The embedding: a row of a table for every token, and one for where it stands.
//!
//! ```text
//! x[t] = wte[token[t]] + wpe[position[t]]
//! ```
//! A row of a table goes unchanged into every x that looked it up, so its gradient is the sum of theirs:
//! `dtable[index[t]] += dx[t]`, for each of the two tables.

/// x (N, C), tokens (N), positions (N), wte (V, C), wpe (context, C).
pub fn forward(x: &mut [f32], tokens: &[u32], positions: &[u32], wte: &[f32], wpe: &[f32]) {
    let n = tokens.len();
    let c = x.len() / n.max(1);
    assert_eq!((x.len(), positions.len()), (n * c, n), "x is not (N, C)");
    for t in 0..n {
        let (token, position) = (tokens[t] as usize, positions[t] as usize);
        for i in 0..c {
            x[t * c + i] = wte[token * c + i] + wpe[position * c + i];
        }
    }
}

/// `table[index[t]] += dx[t]` for t ascending; table (rows, C), dx (N, C), index (N).
///
/// The table of a tied head takes part in two sums over the tokens of a batch, this one and the head's. They would
/// interleave differently for another micro-batch size: give each a buffer of its own, and add the two once, at the
/// end of the step.
pub fn backward(table: &mut [f32], dx: &[f32], index: &[u32]) {
    let n = index.len();
    let c = dx.len() / n.max(1);
    assert_eq!(dx.len(), n * c, "dx is not (N, C)");
    for t in 0..n {
        let row = index[t] as usize;
        for i in 0..c {
            table[row * c + i] += dx[t * c + i];
        }
    }
}
