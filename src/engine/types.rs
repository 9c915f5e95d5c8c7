//! Temporary.
pub use super::cpu::adamw::Constants as AdamConstants;
pub use super::cpu::attention::Shape;
pub use super::cpu::dropout::{Dropout, Row as Address};
pub use super::cpu::gelu::Activation;
pub use super::cpu::gemm::Precision;
pub use super::cpu::log_prob::{Outputs, Target};
