//! A vehicle around one transfer: a clock that the test turns, a store that can be cut from power, and
//! particles made from a number.

use std::collections::{BTreeMap, BTreeSet};

use embassy_time::{Duration, Instant};
use sha2::{Digest, Sha256};
use shoal_window::{
    Ended, Keep, Pace, RejectTransfer, SavedTransfer, TRANSFER_HEADER_KEY, TRANSFER_PROGRESS_KEY,
    Transfer, TransferInput, TransferOutput,
};
use shoal_wire::v1::{Chunk, ParticleHeader, ParticleHeaderFields, Role};
use shoal_wire::{
    ChunkHash, KeyId, Keys, Kind, LayoutHash, ModelHash, Now, ParticleId, PublicKey, SecretKey,
    Unverified, Utc, seal,
};

pub(crate) const PACE: Pace = Pace { bytes_min: 100, period: Duration::from_secs(10) };

pub(crate) struct OneKey(PublicKey);

impl Keys for OneKey {
    fn find(&self, id: KeyId, _kind: Kind) -> Option<PublicKey> {
        (self.0.id() == id).then_some(self.0)
    }
}

pub(crate) fn keys() -> OneKey {
    OneKey(SecretKey::from_seed(&[9; 32]).public())
}

/// A particle with its chunks.
#[derive(Clone, Debug)]
pub(crate) struct Particle {
    pub(crate) envelope: Vec<u8>,
    pub(crate) chunks: Vec<Vec<u8>>,
}

impl Particle {
    /// Chunk `i` of particle `number` has `bytes − i` bytes, another value in each.
    pub(crate) fn new(number: u8, chunks: u8, bytes: usize) -> Self {
        let chunk = |index: u8| {
            let byte = |at: usize| (at as u8).wrapping_mul(31) ^ number ^ (index << 4);
            (0..bytes - usize::from(index)).map(byte).collect::<Vec<u8>>()
        };
        let chunks: Vec<Vec<u8>> = (0..chunks).map(chunk).collect();
        let named = chunks.iter().enumerate().map(|(index, chunk)| Chunk {
            first_value: 1000 * index as u32,
            bytes: chunk.len() as u32,
            hash: ChunkHash::new(Sha256::digest(chunk).into()),
        });
        let header = ParticleHeader::new(ParticleHeaderFields {
            role: Role::Contribution,
            window: u32::from(number),
            base_model: ModelHash::new([1; 32]),
            layout: LayoutHash::new([2; 32]),
            anchor: None,
            inputs: heapless::Vec::new(),
            coding: 1,
            values: 1_000_000,
            chunks: named.collect(),
        });
        let mut buffer = [0; 1024];
        let key = SecretKey::from_seed(&[9; 32]);
        let counter = u64::from(number);
        let sealed = seal(&header.unwrap(), counter, u64::MAX, &key, &mut buffer).unwrap();
        Self { envelope: sealed.bytes().to_vec(), chunks }
    }

    pub(crate) fn id(&self) -> ParticleId {
        let verified = Unverified::decode(&self.envelope).unwrap();
        verified.verify::<ParticleHeader>(&keys()).unwrap().body().id()
    }
}

/// One receiver.
pub(crate) struct Shell {
    pub(crate) transfer: Transfer,
    pub(crate) ms: u64,
    /// Records by key, and chunks by name: what survives a power cut.
    pub(crate) records: BTreeMap<&'static str, Vec<u8>>,
    pub(crate) stored: BTreeMap<u8, Vec<u8>>,
    /// Bytes of the message that is coming.
    coming: Vec<u8>,
    /// What is subscribed to.
    pub(crate) header_topic: bool,
    pub(crate) topics: BTreeSet<u8>,
    pub(crate) log: Vec<TransferOutput>,
}

impl Shell {
    pub(crate) fn new(want: ParticleId) -> Self {
        Self {
            transfer: Transfer::new(want, PACE),
            ms: 0,
            records: BTreeMap::new(),
            stored: BTreeMap::new(),
            coming: Vec::new(),
            header_topic: false,
            topics: BTreeSet::new(),
            log: Vec::new(),
        }
    }

    /// An attempt at this particle, its header read.
    pub(crate) fn with_header(particle: &Particle) -> Self {
        let mut shell = Self::new(particle.id());
        shell.input(TransferInput::Start).unwrap();
        shell.header(particle).unwrap();
        shell
    }

    pub(crate) fn now(&self) -> Now {
        Now { since_boot: Instant::from_millis(self.ms), utc: Utc::AtLeast { seconds: 0 } }
    }

    pub(crate) fn input(&mut self, input: TransferInput<'_>) -> Result<(), RejectTransfer> {
        if let TransferInput::Cut = input {
            self.header_topic = false;
            self.topics.clear();
        }
        let result = self.transfer.handle_input(self.now(), input);
        self.drain();
        result
    }

    pub(crate) fn header(&mut self, particle: &Particle) -> Result<(), RejectTransfer> {
        let header = Unverified::decode(&particle.envelope).unwrap();
        let header = header.verify::<ParticleHeader>(&keys()).unwrap();
        self.input(TransferInput::Header(&header))
    }

    /// A whole message, in pieces of 7 bytes.
    pub(crate) fn message(&mut self, index: u8, bytes: &[u8]) -> Result<(), RejectTransfer> {
        self.begin(index, bytes.len() as u64)?;
        for piece in bytes.chunks(7) {
            self.piece(piece)?;
        }
        self.input(TransferInput::End)
    }

    pub(crate) fn begin(&mut self, index: u8, bytes: u64) -> Result<(), RejectTransfer> {
        self.coming.clear();
        self.input(TransferInput::Begin { index, bytes })
    }

    pub(crate) fn piece(&mut self, piece: &[u8]) -> Result<(), RejectTransfer> {
        self.coming.extend_from_slice(piece);
        self.input(TransferInput::Piece(piece))
    }

    /// Lets time pass as a shell does: from one timeout to the next.
    pub(crate) fn run_to_ms(&mut self, ms: u64) {
        while let Some(at) = self.transfer.poll_timeout()
            && at <= Instant::from_millis(ms)
        {
            self.ms = at.as_millis();
            self.transfer.handle_timeout(self.now());
            self.drain();
        }
        self.ms = ms;
    }

    fn drain(&mut self) {
        while let Some(keep) = self.transfer.poll_persist() {
            match keep {
                Keep::Record(record) => {
                    self.records.insert(record.key, record.bytes.to_vec());
                }
                Keep::Chunk { index, hash } => {
                    assert_eq!(ChunkHash::new(Sha256::digest(&self.coming).into()), hash);
                    self.stored.insert(index, std::mem::take(&mut self.coming));
                }
            }
        }
        while let Some(output) = self.transfer.poll_output() {
            match output {
                TransferOutput::AskHeader => self.header_topic = true,
                TransferOutput::LeaveHeader => self.header_topic = false,
                TransferOutput::Ask { index, .. } => assert!(self.topics.insert(index)),
                TransferOutput::Leave { index } => assert!(self.topics.remove(&index)),
                TransferOutput::Ended(_) | TransferOutput::Complete | TransferOutput::Gone => {}
            }
            self.log.push(output);
        }
    }

    /// Starts anew from what the store holds.
    pub(crate) fn power_cut(&mut self) {
        let want = self.transfer.particle();
        let get = |key| self.records.get(key).map(Vec::as_slice);
        let saved = SavedTransfer::decode(
            want,
            get(TRANSFER_HEADER_KEY),
            get(TRANSFER_PROGRESS_KEY),
            &keys(),
        );
        self.transfer = Transfer::resume(saved.unwrap(), PACE);
        self.coming.clear();
        self.header_topic = false;
        self.topics.clear();
        self.drain();
    }

    pub(crate) fn ended(&self) -> Option<Ended> {
        self.log.iter().rev().find_map(|output| match output {
            TransferOutput::Ended(ended) => Some(*ended),
            TransferOutput::AskHeader
            | TransferOutput::LeaveHeader
            | TransferOutput::Ask { .. }
            | TransferOutput::Leave { .. }
            | TransferOutput::Complete
            | TransferOutput::Gone => None,
        })
    }

    pub(crate) fn is_complete(&self) -> bool {
        self.log.contains(&TransferOutput::Complete)
    }
}
