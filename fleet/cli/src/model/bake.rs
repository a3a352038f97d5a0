use std::path::{Path, PathBuf};

use clap::Args;
use shoal_runtime::adapter::{Adapter, OnnxAdapter, PeftConfig};
use shoal_runtime::bake::{BakeError, HALF_MAX, HalfError, bake, bake_dequantised, half};
use shoal_runtime::compare::{HALF_TOLERANCE, beyond, compare_within, tolerance};
use shoal_runtime::graft::{GraftOptions, Grafted, Profile, graft, sites};
use shoal_runtime::onnx::{Element, Folded, Model};

use super::open::{Axes, result_path};
use crate::EngineArgs;
use crate::output::{Failure, Outcome};

/// Fold an adapter into a model: a plain ONNX of the same topology.
///
/// What it gives is compared with the model and the adapter beside it, on drawn inputs, before it is written.
///
/// Example: shoal model bake model.onnx model.adapter
#[derive(Args)]
pub(crate) struct Bake {
    /// The ONNX file
    model: PathBuf,
    /// A PEFT directory (adapter_config.json and adapter_model.safetensors), or an .onnx_adapter file
    adapter: PathBuf,
    /// Where the baked model goes; by default MODEL.baked.onnx here
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Write it without comparing: needs no engine
    #[arg(long)]
    no_compare: bool,
    /// Store quantised weights that change as floats, as is done by itself, and do not say so
    #[arg(long)]
    dequantize: bool,
    /// Refuse a model whose quantised weights would have to be stored as floats
    #[arg(long, conflicts_with = "dequantize")]
    no_dequantize: bool,
    /// Write it in float16, weights and arithmetic: a graph with the lengths of its axes, inputs and outputs float32. What sums
    /// or raises to a power stays float32; values beyond 65,504 are refused by the name of the tensor
    #[arg(long)]
    float16: bool,
    /// As --float16, inputs and outputs float16 as well
    #[arg(long, requires = "float16")]
    float16_edges: bool,
    /// Seed of the inputs that are compared
    #[arg(long, default_value_t = 0)]
    seed: u64,
    #[command(flatten)]
    axes: Axes,
    #[command(flatten)]
    engine: EngineArgs,
}

impl Bake {
    pub(crate) fn run(self) -> Outcome {
        let output = result_path(&self.model, self.output.as_deref(), ".baked.onnx")?;
        let (model, opened) = self.axes.open(&self.model)?;
        let (grafted, adapter) = grafted_as(&opened.folded, &self.adapter, None, Profile::Cpu)?;
        let baked = match self.dequantize {
            true => bake_dequantised(&model, &adapter),
            false => self.bake(&model, &adapter),
        };
        let baked = baked.map_err(|why| format!("{}: {why}", self.model.display()))?;
        let baked = match self.float16 {
            true => self.halved(&baked, &grafted, &adapter)?,
            false => {
                if !self.no_compare {
                    let folded = self.axes.fold(&baked)?.folded;
                    self.compare(tolerance(Element::F32), &folded, &grafted, &adapter)?;
                }
                baked
            }
        };
        baked.write(&output)?;
        println!("{}", output.display());
        Ok(())
    }

    /// Bakes, quantised weights into floats where that is not refused, and says so.
    fn bake(&self, model: &Model, adapter: &Adapter) -> Result<Model, BakeError> {
        match bake(model, adapter) {
            Err(BakeError::Quantised { weight, .. }) if !self.no_dequantize => {
                eprintln!(
                    "note: weight `{weight}` is quantised, and what was learnt would be rounded away in it: it is stored as floats, and so is \
                     every quantised weight that changes (--no-dequantize refuses that, --dequantize says that it is known)"
                );
                bake_dequantised(model, adapter)
            }
            baked => baked,
        }
    }

    /// The baked model in float16, compared with float32 at its edges.
    fn halved(
        &self,
        baked: &Model,
        grafted: &Grafted,
        adapter: &Adapter,
    ) -> Result<Model, Failure> {
        let named = |why: HalfError| format!("{}: {why}", self.model.display());
        let folded = self.axes.fold(baked)?.folded;
        let made = half(&folded, false).map_err(named)?;
        if !self.no_compare {
            let (engine, how) = (self.engine.open()?, (self.seed, self.engine.threads()));
            let found = beyond(HALF_MAX, &folded, &made.computed, &*engine, how)?;
            if let Some((tensor, value)) = found {
                return Err(named(HalfError::Range { tensor, value }).into());
            }
            self.compare(HALF_TOLERANCE, &made.folded, grafted, adapter)?;
        }
        Ok(match self.float16_edges {
            true => half(&folded, true).map_err(named)?.folded.model,
            false => made.folded.model,
        })
    }

    fn compare(
        &self,
        least: f64,
        folded: &Folded,
        grafted: &Grafted,
        adapter: &Adapter,
    ) -> Outcome {
        let (engine, how) = (self.engine.open()?, (self.seed, self.engine.threads()));
        let found = compare_within(least, folded, (grafted, adapter), &*engine, how)?;
        println!(
            "greatest difference of {} values to the model with the adapter beside it: {:.1e} of `{}` (up to {:.1e} is \
             rounding)",
            found.values, found.difference, found.output, found.tolerance
        );
        if !found.agrees() {
            return Err(format!(
                "{}: baked, `{}` differs by {:.1e}: nothing was written",
                self.model.display(),
                found.output,
                found.difference
            )
            .into());
        }
        Ok(())
    }
}

/// Reads an adapter for a model, a PEFT directory or an `.onnx_adapter` file; sites, ranks and alpha are what it says.
///
/// # Errors
/// When it does not fit the model.
pub(crate) fn read_adapter(model: &Model, path: &Path) -> Result<Adapter, Failure> {
    let folded = Axes::default().fold(model)?.folded;
    Ok(grafted_as(&folded, path, None, Profile::Cpu)?.1)
}

/// A folded model grafted as an adapter says, and that adapter. `alpha` is for a file that says none.
pub(super) fn grafted_as(
    folded: &Folded,
    path: &Path,
    alpha: Option<f32>,
    profile: Profile,
) -> Result<(Grafted, Adapter), Failure> {
    let sites = sites(folded);
    if OnnxAdapter::is_called_so(path) {
        let file = OnnxAdapter::read(path)?;
        let names: Vec<String> = sites.into_iter().map(|site| site.name).collect();
        let options = GraftOptions { profile, ..file.graft_options(&names, alpha)? };
        let grafted = graft(folded, &options)?;
        let adapter = file.adapter(grafted.layout.clone())?;
        return Ok((grafted, adapter));
    }
    if alpha.is_some() {
        return Err("--alpha is for an .onnx_adapter file: a PEFT directory says its own".into());
    }
    let config = PeftConfig::read(path)?;
    let options = GraftOptions { profile, ..config.graft_options(&sites) };
    let grafted = graft(folded, &options)?;
    let adapter = Adapter::read_peft(path, grafted.layout.clone())?;
    Ok((grafted, adapter))
}
