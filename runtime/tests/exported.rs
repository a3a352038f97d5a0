//! Whole models as exporters wrote them (`cargo xtask oracle exporters`): each is trained and baked, and its sites are called as far
//! as the file says what they are of.
#![cfg(feature = "ort")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod brought;

use std::collections::BTreeMap;
use std::path::Path;

use brought::works;
use safetensors::SafeTensors;
use shoal_runtime::engine::testing::ort_or_skip;
use shoal_runtime::onnx::Model;

/// The whole models of a fixture, by name.
fn exported(fixture: &str) -> BTreeMap<String, Model> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
    let bytes = std::fs::read(folder.join(fixture)).unwrap();
    let stored = SafeTensors::deserialize(&bytes).unwrap();
    let whole = stored.iter().filter_map(|(name, view)| {
        let name = name.strip_prefix("whole.")?.strip_suffix("/model")?;
        Some((name.to_owned(), Model::from_bytes(view.data().to_vec().into()).unwrap()))
    });
    whole.collect()
}

/// Of every site of a model: a part of its name, and the nodes that read its weight.
fn check_exported(fixture: &str, want: &[(&str, Vec<(&str, usize)>)]) {
    if ort_or_skip().is_none() {
        return;
    }
    let models = exported(fixture);
    let names: Vec<&str> = models.keys().map(String::as_str).collect();
    assert_eq!(names, want.iter().map(|(name, _)| *name).collect::<Vec<_>>());
    for (name, sites) in want {
        let fitted = works(&models[*name]);
        let found = &fitted.adapter.layout().sites;
        let found: Vec<(&str, usize)> =
            found.iter().map(|site| (site.name.as_str(), site.nodes.len())).collect();
        assert_eq!(found.len(), sites.len(), "{name}: {found:#?}");
        for ((site, nodes), (part, want)) in found.iter().zip(sites) {
            assert!(site.contains(part) && nodes == want, "{name}: {found:#?}");
        }
    }
}

/// Recurrent layers of Keras are loops in the file: their weights are one site each, under the layer's name.
#[test]
fn whole_models_of_keras_are_trained_and_baked() {
    let cell = "conv_lstm2d_1/while/conv_lstm_cell_1/convolution";
    let [forward, backward] = ["forward_gru_1/gru_cell_1", "backward_gru_1/gru_cell_1"];
    let heads = ["value", "key", "query", "attention_output"];
    let attention = heads.map(|head| (head, 1)).into_iter().chain([("dense", 1); 2]);
    let want: [(&str, Vec<(&str, usize)>); 7] = [
        ("attention", attention.collect()),
        ("conv_lstm", [(cell, 3); 8].into_iter().chain([("conv2d_1", 1)]).collect()),
        (
            "frames_lstm",
            vec![
                ("time_distributed_1", 3),
                ("time_distributed_1", 3),
                ("W0", 1),
                ("R0", 1),
                ("dense", 1),
            ],
        ),
        (
            "gru",
            [(forward, 4), (forward, 4), (backward, 4), (backward, 4)]
                .into_iter()
                .chain([("gru_1_1", 4); 3])
                .chain([("dense", 1)])
                .collect(),
        ),
        ("masked_lstm", vec![("lstm_cell", 4), ("lstm_cell", 4), ("dense", 1)]),
        ("simple_rnn", [("simple_rnn_cell", 4); 4].into_iter().chain([("dense", 1)]).collect()),
        ("unet", vec![("conv2d", 1), ("conv2d", 1), ("conv2d_transpose", 1), ("conv2d", 1)]),
    ];
    check_exported("exported_tensorflow.safetensors", &want);
}

/// The file keeps no names of modules.
#[test]
fn whole_models_of_flax_are_trained_and_baked() {
    let want: [(&str, Vec<(&str, usize)>); 4] = [
        ("block", [("kernel2d", 1); 4].into_iter().chain([("const", 1); 2]).collect()),
        ("cells", vec![("const_0", 4), ("const_2", 4), ("const_3", 1)]),
        ("lstm", vec![("const_0", 4), ("const_2", 4), ("const_3", 1)]),
        ("pilot", vec![("kernel_oih_0", 1), ("kernel_oih_1", 1), ("const", 1)]),
    ];
    check_exported("exported_jax.safetensors", &want);
}

/// Sites are called as PyTorch calls its modules, by either exporter: of a dictionary of modules, which is never called, the older
/// one does not say the name.
#[test]
fn whole_modules_of_pytorch_are_trained_and_their_sites_are_called_as_their_modules() {
    if ort_or_skip().is_none() {
        return;
    }
    let drive =
        ["see.0", "see.2", "remember.W", "remember.R", "steer", "throttle"].map(String::from);
    let looks =
        ["layer.self_attn", "layer.self_attn.out_proj", "layer.linear1", "layer.linear2", "value"];
    let looks = looks.map(String::from);
    let unet = ["stem.0", "down.0", "wide", "up", "head"].map(String::from);
    let tokens = |attention: &str| {
        let block = |number| {
            let parts = [
                format!("{attention}qkv"),
                format!("{attention}proj"),
                "mlp.0".into(),
                "mlp.2".into(),
            ];
            parts.map(|part| format!("blocks.{number}.{part}"))
        };
        let blocks = (0..2).flat_map(block);
        ["embed".to_owned()]
            .into_iter()
            .chain(blocks)
            .chain(["head".to_owned()])
            .collect::<Vec<_>>()
    };
    let want = [
        ("gru.dynamo", drive.to_vec()),
        ("gru.torchscript", drive.to_vec()),
        ("looks.dynamo", looks.to_vec()),
        ("looks.torchscript", looks.to_vec()),
        ("lstm.dynamo", drive.to_vec()),
        ("lstm.torchscript", drive.to_vec()),
        ("tokens.dynamo", tokens("attn.")),
        ("tokens.torchscript", tokens("")),
        ("unet.dynamo", unet.to_vec()),
        ("unet.torchscript", unet.to_vec()),
    ];
    let called = |model: &Model| {
        let fitted = works(model);
        let sites = fitted.adapter.layout().sites.iter();
        let names = sites.map(|site| site.module.clone().unwrap_or_else(|| site.name.clone()));
        names.map(|name| name.trim_end_matches(".weight").to_owned()).collect::<Vec<_>>()
    };
    let models = exported("exported.safetensors");
    let found: Vec<(&str, Vec<String>)> =
        models.iter().map(|(name, model)| (name.as_str(), called(model))).collect();
    assert_eq!(found, want);
}
