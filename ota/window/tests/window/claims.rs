//! One claim of design.md 'Windows and time' a test.

use embassy_time::Instant;
use shoal_window::{
    Because, Bytes, Conditions, Input, Network, Phase, Policy, Reject, RejectSaved, Saved, Why,
    Window, jitter,
};
use shoal_wire::v1::WindowPlan;
use shoal_wire::{KeyId, Keys, Kind, Now, PublicKey, Utc};

use crate::shell::{EPOCH, POLICY, READY, Shell, VEHICLE, at, plan, plan_fields};

fn closed(because: Because) -> Phase {
    Phase::Closed { because }
}

fn granted(up: u64, down: u64) -> Bytes {
    Bytes { up, down }
}

#[test]
fn a_window_goes_from_closed_to_waiting_to_open_to_closing_to_closed() {
    let mut shell = Shell::ready();
    shell.log.clear();
    shell.run_to(199);
    // Waiting is over at once: the plan has no jitter, so the shell is told of the opening alone.
    assert_eq!(
        shell.log,
        [
            Phase::Open { window: 1, closes_at: at(135), granted: granted(100, 1000) },
            Phase::Closing { window: 1, until: at(140), why: Why::Over },
            closed(Because::Between),
        ]
    );
}

/// UTC is told in whole seconds: of the last one there is always a part left.
#[test]
fn a_window_that_is_drained_before_its_last_second_is_over_stays_closed() {
    let mut fields = plan_fields();
    // An eighth of it is no whole number of seconds.
    fields.open_seconds = 30;
    let mut shell = Shell::blank();
    shell.plan(&WindowPlan::new(fields).unwrap(), 1).unwrap();
    shell.run_to_ms(100_400);
    shell.input(Input::Conditions(READY)).unwrap();
    let Phase::Open { closes_at, .. } = shell.phase() else { panic!("{:?}", shell.phase()) };
    shell.run_to_ms(closes_at.as_millis());
    assert!(matches!(shell.phase(), Phase::Closing { why: Why::Over, .. }));
    shell.log.clear();
    shell.input(Input::Drained).unwrap();
    shell.run_to(199);
    let opened = shell.log.iter().filter(|phase| matches!(phase, Phase::Open { .. })).count();
    assert_eq!(opened, 0, "{:?}", shell.log);
}

#[test]
fn a_vehicle_waits_for_its_turn() {
    let mut fields = plan_fields();
    fields.jitter_ms_max = 20_000;
    let plan = WindowPlan::new(fields).unwrap();
    let turn = Instant::from_secs(100) + jitter(&plan, VEHICLE, 1);
    assert!(turn > Instant::from_secs(100));

    let mut shell = Shell::blank();
    shell.plan(&plan, 1).unwrap();
    shell.input(Input::Conditions(READY)).unwrap();
    shell.run_to(100);
    assert_eq!(shell.phase(), Phase::Waiting { window: 1, opens_at: turn });
    shell.run_to_ms(turn.as_millis() - 1);
    assert_eq!(shell.phase(), Phase::Waiting { window: 1, opens_at: turn });
    shell.run_to_ms(turn.as_millis());
    assert!(matches!(shell.phase(), Phase::Open { window: 1, .. }));
}

#[test]
fn a_vehicle_that_connects_late_in_a_window_still_takes_part() {
    let mut shell = Shell::ready();
    shell.input(Input::Conditions(Conditions { network: Network::None, ..READY })).unwrap();
    shell.run_to(130);
    assert_eq!(shell.phase(), Phase::Waiting { window: 1, opens_at: at(100) });
    shell.input(Input::Conditions(READY)).unwrap();
    let granted = granted(100, 1000);
    assert_eq!(shell.phase(), Phase::Open { window: 1, closes_at: at(135), granted });
}

#[test]
fn each_condition_alone_keeps_a_window_shut() {
    let refused = [
        Conditions { network: Network::None, ..READY },
        Conditions { network: Network::Metered, ..READY },
        Conditions { parked: false, ..READY },
        Conditions { battery_soc_percent: 39, ..READY },
        Conditions { temperature_c: 86, ..READY },
        Conditions { external_power: true, temperature_c: 86, ..READY },
    ];
    for conditions in refused {
        let mut shell = Shell::ready();
        shell.input(Input::Conditions(conditions)).unwrap();
        shell.run_to(120);
        assert!(matches!(shell.phase(), Phase::Waiting { window: 1, .. }), "{conditions:?}");
    }
    let charging = Conditions { external_power: true, battery_soc_percent: 1, ..READY };
    let mut shell = Shell::ready();
    shell.input(Input::Conditions(charging)).unwrap();
    shell.run_to(120);
    assert!(matches!(shell.phase(), Phase::Open { .. }));
}

#[test]
fn what_the_policy_allows_keeps_no_window_shut() {
    let metered = Conditions { network: Network::Metered, ..READY };
    let driving = Conditions { parked: false, ..READY };
    let neither = Conditions { network: Network::Metered, parked: false, ..READY };
    for (policy, opens) in [
        (Policy { metered: true, ..POLICY }, [true, false, false]),
        (Policy { driving: true, ..POLICY }, [false, true, false]),
        (Policy { metered: true, driving: true, ..POLICY }, [true, true, true]),
    ] {
        for (conditions, opens) in [metered, driving, neither].into_iter().zip(opens) {
            let mut shell = Shell::of(policy);
            shell.plan(&plan(), 1).unwrap();
            shell.input(Input::Conditions(conditions)).unwrap();
            shell.run_to(120);
            let open = matches!(shell.phase(), Phase::Open { .. });
            assert_eq!(open, opens, "{policy:?} {conditions:?}");
        }
    }
}

#[test]
fn a_window_that_lost_its_conditions_opens_again_with_what_is_left_of_its_bytes() {
    let mut shell = Shell::ready();
    shell.run_to(110);
    shell.used(90, 10);
    assert_eq!(
        shell.phase(),
        Phase::Open { window: 1, closes_at: at(135), granted: granted(200, 1000) }
    );
    shell.input(Input::Conditions(Conditions { parked: false, ..READY })).unwrap();
    assert_eq!(shell.phase(), Phase::Closing { window: 1, until: at(115), why: Why::Conditions });
    shell.input(Input::Drained).unwrap();
    assert!(matches!(shell.phase(), Phase::Waiting { window: 1, .. }));
    shell.input(Input::Conditions(READY)).unwrap();
    let granted = granted(200, 1000);
    assert_eq!(shell.phase(), Phase::Open { window: 1, closes_at: at(135), granted });
}

#[test]
fn drained_ends_closing_early() {
    let mut shell = Shell::ready();
    shell.run_to(136);
    assert!(matches!(shell.phase(), Phase::Closing { .. }));
    shell.input(Input::Drained).unwrap();
    assert_eq!(shell.phase(), closed(Because::Between));
}

#[test]
fn one_spent_direction_closes_the_window_until_the_next() {
    let mut shell = Shell::ready();
    shell.run_to(105);
    shell.used(800, 10);
    assert_eq!(shell.phase(), Phase::Closing { window: 1, until: at(110), why: Why::Budget });
    shell.run_to(139);
    assert_eq!(shell.phase(), closed(Because::Spent));
    shell.run_to(200);
    let granted = granted(100, 1000);
    assert_eq!(shell.phase(), Phase::Open { window: 2, closes_at: at(235), granted });
}

#[test]
fn the_grant_grows_to_the_budget_and_no_further() {
    let mut shell = Shell::ready();
    shell.run_to(105);
    for _ in 0..79 {
        shell.used(10, 100);
    }
    let last = granted(800, 8_000);
    assert_eq!(shell.phase(), Phase::Open { window: 1, closes_at: at(135), granted: last });
}

#[test]
fn what_the_next_exchange_needs_is_granted_if_the_budget_has_it() {
    let mut shell = Shell::ready();
    shell.run_to(105);
    shell.used(10, 10);
    shell.input(Input::Needed(Bytes { up: 20, down: 3_000 })).unwrap();
    assert_eq!(shell.window.left(), Bytes { up: 90, down: 3_990 }, "in whole slices");
    shell.used(0, 3_000);
    shell.input(Input::Needed(Bytes { up: 0, down: 60_000 })).unwrap();
    assert_eq!(shell.window.left(), Bytes { up: 90, down: 4_990 }, "all there is");
}

#[test]
fn nothing_may_cross_before_a_grant_is_durable_or_after_the_window() {
    let mut shell = Shell::ready();
    let now = Now {
        since_boot: Instant::from_secs(100),
        utc: Utc::Known { seconds: EPOCH + 100, uncertainty_seconds: 0 },
    };
    shell.window.handle_timeout(now);
    assert_eq!(shell.window.left(), Bytes::default());
    shell.run_to(100);
    shell.input(Input::Drained).unwrap();
    assert_eq!(shell.window.left(), Bytes { up: 100, down: 1_000 });
    shell.run_to(199);
    assert_eq!(shell.window.left(), Bytes::default());
}

#[test]
fn after_a_power_cut_what_is_left_is_what_is_granted_anew() {
    let mut shell = Shell::ready();
    shell.run_to(105);
    shell.used(10, 10);
    shell.power_cut();
    assert_eq!(shell.window.left(), Bytes { up: 100, down: 1_000 });
}

/// Persist before you speak: an opening rests on its record.
#[test]
fn a_window_opens_only_when_its_grant_is_durable() {
    let mut shell = Shell::ready();
    let now = Now {
        since_boot: Instant::from_secs(100),
        utc: Utc::Known { seconds: EPOCH + 100, uncertainty_seconds: 0 },
    };
    shell.window.handle_timeout(now);
    assert_eq!(shell.window.poll_output(), None);
    assert_eq!(shell.window.poll_persist().unwrap().key, shoal_window::LEDGER_KEY);
    assert_eq!(shell.window.poll_persist(), None);
    assert!(shell.window.poll_output().is_some());
    assert_eq!(shell.window.poll_output(), None);
}

/// A full disk must not keep a vehicle talking.
#[test]
fn the_end_of_a_window_waits_for_no_record() {
    let mut shell = Shell::ready();
    shell.run_to(105);
    shell.window.handle_input(shell.now(), Input::Used(granted(60, 0))).unwrap();
    assert_eq!(shell.window.poll_output(), None, "the next slice is not durable");
    shell.window.handle_input(shell.now(), Input::Used(granted(740, 0))).unwrap();
    assert!(shell.window.poll_output().is_some(), "but the end is told");
}

#[test]
fn a_power_cut_costs_at_most_the_grant_and_grants_nothing_twice() {
    let mut shell = Shell::ready();
    shell.run_to(105);
    shell.used(90, 10);
    for cut in 2..8 {
        shell.power_cut();
        let granted = granted(100 * (cut + 1), 1000 * cut);
        assert_eq!(shell.phase(), Phase::Open { window: 1, closes_at: at(135), granted });
    }
    shell.power_cut();
    assert_eq!(shell.phase(), closed(Because::Spent));
}

#[test]
fn a_plan_outlives_a_power_cut() {
    let mut shell = Shell::ready();
    shell.power_cut();
    assert_eq!(shell.phase(), closed(Because::Between));
    shell.run_to(100);
    assert!(matches!(shell.phase(), Phase::Open { window: 1, .. }));
}

#[test]
fn without_a_plan_nothing_opens_and_nothing_is_awaited() {
    let mut shell = Shell::blank();
    shell.input(Input::Conditions(READY)).unwrap();
    assert_eq!(shell.phase(), closed(Because::NoPlan));
    assert_eq!(shell.window.poll_timeout(), None);
}

#[test]
fn a_lower_bound_on_time_opens_nothing() {
    let mut shell = Shell::ready();
    let now = Now { since_boot: at(110), utc: Utc::AtLeast { seconds: EPOCH + 110 } };
    shell.window.handle_timeout(now);
    shell.ms = 110_000;
    shell.log.clear();
    while let Some(shoal_window::Output::Phase(phase)) = shell.window.poll_output() {
        shell.log.push(phase);
    }
    assert_eq!(shell.phase(), closed(Because::NoTime));
    assert_eq!(shell.window.poll_timeout(), None);
}

/// The second that is not known, and one that is hours ahead: the window is as long as its plan has it, and no byte is granted twice.
#[test]
fn a_clock_that_was_wrong_for_a_second_ends_no_window() {
    let ahead = Utc::Known { seconds: EPOCH + 5_000, uncertainty_seconds: 0 };
    for utc in [Utc::AtLeast { seconds: EPOCH + 107 }, ahead] {
        let mut shell = Shell::ready();
        shell.run_to(105);
        shell.used(90, 10);
        let before = shell.phase();
        assert!(matches!(before, Phase::Open { window: 1, .. }), "{before:?}");
        shell.run_to(107);
        shell.window.handle_timeout(Now { utc, ..shell.now() });
        let closing = Phase::Closing { window: 1, until: at(112), why: Why::Over };
        assert_eq!(shell.window.poll_output(), Some(shoal_window::Output::Phase(closing)));
        shell.log.clear();
        shell.run_to(115);
        assert_eq!(shell.log, [before], "{utc:?}");
    }
}

#[test]
fn uncertain_time_opens_later_and_closes_earlier() {
    let mut shell = Shell::ready();
    shell.uncertainty_seconds = 3;
    shell.input(Input::Conditions(READY)).unwrap();
    shell.run_to(102);
    assert_eq!(shell.phase(), closed(Because::Between));
    shell.run_to(103);
    let granted = granted(100, 1000);
    assert_eq!(shell.phase(), Phase::Open { window: 1, closes_at: at(132), granted });
}

#[test]
fn a_clock_that_goes_back_reopens_no_older_window() {
    let mut shell = Shell::ready();
    shell.run_to(250);
    let now = Now {
        since_boot: at(260),
        utc: Utc::Known { seconds: EPOCH + 110, uncertainty_seconds: 0 },
    };
    shell.window.handle_timeout(now);
    shell.window.handle_timeout(now);
    let output = shell.window.poll_output().unwrap();
    assert_eq!(output, shoal_window::Output::Phase(closed(Because::Past)));
}

#[test]
fn a_clock_that_jumps_out_of_the_window_closes_it() {
    let mut shell = Shell::ready();
    shell.run_to(110);
    let now = Now {
        since_boot: at(111),
        utc: Utc::Known { seconds: EPOCH + 260, uncertainty_seconds: 0 },
    };
    shell.window.handle_timeout(now);
    let output = shell.window.poll_output().unwrap();
    let closing = Phase::Closing { window: 1, until: at(116), why: Why::Over };
    assert_eq!(output, shoal_window::Output::Phase(closing));
}

#[test]
fn an_older_plan_is_refused_and_the_same_again_is_not() {
    let mut shell = Shell::ready();
    assert_eq!(shell.plan(&plan(), 1), Ok(()), "a duplicate");
    assert_eq!(shell.plan(&plan(), 3), Ok(()));
    for got in [0, 1, 2] {
        assert_eq!(shell.plan(&plan(), got), Err(Reject::NotNewer { got, newest: 3 }));
    }
    let mut fields = plan_fields();
    fields.open_seconds = 30;
    let other = WindowPlan::new(fields).unwrap();
    let rejected = Err(Reject::NotNewer { got: 3, newest: 3 });
    assert_eq!(shell.plan(&other, 3), rejected, "another plan with the same counter");
}

/// Rollback by way of the store: its plan is taken away, its ledger stays.
#[test]
fn a_store_put_back_to_no_plan_does_not_take_an_older_one() {
    let mut shell = Shell::ready();
    shell.plan(&plan(), 5).unwrap();
    shell.run_to(105);
    shell.store.remove(shoal_window::PLAN_KEY);
    shell.power_cut();
    assert_eq!(shell.plan(&plan(), 4), Err(Reject::NotNewer { got: 4, newest: 5 }));
}

/// Freeze: a plan that is held back, or never replaced, opens nothing once it is over.
#[test]
fn a_plan_that_is_over_is_refused_and_opens_nothing() {
    let mut shell = Shell::ready();
    let over = EPOCH + 49;
    let utc_seconds = EPOCH + 50;
    let rejected = Err(Reject::Expired { not_after_seconds: over, utc_seconds });
    assert_eq!(shell.plan_until(&plan(), 2, over), rejected);

    shell.plan_until(&plan(), 2, EPOCH + 150).unwrap();
    shell.run_to(199);
    assert!(shell.log.iter().any(|phase| matches!(phase, Phase::Open { window: 1, .. })));
    shell.run_to(201);
    shell.input(Input::Conditions(READY)).unwrap();
    assert_eq!(shell.phase(), closed(Because::PlanExpired));
}

#[test]
fn a_new_plan_closes_the_window_of_the_old_one() {
    let mut shell = Shell::ready();
    shell.run_to(110);
    let mut fields = plan_fields();
    fields.epoch_seconds += 50;
    shell.plan(&WindowPlan::new(fields).unwrap(), 2).unwrap();
    assert_eq!(shell.phase(), Phase::Closing { window: 1, until: at(115), why: Why::Over });
}

#[test]
fn a_damaged_store_is_an_error_of_its_own() {
    struct NoKeys;
    impl Keys for NoKeys {
        fn find(&self, _id: KeyId, _kind: Kind) -> Option<PublicKey> {
            None
        }
    }
    let rejected = Saved::decode(None, Some(&[1; 4]), &NoKeys).unwrap_err();
    assert_eq!(rejected, RejectSaved::Ledger { len: 4 });
    let shell = Shell::ready();
    let plan = shell.store.get(shoal_window::PLAN_KEY).map(Vec::as_slice);
    let rejected = Saved::decode(plan, None, &NoKeys).unwrap_err();
    assert!(matches!(rejected, RejectSaved::Plan(_)));
}

#[test]
fn early_and_repeated_calls_do_nothing() {
    let mut patient = Shell::ready();
    patient.run_to(300);
    let mut eager = Shell::ready();
    for seconds in 50..=300 {
        eager.run_to(seconds);
        for _ in 0..2 {
            eager.window.handle_timeout(eager.now());
            assert_eq!(eager.window.poll_persist(), None, "at {seconds} s");
            assert_eq!(eager.window.poll_output(), None, "at {seconds} s");
        }
    }
    assert_eq!(eager.log, patient.log);
}

/// The same inputs, twice: the same outputs, to the bit.
#[test]
fn a_year_of_windows_repeats() {
    let year = || {
        let mut shell = Shell::blank();
        let mut fields = plan_fields();
        (fields.period_seconds, fields.open_seconds) = (86_400, 3_600);
        fields.jitter_ms_max = 1_000_000;
        shell.plan(&WindowPlan::new(fields).unwrap(), 1).unwrap();
        shell.input(Input::Conditions(READY)).unwrap();
        shell.run_to(365 * 86_400);
        shell.log
    };
    let log = year();
    assert_eq!(log, year());
    let opened = log.iter().filter(|phase| matches!(phase, Phase::Open { .. })).count();
    assert_eq!(opened, 365, "one a day");
}

#[test]
fn a_fresh_window_is_told_nothing_before_it_is_called() {
    let window = Window::new(VEHICLE, POLICY, Saved::default());
    assert_eq!(window.poll_timeout(), None);
}
