//! What goes into the sites of an adapter on a vehicle's own road: Gram matrices, XᵀX.

use std::num::NonZeroUsize;

use shoal_runtime::adapter::Layout;
use shoal_shadow::batch::Batch;
use shoal_shadow::fit::SiteInputs;

use super::{Information, Lab, LabError, flat, in_parallel};

/// Gram matrices of one vehicle, site by site in the layout's order.
///
/// Of each the upper triangle, row by row: `[in·(in + 1)/2]`, the mean over rows of X, so that it does not depend on how many
/// there are.
pub type Grams = Vec<Vec<f32>>;

/// Values of the triangle of each site of a layout.
pub fn triangles(layout: &Layout) -> impl Iterator<Item = usize> {
    let inputs = |dims: &[usize]| dims.iter().skip(1).product::<usize>();
    layout
        .sites
        .iter()
        .map(move |site| inputs(&site.a.dims))
        .map(|inputs| inputs * (inputs + 1) / 2)
}

impl Lab<'_> {
    /// Gram matrices of what goes into every site, with the adapter asked for in the model, on clips of the vehicle's own drawn
    /// as a night draws them, in the order they are asked for. No step is taken, and none is counted.
    ///
    /// Of a convolution a row of X is a patch under its window, channels first, zeros where it is padded; groups of channels
    /// give a row each.
    ///
    /// # Errors
    /// [`LabError`]; a site whose inputs cannot be had is named.
    pub fn grams(&mut self, asked: &[Information]) -> Result<Vec<Grams>, LabError> {
        in_parallel(self.jobs, asked, |asked| self.seen(asked))
    }

    fn seen(&self, asked: &Information) -> Result<Grams, LabError> {
        let key = asked.key("grams", &self.context);
        let layout = &self.base.layout;
        if let Some(grams) = self.store.get(&key).and_then(|bytes| read(layout, &bytes)) {
            return Ok(grams);
        }
        let frames = self.bench.frames("regmean")?;
        let mut source = frames.own_clips(asked)?;
        let adapter = self.base.adapter(&asked.at)?;
        let base = self.base.modelled()?;
        let description = base.package.description();
        let one = NonZeroUsize::MIN;
        let mut inputs = SiteInputs::load(&base.model, description, &*base.engine, one, &adapter)?;
        let mut sums: Vec<Sum> = triangles(layout).map(Sum::new).collect();
        let mut batch = Batch::new(frames.form.clone(), 1);
        for sample in 0..asked.samples {
            source.fill(sample.into(), &mut batch);
            inputs.see(&batch, |site, row| {
                if let Some(sum) = sums.get_mut(site) {
                    sum.add(row);
                }
            })?;
        }
        let grams: Grams = sums.into_iter().map(Sum::mean).collect();
        let bytes: Vec<u8> = grams.iter().flatten().flat_map(|value| value.to_le_bytes()).collect();
        self.store.put(&key, &bytes)?;
        Ok(grams)
    }
}

/// Triangles of this layout, one behind the other; `None`: they are of another.
fn read(layout: &Layout, bytes: &[u8]) -> Option<Grams> {
    let values = flat(bytes);
    let mut rest = &values[..];
    let mut grams = Vec::with_capacity(layout.sites.len());
    for count in triangles(layout) {
        let (triangle, behind) = rest.split_at_checked(count)?;
        grams.push(triangle.to_vec());
        rest = behind;
    }
    rest.is_empty().then_some(grams)
}

/// Σ xᵀx over rows x, the upper triangle.
struct Sum {
    values: Vec<f64>,
    rows: u64,
}

impl Sum {
    fn new(values: usize) -> Self {
        Sum { values: vec![0.0; values], rows: 0 }
    }

    fn add(&mut self, row: &[f32]) {
        let mut rest = &mut self.values[..];
        for (index, first) in row.iter().enumerate() {
            let Some((line, below)) = rest.split_at_mut_checked(row.len() - index) else { return };
            // Much of what goes into a site is zero: padding, motion that is not known.
            if *first != 0.0 {
                let first = f64::from(*first);
                let others = row.iter().skip(index);
                line.iter_mut()
                    .zip(others)
                    .for_each(|(sum, other)| *sum += first * f64::from(*other));
            }
            rest = below;
        }
        self.rows += 1;
    }

    fn mean(self) -> Vec<f32> {
        let rows = self.rows.max(1) as f64;
        self.values.into_iter().map(|sum| (sum / rows) as f32).collect()
    }
}

#[cfg(test)]
mod tests {
    use shoal_runtime::graft::{GraftOptions, graft, with_site_inputs};
    use shoal_runtime::onnx::{Attr, Builder, Tensor, TensorType};

    use super::*;

    /// Of a 2×2 kernel on a picture of 3×2 with a line of padding above, and of a product: by hand.
    #[test]
    fn a_gram_matrix_is_that_of_patches_unfolded_by_hand() {
        let mut b = Builder::new(17);
        let x = b.input("x", TensorType::f32(&[1, 1, 2, 3]));
        let w = b.initializer("conv", &Tensor::f32(&[1, 1, 2, 2], &[1.0, 2.0, 3.0, 4.0]));
        let pads = [("pads", Attr::Ints(vec![1, 0, 0, 0]))];
        let y = b.op("Conv", &[&x, &w], &pads).unwrap();
        let shape = b.i64s(&[2, 2]);
        let flat = b.op("Reshape", &[&y, &shape], &[]).unwrap();
        let w = b.initializer("product", &Tensor::f32(&[2, 1], &[1.0, -1.0]));
        let y = b.op("MatMul", &[&flat, &w], &[]).unwrap();
        b.output("y", &y);
        let folded = b.finish();
        let options = GraftOptions { rank: 1, ..GraftOptions::default() };
        let layout = graft(&folded, &options).unwrap().layout;
        assert_eq!(triangles(&layout).collect::<Vec<_>>(), [10, 3]);
        let with = with_site_inputs(folded, &layout).unwrap();
        let gram = |site: usize, values: &[f32], columns: usize| {
            let mut sum = Sum::new(columns * (columns + 1) / 2);
            with.sites[site].rows(values, |row| sum.add(row));
            sum.mean()
        };
        // 1 2 3     patches: (0 0 1 2) (0 0 2 3)
        // 4 5 6              (1 2 4 5) (2 3 5 6)
        let patches: [[f32; 4]; 4] = [
            [0.0, 0.0, 1.0, 2.0],
            [0.0, 0.0, 2.0, 3.0],
            [1.0, 2.0, 4.0, 5.0],
            [2.0, 3.0, 5.0, 6.0],
        ];
        let want = (0..4).flat_map(|i| (i..4).map(move |j| (i, j)));
        let want: Vec<f32> =
            want.map(|(i, j)| patches.iter().map(|x| x[i] * x[j]).sum::<f32>() / 4.0).collect();
        assert_eq!(gram(0, &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0], 4), want);
        assert_eq!(gram(1, &[1.0, 2.0, 3.0, 4.0], 2), [5.0, 7.0, 10.0]);
        let bytes: Vec<u8> = [0.5_f32; 13].iter().flat_map(|value| value.to_le_bytes()).collect();
        assert_eq!(read(&layout, &bytes), Some(vec![vec![0.5; 10], vec![0.5; 3]]));
        assert_eq!(read(&layout, &bytes[4..]), None);
    }
}
