//! A file of the present format that was written when it was new: where it does
//! not open any more, neither do the stores that are in use.
//!
//! A new format gets a file of its own, once:
//! `COMETBOX_WRITE_FORMAT=1 cargo test --release --workspace --lib golden`.

use super::*;

fn golden() -> PathBuf {
    let name = format!("src/store/tests/format-{}.sqlite", database::VERSION);
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

/// What is in it. Not to be changed while the format is this one.
fn changes() -> Vec<Change> {
    let plugin = PluginName("chat".into());
    vec![
        mailbox(1, "ann"),
        marks(1, 9),
        mailbox(2, "bob"),
        marks(2, 10),
        sent(3, Kind::Json, b"{\"a\":1}", &[(1, 8), (2, 9)]),
        sent(4, Kind::Text, "grüß".as_bytes(), &[(1, 9)]),
        sent(5, Kind::Binary, &[0, 255], &[(2, 10)]),
        Change::Superseded { message: 3, mailbox: Uid(2) },
        Change::Timer { plugin, name: "a".into(), at: Some(4_000) },
        Change::Value { key: "x".into(), value: Some("1".into()) },
        epitaph("eve", 90_000),
        published("order 1", 3, 70_000),
    ]
}

#[test]
fn a_file_that_was_written_before_is_read_and_written_on() {
    let (now, before) = (Folder::new(), Folder::new());
    write(&now, changes(), 100, true);
    if std::env::var_os("COMETBOX_WRITE_FORMAT").is_some() {
        fs::copy(now.file(), golden()).expect("a folder of the project");
    }
    fs::copy(golden(), before.file()).expect("it is part of the project");
    for (case, folder) in [("written now", now), ("written before", before)] {
        let mut expected = Image::default();
        changes().into_iter().for_each(|change| expected.apply(change));
        let opened = folder.open().expect(case);
        assert_eq!(facts(&opened.image), facts(&expected), "{case}");
        let seen_unix_ms = CALENDAR.unix(2_000);
        assert_eq!(opened.last_life, LastLife { seen_unix_ms, ended: true }, "{case}");
        drop(opened);

        let later = || sent(6, Kind::Text, b"later", &[(1, 10)]);
        write(&folder, vec![later()], 1, true);
        expected.apply(later());
        assert_eq!(facts(&folder.image()), facts(&expected), "{case}");
    }
}
