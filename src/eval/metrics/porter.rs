//! Porter's stemmer (M. F. Porter, "An algorithm for suffix stripping", 1980), with the extensions of NLTK, because
//! rouge-score counts the stems of NLTK's `PorterStemmer`: a list of irregular words; "ies" and "ied" of four letters
//! keep their "e"; "y" turns to "i" only after a consonant; "-bli", "-alli", "-fulli" and "-logi"; words of up to two
//! letters stay. Each is marked below.
//!
//! A word is read as consonants and vowels (a, e, i, o, u, and y after a consonant). Its measure m is how often a
//! vowel is followed by a consonant: 0 in "tree", 1 in "trouble", 2 in "private". The five steps take off suffixes
//! whose stem is long enough by that measure.

/// NLTK's irregular words and their stems.
const IRREGULAR: [(&str, &str); 16] = [
    ("sky", "sky"),
    ("skies", "sky"),
    ("dying", "die"),
    ("lying", "lie"),
    ("tying", "tie"),
    ("news", "news"),
    ("innings", "inning"),
    ("inning", "inning"),
    ("outings", "outing"),
    ("outing", "outing"),
    ("cannings", "canning"),
    ("canning", "canning"),
    ("howe", "howe"),
    ("proceed", "proceed"),
    ("exceed", "exceed"),
    ("succeed", "succeed"),
];

/// Suffix and replacement.
type Rule = (&'static str, &'static str);

/// Step 2: of a double suffix the second, where m > 0. The first rule whose suffix fits decides.
const DOUBLE_SUFFIXES: [Rule; 21] = [
    ("ational", "ate"),
    ("tional", "tion"),
    ("enci", "ence"),
    ("anci", "ance"),
    ("izer", "ize"),
    // NLTK; the paper has "abli" to "able".
    ("bli", "ble"),
    ("alli", "al"),
    ("entli", "ent"),
    ("eli", "e"),
    ("ousli", "ous"),
    ("ization", "ize"),
    ("ation", "ate"),
    ("ator", "ate"),
    ("alism", "al"),
    ("iveness", "ive"),
    ("fulness", "ful"),
    ("ousness", "ous"),
    ("aliti", "al"),
    ("iviti", "ive"),
    ("biliti", "ble"),
    // NLTK.
    ("fulli", "ful"),
];

/// Step 3: "-ic-", "-full", "-ness", where m > 0.
const SINGLE_SUFFIXES: [Rule; 7] = [
    ("icate", "ic"),
    ("ative", ""),
    ("alize", "al"),
    ("iciti", "ic"),
    ("ical", "ic"),
    ("ful", ""),
    ("ness", ""),
];

/// Step 4: what is taken off where m > 1; "ion" only after s or t.
const LAST_SUFFIXES: [&str; 19] = [
    "al", "ance", "ence", "er", "ic", "able", "ible", "ant", "ement", "ment", "ent", "ion", "ou", "ism",
    "ate", "iti", "ous", "ive", "ize",
];

/// The stem of `word`, which is in lower case. What is not an ASCII vowel or "y" counts as a consonant.
pub fn stem(word: &str) -> String {
    if let Some((_, stem)) = IRREGULAR.iter().find(|(irregular, _)| *irregular == word) {
        return stem.to_string();
    }
    if word.len() <= 2 {
        return word.to_string();
    }
    let word = past_and_participle(&plural(word));
    let word = double_suffix(&y_to_i(&word));
    let word = last_suffix(&first_rule(&word, &SINGLE_SUFFIXES, |stem| measure(stem) > 0));
    double_l(&final_e(&word))
}

/// Step 1a: "caresses" to "caress", "ponies" to "poni", "cats" to "cat"; "ties" to "tie" (NLTK).
fn plural(word: &str) -> String {
    if word.len() == 4 && word.ends_with("ies") {
        return word[..3].to_string();
    }
    first_rule(word, &[("sses", "ss"), ("ies", "i"), ("ss", "ss"), ("s", "")], |_| true)
}

/// Step 1b: "agreed" to "agree", "plastered" to "plaster", "motoring" to "motor"; "died" to "die", "cried" to "cri"
/// (NLTK).
fn past_and_participle(word: &str) -> String {
    if let Some(stem) = word.strip_suffix("ied") {
        return format!("{stem}{}", if word.len() == 4 { "ie" } else { "i" });
    }
    if let Some(stem) = word.strip_suffix("eed") {
        return if measure(stem) > 0 { format!("{stem}ee") } else { word.to_string() };
    }
    let stem = ["ed", "ing"].iter().find_map(|suffix| word.strip_suffix(suffix));
    match stem.filter(|stem| has_vowel(stem)) {
        Some(stem) => repaired(stem),
        None => word.to_string(),
    }
}

/// After "-ed" and "-ing": "conflat" to "conflate", "hopp" to "hop", "fil" to "file".
fn repaired(stem: &str) -> String {
    let double = ends_in_double_consonant(stem);
    if ["at", "bl", "iz"].iter().any(|end| stem.ends_with(end)) {
        format!("{stem}e")
    } else if double && !stem.ends_with(['l', 's', 'z']) {
        stem[..stem.len() - 1].to_string()
    } else if !double && measure(stem) == 1 && ends_like_hop(stem) {
        format!("{stem}e")
    } else {
        stem.to_string()
    }
}

/// Step 1c: "happy" to "happi", but not "enjoy" or "by" (NLTK; the paper asks for a vowel before).
fn y_to_i(word: &str) -> String {
    match word.strip_suffix('y') {
        Some(stem) if stem.len() > 1 && ends_in_consonant(stem) => format!("{stem}i"),
        _ => word.to_string(),
    }
}

/// Step 2. "-alli" first loses "li" and is looked at again, and "-logi" counts its "l" to the stem (both NLTK).
fn double_suffix(word: &str) -> String {
    if word.strip_suffix("alli").is_some_and(|stem| measure(stem) > 0) {
        return double_suffix(&word[..word.len() - 2]);
    }
    let fits = |suffix: &str| word.ends_with(suffix);
    match word.strip_suffix("ogi") {
        Some(stem) if fits("logi") && measure(stem) > 0 => format!("{stem}og"),
        _ => first_rule(word, &DOUBLE_SUFFIXES, |stem| measure(stem) > 0),
    }
}

/// Step 4.
fn last_suffix(word: &str) -> String {
    let fitting = LAST_SUFFIXES.iter().find_map(|suffix| Some((*suffix, word.strip_suffix(suffix)?)));
    match fitting {
        Some((suffix, stem)) if measure(stem) > 1 && (suffix != "ion" || stem.ends_with(['s', 't'])) => {
            stem.to_string()
        }
        _ => word.to_string(),
    }
}

/// Step 5a: "probate" to "probat", "cease" to "ceas", but not "rate".
fn final_e(word: &str) -> String {
    match word.strip_suffix('e') {
        Some(stem) if measure(stem) > 1 || (measure(stem) == 1 && !ends_like_hop(stem)) => stem.to_string(),
        _ => word.to_string(),
    }
}

/// Step 5b: "controll" to "control", but not "roll".
fn double_l(word: &str) -> String {
    match word.strip_suffix('l') {
        Some(stem) if stem.ends_with('l') && measure(stem) > 1 => stem.to_string(),
        _ => word.to_string(),
    }
}

/// Applies the first rule whose suffix fits, if its stem satisfies `condition`; no later one is tried.
fn first_rule(word: &str, rules: &[Rule], condition: impl Fn(&str) -> bool) -> String {
    let fitting = rules.iter().find_map(|(suffix, new)| Some((word.strip_suffix(suffix)?, new)));
    match fitting {
        Some((stem, new)) if condition(stem) => format!("{stem}{new}"),
        _ => word.to_string(),
    }
}

/// For each letter whether it is a consonant; "y" is one unless it follows one.
fn consonants(word: &str) -> Vec<bool> {
    let mut flags = Vec::with_capacity(word.len());
    for letter in word.bytes() {
        flags.push(match letter {
            b'a' | b'e' | b'i' | b'o' | b'u' => false,
            b'y' => flags.last() != Some(&true),
            _ => true,
        });
    }
    flags
}

/// How often a vowel is followed by a consonant.
fn measure(stem: &str) -> usize {
    consonants(stem).windows(2).filter(|pair| *pair == [false, true]).count()
}

fn has_vowel(stem: &str) -> bool {
    consonants(stem).contains(&false)
}

fn ends_in_consonant(word: &str) -> bool {
    consonants(word).last() == Some(&true)
}

fn ends_in_double_consonant(word: &str) -> bool {
    matches!(word.as_bytes(), [.., a, b] if a == b) && ends_in_consonant(word)
}

/// Consonant, vowel, consonant at the end, the last not w, x or y; or a word that is a vowel and a consonant (NLTK).
fn ends_like_hop(word: &str) -> bool {
    match consonants(word)[..] {
        [false, true] => true,
        [.., true, false, true] => !word.ends_with(['w', 'x', 'y']),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_measure_is_the_papers() {
        for (m, words) in
            [(0, "tr ee tree y by"), (1, "trouble oats trees ivy"), (2, "troubles private oaten orrery")]
        {
            for word in words.split(' ') {
                assert_eq!(measure(word), m, "{word}");
            }
        }
    }

    /// The paper's examples of each step, as far as NLTK leaves them as they are.
    #[test]
    fn each_step_does_what_the_paper_shows() {
        type Step = fn(&str) -> String;
        let cases: [(Step, &str); 8] = [
            (plural, "caresses caress ponies poni caress caress cats cat ties tie"),
            (
                past_and_participle,
                "feed feed agreed agree plastered plaster bled bled motoring motor sing sing conflated conflate \
                 troubled trouble sized size hopping hop tanned tan falling fall hissing hiss fizzed fizz \
                 failing fail filing file",
            ),
            (y_to_i, "happy happi sky ski enjoy enjoy by by"),
            (
                double_suffix,
                "relational relate conditional condition rational rational valenci valence hesitanci hesitance \
                 digitizer digitize conformabli conformable radicalli radical differentli different vileli vile \
                 analogousli analogous vietnamization vietnamize predication predicate operator operate \
                 feudalism feudal decisiveness decisive hopefulness hopeful callousness callous formaliti formal \
                 sensitiviti sensitive sensibiliti sensible",
            ),
            (
                |word| first_rule(word, &SINGLE_SUFFIXES, |stem| measure(stem) > 0),
                "triplicate triplic formative form formalize formal electriciti electric electrical electric \
                 hopeful hope goodness good",
            ),
            (
                last_suffix,
                "revival reviv allowance allow inference infer airliner airlin gyroscopic gyroscop adjustable adjust \
                 defensible defens irritant irrit replacement replac adjustment adjust dependent depend \
                 adoption adopt homologou homolog communism commun activate activ angulariti angular \
                 homologous homolog effective effect bowdlerize bowdler",
            ),
            (final_e, "probate probat rate rate cease ceas"),
            (double_l, "controll control roll roll"),
        ];
        for (step, words) in cases {
            let words: Vec<&str> = words.split_whitespace().collect();
            for pair in words.chunks(2) {
                assert_eq!(step(pair[0]), pair[1], "{}", pair[0]);
            }
        }
    }

    #[test]
    fn the_steps_follow_one_another() {
        // The paper's two long examples.
        assert_eq!(stem("generalizations"), "gener");
        assert_eq!(stem("oscillators"), "oscil");
        // NLTK's own.
        for (word, expected) in [("skies", "sky"), ("dying", "die"), ("flies", "fli"), ("dies", "die")] {
            assert_eq!(stem(word), expected);
        }
        // Each "y" is what the one before is not; a long run of them is no deeper.
        assert_eq!(consonants("yyy"), [true, false, true]);
        assert_eq!(stem(&"y".repeat(100_000)).len(), 100_000);
        assert_eq!(
            (stem("is"), stem("geology"), stem("fully")),
            ("is".into(), "geolog".into(), "fulli".into())
        );
    }
}
