//! Running quantiles in bounded memory.
