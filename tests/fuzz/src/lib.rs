//! The fuzz targets of `quorate_tests::fuzz` under libFuzzer: one binary each, see `tests/README.md`.

pub use libfuzzer_sys;
use quorate_tests::fuzz::{Target, memory, target};

/// The target of this name, with the meter for its memory installed.
///
/// # Panics
/// If there is none.
pub fn prepare(name: &str) -> Target {
    memory::install(|work| allocation_counter::measure(work).bytes_max);
    target(name).unwrap_or_else(|| panic!("there is no target {name}"))
}

/// The whole of a binary.
#[macro_export]
macro_rules! run {
    ($name:literal) => {
        static TARGET: std::sync::LazyLock<fn(&[u8])> = std::sync::LazyLock::new(|| $crate::prepare($name));

        $crate::libfuzzer_sys::fuzz_target!(|input: &[u8]| TARGET(input));
    };
}
