//! What vehicles refused. Each has so many lines and no more: what one says too much pushes out its own, and hides nobody else's.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use shoal_swarm::campaign::{Outcome, REPORT_SLOT};
use shoal_wire::v1::{Refusal, RefusalCode, RefusalFields};
use shoal_wire::{KeyId, RecordId, Verified};

/// Windows and reasons that are kept.
const KEPT: usize = 1_000;
/// Of these, such as one vehicle gave.
const KEPT_OF_ONE: usize = 50;
/// Records that are told apart of one vehicle, window and reason.
const TIMES: usize = 100;

/// A window, who refused in it, and why.
type Line = (u32, KeyId, RefusalCode);

/// What vehicles refused.
#[derive(Debug, Default)]
pub(crate) struct Refusals {
    lines: BTreeMap<Line, BTreeSet<RecordId>>,
    /// Who went back from a campaign, by the last that it said of one: the record by which that was approved.
    gone_back: BTreeMap<KeyId, (u64, RecordId)>,
}

impl Refusals {
    /// Takes what stood in this slot while this window was open, or was last. True: something has changed.
    pub(crate) fn take(&mut self, refusal: &Verified<'_, Refusal>, slot: u8, now: u32) -> bool {
        let RefusalFields { window, record, code } = *refusal.body().fields();
        let (vehicle, counter) = (refusal.head().key, refusal.head().counter);
        let Some(code) = RefusalCode::from_number(code) else { return false };
        // Of windows that have not come nothing was refused; clocks may differ by one.
        if window > now.saturating_add(1) {
            return false;
        }
        if slot == REPORT_SLOT && Outcome::refused(code).is_some() {
            let last = self.gone_back.entry(vehicle).or_insert((counter, record));
            *last = (*last).max((counter, record));
        }
        let records = self.lines.entry((window, vehicle, code)).or_default();
        let new = records.len() < TIMES && records.insert(record);
        let of_it = self.lines.keys().filter(|(_window, of, _code)| *of == vehicle);
        if of_it.clone().count() > KEPT_OF_ONE {
            let oldest = of_it.min().copied();
            oldest.map(|line| self.lines.remove(&line));
        }
        if self.lines.len() > KEPT {
            self.of_most().map(|line| self.lines.remove(&line));
        }
        new
    }

    /// Who went back from the campaign that this record approved.
    pub(crate) fn gone_back(&self, approval: RecordId) -> impl Iterator<Item = KeyId> {
        let of_it =
            self.gone_back.iter().filter(move |(_vehicle, (_, record))| *record == approval);
        of_it.map(|(vehicle, _last)| *vehicle)
    }

    /// So many, the latest first, each with what was refused. Every vehicle's last line has room before anybody's last but one: who says
    /// much, and of later windows, hides nobody.
    pub(crate) fn shown(&self, count: usize) -> Vec<(&Line, &BTreeSet<RecordId>)> {
        let mut of_one: BTreeMap<KeyId, usize> = BTreeMap::new();
        let ranked = self.lines.iter().rev().map(|line| {
            let rank = of_one.entry(line.0.1).or_default();
            *rank += 1;
            (*rank, line)
        });
        let mut shown: Vec<_> = ranked.collect();
        // The order among those of one rank stays.
        shown.sort_by_key(|(rank, _line)| *rank);
        let mut shown: Vec<_> = shown.into_iter().take(count).map(|(_rank, line)| line).collect();
        shown.sort_by_key(|line| Reverse(line.0));
        shown
    }

    /// The oldest line of whoever has most.
    fn of_most(&self) -> Option<Line> {
        let mut of_one: BTreeMap<KeyId, usize> = BTreeMap::new();
        for (_window, vehicle, _code) in self.lines.keys() {
            *of_one.entry(*vehicle).or_default() += 1;
        }
        let (most, _lines) = of_one.into_iter().max_by_key(|(_vehicle, lines)| *lines)?;
        self.lines.keys().find(|(_window, vehicle, _code)| *vehicle == most).copied()
    }
}

#[cfg(test)]
mod tests {
    use shoal_wire::{Keys, Kind, PublicKey, SecretKey, Unverified, seal};

    use super::*;

    struct Anybody(SecretKey);

    impl Keys for Anybody {
        fn find(&self, _id: KeyId, _kind: Kind) -> Option<PublicKey> {
            Some(self.0.public())
        }
    }

    /// What this vehicle refuses, as it stands in this slot.
    fn refuse(
        kept: &mut Refusals,
        (who, slot): (u8, u8),
        counter: u64,
        fields: RefusalFields,
    ) -> bool {
        let key = SecretKey::from_seed(&[who; 32]);
        let body = Refusal::new(fields).unwrap();
        let mut buffer = [0; 256];
        let bytes = seal(&body, counter, u64::MAX, &key, &mut buffer).unwrap().bytes().to_vec();
        let verified = Unverified::decode(&bytes).unwrap();
        let verified = verified.verify::<Refusal>(&Anybody(key)).unwrap();
        kept.take(&verified, slot, 10)
    }

    fn fields(window: u32, record: u32, code: RefusalCode) -> RefusalFields {
        let mut bytes = [0; 32];
        bytes[..4].copy_from_slice(&record.to_le_bytes());
        RefusalFields { window, record: RecordId::new(bytes), code: code.number() }
    }

    #[test]
    fn who_says_too_much_pushes_out_its_own() {
        let mut kept = Refusals::default();
        let worse = fields(3, 1, RefusalCode::TrialWorse);
        assert!(refuse(&mut kept, (1, REPORT_SLOT), 5, worse));
        assert!(!refuse(&mut kept, (1, REPORT_SLOT), 5, worse), "a repetition");
        let codes: Vec<RefusalCode> = RefusalCode::ALL.to_vec();
        for (counter, code) in (0..10).flat_map(|_| codes.clone()).enumerate() {
            let (counter, window) = (counter as u64, counter as u32 % 12);
            refuse(&mut kept, (2, 0), counter, fields(window, counter as u32, code));
        }
        for record in 0..1_000 {
            refuse(&mut kept, (2, 0), u64::from(record), fields(10, record, RefusalCode::Norm));
        }
        let of = |who: u8| {
            let id = SecretKey::from_seed(&[who; 32]).public().id();
            let all = kept.lines.iter().filter(move |((_, vehicle, _), _)| *vehicle == id);
            all.map(|(_, of)| of.len())
        };
        assert_eq!(of(1).collect::<Vec<_>>(), [1]);
        assert_eq!((of(2).count(), of(2).max()), (KEPT_OF_ONE, Some(TIMES)));
    }

    /// Of later windows than anybody's, with every reason there is.
    #[test]
    fn who_says_too_much_hides_nobody() {
        let mut kept = Refusals::default();
        refuse(&mut kept, (1, REPORT_SLOT), 1, fields(3, 1, RefusalCode::TrialWorse));
        refuse(&mut kept, (1, REPORT_SLOT), 2, fields(4, 1, RefusalCode::TrialWorse));
        for who in 2..40 {
            for (counter, code) in (1..).zip(RefusalCode::ALL) {
                refuse(&mut kept, (who, 0), counter, fields(11, 1, code));
                refuse(&mut kept, (who, 0), counter, fields(10, 1, code));
            }
        }
        assert_eq!(kept.lines.len(), KEPT);
        let shown = kept.shown(50);
        assert!(shown.is_sorted_by(|(one, _), (next, _)| one > next), "the latest first");
        let of = |who: u8| {
            let id = SecretKey::from_seed(&[who; 32]).public().id();
            shown.iter().filter(|((_, vehicle, _), _)| *vehicle == id).count()
        };
        assert!((1..40).all(|who| (1..=2).contains(&of(who))), "{shown:?}");
        // Alone it has all the room.
        let mut kept = Refusals::default();
        for (counter, code) in (1..).zip(RefusalCode::ALL) {
            refuse(&mut kept, (1, 0), counter, fields(11, 1, code));
        }
        assert_eq!(kept.shown(20).len(), 20);
    }

    #[test]
    fn windows_that_have_not_come_refused_nothing() {
        let mut kept = Refusals::default();
        assert!(refuse(&mut kept, (1, 0), 1, fields(11, 1, RefusalCode::Norm)));
        assert!(!refuse(&mut kept, (1, 0), 2, fields(12, 1, RefusalCode::Norm)));
    }

    #[test]
    fn the_last_that_a_vehicle_says_of_a_campaign_counts() {
        let mut kept = Refusals::default();
        let record = |number| fields(3, number, RefusalCode::TrialWorse);
        refuse(&mut kept, (1, REPORT_SLOT), 2, record(2));
        refuse(&mut kept, (1, REPORT_SLOT), 1, record(1));
        refuse(&mut kept, (2, 0), 1, record(2));
        let vehicle = SecretKey::from_seed(&[1; 32]).public().id();
        assert_eq!(kept.gone_back(record(2).record).collect::<Vec<_>>(), [vehicle]);
        assert_eq!(kept.gone_back(record(1).record).count(), 0);
    }
}
