//! Where engines are kept that TensorRT built: one folder for each thing that an engine depends on.
//!
//! An engine fits one graph, one version of ONNX Runtime, one driver and one device. The graph as it is loaded holds the
//! topology of an adapter too: its factors are inputs, with names and shapes. So all of these are hashed into the name of a
//! folder, and what changes any of them builds anew.

use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use crate::engine::{Kept, LoadOptions, Providers};

/// The file that says that a folder's engines are whole, and of what they are.
const MARK: &str = "built.json";
/// What a machine says that is not asked in a known way.
const UNKNOWN: &str = "unknown";

/// The accelerators of a machine and what drives them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Machine {
    driver: String,
    devices: String,
}

impl Machine {
    /// As Linux shows them below `root`: NVIDIA's driver for cards, or L4T of its embedded boards.
    pub(super) fn read(root: &Path) -> Self {
        let first = |file: &str| {
            let text = std::fs::read_to_string(root.join(file)).ok()?;
            let line = text.lines().next().unwrap_or_default().trim_end_matches('\0').trim();
            (!line.is_empty()).then(|| line.to_owned())
        };
        let driver = first("proc/driver/nvidia/version").or_else(|| first("etc/nv_tegra_release"));
        let cards = cards(&root.join("proc/driver/nvidia/gpus"));
        let devices = cards.or_else(|| first("proc/device-tree/model"));
        let said = |text: Option<String>| text.unwrap_or_else(|| UNKNOWN.to_owned());
        Self { driver: said(driver), devices: said(devices) }
    }
}

fn cards(folder: &Path) -> Option<String> {
    let mut cards: Vec<PathBuf> =
        std::fs::read_dir(folder).ok()?.flatten().map(|entry| entry.path()).collect();
    cards.sort();
    let model = |card: &PathBuf| {
        let text = std::fs::read_to_string(card.join("information")).ok()?;
        let model = text.lines().find_map(|line| line.strip_prefix("Model:"))?;
        Some(model.trim().to_owned())
    };
    let models: Vec<String> = cards.iter().filter_map(model).collect();
    (!models.is_empty()).then(|| models.join(", "))
}

/// What the engines of one load depend on.
#[derive(Clone, Debug, serde::Serialize)]
pub(super) struct Parts<'a> {
    model_sha256: String,
    onnxruntime: &'a str,
    driver: &'a str,
    devices: &'a str,
    device: u32,
    fp16: bool,
    options: String,
}

impl<'a> Parts<'a> {
    pub(super) fn new(
        model_sha256: [u8; 32],
        version: &'a str,
        machine: &'a Machine,
        providers: &Providers,
        options: &LoadOptions,
    ) -> Self {
        let LoadOptions { optimise, integers, entries, .. } = options;
        Self {
            model_sha256: hex(&model_sha256),
            onnxruntime: version,
            driver: &machine.driver,
            devices: &machine.devices,
            device: providers.device,
            fp16: providers.fp16,
            options: format!("{optimise:?} integers {integers} {entries:?}"),
        }
    }

    /// The folder below `cache`, and whether it holds what it is for.
    pub(super) fn kept(&self, cache: &Path) -> Kept {
        let key = hex(&Sha256::digest(self.json()));
        let folder = cache.join(key.get(..32).unwrap_or(&key));
        let is_there = folder.join(MARK).is_file();
        Kept { folder, is_there }
    }

    /// Notes that the engines are whole.
    pub(super) fn mark(&self, kept: &Kept) -> std::io::Result<()> {
        let half = kept.folder.join("built.half");
        std::fs::write(&half, self.json())?;
        std::fs::rename(half, kept.folder.join(MARK))
    }

    fn json(&self) -> Vec<u8> {
        serde_json::to_vec(self).unwrap_or_default()
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hash(model: &[u8]) -> [u8; 32] {
        Sha256::digest(model).into()
    }

    fn machine(root: &Path, driver: &str) -> Machine {
        let card = root.join("proc/driver/nvidia/gpus/0000:01:00.0");
        std::fs::create_dir_all(&card).unwrap();
        std::fs::write(root.join("proc/driver/nvidia/version"), format!("{driver}\nGCC\n"))
            .unwrap();
        std::fs::write(card.join("information"), "Model: \t\t NVIDIA H200\nIRQ: 9\n").unwrap();
        Machine::read(root)
    }

    #[test]
    fn driver_and_devices_are_read_where_they_can_be() {
        let folder = tempfile::tempdir().unwrap();
        let nothing = Machine::read(folder.path());
        assert_eq!(nothing, Machine { driver: UNKNOWN.into(), devices: UNKNOWN.into() });
        let read = machine(folder.path(), "NVRM version: 570.1");
        assert_eq!(
            read,
            Machine { driver: "NVRM version: 570.1".into(), devices: "NVIDIA H200".into() }
        );
    }

    #[test]
    fn what_an_engine_depends_on_changes_its_folder_and_nothing_else_does() {
        let folder = tempfile::tempdir().unwrap();
        let old = machine(folder.path(), "550");
        let new = machine(folder.path(), "570");
        let (asked, options) = (Providers::default(), LoadOptions::default());
        let at = |parts: Parts<'_>| parts.kept(Path::new("cache")).folder;
        let base = at(Parts::new(hash(b"model"), "1.31.1", &old, &asked, &options));
        assert!(base.starts_with("cache"));
        let half = Providers { fp16: true, ..Providers::default() };
        let second = Providers { device: 1, ..Providers::default() };
        let basic = LoadOptions { optimise: crate::engine::Optimise::Basic, ..options.clone() };
        for other in [
            Parts::new(hash(b"other"), "1.31.1", &old, &asked, &options),
            Parts::new(hash(b"model"), "1.32.0", &old, &asked, &options),
            Parts::new(hash(b"model"), "1.31.1", &new, &asked, &options),
            Parts::new(hash(b"model"), "1.31.1", &old, &half, &options),
            Parts::new(hash(b"model"), "1.31.1", &old, &second, &options),
            Parts::new(hash(b"model"), "1.31.1", &old, &asked, &basic),
        ] {
            assert_ne!(at(other.clone()), base, "{other:?}");
        }
        let threads = LoadOptions { threads: 4.try_into().unwrap(), ..options.clone() };
        assert_eq!(at(Parts::new(hash(b"model"), "1.31.1", &old, &asked, &threads)), base);
    }

    #[test]
    fn engines_are_there_once_they_are_marked_as_whole() {
        let folder = tempfile::tempdir().unwrap();
        let machine = Machine::read(folder.path());
        let (asked, options) = (Providers::default(), LoadOptions::default());
        let parts = Parts::new(hash(b"model"), "1.31.1", &machine, &asked, &options);
        let kept = parts.kept(folder.path());
        assert!(!kept.is_there);
        std::fs::create_dir_all(&kept.folder).unwrap();
        assert!(!parts.kept(folder.path()).is_there, "a build that was cut is no engine");
        parts.mark(&kept).unwrap();
        assert!(parts.kept(folder.path()).is_there);
    }
}
