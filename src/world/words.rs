//! The words of the miniature world, about 180, and the templates that hold them: `{animal}` is a slot for one word of a
//! class.

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
/// Moods; every event leads to one of them ([`mood`](super::language::Form::mood)).
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
pub fn find(class: &str, word: &str) -> Option<&'static str> {
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

/// Animals of which the web tells that they are easily sad or scared: half of them, whatever they are like.
pub fn is_timid(animal: &str) -> bool {
    ["frog", "mouse", "hen", "rabbit", "duck", "goat"].contains(&animal)
}
