//! A page of Markdown, taken apart as far as links and commands need it.

use super::regex;

/// Where something begins, counted from 1.
type Line = usize;

/// Prose, code and headings of a page.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Document {
    /// Paragraphs, without their code: that is blanked out, so that places stay what they are.
    pub(super) prose: Vec<(Line, String)>,
    /// Code within the prose.
    pub(super) spans: Vec<(Line, String)>,
    /// Blocks of code.
    pub(super) blocks: Vec<Block>,
    /// Headings as they are written.
    headings: Vec<String>,
}

/// A block of code.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Block {
    pub(super) line: Line,
    /// What stands behind the fence, such as `sh`.
    pub(super) language: String,
    pub(super) lines: Vec<String>,
}

impl Document {
    pub(super) fn parse(text: &str) -> Self {
        let mut page = Self::default();
        let mut paragraph = (0, String::new());
        let mut fence: Option<(String, Block)> = None;
        for (line, text) in (1..).zip(text.lines()) {
            let bare = text.trim_start();
            if let Some((mark, block)) = &mut fence {
                if bare.trim_end() == mark {
                    page.blocks.extend(fence.take().map(|(_, block)| block));
                } else {
                    block.lines.push(text.to_owned());
                }
                continue;
            }
            // Of a list's item, too.
            let opening =
                bare.trim_start_matches(|c: char| c.is_ascii_digit() || ". -*".contains(c));
            if let Some(mark) = mark_of(opening) {
                page.end_paragraph(&mut paragraph);
                let language = opening.trim_start_matches('`').trim().to_owned();
                let lines = Vec::new();
                fence = Some((
                    mark,
                    Block {
                        line,
                        language,
                        lines,
                    },
                ));
                continue;
            }
            if bare.is_empty() {
                page.end_paragraph(&mut paragraph);
                continue;
            }
            if let Some(heading) = heading(text) {
                page.headings.push(heading.to_owned());
            }
            if paragraph.1.is_empty() {
                paragraph.0 = line;
            }
            paragraph.1.push_str(text);
            paragraph.1.push('\n');
        }
        page.end_paragraph(&mut paragraph);
        page.blocks.extend(fence.map(|(_, block)| block));
        page
    }

    fn end_paragraph(&mut self, paragraph: &mut (Line, String)) {
        let (first, text) = std::mem::take(paragraph);
        let mut prose = String::new();
        let mut rest = text.as_str();
        while let Some(start) = rest.find('`') {
            let (before, from) = rest.split_at(start);
            prose.push_str(before);
            let ticks = from.len() - from.trim_start_matches('`').len();
            let (mark, behind) = from.split_at(ticks);
            let Some(end) = behind.find(mark) else {
                // A lone backtick is a character.
                prose.push_str(mark);
                rest = behind;
                continue;
            };
            let (code, after) = behind.split_at(end);
            let line = first + prose.matches('\n').count();
            // Columns of a table are separated everywhere, even within code.
            self.spans
                .push((line, code.replace('\n', " ").replace(r"\|", "|")));
            let blank = |c: char| if c == '\n' { '\n' } else { ' ' };
            prose.extend(code.chars().map(blank));
            rest = after.strip_prefix(mark).unwrap_or_default();
        }
        prose.push_str(rest);
        if !prose.is_empty() {
            self.prose.push((first, prose));
        }
    }

    /// The anchors of the headings, as GitHub makes them: in lower case, without punctuation,
    /// `-` for each space, and a number behind those that came before.
    pub(super) fn anchors(&self) -> Vec<String> {
        let link = regex(r"\[([^\]]*)\]\([^)]*\)");
        let mut anchors: Vec<String> = Vec::new();
        for heading in &self.headings {
            let text = link.replace_all(heading, "$1").to_lowercase();
            let kept = text.chars();
            let kept = kept.filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
            let anchor: String = kept.map(|c| if c == ' ' { '-' } else { c }).collect();
            let mut unique = anchor.clone();
            let mut before = 0;
            while anchors.contains(&unique) {
                before += 1;
                unique = format!("{anchor}-{before}");
            }
            anchors.push(unique);
        }
        anchors
    }
}

/// The backticks that begin a block of code; a line with more of them is code within prose.
fn mark_of(line: &str) -> Option<String> {
    let rest = line.trim_start_matches('`');
    let ticks = line.len() - rest.len();
    (ticks >= 3 && !rest.contains('`')).then(|| "`".repeat(ticks))
}

fn heading(line: &str) -> Option<&str> {
    let text = line.trim_start_matches('#');
    let level = line.len() - text.len();
    let text = text.strip_prefix(' ')?;
    (1..=6).contains(&level).then(|| text.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &str = "\
# One `page`, of three
Text with `code
in it` and [a link](x.md).

```sh
# no heading
cargo xtask demo
```

1. ```console
   $ spop ping
   ```

## Twice
## Twice
## See [there](x.md): a/b
";

    #[test]
    fn prose_and_code_are_told_apart() {
        let page = Document::parse(PAGE);
        let spans = [(1, "page".to_owned()), (2, "code in it".to_owned())];
        assert_eq!(page.spans, spans);
        let languages = page
            .blocks
            .iter()
            .map(|block| (block.line, &*block.language));
        assert_eq!(languages.collect::<Vec<_>>(), [(5, "sh"), (10, "console")]);
        assert_eq!(page.blocks[0].lines, ["# no heading", "cargo xtask demo"]);
        let (line, prose) = &page.prose[0];
        assert!(*line == 1 && prose.contains("](x.md)") && !prose.contains("code"));
    }

    #[test]
    fn anchors_are_those_of_github() {
        let anchors = Document::parse(PAGE).anchors();
        let expected = ["one-page-of-three", "twice", "twice-1", "see-there-ab"];
        assert_eq!(anchors, expected);
    }
}
