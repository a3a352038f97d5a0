//! The entry of the target `gateway`: what an agent and a vehicle send, to a gateway whose window is open and whose transfer has
//! begun, over a flash that is as strict as any; what a gateway answers to a vehicle that brings it a particle; and what it finds in
//! its flash when it starts, whoever wrote that.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::OnceLock;

use embassy_time::Instant;
use embedded_storage::nor_flash::{ErrorType, NorFlash, ReadNorFlash};
use shoal_gateway::{
    FLASH_BYTES, FRAME_BYTES_MAX, Key, LINE_BYTES_MAX, PROVISION_BYTES_MAX, Provision, Records,
    Request, Shell, Stack, VehicleSays, encode_frame, encode_request, encode_vehicle,
};
use shoal_vehicle::gateway::{Asker, Input, Sealed, Tell};
use shoal_wire::v1::{
    Chunk, ParticleHeader, ParticleHeaderFields, Role, WindowPlan, WindowPlanFields,
};
use shoal_wire::{Body, ChunkHash, KeyId, LayoutHash, ModelHash, ParticleId, SecretKey, seal};

const UTC_SECONDS: u64 = 1_800_000_000;
const SECTOR_BYTES: usize = 4096;
const WORD_BYTES: usize = 8;
/// Provision, then the two areas of records.
const RECORDS_END: usize = 5 * SECTOR_BYTES;
/// Of a provision: magic, length, CRC.
const HEAD_BYTES: usize = 4 + 2 + 4;
/// Longer inputs say nothing more.
const MESSAGES_MAX: usize = 64;

/// Reads the bytes as messages, each behind a byte of its line and a u16 of its length: 0: a message of the agent, in a frame
/// with its CRC; 1: the same of the vehicle; 2: bytes on the agent's line as they are; 3: the power is cut; 4: an answer to the vehicle,
/// in a frame; 5: the power is cut, and the gateway's flash is written from outside, from the place of a u16 on; 6: the same of
/// the fields of a provision, with their length and CRC; 7: the same of a record behind the byte of its key; else: time passes.
///
/// # Panics
/// If the gateway programs a word twice between two erases, or reaches beyond its flash; if a provision that is accepted is not
/// what it is written as, or a record not what was put.
pub fn gateway(bytes: &[u8]) {
    let mut shell = started();
    let mut asker = asker();
    let mut rest = bytes;
    let mut ms = 0;
    for _message in 0..MESSAGES_MAX {
        let Some(([line, l0, l1], after)) = rest.split_first_chunk() else { return };
        let len = usize::from(u16::from_le_bytes([*l0, *l1])).min(after.len());
        let (message, after) = after.split_at(len);
        rest = after;
        let now = Instant::from_millis(ms);
        let mut buffer = [0; LINE_BYTES_MAX];
        match line {
            0 => agent(&mut shell, now, encode_frame(message, &mut buffer).unwrap_or_default()),
            1 => shell.vehicle(now, encode_frame(message, &mut buffer).unwrap_or_default()),
            2 => agent(&mut shell, now, message),
            3 => {
                shell = Shell::new(shell.into_flash());
                shell.start();
            }
            4 => {
                let frame = encode_frame(message, &mut buffer).unwrap_or_default();
                asker.handle_input(now, Input::Bytes(frame));
            }
            5..=7 => {
                let mut flash = shell.into_flash();
                match line {
                    5 => raw(&mut flash, message),
                    6 => provision(&mut flash, message),
                    _record => record(&mut flash, message),
                }
                shell = Shell::new(flash);
                shell.start();
            }
            step => {
                ms += u64::from(*step) * 100;
                shell.timeout(Instant::from_millis(ms));
            }
        }
        asker.handle_timeout(now);
        let _question = asker.poll_output(now);
    }
}

/// Bytes in the sectors of the provision and of records.
fn raw(flash: &mut Sparse, message: &[u8]) {
    let Some((place, bytes)) = message.split_first_chunk() else { return };
    flash.lay(usize::from(u16::from_le_bytes(*place)) % RECORDS_END, bytes);
}

/// A provision whose length and CRC are as they should be: what noise breaks is not what somebody writes who has the flash.
fn provision(flash: &mut Sparse, fields: &[u8]) {
    let fields = fields.get(..PROVISION_BYTES_MAX - HEAD_BYTES).unwrap_or(fields);
    let length = (fields.len() as u16).to_le_bytes();
    let sector = [b"SHG2", &length[..], &crc(fields).to_le_bytes(), fields].concat();
    if let Ok(provision) = Provision::decode(&sector) {
        let mut again = [0; PROVISION_BYTES_MAX];
        let again = provision.encode(&mut again).expect("it is no longer than it was");
        assert_eq!(Provision::decode(again), Ok(provision), "a provision is what it is written as");
    }
    flash.lay(0, &sector);
}

/// A record, by the flash's own log of them.
fn record(flash: &mut Sparse, message: &[u8]) {
    let Some((key, bytes)) = message.split_first() else { return };
    let key = Key::ALL[usize::from(*key) % Key::ALL.len()];
    let Ok(mut records) = Records::open(flash) else { return };
    if records.put(flash, key, bytes).is_err() {
        return;
    }
    let Ok(records) = Records::open(flash) else { return };
    let mut buffer = vec![0; bytes.len()];
    assert_eq!(records.get(flash, key, &mut buffer), Ok(Some(bytes)), "what was put is there");
}

/// CRC-32 (ISO-HDLC), bit by bit.
fn crc(bytes: &[u8]) -> u32 {
    let bit = |crc: u32, _bit| if crc & 1 == 1 { (crc >> 1) ^ 0xedb8_8320 } else { crc >> 1 };
    !bytes.iter().fold(u32::MAX, |crc, byte| (0..8).fold(crc ^ u32::from(*byte), bit))
}

/// A vehicle that has asked how things stand, with a particle to bring.
fn asker() -> Asker {
    let mut asker = Asker::new(0);
    let chunks = vec![vec![1; 1500], vec![2; 7]];
    let (particle, header) = (ParticleId::new([3; 32]), vec![4; 300]);
    let sealed = Sealed { number: 1, particle, header, chunks };
    asker.handle_input(Instant::MIN, Input::Tell(Tell::Bring(sealed)));
    let _question = asker.poll_output(Instant::MIN);
    asker
}

/// All of it.
fn agent(shell: &mut Shell<Sparse>, now: Instant, mut line: &[u8]) {
    while !line.is_empty() {
        let taken = shell.agent(now, line, Stack::default()).taken;
        line = line.get(taken..).unwrap_or_default();
    }
}

/// A gateway in an open window, with a header of three chunks: made once, then copied.
fn started() -> Shell<Sparse> {
    static LINES: OnceLock<[Vec<u8>; 4]> = OnceLock::new();
    let [plan, time, ready, header] = LINES.get_or_init(lines);
    let mut flash = Sparse::default();
    flash.set(0, sector());
    let mut shell = Shell::new(flash);
    shell.start();
    agent(&mut shell, Instant::MIN, plan);
    shell.vehicle(Instant::MIN, time);
    shell.vehicle(Instant::MIN, ready);
    agent(&mut shell, Instant::MIN, header);
    shell
}

fn key() -> SecretKey {
    SecretKey::from_seed(&[7; 32])
}

fn sector() -> &'static [u8] {
    static SECTOR: OnceLock<Vec<u8>> = OnceLock::new();
    SECTOR.get_or_init(|| {
        let public = *key().public().bytes();
        let provision = Provision {
            authority: public,
            timekeeper: public,
            vehicle: KeyId::new([7; 8]),
            metered: false,
            driving: false,
            battery_soc_percent_min: 40,
            temperature_c_max: 85,
            trial_frames_min: 10,
            trial_loss_max: 10,
            publishers: [public].into_iter().collect(),
        };
        let mut sector = [0; PROVISION_BYTES_MAX];
        provision.encode(&mut sector).map(<[u8]>::to_vec).unwrap_or_default()
    })
}

fn lines() -> [Vec<u8>; 4] {
    let (mut message, mut line) = ([0; FRAME_BYTES_MAX], [0; LINE_BYTES_MAX]);
    let plan = WindowPlan::new(WindowPlanFields {
        epoch_seconds: UTC_SECONDS - 100,
        period_seconds: 1000,
        open_seconds: 1000,
        jitter_ms_max: 0,
        up_bytes_max: 10_000,
        down_bytes_max: 100_000,
    });
    let chunk = |index: u32, bytes: &[u8]| Chunk {
        first_value: index,
        bytes: bytes.len() as u32,
        hash: ChunkHash::new(hash(bytes)),
    };
    let header = ParticleHeader::new(ParticleHeaderFields {
        role: Role::Best,
        window: 0,
        base_model: ModelHash::new([1; 32]),
        layout: LayoutHash::new([2; 32]),
        anchor: None,
        inputs: Default::default(),
        coding: 1,
        values: 10,
        chunks: [chunk(0, &[0; 32]), chunk(1, b"one"), chunk(2, &[2; 5000])].into_iter().collect(),
    });
    let plan = plan.map_or_else(|_error| Vec::new(), |plan| sealed(&plan));
    let header = header.map_or_else(|_error| Vec::new(), |header| sealed(&header));
    let mut ask = |request| {
        let line = encode_request(1, request, &mut message, &mut line);
        line.map(<[u8]>::to_vec).unwrap_or_default()
    };
    let (plan, header) = (ask(Request::Plan(&plan)), ask(Request::Header(&header)));
    let mut says = |says| {
        let line = encode_vehicle(says, &mut message, &mut line);
        line.map(<[u8]>::to_vec).unwrap_or_default()
    };
    let time = says(VehicleSays::Time { seconds: UTC_SECONDS, uncertainty_seconds: 1 });
    let ready = says(VehicleSays::Conditions {
        parked: true,
        external_power: true,
        battery_soc_percent: 100,
        temperature_c: 20,
        network: 2,
    });
    [plan, time, ready, header]
}

fn sealed<'a, T: Body<'a>>(body: &T) -> Vec<u8> {
    let mut buffer = [0; 1024];
    let sealed = seal(body, 1, u64::MAX, &key(), &mut buffer);
    sealed.map_or_else(|_error| Vec::new(), |sealed| sealed.bytes().to_vec())
}

fn hash(bytes: &[u8]) -> [u8; 32] {
    use sha2::{Digest, Sha256};
    Sha256::digest(bytes).into()
}

/// Dead code is linked into what is instrumented, and that of embassy-time asks for a clock. Nothing reads it.
#[cfg(feature = "instrumented")]
mod clock {
    struct Stopped;

    embassy_time_driver::time_driver_impl!(static CLOCK: Stopped = Stopped);

    impl embassy_time_driver::Driver for Stopped {
        fn now(&self) -> u64 {
            0
        }

        fn schedule_wake(&self, _at: u64, _waker: &std::task::Waker) {}
    }
}

/// A flash that takes memory only where it was written.
#[derive(Debug, Default)]
struct Sparse {
    /// By their index: bytes, and which words were programmed.
    sectors: BTreeMap<usize, (Vec<u8>, Vec<bool>)>,
}

impl Sparse {
    fn set(&mut self, offset: usize, bytes: &[u8]) {
        for (at, byte) in (offset..).zip(bytes) {
            let erased = || (vec![0xff; SECTOR_BYTES], vec![false; SECTOR_BYTES / WORD_BYTES]);
            let (sector, programmed) = self.sectors.entry(at / SECTOR_BYTES).or_insert_with(erased);
            let place = at % SECTOR_BYTES;
            sector[place] &= byte;
            programmed[place / WORD_BYTES] = true;
        }
    }
}

impl Sparse {
    /// Writes bytes in place of what is there: as somebody does who takes the chip out. What is erased can be programmed.
    fn lay(&mut self, offset: usize, bytes: &[u8]) {
        for (at, byte) in (offset..).zip(bytes) {
            let erased = || (vec![0xff; SECTOR_BYTES], vec![false; SECTOR_BYTES / WORD_BYTES]);
            let (sector, programmed) = self.sectors.entry(at / SECTOR_BYTES).or_insert_with(erased);
            let place = at % SECTOR_BYTES;
            sector[place] = *byte;
            let word = place / WORD_BYTES;
            let is = &sector[word * WORD_BYTES..(word + 1) * WORD_BYTES];
            programmed[word] = is.iter().any(|byte| *byte != 0xff);
        }
    }
}

impl ErrorType for Sparse {
    type Error = Infallible;
}

impl ReadNorFlash for Sparse {
    const READ_SIZE: usize = 1;

    fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), Infallible> {
        assert!(offset as usize + bytes.len() <= self.capacity());
        for (at, to) in (offset as usize..).zip(bytes) {
            let sector = self.sectors.get(&(at / SECTOR_BYTES));
            *to = sector.map_or(0xff, |(sector, _programmed)| sector[at % SECTOR_BYTES]);
        }
        Ok(())
    }

    fn capacity(&self) -> usize {
        FLASH_BYTES as usize
    }
}

impl NorFlash for Sparse {
    const WRITE_SIZE: usize = WORD_BYTES;
    const ERASE_SIZE: usize = SECTOR_BYTES;

    fn erase(&mut self, from: u32, to: u32) -> Result<(), Infallible> {
        let (from, to) = (from as usize, to as usize);
        assert!(from.is_multiple_of(SECTOR_BYTES) && to.is_multiple_of(SECTOR_BYTES));
        (from / SECTOR_BYTES..to / SECTOR_BYTES).for_each(|sector| {
            self.sectors.remove(&sector);
        });
        Ok(())
    }

    fn write(&mut self, offset: u32, bytes: &[u8]) -> Result<(), Infallible> {
        let offset = offset as usize;
        assert!(offset.is_multiple_of(WORD_BYTES) && bytes.len().is_multiple_of(WORD_BYTES));
        assert!(offset + bytes.len() <= self.capacity());
        for at in (offset..offset + bytes.len()).step_by(WORD_BYTES) {
            let sector = self.sectors.get(&(at / SECTOR_BYTES));
            let programmed = sector
                .is_some_and(|(_bytes, programmed)| programmed[at % SECTOR_BYTES / WORD_BYTES]);
            assert!(!programmed, "a word is programmed twice, at {at:#x}");
        }
        self.set(offset, bytes);
        Ok(())
    }
}
