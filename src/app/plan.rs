//! The plan of a run in words: a table of its stages, the total, and what would shorten it.

use super::tables::columns;
use crate::engine::Device;
use crate::num::par;
use crate::run::{Plan, PlannedStage, Speed};

/// A run that takes longer is warned about, in seconds.
const LONG: f64 = 24.0 * 3600.0;

const COLUMNS: [&str; 9] =
    ["stage", "steps", "tokens a step", "tokens", "networks", "parameters", "memory", "arithmetic", "time"];

/// The plan at its device's speed, in lines.
pub fn lines(plan: &Plan, speed: &Speed) -> Vec<String> {
    let rows: Vec<Vec<String>> = plan.stages.iter().map(|stage| row(stage, speed)).collect();
    let mut lines = vec!["plan:".to_string()];
    lines.extend(columns(&COLUMNS, &rows).into_iter().map(|line| format!("  {line}")));
    if plan.left().next().is_none() {
        return lines;
    }
    let (work, bound) = (plan.work_left(), plan.left().any(|stage| stage.at_most));
    let memory = plan.left().map(|stage| stage.memory).max().unwrap_or(0);
    let at_most = if bound { "at most " } else { "" };
    let (flops, time) = (si(work.flops(), "FLOP"), duration(work.seconds(speed)));
    let place = match (plan.device, par::threads()) {
        (Device::Cpu, 1) => "1 thread".to_string(),
        (Device::Cpu, threads) => format!("{threads} threads"),
        (device, _) => device.to_string(),
    };
    lines.push(format!("in all {at_most}{flops}: {at_most}{time} on {place}, in {}", bytes(memory)));
    let speeds = [speed.passes, speed.sampling].map(|speed| si(speed, "FLOP/s"));
    lines.push(format!("measured now: {} in passes, {} in sampling", speeds[0], speeds[1]));
    if bound {
        lines.push("at most: responses are counted at their longest, and may end before".into());
    }
    if work.seconds(speed) > LONG {
        let keys = plan.shortest(speed).into_iter().filter(|(_, saved)| *saved > 0.0).take(3);
        let keys: Vec<String> =
            keys.map(|(key, saved)| format!("half of {key} saves {}", duration(saved))).collect();
        lines.push(format!("warning: this run takes about {time}; {}", keys.join(", ")));
    }
    lines
}

fn row(stage: &PlannedStage, speed: &Speed) -> Vec<String> {
    let name = stage.id.name().to_string();
    if stage.done {
        return vec![name, "done".into()];
    }
    let bound = |text: String| if stage.at_most { format!("at most {text}") } else { text };
    let each = stage.tokens.checked_div(stage.steps).unwrap_or(0);
    vec![
        name,
        grouped(stage.steps),
        grouped(each),
        bound(grouped(stage.tokens)),
        stage.networks.to_string(),
        si(stage.parameters as f64, "").trim_end().to_string(),
        bytes(stage.memory),
        si(stage.work.flops(), "FLOP"),
        duration(stage.work.seconds(speed)),
    ]
}

/// `1,234,567`.
fn grouped(n: u64) -> String {
    let digits = n.to_string();
    let mut text = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `403 k`, `1.21 M`, with a unit behind it.
fn si(x: f64, unit: &str) -> String {
    const PREFIXES: [&str; 8] = ["", "k", "M", "G", "T", "P", "E", "Z"];
    let (mut x, mut power) = (x, 0);
    while x >= 999.5 && power + 1 < PREFIXES.len() {
        x /= 1000.0;
        power += 1;
    }
    let decimals = if power == 0 || x >= 99.95 {
        0
    } else if x >= 9.995 {
        1
    } else {
        2
    };
    format!("{x:.decimals$} {}{unit}", PREFIXES[power])
}

/// `35 MiB`, `1.2 GiB`.
fn bytes(n: u128) -> String {
    match n >> 20 {
        0..1024 => format!("{} MiB", (n >> 20).max(1)),
        _ => format!("{:.1} GiB", n as f64 / f64::from(1 << 30)),
    }
}

/// `45s`, `3m 05s`, `2h 10m`, `12d 3h`.
pub fn duration(seconds: f64) -> String {
    let s = seconds.ceil() as u64;
    match s {
        0..60 => format!("{s}s"),
        60..3600 => format!("{}m {:02}s", s / 60, s % 60),
        3600..86400 => format!("{}h {:02}m", s / 3600, s % 3600 / 60),
        _ => format!("{}d {}h", s / 86400, s % 86400 / 3600),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::ModelConfig;
    use crate::run::{StageId, Work};

    fn stage(id: StageId, done: bool, passes: f64, sampling: f64) -> PlannedStage {
        let work = Work { passes, sampling };
        let (steps, tokens, networks, parameters) = (600, 921_600, 1, 403_456);
        PlannedStage {
            id,
            done,
            steps,
            tokens,
            at_most: sampling > 0.0,
            networks,
            parameters,
            memory: 35 << 20,
            work,
        }
    }

    fn plan(hours: f64) -> Plan {
        let pretrain = stage(StageId::Pretrain, true, 1e12, 0.0);
        let sft = stage(StageId::Sft, false, 3.6e12, 0.0);
        let ppo = stage(StageId::Ppo, false, 0.0, hours * 3.6e12);
        let halved = vec![
            ("sft.epochs", Work { passes: 1.8e12, sampling: hours * 3.6e12 }),
            ("ppo.episodes", Work { passes: 3.6e12, sampling: hours * 1.8e12 }),
        ];
        Plan {
            stages: vec![pretrain, sft, ppo],
            model: ModelConfig::gpt2(512, 96, 96, 3, 4),
            device: Device::Cpu,
            halved,
        }
    }

    /// A GFLOP/s in passes, half of one in sampling.
    const SPEED: Speed = Speed { passes: 1e9, sampling: 0.5e9 };

    #[test]
    fn every_stage_has_a_line_and_the_total_is_that_of_what_is_left() {
        let text = lines(&plan(1.0), &SPEED).join("\n");
        let line = |name: &str| text.lines().find(|line| line.trim().starts_with(name)).unwrap();
        let words = |name: &str| line(name).split_whitespace().collect::<Vec<_>>().join(" ");
        assert_eq!(words("pretrain"), "pretrain done");
        assert_eq!(words("sft"), "sft 600 1,536 921,600 1 403 k 35 MiB 3.60 TFLOP 1h 00m");
        assert_eq!(words("ppo"), "ppo 600 1,536 at most 921,600 1 403 k 35 MiB 3.60 TFLOP 2h 00m");
        assert!(line("in all").starts_with("in all at most 7.20 TFLOP: at most 3h 00m on "), "{text}");
        assert!(!text.contains("warning"));
        let on_a_gpu = Plan { device: Device::Cuda(1), ..plan(1.0) };
        let text = lines(&on_a_gpu, &SPEED).join("\n");
        assert!(text.contains("in all at most 7.20 TFLOP: at most 3h 00m on cuda:1, in 35 MiB"), "{text}");
    }

    #[test]
    fn a_run_of_days_says_what_would_shorten_it_most() {
        let text = lines(&plan(30.0), &SPEED).join("\n");
        let warning = "warning: this run takes about 2d 13h; half of ppo.episodes saves 1d 6h, half of sft.epochs \
                       saves 30m 00s";
        assert!(text.ends_with(warning), "{text}");
    }

    #[test]
    fn numbers_in_words() {
        assert_eq!([0, 999, 1000, 1_234_567].map(grouped), ["0", "999", "1,000", "1,234,567"]);
        let shown = [0.0, 12.0, 1234.0, 99_960.0, 1.5e6, 2.5e13].map(|x| si(x, "F"));
        assert_eq!(shown, ["0 F", "12 F", "1.23 kF", "100 kF", "1.50 MF", "25.0 TF"]);
        assert_eq!([5, 35 << 20, 1288490188].map(bytes), ["1 MiB", "35 MiB", "1.2 GiB"]);
        let shown = [44.2, 185.0, 7800.0, 90_000.0].map(duration);
        assert_eq!(shown, ["45s", "3m 05s", "2h 10m", "1d 1h"]);
    }
}
