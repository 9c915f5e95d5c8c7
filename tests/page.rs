//! The report as a browser shows it, on a desk and on a telephone, light and dark: no error on the console, nothing wider
//! than the screen, no endless scroll. Needs Chromium; without one the test says so and passes.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use instructgpt::report::figures::{Axis, Chart, Effect, Figures, Kind, Line, Point, Verdict};
use instructgpt::report::{render, write};
use serde_json::json;

/// What a run leaves, as large as the demo's, with words that are hard to break.
fn run(directory: &Path) {
    let mut metrics = String::new();
    for step in 1..=600 {
        metrics +=
            &format!("{{\"stage\":\"pretrain\",\"step\":{step},\"loss\":{}}}\n", 6.0 / f64::from(step));
    }
    for (stage, shift) in [("ppo", 0.0), ("ppo_ptx", 0.5)] {
        for step in 1..=30 {
            let y = shift + f64::from(step) / 30.0;
            let line = json!({ "stage": stage, "step": step, "reward": y, "kl": y, "entropy": y, "response_length": y,
                "ended": y, "gradient_norm": y, "validation_reward": y, "ptx_loss": y, "clip_fraction": y });
            metrics += &format!("{line}\n");
        }
    }
    let columns: Vec<String> = (0..10).map(|i| format!("measure number {i} (nats)")).collect();
    let rows = vec![vec!["0.123 [0.100, 0.140]"; 10]; 5];
    let table = json!({ "title": "256 test prompts", "columns": columns, "rows": rows });
    let results = json!({ "tables": [table.clone(), table], "notes": ["prompts: 3", "warning: few"],
        "sft": { "notes": ["the loss rose"] }, "evaluation": {} });
    let word = "unbreakable".repeat(12);
    let answers: serde_json::Map<String, serde_json::Value> =
        ["pretrained", "sft", "rlhf_init", "ppo", "ppo_ptx"]
            .iter()
            .map(|name| {
                (
                    name.to_string(),
                    json!({ "text": word, "reward": 0.5, "gold": 3.0, "marks": [[0, 5, true]] }),
                )
            })
            .collect();
    let samples = format!("{}\n", json!({ "prompt": word, "answers": answers })).repeat(24);
    let mut episode = format!("{}\n", json!({ "prompt": "p", "score": 1.0, "kl_coef": 0.1 }));
    for i in 0..40 {
        let line = json!({ "text": " longer_token", "log_prob": -1.25, "reference_log_prob": -0.5, "kl": -0.75,
            "value": 0.5, "reward": f64::from(i), "advantage": -12.5 });
        episode += &format!("{line}\n");
    }
    let file = |name: &str, text: &str| fs::write(directory.join(name), text).unwrap();
    file("metrics.jsonl", &metrics);
    file("results.json", &results.to_string());
    file("samples.jsonl", &samples);
    file("episode_ppo_ptx.jsonl", &episode);
    file("config.toml", "seed = 1\n[model]\nlayers = 3\nwidth = 96\n");
}

/// What a reproduction leaves.
fn reproduction(directory: &Path) {
    let verdict = |effect| Verdict {
        figure: "Figure 1".into(),
        claim: "A claim of the paper in a sentence that is as long as such sentences are.".into(),
        paper: "85 % of the time".into(),
        ours: Some(0.6),
        low: Some(0.5),
        high: Some(0.7),
        seeds: vec![0.6; 3],
        effect,
        rule: "r".into(),
        why: "w".into(),
    };
    let point = |x: f64| Point { x, y: 0.5, low: Some(0.4), high: Some(0.6) };
    let lines: Vec<Line> = ["GPT", "GPT prompted", "SFT", "PPO", "PPO-ptx"]
        .iter()
        .map(|name| Line { name: name.to_string(), points: [0.0, 1.0, 2.0].map(point).to_vec() })
        .collect();
    let labels =
        ["attempts the correct instruction", "hallucinations", "appropriate"].map(String::from).to_vec();
    let chart = |kind| Chart {
        figure: "Figure 4".into(),
        title: "Metadata".into(),
        about: "shares".into(),
        kind,
        x: Axis { name: "question".into(), labels: Some(labels.clone()), ..Axis::default() },
        y: Axis { name: "share".into(), unit: "share of answers".into(), ..Axis::default() },
        series: lines.clone(),
        paper: lines.clone(),
    };
    let figures = Figures {
        title: "The paper in miniature".into(),
        verdicts: [Effect::Yes, Effect::No, Effect::Undecided].map(verdict).to_vec(),
        charts: vec![chart(Kind::Bars), chart(Kind::Lines)],
        ..Figures::default()
    };
    fs::write(directory.join("figures.json"), figures.to_json()).unwrap();
}

fn browser() -> Option<&'static str> {
    let answers =
        |name: &&str| Command::new(name).arg("--version").output().is_ok_and(|out| out.status.success());
    ["chromium", "chromium-browser", "google-chrome"].into_iter().find(answers)
}

/// Shows the page that `make` leaves the files of in a frame of that width. Its own width and height, and the colour
/// behind it.
fn shown(browser: &str, make: fn(&Path), width: u32, dark: bool) -> (u32, u32, String) {
    let directory = tempfile::tempdir().unwrap();
    make(directory.path());
    let page = write(directory.path()).unwrap();
    let measure = "<script>onload = () => { const all = document.documentElement; parent.postMessage('measured ' + \
        all.scrollWidth + ' ' + all.scrollHeight + ' ' + getComputedStyle(document.body).backgroundColor.replace(/ /g, \
        '') + ' ', '*') }</script></body>";
    fs::write(&page, render(directory.path()).unwrap().replace("</body>", measure)).unwrap();
    let frame = format!(
        "<!DOCTYPE html><meta name=\"color-scheme\" content=\"light dark\"><body><script>onmessage = event => \
         document.body.append(event.data)</script><iframe src=\"report.html\" width=\"{width}\" height=\"800\" \
         style=\"border:0\"></iframe></body>"
    );
    let outer = directory.path().join("frame.html");
    fs::write(&outer, frame).unwrap();
    // Into files: a helper of the browser may keep a pipe open after it.
    let file = |name: &str| fs::File::create(directory.path().join(name)).unwrap();
    let mut child = Command::new(browser)
        .args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"])
        .args(["--disable-background-networking", "--disable-component-update", "--disable-sync"])
        .args(["--enable-logging=stderr", "--timeout=40000", "--dump-dom", "--window-size=1600,1000"])
        .arg(format!("--blink-settings=preferredColorScheme={}", u8::from(!dark)))
        .arg(format!("--user-data-dir={}", directory.path().join("browser").display()))
        .arg(format!("file://{}", outer.display()))
        .stdout(file("dom"))
        .stderr(file("log"))
        .spawn()
        .unwrap();
    let ended = (0..600).any(|_| {
        std::thread::sleep(Duration::from_millis(100));
        child.try_wait().unwrap().is_some()
    });
    if !ended {
        child.kill().unwrap();
    }
    let read =
        |name: &str| String::from_utf8_lossy(&fs::read(directory.path().join(name)).unwrap()).into_owned();
    let (dom, said) = (read("dom"), read("log"));
    assert!(ended, "{browser} does not end: {said}");
    assert!(!said.contains("CONSOLE"), "{said}");
    let measured = dom.rsplit("measured ").next().unwrap();
    let mut words = measured.split_whitespace();
    let mut number =
        || words.next().and_then(|word| word.parse().ok()).unwrap_or_else(|| panic!("{dom}\n{said}"));
    (number(), number(), words.next().unwrap().to_string())
}

#[test]
fn a_browser_shows_the_page_on_a_desk_and_on_a_telephone() {
    let Some(browser) = browser() else { return println!("skipped: no Chromium") };
    let pages = [("a run", run as fn(&Path), [4500, 12_000]), ("a reproduction", reproduction, [2500, 4500])];
    for (name, make, heights) in pages {
        for (width, most) in [1400, 390].into_iter().zip(heights) {
            let (wide, high, light) = shown(browser, make, width, false);
            assert!(wide <= width, "{name}: {wide} wide on {width}");
            assert!(high <= most && high > 500, "{name}: {high} high on {width}");
            let dark = shown(browser, make, width, true).2;
            assert!(light == "rgb(255,255,255)" && dark == "rgb(20,23,26)", "{name}: {light} {dark}");
        }
    }
}
