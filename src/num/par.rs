//! The one parallel split. Work is split over outputs only: each piece owns the rows it writes and
//! computes them as if it were alone, so neither the number of threads nor the place of a cut can show
//! in a result. There are no parallel sums.

/// Something that can be cut in two between rows: the outputs of a parallel loop.
pub trait Split: Sized + Send {
    /// Number of rows left.
    fn rows(&self) -> usize;
    /// The first `row` rows, and the rest.
    fn split_at(self, row: usize) -> (Self, Self);
}

/// A mutable row-major matrix of rows `width` wide.
pub struct Rows<'a, T> {
    /// The elements, `rows * width`.
    pub data: &'a mut [T],
    width: usize,
}

/// Views `data` as rows of `width` elements, to be split.
pub fn rows<T>(data: &mut [T], width: usize) -> Rows<'_, T> {
    assert!(width > 0 && data.len().is_multiple_of(width), "{} elements are no rows of {width}", data.len());
    Rows { data, width }
}

impl<T: Send> Split for Rows<'_, T> {
    fn rows(&self) -> usize {
        self.data.len() / self.width
    }

    fn split_at(self, row: usize) -> (Self, Self) {
        let (head, tail) = self.data.split_at_mut(row * self.width);
        (Rows { data: head, width: self.width }, Rows { data: tail, width: self.width })
    }
}

impl<A: Split, B: Split> Split for (A, B) {
    fn rows(&self) -> usize {
        debug_assert_eq!(self.0.rows(), self.1.rows());
        self.0.rows()
    }

    fn split_at(self, row: usize) -> (Self, Self) {
        let (a, b) = (self.0.split_at(row), self.1.split_at(row));
        ((a.0, b.0), (a.1, b.1))
    }
}

impl<A: Split, B: Split, C: Split> Split for (A, B, C) {
    fn rows(&self) -> usize {
        debug_assert_eq!((self.0.rows(), self.0.rows()), (self.1.rows(), self.2.rows()));
        self.0.rows()
    }

    fn split_at(self, row: usize) -> (Self, Self) {
        let (a, b, c) = (self.0.split_at(row), self.1.split_at(row), self.2.split_at(row));
        ((a.0, b.0, c.0), (a.1, b.1, c.1))
    }
}

impl<A: Split, B: Split, C: Split, D: Split> Split for (A, B, C, D) {
    fn rows(&self) -> usize {
        self.0.rows()
    }

    fn split_at(self, row: usize) -> (Self, Self) {
        let (ab, cd) = ((self.0, self.1).split_at(row), (self.2, self.3).split_at(row));
        ((ab.0.0, ab.0.1, cd.0.0, cd.0.1), (ab.1.0, ab.1.1, cd.1.0, cd.1.1))
    }
}

/// Cuts `outputs` into pieces of at least `grain` rows (a multiple of it, but for the last) and runs
/// `body(first row, piece)` on each, on all threads of the current pool. `grain` is what makes a piece
/// worth a hand-over: a few microseconds of work.
pub fn for_each<S: Split>(outputs: S, grain: usize, body: impl Fn(usize, S) + Sync) {
    let grain = grain.max(1);
    // More pieces than threads, so that a late thread finds something to do; not so many that
    // the hand-overs cost.
    let pieces = if threads() == 1 { 1 } else { 4 * threads() };
    let grain = grain * outputs.rows().div_ceil(grain * pieces).max(1);
    recurse(0, outputs, grain, &body);
}

fn recurse<S: Split>(first: usize, outputs: S, grain: usize, body: &(impl Fn(usize, S) + Sync)) {
    let rows = outputs.rows();
    if rows <= grain {
        if rows > 0 {
            body(first, outputs);
        }
        return;
    }
    let middle = rows.div_ceil(grain).div_ceil(2) * grain;
    let (head, tail) = outputs.split_at(middle);
    join(|| recurse(first, head, grain, body), || recurse(first + middle, tail, grain, body));
}

/// Runs both, in parallel where there are threads.
pub fn join(a: impl FnOnce() + Send, b: impl FnOnce() + Send) {
    #[cfg(feature = "std")]
    rayon::join(a, b);
    #[cfg(not(feature = "std"))]
    {
        a();
        b();
    }
}

/// Threads of the current pool.
pub fn threads() -> usize {
    #[cfg(feature = "std")]
    return rayon::current_num_threads();
    #[cfg(not(feature = "std"))]
    1
}

/// Runs `body` on a pool of `threads` threads (0: one per core). Everything inside, down to the smallest
/// split, uses that pool.
#[cfg(feature = "std")]
pub fn with_threads<R: Send>(threads: usize, body: impl FnOnce() -> R + Send) -> R {
    let pool = rayon::ThreadPoolBuilder::new()
        .num_threads(threads)
        .build()
        .expect("the operating system gives threads");
    pool.install(body)
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;

    #[test]
    fn every_row_is_visited_once_with_its_index() {
        for threads in [1, 2, 3, 7] {
            for (n, grain) in [(0, 1), (1, 1), (7, 2), (100, 1), (1000, 64), (64, 100)] {
                let mut squares = vec![0usize; 3 * n];
                let mut visits = vec![0u8; n];
                with_threads(threads, || {
                    for_each(
                        (rows(&mut squares, 3), rows(&mut visits, 1)),
                        grain,
                        |first, (squares, visits)| {
                            for (i, row) in squares.data.chunks_exact_mut(3).enumerate() {
                                row.fill((first + i) * (first + i));
                                visits.data[i] += 1;
                            }
                        },
                    )
                });
                assert!(visits.iter().all(|&count| count == 1));
                assert!(squares.chunks_exact(3).enumerate().all(|(i, row)| row == [i * i; 3]));
            }
        }
    }
}
