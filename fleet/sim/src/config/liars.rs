//! Vehicles that lie.

use shoal_shadow::document::{DocumentError, Table};

use super::drawn;

/// Vehicles that lie: always the same ones, drawn from the seed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LiarsConfig {
    /// Their share of all vehicles.
    pub share: f64,
    /// What they do.
    pub lie: Lie,
    /// Until this window they do what everybody does.
    pub from_window: u32,
    /// They tell no lie: they do not come. What a fleet gains without them is the most that it can keep beside them.
    pub away: bool,
}

/// A lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lie {
    /// What they send is noise, ten times as long as what they tuned; they claim that it is perfect, and vote the opposite
    /// of what they measure.
    Random,
    /// What they send is what they tuned; they claim that it is perfect.
    Inflated,
    /// What they send is a copy of what another vehicle sent in this or the last window.
    Copied,
    /// What they send is one noise that all liars share, ten times as long as what they tuned; they claim that it is
    /// perfect, vote each other's particles surely best and everybody else's surely worse.
    Colluding,
    /// They claim a copy of what is best as worst, and vote so. A server, which nobody claims anything to, gets the
    /// opposite of what they tuned.
    ForgedWorst,
    /// They claim that what they tuned is perfect, and nobody can fetch it. A server, or a merge, gets from them that nothing changed.
    Withheld,
    /// They claim that what they tuned is perfect, and in the same window that it is as bad as can be. A server, which nobody claims
    /// anything to, gets from them what they tuned.
    Equivocating,
    /// What they claim is fitted to the part of the pack that it is measured on, and to nothing else; what they claim of it is
    /// true there. They contribute what they tuned, which is also what a server, or a merge, gets.
    Overfitting,
}

impl LiarsConfig {
    pub(super) fn read(root: &Table<'_>) -> Result<Self, DocumentError> {
        let mut liars = LiarsConfig { share: 0.0, lie: Lie::Random, from_window: 1, away: false };
        if let Some(table) = root.table("liars", &["share", "lie", "from_window", "away"])? {
            liars.share = table.number("share", 0.0..=0.9)?.unwrap_or(0.0);
            let lies = [
                ("random", Lie::Random),
                ("inflated", Lie::Inflated),
                ("copied", Lie::Copied),
                ("colluding", Lie::Colluding),
                ("forged_worst", Lie::ForgedWorst),
                ("withheld", Lie::Withheld),
                ("equivocating", Lie::Equivocating),
                ("overfitting", Lie::Overfitting),
            ];
            liars.from_window = table.integer("from_window", 1..=1000)?.map_or(1, |n| n as u32);
            liars.lie = table.choice("lie", &lies)?.unwrap_or(Lie::Random);
            liars.away = table.boolean("away")?.unwrap_or(false);
        }
        Ok(liars)
    }

    /// Who is no honest vehicle, by vehicle: the same with every method and every lie.
    #[must_use]
    pub fn of(&self, vehicles: u32, seed: u64) -> Vec<bool> {
        share_of(self.share, vehicles, seed, "shoal simulation liars")
    }

    /// Whether those who are not honest come to this window.
    #[must_use]
    pub const fn come(&self, window: u32) -> bool {
        !self.away || window < self.from_window
    }
}

/// A share of all vehicles, drawn for this purpose.
pub(super) fn share_of(share: f64, vehicles: u32, seed: u64, purpose: &str) -> Vec<bool> {
    let count = (share * f64::from(vehicles)).round() as usize;
    let chosen: Vec<usize> = drawn(vehicles, seed, purpose).into_iter().take(count).collect();
    (0..vehicles as usize).map(|vehicle| chosen.contains(&vehicle)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::tests::{SMALL, refused};

    #[test]
    fn so_many_lie_as_are_asked_for_and_always_the_same() {
        let liars = LiarsConfig { share: 0.25, lie: Lie::Random, from_window: 1, away: false };
        for seed in 0..20 {
            let who = liars.of(8, seed);
            assert_eq!(who.iter().filter(|lies| **lies).count(), 2);
            assert_eq!(who, liars.of(8, seed));
        }
        assert!((0..20).any(|seed| liars.of(8, seed) != liars.of(8, 0)));
        assert!(refused(&format!("[liars]\nlie = \"randon\"\n{SMALL}")).contains("`random`"));
        assert!(
            refused(&format!("[liars]\nlie = \"overfiting\"\n{SMALL}")).contains("`overfitting`")
        );
        assert!(refused(&format!("[liars]\nshare = 1.5\n{SMALL}")).contains("share"));
    }
}
