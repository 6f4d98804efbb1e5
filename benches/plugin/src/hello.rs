//! How the plugins of the measurements open mailboxes: benches/plugin-open has
//! this file, too, so that its mailboxes are the same.

use cometbox_guest::prelude::*;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Hello {
    name: String,
    #[serde(default)]
    groups: Vec<String>,
    linger_ms: Option<u64>,
}

/// Opens what `{"name":"m1","groups":["all"],"linger_ms":60000}` asks for.
pub fn accept(open: &Open) -> Result<Accept<()>> {
    let Hello { name, groups, linger_ms } = open.json()?;
    let mut accept = groups.into_iter().fold(Accept::named(name), Accept::join);
    if let Some(linger_ms) = linger_ms {
        accept = accept.linger_ms(linger_ms);
    }
    Ok(accept)
}
