//! The inputs and outputs a model file declares.

use std::collections::BTreeSet;

use super::{EngineError, Place, TensorPort};
use crate::onnx::proto::{Dimension, ValueInfoProto, dimension, type_proto};
use crate::onnx::{Element, Model, TensorType};

/// The inputs and outputs of a model, all on the host. Inputs with a default (an initializer of
/// the same name) keep it and are no ports.
///
/// # Errors
/// [`EngineError::OpenShape`], [`EngineError::UnsupportedElement`] with the name of the tensor.
pub fn ports(model: &Model) -> Result<(Vec<TensorPort>, Vec<TensorPort>), EngineError> {
    let graph = model.graph();
    let defaults: BTreeSet<&str> = graph.initializer.iter().map(|tensor| tensor.name()).collect();
    let inputs = graph.input.iter().filter(|info| !defaults.contains(info.name()));
    Ok((
        inputs.map(port).collect::<Result<_, _>>()?,
        graph.output.iter().map(port).collect::<Result<_, _>>()?,
    ))
}

fn port(info: &ValueInfoProto) -> Result<TensorPort, EngineError> {
    let name = info.name().to_owned();
    let unsupported =
        |got: String| EngineError::UnsupportedElement { tensor: info.name().to_owned(), got };
    let Some(type_proto::Value::TensorType(tensor)) =
        info.r#type.as_ref().and_then(|ty| ty.value.as_ref())
    else {
        return Err(unsupported("no tensor".to_owned()));
    };
    let number = tensor.elem_type();
    let element = Element::from_onnx(number)
        .ok_or_else(|| unsupported(format!("ONNX data type {number}")))?;
    let Some(shape) = &tensor.shape else {
        return Err(EngineError::OpenShape { tensor: name, dims: "?".to_owned() });
    };
    let dims: Option<Vec<usize>> = shape.dim.iter().map(number_of).collect();
    match dims {
        Some(dims) => Ok(TensorPort { name, ty: TensorType { element, dims }, place: Place::Host }),
        None => {
            let dims = shape.dim.iter().map(text_of).collect::<Vec<_>>().join(", ");
            Err(EngineError::OpenShape { tensor: name, dims })
        }
    }
}

fn number_of(dim: &Dimension) -> Option<usize> {
    match &dim.value {
        Some(dimension::Value::DimValue(number)) => usize::try_from(*number).ok(),
        Some(dimension::Value::DimParam(_)) | None => None,
    }
}

fn text_of(dim: &Dimension) -> String {
    match &dim.value {
        Some(dimension::Value::DimValue(number)) => number.to_string(),
        Some(dimension::Value::DimParam(name)) => name.clone(),
        None => "?".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::onnx::{Builder, Tensor};

    #[test]
    fn an_input_with_a_default_is_no_port() {
        let mut b = Builder::new(17);
        let x = b.input("x", TensorType::f32(&[2]));
        let w = b.initializer("w", &Tensor::f32(&[2], &[1.0, 2.0]));
        let y = b.op("Add", &[&x, &w], &[]).unwrap();
        b.output("y", &y);
        let mut model = b.into_model();
        model.graph_mut().input.push(TensorType::f32(&[2]).to_value_info("w"));
        let (inputs, outputs) = ports(&model).unwrap();
        assert_eq!(inputs.iter().map(|p| p.name.as_str()).collect::<Vec<_>>(), ["x"]);
        assert_eq!(outputs[0].ty, TensorType::f32(&[2]));
    }

    #[test]
    fn an_unknown_element_is_an_error_with_the_name_of_the_tensor() {
        let mut model = Builder::new(17).into_model();
        let mut info = TensorType::f32(&[2]).to_value_info("words");
        let ty = info.r#type.as_mut().unwrap().value.as_mut().unwrap();
        let type_proto::Value::TensorType(tensor) = ty else { unreachable!() };
        tensor.elem_type = Some(8);
        model.graph_mut().input.push(info);
        let error = ports(&model).unwrap_err();
        assert_eq!(
            error.to_string(),
            "`words` is of type ONNX data type 8, which sessions do not bind"
        );
    }
}
