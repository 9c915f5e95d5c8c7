//! Which item a labeler gets next. All draws are addressed by the item and the labeler, so they do not depend on who comes
//! first, nor on a restart.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use super::item::{Item, Task, Work};
use super::record::Record;
use super::settings::Settings;
use crate::num::hash::{self, fnv1a};
use crate::num::rng::{Purpose, Rng, Stage};

/// For so long an item that was given to a labeler is given to nobody in their place.
const GIVEN: Duration = Duration::from_secs(3600);

/// An item's place in the queue.
#[derive(Debug)]
struct Place {
    id: String,
    work: Work,
    gold: bool,
    /// Whether all others of its work come before it.
    last: bool,
    /// The record of the demonstration that is graded.
    grades: Option<String>,
    /// How many labelers are to see it.
    wanted: usize,
    done: Vec<u32>,
    given: Vec<(u32, Instant)>,
}

/// All items, with who has done what. Grows by a number for each record.
#[derive(Debug, Default)]
pub struct Queue {
    settings: Settings,
    places: Vec<Place>,
    numbers: HashMap<String, usize>,
    /// Labelers get numbers as they come.
    labelers: HashMap<String, u32>,
    /// How many records a labeler has, by work: the address of the draw for gold items.
    counts: HashMap<(u32, Work), u64>,
}

/// What there is to do of one kind of work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Left {
    /// Items that the labeler may still get.
    pub open: usize,
    /// Items that the labeler has done.
    pub done: usize,
}

impl Queue {
    /// An empty one.
    pub fn new(settings: Settings) -> Queue {
        Queue { settings, ..Queue::default() }
    }

    /// Adds an item at the end.
    pub fn add(&mut self, item: &Item) {
        let work = item.work();
        let everybody = item.gold.is_some() || work == Work::Screening;
        let overlaps = || {
            let mut rng = Rng::at(self.settings.seed, Stage::Label, Purpose::Split, 0, address(&item.id), 0);
            f64::from(rng.uniform()) < self.settings.overlap_share
        };
        let wanted = match work {
            _ if everybody => usize::MAX,
            Work::Grade => 1,
            _ if overlaps() => self.settings.overlap_labelers,
            _ => 1,
        };
        self.numbers.insert(item.id.clone(), self.places.len());
        self.places.push(Place {
            id: item.id.clone(),
            work,
            gold: item.gold.is_some() && work != Work::Screening,
            last: item.task == Task::Coverage,
            grades: item.grades.clone(),
            wanted,
            done: vec![],
            given: vec![],
        });
    }

    /// Notes that a record is in force.
    pub fn done(&mut self, record: &Record) {
        let labeler = self.labeler(&record.labeler);
        let Some(&number) = record.item.as_ref().and_then(|item| self.numbers.get(item)) else { return };
        let place = &mut self.places[number];
        // Room for as many as there are: of most items there is one.
        place.done.reserve_exact(1);
        place.done.push(labeler);
        place.given.retain(|(to, _)| *to != labeler);
        place.given.shrink_to_fit();
        *self.counts.entry((labeler, place.work)).or_default() += 1;
    }

    /// Notes that a record was taken back: its item is the labeler's again.
    pub fn undone(&mut self, record: &Record) {
        let labeler = self.labeler(&record.labeler);
        let Some(&number) = record.item.as_ref().and_then(|item| self.numbers.get(item)) else { return };
        let place = &mut self.places[number];
        place.done.retain(|by| *by != labeler);
        place.given.push((labeler, Instant::now()));
        let work = place.work;
        self.counts.entry((labeler, work)).and_modify(|count| *count = count.saturating_sub(1));
        self.withdraw(&record.id);
    }

    /// A demonstration that was taken back is not graded.
    pub fn withdraw(&mut self, record: &str) {
        for place in self.places.iter_mut().filter(|place| place.grades.as_deref() == Some(record)) {
            place.wanted = 0;
        }
    }

    /// The id of the labeler's next item of that work: one that they were given and have not done; now and then a gold one;
    /// or the first that still wants labelers.
    pub fn next(&mut self, name: &str, work: Work) -> Option<String> {
        let labeler = self.labeler(name);
        let (now, count) = (Instant::now(), self.counts.get(&(labeler, work)).copied().unwrap_or(0));
        let open = |place: &Place| self.is_open(place, name, labeler, work, now);
        let given = |place: &Place| open(place) && place.given.iter().any(|(to, _)| *to == labeler);
        let mut rng =
            Rng::at(self.settings.seed, Stage::Label, Purpose::Labeler, count, address(name), work as u64);
        let gold = f64::from(rng.uniform()) < self.settings.gold_share;
        let first = |wanted: &dyn Fn(&Place) -> bool| self.places.iter().position(wanted);
        let number = first(&given)
            .or_else(|| gold.then(|| first(&|place| open(place) && place.gold)).flatten())
            .or_else(|| first(&|place| open(place) && !place.gold && !place.last))
            .or_else(|| first(&|place| open(place) && place.last))?;
        let place = &mut self.places[number];
        place.given.retain(|(to, at)| *to != labeler && now - *at < GIVEN);
        place.given.push((labeler, now));
        Some(place.id.clone())
    }

    /// What there is for the labeler to do.
    pub fn left(&mut self, name: &str, work: Work) -> Left {
        let (labeler, now) = (self.labeler(name), Instant::now());
        let of_work = self.places.iter().filter(|place| place.work == work);
        of_work.fold(Left::default(), |left, place| Left {
            open: left.open + usize::from(!place.gold && self.is_open(place, name, labeler, work, now)),
            done: left.done + usize::from(place.done.contains(&labeler)),
        })
    }

    fn is_open(&self, place: &Place, name: &str, labeler: u32, work: Work, now: Instant) -> bool {
        let others = || {
            place.given.iter().filter(|(to, at)| *to != labeler && now - *at < GIVEN).count()
                + place.done.len()
        };
        place.work == work
            && !place.done.contains(&labeler)
            && others() < place.wanted
            && (work != Work::Grade || self.settings.graders.contains(name))
    }

    fn labeler(&mut self, name: &str) -> u32 {
        let next = self.labelers.len() as u32;
        *self.labelers.entry(name.to_string()).or_insert(next)
    }
}

/// The order in which a labeler sees the responses of an item: numbers in the item's order.
pub fn order(seed: u64, item: &Item, labeler: &str) -> Vec<usize> {
    let mut rng = Rng::at(seed, Stage::Label, Purpose::Shuffle, 0, address(&item.id), address(labeler));
    rng.permutation(item.responses.len())
}

/// A name as a number of an address.
pub(super) fn address(name: &str) -> u64 {
    fnv1a(hash::EMPTY, name.bytes())
}

#[cfg(test)]
mod tests {
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
}
