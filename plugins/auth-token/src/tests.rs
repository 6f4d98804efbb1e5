//! The tokens were made with Python's `hmac` and `cryptography`, at the time
//! `NOW`, and expire ten minutes later. The Ed25519 key is the one of RFC 8037.

use super::*;

const NOW: u64 = 1_700_000_000_000;
const SECRET: &str = "correct horse battery staple, 32+";
const PUBLIC_KEY: &str = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo";
const PEM: &str = "-----BEGIN PUBLIC KEY-----
MCowBQYDK2VwAyEA11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=
-----END PUBLIC KEY-----
";

const ANN: &str = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiJhbm4iLCJleHAiOjE3MDAwMDA2MDB9.V_8Rt1bqNLrfNPAM_N54RWynAxnl8HX4L1H7zAwE-Zo";
const ANN_EDDSA: &str = "eyJhbGciOiJFZERTQSIsInR5cCI6IkpXVCJ9.eyJzdWIiOiJhbm4iLCJleHAiOjE3MDAwMDA2MDB9.b-KSF06Ph9WeV9U9LWeLFMTxOejoRDXgNEsSUkk-35UoIW09S_7MfRNZhVCRcfNUdjgB6CGTL7PyNTNJLyjZCA";
/// For the audiences mail and chat, from https://id.example, not before `NOW`.
const FULL: &str = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiJhbm4iLCJleHAiOjE3MDAwMDA2MDAsImlzcyI6Imh0dHBzOi8vaWQuZXhhbXBsZSIsImF1ZCI6WyJtYWlsIiwiY2hhdCJdLCJuYmYiOjE3MDAwMDAwMDB9.O-Lc2ce3vTzsvTAQQ-jH1hjj5708ehaP72uLOGxnQPE";
const AUD_CHAT: &str = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiJhbm4iLCJleHAiOjE3MDAwMDA2MDAsImF1ZCI6ImNoYXQifQ.wup2lUZVNUqly_Cpp2ks596x_5F0MFhqeeQGHSXLQNc";
const NO_EXP: &str = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiJhbm4ifQ.SoPadDQPIIltzck90CchGBOZghbLgDwNbhPHMqdpBwg";
const NO_SUB: &str = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJleHAiOjE3MDAwMDA2MDB9.wwgBwZn_niNMqEIirdXtOvMkNKknDpdilgWF7oYxH3o";
const EMPTY_SUB: &str = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiIiLCJleHAiOjE3MDAwMDA2MDB9.MTvAQlPB0op8G5p0dcgmH14ADC2kSO2slZxcOiDN7ko";
const EXP_TEXT: &str = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiJhbm4iLCJleHAiOiIxNzAwMDAwNjAwIn0.FcEi1D5UZtvx8zlyjG9U8JIt5H6JZeRTCSEJ49kATN4";
const EXP_FRACTION: &str = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiJhbm4iLCJleHAiOjE3MDAwMDA2MDAuNX0.85S2FxNVp3Xb40l5o9K4s2qy1XNemgZ5YB9WanUAKu0";
const NONE: &str = "eyJhbGciOiJub25lIiwidHlwIjoiSldUIn0.eyJzdWIiOiJhbm4iLCJleHAiOjE3MDAwMDA2MDB9.";
const HS384: &str = "eyJhbGciOiJIUzM4NCIsInR5cCI6IkpXVCJ9.eyJzdWIiOiJhbm4iLCJleHAiOjE3MDAwMDA2MDB9.ebZZwMBb3NxHu3tTuJsvhgdJf5sxQgs3lZ4zlcVwwJtVHZc0--I9tZpO53pF3Mor";
const HS256_BY_PUBLIC_KEY: &str = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiJhbm4iLCJleHAiOjE3MDAwMDA2MDB9.c1rxmV0aDijiVts70qaDw2ecgmvfeBlR_VxdSZI6hgc";
const HS256_BY_PEM: &str = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiJhbm4iLCJleHAiOjE3MDAwMDA2MDB9.Iyxo0oNOrNpnreIjfRYGPtYQ9KxPLUuZw0jcXPsMvog";
const CRIT: &str = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCIsImNyaXQiOlsiYjY0Il0sImI2NCI6ZmFsc2V9.eyJzdWIiOiJhbm4iLCJleHAiOjE3MDAwMDA2MDB9.XBmDSgVJFBsfjPr2bCD_dt1epY0pkr6zqN3Dl3mZR2E";
const OTHER_SECRET: &str = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiJhbm4iLCJleHAiOjE3MDAwMDA2MDB9.NUs5G5_S11q0kR6KhT79yOLX4Ms_JWELpmc3fEOszTo";

fn plugin(settings: Value) -> AuthToken {
    cometbox_guest::test::plugin(settings).expect("good settings")
}

fn open_at(now_ms: u64, plugin: &AuthToken, token: &str) -> Result<Accept<()>> {
    let open = Open::test(json!({})).with_header("Authorization", format!("Bearer {token}"));
    plugin.on_open(&Context::test().now_ms(now_ms), &open)
}

fn open(plugin: &AuthToken, token: &str) -> Result<Accept<()>> {
    open_at(NOW, plugin, token)
}

fn ann() -> Result<Accept<()>> {
    Ok(Accept::new().identity("ann"))
}

fn refused(reason: &str) -> Result<Accept<()>> {
    Err(reject(401, reason))
}

#[test]
fn the_identity_is_the_subject() {
    assert_eq!(open(&plugin(json!({"secret": SECRET})), ANN), ann());
    assert_eq!(open(&plugin(json!({"public_key": PUBLIC_KEY})), ANN_EDDSA), ann());
    assert_eq!(open(&plugin(json!({"public_key": PEM})), ANN_EDDSA), ann());
    let both = plugin(json!({"secret": SECRET, "public_key": PEM}));
    assert_eq!(open(&both, ANN), ann());
    assert_eq!(open(&both, ANN_EDDSA), ann());
}

#[test]
fn a_token_is_signed_the_way_its_key_says() {
    let way = "the token is not signed in a way that is accepted here";
    let signature = "the token's signature is wrong";
    let secret = plugin(json!({"secret": SECRET}));
    let public = plugin(json!({"public_key": PUBLIC_KEY}));
    let both = plugin(json!({"secret": SECRET, "public_key": PUBLIC_KEY}));

    for plugin in [&secret, &public, &both] {
        assert_eq!(open(plugin, NONE), refused(way));
        assert_eq!(open(plugin, HS384), refused(way));
    }
    assert_eq!(open(&secret, ANN_EDDSA), refused(way));
    assert_eq!(open(&public, ANN), refused(way));
    // Everybody knows the public key: it must not do as a secret.
    for confused in [HS256_BY_PUBLIC_KEY, HS256_BY_PEM] {
        assert_eq!(open(&public, confused), refused(way));
        assert_eq!(open(&both, confused), refused(signature));
    }
    assert_eq!(open(&secret, OTHER_SECRET), refused(signature));
    assert_eq!(
        open(&secret, CRIT),
        refused("the token has an extension that is not understood here")
    );
}

#[test]
fn what_was_tampered_with_is_refused() {
    let both = plugin(json!({"secret": SECRET, "public_key": PUBLIC_KEY}));
    for token in [ANN, ANN_EDDSA] {
        for at in 0..token.len() {
            let mut bytes = token.as_bytes().to_vec();
            bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
            let tampered = String::from_utf8(bytes).expect("it is ASCII");
            let answer = open(&both, &tampered);
            assert!(matches!(answer, Err(Error::Rejected { status: 401, .. })), "{tampered}");
        }
    }
    // The signature of one on the claims of another.
    let (signed, _) = FULL.rsplit_once('.').expect("three parts");
    let (_, signature) = ANN.rsplit_once('.').expect("three parts");
    assert_eq!(
        open(&both, &format!("{signed}.{signature}")),
        refused("the token's signature is wrong")
    );
    // Cut off.
    for end in 0..ANN.len() {
        assert!(open(&both, &ANN[..end]).is_err(), "{end}");
    }
}

#[test]
fn a_token_has_its_time() {
    let exact = plugin(json!({"secret": SECRET, "leeway_s": 0, "audience": "chat"}));
    let lenient = plugin(json!({"secret": SECRET, "audience": "chat"}));
    let early = refused("the token is not valid yet");
    let late = refused("the token has expired");
    let end = NOW + 600_000;

    assert_eq!(open_at(NOW - 1, &exact, FULL), early);
    assert_eq!(open_at(NOW, &exact, FULL), ann());
    assert_eq!(open_at(end - 1, &exact, FULL), ann());
    assert_eq!(open_at(end, &exact, FULL), late);

    assert_eq!(open_at(NOW - 10_001, &lenient, FULL), early);
    assert_eq!(open_at(NOW - 10_000, &lenient, FULL), ann());
    assert_eq!(open_at(end + 9_999, &lenient, FULL), ann());
    assert_eq!(open_at(end + 10_000, &lenient, FULL), late);
}

#[test]
fn an_expiry_is_needed_and_may_have_a_fraction() {
    let plugin = plugin(json!({"secret": SECRET, "leeway_s": 0}));
    assert_eq!(open(&plugin, NO_EXP), refused("the token never expires"));
    assert_eq!(open(&plugin, EXP_TEXT), refused("the token's claims are malformed"));
    assert_eq!(open_at(NOW + 600_499, &plugin, EXP_FRACTION), ann());
    assert!(open_at(NOW + 600_500, &plugin, EXP_FRACTION).is_err());
}

#[test]
fn issuer_and_audience_must_fit() {
    let with = |settings: Value| {
        let mut all = json!({"secret": SECRET});
        let more = settings.as_object().expect("an object").clone();
        all.as_object_mut().expect("an object").extend(more);
        plugin(all)
    };
    let audience = refused("the token is for another audience");
    let issuer = refused("the token is from an issuer that is not trusted here");

    assert_eq!(open(&with(json!({"audience": "chat"})), FULL), ann());
    assert_eq!(open(&with(json!({"audience": "chat"})), AUD_CHAT), ann());
    assert_eq!(open(&with(json!({"audience": "shop"})), FULL), audience);
    assert_eq!(open(&with(json!({"audience": "chat"})), ANN), audience);
    assert_eq!(open(&with(json!({})), AUD_CHAT), audience);

    let ours = json!({"issuer": "https://id.example", "audience": "chat"});
    let other = json!({"issuer": "https://other.example", "audience": "chat"});
    assert_eq!(open(&with(ours.clone()), FULL), ann());
    assert_eq!(open(&with(ours), AUD_CHAT), issuer);
    assert_eq!(open(&with(other), FULL), issuer);
}

#[test]
fn a_token_says_whose_it_is() {
    let plugin = plugin(json!({"secret": SECRET}));
    let reason = "the token does not say whose it is";
    assert_eq!(open(&plugin, NO_SUB), refused(reason));
    assert_eq!(open(&plugin, EMPTY_SUB), refused(reason));
}

#[test]
fn the_header_is_a_setting() {
    let cx = Context::test().now_ms(NOW);
    let plugin = plugin(json!({"secret": SECRET, "header": "X-Token"}));
    let with =
        |name, value: &str| plugin.on_open(&cx, &Open::test(json!({})).with_header(name, value));

    assert_eq!(with("X-Token", ANN), ann());
    assert_eq!(with("x-token", &format!("bearer {ANN}")), ann());
    let needed = refused("a token is needed in the header X-Token");
    assert_eq!(with("authorization", &format!("Bearer {ANN}")), needed);
    assert_eq!(with("x-token", "Bearer "), needed);
}

#[test]
fn all_devices_of_a_user_may_share_one_mailbox() {
    let plugin = plugin(json!({"secret": SECRET, "shared": true}));
    assert_eq!(open(&plugin, ANN), Ok(Accept::named("ann").identity("ann").shared()));
    for (text, is_one) in
        [("ann@example.org", true), (".", false), ("a\nb", false), (&"x".repeat(129), false)]
    {
        assert_eq!(is_name(text), is_one, "{text:?}");
    }
}

#[test]
fn what_is_no_token_is_refused() {
    let plugin = plugin(json!({"secret": SECRET}));
    for token in ["x", ".", "..", "a.b.c", "a.b.c.d", "e30.e30.", "Basic YTpi", "\u{1F600}..."] {
        let answer = open(&plugin, token);
        assert!(matches!(answer, Err(Error::Rejected { status: 401, .. })), "{token}");
    }
}

#[test]
fn keys_are_checked() {
    let made = |settings| cometbox_guest::test::plugin::<AuthToken>(settings).err();
    let says = |settings, text: &str| made(settings).is_some_and(|error| error.contains(text));
    assert!(says(json!({}), "a secret or a public_key is needed"));
    assert!(says(json!({"secret": "short"}), "less than 32 bytes"));
    assert!(says(json!({"public_key": "short"}), "neither PEM nor 32 bytes"));
    assert!(says(json!({"public_key": PEM.replace("MCow", "MCox")}), "not an Ed25519 key"));
    assert!(says(json!({"secert": SECRET}), "unknown field `secert`"));
}
