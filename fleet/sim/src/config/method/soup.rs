//! Merges of whole adapters, and mixtures of their predictions: `kind = "soup"` and `kind = "ensemble"`.

use shoal_shadow::document::{DocumentError, Table};
use shoal_soup::search::{Differential, Genome, LoraHub, PsoMerging, Thinning};
use shoal_swarm::search::Settings;
use shoal_swarm::step::{StepLength, Weights};

use super::of_another;

/// A merge of whole adapters.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Soup {
    /// Which.
    pub merge: Merge,
    /// Share of entries that are kept (TIES, DARE).
    pub density: f64,
    /// Times the merged difference.
    pub scale: f64,
    /// Evaluations of the pack that a search may take, beside one a vehicle: it is run once, after the last window.
    pub budget: usize,
}

/// Merges by name.
#[derive(Clone, Copy, Debug, PartialEq)]
#[expect(missing_docs, reason = "the names of the methods; shoal-soup says what they are")]
pub enum Merge {
    Uniform,
    TaskArithmetic,
    Greedy,
    Slerp,
    Ties,
    Dare,
    DareTies,
    ModelStock,
    Learned,
    RandomAffine,
    CmaAffine,
    CmaFree,
    LoraHub(LoraHub),
    Lego,
    EvoMerge(EvoMerge),
    Genome(Genome),
    PsoMerging(PsoMerging),
    Differential(Differential),
    ModelSwarms(ModelSwarms),
    Fisher(Fisher),
    RegMean(RegMean),
}

/// The search of Model Swarms as its code runs it: all particles on one machine.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ModelSwarms {
    /// N: the swarm grows to so many particles from those of the vehicles, which are at least kept.
    pub particles: usize,
    /// How it moves and ends, and what it leaves unmeasured.
    pub settings: Settings,
    /// K: iterations at most; the budget may end it before.
    pub iterations: u32,
    /// How terms of utility are put together.
    pub mean: Mean,
}

/// How one utility is made of several terms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mean {
    /// Σ α·s, as the fleet's own.
    Arithmetic,
    /// (Σ α ÷ max((1 + s)/2, .01))⁻¹, the paper's for two tasks: it asks for all terms.
    Harmonic,
}

/// What an evolved recipe is made of.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct EvoMerge {
    /// Groups of neighbouring sites with weights and densities of their own.
    pub layers: usize,
    /// How displacements are thinned.
    pub thinning: Thinning,
    /// Of a gene, in the first generation.
    pub deviation: f64,
}

/// How a diagonal of the Fisher matrix is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fisher {
    /// Samples of a vehicle's own road, each with a gradient of its own.
    pub samples: u32,
}

/// How far RegMean trusts Gram matrices, and how they are found.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RegMean {
    /// Times what is not on their diagonals, 0 to 1.
    pub shrink: f64,
    /// Clips of a vehicle's own road whose inputs make them.
    pub samples: u32,
}

/// Adapters whose predictions are mixed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Ensemble {
    /// The best by utility vote alike.
    TopK {
        /// How many vote.
        keep: usize,
    },
    /// Pack of LLMs: who predicts best what was seen last weighs most.
    PackLlm {
        /// Of the softmax over the logarithms of errors.
        temperature: f64,
    },
    /// cBTM: whose roads look most like what is seen weighs most.
    Cbtm {
        /// Of the softmax over squared distances of features.
        temperature: f64,
        /// How many weigh anything.
        keep: usize,
    },
}

/// Evaluations of a search where a file says nothing, a vehicle and window: about as many whole packs as Shoal's rule measures
/// (3.6 with sixteen vehicles, 3.1 with 32, 2.9 with 64), so that a method is not compared with a search cut short. A file that wants
/// equal numbers has them.
const EVALUATIONS: usize = 3;
/// What stands in the configuration of a merge that measures nothing: with another number its runs would have another name.
const EVALUATIONS_OF_NONE: usize = 40;

/// Every key of a soup.
pub(super) const SOUP_KEYS: &[&str] = &[
    "merge",
    "density",
    "scale",
    "budget",
    "bound",
    "price",
    "deviation",
    "layers",
    "thinning",
    "crossover",
    "mutation",
    "mutated_values",
    "elites",
    "inertia",
    "cognitive",
    "social",
    "dropped",
    "factor",
    "samples",
    "shrink",
    "particles",
    "repel",
    "step_length",
    "step_length_decay",
    "step_length_min",
    "patience",
    "restart_patience",
    "dropout_iterations",
    "dropout_particles",
    "iterations",
    "mean",
];

/// Every key of an ensemble.
pub(super) const ENSEMBLE_KEYS: &[&str] = &["weights", "keep", "temperature"];

impl Merge {
    const NAMES: [(&'static str, Merge); 21] = [
        ("uniform", Merge::Uniform),
        ("task_arithmetic", Merge::TaskArithmetic),
        ("learned", Merge::Learned),
        ("random_affine", Merge::RandomAffine),
        ("cma_affine", Merge::CmaAffine),
        ("cma_free", Merge::CmaFree),
        ("greedy", Merge::Greedy),
        ("slerp", Merge::Slerp),
        ("ties", Merge::Ties),
        ("dare", Merge::Dare),
        ("dare_ties", Merge::DareTies),
        ("model_stock", Merge::ModelStock),
        ("lorahub", Merge::LoraHub(LoraHub::PAPER)),
        ("lego", Merge::Lego),
        ("evo_merge", Merge::EvoMerge(EvoMerge::USUAL)),
        ("genome", Merge::Genome(Genome::SCRIPT)),
        ("pso_merging", Merge::PsoMerging(PsoMerging::CLASSIC)),
        ("differential", Merge::Differential(Differential::USUAL)),
        ("model_swarms", Merge::ModelSwarms(ModelSwarms::PAPER)),
        ("fisher", Merge::Fisher(Fisher::USUAL)),
        ("regmean", Merge::RegMean(RegMean::USUAL)),
    ];

    /// Whether it measures, or takes gradients or Gram matrices, and is therefore run once, in the last window.
    #[must_use]
    pub fn is_costly(self) -> bool {
        match self {
            Merge::Uniform
            | Merge::TaskArithmetic
            | Merge::Slerp
            | Merge::Ties
            | Merge::Dare
            | Merge::DareTies
            | Merge::ModelStock
            | Merge::Lego => false,
            Merge::Greedy
            | Merge::Learned
            | Merge::RandomAffine
            | Merge::CmaAffine
            | Merge::CmaFree
            | Merge::LoraHub(_)
            | Merge::EvoMerge(_)
            | Merge::Genome(_)
            | Merge::PsoMerging(_)
            | Merge::Differential(_)
            | Merge::ModelSwarms(_)
            | Merge::Fisher(_)
            | Merge::RegMean(_) => true,
        }
    }

    /// Runs of values that a vehicle sends: its adapter, and of Fisher merging the diagonal beside it.
    #[must_use]
    pub fn runs_sent(self) -> usize {
        if matches!(self, Merge::Fisher(_)) { 2 } else { 1 }
    }

    /// Whether a vehicle sends, beside that, a Gram matrix of what goes into each site.
    #[must_use]
    pub fn sends_grams(self) -> bool {
        matches!(self, Merge::RegMean(_))
    }

    /// Vehicles that it needs.
    #[must_use]
    pub fn members_min(self) -> u32 {
        // A parent and three others; a pair; a particle and whom it first moves to.
        let pair = matches!(self, Merge::Genome(_) | Merge::ModelSwarms(_));
        let of = [(matches!(self, Merge::Differential(_)), 4), (pair, 2)];
        of.into_iter().find(|(is, _least)| *is).map_or(1, |(_is, least)| least)
    }

    /// Keys that this merge has, beside its name.
    const fn keys(self) -> &'static [&'static str] {
        match self {
            Merge::Slerp | Merge::Lego => &[],
            Merge::Uniform | Merge::TaskArithmetic | Merge::ModelStock => &["scale"],
            Merge::Ties | Merge::Dare | Merge::DareTies => &["scale", "density"],
            Merge::Greedy
            | Merge::Learned
            | Merge::RandomAffine
            | Merge::CmaAffine
            | Merge::CmaFree => &["budget"],
            Merge::LoraHub(_) => &["budget", "bound", "price", "deviation"],
            Merge::EvoMerge(_) => &["budget", "layers", "thinning", "deviation"],
            Merge::Genome(_) => {
                &["budget", "crossover", "mutation", "mutated_values", "deviation", "elites"]
            }
            Merge::PsoMerging(_) => &["budget", "inertia", "cognitive", "social", "dropped"],
            Merge::Differential(_) => &["budget", "factor", "crossover"],
            Merge::ModelSwarms(_) => &[
                "budget",
                "particles",
                "inertia",
                "cognitive",
                "social",
                "repel",
                "step_length",
                "step_length_decay",
                "step_length_min",
                "patience",
                "restart_patience",
                "dropout_iterations",
                "dropout_particles",
                "iterations",
                "mean",
            ],
            Merge::Fisher(_) => &["scale", "samples"],
            Merge::RegMean(_) => &["shrink", "samples"],
        }
    }

    /// The same merge with the numbers that the table has.
    fn with(self, table: &Table<'_>) -> Result<Self, DocumentError> {
        let number = |key, range, usual: f64| {
            Ok::<_, DocumentError>(table.number(key, range)?.unwrap_or(usual))
        };
        let samples = |usual: u32| {
            let asked = table.integer("samples", 1..=10_000)?;
            Ok::<_, DocumentError>(asked.map_or(usual, |n| n as u32))
        };
        Ok(match self {
            Merge::Uniform
            | Merge::TaskArithmetic
            | Merge::Greedy
            | Merge::Slerp
            | Merge::Ties
            | Merge::Dare
            | Merge::DareTies
            | Merge::ModelStock
            | Merge::Learned
            | Merge::RandomAffine
            | Merge::CmaAffine
            | Merge::CmaFree
            | Merge::Lego => self,
            Merge::LoraHub(usual) => Merge::LoraHub(LoraHub {
                bound: number("bound", 0.01..=100.0, usual.bound)?,
                price: number("price", 0.0..=10.0, usual.price)?,
                deviation: number("deviation", 1e-3..=10.0, usual.deviation)?,
            }),
            Merge::EvoMerge(usual) => {
                let names = [("trim", Thinning::Trim), ("drop", Thinning::Drop)];
                Merge::EvoMerge(EvoMerge {
                    layers: table.integer("layers", 1..=64)?.map_or(usual.layers, |n| n as usize),
                    thinning: table.choice("thinning", &names)?.unwrap_or(usual.thinning),
                    deviation: number("deviation", 1e-3..=10.0, usual.deviation)?,
                })
            }
            Merge::Genome(usual) => Merge::Genome(Genome {
                crossover: number("crossover", 0.01..=1.0, usual.crossover)?,
                mutation: number("mutation", 0.0..=1.0, usual.mutation)?,
                mutated_values: number("mutated_values", 0.0..=1.0, usual.mutated_values)?,
                deviation: number("deviation", 0.0..=10.0, usual.deviation)?,
                elites: number("elites", 0.0..=1.0, usual.elites)?,
            }),
            Merge::PsoMerging(usual) => Merge::PsoMerging(PsoMerging {
                inertia: number("inertia", 0.0..=10.0, usual.inertia)?,
                cognitive: number("cognitive", 0.0..=10.0, usual.cognitive)?,
                social: number("social", 0.0..=10.0, usual.social)?,
                dropped: number("dropped", 0.0..=0.99, usual.dropped)?,
            }),
            Merge::Differential(usual) => Merge::Differential(Differential {
                factor: number("factor", 0.0..=2.0, usual.factor)?,
                crossover: number("crossover", 0.0..=1.0, usual.crossover)?,
            }),
            Merge::ModelSwarms(usual) => Merge::ModelSwarms(usual.with(table)?),
            Merge::Fisher(usual) => Merge::Fisher(Fisher { samples: samples(usual.samples)? }),
            Merge::RegMean(usual) => Merge::RegMean(RegMean {
                shrink: number("shrink", 0.0..=1.0, usual.shrink)?,
                samples: samples(usual.samples)?,
            }),
        })
    }
}

impl ModelSwarms {
    /// The middles of the grids that the paper draws from, each run anew; its patience, restarts and growth.
    const PAPER: Self = ModelSwarms {
        particles: 20,
        settings: Settings {
            weights: Weights { inertia: 0.2, cognitive: 0.3, social: 0.4, repel: 0.05 },
            step_length: StepLength { first: 0.8, decay: 0.95, floor: 0.1 },
            patience: 10,
            restart_patience: 6.7,
            dropout_iterations: 0.0,
            dropout_particles: 0.0,
        },
        iterations: 50,
        mean: Mean::Arithmetic,
    };

    /// The same with the numbers that the table has.
    fn with(self, table: &Table<'_>) -> Result<Self, DocumentError> {
        let number = |key, range, usual: f64| {
            Ok::<_, DocumentError>(table.number(key, range)?.unwrap_or(usual))
        };
        let count = |key, usual: u32| {
            let asked = table.integer(key, 1..=10_000)?;
            Ok::<_, DocumentError>(asked.map_or(usual, |n| n as u32))
        };
        let Settings { weights, step_length, .. } = self.settings;
        let means = [("arithmetic", Mean::Arithmetic), ("harmonic", Mean::Harmonic)];
        let swarm = ModelSwarms {
            particles: count("particles", self.particles as u32)? as usize,
            settings: Settings {
                weights: Weights {
                    inertia: number("inertia", 0.0..=10.0, weights.inertia)?,
                    cognitive: number("cognitive", 0.0..=10.0, weights.cognitive)?,
                    social: number("social", 0.0..=10.0, weights.social)?,
                    repel: number("repel", 0.0..=10.0, weights.repel)?,
                },
                step_length: StepLength {
                    first: number("step_length", 1e-3..=10.0, step_length.first)?,
                    decay: number("step_length_decay", 1e-3..=1.0, step_length.decay)?,
                    floor: number("step_length_min", 0.0..=10.0, step_length.floor)?,
                },
                patience: count("patience", self.settings.patience)?,
                restart_patience: number(
                    "restart_patience",
                    1.0..=1e6,
                    self.settings.restart_patience,
                )?,
                dropout_iterations: number(
                    "dropout_iterations",
                    0.0..=0.99,
                    self.settings.dropout_iterations,
                )?,
                dropout_particles: number(
                    "dropout_particles",
                    0.0..=0.99,
                    self.settings.dropout_particles,
                )?,
            },
            iterations: count("iterations", self.iterations)?,
            mean: table.choice("mean", &means)?.unwrap_or(self.mean),
        };
        let Weights { inertia, cognitive, social, repel } = swarm.settings.weights;
        if inertia + cognitive + social + repel <= 0.0 {
            return Err(table.refuse("inertia", "no term that pulls", "one of four above 0"));
        }
        Ok(swarm)
    }
}

impl EvoMerge {
    /// DARE-TIES as in the paper. Four groups of layers keep the genes of eight vehicles at 64; they and the deviation, a
    /// sixth of a gene's range, are ours to choose.
    const USUAL: Self = EvoMerge { layers: 4, thinning: Thinning::Drop, deviation: 1.0 / 6.0 };
}

impl Fisher {
    /// Ours to choose: as many gradients of one sample as eight steps of a night have samples.
    const USUAL: Self = Fisher { samples: 64 };
}

impl RegMean {
    /// The paper's factor, for most models. How many clips is ours to choose: with the factor even few are enough to divide
    /// by, and a clip has as many rows as a site has places.
    const USUAL: Self = RegMean { shrink: 0.9, samples: 16 };
}

pub(super) fn soup(
    table: &Table<'_>,
    (vehicles, windows): (u32, u32),
) -> Result<Soup, DocumentError> {
    let merge = table.choice("merge", &Merge::NAMES)?.ok_or_else(|| table.missing("merge"))?;
    let others = SOUP_KEYS.iter().filter(|key| **key != "merge" && !merge.keys().contains(key));
    if let Some(key) = others.copied().find(|key| table.has(key)) {
        return Err(of_another(table, key, "merge", merge.keys()));
    }
    let least = merge.members_min();
    if vehicles < least {
        let got = format!("a merge of {vehicles} vehicles");
        return Err(table.refuse("merge", got, &format!("{least} vehicles or more")));
    }
    let most = 100_000;
    let usual = if merge.keys().contains(&"budget") {
        (EVALUATIONS * vehicles as usize * windows as usize).min(most)
    } else {
        EVALUATIONS_OF_NONE
    };
    Ok(Soup {
        merge: merge.with(table)?,
        density: table.number("density", 0.01..=1.0)?.unwrap_or(0.2),
        scale: table.number("scale", 0.0..=10.0)?.unwrap_or(1.0),
        budget: table.integer("budget", 1..=most as i64)?.map_or(usual, |n| n as usize),
    })
}

pub(super) fn ensemble(table: &Table<'_>) -> Result<Ensemble, DocumentError> {
    let temperature = |usual: f64| {
        let asked = table.number("temperature", 1e-6..=1e6)?;
        Ok::<_, DocumentError>(asked.unwrap_or(usual))
    };
    let keep = |usual: usize| {
        let asked = table.integer("keep", 1..=64)?;
        Ok::<_, DocumentError>(asked.map_or(usual, |n| n as usize))
    };
    // The vote of Model Swarms has ten particles. Temperatures, and how many of cBTM's weigh, are ours: features are others.
    let names = [
        ("top_k", Ensemble::TopK { keep: 10 }),
        ("pack_llm", Ensemble::PackLlm { temperature: 0.1 }),
        ("cbtm", Ensemble::Cbtm { temperature: 0.1, keep: 4 }),
    ];
    let asked = table.choice("weights", &names)?.ok_or_else(|| table.missing("weights"))?;
    let (of_this, ensemble) = match asked {
        Ensemble::TopK { keep: usual } => (["keep", "keep"], Ensemble::TopK { keep: keep(usual)? }),
        Ensemble::PackLlm { temperature: usual } => {
            let temperature = temperature(usual)?;
            (["temperature", "temperature"], Ensemble::PackLlm { temperature })
        }
        Ensemble::Cbtm { temperature: usual, keep: usual_keep } => {
            let (temperature, keep) = (temperature(usual)?, keep(usual_keep)?);
            (["temperature", "keep"], Ensemble::Cbtm { temperature, keep })
        }
    };
    let mut others = ["temperature", "keep"].into_iter().filter(|key| !of_this.contains(key));
    match others.find(|key| table.has(key)) {
        Some(key) => Err(table.refuse(key, "a key of other weights", of_this[0])),
        None => Ok(ensemble),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Rule, SimConfig};

    fn budget(soup: &str) -> usize {
        let text = format!(
            "vehicles = 16\nwindows = 25\n[trivial]\n[[methods]]\nname = \"a\"\nkind = \"soup\"\n{soup}\n"
        );
        let config = SimConfig::parse("fleet.toml", &text).unwrap();
        let Rule::Soup(Soup { budget, .. }) = config.methods[0].rule else { panic!("{config:?}") };
        budget
    }

    #[test]
    fn a_search_measures_as_much_as_the_fleet_unless_it_is_told_otherwise() {
        assert_eq!(budget("merge = \"cma_affine\""), 3 * 16 * 25);
        assert_eq!(budget("merge = \"model_swarms\"\nbudget = 7"), 7);
        assert_eq!(
            budget("merge = \"uniform\""),
            EVALUATIONS_OF_NONE,
            "the name of its runs stays"
        );
    }
}
