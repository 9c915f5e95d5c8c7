//! Our library against the PyTorch reference, tensor by tensor. `fixtures/README.md` says what each
//! tensor is; `tests/common/fixture.rs` how close we must be and why.

mod common;
