//! What the vehicles of a test carry: models that are small and untrained, and packs to measure them on.

use std::fs;
use std::path::Path;

use shoal_hal::backend::synthetic::{Region, Road};
use shoal_runtime::onnx::{Builder, TensorType};
use shoal_shadow::form::Form;
use shoal_shadow::grid::{ACCELERATION_BINS, Action, ActionGrid, BINS, SHA256};
use shoal_shadow::pack::{Acted, PackOptions, build, build_imitation};
use shoal_shadow::package::{DESCRIPTION_FILE, Description};
use shoal_shadow::worldmodel::{self, Architecture};
use shoal_vehicle::drives::attentive;

/// The default model, very small and untrained.
pub(crate) fn package(folder: &Path) {
    let architecture = Architecture {
        width: 32,
        height: 16,
        channels: [8, 12, 16],
        pairs_half: 1,
        pairs_full: 0,
        differences: false,
    };
    let model = worldmodel::build(&architecture, 1).expect("a model");
    let mut description = worldmodel::description(&architecture);
    description.adapter.rank = 4;
    fs::create_dir(folder).expect("a folder");
    model.write(&folder.join(&description.model)).expect("a file");
    fs::write(folder.join(DESCRIPTION_FILE), description.to_toml()).expect("a file");
}

/// One that goes straight on at its speed, unless an adapter sees something in its 8×4 frames.
pub(crate) fn policy(folder: &Path) {
    let mut b = Builder::new(17);
    let x = b.input("x", TensorType::f32(&[1, 3, 4, 8]));
    let rows = b.i64s(&[1, -1]);
    let flat = b.op("Reshape", &[&x, &rows], &[]).expect("96 values");
    let weight = b.f32s(&[96, BINS], &vec![0.0; 96 * BINS]);
    let seen = b.op("MatMul", &[&flat, &weight], &[]).expect("a matrix");
    let straight = ActionGrid::v1().bin(Action::default());
    let place = |bin: usize| (bin / ACCELERATION_BINS, bin % ACCELERATION_BINS);
    let ((column, row), away) = (place(straight), |a: usize, b: usize| a.abs_diff(b) as f32);
    let bias = (0..BINS).map(|bin| -0.4 * (away(place(bin).0, column) + away(place(bin).1, row)));
    let bias = b.f32s(&[BINS], &bias.collect::<Vec<f32>>());
    let logits = b.op("Add", &[&seen, &bias], &[]).expect("logits");
    b.output("logits", &logits);
    fs::create_dir(folder).expect("a folder");
    b.into_model().write(&folder.join("model.onnx")).expect("a file");
    let grid: String = SHA256.iter().map(|byte| format!("{byte:02x}")).collect();
    let toml = format!(
        "rate_hz = 10.0\n[frames]\ninput = 'x'\ncount = 1\nwidth = 8\nheight = 4\n\
         [action]\noutput = 'logits'\ngrid = '{grid}'\n[adapter]\nrank = 2\nalpha = 2.0\n"
    );
    fs::write(folder.join(DESCRIPTION_FILE), toml).expect("a file");
}

/// A pack of attentive drivers.
pub(crate) fn drivers(description: &Description, folder: &Path) {
    let form = Form::of_policy(description).expect("a policy");
    // The fourth road has tight curves: there is something to be seen.
    let driven = attentive(4, 400, &form, 0).split_off(3);
    let acted: Vec<_> = driven.iter().filter_map(Acted::of_driven).collect();
    let drives: Vec<_> = driven.into_iter().map(|driven| driven.drive).collect();
    build_imitation(&drives, &acted, &options(description, "test"), folder).expect("a pack");
}

/// A pack of the first so many of these roads.
pub(crate) fn pack(description: &Description, roads: usize, folder: &Path) {
    let regions = [Region::Highway, Region::Rural, Region::Forest, Region::Autobahn];
    pack_of(description, (&regions[..roads], 3_000_000), "test", folder);
}

/// A pack of a road in each of these regions, with seeds from this one on.
pub(crate) fn pack_of(
    description: &Description,
    (regions, seed): (&[Region], u64),
    id: &str,
    folder: &Path,
) {
    let shape = description.frames.as_ref().expect("it sees frames").shape;
    let drives: Vec<_> = regions
        .iter()
        .zip(seed..)
        .map(|(&region, seed)| Road { region, seed }.render(shape, description.rate_hz, 240))
        .collect();
    build(&drives, &options(description, id), folder).expect("a pack");
}

fn options(description: &Description, id: &str) -> PackOptions {
    PackOptions {
        id: id.into(),
        version: 1,
        licence: "generated".into(),
        context: description.context(),
    }
}
