//! The binary `quorate`; everything is in the library.

fn main() -> std::process::ExitCode {
    quorate_client::cli::main()
}
