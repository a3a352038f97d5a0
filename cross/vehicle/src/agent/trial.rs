//! An adapter that a campaign put on trial: watched beside the active one, then kept, or gone back from. Which it is stands in one
//! record, durable before the slots follow it, so that a cut anywhere leaves what the record says.

use serde::{Deserialize, Serialize};
use shoal_hal::{AdapterSlots as _, Slot, SlotState, Store as _};
use shoal_runtime::adapter::Adapter;
use shoal_swarm::campaign::{Mine, Watch as Limits};
use shoal_wire::v1::RefusalCode;
use shoal_wire::{ParticleId, RecordId};
use tracing::warn;

use super::{Agent, AgentError, keep};

/// The record.
const TRIAL: &str = "campaign-trial";
const BYTES_MAX: usize = 512;
/// Watches in a row that the agent did not end itself, after which it goes back.
const FAILURES_MAX: u8 = 3;
/// A quarter of the moments is enough to see a loss like this: skill, in units of 1e-4.
const AT_ONCE: f64 = 500.0;
const UNITS: f64 = 1e4;

/// What a campaign wants tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ask {
    /// The campaign's number.
    pub number: u32,
    /// What the adapter was made from.
    pub particle: ParticleId,
    /// The record that approved it: what a vehicle refuses that goes back.
    pub approval: RecordId,
    /// When it is kept.
    pub watch: Limits,
}

/// Why a vehicle went back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Why {
    /// It predicted worse than the active one.
    Worse,
    /// It predicted too far from it.
    Apart,
    /// It took too long.
    Slow,
    /// A prediction failed or was not finite, or the agent ended again and again.
    Failed,
    /// The campaign was called off.
    Told,
}

impl Why {
    /// How the vehicle says so; `None`: the fleet knows.
    #[must_use]
    pub const fn code(self) -> Option<RefusalCode> {
        match self {
            Self::Worse => Some(RefusalCode::TrialWorse),
            Self::Apart => Some(RefusalCode::TrialApart),
            Self::Slow => Some(RefusalCode::TrialSlow),
            Self::Failed => Some(RefusalCode::TrialFailed),
            Self::Told => None,
        }
    }
}

/// How a vehicle stands to the last campaign it heard of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tried {
    /// What was asked for.
    pub ask: Ask,
    /// What came of it.
    pub mine: Mine,
    /// Why it went back, if it did.
    pub why: Option<Why>,
    /// What the active adapter was made from; `None`: the vehicle drives on the base model.
    pub active: Option<ParticleId>,
    /// Moments that were watched.
    pub frames: u32,
    /// By how much the one on trial was better, summed over them: skill, in units of 1e-4.
    pub gain: i64,
}

impl Tried {
    /// What the record says that the agent's store has of it; `None`: it is none that an agent wrote.
    #[must_use]
    pub fn of(record: &[u8]) -> Option<Self> {
        Record::decode(record).map(|record| record.tried())
    }
}

/// What was watched, in sums over moments.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Sums {
    pub(super) moments: u32,
    /// Mean square errors: of the active one, of the one on trial, and of a copied frame; of policies distances from what the
    /// driver did, and that of what the driver usually does.
    pub(super) active: f64,
    pub(super) trial: f64,
    pub(super) copy: f64,
    /// Mean squares of how far apart the two predict; of policies the distance between them.
    pub(super) apart: f64,
    /// Seconds in which both predicted.
    pub(super) active_s: f64,
    pub(super) trial_s: f64,
}

impl Sums {
    /// Counts a moment: errors of the active one, of the one on trial and of what is nothing learnt, how far the two are apart; and
    /// the seconds of both.
    pub(super) fn count(&mut self, errors: [f64; 4], seconds: [f64; 2]) {
        let [active, trial, copy, apart] = errors;
        let [active_s, trial_s] = seconds;
        self.add(&Sums { moments: 1, active, trial, copy, apart, active_s, trial_s });
    }

    fn add(&mut self, other: &Sums) {
        self.moments = self.moments.saturating_add(other.moments);
        for (sum, more) in [
            (&mut self.active, other.active),
            (&mut self.trial, other.trial),
            (&mut self.copy, other.copy),
            (&mut self.apart, other.apart),
            (&mut self.active_s, other.active_s),
            (&mut self.trial_s, other.trial_s),
        ] {
            *sum += more;
        }
    }

    /// By how much the one on trial was better, summed over moments: skill, in units of 1e-4.
    fn gain(&self) -> i64 {
        let moments = f64::from(self.moments);
        let gain = UNITS * moments * (self.active - self.trial) / self.copy;
        if gain.is_finite() { gain as i64 } else { 0 }
    }

    /// Whether it is kept; `None`: it must be watched longer.
    fn verdict(&self, limits: &Limits) -> Option<Result<(), Why>> {
        let Limits { moments_min, worse_max, apart_max, latency_max } = *limits;
        let Sums { active, trial, copy, apart, active_s, trial_s, .. } = *self;
        if [active, trial, copy, apart, active_s, trial_s].iter().any(|sum| !sum.is_finite()) {
            // No comparison below would hold: nothing is kept for that.
            return Some(Err(Why::Failed));
        }
        let worse = UNITS * (self.trial - self.active) / self.copy;
        if self.moments < moments_min {
            let soon = u64::from(self.moments) * 4 >= u64::from(moments_min) && self.copy > 0.0;
            return (soon && worse > AT_ONCE.max(worse_max.into())).then_some(Err(Why::Worse));
        }
        if self.copy == 0.0 {
            // Nothing moved: nothing can be said.
            return None;
        }
        Some(if worse > worse_max.into() {
            Err(Why::Worse)
        } else if UNITS * self.apart / self.copy > apart_max.into() {
            Err(Why::Apart)
        } else if 1e3 * self.trial_s > f64::from(latency_max) * self.active_s {
            Err(Why::Slow)
        } else {
            Ok(())
        })
    }
}

/// How far the record is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Stage {
    /// The adapter is being put into its slot.
    Staging,
    Watching,
    Kept,
    GoneBack(Why),
}

/// The record.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Record {
    ask: Ask,
    stage: Stage,
    /// Whether the slot of the trial is B.
    slot_b: bool,
    /// What was active before, if anything was.
    before: Option<ParticleId>,
    sums: Sums,
    /// Whether somebody watches.
    running: bool,
    failures: u8,
}

impl Record {
    /// What this program wrote, and nothing else.
    fn decode(bytes: &[u8]) -> Option<Self> {
        let record: Self = postcard::from_bytes(bytes).ok()?;
        let mut buffer = [0; BYTES_MAX];
        (*record.encode(&mut buffer) == *bytes).then_some(record)
    }

    /// Numbers and three hashes have room.
    fn encode<'a>(&self, buffer: &'a mut [u8; BYTES_MAX]) -> &'a [u8] {
        postcard::to_slice(self, buffer).map_or(&[], |bytes| bytes)
    }

    fn slot(&self) -> Slot {
        if self.slot_b { Slot::B } else { Slot::A }
    }

    fn tried(&self) -> Tried {
        let (mine, why) = match self.stage {
            Stage::Staging => (Mine::Outside, None),
            Stage::Watching => (Mine::Watching, None),
            Stage::Kept => (Mine::Kept, None),
            Stage::GoneBack(why) => (Mine::GoneBack, Some(why)),
        };
        let active = if self.stage == Stage::Kept { Some(self.ask.particle) } else { self.before };
        let (frames, gain) = (self.sums.moments, self.sums.gain());
        Tried { ask: self.ask, mine, why, active, frames, gain }
    }

    /// Takes what one watch saw; `failed`: the adapter could not be used.
    fn watched(&mut self, saw: &Sums, failed: bool) {
        self.running = false;
        self.failures = 0;
        self.sums.add(saw);
        let verdict =
            if failed { Some(Err(Why::Failed)) } else { self.sums.verdict(&self.ask.watch) };
        match verdict {
            None => {}
            Some(Ok(())) => self.stage = Stage::Kept,
            Some(Err(why)) => self.stage = Stage::GoneBack(why),
        }
    }

    /// Takes that the program starts: a watch that is still running was not ended.
    fn started(&mut self) {
        if !std::mem::take(&mut self.running) {
            return;
        }
        self.failures = self.failures.saturating_add(1);
        if self.failures >= FAILURES_MAX {
            self.stage = Stage::GoneBack(Why::Failed);
        }
    }
}

impl Agent {
    /// How the vehicle stands to the last campaign it heard of.
    ///
    /// # Errors
    /// [`AgentError::Files`].
    pub fn tried(&self) -> Result<Option<Tried>, AgentError> {
        Ok(self.trial()?.map(|record| record.tried()))
    }

    /// Puts an adapter on trial, as a campaign asks. One that is on trial already leaves.
    ///
    /// # Errors
    /// [`AgentError`]: nothing is on trial then.
    pub fn put_on_trial(&mut self, adapter: &Adapter, ask: Ask) -> Result<Tried, AgentError> {
        let before = self.trial()?.and_then(|record| record.tried().active);
        if self.slots.state().trial {
            self.slots.roll_back()?;
        }
        let mut record = Record {
            ask,
            stage: Stage::Staging,
            slot_b: self.slots.state().inactive() == Slot::B,
            before,
            sums: Sums::default(),
            running: false,
            failures: 0,
        };
        self.keep_trial(&record)?;
        keep::stage(&mut self.slots, adapter)?;
        record.stage = Stage::Watching;
        self.keep_trial(&record)?;
        Ok(record.tried())
    }

    /// Goes back to what was active before this campaign: because it was called off, or for another reason from outside.
    ///
    /// # Errors
    /// [`AgentError`]: when the program starts again it goes on.
    pub fn go_back(&mut self, number: u32, why: Why) -> Result<Option<Tried>, AgentError> {
        let Some(mut record) = self.trial()?.filter(|record| record.ask.number == number) else {
            return Ok(None);
        };
        if matches!(record.stage, Stage::Watching | Stage::Kept) {
            record.stage = Stage::GoneBack(why);
            self.keep_trial(&record)?;
            self.follow(&mut record)?;
        }
        Ok(Some(record.tried()))
    }

    /// Puts right what a cut left behind; in a fleet, nothing is on trial but by a campaign.
    pub(super) fn settle_trial(&mut self) -> Result<(), AgentError> {
        let Some(mut record) = self.trial()? else {
            if self.config.fleet.is_some() && self.slots.state().trial {
                self.slots.roll_back()?;
            }
            return Ok(());
        };
        if record.running {
            record.started();
            // Where there is no room it counts as long as the program runs, and the vehicle still drives.
            if let Err(error) = self.keep_trial(&record) {
                warn!(%error, "that the program ended while an adapter was on trial is not written down");
            }
        }
        self.follow(&mut record)?;
        self.check(record)
    }

    /// Says of what the record names and the slots do not have that it failed: their state was lost, or another program put another
    /// adapter into use.
    fn check(&mut self, mut record: Record) -> Result<(), AgentError> {
        let SlotState { active, trial } = self.slots.state();
        let gone = match record.stage {
            Stage::Watching => !trial,
            Stage::Kept => active != Some(record.slot()),
            Stage::Staging | Stage::GoneBack(_) => false,
        };
        let before = record.before.filter(|_before| active.is_some());
        if gone || before != record.before {
            warn!(number = record.ask.number, "what this campaign put to use is there no more");
            record.before = before;
            if gone {
                record.stage = Stage::GoneBack(Why::Failed);
            }
            self.keep_trial(&record)?;
        }
        Ok(())
    }

    /// Leaves an adapter in use that can never be used — it is of the package before, damaged, or its file is gone — for the base model.
    pub(super) fn leave_unusable(&mut self) -> Result<(), AgentError> {
        let error = match self.active() {
            Err(AgentError::Keep(error)) if error.is_for_good() => error,
            Ok(_) | Err(_) => return Ok(()),
        };
        warn!(%error, "the adapter in use cannot be used: the vehicle drives on the base model");
        if let Some(mut record) = self.trial()? {
            if matches!(record.stage, Stage::Watching | Stage::Kept) {
                record.stage = Stage::GoneBack(Why::Failed);
            }
            record.before = None;
            self.keep_trial(&record)?;
        }
        if self.slots.state().trial {
            self.slots.roll_back()?;
        }
        Ok(self.slots.deactivate()?)
    }

    /// Says that the adapter on trial is being watched now; `None`: none is, by a campaign.
    pub(super) fn begin_watch(&mut self) -> Result<Option<Record>, AgentError> {
        let Some(mut record) = self.trial()?.filter(|record| record.stage == Stage::Watching)
        else {
            return Ok(None);
        };
        record.running = true;
        // Where there is no room the vehicle still drives, and watches: should the program end, that is not counted.
        if let Err(error) = self.keep_trial(&record) {
            warn!(%error, "that an adapter on trial is watched is not written down");
        }
        Ok(Some(record))
    }

    /// Takes what a watch saw of the adapter on trial, and does what follows.
    pub(super) fn end_watch(
        &mut self,
        mut record: Record,
        saw: &Sums,
        failed: bool,
    ) -> Result<Tried, AgentError> {
        record.watched(saw, failed);
        if let Err(error) = self.keep_trial(&record) {
            // As if it had not been seen: it is watched again.
            warn!(%error, "what was seen of an adapter on trial is not written down");
            return Ok(self.trial()?.map_or_else(|| record.tried(), |kept| kept.tried()));
        }
        self.follow(&mut record)?;
        Ok(record.tried())
    }

    /// Makes the slots what the record says.
    fn follow(&mut self, record: &mut Record) -> Result<(), AgentError> {
        let SlotState { active, trial } = self.slots.state();
        let on = active == Some(record.slot());
        match record.stage {
            Stage::Watching => {}
            Stage::Staging if trial => self.slots.roll_back()?,
            Stage::Staging => {}
            Stage::Kept if trial && !on => self.slots.confirm()?,
            Stage::Kept => {}
            // Off the road again; or from it, to what is still in the other slot.
            Stage::GoneBack(_) if trial && !on => self.slots.roll_back()?,
            Stage::GoneBack(_) if on => self.take_up_before(record)?,
            Stage::GoneBack(_) => {}
        }
        Ok(())
    }

    /// Goes from the campaign's adapter, which is active, to what was active before it; where the file of that is gone, to the base
    /// model.
    fn take_up_before(&mut self, record: &mut Record) -> Result<(), AgentError> {
        let slot = record.slot().other();
        if record.before.is_some() && self.slots.bytes(slot)?.is_none() {
            warn!(?slot, "the adapter from before is gone: the vehicle drives on the base model");
            record.before = None;
            self.keep_trial(record)?;
        }
        let trial = self.slots.state().trial;
        if record.before.is_none() {
            if trial {
                self.slots.roll_back()?;
            }
            return Ok(self.slots.deactivate()?);
        }
        if !trial {
            self.slots.start_trial()?;
        }
        Ok(self.slots.confirm()?)
    }

    fn trial(&self) -> Result<Option<Record>, AgentError> {
        let mut buffer = [0; BYTES_MAX];
        let length = self.store.get(TRIAL, &mut buffer)?;
        let bytes = length.and_then(|length| buffer.get(..length));
        Ok(bytes.and_then(Record::decode))
    }

    fn keep_trial(&mut self, record: &Record) -> Result<(), AgentError> {
        let mut buffer = [0; BYTES_MAX];
        Ok(self.store.put(TRIAL, record.encode(&mut buffer))?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits =
        Limits { moments_min: 100, worse_max: 10, apart_max: 2_000, latency_max: 1_500 };

    /// So many moments of copy error 1, with these mean errors.
    fn sums(moments: u32, active: f64, trial: f64) -> Sums {
        let all = f64::from(moments);
        let (active_s, trial_s) = (all * 0.01, all * 0.01);
        let (active, trial, apart) = (active * all, trial * all, 0.1 * all);
        Sums { moments, active, trial, copy: all, apart, active_s, trial_s }
    }

    #[test]
    fn one_that_is_about_as_good_is_kept_once_it_was_watched_for_long_enough() {
        assert_eq!(sums(99, 0.5, 0.4).verdict(&LIMITS), None);
        assert_eq!(sums(100, 0.5, 0.4).verdict(&LIMITS), Some(Ok(())));
        assert_eq!(sums(100, 0.5, 0.5009).verdict(&LIMITS), Some(Ok(())));
        assert_eq!(sums(100, 0.5, 0.5011).verdict(&LIMITS), Some(Err(Why::Worse)));
    }

    #[test]
    fn a_great_loss_is_seen_at_a_quarter_of_the_moments() {
        assert_eq!(sums(24, 0.5, 0.9).verdict(&LIMITS), None);
        assert_eq!(sums(25, 0.5, 0.9).verdict(&LIMITS), Some(Err(Why::Worse)));
        assert_eq!(sums(25, 0.5, 0.54).verdict(&LIMITS), None);
    }

    #[test]
    fn far_apart_and_slow_are_reasons_too() {
        let apart = Sums { apart: 20.1, ..sums(100, 0.5, 0.5) };
        assert_eq!(apart.verdict(&LIMITS), Some(Err(Why::Apart)));
        let slow = Sums { trial_s: 1.51, ..sums(100, 0.5, 0.5) };
        assert_eq!(slow.verdict(&LIMITS), Some(Err(Why::Slow)));
        assert_eq!(Sums { trial_s: 1.49, ..slow }.verdict(&LIMITS), Some(Ok(())));
    }

    #[test]
    fn where_nothing_moves_nothing_is_decided() {
        let still = Sums { active: 0.0, trial: 0.0, copy: 0.0, ..sums(500, 0.0, 0.0) };
        assert_eq!(still.verdict(&LIMITS), None);
    }

    fn record() -> Record {
        let (particle, approval) = (ParticleId::new([1; 32]), RecordId::new([2; 32]));
        Record {
            ask: Ask { number: 3, particle, approval, watch: LIMITS },
            stage: Stage::Watching,
            slot_b: true,
            before: None,
            sums: Sums::default(),
            running: false,
            failures: 0,
        }
    }

    #[test]
    fn several_drives_count_together() {
        let mut record = record();
        for _ in 0..3 {
            record.watched(&sums(33, 0.5, 0.5), false);
            assert_eq!(record.tried().mine, Mine::Watching);
        }
        record.watched(&sums(1, 0.5, 0.5), false);
        assert_eq!(record.tried().mine, Mine::Kept);
        assert_eq!(record.tried().active, Some(record.ask.particle));
    }

    #[test]
    fn the_third_end_in_a_row_that_nobody_meant_goes_back() {
        let mut record = record();
        for ends in 1..=5 {
            record.running = true;
            record.started();
            if ends == 2 {
                record.watched(&sums(1, 0.5, 0.5), false);
            }
            let back = record.stage == Stage::GoneBack(Why::Failed);
            assert_eq!(back, ends == 5, "after {ends}");
        }
        record.started();
        assert_eq!(record.failures, 3, "a start without a watch is none");
    }

    #[test]
    fn a_record_has_room_and_is_read_again() {
        let mut record = record();
        (record.before, record.sums) = (Some(ParticleId::new([9; 32])), sums(u32::MAX, 0.1, 0.2));
        let mut buffer = [0; BYTES_MAX];
        let mut bytes = record.encode(&mut buffer).to_vec();
        let again = Record::decode(&bytes).unwrap();
        assert_eq!((again.tried(), again.sums), (record.tried(), record.sums));
        assert_eq!(Tried::of(&bytes), Some(record.tried()));
        bytes.push(0);
        assert_eq!(Tried::of(&bytes), None, "bytes left over are not ours");
    }

    /// A record is as good as the disk that it lies on.
    #[test]
    fn sums_that_are_no_numbers_keep_nothing() {
        for sum in [f64::NAN, f64::INFINITY] {
            for moments in [1, 100] {
                let no_number = Sums { trial: sum, ..sums(moments, 0.5, 0.5) };
                assert_eq!(no_number.verdict(&LIMITS), Some(Err(Why::Failed)), "{sum}");
                let copy = Sums { copy: sum, ..sums(moments, 0.5, 0.5) };
                assert_eq!(copy.verdict(&LIMITS), Some(Err(Why::Failed)), "{sum}");
            }
        }
    }
}
