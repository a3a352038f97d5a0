//! Where the weight of a site's node is stored in a model that is not folded: in its graph, or in one inside it.

use std::collections::{BTreeMap, BTreeSet};

use sha2::{Digest, Sha256};

use super::{BakeError, free_name, transposed};
use crate::adapter::Site;
use crate::graft::SiteNode;
use crate::onnx::eval::eval;
use crate::onnx::fold::fused::product;
use crate::onnx::fold::unroll::{inner_path, passed_on, scanned, without_numbers};
use crate::onnx::infer::layout::permutation;
use crate::onnx::infer::{axis_of, infer};
use crate::onnx::integers::{FOREIGN, PRODUCT};
use crate::onnx::proto::{GraphProto, NodeProto, TensorProto};
use crate::onnx::store::{set_in, stored_in};
use crate::onnx::{Attr, Element, Model, StoreError, Tensor, TensorType, dequantised};

/// A node: its graph, and its place there. Behind the last node of a graph stands what the graph gives.
type NodeAt = (usize, usize);

/// A step into a graph inside a node: the node, its attribute, and which of the attribute's graphs.
type Step = (usize, usize, Option<usize>);

/// The steps from the outermost graph.
type Way = Vec<Step>;

/// How deep what a weight is made of is looked for.
const DEPTH_MAX: usize = 256;

/// A tensor: the graph in which a name means it, and the name.
type TensorAt<'m> = (usize, &'m str);

/// A graph of a model, or one inside a node.
struct Scope<'m> {
    graph: &'m GraphProto,
    /// The graph around it, and the node that holds it.
    outer: Option<NodeAt>,
    way: Way,
    /// What folding calls the node that holds it, without numbers.
    path: String,
    /// Which node makes a tensor.
    makers: BTreeMap<&'m str, usize>,
    /// What the tensor around it is called that a body gives from round to round as it is.
    passed_on: BTreeMap<&'m str, &'m str>,
    /// The tensor around it whose rows a body reads by this name, and the axis that they lie along.
    scanned: BTreeMap<&'m str, (&'m str, i64)>,
}

/// The graphs of a model, one inside another; first the outermost.
pub(super) struct Graphs<'m> {
    scopes: Vec<Scope<'m>>,
    opset: i64,
    /// Who reads a tensor, by its name in any graph.
    readers: BTreeMap<&'m str, Vec<NodeAt>>,
    /// The nodes inside others, by what folding calls their first output, without numbers.
    inner: BTreeMap<String, Vec<NodeAt>>,
}

/// Where the weight of a site's node is stored.
#[derive(Clone)]
pub(super) struct Place<'m> {
    node: NodeAt,
    /// Which of the node's inputs is the weight.
    input: usize,
    way: Way,
    /// The graph that stores the weight, the way there, and its name.
    weight: TensorAt<'m>,
    weight_way: Way,
    /// The tensors between: what the node reads, then what Identity, Transpose, Cast and DequantizeLinear nodes made that of.
    tensors: Vec<&'m str>,
    /// Those nodes, and the loops that give it on.
    nodes: BTreeSet<NodeAt>,
    /// The element it is cast to.
    cast: Option<Element>,
    /// The DequantizeLinear that reads it.
    quantiser: Option<NodeAt>,
    /// Whether the node sees the weight, a matrix, transposed.
    is_turned: bool,
    /// Axes of the weight.
    rank: usize,
    /// In which order the node sees the axes of the weight, a kernel.
    order: Option<Vec<usize>>,
    /// Whether the weight is made of others that are stored.
    is_made: bool,
    /// The axis of the weight along which its rows lie, if each round of a loop reads another.
    pub(super) row: Option<i64>,
    /// Whether the stored matrix is `[out, in]`.
    pub(super) is_out_first: bool,
}

impl<'m> Graphs<'m> {
    pub(super) fn of(model: &'m Model) -> Graphs<'m> {
        let mut graphs = Graphs {
            scopes: Vec::new(),
            opset: model.opset(),
            readers: BTreeMap::new(),
            inner: BTreeMap::new(),
        };
        graphs.add(model.graph(), None, Vec::new(), String::new());
        graphs
    }

    fn add(&mut self, graph: &'m GraphProto, outer: Option<NodeAt>, way: Way, path: String) {
        let scope = self.scopes.len();
        let around = outer.map(|at| self.node(at));
        let made = graph.node.iter().enumerate();
        let makers = made.flat_map(|(at, node)| node.output.iter().map(move |o| (o.as_str(), at)));
        let passed_on = around.into_iter().flat_map(|node| passed_on(node, graph)).collect();
        let scanned = around.into_iter().flat_map(|node| scanned(node, graph)).collect();
        let makers = makers.collect();
        let way_here = way.clone();
        self.scopes.push(Scope { graph, outer, way: way_here, path, makers, passed_on, scanned });
        for (at, node) in graph.node.iter().enumerate() {
            for name in &node.input {
                self.readers.entry(name.as_str()).or_default().push((scope, at));
            }
            let path = |name: &str| match outer {
                None => without_numbers(name),
                Some(_) => without_numbers(&inner_path(&self.scopes[scope].path, name)),
            };
            let (label, output) = (path(node.label()), path(node.first_output()));
            if outer.is_some() {
                // What no round changes is written once, under its own name.
                let own = without_numbers(node.first_output());
                self.inner.entry(output).or_default().push((scope, at));
                self.inner.entry(own).or_default().push((scope, at));
            }
            for (number, attribute) in node.attribute.iter().enumerate() {
                let one = attribute.g.as_deref().map(|graph| (None, graph));
                let many = attribute.graphs.iter().enumerate().map(|(at, g)| (Some(at), g));
                for (which, inner) in one.into_iter().chain(many) {
                    let way = way.iter().copied().chain([(at, number, which)]).collect();
                    self.add(inner, Some((scope, at)), way, label.clone());
                }
            }
        }
        for output in &graph.output {
            let end = (scope, graph.node.len());
            self.readers.entry(output.name()).or_default().push(end);
        }
    }

    fn node(&self, (scope, at): NodeAt) -> &'m NodeProto {
        &self.scopes[scope].graph.node[at]
    }

    /// Where the weight is stored of every node of a site that the model has: rounds of a loop are one node.
    pub(super) fn places(&self, site: &Site) -> Result<Vec<Place<'m>>, BakeError> {
        let mut places: Vec<Place<'m>> = Vec::new();
        for node in &site.nodes {
            let at = self.find(site, node)?;
            if places.iter().all(|place| place.node != at) {
                // Of a recurrent operator it has one more, that of the directions.
                let is_recurrent = ["LSTM", "GRU", "RNN"].contains(&site.operator.as_str());
                let rank = if is_recurrent { 3 } else { site.a.dims.len() };
                places.push(self.place(at, node.input, rank));
            }
        }
        Ok(places)
    }

    /// The node of the file that this node of the folded graph is, or that is fused of it and others.
    fn find(&self, site: &Site, node: &SiteNode) -> Result<NodeAt, BakeError> {
        let outermost =
            |name: &str| Some((0, *self.scopes.first().and_then(|s| s.makers.get(name))?));
        // Two of one name cannot be told apart.
        let inner = |name: &str| {
            let nodes = self.inner.get(&without_numbers(name))?;
            nodes.first().copied().filter(|_| nodes.len() == 1)
        };
        let is_it = |&at: &NodeAt| {
            let node = self.node(at);
            node.is(&site.operator) || product(node) == Some(site.operator.as_str())
        };
        // What a fused node computes before its activation has no name in the file.
        let whole = without_numbers(&node.output);
        let fused = whole.strip_suffix(PRODUCT);
        let found = outermost(&node.output).or_else(|| inner(&node.output)).filter(is_it);
        // One of bfloat16 gives an output of the graph by way of float32.
        let found = found.or_else(|| outermost(&whole).filter(is_it));
        let found =
            found.or_else(|| fused.and_then(|y| outermost(y).or_else(|| inner(y))).filter(is_it));
        found.ok_or_else(|| BakeError::NoNode {
            site: site.name.clone(),
            operator: site.operator.clone(),
            output: node.output.clone(),
        })
    }

    fn place(&self, node: NodeAt, input: usize, rank: usize) -> Place<'m> {
        let reader = self.node(node);
        let name = reader.input_name(input).unwrap_or("");
        let mut place = Place {
            node,
            input,
            way: self.scopes[node.0].way.clone(),
            weight: (node.0, name),
            weight_way: Vec::new(),
            tensors: vec![name],
            nodes: BTreeSet::new(),
            cast: None,
            quantiser: None,
            is_turned: false,
            rank,
            order: None,
            is_made: false,
            row: None,
            is_out_first: false,
        };
        // A graph with a circle was refused when it was folded; the bound holds for any other caller.
        let steps: usize = self.scopes.iter().map(|scope| scope.graph.node.len() + 1).sum();
        for _step in 0..steps {
            let (scope, name) = place.weight;
            let here = &self.scopes[scope];
            if let Some(&at) = here.makers.get(name) {
                let maker = self.node((scope, at));
                if maker.is("Constant") {
                    break;
                }
                if let Some(index) = maker.input_name(1).filter(|_| maker.is("Gather"))
                    && place.row.is_none()
                    && self.value((scope, index), &mut BTreeMap::new(), 0).is_none()
                {
                    place.take_row((scope, at), maker.input_name(0), maker.int("axis", 0));
                    continue;
                }
                if place.pass((scope, at), maker).is_none() {
                    place.is_made = true;
                    break;
                }
            } else if here.graph.initializer.iter().any(|stored| stored.name() == name) {
                break;
            } else if let Some(outer) = here.outer {
                // What the body does not name is named around it.
                if let Some(&(all, axis)) = here.scanned.get(name).filter(|_| place.row.is_none()) {
                    place.weight.0 = outer.0;
                    place.take_row(outer, Some(all), axis);
                    continue;
                }
                if let Some(given) = here.passed_on.get(name) {
                    place.tensors.push(given);
                    place.nodes.insert(outer);
                }
                let name = here.passed_on.get(name).copied().unwrap_or(name);
                place.weight = (outer.0, name);
            } else {
                break;
            }
        }
        place.weight_way.clone_from(&self.scopes[place.weight.0].way);
        let reads_out_first = reader.int("transB", 0) != 0;
        place.is_out_first = reads_out_first != place.is_turned;
        place
    }

    /// Whether all places are one weight that nothing else reads.
    pub(super) fn read_alone(&self, places: &[Place<'m>]) -> bool {
        let known: BTreeSet<NodeAt> =
            places.iter().flat_map(|p| p.nodes.iter().copied().chain([p.node])).collect();
        let mut tensors = places.iter().flat_map(|place| &place.tensors);
        let is_one = places.windows(2).all(|pair| pair[0].weight == pair[1].weight);
        is_one
            && tensors.all(|name| {
                let readers = self.readers.get(name).into_iter().flatten();
                readers.into_iter().all(|reader| known.contains(reader))
            })
    }

    /// The value of a tensor that is made of stored ones. `known` has what was computed on the way, of so many steps.
    fn value(
        &self,
        (scope, name): TensorAt<'m>,
        known: &mut BTreeMap<TensorAt<'m>, Option<Tensor>>,
        depth: usize,
    ) -> Option<Tensor> {
        if depth > DEPTH_MAX {
            return None;
        }
        if let Some(value) = known.get(&(scope, name)) {
            return value.clone();
        }
        // What is asked for again on its own way goes in a circle.
        known.insert((scope, name), None);
        let here = &self.scopes[scope];
        let value = match (stored_in(here.graph, name), here.makers.get(name)) {
            (Some(stored), _) => Tensor::from_proto(stored).ok(),
            (None, Some(&at)) => self.computed((scope, at), name, known, depth),
            (None, None) => {
                let around = here.passed_on.get(name).copied().unwrap_or(name);
                self.value((here.outer?.0, around), known, depth + 1)
            }
        };
        known.insert((scope, name), value.clone());
        value
    }

    fn computed(
        &self,
        (scope, at): NodeAt,
        name: &str,
        known: &mut BTreeMap<TensorAt<'m>, Option<Tensor>>,
        depth: usize,
    ) -> Option<Tensor> {
        let mut node = self.node((scope, at)).clone();
        if node.domain() == FOREIGN && node.op_type() == "QuantizeLinear" {
            // ONNX Runtime's own is the standard one.
            node.domain = None;
        }
        let given = self.node((scope, at)).input.iter().map(|input| match input.as_str() {
            "" => Some(None),
            input => self.value((scope, input), known, depth + 1).map(Some),
        });
        let given: Vec<Option<Tensor>> = given.collect::<Option<_>>()?;
        let types: Vec<Option<TensorType>> =
            given.iter().map(|tensor| tensor.as_ref().map(Tensor::ty)).collect();
        let types: Vec<Option<&TensorType>> = types.iter().map(Option::as_ref).collect();
        let constant = |name: &str| {
            let place = node.input.iter().position(|input| input == name)?;
            given.get(place)?.clone()
        };
        let types = infer(&node, &types, &constant, self.opset).ok()?;
        let place = node.output.iter().position(|output| output == name)?;
        eval(&node, &given, &types)?.into_iter().nth(place)
    }

    /// The tensor that this name means in a graph, if it is stored.
    fn stored(&self, (mut scope, name): (usize, &str)) -> Option<&'m TensorProto> {
        loop {
            let here = &self.scopes[scope];
            if let Some(stored) = stored_in(here.graph, name) {
                return Some(stored);
            }
            scope = here.outer?.0;
        }
    }
}

impl<'m> Place<'m> {
    /// Goes on to what a node takes a row of.
    fn take_row(&mut self, at: NodeAt, all: Option<&'m str>, axis: i64) {
        self.weight.1 = all.unwrap_or("");
        self.row = Some(axis);
        self.tensors.push(self.weight.1);
        self.nodes.insert(at);
    }

    /// Which row of the weight is the site's, and its values.
    pub(super) fn read_row(
        &self,
        graphs: &Graphs<'m>,
        site: &Site,
        axis: i64,
        is_alone: bool,
    ) -> Result<(usize, Tensor), BakeError> {
        let (name, weight) = (site.name.clone(), self.weight().to_owned());
        let refuse = |why| BakeError::Row { site: name, weight, why };
        let is_plain = self.order.is_none() && self.quantiser.is_none() && self.cast.is_none();
        let stored = graphs.stored(self.weight).filter(|_| is_plain && !self.is_made);
        let (Some(stored), true) = (stored, is_alone) else {
            return Err(refuse("it is computed, or something else reads it, too"));
        };
        let all = Tensor::from_proto(stored)?;
        let Some(places) = rows(&all.dims, axis) else {
            return Err(refuse("it has no such axis"));
        };
        let mut dims = all.dims.clone();
        axis_of(axis, dims.len()).map(|axis| dims.remove(axis)).ok();
        let values = all.to_f64s();
        let row = |places: &Vec<usize>| {
            let row: Vec<f64> = places.iter().filter_map(|&at| values.get(at).copied()).collect();
            Tensor::from_f64s(all.data.element(), &dims, &row)
        };
        let is_it = |(_, row): &(usize, Tensor)| {
            <[u8; 32]>::from(Sha256::digest(row.to_le_bytes())) == site.base_sha256
        };
        let mut found = places.iter().map(row).enumerate().filter(is_it);
        match (found.next(), found.next()) {
            (Some(row), None) => Ok(row),
            (Some(_), Some(_)) => Err(refuse("several rows are alike")),
            (None, _) => Err(refuse("none of them is what the adapter was trained on")),
        }
    }

    /// Replaces one row where the weight is stored.
    pub(super) fn set_row(
        &self,
        model: &mut Model,
        axis: i64,
        row: usize,
        values: &[f64],
    ) -> Result<(), BakeError> {
        let graph = at(model, &self.weight_way);
        let none = || StoreError::NoSuchWeight { name: self.weight().to_owned() };
        let all = Tensor::from_proto(stored_in(graph, self.weight()).ok_or_else(none)?)?;
        let places = rows(&all.dims, axis).and_then(|mut rows| rows.drain(row..).next());
        let mut changed = all.to_f64s();
        for (&place, value) in places.iter().flatten().zip(values) {
            if let Some(changed) = changed.get_mut(place) {
                *changed = *value;
            }
        }
        let changed = Tensor::from_f64s(all.data.element(), &all.dims, &changed);
        Ok(set_in(graph, self.weight(), &changed)?)
    }

    /// Goes on to what a node makes the weight of; `None` if it computes it.
    fn pass(&mut self, at: NodeAt, maker: &'m NodeProto) -> Option<()> {
        if self.row.is_some() && !maker.is("Identity") {
            return None;
        }
        let order = permutation(maker, self.rank).ok().filter(|_| maker.is("Transpose"));
        let turns = self.rank == 2 && order == Some(vec![1, 0]);
        let order = order.filter(|_| self.rank > 2);
        if let Some(before) = order {
            let seen = self.order.take().unwrap_or_else(|| (0..before.len()).collect());
            let seen = seen.into_iter().map(|axis| before.get(axis).copied());
            self.order = Some(seen.collect::<Option<_>>()?);
        } else if dequantises(maker) && self.quantiser.is_none() {
            self.quantiser = Some(at);
        } else if maker.is("Cast") && self.quantiser.is_none() {
            let to = i32::try_from(maker.int("to", 0)).ok().and_then(Element::from_onnx);
            // The last cast is met first.
            self.cast = self.cast.or(Some(to.filter(|to| to.is_float())?));
        } else if !turns && !maker.is("Identity") {
            return None;
        }
        self.weight.1 = maker.input_name(0)?;
        self.is_turned ^= turns;
        self.tensors.push(self.weight.1);
        self.nodes.insert(at);
        Some(())
    }

    /// The name of the weight.
    pub(super) fn weight(&self) -> &'m str {
        self.weight.1
    }

    /// The weight as its node reads it but for a Transpose.
    pub(super) fn read(
        &self,
        graphs: &Graphs<'m>,
        site: &Site,
        dequantise: bool,
    ) -> Result<Tensor, BakeError> {
        let file = match graphs.stored(self.weight) {
            Some(stored) => Tensor::from_proto(stored)?,
            None => graphs.value(self.weight, &mut BTreeMap::new(), 0).ok_or_else(|| {
                let (scope, name) = self.weight;
                let maker = graphs.scopes[scope].makers.get(name);
                let maker = maker.map_or("nothing", |&at| graphs.node((scope, at)).op_type());
                BakeError::Computed {
                    site: site.name.clone(),
                    node: graphs.node(self.node).label().to_owned(),
                    operator: maker.to_owned(),
                }
            })?,
        };
        let base = self.read_as(graphs, &file, dequantise, site)?;
        let seen = self.order.as_ref().map(|order| {
            ordered(&base, order).ok_or_else(|| BakeError::Shape {
                site: site.name.clone(),
                weight: self.weight().to_owned(),
                got: base.dims.clone(),
                want: site.a.dims.clone(),
            })
        });
        let seen = seen.transpose()?;
        // What was hashed is what folding left: a cast weight was cast, a quantised one was not dequantised but where it is of
        // floats, a kernel that is made of others was put in order.
        let quantiser = self.quantiser.filter(|_| !file.data.element().is_float());
        let hashed = match (quantiser, self.is_made) {
            (Some(_), _) => &file,
            (None, true) => seen.as_ref().unwrap_or(&base),
            (None, false) => &base,
        };
        if <[u8; 32]>::from(Sha256::digest(hashed.to_le_bytes())) != site.base_sha256 {
            let weight = self.weight().to_owned();
            return Err(BakeError::OtherBase { site: site.name.clone(), weight });
        }
        Ok(seen.unwrap_or(base))
    }

    /// Whether the file keeps the weight as its node computes with it, in this element, so that it can be changed there.
    pub(super) fn is_stored(&self, graphs: &Graphs<'m>, element: Element) -> bool {
        let stored = graphs.stored(self.weight).map(TensorProto::data_type);
        let is_plain = self.order.is_none() && self.quantiser.is_none();
        !self.is_made && is_plain && stored == Some(element.to_onnx())
    }

    fn read_as(
        &self,
        graphs: &Graphs<'m>,
        file: &Tensor,
        dequantise: bool,
        site: &Site,
    ) -> Result<Tensor, BakeError> {
        let (name, weight) = (|| site.name.clone(), || self.weight().to_owned());
        let Some(quantiser) = self.quantiser else {
            let element = self.cast.unwrap_or(file.data.element());
            return Ok(Tensor::from_f64s(element, &file.dims, &file.to_f64s()));
        };
        if !dequantise {
            let node = graphs.node(self.node).label().to_owned();
            return Err(BakeError::Quantised { site: name(), weight: weight(), node });
        }
        // A scale may be stored in fewer bits, behind a Cast.
        let stored = |name: &str| match graphs.stored((quantiser.0, name)) {
            Some(stored) => Tensor::from_proto(stored).ok(),
            None => graphs.value((quantiser.0, name), &mut BTreeMap::new(), 0),
        };
        let real = dequantised(graphs.node(quantiser), file, stored);
        let real =
            real.map_err(|why| BakeError::Dequantise { site: name(), weight: weight(), why })?;
        Ok(match self.cast {
            Some(element) => Tensor::from_f64s(element, &real.dims, &real.to_f64s()),
            None => real,
        })
    }

    /// Replaces the weight where it is stored.
    pub(super) fn set(&self, model: &mut Model, tensor: &Tensor) -> Result<(), StoreError> {
        set_in(at(model, &self.weight_way), self.weight(), tensor)
    }

    /// Stores a weight for this node, transposed if the node reads it so; its name.
    pub(super) fn store_copy(&self, model: &mut Model, site: &Site, tensor: &Tensor) -> String {
        // The outermost graph's are known in all of them.
        let graph = model.graph_mut();
        let name = free_name(graph, &format!("{}.baked", site.name));
        let tensor = if self.is_turned { transposed(tensor) } else { tensor.clone() };
        graph.initializer.push(tensor.to_proto(&name));
        name
    }

    /// Has the node read another weight.
    pub(super) fn read_from(&self, model: &mut Model, name: &str) {
        at(model, &self.way).node[self.node.1].input[self.input] = name.to_owned();
    }

    /// What places have alike that can read one copy.
    pub(super) fn kind(&self) -> impl Ord + use<'m> {
        (self.weight, self.is_turned, self.order.clone())
    }
}

/// Where the values of each row along an axis stand; `None` if there is no such axis.
fn rows(dims: &[usize], axis: i64) -> Option<Vec<Vec<usize>>> {
    let axis = axis_of(axis, dims.len()).ok()?;
    let (count, inner) = (*dims.get(axis)?, dims.iter().skip(axis + 1).product::<usize>());
    let outer: usize = dims.iter().take(axis).product();
    let of =
        |row| (0..outer).flat_map(move |o| (0..inner).map(move |i| (o * count + row) * inner + i));
    Some((0..count).map(|row| of(row).collect()).collect())
}

/// Whether this is a DequantizeLinear, a standard one or ONNX Runtime's own.
fn dequantises(node: &NodeProto) -> bool {
    node.is("DequantizeLinear")
        || (node.domain() == FOREIGN && node.op_type() == "DequantizeLinear")
}

/// A tensor with its axes in this order.
fn ordered(tensor: &Tensor, order: &[usize]) -> Option<Tensor> {
    let dims = order.iter().map(|&axis| tensor.dims.get(axis).copied());
    let dims = dims.collect::<Option<Vec<usize>>>().filter(|_| order.len() == tensor.dims.len())?;
    let perm = order.iter().map(|&axis| axis as i64).collect();
    let perm = vec![Attr::Ints(perm).to_proto("perm")];
    let node = NodeProto::operator("Transpose", vec![String::new()], "", perm);
    let ty = TensorType::new(tensor.data.element(), &dims);
    eval(&node, &[Some(tensor.clone())], &[ty])?.pop()
}

/// The graph at the end of this way.
fn at<'g>(model: &'g mut Model, way: &[Step]) -> &'g mut GraphProto {
    let mut graph = model.graph_mut();
    for &(node, attribute, which) in way {
        let attribute = &mut graph.node[node].attribute[attribute];
        graph = match which {
            Some(which) => &mut attribute.graphs[which],
            None => match attribute.g.as_deref_mut() {
                Some(graph) => graph,
                None => unreachable!("the way was found in the same model"),
            },
        };
    }
    graph
}
