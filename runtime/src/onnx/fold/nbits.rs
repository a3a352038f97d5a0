//! Products by weights of a few bits (`com.microsoft.MatMulNBits`), written in standard operators: the weight as one
//! unsigned byte a value, a DequantizeLinear by rows of one block each, and a MatMul.
//!
//! The weight stays quantised, at a byte a value, since engines do not fold a DequantizeLinear away; and every engine
//! runs it and every rule of a gradient holds.
//! # Source
//! ONNX Runtime `ContribOperators.md` (com.microsoft.MatMulNBits).

use super::{FoldWhy, Folder, Known};
use crate::onnx::builder::Attr;
use crate::onnx::proto::NodeProto;
use crate::onnx::tensor::{Data, Tensor};

/// Whether this is such a product.
pub(crate) fn is_product(node: &NodeProto) -> bool {
    node.domain() == "com.microsoft" && node.op_type() == "MatMulNBits"
}

/// A weight of a few bits, unpacked.
pub(crate) struct Unpacked {
    /// Output values.
    pub(crate) rows: usize,
    /// Input values.
    pub(crate) columns: usize,
    /// Values that share a scale.
    block: usize,
    /// `[rows · blocks, block]`, uint8; the last block of a row may reach beyond its columns.
    pub(crate) values: Tensor,
    /// `[rows · blocks]`, in the element that the node computes in.
    scales: Tensor,
    /// `[rows · blocks]`, uint8.
    zeros: Tensor,
}

/// Unpacks the weight of a product; `constant` gives its stored inputs. An error says what is wrong.
pub(crate) fn unpack(
    node: &NodeProto,
    constant: impl Fn(&str) -> Option<Tensor>,
) -> Result<Unpacked, &'static str> {
    let positive = |name| usize::try_from(node.int(name, 0)).ok().filter(|&n| n > 0);
    let size = || Some((positive("N")?, positive("K")?, positive("block_size")?));
    let (rows, columns, block) = size().ok_or("K, N or block_size is missing")?;
    let bits = node.int("bits", 4);
    let (2 | 4 | 8) = bits else { return Err("2, 4 and 8 bits are supported") };
    let bits = bits as usize;
    if node.input_name(4).is_some() {
        return Err("a permutation of its columns (g_idx) is not supported");
    }
    let given = |index: usize| node.input_name(index).and_then(&constant);
    let packed = given(1).ok_or("its weight is not stored")?;
    let Data::U8(packed) = packed.data else { return Err("its weight is not uint8") };
    let scales = given(2).ok_or("its scales are not stored")?;
    let blocks = columns.div_ceil(block);
    let count = rows.checked_mul(blocks).ok_or("it is too large")?;
    let values = count.checked_mul(block).ok_or("it is too large")?;
    if scales.data.len() != count || Some(packed.len() * 8) != values.checked_mul(bits) {
        return Err("its weight or scales do not fill K, N and block_size");
    }
    let zeros = match node.input_name(3) {
        None => vec![1u8 << (bits - 1); count],
        Some(name) => match constant(name).map(|t| t.data) {
            Some(Data::U8(zeros)) if zeros.len() == rows * (blocks * bits).div_ceil(8) => {
                let of_row = zeros.chunks_exact((blocks * bits).div_ceil(8));
                of_row.flat_map(|row| fields(row, bits).into_iter().take(blocks)).collect()
            }
            _ => return Err("its zero points are not packed as its weight is"),
        },
    };
    Ok(Unpacked {
        rows,
        columns,
        block,
        values: Tensor::new(&[count, block], Data::U8(fields(&packed, bits))),
        scales: Tensor::new(&[count], scales.data),
        zeros: Tensor::new(&[count], Data::U8(zeros)),
    })
}

/// The fields of so many bits in each byte, the lowest first.
fn fields(bytes: &[u8], bits: usize) -> Vec<u8> {
    let mask = ((1u16 << bits) - 1) as u8;
    bytes.iter().flat_map(|&byte| (0..8).step_by(bits).map(move |at| (byte >> at) & mask)).collect()
}

impl Unpacked {
    /// The weight `[rows, columns]` in float64.
    pub(crate) fn dequantised(&self) -> Vec<f64> {
        let (values, scales, zeros) =
            (self.values.to_f64s(), self.scales.to_f64s(), self.zeros.to_f64s());
        let blocks = values.chunks_exact(self.block).zip(scales.iter().zip(&zeros));
        let all: Vec<f64> =
            blocks.flat_map(|(block, (s, z))| block.iter().map(move |q| (q - z) * s)).collect();
        let stride = self.columns.div_ceil(self.block) * self.block;
        all.chunks_exact(stride).flat_map(|row| row.iter().take(self.columns).copied()).collect()
    }
}

/// Takes one product, whose inputs have the names they have in the folded graph.
pub(super) fn node(folder: &mut Folder<'_>, node: &NodeProto) -> Result<(), FoldWhy> {
    let refuse = |reason| FoldWhy::Upgrade {
        operator: "com.microsoft.MatMulNBits".to_owned(),
        node: node.label().to_owned(),
        reason,
    };
    let unpacked = unpack(node, |name| folder.constant(name)).map_err(refuse)?;
    let weight = node.input[1].clone();
    let padded = unpacked.columns.div_ceil(unpacked.block) * unpacked.block;
    let shape = Tensor::i64s(&[unpacked.rows as i64, padded as i64]);
    let constant = |folder: &mut Folder<'_>, value: Tensor| {
        let name = folder.fresh_name(&weight);
        folder.know(&name, value.ty(), Known::Made(value));
        name
    };
    // One copy of the weight, whoever reads it, under the name that the file has for it.
    let values = constant(folder, unpacked.values.clone());
    let (scales, zeros) = (constant(folder, unpacked.scales), constant(folder, unpacked.zeros));
    let shape = constant(folder, shape);
    let make = |folder: &mut Folder<'_>, op: &str, input: Vec<String>, attribute: Vec<_>| {
        let output = folder.fresh_name(&weight);
        folder.place(NodeProto::operator(op, input, &output, attribute))?;
        Ok::<String, FoldWhy>(output)
    };
    let axis = vec![Attr::Int(0).to_proto("axis")];
    let real = make(folder, "DequantizeLinear", vec![values, scales, zeros], axis)?;
    let mut matrix = make(folder, "Reshape", vec![real, shape], Vec::new())?;
    if padded != unpacked.columns {
        let ends = Tensor::i64s(&[unpacked.columns as i64]);
        let (starts, ends) = (constant(folder, Tensor::i64s(&[0])), constant(folder, ends));
        let axes = constant(folder, Tensor::i64s(&[1]));
        matrix = make(folder, "Slice", vec![matrix, starts, ends, axes], Vec::new())?;
    }
    let perm = vec![Attr::Ints(vec![1, 0]).to_proto("perm")];
    let turned = make(folder, "Transpose", vec![matrix], perm)?;
    let output = node.output_name(0);
    match node.input_name(5) {
        None => folder.place(NodeProto::operator(
            "MatMul",
            vec![node.input[0].clone(), turned],
            output,
            Vec::new(),
        )),
        Some(bias) => {
            let product = make(folder, "MatMul", vec![node.input[0].clone(), turned], Vec::new())?;
            folder.place(NodeProto::operator(
                "Add",
                vec![product, bias.to_owned()],
                output,
                Vec::new(),
            ))
        }
    }
}
