//! Reading a text back: what it claims, whether it is grammatical, rude, repetitive, cut off.

use super::language::{Clause, Form};
use super::words::{OBJECTS, RUDE, SIZES, TIMES, find, unfill, words_of};

/// What a text says and how well it says it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Reading {
    /// Statements in order, with "It" replaced by the first animal named, and without adjectives.
    pub clauses: Vec<Clause>,
    /// Colours given in passing ("the red fox"): animal, colour.
    pub colours: Vec<(&'static str, &'static str)>,
    /// Sentences, a cut-off last one included.
    pub sentences: usize,
    /// Sentences that are not of this language, a cut-off last one included.
    pub ungrammatical: usize,
    /// Sentences said before, word for word.
    pub repeated: usize,
    /// A rude word occurs.
    pub rude: bool,
    /// The last sentence is complete.
    pub finished: bool,
}

impl Reading {
    /// Reads any text whatsoever; outer white space does not count.
    pub fn of(text: &str) -> Self {
        let mut reading = Reading::default();
        let mut seen: Vec<&str> = Vec::new();
        for sentence in sentences(text.trim()) {
            reading.sentences += 1;
            reading.finished = sentence.ends_with(['.', '?', '!']);
            reading.repeated += usize::from(seen.contains(&sentence));
            reading.ungrammatical += usize::from(reading.sentence(sentence).is_none());
            seen.push(sentence);
        }
        reading.rude = text.split(|c: char| !c.is_alphabetic()).any(|word| RUDE.contains(&word));
        reading
    }

    /// Adds what one sentence says; `None` if it is not of this language.
    fn sentence(&mut self, sentence: &str) -> Option<()> {
        // "The fox said: <sentence>"
        let mut rest = sentence;
        if let Some((start, said)) = sentence.split_once(" said: ") {
            let speaker = unfill("The {animal}", &self.without_adjectives(start))?;
            self.clauses.push(Clause { form: Form::Said, slots: speaker });
            rest = said;
        }
        // "<clause>, so the fox was happy."
        if let Some((cause, effect)) = rest.split_once(", so the ") {
            self.clause(&format!("{cause}."))?;
            return self.clause(&format!("The {effect}"));
        }
        self.clause(rest)
    }

    /// Adds one clause, brought to its plain form first.
    fn clause(&mut self, clause: &str) -> Option<()> {
        let mut plain = clause.to_string();
        let opened = TIMES.iter().find_map(|time| clause.strip_prefix(&format!("One {time} the ")));
        if let Some(rest) = opened {
            plain = format!("The {rest}");
        } else if let Some(rest) = clause.strip_prefix("It ") {
            plain = format!("The {} {rest}", self.hero()?);
        }
        let clause = Clause::read(&self.without_adjectives(&plain))?;
        (opened.is_none() || clause.form.is_event()).then(|| self.clauses.push(clause))
    }

    /// Takes out a colour or a rude word before an animal and a size before an object.
    fn without_adjectives(&mut self, clause: &str) -> String {
        let words: Vec<&str> = clause.split(' ').collect();
        let mut plain: Vec<&str> = Vec::new();
        for (i, &word) in words.iter().enumerate() {
            let next = words.get(i + 1).map_or("", |next| next.trim_end_matches(['.', ',', '?']));
            match (find("animal", next), find("colour", word)) {
                (Some(animal), Some(colour)) => self.colours.push((animal, colour)),
                (Some(_), None) if RUDE.contains(&word) => {}
                (None, _) if SIZES.contains(&word) && OBJECTS.contains(&next) => {}
                _ => plain.push(word),
            }
        }
        plain.join(" ")
    }

    /// The animal a story is about: the first one named.
    pub fn hero(&self) -> Option<&'static str> {
        self.first_of("animal")
    }

    /// The last event that puts its hero into a mood, if any.
    pub fn event(&self) -> Option<&Clause> {
        self.clauses.iter().rev().find(|clause| clause.form.mood().is_some())
    }

    /// Whether something of that form is said.
    pub fn says(&self, form: Form) -> bool {
        self.clauses.iter().any(|clause| clause.form == form)
    }

    /// The last one to speak.
    pub fn speaker(&self) -> Option<&'static str> {
        self.clauses.iter().rev().find(|clause| clause.form == Form::Said).map(|said| said.slots[0])
    }

    /// Whom the last order or plea is for.
    pub fn spoken_to(&self) -> Option<&'static str> {
        self.clauses.iter().rev().find_map(|clause| match clause.form {
            Form::Order => Some(clause.slots[0]),
            Form::Please => Some(clause.slots[2]),
            _ => None,
        })
    }

    /// The statement that answers a question: of the right form, about what the question names.
    pub fn answer(&self, question: &Clause) -> Option<&Clause> {
        let about = |clause: &Clause| question.slots.iter().all(|word| clause.slots.contains(word));
        self.clauses.iter().find(|clause| Some(clause.form) == question.form.answer() && about(clause))
    }

    /// The first word of a class.
    pub fn first_of(&self, class: &str) -> Option<&'static str> {
        let known = words_of(class);
        self.clauses.iter().flat_map(|clause| &clause.slots).find(|word| known.contains(word)).copied()
    }
}

/// Splits at sentence ends; a last piece without one is a sentence cut off.
fn sentences(text: &str) -> impl Iterator<Item = &str> {
    let ends = |pair: &[u8]| matches!(pair[0], b'.' | b'?' | b'!') && pair[1] == b' ';
    let mut rest = text;
    core::iter::from_fn(move || {
        let end = rest.as_bytes().windows(2).position(ends).map_or(rest.len(), |at| at + 1);
        let sentence = &rest[..end];
        rest = rest[end..].strip_prefix(' ').unwrap_or(&rest[end..]);
        (!sentence.is_empty()).then_some(sentence)
    })
}

/// Whether `word` occurs in `text` as a word of its own.
pub fn mentions(text: &str, word: &str) -> bool {
    text.split(|c: char| !c.is_alphabetic()).any(|other| other == word)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reading_resolves_pronouns_and_adjectives() {
        let reading =
            Reading::of(" One day the red fox met the ugly owl. It found a big ball, so the fox was happy.");
        let expected = [
            Clause::new(Form::Met, &["fox", "owl"]),
            Clause::new(Form::Found, &["fox", "ball"]),
            Clause::new(Form::Was, &["fox", "happy"]),
        ];
        assert_eq!(reading.clauses, expected);
        assert_eq!(reading.colours, [("fox", "red")]);
        assert!(reading.rude && reading.finished);
        assert_eq!((reading.sentences, reading.ungrammatical, reading.repeated), (2, 0, 0));
    }

    #[test]
    fn what_is_not_of_the_language_is_noticed() {
        for text in [
            "the fox is red.",
            "The fox is  red.",
            "The fox is red",
            "The fox is\nred.",
            "fox fox fox",
            "It is red.",
            "One day the fox is red.",
            "Here are three foods: .",
            "The unicorn is red.",
            "The fox is red, so.",
            "The fox is red, so the",
            ". . .",
            "The ball ball is red.",
            "a, b and c.",
            "é.",
        ] {
            assert_ne!(Reading::of(text).ungrammatical, 0, "{text:?}");
        }
        assert_eq!(Reading::of("  "), Reading::default());
        assert_eq!(Reading::of("The fox is red. The fox is red.").repeated, 1);
    }
}
