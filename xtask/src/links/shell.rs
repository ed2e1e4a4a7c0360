//! Commands in lines of shell.

/// The words of each command of a line; what stands behind ` #` is a comment. It knows quotes,
/// and what ends a command; expansions stay as they are.
pub(super) fn commands(line: &str) -> Vec<Vec<String>> {
    let mut commands = vec![Vec::new()];
    let mut word: Option<String> = None;
    let mut quote = None;
    let end_word = |word: &mut Option<String>, commands: &mut Vec<Vec<String>>| {
        if let (Some(word), Some(command)) = (word.take(), commands.last_mut()) {
            command.push(word);
        }
    };
    for c in line.chars() {
        if let Some(mark) = quote {
            if c == mark {
                quote = None;
            } else if let Some(word) = &mut word {
                word.push(c);
            }
            continue;
        }
        match c {
            '\'' | '"' => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            '#' if word.is_none() => break,
            '|' | '&' | ';' | '(' | ')' | '<' | '>' => {
                end_word(&mut word, &mut commands);
                commands.push(Vec::new());
            }
            c if c.is_whitespace() => end_word(&mut word, &mut commands),
            c => word.get_or_insert_default().push(c),
        }
    }
    end_word(&mut word, &mut commands);
    commands.retain(|command| !command.is_empty());
    commands
}

/// Lines, put together where one ends with a backslash, with the place of the first.
pub(super) fn whole_lines(lines: &[String]) -> Vec<(usize, String)> {
    let mut whole: Vec<(usize, String)> = Vec::new();
    let mut goes_on = false;
    for (place, line) in lines.iter().enumerate() {
        let (text, is_open) = match line.strip_suffix('\\') {
            Some(text) => (text, true),
            None => (line.as_str(), false),
        };
        match whole.last_mut() {
            Some((_, last)) if goes_on => last.push_str(text),
            _ => whole.push((place, text.to_owned())),
        }
        goes_on = is_open;
    }
    whole
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_has_several_commands() {
        let line = "A=1 spop ping x && cd 'a; b' | sh -c \"x | y\" > file & # spop gone";
        let expected: [&[&str]; 4] = [
            &["A=1", "spop", "ping", "x"],
            &["cd", "a; b"],
            &["sh", "-c", "x | y"],
            &["file"],
        ];
        assert_eq!(commands(line), expected);
        assert_eq!(commands("# nothing"), Vec::<Vec<String>>::new());
    }

    #[test]
    fn lines_go_on_behind_a_backslash() {
        let lines = ["a \\", "  b", "c"].map(str::to_owned);
        let expected = [(0, "a   b".to_owned()), (2, "c".to_owned())];
        assert_eq!(whole_lines(&lines), expected);
    }
}
