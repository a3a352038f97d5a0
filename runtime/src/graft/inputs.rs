//! What goes into the sites of an adapter: as further outputs of a graph, and as the rows that factor A multiplies.

use std::collections::BTreeMap;

use super::Grafted;
use crate::adapter::{Layout, Site};
use crate::onnx::infer::Window;
use crate::onnx::proto::NodeProto;
use crate::onnx::{Builder, Element, Folded, InferWhy, TensorType, Value};

/// What the names of the outputs begin with.
pub const SITE_INPUT: &str = "input.";

/// A graph that also gives what goes into sites.
#[derive(Clone, Debug, PartialEq)]
pub struct WithInputs {
    /// The graph.
    pub folded: Folded,
    /// One a node of a site, in the layout's order.
    pub sites: Vec<SiteInput>,
}

/// What goes into one node of a site.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SiteInput {
    /// The place of the site in the layout.
    pub site: usize,
    /// The graph output that gives it: `input.<site>`, with `#2`, `#3`… behind it for further nodes.
    pub output: String,
    /// Values of a row: columns of A.
    columns: usize,
    /// Values of the whole tensor.
    values: usize,
    rows: Rows,
}

/// Where the rows stand in the tensor.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Rows {
    /// One behind the other.
    Whole,
    /// As columns, so many (a Gemm with `transA`).
    Turned(usize),
    /// Patches under a window.
    Patches {
        /// Values of a channel.
        plane: usize,
        /// Channels of a group.
        channels: usize,
        /// By position of the window, by value of the kernel: the place in a channel; `None`: padding.
        taps: Vec<Vec<Option<usize>>>,
    },
}

/// Why the inputs of a site cannot be had.
#[expect(missing_docs, reason = "fields read as the sentence they complete")]
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SiteInputsError {
    #[error("site `{site}`: the model has no {operator} node that makes `{output}`")]
    NoNode { site: String, operator: String, output: String },
    #[error("site `{site}`: what goes into a {operator} cannot be taken apart into rows")]
    Operator { site: String, operator: String },
    #[error(
        "site `{site}`: what goes into it is {got}, whose rows have not the {want} values of A's"
    )]
    Columns { site: String, got: String, want: usize },
    #[error("site `{site}`: its window does not fit what goes into it")]
    Window { site: String, source: InferWhy },
    #[error("the model has a tensor `{output}` already")]
    Taken { output: String },
}

/// Makes what goes into every node of every site of a layout an output of the graph.
///
/// `folded` is a model without factors as inputs: plain, or with an adapter baked in. The adapter acts on what goes into its
/// sites, since each lies behind others.
///
/// # Errors
/// [`SiteInputsError`], naming the site.
pub fn with_site_inputs(folded: Folded, layout: &Layout) -> Result<WithInputs, SiteInputsError> {
    let found = inputs_of(&folded, layout)?;
    with_outputs(folded, found)
}

/// As [`with_site_inputs`], of a graph with factors as inputs; `folded` is the model that was grafted.
///
/// # Errors
/// As [`with_site_inputs`].
pub fn with_grafted_site_inputs(
    folded: &Folded,
    grafted: Grafted,
) -> Result<WithInputs, SiteInputsError> {
    // Grafting leaves the names of all tensors that were there.
    let found = inputs_of(folded, &grafted.layout)?;
    with_outputs(grafted.folded, found)
}

/// What goes into every node of every site, and its rows.
fn inputs_of(folded: &Folded, layout: &Layout) -> Result<Vec<(Value, SiteInput)>, SiteInputsError> {
    let nodes = folded.model.graph().node.iter().map(|node| (node.output_name(0), node));
    let nodes: BTreeMap<&str, &NodeProto> = nodes.collect();
    let mut found = Vec::with_capacity(layout.sites.len());
    for (place, site) in layout.sites.iter().enumerate() {
        for number in 0..site.nodes.len() {
            found.push(input_of(folded, &nodes, (place, site), number)?);
        }
    }
    Ok(found)
}

/// The same graph with these tensors as outputs.
fn with_outputs(
    folded: Folded,
    found: Vec<(Value, SiteInput)>,
) -> Result<WithInputs, SiteInputsError> {
    let mut builder = Builder::extend(folded, SITE_INPUT);
    let mut sites = Vec::with_capacity(found.len());
    for (tensor, site) in found {
        if builder.ty_of(&site.output).is_some() {
            return Err(SiteInputsError::Taken { output: site.output });
        }
        builder.output(&site.output, &tensor);
        sites.push(site);
    }
    Ok(WithInputs { folded: builder.finish(), sites })
}

/// The tensor that goes into this node of a site, and its rows.
fn input_of(
    folded: &Folded,
    nodes: &BTreeMap<&str, &NodeProto>,
    (place, site): (usize, &Site),
    number: usize,
) -> Result<(Value, SiteInput), SiteInputsError> {
    let made = &site.nodes[number].output;
    let node = nodes.get(made.as_str()).filter(|node| node.is(&site.operator));
    let input = node.and_then(|node| Some((*node, node.input_name(0)?)));
    let typed = input.and_then(|(node, name)| Some((node, name, folded.types.get(name)?)));
    let (node, name, ty) = typed.ok_or_else(|| SiteInputsError::NoNode {
        site: site.name.clone(),
        operator: site.operator.clone(),
        output: made.clone(),
    })?;
    let rows = rows(node, ty, site)?;
    let output = match number {
        0 => format!("{SITE_INPUT}{}", site.name),
        _ => format!("{SITE_INPUT}{}#{}", site.name, number + 1),
    };
    let columns = site.a.dims.iter().skip(1).product();
    Ok((Value::named(name), SiteInput { site: place, output, columns, values: ty.values(), rows }))
}

fn rows(node: &NodeProto, ty: &TensorType, site: &Site) -> Result<Rows, SiteInputsError> {
    let want: usize = site.a.dims.iter().skip(1).product();
    let other = || SiteInputsError::Columns { site: site.name.clone(), got: ty.to_string(), want };
    if ty.element != Element::F32 || want == 0 {
        return Err(other());
    }
    match (node.op_type(), ty.dims.as_slice()) {
        ("Gemm", [columns, rows]) if node.int("transA", 0) != 0 && *columns == want => {
            Ok(Rows::Turned(*rows))
        }
        ("Gemm", _) if node.int("transA", 0) != 0 => Err(other()),
        ("Gemm" | "MatMul", [.., columns]) if *columns == want => Ok(Rows::Whole),
        ("Conv", [_batch, channels, space @ ..]) => {
            let [_rank, of_group, kernel @ ..] = site.a.dims.as_slice() else {
                return Err(other());
            };
            if *of_group == 0 || channels % of_group != 0 {
                return Err(other());
            }
            let window = Window::of(node, space, kernel)
                .map_err(|source| SiteInputsError::Window { site: site.name.clone(), source })?;
            let plane = space.iter().product();
            Ok(Rows::Patches { plane, channels: *of_group, taps: taps(&window, space) })
        }
        ("Gemm" | "MatMul" | "Conv", _) => Err(other()),
        (operator, _) => {
            Err(SiteInputsError::Operator { site: site.name.clone(), operator: operator.into() })
        }
    }
}

impl SiteInput {
    /// Values of a row: columns of A, which are channels, then the axes of the kernel.
    #[must_use]
    pub fn columns(&self) -> usize {
        self.columns
    }

    /// Calls `each` with every row that A multiplies: hidden = A·row.
    ///
    /// Of a matrix product these are the rows of its input. Of a convolution they are the patches under its window, zeros
    /// where it is padded, by sample, by group, by position. All groups share one A: each gives a row a position.
    ///
    /// # Shapes and units
    /// `values` is what the graph gives at [`SiteInput::output`]; a row has [`SiteInput::columns`] values.
    /// # Panics
    /// If `values` has another length than the graph's tensor.
    pub fn rows(&self, values: &[f32], mut each: impl FnMut(&[f32])) {
        assert_eq!(values.len(), self.values, "values of `{}`", self.output);
        match &self.rows {
            Rows::Whole => values.chunks_exact(self.columns).for_each(each),
            Rows::Turned(rows) => {
                for row in 0..*rows {
                    let row: Vec<f32> = values.iter().skip(row).step_by(*rows).copied().collect();
                    each(&row);
                }
            }
            Rows::Patches { plane, channels, taps } => {
                let mut row = Vec::with_capacity(self.columns);
                // Samples and groups lie one behind the other.
                for group in values.chunks_exact((plane * channels).max(1)) {
                    for taps in taps {
                        row.clear();
                        for channel in group.chunks_exact((*plane).max(1)) {
                            let value = |tap: &Option<usize>| channel.get((*tap)?).copied();
                            row.extend(taps.iter().map(|tap| value(tap).unwrap_or(0.0)));
                        }
                        each(&row);
                    }
                }
            }
        }
    }
}

/// By position of the window, by value of the kernel: where in a channel it reads.
fn taps(window: &Window, space: &[usize]) -> Vec<Vec<Option<usize>>> {
    let of_position = |position: Vec<usize>| {
        places(&window.kernel).map(|offset| tap(window, space, &position, &offset)).collect()
    };
    places(&window.out).map(of_position).collect()
}

/// `None`: in the padding.
fn tap(window: &Window, space: &[usize], position: &[usize], offset: &[usize]) -> Option<usize> {
    let steps = position.iter().zip(&window.strides).map(|(place, stride)| place * stride);
    let within = offset.iter().zip(&window.dilations).map(|(place, dilation)| place * dilation);
    let mut place = 0;
    for (((step, within), begin), space) in steps.zip(within).zip(&window.begin).zip(space) {
        let at = (step + within).checked_sub(*begin).filter(|at| at < space)?;
        place = place * space + at;
    }
    Some(place)
}

/// Every place in a box of these dimensions, the last axis quickest.
fn places(dims: &[usize]) -> impl Iterator<Item = Vec<usize>> {
    (0..dims.iter().product()).map(|flat| {
        let mut rest: usize = flat;
        let mut place: Vec<usize> = dims
            .iter()
            .rev()
            .map(|dim| {
                let at = rest % dim;
                rest /= dim;
                at
            })
            .collect();
        place.reverse();
        place
    })
}
