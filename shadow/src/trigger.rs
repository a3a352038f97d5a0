//! Which spans of a drive are worth keeping.
