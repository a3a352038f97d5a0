//! Recorded drives.
