//! The list of seeded defects: what each changes is there, once.

use std::path::Path;

use super::{File, Finding};
use crate::worlds::{DEFECTS, defects};
use crate::{Done, Failure};

/// Changes that cannot be made any more.
pub(super) fn check(files: &[File]) -> Done<Vec<Finding>> {
    let text = |path: &Path| files.iter().find(|file| file.path == path).map(|file| &file.text);
    let Some(list) = text(Path::new(DEFECTS)) else {
        return Err(Failure(format!("{DEFECTS} is missing")));
    };
    let mut findings = Vec::new();
    for defect in defects(list)? {
        for change in &defect.changes {
            let times = text(&change.file).map_or(0, |text| text.matches(&change.from).count());
            if times != 1 {
                let (name, file) = (&defect.name, change.file.display());
                let what = format!("{name}: what it changes is {times} times in {file}");
                findings.push(Finding::new(DEFECTS, 0, what));
            }
        }
    }
    Ok(findings)
}

#[cfg(test)]
mod tests {
    use super::super::file;
    use super::*;

    const LIST: &str = "
        [[defects]]
        name = 'a'
        what = 'b'
        [[defects.changes]]
        file = 'src/a.rs'
        from = 'true'
        to = 'false'
    ";

    #[test]
    fn a_change_that_cannot_be_made_is_found() {
        let findings =
            |code: &str| check(&[file(DEFECTS, LIST), file("src/a.rs", code)]).unwrap().len();
        assert_eq!((findings("x(true)"), findings("x(1)"), findings("true && true")), (0, 1, 1));
        assert!(check(&[file("src/a.rs", "")]).is_err(), "no list");
        assert!(check(&[file(DEFECTS, "[[defects]]\nname = 'a'")]).is_err(), "no changes");
    }
}
