//! The type of every output of a node, from the types of its inputs.
//!
//! All shapes are static: where an operator computes its shape from a tensor, that tensor must be a
//! constant. Source: the operator documents of ONNX, operator sets 1 to 28.

mod elementwise;
pub(crate) mod layout;
pub(crate) mod linear;
pub(crate) mod reduce;
mod select;
mod window;

pub use layout::Cut;
pub use window::Window;
pub(crate) use window::one_scale;

use super::model::is_standard;
use super::proto::NodeProto;
use super::tensor::{Element, RANK_MAX, TENSOR_VALUES_MAX, Tensor, TensorType};

/// Why the outputs of a node have no type, and which node it is.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{operator} node `{node}`: {why}")]
pub struct InferError {
    /// The operator, with its domain unless that is the standard one.
    pub operator: String,
    /// The node's name, or its first output.
    pub node: String,
    /// What is wrong with it.
    pub why: InferWhy,
}

/// What is wrong with a node.
#[expect(missing_docs, reason = "fields read as the sentence they complete")]
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InferWhy {
    #[error("this operator is not supported")]
    Unsupported,
    #[error("input {index} is missing")]
    MissingInput { index: usize },
    #[error("input {index} must be a constant, since it decides a shape")]
    NotConstant { index: usize },
    #[error("attribute `{name}` is missing or not valid")]
    Attribute { name: &'static str },
    #[error("{what}: {got}")]
    Shape { what: &'static str, got: String },
    #[error(
        "output {index} would have more than {TENSOR_VALUES_MAX} values, or {RANK_MAX} dimensions"
    )]
    TooLarge { index: usize },
    #[error("{got} outputs are asked for, the operator has {has}")]
    Outputs { got: usize, has: usize },
}

/// The type of every output of `node`, in order, left-out ones included.
///
/// `inputs` are the types of its inputs (`None` where one is left out); `constant` gives the values of
/// those that are known; `opset` is the version of the standard operators.
///
/// # Errors
/// [`InferError`] if the operator is not known, or does not take these inputs.
pub fn infer(
    node: &NodeProto,
    inputs: &[Option<&TensorType>],
    constant: &dyn Fn(&str) -> Option<Tensor>,
    opset: i64,
) -> Result<Vec<TensorType>, InferError> {
    let ctx = Ctx { node, inputs, constant, opset };
    ctx.infer().map_err(|why| {
        let operator = match node.domain() {
            "" => node.op_type().to_owned(),
            domain => format!("{domain}.{}", node.op_type()),
        };
        InferError { operator, node: node.label().to_owned(), why }
    })
}

/// The outputs of one operator, or why there are none.
type Types = Result<Vec<TensorType>, InferWhy>;

/// A node with all that is known of its inputs.
struct Ctx<'a> {
    node: &'a NodeProto,
    inputs: &'a [Option<&'a TensorType>],
    constant: &'a dyn Fn(&str) -> Option<Tensor>,
    opset: i64,
}

impl Ctx<'_> {
    fn infer(&self) -> Types {
        if !is_standard(self.node.domain()) {
            return Err(InferWhy::Unsupported);
        }
        let op = self.node.op_type();
        let rules = [
            elementwise::infer,
            linear::infer,
            window::infer,
            layout::infer,
            select::infer,
            reduce::infer,
        ];
        for rule in rules {
            if let Some(types) = rule(self, op) {
                return self.checked(types?);
            }
        }
        Err(InferWhy::Unsupported)
    }

    fn checked(&self, mut types: Vec<TensorType>) -> Types {
        for (index, ty) in types.iter().enumerate() {
            let bounded = ty.dims.iter().all(|&d| d <= TENSOR_VALUES_MAX);
            // Of what has no values, too, parts are counted.
            let values = ty.dims.iter().try_fold(1usize, |n, &d| n.checked_mul(d.max(1)));
            if !bounded || ty.rank() > RANK_MAX || values.is_none_or(|n| n > TENSOR_VALUES_MAX) {
                return Err(InferWhy::TooLarge { index });
            }
        }
        let got = self.node.output.len();
        if got > types.len() {
            return Err(InferWhy::Outputs { got, has: types.len() });
        }
        types.truncate(got);
        Ok(types)
    }

    fn opt(&self, index: usize) -> Option<&TensorType> {
        self.inputs.get(index).copied().flatten()
    }

    fn input(&self, index: usize) -> Result<&TensorType, InferWhy> {
        self.opt(index).ok_or(InferWhy::MissingInput { index })
    }

    /// The values of an input that must be a constant.
    fn tensor(&self, index: usize) -> Result<Tensor, InferWhy> {
        let name = self.node.input_name(index).ok_or(InferWhy::MissingInput { index })?;
        (self.constant)(name).ok_or(InferWhy::NotConstant { index })
    }

    /// The values of an integer input that must be a constant.
    fn i64s(&self, index: usize) -> Result<Vec<i64>, InferWhy> {
        self.tensor(index)?.to_i64s().ok_or(InferWhy::NotConstant { index })
    }

    /// Integers that older operator sets keep in an attribute and newer ones in a constant input.
    fn ints_or_input(&self, name: &str, index: usize) -> Result<Option<Vec<i64>>, InferWhy> {
        if let Some(ints) = self.node.ints(name) {
            return Ok(Some(ints.to_vec()));
        }
        if self.node.input_name(index).is_none() {
            return Ok(None);
        }
        self.i64s(index).map(Some)
    }

    /// An axis attribute, counted from the front.
    fn axis(&self, default: i64, rank: usize) -> Result<usize, InferWhy> {
        axis_of(self.node.int("axis", default), rank)
    }
}

/// An axis counted from the front; negative ones count from the back.
pub(crate) fn axis_of(axis: i64, rank: usize) -> Result<usize, InferWhy> {
    let from_front = if axis < 0 { axis.checked_add(rank as i64) } else { Some(axis) };
    from_front
        .and_then(|a| usize::try_from(a).ok())
        .filter(|&a| a < rank)
        .ok_or(InferWhy::Attribute { name: "axis" })
}

fn shape<T>(what: &'static str, got: impl ToString) -> Result<T, InferWhy> {
    Err(InferWhy::Shape { what, got: got.to_string() })
}

/// The dimensions that both operands of a broadcasting operator are repeated to.
pub(crate) fn broadcast(a: &[usize], b: &[usize]) -> Option<Vec<usize>> {
    let rank = a.len().max(b.len());
    let at = |dims: &[usize], i: usize| match (i + dims.len()).checked_sub(rank) {
        Some(i) => dims[i],
        None => 1,
    };
    (0..rank)
        .map(|i| match (at(a, i), at(b, i)) {
            (x, y) if x == y => Some(x),
            (1, y) => Some(y),
            (x, 1) => Some(x),
            _ => None,
        })
        .collect()
}

fn broadcast_all<'t>(types: impl Iterator<Item = &'t TensorType>) -> Result<Vec<usize>, InferWhy> {
    let mut dims = Vec::new();
    for ty in types {
        dims = match broadcast(&dims, &ty.dims) {
            Some(dims) => dims,
            None => return shape("shapes do not broadcast", format!("{dims:?} and {ty}")),
        };
    }
    Ok(dims)
}

fn one(element: Element, dims: Vec<usize>) -> Types {
    Ok(vec![TensorType { element, dims }])
}
