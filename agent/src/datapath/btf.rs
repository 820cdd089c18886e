//! Questions to the running kernel's BTF.

use std::cell::RefCell;
use std::collections::HashMap;
use std::path::Path;

use btf_rs::{Backend, Btf, Type};

/// The kernel's types.
pub(super) struct Types {
    btf: Btf,
    /// What was asked for already: looking for a name may mean looking at all of them.
    named: RefCell<HashMap<String, Vec<Type>>>,
}

impl Types {
    /// Those in `file`. Since Linux 6.16 they are looked at where they are; to read them all takes a tenth of a second.
    ///
    /// # Errors
    /// If they cannot be read, or are not laid out as expected.
    pub(super) fn of_kernel(file: &Path) -> btf_rs::Result<Self> {
        let mapped = Btf::from_file_with_backend(file, Backend::Mmap);
        let btf = mapped.or_else(|_| Btf::from_bytes(&std::fs::read(file)?))?;
        Ok(Self { btf, named: RefCell::default() })
    }

    fn named(&self, name: &str) -> Vec<Type> {
        let mut named = self.named.borrow_mut();
        let find = || self.btf.resolve_types_by_name(name).unwrap_or_default();
        named.entry(name.to_owned()).or_insert_with(find).clone()
    }

    /// Byte offset of the member at `path` in `structure`.
    pub(super) fn offset(&self, structure: &str, path: &[&str]) -> Option<u32> {
        let root = self.named(structure).into_iter().find(|found| matches!(found, Type::Struct(_)))?;
        member_path(&self.btf, root, path).map(|bits| bits / 8)
    }

    /// The value of `name` in an enumeration.
    pub(super) fn enumerator(&self, enumeration: &str, name: &str) -> Option<u32> {
        self.named(enumeration).into_iter().find_map(|found| match found {
            Type::Enum(found) => {
                let is_it =
                    |member: &&btf_rs::EnumMember| self.btf.resolve_name(*member).is_ok_and(|found| found == name);
                found.members.iter().find(is_it).map(btf_rs::EnumMember::val)
            }
            _ => None,
        })
    }
}

fn member_path(btf: &Btf, mut current: Type, path: &[&str]) -> Option<u32> {
    let mut bits = 0;
    for name in path {
        let (offset, next) = member(btf, current, name)?;
        bits += offset;
        current = next;
    }
    Some(bits)
}

/// Offset in bits and type of the member `name`; looks into unnamed members.
fn member(btf: &Btf, current: Type, name: &str) -> Option<(u32, Type)> {
    let (Type::Struct(found) | Type::Union(found)) = peel(btf, current)? else { return None };
    for candidate in &found.members {
        let candidate_name = btf.resolve_name(candidate).unwrap_or_default();
        let next = btf.resolve_chained_type(candidate).ok()?;
        if candidate_name == name {
            return Some((candidate.bit_offset(), next));
        }
        if candidate_name.is_empty()
            && let Some((offset, inner)) = member(btf, next, name)
        {
            return Some((candidate.bit_offset() + offset, inner));
        }
    }
    None
}

/// The structure behind typedefs and qualifiers.
fn peel(btf: &Btf, mut current: Type) -> Option<Type> {
    loop {
        let chained = match &current {
            Type::Typedef(inner) => btf.resolve_chained_type(inner),
            Type::Const(inner) | Type::Volatile(inner) => btf.resolve_chained_type(inner),
            _ => return Some(current),
        };
        current = chained.ok()?;
    }
}
