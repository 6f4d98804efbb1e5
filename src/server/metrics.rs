//! What Prometheus is told.

use super::{gateway::Gateway, hosted::HostedApp, routes::Endpoint};
use crate::{
    app::EventKind,
    core::{Answer, Totals},
    plugin::FailureKind,
};
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeLabelSet, NoLabelSet, text},
    metrics::{MetricType, counter::Counter, exemplar::Exemplar, family::Family, gauge::Gauge},
    registry::Registry,
};
use std::{fmt, sync::Arc};

/// The gateway's metrics.
pub(super) struct Metrics {
    registry: Registry,
    requests: Family<RequestLabels, Counter>,
    turned_away: Counter,
    connections: Gauge,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
struct RequestLabels {
    app: Option<String>,
    route: &'static str,
    status: u16,
}

impl Metrics {
    pub(super) fn new() -> Self {
        let mut registry = Registry::with_prefix("cometbox");
        let requests = Family::<RequestLabels, Counter>::default();
        let help = "Requests answered, by app, route and status";
        registry.register("requests", help, requests.clone());
        let turned_away = Counter::default();
        let help = "Connections refused because there were too many";
        registry.register("connections_refused", help, turned_away.clone());
        let connections = Gauge::default();
        registry.register(
            "connections",
            "Open connections of clients and backends",
            connections.clone(),
        );
        Self { registry, requests, turned_away, connections }
    }

    /// What the apps count themselves is read from them.
    pub(super) fn watch(&mut self, apps: Vec<Arc<HostedApp>>) {
        self.registry.register_collector(Box::new(AppMetrics(apps)));
    }

    /// The counters of an app's requests.
    pub(super) fn requests_of(&self, app: &str) -> Requests {
        Requests::new(app, self.requests.clone())
    }

    /// A request that is about no app was answered.
    pub(super) fn request(&self, route: &'static str, status: u16) {
        self.requests.get_or_create(&RequestLabels { app: None, route, status }).inc();
    }

    pub(super) fn turned_away(&self) {
        self.turned_away.inc();
    }

    /// All of them, as `OpenMetrics` text.
    pub(super) fn text(&self, gateway: &Gateway) -> Result<String, fmt::Error> {
        self.connections.set(i64::try_from(gateway.connections()).unwrap_or(i64::MAX));
        let mut out = String::new();
        text::encode(&mut out, &self.registry)?;
        Ok(out)
    }
}

/// Counts the requests of an app.
pub(super) struct Requests {
    app: String,
    all: Family<RequestLabels, Counter>,
    /// The counters of what is usual, so that nothing has to be looked up.
    batches: Counter,
    empty: Counter,
    sent: Counter,
    published: Counter,
}

impl Requests {
    fn new(app: &str, all: Family<RequestLabels, Counter>) -> Self {
        let of = |route, status| {
            all.get_or_create_owned(&RequestLabels { app: Some(app.to_owned()), route, status })
        };
        Self {
            batches: of("read", 200),
            empty: of("read", 204),
            sent: of("send", 204),
            published: of("publish", 200),
            app: app.to_owned(),
            all,
        }
    }

    /// A read was answered.
    pub(super) fn read(&self, answer: &Answer) {
        match answer {
            Answer::Batch(_) => self.batches.inc(),
            Answer::Nothing => self.empty.inc(),
            Answer::Displaced => self.other("read", 409),
            Answer::Closed { .. } => self.other("read", 410),
        };
    }

    /// A request was answered with a reply.
    pub(super) fn reply(&self, endpoint: &Endpoint<'_>, status: u16) {
        match (endpoint, status) {
            (Endpoint::Send(_), 204) => self.sent.inc(),
            (Endpoint::Publish, 200) => self.published.inc(),
            _ => self.other(endpoint.name(), status),
        };
    }

    /// A stream of this kind began.
    pub(super) fn stream(&self, kind: &'static str, status: u16) {
        self.other(kind, status);
    }

    fn other(&self, route: &'static str, status: u16) -> u64 {
        let app = Some(self.app.clone());
        self.all.get_or_create(&RequestLabels { app, route, status }).inc()
    }
}

/// What the apps count themselves, read when asked for.
struct AppMetrics(Vec<Arc<HostedApp>>);

impl fmt::Debug for AppMetrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AppMetrics")
    }
}

type Reading = (&'static str, &'static str, fn(&Totals) -> u64);

const GAUGES: [Reading; 8] = [
    ("mailboxes", "Mailboxes", |t| t.mailboxes as u64),
    ("groups", "Groups with a member", |t| t.groups as u64),
    ("held_reads", "Reads that are held", |t| t.held as u64),
    ("queued_messages", "Messages in mailboxes", |t| t.queued_messages as u64),
    ("queued_bytes", "Their payloads in bytes", |t| t.queued_bytes as u64),
    ("values", "Entries of the key-value space", |t| t.values as u64),
    ("value_bytes", "Their keys and values in bytes", |t| t.value_bytes as u64),
    ("publish_ids", "Publishes remembered by their ids", |t| t.publish_ids as u64),
];

const COUNTERS: [Reading; 7] = [
    ("messages_handed_out", "Messages in answers to reads", |t| t.handed_out),
    ("messages_dropped", "Messages dropped from full mailboxes", |t| t.dropped),
    ("messages_expired", "Messages whose time to live passed", |t| t.ttl_expired),
    ("messages_collapsed", "Messages replaced by a newer one", |t| t.collapsed),
    ("mailboxes_opened", "Mailboxes opened", |t| t.opened),
    ("mailboxes_closed", "Mailboxes closed or expired", |t| t.closed),
    ("publishes_repeated", "Publishes not done again, by their ids", |t| t.repeated),
];

impl Collector for AppMetrics {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let totals: Vec<(&str, Totals)> =
            self.0.iter().map(|app| (app.app().name(), app.app().totals())).collect();
        for (name, help, read) in GAUGES {
            let mut family = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
            for (app, totals) in &totals {
                let value = i64::try_from(read(totals)).unwrap_or(i64::MAX);
                family.encode_family(&[("app", *app)])?.encode_gauge(&value)?;
            }
        }
        for (name, help, read) in COUNTERS {
            let rows = totals.iter().map(|(app, totals)| ([("app", *app)], read(totals)));
            counters(&mut encoder, name, help, rows)?;
        }
        let apps = || self.0.iter().map(|app| (app.app().name(), app.app().counters()));
        let calls = apps().flat_map(|(app, counters)| {
            let row = move |kind: EventKind| {
                ([("app", app), ("event", kind.as_str())], counters.calls(kind))
            };
            EventKind::ALL.into_iter().map(row)
        });
        counters(&mut encoder, "plugin_calls", "Calls of plugins, by event", calls)?;
        let kinds: Vec<_> = FailureKind::ALL.iter().map(|kind| (*kind, kind.to_string())).collect();
        let failures = apps().flat_map(|(app, counters)| {
            let row = move |(kind, name): &'_ (FailureKind, String)| {
                ([("app", app.to_owned()), ("kind", name.clone())], counters.failures(*kind))
            };
            kinds.iter().map(row)
        });
        counters(&mut encoder, "plugin_failures", "Calls of plugins that failed", failures)?;
        let rejections = apps().map(|(app, counters)| ([("app", app)], counters.rejections()));
        counters(&mut encoder, "plugin_rejections", "Calls in which a plugin said no", rejections)?;
        let collisions = apps().map(|(app, counters)| ([("app", app)], counters.collisions()));
        let help = "Events that ran again because their reads were outdated";
        counters(&mut encoder, "collisions", help, collisions)?;
        let mut family = encoder.encode_descriptor(
            "plugins_version",
            "How often the plugins were swapped",
            None,
            MetricType::Gauge,
        )?;
        for app in &self.0 {
            let version = i64::try_from(app.app().version()).unwrap_or(i64::MAX);
            family.encode_family(&[("app", app.app().name())])?.encode_gauge(&version)?;
        }
        Ok(())
    }
}

fn counters<L: EncodeLabelSet>(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    rows: impl Iterator<Item = (L, u64)>,
) -> Result<(), fmt::Error> {
    let mut family = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
    for (labels, value) in rows {
        let none: Option<&Exemplar<NoLabelSet, u64>> = None;
        family.encode_family(&labels)?.encode_counter(&value, none)?;
    }
    Ok(())
}
