//! What `cometbox dev` serves beside the apps: pages, and how the plugins are.

mod pages;

use super::reply::Reply;
use crate::transport::{Code, ErrorBody, Format};
use http::Method;
use std::{borrow::Cow, path::PathBuf, sync::Arc};

/// Shows on a page that a build failed or a new version is live.
const OVERLAY_JS: &str = include_str!("overlay.js");

/// The state of the apps as JSON: `{"apps":[{"name":…,"version":…,"state":…,
/// "error":…}]}`.
pub type StatusJson = Arc<dyn Fn() -> String + Send + Sync>;

/// Pages and status.
pub struct DevSite {
    pages: Option<PathBuf>,
    status: StatusJson,
}

impl DevSite {
    /// `pages` is served at `/`.
    #[must_use]
    pub fn new(pages: Option<PathBuf>, status: StatusJson) -> Self {
        Self { pages, status }
    }

    /// The answer for a path (percent-encoded, as it came) that is not of the
    /// protocol.
    pub(super) async fn reply(&self, method: &Method, path: &str, format: Format) -> Reply {
        if method != Method::GET && method != Method::HEAD {
            let error = ErrorBody::new(Code::MethodNotAllowed, "only GET works here");
            return Reply::error(&error, format).with("allow", "GET, HEAD");
        }
        match path {
            "/-/dev/overlay.js" => fresh("text/javascript; charset=utf-8", OVERLAY_JS),
            "/-/dev/status" => fresh("application/json", (self.status)()),
            _ => match &self.pages {
                Some(pages) => pages::reply(pages, path, format).await,
                None => {
                    Reply::error(&ErrorBody::new(Code::NotFound, "there is no such page"), format)
                }
            },
        }
    }
}

/// In dev every page is as it is on disk now.
fn fresh(content_type: &'static str, body: impl Into<Vec<u8>>) -> Reply {
    Reply { content_type: Some(content_type), body: Cow::Owned(body.into()), ..Reply::empty(200) }
}
