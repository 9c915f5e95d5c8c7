//! Which words of a response earned its score, and which lost it: for people who read answers side by side.

use core::ops::Range;

use super::facts::Facts;
use super::gold::{fulfilment, judge};
use super::reading::{Reading, mentions};
use super::requests::{Constraint, Request};

/// Bytes of a response that earned (`true`) or lost (`false`): a simple reading, sentence by sentence. A sentence that is
/// not of the language, was said before or holds a rude or forbidden word is lost; one that alone does a part of the
/// task has earned.
pub fn marks(facts: &Facts, request: &Request, response: &str) -> Vec<(Range<usize>, bool)> {
    let mut marks: Vec<(Range<usize>, bool)> = Vec::new();
    let mut before = "";
    let mut rest = response.len() - response.trim_start().len();
    while rest < response.len() {
        let end = response[rest..].find(['.', '?', '!']).map_or(response.len(), |at| rest + at + 1);
        let sentence = &response[rest..end];
        let reading = Reading::of(&response[..end]);
        let forbidden = |constraint: &Constraint| matches!(constraint, Constraint::Avoid(noun) if mentions(sentence, noun));
        let lost = reading.ungrammatical > Reading::of(before).ungrammatical
            || before.contains(sentence)
            || Reading::of(sentence).rude
            || request.constraints.iter().any(forbidden);
        let done = |text: &str| fulfilment(&request.task, &Reading::of(text)).0;
        let untrue = judge(facts, request, &response[..end]).untrue && !judge(facts, request, before).untrue;
        if lost || untrue {
            marks.push((rest..end, false));
        } else if done(&response[..end]) > done(before) {
            marks.push((rest..end, true));
        }
        before = &response[..end];
        rest = end + (response.len() - end - response[end..].trim_start().len());
    }
    marks
}

#[cfg(test)]
mod tests {
    use super::super::World;

    #[test]
    fn marks_say_what_earned_and_what_lost() {
        let marks = |request: &str, response: &str| {
            let marks = World::new(1).marks(&format!("Request: {request}\nAnswer:"), response);
            marks.into_iter().map(|(range, good)| (response[range].to_string(), good)).collect::<Vec<_>>()
        };
        let request = "Find the object: One day the fox met the owl. It found a big ball.";
        let sentence = "The object is the ball.".to_string();
        assert_eq!(marks(request, " The object is the ball."), [(sentence.clone(), true)]);
        let found = marks(request, " The object is the ball. The object is the ball. ball é");
        let lost = |text: &str| (text.to_string(), false);
        assert_eq!(found, [(sentence.clone(), true), lost(&sentence), lost("ball é")]);
        assert_eq!(marks(request, " The object is the bell."), [lost("The object is the bell.")]);
        assert_eq!(marks("What?", "The fox is red."), []);
    }
}
