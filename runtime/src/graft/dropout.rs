//! Dropout on the way into the factors: a mask beside every A.
//!
//! `y = f(x, W) + (α/r)·B·A·(m ⊙ x)`: what a site reads is multiplied by its mask before A, and only there. Masks are inputs of the
//! graph, drawn outside ([`crate::train::Masks`]): the graph stays one of standard operators that gives the same twice.
//!
//! # Source
//! `lora_dropout` of PEFT, which drops what goes into A; Srivastava et al., 2014, for the division by what is kept.

use std::collections::BTreeMap;

use crate::adapter::Layout;
use crate::onnx::{Builder, Folded, InferError, Value};

/// What the names of masks begin with; behind it stand the site, and `#2`, `#3`… for further nodes of it.
pub const MASK: &str = "dropout.";

/// Why a graph has no masks.
#[expect(missing_docs, reason = "fields read as the sentence they complete")]
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum DropoutError {
    #[error(
        "site `{site}`: the factors of this {operator} are added to its weight, so that nothing goes into A by itself and \
         nothing can be dropped: take it out with --targets '!{site}'"
    )]
    Merged { site: String, operator: String },
    #[error("the graph has an input `{input}` already")]
    Taken { input: String },
    #[error(transparent)]
    Infer(#[from] InferError),
}

/// A grafted graph of this layout with a mask before every A: an input `dropout.<site>` of the dimensions of what the site reads, float32.
/// With masks of ones it computes what it did.
///
/// # Errors
/// [`DropoutError`] names a site whose factors are no branch beside its node.
pub fn with_masks(folded: &Folded, layout: &Layout) -> Result<Folded, DropoutError> {
    let mut sites: BTreeMap<&str, (usize, usize)> = BTreeMap::new();
    for (place, site) in layout.sites.iter().enumerate() {
        sites.insert(&site.a.input, (place, 0));
    }
    let mut turned: BTreeMap<String, String> = BTreeMap::new();
    let mut builder = Builder::before(folded, MASK);
    for node in &folded.model.graph().node {
        let mut node = node.clone();
        let read = node.input.iter().find_map(|name| {
            let a = turned.get(name).map_or(name.as_str(), String::as_str);
            sites.contains_key(a).then(|| a.to_owned())
        });
        let found = read.as_deref().and_then(|a| sites.get_mut(a).map(|site| (a, site)));
        let Some((a, (place, count))) = found else {
            builder.node(node)?;
            continue;
        };
        let site = &layout.sites[*place];
        if node.is("Transpose") {
            turned.insert(node.output_name(0).to_owned(), a.to_owned());
        } else if ["Gemm", "MatMul", "Conv"].iter().any(|operator| node.is(operator)) {
            *count += 1;
            let more = if *count > 1 { format!("#{count}") } else { String::new() };
            let input = format!("{MASK}{}{more}", site.name);
            if folded.types.contains_key(&input) {
                return Err(DropoutError::Taken { input });
            }
            let x = Value::named(&node.input[0]);
            let mask = builder.input(&input, builder.ty(&x).clone());
            node.input[0] = builder.op("Mul", &[&x, &mask], &[])?.name().to_owned();
        } else {
            let (site, operator) = (site.name.clone(), site.operator.clone());
            return Err(DropoutError::Merged { site, operator });
        }
        builder.node(node)?;
    }
    builder.outputs_of(folded);
    Ok(builder.finish())
}
