//! How a vehicle's contributions are made private, as `vehicle.toml` tells it.

use shoal_shadow::document::{DocumentError, Table};
use shoal_swarm::privacy::Privacy;

/// The keys of the table.
pub(super) const KEYS: [&str; 4] = ["clip", "noise", "delta", "epsilon_max"];

/// Reads the table. Only `delta` has a default: nobody else can say how much is enough.
///
/// # Errors
/// [`DocumentError`], naming file, line and key.
pub(super) fn read(table: &Table<'_>) -> Result<Privacy, DocumentError> {
    let required = |key, range| table.number(key, range)?.ok_or_else(|| table.missing(key));
    Ok(Privacy {
        clip: required("clip", 1e-9..=1e9)?,
        noise: required("noise", 1e-6..=1e6)?,
        delta: table.number("delta", 1e-15..=0.1)?.unwrap_or(1e-5),
        epsilon_max: required("epsilon_max", 1e-6..=1e15)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    #[test]
    fn privacy_is_off_or_whole() {
        let read = |toml: &str| Config::parse("v.toml", toml);
        assert_eq!(read("").unwrap().privacy, None);
        let whole = "[privacy]\nclip = 0.5\nnoise = 2.0\nepsilon_max = 8\n";
        let privacy = Privacy { clip: 0.5, noise: 2.0, delta: 1e-5, epsilon_max: 8.0 };
        assert_eq!(read(whole).unwrap().privacy, Some(privacy));
        for key in ["clip", "noise", "epsilon_max"] {
            let without: String = whole
                .lines()
                .filter(|line| !line.starts_with(key))
                .map(|l| format!("{l}\n"))
                .collect();
            let error = read(&without).unwrap_err().to_string();
            assert!(error.contains(key), "{error}");
        }
        let error = read(&whole.replace("noise", "nois")).unwrap_err().to_string();
        assert!(error.contains("v.toml:3") && error.contains("`noise`"), "{error}");
        assert!(read(&whole.replace("2.0", "0.0")).is_err());
    }
}
