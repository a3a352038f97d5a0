//! The mixed batch of one training step (recipe R).
