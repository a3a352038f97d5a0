//! ONNX Runtime, loaded at run time.
//!
//! The environment, the options and the loading of a model go through the `ort` crate; binding and
//! running call the C interface, because a run must not allocate.

use std::path::{Path, PathBuf};

use ::ort::ep::ExecutionProviderDispatch;
use ::ort::session::builder::{GraphOptimizationLevel, SessionBuilder};

use super::{Engine, EngineError, LoadOptions, Optimise, Placement, Session, TensorPort, ports};
use crate::onnx::Model;
use bound::Bound;
use library::Library;

mod bound;
mod buffer;
mod device;
mod library;
mod placement;
mod raw;

pub use library::{LIBRARY_VARIABLE, LibraryError, MINOR_VERSION_MIN, forbid_telemetry};

/// What runs the nodes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Provider {
    /// The processor.
    Cpu,
    /// CUDA. Not measured on this project's machines.
    Cuda {
        /// Number of the accelerator, from 0.
        device: u32,
    },
    /// TensorRT, with CUDA for the nodes it leaves. Not measured on this project's machines.
    TensorRt {
        /// Number of the accelerator, from 0.
        device: u32,
        /// Folder that keeps built engines; `None` builds them at every load.
        cache: Option<PathBuf>,
        /// Allow half precision.
        fp16: bool,
    },
}

impl Provider {
    /// As it stands in [`Engine::describe`]: `cpu`, `cuda:0`, `tensorrt:0`.
    fn short(&self) -> String {
        match self {
            Self::Cpu => "cpu".to_owned(),
            Self::Cuda { device } => format!("cuda:{device}"),
            Self::TensorRt { device, .. } => format!("tensorrt:{device}"),
        }
    }

    /// The names in ONNX Runtime's words of the providers whose nodes count as placed as asked.
    fn names(&self) -> &'static [&'static str] {
        match self {
            Self::Cpu => &["CPUExecutionProvider"],
            Self::Cuda { .. } => &["CUDAExecutionProvider"],
            Self::TensorRt { .. } => &["TensorrtExecutionProvider", "CUDAExecutionProvider"],
        }
    }

    fn registrations(&self, options: &LoadOptions) -> Vec<ExecutionProviderDispatch> {
        let cuda = |device: u32| {
            ::ort::ep::CUDA::default()
                .with_device_id(i32::try_from(device).unwrap_or(i32::MAX))
                .build()
                .error_on_failure()
        };
        let mut registrations = match self {
            Self::Cpu => Vec::new(),
            Self::Cuda { device } => vec![cuda(*device)],
            Self::TensorRt { device, cache, fp16 } => {
                let mut tensorrt = ::ort::ep::TensorRT::default()
                    .with_device_id(i32::try_from(*device).unwrap_or(i32::MAX))
                    .with_fp16(*fp16);
                if let Some(cache) = cache {
                    let cache = cache.display().to_string();
                    tensorrt = tensorrt
                        .with_engine_cache(true)
                        .with_engine_cache_path(&cache)
                        .with_timing_cache(true)
                        .with_timing_cache_path(&cache);
                }
                vec![tensorrt.build().error_on_failure(), cuda(*device)]
            }
        };
        let cpu = ::ort::ep::CPU::default().with_arena_allocator(options.arena);
        registrations.push(cpu.build().error_on_failure());
        registrations
    }
}

/// The engine: one library, one provider.
#[derive(Clone, Debug)]
pub struct Ort {
    library: Library,
    provider: Provider,
}

impl Ort {
    /// Opens ONNX Runtime for the processor. It is opened once per process.
    ///
    /// Looked for, in this order: `path`, a file or a folder; what `SHOAL_ONNXRUNTIME` names;
    /// `target/tools/onnxruntime` below the working directory, below the running program, or below
    /// one of their parents. With no `path` and a library open already, that one.
    ///
    /// # Errors
    /// [`LibraryError`], whose text says what to install; nothing panics on a bad library.
    pub fn load_library(path: Option<&Path>) -> Result<Self, LibraryError> {
        Ok(Self { library: library::open(path)?, provider: Provider::Cpu })
    }

    /// The same library with another provider.
    ///
    /// # Errors
    /// [`EngineError::ProviderAbsent`] when the library was built without it. Whether the machine
    /// has the accelerator is known when a model is loaded.
    pub fn with_provider(self, provider: Provider) -> Result<Self, EngineError> {
        let built_in = raw::available_providers().map_err(|error| EngineError::ProviderAbsent {
            provider: provider.short(),
            reason: error.to_string(),
        })?;
        for name in provider.names() {
            if !built_in.iter().any(|have| have == name) {
                return Err(EngineError::ProviderAbsent {
                    provider: provider.short(),
                    reason: format!(
                        "{} was built with {} only; an NVIDIA accelerator needs the library of \
                         `onnxruntime-gpu`",
                        self.library.path.display(),
                        built_in.join(", ")
                    ),
                });
            }
        }
        Ok(Self { provider, ..self })
    }

    /// Version of the library: `1.31.1`.
    pub fn version(&self) -> &str {
        &self.library.version
    }

    /// The file the library was loaded from.
    pub fn library_path(&self) -> &Path {
        &self.library.path
    }

    fn refused<R>(&self, error: &::ort::Error<R>) -> EngineError {
        EngineError::Load { engine: self.describe(), reason: error.message().to_owned() }
    }

    fn session(
        &self,
        bytes: &[u8],
        options: &LoadOptions,
    ) -> Result<::ort::session::Session, EngineError> {
        let refused = |error: ::ort::Error<SessionBuilder>| self.refused(&error);
        let mut builder = ::ort::session::Session::builder(&self.library.environment)
            .map_err(|error| self.refused(&error))?;
        for (key, value) in configuration(options) {
            builder = builder.with_config_entry(key, value).map_err(refused)?;
        }
        builder = builder.with_intra_threads(options.threads.get()).map_err(refused)?;
        builder = builder.with_inter_threads(1).map_err(refused)?;
        builder = builder.with_parallel_execution(false).map_err(refused)?;
        builder = builder.with_deterministic_compute(true).map_err(refused)?;
        builder = builder.with_memory_pattern(options.memory_pattern).map_err(refused)?;
        builder = builder.with_optimization_level(level(options.optimise)).map_err(refused)?;
        builder = builder.with_execution_providers(self.provider.registrations(options)).map_err(
            |error| EngineError::ProviderAbsent {
                provider: self.provider.short(),
                reason: error.to_string(),
            },
        )?;
        builder.commit_from_memory(bytes).map_err(|error| self.refused(&error))
    }

    fn bind(
        &self,
        session: ::ort::session::Session,
        ports: (Vec<TensorPort>, Vec<TensorPort>),
        placement: Placement,
        memory: device::Memory,
        options: &LoadOptions,
    ) -> Result<Bound, EngineError> {
        let copier = |element| {
            let bytes = device::copying_model(element).map_err(EngineError::Write)?;
            self.session(&bytes, &LoadOptions::default())
        };
        Bound::new(self.describe(), session, ports, placement, memory, options, copier)
    }
}

impl Engine for Ort {
    fn describe(&self) -> String {
        format!("ort-{}/{}", self.library.version, self.provider.short())
    }

    fn load(&self, model: &Model, options: &LoadOptions) -> Result<Box<dyn Session>, EngineError> {
        let ports = ports(model)?;
        let bytes = model.to_bytes().map_err(EngineError::Write)?;
        let session = self.session(&bytes, options)?;
        let placement = placement::read_back(&session).map_err(|error| EngineError::Load {
            engine: self.describe(),
            reason: format!("it does not say which provider got which node: {error}"),
        })?;
        placement::prove(&placement, &self.provider, options.elsewhere)?;
        let bound =
            self.bind(session, ports, placement, device::Memory::of(&self.provider), options)?;
        Ok(Box::new(bound))
    }
}

fn level(optimise: Optimise) -> GraphOptimizationLevel {
    match optimise {
        Optimise::No => GraphOptimizationLevel::Disable,
        Optimise::Basic => GraphOptimizationLevel::Level1,
        Optimise::All => GraphOptimizationLevel::All,
    }
}

fn configuration(options: &LoadOptions) -> Vec<(&str, &str)> {
    let flag = |on: bool| if on { "1" } else { "0" };
    let mut entries = vec![
        ("session.record_ep_graph_assignment_info", "1"),
        // Left to itself, MatMul on weights stored as int8 multiplies in int8 as well: forward
        // values look right and gradients are up to 20 % off. 1 = multiply in float32.
        ("session.qdq_matmulnbits_accuracy_level", "1"),
        ("session.disable_quant_qdq", flag(!options.integers)),
        ("session.intra_op.allow_spinning", flag(options.spin)),
        ("session.inter_op.allow_spinning", flag(options.spin)),
    ];
    entries.extend(options.entries.iter().map(|(key, value)| (key.as_str(), value.as_str())));
    entries
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::Place;
    use crate::engine::testing::ort_or_skip;
    use crate::onnx::{Builder, TensorType};

    /// y = 2·x on `[3]`, and z = x + 1 of another name, both kept on the device.
    fn session_on_a_device(ort: &Ort) -> Bound {
        let mut b = Builder::new(17);
        let x = b.input("x", TensorType::f32(&[3]));
        let one = b.scalar(1.0);
        let y = b.op("Add", &[&x, &x], &[]).unwrap();
        let z = b.op("Add", &[&x, &one], &[]).unwrap();
        b.output("y", &y);
        b.output("z", &z);
        let options = LoadOptions { resident: vec!["z".to_owned()], ..LoadOptions::default() };
        let model = b.into_model();
        let session = ort.session(&model.to_bytes().unwrap(), &options).unwrap();
        // The processor's memory taken for a device's: every step but the transfer is the same.
        let memory = device::Memory::Device { name: "Cpu", number: 0 };
        ort.bind(session, ports(&model).unwrap(), Placement::default(), memory, &options).unwrap()
    }

    #[test]
    fn on_a_device_writes_reach_the_bound_buffer_and_outputs_come_back() {
        let Some(ort) = ort_or_skip() else { return };
        let mut session = session_on_a_device(&ort);
        assert_eq!(session.inputs()[0].place, Place::Device);
        assert!(session.input_f32(0).is_none());
        session.run().unwrap();
        assert_eq!(session.output_f32(0).unwrap(), [0.0; 3]);
        for value in [1.0, 4.0] {
            session.write_f32(0, &[value; 3]).unwrap();
            session.run().unwrap();
            assert_eq!(session.output_f32(0).unwrap(), [2.0 * value; 3]);
        }
    }

    #[test]
    fn a_resident_output_feeds_an_input_and_cannot_be_read() {
        let Some(ort) = ort_or_skip() else { return };
        let mut session = session_on_a_device(&ort);
        let error = session.output_f32(1).unwrap_err();
        assert_eq!(
            error.to_string(),
            "output `z` was asked to stay on the device and cannot be read"
        );
        for _ in 0..3 {
            session.run().unwrap();
            session.copy_output_to_input(1, 0).unwrap();
        }
        session.run().unwrap();
        assert_eq!(session.output_f32(0).unwrap(), [6.0; 3]);
        session.copy_output_to_input(0, 0).unwrap();
        session.run().unwrap();
        assert_eq!(session.output_f32(0).unwrap(), [12.0; 3]);
    }
}
