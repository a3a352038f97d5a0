//! Words that do not stay: markers of unfinished work, and paths of one machine.

use super::source::code;
use super::{File, Finding};

/// In code and in documents. Split, so that this file does not find itself.
const MARKERS: [&str; 5] = [
    concat!("todo", "!("),
    concat!("unimplemented", "!("),
    concat!("dbg", "!("),
    concat!("FIX", "ME"),
    concat!("XX", "X"),
];
const MACHINE: [&str; 4] =
    [concat!("/wo", "rk/"), concat!("/ho", "me/"), concat!("/ro", "ot/"), concat!("/Us", "ers/")];

pub(super) fn check(files: &[File]) -> Vec<Finding> {
    let kept = |file: &&File| !file.path.ends_with("Cargo.lock");
    files.iter().filter(kept).flat_map(words).collect()
}

fn words(file: &File) -> Vec<Finding> {
    let mut findings = Vec::new();
    // A macro that is only named in a comment or a text is no marker.
    let code = if file.has_extension("rs") { code(&file.text) } else { String::new() };
    for (index, (line, code)) in
        file.text.lines().zip(code.lines().chain(std::iter::repeat(""))).enumerate()
    {
        for marker in MARKERS {
            let place = if marker.ends_with('(') { code } else { line };
            if word(place, marker) {
                findings.push(Finding::new(&file.path, index + 1, format!("marker {marker}")));
            }
        }
        for machine in MACHINE {
            if word(line, machine) {
                let what = format!("path of one machine: {machine}…");
                findings.push(Finding::new(&file.path, index + 1, what));
            }
        }
    }
    findings
}

/// Whether it stands there and is not the middle of a longer word or path.
fn word(line: &str, word: &str) -> bool {
    let of_word = |c: char| c.is_alphanumeric() || "_.-~…}*".contains(c);
    let alone_after = word.ends_with(['(', '/']);
    line.match_indices(word).any(|(at, _word)| {
        let before = line.get(..at).and_then(|before| before.chars().last());
        let after = line.get(at + word.len()..).and_then(|after| after.chars().next());
        before.is_none_or(|c| !of_word(c)) && (alone_after || after.is_none_or(|c| !of_word(c)))
    })
}

#[cfg(test)]
mod tests {
    use super::super::file;
    use super::*;

    #[test]
    fn markers_are_found() {
        for marker in MARKERS {
            let text = format!("fn a() {{ {marker}) }}\n");
            assert_eq!(check(&[file("a.rs", &text)]).len(), 1, "{text}");
        }
        assert_eq!(check(&[file("a.md", &format!("a {}X b", MARKERS[4]))]), []);
    }

    #[test]
    fn a_macro_that_is_only_named_is_no_marker() {
        assert_eq!(check(&[file("a.rs", &format!("// never {})\n", MARKERS[0]))]), []);
    }

    #[test]
    fn paths_of_one_machine_are_found() {
        for machine in MACHINE {
            let text = format!("see `{machine}someone/file`");
            assert_eq!(check(&[file("a.md", &text)]).len(), 1, "{text}");
            assert_eq!(check(&[file("a.md", &format!("see net{machine}file"))]), []);
        }
    }
}
