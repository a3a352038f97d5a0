//! Writes what a simulation's vehicles are tuned on, batch by batch, for another engine to tune the same model on the same:
//! `cargo run -p shoal-sim --example nights -- FLEET.toml FOLDER`
//!
//! `start.npy` holds the adapter that all begin with, `factors.json` what it is made of, and of every night there are
//! `VEHICLE-WINDOW-{frames,motion,target,weight}.npy`, float32, each `[steps, batch, …]`.

use std::error::Error;
use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use shoal_hal::Drive;
use shoal_runtime::adapter::Adapter;
use shoal_shadow::batch::{Batch, Mix, MixedBatch, Road};
use shoal_shadow::clip::Clips;
use shoal_shadow::form::Form;
use shoal_sim::config::SimConfig;
use shoal_sim::data::Data;
use shoal_sim::lab::{Base, Task};
use shoal_sim::method::night_seed;
use shoal_sim::roads::Roads;

type Outcome<T = ()> = Result<T, Box<dyn Error>>;

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1).map(PathBuf::from);
    let (Some(file), Some(folder)) = (arguments.next(), arguments.next()) else {
        eprintln!("usage: nights FLEET.toml FOLDER");
        return ExitCode::FAILURE;
    };
    match write(&file, &folder) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn write(file: &Path, folder: &Path) -> Outcome {
    let config = SimConfig::read(file)?;
    let base = Base::open(&config, shoal_sim::lab::engine(&config)?)?;
    std::fs::create_dir_all(folder)?;
    let data = Data::open(&config, &base.task, &folder.join("pack"))?;
    let (Task::Frames { form, footage }, Data::Roads(roads)) = (&base.task, &data) else {
        return Err("only models of frames are tuned on batches of frames".into());
    };
    let start = Adapter::start(base.layout.clone(), config.seed);
    let mut values = npy(&folder.join("start.npy"), &[start.values().len()])?;
    put(&mut values, start.values())?;
    values.flush()?;
    let factors = base.layout.factors().map(|factor| (&factor.input, &factor.dims));
    let factors: Vec<_> = factors.collect();
    std::fs::write(folder.join("factors.json"), serde_json::to_string(&factors)?)?;
    for vehicle in 0..config.vehicles {
        for window in 1..=config.windows {
            let source = source(&config, form, footage, roads, (vehicle, window));
            let source = source.ok_or("a vehicle has seen nothing to tune on")?;
            night(&config, form, source, &folder.join(format!("{vehicle}-{window}")))?;
        }
    }
    Ok(())
}

/// As the lab makes it.
fn source<'a>(
    config: &SimConfig,
    form: &Form,
    footage: &'a [Drive],
    roads: &'a Roads,
    (vehicle, window): (u32, u32),
) -> Option<MixedBatch<'a>> {
    let own = roads.of(vehicle, roads.phase(window)).filter_map(|road| {
        let clips = roads.clips(road, roads.seen(road, window));
        Road::new(&[clips], form)
    });
    let own: Vec<Road<'_>> = own.collect();
    let replayed = footage.iter().filter_map(|drive| {
        let clips = Clips::of_all(drive, form.context, 1);
        Road::new(&[clips], form)
    });
    let mix = Mix::of(config.night.batch);
    let seed = night_seed(config.seed, vehicle, window);
    MixedBatch::new(form.clone(), mix, own, replayed.collect(), seed)
}

fn night(config: &SimConfig, form: &Form, mut source: MixedBatch<'_>, name: &Path) -> Outcome {
    let (steps, samples) = (config.night.steps as usize, config.night.batch);
    let (width, height) = (usize::from(form.shape.width), usize::from(form.shape.height));
    let open = |what: &str, of_one: &[usize]| {
        let path = PathBuf::from(format!("{}-{what}.npy", name.display()));
        npy(&path, &[&[steps, samples], of_one].concat())
    };
    let mut frames = open("frames", &[form.frames, 3, height, width])?;
    let mut motion = open("motion", &[form.motion.len()])?;
    let mut target = open("target", &[3, height, width])?;
    let mut weight = open("weight", &[])?;
    let mut batch = Batch::new(form.clone(), samples);
    for step in 0..steps {
        source.fill(step as u64, &mut batch);
        put(&mut frames, batch.frames())?;
        put(&mut motion, batch.motion())?;
        put(&mut target, batch.target())?;
        put(&mut weight, batch.weight())?;
    }
    for mut file in [frames, motion, target, weight] {
        file.flush()?;
    }
    Ok(())
}

/// A file of NumPy's format 1.0, its head written.
fn npy(path: &Path, shape: &[usize]) -> Outcome<BufWriter<File>> {
    let shape: String = shape.iter().map(|count| format!("{count},")).collect();
    let head = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': ({shape})}}");
    // Magic, version, length and head together are a multiple of 64; the last byte ends the line.
    let length = (10 + head.len() + 1).next_multiple_of(64) - 10;
    let mut file = BufWriter::new(File::create(path)?);
    file.write_all(b"\x93NUMPY\x01\x00")?;
    file.write_all(&u16::try_from(length)?.to_le_bytes())?;
    writeln!(file, "{head:<width$}", width = length - 1)?;
    Ok(file)
}

fn put(file: &mut BufWriter<File>, values: &[f32]) -> Outcome {
    for value in values {
        file.write_all(&value.to_le_bytes())?;
    }
    Ok(())
}
