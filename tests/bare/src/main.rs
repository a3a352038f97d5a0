//! The wall that keeps the cores small: a program for a machine without an operating system and without an
//! allocator, that calls every public function of `wire` and `window` on bytes the compiler cannot know, so that
//! all of them are linked for real. What needs an allocator, a clock or a thread does not link here.
//! `cargo xtask tidy` finds a public function that is missing below. On a host it runs, once, and ends.
#![cfg_attr(target_os = "none", no_std, no_main)]

use core::hint::black_box;

use embassy_time::{Duration, Instant};
use shoal_window::{
    Bytes, Conditions, Input, Keep, LEDGER_BYTES, Network, Pace, Policy, Saved, SavedTransfer,
    Slots, Transfer, TransferInput, Trial, TrialInput, TrialPolicy, Window, jitter, number,
    open_span,
};
use shoal_wire::coding::{ChunkDecoder, EncodedChunk, Encoder, Quality, decode_chunk};
use shoal_wire::v1::{
    Claim, Document, Nonce, ParticleHeader, Presence, Refusal, RefusalCode, Roster, RosterPage,
    SwarmDocument, UtilityDocument, Vehicle, Vote, WindowPlan,
};
use shoal_wire::{
    Authentic, Body, ChunkHash, HEAD_BYTES, Head, KeyId, Keys, Kind, Label, LayoutHash, Leaf,
    Message, ModelHash, Now, Outbound, PackHash, ParticleId, PublicKey, RELAYED_BYTES_MAX,
    RecordId, RejectEnvelope, SecretKey, Signer, Stream, Topic, Unverified, Utc, Verified,
    decode_body, relay, relayed, seal,
};

/// One key, whatever is asked.
struct OneKey(Option<PublicKey>);

impl Keys for OneKey {
    fn find(&self, _id: KeyId, _kind: Kind) -> Option<PublicKey> {
        self.0
    }
}

/// Everything, on these bytes.
fn call_all(bytes: &[u8]) {
    let keys = OneKey(PublicKey::decode(&first(bytes)).ok());
    keys.0.iter().for_each(|key| consume((key.id(), *key.bytes())));
    consume(first::<1>(bytes).map(Kind::from_number));

    names(bytes);
    bodies(bytes, &keys);
    documents(bytes, &keys);
    topics(bytes);
    transfers(bytes, &keys);
    slots(bytes);
    trial(bytes);
    coding(bytes);
    if let Ok(saved) = Saved::decode(Some(bytes), Some(&first::<LEDGER_BYTES>(bytes)), &keys) {
        doors(saved, bytes, &keys);
    }
}

/// Both ways in: whole, and in pieces.
fn envelopes<'a, T: Body<'a>>(bytes: &'a [u8], keys: &OneKey, then: impl Fn(&T)) {
    if let Ok(head) = Head::decode(&first::<HEAD_BYTES>(bytes)) {
        consume((head.envelope_bytes(), head.kind.number(), head.kind.version_max()));
        consume(head.kind.envelope_bytes_max());
    }
    decode_body::<T>(bytes).iter().for_each(&then);
    if let Ok(unverified) = Unverified::decode(bytes) {
        consume(*unverified.head());
        if let Ok(verified) = unverified.verify::<T>(keys) {
            consume((*verified.head(), verified.id(), verified.bytes().len()));
            placed(&verified);
            then(verified.body());
        }
    }
    if let Ok(authentic) = stream(bytes, keys) {
        consume((*authentic.head(), authentic.id()));
        if let Ok(verified) = authentic.open::<T>(bytes) {
            then(verified.body());
        }
    }
}

fn stream(bytes: &[u8], keys: &OneKey) -> Result<Authentic, RejectEnvelope> {
    let mut stream = Stream::new();
    for piece in bytes.chunks(black_box(7)) {
        stream.push(piece)?;
        consume(stream.head().copied());
    }
    stream.finish(keys)
}

fn names(bytes: &[u8]) {
    let hash = first::<32>(bytes);
    consume(*ModelHash::new(hash).bytes());
    consume(*LayoutHash::new(hash).bytes());
    consume(*PackHash::new(hash).bytes());
    consume(*ParticleId::new(hash).bytes());
    consume(*RecordId::new(hash).bytes());
    consume(*ChunkHash::new(hash).bytes());
    consume(*KeyId::new(first(bytes)).bytes());
}

/// What vehicles say. Each is made again from its fields, and sent.
fn bodies(bytes: &[u8], keys: &OneKey) {
    envelopes::<WindowPlan>(bytes, keys, |plan| window(plan, bytes, keys));
    envelopes::<Claim>(bytes, keys, |claim| send(Claim::new(claim.fields().clone()), bytes));
    envelopes::<Vote>(bytes, keys, |vote| {
        let fields = vote.fields().clone();
        let fields = if fields.is_missing() { fields } else { fields.missing() };
        send(Vote::new(fields), bytes);
    });
    envelopes::<ParticleHeader>(bytes, keys, |header| {
        consume(header.id());
        send(ParticleHeader::new(header.fields().clone()), bytes);
    });
    envelopes::<Presence>(bytes, keys, |presence| {
        send(Presence::new(presence.fields().clone()), bytes);
    });
    envelopes::<Nonce>(bytes, keys, |nonce| send(Nonce::new(*nonce.fields()), bytes));
    envelopes::<Refusal>(bytes, keys, |refusal| {
        let code = RefusalCode::from_number(refusal.fields().code);
        consume(code.map(|code| (code.number(), code.name())));
        send(Refusal::new(*refusal.fields()), bytes);
    });
}

/// What the authority says.
fn documents(bytes: &[u8], keys: &OneKey) {
    envelopes::<UtilityDocument>(bytes, keys, |utility| {
        send(UtilityDocument::new(utility.fields().clone()), bytes);
    });
    envelopes::<SwarmDocument>(bytes, keys, |swarm| {
        send(SwarmDocument::new(*swarm.fields()), bytes);
    });
    envelopes::<Document>(bytes, keys, |document| {
        send(Document::new(*document.fields()), bytes);
    });
    envelopes::<RosterPage>(bytes, keys, |page| {
        page.vehicles().for_each(|vehicle| consume((vehicle.id(), vehicle.encode())));
        consume(KeyId::of(&first(bytes)));
        consume(page.vehicle(first::<1>(bytes)[0].into()).map(|vehicle: Vehicle| vehicle.region));
        send(RosterPage::new(*page.fields()), bytes);
    });
    envelopes::<Roster>(bytes, keys, |roster| {
        roster.pages().for_each(consume);
        roster.growths().for_each(|growth| consume(growth.encode()));
        send(Roster::new(*roster.fields()), bytes);
        let page = Unverified::decode(bytes).and_then(|page| page.verify::<RosterPage>(keys));
        consume(page.map(|page| roster.check(&page).is_ok()).ok());
    });
}

fn topics(bytes: &[u8]) {
    let Ok(topic) = str::from_utf8(bytes).map(Topic::decode) else { return };
    let Ok(label) = Label::new("fleet") else { return };
    let leaf = topic.map_or(Leaf::vote(7, first::<1>(bytes)[0]), |topic| topic.leaf());
    consume((leaf.kind(), leaf.name(), leaf.is_of_vehicles()));
    consume(Leaf::beacon(7, first::<1>(bytes)[0]));
    consume(relayed(bytes).map(|records| records.map(|record| record.map(|one| *one.head()))).ok());
    if let Ok(topic) = topic.or(Topic::new(label, label, KeyId::new(first(bytes)), leaf)) {
        consume((topic.text(), topic.fleet().text().len(), topic.region().text().len()));
        consume((topic.publisher(), topic.leaf(), topic.in_any_region()));
        if let Ok(record) = Unverified::decode(bytes) {
            let why = topic.check(record.head()).map_err(RefusalCode::from);
            consume(why.map_err(RefusalCode::number));
        }
    }
}

/// On the topic of a nonce, wherever it stands.
fn placed<'a, T: Body<'a>>(record: &Verified<'a, T>) {
    let Ok(label) = Label::new("fleet") else { return };
    if let Ok(topic) = Topic::new(label, label, record.head().key, Leaf::nonce(7)) {
        consume(topic.check_record(record).is_ok());
        consume(record.body().stands_at(topic.leaf()));
    }
}

fn send<'a, T: Body<'a>, E>(body: Result<T, E>, bytes: &[u8]) {
    let Ok(body) = body else { return };
    with_key(bytes, &mut |key, buffer| {
        seal(&body, integer(bytes), integer(bytes), key, buffer).map(opened).ok()
    });
}

/// What was sealed: its kind, its name and its length.
type Sealed = Option<(Kind, RecordId, usize)>;

/// Once, not once a body: what is linked here has to fit.
#[inline(never)]
fn with_key(bytes: &[u8], seals: &mut dyn FnMut(&SecretKey, &mut [u8]) -> Sealed) {
    let key = SecretKey::from_seed(&first(bytes));
    consume(key.public().id());
    consume(Message::metadata(bytes).map(|message| {
        let signed = Signer::sign(&key, message);
        (message.bytes().len(), signed.map(|of| message.signed_by(&key.public(), &of)))
    }));
    consume(seals(&key, &mut [0; 1024]));
}

#[inline(never)]
fn opened(outbound: Outbound<'_>) -> (Kind, RecordId, usize) {
    let mut buffer = [0; RELAYED_BYTES_MAX];
    consume(relay(outbound, Some(outbound), &mut buffer).map(|passed| passed.bytes().len()).ok());
    (outbound.kind(), outbound.id(), outbound.bytes().len())
}

fn window(plan: &WindowPlan, bytes: &[u8], keys: &OneKey) {
    consume(WindowPlan::new(*plan.fields()).is_ok());
    let utc = now(bytes).utc;
    consume((utc.earliest_seconds(), utc.latest_seconds()));
    consume((number(plan, integer(bytes)), open_span(plan, utc)));
    consume(jitter(plan, KeyId::new(first(bytes)), 7));
    doors(Saved::default(), bytes, keys);
}

/// The five doors.
fn doors(saved: Saved, bytes: &[u8], keys: &OneKey) {
    let [metered, driving, parked, external_power, percent, network] = first::<6>(bytes);
    let policy = Policy {
        metered: metered > 0,
        driving: driving > 0,
        battery_soc_percent_min: percent,
        temperature_c_max: i16::from(percent),
    };
    let conditions = Conditions {
        network: if network > 0 { Network::Metered } else { Network::Unmetered },
        parked: parked > 0,
        external_power: external_power > 0,
        battery_soc_percent: percent,
        temperature_c: i16::from(percent),
    };
    let used = Bytes { up: integer(bytes), down: integer(bytes) };

    let mut window = Window::new(KeyId::new(first(bytes)), policy, saved);
    if let Ok(plan) = Unverified::decode(bytes).and_then(|plan| plan.verify::<WindowPlan>(keys)) {
        consume(window.handle_input(now(bytes), Input::Plan(plan)));
    }
    let inputs =
        [Input::Conditions(conditions), Input::Used(used), Input::Needed(used), Input::Drained];
    for input in inputs {
        consume(window.handle_input(now(bytes), input));
        window.handle_timeout(now(bytes));
        while let Some(record) = window.poll_persist() {
            consume((record.key.len(), record.bytes.len()));
        }
        while let Some(output) = window.poll_output() {
            consume(output);
        }
        consume((window.poll_timeout(), window.left()));
    }
}

/// The five doors of a transfer, begun and resumed.
fn transfers(bytes: &[u8], keys: &OneKey) {
    let want = ParticleId::new(first(bytes));
    let [pace, index, ..] = first::<32>(bytes);
    let pace = Pace { bytes_min: u32::from(pace), period: Duration::from_ticks(integer(bytes)) };
    transfer(Transfer::new(want, pace), index, bytes, keys);
    let header = Unverified::decode(bytes).and_then(|header| header.verify(keys));
    if let Ok(header) = header {
        transfer(Transfer::with_header(&header, pace), index, bytes, keys);
    }
    if let Ok(saved) = SavedTransfer::decode(want, Some(bytes), Some(bytes), keys) {
        transfer(Transfer::resume(saved, pace), index, bytes, keys);
    }
}

fn transfer(mut transfer: Transfer, index: u8, bytes: &[u8], keys: &OneKey) {
    consume((transfer.particle(), transfer.progress(), transfer.header().is_some()));
    let verified = Unverified::decode(bytes).and_then(|header| header.verify(keys)).ok();
    let header = verified.as_ref().map(TransferInput::Header);
    let inputs = [
        TransferInput::Start,
        TransferInput::Begin { index, bytes: integer(bytes) },
        TransferInput::Piece(bytes),
        TransferInput::End,
        TransferInput::Lost { index },
        TransferInput::Cut,
    ];
    for input in header.into_iter().chain(inputs) {
        consume(transfer.handle_input(now(bytes), input));
        transfer.handle_timeout(now(bytes));
        while let Some(keep) = transfer.poll_persist() {
            match keep {
                Keep::Chunk { index, hash } => consume((index, hash)),
                Keep::Record(record) => consume((record.key.len(), record.bytes.len())),
            }
        }
        while let Some(output) = transfer.poll_output() {
            consume(output);
        }
        consume(transfer.poll_timeout());
    }
}

fn slots(bytes: &[u8]) {
    let particle = ParticleId::new(first(bytes));
    for slots in [Ok(Slots::new()), Slots::decode(bytes)] {
        let Ok(mut slots) = slots else { continue };
        consume((slots.take(particle, &[particle]), slots.find(particle)));
        consume(slots.particle(bytes.len() as u8));
        consume(slots.poll_persist().map(|record| record.bytes.len()));
    }
}

fn trial(bytes: &[u8]) {
    let policy = TrialPolicy { frames_min: integer(bytes), loss_max: integer(bytes) };
    let particle = ParticleId::new(first(bytes));
    for trial in [Ok(Trial::new(policy)), Trial::decode(bytes, policy)] {
        let Ok(mut trial) = trial else { continue };
        let watched = TrialInput::Watched { frames: 1, gain: i64::from_le_bytes(first(bytes)) };
        for input in [TrialInput::Staged(particle), watched, TrialInput::Failed] {
            consume((trial.handle_input(input), trial.state()));
            consume(trial.poll_persist().map(|record| record.bytes.len()));
            consume(trial.poll_output());
        }
    }
}

/// Both ways out of a chunk, and the way in.
fn coding(bytes: &[u8]) {
    let mut values = black_box([0.0; 64]);
    consume(decode_chunk(black_box(bytes), &mut values));
    let mut decoder = ChunkDecoder::new(black_box(64));
    for piece in bytes.chunks(black_box(7)) {
        consume(decoder.push(piece, |index, value| consume((index, value))));
    }
    consume(decoder.finish());

    let mut received = black_box([0.0; 64]);
    let mut buffer = [0; 256];
    let Some(quality) = first::<1>(bytes).first().and_then(|bits| Quality::new(*bits)) else {
        return;
    };
    consume(quality.bits());
    let tensors = black_box([64]);
    if let Ok(mut encoder) = Encoder::new(quality, &tensors, &mut values, &mut received) {
        while let Ok(Some(EncodedChunk { first_value, values, bytes })) =
            encoder.next_chunk(&mut buffer)
        {
            consume((first_value, values, bytes.len()));
        }
    }
}

fn now(bytes: &[u8]) -> Now {
    let seconds = integer(bytes);
    let utc = match first::<1>(bytes) {
        [0] => Utc::AtLeast { seconds },
        [uncertainty] => Utc::Known { seconds, uncertainty_seconds: u32::from(uncertainty) },
    };
    Now { since_boot: Instant::from_ticks(integer(bytes)), utc }
}

fn integer(bytes: &[u8]) -> u64 {
    u64::from_le_bytes(first(bytes))
}

/// The first `N` bytes, unknown to the compiler, or zeros.
fn first<const N: usize>(bytes: &[u8]) -> [u8; N] {
    black_box(bytes).first_chunk().copied().unwrap_or([0; N])
}

fn consume<T>(value: T) {
    let _unknown = black_box(value);
}

fn bytes_unknown() -> [u8; 256] {
    black_box([0xa5; 256])
}

#[cfg(not(target_os = "none"))]
fn main() {
    call_all(&bytes_unknown());
}

#[cfg(target_os = "none")]
mod machine {
    #[expect(unsafe_code, reason = "the linker script names this symbol")]
    #[unsafe(no_mangle)]
    extern "C" fn entry() -> ! {
        super::call_all(&super::bytes_unknown());
        loop {
            core::hint::spin_loop();
        }
    }

    #[panic_handler]
    fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
        loop {
            core::hint::spin_loop();
        }
    }
}
