//! What every command on an ONNX file begins and ends with: its graph, and where results go.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use clap::Args;
use shoal_runtime::onnx::proto::{GraphProto, TensorProto};
use shoal_runtime::onnx::{Model, Opened, PinOptions, open};

use crate::output::Failure;

/// Lengths of axes that a model leaves open, and values of inputs that are no data.
#[derive(Args, Clone, Default)]
pub(crate) struct Axes {
    /// Length of an open first axis: the batch; of a bare file 1 where nothing is said
    #[arg(long)]
    batch: Option<NonZeroUsize>,
    /// Length of an open axis, again for more: of one without a name INPUT:AXIS=LENGTH, counted from 0. Others get the first
    /// usual length that fits
    #[arg(long = "dim", value_name = "NAME=LENGTH", value_parser = dim)]
    dims: Vec<(String, usize)>,
    /// Value of an input that decides what is computed, as a sampling rate or a flag does: it is a constant then, everywhere the
    /// same, and no input of what is written folded; again for more
    #[arg(long = "value", value_name = "NAME=VALUE", value_parser = value)]
    values: Vec<(String, f64)>,
}

impl Axes {
    /// Reads and folds a model, and says on standard error which axes were given a length.
    pub(crate) fn open(&self, path: &Path) -> Result<(Model, Opened), Failure> {
        if path.is_dir() {
            return Err(no_file(path));
        }
        let model = Model::read_with_data(path)?;
        let opened = self.fold(&model)?;
        if !opened.pinned.is_empty() {
            let axes: Vec<String> = opened.pinned.iter().map(ToString::to_string).collect();
            eprintln!("open axes: {} (--batch, --dim NAME=LENGTH)", axes.join(", "));
        }
        Ok((model, opened))
    }

    /// Whether a named axis was given a length.
    pub(crate) fn has_dims(&self) -> bool {
        !self.dims.is_empty()
    }

    /// The length of the batch, if one was asked for.
    pub(crate) fn batch(&self) -> Option<usize> {
        self.batch.map(NonZeroUsize::get)
    }

    /// What tells this from other training.
    pub(super) fn asked(&self) -> String {
        format!("{:?} {:?} {:?}", self.batch, self.dims, self.values)
    }

    /// Whether anything was asked for.
    pub(crate) fn is_given(&self) -> bool {
        self.batch.is_some() || !self.dims.is_empty() || !self.values.is_empty()
    }

    /// Folds a model that was read.
    ///
    /// # Errors
    /// Where a length is said twice, or the batch's by `--dim` and another by `--batch`.
    pub(crate) fn fold(&self, model: &Model) -> Result<Opened, Failure> {
        let mut dims = BTreeMap::new();
        for (name, length) in &self.dims {
            if dims.insert(name.clone(), *length).is_some() {
                return Err(format!("--dim {name} is given twice: an axis has one length").into());
            }
        }
        let mut values = BTreeMap::new();
        for (name, value) in &self.values {
            if values.insert(name.clone(), *value).is_some() {
                return Err(format!("--value {name} is given twice").into());
            }
        }
        let options = PinOptions { batch: self.batch(), dims, open: None, values };
        let opened = open(model, &options)?;
        let Some(batch) = self.batch() else { return Ok(opened) };
        let mut first = opened.pinned.iter().filter(|axis| axis.axis == 0).peekable();
        match first.peek().copied() {
            Some(axis) if first.all(|axis| axis.length != batch) => Err(format!(
                "--batch {batch} is for the first axis, and --dim says that {axis}: give one of them"
            )
            .into()),
            Some(_) | None => Ok(opened),
        }
    }
}

/// What to name in the place of a folder.
fn no_file(folder: &Path) -> Failure {
    let (shown, model) = (folder.display(), folder.join("model.onnx"));
    if folder.join("model.toml").is_file() {
        return format!("{shown} is a package: name the model in it, {}", model.display()).into();
    }
    format!("{shown} is a folder: name an ONNX file").into()
}

fn dim(text: &str) -> Result<(String, usize), String> {
    let parsed = text.rsplit_once('=').and_then(|(name, n)| Some((name, n.parse().ok()?)));
    match parsed.filter(|(name, length)| !name.is_empty() && *length > 0) {
        Some((name, length)) => Ok((name.to_owned(), length)),
        None => Err("expected NAME=LENGTH, such as height=224".to_owned()),
    }
}

fn value(text: &str) -> Result<(String, f64), String> {
    let number = |text: &str| match text {
        "true" => Some(1.0),
        "false" => Some(0.0),
        _ => text.parse().ok().filter(|value: &f64| value.is_finite()),
    };
    let parsed = text.rsplit_once('=').and_then(|(name, value)| Some((name, number(value)?)));
    match parsed.filter(|(name, _)| !name.is_empty()) {
        Some((name, value)) => Ok((name.to_owned(), value)),
        None => Err("expected NAME=VALUE, such as sr=16000 or use_cache=false".to_owned()),
    }
}

/// Where a result goes: where it was asked for, else beside the current directory as the model's name and `ending`.
///
/// # Errors
/// If that is the model itself.
pub(crate) fn result_path(
    model: &Path,
    asked: Option<&Path>,
    ending: &str,
) -> Result<PathBuf, Failure> {
    let mut name = model.file_stem().unwrap_or_default().to_owned();
    name.push(ending);
    let path = asked.map_or_else(|| PathBuf::from(name), Path::to_owned);
    let same = |a: &Path, b: &Path| match (a.canonicalize(), b.canonicalize()) {
        (Ok(a), Ok(b)) => a == b,
        _ => false,
    };
    if same(&path, model) {
        return Err(format!("{} is the model itself: choose another -o", path.display()).into());
    }
    if path.is_file() && beside(model, &path).iter().any(|stored| same(&path, stored)) {
        let shown = path.display();
        return Err(format!("{shown} holds weights of the model: choose another -o").into());
    }
    Ok(path)
}

/// The files beside a model that hold its weights. Who names a result as models are named means none of them.
fn beside(model: &Path, result: &Path) -> BTreeSet<PathBuf> {
    if result.extension().is_some_and(|extension| extension == "onnx") {
        return BTreeSet::new();
    }
    Model::read(model).map(|read| beside_of(model, &read)).unwrap_or_default()
}

/// The files beside a model, read without them, that hold its weights.
pub(super) fn beside_of(model: &Path, read: &Model) -> BTreeSet<PathBuf> {
    let folder = model.parent().unwrap_or(Path::new(""));
    let mut stored = Vec::new();
    tensors(read.graph(), &mut stored);
    let places = stored.into_iter().flat_map(|tensor| &tensor.external_data);
    places.filter(|entry| entry.key() == "location").map(|e| folder.join(e.value())).collect()
}

/// Every stored tensor of a graph and of those in it.
fn tensors<'g>(graph: &'g GraphProto, into: &mut Vec<&'g TensorProto>) {
    into.extend(&graph.initializer);
    for node in &graph.node {
        into.extend(node.attribute.iter().filter_map(|attribute| attribute.t.as_deref()));
        node.subgraphs().for_each(|graph| tensors(graph, into));
    }
}

#[cfg(test)]
mod tests {
    use shoal_runtime::onnx::proto::StringStringEntryProto;
    use shoal_runtime::onnx::{Builder, Tensor, TensorType};

    use super::*;

    #[test]
    fn a_result_is_named_after_its_model_and_never_replaces_it() {
        let folder = tempfile::tempdir().unwrap();
        let model = folder.path().join("a.b.onnx");
        std::fs::write(&model, []).unwrap();
        let path = result_path(&model, None, ".grafted.onnx").unwrap();
        assert_eq!(path, Path::new("a.b.grafted.onnx"));
        let other = folder.path().join("c.onnx");
        assert_eq!(result_path(&model, Some(&other), "").unwrap(), other);
        assert!(result_path(&model, Some(&folder.path().join("./a.b.onnx")), "").is_err());
    }

    #[test]
    fn a_result_never_replaces_what_lies_beside_the_model() {
        let folder = tempfile::tempdir().unwrap();
        let (model, data) = (folder.path().join("a.onnx"), folder.path().join("a.bin"));
        std::fs::write(&data, [0; 16]).unwrap();
        let mut b = Builder::new(17);
        let x = b.input("x", TensorType::f32(&[1, 4]));
        let w = b.initializer("w", &Tensor::f32(&[4, 1], &[0.5; 4]));
        let y = b.op("MatMul", &[&x, &w], &[]).unwrap();
        b.output("y", &y);
        let mut written = b.into_model();
        let stored = &mut written.graph_mut().initializer[0];
        (stored.raw_data, stored.data_location) = (None, Some(1));
        let (key, value) = (Some("location".to_owned()), Some("a.bin".to_owned()));
        stored.external_data = vec![StringStringEntryProto { key, value }];
        written.write(&model).unwrap();
        let refused = result_path(&model, Some(&data), ".onnx").unwrap_err().to_string();
        assert!(refused.contains("weights of the model"), "{refused}");
        std::fs::write(folder.path().join("other.bin"), []).unwrap();
        assert!(result_path(&model, Some(&folder.path().join("other.bin")), ".onnx").is_ok());
    }

    #[test]
    fn a_named_axis_has_a_length() {
        assert_eq!(dim("a=b=3").unwrap(), ("a=b".to_owned(), 3));
        assert!(dim("a").is_err() && dim("a=0").is_err() && dim("=4").is_err());
    }

    #[test]
    fn a_named_input_has_a_value() {
        assert_eq!(value("sr=16000").unwrap(), ("sr".to_owned(), 16000.0));
        assert_eq!(value("a=b=true").unwrap(), ("a=b".to_owned(), 1.0));
        assert!(value("a").is_err() && value("a=nan").is_err() && value("=1").is_err());
    }
}
