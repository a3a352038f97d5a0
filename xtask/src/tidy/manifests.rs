//! Every crate goes by the workspace's lints and its one table of dependency versions.

use toml::{Table, Value};

use super::{File, Finding};

pub(super) fn check(files: &[File]) -> Vec<Finding> {
    files.iter().filter(|file| file.path.ends_with("Cargo.toml")).flat_map(manifest).collect()
}

fn manifest(file: &File) -> Vec<Finding> {
    let found = |what: String| Finding::new(&file.path, 0, what);
    let table: Table = match file.text.parse() {
        Ok(table) => table,
        Err(error) => return vec![found(format!("no TOML: {error}"))],
    };
    // A workspace of its own has versions of its own: what is too dear to build with the rest.
    if !table.contains_key("package") || table.contains_key("workspace") {
        return Vec::new();
    }
    let mut findings = Vec::new();
    let inherits = |value: Option<&Value>| {
        value.and_then(|value| value.get("workspace")).and_then(Value::as_bool) == Some(true)
    };
    if !inherits(table.get("lints")) {
        findings.push(found("[lints] workspace = true is missing".to_owned()));
    }
    for section in ["dependencies", "dev-dependencies", "build-dependencies"] {
        let dependencies = table.get(section).and_then(Value::as_table);
        for (name, dependency) in dependencies.into_iter().flatten() {
            if !inherits(Some(dependency)) && dependency.get("path").is_none() {
                let what = format!(
                    "{section}: {name} has a version of its own: the root's table is the one"
                );
                findings.push(found(what));
            }
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::super::file;
    use super::*;

    #[test]
    fn missing_lints_and_versions_of_ones_own_are_found() {
        let good = "[package]\n[lints]\nworkspace = true\n[dependencies]\na.workspace = true\n\
            b = { workspace = true }\nc = { path = \"c\" }\n";
        assert_eq!(check(&[file("a/Cargo.toml", good)]), []);
        let bad =
            "[package]\n[dependencies]\na = \"1\"\n[dev-dependencies]\nb = { version = \"1\" }\n";
        assert_eq!(check(&[file("a/Cargo.toml", bad)]).len(), 3);
    }

    #[test]
    fn a_virtual_manifest_has_no_lints_to_inherit() {
        assert_eq!(check(&[file("Cargo.toml", "[workspace]\n")]), []);
        let apart = "[package]\n[workspace]\n[dependencies]\na = \"1\"\n";
        assert_eq!(check(&[file("a/Cargo.toml", apart)]), []);
    }
}
