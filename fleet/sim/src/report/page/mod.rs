//! `report.html`: one page, everything in it.

pub(super) mod compare;
pub(super) mod run;

use super::escape::escape;
use super::picture::svg::style;

/// A cell of a table.
pub(super) struct Cell {
    /// What is shown: markup, escaped by who made it.
    shown: String,
    /// By what it is sorted; `None` for text, which is sorted as it is shown, and for nothing, which stands last.
    value: Option<f64>,
    /// Text stands at the left, figures at the right.
    text: bool,
}

impl Cell {
    fn text(text: &str) -> Self {
        Cell { shown: escape(text), value: None, text: true }
    }

    fn figure(value: Option<f64>, show: impl Fn(f64) -> String) -> Self {
        Cell {
            shown: super::figures::or_dash(value, |value| escape(&show(value))),
            value,
            text: false,
        }
    }
}

/// A table that a reader may sort; of `chosen` lines one is marked.
pub(super) fn table(
    name: &str,
    heads: &[(&str, bool)],
    lines: &[Vec<Cell>],
    chosen: Option<usize>,
) -> String {
    let head = |(text, of_text): &(&str, bool)| {
        let class = if *of_text { " class=\"text\"" } else { "" };
        format!("<th scope=\"col\"{class}><button type=\"button\">{}</button></th>", escape(text))
    };
    let heads: String = heads.iter().map(head).collect();
    let mut body = String::new();
    for (at, line) in lines.iter().enumerate() {
        body.push_str(if chosen == Some(at) { "<tr class=\"chosen\">" } else { "<tr>" });
        for (column, cell) in line.iter().enumerate() {
            let class = if cell.text { " class=\"text\"" } else { "" };
            let value =
                cell.value.map_or_else(String::new, |value| format!(" data-value=\"{value}\""));
            let (open, close) = if column == 0 { ("th scope=\"row\"", "th") } else { ("td", "td") };
            body.push_str(&format!("<{open}{class}{value}>{}</{close}>", cell.shown));
        }
        body.push_str("</tr>\n");
    }
    let name = escape(name);
    format!(
        "<div class=\"wide\" tabindex=\"0\" role=\"region\" aria-label=\"{name}\"><table class=\"sorted\">\n\
         <thead><tr>{heads}</tr></thead>\n<tbody>\n{body}</tbody></table></div>\n"
    )
}

/// A picture in a section of its own.
pub(super) fn picture(picture: &super::Picture) -> String {
    let name = escape(&picture.title);
    format!(
        "<section><div class=\"wide\" tabindex=\"0\" role=\"region\" aria-label=\"{name}\">{}</div></section>\n",
        super::picture::svg::inline(picture)
    )
}

/// Names and what they are; both are text.
pub(super) fn facts(facts: &[(&str, String)]) -> String {
    let fact = |(name, value): &(&str, String)| {
        format!("<div><dt>{}</dt><dd>{}</dd></div>", escape(name), escape(value))
    };
    format!("<dl>{}</dl>\n", facts.iter().map(fact).collect::<String>())
}

/// A few figures to read first: name, figure, what it means.
pub(super) fn tiles(tiles: &[(&str, String, String)]) -> String {
    let tile = |(name, figure, note): &(&str, String, String)| {
        let (name, figure, note) = (escape(name), escape(figure), escape(note));
        format!("<div class=\"tile\"><h2>{name}</h2><b>{figure}</b><span>{note}</span></div>")
    };
    let tiles: String = tiles.iter().map(tile).collect();
    format!("<section class=\"tiles\" aria-label=\"at a glance\">{tiles}</section>\n")
}

/// The whole page.
pub(super) fn document(title: &str, subtitle: &str, main: &str) -> String {
    let (title, subtitle, style) = (escape(title), escape(subtitle), style());
    let (sheet, script) = (include_str!("style.css"), include_str!("sort.js"));
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'; \
         script-src 'unsafe-inline'; img-src data:\">\n\
         <title>{title} – Shoal</title>\n<link rel=\"icon\" href=\"data:,\">\n<style>\n{sheet}{style}</style>\n</head>\n<body>\n\
         <header><h1>{title}</h1><p>{subtitle}</p></header>\n<main>\n{main}</main>\n<script>\n{script}</script>\n</body>\n</html>\n"
    )
}
