//! The `instructgpt` program: everything is in `app`.

fn main() -> std::process::ExitCode {
    instructgpt::app::main()
}
