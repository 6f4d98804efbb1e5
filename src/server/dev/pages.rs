//! Files of a folder as pages.

use super::fresh;
use crate::{
    server::reply::Reply,
    transport::{Code, ErrorBody, Format},
};
use percent_encoding::percent_decode_str;
use std::path::{Path, PathBuf};

/// Largest file that is served, in bytes.
const MAX_FILE_BYTES: u64 = 64 << 20;

const OVERLAY_TAG: &str = "<script src=\"/-/dev/overlay.js\" defer></script>";

/// The page at a path, percent-encoded as it came.
pub(super) async fn reply(root: &Path, path: &str, format: Format) -> Reply {
    let (root, path) = (root.to_owned(), path.to_owned());
    let found = tokio::task::spawn_blocking(move || find(&root, &path)).await;
    match found {
        Ok(Some(Found::File(file, body))) => page(&file, body),
        Ok(Some(Found::Folder(location))) => Reply::empty(307).with("location", location),
        Ok(None) | Err(_) => {
            Reply::error(&ErrorBody::new(Code::NotFound, "there is no such page"), format)
        }
    }
}

enum Found {
    File(PathBuf, Vec<u8>),
    /// A folder that was asked for as if it were a file; links in its page
    /// would go astray. Where it is.
    Folder(String),
}

fn find(root: &Path, path: &str) -> Option<Found> {
    let root = root.canonicalize().ok()?;
    let mut file = root.clone();
    let is_folder = path.ends_with('/');
    for part in path.split('/').filter(|part| !part.is_empty()) {
        let name = percent_decode_str(part).decode_utf8().ok()?;
        // No hidden files, nothing above the folder, no second separator.
        if name.starts_with('.') || name.contains(['/', '\\', '\0']) {
            return None;
        }
        file.push(&*name);
    }
    // A link may lead within the folder, not out of it.
    let mut file = file.canonicalize().ok().filter(|file| file.starts_with(&root))?;
    if file.is_dir() {
        if !is_folder {
            // Relative to what was asked for, so it cannot lead to another host.
            let last = path.rsplit('/').next().unwrap_or_default();
            return Some(Found::Folder(format!("./{last}/")));
        }
        file.push("index.html");
        file = file.canonicalize().ok().filter(|file| file.starts_with(&root))?;
    } else if is_folder {
        return None;
    }
    let meta = file.metadata().ok()?;
    if !meta.is_file() || meta.len() > MAX_FILE_BYTES {
        return None;
    }
    let body = std::fs::read(&file).ok()?;
    Some(Found::File(file, body))
}

fn page(file: &Path, body: Vec<u8>) -> Reply {
    let content_type = content_type(file);
    if content_type != HTML {
        return fresh(content_type, body);
    }
    match String::from_utf8(body) {
        Ok(html) => fresh(HTML, with_overlay(html)),
        Err(error) => fresh(HTML, error.into_bytes()),
    }
}

/// Behind everything else of the page, so that it changes nothing of it.
fn with_overlay(mut html: String) -> String {
    let at = html.rfind("</body>").unwrap_or(html.len());
    html.insert_str(at, OVERLAY_TAG);
    html
}

const HTML: &str = "text/html; charset=utf-8";

fn content_type(file: &Path) -> &'static str {
    let extension = file.extension().and_then(|ext| ext.to_str()).unwrap_or_default();
    match extension.to_ascii_lowercase().as_str() {
        "html" | "htm" => HTML,
        "js" | "mjs" => "text/javascript; charset=utf-8",
        "css" => "text/css; charset=utf-8",
        "json" | "map" => "application/json",
        "svg" => "image/svg+xml",
        "png" => "image/png",
        "jpg" | "jpeg" => "image/jpeg",
        "gif" => "image/gif",
        "webp" => "image/webp",
        "ico" => "image/x-icon",
        "woff2" => "font/woff2",
        "wasm" => "application/wasm",
        "txt" | "md" | "csv" | "toml" | "rs" => "text/plain; charset=utf-8",
        _ => "application/octet-stream",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn site() -> tempfile::TempDir {
        let dir = tempfile::tempdir().expect("the test machine has a temp folder");
        let write = |name: &str, text: &str| {
            let path = dir.path().join(name);
            std::fs::create_dir_all(path.parent().expect("within the folder")).expect("fresh");
            std::fs::write(path, text).expect("fresh");
        };
        write("secret.txt", "s");
        write("pages/index.html", "<body>home</body>");
        write("pages/chat/index.html", "chat");
        write("pages/chat/a b.css", "css");
        write("pages/.hidden", "h");
        #[cfg(unix)]
        std::os::unix::fs::symlink(dir.path().join("secret.txt"), dir.path().join("pages/link"))
            .expect("fresh");
        dir
    }

    async fn get(path: &str) -> Reply {
        let dir = site();
        reply(&dir.path().join("pages"), path, Format::Json).await
    }

    #[tokio::test]
    async fn pages_have_types_and_the_overlay() {
        let home = get("/").await;
        assert_eq!((home.status, home.content_type), (200, Some(HTML)));
        let expected = format!("<body>home{OVERLAY_TAG}</body>");
        assert_eq!(home.body, expected.as_bytes());
        assert_eq!(get("/chat/").await.body, format!("chat{OVERLAY_TAG}").as_bytes());
        let css = get("/chat/a%20b.css").await;
        assert_eq!((css.status, &css.body[..]), (200, &b"css"[..]));
        assert_eq!(css.content_type, Some("text/css; charset=utf-8"));
    }

    #[tokio::test]
    async fn a_folder_without_its_slash_is_redirected() {
        let reply = get("/chat").await;
        assert_eq!(reply.status, 307);
        assert!(reply.headers.contains(&("location", "./chat/".into())));
    }

    #[tokio::test]
    async fn nothing_outside_or_hidden_is_served() {
        for path in [
            "/../secret.txt",
            "/%2e%2e/secret.txt",
            "/..%2fsecret.txt",
            "/chat/%2e%2e/%2e%2e/secret.txt",
            "/.hidden",
            "/link",
            "/nope",
            "/chat/index.html/",
            "/%00",
            "/%ff",
        ] {
            assert_eq!(get(path).await.status, 404, "{path}");
        }
    }
}
