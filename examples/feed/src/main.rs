//! An example backend: replays stock prices through the publish API.
//!
//! A backend of Cometbox is whatever can send an HTTP request. This one sends
//! a price, forgets about it, and sends the next one: who gets it is up to the
//! app's plugin, and whether they are connected up to the gateway.

use std::{
    error::Error as _,
    thread::sleep,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use clap::Parser;
use serde::{Deserialize, Serialize};

const STOCKS: &str = include_str!("../stocks.csv");
const BACKOFF_MIN: Duration = Duration::from_millis(200);
const BACKOFF_MAX: Duration = Duration::from_secs(5);

/// Replays monthly stock prices (2000 to 2010) through a gateway's publish API
#[derive(Parser)]
#[command(version)]
struct Args {
    /// URL of the quotes app [default: /quotes at the gateway]
    #[arg(long)]
    url: Option<String>,

    /// URL of the gateway, without an app
    #[arg(long, env = "COMETBOX_URL", default_value = "http://127.0.0.1:8080")]
    gateway: String,

    /// One of the app's publish keys
    #[arg(
        long,
        env = "COMETBOX_PUBLISH_KEY",
        hide_env_values = true,
        default_value = "dev-only-key"
    )]
    key: String,

    /// Prices a second, of all symbols together
    #[arg(long, default_value_t = 10.0, value_parser = rate)]
    rate: f64,

    /// Start over at the end (the default)
    #[arg(long = "loop", conflicts_with = "once")]
    _loop: bool,

    /// Stop at the end
    #[arg(long)]
    once: bool,
}

fn rate(text: &str) -> Result<f64> {
    let rate: f64 = text.parse()?;
    if !(0.001..=100_000.0).contains(&rate) {
        bail!("must be between 0.001 and 100000");
    }
    Ok(rate)
}

/// What is published, and what the plugin and the page understand.
#[derive(Debug, PartialEq, Serialize)]
struct Quote {
    symbol: String,
    price: f64,
    /// Milliseconds since 1970.
    time: i64,
}

fn main() -> Result<()> {
    let args = Args::parse();
    // Nothing is half done between two requests, so leaving at once is clean.
    ctrlc::set_handler(|| std::process::exit(0))?;

    let quotes = quotes(STOCKS)?;
    let mut gateway = Gateway::new(&args);
    let interval = Duration::from_secs_f64(1.0 / args.rate);
    let mut next = Instant::now();
    loop {
        for quote in &quotes {
            gateway.publish(quote)?;
            // After an outage it goes on at its rate and does not catch up.
            next = (next + interval).max(Instant::now());
            sleep(next - Instant::now());
        }
        if args.once {
            return Ok(());
        }
    }
}

struct Gateway {
    agent: ureq::Agent,
    url: String,
    authorization: String,
    connected: bool,
    /// Whether the last quote was refused.
    refused: bool,
}

impl Gateway {
    fn new(args: &Args) -> Self {
        let app = match &args.url {
            Some(url) => url.trim_end_matches('/').to_owned(),
            None => format!("{}/quotes", args.gateway.trim_end_matches('/')),
        };
        let config = ureq::Agent::config_builder()
            .timeout_global(Some(Duration::from_secs(10)))
            .http_status_as_error(false)
            .build();
        Gateway {
            agent: config.into(),
            url: format!("{app}/publish"),
            authorization: format!("Bearer {}", args.key),
            connected: false,
            refused: false,
        }
    }

    /// Tries until the gateway takes it; fails only where trying again is no
    /// use.
    fn publish(&mut self, quote: &Quote) -> Result<()> {
        let mut backoff = BACKOFF_MIN;
        let mut first = true;
        loop {
            match self.post(quote) {
                Ok((status, answer)) if status < 400 => {
                    if !self.connected {
                        eprintln!("feed: publishing to {}", self.url);
                        self.connected = true;
                    }
                    self.note_refusal(&answer);
                    return Ok(());
                }
                Ok((status, answer)) if status < 500 => {
                    bail!("{} says {status}: {answer}", self.url)
                }
                Ok((status, _)) => self.note_trouble(first, &format!("status {status}")),
                Err(error) => self.note_trouble(first, &reason(&error)),
            }
            first = false;
            sleep(backoff);
            backoff = (backoff * 2).min(BACKOFF_MAX);
        }
    }

    fn post(&self, quote: &Quote) -> Result<(u16, String), ureq::Error> {
        let body = serde_json::json!({ "data": quote }).to_string();
        let mut response = self
            .agent
            .post(&self.url)
            .header("Authorization", &self.authorization)
            .content_type("application/json")
            .send(body)?;
        // Read to its end, so that the connection is used again.
        let answer = response.body_mut().read_to_string()?;
        Ok((response.status().as_u16(), answer))
    }

    /// One line when the gateway goes away, none for the attempts after it.
    fn note_trouble(&mut self, first: bool, reason: &str) {
        if first {
            eprintln!("feed: waiting for {}: {reason}", self.url);
            self.connected = false;
        }
    }

    /// A plugin may refuse a quote; the next one may be fine again.
    fn note_refusal(&mut self, answer: &str) {
        let refused = answer.contains(r#""error""#);
        if refused && !self.refused {
            eprintln!("feed: refused: {answer}");
        }
        self.refused = refused;
    }
}

/// The innermost error says it in the fewest words.
fn reason(error: &ureq::Error) -> String {
    match error.source() {
        Some(source) => source.to_string(),
        None => error.to_string(),
    }
}

/// All prices of all symbols, in the order of their dates.
fn quotes(csv: &str) -> Result<Vec<Quote>> {
    #[derive(Deserialize)]
    struct Row {
        symbol: String,
        date: String,
        price: f64,
    }
    let mut quotes = Vec::new();
    for row in csv::Reader::from_reader(csv.as_bytes()).into_deserialize() {
        let Row { symbol, date, price } = row?;
        let time = millis(&date).with_context(|| format!("{date:?} is no date"))?;
        quotes.push(Quote { symbol, price, time });
    }
    quotes.sort_by_key(|quote| quote.time);
    Ok(quotes)
}

/// The start (UTC) of a day like "Jan 1 2000", in milliseconds since 1970.
fn millis(date: &str) -> Option<i64> {
    const MONTHS: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let mut parts = date.split(' ');
    let name = parts.next()?;
    let month = MONTHS.iter().position(|month| *month == name)? as i64;
    let day: i64 = parts.next()?.parse().ok()?;
    let year: i64 = parts.next()?.parse().ok()?;
    // Years are counted from March here: the leap day is the last of its year.
    let year = if month < 2 { year - 1 } else { year };
    let day_of_year = (153 * ((month + 10) % 12) + 2) / 5 + day - 1;
    let days = year * 365 + year / 4 - year / 100 + year / 400 + day_of_year - 719_468;
    Some(days * 86_400_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_utc_days() {
        assert_eq!(millis("Jan 1 1970"), Some(0));
        assert_eq!(millis("Jan 1 2000"), Some(946_684_800_000));
        assert_eq!(millis("Mar 1 2000"), Some(951_868_800_000));
        assert_eq!(millis("Jan 1 2010"), Some(1_262_304_000_000));
        assert_eq!(millis("2010-01-01"), None);
    }

    #[test]
    fn all_prices_come_in_order() {
        let quotes = quotes(STOCKS).unwrap();
        assert_eq!(quotes.len(), 560);
        assert!(quotes.is_sorted_by_key(|quote| quote.time));
        assert_eq!(quotes[0], Quote { symbol: "MSFT".into(), price: 39.81, time: 946_684_800_000 });
    }
}
