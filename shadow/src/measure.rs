//! Skill of a model on clips of drives.
