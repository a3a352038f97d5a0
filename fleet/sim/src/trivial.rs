//! Clients without a model: what they are called, and what is maximised.

use std::collections::BTreeMap;

use sha2::{Digest, Sha256};
use shoal_wire::v1::UtilityDocument;

use crate::config::{SimConfig, TrivialConfig};
use crate::record::RoadKind;
use crate::utility::{self, UtilityError};

/// Clients that do next to nothing.
#[derive(Debug)]
pub struct Clients {
    /// What they do.
    pub does: TrivialConfig,
    /// What their optima are drawn from.
    pub seed: u64,
    /// Names of what stands for the roads of those that are looked at.
    pub names: Vec<String>,
    /// What is maximised; the packs are names.
    pub utility: UtilityDocument,
}

impl Clients {
    /// The clients of a simulation whose clients are trivial.
    ///
    /// # Errors
    /// [`UtilityError`].
    pub fn open(config: &SimConfig) -> Result<Self, UtilityError> {
        let packs = config.utility.iter().map(|term| Sha256::digest(&term.name).into());
        let packs: Vec<[u8; 32]> = packs.collect();
        Ok(Clients {
            does: config.trivial.unwrap_or_default(),
            seed: config.seed,
            names: (0..config.looked_at()).map(|vehicle| format!("vehicle/{vehicle}")).collect(),
            utility: utility::document(&config.utility, &packs)?,
        })
    }

    /// Whose is what is looked at.
    #[must_use]
    pub fn kinds(&self) -> BTreeMap<String, RoadKind> {
        self.names.iter().cloned().zip((0..).map(RoadKind::Driven)).collect()
    }

    /// The name of what stands for a vehicle's road, if it is looked at.
    #[must_use]
    pub fn name_of(&self, vehicle: u32) -> Option<&str> {
        self.names.get(vehicle as usize).map(String::as_str)
    }
}
