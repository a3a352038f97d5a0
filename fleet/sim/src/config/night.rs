//! What a vehicle tunes between two windows: `[night]`.

use shoal_shadow::batch::Mix;
use shoal_shadow::document::{DocumentError, Table};

use super::{HardwareConfig, MethodConfig};

const KEYS: [&str; 9] =
    ["steps", "batch", "learning_rate", "replay", "ewc", "distilled", "ahead", "teacher", "home"];

/// Whose predictions the targets of distilled samples are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Teacher {
    /// The shipped model's.
    Shipped,
    /// From the second window on those of the model with what the vehicle was given last; where nobody was given anything, the shipped
    /// model's.
    Best,
}

/// A night.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct NightConfig {
    /// Training steps before each window.
    pub steps: u32,
    /// Samples a step.
    pub batch: usize,
    /// AdamW's highest step size.
    pub learning_rate: f64,
    /// Whether a part of each batch is of the footage that ships with the model.
    pub replay: bool,
    /// λ of elastic weight consolidation, beside an importance of mean 1 a phase: as μ of FedProx; 0: none.
    pub ewc: f64,
    /// Augmented samples of a batch whose target is what the teacher predicts; 0: none.
    pub distilled: usize,
    /// Frames that are predicted in a row, each from those predicted before; all of them count alike in the loss.
    pub ahead: usize,
    /// Who predicts the targets of distilled samples.
    pub teacher: Teacher,
    /// The adapters of the last so many layers stay with their vehicle.
    pub home: u32,
}

impl NightConfig {
    pub(super) fn read(root: &Table<'_>) -> Result<Self, DocumentError> {
        let night = NightConfig {
            steps: 20,
            batch: 8,
            learning_rate: 3e-3,
            replay: true,
            ewc: 0.0,
            distilled: 0,
            ahead: 1,
            teacher: Teacher::Shipped,
            home: 0,
        };
        night.of(root)
    }

    /// The same with what a table says in its `night`.
    pub(super) fn of(&self, parent: &Table<'_>) -> Result<Self, DocumentError> {
        let mut night = *self;
        if let Some(table) = parent.table("night", &KEYS)? {
            night.steps = table.integer("steps", 1..=10_000)?.map_or(night.steps, |n| n as u32);
            night.batch = table.integer("batch", 4..=256)?.map_or(night.batch, |n| n as usize);
            let rate = table.number("learning_rate", 1e-6..=1.0)?;
            night.learning_rate = rate.unwrap_or(night.learning_rate);
            night.replay = table.boolean("replay")?.unwrap_or(night.replay);
            night.ewc = table.number("ewc", 0.0..=1e9)?.unwrap_or(night.ewc);
            let most = night.distilled_max(night.batch);
            let distilled = table.integer("distilled", 0..=most as i64)?;
            night.distilled = distilled.map_or(night.distilled, |n| n as usize);
            night.ahead = table.integer("ahead", 1..=8)?.map_or(night.ahead, |n| n as usize);
            let teachers = [("shipped", Teacher::Shipped), ("best", Teacher::Best)];
            night.teacher = table.choice("teacher", &teachers)?.unwrap_or(night.teacher);
            night.home = table.integer("home", 0..=1000)?.map_or(night.home, |n| n as u32);
            if night.teacher == Teacher::Best && night.distilled == 0 {
                let want = "shipped, or `distilled` above 0: nothing is taught";
                return Err(table.refuse("teacher", "best", want));
            }
        }
        Ok(night)
    }

    /// Samples of a batch that can be distilled: without footage its places go to augmented samples.
    fn distilled_max(&self, batch: usize) -> usize {
        let mix = Mix::of(batch);
        mix.augmented + if self.replay { 0 } else { mix.replayed }
    }

    /// What it may have distilled instead, where a batch has not room for what it has: also where it has the number, or the batch, from
    /// another table, and in the smaller batches of classes of hardware.
    pub(super) fn too_many_distilled(&self, classes: &[HardwareConfig]) -> Option<String> {
        let of_classes = classes.iter().filter_map(|class| {
            let batch = class.batch?.min(self.batch);
            Some((batch, format!("a batch of {batch} of class `{}`", class.name)))
        });
        let all = of_classes.chain([(self.batch, format!("a batch of {}", self.batch))]);
        let most = all.map(|(batch, of)| (self.distilled_max(batch), of));
        let (most, of) = most.min_by_key(|(most, _)| *most)?;
        (self.distilled > most).then(|| format!("0 to {most}, as {of} has room for"))
    }

    /// What tuners of other models than those of frames do not offer, and whether it is asked for.
    fn of_frames(&self) -> [(&'static str, bool); 4] {
        [
            ("ewc", self.ewc > 0.0),
            ("distilled", self.distilled > 0),
            ("ahead", self.ahead > 1),
            ("replay", !self.replay),
        ]
    }

    /// Whether it is a night of models of frames alone.
    pub(super) fn frames_alone(&self) -> bool {
        self.of_frames().iter().any(|(_key, asked)| *asked)
    }

    /// Refuses what tuners of other models than those of frames do not offer, and two pulls at a time.
    pub(super) fn check(
        &self,
        root: &Table<'_>,
        frames: bool,
        methods: &[MethodConfig],
    ) -> Result<(), DocumentError> {
        let Some(table) = root.table("night", &KEYS)? else { return Ok(()) };
        for (key, asked) in self.of_frames() {
            if asked && !frames {
                return Err(table.refuse(key, "of a model without frames", "a model of frames"));
            }
        }
        match methods.iter().find(|method| method.pulls()) {
            Some(method) if self.ewc > 0.0 => {
                let got = format!("beside `{}` with its server `fedprox`", method.name);
                Err(table.refuse("ewc", got, "only one of the two: a night has one pull"))
            }
            Some(_) | None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::config::SimConfig;
    use crate::config::tests::refused;

    const METHOD: &str = "[[methods]]\nname = \"a\"\nkind = \"local\"\n";

    fn file(night: &str) -> String {
        format!("[roads]\nregions = [\"snow\"]\n[night]\n{night}\n{METHOD}")
    }

    fn parsed(night: &str) -> SimConfig {
        SimConfig::parse("fleet.toml", &file(night)).unwrap()
    }

    #[test]
    fn switches_against_forgetting_are_off_until_they_are_asked_for() {
        let usual = parsed("steps = 20");
        assert_eq!((usual.night.ewc, usual.night.distilled), (0.0, 0));
        let off = parsed("ewc = 0.0\ndistilled = 0");
        let name = |config: &SimConfig| config.hash(&config.methods[0]);
        assert_eq!(name(&off), name(&usual));
        let [held, distilled] = ["ewc = 2.5", "distilled = 3"].map(parsed);
        assert_eq!((held.night.ewc, distilled.night.distilled), (2.5, 3));
        assert_ne!(name(&held), name(&usual));
        assert_ne!(name(&distilled), name(&usual));
        let bare = [parsed("replay = false"), parsed("replay = false\ndistilled = 5")];
        assert_ne!(name(&bare[0]), name(&bare[1]));
        let off = parsed("ahead = 1\nteacher = \"shipped\"\nhome = 0");
        assert_eq!(name(&off), name(&usual));
        let ahead = parsed("ahead = 3");
        assert_eq!(ahead.night.ahead, 3);
        assert_ne!(name(&ahead), name(&usual));
        assert_ne!(name(&parsed("home = 1")), name(&usual));
        let taught = parsed("distilled = 3\nteacher = \"best\"");
        assert_ne!(name(&taught), name(&distilled));
    }

    #[test]
    fn what_a_night_cannot_do_is_refused_with_its_line() {
        let logs = format!("[logs]\nrecorded = [\"a.csv\"]\n[night]\newc = 1\n{METHOD}");
        let proximal =
            "[[methods]]\nname = \"p\"\nkind = \"average\"\nserver = \"fedprox\"\nmu = 1\n";
        for (toml, said) in [
            (file("ewc = -1"), "fleet.toml:4: night.ewc"),
            (file("distilled = 4"), "fleet.toml:4: night.distilled"),
            (file("replay = false\ndistilled = 6"), "0 to 5"),
            (file("distiled = 1"), "did you mean `distilled`"),
            (logs.clone(), "fleet.toml:4: night.ewc"),
            (logs.replace("ewc", "distilled"), "fleet.toml:4: night.distilled"),
            (format!("[trivial]\n[night]\newc = 1\n{METHOD}"), "beside `trivial`"),
            (file("ahead = 9"), "1 to 8"),
            (file("teacher = \"best\""), "fleet.toml:4: night.teacher"),
            (
                file("distilled = 2").trim_end().to_owned() + "\nnight = { batch = 4 }\n",
                "distilled = 2 of `a`",
            ),
            (
                file("replay = false\ndistilled = 5")
                    + "[[hardware]]\nname = \"small\"\nvehicles = 1\nbatch = 4\n",
                "a batch of 4 of class `small` has room for",
            ),
            (logs.replace("ewc = 1", "ahead = 2"), "fleet.toml:4: night.ahead"),
            (file("ewc = 1") + proximal, "fleet.toml:4: night.ewc: beside `p`"),
        ] {
            let error = refused(&toml);
            assert!(error.contains(said), "{toml}: {error}");
        }
        assert!(SimConfig::parse("fleet.toml", &(file("ewc = 0") + proximal)).is_ok());
    }
}
