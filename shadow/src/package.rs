//! A model package: bindings between tensors and what a vehicle senses.
