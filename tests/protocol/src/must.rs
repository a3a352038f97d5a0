//! What must hold, by name, and how often it was looked at: what is never looked at holds whatever happens.

use std::cell::Cell;
use std::fmt;

macro_rules! musts {
    ($($(#[$doc:meta])* $name:ident = $said:literal,)+) => {
        /// What must hold.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Must {
            $($(#[$doc])* $name,)+
        }

        impl Must {
            /// All of it.
            pub const ALL: &[Must] = &[$(Must::$name,)+];
        }

        impl fmt::Display for Must {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(match self {
                    $(Must::$name => $said,)+
                })
            }
        }
    };
}

musts! {
    /// No more bytes cross a vehicle's socket in a window than may.
    Budget = "budget",
    /// No vehicle goes back to an older document.
    Documents = "documents",
    /// All that counts was published by who may.
    Genuine = "genuine",
    /// No vehicle believes a time before one that it was told.
    Time = "time",
    /// What vehicles say has ever higher counters.
    Counters = "counters",
    /// Nothing is said twice and differently.
    Once = "once",
    /// A vehicle moves to nothing that it has not measured to be no worse.
    Moves = "moves",
    /// By the paper's rule a vehicle steps where its draws lead, to its own best and to nothing that it has not measured to be no
    /// worse.
    Steps = "steps",
    /// What counted before the power went counts after it.
    Kept = "kept",
    /// By the same records the same vehicles stand aside after it.
    Standing = "standing",
    /// What did not count before the power went does not count after it.
    NothingNew = "nothing new",
    /// What was sent on a connection that lasts is acknowledged.
    Acknowledged = "acknowledged",
    /// Who is connected is sent what it says of itself.
    Listens = "listens",
    /// What a vehicle said it does not take for another's.
    Own = "own",
    /// Who is connected hears what is said.
    Hears = "hears",
    /// Who comes back hears what was said while it was away.
    ComesBack = "comes back",
    /// What comes after those who voted were there does not count.
    TooLate = "too late",
    /// What those who were drawn voted on counts, whatever is claimed once they have begun.
    Counted = "counted",
    /// No honest vehicle is taken for a liar where liars are few.
    Slander = "slander",
    /// What a broker lost that it had acknowledged stands there again once its vehicle is connected again in that window.
    Again = "again",
    /// Who claims what nobody can get stands aside.
    Withholds = "withholds",
    /// Who may not exchange is on no line.
    Unfit = "unfit",
    /// Every order of the authority about who stands aside is heard.
    Ordered = "ordered",
    /// A reinstatement is of what was found before its window, and of nothing that was found later.
    Reinstated = "reinstated",
    /// What vehicles try is what was approved.
    Approved = "approved",
    /// No stage begins before those before it have kept what it tries.
    Stages = "stages",
    /// Nobody begins once it stands on a calm board that too many have gone back.
    Halted = "halted",
    /// Nobody waits whose stage is open.
    Waits = "waits",
    /// Who was behind hears of a plan that has bytes enough.
    Plenty = "plenty",
    /// All know the nonces of calm windows.
    Nonces = "nonces",
    /// All know the same of calm windows, but for claims of the last minute in which one counts.
    Known = "known",
    /// Neither of two claims that contradict each other counts.
    Void = "void",
    /// Who was drawn for what is voted on votes.
    Drawn = "drawn",
    /// Where nobody lies something is elected.
    Elects = "elects",
    /// Where nobody lies, who knew of a best knows of one.
    Remembers = "remembers",
    /// Those who can talk agree on best, worst and who stands aside.
    Agreed = "agreed",
}

/// Looks at one of them: `must!(looked, Budget, bytes <= may, "{bytes} of {may}")`.
macro_rules! must {
    ($looked:expr, $must:ident, $holds:expr, $($said:tt)+) => {
        $looked.at($crate::must::Must::$must, $holds, || format!($($said)+))
    };
}
pub(crate) use must;

/// How often each was looked at.
#[derive(Debug)]
pub struct Looked([Cell<u64>; Must::ALL.len()]);

impl Default for Looked {
    fn default() -> Self {
        Looked([const { Cell::new(0) }; Must::ALL.len()])
    }
}

impl Looked {
    /// Looks at it: `holds`, or it is said `otherwise` why not.
    ///
    /// # Panics
    /// When it does not hold.
    pub fn at(&self, must: Must, holds: bool, otherwise: impl FnOnce() -> String) {
        self.0[must as usize].update(|times| times + 1);
        assert!(holds, "{must}: {}", otherwise());
    }

    /// Each, and how often.
    pub fn times(&self) -> impl Iterator<Item = (Must, u64)> {
        Must::ALL.iter().map(|must| (*must, self.0[*must as usize].get()))
    }
}
