//! Sessions on an accelerator, of which a program's threads have several.
//!
//! In a session's first run cuDNN captures streams to time its kernels, and so does ONNX Runtime where runs are replayed. While
//! one thread captures, CUDA refuses to all others of the program what waits for the device or frees its memory: error 900,
//! "operation not permitted when stream is capturing". So a first run is alone on the accelerator, and everything else is
//! beside what captures nothing.

use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use crate::engine::{EngineError, Placement, Session, TensorPort};
use crate::onnx::Element;

static ACCELERATOR: RwLock<()> = RwLock::new(());

const THERE: &str = "a session is there until it is dropped";

/// Nobody else is on the accelerator meanwhile.
fn alone() -> RwLockWriteGuard<'static, ()> {
    ACCELERATOR.write().unwrap_or_else(PoisonError::into_inner)
}

/// Nobody makes a first run meanwhile.
pub(super) fn beside() -> RwLockReadGuard<'static, ()> {
    ACCELERATOR.read().unwrap_or_else(PoisonError::into_inner)
}

/// A session on an accelerator, which waits for its turn there.
pub(super) struct InTurn<S: Session> {
    /// There until it is dropped.
    session: Option<S>,
    /// Whether the first run is over.
    ran: bool,
}

impl<S: Session> InTurn<S> {
    pub(super) fn new(session: S) -> Self {
        Self { session: Some(session), ran: false }
    }

    fn session(&self) -> &S {
        self.session.as_ref().expect(THERE)
    }

    fn session_mut(&mut self) -> &mut S {
        self.session.as_mut().expect(THERE)
    }
}

impl<S: Session> Drop for InTurn<S> {
    fn drop(&mut self) {
        let _turn = beside();
        drop(self.session.take());
    }
}

impl<S: Session> Session for InTurn<S> {
    fn inputs(&self) -> &[TensorPort] {
        self.session().inputs()
    }

    fn outputs(&self) -> &[TensorPort] {
        self.session().outputs()
    }

    fn write_bytes(
        &mut self,
        input: usize,
        element: Element,
        bytes: &[u8],
    ) -> Result<(), EngineError> {
        let _turn = beside();
        self.session_mut().write_bytes(input, element, bytes)
    }

    fn input_f32(&mut self, input: usize) -> Option<&mut [f32]> {
        self.session_mut().input_f32(input)
    }

    fn run(&mut self) -> Result<(), EngineError> {
        if self.ran {
            let _turn = beside();
            return self.session_mut().run();
        }
        let _turn = alone();
        self.session_mut().run()?;
        self.ran = true;
        Ok(())
    }

    fn output_bytes(&self, output: usize) -> Result<&[u8], EngineError> {
        self.session().output_bytes(output)
    }

    fn output_f32(&self, output: usize) -> Result<&[f32], EngineError> {
        self.session().output_f32(output)
    }

    fn output_i64(&self, output: usize) -> Result<&[i64], EngineError> {
        self.session().output_i64(output)
    }

    fn copy_output_to_input(&mut self, output: usize, input: usize) -> Result<(), EngineError> {
        let _turn = beside();
        self.session_mut().copy_output_to_input(output, input)
    }

    fn fetch_f32(&mut self, output: usize, into: &mut [f32]) -> Result<(), EngineError> {
        let _turn = beside();
        self.session_mut().fetch_f32(output, into)
    }

    fn proven(&self) -> &Placement {
        self.session().proven()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::thread;

    use super::*;

    /// Counts who is on the accelerator, and meets the others there if it is told to.
    struct Counted<'a> {
        there: &'a AtomicUsize,
        runs: usize,
        meet: &'a Barrier,
        placement: Placement,
    }

    impl Session for Counted<'_> {
        fn inputs(&self) -> &[TensorPort] {
            &[]
        }

        fn outputs(&self) -> &[TensorPort] {
            &[]
        }

        fn write_bytes(&mut self, _: usize, _: Element, _: &[u8]) -> Result<(), EngineError> {
            self.there.fetch_add(1, Ordering::SeqCst);
            self.there.fetch_sub(1, Ordering::SeqCst);
            Ok(())
        }

        fn input_f32(&mut self, _: usize) -> Option<&mut [f32]> {
            None
        }

        fn run(&mut self) -> Result<(), EngineError> {
            self.runs += 1;
            let others = self.there.fetch_add(1, Ordering::SeqCst);
            if self.runs == 1 {
                assert_eq!(others, 0, "a first run has company");
                (0..200).for_each(|_| thread::yield_now());
                assert_eq!(self.there.load(Ordering::SeqCst), 1, "company came");
            } else {
                // Alone, this would wait for ever.
                self.meet.wait();
            }
            self.there.fetch_sub(1, Ordering::SeqCst);
            Ok(())
        }

        fn output_bytes(&self, _: usize) -> Result<&[u8], EngineError> {
            Ok(&[])
        }

        fn output_f32(&self, _: usize) -> Result<&[f32], EngineError> {
            Ok(&[])
        }

        fn output_i64(&self, _: usize) -> Result<&[i64], EngineError> {
            Ok(&[])
        }

        fn copy_output_to_input(&mut self, _: usize, _: usize) -> Result<(), EngineError> {
            Ok(())
        }

        fn proven(&self) -> &Placement {
            &self.placement
        }
    }

    impl Drop for Counted<'_> {
        fn drop(&mut self) {
            self.there.fetch_add(1, Ordering::SeqCst);
            self.there.fetch_sub(1, Ordering::SeqCst);
        }
    }

    #[test]
    fn first_runs_are_alone_and_later_ones_side_by_side() {
        const THREADS: usize = 4;
        let (there, meet) = (AtomicUsize::new(0), Barrier::new(THREADS));
        thread::scope(|scope| {
            for _ in 0..THREADS {
                scope.spawn(|| {
                    let counted = || {
                        let (there, meet) = (&there, &meet);
                        InTurn::new(Counted {
                            there,
                            runs: 0,
                            meet,
                            placement: Placement::default(),
                        })
                    };
                    // What comes and goes is not in the way of first runs of others.
                    for _ in 0..3 {
                        let mut passing = counted();
                        passing.write_bytes(0, Element::F32, &[]).unwrap();
                        passing.run().unwrap();
                    }
                    let mut session = counted();
                    session.run().unwrap();
                    meet.wait();
                    session.run().unwrap();
                });
            }
        });
    }
}
