//! Generated roads.
