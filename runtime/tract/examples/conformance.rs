//! What becomes of ONNX's own conformance suite, as a page: `cargo xtask oracle conformance`
//!
//! Its folder is what `xtask/oracle/conformance.py` writes. Each case is folded as it is, and once more with its inputs stored, so that
//! folding computes it; what was folded runs on both engines, and its gradients by all float32 inputs, moved a little so that few lie at
//! kinks, are held to central differences on ONNX Runtime.

#![expect(clippy::print_stdout, reason = "the page is what it is asked for")]

use std::collections::BTreeMap;
use std::error::Error;
use std::fmt::Write as _;
use std::fs;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use shoal_runtime::engine::ort::Ort;
use shoal_runtime::engine::testing::noise;
use shoal_runtime::engine::{Engine, LoadOptions, Session};
use shoal_runtime::gradient::{DifferentiateOptions, differentiate};
use shoal_runtime::graft::Profile;
use shoal_runtime::onnx::proto::TensorProto;
use shoal_runtime::onnx::{Element, Folded, Model, PinOptions, Tensor, open};
use shoal_tract::Tract;

type Outcome<T = ()> = Result<T, Box<dyn Error>>;

/// Tensors by their names.
type Tensors = BTreeMap<String, Tensor>;

/// How far a value may be off: the suite's own bounds (`onnx.backend.test`).
const RELATIVE: f64 = 1e-3;
const ABSOLUTE: f64 = 1e-7;
/// As many times the bounds where the arithmetic is that of half a float.
const HALVES: f64 = 8.0;
/// Steps of the differences, and the best of them counts: what curves wants a short one, what is rounded a long one.
const STEPS: [f32; 4] = [3e-2, 1e-2, 3e-3, 1e-3];
/// How far a slope may be from its difference, of what a random step of the same length is worth.
const SLOPE: f64 = 0.05;
/// How far inputs are moved from where the suite has them.
const MOVED: f32 = 0.17;

/// What is asked of a case.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Asked {
    Typed,
    Folded,
    Ort,
    Tract,
    Gradients,
}

impl Asked {
    const ALL: [Asked; 5] =
        [Asked::Typed, Asked::Folded, Asked::Ort, Asked::Tract, Asked::Gradients];

    fn told(self) -> &'static str {
        match self {
            Asked::Typed => "types and lengths of what it gives, inferred",
            Asked::Folded => "computed by folding, its inputs stored",
            Asked::Ort => "folded, on ONNX Runtime",
            Asked::Tract => "folded, on tract",
            Asked::Gradients => "gradients by its float32 inputs",
        }
    }
}

/// What came of it.
enum Came {
    /// What the standard says.
    Right,
    /// Something else.
    Wrong(String),
    /// Named as what is not done.
    Refused(String),
    /// Not asked: folding leaves it to the engine, or no input is of float32.
    Nothing,
}

fn main() -> ExitCode {
    let Some(folder) = std::env::args_os().nth(1).map(PathBuf::from) else {
        eprintln!("usage: conformance FOLDER");
        return ExitCode::FAILURE;
    };
    match page(&folder) {
        Ok(page) => {
            print!("{page}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn page(folder: &Path) -> Outcome<String> {
    let ort = Ort::load_library(None)?;
    let entries = fs::read_dir(folder)?.map(|entry| Ok(entry?.path()));
    let mut cases: Vec<PathBuf> = entries.collect::<Outcome<_>>()?;
    cases.sort();
    let mut tally = Tally::default();
    for (number, case) in cases.iter().enumerate() {
        if number % 200 == 0 {
            eprintln!("{number} of {} cases", cases.len());
        }
        tally.case(case, &ort)?;
    }
    Ok(tally.page(cases.len()))
}

#[derive(Default)]
struct Tally {
    /// Right, wrong, refused, not asked.
    counts: BTreeMap<Asked, [usize; 4]>,
    wrong: Vec<String>,
    refused: BTreeMap<(Asked, String), Vec<String>>,
}

impl Tally {
    fn case(&mut self, folder: &Path, ort: &Ort) -> Outcome {
        let read = |file: &str| Model::read(&folder.join(file));
        let name = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let constant = read("constant.onnx")?;
        let (given, wanted) = (tensors(&constant), tensors(&read("wanted.onnx")?));
        self.add(Asked::Folded, &name, computed(&constant, &wanted));
        if given.values().any(|tensor| tensor.dims.contains(&0)) {
            let why = "an axis of length 0 is read as one that the file leaves open";
            self.add(Asked::Typed, &name, Came::Refused(why.to_owned()));
            return Ok(());
        }
        let model = read("model.onnx")?;
        let folded = match open(&model, &PinOptions::default()) {
            Ok(opened) => opened.folded,
            Err(why) => {
                self.add(Asked::Typed, &name, Came::Refused(reason(&why.to_string())));
                return Ok(());
            }
        };
        self.add(Asked::Typed, &name, typed(&folded, &wanted));
        let on_ort = beside_the_file(ort, (&folded.model, &model), &given, &wanted);
        let runs = matches!(on_ort, Came::Right);
        self.add(Asked::Ort, &name, on_ort);
        self.add(Asked::Tract, &name, given_by(&Tract, &folded.model, &given, &wanted));
        if runs {
            self.add(Asked::Gradients, &name, sloped(ort, &folded, given));
        }
        Ok(())
    }

    fn add(&mut self, asked: Asked, name: &str, came: Came) {
        let at = match came {
            Came::Right => 0,
            Came::Wrong(what) => {
                self.wrong.push(format!("`{name}`, {}: {what}", asked.told()));
                1
            }
            Came::Refused(why) => {
                self.refused.entry((asked, why)).or_default().push(name.to_owned());
                2
            }
            Came::Nothing => 3,
        };
        self.counts.entry(asked).or_default()[at] += 1;
    }

    fn page(self, cases: usize) -> String {
        let mut page = format!(
            "{cases} cases.\n\n| asked | as the standard says | otherwise | refused by name | not asked |\n|---|---|---|---|---|\n"
        );
        for asked in Asked::ALL {
            let [right, wrong, refused, nothing] =
                self.counts.get(&asked).copied().unwrap_or_default();
            let _ =
                writeln!(page, "| {} | {right} | {wrong} | {refused} | {nothing} |", asked.told());
        }
        page.push_str("\n## Otherwise\n\n");
        for line in &self.wrong {
            let _ = writeln!(page, "- {line}");
        }
        page.push_str("\n## Refused\n\n| of | why | cases | such as |\n|---|---|---|---|\n");
        let mut refused: Vec<_> = self.refused.into_iter().collect();
        refused.sort_by_key(|((asked, _), names)| (*asked, std::cmp::Reverse(names.len())));
        for ((asked, why), names) in refused {
            let such = names.first().map_or("", String::as_str);
            let _ = writeln!(page, "| {} | {why} | {} | `{such}` |", asked.told(), names.len());
        }
        page
    }
}

/// What is stored in a model; what this program has no element for is left out.
fn tensors(model: &Model) -> Tensors {
    let stored = model.graph().initializer.iter();
    let tensor =
        |stored: &TensorProto| Some((stored.name().to_owned(), Tensor::from_proto(stored).ok()?));
    stored.filter_map(tensor).collect()
}

/// An error as many have it: without names and numbers, and in one line.
fn reason(error: &str) -> String {
    let line = error.split_once(".onnx: ").map_or(error, |(_file, why)| why);
    let mut words = String::new();
    for (number, part) in line.split('`').enumerate() {
        if number % 2 == 0 {
            words.push_str(part);
        }
    }
    let digits = |c: char| if c.is_ascii_digit() { 'n' } else { c };
    let words: Vec<String> =
        words.split_whitespace().map(|word| word.chars().map(digits).collect()).collect();
    words.join(" ").replace('|', "\\|").chars().take(150).collect()
}

/// How two tensors differ, if by more than the suite allows.
fn difference(got: &Tensor, wanted: &Tensor) -> Option<String> {
    if got.ty() != wanted.ty() {
        return Some(format!("{}, not {}", got.ty(), wanted.ty()));
    }
    let halves = matches!(wanted.data.element(), Element::F16 | Element::Bf16);
    let times = if halves { HALVES } else { 1.0 };
    let pairs = got.to_f64s().into_iter().zip(wanted.to_f64s()).enumerate();
    for (place, (got, wanted)) in pairs {
        let same = got == wanted || (got.is_nan() && wanted.is_nan());
        let near = (got - wanted).abs() <= times * (ABSOLUTE + RELATIVE * wanted.abs());
        if !same && !near {
            return Some(format!("{got} at {place}, not {wanted}"));
        }
    }
    None
}

/// What folding computes of a graph whose inputs are stored.
fn computed(constant: &Model, wanted: &Tensors) -> Came {
    let folded = match open(constant, &PinOptions::default()) {
        Ok(opened) => opened.folded,
        Err(why) => return Came::Refused(reason(&why.to_string())),
    };
    let known = tensors(&folded.model);
    for (name, wanted) in wanted.iter().filter(|(name, _)| !name.is_empty()) {
        let nodes = &folded.model.graph().node;
        let made = nodes.iter().find(|node| node.output.iter().any(|output| output == name));
        let value = made.filter(|node| node.is("Identity")).and_then(|node| node.input_name(0));
        let Some(value) = value.and_then(|name| known.get(name)) else { return Came::Nothing };
        if let Some(what) = difference(value, wanted) {
            return Came::Wrong(what);
        }
    }
    Came::Right
}

fn typed(folded: &Folded, wanted: &Tensors) -> Came {
    for (name, wanted) in wanted.iter().filter(|(name, _)| !name.is_empty()) {
        match folded.types.get(name) {
            Some(ty) if *ty == wanted.ty() => {}
            Some(ty) => return Came::Wrong(format!("{ty}, not {}", wanted.ty())),
            None => return Came::Wrong(format!("no type of {name}")),
        }
    }
    Came::Right
}

fn run(session: &mut dyn Session, given: &Tensors) -> Outcome {
    for input in 0..session.inputs().len() {
        let name = session.inputs()[input].name.clone();
        let tensor = given.get(&name).ok_or_else(|| format!("nothing is given for {name}"))?;
        session.write(input, tensor)?;
    }
    Ok(session.run()?)
}

/// What an engine gives of a model.
fn given_by(engine: &dyn Engine, model: &Model, given: &Tensors, wanted: &Tensors) -> Came {
    let refused = |why: &dyn std::fmt::Display| Came::Refused(reason(&why.to_string()));
    let mut session = match engine.load(model, &LoadOptions::training(NonZeroUsize::MIN)) {
        Ok(session) => session,
        Err(why) => return refused(&why),
    };
    if let Err(why) = run(&mut *session, given) {
        return refused(&why);
    }
    for (output, port) in session.outputs().iter().enumerate() {
        let Some(wanted) = wanted.get(&port.name) else { continue };
        let bytes = session.output_bytes(output).unwrap_or_default();
        let got = Tensor::from_le_bytes(port.ty.element, &port.ty.dims, bytes);
        match got.map(|got| difference(&got, wanted)) {
            Some(None) => {}
            Some(Some(what)) => return Came::Wrong(what),
            None => return Came::Wrong(format!("{} holds no values", port.name)),
        }
    }
    Came::Right
}

/// What an engine gives of a folded model; where it does no better with the file as it is, that is the engine's.
fn beside_the_file(
    engine: &dyn Engine,
    (folded, file): (&Model, &Model),
    given: &Tensors,
    wanted: &Tensors,
) -> Came {
    let came = given_by(engine, folded, given, wanted);
    let what = match came {
        Came::Right | Came::Nothing => return came,
        Came::Wrong(what) | Came::Refused(what) => what,
    };
    match given_by(engine, file, given, wanted) {
        Came::Right => Came::Wrong(what),
        Came::Wrong(_) | Came::Refused(_) | Came::Nothing => {
            Came::Refused("the engine does no better with the file as it is".to_owned())
        }
    }
}

/// The gradients of the squares of what a graph gives, held to differences: all at once, or, where one has none, one by one.
fn sloped(engine: &dyn Engine, folded: &Folded, mut given: Tensors) -> Came {
    let inputs = folded.model.graph().input.iter().map(|input| input.name().to_owned());
    let is_real = |name: &String| {
        folded.types.get(name).is_some_and(|ty| ty.element == Element::F32 && ty.values() > 0)
    };
    let wanted: Vec<String> = inputs.filter(is_real).collect();
    for (number, name) in wanted.iter().enumerate() {
        let is_of_quantising = name.contains("scale") || name.contains("zero");
        if let Some(tensor) = given.get_mut(name).filter(|_| !is_of_quantising)
            && let Some(values) = tensor.as_f32()
        {
            let by = noise(number, values.len());
            let moved: Vec<f32> = values.iter().zip(by).map(|(x, by)| x + MOVED * by).collect();
            *tensor = Tensor::f32(&tensor.dims.clone(), &moved);
        }
    }
    if wanted.is_empty() {
        return Came::Nothing;
    }
    // What the moved inputs are refused for is refused, too.
    let asked = |names: &[String]| {
        slopes(engine, folded, names, &given)
            .unwrap_or_else(|why| Came::Refused(reason(&why.to_string())))
    };
    let all = asked(&wanted);
    if !matches!(all, Came::Refused(_)) || wanted.len() == 1 {
        return all;
    }
    // What one of them has none of, the others may have.
    let mut of_one = all;
    for name in &wanted {
        match asked(std::slice::from_ref(name)) {
            Came::Wrong(what) => return Came::Wrong(what),
            Came::Refused(why) => of_one = Came::Refused(why),
            Came::Right | Came::Nothing => {}
        }
    }
    of_one
}

fn slopes(engine: &dyn Engine, folded: &Folded, wrt: &[String], given: &Tensors) -> Outcome<Came> {
    let (losses, profile) = (Vec::new(), Profile::Cpu);
    let options = DifferentiateOptions { losses, wrt: wrt.to_vec(), strict: false, profile };
    let training = match differentiate(folded, &options) {
        Ok(training) => training.folded,
        Err(why) => return Ok(Came::Refused(reason(&why.to_string()))),
    };
    let options = LoadOptions::training(NonZeroUsize::MIN);
    let mut session = engine.load(&training.model, &options)?;
    let mut fed = given.clone();
    for (number, port) in session.inputs().iter().enumerate() {
        if !fed.contains_key(&port.name) {
            let ones = port.name.starts_with("weight.");
            let values =
                if ones { vec![1.0; port.ty.values()] } else { noise(number, port.ty.values()) };
            fed.insert(port.name.clone(), Tensor::f32(&port.ty.dims, &values));
        }
    }
    run(&mut *session, &fed)?;
    let loss = session.output_index("loss")?;
    let begun = f64::from(session.output_f32(loss)?.first().copied().unwrap_or(f32::NAN));
    if !begun.is_finite() {
        return Ok(Came::Refused("the loss is no number where it is asked".to_owned()));
    }
    for name in wrt {
        let at = session.output_index(&format!("grad.{name}"))?;
        let gradient = session.output_f32(at)?.to_vec();
        if gradient.iter().any(|slope| !slope.is_finite()) {
            return Ok(Came::Wrong(format!("the slope by {name} is no number")));
        }
        let mut off = 0;
        for way in 0..3 {
            let step = noise(100 + way, gradient.len());
            off += usize::from(!is_slope(&mut *session, &fed, (name, &gradient), (&step, begun))?);
        }
        if off > 1 {
            return Ok(Came::Wrong(format!("by {name}, in {off} ways of 3")));
        }
    }
    Ok(Came::Right)
}

/// Whether the loss changes along a step as a gradient says.
fn is_slope(
    session: &mut dyn Session,
    fed: &Tensors,
    (name, gradient): (&String, &[f32]),
    (step, begun): (&[f32], f64),
) -> Outcome<bool> {
    let loss = session.output_index("loss")?;
    let x = fed.get(name).and_then(|tensor| Some((tensor.dims.clone(), tensor.as_f32()?.to_vec())));
    let (dims, x) = x.ok_or("no float32")?;
    let parts = gradient.iter().zip(step).map(|(slope, by)| f64::from(*slope) * f64::from(*by));
    let parts: Vec<f64> = parts.collect();
    let said: f64 = parts.iter().sum();
    let worth = parts.iter().map(|part| part * part).sum::<f64>().sqrt() + 1e-6;
    let mut least = f64::INFINITY;
    for size in STEPS {
        let mut at = |size: f32| -> Outcome<f64> {
            let moved: Vec<f32> = x.iter().zip(step).map(|(x, by)| x + size * by).collect();
            let mut fed = fed.clone();
            fed.insert(name.clone(), Tensor::f32(&dims, &moved));
            run(session, &fed)?;
            Ok(f64::from(session.output_f32(loss)?.first().copied().unwrap_or(f32::NAN)))
        };
        let found = (at(size)? - at(-size)?) / (2.0 * f64::from(size));
        let rounded = begun.abs() * f64::from(f32::EPSILON) * 3.0 / f64::from(size);
        least = least.min(((found - said).abs() - rounded).max(0.0) / worth);
    }
    Ok(least <= SLOPE)
}
