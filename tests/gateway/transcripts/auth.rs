//! Conversations with `plugins/auth-token` in front of `plugins/chat`.

use super::Talk;
use crate::support::component;
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use ed25519_dalek::{Signer, SigningKey};
use hmac::{Hmac, KeyInit, Mac};
use serde_json::{Value, json};
use sha2::Sha256;
use std::time::{SystemTime, UNIX_EPOCH};

const SECRET: &str = "correct horse battery staple, 32+";

fn signing_key() -> SigningKey {
    SigningKey::from_bytes(&[7; 32])
}

/// As everybody may know it.
fn public_key() -> String {
    URL_SAFE_NO_PAD.encode(signing_key().verifying_key())
}

fn hs256(secret: &str, signed: &str) -> Vec<u8> {
    let key = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).expect("any length is a key");
    key.chain_update(signed).finalize().into_bytes().to_vec()
}

fn eddsa(signed: &str) -> Vec<u8> {
    signing_key().sign(signed.as_bytes()).to_bytes().to_vec()
}

/// A token that says `alg` and these claims.
fn token(alg: &str, claims: &Value, sign: impl Fn(&str) -> Vec<u8>) -> String {
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let signed = format!("{}.{}", part(&json!({"alg": alg, "typ": "JWT"})), part(claims));
    let signature = URL_SAFE_NO_PAD.encode(sign(&signed));
    format!("{signed}.{signature}")
}

/// Who it is, for an hour from now, or until an hour ago.
fn claims(sub: &str, hours: i64) -> Value {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("1970 is over").as_secs();
    json!({"sub": sub, "exp": now.cast_signed() + hours * 3600})
}

/// `auth-token` with its own settings, and `chat` with its own.
fn talk(keys: &str) -> Talk {
    let (auth, chat) = (component("plugins/auth-token"), component("plugins/chat"));
    let mut talk = Talk::with(
        "chat",
        &format!(
            "plugins = [\n\
             {{ path = {auth:?}, settings = {{ {keys} }} }},\n\
             {{ path = {chat:?}, settings = {{ history = 1 }} }},\n]"
        ),
    );
    let ann = claims("ann", 1);
    let by_secret = |signed: &str| hs256(SECRET, signed);
    let good = token("HS256", &ann, by_secret);
    let (head, rest) = good.split_once('.').expect("three parts");
    let (_, signature) = rest.split_once('.').expect("three parts");
    let root = URL_SAFE_NO_PAD.encode(claims("root", 1).to_string());
    talk.tokens.extend([
        ("bob-eddsa", token("EdDSA", &claims("bob", 1), eddsa)),
        ("expired", token("HS256", &claims("ann", -1), by_secret)),
        ("expired-eddsa", token("EdDSA", &claims("bob", -1), eddsa)),
        ("tampered", format!("{head}.{root}.{signature}")),
        (
            "other-secret",
            token("HS256", &ann, |signed| hs256("another secret, also 32 bytes long", signed)),
        ),
        ("hs384", token("HS384", &ann, by_secret)),
        ("by-public-key", token("HS256", &ann, |signed| hs256(&public_key(), signed))),
        ("eddsa-by-secret", token("EdDSA", &ann, by_secret)),
        ("none", token("none", &ann, |_| Vec::new())),
        ("none-signed", token("none", &ann, by_secret)),
        ("garbage", "x.y.z".into()),
        ("ann", good),
    ]);
    talk
}

fn both_keys() -> String {
    format!("secret = {SECRET:?}, public_key = {:?}", public_key())
}

#[test]
fn the_token_says_who_somebody_is() {
    talk(&both_keys()).goes(
        r#"
        ann opens {} with ann → 201 ann {"room":"lobby","nick":"ann","members":[]}
        bob opens {"nick":"boss"} with bob-eddsa → 201 bob {"room":"lobby","nick":"bob","members":["ann"]}
        ann reads → [{"joined":"bob"}]
        bob sends {"say":"hi"} → 204
        ann reads → [{"from":"bob","say":"hi","room":"lobby"}]
        ann sends {"to":"boss","say":"psst"} → 404 rejected "boss is not here"
        ann sends {"to":"bob","say":"psst"} → 204
        bob reads → [{"from":"ann","to":"bob","say":"psst"}]

        # Ann's token is no way into a seat that is taken, hers included.
        eve opens {"nick":"eve"} with ann → 409 name_taken
        ann closes → 204
        bob waits → [{"left":"ann"}]

        # Chat has the settings of its own table: one line of history.
        bob sends {"say":"bye"} → 204
        eve opens {"nick":"eve","room":"lobby"} with ann → 201 ann {"room":"lobby","nick":"ann","members":["bob"]}
        eve reads → [{"from":"bob","say":"bye","room":"lobby","history":true}]
        "#,
    );
}

/// Auth-token alone: a user has one mailbox, which each device reads for itself.
#[test]
fn the_devices_of_a_user_read_the_same_messages() {
    let auth = component("plugins/auth-token");
    let settings = format!("secret = {SECRET:?}, shared = true");
    let mut talk = Talk::with(
        "inbox",
        &format!("plugins = [{{ path = {auth:?}, settings = {{ {settings} }} }}]"),
    );
    let by_secret = |signed: &str| hs256(SECRET, signed);
    for user in ["ann", "bob"] {
        talk.tokens.insert(user, token("HS256", &claims(user, 1), by_secret));
    }
    talk.goes(
        r#"
        phone opens {} with ann → 201 ann
        other opens {} with bob → 201 bob
        backend publishes {"to":{"mailboxes":["ann"]},"data":"one"} → 200 [{"queued":1}]
        phone reads → ["one"] seqs [1]
        phone reads → nothing
        laptop opens {} with ann → 201 ann
        laptop reads → nothing

        phone listens
        laptop listens
        backend publishes {"to":{"mailboxes":["ann"]},"data":"two"} → 200 [{"queued":1}]
        laptop hears → ["two"] seqs [2]
        phone hears → ["two"] seqs [2]
        phone reads → nothing
        tablet opens {} with ann → 201 ann
        tablet reads → ["two"] seqs [2]

        # What one is told of a close is not told to the others.
        phone closes → 204
        phone reads → 410 closed
        laptop reads → nothing
        other reads → nothing
        "#,
    );
}

#[test]
fn without_a_good_token_nobody_gets_in() {
    let mut talk = talk(&both_keys());
    talk.goes(
        r#"
        bob opens {} with bob-eddsa → 201 bob {"room":"lobby","nick":"bob","members":[]}
        ann opens {"nick":"ann"} → 401 rejected "a token is needed in the header authorization"
        ann opens {"nick":"ann"} with expired → 401 rejected "the token has expired"
        ann opens {"nick":"ann"} with expired-eddsa → 401 rejected "the token has expired"
        ann opens {"nick":"ann"} with tampered → 401 rejected "signature is wrong"
        ann opens {"nick":"ann"} with other-secret → 401 rejected "signature is wrong"
        ann opens {"nick":"ann"} with by-public-key → 401 rejected "signature is wrong"
        ann opens {"nick":"ann"} with eddsa-by-secret → 401 rejected "signature is wrong"
        ann opens {"nick":"ann"} with hs384 → 401 rejected "not signed in a way that is accepted"
        ann opens {"nick":"ann"} with none → 401 rejected "not signed in a way that is accepted"
        ann opens {"nick":"ann"} with none-signed → 401 rejected "not signed in a way that is accepted"
        ann opens {"nick":"ann"} with garbage → 401 rejected "not a signed token"
        bob reads → nothing
        bob sends {"who":true} → 200 {"members":["bob"]}
        ann opens {"nick":"ann"} with ann → 201 ann {"room":"lobby","nick":"ann","members":["bob"]}
        bob reads → [{"joined":"ann"}]
        "#,
    );
}

#[test]
fn a_key_that_is_not_configured_opens_nothing() {
    talk(&format!("secret = {SECRET:?}")).goes(
        r#"
        bob opens {} with bob-eddsa → 401 rejected "not signed in a way that is accepted"
        ann opens {} with ann → 201 ann {"room":"lobby","nick":"ann","members":[]}
        "#,
    );
    talk(&format!("public_key = {:?}", public_key())).goes(
        r#"
        ann opens {} with ann → 401 rejected "not signed in a way that is accepted"
        ann opens {} with by-public-key → 401 rejected "not signed in a way that is accepted"
        bob opens {} with bob-eddsa → 201 bob {"room":"lobby","nick":"bob","members":[]}
        "#,
    );
}

/// Chat, which would say 400, is not asked about what auth-token has refused.
#[test]
fn the_first_refusal_counts() {
    talk(&both_keys()).goes(
        r#"
        ann opens {"nick":"ann","room":"a b"} with ann → 400 rejected "a room is 1 to 32 letters"
        ann opens {"nick":"ann","room":"a b"} with expired → 401 rejected "the token has expired"
        ann opens {"nick":"ann","room":"a b"} → 401 rejected "a token is needed"
        ann opens "no object" with none → 401 rejected "not signed in a way that is accepted"
        "#,
    );
}
