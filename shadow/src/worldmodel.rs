//! The default next-frame world model.
