//! `doctor` in an MPI job: who the ranks are, what messages between them take, and whether all compute the same bits.

use std::collections::BTreeMap;

use crate::app::bits;
use crate::app::jsonl::Output;
use crate::app::ranks::library;
use crate::bench::ranks::{latency, speeds};
use crate::engine::Cpu;
use crate::error::{Error, Result};
use crate::ranks::Ranks;
use crate::run::first::{same_on_all, texts};

/// Prints what there is to say of several ranks; the first one prints it. All must call it.
///
/// # Errors
/// [`Error::Usage`] if the ranks are of several versions, [`Error::Format`] if one does not compute the reference build's
/// bits, on the first rank.
pub fn run(ranks: &dyn Ranks) -> Result<()> {
    let hosts = texts(ranks, ranks.host());
    let differences = texts(ranks, &bits::differences(Cpu).join(", "));
    let measured = (ranks.size() > 1).then(|| (latency(ranks), speeds(ranks)));
    if ranks.is_first() {
        let mut out = Output::stdout();
        let library = library().unwrap_or("no library");
        for line in lines(library, &hosts, measured, &differences) {
            out.text(&line)?;
        }
        if let Some(rank) = differences.iter().position(|found| !found.is_empty()) {
            let found = format!("others: {}", differences[rank]);
            let origin = format!("rank {rank} on {}", hosts[rank]);
            return Err(Error::format(origin, "", "the reference build's bits", found, ""));
        }
    }
    same_on_all(ranks, "the program", concat!("version ", env!("CARGO_PKG_VERSION")))
}

/// What is printed: seconds of latency and bytes a second by rank, and the operations that differ, by rank.
fn lines(
    library: &str,
    hosts: &[String],
    measured: Option<(f64, Vec<f64>)>,
    differences: &[String],
) -> Vec<String> {
    let mut of_host: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for (rank, host) in hosts.iter().enumerate() {
        of_host.entry(host).or_default().push(rank.to_string());
    }
    let mut lines = vec![format!("ranks: {}, through {library}", hosts.len())];
    lines.extend(of_host.iter().map(|(host, ranks)| format!("on {host}: {}", ranks.join(", "))));
    if let Some((latency, speeds)) = measured {
        lines.push(format!("a small message takes {:.1} us to the next rank", latency * 1e6));
        let slowest = (0..speeds.len()).min_by(|&a, &b| speeds[a].total_cmp(&speeds[b])).unwrap_or(0);
        let fastest = speeds.iter().copied().fold(0.0, f64::max);
        lines.push(format!(
            "while all send, {:.2} to {:.2} GB/s come in; the least at rank {slowest} on {}",
            speeds[slowest] / 1e9,
            fastest / 1e9,
            hosts[slowest]
        ));
    }
    let same = differences.iter().all(String::is_empty);
    lines.push(format!("all ranks: same bits as the reference build: {}", if same { "yes" } else { "no" }));
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranks_are_listed_by_host_and_the_slowest_is_named() {
        let hosts = ["a", "b", "a"].map(String::from);
        let said =
            lines("libmpi", &hosts, Some((2.5e-6, vec![3e9, 1e9, 2e9])), &[const { String::new() }; 3]);
        assert_eq!(
            said,
            [
                "ranks: 3, through libmpi",
                "on a: 0, 2",
                "on b: 1",
                "a small message takes 2.5 us to the next rank",
                "while all send, 1.00 to 3.00 GB/s come in; the least at rank 1 on b",
                "all ranks: same bits as the reference build: yes",
            ]
        );
        let said = lines("libmpi", &hosts[..1], None, &["gemm".into()]);
        assert_eq!(said[1..], ["on a: 0", "all ranks: same bits as the reference build: no"]);
    }
}
