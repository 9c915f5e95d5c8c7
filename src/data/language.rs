//! Which language a text is in, as far as its letters and smallest words tell: a count for a report, and nothing that a
//! record is left out by. (The paper, section 3.3, has 96 % English by a trained classifier.)
//!
//! A text whose letters are mostly of another script is named by that script. One in Latin letters is of the language of
//! which it has most words among those below, the most frequent short words that few other of these languages have; a text
//! with none of them, or with as many of two languages, is not told.

/// A language's frequent short words.
const WORDS: [(&str, &[&str]); 7] = [
    (
        "English",
        &[
            "the", "and", "of", "is", "are", "what", "how", "you", "this", "that", "with", "for", "was",
            "write", "why", "who", "my", "your", "from", "it", "does", "list", "give", "or", "not", "be",
            "can",
        ],
    ),
    (
        "German",
        &[
            "der", "und", "ist", "das", "nicht", "ein", "eine", "zu", "von", "mit", "wie", "ich", "sie",
            "auf", "für", "dem", "den", "auch", "warum", "schreibe",
        ],
    ),
    (
        "French",
        &[
            "le", "les", "et", "est", "une", "des", "pour", "dans", "que", "qui", "je", "vous", "du", "au",
            "pas", "sur", "avec", "ce", "comment", "pourquoi",
        ],
    ),
    (
        "Spanish",
        &[
            "el", "los", "las", "y", "es", "por", "para", "con", "una", "cómo", "qué", "del", "al", "está",
            "pero", "lo", "su", "como", "escribe", "muy",
        ],
    ),
    (
        "Italian",
        &[
            "il", "gli", "di", "è", "che", "per", "una", "con", "non", "della", "sono", "perché", "nel",
            "questo", "scrivi", "ma", "alla", "anche", "si", "come",
        ],
    ),
    (
        "Portuguese",
        &[
            "os", "uma", "não", "com", "do", "da", "em", "é", "que", "por", "você", "ao", "mas", "são", "na",
            "no", "seu", "escreva", "também", "isso",
        ],
    ),
    (
        "Dutch",
        &[
            "het", "een", "van", "en", "niet", "ik", "voor", "zijn", "hoe", "wat", "dat", "met", "naar",
            "ook", "je", "maar", "deze", "schrijf", "waarom", "aan",
        ],
    ),
];

/// What a text is called whose language shows in nothing.
pub const NOT_TOLD: &str = "not told";

/// The script of a letter, unless it is Latin.
fn script(letter: char) -> Option<&'static str> {
    Some(match letter {
        '\u{370}'..='\u{3ff}' => "Greek script",
        '\u{400}'..='\u{52f}' => "Cyrillic script",
        '\u{590}'..='\u{5ff}' => "Hebrew script",
        '\u{600}'..='\u{6ff}' => "Arabic script",
        '\u{900}'..='\u{97f}' => "Devanagari script",
        '\u{e00}'..='\u{e7f}' => "Thai script",
        '\u{3040}'..='\u{30ff}' => "Japanese",
        '\u{ac00}'..='\u{d7af}' => "Korean",
        '\u{4e00}'..='\u{9fff}' | '\u{3400}'..='\u{4dbf}' => "Chinese characters",
        _ => return None,
    })
}

/// The language, the script, or [`NOT_TOLD`].
pub fn language(text: &str) -> &'static str {
    let letters = text.chars().filter(|c| c.is_alphabetic()).count();
    let others: Vec<&str> = text.chars().filter_map(script).collect();
    if 2 * others.len() > letters {
        // Japanese has Chinese characters among its own.
        return if others.contains(&"Japanese") { "Japanese" } else { most(&others) };
    }
    let lower = text.to_lowercase();
    let words: Vec<&str> =
        lower.split(|c: char| !c.is_alphabetic()).filter(|word| !word.is_empty()).collect();
    let hits = WORDS.map(|(name, known)| (words.iter().filter(|word| known.contains(word)).count(), name));
    let best = hits.iter().map(|(count, _)| *count).max().unwrap_or(0);
    let mut with_best = hits.iter().filter(|(count, _)| *count == best);
    match (best, with_best.next(), with_best.next()) {
        (1.., Some((_, name)), None) => name,
        _ => NOT_TOLD,
    }
}

/// The most frequent of some names, of equals the first.
fn most(names: &[&'static str]) -> &'static str {
    let count = |name: &&str| names.iter().filter(|other| *other == name).count();
    names.iter().rev().max_by_key(|name| count(name)).copied().unwrap_or(NOT_TOLD)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn languages_show_in_their_words_and_scripts() {
        for (text, expected) in [
            ("What is the capital of France?", "English"),
            ("Wie ist das Wetter, und warum?", "German"),
            ("Pourquoi les oiseaux chantent dans le jardin", "French"),
            ("Escribe una carta para el rey, por favor", "Spanish"),
            ("Perché il cielo è blu?", "Italian"),
            ("Você não gosta da casa", "Portuguese"),
            ("Schrijf een gedicht voor het kind", "Dutch"),
            ("Почему небо голубое?", "Cyrillic script"),
            ("空はなぜ青い", "Japanese"),
            ("天空为什么是蓝色的", "Chinese characters"),
            ("하늘은 왜 파란가", "Korean"),
            ("لماذا السماء زرقاء", "Arabic script"),
            ("Translate the word Привет", "English"),
            ("1 + 1 = ?", NOT_TOLD),
            ("", NOT_TOLD),
            ("que", NOT_TOLD),
        ] {
            assert_eq!(language(text), expected, "{text}");
        }
    }
}
