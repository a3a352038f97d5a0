//! What a bound run costs above ONNX Runtime itself.
//!
//! ```text
//! cargo bench --profile dev -p shoal-runtime --bench inference -- MODEL.onnx [PAIRS [THREADS]]
//! ```
//!
//! Two sessions of one model in one process: ours, through the engine trait, and the plain C
//! interface with preallocated tensors. Each pair runs both on the same frame, in alternating
//! order; a sample is the CPU time of this thread for as many frames as take 50 ms. Prints one line
//! of JSON: the ratio of the medians with its 95 % interval (bootstrap over
//! pairs, fixed seed).
#![expect(unsafe_code, reason = "the plain C interface is what is compared with")]
#![expect(clippy::print_stdout, reason = "the result is a line on standard output")]

use std::error::Error;
use std::ffi::{CString, c_char};
use std::num::NonZeroUsize;
use std::path::Path;
use std::ptr::{null, null_mut};

use ort::sys::{
    GraphOptimizationLevel, ONNXTensorElementDataType, OrtAllocatorType, OrtMemType, OrtSession,
    OrtStatusPtr, OrtValue,
};
use shoal_runtime::engine::ort::Ort;
use shoal_runtime::engine::{Engine, LoadOptions, Session, TensorPort, ports};
use shoal_runtime::onnx::{Element, Model, PinOptions, fold, pin};

type Failure = Box<dyn Error>;

const PAIRS: usize = 100;
const SAMPLE_S: f64 = 0.05;
const RESAMPLES: usize = 4000;

fn main() -> Result<(), Failure> {
    // `cargo bench` and `cargo test` add flags of their own.
    let arguments: Vec<String> = std::env::args().skip(1).filter(|a| !a.starts_with('-')).collect();
    let Some(path) = arguments.first() else {
        println!("{{\"bench\":\"inference\",\"skipped\":\"no model named\"}}");
        return Ok(());
    };
    let pairs = arguments.get(1).map_or(Ok(PAIRS), |text| text.parse())?;
    let threads = arguments.get(2).map_or(Ok(NonZeroUsize::MIN), |text| text.parse())?;

    let model = fold(&pin(&Model::read(Path::new(path))?, &PinOptions::default())?)?.model;
    let engine = Ort::load_library(None)?;
    let options = LoadOptions { threads, ..LoadOptions::default() };
    let mut ours = engine.load(&model, &options)?;
    let mut bare = Bare::new(&model, threads)?;
    let frames: Vec<Vec<u8>> = ours.inputs().iter().map(frame).collect();

    same_outputs(&mut *ours, &mut bare, &frames)?;
    let repeats = repeats(&mut bare, &frames)?;
    let mut samples = Vec::with_capacity(pairs);
    for pair in 0..pairs {
        let (mut a, mut b) = (0.0, 0.0);
        for side in [pair % 2, (pair + 1) % 2] {
            let start = cpu_s()?;
            for _ in 0..repeats {
                if side == 0 { run_ours(&mut *ours, &frames)? } else { bare.run(&frames)? }
            }
            *(if side == 0 { &mut a } else { &mut b }) = (cpu_s()? - start) / repeats as f64;
        }
        samples.push((a, b));
    }
    report(path, &engine.describe(), threads, repeats, &samples);
    Ok(())
}

fn run_ours(session: &mut dyn Session, frames: &[Vec<u8>]) -> Result<(), Failure> {
    for (input, frame) in frames.iter().enumerate() {
        let element = session.inputs()[input].ty.element;
        session.write_bytes(input, element, frame)?;
    }
    session.run()?;
    std::hint::black_box(session.output_bytes(0)?);
    Ok(())
}

/// A comparison of different results would mean nothing.
fn same_outputs(
    ours: &mut dyn Session,
    bare: &mut Bare,
    frames: &[Vec<u8>],
) -> Result<(), Failure> {
    run_ours(ours, frames)?;
    bare.run(frames)?;
    for (index, output) in bare.outputs.iter().enumerate() {
        if ours.output_bytes(index)? != output.bytes() {
            return Err(format!("output {index} differs between the two").into());
        }
    }
    Ok(())
}

/// Frames per sample, after a warm-up of at least a hundred frames.
fn repeats(bare: &mut Bare, frames: &[Vec<u8>]) -> Result<usize, Failure> {
    let start = cpu_s()?;
    for _ in 0..100 {
        bare.run(frames)?;
    }
    let frame_s = (cpu_s()? - start) / 100.0;
    Ok((SAMPLE_S / frame_s.max(1e-7)).ceil() as usize)
}

/// Values in [0, 1] for float inputs; zeros for others, which every vocabulary has.
fn frame(port: &TensorPort) -> Vec<u8> {
    let noise = |i: usize| ((i * 7919 + 13) % 1009) as f32 / 1008.0;
    let count = port.ty.values();
    if port.ty.element == Element::F32 {
        (0..count).flat_map(|i| noise(i).to_le_bytes()).collect()
    } else {
        vec![0; count * port.ty.element.bytes()]
    }
}

/// CPU time of this thread, seconds: in nanoseconds, where `getrusage` ticks in milliseconds.
fn cpu_s() -> Result<f64, Failure> {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the call fills what it is given.
    if unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut time) } != 0 {
        return Err(std::io::Error::last_os_error().into());
    }
    Ok(time.tv_sec as f64 + time.tv_nsec as f64 * 1e-9)
}

fn report(path: &str, engine: &str, threads: NonZeroUsize, repeats: usize, samples: &[(f64, f64)]) {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut draw = |below: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state % below as u64) as usize
    };
    let mut ratios: Vec<f64> = (0..RESAMPLES)
        .map(|_| {
            let resample: Vec<_> =
                (0..samples.len()).map(|_| samples[draw(samples.len())]).collect();
            ratio(&resample)
        })
        .collect();
    ratios.sort_by(f64::total_cmp);
    let at = |share: f64| ratios[((RESAMPLES - 1) as f64 * share).round() as usize];
    let result = serde_json::json!({
        "bench": "inference",
        "model": path,
        "engine": engine,
        "threads": threads,
        "pairs": samples.len(),
        "frames_per_sample": repeats,
        "cpu_ms": {
            "shoal": 1e3 * median(samples.iter().map(|s| s.0)),
            "bare": 1e3 * median(samples.iter().map(|s| s.1)),
        },
        "ratio": ratio(samples),
        "interval_95": [at(0.025), at(0.975)],
    });
    println!("{result}");
}

fn ratio(samples: &[(f64, f64)]) -> f64 {
    median(samples.iter().map(|s| s.0)) / median(samples.iter().map(|s| s.1))
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    if values.len() % 2 == 1 { values[middle] } else { (values[middle - 1] + values[middle]) / 2.0 }
}

/// A preallocated tensor of the plain C interface.
struct Preallocated {
    /// In units of eight bytes, so that every element type is aligned.
    memory: Vec<u64>,
    bytes: usize,
    value: *mut OrtValue,
}

impl Preallocated {
    fn new(port: &TensorPort) -> Result<Self, Failure> {
        use ONNXTensorElementDataType as Kind;
        let kind = match port.ty.element {
            Element::F32 => Kind::ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT,
            Element::F16 => Kind::ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT16,
            Element::I64 => Kind::ONNX_TENSOR_ELEMENT_DATA_TYPE_INT64,
            Element::I32 => Kind::ONNX_TENSOR_ELEMENT_DATA_TYPE_INT32,
            Element::U8 => Kind::ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT8,
            Element::Bool => Kind::ONNX_TENSOR_ELEMENT_DATA_TYPE_BOOL,
            rare @ (Element::F64
            | Element::Bf16
            | Element::I16
            | Element::I8
            | Element::U64
            | Element::U32
            | Element::U16) => return Err(format!("`{}` is {rare}: not benched", port.name).into()),
        };
        let bytes = port.ty.values() * port.ty.element.bytes();
        let mut memory = vec![0_u64; bytes.div_ceil(8)];
        let dims: Vec<i64> = port.ty.dims.iter().map(|&dim| dim as i64).collect();
        let (mut info, mut value) = (null_mut(), null_mut());
        // SAFETY: the memory is as long as the type says and moves nowhere while the value lives.
        unsafe {
            let api = ort::api();
            check((api.CreateCpuMemoryInfo)(
                OrtAllocatorType::OrtDeviceAllocator,
                OrtMemType::OrtMemTypeDefault,
                &raw mut info,
            ))?;
            check((api.CreateTensorWithDataAsOrtValue)(
                info,
                memory.as_mut_ptr().cast(),
                bytes,
                dims.as_ptr(),
                dims.len(),
                kind,
                &raw mut value,
            ))?;
            (api.ReleaseMemoryInfo)(info);
        }
        Ok(Self { memory, bytes, value })
    }

    fn bytes(&self) -> &[u8] {
        // SAFETY: the memory has at least this many initialised bytes.
        unsafe { std::slice::from_raw_parts(self.memory.as_ptr().cast(), self.bytes) }
    }

    fn fill(&mut self, bytes: &[u8]) {
        assert_eq!(self.bytes, bytes.len(), "a frame fills its input");
        // SAFETY: both are `bytes` long and do not overlap.
        unsafe {
            let to = self.memory.as_mut_ptr().cast();
            std::ptr::copy_nonoverlapping(bytes.as_ptr(), to, bytes.len());
        }
    }
}

/// ONNX Runtime with nothing around it. What it creates lives as long as the process.
struct Bare {
    session: *mut OrtSession,
    inputs: Vec<Preallocated>,
    outputs: Vec<Preallocated>,
    /// What `Run` takes, made once.
    input_names: Vec<*const c_char>,
    output_names: Vec<*const c_char>,
    input_values: Vec<*const OrtValue>,
    output_values: Vec<*mut OrtValue>,
}

impl Bare {
    fn new(model: &Model, threads: NonZeroUsize) -> Result<Self, Failure> {
        let bytes = model.to_bytes()?;
        let (mut environment, mut options, mut session) = (null_mut(), null_mut(), null_mut());
        // SAFETY: every object is made before it is used and never released.
        unsafe {
            let api = ort::api();
            let level = ort::sys::OrtLoggingLevel::ORT_LOGGING_LEVEL_WARNING;
            check((api.CreateEnv)(level, c"bare".as_ptr(), &raw mut environment))?;
            check((api.CreateSessionOptions)(&raw mut options))?;
            check((api.SetIntraOpNumThreads)(options, i32::try_from(threads.get())?))?;
            check((api.SetSessionGraphOptimizationLevel)(
                options,
                GraphOptimizationLevel::ORT_ENABLE_ALL,
            ))?;
            let data = bytes.as_ptr().cast();
            let length = bytes.len();
            check((api.CreateSessionFromArray)(
                environment,
                data,
                length,
                options,
                &raw mut session,
            ))?;
        }
        let (inputs, outputs) = ports(model)?;
        let names = |ports: &[TensorPort]| -> Result<Vec<*const c_char>, Failure> {
            let name =
                |port: &TensorPort| Ok(CString::new(port.name.as_str())?.into_raw().cast_const());
            ports.iter().map(name).collect()
        };
        let (input_names, output_names) = (names(&inputs)?, names(&outputs)?);
        let preallocated = |ports: &[TensorPort]| -> Result<Vec<Preallocated>, Failure> {
            ports.iter().map(Preallocated::new).collect()
        };
        let (inputs, outputs) = (preallocated(&inputs)?, preallocated(&outputs)?);
        Ok(Self {
            session,
            input_values: inputs.iter().map(|input| input.value.cast_const()).collect(),
            output_values: outputs.iter().map(|output| output.value).collect(),
            inputs,
            outputs,
            input_names,
            output_names,
        })
    }

    fn run(&mut self, frames: &[Vec<u8>]) -> Result<(), Failure> {
        for (input, frame) in self.inputs.iter_mut().zip(frames) {
            input.fill(frame);
        }
        // SAFETY: names and values are alive and as many as their counts say.
        check(unsafe {
            (ort::api().Run)(
                self.session,
                null(),
                self.input_names.as_ptr(),
                self.input_values.as_ptr(),
                self.input_values.len(),
                self.output_names.as_ptr(),
                self.output_values.len(),
                self.output_values.as_mut_ptr(),
            )
        })?;
        std::hint::black_box(self.outputs[0].bytes());
        Ok(())
    }
}

fn check(status: OrtStatusPtr) -> Result<(), Failure> {
    // SAFETY: every caller passes the status it got from a call, once.
    Ok(unsafe { ort::Error::result_from_status(status) }?)
}
