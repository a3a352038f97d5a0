//! What a server makes of displacements: the rules of shoal-soup, which know positions, on positions counted from where the
//! fleet began.

use shoal_runtime::adapter::Layout;
use shoal_soup::input::{InputError, Members};
use shoal_soup::merge::{Part, flexlora, uniform};
use shoal_soup::server::{
    DiLoCo, DiLoCoSettings, FedAdam, FedAdamSettings, clip_to_median, coordinate_median, krum,
    multi_krum, trimmed_mean,
};
use shoal_soup::sites::Sites;
use shoal_swarm::swarm::Flat;

use super::sites::sites;
use super::{MethodError, difference, moved};
use crate::config::Server as Asked;

/// A server with its state.
pub(super) struct Server {
    rule: Rule,
    /// Vehicles of the fleet.
    vehicles: usize,
    /// Where it is.
    at: Vec<f32>,
}

enum Rule {
    Mean { rate: f64 },
    Momentum(DiLoCo),
    Adam(FedAdam),
    Median,
    Trimmed { trim: f64 },
    Krum { liars: usize },
    MultiKrum { liars: usize, keep: usize },
    Clipped { rate: f64 },
    FlexLora { sites: Sites, start: Vec<f32> },
}

impl Server {
    /// A server of a fleet of so many that begins at `start`.
    pub(super) fn new(
        asked: Asked,
        vehicles: u32,
        start: &[f32],
        layout: &Layout,
    ) -> Result<Self, MethodError> {
        let at = vec![0.0; start.len()];
        let rule = match asked {
            Asked::Mean { rate } | Asked::Proximal { rate, .. } => Rule::Mean { rate },
            Asked::Momentum { rate, momentum } => {
                Rule::Momentum(DiLoCo::new(&at, DiLoCoSettings { step: rate, momentum })?)
            }
            Asked::Adam { rate, beta1, beta2, epsilon } => {
                let settings =
                    FedAdamSettings { step: rate, beta_1: beta1, beta_2: beta2, tau: epsilon };
                Rule::Adam(FedAdam::new(&at, settings)?)
            }
            Asked::Median => Rule::Median,
            Asked::Trimmed { trim } => Rule::Trimmed { trim },
            Asked::Krum { liars } => Rule::Krum { liars: liars as usize },
            Asked::MultiKrum { liars, keep } => {
                Rule::MultiKrum { liars: liars as usize, keep: keep as usize }
            }
            Asked::Clipped { rate } => Rule::Clipped { rate },
            Asked::FlexLora => Rule::FlexLora { sites: sites(layout)?, start: start.to_vec() },
        };
        Ok(Server { rule, vehicles: vehicles as usize, at })
    }

    /// The step of one round; without displacements, or with fewer than the rule needs, there is none.
    pub(super) fn step(&mut self, displacements: &[Vec<f32>]) -> Result<Vec<f32>, InputError> {
        if displacements.is_empty() {
            return Ok(vec![0.0; self.at.len()]);
        }
        let members = Members::new(displacements)?;
        let count = members.count();
        // Of those who came as many may lie as of all.
        let among = |liars: usize| liars * count / self.vehicles.max(1);
        let locals: Vec<_> = displacements.iter().map(|by| moved(&self.at, by).to_vec()).collect();
        let next = match &mut self.rule {
            Rule::Momentum(rule) => {
                rule.step(&Members::new(&locals)?)?;
                rule.global()
            }
            Rule::Adam(rule) => {
                rule.step(&Members::new(&locals)?)?;
                rule.global()
            }
            Rule::Mean { rate } => moved(&self.at, &times(&uniform(&members), *rate)).to_vec(),
            Rule::Clipped { rate } => {
                let clipped = clip_to_median(&members);
                moved(&self.at, &times(&uniform(&Members::new(&clipped)?), *rate)).to_vec()
            }
            Rule::Median => moved(&self.at, &coordinate_median(&members)).to_vec(),
            Rule::Trimmed { trim } => {
                let cut = (*trim * count as f64) as usize;
                moved(&self.at, &trimmed_mean(&members, cut)?).to_vec()
            }
            Rule::MultiKrum { liars, keep } => {
                let liars = among(*liars);
                let kept = (*keep).min(count - liars);
                match count {
                    // Where nobody is left out it is the mean, of however few.
                    _ if kept == count => moved(&self.at, &uniform(&members)).to_vec(),
                    _ if count < 2 * liars + 3 => self.at.clone(),
                    _ => moved(&self.at, &multi_krum(&members, liars, kept)?).to_vec(),
                }
            }
            Rule::FlexLora { sites, start } => {
                let positions: Vec<_> = locals.iter().map(|local| moved(start, local)).collect();
                difference(&mean_of_products(sites, &positions)?, start)
            }
            Rule::Krum { liars } if count < 2 * among(*liars) + 3 => self.at.clone(),
            Rule::Krum { liars } => {
                let chosen = krum(&members, among(*liars))?;
                locals.get(chosen).cloned().unwrap_or_else(|| self.at.clone())
            }
        };
        let step = difference(&next, &self.at);
        self.at = next;
        Ok(step)
    }
}

fn times(values: &[f32], factor: f64) -> Vec<f32> {
    values.iter().map(|value| (f64::from(*value) * factor) as f32).collect()
}

/// The adapter whose products B·A are nearest to the mean of these adapters' products.
fn mean_of_products(sites: &Sites, positions: &[Flat]) -> Result<Vec<f32>, InputError> {
    let part = |values| Part { sites, values };
    let parts: Vec<Part<'_>> = positions.iter().map(|values| part(values)).collect();
    flexlora(&parts, &vec![1.0 / parts.len() as f64; parts.len()], sites)
}

#[cfg(test)]
mod tests {
    use shoal_soup::sites::Site;

    use super::*;

    fn steps_of(vehicles: u32, asked: Asked, rounds: &[&[Vec<f32>]]) -> Vec<Vec<f32>> {
        let layout = Layout { sites: Vec::new(), rank: 1, alpha: 1.0 };
        let mut server = Server::new(asked, vehicles, &[0.0; 2], &layout).unwrap();
        rounds.iter().map(|round| server.step(round).unwrap()).collect()
    }

    /// All are there in the first round.
    fn steps(asked: Asked, rounds: &[&[Vec<f32>]]) -> Vec<Vec<f32>> {
        steps_of(rounds[0].len() as u32, asked, rounds)
    }

    #[test]
    fn steps_add_up_to_where_the_rule_is() {
        let round = [vec![1.0, 0.0], vec![3.0, 2.0]];
        let plain = steps(Asked::Mean { rate: 0.5 }, &[&round, &[], &round]);
        assert_eq!(plain, [vec![1.0, 0.5], vec![0.0, 0.0], vec![1.0, 0.5]]);
        // b = 2, step 1·(2 + ½·2); then b = 3, step 2 + ½·3.
        let momentum = Asked::Momentum { rate: 1.0, momentum: 0.5 };
        let pushed = steps(momentum, &[&round, &round]);
        assert_eq!(pushed, [vec![3.0, 1.5], vec![3.5, 1.75]]);
    }

    #[test]
    fn one_liar_moves_no_robust_server() {
        let mut round = vec![vec![1.0, 1.0]; 4];
        round.push(vec![1e6, -1e6]);
        for asked in [
            Asked::Median,
            Asked::Trimmed { trim: 0.2 },
            Asked::Krum { liars: 1 },
            Asked::MultiKrum { liars: 1, keep: 4 },
        ] {
            assert_eq!(steps(asked, &[&round]), [vec![1.0, 1.0]], "{asked:?}");
        }
        let clipped = steps(Asked::Clipped { rate: 1.0 }, &[&round]);
        assert!(clipped[0].iter().all(|step| (0.5..1.5).contains(step)), "{clipped:?}");
        let few = steps(Asked::Krum { liars: 1 }, &[&round[1..]]);
        assert_eq!(few, [vec![0.0, 0.0]], "four are too few to tell one liar");
    }

    #[test]
    fn krum_leaves_out_as_large_a_share_of_those_who_came_as_of_all() {
        // Four of sixteen may lie, so two of the eight that came, of which six agree.
        let mut round = vec![vec![1.0, 1.0]; 6];
        round.extend([vec![1e6, -1e6], vec![-1e6, 1e6]]);
        let multi = Asked::MultiKrum { liars: 4, keep: 12 };
        for asked in [Asked::Krum { liars: 4 }, multi] {
            assert_eq!(steps_of(16, asked, &[&round]), [vec![1.0, 1.0]], "{asked:?}");
        }
        // Of two none is left out: their mean.
        let two = [vec![1.0, 0.0], vec![3.0, 2.0]];
        assert_eq!(steps_of(16, multi, &[&two]), [vec![2.0, 1.0]]);
    }

    #[test]
    fn the_mean_of_products_is_not_the_product_of_means() {
        // ΔW = b·a of one value each: 1·2 and 3·0.
        let sites = Sites::new(vec![Site { a: 0..1, b: 1..2, rank: 1, scale: 1.0 }]).unwrap();
        let positions: [Flat; 2] = [[2.0, 1.0].as_slice().into(), [0.0, 3.0].as_slice().into()];
        let merged = mean_of_products(&sites, &positions).unwrap();
        assert!((merged[0] * merged[1] - 1.0).abs() < 1e-6, "{merged:?}");
    }
}
