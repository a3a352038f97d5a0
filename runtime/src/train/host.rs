//! The optimiser on the host: gradients are read, parameters written.

use std::num::NonZeroU64;

use super::adamw::StepFactors;
use super::gather::Gathered;
use super::{GRADIENT, Gave, Parameter, State, Stride, TrainError, TrainOptions, loss_is_bad};
use crate::engine::{EngineError, Session};
use crate::onnx::Element;

/// Where a parameter is in a session.
#[derive(Clone, Copy, Debug)]
pub(super) struct Port {
    pub(super) input: usize,
    pub(super) gradient: usize,
}

/// What a trainer on the host has beside its state.
#[derive(Debug)]
pub(super) struct Host {
    /// One of each parameter.
    ports: Vec<Port>,
    gathered: Gathered,
}

impl Host {
    /// Pairs every output `grad.p` with the input `p`.
    pub(super) fn of(session: &dyn Session) -> Result<(Vec<Parameter>, Self), TrainError> {
        let (mut parameters, mut ports) = (Vec::<Parameter>::new(), Vec::new());
        for (gradient, port) in session.outputs().iter().enumerate() {
            let Some(name) = port.name.strip_prefix(GRADIENT) else { continue };
            let unpaired = |why: String| TrainError::Unpaired { output: port.name.clone(), why };
            let input = session
                .input_index(name)
                .map_err(|_| unpaired(format!("there is no input `{name}`")))?;
            let ty = &session.inputs()[input].ty;
            if *ty != port.ty || ty.element != Element::F32 {
                return Err(unpaired(format!(
                    "it is {}, the input {ty}; both must be float32",
                    port.ty
                )));
            }
            let start = parameters.last().map_or(0, |last| last.end);
            let (name, dims, end) = (name.to_owned(), ty.dims.clone(), start + ty.values());
            parameters.push(Parameter { name, dims, start, end });
            ports.push(Port { input, gradient });
        }
        if parameters.is_empty() {
            return Err(TrainError::NoGradients);
        }
        Ok((parameters, Self { ports, gathered: Gathered::default() }))
    }

    pub(super) fn step(
        &mut self,
        session: &mut dyn Session,
        loss: usize,
        parameters: &[Parameter],
        (options, stride): (&TrainOptions, Stride),
        state: &mut State,
    ) -> Result<Gave, TrainError> {
        let gave = self.run(session, loss, parameters, stride.step)?;
        let clip = match options.gradient_norm_max {
            // As `torch.nn.utils.clip_grad_norm_` has it.
            Some(max) => (max / (gave.norm + 1e-6)).min(1.0),
            None => 1.0,
        };
        let step = stride.step.get();
        let factors = StepFactors::new(options.optimiser, step, stride.rate, clip);
        for (parameter, port) in parameters.iter().zip(&self.ports) {
            let place = parameter.start..parameter.end;
            let gradient = self.gathered.gradient(session, parameter, *port)?;
            factors.step(
                &mut state.values[place.clone()],
                &mut state.means[place.clone()],
                &mut state.squares[place],
                gradient,
                parameter.dims.len() > 1,
            );
        }
        self.gathered.clear();
        if let Some(fade) = options.fade(step) {
            for (average, value) in state.average.iter_mut().zip(&state.values) {
                *average = fade * *average + (1.0 - fade) * value;
            }
        }
        self.write(session, parameters, state)?;
        Ok(gave)
    }

    pub(super) fn gather(
        &mut self,
        session: &mut dyn Session,
        loss: usize,
        parameters: &[Parameter],
        step: NonZeroU64,
    ) -> Result<(), TrainError> {
        session.run()?;
        let loss = session.output_f32(loss)?[0];
        let checked = check(session, parameters, (step, loss), |_parameter, at| {
            session.output_f32(self.ports[at].gradient)
        });
        if let Err(error) = checked {
            self.gathered.clear();
            return Err(error);
        }
        self.gathered.add(session, parameters, &self.ports, loss)?;
        Ok(())
    }

    pub(super) fn gradient(
        &mut self,
        session: &mut dyn Session,
        loss: usize,
        parameters: &[Parameter],
        step: NonZeroU64,
        into: &mut Vec<f32>,
    ) -> Result<f32, TrainError> {
        let gave = self.run(session, loss, parameters, step)?;
        into.clear();
        for (parameter, port) in parameters.iter().zip(&self.ports) {
            into.extend_from_slice(self.gathered.gradient(session, parameter, *port)?);
        }
        self.gathered.clear();
        Ok(gave.loss)
    }

    /// Forgets the parts of a batch.
    pub(super) fn clear(&mut self) {
        self.gathered.clear();
    }

    pub(super) fn write(
        &mut self,
        session: &mut dyn Session,
        parameters: &[Parameter],
        state: &State,
    ) -> Result<(), EngineError> {
        for (parameter, port) in parameters.iter().zip(&self.ports) {
            session.write_f32(port.input, &state.values[parameter.start..parameter.end])?;
        }
        Ok(())
    }

    /// Runs the graph and takes the mean with the parts gathered before.
    fn run(
        &mut self,
        session: &mut dyn Session,
        loss: usize,
        parameters: &[Parameter],
        step: NonZeroU64,
    ) -> Result<Gave, TrainError> {
        session.run()?;
        let mut loss = session.output_f32(loss)?[0];
        if self.gathered.any() {
            self.gathered.add(session, parameters, &self.ports, loss)?;
            loss = self.gathered.finish();
        }
        let checked = check(session, parameters, (step, loss), |parameter, at| {
            self.gathered.gradient(session, parameter, self.ports[at])
        });
        match checked {
            Ok(norm) => Ok(Gave { loss, norm }),
            Err(error) => {
                self.gathered.clear();
                Err(error)
            }
        }
    }
}

/// The norm of all gradients, or the first output that is not finite.
fn check<'a>(
    session: &dyn Session,
    parameters: &[Parameter],
    (step, loss): (NonZeroU64, f32),
    of: impl Fn(&Parameter, usize) -> Result<&'a [f32], EngineError>,
) -> Result<f32, TrainError> {
    if !loss.is_finite() {
        return Err(loss_is_bad(session, step, loss)?);
    }
    let mut total = 0.0_f64;
    for (at, parameter) in parameters.iter().enumerate() {
        let gradient = of(parameter, at)?;
        let sum: f64 = gradient.iter().map(|&g| f64::from(g) * f64::from(g)).sum();
        if !sum.is_finite() {
            let value = gradient.iter().copied().find(|g| !g.is_finite()).unwrap_or(f32::NAN);
            let output = format!("{GRADIENT}{}", parameter.name);
            return Err(TrainError::NotFinite { step, output, value });
        }
        total += sum;
    }
    Ok(total.sqrt() as f32)
}
