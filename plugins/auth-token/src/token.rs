//! Verifies signed tokens: JWS in compact form (RFC 7515), HS256 (RFC 7518) and
//! EdDSA with Ed25519 (RFC 8037).

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use cometbox_guest::prelude::*;
use ed25519_dalek::pkcs8::DecodePublicKey;
use ed25519_dalek::{Signature, VerifyingKey};
use hmac::{Hmac, KeyInit, Mac};
use serde::de::{DeserializeOwned, IgnoredAny};
use sha2::Sha256;

/// Each algorithm has its own key, so a token cannot have the one checked with
/// the key of the other.
pub struct Keys {
    hs256: Option<Hmac<Sha256>>,
    eddsa: Option<VerifyingKey>,
}

#[derive(Deserialize)]
struct Header {
    alg: String,
    /// Extensions that must be understood. None is.
    crit: Option<IgnoredAny>,
}

/// What a token says, as far as it matters here.
#[derive(Deserialize)]
pub struct Claims {
    pub sub: Option<String>,
    pub iss: Option<String>,
    pub aud: Option<Audience>,
    // Seconds since 1970, which need not be whole.
    pub exp: Option<f64>,
    pub nbf: Option<f64>,
}

#[derive(Deserialize)]
#[serde(untagged)]
pub enum Audience {
    One(String),
    Many(Vec<String>),
}

impl Audience {
    pub fn contains(&self, name: &String) -> bool {
        match self {
            Self::One(one) => one == name,
            Self::Many(many) => many.contains(name),
        }
    }
}

impl Keys {
    pub fn new(secret: Option<&str>, public_key: Option<&str>) -> Result<Self, String> {
        if secret.is_none() && public_key.is_none() {
            return Err("a secret or a public_key is needed".into());
        }
        Ok(Self {
            hs256: secret.map(|secret| hs256(secret.as_bytes())).transpose()?,
            eddsa: public_key.map(eddsa).transpose()?,
        })
    }

    /// The claims of a token, or why it cannot be trusted.
    pub fn verify(&self, token: &str) -> Result<Claims, &'static str> {
        const MALFORMED: &str = "this is not a signed token (JWT)";
        let (signed, signature) = token.rsplit_once('.').ok_or(MALFORMED)?;
        let (header, claims) = signed.split_once('.').ok_or(MALFORMED)?;
        let header: Header = json(header).ok_or(MALFORMED)?;
        let signature = bytes(signature).ok_or(MALFORMED)?;

        if header.crit.is_some() {
            return Err("the token has an extension that is not understood here");
        }
        let good = match (header.alg.as_str(), &self.hs256, &self.eddsa) {
            ("HS256", Some(key), _) => {
                let mac = key.clone().chain_update(signed);
                mac.verify_slice(&signature).is_ok() // in constant time
            }
            ("EdDSA", _, Some(key)) => Signature::from_slice(&signature)
                .is_ok_and(|signature| key.verify_strict(signed.as_bytes(), &signature).is_ok()),
            _ => return Err("the token is not signed in a way that is accepted here"),
        };
        if !good {
            return Err("the token's signature is wrong");
        }
        json(claims).ok_or("the token's claims are malformed")
    }
}

fn hs256(secret: &[u8]) -> Result<Hmac<Sha256>, String> {
    if secret.len() < 32 {
        return Err("secret has less than 32 bytes, the least that RFC 7518 allows".into());
    }
    Hmac::new_from_slice(secret).map_err(|error| format!("secret: {error}"))
}

fn eddsa(key: &str) -> Result<VerifyingKey, String> {
    let key = key.trim();
    if key.starts_with("-----BEGIN") {
        return VerifyingKey::from_public_key_pem(key)
            .map_err(|error| format!("public_key is not an Ed25519 key in PEM: {error}"));
    }
    let raw = bytes(key).and_then(|raw| raw.try_into().ok());
    raw.and_then(|raw| VerifyingKey::from_bytes(&raw).ok())
        .ok_or_else(|| "public_key is neither PEM nor 32 bytes in base64url".into())
}

fn json<T: DeserializeOwned>(part: &str) -> Option<T> {
    serde_json::from_slice(&bytes(part)?).ok()
}

fn bytes(part: &str) -> Option<Vec<u8>> {
    URL_SAFE_NO_PAD.decode(part).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rfc_7515_appendix_a_1() {
        const KEY: &str = "AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow";
        const TOKEN: &str = "eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ.dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
        let key = hs256(&bytes(KEY).expect("it is base64url")).expect("it is long enough");
        let keys = Keys { hs256: Some(key), eddsa: None };
        let claims = keys.verify(TOKEN).expect("it is good");
        assert_eq!(claims.iss.as_deref(), Some("joe"));
        assert_eq!(claims.exp, Some(1_300_819_380.0));
    }

    #[test]
    fn rfc_8037_appendix_a_4() {
        const KEY: &str = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo";
        const TOKEN: &str = "eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc.hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg";
        let keys = Keys::new(None, Some(KEY)).expect("it is a key");
        // Signed well, but what it signs is a sentence and no JSON.
        assert_eq!(keys.verify(TOKEN).err(), Some("the token's claims are malformed"));
    }
}
