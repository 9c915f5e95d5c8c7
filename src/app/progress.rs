//! Progress on standard error: a bar in a terminal, a line every few seconds elsewhere.

use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

use super::course::Course;
use super::plan::duration;
use crate::run::Plan;
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

/// The clock of the stage that runs, and the course of the run.
#[derive(Default)]
struct Clock {
    course: Course,
    total: u64,
    began: Option<Instant>,
    /// The first step that was made here, less one: a resumed stage has steps from before.
    before: Option<u64>,
    /// The last step that was made.
    made: u64,
}

impl Clock {
    /// The stage's place among all, as in "stage 3 of 8".
    fn begin(&mut self, name: &str, total: u64) -> Option<String> {
        (self.total, self.began, self.before, self.made) = (total, Some(Instant::now()), None, 0);
        self.course.enter(name)
    }

    fn step(&mut self, step: u64) {
        self.before.get_or_insert(step.saturating_sub(1));
        self.made = step;
    }

    /// The share of the stage that was made here, and the seconds it took.
    fn seen(&self) -> (f64, f64) {
        let steps = self.made - self.before.unwrap_or(self.made);
        let seconds = self.began.map_or(0.0, |began| began.elapsed().as_secs_f64());
        (steps as f64 / self.total.max(1) as f64, seconds)
    }

    /// Seconds that are left of the stage, and of all.
    fn left(&self) -> (f64, Option<f64>) {
        let (share, seconds) = self.seen();
        let rest = self.total.saturating_sub(self.made) as f64 / self.total.max(1) as f64;
        let left = if share > 0.0 { seconds / share * rest } else { 0.0 };
        (left, self.course.left_after_this(share, seconds).map(|later| left + later))
    }

    fn end(&mut self) {
        let (share, seconds) = self.seen();
        self.course.leave(share, seconds);
    }
}

/// A bar per stage: steps, rate, time left, and how it goes.
#[derive(Default)]
struct Bar {
    bar: Option<ProgressBar>,
    clock: Clock,
    /// How the last step went.
    line: String,
}

impl Drop for Bar {
    /// A stage that was not finished stays on the screen as far as it came.
    fn drop(&mut self) {
        self.bar.take().inspect(ProgressBar::abandon);
    }
}

impl Progress for Bar {
    fn plan(&mut self, plan: &Plan) {
        self.clock.course = announced(plan, |line| self.note(line));
    }

    fn stage(&mut self, name: &str, total_steps: u64) {
        self.finish();
        let template =
            if total_steps > 0 { "{prefix} [{bar:24}] {pos}/{len}  {msg}" } else { "{prefix}  {msg}" };
        let style = ProgressStyle::with_template(template).expect("the template is a constant");
        let bar = ProgressBar::new(total_steps);
        bar.set_style(style.progress_chars("=> "));
        let place = self.clock.begin(name, total_steps).map_or(String::new(), |place| format!("{place}  "));
        bar.set_prefix(format!("{place}{name:>13}"));
        bar.tick();
        self.bar = Some(bar);
    }

    fn step(&mut self, step: u64, line: &str) {
        self.clock.step(step);
        self.line = line.to_string();
        let (left, all) = self.clock.left();
        let all = all.map_or(String::new(), |all| format!(", of all {}", duration(all)));
        if let Some(bar) = &self.bar {
            bar.set_message(format!("{line}  {} left{all}", duration(left)));
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
        let Some(bar) = self.bar.take() else { return };
        let (_, seconds) = self.clock.seen();
        self.clock.end();
        bar.set_message(format!("{}  done in {}", core::mem::take(&mut self.line), duration(seconds)));
        // To its end, whatever was drawn last.
        bar.finish();
    }
}

/// Says the plan in lines; the course that it sets. Nothing is said of a run that is over.
fn announced(plan: &Plan, mut say: impl FnMut(&str)) -> Course {
    if plan.left().next().is_none() {
        return Course::default();
    }
    // A device that cannot be opened is the run's own error to tell.
    let Ok(speed) = crate::bench::speed(plan.device, &plan.model) else { return Course::default() };
    super::plan::lines(plan, &speed).iter().for_each(|line| say(line));
    Course::new(plan, &speed)
}

/// Lines, none sooner than `interval` after the one before; a stage's last step is always told.
struct Plain {
    out: Box<dyn Write + Send>,
    interval: Duration,
    name: String,
    clock: Clock,
    last_line: Option<Instant>,
    untold: Option<String>,
}

impl Plain {
    fn new(out: Box<dyn Write + Send>, interval: Duration) -> Plain {
        Plain { out, interval, name: String::new(), clock: Clock::default(), last_line: None, untold: None }
    }

    /// A progress line that cannot be written is no reason to stop a run.
    fn write(&mut self, text: &str) {
        let _ = writeln!(self.out, "{text}");
    }

    /// `, 3.2/s, 1m 20s left, of all 10m 00s`.
    fn rate(&self) -> String {
        let (share, seconds) = self.clock.seen();
        let rate = share * self.clock.total as f64 / seconds.max(1e-9);
        let rate = if rate < 1.0 { format!("{:.1} s each", 1.0 / rate) } else { format!("{rate:.1}/s") };
        let (left, all) = self.clock.left();
        let all = all.map_or(String::new(), |all| format!(", of all {}", duration(all)));
        format!(", {rate}, {} left{all}", duration(left))
    }
}

impl Progress for Plain {
    fn plan(&mut self, plan: &Plan) {
        self.clock.course = announced(plan, |line| self.write(line));
    }

    fn stage(&mut self, name: &str, total_steps: u64) {
        self.finish();
        (self.name, self.last_line) = (name.to_string(), Some(Instant::now()));
        let place = self.clock.begin(name, total_steps).map_or(String::new(), |place| format!("{place}, "));
        let steps = if total_steps == 1 { "step" } else { "steps" };
        self.write(&format!("{name}: {place}{total_steps} {steps}"));
    }

    fn step(&mut self, step: u64, line: &str) {
        self.clock.step(step);
        let now = Instant::now();
        let text = format!("{}: {step}/{} {line}{}", self.name, self.clock.total, self.rate());
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
        self.clock.end();
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
        assert!(seen[1].starts_with("sft: 1/3 loss 1.5, "), "{seen:?}");
        assert!(seen[3].ends_with("0s left"), "{seen:?}");
    }

    #[test]
    fn a_planned_run_says_where_it_stands() {
        let out = Shared::default();
        let mut p = Plain::new(Box::new(out.clone()), Duration::ZERO);
        p.plan(&crate::app::course::tests::plan());
        p.stage("sft", 2);
        p.step(1, "loss 1.5");
        p.finish();
        p.stage("ppo", 1);
        p.step(1, "");
        let text = String::from_utf8(out.0.lock().unwrap().clone()).unwrap();
        assert!(text.starts_with("plan:\n"), "{text}");
        assert!(text.contains("sft: stage 2 of 4, 2 steps\nsft: 1/2 loss 1.5, "), "{text}");
        assert!(text.contains(" left, of all ") && text.contains("ppo: stage 4 of 4, 1 step\n"), "{text}");
        assert!(text.ends_with("0s left, of all 0s\n"), "{text}");
    }

    /// A stage that was resumed is as fast as the steps that were made since.
    #[test]
    fn steps_from_before_are_not_counted_as_made() {
        let mut clock = Clock::default();
        clock.begin("sft", 10);
        clock.step(7);
        assert_eq!(clock.seen().0, 0.1);
        clock.step(8);
        assert_eq!((clock.seen().0, clock.before), (0.2, Some(6)));
    }
}
