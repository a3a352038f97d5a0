//! Who folds a window's contributions, and what the others do.

use std::collections::BTreeSet;

use shoal_swarm::swarm::{Input, On, Output, Phase};
use shoal_wire::ParticleId;
use shoal_wire::v1::{ParticleHeader, Role};

use crate::doors::{Solo, at, code, measure, term};
use crate::make::{claim, header_of, measured, nonce_bytes, roster, signed, vehicle};

const ALL: [u8; 4] = [0, 1, 2, 3];

/// The first window whose nonce draws so many folders of four, without vehicle 0; with them.
fn drawn(folders: usize) -> (u32, Vec<u8>) {
    let all: BTreeSet<_> = ALL.map(vehicle).into();
    (1..100)
        .find_map(|window| {
            let drawn = roster(4).folders(&nonce_bytes(window), &all, folders);
            let numbers: Vec<u8> =
                ALL.into_iter().filter(|number| drawn.contains(&vehicle(*number))).collect();
            (!numbers.contains(&0)).then_some((window, numbers))
        })
        .unwrap()
}

/// A window in which everybody else has contributed.
fn contributed((folders, standby): (usize, usize), window: u32) -> Solo {
    let mut solo = Solo::with_folders(folders, standby);
    solo.open(window);
    for number in 1..4 {
        solo.header(number, &header_of(Role::Contribution, window, number, None, &[]));
    }
    solo
}

fn claims(solo: &mut Solo, by: u8, merge: &ParticleHeader, value: f64) {
    let claim = claim(merge, &[measured(value, 0.01)]);
    solo.give(Input::Claim(&signed(by, 0, claim))).unwrap();
}

fn fetched(outputs: &[Output]) -> Vec<ParticleId> {
    let fetch = |output: &Output| {
        let Output::Fetch { particle, .. } = output else { return None };
        Some(*particle)
    };
    outputs.iter().filter_map(fetch).collect()
}

/// The merge that is asked for comes, and is measured to be this much better; a second time, on another part, if asked for.
fn arrives(solo: &mut Solo, merge: ParticleId, gains: &[i16]) {
    let values = vec![0.25, 0.0, 0.0].into();
    solo.give(Input::Fetched { particle: merge, values: &values }).unwrap();
    let mut parts = BTreeSet::new();
    for gain in gains {
        let (job, candidate, beside, on) = measure(&solo.outputs());
        assert_eq!(*candidate, [0.75, 0.0, 0.0]);
        assert_eq!(*beside.unwrap(), [0.5, 0.0, 0.0]);
        let On::Part(part) = on else { panic!("not on {on:?}") };
        assert!(parts.insert(part), "{part} again");
        solo.give(Input::Measured { job, terms: &term(*gain, 0) }).unwrap();
    }
}

#[test]
fn who_does_not_fold_fetches_the_merge_and_no_contribution() {
    let (window, folders) = drawn(1);
    let mut solo = contributed((1, 0), window);
    assert_eq!(fetched(&solo.outputs()), []);
    let merge = header_of(Role::Merge, window, 40, None, &[]);
    // The claim overtakes its header.
    claims(&mut solo, folders[0], &merge, 0.1);
    assert_eq!(fetched(&solo.outputs()), []);
    assert!(!solo.decided(), "what is claimed is waited for");
    solo.header(folders[0], &merge);
    assert_eq!(fetched(&solo.outputs()), [merge.id()]);
    arrives(&mut solo, merge.id(), &[5]);
    assert_eq!(solo.swarm.base(), Some(merge.id()));
}

#[test]
fn a_merge_that_is_measured_to_be_worse_gives_way_to_the_next() {
    let (window, folders) = drawn(2);
    for (second, base) in [(&[5][..], Some(1)), (&[-5, 4], None)] {
        let mut solo = contributed((2, 0), window);
        let merges = [40, 41].map(|mark| header_of(Role::Merge, window, mark, None, &[]));
        for (number, merge, value) in [(0, &merges[0], 0.2), (1, &merges[1], 0.1)] {
            solo.header(folders[number], merge);
            claims(&mut solo, folders[number], merge, value);
        }
        assert_eq!(fetched(&solo.outputs()), [merges[0].id()], "the highest, and only that");
        arrives(&mut solo, merges[0].id(), &[-5, -5]);
        assert_eq!(fetched(&solo.outputs()), [merges[1].id()]);
        arrives(&mut solo, merges[1].id(), second);
        assert_eq!(solo.swarm.base(), base.map(|index: usize| merges[index].id()));
        assert!(solo.decided(), "nobody else folds");
    }
}

/// Its conditions ended for a moment: what was on its way was let go of.
#[test]
fn a_window_that_opens_again_asks_again_for_what_was_on_its_way() {
    let (window, folders) = drawn(1);
    let mut solo = contributed((1, 0), window);
    let merge = header_of(Role::Merge, window, 40, None, &[]);
    solo.header(folders[0], &merge);
    claims(&mut solo, folders[0], &merge, 0.1);
    assert_eq!(fetched(&solo.outputs()), [merge.id()]);
    solo.give(Input::Phase(Phase::Closing)).unwrap();
    assert_eq!(fetched(&solo.outputs()), []);
    let closes_at = at(solo.seconds + 40).since_boot;
    solo.give(Input::Phase(Phase::Open { window, closes_at })).unwrap();
    assert_eq!(fetched(&solo.outputs()), [merge.id()]);
    arrives(&mut solo, merge.id(), &[5]);
    assert_eq!(solo.swarm.base(), Some(merge.id()));
}

/// A liar claims without being drawn, and the first who was drawn lies as well: who stands by is waited for.
#[test]
fn claims_of_who_was_not_drawn_end_no_waiting() {
    let (window, folders) = drawn(2);
    let undrawn = (1..4).find(|number| !folders.contains(number)).unwrap();
    let mut solo = contributed((1, 1), window);
    let merges = [40, 41, 42].map(|mark| header_of(Role::Merge, window, mark, None, &[]));
    for (number, merge) in [(undrawn, &merges[0]), (folders[0], &merges[1])] {
        solo.header(number, merge);
        claims(&mut solo, number, merge, 0.9);
        arrives(&mut solo, merge.id(), &[-500, -500]);
    }
    assert!(!solo.decided(), "one who was drawn has not claimed");
    solo.header(folders[1], &merges[2]);
    claims(&mut solo, folders[1], &merges[2], 0.1);
    arrives(&mut solo, merges[2].id(), &[5]);
    assert_eq!(solo.swarm.base(), Some(merges[2].id()));
}

/// All measure on one part: a stretch of road on which a merge is worse by chance would hold back the whole fleet.
#[test]
fn what_is_worse_on_one_part_is_measured_on_another() {
    let (window, folders) = drawn(1);
    let mut solo = contributed((1, 0), window);
    let merge = header_of(Role::Merge, window, 40, None, &[]);
    solo.header(folders[0], &merge);
    claims(&mut solo, folders[0], &merge, 0.1);
    arrives(&mut solo, merge.id(), &[-5, 6]);
    assert_eq!(solo.swarm.base(), Some(merge.id()));
}

/// Error feedback: what coding kept back of a contribution is owed until a merge has had it, also past a merge that has nothing of
/// this vehicle's.
#[test]
fn what_no_merge_has_had_is_owed_still() {
    let windows: Vec<(u32, u8)> = (1..100)
        .filter_map(|window| {
            let drawn = roster(4).folders(&nonce_bytes(window), &ALL.map(vehicle).into(), 1);
            let folder = ALL.into_iter().find(|number| drawn.contains(&vehicle(*number)))?;
            (folder != 0).then_some((window, folder))
        })
        .take(3)
        .collect();
    let mut solo = Solo::with_folders(1, 0);
    let mut anchor = None;
    // What the vehicle tuned, what is to be sent of it, and what is.
    let nights = [(1.5, 1.0, 0.75), (1.75, 1.25, 1.25), (2.0, 1.5, 1.5)];
    for ((window, folder), (tuned, whole, sent)) in windows.into_iter().zip(nights) {
        solo.tuned([tuned, 0.0, 0.0]);
        solo.open(window);
        let outputs = solo.outputs();
        let (job, mut particle) = code(&outputs);
        assert_eq!(*particle.difference, [whole, 0.0, 0.0], "window {window}");
        if anchor.is_some() {
            // Its vote on the merge before.
            let asked = outputs.iter().find_map(|output| {
                let Output::Measure { job, awaited: true, .. } = output else { return None };
                Some(*job)
            });
            solo.give(Input::Measured { job: asked.unwrap(), terms: &term(5, 0) }).unwrap();
        }
        particle.difference = vec![sent, 0.0, 0.0].into();
        let mine = solo.coded(job, &particle, Some(0));
        let others =
            [1, 2, 3].map(|number| header_of(Role::Contribution, window, number, anchor, &[]));
        for (number, header) in (1..).zip(&others) {
            solo.header(number, header);
        }
        // Of the first window's merge it is a part; of those after it is none.
        let of = if anchor.is_none() { mine } else { others[0].id() };
        let merge = header_of(Role::Merge, window, 40, None, &[of]);
        solo.header(folder, &merge);
        claims(&mut solo, folder, &merge, 0.1);
        assert_eq!(fetched(&solo.outputs()), [merge.id()], "window {window}");
        let values = vec![0.25, 0.0, 0.0].into();
        solo.give(Input::Fetched { particle: merge.id(), values: &values }).unwrap();
        let (job, ..) = measure(&solo.outputs());
        solo.give(Input::Measured { job, terms: &term(5, 0) }).unwrap();
        assert_eq!(solo.swarm.base(), Some(merge.id()));
        anchor = Some(merge.id());
    }
}

/// Windows are open for 40 s: the last quarter is for who stands by.
#[test]
fn who_stands_by_folds_where_the_first_claims_nothing() {
    let all: BTreeSet<_> = ALL.map(vehicle).into();
    let second = |window: &u32| {
        roster(4).folders(&nonce_bytes(*window), &all, 2).last() == Some(&vehicle(0))
    };
    let window = (1..100).find(second).unwrap();
    for claimed in [false, true] {
        let mut solo = contributed((1, 1), window);
        let first = roster(4).folders(&nonce_bytes(window), &all, 1);
        let first = ALL.into_iter().find(|number| first.contains(&vehicle(*number))).unwrap();
        let merge = header_of(Role::Merge, window, 40, None, &[]);
        if claimed {
            solo.header(first, &merge);
            claims(&mut solo, first, &merge, 0.1);
            arrives(&mut solo, merge.id(), &[-500, -500]);
        }
        solo.seconds += 29;
        solo.swarm.handle_timeout(crate::doors::at(solo.seconds));
        assert_eq!(fetched(&solo.outputs()), [], "the first has time still");
        assert!(!solo.decided());
        let next = solo.swarm.poll_timeout().unwrap();
        assert_eq!(next, crate::doors::at(100 * u64::from(window) + 30).since_boot);
        solo.seconds += 1;
        solo.swarm.handle_timeout(crate::doors::at(solo.seconds));
        let outputs = solo.outputs();
        let fetched = fetched(&outputs);
        assert_eq!(fetched.len(), 3, "the others' contributions: {outputs:?}");
        for particle in fetched {
            let values = vec![0.25, 0.0, 0.0].into();
            solo.give(Input::Fetched { particle, values: &values }).unwrap();
        }
        let (_job, _candidate, beside, _on) = measure(&solo.outputs());
        assert!(beside.is_none(), "a merge is searched for");
    }
}

/// Who was to fold lied: who contributed and is drawn next has all the time that is left.
#[test]
fn who_is_drawn_next_folds_at_once_where_the_first_lies() {
    let all: BTreeSet<_> = ALL.map(vehicle).into();
    let drawn = |window: &u32| roster(4).folders(&nonce_bytes(*window), &all, 2);
    let window = (1..100).find(|window| drawn(window).last() == Some(&vehicle(0))).unwrap();
    let first = drawn(&window)[0];
    let mut solo = Solo::with_folders(1, 1);
    solo.tuned([1.5, 0.0, 0.0]);
    solo.open(window);
    let (job, particle) = code(&solo.outputs());
    let own = header_of(Role::Contribution, window, 50, None, &[]);
    solo.give(Input::Coded {
        job,
        particle: own.id(),
        values: &particle.difference,
        slot: Some(0),
    })
    .unwrap();
    solo.header(0, &own);
    for number in 1..4 {
        solo.header(number, &header_of(Role::Contribution, window, number, None, &[]));
    }
    assert_eq!(fetched(&solo.outputs()), []);
    let lies = ALL.into_iter().find(|number| vehicle(*number) == first).unwrap();
    let merge = header_of(Role::Merge, window, 40, None, &[]);
    solo.header(lies, &merge);
    claims(&mut solo, lies, &merge, 0.9);
    arrives(&mut solo, merge.id(), &[-500, -500]);
    assert_eq!(fetched(&solo.outputs()).len(), 3, "the others' contributions");
}

#[test]
fn where_no_merge_is_claimed_the_vehicle_stays_when_the_window_closes() {
    let (window, _folders) = drawn(1);
    let mut solo = contributed((1, 0), window);
    solo.seconds += 39;
    solo.swarm.handle_timeout(crate::doors::at(solo.seconds));
    assert!(!solo.decided());
    solo.give(Input::Phase(Phase::Closing)).unwrap();
    assert!(solo.decided());
    assert_eq!(solo.swarm.base(), None);
}

/// Who was drawn and did not come is not waited for longer than any contribution.
#[test]
fn who_contributed_folds_in_place_of_who_did_not_come() {
    let (window, folders) = drawn(1);
    let mut solo = Solo::with_folders(1, 0);
    solo.open(window);
    let other = (1..4).find(|number| !folders.contains(number)).unwrap();
    let there: BTreeSet<_> = [vehicle(0), vehicle(other)].into();
    let mine = roster(4).folders(&nonce_bytes(window), &there, 1).contains(&vehicle(0));
    let contribution = header_of(Role::Contribution, window, other, None, &[]);
    solo.header(other, &contribution);
    assert_eq!(fetched(&solo.outputs()), [], "others may come");
    solo.seconds += 21;
    solo.swarm.handle_timeout(crate::doors::at(solo.seconds));
    let fetches: &[ParticleId] = if mine { &[contribution.id()] } else { &[] };
    assert_eq!(fetched(&solo.outputs()), fetches);
}
