//! Progress on standard error: a bar in a terminal, a line every few seconds elsewhere.

use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

use crate::run::progress::Progress;
use crate::run::stderr::say;
use indicatif::{ProgressBar, ProgressStyle};

/// The progress display that suits standard error.
pub fn on_stderr() -> Box<dyn Progress> {
    if std::io::stderr().is_terminal() {
        Box::new(Bar::default())
    } else {
        Box::new(Plain::new(Box::new(std::io::stderr()), Duration::from_secs(5)))
    }
}

/// A bar per stage: steps, rate, time left, and how it goes.
#[derive(Default)]
struct Bar {
    bar: Option<ProgressBar>,
}

impl Progress for Bar {
    fn stage(&mut self, name: &str, total_steps: u64) {
        self.finish();
        let template = if total_steps > 0 {
            "{prefix:>12} [{bar:24}] {pos}/{len}  {msg}  {per_sec}  {eta} left"
        } else {
            "{prefix:>12} {spinner} {pos}  {msg}  {per_sec}"
        };
        let style = ProgressStyle::with_template(template).expect("the template is a constant");
        let bar = if total_steps > 0 { ProgressBar::new(total_steps) } else { ProgressBar::new_spinner() };
        bar.set_style(style.progress_chars("=> "));
        bar.set_prefix(name.to_string());
        self.bar = Some(bar);
    }

    fn step(&mut self, step: u64, line: &str) {
        if let Some(bar) = &self.bar {
            bar.set_message(line.to_string());
            bar.set_position(step);
        }
    }

    fn note(&mut self, text: &str) {
        match &self.bar {
            Some(bar) => bar.println(text),
            None => say(text),
        }
    }

    fn finish(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.abandon();
        }
    }
}

/// Lines, none sooner than `interval` after the one before; a stage's last step is always told.
struct Plain {
    out: Box<dyn Write + Send>,
    interval: Duration,
    name: String,
    total: u64,
    first_step: Option<(u64, Instant)>,
    last_line: Option<Instant>,
    untold: Option<String>,
}

impl Plain {
    fn new(out: Box<dyn Write + Send>, interval: Duration) -> Plain {
        Plain {
            out,
            interval,
            name: String::new(),
            total: 0,
            first_step: None,
            last_line: None,
            untold: None,
        }
    }

    /// A progress line that cannot be written is no reason to stop a run.
    fn write(&mut self, text: &str) {
        let _ = writeln!(self.out, "{text}");
    }

    /// `, 3.2/s, 1m 20s left`, once two steps give a rate.
    fn rate(&self, step: u64, now: Instant) -> String {
        let Some((first, since)) = self.first_step.filter(|(first, _)| step > *first) else {
            return String::new();
        };
        let seconds = now.duration_since(since).as_secs_f64().max(1e-9);
        let rate = (step - first) as f64 / seconds;
        let left = self.total.saturating_sub(step) as f64 / rate;
        let rate = if rate < 1.0 { format!("{:.1} s each", 1.0 / rate) } else { format!("{rate:.1}/s") };
        if self.total == 0 { format!(", {rate}") } else { format!(", {rate}, {} left", duration(left)) }
    }
}

/// `45s`, `3m 05s`, `2h 10m`.
fn duration(seconds: f64) -> String {
    let s = seconds.ceil() as u64;
    match s {
        0..60 => format!("{s}s"),
        60..3600 => format!("{}m {:02}s", s / 60, s % 60),
        _ => format!("{}h {:02}m", s / 3600, s % 3600 / 60),
    }
}

impl Progress for Plain {
    fn stage(&mut self, name: &str, total_steps: u64) {
        self.finish();
        (self.name, self.total) = (name.to_string(), total_steps);
        (self.first_step, self.last_line) = (None, Some(Instant::now()));
        let steps = if total_steps == 1 { "step" } else { "steps" };
        if total_steps > 0 {
            self.write(&format!("{name}: {total_steps} {steps}"));
        } else {
            self.write(name);
        }
    }

    fn step(&mut self, step: u64, line: &str) {
        let now = Instant::now();
        let total = if self.total > 0 { format!("/{}", self.total) } else { String::new() };
        let text = format!("{}: {step}{total} {line}{}", self.name, self.rate(step, now));
        self.first_step.get_or_insert((step, now));
        if self.last_line.is_none_or(|last| now.duration_since(last) >= self.interval) {
            self.last_line = Some(now);
            self.untold = None;
            self.write(&text);
        } else {
            self.untold = Some(text);
        }
    }

    fn note(&mut self, text: &str) {
        self.write(text);
    }

    fn finish(&mut self) {
        if let Some(text) = self.untold.take() {
            self.write(&text);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{Arc, Mutex};

    #[derive(Clone, Default)]
    struct Shared(Arc<Mutex<Vec<u8>>>);
    impl Write for Shared {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    fn lines(interval: Duration) -> Vec<String> {
        let out = Shared::default();
        let mut p = Plain::new(Box::new(out.clone()), interval);
        p.stage("sft", 3);
        for step in 1..=3 {
            p.step(step, "loss 1.5");
        }
        p.note("saved");
        p.finish();
        let text = String::from_utf8(out.0.lock().unwrap().clone()).unwrap();
        text.lines().map(String::from).collect()
    }

    #[test]
    fn few_lines_and_always_the_last_step() {
        let seen = lines(Duration::from_secs(3600));
        assert_eq!(seen.len(), 3, "{seen:?}");
        assert_eq!((seen[0].as_str(), seen[1].as_str()), ("sft: 3 steps", "saved"));
        assert!(seen[2].starts_with("sft: 3/3 loss 1.5, "), "{seen:?}");
    }

    #[test]
    fn every_step_if_wanted() {
        let seen = lines(Duration::ZERO);
        assert_eq!(seen.len(), 5, "{seen:?}");
        assert_eq!(seen[1], "sft: 1/3 loss 1.5");
        assert!(seen[3].ends_with("0s left"), "{seen:?}");
    }

    #[test]
    fn durations() {
        assert_eq!(
            (duration(44.2), duration(185.0), duration(7800.0)),
            ("45s".into(), "3m 05s".into(), "2h 10m".into())
        );
    }
}
