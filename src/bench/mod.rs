//! How fast this machine is, and how much of it the program uses: what `instructgpt bench` measures.
//!
//! | file | what it measures |
//! |---|---|
//! | `limits` | what the hardware allows: fused multiply-adds, memory reads; and the kernel's inner tile |
//! | `kernels` | matrix products |
//! | `models` | training steps, generation, PPO iterations |
//! | `program` | BPE, the memory of a step, a cold start of the program |
//! | `results` | the table and the JSON |
//! | [`ranks`] | messages between the ranks of a run, which `doctor` shows |
//! | `speed` | what a plan is timed by, in a fraction of a second |
//!
//! The clock of a shared machine drifts, so every sample of a case stands beside one of the peak, and a
//! case is judged by the peak of its own samples. Everything is a median.

mod kernels;
mod limits;
mod models;
mod program;
pub mod ranks;
mod results;
mod speed;

use std::path::PathBuf;
use std::time::Instant;

use crate::engine::device::on_device;
use crate::engine::{Cpu, Device, check_devices};
use crate::error::{Error, Result};
use crate::model::Precision;
use crate::num::simd::HARDWARE_BF16;
use crate::run::stderr::say;
use limits::Limits;
pub use results::{Measured, Report};
pub use speed::speed;

/// What to measure.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Only the cases whose names begin so.
    pub only: Option<String>,
    /// The small cases only.
    pub quick: bool,
    /// What computes; on a GPU there are training steps, generation and PPO iterations only.
    pub device: Device,
    /// What products with weights round their operands to.
    pub precision: Precision,
    /// Text for the BPE cases; not set: the miniature's.
    pub corpus: Option<PathBuf>,
}

/// Measures the cases that `options` asks for, on the threads of the pool this is called from. Their names go
/// to standard error as they begin. The cases of `program` start the running executable again, which has to be
/// `instructgpt`.
///
/// # Errors
/// [`Error::Usage`] if no case begins with `only`; [`Error::Io`] for the corpus and for temporary files.
pub fn measure(options: &Options) -> Result<Report> {
    options.device.check_precision(options.precision)?;
    let mut bench = Bench::new(options)?;
    match options.device {
        Device::Cpu => {
            kernels::run(&mut bench)?;
            models::run(&mut bench, Cpu, &models::ON_CPU)?;
            program::run(&mut bench)?;
        }
        device => on_device!(device, |engine| models::run(&mut bench, engine, &models::ON_DEVICE))?,
    }
    check_devices()?;
    if !bench.found {
        let expected = format!("the beginning of a case's name: {}", bench.seen.join(" "));
        return Err(Error::usage("--only", expected, options.only.as_deref().unwrap_or(""), ""));
    }
    Ok(bench.finish())
}

/// Measures cases, one after another.
struct Bench {
    options: Options,
    /// The program is used on one thread here, on all of the process's elsewhere.
    one_thread: rayon::ThreadPool,
    limits: Limits,
    report: Report,
    /// Names of all cases, for a mistaken `--only`.
    seen: Vec<String>,
    /// Whether any of them was asked for.
    found: bool,
}

/// What is measured, and what of the machine it needs at least.
struct Case {
    name: String,
    threads: usize,
    unit: Unit,
    /// What a sample does: floating-point operations, tokens, bytes; unused where the unit is a time.
    amount: f64,
    /// Floating-point operations that no implementation can do without; 0: not a limit.
    flops: f64,
    /// Bytes that have to be read from memory; 0: not a limit.
    bytes: f64,
    /// Samples taken, where there is time for more than 3.
    samples: usize,
    /// Whether a first sample is thrown away.
    warm_up: bool,
}

impl Case {
    /// A case of all threads that no limit of the machine binds, with 7 samples after a first one.
    fn new(name: impl Into<String>, unit: Unit) -> Self {
        Case {
            name: name.into(),
            threads: rayon::current_num_threads(),
            unit,
            amount: 0.0,
            flops: 0.0,
            bytes: 0.0,
            samples: 7,
            warm_up: true,
        }
    }

    /// The least time that a machine of that peak (FLOP/s) and that memory (bytes/s) allows, over the time taken: the
    /// limit that binds is the one that needs more. `None` for a case without a limit.
    fn of_limit(&self, seconds: f64, peak: f64, read: f64) -> Option<f64> {
        let least = (self.flops / peak).max(self.bytes / read);
        (least > 0.0).then_some(least / seconds)
    }
}

/// Whether a case's name begins with what `--only` says, if it says anything. A number at its end is a whole one: `B1`
/// is not `B16`.
fn begins(name: &str, only: Option<&str>) -> bool {
    let digit = |text: Option<char>| text.is_some_and(|c| c.is_ascii_digit());
    only.is_none_or(|only| {
        let rest = name.strip_prefix(only);
        rest.is_some_and(|rest| !(digit(only.chars().last()) && digit(rest.chars().next())))
    })
}

/// How a sample's seconds are shown.
#[derive(Clone, Copy, PartialEq)]
enum Unit {
    GigaflopsPerSecond,
    TokensPerSecond,
    MegabytesPerSecond,
    Milliseconds,
    Mebibytes,
}

impl Unit {
    fn name(self) -> &'static str {
        match self {
            Unit::GigaflopsPerSecond => "GFLOP/s",
            Unit::TokensPerSecond => "tokens/s",
            Unit::MegabytesPerSecond => "MB/s",
            Unit::Milliseconds => "ms",
            Unit::Mebibytes => "MiB",
        }
    }

    fn of(self, seconds: f64, amount: f64) -> f64 {
        match self {
            Unit::GigaflopsPerSecond => amount / seconds / 1e9,
            Unit::TokensPerSecond => amount / seconds,
            Unit::MegabytesPerSecond => amount / seconds / 1e6,
            Unit::Milliseconds => seconds * 1e3,
            Unit::Mebibytes => amount / f64::from(1 << 20),
        }
    }
}

impl Bench {
    fn new(options: &Options) -> Result<Self> {
        let one_thread = rayon::ThreadPoolBuilder::new()
            .num_threads(1)
            .build()
            .map_err(|e| Error::io("a thread", "start", e))?;
        let limits = Limits::measure(&one_thread);
        let mut bench = Bench {
            options: options.clone(),
            one_thread,
            limits,
            report: Report { precision: options.precision, device: options.device, ..Report::default() },
            seen: Vec::new(),
            found: false,
        };
        bench.check_tile();
        Ok(bench)
    }

    /// Warns when the inner tile is slow by itself: then the compiler has spilled it.
    fn check_tile(&mut self) {
        let (share, name) = (self.limits.tile_share, limits::tile_name());
        self.report.tile = (name.clone(), share);
        if share < limits::TILE_SHARE {
            self.report.warnings.push(format!(
                "the inner tile ({name}) runs at {:.0} % of the peak, expected at least {:.0} %: either \
                 something else uses this machine, or the compiler has spilled its registers",
                100.0 * share,
                100.0 * limits::TILE_SHARE
            ));
        }
    }

    /// Whether a case is asked for.
    fn wants(&mut self, name: &str) -> bool {
        self.seen.push(name.to_string());
        let wanted = begins(name, self.options.only.as_deref());
        self.found |= wanted;
        wanted
    }

    /// Measures a case: `sample` does its work once and returns the seconds it took.
    fn measure(&mut self, case: Case, mut sample: impl FnMut() -> Result<f64> + Send) -> Result<()> {
        say(format_args!("{} ..", case.name));
        let alone = case.threads == 1 && rayon::current_num_threads() > 1;
        if case.warm_up {
            sample()?;
        }
        let (mut seconds, mut peaks) = (Vec::new(), Vec::new());
        let pairs = self.options.precision == Precision::Bf16 && HARDWARE_BF16;
        for _ in 0..if self.options.quick { 3 } else { case.samples } {
            let peak = self.limits.sample_peak(case.threads, &self.one_thread);
            // A pair of bf16 can be multiplied by its own instruction or by two of f32: the limit is the faster.
            let of_pairs = if pairs { limits::sample_pairs(case.threads, &self.one_thread) } else { 0.0 };
            peaks.push(peak.max(of_pairs));
            seconds.push(if alone { self.one_thread.install(&mut sample)? } else { sample()? });
        }
        let (seconds, peak) = (median(&mut seconds), median(&mut peaks));
        // The limits are the processor's.
        let of_limit =
            case.of_limit(seconds, peak, self.limits.read).filter(|_| self.options.device == Device::Cpu);
        self.report.results.push(Measured {
            name: case.name,
            threads: case.threads,
            median: case.unit.of(seconds, case.amount),
            unit: case.unit.name(),
            of_limit,
        });
        Ok(())
    }

    fn finish(mut self) -> Report {
        self.report.peaks = self.limits.peaks();
        self.report.read = self.limits.read;
        self.report
    }
}

/// Seconds that `work` takes.
fn seconds<R>(work: impl FnOnce() -> R) -> f64 {
    let start = Instant::now();
    std::hint::black_box(work());
    start.elapsed().as_secs_f64()
}

/// The middle value (of an even number, the mean of the middle two); 0 for none.
fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    let n = values.len();
    match n {
        0 => 0.0,
        _ => (values[n / 2] + values[(n - 1) / 2]) / 2.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians() {
        assert_eq!(median(&mut [3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(&mut [4.0, 1.0, 2.0, 3.0]), 2.5);
        assert_eq!(median(&mut []), 0.0);
    }

    #[test]
    fn units() {
        assert_eq!(Unit::GigaflopsPerSecond.of(2.0, 4e9), 2.0);
        assert_eq!(Unit::TokensPerSecond.of(0.5, 10.0), 20.0);
        assert_eq!(Unit::Milliseconds.of(0.25, 0.0), 250.0);
        assert_eq!(Unit::Mebibytes.of(0.0, 3.0 * 1048576.0), 3.0);
    }

    #[test]
    fn only_names_the_beginnings_of_cases() {
        assert!(["x/1", "y/x/1"].into_iter().all(|name| begins(name, None)));
        assert!(begins("x/1", Some("x/1")) && begins("x/1.5", Some("x/1")) && begins("x/1", Some("x")));
        assert!(!begins("x/16", Some("x/1")) && !begins("y/x/1", Some("x/1")));
    }

    /// On a machine of 8 FLOP/s and 4 bytes/s, in 2 seconds.
    #[test]
    fn a_case_is_judged_by_the_limit_that_binds() {
        let share = |flops, bytes| {
            Case { flops, bytes, ..Case::new("x", Unit::Milliseconds) }.of_limit(2.0, 8.0, 4.0)
        };
        assert_eq!(share(0.0, 4.0), Some(0.5));
        assert_eq!(share(8.0, 0.0), Some(0.5));
        assert_eq!(share(12.0, 4.0), Some(0.75), "arithmetic binds");
        assert_eq!(share(4.0, 6.0), Some(0.75), "memory binds");
        assert_eq!(share(0.0, 0.0), None);
    }
}
