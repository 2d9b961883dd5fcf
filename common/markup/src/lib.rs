//! HTML and SVG in the making.
//!
//! Our own, and not a crate of templates: text has to lose its invisible characters (`visible`) as well as its angle
//! brackets, and a template would leave the first of the two to each place that uses one. And these pages are XML too, so
//! that a small parser tests all of them; the crates write void elements in HTML's way alone.
//!
//! Invariant: every text and every value of an attribute is escaped here, and every element that is begun is ended. What
//! is written as it is has the type [`Trusted`], and is a file of the crate that calls, or base64.

pub mod visible;

use std::fmt::Write;

use crate::visible::visible;

/// An attribute's name and its value.
pub type Attribute<'a> = (&'static str, &'a str);

/// A part of a document.
#[derive(Debug, Default)]
pub struct Markup {
    out: String,
}

/// Text that may stand in a document as it is.
#[derive(Debug, Clone)]
pub struct Trusted(String);

impl Trusted {
    /// The text of a script or of a style sheet that belongs to the calling crate.
    ///
    /// # Panics
    /// If it would end the element that it stands in. A test calls this with all of them.
    pub fn embedded(text: String) -> Self {
        let lower = text.to_lowercase();
        let ends = ["</script", "</style", "<!--", "]]>"].into_iter().find(|end| lower.contains(end));
        assert!(ends.is_none(), "an embedded file contains {ends:?}, which would end its element");
        Self(text)
    }

    /// Bytes in base64, which has letters, digits, `+`, `/` and `=`.
    pub fn base64(bytes: &[u8]) -> Self {
        use base64::Engine as _;
        Self(base64::engine::general_purpose::STANDARD.encode(bytes))
    }

    /// A picture that the crate `figures` drew, which escapes what stands in it. Characters that cannot be seen are shown
    /// here, as in all text.
    pub fn drawn(svg: &str) -> Self {
        Self(visible(svg).into_owned())
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Markup {
    /// An element, and what `inside` writes into it.
    pub fn element(&mut self, name: &'static str, attributes: &[Attribute<'_>], inside: impl FnOnce(&mut Self)) {
        self.begin(name, attributes);
        self.out.push('>');
        inside(self);
        let _ = write!(self.out, "</{name}>");
    }

    /// An element that has only text.
    pub fn leaf(&mut self, name: &'static str, attributes: &[Attribute<'_>], text: &str) {
        self.element(name, attributes, |it| it.text(text));
    }

    /// An element that has nothing inside: one of HTML's void elements, or one of SVG.
    pub fn empty(&mut self, name: &'static str, attributes: &[Attribute<'_>]) {
        self.begin(name, attributes);
        self.out.push_str("/>");
    }

    /// Text.
    pub fn text(&mut self, text: &str) {
        for character in visible(text).chars() {
            match character {
                '&' => self.out.push_str("&amp;"),
                '<' => self.out.push_str("&lt;"),
                '>' => self.out.push_str("&gt;"),
                '"' => self.out.push_str("&quot;"),
                '\'' => self.out.push_str("&#39;"),
                other => self.out.push(other),
            }
        }
    }

    /// Text that is written as it is.
    pub fn trusted(&mut self, text: &Trusted) {
        self.out.push_str(&text.0);
    }

    /// A part that was written apart.
    pub fn append(&mut self, part: &Self) {
        self.out.push_str(&part.out);
    }

    /// A new line, for whoever reads the source.
    pub fn line(&mut self) {
        self.out.push('\n');
    }

    /// What was written.
    pub fn finish(self) -> String {
        self.out
    }

    fn begin(&mut self, name: &'static str, attributes: &[Attribute<'_>]) {
        let _ = write!(self.out, "<{name}");
        for (attribute, value) in attributes {
            let _ = write!(self.out, " {attribute}=\"");
            self.text(value);
            self.out.push('"');
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_and_attributes_are_escaped() {
        let mut it = Markup::default();
        it.element("p", &[("title", "\"><script>")], |it| it.text("</p><!-- & \u{202e}'"));
        it.empty("meta", &[("content", "'none'")]);
        assert_eq!(
            it.finish(),
            "<p title=\"&quot;&gt;&lt;script&gt;\">&lt;/p&gt;&lt;!-- &amp; [U+202E]&#39;</p>\
             <meta content=\"&#39;none&#39;\"/>"
        );
    }

    #[test]
    #[should_panic(expected = "would end its element")]
    fn a_script_that_would_end_its_element_is_refused() {
        Trusted::embedded("const end = '</Script>';".into());
    }
}
