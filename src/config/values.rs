//! How single values are read: what the type of a key cannot say.

use ipnet::IpNet;
use serde::{Deserialize, Deserializer, de};
use std::net::IpAddr;

/// When an app's readers get a message.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Deliver {
    #[default]
    AtOnce,
    /// When it is as durable as the app says.
    WhenKept,
}

/// A number for which 0 makes no sense.
pub(super) fn positive<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de> + Default + PartialEq,
{
    let value = T::deserialize(deserializer)?;
    if value == T::default() { Err(de::Error::custom("must be at least 1")) } else { Ok(value) }
}

pub(super) fn level<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let level = String::deserialize(deserializer)?;
    match tracing_subscriber::EnvFilter::try_new(&level) {
        Ok(_) => Ok(level),
        Err(error) => Err(de::Error::custom(format!("{level:?} is no log level: {error}"))),
    }
}

pub(super) fn wait_s<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    let value = u64::deserialize(deserializer)?;
    if (1..=3600).contains(&value) {
        Ok(value)
    } else {
        Err(de::Error::custom("must be 1 to 3600"))
    }
}

pub(super) fn per_second<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u16, D::Error> {
    let value = u16::deserialize(deserializer)?;
    if value <= 1000 { Ok(value) } else { Err(de::Error::custom("must be at most 1000")) }
}

pub(super) fn streams<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u32, D::Error> {
    let value = u32::deserialize(deserializer)?;
    if (1..=10_000).contains(&value) {
        Ok(value)
    } else {
        Err(de::Error::custom("must be 1 to 10000"))
    }
}

pub(super) fn networks<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<IpNet>, D::Error> {
    let network = |text: &String| {
        let address = || text.parse::<IpAddr>().ok().map(IpNet::from);
        text.parse().ok().or_else(address).ok_or_else(|| {
            de::Error::custom(format!(
                "{text:?} is no address and no network; write \"10.0.0.0/8\" or \"::1\""
            ))
        })
    };
    Vec::<String>::deserialize(deserializer)?.iter().map(network).collect()
}

pub(super) fn origins<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    let origins = Vec::<String>::deserialize(deserializer)?;
    for origin in &origins {
        // What a browser sends: scheme, host and port, nothing behind them.
        let host = origin.split_once("://").map(|(_, host)| host);
        let is_origin = host.is_some_and(|host| !host.is_empty() && !host.contains('/'));
        if origin != "*" && !is_origin || !origin.is_ascii() {
            return Err(de::Error::custom(format!(
                "{origin:?} is no origin; write \"https://example.org\", or \"*\" for any"
            )));
        }
    }
    Ok(origins)
}
