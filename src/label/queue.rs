//! Which item a labeler gets next. All draws are addressed by the item and the labeler, so they do not depend on who comes
//! first, nor on a restart.
//!
//! The first item that is open is the next, and most of those before it are finished. So each labeler has a beginning in
//! each line of items: nothing before it can be theirs, until somebody takes something back. Hence what the next item costs
//! does not grow with what is done.

use std::collections::{BTreeSet, HashMap};
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
    turn: Turn,
    /// The record of the demonstration that is graded.
    grades: Option<String>,
    /// How many labelers are to see it.
    wanted: usize,
    done: Vec<u32>,
    given: Vec<(u32, Instant)>,
}

/// When an item comes, among those of its work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Turn {
    /// Now and then.
    Gold,
    /// In the order of the items.
    Ordinary,
    /// After all ordinary ones.
    Last,
}

/// The items that come in one order: those of one work and turn.
type Line = (Work, Turn);

impl Place {
    /// Whether the labeler may get it: it wants more than have done it, and than it is given to.
    fn is_open(&self, labeler: u32, now: Instant) -> bool {
        let given = || self.given.iter().filter(|(to, at)| *to != labeler && now - *at < GIVEN).count();
        !self.is_over(labeler) && self.done.len() + given() < self.wanted
    }

    /// Whether it is not the labeler's before something is taken back: they, or enough others, have done it.
    fn is_over(&self, labeler: u32) -> bool {
        self.done.len() >= self.wanted || self.done.contains(&labeler)
    }
}

/// All items, with who has done what. Grows by a number for each record.
#[derive(Debug, Default)]
pub struct Queue {
    settings: Settings,
    places: Vec<Place>,
    /// The numbers of the places in each line, ascending.
    lines: HashMap<Line, Vec<usize>>,
    /// Where a labeler's part of a line begins: every place before it is finished, or the labeler has done it.
    begins: HashMap<(u32, Line), usize>,
    /// The places that a labeler was given. Those that somebody else has got since leave it when the labeler comes.
    held: HashMap<u32, BTreeSet<usize>>,
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
        let turn = match item.gold {
            _ if item.task == Task::Coverage => Turn::Last,
            Some(_) if work != Work::Screening => Turn::Gold,
            _ => Turn::Ordinary,
        };
        self.numbers.insert(item.id.clone(), self.places.len());
        self.lines.entry((work, turn)).or_default().push(self.places.len());
        self.places.push(Place {
            id: item.id.clone(),
            work,
            turn,
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
        self.undone_at(record, Instant::now());
    }

    fn undone_at(&mut self, record: &Record, now: Instant) {
        let labeler = self.labeler(&record.labeler);
        let Some(&number) = record.item.as_ref().and_then(|item| self.numbers.get(item)) else { return };
        let place = &mut self.places[number];
        place.done.retain(|by| *by != labeler);
        place.given.push((labeler, now));
        self.held.entry(labeler).or_default().insert(number);
        let (work, line) = (place.work, (place.work, place.turn));
        self.counts.entry((labeler, work)).and_modify(|count| *count = count.saturating_sub(1));
        // It may be anybody's again.
        let at = self.lines[&line].partition_point(|&other| other < number);
        let of_line = self.begins.iter_mut().filter(|((_, of), _)| *of == line);
        of_line.for_each(|(_, begin)| *begin = at.min(*begin));
        self.withdraw(&record.id);
    }

    /// A demonstration that was taken back is not graded.
    pub fn withdraw(&mut self, record: &str) {
        for &number in self.lines.get(&(Work::Grade, Turn::Ordinary)).into_iter().flatten() {
            let place = &mut self.places[number];
            if place.grades.as_deref() == Some(record) {
                place.wanted = 0;
            }
        }
    }

    /// The id of the labeler's next item of that work: one that they were given and have not done; now and then a gold one;
    /// or the first that still wants labelers.
    pub fn next(&mut self, name: &str, work: Work) -> Option<String> {
        self.next_at(name, work, Instant::now())
    }

    fn next_at(&mut self, name: &str, work: Work, now: Instant) -> Option<String> {
        let labeler = self.labeler(name);
        if !self.may(name, work) {
            return None;
        }
        let gold = self.draws_gold(name, labeler, work);
        let number = self
            .first_given(labeler, work, now)
            .or_else(|| gold.then(|| self.first(labeler, (work, Turn::Gold), now)).flatten())
            .or_else(|| self.first(labeler, (work, Turn::Ordinary), now))
            .or_else(|| self.first(labeler, (work, Turn::Last), now))?;
        let place = &mut self.places[number];
        place.given.retain(|(to, at)| *to != labeler && now - *at < GIVEN);
        place.given.push((labeler, now));
        self.held.entry(labeler).or_default().insert(number);
        Some(place.id.clone())
    }

    /// What there is for the labeler to do.
    pub fn left(&mut self, name: &str, work: Work) -> Left {
        self.left_at(name, work, Instant::now())
    }

    fn left_at(&mut self, name: &str, work: Work, now: Instant) -> Left {
        let labeler = self.labeler(name);
        let done = self.counts.get(&(labeler, work)).map_or(0, |&count| count as usize);
        if !self.may(name, work) {
            return Left { open: 0, done };
        }
        let open = [Turn::Ordinary, Turn::Last].map(|turn| {
            let begin = self.begin(labeler, (work, turn));
            let rest = &self.line((work, turn))[begin..];
            rest.iter().filter(|&&number| self.places[number].is_open(labeler, now)).count()
        });
        Left { open: open.iter().sum(), done }
    }

    /// Whether that work is for the labeler.
    fn may(&self, name: &str, work: Work) -> bool {
        work != Work::Grade || self.settings.graders.contains(name)
    }

    /// Whether a gold item is to come, after so many records of the labeler.
    fn draws_gold(&self, name: &str, labeler: u32, work: Work) -> bool {
        let count = self.counts.get(&(labeler, work)).copied().unwrap_or(0);
        let mut rng =
            Rng::at(self.settings.seed, Stage::Label, Purpose::Labeler, count, address(name), work as u64);
        f64::from(rng.uniform()) < self.settings.gold_share
    }

    /// The first open place of those that the labeler was given.
    fn first_given(&mut self, labeler: u32, work: Work, now: Instant) -> Option<usize> {
        let (held, places) = (self.held.get_mut(&labeler)?, &self.places);
        held.retain(|&number| places[number].given.iter().any(|(to, _)| *to == labeler));
        held.iter()
            .copied()
            .find(|&number| places[number].work == work && places[number].is_open(labeler, now))
    }

    /// The first open place of a line.
    fn first(&mut self, labeler: u32, line: Line, now: Instant) -> Option<usize> {
        let begin = self.begin(labeler, line);
        let rest = &self.line(line)[begin..];
        rest.iter().copied().find(|&number| self.places[number].is_open(labeler, now))
    }

    /// Where the labeler's part of a line begins, moved over what was done since.
    fn begin(&mut self, labeler: u32, line: Line) -> usize {
        let begin = self.begins.entry((labeler, line)).or_default();
        let numbers = self.lines.get(&line).map_or(&[][..], Vec::as_slice);
        while numbers.get(*begin).is_some_and(|&number| self.places[number].is_over(labeler)) {
            *begin += 1;
        }
        *begin
    }

    fn line(&self, line: Line) -> &[usize] {
        self.lines.get(&line).map_or(&[], Vec::as_slice)
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
mod tests;
