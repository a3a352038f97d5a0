//! The agent's side of the line, and the vehicle's.

use shoal_gateway::{
    Answer, BytesBoth, FRAME_BYTES_MAX, LINE_BYTES_MAX, PIECE_BYTES_MAX, Part, PhaseName, Refusal,
    Request, Status, VehicleSays, Wants, decode_reply, encode_request, encode_vehicle,
};

use shoal_wire::Unverified;
use shoal_wire::v1::ParticleHeader;

use super::fleet::{Particle, UTC_SECONDS, provision};

/// Two lines to a gateway.
pub(crate) trait Port {
    /// Sends bytes on the agent's line and waits for the message that answers; `None`: there is none.
    fn ask(&mut self, line: &[u8]) -> Option<Vec<u8>>;
    /// Sends bytes on the vehicle's line.
    fn vehicle(&mut self, line: &[u8]);
    /// Cuts the power, and brings it back.
    fn power_cut(&mut self);
    /// Sends bytes on the agent's line that nothing answers.
    fn noise(&mut self, line: &[u8]);
    /// Lets some time pass.
    fn wait(&mut self, ms: u64);
}

/// What a gateway answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Answered {
    Done,
    Status(Box<Status>),
    Bytes(Vec<u8>),
    Refused(Refusal),
}

#[derive(Clone, Debug)]
pub(crate) struct Heard {
    pub(crate) phase: PhaseName,
    pub(crate) wants: Wants,
    pub(crate) answer: Answered,
}

pub(crate) struct Client<P> {
    pub(crate) port: P,
    number: u16,
}

pub(crate) const READY: VehicleSays = VehicleSays::Conditions {
    parked: true,
    external_power: false,
    battery_soc_percent: 80,
    temperature_c: 20,
    network: 2,
};

impl<P: Port> Client<P> {
    pub(crate) fn new(port: P) -> Self {
        Self { port, number: 0 }
    }

    pub(crate) fn power_cut(&mut self) {
        self.port.power_cut();
    }

    pub(crate) fn frame(&mut self, request: Request<'_>) -> Vec<u8> {
        self.number = self.number.wrapping_add(1);
        let (mut message, mut line) = ([0; FRAME_BYTES_MAX], [0; LINE_BYTES_MAX]);
        encode_request(self.number, request, &mut message, &mut line).unwrap().to_vec()
    }

    /// Asks, and again when no answer comes.
    pub(crate) fn ask(&mut self, request: Request<'_>) -> Heard {
        let frame = self.frame(request);
        for _attempt in 0..3 {
            if let Some(message) = self.port.ask(&frame) {
                return self.heard(&message);
            }
        }
        panic!("no answer to {request:?}");
    }

    pub(crate) fn heard(&self, message: &[u8]) -> Heard {
        let reply = decode_reply(message).unwrap();
        assert_eq!(reply.number, self.number);
        let answer = match reply.answer {
            Answer::Done => Answered::Done,
            Answer::Status(status) => Answered::Status(Box::new(status)),
            Answer::Bytes(bytes) => Answered::Bytes(bytes.to_vec()),
            Answer::Refused(why) => Answered::Refused(why),
        };
        Heard { phase: reply.phase, wants: reply.wants, answer }
    }

    pub(crate) fn done(&mut self, request: Request<'_>) -> Heard {
        let heard = self.ask(request);
        assert_eq!(heard.answer, Answered::Done, "{request:?}");
        heard
    }

    pub(crate) fn refused(&mut self, request: Request<'_>) -> Refusal {
        let heard = self.ask(request);
        let Answered::Refused(why) = heard.answer else { panic!("{request:?}: {heard:?}") };
        why
    }

    pub(crate) fn status(&mut self) -> Status {
        let heard = self.ask(Request::Status);
        let Answered::Status(status) = heard.answer else { panic!("{heard:?}") };
        *status
    }

    pub(crate) fn phase(&mut self) -> PhaseName {
        self.ask(Request::Status).phase
    }

    pub(crate) fn vehicle(&mut self, says: VehicleSays) {
        let (mut message, mut line) = ([0; 64], [0; 64]);
        let line = encode_vehicle(says, &mut message, &mut line).unwrap().to_vec();
        self.port.vehicle(&line);
    }

    /// The vehicle stands and the time is known: an open window opens.
    pub(crate) fn open(&mut self) {
        self.vehicle(VehicleSays::Time { seconds: UTC_SECONDS, uncertainty_seconds: 1 });
        self.vehicle(READY);
        self.until(PhaseName::Open);
    }

    pub(crate) fn until(&mut self, phase: PhaseName) {
        let mut last = None;
        for _attempt in 0..100 {
            last = Some(self.phase());
            if last == Some(phase) {
                return;
            }
            self.port.wait(50);
        }
        panic!("{last:?}, not {phase:?}");
    }

    /// What the agent needs for a whole chunk, then the chunk up to its end.
    pub(crate) fn pieces(&mut self, index: u8, chunk: &[u8]) -> Result<(), Refusal> {
        let down = chunk.len() as u64;
        self.done(Request::Needed(BytesBoth { up: 100, down }));
        let bytes = chunk.len() as u32;
        self.result(Request::Begin { index, bytes })?;
        for (place, piece) in chunk.chunks(PIECE_BYTES_MAX).enumerate() {
            let offset = (place * PIECE_BYTES_MAX) as u32;
            self.result(Request::Piece { offset, bytes: piece })?;
        }
        Ok(())
    }

    pub(crate) fn chunk(&mut self, index: u8, chunk: &[u8]) -> Result<(), Refusal> {
        self.pieces(index, chunk)?;
        self.result(Request::End)
    }

    pub(crate) fn result(&mut self, request: Request<'_>) -> Result<(), Refusal> {
        let heard = self.ask(request);
        if let Answered::Refused(why) = heard.answer {
            return Err(why);
        }
        assert_eq!(heard.answer, Answered::Done, "{request:?}");
        Ok(())
    }

    /// Sends what is wanted, until nothing is. Returns the chunks that were sent.
    pub(crate) fn bring(&mut self, particle: &Particle) -> Vec<u8> {
        let mut sent = Vec::new();
        let mut wants = self.done(Request::Header(&particle.envelope)).wants;
        while wants.chunks != 0 {
            let index = wants.chunks.trailing_zeros() as u8;
            self.vehicle(READY);
            self.chunk(index, &particle.chunks[usize::from(index)]).unwrap();
            sent.push(index);
            wants = self.ask(Request::Status).wants;
        }
        sent
    }

    /// Everything of a sealed adapter, by the header that lies beside it.
    pub(crate) fn read(&mut self, slot: u8) -> Vec<u8> {
        let envelope = self.part(slot, Part::Header);
        let header = Unverified::decode(&envelope).unwrap();
        let header = header.verify::<ParticleHeader>(&provision()).unwrap();
        let mut adapter = Vec::new();
        for (index, chunk) in (0..).zip(&header.body().fields().chunks) {
            for offset in (0..chunk.bytes).step_by(PIECE_BYTES_MAX) {
                let bytes = (chunk.bytes - offset).min(PIECE_BYTES_MAX as u32) as u16;
                adapter.extend(self.part(slot, Part::Chunk { index, offset, bytes }));
            }
        }
        adapter
    }

    fn part(&mut self, slot: u8, part: Part) -> Vec<u8> {
        let heard = self.ask(Request::Read { slot, part });
        let Answered::Bytes(bytes) = heard.answer else { panic!("{heard:?}") };
        bytes
    }
}
