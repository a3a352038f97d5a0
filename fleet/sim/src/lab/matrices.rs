//! A swarm of matrices: vehicles run one of several policies, and what they exchange is what a fleet makes of the policies'
//! opinions (decision 0051). A night is fitted by counting on what the vehicle's own network holds on its own drives; what is
//! measured is the pool of all networks' opinions on the pack, which were made once.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;

use sha2::{Digest, Sha256};
use shoal_hal::Part;
use shoal_runtime::engine::Engine;
use shoal_runtime::onnx::Model;
use shoal_shadow::fit::load_policy;
use shoal_shadow::form::Form;
use shoal_shadow::grid::{ActionMatrix, Pool};
use shoal_shadow::measure::Measurement;
use shoal_shadow::measure::imitation::DriveActs;
use shoal_shadow::measure::opinions::{DriveOpinions, alone, fitted, opinions, pooled, sha256};
use shoal_shadow::measure::policy::PolicyPredictor;
use shoal_shadow::package::Package;
use shoal_swarm::swarm::Flat;
use shoal_wire::v1::PARTS;

use super::actions::Own;
use super::base::read_of;
use super::{LabError, On, Tune, Who};
use crate::config::{MatrixConfig, NightConfig, SimConfig};
use crate::drivers::Drivers;

/// Samples' weight of every row that the fleet's matrix counts for in a night.
const HELD: f64 = 20.0;
/// How much a vehicle trusts its own network before it has heard of others.
const OWN_SHARE: f64 = 0.75;
/// Bound of a value, as [`ActionMatrix`] has it: the rule may step beyond.
const VALUE_MAX: f32 = 32.0;

/// The policies of a fleet, and what runs them.
pub struct Policies {
    form: Form,
    all: Vec<(Package, Model)>,
    pub(super) engine: Box<dyn Engine>,
    pool: Pool,
}

impl Policies {
    pub(super) fn open(does: &MatrixConfig, engine: Box<dyn Engine>) -> Result<Self, LabError> {
        let mut all = Vec::new();
        let mut form: Option<Form> = None;
        for path in &does.policies {
            let package = Package::open_with(path, None)?;
            let description = package.description();
            let name = || description.name.clone();
            let reads = Form::of_policy(description)?;
            let first = form.get_or_insert_with(|| reads.clone());
            let same = (first.shape, first.rate_hz, first.context)
                == (reads.shape, reads.rate_hz, reads.context);
            if !same {
                return Err(LabError::OtherForm { policy: name() });
            }
            let model = Model::read(&package.model_path())?;
            all.push((package, model));
        }
        let form = form.ok_or(LabError::NoModel)?;
        let policies = Policies { form, all, engine, pool: does.pool };
        for number in 0..policies.all.len() {
            let policy = policies.load(number)?;
            if !policy.accelerates() {
                return Err(LabError::OffGrid { policy: policy.name().to_owned() });
            }
        }
        Ok(policies)
    }

    /// What all of them read.
    #[must_use]
    pub const fn form(&self) -> &Form {
        &self.form
    }

    /// The policy that a vehicle runs: they are dealt in turn.
    fn of(&self, vehicle: u32) -> usize {
        vehicle as usize % self.all.len().max(1)
    }

    fn load(&self, number: usize) -> Result<PolicyPredictor, LabError> {
        let (package, model) = self.all.get(number).ok_or(LabError::NoModel)?;
        let (description, threads) = (package.description(), NonZeroUsize::MIN);
        Ok(load_policy(model, description, &*self.engine, threads, None)?)
    }

    /// What all of them hold, or one of them.
    fn opinions(
        &self,
        only: Option<usize>,
        drives: &[DriveActs<'_>],
    ) -> Result<Vec<DriveOpinions>, LabError> {
        let asked = |number: usize| only.is_none_or(|only| only == number);
        let load = |number| asked(number).then(|| self.load(number)).transpose();
        let mut loaded = (0..self.all.len()).map(load).collect::<Result<Vec<_>, _>>()?;
        Ok(opinions(&mut loaded, drives)?)
    }

    /// SHA-256 over all that is read of them: files and descriptions.
    pub(super) fn contents(&self) -> [u8; 32] {
        let mut hasher = Sha256::new();
        for (package, _model) in &self.all {
            let file = Sha256::digest(std::fs::read(package.model_path()).unwrap_or_default());
            hasher.update(read_of(&file.into(), package.description()));
        }
        hasher.finalize().into()
    }
}

/// What is fitted and measured.
pub(super) struct Matrices<'a> {
    policies: &'a Policies,
    drivers: &'a Drivers,
    /// Of all policies, the parts, and after them all of it.
    pack: Vec<Vec<DriveOpinions>>,
    /// Of all policies on what is held out of everybody's drives.
    held_out: Vec<DriveOpinions>,
    /// Of a vehicle's own policy on its own drives, by part.
    own: BTreeMap<(u32, Piece), Vec<DriveOpinions>>,
}

/// A part of a vehicle's own drives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Piece {
    Tuning,
    Pack,
    HeldOut,
}

impl Piece {
    const ALL: [(Self, Part); 3] =
        [(Self::Tuning, Part::Tuning), (Self::Pack, Part::Pack), (Self::HeldOut, Part::HeldOut)];
}

impl<'a> Matrices<'a> {
    pub(super) fn new(policies: &'a Policies, drivers: &'a Drivers) -> Result<Self, LabError> {
        let turns = (0..PARTS).map(|part| drivers.pack.read_turn(usize::from(part)));
        // Turns give a drive that does not fill all parts several times.
        let whole = std::iter::once_with(|| drivers.pack.read(&drivers.pack.parts()));
        let mut pack = Vec::new();
        for footages in turns.chain(whole) {
            pack.push(policies.opinions(None, &footages?.acts())?);
        }
        let mut own: BTreeMap<(u32, Piece), Vec<DriveOpinions>> = BTreeMap::new();
        let mut held_out = Vec::new();
        for driver in &drivers.all {
            let known = Own::of(driver, Part::HeldOut)?;
            held_out.extend(policies.opinions(None, &[known.acts()])?);
            for (piece, part) in Piece::ALL {
                // What is counted on is counted as far as hindsight leaves it.
                let known = match piece {
                    Piece::Tuning if drivers.does.hindsight => Own::judged(driver, part)?,
                    Piece::Tuning | Piece::Pack | Piece::HeldOut => Own::of(driver, part)?,
                };
                let of_vehicle = policies.of(driver.vehicle);
                let held = policies.opinions(Some(of_vehicle), &[known.acts()])?;
                own.entry((driver.vehicle, piece)).or_default().extend(held);
            }
        }
        Ok(Matrices { policies, drivers, pack, held_out, own })
    }

    fn matrix(&self, values: &Flat) -> Result<ActionMatrix, LabError> {
        let bounded: Vec<f32> =
            values.iter().map(|value| value.clamp(-VALUE_MAX, VALUE_MAX)).collect();
        Ok(ActionMatrix::from_values(self.policies.all.len(), &bounded)?)
    }

    /// A night is as many rounds of counting as it would be steps.
    pub(super) fn train(&self, nights: &NightConfig, night: &Tune) -> Result<Flat, LabError> {
        let nothing = || LabError::Nothing { vehicle: night.who.number() };
        let (from, moments) = match night.who {
            Who::Vehicle(vehicle) => {
                let from = match night.window {
                    1 => self.first(vehicle),
                    _ => self.matrix(&night.from)?,
                };
                let own = self.own.get(&(vehicle, Piece::Tuning)).ok_or_else(nothing)?;
                (from, own.clone())
            }
            Who::Part(_) => return Err(LabError::Unfitted),
            Who::All => {
                let of = self.own.iter().filter(|((_vehicle, piece), _)| *piece == Piece::Tuning);
                (self.matrix(&night.from)?, of.flat_map(|(_, held)| held.clone()).collect())
            }
        };
        let fitted = fitted(&from, self.policies.pool, &moments, (nights.steps, HELD));
        Ok(fitted.ok_or_else(nothing)?.values().into())
    }

    /// What a vehicle begins with: nothing learned, and some trust in its own network. Without it all matrices of a fleet would
    /// weigh policies alike for ever: counting tells nothing of networks that a vehicle does not run.
    fn first(&self, vehicle: u32) -> ActionMatrix {
        let policies = self.policies.all.len();
        ActionMatrix::trusting(policies, self.policies.of(vehicle), OWN_SHARE)
    }

    pub(super) fn measure(&self, values: &Flat, on: On) -> Result<Measurement, LabError> {
        let (matrix, pool) = (self.matrix(values)?, self.policies.pool);
        let of_own = |vehicle: u32, piece| {
            let own = self.own.get(&(vehicle, piece)).map_or(&[][..], Vec::as_slice);
            pooled(&matrix, pool, own)
        };
        Ok(match on {
            On::Part { part, .. } => pooled(&matrix, pool, self.pack_of(part)),
            On::Pack { .. } => pooled(&matrix, pool, self.pack_of(PARTS)),
            On::HeldOut => pooled(&matrix, pool, &self.held_out),
            On::HeldOutOf(vehicle) => of_own(vehicle, Piece::HeldOut),
            On::OwnPack(vehicle) => of_own(vehicle, Piece::Pack),
            On::TunedOn(vehicle) => of_own(vehicle, Piece::Tuning),
        })
    }

    /// What is held on a part of the pack; on all of it from [`PARTS`] on.
    fn pack_of(&self, part: u8) -> &[DriveOpinions] {
        self.pack.get(usize::from(part)).map_or(&[], Vec::as_slice)
    }

    /// How near to drivers each policy is by itself on the whole pack, by name.
    pub(super) fn alone(&self) -> Vec<(String, f64)> {
        let names = self.policies.all.iter().map(|(package, _)| &package.description().name);
        let skill = |number| alone(number, self.pack_of(PARTS)).skill();
        let each = names.enumerate();
        each.filter_map(|(number, name)| Some((format!("{name}.{number}"), skill(number)?)))
            .collect()
    }

    /// What decides results beside what is asked, policies and engine: how they are pooled, what they hold, night.
    pub(super) fn digest(&self, config: &SimConfig, hasher: &mut Sha256) {
        hasher.update(format!("{:?}", self.policies.pool));
        super::digest_night(&config.night, hasher);
        hasher.update(self.drivers.pack.sha256());
        hasher.update([u8::from(self.drivers.does.hindsight)]);
        hasher.update(sha256(self.pack_of(PARTS)));
        hasher.update(sha256(&self.held_out));
        for ((vehicle, _piece), held) in &self.own {
            hasher.update(vehicle.to_le_bytes());
            hasher.update(sha256(held));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use shoal_hal::{Drive, FrameShape, Motion};
    use shoal_runtime::onnx::{Builder, TensorType};
    use shoal_shadow::grid::{BINS, Geometry, SHA256};
    use shoal_shadow::pack::{Acted, Pack, PackOptions, build_imitation};
    use shoal_shadow::package::DESCRIPTION_FILE;

    use super::*;
    use crate::utility;

    const FLEET: &str = "[engine]\nkind = \"tract\"\n[drivers]\nregions = [\"snow\"]\n\
        [drivers.matrix]\npolicies = [\"even\"]\n[[methods]]\nname = \"a\"\nkind = \"paper\"\n";

    /// A package of a network for which nothing depends on what it sees.
    fn even(package: &Path) {
        let mut b = Builder::new(17);
        let x = b.input("x", TensorType::f32(&[1, 3, 4, 8]));
        let rows = b.i64s(&[1, -1]);
        let flat = b.op("Reshape", &[&x, &rows], &[]).unwrap();
        let weight = b.f32s(&[96, BINS], &vec![0.0; 96 * BINS]);
        let logits = b.op("MatMul", &[&flat, &weight], &[]).unwrap();
        b.output("logits", &logits);
        fs::create_dir(package).unwrap();
        b.into_model().write(&package.join("model.onnx")).unwrap();
        let grid: String = SHA256.iter().map(|byte| format!("{byte:02x}")).collect();
        let toml = format!(
            "name = 'even'\nrate_hz = 10.0\n[frames]\ninput = 'x'\ncount = 1\nwidth = 8\nheight = 4\n\
             [action]\noutput = 'logits'\ngrid = '{grid}'\n"
        );
        fs::write(package.join(DESCRIPTION_FILE), toml).unwrap();
    }

    /// A pack of one drive that fills two of four parts.
    fn short(folder: &Path) -> Pack {
        let motion = |at: u8| Motion {
            speed_m_s: Some(10.0),
            steering_rad: Some(if (at / 5).is_multiple_of(2) { 0.5 } else { -0.5 }),
            acceleration_m_s2: Some(0.0),
            ..Motion::default()
        };
        let motion = (0..88).map(|at| Some(motion(at))).collect();
        let frames = (0..88).flat_map(|at| [at; 96]).collect();
        let shape = FrameShape { width: 8, height: 4 };
        let drive = Drive::new("short".into(), [1; 32], 10.0, shape, frames, motion);
        let acted = Acted::of(&drive, Geometry::default());
        let (id, licence) = ("short".to_owned(), "not published".to_owned());
        let options = PackOptions { id, version: 1, licence, context: 4 };
        build_imitation(&[drive], &[acted], &options, folder).unwrap();
        Pack::open(folder).unwrap()
    }

    #[test]
    fn all_of_a_pack_has_every_moment_once() {
        let folder = tempfile::tempdir().unwrap();
        let package = folder.path().join("even");
        even(&package);
        let pack = short(&folder.path().join("pack"));
        assert_eq!(pack.parts(), [0, 1]);
        let config = SimConfig::parse("fleet.toml", FLEET).unwrap();
        let matrix = MatrixConfig { policies: vec![package], pool: Pool::Linear };
        let policies = Policies::open(&matrix, crate::lab::engine(&config).unwrap()).unwrap();
        let hashes = vec![pack.sha256(); config.utility.len()];
        let drivers = Drivers {
            all: Vec::new(),
            metrics: Vec::new(),
            utility: utility::document(&config.utility, &hashes).unwrap(),
            closed: None,
            does: config.drivers.unwrap(),
            pack,
        };
        let matrices = Matrices::new(&policies, &drivers).unwrap();
        let footages = drivers.pack.read(&[0, 1]).unwrap();
        let once = policies.opinions(None, &footages.acts()).unwrap();
        assert_eq!(sha256(matrices.pack_of(PARTS)), sha256(&once));
        let [first, second, third] = [0, 1, 2].map(|part| sha256(matrices.pack_of(part)));
        assert!(first != second && first == third, "the drive is asked for in turn");
    }
}
