//! Type information (BTF) in an order that does not depend on where it was built, and without the lines of
//! the sources: these are a third of the packed object, which every ADD of the CNI plugin loads.
//!
//! LLVM gives the declarations of types that are only pointed to (`BTF_KIND_FWD`) their numbers in
//! the order of addresses in its own memory (`FixupDerivedTypes`, a map keyed by pointers, in
//! `llvm/lib/Target/BPF/BTFDebug.h`), which the length of a path is enough to change.
//!
//! Layout: the kernel's `Documentation/bpf/btf.rst` and `include/uapi/linux/btf.h`.

use std::collections::BTreeMap;

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
/// order of their names, those of one name in the order in which they are first referred to.
/// Everything keeps its place and size.
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
        forwards.push(Forward {
            index,
            name: name(btf, entry.at)?,
            declaration,
            first_reference: first_reference(btf, &types, index + 1)?,
        });
    }
    let places: Vec<usize> = forwards.iter().map(|forward| forward.index).collect();
    forwards.sort_by(|one, other| one.order().cmp(&other.order()));

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

/// The sections `.BTF` and `.BTF.ext` without the lines of the sources, and without the text that only
/// these refer to.
///
/// # Errors
/// A section is not as the kernel documents it.
pub fn without_lines(btf: &[u8], ext: &[u8]) -> Result<(Vec<u8>, Vec<u8>)> {
    let types = types(btf)?;
    let mut ext = ext_without_lines(ext)?;
    let mut texts = Texts::of(btf)?;
    let mut btf = btf[..offset(btf, 4)? + offset(btf, 8)? + offset(btf, 12)?].to_vec();
    for at in types.iter().flat_map(Type::names) {
        texts.keep(&mut btf, at)?;
    }
    for at in ext_names(&ext)? {
        texts.keep(&mut ext, at)?;
    }
    let types_len = offset(&btf, 12)?;
    set_word(&mut btf, 16, types_len)?;
    set_word(&mut btf, 20, texts.kept.len())?;
    btf.extend(texts.kept);
    Ok((btf, ext))
}

/// `.BTF.ext` with what it says of functions and of fields to be relocated alone.
fn ext_without_lines(ext: &[u8]) -> Result<Vec<u8>> {
    let header_len = offset(ext, 4)?;
    let mut short = ext.get(..header_len).context("'.BTF.ext' is cut short")?.to_vec();
    // Offset and length of: functions, lines, fields.
    for field in (8..header_len).step_by(8) {
        let (from, len) = if field == 16 { (0, 0) } else { (offset(ext, field)?, offset(ext, field + 4)?) };
        let records =
            ext.get(header_len + from..header_len + from + len).context("'.BTF.ext' is cut short")?;
        let place = short.len() - header_len;
        set_word(&mut short, field, place)?;
        set_word(&mut short, field + 4, len)?;
        short.extend(records);
    }
    Ok(short)
}

/// Where `.BTF.ext` without lines names text: the sections, and the paths of fields to be relocated.
fn ext_names(ext: &[u8]) -> Result<Vec<usize>> {
    let header_len = offset(ext, 4)?;
    let mut names = Vec::new();
    for (field, text_of_record) in [(8, None), (24, Some(8))] {
        if field + 8 > header_len || offset(ext, field + 4)? == 0 {
            continue;
        }
        let start = header_len + offset(ext, field)?;
        let (end, record) = (start + offset(ext, field + 4)?, offset(ext, start)?);
        let mut at = start + 4;
        while at < end {
            names.push(at);
            let (first, count) = (at + 8, offset(ext, at + 4)?);
            names.extend(
                text_of_record
                    .into_iter()
                    .flat_map(|text| (0..count).map(move |index| first + index * record + text)),
            );
            at = first + count * record;
        }
        ensure!(at == end, "the last record of '.BTF.ext' ends beyond its part");
    }
    Ok(names)
}

/// The text of a section `.BTF`, and what of it is kept.
struct Texts<'btf> {
    all: &'btf [u8],
    kept: Vec<u8>,
    places: BTreeMap<&'btf [u8], usize>,
}

impl<'btf> Texts<'btf> {
    fn of(btf: &'btf [u8]) -> Result<Self> {
        let from = offset(btf, 4)? + offset(btf, 16)?;
        let all = btf.get(from..).context("BTF has no text")?;
        Ok(Self { all, kept: vec![0], places: BTreeMap::from([(&b""[..], 0)]) })
    }

    /// Keeps the text that the word at `at` of `section` refers to, and has it refer to the new place.
    fn keep(&mut self, section: &mut [u8], at: usize) -> Result<()> {
        let text = self.all.get(offset(section, at)?..).context("BTF has a name beyond its end")?;
        let text = text.split(|&byte| byte == 0).next().unwrap_or_default();
        let place = *self.places.entry(text).or_insert_with(|| {
            let place = self.kept.len();
            self.kept.extend(text);
            self.kept.push(0);
            place
        });
        set_word(section, at, place)
    }
}

struct Forward {
    /// Its place among the types, from 0.
    index: usize,
    name: Vec<u8>,
    declaration: [u8; TYPE_LEN],
    /// Where it is first referred to, in bytes from the section's start.
    first_reference: Option<usize>,
}

impl Forward {
    fn order(&self) -> (&[u8], [u8; TYPE_LEN], Option<usize>) {
        (&self.name, self.declaration, self.first_reference)
    }
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

    /// Where it names text: itself, its members, parameters or values.
    fn names(&self) -> Vec<usize> {
        let body = self.at + TYPE_LEN;
        let entry = match self.kind {
            KIND_STRUCT | KIND_UNION | KIND_ENUM64 => 12,
            KIND_ENUM | KIND_FUNC_PROTO => 8,
            _ => return vec![self.at],
        };
        std::iter::once(self.at).chain((0..self.vlen).map(|index| body + index * entry)).collect()
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

/// Where `types` first name the type of this number.
fn first_reference(btf: &[u8], types: &[Type], number: usize) -> Result<Option<usize>> {
    for at in types.iter().flat_map(Type::references) {
        if usize::try_from(word(btf, at)?)? == number {
            return Ok(Some(at));
        }
    }
    Ok(None)
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

fn set_word(section: &mut [u8], at: usize, word: usize) -> Result<()> {
    let place = section.get_mut(at..at + 4).context("BTF is cut short")?;
    place.copy_from_slice(&u32::try_from(word)?.to_le_bytes());
    Ok(())
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
    fn declarations_of_one_name_go_by_who_refers_to_them_first() {
        let sorted = btf(("alpha", 1), ("alpha", 4));
        for mut order in [sorted.clone(), btf(("alpha", 4), ("alpha", 1))] {
            sort_forwards(&mut order).unwrap();
            assert_eq!(order, sorted);
        }
    }

    #[test]
    fn lines_go_and_with_them_what_only_they_say() {
        let words = |words: &[u32]| -> Vec<u8> { words.iter().copied().flat_map(u32::to_le_bytes).collect() };
        let whole = btf(("beta", 1), ("beta", 4));
        let place = |text: &str| {
            let at = whole.windows(text.len()).rposition(|at| at == text.as_bytes()).unwrap();
            u32::try_from(at).unwrap() - u32::from_le_bytes(whole[16..20].try_into().unwrap()) - 24
        };
        let header = [1 << 16 | u32::from(MAGIC), 24];
        let functions = [8, place("beta"), 1, 0, 3];
        let lines = [16, place("beta"), 1, 0, place("alpha"), place("alpha"), 7];
        let ext = words(&[&header[..], &[0, 20, 20, 28], &functions, &lines].concat());

        let (short, short_ext) = without_lines(&whole, &ext).unwrap();
        let functions = [8, 1, 1, 0, 3];
        assert_eq!(short_ext, words(&[&header[..], &[0, 20, 20, 0], &functions].concat()));
        assert!(short.ends_with(b"\0beta\0"), "{short:?}");
        assert!(!short.windows(5).any(|text| text == b"alpha"), "{short:?}");
        assert_eq!(without_lines(&short, &short_ext).unwrap(), (short, short_ext));
        assert_eq!(without_lines(&whole, &ext[..30]).unwrap_err().to_string(), "'.BTF.ext' is cut short");
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
