//! Where links lead.

use super::document::Document;
use super::files::{Files, seen_from};
use super::{Mistake, regex};

/// The links of a page that lead nowhere.
pub(super) fn broken(files: &Files, file: &str, page: &Document) -> Vec<Mistake> {
    // [text](target "title"), <target>, [name]: target, and whatever else begins with http.
    let link = regex(
        r#"\]\(\s*<?([^)\s>]+)>?[^)]*\)|<(https?:[^>\s]*)>|(?m:^\s*\[[^\]]+\]:\s+(\S+))|(?:^|[\s("])(https?:[^\s)"<>]+)"#,
    );
    let mut broken = Vec::new();
    for (first, prose) in &page.prose {
        for found in link.captures_iter(prose) {
            let Some(target) = found.iter().skip(1).flatten().next() else {
                continue;
            };
            let before = prose.get(..target.start()).unwrap_or_default();
            let line = first + before.matches('\n').count();
            let what = wrong_with(files, file, page, target.as_str());
            broken.extend(what.map(|what| (line, what)));
        }
    }
    broken
}

fn wrong_with(files: &Files, file: &str, page: &Document, target: &str) -> Option<String> {
    if target.contains(':') && !target.contains("::") {
        return address(target);
    }
    let (path, anchor) = target.split_once('#').unwrap_or((target, ""));
    // Pages within a crate's sources are rustdoc's, and name items.
    let linked = if file.contains("/src/") {
        if path.contains('/') || path.contains(".md") {
            return Some(format!(
                "rustdoc does not follow {target}: name an item, or give the path as text"
            ));
        }
        let dir = file.rsplit_once('/').map_or("", |(dir, _)| dir);
        let page = format!("{dir}/{path}.md");
        if !path.is_empty() && !files.has(&page) {
            return None;
        }
        page
    } else {
        let linked = seen_from(file, path);
        if !linked.as_ref().is_some_and(|linked| files.has(linked)) {
            return Some(format!("the link to {target} leads nowhere"));
        }
        linked.unwrap_or_default()
    };
    if anchor.is_empty() {
        return None;
    }
    let anchors = match path {
        "" => page.anchors(),
        _ if linked.ends_with(".md") => Document::parse(&files.read(&linked).ok()?).anchors(),
        // A line of a source, which only the site that shows it knows.
        _ => return None,
    };
    let is_there = anchors.iter().any(|known| known == anchor);
    (!is_there).then(|| format!("the link to {target} leads nowhere: no such heading"))
}

/// What is wrong with the address of another site.
fn address(target: &str) -> Option<String> {
    let good = regex(r"^https://[a-z0-9-]+(\.[a-z0-9-]+)+(:\d+)?(/[^\s<>|]*)?$|^mailto:\S+@\S+$");
    let target = target.trim_end_matches(['.', ',', ';', ':']);
    (!good.is_match(target)).then(|| format!("{target} is no https address"))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn mistakes(file: &str, text: &str) -> Vec<String> {
        let dir = tempfile::tempdir().unwrap();
        for name in ["README.md", "guide/src/drain.md", file] {
            let path = dir.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "# What is there\n").unwrap();
        }
        fs::write(dir.path().join(file), text).unwrap();
        let page = Document::parse(text);
        let found = broken(&Files::below(dir.path()), file, &page);
        found
            .into_iter()
            .map(|(line, what)| format!("{line}: {what}"))
            .collect()
    }

    #[test]
    fn what_is_there_may_be_linked_to() {
        let text = "[a](../README.md), [b](../README.md#what-is-there), [`c`](..), [d](#e-f)\n\
                    ![e](page.md \"title\") <https://example.com/a?b=c> https://example.com.\n\n\
                    [f]: https://example.com:8080/#x\n\n## E, f\n\n\
                    ```sh\necho [g](nowhere)\n```\nand `[h](nowhere)`";
        assert_eq!(mistakes("deep/page.md", text), [""; 0]);
    }

    #[test]
    fn what_is_not_is_named_with_its_line() {
        let text = "[a](gone.md)\n[b](../README.md#gone)\n\n[c](#gone)\n[d](../../..)\n\
                    [e](http://example.com) <https://a|b> [f](https://-)";
        let found = mistakes("deep/page.md", text);
        let expected = [
            "1: the link to gone.md leads nowhere",
            "2: the link to ../README.md#gone leads nowhere: no such heading",
            "4: the link to #gone leads nowhere: no such heading",
            "5: the link to ../../.. leads nowhere",
            "6: http://example.com is no https address",
            "6: https://a|b is no https address",
            "6: https://- is no https address",
        ];
        assert_eq!(found, expected);
    }

    #[test]
    fn pages_of_rustdoc_name_items_and_each_other() {
        let text =
            "[a](crate::Item) [b](Config::with) [c](drain) [d](drain#what-is-there) [e](#f)\n# F";
        assert_eq!(mistakes("guide/src/page.md", text), [""; 0]);
        let text = "[a](../README.md)\n[b](drain#gone)\n[c](#gone)";
        let found = mistakes("guide/src/page.md", text);
        assert_eq!(found.len(), 3, "{found:?}");
        assert!(found[0].contains("rustdoc does not follow ../README.md"));
    }
}
