//! What a server makes of displacements: the rules of shoal-soup, which know positions, on positions counted from where the
//! fleet began.

use shoal_soup::input::{InputError, Members};
use shoal_soup::merge::uniform;
use shoal_soup::server::{
    DiLoCo, DiLoCoSettings, FedAdam, FedAdamSettings, coordinate_median, krum, trimmed_mean,
};

use super::{difference, moved};
use crate::config::Server as Asked;

/// A server with its state.
pub(super) struct Server {
    rule: Rule,
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
}

impl Server {
    pub(super) fn new(asked: Asked, values: usize) -> Result<Self, InputError> {
        let at = vec![0.0; values];
        let rule = match asked {
            Asked::Mean { rate } => Rule::Mean { rate },
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
        };
        Ok(Server { rule, at })
    }

    /// The step of one round; without displacements, or with fewer than the rule needs, there is none.
    pub(super) fn step(&mut self, displacements: &[Vec<f32>]) -> Result<Vec<f32>, InputError> {
        if displacements.is_empty() {
            return Ok(vec![0.0; self.at.len()]);
        }
        let members = Members::new(displacements)?;
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
            Rule::Mean { rate } => {
                let step: Vec<f32> = uniform(&members)
                    .iter()
                    .map(|step| (f64::from(*step) * *rate) as f32)
                    .collect();
                moved(&self.at, &step).to_vec()
            }
            Rule::Median => moved(&self.at, &coordinate_median(&members)).to_vec(),
            Rule::Trimmed { trim } => {
                let cut = (*trim * members.count() as f64) as usize;
                moved(&self.at, &trimmed_mean(&members, cut)?).to_vec()
            }
            Rule::Krum { liars } if members.count() < 2 * *liars + 3 => self.at.clone(),
            Rule::Krum { liars } => {
                let chosen = krum(&members, *liars)?;
                locals.get(chosen).cloned().unwrap_or_else(|| self.at.clone())
            }
        };
        let step = difference(&next, &self.at);
        self.at = next;
        Ok(step)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn steps(asked: Asked, rounds: &[&[Vec<f32>]]) -> Vec<Vec<f32>> {
        let mut server = Server::new(asked, 2).unwrap();
        rounds.iter().map(|round| server.step(round).unwrap()).collect()
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
        for asked in [Asked::Median, Asked::Trimmed { trim: 0.2 }, Asked::Krum { liars: 1 }] {
            assert_eq!(steps(asked, &[&round]), [vec![1.0, 1.0]], "{asked:?}");
        }
        let few = steps(Asked::Krum { liars: 1 }, &[&round[1..]]);
        assert_eq!(few, [vec![0.0, 0.0]], "four are too few to tell one liar");
    }
}
