//! What was measured, as a table and as JSON.

use serde_json::{Map, Value, json};

use crate::engine::Device;
use crate::model::Precision;

/// A case's result.
#[derive(Debug, Clone)]
pub struct Measured {
    /// The case, as `step/10.8M`.
    pub name: String,
    /// Threads it ran on.
    pub threads: usize,
    /// The median of its samples, in `unit`.
    pub median: f64,
    /// `GFLOP/s`, `tokens/s`, `MB/s`, `ms` or `MiB`.
    pub unit: &'static str,
    /// Least time the machine's limits allow over the time taken; 1 is the hardware's limit.
    pub of_limit: Option<f64>,
}

/// Everything that is reported.
#[derive(Debug, Clone, Default)]
pub struct Report {
    /// What the products' operands were rounded to.
    pub precision: Precision,
    /// What computed.
    pub device: Device,
    /// Threads, and the peak in FLOP/s.
    pub peaks: Vec<(usize, f64)>,
    /// Bytes/s read from memory on all threads.
    pub read: f64,
    /// The inner tile's name, and its speed relative to the peak.
    pub tile: (String, f64),
    /// The cases, in the order they were measured.
    pub results: Vec<Measured>,
    /// What a reader must know, a sentence each.
    pub warnings: Vec<String>,
}

impl Report {
    /// `{"machine":{..},"precision":"f32","device":"cpu","peak_gflops":{"1":..},"read_gb_s":..,"tile":{..},"results":[..],"warnings":[..]}`.
    pub fn json(&self) -> Value {
        let peaks: Map<String, Value> = self
            .peaks
            .iter()
            .map(|(threads, peak)| (threads.to_string(), json!(short(peak / 1e9))))
            .collect();
        let results: Vec<Value> = self
            .results
            .iter()
            .map(|result| {
                let mut fields = json!({ "name": result.name, "threads": result.threads,
                    "median": short(result.median), "unit": result.unit });
                if let Some(share) = result.of_limit {
                    fields["of_limit"] = json!(short(share));
                }
                fields
            })
            .collect();
        json!({
            "machine": machine(),
            "precision": self.precision,
            "device": device(self.device),
            "peak_gflops": peaks,
            "read_gb_s": short(self.read / 1e9),
            "tile": { "name": self.tile.0, "of_peak": short(self.tile.1) },
            "results": results,
            "warnings": self.warnings,
        })
    }

    /// The same for people.
    pub fn table(&self) -> String {
        let machine = machine();
        let words = |key: &str| machine[key].as_str().unwrap_or("?").to_string();
        let mut lines = vec![format!(
            "{}, {} of {} cores; instructgpt {} ({}, {})",
            words("processor"),
            machine["threads"],
            machine["cores"],
            words("version"),
            words("build"),
            words("vectors")
        )];
        for (threads, peak) in &self.peaks {
            lines.push(format!("fused multiply-adds, {threads} threads: {:.0} GFLOP/s", peak / 1e9));
        }
        if self.device != Device::Cpu {
            lines.push(format!("the cases run on {}", device(self.device)));
        }
        if self.precision != Precision::F32 {
            lines.push(format!("operands of products: {}", self.precision.name()));
        }
        lines.push(format!("memory reads: {:.1} GB/s", self.read / 1e9));
        lines.push(format!("inner tile {}: {:.0} % of the peak", self.tile.0, 100.0 * self.tile.1));
        let width = self.results.iter().map(|result| result.name.len()).max().unwrap_or(0).max(4);
        lines.push(format!("\n{:<width$}  threads  {:>9}  {:<8}  of the limit", "case", "median", "unit"));
        for Measured { name, threads, median, unit, of_limit } in &self.results {
            let share = of_limit.map_or(String::new(), |share| format!("{:.0} %", 100.0 * share));
            let median = short(*median);
            lines.push(format!("{name:<width$}  {threads:>7}  {median:>9}  {unit:<8}  {share:>12}"));
        }
        lines.join("\n")
    }
}

/// A device's name, with its maker's.
fn device(device: Device) -> String {
    #[cfg(feature = "cuda")]
    if let Device::Cuda(number) = device
        && let Ok(cuda) = crate::engine::Cuda::open(number)
    {
        return format!("{device} ({})", cuda.info().name);
    }
    device.to_string()
}

/// Four digits are more than a clock is good for.
fn short(value: f64) -> f64 {
    if value == 0.0 || !value.is_finite() {
        return value;
    }
    let scale = 10f64.powi(3 - value.abs().log10().floor() as i32);
    (value * scale).round() / scale
}

/// The processor, what was compiled in, and the most memory this process has held so far.
fn machine() -> Value {
    let vectors = [
        ("avx512bf16", cfg!(target_feature = "avx512bf16")),
        ("avx512f", cfg!(target_feature = "avx512f")),
        ("avx2", cfg!(target_feature = "avx2")),
        ("fma", cfg!(target_feature = "fma")),
        ("neon", cfg!(target_feature = "neon")),
    ];
    let vectors: Vec<&str> = vectors.into_iter().filter(|v| v.1).map(|v| v.0).collect();
    json!({
        "processor": proc_field("/proc/cpuinfo", "model name").unwrap_or_else(|| "unknown".into()),
        "architecture": std::env::consts::ARCH,
        "system": std::env::consts::OS,
        "cores": std::thread::available_parallelism().map_or(1, usize::from),
        "threads": rayon::current_num_threads(),
        "version": env!("CARGO_PKG_VERSION"),
        "build": if cfg!(debug_assertions) { "development" } else { "release" },
        "vectors": vectors.join(" "),
        "peak_resident_kib": peak_resident_kib(),
    })
}

/// The most memory this process has held so far, in KiB (Linux only).
fn peak_resident_kib() -> Option<u64> {
    proc_field("/proc/self/status", "VmHWM")?.split(' ').next()?.parse().ok()
}

/// The first value of `field` in a file of `field: value` lines.
fn proc_field(path: &str, field: &str) -> Option<String> {
    let text = std::fs::read_to_string(path).ok()?;
    let line = text.lines().find(|line| line.starts_with(field))?;
    Some(line.split_once(':')?.1.trim().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report() -> Report {
        let result = |name: &str, of_limit| Measured {
            name: name.into(),
            threads: 2,
            median: 512.34567,
            unit: "GFLOP/s",
            of_limit,
        };
        Report {
            precision: Precision::F32,
            device: Device::Cpu,
            peaks: vec![(1, 278e9), (2, 557e9)],
            read: 74e9,
            tile: ("12x32".into(), 0.99),
            results: vec![result("gemm/nn/1024x1024x1024", Some(0.9198)), result("bpe/train", None)],
            warnings: vec![],
        }
    }

    #[test]
    fn the_json_is_the_documented_one() {
        let json = report().json();
        assert_eq!(json["peak_gflops"], json!({"1": 278.0, "2": 557.0}));
        assert_eq!(json["read_gb_s"], 74.0);
        assert_eq!(
            json["results"][0],
            json!({"name": "gemm/nn/1024x1024x1024", "threads": 2, "median": 512.3, "unit": "GFLOP/s",
                "of_limit": 0.9198})
        );
        assert!(json["results"][1].get("of_limit").is_none());
        assert!(json["machine"]["threads"].as_u64().unwrap() > 0);
    }

    #[test]
    fn the_table_is_aligned() {
        let table = report().table();
        let rows: Vec<&str> = table.lines().skip_while(|line| !line.starts_with("case")).collect();
        assert_eq!(rows.len(), 3);
        assert!(rows[1].ends_with("92 %") && rows[1].find("512.3") == rows[2].find("512.3"), "{table}");
    }

    #[test]
    fn four_digits() {
        assert_eq!([short(0.912_345), short(1234.56), short(123_456.0)], [0.9123, 1235.0, 123_500.0]);
        assert_eq!(short(0.0), 0.0);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn the_peak_memory_is_known() {
        assert!(peak_resident_kib().unwrap() > 100);
    }
}
