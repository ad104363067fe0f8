//! The binary; everything it does is in [`oma_worker::commands`].

fn main() -> std::process::ExitCode {
    oma_worker::commands::main()
}
