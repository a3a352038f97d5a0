//! Grafting, layouts and baking.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::Arc;

use shoal_runtime::adapter::{Adapter, Layout, Site};
use shoal_runtime::bake::{BakeError, bake};
use shoal_runtime::engine::Engine;
use shoal_runtime::engine::ort::Ort;
use shoal_runtime::engine::testing::{ort_or_skip, plain_options};
use shoal_runtime::graft::{
    GraftError, GraftOptions, Grafted, SiteInputsError, WriteWeightsError, graft,
    graft_all_weights, graft_stored_weights, sites, with_site_inputs,
};
use shoal_runtime::onnx::proto::NodeProto;
use shoal_runtime::onnx::{Attr, Builder, Folded, Model, Tensor, TensorType, Value, fold};

/// Values that differ and add up to little.
fn values(count: usize, salt: usize) -> Vec<f32> {
    (0..count).map(|i| ((i * 7919 + salt * 104_729) % 1009) as f32 / 1009.0 - 0.5).collect()
}

fn weight(b: &mut Builder, name: &str, dims: &[usize], salt: usize) -> shoal_runtime::onnx::Value {
    b.initializer(name, &Tensor::f32(dims, &values(dims.iter().product(), salt)))
}

/// Every kind of site: plain and strided, grouped and depthwise convolutions, Gemm both ways round, MatMul of
/// matrices and of sequences, a weight behind a Transpose, and one weight that feeds two nodes.
fn every_kind() -> Model {
    let mut b = Builder::new(17);
    let x = b.input("x", TensorType::f32(&[2, 4, 9, 8]));
    let conv = |b: &mut Builder, name: &str, x: &_, dims: &[usize], attrs: &[(&str, Attr)]| {
        let w = weight(b, name, dims, name.len());
        b.op("Conv", &[x, &w], attrs).unwrap()
    };
    let ints = |name, v: &[i64]| (name, Attr::Ints(v.to_vec()));
    let plain = [ints("pads", &[1, 1, 1, 1]), ints("strides", &[2, 1]), ints("dilations", &[1, 1])];
    let h = conv(&mut b, "plain.weight", &x, &[6, 4, 3, 3], &plain);
    let grouped = [("group", Attr::Int(2)), ("auto_pad", Attr::Str("SAME_UPPER".to_owned()))];
    let h = conv(&mut b, "grouped.weight", &h, &[4, 3, 3, 2], &grouped);
    let h = conv(&mut b, "depth.weight", &h, &[4, 1, 2, 2], &[("group", Attr::Int(4))]);
    let h = conv(&mut b, "fixed.const", &h, &[3, 4, 1, 1], &[]);
    let flat = b.op("Flatten", &[&h], &[]).unwrap();
    let wide = b.ty(&flat).dims[1];
    let w = weight(&mut b, "gemm.weight", &[10, wide], 3);
    let bias = weight(&mut b, "gemm.bias", &[10], 4);
    let attrs = [("transB", Attr::Int(1)), ("alpha", Attr::Float(0.5))];
    let h = b.op("Gemm", &[&flat, &w, &bias], &attrs).unwrap();
    let w = weight(&mut b, "turned.weight", &[10, 12], 5);
    let h = b.op("Gemm", &[&h, &w], &[]).unwrap();
    let rows = b.i64s(&[2, 3, 4]);
    let h = b.op("Reshape", &[&h, &rows], &[]).unwrap();
    let w = weight(&mut b, "sequence", &[4, 4], 6);
    let h = b.op("MatMul", &[&h, &w], &[]).unwrap();
    let h = b.op("MatMul", &[&h, &w], &[]).unwrap();
    let w = weight(&mut b, "stored.out.first", &[5, 4], 7);
    let wt = b.op("Transpose", &[&w], &[ints("perm", &[1, 0])]).unwrap();
    let y = b.op("MatMul", &[&h, &wt], &[]).unwrap();
    b.output("y", &y);
    b.into_model()
}

fn run(ort: &Ort, model: &Model, adapter: Option<&Adapter>) -> Vec<f32> {
    let mut session = ort.load(model, &plain_options()).unwrap();
    let port = session.input_index("x").unwrap();
    session.write_f32(port, &values(2 * 4 * 9 * 8, 1)).unwrap();
    if let Some(adapter) = adapter {
        for factor in adapter.layout().factors() {
            let port = session.input_index(&factor.input).unwrap();
            session.write_f32(port, adapter.factor(factor)).unwrap();
        }
    }
    session.run().unwrap();
    session.output_f32(0).unwrap().to_vec()
}

fn worst(a: &[f32], b: &[f32]) -> f32 {
    let scale = a.iter().fold(0.0f32, |m, x| m.max(x.abs()));
    a.iter().zip(b).fold(0.0f32, |m, (x, y)| m.max((x - y).abs())) / scale
}

fn grafted(model: &Model, options: &GraftOptions) -> Grafted {
    graft(&fold(model).unwrap(), options).unwrap()
}

/// An adapter whose A and B are both not zero.
fn tuned(layout: &Arc<Layout>) -> Adapter {
    Adapter::from_values(Arc::clone(layout), values(layout.values(), 9)).unwrap()
}

#[test]
fn every_product_with_a_constant_weight_is_a_site() {
    let sites = sites(&fold(&every_kind()).unwrap());
    let names: Vec<&str> = sites.iter().map(|s| s.name.as_str()).collect();
    let want = [
        "plain.weight",
        "grouped.weight",
        "depth.weight",
        "fixed.const",
        "gemm.weight",
        "turned.weight",
        "sequence",
        "stored.out.first",
    ];
    assert_eq!(names, want);
    let nodes = |name: &str| sites.iter().find(|s| s.name == name).unwrap().nodes.len();
    assert_eq!((nodes("turned.weight"), nodes("sequence")), (1, 2));
    let dims = |name: &str| sites.iter().find(|s| s.name == name).unwrap().factor_dims(8);
    assert_eq!(dims("plain.weight"), (vec![8, 4, 3, 3], vec![6, 8, 1, 1]));
    assert_eq!(dims("grouped.weight"), (vec![8, 3, 3, 2], vec![4, 8, 1, 1]));
    assert_eq!(dims("turned.weight"), (vec![8, 10], vec![12, 8]));
    assert_eq!(dims("stored.out.first"), (vec![8, 4], vec![5, 8]));
}

#[test]
fn an_adapter_at_its_start_changes_nothing() {
    let Some(ort) = ort_or_skip() else { return };
    let model = every_kind();
    let grafted = grafted(&model, &GraftOptions::default());
    let start = Adapter::start(grafted.layout, 5);

    assert_eq!(run(&ort, &grafted.folded.model, Some(&start)), run(&ort, &model, None));
}

#[test]
fn a_baked_model_computes_what_the_grafted_one_does() {
    let Some(ort) = ort_or_skip() else { return };
    let model = every_kind();
    let grafted = grafted(&model, &GraftOptions { rank: 3, alpha: 6.0, ..GraftOptions::default() });
    let layout = Arc::new(grafted.layout);
    let adapter = tuned(&layout);
    let with_adapter = run(&ort, &grafted.folded.model, Some(&adapter));

    let baked = run(&ort, &bake(&model, &adapter).unwrap(), None);

    assert!(worst(&with_adapter, &baked) < 1e-5, "{}", worst(&with_adapter, &baked));
    let untuned = run(&ort, &model, None);
    assert!(worst(&with_adapter, &untuned) > 0.1, "the adapter must matter");
    // Each site alone too: an error in one must not hide behind another.
    for site in &layout.sites {
        let mut alone = vec![0.0; layout.values()];
        for range in [site.a.range.clone(), site.b.range.clone()] {
            alone[range.clone()].copy_from_slice(&adapter.values()[range]);
        }
        let alone = Adapter::from_values(Arc::clone(&layout), alone).unwrap();
        let with_adapter = run(&ort, &grafted.folded.model, Some(&alone));
        let baked = run(&ort, &bake(&model, &alone).unwrap(), None);
        assert!(worst(&with_adapter, &baked) < 1e-5, "{}", site.name);
        assert!(worst(&with_adapter, &untuned) > 1e-4, "{} does nothing", site.name);
    }
}

#[test]
fn baking_keeps_the_topology_and_every_other_byte() {
    let model = every_kind();
    let options = GraftOptions { targets: vec!["gemm.*".to_owned()], ..GraftOptions::default() };
    let adapter = tuned(&Arc::new(grafted(&model, &options).layout));

    let mut baked = bake(&model, &adapter).unwrap();

    let index = model.graph().initializer.iter().position(|t| t.name() == "gemm.weight").unwrap();
    assert_ne!(baked, model);
    baked.graph_mut().initializer[index] = model.graph().initializer[index].clone();
    assert_eq!(baked, model);
}

#[test]
fn an_adapter_of_another_model_is_not_baked() {
    let model = every_kind();
    let adapter = tuned(&Arc::new(grafted(&model, &GraftOptions::default()).layout));
    let mut other = model.clone();
    let stored =
        other.graph_mut().initializer.iter_mut().find(|t| t.name() == "gemm.weight").unwrap();
    *stored = Tensor::f32(&[10, 126], &[0.25; 1260]).to_proto("gemm.weight");

    let refused = bake(&other, &adapter).unwrap_err();

    let (site, weight) = ("gemm.weight".to_owned(), "gemm.weight".to_owned());
    assert_eq!(refused, BakeError::OtherBase { site, weight });
}

#[test]
fn targets_select_and_take_out_and_must_exist() {
    let folded = fold(&every_kind()).unwrap();
    let with = |targets: &[&str]| {
        let targets = targets.iter().map(|&t| t.to_owned()).collect();
        graft(&folded, &GraftOptions { targets, ..GraftOptions::default() })
    };
    let names = |grafted: Grafted| -> Vec<String> {
        grafted.layout.sites.into_iter().map(|s| s.name).collect()
    };
    assert_eq!(names(with(&["sequence*", "gemm.weight"]).unwrap()), ["gemm.weight", "sequence"]);
    assert_eq!(
        names(with(&["!*.weight", "!sequence*"]).unwrap()),
        ["fixed.const", "stored.out.first"]
    );
    let refused = with(&["plain.wieght"]).unwrap_err();
    assert!(refused.to_string().contains("`plain.wieght`"), "{refused}");
    let refused = with(&["!nosuch"]).unwrap_err();
    assert!(
        matches!(&refused, GraftError::NoSuchSite { target, .. } if target == "!nosuch"),
        "{refused}"
    );
    assert!(matches!(with(&["!*"]), Err(GraftError::NothingSelected { .. })));
    let rank = graft(&folded, &GraftOptions { rank: 0, ..GraftOptions::default() });
    assert_eq!(rank, Err(GraftError::Rank { rank: 0 }));
}

#[test]
fn a_grafted_graph_is_not_grafted_again() {
    let once = grafted(&every_kind(), &GraftOptions::default());
    let twice = graft(&once.folded, &GraftOptions::default());
    assert!(matches!(twice, Err(GraftError::Grafted { .. })), "{twice:?}");
}

#[test]
fn a_graph_without_sites_is_refused() {
    let mut b = Builder::new(17);
    let x = b.input("x", TensorType::f32(&[2]));
    let y = b.op("Relu", &[&x], &[]).unwrap();
    b.output("y", &y);
    assert_eq!(graft(&b.finish(), &GraftOptions::default()), Err(GraftError::NoSites));
}

/// Sites lie one behind the other, A before B, in the order of the nodes.
#[test]
fn the_flat_order_is_that_of_the_graph() {
    let layout = grafted(&every_kind(), &GraftOptions::default()).layout;
    let mut end = 0;
    for factor in layout.factors() {
        assert_eq!(factor.range, end..end + factor.dims.iter().product::<usize>());
        end = factor.range.end;
    }
    assert_eq!(layout.values(), end);
    assert!(layout.sites.windows(2).all(|s| s[0].nodes[0].index < s[1].nodes[0].index));
}

/// The format of the layout hash, by hand: a change here is a change of format.
#[test]
fn the_layout_hash_is_the_documented_one() {
    let mut b = Builder::new(17);
    let x = b.input("x", TensorType::f32(&[1, 2]));
    let h = b.op("Relu", &[&x], &[]).unwrap();
    let w = b.initializer("w", &Tensor::f32(&[2, 3], &[0.0, 1.0, 2.0, 3.0, 4.0, 5.0]));
    let y = b.op("MatMul", &[&h, &w], &[]).unwrap();
    b.output("y", &y);
    let layout = graft(&b.finish(), &GraftOptions::default()).unwrap().layout;

    // sha256(<I 1> ‖ sha256(<6f 0…5>) ‖ <B 6> ‖ "MatMul" ‖ <B 2> <2I 8 2> ‖ <B 2> <2I 3 8> ‖ <f 16>), by
    // Python's struct and hashlib.
    let golden = "f182b8a946771133d9d10a150f622cede5b151b8ee71faa7f0ecc72af54fa78a";
    let hex: String = layout.hash().iter().map(|b| format!("{b:02x}")).collect();
    assert_eq!(hex, golden);
}

/// The start of a seed is part of a run's record: it must not change.
#[test]
fn a_start_is_drawn_within_pefts_bound_and_repeats() {
    let layout = Arc::new(grafted(&every_kind(), &GraftOptions::default()).layout);
    let start = Adapter::start(Arc::clone(&layout), 1);
    for site in &layout.sites {
        let bound = 1.0 / (site.a.dims[1..].iter().product::<usize>() as f32).sqrt();
        let a = start.factor(&site.a);
        let largest = a.iter().fold(0.0f32, |m, x| m.max(x.abs()));
        assert!(largest <= bound && largest > 0.8 * bound, "{}: {largest} of {bound}", site.name);
        assert!(start.factor(&site.b).iter().all(|&b| b == 0.0));
    }
    assert_eq!(start, Adapter::start(Arc::clone(&layout), 1));
    assert_ne!(start, Adapter::start(Arc::clone(&layout), 2));
    assert_eq!(start.values()[..3], START);
}

/// By a ChaCha8 of ten lines of Python.
const START: [f32; 3] = [-0.018291652, -0.101301216, -0.10673343];

fn learnt(folded: &Folded, targets: &[&str]) -> Vec<String> {
    let targets: Vec<String> = targets.iter().map(|&t| t.to_owned()).collect();
    let all = graft_all_weights(folded, &targets).unwrap();
    all.weights.into_iter().map(|w| w.initializer).collect()
}

#[test]
fn all_weights_but_those_taken_out_are_inputs() {
    let folded = fold(&every_kind()).unwrap();
    let learnt = learnt(&folded, &["!*.const"]);
    let want = [
        "plain.weight",
        "grouped.weight",
        "depth.weight",
        "gemm.weight",
        "gemm.bias",
        "turned.weight",
        "sequence",
        "stored.out.first",
    ];
    assert_eq!(learnt, want);
}

#[test]
fn weights_as_inputs_compute_the_same_and_are_written_back() {
    let Some(ort) = ort_or_skip() else { return };
    let model = every_kind();
    let all = graft_all_weights(&fold(&model).unwrap(), &[]).unwrap();
    let run_with = |values: &[Vec<f32>]| {
        let mut session = ort.load(&all.folded.model, &plain_options()).unwrap();
        for (weight, values) in all.weights.iter().zip(values) {
            let port = session.input_index(&weight.input).unwrap();
            session.write_f32(port, values).unwrap();
        }
        let port = session.input_index("x").unwrap();
        session.write_f32(port, &self::values(2 * 4 * 9 * 8, 1)).unwrap();
        session.run().unwrap();
        session.output_f32(0).unwrap().to_vec()
    };
    let first: Vec<Vec<f32>> = all.weights.iter().map(|w| w.values.clone()).collect();
    assert!(worst(&run(&ort, &model, None), &run_with(&first)) < 1e-6);

    let trained: Vec<Vec<f32>> =
        first.iter().map(|w| w.iter().map(|x| 0.9 * x + 0.01).collect()).collect();
    let runs: Vec<&[f32]> = trained.iter().map(Vec::as_slice).collect();
    let written = all.write_into(&model, &runs).unwrap();

    assert!(worst(&run(&ort, &written, None), &run_with(&trained)) < 1e-6);
    let short = vec![&[0.0f32][..]; runs.len()];
    assert!(matches!(all.write_into(&model, &short), Err(WriteWeightsError::Length { .. })));
}

/// A weight in a Constant node, as some exporters keep it.
#[test]
fn weights_in_constant_nodes_are_grafted_and_baked() {
    let Some(ort) = ort_or_skip() else { return };
    let mut model = every_kind();
    let graph = model.graph_mut();
    let stored: Vec<_> = graph.initializer.drain(..).collect();
    let constants = stored.into_iter().map(|t| NodeProto {
        output: vec![t.name().to_owned()],
        op_type: Some("Constant".to_owned()),
        attribute: vec![Attr::Tensor(Tensor::from_proto(&t).unwrap()).to_proto("value")],
        ..NodeProto::default()
    });
    graph.node = constants.chain(std::mem::take(&mut graph.node)).collect();
    let from_nodes = grafted(&model, &GraftOptions::default());
    let from_initializers = grafted(&every_kind(), &GraftOptions::default());
    assert_eq!(from_nodes.layout.hash(), from_initializers.layout.hash());
    let adapter = tuned(&Arc::new(from_nodes.layout));

    let baked = run(&ort, &bake(&model, &adapter).unwrap(), None);

    let want = run(&ort, &bake(&every_kind(), &adapter).unwrap(), None);
    assert_eq!(baked, want);
}

/// Of the first node of every site what goes in, as rows, and what comes out, as the engine has it.
fn through_sites(ort: &Ort, model: &Model, layout: &Layout) -> Vec<(Vec<Vec<f32>>, Vec<f32>)> {
    let with = with_site_inputs(fold(model).unwrap(), layout).unwrap();
    let mut builder = Builder::extend(with.folded, "seen.");
    for site in &layout.sites {
        let made = &site.nodes[0].output;
        builder.output(made, &Value::named(made));
    }
    let mut session = ort.load(&builder.into_model(), &plain_options()).unwrap();
    let port = session.input_index("x").unwrap();
    let count = session.inputs()[port].ty.values();
    session.write_f32(port, &values(count, 1)).unwrap();
    session.run().unwrap();
    let output = |name: &str| session.output_f32(session.output_index(name).unwrap()).unwrap();
    let of_site = layout.sites.iter().enumerate().map(|(place, site)| {
        let input = with.sites.iter().find(|input| input.site == place).unwrap();
        let mut rows = Vec::new();
        input.rows(output(&input.output), |row| rows.push(row.to_vec()));
        assert!(rows.iter().all(|row| row.len() == input.columns()));
        (rows, output(&site.nodes[0].output).to_vec())
    });
    of_site.collect()
}

/// `times`·B·(A·row) of every row, in the order of the node's output.
fn branch(adapter: &Adapter, site: &Site, rows: &[Vec<f32>], times: f32, count: usize) -> Vec<f32> {
    let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f32>();
    let (rank, out) = (site.a.dims[0], site.b.dims[0]);
    let (a, b) = (adapter.factor(&site.a), adapter.factor(&site.b));
    let of_row = |row: &Vec<f32>| {
        let hidden: Vec<f32> = a.chunks(row.len()).map(|a| dot(a, row)).collect();
        b.chunks(rank).map(|b| times * dot(b, &hidden)).collect::<Vec<f32>>()
    };
    let products: Vec<Vec<f32>> = rows.iter().map(of_row).collect();
    if site.operator != "Conv" {
        return products.concat();
    }
    // Two samples; rows by sample, by group, by position, outputs by sample, by channel, by position.
    let groups = rows.len() * out / count;
    let positions = rows.len() / 2 / groups;
    let at = |index: usize| {
        let (sample, rest) = (index / (out * positions), index % (out * positions));
        let (channel, position) = (rest / positions, rest % positions);
        let group = channel / (out / groups);
        products[(sample * groups + group) * positions + position][channel]
    };
    (0..count).map(at).collect()
}

/// The rows of a site's input are those that A multiplies: an engine adds scale·B·(A·row) and nothing else to the output.
fn check_rows(ort: &Ort, model: &Model) {
    let options = GraftOptions { rank: 3, alpha: 6.0, ..GraftOptions::default() };
    let layout = Arc::new(grafted(model, &options).layout);
    let base = through_sites(ort, model, &layout);
    for (index, site) in layout.sites.iter().enumerate() {
        let mut alone = vec![0.0; layout.values()];
        for range in [site.a.range.clone(), site.b.range.clone()] {
            alone[range.clone()].copy_from_slice(&values(range.len(), 11 + index));
        }
        let adapter = Adapter::from_values(Arc::clone(&layout), alone).unwrap();
        let (rows, with) = &through_sites(ort, &bake(model, &adapter).unwrap(), &layout)[index];
        let (base_rows, without) = &base[index];
        assert_eq!(rows, base_rows, "{}: what comes before is the same", site.name);
        // A Gemm's own factor.
        let times = if site.name == "gemm.weight" { 0.5 * 2.0 } else { 2.0 };
        let added = branch(&adapter, site, rows, times, with.len());
        let want: Vec<f32> = without.iter().zip(&added).map(|(y, by)| y + by).collect();
        assert!(worst(with, &want) < 1e-5, "{}: {}", site.name, worst(with, &want));
        assert!(worst(with, without) > 1e-3, "{} does nothing", site.name);
    }
}

#[test]
fn rows_of_what_goes_into_a_site_are_in_the_order_of_a() {
    let Some(ort) = ort_or_skip() else { return };
    check_rows(&ort, &every_kind());
    // A Gemm that turns its input; a convolution along time, dilated and padded on one side.
    let mut b = Builder::new(17);
    let x = b.input("x", TensorType::f32(&[4, 3]));
    let w = weight(&mut b, "turning", &[4, 10], 2);
    let h = b.op("Gemm", &[&x, &w], &[("transA", Attr::Int(1))]).unwrap();
    let shape = b.i64s(&[2, 3, 5]);
    let h = b.op("Reshape", &[&h, &shape], &[]).unwrap();
    let w = weight(&mut b, "causal", &[2, 3, 2], 3);
    let ints = |name, v: &[i64]| (name, Attr::Ints(v.to_vec()));
    let causal = [ints("pads", &[2, 0]), ints("dilations", &[2])];
    let y = b.op("Conv", &[&h, &w], &causal).unwrap();
    b.output("y", &y);
    check_rows(&ort, &b.into_model());
}

#[test]
fn inputs_of_sites_that_a_model_has_not_are_refused_by_name() {
    let model = every_kind();
    let layout = grafted(&model, &GraftOptions::default()).layout;
    let mut b = Builder::new(17);
    let x = b.input("x", TensorType::f32(&[1, 2]));
    let y = b.op("Relu", &[&x], &[]).unwrap();
    b.output("y", &y);
    let refused = with_site_inputs(b.finish(), &layout).unwrap_err();
    assert!(matches!(&refused, SiteInputsError::NoNode { site, .. } if site == "plain.weight"));
    let mut other = layout.clone();
    other.sites[0].a.dims = vec![8, 3, 3, 3];
    let refused = with_site_inputs(fold(&model).unwrap(), &other).unwrap_err();
    assert!(matches!(&refused, SiteInputsError::Columns { site, .. } if site == "plain.weight"));
    let once = with_site_inputs(fold(&model).unwrap(), &layout).unwrap();
    let twice = with_site_inputs(once.folded, &layout).unwrap_err();
    assert!(matches!(twice, SiteInputsError::Taken { .. }));
}

/// A position embedding that is looked up at constant places becomes a constant of its own.
#[test]
fn what_the_file_does_not_store_by_itself_is_no_weight_to_train() {
    let mut b = Builder::new(17);
    let x = b.input("x", TensorType::f32(&[2, 3]));
    let table = b.initializer("table", &Tensor::f32(&[4, 3], &values(12, 1)));
    let places = b.initializer("places", &Tensor::i64s(&[2, 0]));
    let looked = b.op("Gather", &[&table, &places], &[]).unwrap();
    let h = b.op("Add", &[&x, &looked], &[]).unwrap();
    let w = b.initializer("w", &Tensor::f32(&[3, 2], &values(6, 2)));
    let y = b.op("MatMul", &[&h, &w], &[]).unwrap();
    b.output("y", &y);
    let model = b.into_model();
    let folded = fold(&model).unwrap();
    let all = graft_all_weights(&folded, &[]).unwrap();
    let same: Vec<Vec<f32>> = all.weights.iter().map(|w| w.values.clone()).collect();
    let same: Vec<&[f32]> = same.iter().map(Vec::as_slice).collect();
    assert!(all.weights.len() == 2 && all.write_into(&model, &same).is_err());
    let stored = graft_stored_weights(&folded, &model, &[]).unwrap();
    assert_eq!(stored.weights.len(), 1);
    let moved = stored.write_into(&model, &[&[1.0; 6]]).unwrap();
    assert_ne!(moved, model);
}
