//! An A that is drawn from a seed and not trained: a flag of `shoal model graft`, `differentiate` and `train`.

use std::path::Path;
use std::sync::Arc;

use clap::Args;
use shoal_runtime::adapter::{Adapter, Layout};
use shoal_shadow::package::hash_file;

use crate::output::Failure;

/// Whether A is frozen, and of which seed.
#[derive(Args, Clone, Copy)]
pub(crate) struct Frozen {
    /// Draws every A from this seed and the hash of the model's file, and trains B alone: adapters of one seed, model and
    /// choice of sites share their A, a smaller rank being the beginning of a larger
    #[arg(long, value_name = "SEED")]
    freeze_a: Option<u64>,
}

impl Frozen {
    /// Whether it was asked for.
    pub(super) fn is_asked(self) -> bool {
        self.freeze_a.is_some()
    }

    /// What tells this from other training.
    pub(super) fn asked(self) -> String {
        self.freeze_a.map(|seed| format!(" A of seed {seed}")).unwrap_or_default()
    }

    /// The adapter with the drawn A and nothing for B, of the model in this file.
    pub(super) fn drawn(
        self,
        layout: &Arc<Layout>,
        file: &Path,
    ) -> Result<Option<Adapter>, Failure> {
        let Some(seed) = self.freeze_a else { return Ok(None) };
        let hash =
            hash_file(file).map_err(|error| format!("cannot read {}: {error}", file.display()))?;
        Ok(Some(Adapter::start_frozen(Arc::clone(layout), &hash, seed)))
    }

    /// Where training begins: at `adapter`, which with a frozen A must have the drawn one and may be of a smaller rank, or at the
    /// drawn A; `None`: where training begins by itself.
    pub(super) fn start(
        self,
        adapter: Option<Adapter>,
        layout: impl FnOnce() -> Result<Arc<Layout>, Failure>,
        file: &Path,
    ) -> Result<Option<Adapter>, Failure> {
        if !self.is_asked() {
            return Ok(adapter);
        }
        match (self.drawn(&layout()?, file)?, adapter) {
            (Some(drawn), Some(adapter)) => {
                let widened = adapter.widened(&drawn);
                Ok(Some(widened.map_err(|why| format!("--adapter with --freeze-a: {why}"))?))
            }
            (drawn, _) => Ok(drawn),
        }
    }
}
