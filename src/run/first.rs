//! What the first rank does for all: it owns the files of a run. The others read what it has written, in a file system
//! that all of them see.

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
    let mut words = vec![text.len() as u32];
    let word = |bytes: &[u8]| bytes.iter().rev().fold(0, |word, &byte| word << 8 | u32::from(byte));
    words.extend(text.as_bytes().chunks(4).map(word));
    let words = ranks.broadcast(words);
    let mut bytes: Vec<u8> = words[1..].iter().flat_map(|word| word.to_le_bytes()).collect();
    bytes.truncate(words[0] as usize);
    String::from_utf8(bytes).expect("it was a text")
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
        }
    }
}
