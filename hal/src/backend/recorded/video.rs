//! MP4 by the program `ffmpeg`: its raw pictures from one pipe, their container times from its log.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::Duration;

use sha2::{Digest, Sha256};

use super::clock::Ratio;
use super::gather::{Budget, Gather, Gathered, check_same_size, check_size};
use super::{ReadError, SIDE_PIXELS_MAX};
use crate::FrameShape;

/// Longest line of ffmpeg's log looked at, bytes; the rest of a longer one is its own line.
const LINE_BYTES_MAX: u64 = 64 * 1024;

/// Lines of errors kept for the message.
const ERRORS_MAX: usize = 3;

/// Longest time without a frame, before ffmpeg counts as hung.
const SILENCE_MAX: Duration = Duration::from_secs(120);

/// The program, found and asked for its version.
#[derive(Clone, Debug)]
pub(super) struct Ffmpeg {
    program: PathBuf,
    /// How this version is told to pass every frame on, none dropped and none repeated.
    passthrough: [&'static str; 2],
}

impl Ffmpeg {
    /// # Errors
    /// When the program cannot be run.
    pub(super) fn find(program: &Path) -> io::Result<Self> {
        let output = Command::new(program).arg("-version").stdin(Stdio::null()).output()?;
        if !output.status.success() {
            return Err(io::Error::other("`-version` failed"));
        }
        let passthrough = if is_before_5_1(&String::from_utf8_lossy(&output.stdout)) {
            ["-vsync", "passthrough"]
        } else {
            ["-fps_mode", "passthrough"]
        };
        Ok(Self { program: program.to_owned(), passthrough })
    }

    /// Decodes the first video stream of the MP4 at `path`, upright, into RGB.
    ///
    /// Only the file itself is opened, as an MP4 and nothing else. The first fault ends it: half a drive
    /// would be cut into other parts than the whole one.
    fn spawn(&self, path: &Path) -> io::Result<Child> {
        let mut file = OsString::from("file:");
        file.push(path);
        // Colours as declared (`auto`; undeclared is BT.601, limited range), rounded to the nearest,
        // the same bytes on every processor; a chroma sample stands for all pixels it covers, so
        // that the mean over an area is that of the samples.
        let filter = "showinfo,scale=in_color_matrix=auto:\
             flags=neighbor+accurate_rnd+full_chroma_int+full_chroma_inp+bitexact,format=rgb24";
        Command::new(&self.program)
            .args(["-hide_banner", "-nostdin", "-nostats", "-loglevel", "repeat+level+info"])
            .args(["-xerror", "-protocol_whitelist", "file,pipe"])
            .args(["-max_pixels", &(SIDE_PIXELS_MAX * SIDE_PIXELS_MAX).to_string()])
            .args(["-f", "mp4", "-i"])
            .arg(file)
            .args(["-map", "0:V:0", "-an", "-sn", "-dn", "-vf", filter])
            .args(self.passthrough)
            .args(["-c:v", "rawvideo", "-f", "rawvideo", "pipe:1"])
            .env_remove("AV_LOG_FORCE_COLOR")
            .env_remove("FFREPORT")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
    }
}

/// Whether `-version` names a release before 5.1, which had another word for passing frames on.
fn is_before_5_1(version: &str) -> bool {
    let Some(word) = version.strip_prefix("ffmpeg version ") else { return false };
    let mut numbers = word.split(|c: char| !c.is_ascii_digit()).map(str::parse::<u32>);
    match (numbers.next(), numbers.next()) {
        (Some(Ok(major)), Some(Ok(minor))) => (major, minor) < (5, 1),
        // A build from a commit: of today.
        _ => false,
    }
}

/// What the log says, in its order.
#[derive(Debug, PartialEq, Eq)]
enum Said {
    /// Times count in this many seconds.
    Unit(Ratio),
    /// The next picture of the pipe.
    Frame(Frame),
    /// Something went wrong.
    Error(String),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Frame {
    pts: Option<i64>,
    width: usize,
    height: usize,
}

/// Ends the program when it is dropped.
struct Running {
    child: Child,
    pictures: BufReader<ChildStdout>,
    said: Receiver<Said>,
    errors: Vec<String>,
}

impl Drop for Running {
    fn drop(&mut self) {
        // Both fail only when it has ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Reads the MP4 at `path`.
pub(super) fn read_video(
    ffmpeg: &Ffmpeg,
    path: &Path,
    shape: FrameShape,
    rate: Ratio,
    budget: &mut Budget,
) -> Result<(Gathered, [u8; 32]), ReadError> {
    let hash = hash_file(path)?;
    let run = |source| ReadError::FfmpegRun { path: path.to_owned(), source };
    let mut child = ffmpeg.spawn(path).map_err(run)?;
    let (Some(pictures), Some(log)) = (child.stdout.take(), child.stderr.take()) else {
        return Err(run(io::Error::other("no pipe")));
    };
    let (say, said) = channel();
    thread::spawn(move || listen(BufReader::new(log), &say));
    let pictures = BufReader::new(pictures);
    let mut running = Running { child, pictures, said, errors: Vec::new() };
    let gathered = gather_frames(&mut running, path, shape, rate, budget)?;
    Ok((gathered, hash))
}

/// A decoded picture that waits for the time of the next one.
struct Waiting {
    rgb: Vec<u8>,
    size: (usize, usize),
    since_first: i64,
}

fn gather_frames(
    running: &mut Running,
    path: &Path,
    shape: FrameShape,
    rate: Ratio,
    budget: &mut Budget,
) -> Result<Gathered, ReadError> {
    let no_frame = || ReadError::NoFrame { path: path.to_owned() };
    let Some(unit) = running.unit().map_err(|why| running.failed(path, 0, why))? else {
        running.end().map_err(|why| running.failed(path, 0, &why))?;
        return Err(no_frame());
    };
    let mut gather = Gather::new(path, shape, rate, unit, budget);
    let (mut frames, mut first_pts) = (0, None);
    let mut waiting: Option<Waiting> = None;
    let mut spare = Vec::new();
    while let Some(frame) = running.frame().map_err(|why| running.failed(path, frames, why))? {
        check_size(path, frame.width, frame.height)?;
        let size = (frame.width, frame.height);
        if let Some(before) = &waiting {
            check_same_size(path, frames, before.size, size)?;
        }
        let mut rgb = std::mem::take(&mut spare);
        rgb.resize(frame.width * frame.height * 3, 0);
        if running.pictures.read_exact(&mut rgb).is_err() {
            let ended = running.end().err().unwrap_or_else(|| "the pictures end early".into());
            return Err(running.failed(path, frames, &ended));
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
    running.end().map_err(|why| running.failed(path, frames, &why))?;
    let last = waiting.ok_or_else(no_frame)?;
    let count = gather.ticks(frames - 1, last.since_first, None)?;
    gather.add(&last.rgb, last.size, None, count);
    Ok(gather.finish())
}

impl Running {
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
        match self.child.wait() {
            Ok(status) if status.success() => Ok(()),
            Ok(status) => Err(status.to_string()),
            Err(error) => Err(error.to_string()),
        }
    }
}

/// Turns the log into what it says, until it ends or nobody listens.
fn listen(mut log: impl BufRead, say: &Sender<Said>) {
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

fn hash_file(path: &Path) -> Result<[u8; 32], ReadError> {
    let failed = |source| ReadError::Io { path: path.to_owned(), source };
    let mut file = File::open(path).map_err(failed)?;
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 1 << 20];
    loop {
        let count = file.read(&mut buffer).map_err(failed)?;
        if count == 0 {
            return Ok(hash.finalize().into());
        }
        hash.update(&buffer[..count]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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

    #[test]
    fn releases_before_5_1_are_told_apart() {
        assert!(is_before_5_1("ffmpeg version 4.4.2-0ubuntu0.22.04.1 Copyright"));
        assert!(is_before_5_1("ffmpeg version 5.0 Copyright"));
        assert!(!is_before_5_1("ffmpeg version 5.1.9-0+deb12u1 Copyright"));
        assert!(!is_before_5_1("ffmpeg version 7.1 Copyright"));
        assert!(!is_before_5_1("ffmpeg version N-112171-gdef Copyright"));
    }
}
