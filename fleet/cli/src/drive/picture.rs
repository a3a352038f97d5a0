//! Predicted against seen frames, drawn.

use std::path::Path;

use shoal_shadow::clip::{Footage, to_planes};
use shoal_shadow::measure::{DriveClips, Predictor};

use crate::output::Failure;

/// Pixels of the picture for one of the model.
const ZOOM: usize = 2;
/// Gray pixels between frames.
const GAP: usize = 4;
/// How much errors are enlarged; no error is mid-gray.
const ERROR_GAIN: f32 = 4.0;

/// Draws one clip of each drive as a row: the last frame, the predictions in order, what came, and the error
/// of the last prediction.
pub(super) fn draw(
    path: &Path,
    drives: &[DriveClips<'_>],
    predictors: &mut [&mut dyn Predictor],
) -> Result<(), Failure> {
    let Some(form) = predictors.first().map(|predictor| predictor.form().clone()) else {
        return Err("a picture needs a prediction".into());
    };
    let (width, height) = (usize::from(form.shape.width), usize::from(form.shape.height));
    let size = form.shape.bytes();
    let mut rows: Vec<Vec<Vec<f32>>> = Vec::new();
    for drive in drives {
        let Some(clips) = drive.clips.iter().max_by_key(|clips| clips.len()) else { continue };
        let Some(clip) = clips.get(clips.len() / 2) else { continue };
        let footage: &dyn Footage = clips.footage();
        let next = clip.first + clips.context();
        let mut frames = vec![0.0; form.frames_len()];
        for (index, planes) in frames.chunks_exact_mut(size).enumerate() {
            to_planes(footage.frame(next - form.frames + index), planes);
        }
        let mut motion = vec![0.0; form.motion.len()];
        form.write_motion(footage, next, &mut motion);
        let mut came = vec![0.0; size];
        to_planes(footage.frame(next), &mut came);
        let mut row = vec![frames[frames.len() - size..].to_vec()];
        for predictor in predictors.iter_mut() {
            let mut predicted = vec![0.0; size];
            predictor.predict(1, &frames, &motion, &mut predicted)?;
            row.push(predicted);
        }
        let predicted = row.last().expect("a row begins with the last frame");
        let error = predicted.iter().zip(&came).map(|(p, c)| 0.5 + ERROR_GAIN * (p - c)).collect();
        row.extend([came, error]);
        rows.push(row);
    }
    let columns = rows.first().map_or(0, Vec::len);
    let (cell_width, cell_height) = (ZOOM * width + GAP, ZOOM * height + GAP);
    let (all_width, all_height) = (columns * cell_width + GAP, rows.len() * cell_height + GAP);
    let mut picture =
        image::RgbImage::from_pixel(all_width as u32, all_height as u32, image::Rgb([128; 3]));
    for (row, cells) in rows.iter().enumerate() {
        for (column, planes) in cells.iter().enumerate() {
            let (left, top) = (column * cell_width + GAP, row * cell_height + GAP);
            for y in 0..ZOOM * height {
                for x in 0..ZOOM * width {
                    let pixel = y / ZOOM * width + x / ZOOM;
                    let byte = |plane: usize| {
                        (planes[plane * width * height + pixel].clamp(0.0, 1.0) * 255.0).round()
                            as u8
                    };
                    let colour = image::Rgb([byte(0), byte(1), byte(2)]);
                    picture.put_pixel((left + x) as u32, (top + y) as u32, colour);
                }
            }
        }
    }
    picture.save(path)?;
    Ok(())
}
