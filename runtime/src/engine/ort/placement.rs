//! Which provider got which node, as ONNX Runtime recorded it while it partitioned the graph.
//!
//! Source: `Session_GetEpGraphAssignmentInfo` of `onnxruntime_c_api.h`, since 1.24, recorded when
//! `session.record_ep_graph_assignment_info` is 1.
#![expect(unsafe_code, reason = "the record is read through the C interface")]

use std::ptr::null;

use ::ort::AsPointer;
use ::ort::sys::{OrtEpAssignedNode, OrtEpAssignedSubgraph};

use super::raw::{OrtError, check, string};
use crate::engine::{
    Elsewhere, EngineError, PlacedNode, Placement, Provider, Providers, RefusedNode,
};

/// Reads the record of a session.
pub(super) fn read_back(session: &::ort::session::Session) -> Result<Placement, OrtError> {
    let (mut graphs, mut count) = (null::<*const OrtEpAssignedSubgraph>(), 0);
    // SAFETY: the session is alive and owns the array it returns.
    check(unsafe {
        (::ort::api().Session_GetEpGraphAssignmentInfo)(
            session.ptr(),
            &raw mut graphs,
            &raw mut count,
        )
    })?;
    let mut placement = Placement::default();
    for i in 0..count {
        // SAFETY: the array has `count` elements.
        nodes_of(unsafe { *graphs.add(i) }, &mut placement.nodes)?;
    }
    Ok(placement)
}

fn nodes_of(
    graph: *const OrtEpAssignedSubgraph,
    placed: &mut Vec<PlacedNode>,
) -> Result<(), OrtError> {
    let api = ::ort::api();
    let (mut provider, mut nodes, mut count) = (null(), null::<*const OrtEpAssignedNode>(), 0);
    // SAFETY: the subgraph belongs to a living session.
    check(unsafe { (api.EpAssignedSubgraph_GetEpName)(graph, &raw mut provider) })?;
    // SAFETY: as above.
    check(unsafe { (api.EpAssignedSubgraph_GetNodes)(graph, &raw mut nodes, &raw mut count) })?;
    // SAFETY: a NUL-terminated string of the session.
    let provider = unsafe { string(provider) };
    for i in 0..count {
        let (mut name, mut operator) = (null(), null());
        // SAFETY: the array has `count` elements; nodes belong to the living session.
        check(unsafe { (api.EpAssignedNode_GetName)(*nodes.add(i), &raw mut name) })?;
        // SAFETY: as above.
        check(unsafe { (api.EpAssignedNode_GetOperatorType)(*nodes.add(i), &raw mut operator) })?;
        // SAFETY: NUL-terminated strings of the session.
        let (node, operator) = unsafe { (string(name), string(operator)) };
        placed.push(PlacedNode { node, operator, provider: provider.clone() });
    }
    Ok(())
}

/// Refuses a placement that is not what was asked for: nodes on a provider that was not named, or none on an accelerator where one
/// was.
pub(super) fn prove(
    placement: &Placement,
    asked: &Providers,
    elsewhere: Elsewhere,
) -> Result<(), EngineError> {
    let is = |node: &PlacedNode, provider: &Provider| node.provider == provider.in_words();
    let fell = asked.accelerated() && placement.nodes.iter().all(|node| is(node, &Provider::Cpu));
    let stray = |node: &&PlacedNode| fell || !asked.order().iter().any(|one| is(node, one));
    let strays: Vec<RefusedNode> = placement
        .nodes
        .iter()
        .filter(stray)
        .map(|node| RefusedNode {
            node: node.node.clone(),
            operator: node.operator.clone(),
            reason: format!("went to {}", node.provider),
        })
        .collect();
    let none_as_asked = strays.len() == placement.nodes.len();
    if strays.is_empty() || (elsewhere == Elsewhere::Report && !none_as_asked) {
        return Ok(());
    }
    Err(EngineError::Elsewhere { provider: asked.to_string(), nodes: strays })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn placed(providers: &[&str]) -> Placement {
        let node = |provider: &&str| PlacedNode {
            node: "conv".to_owned(),
            operator: "Conv".to_owned(),
            provider: (*provider).to_owned(),
        };
        Placement { nodes: providers.iter().map(node).collect(), replays: false }
    }

    fn asked(order: &[Provider]) -> Providers {
        Providers::in_order(order.to_vec()).unwrap()
    }

    #[test]
    fn a_node_that_fell_to_a_provider_that_was_not_asked_for_is_refused_by_name() {
        let mixed = placed(&["CUDAExecutionProvider", "CPUExecutionProvider"]);
        let cuda = asked(&[Provider::Cuda]);
        let error = prove(&mixed, &cuda, Elsewhere::Refuse).unwrap_err();
        assert_eq!(
            error.to_string(),
            "cuda:0 was asked for and did not take one node: \
             Conv `conv` (went to CPUExecutionProvider)"
        );
        assert!(prove(&mixed, &cuda, Elsewhere::Report).is_ok());
        let both = asked(&[Provider::Cuda, Provider::Cpu]);
        assert!(prove(&mixed, &both, Elsewhere::Refuse).is_ok());
    }

    #[test]
    fn a_model_that_fell_to_the_cpu_altogether_is_refused_even_where_the_cpu_may_take_nodes() {
        let fallen = placed(&["CPUExecutionProvider"]);
        assert!(prove(&fallen, &asked(&[Provider::Cuda]), Elsewhere::Report).is_err());
        let both = asked(&[Provider::Cuda, Provider::Cpu]);
        let error = prove(&fallen, &both, Elsewhere::Refuse).unwrap_err().to_string();
        assert!(error.starts_with("cuda:0+cpu was asked for and did not take one node"), "{error}");
        assert!(prove(&fallen, &Providers::default(), Elsewhere::Refuse).is_ok());
    }

    #[test]
    fn tensorrt_leaves_nodes_to_those_that_were_named_behind_it() {
        let mixed = placed(&["TensorrtExecutionProvider", "CUDAExecutionProvider"]);
        let both = asked(&[Provider::TensorRt, Provider::Cuda]);
        assert!(prove(&mixed, &both, Elsewhere::Refuse).is_ok());
        assert!(prove(&mixed, &asked(&[Provider::TensorRt]), Elsewhere::Refuse).is_err());
    }
}
