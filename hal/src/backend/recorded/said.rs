//! What the program that decodes videos says: the times and sizes of pictures in its log, the pictures themselves in another pipe.
//! A video is anybody's, and so is what its decoder makes of it: nothing is believed for its length.

use std::io::{self, BufRead, Read};
use std::path::Path;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::Duration;

use super::ReadError;
use super::clock::Ratio;
use super::gather::{Budget, Gather, Gathered, check_same_size, check_size};
use crate::FrameShape;

/// Longest line of ffmpeg's log looked at, bytes; the rest of a longer one is its own line.
const LINE_BYTES_MAX: u64 = 64 * 1024;

/// Lines of errors kept for the message.
const ERRORS_MAX: usize = 3;

/// Longest time without a frame, before ffmpeg counts as hung.
const SILENCE_MAX: Duration = Duration::from_secs(120);

/// Frames of `shape` at `rate_hz`, one after the other, of a program that said so much and wrote these pictures, of which at
/// most `bytes_max` bytes are kept.
///
/// # Errors
/// As a video that cannot be read, or when `rate_hz` is none that is ([`ReadError::NoFrame`]).
pub fn frames_said(
    log: impl BufRead,
    pictures: impl Read,
    (shape, rate_hz): (FrameShape, f64),
    bytes_max: u64,
) -> Result<Vec<u8>, ReadError> {
    let path = Path::new("video.mp4");
    let no_frame = || ReadError::NoFrame { path: path.to_owned() };
    let rate = Ratio::of_rate(rate_hz).ok_or_else(no_frame)?;
    let (say, said) = channel();
    listen(log, &say);
    drop(say);
    let mut budget = Budget { bytes_left: bytes_max };
    let running = Running::new(pictures, said, || Ok(()));
    Ok(running.gather(path, shape, rate, &mut budget)?.frames)
}

/// What the log says, in its order.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Said {
    /// Times count in this many seconds.
    Unit(Ratio),
    /// The next picture of the pipe.
    Frame(Frame),
    /// Something went wrong.
    Error(String),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Frame {
    pts: Option<i64>,
    width: usize,
    height: usize,
}

/// A program that decodes: its pictures, what its log says, and how it ends.
pub(super) struct Running<P, E> {
    pictures: P,
    said: Receiver<Said>,
    errors: Vec<String>,
    end: E,
}

/// A decoded picture that waits for the time of the next one.
struct Waiting {
    rgb: Vec<u8>,
    size: (usize, usize),
    since_first: i64,
}

impl<P: Read, E: FnMut() -> Result<(), String>> Running<P, E> {
    pub(super) fn new(pictures: P, said: Receiver<Said>, end: E) -> Self {
        Self { pictures, said, errors: Vec::new(), end }
    }

    /// The frames of what it decodes, which is at `path`.
    pub(super) fn gather(
        mut self,
        path: &Path,
        shape: FrameShape,
        rate: Ratio,
        budget: &mut Budget,
    ) -> Result<Gathered, ReadError> {
        let no_frame = || ReadError::NoFrame { path: path.to_owned() };
        let Some(unit) = self.unit().map_err(|why| self.failed(path, 0, why))? else {
            self.end().map_err(|why| self.failed(path, 0, &why))?;
            return Err(no_frame());
        };
        let mut gather = Gather::new(path, shape, rate, unit, budget);
        let (mut frames, mut first_pts) = (0, None);
        let mut waiting: Option<Waiting> = None;
        let mut spare = Vec::new();
        while let Some(frame) = self.frame().map_err(|why| self.failed(path, frames, why))? {
            check_size(path, frame.width, frame.height)?;
            let size = (frame.width, frame.height);
            if let Some(before) = &waiting {
                check_same_size(path, frames, before.size, size)?;
            }
            let mut rgb = std::mem::take(&mut spare);
            // Memory is taken for what comes, not for what the log says.
            rgb.clear();
            let bytes = frame.width * frame.height * 3;
            let read = self.pictures.by_ref().take(bytes as u64).read_to_end(&mut rgb);
            if read.is_err() || rgb.len() != bytes {
                let ended = self.end().err().unwrap_or_else(|| "the pictures end early".into());
                return Err(self.failed(path, frames, &ended));
            }
            let back = || ReadError::TimeWentBack { path: path.to_owned(), frame: frames };
            let pts = frame.pts.ok_or_else(back)?;
            let since_first = pts.checked_sub(*first_pts.get_or_insert(pts)).ok_or_else(back)?;
            if let Some(before) = waiting.take() {
                if since_first < before.since_first {
                    return Err(back());
                }
                let count = gather.ticks(frames - 1, before.since_first, Some(since_first))?;
                gather.add(&before.rgb, before.size, None, count);
                spare = before.rgb;
            }
            waiting = Some(Waiting { rgb, size, since_first });
            frames += 1;
        }
        self.end().map_err(|why| self.failed(path, frames, &why))?;
        let last = waiting.ok_or_else(no_frame)?;
        let count = gather.ticks(frames - 1, last.since_first, None)?;
        gather.add(&last.rgb, last.size, None, count);
        Ok(gather.finish())
    }

    /// The error of a video that ended after `frames` frames: ffmpeg's own words, if it had any.
    fn failed(&self, path: &Path, frames: usize, otherwise: &str) -> ReadError {
        let said = self.errors.join("; ");
        let message = if said.is_empty() { otherwise.to_owned() } else { said };
        ReadError::Video { path: path.to_owned(), frames, message }
    }

    /// The next thing said that is no error; `None` at the end of the log.
    fn next(&mut self) -> Result<Option<Said>, &'static str> {
        loop {
            match self.said.recv_timeout(SILENCE_MAX) {
                Ok(Said::Error(line)) => {
                    if self.errors.len() < ERRORS_MAX {
                        self.errors.push(line);
                    }
                }
                Ok(said @ (Said::Unit(_) | Said::Frame(_))) => return Ok(Some(said)),
                Err(RecvTimeoutError::Disconnected) => return Ok(None),
                Err(RecvTimeoutError::Timeout) => return Err("no frame for two minutes"),
            }
        }
    }

    /// The unit of time, which is said before the first frame.
    fn unit(&mut self) -> Result<Option<Ratio>, &'static str> {
        match self.next()? {
            Some(Said::Unit(unit)) => Ok(Some(unit)),
            Some(Said::Frame(_) | Said::Error(_)) => Err("a frame came before its unit of time"),
            None => Ok(None),
        }
    }

    /// The next picture; `None` at the end.
    fn frame(&mut self) -> Result<Option<Frame>, &'static str> {
        loop {
            match self.next()? {
                Some(Said::Frame(frame)) => return Ok(Some(frame)),
                // Said again when the size of the pictures changes: the size of the next one tells.
                Some(Said::Unit(_) | Said::Error(_)) => {}
                None => return Ok(None),
            }
        }
    }

    /// Waits for the program to end, and reads its log to the end.
    fn end(&mut self) -> Result<(), String> {
        while self.next().map_err(str::to_owned)?.is_some() {}
        let mut more = [0];
        match self.pictures.read(&mut more) {
            Ok(0) => {}
            Ok(_) => return Err("more pictures than its log names".into()),
            Err(error) => return Err(error.to_string()),
        }
        (self.end)()
    }
}

/// Turns the log into what it says, until it ends or nobody listens.
pub(super) fn listen(mut log: impl BufRead, say: &Sender<Said>) {
    let mut line = Vec::new();
    loop {
        line.clear();
        match log.by_ref().take(LINE_BYTES_MAX).read_until(b'\n', &mut line) {
            Ok(0) | Err(_) => return,
            Ok(_) => {}
        }
        if let Some(said) = parse(String::from_utf8_lossy(&line).trim_end())
            && say.send(said).is_err()
        {
            // Nobody listens; ffmpeg must still be able to write until it is ended.
            let _ = io::copy(&mut log, &mut io::sink());
            return;
        }
    }
}

fn parse(line: &str) -> Option<Said> {
    if line.starts_with("[Parsed_showinfo_") {
        let (_, text) = line.split_once("[info] ")?;
        if let Some(config) = text.strip_prefix("config in time_base:") {
            let (num, den) = config.split(',').next()?.trim().split_once('/')?;
            let (num, den) = (num.parse().ok()?, den.parse().ok()?);
            let valid = (1..=i128::from(u32::MAX)).contains(&num)
                && (1..=i128::from(u32::MAX)).contains(&den);
            return valid.then_some(Said::Unit(Ratio { num, den }));
        }
        let numbered = text.strip_prefix("n:")?;
        let word = |key: &str| {
            let (_, rest) = numbered.split_once(key)?;
            rest.split_whitespace().next()
        };
        let (width, height) = word(" s:")?.split_once('x')?;
        let (width, height) = (width.parse().ok()?, height.parse().ok()?);
        return Some(Said::Frame(Frame { pts: word(" pts:")?.parse().ok(), width, height }));
    }
    let wrong = ["[error] ", "[fatal] ", "[panic] "];
    let (at, mark) = wrong.iter().find_map(|mark| Some((line.find(mark)?, mark)))?;
    Some(Said::Error(line[at + mark.len()..].chars().take(300).collect()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHAPE: FrameShape = FrameShape { width: 1, height: 1 };
    const UNIT: &str =
        "[Parsed_showinfo_0 @ 0x1] [info] config in time_base: 1/10, frame_rate: 10/1\n";

    fn line(n: usize, pts: i64, size: &str) -> String {
        format!("[Parsed_showinfo_0 @ 0x1] [info] n:{n:4} pts:{pts:7} pts_time:0 s:{size} i:P\n")
    }

    #[test]
    fn as_many_pictures_as_the_log_names_are_frames_and_none_else() {
        let log = [UNIT, &line(0, 5, "2x1"), &line(1, 6, "2x1")].concat();
        let read =
            |log: &str, pictures: &[u8]| frames_said(log.as_bytes(), pictures, (SHAPE, 10.0), 100);
        let pictures = [10, 20, 30, 10, 20, 30, 4, 5, 6, 4, 5, 6];
        assert_eq!(read(&log, &pictures).unwrap(), [10, 20, 30, 4, 5, 6]);
        for pictures in [&pictures[..11], &[&pictures[..], &[0]].concat()] {
            assert!(matches!(read(&log, pictures), Err(ReadError::Video { .. })));
        }
    }

    /// A picture of the largest size that is read has 201 MB.
    #[test]
    fn no_memory_is_taken_for_pictures_that_do_not_come() {
        let log = [UNIT, &line(0, 0, "8192x8192")].concat();
        let (say, said) = channel();
        listen(log.as_bytes(), &say);
        drop(say);
        let (mut rgb, mut budget) = (0, Budget { bytes_left: 100 });
        struct Ends<'a>(&'a mut usize);
        impl Read for Ends<'_> {
            fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
                *self.0 = into.len().max(*self.0);
                Ok(0)
            }
        }
        let running = Running::new(Ends(&mut rgb), said, || Ok(()));
        let rate = Ratio::of_rate(10.0).unwrap();
        assert!(running.gather(Path::new("v"), SHAPE, rate, &mut budget).is_err());
        assert!(rgb <= 1 << 16, "{rgb} bytes at once");
    }

    #[test]
    fn a_line_of_the_log_gives_time_and_size_of_a_frame() {
        let line = "[Parsed_showinfo_0 @ 0x5640] [info] n:   2 pts:   2048 pts_time:0.2     pos:  \
                    14659 fmt:yuv420p sar:0/1 s:320x160 i:P iskey:0 type:P checksum:6C9A6322";
        assert_eq!(
            parse(line),
            Some(Said::Frame(Frame { pts: Some(2048), width: 320, height: 160 }))
        );
        let unknown = line.replace("2048", "NOPTS");
        assert_eq!(
            parse(&unknown),
            Some(Said::Frame(Frame { pts: None, width: 320, height: 160 }))
        );
        let unit =
            "[Parsed_showinfo_0 @ 0x5640] [info] config in time_base: 1/10240, frame_rate: 10/1";
        assert_eq!(parse(unit), Some(Said::Unit(Ratio { num: 1, den: 10_240 })));
    }

    #[test]
    fn lines_that_say_nothing_or_lie_are_left_out() {
        for line in [
            "",
            "[Parsed_showinfo_0 @ 0x5640] [info] config out time_base: 0/0, frame_rate: 0/0",
            "[Parsed_showinfo_0 @ 0x5640] [info] config in time_base: 0/0, frame_rate: 0/0",
            "[Parsed_showinfo_0 @ 0x5640] [info] n:   2 pts:   2048 s:-3x99999999999999999999999",
            "[info]     title   : [Parsed_showinfo_0 @ 0] [info] n: 0 pts: 0 s:1x1",
            "[Parsed_showinfo_0",
        ] {
            assert_eq!(parse(line), None, "{line}");
        }
        let error = parse("[mov,mp4 @ 0x55] [error] moov atom not found");
        assert_eq!(error, Some(Said::Error("moov atom not found".into())));
    }
}
