//! Keys of a simulation's file that are given beside it: `calendar.absent=0.5` in the place of what the file says, or where it says
//! nothing. So one file serves many runs, and a table of results names the command that made each of its rows.

use toml::{Table, Value};

/// Why a key cannot be set.
#[expect(missing_docs, reason = "fields read as the sentence they complete")]
#[derive(Debug, thiserror::Error)]
pub enum SetError {
    #[error("`{text}` is no key with a value: write key=value, tables.of.it.key=value")]
    Key { text: String },
    #[error("`{key}`: no `{part}` is named in the file's {list}")]
    NoneNamed { key: String, list: String, part: String },
    #[error("`{key}`: `{part}` is no table in the file")]
    NoTable { key: String, part: String },
    #[error("the file cannot be read")]
    Read(#[from] toml::de::Error),
    #[error("the file cannot be written anew")]
    Write(#[from] toml::ser::Error),
}

/// A key with the value that it shall have.
#[derive(Clone, Debug, PartialEq)]
pub struct Set {
    key: String,
    value: Value,
}

impl Set {
    /// Reads `key=value`. The key is a path of tables, of lists by the names of their members: `methods.ours.up_bits`. The value
    /// is as TOML has it, or a word.
    ///
    /// # Errors
    /// [`SetError::Key`].
    pub fn parse(text: &str) -> Result<Self, SetError> {
        let (key, word) = text.split_once('=').unwrap_or((text, ""));
        let parts_named = key.split('.').all(|part| !part.is_empty());
        if !parts_named || word.is_empty() {
            return Err(SetError::Key { text: text.to_owned() });
        }
        Ok(Set { key: key.to_owned(), value: value(word) })
    }

    /// This key with this value.
    #[must_use]
    pub fn new(key: &str, value: Value) -> Self {
        Set { key: key.to_owned(), value }
    }

    /// Its key.
    #[must_use]
    pub fn key(&self) -> &str {
        &self.key
    }

    /// Puts it in the place of what the table says.
    ///
    /// # Errors
    /// [`SetError`] where the path leads to no table.
    pub fn put(&self, root: &mut Table) -> Result<(), SetError> {
        let mut table = root;
        let mut path = self.key.split('.').peekable();
        while let Some(part) = path.next() {
            if path.peek().is_none() {
                table.insert(part.to_owned(), self.value.clone());
                break;
            }
            let empty = || Value::Table(Table::new());
            table = match table.entry(part).or_insert_with(empty) {
                Value::Table(inner) => inner,
                Value::Array(members) => {
                    let name = path.next().unwrap_or_default();
                    let none = || SetError::NoneNamed {
                        key: self.key.clone(),
                        list: part.to_owned(),
                        part: name.to_owned(),
                    };
                    member(members, name).ok_or_else(none)?
                }
                Value::String(_)
                | Value::Integer(_)
                | Value::Float(_)
                | Value::Boolean(_)
                | Value::Datetime(_) => {
                    let (key, part) = (self.key.clone(), part.to_owned());
                    return Err(SetError::NoTable { key, part });
                }
            };
        }
        Ok(())
    }
}

impl std::fmt::Display for Set {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{}={}", self.key, self.value)
    }
}

/// A value as TOML has it, or else a word, as `02:30` is: no key of a simulation wants a moment.
pub(crate) fn value(word: &str) -> Value {
    let read: Result<Table, _> = format!("x = {word}").parse();
    let read = read.ok().and_then(|mut table| table.remove("x"));
    let read = read.filter(|value| !matches!(value, Value::Datetime(_)));
    read.unwrap_or_else(|| Value::String(word.to_owned()))
}

/// The member of a list of tables that has this name.
fn member<'m>(members: &'m mut [Value], name: &str) -> Option<&'m mut Table> {
    members
        .iter_mut()
        .filter_map(Value::as_table_mut)
        .find(|table| table.get("name").and_then(Value::as_str) == Some(name))
}

/// The text of a file with these keys set.
///
/// # Errors
/// [`SetError`].
pub fn with(source: &str, sets: &[Set]) -> Result<String, SetError> {
    let mut root: Table = source.parse()?;
    sets.iter().try_for_each(|set| set.put(&mut root))?;
    Ok(toml::to_string(&root)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str =
        "vehicles = 4\n[night]\nsteps = 3\n[[methods]]\nname = \"ours\"\nkind = \"consensus\"\n";

    #[test]
    fn what_is_set_takes_the_place_of_what_the_file_says() {
        let texts = [
            "vehicles=8",
            "night.steps=5",
            "calendar.absent=0.5",
            "liars.lie=colluding",
            "methods.ours.night.learning_rate=1e-3",
        ];
        let sets: Vec<Set> = texts.iter().map(|text| Set::parse(text).unwrap()).collect();
        let root: Table = with(FILE, &sets).unwrap().parse().unwrap();
        assert_eq!(root["vehicles"].as_integer(), Some(8));
        assert_eq!(root["night"]["steps"].as_integer(), Some(5));
        assert_eq!(root["calendar"]["absent"].as_float(), Some(0.5));
        assert_eq!(root["liars"]["lie"].as_str(), Some("colluding"));
        let ours = &root["methods"][0];
        assert_eq!(ours["kind"].as_str(), Some("consensus"));
        assert_eq!(ours["night"]["learning_rate"].as_float(), Some(1e-3));
    }

    #[test]
    fn what_leads_nowhere_is_refused() {
        for text in ["vehicles", "=1", "night.=1", ".steps=1", "night.steps="] {
            assert!(matches!(Set::parse(text), Err(SetError::Key { .. })), "{text}");
        }
        let set = |text| with(FILE, &[Set::parse(text).unwrap()]);
        assert!(matches!(set("methods.other.up_bits=1"), Err(SetError::NoneNamed { .. })));
        assert!(matches!(set("vehicles.of=1"), Err(SetError::NoTable { .. })));
    }
}
