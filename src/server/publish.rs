//! Publishing, one by one or in batches.

use super::{ask::Ask, errors, gateway::Gateway, hosted::HostedApp, reply::Reply};
use crate::{
    app::Refusal,
    transport::{self, Code, ErrorBody, Publication, Publications, PublishResult},
};
use smallvec::SmallVec;

/// After so many items of a batch others get a turn.
const ITEMS_PER_TURN: usize = 32;

/// Does a publish at once.
pub(super) fn publish_now(
    gateway: &Gateway,
    app: &HostedApp,
    ask: &Ask<'_>,
    body: &[u8],
) -> Result<Reply, ErrorBody> {
    let items = publications(gateway, app, ask, body)?;
    let results: Results =
        items.iter().map(|item| publish_one(app, item)).collect::<Result<_, _>>()?;
    Ok(published(ask, &results))
}

/// The same, which waits for the app's turn before each item and gives others
/// theirs.
pub(super) async fn publish(
    gateway: &Gateway,
    app: &HostedApp,
    ask: &Ask<'_>,
    body: &[u8],
) -> Result<Reply, ErrorBody> {
    let items = publications(gateway, app, ask, body)?;
    let mut results = Results::with_capacity(items.len());
    for (index, item) in items.iter().enumerate() {
        // Anew for each: a batch must not hold a thread while its plugin runs
        // over its time again and again.
        let turn = app.turn().await;
        let result = publish_one(app, item);
        if turn.is_some() || (index + 1) % ITEMS_PER_TURN == 0 {
            drop(turn);
            tokio::task::yield_now().await;
        }
        results.push(result?);
    }
    Ok(published(ask, &results))
}

/// What a publish has in it, if it may.
fn publications(
    gateway: &Gateway,
    app: &HostedApp,
    ask: &Ask<'_>,
    body: &[u8],
) -> Result<Publications, ErrorBody> {
    let key = ask.authorization.and_then(transport::bearer).unwrap_or_default();
    match app.may_publish(key) {
        Some(true) => {}
        Some(false) => {
            return Err(ErrorBody::new(
                Code::Unauthorized,
                "publishing wants Authorization: Bearer KEY with one of the app's publish_keys",
            ));
        }
        None => {
            return Err(ErrorBody::new(
                Code::Forbidden,
                "nobody may publish to this app: it has no publish_keys in the configuration",
            ));
        }
    }
    app.check_store()?;
    transport::decode_publish(ask.content_type, body, gateway.terms().http.max_batch_items)
}

/// What became of the items of a publish.
type Results = SmallVec<[PublishResult; 1]>;

/// What became of one item. An app that is not ready refuses all of them; it
/// does not stop being ready once it is.
fn publish_one(app: &HostedApp, item: &Publication) -> Result<PublishResult, ErrorBody> {
    let Publication { id, to, message } = item;
    let result = app.call(|app, now, out| match id {
        None => app.publish(now, to, message, out),
        Some(id) => app.publish_once(now, id, to, message, out),
    });
    match result {
        Err(refusal @ Refusal::NotReady) => Err(errors::refusal("", refusal)),
        result => Ok(result.map_err(|refusal| errors::refusal("", refusal))),
    }
}

fn published(ask: &Ask<'_>, results: &[PublishResult]) -> Reply {
    Reply::encoded(200, ask.accepted.format(), |format, out| {
        transport::results(format, results, out)
    })
}
