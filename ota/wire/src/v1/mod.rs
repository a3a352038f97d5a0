//! Version 1 of the bodies. A released version stays as it is; a change is a new module beside it.

mod check;
mod claim;
mod document;
mod header;
mod nonce;
mod plan;
mod presence;
mod refusal;
mod roster;
mod swarm;
mod utility;
mod vote;

pub use check::{PARTS, RejectTerms, TERM_VALUE_MAX, TERMS_MAX};
pub use claim::{CLAIM_BYTES_MAX, Claim, ClaimFields, Measured, RejectClaim};
pub use document::{
    DOCUMENT_BYTES_MAX, DOCUMENT_CONTENT_BYTES_MAX, DOCUMENT_NAME_BYTES_MAX, Document,
    DocumentFields, METADATA_NAME, METADATA_SLOT, RejectDocument,
};
pub use header::{
    CHUNK_BYTES_MAX, CHUNKS_MAX, CODING_VERSION_MAX, Chunk, INPUTS_MAX, MergeInput,
    PARTICLE_HEADER_BYTES_MAX, ParticleHeader, ParticleHeaderFields, RejectParticleHeader, Role,
    SLOTS,
};
pub use nonce::{NONCE_BYTES_MAX, NONCE_WINDOWS, Nonce, NonceFields, RejectNonce};
pub use plan::{RejectWindowPlan, WINDOW_PLAN_BYTES_MAX, WindowPlan, WindowPlanFields};
pub use presence::{
    Activity, PRESENCE_BYTES_MAX, Presence, PresenceFields, RejectPresence, SOFTWARE_BYTES_MAX,
};
pub use refusal::{REFUSAL_BYTES_MAX, Refusal, RefusalCode, RefusalFields, RejectRefusal};
pub use roster::{
    FORMER, GROWTH_BYTES, GROWTHS_MAX, Growth, ROSTER_BYTES_MAX, ROSTER_PAGE_BYTES_MAX,
    ROSTER_PAGE_VEHICLES_MAX, ROSTER_PAGES_MAX, ROSTER_VEHICLES_MAX, RejectPage, RejectRoster,
    RejectRosterPage, Roster, RosterFields, RosterPage, RosterPageFields, VACANT, VEHICLE_BYTES,
    Vehicle,
};
pub use swarm::{
    BITS_MAX, ConsensusRule, MEAN_LAST_MAX, PaperRule, RejectSwarmDocument, Rule,
    SWARM_DOCUMENT_BYTES_MAX, SwarmDocument, SwarmDocumentFields,
};
pub use utility::{
    KNOTS_MAX, Knot, Metric, RejectUtilityDocument, TERM_NAME_BYTES_MAX, Term,
    UTILITY_DOCUMENT_BYTES_MAX, UtilityDocument, UtilityDocumentFields,
};
pub use vote::{Compared, NOMINEES, RejectVote, VOTE_BYTES_MAX, VOTE_WINDOWS, Vote, VoteFields};
