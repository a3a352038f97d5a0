//! The thread that owns the engine: it measures, codes and tunes, one thing at a time. Tuning gives way to the rest
//! after every step, but for measurements that nobody waits for.

use std::collections::{BTreeSet, VecDeque};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender, TryRecvError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use shoal_hal::backend::files::write_whole;
use shoal_swarm::swarm::{Flat, On, ValuesHash};
use shoal_wire::coding::Quality;
use tracing::{debug, warn};

use super::around::Engine;
use super::bench::{Bench, BenchError};
use super::measured::{Asked, Terms};
use super::weights::{About, CodeError, Coded, code};
use crate::agent::{AgentError, Ask, Learning, Tried, Why};

/// Bytes before the trainer's own in a checkpoint's file: of which adapter, for which window.
const CHECKPOINT_HEAD: usize = 32 + 4;

/// Something to do.
#[derive(Debug)]
pub enum Job {
    /// Train on from an adapter; what was being trained before is left.
    Tune {
        /// The adapter.
        from: Flat,
        /// The window before which this happens: every one draws other batches.
        window: u32,
        /// Seed of the draws.
        seed: u64,
        /// A moment that has passed for certain, UTC in seconds: what was too old then is forgotten first.
        passed_s: u64,
    },
    /// Measure an adapter, beside another.
    Measure {
        /// Names the answer.
        job: u64,
        /// The adapter.
        candidate: Flat,
        /// The other.
        beside: Option<Flat>,
        /// On what.
        on: On,
        /// By what, as the document has it; where it says nothing, by what the first pack is of.
        asked: Vec<Asked>,
        /// Whether anybody waits for it: else tuning goes first.
        awaited: bool,
    },
    /// Code a particle.
    Code {
        /// Names the answer.
        job: u64,
        /// What it says of itself.
        about: About,
        /// What it means: a difference to its reference.
        difference: Flat,
        /// At how many bits a value.
        quality: Quality,
    },
    /// Put an adapter on trial, as a campaign asks.
    Try {
        /// The adapter.
        adapter: Flat,
        /// What is asked for.
        ask: Ask,
    },
    /// Go back to what was active before the campaign of this number, for this reason.
    GoBack(u32, Why),
    /// Whether tuning may go on: the vehicle's conditions.
    MayTune(bool),
}

/// Something that was done.
#[derive(Debug)]
pub enum Done {
    /// An adapter was trained.
    Tuned {
        /// From this one…
        from: ValuesHash,
        /// …before this window.
        window: u32,
        /// What came of it.
        values: Flat,
        /// Steps taken.
        steps: u32,
        /// Mean loss of the steps; `None`: there was nothing to train on.
        loss: Option<f32>,
        /// How long it took, without what came between.
        seconds: f64,
    },
    /// Some steps of training were taken.
    Step {
        /// Steps taken so far.
        step: u32,
        /// Loss of the last.
        loss: f32,
    },
    /// A measurement.
    Measured {
        /// Of the job.
        job: u64,
        /// What was measured; nothing where there is nothing to measure on.
        terms: Terms,
        /// How long it took.
        seconds: f64,
    },
    /// A particle.
    Coded {
        /// Of the job.
        job: u64,
        /// It; or why there is none.
        coded: Box<Result<Coded, CodeError>>,
        /// How long it took.
        seconds: f64,
    },
    /// How the vehicle stands to a campaign, after a job that changes it; `None`: it knows of none.
    Tried(Option<Tried>),
    /// A job failed: the vehicle goes on, its engine or disk may not.
    Failed {
        /// Of the job, if it was a measurement.
        job: Option<u64>,
        /// Why.
        error: BenchError,
    },
}

/// The thread; dropped, it ends after the step or measurement that it is at, and begins no other. What a campaign ordered is done.
pub struct Worker {
    ended: Arc<AtomicBool>,
    jobs: Option<Sender<Job>>,
    done: Receiver<Done>,
    thread: Option<JoinHandle<()>>,
    /// Jobs of measuring and coding that are not answered.
    open: usize,
    /// Those of them that nobody waits for.
    unhurried: BTreeSet<u64>,
}

impl Worker {
    /// Starts the thread. Checkpoints of training go to `folder`.
    ///
    /// # Errors
    /// The system has no thread.
    pub fn start(bench: Bench, folder: &Path) -> io::Result<Self> {
        let (jobs, todo) = mpsc::channel();
        let (tell, done) = mpsc::channel();
        let tensors = bench.tensors();
        let (held, later) = (VecDeque::new(), VecDeque::new());
        let path = folder.join("tuning");
        let ended = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&ended);
        let work =
            Work { ended: told, bench, tensors, todo, held, later, tell, may_tune: true, path };
        let thread = thread::Builder::new().name("engine".to_owned());
        let thread = thread.spawn(move || work.run())?;
        let (open, unhurried) = (0, BTreeSet::new());
        Ok(Worker { ended, jobs: Some(jobs), done, thread: Some(thread), open, unhurried })
    }
}

impl Engine for Worker {
    fn give(&mut self, job: Job) {
        if let Job::Measure { .. } | Job::Code { .. } = job {
            self.open = self.open.saturating_add(1);
        }
        if let Job::Measure { job, awaited: false, .. } = job {
            self.unhurried.insert(job);
        }
        // Without its thread the next look at what is done says so.
        if let Some(jobs) = &self.jobs {
            let _ended = jobs.send(job);
        }
    }

    fn busy(&self) -> bool {
        self.open > self.unhurried.len()
    }

    fn idle(&self) -> bool {
        self.open == 0
    }

    fn next(&mut self, wait: Duration) -> Result<Option<Done>, EngineEnded> {
        let done = match self.done.recv_timeout(wait) {
            Ok(done) => done,
            Err(RecvTimeoutError::Timeout) => return Ok(None),
            Err(RecvTimeoutError::Disconnected) => return Err(EngineEnded),
        };
        if let Done::Measured { job, .. }
        | Done::Coded { job, .. }
        | Done::Failed { job: Some(job), .. } = done
        {
            self.open = self.open.saturating_sub(1);
            self.unhurried.remove(&job);
        }
        Ok(Some(done))
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Relaxed);
        self.jobs = None;
        if let Some(thread) = self.thread.take() {
            let _panicked = thread.join();
        }
    }
}

/// The engine's thread panicked: a bug.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the thread of the engine has ended")]
pub struct EngineEnded;

/// The thread's own.
struct Work {
    /// Nothing long is begun any more.
    ended: Arc<AtomicBool>,
    bench: Bench,
    tensors: Vec<u32>,
    todo: Receiver<Job>,
    /// What was given and is not begun: looked through for what is measured together.
    held: VecDeque<Job>,
    /// What nobody waits for, while there is tuning to do.
    later: VecDeque<Job>,
    tell: Sender<Done>,
    may_tune: bool,
    path: PathBuf,
}

/// An adapter in training.
struct Training {
    from: Flat,
    window: u32,
    seed: u64,
    passed_s: u64,
}

/// Nobody listens any more.
struct Quit;

impl Work {
    fn run(mut self) {
        let mut next = None;
        loop {
            let done = match next.take() {
                Some(training) => self.train(training),
                None => self.wait().and_then(|job| self.act(job)),
            };
            match done {
                Ok(training) => next = training,
                Err(Quit) => return,
            }
        }
    }

    /// The next job when there is nothing to train.
    fn wait(&mut self) -> Result<Job, Quit> {
        match self.later.pop_front().or_else(|| self.held.pop_front()) {
            Some(job) => Ok(job),
            None => self.todo.recv().map_err(|_ended| Quit),
        }
    }

    /// Does a job; training is given back, to be gone on with.
    fn act(&mut self, job: Job) -> Result<Option<Training>, Quit> {
        let is_long = matches!(job, Job::Tune { .. } | Job::Measure { .. } | Job::Code { .. });
        if is_long && self.ended.load(Ordering::Relaxed) {
            return Ok(None);
        }
        let started = now();
        let seconds = || started.elapsed().as_secs_f64();
        match job {
            Job::Tune { from, window, seed, passed_s } => {
                return Ok(Some(Training { from, window, seed, passed_s }));
            }
            Job::MayTune(may) => self.may_tune = may,
            Job::Measure { job, candidate, beside, on, asked, awaited } => {
                self.measure_ahead((&candidate, beside.as_ref()), on, &asked, awaited);
                let measured = self.bench.measure(&candidate, beside.as_ref(), on, &asked);
                self.say(match measured {
                    Ok(terms) => Done::Measured { job, terms, seconds: seconds() },
                    Err(error) => Done::Failed { job: Some(job), error },
                })?;
            }
            Job::Code { job, about, difference, quality } => {
                let coded = Box::new(code(about, difference.to_vec(), &self.tensors, quality));
                self.say(Done::Coded { job, coded, seconds: seconds() })?;
            }
            Job::Try { adapter, ask } => {
                let tried = self
                    .bench
                    .adapter(&adapter)
                    .and_then(|adapter| Ok(self.bench.agent().put_on_trial(&adapter, ask)?));
                self.tried(tried.map(Some))?;
            }
            Job::GoBack(number, why) => {
                let back = self.bench.agent().go_back(number, why);
                self.tried(back.map_err(BenchError::from))?;
            }
        }
        Ok(None)
    }

    /// Measures what is asked for together with what waits to be measured on the same: each is answered in its turn.
    fn measure_ahead(
        &mut self,
        (candidate, beside): (&Flat, Option<&Flat>),
        on: On,
        by: &[Asked],
        awaited: bool,
    ) {
        while let Ok(job) = self.todo.try_recv() {
            self.held.push_back(job);
        }
        let mut asked: Vec<&Flat> = std::iter::once(candidate).chain(beside).collect();
        for job in self.held.iter().chain(&self.later) {
            if let Job::Measure { candidate, beside, on: other, awaited: waits, .. } = job
                && (*other, *waits) == (on, awaited)
            {
                asked.push(candidate);
                asked.extend(beside);
            }
        }
        if let Err(error) = self.bench.measure_ahead(&asked, on, by) {
            // Which of them it was, each says in its turn.
            debug!(?error, "adapters are measured one by one");
        }
    }

    /// The next job that was given, if any waits.
    fn next(&mut self) -> Result<Job, TryRecvError> {
        self.held.pop_front().map_or_else(|| self.todo.try_recv(), Ok)
    }

    /// Says how the vehicle stands to a campaign; where that failed, it is as it was.
    fn tried(&mut self, tried: Result<Option<Tried>, BenchError>) -> Result<(), Quit> {
        match tried {
            Ok(tried) => self.say(Done::Tried(tried)),
            Err(error) => {
                self.say(Done::Failed { job: None, error })?;
                let tried = self.bench.agent().tried().unwrap_or_default();
                self.say(Done::Tried(tried))
            }
        }
    }

    /// Trains an adapter to its end, or until another one is to be trained.
    fn train(&mut self, training: Training) -> Result<Option<Training>, Quit> {
        let of = self.bench.agent().config().night.steps;
        match self.steps(&training, of) {
            Ok(Stepped::Another(other)) => Ok(Some(other)),
            Ok(Stepped::Done { values, loss, seconds, steps }) => {
                let from = ValuesHash::of(&training.from);
                self.say(Done::Tuned {
                    from,
                    window: training.window,
                    values,
                    steps,
                    loss,
                    seconds,
                })?;
                Ok(None)
            }
            Err(Interrupted::Failed(error)) => {
                self.say(Done::Failed { job: None, error })?;
                Ok(None)
            }
            Err(Interrupted::Quit(quit)) => Err(quit),
        }
    }

    fn steps(&mut self, training: &Training, of: u32) -> Result<Stepped, Interrupted> {
        let Training { from, window, seed, passed_s } = training;
        let mut spent = Duration::ZERO;
        let begun = now();
        self.bench.agent().forget_old(*passed_s)?;
        let roads = self.bench.roads()?;
        let Some(mut learning) = self.bench.learning(&roads, from, *seed)? else {
            let values = from.clone();
            return Ok(Stepped::Done { values, loss: None, seconds: 0.0, steps: 0 });
        };
        let head = [&ValuesHash::of(from).bytes()[..], &window.to_le_bytes()].concat();
        self.resume(&mut learning, &head);
        spent += begun.elapsed();
        let slice = u64::from(self.bench.agent().config().night.slice.max(1));
        let (mut sum, mut taken) = (0.0_f64, 0_u32);
        while learning.step_count() < u64::from(of) {
            if let Some(other) = self.meanwhile()? {
                return Ok(Stepped::Another(other));
            }
            let begun = now();
            let loss = step(&mut learning)?;
            (sum, taken) = (sum + f64::from(loss), taken.saturating_add(1));
            let step = learning.step_count();
            if step.is_multiple_of(slice) && step < u64::from(of) {
                self.checkpoint(&head, &learning.checkpoint().map_err(AgentError::from)?);
            }
            spent += begun.elapsed();
            self.say(Done::Step { step: step as u32, loss })?;
        }
        let values: Flat = Arc::from(learning.adapter().map_err(AgentError::from)?.values());
        let loss = (taken > 0).then(|| (sum / f64::from(taken)) as f32);
        Ok(Stepped::Done { values, loss, seconds: spent.as_secs_f64(), steps: of })
    }

    /// Goes on where a cut left this very training; where that cannot be used, it begins anew.
    fn resume(&self, learning: &mut Learning<'_>, head: &[u8]) {
        let Ok(bytes) = std::fs::read(&self.path) else { return };
        let Some((of, checkpoint)) = bytes.split_at_checked(CHECKPOINT_HEAD) else { return };
        if of != head {
            return;
        }
        if let Err(error) = learning.resume(checkpoint) {
            let path = self.path.display();
            warn!(%path, %error, "a checkpoint cannot be used and is removed: training begins anew");
            // One that stays is written over.
            let _stays = std::fs::remove_file(&self.path);
        }
    }

    /// Keeps how far the training is; where that cannot be kept, a cut costs the steps until there.
    fn checkpoint(&self, head: &[u8], checkpoint: &[u8]) {
        if let Err(error) = write_whole(&self.path, &[head, checkpoint].concat()) {
            let path = self.path.display();
            warn!(%path, %error, "a checkpoint is not kept: training goes on without it");
        }
    }

    /// Does what waits, and waits while tuning may not go on.
    fn meanwhile(&mut self) -> Result<Option<Training>, Quit> {
        loop {
            let job = if self.may_tune {
                match self.next() {
                    Ok(job) => job,
                    Err(TryRecvError::Empty) => return Ok(None),
                    Err(TryRecvError::Disconnected) => return Err(Quit),
                }
            } else {
                self.wait()?
            };
            if self.may_tune && matches!(job, Job::Measure { awaited: false, .. }) {
                self.later.push_back(job);
                continue;
            }
            if let Some(other) = self.act(job)? {
                return Ok(Some(other));
            }
        }
    }

    fn say(&self, done: Done) -> Result<(), Quit> {
        self.tell.send(done).map_err(|_ended| Quit)
    }
}

/// How training went.
enum Stepped {
    Done { values: Flat, loss: Option<f32>, seconds: f64, steps: u32 },
    Another(Training),
}

/// Why training did not go to its end.
enum Interrupted {
    Failed(BenchError),
    Quit(Quit),
}

impl<E: Into<BenchError>> From<E> for Interrupted {
    fn from(error: E) -> Self {
        Interrupted::Failed(error.into())
    }
}

impl From<Quit> for Interrupted {
    fn from(quit: Quit) -> Self {
        Interrupted::Quit(quit)
    }
}

fn step(learning: &mut Learning<'_>) -> Result<f32, AgentError> {
    Ok(learning.run(1, |_report| {})?)
}

#[expect(
    clippy::disallowed_methods,
    reason = "how long a stage took is for people and decides nothing"
)]
fn now() -> Instant {
    Instant::now()
}

#[cfg(test)]
mod tests;
