//! Parameter files, and single parameters set from a command line.

use crate::card::LoadError;
use crate::files;
use crate::source::{Reason, Refusal, Source, Step};
use quorate_types::parameters::{ParameterError, Parameters};
use std::path::Path;

/// A setting that is no parameter.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SettingError {
    /// Not of the form `name=value`.
    #[error("{0:?} is no setting; write name=value, for instance window=8")]
    Form(String),
    /// No parameter of this name.
    #[error("there is no parameter {name:?}; the parameters are {}", known.join(", "))]
    Unknown {
        /// The name.
        name: String,
        /// The names there are.
        known: Vec<&'static str>,
    },
    /// Not a whole number that fits.
    #[error("parameter `{name}` cannot be {value:?}; it must be a whole number")]
    Value {
        /// The parameter.
        name: &'static str,
        /// The text.
        value: String,
    },
}

/// The name and value of every parameter, in the order of the byte layout.
pub fn list(parameters: &Parameters) -> [(&'static str, u64); 10] {
    // Taken apart by name, so that a new parameter cannot be forgotten here.
    let Parameters {
        window,
        term_blocks,
        max_block_transactions,
        max_block_bytes,
        max_transaction_bytes,
        max_lifetime_ms,
        max_clock_drift_ms,
        view_timeout_ms,
        max_view_timeout_ms,
        request_timeout_ms,
    } = *parameters;
    [
        ("window", window),
        ("term_blocks", term_blocks),
        ("max_block_transactions", max_block_transactions.into()),
        ("max_block_bytes", max_block_bytes.into()),
        ("max_transaction_bytes", max_transaction_bytes.into()),
        ("max_lifetime_ms", max_lifetime_ms),
        ("max_clock_drift_ms", max_clock_drift_ms),
        ("view_timeout_ms", view_timeout_ms),
        ("max_view_timeout_ms", max_view_timeout_ms),
        ("request_timeout_ms", request_timeout_ms),
    ]
}

/// Sets one parameter from `name=value`. Ranges are checked later, together.
///
/// # Errors
/// See [`SettingError`].
pub fn set(parameters: &mut Parameters, setting: &str) -> Result<(), SettingError> {
    let shown = || setting.chars().take(80).collect::<String>();
    let (name, value) = setting.split_once('=').ok_or_else(|| SettingError::Form(shown()))?;
    let known = list(parameters).map(|(name, _)| name);
    let Some(name) = known.into_iter().find(|known| *known == name.trim()) else {
        return Err(SettingError::Unknown { name: name.trim().into(), known: known.to_vec() });
    };
    let value = value.trim();
    // The digits were checked, so the text below is TOML of exactly one number.
    let plain = !value.is_empty() && value.bytes().all(|digit| digit.is_ascii_digit());
    let refused = || SettingError::Value { name, value: value.chars().take(80).collect() };
    let number: u64 = value.parse().ok().filter(|_| plain).ok_or_else(refused)?;
    let mut text = String::new();
    for (other, old) in list(parameters) {
        text.push_str(&format!("{other} = {}\n", if other == name { number } else { old }));
    }
    *parameters = toml::from_str(&text).map_err(|_| refused())?;
    Ok(())
}

/// Reads parameters from a TOML file of `name = value` lines; what it leaves out stays at its
/// default.
///
/// # Errors
/// See [`LoadError`]: unknown parameters and values out of range are refused with their line.
pub fn load(path: &Path) -> Result<Parameters, LoadError> {
    let text = files::read_text(path)?;
    let file = path.display().to_string();
    let source = Source { file: &file, text: &text };
    let parameters: Parameters = source.parse()?;
    check(&parameters, &source, &[])?;
    Ok(parameters)
}

/// Checks ranges; `base` is the path of the parameters' table.
pub(crate) fn check(parameters: &Parameters, source: &Source<'_>, base: &[Step<'_>]) -> Result<(), Refusal> {
    parameters.check().map_err(|error| refuse(error, source, base))
}

/// The refusal of a parameter, at its line.
pub(crate) fn refuse(error: ParameterError, source: &Source<'_>, base: &[Step<'_>]) -> Refusal {
    let path: Vec<Step<'_>> = base.iter().copied().chain([Step::Key(error.name)]).collect();
    Refusal::new(source.locate(&path), Reason::Parameter(error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings() {
        let mut parameters = Parameters::default();
        set(&mut parameters, "window=8").unwrap();
        set(&mut parameters, "max_block_bytes = 2048").unwrap();
        assert_eq!(parameters, Parameters { window: 8, max_block_bytes: 2048, ..Parameters::default() });
        for (name, _) in list(&Parameters::default()) {
            set(&mut parameters, &format!("{name}=7")).unwrap();
        }
        assert!(list(&parameters).iter().all(|(_, value)| *value == 7));
        set(&mut parameters, &format!("term_blocks={}", u64::MAX)).unwrap();
        assert_eq!(parameters.term_blocks, u64::MAX);
        assert!(matches!(set(&mut parameters, "window"), Err(SettingError::Form(_))));
        assert!(matches!(set(&mut parameters, "windows=8"), Err(SettingError::Unknown { .. })));
        for bad in ["", "x", "-1", "+1", "1.5", "18446744073709551616"] {
            assert!(matches!(
                set(&mut parameters, &format!("window={bad}")),
                Err(SettingError::Value { .. })
            ));
        }
        assert!(matches!(
            set(&mut parameters, "max_block_bytes=4294967296"),
            Err(SettingError::Value { .. })
        ));
    }
}
