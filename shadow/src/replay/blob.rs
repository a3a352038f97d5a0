//! The file of one span, encrypted frame by frame, so that a clip is read without the rest.
//!
//! ```text
//! header   64 bytes, in the clear, authenticated with every frame
//!          "SHLR" ‖ version u8 ‖ reason u8 ‖ 0 u16 ‖ id u64 ‖ recorded_at u64 (UTC s) ‖ rate f64 (Hz)
//!          ‖ width u16 ‖ height u16 ‖ frames u32 ‖ priority u32 ‖ nonce prefix [20]
//! frame i  XChaCha20-Poly1305, nonce = prefix ‖ i u32, associated data = header
//!          known u8 (a bit a value) ‖ speed ‖ steering ‖ acceleration ‖ lateral f32 ‖ RGB ‖ tag [16]
//! ```
//!
//! Little-endian. The prefix is 160 random bits a file: two files of one key share a nonce with a
//! probability below 2⁻⁸⁰ after 2⁴⁰ files. The header binds id, time, size and number of frames:
//! a file put in another's place, a frame moved, a file cut short do not decrypt.

use std::io;

use chacha20poly1305::aead::AeadInOut;
use chacha20poly1305::{Tag, XNonce};
use sha2::{Digest, Sha256};
use shoal_hal::{FrameShape, Motion};

use super::disk::{Disk, DiskFile};
use super::key::{self, StoreKey};
use super::span::StoredSpan;

/// Most frames of one span.
pub const FRAMES_MAX: u32 = 65_535;

const HEADER_BYTES: usize = 64;
const PREFIX_BYTES: usize = 20;
const PREFIX_AT: usize = HEADER_BYTES - PREFIX_BYTES;
const MOTION_BYTES: usize = 1 + 4 * 4;
const TAG_BYTES: usize = 16;
const SUFFIX: &str = ".span";

/// One moment of a span.
pub type StoredMoment<'a> = (&'a [u8], Option<Motion>);

/// Bytes of the file of so many frames.
pub(super) fn bytes(shape: FrameShape, frames: u32) -> u64 {
    HEADER_BYTES as u64 + u64::from(frames) * segment_bytes(shape) as u64
}

/// Name of the file with this SHA-256.
pub(super) fn file_name(sha256: &[u8; 32]) -> String {
    format!("{}{SUFFIX}", crate::digits::hex(sha256))
}

/// The SHA-256 that a file of this name has; `None`: the name is no span's.
pub(super) fn sha256_of(name: &str) -> Option<[u8; 32]> {
    crate::digits::hash(name.strip_suffix(SUFFIX)?)
}

/// Whether a file of this name is a span's.
pub(super) fn is_file_name(name: &str) -> bool {
    name.ends_with(SUFFIX)
}

/// Writes the file of a span under a temporary `name` and syncs it.
///
/// Returns the SHA-256 of its bytes; `span`'s own is not read.
pub(super) fn write(
    disk: &dyn Disk,
    name: &str,
    key: &StoreKey,
    span: &StoredSpan,
    moments: &[StoredMoment<'_>],
) -> io::Result<[u8; 32]> {
    let header = header(span, &key::random()?);
    let file = disk.create(name)?;
    let mut hasher = Sha256::new().chain_update(header);
    file.write_at(0, &header)?;
    let mut segment = vec![0; segment_bytes(span.shape)];
    for (index, (frame, motion)) in (0_u32..).zip(moments) {
        seal(key, &header, index, frame, motion.as_ref(), &mut segment);
        hasher.update(&segment);
        file.write_at(offset(span.shape, index), &segment)?;
    }
    file.sync()?;
    Ok(hasher.finalize().into())
}

/// Why a file is not what was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Damage {
    /// Its file is not there.
    #[error("the file is missing")]
    Missing,
    /// Its file has another length.
    #[error("the file has another length than was written")]
    Length,
    /// Its file begins with another header than was written.
    #[error("the header is not the one that was written")]
    Header,
    /// A frame does not decrypt.
    #[error("frame {0} is not what was written")]
    Frame(u32),
}

/// Reads frames `first … first + count − 1`, appending to `frames` and `motion`.
pub(super) fn read(
    file: &dyn DiskFile,
    key: &StoreKey,
    span: &StoredSpan,
    range: std::ops::Range<u32>,
    frames: &mut Vec<u8>,
    motion: &mut Vec<Option<Motion>>,
) -> io::Result<Result<(), Damage>> {
    if file.len()? != span.bytes() {
        return Ok(Err(Damage::Length));
    }
    let mut found = [0; HEADER_BYTES];
    file.read_at(0, &mut found)?;
    let mut prefix = [0; PREFIX_BYTES];
    prefix.copy_from_slice(&found[PREFIX_AT..]);
    if found != header(span, &prefix) {
        return Ok(Err(Damage::Header));
    }
    let mut segment = vec![0; segment_bytes(span.shape)];
    for index in range {
        file.read_at(offset(span.shape, index), &mut segment)?;
        if !unseal(key, &found, index, &mut segment) {
            return Ok(Err(Damage::Frame(index)));
        }
        let Some(known) = motion_from(&segment[..MOTION_BYTES]) else {
            return Ok(Err(Damage::Frame(index)));
        };
        motion.push(known);
        frames.extend_from_slice(&segment[MOTION_BYTES..segment.len() - TAG_BYTES]);
    }
    Ok(Ok(()))
}

/// The span of a file whose name gives `sha256`, as its own header has it; `None`: it is none that this key made.
pub(super) fn span_of(
    file: &dyn DiskFile,
    key: &StoreKey,
    sha256: &[u8; 32],
) -> io::Result<Option<StoredSpan>> {
    let len = file.len()?;
    if len < HEADER_BYTES as u64 {
        return Ok(None);
    }
    let mut found = [0; HEADER_BYTES];
    file.read_at(0, &mut found)?;
    let Some(span) = span_from(&found, sha256).filter(|span| span.bytes() == len) else {
        return Ok(None);
    };
    let mut segment = vec![0; segment_bytes(span.shape)];
    for index in 0..span.frames {
        file.read_at(offset(span.shape, index), &mut segment)?;
        // Any frame vouches for the header.
        if unseal(key, &found, index, &mut segment) {
            return Ok(Some(span));
        }
    }
    Ok(None)
}

/// The reverse of [`header`].
fn span_from(found: &[u8; HEADER_BYTES], sha256: &[u8; 32]) -> Option<StoredSpan> {
    let (id, prefix) = (found[8..16].try_into().ok()?, found[PREFIX_AT..].try_into().ok()?);
    let version = found[4];
    let row = [&[version], &found[16..40], &[found[5]], &found[40..PREFIX_AT], sha256].concat();
    let span = StoredSpan::from_row(u64::from_le_bytes(id), &row)?;
    (header(&span, &prefix) == *found).then_some(span)
}

fn segment_bytes(shape: FrameShape) -> usize {
    MOTION_BYTES + shape.bytes() + TAG_BYTES
}

fn offset(shape: FrameShape, index: u32) -> u64 {
    bytes(shape, index)
}

fn header(span: &StoredSpan, prefix: &[u8; PREFIX_BYTES]) -> [u8; HEADER_BYTES] {
    let mut header = [0; HEADER_BYTES];
    header[..4].copy_from_slice(b"SHLR");
    header[4] = 1;
    header[5] = span.reason.code();
    header[8..16].copy_from_slice(&span.id.to_le_bytes());
    header[16..24].copy_from_slice(&span.recorded_at_s.to_le_bytes());
    header[24..32].copy_from_slice(&span.rate_hz.to_bits().to_le_bytes());
    header[32..34].copy_from_slice(&span.shape.width.to_le_bytes());
    header[34..36].copy_from_slice(&span.shape.height.to_le_bytes());
    header[36..40].copy_from_slice(&span.frames.to_le_bytes());
    header[40..44].copy_from_slice(&span.priority.bits().to_le_bytes());
    header[PREFIX_AT..].copy_from_slice(prefix);
    header
}

fn nonce(header: &[u8; HEADER_BYTES], index: u32) -> XNonce {
    let mut nonce = [0; PREFIX_BYTES + 4];
    nonce[..PREFIX_BYTES].copy_from_slice(&header[PREFIX_AT..]);
    nonce[PREFIX_BYTES..].copy_from_slice(&index.to_le_bytes());
    XNonce::from(nonce)
}

fn seal(
    key: &StoreKey,
    header: &[u8; HEADER_BYTES],
    index: u32,
    frame: &[u8],
    motion: Option<&Motion>,
    segment: &mut [u8],
) {
    let (plain, tag) = segment.split_at_mut(MOTION_BYTES + frame.len());
    motion_into(motion, &mut plain[..MOTION_BYTES]);
    plain[MOTION_BYTES..].copy_from_slice(frame);
    let sealed = key.cipher.encrypt_inout_detached(&nonce(header, index), header, plain.into());
    tag.copy_from_slice(&sealed.expect("a frame is far shorter than the cipher's 256 GiB"));
}

fn unseal(key: &StoreKey, header: &[u8; HEADER_BYTES], index: u32, segment: &mut [u8]) -> bool {
    let (sealed, tag) = segment.split_at_mut(segment.len() - TAG_BYTES);
    let Ok(tag) = Tag::try_from(&*tag) else { return false };
    let nonce = nonce(header, index);
    key.cipher.decrypt_inout_detached(&nonce, header, sealed.into(), &tag).is_ok()
}

fn motion_into(motion: Option<&Motion>, out: &mut [u8]) {
    out.fill(0);
    let Some(motion) = motion else { return };
    out[0] = 1;
    let values = [
        motion.speed_m_s,
        motion.steering_rad,
        motion.acceleration_m_s2,
        motion.lateral_acceleration_m_s2,
    ];
    for (place, value) in values.iter().enumerate() {
        if let Some(value) = value {
            out[0] |= 2 << place;
            out[1 + 4 * place..5 + 4 * place].copy_from_slice(&value.to_le_bytes());
        }
    }
}

/// The reverse of [`motion_into`]; `None`: it is nothing that this writes, or no number.
fn motion_from(bytes: &[u8]) -> Option<Option<Motion>> {
    let value = |place: usize| {
        let at = 1 + 4 * place;
        let value = f32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
        (bytes[0] & (2 << place) != 0).then_some(value)
    };
    let motion = (bytes[0] & 1 != 0).then(|| Motion {
        speed_m_s: value(0),
        steering_rad: value(1),
        acceleration_m_s2: value(2),
        lateral_acceleration_m_s2: value(3),
    });
    let mut again = [0; MOTION_BYTES];
    motion_into(motion.as_ref(), &mut again);
    let sound = again == *bytes && motion.is_none_or(|motion| motion.is_finite());
    sound.then_some(motion)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn motion_reads_as_what_was_written(
            values in prop::array::uniform4(prop::option::of(-1e6f32..1e6)),
            known: bool,
        ) {
            let [speed_m_s, steering_rad, acceleration_m_s2, lateral_acceleration_m_s2] = values;
            let motion = Motion {
                speed_m_s, steering_rad, acceleration_m_s2, lateral_acceleration_m_s2,
            };
            let motion = known.then_some(motion);
            let mut bytes = [0xaa; MOTION_BYTES];
            motion_into(motion.as_ref(), &mut bytes);
            prop_assert_eq!(motion_from(&bytes), Some(motion));
        }

        #[test]
        fn motion_that_nobody_writes_is_none(bytes in prop::array::uniform17(any::<u8>())) {
            if let Some(motion) = motion_from(&bytes) {
                let mut again = [0xaa; MOTION_BYTES];
                motion_into(motion.as_ref(), &mut again);
                prop_assert_eq!(again, bytes);
                prop_assert!(motion.is_none_or(|motion| motion.is_finite()));
            }
        }
    }

    #[test]
    fn motion_that_is_no_number_or_of_no_value_is_none() {
        let motion = Motion { speed_m_s: Some(f32::NAN), ..Motion::default() };
        let mut bytes = [0; MOTION_BYTES];
        motion_into(Some(&motion), &mut bytes);
        assert_eq!(motion_from(&bytes), None, "a speed that is NaN");
        for (at, byte) in [(0, 2), (0, 1 << 5 | 1), (9, 1)] {
            let mut bytes = [0; MOTION_BYTES];
            bytes[at] = byte;
            assert_eq!(motion_from(&bytes), None, "byte {at} is {byte}");
        }
    }
}
