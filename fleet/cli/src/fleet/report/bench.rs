//! Every adapter is measured once on each set of clips, several side by side.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;

use sha2::{Digest, Sha256};
use shoal_runtime::adapter::{Adapter, Layout};
use shoal_runtime::engine::Engine;
use shoal_runtime::graft::Profile;
use shoal_runtime::onnx::Model;
use shoal_shadow::fit::graft_package;
use shoal_shadow::measure::{Horizon, Measurement};
use shoal_shadow::package::Package;

use crate::output::{Failure, Progress};
use crate::yardstick::Yardstick;

/// Adapters measured at a time, each on a thread of its own.
const SIDE_BY_SIDE: usize = 2;

/// An adapter by what is in it; `None`: x_p.
pub(super) type Name = Option<[u8; 32]>;

/// A set of clips.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Set {
    /// The held-out parts of all drives.
    HeldOut,
    /// The whole evaluation pack.
    Pack,
}

type Outcome = Result<((Name, Set), Measurement), Failure>;

/// A model, and what is to be measured of it.
pub(super) struct Bench<'a> {
    package: &'a Package,
    model: Model,
    layout: Arc<Layout>,
    engine: &'a dyn Engine,
    threads: NonZeroUsize,
    adapters: BTreeMap<[u8; 32], Adapter>,
    asked: Vec<(Name, Set)>,
}

/// What was measured.
pub(super) struct Measured(BTreeMap<(Name, Set), Measurement>);

impl<'a> Bench<'a> {
    pub(super) fn new(
        package: &'a Package,
        engine: &'a dyn Engine,
        threads: usize,
    ) -> Result<Self, Failure> {
        let model = Model::read(&package.model_path())?;
        // A layout does not depend on how the graph is lowered.
        let layout = graft_package(&model, package.description(), 1, Profile::Cpu)?.layout;
        let threads = NonZeroUsize::new(threads).unwrap_or(NonZeroUsize::MIN);
        let (adapters, asked) = (BTreeMap::new(), Vec::new());
        Ok(Bench { package, model, layout, engine, threads, adapters, asked })
    }

    /// Bytes of an adapter as plain numbers.
    pub(super) fn float32_bytes(&self) -> u64 {
        4 * self.layout.values() as u64
    }

    /// Asks for an adapter to be measured; its name, for [`Measured::of`].
    pub(super) fn ask(&mut self, adapter: Option<&Path>, set: Set) -> Result<Name, Failure> {
        let name = adapter.map(|folder| self.read(folder)).transpose()?;
        if !self.asked.contains(&(name, set)) {
            self.asked.push((name, set));
        }
        Ok(name)
    }

    fn read(&mut self, folder: &Path) -> Result<[u8; 32], Failure> {
        let adapter = Adapter::read_peft(folder, Arc::clone(&self.layout))?;
        let bytes: Vec<u8> =
            adapter.values().iter().flat_map(|value| value.to_le_bytes()).collect();
        let name = Sha256::digest(bytes).into();
        self.adapters.entry(name).or_insert(adapter);
        Ok(name)
    }

    /// How many measurements are asked for.
    pub(super) fn len(&self) -> usize {
        self.asked.len()
    }

    /// Measures all that is asked for; every thread takes its own clips of a set.
    pub(super) fn run<'c>(
        &self,
        clips: &(impl Fn(Set) -> Yardstick<'c> + Sync),
    ) -> Result<Measured, Failure> {
        let next = AtomicUsize::new(0);
        let work = |results: mpsc::Sender<Outcome>| {
            let (held_out, pack) = (clips(Set::HeldOut), clips(Set::Pack));
            while let Some(&(name, set)) = self.asked.get(next.fetch_add(1, Ordering::Relaxed)) {
                let clips = match set {
                    Set::HeldOut => &held_out,
                    Set::Pack => &pack,
                };
                let measured = self.measure(name, clips).map(|measured| ((name, set), measured));
                // Nobody listens after a failure.
                if results.send(measured).is_err() {
                    break;
                }
            }
        };
        thread::scope(|scope| {
            let (sender, results) = mpsc::channel();
            for _ in 0..SIDE_BY_SIDE {
                let (work, sender) = (&work, sender.clone());
                scope.spawn(move || work(sender));
            }
            drop(sender);
            let mut progress = Progress::new();
            let mut measured = BTreeMap::new();
            for result in results {
                let (key, measurement) = result?;
                measured.insert(key, measurement);
                progress.show(measured.len() as u64, self.len() as u64, "adapters measured");
            }
            Ok(Measured(measured))
        })
    }

    fn measure(&self, name: Name, clips: &Yardstick<'_>) -> Result<Measurement, Failure> {
        let adapter = name.map(|name| &self.adapters[&name]);
        let package = (&self.model, self.package.description());
        clips.measure(package, (self.engine, self.threads), adapter, Horizon::Next)
    }
}

impl Measured {
    /// What was measured of an adapter.
    ///
    /// # Panics
    /// If it was not asked for.
    pub(super) fn of(&self, name: Name, set: Set) -> &Measurement {
        &self.0[&(name, set)]
    }
}
