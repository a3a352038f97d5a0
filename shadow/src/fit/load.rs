//! A package's model in a session that predicts: alone, with an adapter, or with several at once.

use std::num::NonZeroUsize;

use shoal_runtime::adapter::{Adapter, Site};
use shoal_runtime::bake::{BakeError, bake};
use shoal_runtime::engine::{Engine, LoadOptions, Session};
use shoal_runtime::graft::{self, GraftError, Profile};
use shoal_runtime::many::{ManyFactors, many_adapters};
use shoal_runtime::onnx::{Folded, Model};

use super::{FitError, graft_options, graft_package, prepare, profile_of};
use crate::measure::SessionPredictor;
use crate::measure::policy::PolicyPredictor;
use crate::measure::tokens::TokenPredictor;
use crate::package::Description;

/// Loads the model of a package, with an adapter if there is one, for batches of `batch` clips: baked in, or as inputs beside
/// weights that cannot hold it.
///
/// # Errors
/// [`FitError`] but for those of training; [`FitError::OtherLayout`] if an adapter beside the weights is of another model.
pub fn load_predictor(
    model: &Model,
    package: &Description,
    engine: &dyn Engine,
    threads: NonZeroUsize,
    adapter: Option<&Adapter>,
    batch: usize,
) -> Result<SessionPredictor, FitError> {
    let session = load_adapted(model, package, engine, threads, adapter, batch)?;
    Ok(SessionPredictor::new(session, package)?)
}

/// Loads the model of a package with several adapters of one layout, which predict together, for batches of `batch` clips.
///
/// # Errors
/// [`FitError`] but for those of training.
/// # Panics
/// If there is no adapter.
pub fn load_predictor_of_many(
    model: &Model,
    package: &Description,
    engine: &dyn Engine,
    threads: NonZeroUsize,
    adapters: &[&Adapter],
    batch: usize,
) -> Result<SessionPredictor, FitError> {
    let (session, count) = load_many(model, package, engine, threads, adapters, batch)?;
    Ok(SessionPredictor::of_many(session, package, count)?)
}

/// As [`load_predictor`], of a policy, one moment at a time.
///
/// # Errors
/// As for [`load_predictor`].
pub fn load_policy(
    model: &Model,
    package: &Description,
    engine: &dyn Engine,
    threads: NonZeroUsize,
    adapter: Option<&Adapter>,
) -> Result<PolicyPredictor, FitError> {
    let session = load_adapted(model, package, engine, threads, adapter, 1)?;
    Ok(PolicyPredictor::new(session, package)?)
}

/// As [`load_predictor_of_many`], of a policy, one moment at a time.
///
/// # Errors
/// As for [`load_predictor_of_many`].
/// # Panics
/// If there is no adapter.
pub fn load_policy_of_many(
    model: &Model,
    package: &Description,
    engine: &dyn Engine,
    threads: NonZeroUsize,
    adapters: &[&Adapter],
) -> Result<PolicyPredictor, FitError> {
    let (session, count) = load_many(model, package, engine, threads, adapters, 1)?;
    Ok(PolicyPredictor::of_many(session, package, count)?)
}

/// As [`load_predictor`], of a token model, for batches of `batch` rows.
///
/// # Errors
/// As for [`load_predictor`].
pub fn load_token_predictor(
    model: &Model,
    package: &Description,
    engine: &dyn Engine,
    threads: NonZeroUsize,
    adapter: Option<&Adapter>,
    batch: usize,
) -> Result<TokenPredictor, FitError> {
    let session = load_adapted(model, package, engine, threads, adapter, batch)?;
    Ok(TokenPredictor::new(session, package)?)
}

/// Loads a token model whose adapter is an input: [`TokenPredictor::write_adapter`] changes it.
///
/// # Errors
/// As for [`graft_package`], and those of engines.
pub fn load_grafted_token_predictor(
    model: &Model,
    package: &Description,
    engine: &dyn Engine,
    threads: NonZeroUsize,
    batch: usize,
) -> Result<TokenPredictor, FitError> {
    let grafted = graft_package(model, package, batch, profile_of(engine))?;
    let options = LoadOptions { threads, ..LoadOptions::default() };
    Ok(TokenPredictor::new(engine.load(&grafted.folded.model, &options)?, package)?)
}

/// The model with an adapter: baked in, which is the quickest to run; as inputs where its weights cannot hold it, and where an
/// engine is built of the graph for minutes, so that all adapters share it.
fn load_adapted(
    model: &Model,
    package: &Description,
    engine: &dyn Engine,
    threads: NonZeroUsize,
    adapter: Option<&Adapter>,
    batch: usize,
) -> Result<Box<dyn Session>, FitError> {
    let options = LoadOptions { threads, ..LoadOptions::default() };
    let profile = profile_of(engine);
    let is_built = profile == Profile::TensorRt;
    let baked = adapter.filter(|_| !is_built).map(|adapter| baked(model, adapter));
    let baked = baked.transpose()?.flatten();
    let folded = prepare(baked.as_ref().unwrap_or(model), batch)?;
    if !is_built && (baked.is_some() || adapter.is_none()) {
        return Ok(engine.load(&folded.model, &options)?);
    }
    let grafted = match (graft_as(&folded, package, profile, adapter), adapter) {
        // What has no sites has no adapters to share an engine.
        (Err(FitError::Graft(GraftError::NoSites)), None) => {
            return Ok(engine.load(&folded.model, &options)?);
        }
        (grafted, _) => grafted?,
    };
    let mut session = engine.load(&grafted.folded.model, &options)?;
    if let Some(adapter) = adapter {
        write_factors(&mut *session, adapter)?;
    }
    Ok(session)
}

/// The model with several adapters as inputs, of which there are so many.
fn load_many(
    model: &Model,
    package: &Description,
    engine: &dyn Engine,
    threads: NonZeroUsize,
    adapters: &[&Adapter],
    batch: usize,
) -> Result<(Box<dyn Session>, NonZeroUsize), FitError> {
    let count = NonZeroUsize::new(adapters.len()).expect("there are adapters to run with");
    let folded = prepare(model, batch)?;
    let grafted = graft_as(&folded, package, profile_of(engine), adapters.first().copied())?;
    let many = many_adapters(&grafted, count)?;
    let options = LoadOptions { threads, ..LoadOptions::default() };
    let mut session = engine.load(&many.folded.model, &options)?;
    let values: Vec<&[f32]> = adapters.iter().map(|adapter| adapter.values()).collect();
    ManyFactors::new(&*session, &grafted.layout, count)?.write(&mut *session, &values)?;
    Ok((session, count))
}

/// The model with an adapter in its weights; `None` if they cannot hold it, being integers, computed, or read in a way that has no
/// place for it: what was trained beside them is run beside them. A copy of integers in floats would take four times the bytes, and
/// its product need not be that of the model alone.
pub(super) fn baked(model: &Model, adapter: &Adapter) -> Result<Option<Model>, FitError> {
    match bake(model, adapter) {
        Ok(baked) => Ok(Some(baked)),
        Err(
            BakeError::Quantised { .. }
            | BakeError::Row { .. }
            | BakeError::Computed { .. }
            | BakeError::Opset { .. },
        ) => Ok(None),
        Err(why) => Err(why.into()),
    }
}

/// The graph with factors as inputs: at the sites, and of the ranks and α, that an adapter says; without one, those that the
/// package names.
pub(super) fn graft_as(
    folded: &Folded,
    package: &Description,
    profile: Profile,
    adapter: Option<&Adapter>,
) -> Result<graft::Grafted, FitError> {
    let mut options = graft_options(package, profile);
    let Some(layout) = adapter.map(Adapter::layout) else {
        return Ok(graft::graft_to_run(folded, &options)?);
    };
    let of_site = |site: &Site| {
        let rank = site.a.dims.first().copied().unwrap_or(layout.rank);
        format!("{}={rank}:{}", site.name, site.alpha)
    };
    options.targets = layout.sites.iter().map(of_site).collect();
    let grafted = graft::graft_to_run(folded, &options)?;
    match grafted.layout.difference(layout) {
        Some(how) => Err(FitError::OtherLayout { how }),
        None => Ok(grafted),
    }
}

/// Writes an adapter into a session that has its factors as inputs.
pub(super) fn write_factors(session: &mut dyn Session, adapter: &Adapter) -> Result<(), FitError> {
    let mut factors = ManyFactors::new(session, adapter.layout(), NonZeroUsize::MIN)?;
    Ok(factors.write(session, &[adapter.values()])?)
}
