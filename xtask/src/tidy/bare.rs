//! Every public function of the cores is called in tests/bare, or the wall has a hole.

use std::path::Path;

use super::source::code;
use super::{File, Finding};

const CORES: [&str; 2] = ["ota/wire/src", "ota/window/src"];
const CALLER: &str = "tests/bare/src/main.rs";

/// One public function.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Function {
    /// How it is called: `Type::name`, `.name`, or `name`.
    call: String,
    line: usize,
}

pub(super) fn check(files: &[File]) -> Vec<Finding> {
    let caller = files.iter().find(|file| file.path == Path::new(CALLER));
    let Some(calls) = caller.map(|file| code(&file.text)) else {
        return vec![Finding::new(CALLER, 0, "is missing")];
    };
    let core = |file: &&File| {
        file.has_extension("rs") && CORES.iter().any(|core| file.path.starts_with(core))
    };
    let mut findings = Vec::new();
    for file in files.iter().filter(core) {
        let code = code(&file.text);
        for Function { call, line } in functions(&code) {
            if !calls_it(&calls, &call) {
                let what = format!("{call}(…) is not called in {CALLER}");
                findings.push(Finding::new(&file.path, line, what));
            }
        }
        for (body, line) in bodies(&code) {
            if !calls.contains(&format!("::<{body}>")) {
                let what = format!("{body} is not decoded in {CALLER}");
                findings.push(Finding::new(&file.path, line, what));
            }
        }
    }
    findings
}

fn calls_it(calls: &str, call: &str) -> bool {
    let starts_word = |at: usize| {
        let before = calls.get(..at).and_then(|before| before.chars().last());
        call.starts_with(['.', ':'])
            || before.is_none_or(|c| !c.is_alphanumeric() && !"_.:".contains(c))
    };
    calls.match_indices(call).any(|(at, _call)| {
        let after = calls.get(at + call.len()..).unwrap_or_default();
        // Called, called with types, or handed over to be called.
        starts_word(at) && after.starts_with(['(', ')', ',', ';']) || after.starts_with("::<")
    })
}

/// Public functions, as rustfmt lays them out: `impl` at the margin, its functions four in.
fn functions(code: &str) -> Vec<Function> {
    let mut of_type = None;
    let mut found = Vec::new();
    let lines: Vec<&str> = code.lines().collect();
    for (index, line) in lines.iter().enumerate() {
        if line.starts_with("mod tests") {
            break;
        }
        if line.starts_with("impl") {
            of_type = implemented(line);
        } else if line.starts_with('}') {
            of_type = None;
        }
        let trimmed = line.trim_start();
        let public =
            ["pub fn ", "pub const fn "].iter().find_map(|start| trimmed.strip_prefix(start));
        let Some(name) = public.and_then(|rest| rest.split(['(', '<']).next()) else { continue };
        let signature: String = lines.iter().skip(index).take(3).copied().collect();
        let parameters = signature.split_once('(').map_or("", |(_name, parameters)| parameters);
        let first = parameters.split([',', ')']).next().unwrap_or_default();
        let method = first.split([' ', '&', ':']).any(|word| word == "self");
        let call = match &of_type {
            _ if method => format!(".{name}"),
            Some(of_type) => format!("{of_type}::{name}"),
            // In a macro: of which types is not known here; of one at least.
            None if trimmed.len() < line.len() => format!("::{name}"),
            None => name.to_owned(),
        };
        found.push(Function { call, line: index + 1 });
    }
    found
}

/// Types that can be the body of an envelope, with the line that says so: `body!(Claim, ClaimFields, 1);`.
fn bodies(code: &str) -> impl Iterator<Item = (&str, usize)> {
    code.lines().enumerate().filter_map(|(index, line)| {
        let name = line.strip_prefix("body!(")?.split([',', '<']).next()?;
        Some((name, index + 1))
    })
}

/// The type of `impl<'a> Trait for Type<'a> {` and `impl Type {`; the trait's own functions are not public.
fn implemented(line: &str) -> Option<String> {
    let after = line.strip_prefix("impl")?;
    let after = match after.strip_prefix('<') {
        Some(generics) => generics.split_once("> ")?.1,
        None => after.trim_start(),
    };
    let name = after.split_once(" for ").map_or(after, |(_trait, name)| name);
    Some(name.split(['<', ' ', '{']).next()?.to_owned())
}

#[cfg(test)]
mod tests {
    use super::super::file;
    use super::*;

    const CORE: &str = "\
impl<'a> Unverified<'a> {
    /// Reads.
    pub fn decode(bytes: &'a [u8]) -> Self {
    }

    pub fn verify<T: Body>(
        self,
        keys: &impl Keys,
    ) -> T {
    }

    pub(crate) fn inner(&self) {}
}

pub fn number(plan: &Plan) -> u32 {
}

body!(Plan<'a>, PlanFields, 1);

#[cfg(test)]
mod tests {
    pub fn helper() {}
}
";

    fn missing(calls: &str) -> Vec<String> {
        let files = [file("ota/wire/src/a.rs", CORE), file(CALLER, calls)];
        check(&files).into_iter().map(|one| one.what).collect()
    }

    #[test]
    fn every_public_function_must_be_called() {
        let all = "Unverified::decode(b).verify::<Plan>(keys); number(plan);";
        assert_eq!(missing(all), Vec::<String>::new());
        assert_eq!(missing("").len(), 4);
        for (without, call) in [
            ("x.verify::<Plan>(keys); number(plan);", "Unverified::decode"),
            ("Unverified::decode(b); number(plan); x.<Plan>(); f::<Plan>();", ".verify"),
            ("Unverified::decode(b).verify::<Plan>(keys); other_number(plan);", "number"),
            ("Unverified::decode(b).verify::<Other>(keys); number(plan);", "Plan"),
        ] {
            let missing = missing(without);
            assert!(missing.len() == 1 && missing[0].starts_with(call), "{missing:?}");
        }
    }

    #[test]
    fn a_call_in_a_comment_does_not_count() {
        assert_eq!(
            missing("// Unverified::decode(b).verify::<Plan>(keys); number(plan);").len(),
            4
        );
    }
}
