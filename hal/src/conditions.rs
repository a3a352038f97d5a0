//! Whether the vehicle may tune, measure or open a window: what the policy is decided from.

/// What a vehicle reaches of the outside world.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Network {
    /// Nothing.
    None,
    /// A link that is paid by the byte.
    Metered,
    /// A link that is free to use.
    Unmetered,
}

/// The state of a vehicle that policies look at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Conditions {
    /// Standing, secured, nobody driving.
    pub parked: bool,
    /// Supplied from outside (a charger), not from the battery.
    pub external_power: bool,
    /// State of charge of the battery, percent, `0..=100`.
    pub battery_soc_percent: u8,
    /// Temperature of the computer, °C.
    pub temperature_c: i16,
    /// What it reaches.
    pub network: Network,
}

/// The source of [`Conditions`]. It reads; there is no way to act through it.
pub trait Vehicle {
    /// Why the conditions could not be read.
    type Error;

    /// The conditions at this moment.
    ///
    /// # Errors
    /// What could not be read; the caller must then act as if nothing were allowed.
    fn conditions(&mut self) -> Result<Conditions, Self::Error>;
}
