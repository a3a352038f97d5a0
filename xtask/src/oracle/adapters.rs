//! `cargo xtask oracle adapters`: ONNX Runtime's own Python runs a grafted model with an adapter file of ours and is compared with
//! the baked one; what it writes is read here. `cargo xtask oracle peft`: the same with the adapters of Hugging Face's PEFT.

use std::fs;
use std::path::{Path, PathBuf};

use crate::process::Run;
use crate::{Done, Failure, root, test, tools};

/// The sites, of two ranks.
const SITES: [&str; 4] = ["--targets", "*", "--targets", "enc*=3"];

/// Programs and files of a comparison, in a folder of its own.
struct Place {
    folder: PathBuf,
    shoal: PathBuf,
}

impl Place {
    /// An empty folder of this name, and `shoal` built.
    fn new(name: &str) -> Done<Place> {
        let folder = root().join("target/oracle").join(name);
        let used = |error| Failure(format!("cannot use {}: {error}", folder.display()));
        if folder.exists() {
            fs::remove_dir_all(&folder).map_err(used)?;
        }
        fs::create_dir_all(&folder).map_err(used)?;
        Ok(Place { folder, shoal: super::built_shoal()? })
    }

    /// `shoal model COMMAND` of the shipped world model.
    fn model(&self, command: &str, rest: &[&str]) -> Done {
        let run = Run::new(&self.shoal).args(["model", command]).arg(world());
        run.args(rest).envs(&test::variables()).at(&self.folder).run()
    }

    /// A script of xtask/oracle, in this folder.
    fn script(&self, python: &Path, name: &str) -> Run {
        Run::new(python).arg(root().join("xtask/oracle").join(name)).at(&self.folder)
    }
}

fn world() -> PathBuf {
    root().join("models/world/model.onnx")
}

pub(super) fn onnxruntime() -> Done {
    println!("installs ONNX Runtime's Python into target/tools/adapters");
    let python = super::install_into(&tools().join("adapters"), &["adapters.txt"])?;
    let place = Place::new("adapters")?;
    place.model("train", &[&SITES[..], &["-o", "a.onnx_adapter"]].concat())?;
    place.model("graft", &[&SITES[..], &["--optional", "-o", "grafted.onnx"]].concat())?;
    place.model("bake", &["a.onnx_adapter", "-o", "baked.onnx"])?;
    place
        .script(&python, "onnx_adapter.py")
        .args(["check", "baked.onnx", "grafted.onnx", "a.onnx_adapter", "again.onnx_adapter"])
        .run()?;
    place.model("convert", &["a.onnx_adapter", "ours"])?;
    place.model("convert", &["again.onnx_adapter", "theirs", "--alpha", "16"])?;
    let tensors = |directory: &str| {
        let file = place.folder.join(directory).join("adapter_model.safetensors");
        read(&file)
    };
    if tensors("ours")? != tensors("theirs")? {
        return Err(Failure::new("what ONNX Runtime wrote is read to another adapter"));
    }
    println!("what ONNX Runtime wrote of it is read to the same adapter");
    Ok(())
}

/// Ours loaded by PEFT, and PEFT's baked by us: outputs of both are compared.
pub(super) fn peft() -> Done {
    let python = super::install(&["requirements.txt", "peft.txt"])?;
    let place = Place::new("peft")?;
    let check = |adapter: &str, baked: &str| {
        place.model("bake", &[adapter, "-o", baked])?;
        let check = place.script(&python, "peft_world.py").arg("check");
        check.arg(world()).args([adapter, baked]).run()
    };
    place.model("train", &[&SITES[..], &["-o", "ours"]].concat())?;
    check("ours", "ours.onnx")?;
    place.script(&python, "peft_world.py").arg("train").arg(world()).arg("theirs").run()?;
    check("theirs", "theirs.onnx")
}

fn read(file: &Path) -> Done<Vec<u8>> {
    fs::read(file).map_err(|error| Failure(format!("cannot read {}: {error}", file.display())))
}
