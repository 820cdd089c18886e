//! Questions to the running kernel's BTF.

use btf_rs::{Btf, Type};

/// Byte offset of the member at `path` in `structure`.
pub(super) fn offset(btf: &Btf, structure: &str, path: &[&str]) -> Option<u32> {
    let types = btf.resolve_types_by_name(structure).ok()?;
    let root = types.into_iter().find(|found| matches!(found, Type::Struct(_)))?;
    member_path(btf, root, path).map(|bits| bits / 8)
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

/// The value of `name` in an enumeration.
pub(super) fn enumerator(btf: &Btf, enumeration: &str, name: &str) -> Option<u32> {
    let types = btf.resolve_types_by_name(enumeration).ok()?;
    types.into_iter().find_map(|found| match found {
        Type::Enum(found) => {
            let is_it = |member: &&btf_rs::EnumMember| btf.resolve_name(*member).is_ok_and(|found| found == name);
            found.members.iter().find(is_it).map(btf_rs::EnumMember::val)
        }
        _ => None,
    })
}
