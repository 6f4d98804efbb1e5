//! Channels and groups.

use super::Fault;
use crate::core::Name;

/// What a channel is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Channel {
    /// `/meta/**`: the protocol's own.
    Meta,
    /// `/service/**`: between a client and the plugins.
    Service(Name),
    /// Any other: a group.
    Group(Name),
}

/// Messages that were sent to no group come from here, and so do those of
/// groups whose name would be a channel of the protocol.
pub(super) const DIRECT: &str = "/service/mailbox";

/// Whether a group's name reads, with a slash in front, as one of the protocol's
/// own channels.
#[must_use]
pub fn is_meta(group: &str) -> bool {
    group.split('/').next() == Some("meta")
}

impl Channel {
    /// A channel as a client writes it. Only a subscription may be a pattern.
    ///
    /// # Errors
    /// 400 if it is none.
    pub fn parse(text: &str, may_be_pattern: bool) -> Result<Self, Fault> {
        let bad = |why: String| Err(Fault::new(400, why).about(text));
        let Some(group) = text.strip_prefix('/') else {
            return bad("a channel begins with a slash".into());
        };
        let name = match Name::parse(group) {
            Ok(name) => name,
            Err(error) => return bad(format!("no channel: {error}")),
        };
        let mut segments = group.split('/').peekable();
        while let Some(segment) = segments.next() {
            let is_last = segments.peek().is_none();
            if segment.is_empty() {
                return bad("a channel has no empty segments".into());
            }
            if segment.contains('*') {
                let is_pattern = is_last && matches!(segment, "*" | "**");
                if !is_pattern {
                    return bad("only the last segment may be * or **".into());
                }
                if !may_be_pattern {
                    return bad("nothing can be published to a pattern".into());
                }
            }
        }
        Ok(match group.split('/').next() {
            Some("meta") => Self::Meta,
            Some("service") => Self::Service(name),
            _ => Self::Group(name),
        })
    }
}
