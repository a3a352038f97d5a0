//! The entry of the target `insider`: vehicles of a fleet that sign whatever the bytes say, and those who read it: the console, a
//! beacon, and a vehicle.

mod fleet;
mod readers;

use shoal_wire::v1::{
    Chunk, Claim, ClaimFields, Compared, Document, Measured, MergeInput, NOMINEES, ParticleHeader,
    ParticleHeaderFields, Presence, Refusal, Role, SLOTS, SwarmDocument, UtilityDocument, Vote,
    VoteFields, WindowPlan,
};
use shoal_wire::{Body, ChunkHash, Leaf, ParticleId, SecretKey, decode_body};

use fleet::{LAYOUT, MODEL, PACK, Post, VEHICLES, authority, documents, key, nonce, post};
use readers::Readers;

/// Runs the bytes as a script: what vehicles 1 to 3 and the authority publish, in which order, and how time passes.
///
/// # Panics
/// If a reader panics, a beacon says what its readers refuse, or a vehicle moves to what it cannot hold.
pub fn insider(bytes: &[u8]) {
    let mut play = Play { script: Script(bytes), counter: 10, made: Vec::new() };
    let mut readers = Readers::new();
    documents().iter().for_each(|post| readers.hear(post));
    while play.step(&mut readers).is_some() {}
    readers.end();
}

/// What is left of the bytes. Where they end, the play does.
struct Script<'a>(&'a [u8]);

impl<'a> Script<'a> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (taken, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*taken)
    }

    fn byte(&mut self) -> Option<u8> {
        self.take().map(|[byte]| byte)
    }

    /// A small number, or, behind 255, any.
    fn number(&mut self) -> Option<u32> {
        match self.byte()? {
            u8::MAX => self.take().map(u32::from_le_bytes),
            small => Some(small.into()),
        }
    }

    /// As many bytes as the next one says.
    fn bytes(&mut self) -> Option<&'a [u8]> {
        let count = usize::from(self.byte()?);
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }
}

/// What the insiders have done so far.
struct Play<'a> {
    script: Script<'a>,
    counter: u64,
    /// The particles whose headers were published: others are named by their place here.
    made: Vec<ParticleId>,
}

impl Play<'_> {
    /// The next step; `None`: there is none.
    fn step(&mut self, readers: &mut Readers) -> Option<()> {
        let post = match self.script.byte()? % 8 {
            0 => self.header()?,
            1 => self.claim()?,
            2 => self.vote()?,
            3 => nonce(self.script.number()?),
            4 => self.told()?,
            5 => self.document()?,
            6 => {
                readers.pass(u64::from(self.script.number()?));
                None
            }
            _phase => {
                readers.phase(self.script.byte()?, self.script.number()?);
                None
            }
        };
        post.iter().for_each(|post| readers.hear(post));
        Some(())
    }

    /// One of the vehicles that are not the reader.
    fn signer(&mut self) -> Option<SecretKey> {
        Some(key(1 + self.script.byte()? % (VEHICLES - 1)))
    }

    fn role(&mut self) -> Option<Role> {
        let roles = [Role::Best, Role::Worst, Role::Contribution, Role::Merge];
        roles.get(usize::from(self.script.byte()?) % roles.len()).copied()
    }

    /// A particle by its place; `None`, where there is none at that place, is the start adapter.
    fn particle(&mut self) -> Option<Option<ParticleId>> {
        let place = usize::from(self.script.byte()?);
        Some(self.made.get(place).copied())
    }

    /// Seals a body, under the next counter or, where the script says so, the one before.
    fn sealed<'b, T: Body<'b>>(
        &mut self,
        signer: &SecretKey,
        leaf: Leaf,
        body: &T,
    ) -> Option<Post> {
        self.counter += u64::from(self.script.byte().unwrap_or(1) != 0);
        post(signer, leaf, self.counter, body)
    }

    fn header(&mut self) -> Option<Option<Post>> {
        let (signer, slot) = (self.signer()?, self.script.byte()? % SLOTS);
        let (role, window, mark) = (self.role()?, self.script.number()?, self.script.byte()?);
        let anchor = self.particle()?;
        let mut inputs = Vec::new();
        for _input in 0..self.script.byte()? % 4 {
            inputs.extend(self.particle()?);
        }
        inputs.sort();
        let weight = f32::from(self.script.byte()?) - 2.0;
        let input = |particle| MergeInput { particle, weight };
        let chunk = Chunk { first_value: 0, bytes: 1, hash: ChunkHash::new([mark; 32]) };
        let header = ParticleHeader::new(ParticleHeaderFields {
            role,
            window,
            base_model: MODEL,
            layout: LAYOUT,
            anchor,
            inputs: inputs.into_iter().map(input).collect(),
            coding: 1,
            values: 3,
            chunks: [chunk].into_iter().collect(),
        });
        let Ok(header) = header else { return Some(None) };
        self.made.push(header.id());
        Some(self.sealed(&signer, Leaf::Particle { slot }, &header))
    }

    fn claim(&mut self) -> Option<Option<Post>> {
        let (signer, slot) = (self.signer()?, self.script.byte()? % SLOTS);
        let (role, window) = (self.role()?, self.script.number()?);
        let Some(particle) = self.particle()? else { return Some(None) };
        let [part, version, terms] = self.script.take()?;
        let mut values = Vec::new();
        for _term in 0..terms % 3 {
            let [a, b, c, d] = self.script.take()?;
            let (value, standard_error) = (i16::from_le_bytes([a, b]), u16::from_le_bytes([c, d]));
            values.push(Measured { value, standard_error });
        }
        let claim = Claim::new(ClaimFields {
            window,
            slot,
            particle,
            role,
            pack: PACK,
            part: fleet::part_of(window, part),
            utility_version: version.into(),
            terms: values.into_iter().collect(),
        });
        let Ok(claim) = claim else { return Some(None) };
        Some(self.sealed(&signer, Leaf::Claim { slot }, &claim))
    }

    fn vote(&mut self) -> Option<Option<Post>> {
        let (signer, place) = (self.signer()?, self.script.byte()? % NOMINEES);
        let window = self.script.number()?;
        let (nominee, best) = (self.particle()?, self.particle()?);
        let [part, version, a, b, c, d, e, f] = self.script.take()?;
        let Some(nominee) = nominee else { return Some(None) };
        let fields = VoteFields {
            window,
            place,
            nominee,
            best,
            pack: PACK,
            part: fleet::part_of(window, part),
            utility_version: version.into(),
            terms: [Compared {
                value: i16::from_le_bytes([a, b]),
                best: i16::from_le_bytes([c, d]),
                standard_error: u16::from_le_bytes([e, f]),
            }]
            .into_iter()
            .collect(),
        };
        let fields = if version == u8::MAX { fields.missing() } else { fields };
        let Ok(vote) = Vote::new(fields) else { return Some(None) };
        Some(self.sealed(&signer, Leaf::vote(window, place), &vote))
    }

    /// What a vehicle says of itself, or of others, whatever its body.
    fn told(&mut self) -> Option<Option<Post>> {
        let (signer, slot) = (self.signer()?, self.script.byte()?);
        let body = self.script.bytes()?;
        if let Ok(presence) = decode_body::<Presence>(body) {
            return Some(self.sealed(&signer, Leaf::Presence, &presence));
        }
        let Ok(refusal) = decode_body::<Refusal>(body) else { return Some(None) };
        Some(self.sealed(&signer, Leaf::Refusal { slot }, &refusal))
    }

    /// A document of the authority, whatever its body: its key may be lost.
    fn document(&mut self) -> Option<Option<Post>> {
        let (kind, body) = (self.script.byte()?, self.script.bytes()?);
        let signer = authority();
        Some(match kind % 4 {
            0 => {
                let plan = decode_body::<WindowPlan>(body).ok();
                plan.and_then(|plan| self.sealed(&signer, Leaf::Plan, &plan))
            }
            1 => {
                let utility = decode_body::<UtilityDocument>(body).ok();
                utility.and_then(|utility| self.sealed(&signer, Leaf::Utility, &utility))
            }
            2 => {
                let swarm = decode_body::<SwarmDocument>(body).ok();
                swarm.and_then(|swarm| self.sealed(&signer, Leaf::Swarm, &swarm))
            }
            _named => {
                let document = decode_body::<Document<'_>>(body).ok();
                let slot = kind / 4;
                document
                    .and_then(|document| self.sealed(&signer, Leaf::Document { slot }, &document))
            }
        })
    }
}
