//! The default next-frame world model, SEPFLOW: it copies the pixels of the last frame by predicted
//! shifts and adds a small residual.
//!
//! A convolutional U-Net at quarter resolution reads the last frames and a *matching cost* (how well
//! each small shift explains the last steps; nothing learnt). For every 2×2
//! block of pixels it gives two softmax vectors over shifts, 15 horizontal and 11 vertical. The last
//! frame goes through these two separable adaptive filters, plus a learnt residual. Untrained it is
//! nearly 'nothing moves'.
//!
//! ```text
//! y(r, c)    = Σᵢ wxᵢ(r, c) · x₃(r, c + i − 7)
//! z(r, c)    = Σⱼ wyⱼ(r, c) · y(r + j − 5, c)
//! next(r, c) = z(r, c) + 0.1 · residual(r, c)
//! ```
//!
//! # Shapes and units
//! `frames` `[batch, 4, 3, height, width]`, RGB in `[0, 1]`, oldest first; `motion` `[batch, 2]`
//! (speed in units of 30 m/s, steering in rad; zeros when unknown); `next` `[batch, 3, height, width]`,
//! not clamped. Height and width are multiples of 16.
//! # Source
//! Separable adaptive kernels: Niklaus et al., *Video Frame Interpolation via Adaptive Separable
//! Convolution*, 2017. Matching cost: Sun et al., *PWC-Net*, 2018. Channel counts as measured for Shoal.

use crate::package::Description;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use shoal_runtime::onnx::proto::{dimension, type_proto};
use shoal_runtime::onnx::{Attr, Builder, InferError, Model, Tensor, TensorType, Value};

/// Past frames that the model reads.
pub const CONTEXT: usize = 4;
/// Horizontal shifts: −7 … +7 pixels.
const SHIFTS_X: usize = 15;
/// Vertical shifts: −5 … +5 pixels.
const SHIFTS_Y: usize = 11;
/// Pixels of the residual head at quarter resolution: 4·4·3.
const RESIDUAL: usize = 48;
/// Radius of the matching cost, in its own pixels; (2·3 + 1)² = 49 shifts.
const REACH: usize = 3;
/// Speed that the motion input shows as 1, in m/s.
const SPEED_UNIT_M_S: f64 = 30.0;
/// Opset of the graph: the oldest that has all it needs in the forms used.
const OPSET: i64 = 17;

/// Size of the model; [`Architecture::default`] is what ships.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Architecture {
    /// Width of a frame in pixels, a multiple of 16.
    pub width: usize,
    /// Height of a frame in pixels, a multiple of 16.
    pub height: usize,
    /// Channels of the U-Net at 1/4, 1/8 and 1/16 of the frame.
    pub channels: [usize; 3],
    /// Frame pairs in the half-resolution cost (shifts of ±6 pixels in steps of 2), newest first: 1 to 3.
    pub pairs_half: usize,
    /// Frame pairs in the full-resolution cost (shifts of ±3 pixels), newest first: 0 to 3.
    pub pairs_full: usize,
    /// Whether the U-Net also reads differences to the older frames.
    pub differences: bool,
}

impl Default for Architecture {
    fn default() -> Self {
        Architecture {
            width: 128,
            height: 64,
            channels: [40, 88, 128],
            pairs_half: 3,
            pairs_full: 2,
            differences: false,
        }
    }
}

/// Builds the untrained model; weights are drawn from ChaCha8 with key `seed`, in graph order.
///
/// Learnt initializers are `<layer>.weight` and `<layer>.bias`; no other weight is in the graph. The
/// batch axis is symbolic.
///
/// # Errors
/// [`InferError`] when width or height do not fit the network (multiples of 16).
pub fn build(architecture: &Architecture, seed: u64) -> Result<Model, InferError> {
    let mut net = Net {
        builder: Builder::new(OPSET),
        random: ChaCha8Rng::seed_from_u64(seed),
        size: *architecture,
    };
    let (width, height) = (architecture.width, architecture.height);
    let frames = net.builder.input("frames", float(&[1, CONTEXT, 3, height, width]));
    let motion = net.builder.input("motion", float(&[1, 2]));
    let stack = net.reshape(&frames, &[-1, (CONTEXT * 3) as i64, height as i64, width as i64])?;
    let past: Vec<Value> = (0..CONTEXT)
        .map(|k| net.slice(&stack, 1, 3 * k as i64, 3 * k as i64 + 3))
        .collect::<Result<_, _>>()?;
    let head = net.unet(&past, &motion)?;
    let next = net.render(&past[CONTEXT - 1], &head)?;
    net.builder.output("next", &next);
    let mut model = net.builder.into_model();
    free_batch(&mut model);
    Ok(model)
}

/// The graph while it is written, and where its start values come from.
struct Net {
    builder: Builder,
    random: ChaCha8Rng,
    size: Architecture,
}

/// How a convolution starts.
enum Start {
    /// Normal, standard deviation √(2 / fan in): layers followed by a rectifying non-linearity.
    He,
    /// Uniform ±1/√(fan in).
    Fan,
    /// The head: uniform, a third of [`Start::Fan`], and every kernel's middle shift preferred.
    Head,
}

impl Net {
    /// From past frames (each `[b, 3, h, w]`) to the head's channels at quarter resolution.
    fn unet(&mut self, past: &[Value], motion: &Value) -> Result<Value, InferError> {
        let [fine, middle, coarse] = self.size.channels;
        let feature = self.feature(past)?;
        let cost = self.cost(past)?;
        let patch = self.conv("enc.patch", &feature, fine, 4, 4, &Start::Fan, true)?;
        let matched = self.conv("enc.match", &cost, fine, 1, 1, &Start::Fan, false)?;
        let x = self.builder.op("Add", &[&patch, &matched], &[])?;
        let x = self.silu(&x)?;
        let skip_fine = self.residual("enc1.0", &x)?;
        let x = self.conv("down1", &skip_fine, middle, 2, 2, &Start::Fan, true)?;
        let x = self.silu(&x)?;
        let x = self.residual("enc2.0", &x)?;
        let skip_middle = self.residual("enc2.1", &x)?;
        let x = self.conv("down2", &skip_middle, coarse, 2, 2, &Start::Fan, true)?;
        let x = self.silu(&x)?;
        let x = self.add_motion(&x, motion, coarse)?;
        let x = self.residual("enc3.0", &x)?;
        let x = self.up("up2", &x, &skip_middle, middle)?;
        let x = self.residual("dec2.0", &x)?;
        let x = self.up("up1", &x, &skip_fine, fine)?;
        let x = self.residual("dec1.0", &x)?;
        let head = RESIDUAL + 4 * (SHIFTS_X + SHIFTS_Y);
        self.conv("head", &x, head, 1, 1, &Start::Head, true)
    }

    /// The pictures that the U-Net reads: the last frame around 0 and, if asked, how it differs.
    fn feature(&mut self, past: &[Value]) -> Result<Value, InferError> {
        let last = &past[CONTEXT - 1];
        let half = self.builder.scalar(0.5);
        let centred = self.builder.op("Sub", &[last, &half], &[])?;
        if !self.size.differences {
            return Ok(centred);
        }
        let three = self.builder.scalar(3.0);
        let mut parts = vec![centred];
        for older in &past[..CONTEXT - 1] {
            let difference = self.builder.op("Sub", &[last, older], &[])?;
            parts.push(self.builder.op("Mul", &[&difference, &three], &[])?);
        }
        let parts: Vec<&Value> = parts.iter().collect();
        self.builder.op("Concat", &parts, &[("axis", Attr::Int(1))])
    }

    /// Matching cost of the newest frame pairs at quarter resolution, `[b, 49 · pairs, h/4, w/4]`.
    fn cost(&mut self, past: &[Value]) -> Result<Value, InferError> {
        let pairs = self.size.pairs_half.max(self.size.pairs_full);
        let newest = past.iter().rev().take(pairs + 1);
        let grays: Vec<Value> =
            newest.map(|frame| self.mean_of_channels(frame)).collect::<Result<_, _>>()?;
        let halves: Vec<Value> = grays
            .iter()
            .take(self.size.pairs_half + 1)
            .map(|gray| self.halve(gray))
            .collect::<Result<_, _>>()?;
        let mut volumes = Vec::new();
        for pair in 0..self.size.pairs_half {
            volumes.push(self.match_pair(&halves[pair], &halves[pair + 1], 1)?);
        }
        for pair in 0..self.size.pairs_full {
            volumes.push(self.match_pair(&grays[pair], &grays[pair + 1], 2)?);
        }
        let volumes: Vec<&Value> = volumes.iter().collect();
        self.builder.op("Concat", &volumes, &[("axis", Attr::Int(1))])
    }

    /// |older shifted − newer| for 49 shifts, averaged to quarter resolution, around its mean. With a
    /// `step` of 2 only every second row and column is looked at.
    ///
    /// Shifts are slices, first of columns, then of rows: volume 7·i + j is the shift by i − 3 rows and
    /// j − 3 columns.
    fn match_pair(&mut self, newer: &Value, older: &Value, step: i64) -> Result<Value, InferError> {
        let dims = self.builder.ty(older).dims.clone();
        let padded = self.pad(older, REACH, REACH, "edge")?;
        let columns = self.shifts(&padded, 3, dims[3] as i64, step)?;
        let shifted = self.shifts(&columns, 2, dims[2] as i64, step)?;
        if step == 1 {
            return self.distance(&shifted, newer);
        }
        let [from, to, axes, steps] = [[0, 0], [i64::MAX, i64::MAX], [2, 3], [step, step]]
            .map(|pair| self.builder.i64s(&pair));
        let sampled = self.builder.op("Slice", &[newer, &from, &to, &axes, &steps], &[])?;
        self.distance(&shifted, &sampled)
    }

    /// The 2·[`REACH`] + 1 shifts of a padded tensor along one axis of `length`, as channels.
    fn shifts(
        &mut self,
        padded: &Value,
        axis: i64,
        length: i64,
        step: i64,
    ) -> Result<Value, InferError> {
        let mut shifted = Vec::new();
        for shift in 0..=2 * REACH as i64 {
            let [from, to, axes, steps] =
                [shift, shift + length, axis, step].map(|number| self.builder.i64s(&[number]));
            shifted.push(self.builder.op("Slice", &[padded, &from, &to, &axes, &steps], &[])?);
        }
        let shifted: Vec<&Value> = shifted.iter().collect();
        self.builder.op("Concat", &shifted, &[("axis", Attr::Int(1))])
    }

    fn mean_of_channels(&mut self, x: &Value) -> Result<Value, InferError> {
        let mean_over = [("axes", Attr::Ints(vec![1])), ("keepdims", Attr::Int(1))];
        self.builder.op("ReduceMean", &[x], &mean_over)
    }

    fn halve(&mut self, x: &Value) -> Result<Value, InferError> {
        let two = Attr::Ints(vec![2, 2]);
        let pool = [("kernel_shape", two.clone()), ("strides", two)];
        self.builder.op("AveragePool", &[x], &pool)
    }

    fn distance(&mut self, shifted: &Value, newer: &Value) -> Result<Value, InferError> {
        let difference = self.builder.op("Sub", &[shifted, newer], &[])?;
        let distance = self.builder.op("Abs", &[&difference], &[])?;
        let pooled = self.halve(&distance)?;
        let mean = self.mean_of_channels(&pooled)?;
        let around = self.builder.op("Sub", &[&pooled, &mean], &[])?;
        let ten = self.builder.scalar(10.0);
        self.builder.op("Mul", &[&around, &ten], &[])
    }

    /// The two warps and the residual, from head channels to the next frame.
    ///
    /// Both warps work on frames folded 2×2 into channels (`[b, 12, h/2, w/2]`, channel = row parity,
    /// colour, column parity): the kernels are one per 2×2 block, so nothing has to be enlarged, and a
    /// shift by an odd number of pixels is a shift of the other folding.
    fn render(&mut self, last: &Value, head: &Value) -> Result<Value, InferError> {
        let kernels = self.slice(head, 1, RESIDUAL as i64, i64::MAX)?;
        let kernels = self.depth_to_space(&kernels)?;
        let across = self.slice(&kernels, 1, 0, SHIFTS_X as i64)?;
        let down = self.slice(&kernels, 1, SHIFTS_X as i64, i64::MAX)?;
        let across = self.builder.op("Softmax", &[&across], &[("axis", Attr::Int(1))])?;
        let down = self.builder.op("Softmax", &[&down], &[("axis", Attr::Int(1))])?;
        let warped = self.warp_across(last, &across)?;
        let warped = self.warp_down(last, &warped, &down)?;
        let residual = self.slice(head, 1, 0, RESIDUAL as i64)?;
        let residual = self.depth_to_space(&residual)?;
        let tenth = self.builder.scalar(0.1);
        let residual = self.builder.op("Mul", &[&residual, &tenth], &[])?;
        let sum = self.builder.op("Add", &[&warped, &residual], &[])?;
        self.unfold(&sum)
    }

    /// Horizontal warp of data only: the padded frame in both foldings, 15 slices, one sum.
    fn warp_across(&mut self, last: &Value, weights: &Value) -> Result<Value, InferError> {
        let width = self.size.width as i64;
        let padded = self.pad(last, 0, 8, "edge")?;
        let even = self.fold(&padded)?;
        let odd = self.slice(&padded, 3, 1, width + 15)?;
        let odd = self.fold(&odd)?;
        let sources: Vec<Value> = (1..=SHIFTS_X as i64)
            .map(|offset| {
                let source = if offset % 2 == 0 { &even } else { &odd };
                self.slice(source, 3, offset / 2, offset / 2 + width / 2)
            })
            .collect::<Result<_, _>>()?;
        self.weigh(&sources, weights)
    }

    /// Vertical warp: the edge padding touches data only, what was warped is padded with zeros.
    fn warp_down(
        &mut self,
        last: &Value,
        warped: &Value,
        weights: &Value,
    ) -> Result<Value, InferError> {
        let rows = self.size.height as i64 / 2;
        let flat = self.fold(last)?;
        let change = self.builder.op("Sub", &[warped, &flat], &[])?;
        let change = self.pad(&change, 3, 0, "constant")?;
        let edge = self.pad(last, 6, 0, "edge")?;
        let edge = self.fold(&edge)?;
        let even = self.builder.op("Add", &[&edge, &change], &[])?;
        // One row down: the lower rows of each pair, then the upper rows of the next.
        let lower = self.slice(&even, 1, 6, 12)?;
        let lower = self.slice(&lower, 2, 0, rows + 5)?;
        let upper = self.slice(&even, 1, 0, 6)?;
        let upper = self.slice(&upper, 2, 1, rows + 6)?;
        let odd = self.builder.op("Concat", &[&lower, &upper], &[("axis", Attr::Int(1))])?;
        let sources: Vec<Value> = (1..=SHIFTS_Y as i64)
            .map(|offset| {
                let source = if offset % 2 == 0 { &even } else { &odd };
                self.slice(source, 2, offset / 2, offset / 2 + rows)
            })
            .collect::<Result<_, _>>()?;
        self.weigh(&sources, weights)
    }

    /// Σ over sources of source · its weight channel.
    fn weigh(&mut self, sources: &[Value], weights: &Value) -> Result<Value, InferError> {
        let mut sum: Option<Value> = None;
        for (index, source) in sources.iter().enumerate() {
            let weight = self.slice(weights, 1, index as i64, index as i64 + 1)?;
            let part = self.builder.op("Mul", &[source, &weight], &[])?;
            sum = Some(match sum {
                None => part,
                Some(before) => self.builder.op("Add", &[&before, &part], &[])?,
            });
        }
        Ok(sum.expect("a warp has shifts"))
    }

    /// `[b, 3, h, w]` → `[b, 12, h/2, w/2]`, channel = (row parity, colour, column parity).
    fn fold(&mut self, x: &Value) -> Result<Value, InferError> {
        let dims = self.builder.ty(x).dims.clone();
        let (rows, columns) = (dims[2] as i64 / 2, dims[3] as i64 / 2);
        let split = self.reshape(x, &[-1, 3, rows, 2, columns, 2])?;
        let order = [("perm", Attr::Ints(vec![0, 3, 1, 5, 2, 4]))];
        let moved = self.builder.op("Transpose", &[&split], &order)?;
        self.reshape(&moved, &[-1, 12, rows, columns])
    }

    /// Inverse of [`Net::fold`] at the size of a frame.
    fn unfold(&mut self, x: &Value) -> Result<Value, InferError> {
        let (rows, columns) = (self.size.height as i64 / 2, self.size.width as i64 / 2);
        let split = self.reshape(x, &[-1, 2, 3, 2, rows, columns])?;
        let order = [("perm", Attr::Ints(vec![0, 2, 4, 1, 5, 3]))];
        let moved = self.builder.op("Transpose", &[&split], &order)?;
        self.reshape(&moved, &[-1, 3, 2 * rows, 2 * columns])
    }

    /// `x + 0.5 · SiLU(conv 3×3)`.
    fn residual(&mut self, name: &str, x: &Value) -> Result<Value, InferError> {
        let channels = self.builder.ty(x).dims[1];
        let y = self.conv(name, x, channels, 3, 1, &Start::He, true)?;
        let y = self.silu(&y)?;
        let half = self.builder.scalar(0.5);
        let y = self.builder.op("Mul", &[&y, &half], &[])?;
        self.builder.op("Add", &[x, &y], &[])
    }

    /// Twice the resolution, plus the skip connection.
    fn up(
        &mut self,
        name: &str,
        x: &Value,
        skip: &Value,
        channels: usize,
    ) -> Result<Value, InferError> {
        let y = self.conv(name, x, 4 * channels, 1, 1, &Start::Fan, true)?;
        let y = self.depth_to_space(&y)?;
        self.builder.op("Add", &[&y, skip], &[])
    }

    /// Adds a learnt linear map of the motion, zero at the start, at every position.
    fn add_motion(
        &mut self,
        x: &Value,
        motion: &Value,
        channels: usize,
    ) -> Result<Value, InferError> {
        let weight = self.builder.initializer("motion.weight", &filled(&[2, channels], 0.0));
        let bias = self.builder.initializer("motion.bias", &filled(&[channels], 0.0));
        let y = self.builder.op("MatMul", &[motion, &weight], &[])?;
        let y = self.builder.op("Add", &[&y, &bias], &[])?;
        let y = self.reshape(&y, &[-1, channels as i64, 1, 1])?;
        self.builder.op("Add", &[x, &y], &[])
    }

    /// A learnt convolution; 3×3 keeps the size, others have stride = kernel.
    #[expect(clippy::too_many_arguments, reason = "a layer has this many properties")]
    fn conv(
        &mut self,
        name: &str,
        x: &Value,
        channels: usize,
        kernel: usize,
        stride: i64,
        start: &Start,
        bias: bool,
    ) -> Result<Value, InferError> {
        let inputs = self.builder.ty(x).dims[1];
        let dims = [channels, inputs, kernel, kernel];
        let weight = self.start(&dims, start);
        let weight = self.builder.initializer(&format!("{name}.weight"), &weight);
        let pad = if kernel == 3 { 1 } else { 0 };
        let attributes = [
            ("kernel_shape", Attr::Ints(vec![kernel as i64; 2])),
            ("strides", Attr::Ints(vec![stride; 2])),
            ("pads", Attr::Ints(vec![pad; 4])),
        ];
        if !bias {
            return self.builder.op("Conv", &[x, &weight], &attributes);
        }
        let values = self.start_bias(&dims, start);
        let bias = self.builder.initializer(&format!("{name}.bias"), &values);
        self.builder.op("Conv", &[x, &weight, &bias], &attributes)
    }

    /// Start values of a weight `[out, in, k, k]`.
    fn start(&mut self, dims: &[usize; 4], start: &Start) -> Tensor {
        let fan_in = (dims[1] * dims[2] * dims[3]) as f32;
        let count: usize = dims.iter().product();
        let mut values: Vec<f32> = match start {
            Start::He => {
                let deviation = (2.0 / fan_in).sqrt();
                (0..count).map(|_| deviation * self.normal()).collect()
            }
            Start::Fan => (0..count).map(|_| self.uniform() / fan_in.sqrt()).collect(),
            Start::Head => (0..count).map(|_| 0.3 * self.uniform() / fan_in.sqrt()).collect(),
        };
        if matches!(start, Start::Head) {
            values[..RESIDUAL * dims[1]].fill(0.0);
        }
        Tensor::f32(dims, &values)
    }

    /// Start values of a bias: zero after [`Start::He`], ±1/√(fan in), or the middle shift preferred.
    fn start_bias(&mut self, dims: &[usize; 4], start: &Start) -> Tensor {
        let fan_in = (dims[1] * dims[2] * dims[3]) as f32;
        let mut values = vec![0.0; dims[0]];
        match start {
            Start::He => {}
            Start::Fan => {
                for value in &mut values {
                    *value = self.uniform() / fan_in.sqrt();
                }
            }
            Start::Head => {
                let across = RESIDUAL + 4 * (SHIFTS_X / 2);
                let down = RESIDUAL + 4 * (SHIFTS_X + SHIFTS_Y / 2);
                values[across..across + 4].fill(4.0);
                values[down..down + 4].fill(4.0);
            }
        }
        Tensor::f32(&[dims[0]], &values)
    }

    /// Uniform in `[−1, 1)`.
    fn uniform(&mut self) -> f32 {
        (self.random.next_u32() >> 8) as f32 / (1 << 23) as f32 - 1.0
    }

    /// Standard normal: the sum of twelve uniforms, exact on every machine.
    fn normal(&mut self) -> f32 {
        (0..12).map(|_| 0.5 * self.uniform()).sum()
    }

    fn silu(&mut self, x: &Value) -> Result<Value, InferError> {
        let gate = self.builder.op("Sigmoid", &[x], &[])?;
        self.builder.op("Mul", &[x, &gate], &[])
    }

    fn depth_to_space(&mut self, x: &Value) -> Result<Value, InferError> {
        let attributes = [("blocksize", Attr::Int(2)), ("mode", Attr::Str("CRD".into()))];
        self.builder.op("DepthToSpace", &[x], &attributes)
    }

    fn reshape(&mut self, x: &Value, dims: &[i64]) -> Result<Value, InferError> {
        let dims = self.builder.i64s(dims);
        self.builder.op("Reshape", &[x, &dims], &[])
    }

    fn slice(&mut self, x: &Value, axis: i64, from: i64, to: i64) -> Result<Value, InferError> {
        let [from, to, axis] = [from, to, axis].map(|number| self.builder.i64s(&[number]));
        self.builder.op("Slice", &[x, &from, &to, &axis], &[])
    }

    /// Pads `[b, c, h, w]` by `rows` above and below and `columns` left and right.
    fn pad(
        &mut self,
        x: &Value,
        rows: usize,
        columns: usize,
        mode: &str,
    ) -> Result<Value, InferError> {
        let (rows, columns) = (rows as i64, columns as i64);
        let pads = self.builder.i64s(&[0, 0, rows, columns, 0, 0, rows, columns]);
        self.builder.op("Pad", &[x, &pads], &[("mode", Attr::Str(mode.into()))])
    }
}

fn float(dims: &[usize]) -> TensorType {
    TensorType::f32(dims)
}

fn filled(dims: &[usize], value: f32) -> Tensor {
    Tensor::f32(dims, &vec![value; dims.iter().product()])
}

/// Makes the batch axis symbolic: nothing in the graph depends on its size.
pub fn free_batch(model: &mut Model) {
    let graph = model.graph_mut();
    for value in graph.input.iter_mut().chain(&mut graph.output) {
        let ty = value.r#type.as_mut().and_then(|ty| ty.value.as_mut());
        if let Some(type_proto::Value::TensorType(tensor)) = ty
            && let Some(batch) = tensor.shape.as_mut().and_then(|shape| shape.dim.first_mut())
        {
            batch.value = Some(dimension::Value::DimParam("batch".into()));
        }
    }
}

/// The package's description of a model that [`build`] made.
#[must_use]
pub fn description(architecture: &Architecture) -> Description {
    let toml = format!(
        "name = \"sepflow\"\nrate_hz = 10.0\n\n\
         [frames]\ninput = \"frames\"\ncount = {CONTEXT}\nwidth = {}\nheight = {}\n\n\
         [signals]\ninput = \"motion\"\ncolumns = [\n    \
         {{ field = \"speed_m_s\", scale = {} }},\n    {{ field = \"steering_rad\" }},\n]\n\n\
         [next_frame]\noutput = \"next\"\n\n\
         [adapter]\ntargets = [\"!motion.*\"]\n",
        architecture.width,
        architecture.height,
        1.0 / SPEED_UNIT_M_S,
    );
    Description::parse("model.toml", &toml, "sepflow").expect("the text above is a description")
}
