//! The paper's rule: the vehicle is one particle, and takes one step of Model Swarms a window, with one draw.

use alloc::vec::Vec;

use shoal_wire::ParticleId;
use shoal_wire::v1::{PaperRule, Role, Rule};

use super::consensus::surely_worse;
use super::night::{Begun, Coding, Job, Night};
use super::state::Walk;
use super::store::Want;
use super::{Event, Flat, On, Output, Particle, Swarm, TermResult};
use crate::draws::pull_draws;
use crate::fold::displacement;
use crate::roster::part_after;
use crate::step::{Landmarks, StepLength, Weights, restart, step};

/// A total variation of the weights above this is more than a ramp's.
const EXCITES: f64 = 0.1;

/// How far the window's step is.
#[derive(Debug, Default)]
pub(super) enum Walking {
    /// The vehicle tunes.
    #[default]
    Waiting,
    /// It is measured whether the particle is one to keep away from.
    Judging,
    /// The particle is coded, as this.
    Coding(Role),
    /// It is measured beside the personal best.
    Measuring(Role, ParticleId, Option<u8>),
    /// It is claimed, or cannot be: the step can be taken.
    Ready,
    /// The step is taken.
    Over,
}

impl Walking {
    /// Whether contenders can be measured: by the paper's rule beside the personal best, once it is known.
    pub(super) const fn ready(&self, rule: &Rule) -> bool {
        match rule {
            Rule::Paper(_) => matches!(self, Self::Ready),
            Rule::Consensus(_) | Rule::Coefficients => true,
        }
    }
}

impl Swarm {
    pub(super) fn walk(&mut self, night: &mut Night, begun: &mut Begun, rule: &PaperRule) -> bool {
        let (next, changed) = match core::mem::take(&mut begun.walking) {
            Walking::Waiting => self.judge(night, begun),
            Walking::Measuring(role, particle, slot) => {
                let own = self.store.get(particle).cloned();
                let free = night.measuring.is_none();
                if let Some(own) = own.filter(|_own| free) {
                    let beside = Some(self.personal_best());
                    self.measure(night, Job::Own, own, beside, On::Part(begun.part));
                }
                (Walking::Measuring(role, particle, slot), free)
            }
            Walking::Ready => self.step_when_ready(night, begun, rule),
            waiting @ (Walking::Judging | Walking::Coding(_) | Walking::Over) => (waiting, false),
        };
        begun.walking = next;
        changed
    }

    pub(super) fn personal_best(&self) -> Flat {
        self.kept.personal_best.clone().unwrap_or_else(|| self.start.clone())
    }

    /// Once the vehicle has tuned: measures its particle beside x_p, on a part that it is not claimed on.
    fn judge(&mut self, night: &mut Night, begun: &Begun) -> (Walking, bool) {
        let claimed = self.state.claimed.is_some_and(|(window, _)| window == night.window);
        if claimed || !night.online || night.late {
            return (Walking::Ready, true);
        }
        let Some(own) = self.tuned.clone().filter(|_own| self.has_tuned) else {
            return (Walking::Waiting, false);
        };
        if !self.fresh {
            // It was claimed in a window that ended before the step.
            return (Walking::Ready, true);
        }
        if night.measuring.is_some() {
            return (Walking::Waiting, false);
        }
        let on = On::Part(part_after(begun.part, 1));
        self.measure(night, Job::Role, own, Some(self.start.clone()), on);
        (Walking::Judging, true)
    }

    pub(super) fn role_known(
        &mut self,
        night: &mut Night,
        begun: &mut Begun,
        terms: Option<&[TermResult]>,
    ) {
        begun.walking = Walking::Ready;
        let (Some(terms), Some(own)) = (terms, self.tuned.clone()) else { return };
        self.fresh = false;
        let role = if surely_worse(begun, terms) { Role::Worst } else { Role::Best };
        let difference = displacement(&own, &self.start, None).into();
        let job = self.next_job();
        night.coding = Some((job, Coding::Own));
        let bits = self.bits().0;
        let window = night.window;
        let particle = Particle {
            role,
            window,
            anchor: None,
            inputs: Vec::new(),
            difference,
            bits,
            noised: false,
        };
        self.say(Output::Code { job, particle });
        begun.walking = Walking::Coding(role);
    }

    pub(super) fn own_coded(
        &mut self,
        begun: &mut Begun,
        coded: Option<(ParticleId, &Flat, Option<u8>)>,
    ) {
        let Walking::Coding(role) = core::mem::take(&mut begun.walking) else { return };
        let Some((particle, values, slot)) = coded else {
            begun.walking = Walking::Ready;
            return;
        };
        let values = self.adapter(values);
        self.store.put(particle, values);
        begun.walking = Walking::Measuring(role, particle, slot);
    }

    /// The particle is measured beside the personal best: which it may be from now on; and it is claimed. After `patience`
    /// windows without another best, only what improved is claimed.
    pub(super) fn claim_own(
        &mut self,
        night: &Night,
        begun: &mut Begun,
        terms: Option<&[TermResult]>,
    ) {
        let Walking::Measuring(role, particle, slot) = core::mem::take(&mut begun.walking) else {
            return;
        };
        begun.walking = Walking::Ready;
        let Some(terms) = terms else { return };
        let improved = begun.gain(terms).is_some_and(|gain| gain > 0.0);
        self.stagnation = if improved { 1 } else { self.stagnation.saturating_add(1) };
        if let Some(values) = self.store.get(particle).cloned().filter(|_values| improved) {
            self.kept.personal_best = Some(values.clone());
            self.say(Output::Stage(values));
        }
        self.keep_walk();
        let rests = match self.document.rule {
            Rule::Paper(rule) => {
                night.window.saturating_sub(self.state.best_since) >= u32::from(rule.patience)
            }
            Rule::Consensus(_) | Rule::Coefficients => false,
        };
        if let Some(slot) = slot.filter(|_slot| improved || !rests) {
            self.publish_claim(night, begun, particle, role, slot, terms);
        }
    }

    fn step_when_ready(
        &mut self,
        night: &Night,
        begun: &mut Begun,
        rule: &PaperRule,
    ) -> (Walking, bool) {
        if !begun.all_voted() || !begun.contenders.is_empty() || night.measuring.is_some() {
            return (Walking::Ready, false);
        }
        let worst = begun.worst.as_ref().map(|worst| worst.particle);
        let worst = match worst.map(|worst| (worst, self.want(Some(worst), night.online))) {
            Some((worst, Want::Here(values))) => Some((worst, values)),
            Some((_worst, Want::Coming)) => return (Walking::Ready, false),
            Some((_, Want::Lost)) | None => None,
        };
        let mut most: Option<(ParticleId, f64)> = None;
        for (contender, gain) in &begun.no_worse {
            if most.is_none_or(|(_, highest)| *gain > highest) {
                most = Some((contender.particle, *gain));
            }
        }
        let best =
            most.and_then(|(particle, _gain)| Some((particle, self.store.get(particle)?.clone())));
        self.take_step(night.window, rule, best, worst);
        begun.decided = true;
        (Walking::Over, true)
    }

    /// Model Swarms' step, from where the vehicle tuned to. Without a best that it measured to be no worse, nothing draws it
    /// there; without a worst by the records, nothing repels it.
    fn take_step(
        &mut self,
        window: u32,
        rule: &PaperRule,
        best: Option<(ParticleId, Flat)>,
        worst: Option<(ParticleId, Flat)>,
    ) {
        let personal_best = self.personal_best();
        let mut x = self.reached().to_vec();
        let rest = || alloc::vec![0.0; x.len()];
        let mut v = self.kept.velocity.as_ref().map_or_else(rest, |velocity| velocity.to_vec());
        let restarted = self.stagnation >= u32::from(rule.restart_patience);
        if restarted {
            restart(&mut x, &mut v, &personal_best);
        }
        let weights = Weights {
            inertia: f64::from(rule.inertia),
            cognitive: f64::from(rule.cognitive),
            social: if best.is_some() { f64::from(rule.social) } else { 0.0 },
            repel: if worst.is_some() { f64::from(rule.repel) } else { 0.0 },
        };
        let at = Landmarks {
            personal_best: &personal_best,
            global_best: best.as_ref().map_or(&personal_best, |(_best, values)| values),
            global_worst: worst.as_ref().map_or(&personal_best, |(_worst, values)| values),
        };
        let length = length(rule);
        let steps = self.state.walk.map_or(0, |walk| walk.steps);
        let pull = weights.pull(pull_draws(self.document.seed, Some(self.vehicle), window, 0));
        // Nothing pulls: it stays where it is.
        let _unmoved = step(&mut x, &mut v, at, pull, length.at(steps) as f32);
        if x.iter().chain(&v).any(|value| !value.is_finite()) {
            x = personal_best.to_vec();
            v.fill(0.0);
        }
        self.say(Output::Event(Event::Stepped {
            towards: best.map(|(particle, _values)| particle),
            from: worst.map(|(particle, _values)| particle),
            restarted,
        }));
        self.stand(x.into(), v.into(), personal_best, steps.saturating_add(1));
        self.say(Output::Tune { from: self.position.clone(), particle: None, window });
    }

    /// Where the walk is, durably: a start between claim and step must not forget a better personal best.
    fn keep_walk(&mut self) {
        let personal_best = self.personal_best();
        let (personal_best, stagnation) = (self.keep_values(&personal_best), self.stagnation);
        self.state.walk = Some(match self.state.walk {
            Some(walk) => Walk { personal_best, stagnation, ..walk },
            None => {
                let position = self.position.clone();
                let position = self.keep_values(&position);
                let rest: Flat = alloc::vec![0.0; self.start.len()].into();
                let velocity = self.keep_values(&rest);
                Walk { position, velocity, personal_best, steps: 0, stagnation }
            }
        });
        self.state.given = self.has_given();
        self.keep_state();
    }

    /// Where the utility moves by more than ramps do, what was best before says little: velocity is halved, steps are half as long
    /// as the first again, and what counts windows without an improvement begins anew (swarm.md §7.1, step 5; its fifth of particles
    /// with a new velocity is of who knows where all stand). By the consensus rule nothing of it.
    pub(super) fn excite(&mut self, window: u32, variation: f64) {
        let Rule::Paper(rule) = self.document.rule else { return };
        if variation <= EXCITES {
            return;
        }
        self.state.best_since = window;
        self.stagnation = 1;
        if let Some(velocity) = &mut self.kept.velocity {
            *velocity = velocity.iter().map(|value| 0.5 * value).collect();
        }
        if let Some(walk) = &mut self.state.walk {
            walk.steps = walk.steps.min(length(&rule).longer_than_half());
        }
    }

    /// The particle stands here now.
    fn stand(&mut self, position: Flat, velocity: Flat, personal_best: Flat, steps: u32) {
        self.state.walk = Some(Walk {
            position: self.keep_values(&position),
            velocity: self.keep_values(&velocity),
            personal_best: self.keep_values(&personal_best),
            steps,
            stagnation: self.stagnation,
        });
        // Of the consensus rule, where the fleet went by that before.
        self.state.position = None;
        (self.has_tuned, self.state.given) = (false, false);
        self.keep_state();
        self.kept.velocity = Some(velocity);
        self.kept.personal_best = Some(personal_best);
        self.position = position;
    }
}

fn length(rule: &PaperRule) -> StepLength {
    StepLength {
        first: f64::from(rule.step_length),
        decay: f64::from(rule.step_length_decay),
        floor: f64::from(rule.step_length_min),
    }
}
