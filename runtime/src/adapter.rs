//! Adapters: the layout of their factors, their values, and their form on disk (PEFT).
