//! Driving, from outside: the default policy and its batches, the closed loop on roads that are not pretrained on, the terms.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod size {
    use shoal_shadow::package::Description;
    use shoal_shadow::policymodel::{Architecture, FRAMES, build, description};

    #[test]
    fn the_policy_has_its_size_and_repeats_from_its_seed() {
        let architecture = Architecture::default();
        let model = build(&architecture, 1).unwrap();
        let count = |tensor: &shoal_runtime::onnx::proto::TensorProto| {
            tensor.dims.iter().product::<i64>() as usize
        };
        let learnt = model.graph().initializer.iter();
        let values: usize = learnt
            .filter(|tensor| tensor.name().ends_with(".weight") || tensor.name().ends_with(".bias"))
            .map(count)
            .sum();
        assert!((200_000..400_000).contains(&values), "{values}");
        assert_eq!(build(&architecture, 1).unwrap().graph(), model.graph());
        assert_ne!(build(&architecture, 2).unwrap().graph(), model.graph());
    }

    #[test]
    fn the_package_describes_a_policy() {
        let description = description(&Architecture::default());
        assert_eq!(description.context(), FRAMES);
        let again = Description::parse("model.toml", &description.to_toml(), "policy").unwrap();
        assert_eq!(again, description);
    }
}

mod batches {
    use shoal_hal::FrameShape;
    use shoal_hal::backend::synthetic::{LessonForm, SimulatedAction};
    use shoal_shadow::batch::LessonBatch;
    use shoal_shadow::form::Form;
    use shoal_shadow::grid::ActionGrid;
    use shoal_shadow::policymodel::{Architecture, PolicyClip, PolicySource, description};

    const SHAPE: FrameShape = FrameShape { width: 2, height: 1 };

    fn batch(samples: usize) -> LessonBatch {
        let package = description(&Architecture { width: 2, height: 1, ..Architecture::default() });
        LessonBatch::new(Form::of_policy(&package).unwrap(), samples)
    }

    /// The left pixel is bright; the driver steers left.
    fn clip() -> PolicyClip {
        let actions = vec![SimulatedAction { curvature_1_m: 0.02, acceleration_m_s2: -1.0 }; 5];
        let frames = [[200, 200, 200, 20, 20, 20]; 5].concat();
        let form = LessonForm { shape: SHAPE, margin: 0, frames: 5 };
        let (speed_m_s, straightens_1_m_rad) = (vec![10.0; 5], vec![0.1; 5]);
        PolicyClip { form, frames, speed_m_s, actions, straightens_1_m_rad }
    }

    #[test]
    fn a_mirrored_picture_is_steered_the_other_way() {
        let mut batch = batch(16);
        PolicySource { seed: 1 }.fill(0, &[clip()], &mut batch);
        let mut seen = [0; 2];
        for sample in 0..16 {
            let picture = &batch.frames()[sample * 18..][..18];
            let left = picture[16] > picture[17];
            let action = ActionGrid::v1().centre(batch.target()[sample] as usize);
            assert_eq!(action.curvature_per_m > 0.0, left);
            assert!((batch.motion()[sample] - 10.0 / 30.0).abs() < 1e-6);
            assert!((action.acceleration_m_s2 + 1.0).abs() < 0.5);
            seen[usize::from(left)] += 1;
        }
        assert!(seen[0] > 2 && seen[1] > 2, "{seen:?}");
    }

    /// Of a wide picture whose columns are numbered a part is seen; what is to be steered tells which.
    #[test]
    fn who_looks_to_the_left_is_told_to_steer_right() {
        let form = LessonForm { shape: SHAPE, margin: 3, frames: 1 };
        let frames = (0..8_u8).flat_map(|column| [20 * column; 3]).collect();
        let actions = vec![SimulatedAction::default()];
        let (speed_m_s, straightens_1_m_rad) = (vec![10.0], vec![0.02]);
        let clip = PolicyClip { form, frames, speed_m_s, actions, straightens_1_m_rad };
        let mut batch = batch(64);
        PolicySource { seed: 1 }.fill(0, &[clip], &mut batch);
        // Dark columns are to the left of the wide picture.
        let (mut left, mut right) = (Vec::new(), Vec::new());
        for sample in 0..64 {
            let picture = &batch.frames()[sample * 18 + 16..][..2];
            let steered = ActionGrid::v1().centre(batch.target()[sample] as usize).curvature_per_m;
            let mirrored = picture[0] > picture[1];
            let told = if mirrored { -steered } else { steered };
            let brightness = picture.iter().sum::<f32>();
            match told {
                told if told < -0.005 => left.push(brightness),
                told if told > 0.005 => right.push(brightness),
                _ => {}
            }
        }
        let mean = |of: &[f32]| of.iter().sum::<f32>() / of.len() as f32;
        assert!(left.len() > 9 && right.len() > 9, "{left:?} {right:?}");
        assert!(mean(&left) + 0.2 < mean(&right), "{left:?} {right:?}");
    }

    #[test]
    fn batches_repeat_from_seed_and_step() {
        let fill = |seed, step| {
            let mut batch = batch(8);
            PolicySource { seed }.fill(step, &[clip()], &mut batch);
            batch.frames().to_vec()
        };
        assert_eq!(fill(1, 1), fill(1, 1));
        assert_ne!(fill(1, 1), fill(1, 2));
        assert_ne!(fill(1, 1), fill(2, 1));
    }
}

mod shipped {
    use std::num::NonZeroUsize;
    use std::path::Path;

    use shoal_runtime::engine::testing::ort_or_skip;
    use shoal_runtime::onnx::Model;
    use shoal_shadow::fit::FitError;
    use shoal_shadow::package::{Description, Package};
    use shoal_shadow::policymodel::{Architecture, PolicySession, Reflex, build, description};
    use shoal_shadow::term::roads::Roads;

    fn package() -> Package {
        Package::open(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../models/policy")).unwrap()
    }

    #[test]
    fn it_is_of_the_network_that_is_built() {
        let package = package();
        let model = Model::read(&package.model_path()).unwrap();
        let built = build(&Architecture::default(), 0).unwrap();
        assert_eq!(model.graph().node, built.graph().node);
        let forms = |model: &Model| -> Vec<(String, Vec<i64>)> {
            let tensors = model.graph().initializer.iter();
            tensors.map(|tensor| (tensor.name().to_owned(), tensor.dims.clone())).collect()
        };
        assert_eq!(forms(&model), forms(&built));
        let told = package.description();
        assert!(told.model_sha256.is_some(), "the file is named by its hash");
        let told = shoal_shadow::package::Description { model_sha256: None, ..told.clone() };
        assert_eq!(told, description(&Architecture::default()));
    }

    #[test]
    fn one_that_reads_other_moments_than_the_roads_have_is_refused() {
        let Some(engine) = ort_or_skip() else { return };
        let package = package();
        let model = Model::read(&package.model_path()).unwrap();
        let fast = Description { rate_hz: 20.0, ..package.description().clone() };
        let loaded = PolicySession::load(&model, &fast, &engine, NonZeroUsize::MIN, None);
        let Err(error) = loaded else { panic!("it drives at half its speed") };
        assert!(matches!(error, FitError::OtherRate { rate_hz: 20.0 }), "{error}");
        assert!(error.to_string().contains("10 moments a second, and the policy reads 20"));
    }

    #[test]
    fn it_drives_roads_of_regions_that_it_never_saw() {
        let Some(engine) = ort_or_skip() else { return };
        let package = package();
        let model = Model::read(&package.model_path()).unwrap();
        let one = NonZeroUsize::MIN;
        let mut policy =
            PolicySession::load(&model, package.description(), &engine, one, None).unwrap();
        let roads = Roads::unseen(10, 20);
        let shape = policy.shape();
        let drove = roads.drive(shape, &mut Reflex::Policy(&mut policy), |_| ()).unwrap();
        let small = shoal_hal::FrameShape { width: 8, height: 4 };
        let straight = roads.drive(small, &mut Reflex::Straight, |_| ()).unwrap();
        assert!(drove.km > 1.5, "{drove:?}");
        assert!(4 * drove.interventions() < straight.interventions(), "{drove:?} {straight:?}");
        assert!(drove.crashes <= 2 && drove.conflict < 0.09, "{drove:?}");
    }
}

mod values {
    use shoal_hal::backend::synthetic::Leader;
    use shoal_shadow::term::{Moved, comfort, distance, jerk_rms, lane_keeping};

    const BRAKE_M_S2: f64 = 3.5;
    const LATERAL_M_S2: f64 = 3.0;

    fn rows(of: impl Fn(usize) -> (f64, f64)) -> Vec<Moved> {
        let row = |(acceleration_m_s2, lateral_m_s2)| Moved { acceleration_m_s2, lateral_m_s2 };
        (0..200).map(|index| row(of(index))).collect()
    }

    #[test]
    fn comfort_is_1_at_rest_and_minus_1_at_the_bounds() {
        assert_eq!(comfort(&[rows(|_| (0.0, 0.0))], 0.1), Some(1.0));
        assert_eq!(comfort(&[rows(|_| (-BRAKE_M_S2, 0.0))], 0.1), Some(-1.0));
        assert_eq!(comfort(&[rows(|_| (0.0, LATERAL_M_S2))], 0.1), Some(-1.0));
        let half = comfort(&[rows(|_| (-0.5 * BRAKE_M_S2, 0.0))], 0.1).unwrap();
        assert!((half - 0.5).abs() < 1e-9, "{half}");
        assert_eq!(comfort(&[&rows(|_| (0.0, 0.0))[..5]], 0.1), None);
    }

    #[test]
    fn jerk_counts_where_no_force_does() {
        // 0.8 m/s² back and forth every half second: less than half of any force, but 3.2 m/s³ across.
        let across = |index: usize| (0.0, if (index / 5).is_multiple_of(2) { 0.8 } else { -0.8 });
        let shaken = comfort(&[rows(across)], 0.1).unwrap();
        let still = comfort(&[rows(|_| (0.0, 0.8))], 0.1).unwrap();
        assert!(shaken < still - 0.1, "{shaken} {still}");
        let [along, sideways] = jerk_rms(&[rows(across)], 0.1).unwrap();
        assert!(along == 0.0 && (sideways - 3.2).abs() < 0.1, "{along} {sideways}");
    }

    #[test]
    fn distance_falls_with_the_time_to_collision() {
        let at = |gap_m: f32| (20.0, Some(Leader { gap_m, speed_m_s: 10.0 }));
        assert_eq!(distance(&[at(50.0), (20.0, None)]), Some(1.0));
        assert_eq!(distance(&[at(0.0)]), Some(-1.0));
        assert_eq!(distance(&[at(20.0)]), Some(0.0));
        let opening = (20.0, Some(Leader { gap_m: 1.0, speed_m_s: 25.0 }));
        assert_eq!(distance(&[opening]), Some(1.0));
        assert_eq!(distance(&[]), None);
        // One second in ten of 1 s left.
        let mut drive = vec![(20.0, None); 90];
        drive.extend([at(10.0); 10]);
        assert!(distance(&drive).unwrap() < 0.55);
    }

    #[test]
    fn lane_keeping_is_autonomy_between_minus_1_and_1() {
        assert_eq!(lane_keeping(0, 60.0), Some(1.0));
        assert_eq!(lane_keeping(1, 60.0), Some(0.8));
        assert_eq!(lane_keeping(10, 60.0), Some(-1.0));
        assert_eq!(lane_keeping(99, 60.0), Some(-1.0));
        assert_eq!(lane_keeping(0, 0.0), None);
    }
}

mod roads {
    use shoal_hal::FrameShape;
    use shoal_hal::backend::synthetic::{PRETRAINING, SimulatedDriver, Style};
    use shoal_shadow::policymodel::Reflex;
    use shoal_shadow::term::roads::Roads;

    const SHAPE: FrameShape = FrameShape { width: 8, height: 4 };

    #[test]
    fn roads_are_unseen_and_named_by_their_hash() {
        let roads = Roads::unseen(10, 20);
        assert!(roads.all().iter().all(|road| !PRETRAINING.contains(&road.region)));
        assert_eq!(roads.sha256(), Roads::unseen(10, 20).sha256());
        assert_ne!(roads.sha256(), Roads::unseen(10, 21).sha256());
        assert_ne!(roads.sha256(), Roads::unseen(9, 20).sha256());
    }

    #[test]
    fn an_attentive_driver_is_above_a_reckless_one_and_above_straight_on() {
        let roads = Roads::unseen(10, 20);
        let drive = |mut reflex: Reflex<'_>| roads.drive(SHAPE, &mut reflex, |_| ()).unwrap();
        let careful = drive(Reflex::Driver(Box::new(SimulatedDriver::new(Style::Attentive, 1))));
        let reckless = drive(Reflex::Driver(Box::new(SimulatedDriver::new(Style::Reckless, 1))));
        let straight = drive(Reflex::Straight);
        assert_eq!(careful.interventions(), 0, "{careful:?}");
        let [calm, rough] = [&careful, &reckless].map(|report| report.comfort.unwrap());
        assert!(calm > rough + 0.1, "{careful:?} {reckless:?}");
        assert!(careful.distance > reckless.distance, "{careful:?} {reckless:?}");
        assert!(straight.interventions() > 5, "{straight:?}");
        assert!(careful.lane_keeping == 1.0 && straight.lane_keeping < 0.8);
    }
}

mod controls {
    use shoal_shadow::chance::{Draws, Purpose};
    use shoal_shadow::term::controls::{CONTEXT, Controller, Cost, Pid, Plant, Row, roll_out};

    const CHANGE_MAX: f64 = 0.5;

    /// A vehicle whose lateral acceleration is the last steer command, certain.
    struct Obedient {
        values: Vec<f64>,
        logits: Vec<f32>,
    }

    impl Plant for Obedient {
        type Error = std::convert::Infallible;

        fn respond(
            &mut self,
            states: &[[f32; 4]; CONTEXT],
            _before: &[f64; CONTEXT],
        ) -> Result<(&[f64], &[f32]), Self::Error> {
            let steer = f64::from(states[CONTEXT - 1][0]);
            self.values = vec![steer, 4.0];
            self.logits = vec![50.0, 0.0];
            Ok((&self.values, &self.logits))
        }
    }

    fn log() -> Vec<Row> {
        let row = |index: usize| {
            let target_m_s2 = libm::sin(index as f64 * 0.05);
            Row { speed_m_s: 20.0, target_m_s2, steer: 0.0, ..Row::default() }
        };
        (0..600).map(row).collect()
    }

    fn drive(controller: &mut dyn Controller) -> (Vec<f64>, Vec<f64>) {
        let mut plant = Obedient { values: Vec::new(), logits: Vec::new() };
        let mut draws = Draws::new(Purpose::Bootstrap, 1, 1, 1);
        roll_out(&mut plant, controller, &log(), &mut draws).unwrap()
    }

    #[test]
    fn cost_is_the_published_formula() {
        let cost = Cost::of(&[1.0, 1.1, 1.1], &[1.0, 1.0, 1.0]).unwrap();
        assert!((cost.lataccel - 100.0 * 0.02 / 3.0).abs() < 1e-9, "{cost:?}");
        assert!((cost.jerk - 100.0 * 1.0 / 2.0).abs() < 1e-9, "{cost:?}");
        assert!((cost.total() - (50.0 * cost.lataccel + cost.jerk)).abs() < 1e-9);
        assert_eq!(Cost::of(&[1.0], &[1.0]), None);
        assert_eq!(Cost { lataccel: 0.0, jerk: 0.0 }.value(), 1.0);
        assert_eq!(Cost { lataccel: 9.0, jerk: 9.0 }.value(), -1.0);
    }

    #[test]
    fn the_controllers_rows_are_from_100_to_499() {
        let (actual, target) = drive(&mut Pid::new([0.0; 3], 1.0));
        assert_eq!((actual.len(), target.len()), (400, 400));
        assert_eq!(target[0], log()[100].target_m_s2);
    }

    #[test]
    fn feeding_what_is_wanted_forward_costs_less_than_doing_nothing() {
        let cost = |controller: &mut dyn Controller| {
            let (actual, target) = drive(controller);
            Cost::of(&actual, &target).unwrap().total()
        };
        let forward = cost(&mut Pid::new([0.0; 3], 1.0));
        assert!(forward < 50.0 && cost(&mut Pid::new([0.0; 3], 0.0)) > 20.0 * forward, "{forward}");
    }

    #[test]
    fn what_the_vehicle_does_changes_by_half_a_metre_a_row_at_most() {
        let (actual, _) = drive(&mut Pid::new([0.0; 3], 100.0));
        assert!(actual.windows(2).all(|pair| (pair[1] - pair[0]).abs() <= CHANGE_MAX + 1e-9));
    }
}

mod learning {
    use std::num::NonZeroUsize;
    use std::time::Duration;

    use shoal_hal::backend::synthetic::{Region, Road, Start};
    use shoal_hal::{FrameShape, Moment, Motion};
    use shoal_runtime::engine::testing::ort_or_skip;
    use shoal_runtime::onnx::Model;
    use shoal_shadow::policymodel::{
        Architecture, Lessons, PolicySession, build, description, pretrain_policy,
    };
    use shoal_shadow::pretrain::{PoolOptions, PretrainOptions, Progress};

    const SMALL: FrameShape = FrameShape { width: 64, height: 32 };

    /// The losses of a small policy, and what it became.
    fn run(steps: u32, steps_a_clip: u32, round_steps: u32) -> Option<(Vec<f32>, Model)> {
        let engine = ort_or_skip()?;
        let architecture = architecture();
        let (model, package) = (build(&architecture, 1).unwrap(), description(&architecture));
        let options = PretrainOptions { steps, samples: 8, ..PretrainOptions::default() };
        let pool = PoolOptions { clips: 4, steps_a_clip };
        let lessons = Lessons { frames: 8, margin: 4, pool, round_steps };
        let mut losses = Vec::new();
        let tell = |told| {
            if let Progress::Step(step) = told {
                losses.push(step.loss);
            }
        };
        let trained = pretrain_policy(&model, &package, &engine, &lessons, &options, tell).unwrap();
        Some((losses, trained))
    }

    fn architecture() -> Architecture {
        Architecture {
            width: SMALL.width.into(),
            height: SMALL.height.into(),
            ..Architecture::default()
        }
    }

    #[test]
    fn a_policy_at_the_wheel_makes_other_lessons_which_repeat() {
        let Some((losses, _)) = run(40, 2, 5) else { return };
        let (never, _) = run(40, 2, 1000).unwrap();
        assert_eq!(run(40, 2, 5).unwrap().0, losses);
        assert_eq!(losses[..9], never[..9]);
        assert_ne!(losses, never);
    }

    /// ln 1281 = 7.2 nats is the loss of who knows nothing.
    #[test]
    fn a_policy_learns_its_lessons_and_says_what_it_would_do() {
        let Some(engine) = ort_or_skip() else { return };
        let (losses, trained) = run(80, 1000, 1000).unwrap();
        assert!((6.0..9.0).contains(&losses[0]), "{}", losses[0]);
        let late = losses[70..].iter().sum::<f32>() / 10.0;
        assert!(late < 5.5, "{late}");

        let package = description(&architecture());
        let mut policy =
            PolicySession::load(&trained, &package, &engine, NonZeroUsize::MIN, None).unwrap();
        let road = Road { region: Region::Snow, seed: 3_000_000 };
        let closed = road.closed_loop(SMALL, 10.0, Start::default()).unwrap();
        let frame = closed.moment().frame;
        let mut at = |speed_m_s| {
            policy.restart();
            let motion = Motion { speed_m_s: Some(speed_m_s), ..Motion::default() };
            let since_start = Duration::ZERO;
            policy.act(&Moment { frame, motion: Some(motion), since_start }).unwrap()
        };
        let action = at(12.0);
        assert!(action.curvature_1_m.abs() < 0.1 && action.acceleration_m_s2.abs() < 5.0);
        assert_eq!(at(12.0), action);
        assert_ne!(at(30.0), action, "the speed is read");
    }
}
