//! `instructgpt verify`: right outputs pass, those of each known bug are recognised as that bug and no other, and whatever
//! else is wrong is said in one message.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::{Command, Output};
use std::sync::LazyLock;

use instructgpt::fixtures::{Array, Arrays, Case, FILES, Level, Values, Vectors};
use proptest::prelude::*;
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

#[test]
fn right_outputs_are_exact() {
    let vectors = Vectors::embedded();
    for case in &vectors.cases {
        let judgement = vectors.judge(case, &outputs(&vectors, case, None));
        assert_eq!(judgement.to_string(), "exact", "{}", case.id);
        assert!(judgement.bug.is_none());
    }
}

#[test]
fn every_bug_is_recognised_as_itself_and_no_other() {
    let vectors = Vectors::embedded();
    let mut seen = 0;
    for case in &vectors.cases {
        for bug in &case.bugs {
            let judgement = vectors.judge(case, &outputs(&vectors, case, Some(bug)));
            assert!(!judgement.passes(), "{}: {bug} passes", case.id);
            assert_eq!(judgement.bug.map(|(name, _)| name), Some(bug.as_str()), "{}", case.id);
            // It must not depend on the order in which bugs are tried.
            for other in case.bugs.iter().filter(|other| *other != bug) {
                let (mine, theirs) =
                    (outputs(&vectors, case, Some(bug)), outputs(&vectors, case, Some(other)));
                let far = case.outputs.iter().any(|(name, quantity)| {
                    let (a, b) = (mine[name].floats(), theirs[name].floats());
                    let most = a.iter().zip(&b).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
                    a.len() != b.len() || most > 4.0 * quantity.tolerance.unwrap()
                });
                assert!(far, "{}: {bug} and {other} are too near each other", case.id);
            }
            seen += 1;
        }
    }
    assert!(seen >= 52, "{seen} bugs have outputs");
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(200) })]

    /// Whatever is off by chance is nobody's bug, and what is within the tolerance is no fault.
    #[test]
    fn a_random_perturbation_is_no_bug(which in any::<prop::sample::Index>(), at in any::<prop::sample::Index>(), share in -3.0..3.0f64) {
        static VECTORS: LazyLock<Vectors> = LazyLock::new(Vectors::embedded);
        let vectors = &*VECTORS;
        let case = which.get(&vectors.cases);
        let mut mine = outputs(vectors, case, None);
        let (name, quantity) = case.outputs.iter().next().unwrap();
        let (tolerance, array) = (quantity.tolerance.unwrap(), mine.get_mut(name).unwrap());
        let Values::Floats(values) = &mut array.values else { return Ok(()) };
        prop_assume!(!values.is_empty() && (share.abs() - 1.0).abs() > 0.01);
        let i = at.index(values.len());
        values[i] += share * tolerance;
        let judgement = vectors.judge(case, &mine);
        // Rounded to float32, the smallest tolerances have few steps.
        prop_assert_eq!(judgement.passes(), share.abs() < 1.0, "{}: {} of the tolerance: {}", case.id, share, judgement);
        prop_assert!(judgement.bug.is_none(), "{}: {judgement}", case.id);
    }
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

/// The schema is what other programs hold the cases to.
#[test]
fn the_cases_follow_their_schema_which_refuses_what_lacks_a_source_or_a_tolerance() {
    let file = |name: &str| {
        let (_, bytes) = FILES.iter().find(|(file, _)| *file == name).expect("a file of the vectors");
        serde_json::from_slice::<Value>(bytes).unwrap()
    };
    let (schema, cases) = (file("cases.schema.json"), file("cases.json"));
    jsonschema::draft202012::meta::validate(&schema).expect("the schema is one");
    let schema = jsonschema::draft202012::new(&schema).unwrap();
    let errors: Vec<String> =
        schema.iter_errors(&cases).map(|e| format!("{}: {e}", e.instance_path())).collect();
    assert!(errors.is_empty(), "{errors:?}");

    let mut few = cases;
    few["cases"].as_array_mut().unwrap().truncate(2);
    assert!(schema.is_valid(&few));
    let output = few["cases"][0]["outputs"].as_object().unwrap().keys().next().unwrap().clone();
    let refused = |change: &dyn Fn(&mut Value)| {
        let mut changed = few.clone();
        change(&mut changed);
        assert_ne!(changed, few);
        !schema.is_valid(&changed)
    };
    let lacks = |of: &mut Value, key: &str| drop(of.as_object_mut().unwrap().remove(key));
    assert!(refused(&|cases| lacks(&mut cases["cases"][0], "source")));
    assert!(refused(&|cases| cases["cases"][0]["source"] = "".into()));
    assert!(refused(&|cases| lacks(&mut cases["cases"][0]["outputs"][&output], "tolerance")));
    assert!(refused(&|cases| cases["cases"][0]["outputs"][&output]["tolerance"] = (-1).into()));
    assert!(refused(&|cases| cases["cases"][0]["outputs"] = serde_json::json!({})));
    assert!(refused(&|cases| cases["cases"][0]["flag"] = 1.into()));
    assert!(refused(&|cases| lacks(cases, "version")));
}
