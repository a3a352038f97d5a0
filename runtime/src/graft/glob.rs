//! Names selected by patterns.

/// Patterns with `*` (any run of characters) and `?` (any one); those behind `!` take names out again.
pub(super) struct Selection<'p> {
    wanted: Vec<&'p str>,
    unwanted: Vec<&'p str>,
}

impl<'p> Selection<'p> {
    pub(super) fn new(patterns: &'p [String]) -> Self {
        let unwanted = patterns.iter().filter_map(|p| p.strip_prefix('!')).collect();
        let wanted = patterns.iter().map(String::as_str).filter(|p| !p.starts_with('!')).collect();
        Selection { wanted, unwanted }
    }

    /// Whether `name` is selected. With no pattern that selects, everything is.
    pub(super) fn has(&self, name: &str) -> bool {
        (self.wanted.is_empty() || self.wanted.iter().any(|p| matches(p, name)))
            && !self.unwanted.iter().any(|p| matches(p, name))
    }

    /// The first selecting pattern that matches none of `names`.
    pub(super) fn unmatched<'n>(
        &self,
        names: impl Iterator<Item = &'n str> + Clone,
    ) -> Option<&'p str> {
        self.wanted.iter().copied().find(|p| !names.clone().any(|name| matches(p, name)))
    }
}

/// Linear in the pattern times the name: after a mismatch only the last `*` is tried further on.
fn matches(pattern: &str, name: &str) -> bool {
    let (pattern, name): (Vec<char>, Vec<char>) =
        (pattern.chars().collect(), name.chars().collect());
    let (mut p, mut n) = (0, 0);
    let mut star = None;
    while n < name.len() {
        match pattern.get(p) {
            Some('*') => {
                star = Some((p, n));
                p += 1;
            }
            Some(&c) if c == '?' || c == name[n] => {
                p += 1;
                n += 1;
            }
            _ => match star {
                Some((at, from)) => {
                    star = Some((at, from + 1));
                    (p, n) = (at + 1, from + 1);
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(|&c| c == '*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stars_and_question_marks_match_runs_and_single_characters() {
        assert!(
            matches("enc.*.weight", "enc.0.weight")
                && matches("*", "")
                && matches("a*b*c", "a1b2bc")
        );
        assert!(
            matches("h.?.attn*", "h.3.attn.weight") && !matches("h.?.attn*", "h.12.attn.weight")
        );
        assert!(!matches("enc", "enc.0") && !matches("enc.0", "enc") && !matches("?", ""));
    }

    #[test]
    fn an_exclamation_mark_takes_names_out_again() {
        let patterns = ["enc.*".to_owned(), "!*.const".to_owned()];
        let selection = Selection::new(&patterns);

        assert!(selection.has("enc.0") && !selection.has("enc.const") && !selection.has("dec.0"));
        assert!(Selection::new(&patterns[1..]).has("dec.0"));
        assert_eq!(selection.unmatched(["dec.0", "dec.1"].into_iter()), Some("enc.*"));
    }
}
