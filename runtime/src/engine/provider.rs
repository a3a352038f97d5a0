//! What runs the nodes of a graph, in the order that was asked for.

use std::fmt;
use std::path::PathBuf;

/// One provider of ONNX Runtime.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Provider {
    /// TensorRT: builds an engine of what it takes of a graph, which lasts minutes.
    TensorRt,
    /// CUDA.
    Cuda,
    /// The processor.
    Cpu,
}

impl Provider {
    /// Providers by name.
    pub const ALL: [(&str, Self); 3] =
        [("tensorrt", Self::TensorRt), ("cuda", Self::Cuda), ("cpu", Self::Cpu)];

    /// As it is asked for.
    pub fn name(self) -> &'static str {
        match self {
            Self::TensorRt => "tensorrt",
            Self::Cuda => "cuda",
            Self::Cpu => "cpu",
        }
    }

    /// In ONNX Runtime's words.
    pub fn in_words(self) -> &'static str {
        match self {
            Self::TensorRt => "TensorrtExecutionProvider",
            Self::Cuda => "CUDAExecutionProvider",
            Self::Cpu => "CPUExecutionProvider",
        }
    }
}

/// Providers in the order asked for: each takes what it can of what those before it left. The default is the processor alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Providers {
    pub(super) order: Vec<Provider>,
    /// Number of the accelerator, from 0.
    pub device: u32,
    /// TensorRT may compute in half precision.
    pub fp16: bool,
    /// CUDA replays its first run of a graph as one CUDA graph, where it got every node of it.
    pub cuda_graphs: bool,
    /// Folder that keeps the engines that TensorRT builds.
    pub cache: Option<PathBuf>,
}

impl Default for Providers {
    fn default() -> Self {
        Self { order: vec![Provider::Cpu], device: 0, fp16: false, cuda_graphs: false, cache: None }
    }
}

/// Why providers cannot be asked for in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OrderError {
    /// None.
    #[error("no provider is named: cpu at least")]
    Empty,
    /// One twice.
    #[error("{} is named twice", .0.name())]
    Twice(Provider),
    /// One that never gets a node.
    #[error("cpu takes every node, so {} behind it runs none: name cpu last", .0.name())]
    BehindCpu(Provider),
}

impl Providers {
    /// These providers, on the first accelerator.
    ///
    /// # Errors
    /// [`OrderError`].
    pub fn in_order(order: Vec<Provider>) -> Result<Self, OrderError> {
        if order.is_empty() {
            return Err(OrderError::Empty);
        }
        for (index, provider) in order.iter().enumerate() {
            let before = order.get(..index).unwrap_or_default();
            if before.contains(provider) {
                return Err(OrderError::Twice(*provider));
            }
            if before.contains(&Provider::Cpu) {
                return Err(OrderError::BehindCpu(*provider));
            }
        }
        Ok(Self { order, ..Self::default() })
    }

    /// The order.
    pub fn order(&self) -> &[Provider] {
        &self.order
    }

    /// Whether this one was asked for.
    pub fn has(&self, provider: Provider) -> bool {
        self.order.contains(&provider)
    }

    /// Whether any but the processor was asked for.
    pub fn accelerated(&self) -> bool {
        self.order.iter().any(|provider| *provider != Provider::Cpu)
    }

    /// Whether the first that gets nodes is CUDA.
    pub fn begins_with_cuda(&self) -> bool {
        self.order.first() == Some(&Provider::Cuda)
    }

    /// The command line that asks for the same.
    pub fn arguments(&self) -> String {
        let names: Vec<&str> = self.order.iter().map(|provider| provider.name()).collect();
        let mut line = format!("--providers {}", names.join(","));
        if self.device != 0 {
            line += &format!(" --device {}", self.device);
        }
        if self.fp16 {
            line += " --fp16";
        }
        if self.cuda_graphs {
            line += " --cuda-graphs";
        }
        if let Some(cache) = &self.cache {
            line += &format!(" --cache {}", cache.display());
        }
        line
    }
}

/// As it stands in [`super::Engine::describe`]: `cpu`, `cuda:0+cpu`, `tensorrt:0/fp16+cuda:0+cpu`.
impl fmt::Display for Providers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, provider) in self.order.iter().enumerate() {
            f.write_str(if index == 0 { "" } else { "+" })?;
            f.write_str(provider.name())?;
            if *provider != Provider::Cpu {
                write!(f, ":{}", self.device)?;
            }
            if *provider == Provider::TensorRt && self.fp16 {
                f.write_str("/fp16")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_order_that_leaves_a_provider_without_nodes_is_refused() {
        use Provider::{Cpu, Cuda, TensorRt};
        assert_eq!(Providers::in_order(vec![]), Err(OrderError::Empty));
        assert_eq!(Providers::in_order(vec![Cuda, Cuda]), Err(OrderError::Twice(Cuda)));
        assert_eq!(Providers::in_order(vec![Cpu, Cuda]), Err(OrderError::BehindCpu(Cuda)));
        assert_eq!(Providers::in_order(vec![Cpu]), Ok(Providers::default()));
        assert!(Providers::in_order(vec![TensorRt, Cuda, Cpu]).unwrap().accelerated());
    }

    #[test]
    fn what_was_asked_for_is_said_in_its_order() {
        let order = Provider::ALL.map(|(_name, provider)| provider).to_vec();
        let asked = Providers { device: 1, fp16: true, ..Providers::in_order(order).unwrap() };
        assert_eq!(asked.to_string(), "tensorrt:1/fp16+cuda:1+cpu");
        let with = Providers { cache: Some("kept".into()), ..asked };
        assert_eq!(
            with.arguments(),
            "--providers tensorrt,cuda,cpu --device 1 --fp16 --cache kept"
        );
        assert_eq!(Providers::default().to_string(), "cpu");
    }
}
