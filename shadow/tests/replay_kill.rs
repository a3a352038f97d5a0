//! `kill -9` at random moments: the store keeps every span that it acknowledged, and no half of one.
//!
//! This program starts itself as a child that stores spans and says so, kills it with SIGKILL, opens
//! the store and compares it with what the child said. `SHOAL_REPLAY_KILLS` kills more often.

#![expect(clippy::unwrap_used, reason = "a test says what failed by where it stopped")]

use std::collections::BTreeMap;
use std::io::{self, BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::time::Duration;

use shoal_hal::{FrameShape, Motion};
use shoal_shadow::chance::{Draws, Purpose};
use shoal_shadow::clip::Footage;
use shoal_shadow::replay::{
    NewSpan, Priority, Reason, Replay, ReplayOptions, StoredMoment, StoredSpan,
};

const NAME: &str = "killed_store_keeps_every_span_it_acknowledged";
const CHILD_FOLDER: &str = "SHOAL_REPLAY_KILL_FOLDER";
const KILLS: &str = "SHOAL_REPLAY_KILLS";
const SHAPE: FrameShape = FrameShape { width: 128, height: 64 };
const FRAMES: u64 = 30;

/// Five spans fit: from the sixth on every span pushes one out.
const OPTIONS: ReplayOptions = ReplayOptions { bytes_max: 4_000_000, days_max: 30 };

fn main() {
    if let Some(folder) = std::env::var_os(CHILD_FOLDER) {
        child(Path::new(&folder));
    }
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let mut out = io::stdout();
    if arguments.iter().any(|argument| argument == "--list") {
        writeln!(out, "{NAME}: test").unwrap();
    } else if arguments.iter().all(|argument| argument.starts_with('-') || NAME.contains(argument))
    {
        let kills = std::env::var(KILLS).map_or(24, |kills| kills.parse().unwrap());
        let seen = killed_store_keeps_every_span_it_acknowledged(kills);
        writeln!(out, "test {NAME} ... ok ({kills} kills: {seen:?})").unwrap();
    }
}

/// Where the kills hit.
#[derive(Debug, Default)]
struct Seen {
    /// Spans acknowledged before the kills, in all.
    acknowledged: u64,
    /// While a span was being stored: begun and not acknowledged.
    while_storing: u32,
    /// Of those: half a file was left, or a file that the index did not name.
    left_partial: u32,
    left_orphan: u32,
    /// Of those: it was in the store, only the acknowledgement was cut off.
    committed: u32,
}

fn killed_store_keeps_every_span_it_acknowledged(kills: u32) -> Seen {
    let dir = tempfile::tempdir().unwrap();
    let mut seen = Seen::default();
    let mut model = Model::default();
    for kill in 0..kills {
        let mut draws = Draws::new(Purpose::Tuning, 1, kill.into(), 0);
        let acknowledged = run_and_kill(dir.path(), &mut draws);
        for id in &acknowledged.stored {
            assert_eq!(*id, model.next, "kill {kill}");
            model.store();
        }
        seen.acknowledged += acknowledged.stored.len() as u64;

        let (mut replay, report) = Replay::open(dir.path(), &OPTIONS)
            .unwrap_or_else(|error| panic!("kill {kill}: {error:?}"));
        assert_eq!(report.dropped, [], "kill {kill}");
        let ids: Vec<u64> = replay.spans().map(|span| span.id).collect();
        if acknowledged.under_way {
            seen.while_storing += 1;
            seen.left_partial += u32::from(report.partial > 0);
            seen.left_orphan += u32::from(report.orphans > 0);
            if ids.last() == Some(&model.next) {
                seen.committed += 1;
                model.store();
            }
        }
        assert_eq!(ids, model.ids(), "kill {kill}");
        assert_intact(&mut replay, dir.path(), kill);
    }
    // The kills have to hit the store at work, or they prove nothing.
    assert!(seen.while_storing >= kills / 2, "{seen:?}");
    assert!(seen.left_partial + seen.left_orphan >= kills / 8, "{seen:?}");
    seen
}

/// What the store must hold: the five of the highest priority, and the newest.
#[derive(Debug, Default)]
struct Model {
    next: u64,
    spans: BTreeMap<u64, Priority>,
}

impl Model {
    fn store(&mut self) {
        if self.spans.len() == 5 {
            let lowest = self.spans.iter().min_by_key(|(id, priority)| (**priority, **id));
            let lowest = *lowest.unwrap().0;
            self.spans.remove(&lowest);
        }
        self.spans.insert(self.next, priority(self.next));
        self.next += 1;
    }

    fn ids(&self) -> Vec<u64> {
        self.spans.keys().copied().collect()
    }
}

fn assert_intact(replay: &mut Replay, folder: &Path, kill: u32) {
    let spans: Vec<StoredSpan> = replay.spans().copied().collect();
    for span in &spans {
        let read = replay
            .read(span.id, 0..FRAMES as u32)
            .unwrap_or_else(|error| panic!("kill {kill}: {error}"));
        for (index, want) in frames(span.id).iter().enumerate() {
            assert_eq!(read.frame(index), want, "kill {kill}, span {}, frame {index}", span.id);
            assert_eq!(read.motion(index), motion(span.id), "kill {kill}, span {}", span.id);
        }
    }
    let mut want: Vec<String> = spans.iter().map(StoredSpan::file_name).collect();
    want.extend(["index.redb", "key", "lock"].map(String::from));
    want.sort();
    let files = std::fs::read_dir(folder).unwrap();
    let mut names: Vec<String> =
        files.map(|file| file.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    assert_eq!(names, want, "kill {kill}: nothing half there");
}

/// What a child said before it was killed.
#[derive(Default)]
struct Acknowledged {
    stored: Vec<u64>,
    under_way: bool,
}

impl Acknowledged {
    fn hear(&mut self, line: &str) {
        match line.split_once(' ') {
            Some(("begin", _)) => self.under_way = true,
            Some(("stored", id)) => {
                self.stored.push(id.parse().unwrap());
                self.under_way = false;
            }
            Some(_) | None => panic!("the child said {line:?}"),
        }
    }
}

/// Starts a child, waits for some acknowledgements and a random time more, and kills it.
fn run_and_kill(folder: &Path, draws: &mut Draws) -> Acknowledged {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .env(CHILD_FOLDER, folder)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = listen(&mut child);
    let mut heard = Acknowledged::default();
    let wait_for = draws.index(4);
    while heard.stored.len() < wait_for || !heard.under_way {
        heard.hear(&lines.recv_timeout(Duration::from_secs(60)).expect("the child stores spans"));
    }
    // Some moment within this put, or within a later one on a disk that is faster than the wait.
    loop {
        match lines.recv_timeout(Duration::from_secs_f32(draws.between(0.0, 0.08))) {
            Ok(line) => heard.hear(&line),
            Err(RecvTimeoutError::Timeout) => break,
            Err(RecvTimeoutError::Disconnected) => panic!("the child ended by itself"),
        }
    }
    child.kill().unwrap(); // SIGKILL
    let status = child.wait().unwrap();
    assert_eq!(std::os::unix::process::ExitStatusExt::signal(&status), Some(9));
    lines.iter().for_each(|line| heard.hear(&line));
    heard
}

/// The child's lines as they come. A line cut in the middle was not said.
fn listen(child: &mut Child) -> Receiver<String> {
    let (sender, lines) = mpsc::channel();
    let mut out = BufReader::new(child.stdout.take().unwrap());
    std::thread::spawn(move || {
        loop {
            let mut line = String::new();
            match out.read_line(&mut line) {
                Ok(_) if line.ends_with('\n') => {
                    if sender.send(line.trim_end().into()).is_err() {
                        return;
                    }
                }
                Ok(_) | Err(_) => return,
            }
        }
    });
    lines
}

/// Stores spans and says so until it is killed.
fn child(folder: &Path) -> ! {
    let (mut replay, _) = Replay::open(folder, &OPTIONS).unwrap();
    let mut out = io::stdout();
    let mut next = replay.spans().map(|span| span.id + 1).max().unwrap_or(0);
    loop {
        let frames = frames(next);
        let moments: Vec<StoredMoment<'_>> =
            frames.iter().map(|frame| (&frame[..], motion(next))).collect();
        writeln!(out, "begin {next}").and_then(|()| out.flush()).unwrap();
        let stored = replay.put(&NewSpan {
            recorded_at_s: next,
            rate_hz: 10.0,
            shape: SHAPE,
            reason: Reason::Ordinary,
            priority: priority(next),
            moments: &moments,
        });
        next = stored.unwrap().id;
        writeln!(out, "stored {next}").and_then(|()| out.flush()).unwrap();
        next += 1;
    }
}

fn frames(id: u64) -> Vec<Vec<u8>> {
    let frame = |index: u64| {
        let mut draws = Draws::new(Purpose::Tuning, 2, id, index);
        let noise: Vec<u8> = (0..251).map(|_| draws.index(256) as u8).collect();
        noise.iter().copied().cycle().take(SHAPE.bytes()).collect()
    };
    (0..FRAMES).map(frame).collect()
}

fn motion(id: u64) -> Option<Motion> {
    Some(Motion { speed_m_s: Some(id as f32), ..Motion::default() })
}

fn priority(id: u64) -> Priority {
    Priority::from_share(f64::from(Draws::new(Purpose::Tuning, 3, id, 0).unit()))
}
