//! A key in a token: PKCS #11 (OASIS, version 3.0), mechanism CKM_EDDSA. The key is used where it is; only its public half is read.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use cryptoki::context::{CInitializeArgs, CInitializeFlags, Pkcs11};
use cryptoki::error::{Error, RvError};
use cryptoki::mechanism::Mechanism;
use cryptoki::mechanism::eddsa::{EddsaParams, EddsaSignatureScheme};
use cryptoki::object::{Attribute, AttributeType, KeyType, ObjectClass, ObjectHandle};
use cryptoki::session::{Session, UserType};
use cryptoki::slot::Slot;
use cryptoki::types::AuthPin;
use shoal_wire::{Message, PublicKey, Signer, Unsigned};

use crate::uri::Uri;

/// CKA_EC_PARAMS of Ed25519: the curve's name, a PrintableString (PKCS #11 3.0, 2.3.5), or its number (RFC 8410).
const CURVE_NAME: &[u8] = b"\x13\x0cedwards25519";
const CURVE_NUMBER: &[u8] = b"\x06\x03\x2b\x65\x70";

/// Why a token has no key to sign with.
#[expect(missing_docs, reason = "fields read as the sentence they complete")]
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    #[error("no PKCS #11 module at {}: install it, or correct module-path in the key's URI", path.display())]
    Module { path: PathBuf, source: Error },
    #[error("no token as {uri} names it: is it there?")]
    Absent { uri: String },
    #[error("more than one token as {uri} names it: add its serial")]
    Tokens { uri: String },
    #[error("cannot read the PIN {}", path.display())]
    PinFile { path: PathBuf, source: std::io::Error },
    #[error("the token of {uri} refuses the PIN: correct it in pin-source's file")]
    Pin { uri: String },
    /// A wrong one would be the last.
    #[error(
        "the token of {uri} has one try at the PIN left, or none: not tried; unlock it by its own means"
    )]
    PinNearlyLocked { uri: String },
    #[error("{uri} names no key: add object or id")]
    Nameless { uri: String },
    #[error("the token has no private key as {uri} names it")]
    NoKey { uri: String },
    #[error("the token has more than one private key as {uri} names it: add its id")]
    Keys { uri: String },
    #[error("the token has a key as {uri} names it already: it is not made again")]
    KeyThere { uri: String },
    #[error("the key of {uri} is no Ed25519 key, or the token does not tell its public half")]
    NotEd25519 { uri: String },
    #[error("the token of {uri}")]
    Token { uri: String, source: Error },
}

impl TokenError {
    /// For who looks after a vehicle that runs.
    fn reason(&self) -> &'static str {
        match self {
            Self::Module { .. } => "the PKCS #11 module cannot be loaded",
            Self::Absent { .. } | Self::Tokens { .. } => "the token is not there",
            Self::PinFile { .. } => "the PIN's file cannot be read",
            Self::Pin { .. } => "the token refuses the PIN; it is not tried again before a restart",
            Self::PinNearlyLocked { .. } => "the token's PIN is locked, or nearly",
            Self::Nameless { .. }
            | Self::NoKey { .. }
            | Self::Keys { .. }
            | Self::KeyThere { .. } => "the key is not in the token",
            Self::NotEd25519 { .. } => "the token's key is no Ed25519 key",
            Self::Token { .. } => "the token fails",
        }
    }
}

/// A key in a token. When the token is gone it does not sign; when it is back it does again.
#[derive(Debug)]
pub struct Token {
    uri: Uri,
    public: PublicKey,
    /// A session in which the key can be used, or why there will be none.
    open: Mutex<Result<Option<Opened>, Unsigned>>,
}

#[derive(Debug)]
struct Opened {
    session: Session,
    key: ObjectHandle,
}

/// A key that a token holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyInToken {
    /// Its label.
    pub object: String,
    /// Its id.
    pub id: Vec<u8>,
    /// Its public half; `None`: it is no Ed25519 key.
    pub public: Option<PublicKey>,
}

impl Token {
    /// Opens the token and finds the key.
    ///
    /// # Errors
    /// [`TokenError`].
    pub fn open(uri: Uri) -> Result<Self, TokenError> {
        let (opened, public) = open(&uri, false)?;
        Ok(Token { uri, public, open: Mutex::new(Ok(Some(opened))) })
    }

    fn sign_in(&self, opened: &Opened, message: Message<'_>) -> Option<[u8; 64]> {
        let mechanism = Mechanism::Eddsa(EddsaParams::new(EddsaSignatureScheme::Pure));
        let signature = opened.session.sign(&mechanism, opened.key, message.bytes()).ok()?;
        let signature = <[u8; 64]>::try_from(signature).ok()?;
        message.signed_by(&self.public, &signature).then_some(signature)
    }
}

impl Signer for Token {
    fn public(&self) -> PublicKey {
        self.public
    }

    fn sign(&self, message: Message<'_>) -> Result<[u8; 64], Unsigned> {
        let mut open_now = locked(&self.open);
        let opened = (*open_now).as_ref().map_err(|why| *why)?;
        if let Some(signature) = opened.as_ref().and_then(|opened| self.sign_in(opened, message)) {
            return Ok(signature);
        }
        // It was taken out, or put in again: what was open is of no use.
        *open_now = Ok(None);
        let (opened, public) = match open(&self.uri, true) {
            Ok(found) => found,
            Err(error) => {
                let why = Unsigned(error.reason());
                // Every wrong PIN brings the token nearer to its lock.
                if let TokenError::Pin { .. } = error {
                    *open_now = Err(why);
                }
                return Err(why);
            }
        };
        if public != self.public {
            return Err(Unsigned("the token holds another key by that name"));
        }
        let signature = self.sign_in(&opened, message);
        *open_now = Ok(Some(opened));
        signature.ok_or(Unsigned("the token's signatures are none of Ed25519"))
    }
}

/// Makes an Ed25519 key in a token, which never gives it out; its public half.
///
/// # Errors
/// [`TokenError`]; [`TokenError::KeyThere`] if the token has one by that name.
pub fn make(uri: &Uri) -> Result<PublicKey, TokenError> {
    let failed = |source| TokenError::Token { uri: uri.to_string(), source };
    names_key(uri)?;
    let session = session(uri, true, false)?;
    if !session.find_objects(&named(uri, ObjectClass::PRIVATE_KEY)).map_err(failed)?.is_empty() {
        return Err(TokenError::KeyThere { uri: uri.to_string() });
    }
    let mut both = vec![Attribute::Token(true)];
    both.extend(uri.object.as_ref().map(|label| Attribute::Label(label.as_bytes().to_vec())));
    // Tokens find a key's other half by its id.
    let id = uri.id.clone().or_else(|| uri.object.as_ref().map(|label| label.as_bytes().to_vec()));
    both.extend(id.map(Attribute::Id));
    let mut public = both.clone();
    public.extend([Attribute::Verify(true), Attribute::EcParams(CURVE_NAME.to_vec())]);
    let mut private = both;
    private.extend([
        Attribute::Sign(true),
        Attribute::Private(true),
        Attribute::Sensitive(true),
        Attribute::Extractable(false),
    ]);
    let made = session.generate_key_pair(&Mechanism::EccEdwardsKeyPairGen, &public, &private);
    let (public, _private) = made.map_err(failed)?;
    public_half(&session, public).ok_or_else(|| TokenError::NotEd25519 { uri: uri.to_string() })
}

/// The private keys of a token.
///
/// # Errors
/// [`TokenError`].
pub fn list(uri: &Uri) -> Result<Vec<KeyInToken>, TokenError> {
    let failed = |source| TokenError::Token { uri: uri.to_string(), source };
    let session = session(uri, false, false)?;
    let mut keys = Vec::new();
    for key in
        session.find_objects(&[Attribute::Class(ObjectClass::PRIVATE_KEY)]).map_err(failed)?
    {
        let (mut object, mut id) = (String::new(), Vec::new());
        let asked = [AttributeType::Label, AttributeType::Id];
        for attribute in session.get_attributes(key, &asked).map_err(failed)? {
            if let Attribute::Label(label) = attribute {
                object = String::from_utf8_lossy(&label).into_owned();
            } else if let Attribute::Id(bytes) = attribute {
                id = bytes;
            }
        }
        let other = [Attribute::Id(id.clone()), Attribute::Label(object.as_bytes().to_vec())];
        let public = public_of(&session, key, &other);
        keys.push(KeyInToken { object, id, public });
    }
    keys.sort_by(|a, b| (&a.object, &a.id).cmp(&(&b.object, &b.id)));
    Ok(keys)
}

/// The key, and its public half. `again`: the module begins anew, for some know only the tokens of their first moment.
fn open(uri: &Uri, again: bool) -> Result<(Opened, PublicKey), TokenError> {
    let failed = |source| TokenError::Token { uri: uri.to_string(), source };
    names_key(uri)?;
    let session = session(uri, false, again)?;
    let found = session.find_objects(&named(uri, ObjectClass::PRIVATE_KEY)).map_err(failed)?;
    let key = match found.as_slice() {
        [] => return Err(TokenError::NoKey { uri: uri.to_string() }),
        [key] => *key,
        [_, _, ..] => return Err(TokenError::Keys { uri: uri.to_string() }),
    };
    let mut other = named(uri, ObjectClass::PUBLIC_KEY);
    other.retain(|attribute| !matches!(attribute, Attribute::Class(_)));
    let public = public_of(&session, key, &other);
    let public = public.ok_or_else(|| TokenError::NotEd25519 { uri: uri.to_string() })?;
    Ok((Opened { session, key }, public))
}

fn names_key(uri: &Uri) -> Result<(), TokenError> {
    if uri.object.is_none() && uri.id.is_none() {
        return Err(TokenError::Nameless { uri: uri.to_string() });
    }
    Ok(())
}

/// A session of who may use private keys.
fn session(uri: &Uri, writes: bool, again: bool) -> Result<Session, TokenError> {
    let failed = |source| TokenError::Token { uri: uri.to_string(), source };
    let module = module(&uri.module, again)
        .map_err(|source| TokenError::Module { path: uri.module.clone(), source })?;
    let slot = slot(&module, uri)?;
    let session = if writes { module.open_rw_session(slot) } else { module.open_ro_session(slot) };
    let session = session.map_err(failed)?;
    let Some(path) = &uri.pin else { return Ok(session) };
    let info = module.get_token_info(slot).map_err(failed)?;
    if info.user_pin_final_try() || info.user_pin_locked() {
        return Err(TokenError::PinNearlyLocked { uri: uri.to_string() });
    }
    let pin = std::fs::read_to_string(path)
        .map_err(|source| TokenError::PinFile { path: path.clone(), source })?;
    let pin = AuthPin::from(pin.trim_end().to_owned());
    match session.login(UserType::User, Some(&pin)) {
        // Who has another key of this token is there already.
        Ok(()) | Err(Error::Pkcs11(RvError::UserAlreadyLoggedIn, _)) => Ok(session),
        Err(Error::Pkcs11(
            RvError::PinIncorrect | RvError::PinInvalid | RvError::PinLenRange | RvError::PinLocked,
            _,
        )) => Err(TokenError::Pin { uri: uri.to_string() }),
        Err(source) => Err(failed(source)),
    }
}

/// The module at this path: loaded once, for it is one program's whatever number of keys it has.
fn module(path: &Path, again: bool) -> Result<Pkcs11, Error> {
    static LOADED: Mutex<BTreeMap<PathBuf, Pkcs11>> = Mutex::new(BTreeMap::new());
    let mut loaded = locked(&LOADED);
    let module = match loaded.get(path) {
        Some(module) => module.clone(),
        None => {
            let module = Pkcs11::new(path)?;
            loaded.insert(path.to_path_buf(), module.clone());
            module
        }
    };
    if again {
        // Other keys' sessions end with it; they open theirs again when they sign.
        let _ended = module.clone().finalize();
    }
    match module.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK)) {
        Ok(()) | Err(Error::Pkcs11(RvError::CryptokiAlreadyInitialized, _)) => Ok(module),
        Err(error) => Err(error),
    }
}

fn slot(module: &Pkcs11, uri: &Uri) -> Result<Slot, TokenError> {
    let failed = |source| TokenError::Token { uri: uri.to_string(), source };
    let mut found = None;
    for slot in module.get_slots_with_initialized_token().map_err(failed)? {
        // One that is being taken out is none.
        let Ok(info) = module.get_token_info(slot) else { continue };
        let same = |named: &Option<String>, is: &str| {
            named.as_deref().is_none_or(|named| named == is.trim_end())
        };
        if same(&uri.token, info.label())
            && same(&uri.serial, info.serial_number())
            && found.replace(slot).is_some()
        {
            return Err(TokenError::Tokens { uri: uri.to_string() });
        }
    }
    found.ok_or_else(|| TokenError::Absent { uri: uri.to_string() })
}

/// What finds the object that a URI names.
fn named(uri: &Uri, class: ObjectClass) -> Vec<Attribute> {
    let mut named = vec![Attribute::Class(class)];
    named.extend(uri.object.as_ref().map(|label| Attribute::Label(label.as_bytes().to_vec())));
    named.extend(uri.id.clone().map(Attribute::Id));
    named
}

/// The public half of a private key: of the public key that these attributes find, or, where there is none, of the private one,
/// which may tell it (PKCS #11 3.0).
fn public_of(session: &Session, private: ObjectHandle, other: &[Attribute]) -> Option<PublicKey> {
    let mut asked = other.to_vec();
    asked.push(Attribute::Class(ObjectClass::PUBLIC_KEY));
    let found = session.find_objects(&asked).ok()?;
    let mut halves = found.into_iter().chain([private]);
    halves.find_map(|object| public_half(session, object))
}

fn public_half(session: &Session, object: ObjectHandle) -> Option<PublicKey> {
    let asked = [AttributeType::KeyType, AttributeType::EcParams, AttributeType::EcPoint];
    let mut point = None;
    for attribute in session.get_attributes(object, &asked).ok()? {
        let other_kind =
            matches!(&attribute, Attribute::KeyType(kind) if *kind != KeyType::EC_EDWARDS);
        let other_curve = matches!(
            &attribute,
            Attribute::EcParams(curve) if curve != CURVE_NAME && curve != CURVE_NUMBER
        );
        if other_kind || other_curve {
            return None;
        }
        if let Attribute::EcPoint(bytes) = attribute {
            point = Some(bytes);
        }
    }
    let point = point?;
    // In an OCTET STRING, as most have it, in a BIT STRING, or bare: one of 65,536 bare ones begins as an OCTET STRING does.
    let point = match point.as_slice() {
        [4, 32, bare @ ..] | [3, 33, 0, bare @ ..] if bare.len() == 32 => bare,
        bare => bare,
    };
    PublicKey::decode(point.try_into().ok()?).ok()
}

/// What is behind a lock is whole at any moment.
fn locked<T>(lock: &Mutex<T>) -> MutexGuard<'_, T> {
    lock.lock().unwrap_or_else(PoisonError::into_inner)
}
