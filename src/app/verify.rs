//! The command `verify`: somebody's outputs against the conformance vectors, as lines, JSON or JUnit's XML.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use serde_json::{Value, json};

use super::args::{Profile, TemplateArg, VerifyArgs};
use super::jsonl::Output;
use super::{conversation, template};
use crate::checkpoint::atomic::{read_file, write_atomic};
use crate::error::{Error, Result};
use crate::fixtures::{Array, Arrays, Case, FILES, Judgement, Vectors, Verdict};

/// A larger file than this holds no outputs of these cases.
const LIMIT: u64 = 1 << 30;

/// Runs the command; whether every case passes.
///
/// # Errors
/// [`Error::Usage`]; [`Error::Format`] for vectors that are torn or belong to no case; [`Error::Io`].
pub fn run(args: &VerifyArgs) -> Result<()> {
    let vectors = Vectors::embedded();
    let mut out = Output::stdout();
    if let Some(language) = args.template {
        return out
            .text(template::of(&vectors, &args.level, language == TemplateArg::Torch).trim_end())
            .map(drop);
    }
    if let Some(folder) = &args.write {
        return write(folder);
    }
    let bits = args.profile == Profile::Bits;
    let asked = |case: &&Case| {
        (args.level.is_empty() || args.level.contains(&case.level)) && (!bits || vectors.has_bits(case))
    };
    let cases: Vec<&Case> = vectors.cases.iter().filter(asked).collect();
    let answers = match (&args.vectors, &args.command) {
        (Some(path), None) => from_file(path, &vectors)?,
        (None, Some(command)) => conversation::ask(command, &vectors, &cases)?,
        _ => unreachable!("the grammar wants one of them"),
    };
    let none = Arrays::new();
    let judge = if bits { Vectors::judge_bits } else { Vectors::judge };
    let judged: Vec<(&Case, Judgement)> = cases
        .into_iter()
        .map(|case| (case, judge(&vectors, case, answers.get(&case.id).unwrap_or(&none))))
        .collect();
    if let Some(path) = &args.junit {
        write_atomic(path, |file| file.write_all(junit(&judged).as_bytes()))?;
    }
    let said = match args.json {
        true => vec![serde_json::to_string_pretty(&summary(&vectors, &judged)).expect("plain data")],
        false => lines(&judged),
    };
    for line in said {
        out.text(&line)?;
    }
    match judged.iter().filter(|(_, judgement)| !judgement.passes()).count() {
        0 => Ok(()),
        failed => {
            let found = format!("{failed} of {} cases that do not", judged.len());
            let hint = "--level F asks for the functions alone";
            Err(Error::format("the outputs", "", "every case to pass", found, hint))
        }
    }
}

/// Outputs by case, from a safetensors file with tensors `ID/OUTPUT`.
fn from_file(path: &Path, vectors: &Vectors) -> Result<BTreeMap<String, Arrays>> {
    let origin = path.display().to_string();
    let mut answers = BTreeMap::<String, Arrays>::new();
    for (name, array) in Array::read_all(&read_file(path, LIMIT)?, &origin)? {
        let (id, output) = name.rsplit_once('/').unwrap_or((&name, ""));
        if !vectors.cases.iter().any(|case| case.id == id && case.outputs.contains_key(output)) {
            let (expected, hint) =
                ("tensors ID/OUTPUT", "`instructgpt verify --write DIR` writes cases.json, which names them");
            return Err(Error::format(
                origin,
                format!("tensor {name:?}"),
                expected,
                "an output of no case",
                hint,
            ));
        }
        answers.entry(id.to_string()).or_default().insert(output.to_string(), array);
    }
    Ok(answers)
}

/// All files of the vectors into a folder.
fn write(folder: &Path) -> Result<()> {
    std::fs::create_dir_all(folder).map_err(|error| Error::io(folder.display(), "create", error))?;
    FILES.iter().try_for_each(|(name, bytes)| write_atomic(&folder.join(name), |file| file.write_all(bytes)))
}

/// A line for each case, and the count.
fn lines(judged: &[(&Case, Judgement)]) -> Vec<String> {
    let width = judged.iter().map(|(case, _)| case.id.len()).max().unwrap_or(0);
    let mut lines = Vec::new();
    for (case, judgement) in judged {
        lines.push(format!("{:width$}  {judgement}", case.id));
        let seen = judgement.bug.iter().flat_map(|(_, bug)| &bug.seen);
        lines.extend(seen.map(|thread| format!("{:width$}  seen: {thread}", "")));
    }
    let counts = counts(judged).map(|(name, count)| format!("{count} {name}"));
    lines.push(counts.join(", "));
    lines
}

/// How many cases are exact, within, off, missing.
fn counts(judged: &[(&Case, Judgement)]) -> [(&'static str, usize); 4] {
    let of = |names: &[&str]| judged.iter().filter(|(_, j)| names.contains(&j.worst().1.name())).count();
    [
        ("exact", of(&["exact"])),
        ("within", of(&["within", "bits"])),
        ("off", of(&["off", "shape"])),
        ("missing", of(&["missing"])),
    ]
}

fn summary(vectors: &Vectors, judged: &[(&Case, Judgement)]) -> Value {
    let output = |verdict: &Verdict| {
        let mut said = json!({ "verdict": verdict.name() });
        match verdict {
            Verdict::Within(share) => said["tolerances"] = json!(share),
            Verdict::OtherBits { count, at, found, expected } => {
                said["other_bits"] = json!(count);
                (said["at"], said["found"], said["expected"]) = (json!(at), json!(found), json!(expected));
            }
            Verdict::Off { times, at, found, expected } => {
                // JSON has no number for what is none.
                let number = |x: &f64| if x.is_finite() { json!(x) } else { json!(x.to_string()) };
                said["tolerances"] = number(times);
                (said["at"], said["found"], said["expected"]) = (json!(at), number(found), number(expected));
            }
            Verdict::Shape { found, expected } => {
                (said["found"], said["expected"]) = (json!(found), json!(expected))
            }
            Verdict::Exact | Verdict::Missing => {}
        }
        said
    };
    let case = |(case, judgement): &(&Case, Judgement)| {
        let outputs: serde_json::Map<String, Value> =
            judgement.outputs.iter().map(|(name, verdict)| (name.to_string(), output(verdict))).collect();
        let bug = judgement.bug.map(|(name, bug)| json!({ "name": name, "is": bug.is, "seen": bug.seen }));
        json!({ "id": case.id, "passes": judgement.passes(), "outputs": outputs, "bug": bug })
    };
    let counts: serde_json::Map<String, Value> =
        counts(judged).into_iter().map(|(name, count)| (name.to_string(), json!(count))).collect();
    json!({ "vectors": vectors.version, "counts": counts, "cases": judged.iter().map(case).collect::<Vec<_>>() })
}

/// In JUnit's XML: a test case for each case, named by its id; the class is its level.
fn junit(judged: &[(&Case, Judgement)]) -> String {
    let failed = judged.iter().filter(|(_, judgement)| !judgement.passes()).count();
    let mut xml = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
    let _ = writeln!(
        xml,
        "<testsuite name=\"instructgpt verify\" tests=\"{}\" failures=\"{failed}\">",
        judged.len()
    );
    for (case, judgement) in judged {
        let _ = write!(xml, "  <testcase classname=\"{:?}\" name=\"{}\"", case.level, escaped(&case.id));
        match judgement.passes() {
            true => xml += "/>\n",
            false => {
                let _ =
                    writeln!(xml, "><failure message=\"{}\"/></testcase>", escaped(&judgement.to_string()));
            }
        }
    }
    xml + "</testsuite>\n"
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
