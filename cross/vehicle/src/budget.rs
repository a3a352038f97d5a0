//! How much of the computer the agent takes, so that it never competes with what drives.
//!
//! Two bounds. The program runs on the processors it is told, at the lowest priority; and looking at frames takes, in the mean,
//! no longer a frame than it is told: frames beyond that are shed.

use std::time::Duration;

/// Highest number of a processor, and one.
const CPUS_MAX: usize = 1024;

/// The processors that a program runs on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cpus {
    /// So many of those that the program was given: those with the highest numbers.
    Count(usize),
    /// These, ascending, at least one.
    These(Vec<usize>),
}

impl Cpus {
    /// Reads a list such as `2-3` or `0,2`; `None` if it is none.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let mut cpus = Vec::new();
        for part in text.split(',') {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            let (first, last): (usize, usize) =
                (first.trim().parse().ok()?, last.trim().parse().ok()?);
            if first > last || last >= CPUS_MAX {
                return None;
            }
            cpus.extend(first..=last);
        }
        cpus.sort_unstable();
        cpus.dedup();
        Some(Cpus::These(cpus))
    }

    /// Those of the processors given that are meant; what is missing of them, if they are not all given.
    #[cfg_attr(
        not(target_os = "linux"),
        expect(dead_code, reason = "processors are chosen on Linux")
    )]
    fn of(&self, given: &[usize]) -> Result<Vec<usize>, String> {
        match self {
            Cpus::Count(count) => match given.len().checked_sub(*count) {
                Some(first) => Ok(given.get(first..).unwrap_or_default().to_vec()),
                None => Err(format!("{count} of {}", given.len())),
            },
            Cpus::These(cpus) => match cpus.iter().find(|cpu| !given.contains(cpu)) {
                None => Ok(cpus.clone()),
                Some(absent) => Err(format!("processor {absent} of {given:?}")),
            },
        }
    }
}

/// Why a program cannot keep to its place.
#[derive(Debug, thiserror::Error)]
pub enum PlaceError {
    /// Processors that the system has not given to the program.
    #[error(
        "[engine] asks for {absent} that this program was given: ask for fewer (cores) or others (cpus)"
    )]
    NotGiven {
        /// What is not there.
        absent: String,
    },
    /// The system refuses.
    #[error("the system does not let this program {what}")]
    System {
        /// What it asked for.
        what: &'static str,
        /// Why.
        source: std::io::Error,
    },
    /// A system on which processors are not chosen.
    #[error("engine.cores and engine.cpus need Linux")]
    NotLinux,
}

/// To whom the program gives way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GivesWay {
    /// To whatever else runs.
    ToAll,
    /// To what runs in its session: the kernel gives every session its part, and this one is not the program's own.
    InItsSession,
}

/// Puts the program where it belongs, before it has a second thread: at nice 19, on its processors. Threads begun later are there
/// as well, those of engines among them. So is its session, if it leads one: where the kernel groups by sessions (`autogroup`, on in
/// most distributions) a nice value counts among those of one session, and each session has as much as any other.
///
/// Why nice and not SCHED_IDLE: both give way to all that drives; under SCHED_IDLE a computer that is never idle would also keep
/// the program from answering its broker within a window. Nice 19 leaves it about 1.5 % of a processor that others fill.
///
/// # Errors
/// [`PlaceError`].
#[cfg(target_os = "linux")]
pub fn keep_to(cpus: Option<&Cpus>) -> Result<GivesWay, PlaceError> {
    use rustix::process::setpriority_process;
    use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
    let system =
        |what| move |error: rustix::io::Errno| PlaceError::System { what, source: error.into() };
    setpriority_process(None, LOWEST).map_err(system("take the lowest priority"))?;
    let gives_way = session_gives_way();
    let Some(cpus) = cpus else { return Ok(gives_way) };
    let given = sched_getaffinity(None).map_err(system("see its processors"))?;
    let given: Vec<usize> =
        (0..CpuSet::MAX_CPU.min(CPUS_MAX)).filter(|cpu| given.is_set(*cpu)).collect();
    let chosen = cpus.of(&given).map_err(|absent| PlaceError::NotGiven { absent })?;
    let mut set = CpuSet::new();
    chosen.iter().for_each(|cpu| set.set(*cpu));
    sched_setaffinity(None, &set).map_err(system("choose its processors"))?;
    Ok(gives_way)
}

/// Gives the session that this program leads the lowest priority among sessions, where the kernel has such.
///
/// # Source
/// sched(7), 'The autogroup feature'.
#[cfg(target_os = "linux")]
fn session_gives_way() -> GivesWay {
    const GROUP: &str = "/proc/self/autogroup";
    let enabled = std::fs::read_to_string("/proc/sys/kernel/sched_autogroup_enabled");
    if !enabled.is_ok_and(|enabled| enabled.trim() == "1") || !std::path::Path::new(GROUP).exists()
    {
        return GivesWay::ToAll;
    }
    // Another's session is not this program's to slow down.
    if !leads_its_session() {
        return GivesWay::InItsSession;
    }
    for _try in 0..GROUP_TRIES {
        match std::fs::write(GROUP, LOWEST.to_string()) {
            Ok(()) => return GivesWay::ToAll,
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                std::thread::park_timeout(GROUP_PAUSE);
            }
            Err(_forbidden) => break,
        }
    }
    GivesWay::InItsSession
}

/// Whether this program leads its session. Asked of the file system and not of getsid(2), which says 0 in a container whose session
/// is led from outside, where `rustix` promises an identifier and ends a debug build.
///
/// # Source
/// `proc_pid_stat(5)`: the identifier is the first field, the session the fourth behind the name in brackets.
#[cfg(target_os = "linux")]
fn leads_its_session() -> bool {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let id = stat.split(' ').next();
    let session = stat.rsplit_once(") ").and_then(|(_name, fields)| fields.split(' ').nth(3));
    session.is_some() && session == id
}

/// As on Linux, which alone knows both.
///
/// # Errors
/// [`PlaceError::NotLinux`] where processors are named.
#[cfg(not(target_os = "linux"))]
pub fn keep_to(cpus: Option<&Cpus>) -> Result<GivesWay, PlaceError> {
    cpus.map_or(Ok(GivesWay::InItsSession), |_cpus| Err(PlaceError::NotLinux))
}

/// The nicest value.
#[cfg(target_os = "linux")]
const LOWEST: i32 = 19;

/// The kernel sets one session's priority ten times a second at most, on the whole computer.
#[cfg(target_os = "linux")]
const GROUP_PAUSE: Duration = Duration::from_millis(120);
#[cfg(target_os = "linux")]
const GROUP_TRIES: u32 = 50;

/// Frames whose time may be saved up: a pause, and then as many at once.
const SAVED_FRAMES_MAX: u32 = 10;

/// The time that looking at frames may take: a token bucket.
///
/// Every frame that comes adds what a frame may take, up to that of ten frames; looking at one takes from it what it
/// took. Without anything left a frame is shed. So the mean of a look over all frames is never more than allowed, and where each
/// takes n times that, every n-th frame is looked at. Time is that of the wall: what the driver's software keeps a look waiting
/// counts too, and the agent gives way the more.
#[derive(Clone, Debug)]
pub struct FrameBudget {
    frame_time_max: Option<Duration>,
    saved: Duration,
    owed: Duration,
}

impl FrameBudget {
    /// So much time a frame; `None`: as much as it takes.
    #[must_use]
    pub fn new(frame_time_max: Option<Duration>) -> Self {
        FrameBudget { frame_time_max, saved: Duration::ZERO, owed: Duration::ZERO }
    }

    /// A frame came: whether it may be looked at.
    pub fn handle_frame(&mut self) -> bool {
        let Some(each) = self.frame_time_max else { return true };
        let most = each.saturating_mul(SAVED_FRAMES_MAX);
        let paid = self.owed.min(each);
        self.owed = self.owed.saturating_sub(paid);
        self.saved = self.saved.saturating_add(each.saturating_sub(paid)).min(most);
        !self.saved.is_zero()
    }

    /// Looking at it took so long.
    pub fn handle_look(&mut self, took: Duration) {
        if self.frame_time_max.is_some() {
            let more = took.saturating_sub(self.saved);
            self.saved = self.saved.saturating_sub(took);
            self.owed = self.owed.saturating_add(more);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Which of so many frames are looked at, where each look takes `ms`.
    fn looked(budget: &mut FrameBudget, frames: usize, ms: u64) -> Vec<bool> {
        let mut look = || {
            let may = budget.handle_frame();
            if may {
                budget.handle_look(Duration::from_millis(ms));
            }
            may
        };
        (0..frames).map(|_frame| look()).collect()
    }

    fn budget(ms: u64) -> FrameBudget {
        FrameBudget::new(Some(Duration::from_millis(ms)))
    }

    #[test]
    fn what_keeps_to_its_time_is_looked_at_always() {
        assert!(looked(&mut budget(20), 1000, 20).iter().all(|may| *may));
        let mut free = FrameBudget::new(None);
        assert!(looked(&mut free, 100, 5000).iter().all(|may| *may));
    }

    #[test]
    fn what_takes_n_times_its_time_is_looked_at_every_nth_frame() {
        for n in 2..7_u64 {
            let looked = looked(&mut budget(10), 210, 10 * n);
            let at: Vec<usize> = (0..210).filter(|at| looked[*at]).collect();
            assert!(at.windows(2).all(|pair| pair[1] - pair[0] == n as usize), "{n}: {at:?}");
        }
    }

    #[test]
    fn one_slow_look_is_paid_for_and_a_pause_saves_no_more_than_ten() {
        let mut budget = budget(10);
        assert!(looked(&mut budget, 1000, 0).iter().all(|may| *may));
        // Ten frames are saved: a look of 15 of them is paid for by what is saved and four shed frames more.
        assert_eq!(looked(&mut budget, 1, 150), [true]);
        assert_eq!(looked(&mut budget, 6, 10), [false, false, false, false, false, true]);
    }

    #[test]
    fn the_mean_of_a_look_over_all_frames_is_within_the_budget() {
        let mut budget = budget(10);
        let (mut all, mut frames) = (0, 0);
        for step in 0..5000_u64 {
            frames += 1;
            if budget.handle_frame() {
                let took = (step * 7919) % 67;
                all += took;
                budget.handle_look(Duration::from_millis(took));
            }
        }
        // But for the look that was begun last.
        assert!(all <= 10 * frames + 67, "{all} ms in {frames} frames");
        assert!(all > 9 * frames, "{all} ms in {frames} frames: shed without need");
    }

    #[test]
    fn lists_of_processors_are_read_and_others_are_not() {
        assert_eq!(Cpus::parse("2-3"), Some(Cpus::These(vec![2, 3])));
        assert_eq!(Cpus::parse("5, 0-1,1"), Some(Cpus::These(vec![0, 1, 5])));
        for bad in ["", "a", "3-2", "-1", "1-", "1024", "1,,2", "0-99999999999999999999"] {
            assert_eq!(Cpus::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn processors_are_chosen_among_those_that_were_given() {
        assert_eq!(Cpus::Count(2).of(&[0, 1, 5, 7]), Ok(vec![5, 7]));
        assert_eq!(Cpus::Count(3).of(&[0, 1]), Err("3 of 2".into()));
        assert_eq!(Cpus::These(vec![1]).of(&[0, 1]), Ok(vec![1]));
        assert_eq!(Cpus::These(vec![1, 2]).of(&[0, 1]), Err("processor 2 of [0, 1]".into()));
    }
}
