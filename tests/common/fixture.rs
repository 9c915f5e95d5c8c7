//! Reads `fixtures/` and compares with it. The folder can be another one: environment `FIXTURES_DIR`
//! (the mutation check uses that).
//!
//! Errors are relative to the largest entry of the expected tensor. The manifest records, per tensor,
//! what float32 arithmetic costs PyTorch itself at that place (`noise_log2`); [`Fixture::check`] allows
//! [`MARGIN`] times that, and never less than [`FLOOR`].
#![allow(dead_code)] // Each test binary uses its own part.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{LazyLock, Mutex};

use safetensors::{Dtype, SafeTensors};
use serde_json::Value;

/// How many times PyTorch's own float32 error we may be off: our sums run in another order, and the
/// recorded error is one sample of a random quantity.
pub const MARGIN: f64 = 16.0;
/// The smallest tolerance: 16 roundings of float32, for places where PyTorch's run happened to be exact.
pub const FLOOR: f64 = 16.0 / (1u64 << 24) as f64;
/// What a weight may be off after Adam, as a share of one step. Rounding makes a gradient uncertain relative
/// to its tensor, but Adam takes about a whole step however small an entry of it is, so an entry that all but
/// vanishes passes its own relative error on. (Seen: 2^-13 of a step in `ppo_iteration`, where the value
/// function's first gradient has 1.8e-6 in a tensor of up to 2.6e-2. A wrong constant is off by far more.)
pub const STEP: f64 = 1.0 / (1u64 << 12) as f64;

/// Where the fixtures lie.
pub fn directory() -> PathBuf {
    match std::env::var_os("FIXTURES_DIR") {
        Some(path) => PathBuf::from(path),
        None => PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("fixtures"),
    }
}

/// A JSON file of the fixtures: `manifest.json`, `bpe.json`.
pub fn json(file: &str) -> Value {
    let path = directory().join(file);
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

enum Data {
    F32(Vec<f32>),
    I64(Vec<i64>),
}

/// One `.safetensors` file, with its lines of the manifest.
pub struct Fixture {
    name: String,
    config: Value,
    tensors: BTreeMap<String, (Vec<usize>, Data)>,
    noise_log2: Value,
    /// The tensors that were asked for.
    read: RefCell<BTreeSet<String>>,
}

impl Fixture {
    /// Reads `fixtures/NAME.safetensors`.
    pub fn load(name: &str) -> Self {
        let file = format!("{name}.safetensors");
        let path = directory().join(&file);
        let bytes = std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let (_, metadata) = SafeTensors::read_metadata(&bytes).unwrap();
        let config = metadata.metadata().as_ref().and_then(|entries| entries.get("config"));
        let config = config.map_or(Value::Null, |text| serde_json::from_str(text).unwrap());
        let parsed = SafeTensors::deserialize(&bytes).unwrap();
        let tensors = parsed.iter().map(|(key, view)| {
            let data = match view.dtype() {
                Dtype::F32 => Data::F32(numbers(view.data(), f32::from_le_bytes)),
                Dtype::I64 => Data::I64(numbers(view.data(), i64::from_le_bytes)),
                other => panic!("{file}: {key}: unexpected type {other:?}"),
            };
            (key.to_string(), (view.shape().to_vec(), data))
        });
        let tensors = tensors.collect();
        let noise_log2 = json("manifest.json")["files"][&file]["noise_log2"].clone();
        Fixture { name: name.to_string(), config, tensors, noise_log2, read: RefCell::default() }
    }

    /// The model configuration with Hugging Face's names (`null` where the file has none).
    pub fn config(&self) -> &Value {
        &self.config
    }

    /// All tensor names, ascending.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.tensors.keys().map(String::as_str)
    }

    /// The names that begin with `prefix`, without it.
    pub fn names_after(&self, prefix: &str) -> impl Iterator<Item = &str> {
        self.names().filter_map(move |name| name.strip_prefix(prefix))
    }

    /// Asserts that every tensor for which `mine` holds was asked for: that a test leaves none out.
    #[track_caller]
    pub fn assert_all_read(&self, mine: impl Fn(&str) -> bool) {
        let read = self.read.borrow();
        let (read, left_out): (Vec<&str>, Vec<&str>) =
            self.names().filter(|name| mine(name)).partition(|name| read.contains(*name));
        assert!(left_out.is_empty(), "{}: never looked at {left_out:?}", self.name);
        assert!(!read.is_empty(), "{}: nothing to look at", self.name);
    }

    fn get(&self, name: &str) -> &(Vec<usize>, Data) {
        self.read.borrow_mut().insert(name.to_string());
        self.tensors.get(name).unwrap_or_else(|| panic!("{}: no tensor {name}", self.name))
    }

    /// Shape and values of a float tensor.
    pub fn f32(&self, name: &str) -> (Vec<usize>, Vec<f32>) {
        match self.get(name) {
            (shape, Data::F32(values)) => (shape.clone(), values.clone()),
            _ => panic!("{}: {name} holds integers", self.name),
        }
    }

    /// Shape and values of an integer tensor.
    pub fn i64(&self, name: &str) -> (Vec<usize>, Vec<i64>) {
        match self.get(name) {
            (shape, Data::I64(values)) => (shape.clone(), values.clone()),
            _ => panic!("{}: {name} holds floats", self.name),
        }
    }

    /// The values of a float tensor.
    pub fn values(&self, name: &str) -> Vec<f32> {
        self.f32(name).1
    }

    /// Token ids.
    pub fn tokens(&self, name: &str) -> Vec<u32> {
        self.i64(name).1.into_iter().map(|id| u32::try_from(id).unwrap()).collect()
    }

    /// Offsets, lengths, indices.
    pub fn indices(&self, name: &str) -> Vec<usize> {
        self.i64(name).1.into_iter().map(|index| usize::try_from(index).unwrap()).collect()
    }

    /// A single number.
    pub fn scalar(&self, name: &str) -> f32 {
        let values = self.values(name);
        assert_eq!(values.len(), 1, "{}: {name} is not a scalar", self.name);
        values[0]
    }

    /// The relative tolerance of a tensor: [`MARGIN`] times its recorded noise, at least [`FLOOR`].
    pub fn tolerance(&self, name: &str) -> f64 {
        let noise = self.noise_log2[name].as_i64().map_or(0.0, |n| 2f64.powi(n as i32));
        (MARGIN * noise).max(FLOOR)
    }

    /// Asserts that `got` is the tensor `name`, within its tolerance, and has the bits of our arithmetic, where they are
    /// stored.
    pub fn check(&self, name: &str, got: &[f32]) {
        let expected = self.values(name);
        assert_close(&format!("{}: {name}", self.name), got, &expected, self.tolerance(name));
        self.check_bits(name, got);
    }

    /// [`Fixture::check`] for weights after optimizer steps of at most `rate`, of which [`STEP`] is allowed.
    /// The middle third of a `c_attn.bias`, the key biases, is left out: it has no influence on attention, so
    /// its gradient is exactly 0 and what an implementation finds there is rounding noise, which Adam blows up
    /// to full steps.
    pub fn check_updated(&self, name: &str, got: &[f32], rate: f32) {
        let (mut got, mut expected) = (got.to_vec(), self.values(name));
        assert_eq!(got.len(), expected.len(), "{}: {name}: number of elements", self.name);
        if name.ends_with("attn.c_attn.bias") {
            let width = got.len() / 3;
            got[width..2 * width].fill(0.0);
            expected[width..2 * width].fill(0.0);
        }
        let tolerance = self.tolerance(name).max(STEP * f64::from(rate) / largest(&expected));
        assert_close(&format!("{}: {name}", self.name), &got, &expected, tolerance);
        self.check_bits(name, &got);
    }

    /// Asserts the bits of `bits.safetensors`, or keeps them for [`recorded`].
    fn check_bits(&self, name: &str, got: &[f32]) {
        let key = format!("{}.safetensors:{name}", self.name);
        if let Some(recorded) = RECORDED.lock().unwrap().as_mut() {
            recorded.insert(key, (self.f32(name).0, got.to_vec()));
        } else if let Some((_, expected)) = BITS.get(&key) {
            let other = got.iter().zip(expected).position(|(got, bits)| got.to_bits() != bits.to_bits());
            let of = |i: usize| format!("{key} [{i}]: {:e} instead of {:e}", got[i], expected[i]);
            assert!(other.is_none(), "other bits than fixtures/bits.safetensors has: {}", of(other.unwrap()));
        }
    }
}

/// Shape and values by `FILE:TENSOR`.
pub type Tensors = BTreeMap<String, (Vec<usize>, Vec<f32>)>;

/// `bits.safetensors`: what our arithmetic gives for the outputs of the cases, to the bit.
pub static BITS: LazyLock<Tensors> = LazyLock::new(|| {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/bits.safetensors");
    let bytes = std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let parsed = SafeTensors::deserialize(&bytes).unwrap();
    let tensor = |(name, view): (&str, safetensors::tensor::TensorView)| {
        (name.to_string(), (view.shape().to_vec(), numbers(view.data(), f32::from_le_bytes)))
    };
    parsed.iter().map(tensor).collect()
});

/// What the checks were given, while [`recorded`] runs.
static RECORDED: Mutex<Option<Tensors>> = Mutex::new(None);

/// All that `tests` check, in the place of a comparison of its bits.
pub fn recorded(tests: &[fn()]) -> Tensors {
    *RECORDED.lock().unwrap() = Some(Tensors::new());
    tests.iter().for_each(|test| test());
    RECORDED.lock().unwrap().take().unwrap()
}

/// The largest magnitude; 1 if there is none but 0.
fn largest(values: &[f32]) -> f64 {
    let largest = values.iter().fold(0.0f64, |largest, &x| largest.max(f64::from(x).abs()));
    if largest > 0.0 { largest } else { 1.0 }
}

fn numbers<const SIZE: usize, T>(bytes: &[u8], read: fn([u8; SIZE]) -> T) -> Vec<T> {
    bytes.chunks_exact(SIZE).map(|chunk| read(chunk.try_into().unwrap())).collect()
}

/// Asserts `|got - expected| <= tolerance * max |expected|` for every element (`<= tolerance` where the
/// expected tensor is all zero). A NaN fails. On failure the message has the largest error and the first
/// elements that are off.
#[track_caller]
pub fn assert_close(name: &str, got: &[f32], expected: &[f32], tolerance: f64) {
    if let Err(message) = compare(name, got, expected, tolerance) {
        panic!("{message}");
    }
}

fn compare(name: &str, got: &[f32], expected: &[f32], tolerance: f64) -> Result<(), String> {
    if got.len() != expected.len() {
        return Err(format!("{name}: {} elements, expected {}", got.len(), expected.len()));
    }
    let scale = largest(expected);
    let error = |i: usize| (f64::from(got[i]) - f64::from(expected[i])).abs();
    let off = |i: &usize| error(*i).is_nan() || error(*i) > tolerance * scale;
    let wrong: Vec<usize> = (0..got.len()).filter(off).collect();
    if wrong.is_empty() {
        return Ok(());
    }
    let worst = wrong.iter().map(|&i| error(i)).fold(0.0, |a: f64, b| if b.is_nan() { b } else { a.max(b) });
    let mut message = format!(
        "{name}: {} of {} elements off; max error {worst:.3e} = {:.3e} of the largest entry {scale:.3e}, allowed {tolerance:.3e}",
        wrong.len(),
        got.len(),
        worst / scale,
    );
    for &i in wrong.iter().take(5) {
        message += &format!("\n  [{i}] got {:e}, expected {:e}", got[i], expected[i]);
    }
    Err(message)
}

#[test]
fn every_fixture_of_the_manifest_can_be_read() {
    let manifest = json("manifest.json");
    for file in manifest["files"].as_object().unwrap().keys() {
        if let Some(name) = file.strip_suffix(".safetensors") {
            let fixture = Fixture::load(name);
            assert!(fixture.names().count() > 0, "{file} is empty");
            for (name, (_, data)) in &fixture.tensors {
                if let Data::F32(values) = data {
                    assert!(values.iter().all(|x| x.is_finite()), "{file}: {name} is not finite");
                    assert!(
                        fixture.tolerance(name) < 0.01,
                        "{file}: {name} tolerates {}",
                        fixture.tolerance(name)
                    );
                }
            }
        }
    }
}

#[test]
fn a_comparison_can_fail() {
    assert!(compare("equal", &[1.0, -2.0], &[1.0, -2.0], 0.0).is_ok());
    assert!(compare("within", &[1.0, -2.0], &[1.01, -2.0], 0.01).is_ok());
    assert!(compare("beyond", &[1.0, -2.0], &[1.03, -2.0], 0.01).is_err());
    assert!(compare("zero", &[1e-8], &[0.0], 1e-7).is_ok());
    assert!(compare("zero", &[1e-6], &[0.0], 1e-7).is_err());
    assert!(compare("NaN", &[f32::NAN], &[1.0], 1.0).unwrap_err().contains("NaN"));
    assert!(compare("length", &[1.0], &[1.0, 1.0], 1.0).is_err());
}
