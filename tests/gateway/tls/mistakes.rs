//! What is said about certificates and addresses that cannot be used, before
//! anything is served.

use super::{Pair, table};
use crate::support::{BINARY, lab};
use std::{fs, os::unix::fs::PermissionsExt, path::Path, process::Command};

/// Runs the binary with a configuration; what it says, and whether it succeeded.
fn run(command: &str, folder: &Path, config: &str) -> (String, bool) {
    fs::write(folder.join("cometbox.toml"), config).expect("a folder of ours");
    let output = Command::new(BINARY).arg(command).current_dir(folder).output();
    let output = output.expect("the binary was built for this test");
    let said = [output.stdout, output.stderr].concat();
    (String::from_utf8_lossy(&said).into_owned(), output.status.success())
}

/// What is done to a good pair.
type Spoil = fn(&Path);

#[test]
fn mistakes_are_explained_by_check_and_serve() {
    let cases: [(&str, Spoil, &str); 8] = [
        (
            "no file",
            |folder| fs::remove_file(folder.join("chain.pem")).expect("ours"),
            "cometbox.toml:1: certificate: there is no file ",
        ),
        (
            "a folder",
            |folder| {
                fs::remove_file(folder.join("key.pem")).expect("ours");
                fs::create_dir(folder.join("key.pem")).expect("ours");
            },
            "cometbox.toml:1: key: there is no file ",
        ),
        (
            "no certificate in it",
            |folder| fs::write(folder.join("chain.pem"), "hello").expect("ours"),
            "there is no certificate in ",
        ),
        (
            "half a certificate",
            |folder| {
                let text = fs::read_to_string(folder.join("chain.pem")).expect("ours");
                fs::write(folder.join("chain.pem"), &text[..200]).expect("ours");
            },
            "is no valid PEM",
        ),
        (
            "no certificate, though PEM",
            |folder| {
                let pem = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
                fs::write(folder.join("chain.pem"), pem).expect("ours");
            },
            "is not valid: ",
        ),
        (
            "the key of another",
            |folder| fs::write(folder.join("key.pem"), Pair::new().key).expect("ours"),
            "does not belong to the first certificate",
        ),
        (
            "an encrypted key",
            |folder| {
                let text = "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n";
                fs::write(folder.join("key.pem"), text).expect("ours");
            },
            "is encrypted; store it without",
        ),
        (
            "the certificate twice",
            |folder| {
                fs::copy(folder.join("chain.pem"), folder.join("key.pem")).expect("ours");
            },
            "there is no private key in ",
        ),
    ];
    let app = lab("");
    for (what, spoil, says) in cases {
        let folder = tempfile::tempdir().expect("a temporary folder");
        Pair::new().write(folder.path());
        let config = format!("{}{app}", table(folder.path()));
        let (said, success) = run("check", folder.path(), &config);
        assert!(success && said.contains("chain.pem loads"), "{what}: {said}");
        spoil(folder.path());
        for command in ["check", "serve"] {
            let (said, success) = run(command, folder.path(), &config);
            assert!(!success && said.contains(says), "{what}: {command} says {said}");
        }
    }
}

#[test]
fn a_key_that_everybody_may_read_is_warned_of() {
    for (mode, warns) in [(0o644, true), (0o640, false), (0o600, false)] {
        let world = super::World::start("", "");
        let permissions = fs::Permissions::from_mode(mode);
        fs::set_permissions(world.path("key.pem"), permissions).expect("ours");
        let before = world.gateway.log().matches("everybody on this machine").count();
        world.gateway.signal("HUP");
        crate::support::eventually(
            || world.gateway.log().contains("new connections get the certificate"),
            "it is read again",
        );
        let warnings = world.gateway.log().matches("everybody on this machine").count() - before;
        assert_eq!(warnings > 0, warns, "{mode:o}: {}", world.gateway.log());
    }
}

#[test]
fn without_an_address_there_is_nothing_to_serve() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    Pair::new().write(folder.path());
    let tls = table(folder.path());
    for (config, says) in [
        ("listen = \"\"\n".to_owned(), "cometbox.toml:1: listen: \"\" turns it off"),
        (tls.replace("127.0.0.1:0", "nowhere"), "listen: \"nowhere\" is no address"),
        (tls.replace("key =", "kee ="), "unknown key \"kee\", did you mean \"key\"?"),
        ("tls = { listen = \"127.0.0.1:0\" }\n".to_owned(), "missing field `certificate`"),
        (
            "http = { trusted_proxies = [\"10.0.0.0/33\"] }\n".to_owned(),
            "\"10.0.0.0/33\" is no address and no network",
        ),
        ("http = { max_streams = 0 }\n".to_owned(), "max_streams: must be 1 to 10000"),
    ] {
        let (said, success) = run("check", folder.path(), &format!("{config}{}", lab("")));
        assert!(!success && said.contains(says), "{config}: {said}");
    }
}
