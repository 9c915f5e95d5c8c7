//! What the first rank does for all: it owns the files of a run. The others read what it has written, in a file system
//! that all of them see, and what else they read must be what it reads.

use crate::error::{Error, Result};
use crate::ranks::Ranks;

/// Does something on the first rank, for which the others wait, and which they do not go on without. What it gives, the
/// first has. All must call it.
///
/// # Errors
/// The work's own on the first rank, [`Error::Elsewhere`] on the others.
pub fn on_first<T>(ranks: &dyn Ranks, work: impl FnOnce() -> Result<T>) -> Result<Option<T>> {
    if ranks.size() == 1 {
        return work().map(Some);
    }
    let done = ranks.is_first().then(work);
    let failed = matches!(done, Some(Err(_)));
    match (ranks.broadcast(vec![u32::from(failed)])[0], done) {
        (_, Some(done)) => done.map(Some),
        (0, None) => Ok(None),
        (_, None) => Err(Error::Elsewhere),
    }
}

/// A text of the first rank. All must call it.
pub fn text_of_first(ranks: &dyn Ranks, text: &str) -> String {
    to_text(&ranks.broadcast(to_words(text)))
}

/// The texts of all ranks, by rank. All must call it.
pub fn texts(ranks: &dyn Ranks, text: &str) -> Vec<String> {
    ranks.gather(to_words(text)).iter().map(|words| to_text(words)).collect()
}

/// Compares what the ranks were given, line by line: all must have the same. All must call it.
///
/// # Errors
/// [`Error::Usage`] on the first rank, naming the first rank that has another line and where it runs; [`Error::Elsewhere`]
/// on the others.
pub fn same_on_all(ranks: &dyn Ranks, what: &str, text: &str) -> Result<()> {
    if ranks.size() == 1 {
        return Ok(());
    }
    let all = texts(ranks, &format!("{}\n{text}", ranks.host()));
    // Every rank has a host and then its text.
    let of = |rank: usize| all[rank].split_once('\n').unwrap_or_default();
    let (host, expected) = of(0);
    let Some(other) = (1..all.len()).find(|&rank| of(rank).1 != expected) else { return Ok(()) };
    if !ranks.is_first() {
        return Err(Error::Elsewhere);
    }
    let (its_host, found) = of(other);
    let (mut ours, mut theirs) = (expected.lines(), found.lines());
    let differing = loop {
        let (our, their) = (ours.next(), theirs.next());
        if our != their {
            break [our, their].map(|line| line.unwrap_or("nothing more"));
        }
        if our.is_none() {
            break ["the same bytes", "others"];
        }
    };
    Err(Error::usage(
        format!("{what} of rank {other}, on {its_host}"),
        format!("{}, as rank 0 has on {host}", differing[0]),
        differing[1],
        "all ranks of a run take the same program, configuration and data",
    ))
}

/// A text as a message has it.
fn to_words(text: &str) -> Vec<u32> {
    let word = |bytes: &[u8]| bytes.iter().rev().fold(0, |word, &byte| word << 8 | u32::from(byte));
    [text.len() as u32].into_iter().chain(text.as_bytes().chunks(4).map(word)).collect()
}

fn to_text(words: &[u32]) -> String {
    let mut bytes: Vec<u8> = words.iter().skip(1).flat_map(|word| word.to_le_bytes()).collect();
    bytes.truncate(words.first().map_or(0, |&length| length as usize));
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ranks::Threads;

    #[test]
    fn the_first_does_it_once_and_nobody_goes_on_without_it() {
        for size in [1, 2, 5] {
            let done = Threads::run(size, |ranks| on_first(ranks, || Ok(ranks.rank())));
            assert!(done.iter().enumerate().all(|(rank, done)| *done == Ok((rank == 0).then_some(0))));
            let failed =
                Threads::run(size, |ranks| on_first(ranks, || Err::<(), _>(Error::io("x", "read", ""))));
            assert_eq!(failed[0], Err(Error::io("x", "read", "")));
            assert!(failed[1..].iter().all(|error| *error == Err(Error::Elsewhere)));
        }
    }

    #[test]
    fn texts_of_every_length_arrive() {
        for text in ["", "a", "abc", "äöü", "four", "a longer one"] {
            let said =
                Threads::run(3, |ranks| text_of_first(ranks, if ranks.is_first() { text } else { "mine" }));
            assert_eq!(said, [text; 3]);
            let said = Threads::run(3, |ranks| texts(ranks, if ranks.rank() == 1 { text } else { "mine" }));
            assert!(said.iter().all(|all| *all == ["mine", text, "mine"]));
        }
    }

    #[test]
    fn the_first_line_that_differs_is_named_with_its_rank() {
        let compare = |texts: [&'static str; 3]| {
            Threads::run(3, move |ranks| same_on_all(ranks, "the data", texts[ranks.rank()]))
        };
        assert!(compare(["a 1\nb 2"; 3]).iter().all(Result::is_ok));
        let cases = [
            (["a 1\nb 2", "a 1\nb 2", "a 1\nb 3"], "rank 2, on this machine", "b 2, as rank 0", "found b 3"),
            (["a 1\nb 2", "a 1", "b 2"], "rank 1, on this machine", "b 2, as rank 0", "found nothing more"),
            (["", "a 1", ""], "rank 1,", "nothing more, as rank 0", "found a 1"),
            (["a", "a\n", "a"], "rank 1,", "the same bytes, as", "found others"),
        ];
        for (texts, who, expected, found) in cases {
            let ends = compare(texts);
            let said = ends[0].as_ref().unwrap_err().to_string();
            assert!([who, expected, found].iter().all(|part| said.contains(part)), "{said}");
            assert_eq!(ends[1..], [Err(Error::Elsewhere), Err(Error::Elsewhere)]);
        }
    }
}
