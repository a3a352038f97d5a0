//! Which weights of a graph can carry LoRA factors, and the graph that takes them as inputs.
