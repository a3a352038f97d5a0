//! What is in a model, and what can be tuned.
