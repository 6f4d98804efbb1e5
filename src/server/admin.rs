//! For the operator: health and metrics, on an address of their own.

use super::{gateway::Gateway, reply::Reply};
use crate::transport::{Code, ErrorBody, Format};
use http::Method;

pub(super) fn reply(gateway: &Gateway, method: &Method, path: &str) -> Reply {
    if method != Method::GET && method != Method::HEAD {
        let error = ErrorBody::new(Code::MethodNotAllowed, "only GET works here");
        return Reply::error(&error, Format::Json).with("allow", "GET, HEAD");
    }
    match path {
        "/healthz" => health(gateway),
        "/metrics" => match gateway.metrics.text(gateway) {
            Ok(text) => Reply::content(
                "application/openmetrics-text; version=1.0.0; charset=utf-8",
                text.into_bytes(),
            ),
            Err(std::fmt::Error) => {
                let error = ErrorBody::new(Code::PluginFailed, "the metrics cannot be written");
                Reply::error(&error, Format::Json)
            }
        },
        _ => {
            let error = ErrorBody::new(Code::NotFound, "here are /healthz and /metrics");
            Reply::error(&error, Format::Json)
        }
    }
}

/// 200 if every app serves, else 503: not before the plugins are loaded, not
/// any more on the way down.
fn health(gateway: &Gateway) -> Reply {
    let apps: serde_json::Map<_, _> = gateway
        .apps()
        .map(|app| (app.app().name().to_owned(), app.app().version().into()))
        .collect();
    let (status, word) = if gateway.is_closing() {
        (503, "stopping")
    } else if gateway.apps().all(|app| app.app().version() > 0) {
        (200, "ok")
    } else {
        (503, "starting")
    };
    let body = serde_json::json!({ "status": word, "apps": apps });
    Reply::encoded(status, Format::Json, |_, out| {
        out.extend_from_slice(body.to_string().as_bytes())
    })
}
