//! What one vehicle learns from its own driving: observe → disagree → remember → tune → measure.
//!
//! Nothing in this crate can act on the vehicle, and nothing in it can be sent: no type that holds
//! a frame, a motion or anything computed from one frame implements a serialisation for the wire.
//! The replay store keeps frames on the vehicle's own disk, encrypted, and hands them to training.
//!
//! | module | does |
//! |---|---|
//! | [`package`] | `model.toml`: which tensor is the camera, the motion, the next frame |
//! | [`form`], [`clip`], [`batch`] | what a model reads; frames into tensors; the mixed batch of one training step |
//! | [`grid`] | `action_grid/v1`: curvature × acceleration in bins; steering wheel ↔ curvature |
//! | [`opinion`], [`hindsight`] | a policy's opinion beside what the driver did; how much is learnt from that, by what came |
//! | [`tokens`], [`fit`] | logs of motion as rows of tokens; the training graph that batches of either kind go to |
//! | [`observe`] | prediction against what came (surprise), policy against driver (disagreement) |
//! | [`quantile`], [`trigger`] | calibrated surprise; which spans of a drive are worth keeping |
//! | [`replay`] | the store of those spans: bounded, prioritised, encrypted, safe against a cut |
//! | [`tune`], [`measure`], [`baseline`], [`pack`] | train an adapter; skill, and what it stands beside |
//! | [`pretrain`] | all weights of a model, on generated roads, footage or logs |
//! | [`term`] | terms of driving: comfort, distance, lane keeping in the closed loop, the controls challenge |
//! | [`stats`] | how sure a difference of skills is |
//! | [`worldmodel`], [`tokenmodel`] | the default model, and one of tokens, built from plain operators |
//! | [`policymodel`] | the default policy: frames and speed to logits on the action grid; its lessons, and how it drives |
//! | [`chance`], [`document`], [`digits`] | counter-based draws; TOML that refuses unknown keys; hashes in hexadecimal |
//! | [`contained`] | work of others that panics on damaged files |

pub mod baseline;
pub mod batch;
pub mod chance;
pub mod clip;
pub mod contained;
pub mod digits;
pub mod document;
pub mod fit;
pub mod form;
pub mod grid;
pub mod hindsight;
pub mod measure;
pub mod observe;
pub mod opinion;
pub mod pack;
pub mod package;
pub mod policymodel;
pub mod pretrain;
pub mod quantile;
pub mod replay;
pub mod stats;
pub mod term;
pub mod tokenmodel;
pub mod tokens;
pub mod trigger;
pub mod tune;
pub mod worldmodel;
