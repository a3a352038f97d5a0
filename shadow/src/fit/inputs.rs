//! A model with an adapter that tells what goes into the adapter's sites.

use std::num::NonZeroUsize;

use shoal_runtime::adapter::Adapter;
use shoal_runtime::engine::{Engine, LoadOptions};
use shoal_runtime::graft::{SiteInput, with_grafted_site_inputs, with_site_inputs};
use shoal_runtime::onnx::Model;

use super::load::{baked, graft_as, write_factors};
use super::{FitError, prepare, profile_of};
use crate::batch::Batch;
use crate::measure::{Predictor, SessionPredictor};
use crate::package::Description;

/// A camera world model in a session, with what goes into the sites of its adapter.
pub struct SiteInputs {
    predictor: SessionPredictor,
    /// With the session's output of each.
    sites: Vec<(SiteInput, usize)>,
    next: Vec<f32>,
}

impl SiteInputs {
    /// Loads the model of a package with this adapter, for one clip at a time: baked in, or as inputs beside weights that cannot
    /// hold it.
    ///
    /// # Errors
    /// [`FitError`] but for those of grafting and training; [`FitError::SiteInputs`] names a site whose inputs cannot be had.
    pub fn load(
        model: &Model,
        package: &Description,
        engine: &dyn Engine,
        threads: NonZeroUsize,
        adapter: &Adapter,
    ) -> Result<Self, FitError> {
        let baked = baked(model, adapter)?;
        let folded = prepare(baked.as_ref().unwrap_or(model), 1)?;
        let with = if baked.is_some() {
            with_site_inputs(folded, adapter.layout())?
        } else {
            let grafted = graft_as(&folded, package, profile_of(engine), Some(adapter))?;
            with_grafted_site_inputs(&folded, grafted)?
        };
        let options = LoadOptions { threads, ..LoadOptions::default() };
        let mut session = engine.load(&with.folded.model, &options)?;
        if baked.is_none() {
            write_factors(&mut *session, adapter)?;
        }
        let port = |site: SiteInput| {
            let port = session.output_index(&site.output)?;
            Ok((site, port))
        };
        let sites = with.sites.into_iter().map(port).collect::<Result<Vec<_>, FitError>>()?;
        let predictor = SessionPredictor::new(session, package)?;
        let next = vec![0.0; predictor.form().shape.bytes()];
        Ok(SiteInputs { predictor, sites, next })
    }

    /// Shows the model the frames and motion of every sample of a batch. `each` is told every row that the A of a site
    /// multiplies, with the place of the site in the layout.
    ///
    /// # Errors
    /// [`FitError::Engine`].
    pub fn see(
        &mut self,
        batch: &Batch,
        mut each: impl FnMut(usize, &[f32]),
    ) -> Result<(), FitError> {
        let form = self.predictor.form();
        let (past, motions) = (form.frames_len(), form.motion.len());
        let clips = batch.frames().chunks_exact(past.max(1));
        for (index, frames) in clips.enumerate() {
            let motion = batch.motion().get(index * motions..(index + 1) * motions);
            self.predictor.predict(1, frames, motion.unwrap_or(&[]), &mut self.next)?;
            let session = self.predictor.session_mut();
            for (site, port) in &self.sites {
                site.rows(session.output_f32(*port)?, |row| each(site.site, row));
            }
        }
        Ok(())
    }
}
