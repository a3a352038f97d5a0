//! Sites whose weights have names that exporters make up are called as the modules that they are of.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;

use safetensors::SafeTensors;
use shoal_runtime::adapter::{Adapter, Layout, PeftConfig};
use shoal_runtime::graft::{GraftError, GraftOptions, graft, sites};
use shoal_runtime::inspect::inspect;
use shoal_runtime::onnx::proto::StringStringEntryProto;
use shoal_runtime::onnx::{
    Attr, Builder, Folded, Model, PinOptions, Tensor, TensorType, fold, pin,
};

/// Products one behind the other: the name of each weight, and of its node.
fn products(weights: &[(&str, &str)]) -> Folded {
    let mut b = Builder::new(17);
    let mut x = b.input("x", TensorType::f32(&[1, 4]));
    for (number, (weight, _node)) in weights.iter().enumerate() {
        let w = b.initializer(weight, &Tensor::f32(&[4, 4], &[0.1 + number as f32 / 8.0; 16]));
        x = b.op("MatMul", &[&x, &w], &[]).unwrap();
    }
    b.output("y", &x);
    let mut model = b.into_model();
    for (node, (_weight, name)) in model.graph_mut().node.iter_mut().zip(weights) {
        node.name = Some((*name).to_owned());
    }
    fold(&model).unwrap()
}

fn torchscript() -> Folded {
    products(&[
        ("onnx::MatMul_540", "/h.0/attn/c_attn/MatMul"),
        ("h.0.attn.c_proj.weight", "/h.0/attn/c_proj/MatMul"),
        ("onnx::MatMul_547", "/h.0/mlp/mlp.0/MatMul"),
        ("1178_quantized", "MatMul_41"),
    ])
}

fn called(folded: &Folded) -> Vec<(String, Option<String>)> {
    sites(folded).into_iter().map(|site| (site.name, site.module)).collect()
}

fn layout(folded: &Folded, targets: &[&str]) -> Result<Layout, GraftError> {
    let targets = targets.iter().map(ToString::to_string).collect();
    let options = GraftOptions { targets, rank: 2, ..GraftOptions::default() };
    graft(folded, &options).map(|grafted| grafted.layout)
}

#[test]
fn the_older_exporter_says_the_module_in_the_name_of_the_node() {
    let of = |site: &str, module: Option<&str>| (site.to_owned(), module.map(str::to_owned));
    assert_eq!(
        called(&torchscript()),
        [
            of("onnx::MatMul_540", Some("h.0.attn.c_attn")),
            of("h.0.attn.c_proj.weight", None),
            of("onnx::MatMul_547", Some("h.0.mlp.0")),
            // Nothing says what this is.
            of("1178_quantized", None),
        ]
    );
    let report = inspect(&torchscript().model, &PinOptions::default(), 8).unwrap();
    assert_eq!(report.sites[0].module.as_deref(), Some("h.0.attn.c_attn"));
    assert_eq!(report.sites[0].name, "onnx::MatMul_540");
}

/// What names a factor in a graph and on the air stays the weight.
#[test]
fn targets_mean_a_site_by_either_name_and_its_factors_are_called_as_before() {
    let by_module = layout(&torchscript(), &["*.c_attn=4:8", "h.0.mlp.0"]).unwrap();
    let by_weight = layout(&torchscript(), &["onnx::MatMul_540=4:8", "onnx::MatMul_547"]).unwrap();
    assert_eq!(by_module, by_weight);
    assert_eq!(by_module.hash(), by_weight.hash());
    assert_eq!(by_module.sites[0].a.input, "lora.onnx::MatMul_540.A");
    assert_eq!(by_module.sites[0].a.dims, [4, 4]);
    let without = layout(&torchscript(), &["!h.0.attn.*"]).unwrap();
    let names: Vec<&str> = without.sites.iter().map(|site| site.name.as_str()).collect();
    assert_eq!(names, ["onnx::MatMul_547", "1178_quantized"]);
    let refused = layout(&torchscript(), &["elsewhere"]).unwrap_err().to_string();
    assert!(refused.contains("h.0.attn.c_attn, h.0.attn.c_proj.weight, h.0.mlp.0"), "{refused}");
}

fn adapter(layout: Layout) -> Adapter {
    let values = (0..layout.values()).map(|i| i as f32 / 64.0 - 1.0).collect();
    Adapter::from_values(layout, values).unwrap()
}

#[test]
fn a_peft_directory_names_modules_and_one_that_names_weights_is_read_as_well() {
    let folded = torchscript();
    let adapter = adapter(layout(&folded, &["*", "*.c_attn=4:8"]).unwrap());
    let dir = tempfile::tempdir().unwrap();
    adapter.write_peft(dir.path()).unwrap();
    let config = PeftConfig::read(dir.path()).unwrap();
    let modules = ["1178_quantized", "h.0.attn.c_attn", "h.0.attn.c_proj", "h.0.mlp.0"];
    assert_eq!(config.modules, modules);
    assert_eq!(config.rank_pattern, BTreeMap::from([("h.0.attn.c_attn".to_owned(), 4)]));
    let file = dir.path().join("adapter_model.safetensors");
    let bytes = std::fs::read(&file).unwrap();
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    assert!(tensors.tensor("base_model.model.h.0.attn.c_attn.lora_A.weight").is_ok());
    let again = graft(&folded, &config.graft_options(&sites(&folded))).unwrap().layout;
    assert_eq!(again, **adapter.layout());
    assert_eq!(Adapter::read_peft(dir.path(), again).unwrap(), adapter);

    // As it was written before modules were known: the same, by the names of weights.
    let unnamed = {
        let mut layout = (**adapter.layout()).clone();
        layout.sites.iter_mut().for_each(|site| site.module = None);
        Adapter::from_values(layout, adapter.values().to_vec()).unwrap()
    };
    let old = tempfile::tempdir().unwrap();
    unnamed.write_peft(old.path()).unwrap();
    let config = PeftConfig::read(old.path()).unwrap();
    assert!(config.modules.contains(&"onnx::MatMul_540".to_owned()));
    let again = graft(&folded, &config.graft_options(&sites(&folded))).unwrap().layout;
    assert_eq!(Adapter::read_peft(old.path(), again).unwrap(), adapter);
}

/// What the newer exporter notes beside each node, with names of weights that its optimiser makes up.
#[test]
fn the_newer_exporter_says_the_module_in_what_it_notes_beside_the_node() {
    let mut model = products(&[("val_3", "node_MatMul_4"), ("val_7", "node_MatMul_9")]).model;
    let scopes = ["['', 'blocks.0', 'blocks.0.fc', 'linear']", "['', 'head', 'linear_1']"];
    for (node, scopes) in model.graph_mut().node.iter_mut().zip(scopes) {
        node.metadata_props.push(StringStringEntryProto {
            key: Some("pkg.torch.onnx.name_scopes".to_owned()),
            value: Some(scopes.to_owned()),
        });
    }
    let read = Model::from_bytes(model.to_bytes().unwrap()).unwrap();
    let modules: Vec<_> = sites(&fold(&read).unwrap()).into_iter().map(|s| s.module).collect();
    assert_eq!(modules, [Some("blocks.0.fc".to_owned()), Some("head".to_owned())]);
}

#[test]
fn several_weights_of_one_module_are_told_apart() {
    let modules = |weights: &[(&str, &str)]| -> Vec<String> {
        sites(&products(weights)).into_iter().map(|site| site.label().to_owned()).collect()
    };
    let twice = [("onnx::MatMul_1", "/attn/MatMul"), ("onnx::MatMul_2", "/attn/MatMul_1")];
    assert_eq!(modules(&twice), ["attn.MatMul", "attn.MatMul_1"]);
    // A module that has a weight under its own name, too.
    let own = [("fc.weight", "/fc/MatMul"), ("onnx::MatMul_2", "/fc/MatMul_1")];
    assert_eq!(modules(&own), ["fc.weight", "fc.MatMul_1"]);
    // Nodes of one name.
    let same = [("1", "/a/MatMul"), ("2", "/a/MatMul"), ("3", "/b/MatMul")];
    assert_eq!(modules(&same)[2], "b");
    assert_ne!(modules(&same)[0], modules(&same)[1]);
}

#[test]
fn the_weights_of_inputs_and_of_states_of_a_recurrent_module_are_its_w_and_r() {
    let mut b = Builder::new(17);
    let x = b.input("x", TensorType::f32(&[3, 1, 4]));
    let w = b.initializer("onnx::LSTM_99", &Tensor::f32(&[1, 8, 4], &[0.1; 32]));
    let r = b.initializer("onnx::LSTM_100", &Tensor::f32(&[1, 8, 2], &[0.1; 16]));
    let given = [Some(&x), Some(&w), Some(&r)];
    let y = b.op_n("LSTM", &given, &[("hidden_size", Attr::Int(2))], 1).unwrap();
    b.output("y", &y[0]);
    let mut model = b.into_model();
    model.graph_mut().node[0].name = Some("/net/lstm/LSTM".to_owned());
    let modules: Vec<_> = sites(&fold(&model).unwrap()).into_iter().map(|s| s.module).collect();
    assert_eq!(modules, [Some("net.lstm.W".to_owned()), Some("net.lstm.R".to_owned())]);
}

/// A real export, where the material is at hand (`../shared/data`, or `SHOAL_DATA`).
#[test]
fn the_sites_of_a_real_transformer_are_all_called_as_its_modules() {
    let data = std::env::var_os("SHOAL_DATA").map_or_else(
        || std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data"),
        std::path::PathBuf::from,
    );
    let file = data.join("models/tinyphysics.onnx");
    if !file.is_file() {
        eprintln!("SKIPPED: no {}", file.display());
        return;
    }
    let model = Model::read(&file).unwrap();
    let folded = fold(&pin(&model, &PinOptions::default()).unwrap()).unwrap();
    let sites = sites(&folded);
    assert!(sites.iter().all(|site| !site.label().starts_with("onnx::")));
    let labels: Vec<&str> = sites.iter().map(|site| site.label()).collect();
    for module in ["wt_embedding", "h.0.attn.c_attn", "h.3.mlp.c_proj"] {
        assert!(labels.contains(&module), "{labels:?}");
    }
}
