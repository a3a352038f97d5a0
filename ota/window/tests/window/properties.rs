//! What holds for every run: random inputs, times and power cuts, from a seed that proptest prints.

use proptest::prelude::*;
use shoal_window::{
    Because, Bytes, Conditions, Input, Network, Output, Phase, Saved, Window, number, open_span,
};
use shoal_wire::v1::{WindowPlan, WindowPlanFields};
use shoal_wire::{KeyId, Now, Utc};

use crate::shell::{EPOCH, POLICY, READY, Shell, VEHICLE, plan};

#[derive(Clone, Debug)]
enum Step {
    Wait { ms: u64 },
    Used { up: u64, down: u64 },
    Parked(bool),
    Drained,
    PowerCut,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => (0_u64..30_000).prop_map(|ms| Step::Wait { ms }),
        4 => (0_u64..300, 0_u64..3_000).prop_map(|(up, down)| Step::Used { up, down }),
        1 => any::<bool>().prop_map(Step::Parked),
        1 => Just(Step::Drained),
        1 => Just(Step::PowerCut),
    ];
    prop::collection::vec(step, 1..80)
}

proptest! {
    #[test]
    fn an_open_window_is_within_its_span_and_its_budget(steps in steps()) {
        let mut shell = Shell::ready();
        let budget = plan();
        for step in steps {
            match step {
                Step::Wait { ms } => shell.run_to_ms(shell.ms + ms),
                Step::Used { up, down } => shell.used(up, down),
                Step::Parked(parked) => {
                    shell.input(Input::Conditions(Conditions { parked, ..READY })).unwrap();
                }
                Step::Drained => shell.input(Input::Drained).unwrap(),
                Step::PowerCut => shell.power_cut(),
            }
            let second = EPOCH + shell.ms / 1000;
            if let Phase::Open { window, closes_at, granted } = shell.phase() {
                prop_assert_eq!(number(&plan(), second), Some(window));
                prop_assert!(open_span(&plan(), shell.now().utc).is_some());
                prop_assert!(closes_at > shell.now().since_boot);
                prop_assert!(granted.up <= budget.fields().up_bytes_max);
                prop_assert!(granted.down <= budget.fields().down_bytes_max);
            }
        }
    }

    #[test]
    fn windows_never_go_back(steps in steps()) {
        let mut shell = Shell::ready();
        let mut newest = 0;
        for step in steps {
            match step {
                Step::Wait { ms } => shell.run_to_ms(shell.ms + ms),
                Step::Used { up, down } => shell.used(up, down),
                Step::PowerCut => shell.power_cut(),
                Step::Parked(_) | Step::Drained => {}
            }
            for phase in shell.log.drain(..) {
                if let Phase::Open { window, .. } = phase {
                    prop_assert!(window >= newest);
                    newest = window;
                }
            }
        }
    }

    /// No time, plan or count can panic it: the shell's clock may be anything.
    #[test]
    fn no_time_panics_it(
        nows in prop::collection::vec((any::<u64>(), any::<u64>(), any::<u32>(), any::<bool>()), 1..20),
        epoch_seconds: u64, period_seconds in 1..=u32::MAX, vehicle: [u8; 8], up: u64, down: u64,
    ) {
        let plan = WindowPlan::new(WindowPlanFields {
            epoch_seconds, period_seconds, open_seconds: period_seconds, jitter_ms_max: 0,
            up_bytes_max: u64::MAX, down_bytes_max: u64::MAX,
        }).unwrap();
        let mut shell = Shell::blank();
        shell.plan(&plan, 1).unwrap();
        let mut window = Window::new(KeyId::new(vehicle), POLICY, shell.saved());
        for (ticks, seconds, uncertainty_seconds, known) in nows {
            let utc = if known {
                Utc::Known { seconds, uncertainty_seconds }
            } else {
                Utc::AtLeast { seconds }
            };
            let now = Now { since_boot: embassy_time::Instant::from_ticks(ticks), utc };
            window.handle_input(now, Input::Used(Bytes { up, down })).unwrap();
            let free = Conditions { network: Network::Unmetered, ..READY };
            window.handle_input(now, Input::Conditions(free)).unwrap();
            window.handle_input(now, Input::Drained).unwrap();
            window.handle_timeout(now);
            while window.poll_persist().is_some() {}
            while window.poll_output().is_some() {}
            let _any = window.poll_timeout();
        }
    }

    #[test]
    fn no_stored_bytes_panic_it(plan in prop::collection::vec(any::<u8>(), 0..300), ledger: [u8; 29]) {
        struct NoKeys;
        impl shoal_wire::Keys for NoKeys {
            fn find(&self, _id: KeyId, _kind: shoal_wire::Kind) -> Option<shoal_wire::PublicKey> {
                None
            }
        }
        prop_assert!(Saved::decode(Some(&plan), None, &NoKeys).is_err());
        if let Ok(saved) = Saved::decode(None, Some(&ledger), &NoKeys) {
            let mut window = Window::new(VEHICLE, POLICY, saved);
            window.handle_timeout(Shell::blank().now());
            let closed = Phase::Closed { because: Because::NoPlan };
            prop_assert_eq!(window.poll_output(), Some(Output::Phase(closed)));
        }
    }
}
