//! A run once more, from the `config.toml` that it wrote, by the library alone: no command line, no progress, no report.
//!
//! ```text
//! cargo run --release --no-default-features --features std --example repeat -- runs/tiny/config.toml again
//! ```
//!
//! Paths in the configuration are relative to the working directory. It runs wherever Rust's standard library does, also
//! in WebAssembly, and leaves the same bytes everywhere: `tests/determinism.sh` compares them.

use std::path::Path;
use std::sync::atomic::AtomicBool;

use instructgpt::engine::Cpu;
use instructgpt::error::{Error, Result};
use instructgpt::num::par::with_threads;
use instructgpt::recipe::Recipe;
use instructgpt::run::progress::Silent;
use instructgpt::settings::Settings;

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [config, out] = &arguments[..] else {
        let found = format!("{} arguments", arguments.len());
        return Err(Error::usage("repeat", "CONFIG.toml and a new run directory", found, ""));
    };
    let text = std::fs::read_to_string(config).map_err(|error| Error::io(config, "read", error))?;
    let wrong =
        |error: toml::de::Error| Error::format(config, "", "a run's config.toml", error.message(), "");
    let settings: Settings = toml::from_str(&text).map_err(wrong)?;
    settings.validate()?;
    let (mut progress, stop) = (Silent, AtomicBool::new(false));
    with_threads(0, || {
        Recipe::open(Cpu, &settings, Path::new(""), Path::new(out), false, &mut progress, &stop)?.all()
    })
}
