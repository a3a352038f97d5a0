//! What is asked of the gateway, one question at a time. A question is asked again, byte for byte, until it is answered: so it happens
//! once, whatever the line loses.

use embassy_time::{Duration, Instant};
use shoal_gateway::{
    Answer, BytesBoth, Decoder, FRAME_BYTES_MAX, LINE_BYTES_MAX, PhaseName, Refusal, Reply,
    Request, SlotStatus, Status, TrialName, decode_reply, encode_request,
};

use super::bringing::{Bringing, Came};
use super::{Judged, Standing, Tell};

/// How often the vehicle looks how things stand.
const LOOK: Duration = Duration::from_millis(500);
/// How long an answer may take before the question is asked again: a flash erases for so long.
const AGAIN: Duration = Duration::from_secs(1);
/// A gateway that has said nothing for so long does not answer.
const SILENT: Duration = Duration::from_secs(10);

/// What happened.
#[derive(Clone, Debug)]
pub enum Input<'a> {
    /// The vehicle tells.
    Tell(Tell),
    /// Bytes came.
    Bytes(&'a [u8]),
}

/// What is being asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Question {
    Plan,
    Nonce,
    Used,
    Drained,
    Status,
    Watched,
    Judged,
    Bring,
    /// What was asked for a particle that is not wanted any more.
    Left,
}

#[derive(Debug)]
struct Asked {
    question: Question,
    frame: Vec<u8>,
    /// When it is sent, or sent again.
    due: Instant,
}

/// The core. It persists nothing, and whoever has the line looks at it all the time: it says no moment at which to look again.
#[derive(Debug)]
pub struct Asker {
    number: u16,
    line: Decoder<FRAME_BYTES_MAX>,
    asked: Option<Asked>,
    plan: Option<Vec<u8>>,
    nonce: Option<Vec<u8>>,
    used: BytesBoth,
    drained: bool,
    watched: Option<(u32, i64)>,
    judged: Option<bool>,
    bringing: Option<Bringing>,
    look_at: Instant,
    /// When it said something last; before that, when it was asked first.
    heard_at: Option<Instant>,
    standing: Standing,
}

impl Asker {
    /// Asks from this number on: one that the program before did not ask with last, so that nothing passes for a repetition.
    #[must_use]
    pub fn new(number: u16) -> Self {
        Asker {
            number,
            line: Decoder::new(),
            asked: None,
            plan: None,
            nonce: None,
            used: BytesBoth::default(),
            drained: false,
            watched: None,
            judged: None,
            bringing: None,
            look_at: Instant::MIN,
            heard_at: None,
            standing: Standing::default(),
        }
    }

    /// How things stand.
    #[must_use]
    pub fn standing(&self) -> &Standing {
        &self.standing
    }

    /// Takes what happened.
    pub fn handle_input(&mut self, now: Instant, input: Input<'_>) {
        match input {
            Input::Tell(tell) => self.told(tell),
            Input::Bytes(bytes) => self.bytes(now, bytes),
        }
    }

    /// Takes that time has passed.
    pub fn handle_timeout(&mut self, now: Instant) {
        if self.heard_at.is_some_and(|at| now >= at + SILENT) {
            self.standing.phase = None;
        }
    }

    /// Bytes for the line.
    pub fn poll_output(&mut self, now: Instant) -> Option<&[u8]> {
        if self.asked.is_none() {
            let question = self.next(now)?;
            let frame = self.frame(question)?;
            self.asked = Some(Asked { question, frame, due: now });
        }
        let asked = self.asked.as_mut().filter(|asked| asked.due <= now)?;
        asked.due = now + AGAIN;
        self.heard_at.get_or_insert(now);
        Some(&asked.frame)
    }

    fn told(&mut self, tell: Tell) {
        match tell {
            Tell::Plan(envelope) => self.plan = Some(envelope),
            Tell::Nonce(envelope) => self.nonce = Some(envelope),
            Tell::Used(bytes) => {
                self.used.up = self.used.up.saturating_add(bytes.up);
                self.used.down = self.used.down.saturating_add(bytes.down);
            }
            Tell::Drained => self.drained = true,
            Tell::Bring(sealed) => {
                self.standing.brought = None;
                self.bringing = Some(Bringing::new(sealed));
                if let Some(asked) = &mut self.asked
                    && asked.question == Question::Bring
                {
                    asked.question = Question::Left;
                }
            }
            Tell::Judged(Judged { kept, frames, gain }) => {
                // What it would make of an adapter that is not kept does not matter.
                self.watched = kept.then_some((frames, gain));
                self.judged = Some(kept);
            }
        }
    }

    /// What is asked next.
    fn next(&self, now: Instant) -> Option<Question> {
        let brings = self.bringing.as_ref().is_some_and(|bringing| bringing.not_before() <= now);
        // What was begun goes on while the window closes; nothing is begun.
        let open = matches!(self.standing.phase, Some(PhaseName::Open | PhaseName::Closing));
        let questions = [
            (self.plan.is_some(), Question::Plan),
            (self.nonce.is_some(), Question::Nonce),
            (self.used != BytesBoth::default(), Question::Used),
            (self.drained, Question::Drained),
            (self.look_at <= now, Question::Status),
            (self.watched.is_some(), Question::Watched),
            (self.judged.is_some(), Question::Judged),
            (brings && open, Question::Bring),
        ];
        questions.into_iter().find_map(|(due, question)| due.then_some(question))
    }

    /// The question as a frame. What is summed up begins anew with it.
    fn frame(&mut self, question: Question) -> Option<Vec<u8>> {
        // A reply to what could not be read has number 0.
        self.number = self.number.checked_add(1).unwrap_or(1);
        let used = self.used;
        let (frames, gain) = self.watched.unwrap_or_default();
        let request = match question {
            Question::Plan => Request::Plan(self.plan.as_deref()?),
            Question::Nonce => Request::Nonce(self.nonce.as_deref()?),
            Question::Used => Request::Used(used),
            Question::Drained => Request::Drained,
            Question::Status => Request::Status,
            Question::Watched => Request::Watched { frames, gain },
            Question::Judged => Request::Judged { kept: self.judged? },
            Question::Bring => self.bringing.as_ref()?.request(),
            Question::Left => return None,
        };
        let (mut message, mut line) = ([0; FRAME_BYTES_MAX], [0; LINE_BYTES_MAX]);
        let frame = encode_request(self.number, request, &mut message, &mut line)?.to_vec();
        match question {
            Question::Plan => self.plan = None,
            Question::Nonce => self.nonce = None,
            Question::Used => self.used = BytesBoth::default(),
            Question::Drained => self.drained = false,
            Question::Watched => self.watched = None,
            Question::Judged => self.judged = None,
            Question::Status | Question::Bring | Question::Left => {}
        }
        Some(frame)
    }

    fn bytes(&mut self, now: Instant, bytes: &[u8]) {
        let mut rest = bytes;
        while !rest.is_empty() {
            let taken = self.line.push(rest);
            rest = rest.get(taken..).unwrap_or_default();
            let message = self.line.message().map(<[u8]>::to_vec);
            if let Some(reply) = message.as_deref().and_then(decode_reply) {
                self.reply(now, &reply);
            }
        }
    }

    fn reply(&mut self, now: Instant, reply: &Reply<'_>) {
        // A question that was asked twice is answered twice; 0: it could not be read, though it came whole.
        let Some(asked) = self.asked.take_if(|_| [0, self.number].contains(&reply.number)) else {
            return;
        };
        (self.heard_at, self.standing.phase) = (Some(now), Some(reply.phase));
        let status = match &reply.answer {
            Answer::Status(status) => Some(status),
            Answer::Done | Answer::Bytes(_) | Answer::Refused(_) => None,
        };
        if let Some(status) = status {
            self.look_at = now + LOOK;
            self.stands(&status.slots, status.trial);
        }
        let refused = match &reply.answer {
            Answer::Refused(why) => Some(*why),
            Answer::Done | Answer::Status(_) | Answer::Bytes(_) => None,
        };
        match asked.question {
            Question::Plan => self.standing.refused = refused,
            Question::Bring => self.brought(now, reply, refused.map_or(Ok(status), Err)),
            // What changes how things stand is looked at.
            Question::Watched | Question::Judged | Question::Drained => self.look_at = now,
            // It is not provisioned: there is no status, and no window.
            Question::Status if refused.is_some() => {
                (self.standing.phase, self.standing.refused) = (None, refused);
                self.look_at = now + LOOK;
            }
            Question::Status | Question::Nonce | Question::Used | Question::Left => {}
        }
    }

    fn stands(&mut self, slots: &SlotStatus, trial: TrialName) {
        let [a, b] = slots.sealed;
        let inactive = if slots.active == Some(0) { b } else { a };
        let named = |name| inactive.filter(|_| trial == name);
        self.standing.on_trial = named(TrialName::OnTrial);
        self.standing.rolled_back = named(TrialName::RolledBack);
    }

    fn brought(
        &mut self,
        now: Instant,
        reply: &Reply<'_>,
        answer: Result<Option<&Status>, Refusal>,
    ) {
        let Some(bringing) = &mut self.bringing else { return };
        let number = bringing.number();
        let ended = match bringing.answered(now, reply.wants, answer) {
            Came::Goes => return,
            Came::OnTrial => {
                // Whoever is to try another one has done with it.
                self.judged.get_or_insert(false);
                return;
            }
            Came::Sealed => Ok(()),
            Came::Refused(why) => Err(why),
        };
        self.bringing = None;
        self.standing.brought = Some((number, ended));
        self.look_at = now;
    }
}
