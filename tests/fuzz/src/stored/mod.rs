//! The entry of the target `stored`: what a vehicle has on its disk, after somebody had it, and files that others bring.

mod adapters;
mod checkpoint;
mod kept;
mod replay;
mod settings;
mod vault;

/// Reads the bytes behind the first as what that says: a vault's tables, as a file and as rows; a replay store's index, as a file and
/// as rows, and one of its spans; a checkpoint of training; a PEFT directory; an adapter's slot; the record of a trial; what is kept
/// of repositories; the record of a night; `model.toml`; `vehicle.toml`.
///
/// # Panics
/// If what is accepted is not what it is written as again, is beyond its bounds, or cannot be gone on with.
pub fn stored(bytes: &[u8]) {
    let Some((kind, rest)) = bytes.split_first() else { return };
    match kind % 13 {
        0 => vault::file(rest),
        1 => vault::rows(rest),
        2 => replay::index(rest),
        3 => replay::rows(rest),
        4 => replay::span(rest),
        5 => checkpoint::checkpoint(rest),
        6 => adapters::peft(rest),
        7 => adapters::slot(rest),
        8 => adapters::trial(rest),
        9 => settings::package(rest),
        10 => settings::vehicle(rest),
        11 => kept::trust(rest),
        _night => kept::night(rest),
    }
}
