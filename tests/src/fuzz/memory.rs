//! How much memory a decoder may take, and who counts.
//!
//! Counting needs a global allocator, and that is the business of a whole program. So the program
//! installs a [`Meter`]; without one the caps are not looked at.

use std::sync::OnceLock;

/// Runs the work once, and tells the peak of the memory that it held beyond what was held before, in
/// bytes, on its own thread.
pub type Meter = fn(&mut dyn FnMut()) -> u64;

static METER: OnceLock<Meter> = OnceLock::new();

/// Sets the meter of this program; the first one counts.
pub fn install(meter: Meter) {
    METER.get_or_init(|| meter);
}

/// A cap: `fixed` bytes, and `each` for each byte of the input.
#[derive(Debug, Clone, Copy)]
pub struct Cap {
    /// Whatever the input.
    pub fixed: u64,
    /// For each byte of it.
    pub each: u64,
}

/// Of what decodes the canonical encoding, and checks it.
///
/// `fixed`: serde reserves at most 1 MiB for a list, whatever length is claimed, and lists of claimed
/// lengths stand in one another no deeper than four (view changes of a NewView, prepared certificates,
/// signatures; then operations, members); a megabyte is for buffers. `each`: the least operation of a
/// transaction is 13 bytes of input and a hundred in memory, and a growing list holds its old and its new
/// place at once. Measured: 12.0 for the worst transaction of 1 MiB, 6.0 for the worst submission, 2.9 for
/// the worst frame of sync with all its checks.
pub const BINARY: Cap = Cap { fixed: 5 << 20, each: 12 };

/// Of what parses text: the parsers of TOML and JSON keep a tree of nodes a hundred bytes and more each,
/// of which two bytes of text can make one. Measured: 108.
pub const TEXT: Cap = Cap { fixed: 5 << 20, each: 128 };

impl Cap {
    /// The cap for an input of this length, in bytes.
    pub fn of(self, length: usize) -> u64 {
        self.fixed + self.each * length as u64
    }
}

/// What `work` gives, having taken no more memory than an input of this length may cost.
///
/// # Panics
/// If it took more.
pub fn bounded<T>(cap: Cap, length: usize, work: impl FnOnce() -> T) -> T {
    let Some(meter) = METER.get() else { return work() };
    let (mut work, mut result) = (Some(work), None);
    let peak = meter(&mut || result = work.take().map(|work| work()));
    let most = cap.of(length);
    assert!(
        peak <= most,
        "an input of {length} bytes took {peak} bytes of memory, where at most {most} may be"
    );
    result.expect("the meter runs the work")
}
