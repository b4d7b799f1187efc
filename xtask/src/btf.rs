//! Type information (BTF) in an order that does not depend on where it was built.
//!
//! LLVM gives the declarations of types that are only pointed to (`BTF_KIND_FWD`) their numbers in
//! the order of addresses in its own memory (`FixupDerivedTypes`, a map keyed by pointers, in
//! `llvm/lib/Target/BPF/BTFDebug.h`), which the length of a path is enough to change.
//!
//! Layout: the kernel's `Documentation/bpf/btf.rst` and `include/uapi/linux/btf.h`.

use anyhow::{Context as _, Result, ensure};

/// `BTF_MAGIC`.
const MAGIC: u16 = 0xeb9f;

const KIND_INT: u32 = 1;
const KIND_PTR: u32 = 2;
const KIND_ARRAY: u32 = 3;
const KIND_STRUCT: u32 = 4;
const KIND_UNION: u32 = 5;
const KIND_ENUM: u32 = 6;
const KIND_FWD: u32 = 7;
const KIND_TYPEDEF: u32 = 8;
const KIND_FUNC: u32 = 12;
const KIND_FUNC_PROTO: u32 = 13;
const KIND_VAR: u32 = 14;
const KIND_DATASEC: u32 = 15;
const KIND_FLOAT: u32 = 16;
const KIND_DECL_TAG: u32 = 17;
const KIND_TYPE_TAG: u32 = 18;
const KIND_ENUM64: u32 = 19;

/// Bytes of `struct btf_type`: name, info, and a size or type.
const TYPE_LEN: usize = 12;

/// Numbers the forward declarations of `btf`, the content of a little-endian section `.BTF`, in the
/// order of their names. Everything keeps its place and size.
///
/// # Errors
/// The section is not as the kernel documents it.
pub fn sort_forwards(btf: &mut [u8]) -> Result<()> {
    let types = types(btf)?;
    let mut forwards = Vec::new();
    for (index, entry) in types.iter().enumerate().filter(|(_, entry)| entry.kind == KIND_FWD) {
        let declaration: [u8; TYPE_LEN] = btf
            .get(entry.at..)
            .and_then(|rest| rest.first_chunk().copied())
            .context("BTF ends within a type")?;
        forwards.push(Forward { index, name: name(btf, entry.at)?, declaration });
    }
    let places: Vec<usize> = forwards.iter().map(|forward| forward.index).collect();
    forwards.sort_by(|one, other| (&one.name, one.declaration).cmp(&(&other.name, other.declaration)));

    // Types are numbered from 1: 0 is void.
    let mut numbers: Vec<u32> = (0..=u32::try_from(types.len())?).collect();
    for (forward, &place) in forwards.iter().zip(&places) {
        numbers[forward.index + 1] = u32::try_from(place + 1)?;
        let at = types[place].at;
        btf[at..at + TYPE_LEN].copy_from_slice(&forward.declaration);
    }
    for at in types.iter().flat_map(Type::references) {
        let number = usize::try_from(word(btf, at)?)?;
        let renumbered =
            numbers.get(number).with_context(|| format!("BTF names a type {number} it has not"))?;
        btf[at..at + 4].copy_from_slice(&renumbered.to_le_bytes());
    }
    Ok(())
}

struct Forward {
    /// Its place among the types, from 0.
    index: usize,
    name: Vec<u8>,
    declaration: [u8; TYPE_LEN],
}

/// A type of the section.
struct Type {
    /// Where it begins, in bytes from the section's start.
    at: usize,
    kind: u32,
    /// How many members, parameters or variables follow it.
    vlen: usize,
}

impl Type {
    /// Bytes after the common part.
    fn extra(&self) -> Result<usize> {
        Ok(match self.kind {
            KIND_INT | KIND_VAR | KIND_DECL_TAG => 4,
            KIND_ARRAY => 12,
            KIND_STRUCT | KIND_UNION | KIND_DATASEC | KIND_ENUM64 => 12 * self.vlen,
            KIND_ENUM | KIND_FUNC_PROTO => 8 * self.vlen,
            KIND_PTR | KIND_FWD..=KIND_FUNC | KIND_FLOAT | KIND_TYPE_TAG => 0,
            kind => anyhow::bail!("BTF has a type of the unknown kind {kind}"),
        })
    }

    /// Where it names other types, in bytes from the section's start.
    fn references(&self) -> Vec<usize> {
        let body = self.at + TYPE_LEN;
        let own = self.at + 8;
        let each = |size: usize, offset: usize| (0..self.vlen).map(move |entry| body + entry * size + offset);
        match self.kind {
            KIND_PTR | KIND_TYPEDEF..=KIND_FUNC | KIND_VAR | KIND_DECL_TAG | KIND_TYPE_TAG => vec![own],
            KIND_ARRAY => vec![body, body + 4],
            KIND_STRUCT | KIND_UNION => each(12, 4).collect(),
            KIND_FUNC_PROTO => std::iter::once(own).chain(each(8, 4)).collect(),
            KIND_DATASEC => each(12, 0).collect(),
            _ => Vec::new(),
        }
    }
}

fn types(btf: &[u8]) -> Result<Vec<Type>> {
    ensure!(word(btf, 0)? & 0xffff == u32::from(MAGIC), "the section '.BTF' is not little-endian BTF");
    let (start, len) = (offset(btf, 4)? + offset(btf, 8)?, offset(btf, 12)?);
    let mut at = start;
    let mut types = Vec::new();
    while at < start + len {
        let info = word(btf, at + 4)?;
        let entry = Type { at, kind: info >> 24 & 0x1f, vlen: usize::try_from(info & 0xffff)? };
        at += TYPE_LEN + entry.extra()?;
        types.push(entry);
    }
    ensure!(at == start + len && at <= btf.len(), "the last type of BTF ends beyond the section's types");
    Ok(types)
}

/// The name of the type at `at`.
fn name(btf: &[u8], at: usize) -> Result<Vec<u8>> {
    let from = offset(btf, 4)? + offset(btf, 16)? + offset(btf, at)?;
    let rest = btf.get(from..).context("BTF has a name beyond its end")?;
    Ok(rest.split(|&byte| byte == 0).next().unwrap_or_default().to_vec())
}

fn offset(btf: &[u8], at: usize) -> Result<usize> {
    Ok(usize::try_from(word(btf, at)?)?)
}

fn word(btf: &[u8], at: usize) -> Result<u32> {
    let bytes = btf.get(at..).and_then(|rest| rest.first_chunk()).context("BTF is cut short")?;
    Ok(u32::from_le_bytes(*bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two structures declared, a pointer to each, a structure with both pointers as members.
    fn btf(first: (&str, u32), second: (&str, u32)) -> Vec<u8> {
        let strings = b"\0alpha\0beta\0";
        let name = |name: &str| {
            u32::try_from(strings.windows(name.len()).position(|at| at == name.as_bytes()).unwrap())
        };
        let types: Vec<u32> = [
            [name(first.0).unwrap(), KIND_FWD << 24, 0],
            [0, KIND_PTR << 24, first.1],
            [0, KIND_PTR << 24, second.1],
            [name(second.0).unwrap(), KIND_FWD << 24, 0],
            [0, KIND_STRUCT << 24 | 2, 16],
            [0, 2, 0],
            [0, 3, 64],
        ]
        .concat();
        let types_len = u32::try_from(types.len() * 4).unwrap();
        let header =
            [1 << 16 | u32::from(MAGIC), 24, 0, types_len, types_len, strings.len().try_into().unwrap()];
        let words = header.into_iter().chain(types).flat_map(u32::to_le_bytes);
        words.chain(strings.iter().copied()).collect()
    }

    #[test]
    fn both_orders_of_two_declarations_come_to_the_same() {
        let sorted = btf(("alpha", 1), ("beta", 4));
        for mut order in [sorted.clone(), btf(("beta", 4), ("alpha", 1))] {
            sort_forwards(&mut order).unwrap();
            assert_eq!(order, sorted);
        }
    }

    #[test]
    fn pointers_go_with_what_they_point_to() {
        let mut crossed = btf(("beta", 1), ("alpha", 4));
        sort_forwards(&mut crossed).unwrap();
        assert_eq!(crossed, btf(("alpha", 4), ("beta", 1)));
    }

    #[test]
    fn what_is_no_btf_is_refused() {
        for (from, to, message) in [
            (0, 0, "BTF is cut short"),
            (0, 60, "BTF is cut short"),
            (1, 100, "the section '.BTF' is not little-endian BTF"),
        ] {
            let whole = btf(("alpha", 1), ("beta", 4));
            let error = sort_forwards(&mut whole[from..to].to_vec()).unwrap_err();
            assert_eq!(error.to_string(), message);
        }
        let mut strange = btf(("alpha", 1), ("beta", 4));
        strange[24 + 7] = 31;
        assert_eq!(
            sort_forwards(&mut strange).unwrap_err().to_string(),
            "BTF has a type of the unknown kind 31"
        );
        let mut astray = btf(("alpha", 1), ("beta", 9));
        assert_eq!(sort_forwards(&mut astray).unwrap_err().to_string(), "BTF names a type 9 it has not");
    }
}
