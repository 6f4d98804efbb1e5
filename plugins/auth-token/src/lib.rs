//! Says who a client is, by the signed token (JWT) it brings.
//!
//! It stands in front of other plugins: it sets the identity (the token's
//! `sub`) and leaves name, groups and messages to them. After that the
//! mailbox's key is what counts; a mailbox outlives the token it was opened
//! with.
//!
//! With `shared` it also does alone, where backends send to users: each has one
//! mailbox, whatever number of devices read it.

mod token;

use cometbox_guest::prelude::*;
use token::{Claims, Keys};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Accept tokens signed with HS256 and this secret, 32 bytes or more.
    secret: Option<String>,
    /// Accept tokens signed with EdDSA (Ed25519) whose public key this is:
    /// PEM, or the `x` of a JWK.
    public_key: Option<String>,
    /// Where the token is, with or without `Bearer` in front.
    #[serde(default = "authorization")]
    header: String,
    /// How far the clock of who made the token may be off.
    #[serde(default = "ten")]
    leeway_s: u32,
    /// Accept only tokens from this issuer (`iss`).
    issuer: Option<String>,
    /// What we are called in tokens (`aud`). Without it, tokens that are meant
    /// for anybody in particular are refused.
    audience: Option<String>,
    /// A user has one mailbox, whose name is the token's `sub`, and all devices
    /// read it.
    #[serde(default)]
    shared: bool,
}

fn authorization() -> String {
    "authorization".into()
}

fn ten() -> u32 {
    10
}

pub struct AuthToken {
    settings: Settings,
    keys: Keys,
}

impl Plugin for AuthToken {
    type Settings = Settings;
    type State = ();
    const EVENTS: Events = Events::NONE;

    fn new(settings: Settings) -> Result<Self, String> {
        let keys = Keys::new(settings.secret.as_deref(), settings.public_key.as_deref())?;
        Ok(Self { settings, keys })
    }

    fn on_open(&self, cx: &Context, open: &Open) -> Result<Accept<()>> {
        let header = open.header(&self.settings.header).unwrap_or_default();
        let token = match header.split_once(' ') {
            Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") => token.trim(),
            _ => header,
        };
        if token.is_empty() {
            let name = &self.settings.header;
            return Err(unauthorized(format!("a token is needed in the header {name}")));
        }
        let claims = self.keys.verify(token).map_err(unauthorized)?;
        let who = self.check(claims, cx.now_ms).map_err(unauthorized)?;
        if !self.settings.shared {
            return Ok(Accept::new().identity(who));
        }
        if !is_name(&who) {
            return Err(unauthorized("the token's subject cannot be the name of a mailbox"));
        }
        Ok(Accept::named(&who).identity(who).shared())
    }
}

impl AuthToken {
    /// Whether a token whose signature is good is good here and now, and for
    /// whom.
    fn check(&self, claims: Claims, now_ms: u64) -> Result<String, &'static str> {
        let (now, leeway) = (now_ms as f64 / 1000.0, f64::from(self.settings.leeway_s));
        let Some(exp) = claims.exp else {
            return Err("the token never expires");
        };
        if now >= exp + leeway {
            return Err("the token has expired");
        }
        if claims.nbf.is_some_and(|nbf| now + leeway < nbf) {
            return Err("the token is not valid yet");
        }
        if self.settings.issuer.is_some() && claims.iss != self.settings.issuer {
            return Err("the token is from an issuer that is not trusted here");
        }
        let ours = match (&self.settings.audience, &claims.aud) {
            (Some(we), Some(aud)) => aud.contains(we),
            (Some(_), None) | (None, Some(_)) => false,
            (None, None) => true,
        };
        if !ours {
            return Err("the token is for another audience");
        }
        match claims.sub {
            Some(sub) if !sub.is_empty() => Ok(sub),
            _ => Err("the token does not say whose it is"),
        }
    }
}

/// As the gateway has it.
fn is_name(text: &str) -> bool {
    text.len() <= 128 && !matches!(text, "." | "..") && !text.chars().any(char::is_control)
}

fn unauthorized(reason: impl Into<String>) -> Error {
    reject(401, reason)
}

cometbox_guest::export!(AuthToken);

#[cfg(test)]
mod tests;
