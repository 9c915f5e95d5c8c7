//! The `instructgpt` program: everything is in `cli`.

fn main() -> std::process::ExitCode {
    instructgpt::cli::main()
}
