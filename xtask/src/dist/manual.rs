//! The plugin's manual page, out of the page about it in `docs`: what it says is written once.

use std::{fs, path::Path};

use anyhow::{Context as _, Result};
use pulldown_cmark::{Event, HeadingLevel, Options, Parser, Tag, TagEnd};
use roff::{Inline, Roff, bold, roman};

/// The page that it is made of.
const SOURCE: &str = "docs/cni.md";

/// `macvlan-cni.8`.
///
/// # Errors
/// The page in `docs` cannot be read.
pub fn of_plugin(root: &Path) -> Result<String> {
    let markdown =
        fs::read_to_string(root.join(SOURCE)).with_context(|| format!("cannot read '{SOURCE}'"))?;
    Ok(page("macvlan-cni", "CNI plugin whose containers can talk with their host", &markdown))
}

/// A manual page of section 8. Chapters become sections; a row of a table becomes a term and what is said of it.
fn page(name: &str, summary: &str, markdown: &str) -> String {
    let mut roff = Roff::new();
    let (title, version) = (name.to_uppercase(), env!("CARGO_PKG_VERSION"));
    // No date: pages of the same version are the same whenever they were made.
    let head = format!(".TH {title} 8 \"\" \"macvlan-ctl {version}\" \"System administration\"\n");
    section(&mut roff, "NAME");
    roff.text([roman(format!("{name} - {summary}"))]);
    section(&mut roff, "DESCRIPTION");
    let mut writer = Writer { roff, ..Writer::default() };
    for event in Parser::new_ext(markdown, Options::ENABLE_TABLES) {
        writer.take(event);
    }
    let mut roff = writer.roff;
    section(&mut roff, "SEE ALSO");
    roff.text([roman("macvlan-ctl(8), macvlan-ctl-install-cni(8), macvlan-ctl-config(5)")]);
    head + &roff.render()
}

fn section(roff: &mut Roff, title: &str) {
    roff.control("SH", [title]);
}

/// What is being read.
#[derive(Default)]
struct Writer {
    roff: Roff,
    /// Of a paragraph, a heading, a point or a cell.
    text: Vec<Inline>,
    /// Of a row of a table.
    cells: Vec<Vec<Inline>>,
    in_code: bool,
    in_list: bool,
}

impl Writer {
    fn take(&mut self, event: Event<'_>) {
        match event {
            Event::Text(text) if self.in_code => {
                for line in text.lines() {
                    self.roff.text([roman(line)]);
                }
            }
            Event::Text(text) => self.text.push(roman(text.into_string())),
            Event::Code(text) => self.text.push(bold(text.into_string())),
            Event::SoftBreak | Event::HardBreak => self.text.push(roman(" ")),
            Event::Start(tag) => self.start(&tag),
            Event::End(tag) => self.end(tag),
            _ => {}
        }
    }

    fn start(&mut self, tag: &Tag<'_>) {
        match tag {
            Tag::CodeBlock(_) => {
                self.in_code = true;
                self.roff.control("PP", []);
                self.roff.control("RS", ["4"]);
                self.roff.control("nf", []);
            }
            Tag::Item => self.in_list = true,
            _ => {}
        }
    }

    fn end(&mut self, tag: TagEnd) {
        match tag {
            TagEnd::CodeBlock => {
                self.in_code = false;
                self.roff.control("fi", []);
                self.roff.control("RE", []);
            }
            // The title is the page's name.
            TagEnd::Heading(HeadingLevel::H1) => self.text.clear(),
            TagEnd::Heading(_) => {
                let title = self.text.drain(..).map(|part| plain(&part).to_uppercase()).collect::<String>();
                section(&mut self.roff, &title);
            }
            TagEnd::Paragraph if !self.in_list => {
                self.roff.control("PP", []);
                self.flush();
            }
            TagEnd::Item => {
                self.roff.control("IP", ["*", "2"]);
                self.flush();
                self.in_list = false;
            }
            TagEnd::TableCell => self.cells.push(self.text.drain(..).collect()),
            // The names of the columns say nothing in a list of terms.
            TagEnd::TableHead => self.cells.clear(),
            TagEnd::TableRow => {
                self.roff.control("TP", []);
                let mut cells = self.cells.drain(..);
                self.roff.text(cells.next().unwrap_or_default());
                self.roff.text(cells.collect::<Vec<_>>().join(&roman(": ")));
            }
            _ => {}
        }
    }

    fn flush(&mut self) {
        self.roff.text(self.text.drain(..).collect::<Vec<_>>());
    }
}

/// Its text without its face.
fn plain(part: &Inline) -> &str {
    match part {
        Inline::Roman(text) | Inline::Italic(text) | Inline::Bold(text) => text,
        Inline::LineBreak => " ",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workspace;

    #[test]
    fn chapters_tables_points_and_code_become_what_man_shows() {
        let text = "# Title\n\nOne `word` and\n[a link](x).\n\n## Keys\n\n| key | values | what |\n| --- | --- | --- |\n\
                    | `mtu` | a number | its size |\n\n* a point\n\n```json\n{ \"a\": 1 }\n```\n";
        let page = page("thing", "does", text);
        let expected = ".SH NAME\nthing \\- does\n.SH DESCRIPTION\n.PP\nOne \\fBword\\fR and a link.\n.SH KEYS\n\
                        .TP\n\\fBmtu\\fR\na number: its size\n.IP * 2\na point\n.PP\n.RS 4\n.nf\n{ \"a\": 1 }\n.fi\n.RE\n";
        assert!(page.contains(expected), "{page}");
        assert!(page.starts_with(".TH THING 8 "), "{page}");
    }

    #[test]
    fn the_plugins_page_has_every_key_of_ours() {
        let root = workspace::root();
        let page = of_plugin(&root).unwrap();
        for key in ["hostAccess", "group", "antiSpoof", "rate", "xdp", "onMissingBpf", "duplicateWait"] {
            assert!(page.contains(&format!(".TP\n\\fB{key}\\fR\n")), "{key}");
        }
        for section in ["INSTALLING", "KEYS", "ERRORS", "SEE ALSO"] {
            assert!(
                page.contains(&format!(".SH {section}\n")) || page.contains(&format!(".SH \"{section}\"\n")),
                "{section}"
            );
        }
    }
}
