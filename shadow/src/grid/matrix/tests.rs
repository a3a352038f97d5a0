use proptest::prelude::*;
use shoal_hal::FrameShape;
use shoal_hal::backend::synthetic::{
    ClosedLoop, Event, Region, Road, SimulatedAction, Start, StartLeader,
};

use super::*;
use crate::chance::{Draws, Purpose};
use crate::grid::{Action, ActionGrid, Quantised, bin_spread};

const DEVIATIONS: (f64, f64) = (0.002, 0.3);

fn opinion(curvature: f64, acceleration: f64, (c, a): (f64, f64)) -> Distribution {
    let grid = ActionGrid::v1();
    Distribution::from_axes(
        &bin_spread(grid.curvature_edges(), curvature, c),
        &bin_spread(grid.acceleration_edges(), acceleration, a),
    )
}

/// A driver's moments: where the road bends, how fast they go, what they do; drawn from a seed.
struct Moment {
    speed: f64,
    action: Action,
}

fn moments(seed: u64, count: usize) -> Vec<Moment> {
    let mut draws = Draws::new(Purpose::Bootstrap, seed, 0, 0);
    let mut unit = move || draws.index(1_000_000) as f64 / 1e6;
    (0..count)
        .map(|_| {
            let bend = unit() < 0.5;
            let curvature = if bend { 0.03 * (unit() - 0.5) } else { 0.003 * (unit() - 0.5) };
            let action =
                Action { curvature_per_m: curvature, acceleration_m_s2: 1.5 * (unit() - 0.5) };
            Moment { speed: 30.0 * unit(), action }
        })
        .collect()
}

impl Moment {
    fn context(&self) -> Context {
        Context::of(self.speed, self.action.curvature_per_m)
    }

    fn bin(&self) -> usize {
        ActionGrid::v1().bin(self.action)
    }

    fn sample<'a>(&self, opinions: Vec<Option<&'a Distribution>>) -> Sample<'a> {
        Sample { context: self.context(), opinions, bin: self.bin(), weight: 1.0 }
    }

    /// What a policy says that bends too little: in bends a quarter less than drivers do.
    fn understeered(&self, deviations: (f64, f64)) -> Distribution {
        let bend = self.context() == Context::of(self.speed, 1.0);
        let seen = if bend { 0.75 } else { 1.0 };
        opinion(self.action.curvature_per_m * seen, self.action.acceleration_m_s2, deviations)
    }
}

/// Source: swarm.md §2, vector `action_pool`: calibrated_expert0 = P·T.
#[test]
fn a_banded_matrix_moves_probability_as_the_vector_says() {
    let rows = vec![
        [0.0, 0.0, 0.9, 0.1, 0.0],
        [0.0, 0.05, 0.9, 0.05, 0.0],
        [0.0, 0.05, 0.9, 0.05, 0.0],
        [0.0, 0.1, 0.9, 0.0, 0.0],
    ];
    let got = Banded { rows }.applied(&[0.7, 0.2, 0.05, 0.05]);
    for (got, want) in got.iter().zip([0.64, 0.2525, 0.06, 0.0475]) {
        assert!((got - want).abs() < 1e-12, "{got} {want}");
    }
}

#[test]
fn what_has_learned_nothing_leaves_opinions_as_they_are() {
    let matrix = ActionMatrix::new(1);
    let before = opinion(0.01, -1.0, DEVIATIONS);
    for speed in [0.0, 7.0, 40.0] {
        let after =
            matrix.opinion(Pool::Linear, Context::of(speed, 0.0), &[Some(&before)]).unwrap();
        let apart: f64 = after.joint().iter().zip(before.joint()).map(|(a, b)| (a - b).abs()).sum();
        assert!(apart < 0.04, "{apart}");
    }
    assert_eq!(matrix.opinion(Pool::Linear, Context::of(1.0, 0.0), &[None]), None);
}

#[test]
fn values_make_the_same_matrix_again_and_are_a_few_kilobytes() {
    assert_eq!(ActionMatrix::values_count(2), 8 * (2 + 5 * 82));
    let of: Vec<_> = moments(3, 400).iter().map(|m| m.understeered(DEVIATIONS)).collect();
    let all = moments(3, 400);
    let samples: Vec<_> = all.iter().zip(&of).map(|(m, o)| m.sample(vec![Some(o), None])).collect();
    let learned = ActionMatrix::new(2).fitted(Pool::Linear, &samples, 3, 1.0);
    let again = ActionMatrix::from_values(2, &learned.values()).unwrap();
    let nats = |matrix: &ActionMatrix| matrix.nats(Pool::Linear, &samples).unwrap();
    assert!((nats(&again) - nats(&learned)).abs() < 1e-3, "{} {}", nats(&again), nats(&learned));
    assert!(learned.values().iter().all(|value| value.abs() < VALUE_MAX));
}

#[test]
fn values_of_another_number_or_beyond_bounds_are_refused() {
    let mut values = ActionMatrix::new(2).values();
    let want = values.len();
    assert_eq!(
        ActionMatrix::from_values(3, &values),
        Err(MatrixError::Length { got: want, want: want + Context::COUNT, policies: 3 })
    );
    for wrong in [f32::NAN, f32::INFINITY, 33.0] {
        values[7] = wrong;
        assert_eq!(ActionMatrix::from_values(2, &values), Err(MatrixError::Value { index: 7 }));
    }
}

/// What vehicles with one network have learned is of use to those with another, where both err alike.
#[test]
fn a_matrix_learned_on_one_policy_helps_another() {
    let (first, second) = (DEVIATIONS, (0.004, 0.5));
    let train = moments(1, 1500);
    let of_first: Vec<_> = train.iter().map(|moment| moment.understeered(first)).collect();
    let samples: Vec<_> = train
        .iter()
        .zip(&of_first)
        .map(|(moment, opinion)| moment.sample(vec![Some(opinion), None]))
        .collect();
    let learned = ActionMatrix::new(2).fitted(Pool::Linear, &samples, 10, 5.0);

    let unseen = moments(2, 600);
    let of_second: Vec<_> = unseen.iter().map(|moment| moment.understeered(second)).collect();
    let check = |bend: bool| {
        let samples: Vec<_> = unseen
            .iter()
            .zip(&of_second)
            .filter(|(moment, _)| (moment.context() == Context::of(moment.speed, 1.0)) == bend)
            .map(|(moment, opinion)| moment.sample(vec![None, Some(opinion)]))
            .collect();
        let nats = |matrix: &ActionMatrix| matrix.nats(Pool::Linear, &samples).unwrap();
        nats(&ActionMatrix::new(2)) - nats(&learned)
    };
    let (bends, straights) = (check(true), check(false));
    assert!(bends > 0.1, "in bends it knows {bends} nats more");
    assert!(straights > -0.05, "on straights it knows {straights} nats more");
}

/// One policy knows bends, the other straights: the weights find out, and together they beat each alone.
#[test]
fn weights_trust_each_policy_where_it_is_right() {
    let wide = (0.03, 0.3);
    let opinions = |moment: &Moment| {
        let bend = moment.context() == Context::of(moment.speed, 1.0);
        let (a, b) = if bend { (DEVIATIONS, wide) } else { (wide, DEVIATIONS) };
        let of = |deviations| {
            opinion(moment.action.curvature_per_m, moment.action.acceleration_m_s2, deviations)
        };
        [of(a), of(b)]
    };
    let nats_of = |matrix: &ActionMatrix, pool, seed, only: Option<usize>| {
        let moments = moments(seed, 400);
        let all: Vec<_> = moments.iter().map(opinions).collect();
        let samples: Vec<_> = moments
            .iter()
            .zip(&all)
            .map(|(moment, of)| {
                let said = |who| (only.is_none() || only == Some(who)).then_some(&of[who]);
                moment.sample(vec![said(0), said(1)])
            })
            .collect();
        matrix.nats(pool, &samples).unwrap()
    };
    let train = moments(1, 800);
    let all: Vec<_> = train.iter().map(opinions).collect();
    let samples: Vec<_> = train
        .iter()
        .zip(&all)
        .map(|(moment, [a, b])| moment.sample(vec![Some(a), Some(b)]))
        .collect();
    for pool in [Pool::Linear, Pool::Log] {
        let learned = ActionMatrix::new(2).fitted(pool, &samples, 10, 1.0);
        let (both, first, second) = (
            nats_of(&learned, pool, 9, None),
            nats_of(&learned, pool, 9, Some(0)),
            nats_of(&learned, pool, 9, Some(1)),
        );
        assert!(both < first - 0.2 && both < second - 0.2, "{pool:?} {both} {first} {second}");
    }
}

/// A driver whose moments do not count teaches nothing.
#[test]
fn samples_without_weight_change_nothing() {
    let all = moments(5, 50);
    let of: Vec<_> = all.iter().map(|moment| moment.understeered(DEVIATIONS)).collect();
    let mut samples: Vec<_> =
        all.iter().zip(&of).map(|(moment, of)| moment.sample(vec![Some(of)])).collect();
    samples.iter_mut().for_each(|sample| sample.weight = 0.0);
    let before = ActionMatrix::new(1);
    assert_eq!(before.nats(Pool::Linear, &samples), None);
    let after = before.fitted(Pool::Linear, &samples, 2, 1.0);
    for (a, b) in after.values().iter().zip(before.values()) {
        assert!((a - b).abs() < 1e-6);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]
    /// Without a prior, a round never makes what was seen less likely.
    #[test]
    fn rounds_never_lose(seed in 0u64..1000) {
        let all = moments(seed, 60);
        let of: Vec<_> = all
            .iter()
            .map(|moment| (moment.understeered(DEVIATIONS), moment.understeered((0.02, 1.0))))
            .collect();
        let samples: Vec<_> = all
            .iter()
            .zip(&of)
            .map(|(moment, (a, b))| moment.sample(vec![Some(a), Some(b)]))
            .collect();
        let mut at = ActionMatrix::new(2);
        for _ in 0..4 {
            let next = at.fitted(Pool::Linear, &samples, 1, 0.0);
            let (before, after) =
                (at.nats(Pool::Linear, &samples).unwrap(), next.nats(Pool::Linear, &samples).unwrap());
            prop_assert!(after <= before + 1e-9, "{before} {after}");
            at = next;
        }
    }
}

/// How far ahead something stands, m, from bumper to bumper, and where each network would pass its middle, m beside it.
const STANDS_M: f32 = 40.0;
const PASSES_M: f64 = 3.2;

/// A road that is straight for as long as it matters.
fn straight_road() -> ClosedLoop {
    let leader = Some(StartLeader { gap_m: STANDS_M, speed_share: 0.0 });
    let roads = (0..).filter_map(|seed| {
        let road = Road { region: Region::City, seed };
        road.closed_loop(
            FrameShape { width: 8, height: 4 },
            10.0,
            Start { leader, ..Start::default() },
        )
    });
    let is_straight = |road: &ClosedLoop| {
        let truth = road.truth();
        truth.curvature_ahead_1_m.iter().all(|bend| bend.abs() < 5e-4) && truth.speed_m_s > 8.0
    };
    roads.take(200).find(is_straight).unwrap()
}

/// Two networks that would pass what stands in the way, one on its left and one on its right, and a matrix that trusts one a little
/// more, heard as opinions travel. Driven in the closed loop of generated roads, whose vehicle takes its time to steer: who follows the
/// mean of both runs into it.
#[test]
fn by_a_matrix_left_and_right_do_not_average_to_straight_on() {
    let drive = |trusted, decide: &dyn Fn(&Distribution) -> Action| {
        let matrix = ActionMatrix::trusting(2, trusted, 0.55);
        let mut road = straight_road();
        let (mut went, mut crashed) = (0.0, false);
        while went < f64::from(STANDS_M) + 10.0 {
            let truth = road.truth();
            let (offset, heading) = (f64::from(truth.offset_m), f64::from(truth.heading_rad));
            let wants = |side: f64| {
                // Along a line to the place beside it, and then on.
                let left = (f64::from(STANDS_M) - 4.0 - went).max(8.0);
                let turn = (side * PASSES_M - offset) / left - heading;
                let curvature = (turn / 6.0).clamp(-0.05, 0.05);
                Quantised::of(&opinion(curvature, 0.0, DEVIATIONS)).distribution()
            };
            let both = [wants(1.0), wants(-1.0)];
            let heard = [Some(&both[0]), Some(&both[1])];
            let context = Context::of(f64::from(truth.speed_m_s), 0.01);
            let action = decide(&matrix.opinion(Pool::Linear, context, &heard).unwrap());
            road.step(SimulatedAction {
                curvature_1_m: action.curvature_per_m as f32,
                acceleration_m_s2: action.acceleration_m_s2 as f32,
            });
            went += f64::from(truth.speed_m_s) * road.interval_s();
            crashed |= road.truth().event == Some(Event::Crash);
        }
        (crashed, road.truth().offset_m)
    };
    for (trusted, side) in [(0, 1.0), (1, -1.0)] {
        assert!(drive(trusted, &|both| both.expectation()).0, "the mean of both passes it");
        let (crashed, offset) = drive(trusted, &|both| both.decided());
        assert!(!crashed && side * offset > 2.0, "who is trusted passes it: {offset}");
    }
}

/// The fleet's particles span whom to trust, and values keep it.
#[test]
fn trust_in_one_policy_is_its_opinion_and_survives_its_values() {
    let (own, other) = (opinion(0.02, 0.0, DEVIATIONS), opinion(-0.02, 0.0, DEVIATIONS));
    let context = Context::of(10.0, 0.0);
    let both = [Some(&own), Some(&other)];
    let left = |matrix: &ActionMatrix| {
        let heard = matrix.opinion(Pool::Linear, context, &both).unwrap();
        heard.curvature().iter().skip(CURVATURE_BINS / 2 + 1).sum::<f64>()
    };
    let trusting = ActionMatrix::trusting(2, 0, 0.75);
    assert!((left(&trusting) - 0.75).abs() < 0.01, "{}", left(&trusting));
    assert!((left(&ActionMatrix::new(2)) - 0.5).abs() < 0.01);
    let again = ActionMatrix::from_values(2, &trusting.values()).unwrap();
    assert!((left(&again) - 0.75).abs() < 0.01, "{}", left(&again));
    assert_eq!(ActionMatrix::trusting(1, 0, 0.75), ActionMatrix::new(1));
}
