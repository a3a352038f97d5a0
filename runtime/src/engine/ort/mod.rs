//! ONNX Runtime, loaded at run time.
//!
//! The environment, the options and the loading of a model go through the `ort` crate; binding and
//! running call the C interface, because a run must not allocate.

use std::path::Path;

use ::ort::ep::ExecutionProviderDispatch;
use ::ort::session::builder::{GraphOptimizationLevel, SessionBuilder};

use super::{
    Engine, EngineError, Kept, LoadOptions, Optimise, Placement, Provider, Providers, Session,
    TensorPort, ports,
};
use crate::onnx::Model;
use crate::onnx::model::MODEL_BYTES_MAX;
use bound::Bound;
use handed::Handed;
use kept::{Machine, Parts};
use library::Library;
use turns::InTurn;

mod absent;
mod bound;
mod buffer;
mod device;
mod handed;
mod kept;
mod library;
mod placement;
mod raw;
mod turns;

pub use library::{LIBRARY_VARIABLE, LibraryError, MINOR_VERSION_MIN, forbid_telemetry};

/// What ONNX Runtime is told of the providers asked for; the processor takes what is left in any case, and
/// [`placement::prove`] refuses that where it was not asked for.
fn registrations(
    providers: &Providers,
    options: &LoadOptions,
    kept: Option<&Kept>,
) -> Vec<ExecutionProviderDispatch> {
    let device = i32::try_from(providers.device).unwrap_or(i32::MAX);
    let accelerator = |provider: &Provider| match provider {
        // Vehicles compare what they measure: all in float32, not in the 19 bits of TF32.
        Provider::Cuda => {
            let cuda = ::ort::ep::CUDA::default().with_device_id(device).with_tf32(false);
            let cuda = cuda.with_cuda_graph(providers.cuda_graphs);
            Some(cuda.build().error_on_failure())
        }
        Provider::TensorRt => {
            let mut tensorrt =
                ::ort::ep::TensorRT::default().with_device_id(device).with_fp16(providers.fp16);
            if let Some(kept) = kept {
                let folder = kept.folder.display().to_string();
                tensorrt = tensorrt
                    .with_engine_cache(true)
                    .with_engine_cache_path(&folder)
                    .with_timing_cache(true)
                    .with_timing_cache_path(&folder);
            }
            Some(tensorrt.build().error_on_failure())
        }
        Provider::Cpu => None,
    };
    let mut registrations: Vec<_> = providers.order().iter().filter_map(accelerator).collect();
    let cpu = ::ort::ep::CPU::default().with_arena_allocator(options.arena);
    registrations.push(cpu.build().error_on_failure());
    registrations
}

/// The engine: one library, and providers in an order.
#[derive(Clone, Debug)]
pub struct Ort {
    library: Library,
    providers: Providers,
    /// Models of so many bytes have their values handed by reference.
    apart_from: u64,
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
        let library = library::open(path)?;
        Ok(Self { library, providers: Providers::default(), apart_from: MODEL_BYTES_MAX })
    }

    /// The same library, which takes the larger values of models of `bytes` or more by reference: they are not copied, and are
    /// no constants for it. By itself it takes so what no message of protobuf holds, 2 GiB.
    #[must_use]
    pub fn by_reference_from(self, bytes: u64) -> Self {
        Self { apart_from: bytes.min(MODEL_BYTES_MAX), ..self }
    }

    /// The same library with other providers.
    ///
    /// # Errors
    /// [`EngineError::ProviderAbsent`] when the library was built without one of them. Whether the machine has what that
    /// needs is known when a model is loaded.
    pub fn with_providers(self, providers: Providers) -> Result<Self, EngineError> {
        let built_with =
            raw::available_providers().map_err(|error| EngineError::ProviderAbsent {
                provider: providers.to_string(),
                reason: error.to_string(),
            })?;
        absent::check_built(&providers, &self.library.path, &built_with)?;
        Ok(Self { providers, ..self })
    }

    /// Version of the library: `1.31.1`.
    pub fn version(&self) -> &str {
        &self.library.version
    }

    /// The file the library was loaded from.
    pub fn library_path(&self) -> &Path {
        &self.library.path
    }

    /// Where engines are kept, where any are built.
    fn cache(&self) -> Option<&Path> {
        self.providers.cache.as_deref().filter(|_| self.providers.has(Provider::TensorRt))
    }

    fn handed(&self, model: &Model) -> Result<Handed, EngineError> {
        Handed::of(model, self.apart_from, &self.describe())
    }

    fn refused<R>(&self, error: &::ort::Error<R>) -> EngineError {
        EngineError::Load { engine: self.describe(), reason: error.message().to_owned() }
    }

    fn session(
        &self,
        bytes: &[u8],
        options: &LoadOptions,
        registrations: Vec<ExecutionProviderDispatch>,
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
        builder = builder
            .with_execution_providers(registrations)
            .map_err(|error| absent::explained(&self.providers, &error.to_string()))?;
        builder.commit_from_memory(bytes).map_err(|error| self.refused(&error))
    }

    /// A session that is proven and bound.
    fn open(
        &self,
        handed: &Handed,
        ports: (Vec<TensorPort>, Vec<TensorPort>),
        options: &LoadOptions,
        kept: Option<&Kept>,
        replays: bool,
    ) -> Result<Bound, EngineError> {
        let _turn = self.providers.accelerated().then(turns::beside);
        let asked = Providers { cuda_graphs: replays, ..self.providers.clone() };
        let session = self.session(&handed.bytes, options, registrations(&asked, options, kept))?;
        let placement = placement::read_back(&session).map_err(|error| EngineError::Load {
            engine: self.describe(),
            reason: format!("it does not say which provider got which node: {error}"),
        })?;
        let placement = Placement { replays, ..placement };
        placement::prove(&placement, &self.providers, options.elsewhere)?;
        let memory = device::Memory::of(&self.providers);
        self.bind((session, handed), ports, placement, memory, options)
    }

    /// A session whose runs are one CUDA graph: what cannot be replayed shows in its first run.
    fn replaying(
        &self,
        handed: &Handed,
        ports: (Vec<TensorPort>, Vec<TensorPort>),
        options: &LoadOptions,
    ) -> Result<InTurn<Bound>, EngineError> {
        let mut session = InTurn::new(self.open(handed, ports, options, None, true)?);
        session.run()?;
        Ok(session)
    }

    fn bind(
        &self,
        (session, handed): (::ort::session::Session, &Handed),
        ports: (Vec<TensorPort>, Vec<TensorPort>),
        placement: Placement,
        memory: device::Memory,
        options: &LoadOptions,
    ) -> Result<Bound, EngineError> {
        let copier = |element| {
            let copying = device::copying_model(element).map_err(EngineError::Write)?;
            let options = LoadOptions::default();
            // TensorRT would build an engine for every shape that is copied.
            let cuda = Providers::in_order(vec![Provider::Cuda]).map_or_else(
                |_order| Vec::new(),
                |cuda| {
                    let cuda = Providers { device: self.providers.device, ..cuda };
                    registrations(&cuda, &options, None)
                },
            );
            let by = if self.providers.accelerated() { cuda } else { Vec::new() };
            self.session(&copying, &options, by)
        };
        let session = (session, handed.held.clone());
        Bound::new(self.describe(), session, ports, placement, memory, options, copier)
    }
}

impl Engine for Ort {
    /// On CUDA, yes; what TensorRT computes in half precision must not be what training moves by.
    fn trains_on_device(&self) -> bool {
        self.providers.begins_with_cuda()
    }

    fn describe(&self) -> String {
        format!("ort-{}/{}", self.library.version, self.providers)
    }

    fn load(&self, model: &Model, options: &LoadOptions) -> Result<Box<dyn Session>, EngineError> {
        let ports = ports(model)?;
        let handed = self.handed(model)?;
        // Only what is kept has a key: hashing a model takes time.
        let machine = self.cache().map(|_cache| Machine::read(Path::new("/")));
        let parts = machine.as_ref().map(|machine| {
            Parts::new(handed.sha256(), &self.library.version, machine, &self.providers, options)
        });
        let kept = self.cache().zip(parts.as_ref()).map(|(cache, parts)| parts.kept(cache));
        let unkept = |folder: &Path, error: std::io::Error| EngineError::Load {
            engine: self.describe(),
            reason: format!("{} cannot keep its engines: {error}", folder.display()),
        };
        let building = kept.as_ref().filter(|kept| !kept.is_there);
        if let Some(kept) = building {
            tracing::warn!(
                folder = %kept.folder.display(),
                "no TensorRT engine of this graph, driver and device: it is built now, which takes minutes; \
                 ahead of it: shoal model warm PACKAGE {}",
                self.providers.arguments()
            );
            std::fs::create_dir_all(&kept.folder).map_err(|error| unkept(&kept.folder, error))?;
        }
        if self.providers.cuda_graphs && self.providers.begins_with_cuda() {
            match self.replaying(&handed, ports.clone(), options) {
                Ok(session) => return Ok(Box::new(session)),
                Err(why) => tracing::info!(%why, "a graph is not replayed: it runs node by node"),
            }
        }
        let bound = self.open(&handed, ports, options, kept.as_ref(), false)?;
        if let (Some(kept), Some(parts)) = (building, &parts) {
            parts.mark(kept).map_err(|error| unkept(&kept.folder, error))?;
        }
        Ok(if self.providers.accelerated() {
            Box::new(InTurn::new(bound))
        } else {
            Box::new(bound)
        })
    }

    fn kept(&self, model: &Model, options: &LoadOptions) -> Result<Option<Kept>, EngineError> {
        let Some(cache) = self.cache() else { return Ok(None) };
        let hash = self.handed(model)?.sha256();
        let machine = Machine::read(Path::new("/"));
        let version = &self.library.version;
        Ok(Some(Parts::new(hash, version, &machine, &self.providers, options).kept(cache)))
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
        let handed = ort.handed(&model).unwrap();
        let session = ort.session(&handed.bytes, &options, Vec::new()).unwrap();
        // The processor's memory taken for a device's: every step but the transfer is the same.
        let memory = device::Memory::Device { name: "Cpu", number: 0 };
        ort.bind((session, &handed), ports(&model).unwrap(), Placement::default(), memory, &options)
            .unwrap()
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
