//! `[geometry]` of `vehicle.toml`: wheelbase and steering ratio.

use shoal_shadow::document::{DocumentError, Table};
use shoal_shadow::grid::Geometry;

/// Keys of the table.
pub(super) const KEYS: [&str; 2] = ["wheelbase_m", "steering_ratio"];

/// Reads the table; what it does not say is a mid-size passenger car's.
pub(super) fn read(table: &Table<'_>) -> Result<Geometry, DocumentError> {
    let usual = Geometry::default();
    let wheelbase = table.number(KEYS[0], 0.05..=30.0)?.unwrap_or(usual.wheelbase_m());
    let ratio = table.number(KEYS[1], 0.1..=100.0)?.unwrap_or(usual.steering_ratio());
    Ok(Geometry::new(wheelbase, ratio).expect("both are above 0"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    #[test]
    fn a_geometry_is_what_the_file_says_of_it_and_else_a_passenger_cars() {
        let parse = |toml: &str| Config::parse("vehicle.toml", toml).map(|config| config.geometry);
        assert_eq!(parse("").unwrap(), Geometry::default());
        let whole = parse("[geometry]\nwheelbase_m = 3.1\nsteering_ratio = 16.5\n").unwrap();
        assert_eq!(Some(whole), Geometry::new(3.1, 16.5));
        assert_eq!(
            Some(parse("[geometry]\nwheelbase_m = 3.1\n").unwrap()),
            Geometry::new(3.1, 15.0)
        );
        let said = parse("[geometry]\nwheelbase_m = 0.0\n").unwrap_err().to_string();
        assert!(said.contains("vehicle.toml:2") && said.contains("wheelbase_m"), "{said}");
        let said = parse("[geometry]\nwheel_base_m = 2.0\n").unwrap_err().to_string();
        assert!(said.contains("`wheelbase_m`"), "{said}");
    }
}
