//! As much of Rust's grammar as tidy needs: what is code, and where functions begin and end.

/// The text with comments as spaces and the contents of literals as `_`, line for line.
pub(super) fn code(text: &str) -> String {
    let mut code = String::with_capacity(text.len());
    let mut rest = text;
    let mut before = ' ';
    while let Some(first) = rest.chars().next() {
        let (len, fill) = token(rest, before);
        let (taken, left) = rest.split_at(len);
        match fill {
            Some(fill) => code.extend(taken.chars().map(|c| if c == '\n' { c } else { fill })),
            None => code.push_str(taken),
        }
        before = taken.chars().last().unwrap_or(first);
        rest = left;
    }
    code
}

/// Bytes of what begins here, and what to show instead of it.
fn token(rest: &str, before: char) -> (usize, Option<char>) {
    let first = rest.chars().next().map_or(1, char::len_utf8);
    let in_word = before.is_alphanumeric() || before == '_';
    if rest.starts_with("//") {
        return (rest.find('\n').unwrap_or(rest.len()), Some(' '));
    }
    if rest.starts_with("/*") {
        return (block_comment(rest), Some(' '));
    }
    if rest.starts_with('"') {
        return (string(rest), Some('_'));
    }
    if rest.starts_with('r') && !in_word || before == 'b' && rest.starts_with('r') {
        let hashes = rest.chars().skip(1).take_while(|c| *c == '#').count();
        if rest.get(1 + hashes..).is_some_and(|rest| rest.starts_with('"')) {
            let end = format!("\"{}", "#".repeat(hashes));
            let from = 2 + hashes;
            let found = rest.get(from..).and_then(|rest| rest.find(&end));
            return (found.map_or(rest.len(), |at| from + at + end.len()), Some('_'));
        }
    }
    if rest.starts_with('\'') {
        return character(rest).map_or((first, None), |len| (len, Some('_')));
    }
    (first, None)
}

fn block_comment(rest: &str) -> usize {
    let (mut depth, mut at) = (0_usize, 0);
    while let Some(left) = rest.get(at..).filter(|left| !left.is_empty()) {
        if left.starts_with("/*") {
            (depth, at) = (depth + 1, at + 2);
        } else if left.starts_with("*/") {
            (depth, at) = (depth - 1, at + 2);
        } else {
            at += left.chars().next().map_or(1, char::len_utf8);
        }
        if depth == 0 {
            return at;
        }
    }
    rest.len()
}

fn string(rest: &str) -> usize {
    let mut escaped = false;
    for (at, c) in rest.char_indices().skip(1) {
        match c {
            '"' if !escaped => return at + 1,
            '\\' => escaped = !escaped,
            _ => escaped = false,
        }
    }
    rest.len()
}

/// Bytes of a character literal; `None` for a lifetime.
fn character(rest: &str) -> Option<usize> {
    let mut chars = rest.char_indices().skip(1);
    let (_at, first) = chars.next()?;
    if first == '\\' {
        let _escaped = chars.next()?;
        return chars.find(|(_at, c)| *c == '\'').map(|(at, _quote)| at + 1);
    }
    let (at, quote) = chars.next()?;
    (quote == '\'').then_some(at + 1)
}

/// A function with a body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Function {
    pub(super) name: String,
    /// The line of its name, from 1.
    pub(super) line: usize,
    /// From there to the end of its body, without empty lines and comments.
    pub(super) lines: usize,
}

/// Every function of `code`, as [`code`] gives it, nested ones too.
pub(super) fn functions(code: &str) -> Vec<Function> {
    let starts = code.match_indices("fn ").filter(|(at, _fn)| {
        let before = code.get(..*at).and_then(|before| before.chars().last());
        before.is_none_or(|c| !c.is_alphanumeric() && c != '_')
    });
    starts
        .filter_map(|(at, _fn)| {
            let after = code.get(at + 3..)?;
            let name = after.split(|c: char| !c.is_alphanumeric() && c != '_').next()?;
            let body = body(after)?;
            let lines = after.get(..body)?.lines().filter(|line| !line.trim().is_empty()).count();
            let line = code.get(..at)?.matches('\n').count() + 1;
            (!name.is_empty()).then(|| Function { name: name.to_owned(), line, lines })
        })
        .collect()
}

/// Bytes to the end of the body; `None` for a declaration.
fn body(after: &str) -> Option<usize> {
    let (mut nested, mut braces) = (0_usize, 0_usize);
    for (at, c) in after.char_indices() {
        match c {
            '(' | '[' => nested += 1,
            ')' | ']' => nested = nested.checked_sub(1)?,
            ';' if nested == 0 && braces == 0 => return None,
            '{' => braces += 1,
            '}' if braces == 1 => return Some(at + 1),
            '}' => braces = braces.checked_sub(1)?,
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_and_literals_are_no_code() {
        let text = concat!(
            "let a = \"fn \\\" x {\"; // fn b() {\n",
            "/* fn /* nested */ c() */ let d = '{'; let e: &'static str = r#\"}\"}\"#;\n",
            "let f = b'\\''; let g = '\\u{7d}'; r.h();",
        );
        let expected = concat!(
            "let a = ___________;            \n",
            "                          let d = ___; let e: &'static str = ________;\n",
            "let f = b____; let g = ________; r.h();",
        );
        assert_eq!(code(text), expected);
    }

    #[test]
    fn functions_are_found_with_their_lines_of_code() {
        let text = "trait T {\n    fn declared(&self, a: [u8; 4]);\n}\n\n\
            pub const fn outer<'a>(a: &'a str) -> [u8; 2] {\n    // comment\n\n    fn inner() {}\n    [b'}', 0]\n}\n";
        let found: Vec<(String, usize, usize)> = functions(&code(text))
            .into_iter()
            .map(|function| (function.name, function.line, function.lines))
            .collect();
        assert_eq!(found, [("outer".to_owned(), 5, 4), ("inner".to_owned(), 8, 1)]);
    }

    #[test]
    fn no_text_panics_it() {
        for text in
            ["'", "\"", "/*", "/* /*", "r#\"", "fn", "fn ", "fn a", "fn a)", "fn }", "'\\", "é'é"]
        {
            let _functions = functions(&code(text));
        }
    }
}
