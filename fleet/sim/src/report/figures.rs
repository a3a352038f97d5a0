//! Figures as they are shown: `.5523`, `+.0181`, `12.3 kB`, `6,000`.

/// A figure with so many digits behind the point, without the zero before it.
pub(super) fn skill(value: f64, digits: usize) -> String {
    let text = format!("{:.digits$}", value.abs());
    let zero = text.bytes().all(|byte| matches!(byte, b'0' | b'.'));
    let text = if digits > 0 { text.strip_prefix('0').unwrap_or(&text) } else { &text };
    format!("{}{text}", if value < 0.0 && !zero { "−" } else { "" })
}

/// A difference: always with its sign, none for zero.
pub(super) fn signed(value: f64, digits: usize) -> String {
    let text = skill(value, digits);
    let zero = text.bytes().all(|byte| matches!(byte, b'0' | b'.'));
    format!("{}{text}", if value > 0.0 && !zero { "+" } else { "" })
}

/// A figure, or a dash where there is none.
pub(super) fn or_dash(value: Option<f64>, show: impl Fn(f64) -> String) -> String {
    value.map_or_else(|| "–".to_owned(), show)
}

/// Bytes in the unit of their size, three digits or more.
pub(super) fn bytes(value: f64) -> String {
    let (value, unit) = in_unit(value);
    let digits = if unit == "B" || value >= 100.0 { 0 } else { 1 };
    format!("{value:.digits$} {unit}")
}

/// Bytes on a scale: no digit more than needed.
pub(super) fn bytes_short(value: f64) -> String {
    if value == 0.0 {
        return "0".to_owned();
    }
    let (value, unit) = in_unit(value);
    let text = format!("{value:.2}");
    format!("{} {unit}", text.trim_end_matches('0').trim_end_matches('.'))
}

fn in_unit(value: f64) -> (f64, &'static str) {
    let units = [(1e12, "TB"), (1e9, "GB"), (1e6, "MB"), (1e3, "kB")];
    let found = units.into_iter().find(|(unit, _name)| value.abs() >= 0.99995 * unit);
    found.map_or((value, "B"), |(unit, name)| (value / unit, name))
}

/// A count with commas between thousands.
pub(super) fn count(value: f64) -> String {
    let text = format!("{:.0}", value.abs());
    let mut out = String::new();
    for (at, digit) in text.chars().enumerate() {
        if at > 0 && (text.len() - at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    if value <= -0.5 { format!("−{out}") } else { out }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_shown_as_in_the_documents() {
        assert_eq!(
            [skill(0.5523, 4), skill(-0.0123, 4), skill(1.25, 2)],
            [".5523", "−.0123", "1.25"]
        );
        assert_eq!([skill(-0.00001, 4), skill(-3.2, 0)], [".0000", "−3"]);
        assert_eq!(
            [signed(0.0181, 4), signed(-0.1, 1), signed(1e-9, 3)],
            ["+.0181", "−.1", ".000"]
        );
        assert_eq!([bytes(12.0), bytes(12_345.0), bytes(999_999.0)], ["12 B", "12.3 kB", "1.0 MB"]);
        assert_eq!(
            [bytes_short(2000.0), bytes_short(0.0), bytes_short(250.0)],
            ["2 kB", "0", "250 B"]
        );
        assert_eq!([count(6000.0), count(12.0), count(1_234_567.0)], ["6,000", "12", "1,234,567"]);
    }
}
