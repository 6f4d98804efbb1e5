//! What `cometbox dev` says once it is up.

use crate::config::Config;
use std::{fmt::Write, net::SocketAddr, path::Path};

/// A URL for people and commands on this machine.
pub(super) fn local_url(scheme: &str, mut addr: SocketAddr) -> String {
    if addr.ip().is_unspecified() {
        let localhost: std::net::IpAddr = match addr {
            SocketAddr::V4(_) => std::net::Ipv4Addr::LOCALHOST.into(),
            SocketAddr::V6(_) => std::net::Ipv6Addr::LOCALHOST.into(),
        };
        addr.set_ip(localhost);
    }
    format!("{scheme}://{addr}")
}

/// Behind an app, or the page that has its name.
const NOT_LOADED: &str = "  (not loaded: see above)";

/// Where to look, and what to do next; `failed` are the apps that did not load.
pub(super) fn banner(config: &Config, url: &str, admin: Option<&str>, failed: &[&str]) -> String {
    let mut rows: Vec<(String, String)> = Vec::new();
    if let Some(pages) = &config.dev.pages {
        rows.extend(page_names(pages).into_iter().map(|name| {
            let path = if name.is_empty() { String::new() } else { format!("{name}/") };
            let label = if name.is_empty() { "start".to_owned() } else { name };
            (label, format!("{url}/{path}"))
        }));
    }
    if rows.is_empty() {
        let app = |app: &crate::config::AppConfig| {
            (app.name.clone(), format!("{url}/{}/mailboxes", app.name))
        };
        rows.extend(config.apps.iter().map(app));
    }
    for name in failed {
        match rows.iter_mut().find(|(label, _)| label == name) {
            // A page of that name is there, and works once its app does.
            Some((_, url)) => url.push_str(NOT_LOADED),
            None => rows.push(((*name).to_owned(), NOT_LOADED.trim_start().to_owned())),
        }
    }
    if let Some(admin) = admin {
        rows.push(("metrics".into(), format!("{admin}/metrics")));
    }
    let width = rows.iter().map(|(label, _)| label.chars().count()).max().unwrap_or(0);
    let mut out = format!("\n  Cometbox {} is up\n\n", env!("CARGO_PKG_VERSION"));
    for (label, url) in rows {
        // Writing into a String does not fail.
        let _ = writeln!(out, "    {label:width$}  {url}");
    }
    let source = config.apps.iter().flat_map(|app| &app.plugins).find(|p| p.path.is_dir());
    if let Some(plugin) = source {
        let file = plugin.path.join("src/lib.rs");
        let file = file.strip_prefix(".").unwrap_or(&file).display();
        let then = match failed {
            [] => "what is open goes on with the new code",
            _ => "it is built and loaded again",
        };
        let _ = write!(out, "\n  Change {file} and save: {then}.");
    }
    out.push_str("\n  Ctrl-C stops.\n");
    out
}

/// The folder itself (an empty name) and the folders in it, if they have a page.
fn page_names(pages: &Path) -> Vec<String> {
    let mut names: Vec<String> = std::fs::read_dir(pages)
        .into_iter()
        .flatten()
        .flatten()
        .filter(|entry| entry.path().join("index.html").is_file())
        .filter_map(|entry| entry.file_name().into_string().ok())
        .collect();
    names.sort();
    if pages.join("index.html").is_file() {
        names.insert(0, String::new());
    }
    names
}

#[cfg(test)]
mod tests {
    use super::{banner, local_url};
    use crate::config::Config;
    use std::fs;

    #[test]
    fn it_says_where_to_look_and_what_is_not_loaded() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        for page in ["chat", "quotes"] {
            let page = folder.path().join("pages").join(page);
            fs::create_dir_all(&page).expect("a new folder");
            fs::write(page.join("index.html"), "").expect("a new file");
        }
        let app = |name: &str| format!("[[app]]\nname = {name:?}\nplugins = [\".\"]\n");
        let apps = format!("{}{}", app("chat"), app("feed"));
        let pages = format!("{apps}[dev]\npages = \"pages\"\n");
        let url = "http://127.0.0.1:8080";
        for (case, config, failed, rows) in [
            ("pages", &pages, &[][..], &["chat    U/chat/", "quotes  U/quotes/"][..]),
            (
                "pages, and apps that did not load",
                &pages,
                &["chat", "feed"],
                &[
                    "chat    U/chat/  (not loaded: see above)",
                    "quotes  U/quotes/",
                    "feed    (not loaded: see above)",
                ],
            ),
            ("no pages", &apps, &[], &["chat  U/chat/mailboxes", "feed  U/feed/mailboxes"]),
            (
                "no pages, and an app that did not load",
                &apps,
                &["feed"],
                &["chat  U/chat/mailboxes", "feed  U/feed/mailboxes  (not loaded: see above)"],
            ),
        ] {
            let config = Config::parse(config, &folder.path().join("cometbox.toml")).expect(case);
            let text = banner(&config, url, None, failed);
            let said: Vec<&str> =
                text.lines().filter_map(|line| line.strip_prefix("    ")).collect();
            let expected: Vec<String> = rows.iter().map(|row| row.replace('U', url)).collect();
            assert_eq!(said, expected, "{case}");
        }
    }

    #[test]
    fn urls_work_on_this_machine() {
        for (addr, url) in [
            ("127.0.0.1:8080", "http://127.0.0.1:8080"),
            ("0.0.0.0:80", "http://127.0.0.1:80"),
            ("[::]:80", "http://[::1]:80"),
            ("10.0.0.1:80", "http://10.0.0.1:80"),
        ] {
            assert_eq!(local_url("http", addr.parse().expect("an address")), url);
        }
    }
}
