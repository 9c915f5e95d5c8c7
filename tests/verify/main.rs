//! `instructgpt verify`: right outputs pass, those of each known bug are recognised as that bug and no other, and whatever
//! else is wrong is said in one message.

mod schema;
mod vectors;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use instructgpt::fixtures::{Array, Arrays, Case, Level, Values, Vectors};
use safetensors::tensor::{Dtype, TensorView};
use serde_json::Value;

/// The right outputs of a case, or those of a bug.
fn outputs(vectors: &Vectors, case: &Case, bug: Option<&str>) -> Arrays {
    let of = |name: &String| {
        let wrong = bug.and_then(|bug| vectors.wrong_output(case, bug, name));
        (name.clone(), wrong.unwrap_or_else(|| vectors.output(case, name)).clone())
    };
    case.outputs.keys().map(of).collect()
}

fn program(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_instructgpt")).args(["verify"]).args(arguments).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// Writes outputs as a user would: `ID/OUTPUT`, floats in float32.
fn save(path: &Path, all: &BTreeMap<String, Arrays>) {
    let mut tensors = Vec::new();
    for (id, arrays) in all {
        for (name, array) in arrays {
            let (dtype, data) = match &array.values {
                Values::Floats(values) => {
                    (Dtype::F32, values.iter().flat_map(|&x| (x as f32).to_le_bytes()).collect::<Vec<u8>>())
                }
                Values::Integers(values) => {
                    (Dtype::I64, values.iter().flat_map(|x| x.to_le_bytes()).collect())
                }
            };
            tensors.push((format!("{id}/{name}"), dtype, array.shape.clone(), data));
        }
    }
    let views = tensors.iter().map(|(name, dtype, shape, data)| {
        (name.clone(), TensorView::new(*dtype, shape.clone(), data).unwrap())
    });
    fs::write(path, safetensors::serialize(views, None).unwrap()).unwrap();
}

fn all_right(vectors: &Vectors) -> BTreeMap<String, Arrays> {
    vectors.cases.iter().map(|case| (case.id.clone(), outputs(vectors, case, None))).collect()
}

#[test]
fn a_file_of_right_outputs_passes_and_a_bug_is_named_everywhere() {
    let (vectors, folder) = (Vectors::embedded(), tempfile::tempdir().unwrap());
    let path = |name: &str| folder.path().join(name).display().to_string();
    let mut mine = all_right(&vectors);
    save(&folder.path().join("right"), &mine);
    let run = program(&["--vectors", &path("right")]);
    assert!(run.status.success(), "{}", text(&run.stderr));
    let last = format!("{} exact, 0 within, 0 off, 0 missing", vectors.cases.len());
    assert_eq!(text(&run.stdout).lines().last(), Some(last.as_str()));

    let case = vectors.cases.iter().find(|case| case.level == Level::F && !case.bugs.is_empty()).unwrap();
    let bug = &case.bugs[0];
    mine.insert(case.id.clone(), outputs(&vectors, case, Some(bug)));
    let gone = vectors.cases.iter().find(|other| other.level == Level::F && other.id != case.id).unwrap();
    mine.remove(&gone.id);
    save(&folder.path().join("wrong"), &mine);
    let run = program(&["--vectors", &path("wrong"), "--junit", &path("junit.xml")]);
    assert_eq!(run.status.code(), Some(1));
    assert!(text(&run.stderr).contains("expected every case to pass, found 2 of"), "{}", text(&run.stderr));
    let said = text(&run.stdout);
    let line = said.lines().find(|line| line.starts_with(&format!("{} ", case.id))).unwrap();
    assert!(line.contains(&format!("this is `{bug}`: {}", vectors.bugs[bug].is)), "{line}");
    assert!(said.contains("1 off, 1 missing"), "{said}");
    let xml = fs::read_to_string(folder.path().join("junit.xml")).unwrap();
    assert!(xml.contains("failures=\"2\"") && xml.contains(&format!("this is `{bug}`")), "{xml}");
    assert_eq!(xml.matches("<testcase ").count(), vectors.cases.len());

    let run = program(&["--vectors", &path("wrong"), "--json", "--level", "F"]);
    assert_eq!(run.status.code(), Some(1));
    let json: Value = serde_json::from_slice(&run.stdout).unwrap();
    let cases = json["cases"].as_array().unwrap();
    assert_eq!(cases.len(), vectors.cases.iter().filter(|case| case.level == Level::F).count());
    let of = |id: &str| cases.iter().find(|case| case["id"] == id).unwrap();
    assert_eq!(of(&case.id)["bug"]["name"], bug.as_str());
    assert!(
        of(&gone.id)["outputs"].as_object().unwrap().values().all(|output| output["verdict"] == "missing")
    );
    assert_eq!(json["counts"]["off"], 1);
}

#[test]
fn a_file_that_is_torn_or_of_nothing_is_one_error() {
    let (vectors, folder) = (Vectors::embedded(), tempfile::tempdir().unwrap());
    let path = |name: &str| folder.path().join(name);
    let right = all_right(&vectors);
    save(&path("right"), &right);
    let whole = fs::read(path("right")).unwrap();
    for cut in [0, 7, 8, 100, whole.len() / 2, whole.len() - 1] {
        fs::write(path("torn"), &whole[..cut]).unwrap();
        let run = program(&["--vectors", &path("torn").display().to_string()]);
        assert_eq!(run.status.code(), Some(1));
        let said = text(&run.stderr);
        assert!(said.contains("torn: expected a safetensors file"), "{said}");
        assert_eq!(said.matches("error").count(), 1, "{said}");
    }
    let case = &vectors.cases[0];
    let stranger = Arrays::from([("nothing".into(), Array::of_floats(vec![1], vec![0.0]))]);
    save(&path("stranger"), &BTreeMap::from([(case.id.clone(), stranger)]));
    let run = program(&["--vectors", &path("stranger").display().to_string()]);
    assert!(text(&run.stderr).contains("expected tensors ID/OUTPUT, found an output of no case"));

    // All of another shape, or no numbers: a verdict for each case, and no bug's name.
    let mut shapes = right.clone();
    let mut nothing = right;
    for array in shapes.values_mut().flat_map(Arrays::values_mut) {
        *array = Array::of_floats(vec![2, 1, 1], vec![0.0; 2]);
    }
    for array in nothing.values_mut().flat_map(Arrays::values_mut) {
        *array = Array::of_floats(array.shape.clone(), vec![f64::NAN; array.len()]);
    }
    for (all, word) in [(shapes, "shape [2, 1, 1] instead of"), (nothing, "NaN instead of")] {
        save(&path("wrong"), &all);
        let run = program(&["--vectors", &path("wrong").display().to_string()]);
        assert_eq!(run.status.code(), Some(1));
        let said = text(&run.stdout);
        let off = said.lines().filter(|line| line.contains(word)).count();
        // Of no number none is wrong.
        let empty = |case: &&Case| outputs(&vectors, case, None).values().all(Array::is_empty);
        let empty = if word.starts_with("NaN") { vectors.cases.iter().filter(empty).count() } else { 0 };
        assert_eq!(off, vectors.cases.len() - empty, "{said}");
        // One bug alone gives no number.
        let said = said.replace("this is `whiten-one-is-nan`", "");
        assert!(!said.contains("this is"), "{said}");
    }
}

#[test]
fn a_program_is_asked_in_json_lines() {
    let (vectors, folder) = (Vectors::embedded(), tempfile::tempdir().unwrap());
    let level: Vec<&Case> = vectors.cases.iter().filter(|case| case.level == Level::F).collect();
    let answer = |case: &&Case| {
        let outputs = outputs(&vectors, case, None);
        let outputs: serde_json::Map<String, Value> =
            outputs.iter().map(|(name, array)| (name.clone(), array.to_json())).collect();
        serde_json::json!({ "id": case.id, "outputs": outputs }).to_string()
    };
    let mut lines: Vec<String> = level.iter().map(answer).collect();
    lines.reverse();
    let answers = folder.path().join("answers");
    let ask = |lines: &[String], program_line: &str| {
        fs::write(&answers, lines.join("\n")).unwrap();
        let line = program_line.replace("ANSWERS", &answers.display().to_string());
        program(&["--level", "f", "--command", &line])
    };
    let run = ask(&lines, "cat > /dev/null; cat ANSWERS");
    assert!(run.status.success(), "{}{}", text(&run.stdout), text(&run.stderr));
    // A program that reads nothing is no fault, and an answer that is skipped is missing.
    let skipped: Vec<String> = [format!("{{\"id\":\"{}\",\"skip\":\"later\"}}", level[0].id)]
        .into_iter()
        .chain(lines[..lines.len() - 1].iter().cloned())
        .collect();
    let run = ask(&skipped, "cat ANSWERS");
    assert!(text(&run.stdout).contains(" 1 missing"), "{}", text(&run.stdout));
    // Python's word for what is no number is none of JSON's, and a verdict all the same.
    let ema = vectors.of("ema").next().unwrap();
    let number = outputs(&vectors, ema, None)["after"].floats()[0].to_string();
    let of_ema = lines.iter().position(|line| line.contains(&format!("\"{}\"", ema.id))).unwrap();
    let mut nan = lines.clone();
    nan[of_ema] = nan[of_ema].replacen(&number, "NaN", 1);
    let run = ask(&nan, "cat ANSWERS");
    let said = text(&run.stdout);
    assert!(
        said.contains("after: off at [0]: NaN instead of") && said.contains(" 1 off, 0 missing"),
        "{said}"
    );
    // What it is asked is what the cases say.
    let asked = folder.path().join("asked");
    ask(&lines, &format!("cat > '{}'; cat ANSWERS", asked.display()));
    let asked = fs::read_to_string(&asked).unwrap();
    assert_eq!(asked.lines().count(), level.len());
    for (line, case) in asked.lines().zip(&level) {
        let question: Value = serde_json::from_str(line).unwrap();
        assert_eq!(
            (question["id"].as_str(), question["function"].as_str()),
            (Some(case.id.as_str()), Some(case.function.as_str()))
        );
        for name in case.inputs.keys() {
            assert_eq!(question["inputs"][name], vectors.input(case, name).to_json(), "{}: {name}", case.id);
        }
    }
    for (lines, program_line, message) in [
        (
            vec!["no".to_string()],
            "cat ANSWERS",
            "line 1 of its output: expected {\"id\":..,\"outputs\":{..}}",
        ),
        (
            vec!["{\"id\":\"F/none\",\"outputs\":{}}".into()],
            "cat ANSWERS",
            "expected the id of a case that was asked",
        ),
        (
            vec![lines[0].clone(), lines[0].clone()],
            "cat ANSWERS",
            "line 2 of its output: expected each case answered once",
        ),
        (
            vec![format!("{{\"id\":\"{}\",\"outputs\":{{\"none\":1}}}}", level[0].id)],
            "cat ANSWERS",
            "expected outputs of",
        ),
        (lines.clone(), "cat ANSWERS; exit 3", "expected a program that succeeds, found exit status: 3"),
        (lines.clone(), "/no/such/program", "expected a program that succeeds"),
    ] {
        let run = ask(&lines, program_line);
        assert_eq!(run.status.code(), Some(1));
        assert!(text(&run.stderr).contains(message), "{message}: {}", text(&run.stderr));
    }
}

/// Those who implement this program's arithmetic ask for its bits; a right answer of another arithmetic is said to be right.
#[test]
fn the_profile_of_bits_asks_for_every_bit() {
    let vectors = Vectors::embedded();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("mine.safetensors");
    let ask = |all: &BTreeMap<String, Arrays>, more: &[&str]| {
        save(&path, all);
        let run = program(&[&["--vectors", path.to_str().unwrap(), "--profile", "bits"], more].concat());
        (run.status.code(), text(&run.stdout))
    };
    let of = |case: &Case, take: &dyn Fn(&str) -> Array| {
        (case.id.clone(), case.outputs.keys().map(|name| (name.clone(), take(name))).collect::<Arrays>())
    };
    let cases: Vec<&Case> = vectors.cases.iter().filter(|case| vectors.has_bits(case)).collect();
    // Padded batches are not ours, nor are the small cases that show a bug of someone's; a model's Adam has those of parts.
    let left_out: BTreeSet<&str> = vectors.cases.iter().map(|case| case.function.as_str()).collect();
    let left_out = left_out.into_iter().filter(|name| !cases.iter().any(|case| case.function == *name));
    let left_out: Vec<&str> = left_out.filter(|name| !name.starts_with("padded_")).collect();
    assert_eq!(left_out, ["adam_of_a_model", "estimates", "ptx_loss", "reward_head", "sft_loss"]);
    let mut all: BTreeMap<String, Arrays> =
        cases.iter().map(|case| of(case, &|name| vectors.bits(case, name).unwrap().clone())).collect();
    let (code, said) = ask(&all, &[]);
    assert_eq!(
        (code, said.lines().last()),
        (Some(0), Some(&*format!("{} exact, 0 within, 0 off, 0 missing", cases.len())))
    );
    // Our numbers are right ones.
    let run = program(&["--vectors", path.to_str().unwrap(), "--level", "O,G"]);
    assert_eq!(run.status.code(), Some(0), "{}", text(&run.stdout));

    let Values::Floats(values) = &mut all.get_mut("O/linear").unwrap().get_mut("dx").unwrap().values else {
        panic!("floats")
    };
    values[14] = f64::from(f32::from_bits((values[14] as f32).to_bits() ^ 1));
    let (code, said) = ask(&all, &["--level", "O"]);
    assert_eq!(code, Some(1));
    let line = said.lines().find(|line| line.starts_with("O/linear")).unwrap();
    assert!(line.contains("dx: within the tolerance, but of other bits in 1, first at [1, 1]: "), "{line}");
    let (_, json) = ask(&all, &["--level", "O", "--json"]);
    let json: Value = serde_json::from_str(&json).unwrap();
    let linear = json["cases"].as_array().unwrap().iter().find(|case| case["id"] == "O/linear").unwrap();
    assert_eq!((&linear["passes"], &linear["outputs"]["dx"]["other_bits"]), (&false.into(), &1.into()));

    // The reference rounds once, at the end.
    let right = cases.iter().map(|case| of(case, &|name| vectors.output(case, name).clone())).collect();
    let (code, said) = ask(&right, &[]);
    let counts = said.lines().last().unwrap();
    assert!(
        code == Some(1) && counts.ends_with(" within, 0 off, 0 missing") && !counts.contains(" 0 within"),
        "{counts}"
    );
}

/// The skeleton is a program: it runs, and all it has is missing.
#[test]
fn a_template_is_a_program_that_skips_everything() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("mine.py");
    for language in ["numpy", "torch"] {
        let run = program(&["--template", language]);
        assert!(run.status.success());
        fs::write(&path, &run.stdout).unwrap();
        let has = Command::new("python3").args(["-c", &format!("import {language}")]).output();
        if !has.is_ok_and(|run| run.status.success()) {
            println!("skipped: no python3 with {language}");
            continue;
        }
        let run = program(&["--command", &format!("python3 '{}'", path.display())]);
        assert_eq!(run.status.code(), Some(1), "{}", text(&run.stderr));
        let vectors = Vectors::embedded();
        let last = format!("0 exact, 0 within, 0 off, {} missing", vectors.cases.len());
        assert_eq!(text(&run.stdout).lines().last(), Some(last.as_str()), "{}", text(&run.stderr));
    }
}

#[test]
fn the_files_are_those_of_the_repository() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("vectors");
    assert!(program(&["--write", &out.display().to_string()]).status.success());
    for entry in fs::read_dir(&out).unwrap() {
        let path = entry.unwrap().path();
        let ours = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures").join(path.file_name().unwrap());
        assert!(fs::read(&path).unwrap() == fs::read(&ours).unwrap(), "{}", path.display());
    }
    assert!(out.join("cases.json").exists());
}
