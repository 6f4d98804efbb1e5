//! Groups whose last segment is `*` or `**`: whoever is in one of them gets what
//! is sent to the groups that it matches.
//!
//! `chat/*` matches `chat/lobby` (one segment), `chat/**` also `chat/lobby/vip`
//! (one or more); neither matches `chat`. A pattern that is `*` or `**` alone
//! does not match `service` and what is below it.

use super::MAX_NAME_BYTES;

/// First segment of what is between a client and the plugins (Bayeux's
/// `/service/**`): whoever listens to everything does not listen to that.
const PRIVATE: &str = "service";

/// Longest pattern that matches a name, in bytes: the name with its last
/// segment, which has no byte at the least, in the place of `**`.
const MAX_PATTERN_BYTES: usize = MAX_NAME_BYTES + 2;

/// Calls with every pattern that matches this name, the narrowest first. There
/// is at most one more than the name has segments, so 65 at the most.
pub(super) fn each_that_matches(name: &str, mut call: impl FnMut(&str)) {
    let mut text = [0; MAX_PATTERN_BYTES];
    text[..name.len()].copy_from_slice(name.as_bytes());
    let is_private = name.split('/').next() == Some(PRIVATE);
    let mut call = |parent_bytes: usize, last: &str| {
        if is_private && parent_bytes == 0 {
            return;
        }
        let end = parent_bytes + last.len();
        text[parent_bytes..end].copy_from_slice(last.as_bytes());
        call(std::str::from_utf8(&text[..end]).expect("it was cut behind a slash"));
    };
    // Up to and with the slash in front of the last segment.
    let mut parent_bytes = name.rfind('/').map_or(0, |slash| slash + 1);
    call(parent_bytes, "*");
    loop {
        call(parent_bytes, "**");
        if parent_bytes == 0 {
            return;
        }
        parent_bytes = name[..parent_bytes - 1].rfind('/').map_or(0, |slash| slash + 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_pattern_comes_once_and_the_narrowest_first() {
        let longest = "a/".repeat(64);
        for (name, patterns) in [
            ("lobby", &["*", "**"][..]),
            ("chat/lobby", &["chat/*", "chat/**", "**"]),
            ("a/b/c", &["a/b/*", "a/b/**", "a/**", "**"]),
            ("ä/ö", &["ä/*", "ä/**", "**"]),
            ("a//b", &["a//*", "a//**", "a/**", "**"]),
            ("/a", &["/*", "/**", "**"]),
            ("*", &["*", "**"]),
            ("service", &[]),
            ("service/echo", &["service/*", "service/**"]),
            ("service/a/b", &["service/a/*", "service/a/**", "service/**"]),
            ("services/a", &["services/*", "services/**", "**"]),
            ("a/service", &["a/*", "a/**", "**"]),
        ] {
            let mut found = Vec::new();
            each_that_matches(name, |pattern| found.push(pattern.to_owned()));
            assert_eq!(found, patterns, "{name}");
        }
        assert_eq!(longest.len(), MAX_NAME_BYTES);
        let mut count = 0;
        each_that_matches(&longest, |_| count += 1);
        assert_eq!(count, 66);
    }
}
