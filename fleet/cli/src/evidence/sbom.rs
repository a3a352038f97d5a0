//! The software bill of materials: what this build was made of, in CycloneDX 1.6.

use serde_json::{Value, json};

/// What the program was built from.
const LOCK: &str = include_str!("../../../../Cargo.lock");

/// The bill, by the lock file that this program was built with. Tools of the tests are in it, too.
pub(super) fn bill() -> Value {
    let components: Vec<Value> = LOCK.split("[[package]]").skip(1).filter_map(component).collect();
    json!({
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {
            "component": {
                "type": "application",
                "name": "shoal",
                "version": env!("CARGO_PKG_VERSION"),
            },
        },
        "components": components,
    })
}

fn component(package: &str) -> Option<Value> {
    let of = |key: &str| {
        let start = format!("{key} = \"");
        let line = package.lines().find_map(|line| line.strip_prefix(&start));
        line.and_then(|rest| rest.strip_suffix('"'))
    };
    let (name, version) = (of("name")?, of("version")?);
    let mut component = json!({
        "type": "library",
        "name": name,
        "version": version,
        // A package URL writes this one character by its number.
        "purl": format!("pkg:cargo/{name}@{}", version.replace('+', "%2B")),
    });
    if let (Some(checksum), Some(fields)) = (of("checksum"), component.as_object_mut()) {
        fields.insert("hashes".into(), json!([{ "alg": "SHA-256", "content": checksum }]));
    }
    Some(component)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bill_names_what_everything_is_made_of() {
        let bill = bill();
        let components = bill["components"].as_array().unwrap();
        let find = |name: &str| components.iter().find(|component| component["name"] == name);
        let postcard = find("postcard").unwrap();
        assert_eq!(postcard["hashes"][0]["content"].as_str().unwrap().len(), 64);
        assert!(postcard["purl"].as_str().unwrap().starts_with("pkg:cargo/postcard@"));
        assert!(find("shoal-wire").unwrap().get("hashes").is_none(), "our own are no registry's");
        assert_eq!(components.len(), LOCK.matches("\n[[package]]\n").count());
    }
}
