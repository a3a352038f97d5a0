//! What is refused, each with its own code, while the vehicle goes on.

use shoal_tests::brokers::{Embedded, TestBroker};
use shoal_tests::clock::until;
use shoal_wire::v1::{ParticleHeader, ParticleHeaderFields, RefusalCode, Role};
use shoal_wire::{ENVELOPE_OVERHEAD_BYTES, HEAD_BYTES, Leaf, ModelHash, SecretKey};

use crate::hostile::Hostile;

/// The hostile vehicle publishes this in every window until vehicle 0 has refused it with this code, aloud where it is a
/// record; then that vehicle goes on.
fn refused(code: RefusalCode, aloud: bool, publish: impl FnMut(&mut Hostile, u32, &[u8; 32])) {
    let broker = Embedded::start();
    let Some(mut hostile) = Hostile::start(1, broker.address()) else { return };
    let window = hostile.every_window(code.name(), publish, |all| {
        // What is refused at the end of a window is said aloud in the next.
        all.rejected(code).filter(|_window| !aloud || all.is_refused_aloud(code))
    });
    hostile.goes_on_after(window);
}

#[test]
fn a_chunk_of_other_bytes_than_its_header_names() {
    refused(RefusalCode::ChunkHash, false, |hostile, window, _nonce| {
        let mut coded = hostile.particle(Role::Contribution, window, 1e-3);
        coded.chunks[0][3] ^= 1;
        hostile.publish_particle(&coded);
    });
}

/// No value that is not finite can be coded: the scale of a block is bounded. What claims such a scale is no chunk.
#[test]
fn a_chunk_that_its_header_names_and_that_does_not_decode() {
    refused(RefusalCode::ChunkMalformed, true, |hostile, window, _nonce| {
        let mut coded = hostile.particle(Role::Contribution, window, 1e-3);
        let fields = coded.header.fields().clone();
        coded.chunks[0].fill(0xFF);
        coded.header = named(fields, &coded.chunks[0]);
        hostile.publish_particle(&coded);
    });
}

/// The largest values that can be coded.
#[test]
fn a_contribution_longer_than_any_honest_one() {
    refused(RefusalCode::Norm, true, |hostile, window, _nonce| {
        let coded = hostile.particle(Role::Contribution, window, 1e30);
        hostile.publish_particle(&coded);
    });
}

#[test]
fn a_wrong_signature() {
    refused(RefusalCode::Signature, true, |hostile, window, nonce| {
        let coded = hostile.particle(Role::Best, window, 1e-3);
        let claim = hostile.claim(&coded, nonce, 100);
        let mut claim = hostile.seal(&claim);
        *claim.last_mut().unwrap() ^= 1;
        hostile.publish(Leaf::Claim { slot: 0 }, &claim);
    });
}

#[test]
fn a_header_of_another_base_model() {
    refused(RefusalCode::WrongBaseModel, true, |hostile, window, _nonce| {
        hostile.swarm.base_model = ModelHash::new([9; 32]);
        let coded = hostile.particle(Role::Contribution, window, 1e-3);
        hostile.publish_particle(&coded);
    });
}

#[test]
fn an_older_window_plan() {
    let broker = Embedded::start();
    let Some(mut hostile) = Hostile::start(1, broker.address()) else { return };
    let file = hostile.fleet.path().join("documents/plan.shl");
    let older = std::fs::read(&file).unwrap();
    hostile.fleet.plan(&["--bytes-up", "5000000"]);
    let newer = std::fs::read(&file).unwrap();
    assert_ne!(older, newer);
    let topic = hostile.topic(hostile.told.authority.id(), Leaf::Plan);
    let window = until("old_counter", || {
        // Again and again: the timekeeper puts the newer one back each time, and a vehicle without a line sees only
        // what stands there in the end.
        hostile.publish_at(&topic, &older);
        let refused = hostile.rejected(RefusalCode::OldCounter);
        refused.filter(|_window| hostile.is_refused_aloud(RefusalCode::OldCounter))
    });
    hostile.goes_on_after(window);
}

#[test]
fn a_record_longer_than_its_kind() {
    const BODY_BYTES: u32 = 60_000;
    refused(RefusalCode::TooLong, true, |hostile, window, nonce| {
        let coded = hostile.particle(Role::Best, window, 1e-3);
        let claim = hostile.claim(&coded, nonce, 100);
        let mut claim = hostile.seal(&claim);
        // Its body, as its head says, and as long as it says.
        claim.resize(ENVELOPE_OVERHEAD_BYTES + BODY_BYTES as usize, 0);
        claim[HEAD_BYTES - 4..HEAD_BYTES].copy_from_slice(&BODY_BYTES.to_le_bytes());
        hostile.publish(Leaf::Claim { slot: 0 }, &claim);
    });
}

#[test]
fn a_vehicle_that_is_not_on_the_roster() {
    refused(RefusalCode::UnknownKey, true, |hostile, window, nonce| {
        hostile.key = SecretKey::from_seed(&[99; 32]);
        let coded = hostile.particle(Role::Best, window, 1e-3);
        let claim = hostile.claim(&coded, nonce, 100);
        let claim = hostile.seal(&claim);
        hostile.publish(Leaf::Claim { slot: 0 }, &claim);
    });
}

#[test]
fn a_false_claim_is_never_best() {
    let broker = Embedded::start();
    // A majority of voters is honest: two of the three that are drawn.
    let Some(mut hostile) = Hostile::start(3, broker.address()) else { return };
    let mut claimed = Vec::new();
    let window = hostile.every_window(
        "false_claim",
        |hostile, window, nonce| claimed.push(hostile.claims_falsely(window, nonce).to_string()),
        |all| {
            all.rejected(RefusalCode::FalseClaim)
                .filter(|_window| all.is_refused_aloud(RefusalCode::FalseClaim))
        },
    );
    let bests: Vec<String> = (0..3)
        .flat_map(|number| hostile.fleet.windows(number))
        .filter_map(|line| line["best"].as_str().map(str::to_owned))
        .collect();
    assert!(bests.iter().all(|best| !claimed.contains(best)), "{bests:?}");
    hostile.goes_on_after(window);
}

/// A header that names this as its one chunk.
fn named(mut fields: ParticleHeaderFields, chunk: &[u8]) -> ParticleHeader {
    use sha2::{Digest, Sha256};
    fields.chunks[0].bytes = chunk.len() as u32;
    fields.chunks[0].hash = shoal_wire::ChunkHash::new(Sha256::digest(chunk).into());
    ParticleHeader::new(fields).unwrap()
}
