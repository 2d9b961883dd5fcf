//! Sentences of the page, bound to what shows them.
//!
//! In a text, `` `code` `` is code, and `{wait/wait: poll at 10000}` is a figure of the reference measurement, which leads to its
//! experiment. `{... relative to epoll LT}` is a ratio; with `, over 100` or `, under 2` behind it, a figure outside that is an
//! error, so that words such as "hundreds of times" cannot become wrong unnoticed. `[text](kind:target)` is a link:
//!
//! | kind | leads to | is an error if |
//! |---|---|---|
//! | `holds:wait` | an experiment | its claim does not hold on the reference machine |
//! | `holds-if:herd` | an experiment | its claim does not hold under a condition |
//! | `check:drain/name` | the check's source | there is no such check |
//! | `exercise:24` | the exercise's story | there is no such exercise |
//! | `says:FILE "words"` | the file, and in Rust the line | the words do not stand in it |
//! | `term:drain` | the glossary | it has no such entry |
//! | `part:edge` | a part of this page | (the page's test of its links finds it) |
//!
//! Invariant: what a text names is there, or the page is not made (in a handout, which lacks files on purpose, it has no link). Outside of code, figures and links a text has no digit, so
//! no number is said that nothing shows.

use ::markup::Markup;
use figures::{Record, Verdict, number};

use super::Inputs;

/// A piece of a text.
#[derive(Debug, PartialEq, Eq)]
enum Piece {
    Text(String),
    Code(String),
    Link { href: String, text: String },
}

/// A text that was resolved.
#[derive(Debug)]
pub(super) struct Prose {
    pieces: Vec<Piece>,
    /// How many figures and links to evidence it has. A term and a part are none.
    pub bound: usize,
}

impl Prose {
    /// Resolves a text.
    pub fn of(inputs: &Inputs, text: &str) -> Result<Self, String> {
        let wrong = |what: &str| format!("{what} in the text '{text}'");
        let mut prose = Self { pieces: Vec::new(), bound: 0 };
        let mut rest = text;
        while let Some(at) = rest.find(['`', '{', '[']) {
            prose.words(&rest[..at], text)?;
            let (sign, behind) = (&rest[at..=at], &rest[at + 1..]);
            let end = match sign {
                "`" => "`",
                "{" => "}",
                // Words in quotation marks may have parentheses.
                _ if behind.find('"') < behind.find(')') && behind.contains('"') => "\")",
                _ => ")",
            };
            let (inside, behind) = behind.split_once(end).ok_or_else(|| wrong("something is not closed"))?;
            rest = behind;
            let piece = match sign {
                "`" => Piece::Code(inside.to_owned()),
                "{" => {
                    prose.bound += 1;
                    figure(&inputs.reference, inside).map_err(|what| wrong(&what))?
                }
                _ => {
                    let (shown, target) = inside.split_once("](").ok_or_else(|| wrong("a link without a target"))?;
                    let (kind, target) = target.split_once(':').ok_or_else(|| wrong("a target without a kind"))?;
                    prose.bound += usize::from(!matches!(kind, "term" | "part"));
                    match href(inputs, kind, target) {
                        Ok(href) => Piece::Link { href, text: shown.to_owned() },
                        Err(_) if in_files(kind) && inputs.workspace.is_handout() => Piece::Text(shown.to_owned()),
                        Err(what) => return Err(wrong(&what)),
                    }
                }
            };
            prose.pieces.push(piece);
        }
        prose.words(rest, text)?;
        Ok(prose)
    }

    /// Plain words. A digit in them would be a number that nothing shows; names such as C10K have a letter before it.
    fn words(&mut self, words: &str, text: &str) -> Result<(), String> {
        let number =
            words.split(|it: char| !it.is_alphanumeric()).find(|it| it.starts_with(|it: char| it.is_ascii_digit()));
        if let Some(number) = number {
            return Err(format!("nothing shows the number {number} in the text '{text}'"));
        }
        self.pieces.push(Piece::Text(words.to_owned()));
        Ok(())
    }

    /// Writes it.
    pub fn write(&self, page: &mut Markup) {
        for piece in &self.pieces {
            match piece {
                Piece::Text(text) => page.text(text),
                Piece::Code(code) => write_code(page, code),
                Piece::Link { href, text } => {
                    page.element("a", &[("href", href)], |it| match text.strip_prefix('\'') {
                        Some(code) => it.leaf("code", &[], code.trim_end_matches('\'')),
                        None => it.text(text),
                    })
                }
            }
        }
    }
}

/// A command has a look of its own, so that it is seen that it can be tried.
pub(super) fn write_code(page: &mut Markup, code: &str) {
    let is_command = ["cargo ", "strace ", "diff "].iter().any(|it| code.starts_with(it));
    page.leaf("code", if is_command { &[("class", "command")] } else { &[] }, code);
}

/// The command that shows it.
pub(super) fn see(page: &mut Markup, command: &str) {
    page.element("p", &[("class", "show-it")], |it| {
        it.text("See it: ");
        write_code(it, command);
    });
    page.line();
}

/// A paragraph.
pub(super) fn paragraph(page: &mut Markup, inputs: &Inputs, text: &str) -> Result<(), String> {
    let prose = Prose::of(inputs, text)?;
    page.element("p", &[], |it| prose.write(it));
    page.line();
    Ok(())
}

/// A statement of facts: a paragraph in which something is bound.
pub(super) fn claim(page: &mut Markup, inputs: &Inputs, text: &str) -> Result<(), String> {
    match Prose::of(inputs, text)?.bound {
        0 => Err(format!("nothing shows what is said in '{text}'")),
        _ => paragraph(page, inputs, text),
    }
}

/// `EXPERIMENT/CHART: SERIES at PLACE[ relative to SERIES[ at PLACE]][, over N][, under N]`.
fn figure(record: &Record, words: &str) -> Result<Piece, String> {
    // Names of series have commas too.
    let end = [", over ", ", under "].iter().filter_map(|bound| words.find(bound)).min().unwrap_or(words.len());
    let (place, bounds) = words.split_at(end);
    let (path, rest) = place.split_once(": ").ok_or_else(|| format!("'{words}' is no figure"))?;
    let (experiment, chart_name) = path.split_once('/').ok_or_else(|| format!("'{path}' is not EXPERIMENT/CHART"))?;
    let (rest, baseline) = match rest.split_once(" relative to ") {
        Some((rest, baseline)) => (rest, Some(baseline)),
        None => (rest, None),
    };
    let (series, at) = rest.rsplit_once(" at ").ok_or_else(|| format!("'{words}' says not at which place"))?;
    let measured = record.experiment(experiment).ok_or_else(|| format!("no experiment '{experiment}'"))?;
    let chart = measured.chart(chart_name).ok_or_else(|| format!("'{experiment}' has no chart '{chart_name}'"))?;
    let value = |series: &str, at: &str| -> Result<f64, String> {
        let found = chart.series(series).ok_or_else(|| format!("the chart '{path}' has no series '{series}'"))?;
        let point = found.points.iter().find(|point| chart.at(point.x) == at || at.parse() == Ok(point.x));
        Ok(point.ok_or_else(|| format!("the series '{series}' of '{path}' has nothing at {at}"))?.median)
    };
    let baseline = match baseline.map(|it| it.rsplit_once(" at ").unwrap_or((it, at))) {
        Some((series, at)) => value(series, at)?,
        None => 1.0,
    };
    let value = value(series, at)? / baseline;
    for bound in bounds.split(", ").filter(|bound| !bound.is_empty()) {
        let holds = match bound.split_once(' ').map(|(kind, limit)| (kind, limit.parse::<f64>())) {
            Some(("over", Ok(limit))) => value > limit,
            Some(("under", Ok(limit))) => value < limit,
            _ => return Err(format!("'{bound}' is no bound")),
        };
        if !holds {
            return Err(format!("{place} is {} now, and not {bound}: the words around it are wrong", number(value)));
        }
    }
    Ok(Piece::Link { href: format!("#costs-{experiment}"), text: number(value) })
}

/// Whether a link of this kind leads to a file.
fn in_files(kind: &str) -> bool {
    matches!(kind, "says" | "check" | "exercise")
}

fn href(inputs: &Inputs, kind: &str, target: &str) -> Result<String, String> {
    match kind {
        "holds" | "holds-if" => {
            let measured = inputs.reference.experiment(target).ok_or_else(|| format!("no experiment '{target}'"))?;
            let verdict = &measured.outcome.verdict;
            match (kind, verdict) {
                ("holds", Verdict::Holds) | ("holds-if", Verdict::HoldsIf(_)) => Ok(format!("#costs-{target}")),
                _ => Err(format!("the claim of '{target}' {}", verdict.in_words())),
            }
        }
        "check" => {
            let (group, name) = target.split_once('/').ok_or_else(|| format!("'{target}' is not GROUP/CHECK"))?;
            says(inputs, &format!("common/harness/src/checks/{group}.rs"), &format!("fn {name}("))
        }
        "exercise" => {
            let folders = inputs.workspace.names("exercises")?;
            let found = folders.iter().find(|name| name.starts_with(&format!("{target}_")));
            let folder = found.ok_or_else(|| format!("there is no exercise {target}"))?;
            inputs.workspace.link(&format!("exercises/{folder}/README.md"))
        }
        "says" => {
            let (path, words) = target.split_once(' ').ok_or_else(|| format!("'{target}' is not FILE \"words\""))?;
            says(inputs, path, words.trim_matches('"'))
        }
        "term" => match super::glossary::anchors(inputs)?.iter().any(|anchor| anchor == target) {
            true => Ok(format!("#glossary-{target}")),
            false => Err(format!("the glossary has no entry '{target}'")),
        },
        "part" => Ok(format!("#{target}")),
        _ => Err(format!("'{kind}' is no kind of link")),
    }
}

/// A link to the line with these words.
fn says(inputs: &Inputs, path: &str, words: &str) -> Result<String, String> {
    let text = inputs.workspace.text(path)?;
    let at = text.find(words).ok_or_else(|| format!("{path} does not say '{words}'"))?;
    let line = text[..at].matches('\n').count() + 1;
    match path.ends_with(".rs") {
        true => inputs.workspace.link(&format!("{path}#L{line}")),
        false => inputs.workspace.link(path),
    }
}
