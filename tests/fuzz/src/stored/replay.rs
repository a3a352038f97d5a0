//! A vehicle's replay store.

use std::error::Error;
use std::sync::OnceLock;

use chacha20poly1305::aead::AeadInOut as _;
use chacha20poly1305::{Key, KeyInit as _, XChaCha20Poly1305, XNonce};
use redb::{Builder, Database, TableDefinition};
use sha2::{Digest as _, Sha256};
use shoal_hal::FrameShape;
use shoal_shadow::clip::Footage as _;
use shoal_shadow::replay::{
    Disk as _, FRAMES_MAX, NewSpan, Priority, Reason, Replay, ReplayOptions, TablesFile,
};

use crate::disk::Memory;
use crate::parts::{parts, written_over};

const KEY: [u8; 32] = [7; 32];
const INDEX: &str = "index.redb";
const SPANS: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("spans");
const ABOUT: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("about");
const HEADER_BYTES: usize = 64;
const PREFIX_AT: usize = 44;
const OPTIONS: ReplayOptions = ReplayOptions { bytes_max: 1 << 16, days_max: 30 };
const SHAPE: FrameShape = FrameShape { width: 2, height: 1 };
/// Longer inputs say nothing more.
const ROWS_MAX: usize = 16;

/// The index as a file that was written over, beside a span that is whole.
pub(super) fn index(bytes: &[u8]) {
    static WHOLE: OnceLock<Memory> = OnceLock::new();
    let whole = WHOLE.get_or_init(|| {
        let disk = keyed();
        let mut store = Replay::on(Box::new(disk.clone()), &OPTIONS).expect("an empty disk").0;
        put(&mut store);
        drop(store);
        disk
    });
    let disk = whole.copy();
    disk.lay(INDEX, &written_over(&whole.bytes(INDEX), bytes));
    goes_on(&disk, true);
}

/// An index that a database takes for its own, with these rows: a number and what stands there in each part. Those of a span's
/// length name a file, whose bytes are the next part.
pub(super) fn rows(bytes: &[u8]) {
    let disk = keyed();
    if make(&disk, bytes).is_ok() {
        goes_on(&disk, false);
    }
}

/// A span whose header and frames are these, sealed by the store's own key, beside an index that is damaged.
pub(super) fn span(bytes: &[u8]) {
    let disk = keyed();
    disk.lay(INDEX, b"damaged");
    for part in parts(bytes).take(ROWS_MAX) {
        let Some(file) = sealed(part) else { continue };
        disk.lay(&name_of(&Sha256::digest(&file).into()), &file);
    }
    goes_on(&disk, false);
}

fn keyed() -> Memory {
    let disk = Memory::default();
    disk.lay("key", &KEY);
    disk
}

fn name_of(sha256: &[u8; 32]) -> String {
    format!("{}.span", shoal_shadow::digits::hex(sha256))
}

/// A file of this header, of so many frames as the bytes behind it are.
fn sealed(part: &[u8]) -> Option<Vec<u8>> {
    let (header, frames) = part.split_first_chunk::<HEADER_BYTES>()?;
    let side = |at: usize| usize::from(u16::from_le_bytes([header[at], header[at + 1]]));
    let frame = 17 + 3 * side(32) * side(34);
    let cipher = XChaCha20Poly1305::new(&Key::from(KEY));
    let mut file = header.to_vec();
    for (index, frame) in (0_u32..).zip(frames.chunks_exact(frame)) {
        let mut nonce = [0; 24];
        nonce[..20].copy_from_slice(&header[PREFIX_AT..]);
        nonce[20..].copy_from_slice(&index.to_le_bytes());
        let mut frame = frame.to_vec();
        let nonce = XNonce::from(nonce);
        let tag = cipher.encrypt_inout_detached(&nonce, header, frame.as_mut_slice().into());
        file.extend(frame);
        file.extend(tag.ok()?);
    }
    Some(file)
}

fn make(disk: &Memory, bytes: &[u8]) -> Result<(), Box<dyn Error>> {
    let file = TablesFile(disk.create(INDEX)?);
    let database: Database = Builder::new().create_with_backend(file)?;
    let transaction = database.begin_write()?;
    {
        let mut spans = transaction.open_table(SPANS)?;
        let mut about = transaction.open_table(ABOUT)?;
        let id = Sha256::new().chain_update(b"shoal replay key 1").chain_update(KEY).finalize();
        about.insert("key", &id[..16])?;
        let mut parts = parts(bytes);
        if let Some(next) = parts.next() {
            about.insert("next", next)?;
        }
        while let Some(part) = parts.next() {
            let Some((id, row)) = part.split_first_chunk() else { continue };
            spans.insert(u64::from_le_bytes(*id), row)?;
            if let (Some(sha256), Some(file)) = (row.last_chunk::<32>(), parts.next()) {
                disk.lay(&name_of(sha256), file);
            }
        }
    }
    Ok(transaction.commit()?)
}

fn put(store: &mut Replay) -> u64 {
    let new = NewSpan {
        recorded_at_s: 1_800_000_000,
        rate_hz: 10.0,
        shape: SHAPE,
        reason: Reason::Ordinary,
        priority: Priority::from_share(1.0),
        moments: &[(&[9; 6], None)],
    };
    store.put(&new).expect("the disk has room").id
}

/// What the store says of its spans is within its bounds, and it takes another. Where there is `one` that is whole, a damaged index
/// loses it not.
fn goes_on(disk: &Memory, one: bool) {
    let opened = Replay::on(Box::new(disk.clone()), &OPTIONS);
    let Ok((mut store, report)) = opened else { return };
    let spans: Vec<_> = store.spans().copied().collect();
    if one && report.damaged.is_some() {
        assert_eq!(spans.len(), 1, "an index is made again of the spans");
    }
    assert!(store.filled().bytes <= OPTIONS.bytes_max, "a store is bounded");
    for span in &spans {
        assert!(span.rate_hz.is_finite() && span.rate_hz > 0.0 && span.shape.bytes() > 0);
        assert!((1..=FRAMES_MAX).contains(&span.frames) && span.ended_at_s() >= span.recorded_at_s);
        let Ok(frames) = store.read(span.id, 0..span.frames) else { continue };
        let mut motion = (0..frames.len()).filter_map(|index| frames.motion(index));
        assert!(motion.all(|motion| motion.is_finite()));
    }
    let id = put(&mut store);
    assert!(spans.iter().all(|span| span.id < id), "no number is given twice");
    drop(store);
    if id == u64::MAX - 1 {
        // Numbers begin at 0: no store comes to the last one by itself.
        return;
    }
    let again = Replay::on(Box::new(disk.clone()), &OPTIONS);
    let (mut again, report) = again.expect("a store is opened again");
    assert_eq!(report.damaged, None);
    assert!(again.read(id, 0..1).is_ok(), "what was put is there");
}
