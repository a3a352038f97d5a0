//! The name of a key in a token: a URI of RFC 7512, of which this much is known.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use percent_encoding::percent_decode_str;

const SCHEME: &str = "pkcs11:";

/// `pkcs11:token=…;object=…?module-path=…&pin-source=…`, percent-encoded: which token (`token`, its label, `serial` or both), which
/// key in it (`object`, its label, `id` or both), by which module (`module-path`), with the PIN of which file (`pin-source`, a path
/// or `file:` and a path; without it none is given). Paths are absolute.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Uri {
    text: String,
    pub(crate) token: Option<String>,
    pub(crate) serial: Option<String>,
    pub(crate) object: Option<String>,
    pub(crate) id: Option<Vec<u8>>,
    pub(crate) module: PathBuf,
    pub(crate) pin: Option<PathBuf>,
}

/// Why a text names no key of a token.
#[expect(missing_docs, reason = "fields read as the sentence they complete")]
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RejectUri {
    #[error("a token's URI begins with {SCHEME}")]
    Scheme,
    #[error(
        "`{attribute}` in a token's URI: known are token, serial, object, id and type=private before the `?`, module-path and \
         pin-source after it, each once"
    )]
    Unknown { attribute: String },
    #[error("a token's URI has no {name}=…")]
    Missing { name: &'static str },
    #[error("`{attribute}` in a token's URI is no absolute path")]
    Path { attribute: &'static str },
    #[error("`{attribute}` in a token's URI is no UTF-8")]
    Utf8 { attribute: String },
    /// A configuration is read by more people than may sign.
    #[error("pin-value in a token's URI: name a file that its owner alone reads, by pin-source")]
    Pin,
}

impl Uri {
    /// Whether it is meant to be one.
    #[must_use]
    pub fn is_one(text: &str) -> bool {
        text.starts_with(SCHEME)
    }
}

impl FromStr for Uri {
    type Err = RejectUri;

    fn from_str(text: &str) -> Result<Self, RejectUri> {
        let rest = text.strip_prefix(SCHEME).ok_or(RejectUri::Scheme)?;
        let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
        let mut found = Found::default();
        for attribute in path.split(';').filter(|attribute| !attribute.is_empty()) {
            found.take(attribute, true)?;
        }
        for attribute in query.split('&').filter(|attribute| !attribute.is_empty()) {
            found.take(attribute, false)?;
        }
        let Found { token, serial, object, id, module, pin } = found;
        if token.is_none() && serial.is_none() {
            return Err(RejectUri::Missing { name: "token" });
        }
        let module = module.ok_or(RejectUri::Missing { name: "module-path" })?;
        let text = text.to_owned();
        Ok(Uri { text, token, serial, object, id, module, pin })
    }
}

/// As it was written.
impl fmt::Display for Uri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[derive(Default)]
struct Found {
    token: Option<String>,
    serial: Option<String>,
    object: Option<String>,
    id: Option<Vec<u8>>,
    module: Option<PathBuf>,
    pin: Option<PathBuf>,
}

impl Found {
    fn take(&mut self, attribute: &str, of_path: bool) -> Result<(), RejectUri> {
        let unknown = || RejectUri::Unknown { attribute: attribute.to_owned() };
        let (name, value) = attribute.split_once('=').ok_or_else(unknown)?;
        if name == "pin-value" {
            // Before anything that names the attribute: nobody is told what it says.
            return Err(RejectUri::Pin);
        }
        let bytes: Vec<u8> = percent_decode_str(value).collect();
        let no_text = |_error| RejectUri::Utf8 { attribute: attribute.to_owned() };
        if (of_path, name) == (true, "id") {
            return put(&mut self.id, bytes, unknown);
        }
        let value = String::from_utf8(bytes).map_err(no_text)?;
        match (of_path, name) {
            (true, "token") => put(&mut self.token, value, unknown),
            (true, "serial") => put(&mut self.serial, value, unknown),
            (true, "object") => put(&mut self.object, value, unknown),
            (true, "type") if value == "private" => Ok(()),
            (false, "module-path") => put(&mut self.module, path(&value, "module-path")?, unknown),
            (false, "pin-source") => {
                let named = value.strip_prefix("file://").or_else(|| value.strip_prefix("file:"));
                put(&mut self.pin, path(named.unwrap_or(&value), "pin-source")?, unknown)
            }
            (true | false, _) => Err(unknown()),
        }
    }
}

fn path(value: &str, attribute: &'static str) -> Result<PathBuf, RejectUri> {
    let path = PathBuf::from(value);
    if path.is_absolute() { Ok(path) } else { Err(RejectUri::Path { attribute }) }
}

fn put<T>(
    place: &mut Option<T>,
    value: T,
    twice: impl FnOnce() -> RejectUri,
) -> Result<(), RejectUri> {
    if place.replace(value).is_some() { Err(twice()) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uri_names_token_key_module_and_pin() {
        let text = "pkcs11:token=The%20Fleet;object=vehicle-7;id=%01%ff;type=private\
                    ?module-path=/usr/lib/softhsm/libsofthsm2.so&pin-source=file:/etc/shoal/pin";
        let uri: Uri = text.parse().unwrap();
        assert_eq!(uri.token.as_deref(), Some("The Fleet"));
        assert_eq!(uri.object.as_deref(), Some("vehicle-7"));
        assert_eq!(uri.id.as_deref(), Some(&[1, 255][..]));
        assert_eq!(uri.module, PathBuf::from("/usr/lib/softhsm/libsofthsm2.so"));
        assert_eq!(uri.pin, Some(PathBuf::from("/etc/shoal/pin")));
        assert_eq!(uri.to_string(), text);
        let plain = "pkcs11:serial=1;id=%02?module-path=/m.so&pin-source=/a%20b";
        assert_eq!(plain.parse::<Uri>().unwrap().pin, Some(PathBuf::from("/a b")));
    }

    #[test]
    fn what_is_missing_unknown_or_secret_is_refused_by_name() {
        let refused = |text: &str| text.parse::<Uri>().unwrap_err();
        assert_eq!(refused("token=a"), RejectUri::Scheme);
        assert_eq!(refused("pkcs11:object=a?module-path=/m"), RejectUri::Missing { name: "token" });
        assert_eq!(refused("pkcs11:token=a;object=b"), RejectUri::Missing { name: "module-path" });
        let relative = RejectUri::Path { attribute: "module-path" };
        assert_eq!(refused("pkcs11:token=a;object=b?module-path=m"), relative);
        let pin = "pkcs11:token=a;object=b?module-path=/m&pin-value=1234";
        assert_eq!(refused(pin), RejectUri::Pin);
        for text in [
            pin,
            "pkcs11:token=a;pin-value=1234?module-path=/m",
            "pkcs11:token=a?module-path=/m&pin-value=1234%ff",
        ] {
            assert_eq!(refused(text), RejectUri::Pin, "{text}");
            assert!(!refused(text).to_string().contains("1234"));
        }
        for text in ["token=a;token=b", "type=public", "slot-id=1", "token"] {
            let refused = refused(&format!("pkcs11:{text};object=o?module-path=/m"));
            assert!(matches!(refused, RejectUri::Unknown { .. }), "{text}: {refused}");
        }
    }
}
