//! Clip and noise of what vehicles send: `privacy = { clip = 0.5, noise = 1.0 }`.

use shoal_shadow::document::{DocumentError, Table};
use shoal_swarm::privacy::Privacy;

/// As a vehicle is told it; but noise may be 0, to see what clipping alone costs, and a budget has no end unless it is given one.
pub(super) fn read(table: &Table<'_>) -> Result<Option<Privacy>, DocumentError> {
    let keys = ["clip", "noise", "delta", "epsilon_max"];
    let Some(table) = table.table("privacy", &keys)? else { return Ok(None) };
    let required = |key, range| table.number(key, range)?.ok_or_else(|| table.missing(key));
    Ok(Some(Privacy {
        clip: required("clip", 1e-9..=1e9)?,
        noise: required("noise", 0.0..=1e6)?,
        delta: table.number("delta", 1e-15..=0.1)?.unwrap_or(1e-5),
        epsilon_max: table.number("epsilon_max", 1e-6..=1e15)?.unwrap_or(f64::INFINITY),
    }))
}

#[cfg(test)]
mod tests {
    use crate::config::tests::{SMALL, refused};
    use crate::config::{Consensus, Rule, SimConfig};

    #[test]
    fn privacy_is_a_table_of_methods_that_send_displacements() {
        let method = |more: &str| format!("{SMALL}[[methods]]\nname = \"b\"\n{more}\n");
        let file = method("kind = \"consensus\"\nprivacy = { clip = 0.5, noise = 2 }");
        let config = SimConfig::parse("fleet.toml", &file).unwrap();
        let Some(Rule::Consensus(Consensus { privacy: Some(privacy), .. })) =
            config.methods.get(1).map(|method| method.rule)
        else {
            panic!("no privacy in {config:?}");
        };
        assert_eq!((privacy.clip, privacy.noise, privacy.delta), (0.5, 2.0, 1e-5));
        assert!(privacy.epsilon_max.is_infinite());
        for (more, said) in [
            ("kind = \"average\"\nprivacy = { clip = 0.5 }", "noise"),
            ("kind = \"average\"\nprivacy = { clip = 0.5, nois = 1 }", "`noise`"),
            ("kind = \"average\"\nprivacy = { clip = 0, noise = 1 }", "clip"),
            ("kind = \"paper\"\nprivacy = { clip = 0.5, noise = 1 }", "a key of another kind"),
        ] {
            let error = refused(&method(more));
            assert!(error.contains(said), "{more}: {error}");
        }
    }
}
