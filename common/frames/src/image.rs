//! One mapped ELF file: what unwinding needs of it, and its line numbers.
//!
//! Invariant: a file that is damaged, or no ELF file, is left out. Nothing here is kept longer than the locator.

use std::fs;
use std::ops::Range;
use std::rc::Rc;

use addr2line::Context;
use framehop::{ExplicitModuleSectionInfo, Module};
use gimli::{Dwarf, EndianRcSlice, RunTimeEndian, SectionId};
use object::{Object, ObjectSection, ObjectSegment};

use crate::maps::Mapping;

type Reader = EndianRcSlice<RunTimeEndian>;

/// A function in which an address lies, as the debug information names it.
pub struct Function {
    pub name: String,
    pub file: String,
    pub line: u32,
}

pub struct Image {
    pub range: Range<u64>,
    /// Added to an address of the file, it is an address of the process.
    bias: u64,
    lines: Option<Context<Reader>>,
}

/// Reads a mapped file.
pub fn load(mapping: &Mapping) -> Option<(Image, Module<Rc<[u8]>>)> {
    let bytes = fs::read(&mapping.path).ok()?;
    let file = object::File::parse(&*bytes).ok()?;
    let bias = bias(&file, mapping)?;
    let data = |name: &str| -> Option<Rc<[u8]>> {
        let section = file.section_by_name(name)?;
        Some(Rc::from(&*section.uncompressed_data().ok()?))
    };
    let range = |name: &str| file.section_by_name(name).map(|it| it.address()..it.address() + it.size());
    let sections = ExplicitModuleSectionInfo {
        base_svma: 0,
        text_svma: range(".text"),
        text: data(".text"),
        eh_frame_svma: range(".eh_frame"),
        eh_frame: data(".eh_frame"),
        eh_frame_hdr_svma: range(".eh_frame_hdr"),
        eh_frame_hdr: data(".eh_frame_hdr"),
        got_svma: range(".got"),
        debug_frame: data(".debug_frame"),
        ..Default::default()
    };
    let module = Module::new(mapping.path.clone(), mapping.range.clone(), bias, sections);
    Some((Image { range: mapping.range.clone(), bias, lines: lines(&file) }, module))
}

/// By how much the file was moved when it was mapped: the first piece of the mapping begins somewhere in a segment.
fn bias(file: &object::File<'_>, mapping: &Mapping) -> Option<u64> {
    const PAGE: u64 = 4096;
    let address = file.segments().find_map(|segment| {
        let (offset, len) = segment.file_range();
        let start = offset / PAGE * PAGE;
        let has = (start..offset + len.max(1)).contains(&mapping.offset);
        has.then(|| (segment.address() + mapping.offset).wrapping_sub(offset))
    })?;
    Some(mapping.range.start.wrapping_sub(address))
}

fn lines(file: &object::File<'_>) -> Option<Context<Reader>> {
    file.section_by_name(".debug_line")?;
    let endian = if file.is_little_endian() { RunTimeEndian::Little } else { RunTimeEndian::Big };
    let load = |id: SectionId| -> Result<Reader, gimli::Error> {
        let data = file.section_by_name(id.name()).and_then(|section| section.uncompressed_data().ok());
        Ok(Reader::new(Rc::from(&*data.unwrap_or_default()), endian))
    };
    Context::from_dwarf(Dwarf::load(load).ok()?).ok()
}

impl Image {
    pub fn has_lines(&self) -> bool {
        self.lines.is_some()
    }

    /// The functions in which an address of the process lies: the innermost first, of which all but the last are inlined.
    pub fn functions(&self, at: u64) -> Vec<Function> {
        let mut found = Vec::new();
        let Some(lines) = &self.lines else { return found };
        let Ok(mut frames) = lines.find_frames(at.wrapping_sub(self.bias)).skip_all_loads() else { return found };
        while let Ok(Some(frame)) = frames.next() {
            let name = frame.function.as_ref().and_then(|it| it.raw_name().ok().map(|name| name.into_owned()));
            if let Some((Some(file), Some(line))) = frame.location.map(|it| (it.file, it.line)) {
                found.push(Function { name: name.unwrap_or_default(), file: file.to_owned(), line });
            }
        }
        found
    }
}
