//! Servers, pairs, seeds and coefficients: `kind = "average"`, `"cocktail"`, `"gossip"`, `"es"` and `"coefficients"`.

use shoal_shadow::document::{DocumentError, Table};
use shoal_soup::server::{CocktailSettings, NoLoCoSettings};
use shoal_swarm::privacy::Privacy;

use super::{bits, of_another, privacy};

/// A server and what goes to it and back.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Average {
    /// How it combines displacements.
    pub server: Server,
    /// Bits a value of what a vehicle sends; 32: as they are.
    pub up_bits: u8,
    /// Bits a value of what it receives.
    pub down_bits: u8,
    /// Whether what coding lost is added to what is coded next.
    pub feedback: bool,
    /// The fleet is given the mean of so many last adapters: 1 to 8.
    pub mean_last: u8,
    /// Whether the mean of those that have a row stands for the row of a vehicle whose rank has none.
    pub by_rank: bool,
    /// How what vehicles send is made private; `None`: it is not.
    pub privacy: Option<Privacy>,
}

/// How displacements become a step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Server {
    /// Their mean, times `rate` (FedAvg: 1).
    Mean {
        /// Step size.
        rate: f64,
    },
    /// DiLoCo: Nesterov's momentum on their mean.
    Momentum {
        /// Outer step size.
        rate: f64,
        /// Outer momentum.
        momentum: f64,
    },
    /// FedAdam.
    Adam {
        /// Step size.
        rate: f64,
        /// Decay of the mean.
        beta1: f64,
        /// Decay of the squares.
        beta2: f64,
        /// Added to the root.
        epsilon: f64,
    },
    /// The median of each coordinate.
    Median,
    /// The mean of each coordinate without this share at both ends.
    Trimmed {
        /// Share left out at each end, below ½.
        trim: f64,
    },
    /// The displacement whose neighbours are nearest.
    Krum {
        /// How many may lie.
        liars: u32,
    },
    /// The mean of those whose neighbours are nearest.
    MultiKrum {
        /// How many may lie.
        liars: u32,
        /// How many are kept, at most.
        keep: u32,
    },
    /// The mean of displacements none of which is longer than the median length.
    Clipped {
        /// Step size.
        rate: f64,
    },
    /// FedProx: the mean, of nights that are pulled to where the window began.
    Proximal {
        /// Step size.
        rate: f64,
        /// μ of the pull.
        mu: f64,
    },
    /// FlexLoRA: the mean of the products B·A, cut back to the rank.
    FlexLora,
}

/// CocktailSGD's compression, both ways.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Cocktail {
    /// What is sent of an update.
    pub settings: CocktailSettings,
    /// Step size of the mean.
    pub rate: f64,
    /// The fleet is given the mean of so many last adapters: 1 to 8.
    pub mean_last: u8,
}

/// Pairs without a server.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Gossip {
    /// How a pair moves.
    pub settings: NoLoCoSettings,
    /// Bits a value of what a pair exchanges; 32: as they are.
    pub bits: u8,
}

/// Seeds and utilities.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Evolution {
    /// Pairs of mirrored perturbations that a vehicle measures in a window.
    pub pairs: u32,
    /// σ of a perturbation, in units of the values.
    pub deviation: f64,
    /// α of a step, in units of the values.
    pub rate: f64,
    /// What a vehicle measures on.
    pub on: MeasuredOn,
}

/// What perturbations are measured on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MeasuredOn {
    /// A part of the pack, the same for all in a window, the next one in the next.
    Pack,
    /// The pack's frames of the vehicle's own roads.
    Own,
}

/// A dictionary of experts, and coefficients of it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Coefficients {
    /// Windows between two publications of experts: 1 in each.
    pub every: u32,
    /// How many vehicles publish one, at most.
    pub asked: u16,
    /// Groups of neighbouring layers with coefficients of their own.
    pub groups: u8,
    /// Evaluations of a vehicle's search, on a part of the pack; at least a generation is made.
    pub budget: u16,
    /// Coefficient of the last step where the search begins.
    pub inertia: f64,
    /// Bits a value of an expert.
    pub bits: u8,
    /// The fleet is given the mean of so many last places: 1 to 8.
    pub mean_last: u8,
}

/// Keys of a server.
pub(super) const AVERAGE_KEYS: &[&str] = &[
    "server",
    "rate",
    "momentum",
    "beta1",
    "beta2",
    "epsilon",
    "trim",
    "liars",
    "up_bits",
    "down_bits",
    "feedback",
    "mean_last",
    "mu",
    "keep",
    "by_rank",
    "privacy",
];
/// Keys of CocktailSGD's compression.
pub(super) const COCKTAIL_KEYS: &[&str] = &["drawn", "sent", "bits", "rate", "mean_last"];
/// Keys of pairs.
pub(super) const GOSSIP_KEYS: &[&str] = &["momentum", "rate", "consensus", "bits"];
/// Keys of seeds and utilities.
pub(super) const EVOLUTION_KEYS: &[&str] = &["pairs", "deviation", "rate", "on"];
/// Keys of a dictionary.
pub(super) const COEFFICIENTS_KEYS: &[&str] =
    &["every", "asked", "groups", "budget", "inertia", "bits", "mean_last"];

#[derive(Clone, Copy, PartialEq, Eq)]
enum Name {
    Mean,
    Momentum,
    Adam,
    Median,
    Trimmed,
    Krum,
    MultiKrum,
    Clipped,
    Proximal,
    FlexLora,
}

const NAMES: [(&str, Name); 10] = [
    ("mean", Name::Mean),
    ("momentum", Name::Momentum),
    ("adam", Name::Adam),
    ("median", Name::Median),
    ("trimmed", Name::Trimmed),
    ("krum", Name::Krum),
    ("multi_krum", Name::MultiKrum),
    ("clipped", Name::Clipped),
    ("fedprox", Name::Proximal),
    ("flexlora", Name::FlexLora),
];

impl Name {
    /// Keys that this server has, beside those of all.
    const fn keys(self) -> &'static [&'static str] {
        match self {
            Name::Mean | Name::Clipped => &["rate"],
            Name::Momentum => &["rate", "momentum"],
            Name::Adam => &["rate", "beta1", "beta2", "epsilon"],
            Name::Trimmed => &["trim"],
            Name::Krum => &["liars"],
            Name::MultiKrum => &["liars", "keep"],
            Name::Proximal => &["rate", "mu"],
            Name::Median | Name::FlexLora => &[],
        }
    }
}

pub(super) fn average(table: &Table<'_>, vehicles: u32) -> Result<Average, DocumentError> {
    let name = table.choice("server", &NAMES)?.unwrap_or(Name::Mean);
    let mut others = NAMES.iter().flat_map(|(_, other)| other.keys());
    if let Some(key) = others.find(|key| table.has(key) && !name.keys().contains(key)) {
        return Err(of_another(table, key, "server", name.keys()));
    }
    Ok(Average {
        server: server(table, name, vehicles)?,
        up_bits: bits(table, "up_bits", 32, 32)?,
        down_bits: bits(table, "down_bits", 32, 32)?,
        feedback: table.boolean("feedback")?.unwrap_or(true),
        mean_last: mean_last(table)?,
        by_rank: table.boolean("by_rank")?.unwrap_or(false),
        privacy: privacy::read(table)?,
    })
}

/// Vehicles that Krum compares with one another: as many distances are kept as this squared.
const KRUM_MAX: u32 = 4096;

fn server(table: &Table<'_>, name: Name, vehicles: u32) -> Result<Server, DocumentError> {
    let number = |key, range, usual: f64| Ok(table.number(key, range)?.unwrap_or(usual));
    Ok(match name {
        Name::Mean => Server::Mean { rate: number("rate", 0.0..=10.0, 1.0)? },
        // Of DiLoCo's table; the rate is for displacements of adapters, which are small.
        Name::Momentum => Server::Momentum {
            rate: step(table, 0.7)?,
            momentum: number("momentum", 0.0..=0.999, 0.9)?,
        },
        Name::Adam => Server::Adam {
            rate: step(table, 1e-2)?,
            beta1: number("beta1", 0.0..=0.999, 0.9)?,
            beta2: number("beta2", 0.0..=0.9999, 0.99)?,
            epsilon: number("epsilon", 1e-12..=1.0, 1e-3)?,
        },
        Name::Median => Server::Median,
        Name::Trimmed => Server::Trimmed { trim: number("trim", 0.0..=0.49, 0.2)? },
        Name::Krum => Server::Krum { liars: liars(table, vehicles)? },
        Name::MultiKrum => {
            let liars = liars(table, vehicles)?;
            let most = vehicles - liars;
            let keep = table.integer("keep", 1..=most.into())?.map_or(most, |n| n as u32);
            Server::MultiKrum { liars, keep }
        }
        Name::Clipped => Server::Clipped { rate: number("rate", 0.0..=10.0, 1.0)? },
        // μ: of the paper's grid 0.001, 0.01, 0.1, 1.
        Name::Proximal => Server::Proximal {
            rate: number("rate", 0.0..=10.0, 1.0)?,
            mu: number("mu", 0.0..=100.0, 0.1)?,
        },
        Name::FlexLora => Server::FlexLora,
    })
}

/// A step of an optimiser, above 0.
fn step(table: &Table<'_>, usual: f64) -> Result<f64, DocumentError> {
    match table.number("rate", 0.0..=10.0)?.unwrap_or(usual) {
        rate if rate > 0.0 => Ok(rate),
        rate => Err(table.refuse("rate", rate, "above 0, to 10")),
    }
}

/// How many may lie, with as many vehicles as Krum needs for them.
fn liars(table: &Table<'_>, vehicles: u32) -> Result<u32, DocumentError> {
    let liars = table.integer("liars", 0..=32)?.unwrap_or(1) as u32;
    if vehicles > KRUM_MAX {
        let want = format!("another server: Krum compares each with each, {KRUM_MAX} at most");
        return Err(table.refuse("server", format!("Krum of {vehicles} vehicles"), &want));
    }
    if vehicles < 2 * liars + 3 {
        let most = vehicles.saturating_sub(3) / 2;
        let want = format!("at most {most}: Krum needs 2 f + 3 vehicles");
        return Err(table.refuse("liars", liars, &want));
    }
    Ok(liars)
}

fn mean_last(table: &Table<'_>) -> Result<u8, DocumentError> {
    Ok(table.integer("mean_last", 1..=8)?.map_or(1, |n| n as u8))
}

pub(super) fn cocktail(table: &Table<'_>) -> Result<Cocktail, DocumentError> {
    let usual = CocktailSettings::USUAL;
    Ok(Cocktail {
        settings: CocktailSettings {
            drawn: table.number("drawn", 1e-3..=1.0)?.unwrap_or(usual.drawn),
            sent: table.number("sent", 1e-3..=1.0)?.unwrap_or(usual.sent),
            bits: table.integer("bits", 2..=16)?.map_or(usual.bits, |n| n as u8),
        },
        rate: table.number("rate", 0.0..=10.0)?.unwrap_or(1.0),
        mean_last: mean_last(table)?,
    })
}

pub(super) fn gossip(table: &Table<'_>) -> Result<Gossip, DocumentError> {
    let usual = NoLoCoSettings::USUAL;
    Ok(Gossip {
        settings: NoLoCoSettings {
            momentum: table.number("momentum", 0.0..=0.999)?.unwrap_or(usual.momentum),
            step: table.number("rate", 1e-3..=10.0)?.unwrap_or(usual.step),
            consensus: table.number("consensus", 0.0..=2.0)?.unwrap_or(usual.consensus),
        },
        bits: bits(table, "bits", 32, 32)?,
    })
}

pub(super) fn evolution(table: &Table<'_>) -> Result<Evolution, DocumentError> {
    let names = [("pack", MeasuredOn::Pack), ("own", MeasuredOn::Own)];
    // Sizes of steps are ours: an adapter's A begins at about a tenth.
    Ok(Evolution {
        pairs: table.integer("pairs", 1..=256)?.map_or(4, |n| n as u32),
        deviation: table.number("deviation", 1e-6..=10.0)?.unwrap_or(0.01),
        rate: table.number("rate", 1e-6..=10.0)?.unwrap_or(0.01),
        on: table.choice("on", &names)?.unwrap_or(MeasuredOn::Pack),
    })
}

pub(super) fn coefficients(table: &Table<'_>) -> Result<Coefficients, DocumentError> {
    Ok(Coefficients {
        every: table.integer("every", 1..=100)?.map_or(1, |n| n as u32),
        asked: table.integer("asked", 1..=64)?.map_or(16, |n| n as u16),
        groups: table.integer("groups", 1..=16)?.map_or(1, |n| n as u8),
        budget: table.integer("budget", 1..=1000)?.map_or(20, |n| n as u16),
        inertia: table.number("inertia", 0.0..=0.99)?.unwrap_or(0.5),
        bits: bits(table, "bits", 2, 32)?,
        mean_last: table.integer("mean_last", 1..=8)?.map_or(5, |n| n as u8),
    })
}
