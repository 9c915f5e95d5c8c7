//! Floor 1: the operations of a transformer, forward and backward.

pub mod cpu;
