//! The default policy: frames of a camera and the speed in, logits on the action grid out.
//!
//! A convolutional network reads the last frame and how it differs from those before; a hidden layer reads all places of
//! its last map and the speed. Logits of a bin are the sum of its curvature's, its acceleration's and a low-rank part that
//! ties the two, so that 'brake or swerve' can be said.
//!
//! ```text
//! f        = the lower three quarters of the frames: the rest is sky
//! g        = ¼ ÷ √(variance of f₃ + 4·10⁻⁴)            over all its values, as the mean: night and noon look alike
//! x        = g·[f₃ − mean f₃, 3·(f₃ − f₂), 3·(f₃ − f₁)]
//! m        = conv₄(conv₃(conv₂(conv₁(x)))),            each 3×3, stride 2, SiLU; a residual 3×3 after conv₃
//! h        = SiLU([m, speed] · W + b)
//! logitsᵢⱼ = Σₖₗ wₖₗ·pₖᵢ·qₗⱼ                           w linear in h; p, q learnt, from cosines of k and l half turns over
//!                                                       the bins of curvature i and acceleration j
//! ```
//!
//! # Shapes and units
//! `frames` `[batch, 3, 3, height, width]`, RGB in `[0, 1]`, oldest first, 0.1 s apart; `motion` `[batch, 1]`: speed in units of
//! 30 m/s; `action` `[batch, 1281]`: logits of [`ActionGrid`](crate::grid::ActionGrid)'s bins, flat. The width is a multiple of 16, the height of 64.
//! # Source
//! A network from a front camera to steering: Bojarski et al., *End to End Learning for Self-Driving Cars*, 2016,
//! section 4 (convolutions, then fully connected). Sizes as measured for Shoal.

mod batch;
mod drive;
mod pretrain;
mod rehearsal;
pub mod transformer;

pub use self::batch::{PolicyClip, PolicySource};
pub(crate) use self::batch::{ROWS_MAX, turned_columns, turned_rad};
pub use self::drive::{DRIVEN_HZ, PolicySession, Reflex};
pub use self::pretrain::{Lessons, pretrain_policy};
pub use self::rehearsal::{REHEARSAL, Rehearsal, Rehearsed, lesson_form};

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use shoal_runtime::onnx::{Attr, Builder, InferError, Model, Tensor, TensorType, Value};

use crate::grid::{ACCELERATION_BINS, BINS, CURVATURE_BINS};
use crate::package::Description;
use crate::worldmodel::free_batch;

/// Frames of one lesson of driving.
pub const LESSON_FRAMES: usize = 24;
/// Frames that the policy reads.
pub const FRAMES: usize = 3;
/// Speed that the motion input shows as 1, in m/s.
const SPEED_UNIT_M_S: f64 = 30.0;
/// Added to a frame's variance, so that one of a single colour stays dark.
const VARIANCE_MIN: f32 = 4e-4;
/// Opset of the graph: as of the default world model.
const OPSET: i64 = 17;

/// Size of the policy; [`Architecture::default`] is what ships.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Architecture {
    /// Width of a frame in pixels, a multiple of 16.
    pub width: usize,
    /// Height of a frame in pixels, a multiple of 64.
    pub height: usize,
    /// Channels at 1/2, 1/4, 1/8 and 1/16 of the frame.
    pub channels: [usize; 4],
    /// Values of the hidden layer.
    pub hidden: usize,
    /// Waves over the curvature's and over the acceleration's bins.
    pub waves: [usize; 2],
}

impl Default for Architecture {
    fn default() -> Self {
        Architecture {
            width: 128,
            height: 64,
            channels: [16, 32, 48, 64],
            hidden: 128,
            waves: [16, 8],
        }
    }
}

/// Builds the untrained policy; weights are drawn from ChaCha8 with key `seed`, in graph order.
///
/// Learnt initializers are `<layer>.weight` and `<layer>.bias`; the batch axis is symbolic.
///
/// # Errors
/// [`InferError`] when width (a multiple of 16) or height (of 64) do not fit the network.
pub fn build(architecture: &Architecture, seed: u64) -> Result<Model, InferError> {
    let random = ChaCha8Rng::seed_from_u64(seed);
    let mut net = Net { builder: Builder::new(OPSET), random };
    let Architecture { width, height, channels, hidden, waves } = *architecture;
    let frames = net.builder.input("frames", TensorType::f32(&[1, FRAMES, 3, height, width]));
    let motion = net.builder.input("motion", TensorType::f32(&[1, 1]));
    let x = net.pictures(&frames, width, height)?;
    let x = net.conv("conv1", &x, channels[0], 2)?;
    let x = net.conv("conv2", &x, channels[1], 2)?;
    let x = net.conv("conv3", &x, channels[2], 2)?;
    let y = net.conv("mid", &x, channels[2], 1)?;
    let x = net.builder.op("Add", &[&x, &y], &[])?;
    let x = net.conv("conv4", &x, channels[3], 2)?;
    let places = channels[3] * (height * 3 / 64) * (width / 16);
    let x = net.reshape(&x, &[-1, places as i64])?;
    let x = net.builder.op("Concat", &[&x, &motion], &[("axis", Attr::Int(1))])?;
    let h = net.linear("hidden", &x, hidden, 1.4)?;
    let h = net.silu(&h)?;
    let logits = net.logits(&h, waves)?;
    net.builder.output("action", &logits);
    let mut model = net.builder.into_model();
    free_batch(&mut model);
    Ok(model)
}

/// The graph while it is written, and where its start values come from.
struct Net {
    builder: Builder,
    random: ChaCha8Rng,
}

impl Net {
    /// The lower three quarters of the last frame, of even contrast, and its differences from those before, `[b, 9, 3h ÷ 4, w]`.
    fn pictures(
        &mut self,
        frames: &Value,
        width: usize,
        height: usize,
    ) -> Result<Value, InferError> {
        let (channels, width, height) = (3 * FRAMES as i64, width as i64, height as i64);
        let stack = self.reshape(frames, &[-1, channels, height, width])?;
        let stack = self.slice(&stack, 2, height / 4, height)?;
        let last = self.slice(&stack, 1, channels - 3, channels)?;
        let whole = [("axes", Attr::Ints(vec![1, 2, 3])), ("keepdims", Attr::Int(1))];
        let mean = self.builder.op("ReduceMean", &[&last], &whole)?;
        let around = self.builder.op("Sub", &[&last, &mean], &[])?;
        let square = self.builder.op("Mul", &[&around, &around], &[])?;
        let variance = self.builder.op("ReduceMean", &[&square], &whole)?;
        let [least, quarter, three] =
            [VARIANCE_MIN, 0.25, 3.0].map(|number| self.builder.scalar(number));
        let variance = self.builder.op("Add", &[&variance, &least], &[])?;
        let deviation = self.builder.op("Sqrt", &[&variance], &[])?;
        let gain = self.builder.op("Div", &[&quarter, &deviation], &[])?;
        let mut parts = vec![self.builder.op("Mul", &[&around, &gain], &[])?];
        let gain = self.builder.op("Mul", &[&gain, &three], &[])?;
        for older in (0..FRAMES as i64 - 1).rev() {
            let older = self.slice(&stack, 1, 3 * older, 3 * older + 3)?;
            let change = self.builder.op("Sub", &[&last, &older], &[])?;
            parts.push(self.builder.op("Mul", &[&change, &gain], &[])?);
        }
        let parts: Vec<&Value> = parts.iter().collect();
        self.builder.op("Concat", &parts, &[("axis", Attr::Int(1))])
    }

    /// Logits of all bins, flat.
    fn logits(&mut self, h: &Value, waves: [usize; 2]) -> Result<Value, InferError> {
        let [rows, columns] = waves;
        let turn = [("perm", Attr::Ints(vec![0, 2, 1]))];
        let of = self.linear("action", h, rows * columns, 0.3)?;
        let of = self.reshape(&of, &[-1, rows as i64, columns as i64])?;
        let of = self.waves("acceleration", &of, columns, ACCELERATION_BINS)?;
        let of = self.builder.op("Transpose", &[&of], &turn)?;
        let of = self.waves("curvature", &of, rows, CURVATURE_BINS)?;
        let of = self.builder.op("Transpose", &[&of], &turn)?;
        self.reshape(&of, &[-1, BINS as i64])
    }

    /// A sum of waves over the bins of the last axis: what makes one bin likely makes those beside it likely.
    fn waves(
        &mut self,
        name: &str,
        x: &Value,
        waves: usize,
        bins: usize,
    ) -> Result<Value, InferError> {
        let at = |index: usize| {
            let (wave, bin) = ((index / bins) as f32, (index % bins) as f32);
            let turn = core::f32::consts::PI * wave * (bin + 0.5) / bins as f32;
            2.0 / (1.0 + wave) * libm::cosf(turn)
        };
        let values: Vec<f32> = (0..waves * bins).map(at).collect();
        let weight = Tensor::f32(&[waves, bins], &values);
        let weight = self.builder.initializer(&format!("{name}.weight"), &weight);
        self.builder.op("MatMul", &[x, &weight], &[])
    }

    /// SiLU of a learnt 3×3 convolution.
    fn conv(
        &mut self,
        name: &str,
        x: &Value,
        channels: usize,
        stride: i64,
    ) -> Result<Value, InferError> {
        let inputs = self.builder.ty(x).dims[1];
        let dims = [channels, inputs, 3, 3];
        let values = self.normals(channels * inputs * 9, (2.0 / (9 * inputs) as f32).sqrt());
        let weight =
            self.builder.initializer(&format!("{name}.weight"), &Tensor::f32(&dims, &values));
        let bias = Tensor::f32(&[channels], &vec![0.0; channels]);
        let bias = self.builder.initializer(&format!("{name}.bias"), &bias);
        let attributes = [
            ("kernel_shape", Attr::Ints(vec![3; 2])),
            ("strides", Attr::Ints(vec![stride; 2])),
            // At a stride of 2 the sizes are even: what is read begins at the first pixel.
            ("pads", Attr::Ints(if stride == 2 { vec![0, 0, 1, 1] } else { vec![1; 4] })),
        ];
        let y = self.builder.op("Conv", &[x, &weight, &bias], &attributes)?;
        self.silu(&y)
    }

    /// `x · W + b` over x's last axis; W is normal with deviation `scale` ÷ √(values of x), b starts at 0.
    fn linear(
        &mut self,
        name: &str,
        x: &Value,
        values: usize,
        scale: f32,
    ) -> Result<Value, InferError> {
        let inputs = self.builder.ty(x).dims.last().copied().unwrap_or(1);
        let drawn = self.normals(inputs * values, scale / (inputs as f32).sqrt());
        let weight = Tensor::f32(&[inputs, values], &drawn);
        let weight = self.builder.initializer(&format!("{name}.weight"), &weight);
        let bias = Tensor::f32(&[values], &vec![0.0; values]);
        let bias = self.builder.initializer(&format!("{name}.bias"), &bias);
        let y = self.builder.op("MatMul", &[x, &weight], &[])?;
        self.builder.op("Add", &[&y, &bias], &[])
    }

    fn silu(&mut self, x: &Value) -> Result<Value, InferError> {
        let gate = self.builder.op("Sigmoid", &[x], &[])?;
        self.builder.op("Mul", &[x, &gate], &[])
    }

    fn reshape(&mut self, x: &Value, dims: &[i64]) -> Result<Value, InferError> {
        let dims = self.builder.i64s(dims);
        self.builder.op("Reshape", &[x, &dims], &[])
    }

    fn slice(&mut self, x: &Value, axis: i64, from: i64, to: i64) -> Result<Value, InferError> {
        let [from, to, axis] = [from, to, axis].map(|number| self.builder.i64s(&[number]));
        self.builder.op("Slice", &[x, &from, &to, &axis], &[])
    }

    /// Standard normals times `deviation`: sums of twelve uniforms, exact on every machine.
    fn normals(&mut self, count: usize, deviation: f32) -> Vec<f32> {
        let mut uniform = || (self.random.next_u32() >> 8) as f32 / (1 << 24) as f32 - 0.5;
        (0..count).map(|_| deviation * (0..12).map(|_| uniform()).sum::<f32>()).collect()
    }
}

/// The package's description of a policy that [`build`] made.
#[must_use]
pub fn description(architecture: &Architecture) -> Description {
    described("policy", [architecture.width, architecture.height])
}

/// The same of any policy that reads such frames and the speed, and answers on the grid.
fn described(name: &str, [width, height]: [usize; 2]) -> Description {
    let toml = format!(
        "name = \"{name}\"\nrate_hz = 10.0\n\n\
         [frames]\ninput = \"frames\"\ncount = {FRAMES}\nwidth = {width}\nheight = {height}\n\n\
         [signals]\ninput = \"motion\"\ncolumns = [{{ field = \"speed_m_s\", scale = {} }}]\n\n\
         [action]\noutput = \"action\"\ngrid = \"{}\"\nrehearsal = {REHEARSAL}\n",
        1.0 / SPEED_UNIT_M_S,
        crate::digits::hex(&crate::grid::SHA256),
    );
    Description::parse("model.toml", &toml, name).expect("the text above is a description")
}
