//! MP4 by the program `ffmpeg`: its raw pictures from one pipe, their container times from its log ([`super::said`]).

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::channel;
use std::thread;

use sha2::{Digest, Sha256};

use super::clock::Ratio;
use super::gather::{Budget, Gathered};
use super::said::{Running, listen};
use super::{ReadError, SIDE_PIXELS_MAX};
use crate::FrameShape;

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

/// Ends the program when it is dropped.
struct Program(Child);

impl Drop for Program {
    fn drop(&mut self) {
        // Both fail only when it has ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Program {
    /// Waits for it to end by itself; how, where that is no success.
    fn end(&mut self) -> Result<(), String> {
        match self.0.wait() {
            Ok(status) if status.success() => Ok(()),
            Ok(status) => Err(status.to_string()),
            Err(error) => Err(error.to_string()),
        }
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
    let mut program = Program(ffmpeg.spawn(path).map_err(run)?);
    let (Some(pictures), Some(log)) = (program.0.stdout.take(), program.0.stderr.take()) else {
        return Err(run(io::Error::other("no pipe")));
    };
    let (say, said) = channel();
    thread::spawn(move || listen(BufReader::new(log), &say));
    let running = Running::new(BufReader::new(pictures), said, || program.end());
    Ok((running.gather(path, shape, rate, budget)?, hash))
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
    fn releases_before_5_1_are_told_apart() {
        assert!(is_before_5_1("ffmpeg version 4.4.2-0ubuntu0.22.04.1 Copyright"));
        assert!(is_before_5_1("ffmpeg version 5.0 Copyright"));
        assert!(!is_before_5_1("ffmpeg version 5.1.9-0+deb12u1 Copyright"));
        assert!(!is_before_5_1("ffmpeg version 7.1 Copyright"));
        assert!(!is_before_5_1("ffmpeg version N-112171-gdef Copyright"));
    }
}
