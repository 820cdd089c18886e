//! Go's own table of functions, which stripped programs have, too.
//!
//! Layout: `src/runtime/symtab.go` (`pcHeader`, `functab`) and
//! `src/internal/abi/symtab.go` (`FuncInfo`) of Go 1.18 to 1.26, little endian,
//! with pointers of eight bytes.

use std::collections::HashMap;

/// The first bytes of the tables of Go 1.18 and 1.19, and from 1.20 on.
const MAGICS: [u32; 2] = [0xffff_fff0, 0xffff_fff1];

/// Offset in `pcHeader` of where the code begins.
pub(super) const TEXT_START: usize = 24;

/// Offsets in `pcHeader`.
mod header {
    pub(super) const POINTER_SIZE: usize = 7;
    pub(super) const FUNCTIONS: usize = 8;
    pub(super) const NAMES: usize = 32;
    pub(super) const TABLE: usize = 64;
}

/// The table of functions.
#[derive(Clone, Copy, Debug)]
pub(super) struct Table<'a> {
    names: &'a [u8],
    /// Pairs of where a function begins and where its description is.
    table: &'a [u8],
    functions: usize,
    text: u64,
}

impl<'a> Table<'a> {
    /// Reads the section `.gopclntab`. `text` is where the code begins, if the
    /// table does not say so itself. `None` if the layout is not known.
    pub(super) fn parse(section: &'a [u8], text: u64) -> Option<Self> {
        if !MAGICS.contains(&word(section, 0)?) || section.get(header::POINTER_SIZE) != Some(&8) {
            return None;
        }
        let start = long(section, TEXT_START)?;
        let part = |at: usize| section.get(usize::try_from(long(section, at)?).ok()?..);
        Some(Self {
            names: part(header::NAMES)?,
            table: part(header::TABLE)?,
            functions: usize::try_from(long(section, header::FUNCTIONS)?).ok()?,
            text: if start == 0 { text } else { start },
        })
    }

    /// Address and size of those functions of `names` that are there.
    pub(super) fn find(&self, names: &[&'static str]) -> HashMap<&'static str, (u64, u64)> {
        (0..self.functions)
            .map_while(|index| self.function(index))
            .filter_map(|(text, address, size)| {
                let is_it =
                    |wanted: &&&str| text.strip_prefix(wanted.as_bytes()).is_some_and(|rest| rest.first() == Some(&0));
                Some((*names.iter().find(is_it)?, (address, size)))
            })
            .collect()
    }

    /// The names from that of the function on, its address, and its size. Where the name ends is not looked for: in a table
    /// that somebody made for that, it would take hours.
    fn function(&self, index: usize) -> Option<(&'a [u8], u64, u64)> {
        let at = index.checked_mul(8)?;
        let start = word(self.table, at)?;
        // The next function's beginning, or the end of all.
        let end = word(self.table, at.checked_add(8)?)?;
        let description = usize::try_from(word(self.table, at.checked_add(4)?)?).ok()?;
        let name = usize::try_from(word(self.table, description.checked_add(4)?)?).ok()?;
        Some((self.names.get(name..)?, self.text.checked_add(u64::from(start))?, u64::from(end.checked_sub(start)?)))
    }
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.get(at..at.checked_add(4)?)?.try_into().ok()?))
}

fn long(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(bytes.get(at..at.checked_add(8)?)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A table with functions of 16 bytes each.
    fn section(magic: u32, start: u64, names: &[&str]) -> Vec<u8> {
        let mut texts = Vec::new();
        let mut functions = Vec::new();
        let mut descriptions = Vec::new();
        let descriptions_at = (names.len() + 1) * 8;
        for (index, name) in names.iter().enumerate() {
            functions.extend((index as u32 * 16).to_le_bytes());
            functions.extend(((descriptions_at + descriptions.len()) as u32).to_le_bytes());
            descriptions.extend((index as u32 * 16).to_le_bytes());
            descriptions.extend((texts.len() as u32).to_le_bytes());
            texts.extend(name.bytes().chain([0]));
        }
        functions.extend((names.len() as u32 * 16).to_le_bytes());
        functions.extend([0; 4]);
        let mut section = magic.to_le_bytes().to_vec();
        section.extend([0, 0, 1, 8]);
        let names_at = 72u64;
        let table_at = names_at + texts.len() as u64;
        for field in [names.len() as u64, 0, start, names_at, 0, 0, 0, table_at] {
            section.extend(field.to_le_bytes());
        }
        [section, texts, functions, descriptions].concat()
    }

    #[test]
    fn finds_functions_by_name() {
        for magic in MAGICS {
            let section = section(magic, 0x1000, &["runtime.newproc", "runtime.newproc1", "main.main"]);
            let table = Table::parse(&section, 7).expect("a table");
            let found = table.find(&["runtime.newproc1", "main.main", "main.other"]);
            assert_eq!(found, HashMap::from([("runtime.newproc1", (0x1010, 16)), ("main.main", (0x1020, 16))]));
        }
    }

    #[test]
    fn code_begins_where_the_file_says_if_the_table_does_not() {
        let section = section(MAGICS[1], 0, &["main.main"]);
        let table = Table::parse(&section, 0x2000).expect("a table");
        assert_eq!(table.find(&["main.main"]), HashMap::from([("main.main", (0x2000, 16))]));
    }

    #[test]
    fn refuses_other_layouts_and_survives_damage() {
        assert!(Table::parse(&section(0xffff_fffb, 0, &["a"]), 0).is_none());
        let whole = section(MAGICS[0], 0x1000, &["runtime.newproc1", "main.main"]);
        for len in 0..whole.len() {
            if let Some(table) = Table::parse(&whole[..len], 0) {
                table.find(&["main.main"]);
            }
        }
        for at in 0..whole.len() {
            let mut damaged = whole.clone();
            damaged[at] ^= 0xff;
            if let Some(table) = Table::parse(&damaged, 0) {
                table.find(&["main.main"]);
            }
        }
    }
}
