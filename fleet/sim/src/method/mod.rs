//! Ways of learning together, window after window: everyone tunes, something is exchanged, everyone goes on from there.

mod average;
mod carried;
mod coefficients;
mod cores;
mod ensemble;
mod evolution;
mod gossip;
mod handing;
mod late;
mod lie;
mod link;
mod local;
mod ranks;
mod server;
mod sites;
mod soup;

use std::collections::BTreeMap;

use shoal_soup::chance::Draws;
use shoal_swarm::privacy::Noise;
use shoal_swarm::swarm::{Conduct, Flat};
use shoal_wire::v1::UtilityDocument;

use crate::config::{
    Average, Cocktail, Consensus, HardwareConfig, Lie, MethodConfig, Rule, Server, SimConfig,
};
use crate::lab::{Base, Ensemble, Lab, LabError, Tune, Who};
use crate::record::file::FIGURE_MAX;
use crate::traffic::Traffic;

pub use cores::CoresError;
pub use soup::SoupError;

/// Why a method cannot go on.
#[expect(missing_docs, reason = "each says what its source says")]
#[derive(Debug, thiserror::Error)]
pub enum MethodError {
    #[error(transparent)]
    Lab(#[from] LabError),
    #[error("the utility without its gates is refused: {why}")]
    Ungated { why: String },
    #[error("what is to be sent cannot be coded")]
    Code(#[from] shoal_vehicle::exchange::weights::CodeError),
    #[error(transparent)]
    Cores(Box<CoresError>),
    #[error(transparent)]
    Soup(Box<SoupError>),
    #[error("the exchange cannot go on")]
    Server(#[from] shoal_soup::input::InputError),
    #[error("the model's adapters cannot be averaged site by site")]
    Sites(#[from] shoal_soup::sites::SitesError),
}

impl From<CoresError> for MethodError {
    fn from(error: CoresError) -> Self {
        MethodError::Cores(Box::new(error))
    }
}

impl From<SoupError> for MethodError {
    fn from(error: SoupError) -> Self {
        MethodError::Soup(Box::new(error))
    }
}

/// One window, as a method sees it.
pub struct Window<'w, 'a> {
    /// Its number, from 1 on.
    pub number: u32,
    /// Whether no other follows.
    pub last: bool,
    /// Who takes part, by vehicle.
    pub present: &'w [bool],
    /// The lab.
    pub lab: &'w mut Lab<'a>,
    /// What crosses each vehicle's socket.
    pub traffic: &'w mut [Traffic],
    /// What the method tells besides.
    pub also: &'w mut BTreeMap<String, f64>,
}

impl Window<'_, '_> {
    /// Tells ε of the vehicle that has paid most, where it is a figure: without noise, or with next to none, it has no end.
    fn tell_paid(&mut self, epsilon: f64) {
        if epsilon <= FIGURE_MAX {
            self.also.insert("epsilon".into(), epsilon);
        }
    }
}

/// A way of learning together.
pub trait Method {
    /// What is tuned before this window: at most one night a vehicle.
    fn nights(&self, window: u32) -> Vec<Tune>;

    /// The window itself: what was tuned, in the order of [`Method::nights`], is exchanged.
    ///
    /// # Errors
    /// [`MethodError`].
    fn exchange(
        &mut self,
        window: &mut Window<'_, '_>,
        tuned: Vec<Flat>,
    ) -> Result<(), MethodError>;

    /// What the fleet is given after the window; `None`: nothing in common.
    fn fleet(&self) -> Option<Flat>;

    /// Whether [`Method::fleet`] is only looked at: nobody was given it, and it has cost nobody a byte.
    fn is_looked_at(&self) -> bool {
        false
    }

    /// What a vehicle was given last, with which it teaches; `None`: nobody was given anything yet.
    fn teacher(&self, _vehicle: u32) -> Option<Flat> {
        if self.is_looked_at() { None } else { self.fleet() }
    }

    /// Whether nothing is in common yet, and will be after the last window.
    fn waits(&self) -> bool {
        false
    }

    /// What a vehicle has tuned last, where its own road is.
    fn tuned(&self, vehicle: u32) -> Flat;

    /// What the method itself would have a vehicle drive with; `None`: it has no word in that.
    fn personal(&self, _vehicle: u32) -> Option<Flat> {
        None
    }

    /// What a vehicle goes on from, where that is its own and not the fleet's.
    fn given(&self, _vehicle: u32) -> Option<Flat> {
        None
    }

    /// What everybody who listens can make of what a vehicle sent in the last window: an adapter. `None`: it sent nothing, or nothing
    /// of this kind.
    fn published(&self, _vehicle: u32) -> Option<Flat> {
        None
    }

    /// What the fleet is given where it is several adapters whose predictions are mixed: then it stands in for
    /// [`Method::fleet`].
    fn ensemble(&self) -> Option<&Ensemble> {
        None
    }
}

/// Makes the method that is asked for.
///
/// # Errors
/// [`MethodError`].
pub fn open<'a>(
    method: &MethodConfig,
    config: &SimConfig,
    base: &'a Base,
    utility: &UtilityDocument,
) -> Result<Box<dyn Method + 'a>, MethodError> {
    let start = base.start(config.seed);
    let liars = config.liars.of(config.vehicles, config.seed);
    let (lie, lies_from, seed) = (config.liars.lie, config.liars.from_window, config.seed);
    let stale = config.calendar.stale_of(config.vehicles, seed);
    let classes = HardwareConfig::of(&config.hardware, config.vehicles, seed);
    let ranks = classes.into_iter().map(|class| class?.rank).collect();
    let ungated = ungated(utility)?;
    let utility = if method.gates { utility } else { &ungated };
    let vehicles = config.vehicles;
    let fleet = Fleet { vehicles, seed, start, liars, lie, lies_from, stale, ranks };
    Ok(match method.rule {
        Rule::Local => Box::new(local::Local::new(fleet, config, None)),
        Rule::Soup(soup) => Box::new(local::Local::new(fleet, config, Some(soup))),
        Rule::Pooled => Box::new(local::Pooled::new(fleet)),
        Rule::Average(asked) => Box::new(averaged(fleet, asked, base)?),
        Rule::Cocktail(asked) => Box::new(compressed(fleet, asked, base)?),
        Rule::Gossip(asked) => Box::new(gossip::Gossiping::new(fleet, asked, base)?),
        Rule::Evolution(asked) => Box::new(evolution::Evolving::new(fleet, asked)?),
        Rule::Ensemble(asked) => Box::new(ensemble::Mixing::new(fleet, config, asked)),
        Rule::Consensus(Consensus { rule, asked, conduct, measure, privacy }) => {
            let rule = shoal_wire::v1::Rule::Consensus(rule);
            let duties = cores::Duties { asked, conduct, measure, privacy };
            Box::new(cores::Cores::new(fleet, rule, duties, config, base, utility)?)
        }
        Rule::Coefficients(asked) => Box::new(coefficients::Searching::new(fleet, asked, base)?),
        Rule::Paper(rule) => {
            let rule = shoal_wire::v1::Rule::Paper(rule);
            let (asked, conduct) = (u16::MAX, Conduct::default());
            let duties = cores::Duties { asked, conduct, measure: true, privacy: None };
            Box::new(cores::Cores::new(fleet, rule, duties, config, base, utility)?)
        }
    })
}

/// The same utility without a gate.
fn ungated(utility: &UtilityDocument) -> Result<UtilityDocument, MethodError> {
    let mut fields = utility.fields().clone();
    fields.terms.iter_mut().for_each(|term| term.gate = None);
    UtilityDocument::new(fields).map_err(|why| MethodError::Ungated { why: why.to_string() })
}

/// A server behind the vehicles' own coder.
fn averaged<'a>(
    fleet: Fleet,
    asked: Average,
    base: &'a Base,
) -> Result<average::Averaged<'a>, MethodError> {
    let Average { server, up_bits, down_bits, feedback, mean_last, by_rank, privacy } = asked;
    let link = link::Quantised::new(base, fleet.vehicles, (up_bits, down_bits), feedback);
    let pull = match server {
        Server::Proximal { mu, .. } => Some(mu),
        Server::Mean { .. }
        | Server::Momentum { .. }
        | Server::Adam { .. }
        | Server::Median
        | Server::Trimmed { .. }
        | Server::Krum { .. }
        | Server::MultiKrum { .. }
        | Server::Clipped { .. }
        | Server::FlexLora => None,
    };
    let server = server::Server::new(server, fleet.vehicles, &fleet.start, &base.layout)?;
    let asked = average::Asked { mean_last: mean_last.into(), pull, by_rank, privacy };
    Ok(average::Averaged::new(fleet, base, server, Box::new(link), asked))
}

/// The mean, of updates of which a part is sent.
fn compressed<'a>(
    fleet: Fleet,
    asked: Cocktail,
    base: &'a Base,
) -> Result<average::Averaged<'a>, MethodError> {
    let Cocktail { settings, rate, mean_last } = asked;
    let link = link::Sparse::new(fleet.start.len(), fleet.vehicles, settings, fleet.seed)?;
    let mean = Server::Mean { rate };
    let server = server::Server::new(mean, fleet.vehicles, &fleet.start, &base.layout)?;
    let asked =
        average::Asked { mean_last: mean_last.into(), pull: None, by_rank: false, privacy: None };
    Ok(average::Averaged::new(fleet, base, server, Box::new(link), asked))
}

/// What every method begins with.
#[derive(Clone, Debug)]
struct Fleet {
    vehicles: u32,
    seed: u64,
    /// x_p's adapter.
    start: Flat,
    /// Who lies, by vehicle, and how.
    liars: Vec<bool>,
    lie: Lie,
    /// From which window on.
    lies_from: u32,
    /// Whose contribution is that of the window before, by vehicle.
    stale: Vec<bool>,
    /// Rank of what a vehicle trains, by vehicle; `None`: that of the model.
    ranks: Vec<Option<u8>>,
}

impl Fleet {
    /// The lie that a vehicle tells sooner or later, if it is one that does.
    fn lie_of(&self, vehicle: usize) -> Option<Lie> {
        self.liars.get(vehicle).copied().unwrap_or(false).then_some(self.lie)
    }

    /// The lie that a vehicle tells in this window.
    fn lie_in(&self, vehicle: usize, window: u32) -> Option<Lie> {
        self.lie_of(vehicle).filter(|_lie| self.lies_from <= window)
    }

    /// Whether a vehicle is always a window late.
    fn is_stale(&self, vehicle: usize) -> bool {
        self.stale.get(vehicle).copied().unwrap_or(false)
    }

    /// A night for every vehicle, each from where it is.
    fn nights<'f>(&self, window: u32, from: impl Iterator<Item = &'f Flat>) -> Vec<Tune> {
        let night = |(vehicle, from): (u32, &Flat)| Tune {
            who: Who::Vehicle(vehicle),
            window,
            from: from.clone(),
            seed: self.night_seed(vehicle, window),
            pull: None,
            teacher: None,
        };
        (0..).zip(from).map(night).collect()
    }

    /// A vehicle's noise, which repeats from the seed: here it is measured what noise costs, and nobody is hidden.
    fn noise_of(&self, vehicle: usize) -> Noise {
        let mut key = *b"shoal simulation noise ...... sd";
        let (head, tail) = (self.seed.to_le_bytes(), (vehicle as u64).to_le_bytes());
        key.iter_mut().zip(head.iter().chain(&tail)).for_each(|(key, byte)| *key ^= byte);
        Noise::new(key)
    }

    fn night_seed(&self, vehicle: u32, window: u32) -> u64 {
        night_seed(self.seed, vehicle, window)
    }
}

/// The seed of batches that a vehicle, or, numbered [`u32::MAX`], everybody together tunes on before a window: the same for
/// every method.
#[must_use]
pub const fn night_seed(simulation: u64, vehicle: u32, window: u32) -> u64 {
    // The simulation's first, alone: seeds that follow one another must not be each other's windows.
    mixed(mixed(simulation) ^ ((vehicle as u64) << 32) ^ window as u64)
}

/// SplitMix64's finaliser.
const fn mixed(word: u64) -> u64 {
    let z = word.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// Noise, ten times as long as what would be sent.
fn noise(instead_of: &[f32], seed: u64) -> Vec<f32> {
    let mut draws = Draws::new(seed, u64::from(u32::MAX));
    let drawn: Vec<f64> = instead_of.iter().map(|_| draws.normal()).collect();
    let squares = |values: &mut dyn Iterator<Item = f64>| values.map(|v| v * v).sum::<f64>();
    let honest = squares(&mut instead_of.iter().map(|value| f64::from(*value)));
    let length = squares(&mut drawn.iter().copied());
    let scale = if length > 0.0 { 10.0 * (honest / length).sqrt() } else { 0.0 };
    drawn.into_iter().map(|value| (value * scale) as f32).collect()
}

/// `to − from`.
fn difference(to: &[f32], from: &[f32]) -> Vec<f32> {
    to.iter().zip(from).map(|(to, from)| to - from).collect()
}

/// `base + by`.
fn moved(base: &[f32], by: &[f32]) -> Flat {
    base.iter().zip(by).map(|(base, by)| base + by).collect()
}

/// A step from where a vehicle began, as a displacement from where all are by now: what is combined are positions, so that who was
/// away does not go its whole way a second time from where the others have come to.
fn counted(from: &Flat, step: Vec<f32>, to: &Flat) -> Vec<f32> {
    if from == to { step } else { difference(&moved(from, &step), to) }
}

/// The mean of some adapters, each as long as the first.
fn mean(of: &[Flat]) -> Option<Flat> {
    let (first, rest) = of.split_first()?;
    let mut sum: Vec<f64> = first.iter().map(|value| f64::from(*value)).collect();
    for other in rest {
        sum.iter_mut().zip(other.iter()).for_each(|(sum, value)| *sum += f64::from(*value));
    }
    Some(sum.into_iter().map(|sum| (sum / of.len() as f64) as f32).collect())
}

#[cfg(test)]
impl Fleet {
    /// One in which nobody lies and nobody is late.
    fn honest(vehicles: u32, start: Flat) -> Self {
        let count = vehicles as usize;
        Fleet {
            vehicles,
            seed: 0,
            start,
            liars: vec![false; count],
            lie: Lie::Random,
            lies_from: 1,
            stale: vec![false; count],
            ranks: vec![None; count],
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::data::Data;
    use crate::lab::engine;
    use crate::run;
    use crate::store::Store;

    /// Sixteen clients without a model of whom four lie, by one method; after each window it is looked at.
    fn lied_to(lie: &str, method: &str, mut after: impl FnMut(u32, &dyn Method)) {
        let file = format!(
            "vehicles = 16\nwindows = 6\nseed = 3\n[trivial]\nvalues = 100\nstep = 0.2\n\
             [liars]\nshare = 0.25\nlie = \"{lie}\"\n[[methods]]\nname = \"a\"\n{method}\n"
        );
        let config = SimConfig::parse("fleet.toml", &file).unwrap();
        let base = Base::open(&config, engine(&config).unwrap()).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let data = Data::open(&config, &base.task, folder.path()).unwrap();
        let store = Store::open(folder.path()).unwrap();
        let mut lab = Lab::new(&base, &data, &config, store).unwrap();
        let mut way = open(&config.methods[0], &config, &base, data.utility()).unwrap();
        for number in 1..=config.windows {
            run::window(&mut lab, &config, &mut *way, number).unwrap();
            after(number, &*way);
        }
    }

    /// Noise that fed on what coding kept back of noise was longer with every window.
    #[test]
    fn what_a_liar_sends_is_no_longer_for_what_coding_kept_back_of_it() {
        let length = |values: Vec<f32>| values.iter().map(|v| f64::from(*v).powi(2)).sum::<f64>();
        for lie in ["random", "colluding"] {
            // Neither follows the liars, so that nobody's steps grow.
            let median = "kind = \"average\"\nserver = \"median\"\nup_bits = 2";
            for method in [median, "kind = \"consensus\""] {
                let mut first = None;
                lied_to(lie, method, |window, way| {
                    let sent = (0..16).filter_map(|number| way.published(number));
                    let most = sent.map(|at| length(at.to_vec())).fold(0.0, f64::max).sqrt();
                    let first = *first.get_or_insert(most);
                    let said = format!("{method}, {lie}, window {window}: {most}, first {first}");
                    assert!(most < 3.0 * first, "{said}");
                });
            }
        }
    }

    /// Seeds that follow one another had each other's nights, a window earlier or later.
    #[test]
    fn no_two_simulations_tune_on_the_same_batches() {
        let vehicles = [0, 1, 7, u32::MAX];
        let nights = (0..10).flat_map(|seed| vehicles.map(|vehicle| (seed, vehicle)));
        let nights = nights.flat_map(|(seed, vehicle)| {
            (1..=25).map(move |window| night_seed(seed, vehicle, window))
        });
        let distinct: BTreeSet<u64> = nights.collect();
        assert_eq!(distinct.len(), 10 * 4 * 25);
    }

    #[test]
    fn what_counts_of_a_step_is_where_it_ends() {
        let [began, all]: [Flat; 2] = [[0.1, 0.2], [0.4, 0.0]].map(|at| at.as_slice().into());
        assert_eq!(counted(&began, vec![0.3, 0.3], &began), [0.3, 0.3], "to the bit");
        let counted = counted(&began, vec![0.3, 0.3], &all);
        assert!(counted[0].abs() < 1e-6 && (counted[1] - 0.5).abs() < 1e-6, "{counted:?}");
    }
}
