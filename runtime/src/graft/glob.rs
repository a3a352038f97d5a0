//! Names selected by patterns.

/// Patterns with `*` (any run of characters) and `?` (any one), each with the rank and the α behind its `=`, if it has
/// them (`=RANK`, `=RANK:ALPHA`, `=:ALPHA`); those behind `!` take names out again.
pub(super) struct Selection<'p> {
    wanted: Vec<(&'p str, Own)>,
    /// With their `!`.
    unwanted: Vec<&'p str>,
}

/// What the sites of one pattern have of their own.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Own {
    rank: Option<usize>,
    alpha: Option<f32>,
}

impl<'p> Selection<'p> {
    pub(super) fn new(patterns: &'p [String]) -> Self {
        let patterns = patterns.iter().map(String::as_str);
        let (unwanted, wanted): (Vec<_>, Vec<_>) = patterns.partition(|p| p.starts_with('!'));
        Selection { wanted: wanted.into_iter().map(with_own).collect(), unwanted }
    }

    /// Whether what has these names is selected. With no pattern that selects, everything is.
    pub(super) fn has<'n>(&self, names: impl Iterator<Item = &'n str> + Clone) -> bool {
        let fits = |pattern: &str| names.clone().any(|name| matches(pattern, name));
        (self.wanted.is_empty() || self.wanted.iter().any(|(p, _)| fits(p)))
            && !self.unwanted.iter().any(|p| fits(glob(p)))
    }

    /// The rank that the last pattern with one gives what has these names.
    pub(super) fn rank<'n>(&self, names: impl Iterator<Item = &'n str> + Clone) -> Option<usize> {
        let fits = |pattern: &str| names.clone().any(|name| matches(pattern, name));
        self.wanted.iter().rev().find_map(|(p, own)| own.rank.filter(|_| fits(p)))
    }

    /// The α that the last pattern with one gives what has these names.
    pub(super) fn alpha<'n>(&self, names: impl Iterator<Item = &'n str> + Clone) -> Option<f32> {
        let fits = |pattern: &str| names.clone().any(|name| matches(pattern, name));
        self.wanted.iter().rev().find_map(|(p, own)| own.alpha.filter(|_| fits(p)))
    }

    /// The first pattern that matches none of `names`: of those that select, then of those that take out.
    pub(super) fn unmatched<'n>(
        &self,
        names: impl Iterator<Item = &'n str> + Clone,
    ) -> Option<&'p str> {
        let mut patterns = self.wanted.iter().map(|(p, _)| p).chain(&self.unwanted).copied();
        patterns.find(|p| !names.clone().any(|name| matches(glob(p), name)))
    }
}

/// What a pattern matches by.
fn glob(pattern: &str) -> &str {
    pattern.strip_prefix('!').unwrap_or(pattern)
}

fn with_own(pattern: &str) -> (&str, Own) {
    let own = |text: &str| {
        let (rank, alpha) = match text.split_once(':') {
            Some((rank, alpha)) => (rank, Some(alpha.parse().ok()?)),
            None => (text, None),
        };
        match rank {
            "" if alpha.is_some() => Some(Own { rank: None, alpha }),
            rank => Some(Own { rank: Some(rank.parse().ok()?), alpha }),
        }
    };
    let split = pattern.rsplit_once('=').and_then(|(p, text)| Some((p, own(text)?)));
    split.unwrap_or((pattern, Own::default()))
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

    fn one(name: &str) -> impl Iterator<Item = &str> + Clone {
        std::iter::once(name)
    }

    #[test]
    fn the_last_pattern_with_a_rank_gives_it() {
        let patterns = ["*=4".to_owned(), "head.*=32".to_owned(), "head.const".to_owned()];
        let selection = Selection::new(&patterns);
        assert_eq!(["dec.0", "head.0"].map(|name| selection.rank(one(name))), [Some(4), Some(32)]);
        assert_eq!(Selection::new(&patterns[2..]).rank(one("head.const")), None);
        assert!(Selection::new(&["a=b".to_owned()]).has(one("a=b")));
    }

    #[test]
    fn an_alpha_stands_behind_the_rank_or_alone() {
        let patterns = ["*=4:8".to_owned(), "head.*=:2.5".to_owned(), "head.a=:x".to_owned()];
        let selection = Selection::new(&patterns);
        assert_eq!(
            ["dec.0", "head.0"].map(|name| selection.alpha(one(name))),
            [Some(8.0), Some(2.5)]
        );
        assert_eq!(["dec.0", "head.0"].map(|name| selection.rank(one(name))), [Some(4), Some(4)]);
        assert!(
            selection.has(one("head.a=:x")) && !Selection::new(&patterns[2..]).has(one("head.a"))
        );
        assert_eq!(Selection::new(&["onnx::a=".to_owned()]).alpha(one("onnx::a=")), None);
    }

    #[test]
    fn what_has_two_names_is_meant_by_either() {
        let names = || ["onnx::MatMul_540", "h.3.attn.c_attn"].into_iter();
        for pattern in ["onnx::*", "*.c_attn=4"] {
            let patterns = [pattern.to_owned()];
            assert!(Selection::new(&patterns).has(names()), "{pattern}");
        }
        assert!(!Selection::new(&["h.2.*".to_owned()]).has(names()));
        let patterns = ["h.*=4:8".to_owned(), "!onnx::*".to_owned()];
        let selection = Selection::new(&patterns);
        assert!(!selection.has(names()));
        assert_eq!((selection.rank(names()), selection.alpha(names())), (Some(4), Some(8.0)));
    }

    #[test]
    fn an_exclamation_mark_takes_names_out_again() {
        let patterns = ["enc.*".to_owned(), "!*.const".to_owned()];
        let selection = Selection::new(&patterns);

        assert!(
            selection.has(one("enc.0"))
                && !selection.has(one("enc.const"))
                && !selection.has(one("dec.0"))
        );
        assert!(Selection::new(&patterns[1..]).has(one("dec.0")));
        assert_eq!(selection.unmatched(["dec.0", "dec.1"].into_iter()), Some("enc.*"));
        assert_eq!(selection.unmatched(["enc.0", "dec.const"].into_iter()), None);
        assert_eq!(selection.unmatched(["enc.0", "dec.1"].into_iter()), Some("!*.const"));
    }
}
