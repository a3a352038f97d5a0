//! Adapters on disk, as PEFT reads and writes them.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::Path;
use std::sync::Arc;

use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use shoal_runtime::adapter::{Adapter, AdapterError, Layout, OnnxAdapter, PeftConfig, PeftError};
use shoal_runtime::graft::{GraftOptions, graft, sites};
use shoal_runtime::onnx::{Attr, Builder, Folded, Tensor, TensorType};

/// A convolution `enc.weight` and a matrix `head`.
fn model() -> Folded {
    let mut b = Builder::new(17);
    let x = b.input("x", TensorType::f32(&[1, 2, 4, 4]));
    let w = b.initializer("enc.weight", &Tensor::f32(&[3, 2, 2, 2], &[0.5; 24]));
    let h = b.op("Conv", &[&x, &w], &[]).unwrap();
    let h = b.op("Flatten", &[&h], &[("axis", Attr::Int(1))]).unwrap();
    let w = b.initializer("head", &Tensor::f32(&[27, 5], &[0.5; 135]));
    let y = b.op("MatMul", &[&h, &w], &[]).unwrap();
    b.output("y", &y);
    b.finish()
}

fn adapter() -> Adapter {
    let layout =
        graft(&model(), &GraftOptions { rank: 4, ..GraftOptions::default() }).unwrap().layout;
    let values = (0..layout.values()).map(|i| i as f32 / 64.0 - 1.0).collect();
    Adapter::from_values(layout, values).unwrap()
}

fn layout() -> Arc<Layout> {
    Arc::clone(adapter().layout())
}

/// One tensor of a file: name, type, shape, bytes.
type Entry = (String, Dtype, Vec<usize>, Vec<u8>);

fn entries() -> Vec<Entry> {
    let dir = tempfile::tempdir().unwrap();
    adapter().write_peft(dir.path()).unwrap();
    let bytes = std::fs::read(dir.path().join("adapter_model.safetensors")).unwrap();
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    let mut entries: Vec<Entry> = tensors
        .iter()
        .map(|(name, t)| (name.to_owned(), t.dtype(), t.shape().to_vec(), t.data().to_vec()))
        .collect();
    entries.sort();
    entries
}

fn file(entries: &[Entry]) -> Vec<u8> {
    let views = entries.iter().map(|(name, dtype, shape, bytes)| {
        (name, TensorView::new(*dtype, shape.clone(), bytes).unwrap())
    });
    safetensors::serialize(views, None).unwrap()
}

fn read(entries: &[Entry]) -> Result<Adapter, PeftError> {
    Adapter::from_safetensors(&file(entries), layout(), Path::new("a.safetensors"))
}

#[test]
fn an_adapter_is_read_as_it_was_written() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("new/folder");
    adapter().write_peft(&path).unwrap();
    assert_eq!(Adapter::read_peft(&path, layout()).unwrap(), adapter());
}

/// The fixture is recorded by xtask/oracle/peft_fixture.py.
#[test]
fn what_peft_writes_is_read() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/peft");
    assert_eq!(Adapter::read_peft(&dir, layout()).unwrap(), adapter());
}

#[test]
fn tensors_have_pefts_names_and_shapes() {
    let names: Vec<_> = entries().into_iter().map(|(name, _, shape, _)| (name, shape)).collect();
    let want = [
        ("base_model.model.enc.lora_A.weight", vec![4, 2, 2, 2]),
        ("base_model.model.enc.lora_B.weight", vec![3, 4, 1, 1]),
        ("base_model.model.head.lora_A.weight", vec![4, 27]),
        ("base_model.model.head.lora_B.weight", vec![5, 4]),
    ];
    assert_eq!(names, want.map(|(name, shape)| (name.to_owned(), shape)));
}

#[test]
fn the_configuration_says_how_to_graft_the_model() {
    let dir = tempfile::tempdir().unwrap();
    adapter().write_peft(dir.path()).unwrap();
    let config = PeftConfig::read(dir.path()).unwrap();
    assert_eq!(config.modules, ["enc", "head"]);
    let sites = sites(&model());

    let options = config.graft_options(&sites);

    assert_eq!(graft(&model(), &options).unwrap().layout, *layout());
    let mut other = config;
    other.modules = vec!["elsewhere".to_owned()];
    assert!(graft(&model(), &other.graft_options(&sites)).is_err());
}

/// PEFT finds modules by the end of their names, by an expression or by their kind, and writes how it did: which it found, the
/// tensors say.
#[test]
fn which_modules_have_factors_the_tensors_say_whatever_the_configuration_does() {
    let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/peft");
    let dir = tempfile::tempdir().unwrap();
    let [config, tensors] = ["adapter_config.json", "adapter_model.safetensors"];
    std::fs::copy(fixture.join(tensors), dir.path().join(tensors)).unwrap();
    let text = std::fs::read_to_string(fixture.join(config)).unwrap();
    let mut told: serde_json::Value = serde_json::from_str(&text).unwrap();
    for pattern in ["rank_pattern", "alpha_pattern"] {
        told[pattern] = serde_json::Value::Null;
    }
    for targets in ["[\"q_proj\"]", "[\"enc\"]", "\".*(enc|head)\"", "\"all-linear\"", "null"] {
        told["target_modules"] = serde_json::from_str(targets).unwrap();
        std::fs::write(dir.path().join(config), told.to_string()).unwrap();
        let read = PeftConfig::read(dir.path()).unwrap();
        let grafted = graft(&model(), &read.graft_options(&sites(&model()))).unwrap();
        assert_eq!(grafted.layout, *layout(), "{targets}");
        assert_eq!(Adapter::read_peft(dir.path(), layout()).unwrap(), adapter(), "{targets}");
    }
}

/// Half precision is widened.
#[test]
fn half_precision_is_read() {
    let mut half = entries();
    for (_, dtype, _, bytes) in &mut half {
        let values = bytes.as_chunks::<4>().0.iter().map(|c| f32::from_le_bytes(*c));
        *bytes = values.flat_map(|x| half::f16::from_f32(x).to_le_bytes()).collect();
        *dtype = Dtype::F16;
    }
    // Multiples of 1/64 between −1 and 3 are exact in float16.
    assert_eq!(read(&half).unwrap(), adapter());
}

#[test]
fn names_by_the_weight_itself_are_read_too() {
    let mut full = entries();
    for (name, ..) in &mut full {
        *name = name.replace(".enc.lora", ".enc.weight.lora");
    }
    assert_eq!(read(&full).unwrap(), adapter());
}

#[test]
fn a_missing_tensor_is_named() {
    let refused = read(&entries()[1..]).unwrap_err();
    assert!(
        matches!(&refused, PeftError::Missing { tensor, .. } if tensor.ends_with("enc.lora_A.weight"))
    );
    assert!(refused.to_string().contains("a.safetensors"), "{refused}");
}

#[test]
fn a_tensor_of_no_site_is_named() {
    let mut more = entries();
    more.push(("base_model.model.tail.lora_A.weight".to_owned(), Dtype::F32, vec![1], vec![0; 4]));
    assert!(
        matches!(read(&more), Err(PeftError::Unknown { tensor, .. }) if tensor.contains("tail"))
    );
}

#[test]
fn another_shape_is_named_with_both() {
    let mut turned = entries();
    turned[2].2.reverse();
    let refused = read(&turned).unwrap_err();
    assert!(
        matches!(&refused, PeftError::Shape { got, want, .. } if *got == [27, 4] && *want == [4, 27]),
        "{refused}"
    );
}

#[test]
fn a_value_that_is_not_finite_is_named_with_its_place() {
    let mut broken = entries();
    broken[3].3[8..12].copy_from_slice(&f32::NAN.to_le_bytes());
    let refused = read(&broken).unwrap_err();
    assert!(
        matches!(&refused, PeftError::NotFinite { tensor, index: 2, .. } if tensor.contains("head"))
    );
    let mut values = adapter().values().to_vec();
    values[0] = f32::INFINITY;
    let factor = "lora.enc.weight.A".to_owned();
    let refused = Adapter::from_values(layout(), values);
    assert_eq!(refused, Err(AdapterError::NotFinite { factor, index: 0 }));
}

#[test]
fn another_type_is_named() {
    let mut wide = entries();
    wide[2].1 = Dtype::I32;
    assert!(matches!(read(&wide), Err(PeftError::Type { got, .. }) if got == "I32"));
}

#[test]
fn every_truncation_is_refused() {
    let whole = file(&entries());
    for length in 0..whole.len() {
        let read = Adapter::from_safetensors(&whole[..length], layout(), Path::new("cut"));
        assert!(read.is_err(), "{length} of {}", whole.len());
    }
}

#[test]
fn a_header_longer_than_allowed_is_refused_before_it_is_read() {
    let mut bytes = file(&entries());
    bytes[..8].copy_from_slice(&(1u64 << 40).to_le_bytes());
    let read = Adapter::from_safetensors(&bytes, layout(), Path::new("long"));
    assert!(matches!(read, Err(PeftError::Header { bytes, .. }) if bytes == 1 << 40));
}

#[test]
fn settings_that_are_not_supported_are_named() {
    let dir = tempfile::tempdir().unwrap();
    adapter().write_peft(dir.path()).unwrap();
    let path = dir.path().join("adapter_config.json");
    let text = std::fs::read_to_string(&path).unwrap();
    let with = |from: &str, to: &str| {
        std::fs::write(&path, text.replace(from, to)).unwrap();
        Adapter::read_peft(dir.path(), layout()).unwrap_err()
    };
    let key = |error: PeftError| {
        let PeftError::Setting { key, .. } = error else { panic!("{error}") };
        key
    };
    assert_eq!(key(with("\"LORA\"", "\"IA3\"")), "peft_type");
    assert_eq!(key(with("\"use_dora\": false", "\"use_dora\": true")), "use_dora");
    // 16/√4 is 32/4, and the layout has 16/4.
    assert_eq!(key(with("\"use_rslora\": false", "\"use_rslora\": true")), "lora_alpha");
    assert_eq!(key(with("\"r\": 4", "\"r\": 5")), "r");
    assert_eq!(key(with("\"lora_alpha\": 16.0", "\"lora_alpha\": 4.0")), "lora_alpha");
    assert!(matches!(with("{", "["), PeftError::Config { .. }));
}

/// The directory of the adapter with one setting as it is given here.
fn with_setting(key: &str, value: &str) -> Result<Adapter, PeftError> {
    let dir = tempfile::tempdir().unwrap();
    adapter().write_peft(dir.path()).unwrap();
    let path = dir.path().join("adapter_config.json");
    let mut config: serde_json::Value =
        serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    config[key] = serde_json::from_str(value).unwrap();
    std::fs::write(&path, config.to_string()).unwrap();
    let read = Adapter::read_peft(dir.path(), layout());
    assert_eq!(PeftConfig::read(dir.path()).is_ok(), read.is_ok(), "{key} {value}");
    read
}

#[test]
fn an_adapter_of_a_changed_base_is_refused_with_how_it_began() {
    let key = "init_lora_weights";
    for began in ["pissa", "pissa_niter_16", "olora", "corda", "loftq", "lora_ga", "of_tomorrow"] {
        let refused = with_setting(key, &format!("\"{began}\"")).unwrap_err().to_string();
        let parts = [key, began, "path_initial_model_for_weight_conversion"];
        assert!(parts.iter().all(|part| refused.contains(part)), "{refused}");
    }
    for began in ["true", "false", "null", "\"gaussian\"", "\"eva\"", "\"orthogonal\""] {
        assert_eq!(with_setting(key, began).unwrap(), adapter(), "{began}");
    }
    assert!(with_setting(key, "1").is_err());
}

#[test]
fn settings_that_change_what_is_computed_are_refused_and_unused_ones_are_not() {
    let refused = [
        ("alora_invocation_tokens", "[1, 2]"),
        ("arrow_config", "{\"top_k\": 3}"),
        ("bias", "\"lora_only\""),
        ("kasa_config", "{\"beta\": 0.1}"),
        ("layer_replication", "[[0, 4], [2, 5]]"),
        ("lora_bias", "true"),
        ("modules_to_save", "[\"score\"]"),
        ("target_parameters", "[\"experts.gate_up_proj\"]"),
        ("trainable_token_indices", "[0]"),
        ("use_bdlora", "{\"nblocks\": 2}"),
        ("use_qalora", "true"),
    ];
    for (key, value) in refused {
        let error = with_setting(key, value).unwrap_err();
        assert!(matches!(error, PeftError::Setting { key: named, .. } if named == key), "{error}");
        for value in ["null", "false", "[]", "{}", "\"none\""] {
            assert_eq!(with_setting(key, value).unwrap(), adapter(), "{key} {value}");
        }
    }
    // Where they are stored, and which modules they once were found by: the tensors say the same.
    for (key, value) in [("fan_in_fan_out", "true"), ("exclude_modules", "[\"dec\"]")] {
        assert_eq!(with_setting(key, value).unwrap(), adapter(), "{key}");
    }
}

/// `head` and `dec.head`, of which one name ends the other.
fn two_heads(targets: &[&str]) -> Layout {
    let targets = targets.iter().map(ToString::to_string).collect();
    let options = GraftOptions { targets, ..GraftOptions::default() };
    graft(&with_two_heads(), &options).unwrap().layout
}

fn with_two_heads() -> Folded {
    let mut b = Builder::new(17);
    let x = b.input("x", TensorType::f32(&[1, 4]));
    let w = b.initializer("dec.head.weight", &Tensor::f32(&[4, 4], &[0.5; 16]));
    let h = b.op("MatMul", &[&x, &w], &[]).unwrap();
    let w = b.initializer("head.weight", &Tensor::f32(&[4, 4], &[0.25; 16]));
    let y = b.op("MatMul", &[&h, &w], &[]).unwrap();
    b.output("y", &y);
    b.finish()
}

#[test]
fn sites_with_an_alpha_of_their_own_are_written_and_read() {
    let layout = two_heads(&["*", "head.*=2:4"]);
    assert_eq!([layout.sites[0].alpha, layout.sites[1].alpha], [16.0, 4.0]);
    let values: Vec<f32> = (0..layout.values()).map(|i| i as f32 / 8.0).collect();
    let adapter = Adapter::from_values(layout.clone(), values).unwrap();
    let dir = tempfile::tempdir().unwrap();
    adapter.write_peft(dir.path()).unwrap();
    assert_eq!(Adapter::read_peft(dir.path(), layout.clone()).unwrap(), adapter);
    let config = PeftConfig::read(dir.path()).unwrap();
    assert_eq!(config.alpha_pattern, [("^head".to_owned(), 4.0)].into_iter().collect());
    assert_eq!(config.rank_pattern, [("^head".to_owned(), 2)].into_iter().collect());
    let targets = config.graft_options(&sites(&with_two_heads())).targets;
    let targets: Vec<&str> = targets.iter().map(String::as_str).collect();
    assert_eq!(two_heads(&targets).hash(), layout.hash());
    assert_ne!(two_heads(&["*", "head.*=2:5"]).hash(), layout.hash());
    // ΔW of a site has the site's scale, and one file of ONNX Runtime with one α the same ΔW.
    let delta = adapter.delta(&layout.sites[1]);
    let of_one = two_heads(&["*", "head.*=2"]);
    let bytes = adapter.to_onnx_adapter().unwrap();
    let file = OnnxAdapter::from_bytes(bytes, Path::new("a.onnx_adapter")).unwrap();
    let again = file.adapter(of_one.clone()).unwrap();
    assert_eq!(again.delta(&of_one.sites[1]), delta);
    assert_eq!(again.delta(&of_one.sites[0]), adapter.delta(&layout.sites[0]));
}

/// What is divided by the root of the rank is read as what is divided by the rank, site by site.
#[test]
fn a_scale_of_the_root_of_the_rank_is_read_as_one_of_the_rank() {
    let heads = |targets: &[&str]| {
        let targets = targets.iter().map(ToString::to_string).collect();
        let options = GraftOptions { targets, rank: 4, ..GraftOptions::default() };
        graft(&with_two_heads(), &options).unwrap().layout
    };
    // 8/√4 is 16/4; of the narrow one 4/√1 is 4/1, or, where no α of its own is said, 8/√1 is 8/1.
    for (narrow, said) in [("head.*=1:4", "\"^head\": 4.0"), ("head.*=1:8", "")] {
        let layout = heads(&["*", narrow]);
        let values: Vec<f32> = (0..layout.values()).map(|i| i as f32 / 8.0).collect();
        let adapter = Adapter::from_values(layout.clone(), values).unwrap();
        let dir = tempfile::tempdir().unwrap();
        adapter.write_peft(dir.path()).unwrap();
        let path = dir.path().join("adapter_config.json");
        let mut config: serde_json::Value =
            serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        config["use_rslora"] = true.into();
        config["lora_alpha"] = 8.0.into();
        config["alpha_pattern"] = serde_json::from_str(&format!("{{{said}}}")).unwrap();
        std::fs::write(&path, config.to_string()).unwrap();
        assert_eq!(Adapter::read_peft(dir.path(), layout.clone()).unwrap(), adapter);
        let options =
            PeftConfig::read(dir.path()).unwrap().graft_options(&sites(&with_two_heads()));
        assert_eq!(graft(&with_two_heads(), &options).unwrap().layout.hash(), layout.hash());
    }
}

#[test]
fn an_alpha_pattern_that_is_of_no_module_or_of_another_alpha_is_refused() {
    let layout = two_heads(&["*", "head.*=:4"]);
    let dir = tempfile::tempdir().unwrap();
    Adapter::zero(layout.clone()).write_peft(dir.path()).unwrap();
    let path = dir.path().join("adapter_config.json");
    let text = std::fs::read_to_string(&path).unwrap();
    for (to, named) in [("h.*d", "`h.*d`"), ("head", "`dec.head`"), ("dec.head", "`dec.head`")] {
        std::fs::write(&path, text.replace("^head", to)).unwrap();
        let refused = Adapter::read_peft(dir.path(), layout.clone()).unwrap_err().to_string();
        assert!(refused.contains("alpha_pattern") && refused.contains(named), "{refused}");
    }
}

#[test]
fn a_run_of_another_length_is_no_adapter() {
    let refused = Adapter::from_values(layout(), vec![0.0; 3]);
    let want = layout().values();
    assert_eq!(refused, Err(AdapterError::Length { got: 3, want }));
}

/// `fc.weight` is the module `fc`; what is left of `fc.weight.weight` is the name of another.
#[test]
fn a_module_that_is_called_as_another_weight_is_named_in_full() {
    let mut b = Builder::new(17);
    let x = b.input("x", TensorType::f32(&[2, 4]));
    let [first, second] = [("fc.weight", 0.5), ("fc.weight.weight", 0.25)]
        .map(|(name, value)| b.initializer(name, &Tensor::f32(&[4, 4], &[value; 16])));
    let h = b.op("MatMul", &[&x, &first], &[]).unwrap();
    let y = b.op("MatMul", &[&h, &second], &[]).unwrap();
    b.output("y", &y);
    let folded = b.finish();
    let layout = graft(&folded, &GraftOptions::default()).unwrap().layout;
    let values = (0..layout.values()).map(|i| i as f32 / 64.0 - 1.0).collect();
    let adapter = Adapter::from_values(layout, values).unwrap();
    let dir = tempfile::tempdir().unwrap();
    adapter.write_peft(dir.path()).unwrap();
    let config = PeftConfig::read(dir.path()).unwrap();
    assert_eq!(config.modules, ["fc", "fc.weight.weight"]);
    let again = graft(&folded, &config.graft_options(&sites(&folded))).unwrap().layout;
    assert_eq!(Adapter::read_peft(dir.path(), again).unwrap(), adapter);
}
