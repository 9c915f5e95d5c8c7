//! Floor 10: the paper's experiments in miniature, on the built-in world.
//!
//! Reading order: [`scale`] (how large everything is), [`runs`] (which runs there are), [`verdict`] (when an effect has
//! appeared), [`lab`] (one seed's runs and models, trained when they are asked for) with what is [`kept`] and told
//! ([`teller`]), [`asking`] (what models are asked); then the figures, each a script that begins with the paper's values
//! and the rules of its verdicts.
//!
//! ```text
//! OUT/seed-S/RUN/                ordinary run directories
//! OUT/seed-S/answers/*.jsonl     what the models were asked, and said
//! OUT/figures.json               charts, tables, verdicts: repeats to the bit
//! ```
//! All of it is resumable: what is there is used. Nothing is chosen by the gold score or on the test side.

pub mod asking;
pub mod charts;
pub mod kept;
pub mod lab;
pub mod runs;
pub mod scale;
pub mod teller;
pub mod verdict;

mod accuracy;
mod coefficients;
mod figure_1;
mod figure_4;
mod overoptimisation;
mod probes;
mod sweeps;
mod tax;

use std::cell::RefCell;
use std::path::Path;
use std::sync::atomic::AtomicBool;

use crate::checkpoint::write_atomic;
use crate::error::{Error, Result};
use crate::report::figures::Figures;
use crate::run::progress::Progress;
use lab::Lab;
use scale::Scale;
use teller::Teller;

/// A figure of the paper, or some that belong together.
pub struct Figure {
    /// Its name on the command line.
    pub name: &'static str,
    /// What it shows.
    pub shows: &'static str,
    /// What it costs for one seed, beyond the figures before it: an estimate. (Two cores make some 60 to 100 GFLOP/s, so 4
    /// to 6 TFLOP a minute.)
    pub cost: &'static str,
    /// When it is drawn.
    pub drawn: Drawn,
    draw: fn(&[Lab], &mut Figures) -> Result<()>,
}

/// When a figure is drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Drawn {
    /// With `--headline`, and with all.
    Headline,
    /// With all.
    All,
    /// Where it is asked for by name.
    OnRequest,
}

impl Drawn {
    /// In a word.
    pub fn words(self) -> &'static str {
        match self {
            Drawn::Headline => "headline",
            Drawn::All => "all",
            Drawn::OnRequest => SWEEPS,
        }
    }
}

/// All of them, in the order in which they are drawn.
pub const FIGURES: &[Figure] = &[
    figure_1::FIGURE,
    figure_4::FIGURE,
    accuracy::FIGURE,
    tax::FIGURE,
    coefficients::FIGURE_33,
    coefficients::FIGURE_34,
    overoptimisation::FIGURE,
    probes::TRUTHFULNESS,
    probes::TOXICITY,
    probes::BIAS,
    sweeps::FIGURE_36,
    sweeps::FIGURE_37,
    sweeps::FIGURE_38,
    sweeps::E_11,
];

/// The figures of that name, of `sweeps`, of the headline, or all that need not be asked for.
///
/// # Errors
/// [`Error::Usage`] for a name that is none, with the nearest.
pub fn chosen(names: &[String], headline: bool) -> Result<Vec<&'static Figure>> {
    let unknown = |name: &&String| *name != SWEEPS && FIGURES.iter().all(|figure| figure.name != *name);
    if let Some(name) = names.iter().find(unknown) {
        let known = || FIGURES.iter().map(|figure| figure.name).chain([SWEEPS]);
        let nearest = known().min_by_key(|known| strsim::damerau_levenshtein(known, name));
        let expected = format!("of {}", known().collect::<Vec<_>>().join(", "));
        let hint = format!("the nearest is {}", nearest.unwrap_or_default());
        return Err(Error::usage("FIGURE", expected, name, hint));
    }
    let wanted = |figure: &&Figure| match (names.is_empty(), headline) {
        (false, _) => names
            .iter()
            .any(|name| name == figure.name || (name == SWEEPS && figure.drawn == Drawn::OnRequest)),
        (true, true) => figure.drawn == Drawn::Headline,
        (true, false) => figure.drawn != Drawn::OnRequest,
    };
    Ok(FIGURES.iter().filter(wanted).collect())
}

/// The name of all figures that are drawn on request only.
const SWEEPS: &str = "sweeps";

/// What the page is called.
const TITLE: &str = "The paper in miniature";

/// Draws figures from the laboratories of `seeds` in `out`, and leaves them in `figures.json`, which is written again
/// after each. Setting `stop` ends what is going on; the same call goes on from there.
///
/// # Errors
/// Those of the recipe and of the files; [`Error::Interrupted`] after `stop`.
pub fn reproduce(
    scale: &Scale,
    figures: &[&Figure],
    seeds: &[u64],
    out: &Path,
    progress: &mut dyn Progress,
    stop: &AtomicBool,
) -> Result<Figures> {
    let teller = RefCell::new(Teller::new(progress));
    let labs: Vec<Lab> = seeds.iter().map(|&seed| Lab::new(scale, seed, out, &teller, stop)).collect();
    let mut drawn = Figures { title: TITLE.into(), notes: notes(scale, seeds), ..Figures::default() };
    for figure in figures {
        (figure.draw)(&labs, &mut drawn).map_err(without_resume)?;
        write_atomic(&out.join("figures.json"), |file| file.write_all(drawn.to_json().as_bytes()))?;
    }
    Ok(drawn)
}

/// A run that was stopped would go on with `--resume`; here that goes without saying.
fn without_resume(error: Error) -> Error {
    match error {
        Error::Interrupted { .. } => {
            Error::Interrupted { hint: "the same command goes on from there".into() }
        }
        other => other,
    }
}

/// What a reader must know.
fn notes(scale: &Scale, seeds: &[u64]) -> Vec<String> {
    let sizes = scale::ALL_SIZES.map(|size| format!("{:.2}", scale.parameters(size) / 1e6));
    vec![
        format!(
            "Models of {} million parameters on the built-in world stand for the paper's 1.3, 6 and 175 billion.",
            sizes.join(", ")
        ),
        format!("{} world(s) and as many trainings of every model; seeds {}.", seeds.len(), {
            seeds.iter().map(u64::to_string).collect::<Vec<_>>().join(", ")
        }),
        "Every rule was written down before the runs. Nothing was chosen by the gold score or by test prompts.".into(),
        "The paper's points were read off its plots where it prints no numbers.".into(),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(asked: &[&str], headline: bool) -> Vec<&'static str> {
        let asked: Vec<String> = asked.iter().map(|name| name.to_string()).collect();
        chosen(&asked, headline).unwrap().iter().map(|figure| figure.name).collect()
    }

    #[test]
    fn figures_are_chosen_by_name_in_their_own_order() {
        assert_eq!(names(&["tax", "figure-1"], false), ["figure-1", "tax"]);
        assert_eq!(names(&[], true), ["figure-1", "figure-4", "tax"]);
        let all = names(&[], false);
        assert!(
            all.len() >= 3 && FIGURES.iter().all(|f| all.contains(&f.name) == (f.drawn != Drawn::OnRequest))
        );
    }

    #[test]
    fn an_unknown_figure_gets_the_nearest_name() {
        let error = chosen(&["figure1".to_string()], false).err().unwrap();
        assert_eq!(error.exit_code(), 2);
        let message = error.to_string();
        assert!(
            message.starts_with("FIGURE: expected of figure-1")
                && message.ends_with("the nearest is figure-1")
        );
    }

    #[test]
    fn no_two_figures_have_one_name() {
        for (i, figure) in FIGURES.iter().enumerate() {
            assert!(FIGURES[..i].iter().all(|other| other.name != figure.name), "{}", figure.name);
        }
    }
}
