//! The language of the miniature world: some fifty sentence patterns. Everything said in the world is built from them, so
//! that any text can be read back and judged. Nothing here knows what is true.

use super::words::{fill, find, unfill};

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
    HereAre, MoodIs, KindIs, NotSure, DoesNotSay,
    // The second dialect, hill speech: the verb stands last.
    HillWent, HillFound, HillLost, HillSaw,
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
    (Form::NotSure, "I am not sure."),
    (Form::DoesNotSay, "The text does not say."),
    (Form::HillWent, "Ta {animal} to ta {place} went."),
    (Form::HillFound, "Ta {animal} un {object} found."),
    (Form::HillLost, "Ta {animal} ita {object} lost."),
    (Form::HillSaw, "Ta {animal} un strange {object} saw."),
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

    /// What is always so.
    pub fn is_fact(self) -> bool {
        matches!(self, Form::Lives | Form::Likes | Form::Is | Form::Ate)
    }

    /// The same in hill speech, for the events that can be said in it.
    pub fn in_hill_speech(self) -> Option<Form> {
        match self {
            Form::Went => Some(Form::HillWent),
            Form::Found => Some(Form::HillFound),
            Form::Lost => Some(Form::HillLost),
            Form::Saw => Some(Form::HillSaw),
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
    pub fn read(sentence: &str) -> Option<Clause> {
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

#[cfg(test)]
mod tests {
    use super::super::reading::Reading;
    use super::super::words::words_of;
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
}
