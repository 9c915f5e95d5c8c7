//! The `instructgpt` program: everything is in `app`.

use instructgpt::num::allocator::CacheLines;

#[global_allocator]
static ALLOCATOR: CacheLines = CacheLines;

fn main() -> std::process::ExitCode {
    instructgpt::app::main()
}
