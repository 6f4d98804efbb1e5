//! Which browsers have connects held.
//!
//! Over HTTP/1.1 a browser opens only so many connections to a server. Pages
//! that each hold one leave none for anything else; so all but the first few
//! are asked to poll instead.

use hashbrown::HashMap;
use parking_lot::Mutex;
use std::sync::Arc;

/// The cookie that tells browsers apart. It says nothing about who somebody is.
pub(super) const COOKIE: &str = "BAYEUX_BROWSER";

/// Longest value of the cookie, in bytes; with a longer one a browser is not
/// counted.
const MAX_COOKIE_BYTES: usize = 64;

/// The clients of each browser whose connects are held, and how many of each:
/// one that comes again displaces itself and needs no further place. Not more
/// entries than there are connections.
#[derive(Clone, Default)]
pub(in super::super::super) struct Browsers(Arc<Mutex<HashMap<Box<str>, Vec<Client>>>>);

struct Client {
    app: Box<str>,
    mailbox: Box<str>,
    held: usize,
}

/// A place among a browser's held connects; given back when dropped.
pub(super) struct Seat {
    browsers: Browsers,
    browser: Box<str>,
    app: Box<str>,
    mailbox: Box<str>,
}

/// The value of the cookie in a `Cookie` header, if it is good for anything.
pub(super) fn cookie(header: &str) -> Option<&str> {
    let value = header.split(';').find_map(|pair| {
        let (name, value) = pair.trim().split_once('=')?;
        (name == COOKIE).then_some(value)
    })?;
    (1..=MAX_COOKIE_BYTES).contains(&value.len()).then_some(value)
}

impl Browsers {
    /// None: so many other clients of that browser have theirs held already.
    pub(super) fn seat(&self, browser: &str, app: &str, mailbox: &str, max: usize) -> Option<Seat> {
        if max == 0 {
            return None;
        }
        let mut all = self.0.lock();
        let clients = all.entry(browser.into()).or_default();
        let is_full = clients.len() >= max;
        match clients.iter_mut().find(|client| *client.app == *app && *client.mailbox == *mailbox) {
            Some(client) => client.held += 1,
            None if is_full => return None,
            None => clients.push(Client { app: app.into(), mailbox: mailbox.into(), held: 1 }),
        }
        let browsers = self.clone();
        Some(Seat { browsers, browser: browser.into(), app: app.into(), mailbox: mailbox.into() })
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut all = self.browsers.0.lock();
        let Some(clients) = all.get_mut(&self.browser) else { return };
        clients.retain_mut(|client| {
            let is_ours = client.app == self.app && client.mailbox == self.mailbox;
            client.held -= usize::from(is_ours);
            client.held > 0
        });
        if clients.is_empty() {
            all.remove(&self.browser);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_browser_has_so_many_places_and_gets_them_back() {
        let browsers = Browsers::default();
        let seat = |browser, mailbox| browsers.seat(browser, "lab", mailbox, 1);
        let ann = seat("b", "ann").expect("the first");
        assert!(seat("b", "bob").is_none(), "there is one");
        assert!(browsers.seat("b", "other", "ann", 1).is_none(), "another app's ann");
        let again = seat("b", "ann").expect("who comes again displaces itself");
        let elsewhere = seat("c", "bob").expect("another browser");
        drop(ann);
        assert!(seat("b", "bob").is_none(), "ann's other one is held");
        drop(again);
        drop(seat("b", "bob").expect("free again"));
        drop(elsewhere);
        assert!(browsers.seat("b", "lab", "ann", 0).is_none());
        assert!(browsers.0.lock().is_empty());
    }

    #[test]
    fn the_cookie_is_found_among_others() {
        for (header, expected) in [
            ("BAYEUX_BROWSER=x1", Some("x1")),
            ("a=b; BAYEUX_BROWSER=x1; c", Some("x1")),
            ("a=b;BAYEUX_BROWSER=x=y", Some("x=y")),
            ("BAYEUX_BROWSER=", None),
            ("XBAYEUX_BROWSER=x1", None),
            ("", None),
            (&format!("BAYEUX_BROWSER={}", "x".repeat(65)), None),
        ] {
            assert_eq!(cookie(header), expected, "{header}");
        }
    }
}
