use super::*;
use alloc::vec;

#[test]
fn every_row_is_visited_once_with_its_index() {
    for threads in [1, 2, 3, 7] {
        for (n, grain) in [(0, 1), (1, 1), (7, 2), (100, 1), (1000, 64), (64, 100)] {
            let mut squares = vec![0usize; 3 * n];
            let mut visits = vec![0u8; n];
            with_threads(threads, || {
                for_each((rows(&mut squares, 3), rows(&mut visits, 1)), grain, |first, (squares, visits)| {
                    for (i, row) in squares.data.chunks_exact_mut(3).enumerate() {
                        row.fill((first + i) * (first + i));
                        visits.data[i] += 1;
                    }
                })
            });
            assert!(visits.iter().all(|&count| count == 1));
            assert!(squares.chunks_exact(3).enumerate().all(|(i, row)| row == [i * i; 3]));
        }
    }
}

#[test]
fn every_row_of_several_loops_is_visited_once_with_its_index() {
    for threads in [1, 2, 3, 7] {
        for (lengths, grains) in [([0, 0, 0], [1, 1, 1]), ([1, 0, 50], [3, 1, 7]), ([100, 3, 20], [8, 8, 1])]
        {
            let mut numbers = lengths.map(|length| vec![0; 2 * length]);
            with_threads(threads, || {
                let outputs = numbers.each_mut().map(|numbers| rows(numbers, 2));
                for_each_of(outputs, grains, |i, first, part| {
                    assert!(first.is_multiple_of(grains[i]), "loop {i} was cut before row {first}");
                    for (row, pair) in part.data.chunks_exact_mut(2).enumerate() {
                        pair[0] += i;
                        pair[1] += first + row;
                    }
                });
            });
            for (i, numbers) in numbers.into_iter().enumerate() {
                assert!(numbers.into_iter().eq((0..lengths[i]).flat_map(|row| [i, row])));
            }
        }
    }
}

#[test]
fn a_map_keeps_the_order() {
    for threads in [1, 2, 3, 7] {
        for n in [0, 1, 100] {
            let items: Vec<usize> = (0..n).collect();
            let squares = with_threads(threads, || map(&items, 3, |i| i * i));
            assert!(squares.into_iter().eq((0..n).map(|i| i * i)));
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
fn the_last_pieces_are_small_and_the_first_large() {
    for (threads, rows, grain, largest) in
        [(2, 1024, 8, 256), (3, 3000, 10, 500), (7, 700, 1, 50), (1, 99, 3, 99)]
    {
        let mut all = vec![0u8; rows];
        let pieces = std::sync::Mutex::new(vec![]);
        with_threads(threads, || {
            for_each(super::rows(&mut all, 1), grain, |first, piece| {
                pieces.lock().unwrap().push((first, piece.rows()));
            });
        });
        let pieces = pieces.into_inner().unwrap();
        assert!(pieces.iter().all(|&(first, rows)| first % grain == 0 && rows <= largest), "{pieces:?}");
        assert!(
            threads == 1 || pieces.iter().filter(|piece| piece.1 == grain).count() >= threads,
            "{pieces:?}"
        );
        assert_eq!(pieces.iter().map(|piece| piece.1).sum::<usize>(), rows);
    }
}

#[test]
fn regions_cut_between_runs_and_visit_every_row_once() {
    for threads in [1, 2, 3, 7] {
        for lengths in [vec![], vec![0], vec![5], vec![0, 40, 0, 3, 0], vec![9; 30], vec![1, 100, 1, 7, 50]] {
            let mut offsets = vec![10];
            lengths.iter().for_each(|length| offsets.push(offsets[offsets.len() - 1] + length));
            let mut visits = vec![0u8; offsets[offsets.len() - 1] - 10];
            let all = visits.len();
            let regions_made = core::sync::atomic::AtomicUsize::new(0);
            with_threads(threads, || {
                regions(&offsets, [rows(&mut visits, 1)], 8, |runs, [rows]| {
                    assert_eq!(rows.data.len(), runs[runs.len() - 1] - runs[0]);
                    assert!(runs.windows(2).all(|run| offsets.windows(2).any(|known| known == run)));
                    assert!(rows.data.len() == all || rows.data.len() >= 8);
                    rows.data.iter_mut().for_each(|count| *count += 1);
                    regions_made.fetch_add(1, core::sync::atomic::Ordering::Relaxed);
                });
            });
            assert!(visits.iter().all(|&count| count == 1));
            let expected = if lengths.len() == 30 { threads } else { 1 };
            assert!((expected..=threads).contains(&regions_made.into_inner()));
        }
    }
}

#[test]
fn a_panic_on_either_side_ends_the_wait_for_it() {
    for threads in [1, 2, 3] {
        for guilty in [0, 1] {
            let other = std::sync::atomic::AtomicBool::new(false);
            let side = |i: usize| {
                std::thread::sleep(std::time::Duration::from_millis(1));
                assert!(i != guilty, "side {i}");
                other.store(true, std::sync::atomic::Ordering::Relaxed);
            };
            let both = || with_threads(threads, || join(|| side(0), || side(1)));
            let panic = std::panic::catch_unwind(std::panic::AssertUnwindSafe(both)).expect_err("a panic");
            assert_eq!(panic.downcast_ref::<String>(), Some(&format!("side {guilty}")));
            // The first side's panic ends a split that nobody has taken the second side of; the second's, never the first.
            assert!(other.into_inner() || guilty == 0);
        }
    }
}
