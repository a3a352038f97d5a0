use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;
use shoal_runtime::graft::{GraftOptions, Grafted, Profile, graft};
use shoal_runtime::onnx::{Folded, Model, Opened};

use super::frozen::Frozen;
use super::open::{Axes, result_path};
use crate::output::{Failure, Outcome};

/// Which sites carry factors, and of what rank.
#[derive(Args, Clone)]
pub(crate) struct Sites {
    /// Glob on site names, again for more; a leading ! takes sites out, =RANK, =RANK:ALPHA or =:ALPHA behind it gives them
    /// another rank and α
    #[arg(long = "targets", value_name = "GLOB[=RANK[:ALPHA]]")]
    pub(crate) targets: Vec<String>,
    /// Rank of the factors; 8 where nothing is said
    #[arg(long)]
    rank: Option<usize>,
    /// α of ΔW = (α/rank)·B·A; 16 where nothing is said
    #[arg(long)]
    alpha: Option<f32>,
    #[command(flatten)]
    pub(crate) axes: Axes,
}

impl Sites {
    /// Reads and folds a model.
    pub(crate) fn open(&self, path: &Path) -> Result<(Model, Opened), Failure> {
        self.axes.open(path)
    }

    /// Grafts a folded model.
    ///
    /// # Errors
    /// Naming the file, if there is nothing to graft.
    pub(crate) fn graft(&self, folded: &Folded, profile: Profile) -> Result<Grafted, Failure> {
        let default = GraftOptions::default();
        let options = GraftOptions {
            targets: self.targets.clone(),
            rank: self.rank.unwrap_or(default.rank),
            alpha: self.alpha.unwrap_or(default.alpha),
            profile,
        };
        let file = folded.model.origin().map(|file| format!("{}: ", file.display()));
        let named = |why| format!("{}{why}", file.unwrap_or_default());
        Ok(graft(folded, &options).map_err(named)?)
    }

    /// Whether anything was asked for.
    pub(crate) fn is_given(&self) -> bool {
        self.axes.is_given() || self.choose()
    }

    /// Whether sites, ranks or α were asked for.
    pub(super) fn choose(&self) -> bool {
        !self.targets.is_empty() || self.has_factors()
    }

    /// Whether ranks or α were asked for.
    pub(super) fn has_factors(&self) -> bool {
        self.rank.is_some() || self.alpha.is_some()
    }

    /// What tells this from other training.
    pub(super) fn asked(&self) -> String {
        let Sites { targets, rank, alpha, axes } = self;
        format!("{targets:?} {rank:?} {alpha:?} {}", axes.asked())
    }
}

/// Make LoRA factors inputs of a model; with --freeze-a B alone, A being stored in it.
///
/// Example: shoal model graft model.onnx --targets 'decoder.*' --targets 'head.*=32'
#[derive(Args)]
pub(crate) struct Graft {
    /// The ONNX file
    model: PathBuf,
    /// Where the grafted model goes; by default MODEL.grafted.onnx here
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Factors may be left out of a run and are zero then, as ONNX Runtime asks of models for .onnx_adapter files
    #[arg(long)]
    optional: bool,
    #[command(flatten)]
    sites: Sites,
    #[command(flatten)]
    frozen: Frozen,
}

impl Graft {
    pub(crate) fn run(self) -> Outcome {
        let output = result_path(&self.model, self.output.as_deref(), ".grafted.onnx")?;
        let (_, opened) = self.sites.open(&self.model)?;
        let grafted = self.sites.graft(&opened.folded, Profile::Cpu)?;
        let layout = Arc::new(grafted.layout.clone());
        let drawn = self.frozen.drawn(&layout, &self.model)?;
        match (self.optional, &drawn) {
            (true, drawn) => grafted.with_optional_factors(drawn.as_ref()).write(&output)?,
            (false, Some(drawn)) => grafted.with_stored_a(drawn).model.write(&output)?,
            (false, None) => grafted.folded.model.write(&output)?,
        }
        let values: usize = layout.trained(drawn.is_some()).map(|f| f.range.len()).sum();
        let of = if drawn.is_some() { " of B" } else { "" };
        println!("{}: {} sites, {values} values{of}", output.display(), layout.sites.len());
        Ok(())
    }
}
