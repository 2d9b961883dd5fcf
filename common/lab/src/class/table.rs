//! The class as a table of comma-separated values, for spreadsheets and for the import of Moodle and Canvas.
//!
//! Invariant: no text of a student can become a formula, a second cell or a second row.

/// One row: a student.
#[derive(Debug, Clone)]
pub struct Row {
    /// The folder's name.
    pub folder: String,
    /// Who it is.
    pub student: String,
    /// Points for each exercise, in the order of the head; `None` where they are withheld.
    pub points: Vec<Option<f64>>,
    /// What the teacher has to know.
    pub notes: Vec<String>,
}

/// The table, with a head; rows in the order given, lines end as RFC 4180 has it.
pub fn csv(exercises: &[String], rows: &[Row]) -> String {
    let mut out = String::new();
    let head = ["student", "folder"].into_iter().chain(exercises.iter().map(String::as_str)).chain(["total", "notes"]);
    line(&mut out, head.map(str::to_owned));
    for row in rows {
        let total: f64 = row.points.iter().flatten().sum();
        let points = row.points.iter().map(|it| it.map_or_else(String::new, number));
        let texts = [row.student.clone(), row.folder.clone()].into_iter().map(|it| text(&it));
        line(&mut out, texts.chain(points).chain([number(total), text(&row.notes.join("; "))]));
    }
    out
}

fn line(out: &mut String, cells: impl Iterator<Item = String>) {
    *out += &cells.map(|cell| quoted(&cell)).collect::<Vec<_>>().join(",");
    *out += "\r\n";
}

fn number(points: f64) -> String {
    format!("{}", (points * 100.0).round() / 100.0)
}

/// A text that a spreadsheet takes for text. It takes what begins with one of these signs for a formula, also behind
/// white space; an apostrophe before it is not shown.
fn text(cell: &str) -> String {
    let clean: String = cell.chars().map(|it| if it.is_control() { ' ' } else { it }).collect();
    match clean.trim_start().starts_with(['=', '+', '-', '@']) {
        true => format!("'{clean}"),
        false => clean,
    }
}

fn quoted(cell: &str) -> String {
    if cell.contains([',', '"', '\n', '\r', ';']) {
        format!("\"{}\"", cell.replace('"', "\"\""))
    } else {
        cell.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_text_and_points_are_numbers() {
        let row = |student: &str, points: [Option<f64>; 2], notes: &[&str]| Row {
            folder: format!("lab-{student}"),
            student: student.to_owned(),
            points: points.to_vec(),
            notes: notes.iter().map(|it| (*it).to_owned()).collect(),
        };
        let rows = [
            row("ada", [Some(2.0), Some(0.125)], &[]),
            row("=HYPERLINK(\"x\")", [None, Some(1.0)], &["a, b", "c\nd"]),
            row("\t-1+2", [Some(0.0), Some(0.0)], &[]),
        ];
        assert_eq!(
            csv(&["08_nfds".into(), "19_accept_queue".into()], &rows),
            "student,folder,08_nfds,19_accept_queue,total,notes\r\n\
             ada,lab-ada,2,0.13,2.13,\r\n\
             \"'=HYPERLINK(\"\"x\"\")\",\"lab-=HYPERLINK(\"\"x\"\")\",,1,1,\"a, b; c d\"\r\n\
             ' -1+2,lab- -1+2,0,0,0,\r\n"
        );
    }
}
