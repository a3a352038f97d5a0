//! What weighs a fleet's terms, as people write it: `shoal fleet utility` signs it, the simulator reads it of its own files.

use shoal_shadow::document::{DocumentError, Table};
use shoal_wire::v1::KNOTS_MAX;

/// A term's `windows` and `weights`: knots between which its weight lies on the line. Without either it is 1 from the first window on.
///
/// # Errors
/// [`DocumentError`], naming line and key.
pub fn knots(table: &Table<'_>) -> Result<Vec<(u32, f32)>, DocumentError> {
    let windows = table.numbers("windows")?.unwrap_or_else(|| vec![0.0]);
    let weights = table.numbers("weights")?.unwrap_or_else(|| vec![1.0]);
    let growing = windows.windows(2).all(|pair| pair.first() < pair.last());
    let whole = windows.iter().all(|window| (0.0..=1e6).contains(window) && window.fract() == 0.0);
    if !growing || !whole || windows.is_empty() || windows.len() > KNOTS_MAX {
        let want = format!("1 to {KNOTS_MAX} growing whole numbers");
        return Err(table.refuse("windows", format!("{windows:?}"), &want));
    }
    if weights.len() != windows.len() || weights.iter().any(|weight| !(0.0..=1e3).contains(weight))
    {
        let want = format!("{} numbers, 0 to 1000: one a window", windows.len());
        return Err(table.refuse("weights", format!("{weights:?}"), &want));
    }
    Ok(windows.iter().zip(&weights).map(|(w, x)| (*w as u32, *x as f32)).collect())
}

#[cfg(test)]
mod tests {
    use shoal_shadow::document::Document;

    use super::*;

    #[test]
    fn windows_grow_and_each_has_its_weight() {
        let read = |text: &str| {
            let document = Document::parse("u.toml", text).unwrap();
            knots(&document.root(&["windows", "weights"]).unwrap()).map_err(|why| why.to_string())
        };
        assert_eq!(read("").unwrap(), [(0, 1.0)]);
        let two = read("windows = [2, 4]\nweights = [0, 0.5]").unwrap();
        assert_eq!(two, [(2, 0.0), (4, 0.5)]);
        for (text, key) in [
            ("windows = [4, 2]\nweights = [1, 1]", "windows"),
            ("windows = [1]\nweights = [1, 1]", "weights"),
            ("weights = [-1]", "weights"),
        ] {
            assert!(read(text).unwrap_err().contains(key), "{text}");
        }
        let many = format!("windows = {:?}", (0..=KNOTS_MAX).collect::<Vec<_>>());
        assert!(read(&many).unwrap_err().contains("1 to 8 growing"), "{many}");
    }
}
