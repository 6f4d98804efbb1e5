//! What a store takes on disk, and what it gives back.

use super::*;

/// Far more than anything here takes, and less than [`SIGN_OF_LIFE`].
const PATIENCE: Duration = Duration::from_secs(20);

const MIB: usize = 1 << 20;

#[tokio::test]
async fn what_went_is_given_back_to_the_file_system_also_if_nothing_happens_any_more() {
    const MESSAGES: u64 = 40;
    let folder = Folder::new();
    let store = folder.open().expect("it opens").start("chat", || NOW).expect("a thread");
    let size = || fs::metadata(folder.file()).expect("it is there").len() as usize;
    let data = vec![7; MIB];
    for id in 10..10 + MESSAGES {
        store.push(&mut vec![sent(id, Kind::Binary, &data, &[(1, id)])]);
        store.settled(Durability::Os).await.expect("there is room");
    }
    let full = size();
    assert!(full > 30 * MIB, "{full} bytes");
    store.push(&mut (10..10 + MESSAGES).map(|message| Change::Done { message }).collect());
    store.settled(Durability::Os).await.expect("there is room");
    let started = Instant::now();
    while size() > 4 * MIB {
        assert!(started.elapsed() < PATIENCE, "{} of {full} bytes are left", size());
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    store.end().expect("there is room");
    assert!(folder.image().messages.is_empty());
}
