//! The consensus rule: contributions up, the others' down, one merge out of them, measured and claimed.

use alloc::boxed::Box;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;

use shoal_wire::v1::{
    ClaimFields, ConsensusRule, INPUTS_MAX, Measured, MergeInput, RefusalCode, Role, TERMS_MAX,
};
use shoal_wire::{KeyId, ParticleId, RecordId};

use super::anchor::{Anchor, from_another, most_named};
use super::following::Turn;
use super::moving::Contender;
use super::night::{Begun, Coding, Job, Night};
use super::state::Pending;
use super::store::Want;
use super::{Event, Flat, On, Output, Particle, Swarm, TermResult};
use crate::ballot::SURE;
use crate::fold::{FoldError, Values, Weighted, displacement, fold, norm, remainder};
use crate::merge::{Found, Look, Merger, Recipe, Settings, clips, inertia};
use crate::quorum::COPIES;
use crate::roster::part_after;

/// Contributions of one merge: two of its inputs are for the velocity.
const CONTRIBUTIONS_MAX: usize = INPUTS_MAX - 2;
/// The utility of a merge that cannot be measured.
const LOWEST: f64 = -1.0;

/// How far the window's merge is.
#[derive(Debug, Default)]
pub(super) enum Merging {
    /// Contributions come.
    #[default]
    Gathering,
    /// Merges are measured.
    Searching(Box<Search>),
    /// The merge is coded.
    Coding(Made),
    /// It is to be measured, and claimed.
    Claiming(Made, ParticleId, Option<u8>),
    /// Others fold: of their merges, these were looked at.
    Following(Vec<ParticleId>),
    /// It is claimed, or there is none.
    Over,
}

/// A contribution as its header has it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Published {
    particle: ParticleId,
    header: RecordId,
    pub(super) signer: KeyId,
    anchor: Anchor,
}

/// What of a window's contributions is here.
struct Gathered {
    contributions: Vec<(Published, Flat)>,
    /// The anchors that they name, the most named first.
    named: Vec<Anchor>,
    /// Those of them whose values are here.
    anchors: BTreeMap<Anchor, Flat>,
    /// Whether something is on its way.
    coming: bool,
}

/// A contribution that was admitted, as a difference to the anchor of the merge.
#[derive(Clone, Debug)]
struct Contribution {
    particle: ParticleId,
    header: RecordId,
    values: Flat,
}

/// A particle moved to, with its values.
type Place = (ParticleId, Flat);

#[derive(Debug)]
pub(super) struct Search {
    merger: Merger,
    answers: Vec<f64>,
    contributions: Vec<Contribution>,
    anchor: Flat,
    /// b of a recipe; `None`: it is the anchor.
    base: Option<Place>,
    /// p of a recipe; `None`: it is the anchor.
    before: Option<Place>,
}

/// What was made, for logs and for what follows.
#[derive(Clone, Debug)]
pub(super) struct Made {
    found: Found,
    inputs: Vec<MergeInput>,
}

impl Merging {
    pub(super) const fn done(&self) -> bool {
        matches!(self, Self::Over)
    }
}

impl Swarm {
    pub(super) fn merge(
        &mut self,
        night: &mut Night,
        begun: &mut Begun,
        rule: &ConsensusRule,
    ) -> bool {
        if self.contribute(night, begun, rule) {
            return true;
        }
        match core::mem::take(&mut begun.merging) {
            Merging::Gathering => self.gather(night, begun, rule),
            Merging::Searching(search) => self.search(night, begun, rule, search),
            Merging::Claiming(made, particle, slot) => {
                self.measure_merge(night, begun, made, particle, slot)
            }
            Merging::Following(tried) => self.follow(night, begun, tried),
            waiting @ (Merging::Coding(_) | Merging::Over) => {
                begun.merging = waiting;
                false
            }
        }
    }

    /// Codes what the vehicle tuned since the anchor, if the nonce asks for it. What comes when the others fold already
    /// is for the next window: published now it would be in no merge, and the next window would be without.
    fn contribute(&mut self, night: &mut Night, begun: &Begun, rule: &ConsensusRule) -> bool {
        let asked = begun.asked.contains(&self.vehicle);
        let once = self.state.contributed != Some(night.window);
        let time = night.online && !night.late;
        if !asked || !once || !time || !self.fresh || night.coding.is_some() {
            return false;
        }
        let Some(tuned) = self.tuned.clone() else { return false };
        let anchor_name = self.own_anchor(night.window, begun);
        let Want::Here(anchor) = self.want(anchor_name, night.online) else { return false };
        self.fresh = false;
        let Some(difference) = self.contribution(&tuned, &anchor) else { return true };
        let job = self.next_job();
        night.coding = Some((job, Coding::Contribution(difference.clone())));
        self.say(Output::Code {
            job,
            particle: Particle {
                role: Role::Contribution,
                window: night.window,
                anchor: anchor_name,
                inputs: Vec::new(),
                difference,
                bits: rule.up_bits,
                noised: self.private.is_some(),
            },
        });
        true
    }

    /// A contribution is coded. What coding kept back is durable before it is published.
    pub(super) fn contributed(
        &mut self,
        night: &mut Night,
        meant: &Flat,
        coded: Option<(ParticleId, &Flat, Option<u8>)>,
    ) {
        let Some((contribution, sent, Some(_slot))) = coded else { return };
        if !night.online {
            return;
        }
        let kept: Flat = remainder(meant, sent).into();
        let values = self.keep_values(&kept);
        self.kept.pending = Some(kept);
        self.state.pending = Some(Pending { contribution, values });
        self.state.contributed = Some(night.window);
        self.state.given = self.has_given();
        self.keep_state();
        self.store.put(contribution, sent.clone());
        self.say(Output::Publish { particle: contribution, chunks: true });
    }

    /// Whether what came of tuning from where the vehicle stands is what it has just published.
    pub(super) const fn has_given(&self) -> bool {
        self.has_tuned && !self.fresh
    }

    /// Fetches the others' contributions; goes on when all are there, or it is late.
    fn gather(&mut self, night: &mut Night, begun: &mut Begun, rule: &ConsensusRule) -> bool {
        if night.own_norm == 0.0 {
            // Known before anything is fetched: by it the others' are admitted.
            let own_anchor = self.own_anchor(night.window, begun);
            match self.want(own_anchor, night.online) {
                Want::Here(anchor) => night.own_norm = self.own_norm(&anchor),
                Want::Coming => {
                    begun.merging = Merging::Gathering;
                    return false;
                }
                Want::Lost => {
                    begun.merging = Merging::Over;
                    return true;
                }
            }
        }
        let published = self.published(night, begun);
        let contributed = self.have_contributed(night, begun);
        let mut complete = begun.asked.is_subset(&contributed);
        match self.turn(night, begun, contributed) {
            Turn::Folds => {}
            Turn::StandsBy if begun.relieves => {}
            turn @ (Turn::StandsBy | Turn::Follows) => {
                begun.stands_by = turn == Turn::StandsBy;
                begun.merging = Merging::Following(Vec::new());
                return true;
            }
            Turn::Open => {
                begun.merging = Merging::Gathering;
                return false;
            }
        }
        let Gathered { contributions, named, mut anchors, coming } =
            self.gathered(night, published);
        complete &= !coming;
        // Who relieves begins late, with what others published long ago.
        let waits =
            if begun.relieves { coming && !night.closing } else { !complete && !night.late };
        if waits {
            begun.merging = Merging::Gathering;
            return false;
        }
        let anchor = named.into_iter().find(|anchor| anchors.contains_key(anchor));
        begun.merging = match anchor {
            Some(anchor) => {
                let contributions = towards(anchor, &anchors, contributions);
                let values = anchors.remove(&anchor).unwrap_or_else(|| self.start.clone());
                self.begin_search(night, begun, rule, (anchor, values), contributions)
            }
            None => Merging::Over,
        };
        true
    }

    /// What of these contributions is here, with their anchors.
    fn gathered(&mut self, night: &Night, published: Vec<Published>) -> Gathered {
        let mut contributions = Vec::new();
        let mut coming = false;
        for one in published {
            match self.want(Some(one.particle), night.online) {
                Want::Here(values) => contributions.push((one, values)),
                Want::Coming => coming = true,
                Want::Lost => {}
            }
        }
        let named = most_named(contributions.iter().map(|(one, _values)| one.anchor));
        let mut anchors = BTreeMap::new();
        for anchor in &named {
            match self.want(*anchor, night.online) {
                Want::Here(values) => drop(anchors.insert(*anchor, values)),
                Want::Coming => coming = true,
                Want::Lost => {}
            }
        }
        Gathered { contributions, named, anchors, coming }
    }

    /// Who of those that were asked has contributed in this window, to what all know: all of them, also where a merge has no room for
    /// all, or two contributed the same.
    pub(super) fn have_contributed(&self, night: &Night, begun: &Begun) -> BTreeSet<KeyId> {
        self.contributions(night, begun).map(|one| one.signer).collect()
    }

    /// What a merge of this window is made of, by growing name.
    fn published(&self, night: &Night, begun: &Begun) -> Vec<Published> {
        let mut published: Vec<Published> = self.contributions(night, begun).collect();
        published.sort();
        published.dedup_by_key(|one| one.particle);
        published.truncate(CONTRIBUTIONS_MAX);
        published
    }

    /// Contributions of this window by vehicles that were asked, to what all know.
    fn contributions(&self, night: &Night, begun: &Begun) -> impl Iterator<Item = Published> {
        let anchors = self.anchors(night.window, begun);
        self.records
            .particles(night.window)
            .filter(|header| header.body.role == Role::Contribution)
            .filter(move |header| anchors.contains(&header.body.anchor))
            .filter(|header| begun.asked.contains(&header.signer))
            .map(|header| Published {
                particle: header.body.id,
                header: header.id,
                signer: header.signer,
                anchor: header.body.anchor,
            })
    }

    fn begin_search(
        &mut self,
        night: &Night,
        begun: &Begun,
        rule: &ConsensusRule,
        (anchor_name, anchor): (Anchor, Flat),
        contributions: Vec<Contribution>,
    ) -> Merging {
        let clips = if rule.clip {
            let norms: Vec<f64> = contributions.iter().map(|one| norm(&one.values)).collect();
            clips(&norms)
        } else {
            contributions.iter().map(|_one| 1.0).collect()
        };
        let bits = rule.up_bits.min(rule.down_bits);
        let there = self.have_contributed(night, begun).len();
        let beta = inertia(rule.inertia, there, begun.asked.len(), bits);
        let (base, before, moved) = self.places(night, anchor_name);
        let settings = Settings {
            inertia: if moved { beta } else { 0.0 },
            brake: f64::from(rule.brake),
            line_search: self.conduct.line_search,
            utility_moved: begun.utility_moved(),
            seed: self.document.seed,
            window: night.window,
        };
        let Some(merger) = Merger::new(settings, clips) else { return Merging::Over };
        let answers = Vec::new();
        let search = Search { merger, answers, contributions, anchor, base, before };
        Merging::Searching(Box::new(search))
    }

    /// b and p of a recipe: the last two particles moved to, each `None` where it is the anchor; and whether the step between
    /// them can be named in a merge's inputs. The start adapter has no name.
    fn places(&mut self, night: &Night, anchor: Anchor) -> (Option<Place>, Option<Place>, bool) {
        let (state_base, state_before) = (self.state.base, self.state.before);
        let mut place = |of: Option<ParticleId>| {
            if of == anchor {
                return (None, true);
            }
            let Some(particle) = of else { return (None, false) };
            match self.want(of, night.online) {
                Want::Here(values) => (Some((particle, values)), true),
                Want::Coming | Want::Lost => (None, false),
            }
        };
        let (base, base_named) = place(state_base);
        let (before, before_named) = place(state_before);
        let moved =
            base_named && before_named && state_base.is_some() && state_base != state_before;
        (base, before, moved)
    }

    fn search(
        &mut self,
        night: &mut Night,
        begun: &mut Begun,
        rule: &ConsensusRule,
        mut search: Box<Search>,
    ) -> bool {
        if night.hurried && night.measuring.is_none() {
            search.hurry();
        }
        let coded = night.coding.is_none();
        if let Some(found) = search.merger.found().filter(|_found| coded).cloned() {
            begun.merging = self.code_merge(night, &search, found, rule);
            return true;
        }
        if night.measuring.is_some() || search.merger.found().is_some() {
            begun.merging = Merging::Searching(search);
            return false;
        }
        let on = On::Part(part_of(begun.part, search.merger.look()));
        let next = search.merger.asks().get(search.answers.len()).cloned();
        match next.map(|recipe| search.fold(&recipe)) {
            Some(Ok(merge)) => self.measure(night, Job::Ask, merge.into(), None, on),
            Some(Err(_not_finite)) => search.answer(LOWEST),
            None => {}
        }
        begun.merging = Merging::Searching(search);
        true
    }

    fn code_merge(
        &mut self,
        night: &mut Night,
        search: &Search,
        found: Found,
        rule: &ConsensusRule,
    ) -> Merging {
        for index in &found.dropped {
            if let Some(dropped) = search.contributions.get(*index) {
                self.refuse(dropped.header, RefusalCode::Loss);
            }
        }
        let inputs = search.inputs(&found.recipe);
        let Some(merge) = search.fold(&found.recipe).ok().filter(|_merge| !inputs.is_empty())
        else {
            return Merging::Over;
        };
        let difference = displacement(&merge, &self.start, None).into();
        let job = self.next_job();
        night.coding = Some((job, Coding::Merge));
        self.say(Output::Code {
            job,
            particle: Particle {
                role: Role::Merge,
                window: night.window,
                anchor: None,
                inputs: inputs.clone(),
                difference,
                bits: rule.down_bits,
                noised: false,
            },
        });
        Merging::Coding(Made { found, inputs })
    }

    /// The merge is coded: what every receiver will read is what is measured and claimed.
    pub(super) fn merged(
        &mut self,
        begun: &mut Begun,
        coded: Option<(ParticleId, &Flat, Option<u8>)>,
    ) {
        let Merging::Coding(made) = core::mem::take(&mut begun.merging) else { return };
        let Some((particle, values, slot)) = coded else {
            begun.merging = Merging::Over;
            return;
        };
        let values = self.adapter(values);
        self.store.put(particle, values);
        let dropped = made.found.dropped.len();
        let weights = &made.found.recipe.contributions;
        self.say(Output::Event(Event::Merged {
            particle,
            contributions: weights.iter().filter(|weight| **weight != 0.0).count(),
            dropped,
            searched: made.found.searched,
            length: made.found.length,
            braked: made.found.braked,
        }));
        begun.merging = Merging::Claiming(made, particle, slot);
    }

    fn measure_merge(
        &mut self,
        night: &mut Night,
        begun: &mut Begun,
        made: Made,
        particle: ParticleId,
        slot: Option<u8>,
    ) -> bool {
        let free = night.measuring.is_none();
        let merge = self.store.get(particle).cloned().filter(|_merge| free);
        if let Some(merge) = merge {
            self.measure(night, Job::Claim, merge, None, On::Part(begun.part));
        }
        begun.merging = Merging::Claiming(made, particle, slot);
        free
    }

    /// The merge is measured: it is claimed, and can be moved to.
    pub(super) fn claim_merge(
        &mut self,
        night: &Night,
        begun: &mut Begun,
        terms: Option<&[TermResult]>,
    ) {
        let Merging::Claiming(made, particle, slot) = core::mem::take(&mut begun.merging) else {
            return;
        };
        begun.merging = Merging::Over;
        let inputs = made.inputs.iter().map(|input| input.particle).collect();
        begun.contend(Contender::new(particle, begun.part, None, inputs));
        if let (Some(terms), Some(slot)) = (terms, slot) {
            self.publish_claim(night, begun, particle, Role::Merge, slot, terms);
        }
    }

    /// Claims a particle, once a window, while there is a link.
    pub(super) fn publish_claim(
        &mut self,
        night: &Night,
        begun: &Begun,
        particle: ParticleId,
        role: Role,
        slot: u8,
        terms: &[TermResult],
    ) {
        let (window, part) = (night.window, begun.part);
        let again = self.state.claimed.is_some_and(|(claimed, _particle)| claimed == window);
        let Some(pack) = self.utility.pack() else { return };
        // Who was added to the fleet is of it from its first window on: nobody counts an earlier claim.
        let early = !self.roster.at(window).has(self.vehicle);
        if again || early || !night.online {
            return;
        }
        self.state.claimed = Some((window, particle));
        self.keep_state();
        let same = self.records.particles(window).filter(|header| header.body.id == particle);
        let numbers = same.filter_map(|header| self.roster.number(header.signer));
        let mut copies: BTreeSet<u32> = numbers.collect();
        if let Some(own) = self.roster.number(self.vehicle) {
            copies.remove(&own);
        }
        let chunks = copies.len() < COPIES;
        let measured =
            |term: &TermResult| Measured { value: term.value, standard_error: term.value_error };
        let fields = ClaimFields {
            window,
            slot,
            particle,
            role,
            pack,
            part,
            utility_version: self.utility.version(),
            terms: terms.iter().take(TERMS_MAX).map(measured).collect(),
        };
        self.say(Output::Publish { particle, chunks });
        self.say(Output::Claim(fields));
    }
}

impl Search {
    /// Asks for no more weights, and for none that were still to be measured.
    fn hurry(&mut self) {
        if self.merger.hurry() {
            self.answers.clear();
        }
    }

    fn answer(&mut self, utility: f64) {
        self.answers.push(utility);
        if self.answers.len() == self.merger.asks().len() {
            let answers = core::mem::take(&mut self.answers);
            self.merger.take(&answers);
        }
    }

    fn fold(&self, recipe: &Recipe) -> Result<Vec<f32>, FoldError> {
        let contributions = self.contributions.iter().zip(&recipe.contributions);
        let mut inputs: Vec<Weighted<'_>> = contributions
            .map(|(one, weight)| Weighted {
                particle: one.particle,
                values: Values::Displacement(&one.values),
                weight: *weight,
            })
            .collect();
        for (place, weight) in self.positions(recipe) {
            let (particle, values) = place;
            let values = Values::Position(values);
            inputs.push(Weighted { particle: *particle, values, weight });
        }
        inputs.retain(|input| input.weight != 0.0);
        fold(&self.anchor, &inputs)
    }

    /// What the header of this merge lists, by growing name.
    fn inputs(&self, recipe: &Recipe) -> Vec<MergeInput> {
        let contributions = self.contributions.iter().zip(&recipe.contributions);
        let mut inputs: Vec<MergeInput> = contributions
            .map(|(one, weight)| MergeInput { particle: one.particle, weight: *weight })
            .collect();
        let positions = self.positions(recipe);
        inputs.extend(
            positions.map(|((particle, _), weight)| MergeInput { particle: *particle, weight }),
        );
        inputs.retain(|input| input.weight != 0.0);
        inputs.sort_by_key(|input| input.particle);
        inputs
    }

    fn positions(&self, recipe: &Recipe) -> impl Iterator<Item = (&Place, f32)> {
        let base = self.base.as_ref().map(|base| (base, recipe.base));
        base.into_iter().chain(self.before.as_ref().map(|before| (before, recipe.before)))
    }
}

impl Begun {
    /// The answer to what the search for a merge asked last.
    pub(super) fn answered(&mut self, terms: Option<&[TermResult]>) {
        let utility = terms.and_then(|terms| self.utility(terms)).unwrap_or(LOWEST);
        if let Merging::Searching(search) = &mut self.merging {
            search.answer(utility);
        }
    }
}

/// Contributions as differences to this anchor, whatever theirs are; without those whose anchor is not to be had.
fn towards(
    anchor: Anchor,
    anchors: &BTreeMap<Anchor, Flat>,
    contributions: Vec<(Published, Flat)>,
) -> Vec<Contribution> {
    let Some(to) = anchors.get(&anchor) else { return Vec::new() };
    let moved = |(one, values): (Published, Flat)| {
        let values = if one.anchor == anchor {
            values
        } else {
            let from = anchors.get(&one.anchor)?;
            from_another(&values, from, to)
        };
        Some(Contribution { particle: one.particle, header: one.header, values })
    };
    contributions.into_iter().filter_map(moved).collect()
}

/// The part after the claim's is what a merge is chosen by; the one before it is fresh. The one between is left for who moves.
fn part_of(claimed: u8, look: Look) -> u8 {
    let parts = match look {
        Look::Choosing => 1,
        Look::Fresh => 3,
    };
    part_after(claimed, parts)
}

/// Whether these terms are surely a loss beside what they were measured beside.
pub(super) fn surely_worse(begun: &Begun, terms: &[TermResult]) -> bool {
    let errors: Vec<u16> = terms.iter().map(|term| term.difference_error).collect();
    let error = begun.weighing.standard_error(&errors);
    begun.gain(terms).is_some_and(|gain| gain + SURE * error < 0.0)
}
