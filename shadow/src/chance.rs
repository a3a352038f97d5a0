//! Draws that repeat from a key and a counter.
