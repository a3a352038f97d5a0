//! Loss and gradients of a batch that goes through the graph in parts.

use super::Parameter;
use super::host::Port;
use crate::engine::{EngineError, Session};

/// The sums of the parts so far, and their means once the last one is there.
#[derive(Clone, Debug, Default)]
pub(super) struct Gathered {
    parts: u32,
    loss: f64,
    /// In float64, so that the number of parts does not show; `[values]`, empty until a first part is added.
    sums: Vec<f64>,
    means: Vec<f32>,
    finished: bool,
}

impl Gathered {
    /// Whether a part was added since [`Gathered::clear`].
    pub(super) fn any(&self) -> bool {
        self.parts > 0
    }

    /// Forgets the parts.
    pub(super) fn clear(&mut self) {
        self.parts = 0;
        self.loss = 0.0;
        self.finished = false;
        self.sums.fill(0.0);
    }

    /// Adds what the graph gave for one part.
    pub(super) fn add(
        &mut self,
        session: &dyn Session,
        parameters: &[Parameter],
        ports: &[Port],
        loss: f32,
    ) -> Result<(), EngineError> {
        self.sums.resize(parameters.last().map_or(0, |last| last.end), 0.0);
        for (parameter, port) in parameters.iter().zip(ports) {
            let sums = self.sums[parameter.start..parameter.end].iter_mut();
            let gradient = session.output_f32(port.gradient)?;
            sums.zip(gradient).for_each(|(sum, value)| *sum += f64::from(*value));
        }
        self.loss += f64::from(loss);
        self.parts += 1;
        Ok(())
    }

    /// Takes the means of the parts; returns that of the losses.
    pub(super) fn finish(&mut self) -> f32 {
        let count = f64::from(self.parts.max(1));
        self.means.clear();
        self.means.extend(self.sums.iter().map(|sum| (sum / count) as f32));
        self.finished = true;
        (self.loss / count) as f32
    }

    /// The gradient of one parameter: the mean of the parts, or what the graph gave where there are none.
    pub(super) fn gradient<'a>(
        &'a self,
        session: &'a dyn Session,
        parameter: &Parameter,
        port: Port,
    ) -> Result<&'a [f32], EngineError> {
        if self.finished {
            return Ok(&self.means[parameter.start..parameter.end]);
        }
        session.output_f32(port.gradient)
    }
}
