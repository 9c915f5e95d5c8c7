//! Pieces of HTML that every page is made of. No script, nothing loaded from elsewhere.

use super::record::Table;

/// Text as HTML. Control characters other than tab and line ends have no place in HTML: shown as U+FFFD.
pub fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out += "&amp;",
            '<' => out += "&lt;",
            '>' => out += "&gt;",
            '"' => out += "&quot;",
            '\t' | '\n' => out.push(c),
            c if c.is_control() => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    out
}

/// At most so many characters, with a mark where some are missing.
pub fn short(text: &str, most: usize) -> String {
    match text.char_indices().nth(most) {
        None => text.to_string(),
        Some(_) => text.chars().take(most - 1).chain(['…']).collect(),
    }
}

/// A table. Where the page is narrow each row becomes a block, whose cells carry the names of their columns.
pub fn table(table: &Table) -> String {
    let mut out = format!("<table>\n<caption>{}</caption>\n<thead><tr>", escape(&table.title));
    table.columns.iter().for_each(|name| out += &format!("<th scope=\"col\">{}</th>", escape(name)));
    out += "</tr></thead>\n<tbody>\n";
    for row in &table.rows {
        out += "<tr>";
        for (i, (cell, name)) in row.iter().zip(&table.columns).enumerate() {
            out += &match i {
                0 => format!("<th scope=\"row\">{}</th>", escape(cell)),
                _ => format!("<td data-name=\"{}\">{}</td>", escape(name), escape(cell)),
            };
        }
        out += "</tr>\n";
    }
    out + "</tbody></table>\n"
}

/// Something to unfold.
pub fn folded(summary: &str, body: &str) -> String {
    format!("<details><summary>{}</summary>\n{body}</details>\n", escape(summary))
}

/// Sentences: those that warn in red, before the others.
pub fn notes(notes: &[(String, bool)]) -> String {
    let some = |warns: bool, class: &str| {
        let items = notes.iter().filter(|note| note.1 == warns);
        let items: String = items.map(|(text, _)| format!("<li>{}</li>", escape(text))).collect();
        if items.is_empty() { items } else { format!("<ul class=\"{class}\">{items}</ul>\n") }
    };
    some(true, "warn") + &some(false, "quiet")
}

/// A whole page. `refresh`: the browser reads it again every two seconds.
pub fn document(title: &str, refresh: bool, body: &str) -> String {
    let head = if refresh { "<meta http-equiv=\"refresh\" content=\"2\">\n" } else { "" };
    format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n{head}\
         <title>{}</title>\n<style>{}</style>\n</head>\n<body>\n<main>\n{body}</main>\n</body>\n</html>\n",
        escape(title),
        include_str!("style.css")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_cannot_become_markup() {
        assert_eq!(escape("<a b=\"c\">&\u{0}\u{1b}\n"), "&lt;a b=&quot;c&quot;&gt;&amp;\u{fffd}\u{fffd}\n");
        let cell = |text: &str| vec![text.to_string(), "1".into()];
        let html = table(&Table { title: "<t>".into(), columns: cell("<c>"), rows: vec![cell("<r>")] });
        assert!(html.contains("&lt;r&gt;") && !html.contains("<c>") && !html.contains("<t>"));
    }

    #[test]
    fn short_texts_stay_and_long_ones_are_cut_between_characters() {
        assert_eq!((short("äöü", 3), short("äöüß", 3)), ("äöü".into(), "äö…".into()));
    }

    #[test]
    fn warnings_stand_first() {
        let html = notes(&[("quiet one".into(), false), ("loud <one>".into(), true)]);
        assert!(html.starts_with("<ul class=\"warn\"><li>loud &lt;one&gt;") && html.contains("quiet one"));
        assert_eq!(notes(&[]), "");
    }
}
