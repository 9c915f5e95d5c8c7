//! The `instructgpt` program: see `cli`.

fn main() {}
