//! Broken and unusual inputs of the recorded backend.
