//! Which documents, models and packs of a fleet count: metadata of The Update Framework (TUF 1.0), of more than one repository,
//! verified as Uptane asks of a primary.
//!
//! An envelope says who signed a document. The metadata says that it is one of those that count *now*: two people signed who may sign
//! what (root), the authority what there is (targets of the repository `image`), the timekeeper what of that a region uses
//! (targets of the region's repository) and that nothing newer is known (snapshot and timestamp, which expire soon). A *map file*
//! (TAP 4) says which repositories must agree on what.
//!
//! What is verified here is verified by `tough`. This crate has no I/O but a scratch folder, which `tough` compares with.

pub mod author;
mod map;
mod repository;
mod trust;

pub use map::{Map, RejectMap, RejectTarget};
pub use repository::{Expired, Metadata, Reject, Repository, Target, Why};
pub use trust::{ROOTS, SignedBy, Trust, TrustError, document_name};
