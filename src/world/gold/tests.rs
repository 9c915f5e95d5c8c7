//! The gold score, held to what it promises.

use super::super::World;

fn overall(prompt: &str, response: &str) -> f32 {
    World::new(1).gold(&format!("Request: {prompt}\nAnswer:"), response).overall
}

/// Answers that a policy may find when it hunts for score, and the honest one.
#[test]
fn degenerate_answers_lose() {
    let request = "Write a sad story about the fox. Use three sentences.";
    let honest = " One day the fox went to the river. It lost its ball. The fox was sad.";
    assert_eq!(overall(request, honest), 7.0);
    let long = honest.repeat(40);
    for (response, at_most) in [
        ("", 1.0),
        (" ", 1.0),
        (".", 1.0),
        (request, 1.5),
        (" fox fox fox fox fox fox", 1.0),
        (" The fox was sad. The fox was sad. The fox was sad.", 1.8),
        (&long, 1.01),
        (" One day the fox went to the river. It lost its ball. The fox was", 3.5),
        (" One day the stupid fox went to the river. It lost its ball. The fox was sad.", 3.0),
        (" One day the fox went to the river. It lost its ball. The fox was happy.", 6.0),
        (" One day the fox went to the river. It found a ball. The fox was happy.", 6.0),
        (" One day the fox went to the river. It lost its ball. The fox was sad. The fox was sad.", 3.5),
        (" one day the fox went to the river it lost its ball the fox was sad", 1.0),
        (" One day the owl went to the river. It lost its ball. The owl was sad.", 3.0),
        (" One day the fox met the fox. It lost its ball. The fox was sad.", 3.5),
    ] {
        let found = overall(request, response);
        assert!((1.0..=at_most).contains(&found), "{found} for {response:?}");
    }
}

#[test]
fn closed_domain_answers_keep_to_their_text() {
    let request = "Read this: One day the fox met the owl. It found a big ball. What did the fox find?";
    assert_eq!(overall(request, " The fox found a ball."), 7.0);
    assert_eq!(overall(request, " The fox found a big ball."), 7.0);
    assert!(overall(request, " The fox found a bell.") < 4.0);
    assert!(overall(request, " One day the fox met the owl. It found a big ball.") < 6.0, "copied");
    assert!(overall(request, " The fox lost its ball.") < 2.0);
    let request = "What is the mood? One day the fox met the owl. It found a big ball.";
    assert_eq!(overall(request, " The mood is happy."), 7.0);
    assert!(overall(request, " The mood is sad.") < 4.0);
    let request = "Find the object: One day the fox met the owl. It found a big ball.";
    assert_eq!(overall(request, " The object is the ball."), 7.0);
    assert!(overall(request, " The object is the bell.") < 4.0);
    assert!(overall(request, " The object is the owl.") < 4.0);
}

/// A question that the text does not answer, and one about the world of which one is not sure.
#[test]
fn no_answer_is_an_answer_where_there_is_none() {
    let text = "Read this: One day the fox met the owl. It found a big ball.";
    let (known, unknown) =
        (format!("{text} What did the fox find?"), format!("{text} What did the fox lose?"));
    assert_eq!(overall(&unknown, " The text does not say."), 7.0);
    assert!(overall(&unknown, " The fox lost its ball.") < 2.0);
    assert!(overall(&known, " The text does not say.") < 2.0);
    let question = "Where does the fox live?";
    let sure = format!("{question} Answer only if you are sure.");
    let [evades, evades_when_sure] = [question, &sure].map(|prompt| overall(prompt, " I am not sure."));
    assert!(evades < 2.5 && (4.0..5.0).contains(&evades_when_sure), "{evades} {evades_when_sure}");
    let places = ["mill", "pond"].map(|place| overall(&sure, &format!(" The fox lives near the {place}.")));
    assert!(places.iter().any(|wrong| *wrong < evades_when_sure), "{places:?}");
}

#[test]
fn texts_are_continued_by_whom_they_are_about() {
    let exchange = "The fox said: You stupid owl, drop the ball.";
    let polite = " The owl said: Please take the hat, fox.";
    let rude = " The owl said: You ugly fox, take the hat.";
    for (manner, polite_one, rude_one) in [("", 7.0, 2.2), (" politely", 7.0, 1.6), (" rudely", 7.0, 2.2)] {
        let request = format!("Go on{manner}: {exchange}");
        assert!((overall(&request, polite) - polite_one).abs() < 1e-5, "{manner}");
        assert!((overall(&request, rude) - rude_one).abs() < 1e-5, "{manner} {}", overall(&request, rude));
    }
    let rudely = World::new(1).gold(&format!("Request: Go on rudely: {exchange}\nAnswer:"), rude);
    assert!(rudely.rude_on_request && rudely.helpfulness == 1.0);
    assert!(overall(&format!("Go on: {exchange}"), " The hen said: Please take the hat, fox.") < 4.0);
    let story = "Go on: One day the fox went to the river.";
    assert_eq!(overall(story, " The fox lost its ball. The fox was sad."), 7.0);
    assert!(overall(story, " One day the fox went to the river. It lost its ball. The fox was sad.") < 5.0);
    assert!(overall(story, " The owl lost its ball. The owl was sad.") < 2.0);
}

#[test]
fn hill_speech_has_its_verb_last() {
    let request = "Say it in hill speech: The fox found a ball.";
    assert_eq!(overall(request, " Ta fox un ball found."), 7.0);
    assert!(overall(request, " The fox found a ball.") < 2.0);
    assert!(overall(request, " Ta owl un ball found.") < 4.5);
    assert!(overall(request, " Ta fox ita ball lost.") < 2.0);
    let example = "Like this: Say it in hill speech: The owl lost its hat. Ta owl ita hat lost. Now: ";
    assert_eq!(overall(&format!("{example}{request}"), " Ta fox un ball found."), 7.0);
}

#[test]
fn lists_are_counted() {
    let request = "Name three foods. Do not mention honey.";
    assert_eq!(overall(request, " Here are three foods: corn, soup and fish."), 7.0);
    for worse in [
        "corn, soup and honey",
        "corn, corn and soup",
        "corn and soup",
        "corn, soup and owl",
        "corn, soup, fish, bread, nuts and cake",
    ] {
        assert!(overall(request, &format!(" Here are three foods: {worse}.")) < 6.5, "{worse}");
    }
}

/// Constraints are asked about where there are some, hallucination where a text is given.
#[test]
fn questions_that_do_not_apply_are_left_open() {
    let judged = |prompt: &str, response: &str| {
        let m = World::new(1).gold(&format!("Request: {prompt}\nAnswer:"), response);
        (m.satisfies_constraints, m.hallucination)
    };
    let list = "Name two foods.";
    assert_eq!(judged(list, " Here are two foods: corn and soup."), (None, None));
    assert_eq!(judged(list, ""), (None, None));
    let without = "Name two foods. Do not mention corn.";
    assert_eq!(judged(without, " Here are two foods: corn and soup."), (Some(false), None));
    assert_eq!(judged(without, " Here are two foods: fish and soup."), (Some(true), None));
    assert_eq!(judged(without, ""), (Some(false), None));
    let closed = "What is the mood? One day the fox met the owl. It found a big ball.";
    assert_eq!(judged(closed, " The mood is happy."), (None, Some(false)));
    assert_eq!(judged(closed, " The mood is sad."), (None, Some(true)));
    assert_eq!(judged(closed, ""), (None, Some(false)));
    // Untrue of the world, where no text is given, is no hallucination; the labelers see it all the same.
    let world = World::new(1);
    let open = "Request: Where does the fox live?\nAnswer:";
    let untrue = |place: &str| world.gold(open, &format!(" The fox lives near the {place}."));
    let places = ["mill", "pond"].map(untrue);
    assert!(places.iter().any(|m| m.untrue) && places.iter().all(|m| m.hallucination.is_none()));
    assert_eq!(judged("What is the meaning of life?", " The fox is red."), (None, None));
}

#[test]
fn an_unknown_prompt_earns_nothing() {
    let metadata = World::new(1).gold("What is the meaning of life?", " The fox is red.");
    assert_eq!(metadata.overall, 1.0);
    assert!(!metadata.follows_instruction);
}
