//! Elementary functions with one definition on every target.
