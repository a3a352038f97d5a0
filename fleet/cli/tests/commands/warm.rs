//! `shoal model warm`, and providers asked for on the command line.

use serde_json::Value;
use shoal_runtime::engine::testing::ort_or_skip;

use super::{misfits, package, schema, shoal, text};

#[test]
fn warming_loads_and_runs_every_graph_a_vehicle_loads_and_says_where_each_node_went() {
    if ort_or_skip().is_none() {
        return;
    }
    for (name, graphs) in [
        ("world", &["inference", "adapted", "measuring", "training"][..]),
        ("policy", &["inference", "adapted", "training"][..]),
    ] {
        let package = package().with_file_name(name);
        let done = shoal(&["model", "warm", text(&package), "--compare", "--runs", "3", "--json"]);
        let said = String::from_utf8_lossy(&done.stderr);
        assert!(done.status.success(), "{said}");
        for (done, graph) in (1..).zip(graphs) {
            let shown = format!("{done}/{}  graphs, {graph}: loaded and run in 0:", graphs.len());
            assert!(said.contains(&shown), "progress: {shown:?} in {said}");
        }
        let begun = format!("0/{}  graphs, inference: loading for 0:0", graphs.len());
        assert!(said.contains(&begun), "progress: {said}");
        let report: Value = serde_json::from_slice(&done.stdout).unwrap();
        assert_eq!(misfits(&schema("warm.schema.json"), &report, "$"), Vec::<String>::new());
        let loaded: Vec<&str> = report["graphs"]
            .as_array()
            .unwrap()
            .iter()
            .map(|graph| {
                assert_eq!(graph["kept"], Value::Null, "the processor keeps nothing");
                let nodes = graph["nodes"].as_array().unwrap();
                assert_eq!(graph["providers"]["CPUExecutionProvider"], nodes.len(), "{graph}");
                let apart = graph["apart"].as_object().unwrap();
                assert!(
                    !apart.is_empty() && apart.values().all(|apart| *apart == 0.0),
                    "{apart:?}"
                );
                graph["name"].as_str().unwrap()
            })
            .collect();
        assert_eq!(loaded, graphs);
        assert_eq!(report["failed"], serde_json::json!({}));
    }
}

#[test]
fn a_bare_file_is_warmed_and_its_table_printed() {
    if ort_or_skip().is_none() {
        return;
    }
    let done = shoal(&["model", "warm", text(&package().join("model.onnx"))]);
    let said = String::from_utf8_lossy(&done.stdout);
    let shown = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success(), "{shown}");
    assert!(shown.contains("1/1  graphs, inference: loaded and run in 0:"), "{shown}");
    assert!(
        said.contains("inference: loaded in") && said.contains("CPUExecutionProvider"),
        "{said}"
    );
}

#[test]
fn providers_that_cannot_be_had_are_an_error_that_says_what_to_do() {
    let package = package();
    let refused = |arguments: &[&str]| {
        let done = shoal(&[&["model", "warm", text(&package)], arguments].concat());
        assert!(!done.status.success(), "{arguments:?}");
        String::from_utf8_lossy(&done.stderr).into_owned()
    };
    for (arguments, said) in [
        (&["--providers", "cpu,cuda"][..], "name cpu last"),
        (&["--providers", "rocm"], "tensorrt, cuda, cpu"),
        (&["--providers", "tensorrt,cuda"], "name the folder that keeps them"),
        (&["--providers", "cuda", "--engine", "tract"], "tract, which runs on the processor alone"),
        (&["--fp16"], "--fp16 is of tensorrt"),
    ] {
        let text = refused(arguments);
        assert!(text.contains(said), "{arguments:?}: {text}");
    }
    let Some(ort) = ort_or_skip() else { return };
    let folder = ort.library_path().parent().unwrap();
    for (name, file) in [
        ("cuda", "libonnxruntime_providers_cuda.so"),
        ("tensorrt", "libonnxruntime_providers_tensorrt.so"),
    ] {
        if !folder.join(file).is_file() {
            let text = refused(&["--providers", &format!("{name},cpu"), "--cache", "unused"]);
            assert!(text.contains(file) && text.contains("onnxruntime-gpu"), "{text}");
        }
    }
    assert!(!std::path::Path::new("unused").exists());
}
