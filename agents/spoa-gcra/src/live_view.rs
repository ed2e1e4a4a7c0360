//! The page at `/` of the admin listener: what the agent does now, drawn in a browser.
//!
//! It is one HTML document with its style and its script in it, put together once. It asks for
//! nothing but what this agent shows anyway, once a second: `/metrics`, `/policies`, `/top` and
//! `/readyz`. So there is no second truth, and nothing is counted for it.
//!
//! Its Content-Security-Policy names this style and this script by their SHA-256, and allows
//! requests to this listener only: what got into the page by a defect could neither run nor
//! tell anybody.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use sha2::{Digest as _, Sha256};

const PAGE: &str = include_str!("live_view/page.html");
const STYLE: &str = include_str!("live_view/style.css");
/// One module in the page; a file for each thing that it does.
const SCRIPT: [&str; 4] = [
    include_str!("live_view/numbers.js"),
    include_str!("live_view/chart.js"),
    include_str!("live_view/tables.js"),
    include_str!("live_view/script.js"),
];

/// The whole page, for an agent on `host` that HAProxy asks at `agent`.
pub fn page(host: &str, agent: &str) -> String {
    let script = SCRIPT.concat();
    let policy = format!(
        "default-src 'none'; script-src {}; style-src {}; connect-src 'self'; img-src data:; \
         base-uri 'none'; form-action 'none'",
        source(&script),
        source(STYLE)
    );
    // The longest last: what is filled in is not searched again.
    PAGE.replace("{{host}}", &escaped(host))
        .replace("{{agent}}", &escaped(agent))
        .replace("{{security-policy}}", &policy)
        .replace("{{style}}", STYLE)
        .replace("{{script}}", &script)
}

/// What this machine calls itself; empty if it does not say.
pub fn host_name() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    name.trim().to_owned()
}

/// How a Content-Security-Policy names an inline text.
fn source(text: &str) -> String {
    let digest = BASE64_STANDARD.encode(Sha256::digest(text));
    format!("'sha256-{digest}'")
}

/// As text in HTML. Braces, too: it is no place to fill in.
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '{' => escaped.push_str("&#123;"),
            c => escaped.push(c),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_left_to_fill_in_and_nothing_gets_in() {
        let page = page("<b>{{script}}", "unix@/a\"b");
        assert!(!page.contains("{{"));
        assert!(page.contains("<b>&lt;b&gt;&#123;&#123;script}}</b>"));
        assert!(page.contains("<b>unix@/a&quot;b</b>"));
        assert!(page.len() < 100_000, "{}", page.len());
    }

    /// What would end them early, or make a browser read them in another way.
    #[test]
    fn style_and_script_end_where_the_page_says() {
        for text in [STYLE].into_iter().chain(SCRIPT) {
            for forbidden in ["</", "<!--", "\r", "{{"] {
                assert!(!text.contains(forbidden), "{forbidden}");
            }
        }
    }

    #[test]
    fn all_that_it_loads_is_in_it() {
        let page = page("host", "agent");
        for tag in page.split(['<', '>']).filter(|tag| !tag.contains('\n')) {
            let loads = tag.contains("src=") || tag.starts_with("link ");
            assert!(!loads || tag.contains("href=\"data:"), "{tag}");
        }
        assert!(!page.contains("@import"));
        // The one address in it names SVG's elements, and is not asked.
        for (at, _) in page.match_indices("http") {
            let rest = page.get(at..).unwrap();
            let is_known = ["http://www.w3.org/2000/svg", "http-equiv"];
            assert!(is_known.iter().any(|known| rest.starts_with(known)));
        }
    }

    #[test]
    fn the_policy_names_this_style_and_this_script() {
        let page = page("host", "agent");
        let between = |start: &str, end: &str| {
            let (_, rest) = page.split_once(start).unwrap();
            rest.split_once(end).unwrap().0.to_owned()
        };
        let policy = between("http-equiv=\"Content-Security-Policy\" content=\"", "\"");
        for text in [
            between("<style>", "</style>"),
            between("<script type=\"module\">", "</script>"),
        ] {
            assert!(policy.contains(&source(&text)), "{policy}");
        }
        assert!(!policy.contains("unsafe"), "{policy}");
        // The digest of the empty text is well known.
        let empty = "'sha256-47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU='";
        assert_eq!(source(""), empty);
    }
}
