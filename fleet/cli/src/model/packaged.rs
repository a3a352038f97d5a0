//! A package whose weights were trained, written beside the one it comes from.

use std::path::{Path, PathBuf};

use shoal_runtime::onnx::Model;
use shoal_shadow::package::{DESCRIPTION_FILE, Package, hash_file};

use crate::output::{Failure, Outcome};

/// The folder of a package's footage.
const FOOTAGE: &str = "footage";

/// Refuses a package that would be written over something, or cannot be written there: after the training it is too late.
pub(super) fn is_free(output: &Path) -> Outcome {
    if output.exists() {
        return Err(format!("{} is there already: choose another -o", output.display()).into());
    }
    can_be_made(output)?;
    let tried = std::fs::create_dir(output).and_then(|()| std::fs::remove_dir(output));
    tried.map_err(cannot(output))
}

/// Refuses a result that cannot be written where it is to go: a file where a folder is, or a folder where a file is.
pub(super) fn can_take(output: &Path, is_file: bool) -> Outcome {
    let shown = output.display();
    match (output.exists(), output.is_dir(), is_file) {
        (true, true, true) => Err(format!("{shown} is a folder: choose another -o").into()),
        (true, false, false) => Err(format!(
            "{shown} is a file, and an adapter is a folder unless it ends in .onnx_adapter: choose another -o"
        )
        .into()),
        (true, _, _) => Ok(()),
        (false, _, true) => can_be_made(output),
        // All folders on the way are made.
        (false, _, false) => match output.ancestors().find(|above| above.exists()) {
            Some(above) if !above.is_dir() => is_no_folder(above),
            Some(_) | None => Ok(()),
        },
    }
}

fn can_be_made(output: &Path) -> Outcome {
    match output.parent() {
        Some(above) if !above.as_os_str().is_empty() && !above.is_dir() => is_no_folder(above),
        Some(_) | None => Ok(()),
    }
}

fn is_no_folder(above: &Path) -> Outcome {
    Err(format!("{} is no folder: make it, or choose another -o", above.display()).into())
}

/// Writes a package with this model; `footage` fills its folder of footage, if it is to have one.
pub(super) fn write_package(
    package: &Package,
    trained: &Model,
    output: &Path,
    footage: Option<impl FnOnce(&Path) -> Outcome>,
) -> Outcome {
    let mut description = package.description().clone();
    std::fs::create_dir(output).map_err(cannot(output))?;
    let file = output.join(&description.model);
    // The description may name a file in folders of its own.
    let folder = file.parent().unwrap_or(output);
    std::fs::create_dir_all(folder).map_err(cannot(folder))?;
    trained.write(&file)?;
    description.model_sha256 = Some(hash_file(&file).map_err(cannot(&file))?);
    description.footage = match footage {
        Some(fill) => {
            fill(&output.join(FOOTAGE))?;
            Some(PathBuf::from(FOOTAGE))
        }
        None => None,
    };
    let file = output.join(DESCRIPTION_FILE);
    std::fs::write(&file, description.to_toml()).map_err(cannot(&file))
}

/// Copies the footage of a package: folders of files.
pub(super) fn copy_footage(from: &Path, to: &Path) -> Outcome {
    std::fs::create_dir_all(to).map_err(cannot(to))?;
    for entry in std::fs::read_dir(from).map_err(cannot(from))? {
        let entry = entry.map_err(cannot(from))?;
        let (from, to) = (entry.path(), to.join(entry.file_name()));
        if from.is_dir() {
            copy_footage(&from, &to)?;
        } else {
            std::fs::copy(&from, &to).map_err(cannot(&from))?;
        }
    }
    Ok(())
}

fn cannot(path: &Path) -> impl FnOnce(std::io::Error) -> Failure {
    let path = path.display().to_string();
    move |error| format!("cannot write {path}: {error}").into()
}

#[cfg(test)]
mod tests {
    use shoal_shadow::worldmodel::{self, Architecture};

    use super::*;

    #[test]
    fn a_package_whose_model_is_in_a_folder_of_its_own_is_written_as_it_was() {
        let folder = tempfile::tempdir().unwrap();
        let (from, to) = (folder.path().join("from"), folder.path().join("to"));
        let small = Architecture {
            width: 32,
            height: 16,
            channels: [8, 12, 16],
            pairs_half: 1,
            pairs_full: 0,
            differences: false,
        };
        let model = worldmodel::build(&small, 1).unwrap();
        let mut description = worldmodel::description(&small);
        description.model = "onnx/model.onnx".into();
        std::fs::create_dir_all(from.join("onnx")).unwrap();
        model.write(&from.join("onnx/model.onnx")).unwrap();
        std::fs::write(from.join(DESCRIPTION_FILE), description.to_toml()).unwrap();
        let package = Package::open(&from).unwrap();

        is_free(&to).unwrap();
        write_package(&package, &model, &to, None::<fn(&Path) -> Outcome>).unwrap();
        let written = Package::open(&to).unwrap();
        assert_eq!(written.model_path(), to.join("onnx/model.onnx"));
        assert!(is_free(&to).is_err());
    }
}
