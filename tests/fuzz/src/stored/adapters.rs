//! Adapters in folders that others bring, in slots, and the record of a trial.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use sha2::{Digest as _, Sha256};
use shoal_runtime::adapter::{Adapter, PeftConfig};
use shoal_runtime::graft::{graft, sites};
use shoal_swarm::campaign::Mine;
use shoal_vehicle::agent::{Tried, adapter_from_bytes, adapter_to_bytes};

use crate::entry::{layout, small};
use crate::parts::parts;

/// A digest.
const HASH_BYTES: usize = 32;

/// A folder of settings and of tensors: for a model that is grafted as they say, and for one of another layout.
pub(super) fn peft(bytes: &[u8]) {
    let around = tempfile::tempdir().expect("the system has a folder for such");
    let folder = around.path();
    for (name, part) in
        ["adapter_config.json", "adapter_model.safetensors"].iter().zip(parts(bytes))
    {
        fs::write(folder.join(name), part).expect("the folder is ours");
    }
    if let Ok(adapter) = Adapter::read_peft(folder, layout().clone()) {
        written_again(&adapter, folder);
    }
    let Ok(config) = PeftConfig::read(folder) else { return };
    let options = config.graft_options(&sites(small()));
    let Ok(grafted) = graft(small(), &options) else { return };
    for site in &grafted.layout.sites {
        assert!(site.alpha.is_finite() && site.alpha > 0.0, "{site:?}");
    }
    if let Ok(adapter) = Adapter::read_peft(folder, grafted.layout) {
        written_again(&adapter, folder);
    }
}

/// What was read is what is read of what it is written to.
fn written_again(adapter: &Adapter, folder: &Path) {
    let written = folder.join("written");
    adapter.write_peft(&written).expect("a read adapter is finite");
    let again = Adapter::read_peft(&written, Arc::clone(adapter.layout()));
    assert_eq!(again.ok().as_ref(), Some(adapter), "an adapter is read as it was written");
}

/// Bytes of a slot: as they are, and behind the hash of the layout, with the digest behind them.
pub(super) fn slot(bytes: &[u8]) {
    let layout = Arc::new(layout().clone());
    let mut mended = layout.hash().to_vec();
    mended.extend(bytes);
    let whole = [&mended[..], &Sha256::digest(&mended)[..]].concat();
    for bytes in [bytes, &mended, &whole] {
        let Ok(adapter) = adapter_from_bytes(bytes, &layout, "<fuzz>".to_owned()) else { continue };
        assert!(adapter.values().iter().all(|value| value.is_finite()));
        let written = adapter_to_bytes(&adapter);
        // What was written before there was a digest has none.
        let before = written.get(..written.len() - HASH_BYTES);
        assert!(bytes == written || Some(bytes) == before, "a slot has one form");
    }
}

/// The record of a trial.
pub(super) fn trial(bytes: &[u8]) {
    let Some(tried) = Tried::of(bytes) else { return };
    assert_eq!(Tried::of(&[bytes, &[0]].concat()), None, "bytes left over are not ours");
    assert_eq!(tried.why.is_some(), tried.mine == Mine::GoneBack, "who goes back says why");
    assert!(tried.mine != Mine::Kept || tried.active == Some(tried.ask.particle));
}
