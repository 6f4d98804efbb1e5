//! Handshakes, and certificates that change while connections stay.

use super::{Pair, World, connect, shake, table, trusting};
use crate::support::{Client, PATIENCE, eventually, lab, uninterrupted};
use std::{
    fs,
    io::{ErrorKind, Read, Write},
    net::TcpStream,
    os::unix::fs::symlink,
    time::{Duration, Instant},
};
use tokio_rustls::rustls::pki_types::CertificateDer;

#[test]
fn the_client_offers_and_the_gateway_chooses() {
    let world = World::start("", "");
    for (offers, chosen) in [
        (&["h2", "http/1.1"][..], Some(&b"h2"[..])),
        (&["http/1.1", "h2"], Some(b"h2")),
        (&["http/1.1"], Some(b"http/1.1")),
        (&["h2"], Some(b"h2")),
        (&[], None),
    ] {
        let mut tls = connect(world.addr(), world.config(offers));
        shake(&mut tls).unwrap_or_else(|error| panic!("{offers:?}: {error}"));
        assert_eq!(tls.conn.alpn_protocol(), chosen, "{offers:?}");
    }
    let mut other = connect(world.addr(), world.config(&["spdy/3"]));
    assert!(shake(&mut other).is_err(), "there is nothing in common");
}

#[test]
fn everything_works_over_tls_as_without() {
    let world = World::start("", "");
    let mut client = world.client();
    let key = client.open("ann");
    for round in 0..3 {
        client.send("GET", &format!("/lab/mailboxes/ann?key={key}&cursor={round}"), &[], b"");
        world.gateway.until_held(1);
        // One through each door.
        match round {
            0 => world.gateway.client().publish_to("ann", "7"),
            _ => world.client().publish_to("ann", "7"),
        }
        let answer = client.receive().expect("it was held");
        assert_eq!(answer.json()["messages"][0]["data"], 7);
    }
    assert_eq!(client.post("/nope", "").code(), "not_found");
    client.send("GET", &format!("/lab/mailboxes/ann?key={key}&cursor=3"), &[], b"");
    world.gateway.until_held(1);
    drop(client);
    world.gateway.until_held(0);
}

#[test]
fn a_gateway_can_be_there_over_tls_only() {
    let world = World::start("listen = \"\"\n", "");
    assert_eq!(world.gateway.addr, world.addr());
    assert!(!world.gateway.log().contains("listening on http://"));
    world.client().open("ann");
}

/// The certificate that a new client is shown.
fn shown(world: &World, pairs: &[&Pair]) -> CertificateDer<'static> {
    let mut tls = connect(world.addr(), trusting(pairs, &[]));
    shake(&mut tls).expect("one of them");
    tls.conn.peer_certificates().expect("there is one")[0].clone().into_owned()
}

/// A way in which certificates are renewed.
type Renew = fn(&World, &Pair);

#[test]
fn a_new_certificate_is_for_new_connections_and_the_old_ones_stay() {
    let ways: [(&str, Renew); 4] = [
        ("written over", |world, new| new.write(world.folder.path())),
        ("renamed over", |world, new| {
            new.write(&world.path("next"));
            for file in ["key.pem", "chain.pem"] {
                fs::rename(world.path("next").join(file), world.path(file)).expect("ours");
            }
        }),
        ("links changed", |world, new| {
            new.write(&world.path("next"));
            for file in ["chain.pem", "key.pem"] {
                symlink(world.path("next").join(file), world.path("link")).expect("ours");
                fs::rename(world.path("link"), world.path(file)).expect("ours");
            }
        }),
        ("at once, by SIGHUP", |world, new| {
            new.write(world.folder.path());
            world.gateway.signal("HUP");
        }),
    ];
    for (way, renew) in ways {
        let (world, new) = (World::start("", ""), Pair::new());
        fs::create_dir(world.path("next")).expect("ours");
        let mut client = world.client();
        let key = client.open("ann");
        client.send("GET", &format!("/lab/mailboxes/ann?key={key}"), &[], b"");
        world.gateway.until_held(1);
        let both = [&world.pair, &new];
        assert_eq!(shown(&world, &both), world.pair.der, "{way}");
        renew(&world, &new);
        eventually(|| shown(&world, &both) == new.der, way);
        world.gateway.client().publish_to("ann", "1");
        assert_eq!(client.receive().expect("its connection stays").status, 200, "{way}");
        assert_eq!(client.get("/cometbox.js").status, 200, "{way}");
        assert!(!world.gateway.log().contains("ERROR"), "{way}: {}", world.gateway.log());
    }
}

#[test]
fn a_broken_certificate_leaves_the_old_one_until_it_is_mended() {
    let (world, new) = (World::start("", ""), Pair::new());
    let both = [&world.pair, &new];
    let complaints = || world.gateway.log().matches("the certificate before stays").count();
    for (number, (what, file, text, says)) in [
        ("no certificate", "chain.pem", "nonsense", "there is no certificate in"),
        ("of another key", "chain.pem", &new.certificate, "does not belong to the first"),
        ("no key", "key.pem", "", "there is no private key in"),
    ]
    .into_iter()
    .enumerate()
    {
        fs::write(world.path(file), text).expect("ours");
        eventually(|| complaints() > number, what);
        assert!(world.gateway.log().contains(says), "{what}: {}", world.gateway.log());
        assert_eq!(shown(&world, &both), world.pair.der, "{what}");
    }
    fs::remove_file(world.path("key.pem")).expect("it was there");
    eventually(|| complaints() > 3, "a file that is missing");
    new.write(world.folder.path());
    eventually(|| shown(&world, &both) == new.der, "it is mended");
    assert_eq!(complaints(), 4, "each is told once");
}

#[test]
fn the_configuration_can_name_other_files_on_sighup() {
    let (world, new, renewed) = (World::start("", ""), Pair::new(), Pair::new());
    let pairs = [&world.pair, &new, &renewed];
    let mut client = world.client();
    let key = client.open("ann");
    client.send("GET", &format!("/lab/mailboxes/ann?key={key}"), &[], b"");
    world.gateway.until_held(1);
    let folder = world.path("next");
    fs::create_dir(&folder).expect("ours");
    new.write(&folder);
    fs::write(folder.join("key.pem"), &renewed.key).expect("ours");
    let next = format!("{}{}", table(&folder), lab("limits = { call_ms = 1000 }"));
    let said = world.gateway.reload(&next);
    assert!(said.contains("everything stays: tls: the private key"), "{said}");
    assert_eq!(shown(&world, &pairs), world.pair.der, "no pair");
    new.write(&folder);
    let said = world.gateway.reload(&next);
    assert!(said.contains("configuration reloaded: tls.certificate, tls.key\n"), "{said}");
    assert_eq!(shown(&world, &pairs), new.der);
    renewed.write(&folder);
    eventually(|| shown(&world, &pairs) == renewed.der, "the new files are looked at");
    world.gateway.client().publish_to("ann", "1");
    assert_eq!(client.receive().expect("its connection stays").status, 200);
}

#[test]
fn a_handshake_may_not_take_for_ever_and_counts_as_a_connection() {
    let world = World::start("http = { head_timeout_s = 1, max_connections = 1 }\n", "");
    let started = Instant::now();
    let silent = Client::over(TcpStream::connect(world.addr()).expect("it listens"));
    world.gateway.until("cometbox_connections", 1);
    let mut over = connect(world.addr(), world.config(&[]));
    assert!(shake(&mut over).is_err(), "there are too many");
    let mut socket = silent.stream();
    socket.set_read_timeout(Some(Duration::from_secs(10))).expect("a positive time");
    match uninterrupted(|| socket.read(&mut [0; 100])) {
        Ok(0) => {}
        Err(error) if error.kind() == ErrorKind::ConnectionReset => {}
        other => panic!("it is not ended: {other:?}"),
    }
    assert!(started.elapsed() >= Duration::from_millis(900), "{:?}", started.elapsed());
    world.gateway.until("cometbox_connections", 0);
    shake(&mut connect(world.addr(), world.config(&[]))).expect("there is room again");
}

#[test]
fn what_is_not_tls_is_no_handshake_and_harms_nobody() {
    let world = World::start("", "");
    let mut plain = TcpStream::connect(world.addr()).expect("it listens");
    plain.set_read_timeout(Some(PATIENCE)).expect("a positive time");
    plain.write_all(b"GET /cometbox.js HTTP/1.1\r\nhost: x\r\n\r\n").expect("it is open");
    let mut said = Vec::new();
    // It may end with a reset.
    let _ = plain.read_to_end(&mut said);
    assert_eq!(said.first(), Some(&21), "an alert, if anything (RFC 8446, 5.1): {said:?}");
    world.gateway.until("cometbox_connections", 0);
    world.client().open("ann");
}
