//! Promises of the whole world: repeatable, split cleanly, readable, judged fairly, ranked humanly.

use std::collections::BTreeSet;

use super::answers::perfect;
use super::labelers::{HELD_OUT_LABELERS, agreement};
use super::language::Reading;
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
    assert_eq!(hash(&everything(1)), 6_281_449_720_962_372_914, "the world of seed 1 is not what it was");
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
    assert_eq!(parts.map(|(users, _)| users.len()), [72, 9, 9]);
}

#[test]
fn kinds_have_the_shares_of_table_1() {
    let world = World::new(5);
    let mut counts = [0; 9];
    for prompt in world.prompts(6000, Side::Train) {
        let kind = Request::read(&prompt.prompt).expect("a request").task.kind();
        counts[Kind::ALL.iter().position(|known| *known == kind).unwrap()] += 1;
    }
    for (count, share) in counts.into_iter().zip(Kind::SHARES) {
        let expected = 6000.0 * share as f32 / 964.0;
        assert!((count as f32 - expected).abs() < 5.0 * expected.sqrt(), "{counts:?}");
    }
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
            let answer = format!(" {}", perfect(&world.facts, &request, &mut rng));
            let gold = world.gold(&request.prompt(), &answer);
            assert!(gold.is_perfect(), "{}{answer}\n{gold:?}", request.prompt());
        }
    }
}

#[test]
fn flaws_cost() {
    let world = World::new(7);
    for flaw in &Flaw::ALL[1..] {
        let (mut sum, mut noticed, mut n) = (0.0, 0, 0);
        for (request, mut rng) in requests(&world, 900) {
            let gold = world.gold(&request.prompt(), &answer(&world.facts, &request, *flaw, &mut rng));
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
fn pretraining_text_is_of_the_language_and_mostly_clean() {
    let world = World::new(8);
    let documents = world.pretraining_documents(2000);
    let readings: Vec<Reading> = documents.iter().map(|text| Reading::of(text)).collect();
    for (text, reading) in documents.iter().zip(&readings) {
        assert!(reading.finished && reading.ungrammatical == 0, "{text}");
    }
    let rude = readings.iter().filter(|reading| reading.rude).count();
    assert!((150..350).contains(&rude), "{rude}");
    let words: usize = documents.iter().map(|text| text.split(' ').count()).sum();
    let vocabulary: BTreeSet<&str> =
        documents.iter().flat_map(|text| text.split(|c: char| !c.is_alphabetic())).collect();
    println!("{} words a document, {} different words", words as f32 / 2000.0, vocabulary.len());
    assert!(vocabulary.len() < 250);
}

#[test]
fn labelers_agree_as_the_papers_do_and_length_alone_says_little() {
    let world = World::new(9);
    let comparisons = world.comparisons(400, Side::Train, 4..=9);
    let rank = |comparison: &Comparison, labeler: &Person| {
        world.rank(&comparison.prompt, &comparison.responses, labeler, 9)
    };
    let add = |total: &mut (usize, usize), one: &[u32], other: &[u32]| {
        let (agreed, pairs) = agreement(one, other);
        *total = (total.0 + agreed, total.1 + pairs);
    };
    let [mut training, mut held_out, mut gold, mut longer] = [(0, 0); 4];
    for comparison in &comparisons {
        let rankings = LABELERS.map(|labeler| rank(comparison, &labeler));
        for i in 0..LABELERS.len() {
            (0..i).for_each(|j| add(&mut training, &rankings[i], &rankings[j]));
            for labeler in &HELD_OUT_LABELERS {
                add(&mut held_out, &rankings[i], &rank(comparison, labeler));
            }
        }
        let scores = comparison.responses.iter().map(|text| world.gold(&comparison.prompt, text).overall);
        let by_gold: Vec<u32> = scores.map(|overall| 7000 - (1000.0 * overall) as u32).collect();
        let by_length: Vec<u32> = comparison.responses.iter().map(|text| 1000 - text.len() as u32).collect();
        add(&mut gold, &comparison.ranks, &by_gold);
        add(&mut longer, &comparison.ranks, &by_length);
    }
    let [training, held_out, gold, longer] =
        [training, held_out, gold, longer].map(|(agreed, pairs)| agreed as f32 / pairs as f32);
    println!("training {training:.3}, held-out {held_out:.3}, gold {gold:.3}, longer {longer:.3}");
    assert!((0.70..0.76).contains(&training), "{training}");
    assert!((0.68..0.78).contains(&held_out), "{held_out}");
    assert!((0.75..0.90).contains(&gold), "{gold}");
    assert!((0.42..0.60).contains(&longer), "{longer}");
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
    assert!((4.5..6.0).contains(&mean), "{mean}");
    assert!(demonstrations.iter().all(|d| d.response.starts_with(" ") && !d.response.ends_with(' ')));
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(64))]

    /// Whatever comes as a prompt or a response is judged, not stumbled over.
    #[test]
    fn any_text_can_be_judged(
        start in 0..9u64, ask in words(), context in words(), response in words(), junk in ".{0,40}",
    ) {
        let world = World::new(12);
        let (request, mut rng) = requests(&world, 9).nth(start as usize).unwrap();
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
                let known = language::words_of(if class == "noun" { "place" } else { class });
                text = format!("{before}{}{after}", known[choice % known.len()]);
            }
            text
        });
    proptest::collection::vec(sentence, 1..3).prop_map(|sentences| sentences.join(" "))
}
