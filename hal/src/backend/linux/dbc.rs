//! DBC files: which bits of which frame on a CAN bus are which signal.
//!
//! Of the format's statements `BO_` (a message), `SG_` (a signal in it) and `SIG_VALTYPE_` (it is a
//! floating-point number) are read; the others say nothing about bits. A signal that cannot be read here,
//! such as a multiplexed one, stays known by name, so that asking for it says why. Files begin with a list of
//! the format's own words (`NS_ :`), one a line and without anything behind it: these are no statements.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

/// Longest file that is read, bytes.
pub const DBC_BYTES_MAX: u64 = 16 << 20;

/// Most messages, and most signals of one message.
pub const MESSAGES_MAX: usize = 1 << 16;
/// Most signals of one message.
pub const SIGNALS_MAX: usize = 1 << 12;

/// Most bytes of a frame's data: CAN FD's.
pub const DATA_BYTES_MAX: u16 = 64;

/// Bit 31 of a message's number in a file: it has 29 bits.
const EXTENDED: u32 = 1 << 31;
const ID_MAX: u32 = (1 << 29) - 1;
const STANDARD_ID_MAX: u32 = (1 << 11) - 1;

/// What a frame on the bus is known by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FrameId {
    /// The number: below 2¹¹, or below 2²⁹ if it is `extended`.
    pub number: u32,
    /// Whether it has 29 bits.
    pub extended: bool,
}

impl FrameId {
    /// The identifier by its number in a DBC file; `None` for one that no frame has.
    #[must_use]
    pub const fn of_dbc(number: u32) -> Option<Self> {
        let extended = number & EXTENDED != 0;
        let number = number & !EXTENDED;
        if number > if extended { ID_MAX } else { STANDARD_ID_MAX } {
            return None;
        }
        Some(Self { number, extended })
    }
}

/// Why a DBC file cannot be used.
#[expect(missing_docs, reason = "fields read as the sentence they complete")]
#[derive(Debug, thiserror::Error)]
pub enum DbcError {
    /// It cannot be read.
    #[error("cannot read the DBC file {}", path.display())]
    Read {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    /// It is longer than any.
    #[error("{file} has more than {DBC_BYTES_MAX} bytes")]
    TooLong { file: String },
    /// A line is not what the format says.
    #[error("{file}:{line}: {what}")]
    Line { file: String, line: usize, what: String },
    /// Nothing in it says what frames mean.
    #[error("{file} has no message: is it a DBC file?")]
    Empty { file: String },
}

/// Why a signal that is named cannot be read.
#[expect(missing_docs, reason = "fields read as the sentence they complete")]
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SignalError {
    /// It is not written as one.
    #[error("`{name}` is no signal: write MESSAGE.SIGNAL")]
    Form { name: String },
    /// No such message.
    #[error("{file} has no message `{name}`; did you mean `{nearest}`?")]
    Message { file: String, name: String, nearest: String },
    /// No such signal in it.
    #[error("{file} has no signal `{name}` in `{message}`; did you mean `{nearest}`?")]
    Signal { file: String, message: String, name: String, nearest: String },
    /// It is there, and cannot be read.
    #[error("the signal `{name}` of {file} (line {line}) cannot be read: {what}")]
    Unusable { file: String, name: String, line: usize, what: &'static str },
}

/// How the number in a signal's bits is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Number {
    Unsigned,
    Signed,
    F32,
    F64,
}

/// Where a signal's bits are, and what they mean.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Signal {
    /// Little-endian: the lowest bit. Big-endian: the highest.
    start: u16,
    bits: u16,
    little_endian: bool,
    number: Number,
    scale: f64,
    offset: f64,
    /// The least and the greatest value, where the file says: what lies outside, all bits 1, is no value.
    range: Option<(f64, f64)>,
}

impl Signal {
    /// The value in a frame's `data`: bits times scale plus offset; `None` if the frame is too short for
    /// it, the value is no finite number or outside of its range.
    #[must_use]
    pub fn decode(&self, data: &[u8]) -> Option<f64> {
        self.written(data).filter(|value| self.is_said(*value))
    }

    /// Whether a value lies in the range of the signal. Files are often off by one step.
    pub(super) fn is_said(&self, value: f64) -> bool {
        // Half a step more, for what rounding does to whole ones.
        let step = self.scale.abs() * 1.5;
        self.range.is_none_or(|(least, most)| value >= least - step && value <= most + step)
    }

    /// The value in a frame's `data`, in its range or not.
    pub(super) fn written(&self, data: &[u8]) -> Option<f64> {
        let mut raw = 0u64;
        for index in 0..self.bits {
            // From the highest bit to the lowest.
            let place = if self.little_endian {
                self.start + (self.bits - 1 - index)
            } else {
                // Down within a byte, then to the top of the next.
                let from_top = self.start / 8 * 8 + (7 - self.start % 8) + index;
                from_top / 8 * 8 + (7 - from_top % 8)
            };
            let byte = data.get(usize::from(place / 8))?;
            raw = raw << 1 | u64::from(byte >> (place % 8) & 1);
        }
        let unused = 64 - u32::from(self.bits);
        let value = match self.number {
            Number::Unsigned => raw as f64,
            Number::Signed => ((raw << unused).cast_signed() >> unused) as f64,
            Number::F32 => f64::from(f32::from_bits(raw as u32)),
            Number::F64 => f64::from_bits(raw),
        };
        let value = value * self.scale + self.offset;
        value.is_finite().then_some(value)
    }

    /// Bytes that a frame must have to hold it.
    fn bytes(&self) -> u16 {
        let last = if self.little_endian {
            self.start + self.bits - 1
        } else {
            self.start / 8 * 8 + (7 - self.start % 8) + self.bits - 1
        };
        last / 8 + 1
    }
}

/// A signal's line: usable, or known only by name.
#[derive(Clone, Debug)]
struct Entry {
    line: usize,
    signal: Result<Signal, &'static str>,
}

#[derive(Clone, Debug)]
struct Message {
    id: FrameId,
    signals: BTreeMap<String, Entry>,
}

/// The messages of a DBC file.
#[derive(Clone, Debug)]
pub struct Dbc {
    file: String,
    messages: BTreeMap<String, Message>,
}

impl Dbc {
    /// Reads a file.
    ///
    /// # Errors
    /// [`DbcError`], naming file and line.
    pub fn read(path: &Path) -> Result<Self, DbcError> {
        let failed = |source| DbcError::Read { path: path.to_owned(), source };
        let file = File::open(path).map_err(failed)?;
        let mut bytes = Vec::new();
        file.take(DBC_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(failed)?;
        Self::parse(&path.display().to_string(), &bytes)
    }

    /// Parses the bytes of a file, of any encoding that holds ASCII; `file` only names it in errors.
    ///
    /// # Errors
    /// [`DbcError`], naming file and line.
    pub fn parse(file: &str, bytes: &[u8]) -> Result<Self, DbcError> {
        if bytes.len() as u64 > DBC_BYTES_MAX {
            return Err(DbcError::TooLong { file: file.to_owned() });
        }
        let text = String::from_utf8_lossy(bytes);
        let mut reader =
            Reader { messages: BTreeMap::new(), numbers: BTreeMap::new(), in_message: None };
        let mut in_text = false;
        for (index, line) in text.lines().enumerate() {
            if !in_text {
                reader.line(line, index + 1).map_err(|what| DbcError::Line {
                    file: file.to_owned(),
                    line: index + 1,
                    what,
                })?;
            }
            in_text ^= opens_text(line);
        }
        if reader.messages.is_empty() {
            return Err(DbcError::Empty { file: file.to_owned() });
        }
        Ok(Self { file: file.to_owned(), messages: reader.messages })
    }

    /// The signal `MESSAGE.SIGNAL`, and the frame it is in.
    ///
    /// # Errors
    /// [`SignalError`], naming the nearest name there is.
    pub fn signal(&self, name: &str) -> Result<(FrameId, Signal), SignalError> {
        let file = || self.file.clone();
        let Some((of, signal)) = name.split_once('.') else {
            return Err(SignalError::Form { name: name.to_owned() });
        };
        let message = self.messages.get(of).ok_or_else(|| SignalError::Message {
            file: file(),
            name: of.to_owned(),
            nearest: nearest(of, self.messages.keys()),
        })?;
        let entry = message.signals.get(signal).ok_or_else(|| SignalError::Signal {
            file: file(),
            message: of.to_owned(),
            name: signal.to_owned(),
            nearest: nearest(signal, message.signals.keys()),
        })?;
        let (line, name) = (entry.line, || name.to_owned());
        let unusable = |what| SignalError::Unusable { file: file(), name: name(), line, what };
        Ok((message.id, entry.signal.map_err(unusable)?))
    }

    /// Every signal of the file that can be read, as `MESSAGE.SIGNAL`.
    pub fn names(&self) -> impl Iterator<Item = String> + '_ {
        self.messages.iter().flat_map(|(message, of)| {
            let usable = of.signals.iter().filter(|(_, entry)| entry.signal.is_ok());
            usable.map(move |(signal, _)| format!("{message}.{signal}"))
        })
    }
}

/// The name that is fewest edits away; of equals the first. Empty if there is none.
fn nearest<'a>(name: &str, known: impl Iterator<Item = &'a String>) -> String {
    known.min_by_key(|known| strsim::damerau_levenshtein(name, known)).cloned().unwrap_or_default()
}

/// Whether a line opens a text in quotes, or closes one, and leaves it so.
fn opens_text(line: &str) -> bool {
    let (mut quotes, mut escaped) = (false, false);
    for byte in line.bytes() {
        match byte {
            b'"' if !escaped => quotes = !quotes,
            b'\\' => escaped = !escaped,
            _ => escaped = false,
        }
    }
    quotes
}

struct Reader {
    messages: BTreeMap<String, Message>,
    /// Names of the messages by their number.
    numbers: BTreeMap<u32, String>,
    /// The message whose signals follow; an inner `None` is one that no frame has.
    in_message: Option<Option<String>>,
}

impl Reader {
    fn line(&mut self, line: &str, number: usize) -> Result<(), String> {
        let line = line.trim();
        let (word, rest) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
        match word {
            "BO_" => self.message(rest),
            "SG_" => self.signal(rest, number),
            "SIG_VALTYPE_" if !rest.is_empty() => self.kind(rest),
            "" => Ok(()),
            _ => {
                self.in_message = None;
                Ok(())
            }
        }
    }

    /// `BO_ 180 SPEED: 8 ECU`
    fn message(&mut self, rest: &str) -> Result<(), String> {
        let (head, _bytes_and_sender) = rest.split_once(':').ok_or("a message without `:`")?;
        let mut words = head.split_whitespace();
        let (Some(number), Some(name), None) = (words.next(), words.next(), words.next()) else {
            return Err("a message is `BO_ NUMBER NAME: BYTES SENDER`".to_owned());
        };
        let number: u32 =
            number.parse().map_err(|_| format!("`{number}` is no number of a message"))?;
        let Some(id) = FrameId::of_dbc(number) else {
            // Signals that are in no message stand below such a number.
            self.in_message = Some(None);
            return Ok(());
        };
        if self.messages.len() >= MESSAGES_MAX {
            return Err(format!("more than {MESSAGES_MAX} messages"));
        }
        let message = Message { id, signals: BTreeMap::new() };
        if self.messages.insert(name.to_owned(), message).is_some() {
            return Err(format!("a second message `{name}`"));
        }
        self.numbers.insert(number, name.to_owned());
        self.in_message = Some(Some(name.to_owned()));
        Ok(())
    }

    /// `SG_ SPEED : 47|16@0+ (0.01,0) [0|250] "km/h" ECU`
    fn signal(&mut self, rest: &str, line: usize) -> Result<(), String> {
        let of = self.in_message.as_ref().ok_or("a signal outside of a message")?;
        let Some(of) = of else { return Ok(()) };
        let message = self.messages.get_mut(of).ok_or("a signal outside of a message")?;
        let (head, layout) = rest.split_once(':').ok_or("a signal without `:`")?;
        let mut words = head.split_whitespace();
        let name = words.next().ok_or("a signal without a name")?;
        // `M` selects among others and can itself be read; `m3` is there only when it is selected.
        let signal = match words.next() {
            None | Some("M") => layout_of(layout),
            Some(_) => Err("it is multiplexed, which is not read"),
        };
        if message.signals.len() >= SIGNALS_MAX {
            return Err(format!("more than {SIGNALS_MAX} signals in `{of}`"));
        }
        if message.signals.insert(name.to_owned(), Entry { line, signal }).is_some() {
            return Err(format!("a second signal `{name}` in `{of}`"));
        }
        Ok(())
    }

    /// `SIG_VALTYPE_ 180 SPEED : 1;`
    fn kind(&mut self, rest: &str) -> Result<(), String> {
        self.in_message = None;
        let words: Vec<&str> =
            rest.split([' ', '\t', ':', ';']).filter(|word| !word.is_empty()).collect();
        let [number, name, kind] = words[..] else {
            return Err("a kind of number is `SIG_VALTYPE_ NUMBER SIGNAL : KIND;`".to_owned());
        };
        let message = number.parse().ok().and_then(|number: u32| self.numbers.get(&number));
        let message = message.and_then(|name| self.messages.get_mut(name));
        let Some(entry) = message.and_then(|message| message.signals.get_mut(name)) else {
            return Ok(());
        };
        if let Ok(signal) = &mut entry.signal {
            signal.number = match (kind, signal.bits) {
                ("0", _) => return Ok(()),
                ("1", 32) => Number::F32,
                ("2", 64) => Number::F64,
                _ => {
                    entry.signal = Err("its kind of number does not fit its bits");
                    return Ok(());
                }
            };
        }
        Ok(())
    }
}

/// `[0|250] …`; without one, and where it is empty as in `[0|0]`, every value is one.
fn range_of(text: &str) -> Option<(f64, f64)> {
    let (range, _rest) = text.trim_start().strip_prefix('[')?.split_once(']')?;
    let (least, most) = range.split_once('|')?;
    let (least, most) = (least.trim().parse().ok()?, most.trim().parse().ok()?);
    (least < most).then_some((least, most))
}

/// `47|16@0+ (0.01,0) [0|250] …`
fn layout_of(text: &str) -> Result<Signal, &'static str> {
    let parsed = || {
        let (start, rest) = text.trim_start().split_once('|')?;
        let (bits, rest) = rest.split_once('@')?;
        let (order, rest) = rest.split_at_checked(1)?;
        let (sign, rest) = rest.split_at_checked(1)?;
        let (factors, rest) = rest.trim_start().strip_prefix('(')?.split_once(')')?;
        let (scale, offset) = factors.split_once(',')?;
        Some(Signal {
            start: start.trim().parse().ok()?,
            bits: bits.trim().parse().ok()?,
            little_endian: match order {
                "1" => true,
                "0" => false,
                _ => return None,
            },
            number: match sign {
                "+" => Number::Unsigned,
                "-" => Number::Signed,
                _ => return None,
            },
            scale: scale.trim().parse().ok()?,
            offset: offset.trim().parse().ok()?,
            range: range_of(rest),
        })
    };
    let signal = parsed().ok_or("its line is not `START|BITS@ORDER± (SCALE,OFFSET)`")?;
    if !(1..=64).contains(&signal.bits) {
        return Err("it has no bits, or more than 64");
    }
    if signal.start >= DATA_BYTES_MAX * 8 || signal.bytes() > DATA_BYTES_MAX {
        return Err("it lies beyond the 64 bytes of a frame");
    }
    if !signal.scale.is_finite() || !signal.offset.is_finite() {
        return Err("its scale or offset is no finite number");
    }
    Ok(signal)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn signal(layout: &str) -> Signal {
        let text = format!("BO_ 1 M: 8 X\n SG_ S : {layout} [0|0] \"\" X\n");
        Dbc::parse("t.dbc", text.as_bytes()).unwrap().signal("M.S").unwrap().1
    }

    #[test]
    fn bits_are_found_in_both_orders() {
        let data = [0x12, 0x34, 0x56, 0x78, 0x9a, 0xbc, 0xde, 0xf0];
        for (layout, want) in [
            ("0|8@1+ (1,0)", 0x12 as f64),
            ("0|16@1+ (1,0)", 0x3412 as f64),
            ("4|8@1+ (1,0)", 0x41 as f64),
            ("7|8@0+ (1,0)", 0x12 as f64),
            ("7|16@0+ (1,0)", 0x1234 as f64),
            ("3|12@0+ (1,0)", 0x234 as f64),
            ("11|8@0+ (1,0)", 0x45 as f64),
            ("63|8@0- (1,0)", -16.0),
            ("56|8@1- (0.5,1)", -7.0),
            ("0|64@1+ (1,0)", 0xf0de_bc9a_7856_3412_u64 as f64),
            ("7|64@0- (1,0)", 0x1234_5678_9abc_def0_i64 as f64),
        ] {
            assert_eq!(signal(layout).decode(&data), Some(want), "{layout}");
        }
    }

    #[test]
    fn a_value_outside_of_its_range_is_none() {
        let decoded = |layout: &str, data: &[u8]| {
            let text = format!("BO_ 1 M: 8 X\n SG_ S : {layout} \"km/h\" X\n");
            let dbc = Dbc::parse("t.dbc", text.as_bytes()).unwrap();
            dbc.signal("M.S").unwrap().1.decode(data)
        };
        let speed = "0|16@1+ (0.01,0) [0|250]";
        assert_eq!(decoded(speed, &[0xff, 0xff]), None);
        assert_eq!(decoded(speed, &25_000u16.to_le_bytes()), Some(250.0));
        // Files are often off by a step: one of 2⁸ steps ends at 255 or at 256.
        assert!(decoded(speed, &25_001u16.to_le_bytes()).is_some());
        assert_eq!(decoded(speed, &25_002u16.to_le_bytes()), None);
        assert_eq!(decoded("0|4@1- (0.1,0) [-0.7|0.7]", &[8]), Some(-0.8));
        assert_eq!(decoded("0|8@1- (-1,0) [-100|100]", &[0x80]), None);
        for none in ["[0|0]", "[]", "[5|1]", "[x|1]", "[NaN|1]", "[0|", ""] {
            let layout = format!("0|16@1+ (1,0) {none}");
            assert_eq!(decoded(&layout, &[0xff, 0xff]), Some(65_535.0), "{none}");
        }
    }

    #[test]
    fn a_frame_that_is_too_short_has_no_value() {
        let speed = signal("47|16@0+ (0.01,0)");
        assert_eq!(speed.decode(&[0; 6]), None);
        assert_eq!(speed.decode(&[0; 7]), Some(0.0));
        assert_eq!(speed.decode(&[]), None);
    }

    /// What is encoded bit by bit is decoded, for every place and length in a frame of 8 bytes.
    #[test]
    fn every_layout_reads_what_was_written() {
        let mut checked = 0;
        for bits in 1..=64u16 {
            for start in 0..64u16 {
                for order in ["0", "1"] {
                    let Ok(signal) = layout_of(&format!("{start}|{bits}@{order}+ (1,0)")) else {
                        continue;
                    };
                    if signal.bytes() > 8 {
                        continue;
                    }
                    let raw = 0xa5c3_96e1_7b2d_480f_u64 >> (64 - bits);
                    let mut data = [0u8; 8];
                    let mut place = start;
                    for index in 0..bits {
                        let shift = if order == "1" { index } else { bits - 1 - index };
                        data[usize::from(place / 8)] |= ((raw >> shift & 1) as u8) << (place % 8);
                        place = match order {
                            "1" => place + 1,
                            _ if place.is_multiple_of(8) => place + 15,
                            _ => place - 1,
                        };
                    }
                    assert_eq!(signal.decode(&data), Some(raw as f64), "{start}|{bits}@{order}");
                    checked += 1;
                }
            }
        }
        assert!(checked > 4000, "{checked}");
    }

    #[test]
    fn floating_point_signals_are_read_and_must_be_finite() {
        let text = "BO_ 1 M: 8 X\n SG_ S : 0|32@1- (2,1) [0|0] \"\" X\nSIG_VALTYPE_ 1 S : 1;\n";
        let (_, signal) = Dbc::parse("t", text.as_bytes()).unwrap().signal("M.S").unwrap();
        assert_eq!(signal.decode(&1.5f32.to_le_bytes()), Some(4.0));
        assert_eq!(signal.decode(&f32::NAN.to_le_bytes()), None);
    }

    #[test]
    fn what_cannot_be_read_is_refused_by_name_and_line() {
        let text = b"BO_ 1 M: 8 X\n SG_ A m1 : 0|8@1+ (1,0) [0|0] \"\" X\n SG_ B : 0|0@1+ (1,0) [0|0] \"\" X\n \
              SG_ C : 500|64@1+ (1,0) [0|0] \"\" X\n SG_ D : x [0|0] \"\" X\n SG_ E M : 0|8@1+ (1,0) [] \"\" X\n";
        let dbc = Dbc::parse("car.dbc", text).unwrap();
        for (name, said) in [
            ("M.A", "multiplexed"),
            ("M.B", "line 3"),
            ("M.C", "64 bytes"),
            ("M.D", "START|BITS"),
            ("M.F", "did you mean `A`"),
            ("N.A", "did you mean `M`"),
            ("MA", "MESSAGE.SIGNAL"),
        ] {
            let error = dbc.signal(name).unwrap_err().to_string();
            assert!(error.contains(said), "{name}: {error}");
        }
        assert!(dbc.signal("M.E").is_ok());
        assert_eq!(dbc.names().collect::<Vec<_>>(), ["M.E"]);
    }

    #[test]
    fn texts_are_no_statements_and_other_encodings_do_not_matter() {
        let text = b"VERSION \"a\"\nBO_ 2147483904 M: 8 X\n SG_ S : 0|8@1+ (1,0) [0|0] \"\xb0\" X\n\
            CM_ SG_ 1 S \"first \\\" line\nBO_ nonsense\n SG_ x\nlast\";\nBO_ 3221225472 VECTOR: 0 X\n SG_ y : z\n";
        let dbc = Dbc::parse("t", text).unwrap();
        let (id, _) = dbc.signal("M.S").unwrap();
        assert_eq!(id, FrameId { number: 256, extended: true });
    }

    /// As every tool writes it: the list names statements that are read here, and says nothing by them.
    #[test]
    fn the_list_of_words_that_files_begin_with_is_no_statement() {
        let head = "VERSION \"\"\n\nNS_ :\n\tNS_DESC_\n\tCM_\n\tSIG_GROUP_\n\tSIG_VALTYPE_\n\tSG_MUL_VAL_\n\nBS_:\n\n";
        let text =
            "BU_: X\nBO_ 1 M: 8 X\n SG_ S : 0|32@1- (1,0) [0|0] \"\" X\nSIG_VALTYPE_ 1 S : 1;\n";
        let dbc = Dbc::parse("car.dbc", format!("{head}{text}").as_bytes()).unwrap();
        assert_eq!(dbc.signal("M.S").unwrap().1.decode(&1.5f32.to_le_bytes()), Some(1.5));
        // One that does say something is held to its form.
        let error = Dbc::parse("car.dbc", format!("{text}SIG_VALTYPE_ 1;").as_bytes()).unwrap_err();
        assert!(error.to_string().contains("car.dbc:5"), "{error}");
    }

    #[test]
    fn wrong_lines_are_named() {
        for (text, said) in [
            ("", "no message"),
            ("BO_ 1 M 8 X\n", "t:1"),
            ("BO_ x M: 8 X\n", "`x`"),
            ("BO_ 1 M: 8 X\nBO_ 2 M: 8 X\n", "t:2: a second message"),
            ("SG_ S : 0|8@1+ (1,0)\n", "outside"),
            ("BO_ 1 M: 8 X\n SG_ S 0|8\n", "t:2"),
            ("BO_ 1 M: 8 X\n SG_ S : 0\n SG_ S : 0\n", "second signal"),
        ] {
            let error = Dbc::parse("t", text.as_bytes()).unwrap_err().to_string();
            assert!(error.contains(said), "{text}: {error}");
        }
    }

    #[test]
    fn one_byte_beyond_the_bound_is_refused() {
        let bytes = vec![b'\n'; DBC_BYTES_MAX as usize + 1];
        assert!(matches!(Dbc::parse("t", &bytes), Err(DbcError::TooLong { .. })));
        assert!(matches!(Dbc::parse("t", &bytes[1..]), Err(DbcError::Empty { .. })));
    }
}
