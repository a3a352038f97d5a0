//! Version 1 of the bodies. A released version stays as it is; a change is a new module beside it.

mod header;
mod plan;

pub use header::{
    CHUNK_BYTES_MAX, CHUNKS_MAX, Chunk, PARTICLE_HEADER_BYTES_MAX, ParticleHeader,
    ParticleHeaderFields, RejectParticleHeader, Role, SLOTS,
};
pub use plan::{RejectWindowPlan, WINDOW_PLAN_BYTES_MAX, WindowPlan, WindowPlanFields};
