//! A program to fill in: one function for each that the cases ask for, in Python, speaking the lines of
//! [`super::conversation`].

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde_json::Value;

use crate::fixtures::{Case, Level, Quantity, Vectors};

/// What stands before the functions.
const HEAD: &str = r#""""Answers the cases of instructgpt's vectors, version VERSION. Fill in what you have, and run

    instructgpt verify --command 'python3 THIS_FILE'

A function that is not filled in counts as missing.
"""

import json
import sys

import LIBRARY
"#;

/// What stands behind them.
const TAIL: &str = r#"

def array(x):
    if not isinstance(x, dict):
        return x
    return ARRAY.reshape(x["shape"])


for line in sys.stdin:
    case = json.loads(line)
    answer = {"id": case["id"], "skip": "not implemented"}
    inputs = {name: array(x) for name, x in case["inputs"].items()}
    if case["function"] in globals():
        try:
            outputs = globals()[case["function"]](inputs, case["settings"])
            answer = {"id": case["id"], "outputs": {name: LIST for name, y in outputs.items()}}
        except NotImplementedError:
            pass
    print(json.dumps(answer))
"#;

/// The program, with NumPy's arrays or torch's tensors; of all levels where none is named.
pub fn of(vectors: &Vectors, levels: &[Level], torch: bool) -> String {
    let (library, array, list) = match torch {
        false => ("numpy", "numpy.array(x[\"data\"])", "numpy.asarray(y).tolist()"),
        true => ("torch", "torch.tensor(x[\"data\"])", "torch.as_tensor(y).tolist()"),
    };
    let mut text = HEAD.replace("VERSION", &vectors.version).replace("LIBRARY", library);
    let asked = |case: &&Case| levels.is_empty() || levels.contains(&case.level);
    let mut functions: Vec<&str> = Vec::new();
    for case in vectors.cases.iter().filter(asked) {
        if !functions.contains(&case.function.as_str()) {
            functions.push(&case.function);
            function(&mut text, vectors, case);
        }
    }
    text + &TAIL.replace("ARRAY", array).replace("LIST", list)
}

/// A function's head, and what it gets and gives. Sizes are those of its first case, as an example.
fn function(text: &mut String, vectors: &Vectors, case: &Case) {
    let cases: Vec<&Case> = vectors.of(&case.function).collect();
    let _ = write!(text, "\n\ndef {}(x, settings):\n", case.function);
    wrapped(text, &format!("\"\"\"{}", case.asks));
    text.push('\n');
    wrapped(text, &format!("Source: {}", case.source));
    for (name, value) in &case.settings {
        match value {
            Value::Object(fields) => {
                let names: Vec<&str> = fields.keys().map(String::as_str).collect();
                wrapped(text, &format!("settings[\"{name}\"]: {}", names.join(", ")));
            }
            _ => wrapped(text, &format!("settings[\"{name}\"]: such as {value}")),
        }
    }
    quantities(text, "x", case.inputs.iter());
    let outputs: BTreeMap<_, _> = cases.iter().rev().flat_map(|case| &case.outputs).collect();
    quantities(text, "returned", outputs.into_iter());
    let count = if cases.len() == 1 { "a case".to_string() } else { format!("{} cases", cases.len()) };
    let _ = writeln!(text, "    \"\"\"\n    raise NotImplementedError  # {count}");
}

/// A line for each quantity; the parameters of a model have one together.
fn quantities<'a>(text: &mut String, of: &str, all: impl Iterator<Item = (&'a String, &'a Quantity)>) {
    let mut models: Vec<&str> = Vec::new();
    for (name, quantity) in all {
        match name.find("transformer.").or_else(|| name.find("lm_head.").or_else(|| name.find("score."))) {
            Some(at) if models.contains(&&name[..at]) => {}
            Some(at) => {
                let prefix = &name[..at];
                models.push(prefix);
                let said = "of a model, by Hugging Face's names (weights are inputs x outputs)";
                wrapped(text, &format!("{of}[\"{prefix}transformer.h.0.ln_1.weight\"] and so on: {said}"));
            }
            None => {
                let sizes =
                    |shape: &Vec<usize>| shape.iter().map(usize::to_string).collect::<Vec<_>>().join(", ");
                let shape =
                    quantity.shape.as_ref().map_or(String::new(), |shape| format!(" ({})", sizes(shape)));
                wrapped(text, &format!("{of}[\"{name}\"]{shape}: {}", quantity.means));
            }
        }
    }
}

/// Lines of at most 100 characters, the first four of them blanks; what follows the first is set in by four more.
fn wrapped(text: &mut String, words: &str) {
    let mut line = String::from("   ");
    for word in words.split(' ') {
        if line.len() + 1 + word.len() > 100 && !line.trim().is_empty() {
            let _ = writeln!(text, "{line}");
            line = " ".repeat(7);
        }
        let _ = write!(line, " {word}");
    }
    let _ = writeln!(text, "{line}");
}
