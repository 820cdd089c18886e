//! Functions of executables: where they are in the file.

use std::collections::HashMap;
use std::path::Path;

use object::{Object as _, ObjectSection as _, ObjectSegment as _, ObjectSymbol as _, SectionKind, SymbolKind};

use super::{code, file, pclntab};

/// Names of the section with Go's table: the second where the program may be
/// loaded anywhere.
const GO_TABLES: [&str; 2] = [".gopclntab", ".data.rel.ro.gopclntab"];

/// Bytes of names that are read in one search, which is more than any program has. Names of a hostile file may all be
/// the same long one.
const MOST_NAMES: usize = 256 << 20;

/// Bytes of the names of all sections.
const MOST_SECTION_NAMES: usize = 1 << 20;

/// Parts of the file that are loaded.
const MOST_SEGMENTS: usize = 128;

/// Words that are changed when the file is loaded.
const MOST_RELOCATIONS: usize = 1 << 22;

/// Bytes of code of the longest function that is looked at.
const LONGEST_FUNCTION: u64 = 64 << 10;

/// As many bytes of a function as are looked at where its size is not known.
const BEGINNING: u64 = 64;

/// A function in an executable file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Function {
    /// Where its first instruction is in the file.
    pub(crate) offset: u64,
    /// Bytes of code.
    pub(crate) size: u64,
}

/// What `find` finds in the shared library in the file `path`, which is called `name` in errors.
pub(crate) fn in_library<T>(
    path: &Path,
    name: &str,
    find: impl FnOnce(&Executable<'_>) -> Result<T, String>,
) -> Result<T, String> {
    let data = file::content(path).map_err(|error| format!("{name} cannot be read: {error}"))?;
    find(&Executable::parse(&data).ok_or_else(|| format!("{name} is no ELF file"))?)
}

/// An executable file's content.
#[derive(Debug)]
pub(crate) struct Executable<'a> {
    file: object::File<'a>,
    data: &'a [u8],
}

impl<'a> Executable<'a> {
    /// Takes `data` for an ELF file; `None` if it is none.
    pub(crate) fn parse(data: &'a [u8]) -> Option<Self> {
        let executable = object::File::parse(data).ok().map(|file| Self { file, data })?;
        executable.is_sane().then_some(executable)
    }

    /// Whether it has no more parts than any program has. All of them are looked through for each thing that is looked
    /// for, and a hostile file may have millions, each of which is the whole file.
    fn is_sane(&self) -> bool {
        let names = self.file.sections().map(|section| section.name_bytes().map_or(0, <[u8]>::len) + 1);
        within(names, MOST_SECTION_NAMES) && self.file.segments().nth(MOST_SEGMENTS).is_none()
    }

    /// Symbols with their names, as far as these are together not longer than those of any program.
    fn named<'b>(
        symbols: impl Iterator<Item = object::Symbol<'a, 'b>>,
    ) -> impl Iterator<Item = (object::Symbol<'a, 'b>, &'a [u8])>
    where
        'a: 'b,
    {
        let named = symbols.filter_map(|symbol| symbol.name_bytes().ok().map(|name| (symbol, name)));
        named.scan(MOST_NAMES, |left, (symbol, name)| {
            *left = left.checked_sub(name.len())?;
            Some((symbol, name))
        })
    }

    /// What is changed when the file is loaded: where, and how.
    fn relocations(&self) -> impl Iterator<Item = (u64, object::Relocation)> {
        self.file.dynamic_relocations().into_iter().flatten().take(MOST_RELOCATIONS)
    }

    /// Whether the Go compiler made it, with a layout of its tables that is known.
    pub(crate) fn is_go(&self) -> bool {
        self.go_table().is_some()
    }

    /// Whether the file uses the function `name` of a shared library.
    pub(crate) fn imports(&self, name: &str) -> bool {
        let mut all = Self::named(self.file.dynamic_symbols().filter(object::Symbol::is_undefined));
        all.any(|(_, found)| found == name.as_bytes())
    }

    /// Address and size of the symbol `name` that other files can use.
    pub(crate) fn exported(&self, name: &str) -> Option<(u64, u64)> {
        let mut all = Self::named(self.file.dynamic_symbols().filter(object::Symbol::is_definition));
        let (symbol, _) = all.find(|(_, found)| *found == name.as_bytes())?;
        Some((symbol.address(), symbol.size()))
    }

    /// The word at `address`, before the file is moved to where it is loaded.
    pub(crate) fn word(&self, address: u64) -> Option<u64> {
        let relocated = self.relocations().find(|(at, _)| *at == address);
        if let Some((_, relocation)) = relocated {
            return Some(relocation.addend().cast_unsigned());
        }
        let bytes = self.bytes(address)?.get(..8)?;
        Some(u64::from_le_bytes(bytes.try_into().ok()?))
    }

    /// The text at `address`, which ends with a zero.
    pub(crate) fn text(&self, address: u64) -> Option<&'a str> {
        let bytes = self.bytes(address)?;
        std::str::from_utf8(bytes.split(|byte| *byte == 0).next()?).ok()
    }

    /// The addresses at which `text` ends with a zero, before the file is moved to where it is loaded.
    pub(crate) fn texts(&self, text: &str) -> Vec<u64> {
        let text = [text.as_bytes(), b"\0"].concat();
        let all = self.data.windows(text.len()).enumerate();
        let found = all.filter(|(_, bytes)| *bytes == text).map(|(start, _)| start as u64);
        found
            .filter_map(|start| {
                self.file.segments().find_map(|segment| {
                    let (offset, len) = segment.file_range();
                    (start >= offset && start - offset < len).then(|| segment.address().wrapping_add(start - offset))
                })
            })
            .collect()
    }

    /// The addresses of all words that hold `address` once the file is loaded.
    pub(crate) fn references(&self, address: u64) -> Vec<u64> {
        let relocated = self.relocations().filter(|(_, relocation)| relocation.addend().cast_unsigned() == address);
        let found: Vec<u64> = relocated.map(|(at, _)| at).collect();
        if !found.is_empty() {
            return found;
        }
        // Not to be moved, or with relocations (RELR) that leave the words as they are.
        let mut found = Vec::new();
        for segment in self.file.segments() {
            let words = segment.data().unwrap_or_default().chunks_exact(8).zip((0..).step_by(8));
            found.extend(
                words
                    .filter(|(word, _)| *word == address.to_le_bytes())
                    .map(|(_, at)| segment.address().wrapping_add(at)),
            );
        }
        found
    }

    /// Where in the file the instruction at `address` is; `None` if none can be there.
    pub(crate) fn code_offset(&self, address: u64) -> Option<u64> {
        let text = self.file.sections().find(|section| {
            section.kind() == SectionKind::Text
                && address >= section.address()
                && address - section.address() < section.size()
        });
        text.and_then(|_| self.function(address, 1)).map(|function| function.offset)
    }

    /// What the file holds from `address` on, to the end of its segment.
    fn bytes(&self, address: u64) -> Option<&'a [u8]> {
        let segment = self.segment(address)?;
        let (start, len) = segment.file_range();
        let within = address - segment.address();
        let start = usize::try_from(start.checked_add(within)?).ok()?;
        self.data.get(start..start.checked_add(usize::try_from(len.checked_sub(within)?).ok()?)?)
    }

    fn segment(&self, address: u64) -> Option<object::Segment<'a, '_>> {
        self.file
            .segments()
            .find(|segment| address >= segment.address() && address - segment.address() < segment.size())
    }

    /// Where the file's first byte is, before the file is moved to where it is loaded.
    pub(crate) fn base(&self) -> Option<u64> {
        self.file.segments().find(|segment| segment.file_range().0 == 0).map(|segment| segment.address())
    }

    /// Where in the file the C function at `address` is to be probed.
    pub(crate) fn entry_at(&self, address: u64) -> Option<u64> {
        self.function(address, BEGINNING).map(|function| self.entry(function))
    }

    /// Where in the file the C function `function` is to be probed.
    pub(crate) fn entry(&self, function: Function) -> u64 {
        code::entry(self.code(function).unwrap_or_default(), function, self.file.architecture())
    }

    /// As [`Self::entry_at`], for the other function in which the C function at
    /// `address` of `size` bytes always ends; see [`code::tail_call`].
    pub(crate) fn tail_of(&self, address: u64, size: u64) -> Option<u64> {
        let function = self.function(address, size)?;
        let offset = code::tail_call(self.code(function)?, function, self.file.architecture())?;
        // Not in the table of other files' functions.
        let (start, len) = self.file.section_by_name(".text")?.file_range()?;
        let is_code = offset >= start && offset - start < len.checked_sub(BEGINNING)?;
        is_code.then(|| self.entry(Function { offset, size: BEGINNING }))
    }

    /// Those of `names` that the file has: from the symbol tables, else from Go's own.
    pub(crate) fn functions(&self, names: &[&'static str]) -> HashMap<&'static str, Function> {
        let mut found = HashMap::new();
        let symbols = self.file.symbols().chain(self.file.dynamic_symbols());
        for (symbol, name) in Self::named(symbols.filter(|symbol| symbol.kind() == SymbolKind::Text)) {
            let Some(name) = names.iter().find(|wanted| wanted.as_bytes() == name) else { continue };
            if let Some(function) = self.function(symbol.address(), symbol.size()) {
                found.insert(*name, function);
            }
        }
        if found.len() < names.len()
            && let Some(table) = self.go_table()
        {
            for (name, (address, size)) in table.find(names) {
                if let Some(function) = self.function(address, size) {
                    found.entry(name).or_insert(function);
                }
            }
        }
        found
    }

    /// The code of `function`.
    pub(crate) fn code(&self, function: Function) -> Option<&'a [u8]> {
        if function.size > LONGEST_FUNCTION {
            return None;
        }
        let start = usize::try_from(function.offset).ok()?;
        self.data.get(start..start.checked_add(usize::try_from(function.size).ok()?)?)
    }

    fn go_table(&self) -> Option<pclntab::Table<'_>> {
        let table = GO_TABLES.iter().find_map(|name| self.file.section_by_name(name))?;
        // Where the program may be loaded anywhere, the table is completed when it
        // starts, by what a relocation says.
        let field = table.address().checked_add(pclntab::TEXT_START as u64)?;
        let relocated = self.relocations().find(|(at, _)| *at == field);
        let text = match relocated {
            Some((_, relocation)) => relocation.addend().cast_unsigned(),
            // Go 1.26 and later have it elsewhere.
            None => self.file.section_by_name(".text")?.address(),
        };
        pclntab::Table::parse(table.data().ok()?, text)
    }

    /// The function at `address` in memory, before the file is moved to where it is loaded.
    fn function(&self, address: u64, size: u64) -> Option<Function> {
        let segment = self.segment(address)?;
        let (start, len) = segment.file_range();
        let within = address - segment.address();
        (size > 0 && within.checked_add(size)? <= len).then_some(Function { offset: start.checked_add(within)?, size })
    }
}

/// Whether the sum of `lengths` is not more than `most`.
fn within(mut lengths: impl Iterator<Item = usize>, most: usize) -> bool {
    lengths.try_fold(most, |left, length| left.checked_sub(length)).is_some()
}

#[cfg(test)]
mod tests;
