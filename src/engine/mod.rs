//! Floor 1: the operations of a transformer, forward and backward, and of its optimizer.
//!
//! [`plain`] says what they are: plain loops, to be read first. [`cpu`] computes the same, bit for bit, with
//! vectors, blocks and threads. The files have the same names and the functions the same parameters.
//!
//! Conventions: buffers are row-major, shapes stand in the docs, `dx` is the gradient of `x`. A backward
//! says of each gradient whether it *overwrites* (`=`) or *adds to* (`+=`) what is there. Gradients of
//! parameters always add, token by token in the order of the batch, so that a batch cut in pieces gives
//! the bits of the whole.

pub mod cpu;
pub mod plain;
mod types;

pub use types::{
    Activation, AdamConstants, Address, Dropout, Init, Matrix, Outputs, Precision, Shape, Summary, Target,
};
