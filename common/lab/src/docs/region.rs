//! The generated parts of a Markdown file.
//!
//! Invariant: a file keeps all its text but what stands between the two marks of a region.

/// The text between a region's marks.
pub fn content<'a>(text: &'a str, name: &str) -> Result<&'a str, String> {
    let (begin, end) = marks(name);
    let missing = || format!("it has no place for '{name}'; put these two lines where it belongs:\n  {begin}\n  {end}");
    let (_, rest) = text.split_once(&begin).ok_or_else(missing)?;
    let (content, _) = rest.split_once(&end).ok_or_else(missing)?;
    Ok(content.trim_matches('\n'))
}

/// The file with this content between the region's marks.
pub fn replaced(text: &str, name: &str, content: &str) -> Result<String, String> {
    self::content(text, name)?;
    let (begin, end) = marks(name);
    let (before, rest) = text.split_once(&begin).unwrap_or_default();
    let (_, after) = rest.split_once(&end).unwrap_or_default();
    Ok(format!("{before}{begin}\n{}\n{end}{after}", content.trim_matches('\n')))
}

fn marks(name: &str) -> (String, String) {
    (format!("<!-- generated: {name} -->"), format!("<!-- end: {name} -->"))
}

/// A row of a Markdown table as its cells.
pub fn cells(row: &str) -> Vec<&str> {
    row.trim().trim_matches('|').split('|').map(str::trim).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_region_is_replaced_and_nothing_else() {
        let text = "before\n<!-- generated: a -->\nold\n<!-- end: a -->\nafter\n";
        assert_eq!(content(text, "a"), Ok("old"));
        let new = replaced(text, "a", "| new |\n").unwrap();
        assert_eq!(new, "before\n<!-- generated: a -->\n| new |\n<!-- end: a -->\nafter\n");
        assert_eq!(replaced(&new, "a", "| new |").unwrap(), new);
        assert!(replaced(text, "b", "").unwrap_err().contains("<!-- generated: b -->"));
    }
}
