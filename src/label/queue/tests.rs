//! Who gets which item, and that the queue gives what a walk over all of them would.

use proptest::prelude::*;

use super::super::item::Task;
use super::super::record::Answer;
use super::super::record::tests::{item, record};
use super::*;

fn items(n: usize, gold: bool) -> impl Iterator<Item = Item> {
    (0..n).map(move |i| {
        let gold = gold.then(|| Answer::Ranking { ranks: vec![1, 2] });
        Item {
            id: format!("{}{i}", if gold.is_some() { "gold" } else { "item" }),
            gold,
            ..item(Task::Rank, 2)
        }
    })
}

fn queue(settings: Settings, items: impl Iterator<Item = Item>) -> Queue {
    let mut queue = Queue::new(settings);
    items.for_each(|item| queue.add(&item));
    queue
}

fn said(labeler: &str, id: &str) -> Record {
    let about = Item { id: id.into(), ..item(Task::Rank, 2) };
    record(1, labeler, Some(&about), Answer::Ranking { ranks: vec![1, 2] })
}

/// The labeler's items until there are no more.
fn all(queue: &mut Queue, labeler: &str) -> Vec<String> {
    let mut ids = vec![];
    while let Some(id) = queue.next(labeler, Work::Rank) {
        queue.done(&said(labeler, &id));
        ids.push(id);
    }
    ids
}

#[test]
fn an_item_is_one_labelers_unless_it_overlaps() {
    let settings = |overlap_share| Settings { overlap_share, ..Settings::default() };
    let mut alone = queue(settings(0.0), items(5, false));
    let first = alone.next("ann", Work::Rank).unwrap();
    assert_eq!(alone.next("ann", Work::Rank).as_ref(), Some(&first), "in another tab the same");
    assert_ne!(alone.next("bob", Work::Rank).unwrap(), first);
    assert_eq!(alone.left("ann", Work::Rank), Left { open: 4, done: 0 });
    assert_eq!([all(&mut alone, "ann").len(), all(&mut alone, "bob").len()], [4, 1]);
    assert_eq!(alone.next("cat", Work::Rank), None);
    let mut both = queue(settings(1.0), items(5, false));
    assert_eq!(["ann", "bob", "cat"].map(|name| all(&mut both, name).len()), [5, 5, 0]);
    let mut some = queue(settings(0.25), items(1000, false));
    assert_eq!(all(&mut some, "ann").len(), 1000);
    let overlap = all(&mut some, "bob").len();
    assert!((210..290).contains(&overlap), "{overlap}");
}

#[test]
fn gold_items_come_to_everybody_about_as_often_as_is_set() {
    let settings = Settings { gold_share: 0.2, overlap_share: 0.0, ..Settings::default() };
    let mut queue = queue(settings, items(400, false).chain(items(300, true)));
    for name in ["ann", "bob"] {
        let ids: Vec<String> = (0..200)
            .map(|_| {
                let id = queue.next(name, Work::Rank).unwrap();
                queue.done(&said(name, &id));
                id
            })
            .collect();
        let gold = ids.iter().filter(|id| id.starts_with("gold")).count();
        assert!((25..55).contains(&gold), "{name}: {gold}");
    }
}

#[test]
fn what_was_taken_back_comes_again() {
    let mut queue = queue(Settings { overlap_share: 0.0, ..Settings::default() }, items(3, false));
    let id = queue.next("ann", Work::Rank).unwrap();
    queue.done(&said("ann", &id));
    queue.undone(&said("ann", &id));
    assert_eq!(queue.next("ann", Work::Rank), Some(id));
}

#[test]
fn grades_are_for_graders_and_for_what_is_in_force() {
    let graders = ["eve".to_string()].into();
    let mut queue = Queue::new(Settings { graders, ..Settings::default() });
    let write = Item { screening: true, ..item(Task::Write, 0) };
    let written = record(1, "ann", Some(&write), Answer::Demonstration { response: "r".into() });
    queue.add(&write);
    queue.done(&written);
    queue.add(&write.grading(&written.id, "r"));
    assert_eq!(queue.next("ann", Work::Grade), None);
    assert!(queue.next("eve", Work::Grade).is_some());
    assert!(queue.next("eve", Work::Screening).is_some(), "the test is for everybody");
    queue.undone(&written);
    assert_eq!(queue.next("eve", Work::Grade), None);
}

#[test]
fn the_order_shown_depends_on_item_labeler_and_seed_alone() {
    let nine = Item { id: "a".into(), ..item(Task::Rank, 9) };
    let other = Item { id: "b".into(), ..nine.clone() };
    let orders =
        [order(1, &nine, "ann"), order(1, &nine, "bob"), order(1, &other, "ann"), order(2, &nine, "ann")];
    assert_eq!(orders[0], order(1, &nine, "ann"));
    for i in 0..4 {
        assert!((0..i).all(|j| orders[i] != orders[j]), "{orders:?}");
    }
    let first = (0..900).filter(|i| order(1, &Item { id: i.to_string(), ..nine.clone() }, "ann")[0] == 0);
    assert!((70..130).contains(&first.count()));
}

/// What the queue says of one labeler and one kind of work, by a walk over all places.
fn walk(queue: &mut Queue, name: &str, work: Work, now: Instant) -> (Option<String>, Left) {
    let labeler = queue.labeler(name);
    let of_work: Vec<&Place> = queue.places.iter().filter(|place| place.work == work).collect();
    let open = |place: &&&Place| {
        let others = place.given.iter().filter(|(to, at)| *to != labeler && now - *at < GIVEN).count();
        !place.done.contains(&labeler)
            && others + place.done.len() < place.wanted
            && (work != Work::Grade || queue.settings.graders.contains(name))
    };
    let open: Vec<&Place> = of_work.iter().filter(open).copied().collect();
    let given = |place: &&&Place| place.given.iter().any(|(to, _)| *to == labeler);
    let of = |turn: Turn| open.iter().find(|place| place.turn == turn);
    let gold = queue.draws_gold(name, labeler, work).then(|| of(Turn::Gold)).flatten();
    let next = open.iter().find(given).or(gold).or(of(Turn::Ordinary)).or(of(Turn::Last));
    let left = Left {
        open: open.iter().filter(|place| place.turn != Turn::Gold).count(),
        done: of_work.iter().filter(|place| place.done.contains(&labeler)).count(),
    };
    (next.map(|place| place.id.clone()), left)
}

/// What happens to a queue.
#[derive(Debug, Clone)]
enum Event {
    /// An item comes: of that kind, gold or not, in the test of new labelers or not.
    Comes(u8, bool, bool),
    /// A labeler asks, and leaves it at that or answers.
    Asks(usize, usize, bool),
    /// A labeler answers an item that nobody gave them, as from another tab.
    Answers(usize, usize),
    /// A labeler takes the last answer back.
    Undoes(usize),
    /// So many minutes go by.
    Waits(u64),
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        2 => (0..5u8, any::<bool>(), any::<bool>())
            .prop_map(|(kind, gold, screening)| Event::Comes(kind, gold, screening)),
        8 => (0..4usize, 0..5usize, prop::bool::weighted(0.7))
            .prop_map(|(name, work, answers)| Event::Asks(name, work, answers)),
        1 => (0..4usize, 0..60usize).prop_map(|(name, number)| Event::Answers(name, number)),
        2 => (0..4usize).prop_map(Event::Undoes),
        1 => (1..90u64).prop_map(Event::Waits),
    ]
}

fn settings() -> impl Strategy<Value = Settings> {
    let shares = prop::sample::select(vec![0.0, 0.4, 1.0]);
    (any::<u64>(), shares.clone(), 1..4usize, shares).prop_map(|(seed, overlap, labelers, gold)| Settings {
        seed,
        overlap_share: overlap,
        overlap_labelers: labelers,
        gold_share: gold,
        held_out: ["bob".to_string()].into(),
        graders: ["ann".to_string(), "dan".to_string()].into(),
    })
}

/// A project under way: the queue, its items, and each labeler's last record.
struct Project {
    queue: Queue,
    items: Vec<Item>,
    last: HashMap<&'static str, Record>,
    /// Who has a record in force about which item.
    said: BTreeSet<(&'static str, String)>,
    records: u64,
    now: Instant,
}

impl Project {
    const NAMES: [&'static str; 4] = ["ann", "bob", "cat", "dan"];

    fn add(&mut self, item: Item) {
        self.queue.add(&item);
        self.items.push(item);
    }

    fn answer(&mut self, name: &'static str, id: &str) {
        if !self.said.insert((name, id.to_string())) {
            return;
        }
        self.records += 1;
        let about = self.items.iter().find(|item| item.id == id).unwrap().clone();
        let said = record(self.records, name, Some(&about), Answer::Skip { reason: "r".into() });
        self.queue.done(&said);
        if about.screening && about.task == Task::Write {
            self.add(about.grading(&said.id, "r"));
        }
        self.last.insert(name, said);
    }

    fn goes_on(&mut self, event: &Event) {
        match *event {
            Event::Comes(kind, gold, screening) => {
                let task = [Task::Write, Task::Rate, Task::Rank, Task::Flag, Task::Coverage][kind as usize];
                let gold = gold.then_some(Answer::Flag { sensitive: true });
                let id = format!("item {}", self.items.len());
                self.add(Item { id, gold, screening, ..item(task, 1) });
            }
            Event::Asks(name, work, answers) => {
                let name = Project::NAMES[name];
                if let Some(id) = self.queue.next_at(name, Work::ALL[work], self.now)
                    && answers
                {
                    self.answer(name, &id);
                }
            }
            Event::Answers(name, number) => {
                if let Some(item) = self.items.get(number) {
                    let id = item.id.clone();
                    self.answer(Project::NAMES[name], &id);
                }
            }
            Event::Undoes(name) => {
                if let Some(said) = self.last.remove(Project::NAMES[name]) {
                    self.said.remove(&(Project::NAMES[name], said.item.clone().unwrap()));
                    self.queue.undone_at(&said, self.now);
                }
            }
            Event::Waits(minutes) => self.now += Duration::from_secs(60 * minutes),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]
    #[test]
    fn the_queue_gives_what_a_walk_over_all_items_would(
        settings in settings(),
        events in prop::collection::vec(event(), 1..150),
    ) {
        let mut project = Project {
            queue: Queue::new(settings),
            items: vec![],
            last: HashMap::new(),
            said: BTreeSet::new(),
            records: 0,
            now: Instant::now(),
        };
        for (kind, gold) in [(0, false), (1, false), (2, false), (2, false), (2, true), (3, false), (4, false)] {
            project.goes_on(&Event::Comes(kind, gold, kind == 0));
        }
        for event in &events {
            // Whoever asks is told what the walk says; asking changes the queue, so it is done last.
            if let Event::Asks(name, work, _) = *event {
                let (name, work, now) = (Project::NAMES[name], Work::ALL[work], project.now);
                let (next, left) = walk(&mut project.queue, name, work, now);
                prop_assert_eq!(project.queue.left_at(name, work, now), left);
                prop_assert_eq!(project.queue.next_at(name, work, now), next);
            }
            project.goes_on(event);
        }
    }
}

/// What the next item costs does not grow with what is done: a labeler's part of the line begins after it.
#[test]
fn what_is_done_is_not_walked_over_again() {
    let settings = Settings { overlap_share: 0.5, gold_share: 0.0, ..Settings::default() };
    let mut queue = queue(settings, items(500, false));
    let line = (Work::Rank, Turn::Ordinary);
    for done in 0..500 {
        let id = queue.next("ann", Work::Rank).unwrap();
        queue.done(&said("ann", &id));
        assert_eq!(queue.begins[&(0, line)], done);
    }
    // What ann takes back may be anybody's again, so it is looked at again.
    queue.next("bob", Work::Rank).unwrap();
    queue.undone(&said("ann", "item7"));
    assert_eq!((queue.begins[&(0, line)], queue.begins[&(1, line)] <= 7), (7, true));
    assert_eq!(queue.next("ann", Work::Rank).as_deref(), Some("item7"));
}
