//! Promises of the whole world: repeatable, split cleanly, readable, judged fairly, ranked humanly.

use std::collections::BTreeSet;

use super::answers::perfect;
use super::labelers::{HELD_OUT_LABELERS, agreement};
use super::probes::ClosedTask;
use super::reading::Reading;
use super::requests::{GREETINGS, Kind, Manner, Task};
use super::*;

fn rng(i: u64) -> Rng {
    Rng::at(5, Stage::Test, Purpose::Test, 0, i, 0)
}

/// A request of every kind in turn.
fn requests(world: &World, n: u64) -> impl Iterator<Item = (Request, Rng)> {
    (0..n).map(|i| {
        let mut rng = rng(i);
        let kind = Kind::ALL[i as usize % Kind::ALL.len()];
        let request = Request::draw(kind, GREETINGS[i as usize % 3], &world.facts, &mut rng);
        let request = if i % 7 == 0 { request.with_example(&world.facts, &mut rng) } else { request };
        (request, rng)
    })
}

#[test]
fn the_same_seed_gives_the_same_world() {
    let everything = |seed| {
        let world = World::new(seed);
        let mut text = world.pretraining_documents(50).concat();
        for item in world.demonstrations(50, Side::Train) {
            text += &format!("{}{}{:?}{:?}", item.prompt, item.response, item.user, item.labeler);
        }
        for item in world.comparisons(20, Side::Validation, 4..=9) {
            text += &format!("{}{:?}{:?}{:?}", item.prompt, item.responses, item.ranks, item.labeler);
        }
        for item in world.prompts(50, Side::Test) {
            text += &format!("{}{:?}", item.prompt, item.user);
        }
        text
    };
    assert_eq!(hash(&everything(1)), 5_981_258_589_137_344_848, "the world of seed 1 is not what it was");
    assert_ne!(everything(1), everything(2));
}

#[test]
fn an_item_depends_on_no_other() {
    let world = World::new(3);
    assert_eq!(world.demonstrations(20, Side::Train)[13], world.demonstration(13, Side::Train));
    assert_eq!(world.comparisons(9, Side::Test, 4..=6)[8], world.comparison(8, Side::Test, 4..=6));
    assert_eq!(world.prompts(20, Side::Validation)[7], world.prompt(7, Side::Validation));
    assert_eq!(world.pretraining_documents(20)[19], world.pretraining_document(19));
}

#[test]
fn splits_share_neither_users_nor_prompts() {
    let world = World::new(4);
    let parts = Side::ALL.map(|split| {
        let mut users = BTreeSet::new();
        let mut prompts = BTreeSet::new();
        for demonstration in world.demonstrations(600, split) {
            users.extend(demonstration.user);
            prompts.insert(demonstration.prompt);
        }
        for comparison in world.comparisons(100, split, 2..=3) {
            users.extend(comparison.user);
            prompts.insert(comparison.prompt);
        }
        for prompt in world.prompts(600, split) {
            users.extend(prompt.user);
            prompts.insert(prompt.prompt);
        }
        (users, prompts)
    });
    for (a, b) in [(0, 1), (0, 2), (1, 2)] {
        assert!(parts[a].0.is_disjoint(&parts[b].0) && parts[a].1.is_disjoint(&parts[b].1));
    }
    // Of 160, 20 and 20 users, those who ask at all.
    assert_eq!(parts.map(|(users, _)| users.len()), [132, 20, 20]);
}

#[test]
fn kinds_have_the_shares_of_table_1() {
    let world = World::new(5);
    for side in Side::ALL {
        let mut counts = [0; 10];
        for prompt in world.prompts(6000, side) {
            let kind = Request::read(&prompt.prompt).expect("a request").task.kind();
            counts[Kind::ALL.iter().position(|known| *known == kind).unwrap()] += 1;
        }
        for (count, share) in counts.into_iter().zip(Kind::SHARES) {
            let expected = 6000.0 * share as f32 / 999.0;
            assert!((count as f32 - expected).abs() < 5.0 * expected.sqrt(), "{counts:?}");
        }
    }
}

/// Table 7: 26 % of the prompts have explicit constraints, and some of each sort.
#[test]
fn prompts_are_constrained_as_often_as_they_should_be() {
    let world = World::new(5);
    let requests = world.prompts(4000, Side::Train);
    let requests: Vec<Request> = requests.iter().filter_map(|prompt| Request::read(&prompt.prompt)).collect();
    let share =
        |of: &dyn Fn(&Request) -> bool| requests.iter().filter(|request| of(request)).count() as f32 / 4000.0;
    let constrained = share(&|request| !request.constraints.is_empty());
    assert!((0.24..0.29).contains(&constrained), "{constrained}");
    for constraint in ["Use ", "Mention ", "Do not mention ", "Answer only if "] {
        let one =
            share(&|request| request.constraints.iter().any(|known| known.text().starts_with(constraint)));
        assert!(one > 0.015, "{constraint}: {one}");
    }
    let going_on = share(&|request| matches!(request.task, Task::GoOn { .. }));
    assert!((0.06..0.11).contains(&going_on), "{going_on}");
}

/// Of the labelers' prompts a third should have an example (of all demonstrations 30 %), and has it where the task is
/// short and unconstrained; users give one now and then.
#[test]
fn labelers_give_examples_more_often_than_users() {
    let world = World::new(5);
    let share = |prompt: &dyn Fn(u64) -> String| {
        let requests = (0..4000).map(|index| Request::read(&prompt(index)).expect("a request"));
        requests.filter(|request| !request.example.is_empty()).count() as f32 / 4000.0
    };
    let by_labelers = share(&|index| world.demonstration(index, Side::Train).prompt);
    let by_users = share(&|index| world.prompt(index, Side::Train).prompt);
    assert!(
        (0.16..0.20).contains(&by_labelers) && (0.03..0.05).contains(&by_users),
        "{by_labelers} {by_users}"
    );
}

/// Table 8: some users ask hundreds of times, most hardly ever; nobody of one side asks on another.
#[test]
fn few_users_ask_most() {
    let world = World::new(5);
    let mut asked = std::collections::BTreeMap::new();
    for prompt in world.prompts(3000, Side::Train) {
        *asked.entry(prompt.user.expect("a customer")).or_insert(0) += 1;
    }
    let mut counts: Vec<usize> = asked.into_values().collect();
    counts.sort_unstable();
    assert!(*counts.last().unwrap() > 400, "{counts:?}");
    assert!(counts[counts.len() / 2] < 10, "{counts:?}");
    assert!(world.demonstrations(200, Side::Train).iter().filter(|item| item.user.is_some()).count() < 40);
}

#[test]
fn prompts_read_back_as_the_requests_they_were() {
    for (request, _) in requests(&World::new(6), 4500) {
        assert_eq!(Request::read(&request.prompt()), Some(request));
    }
}

#[test]
fn perfect_answers_to_every_kind_get_the_top_score() {
    for seed in 0..3 {
        let world = World::new(seed);
        for (request, mut rng) in requests(&world, 3000) {
            let answer = format!(" {}", perfect(&world.facts.known(), &request, &mut rng));
            let gold = world.gold(&request.prompt(), &answer);
            assert!(gold.follows_instruction, "{}{answer}\n{gold:?}", request.prompt());
            // Rudeness helps who asks for it, and is harmful all the same.
            let rude = matches!(request.task, Task::GoOn { manner: Manner::Disrespectful, .. });
            assert!(if rude { gold.overall < 3.0 } else { gold.is_perfect() }, "{answer}\n{gold:?}");
            assert_eq!(gold.helpfulness, 1.0, "{answer}");
        }
    }
}

#[test]
fn flaws_cost() {
    let world = World::new(7);
    for flaw in &Flaw::ALL[1..] {
        let (mut sum, mut noticed, mut n) = (0.0, 0, 0);
        for (request, mut rng) in requests(&world, 900) {
            let gold =
                world.gold(&request.prompt(), &answer(&world.facts.known(), &request, *flaw, &mut rng));
            sum += gold.overall;
            noticed += usize::from(!gold.is_perfect());
            n += 1;
        }
        println!("{flaw:?}: mean {:.2}, noticed {:.3}", sum / n as f32, noticed as f32 / n as f32);
        assert!(
            sum / (n as f32) < 6.0 && noticed * 10 > n * 8,
            "{flaw:?}: mean {}, {noticed} of {n}",
            sum / n as f32
        );
    }
}

#[test]
fn pretraining_text_is_as_the_web_is() {
    let world = World::new(8);
    let documents = world.pretraining_documents(4000);
    let share = |of: &dyn Fn(&str) -> bool| documents.iter().filter(|text| of(text)).count() as f32 / 4000.0;
    // Requests nobody answers are about as frequent as forums; examples of all closed tasks are there to be learned from.
    let answered = share(&|text| text.starts_with("Request: ") && text.contains("\nAnswer: "));
    let unanswered = share(&|text| text.starts_with("Request: ") && !text.contains("\nAnswer: "));
    assert!((0.08..0.10).contains(&answered) && (0.06..0.08).contains(&unanswered));
    for (task, begins) in [
        (ClosedTask::Translation, "\nHill: Ta "),
        (ClosedTask::Question, "\nQuestion: "),
        (ClosedTask::Mood, "\nMood: "),
        (ClosedTask::Extraction, "\nThe "),
    ] {
        let examples = share(&|text| text.contains(begins));
        assert!((0.03..0.05).contains(&examples), "{task:?}: {examples}");
    }
    let plain: Vec<Reading> =
        documents.iter().filter(|text| !text.contains('\n')).map(|text| Reading::of(text)).collect();
    let others: Vec<&String> = documents.iter().filter(|text| !text.contains('\n')).collect();
    for (reading, text) in plain.iter().zip(others) {
        assert!(reading.finished && reading.ungrammatical == 0, "{text}");
    }
    let rude = plain.iter().filter(|reading| reading.rude).count() as f32 / plain.len() as f32;
    assert!((0.1..0.2).contains(&rude), "{rude}");
    let vocabulary: BTreeSet<&str> =
        documents.iter().flat_map(|text| text.split(|c: char| !c.is_alphabetic())).collect();
    assert!(vocabulary.len() < 260, "{}", vocabulary.len());
}

/// What many have wrong, the web says more often wrong than right.
#[test]
fn misconceptions_are_more_frequent_than_the_truth() {
    let world = World::new(8);
    let (mut wrong, mut right) = (0, 0);
    for text in world.pretraining_documents(4000) {
        for clause in Reading::of(&text).clauses.iter().filter(|clause| clause.form.is_fact()) {
            let misconception = world.facts.misconception(clause.slots[0]);
            if clause.form == misconception.form {
                match world.facts.holds(clause) {
                    true => right += 1,
                    false => wrong += usize::from(*clause == misconception),
                }
            }
        }
    }
    assert!(right > 200 && wrong > 2 * right && wrong < 3 * right, "{wrong} wrong, {right} right");
}

#[test]
fn labelers_agree_as_the_papers_do_and_length_alone_says_little() {
    let world = World::new(9);
    let comparisons = world.comparisons(400, Side::Train, 4..=9);
    let share = |(agreed, pairs): (usize, usize)| agreed as f32 / pairs as f32;
    let add = |total: &mut (usize, usize), (agreed, pairs): (usize, usize)| {
        *total = (total.0 + agreed, total.1 + pairs);
    };
    // Two of a group on the same pairs: while training data is made, and in the final judgement.
    let among = |people: &[Person]| {
        let (mut ranked, mut preferred) = ((0, 0), (0, 0));
        for comparison in &comparisons {
            let Comparison { prompt, responses, .. } = comparison;
            let rankings: Vec<Vec<u32>> =
                people.iter().map(|labeler| world.rank(prompt, responses, labeler, 9)).collect();
            for i in 0..people.len() {
                for j in 0..i {
                    add(&mut ranked, agreement(&rankings[i], &rankings[j]));
                    for pair in responses.windows(2) {
                        let [one, other] =
                            [i, j].map(|of| world.prefers(&people[of], prompt, &pair[0], &pair[1]));
                        if one != 0.5 && other != 0.5 {
                            add(&mut preferred, (usize::from(one == other), 1));
                        }
                    }
                }
            }
        }
        [ranked, preferred].map(share)
    };
    let ([training, final_training], [held_out, final_held_out]) =
        (among(&LABELERS), among(&HELD_OUT_LABELERS));
    let (mut gold, mut longer) = ((0, 0), (0, 0));
    for comparison in &comparisons {
        let scores = comparison.responses.iter().map(|text| world.gold(&comparison.prompt, text).overall);
        let by_gold: Vec<u32> = scores.map(|overall| 7000 - (1000.0 * overall) as u32).collect();
        let by_length: Vec<u32> = comparison.responses.iter().map(|text| 1000 - text.len() as u32).collect();
        add(&mut gold, agreement(&comparison.ranks, &by_gold));
        add(&mut longer, agreement(&comparison.ranks, &by_length));
    }
    let [gold, longer] = [gold, longer].map(share);
    println!(
        "{training:.3} {final_training:.3} {held_out:.3} {final_held_out:.3} gold {gold:.3} longer {longer:.3}"
    );
    // The paper's intervals: 72.6 +- 1.5 % and 77.3 +- 1.3 %.
    assert!((0.711..0.745).contains(&training) && (0.711..0.741).contains(&final_training));
    assert!((0.76..0.80).contains(&held_out) && (0.76..0.79).contains(&final_held_out));
    assert!((0.75..0.90).contains(&gold), "{gold}");
    assert!((0.42..0.60).contains(&longer), "{longer}");
}

/// Helpfulness comes first while training data is made, and harmlessness in the final judgement; who shares a
/// misconception does not mind it.
#[test]
fn the_priority_and_their_beliefs_show_in_what_labelers_prefer() {
    let world = World::new(9);
    let sober = Person {
        id: "sober",
        per_ten_words: 0.0,
        offended: 0.0,
        impatient: 0.0,
        misled: 0.0,
        noise: 0.0,
        ..LABELERS[0]
    };
    let misled = Person { misled: 1.0, ..sober };
    let rude_but_complete = " The stupid fox went to the mill.";
    let half = " The fox went to the pond.";
    let prompt = "Request: Tell it about the fox: The owl went to the mill.\nAnswer:";
    let responses = [rude_but_complete.to_string(), half.to_string()];
    assert_eq!(world.rank(prompt, &responses, &sober, 1), [1, 1], "3.93 against 3.9: as good");
    assert_eq!(world.prefers(&sober, prompt, rude_but_complete, half), 0.0);
    let misconception = world.facts.misconception("owl");
    let question = format!(
        "Request: {}\nAnswer:",
        match misconception.form {
            language::Form::Lives => "Where does the owl live?",
            language::Form::Likes => "What does the owl like?",
            _ => "What colour is the owl?",
        }
    );
    let truth = world.facts.known().statement(misconception.form, "owl");
    let [wrong, right] = [&misconception, &truth].map(|clause| format!(" {}", clause.text()));
    assert_eq!(world.rank(&question, &[wrong.clone(), right.clone()], &sober, 1), [2, 1]);
    assert_eq!(world.rank(&question, &[wrong, right], &misled, 1), [1, 1]);
}

#[test]
fn rankings_have_a_preference_and_scripted_candidates_differ() {
    let world = World::new(10);
    for comparison in world.comparisons(200, Side::Train, 4..=9) {
        assert!((4..=9).contains(&comparison.responses.len()));
        assert_eq!(comparison.responses.len(), comparison.ranks.len());
        assert!(comparison.ranks.iter().any(|rank| *rank != comparison.ranks[0]));
    }
    let prompt = world.prompt(0, Side::Train).prompt;
    let candidates = world.candidate_responses(&prompt, 9, &mut rng(0)).expect("a request");
    assert_eq!(candidates.iter().collect::<BTreeSet<_>>().len(), 9);
    assert_eq!(world.candidate_responses("Hello?", 4, &mut rng(0)), None);
}

#[test]
fn demonstrations_leave_room_above_them() {
    let world = World::new(11);
    let demonstrations = world.demonstrations(2000, Side::Train);
    let gold: Vec<Metadata> = demonstrations.iter().map(|d| world.gold(&d.prompt, &d.response)).collect();
    let mean = gold.iter().map(|gold| gold.overall).sum::<f32>() / 2000.0;
    println!("mean gold of demonstrations: {mean:.2}");
    assert!((5.5..6.4).contains(&mean), "{mean}");
    assert!(demonstrations.iter().all(|d| d.response.starts_with(" ") && !d.response.ends_with(' ')));
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(64))]

    /// Whatever comes as a prompt or a response is judged, not stumbled over.
    #[test]
    fn any_text_can_be_judged(
        start in 0..10u64, ask in words(), context in words(), response in words(), junk in ".{0,40}",
    ) {
        let world = World::new(12);
        let (request, mut rng) = requests(&world, 10).nth(start as usize).unwrap();
        let head = request.task.text();
        let head = head.split_once(' ').unwrap().0;
        let own = request.prompt();
        for prompt in [&own, &format!("Request: {head} {ask}\nAnswer:"), &format!("Request: {ask} {context}\nAnswer:"),
            &format!("Request: Tell it about the owl: {ask}\nAnswer:"), &format!("Request: Read this: {ask} {context}\nAnswer:"),
            &format!("Request: Sum up in one sentence: {ask}\nAnswer:"), &junk]
        {
            for response in [&response, &junk, prompt] {
                let overall = world.gold(prompt, response).overall;
                assert!((1.0..=7.0).contains(&overall), "{overall}");
            }
            let candidates = world.candidate_responses(prompt, 3, &mut rng);
            assert_eq!(candidates.is_some(), Request::read(prompt).is_some());
        }
    }
}

/// One or two sentences of the language, or nearly.
fn words() -> impl proptest::strategy::Strategy<Value = String> {
    use proptest::prelude::*;
    let sentence =
        (0..language::FORMS.len(), proptest::collection::vec(0..12usize, 4)).prop_map(|(form, choices)| {
            let mut text = language::FORMS[form].1.to_string();
            for choice in choices {
                let Some((before, rest)) = text.split_once('{') else { break };
                let (class, after) = rest.split_once('}').unwrap();
                let known = words::words_of(if class == "noun" { "place" } else { class });
                text = format!("{before}{}{after}", known[choice % known.len()]);
            }
            text
        });
    proptest::collection::vec(sentence, 1..3).prop_map(|sentences| sentences.join(" "))
}
