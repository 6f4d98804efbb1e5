//! Which browsers have reads held.
//!
//! Over HTTP/1.1 a browser opens only so many connections to a server. Tabs
//! that each hold one leave none for anything else; so all but the first few
//! are asked to poll instead.

use super::{
    ask::Ask,
    cors::{self, Origins},
    gateway::Gateway,
    hosted::random_key,
};
use crate::{core::Key, transport};
use hashbrown::HashMap;
use parking_lot::Mutex;
use std::sync::Arc;

/// The cookies that tell browsers apart: of what is native here, and of Bayeux.
/// They say nothing about who somebody is.
pub(super) const COOKIE: &str = "cometbox_browser";
pub(super) const BAYEUX_COOKIE: &str = "BAYEUX_BROWSER";

/// Longest value of a cookie, in bytes; with a longer one a browser is not
/// counted.
const MAX_COOKIE_BYTES: usize = 64;

/// How long a reader is asked to stay away that would be one too many, in
/// seconds.
pub(super) const RETRY_AFTER_S: u64 = 2;

/// The readers of each browser whose reads are held, and how many of each: one
/// that comes again displaces itself and needs no further place. Not more
/// entries than there are connections.
#[derive(Clone, Default)]
pub(super) struct Browsers(Arc<Mutex<HashMap<Box<str>, Vec<Reader>>>>);

struct Reader {
    key: Key,
    held: usize,
}

/// A read that counts among its browser's until it is dropped. Small, since
/// every held read has room for one.
pub struct Counted(Box<Entry>);

struct Entry {
    browsers: Browsers,
    browser: Box<str>,
    key: Key,
}

/// So many other readers of that browser have reads held already.
#[derive(Debug)]
pub(super) struct Crowded;

impl Browsers {
    /// Counts a read that is about to be held.
    ///
    /// # Errors
    /// If it would be one more than `max`.
    pub fn count(&self, browser: &str, key: Key, max: usize) -> Result<Counted, Crowded> {
        if max == 0 {
            return Err(Crowded);
        }
        let mut all = self.0.lock();
        let readers = all.entry(browser.into()).or_default();
        let is_full = readers.len() >= max;
        match readers.iter_mut().find(|reader| reader.key == key) {
            Some(reader) => reader.held += 1,
            None if is_full => return Err(Crowded),
            None => readers.push(Reader { key, held: 1 }),
        }
        let entry = Entry { browsers: self.clone(), browser: browser.into(), key };
        Ok(Counted(Box::new(entry)))
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        let Entry { browsers, browser, key } = &*self.0;
        let mut all = browsers.0.lock();
        let Some(readers) = all.get_mut(browser) else { return };
        readers.retain_mut(|reader| {
            reader.held -= usize::from(reader.key == *key);
            reader.held > 0
        });
        if readers.is_empty() {
            all.remove(browser);
        }
    }
}

/// Counts a native read, if its browser is known and has few connections.
///
/// # Errors
/// If its browser has as many reads held as it may.
pub(super) fn count(
    gateway: &Gateway,
    ask: &Ask<'_>,
    key: Key,
) -> Result<Option<Counted>, Crowded> {
    let Some(browser) = ask.cookies.and_then(|cookies| cookie(COOKIE, cookies)) else {
        return Ok(None);
    };
    let max = gateway.terms().http.max_reads_per_browser;
    gateway.browsers().count(browser, key, max).map(Some)
}

/// The value of a cookie in a `Cookie` header, if it is good for anything.
pub(super) fn cookie<'a>(name: &str, header: &'a str) -> Option<&'a str> {
    let value = header.split(';').find_map(|pair| {
        let (other, value) = pair.trim().split_once('=')?;
        (other == name).then_some(value)
    })?;
    (1..=MAX_COOKIE_BYTES).contains(&value.len()).then_some(value)
}

/// What tells a browser apart from now on, as `Set-Cookie`. None: the system
/// gives no random numbers.
pub(super) fn new_cookie(name: &str, origins: &Origins, origin: Option<&str>) -> Option<String> {
    let value = transport::encode_key(&random_key().ok()?);
    // A page of https reads by https alone, so `Secure` is no loss; and without
    // it no cookie goes along with what a page of another site asks.
    let is_foreign = cors::allows_credentials(origins, origin)
        && origin.is_some_and(|origin| origin.starts_with("https://"));
    let site = if is_foreign { "None; Secure" } else { "Lax" };
    Some(format!("{name}={}; Path=/; HttpOnly; SameSite={site}", value.as_str()))
}

/// The same for what was opened with these headers, if a browser asked for it
/// that has no such cookie.
pub(super) fn welcome(
    headers: &[(String, String)],
    origins: &Origins,
    origin: Option<&str>,
) -> Option<String> {
    let is_browser = headers.iter().any(|(name, _)| name == "sec-fetch-mode" || name == "origin");
    let is_known =
        headers.iter().any(|(name, value)| name == "cookie" && cookie(COOKIE, value).is_some());
    if is_browser && !is_known { new_cookie(COOKIE, origins, origin) } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::CorsConfig;

    #[test]
    fn a_browser_has_so_many_places_and_gets_them_back() {
        let browsers = Browsers::default();
        let [ann, bob, cid] = [1, 2, 3].map(|n| Key([n; 16]));
        let count = |browser, key| browsers.count(browser, key, 2);
        let first = count("b", ann).expect("the first");
        let second = count("b", bob).expect("the second");
        assert!(count("b", cid).is_err(), "there are two");
        let again = count("b", ann).expect("who comes again displaces itself");
        let elsewhere = count("c", cid).expect("another browser");
        drop(first);
        assert!(count("b", cid).is_err(), "ann's other one is held");
        drop(again);
        drop(count("b", cid).expect("free again"));
        drop((second, elsewhere));
        assert!(browsers.count("b", ann, 0).is_err());
        assert!(browsers.0.lock().is_empty());
    }

    #[test]
    fn a_cookie_is_found_among_others() {
        for (header, expected) in [
            ("BAYEUX_BROWSER=x1", Some("x1")),
            ("a=b; BAYEUX_BROWSER=x1; c", Some("x1")),
            ("a=b;BAYEUX_BROWSER=x=y", Some("x=y")),
            ("BAYEUX_BROWSER=", None),
            ("XBAYEUX_BROWSER=x1", None),
            ("cometbox_browser=x1", None),
            ("", None),
            (&format!("BAYEUX_BROWSER={}", "x".repeat(65)), None),
        ] {
            assert_eq!(cookie(BAYEUX_COOKIE, header), expected, "{header}");
        }
    }

    #[test]
    fn only_browsers_are_told_apart_and_each_once() {
        let allowing = |origin: &str| Origins::of(&CorsConfig { origins: vec![origin.into()] });
        let (cors, any) = (allowing("https://page.example"), allowing("*"));
        let (own, foreign) = ("http://gateway.example", "https://page.example");
        for (case, headers, cors, origin, expected) in [
            ("no browser", vec![("accept", "*/*")], &cors, None, None),
            ("of the gateway's own", vec![("origin", own)], &cors, Some(own), Some("Lax")),
            ("without an origin", vec![("sec-fetch-mode", "cors")], &cors, None, Some("Lax")),
            ("foreign", vec![("origin", foreign)], &cors, Some(foreign), Some("None; Secure")),
            ("whoever", vec![("origin", foreign)], &any, Some(foreign), Some("Lax")),
            ("known", vec![("origin", own), ("cookie", "cometbox_browser=x")], &cors, None, None),
        ] {
            let headers: Vec<_> =
                headers.into_iter().map(|(name, value)| (name.into(), value.into())).collect();
            let cookie = welcome(&headers, cors, origin);
            let site = cookie.as_deref().and_then(|cookie| cookie.split("SameSite=").nth(1));
            assert_eq!(site, expected, "{case}");
        }
    }
}
