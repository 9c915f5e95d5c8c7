//! The language of the miniature world: about 160 words and some forty sentence patterns. Everything
//! said in the world is built from them, so any text can be read back and judged: what it claims,
//! whether it is grammatical, rude, repetitive, cut off. Nothing here knows what is true.

/// The cast.
pub const ANIMALS: [&str; 12] =
    ["fox", "owl", "bear", "frog", "cat", "dog", "mouse", "hen", "rabbit", "duck", "goat", "pig"];
/// Landmarks: homes, and places to go to.
pub const PLACES: [&str; 12] = [
    "river", "barn", "forest", "cave", "garden", "hill", "lake", "field", "pond", "meadow", "bridge", "mill",
];
/// Things to eat.
pub const FOODS: [&str; 12] = [
    "honey", "corn", "soup", "bread", "cheese", "berries", "nuts", "fish", "grass", "apples", "seeds", "cake",
];
/// Colours of animals.
pub const COLOURS: [&str; 6] = ["red", "brown", "white", "black", "grey", "yellow"];
/// Things to find and to lose.
pub const OBJECTS: [&str; 10] =
    ["ball", "hat", "bell", "book", "kite", "lamp", "drum", "coin", "box", "rope"];
/// What may stand before a thing.
pub const SIZES: [&str; 4] = ["big", "small", "new", "shiny"];
/// Moods; every event leads to one of them ([`Form::mood`]).
pub const MOODS: [&str; 4] = ["happy", "sad", "cross", "scared"];
/// When a story begins.
pub const TIMES: [&str; 3] = ["day", "morning", "night"];
/// Words that a good assistant does not use.
pub const RUDE: [&str; 4] = ["stupid", "ugly", "dumb", "lousy"];
/// Counts in requests: `NUMBERS[i]` is `i + 2`.
pub const NUMBERS: [&str; 4] = ["two", "three", "four", "five"];
/// What can be listed.
pub const CATEGORIES: [&str; 5] = ["animals", "places", "foods", "colours", "objects"];
/// What can be pointed out in a text.
pub const KINDS: [&str; 3] = ["animal", "place", "object"];
/// What can be asked of an animal.
pub const COMMANDS: [&str; 6] = ["bring", "take", "find", "hide", "drop", "wash"];
/// A listener's answer to news.
pub const FEELINGS: [&str; 2] = ["glad", "sorry"];

/// The words a slot of this name accepts; a category ("foods") is named like its slot ("food").
pub fn words_of(class: &str) -> &'static [&'static str] {
    match class {
        "animal" | "animals" => &ANIMALS,
        "place" | "places" => &PLACES,
        "food" | "foods" => &FOODS,
        "colour" | "colours" => &COLOURS,
        "object" | "objects" => &OBJECTS,
        "size" => &SIZES,
        "mood" => &MOODS,
        "time" => &TIMES,
        "rude" => &RUDE,
        "number" => &NUMBERS,
        "category" => &CATEGORIES,
        "kind" => &KINDS,
        "command" => &COMMANDS,
        "feeling" => &FEELINGS,
        _ => panic!("no slot is called {class:?}"),
    }
}

/// `word` as the vocabulary has it, if `class` contains it ("noun": anything that can be listed).
fn find(class: &str, word: &str) -> Option<&'static str> {
    if class == "noun" {
        return CATEGORIES.iter().find_map(|category| find(category, word));
    }
    words_of(class).iter().find(|known| **known == word).copied()
}

/// Reads `text` as `template`: literal words, and slots like `{animal}` of one word each. The words
/// in the slots, in order; `None` if it is not that template.
pub fn unfill(template: &str, text: &str) -> Option<Vec<&'static str>> {
    let mut words = text.split(' ');
    let mut slots = Vec::new();
    for expected in template.split(' ') {
        let word = words.next()?;
        match expected.strip_prefix('{').and_then(|slot| slot.split_once('}')) {
            Some((class, ending)) => slots.push(find(class, word.strip_suffix(ending)?)?),
            None if word == expected => {}
            None => return None,
        }
    }
    words.next().is_none().then_some(slots)
}

/// The inverse of [`unfill`].
pub fn fill(template: &str, slots: &[&str]) -> String {
    let mut text = String::new();
    let mut rest = template;
    for slot in slots {
        let (before, after) = rest.split_once('{').expect("a slot for every word");
        text = text + before + slot;
        rest = after.split_once('}').expect("a closed slot").1;
    }
    assert!(!rest.contains('{'), "a word for every slot of {template:?}, got {slots:?}");
    text + rest
}

/// What kind of thing a clause says. The patterns are in [`FORMS`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[rustfmt::skip]
#[expect(missing_docs, reason = "the pattern of each form, in FORMS, says it best")]
pub enum Form {
    // What is always so.
    Lives, Likes, Is,
    // What happens in a story.
    Went, Met, Ate, Found, Gave, Lost, Took, Saw, Was,
    // Questions.
    WhereLives, WhatLikes, WhatColour, WhoLives, WhoLikes,
    WhereWent, WhoMet, WhatFound, WhatLost, WhatSaw, WhoGave, WhoTook,
    // Conversation.
    Said, IAm, IFound, ILost, GaveMe, TookMy, Hello, FeelFound, FeelLost, FeelGave, FeelTook, Please, Order,
    // Answers about words and texts.
    HereAre, MoodIs, KindIs,
}

/// The pattern of every form but [`Form::Said`] (a prefix) and the list of [`Form::HereAre`].
#[rustfmt::skip]
pub const FORMS: &[(Form, &str)] = &[
    (Form::Lives, "The {animal} lives near the {place}."),
    (Form::Likes, "The {animal} likes {food}."),
    (Form::Is, "The {animal} is {colour}."),
    (Form::Went, "The {animal} went to the {place}."),
    (Form::Met, "The {animal} met the {animal}."),
    (Form::Ate, "The {animal} ate {food}."),
    (Form::Found, "The {animal} found a {object}."),
    (Form::Gave, "The {animal} gave the {animal} a {object}."),
    (Form::Lost, "The {animal} lost its {object}."),
    (Form::Took, "The {animal} took a {object} from the {animal}."),
    (Form::Saw, "The {animal} saw a strange {object}."),
    (Form::Was, "The {animal} was {mood}."),
    (Form::WhereLives, "Where does the {animal} live?"),
    (Form::WhatLikes, "What does the {animal} like?"),
    (Form::WhatColour, "What colour is the {animal}?"),
    (Form::WhoLives, "Who lives near the {place}?"),
    (Form::WhoLikes, "Who likes {food}?"),
    (Form::WhereWent, "Where did the {animal} go?"),
    (Form::WhoMet, "Who did the {animal} meet?"),
    (Form::WhatFound, "What did the {animal} find?"),
    (Form::WhatLost, "What did the {animal} lose?"),
    (Form::WhatSaw, "What did the {animal} see?"),
    (Form::WhoGave, "Who gave the {animal} a {object}?"),
    (Form::WhoTook, "Who took a {object} from the {animal}?"),
    (Form::IAm, "I am the {animal}."),
    (Form::IFound, "I found a {object}."),
    (Form::ILost, "I lost my {object}."),
    (Form::GaveMe, "The {animal} gave me a {object}."),
    (Form::TookMy, "The {animal} took my {object}."),
    (Form::Hello, "Hello, {animal}."),
    (Form::FeelFound, "I am {feeling} that you found a {object}."),
    (Form::FeelLost, "I am {feeling} that you lost your {object}."),
    (Form::FeelGave, "I am {feeling} that the {animal} gave you a {object}."),
    (Form::FeelTook, "I am {feeling} that the {animal} took your {object}."),
    (Form::Please, "Please {command} the {object}, {animal}."),
    (Form::Order, "You {animal}, {command} the {object}."),
    (Form::HereAre, "Here are {number} {category}:"),
    (Form::MoodIs, "The mood is {mood}."),
    (Form::KindIs, "The {kind} is the {noun}."),
];

impl Form {
    /// The mood an event puts the hero of its story into.
    pub fn mood(self) -> Option<&'static str> {
        match self {
            Form::Found | Form::Gave => Some("happy"),
            Form::Lost => Some("sad"),
            Form::Took => Some("cross"),
            Form::Saw => Some("scared"),
            _ => None,
        }
    }

    /// The form of the answer to a question.
    pub fn answer(self) -> Option<Form> {
        Some(match self {
            Form::WhereLives | Form::WhoLives => Form::Lives,
            Form::WhatLikes | Form::WhoLikes => Form::Likes,
            Form::WhatColour => Form::Is,
            Form::WhereWent => Form::Went,
            Form::WhoMet => Form::Met,
            Form::WhatFound => Form::Found,
            Form::WhatLost => Form::Lost,
            Form::WhatSaw => Form::Saw,
            Form::WhoGave => Form::Gave,
            Form::WhoTook => Form::Took,
            _ => return None,
        })
    }

    /// What to reply to news in the first person, and the feeling that fits it.
    pub fn reply(self) -> Option<(Form, &'static str)> {
        match self {
            Form::IFound => Some((Form::FeelFound, "glad")),
            Form::ILost => Some((Form::FeelLost, "sorry")),
            Form::GaveMe => Some((Form::FeelGave, "glad")),
            Form::TookMy => Some((Form::FeelTook, "sorry")),
            _ => None,
        }
    }

    /// Something that happens, as opposed to something that is always so or is only said.
    pub fn is_event(self) -> bool {
        matches!(self, Form::Went | Form::Met | Form::Ate) || self.mood().is_some()
    }
}

/// One statement: a form and the words in its slots, in the order of its pattern.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Clause {
    /// What kind of statement.
    pub form: Form,
    /// Its words ([`Form::HereAre`]: number, category, then the items listed).
    pub slots: Vec<&'static str>,
}

impl Clause {
    /// A clause of that form.
    pub fn new(form: Form, slots: &[&'static str]) -> Self {
        Clause { form, slots: slots.to_vec() }
    }

    /// The clause as a sentence.
    pub fn text(&self) -> String {
        let pattern = FORMS.iter().find(|(form, _)| *form == self.form).expect("a form with a pattern").1;
        if self.form == Form::HereAre {
            let (last, others) = self.slots[2..].split_last().expect("a list has items");
            let and = if others.is_empty() { "" } else { " and " };
            return format!("{} {}{and}{last}.", fill(pattern, &self.slots[..2]), others.join(", "));
        }
        fill(pattern, &self.slots)
    }

    /// Reads one sentence in its plain form. `None`: not of this language.
    fn read(sentence: &str) -> Option<Clause> {
        if let Some((start, list)) = sentence.split_once(": ") {
            let mut slots = unfill("Here are {number} {category}:", &format!("{start}:"))?;
            let list = list.strip_suffix('.')?.replacen(" and ", ", ", 1);
            for item in list.split(", ") {
                slots.push(find("noun", item)?);
            }
            return Some(Clause { form: Form::HereAre, slots });
        }
        FORMS
            .iter()
            .filter(|(form, _)| *form != Form::HereAre)
            .find_map(|&(form, pattern)| unfill(pattern, sentence).map(|slots| Clause { form, slots }))
    }
}

/// Short for the text of a clause.
pub fn say(form: Form, slots: &[&'static str]) -> String {
    Clause::new(form, slots).text()
}

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
            self.clauses.push(Clause { form: Form::Said, slots: unfill("The {animal}", start)? });
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
    fn every_form_reads_back_as_itself() {
        for &(form, pattern) in FORMS {
            let classes = pattern.split('{').skip(1).map(|slot| slot.split_once('}').unwrap().0);
            let mut slots: Vec<&str> =
                classes.map(|class| if class == "noun" { "river" } else { words_of(class)[1] }).collect();
            if form == Form::HereAre {
                slots.extend(["honey", "corn", "soup"]);
            }
            let clause = Clause { form, slots };
            let reading = Reading::of(&clause.text());
            assert_eq!(reading.clauses, [clause], "{pattern}");
            assert!(reading.finished && !reading.rude && reading.ungrammatical == 0);
        }
    }

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
