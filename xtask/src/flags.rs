//! Flags of a command: what is not known is refused, and the nearest is not guessed.

use crate::{Done, Failure};

/// The values of flags, in the order of the command line.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Flags {
    values: Vec<(String, Option<String>)>,
    /// What is no flag, where words are taken.
    pub(crate) rest: Vec<String>,
}

impl Flags {
    /// Reads `--name VALUE` for names in `valued`, `--name` for names in `bare`; what is no flag is refused.
    pub(crate) fn parse(args: &[String], valued: &[&str], bare: &[&str]) -> Done<Self> {
        let flags = Self::with_words(args, valued, bare)?;
        match flags.rest.first() {
            None => Ok(flags),
            Some(word) => {
                let known = [valued, bare].concat().join(" ");
                Err(Failure(format!("{word} is no flag; there are: {known}")))
            }
        }
    }

    /// The same of a command that takes words, too.
    pub(crate) fn with_words(args: &[String], valued: &[&str], bare: &[&str]) -> Done<Self> {
        let mut flags = Self::default();
        let mut args = args.iter();
        while let Some(arg) = args.next() {
            let (name, joined) = match arg.split_once('=') {
                Some((name, value)) => (name, Some(value.to_owned())),
                None => (arg.as_str(), None),
            };
            if bare.contains(&name) && joined.is_none() {
                flags.values.push((name.to_owned(), None));
            } else if valued.contains(&name) {
                let value = joined.or_else(|| args.next().cloned());
                let value = value.ok_or_else(|| Failure(format!("{name} needs a value")))?;
                flags.values.push((name.to_owned(), Some(value)));
            } else if name.starts_with('-') {
                let known = [valued, bare].concat().join(" ");
                return Err(Failure(format!("no flag {name}; there are: {known}")));
            } else {
                flags.rest.push(arg.clone());
            }
        }
        Ok(flags)
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        self.values.iter().any(|(flag, _value)| flag == name)
    }

    /// The last value of a flag.
    pub(crate) fn value(&self, name: &str) -> Option<&str> {
        self.all(name).last()
    }

    /// Every value of a flag.
    pub(crate) fn all(&self, name: &str) -> impl Iterator<Item = &str> {
        let values = self.values.iter().filter(move |(flag, _value)| flag == name);
        values.filter_map(|(_flag, value)| value.as_deref())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(args: &[&str]) -> Done<Flags> {
        let args: Vec<String> = args.iter().map(ToString::to_string).collect();
        Flags::parse(&args, &["--seed"], &["--headless"])
    }

    #[test]
    fn values_come_after_a_space_or_an_equals_sign() {
        for args in [&["--seed", "7", "--headless"][..], &["--headless", "--seed=7"]] {
            let flags = parse(args).unwrap();
            assert_eq!(flags.value("--seed"), Some("7"));
            assert!(flags.has("--headless"));
        }
    }

    #[test]
    fn what_is_not_known_is_refused() {
        for args in [&["--sed", "7"][..], &["--headless=1"], &["--seed"], &["road"]] {
            assert!(parse(args).is_err(), "{args:?}");
        }
    }

    #[test]
    fn words_are_kept_where_they_are_taken() {
        let args = ["road", "--headless", "sea"].map(str::to_owned);
        let flags = Flags::with_words(&args, &["--seed"], &["--headless"]).unwrap();
        assert_eq!(flags.rest, ["road", "sea"]);
    }
}
