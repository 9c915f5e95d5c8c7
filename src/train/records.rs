//! The records of a run before they become tokens: read from files or made by the miniature, filtered as in the paper,
//! and split over all kinds together.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::account::{Account, LeftOut};
use super::personal;
use crate::data::{
    self, Comparison, Demonstration, FormCounts, Loaded, NormalForm, Passage, Prompt, PromptForm,
    PromptForms, Record, Side, Sides, Skipped, Split, SplitRule, split::view,
};
use crate::error::{Error, Result};
use crate::settings::Settings;
use crate::text::PromptFormat;
use crate::world::{self, World};

/// The records of one kind, by side, and where the others went.
pub(super) struct Kind<T> {
    pub sides: Split<Vec<T>>,
    pub account: Account,
    /// What the split goes by: "3 users", "users and prompts".
    pub keys: String,
}

impl<T> Kind<T> {
    fn new(kind: &'static str, sides: Split<Vec<T>>, keys: &str) -> Self {
        let read = sides.train.len() + sides.validation.len() + sides.test.len();
        Kind { sides, account: Account::new(kind, read), keys: keys.to_string() }
    }
}

/// Everything that was read or made.
pub(super) struct Records {
    pub text: Kind<Passage>,
    pub demonstrations: Kind<Demonstration>,
    pub comparisons: Kind<Comparison>,
    pub prompts: Kind<Prompt>,
    /// Prompts whose responses labelers will rank (miniature only).
    pub ranking_prompts: Kind<Prompt>,
    /// How the run's models are asked.
    pub format: PromptFormat,
    /// What was read.
    pub notes: Vec<String>,
}

/// The split that the settings ask for.
pub(super) fn rule(settings: &Settings) -> SplitRule {
    SplitRule {
        seed: settings.seed,
        validation: f64::from(settings.data.validation_fraction),
        test: f64::from(settings.data.test_fraction()),
        form: NormalForm { forms: settings.data.prompt_forms(), prefix: settings.data.deduplicate_prefix },
    }
}

/// The miniature's. Its sides share neither users nor prompts; on each the paper's filters are applied.
pub(super) fn from_world(world: &World, settings: &Settings) -> Records {
    let (counts, rule) = (&settings.world, rule(settings));
    // The settings count what trains; a share of as many is held out, never so few that a mean of them says nothing.
    let count = |train: usize, side: Side| match side {
        Side::Train => train,
        _ if rule.share(side) == 0.0 => 0,
        _ => ((train as f64 * rule.share(side)) as usize).max(16),
    };
    let mut next = 0;
    let mut documents = Split::from_fn(|side| {
        let range = next..next + count(counts.documents, side);
        next = range.end;
        range.map(|index| Passage::document(world.pretraining_document(index as u64))).collect()
    });
    let repeated = data::leave_out_repeated(&mut documents);
    let mut text = Kind::new("documents", documents, "texts");
    text.account.count_by_side(repeated, "they repeat a document of an earlier side");
    let prompts = |side| match (count(counts.prompts, side), side) {
        (0, _) => 0,
        (count, Side::Train) => count,
        (count, _) => count.max(settings.ppo.eval_prompts),
    };
    let ranked = |side| {
        let count = count(counts.comparisons, side) as u64;
        (0..count).map(|index| world.prompt_to_rank(index, side)).collect()
    };
    let demonstrations = |side| world.demonstrations(count(counts.demonstrations, side), side);
    Records {
        text,
        demonstrations: asked("demonstrations", Split::from_fn(demonstrations), settings, &rule),
        comparisons: Kind::new("comparisons", Split::default(), USERS),
        prompts: asked("prompts", Split::from_fn(|side| world.prompts(prompts(side), side)), settings, &rule),
        ranking_prompts: asked("prompts to be ranked", Split::from_fn(ranked), settings, &rule),
        format: world::requests::prompt_format(),
        notes: vec!["the data are the miniature's".to_string()],
    }
}

/// What the miniature's sides go by.
const USERS: &str = "users";

/// One kind of the miniature's records, after the paper's filters on each side.
fn asked<T: Record>(
    kind: &'static str,
    mut sides: Split<Vec<T>>,
    settings: &Settings,
    rule: &SplitRule,
) -> Kind<T> {
    let read = Split::from_fn(|side| sides.of(side).len());
    let mut left_out = [Split::default(), Split::default()];
    for side in Side::ALL {
        let (records, alike, over) = filtered(sides.take(side), settings, rule);
        *sides.of_mut(side) = records;
        (*left_out[0].of_mut(side), *left_out[1].of_mut(side)) = (alike, over);
    }
    let mut account = Account::new(kind, read.train + read.validation + read.test);
    let reasons = reasons(settings);
    left_out.iter().zip(&reasons).for_each(|(gone, reason)| account.leave_out_by_side(gone, reason));
    Kind { sides, account, keys: USERS.to_string() }
}

/// Those of the files that the settings name, relative to `root`.
///
/// # Errors
/// Those of the files; [`Error::Usage`] if most prompts would go as duplicates.
pub(super) fn from_files(settings: &Settings, root: &Path) -> Result<Records> {
    let (files, rule, mut notes) = (&settings.data, rule(settings), Vec::new());
    let forms = &rule.form.forms;
    let mut counts = [FormCounts::new(), FormCounts::new(), FormCounts::new()];
    let [of_demonstrations, of_prompts, of_comparisons] = &mut counts;
    let mut reading = Reading { root, notes: &mut notes, columns: BTreeSet::new(), skipped: Vec::new() };
    let documents = reading.all(&files.pretraining, &mut FormCounts::new(), data::load_text)?;
    let demonstrations = reading
        .all(&files.demonstrations, of_demonstrations, |path| data::load_demonstrations(path, forms))?;
    let comparisons =
        reading.all(&files.comparisons, of_comparisons, |path| data::load_comparisons(path, forms))?;
    let mut prompts = reading.all(&files.prompts, of_prompts, |path| data::load_prompts(path, forms))?;
    let Reading { columns, skipped, .. } = reading;
    check_columns(&forms.columns, &columns)?;
    let format = counts.iter().find_map(|counts| forms.most_common(counts));
    let format = format.unwrap_or_else(|| forms.format(PromptForm::Instruction));
    notes.extend(mixed_forms(&counts, &format, forms));
    if files.prompts.is_empty() {
        prompts = demonstrations
            .iter()
            .map(|record| Prompt {
                prompt: record.prompt.clone(),
                user: record.user.clone(),
                tags: record.tags.clone(),
                place: record.place.clone(),
            })
            .collect();
    }

    let (demonstrations, mut of_demonstrations) = filter("demonstrations", demonstrations, settings, &rule)?;
    let (comparisons, mut of_comparisons) = filter("comparisons", comparisons, settings, &rule)?;
    let (prompts, mut of_prompts) = filter("prompts", prompts, settings, &rule)?;
    let (prompts, repeated) = data::each_prompt_once(prompts, &rule.form);
    of_prompts.leave_out(&repeated, "an earlier prompt is the same");

    let sides = Sides::new(&rule, &[view(&demonstrations), view(&comparisons), view(&prompts)]);
    let mut text = split_text(documents, &rule);
    let accounts = [&mut text.account, &mut of_demonstrations, &mut of_comparisons, &mut of_prompts];
    accounts.into_iter().zip(skipped).for_each(|(account, skipped)| account.left_out.extend(skipped));
    let pii = files.pii;
    Ok(Records {
        text,
        demonstrations: personal::filtered(split(demonstrations, &sides, of_demonstrations), pii),
        comparisons: personal::filtered(split(comparisons, &sides, of_comparisons), pii),
        prompts: personal::filtered(split(prompts, &sides, of_prompts), pii),
        ranking_prompts: Kind::new("prompts to be ranked", Split::default(), ""),
        format,
        notes,
    })
}

/// Comparisons that name their sides, from one file.
///
/// # Errors
/// Those of the file.
pub(super) fn collected(
    settings: &Settings,
    path: &Path,
    notes: &mut Vec<String>,
) -> Result<Kind<Comparison>> {
    let rule = rule(settings);
    // The stage has written prompts as they were sampled from: nothing joins them.
    let loaded = data::load_comparisons(path, &PromptForms::default())?;
    if loaded.is_remarkable() {
        notes.push(format!("{}: {}", path.display(), loaded.summary()));
    }
    let sides = Sides::new(&rule, &[view(&loaded.records)]);
    let account = Account::new("comparisons", loaded.records.len());
    Ok(split(loaded.records, &sides, account))
}

/// What is learnt while files are read.
struct Reading<'a> {
    root: &'a Path,
    notes: &'a mut Vec<String>,
    /// Our names of the columns of `data.columns` that were there.
    columns: BTreeSet<String>,
    /// Records of no use, of each kind that was read.
    skipped: Vec<Vec<LeftOut>>,
}

impl Reading<'_> {
    /// The records of all files of a kind.
    fn all<T>(
        &mut self,
        paths: &[String],
        forms: &mut FormCounts,
        load: impl Fn(&Path) -> Result<Loaded<T>>,
    ) -> Result<Vec<T>> {
        let (mut records, mut skipped) = (Vec::new(), Vec::new());
        for path in paths {
            let file = self.root.join(path);
            let loaded = load(&file)?;
            self.notes.push(format!("{path}: {}", loaded.summary()));
            loaded.forms.iter().for_each(|(form, count)| *forms.entry(*form).or_default() += count);
            self.columns.extend(loaded.columns);
            let place = |at: &str| format!("{}, {at}", file.display());
            let left_out =
                |skipped: Skipped| LeftOut { place: place(&skipped.at), reason: skipped.reason.into() };
            skipped.extend(loaded.skipped.into_iter().map(left_out));
            records.extend(loaded.records);
        }
        self.skipped.push(skipped);
        Ok(records)
    }
}

/// That every column that is named is in a file: a slip of the pen would rename nothing.
fn check_columns(wanted: &BTreeMap<String, String>, found: &BTreeSet<String>) -> Result<()> {
    match wanted.iter().find(|(ours, _)| !found.contains(*ours)) {
        None => Ok(()),
        Some((ours, theirs)) => {
            let expected = format!("names of fields of the files (here for {ours})");
            let found = format!("{theirs:?}, which no record has");
            Err(Error::usage("data.columns", expected, found, "capitals and blanks count"))
        }
    }
}

/// Says so where prompts come in several forms, as the models will be asked in one of them.
fn mixed_forms(counts: &[FormCounts], format: &PromptFormat, forms: &PromptForms) -> Option<String> {
    let mut all = FormCounts::new();
    for (form, count) in counts.iter().flatten() {
        *all.entry(*form).or_default() += count;
    }
    if all.len() < 2 {
        return None;
    }
    let each: Vec<String> = all.iter().map(|(form, count)| format!("{count} {}", form.name())).collect();
    let chosen = all.keys().find(|form| forms.format(**form) == *format).map_or("", |form| form.name());
    Some(format!("prompts come in several forms: {}; the models will be asked {chosen}", each.join(", ")))
}

/// The paper's filters (section 3.2), each kind of data for itself: one prompt may serve several kinds.
fn filter<T: Record>(
    kind: &'static str,
    records: Vec<T>,
    settings: &Settings,
    rule: &SplitRule,
) -> Result<(Vec<T>, Account)> {
    let mut account = Account::new(kind, records.len());
    let (records, alike, over) = filtered(records, settings, rule);
    if alike.len() > records.len() + over.len() {
        let prefix = rule.form.prefix;
        let expected = format!("{kind} that mostly differ in the first {prefix} characters of their prompts");
        let found = format!("{} of {} that begin like an earlier one", alike.len(), account.read);
        let hint = "if they have a head in common, take a length beyond it, or 0 to keep them all";
        return Err(Error::usage("data.deduplicate_prefix", expected, found, hint));
    }
    let [of_alike, of_over] = reasons(settings);
    account.leave_out(&alike, &of_alike);
    account.leave_out(&over, &of_over);
    Ok((records, account))
}

/// What is left of records of a kind; those that begin like an earlier one, and those that are beyond their user's number.
fn filtered<T: Record>(records: Vec<T>, settings: &Settings, rule: &SplitRule) -> (Vec<T>, Vec<T>, Vec<T>) {
    let (records, alike) = data::deduplicate_by_prefix(records, &rule.form);
    let (records, over) = data::cap_per_user(records, settings.data.prompts_per_user, &rule.form);
    (records, alike, over)
}

/// Why the filters leave something out.
fn reasons(settings: &Settings) -> [String; 2] {
    let (prefix, limit) = (settings.data.deduplicate_prefix, settings.data.prompts_per_user);
    [
        format!("their first {prefix} characters are those of an earlier prompt (data.deduplicate_prefix)"),
        format!("their user has {limit} other prompts (data.prompts_per_user)"),
    ]
}

fn split<T: Record>(records: Vec<T>, sides: &Sides, mut account: Account) -> Kind<T> {
    let (users, prompts) = sides.keys(&records);
    let keys = [counted(users, "user"), counted(prompts, "prompt")];
    let keys = keys.into_iter().flatten().collect::<Vec<_>>().join(" and ");
    let (sides, left_out) = sides.split(records);
    account.leave_out_by_side(&left_out, "their user or prompt is on an earlier side, too");
    Kind { sides, account, keys }
}

fn split_text(documents: Vec<String>, rule: &SplitRule) -> Kind<Passage> {
    let mut account = Account::new("documents", documents.len());
    let keys = counted(documents.len(), "text").unwrap_or_default();
    let (sides, cut) = data::split_text(documents, rule);
    if cut > 0 {
        account.remark(format!("{cut} cut: their ends are held out"));
    }
    Kind { sides, account, keys }
}

/// `3 users`; nothing of none.
fn counted(count: usize, what: &str) -> Option<String> {
    match count {
        0 => None,
        1 => Some(format!("1 {what}")),
        count => Some(format!("{count} {what}s")),
    }
}
