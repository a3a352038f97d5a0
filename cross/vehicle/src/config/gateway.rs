//! The gateway beside the vehicle computer, as `vehicle.toml` tells of it.

use std::path::PathBuf;

use shoal_shadow::document::{DocumentError, Table};

/// The keys of the table.
pub(super) const KEYS: [&str; 2] = ["line", "baud"];

/// The line to the gateway that guards the window.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GatewayConfig {
    /// The serial device.
    pub line: PathBuf,
    /// Its speed, bits a second.
    pub baud: u32,
}

/// Reads the table.
///
/// # Errors
/// [`DocumentError`], naming file, line and key.
pub(super) fn read(table: &Table<'_>) -> Result<GatewayConfig, DocumentError> {
    Ok(GatewayConfig {
        line: table.text_required("line")?.into(),
        baud: table.integer("baud", 1_200..=4_000_000)?.map_or(115_200, |baud| baud as u32),
    })
}

#[cfg(test)]
mod tests {
    use crate::config::Config;

    #[test]
    fn a_gateway_is_a_line_beside_a_fleet() {
        let alone = "[gateway]\nline = \"/dev/ttyS1\"\n";
        let error = Config::parse("v.toml", alone).unwrap_err().to_string();
        assert!(error.contains("fleet"), "{error}");
        let error = Config::parse("v.toml", "[gateway]\nbaud = 115200\n").unwrap_err().to_string();
        assert!(error.contains("line"), "{error}");
        let error = Config::parse("v.toml", &format!("{alone}baud = 9\n")).unwrap_err();
        assert!(error.to_string().contains("v.toml:3"), "{error}");
    }
}
