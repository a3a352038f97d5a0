//! An input in words: what a core was told, without values.

use std::fmt;

use shoal_wire::v1::{Claim, Nonce, ParticleHeader, Vote};

use super::entry::{Record, SwarmInput, WindowInput};

impl fmt::Display for WindowInput {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Plan(envelope) => write!(f, "a window plan of {} bytes", envelope.len()),
            Self::Conditions {
                network,
                parked,
                external_power,
                battery_soc_percent,
                temperature_c,
            } => {
                let parked = if *parked { "parked" } else { "driven" };
                let power = if *external_power { "on power" } else { "on its battery" };
                write!(
                    f,
                    "conditions: {parked}, {power}, {battery_soc_percent} %, {temperature_c} °C, network {network:?}"
                )
            }
            Self::Used { up, down } => write!(f, "used {up} bytes up, {down} down"),
            Self::Needed { up, down } => write!(f, "needs {up} bytes up, {down} down"),
            Self::Drained => write!(f, "all that was to be sent is sent"),
        }
    }
}

impl fmt::Display for SwarmInput {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Claim(record) => claim(f, record),
            Self::Vote(record) => vote(f, record),
            Self::Header { header, slot } => particle(f, header, *slot),
            Self::Nonce(record) => match record.signed::<Nonce>() {
                Ok(nonce) => write!(f, "the nonce of window {}", nonce.body.fields().window),
                Err(why) => write!(f, "a nonce that is none: {why}"),
            },
            Self::Utility(document) => write!(f, "a utility document of {} bytes", document.len()),
            Self::Roster(vehicles) => write!(f, "a roster of {}", vehicles.rows.len()),
            Self::Reinstated(orders) => write!(f, "{} reinstatements", orders.len()),
            Self::Open { window, closes_at_us } => {
                write!(f, "window {window} is open to {closes_at_us} us")
            }
            Self::Closing => write!(f, "the window ends"),
            Self::Closed => write!(f, "the window is closed"),
            Self::Current => write!(f, "all that stood there has come"),
            Self::Tuned(values) => write!(f, "tuned {:?}", values.hash),
            Self::Fetched(particle, values) => {
                write!(f, "fetched {particle}: {:?}", values.hash)
            }
            Self::Missing(particle) => write!(f, "{particle} is not to be had"),
            Self::Unreached(particle) => write!(f, "{particle} could not be asked for"),
            Self::Measured { job, terms } => {
                let terms =
                    terms.iter().map(|(value, beside, ..)| format!("{value} beside {beside}"));
                write!(f, "measured {job}: {}", terms.collect::<Vec<_>>().join(", "))
            }
            Self::Unmeasured { job } => write!(f, "could not measure {job}"),
            Self::Coded { job, particle, slot, .. } => {
                write!(f, "coded {job}: {particle} in slot {slot:?}")
            }
            Self::Uncoded { job } => write!(f, "could not code {job}"),
        }
    }
}

fn claim(f: &mut fmt::Formatter<'_>, record: &Record) -> fmt::Result {
    match record.signed::<Claim>() {
        Ok(claim) => {
            let (signer, fields) = (claim.signer, claim.body.fields());
            let (window, role, particle) = (fields.window, fields.role, fields.particle);
            let terms: Vec<i16> = fields.terms.iter().map(|term| term.value).collect();
            write!(f, "{signer} claims {role:?} {particle} of window {window}: {terms:?}")
        }
        Err(why) => write!(f, "a claim that is none: {why}"),
    }
}

fn vote(f: &mut fmt::Formatter<'_>, record: &Record) -> fmt::Result {
    match record.signed::<Vote>() {
        Ok(vote) => {
            let (signer, fields) = (vote.signer, vote.body.fields());
            let (window, nominee) = (fields.window, fields.nominee);
            let terms =
                fields.terms.iter().map(|term| format!("{} beside {}", term.value, term.best));
            let terms = terms.collect::<Vec<_>>().join(", ");
            write!(f, "{signer} votes on {nominee} in window {window}: {terms}")
        }
        Err(why) => write!(f, "a vote that is none: {why}"),
    }
}

fn particle(f: &mut fmt::Formatter<'_>, record: &Record, slot: u8) -> fmt::Result {
    match record.signed::<ParticleHeader>() {
        Ok(header) => {
            let (signer, id, fields) = (header.signer, header.body.id(), header.body.fields());
            let (role, window) = (fields.role, fields.window);
            write!(f, "{signer} has {role:?} {id} of window {window} in slot {slot}")
        }
        Err(why) => write!(f, "a header that is none: {why}"),
    }
}
