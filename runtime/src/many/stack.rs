//! K tensors of one shape as one tensor, in three forms.

use super::{ManyError, Walk};
use crate::onnx::{Attr, Value};

/// K tensors of dimensions `[d0, …]`. At least one form is there; the others are made when they are asked for.
#[derive(Clone, Debug)]
pub(super) struct Stack {
    /// Of each of them.
    dims: Vec<usize>,
    /// `[K, d0, …]`.
    lifted: Option<Value>,
    /// `[K·d0, …]`; of rank 0 `[K]`.
    merged: Option<Value>,
    /// K of `[d0, …]`.
    pieces: Option<Vec<Value>>,
}

impl Stack {
    pub(super) fn lifted(dims: &[usize], value: Value) -> Self {
        Stack { dims: dims.to_vec(), lifted: Some(value), merged: None, pieces: None }
    }
}

impl Walk<'_> {
    /// `[K, d0, …]`.
    pub(super) fn lifted_dims(&self, dims: &[usize]) -> Vec<usize> {
        std::iter::once(self.count).chain(dims.iter().copied()).collect()
    }

    /// `[K·d0, …]`.
    pub(super) fn merged_dims(&self, dims: &[usize]) -> Vec<usize> {
        match dims {
            [] => vec![self.count],
            [first, rest @ ..] => {
                std::iter::once(self.count * first).chain(rest.iter().copied()).collect()
            }
        }
    }

    /// A tensor in other dimensions: once, and of what it was before it had those that it has.
    pub(super) fn reshaped(&mut self, x: &Value, dims: &[usize]) -> Result<Value, ManyError> {
        let from = self.renamed.get(x).unwrap_or(x).clone();
        if self.builder.ty(&from).dims == dims {
            return Ok(from);
        }
        let key = (from, dims.to_vec());
        if let Some(made) = self.reshaped.get(&key) {
            return Ok(made.clone());
        }
        let shape: Vec<i64> = dims.iter().map(|&d| d as i64).collect();
        let shape = self.builder.i64s(&shape);
        let made = self.builder.op("Reshape", &[&key.0, &shape], &[])?;
        self.renamed.insert(made.clone(), key.0.clone());
        self.reshaped.insert(key, made.clone());
        Ok(made)
    }

    /// A stacked tensor as `[K·d0, …]`.
    pub(super) fn merged(&mut self, name: &str) -> Result<Value, ManyError> {
        let stack = self.stacks[name].clone();
        let made = match &stack {
            Stack { merged: Some(merged), .. } => return Ok(merged.clone()),
            Stack { lifted: Some(lifted), dims, .. } => {
                let dims = self.merged_dims(dims);
                self.reshaped(lifted, &dims)?
            }
            Stack { pieces, dims, .. } => self.joined(pieces.as_deref().unwrap_or(&[]), dims)?,
        };
        self.stack_mut(name).merged = Some(made.clone());
        Ok(made)
    }

    /// A stacked tensor as `[K, d0, …]`.
    pub(super) fn lifted(&mut self, name: &str) -> Result<Value, ManyError> {
        let stack = &self.stacks[name];
        if let Some(lifted) = &stack.lifted {
            return Ok(lifted.clone());
        }
        let dims = self.lifted_dims(&stack.dims);
        let merged = self.merged(name)?;
        let made = self.reshaped(&merged, &dims)?;
        self.stack_mut(name).lifted = Some(made.clone());
        Ok(made)
    }

    /// A tensor as `[K, 1…, d0, …]`, so that it is broadcast against others of this rank; one that depends on no adapter as it
    /// is.
    pub(super) fn with_rank(&mut self, name: &str, rank: usize) -> Result<Value, ManyError> {
        if !self.is_stacked(name) {
            return Ok(Value::named(name));
        }
        let dims = self.dims(name).to_vec();
        let mut long = vec![self.count];
        long.resize(1 + rank - dims.len(), 1);
        long.extend(dims);
        let lifted = self.lifted(name)?;
        self.reshaped(&lifted, &long)
    }

    /// A stacked tensor as K of `[d0, …]`.
    pub(super) fn pieces(&mut self, name: &str) -> Result<Vec<Value>, ManyError> {
        let stack = &self.stacks[name];
        if let Some(pieces) = &stack.pieces {
            return Ok(pieces.clone());
        }
        let dims = stack.dims.clone();
        let merged = self.merged(name)?;
        let each = dims.first().copied().unwrap_or(1) as i64;
        let sizes = self.builder.i64s(&vec![each; self.count]);
        let axis = [("axis", Attr::Int(0))];
        let inputs = [Some(&merged), Some(&sizes)];
        let mut pieces = self.builder.op_n("Split", &inputs, &axis, self.count)?;
        if dims.is_empty() {
            pieces = pieces.iter().map(|p| self.reshaped(p, &[])).collect::<Result<_, _>>()?;
        }
        self.stack_mut(name).pieces = Some(pieces.clone());
        Ok(pieces)
    }

    fn joined(&mut self, pieces: &[Value], dims: &[usize]) -> Result<Value, ManyError> {
        let mut parts = pieces.to_vec();
        if dims.is_empty() {
            parts = parts.iter().map(|p| self.reshaped(p, &[1])).collect::<Result<_, _>>()?;
        }
        let parts: Vec<&Value> = parts.iter().collect();
        Ok(self.builder.op("Concat", &parts, &[("axis", Attr::Int(0))])?)
    }

    /// K copies of a tensor that depends on no adapter, as `[K·d0, …]`; a stacked one as it is.
    pub(super) fn merged_or_tiled(&mut self, name: &str) -> Result<Value, ManyError> {
        if self.is_stacked(name) {
            return self.merged(name);
        }
        let mut repeats = vec![1; self.dims(name).len()];
        match repeats.first_mut() {
            Some(first) => *first = self.count as i64,
            None => return Ok(Value::named(name)),
        }
        let repeats = self.builder.i64s(&repeats);
        Ok(self.builder.op("Tile", &[&Value::named(name), &repeats], &[])?)
    }

    pub(super) fn set_merged(&mut self, name: &str, value: Value) {
        let dims = self.dims(name).to_vec();
        let stack = Stack { dims, lifted: None, merged: Some(value), pieces: None };
        self.stacks.insert(name.to_owned(), stack);
    }

    pub(super) fn set_lifted(&mut self, name: &str, value: Value) {
        let stack = Stack::lifted(self.dims(name), value);
        self.stacks.insert(name.to_owned(), stack);
    }

    pub(super) fn set_pieces(&mut self, name: &str, pieces: Vec<Value>) {
        let dims = self.dims(name).to_vec();
        let stack = Stack { dims, lifted: None, merged: None, pieces: Some(pieces) };
        self.stacks.insert(name.to_owned(), stack);
    }

    /// Whether the axis of adapters is before the others, in the only form that there is.
    pub(super) fn is_lifted_alone(&self, name: &str) -> bool {
        let forms = |stack: &Stack| {
            (stack.lifted.is_some(), stack.merged.is_some(), stack.pieces.is_some())
        };
        self.stacks.get(name).map(forms) == Some((true, false, false))
    }

    fn stack_mut(&mut self, name: &str) -> &mut Stack {
        match self.stacks.get_mut(name) {
            Some(stack) => stack,
            None => unreachable!("`{name}` was found a moment ago"),
        }
    }
}
