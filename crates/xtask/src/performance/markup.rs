//! The page's text as HTML: the little of Markdown that it uses.

use std::fmt::Write as _;

/// Text as HTML.
pub(super) fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            other => out.push(other),
        }
    }
    out
}

/// Paragraphs, lists, tables, code and headings of the third level. A line `{{name}}` is what `part` makes of the name.
pub(super) fn blocks(text: &str, part: &dyn Fn(&str) -> String) -> String {
    let mut out = String::new();
    let mut lines = text.lines().peekable();
    while let Some(line) = lines.next() {
        if line.trim().is_empty() {
            continue;
        }
        if let Some(name) = mark(line) {
            out.push_str(&part(name));
        } else if line.starts_with("```") {
            let code: Vec<&str> = lines.by_ref().take_while(|line| !line.starts_with("```")).collect();
            let _ = write!(out, "<pre>{}</pre>", escaped(&code.join("\n")));
        } else if let Some(title) = line.strip_prefix("### ") {
            let _ = write!(out, "<h3>{}</h3>", inline(title));
        } else {
            let kind = Kind::of(line);
            let mut block = vec![line];
            while let Some(next) = lines.next_if(|next| kind.has(next)) {
                block.push(next);
            }
            match kind {
                Kind::Table => out.push_str(&table(&block)),
                Kind::List => out.push_str(&list(&block)),
                Kind::Paragraph => {
                    let _ = write!(out, "<p>{}</p>", inline(&block.join(" ")));
                }
            }
        }
    }
    out
}

/// The name on a line that stands for a part.
pub(super) fn mark(line: &str) -> Option<&str> {
    line.trim().strip_prefix("{{")?.strip_suffix("}}")
}

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Table,
    List,
    Paragraph,
}

impl Kind {
    fn of(line: &str) -> Self {
        if line.starts_with('|') {
            Self::Table
        } else if line.starts_with("* ") {
            Self::List
        } else {
            Self::Paragraph
        }
    }

    /// Whether a block of this kind goes on with this line.
    fn has(self, line: &str) -> bool {
        let other = line.trim().is_empty() || line.starts_with("```") || line.starts_with('#') || mark(line).is_some();
        let goes_on = self == Self::List && line.starts_with("  ");
        !other && (goes_on || Self::of(line) == self)
    }
}

fn list(lines: &[&str]) -> String {
    let mut items: Vec<String> = Vec::new();
    for line in lines {
        match (line.strip_prefix("* "), items.last_mut()) {
            (Some(item), _) => items.push(item.to_owned()),
            (None, Some(item)) => *item = format!("{item} {}", line.trim()),
            (None, None) => {}
        }
    }
    let items: String = items.iter().map(|item| format!("<li>{}</li>", inline(item))).collect();
    format!("<ul>{items}</ul>")
}

fn table(lines: &[&str]) -> String {
    let cells = |line: &str| -> Vec<String> {
        line.trim().trim_matches('|').split('|').map(|cell| cell.trim().to_owned()).collect()
    };
    let head = lines.first().map(|line| cells(line)).unwrap_or_default();
    // The second line only tells the first from the others.
    let rows: Vec<Vec<String>> = lines.iter().skip(2).map(|line| cells(line)).collect();
    let is_number = |cell: &str| cell.trim_start_matches('*').starts_with(|c: char| c.is_ascii_digit() || c == '–');
    let class = |column: usize| {
        let all = rows.iter().filter_map(|row| row.get(column)).all(|cell| is_number(cell));
        if all && !rows.is_empty() { " class='n'" } else { "" }
    };
    let line = |tag: &str, row: &[String]| -> String {
        let cells = row.iter().enumerate().map(|(column, cell)| {
            let class = class(column);
            format!("<{tag}{class}>{}</{tag}>", inline(cell))
        });
        format!("<tr>{}</tr>", cells.collect::<String>())
    };
    let body: String = rows.iter().map(|row| line("td", row)).collect();
    format!("<div class='wide'><table><thead>{}</thead><tbody>{body}</tbody></table></div>", line("th", &head))
}

/// `code`, **strong** and *emphasised* text; everything else is escaped.
pub(super) fn inline(text: &str) -> String {
    const MARKS: [(&str, &str); 3] = [("`", "code"), ("**", "strong"), ("*", "em")];
    let mut out = String::new();
    let mut rest = text;
    'text: while let Some(letter) = rest.chars().next() {
        for (mark, tag) in MARKS {
            let Some(after) = rest.strip_prefix(mark) else { continue };
            let Some((inner, after)) = after.split_once(mark) else { continue };
            if inner.is_empty() || inner.starts_with(' ') {
                continue;
            }
            let inner = if tag == "code" { escaped(inner) } else { inline(inner) };
            let _ = write!(out, "<{tag}>{inner}</{tag}>");
            rest = after;
            continue 'text;
        }
        let (one, after) = rest.split_at(letter.len_utf8());
        out.push_str(&escaped(one));
        rest = after;
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_text_uses_becomes_html() {
        let text = "A *b*\nc `d <e>`.\n\n* one\n  more\n* **two**\n{{p}}\n### T\n```console\n$ a | b *c*\n```\n";
        assert_eq!(
            blocks(text, &|name| format!("[{name}]")),
            "<p>A <em>b</em> c <code>d &lt;e&gt;</code>.</p><ul><li>one more</li><li><strong>two</strong></li></ul>[p]\
             <h3>T</h3><pre>$ a | b *c*</pre>"
        );
    }

    #[test]
    fn columns_of_numbers_stand_at_the_right() {
        let text = "| a | b |\n|---|---|\n| x | 1 (0–2) |\n| y | – |\n";
        let html = blocks(text, &|_| String::new());
        assert!(html.contains("<th>a</th><th class='n'>b</th>"), "{html}");
        assert!(html.contains("<td>y</td><td class='n'>–</td>"), "{html}");
    }

    #[test]
    fn marks_without_an_end_are_text_and_everything_is_escaped() {
        assert_eq!(inline("2 * 3 <script> `a"), "2 * 3 &lt;script&gt; `a");
        assert_eq!(inline("*<i>*"), "<em>&lt;i&gt;</em>");
    }
}
