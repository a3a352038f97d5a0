//! Evaluation packs: frames that every vehicle measures on.
