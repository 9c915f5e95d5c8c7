//! The one parallel split. Work is split over outputs only: each piece owns the rows it writes and
//! computes them as if it were alone, so neither the number of threads nor the place of a cut can show
//! in a result. There are no parallel sums.

use alloc::vec::Vec;

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

/// A mutable row-major matrix to be cut between columns: a part has its piece of every row.
pub struct Columns<'a, T> {
    /// The rows.
    pub rows: Vec<&'a mut [T]>,
    unit: usize,
}

/// Views `data` as rows of `width` elements, to be split over groups of `unit` columns. The last group may be
/// smaller.
pub fn columns<T>(data: &mut [T], width: usize, unit: usize) -> Columns<'_, T> {
    assert!(width > 0 && data.len().is_multiple_of(width), "{} elements are no rows of {width}", data.len());
    Columns { rows: data.chunks_exact_mut(width).collect(), unit }
}

impl<T: Send> Split for Columns<'_, T> {
    fn rows(&self) -> usize {
        self.rows.first().map_or(0, |row| row.len().div_ceil(self.unit))
    }

    fn split_at(self, row: usize) -> (Self, Self) {
        let (head, tail) = self.rows.into_iter().map(|whole| whole.split_at_mut(row * self.unit)).unzip();
        (Columns { rows: head, unit: self.unit }, Columns { rows: tail, unit: self.unit })
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

impl<S: Split, const K: usize> Split for [S; K] {
    fn rows(&self) -> usize {
        self[0].rows()
    }

    fn split_at(self, row: usize) -> (Self, Self) {
        let mut tails = [const { None }; K];
        let mut tail = tails.iter_mut();
        let heads = self.map(|part| {
            let (head, rest) = part.split_at(row);
            *tail.next().expect("K of K") = Some(rest);
            head
        });
        (heads, tails.map(|tail| tail.expect("K of K")))
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

/// Cuts `rows` between its runs, run i being rows `offsets[i]..offsets[i + 1]`, into regions of at least
/// `least` rows and runs `body(offsets of the region's runs, its rows)` on each, on all threads of the current
/// pool. Loops inside a region run on its one thread: many small operations in a row then cost one hand-over
/// instead of one each, and what one writes the next finds in the thread's own cache. Where the rows make one
/// region only, loops inside it use all threads as ever.
pub fn regions<S: Split>(offsets: &[usize], rows: S, least: usize, body: impl Fn(&[usize], S) + Sync) {
    let total = offsets[offsets.len() - 1] - offsets[0];
    // A few regions per thread, because runs differ in length.
    let least = least.max(total / (4 * threads()));
    match (threads() > 1).then(|| cut(offsets, least)).flatten() {
        Some(_) => recurse_regions(offsets, rows, least, &body),
        None => body(offsets, rows),
    }
}

fn recurse_regions<S: Split>(offsets: &[usize], rows: S, least: usize, body: &(impl Fn(&[usize], S) + Sync)) {
    let Some(run) = cut(offsets, least) else { return alone(|| body(offsets, rows)) };
    let (head, tail) = rows.split_at(offsets[run] - offsets[0]);
    join(
        || recurse_regions(&offsets[..=run], head, least, body),
        || recurse_regions(&offsets[run..], tail, least, body),
    );
}

/// The run to cut before, so that both sides have at least `least` rows, as near to the middle as runs allow.
fn cut(offsets: &[usize], least: usize) -> Option<usize> {
    let (first, last) = (offsets[0], offsets[offsets.len() - 1]);
    let middle = first.midpoint(last);
    let after = offsets.partition_point(|&offset| offset < middle);
    let far = |run: &usize| offsets[*run].abs_diff(middle);
    let run = [after.saturating_sub(1), after].into_iter().min_by_key(far)?;
    (offsets[run] - first >= least && last - offsets[run] >= least).then_some(run)
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

/// Threads that a loop started here is split over: those of the current pool, or one inside a region.
pub fn threads() -> usize {
    #[cfg(feature = "std")]
    return if ALONE.get() { 1 } else { rayon::current_num_threads() };
    #[cfg(not(feature = "std"))]
    1
}

#[cfg(feature = "std")]
std::thread_local! {
    /// Whether this thread is inside one of several regions.
    static ALONE: core::cell::Cell<bool> = const { core::cell::Cell::new(false) };
}

/// Runs `body` with its loops on this thread.
pub fn alone(body: impl FnOnce()) {
    #[cfg(feature = "std")]
    let before = ALONE.replace(true);
    body();
    #[cfg(feature = "std")]
    ALONE.set(before);
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

    #[test]
    fn every_group_of_columns_is_visited_once_with_its_index() {
        for threads in [1, 2, 3, 7] {
            for (height, width, unit, grain) in
                [(0, 5, 4, 1), (1, 1, 4, 1), (3, 100, 16, 1), (2, 96, 16, 2), (5, 33, 32, 1)]
            {
                let mut numbers = vec![0; height * width];
                with_threads(threads, || {
                    for_each(columns(&mut numbers, width, unit), grain, |first, part| {
                        for (i, row) in part.rows.into_iter().enumerate() {
                            for (j, x) in row.iter_mut().enumerate() {
                                *x += i * width + first * unit + j;
                            }
                        }
                    })
                });
                assert!(numbers.into_iter().eq(0..height * width));
            }
        }
    }

    #[test]
    fn regions_cut_between_runs_and_visit_every_row_once() {
        for threads in [1, 2, 3, 7] {
            for lengths in
                [vec![], vec![0], vec![5], vec![0, 40, 0, 3, 0], vec![9; 30], vec![1, 100, 1, 7, 50]]
            {
                let mut offsets = vec![10];
                lengths.iter().for_each(|length| offsets.push(offsets[offsets.len() - 1] + length));
                let mut visits = vec![0u8; offsets[offsets.len() - 1] - 10];
                let most = core::sync::atomic::AtomicUsize::new(0);
                with_threads(threads, || {
                    regions(&offsets, [rows(&mut visits, 1)], 8, |runs, [rows]| {
                        assert_eq!(rows.data.len(), runs[runs.len() - 1] - runs[0]);
                        assert!(runs.windows(2).all(|run| offsets.windows(2).any(|known| known == run)));
                        let one_of_many = runs.len() < offsets.len();
                        assert_eq!(super::threads(), if one_of_many { 1 } else { threads });
                        assert!(!one_of_many || rows.data.len() >= 8);
                        rows.data.iter_mut().for_each(|count| *count += 1);
                        most.fetch_max(runs.len() - 1, core::sync::atomic::Ordering::Relaxed);
                    });
                    assert_eq!(super::threads(), threads, "loops after the regions use all threads");
                });
                assert!(visits.iter().all(|&count| count == 1));
                if lengths.len() == 30 && threads > 1 {
                    assert!((1..=15).contains(&most.into_inner()), "30 equal runs make regions");
                }
            }
        }
    }
}
